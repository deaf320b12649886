//! Runs plans against the kernel that it is on.
//!
//! A worker is a single-threaded process that lives through the run and starts a sandbox for each
//! plan. In the sandbox, `conduct` sets up the world, starts the actors, lets them take the steps
//! in turn and observes; what it says is appended to memory that the worker shares, so that
//! nothing has to be copied while the scenario runs and everything up to a timeout is kept.

mod actor;
mod conduct;
mod credentials;
mod devices;
mod exec;
mod files;
mod fuse;
mod image;
mod mounts;
mod namespaces;
mod nfs;
mod observe;
mod perform;
mod processor;
mod roots;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use serde::{Deserialize, Serialize};

use crate::missing::Missing;
use crate::programs::{self, Program};
use crate::sandbox::{self, IdSource, Programs, restrictions};
use crate::scenario::plan::Plan;
use crate::sys::SharedBuffer;
use crate::transcript::{Breakage, End, Observation, Outcome, Transcript};

use processor::OneProcessor;

pub use credentials::{PROGRAM_NAME, run_program};

/// Most bytes of outcomes and observations of one plan.
const TRANSCRIPT_BYTES: usize = 64 << 20;

/// What a worker answers to a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The plan was asked, to its end or not.
    Asked(Box<Transcript>),
    /// This host does not allow to ask it, for these reasons.
    Missing(Vec<Missing>),
}

/// One part of a transcript, in the order in which it came about.
#[derive(Debug, Serialize, Deserialize)]
enum Part {
    Outcome(Outcome),
    Observation(Observation),
    Evidence(String, String),
    Broke(Breakage),
    Completed,
}

/// Runs plans one after the other.
#[derive(Debug)]
pub struct Worker {
    ids: IdSource,
    buffer: SharedBuffer,
    /// Started for the first plan that has exports, and kept for those after it.
    nfs: RefCell<Option<nfs::Server>>,
    /// What is known of programs of the system, by name.
    programs: RefCell<BTreeMap<String, Result<Program, Missing>>>,
}

impl Worker {
    /// A worker for this process, which must have one thread.
    ///
    /// # Errors
    /// Where the shared memory cannot be had.
    pub fn new() -> Result<Self, nix::errno::Errno> {
        Ok(Self {
            ids: IdSource::detect(),
            buffer: SharedBuffer::new(TRANSCRIPT_BYTES)?,
            nfs: RefCell::default(),
            programs: RefCell::default(),
        })
    }

    /// Runs one plan in a fresh sandbox, or says why it cannot be run here.
    pub fn run(&self, plan: &Plan) -> Answer {
        let maps = match self.ids.maps(&plan.needs.ids) {
            Ok(maps) => maps,
            Err(missing) => return Answer::Missing(missing),
        };
        let programs = match self.programs(plan) {
            Ok(programs) => programs,
            Err(missing) => return Answer::Missing(missing),
        };
        self.buffer.clear();
        let started = Instant::now();
        let log = Log { buffer: &self.buffer };
        let server = match self.nfs_server(plan) {
            Ok(server) => server,
            Err(breakage) => return answer(Transcript::broken(breakage)),
        };
        let stay = OneProcessor::stay();
        let sandbox = sandbox::start(&self.ids, &maps, &plan.needs, &programs, |sandbox| {
            match sandbox.and_then(|sandbox| {
                server.as_ref().map_or(Ok(()), nfs::Server::join).map(|()| sandbox)
            }) {
                Ok(sandbox) => conduct::conduct(plan, sandbox, &log),
                Err(breakage) => log.add(&Part::Broke(breakage)),
            }
        });
        drop(stay);
        let sandbox = match sandbox {
            Ok(sandbox) => sandbox,
            Err(breakage) => return answer(Transcript::broken(breakage)),
        };
        let limit = Duration::from_millis(plan.timeout_ms);
        let child = &sandbox.child;
        let in_time = wait(child, limit.saturating_sub(started.elapsed()));
        if !in_time {
            // The child is the first process of its pid namespace: everything in it ends too.
            let _ = kill(child.pid, Signal::SIGKILL);
        }
        let status = waitpid(child.pid, None);
        let mut transcript = self.transcript();
        if !matches!(transcript.end, End::Completed) && !in_time {
            transcript.end = End::TimedOut;
        } else if let End::Broke(breakage) = &mut transcript.end
            && breakage.stage.is_empty()
        {
            breakage.stage = "sandbox: its first process".into();
            breakage.detail = format!("ended early: {status:?}");
        }
        // Otherwise it is stopped: what the plan left behind at the server is for no other one. And who
        // answered for groups is missed by the server for half a minute (cache_listeners_exist() of
        // net/sunrpc/cache.c), in which it waits.
        let asks = plan.world.nfs.iter().any(|nfs| !nfs.manage_gids.is_empty());
        if server.is_some() && matches!(transcript.end, End::Completed) && !asks {
            self.nfs.replace(server);
        }
        answer(transcript)
    }

