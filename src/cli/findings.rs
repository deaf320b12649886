//! `nsharness findings`

use std::path::PathBuf;

use clap::Subcommand;

use super::search::kept;
use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::search::findings::merge;

const EXAMPLES: &str = "\
Examples:
  nsharness search all --count 2000 --shard 1/2 --out 1
  nsharness search all --count 2000 --shard 2/2 --out 2
  nsharness findings merge 1 2 --out all
";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = EXAMPLES)]
    /// Put the findings of several searches into one directory, one a cause, with their counts added
    Merge {
        /// Directories that `nsharness search --out` wrote
        #[arg(required = true, value_name = "DIR")]
        directories: Vec<PathBuf>,
        /// Where the findings go
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let Command::Merge { directories, out } = &arguments.command;
    let merged = merge(directories, out).map_err(kept)?;
    for found in &merged.findings {
        let finding = &found.finding;
        let on = found.kernels.join(", ");
        print(&format!("{:>6}  {}  ({on}): {}.yaml\n", finding.count, finding.cause, found.name))?;
    }
    let trials: u64 = merged.searches.iter().map(|search| search.trials).sum();
    let (causes, searches) = (merged.findings.len(), merged.searches.len());
    print(&format!(
        "{causes} causes in {trials} trials of {searches} searches: {}\n",
        out.display()
    ))?;
    Ok(ExitCode::AsExpected)
}
