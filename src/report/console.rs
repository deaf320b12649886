//! What a person sees: a line a scenario, failures with their place and voices, a summary.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Judged, Reporter, Summary};
use crate::diag::Diagnostic;
use crate::probe::Environment;
use crate::scenario::Case;
use crate::verdict::{Recorded, Status, StepStatus, StepVerdict, Verdict};

/// How much is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verbosity {
    /// Nothing of what passed.
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
        }
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        let out = &mut self.out;
        self.bar.suspend(|| out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }
}

fn style(status: Status) -> Style {
    let colour = match status {
        Status::Pass => AnsiColor::Green,
        Status::Xfail => AnsiColor::Cyan,
        Status::Skip => AnsiColor::Yellow,
        Status::Fail | Status::Xpass | Status::Timeout | Status::Broken => AnsiColor::Red,
    };
    colour.on_default()
}

impl Reporter for Console {
    fn start(&mut self, environment: &Environment, target: &str, cases: usize) -> io::Result<()> {
        let user = match (environment.uid, environment.privileged) {
            (0, true) => "real root (--privileged)".to_owned(),
            (0, false) => "root".to_owned(),
            (uid, _) => format!("uid {uid}"),
        };
        let scenarios = if cases == 1 { "scenario" } else { "scenarios" };
        self.say(&format!(
            "asking Linux {} {} ({target}) as {user}: {cases} {scenarios}\n",
            environment.release, environment.machine
        ))?;
        if io::stderr().is_terminal() {
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
        if self.verbosity.quiet && verdict.status == Status::Pass {
            return Ok(());
        }
        let style = style(verdict.status);
        let mut text =
            format!("{style}{:<8}{style:#}{}  {}\n", verdict.status.word(), case.id, case.title);
        match verdict.status {
            Status::Pass => {}
            Status::Skip if verdict.reasons == self.skipped_for => {}
            Status::Skip | Status::Xfail => {
                verdict
                    .reasons
                    .iter()
                    .for_each(|reason| text.push_str(&format!("        {reason}\n")));
            }
            Status::Fail | Status::Xpass | Status::Timeout | Status::Broken => {
                text.push_str(&explain(case, verdict, self.colour));
            }
        }
        if verdict.status == Status::Skip {
            self.skipped_for.clone_from(&verdict.reasons);
        }
        self.say(&text)
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.bar.finish_and_clear();
        let mut text = String::new();
        for file in &summary.stray_snapshots {
            text.push_str(&format!(
                "warning: {file}: no scenario has this snapshot (nsharness snap prune)\n"
            ));
        }
        let details = [
            (summary.xfailed, "failed as known (counted as passed)"),
            (summary.xpassed, "passed though known to fail"),
            (summary.timeouts, "not ended in time"),
            (summary.broken, "broken, so not answered"),
            (summary.not_run, "not run"),
        ];
        let details: Vec<_> = details
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !details.is_empty() {
            text.push_str(&format!("of these: {}\n", details.join(", ")));
        }
        if summary.interrupted {
            text.push_str("interrupted: the report ends here\n");
        }
        text.push_str(&format!(
            "summary: {} passed, {} failed, {} skipped\n",
            summary.passed, summary.failed, summary.skipped
        ));
        self.say(&text)
    }
}

/// Why a case is not as expected: each step with its place and voices, then the rest.
fn explain(case: &Case, verdict: &Verdict, colour: bool) -> String {
    let mut text = String::new();
    let mut told = 0;
    for (step, info) in verdict.steps.iter().zip(&case.steps) {
        if !matches!(step.status, StepStatus::Fail | StepStatus::Xpass) {
            continue;
        }
        told += 1;
        let why = step.why.clone().unwrap_or_default();
        let diagnostic = Diagnostic::at(&case.source, info.span.clone(), why).label(voice(step));
        text.push_str(&diagnostic.render(colour));
        text.push('\n');
        let expect = step.expect.as_deref().unwrap_or("nothing said, so ok");
        text.push_str(&format!("   = expect: {expect}\n"));
        text.push_str(&format!(
            "   = kernel: {}\n",
            step.outcome.as_deref().unwrap_or("no answer")
        ));
    }
    for reason in verdict.reasons.iter().skip(told) {
        text.push_str(&format!("        {reason}\n"));
    }
    if let Recorded::Changed { diff, .. } = &verdict.recorded {
        text.push_str("        - recorded, + observed:\n");
        diff.lines().for_each(|line| text.push_str(&format!("        {line}\n")));
    }
    let path = case.path.display();
    let next = match &verdict.recorded {
        Recorded::New { pending, .. } | Recorded::Changed { pending, .. } if told == 0 => {
            let run = if *pending {
                String::new()
            } else {
                format!("nsharness run {path} --snapshots new, and then ")
            };
            format!("{run}nsharness snap review {path}")
        }
        _ => format!("nsharness run {path} --keep evidence"),
    };
    text.push_str(&format!("   next: {next}\n"));
    text
}

fn voice(step: &StepVerdict) -> String {
    match step.status {
        StepStatus::Xpass => "remove `known:` here".to_owned(),
        _ if step.actor == "main" => String::new(),
        _ => format!("taken by {}", step.actor),
    }
}
