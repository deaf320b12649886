//! `nsharness run`

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::on::{NamedPrograms, On, cores, guests_at_once};
use super::reports::{Again, Reports};
use super::select::{OfShard, Selected, Selection};
use super::settings::Applied;
use super::{Trouble, print, watch_for_interrupts};
use crate::exit_code::ExitCode;
use crate::last::{AUTO, Last, Memory};
use crate::links;
use crate::overlays;
use crate::probe;
use crate::run::{Asked, Options, Record, Share, Takes};
use crate::scenario::Case;
use crate::snapshot::Mode;
use crate::target::Targets;
use crate::target::open::Means;
use crate::target::recording::Recording;

/// Most scenarios that are asked at once on this machine.
const MOST_JOBS: usize = 1024;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Voice {
    /// The kernel of this machine
    Kernel,
    /// The model of this kernel
    Model,
}

const EXAMPLES: &str = "\
Examples:
  nsharness run                                         every scenario below scenarios/, here
  nsharness run overlay/whiteout --on auto              each where it can be asked
  nsharness run --on host,uml:6.12 --junit results.xml  here and on a fetched kernel
  nsharness run oci/ --runtime runc,crun                through container runtimes
  nsharness run --failed                                what failed in the last run here

Exit status: 0 everything as expected, 1 a failure, 3 a file is invalid, 4 nothing was executed, 5 something broke.
";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shard: OfShard,
    /// Asks only what failed, broke, took too long or passed against `known:` in the last run that was started in
    /// this directory, each on the target and through the program where it did; or in the run that wrote this JSON
    /// report. What --on, --runtime or --overlay name takes the place of what that run named by the same option, and
    /// is asked what failed there in it
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    failed: Option<Option<PathBuf>>,
    #[command(flatten)]
    again: Again,
    /// How many scenarios are asked at once on this machine; one a core if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
    /// Ends every scenario after so many seconds, whatever it says itself
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: Option<u64>,
    /// Keeps plan, transcript, mount table and kernel log of what fails in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Shows the system calls of each step with what they returned, by ptrace(2); with --keep they are
    /// kept too
    #[arg(long)]
    trace: bool,
    /// What to do with observations that differ from their snapshot: `new` on a terminal and `check`
    /// elsewhere, and beside the scenarios of a package, if left out
    #[arg(long, value_name = "MODE", value_enum)]
    snapshots: Option<Mode>,
    /// Allows scenarios that require `root` to run as real root on this machine; they can harm it
    #[arg(long)]
    privileged: bool,
    /// Who is asked: without the model, a step of which the scenario says nothing must succeed
    #[arg(
        long,
        value_name = "WITNESS",
        value_enum,
        value_delimiter = ',',
        default_value = "kernel,model"
    )]
    witness: Vec<Voice>,
    /// Writes what the only target answers to this file, for `--on recorded:FILE`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Leaves out of the recording what this one holds the same answer to
    #[arg(long, value_name = "FILE", requires = "record")]
    unlike: Option<PathBuf>,
    #[command(flatten)]
    on: On,
    /// Ends the run with the first failure
    #[arg(long)]
    fail_fast: bool,
    #[command(flatten)]
    programs: NamedPrograms,
    #[command(flatten)]
    reports: Reports,
}

impl Arguments {
    fn options(
        &self,
        selected: &Selected,
        only: Option<BTreeMap<String, BTreeSet<usize>>>,
    ) -> Result<Options, Trouble> {
        let Selected { cases, part, .. } = selected;
        let model = self.witness.contains(&Voice::Model);
        let mut probes = probe::wanted(cases);
        if model {
            probes.extend(probe::wanted_by_rules(cases));
        }
        if self.programs.has_overlays() {
            probes.insert(overlays::PROBE.to_owned());
        }
        let share = self.on.share();
        let record = match &self.record {
            Some(file) => {
                let known = self.unlike.as_deref().map(recording).transpose()?;
                Some(Record { file: file.clone(), known })
            }
            None => None,
        };
        Ok(Options {
            snapshots: self.snapshots(selected.is_installed()),
            fail_fast: self.fail_fast,
            keep: self.keep.clone(),
            model,
            record,
            probes,
            guests: guests_at_once(),
            share,
            part: part.clone(),
            retries: self.again.retries(),
            refuse_flaky: self.again.refuses_flaky(),
            only: only.filter(|_| share == Share::Every),
        })
    }

