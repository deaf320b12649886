//! `nsharness search`

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::on::cores;
use super::select::Selection;
use super::{Trouble, print, watch_for_interrupts};
use crate::diag::did_you_mean;
use crate::exit_code::ExitCode;
use crate::named::Named;
use crate::overlays;
use crate::probe::Environment;
use crate::scenario::implementation::Implementation;
use crate::search::catalogue::{Catalogue, Counted, Sequences};
use crate::search::findings::{FindingsError, Record, Search};
use crate::search::hunt::{Haul, Options, Watcher, search};
use crate::search::job::Parted;
use crate::search::keep::{Keeper, Repro, predicted, reproduction};
use crate::search::write::{Origin, scenario};
use crate::search::{Cause, Finding, SearchError, family};
use crate::shard::Shard;
use crate::target::Target;
use crate::worker::arena::Check;

/// All families, taking turns.
const ALL: &str = "all";
/// Every rename in an overlay.
const RENAMES: &str = "rename";
/// The family whose trials mount overlays.
const OVERLAY: &str = "overlay";
/// Most processes that search at once.
const MOST_JOBS: usize = 256;
/// How often what was found is written.
const KEPT_EVERY: Duration = Duration::from_secs(5);
/// For how long is searched where nobody says.
const TIME: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  nsharness search overlay --for 60s
  nsharness search all --on uml:6.12 --count 10000 --seed 7
  nsharness search overlay --seed 7 --count 1 --check step
  nsharness search all --for 1h --out found --shard 3/16 --resume --repro c
  nsharness search overlay --exhaustive --depth 3
  nsharness search rename --on uml:6.12
  nsharness search overlay --overlay fuse-overlayfs --count 2000

The seed, the version of nsharness and the kernel make a trial what it is: the same ones repeat it.
Exit status: 0 nothing was found, 1 something was.
";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What trials are made up of: a family, or all of them; `rename`, which is every rename in an overlay; or
    /// with --exhaustive a scenario, whose steps are the vocabulary and whose cases are the worlds
    #[arg(value_name = "FAMILY", value_parser = subject)]
    subject: Subject,
    /// Asks every sequence of a family's small vocabulary, in each of its worlds
    #[arg(long, conflicts_with = "seed")]
    exhaustive: bool,
    /// The most steps of a sequence
    #[arg(long, value_name = "N", requires = "exhaustive", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    depth: u32,
    /// Where the kernel is asked: host, uml, uml:VERSION, uml:PATH, qemu:VERSION, qemu:PATH
    #[arg(long, value_name = "TARGET", default_value = "host")]
    on: Target,
    /// What mounts the overlays of trials in the place of the kernel: fuse-overlayfs, or the file of another program
    /// with the same command line. Each trial has a sandbox of its own then
    #[arg(long, value_name = "PROGRAM")]
    overlay: Option<Named>,
    /// What all choices follow from; chosen and told if left out
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// For how long trials are asked, as in 60s or 10m; 60s if neither this nor --count is given
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// How many trials are asked at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// The number of the first trial
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// How many processes search at once: one a core on this machine, else one, which is a guest each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_JOBS as u64))]
    jobs: Option<u64>,
    /// One part of a search that is spread over machines, as in 3/16: findings merge puts them together
    #[arg(long, value_name = "K/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// Writes each finding as a scenario into this directory, with a record of the search
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Goes on with the search in that directory, after the last trial that it has
    #[arg(long, requires = "out", conflicts_with = "from")]
    resume: bool,
    /// Writes a program too that shows a finding without nsharness; beside the scenario with --out
    #[arg(long, value_name = "LANGUAGE", value_enum, value_delimiter = ',')]
    repro: Vec<Repro>,
    /// How often layers and views are compared
    #[arg(long, value_name = "WHEN", value_enum, default_value = "sequence")]
    check: Check,
    /// Leaves out the rules of the model one by one, and tells in which trial each is missed first
    #[arg(long, conflicts_with = "without")]
    mutate: bool,
    /// Prints findings and the summary's last line alone
    #[arg(long)]
    quiet: bool,
    /// Searches with a model that lacks this rule, to prove that it would be found
    #[arg(long, value_name = "RULE", hide = true, value_parser = rule)]
    without: Option<&'static crate::model::rules::Rule>,
}

