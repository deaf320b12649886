//! The kernel that nsharness runs on, asked by a pool of worker processes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid, setsid};

use super::{Answer, Witness};
use crate::channel;
use crate::sandbox::die_with;
use crate::scenario::plan::Plan;
use crate::sys;
use crate::transcript::{Breakage, Transcript};
use crate::worker::{self, Worker};

/// How much longer than its plan's time a worker may take before it counts as stuck.
const GRACE: Duration = Duration::from_secs(10);

/// A pool of workers on this kernel.
///
/// It is made before anything else: a worker is a fork of this process, small and with one thread.
#[derive(Debug)]
pub struct Host {
    workers: Vec<Slot>,
    /// What a worker process does all its life.
    life: Life,
    /// The number of the next question.
    number: u64,
    /// What went wrong with workers that had nothing to do.
    troubles: Vec<String>,
}

/// What a worker process does all its life: it reads a [`Question`] after the other from the socket, and writes a
/// [`Reply`] to each, as [`channel`] frames them. The process is the supervisor that it must not outlive.
pub type Life = fn(UnixStream, Pid) -> !;

/// What a worker is asked: a plan, and a number that no other question has.
pub type Question<P> = (u64, P);

/// What it answers, with the number of the question.
pub type Reply<A> = (u64, A);

#[derive(Debug)]
struct Slot {
    pid: Pid,
    socket: UnixStream,
    /// What it was given, the first of it being worked on.
    jobs: VecDeque<Job>,
}

#[derive(Debug)]
struct Job {
    ticket: usize,
    number: u64,
    /// The plan as it is sent: it is sent again to another worker if this one ends before its turn.
    message: Vec<u8>,
    time: Duration,
    deadline: Instant,
}

const ENDED: &str = "its process ended while the scenario was running";
const UNASKED: &str = "it answered what it was not asked";

/// How many plans a worker is given: one to work on, one to go on with at once.
const DEPTH: usize = 2;

impl Host {
    /// Starts this many workers.
    ///
    /// # Errors
    /// Those of socketpair(2) and fork(2).
    pub fn start(workers: usize) -> io::Result<Self> {
        Self::of(workers, serve)
    }

    /// Starts this many workers that live so.
    ///
    /// # Errors
    /// Those of socketpair(2) and fork(2).
    pub fn of(workers: usize, life: Life) -> io::Result<Self> {
        let mut host =
            Self { workers: Vec::with_capacity(workers), life, number: 0, troubles: Vec::new() };
        for _ in 0..workers.max(1) {
            let slot = host.start_worker()?;
            host.workers.push(slot);
        }
        Ok(host)
    }

    fn start_worker(&mut self) -> io::Result<Slot> {
        let (ours, theirs) = UnixStream::pair()?;
        // Who has begun to answer goes on: one that stops in the middle must not stop the supervisor.
        ours.set_read_timeout(Some(GRACE))?;
        let supervisor = getpid();
        match sys::fork()? {
            None => {
                drop(ours);
                // The copies of the other workers' sockets would keep them from seeing the end.
                self.workers.clear();
                (self.life)(theirs, supervisor)
            }
            Some(pid) => Ok(Slot { pid, socket: ours, jobs: VecDeque::new() }),
        }
    }

    /// Takes the answer of a worker; one that ended has broken over the plan that it worked on.
    fn collect(&mut self, index: usize) -> io::Result<Option<(usize, Answer)>> {
        let slot = &mut self.workers[index];
        let answer = channel::receive::<Reply<worker::Answer>>(&mut slot.socket);
        let job = slot.jobs.pop_front();
        if let Some(next) = slot.jobs.front_mut() {
            next.deadline = Instant::now() + next.time;
        }
        let asked = job.as_ref().map(|job| job.number);
        let (answer, ended) = match answer {
            Ok(Some((number, answer))) if Some(number) == asked => (Answer::from(answer), false),
            // Nothing that it says after that is believed.
            Ok(Some(_)) => (broken(UNASKED), true),
            Ok(None) => (broken(ENDED), true),
            // It left something unread behind: the plan that it had not begun.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => (broken(ENDED), true),
            Err(error) => (broken(&format!("its answer cannot be read: {error}")), true),
        };
        if ended {
            self.replace(index)?;
        }
        Ok(job.map(|job| (job.ticket, answer)))
    }

