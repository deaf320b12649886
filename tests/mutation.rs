//! Would the scenarios notice if a rule of the model were wrong? Each rule is left out in turn, and the
//! model held against what the kernel answered. A rule that nobody misses is not proven by anything.
//!
//! Its own `main`: the kernel is asked by forks of this process, which must have one thread then.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use common::cases;
use nsharness::model::profile::Profile;
use nsharness::model::rules::{self, Rule};
use nsharness::model::{Prediction, predict, predict_without};
use nsharness::probe::{self, Environment};
use nsharness::scenario::Case;
use nsharness::scenario::condition::KernelVersion;
use nsharness::target::host::Host;
use nsharness::target::model::Model;
use nsharness::target::recording::Recording;
use nsharness::target::{Answer, Witness};
use nsharness::transcript::{End, Transcript};
use nsharness::verdict::agreement::{Agreement, Agrees};
use nsharness::verdict::{Status, judge};

/// Rules that no scenario of the bundle can miss, each with the reason.
const SURVIVORS: &[(&str, &str)] = &[];

/// One case with what kernels answered: this one where it could be asked, and those of recordings.
struct Asked {
    case: Case,
    answers: Vec<Answered>,
}

/// What a kernel answered, and what the model has to know of it.
struct Answered {
    profile: Rc<Profile>,
    transcript: Transcript,
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut host = Host::start(2).expect("workers");
    let cases = cases(&root.join("scenarios"));
    let mut environment = Environment::of_host(false);
    environment.ask(&probe::wanted(&cases), &mut host).expect("probes");
    let profile = environment.profile();
    let mut asked = ask(cases, &environment, &mut host);
    for recording in recordings(&root.join("fixtures/recordings")) {
        ask_again(&mut asked, recording, profile.version);
    }

    let cited = cited(&asked, &profile);
    let mut others: BTreeMap<KernelVersion, Elsewhere> = BTreeMap::new();
    let mut killed = 0;
    let mut wrong = Vec::new();
    for rule in rules::all() {
        let scenarios = cited.get(rule.id).map_or(&[][..], Vec::as_slice);
        let here =
            scenarios.iter().find(|index| notices(&asked[**index], &profile, &environment, rule));
        let by = here.copied().or_else(|| {
            let version = elsewhere(rule, profile.version);
            others
                .entry(version)
                .or_insert_with(|| Elsewhere::new(version, &asked))
                .who_notices(rule, &asked)
        });
        let excuse = SURVIVORS.iter().find(|(id, _)| *id == rule.id);
        match (by, excuse) {
            (Some(_), None) => killed += 1,
            (None, Some(_)) => {}
            (Some(index), Some(_)) => wrong.push(format!(
                "{}: stands among the survivors, but {} misses it",
                rule.id, asked[index].case.id
            )),
            (None, None) if scenarios.is_empty() => {
                wrong.push(format!("{}: no scenario reaches it", rule.id));
            }
            (None, None) => wrong.push(format!(
                "{}: nobody misses it, though {} scenarios reach it, as {}",
                rule.id,
                scenarios.len(),
                asked[scenarios[0]].case.id
            )),
        }
    }
    let gone = SURVIVORS.iter().filter(|(id, _)| rules::find(id).is_none());
    wrong.extend(gone.map(|(id, _)| format!("{id}: stands among the survivors and is no rule")));
    let all = rules::all().count();
    println!(
        "mutation score: {killed} of {all} rules are missed by a scenario when they are left out; {} \
         cannot be, for a stated reason",
        SURVIVORS.len()
    );
    for line in &wrong {
        println!("  {line}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The scenarios that reach each rule, on this kernel or on one of a recording.
fn cited(all: &[Asked], here: &Profile) -> BTreeMap<&'static str, Vec<usize>> {
    let mut cited: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, asked) in all.iter().enumerate() {
        let profiles = asked.answers.iter().map(|answered| &*answered.profile);
        for profile in profiles.chain(asked.answers.is_empty().then_some(here)) {
            for rule in every_rule(&predict(&asked.case.plan, profile)) {
                let scenarios = cited.entry(rule.id).or_default();
                if scenarios.last() != Some(&index) {
                    scenarios.push(index);
                }
            }
        }
    }
    cited
}

fn ask(cases: Vec<Case>, environment: &Environment, host: &mut Host) -> Vec<Asked> {
    let profile = Rc::new(environment.profile());
    let of = |case| Asked { case, answers: Vec::new() };
    let mut asked: Vec<_> = cases.into_iter().map(of).collect();
    let mut waiting = 0;
    let mut next = 0;
    while next < asked.len() || waiting > 0 {
        while next < asked.len() && waiting < host.capacity() {
            if environment.missing(&asked[next].case).is_empty() {
                host.submit(next, &asked[next].case.plan).expect("a worker");
                waiting += 1;
            }
            next += 1;
        }
        if let Some((index, answer)) = host.next(Duration::from_secs(1)).expect("an answer") {
            waiting -= 1;
            asked[index].take(&profile, answer);
        }
    }
    asked
}

impl Asked {
    fn take(&mut self, profile: &Rc<Profile>, answer: Answer) {
        if let Answer::Asked(transcript) = answer
            && matches!(transcript.end, End::Completed)
        {
            self.answers.push(Answered { profile: Rc::clone(profile), transcript: *transcript });
        }
    }
}

/// The recordings in a directory, in the order of their names.
fn recordings(directory: &Path) -> Vec<Recording> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    paths.sort();
    paths.iter().map(|path| Recording::read(path).expect("a recording")).collect()
}

