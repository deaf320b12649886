//! A summary in Markdown, as one would find it below a change that is proposed: what failed first, then what was not
//! asked and why, and what is to be known besides folded away.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::escape::{code, cut, prose};
use super::junit::line;
use super::link::links;
use super::{Judged, OfLevel, Reporter, Start, Summary, Totals, count};
use crate::model::rules::Rule;
use crate::target::Unopened;
use crate::verdict::{Recorded, Status, StepStatus, StepVerdict, Verdict};

/// Most bytes of a summary: GitHub takes 65536 characters for a comment, and 1 MiB for the summary of a step.
const MOST: usize = 60_000;
/// Most reasons of a report that is not whole.
const MOST_PROBLEMS: usize = 20;
/// Bytes of them that are kept for what stands below the failures.
const BELOW: usize = 20_000;
/// Most failing steps of one scenario, lines of one difference, and rows of one table below the failures.
const STEPS: usize = 12;
const LINES: usize = 40;
const ROWS: usize = 20;
/// Longest text of a cell, and of a sentence.
const CELL: usize = 200;
const SENTENCE: usize = 400;

/// Writes a summary when the run has ended.
#[derive(Debug)]
pub struct Markdown<W: Write> {
    out: W,
    collected: Collected,
}

/// What is told of a run.
#[derive(Debug, Default)]
struct Collected {
    /// What each target is, in the order of the run.
    targets: Vec<(String, String)>,
    /// The failures, with the targets on which they are the same.
    failures: Vec<Failure>,
    /// What is missing, by what and its remedy: how often, and why at first.
    missing: BTreeMap<(String, String), (usize, String)>,
    /// What failed as known, with the targets.
    known: Vec<Failure>,
    /// The quirks that decided.
    quirks: BTreeMap<&'static str, &'static Rule>,
}

#[derive(Debug)]
struct Failure {
    text: String,
    targets: Vec<String>,
}

impl<W: Write> Markdown<W> {
    /// A reporter that writes here, at once.
    pub fn new(out: W) -> Self {
        Self { out, collected: Collected::default() }
    }
}

impl<W: Write> Reporter for Markdown<W> {
    fn start(&mut self, start: Start<'_>) -> io::Result<()> {
        let Start { environment, target, .. } = start;
        let what = if environment.simulated {
            format!("a model of Linux {}", environment.release)
        } else {
            format!("Linux {} {}", environment.release, environment.machine)
        };
        self.collected.targets.push((target.to_owned(), what));
        Ok(())
    }

    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()> {
        let collected = &mut self.collected;
        collected.targets.push((target.to_owned(), "not asked".to_owned()));
        match why {
            // Its scenarios went on to the next target, or are told one by one.
            _ if cases == 0 => {}
            Unopened::Missing(missing) => {
                let key = (missing.what.clone(), missing.remedy.clone());
                collected.missing.entry(key).or_insert((0, missing.why.clone())).0 += cases;
            }
            Unopened::Broken(why) => {
                let text =
                    format!("**broken** {}\n\n- {}\n\n", count(cases), prose(&cut(why, SENTENCE)));
                collected.failures.push(Failure { text, targets: vec![target.to_owned()] });
            }
        }
        Ok(())
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        let Judged { target, verdict, .. } = judged;
        let collected = &mut self.collected;
        for missing in &verdict.missing {
            let key = (missing.what.clone(), missing.remedy.clone());
            collected.missing.entry(key).or_insert((0, missing.why.clone())).0 += 1;
        }
        collected.quirks.extend(verdict.quirks.iter().map(|rule| (rule.id, *rule)));
        if verdict.status.is_failure() {
            add(&mut collected.failures, failure(judged), target);
        } else if verdict.status == Status::Xfail {
            add(&mut collected.known, known(judged), target);
        }
        Ok(())
    }

