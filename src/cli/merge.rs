//! `nsharness merge`

use std::path::PathBuf;

use super::Trouble;
use super::reports::Reports;
use crate::exit_code::ExitCode;
use crate::merge::Merged;
use crate::report::read::Told;
use crate::run::exit_code;
use crate::target::Targets;

const EXAMPLES: &str = "\
Examples:
  nsharness run --shard 1/2 --json 1.json               on one machine
  nsharness run --shard 2/2 --json 2.json               on another
  nsharness merge 1.json 2.json --junit all.xml
  nsharness merge 1.json 2.json --on host               fails too where host has no report

Exit status: that of one run of the whole; 1 or 5, never 0, where a part is missing.
";

/// Each file is what `run`, `simulate` or `matrix` wrote by --json. Of each target of which there is a shard,
/// all must be there. What keeps the whole from being whole is told, and then the exit status is 1 or 5, never 0:
/// a run that died, a shard that is missing, a file of another version, two answers to one question.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The JSON reports
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The targets of which there must be a report, as for `run`: all runs of one may have died
    #[arg(long, value_name = "TARGET,...")]
    on: Option<Targets>,
    #[command(flatten)]
    reports: Reports,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    if let Some(file) = arguments.files.iter().find(|file| arguments.reports.writes(file)) {
        let why = format!("{} would be read and written: name another file", file.display());
        return Err(Trouble::Usage(why));
    }
    let told = arguments.files.iter().map(|file| Told::read(file)).collect();
    let mut merged = Merged::of(told);
    if let Some(Targets(expected)) = &arguments.on {
        merged.expect(expected.iter().map(ToString::to_string));
    }
    for warning in &merged.warnings {
        eprintln!("warning: {}", warning.escape_debug());
    }
    let written = || Trouble::environment("the report cannot be written to its end");
    let mut reporters = arguments.reports.reporters(&[])?;
    let mut reporters: Vec<_> = reporters.iter_mut().map(|reporter| &mut **reporter as _).collect();
    let totals = merged.tell(&mut reporters).map_err(written())?;
    arguments.reports.end(&mut reporters, &totals)?;
    Ok(exit_code(&totals))
}