/// What a kernel was asked before counts where this one cannot be asked, or is another one. An answer to
/// a scenario that has changed since is none.
fn ask_again(asked: &mut [Asked], mut recording: Recording, here: KernelVersion) {
    let profile = Rc::new(recording.environment.profile());
    for (index, asked) in asked.iter_mut().enumerate() {
        if profile.version != here || asked.answers.is_empty() {
            recording.submit(index, &asked.case.plan).expect("a question");
            if let Some((_, answer)) = recording.next(Duration::ZERO).expect("an answer") {
                asked.take(&profile, answer);
            }
        }
    }
}

fn every_rule(prediction: &Prediction) -> Vec<&'static Rule> {
    let parts = prediction.steps.iter().chain(&prediction.observations);
    let mut rules: Vec<_> = prediction.world.iter().chain(parts.flatten()).copied().collect();
    rules.sort_by_key(|rule| rule.id);
    rules.dedup();
    rules
}

/// The kernel of which a rule is asked that this one does not have, or that its settings hide: the
/// nearest one that has the rule, as it comes from kernel.org.
fn elsewhere(rule: &Rule, here: KernelVersion) -> KernelVersion {
    let before = |KernelVersion(major, minor, _): KernelVersion| match minor {
        0 => KernelVersion(major - 1, 99, 0),
        minor => KernelVersion(major, minor - 1, 0),
    };
    match (rule.since, rule.until) {
        (Some(since), _) if since > here => since,
        (_, Some(until)) if until <= here => before(until),
        _ => here,
    }
}

/// Another kernel, which only its model stands for: what a scenario's author expects is the judge.
struct Elsewhere {
    profile: Profile,
    environment: Environment,
    /// Which cases reach a rule there, of those that could be asked.
    cited: BTreeMap<&'static str, Vec<usize>>,
}

impl Elsewhere {
    fn new(version: KernelVersion, asked: &[Asked]) -> Self {
        let profile = Profile::of_version(version);
        let mut environment = Environment::simulated(&profile);
        let wanted = probe::wanted(asked.iter().map(|asked| &asked.case));
        environment.ask(&wanted, &mut Model::new(profile.clone())).expect("probes");
        let mut cited: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, asked) in asked.iter().enumerate() {
            if environment.missing(&asked.case).is_empty() {
                for rule in every_rule(&predict(&asked.case.plan, &profile)) {
                    cited.entry(rule.id).or_default().push(index);
                }
            }
        }
        Self { profile, environment, cited }
    }

    fn who_notices(&self, rule: &'static Rule, asked: &[Asked]) -> Option<usize> {
        let scenarios = self.cited.get(rule.id)?;
        let misses = |index: &&usize| {
            expectation_notices(&asked[**index].case, &self.profile, &self.environment, rule)
        };
        scenarios.iter().find(misses).copied()
    }
}

/// Whether a case tells the model from one that lacks a rule: by a kernel's answer, or where no kernel
/// was asked, by what the author expects.
fn notices(
    asked: &Asked,
    profile: &Profile,
    environment: &Environment,
    rule: &'static Rule,
) -> bool {
    if asked.answers.is_empty() {
        return expectation_notices(&asked.case, profile, environment, rule);
    }
    asked.answers.iter().any(|Answered { profile, transcript }| {
        differs(transcript, &predict_without(&asked.case.plan, profile, rule))
            && !differs(transcript, &predict(&asked.case.plan, profile))
    })
}

fn expectation_notices(
    case: &Case,
    profile: &Profile,
    environment: &Environment,
    rule: &'static Rule,
) -> bool {
    let fails = |prediction: Prediction| {
        let answer = Answer::Predicted(Box::new(prediction));
        let record = |_: &Transcript| nsharness::verdict::Recorded::Nothing;
        let verdict = judge(case, environment, answer, None, record);
        !matches!(verdict.status, Status::Pass | Status::Xfail | Status::Skip)
    };
    fails(predict_without(&case.plan, profile, rule)) && !fails(predict(&case.plan, profile))
}

fn differs(kernel: &Transcript, prediction: &Prediction) -> bool {
    if !matches!(prediction.transcript.end, End::Completed) {
        return true;
    }
    let agreement = Agreement::of(kernel, &prediction.transcript);
    let parts = agreement.steps.iter().chain(&agreement.observations);
    parts.into_iter().any(|agrees| matches!(agrees, Agrees::No(_)))
}
