//! Reporters: everything that is said of a run, from one stream of events.

pub mod console;
pub mod doctor;
mod escape;
pub mod explain;
pub mod github;
pub mod html;
pub mod inspect;
pub mod json;
pub mod junit;
pub mod ktap;
pub mod link;
pub mod markdown;
pub mod markup;
pub mod matrix;
pub mod picture;
pub mod read;
pub mod rules;
pub mod sentence;
pub mod subject;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::probe::Environment;
use crate::scenario::container::Level;
use crate::shard::Shard;
use crate::target::Unopened;
use crate::verdict::{Status, Verdict};

use subject::Subject;

/// Which part of which selection a run is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The part.
    pub shard: Shard,
    /// How many cases are in it.
    pub scenarios: usize,
    /// How many were selected, in all parts together.
    pub selected: usize,
    /// A digest of what was selected: parts of the same have the same.
    pub digest: String,
    /// Whether every case is asked on one of the targets only.
    pub shared: bool,
}

impl Part {
    /// Whether other parts have all that was selected: then there is nothing to ask, and nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.shard != Shard::WHOLE && self.scenarios == 0 && self.selected > 0
    }
}

/// A target that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// What it is.
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
    pub case: &'a Subject,
    /// Where it was asked.
    pub target: &'a str,
    /// Whose answer it is.
    pub witness: &'a str,
    /// What came of it.
    pub verdict: &'a Verdict,
    /// What was observed, as text.
    pub observed: Option<&'a str>,
    /// How long it took.
    pub took: Duration,
}

/// What came of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// `pass`, and `xfail` and `flaky`, which are as expected too.
    pub passed: usize,
    /// `fail`, `xpass`, `timeout` and `broken`.
    pub failed: usize,
    /// `skip`.
    pub skipped: usize,
    /// Of the passed: failed as known.
    pub xfailed: usize,
    /// Of the passed: only when it was asked again.
    pub flaky: usize,
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
    /// Those of which a specification demands something, by how it does.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub levels: BTreeMap<Level, OfLevel>,
    /// Not asked, because the run ended before.
    pub not_run: usize,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Snapshots that belong to no scenario, where all scenarios were run.
    pub stray_snapshots: Vec<String>,
}

/// What came of the scenarios of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OfLevel {
    /// As the specification has it.
    pub passed: usize,
    /// Known to be otherwise.
    pub known: usize,
    /// Otherwise, or broken.
    pub failed: usize,
    /// Not asked.
    pub skipped: usize,
}

impl OfLevel {
    fn count(&mut self, status: Status) {
        match status {
            Status::Pass | Status::Flaky => self.passed += 1,
            Status::Xfail => self.known += 1,
            Status::Skip => self.skipped += 1,
            Status::Fail | Status::Xpass | Status::Timeout | Status::Broken => self.failed += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.known += other.known;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for OfLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, known, failed, skipped } = self;
        write!(f, "{passed} passed, {known} failed as known, {failed} failed, {skipped} skipped")
    }
}

impl Summary {
    /// Counts one case, of which a specification demands something by this level.
    pub fn count(&mut self, level: Option<Level>, verdict: &Verdict) {
        if let Some(level) = level {
            self.levels.entry(level).or_default().count(verdict.status);
        }
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
            Status::Flaky => {
                self.passed += 1;
                self.flaky += 1;
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

    /// Counts cases that nobody was asked, because their target could not be had.
    pub fn count_unasked(&mut self, cases: usize, why: &Unopened) {
        match why {
            Unopened::Missing(_) => self.skipped += cases,
            Unopened::Broken(_) => {
                self.failed += cases;
                self.broken += cases;
            }
        }
    }

    /// Counts what another target came to.
    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.xfailed += other.xfailed;
        self.flaky += other.flaky;
        self.xpassed += other.xpassed;
        self.timeouts += other.timeouts;
        self.broken += other.broken;
        self.abstained += other.abstained;
        self.with_quirks += other.with_quirks;
        for (rule, count) in &other.quirks {
            *self.quirks.entry(rule).or_default() += count;
        }
        for (level, counts) in &other.levels {
            self.levels.entry(*level).or_default().add(counts);
        }
        self.not_run += other.not_run;
        self.interrupted |= other.interrupted;
        self.stray_snapshots.extend(other.stray_snapshots.iter().cloned());
    }

    /// What is to be known of its numbers beside who passed, failed and was skipped.
    fn details(&self) -> String {
        let details = [
            (self.broken, "broken"),
            (self.timeouts, "timeout"),
            (self.xpassed, "xpass"),
            (self.xfailed, "xfail"),
            (self.flaky, "flaky"),
            (self.with_quirks, "with a known deviation"),
            (self.not_run, "not run"),
        ];
        let told = details.iter().filter(|(number, _)| *number > 0);
        told.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
    }

    /// How many were asked, whatever came of it.
    pub fn executed(&self) -> usize {
        self.passed + self.failed
    }
}

/// What came of a run on all its targets.
#[derive(Clone, Debug)]
pub struct Totals {
    /// What the run was about.
    pub part: Part,
    /// Of all targets together.
    pub all: Summary,
    /// Of each, in the order in which they were told.
    pub targets: Vec<(String, Summary)>,
    /// What keeps the report from being whole: what is missing where it was put together, and what a witness said or
    /// did that is in no answer.
    pub problems: Vec<String>,
}

impl Totals {
    /// What came of a run, in one line: what is not green first.
    fn headline(&self) -> String {
        let summary = &self.all;
        let Summary { passed, failed, skipped, not_run, .. } = *summary;
        let mut parts = Vec::new();
        if !self.problems.is_empty() {
            parts.push("not whole".to_owned());
        }
        if summary.interrupted {
            parts.push("interrupted".to_owned());
        }
        if summary.executed() == 0 {
            parts.push("nothing was executed".to_owned());
        }
        for (number, what) in [(failed, "failed"), (not_run, "not run"), (passed, "passed")] {
            if number > 0 {
                parts.push(format!("{number} {what}"));
            }
        }
        if skipped > 0 {
            parts.push(format!("{skipped} skipped"));
        }
        parts.join(", ")
    }
}

/// Somebody who is told of a run: of one target after the other, and at last of the whole.
pub trait Reporter {
    /// A run begins, about this part of what was selected.
    ///
    /// # Errors
    /// Where the report cannot be written.
    fn begin(&mut self, _part: &Part) -> io::Result<()> {
        Ok(())
    }

    /// What is told from now on is of this target.
    ///
    /// # Errors
    /// Where the report cannot be written.
    fn start(&mut self, start: Start<'_>) -> io::Result<()>;

    /// A target cannot be asked, and so many cases were to be.
    ///
    /// # Errors
    /// Where the report cannot be written.
    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()>;

    /// A case was judged; cases come in the order of their ids.
    ///
    /// # Errors
    /// Where the report cannot be written.
    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()>;

    /// Everything of a target was told.
    ///
    /// # Errors
    /// Where the report cannot be written.
    fn done(&mut self, _target: &str, _summary: &Summary) -> io::Result<()> {
        Ok(())
    }

    /// The run has ended.
    ///
    /// # Errors
    /// Where the report cannot be written.
    fn end(&mut self, totals: &Totals) -> io::Result<()>;
}

/// A number of scenarios, in words.
fn count(cases: usize) -> String {
    format!("{cases} {}", if cases == 1 { "scenario" } else { "scenarios" })
}
