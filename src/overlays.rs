//! Programs that mount overlays through FUSE: how they are found, how they are called, and what of the kernel's
//! overlays they cannot be asked. All of them have the command line of mount(8)'s helpers, as
//! `fuse-overlayfs -o lowerdir=a:b,upperdir=c,workdir=d PLACE`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::missing::Missing;
use crate::programs;
use crate::scenario::condition::KernelVersion;
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::{Family, MountApi, MountFlag, Mounter, Operation, Overlay};
use crate::scenario::plan::Plan;
use crate::scenario::world::LIBRARY_DIRECTORIES;

/// The probe whether the program mounts anything.
pub const PROBE: &str = "overlay.program";
/// The word for the kernel where programs are named.
const KERNEL: &str = "kernel";
/// Programs that have a package of their name.
const PACKAGED: &[&str] = &["fuse-overlayfs"];
/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of what it says then is read.
const SAID_BYTES: u64 = 4096;
/// How the lines begin by which libfuse tells of itself.
const OF_LIBRARY: &[&str] = &["fusermount", "FUSE ", "using FUSE "];

/// Who mounts overlays, as the user names it: the kernel, a program in PATH, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(String);

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "a program has a name, as fuse-overlayfs, or is a file, as ./fuse-overlayfs".into(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Named {
    /// Whether the kernel is named.
    pub fn is_kernel(&self) -> bool {
        self.0 == KERNEL
    }

    /// Finds it, and asks it for its version.
    ///
    /// # Errors
    /// Where it is not there, or tells no version.
    pub fn find(&self) -> Result<Implementation, Missing> {
        let what = format!("the overlay program {self}");
        let path = if self.0.contains('/') {
            std::path::absolute(&self.0).ok().filter(|path| path.is_file())
        } else {
            programs::in_path(&self.0)
        };
        let Some(path) = path else {
            let remedy = if PACKAGED.contains(&self.0.as_str()) {
                format!("install it, as by `apt-get install {self}`")
            } else {
                format!("install {self}, or name its file")
            };
            return Err(Missing::new(what, "it is not there", remedy));
        };
        let refused = |why: String| {
            Missing::new(
                what.clone(),
                why,
                "name a program that mounts overlays, as fuse-overlayfs",
            )
        };
        // A program that cannot be brought into a sandbox is told before anything is asked.
        programs::at(&path).map_err(|missing| Missing { what: what.clone(), ..missing })?;
        let (name, version) = version(&path).map_err(refused)?;
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let program = file
            .parse()
            .map_err(|_| refused(format!("`{}` is no name of a program", file.escape_debug())))?;
        Ok(Implementation { program, path, name, version })
    }
}

/// What a program says that it is, as `fuse-overlayfs: version 1.10`.
fn version(program: &Path) -> Result<(String, KernelVersion), String> {
    let text = said(program).map_err(|why| format!("{} --version {why}", program.display()))?;
    let own = |line: &&str| !OF_LIBRARY.iter().any(|start| line.starts_with(start));
    let told = text.lines().filter(own).find_map(version_in);
    told.ok_or_else(|| format!("{} --version does not tell a version", program.display()))
}

/// A name and, somewhere behind it, a version.
fn version_in(line: &str) -> Option<(String, KernelVersion)> {
    let mut words = line.split_whitespace();
    let name = words.next()?.trim_end_matches([':', ',']).to_owned();
    let number = |word: &str| {
        let number = word.trim_start_matches('v');
        let begins = number.starts_with(|c: char| c.is_ascii_digit());
        begins.then(|| KernelVersion::of_release(number)).flatten()
    };
    Some((name, words.find_map(number)?))
}

/// What a program prints when it is asked for its version; one that does not end is ended.
fn said(program: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("cannot be run: {error}");
    // Not a pipe: what it starts might keep that open.
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let printed = rustix::fs::memfd_create("version", flags).map_err(|e| failed(e.into()))?;
    let mut printed = File::from(printed);
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(printed.try_clone().map_err(failed)?)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("does not end within {} s", PATIENCE.as_secs()));
            }
        }
    };
    if !status.success() {
        return Err(format!("fails: {status}"));
    }
    printed.rewind().map_err(failed)?;
    let mut bytes = Vec::new();
    printed.take(SAID_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the program of a run mounts this overlay.
pub fn is_by_program(step: &Overlay) -> bool {
    step.by != Some(Mounter::Kernel)
}

/// Why a plan cannot be asked of a program; empty where it can. What only the kernel has is told before anything is
/// asked: programs may pass over options that they do not know, and would answer for another overlay.
pub fn missing(implementation: &Implementation, plan: &Plan) -> Vec<Missing> {
    let name = &implementation.name;
    let mut missing = Vec::new();
    let mut lacks = |what: String, why: String| {
        let one = Missing::new(what, why, "ask the kernel: leave --overlay out");
        if !missing.contains(&one) {
            missing.push(one);
        }
    };
    for step in plan.overlays().filter(|step| is_by_program(step)) {
        if step.api == MountApi::New {
            lacks("the new mount API".into(), format!("{name} mounts by its command line"));
        }
        if !step.data.is_empty() {
            lacks("data-only layers".into(), format!("{name} is not known to have them"));
        }
        for option in step.options.iter().filter(|option| !is_common(option)) {
            let why =
                format!("{name} does not say if it heeds it, as the model knows it of the kernel");
            lacks(format!("the overlay option {option}"), why);
        }
        for flag in step.flags.iter().filter(|flag| option_of(**flag).is_none()) {
            let why = format!("{name} takes options of mount(8), and there is none for it");
            lacks(format!("the mount flag {flag:?}").to_lowercase(), why);
        }
    }
    let brought = "its libraries are in the root of the sandbox";
    let has = |top: &&&str| plan.world.paths().any(|path| is_below(path.as_str(), top));
    for top in LIBRARY_DIRECTORIES.iter().filter(has) {
        lacks(format!("/{top} for the libraries of {name}"), "the world has its own".into());
    }
    let mut moved = BTreeSet::new();
    moved.extend(plan.world.actors.iter().filter(|(_, a)| a.root.is_some()).map(|(name, _)| name));
    for step in &plan.steps {
        match &step.operation {
            Operation::Overlay(overlay)
                if is_by_program(overlay) && moved.contains(&step.actor) =>
            {
                let actor = &step.actor;
                lacks(format!("{name} in the root of {actor}"), brought.into());
            }
            operation if operation.described().family == Family::Roots => {
                moved.insert(&step.actor);
            }
            _ => {}
        }
    }
    missing
}

fn is_below(path: &str, top: &str) -> bool {
    path.split('/').find(|part| !part.is_empty() && *part != ".") == Some(top)
}

/// Whether an option asks for nothing that the kernel alone has: what is off, and where the marks are, which a
/// program decides by its rights.
fn is_common(option: &str) -> bool {
    option == "userxattr" || option == "volatile" || option.ends_with("=off")
}

/// The options that the program is given, behind those that name layers.
pub fn options(step: &Overlay) -> impl Iterator<Item = &str> {
    // Marks are where its rights allow it: the kernel needs to be told, a program finds out.
    let given = step.options.iter().map(String::as_str);
    let given = given.filter(|option| *option != "userxattr" && !option.ends_with("=off"));
    given.chain(step.flags.iter().filter_map(|flag| option_of(*flag)))
}

/// The option of mount(8) for a flag of mount(2).
fn option_of(flag: MountFlag) -> Option<&'static str> {
    Some(match flag {
        MountFlag::Ro => "ro",
        MountFlag::Nosuid => "nosuid",
        MountFlag::Nodev => "nodev",
        MountFlag::Noexec => "noexec",
        MountFlag::Noatime => "noatime",
        MountFlag::Sync => "sync",
        MountFlag::Dirsync => "dirsync",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_in_a_line_of_its_own() {
        let told = |line| version_in(line).map(|(name, version)| format!("{name} {version}"));
        assert_eq!(told("fuse-overlayfs: version 1.10").as_deref(), Some("fuse-overlayfs 1.10"));
        assert_eq!(told("fuse-overlayfs 1.16.1").as_deref(), Some("fuse-overlayfs 1.16.1"));
        assert_eq!(told("unionfs-fuse version: v3.4").as_deref(), Some("unionfs-fuse 3.4"));
        assert_eq!(told("no number at all"), None);
    }
}
