//! The server's own process: it has the network namespace, starts the server in it, answers what the
//! server asks, and stops it, whatever becomes of the worker.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::tracking::Tracking;
use super::{breakage, loopback};
use crate::channel;
use crate::scenario::world::MAX_EXPORTS;
use crate::sys;
use crate::transcript::Breakage;
use crate::worker::mounts::attach;
use crate::worker::perform::{Failure, Named, failure};

/// How long the server may take to start and to stop; it takes about 0.1 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long clients that are being unmounted may take to say so to the server.
const HANG_UP: Duration = Duration::from_secs(2);
/// How often something is looked at that tells nothing by itself.
const LOOK: Duration = Duration::from_millis(1);
/// The port of NFS, in hexadecimal digits as /proc/net/tcp has it, and of a connection that stands.
const PORT: &str = ":0801";
const ESTABLISHED: &str = "01";
/// Threads of the server.
const THREADS: &str = "2\n";

/// An NFS server of this kernel, in a network namespace of its own.
#[derive(Debug)]
pub struct Server {
    pid: Pid,
    /// Closed, it ends the process.
    socket: Option<UnixStream>,
    network: OwnedFd,
}

/// What the server's process says when it has tried to start the server.
#[derive(Debug, Serialize, Deserialize)]
enum Started {
    Yes,
    No(Breakage),
}

impl Server {
    /// Starts a server, at the earliest a second after its kernel did. It serves nothing yet.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn start() -> Result<Self, Breakage> {
        leave_the_first_second();
        let at = |failure: Failure| breakage("start the server".into(), &failure);
        let (mut ours, theirs) = UnixStream::pair().of("socketpair").map_err(at)?;
        let Some(pid) = sys::fork().of("fork").map_err(at)? else {
            drop(ours);
            keep(theirs.into());
        };
        drop(theirs);
        let started = channel::receive(&mut ours);
        let network = File::open(format!("/proc/{pid}/ns/net")).of("open a network namespace");
        let server = |network| Self { pid, socket: Some(ours), network };
        match (started, network) {
            (Ok(Some(Started::Yes)), Ok(network)) => Ok(server(OwnedFd::from(network))),
            (Ok(Some(Started::No(breakage))), _) => {
                let _ = waitpid(pid, None);
                Err(breakage)
            }
            (_, network) => {
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
                Err(at(network.err().unwrap_or(failure("start the server", Errno::EIO))))
            }
        }
    }

    /// Whether all clients are gone, for which they are given a moment: they are unmounted after the last
    /// process that saw them has ended, and what they still ask is about exports that must be there.
    pub fn is_idle(&self) -> bool {
        let deadline = Instant::now() + HANG_UP;
        while are_connected(&self.pid.to_string()) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Enters the network namespace of the server.
    ///
    /// # Errors
    /// Those of setns(2).
    pub fn join(&self) -> Result<(), Breakage> {
        setns(&self.network, CloneFlags::CLONE_NEWNET)
            .of("setns")
            .map_err(|failure| breakage("join the server".into(), &failure))
    }
}

/// Waits until the kernel has run for a second. A server takes a client for an expired one where the time of
/// its last sign of life is 0, in seconds since the boot (fs/nfsd/nfs4state.c is_client_expired()), and one
/// that came in the first second tries again for ever: 7.2 filled its memory with warnings.
fn leave_the_first_second() {
    // The kernel's coarse clock is behind by a tick.
    const LEFT: Duration = Duration::from_millis(1100);
    let up = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    std::thread::sleep(LEFT.saturating_sub(up));
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.socket.take());
        let ended = wait_for(self.pid, PATIENCE + HANG_UP, || std::thread::sleep(LOOK));
        if ended.is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// Looks again and again whether a child has ended; `None` where it has not for so long.
fn wait_for(pid: Pid, patience: Duration, mut meanwhile: impl FnMut()) -> Option<WaitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) if Instant::now() < deadline => {
                meanwhile();
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(status) => return Some(status),
        }
    }
}

