//! What a person sees: a line a scenario, failures with their place and voices, a summary.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Judged, Part, Reporter, Start, Summary, Totals, count};
use crate::diag::Diagnostic;
use crate::probe::Environment;
use crate::shard::Shard;
use crate::target::Unopened;
use crate::transcript::TRACE;
use crate::verdict::{Recorded, Status, StepStatus, StepVerdict, Verdict};

/// How much is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verbosity {
    /// Nothing of what passed, and of what was skipped one line a target.
    pub quiet: bool,
}

/// The terminal, or a pipe.
#[derive(Debug)]
pub struct Console {
    out: anstream::Stdout,
    colour: bool,
    verbosity: Verbosity,
    bar: ProgressBar,
    /// Why the last case was skipped: the same reasons are not said of each of a hundred cases.
    skipped_for: Vec<String>,
    /// How many cases were skipped for what is missing, on all targets.
    missing: BTreeMap<String, u64>,
    /// The same of the target that is told now.
    missing_here: BTreeMap<String, u64>,
    /// What tells `explain` which kernel is simulated, where that is not this machine's.
    kernel: String,
    /// Whether nobody reads any more.
    closed: bool,
    /// The quirks that were told what they are.
    known_quirks: BTreeSet<&'static str>,
}

impl Console {
    /// The console of this process: colours as NO_COLOR and the terminal say, and a progress bar on
    /// a terminal alone.
    pub fn new(verbosity: Verbosity) -> Self {
        let choice = anstream::Stdout::choice(&io::stdout());
        let bar = ProgressBar::hidden();
        Self {
            out: anstream::stdout(),
            colour: choice != anstream::ColorChoice::Never,
            verbosity,
            bar,
            skipped_for: Vec::new(),
            missing: BTreeMap::new(),
            missing_here: BTreeMap::new(),
            kernel: String::new(),
            closed: false,
            known_quirks: BTreeSet::new(),
        }
    }

    /// Says it to whoever reads; that nobody does any more, as behind `head`, ends no run.
    fn say(&mut self, text: &str) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let out = &mut self.out;
        let said = self.bar.suspend(|| out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        match said {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            said => said?,
        }
        Ok(())
    }
}

fn style(status: Status) -> Style {
    let colour = match status {
        Status::Pass => AnsiColor::Green,
        Status::Xfail | Status::Flaky => AnsiColor::Cyan,
        Status::Skip => AnsiColor::Yellow,
        Status::Fail | Status::Xpass | Status::Timeout | Status::Broken => AnsiColor::Red,
    };
    colour.on_default()
}

impl Reporter for Console {
    fn begin(&mut self, part: &Part) -> io::Result<()> {
        let Part { shard, scenarios, selected, .. } = part;
        if *shard == Shard::WHOLE {
            return Ok(());
        }
        let rest = if part.is_empty() { ": nothing to ask here" } else { "" };
        self.say(&format!("shard {shard}: {scenarios} of {}{rest}\n", count(*selected)))
    }

