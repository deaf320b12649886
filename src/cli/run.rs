//! `nsharness run`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::Trouble;
use super::reports::Reports;
use super::select::{Selected, Selection};
use crate::exit_code::ExitCode;
use crate::model::profile::Profile;
use crate::probe::{self, Environment};
use crate::run::Options;
use crate::snapshot::Mode;
use crate::sys;
use crate::target::Witness;
use crate::target::host::Host;
use crate::target::recording::{Recorder, Recording};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Voice {
    /// The kernel of this machine
    Kernel,
    /// The model of this kernel
    Model,
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// How many scenarios are asked at once; one a core if left out
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Ends every scenario after so many seconds, whatever it says itself
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: Option<u64>,
    /// Keeps plan, transcript, mount table and kernel log of what fails in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// What to do with observations that differ from their snapshot: `new` on a terminal and `check`
    /// elsewhere if left out
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
    /// Writes what the kernel answers to this file, for `--recorded`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Leaves out of the recording what this one holds the same answer to
    #[arg(long, value_name = "FILE", requires = "record")]
    unlike: Option<PathBuf>,
    /// Asks what a kernel answered before, elsewhere, instead of the one that runs here
    #[arg(long, value_name = "FILE", conflicts_with_all = ["privileged", "keep", "timeout", "jobs"])]
    recorded: Option<PathBuf>,
    #[command(flatten)]
    reports: Reports,
}

impl Arguments {
    fn options(&self, model: Option<Profile>) -> Options {
        Options {
            snapshots: self.snapshots(),
            fail_fast: self.reports.fail_fast,
            keep: self.keep.clone(),
            model,
        }
    }

    fn model_speaks(&self) -> bool {
        self.witness.contains(&Voice::Model)
    }

    /// Asks a witness, and writes down what it answers if that was asked for.
    fn ask(
        &self,
        selected: &Selected,
        environment: &Environment,
        witness: &mut dyn Witness,
    ) -> Result<ExitCode, Trouble> {
        let options = self.options(self.model_speaks().then(|| environment.profile()));
        let Some(path) = &self.record else {
            return self.reports.of(selected, environment, witness, &options);
        };
        let known = self.unlike.as_deref().map(recording).transpose()?;
        let write = Trouble::environment(path.display().to_string());
        let mut recorder = Recorder::new(path, environment, witness, known).map_err(write)?;
        self.reports.of(selected, environment, &mut recorder, &options)
    }

    fn snapshots(&self) -> Mode {
        let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        self.snapshots.unwrap_or(if !ci && std::io::stdout().is_terminal() {
            Mode::New
        } else {
            Mode::Check
        })
    }
}

/// Reads a recording.
fn recording(path: &Path) -> Result<Recording, Trouble> {
    Recording::read(path)
        .map_err(Trouble::environment(format!("{} is no recording", path.display())))
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    if !arguments.witness.contains(&Voice::Kernel) {
        return Err(Trouble::Usage(
            "`run` asks the kernel; `nsharness simulate` asks the model alone".into(),
        ));
    }
    if let Some(path) = &arguments.recorded {
        let mut recording = recording(path)?;
        let environment = recording.environment.clone();
        let selected = arguments.selection.cases()?;
        return arguments.ask(&selected, &environment, &mut recording);
    }
    // The workers are copies of this process: they are made while it is small.
    let jobs = match arguments.jobs {
        Some(0) => return Err(Trouble::Usage("--jobs must be at least 1".into())),
        Some(jobs) => jobs.min(1024),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut host = Host::start(jobs).map_err(Trouble::environment("workers cannot be started"))?;
    sys::watch_for_interrupts()
        .map_err(|errno| Trouble::Environment("signals cannot be handled".into(), errno.into()))?;
    let mut selected = arguments.selection.cases()?;
    for case in &mut selected.cases {
        case.plan.keep = arguments.keep.is_some();
        if let Some(seconds) = arguments.timeout {
            case.plan.timeout_ms = 1000 * seconds;
        }
    }
    let mut wanted = probe::wanted(&selected.cases);
    if arguments.model_speaks() {
        wanted.extend(probe::wanted_by_rules());
    }
    let mut environment = Environment::of_host(arguments.privileged);
    environment
        .ask(&wanted, &mut host)
        .map_err(Trouble::environment("the kernel cannot be probed"))?;
    arguments.ask(&selected, &environment, &mut host)
}
