//! One of the processes that search: it makes up trials, asks the kernel, and compares.
//!
//! While the kernel works on some trials, the next ones are made up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::unistd::{Pid, getpid, setsid};
use serde::{Deserialize, Serialize};

use super::compare::{compare, judge, up_to};
use super::invariants::{Answered, told_apart};
use super::kernel::{Asking, Kernel};
use super::mutation::Mutation;
use super::summary::Summary;
use super::trial::{Batch, Made, Recipe, twin};
use super::{Asked, Cause, Deviation, Finding, Place, SearchError};
use crate::channel;
use crate::model::rules::Invariant;
use crate::probe::Environment;
use crate::sandbox::die_with;
use crate::scenario::plan::Plan;
use crate::sys;
use crate::target::remote::{hang_up, readable};
use crate::transcript::{Breakage, Transcript};
use crate::worker::arena::Check;

/// What a job is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// To ask the trials of these numbers.
    Trials(Vec<u64>),
    /// To ask these plans in this way.
    Plans(Vec<Plan>, Way),
}

/// In what way plans are asked that were found before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// Once, and it is observed in the end.
    Plain,
    /// It is observed after every step.
    Step,
    /// As real root and as root of a user namespace.
    Twice,
}

impl Way {
    /// The way in which a deviation shows.
    pub fn of(deviation: &Deviation) -> Self {
        match deviation.place {
            Place::Invariant(Invariant::Root, _) => Self::Twice,
            Place::Invariant(..) => Self::Step,
            Place::World | Place::Step(_) | Place::Observation(_) => Self::Plain,
        }
    }
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parted {
    /// The first trial of them.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// The plan of the first.
    pub plan: Plan,
    /// Its deviation.
    pub deviation: Deviation,
    /// Whether the plan showed it again when it was asked alone; nothing where it was not.
    pub again: Option<bool>,
}

impl From<Parted> for Finding {
    fn from(parted: Parted) -> Self {
        let Parted { first, count, plan: smallest, deviation, again } = parted;
        Self { cause: deviation.cause.clone(), count, first, smallest, deviation, again }
    }
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
    /// The first trials of those requests.
    pub given: VecDeque<u64>,
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
            Some(pid) => {
                Ok(Self { pid, socket: ours, unanswered: 0, given: VecDeque::new(), ready: false })
            }
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
        let batch = match request {
            Request::Trials(numbers) => Some(searcher.recipe.make_all(&numbers)),
            Request::Plans(plans, way) => {
                if let Some(pending) = pending.take() {
                    say(socket, &searcher.finish(pending)?)?;
                }
                let asked = searcher.ask(plans, way)?;
                say(socket, &Reply::Plans(asked))?;
                None
            }
        };
        let Some(batch) = batch else { continue };
        let done = pending.take().map(|pending| searcher.collect(pending)).transpose()?;
        pending = Some(searcher.begin(batch)?);
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
    batch: Batch,
    asking: Asking,
}

/// Trials that the kernel has answered.
struct Done {
    batch: Batch,
    transcripts: Vec<Transcript>,
}

struct Searcher {
    kernel: Kernel,
    recipe: Recipe,
    /// The rules that were missed by some trial.
    missed: BTreeSet<&'static str>,
}

impl Searcher {
    fn begin(&mut self, batch: Batch) -> Result<Pending, SearchError> {
        let plans = batch.made.iter().map(|made| made.trial.plan.clone()).collect();
        let asking = self.kernel.begin(plans, self.recipe.check)?;
        Ok(Pending { batch, asking })
    }

    fn collect(&mut self, pending: Pending) -> Result<Done, SearchError> {
        let transcripts = self.kernel.finish(&pending.asking)?;
        Ok(Done { batch: pending.batch, transcripts })
    }

    fn finish(&mut self, pending: Pending) -> Result<Reply, SearchError> {
        let done = self.collect(pending)?;
        Ok(Reply::Trials(Box::new(self.report(done))))
    }

