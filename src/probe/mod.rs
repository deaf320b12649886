//! Questions about an environment, each with a value and the evidence for it.
//!
//! A probe asks the kernel to do the thing instead of comparing versions: distributions backport.
//! Most are small scenarios of their own, asked in a sandbox as any other.

pub mod ability;
mod machine;
mod profile;
mod questions;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diag::Source;
use crate::missing::Missing;
use crate::model::profile::{NEWEST, Settings};
use crate::overlays;
use crate::runtime;
use crate::scenario::condition::{Answers, Condition, KernelVersion};
use crate::scenario::expect::Expect;
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::{Mounter, Operation};
use crate::scenario::plan::Plan;
use crate::scenario::world::Setup;
use crate::scenario::{Case, FoundFile, KnownNames, Requirement};
use crate::target::{Answer, Target, Witness};
use crate::transcript::{End, Outcome};

use questions::{ALL, How};
pub use questions::{Probe, USERNS};

/// What a probe found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The answer; `None` where the question could not be asked.
    pub value: Option<bool>,
    /// What the answer rests on.
    pub evidence: String,
    /// Whether asking broke: then nothing that depends on the answer was asked, and nothing is known.
    pub broke: bool,
    /// What kept it from being asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
}

impl Finding {
    /// An answer.
    fn answer(value: bool, evidence: impl Into<String>) -> Self {
        Self { value: Some(value), ..Self::none(evidence) }
    }

    /// A question that cannot be asked on this host.
    fn none(evidence: impl Into<String>) -> Self {
        Self { value: None, evidence: evidence.into(), broke: false, missing: Vec::new() }
    }

    /// A question that broke.
    fn broken(evidence: impl Into<String>) -> Self {
        Self { broke: true, ..Self::none(evidence) }
    }
}

/// An environment as far as it was probed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Environment {
    /// What uname(2) says.
    pub release: String,
    /// The version in it.
    pub version: KernelVersion,
    /// The machine's architecture.
    pub machine: String,
    /// The effective user id that nsharness runs as.
    pub uid: u32,
    /// Whether the user allowed scenarios that run as real root on this machine.
    pub privileged: bool,
    /// Whether this is not a machine but a model of one.
    pub simulated: bool,
    /// What is to be known of how it runs, as that its processor is emulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The container runtime that is asked, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Implementation>,
    /// The program that mounts overlays, where the kernel is not asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Implementation>,
    /// What is set on it, as far as the model has to know.
    pub settings: Settings,
    /// What the probes found, by name.
    pub findings: BTreeMap<String, Finding>,
}

/// The names of all probes.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|probe| probe.name).collect()
}

/// All probes that a scenario may depend on.
pub fn all() -> &'static [Probe] {
    ALL
}

/// What `doctor` alone asks: of the machine beside its kernel.
pub fn of_machine() -> &'static [Probe] {
    machine::MACHINE
}

/// Which of these cases a probe keeps from being asked, by its name: those that need it to be true where it is not.
pub fn blocked<'c>(environment: &Environment, cases: &'c [Case]) -> BTreeMap<String, Vec<&'c str>> {
    let mut blocked: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for case in cases {
        let mut needed: BTreeSet<&str> =
            case.plan.needs.probes.iter().map(String::as_str).collect();
        for requirement in &case.requires {
            match requirement {
                Requirement::Probe(name) => drop(needed.insert(name)),
                Requirement::Condition(condition) => needed.extend(
                    condition.probe.iter().filter(|(_, yes)| **yes).map(|(name, _)| name.as_str()),
                ),
            }
        }
        if !case.plan.needs.privileged {
            needed.insert(USERNS);
            needed.extend((!case.plan.needs.ids.is_empty()).then_some("ids"));
        }
        for name in needed {
            if environment.findings.get(name).is_some_and(|finding| finding.value != Some(true)) {
                blocked.entry(name.to_owned()).or_default().push(&case.id);
            }
        }
    }
    blocked
}

