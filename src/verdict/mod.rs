//! A transcript held against what the author expects and what was recorded before.

mod matching;

use serde::Serialize;

use crate::missing::Missing;
use crate::scenario::Case;
use crate::scenario::condition::Answers;
use crate::transcript::{End, Outcome, Transcript};
use crate::worker::Answer;

use matching::{matches, resolve};

/// What came of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything was as expected.
    Pass,
    /// Something was not.
    Fail,
    /// It failed just as it is known to.
    Xfail,
    /// It did not fail though it is known to: the entry is out of date.
    Xpass,
    /// It cannot be asked here.
    Skip,
    /// The sandbox, the world or the worker broke: nobody was asked to the end.
    Broken,
    /// It did not end in its time.
    Timeout,
}

impl Status {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Xfail => "xfail",
            Self::Xpass => "xpass",
            Self::Skip => "skip",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
        }
    }
}

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// As expected.
    Pass,
    /// Not as expected.
    Fail,
    /// Not as expected, and known not to be.
    Xfail,
    /// As expected, and known not to be.
    Xpass,
    /// Not taken: what came before broke or took all the time.
    NotReached,
}

/// One step, with what each voice said.
#[derive(Clone, Debug, Serialize)]
pub struct StepVerdict {
    /// The line of the scenario file.
    pub line: usize,
    /// Who took it.
    pub actor: String,
    /// What was done.
    pub operation: &'static str,
    /// What came of it.
    pub status: StepStatus,
    /// What the author expects; `None` where nothing was said.
    pub expect: Option<String>,
    /// What the witness answered.
    pub outcome: Option<String>,
    /// What differs, or why it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The values of the outcome.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub values: serde_json::Value,
}

/// How the observations compare with the recorded ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The scenario observes nothing.
    Nothing,
    /// They are the same.
    Same,
    /// There is no record yet.
    New {
        /// The file that would hold it.
        file: String,
        /// Whether it was written for review.
        pending: bool,
    },
    /// They differ.
    Changed {
        /// The file that holds the record.
        file: String,
        /// Both, line by line.
        diff: String,
        /// Whether the new one was written for review.
        pending: bool,
    },
    /// The record cannot be read.
    Unreadable {
        /// The file that holds the record.
        file: String,
        /// Why.
        why: String,
    },
}

/// What came of one case, and why.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The status.
    pub status: Status,
    /// Why it is not a pass, in sentences.
    pub reasons: Vec<String>,
    /// What is missing, where it is a skip.
    pub missing: Vec<Missing>,
    /// Every step.
    pub steps: Vec<StepVerdict>,
    /// How the observations compare.
    pub recorded: Recorded,
    /// The transcript, where there is one.
    pub transcript: Option<Transcript>,
}

impl Verdict {
    /// A case of which it is not even known whether it can be asked.
    pub fn broken(why: String) -> Self {
        Self { status: Status::Broken, reasons: vec![why], ..Self::skip(Vec::new()) }
    }

    /// A case that cannot be asked here.
    pub fn skip(missing: Vec<Missing>) -> Self {
        Self {
            status: Status::Skip,
            reasons: missing.iter().map(ToString::to_string).collect(),
            missing,
            steps: Vec::new(),
            recorded: Recorded::Nothing,
            transcript: None,
        }
    }
}

