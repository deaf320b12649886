//! The kernel that nsharness runs on, asked by a pool of worker processes.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, setsid};

use super::Witness;
use crate::channel;
use crate::scenario::plan::Plan;
use crate::sys;
use crate::transcript::{Breakage, Transcript};
use crate::worker::{Answer, Worker};

/// How much longer than its plan's time a worker may take before it counts as stuck.
const GRACE: Duration = Duration::from_secs(10);

/// A pool of workers on this kernel.
///
/// It is made before anything else: a worker is a fork of this process, small and with one thread.
#[derive(Debug)]
pub struct Host {
    workers: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    pid: Pid,
    socket: UnixStream,
    job: Option<Job>,
}

#[derive(Debug)]
struct Job {
    ticket: usize,
    deadline: Instant,
}

impl Host {
    /// Starts this many workers.
    ///
    /// # Errors
    /// Those of socketpair(2) and fork(2).
    pub fn start(workers: usize) -> io::Result<Self> {
        let mut host = Self { workers: Vec::with_capacity(workers) };
        for _ in 0..workers.max(1) {
            let slot = host.start_worker()?;
            host.workers.push(slot);
        }
        Ok(host)
    }

    fn start_worker(&mut self) -> io::Result<Slot> {
        let (ours, theirs) = UnixStream::pair()?;
        match sys::fork()? {
            None => {
                drop(ours);
                // The copies of the other workers' sockets would keep them from seeing the end.
                self.workers.clear();
                serve(theirs)
            }
            Some(pid) => Ok(Slot { pid, socket: ours, job: None }),
        }
    }

    /// Takes the answer of a worker, or starts another one in place of one that ended.
    fn collect(&mut self, index: usize) -> io::Result<Option<(usize, Answer)>> {
        let slot = &mut self.workers[index];
        let answer = channel::receive(&mut slot.socket);
        let Some(job) = slot.job.take() else { return self.replace(index).map(|()| None) };
        match answer {
            Ok(Some(answer)) => Ok(Some((job.ticket, answer))),
            Ok(None) | Err(_) => {
                let ended = match answer {
                    Err(error) => format!("its answer cannot be read: {error}"),
                    _ => "its process ended while the scenario was running".to_owned(),
                };
                self.replace(index)?;
                Ok(Some((job.ticket, broken(ended))))
            }
        }
    }

    fn replace(&mut self, index: usize) -> io::Result<()> {
        let pid = self.workers[index].pid;
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
        self.workers[index] = self.start_worker()?;
        Ok(())
    }
}

fn broken(detail: String) -> Answer {
    Answer::Asked(Box::new(Transcript::broken(Breakage {
        stage: "worker".into(),
        detail,
        errno: None,
    })))
}

impl Witness for Host {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn target(&self) -> String {
        "host".to_owned()
    }

    fn capacity(&self) -> usize {
        self.workers.len()
    }

    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        let free = self.workers.iter().position(|slot| slot.job.is_none());
        let Some(index) = free else { return Err(io::Error::other("every worker is busy")) };
        let deadline = Instant::now() + Duration::from_millis(plan.timeout_ms) + GRACE;
        if channel::send(&mut self.workers[index].socket, plan).is_err() {
            // It was killed while it was idle: nothing was asked of it, so another one is asked.
            self.replace(index)?;
            channel::send(&mut self.workers[index].socket, plan)?;
        }
        self.workers[index].job = Some(Job { ticket, deadline });
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<(usize, Answer)>> {
        let busy: Vec<usize> =
            (0..self.workers.len()).filter(|i| self.workers[*i].job.is_some()).collect();
        let ready = {
            let mut fds: Vec<_> = busy
                .iter()
                .map(|i| PollFd::new(self.workers[*i].socket.as_fd(), PollFlags::POLLIN))
                .collect();
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) => fds.iter().position(|fd| fd.any().unwrap_or(false)),
                Err(nix::errno::Errno::EINTR) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        if let Some(position) = ready {
            return self.collect(busy[position]);
        }
        let now = Instant::now();
        for index in busy {
            let stuck = self.workers[index].job.as_ref().is_some_and(|job| now >= job.deadline);
            if stuck && let Some(job) = self.workers[index].job.take() {
                self.replace(index)?;
                return Ok(Some((
                    job.ticket,
                    broken("it did not answer in time and was killed".into()),
                )));
            }
        }
        Ok(None)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for slot in &self.workers {
            let _ = kill(slot.pid, Signal::SIGKILL);
        }
        for slot in &self.workers {
            let _ = waitpid(slot.pid, None);
        }
    }
}

/// The whole life of a worker process: a session of its own, so that the keys of a terminal reach
/// the supervisor alone, and no longer than the supervisor.
fn serve(mut socket: UnixStream) -> ! {
    let _ = setsid();
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let Ok(worker) = Worker::new() else { sys::exit_now(1) };
    loop {
        match channel::receive::<Plan>(&mut socket) {
            Ok(Some(plan)) => {
                let answer = worker.run(&plan);
                if channel::send(&mut socket, &answer).is_err() {
                    sys::exit_now(1);
                }
            }
            Ok(None) => sys::exit_now(0),
            Err(_) => sys::exit_now(1),
        }
    }
}
