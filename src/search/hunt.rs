//! The loop of a search: it gives numbers of trials to its jobs, gathers what they find, and has it made small.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::catalogue::{Catalogue, Counted};
use super::family::{self, Means};
use super::job::{Beginning, Job, Parted, Reply, Report, Request, Way};
use super::kernel::Kernel;
use super::mutation::Mutation;
use super::shrink::shrink;
use super::summary::Summary;
use super::trial::Recipe;
use super::{Asked, Cause, Deviation, Finding, Oracle, SearchError};
use crate::model::rules;
use crate::overlays;
use crate::probe::{self, Environment};
use crate::scenario::implementation::Implementation;
use crate::scenario::plan::Plan;
use crate::shard::Shard;
use crate::sys;
use crate::target::guest::Wanted;
use crate::target::host::Host;
use crate::target::open::guest_with;
use crate::target::through::Through;
use crate::target::{Opened, Opener, Target, Unopened};
use crate::transcript::Breakage;
use crate::worker::arena::Check;

/// How many trials a job is given at once.
const BATCH: usize = 256;
/// The same of a job whose guest is slow.
const GUEST_BATCH: usize = 64;
/// How many requests a job has, so that it never waits for the next.
const AHEAD: usize = 2;
/// How many plans may be asked to make one finding small.
const QUESTIONS: usize = 600;
/// Of how many findings the plans are made small.
const MOST_SHRUNK: usize = 24;
/// How many trials are told that were not asked to their end.
const MOST_BROKEN: usize = 8;
/// How long nothing may happen before it is looked whether the search is over.
const TICK: Duration = Duration::from_millis(100);

/// What is searched, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The families, which take turns.
    pub families: Vec<&'static str>,
    /// Where the kernel is asked.
    pub target: Target,
    /// What choices follow from.
    pub seed: u64,
    /// How many trials are asked at most.
    pub count: Option<u64>,
    /// For how long trials are asked.
    pub time: Option<Duration>,
    /// How many processes search at once.
    pub jobs: usize,
    /// How often what is observed is observed.
    pub check: Check,
    /// The part that is searched here.
    pub shard: Shard,
    /// The first trial.
    pub from: u64,
    /// The rule that the model lacks.
    pub without: Option<&'static rules::Rule>,
    /// What mounts the overlays of trials, where that is not the kernel.
    pub overlay: Option<Implementation>,
    /// What is asked completely, instead of what families make up.
    pub catalogue: Option<Catalogue>,
    /// Whether it is told by which trial each rule is missed.
    pub mutate: bool,
}

/// What came of a search.
#[derive(Debug, Default)]
pub struct Haul {
    /// The kernel, once it was there.
    pub environment: Option<Environment>,
    /// Counts.
    pub summary: Summary,
    /// Which rules are missed, where that was wanted.
    pub mutation: Mutation,
    /// What was found, in the order of the causes.
    pub findings: Vec<Finding>,
    /// Some of the trials that were not asked to their end.
    pub broken: Vec<(u64, Breakage)>,
    /// The first trial that was not answered: all that is told here is of those before it.
    pub next: u64,
    /// How many trials there are, where they are counted.
    pub total: Option<u64>,
    /// For how long trials were asked.
    pub elapsed: Duration,
    /// What ended it early.
    pub ended: Option<SearchError>,
}

/// Is told how far it is.
pub trait Watcher {
    /// The kernel is there.
    fn ready(&mut self, environment: &Environment, counted: Option<&Counted>);
    /// Trials were asked; these are the causes of deviations so far.
    fn asked(&mut self, haul: &Haul, causes: &BTreeMap<Cause, Parted>);
    /// No more are asked.
    fn searched(&mut self, _haul: &Haul, _causes: &BTreeMap<Cause, Parted>) {}
    /// A finding is made small.
    fn shrinking(&mut self, cause: &Cause);
}

