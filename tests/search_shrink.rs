//! A deviation that was found somewhere in a large world is handed back as a small scenario.
//!
//! The kernel's part is played by the model with one rule left out: so what is found, and what it can be
//! shrunk to, is the same on every machine.
#![cfg(debug_assertions)]

use nsharness::model::profile::Profile;
use nsharness::model::rules::{self, Rule};
use nsharness::model::{predict, predict_without};
use nsharness::scenario::condition::KernelVersion;
use nsharness::scenario::plan::Plan;
use nsharness::search::compare::compare;
use nsharness::search::shrink::{Shrunk, TRIES, shrink};
use nsharness::search::write::{Origin, scenario};
use nsharness::search::{Asked, Deviation, Finding, Oracle, Place, SearchError, document};
use nsharness::worker::arena::Check;

/// A kernel that has all rules but one.
struct Without {
    rule: &'static Rule,
    profile: Profile,
    /// The sizes of the questions so far.
    questions: Vec<usize>,
}

impl Without {
    fn rule(id: &str) -> Self {
        let rule = rules::find(id).expect("a rule");
        let profile = Profile::of_version(KernelVersion(6, 12, 0));
        Self { rule, profile, questions: Vec::new() }
    }

    fn deviation(&self, plan: &Plan) -> Option<Deviation> {
        let kernel = predict_without(plan, &self.profile, self.rule).transcript;
        match compare(plan, &kernel, &predict(plan, &self.profile), Check::Sequence) {
            Asked::Part(deviation) => Some(*deviation),
            Asked::Agree | Asked::Broke(_) => None,
        }
    }
}

impl Oracle for Without {
    fn ask(&mut self, plans: &[Plan]) -> Result<Vec<Option<Deviation>>, SearchError> {
        self.questions.push(plans.len());
        Ok(plans.iter().map(|plan| self.deviation(plan)).collect())
    }
}

const ORIGIN: Origin<'static> =
    Origin { target: "uml:6.12", kernel: "6.12.101", overlay: None, seed: 7 };
/// What is said of a finding that chance has a part in.
const NOT_AGAIN: &str = "# Asked alone 8 times more, it did not come again";

/// A kernel that shows what it shows only after so many questions.
struct Seldom {
    kernel: Without,
    after: usize,
}

impl Oracle for Seldom {
    fn ask(&mut self, plans: &[Plan]) -> Result<Vec<Option<Deviation>>, SearchError> {
        let answers = self.kernel.ask(plans)?;
        let shows = self.kernel.questions.len() > self.after;
        Ok(answers.into_iter().map(|answer| answer.filter(|_| shows)).collect())
    }
}

