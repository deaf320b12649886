//! `nsharness man`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::links;
use crate::whole;

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
        links::create_directory(directory)?;
        let mut command = super::settings::command().disable_help_subcommand(true);
        command.build();
        pages(&command, directory)?;
        fs::read_dir(directory).map(Iterator::count)
    };
    let count = write().map_err(Trouble::environment(directory.display().to_string()))?;
    print(&format!("{count} files in {}\n", directory.display()))?;
    Ok(ExitCode::AsExpected)
}

/// Writes the page of a command and those of the commands below it, each as a whole.
fn pages(command: &Command, directory: &Path) -> io::Result<()> {
    let mut below = command.get_subcommands().filter(|command| !command.is_hide_set());
    below.try_for_each(|command| pages(command, directory))?;
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    whole::write(&directory.join(man.get_filename()), &page)
}
