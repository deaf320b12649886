//! A visit to a sandbox: the steps of a scenario up to some point are taken, and then a program is let in as one of the
//! actors, with a person or a file in front of it. `worker::shell` is what happens inside.

mod talk;
mod way;

use std::io;
use std::time::Duration;

pub use talk::{Front, Left, talk};
pub use way::{Entered, NoWay, enter};

use crate::scenario::Case;
use crate::scenario::plan::Plan;

/// Something that the visit needs broke.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct Broken {
    /// What it was.
    pub what: String,
    /// What came of it.
    pub error: io::Error,
}

impl Broken {
    /// What makes of an error that this broke.
    pub fn at(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self { what, error }
    }
}

/// What is done before the program is let in: so many steps, with as much time as a person likes. It has a /proc and a
/// /dev, which could not be mounted later.
pub fn before(case: &Case, steps: usize) -> Plan {
    const LONG: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    let mut plan = case.plan.clone();
    plan.steps.truncate(steps);
    plan.observe.clear();
    plan.keep = false;
    plan.timeout_ms = LONG.as_millis() as u64;
    (plan.needs.proc, plan.needs.dev) = (true, true);
    plan
}
