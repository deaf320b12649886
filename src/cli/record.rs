//! `nsharness record`

use std::io::Write;
use std::path::PathBuf;

use super::select::Selection;
use super::shell::{Place, visit};
use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::record::{Recorded, Wanted};
use crate::sandbox::IdSource;
use crate::scenario::Case;
use crate::scenario::plan::COMMON_IDS;
use crate::search::document;
use crate::terminal::terminal;
use crate::whole::Whole;
use crate::worker::shell::Shell;

const EXAMPLES: &str = "\
Examples:
  nsharness record -- sh -c 'mkdir a && touch a/f && mv a b'
  nsharness record --in overlay/whiteout --at 0 -- rm -r merged/etc    in its world
  nsharness record --out mine.yaml                      a shell, and all that is done in it
";

/// Runs a program in a sandbox, and writes what it asks of the kernel about files, mounts, namespaces and ids as the
/// steps of a scenario to edit: what failed is expected to fail. What has no step is a comment.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The world that the program finds, with the steps before it: of a scenario, by its id or file; an empty one if
    /// left out
    #[arg(long, value_name = "ID|PATH")]
    r#in: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Also records what only asks: stat(2), access(2), readlink(2), statfs(2), reading extended attributes
    #[arg(long)]
    lookups: bool,
    /// The title of the scenario
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Where it is written; standard output if left out. What the program prints goes to standard error
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The program and its arguments; a shell if left out
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A world with nothing in it. A scenario has a step.
const EMPTY: &str = "title: An empty world\nsteps:\n  - getcwd: {}\n";
/// What it is called.
const EMPTY_ID: &str = "empty";

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let terminal = terminal();
    if terminal.is_some() && arguments.command.is_empty() && arguments.out.is_none() {
        return Err(Trouble::Usage(
            "a shell has the terminal: name a file, as `--out mine.yaml`".into(),
        ));
    }
    let case = match &arguments.r#in {
        Some(scenario) => Selection::one(scenario)?,
        None => empty()?,
    };
    let mut plan = arguments.place.plan(&case)?;
    if arguments.r#in.is_none() {
        // A program may be about any owner, where there are more than one.
        if IdSource::detect().maps(&[COMMON_IDS]).is_ok() {
            plan.needs.ids = vec![COMMON_IDS];
        }
    }
    // A program without a terminal in front has what it prints apart from the scenario.
    let terminal = terminal.filter(|_| arguments.command.is_empty());
    let command = arguments.command.clone();
    let shell = Shell { actor: arguments.place.actor.clone(), command, record: true, terminal };
    let visited = visit(&case, &plan, &shell, &arguments.place)?;
    let Some(status) = visited.status else { return Ok(visited.code) };
    let actor = arguments.place.actor.as_str();
    let wanted = Wanted { lookups: arguments.lookups };
    let recorded = Recorded::of(&visited.events, actor, wanted);
    if recorded.steps() + plan.steps.len() == 0 {
        eprintln!("{} asked nothing that a step says; its status is {status}", arguments.called());
        return Ok(ExitCode::NothingExecuted);
    }
    // What the shell was given beside what the scenario asks for.
    let mut told = plan.clone();
    told.timeout_ms = case.plan.timeout_ms;
    let notes = [format!(
        "Recorded on {}: {} ended with status {status}.",
        visited.kernel,
        arguments.called()
    )];
    let title =
        arguments.title.clone().unwrap_or_else(|| format!("What {} does", arguments.called()));
    let text = recorded.scenario(&told, &title, &notes);
    if let Err(why) = document::read(&text, "recorded") {
        eprintln!("warning: this is no scenario yet: {why}");
    }
    arguments.write(&text, &recorded)?;
    Ok(ExitCode::AsExpected)
}

impl Arguments {
    /// Writes the scenario, and says how much it has.
    fn write(&self, text: &str, recorded: &Recorded) -> Result<(), Trouble> {
        let (steps, comments) = (recorded.steps(), recorded.comments());
        let without = match comments {
            0 => String::new(),
            1 => ", 1 call has no step and is a comment".to_owned(),
            more => format!(", {more} calls have no step and are comments"),
        };
        let Some(file) = &self.out else {
            print(text)?;
            eprintln!("{steps} steps recorded{without}");
            return Ok(());
        };
        let what = file.display().to_string();
        let written = Whole::create(file)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.flush()));
        written.map_err(Trouble::environment(&what))?;
        eprintln!("{steps} steps recorded in {what}{without}; next: nsharness run {what}");
        Ok(())
    }

    /// The program in few words, for people.
    fn called(&self) -> String {
        const MOST: usize = 60;
        let called = self.command.join(" ");
        let called: String = called.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match called.char_indices().nth(MOST) {
            _ if called.is_empty() => "a shell".to_owned(),
            Some((end, _)) => format!("`{}...`", &called[..end]),
            None => format!("`{called}`"),
        }
    }
}

/// The world of nobody.
fn empty() -> Result<Case, Trouble> {
    let case = document::case(EMPTY, EMPTY_ID);
    let mut case =
        case.map_err(|why| Trouble::Usage(format!("the empty world is wrong: {why}")))?;
    case.plan.steps.clear();
    case.steps.clear();
    Ok(case)
}
