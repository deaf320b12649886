//! `nsharness list`

use serde_json::json;

use super::select::Selection;
use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::probe::{self, Environment};
use crate::sandbox::IdSource;
use crate::target::host::Host;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Prints JSON lines
    #[arg(long)]
    json: bool,
    /// Lists what `run --privileged` would skip
    #[arg(long)]
    privileged: bool,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let mut host = Host::start(1).map_err(Trouble::environment("workers cannot be started"))?;
    let cases = arguments.selection.cases()?.cases;
    let mut environment = Environment::of_host(arguments.privileged);
    environment
        .ask(&probe::wanted(&cases), &mut host)
        .map_err(Trouble::environment("the kernel cannot be probed"))?;
    let ids = IdSource::detect();
    for case in &cases {
        let mut missing = environment.missing(case);
        if !case.plan.needs.privileged {
            missing.extend(ids.maps(&case.plan.needs.ids).err().unwrap_or_default());
        }
        let mut text;
        if arguments.json {
            text = json!({
                "id": case.id,
                "file": case.path.display().to_string(),
                "title": case.title,
                "tags": case.tags,
                "refs": case.refs,
                "steps": case.plan.steps.len(),
                "missing": missing,
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
            missing.iter().for_each(|missing| {
                text.push_str(&format!("        would be skipped: {missing}\n"))
            });
        }
        print(&text)?;
    }
    Ok(if cases.is_empty() { ExitCode::NothingExecuted } else { ExitCode::AsExpected })
}
