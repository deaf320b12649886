//! JSON lines: one object an event, written as it happens. `docs/json.md` describes them.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::{Judged, Reporter, Start, Summary, Totals};
use crate::snapshot;
use crate::target::Unopened;
use crate::verdict::Recorded;

/// The version of the format: it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 3;

/// Writes JSON lines.
#[derive(Debug)]
pub struct Json<W: Write> {
    out: W,
}

impl<W: Write> Json<W> {
    /// A reporter that writes here; every line is written at once.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    fn line(&mut self, event: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

impl<W: Write> Reporter for Json<W> {
    fn start(&mut self, start: Start<'_>) -> io::Result<()> {
        let Start { environment, target, witnesses, cases } = start;
        self.line(&json!({
            "event": "environment",
            "version": VERSION,
            "nsharness": env!("CARGO_PKG_VERSION"),
            "target": target,
            "witnesses": witnesses,
            "kernel": environment.release,
            "machine": environment.machine,
            "uid": environment.uid,
            "privileged": environment.privileged,
            "probes": environment.findings,
            "scenarios": cases,
        }))
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        let Judged { case, target, witness, verdict, took } = judged;
        let observed =
            verdict.transcript.as_ref().map(snapshot::render).filter(|text| !text.is_empty());
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
        self.line(&json!({
            "event": "scenario",
            "id": case.id,
            "file": case.path.display().to_string(),
            "title": case.title,
            "tags": case.tags,
            "target": target,
            "witness": witness,
            "status": verdict.status,
            "reasons": verdict.reasons,
            "missing": verdict.missing,
            "steps": verdict.steps,
            "observations": verdict.observations,
            "abstained": verdict.abstained,
            "quirks": verdict.quirks,
            "observed": observed,
            "snapshot": recorded,
            "seconds": (took.as_secs_f64() * 1e6).round() / 1e6,
        }))
    }

    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()> {
        let (missing, broke) = match why {
            Unopened::Missing(missing) => (Some(missing), None),
            Unopened::Broken(why) => (None, Some(why)),
        };
        self.line(&json!({
            "event": "unavailable",
            "version": VERSION,
            "nsharness": env!("CARGO_PKG_VERSION"),
            "target": target,
            "missing": missing,
            "broke": broke,
            "scenarios": cases,
        }))
    }

    fn end(&mut self, totals: &Totals) -> io::Result<()> {
        let mut event = json!({ "event": "summary" });
        extend(&mut event, &totals.all);
        let targets = totals.targets.iter().map(|(target, summary)| {
            let mut one = json!({ "target": target });
            extend(&mut one, summary);
            one
        });
        event["targets"] = targets.collect();
        self.line(&event)
    }
}

fn extend(object: &mut serde_json::Value, summary: &Summary) {
    if let (Some(object), Ok(serde_json::Value::Object(fields))) =
        (object.as_object_mut(), serde_json::to_value(summary))
    {
        object.extend(fields);
    }
}
