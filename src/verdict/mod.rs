//! What witnesses answered, held against what the author expects, against each other, and against
//! what was recorded before.

pub mod agreement;
mod attempts;
pub mod chance;
mod matching;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::missing::Missing;
use crate::model::Prediction;
use crate::model::rules::Rule;
use crate::scenario::Case;
use crate::scenario::condition::Answers;
use crate::scenario::observe::Observe;
use crate::target::Answer;
use crate::transcript::{Breakage, End, Outcome, Transcript};

use agreement::{Agreement, Agrees};
pub use attempts::{Attempt, Attempts};
pub use matching::resolve;
pub use steps::{ModelVoice, StepStatus, StepVerdict};

/// What came of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// It was not as expected at first, and was when it was asked again.
    Flaky,
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
            Self::Flaky => "flaky",
        }
    }

    /// Whether something was answered otherwise than it is documented.
    pub fn deviates(self) -> bool {
        matches!(self, Self::Fail | Self::Xfail | Self::Timeout)
    }

    /// Whether the exit status tells of it.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Pass | Self::Xfail | Self::Flaky | Self::Skip)
    }
}

/// One observation, with what the model says of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObservationVerdict {
    /// What was observed.
    pub title: String,
    /// Whether kernel and model agree; `None` where only one of them speaks.
    pub agrees: Option<bool>,
    /// How they differ, or why the model abstains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The rules that the model cites.
    pub rules: Vec<&'static Rule>,
    /// What was found.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub found: serde_json::Value,
    /// The system call that failed instead, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Why it is known to differ, and where that can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
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
    /// The rules that made the world what it is.
    pub world: Vec<&'static Rule>,
    /// Every step.
    pub steps: Vec<StepVerdict>,
    /// Every observation that was made.
    pub observations: Vec<ObservationVerdict>,
    /// How the observations compare.
    pub recorded: Recorded,
    /// The transcript, where there is one.
    pub transcript: Option<Transcript>,
    /// Where the model abstains, and why: as many as there are steps and observations.
    pub abstained: Vec<String>,
    /// The rules cited that say otherwise than documentation or POSIX: known deviations.
    pub quirks: Vec<&'static Rule>,
    /// What came of asking each time, where it was asked more than once.
    pub attempts: Vec<Attempt>,
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
            world: Vec::new(),
            steps: Vec::new(),
            observations: Vec::new(),
            recorded: Recorded::Nothing,
            transcript: None,
            abstained: Vec::new(),
            quirks: Vec::new(),
            attempts: Vec::new(),
        }
    }
}

/// Who speaks of a case beside its author.
struct Voices {
    /// Who the first of them is.
    name: String,
    kernel: Option<Transcript>,
    model: Option<Prediction>,
    /// Where both speak, whether they say the same.
    agreement: Option<Agreement>,
}

impl Voices {
    fn of(name: &str, kernel: Option<Transcript>, model: Option<Prediction>) -> Self {
        let name = name.to_owned();
        let mut voices = Self { name, kernel, model, agreement: None };
        if let (Some(kernel), Some(model)) = (&voices.kernel, &voices.model) {
            voices.agreement = Some(Agreement::with(&voices.name, kernel, &model.transcript));
        }
        // Only now: what the model leaves out would shift the numbers of what it says.
        voices.kernel.iter_mut().for_each(Transcript::normalise);
        voices.model.iter_mut().for_each(|model| model.transcript.normalise());
        voices
    }

    /// Whose answer is the case's: the kernel's, and the model's where no kernel was asked.
    fn first(&self) -> Option<&Transcript> {
        self.kernel.as_ref().or(self.model.as_ref().map(|model| &model.transcript))
    }

    fn into_first(self) -> Option<Transcript> {
        self.kernel.or(self.model.map(|model| model.transcript))
    }
}