    /// A server where the plan has exports: the one before it had, or a new one.
    fn nfs_server(&self, plan: &Plan) -> Result<Option<nfs::Server>, Breakage> {
        if plan.world.nfs.is_empty() {
            return Ok(None);
        }
        let server = self.nfs.take().filter(nfs::Server::is_idle);
        server.map_or_else(nfs::Server::start, Ok).map(Some)
    }

    /// The programs of the system that a plan names, or all that are missing.
    fn programs(&self, plan: &Plan) -> Result<Programs, Vec<Missing>> {
        let mut known = self.programs.borrow_mut();
        let (mut found, mut missing) = (Programs::new(), Vec::new());
        for name in plan.world.programs() {
            let program = known.entry(name.to_string());
            match program.or_insert_with(|| programs::find(name.as_str())) {
                Ok(program) => drop(found.insert(name.clone(), program.clone())),
                Err(reason) => missing.push(reason.clone()),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(missing) }
    }

    fn transcript(&self) -> Transcript {
        let ended = Breakage { stage: String::new(), detail: String::new(), errno: None };
        let mut transcript = Transcript::broken(ended);
        let contents = self.buffer.contents();
        for line in contents.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(Part::Outcome(outcome)) => transcript.outcomes.push(outcome),
                Ok(Part::Observation(observation)) => transcript.observations.push(observation),
                Ok(Part::Evidence(name, text)) => drop(transcript.evidence.insert(name, text)),
                Ok(Part::Broke(breakage)) => transcript.end = End::Broke(breakage),
                Ok(Part::Completed) => transcript.end = End::Completed,
                Err(error) => {
                    let stage = "worker: transcript".to_owned();
                    transcript.end =
                        End::Broke(Breakage { stage, detail: error.to_string(), errno: None });
                    break;
                }
            }
        }
        transcript
    }
}

/// A sandbox that broke where a restriction of the host explains it was not a sandbox that broke.
fn answer(transcript: Transcript) -> Answer {
    if let End::Broke(breakage) = &transcript.end {
        let mut missing = restrictions(breakage);
        missing.extend(nfs::missing(breakage));
        if !missing.is_empty() {
            return Answer::Missing(missing);
        }
    }
    Answer::Asked(Box::new(transcript))
}

/// Waits for the end of a child; false where the time is up first.
fn wait(child: &crate::sys::Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(n) if n > 0 => return true,
            Ok(_) if Instant::now() >= deadline => return false,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Where the parts of a transcript are written.
struct Log<'b> {
    buffer: &'b SharedBuffer,
}

impl Log<'_> {
    /// Adds one part. What does not fit breaks the scenario instead of being cut off silently.
    fn add(&self, part: &Part) {
        let mut line = serde_json::to_vec(part).unwrap_or_default();
        line.push(b'\n');
        if line.len() <= 1 || !self.buffer.append(&line) {
            crate::sys::exit_now(1);
        }
    }
}
