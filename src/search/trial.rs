//! Makes up a trial, and with it what the model says of it: each step is chosen when it is known what became
//! of those before.

use std::collections::BTreeMap;

use super::Trial;
use super::catalogue::Counted;
use super::family::{self, Family, Means};
use super::random::Random;
use crate::missing::Missing;
use crate::model::profile::Profile;
use crate::model::rules::Rule;
use crate::model::{Prediction, Simulation};
use crate::overlays;
use crate::scenario::DEFAULT_TIMEOUT;
use crate::scenario::implementation::Implementation;
use crate::scenario::observe::Observe;
use crate::scenario::plan::{Plan, PlanStep};
use crate::transcript::{End, Outcome, Transcript};
use crate::worker::arena::Check;

/// The fewest and the most steps of a trial.
const STEPS: (usize, usize) = (5, 40);

/// What all trials of a search have in common: with the version of nsharness it says what each of them is.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The names of the families, which take turns.
    pub families: Vec<&'static str>,
    /// What choices follow from.
    pub seed: u64,
    /// What the kernel allows.
    pub means: Means,
    /// What the model knows of the kernel.
    pub profile: Profile,
    /// How often what is observed is observed.
    pub check: Check,
    /// The rule that the model lacks: only to prove that the search would find it.
    pub without: Option<&'static Rule>,
    /// What is asked completely, instead of what families make up.
    pub catalogue: Option<Counted>,
    /// What mounts the overlays of trials, where that is not the kernel.
    pub overlay: Option<Implementation>,
    /// Whether rules are left out one by one, see [`Mutation`](super::mutation::Mutation).
    pub mutate: bool,
}

/// A trial with what the model says of it.
#[derive(Debug)]
pub struct Made {
    /// The trial.
    pub trial: Trial,
    /// What the model says.
    pub prediction: Prediction,
    /// Whether it is another trial, asked with other rights.
    pub is_twin: bool,
}

/// Trials to ask.
#[derive(Debug, Default)]
pub struct Batch {
    /// The trials.
    pub made: Vec<Made>,
    /// How many more cannot be asked, by what the program that mounts overlays lacks for them.
    pub left_out: BTreeMap<String, u64>,
}

/// Of how many trials that are observed after every step one is asked as real root and without.
const TWINS: u64 = 8;

/// The same plan for real root, or for root of a user namespace alone.
pub fn twin(plan: &Plan) -> Plan {
    let mut twin = plan.clone();
    twin.needs.privileged = !twin.needs.privileged;
    twin
}

impl Recipe {
    /// The same without the families of which the kernel allows no trial.
    pub fn possible(mut self) -> Self {
        let possible: Vec<_> = {
            let is_possible = |name: &&&str| self.family(name, 0).is_some();
            self.families.iter().filter(is_possible).copied().collect()
        };
        self.families = possible;
        self
    }

    /// What the model says of a plan that was not made up here.
    pub fn predict(&self, plan: &Plan, check: Check) -> Prediction {
        self.predict_without(plan, check, self.without)
    }

    /// The same of a model that lacks a rule, if one is given.
    pub fn predict_without(
        &self,
        plan: &Plan,
        check: Check,
        rule: Option<&'static Rule>,
    ) -> Prediction {
        let mut prediction = nothing();
        let mut simulation = match Simulation::without(plan, &self.profile, rule) {
            Ok(simulation) => simulation,
            Err(breakage) => {
                prediction.transcript.end = End::Broke(breakage);
                return prediction;
            }
        };
        prediction.world = simulation.machine.rules.take();
        for (index, step) in plan.steps.iter().enumerate() {
            take(&mut simulation, step, &mut prediction);
            if check == Check::Step && index + 1 < plan.steps.len() {
                observe(&mut simulation, plan, &plan.observe, &mut prediction);
            }
        }
        observe(&mut simulation, plan, &plan.observe, &mut prediction);
        prediction
    }

    /// Makes up trials, with those that are to be asked with other rights too. Those that can share a sandbox stand
    /// together.
    pub fn make_all(&self, numbers: &[u64]) -> Batch {
        let Batch { mut made, mut left_out } = Batch::default();
        for trial in numbers.iter().filter_map(|number| self.make(*number)) {
            match self.lacks(&trial.trial.plan) {
                Some(missing) => *left_out.entry(missing.what).or_default() += 1,
                None => {
                    let twin = self.twin(&trial);
                    made.extend([Some(trial), twin].into_iter().flatten());
                }
            }
        }
        made.sort_by_cached_key(|made| {
            let needs = &made.trial.plan.needs;
            (needs.privileged, needs.ids.clone(), needs.namespaces.clone(), made.trial.number)
        });
        Batch { made, left_out }
    }

