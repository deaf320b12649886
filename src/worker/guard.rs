//! Processes of the harness beside programs that a scenario runs.
//!
//! Such a program is root of the sandbox, and could write into the memory of who answers for it, by ptrace(2) or
//! /proc/PID/mem. Nobody may look into a process that is not dumpable but who has CAP_SYS_PTRACE where its program was
//! started, which is outside of the sandbox (ptrace_may_access() of kernel/ptrace.c).

use nix::errno::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::sandbox;
use crate::scenario::observe::Observe;
use crate::scenario::operation::Family;
use crate::scenario::plan::Plan;

/// Closes this process to the programs that a plan runs. Where its actors are to enter each other's namespaces, or
/// these are looked at, it stays open: that needs the same right.
///
/// # Errors
/// Those of prctl(2).
pub fn close(plan: &Plan) -> Result<(), Errno> {
    if !is_closed(plan) {
        return Ok(());
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(sandbox::errno)
}

/// Whose calls are traced is open: what its arguments point to is read by the same right.
fn is_closed(plan: &Plan) -> bool {
    if plan.trace {
        return false;
    }
    let has = |family| plan.steps.iter().any(|step| step.operation.described().family == family);
    let looks_in = |item: &Observe| matches!(item, Observe::Namespaces(_) | Observe::Process(_));
    has(Family::Exec) && !has(Family::Namespaces) && !plan.observe.iter().any(looks_in)
}