/// Judges the answer to a case, with a second voice where the model was asked too; `record` compares
/// its observations with the recorded ones.
pub fn judge(
    case: &Case,
    environment: &dyn Answers,
    answer: Answer,
    second: Option<Prediction>,
    record: impl FnOnce(&Transcript) -> Recorded,
) -> Verdict {
    let (kernel, mut model) = match answer {
        Answer::Missing(missing) if missing.is_empty() => {
            return Verdict::broken("it was not asked, and nobody says why".into());
        }
        Answer::Missing(missing) => return Verdict::skip(missing),
        Answer::Asked(transcript) => (Some(*transcript), second),
        Answer::All(_) => return Verdict::broken("it was answered as if it were many".into()),
        Answer::Predicted(prediction) => (None, Some(*prediction)),
    };
    let mut abstained = Vec::new();
    if let Some(why) = model.as_ref().and_then(Prediction::abstains).map(ToString::to_string) {
        let parts = case.plan.steps.len() + case.plan.observe.len();
        abstained = vec![why.clone(); parts.max(1)];
        if kernel.is_none() {
            let missing = Missing::new("a model of this", why, "ask a kernel: nsharness run");
            return Verdict { abstained, ..Verdict::skip(vec![missing]) };
        }
        model = None;
    }
    let voices = Voices::of(environment.voice(), kernel, model);
    let Some(first) = voices.first() else { return Verdict::skip(Vec::new()) };
    let mut verdict = Verdict {
        status: Status::Pass,
        steps: steps::judge(case, environment, &voices),
        observations: judge_observations(case, environment, &voices),
        abstained,
        world: voices.model.as_ref().map_or_else(Vec::new, |model| model.world.clone()),
        quirks: voices.model.as_ref().map_or_else(Vec::new, quirks),
        ..Verdict::skip(Vec::new())
    };
    verdict.collect(&voices.name);
    verdict.status = verdict.status_at(first, case, voices.kernel.is_some());
    let silent = |found: &Result<_, Outcome>| matches!(found, Err(Outcome::Abstained(_)));
    if matches!(first.end, End::Completed)
        && verdict.status != Status::Broken
        && !first.observations.iter().any(|observation| silent(&observation.found))
    {
        verdict.recorded = record(first);
    }
    for complaint in [voices.world_disagreement(), verdict.recorded.complaint()] {
        verdict.complain(complaint);
    }
    verdict.transcript = voices.into_first();
    verdict.skip_if_nothing_was_said();
    verdict
}

/// What a transcript lacks that says it came to the end. A model abstains; whoever does it for real cannot.
fn left_out(transcript: &Transcript, case: &Case, is_kernel: bool) -> Option<String> {
    let Transcript { outcomes, observations, .. } = transcript;
    let (answered, steps) = (outcomes.len(), case.plan.steps.len());
    if answered != steps {
        return Some(format!("{answered} of {steps} steps were answered"));
    }
    let wanted: usize = case.plan.observe.iter().map(Observe::count).sum();
    if observations.len() != wanted {
        return Some(format!("{} of {wanted} observations were made", observations.len()));
    }
    let found = observations.iter().filter_map(|observation| observation.found.as_ref().err());
    let abstains = outcomes.iter().chain(found).find_map(|outcome| match outcome {
        Outcome::Abstained(why) => Some(why),
        _ => None,
    });
    abstains.filter(|_| is_kernel).map(|why| format!("it was asked and gives no answer: {why}"))
}

/// The words before what kernel and model say of the same thing.
fn disagree(voice: &str) -> String {
    format!("{voice} and model disagree")
}

/// The rules cited that are quirks, each once, in their order.
fn quirks(prediction: &Prediction) -> Vec<&'static Rule> {
    let mut seen = BTreeSet::new();
    prediction
        .world
        .iter()
        .chain(prediction.steps.iter().flatten())
        .chain(prediction.observations.iter().flatten())
        .filter(|rule| rule.quirk.is_some() && seen.insert(rule.id))
        .copied()
        .collect()
}