    /// What failed before, where that alone is asked.
    fn last(&self) -> Result<Option<Last>, Trouble> {
        let last = match &self.failed {
            None => return Ok(None),
            Some(None) => Last::here().map_err(|why| {
                format!("{why}: run without --failed first, or name a JSON report: --failed=FILE")
            }),
            Some(Some(file)) => Last::of_report(file),
        };
        last.map(Some).map_err(Trouble::Usage)
    }

    /// Asks where the last run did, and through what, as far as nobody says otherwise here.
    fn take_up(&mut self, last: &Last) -> Result<(), Trouble> {
        if !self.on.is_given() {
            let targets = last.way().targets().map_err(Trouble::Usage)?;
            if !targets.is_empty() {
                self.on = On::of(Targets(targets));
            }
        }
        if !self.on.is_auto() && !self.on.is_recorded() {
            self.programs.take_up(last);
        }
        Ok(())
    }

    /// Selects what failed where it is asked now, and says what that is.
    fn keep_failed(
        last: &Last,
        names: &[(String, Takes)],
        selected: &mut Selected,
    ) -> Result<(), Trouble> {
        selected.only(|case| names.iter().any(|name| has(last, name, case)));
        let targets: Vec<_> = names.iter().map(|(target, _)| target.as_str()).collect();
        let (run, on) = (last.run(), targets.join(", "));
        let failed: Vec<_> = last.targets().collect();
        print(&match (selected.cases.len(), &failed[..]) {
            (0, []) => format!("nothing failed in {run}: there is nothing to ask\n"),
            (0, failed) => {
                let where_it_did = failed.join(", ");
                format!("{run} failed on {where_it_did}, in nothing that is selected on {on}\n")
            }
            (1, _) => format!("1 scenario failed in {run}\n"),
            (count, _) => format!("{count} scenarios failed in {run}\n"),
        })
    }

    fn snapshots(&self, is_installed: bool) -> Mode {
        let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        self.snapshots.unwrap_or(if !ci && !is_installed && std::io::stdout().is_terminal() {
            Mode::New
        } else {
            Mode::Check
        })
    }

    /// Leaves out the settings that do not go with what is asked.
    fn leave_out(&mut self, applied: &Applied) {
        if !self.on.has_host() && applied.has("jobs") {
            self.jobs = None;
        }
        if self.on.is_auto() || self.on.is_recorded() {
            self.programs.leave_out(applied.has("runtime"), applied.has("overlay"));
        }
        if self.on.is_recorded() {
            if applied.has("keep") {
                self.keep = None;
            }
            if applied.has("timeout") {
                self.timeout = None;
            }
            if applied.has("retries") {
                self.again.leave_out();
            }
        }
    }

