//! Would the search notice if a rule of the model were wrong? Each rule is left out in turn, and what the
//! model says without it is held against what the kernel answered.
//!
//! The kernel is asked a trial once: of all rules only those are left out that decided something of it, for
//! any other one changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Asked;
use super::compare::compare;
use super::trial::{Made, Recipe};
use crate::model::Prediction;
use crate::model::rules::{self, Rule};
use crate::transcript::Transcript;

/// How many of the rules that are missed last are told.
const WORST: usize = 10;

/// Which rules a search would miss.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// Those that decided something, by their ids.
    pub rules: BTreeMap<String, Held>,
}

/// What became of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How many trials it had a part in.
    pub trials: u64,
    /// The first trial in which kernel and model part without it.
    pub missed: Option<u64>,
}

impl Mutation {
    /// Leaves out the rules that decided something of a trial, but for those that were missed before.
    pub fn hold(
        &mut self,
        made: &Made,
        kernel: &Transcript,
        recipe: &Recipe,
        missed: &mut BTreeSet<&'static str>,
    ) {
        let plan = &made.trial.plan;
        let differs = |prediction: &Prediction| {
            matches!(compare(plan, kernel, prediction, recipe.check), Asked::Part(_))
        };
        if differs(&made.prediction) {
            return;
        }
        for rule in deciding(made) {
            let held = self.rules.entry(rule.id.to_owned()).or_default();
            held.trials += 1;
            if !missed.contains(rule.id)
                && differs(&recipe.predict_without(plan, recipe.check, Some(rule)))
            {
                held.missed = Some(made.trial.number);
                missed.insert(rule.id);
            }
        }
    }

    /// Adds what another part of the search has.
    pub fn extend(&mut self, other: Self) {
        for (id, held) in other.rules {
            let own = self.rules.entry(id).or_default();
            own.trials += held.trials;
            own.missed = own.missed.into_iter().chain(held.missed).min();
        }
    }
}

/// The rules that decided something of a trial.
fn deciding(made: &Made) -> Vec<&'static Rule> {
    let prediction = &made.prediction;
    let parts = prediction.steps.iter().chain(&prediction.observations);
    let mut rules: Vec<_> = prediction.world.iter().chain(parts.flatten()).copied().collect();
    rules.sort_by_key(|rule| rule.id);
    rules.dedup();
    rules
}

impl fmt::Display for Mutation {
    /// The rules that are missed last, those that nobody misses, and those that decided nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = |(id, held): (&String, &Held)| Some((held.missed?, held.trials, id.clone()));
        let mut missed: Vec<_> = self.rules.iter().filter_map(found).collect();
        missed.sort_by(|one, other| other.cmp(one));
        let (decided, all) = (self.rules.len(), rules::all().count());
        writeln!(
            f,
            "rules left out one by one: of {all}, {decided} decided something, and {} of them are missed",
            missed.len()
        )?;
        if let Some((trial, ..)) = missed.get(missed.len() / 2) {
            writeln!(f, "  half of those in trial {trial} at the latest; the last of them:")?;
        }
        for (trial, trials, id) in missed.iter().take(WORST) {
            writeln!(f, "  {id}: in trial {trial}; it decided something in {trials}")?;
        }
        for (id, held) in self.rules.iter().filter(|(_, held)| held.missed.is_none()) {
            writeln!(f, "nobody misses {id}, which decided something in {} trials", held.trials)?;
        }
        for (family, rules) in rules::FAMILIES {
            let idle = rules.iter().filter(|rule| !self.rules.contains_key(rule.id));
            let idle: Vec<_> = idle.map(|rule| rule.id).collect();
            match idle.len() {
                0 => {}
                // None of them is what such trials are about.
                count if count == rules.len() => writeln!(f, "{family}: none decided anything")?,
                count => writeln!(f, "{family}: {count} decided nothing: {}", idle.join(" "))?,
            }
        }
        Ok(())
    }
}