impl Environment {
    /// This machine, before any probe.
    pub fn of_host(privileged: bool) -> Self {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        Self {
            version: KernelVersion::of_uname(&release, &uname.version().to_string_lossy())
                .unwrap_or(KernelVersion(0, 0, 0)),
            release,
            machine: uname.machine().to_string_lossy().into_owned(),
            uid: rustix::process::geteuid().as_raw(),
            privileged,
            simulated: false,
            note: None,
            runtime: None,
            overlay: None,
            settings: profile::settings(),
            findings: BTreeMap::new(),
        }
    }

    /// What is to be known of all answers: how the kernel is run, and whether the model was held against such a one.
    pub fn notes(&self) -> Vec<String> {
        let KernelVersion(major, minor, _) = self.version;
        let (to, last) = NEWEST;
        let newer = ((major, minor) > NEWEST)
            .then(|| format!("newer than the model, which knows Linux up to {to}.{last}"));
        self.note.clone().into_iter().chain(newer).collect()
    }

    /// Asks the probes that look at the machine that this process is on, and ask no kernel by a scenario.
    pub fn ask_host(&mut self) {
        for probe in ALL {
            if let How::Host(ask) = &probe.how {
                let finding = ask(self);
                self.findings.insert(probe.name.to_owned(), finding);
            }
        }
    }

    /// Asks those of the probes that were not asked yet.
    ///
    /// # Errors
    /// Where the witness cannot be asked anything.
    pub fn ask(&mut self, wanted: &BTreeSet<String>, witness: &mut dyn Witness) -> io::Result<()> {
        let mut scenarios = Vec::new();
        let unknown =
            |probe: &&Probe| wanted.contains(probe.name) && !self.findings.contains_key(probe.name);
        for probe in ALL.iter().filter(unknown).collect::<Vec<_>>() {
            let finding = match &probe.how {
                How::Host(ask) => ask(self),
                How::Since(first, before, _) if self.version < *first => {
                    Finding::answer(*before, format!("as every Linux before {first}"))
                }
                How::Scenario(text) | How::Since(_, _, text) => match plan(probe.name, text) {
                    Ok(plan) => match self.missing_root(&plan).or(self.missing_program(&plan)) {
                        Some(missing) => missing,
                        None => {
                            scenarios.push((probe.name, plan));
                            continue;
                        }
                    },
                    Err(error) => Finding::broken(error),
                },
            };
            self.findings.insert(probe.name.to_owned(), finding);
        }
        // In a guest that was just booted a server of NFS has to be waited for.
        scenarios.sort_by_key(|(_, plan)| !plan.world.nfs.is_empty());
        self.findings.extend(ask_scenarios(&scenarios, witness)?);
        // What keeps others from being asked is what this one asks for; of a recording it says nothing.
        let recorded = matches!(witness.target().parse(), Ok(Target::Recorded(_)));
        if let Some(finding) = self.findings.get_mut(USERNS)
            && !finding.missing.is_empty()
            && !recorded
        {
            finding.value = Some(false);
        }
        Ok(())
    }

    /// Why a scenario is not asked that would run as real root where that is not allowed.
    fn missing_root(&self, plan: &Plan) -> Option<Finding> {
        let root = plan.needs.privileged.then(|| questions::root(self))?;
        (root.value != Some(true)).then(|| {
            let missing = missing_probe("root", root.evidence.clone());
            Finding { missing: vec![missing], ..Finding::none(root.evidence) }
        })
    }

    /// Why a scenario with a container is not asked where no runtime was named, and one that a program is to mount
    /// an overlay of where none was.
    fn missing_program(&self, plan: &Plan) -> Option<Finding> {
        let by_program = || plan.overlays().any(|step| step.by == Some(Mounter::Program));
        let lacks = plan.world.container.is_some() && self.runtime.is_none()
            || self.overlay.is_none() && by_program();
        lacks.then(|| Finding::none("none was named"))
    }

