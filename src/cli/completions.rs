//! `nsharness completions`

use clap_complete::Shell;

use super::{Trouble, print};
use crate::exit_code::ExitCode;

const EXAMPLES: &str = "\
Examples:
  nsharness completions bash > ~/.local/share/bash-completion/completions/nsharness
  nsharness completions zsh > \"${fpath[1]}/_nsharness\"
  nsharness completions fish > ~/.config/fish/completions/nsharness.fish
";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The shell that reads them
    shell: Shell,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut super::settings::command(),
        env!("CARGO_PKG_NAME"),
        &mut script,
    );
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::AsExpected)
}
