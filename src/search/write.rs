//! What was found as a scenario: a file to commit, that fails until kernel and model say the same.

use serde_json::{Map, Value as Json, json};

use super::layout::{Page, yaml};
use super::repro::About;
use super::shrink::TRIES;
use super::{Deviation, Finding, Place, document};
use crate::model::rules::{Invariant, Rule};
use crate::report::sentence::sentence;
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::Operation;
use crate::scenario::plan::Plan;
use crate::transcript::{Outcome, Value};

/// The longest title.
const TITLE: usize = 180;
/// The longest text that an expectation repeats.
const LONGEST: usize = 120;

/// Where and how something was found.
#[derive(Clone, Debug)]
pub struct Origin<'o> {
    /// The target, as it is named by `--on`.
    pub target: &'o str,
    /// The release of its kernel.
    pub kernel: &'o str,
    /// What mounts the overlays, where that is not the kernel.
    pub overlay: Option<&'o Implementation>,
    /// The seed that the trial was made up from.
    pub seed: u64,
}

impl Origin<'_> {
    /// Who parts with the model: the kernel, by this word, or what mounts overlays on it.
    fn voice(&self, kernel: &str) -> String {
        self.overlay.map_or_else(|| kernel.to_owned(), Implementation::to_string)
    }
}

/// A finding as a scenario. `predicted` is what the model says of the step at which it deviates.
pub fn scenario(finding: &Finding, origin: &Origin<'_>, predicted: Option<&Outcome>) -> String {
    let (plan, deviation) = (&finding.smallest, &finding.deviation);
    let mut document = document::of_plan(plan);
    let title = title(plan, deviation, &origin.voice("the kernel"));
    let mut page = Page::default();
    page.entry(0, "title", &json!(title));
    let mut sources: Vec<&str> = deviation.rules.iter().map(|rule| rule.source).collect();
    sources.dedup();
    if !sources.is_empty() {
        page.entry(0, "refs", &json!(sources));
    }
    page.entry(0, "tags", &json!(["search"]));
    for note in notes(finding, origin) {
        page.comment(0, &note);
    }
    if let Place::Step(index) = deviation.place {
        let expected = expectation(plan, deviation, index, predicted);
        expect(&mut document, index, expected);
    }
    for (key, value) in document.as_object().into_iter().flatten() {
        part(&mut page, key, value, deviation, &origin.voice("The kernel"));
    }
    page.text
}

/// What a reproduction of a finding says at its top.
pub fn about(finding: &Finding, origin: &Origin<'_>) -> About {
    let title = title(&finding.smallest, &finding.deviation, &origin.voice("the kernel"));
    About { title, notes: notes(finding, origin), overlay: origin.overlay.cloned() }
}

/// Where something was found, and by which rules the model says otherwise.
fn notes(finding: &Finding, origin: &Origin<'_>) -> Vec<String> {
    let Origin { target, kernel, seed, .. } = origin;
    let trial = finding.first;
    let found = format!(
        "Found by nsharness search on {target} (Linux {kernel}): seed {seed}, trial {trial}."
    );
    let unseen = format!(
        "Asked alone {TRIES} times more, it did not come again: chance has a part in it, or what a trial before it \
         left behind."
    );
    let unseen = (finding.again == Some(false)).then_some(unseen);
    let rule = |rule: &&Rule| format!("The model's rule {}: {}", rule.id, rule.statement);
    let rules = finding.deviation.rules.iter().map(rule);
    [found].into_iter().chain(unseen).chain(rules).collect()
}

/// Writes a part of the document, with what the kernel says before the place at which it deviates.
fn part(page: &mut Page, key: &str, value: &Json, deviation: &Deviation, voice: &str) {
    let Deviation { kernel, model, .. } = deviation;
    let said = || match deviation.place {
        Place::Invariant(Invariant::Root, _) => {
            format!("Root of a user namespace gets {model}, and real root {kernel}.")
        }
        Place::Invariant(..) => format!("Before it was {model}, and then it is {kernel}."),
        Place::Step(_) => format!("{voice} says: {kernel}"),
        _ => format!("{voice} says: {kernel}. The model says: {model}."),
    };
    match (key, deviation.place) {
        ("steps", Place::Step(index) | Place::Invariant(_, index)) => {
            page.text.push_str("steps:\n");
            for (at, step) in value.as_array().into_iter().flatten().enumerate() {
                if at == index {
                    page.comment(2, &said());
                }
                page.item(2, step);
            }
        }
        ("world", Place::World) | ("observe", Place::Observation(_)) => {
            page.comment(0, &said());
            page.entry(0, key, value);
        }
        _ => page.entry(0, key, value),
    }
}