    /// Why a case cannot be asked here; empty where it can.
    pub fn missing(&self, case: &Case) -> Vec<Missing> {
        let required = case.requires.iter().filter_map(|requirement| match requirement {
            Requirement::Probe(name) => Some(name),
            Requirement::Condition(_) => None,
        });
        let mut names: Vec<&str> =
            required.chain(&case.plan.needs.probes).map(String::as_str).collect();
        let mut missing = Vec::new();
        if let Some(runtime) = &self.runtime {
            missing.extend(runtime::missing(runtime, &case.plan));
        }
        if let Some(implementation) = self.overlay_of(&case.plan) {
            missing.extend(overlays::missing(implementation, &case.plan));
            // Whether the kernel could is asked for too: the model says what comes of its overlays.
            names.push(overlays::PROBE);
        }
        names.dedup();
        missing.extend(names.into_iter().flat_map(|name| self.missing_probe(name)));
        for requirement in &case.requires {
            if let Requirement::Condition(condition) = requirement {
                missing.extend(self.missing_condition(condition));
            }
        }
        let mut told: Vec<Missing> = Vec::new();
        for one in missing {
            if !told.contains(&one) {
                told.push(one);
            }
        }
        told
    }

    /// Why it is not even known whether a case can be asked here: a probe that it needs broke.
    pub fn broken(&self, case: &Case) -> Option<String> {
        let mut wanted = wanted([case]);
        wanted.extend(self.overlay_of(&case.plan).map(|_| overlays::PROBE.to_owned()));
        wanted.into_iter().find_map(|name| {
            let finding = self.findings.get(&name)?;
            finding.broke.then(|| format!("the probe {name} broke: {}", finding.evidence))
        })
    }

    /// The program that mounts overlays of a plan.
    fn overlay_of(&self, plan: &Plan) -> Option<&Implementation> {
        self.overlay.as_ref().filter(|_| plan.overlays().any(overlays::is_by_program))
    }

    fn missing_condition(&self, condition: &Condition) -> Vec<Missing> {
        let mut missing = Vec::new();
        if let Some(range) = condition.kernel.as_ref().filter(|range| !range.holds(self.version)) {
            let why = format!("this is {}", self.release);
            missing.push(Missing::new(
                format!("a kernel {range}"),
                why,
                "run it on another kernel",
            ));
        }
        let programs = [
            (&condition.runtime, &self.runtime, "the runtime", "name another one with --runtime"),
            (&condition.overlay, &self.overlay, "the overlays of", "name it with --overlay"),
        ];
        for (range, this, what, remedy) in programs {
            let Some(range) = range else { continue };
            if !this.as_ref().is_some_and(|this| range.holds(&this.name, this.version)) {
                let why = this.as_ref().map_or("none was named".to_owned(), ToString::to_string);
                missing.push(Missing::new(format!("{what} {range}"), why, remedy));
            }
        }
        for (name, wanted) in &condition.probe {
            if *wanted {
                missing.extend(self.missing_probe(name));
            } else if self.probe(name) != Some(false) {
                let why = self
                    .findings
                    .get(name)
                    .map_or("it was not probed", |finding| &finding.evidence);
                missing.push(Missing::new(format!("no {name}"), why, "run it on another kernel"));
            }
        }
        missing
    }

    /// Why a probe is not true; empty where it is.
    pub fn missing_probe(&self, name: &str) -> Vec<Missing> {
        if !ALL.iter().any(|probe| probe.name == name) {
            return Vec::new();
        }
        let why = match self.findings.get(name) {
            Some(finding) if finding.value == Some(true) => return Vec::new(),
            Some(finding) if !finding.missing.is_empty() => return finding.missing.clone(),
            Some(finding) => finding.evidence.clone(),
            None => "it was not probed".to_owned(),
        };
        vec![missing_probe(name, why)]
    }
}

/// A probe that is not true, with its own remedy.
fn missing_probe(name: &str, why: String) -> Missing {
    let probe = ALL.iter().find(|probe| probe.name == name);
    Missing::new(name, why, probe.map_or("", |probe| probe.remedy))
}

impl Answers for Environment {
    fn kernel(&self) -> KernelVersion {
        self.version
    }

    fn probe(&self, name: &str) -> Option<bool> {
        self.findings.get(name).and_then(|finding| finding.value)
    }

    fn runtime(&self) -> Option<(&str, KernelVersion)> {
        self.runtime.as_ref().map(|runtime| (runtime.name.as_str(), runtime.version))
    }

