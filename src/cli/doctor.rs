//! `nsharness doctor`

use std::collections::BTreeSet;

use serde_json::json;

use super::on::On;
use super::select::Selection;
use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::probe::{self, Environment, USERNS};
use crate::report::doctor::Examined;
use crate::scenario::Case;
use crate::scenario::load::bundle;
use crate::target::open::Means;
use crate::target::{Target, Unopened};

const NOTES: &str = "\
Examples:
  nsharness doctor
  nsharness doctor --on host,uml:6.12
  nsharness doctor --json

Each question has its answer, the evidence, and where it is no, the remedy and how many of the scenarios below
scenarios/ cannot be asked for it. What a machine has beside its kernel is asked of this one, not of guests.
Exit status 5: no sandbox can be made there, or a question broke; 4: the target cannot be had.
";

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Arguments {
    /// Prints one JSON object a target, with the scenarios that each probe keeps from being asked
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    on: On,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    if arguments.on.is_auto() {
        return Err(Trouble::Usage(
            "`auto` chooses by scenario: name what is to be examined".into(),
        ));
    }
    let hosts = arguments.on.workers(1, 1)?;
    let cases = match bundle().is_dir() {
        true => Some(Selection::of_default()?),
        false => None,
    };
    let probes: BTreeSet<String> = probe::names().into_iter().map(str::to_owned).collect();
    let means = Means { hosts, privileged: false, probes: probes.clone() };
    let mut codes = Vec::new();
    for asked in arguments.on.asked(means, &[])? {
        let code = match asked.opener.open(&probes) {
            Ok(opened) => {
                let mut environment = opened.environment;
                if asked.target == Target::Host.to_string() {
                    environment.ask_machine();
                }
                print(&arguments.describe(&asked.target, &environment, cases.as_deref()))?;
                code(&environment)
            }
            Err(why) => {
                print(&arguments.describe_unopened(&asked.target, &why))?;
                match why {
                    Unopened::Missing(_) => ExitCode::NothingExecuted,
                    Unopened::Broken(_) => ExitCode::Broken,
                }
            }
        };
        codes.push(code);
    }
    Ok(ExitCode::gravest(codes))
}

/// Where no sandbox can be made nothing can be asked. A recording may lack the answer.
fn code(environment: &Environment) -> ExitCode {
    let no_sandbox = environment.findings.get(USERNS).is_some_and(|f| f.value == Some(false));
    match no_sandbox || environment.findings.values().any(|finding| finding.broke) {
        true => ExitCode::Broken,
        false => ExitCode::AsExpected,
    }
}

impl Arguments {
    fn describe(&self, target: &str, environment: &Environment, cases: Option<&[Case]>) -> String {
        let blocked = cases.map(|cases| probe::blocked(environment, cases));
        let examined = Examined { target, environment, blocked };
        if self.json { format!("{:#}\n", examined.json()) } else { examined.text() }
    }

    fn describe_unopened(&self, target: &str, why: &Unopened) -> String {
        if self.json {
            return format!("{:#}\n", json!({ "target": target, "unavailable": why }));
        }
        format!("{target} cannot be asked\n{:32}{why}\n", "")
    }
}
