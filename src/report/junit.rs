//! A report of JUnit's XML, as CI systems read it: a suite a target, a test case a case.
//!
//! There is no standard. What is written is what Jenkins, GitLab and their like take from it: a failure is what
//! was not as expected, an error is what nobody could answer, and skipped is what needs something that is not
//! there, or failed as it is known to. docs/reports.md says which schema that is, and where it goes beyond.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite, XmlString,
};

use super::{Judged, Reporter, Start, Totals, count};
use crate::target::Unopened;
use crate::verdict::{Attempt, Recorded, Status, StepStatus, StepVerdict, Verdict};

/// What test cases that are none of the scenarios are filed under.
const OWN: &str = "nsharness";

/// Writes a report when the run has ended.
#[derive(Debug)]
pub struct Junit<W: Write> {
    out: W,
    report: Report,
    suite: Option<TestSuite>,
    /// How long the cases of the suite took.
    took: Duration,
}

impl<W: Write> Junit<W> {
    /// A reporter that writes here.
    pub fn new(out: W) -> Self {
        Self { out, report: Report::new(OWN), suite: None, took: Duration::ZERO }
    }

    fn finish_suite(&mut self) {
        if let Some(mut suite) = self.suite.take() {
            suite.set_time(std::mem::take(&mut self.took));
            self.report.add_test_suite(suite);
        }
    }
}

impl<W: Write> Reporter for Junit<W> {
    fn start(&mut self, start: Start<'_>) -> io::Result<()> {
        self.finish_suite();
        let Start { environment, target, .. } = start;
        let mut suite = TestSuite::new(target);
        suite.add_properties([
            ("nsharness", env!("CARGO_PKG_VERSION")),
            ("kernel", &environment.release),
            ("machine", &environment.machine),
            ("uid", &environment.uid.to_string()),
        ]);
        self.suite = Some(suite);
        Ok(())
    }

    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()> {
        self.finish_suite();
        let mut status = match why {
            Unopened::Missing(_) => TestCaseStatus::skipped(),
            Unopened::Broken(_) => TestCaseStatus::non_success(NonSuccessKind::Error),
        };
        let kind = match why {
            Unopened::Missing(_) => Status::Skip,
            Unopened::Broken(_) => Status::Broken,
        };
        status.set_type(kind.word());
        status.set_message(format!("{} not asked on {target}: {why}", count(cases)));
        let mut suite = TestSuite::new(target);
        suite.set_time(Duration::ZERO).add_test_case(own_case(
            "the target can be asked",
            target,
            status,
        ));
        self.report.add_test_suite(suite);
        Ok(())
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        let Judged { case, target, verdict, took, .. } = judged;
        let (family, name) = case.id.rsplit_once('/').unwrap_or((OWN, &case.id));
        let mut test = TestCase::new(name, status(verdict));
        test.set_classname(class(target, family)).set_time(took);
        let mut extra = |name: &str, value: String| {
            test.extra.insert(XmlString::new(name), XmlString::new(value));
        };
        extra("file", case.path.display().to_string());
        extra("line", line(verdict).to_string());
        // Properties of a test case are in no schema that is common.
        let level = case.level.map_or_else(String::new, |level| format!("{level}: "));
        let mut told = vec![format!("{level}{}", case.title)];
        told.extend(notes(verdict));
        test.set_system_out(told.join("\n"));
        self.took += took;
        if let Some(suite) = &mut self.suite {
            suite.add_test_case(test);
        }
        Ok(())
    }

