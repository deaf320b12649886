//! The kernel that is asked: many plans at once, and something else may be done meanwhile.

use std::fmt;
use std::io;
use std::time::Duration;

use super::SearchError;
use crate::scenario::plan::Plan;
use crate::target::through::Through;
use crate::target::{Answer, Witness};
use crate::transcript::{Breakage, End, Transcript};
use crate::worker::arena::Check;
use crate::worker::asker::Asker;

/// How long an answer is waited for before it is looked whether the search was interrupted.
const TICK: Duration = Duration::from_millis(200);

/// A kernel.
pub enum Kernel {
    /// The one that this process is on, and what mounts the overlays on it where that is another.
    Own(Box<Asker>, Option<Through>),
    /// That of a guest.
    Guest(Box<dyn Witness>),
}

/// Plans that are being asked.
#[derive(Debug)]
pub struct Asking {
    /// The plans.
    pub plans: Vec<Plan>,
    check: Check,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own(..) => "Own",
            Self::Guest(_) => "Guest",
        })
    }
}

fn broke(error: impl fmt::Display) -> SearchError {
    SearchError::Broke(error.to_string())
}

impl Kernel {
    /// The kernel that this process is on.
    ///
    /// # Errors
    /// Where no process can be had that asks it.
    pub fn own(through: Option<Through>) -> Result<Self, SearchError> {
        Asker::start().map(|asker| Self::Own(Box::new(asker), through)).map_err(broke)
    }

    /// Begins to ask plans. One begins with no others before those are finished.
    ///
    /// # Errors
    /// Where it cannot be asked anything any more.
    pub fn begin(&mut self, plans: Vec<Plan>, check: Check) -> Result<Asking, SearchError> {
        match self {
            Self::Own(asker, None) => asker.begin(&plans, check),
            Self::Own(asker, Some(through)) => {
                let plans: Vec<_> = plans.iter().map(|plan| through.plan(plan)).collect();
                asker.begin(&plans, check)
            }
            Self::Guest(witness) => witness.submit_all(0, &plans, check),
        }
        .map_err(broke)?;
        Ok(Asking { plans, check })
    }

    /// What the plans are answered, in their order.
    ///
    /// # Errors
    /// Where it cannot be asked anything any more.
    pub fn finish(&mut self, asking: &Asking) -> Result<Vec<Transcript>, SearchError> {
        let Asking { plans, check } = asking;
        match self {
            Self::Own(asker, _) => Ok(asker.finish(plans.len())),
            Self::Guest(witness) => {
                let answer = wait(&mut **witness).map_err(broke)?;
                divide(&mut **witness, plans, *check, answer).map_err(broke)
            }
        }
    }
}

fn wait(witness: &mut dyn Witness) -> io::Result<Answer> {
    loop {
        if let Some((_, answer)) = witness.next(TICK)? {
            return Ok(answer);
        }
        if crate::sys::interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

/// What each of many plans was answered. Where they broke the guest together, halves of them are asked of
/// the next one, until it is known which of them it was.
fn divide(
    witness: &mut dyn Witness,
    plans: &[Plan],
    check: Check,
    answer: Answer,
) -> io::Result<Vec<Transcript>> {
    let breakage = match answer {
        Answer::All(transcripts) if transcripts.len() == plans.len() => return Ok(transcripts),
        Answer::Asked(transcript) => match transcript.end {
            End::Broke(breakage) => breakage,
            _ => unexpected("one answer to many plans"),
        },
        _ => unexpected("an answer that is none to many plans"),
    };
    if plans.len() <= 1 {
        return Ok(plans.iter().map(|_| Transcript::broken(breakage.clone())).collect());
    }
    let mut all = Vec::with_capacity(plans.len());
    let (first, second) = plans.split_at(plans.len() / 2);
    for half in [first, second] {
        witness.submit_all(0, half, check)?;
        let answer = wait(witness)?;
        all.extend(divide(witness, half, check, answer)?);
    }
    Ok(all)
}

fn unexpected(what: &str) -> Breakage {
    Breakage { stage: "guest".into(), detail: what.to_owned(), errno: None }
}