    fn end(&mut self, totals: &Totals) -> io::Result<()> {
        let text = self.collected.text(totals);
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// Adds what is told of a target to the same of others.
fn add(all: &mut Vec<Failure>, text: String, target: &str) {
    match all.iter_mut().find(|known| known.text == text) {
        Some(known) => known.targets.push(target.to_owned()),
        None => all.push(Failure { text, targets: vec![target.to_owned()] }),
    }
}

impl Failure {
    /// The targets, as they were named.
    fn targets(&self) -> String {
        self.targets.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ")
    }
}

impl Collected {
    fn text(&self, totals: &Totals) -> String {
        let several = totals.targets.len() > 1;
        let mut text = format!("## nsharness: {}\n\n", totals.headline());
        text.push_str(&figures(&self.targets, totals));
        text.push_str(&problems(&totals.problems));
        self.tell_failures(&mut text, several);
        for section in [self.skipped(&totals.all), self.known(several), self.quirks(&totals.all)] {
            if text.len() + section.len() > MOST {
                text.push_str("What else is to be known is too long for here: the log has it.\n");
                break;
            }
            text.push_str(&section);
        }
        text
    }

    fn tell_failures(&self, text: &mut String, several: bool) {
        if self.failures.is_empty() {
            return;
        }
        text.push_str("### Failures\n\n");
        for (index, failure) in self.failures.iter().enumerate() {
            let one = if several {
                format!("On {}: {}", failure.targets(), failure.text)
            } else {
                failure.text.clone()
            };
            if text.len() + one.len() > MOST - BELOW {
                let more = self.failures.len() - index;
                text.push_str(&format!("**And {more} more**, which the log has.\n\n"));
                break;
            }
            text.push_str(&one);
        }
    }

    fn skipped(&self, summary: &Summary) -> String {
        if self.missing.is_empty() {
            return String::new();
        }
        let mut sorted: Vec<_> = self.missing.iter().collect();
        sorted.sort_by_key(|(_, (cases, _))| std::cmp::Reverse(*cases));
        let mut text = format!("### Skipped: {}\n\n", summary.skipped);
        text.push_str("| scenarios | for want of | why | what helps |\n|--:|---|---|---|\n");
        for ((what, remedy), (cases, why)) in sorted.iter().take(ROWS) {
            let cells = [what, why, remedy].map(|cell| prose(&cut(cell, CELL)));
            text.push_str(&format!("| {cases} | {} |\n", cells.join(" | ")));
        }
        text.push_str(&more(sorted.len()));
        text.push('\n');
        text
    }

    fn known(&self, several: bool) -> String {
        if self.known.is_empty() {
            return String::new();
        }
        let title = format!("Failed as known: {}", count(self.known.len()));
        let row = |known: &Failure| match several {
            true => format!("- on {}: {}", known.targets(), known.text),
            false => format!("- {}", known.text),
        };
        folded(&title, &self.known.iter().map(row).collect::<Vec<_>>())
    }

    fn quirks(&self, summary: &Summary) -> String {
        if self.quirks.is_empty() {
            return String::new();
        }
        let title = format!(
            "Known deviations of the kernel from its documentation: {} in {}",
            self.quirks.len(),
            count(summary.with_quirks)
        );
        let rows: Vec<_> = self
            .quirks
            .values()
            .map(|rule| {
                let documented = rule.quirk.unwrap_or_default();
                format!("- {} Otherwise documented: {}\n", cited(rule), prose(documented))
            })
            .collect();
        folded(&title, &rows)
    }
}

/// The rows of a list, of which only the title is seen at first.
fn folded(title: &str, rows: &[String]) -> String {
    let shown: String = rows.iter().take(ROWS).map(String::as_str).collect();
    let more = more(rows.len());
    format!("<details><summary>{title}</summary>\n\n{shown}{more}\n</details>\n\n")
}

fn more(rows: usize) -> String {
    let more = rows.saturating_sub(ROWS);
    if more > 0 { format!("\nand {more} more\n") } else { String::new() }
}

/// What keeps the report from being whole, if anything does.
pub(super) fn problems(problems: &[String]) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let told = problems.iter().take(MOST_PROBLEMS);
    let lines: String = told.map(|problem| format!("- {}\n", prose(problem))).collect();
    format!("**The report is not whole:**\n\n{lines}\n")
}

/// A row a target: what it is, and what came of it.
pub(super) fn figures(targets: &[(String, String)], totals: &Totals) -> String {
    let mut text = String::from(
        "| target | kernel | failed | passed | skipped | of these |\n|---|---|--:|--:|--:|---|\n",
    );
    for (target, summary) in &totals.targets {
        let what = targets.iter().find(|(name, _)| name == target);
        let what = what.map_or("not asked", |(_, what)| what);
        let Summary { failed, passed, skipped, .. } = summary;
        text.push_str(&format!(
            "| {} | {} | {failed} | {passed} | {skipped} | {} |\n",
            code(target),
            prose(&cut(what, CELL)),
            summary.details()
        ));
    }
    text.push('\n');
    text.push_str(&by_level(totals));
    text
}

/// What came of that which a specification demands, a row a target and level.
fn by_level(totals: &Totals) -> String {
    let rows = totals.targets.iter().flat_map(|(target, summary)| {
        summary.levels.iter().map(|(level, OfLevel { passed, known, failed, skipped })| {
            let target = code(target);
            format!("| {target} | {level} | {failed} | {passed} | {known} | {skipped} |\n")
        })
    });
    let rows: String = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    let head = "| target | the specification says | failed | passed | failed as known | skipped |";
    format!("{head}\n|---|---|--:|--:|--:|--:|\n{rows}\n")
}

/// A rule, with where it can be read.
fn cited(rule: &Rule) -> String {
    let (id, statement) = (code(rule.id), prose(rule.statement));
    match links(rule.source).first() {
        Some(link) => format!("[{id}]({link}): {statement}"),
        None => format!("{id}: {statement}"),
    }
}

/// Where a case failed, what each voice says there, and by which rule.
fn failure(judged: Judged<'_>) -> String {
    let Judged { case, verdict, witness, .. } = judged;
    let place = format!("{}:{}", case.path.display(), line(verdict));
    let mut text = format!(
        "**{}** {} {}<br>{}\n\n",
        verdict.status.word(),
        code(&case.id),
        prose(&case.title),
        code(&place)
    );
    let of_steps = verdict.steps.iter().filter(|step| step.status.is_told()).count();
    let failed = |step: &&StepVerdict| matches!(step.status, StepStatus::Fail | StepStatus::Xpass);
    let failed: Vec<_> = verdict.steps.iter().filter(failed).collect();
    if !failed.is_empty() {
        text.push_str(&voices(&failed, witness));
    }
    let mut rules: Vec<&Rule> = Vec::new();
    let cited_rules = failed.iter().filter_map(|step| step.model.as_ref());
    for rule in cited_rules.flat_map(|model| &model.rules) {
        if !rules.contains(rule) {
            rules.push(rule);
        }
    }
    let cited = rules.iter().take(STEPS).map(|rule| format!("- rule {}\n", cited(rule)));
    let reasons = verdict.reasons.iter().skip(of_steps).take(STEPS);
    let reasons = reasons.map(|why| format!("- {}\n", prose(&cut(why, SENTENCE))));
    let listed: String = cited.chain(reasons).collect();
    if !listed.is_empty() {
        text.push_str(&listed);
        text.push('\n');
    }
    text.push_str(&difference(verdict));
    text
}

/// What each voice says of the steps that are not as expected.
fn voices(steps: &[&StepVerdict], witness: &str) -> String {
    let alone = witness == "model";
    let mut text = String::from("| line | step | author |");
    text.push_str(if alone { " model |\n" } else { " kernel | model |\n" });
    text.push_str(if alone { "|--:|---|---|---|\n" } else { "|--:|---|---|---|---|\n" });
    for step in steps.iter().take(STEPS) {
        let cell = |said: Option<&str>, silence: &str| match said {
            Some(said) => code(&cut(said, CELL)),
            None => prose(silence),
        };
        let author = match (step.status, &step.why) {
            // That the known deviation is gone is what the author is to be told.
            (StepStatus::Xpass, Some(why)) => prose(&cut(why, CELL)),
            _ => cell(step.expect.as_deref(), "says nothing"),
        };
        let model = match &step.model {
            Some(model) => cell(model.outcome.as_deref(), "abstains"),
            None => "was not asked".to_owned(),
        };
        let outcome = cell(step.outcome.as_deref(), "no answer");
        let witnesses = if alone { outcome } else { format!("{outcome} | {model}") };
        let operation = code(&step.operation);
        text.push_str(&format!("| {} | {operation} | {author} | {witnesses} |\n", step.line));
    }
    let more = steps.len().saturating_sub(STEPS);
    if more > 0 {
        text.push_str(&format!("\nand {more} more steps\n"));
    }
    text.push('\n');
    text
}

/// How the observations differ from their snapshot.
fn difference(verdict: &Verdict) -> String {
    let Recorded::Changed { diff, .. } = &verdict.recorded else { return String::new() };
    let lines: Vec<_> = diff.lines().take(LINES).map(|line| cut(line, CELL)).collect();
    let more = diff.lines().count().saturating_sub(LINES);
    let more = if more > 0 { format!("\n… and {more} lines more") } else { String::new() };
    // A fence that no line of it ends.
    let fence = "`".repeat(longest_run(&lines).max(2) + 1);
    let lines = lines.join("\n");
    format!(
        "<details><summary>recorded (-) and observed (+)</summary>\n\n\
         {fence}diff\n{lines}{more}\n{fence}\n\n</details>\n\n"
    )
}

/// The longest run of backticks.
fn longest_run(lines: &[String]) -> usize {
    let runs = lines.iter().flat_map(|line| line.split(|c| c != '`').map(str::len));
    runs.max().unwrap_or_default()
}

/// One line of what failed as it is known to.
fn known(judged: Judged<'_>) -> String {
    let Judged { case, verdict, .. } = judged;
    let why = verdict.reasons.join("; ");
    format!("{}: {}\n", code(&case.id), prose(&cut(&why, SENTENCE)))
}
