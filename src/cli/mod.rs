//! The command line: one file a command, each thin.

mod bundle;
mod check;
mod completions;
mod config;
mod diff;
mod doctor;
mod explain;
mod findings;
mod inspect;
mod kernel;
mod list;
mod man;
mod matrix;
mod merge;
mod new;
mod on;
mod record;
mod reports;
mod rules;
mod run;
mod schema;
mod search;
mod select;
mod settings;
mod shell;
mod simulate;
mod snap;

use std::io::{self, Write};
use std::panic;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::{FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::diag::Diagnostic;
use crate::exit_code::ExitCode;
use crate::missing::Missing;
use crate::sys;
use settings::{Applied, Settings};

/// What the help ends with.
fn after_help() -> String {
    format!("{EXAMPLES}\n{}", ExitCode::help())
}

const EXAMPLES: &str = "\
Examples:
  nsharness run                                         asks what scenarios/ says, here
  nsharness simulate overlay/ --kernel 5.10             asks the model alone
  nsharness explain overlay/whiteout
  nsharness new overlay my-first                        a scenario of your own
  nsharness doctor                                      what this machine allows
  nsharness kernel fetch debian:13                      then --on uml:6.12

`nsharness help COMMAND` has examples of each.
";

/// Declarative tests for what containers stand on: user namespaces and id maps, overlayfs, bind
/// mounts and propagation, pivot_root and chroot.
#[derive(Debug, Parser)]
#[command(name = "nsharness", version, after_help = after_help(), arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The only file of settings, in the place of nsharness.toml and your own [env: NSHARNESS_CONFIG]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Reads no file of settings
    #[arg(long, global = true, conflicts_with = "config", help_heading = "Global options")]
    no_config: bool,
    /// Whether output has colours; auto is where a terminal is, and NO_COLOR is not [env: NSHARNESS_COLOR]
    #[arg(long, value_name = "WHEN", value_enum, global = true, help_heading = "Global options")]
    color: Option<Color>,
}

/// Whether output has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask the kernel and the model what scenarios say, and hold them against each other
    Run(run::Arguments),
    /// Show scenarios by kernels: where kernels differ, and why
    Matrix(matrix::Arguments),
    /// Compare the JSON reports of two runs, as before and after an upgrade
    Diff(diff::Arguments),
    /// Put the JSON reports of several runs together, as of shards or kernels, and judge the whole
    Merge(merge::Arguments),
    /// Ask the model alone: no kernel, no privilege
    Simulate(simulate::Arguments),
    /// Tell a scenario step by step, with rules and pictures; or a rule, an error, a topic
    Explain(explain::Arguments),
    /// Take the steps of a scenario up to some point, and look around in its sandbox
    Shell(shell::Arguments),
    /// Run a program in a sandbox, and write what it asks of the kernel as a scenario
    Record(record::Arguments),
    /// Write a first scenario of a family, to be changed
    New(new::Arguments),
    /// List the rules of the model, and which scenarios exercise them
    Rules(rules::Arguments),
    /// Write the bundle of a scenario with a container, for a runtime that is called by hand
    Bundle(bundle::Arguments),
    /// Find every error in scenario files, without running anything
    Check(check::Arguments),
    /// List scenarios, and what would be skipped here and why
    List(list::Arguments),
    /// Make up worlds and steps, and find where a kernel and the model part
    Search(search::Arguments),
    /// Show what this environment allows containers to do, with evidence and remedies
    Doctor(doctor::Arguments),
    /// Show what the layers of an overlay on disk come to, from which layer each name is, and what is wrong
    Inspect(inspect::Arguments),
    /// Fetch, list, add and remove kernels that guests boot
    Kernel(kernel::Arguments),
    /// Put together what searches found
    Findings(findings::Arguments),
    /// Review the snapshots of what scenarios observe
    Snap(snap::Arguments),
    /// Show every setting, its value and who said it
    Config(config::Arguments),
    /// Print the JSON schema of a scenario file, or the reference made from it
    Schema(schema::Arguments),
    /// Print what a shell completes the command line by
    Completions(completions::Arguments),
    /// Write the manual pages
    Man(man::Arguments),
}

/// What keeps a command from doing its job.
#[derive(Debug)]
enum Trouble {
    /// The command line asks for something that does not go together.
    Usage(String),
    /// Files that are wrong.
    Invalid(Vec<Diagnostic>),
    /// The environment: a report that cannot be written, a process that cannot be started.
    Environment(String, io::Error),
}

impl From<Missing> for Trouble {
    fn from(missing: Missing) -> Self {
        let why = io::Error::other(format!("{} ({})", missing.why, missing.remedy));
        Self::Environment(missing.what, why)
    }
}

impl Trouble {
    fn environment(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Environment(what, error)
    }
}

/// Runs the command that the arguments of this process say.
pub fn main() -> ExitCode {
    // A closed pipe ends output, not the process in the middle of a sandbox: it is an error of writing.
    let outcome = panic::catch_unwind(|| match run_command() {
        Ok(code) => code,
        Err(trouble) => complain(&trouble),
    });
    outcome.unwrap_or_else(|_| {
        eprintln!("this is a bug in nsharness: please report it with the scenario that shows it");
        ExitCode::Bug
    })
}