    fn overlay(&self) -> Option<(&str, KernelVersion)> {
        self.overlay.as_ref().map(|overlay| (overlay.name.as_str(), overlay.version))
    }
}

/// The probes that the model's rules depend on, because distributions backport: those about a file
/// system or an operation that one of these cases has, for each of them takes time in a guest.
pub fn wanted_by_rules(cases: &[Case]) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut words = BTreeSet::new();
    for case in cases {
        used.extend(case.plan.file_systems());
        words.extend(case.plan.operations().map(Operation::word));
    }
    let concerns = |name: &&str| match scenario_of(name) {
        Some(Ok(plan)) => {
            let types = plan.file_systems();
            let mut types = types.iter().filter(|name| *name != "tmpfs").peekable();
            match types.peek() {
                Some(_) => types.any(|name| used.contains(name)),
                None => plan.steps.last().is_some_and(|s| words.contains(s.operation.word())),
            }
        }
        _ => true,
    };
    let asked = crate::model::rules::all().filter_map(|rule| rule.probe).filter(concerns);
    asked.map(str::to_owned).collect()
}

/// The plan of a probe that is asked as a scenario.
fn scenario_of(name: &str) -> Option<Result<Plan, String>> {
    let probe = ALL.iter().find(|probe| probe.name == name)?;
    match &probe.how {
        How::Scenario(text) | How::Since(_, _, text) => Some(plan(name, text)),
        How::Host(_) => None,
    }
}

/// The plans that are asked to answer these probes.
pub fn plans<'n>(names: impl IntoIterator<Item = &'n String>) -> Vec<Plan> {
    names.into_iter().filter_map(|name| scenario_of(name)?.ok()).collect()
}

/// The probes that cases depend on: what they require, and what their conditions ask.
pub fn wanted<'c>(cases: impl IntoIterator<Item = &'c Case>) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    for case in cases {
        for requirement in &case.requires {
            match requirement {
                Requirement::Probe(name) => drop(wanted.insert(name.clone())),
                Requirement::Condition(condition) => wanted.extend(condition.probe.keys().cloned()),
            }
        }
        wanted.extend(case.plan.needs.probes.iter().cloned());
        let mut of = |condition: &Condition| wanted.extend(condition.probe.keys().cloned());
        case.variants.iter().for_each(|(_, condition)| of(condition));
        for step in &case.steps {
            step.known.iter().for_each(|known| of(&known.when));
            step.expect.iter().for_each(|expect| conditions(expect, &mut of));
        }
    }
    wanted
}

fn conditions(expect: &Expect, of: &mut impl FnMut(&Condition)) {
    match expect {
        Expect::When(branches) => {
            for (condition, then) in branches {
                of(condition);
                conditions(then, of);
            }
        }
        Expect::AnyOf(several) => several.iter().for_each(|expect| conditions(expect, of)),
        Expect::Ok | Expect::Errno(_) | Expect::Refused(_) | Expect::Values(_) => {}
    }
}

/// The plan of a probe that is a scenario.
fn plan(name: &str, text: &str) -> Result<Plan, String> {
    let source = Arc::new(Source { name: format!("probe {name}"), text: text.to_owned() });
    let file = FoundFile { id: name.to_owned(), path: PathBuf::from(name), base: PathBuf::new() };
    let cases = crate::scenario::resolve(&file, &source, KnownNames { probes: &names() })
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let mut plan = cases.into_iter().next().ok_or("no case")?.plan;
    // A probe is what finds out whether these are there.
    plan.needs.probes.clear();
    // What is asked about overlays is asked of the kernel, whoever mounts those of scenarios.
    let setup = plan.world.setup.iter_mut().filter_map(|setup| match setup {
        Setup::Mount { operation, .. } => Some(operation),
        Setup::Tree(_) => None,
    });
    for operation in setup.chain(plan.steps.iter_mut().map(|step| &mut step.operation)) {
        if let Operation::Overlay(step) = operation {
            step.by.get_or_insert(Mounter::Kernel);
        }
    }
    Ok(plan)
}

