//! One processor for all of a scenario.

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

const THIS: Pid = Pid::from_raw(0);

/// Keeps this process, and for ever what it starts meanwhile, on the processor that it is on.
///
/// The processes of a scenario take turns and lose nothing by it. Linux 6.18 takes the ids by which it
/// tells which of two mount namespaces is older from a batch of each processor (kernel/nstree.c
/// `ns_tree_gen_id`), so that a scenario would go one way or the other by chance.
pub struct OneProcessor {
    before: Option<CpuSet>,
}

impl OneProcessor {
    /// Stays where this process is; where that cannot be had, the scheduler goes on as it likes.
    pub fn stay() -> Self {
        let before = sched_getaffinity(THIS).ok();
        let mut one = CpuSet::new();
        // A kernel for one processor may lack getcpu(2).
        let known = sched_getcpu().is_ok_and(|here| one.set(here).is_ok());
        if before.is_some() && known {
            let _ = sched_setaffinity(THIS, &one);
        }
        Self { before }
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = sched_setaffinity(THIS, before);
        }
    }
}
