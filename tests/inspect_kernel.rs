//! `inspect` says of made-up layers what the kernel shows of an overlay that is mounted of them.
//!
//! Its own `main`: it enters namespaces, for which a process must have one thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getegid, geteuid};
use nsharness::inspect::marks::Reading;
use nsharness::inspect::merge::{Found, Merge, Name};
use nsharness::inspect::read::{Opened, read, sees_trusted};
use nsharness::inspect::remarks::seen_twice;
use nsharness::inspect::{Layer, Role, Stack};
use nsharness::probe::Environment;
use nsharness::scenario::condition::KernelVersion;
use nsharness::search::random::Random;
use rustix::fs::XattrFlags;

/// Trials in each kind of namespace.
const TRIALS: u64 = 3000;
const NAMES: [&str; 3] = ["a", "b", "c"];

fn main() -> ExitCode {
    let seed = std::env::var("NSHARNESS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let trials = std::env::var("NSHARNESS_TRIALS").ok().and_then(|s| s.parse().ok());
    let trials = trials.unwrap_or(TRIALS);
    // What `inspect` shows is what kernels since then show.
    let host = Environment::of_host(false);
    if host.version < KernelVersion(6, 16, 0) {
        println!("skipped: this takes Linux 6.16, and here is {}", host.release);
        return ExitCode::SUCCESS;
    }
    let place = tempfile::tempdir().expect("a directory");
    let mut fine = true;
    for users in [true, false] {
        if !users && !sees_trusted() {
            println!("skipped: trusted.* takes root of the machine");
            continue;
        }
        match fork_off(|| compare_all(place.path(), users, seed, trials)) {
            Ok(code) => fine &= code == 0,
            Err(error) => {
                println!("fork: {error}");
                fine = false;
            }
        }
    }
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs something in a child and gives its exit status.
#[expect(unsafe_code, reason = "one thread: the child may do what it likes")]
fn fork_off(what: impl FnOnce() -> i32) -> nix::Result<i32> {
    // SAFETY: this process has one thread, so that no lock is held by another.
    match unsafe { fork() }? {
        ForkResult::Child => std::process::exit(what()),
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => Ok(code),
            other => panic!("{other:?}"),
        },
    }
}

fn compare_all(place: &Path, users: bool, seed: u64, trials: u64) -> i32 {
    if let Err(error) = enter(place, users) {
        println!("skipped: no namespace to mount in: {error}");
        let required = std::env::var("NSHARNESS_REQUIRE").unwrap_or_default();
        return i32::from(required.split(',').any(|name| name == "overlay"));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut mounted, mut wrong) = (0, 0);
    for trial in 0..trials {
        let root = place.join(trial.to_string());
        let made = Made::new(&root, &mut Random::of(seed, trial), users);
        match made.compare(&mut counts) {
            Ok(Some(differences)) => {
                mounted += 1;
                if !differences.is_empty() {
                    wrong += 1;
                    println!("seed {seed}, trial {trial}: {}", made.options);
                    made.told.iter().for_each(|line| println!("    {line}"));
                    differences.iter().for_each(|line| println!("  {line}"));
                }
            }
            Ok(None) => {}
            Err(error) => panic!("trial {trial}: {error}"),
        }
        fs::remove_dir_all(&root).expect("layers are removed");
        if wrong >= 5 {
            break;
        }
    }
    let who = if users { "in a user namespace" } else { "as root" };
    println!("{who}: {mounted} of {trials} overlays mounted, {wrong} differ; compared: {counts:?}");
    i32::from(wrong > 0 || mounted < trials / 2)
}

/// A tmpfs in a mount namespace of its own.
fn enter(place: &Path, users: bool) -> nix::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    if users {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        let write = |file: &str, text: String| {
            fs::write(format!("/proc/self/{file}"), text).map_err(|_| nix::Error::EPERM)
        };
        write("setgroups", "deny".into())?;
        write("uid_map", format!("0 {uid} 1"))?;
        write("gid_map", format!("0 {gid} 1"))?;
    } else {
        unshare(CloneFlags::CLONE_NEWNS)?;
    }
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none)
}

/// Layers that were made up.
struct Made {
    root: PathBuf,
    prefix: &'static str,
    layers: Vec<(Role, PathBuf)>,
    options: String,
    redirects: bool,
    metacopy: bool,
    /// What was made, for who has to find out why it differs.
    told: Vec<String>,
}

/// What a directory has, by paths below the merged root.
fn list(at: &Path, dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    fs::read_dir(at)?.map(|entry| Ok(dir.join(entry?.file_name()))).collect()
}