/// Searches until it was asked enough, or is interrupted.
pub fn search(options: &Options, watcher: &mut dyn Watcher) -> Haul {
    let mut hunt = Hunt {
        options,
        jobs: Vec::new(),
        causes: BTreeMap::new(),
        given: 0,
        next: options.from,
        reports: BTreeMap::new(),
        haul: Haul { next: options.from, ..Haul::default() },
    };
    let began = Instant::now();
    let outcome = hunt.start().and_then(|()| hunt.run(watcher));
    if hunt.haul.elapsed == Duration::ZERO {
        hunt.haul.elapsed = began.elapsed();
    }
    // What was given is answered, so that a search that goes on misses nothing.
    let outcome = match outcome {
        Ok(()) => hunt.drain(watcher),
        Err(SearchError::Interrupted) => hunt.drain(watcher).and(Err(SearchError::Interrupted)),
        Err(error) => Err(error),
    };
    watcher.searched(&hunt.haul, &hunt.causes);
    let shrunk = match &outcome {
        Ok(()) | Err(SearchError::Interrupted) => hunt.conclude(watcher),
        Err(_) => Ok(()),
    };
    hunt.keep_the_rest();
    hunt.haul.ended = outcome.and(shrunk).err();
    if hunt.haul.ended.is_none() && sys::interrupted() {
        hunt.haul.ended = Some(SearchError::Interrupted);
    }
    hunt.haul.findings.sort_by(|one, other| one.cause.cmp(&other.cause));
    hunt.haul
}

struct Hunt<'o> {
    options: &'o Options,
    jobs: Vec<Job>,
    causes: BTreeMap<Cause, Parted>,
    /// How many trials were given to jobs.
    given: u64,
    /// The first trial that was not given to a job.
    next: u64,
    /// What came of the trials that were given, by the first of each request; `None` as long as it is awaited.
    reports: BTreeMap<u64, Option<Report>>,
    haul: Haul,
}

