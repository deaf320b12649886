//! A process that asks many plans while another one does something else.
//!
//! Each sandbox, and each process in it, begins as a copy of the process that asks: the less memory that one
//! has, the faster it is. So it is made before the other one has much.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid};

use super::Worker;
use super::arena::Check;
use crate::channel;
use crate::sandbox::die_with;
use crate::scenario::plan::Plan;
use crate::sys;
use crate::transcript::Transcript;

/// A worker in a process of its own, for plans that nsharness makes up: they share its memory. Plans go there over a socket; what they answer comes back in memory that
/// the two share.
#[derive(Debug)]
pub struct Asker {
    worker: Worker,
    process: Process,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    socket: UnixStream,
}

impl Asker {
    /// Starts the process; this one must have one thread.
    ///
    /// # Errors
    /// Those of mmap(2), socketpair(2) and fork(2).
    pub fn start() -> io::Result<Self> {
        let worker = Worker::sharing_memory()?;
        let process = Process::start(&worker)?;
        Ok(Self { worker, process })
    }

    /// Begins to ask plans. Before others those are to be finished.
    ///
    /// # Errors
    /// Where another process had to be started, and could not.
    pub fn begin(&mut self, plans: &[Plan], check: Check) -> io::Result<()> {
        self.worker.answers.clear();
        let message = (plans, check);
        if channel::send(&mut self.process.socket, &message).is_ok() {
            return Ok(());
        }
        // It was killed: nothing was asked of it.
        self.process = Process::start(&self.worker)?;
        channel::send(&mut self.process.socket, &message)
    }

    /// Waits for what was begun, which was this many plans. One plan that is not answered is broken.
    pub fn finish(&mut self, plans: usize) -> Vec<Transcript> {
        // Where it was killed meanwhile, the answers say how far it came.
        let _ = channel::receive::<()>(&mut self.process.socket);
        self.worker.read_all(plans)
    }
}

impl Process {
    fn start(worker: &Worker) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let parent = getpid();
        match sys::fork()? {
            Some(pid) => Ok(Self { pid, socket: ours }),
            None => {
                die_with(parent);
                let socket = OwnedFd::from(theirs);
                sys::close_all_but(&[&socket]);
                let ended = serve(worker, UnixStream::from(socket));
                sys::exit_now(i32::from(ended.is_err()))
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        while waitpid(self.pid, None) == Err(Errno::EINTR) {}
    }
}

/// Asks what it is given until nobody is there to give anything.
fn serve(worker: &Worker, mut socket: UnixStream) -> io::Result<()> {
    while let Some((plans, check)) = channel::receive::<(Vec<Plan>, Check)>(&mut socket)? {
        worker.ask_all(&plans, check, false);
        channel::send(&mut socket, &())?;
    }
    Ok(())
}