/// The whole life of the server's process.
fn keep(lifeline: OwnedFd) -> ! {
    sys::close_all_but(&[&lifeline]);
    let _ = crate::sandbox::close_standard_streams();
    let mut socket = UnixStream::from(lifeline);
    let mut keeper = match Keeper::prepare() {
        Ok(keeper) => keeper,
        Err(failure) => give_up(&mut socket, &failure),
    };
    let started = keeper.set_threads(&socket, THREADS);
    if let Err(failure) = started {
        let _ = keeper.set_threads(&socket, "0\n");
        give_up(&mut socket, &failure);
    }
    let _ = channel::send(&mut socket, &Started::Yes);
    // Nothing is ever sent: what makes it readable is that the worker has closed it, or has ended.
    while !keeper.tracking.answer(socket.as_fd(), None) {}
    keeper.wait_for_clients(&socket);
    let _ = keeper.set_threads(&socket, "0\n");
    sys::exit_now(0)
}

fn give_up(socket: &mut UnixStream, failure: &Failure) -> ! {
    let breakage = breakage("start the server".into(), failure);
    let _ = channel::send(socket, &Started::No(breakage));
    sys::exit_now(1)
}

struct Keeper {
    nfsd: OwnedFd,
    pipefs: OwnedFd,
    tracking: Tracking,
}

impl Keeper {
    /// All but the server's threads.
    fn prepare() -> Result<Self, Failure> {
        unshare(CloneFlags::CLONE_NEWNET).of("unshare")?;
        loopback::set_up(MAX_EXPORTS as u8).of("netlink: set up lo")?;
        let nfsd = attach("nfsd", "mount nfsd")?;
        let pipefs = attach("rpc_pipefs", "mount rpc_pipefs")?;
        let keeper = Self { nfsd, pipefs, tracking: Tracking::default() };
        // Version 3 would have to be registered with rpcbind(8). A kernel refuses what it has not.
        for version in ["-2\n", "-3\n"] {
            let _ = keeper.tell("versions", version);
        }
        keeper
            .tell("versions", "+4 +4.0 +4.1 +4.2\n")
            .map_err(|_| failure("write /proc/fs/nfsd/versions", Errno::EPROTONOSUPPORT))?;
        keeper.tell("portlist", "tcp 2049\n")?;
        Ok(keeper)
    }

    fn tell(&self, file: &str, text: &str) -> Result<(), Failure> {
        let call = match file {
            "portlist" => "write /proc/fs/nfsd/portlist",
            "threads" => "write /proc/fs/nfsd/threads",
            _ => "write /proc/fs/nfsd/versions",
        };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.nfsd, file, flags, Mode::empty()).of(call)?;
        rustix::io::write(file, text.as_bytes()).of(call).map(drop)
    }

    /// Starts or stops the server. It asks questions meanwhile, which this process answers.
    fn set_threads(&mut self, socket: &UnixStream, number: &str) -> Result<(), Failure> {
        let call = "write /proc/fs/nfsd/threads";
        let Some(child) = sys::fork().of("fork")? else {
            let told = self.tell("threads", number);
            sys::exit_now(told.map_or_else(|failure| failure.errno as i32, |()| 0));
        };
        let ended = wait_for(child, PATIENCE, || {
            self.tracking.look(self.pipefs.as_fd());
            self.pause(socket);
        });
        match ended {
            Some(WaitStatus::Exited(_, 0)) => Ok(()),
            Some(WaitStatus::Exited(_, errno)) => Err(failure(call, Errno::from_raw(errno))),
            _ => Err(failure(call, Errno::ETIMEDOUT)),
        }
    }

    /// Answers for a moment. A socket that is readable for good must not end the wait at once.
    fn pause(&mut self, socket: &UnixStream) {
        if self.tracking.answer(socket.as_fd(), Some(LOOK)) {
            std::thread::sleep(LOOK);
        }
    }

    /// A client that is unmounted tells the server so, which must be there to hear it: a client without
    /// a server tries for long.
    fn wait_for_clients(&mut self, socket: &UnixStream) {
        let deadline = Instant::now() + HANG_UP;
        while Instant::now() < deadline && are_connected("self") {
            self.pause(socket);
        }
    }
}

/// Whether clients in the network namespace of a process have a connection to a server.
fn are_connected(process: &str) -> bool {
    let table = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
    table.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(2);
        words.next().is_some_and(|to| to.ends_with(PORT)) && words.next() == Some(ESTABLISHED)
    })
}