/// What is searched.
#[derive(Clone, Debug)]
enum Subject {
    /// Families by their names.
    Families(Vec<&'static str>),
    /// Every rename.
    Renames,
    /// The steps of a scenario.
    Scenario(PathBuf),
}

fn subject(text: &str) -> Result<Subject, String> {
    if text == ALL {
        return Ok(Subject::Families(family::names().collect()));
    }
    if text == RENAMES {
        return Ok(Subject::Renames);
    }
    if text.ends_with(".yaml") || text.ends_with(".yml") {
        return Ok(Subject::Scenario(text.into()));
    }
    if let Some(name) = family::names().find(|name| *name == text) {
        return Ok(Subject::Families(vec![name]));
    }
    let all = || family::names().chain([ALL, RENAMES]);
    let names = all().collect::<Vec<_>>().join(", ");
    let hint = did_you_mean(text, all())
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(format!("the families are {names}{hint}"))
}

fn rule(id: &str) -> Result<&'static crate::model::rules::Rule, String> {
    crate::model::rules::find(id)
        .ok_or_else(|| "no rule has this id: see nsharness rules".to_owned())
}

impl Arguments {
    fn options(&self) -> Result<Options, Trouble> {
        let usage = |why: &str| Err(Trouble::Usage(why.into()));
        match self.on {
            Target::Auto => return usage("a search asks one kernel: name it with --on"),
            Target::Recorded(_) => {
                return usage(
                    "what was recorded answers no new questions: name a kernel with --on",
                );
            }
            Target::Host | Target::Uml(_) | Target::Qemu(_) => {}
        }
        let is_host = self.on == Target::Host;
        let jobs = self.jobs.map(|jobs| usize::try_from(jobs).unwrap_or(MOST_JOBS));
        let catalogue = self.catalogue()?;
        // What is counted is the same whatever the seed.
        let seed = if catalogue.is_some() { 0 } else { self.seed()? };
        let ends = self.count.is_some() || catalogue.is_some();
        let time = self.time.or_else(|| (!ends).then_some(TIME));
        let families = match &self.subject {
            Subject::Families(names) => names.clone(),
            Subject::Renames | Subject::Scenario(_) => Vec::new(),
        };
        Ok(Options {
            families,
            catalogue,
            target: self.on.clone(),
            overlay: self.overlay()?,
            seed,
            count: self.count,
            time,
            jobs: jobs.unwrap_or_else(|| if is_host { cores().min(MOST_JOBS) } else { 1 }),
            check: self.check,
            shard: self.shard,
            from: self.from,
            without: self.without,
            mutate: self.mutate,
        })
    }
}

impl Arguments {
    /// The program that mounts overlays, if one is named.
    fn overlay(&self) -> Result<Option<Implementation>, Trouble> {
        let Some(named) = self.overlay.as_ref().filter(|named| !overlays::is_kernel(named)) else {
            return Ok(None);
        };
        if let Subject::Families(names) = &self.subject
            && *names != [OVERLAY]
        {
            return Err(Trouble::Usage(format!(
                "with --overlay is searched what mounts overlays: {OVERLAY}, {RENAMES} or a scenario"
            )));
        }
        overlays::find(named).map(Some).map_err(Trouble::from)
    }

    /// What is asked completely, if that is wanted.
    fn catalogue(&self) -> Result<Option<Catalogue>, Trouble> {
        let usage = |why: &str| Err(Trouble::Usage(why.into()));
        let sequences = match (&self.subject, self.exhaustive) {
            (Subject::Families(_), false) => return Ok(None),
            (Subject::Renames, false) => return Ok(Some(Catalogue::Renames)),
            (Subject::Renames, true) => return usage("every rename is asked without --exhaustive"),
            (Subject::Scenario(_), false) => {
                return usage("the steps of a scenario are a vocabulary with --exhaustive alone");
            }
            (Subject::Families(names), true) => Sequences::of_families(names, self.depth),
            (Subject::Scenario(path), true) => {
                let cases = Selection::of(path.clone()).cases()?.cases;
                Sequences::new(path.display().to_string(), cases, self.depth)
            }
        };
        match sequences {
            Ok(sequences) => Ok(Some(Catalogue::Sequences(sequences))),
            Err(why) => usage(&why),
        }
    }

    /// The seed that was given, that of the search that goes on, or any.
    fn seed(&self) -> Result<u64, Trouble> {
        if let Some(seed) = self.seed {
            return Ok(seed);
        }
        let directory = self.out.as_deref().filter(|_| self.resume);
        let record = directory.map(Record::read).transpose().map_err(kept)?.flatten();
        let before = record.as_ref().and_then(|record| record.searches.first());
        before.map_or_else(any_seed, |search| Ok(search.seed))
    }

