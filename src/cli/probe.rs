//! `nsharness probe`

use serde_json::json;

use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::probe::{self, Environment};
use crate::target::host::Host;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let mut host = Host::start(1).map_err(Trouble::environment("workers cannot be started"))?;
    let mut environment = Environment::of_host(false);
    let all = probe::names().into_iter().map(str::to_owned).collect();
    environment
        .ask(&all, &mut host)
        .map_err(Trouble::environment("the kernel cannot be probed"))?;
    if arguments.json {
        let object = json!({
            "kernel": environment.release,
            "machine": environment.machine,
            "uid": environment.uid,
            "probes": environment.findings,
        });
        print(&format!("{object:#}\n"))?;
        return Ok(ExitCode::AsExpected);
    }
    print(&format!(
        "Linux {} {}, uid {}\n",
        environment.release, environment.machine, environment.uid
    ))?;
    for probe in probe::all() {
        let Some(finding) = environment.findings.get(probe.name) else { continue };
        let value = match finding.value {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        };
        let mut text = format!("{:<22} {value:<8} {}\n", probe.name, probe.question);
        text.push_str(&format!("{:32}{}\n", "", finding.evidence));
        if finding.value != Some(true) {
            text.push_str(&format!("{:32}remedy: {}\n", "", probe.remedy));
        }
        print(&text)?;
    }
    Ok(ExitCode::AsExpected)
}
