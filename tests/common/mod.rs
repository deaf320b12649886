//! What the tests share: the command, users to run it as, scenarios in a directory of their own.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod machine;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nsharness::kernel::cache::Cache;
use nsharness::kernel::{self, Flavour, Kernel};
use nsharness::probe;
use nsharness::scenario::{self, Case, KnownNames, discover, resolve};
use tempfile::TempDir;

/// Whom the command runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the tests.
    Own,
    /// An ordinary user, without subordinate ids: uid 1000 where root runs the tests, else whoever does.
    Ordinary,
}

/// The kernel that a test needs: `uml` or `qemu` for any, or a version as in `uml:6.1`. Where there is
/// none the test is skipped, unless `NSHARNESS_REQUIRE` names it: then it fails.
pub fn require(word: &str) -> Option<Kernel> {
    let newest = |flavour| {
        let kernels = Cache::of_user().ok()?.kernels(flavour).collect::<Vec<_>>();
        kernels.last().map(|cached| cached.kernel())
    };
    let found = match word {
        "uml" => kernel::installed().or_else(|| newest(Flavour::Uml)),
        "qemu" => newest(Flavour::Image),
        _ => kernel::find(&word.parse().expect("a target")).ok(),
    };
    if found.is_none() {
        skip(word, "it is not installed, and `nsharness kernel list` does not have it");
    }
    found
}

/// Gives a command the environment of another.
pub fn take_environment(command: &mut Command, of: &Command) {
    for (name, value) in of.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Whether `NSHARNESS_REQUIRE` names it.
pub fn is_required(what: &str) -> bool {
    std::env::var("NSHARNESS_REQUIRE").unwrap_or_default().split(',').any(|name| name == what)
}

/// Says that a test is skipped for want of something; fails where `NSHARNESS_REQUIRE` names it.
pub fn skip(what: &str, why: &str) {
    assert!(!is_required(what), "{what} is required: {why}");
    eprintln!("skipped: this needs {what}: {why}");
}

/// Whether root runs the tests.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Everybody that the command can be run as here.
pub fn users() -> Vec<User> {
    if is_root() { vec![User::Own, User::Ordinary] } else { vec![User::Own] }
}

/// Asks until there is an answer.
#[track_caller]
pub fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain");
        sleep(Duration::from_millis(5));
    }
}

/// Every case of the scenarios of a directory.
pub fn cases(directory: &Path) -> Vec<Case> {
    let names = probe::names();
    let (files, errors) = discover(&[directory.to_owned()]);
    assert!(errors.is_empty(), "{errors:?}");
    let cases = files.iter().flat_map(|file| {
        let source = scenario::read(&file.path).expect("a readable scenario");
        resolve(file, &source, KnownNames { probes: &names }).expect("a valid scenario")
    });
    cases.collect()
}

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory that every user can reach, with a copy of the binary and room for scenarios.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let directory =
            tempfile::Builder::new().prefix("nsharness-test-").tempdir_in("/tmp").unwrap();
        open_to_all(directory.path());
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file, with the directories above it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        for above in path.ancestors().take_while(|p| p.starts_with(self.path())) {
            open_to_all(above);
        }
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path().join(name).symlink_metadata().is_ok()
    }

    /// Copies a directory of the checkout.
    pub fn copy(&self, name: &str) {
        let status =
            Command::new("cp").arg("-r").arg(root().join(name)).arg(self.path()).status().unwrap();
        assert!(status.success());
        let status = Command::new("chmod").args(["-R", "a+rX"]).arg(self.path()).status().unwrap();
        assert!(status.success());
    }

    /// A kernel for this place, whoever runs the command: the target that names it. `None` is a skip.
    pub fn kernel(&self, word: &str) -> Option<String> {
        let Kernel { name, file, .. } = require(word)?;
        let entry = file.parent()?;
        if entry.join("kernel.json").exists() {
            let kernels = self.cache("kernels");
            let copied = Command::new("cp").arg("-rL").arg(entry).arg(&kernels).status().unwrap();
            let cache = self.cache("");
            let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(cache).status().unwrap();
            assert!(copied.success() && opened.success());
        }
        Some(name)
    }

    /// A directory in the cache of this place.
    fn cache(&self, name: &str) -> PathBuf {
        let directory = self.path().join("cache").join(name);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// The command in this place, as it would be typed outside of CI and without a terminal.
    pub fn command(&self, user: User) -> Command {
        let binary = self.path().join("nsharness");
        if !binary.exists() {
            // By another process: a file that this one had open for writing could not be executed as
            // long as a child that another test just forked still has it open.
            let copied = Command::new("cp")
                .arg(env!("CARGO_BIN_EXE_nsharness"))
                .arg(&binary)
                .status()
                .unwrap();
            assert!(copied.success());
            fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = match user {
            User::Ordinary if is_root() => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "1000", "--regid", "1000", "--clear-groups"]).arg(binary);
                command
            }
            _ => Command::new(binary),
        };
        command
            .current_dir(self.path())
            .env_remove("CI")
            .env_remove("GITHUB_ACTIONS")
            .env("NO_COLOR", "1")
            .env("HOME", self.path())
            .env("NSHARNESS_CACHE", self.path().join("cache"));
        command
    }

    /// The command with the signals of a terminal, whatever whoever started the tests has ignored, as nohup(1) does.
    pub fn interruptible(&self) -> Command {
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", "--default-signal=INT", "--default-signal=TERM"]);
        self.started_by(command, &self.command(User::Own))
    }

    /// What starts the command as the last of its own arguments, in this directory, with the command's environment.
    pub fn started_by(&self, mut starter: Command, command: &Command) -> Command {
        starter.arg(command.get_program()).args(command.get_args()).current_dir(self.path());
        take_environment(&mut starter, command);
        starter
    }

    pub fn run(&self, user: User, arguments: &[&str]) -> Done {
        Done::of(self.command(user).args(arguments).output().unwrap())
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// All that it said.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

fn open_to_all(path: &Path) {
    let mode = if path.is_dir() { 0o777 } else { 0o666 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A scenario that passes everywhere.
pub const PASSES: &str = "\
title: A file that was written can be read
steps:
  - write: { path: f, data: hello }
  - read: { path: f, expect: { data: hello } }
";

/// A scenario that fails everywhere.
pub const FAILS: &str = "\
title: A file that nobody wrote is there
steps:
  - stat: { path: nobody, expect: ok }
";

/// A scenario that never ends by itself.
pub const HANGS: &str = "\
title: Opening a pipe that nobody writes to waits
timeout: 1
world:
  tree: { pipe: fifo }
steps:
  - stat: { path: pipe, expect: { type: fifo } }
  - open: { path: pipe }
";

/// JSON lines, read back.
pub fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
