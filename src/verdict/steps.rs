//! One step, judged by what each voice says of it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Voices;
use super::agreement::{Agrees, KERNEL};
use super::matching::{matches, resolve};
use crate::model::rules::{self, Rule};
use crate::scenario::Case;
use crate::scenario::condition::Answers;
use crate::scenario::expect::{Expect, Known};
use crate::scenario::operation::Operation;
use crate::scenario::scalar::Name;
use crate::transcript::{Outcome, Transcript};

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// As expected; where nothing is expected, as kernel and model agree.
    Pass,
    /// Not as expected, or the witnesses disagree.
    Fail,
    /// Not as expected, and known not to be.
    Xfail,
    /// As expected, and known not to be.
    Xpass,
    /// Only the model was asked, and it abstains.
    Abstained,
    /// Not taken: what came before broke or took all the time.
    NotReached,
}

impl StepStatus {
    /// Whether why it is so is among the reasons of its case.
    pub fn is_told(self) -> bool {
        matches!(self, Self::Fail | Self::Xfail | Self::Xpass)
    }
}

/// One step, with what each voice said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepVerdict {
    /// The line of the scenario file.
    pub line: usize,
    /// Who took it.
    pub actor: String,
    /// What was done.
    pub operation: String,
    /// What came of it.
    pub status: StepStatus,
    /// What the author expects; `None` where nothing was said.
    pub expect: Option<String>,
    /// What the witness answered.
    pub outcome: Option<String>,
    /// What differs, or why it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The values of the outcome.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub values: serde_json::Value,
    /// What the model says, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelVoice>,
}

/// What the model says of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelVoice {
    /// Its outcome; `None` where it abstains.
    pub outcome: Option<String>,
    /// Why it abstains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abstained: Option<String>,
    /// The values of its outcome.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub values: serde_json::Value,
    /// Whether the kernel answered the same; `None` where no kernel was asked or the model abstains.
    pub agrees: Option<bool>,
    /// The rules that it cites.
    pub rules: Vec<&'static Rule>,
}

impl Serialize for Rule {
    /// By its id: `nsharness rules --json` says the rest.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id)
    }
}

impl<'de> Deserialize<'de> for &'static Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        rules::find(&id).ok_or_else(|| de::Error::custom(format_args!("there is no rule `{id}`")))
    }
}

/// One witness, at one step.
#[derive(Clone, Copy)]
struct Witness<'a> {
    case: &'a Case,
    transcript: &'a Transcript,
    index: usize,
    outcome: &'a Outcome,
}

impl<'a> Witness<'a> {
    fn at(case: &'a Case, transcript: Option<&'a Transcript>, index: usize) -> Option<Self> {
        let transcript = transcript?;
        Some(Self { case, transcript, index, outcome: transcript.outcomes.get(index)? })
    }

    /// Whether its outcome is what is expected; if not, how it differs.
    fn holds(&self, expect: &Expect) -> Result<(), String> {
        let earlier = |name: &Name| {
            let steps = &mut self.case.steps.iter().take(self.index);
            let at = steps.position(|step| step.label.as_ref() == Some(name))?;
            self.transcript.outcomes.get(at)
        };
        matches(expect, self.outcome, &earlier)
    }

    /// The same, where nothing is known to deviate: who was killed has refused nothing, unless that is what is expected.
    fn holds_by_itself(&self, expect: &Expect) -> Result<(), String> {
        if matches!(expect, Expect::Refused(None)) && self.outcome.is_of_killed() {
            return Err(format!("expected {expect}, found {}: it was killed", self.outcome));
        }
        self.holds(expect)
    }

    fn succeeded(&self) -> bool {
        matches!(self.outcome, Outcome::Ok(_))
    }
}

/// What is said of one step.
struct Said<'a> {
    expect: Option<&'a Expect>,
    known: Option<&'a Known>,
    /// How the kernel is known to deviate, where a program answers in its place.
    of_kernel: Option<&'a Known>,
    kernel: Option<Witness<'a>>,
    model: Option<Witness<'a>>,
    agrees: Option<&'a Agrees>,
    through_runtime: bool,
    voice: &'a str,
}

type Judgement = (StepStatus, Option<String>);