impl Hunt<'_> {
    fn start(&mut self) -> Result<(), SearchError> {
        let probes = probes(self.options.catalogue.as_ref());
        let through = self.options.overlay.clone().map(Through::Overlay);
        let known = match self.options.target {
            Target::Host => Some(host(&probes, through.clone())?),
            _ => None,
        };
        for place in 0..self.options.jobs.max(1) {
            let (recipe, options, through) = (self.recipe(), self.options, through.clone());
            let open: Box<dyn FnOnce() -> _> = match (&known, &options.target) {
                (Some(environment), _) => {
                    let environment = environment.clone();
                    Box::new(move || Ok((Kernel::own(through)?, environment)))
                }
                (None, target) => {
                    let mut wanted = wanted(&probes, options.catalogue.as_ref());
                    wanted.extend_by(through.as_ref());
                    let opener = guest_with(target, &wanted, &probes);
                    Box::new(move || guest(opener, place, through))
                }
            };
            let job = Job::start(Beginning { open, recipe });
            self.jobs.push(job.map_err(|error| SearchError::Broke(error.to_string()))?);
        }
        Ok(())
    }

    fn recipe(&self) -> Box<dyn Fn(&Environment) -> Recipe> {
        let options = self.options.clone();
        Box::new(move |environment| {
            let recipe = Recipe {
                families: options.families.clone(),
                seed: options.seed,
                means: Means::of(environment),
                profile: environment.profile(),
                check: options.check,
                without: options.without,
                overlay: options.overlay.clone(),
                catalogue: options.catalogue.as_ref().map(|all| all.count(environment)),
                mutate: options.mutate,
            };
            recipe.possible()
        })
    }

    /// Whether no more trials are given to jobs.
    fn is_over(&self, began: Instant) -> bool {
        self.options.count.is_some_and(|count| self.given >= count)
            || self.haul.total.is_some_and(|total| self.next >= total)
            || self.options.time.is_some_and(|time| began.elapsed() >= time)
            || sys::interrupted()
    }

    fn run(&mut self, watcher: &mut dyn Watcher) -> Result<(), SearchError> {
        let mut began = Instant::now();
        loop {
            for index in 0..self.jobs.len() {
                while self.jobs[index].ready
                    && self.jobs[index].unanswered < AHEAD
                    && !self.is_over(began)
                {
                    self.give(index)?;
                }
            }
            let idle = self.jobs.iter().all(|job| job.unanswered == 0);
            if idle && self.is_over(began) && self.jobs.iter().all(|job| job.ready) {
                self.haul.elapsed = began.elapsed();
                return Ok(());
            }
            if sys::interrupted() {
                self.haul.elapsed = began.elapsed();
                return Err(SearchError::Interrupted);
            }
            if self.listen(watcher)? {
                // The time begins when there is a kernel to ask.
                began = Instant::now();
            }
        }
    }

    fn give(&mut self, index: usize) -> Result<(), SearchError> {
        let batch = if self.options.target == Target::Host { BATCH } else { GUEST_BATCH };
        let left = self.options.count.map_or(u64::MAX, |count| count - self.given);
        let batch = batch.min(usize::try_from(left).unwrap_or(usize::MAX));
        let numbers = self.options.shard.trials(self.next);
        let end = self.haul.total.unwrap_or(u64::MAX);
        let numbers: Vec<u64> = numbers.take_while(|number| *number < end).take(batch).collect();
        let Some(last) = numbers.last() else {
            self.next = end;
            return Ok(());
        };
        // Between the last number before and the first one now there is none of this part.
        let first = std::mem::replace(&mut self.next, last.saturating_add(1));
        self.given += numbers.len() as u64;
        self.reports.insert(first, None);
        self.jobs[index].given.push_back(first);
        self.jobs[index].ask(&Request::Trials(numbers))
    }

    /// Hears what jobs say; whether the first of them has its kernel now.
    fn listen(&mut self, watcher: &mut dyn Watcher) -> Result<bool, SearchError> {
        let mut fds: Vec<_> = self
            .jobs
            .iter()
            .map(|job| PollFd::new(job.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::MAX);
        if poll(&mut fds, timeout).unwrap_or(0) == 0 {
            return Ok(false);
        }
        let ready: Vec<_> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut first = false;
        for (index, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            first |= self.hear(index, watcher)?;
        }
        Ok(first)
    }

    fn hear(&mut self, index: usize, watcher: &mut dyn Watcher) -> Result<bool, SearchError> {
        match self.jobs[index].hear()? {
            Reply::Ready(environment) => {
                self.jobs[index].ready = true;
                let first = self.haul.environment.is_none();
                if first {
                    let counted =
                        self.options.catalogue.as_ref().map(|all| all.count(&environment));
                    self.haul.total = counted.as_ref().map(Counted::total);
                    watcher.ready(&environment, counted.as_ref());
                    self.haul.environment = Some(*environment);
                }
                return Ok(first);
            }
            Reply::Trials(report) => {
                self.jobs[index].unanswered -= 1;
                if let Some(first) = self.jobs[index].given.pop_front() {
                    self.reports.insert(first, Some(*report));
                }
                self.take_in_order();
                watcher.asked(&self.haul, &self.causes);
            }
            Reply::Plans(_) | Reply::Ended(_) => {}
        }
        Ok(false)
    }

    /// Hears what is still to come of the trials that were given.
    fn drain(&mut self, watcher: &mut dyn Watcher) -> Result<(), SearchError> {
        for index in 0..self.jobs.len() {
            while self.jobs[index].unanswered > 0 {
                self.hear(index, watcher)?;
            }
        }
        Ok(())
    }

    /// Takes the reports of all trials before the first that is awaited, so that what is kept is whole.
    fn take_in_order(&mut self) {
        while let Some(mut first) = self.reports.first_entry() {
            let Some(report) = first.get_mut().take() else { break };
            first.remove();
            self.take(report);
        }
        let awaited = self.reports.first_key_value().map(|(first, _)| *first);
        self.haul.next = awaited.unwrap_or(self.next);
    }

    fn take(&mut self, report: Report) {
        self.haul.summary.extend(report.summary);
        self.haul.mutation.extend(report.mutation);
        let room = MOST_BROKEN.saturating_sub(self.haul.broken.len());
        self.haul.broken.extend(report.broken.into_iter().take(room));
        for parted in report.parted {
            match self.causes.get_mut(&parted.deviation.cause) {
                Some(known) => {
                    let count = known.count + parted.count;
                    if parted.first < known.first {
                        *known = parted;
                    }
                    known.count = count;
                }
                None => drop(self.causes.insert(parted.deviation.cause.clone(), parted)),
            }
        }
    }

    /// Makes small what was found, as long as nobody interrupts.
    fn conclude(&mut self, watcher: &mut dyn Watcher) -> Result<(), SearchError> {
        let interrupted = sys::interrupted();
        let Some(index) = self.jobs.iter().position(|job| job.ready) else { return Ok(()) };
        let mut by_count: Vec<_> =
            self.causes.iter().map(|(cause, parted)| (parted.count, cause.clone())).collect();
        by_count.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        for (_, cause) in by_count.into_iter().take(MOST_SHRUNK) {
            if interrupted || sys::interrupted() {
                break;
            }
            while self.jobs[index].unanswered > 0 {
                self.hear(index, watcher)?;
            }
            watcher.shrinking(&cause);
            let Some(parted) = self.causes.get(&cause) else { continue };
            let plan = parted.plan.clone();
            let way = Way::of(&parted.deviation);
            let mut asker = Asker { job: &mut self.jobs[index], way };
            let shrunk = shrink(&plan, &cause, &mut asker, QUESTIONS)?;
            let Some(mut parted) = self.causes.remove(&cause) else { continue };
            parted.again = Some(shrunk.is_some());
            if let Some(shrunk) = shrunk {
                (parted.plan, parted.deviation) = (shrunk.plan, shrunk.deviation);
            }
            self.haul.findings.push(parted.into());
        }
        Ok(())
    }

    /// What was not made small is a finding as it is.
    fn keep_the_rest(&mut self) {
        let rest = std::mem::take(&mut self.causes);
        self.haul.findings.extend(rest.into_values().map(Finding::from));
    }
}

