//! `nsharness list`

use serde_json::json;

use super::on::On;
use super::select::{OfShard, Selection};
use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::missing::Missing;
use crate::probe::{self, Environment};
use crate::sandbox::IdSource;
use crate::scenario::Case;
use crate::target::host::Host;
use crate::target::open::Means;
use crate::target::{Target, Unopened};

const EXAMPLES: &str = "\
Examples:
  nsharness list                                        what would be skipped here, and why
  nsharness list overlay/ --tag rename --json
  nsharness list --on uml:6.12                          what would be skipped there
";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shard: OfShard,
    /// Prints JSON lines
    #[arg(long)]
    json: bool,
    /// Lists what `run --privileged` would skip
    #[arg(long)]
    privileged: bool,
    #[command(flatten)]
    on: On,
}

/// A target with what it is, or why it cannot be asked.
type Known = (String, Result<Environment, Unopened>);

impl Arguments {
    fn targets(&self, hosts: Vec<Host>, cases: &[Case]) -> Result<Vec<Known>, Trouble> {
        let probes = probe::wanted(cases);
        let means = Means { hosts, privileged: self.privileged, probes: probes.clone() };
        let asked = self.on.asked(means, cases)?.into_iter().map(|asked| {
            let opened = asked.opener.open(&probes).map(|opened| opened.environment);
            (asked.target, opened)
        });
        Ok(asked.collect())
    }

    /// What keeps a case from being asked: on any of the targets that were named, or on all of those
    /// that `auto` chooses from.
    fn missing(&self, targets: &[Known], case: &Case) -> Vec<(String, Missing)> {
        let mut all = Vec::new();
        for (target, known) in targets {
            let mut missing = match known {
                Ok(environment) => environment.missing(case),
                Err(Unopened::Missing(missing)) => vec![missing.clone()],
                Err(Unopened::Broken(why)) => {
                    vec![Missing::new("an answer", why, "see to it that it can be asked")]
                }
            };
            if *target == Target::Host.to_string() && !case.plan.needs.privileged {
                let maps = IdSource::detect().maps(&case.plan.needs.ids);
                missing.extend(maps.err().unwrap_or_default());
            }
            if missing.is_empty() && self.on.is_auto() {
                return Vec::new();
            }
            all.extend(missing.into_iter().map(|missing| (target.clone(), missing)));
        }
        all
    }
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let hosts = arguments.on.workers(1, 1)?;
    let mut selected = arguments.selection.cases()?;
    selected.keep(&arguments.shard);
    let cases = &selected.cases;
    let targets = arguments.targets(hosts, cases)?;
    for case in cases {
        let missing = arguments.missing(&targets, case);
        let mut text;
        if arguments.json {
            text = json!({
                "id": case.id,
                "file": case.path.display().to_string(),
                "title": case.title,
                "tags": case.tags,
                "refs": case.refs,
                "steps": case.plan.steps.len(),
                "missing": missing.iter().map(|(target, missing)| json!({
                    "target": target,
                    "what": missing.what,
                    "why": missing.why,
                    "remedy": missing.remedy,
                })).collect::<Vec<_>>(),
            })
            .to_string();
            text.push('\n');
        } else {
            let tags = if case.tags.is_empty() {
                String::new()
            } else {
                format!("  [{}]", case.tags.join(", "))
            };
            text = format!("{}  {}{tags}\n", case.id, case.title);
            missing.iter().for_each(|(target, missing)| {
                let on = if targets.len() > 1 { format!(" on {target}") } else { String::new() };
                text.push_str(&format!("        would be skipped{on}: {missing}\n"))
            });
        }
        print(&text)?;
    }
    let nothing = cases.is_empty() && !selected.part.is_empty();
    Ok(if nothing { ExitCode::NothingExecuted } else { ExitCode::AsExpected })
}
