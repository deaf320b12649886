//! Trials that are counted before the first is asked: every sequence of the operations of a small vocabulary,
//! and every rename.

mod renames;
mod sequences;

pub use renames::Renames;
pub use sequences::Sequences;

use std::fmt;

use crate::model::Simulation;
use crate::model::profile::Profile;
use crate::probe::Environment;
use crate::scenario::Case;
use crate::scenario::plan::Plan;

/// What is asked completely.
#[derive(Clone, Debug)]
pub enum Catalogue {
    /// Every sequence of up to so many steps.
    Sequences(Sequences),
    /// Every rename.
    Renames,
}

/// All trials of a catalogue that a kernel can be asked, by number.
#[derive(Clone, Debug)]
pub enum Counted {
    /// Sequences.
    Sequences(Sequences),
    /// Renames.
    Renames(Renames),
}

impl Catalogue {
    /// The scenarios that it is made of, where it is made of some.
    pub fn cases(&self) -> &[Case] {
        match self {
            Self::Sequences(sequences) => &sequences.cases,
            Self::Renames => &[],
        }
    }

    /// The trials for a kernel.
    pub fn count(&self, environment: &Environment) -> Counted {
        match self {
            Self::Sequences(sequences) => Counted::Sequences(sequences.possible(environment)),
            Self::Renames => Counted::Renames(Renames::of(environment)),
        }
    }
}

impl fmt::Display for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequences(sequences) => {
                write!(f, "{}, every sequence of up to {}", sequences.name, sequences.depth)
            }
            Self::Renames => f.write_str("every rename"),
        }
    }
}

impl Counted {
    /// How many trials there are: their numbers are those below.
    pub fn total(&self) -> u64 {
        match self {
            Self::Sequences(sequences) => sequences.total(),
            Self::Renames(renames) => renames.total(),
        }
    }

    /// What a trial asks; `None` behind the last.
    pub fn plan(&self, number: u64) -> Option<Plan> {
        match self {
            Self::Sequences(sequences) => sequences.plan(number),
            Self::Renames(renames) => renames.plan(number),
        }
    }
}

impl fmt::Display for Counted {
    /// How they are counted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequences(sequences) => sequences.fmt(f),
            Self::Renames(renames) => renames.fmt(f),
        }
    }
}

/// Whether a kernel refuses a world: then that is asked, and nothing in it.
fn is_refused(plan: &Plan, profile: &Profile) -> bool {
    Simulation::start(plan, profile).is_err()
}
