//! What users need not say each time. An option of the command line, `NSHARNESS_*`, the file of a checkout, the user's
//! own file: what stands first counts.
//!
//! Settings become defaults of the command line, so that a command sees options and nothing else. Their own way of
//! being wrong is told with the file and line, or the variable.

mod file;
mod table;

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};

use super::Trouble;
use crate::diag::{Diagnostic, Source, did_you_mean};
use crate::variables;

use table::{Kind, OTHER_VARIABLES};
pub use table::{SETTINGS, Setting};

/// The variable that names the only file of settings; empty for none.
pub const CONFIG: &str = "NSHARNESS_CONFIG";

/// Who said it; the later one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The user's own file.
    User,
    /// The file of the checkout that one works in: anybody may have proposed what it says.
    Checkout,
    /// A file that was named for this run.
    Named,
    /// The environment.
    Variable,
}

/// Where it was said.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A part of a file.
    File(Arc<Source>, Range<usize>),
    /// A variable of the environment.
    Variable(String),
}

impl Origin {
    /// The place in words: a file with its line, or a variable.
    pub fn place(&self) -> String {
        match self {
            Self::File(source, span) => {
                format!("{}:{}", source.name, source.line_column(span.start).0)
            }
            Self::Variable(name) => name.clone(),
        }
    }
}

/// A setting that somebody has said.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub setting: &'static Setting,
    /// The command that it was said to, where that is one.
    pub section: Option<&'static str>,
    /// The value, as the command line would have it.
    pub text: OsString,
    /// Where it was said.
    pub origin: Origin,
    rank: Rank,
}

impl Found {
    /// How it is called in a file: `jobs`, or `search.jobs`.
    pub fn name(&self) -> String {
        let section = self.section.map(|section| format!("{section}."));
        format!("{}{}", section.unwrap_or_default(), self.setting.key)
    }

    /// Who said it.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The value, for a terminal.
    pub fn shown(&self) -> String {
        self.text.to_string_lossy().escape_debug().to_string()
    }
}

/// All settings that somebody has said.
#[derive(Debug, Default)]
pub struct Settings {
    /// The files that were looked for, and whether they are there.
    pub files: Vec<(PathBuf, bool)>,
    found: Vec<Found>,
}

/// The settings that count for this command line.
#[derive(Debug, Default)]
pub struct Applied(Vec<Found>);

impl Applied {
    /// Whether an option has its value from a setting.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|found| found.setting.key == key)
    }

    /// All of them in one line, for who reads what a run did.
    pub fn line(&self) -> Option<String> {
        let one = |found: &Found| {
            format!("{}={} ({})", found.setting.key, found.shown(), found.origin.place())
        };
        let all: Vec<_> = self.0.iter().map(one).collect();
        (!all.is_empty()).then(|| format!("settings: {}", all.join(", ")))
    }
}

/// The command line, with what settings change of it: their variables in the help, and flags that can be denied.
pub fn command() -> Command {
    let mut command = super::Arguments::command();
    for setting in SETTINGS {
        for name in setting.commands.iter().chain(setting.apart) {
            let section = setting.apart.contains(name).then_some(*name);
            let note = format!("[env: {}]", setting.variable_of(section));
            command =
                within(command, name, setting.key, |arg| documented(arg, setting.kind, &note));
        }
    }
    command
}

fn documented(arg: Arg, kind: Kind, note: &str) -> Arg {
    let noted = |text: String| format!("{} {note}", text.trim_end());
    let help = arg.get_help().map(|help| noted(help.to_string())).unwrap_or_default();
    let long = arg.get_long_help().map(|help| noted(help.to_string()));
    let arg = match long {
        Some(long) => arg.help(help).long_help(long),
        None => arg.help(help),
    };
    if kind != Kind::Flag {
        return arg;
    }
    // What a setting says the command line must be able to take back.
    arg.action(ArgAction::Set)
        .value_parser(ValueParser::bool())
        .num_args(0..=1)
        .require_equals(true)
        .value_name("BOOL")
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
}

/// Changes the option of that name of a command, which may be a command of a command.
fn within(command: Command, name: &str, key: &str, change: impl FnOnce(Arg) -> Arg) -> Command {
    let (first, rest) =
        name.split_once(' ').map_or((name, None), |(first, rest)| (first, Some(rest)));
    command.mut_subcommand(first, |command| match rest {
        Some(rest) => within(command, rest, key, change),
        None => match option(&command, key).map(|arg| arg.get_id().clone()) {
            Some(id) => command.mut_arg(id, change),
            None => command,
        },
    })
}

