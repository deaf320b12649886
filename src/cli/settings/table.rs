//! Every setting: what it is called, which commands have it, and whether a checkout may say it.

use crate::variables;

/// How a value is written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A number that is not negative.
    Number,
    /// A text.
    Text,
    /// A text, or a list of texts.
    List,
    /// A text that names a file or a directory.
    Path,
}

/// What the file of a checkout may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkout {
    /// All that may be said.
    Any,
    /// Targets that are no files: a User-Mode Linux that is a file would be run.
    NoFiles,
    /// Nothing: it names a file or a program, says what a machine can bear, or has files written.
    Nothing,
}

/// A setting.
#[derive(Debug)]
pub struct Setting {
    /// Its key, which is the long name of the option that it stands for.
    pub key: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// The commands that have it.
    pub commands: &'static [&'static str],
    /// The commands that have it only as one of their own: it means something else there, or not every value goes.
    pub apart: &'static [&'static str],
    /// What a checkout may say of it.
    pub checkout: Checkout,
    /// The options that make it mean nothing where the command line has one of them.
    pub without: &'static [&'static str],
    /// Its variable, where it is no option of one command: it counts for all.
    pub variable: Option<&'static str>,
}

/// What most settings are.
const OPTION: Setting = Setting {
    key: "",
    kind: Kind::Text,
    commands: &[],
    apart: &[],
    checkout: Checkout::Any,
    without: &[],
    variable: None,
};

/// A file that is written, which no checkout may choose.
const REPORT: Setting = Setting {
    kind: Kind::Path,
    commands: &["run", "simulate"],
    checkout: Checkout::Nothing,
    ..OPTION
};

/// What is about all commands.
const VARIABLE: Setting = Setting { kind: Kind::Number, checkout: Checkout::Nothing, ..OPTION };

/// All of them, in the order in which `nsharness config` shows them.
///
/// No setting chooses what is asked (paths, ids, tags, `--failed`), for a green run would hide that; none gives the
/// rights of root (`--privileged`), which is said each time.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "on",
        kind: Kind::List,
        commands: &["run", "list"],
        apart: &["matrix", "doctor", "search"],
        checkout: Checkout::NoFiles,
        without: &["failed"],
        ..OPTION
    },
    Setting {
        key: "runtime",
        kind: Kind::List,
        commands: &["run", "matrix"],
        checkout: Checkout::Nothing,
        without: &["failed", "record"],
        ..OPTION
    },
    Setting {
        key: "overlay",
        kind: Kind::List,
        commands: &["run", "matrix"],
        checkout: Checkout::Nothing,
        without: &["failed", "record"],
        ..OPTION
    },
    Setting { key: "witness", kind: Kind::List, commands: &["run"], ..OPTION },
    Setting { key: "kernel", commands: &["simulate", "explain", "rules"], ..OPTION },
    Setting {
        key: "shard",
        commands: &["run", "simulate", "matrix", "list"],
        apart: &["search"],
        checkout: Checkout::Nothing,
        ..OPTION
    },
    Setting {
        key: "jobs",
        kind: Kind::Number,
        commands: &["run", "matrix"],
        apart: &["search"],
        checkout: Checkout::Nothing,
        ..OPTION
    },
    Setting { key: "timeout", kind: Kind::Number, commands: &["run"], ..OPTION },
    Setting {
        key: "retries",
        kind: Kind::Number,
        commands: &["run", "matrix"],
        without: &["record"],
        ..OPTION
    },
    Setting { key: "flaky", commands: &["run", "matrix"], ..OPTION },
    Setting { key: "fail-fast", kind: Kind::Flag, commands: &["run", "simulate"], ..OPTION },
    Setting { key: "snapshots", commands: &["run"], checkout: Checkout::Nothing, ..OPTION },
    Setting { key: "keep", commands: &["run"], ..REPORT },
    Setting { key: "json", apart: &["matrix"], ..REPORT },
    Setting { key: "html", apart: &["matrix"], ..REPORT },
    Setting { key: "junit", ..REPORT },
    Setting { key: "ktap", ..REPORT },
    Setting { key: "markdown", apart: &["matrix"], ..REPORT },
    Setting { key: "github", commands: &["run", "simulate", "merge"], ..OPTION },
    Setting { key: "quiet", kind: Kind::Flag, commands: &["run", "simulate", "search"], ..OPTION },
    Setting {
        key: "seed",
        kind: Kind::Number,
        commands: &["search"],
        without: &["resume"],
        ..OPTION
    },
    Setting { key: "for", commands: &["search"], without: &["count"], ..OPTION },
    Setting {
        key: "count",
        kind: Kind::Number,
        commands: &["search"],
        without: &["for"],
        ..OPTION
    },
    Setting { key: "check", commands: &["search"], ..OPTION },
    Setting { key: "repro", kind: Kind::List, commands: &["search"], ..OPTION },
    Setting {
        key: "out",
        kind: Kind::Path,
        commands: &["search"],
        checkout: Checkout::Nothing,
        ..OPTION
    },
    Setting {
        key: "flavour",
        kind: Kind::List,
        commands: &["kernel fetch"],
        checkout: Checkout::Nothing,
        ..OPTION
    },
    Setting { key: "mirror", commands: &["kernel fetch"], checkout: Checkout::Nothing, ..OPTION },
    Setting {
        key: "keyring",
        kind: Kind::Path,
        commands: &["kernel fetch"],
        checkout: Checkout::Nothing,
        ..OPTION
    },
    Setting {
        key: "color",
        kind: Kind::Text,
        checkout: Checkout::Any,
        variable: Some("NSHARNESS_COLOR"),
        ..VARIABLE
    },
    Setting { key: "cache", kind: Kind::Path, variable: Some(variables::CACHE), ..VARIABLE },
    Setting { key: "boot-timeout", variable: Some(variables::BOOT_TIMEOUT), ..VARIABLE },
    Setting { key: "guest-memory", variable: Some(variables::GUEST_MEMORY), ..VARIABLE },
];

/// Variables that are no settings.
pub const OTHER_VARIABLES: &[&str] = &[
    super::CONFIG,
    // Of tests.
    "NSHARNESS_REQUIRE",
    "NSHARNESS_TRIALS",
    // Between processes of nsharness.
    crate::target::guest::agent::CHANNEL,
    crate::worker::PROGRAM_NAME,
];

impl Setting {
    /// Whether a command has it, as one of its own or as all do.
    pub fn is_of(&self, command: &str) -> bool {
        self.commands.contains(&command) || self.apart.contains(&command)
    }

    /// Whether what is said to all commands counts for anything.
    pub fn is_common(&self) -> bool {
        !self.commands.is_empty() || self.variable.is_some()
    }

    /// The commands that may have one of their own.
    pub fn sections(&self) -> impl Iterator<Item = &'static str> {
        // A table is named by one word.
        self.commands.iter().chain(self.apart).copied().filter(|command| !command.contains(' '))
    }

    /// The variable that says it to all commands, or to one.
    pub fn variable_of(&self, section: Option<&str>) -> String {
        let word = |text: &str| text.to_ascii_uppercase().replace('-', "_");
        match (self.variable, section) {
            (Some(variable), _) => variable.to_owned(),
            (None, None) => format!("NSHARNESS_{}", word(self.key)),
            (None, Some(section)) => format!("NSHARNESS_{}_{}", word(section), word(self.key)),
        }
    }
}

/// The tables that a file may have: commands with settings.
pub fn sections() -> Vec<&'static str> {
    let mut all: Vec<_> = SETTINGS.iter().flat_map(Setting::sections).collect();
    all.sort_unstable();
    all.dedup();
    all
}
