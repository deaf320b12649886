//! JSON lines: one object an event, written as it happens. `docs/json.md` describes them.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Judged, Part, Reporter, Start, Summary, Totals};
use crate::target::Unopened;
use crate::verdict::Recorded;

/// The version of the format: it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 3;

/// Writes JSON lines.
#[derive(Debug)]
pub struct Json<W: Write> {
    out: W,
    /// What the run is about, which a run that dies must have said before.
    part: Value,
}

impl<W: Write> Json<W> {
    /// A reporter that writes here; every line is written at once.
    pub fn new(out: W) -> Self {
        Self { out, part: Value::Null }
    }

    /// Writes an event.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn line(&mut self, event: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

impl<W: Write> Json<W> {
    fn line_of_part(&mut self, mut event: Value) -> io::Result<()> {
        event["part"] = self.part.clone();
        self.line(&event)
    }
}

impl<W: Write> Reporter for Json<W> {
    fn begin(&mut self, part: &Part) -> io::Result<()> {
        self.part = serde_json::to_value(part)?;
        Ok(())
    }

    fn start(&mut self, start: Start<'_>) -> io::Result<()> {
        self.line_of_part(environment(start))
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        self.line(&scenario(judged))
    }

    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()> {
        self.line_of_part(unavailable(target, cases, why))
    }

    fn end(&mut self, totals: &Totals) -> io::Result<()> {
        self.line_of_part(summary(totals))
    }
}

/// The event of a target that is asked.
pub fn environment(start: Start<'_>) -> Value {
    let Start { environment, target, witnesses, cases } = start;
    let program = environment.runtime.as_ref().or(environment.overlay.as_ref());
    json!({
        "event": "environment",
        "version": VERSION,
        "nsharness": env!("CARGO_PKG_VERSION"),
        "target": target,
        "witnesses": witnesses,
        "kernel": environment.release,
        "machine": environment.machine,
        "uid": environment.uid,
        "note": environment.note,
        "runtime": environment.runtime.as_ref().map(ToString::to_string),
        "overlay": environment.overlay.as_ref().map(ToString::to_string),
        "program": program.map(|program| program.path.display().to_string()),
        "privileged": environment.privileged,
        "probes": environment.findings,
        "scenarios": cases,
    })
}

/// The event of a target that cannot be asked.
pub fn unavailable(target: &str, cases: usize, why: &Unopened) -> Value {
    let (missing, broke) = match why {
        Unopened::Missing(missing) => (Some(missing), None),
        Unopened::Broken(why) => (None, Some(why)),
    };
    json!({
        "event": "unavailable",
        "version": VERSION,
        "nsharness": env!("CARGO_PKG_VERSION"),
        "target": target,
        "missing": missing,
        "broke": broke,
        "scenarios": cases,
    })
}

/// The event of a case that was judged.
pub fn scenario(judged: Judged<'_>) -> Value {
    let Judged { case, target, witness, verdict, observed, took } = judged;
    let recorded = match &verdict.recorded {
        Recorded::Nothing => json!(null),
        Recorded::Same => json!({ "state": "same" }),
        Recorded::New { file, pending } => {
            json!({ "state": "new", "file": file, "pending": pending })
        }
        Recorded::Changed { file, diff, pending } => {
            json!({ "state": "changed", "file": file, "diff": diff, "pending": pending })
        }
        Recorded::Unreadable { file, why } => {
            json!({ "state": "unreadable", "file": file, "why": why })
        }
    };
    json!({
        "event": "scenario",
        "id": case.id,
        "file": case.path.display().to_string(),
        "title": case.title,
        "level": case.level,
        "plain": case.plain,
        "tags": case.tags,
        "target": target,
        "witness": witness,
        "status": verdict.status,
        "reasons": verdict.reasons,
        "missing": verdict.missing,
        "attempts": verdict.attempts,
        "probes": case.probes,
        "world": verdict.world,
        "steps": verdict.steps,
        "excerpts": case.excerpts(verdict),
        "observations": verdict.observations,
        "abstained": verdict.abstained,
        "quirks": verdict.quirks,
        "observed": observed,
        "snapshot": recorded,
        "seconds": (took.as_secs_f64() * 1e6).round() / 1e6,
    })
}

fn summary(totals: &Totals) -> Value {
    let mut event = json!({
        "event": "summary",
        "version": VERSION,
        "nsharness": env!("CARGO_PKG_VERSION"),
    });
    extend(&mut event, &totals.all);
    event["problems"] = json!(totals.problems);
    let targets = totals.targets.iter().map(|(target, summary)| {
        let mut one = json!({ "target": target });
        extend(&mut one, summary);
        one
    });
    event["targets"] = targets.collect();
    event
}

fn extend(object: &mut Value, summary: &Summary) {
    if let (Some(object), Ok(Value::Object(fields))) =
        (object.as_object_mut(), serde_json::to_value(summary))
    {
        object.extend(fields);
    }
}
