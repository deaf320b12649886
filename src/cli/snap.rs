//! `nsharness snap`

use std::io::{self, BufRead, IsTerminal};

use clap::Subcommand;

use super::select::{Selected, Selection};
use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::snapshot::{Pending, Stray};

const EXAMPLES: &str = "\
Examples:
  nsharness snap status                                 what waits for review
  nsharness snap review overlay/                        shows each and asks
  nsharness snap accept overlay/whiteout
  nsharness snap prune scenarios/                       removes what no scenario has
";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what waits for review, and snapshots that no scenario has; exits with 1 if there is any
    Status(Selection),
    /// Show each pending snapshot and ask what to do with it
    Review(Selection),
    /// Make all pending snapshots the record
    Accept(Selection),
    /// Throw all pending snapshots away
    Reject(Selection),
    /// Remove snapshots that no scenario has; select whole directories
    Prune(Selection),
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    match &arguments.command {
        Command::Status(selection) => status(&selection.cases()?),
        Command::Review(selection) => review(&selection.cases()?),
        Command::Accept(selection) => {
            for pending in selection.cases()?.pending() {
                done(&pending, "accepted", pending.accept())?;
            }
            Ok(ExitCode::AsExpected)
        }
        Command::Reject(selection) => {
            for pending in selection.cases()?.pending() {
                done(&pending, "rejected", pending.reject())?;
            }
            Ok(ExitCode::AsExpected)
        }
        Command::Prune(selection) => {
            let selected = selection.cases()?;
            if selected.whole.is_empty() {
                return Err(Trouble::Usage(
                    "prune needs whole directories: it removes what no scenario in them has".into(),
                ));
            }
            for stray in strays(&selected)? {
                let name = stray.file.display().to_string();
                std::fs::remove_file(&stray.file).map_err(Trouble::environment(name.clone()))?;
                print(&format!("removed {name}: {}\n", stray.why))?;
            }
            Ok(ExitCode::AsExpected)
        }
    }
}

fn done(pending: &Pending, what: &str, result: io::Result<()>) -> Result<(), Trouble> {
    result.map_err(Trouble::environment(pending.file.display().to_string()))?;
    print(&format!("{what} {}\n", pending.record.display()))
}

fn strays(selected: &Selected) -> Result<Vec<Stray>, Trouble> {
    selected.strays().map_err(Trouble::environment("snapshots cannot be read"))
}

fn status(selected: &Selected) -> Result<ExitCode, Trouble> {
    let pending = selected.pending();
    let strays = strays(selected)?;
    for pending in &pending {
        print(&format!("pending  {}\n", pending.file.display()))?;
    }
    for stray in strays.iter().filter(|stray| !pending.iter().any(|p| p.file == stray.file)) {
        print(&format!("stray    {}: {}\n", stray.file.display(), stray.why))?;
    }
    if pending.is_empty() && strays.is_empty() {
        print("nothing waits for review\n")?;
        return Ok(ExitCode::AsExpected);
    }
    Ok(ExitCode::Failure)
}

fn review(selected: &Selected) -> Result<ExitCode, Trouble> {
    let pending = selected.pending();
    if pending.is_empty() {
        print("nothing waits for review\n")?;
        return Ok(ExitCode::AsExpected);
    }
    if !io::stdin().is_terminal() {
        return Err(Trouble::Usage(
            "review asks questions and needs a terminal; `snap accept` and `snap reject` do not"
                .into(),
        ));
    }
    let mut lines = io::stdin().lock().lines();
    for (index, pending_one) in pending.iter().enumerate() {
        let name = pending_one.file.display().to_string();
        let difference = pending_one.difference().map_err(Trouble::environment(name.clone()))?;
        print(&format!(
            "\n{} of {}: {}\n{difference}",
            index + 1,
            pending.len(),
            pending_one.record.display()
        ))?;
        loop {
            print("[a]ccept, [r]eject, [s]kip, [q]uit? ")?;
            let Some(Ok(answer)) = lines.next() else { return Ok(ExitCode::AsExpected) };
            match answer.trim() {
                "a" | "accept" => done(pending_one, "accepted", pending_one.accept())?,
                "r" | "reject" => done(pending_one, "rejected", pending_one.reject())?,
                "s" | "skip" => {}
                "q" | "quit" => return Ok(ExitCode::AsExpected),
                _ => continue,
            }
            break;
        }
    }
    Ok(ExitCode::AsExpected)
}
