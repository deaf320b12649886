//! What is said between nsharness and the agent in a guest.

use serde::{Deserialize, Serialize};

use crate::probe::Environment;
use crate::scenario::plan::Plan;
use crate::transcript::Transcript;
use crate::worker::{self, arena::Check};

/// Changes with what is said here. Both sides are the same binary, unless somebody gives a guest another.
pub const PROTOCOL: u32 = 2;

/// What the agent is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// To run a plan.
    Ask {
        /// Its number, which the replies name.
        number: usize,
        /// The plan.
        plan: Box<Plan>,
    },
    /// To run many plans, and to answer them together.
    AskAll {
        /// The number that the replies name.
        number: usize,
        /// The plans.
        plans: Vec<Plan>,
        /// How often they observe.
        check: Check,
    },
}

/// What the agent says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It is there; its first word.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The guest's kernel, with the answers of all probes that are no scenario.
        environment: Box<Environment>,
        /// What could not be had and may not be needed.
        notes: Vec<String>,
    },
    /// A plan is running from now on.
    Begun {
        /// The number of the plan.
        number: usize,
    },
    /// What came of a plan.
    Answer {
        /// The number of the plan.
        number: usize,
        /// What the worker answers.
        answer: Box<worker::Answer>,
        /// What the guest's kernel complained of meanwhile.
        troubles: Vec<String>,
    },
    /// What came of many plans.
    AnswerAll {
        /// Their number.
        number: usize,
        /// What each was answered.
        transcripts: Vec<Transcript>,
        /// What the guest's kernel complained of meanwhile.
        troubles: Vec<String>,
    },
}
