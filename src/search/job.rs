//! One of the processes that search: it makes up trials, asks the kernel, and compares.
//!
//! While the kernel works on some trials, the next ones are made up.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::unistd::{Pid, getpid, setsid};
use serde::{Deserialize, Serialize};

use super::compare::{compare, up_to};
use super::kernel::{Asking, Kernel};
use super::mutation::Mutation;
use super::summary::Summary;
use super::trial::{Made, Recipe};
use super::{Asked, Cause, Deviation, SearchError};
use crate::channel;
use crate::probe::Environment;
use crate::sandbox::die_with;
use crate::scenario::plan::Plan;
use crate::sys;
use crate::target::remote::{hang_up, readable};
use crate::transcript::Breakage;
use crate::worker::arena::Check;

/// What a job is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// To ask the trials of these numbers.
    Trials(Vec<u64>),
    /// To ask these plans.
    Plans(Vec<Plan>),
}

/// What a job says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Its kernel is there; its first word.
    Ready(Box<Environment>),
    /// What came of trials.
    Trials(Box<Report>),
    /// What came of plans.
    Plans(Vec<Asked>),
    /// It cannot go on.
    Ended(SearchError),
}

/// What came of some trials.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// How many they were.
    pub count: u64,
    /// Counts.
    pub summary: Summary,
    /// Which rules are missed, where that was wanted.
    pub mutation: Mutation,
    /// Where kernel and model part, by cause.
    pub parted: Vec<Parted>,
    /// Trials that were not asked to their end.
    pub broken: Vec<(u64, Breakage)>,
}

/// The deviations of one cause in some trials.
#[derive(Debug, Serialize, Deserialize)]
pub struct Parted {
    /// The first trial of them.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// The plan of the first.
    pub plan: Plan,
    /// Its deviation.
    pub deviation: Deviation,
}

/// How a job gets its kernel, and what it learns of it; and how it makes trials of that.
pub struct Beginning {
    /// Opens the kernel.
    pub open: Box<dyn FnOnce() -> Result<(Kernel, Environment), SearchError>>,
    /// The recipe for what is known of the kernel.
    pub recipe: Box<dyn Fn(&Environment) -> Recipe>,
}

/// A job, seen from the process that started it.
#[derive(Debug)]
pub struct Job {
    pid: Pid,
    /// The line to it.
    pub socket: UnixStream,
    /// How many requests it has not answered.
    pub unanswered: usize,
    /// Whether its kernel is there.
    pub ready: bool,
}

impl Job {
    /// Starts a job; this process must have one thread.
    ///
    /// # Errors
    /// Those of socketpair(2) and fork(2).
    pub fn start(beginning: Beginning) -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let supervisor = getpid();
        match sys::fork()? {
            Some(pid) => Ok(Self { pid, socket: ours, unanswered: 0, ready: false }),
            None => {
                let _ = setsid();
                die_with(supervisor);
                let socket = OwnedFd::from(theirs);
                // The lines of others would be kept open by its copies.
                sys::close_all_but(&[&socket]);
                let mut socket = UnixStream::from(socket);
                if let Err(error) = serve(beginning, &mut socket) {
                    let _ = channel::send(&mut socket, &Reply::Ended(error));
                }
                sys::exit_now(0)
            }
        }
    }

    /// Asks it something.
    ///
    /// # Errors
    /// Where it is not there any more.
    pub fn ask(&mut self, request: &Request) -> Result<(), SearchError> {
        self.unanswered += 1;
        channel::send(&mut self.socket, request).map_err(|e| SearchError::Broke(e.to_string()))
    }

    /// Waits for what it says next.
    ///
    /// # Errors
    /// Where it cannot go on.
    pub fn hear(&mut self) -> Result<Reply, SearchError> {
        match channel::receive(&mut self.socket) {
            Ok(Some(Reply::Ended(error))) => Err(error),
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(SearchError::Broke("a process of the search ended".to_owned())),
            Err(error) => Err(SearchError::Broke(format!("a process of the search: {error}"))),
        }
    }
}

/// How long a job may take to end by itself, in hundredths of a second: a guest has to be ended with it.
const PATIENCE: u32 = 200;

impl Drop for Job {
    fn drop(&mut self) {
        hang_up(&self.socket, self.pid, PATIENCE);
    }
}

/// The life of a job.
fn serve(beginning: Beginning, socket: &mut UnixStream) -> Result<(), SearchError> {
    let (kernel, environment) = (beginning.open)()?;
    let recipe = (beginning.recipe)(&environment);
    say(socket, &Reply::Ready(Box::new(environment)))?;
    let mut searcher = Searcher { kernel, recipe, missed: BTreeSet::new() };
    let mut pending: Option<Pending> = None;
    loop {
        if pending.is_some() && !readable(socket, Duration::ZERO) {
            if let Some(pending) = pending.take() {
                say(socket, &searcher.finish(pending)?)?;
            }
            continue;
        }
        let request = channel::receive(socket).map_err(|e| SearchError::Broke(e.to_string()))?;
        let Some(request) = request else { return Ok(()) };
        let made = match request {
            Request::Trials(numbers) => Some(searcher.make(&numbers)),
            Request::Plans(plans) => {
                if let Some(pending) = pending.take() {
                    say(socket, &searcher.finish(pending)?)?;
                }
                let asked = searcher.ask(plans)?;
                say(socket, &Reply::Plans(asked))?;
                None
            }
        };
        let Some((numbers, made)) = made else { continue };
        let done = pending.take().map(|pending| searcher.collect(pending)).transpose()?;
        pending = Some(searcher.begin(numbers, made)?);
        // The kernel is busy again: now is the time to compare.
        if let Some(done) = done {
            say(socket, &Reply::Trials(Box::new(searcher.report(done))))?;
        }
    }
}

