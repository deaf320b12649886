//! `nsharness new`

use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::new::{TEMPLATES, Template, check_name};

const EXAMPLES: &str = "\
Examples:
  nsharness new bind mine                               scenarios/bind/mine.yaml
  nsharness new --list                                  the families
";

/// Writes a first scenario of a family to scenarios/FAMILY/NAME.yaml below the working directory: short, with comments,
/// and true. What is there is never overwritten.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What it is about: the name of a directory of scenarios/
    #[arg(value_name = "FAMILY", required_unless_present = "list")]
    family: Option<String>,
    /// What the file is called, without the ending
    #[arg(value_name = "NAME", required_unless_present = "list")]
    name: Option<String>,
    /// Lists the families, each with what its first scenario shows
    #[arg(long, conflicts_with_all = ["family", "name"])]
    list: bool,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let (Some(family), Some(name)) = (&arguments.family, &arguments.name) else {
        for template in TEMPLATES {
            print(&format!("{:<18}{}\n", template.family, template.title()))?;
        }
        return Ok(ExitCode::AsExpected);
    };
    let template = Template::of(family).map_err(Trouble::Usage)?;
    check_name(name).map_err(Trouble::Usage)?;
    let what = format!("scenarios/{family}/{name}.yaml");
    let file = template.write(name).map_err(Trouble::environment(what))?;
    print(&next(template, &file.display().to_string()))?;
    Ok(ExitCode::AsExpected)
}

/// What there is, and what to do with it.
fn next(template: &Template, file: &str) -> String {
    let observes = template.observes();
    let accept = if observes { "--snapshots accept" } else { "" };
    let options: Vec<_> =
        [template.asked_by, accept].into_iter().filter(|option| !option.is_empty()).collect();
    let ask = [&["nsharness run", file], &options[..]].concat().join(" ");
    let keep = if observes { ", keep what it observes" } else { "" };
    let mut lines = vec![(ask, format!("see that it is true{keep}"))];
    lines.push((format!("nsharness explain {file}"), "step by step, with the rules".to_owned()));
    if template.asked_by.is_empty() || template.asked_by.starts_with("--on") {
        let shell = format!("nsharness shell {file} {}", template.asked_by);
        lines.push((shell.trim_end().to_owned(), "look around in its world".to_owned()));
    }
    lines.push((format!("nsharness check {file}"), "every error, after a change".to_owned()));
    let width = lines.iter().map(|(command, _)| command.len()).max().unwrap_or_default() + 2;
    let lines = lines.iter().map(|(command, what)| format!("  {command:<width$}{what}\n"));
    format!("{file}: {}\nnext:\n{}", template.title(), lines.collect::<String>())
}
