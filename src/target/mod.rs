//! Where a witness is asked: `host`, `model`, a recording, another kernel.

pub mod guest;
pub mod host;
pub mod model;
pub mod name;
pub mod open;
pub mod passage;
pub mod recording;
pub mod remote;
pub mod through;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::missing::Missing;
use crate::model::Prediction;
use crate::probe::Environment;
use crate::scenario::plan::Plan;
use crate::transcript::Transcript;
use crate::worker::{self, arena::Check};

pub use name::{Target, Targets, Which};

/// A target that can be asked.
pub struct Opened {
    /// Who answers there.
    pub witness: Box<dyn Witness>,
    /// What it is.
    pub environment: Environment,
}

impl Opened {
    /// Asks it these probes.
    ///
    /// # Errors
    /// Where it cannot be asked anything.
    pub fn probe(&mut self, probes: &BTreeSet<String>) -> Result<(), Unopened> {
        let asked = self.environment.ask(probes, &mut *self.witness);
        asked.map_err(|error| Unopened::Broken(format!("the kernel cannot be probed: {error}")))
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({}, Linux {})", self.witness.target(), self.environment.release)
    }
}

/// Why a target cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unopened {
    /// It cannot be had here.
    Missing(Missing),
    /// It broke before anything was asked.
    Broken(String),
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// Starts what a target needs; it may take seconds. Guests that run at the same
/// time have different places, from 0.
pub type Boot = Box<dyn FnOnce(usize) -> Result<Opened, Unopened>>;

/// How a target is got.
pub enum Opener {
    /// It can be asked at once.
    At(Box<Opened>),
    /// It is a guest, which is booted when its turn comes, in a process of its own.
    Guest(Boot),
    /// It cannot be had.
    Never(Unopened),
}

impl Opener {
    /// A target that can be asked at once.
    pub fn at(witness: impl Witness + 'static, environment: Environment) -> Self {
        Self::At(Box::new(Opened { witness: Box::new(witness), environment }))
    }

    /// Opens it here and now, and asks it these probes.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub fn open(self, probes: &BTreeSet<String>) -> Result<Opened, Unopened> {
        let mut opened = match self {
            Self::At(opened) => *opened,
            Self::Guest(boot) => boot(0)?,
            Self::Never(why) => return Err(why),
        };
        opened.probe(probes)?;
        Ok(opened)
    }

    /// Whether a guest has to be booted.
    pub fn is_guest(&self) -> bool {
        matches!(self, Self::Guest(_))
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(opened) => opened.fmt(f),
            Self::Guest(_) => f.write_str("Guest"),
            Self::Never(why) => write!(f, "Never({why})"),
        }
    }
}

/// What a witness answers to a plan.
#[derive(Debug)]
pub enum Answer {
    /// What came of asking, to its end or not.
    Asked(Box<Transcript>),
    /// What came of asking many plans, in their order.
    All(Vec<Transcript>),
    /// What follows from rules, and nobody was asked.
    Predicted(Box<Prediction>),
    /// It cannot be asked this, for these reasons.
    Missing(Vec<Missing>),
}

impl From<worker::Answer> for Answer {
    fn from(answer: worker::Answer) -> Self {
        match answer {
            worker::Answer::Asked(transcript) => Self::Asked(transcript),
            worker::Answer::Missing(missing) => Self::Missing(missing),
        }
    }
}

/// Somebody who answers plans: a kernel, a model, a runtime.
///
/// A witness takes several plans at once and answers them in any order; each is named by a ticket
/// that the asker chooses. A witness that breaks over a plan answers that it broke.
pub trait Witness {
    /// Its name in reports, as in `kernel`.
    fn name(&self) -> &'static str;

    /// Where it is asked, as in `host`.
    fn target(&self) -> String;

    /// How many plans it takes at once.
    fn capacity(&self) -> usize;

    /// Gives it a plan. At most [`Witness::capacity`] may be unanswered.
    ///
    /// # Errors
    /// Where it cannot be asked anything any more.
    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()>;

    /// Gives it a plan that it was asked before, to be asked where nothing else was: a guest is booted for it.
    ///
    /// # Errors
    /// Where it cannot be asked anything any more.
    fn submit_afresh(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        self.submit(ticket, plan)
    }

    /// Gives it many plans, to be asked one after the other in as few sandboxes as they allow, and answered
    /// together. It counts as one. Where it breaks over them they are answered as one that broke.
    ///
    /// # Errors
    /// Where it cannot be asked anything any more, or not in this way.
    fn submit_all(&mut self, _ticket: usize, _plans: &[Plan], _check: Check) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "it is asked one plan after the other"))
    }

    /// Waits for the next answer, at most this long; `None` where none came or a signal did.
    ///
    /// # Errors
    /// Where it cannot be asked anything any more.
    fn next(&mut self, wait: Duration) -> io::Result<Option<(usize, Answer)>>;

    /// What went wrong with it that is in no answer: it died between two plans, or said what nobody asked it. What
    /// it answered meanwhile may be true, and the run is not as it should be.
    fn trouble(&mut self) -> Option<String> {
        None
    }

    /// Has a guest that stays on one processor stay on another: see [`crate::processor::stay_on`].
    fn move_to(&mut self, _processor: usize) {}

    /// Nothing more is asked.
    ///
    /// # Errors
    /// Where what was answered cannot be written down.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What becomes readable when [`Witness::next`] has something to say, for those who wait for
    /// several witnesses at once. Nothing, where it never has to be waited for.
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}
