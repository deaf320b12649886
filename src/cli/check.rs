//! `nsharness check`

use super::select::{Selection, resolve_file};
use super::{Trouble, print};
use crate::exit_code::ExitCode;

const EXAMPLES: &str = "\
Examples:
  nsharness check                                       every file below scenarios/
  nsharness check my.yaml

Exit status: 0 all are valid, 3 one is not.
";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let (files, mut errors) = arguments.selection.files();
    let mut cases = 0;
    for file in &files {
        match resolve_file(file) {
            Ok(found) => cases += found.len(),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(Trouble::Invalid(errors));
    }
    let of =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    print(&format!("{} with {}: valid\n", of(files.len(), "file"), of(cases, "scenario")))?;
    Ok(ExitCode::AsExpected)
}
