//! How the voices of a case add up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::diag::Source;
use crate::scenario::condition::KernelVersion;
use crate::scenario::{FoundFile, KnownNames, resolve};
use crate::transcript::{Breakage, Observation};

/// Linux 6.12, without probes.
struct Kernel;

impl Answers for Kernel {
    fn kernel(&self) -> KernelVersion {
        KernelVersion(6, 12, 0)
    }
    fn probe(&self, _: &str) -> Option<bool> {
        None
    }
}

static QUIRK: Rule = Rule {
    id: "files.quirk",
    statement: "It does.",
    source: "here",
    since: None,
    backports: &[],
    until: None,
    ended: &[],
    probe: None,
    quirk: Some("It does not."),
    breaks: &[],
};

/// A case of one step, with this behind `path: f`.
fn case(said: &str) -> Case {
    let text =
        format!("{{title: t, steps: [stat: {{path: f{said}}}], observe: [tree: {{at: .}}]}}");
    let source = Arc::new(Source { name: "t".into(), text });
    let file = FoundFile { id: "t".into(), path: "t".into(), base: PathBuf::new() };
    resolve(&file, &source, KnownNames { probes: &[] }).unwrap().remove(0)
}

const KNOWN: &str = ", expect: ENOENT, known: {outcome: EACCES, reason: r, ref: x}";

fn outcome(word: &str) -> Outcome {
    match word {
        "ok" => Outcome::done(),
        "?" => Outcome::Abstained("it is not known".into()),
        errno => Outcome::Failed {
            errno: errno.parse().unwrap(),
            syscall: "statx".into(),
            message: None,
        },
    }
}

fn transcript(word: &str, seen: u32) -> Transcript {
    let found = match word {
        "?" => Err(outcome("?")),
        _ => Ok(crate::transcript::Value::from(seen)),
    };
    let observations = vec![Observation { title: "tree at .".into(), found }];
    let outcomes = vec![outcome(word)];
    Transcript { outcomes, observations, end: End::Completed, evidence: BTreeMap::new() }
}

fn prediction(transcript: Transcript) -> Prediction {
    Prediction {
        transcript,
        world: Vec::new(),
        steps: vec![vec![&QUIRK]],
        observations: vec![Vec::new()],
    }
}

/// A world that was refused, or that is not known.
fn broke(errno: Option<&str>) -> Transcript {
    let errno = errno.map(|errno| errno.parse().unwrap());
    Transcript::broken(Breakage { stage: "world: line 1".into(), detail: "no".into(), errno })
}

fn held(case: &Case, kernel: Transcript, model: Option<Transcript>) -> Verdict {
    let answer = Answer::Asked(Box::new(kernel));
    judge(case, &Kernel, answer, model.map(prediction), |_| Recorded::Same)
}

fn both(said: &str, kernel: &str, model: &str) -> Verdict {
    held(&case(said), transcript(kernel, 1), Some(transcript(model, 1)))
}

fn alone(said: &str, kernel: &str) -> Verdict {
    held(&case(said), transcript(kernel, 1), None)
}

fn simulated(said: &str, model: &str) -> Verdict {
    let answer = Answer::Predicted(Box::new(prediction(transcript(model, 1))));
    judge(&case(said), &Kernel, answer, None, |_| Recorded::Same)
}

#[track_caller]
fn fails(verdict: &Verdict, headline: &str) {
    assert_eq!(verdict.status, Status::Fail, "{:?}", verdict.reasons);
    let told = verdict.reasons[0].strip_prefix("line 1: stat: ").unwrap_or(&verdict.reasons[0]);
    assert!(told.starts_with(headline), "{told}");
}

#[test]
fn the_headline_names_the_voices_that_differ() {
    let says = ", expect: ENOENT";
    assert_eq!(both(says, "ENOENT", "ENOENT").status, Status::Pass);
    fails(&both(says, "ok", "ENOENT"), "the kernel disagrees with expect and model: expected");
    fails(&both(says, "ok", "ok"), "kernel and model disagree with expect: expected");
    fails(&both(says, "ENOENT", "ok"), "kernel and model disagree: kernel ENOENT");
    fails(&both(says, "ok", "EPERM"), "kernel, model and expect all disagree: expected");
    fails(&both(says, "ok", "?"), "kernel and expect disagree: expected");
    fails(&alone(says, "ok"), "kernel and expect disagree: expected");
    assert_eq!(simulated(says, "ENOENT").status, Status::Pass);
    fails(&simulated(says, "ok"), "model and expect disagree: expected");
}

