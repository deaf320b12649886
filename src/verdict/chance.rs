//! What an answer owes to chance, and not to what was asked.

use crate::scenario::operation::{Operation, UmountFlag};
use crate::scenario::plan::{Plan, PlanStep};
use crate::transcript::{Outcome, Transcript};

/// Whether a kernel says of a step, an unmount with MNT_EXPIRE, that its mount is not marked. Where it was, the mark
/// went by chance, and all that comes after is another story: a walk along a path during which any mount of the machine
/// changes is begun anew, and what it had come to counts as used (fs/namespace.c legitimize_mnt(), mntput()).
pub fn has_no_mark(plan: &Plan, kernel: &Transcript, index: usize) -> bool {
    let again = |outcome: &Outcome| matches!(outcome, Outcome::Failed { errno, .. } if errno.name() == "EAGAIN");
    plan.steps.get(index).is_some_and(|step| expires(step).is_some())
        && kernel.outcomes.get(index).is_some_and(again)
}

/// Whether a mark was gone when the very next step asked for the mount again: nothing of the scenario can have taken it
/// away.
pub fn lost_a_mark(plan: &Plan, kernel: &Transcript) -> bool {
    plan.steps.windows(2).enumerate().any(|(index, steps)| {
        let [first, second] = steps else { return false };
        expires(first) == expires(second)
            && first.actor == second.actor
            && [index, index + 1].into_iter().all(|index| has_no_mark(plan, kernel, index))
    })
}

/// The mount that a step asks to expire.
fn expires(step: &PlanStep) -> Option<&str> {
    match &step.operation {
        Operation::Umount(umount) if umount.flags.contains(&UmountFlag::Expire) => {
            Some(umount.at.as_str())
        }
        _ => None,
    }
}