    fn report(&mut self, done: Done) -> Report {
        let mut report = Report::default();
        if self.recipe.mutate {
            report.mutation = self.mutate(&done);
        }
        let mut causes: BTreeMap<Cause, Parted> = BTreeMap::new();
        self.tell_apart(&done, &mut report.summary, &mut causes);
        report.summary.left_out = done.batch.left_out;
        for (made, transcript) in done.batch.made.into_iter().zip(&done.transcripts) {
            let Made { trial, prediction, is_twin } = made;
            if !is_twin {
                report.summary.add(&trial.plan, transcript, &prediction);
            }
            let check = self.recipe.check;
            match judge(&trial.plan, transcript, &prediction, check, &mut report.summary) {
                Asked::Agree => {}
                Asked::Broke(breakage) => {
                    report.summary.broken += 1;
                    report.broken.push((trial.number, breakage));
                }
                Asked::Part(mut deviation) => {
                    report.summary.parted += 1;
                    let mut plan = trial.plan;
                    up_to(&mut plan, &mut deviation, check);
                    add(&mut causes, trial.number, plan, *deviation);
                }
            }
        }
        report.parted = causes.into_values().collect();
        report
    }

    /// Where real root and others were answered otherwise, by no rule.
    fn tell_apart(&self, done: &Done, summary: &mut Summary, causes: &mut BTreeMap<Cause, Parted>) {
        let check = self.recipe.check;
        let both = || done.batch.made.iter().zip(&done.transcripts);
        let twins: BTreeMap<u64, _> =
            both().filter(|(made, _)| made.is_twin).map(|two| (two.0.trial.number, two)).collect();
        for one in both().filter(|(made, _)| !made.is_twin) {
            let number = one.0.trial.number;
            let Some(two) = twins.get(&number) else { continue };
            if let Some(mut deviation) =
                apart(answered(one.0, one.1), answered(two.0, two.1), check, summary)
            {
                summary.parted += 1;
                let mut plan = one.0.trial.plan.clone();
                up_to(&mut plan, &mut deviation, check);
                add(causes, number, plan, deviation);
            }
        }
    }

    /// Which rules are missed by these trials, where they were by none before.
    fn mutate(&mut self, done: &Done) -> Mutation {
        let mut mutation = Mutation::default();
        let mut in_order: Vec<_> = done.batch.made.iter().zip(&done.transcripts).collect();
        in_order.sort_by_key(|(made, _)| made.trial.number);
        for (made, kernel) in in_order {
            mutation.hold(made, kernel, &self.recipe, &mut self.missed);
        }
        mutation
    }

    /// What kernel and model say of plans that were not made up here.
    fn ask(&mut self, plans: Vec<Plan>, way: Way) -> Result<Vec<Asked>, SearchError> {
        let check = if way == Way::Step { Check::Step } else { Check::Sequence };
        let count = plans.len();
        let mut all = plans;
        if way == Way::Twice {
            let twins: Vec<_> = all.iter().map(twin).collect();
            all.extend(twins);
        }
        let predictions: Vec<_> = all.iter().map(|plan| self.recipe.predict(plan, check)).collect();
        let asking = self.kernel.begin(all, check)?;
        let transcripts = self.kernel.finish(&asking)?;
        let answered = |index: usize| Answered {
            plan: &asking.plans[index],
            kernel: &transcripts[index],
            model: &predictions[index],
        };
        let judged = |index: usize| {
            let (one, mut summary) = (answered(index), Summary::default());
            if way != Way::Twice {
                return judge(one.plan, one.kernel, one.model, check, &mut summary);
            }
            let apart = apart(one, answered(count + index), check, &mut summary);
            apart.map_or(Asked::Agree, |deviation| Asked::Part(Box::new(deviation)))
        };
        Ok((0..count).map(judged).collect())
    }
}

/// Whether one of two is answered as real root and the other is not, in another way by no rule.
fn apart(
    one: Answered<'_>,
    two: Answered<'_>,
    check: Check,
    summary: &mut Summary,
) -> Option<Deviation> {
    let agrees = |answered: Answered<'_>| {
        compare(answered.plan, answered.kernel, answered.model, check) == Asked::Agree
    };
    // Where the model says otherwise, that is the deviation.
    if !agrees(one) || !agrees(two) {
        return None;
    }
    let (root, other) = if one.plan.needs.privileged { (one, two) } else { (two, one) };
    told_apart(root, other, check, summary)
}

fn answered<'a>(made: &'a Made, kernel: &'a Transcript) -> Answered<'a> {
    Answered { plan: &made.trial.plan, kernel, model: &made.prediction }
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
            causes.insert(cause, Parted { first: number, count: 1, plan, deviation, again: None });
        }
    }
}