/// A world in which much is going on.
const LARGE: &str = "\
title: Much
world:
  tree:
    low1/dir17/sub/file3: { file: \"one\\n\", mode: 0600 }
    low1/dir17/other: { file: \"two\\n\" }
    low1/longname4: { file: \"three\\n\", xattrs: { user.key: value } }
    low2/dir17/sub/file4: { symlink: file3 }
    low2/empty9: { type: dir, mode: 0700 }
    up: dir
    work: dir
    view: dir
    elsewhere/a: dir
    elsewhere/b: { type: dir, mode: 01777 }
  mounts:
    - bind: { from: elsewhere, at: elsewhere }
    - propagation: { at: elsewhere, type: shared }
    - overlay: { at: view, lower: [low1, low2], upper: up, work: work, options: [index=off] }
    - tree: { elsewhere/a/later: { file: x } }
  actors:
    box: { unshare: [mount] }
    box2: { umask: 0077, unshare: [mount] }
steps:
  - mkdir: { path: view/new1, mode: 0700 }
  - write: { as: box, path: view/new1/file, data: \"text\", mode: 0600 }
  - open: { as: box2, path: view/dir17/other, flags: [rdonly], fd: kept }
  - chmod: { path: view/longname4, mode: 0640 }
  - mount: { as: box, type: tmpfs, at: elsewhere/a }
  - read: { as: box2, fd: kept, length: 3 }
  - mkdir: { as: box2, path: view/new1/deeper }
  - rename: { as: box, from: view/dir17/sub, to: view/new1/moved9 }
  - list: { path: view/dir17 }
  - unlink: { path: view/longname4 }
  - umount: { as: box, at: elsewhere/a }
  - stat: { path: view/new1/file }
observe:
  - tree: { at: view }
  - layer: { at: up }
  - mountinfo: { as: [main, box, box2] }
";

fn shrunk(oracle: &mut Without, text: &str) -> (Deviation, Shrunk) {
    let plan = document::read(text, "large").expect("a scenario");
    let deviation = oracle.deviation(&plan).expect("a deviation");
    let shrunk = shrink(&plan, &deviation.cause, oracle, 3000).expect("answers");
    (deviation, shrunk.expect("the deviation is still there"))
}

/// What is found where this rule is left out, as a scenario.
fn found(oracle: &mut Without, text: &str) -> (String, Shrunk) {
    let (deviation, shrunk) = shrunk(oracle, text);
    assert_eq!(shrunk.deviation.cause, deviation.cause);
    assert_eq!(shrunk.questions, oracle.questions.iter().sum::<usize>());
    let finding = Finding {
        cause: deviation.cause,
        count: 3,
        first: 17,
        smallest: shrunk.plan.clone(),
        deviation: shrunk.deviation.clone(),
        again: Some(true),
    };
    assert!(!scenario(&finding, &ORIGIN, None).contains(NOT_AGAIN));
    let unseen = Finding { again: Some(false), ..finding.clone() };
    assert!(scenario(&unseen, &ORIGIN, None).contains(NOT_AGAIN));
    let origin = ORIGIN;
    let said = match shrunk.deviation.place {
        Place::Step(step) => {
            Some(predict(&shrunk.plan, &oracle.profile).transcript.outcomes.remove(step))
        }
        _ => None,
    };
    let text = scenario(&finding, &origin, said.as_ref());
    // What is written is what was found.
    let read = document::read(&text, "finding").unwrap_or_else(|why| panic!("{why}\n{text}"));
    assert!(document::same(&read, &shrunk.plan), "{text}");
    (text, shrunk)
}

#[rstest::rstest]
#[case::at_once(0, true)]
#[case::at_last(TRIES - 1, true)]
#[case::too_late(TRIES, false)]
fn what_is_chance_is_asked_for_several_times(#[case] after: usize, #[case] again: bool) {
    let kernel = Without::rule("overlay.rename.dir-exdev");
    let plan = document::read(LARGE, "large").expect("a scenario");
    let deviation = kernel.deviation(&plan).expect("a deviation");
    let mut seldom = Seldom { kernel, after };
    let shrunk = shrink(&plan, &deviation.cause, &mut seldom, 300).expect("answers");
    assert_eq!(shrunk.is_some(), again);
}

#[test]
fn what_does_not_matter_is_left_out_and_what_is_left_is_named_plainly() {
    let (text, _) = found(&mut Without::rule("overlay.rename.dir-exdev"), LARGE);
    insta::assert_snapshot!(text);
}

#[test]
fn whatever_rule_a_kernel_lacks_a_few_steps_show_it() {
    let mut shown = 0;
    for rule in rules::all() {
        let mut oracle = Without::rule(rule.id);
        let plan = document::read(LARGE, "large").expect("a scenario");
        if oracle.deviation(&plan).is_none() {
            continue;
        }
        shown += 1;
        let (text, shrunk) = found(&mut oracle, LARGE);
        assert!(shrunk.plan.steps.len() <= 3, "{text}");
    }
    assert!(shown > 10, "{shown} rules decide in this world");
}

#[test]
fn the_number_of_questions_is_bounded() {
    let mut oracle = Without::rule("overlay.rename.dir-exdev");
    let plan = document::read(LARGE, "large").expect("a scenario");
    let cause = oracle.deviation(&plan).expect("a deviation").cause;
    let shrunk = shrink(&plan, &cause, &mut oracle, 10).expect("answers").expect("a deviation");
    assert!(oracle.questions.iter().sum::<usize>() <= 10 && shrunk.questions <= 10);
    assert_eq!(shrunk.deviation.cause, cause);
}

#[test]
fn a_plan_that_shows_nothing_is_not_shrunk() {
    let mut oracle = Without::rule("overlay.rename.dir-exdev");
    let large = document::read(LARGE, "large").expect("a scenario");
    let cause = oracle.deviation(&large).expect("a deviation").cause;
    let plan = document::read("title: No\nsteps: [ { mkdir: { path: a } } ]\n", "none");
    let shrunk = shrink(&plan.expect("a scenario"), &cause, &mut oracle, 100).expect("answers");
    assert!(shrunk.is_none());
}
