//! Runs plans against the kernel that it is on.
//!
//! A worker is a single-threaded process that lives through the run and starts a sandbox for each
//! plan. In the sandbox, `conduct` sets up the world, starts the actors, lets them take the steps
//! in turn and observes; what it says is appended to memory that the worker shares, so that
//! nothing has to be copied while the scenario runs and everything up to a timeout is kept.

mod actor;
pub mod arena;
pub mod asker;
mod cgroup;
mod conduct;
mod container;
mod credentials;
mod devices;
mod exec;
mod files;
mod fuse;
mod guard;
mod image;
pub(crate) mod log;
mod mount_root;
mod mounts;
mod namespaces;
mod nfs;
pub(crate) mod observe;
mod overlay;
mod perform;
mod roots;
mod sharing;
pub mod shell;
mod stacks;
mod standing;
pub mod tools;
pub mod traced;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::wait::WaitStatus;
use serde::{Deserialize, Serialize};

use crate::missing::Missing;
use crate::processor::OneProcessor;
use crate::programs::{self, Program};
use crate::sandbox::{self, Ended, IdSource, Maker, Making, Maps, Programs, Sandbox, restrictions};
use crate::scenario::plan::Plan;
use crate::sys::{self, SharedBuffer, Stack};
use crate::transcript::{Breakage, End, TRACE, Transcript};

use arena::{Check, fits, stays};
use log::{Log, Part};
use sharing::Sharing;
use shell::Visit;
use stacks::Stacks;
use standing::Standing;
use traced::Steps;

pub use credentials::{PROGRAM_NAME, run_program};
pub use world::plant_by_hand;

/// Most bytes of outcomes and observations of one plan.
const TRANSCRIPT_BYTES: usize = 64 << 20;
/// The same of many plans together: one may make a tree of thousands of mounts.
const ANSWERS_BYTES: usize = 4 * TRANSCRIPT_BYTES;

/// How many sandboxes in which plans take turns there are at one time.
const MOST_STANDING: usize = 4;

/// How many processes may leave behind what they had of a worker's memory: about 2 KB, where one ended by
/// itself.
const MOST_LEFT_BEHIND: usize = 10_000;

/// What a worker answers to a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The plan was asked, to its end or not.
    Asked(Box<Transcript>),
    /// This host does not allow to ask it, for these reasons.
    Missing(Vec<Missing>),
}

/// Runs plans one after the other.
#[derive(Debug)]
pub struct Worker {
    ids: IdSource,
    buffer: Rc<SharedBuffer>,
    /// What many plans answer that are asked together.
    answers: SharedBuffer,
    /// Started for the first plan that has exports, and kept for those after it.
    nfs: RefCell<Option<nfs::Server>>,
    /// What is known of programs of the system, by name.
    programs: RefCell<BTreeMap<String, Result<Program, Missing>>>,
    /// Whether a sandbox may share the memory of this process.
    may_share: bool,
    /// Who makes its sandboxes, where it is not the worker itself.
    maker: Option<Maker>,
    /// Sandboxes in which plans take turns, the one that was asked last first.
    standing: RefCell<Vec<Standing>>,
    stacks: Stacks,
    /// How many processes ended without giving back what they had of its memory.
    left_behind: Cell<usize>,
}

impl Worker {
    /// A worker for this process, which must have one thread.
    ///
    /// # Errors
    /// Where the shared memory cannot be had.
    pub fn new() -> Result<Self, nix::errno::Errno> {
        Self::with(false)
    }

    /// A worker in a guest, where there is nobody to harm: its sandboxes may share its memory, and another process
    /// makes them.
    ///
    /// # Errors
    /// Where the shared memory cannot be had, or that process.
    pub fn in_guest() -> Result<Self, Breakage> {
        sys::hand_on_program_at_fork();
        let worker = Self::sharing_memory()
            .map_err(|errno| sandbox::breakage("worker: memory for transcripts", errno))?;
        Ok(Self { maker: Some(Maker::start()?), ..worker })
    }

    /// A worker whose sandboxes may share its memory: in a guest, and for trials, which nsharness makes up itself.
    ///
    /// # Errors
    /// Where the shared memory cannot be had.
    pub fn sharing_memory() -> Result<Self, nix::errno::Errno> {
        crate::sys::give_back_large_blocks();
        Self::with(true)
    }

