//! Where a witness is asked: `host`, and later other kernels.

pub mod host;

use std::io;
use std::time::Duration;

use crate::scenario::plan::Plan;
use crate::worker::Answer;

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
}