    /// Where the findings go.
    fn keeper(&self, options: &Options) -> Result<Option<Keeper>, Trouble> {
        let Some(directory) = &self.out else { return Ok(None) };
        let search = Search {
            family: searched(options),
            target: asked(options),
            kernel: String::new(),
            seed: options.seed,
            shard: options.shard,
            next: options.from,
            trials: 0,
            broken: 0,
        };
        Keeper::open(directory.clone(), search, self.resume).map(Some).map_err(kept)
    }
}

/// What is searched, in words.
fn searched(options: &Options) -> String {
    let catalogue = options.catalogue.as_ref();
    catalogue.map_or_else(|| options.families.join(","), Catalogue::to_string)
}

/// Where trials are asked, and through what.
fn asked(options: &Options) -> String {
    match &options.overlay {
        Some(program) => format!("{} through {program}", options.target),
        None => options.target.to_string(),
    }
}

/// A seed that nobody chose, short enough to be typed.
fn any_seed() -> Result<u64, Trouble> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Trouble::Environment("no seed can be chosen".into(), errno.into()))?;
    Ok(u32::from_le_bytes(bytes).into())
}

/// Tells how far the search is.
struct Teller {
    options: Options,
    quiet: bool,
    bar: ProgressBar,
    /// Where the findings go, and when they went there.
    keeper: Option<Keeper>,
    kept: Instant,
    /// Why they no longer do.
    trouble: Option<FindingsError>,
}

impl Teller {
    fn new(options: Options, quiet: bool, keeper: Option<Keeper>) -> Self {
        let bar = ProgressBar::hidden();
        if !quiet && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(2));
        }
        Self { options, quiet, bar, keeper, kept: Instant::now(), trouble: None }
    }

    /// Writes what was found until now, so that nothing is lost however the search ends.
    fn keep(&mut self, haul: &Haul, causes: &BTreeMap<Cause, Parted>) {
        self.kept = Instant::now();
        if let (Some(keeper), None) = (&self.keeper, &self.trouble) {
            let findings: Vec<Finding> = causes.values().cloned().map(Finding::from).collect();
            self.trouble = keeper.keep(haul, &findings, &[]).err();
        }
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}

impl Watcher for Teller {
    fn ready(&mut self, environment: &Environment, counted: Option<&Counted>) {
        let Environment { release, machine, uid, .. } = environment;
        let (searched, target) = (searched(&self.options), asked(&self.options));
        let mut told =
            format!("searching {searched} on Linux {release} {machine} ({target}) as uid {uid}");
        match counted {
            Some(counted) => {
                told.push_str(&format!("\n{counted}"));
                if counted.to_string().lines().count() > 1 {
                    told.push_str(&format!("{} trials\n", counted.total()));
                }
            }
            None => told.push_str(&format!(", seed {}\n", self.options.seed)),
        }
        if !self.quiet {
            let _ = print(&told);
        }
        match counted {
            Some(counted) => {
                self.bar.set_length(counted.total());
                self.bar.set_position(self.options.from);
                self.bar.reset_eta();
                self.style("{bar:30} {pos}/{len} {msg}, about {eta} left");
            }
            None => self.style("{elapsed}: {pos} trials, {msg}"),
        }
    }

    fn asked(&mut self, haul: &Haul, causes: &BTreeMap<Cause, Parted>) {
        self.bar.set_message(format!("{} causes", causes.len()));
        self.bar.set_position(haul.total.map_or(haul.summary.trials, |_| haul.next));
        if self.kept.elapsed() >= KEPT_EVERY {
            self.keep(haul, causes);
        }
    }

    fn searched(&mut self, haul: &Haul, causes: &BTreeMap<Cause, Parted>) {
        self.keep(haul, causes);
    }

    fn shrinking(&mut self, cause: &Cause) {
        self.style("making small: {msg}");
        self.bar.set_message(cause.to_string());
    }
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let mut options = arguments.options()?;
    let keeper = arguments.keeper(&options)?;
    if let Some(keeper) = keeper.as_ref().filter(|_| arguments.resume) {
        options.from = keeper.next();
    }
    watch_for_interrupts()?;
    let mut teller = Teller::new(options.clone(), arguments.quiet, keeper);
    let haul = search(&options, &mut teller);
    teller.bar.finish_and_clear();
    tell(&options, &haul, arguments)?;
    if let Some(trouble) = teller.trouble {
        return Err(kept(trouble));
    }
    if let Some(keeper) = &teller.keeper {
        for (name, why) in keeper.keep(&haul, &haul.findings, &arguments.repro).map_err(kept)? {
            print(&format!("no {name}: {why}\n"))?;
        }
    }
    Ok(exit_code(&haul))
}

