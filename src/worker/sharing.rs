//! Which processes of a plan share the worker's memory instead of having a copy of it.
//!
//! Copies are what a sandbox costs most: in User-Mode Linux each is one more process of its host, and
//! each page that is touched in it a few system calls there. But memory tells who has it, and where
//! that could be seen nobody shares any. And memory that is shared can be written: that is for guests,
//! which are thrown away, and never for this machine.

use crate::scenario::operation::{Family, Namespace, Operation};
use crate::scenario::plan::Plan;
use crate::scenario::world::Setup;

/// Which processes of a plan share memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// None.
    Nobody,
    /// The first process of the sandbox.
    First,
    /// The first process of the sandbox, and every actor that the world begins with.
    All,
}

impl Sharing {
    /// What a plan allows.
    pub fn of(plan: &Plan) -> Self {
        let operations = || plan.steps.iter().map(|step| &step.operation);
        if !is_own_code_alone(plan) {
            Self::Nobody
        } else if operations().any(shows_in_memory) {
            Self::First
        } else {
            Self::All
        }
    }

    /// How many processes that is.
    pub fn processes(self, plan: &Plan) -> usize {
        match self {
            Self::Nobody => 0,
            Self::First => 1,
            Self::All => 1 + plan.world.actors.len(),
        }
    }
}

/// Whether nothing runs in the sandbox but nsharness, and no step reaches memory: a program could look into
/// that of a process (ptrace(2)), and a step could write into /proc/PID/mem.
fn is_own_code_alone(plan: &Plan) -> bool {
    let starts_nothing = |setup: &Setup| match setup {
        Setup::Tree(_) | Setup::Mount { .. } => true,
    };
    !plan.needs.proc
        && plan.world.nfs.is_empty()
        && plan.world.setup.iter().all(starts_nothing)
        && plan.steps.iter().all(|step| step.operation.described().family != Family::Exec)
}

/// Whether an operation changes what the kernel keeps with a process's memory, or depends on it: whether
/// it is dumpable, which a change of credentials decides (kernel/cred.c commit_creds()), and that nobody
/// else has it, which a time namespace wants (kernel/time/namespace.c timens_install()).
fn shows_in_memory(operation: &Operation) -> bool {
    match operation {
        Operation::Getcred(_) => false,
        Operation::Setns(_) => true,
        Operation::Unshare(step) => {
            step.namespaces.iter().any(|kind| matches!(kind, Namespace::User | Namespace::Time))
        }
        operation => operation.described().family == Family::Credentials,
    }
}
