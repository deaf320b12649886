//! What is said between nsharness and the agent in a guest.

use serde::{Deserialize, Serialize};

use crate::probe::Environment;
use crate::scenario::plan::Plan;
use crate::transcript::Transcript;
use crate::worker::shell::{Said, Shell, Told};
use crate::worker::{self, arena::Check};

/// Changes with what is said here. Both sides are the same binary, unless somebody gives a guest another.
pub const PROTOCOL: u32 = 5;
/// How many bytes may be on their way to the agent. A terminal line holds back what is more than 4096 less
/// 128 bytes (TTY_THRESHOLD_THROTTLE of drivers/tty/n_tty.c), and one of User-Mode Linux that was held back
/// was measured to go on a second later.
pub const WINDOW: usize = 3584;
/// After how many bytes the agent says that it has taken them.
pub const TAKEN: usize = WINDOW / 2;

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
    /// To take the steps of a plan, and to let a program in then.
    LetIn {
        /// The plan.
        plan: Box<Plan>,
        /// The program, and as whom it runs.
        shell: Box<Shell>,
    },
    /// To say this to the program that was let in.
    Say(Said),
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
    /// It has taken so many bytes from the line.
    Taken {
        /// All since it was started.
        bytes: usize,
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
    /// What is told of the program that was let in.
    Told(Box<Told>),
    /// It ends now and means to: what it was sent and has not begun is for another guest. An end without this word is
    /// an accident.
    Leaving,
}
