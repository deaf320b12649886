//! Container runtimes: which there are, how they are called, and what they are given. Most have the command line that
//! runc has, which the specification leaves open, and are given a bundle; bubblewrap and unshare(1) are told by options.

mod bubblewrap;
pub mod bundle;
pub mod by_hand;
mod by_options;
mod unshare;

use crate::missing::Missing;
use crate::named::{Named, Purpose};
use crate::scenario::implementation::Implementation;
use crate::scenario::plan::Plan;

/// What to name instead of what is no runtime.
const REMEDY: &str = "name a runtime, as runc";

/// What a runtime is named for.
const PURPOSE: Purpose = Purpose {
    what: "the container runtime",
    remedy: REMEDY,
    packaged: &[
        ("runc", "runc"),
        ("crun", "crun"),
        ("bwrap", "bubblewrap"),
        ("unshare", "util-linux"),
    ],
};

/// Whether it is told of a container by options of its command line, and reads no `config.json`.
pub fn is_by_options(runtime: &Implementation) -> bool {
    [bubblewrap::NAME, unshare::NAME].contains(&runtime.name.as_str())
}

/// The directory that has to be there for a runtime, if any.
pub fn base(runtime: &Implementation) -> Option<&'static str> {
    (runtime.name == bubblewrap::NAME).then_some(bubblewrap::BASE)
}

/// The arguments of a runtime that is told by options, for the container of this plan.
///
/// # Errors
/// Everything that it cannot be told.
pub fn arguments(runtime: &Implementation, plan: &Plan) -> Result<Vec<String>, Vec<Missing>> {
    let container = plan.world.container.clone().unwrap_or_default();
    match runtime.name.as_str() {
        bubblewrap::NAME => bubblewrap::arguments(plan, &container),
        unshare::NAME => unshare::arguments(plan, &container),
        name => {
            Err(vec![Missing::new("options for a container", format!("{name} has none"), REMEDY)])
        }
    }
}

/// Why a runtime cannot be asked for the container of a plan; empty where it can. It is told before anything is asked.
pub fn missing(runtime: &Implementation, plan: &Plan) -> Vec<Missing> {
    match plan.world.container {
        Some(_) if is_by_options(runtime) => arguments(runtime, plan).err().unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Options of a runtime that stand before its command.
pub fn options(runtime: &Implementation) -> &'static [&'static str] {
    match runtime.name.as_str() {
        // Otherwise it wants cgroups that it can write to.
        "crun" => &["--cgroup-manager=disabled"],
        _ => &[],
    }
}

/// Finds a runtime, and asks it for its version.
///
/// # Errors
/// Where it is not there, is no runtime, or cannot be brought into a sandbox.
pub fn find(named: &Named) -> Result<Implementation, Missing> {
    named.find(PURPOSE)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diag::Source;
    use crate::scenario::condition::KernelVersion;
    use crate::scenario::{FoundFile, KnownNames, resolve};

    fn told(name: &str, container: &str, steps: &str) -> Result<Vec<String>, Vec<Missing>> {
        let steps = if steps == "[]" { "[getcwd: {as: container}]" } else { steps };
        let text = format!("{{title: t, world: {{container: {container}}}, steps: {steps}}}");
        let file = FoundFile { id: "t".into(), path: "t".into(), base: "".into() };
        let source = Arc::new(Source { name: "t".into(), text });
        let cases = resolve(&file, &source, KnownNames { probes: &[] }).expect("a scenario");
        let runtime = Implementation {
            program: "p".parse().expect("a name"),
            path: "/p".into(),
            name: name.to_owned(),
            version: KernelVersion(1, 0, 0),
        };
        arguments(&runtime, &cases[0].plan)
    }

    /// What a program is told of a container, in one line.
    pub fn said(name: &str, container: &str, steps: &str) -> String {
        told(name, container, steps).expect("words for all").join(" ")
    }

    /// What a program has no words for.
    pub fn missing(name: &str, container: &str, steps: &str) -> Vec<String> {
        let missing = told(name, container, steps).expect_err("no words for some of it");
        missing.into_iter().map(|one| one.what).collect()
    }
}
