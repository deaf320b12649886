//! Why two kernels answered differently, where that is known.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::difference::Part;
use super::{Column, Told};
use crate::missing::Missing;
use crate::model::rules::{self, Rule};
use crate::report::rules::versions;
use crate::verdict::StepStatus;

/// Why answers differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// A rule that decides on one kernel and not on the other.
    Rule(&'static Rule),
    /// A probe with different answers, by target.
    Probe(String, BTreeMap<String, Option<bool>>),
    /// A deviation that the scenario knows of.
    Known(String),
    /// Something that one of them lacks.
    Missing(Missing),
    /// What the verdict says of a failure.
    Verdict(String),
    /// It follows from a difference at an earlier line.
    Follows(usize),
    /// Nothing that is written down here tells.
    Unknown,
}

impl Cause {
    /// In one sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Rule(rule) => {
                let versions = versions(rule).map(|text| format!(" ({text})")).unwrap_or_default();
                let probe = rule.probe.map(|name| format!(", probe {name}")).unwrap_or_default();
                format!(
                    "rule {}{versions}{probe}: {} Source: {}",
                    rule.id, rule.statement, rule.source
                )
            }
            Self::Probe(name, answers) => {
                let answers = answers.iter().map(|(target, answer)| {
                    format!(
                        "{target} {}",
                        answer.map_or("unknown", |yes| if yes { "yes" } else { "no" })
                    )
                });
                format!("probe {name}: {}", answers.collect::<Vec<_>>().join(", "))
            }
            Self::Known(why) => format!("known: {why}"),
            Self::Missing(missing) => missing.to_string(),
            Self::Verdict(why) => why.clone(),
            Self::Follows(line) => format!("follows from line {line}"),
            Self::Unknown => "cause unknown".to_owned(),
        }
    }

    /// As it stands in the JSON report.
    pub fn json(&self) -> Value {
        match self {
            Self::Rule(rule) => json!({
                "kind": "rule",
                "rule": rule.id,
                "kernels": versions(rule),
                "probe": rule.probe,
                "statement": rule.statement,
                "source": rule.source,
            }),
            Self::Probe(name, answers) => {
                json!({ "kind": "probe", "probe": name, "answers": answers })
            }
            Self::Known(why) => json!({ "kind": "known", "why": why }),
            Self::Missing(missing) => json!({ "kind": "missing", "missing": missing }),
            Self::Verdict(why) => json!({ "kind": "verdict", "why": why }),
            Self::Follows(line) => json!({ "kind": "follows", "line": line }),
            Self::Unknown => json!({ "kind": "unknown" }),
        }
    }
}

/// Whether not every kernel has a rule.
fn is_of_some_kernels(rule: &Rule) -> bool {
    rule.since.is_some() || rule.until.is_some() || rule.probe.is_some()
}

/// The rules that one cites and the other does not.
fn cited_by_one(left: &[String], right: &[String]) -> Vec<&'static Rule> {
    let alone = |a: &[String], b: &[String]| {
        a.iter().filter(|id| !b.contains(id)).filter_map(|id| rules::find(id)).collect::<Vec<_>>()
    };
    let mut rules = alone(left, right);
    rules.extend(alone(right, left));
    rules
}

fn cited<'t>(told: &'t Told, part: &Part) -> &'t [String] {
    match part {
        Part::Step(index) => {
            let model = told.steps.get(*index).and_then(|step| step.model.as_ref());
            model.map_or(&[], |model| &model.rules)
        }
        Part::Observation(index) => told.observations.get(*index).map_or(&[], |one| &one.rules),
    }
}

/// Why a part of a case differs between two targets; `before` are the parts before it that differ.
pub(super) fn causes(
    part: &Part,
    before: &[Part],
    (left, left_told): (&Column, &Told),
    (right, right_told): (&Column, &Told),
) -> Vec<Cause> {
    let known = known(part, left_told).or_else(|| known(part, right_told));
    if let Some(why) = known {
        return vec![Cause::Known(why)];
    }
    let here = cited_by_one(cited(left_told, part), cited(right_told, part));
    let versioned: Vec<_> = here.iter().copied().filter(|rule| is_of_some_kernels(rule)).collect();
    if !versioned.is_empty() {
        return versioned.into_iter().map(Cause::Rule).collect();
    }
    if let Some(line) = before.iter().rev().find_map(|part| line(part, left_told)) {
        return vec![Cause::Follows(line)];
    }
    let earlier = rules_before(part, left_told, right_told);
    if !earlier.is_empty() {
        return earlier.into_iter().map(Cause::Rule).collect();
    }
    let probes: Vec<_> = left_told
        .probes
        .iter()
        .filter_map(|name| {
            let answer = |column: &Column| column.probes.get(name).copied().flatten();
            (answer(left) != answer(right)).then(|| {
                let answers = [left, right].map(|column| (column.target.clone(), answer(column)));
                Cause::Probe(name.clone(), answers.into())
            })
        })
        .collect();
    if !probes.is_empty() {
        return probes;
    }
    if here.is_empty() { vec![Cause::Unknown] } else { here.into_iter().map(Cause::Rule).collect() }
}

fn known(part: &Part, told: &Told) -> Option<String> {
    let Part::Step(index) = part else { return None };
    let step = told.steps.get(*index).filter(|step| step.status == StepStatus::Xfail)?;
    step.why.clone()
}

pub(super) fn line(part: &Part, told: &Told) -> Option<usize> {
    match part {
        Part::Step(index) => told.steps.get(*index).map(|step| step.line),
        Part::Observation(_) => None,
    }
}

/// The rules that not every kernel has and that only one of the two cites before a part: of the
/// nearest step, or of the world.
fn rules_before(part: &Part, left: &Told, right: &Told) -> Vec<&'static Rule> {
    let steps = match part {
        Part::Step(index) => *index,
        Part::Observation(_) => left.steps.len(),
    };
    let parts = (0..steps).rev().map(|index| {
        let part = Part::Step(index);
        cited_by_one(cited(left, &part), cited(right, &part))
    });
    let world = std::iter::once_with(|| cited_by_one(&left.world, &right.world));
    let mut all = parts.chain(world).map(|mut rules| {
        rules.retain(|rule| is_of_some_kernels(rule));
        rules
    });
    all.find(|rules| !rules.is_empty()).unwrap_or_default()
}
