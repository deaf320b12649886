//! `nsharness man`

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Trouble, print};
use crate::exit_code::ExitCode;

const EXAMPLES: &str = "\
Examples:
  nsharness man ~/.local/share/man/man1 && man nsharness-run
";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where they are written, one a command: a directory that is made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let directory = &arguments.directory;
    let write = || -> io::Result<usize> {
        fs::create_dir_all(directory)?;
        clap_mangen::generate_to(super::settings::command(), directory)?;
        fs::read_dir(directory).map(Iterator::count)
    };
    let count = write().map_err(Trouble::environment(directory.display().to_string()))?;
    print(&format!("{count} files in {}\n", directory.display()))?;
    Ok(ExitCode::AsExpected)
}
