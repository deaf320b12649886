//! The way to a program in a sandbox of a guest.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::message::{Reply, Request};
use super::{Boot, Guest};
use crate::scenario::plan::Plan;
use crate::target::Witness;
use crate::target::passage::Passage;
use crate::transcript::{Breakage, Transcript};
use crate::worker::Answer;
use crate::worker::shell::{Said, Shell, Told};

/// A program in a sandbox of a guest.
#[derive(Debug)]
pub struct There {
    guest: Guest,
}

impl Guest {
    /// Has a guest that is up and idle take the steps of a plan, and let a program in then.
    ///
    /// # Errors
    /// Where it is not up, or cannot be asked.
    pub fn let_in(mut self, plan: &Plan, shell: &Shell) -> io::Result<There> {
        /// Nobody says how long a person looks around.
        const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let Some(boot) = self.boot.as_mut().filter(|boot| boot.up) else {
            return Err(io::Error::other("the guest is not up"));
        };
        boot.deadline = Instant::now() + LONG;
        let (plan, shell) = (Box::new(plan.clone()), Box::new(shell.clone()));
        boot.ask(&Request::LetIn { plan, shell })?;
        Ok(There { guest: self })
    }
}

impl Boot {
    fn ask(&mut self, request: &Request) -> io::Result<()> {
        self.out.extend(self.encoder.encode(request)?);
        self.flush()
    }
}

impl There {
    fn broke(detail: String) -> Told {
        let breakage = Breakage { stage: "guest".to_owned(), detail, errno: None };
        Told::Ended(Box::new(Answer::Asked(Box::new(Transcript::broken(breakage)))))
    }
}

impl Passage for There {
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.guest.sources()
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<Told>> {
        let Some(boot) = &mut self.guest.boot else {
            return Ok(Some(Self::broke("it has ended".to_owned())));
        };
        match boot.wait(wait) {
            Ok(Some(Reply::Told(told))) => Ok(Some(*told)),
            Ok(Some(reply)) => {
                self.guest.take(reply);
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(why) => Ok(Some(Self::broke(boot.explain(&why)))),
        }
    }

    fn say(&mut self, said: Said) -> io::Result<()> {
        match &mut self.guest.boot {
            Some(boot) => boot.ask(&Request::Say(said)),
            None => Ok(()),
        }
    }

    fn waiting(&self) -> usize {
        self.guest.boot.as_ref().map_or(0, |boot| boot.out.len())
    }
}