    /// What does not go together.
    fn check(&self) -> Result<(), Trouble> {
        let wrong = |why: &str| Err(Trouble::Usage(why.into()));
        if !self.witness.contains(&Voice::Kernel) {
            return wrong("`run` asks the kernel; `nsharness simulate` asks the model alone");
        }
        if !self.on.has_host() {
            for (given, option) in
                [(self.jobs.is_some(), "--jobs"), (self.privileged, "--privileged")]
            {
                if given {
                    return wrong(&format!(
                        "{option} is about this machine: it needs `host` in --on"
                    ));
                }
            }
        }
        if self.on.is_recorded() && (self.keep.is_some() || self.trace || self.timeout.is_some()) {
            return wrong("--keep, --trace and --timeout change nothing of what was recorded");
        }
        if self.programs.count() > 0 && (self.on.is_auto() || self.on.is_recorded()) {
            return wrong(
                "--runtime and --overlay need targets that are named with --on, and no recordings",
            );
        }
        if self.record.is_some() && self.programs.count() > 0 {
            return wrong(
                "--record writes the answers of one kernel, without --runtime and --overlay",
            );
        }
        if self.on.is_recorded() && self.again.retries() > 0 {
            return wrong(
                "a recording answers the same when it is asked again: leave --retries out",
            );
        }
        if self.record.is_some() && self.again.retries() > 0 {
            return wrong(
                "--record writes down the first answer to each scenario: leave --retries out",
            );
        }
        if self.record.is_some() && (self.on.is_auto() || self.on.named().len() > 1) {
            return wrong("--record writes the answers of one target: name one with --on");
        }
        Ok(())
    }
}

/// Whether a case failed where this is asked, which takes it.
fn has(last: &Last, (target, takes): &(String, Takes), case: &Case) -> bool {
    last.has(target, case) && (target == AUTO || takes.takes(case))
}

/// The cases that each target is asked, where it is asked what failed on it.
fn only(
    last: &Last,
    names: &[(String, Takes)],
    cases: &[Case],
) -> BTreeMap<String, BTreeSet<usize>> {
    let failed = names.iter().map(|name| {
        let failed = cases.iter().enumerate().filter(|(_, case)| has(last, name, case));
        (name.0.clone(), failed.map(|(number, _)| number).collect())
    });
    failed.collect()
}

/// Reads a recording.
fn recording(path: &Path) -> Result<Recording, Trouble> {
    Recording::read(path)
        .map_err(Trouble::environment(format!("{} is no recording", path.display())))
}

pub fn execute(mut arguments: Arguments, applied: &Applied) -> Result<ExitCode, Trouble> {
    let last = arguments.last()?;
    if let Some(last) = &last {
        arguments.take_up(last)?;
    }
    arguments.again.check(applied)?;
    arguments.leave_out(applied);
    arguments.check()?;
    if let Some(directory) = &arguments.keep {
        links::check_directory(directory)
            .map_err(Trouble::environment(directory.display().to_string()))?;
    }
    let jobs = arguments.jobs.map_or_else(cores, |jobs| usize::try_from(jobs).unwrap_or(MOST_JOBS));
    let jobs = jobs.min(MOST_JOBS);
    let programs = arguments.programs.find()?;
    // Beside the programs the kernel itself is asked.
    let hosts = arguments.on.workers(jobs, 1 + programs.count())?;
    watch_for_interrupts()?;
    let mut selected = arguments.selection.cases()?;
    let names = arguments.on.names(&programs);
    if let Some(last) = &last {
        Arguments::keep_failed(last, &names, &mut selected)?;
    }
    selected.keep(&arguments.shard);
    selected.part.shared = arguments.on.is_auto();
    for case in &mut selected.cases {
        case.plan.keep = arguments.keep.is_some();
        case.plan.trace = arguments.trace;
        if let Some(seconds) = arguments.timeout {
            case.plan.timeout_ms = 1000 * seconds;
        }
    }
    let only = last.as_ref().map(|last| only(last, &names, &selected.cases));
    let options = arguments.options(&selected, only)?;
    let (privileged, probes) = (arguments.privileged, options.probes.clone());
    let means = Means { hosts, privileged, probes };
    let mut asked = arguments.on.asked_through(&programs, means, &selected.cases)?;
    if let Some(only) = &options.only {
        let none = BTreeSet::new();
        let has_some = |asked: &Asked| !only.get(&asked.target).unwrap_or(&none).is_empty();
        if asked.iter().any(has_some) {
            asked.retain(has_some);
        }
    }
    let before = last.filter(|_| arguments.failed == Some(None));
    let memory = Box::new(Memory::of(before, arguments.programs.way(&arguments.on)));
    arguments.reports.of(&selected, asked, options, vec![memory])
}
