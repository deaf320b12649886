//! What a shell has to look at a sandbox with: programs of the system, in a file system of their own.
//!
//! A sandbox has nothing but its world, and an actor may have any root. So programs name a loader below
//! [`PLACE`], and find their libraries there: nothing of the world is covered, and nothing is added before its
//! steps were taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::{WaitStatus, waitpid};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

use super::shell::Terminal;
use crate::interpreter::{interpreter_header, with_interpreter};
use crate::missing::Missing;
use crate::programs;
use crate::sandbox::{self, MARK, errno};
use crate::scenario::scalar::ProgramName;
use crate::sys;
use crate::transcript::Breakage;

/// Where they are in the root of an actor.
pub const PLACE: &str = "/.nsharness";
/// What is known of terminals, below it.
pub const TERMINFO: &str = "terminfo";
/// Most of what they may take.
const SIZE: &str = "512m";

/// The shells that are looked for, the first that is there being taken.
const SHELLS: &[&str] = &["bash", "sh", "busybox"];

/// What people look at files, mounts and processes with; what this machine lacks is left out.
const NAMES: &[&str] = &[
    // coreutils
    "basename",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "false",
    "head",
    "hostname",
    "id",
    "install",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mv",
    "nproc",
    "od",
    "printenv",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "stty",
    "sync",
    "tail",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "truncate",
    "tty",
    "uname",
    "uniq",
    "unlink",
    "wc",
    "whoami",
    "chroot",
    // util-linux, mount
    "findmnt",
    "lsns",
    "losetup",
    "mount",
    "mountpoint",
    "nsenter",
    "pivot_root",
    "setpriv",
    "umount",
    "unshare",
    // attributes, capabilities, processes
    "getfattr",
    "setfattr",
    "getfacl",
    "setfacl",
    "getcap",
    "setcap",
    "capsh",
    "getpcaps",
    "kill",
    "pgrep",
    "ps",
    "strace",
    // text
    "awk",
    "diff",
    "find",
    "grep",
    "hexdump",
    "less",
    "more",
    "sed",
    "vi",
    "xargs",
    "xxd",
];

/// Programs with their libraries, read: what is in the sandbox may not be what is here.
#[derive(Debug, Default)]
pub struct Tools {
    /// By the path below [`PLACE`].
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Further names of one of the files.
    links: BTreeMap<PathBuf, PathBuf>,
    /// The shell, by its name.
    shell: Option<&'static str>,
}

/// The names of all programs that are looked for.
pub fn names() -> impl Iterator<Item = ProgramName> {
    SHELLS.iter().chain(NAMES).filter_map(|name| name.parse().ok())
}

impl Tools {
    /// Reads what this machine has.
    ///
    /// # Errors
    /// Where it has no shell.
    pub fn find() -> Result<Self, Missing> {
        let mut tools = Self::default();
        let mut known = BTreeMap::new();
        for name in SHELLS.iter().chain(NAMES) {
            // A script, or a program that cannot be run elsewhere.
            let Ok(program) = programs::find(name) else { continue };
            if tools.shell.is_some() && SHELLS.contains(name) && *name != "sh" {
                continue;
            }
            let at = Path::new("bin").join(name);
            let file = fs::canonicalize(&program.path).unwrap_or(program.path);
            if let Some(first) = known.get(&file) {
                tools.links.insert(at, PathBuf::clone(first));
            } else {
                let Some(bytes) = read(&file) else { continue };
                known.insert(file, at.clone());
                tools.files.insert(at, bytes);
                for library in program.libraries.values() {
                    let at = Path::new("lib").join(library.file_name().unwrap_or_default());
                    let bytes = || fs::read(library).unwrap_or_default();
                    tools.files.entry(at).or_insert_with(bytes);
                }
            }
            if tools.shell.is_none() && SHELLS.contains(name) {
                tools.shell = Some(name);
            }
        }
        if tools.shell.is_some() {
            return Ok(tools);
        }
        Err(programs::find(SHELLS[1]).err().unwrap_or_else(|| {
            let what = format!("the program {}", SHELLS[1]);
            Missing::new(what, "it cannot be read", "make it readable")
        }))
    }

