//! Every sequence of up to so many steps of a vocabulary, in each of its worlds.
//!
//! A vocabulary is a scenario: its cases are the worlds, and its steps the operations, in whatever order.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::is_refused;
use crate::diag::Source;
use crate::probe::{self, Environment};
use crate::scenario::plan::Plan;
use crate::scenario::{Case, FoundFile, KnownNames, resolve};

/// The vocabularies of the families.
const VOCABULARIES: &[(&str, &str)] = &[
    ("overlay", include_str!("overlay.yaml")),
    ("propagation", include_str!("propagation.yaml")),
    ("ownership", include_str!("ownership.yaml")),
    ("idmap", include_str!("idmap.yaml")),
    ("roots", include_str!("roots.yaml")),
];

/// Every sequence of the steps of some cases.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// What the vocabulary is called.
    pub name: String,
    /// The most steps of a sequence.
    pub depth: u32,
    /// What the worlds and operations are.
    pub cases: Vec<Case>,
    /// Worlds that cannot be asked here, each with the reason.
    left_out: Vec<(String, String)>,
    /// The worlds: each with the number of its operations.
    worlds: Vec<World>,
}

/// A world, whose steps are the vocabulary.
#[derive(Clone, Debug)]
struct World {
    plan: Plan,
    /// The model says that it cannot be set up.
    refused: bool,
}

impl World {
    /// How many sequences have so many steps; `None` where they cannot be counted.
    fn count(&self, depth: u32) -> Option<u64> {
        match self.refused {
            // The world alone.
            true => Some(u64::from(depth == 1)),
            false => (self.plan.steps.len() as u64).checked_pow(depth),
        }
    }
}

impl Sequences {
    /// Those of the vocabularies of families.
    ///
    /// # Errors
    /// More sequences than can be counted.
    pub fn of_families(names: &[&str], depth: u32) -> Result<Self, String> {
        let mut cases = Vec::new();
        for (name, text) in VOCABULARIES.iter().filter(|(name, _)| names.contains(name)) {
            cases.extend(read(name, text)?);
        }
        Self::new(names.join(","), cases, depth)
    }

    /// Those of the cases of a scenario.
    ///
    /// # Errors
    /// More sequences than can be counted.
    pub fn new(name: String, cases: Vec<Case>, depth: u32) -> Result<Self, String> {
        let (left_out, worlds) = (Vec::new(), cases.iter().map(World::new).collect());
        let all = Self { name, depth, cases, left_out, worlds };
        let counted = all.blocks().try_fold(0_u64, |sum, (.., count)| sum.checked_add(count?));
        match counted {
            Some(_) => Ok(all),
            None => Err("there are more sequences than can be counted: lessen --depth".to_owned()),
        }
    }

    /// Those that a kernel can be asked.
    pub(super) fn possible(&self, environment: &Environment) -> Self {
        let mut possible =
            Self { worlds: Vec::new(), left_out: Vec::new(), cases: Vec::new(), ..self.clone() };
        for case in &self.cases {
            let missing = environment.missing(case);
            if let Some(missing) = missing.first() {
                possible.left_out.push((case.id.clone(), missing.to_string()));
                continue;
            }
            let mut world = World::new(case);
            world.refused = is_refused(&world.plan, &environment.profile());
            possible.worlds.push(world);
            possible.cases.push(case.clone());
        }
        possible
    }

    /// The trials in blocks: the depth, the world, and how many there are. Short sequences come first.
    fn blocks(&self) -> impl Iterator<Item = (u32, &World, Option<u64>)> {
        let of_depth =
            |depth| self.worlds.iter().map(move |world| (depth, world, world.count(depth)));
        (1..=self.depth).flat_map(of_depth)
    }

    pub(super) fn total(&self) -> u64 {
        self.blocks().filter_map(|(.., count)| count).sum()
    }

    pub(super) fn plan(&self, number: u64) -> Option<Plan> {
        let mut left = number;
        for (depth, world, count) in self.blocks() {
            let count = count?;
            if left >= count {
                left -= count;
                continue;
            }
            let mut plan = world.plan.clone();
            plan.id = format!("{}-{number}", plan.id);
            plan.steps.clear();
            if !world.refused {
                let vocabulary = &world.plan.steps;
                let base = vocabulary.len() as u64;
                let digits = (0..depth).rev().map(|place| left / base.pow(place) % base);
                let steps = digits.filter_map(|digit| vocabulary.get(usize::try_from(digit).ok()?));
                plan.steps = steps.cloned().collect();
            }
            return Some(plan);
        }
        None
    }
}

impl World {
    fn new(case: &Case) -> Self {
        Self { plan: case.plan.clone(), refused: false }
    }
}

fn read(name: &str, text: &str) -> Result<Vec<Case>, String> {
    let source = Arc::new(Source { name: format!("{name}.yaml"), text: text.to_owned() });
    let path = PathBuf::from(&source.name);
    let file = FoundFile { id: name.to_owned(), path, base: PathBuf::new() };
    let names = probe::names();
    resolve(&file, &source, KnownNames { probes: &names }).map_err(|errors| {
        errors.first().map_or_else(|| "it is no scenario".to_owned(), |e| e.message.clone())
    })
}

impl fmt::Display for Sequences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let (refused, asked): (Vec<_>, Vec<_>) =
            self.worlds.iter().partition(|world| world.refused);
        let mut operations: Vec<_> = asked.iter().map(|world| world.plan.steps.len()).collect();
        operations.dedup();
        for count in operations {
            let worlds = asked.iter().filter(|world| world.plan.steps.len() == count).count();
            let base = count as u64;
            let sequences: u64 = (1..=self.depth).map(|depth| base.pow(depth)).sum();
            writeln!(
                f,
                "{sequences} sequences of up to {} of {count} operations, in {worlds} world{}: {} trials",
                self.depth,
                s(worlds),
                sequences * worlds as u64
            )?;
        }
        for world in refused {
            writeln!(f, "{}: this kernel refuses the world, which is one trial", world.plan.id)?;
        }
        for (id, why) in &self.left_out {
            writeln!(f, "{id}: left out: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::search::family::names;

    #[test]
    fn every_sequence_has_one_number() {
        let text = "\
title: Three operations in two worlds
cases: { one: { d: a }, two: { d: b } }
world: { tree: { \"${case.d}\": dir } }
steps:
  - mkdir: { path: x }
  - rmdir: { path: x }
  - unlink: { path: x }
";
        let all = Sequences::new("t".into(), read("t", text).unwrap(), 3).unwrap();
        assert_eq!(all.total(), 2 * (3 + 9 + 27));
        let mut seen = BTreeSet::new();
        for number in 0..all.total() {
            let plan = all.plan(number).unwrap();
            assert!((1..=3).contains(&plan.steps.len()));
            let steps = serde_json::to_string(&plan.steps).unwrap();
            assert!(seen.insert((serde_json::to_string(&plan.world).unwrap(), steps)));
        }
        assert!(all.plan(all.total()).is_none());
        assert_eq!(all.plan(0).unwrap().steps.len(), 1);
    }

    #[test]
    fn each_vocabulary_has_thirty_operations_and_four_worlds() {
        for name in names() {
            let all = Sequences::of_families(&[name], 3).unwrap();
            assert_eq!((all.worlds.len(), all.total()), (4, 4 * (30 + 900 + 27_000)), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert!(Sequences::of_families(&["overlay"], 40).is_err());
    }
}