impl Made {
    fn new(root: &Path, random: &mut Random, users: bool) -> Self {
        let mut layers = Vec::new();
        let has_upper = random.percent(40);
        if has_upper {
            layers.push((Role::Upper, root.join("u")));
        }
        let lower = random.between(if has_upper { 1 } else { 2 }, 4);
        layers.extend((0..lower).map(|n| (Role::Lower, root.join(format!("l{n}")))));
        if random.percent(if users { 15 } else { 30 }) {
            layers.push((Role::Data, root.join("d")));
        }
        let prefix = if users { "user.overlay." } else { "trusted.overlay." };
        let mut options = Vec::new();
        let (mut redirects, mut metacopy) = (!users, false);
        if users {
            options.push("userxattr".to_owned());
        } else if layers.iter().any(|layer| layer.0 == Role::Data) || random.percent(50) {
            options.push("metacopy=on,redirect_dir=on".to_owned());
            metacopy = true;
        } else if random.percent(30) {
            options.push("redirect_dir=nofollow".to_owned());
            redirects = false;
        } else {
            options.push("metacopy=off,redirect_dir=follow".to_owned());
        }
        let of = |role| {
            layers
                .iter()
                .filter(move |layer| layer.0 == role)
                .map(|layer| layer.1.display().to_string())
        };
        options.extend(
            of(Role::Upper).map(|dir| format!("upperdir={dir},workdir={}/w", root.display())),
        );
        let data: String = of(Role::Data).map(|dir| format!("::{dir}")).collect();
        options.push(format!("lowerdir={}{data}", of(Role::Lower).collect::<Vec<_>>().join(":")));
        let options = options.join(",");
        let mut made = Self {
            root: root.into(),
            prefix,
            layers,
            options,
            redirects,
            metacopy,
            told: Vec::new(),
        };
        for dir in ["w", "m"] {
            fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        for (role, dir) in made.layers.clone() {
            fs::create_dir(&dir).expect("a layer");
            if role != Role::Data && random.percent(15) {
                made.mark(&dir, "opaque", *random.pick(&[b"y", b"x"]));
            }
            made.fill(&dir, 0, role == Role::Data, random);
        }
        made
    }

    fn mark(&mut self, path: &Path, name: &str, value: &[u8]) {
        let name = format!("{}{name}", self.prefix);
        self.told.push(format!("{}: {name}={:?}", path.display(), String::from_utf8_lossy(value)));
        rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).expect("a mark");
    }