/// Judges every step of a case.
pub fn judge(case: &Case, environment: &dyn Answers, voices: &Voices) -> Vec<StepVerdict> {
    let model = voices.model.as_ref();
    let mut steps = Vec::with_capacity(case.plan.steps.len());
    let mut has_container = true;
    for (index, (planned, info)) in case.plan.steps.iter().zip(&case.steps).enumerate() {
        let said = Said {
            expect: info.expect.as_ref().and_then(|expect| resolve(expect, environment)),
            known: info.known.iter().find(|known| known.is_of(environment)),
            of_kernel: info
                .known
                .iter()
                .find(|known| known.when.overlay.is_none() && known.when.holds(environment))
                .filter(|_| environment.overlay().is_some()),
            kernel: Witness::at(case, voices.kernel.as_ref(), index),
            model: Witness::at(case, model.map(|model| &model.transcript), index),
            agrees: voices.agreement.as_ref().and_then(|all| all.steps.get(index)),
            through_runtime: environment.runtime().is_some(),
            voice: environment.voice(),
        };
        let first = if voices.kernel.is_some() { said.kernel } else { said.model };
        let (status, why) = match (said.kernel, said.model) {
            // Nothing can be said of a container that is known not to be made.
            _ if !has_container => (StepStatus::NotReached, None),
            (Some(kernel), _) => said.judge_kernel(kernel),
            (None, Some(model)) if voices.kernel.is_none() => said.judge_model(model),
            _ => (StepStatus::NotReached, None),
        };
        let is_refused = matches!(first, Some(Witness { outcome: Outcome::Refused { .. }, .. }));
        let is_created = matches!(planned.operation, Operation::Create(_));
        has_container &= !(is_created && is_refused && status == StepStatus::Xfail);
        let first = first.map(|witness| witness.outcome.in_short());
        steps.push(StepVerdict {
            line: planned.line,
            actor: planned.actor.to_string(),
            operation: planned.operation.word().to_owned(),
            status,
            expect: said.expect.map(ToString::to_string),
            outcome: first.as_ref().map(ToString::to_string),
            why,
            values: first.as_ref().map_or(serde_json::Value::Null, values),
            model: said.model.map(|model| {
                let rules = voices.model.as_ref().and_then(|all| all.steps.get(index).cloned());
                ModelVoice::of(model.outcome, said.agrees, rules.unwrap_or_default())
            }),
        });
    }
    steps
}

impl ModelVoice {
    fn of(outcome: &Outcome, agrees: Option<&Agrees>, rules: Vec<&'static Rule>) -> Self {
        let outcome = &outcome.in_short();
        let (said, abstained) = match outcome {
            Outcome::Abstained(why) => (None, Some(why.clone())),
            outcome => (Some(outcome.to_string()), None),
        };
        let agrees = match agrees {
            Some(Agrees::Yes) => Some(true),
            Some(Agrees::No(_)) => Some(false),
            Some(Agrees::Abstained(_)) | None => None,
        };
        Self { outcome: said, abstained, values: values(outcome), agrees, rules }
    }
}

/// What documentation says where an author says nothing but that the kernel deviates.
static SUCCESS: Expect = Expect::Ok;

