//! A report of KTAP, version 1, as the kernel's own tests write it: a test a target, a subtest a case.
//!
//! Source: Documentation/dev-tools/ktap.rst of the kernel. How many tests there are stands before them: it is
//! written when the run has ended.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Judged, Reporter, Start, Totals, count};
use crate::target::Unopened;
use crate::verdict::{Status, Verdict};

const VERSION: &str = "KTAP version 1";

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
    name: String,
    ok: bool,
    /// What stands behind the name: a directive and what is to be said of it.
    directive: String,
    /// What stands before the result.
    diagnostics: Vec<String>,
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
            if result.is_none() {
                let _ = writeln!(text, "    {VERSION}\n    # Subtest: {target}");
                let _ = writeln!(text, "    1..{}", subtests.len());
            }
            for (subtest, number) in subtests.iter().zip(1..) {
                for line in &subtest.diagnostics {
                    let _ = writeln!(text, "    # {line}");
                }
                let Subtest { name, ok, directive, .. } = subtest;
                let _ = writeln!(text, "    {} {number} {name}{directive}", word(*ok));
            }
            let all = || (subtests.iter().all(|subtest| subtest.ok), String::new());
            let (ok, directive) = result.clone().unwrap_or_else(all);
            let _ = writeln!(text, "{} {number} {target}{directive}", word(ok));
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
                name: "every scenario is asked".to_owned(),
                ok: false,
                directive: directive("ERROR", &why),
                diagnostics: Vec::new(),
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
    let lines = reasons.flat_map(|reason| {
        reason.lines().map(|line| format!("{id}: {}", plain(line))).collect::<Vec<_>>()
    });
    let ok = !verdict.status.is_failure();
    Subtest { name: id.to_owned(), ok, directive, diagnostics: lines.collect() }
}

/// A directive, in one line.
fn directive(word: &str, why: &str) -> String {
    let line: Vec<_> = why.lines().map(plain).collect();
    format!(" # {word} {}", line.join(" ")).trim_end().to_owned()
}

/// A line without what would move a terminal's cursor.
fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
