//! `nsharness check`

use super::select::{Selection, resolve_file};
use super::{Trouble, print};
use crate::exit_code::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let files = arguments.selection.files()?;
    let mut cases = 0;
    let mut errors = Vec::new();
    for file in &files {
        match resolve_file(file) {
            Ok(found) => cases += found.len(),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(Trouble::Invalid(errors));
    }
    print(&format!("{} files with {cases} scenarios are valid\n", files.len()))?;
    Ok(ExitCode::AsExpected)
}