    fn with(may_share: bool) -> Result<Self, nix::errno::Errno> {
        Ok(Self {
            may_share,
            maker: None,
            ids: IdSource::detect(),
            buffer: Rc::new(SharedBuffer::new(TRANSCRIPT_BYTES)?),
            answers: SharedBuffer::new(ANSWERS_BYTES)?,
            nfs: RefCell::default(),
            programs: RefCell::default(),
            standing: RefCell::default(),
            stacks: Stacks::default(),
            left_behind: Cell::new(0),
        })
    }

    /// Runs one plan, or says why it cannot be run here: in a fresh sandbox, or in a guest where the plan
    /// allows it in one that others were asked in.
    pub fn run(&self, plan: &Plan) -> Answer {
        self.run_checked(plan, Check::Sequence, None)
    }

    /// Takes the steps of a plan, and lets a shell in then, until its program ends.
    pub fn let_in(&self, plan: &Plan, visit: &Visit) -> Answer {
        self.run_checked(plan, Check::Sequence, Some(visit))
    }

    /// Runs one plan, where it may be observed after every step, or let a shell in.
    fn run_checked(&self, plan: &Plan, check: Check, visit: Option<&Visit>) -> Answer {
        let maps = match self.ids.maps(&plan.needs.ids) {
            Ok(maps) => maps,
            Err(missing) => return Answer::Missing(missing),
        };
        if self.may_share
            && check == Check::Sequence
            && visit.is_none()
            && !plan.trace
            && fits(plan)
        {
            return self.run_beside_others(plan, &maps);
        }
        let programs = match self.programs(plan) {
            Ok(programs) => programs,
            Err(missing) => return Answer::Missing(missing),
        };
        let asked = self.run_afresh(plan, check, visit, &maps, &programs);
        answer(asked.unwrap_or_else(Transcript::broken))
    }

    /// Runs one plan in a fresh sandbox.
    fn run_afresh(
        &self,
        plan: &Plan,
        check: Check,
        visit: Option<&Visit>,
        maps: &Maps,
        programs: &Programs,
    ) -> Result<Transcript, Breakage> {
        // Who shares memory is no process of its own to a tracer.
        let shares = self.may_share && !plan.trace && visit.is_none();
        let sharing = if shares { Sharing::of(plan) } else { Sharing::default() };
        let stacks = self.stacks.take(sharing.processes()).map_err(|errno| Breakage {
            stage: "worker: mmap of a stack".to_owned(),
            detail: errno.to_string(),
            errno: None,
        })?;
        let (first, others) = match stacks[..sharing.processes()].split_first() {
            Some((first, others)) => (Some(first), others),
            None => (None, &[][..]),
        };
        self.buffer.clear();
        let log = Log { buffer: &self.buffer, ends_only: false };
        let server = self.nfs_server(plan)?;
        let cgroup = cgroup::Cgroup::of(plan)?;
        let stay = OneProcessor::stay();
        let limit = Duration::from_millis(plan.timeout_ms);
        let conduct = |sandbox: Result<Sandbox, Breakage>| match sandbox.and_then(|sandbox| {
            server.as_ref().map_or(Ok(()), nfs::Server::join)?;
            cgroup.as_ref().map_or(Ok(()), cgroup::Cgroup::join)?;
            Ok(sandbox)
        }) {
            Ok(sandbox) => {
                conduct::conduct(plan, sandbox, &sharing, others, check, visit, &log);
            }
            Err(breakage) => log.add(&Part::Broke(breakage)),
        };
        let (ids, needs) = (&self.ids, &plan.needs);
        let records = visit.is_some_and(|visit| visit.shell.record);
        let mut steps = (plan.trace || records).then(|| Steps::new(plan, visit));
        let ended = match &mut steps {
            None => sandbox::run(ids, maps, needs, programs, self.making(first), limit, conduct),
            Some(steps) => {
                let deadline = Instant::now() + limit;
                sandbox::start(ids, maps, needs, programs, self.making(None), conduct, |child| {
                    steps.follow(&child, deadline)
                })
            }
        };
        drop((stay, cgroup));
        let others = others.len();
        self.stacks.put_back(stacks);
        let ended = ended?;
        self.count_left_behind(&ended, sharing.first, others);
        let mut transcript = self.transcript();
        if let Some(steps) = steps.filter(|_| plan.trace) {
            transcript.evidence.insert(TRACE.to_owned(), steps.text(plan));
        }
        explain_end(&mut transcript.end, &ended);
        if matches!(transcript.end, End::Completed) {
            self.keep_server(server, plan);
        }
        // Otherwise it is stopped: what the plan left behind at the server is for no other one.
        Ok(transcript)
    }

