//! Steps: one actor performs one operation in the model, and an outcome comes of it.

pub mod credentials;
pub mod files;
pub mod mounts;
pub mod namespaces;
pub mod roots;

use super::halt::{Halt, Res};
use super::machine::{FsType, Machine, ProcId};
use crate::scenario::operation::{InFamily, Operation};
use crate::transcript::Outcome;

/// An operation that did not go on, with the system call that says so.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the types say it")]
pub struct Failure {
    pub halt: Halt,
    pub syscall: &'static str,
}

impl Failure {
    /// What a transcript has of it.
    pub fn outcome(self) -> Outcome {
        match self.halt {
            Halt::Refused(errno) => {
                Outcome::Failed { errno, syscall: self.syscall.to_owned(), message: None }
            }
            Halt::Unknown(why) | Halt::Lost(why) => Outcome::Abstained(why.to_owned()),
        }
    }
}

/// A runtime may change everything.
pub const OF_RUNTIMES: &str = "what a container runtime does is not modelled";

/// What a step comes to.
pub type Performed = Result<Outcome, Failure>;

/// Names the system call of a result.
pub trait Named<T> {
    /// Gives the value, or the failure of this system call.
    fn of(self, syscall: &'static str) -> Result<T, Failure>;
}

impl<T> Named<T> for Res<T> {
    fn of(self, syscall: &'static str) -> Result<T, Failure> {
        self.map_err(|halt| Failure { halt, syscall })
    }
}

/// What a step gives: the actor that takes it, the operation, and the actor that `of` names.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the type says it")]
pub struct Step<'a> {
    pub who: ProcId,
    pub operation: &'a Operation,
    pub of: ProcId,
}

impl Machine<'_> {
    /// Takes one step.
    pub fn perform(&mut self, step: Step<'_>) -> Outcome {
        if let Some(why) = self.lost {
            return Outcome::Abstained(why.to_owned());
        }
        let performed: Performed = match step.operation.in_family() {
            InFamily::Files(operation) => self.file_step(step.who, operation),
            InFamily::Mounts(operation) => self.mount_step(step.who, operation),
            InFamily::Roots(operation) => self.root_step(step.who, operation),
            InFamily::Namespaces(operation) => self.namespace_step(step.who, step.of, operation),
            InFamily::Credentials(operation) => self.credential_step(step.who, operation),
            InFamily::Exec(_) => Err(Failure { halt: self.of_exec(), syscall: "execve" }),
            InFamily::Container(_) => Err(Failure { halt: Halt::Lost(OF_RUNTIMES), syscall: "" }),
        };
        if let Err(Failure { halt: Halt::Lost(why), .. }) = performed {
            self.lost = Some(why);
        }
        self.let_go_of_unused();
        performed.unwrap_or_else(Failure::outcome)
    }

    /// A program that comes with nsharness changes nothing; one of the system may change everything.
    fn of_exec(&self) -> Halt {
        if self.supers.iter().any(|(_, sb)| sb.kind == FsType::Libraries) {
            Halt::Lost("what a program of the system does is not modelled")
        } else {
            Halt::Unknown("what a program does is not modelled")
        }
    }
}
