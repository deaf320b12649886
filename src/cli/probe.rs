//! `nsharness probe`

use std::collections::BTreeSet;

use serde_json::json;

use super::on::On;
use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::probe::{self, Environment};
use crate::target::Unopened;
use crate::target::open::Means;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Prints one JSON object a target
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    on: On,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    if arguments.on.is_auto() {
        return Err(Trouble::Usage("`auto` chooses by scenario: name what is to be probed".into()));
    }
    let hosts = arguments.on.workers(1, 1)?;
    let probes: BTreeSet<String> = probe::names().into_iter().map(str::to_owned).collect();
    let means = Means { hosts, privileged: false, probes: probes.clone() };
    let mut codes = Vec::new();
    for asked in arguments.on.asked(means, &[])? {
        let code = match asked.opener.open(&probes) {
            Ok(opened) => {
                print(&arguments.describe(&asked.target, &opened.environment))?;
                ExitCode::AsExpected
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

impl Arguments {
    fn describe(&self, target: &str, environment: &Environment) -> String {
        let Environment { release, machine, uid, .. } = environment;
        if self.json {
            let object = json!({
                "target": target,
                "kernel": release,
                "machine": machine,
                "uid": uid,
                "note": environment.note,
                "probes": environment.findings,
            });
            return format!("{object:#}\n");
        }
        let note = environment.note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
        let mut text = format!("Linux {release} {machine} ({target}{note}), uid {uid}\n");
        for probe in probe::all() {
            let Some(finding) = environment.findings.get(probe.name) else { continue };
            let value = match finding.value {
                Some(true) => "yes",
                Some(false) => "no",
                None => "unknown",
            };
            text.push_str(&format!("{:<22} {value:<8} {}\n", probe.name, probe.question));
            text.push_str(&format!("{:32}{}\n", "", finding.evidence));
            if finding.value != Some(true) {
                text.push_str(&format!("{:32}remedy: {}\n", "", probe.remedy));
            }
        }
        text
    }

    fn describe_unopened(&self, target: &str, why: &Unopened) -> String {
        if self.json {
            return format!("{:#}\n", json!({ "target": target, "unavailable": why }));
        }
        format!("{target} cannot be asked\n{:32}{why}\n", "")
    }
}
