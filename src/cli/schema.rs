//! `nsharness schema`

use std::path::PathBuf;

use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::probe;
use crate::scenario::{reference, schema};

const EXAMPLES: &str = "\
Examples:
  nsharness schema > scenario.schema.json               for an editor
  nsharness schema --reference docs/examples            the reference, with these examples
";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Prints the reference of the language as Markdown instead, with the examples of this directory
    #[arg(long, value_name = "EXAMPLES")]
    reference: Option<PathBuf>,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    match &arguments.reference {
        None => print(&format!("{:#}\n", schema::schema(&probe::names())))?,
        Some(directory) => {
            let examples = reference::examples(directory)
                .map_err(Trouble::environment(directory.display().to_string()))?;
            let questions: Vec<_> =
                probe::all().iter().map(|probe| (probe.name, probe.question)).collect();
            print(&reference::reference(&schema::plain(&probe::names()), &examples, &questions))?;
        }
    }
    Ok(ExitCode::AsExpected)
}