/// What is wrong with a command line, the name of the program left out.
///
/// # Errors
/// What clap says of it.
pub fn understand(arguments: &[&str]) -> Result<(), String> {
    let line = std::iter::once("nsharness").chain(arguments.iter().copied());
    let matches = settings::command().try_get_matches_from(line);
    let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    parsed.map(drop).map_err(|error| error.to_string())
}

/// The command line is read twice: as it stands, and with the settings that it leaves room for.
fn run_command() -> Result<ExitCode, Trouble> {
    let command = settings::command();
    let told = |error: clap::Error| {
        let printed = error.print().and_then(|()| io::stdout().flush());
        if error.use_stderr() {
            return Ok(ExitCode::Usage);
        }
        told(printed).map(|()| ExitCode::AsExpected)
    };
    let matches = match command.clone().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return told(error),
    };
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => return told(error),
    };
    if arguments.command.has_no_settings() {
        return execute(arguments, &Settings::default(), &Applied::default());
    }
    let settings = Settings::gather(&command, arguments.config, arguments.no_config)?;
    let (command, applied) = settings.apply(command, &matches);
    let parsed =
        command.try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches));
    match parsed {
        Ok(arguments) => execute(arguments, &settings, &applied),
        Err(error) => told(error),
    }
}

impl Command {
    /// Whether it does the same whatever settings say, so that a shell can ask for its completions anywhere.
    fn has_no_settings(&self) -> bool {
        matches!(self, Self::Completions(_) | Self::Man(_) | Self::Schema(_))
    }
}

fn execute(
    Arguments { command, color, .. }: Arguments,
    settings: &Settings,
    applied: &Applied,
) -> Result<ExitCode, Trouble> {
    let said = || Color::from_str(settings.common("color")?, true).ok();
    if let Some(color) = color.or_else(said) {
        anstream::ColorChoice::write_global(color.into());
    }
    if let Some(line) = applied.line() {
        eprintln!("{line}");
    }
    match command {
        Command::Run(arguments) => run::execute(arguments, applied),
        Command::Matrix(arguments) => matrix::execute(&arguments, applied),
        Command::Diff(arguments) => diff::execute(&arguments),
        Command::Merge(arguments) => merge::execute(&arguments),
        Command::Simulate(arguments) => simulate::execute(&arguments),
        Command::Rules(arguments) => rules::execute(&arguments),
        Command::Explain(arguments) => explain::execute(&arguments),
        Command::Shell(arguments) => shell::execute(&arguments),
        Command::Record(arguments) => record::execute(&arguments),
        Command::New(arguments) => new::execute(&arguments),
        Command::Check(arguments) => check::execute(&arguments),
        Command::List(arguments) => list::execute(&arguments),
        Command::Search(arguments) => search::execute(&arguments),
        Command::Doctor(arguments) => doctor::execute(&arguments),
        Command::Inspect(arguments) => inspect::execute(&arguments),
        Command::Kernel(arguments) => kernel::execute(&arguments),
        Command::Findings(arguments) => findings::execute(&arguments),
        Command::Snap(arguments) => snap::execute(&arguments),
        Command::Bundle(arguments) => bundle::execute(&arguments),
        Command::Config(arguments) => config::execute(&arguments, settings),
        Command::Schema(arguments) => schema::execute(&arguments),
        Command::Completions(arguments) => completions::execute(&arguments),
        Command::Man(arguments) => man::execute(&arguments),
    }
}

fn complain(trouble: &Trouble) -> ExitCode {
    let mut err = anstream::stderr();
    let colour = anstream::Stderr::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let red: Style = AnsiColor::Red.on_default().bold();
    match trouble {
        Trouble::Usage(message) => {
            let _ = writeln!(
                err,
                "{red}error:{red:#} {message}\n\nFor more information, try '--help'."
            );
            ExitCode::Usage
        }
        Trouble::Invalid(diagnostics) => {
            for diagnostic in diagnostics {
                let _ = writeln!(err, "{}\n", diagnostic.render(colour));
            }
            let count = diagnostics.len();
            let errors = if count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
            let _ = writeln!(err, "{errors}; nothing was run");
            ExitCode::InvalidFile
        }
        Trouble::Environment(what, error) => {
            let _ = writeln!(err, "{red}error:{red:#} {what}: {error}");
            ExitCode::Broken
        }
    }
}

/// From here on an interruption is noticed, and ends what goes on in order.
fn watch_for_interrupts() -> Result<(), Trouble> {
    sys::watch_for_interrupts()
        .map_err(|errno| Trouble::Environment("signals cannot be handled".into(), errno.into()))
}

/// Prints to standard output; a reader that has gone away is no error.
fn print(text: &str) -> Result<(), Trouble> {
    let mut out = anstream::stdout();
    told(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn told(printed: io::Result<()>) -> Result<(), Trouble> {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Trouble::Environment("cannot write to standard output".into(), error))
        }
        _ => Ok(()),
    }
}
