//! What holds of every trial is found where a kernel breaks it.
//!
//! The kernel's part is played by what the model says, with something changed.

use nsharness::model::Prediction;
use nsharness::model::profile::Profile;
use nsharness::model::rules::Invariant;
use nsharness::scenario::condition::KernelVersion;
use nsharness::scenario::plan::Plan;
use nsharness::search::compare::{judge, up_to};
use nsharness::search::family::Means;
use nsharness::search::invariants::{Answered, told_apart};
use nsharness::search::summary::Summary;
use nsharness::search::trial::{Recipe, twin};
use nsharness::search::{Asked, Deviation, Place, document};
use nsharness::transcript::{Observation, Outcome, Transcript, Value};
use nsharness::worker::arena::Check;

const FAILS: &str = "\
title: Something fails
world: { tree: { d/f: { file: x } } }
steps:
  - mkdir: { path: d/new }
  - rmdir: { path: d }
  - unlink: { path: d/f }
observe:
  - tree: { at: d }
";

const AGAIN: &str = "\
title: An overlay is mounted again
world: { tree: { l/a: { file: x }, u: dir, w: dir, m: dir } }
steps:
  - overlay: { at: m, lower: [l], upper: u, work: w }
  - unlink: { path: m/a }
  - umount: { at: m }
  - overlay: { at: m, lower: [l], upper: u, work: w }
observe:
  - layer: { at: u }
  - tree: { at: m }
";

fn recipe() -> Recipe {
    Recipe {
        families: Vec::new(),
        seed: 0,
        means: Means::ALL,
        profile: Profile::of_version(KernelVersion(6, 12, 0)),
        check: Check::Step,
        without: None,
        overlay: None,
        mutate: false,
        catalogue: None,
    }
}

fn asked(text: &str) -> (Plan, Prediction) {
    let plan = document::read(text, "trial").expect("a scenario");
    let prediction = recipe().predict(&plan, Check::Step);
    (plan, prediction)
}

/// Adds an entry to what is seen in a tree.
fn add_entry(observation: &mut Observation) {
    let Ok(Value::List(entries)) = &mut observation.found else { panic!("a tree") };
    let fields = [("path", "zz"), ("type", "file")];
    let entry = fields.map(|(key, value)| (key.into(), Value::from(value)));
    entries.push(Value::Map(entry.into()));
}

/// What is found where kernel and model both say what is given.
fn found(plan: &Plan, prediction: &Prediction, summary: &mut Summary) -> Option<Deviation> {
    let kernel: Transcript = prediction.transcript.clone();
    match judge(plan, &kernel, prediction, Check::Step, summary) {
        Asked::Part(deviation) => Some(*deviation),
        other => {
            assert_eq!(other, Asked::Agree);
            None
        }
    }
}

#[test]
fn what_fails_and_leaves_a_trace_is_found() {
    let (mut plan, mut prediction) = asked(FAILS);
    let mut summary = Summary::default();
    assert_eq!(found(&plan, &prediction, &mut summary), None);
    assert_eq!(summary.invariants[&Invariant::Trace].checked, 1);

    add_entry(&mut prediction.transcript.observations[1]);
    let mut deviation = found(&plan, &prediction, &mut summary).expect("a trace");
    assert_eq!(deviation.place, Place::Invariant(Invariant::Trace, 1));
    assert_eq!(deviation.cause.what, "a trace of rmdir that fails");
    assert_eq!((&*deviation.kernel, &*deviation.model), ("zz: has it", "zz: does not"));
    up_to(&mut plan, &mut deviation, Check::Step);
    assert_eq!(plan.steps.len(), 2);
}

#[test]
fn a_rule_may_say_that_a_trace_is_left() {
    let text = "\
title: An attribute that cannot be set
world: { tree: { l/a: file, u: dir, w: dir, m: dir } }
steps:
  - overlay: { at: m, lower: [l], upper: u, work: w }
  - setxattr: { path: m/a, name: user.none, value: x, flag: replace }
observe:
  - layer: { at: u }
";
    let (plan, prediction) = asked(text);
    assert!(matches!(prediction.transcript.outcomes[1], Outcome::Failed { .. }));
    let mut summary = Summary::default();
    assert_eq!(found(&plan, &prediction, &mut summary), None);
    assert_eq!(summary.invariants[&Invariant::Trace].excused, 1);
}

#[test]
fn another_view_after_a_remount_is_found() {
    let (plan, mut prediction) = asked(AGAIN);
    let mut summary = Summary::default();
    assert_eq!(found(&plan, &prediction, &mut summary), None);
    assert_eq!(summary.invariants[&Invariant::Remount].checked, 1);
    // What the layer shows may change, and the view may not.
    add_entry(&mut prediction.transcript.observations[6]);
    assert_eq!(found(&plan, &prediction, &mut summary), None);
    add_entry(&mut prediction.transcript.observations[7]);
    let deviation = found(&plan, &prediction, &mut summary).expect("another view");
    assert_eq!(deviation.place, Place::Invariant(Invariant::Remount, 3));
    assert_eq!(deviation.cause.what, "another view after overlay again");
}

#[test]
fn root_is_told_from_others_by_a_rule_alone() {
    let (plan, prediction) = asked(FAILS);
    let other = twin(&plan);
    assert!(other.needs.privileged);
    let mut kernel = prediction.transcript.clone();
    let mut summary = Summary::default();
    let mut apart = |kernel: &Transcript, model: &Prediction| {
        let one = Answered { plan: &plan, kernel, model };
        let kernel = &prediction.transcript;
        let two = Answered { plan: &other, kernel, model: &prediction };
        told_apart(one, two, Check::Step, &mut summary)
    };
    assert_eq!(apart(&kernel, &prediction), None);
    kernel.outcomes[1] = Outcome::Ok(Default::default());
    let deviation = apart(&kernel, &prediction).expect("they are told apart");
    assert_eq!(deviation.place, Place::Invariant(Invariant::Root, 1));
    assert_eq!(deviation.cause.what, "root and others, rmdir");
    // The model of one has a rule more by then.
    let mut ruled = recipe().predict(&plan, Check::Step);
    ruled.steps[1].push(nsharness::model::rules::all().last().expect("a rule"));
    assert_eq!(apart(&kernel, &ruled), None);
    assert_eq!(summary.invariants[&Invariant::Root].excused, 1);
    assert_eq!(summary.invariants[&Invariant::Root].checked, 3);
}