    fn start(&mut self, start: Start<'_>) -> io::Result<()> {
        let Start { environment, target, cases, .. } = start;
        let user = user(environment, target);
        let cases_told = count(cases);
        let Environment { release, machine, .. } = environment;
        self.skipped_for.clear();
        self.missing_here.clear();
        self.kernel = simulated_kernel(environment);
        self.say(&if environment.simulated {
            format!("simulating Linux {release} ({target}): {cases_told}\n")
        } else {
            let known = [vec![target.to_owned()], environment.notes()].concat().join(", ");
            format!("asking Linux {release} {machine} ({known}) as {user}: {cases_told}\n")
        })?;
        if io::stderr().is_terminal() {
            self.bar.finish_and_clear();
            self.bar =
                ProgressBar::with_draw_target(Some(cases as u64), ProgressDrawTarget::stderr());
            if let Ok(template) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
                self.bar.set_style(template);
            }
        }
        Ok(())
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        let Judged { case, verdict, .. } = judged;
        self.bar.inc(1);
        self.bar.set_message(case.id.clone());
        let missing: BTreeSet<_> = verdict.missing.iter().map(|missing| &missing.what).collect();
        for what in missing {
            *self.missing.entry(what.clone()).or_default() += 1;
            *self.missing_here.entry(what.clone()).or_default() += 1;
        }
        if self.verbosity.quiet && matches!(verdict.status, Status::Pass | Status::Skip) {
            return Ok(());
        }
        let style = style(verdict.status);
        let level = case.level.map_or_else(String::new, |level| format!("{level}: "));
        let (word, id, title) = (verdict.status.word(), &case.id, &case.title);
        let mut text = format!("{style}{word:<8}{style:#}{id}  {level}{title}\n");
        match verdict.status {
            Status::Pass => {}
            Status::Flaky => text.push_str(&attempts(verdict)),
            Status::Skip if verdict.reasons == self.skipped_for => {}
            Status::Skip | Status::Xfail => {
                verdict
                    .reasons
                    .iter()
                    .for_each(|reason| text.push_str(&format!("        {reason}\n")));
            }
            Status::Fail | Status::Xpass | Status::Timeout | Status::Broken => {
                text.push_str(&explain(&judged, self.colour, &self.kernel));
            }
        }
        let evidence = verdict.transcript.iter().flat_map(|transcript| &transcript.evidence);
        for (_, trace) in evidence.filter(|(name, _)| *name == TRACE) {
            text.extend(trace.lines().map(|line| format!("        {line}\n")));
        }
        if verdict.status != Status::Skip {
            let mut abstained: Vec<_> = verdict.abstained.iter().collect();
            abstained.dedup();
            for why in abstained {
                text.push_str(&format!("        the model abstains: {why}\n"));
            }
        }
        for rule in &verdict.quirks {
            text.push_str(&format!("        quirk {}", rule.id));
            if let Some(quirk) = rule.quirk.filter(|_| self.known_quirks.insert(rule.id)) {
                text.push_str(&format!(": {} Otherwise documented: {quirk}", rule.statement));
            }
            text.push('\n');
        }
        if verdict.status == Status::Skip {
            self.skipped_for.clone_from(&verdict.reasons);
        }
        self.say(&text)
    }

    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()> {
        let status = match why {
            Unopened::Missing(missing) => {
                *self.missing.entry(missing.what.clone()).or_default() += cases as u64;
                Status::Skip
            }
            Unopened::Broken(_) => Status::Broken,
        };
        self.skipped_for.clear();
        let style = style(status);
        self.say(&format!(
            "{style}{:<8}{style:#}all {} on {target}\n        {why}\n",
            status.word(),
            count(cases)
        ))
    }

    fn done(&mut self, target: &str, summary: &Summary) -> io::Result<()> {
        if !self.verbosity.quiet || self.missing_here.is_empty() {
            return Ok(());
        }
        let (word, style) = (Status::Skip.word(), style(Status::Skip));
        let (cases, missing) = (count(summary.skipped), most(&self.missing_here));
        self.say(&format!("{style}{word:<8}{style:#}{cases} on {target}, for want of: {missing}\n"))
    }

    fn end(&mut self, totals: &Totals) -> io::Result<()> {
        self.bar.finish_and_clear();
        let summary = &totals.all;
        let mut text = String::new();
        for file in &summary.stray_snapshots {
            text.push_str(&format!(
                "warning: {file}: no scenario has this snapshot (nsharness snap prune)\n"
            ));
        }
        let details = details(summary);
        if !details.is_empty() {
            text.push_str(&format!("of these: {}\n", details.join(", ")));
        }
        if !self.missing.is_empty() && !self.verbosity.quiet {
            text.push_str(&format!("skipped for want of: {}\n", most(&self.missing)));
        }
        if summary.abstained > 0 {
            text.push_str(&format!(
                "the model abstains from {} steps and observations\n",
                summary.abstained
            ));
        }
        let style = style(Status::Broken);
        for problem in &totals.problems {
            let word = Status::Broken.word();
            text.push_str(&format!(
                "{style}{word:<8}{style:#}the report is not whole: {problem}\n"
            ));
        }
        if summary.interrupted {
            text.push_str("interrupted: the report ends here\n");
        }
        text.push_str(&by_target(totals));
        // Who reads the last line alone must not take for whole what is not.
        let not_run = match summary.not_run {
            0 => String::new(),
            number => format!(", {number} not run"),
        };
        let whole = if totals.problems.is_empty() { "" } else { ", and the report is not whole" };
        text.push_str(&format!("summary: {}{not_run}{whole}\n", in_short(summary)));
        self.say(&text)
    }
}

