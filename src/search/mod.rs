//! The search for what nobody wrote down: worlds and sequences of steps are made up, a kernel and the model
//! are asked, and what is handed back is the smallest plan in which they part.
//!
//! A trial is a [`Plan`] like any other: a worker performs it, the model predicts it, and both are compared
//! as a run does it.

pub mod catalogue;
pub mod compare;
pub mod document;
pub mod family;
pub mod findings;
pub mod hunt;
pub mod invariants;
pub mod job;
pub mod keep;
pub mod kernel;
pub mod layout;
pub mod mutation;
pub mod random;
pub mod repro;
pub mod scene;
pub mod shrink;
pub mod summary;
pub mod trial;
pub mod write;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::rules::{self, Invariant, Rule};
use crate::scenario::plan::Plan;
use crate::transcript::Breakage;

/// One world and a sequence of steps, made up from a seed: trial `number` of a seed is always the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, from zero.
    pub number: u64,
    /// What is asked.
    pub plan: Plan,
}

/// Where a kernel and the model part: the first place of a plan at which they do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deviation {
    /// Where.
    pub place: Place,
    /// What the kernel answered there.
    pub kernel: String,
    /// What the model says.
    pub model: String,
    /// The rules by which the model says so.
    #[serde(serialize_with = "ids", deserialize_with = "of_ids")]
    pub rules: Vec<&'static Rule>,
    /// What it has in common with others of its kind.
    pub cause: Cause,
}

/// A place of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// The world could be set up by one of them alone.
    World,
    /// This step, from zero.
    Step(usize),
    /// This observation of the transcript, from zero.
    Observation(usize),
    /// After this step, from zero: what the kernel does breaks what holds of all operations.
    Invariant(Invariant, usize),
}

/// The equivalence class of deviations: what was done or observed, both answers, and the deciding rules, but
/// none of the names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cause {
    /// The operation, or the kind of observation and the field.
    pub what: String,
    /// The kernel's answer: an error, or what it has of a field. Where an invariant is broken, what is after it.
    pub kernel: String,
    /// The model's, or what was before.
    pub model: String,
    /// The ids of the rules that decided the step.
    pub rules: Vec<String>,
}

/// What was found: all deviations of one cause.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What they have in common.
    pub cause: Cause,
    /// How many trials showed it.
    pub count: u64,
    /// The first of them.
    pub first: u64,
    /// The smallest plan that shows it.
    pub smallest: Plan,
    /// Where it does.
    pub deviation: Deviation,
    /// Whether the plan showed it again when it was asked alone; nothing where it was not.
    #[serde(default)]
    pub again: Option<bool>,
}

/// A kernel and the model: what they say of plans.
pub trait Oracle {
    /// The deviation of each of these plans; `None` where both say the same, or where the kernel could not be
    /// asked to the end.
    ///
    /// # Errors
    /// Where the kernel cannot be asked anything any more.
    fn ask(&mut self, plans: &[Plan]) -> Result<Vec<Option<Deviation>>, SearchError>;
}

/// Why a search does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SearchError {
    /// The kernel cannot be had here.
    #[error("{0}")]
    Unavailable(String),
    /// What was to ask it broke.
    #[error("the kernel cannot be asked any more: {0}")]
    Broke(String),
    /// A signal ended it.
    #[error("interrupted")]
    Interrupted,
}

/// What came of asking a kernel and the model one plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Asked {
    /// They say the same of all that the model speaks of.
    Agree,
    /// They part.
    Part(Box<Deviation>),
    /// The kernel was not asked to the end: nothing is known.
    Broke(Breakage),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: kernel {}, model {}", self.what, self.kernel, self.model)
    }
}

fn ids<S: Serializer>(rules: &[&'static Rule], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(rules.iter().map(|rule| rule.id))
}

fn of_ids<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<&'static Rule>, D::Error> {
    let ids = Vec::<String>::deserialize(from)?;
    let find = |id: &String| {
        let unknown = || serde::de::Error::custom(format!("no rule has the id {id}"));
        rules::find(id).ok_or_else(unknown)
    };
    ids.iter().map(find).collect()
}
