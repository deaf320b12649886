//! What several kernels answered, side by side: of one run, or of two that were written down.
//!
//! Both are read from the events of the JSON report, so that what is compared is what is written.

mod cause;
mod difference;
mod rows;

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::Deserialize;
use serde_json::Value;

use crate::missing::Missing;
use crate::report::json::VERSION;
use crate::verdict::{Status, StepStatus};

pub use cause::Cause;
pub use rows::{Line, Row, Skips, rows, skips};

/// The longest line of a report that is read.
const LONGEST: u64 = 64 << 20;

/// What was asked on one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    /// The target.
    pub target: String,
    /// What uname(2) calls the release there; empty where it could not be asked.
    pub kernel: String,
    /// The container runtime that was asked, where one was.
    pub runtime: Option<String>,
    /// What the probes answered.
    pub probes: BTreeMap<String, Option<bool>>,
    /// Why it could not be asked.
    pub unavailable: Option<String>,
    /// The cases, by id.
    pub cases: BTreeMap<String, Told>,
}

/// What came of one case on one target.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Told {
    /// The id of the case.
    pub id: String,
    /// The file of the scenario.
    pub file: String,
    /// Its title.
    pub title: String,
    /// The status.
    pub status: Status,
    /// Why it is not a pass.
    pub reasons: Vec<String>,
    /// What is missing where it is a skip.
    pub missing: Vec<Missing>,
    /// The probes that it depends on.
    pub probes: Vec<String>,
    /// The rules that made its world, by id.
    pub world: Vec<String>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// What was observed.
    pub observations: Vec<Observation>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Step {
    /// The line of the scenario.
    pub line: usize,
    /// What was done.
    pub operation: String,
    /// What came of it.
    pub status: StepStatus,
    /// What the witness answered.
    pub outcome: Option<String>,
    /// The values of the outcome.
    #[serde(default)]
    pub values: Value,
    /// Why the status is so.
    #[serde(default)]
    pub why: Option<String>,
    /// What the model says.
    #[serde(default)]
    pub model: Option<Model>,
}

/// What the model says of a step.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Model {
    /// The rules that it cites, by id.
    pub rules: Vec<String>,
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Observation {
    /// What was observed.
    pub title: String,
    /// What was found.
    #[serde(default)]
    pub found: Value,
    /// The system call that failed instead, and how.
    #[serde(default)]
    pub failed: Option<String>,
    /// The rules that the model cites, by id.
    pub rules: Vec<String>,
}

impl Told {
    /// Whether a witness answered.
    pub fn is_answered(&self) -> bool {
        self.status != Status::Skip && self.steps.iter().any(|step| step.outcome.is_some())
    }
}

/// The events of a report, read one after the other.
#[derive(Debug, Default)]
pub struct Reader {
    /// The targets, in their order.
    pub columns: Vec<Column>,
    /// Whether the summary was read: the report is whole.
    pub is_whole: bool,
}

#[derive(Deserialize)]
struct Target {
    version: u32,
    target: String,
    #[serde(default)]
    kernel: String,
    #[serde(default)]
    runtime: Option<String>,
    #[serde(default)]
    probes: BTreeMap<String, Answer>,
    #[serde(default)]
    missing: Option<Missing>,
    #[serde(default)]
    broke: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    value: Option<bool>,
}

impl Reader {
    /// Takes one event.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn event(&mut self, event: Value) -> Result<(), String> {
        let wrong = |error: serde_json::Error| format!("it is no event of a report: {error}");
        match event.get("event").and_then(Value::as_str).unwrap_or_default() {
            "environment" | "unavailable" => {
                let target: Target = serde_json::from_value(event).map_err(wrong)?;
                if target.version != VERSION {
                    return Err(format!(
                        "it has version {} of the format and this nsharness reads {VERSION}: \
                         write the report again",
                        target.version
                    ));
                }
                let missing = target.missing.map(|missing| missing.to_string());
                self.columns.push(Column {
                    target: target.target,
                    kernel: target.kernel,
                    runtime: target.runtime,
                    probes: target.probes.into_iter().map(|(name, a)| (name, a.value)).collect(),
                    unavailable: missing.or(target.broke),
                    cases: BTreeMap::new(),
                });
            }
            "scenario" => {
                let told: Told = serde_json::from_value(event).map_err(wrong)?;
                let column = self.columns.last_mut();
                let column = column.ok_or("a scenario without a target before it")?;
                column.cases.insert(told.id.clone(), told);
            }
            "summary" => self.is_whole = true,
            "difference" => {}
            _ => return Err("it is no event of a report".to_owned()),
        }
        Ok(())
    }

    /// Reads a whole report.
    ///
    /// # Errors
    /// Where it cannot be read, or is no report.
    pub fn read(input: &mut impl BufRead) -> io::Result<Self> {
        let mut reader = Self::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            io::Read::take(&mut *input, LONGEST).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                break;
            }
            let wrong = |why: String| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {why}"))
            };
            let event = serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?;
            reader.event(event).map_err(wrong)?;
        }
        if !reader.is_whole {
            let why = "it has no summary: the run that wrote it was killed, or is not over";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(reader)
    }
}
