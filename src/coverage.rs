//! Which scenarios exercise which rule of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::model::predict;
use crate::model::profile::Profile;
use crate::model::rules::{self, Rule};
use crate::probe::{self, Environment};
use crate::scenario::Case;
use crate::scenario::condition::KernelVersion;
use crate::scenario::scalar::Errno;
use crate::target::model::Model;
use crate::transcript::Outcome;

/// What the model cited over a number of cases.
#[derive(Debug, Default)]
pub struct Coverage {
    /// How many cases there were, counted for each kernel.
    pub asked: usize,
    /// The ids of the cases in which each rule decided something, in their order.
    pub cases: BTreeMap<&'static str, Vec<String>>,
    /// For each error, the rules that were the last to decide before a step failed with it, with the
    /// ids of those cases.
    pub errors: BTreeMap<i32, BTreeMap<&'static str, BTreeSet<String>>>,
}

impl Coverage {
    /// Predicts all cases that a kernel of this profile can be asked.
    ///
    /// # Errors
    /// Where the model cannot be asked; it always can.
    pub fn of(cases: &[Case], profile: &Profile) -> io::Result<Self> {
        let mut coverage = Self::default();
        coverage.add(cases, profile)?;
        Ok(coverage)
    }

    /// The same, and for the rules that this kernel does not have, of kernels that have them.
    ///
    /// # Errors
    /// As [`Coverage::of`].
    pub fn of_every_kernel(cases: &[Case], profile: &Profile) -> io::Result<Self> {
        let mut coverage = Self::of(cases, profile)?;
        let others: BTreeSet<KernelVersion> = rules::all()
            .filter(|rule| !rule.applies(profile))
            .filter_map(|rule| rule.since.or_else(|| rule.until.map(before)))
            .collect();
        for version in others {
            coverage.add(cases, &Profile::of_version(version))?;
        }
        Ok(coverage)
    }

    fn add(&mut self, cases: &[Case], profile: &Profile) -> io::Result<()> {
        let mut environment = Environment::simulated(profile);
        environment.ask(&probe::wanted(cases), &mut Model::new(profile.clone()))?;
        self.asked += cases.len();
        for case in cases.iter().filter(|case| environment.missing(case).is_empty()) {
            let prediction = predict(&case.plan, profile);
            let steps = prediction.steps.iter().flatten();
            for rule in
                prediction.world.iter().chain(steps).chain(prediction.observations.iter().flatten())
            {
                let seen = self.cases.entry(rule.id).or_default();
                if seen.last() != Some(&case.id) && !seen.contains(&case.id) {
                    seen.push(case.id.clone());
                }
            }
            for (outcome, cited) in prediction.transcript.outcomes.iter().zip(&prediction.steps) {
                if let (Outcome::Failed { errno: Errno(number), .. }, Some(rule)) =
                    (outcome, cited.last())
                {
                    let rules = self.errors.entry(*number).or_default();
                    rules.entry(rule.id).or_default().insert(case.id.clone());
                }
            }
        }
        Ok(())
    }

    /// The cases in which a rule decided something.
    pub fn of_rule(&self, rule: &Rule) -> &[String] {
        self.cases.get(rule.id).map_or(&[], Vec::as_slice)
    }

    /// The rules that no case exercises.
    pub fn missing(&self) -> impl Iterator<Item = &'static Rule> {
        rules::all().filter(|rule| !self.cases.contains_key(rule.id))
    }
}

/// A version just before another.
fn before(KernelVersion(major, minor, patch): KernelVersion) -> KernelVersion {
    match (minor, patch) {
        (_, 1..) => KernelVersion(major, minor, patch - 1),
        (1.., 0) => KernelVersion(major, minor - 1, 999),
        (0, 0) => KernelVersion(major.saturating_sub(1), 999, 999),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_before_another_is_less() {
        for version in [KernelVersion(7, 2, 0), KernelVersion(7, 0, 0), KernelVersion(6, 18, 11)] {
            assert!(before(version) < version);
        }
    }
}
