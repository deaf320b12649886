//! `nsharness run`

use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;

use super::Trouble;
use super::select::Selection;
use crate::exit_code::ExitCode;
use crate::probe::{self, Environment};
use crate::report::Reporter;
use crate::report::console::{Console, Verbosity};
use crate::report::json::Json;
use crate::run::{Options, exit_code, run};
use crate::snapshot::Mode;
use crate::sys;
use crate::target::host::Host;

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
    /// Ends the run with the first failure
    #[arg(long)]
    fail_fast: bool,
    /// Keeps plan, transcript, mount table and kernel log of what fails in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Writes JSON lines to this file; docs/json.md describes them
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What to do with observations that differ from their snapshot: `new` on a terminal and `check`
    /// elsewhere if left out
    #[arg(long, value_name = "MODE", value_enum)]
    snapshots: Option<Mode>,
    /// Allows scenarios that require `root` to run as real root on this machine; they can harm it
    #[arg(long)]
    privileged: bool,
    /// Says nothing of what passed
    #[arg(long, short)]
    quiet: bool,
}

impl Arguments {
    fn snapshots(&self) -> Mode {
        let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        self.snapshots.unwrap_or(if !ci && std::io::stdout().is_terminal() {
            Mode::New
        } else {
            Mode::Check
        })
    }
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
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
    let mut environment = Environment::of_host(arguments.privileged);
    environment
        .ask(&probe::wanted(&selected.cases), &mut host)
        .map_err(Trouble::environment("the kernel cannot be probed"))?;

    let mut console = Console::new(Verbosity { quiet: arguments.quiet });
    let mut json = match &arguments.json {
        Some(path) => {
            let file =
                File::create(path).map_err(Trouble::environment(path.display().to_string()))?;
            Some(Json::new(file))
        }
        None => None,
    };
    let mut reporters: Vec<&mut dyn Reporter> = vec![&mut console];
    if let Some(json) = &mut json {
        reporters.push(json);
    }
    let options = Options {
        snapshots: arguments.snapshots(),
        fail_fast: arguments.fail_fast,
        keep: arguments.keep.clone(),
    };
    let written = Trouble::environment("the report cannot be written to its end");
    let mut summary =
        run(&selected.cases, &environment, &mut host, &options, &mut reporters).map_err(written)?;
    let strays = selected.strays().map_err(Trouble::environment("snapshots cannot be read"))?;
    summary
        .stray_snapshots
        .extend(strays.into_iter().map(|stray| stray.file.display().to_string()));
    // The console says the summary last, when the other reports are whole.
    for reporter in reporters.iter_mut().rev() {
        reporter
            .end(&summary)
            .map_err(Trouble::environment("the report cannot be written to its end"))?;
    }
    Ok(exit_code(&summary))
}
