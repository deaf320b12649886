//! `nsharness rules`

use clap::Subcommand;

use super::select::Selection;
use super::simulate::Kernel;
use super::{Trouble, print};
use crate::coverage::Coverage;
use crate::diag::did_you_mean;
use crate::exit_code::ExitCode;
use crate::model::profile::{NEWEST, Profile};
use crate::model::rules::{self, Rule};
use crate::report::rules as text;
use crate::scenario::condition::KernelVersion;

const EXAMPLES: &str = "\
Examples:
  nsharness rules
  nsharness rules list overlay.rename                   those whose ids have this
  nsharness rules list --quirks                         those that deviate from documentation
  nsharness rules show overlay.rename.dir-exdev         sources, kernels, scenarios
  nsharness rules --coverage bind/                      which rules these scenarios exercise
  nsharness rules --markdown > rules.md                 a page, with an anchor each
";

/// Without a subcommand, all rules are listed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Says how many of the selected scenarios exercise each rule, and which rules none does
    #[arg(long)]
    coverage: bool,
    /// Prints JSON lines, one a rule, with the scenarios that exercise it
    #[arg(long)]
    json: bool,
    /// Prints a page in Markdown with all rules, an anchor each, and the scenarios that exercise it
    #[arg(long, conflicts_with_all = ["coverage", "json", "kernel"])]
    markdown: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    kernel: Kernel,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rules whose ids contain one of these words, or all
    List {
        /// Parts of ids
        #[arg(value_name = "PART")]
        parts: Vec<String>,
        /// Only rules that deviate from what is documented
        #[arg(long)]
        quirks: bool,
    },
    /// Show rules with their sources and the scenarios that exercise them
    Show {
        /// Ids of rules
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    match &arguments.command {
        Some(Command::List { parts, quirks }) => list(parts, *quirks),
        Some(Command::Show { ids }) => show(ids),
        None if arguments.markdown => markdown(arguments),
        None if arguments.coverage || arguments.json => coverage(arguments),
        None if arguments.selection.is_empty() => list(&[], false),
        None => Err(Trouble::Usage(
            "scenarios are selected with `--coverage`; rules are selected with `rules list PART`"
                .into(),
        )),
    }
}

fn list(parts: &[String], quirks: bool) -> Result<ExitCode, Trouble> {
    let wanted = |rule: &&Rule| {
        (!quirks || rule.quirk.is_some())
            && (parts.is_empty() || parts.iter().any(|part| rule.id.contains(part.as_str())))
    };
    let found: Vec<_> = rules::all().filter(wanted).collect();
    if let (true, [part, ..]) = (found.is_empty(), parts) {
        return Err(unknown(part));
    }
    found.iter().try_for_each(|rule| print(&text::line(rule)))?;
    Ok(ExitCode::AsExpected)
}

fn show(ids: &[String]) -> Result<ExitCode, Trouble> {
    let found: Result<Vec<_>, _> =
        ids.iter().map(|id| rules::find(id).ok_or_else(|| unknown(id))).collect();
    let coverage = of_bundle()?;
    for rule in found? {
        print(&text::describe(rule, &coverage))?;
    }
    Ok(ExitCode::AsExpected)
}

/// What the scenarios of the default directory exercise; nothing where there are none.
pub fn of_bundle() -> Result<Coverage, Trouble> {
    let cases = Selection::of_default()?;
    Coverage::of_every_kernel(&cases, &Kernel::default().profile()).map_err(cannot_ask())
}

fn coverage(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let cases = arguments.selection.cases()?.cases;
    let profile = arguments.kernel.profile();
    let coverage = if arguments.kernel.is_given() {
        Coverage::of(&cases, &profile)
    } else {
        Coverage::of_every_kernel(&cases, &profile)
    };
    let coverage = coverage.map_err(cannot_ask())?;
    if arguments.json {
        for rule in rules::all() {
            print(&format!("{}\n", text::json(rule, &coverage)))?;
        }
    } else {
        print(&text::table(&coverage, &profile))?;
    }
    Ok(if cases.is_empty() { ExitCode::NothingExecuted } else { ExitCode::AsExpected })
}

/// The page that is made for the newest kernel, whatever machine this is; of older ones for what that has not.
fn markdown(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let cases = arguments.selection.cases()?.cases;
    let newest = Profile::of_version(KernelVersion(NEWEST.0, NEWEST.1, 0));
    let coverage = Coverage::of_every_kernel(&cases, &newest).map_err(cannot_ask())?;
    print(&text::page(&coverage))?;
    Ok(ExitCode::AsExpected)
}

fn cannot_ask() -> impl FnOnce(std::io::Error) -> Trouble {
    Trouble::environment("the model cannot be asked")
}

fn unknown(id: &str) -> Trouble {
    let parts = || rules::all().flat_map(|rule| rule.id.split('.'));
    let near = did_you_mean(id, rules::all().map(|rule| rule.id));
    let hint = match near.or_else(|| did_you_mean(id, parts())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`nsharness rules` lists them".to_owned(),
    };
    Trouble::Usage(format!("no rule `{}`: {hint}", id.escape_debug()))
}