    /// What a plan asks for that the program that mounts overlays does not have.
    fn lacks(&self, plan: &Plan) -> Option<Missing> {
        let program = self.overlay.as_ref()?;
        overlays::missing(program, plan).into_iter().next()
    }

    /// The same trial with other rights, where that is checked.
    fn twin(&self, made: &Made) -> Option<Made> {
        let number = made.trial.number;
        if self.check != Check::Step || !self.means.root || !number.is_multiple_of(TWINS) {
            return None;
        }
        let plan = twin(&made.trial.plan);
        let prediction = self.predict(&plan, self.check);
        Some(Made { trial: Trial { number, plan }, prediction, is_twin: true })
    }

    fn family(&self, name: &str, number: u64) -> Option<Box<dyn Family>> {
        let (_, of) = family::ALL.iter().find(|(other, _)| *other == name)?;
        of(number, self.means)
    }

    /// Makes up a trial; `None` where the kernel allows none of its family.
    pub fn make(&self, number: u64) -> Option<Made> {
        if let Some(catalogue) = &self.catalogue {
            let plan = catalogue.plan(number)?;
            let prediction = self.predict(&plan, self.check);
            return Some(Made { trial: Trial { number, plan }, prediction, is_twin: false });
        }
        let count = self.families.len() as u64;
        if count == 0 {
            return None;
        }
        let name = self.families[usize::try_from(number / family::BLOCK % count).unwrap_or(0)];
        let mut family = self.family(name, number)?;
        let mut random = Random::of(self.seed, number);
        let id = format!("{name}-{}-{number}", self.seed);
        let mut plan = without_steps(id, &mut *family, &mut random);
        let length = random.between(STEPS.0, STEPS.1);
        let mut prediction = nothing();
        let mut steps = Vec::with_capacity(length);
        let mut simulation = match Simulation::start(&plan, &self.profile) {
            Ok(simulation) => simulation,
            Err(breakage) => {
                prediction.transcript.end = End::Broke(breakage);
                return Some(Made { trial: Trial { number, plan }, prediction, is_twin: false });
            }
        };
        prediction.world = simulation.machine.rules.take();
        let looks = family.observe();
        for line in 1..=length {
            let (actor, operation) = family.step(&mut random);
            let step = PlanStep { actor, operation, line };
            family.learn(&step, take(&mut simulation, &step, &mut prediction));
            if simulation.machine.lost.is_some() {
                break;
            }
            steps.push(step);
            if self.check == Check::Step && line < length {
                observe(&mut simulation, &plan, &looks, &mut prediction);
            }
        }
        let at_last = family.observe();
        observe(&mut simulation, &plan, &at_last, &mut prediction);
        let lost = simulation.machine.lost.is_some();
        let looked_otherwise = self.check == Check::Step && looks != at_last;
        drop(simulation);
        plan.steps = steps;
        plan.observe = at_last;
        // A step that makes more mounts than are modelled makes so many that nothing is learnt of the kernel
        // but its patience: the trial ends before it. And what is observed may be known only at the end, as
        // after a pivot_root, while the kernel is asked for it after every step.
        if lost || looked_otherwise || self.without.is_some() {
            prediction = self.predict(&plan, self.check);
        }
        Some(Made { trial: Trial { number, plan }, prediction, is_twin: false })
    }
}

/// A plan of a family with the world alone.
fn without_steps(id: String, family: &mut dyn Family, random: &mut Random) -> Plan {
    Plan {
        id,
        needs: family.needs(),
        world: family.world(random),
        steps: Vec::new(),
        observe: Vec::new(),
        timeout_ms: 1000 * DEFAULT_TIMEOUT,
        keep: false,
        trace: false,
        runtime: None,
        overlay: None,
    }
}

/// Takes a step, and keeps what came of it.
fn take<'p>(
    simulation: &mut Simulation<'_>,
    step: &PlanStep,
    prediction: &'p mut Prediction,
) -> &'p Outcome {
    let (outcome, rules) = simulation.step(step);
    prediction.steps.push(rules);
    let outcomes = &mut prediction.transcript.outcomes;
    outcomes.push(outcome);
    &outcomes[outcomes.len() - 1]
}

fn observe(
    simulation: &mut Simulation<'_>,
    plan: &Plan,
    items: &[Observe],
    prediction: &mut Prediction,
) {
    for item in items {
        prediction.transcript.observations.extend(simulation.machine.observe(plan, item));
        prediction.observations.push(simulation.machine.rules.take());
    }
}

fn nothing() -> Prediction {
    Prediction {
        transcript: Transcript {
            outcomes: Vec::new(),
            observations: Vec::new(),
            end: End::Completed,
            evidence: BTreeMap::new(),
        },
        world: Vec::new(),
        steps: Vec::new(),
        observations: Vec::new(),
    }
}