/// A job that is asked plans in one way.
struct Asker<'j> {
    job: &'j mut Job,
    way: Way,
}

impl Oracle for Asker<'_> {
    fn ask(&mut self, plans: &[Plan]) -> Result<Vec<Option<Deviation>>, SearchError> {
        self.job.ask(&Request::Plans(plans.to_vec(), self.way))?;
        let reply = self.job.hear()?;
        self.job.unanswered -= 1;
        let Reply::Plans(asked) = reply else {
            return Err(SearchError::Broke("it answered what it was not asked".to_owned()));
        };
        let deviation = |asked| match asked {
            Asked::Part(deviation) => Some(*deviation),
            Asked::Agree | Asked::Broke(_) => None,
        };
        Ok(asked.into_iter().map(deviation).collect())
    }
}

/// The probes that trials and their model depend on: those of the file systems that trials have.
fn probes(catalogue: Option<&Catalogue>) -> BTreeSet<String> {
    let concerns = |name: &&str| {
        let plans = probe::plans([&(*name).to_owned()]);
        let mut types = plans.iter().flat_map(Plan::file_systems);
        types.all(|kind| FILE_SYSTEMS.contains(&kind.as_str()))
    };
    let of_rules = rules::all().filter_map(|rule| rule.probe).filter(concerns);
    let named = of_rules.chain(family::PROBES.iter().copied()).map(str::to_owned);
    named.chain(probe::wanted(catalogue.into_iter().flat_map(Catalogue::cases))).collect()
}

/// What trials mount.
const FILE_SYSTEMS: &[&str] = &["tmpfs", "overlay"];

fn wanted(probes: &BTreeSet<String>, catalogue: Option<&Catalogue>) -> Wanted {
    let cases = catalogue.into_iter().flat_map(Catalogue::cases);
    let of_cases: Vec<&Plan> = cases.map(|case| &case.plan).collect();
    let of_probes = probe::plans(probes);
    let mut wanted = Wanted::by(of_probes.iter().chain(of_cases));
    wanted.file_systems.extend(FILE_SYSTEMS.iter().map(|name| (*name).to_owned()));
    wanted
}

/// This machine, with what the probes found.
fn host(probes: &BTreeSet<String>, through: Option<Through>) -> Result<Environment, SearchError> {
    let broke = |error: std::io::Error| SearchError::Broke(error.to_string());
    let host = Host::start(1).map_err(broke)?;
    let mut opened = Opened { witness: Box::new(host), environment: Environment::of_host(false) };
    opened.probe(probes).map_err(unopened)?;
    if let Some(through) = through {
        opened = mounting(opened, through)?;
    }
    Ok(opened.environment)
}

/// The same with a program that mounts overlays, which was found to mount some.
fn mounting(opened: Opened, through: Through) -> Result<Opened, SearchError> {
    let mut opened = opened.through(through);
    opened.probe(&BTreeSet::from([overlays::PROBE.to_owned()])).map_err(unopened)?;
    match opened.environment.missing_probe(overlays::PROBE).first() {
        Some(missing) => Err(SearchError::Unavailable(missing.to_string())),
        None => Ok(opened),
    }
}

/// Boots a guest; those that run at the same time have different places.
fn guest(
    opener: Opener,
    place: usize,
    through: Option<Through>,
) -> Result<(Kernel, Environment), SearchError> {
    let opened = match opener {
        Opener::At(opened) => Ok(*opened),
        Opener::Guest(boot) => boot(place),
        Opener::Never(why) => Err(why),
    };
    let opened = opened.map_err(unopened)?;
    let opened = match through {
        Some(through) => mounting(opened, through)?,
        None => opened,
    };
    Ok((Kernel::Guest(opened.witness), opened.environment))
}

fn unopened(why: Unopened) -> SearchError {
    match why {
        Unopened::Missing(missing) => SearchError::Unavailable(missing.to_string()),
        Unopened::Broken(why) => SearchError::Broke(why),
    }
}