    /// The shell: its name, and the arguments that have it read no files.
    pub fn shell(&self) -> (&'static str, &'static [&'static str]) {
        match self.shell {
            Some("bash") => ("bash", &["--noprofile", "--norc"]),
            Some("busybox") => ("busybox", &["sh"]),
            other => (other.unwrap_or(SHELLS[1]), &[]),
        }
    }

    /// Adds what is known of a kind of terminal, where terminfo(5) has it: by the first letter of its name.
    pub fn describe(&mut self, terminal: &Terminal) {
        let known = |c: char| c.is_ascii_alphanumeric() || "+-_".contains(c);
        let name = terminal.name.as_str();
        if let (Some(description), Some(first), true) =
            (&terminal.description, name.get(..1), name.chars().all(known))
        {
            self.files.insert(Path::new(TERMINFO).join(first).join(name), description.clone());
        }
    }

    /// Whether a program of this name is among them.
    pub fn has(&self, name: &str) -> bool {
        let at = Path::new("bin").join(name);
        self.files.contains_key(&at) || self.links.contains_key(&at)
    }

    /// Mounts them in the root of a process, by its directory in `proc`.
    ///
    /// # Errors
    /// What kept them from being mounted, as a root that takes no directory.
    pub fn mount(&self, proc: BorrowedFd<'_>, process: &str) -> Result<(), Breakage> {
        let place = self.file_system().map_err(|(what, errno)| broke(what, errno))?;
        let (mut failed, say) = std::io::pipe().map_err(|error| {
            broke("pipe", Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
        })?;
        // In a process of its own: it goes into the actor's mount namespace and root.
        match sys::fork().map_err(|errno| broke("fork", errno))? {
            None => {
                if let Err((what, errno)) = enter_and_mount(&place, proc, process) {
                    let _ = crate::channel::send(&mut &say, &(what, errno as i32));
                }
                sys::exit_now(0)
            }
            Some(child) => {
                drop(say);
                let failure = crate::channel::receive::<(String, i32)>(&mut failed);
                match (waitpid(child, None), failure) {
                    (Ok(WaitStatus::Exited(_, 0)), Ok(None)) => Ok(()),
                    (_, Ok(Some((what, errno)))) => Err(broke(&what, Errno::from_raw(errno))),
                    (status, _) => Err(Breakage {
                        stage: STAGE.to_owned(),
                        detail: format!("ended early: {status:?}"),
                        errno: None,
                    }),
                }
            }
        }
    }

    /// A file system with them that is mounted nowhere.
    fn file_system(&self) -> Result<OwnedFd, (&'static str, Errno)> {
        let at = |what| move |error| (what, errno(error));
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(at("fsopen tmpfs"))?;
        for (key, value) in [("source", MARK), ("size", SIZE), ("mode", "0755")] {
            rustix::mount::fsconfig_set_string(context.as_fd(), key, value)
                .map_err(at("fsconfig tmpfs"))?;
        }
        rustix::mount::fsconfig_create(context.as_fd()).map_err(at("fsconfig tmpfs"))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let place =
            rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
                .map_err(at("fsmount tmpfs"))?;
        let above =
            |path: &PathBuf| path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
        let directories: BTreeSet<_> = self.files.keys().flat_map(above).collect();
        for directory in directories.iter().filter(|path| !path.as_os_str().is_empty()) {
            rustix::fs::mkdirat(&place, directory, Mode::from_raw_mode(0o755))
                .map_err(at("mkdir"))?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        for (path, bytes) in &self.files {
            let file = rustix::fs::openat(&place, path, flags, Mode::from_raw_mode(0o755))
                .map_err(at("create"))?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let written = rustix::io::write(&file, rest).map_err(at("write"))?;
                rest = &rest[written..];
            }
        }
        for (name, file) in &self.links {
            rustix::fs::linkat(&place, file, &place, name, AtFlags::empty()).map_err(at("link"))?;
        }
        Ok(place)
    }
}

/// A program that names the loader in [`PLACE`], where it has one.
fn read(file: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(file).ok()?;
    let Some(loader) = loader(&bytes) else { return Some(bytes) };
    with_interpreter(bytes, &Path::new(PLACE).join("lib").join(loader)).ok()
}

/// The name of the loader of a program.
fn loader(program: &[u8]) -> Option<String> {
    let header = interpreter_header(program)?;
    let field = |at: usize| Some(u64::from_le_bytes(program.get(at..at + 8)?.try_into().ok()?));
    // `p_offset` and `p_filesz` of Elf64_Phdr.
    let (offset, length) = (field(header + 8)?, field(header + 32)?);
    let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
    let path = program.get(offset..offset.checked_add(length)?)?;
    let path = std::str::from_utf8(path.split(|byte| *byte == 0).next()?).ok()?;
    Some(Path::new(path).file_name()?.to_str()?.to_owned())
}

fn enter_and_mount(
    place: &OwnedFd,
    proc: BorrowedFd<'_>,
    process: &str,
) -> Result<(), (String, Errno)> {
    let at = |what: &str| {
        let what = what.to_owned();
        move |error| (what, errno(error))
    };
    let open = |what: &str, flags| {
        let file = format!("{process}/{what}");
        let opened = rustix::fs::openat(proc, &*file, flags | OFlags::CLOEXEC, Mode::empty());
        opened.map_err(at(&format!("open its {what}")))
    };
    let (namespace, root) =
        (open("ns/mnt", OFlags::RDONLY)?, open("root", OFlags::PATH | OFlags::DIRECTORY)?);
    setns(&namespace, CloneFlags::CLONE_NEWNS)
        .map_err(|errno| ("setns to its mount namespace".to_owned(), errno))?;
    rustix::process::fchdir(&root).map_err(at("fchdir to its root"))?;
    rustix::process::chroot(".").map_err(at("chroot to its root"))?;
    rustix::process::umask(Mode::empty());
    match rustix::fs::mkdir(PLACE, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(at(&format!("mkdir {PLACE} in its root"))(error)),
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(place, "", CWD, PLACE, flags).map_err(at("move_mount"))
}

/// What is being done when it fails.
const STAGE: &str = "shell: its tools";

fn broke(what: &str, errno: Errno) -> Breakage {
    sandbox::breakage(format!("{STAGE}: {what}"), errno)
}
