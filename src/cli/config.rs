//! `nsharness config`

use serde_json::json;

use super::settings::{Found, SETTINGS, Setting, Settings};
use super::{Trouble, print};
use crate::exit_code::ExitCode;

const EXAMPLES: &str = "\
Examples:
  nsharness config
  NSHARNESS_RETRIES=2 nsharness config --json
";

/// An option of the command line counts more than a variable, that more than nsharness.toml of the checkout, that
/// more than your own file. docs/configuration.md has every setting.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Prints JSON lines, one a setting
    #[arg(long)]
    json: bool,
}

pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<ExitCode, Trouble> {
    if !arguments.json {
        for (file, is_there) in &settings.files {
            let what = if *is_there { "" } else { ", which is not there" };
            print(&format!("file {}{what}\n", file.display()))?;
        }
        if settings.files.is_empty() {
            print("no file\n")?;
        }
    }
    for setting in SETTINGS {
        let sections = setting
            .sections()
            .filter(|section| settings.said(setting).any(|found| found.section == Some(*section)));
        let common = setting.is_common().then_some(None);
        for section in common.into_iter().chain(sections.map(Some)) {
            let mut said: Vec<_> =
                settings.said(setting).filter(|found| found.section == section).collect();
            said.sort_by_key(|found| std::cmp::Reverse(found.rank()));
            print(&if arguments.json {
                line_of_json(setting, section, &said)
            } else {
                lines(setting, section, &said)
            })?;
        }
    }
    Ok(ExitCode::AsExpected)
}

fn name(setting: &Setting, section: Option<&str>) -> String {
    section.map_or_else(|| setting.key.to_owned(), |section| format!("{section}.{}", setting.key))
}

fn lines(setting: &Setting, section: Option<&str>, said: &[&Found]) -> String {
    let name = name(setting, section);
    let Some((counts, others)) = said.split_first() else {
        return format!("{name:16} -                 {}\n", setting.variable_of(section));
    };
    let mut text = format!("{name:16} {:17} {}\n", counts.shown(), counts.origin.place());
    for other in others {
        text.push_str(&format!("{:16} not {:13} {}\n", "", other.shown(), other.origin.place()));
    }
    text
}

fn line_of_json(setting: &Setting, section: Option<&str>, said: &[&Found]) -> String {
    let one = |found: &&Found| json!({ "value": found.shown(), "from": found.origin.place() });
    let line = json!({
        "setting": name(setting, section),
        "variable": setting.variable_of(section),
        "value": said.first().map(|found| found.shown()),
        "from": said.first().map(|found| found.origin.place()),
        "not": said.iter().skip(1).map(one).collect::<Vec<_>>(),
    });
    format!("{line}\n")
}
