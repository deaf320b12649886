//! The model: a witness that never touches a kernel. It takes a plan and a kernel's profile, and
//! predicts the transcript by rules that it cites.
//!
//! It is a small file-system and namespace world in memory. Nothing here makes a system call, reads
//! a file or looks at a clock; `tests/model.rs` holds that by reading the sources.
#![forbid(unsafe_code)]

pub mod actors;
pub mod arena;
pub mod checks;
pub mod fuse;
pub mod halt;
pub mod identities;
pub mod ids;
pub mod machine;
pub mod mounts;
pub mod nfs;
pub mod observe;
pub mod overlay;
pub mod profile;
pub mod rules;
pub mod steps;
pub mod vfs;
pub mod world;

use machine::Machine;
use profile::Profile;
use rules::{Citations, Rule};

use crate::scenario::plan::{Plan, PlanStep};
use crate::transcript::{Breakage, End, Observation, Outcome, Transcript};

/// What the model says to a plan, with its reasons.
#[derive(Debug)]
pub struct Prediction {
    /// What it predicts; identities are not renumbered yet.
    pub transcript: Transcript,
    /// The rules that made the world what it is.
    pub world: Vec<&'static Rule>,
    /// The rules that decided each step, in the order of the steps.
    pub steps: Vec<Vec<&'static Rule>>,
    /// The rules that decided each item of `observe`.
    pub observations: Vec<Vec<&'static Rule>>,
}

impl Prediction {
    /// Why the model says nothing at all: it does not know the rules of a part of the world. What
    /// rules refuse has an error.
    pub fn abstains(&self) -> Option<&Breakage> {
        match &self.transcript.end {
            End::Broke(breakage) if breakage.errno.is_none() => Some(breakage),
            _ => None,
        }
    }
}

/// Predicts the transcript of a plan on a kernel of this profile.
pub fn predict(plan: &Plan, profile: &Profile) -> Prediction {
    predict_by(plan, profile, Citations::default())
}

/// Predicts as if there were no such rule: to prove that somebody would notice.
pub fn predict_without(plan: &Plan, profile: &Profile, rule: &'static Rule) -> Prediction {
    predict_by(plan, profile, Citations::without(Some(rule)))
}

fn predict_by(plan: &Plan, profile: &Profile, rules: Citations) -> Prediction {
    let mut prediction = Prediction {
        transcript: Transcript {
            outcomes: Vec::new(),
            observations: Vec::new(),
            end: End::Completed,
            evidence: std::collections::BTreeMap::new(),
        },
        world: Vec::new(),
        steps: Vec::new(),
        observations: Vec::new(),
    };
    let machine = match world::set_up(plan, profile, rules) {
        Ok(machine) => machine,
        Err(breakage) => {
            prediction.transcript.end = End::Broke(breakage);
            return prediction;
        }
    };
    let mut simulation = Simulation { plan, machine };
    prediction.world = simulation.machine.rules.take();
    for step in &plan.steps {
        let (outcome, rules) = simulation.step(step);
        prediction.transcript.outcomes.push(outcome);
        prediction.steps.push(rules);
    }
    let (observations, rules) = simulation.observe();
    prediction.transcript.observations = observations;
    prediction.observations = rules;
    prediction
}

/// A plan on its way, one step at a time: for those who want to look between the steps.
pub struct Simulation<'p> {
    plan: &'p Plan,
    /// The machine as it is now.
    pub machine: Machine<'p>,
}

impl<'p> Simulation<'p> {
    /// Sets up the world.
    ///
    /// # Errors
    /// The first part of the world that the rules refuse.
    pub fn start(plan: &'p Plan, profile: &'p Profile) -> Result<Self, Breakage> {
        Self::without(plan, profile, None)
    }

    /// Sets up the world as if there were no such rule, if one is given.
    ///
    /// # Errors
    /// The first part of the world that the rules refuse.
    pub fn without(
        plan: &'p Plan,
        profile: &'p Profile,
        rule: Option<&'static Rule>,
    ) -> Result<Self, Breakage> {
        Ok(Self { plan, machine: world::set_up(plan, profile, Citations::without(rule))? })
    }

    /// Takes one step, and gives the rules that decided it.
    pub fn step(&mut self, step: &PlanStep) -> (Outcome, Vec<&'static Rule>) {
        let outcome = self.machine.take_step(step);
        (outcome, self.machine.rules.take())
    }

    /// Makes the observations of the plan, and gives the rules that decided each.
    pub fn observe(&mut self) -> (Vec<Observation>, Vec<Vec<&'static Rule>>) {
        let mut observations = Vec::new();
        let mut rules = Vec::new();
        for item in &self.plan.observe {
            observations.extend(self.machine.observe(self.plan, item));
            rules.push(self.machine.rules.take());
        }
        (observations, rules)
    }
}