    /// How it makes a sandbox, whose first process may run on a stack beside it.
    fn making<'a>(&'a self, stack: Option<&'a Stack>) -> Making<'a> {
        Making { stack, maker: self.maker.as_ref() }
    }

    /// Who was killed while it shared this process's memory may have left it in any state: it is for no other plan.
    fn count_left_behind(&self, ended: &Ended, shared: bool, others: usize) {
        let exited = ended.in_time && matches!(ended.status, Ok(WaitStatus::Exited(..)));
        let left_behind = self.left_behind.get() + others;
        self.left_behind.set(if exited || !shared { left_behind } else { MOST_LEFT_BEHIND });
    }

    fn run_beside_others(&self, plan: &Plan, maps: &Maps) -> Answer {
        let mut all = self.standing.borrow_mut();
        let standing = match all.iter().position(|standing| standing.suits(plan)) {
            Some(place) => Ok(all.remove(place)),
            None => Standing::start(self, maps, plan),
        };
        let mut standing = match standing {
            Ok(standing) => standing,
            Err(breakage) => return answer(Transcript::broken(breakage)),
        };
        self.buffer.clear();
        let asked = standing.ask(plan);
        let mut transcript = self.transcript();
        let actors = if stays(plan) { 0 } else { Sharing::of(plan).processes().saturating_sub(1) };
        self.left_behind.set(self.left_behind.get() + actors);
        let goes_on = asked == Ok(true);
        if let Err(end) = asked {
            transcript.end = end;
        }
        if goes_on {
            all.truncate(MOST_STANDING - 1);
            all.insert(0, standing);
        } else if !matches!(transcript.end, End::Completed) {
            // One of its processes was killed, or died, in the middle of something.
            self.left_behind.set(MOST_LEFT_BEHIND);
        }
        answer(transcript)
    }

    /// Keeps a server for the next plan, unless it asked for groups: who answered for them is missed by the server
    /// for half a minute (cache_listeners_exist() of net/sunrpc/cache.c), in which it waits.
    fn keep_server(&self, server: Option<nfs::Server>, plan: &Plan) {
        let asks = plan.world.nfs.iter().any(|nfs| !nfs.manage_gids.is_empty());
        if server.is_some() && !asks {
            self.nfs.replace(server);
        }
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
        for asked in plan.runtime.iter().chain(&plan.overlay) {
            let find = || match asked.path.is_file() {
                true => programs::at(&asked.path),
                // In a guest it may have another place.
                false => programs::find(asked.program.as_str()),
            };
            match known.entry(asked.path.display().to_string()).or_insert_with(find) {
                Ok(program) => drop(found.insert(asked.program.clone(), program.clone())),
                Err(reason) => missing.push(reason.clone()),
            }
        }
        if let Some(asked) = &plan.overlay
            && let Some(program) = found.get_mut(&asked.program)
        {
            program.libraries.insert(overlay::place(asked), program.path.clone());
        }
        if missing.is_empty() { Ok(found) } else { Err(missing) }
    }

    /// Whether it should not go on: its memory may be damaged by a process that shared it and was killed,
    /// or much of it was left behind by such processes.
    pub fn is_spent(&self) -> bool {
        self.left_behind.get() >= MOST_LEFT_BEHIND
    }

    fn transcript(&self) -> Transcript {
        let mut transcripts = log::read(&self.buffer);
        if transcripts.len() > 1 {
            // It goes on after its end: which part of it is true is not known.
            let stage = "worker: transcript".to_owned();
            let detail = format!("it ends {} times", transcripts.len());
            return Transcript::broken(Breakage { stage, detail, errno: None });
        }
        transcripts.pop().unwrap_or_else(log::unended)
    }
}

/// Says of a plan that was not taken to its end why: its time was up, or the first process of its sandbox ended early.
fn explain_end(end: &mut End, ended: &Ended) {
    match end {
        End::Completed => {}
        _ if !ended.in_time => *end = End::TimedOut,
        End::Broke(breakage) if breakage.stage.is_empty() => {
            breakage.stage = "sandbox: its first process".into();
            breakage.detail = format!("ended early: {:?}", ended.status);
        }
        _ => {}
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
