//! Which processor a process stays on.

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

const THIS: Pid = Pid::from_raw(0);

/// Keeps this process, and what it starts, on one of the processors that it may use; numbers beyond
/// those count around.
///
/// The processes of User-Mode Linux wait for each other at every system call of the guest: on two
/// processors each of these waits wakes up the other one, which takes longer than the call.
pub fn stay_on(number: usize) {
    let Ok(allowed) = sched_getaffinity(THIS) else { return };
    let usable = |processor: &usize| allowed.is_set(*processor).unwrap_or(false);
    let usable: Vec<usize> = (0..CpuSet::count()).filter(usable).collect();
    let mut one = CpuSet::new();
    // Where it cannot be had, the scheduler goes on as it likes.
    if !usable.is_empty() && one.set(usable[number % usable.len()]).is_ok() {
        let _ = sched_setaffinity(THIS, &one);
    }
}

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
        let allowed = |set: &CpuSet| {
            (0..CpuSet::count()).filter(|processor| set.is_set(*processor) == Ok(true)).count()
        };
        // Where there is one anyway, there is nothing to do.
        let before = sched_getaffinity(THIS).ok().filter(|before| allowed(before) > 1);
        let mut one = CpuSet::new();
        // A kernel for one processor may lack getcpu(2).
        let mut known = || sched_getcpu().is_ok_and(|here| one.set(here).is_ok());
        if before.is_some() && known() {
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
