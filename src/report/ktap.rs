//! A report of KTAP, version 1, as the kernel's own tests write it: a test a target, a subtest a case.
//!
//! Source: Documentation/dev-tools/ktap.rst of the kernel, and what its reader tools/testing/kunit/kunit_parser.py
//! takes a line for. How many tests there are stands before them: it is written when the run has ended.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Judged, Reporter, Start, Totals, count};
use crate::target::Unopened;
use crate::verdict::{Status, Verdict};

const VERSION: &str = "KTAP version 1";
/// What stands before the name of a test that has subtests.
const HEADER: &str = "Subtest";
/// Where the kernel's reader takes the log of a kernel for ended, wherever in a line it stands. A guest that broke
/// has them in its console.
const ENDS: [&str; 3] =
    ["List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System halted"];

/// Writes a report when the run has ended.
#[derive(Debug)]
pub struct Ktap<W: Write> {
    out: W,
    tests: Vec<Test>,
}

/// A target.
#[derive(Debug)]
struct Test {
    target: String,
    /// What is said of all of it; nothing where its subtests say it.
    result: Option<(bool, String)>,
    subtests: Vec<Subtest>,
}

/// A case.
#[derive(Debug)]
struct Subtest {
    id: String,
    ok: bool,
    /// What stands behind the name: a directive and what is to be said of it.
    directive: String,
    /// What stands before the result, in lines.
    reasons: Vec<String>,
}

impl<W: Write> Ktap<W> {
    /// A reporter that writes here.
    pub fn new(out: W) -> Self {
        Self { out, tests: Vec::new() }
    }

    fn text(&self) -> String {
        let mut text = format!("{VERSION}\n1..{}\n", self.tests.len());
        for (test, number) in self.tests.iter().zip(1..) {
            let Test { target, result, subtests } = test;
            let target = name(target);
            if !subtests.is_empty() {
                let _ = writeln!(text, "    {VERSION}\n    # {HEADER}: {target}");
                let _ = writeln!(text, "    1..{}", subtests.len());
            }
            for (subtest, number) in subtests.iter().zip(1..) {
                let Subtest { id, ok, directive, reasons } = subtest;
                let name = name_below(&target, id);
                for line in reasons {
                    let _ = writeln!(text, "    # {name}: {line}");
                }
                let _ = writeln!(text, "    {} {number} {name}{directive}", word(*ok));
            }
            let (ok, directive) = match result {
                Some(result) => result.clone(),
                // A plan of no tests is an error to the kernel's reader, and a success to others.
                None if subtests.is_empty() => (true, directive("SKIP", "no scenario was asked")),
                None => (subtests.iter().all(|subtest| subtest.ok), String::new()),
            };
            let _ = writeln!(text, "{} {number} {target}{directive}", word(ok));
        }
        for end in ENDS {
            text = text.replace(end, &end.replace(' ', "\u{a0}"));
        }
        text
    }
}

impl<W: Write> Reporter for Ktap<W> {
    fn start(&mut self, start: Start<'_>) -> io::Result<()> {
        let target = start.target.to_owned();
        self.tests.push(Test { target, result: None, subtests: Vec::new() });
        Ok(())
    }

    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()> {
        let why_not = format!("{} not asked: {why}", count(cases));
        let result = match why {
            Unopened::Missing(_) => (true, directive("SKIP", &why_not)),
            Unopened::Broken(_) => (false, directive("ERROR", &why_not)),
        };
        let target = target.to_owned();
        self.tests.push(Test { target, result: Some(result), subtests: Vec::new() });
        Ok(())
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        if let Some(test) = self.tests.last_mut() {
            test.subtests.push(subtest(&judged.case.id, judged.verdict));
        }
        Ok(())
    }

    fn end(&mut self, totals: &Totals) -> io::Result<()> {
        for (target, summary) in totals.targets.iter().filter(|(_, summary)| summary.not_run > 0) {
            let why = format!("{} not asked: the run ended before", count(summary.not_run));
            let unasked = Subtest {
                id: "every scenario is asked".to_owned(),
                ok: false,
                directive: directive("ERROR", &why),
                reasons: Vec::new(),
            };
            match self.tests.iter_mut().find(|test| test.target == *target) {
                Some(test) => test.subtests.push(unasked),
                None => self.tests.push(Test {
                    target: target.clone(),
                    result: None,
                    subtests: vec![unasked],
                }),
            }
        }
        for problem in &totals.problems {
            let result = Some((false, directive("ERROR", problem)));
            let target = "the report is whole".to_owned();
            self.tests.push(Test { target, result, subtests: Vec::new() });
        }
        self.out.write_all(self.text().as_bytes())?;
        self.out.flush()
    }
}

fn word(ok: bool) -> &'static str {
    if ok { "ok" } else { "not ok" }
}

fn subtest(id: &str, verdict: &Verdict) -> Subtest {
    let reasons = verdict.reasons.join("; ");
    let (directive, told) = match verdict.status {
        Status::Pass => (String::new(), false),
        // KTAP has no word for it: a parser must take it for passed, and a person must see it.
        Status::Flaky => (String::new(), true),
        Status::Fail | Status::Xpass => (String::new(), true),
        Status::Skip => (directive("SKIP", &reasons), false),
        Status::Xfail => (directive("XFAIL", &reasons), false),
        Status::Timeout => (directive("TIMEOUT", ""), true),
        Status::Broken => (directive("ERROR", ""), true),
    };
    let attempts = verdict.attempts.iter().zip(1..);
    let attempts = attempts.map(|(attempt, n)| format!("attempt {n}: {}", attempt.status.word()));
    let reasons = verdict.reasons.iter().filter(|_| told).cloned().chain(attempts);
    let reasons = reasons.flat_map(|reason| reason.lines().map(plain).collect::<Vec<_>>());
    let ok = !verdict.status.is_failure();
    Subtest { id: id.to_owned(), ok, directive, reasons: reasons.collect() }
}

/// A name, which ends where a directive begins.
fn name(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(plain).collect();
    words.join(" ").replace('#', "_")
}

/// The name of a subtest. By that of its test a reader knows that the test has ended, and by the word of a header
/// that another begins.
fn name_below(test: &str, id: &str) -> String {
    let name = name(id);
    if name == test || name == HEADER { format!("{name} (scenario)") } else { name }
}

/// A directive, in one line, in which no other begins.
fn directive(word: &str, why: &str) -> String {
    let line: Vec<_> = why.lines().map(plain).collect();
    let line = line.join(" ").replace(" #", "\u{a0}#");
    format!(" # {word} {line}").trim_end().to_owned()
}

/// A line without what would move a terminal's cursor.
fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