    fn fill(&mut self, dir: &Path, depth: usize, data: bool, random: &mut Random) {
        for name in NAMES {
            let path = dir.join(name);
            let dirs = if depth < 3 { 45 } else { 0 };
            let choice =
                random.weighted(&[(25, ' '), (dirs, 'd'), (20, 'f'), (4, 'l'), (8, 'c'), (6, 'x')]);
            match choice {
                'd' => {
                    fs::create_dir(&path).expect("a directory");
                    self.told.push(format!("{}/", path.display()));
                    self.mark_dir(&path, random);
                    self.fill(&path, depth + 1, data, random);
                }
                'f' => {
                    fs::write(&path, path.display().to_string()).expect("a file");
                    self.told.push(path.display().to_string());
                    self.mark_file(&path, random);
                }
                'l' => symlink("/etc", &path).expect("a link"),
                'c' if !data => {
                    mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).expect("a whiteout");
                    self.told.push(format!("{} whiteout", path.display()));
                }
                'x' if !data => {
                    fs::write(&path, "").expect("a file");
                    self.mark(&path, "whiteout", b"");
                }
                _ => {}
            }
        }
    }

    fn mark_dir(&mut self, path: &Path, random: &mut Random) {
        if random.percent(35) {
            let value = random.weighted(&[(5, &b"y"[..]), (5, b"x"), (1, b"n"), (1, b"yy")]);
            self.mark(path, "opaque", value);
        }
        if random.percent(10) {
            self.mark(path, "origin", b"");
        }
        self.redirect(path, 25, random);
    }

    fn mark_file(&mut self, path: &Path, random: &mut Random) {
        if random.percent(30) {
            let value = random.weighted(&[(5, &b""[..]), (3, &[0, 4, 0, 0]), (1, b"y")]);
            self.mark(path, "metacopy", value);
            self.redirect(path, 60, random);
        }
    }

    fn redirect(&mut self, path: &Path, percent: usize, random: &mut Random) {
        if random.percent(percent) {
            let value = random.weighted(&[
                (4, "a"),
                (4, "b"),
                (3, "/a"),
                (3, "/b"),
                (3, "/a/b"),
                (3, "/b/a/c"),
                (2, "/c/c"),
                (1, "nobody"),
                (1, "/a/nobody"),
                (1, ".."),
                (1, "/a/../b"),
                (1, "/"),
                (1, "a/b"),
                (1, ""),
                (1, "/a//b"),
            ]);
            self.mark(path, "redirect", value.as_bytes());
        }
    }

    /// Where the kernel shows something else than is said; `None` where it mounts no such overlay.
    fn compare(&self, counts: &mut BTreeMap<&str, usize>) -> io::Result<Option<Vec<String>>> {
        let (said, twice) = self.inspect();
        let mut said: BTreeMap<PathBuf, Name> = said
            .into_iter()
            .map(|name| (PathBuf::from(String::from_utf8_lossy(&name.path).into_owned()), name))
            .collect();
        let merged = self.root.join("m");
        let options = Some(self.options.as_str());
        if let Err(error) = mount(Some("o"), &merged, Some("overlay"), MsFlags::empty(), options) {
            return match error {
                // An older kernel, or a data-only layer without privilege.
                nix::Error::EINVAL | nix::Error::EPERM => Ok(None),
                other => Err(other.into()),
            };
        }
        said.remove(Path::new("/"));
        let mut wrong = Vec::new();
        self.walk(&merged, Path::new("/"), &mut said, counts, &mut wrong);
        // Which of the names is looked up first is not known.
        let below = |line: &String| twice.iter().any(|path| line.starts_with(path.as_str()));
        wrong.retain(|line| !(line.contains("Stale") && below(line)));
        said.retain(|path, _| !twice.iter().any(|twice| path.starts_with(twice)));
        wrong.extend(
            said.keys().map(|path| format!("{}: its directory is not there", path.display())),
        );
        umount2(&merged, MntFlags::empty())?;
        Ok(Some(wrong))
    }

    /// The names of the merged view, and the paths of those that a lookup of another one makes stale.
    fn inspect(&self) -> (Vec<Name>, Vec<String>) {
        let opened: Vec<Opened> =
            self.layers.iter().map(|layer| Opened::open(&layer.1).expect("a layer")).collect();
        let trees = read(&opened, 10_000).expect("layers are read");
        let layers = self.layers.iter().zip(trees).map(|((role, path), tree)| Layer {
            path: path.clone(),
            role: *role,
            tree,
        });
        let stack = Stack {
            layers: layers.collect(),
            reading: if self.prefix.starts_with('u') { Reading::User } else { Reading::Trusted },
            redirects: self.redirects,
            metacopy: self.metacopy,
        };
        let twice = seen_twice(&stack).into_iter();
        let twice = twice.map(|remark| String::from_utf8_lossy(&remark.path).into_owned());
        (Merge::new(&stack).collect(), twice.collect())
    }

    /// Compares a directory of the merged tree with what is said of it.
    fn walk(
        &self,
        merged: &Path,
        dir: &Path,
        said: &mut BTreeMap<PathBuf, Name>,
        counts: &mut BTreeMap<&str, usize>,
        wrong: &mut Vec<String>,
    ) {
        let at = merged.join(dir.strip_prefix("/").expect("a path from the root"));
        let known: BTreeSet<PathBuf> =
            said.keys().filter(|path| path.parent() == Some(dir)).cloned().collect();
        let refused = known.iter().any(|path| matches!(said[path].found, Found::Refused(_)));
        let listed = match list(&at, dir) {
            Ok(listed) => listed,
            // A name that is refused may end a listing.
            Err(_) if refused => known.clone(),
            Err(error) => {
                wrong.push(format!("{}: readdir: {error}", dir.display()));
                return;
            }
        };
        for path in listed.difference(&known) {
            wrong.push(format!("{}: the kernel lists it", path.display()));
        }
        for path in known {
            let Some(name) = said.remove(&path) else { continue };
            let real = merged.join(path.strip_prefix("/").expect("a path from the root"));
            let is_listed = listed.contains(&path);
            if name.listed.is_some_and(|said| said != is_listed) && !refused {
                let said = name.listed;
                wrong.push(format!("{}: listed {is_listed}, said {said:?}", path.display()));
            }
            let shows = fs::symlink_metadata(&real);
            match (&name.found, &shows) {
                (Found::There(there), Ok(shows)) => {
                    let kind = match (shows.is_dir(), shows.is_file()) {
                        (true, _) => "directory",
                        (_, true) if there.metacopy => "data of another",
                        (_, true) => "file",
                        _ => "link",
                    };
                    *counts.entry(kind).or_default() += 1;
                    if shows.is_dir() {
                        self.walk(merged, &path, said, counts, wrong);
                    } else if shows.is_file() {
                        self.compare_data(&real, &path, name, wrong);
                    }
                }
                (Found::Gone { .. }, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    let what = if name.listed == Some(true) { "phantom" } else { "gone" };
                    *counts.entry(what).or_default() += 1;
                }
                (Found::Refused(refusal), Err(error))
                    if error.raw_os_error() == Some(refusal.why.errno().0) =>
                {
                    *counts.entry(refusal.why.errno().name()).or_default() += 1;
                }
                (found, shows) => {
                    let shows = shows.as_ref().map(|shows| shows.file_type());
                    wrong.push(format!("{}: kernel {shows:?}, said {found:?}", path.display()));
                }
            }
        }
    }

    fn compare_data(&self, real: &Path, path: &Path, name: Name, wrong: &mut Vec<String>) {
        let Found::There(there) = name.found else { return };
        let data = fs::read_to_string(real);
        if there.data_missing {
            if data.is_ok() {
                wrong
                    .push(format!("{}: its data are said to be missing: {data:?}", path.display()));
            }
            return;
        }
        let has = there.spots[there.spots.len() - 1].0;
        let layer = &self.layers[has].1;
        match data {
            // Each file has its own path as its data, and an empty one none.
            Ok(data) if data.is_empty() || Path::new(&data).starts_with(layer) => {}
            other => wrong.push(format!(
                "{}: data {other:?}, said to be of {}",
                path.display(),
                layer.display()
            )),
        }
    }
}