/// The deviation in a sentence.
fn title(plan: &Plan, deviation: &Deviation, voice: &str) -> String {
    let Deviation { kernel, model, cause, .. } = deviation;
    let last = |index: usize| plan.steps.get(index).map(sentence);
    let title = match deviation.place {
        Place::World => format!("Of this world {voice} says {kernel} and the model {model}"),
        Place::Step(index) => {
            let what = last(index).unwrap_or_else(|| cause.what.clone());
            format!("When {what}, {voice} says {kernel} and the model {model}")
        }
        Place::Invariant(invariant, index) => {
            let what = last(index).unwrap_or_else(|| cause.what.clone());
            match invariant {
                Invariant::Trace => {
                    format!("When {what}, which fails, it leaves `{kernel}` where was `{model}`")
                }
                Invariant::Remount => {
                    format!("After {what} again, there is `{kernel}` where was `{model}`")
                }
                Invariant::Root => {
                    format!("When {what}, root gets `{kernel}` and others `{model}`, by no rule")
                }
            }
        }
        Place::Observation(_) => {
            let after = plan.steps.len().checked_sub(1).and_then(last);
            let after = after.map_or_else(|| "At once".to_owned(), |what| format!("After {what},"));
            let kind = cause.what.split(':').next().unwrap_or_default();
            format!("{after} {voice} says of the {kind} `{kernel}` and the model `{model}`")
        }
    };
    let title = title.replace('\n', " ");
    if title.chars().count() <= TITLE {
        return title;
    }
    title.chars().take(TITLE - 3).chain("...".chars()).collect()
}

/// What the model says of a step, as its `expect`.
fn expectation(
    plan: &Plan,
    deviation: &Deviation,
    index: usize,
    predicted: Option<&Outcome>,
) -> Option<Json> {
    let mounted =
        plan.steps.get(index).is_some_and(|s| matches!(s.operation, Operation::Mounted(_)));
    match predicted {
        Some(Outcome::Failed { errno, .. }) => Some(json!(errno)),
        Some(Outcome::Ok(values)) if mounted => values.get("mounted").and_then(of_value),
        Some(Outcome::Ok(values)) => {
            let said =
                format!(" {} {} {}", deviation.cause.what, deviation.kernel, deviation.model);
            let told = |name: &str| {
                let words = said.split(|c: char| !c.is_alphanumeric() && c != '_');
                words.into_iter().any(|word| word == name)
            };
            let values: Map<String, Json> = values
                .iter()
                .filter(|(name, _)| told(name))
                .filter_map(|(name, value)| Some((name.to_string(), of_value(value)?)))
                .collect();
            Some(if values.is_empty() { json!("ok") } else { Json::Object(values) })
        }
        Some(Outcome::Refused { .. }) => Some(json!("refused")),
        Some(Outcome::Abstained(_)) | None => None,
    }
}

/// A value as an expectation names it; what is renumbered, or longer than anybody reads, has none.
fn of_value(value: &Value) -> Option<Json> {
    match value {
        Value::Bool(value) => Some(json!(value)),
        Value::Number(number) => Some(json!(number)),
        Value::Text(text) => (text.len() <= LONGEST).then(|| json!(text)),
        Value::List(items) => {
            items.iter().map(of_value).collect::<Option<Vec<_>>>().map(Json::Array)
        }
        Value::Map(_) | Value::Identity(..) => None,
    }
}

fn expect(document: &mut Json, index: usize, expected: Option<Json>) {
    let step = document.pointer_mut(&format!("/steps/{index}")).and_then(Json::as_object_mut);
    let fields = step.and_then(|step| step.values_mut().next()).and_then(Json::as_object_mut);
    if let (Some(fields), Some(expected)) = (fields, expected) {
        fields.insert("expect".into(), expected);
    }
}

/// A plan as a scenario that expects nothing, with this title.
pub fn plain(plan: &Plan, title: &str) -> String {
    let mut titled = Map::from_iter([("title".to_owned(), json!(title))]);
    titled.extend(document::of_plan(plan).as_object().cloned().unwrap_or_default());
    yaml(&Json::Object(titled))
}