/// What is counted beside passed, failed and skipped.
fn details(summary: &Summary) -> Vec<String> {
    let details = [
        (summary.xfailed, "failed as known (counted as passed)"),
        (summary.flaky, "passed only when asked again (counted as passed)"),
        (summary.xpassed, "passed though known to fail"),
        (summary.timeouts, "not ended in time"),
        (summary.broken, "broken, so not answered"),
        (summary.with_quirks, "with a known deviation of the kernel"),
        (summary.not_run, "not run"),
    ];
    let details = details.iter().filter(|(count, _)| *count > 0);
    details.map(|(count, what)| format!("{count} {what}")).collect()
}

/// The numbers of each target where there are several, and of each level.
fn by_target(totals: &Totals) -> String {
    if totals.targets.len() <= 1 {
        return by_level(&totals.all, 0);
    }
    let width = totals.targets.iter().map(|(target, _)| target.chars().count()).max();
    let width = width.unwrap_or_default();
    let line = |(target, summary): &(String, Summary)| {
        format!("{target:<width$}  {}\n{}", in_short(summary), by_level(summary, width))
    };
    totals.targets.iter().map(line).collect()
}

/// Who asks.
pub(super) fn user(environment: &Environment, target: &str) -> String {
    match (environment.uid, environment.privileged) {
        (0, true) if target == "host" => "real root (--privileged)".to_owned(),
        (0, true) => "real root".to_owned(),
        (0, false) => "root".to_owned(),
        (uid, _) => format!("uid {uid}"),
    }
}

/// What tells `explain` which kernel is simulated, where that is not this machine's.
pub(super) fn simulated_kernel(environment: &Environment) -> String {
    if environment.simulated && environment.version != Environment::of_host(false).version {
        format!(" --kernel {}", environment.version)
    } else {
        String::new()
    }
}

/// What came of that which a specification demands.
fn by_level(summary: &Summary, indent: usize) -> String {
    let line = |(level, counts)| format!("{:indent$}  {level:<6}  {counts}\n", "");
    summary.levels.iter().map(line).collect()
}

fn in_short(summary: &Summary) -> String {
    let Summary { passed, failed, skipped, flaky, .. } = summary;
    let flaky = if *flaky > 0 { format!(" ({flaky} flaky)") } else { String::new() };
    format!("{passed} passed{flaky}, {failed} failed, {skipped} skipped")
}

/// What came of asking each time, with the reasons where they are others than before.
fn attempts(verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut before: &[String] = match verdict.status {
        Status::Flaky => &[],
        _ => verdict.attempts.first().map_or(&[][..], |attempt| &attempt.reasons),
    };
    for (attempt, number) in verdict.attempts.iter().zip(1..) {
        text.push_str(&format!("        attempt {number}: {}\n", attempt.status.word()));
        if attempt.reasons != before {
            let lines = attempt.reasons.iter().map(|reason| format!("          {reason}\n"));
            text.extend(lines);
        }
        before = &attempt.reasons;
    }
    text
}

/// What is missing most, first.
fn most(missing: &BTreeMap<String, u64>) -> String {
    const NAMED: usize = 5;
    let mut sorted: Vec<_> = missing.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let named = sorted.iter().take(NAMED).map(|(what, count)| format!("{what} ({count})"));
    let mut text = named.collect::<Vec<_>>().join(", ");
    if sorted.len() > NAMED {
        text.push_str(&format!(" and {} more", sorted.len() - NAMED));
    }
    text
}