fn say(socket: &mut UnixStream, reply: &Reply) -> Result<(), SearchError> {
    channel::send(socket, reply).map_err(|e| SearchError::Broke(e.to_string()))
}

/// Trials that the kernel is asked.
struct Pending {
    count: u64,
    made: Vec<Made>,
    asking: Asking,
}

/// Trials that the kernel has answered.
struct Done {
    count: u64,
    made: Vec<Made>,
    transcripts: Vec<crate::transcript::Transcript>,
}

struct Searcher {
    kernel: Kernel,
    recipe: Recipe,
    /// The rules that were missed by some trial.
    missed: BTreeSet<&'static str>,
}

impl Searcher {
    fn make(&self, numbers: &[u64]) -> (u64, Vec<Made>) {
        let mut made: Vec<_> =
            numbers.iter().filter_map(|number| self.recipe.make(*number)).collect();
        // Those that can share a sandbox stand together.
        made.sort_by_cached_key(|made| {
            let needs = &made.trial.plan.needs;
            (needs.privileged, needs.ids.clone(), needs.namespaces.clone())
        });
        (numbers.len() as u64, made)
    }

    fn begin(&mut self, count: u64, made: Vec<Made>) -> Result<Pending, SearchError> {
        let plans = made.iter().map(|made| made.trial.plan.clone()).collect();
        let asking = self.kernel.begin(plans, self.recipe.check)?;
        Ok(Pending { count, made, asking })
    }

    fn collect(&mut self, pending: Pending) -> Result<Done, SearchError> {
        let transcripts = self.kernel.finish(&pending.asking)?;
        Ok(Done { count: pending.count, made: pending.made, transcripts })
    }

    fn finish(&mut self, pending: Pending) -> Result<Reply, SearchError> {
        let done = self.collect(pending)?;
        Ok(Reply::Trials(Box::new(self.report(done))))
    }

    fn report(&mut self, done: Done) -> Report {
        let mut report = Report { count: done.count, ..Report::default() };
        if self.recipe.mutate {
            report.mutation = self.mutate(&done);
        }
        let mut causes: BTreeMap<Cause, Parted> = BTreeMap::new();
        for (made, transcript) in done.made.into_iter().zip(&done.transcripts) {
            let Made { trial, prediction } = made;
            report.summary.add(&trial.plan, transcript, &prediction);
            match compare(&trial.plan, transcript, &prediction, self.recipe.check) {
                Asked::Agree => {}
                Asked::Broke(breakage) => {
                    report.summary.broken += 1;
                    report.broken.push((trial.number, breakage));
                }
                Asked::Part(mut deviation) => {
                    report.summary.parted += 1;
                    let mut plan = trial.plan;
                    up_to(&mut plan, &mut deviation, self.recipe.check);
                    add(&mut causes, trial.number, plan, *deviation);
                }
            }
        }
        report.parted = causes.into_values().collect();
        report
    }

    /// Which rules are missed by these trials, where they were by none before.
    fn mutate(&mut self, done: &Done) -> Mutation {
        let mut mutation = Mutation::default();
        let mut in_order: Vec<_> = done.made.iter().zip(&done.transcripts).collect();
        in_order.sort_by_key(|(made, _)| made.trial.number);
        for (made, kernel) in in_order {
            mutation.hold(made, kernel, &self.recipe, &mut self.missed);
        }
        mutation
    }

    /// What kernel and model say of plans that were not made up here.
    fn ask(&mut self, plans: Vec<Plan>) -> Result<Vec<Asked>, SearchError> {
        let predictions: Vec<_> =
            plans.iter().map(|plan| self.recipe.predict(plan, Check::Sequence)).collect();
        let asking = self.kernel.begin(plans, Check::Sequence)?;
        let transcripts = self.kernel.finish(&asking)?;
        let both = transcripts.iter().zip(&predictions).zip(asking.plans());
        let compare = |((transcript, prediction), plan)| {
            compare(plan, transcript, prediction, Check::Sequence)
        };
        Ok(both.map(compare).collect())
    }
}

fn add(causes: &mut BTreeMap<Cause, Parted>, number: u64, plan: Plan, deviation: Deviation) {
    match causes.get_mut(&deviation.cause) {
        Some(parted) => {
            parted.count += 1;
            if number < parted.first {
                (parted.first, parted.plan, parted.deviation) = (number, plan, deviation);
            }
        }
        None => {
            let cause = deviation.cause.clone();
            causes.insert(cause, Parted { first: number, count: 1, plan, deviation });
        }
    }
}