fn judge_observations(
    case: &Case,
    environment: &dyn Answers,
    voices: &Voices,
) -> Vec<ObservationVerdict> {
    let Some(first) = voices.first() else { return Vec::new() };
    // One item of `observe` may come to several observations: the same rules decide them.
    let mut items = case
        .plan
        .observe
        .iter()
        .enumerate()
        .flat_map(|(index, item)| std::iter::repeat_n(index, item.count()));
    let mut verdicts = Vec::with_capacity(first.observations.len());
    for (index, observation) in first.observations.iter().enumerate() {
        let item = items.next().unwrap_or(usize::MAX);
        let cited = voices.model.as_ref().and_then(|model| model.observations.get(item).cloned());
        let agrees = voices.agreement.as_ref().and_then(|all| all.observations.get(index));
        let (agrees, why) = match (agrees, &observation.found) {
            (Some(Agrees::Yes), _) => (Some(true), None),
            (Some(Agrees::No(how)), _) => (Some(false), Some(how.clone())),
            (Some(Agrees::Abstained(why)), _) | (None, Err(Outcome::Abstained(why))) => {
                (None, Some(why.clone()))
            }
            (None, _) => (None, None),
        };
        let (found, failed) = match &observation.found {
            Ok(value) => (json(value), None),
            Err(outcome) => (serde_json::Value::Null, Some(outcome.to_string())),
        };
        verdicts.push(ObservationVerdict {
            title: observation.title.clone(),
            agrees,
            why,
            rules: cited.unwrap_or_default(),
            found,
            failed,
            known: case
                .known
                .iter()
                .find(|(at, known)| *at == item && known.is_of(environment))
                .map(|(_, known)| format!("{} ({})", known.reason, known.reference)),
        });
    }
    let made = voices.agreement.iter().flat_map(|all| &all.observations);
    for alone in made.skip(first.observations.len()) {
        if let Agrees::No(why) = alone {
            verdicts.push(ObservationVerdict {
                title: "observations".to_owned(),
                agrees: Some(false),
                why: Some(why.clone()),
                rules: Vec::new(),
                found: serde_json::Value::Null,
                failed: None,
                known: None,
            });
        }
    }
    verdicts
}

impl Voices {
    /// A world that stands for one of the two and not for the other.
    fn world_disagreement(&self) -> Option<String> {
        let (kernel, model) = (self.kernel.as_ref()?, self.model.as_ref()?);
        match (&kernel.end, &model.transcript.end) {
            (End::Completed | End::TimedOut, End::Broke(breakage)) => Some(format!(
                "{}: the model says that the world cannot be set up: {breakage}",
                disagree(&self.name)
            )),
            // A sandbox or worker that broke says nothing of the world; nor does an actor that ended, of which no more
            // is told than its name.
            (End::Broke(Breakage { stage, .. }), End::Completed)
                if stage.starts_with("world")
                    || stage.starts_with("actor ") && stage.contains(": ") =>
            {
                let disagree = disagree(&self.name);
                Some(format!("{disagree}: the model says that the world can be set up"))
            }
            _ => None,
        }
    }
}

impl Recorded {
    fn complaint(&self) -> Option<String> {
        match self {
            Self::Nothing | Self::Same => None,
            Self::New { file, .. } => {
                Some(format!("the observations were never recorded: {file} is new"))
            }
            Self::Changed { file, .. } => Some(format!("the observations differ from {file}")),
            Self::Unreadable { file, why } => Some(format!("{file}: {why}")),
        }
    }
}

impl Verdict {
    /// Collects what steps and observations say: why it is not a pass, where the model abstains.
    fn collect(&mut self, voice: &str) {
        for step in &self.steps {
            let place = || format!("line {}: {}", step.line, step.operation);
            if let (true, Some(why)) = (step.status.is_told(), &step.why) {
                self.reasons.push(format!("{}: {why}", place()));
            }
            if let Some(why) = step.model.as_ref().and_then(|model| model.abstained.as_ref()) {
                self.abstained.push(format!("{}: {why}", place()));
            }
        }
        for ObservationVerdict { title, agrees, why, known, .. } in &self.observations {
            match (agrees, why, known) {
                (Some(false), _, Some(known)) => self.reasons.push(format!("{title}: {known}")),
                (Some(false), Some(why), None) => {
                    self.reasons.push(format!("{title}: {}: {why}", disagree(voice)))
                }
                (Some(true), _, Some(known)) => {
                    self.reasons.push(format!("{title}: no longer deviates as known ({known})"));
                }
                (None, Some(why), _) => self.abstained.push(format!("{title}: {why}")),
                _ => {}
            }
        }
    }

