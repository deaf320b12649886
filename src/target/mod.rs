//! Where a witness is asked: `host`, `model`, a recording, and later other kernels.

pub mod guest;
pub mod host;
pub mod model;
pub mod name;
pub mod recording;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::missing::Missing;
use crate::model::Prediction;
use crate::scenario::plan::Plan;
use crate::transcript::Transcript;
use crate::worker;

pub use name::{Target, Targets, Which};

/// What a witness answers to a plan.
#[derive(Debug)]
pub enum Answer {
    /// What came of asking, to its end or not.
    Asked(Box<Transcript>),
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

    /// Waits for the next answer, at most this long; `None` where none came or a signal did.
    ///
    /// # Errors
    /// Where it cannot be asked anything any more.
    fn next(&mut self, wait: Duration) -> io::Result<Option<(usize, Answer)>>;

    /// What becomes readable when [`Witness::next`] has something to say, for those who wait for
    /// several witnesses at once. Nothing, where it never has to be waited for.
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}