/// Judges the answer to a case; `record` compares its observations with the recorded ones.
pub fn judge(
    case: &Case,
    environment: &dyn Answers,
    answer: Answer,
    record: impl FnOnce(&Transcript) -> Recorded,
) -> Verdict {
    let mut transcript = match answer {
        Answer::Missing(missing) => return Verdict::skip(missing),
        Answer::Asked(transcript) => *transcript,
    };
    transcript.normalise();
    let steps = judge_steps(case, environment, &transcript);
    let mut reasons = Vec::new();
    for step in &steps {
        let place = format!("line {}: {}", step.line, step.operation);
        let told = matches!(step.status, StepStatus::Fail | StepStatus::Xfail | StepStatus::Xpass);
        if let (true, Some(why)) = (told, &step.why) {
            reasons.push(format!("{place}: {why}"));
        }
    }
    let mut recorded = Recorded::Nothing;
    let has = |status| steps.iter().any(|step| step.status == status);
    let mut status = match &transcript.end {
        End::Completed if transcript.outcomes.len() != case.plan.steps.len() => {
            reasons.push(format!(
                "{} of {} steps were answered",
                transcript.outcomes.len(),
                case.plan.steps.len()
            ));
            Status::Broken
        }
        End::Broke(breakage) => {
            reasons.push(breakage.to_string());
            Status::Broken
        }
        End::TimedOut => {
            let limit = case.plan.timeout_ms as f64 / 1000.0;
            let running = match case.plan.steps.get(transcript.outcomes.len()) {
                Some(step) => format!("line {}: {} was running", step.line, step.operation.word()),
                None => "observations were being made".to_owned(),
            };
            reasons.push(format!("ended after {limit} s; {running}"));
            Status::Timeout
        }
        End::Completed => {
            recorded = record(&transcript);
            if has(StepStatus::Fail) {
                Status::Fail
            } else if has(StepStatus::Xpass) {
                Status::Xpass
            } else if has(StepStatus::Xfail) {
                Status::Xfail
            } else {
                Status::Pass
            }
        }
    };
    let complaint = match &recorded {
        Recorded::Nothing | Recorded::Same => None,
        Recorded::New { file, .. } => {
            Some(format!("the observations were never recorded: {file} is new"))
        }
        Recorded::Changed { file, .. } => Some(format!("the observations differ from {file}")),
        Recorded::Unreadable { file, why } => Some(format!("{file} cannot be read: {why}")),
    };
    if let Some(complaint) = complaint {
        reasons.push(complaint);
        if matches!(status, Status::Pass | Status::Xfail) {
            status = Status::Fail;
        }
    }
    Verdict { status, reasons, missing: Vec::new(), steps, recorded, transcript: Some(transcript) }
}

fn judge_steps(
    case: &Case,
    environment: &dyn Answers,
    transcript: &Transcript,
) -> Vec<StepVerdict> {
    let mut steps = Vec::with_capacity(case.plan.steps.len());
    for (index, (planned, info)) in case.plan.steps.iter().zip(&case.steps).enumerate() {
        let mut step = StepVerdict {
            line: planned.line,
            actor: planned.actor.to_string(),
            operation: planned.operation.word(),
            status: StepStatus::NotReached,
            expect: None,
            outcome: None,
            why: None,
            values: serde_json::Value::Null,
        };
        if let Some(outcome) = transcript.outcomes.get(index) {
            let earlier = |name: &crate::scenario::scalar::Name| {
                let at =
                    case.steps.iter().take(index).position(|s| s.label.as_ref() == Some(name))?;
                transcript.outcomes.get(at)
            };
            let expect = info.expect.as_ref().and_then(|expect| resolve(expect, environment));
            step.expect = expect.map(ToString::to_string);
            step.outcome = Some(outcome.to_string());
            step.values = values(outcome);
            let held = match expect {
                Some(expect) => matches(expect, outcome, &earlier),
                None if matches!(outcome, Outcome::Ok(_)) => Ok(()),
                None => Err(format!("{outcome}, and nothing says that it may fail")),
            };
            let known = info.known.as_ref().filter(|known| known.when.holds(environment));
            (step.status, step.why) = match (held, known) {
                (Ok(()), None) => (StepStatus::Pass, None),
                (Ok(()), Some(known)) => {
                    let why = format!(
                        "no longer deviates as known ({}; {})",
                        known.reason, known.reference
                    );
                    (StepStatus::Xpass, Some(why))
                }
                (Err(why), None) => (StepStatus::Fail, Some(why)),
                (Err(why), Some(known)) => match matches(&known.outcome, outcome, &earlier) {
                    Ok(()) => {
                        (StepStatus::Xfail, Some(format!("{} ({})", known.reason, known.reference)))
                    }
                    Err(_) => (
                        StepStatus::Fail,
                        Some(format!("{why}; and it is known as {}", known.outcome)),
                    ),
                },
            };
        }
        steps.push(step);
    }
    steps
}

fn values(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Ok(values) if !values.is_empty() => values
            .iter()
            .map(|(name, value)| (name.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => serde_json::Value::Null,
    }
}

/// A value as plain JSON.
pub fn json(value: &crate::transcript::Value) -> serde_json::Value {
    use crate::transcript::Value;
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Number(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(json).collect::<Vec<_>>().into(),
        Value::Map(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Identity(class, key) => format!("{class}({key})").into(),
    }
}