fn option<'c>(command: &'c Command, key: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(key))
}

fn at<'c>(command: &'c Command, name: &str) -> Option<&'c Command> {
    name.split(' ').try_fold(command, |command, word| command.find_subcommand(word))
}

impl Settings {
    /// What the files and the environment say.
    ///
    /// # Errors
    /// What is wrong with a file, all of it; else the first variable that is wrong.
    pub fn gather(command: &Command, named: Option<PathBuf>, none: bool) -> Result<Self, Trouble> {
        let mut settings = Self::default();
        let mut wrong = Vec::new();
        for (path, rank) in files(named, none) {
            match file::read(&path, rank) {
                Ok(found) => {
                    settings.files.push((path, found.is_some()));
                    settings.found.extend(found.unwrap_or_default());
                }
                Err(errors) => wrong.extend(errors),
            }
        }
        wrong.extend(settings.found.iter().filter_map(|found| found.wrong(command)));
        if !wrong.is_empty() {
            return Err(Trouble::Invalid(wrong));
        }
        settings.found.extend(of_environment(command)?);
        Ok(settings)
    }

    /// What counts for a command; what is said to it counts more than what is said to all.
    pub fn of(&self, setting: &'static Setting, command: &str) -> Option<&Found> {
        let apart = setting.apart.contains(&command);
        self.said(setting)
            .filter(|found| match found.section {
                Some(section) => section == command,
                None => !apart,
            })
            .max_by_key(|found| (found.rank, found.section.is_some()))
    }

    /// What counts of a setting that is about all commands.
    pub fn common(&self, key: &str) -> Option<&str> {
        let said = self.found.iter().filter(|found| found.setting.key == key);
        said.max_by_key(|found| found.rank)?.text.to_str()
    }

    /// All that was said of a setting.
    pub fn said(&self, setting: &'static Setting) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(|found| found.setting.key == setting.key)
    }

    /// The command line with these as its defaults, where it does not say otherwise.
    pub fn apply(&self, mut command: Command, matches: &ArgMatches) -> (Command, Applied) {
        let instead = SETTINGS.iter().filter_map(|setting| {
            let counts = self.said(setting).max_by_key(|found| found.rank)?;
            Some((setting.variable?, counts.text.clone()))
        });
        variables::instead(instead.collect::<BTreeMap<_, _>>());
        let mut name = String::new();
        let mut matches = matches;
        while let Some((word, below)) = matches.subcommand() {
            name = format!("{name} {word}").trim_start().to_owned();
            matches = below;
        }
        let mut applied = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| setting.is_of(&name)) {
            let Some(found) = self.of(setting, &name) else { continue };
            if at(&command, &name).is_none_or(|command| says_otherwise(command, matches, setting)) {
                continue;
            }
            let text = found.text.clone();
            command = within(command, &name, setting.key, |arg| arg.default_value(text));
            applied.push(found.clone());
        }
        (command, Applied(applied))
    }
}

/// Whether the command line has the option, or one that does not go with it.
fn says_otherwise(command: &Command, matches: &ArgMatches, setting: &Setting) -> bool {
    let Some(own) = option(command, setting.key) else { return true };
    let excludes = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
    };
    command.get_arguments().any(|arg| {
        let given = matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        let named = arg.get_long().is_some_and(|long| setting.without.contains(&long));
        given && (arg.get_id() == own.get_id() || named || excludes(arg, own) || excludes(own, arg))
    })
}

/// The files that are read, the least of them first.
fn files(named: Option<PathBuf>, none: bool) -> Vec<(PathBuf, Rank)> {
    let variable = env::var_os(CONFIG);
    let named =
        named.or_else(|| variable.clone().filter(|value| !value.is_empty()).map(PathBuf::from));
    match named {
        _ if none => Vec::new(),
        Some(file) => vec![(file, Rank::Named)],
        None if variable.is_some() => Vec::new(),
        None => {
            let user = file::of_user().map(|file| (file, Rank::User));
            let checkout = file::of_checkout().map(|file| (file, Rank::Checkout));
            user.into_iter().chain(checkout).collect()
        }
    }
}