    /// The status by how far the first voice came, and by what steps and observations say. Who says that it
    /// came to the end is not believed where it leaves something out.
    fn status_at(&mut self, first: &Transcript, case: &Case, is_kernel: bool) -> Status {
        let answered = first.outcomes.len();
        match &first.end {
            End::Completed => match left_out(first, case, is_kernel) {
                None => return self.status_of_parts(),
                Some(why) => self.reasons.push(why),
            },
            End::Broke(breakage) => self.reasons.push(breakage.to_string()),
            End::TimedOut => {
                let limit = case.plan.timeout_ms as f64 / 1000.0;
                let running = match case.plan.steps.get(answered) {
                    Some(step) => {
                        format!("line {}: {} was running", step.line, step.operation.word())
                    }
                    None => "observations were being made".to_owned(),
                };
                self.reasons.push(format!("ended after {limit} s; {running}"));
                return Status::Timeout;
            }
        }
        Status::Broken
    }

    fn status_of_parts(&self) -> Status {
        let has = |status| self.steps.iter().any(|step| step.status == status);
        let observed = |agrees, known| {
            let mut all = self.observations.iter();
            all.any(|one| one.agrees == Some(agrees) && one.known.is_some() == known)
        };
        if has(StepStatus::Fail) || observed(false, false) {
            Status::Fail
        } else if has(StepStatus::Xpass) || observed(true, true) {
            Status::Xpass
        } else if has(StepStatus::Xfail) || observed(false, true) {
            Status::Xfail
        } else {
            Status::Pass
        }
    }

    /// Why its status cannot be what came of its parts, where a report tells it: those who wrote it agree with themselves.
    pub fn contradiction(&self) -> Option<String> {
        if self.status.is_failure() {
            return None;
        }
        let word = self.status.word();
        let failed = |step: &&StepVerdict| {
            matches!(step.status, StepStatus::Fail | StepStatus::Xpass | StepStatus::NotReached)
        };
        if let Some(step) = self.steps.iter().find(failed) {
            return Some(format!("it is said to be {word}, and line {} is not", step.line));
        }
        if self.recorded.complaint().is_some() {
            return Some(format!("it is said to be {word}, and its observations are not"));
        }
        let differs = |one: &&ObservationVerdict| one.agrees == Some(false) && one.known.is_none();
        let differs = self.observations.iter().find(differs);
        differs.map(|one| format!("it is said to be {word}, and {} is not", one.title))
    }

    /// Adds a reason that makes a failure of what would be none.
    fn complain(&mut self, complaint: Option<String>) {
        let Some(complaint) = complaint else { return };
        self.reasons.push(complaint);
        if matches!(self.status, Status::Pass | Status::Xfail) {
            self.status = Status::Fail;
        }
    }

    /// A model that abstained from every step and observation was not asked anything.
    fn skip_if_nothing_was_said(&mut self) {
        let said = self.steps.iter().any(|step| step.status != StepStatus::Abstained)
            || self.observations.iter().any(|observation| observation.why.is_none());
        if said || self.steps.is_empty() || self.status != Status::Pass {
            return;
        }
        let why = self.abstained.first().cloned().unwrap_or_default();
        let missing = Missing::new("a model of this", why, "ask a kernel: nsharness run");
        self.status = Status::Skip;
        self.reasons = vec![missing.to_string()];
        self.missing = vec![missing];
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
            .map(|(name, value)| (name.to_string(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Identity(class, key) => format!("{class}({key})").into(),
    }
}