    fn end(&mut self, totals: &Totals) -> io::Result<()> {
        self.finish_suite();
        // Who reads this report alone would take for whole what is not.
        let mut whole = TestSuite::new(OWN);
        for (target, summary) in totals.targets.iter().filter(|(_, summary)| summary.not_run > 0) {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            let unasked = count(summary.not_run);
            status.set_type("not_run");
            status.set_message(format!("{unasked} not asked on {target}: the run ended before"));
            whole.add_test_case(own_case("every scenario is asked", target, status));
        }
        if !totals.problems.is_empty() {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type("not_whole").set_message(totals.problems.join("; "));
            let mut case = TestCase::new("the report is whole", status);
            case.set_classname(OWN);
            whole.add_test_case(case);
        }
        if !whole.test_cases.is_empty() {
            whole.set_time(Duration::ZERO);
            self.report.add_test_suite(whole);
        }
        self.report.serialize(&mut self.out).map_err(io::Error::other)?;
        self.out.flush()
    }
}

/// A test case that is none of the scenarios.
fn own_case(name: &str, target: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(class(target, OWN)).set_time(Duration::ZERO);
    case
}

/// The class of a test case: names of a case are the same on every target, and those of a class are parted by
/// dots, of which the names of targets have some too.
fn class(target: &str, family: &str) -> String {
    format!("{}.{}", target.replace('.', "_"), family.replace('/', "."))
}

fn status(verdict: &Verdict) -> TestCaseStatus {
    let mut status = match verdict.status {
        Status::Pass => return TestCaseStatus::success(),
        Status::Flaky => {
            let mut status = TestCaseStatus::success();
            status.add_reruns(verdict.attempts.iter().filter_map(rerun));
            return status;
        }
        Status::Fail | Status::Xpass => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Status::Timeout | Status::Broken => TestCaseStatus::non_success(NonSuccessKind::Error),
        Status::Skip | Status::Xfail => TestCaseStatus::skipped(),
    };
    let reasons = &verdict.reasons;
    status.set_type(verdict.status.word());
    match verdict.status {
        // Of what is skipped some read nothing but the message.
        Status::Skip | Status::Xfail => status.set_message(reasons.join("; ")),
        _ => status
            .set_message(reasons.first().map_or(verdict.status.word(), String::as_str))
            .set_description(reasons.join("\n")),
    };
    // The first attempt is the failure itself.
    status.add_reruns(verdict.attempts.iter().skip(1).filter_map(rerun));
    status
}

/// An attempt that did not pass, as Maven's Surefire writes it: `flakyFailure` where a later one passed, and
/// `rerunFailure` where none did.
fn rerun(attempt: &Attempt) -> Option<TestRerun> {
    let kind = match attempt.status {
        Status::Fail | Status::Xpass => NonSuccessKind::Failure,
        Status::Timeout | Status::Broken => NonSuccessKind::Error,
        Status::Pass | Status::Xfail | Status::Flaky | Status::Skip => return None,
    };
    let mut rerun = TestRerun::new(kind);
    let message = attempt.reasons.first().map_or(attempt.status.word(), String::as_str);
    rerun.set_type(attempt.status.word()).set_message(message);
    rerun.set_stack_trace(attempt.reasons.join("\n"));
    rerun.set_time(Duration::try_from_secs_f64(attempt.seconds).unwrap_or_default());
    Some(rerun)
}

/// The line of the first step that is not as expected, or that took too long; the first one of the file where
/// there is none.
pub(super) fn line(verdict: &Verdict) -> usize {
    let told = |step: &&StepVerdict| match step.status {
        StepStatus::Fail | StepStatus::Xpass => true,
        StepStatus::NotReached => verdict.status == Status::Timeout,
        _ => false,
    };
    verdict.steps.iter().find(told).map_or(1, |step| step.line)
}

/// What is to be known of a case besides its status.
fn notes(verdict: &Verdict) -> Vec<String> {
    let abstained = verdict.abstained.iter().map(|what| format!("the model abstains: {what}"));
    let quirks = verdict.quirks.iter().map(|rule| format!("quirk {}: {}", rule.id, rule.statement));
    let changed = match &verdict.recorded {
        Recorded::Changed { diff, .. } => Some(diff.clone()),
        _ => None,
    };
    abstained.chain(quirks).chain(changed).collect()
}