/// What the environment says.
fn of_environment(command: &Command) -> Result<Vec<Found>, Trouble> {
    let mut names = BTreeMap::new();
    for setting in SETTINGS {
        if setting.is_common() {
            names.insert(setting.variable_of(None), (setting, None));
        }
        for section in setting.sections() {
            names.insert(setting.variable_of(Some(section)), (setting, Some(section)));
        }
    }
    let mut all: Vec<_> = env::vars_os().filter(|(_, value)| !value.is_empty()).collect();
    all.sort();
    let mut found = Vec::new();
    for (name, value) in all {
        let Some(name) = name.to_str().filter(|name| name.starts_with("NSHARNESS_")) else {
            continue;
        };
        let Some((setting, section)) = names.get(name) else {
            if !OTHER_VARIABLES.contains(&name) {
                let near = did_you_mean(name, names.keys().map(String::as_str));
                let hint = near.map_or_else(String::new, |near| format!(": did you mean {near}?"));
                eprintln!("warning: there is no setting {}{hint}", name.escape_debug());
            }
            continue;
        };
        let wrong = |why: String| Trouble::Usage(format!("{name}: {why}"));
        if setting.kind != Kind::Path && value.to_str().is_none() {
            return Err(wrong("the value is not UTF-8 text".to_owned()));
        }
        let text = match setting.kind {
            Kind::Flag => truth(&value).map_err(wrong)?,
            _ => value,
        };
        let origin = Origin::Variable(name.to_owned());
        let one = Found { setting, section: *section, text, origin, rank: Rank::Variable };
        if let Some(why) = one.refused(command) {
            return Err(wrong(why));
        }
        found.push(one);
    }
    Ok(found)
}

/// A flag, as people write it in an environment.
fn truth(value: &OsStr) -> Result<OsString, String> {
    match value.to_string_lossy().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok("true".into()),
        "0" | "false" | "no" | "off" => Ok("false".into()),
        other => Err(format!("`{}` is neither true nor false", other.escape_debug())),
    }
}

impl Found {
    /// Why a value in a file is none.
    fn wrong(&self, command: &Command) -> Option<Diagnostic> {
        let Origin::File(source, span) = &self.origin else { return None };
        let why = self.refused(command)?;
        Some(Diagnostic::at(source, span.clone(), format!("`{}`: {why}", self.name())))
    }

    /// Why a command that has this would not take it.
    fn refused(&self, command: &Command) -> Option<String> {
        if self.setting.variable.is_some() {
            if let Some(arg) = option(command, self.setting.key) {
                return refused(arg, &self.text);
            }
            if self.setting.kind != Kind::Number {
                return None;
            }
            let number = self.text.to_str().and_then(|text| text.parse::<u32>().ok());
            return number.is_none().then(|| format!("`{}` is no number", self.shown()));
        }
        let commands: &[&str] = match &self.section {
            Some(section) => std::slice::from_ref(section),
            None => self.setting.commands,
        };
        commands.iter().find_map(|name| {
            let arg = option(at(command, name)?, self.setting.key)?;
            refused(arg, &self.text)
        })
    }
}

/// Why an option does not take a value.
fn refused(arg: &Arg, value: &OsStr) -> Option<String> {
    let mut alone = Arg::new("value")
        .long("value")
        .value_parser(arg.get_value_parser().clone())
        .action(ArgAction::Append);
    if let Some(delimiter) = arg.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    let mut typed = OsString::from("--value=");
    typed.push(value);
    let command = Command::new("setting").no_binary_name(true).arg(alone);
    let error = command.try_get_matches_from([typed]).err()?;
    let shown = value.to_string_lossy();
    let said = std::error::Error::source(&error).map(ToString::to_string);
    Some(match (error.kind(), said) {
        (ErrorKind::ValueValidation, Some(why)) => format!("`{}`: {why}", shown.escape_debug()),
        _ => {
            let wrong = match error.get(ContextKind::InvalidValue) {
                Some(ContextValue::String(wrong)) => wrong.as_str(),
                _ => &shown,
            };
            let values = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) => values.as_slice(),
                _ => &[],
            };
            let hint = match did_you_mean(wrong, values.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected one of {}", values.join(", ")),
            };
            format!("there is no `{}`: {hint}", wrong.escape_debug())
        }
    })
}