#[test]
fn where_the_author_is_silent_the_witnesses_decide_and_one_alone_must_not_fail() {
    assert_eq!(both("", "EPERM", "EPERM").status, Status::Pass);
    assert_eq!(both("", "ok", "ok").status, Status::Pass);
    fails(&both("", "EPERM", "ok"), "kernel and model disagree: kernel EPERM");
    fails(&both("", "ok", "EPERM"), "kernel and model disagree: kernel ok");
    fails(&both("", "EPERM", "?"), "EPERM from statx, and nothing says that it may fail");
    assert_eq!(both("", "ok", "?").status, Status::Pass);
    fails(&alone("", "EPERM"), "EPERM from statx, and nothing says that it may fail");
    assert_eq!(simulated("", "EPERM").status, Status::Pass);
}

#[test]
fn of_a_known_deviation_the_model_may_be_of_either_opinion() {
    for model in ["ENOENT", "EACCES", "?"] {
        assert_eq!(both(KNOWN, "EACCES", model).status, Status::Xfail, "{model}");
    }
    fails(&both(KNOWN, "EACCES", "ok"), "kernel and model disagree");
    assert_eq!(both(KNOWN, "ENOENT", "ENOENT").status, Status::Xpass);
    fails(&both(KNOWN, "EPERM", "ENOENT"), "expected ENOENT, found EPERM");
    assert_eq!(simulated(KNOWN, "ENOENT").status, Status::Pass);
    assert_eq!(simulated(KNOWN, "EACCES").status, Status::Xfail);
    fails(&simulated(KNOWN, "EPERM"), "model and expect disagree");
}

#[test]
fn observations_are_held_against_each_other_too() {
    let verdict = held(&case(""), transcript("ok", 1), Some(transcript("ok", 2)));
    fails(&verdict, "tree at .: kernel and model disagree: kernel 1, model 2");
    assert_eq!(verdict.observations[0].agrees, Some(false));
}

#[test]
fn what_the_model_abstains_from_is_counted() {
    assert_eq!(both("", "ok", "?").abstained.len(), 2);
    let of_all = held(&case(""), transcript("ok", 1), Some(broke(None)));
    assert_eq!((of_all.status, of_all.abstained.len()), (Status::Pass, 2));
    assert!(both("", "ok", "ok").abstained.is_empty());
}

#[test]
fn a_simulation_in_which_the_model_says_nothing_is_no_success() {
    assert_eq!(simulated("", "?").status, Status::Skip);
    let answer = Answer::Predicted(Box::new(prediction(broke(None))));
    let verdict = judge(&case(""), &Kernel, answer, None, |_| Recorded::Same);
    assert_eq!((verdict.status, verdict.missing.len()), (Status::Skip, 1));
}

#[test]
fn a_world_that_stands_for_one_witness_alone_is_a_disagreement() {
    let verdict = held(&case(""), transcript("ok", 1), Some(broke(Some("EINVAL"))));
    fails(&verdict, "kernel and model disagree: the model says that the world cannot be set up");
    let verdict = held(&case(""), broke(Some("EINVAL")), Some(transcript("ok", 1)));
    assert_eq!((verdict.status, verdict.reasons.len()), (Status::Broken, 2));
    let verdict = held(&case(""), broke(Some("EINVAL")), Some(broke(Some("EINVAL"))));
    assert_eq!((verdict.status, verdict.reasons.len()), (Status::Broken, 1));
}

#[test]
fn a_worker_that_broke_says_nothing_of_the_world() {
    let mut worker = broke(None);
    if let End::Broke(breakage) = &mut worker.end {
        breakage.stage = "worker".into();
    }
    let verdict = held(&case(""), worker, Some(transcript("ok", 1)));
    assert_eq!((verdict.status, verdict.reasons.len()), (Status::Broken, 1));
}

#[test]
fn a_quirk_is_counted_and_is_no_failure() {
    let verdict = both("", "ok", "ok");
    assert_eq!((verdict.status, verdict.quirks.len()), (Status::Pass, 1));
    assert_eq!(serde_json::to_value(&verdict.steps[0]).unwrap()["model"]["rules"][0], QUIRK.id);
}