    /// Looks whether a worker that has nothing to do is there and silent, and puts another in the place of one that is
    /// not: no plan is broken by it, but it is told.
    fn look_at(&mut self, index: usize) -> io::Result<()> {
        let slot = &mut self.workers[index];
        let mut fds = [PollFd::new(slot.socket.as_fd(), PollFlags::POLLIN)];
        if !slot.jobs.is_empty() || poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
            return Ok(());
        }
        let said = channel::receive::<Reply<worker::Answer>>(&mut slot.socket);
        self.troubles.push(match said {
            Ok(None) => "a worker died that had nothing to do".to_owned(),
            Ok(Some(_)) => UNASKED.to_owned(),
            Err(error) => format!("a worker that had nothing to do: {error}"),
        });
        self.replace(index)
    }

    /// Starts another worker in place of one, and gives it what the other had not begun.
    fn replace(&mut self, index: usize) -> io::Result<()> {
        let slot = &mut self.workers[index];
        let _ = kill(slot.pid, Signal::SIGKILL);
        let _ = waitpid(slot.pid, None);
        let waiting = std::mem::take(&mut slot.jobs);
        self.workers[index] = self.start_worker()?;
        for job in waiting {
            self.give(index, job);
        }
        Ok(())
    }

    /// Gives a worker a plan. One that has died meanwhile does not take it, but still has it: that it
    /// died is seen when its answer is waited for, and then the plan goes to another.
    fn give(&mut self, index: usize, mut job: Job) {
        let slot = &mut self.workers[index];
        let _ = slot.socket.write_all(&job.message);
        job.deadline = Instant::now() + job.time;
        slot.jobs.push_back(job);
    }
}

fn broken(detail: &str) -> Answer {
    let detail = detail.to_owned();
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
        DEPTH * self.workers.len()
    }

    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        let index = (0..self.workers.len()).min_by_key(|index| self.workers[*index].jobs.len());
        let index = index.filter(|index| self.workers[*index].jobs.len() < DEPTH);
        let Some(index) = index else { return Err(io::Error::other("every worker is busy")) };
        let time = Duration::from_millis(plan.timeout_ms) + GRACE;
        let number = self.number;
        self.number += 1;
        let message = channel::encode::<Question<&Plan>>(&(number, plan))?;
        let job = Job { ticket, number, message, time, deadline: Instant::now() };
        self.look_at(index)?;
        self.give(index, job);
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<(usize, Answer)>> {
        let busy: Vec<usize> =
            (0..self.workers.len()).filter(|i| !self.workers[*i].jobs.is_empty()).collect();
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
        let stuck = busy
            .into_iter()
            .find(|i| self.workers[*i].jobs.front().is_some_and(|job| now >= job.deadline));
        let Some(index) = stuck else { return Ok(None) };
        let job = self.workers[index].jobs.pop_front();
        self.replace(index)?;
        Ok(job.map(|job| (job.ticket, broken("it did not answer in time and was killed"))))
    }

    fn trouble(&mut self) -> Option<String> {
        if self.troubles.is_empty() {
            for index in 0..self.workers.len() {
                self.look_at(index).ok()?;
            }
        }
        self.troubles.pop()
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        let busy = self.workers.iter().filter(|slot| !slot.jobs.is_empty());
        busy.map(|slot| slot.socket.as_fd()).collect()
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
fn serve(mut socket: UnixStream, supervisor: Pid) -> ! {
    let _ = setsid();
    die_with(supervisor);
    let worker = Worker::new();
    loop {
        match channel::receive::<Question<Plan>>(&mut socket) {
            Ok(Some((number, plan))) => {
                let answer = match &worker {
                    Ok(worker) => worker.run(&plan),
                    Err(errno) => worker::Answer::Asked(Box::new(Transcript::broken(Breakage {
                        stage: "worker".into(),
                        detail: format!("memory for its answers cannot be had: {errno}"),
                        errno: None,
                    }))),
                };
                let reply: Reply<_> = (number, answer);
                if channel::send(&mut socket, &reply).is_err() {
                    sys::exit_now(1);
                }
            }
            Ok(None) => sys::exit_now(0),
            Err(_) => sys::exit_now(1),
        }
    }
}
