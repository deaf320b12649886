//! A cgroup for a plan whose container is made by real root: the runtime makes its own below it, in the hierarchy of
//! this machine, and they do not end with the sandbox.
//!
//! A process of its own makes it and takes it away, when the plan has ended or its worker has, in whatever way.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::mounts::attach;
use super::perform::{Failure, Named, failure};
use crate::channel;
use crate::sandbox;
use crate::scenario::operation::Namespace;
use crate::scenario::plan::Plan;
use crate::scenario::scalar::Errno as ErrnoName;
use crate::sys;
use crate::transcript::Breakage;

/// How long the processes of a plan that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried again.
const PAUSE: Duration = Duration::from_millis(5);
/// Most names that are tried: others may stand there already.
const MOST_NAMES: u32 = 1000;
/// Where the first process of the sandbox is, below: a cgroup that hands controllers on has no processes itself
/// (cgroups(7), "no internal processes").
const FIRST: &CStr = c"sandbox";
/// The file that moves processes.
const PROCESSES: &str = "cgroup.procs";

/// A cgroup that the sandbox of a plan has for itself.
#[derive(Debug)]
pub struct Cgroup {
    keeper: Pid,
    /// Closed, it has the keeper take the cgroup away.
    socket: Option<UnixStream>,
    /// Where it is, for when the keeper was killed.
    parent: OwnedFd,
    name: String,
    /// What moves a process into it, and into that below it where the sandbox's first process stays.
    own: OwnedFd,
    first: OwnedFd,
}

/// What the keeper says when it has tried to make the cgroup.
#[derive(Debug, Serialize, Deserialize)]
enum Made {
    Yes(String),
    No(Breakage),
}

impl Cgroup {
    /// Makes one, where a plan needs it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn of(plan: &Plan) -> Result<Option<Self>, Breakage> {
        let needs = &plan.needs;
        let makes_some = plan.runtime.is_some() && plan.world.container.is_some();
        if !(makes_some && needs.privileged && needs.namespaces.contains(&Namespace::Cgroup)) {
            return Ok(None);
        }
        Self::make().map(Some)
    }

    fn make() -> Result<Self, Breakage> {
        let parent = parent().map_err(broke)?;
        let (mut ours, theirs) = UnixStream::pair().of("socketpair").map_err(broke)?;
        let Some(keeper) = sys::fork().of("fork").map_err(broke)? else {
            drop(ours);
            keep(&parent, theirs);
        };
        drop(theirs);
        let made = match channel::receive(&mut ours) {
            Ok(Some(Made::Yes(name))) => open(&parent, &name).map_err(broke).map(|own| (name, own)),
            Ok(Some(Made::No(breakage))) => Err(breakage),
            Ok(None) | Err(_) => Err(broke(failure("make a cgroup", Errno::EIO))),
        };
        match made {
            Ok((name, (own, first))) => {
                Ok(Self { keeper, socket: Some(ours), parent, name, own, first })
            }
            Err(breakage) => {
                drop(ours);
                let _ = waitpid(keeper, None);
                Err(breakage)
            }
        }
    }

    /// Has this process, the first of a sandbox, enter it, and makes it the root of its cgroup namespace.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn join(&self) -> Result<(), Breakage> {
        let enter = || -> Result<(), Failure> {
            rustix::io::write(&self.own, b"0").of("write cgroup.procs")?;
            unshare(CloneFlags::CLONE_NEWCGROUP).of("unshare")?;
            rustix::io::write(&self.first, b"0").of("write cgroup.procs").map(drop)
        };
        enter().map_err(broke)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        drop(self.socket.take());
        if !matches!(waitpid(self.keeper, None), Ok(WaitStatus::Exited(_, 0))) {
            take_away(&self.parent, &self.name);
        }
    }
}

fn broke(failure: Failure) -> Breakage {
    let errno = ErrnoName(failure.errno as i32);
    Breakage {
        stage: "sandbox: cgroup".to_owned(),
        detail: format!("{errno} from {}", failure.syscall),
        errno: Some(errno),
    }
}

/// The cgroup of this process. The hierarchy is mounted nowhere: who has only version 1 mounted, or none, has it too.
fn parent() -> Result<OwnedFd, Failure> {
    let hierarchy = attach("cgroup2", "mount cgroup2")?;
    let own = std::fs::read_to_string("/proc/self/cgroup").of("read /proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = own.ok_or(failure("find the own cgroup", Errno::ENOENT))?;
    let own = if own.is_empty() { "." } else { own };
    open_directory(&hierarchy, own).of("open the own cgroup")
}

fn open_directory(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// What moves processes into the cgroup, and into that below it.
fn open(parent: &OwnedFd, name: &str) -> Result<(OwnedFd, OwnedFd), Failure> {
    let own = open_directory(parent, name).of("open a cgroup")?;
    let below = open_directory(&own, FIRST).of("open a cgroup")?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let processes =
        |at| rustix::fs::openat(at, PROCESSES, flags, Mode::empty()).of("open cgroup.procs");
    Ok((processes(own)?, processes(below)?))
}

/// The whole life of the keeper.
fn keep(parent: &OwnedFd, mut socket: UnixStream) -> ! {
    sys::close_all_but(&[parent, &socket]);
    let _ = sandbox::close_standard_streams();
    match make(parent) {
        Ok(name) => {
            let _ = channel::send(&mut socket, &Made::Yes(name.clone()));
            // Nothing is ever sent: it ends when the worker has closed it, or has ended.
            let _ = channel::receive::<()>(&mut socket);
            take_away(parent, &name);
        }
        Err(failure) => drop(channel::send(&mut socket, &Made::No(broke(failure)))),
    }
    sys::exit_now(0)
}

fn make(parent: &OwnedFd) -> Result<String, Failure> {
    let mode = Mode::from_raw_mode(0o755);
    let own = std::process::id();
    for number in 0..MOST_NAMES {
        let name = format!("nsharness-{own}-{number}");
        match rustix::fs::mkdirat(parent, &name, mode) {
            // Of another process with this number, in another pid namespace or at another time.
            Err(rustix::io::Errno::EXIST) => continue,
            made => made.of("mkdir a cgroup")?,
        }
        let below =
            open_directory(parent, &name).and_then(|it| rustix::fs::mkdirat(it, FIRST, mode));
        if below.is_err() {
            take_away(parent, &name);
        }
        return below.of("mkdir a cgroup").map(|()| name);
    }
    Err(failure("mkdir a cgroup", Errno::EEXIST))
}

/// Ends what is in a cgroup, and removes it with all below.
fn take_away(parent: &OwnedFd, name: &str) {
    // Since 5.14. What was in the sandbox has ended or will, with its pid namespace.
    let _ = open_directory(parent, name).and_then(|own| {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let kill = rustix::fs::openat(own, "cgroup.kill", flags, Mode::empty())?;
        rustix::io::write(kill, b"1")
    });
    let deadline = Instant::now() + PATIENCE;
    let Ok(name) = std::ffi::CString::new(name) else { return };
    while remove(parent.as_fd(), &name).is_err() && Instant::now() < deadline {
        std::thread::sleep(PAUSE);
    }
}

/// Removes a cgroup, those below it first.
fn remove(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let own = match open_directory(parent, name) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        own => own?,
    };
    for entry in Dir::read_from(&own)? {
        let entry = entry?;
        let is_own = matches!(entry.file_name().to_bytes(), b"." | b"..");
        if entry.file_type() == FileType::Directory && !is_own {
            remove(own.as_fd(), entry.file_name())?;
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}