/// Asks scenarios, as many at once as the witness takes.
fn ask_scenarios(
    scenarios: &[(&str, Plan)],
    witness: &mut dyn Witness,
) -> io::Result<BTreeMap<String, Finding>> {
    let mut findings = BTreeMap::new();
    let mut submitted = 0;
    while findings.len() < scenarios.len() {
        while submitted < scenarios.len() && submitted - findings.len() < witness.capacity() {
            witness.submit(submitted, &scenarios[submitted].1)?;
            submitted += 1;
        }
        if let Some((ticket, answer)) = witness.next(Duration::from_millis(100))? {
            let asked = scenarios[..submitted].get(ticket);
            let asked = asked.filter(|(name, _)| !findings.contains_key(*name));
            let (name, plan) =
                asked.ok_or_else(|| io::Error::other("it answered what it was not asked"))?;
            findings.insert((*name).to_owned(), finding(plan, answer));
        }
        if crate::sys::interrupted() {
            for (name, _) in scenarios {
                findings.entry((*name).to_owned()).or_insert_with(|| Finding::none("interrupted"));
            }
        }
    }
    Ok(findings)
}

/// What an answer means: whether the last step succeeds.
fn finding(plan: &Plan, answer: Answer) -> Finding {
    let transcript = match answer {
        Answer::Asked(transcript) => *transcript,
        Answer::All(_) => return Finding::broken("it was answered as if it were many"),
        Answer::Predicted(prediction) => match prediction.abstains() {
            Some(why) => return Finding::none(why.to_string()),
            None => prediction.transcript,
        },
        Answer::Missing(missing) => {
            let reasons: Vec<_> = missing.iter().map(ToString::to_string).collect();
            return Finding { missing, ..Finding::none(reasons.join("; ")) };
        }
    };
    let word = plan.steps.last().map_or("", |step| step.operation.word());
    let last = transcript.outcomes.get(plan.steps.len() - 1);
    match (&transcript.end, last) {
        (End::Completed, Some(Outcome::Ok(_))) => Finding::answer(true, format!("{word} gives ok")),
        (End::Completed, Some(Outcome::Abstained(why))) => Finding::none(why),
        (End::Completed, Some(Outcome::Refused { .. })) => {
            let refused = transcript.outcomes.iter().find(|one| !matches!(one, Outcome::Ok(_)));
            let told = refused.map_or_else(String::new, ToString::to_string);
            match refused.is_some_and(Outcome::is_of_killed) {
                true => Finding::broken(told),
                false => Finding::answer(false, told),
            }
        }
        (End::Completed, Some(outcome)) => {
            Finding::answer(false, format!("{word} gives {outcome}"))
        }
        (End::Completed, None) => Finding::broken("its last step was not answered"),
        (End::Broke(breakage), _) => Finding::broken(breakage.to_string()),
        (End::TimedOut, _) => Finding::broken("it was not answered in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case that depends on a probe is not skipped when nobody knows the answer.
    #[test]
    fn a_probe_that_broke_is_told_from_one_that_says_no() {
        let text = "{title: t, requires: [overlay], steps: [stat: {path: .}]}";
        let source = Arc::new(Source { name: "t".into(), text: text.into() });
        let file = FoundFile { id: "t".into(), path: "t".into(), base: PathBuf::new() };
        let case = crate::scenario::resolve(&file, &source, KnownNames { probes: &names() })
            .unwrap()
            .remove(0);
        let mut environment = Environment::of_host(false);
        environment.findings.insert("overlay".into(), Finding::answer(false, "EPERM"));
        assert!(environment.broken(&case).is_none() && environment.missing(&case).len() == 1);
        environment.findings.insert("overlay".into(), Finding::broken("sandbox: clone: EIO"));
        assert!(environment.broken(&case).is_some());
    }

    #[test]
    fn every_probe_that_is_a_scenario_can_be_asked() {
        for probe in ALL {
            if let How::Scenario(text) | How::Since(_, _, text) = &probe.how {
                let plan = plan(probe.name, text);
                assert!(plan.is_ok_and(|plan| !plan.steps.is_empty()), "{}", probe.name);
            }
        }
    }
}
