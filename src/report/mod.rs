//! Reporters: everything that is said of a run, from one stream of events.

pub mod console;
pub mod explain;
pub mod json;
pub mod link;
pub mod picture;
pub mod rules;
pub mod sentence;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::probe::Environment;
use crate::scenario::Case;
use crate::verdict::{Status, Verdict};

/// A run that begins.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// What it runs on.
    pub environment: &'a Environment,
    /// Where the witness is asked.
    pub target: &'a str,
    /// Who speaks, the one whose answer counts as the case's first.
    pub witnesses: &'a [&'a str],
    /// How many cases there are.
    pub cases: usize,
}

/// A case that was judged.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The case.
    pub case: &'a Case,
    /// Where it was asked.
    pub target: &'a str,
    /// Whose answer it is.
    pub witness: &'a str,
    /// What came of it.
    pub verdict: &'a Verdict,
    /// How long it took.
    pub took: Duration,
}

/// What came of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// `pass`, and `xfail`, which is as expected too.
    pub passed: usize,
    /// `fail`, `xpass`, `timeout` and `broken`.
    pub failed: usize,
    /// `skip`.
    pub skipped: usize,
    /// Of the passed: failed as known.
    pub xfailed: usize,
    /// Of the failed: passed though known to fail.
    pub xpassed: usize,
    /// Of the failed: not ended in time.
    pub timeouts: usize,
    /// Of the failed: the harness or environment broke.
    pub broken: usize,
    /// Steps and observations of which the model says nothing.
    pub abstained: usize,
    /// Of the scenarios: those that rest on a known deviation of the kernel from its documentation.
    pub with_quirks: usize,
    /// Those deviations by the model's rules, with the number of scenarios of each.
    pub quirks: BTreeMap<&'static str, usize>,
    /// Not asked, because the run ended before.
    pub not_run: usize,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Snapshots that belong to no scenario, where all scenarios were run.
    pub stray_snapshots: Vec<String>,
}

impl Summary {
    /// Counts one case.
    pub fn count(&mut self, verdict: &Verdict) {
        self.abstained += verdict.abstained.len();
        self.with_quirks += usize::from(!verdict.quirks.is_empty());
        for rule in &verdict.quirks {
            *self.quirks.entry(rule.id).or_default() += 1;
        }
        match verdict.status {
            Status::Pass => self.passed += 1,
            Status::Xfail => {
                self.passed += 1;
                self.xfailed += 1;
            }
            Status::Skip => self.skipped += 1,
            Status::Fail => self.failed += 1,
            Status::Xpass => {
                self.failed += 1;
                self.xpassed += 1;
            }
            Status::Timeout => {
                self.failed += 1;
                self.timeouts += 1;
            }
            Status::Broken => {
                self.failed += 1;
                self.broken += 1;
            }
        }
    }

    /// How many were asked, whatever came of it.
    pub fn executed(&self) -> usize {
        self.passed + self.failed
    }
}

/// Somebody who is told of a run.
pub trait Reporter {
    /// The run begins.
    ///
    /// # Errors
    /// Where the report cannot be written.
    fn start(&mut self, start: Start<'_>) -> io::Result<()>;

    /// A case was judged; cases come in the order of their ids.
    ///
    /// # Errors
    /// Where the report cannot be written.
    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()>;

    /// The run has ended.
    ///
    /// # Errors
    /// Where the report cannot be written.
    fn end(&mut self, summary: &Summary) -> io::Result<()>;
}