impl Said<'_> {
    /// The kernel answered, and perhaps the model too.
    fn judge_kernel(&self, kernel: Witness<'_>) -> Judgement {
        if let Some(known) = self.known {
            return self.judge_known(kernel, known);
        }
        if let (Some(known), Some(model)) = (self.of_kernel, self.model)
            && kernel.holds(self.expect.unwrap_or(&SUCCESS)).is_ok()
            && model.holds(&known.outcome).is_ok()
        {
            // The model says what the kernel does otherwise, and the program does what is documented.
            return (StepStatus::Pass, None);
        }
        let Some(expect) = self.expect else { return self.judge_silence(kernel) };
        match (kernel.holds_by_itself(expect), self.agrees) {
            (Ok(()), Some(Agrees::No(how))) => {
                (StepStatus::Fail, Some(format!("{}: {how}", super::disagree(self.voice))))
            }
            (Ok(()), _) => (StepStatus::Pass, None),
            (Err(why), _) => (StepStatus::Fail, Some(format!("{}: {why}", self.headline(expect)))),
        }
    }

    /// Which of the voices differ, where the kernel is not what the author expects.
    fn headline(&self, expect: &Expect) -> String {
        let voice = self.voice;
        let the = if voice == KERNEL { "the " } else { "" };
        match (self.agrees, self.model) {
            (Some(Agrees::Yes), _) => format!("{voice} and model disagree with expect"),
            (Some(Agrees::No(_)), Some(model)) if model.holds(expect).is_ok() => {
                format!("{the}{voice} disagrees with expect and model")
            }
            (Some(Agrees::No(_)), _) => format!("{voice}, model and expect all disagree"),
            _ if self.through_runtime => "runtime and expect disagree".to_owned(),
            _ => format!("{voice} and expect disagree"),
        }
    }

    /// The author says nothing: the witnesses decide among themselves, and one alone must not hide a
    /// failure.
    fn judge_silence(&self, kernel: Witness<'_>) -> Judgement {
        match self.agrees {
            Some(Agrees::Yes) => (StepStatus::Pass, None),
            Some(Agrees::No(how)) => {
                (StepStatus::Fail, Some(format!("{}: {how}", super::disagree(self.voice))))
            }
            _ if kernel.succeeded() => (StepStatus::Pass, None),
            abstained => {
                let mut why = format!("{}, and nothing says that it may fail", kernel.outcome);
                if let Some(Agrees::Abstained(reason)) = abstained {
                    why.push_str(&format!(" (the model abstains: {reason})"));
                }
                (StepStatus::Fail, Some(why))
            }
        }
    }

    /// The author names a deviation of this kernel: the model may be of either opinion.
    fn judge_known(&self, kernel: Witness<'_>, known: &Known) -> Judgement {
        let documented = self.expect.unwrap_or(&SUCCESS);
        let differs = match (kernel.holds(documented), self.agrees) {
            (Err(why), _) => Some(why),
            // The author says less than the model.
            (Ok(()), Some(Agrees::No(how))) if known.when.overlay.is_some() => Some(how.clone()),
            _ => None,
        };
        let Some(why) = differs else {
            if matches!(known.outcome, Expect::AnyOf(_)) && kernel.holds(&known.outcome).is_ok() {
                // It may or may not, as the author says.
                return (StepStatus::Pass, None);
            }
            let why =
                format!("no longer deviates as known ({}; {})", known.reason, known.reference);
            return (StepStatus::Xpass, Some(why));
        };
        if kernel.holds(&known.outcome).is_err() {
            let why = format!("{why}; and it is known as {}", known.outcome);
            return (StepStatus::Fail, Some(why));
        }
        if let Err(why) = self.holds_beside(kernel, known) {
            return (StepStatus::Fail, Some(why));
        }
        let by_kernel = known.when.overlay.is_none();
        let third = |model: Witness<'_>| {
            model.holds(documented).is_err() && model.holds(&known.outcome).is_err()
        };
        match self.agrees {
            // Of a program the model says what the kernel would do, which no author has to know.
            Some(Agrees::No(how)) if self.model.is_some_and(third) && by_kernel => {
                (StepStatus::Fail, Some(format!("{}: {how}", super::disagree(self.voice))))
            }
            _ => (StepStatus::Xfail, Some(format!("{} ({})", known.reason, known.reference))),
        }
    }

    /// Whether a witness gives what is expected of the values of which nothing is known.
    fn holds_beside(&self, witness: Witness<'_>, known: &Known) -> Result<(), String> {
        let (Some(Expect::Values(expected)), Expect::Values(named)) = (self.expect, &known.outcome)
        else {
            return Ok(());
        };
        let mut rest = expected.clone();
        rest.retain(|name, _| !named.contains_key(name));
        let held = witness.holds(&Expect::Values(rest));
        held.map_err(|why| format!("{why}, which is not what is known: {}", known.outcome))
    }

    /// Only the model was asked: where the author says nothing, it decides.
    fn judge_model(&self, model: Witness<'_>) -> Judgement {
        if let Outcome::Abstained(_) = model.outcome {
            return (StepStatus::Abstained, None);
        }
        let held = self.expect.map_or(Ok(()), |expect| model.holds(expect));
        match (held, self.known) {
            (_, Some(known))
                if model.holds(&known.outcome).is_ok()
                    && self.holds_beside(model, known).is_ok() =>
            {
                (StepStatus::Xfail, Some(format!("{} ({})", known.reason, known.reference)))
            }
            (Ok(()), _) => (StepStatus::Pass, None),
            (Err(why), _) => (StepStatus::Fail, Some(format!("model and expect disagree: {why}"))),
        }
    }
}

fn values(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Ok(values) if !values.is_empty() => values
            .iter()
            .map(|(name, value)| (name.to_string(), super::json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => serde_json::Value::Null,
    }
}