fn exit_code(haul: &Haul) -> ExitCode {
    match &haul.ended {
        Some(SearchError::Interrupted) => ExitCode::Interrupted,
        _ if !haul.findings.is_empty() => ExitCode::Failure,
        Some(SearchError::Unavailable(_)) => ExitCode::NothingExecuted,
        Some(SearchError::Broke(_)) => ExitCode::Broken,
        None if haul.summary.broken > 0 => ExitCode::Broken,
        None if haul.summary.steps == 0 => ExitCode::NothingExecuted,
        None => ExitCode::AsExpected,
    }
}

fn tell(options: &Options, haul: &Haul, arguments: &Arguments) -> Result<(), Trouble> {
    let release = haul.environment.as_ref().map_or("", |environment| environment.release.as_str());
    let target = asked(options);
    let overlay = options.overlay.as_ref();
    let origin = Origin { target: &target, kernel: release, overlay, seed: options.seed };
    for (index, finding) in haul.findings.iter().enumerate() {
        print(&told(index + 1, options, haul, finding, &origin))?;
        if arguments.out.is_none() {
            reproduce(haul, finding, &origin, &arguments.repro)?;
        }
    }
    for (number, breakage) in &haul.broken {
        print(&format!("broken  trial {number}: {breakage}\n"))?;
    }
    if !arguments.quiet {
        print(&haul.summary.to_string())?;
    }
    if options.mutate {
        print(&haul.mutation.to_string())?;
    }
    if let Some(why) = &haul.ended {
        print(&format!("ended: {why}\n"))?;
    }
    let summary = &haul.summary;
    let seconds = haul.elapsed.as_secs_f64().max(f64::EPSILON);
    print(&format!(
        "summary: {} steps in {} trials in {seconds:.1} s, {:.0} steps a second; {:.0} % succeeded; \
         {} in {} trials, {} trials broken; next: {}\n",
        summary.steps,
        summary.trials,
        summary.steps as f64 / seconds,
        summary.success(),
        match haul.findings.len() {
            1 => "1 finding".to_owned(),
            count => format!("{count} findings"),
        },
        summary.parted,
        summary.broken,
        match haul.total {
            Some(total) if haul.next >= total => "none is left".to_owned(),
            _ if arguments.out.is_some() => "--resume".to_owned(),
            _ => format!("--from {}", haul.next),
        },
    ))
}

/// Prints the programs that show a finding.
fn reproduce(
    haul: &Haul,
    finding: &Finding,
    origin: &Origin<'_>,
    kinds: &[Repro],
) -> Result<(), Trouble> {
    let Some(environment) = &haul.environment else { return Ok(()) };
    for kind in kinds {
        match reproduction(*kind, finding, origin, &environment.profile()) {
            Ok(text) => print(&format!("{text}\n"))?,
            Err(why) => print(&format!("no reproduction in {}: {why}\n", kind.ending()))?,
        }
    }
    Ok(())
}

/// What went wrong with a directory of findings.
pub fn kept(error: FindingsError) -> Trouble {
    match error {
        FindingsError::File(path, error) => Trouble::Environment(path.display().to_string(), error),
        other => Trouble::Usage(other.to_string()),
    }
}

fn told(
    number: usize,
    options: &Options,
    haul: &Haul,
    finding: &Finding,
    origin: &Origin<'_>,
) -> String {
    let seed = match options.catalogue {
        Some(_) => String::new(),
        None => format!("--seed {} ", origin.seed),
    };
    let profile = haul.environment.as_ref().map(Environment::profile);
    let predicted = profile.and_then(|profile| predicted(finding, &profile));
    format!(
        "finding {number}  {}\n        in {} trials, first in {}{}: {seed}--from {} --count 1\n{}\n",
        finding.cause,
        finding.count,
        finding.first,
        if finding.again == Some(false) { ", and not again when it was asked alone" } else { "" },
        finding.first,
        scenario(finding, origin, predicted.as_ref()),
    )
}
