//! What was asked and what came of it: so that "nothing found" can be judged.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Prediction;
use crate::model::rules::Invariant;
use crate::scenario::plan::Plan;
use crate::transcript::{Outcome, Transcript};

/// Counts of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many trials were asked.
    pub trials: u64,
    /// How many steps the kernel answered.
    pub steps: u64,
    /// How many of them succeeded.
    pub succeeded: u64,
    /// Of how many of them the model said nothing.
    pub abstained: u64,
    /// In how many trials kernel and model part.
    pub parted: u64,
    /// In how many trials the kernel was not asked to the end.
    pub broken: u64,
    /// How many trials were not asked, by what the program that mounts overlays lacks for them.
    #[serde(default)]
    pub left_out: BTreeMap<String, u64>,
    /// How often each operation gave what: success, or an error.
    pub outcomes: BTreeMap<String, BTreeMap<String, u64>>,
    /// How many steps and observations each rule decided, by its id.
    pub rules: BTreeMap<String, u64>,
    /// How often it was checked whether an invariant holds.
    #[serde(default)]
    pub invariants: BTreeMap<Invariant, Kept>,
}

/// How often an invariant was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// How often.
    pub checked: u64,
    /// How often it did not hold, as a rule says.
    pub excused: u64,
}

/// What a success is called among the outcomes.
const OK: &str = "ok";

impl Summary {
    /// Counts one trial.
    pub fn add(&mut self, plan: &Plan, kernel: &Transcript, model: &Prediction) {
        self.trials += 1;
        for (step, outcome) in plan.steps.iter().zip(&kernel.outcomes) {
            self.steps += 1;
            let word = match outcome {
                Outcome::Ok(_) => {
                    self.succeeded += 1;
                    OK
                }
                Outcome::Failed { errno, .. } => errno.name(),
                Outcome::Refused { .. } => "refused",
                Outcome::Abstained(_) => continue,
            };
            count(entry(&mut self.outcomes, step.operation.word()), word, 1);
        }
        let silent = |outcome: &&Outcome| matches!(outcome, Outcome::Abstained(_));
        self.abstained += model.transcript.outcomes.iter().filter(silent).count() as u64;
        for rule in
            model.world.iter().chain(model.steps.iter().chain(&model.observations).flatten())
        {
            count(&mut self.rules, rule.id, 1);
        }
    }

    /// Adds the counts of another part of the search.
    pub fn extend(&mut self, other: Self) {
        self.trials += other.trials;
        self.steps += other.steps;
        self.succeeded += other.succeeded;
        self.abstained += other.abstained;
        self.parted += other.parted;
        self.broken += other.broken;
        for (operation, outcomes) in other.outcomes {
            let own = self.outcomes.entry(operation).or_default();
            outcomes.into_iter().for_each(|(word, times)| count(own, &word, times));
        }
        for (invariant, kept) in other.invariants {
            let own = self.invariants.entry(invariant).or_default();
            own.checked += kept.checked;
            own.excused += kept.excused;
        }
        other
            .left_out
            .into_iter()
            .for_each(|(what, times)| count(&mut self.left_out, &what, times));
        other.rules.into_iter().for_each(|(id, times)| count(&mut self.rules, &id, times));
    }

    /// How many steps in a hundred succeeded.
    pub fn success(&self) -> f64 {
        if self.steps == 0 { 0.0 } else { 100.0 * self.succeeded as f64 / self.steps as f64 }
    }
}

fn entry<'m, T: Default>(map: &'m mut BTreeMap<String, T>, key: &str) -> &'m mut T {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), T::default());
    }
    map.get_mut(key).expect("it was just put there")
}

fn count(map: &mut BTreeMap<String, u64>, key: &str, times: u64) {
    *entry(map, key) += times;
}

impl fmt::Display for Summary {
    /// The mix of outcomes, an operation a line, and the rules.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "outcomes by operation:")?;
        for (operation, outcomes) in &self.outcomes {
            let all: u64 = outcomes.values().sum();
            let ok = outcomes.get(OK).copied().unwrap_or_default();
            write!(f, "  {operation:<14}{all:>9}  {:>3} % ok", 100 * ok / all.max(1))?;
            let mut errors: Vec<_> = outcomes.iter().filter(|(word, _)| *word != OK).collect();
            errors.sort_by_key(|(word, times)| (std::cmp::Reverse(**times), *word));
            for (word, times) in errors {
                write!(f, "  {word} {times}")?;
            }
            writeln!(f)?;
        }
        let rules = crate::model::rules::all().count();
        writeln!(f, "rules: {} of {rules} decided something", self.rules.len())?;
        let mut rarest: Vec<_> = self.rules.iter().collect();
        rarest.sort_by_key(|(id, times)| (**times, *id));
        let rarest: Vec<_> =
            rarest.iter().take(5).map(|(id, times)| format!("{id} {times}")).collect();
        if !rarest.is_empty() {
            writeln!(f, "  seldom: {}", rarest.join(", "))?;
        }
        for (invariant, Kept { checked, excused }) in &self.invariants {
            let what = match invariant {
                Invariant::Trace => "what fails leaves no trace",
                Invariant::Remount => "a remount shows the same",
                Invariant::Root => "root sees what others see",
            };
            writeln!(f, "{what}: checked {checked} times, {excused} excused by a rule")?;
        }
        for (what, times) in &self.left_out {
            writeln!(f, "{times} trials were left out, for {what}")?;
        }
        if self.abstained > 0 {
            writeln!(f, "the model abstains from {} steps", self.abstained)?;
        }
        Ok(())
    }
}
