//! What chance decided is asked again, and what only looks like it fails.
//!
//! The witness is one of this file, for chance comes when it likes: it says what the model says, but for the marks of
//! MNT_EXPIRE that it forgets.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nsharness::diag::Source;
use nsharness::model::predict;
use nsharness::probe::Environment;
use nsharness::report::Part;
use nsharness::run::{Asked, Options, Record, Share, Takes, run};
use nsharness::scenario::plan::Plan;
use nsharness::scenario::{Case, FoundFile, KnownNames, resolve};
use nsharness::shard::Shard;
use nsharness::snapshot::Mode;
use nsharness::target::{Answer, Opener, Witness};
use nsharness::transcript::{Outcome, Values};
use rstest::rstest;

/// The last two steps are a mark and an unmount; before them a use takes a mark away.
const SCENARIO: &str = "\
title: An unused mount expires when it is asked twice
world:
  tree: { m: dir }
  mounts:
    - mount: { type: tmpfs, at: m }
steps:
  - umount: { at: m, flags: [expire], expect: EAGAIN }
  - write: { path: m/f, data: x }
  - umount: { at: m, flags: [expire], expect: EAGAIN }
  - umount: { at: m, flags: [expire] }
";

/// A kernel that gives EAGAIN for a step, the first times that it is asked.
struct Forgetful {
    environment: Environment,
    step: usize,
    times: u32,
    asked: Rc<Cell<u32>>,
    said: VecDeque<(usize, Answer)>,
}

impl Witness for Forgetful {
    fn name(&self) -> &'static str {
        "kernel"
    }
    fn target(&self) -> String {
        "host".to_owned()
    }
    fn capacity(&self) -> usize {
        1
    }
    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        let mut truth = predict(plan, &self.environment.profile()).transcript;
        let marks = truth.outcomes[0].clone();
        assert!(matches!(&marks, Outcome::Failed { errno, .. } if errno.name() == "EAGAIN"));
        assert_eq!(truth.outcomes[3], Outcome::Ok(Values::new()));
        if self.asked.get() < self.times {
            truth.outcomes[self.step] = marks;
        }
        self.asked.set(self.asked.get() + 1);
        self.said.push_back((ticket, Answer::Asked(Box::new(truth))));
        Ok(())
    }
    fn next(&mut self, _: Duration) -> io::Result<Option<(usize, Answer)>> {
        Ok(self.said.pop_front())
    }
}

fn case() -> Case {
    let source = Arc::new(Source { name: "a".into(), text: SCENARIO.to_owned() });
    let file = FoundFile { id: "a".into(), path: "a".into(), base: Path::new("").to_owned() };
    resolve(&file, &source, KnownNames { probes: &[] }).expect("a scenario").remove(0)
}

/// How often a witness was asked that gives EAGAIN for a step the first times, and how many passed and failed.
fn ask(step: usize, times: u32, model: bool, record: Option<Record>) -> (u32, usize, usize) {
    let environment = Environment::of_host(false);
    let asked = Rc::new(Cell::new(0));
    let witness = Forgetful {
        environment: environment.clone(),
        step,
        times,
        asked: Rc::clone(&asked),
        said: VecDeque::new(),
    };
    let options = Options {
        snapshots: Mode::Check,
        fail_fast: false,
        keep: None,
        model,
        record,
        probes: Default::default(),
        guests: 1,
        share: Share::Every,
        part: Part {
            shard: Shard::WHOLE,
            scenarios: 1,
            selected: 1,
            digest: "0".to_owned(),
            shared: false,
        },
        retries: 0,
        refuse_flaky: true,
        only: None,
    };
    let target = "host".to_owned();
    let opener = Opener::at(witness, environment);
    let target = Asked { kernel: target.clone(), target, opener, takes: Takes::ALL };
    let totals = run(&[case()], vec![target], options, &mut []).expect("nothing is written");
    assert!(totals.problems.is_empty(), "{:?}", totals.problems);
    (asked.get(), totals.all.passed, totals.all.failed)
}

/// With the model beside the kernel and without.
#[rstest]
fn a_mark_that_was_lost_by_chance_is_asked_for_again(#[values(true, false)] model: bool) {
    assert_eq!(ask(3, 0, model, None), (1, 1, 0));
    assert_eq!(ask(3, 1, model, None), (2, 1, 0));
    assert_eq!(ask(3, 3, model, None), (4, 1, 0));
}

#[test]
fn a_kernel_that_never_unmounts_fails() {
    assert_eq!(ask(3, u32::MAX, true, None), (4, 0, 1));
}

/// Chance takes a mark away; it makes no write fail.
#[test]
fn another_wrong_answer_fails_at_once() {
    assert_eq!(ask(1, 1, true, None), (1, 0, 1));
}

#[test]
fn a_recording_has_one_answer_of_each_case() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let record = Record { file: file.path().to_owned(), known: None };
    assert_eq!(ask(3, 1, true, Some(record)), (1, 0, 1));
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(text.lines().count(), 2);
}