/// Why a case is not as expected: each step with its place and voices, then the rest.
fn explain(judged: &Judged<'_>, colour: bool, kernel: &str) -> String {
    let Judged { case, verdict, witness, .. } = *judged;
    let mut text = String::new();
    for (step, span) in verdict.steps.iter().zip(&case.steps) {
        if !matches!(step.status, StepStatus::Fail | StepStatus::Xpass) {
            continue;
        }
        let why = step.why.clone().unwrap_or_default();
        let diagnostic = Diagnostic::at(&case.source, span.clone(), why).label(voice(step));
        text.push_str(&diagnostic.render(colour));
        text.push('\n');
        text.push_str(&voices(step, witness));
    }
    let of_steps = verdict.steps.iter().filter(|step| step.status.is_told()).count();
    for reason in verdict.reasons.iter().skip(of_steps) {
        text.push_str(&format!("        {reason}\n"));
    }
    if let Recorded::Changed { diff, .. } = &verdict.recorded {
        text.push_str("        - recorded, + observed:\n");
        diff.lines().for_each(|line| text.push_str(&format!("        {line}\n")));
    }
    text.push_str(&attempts(verdict));
    text.push_str(&format!("   next: {}\n", next(judged, kernel)));
    text
}

/// What to do next about a case that is not as expected.
pub(super) fn next(judged: &Judged<'_>, kernel: &str) -> String {
    let Judged { case, verdict, witness, .. } = *judged;
    let failed = |step: &&StepVerdict| matches!(step.status, StepStatus::Fail | StepStatus::Xpass);
    let told = verdict.steps.iter().filter(failed).count();
    let path = case.path.display();
    let subject = if case.is_below_scenarios() { case.id.clone() } else { path.to_string() };
    match &verdict.recorded {
        _ if witness == "model" => format!("nsharness explain {subject}{kernel}"),
        Recorded::New { pending, .. } | Recorded::Changed { pending, .. } if told == 0 => {
            let run = if *pending {
                String::new()
            } else {
                format!("nsharness run {path} --snapshots new, and then ")
            };
            format!("{run}nsharness snap review {path}")
        }
        _ if verdict.steps.iter().any(|step| step.model.is_some()) => {
            format!("nsharness explain {subject}")
        }
        _ => format!("nsharness run {path} --keep evidence"),
    }
}

/// What each voice says of a step.
fn voices(step: &StepVerdict, witness: &str) -> String {
    let mut text = format!("   = expect: {}\n", expected(step));
    if witness != "model" {
        let outcome = step.outcome.as_deref().unwrap_or("no answer");
        text.push_str(&format!("   = {witness}: {outcome}\n"));
    }
    let Some(model) = &step.model else { return text };
    match (&model.outcome, &model.abstained) {
        (Some(outcome), _) => text.push_str(&format!("   = model: {outcome}\n")),
        (None, why) => {
            let why = why.as_deref().unwrap_or("it was not asked");
            text.push_str(&format!("   = model: abstains: {why}\n"));
        }
    }
    for rule in &model.rules {
        text.push_str(&format!("            by {}: {}\n", rule.id, rule.statement));
    }
    text
}

/// What the author expects of a step.
pub(super) fn expected(step: &StepVerdict) -> &str {
    let silence = match &step.model {
        Some(model) if model.outcome.is_some() => "nothing said, so the witnesses decide",
        _ => "nothing said, so ok",
    };
    step.expect.as_deref().unwrap_or(silence)
}

/// What stands beside the caret of a step.
pub(super) fn voice(step: &StepVerdict) -> String {
    match step.status {
        StepStatus::Xpass => "remove `known:` here".to_owned(),
        _ if step.actor == "main" => String::new(),
        _ => format!("taken by {}", step.actor),
    }
}
