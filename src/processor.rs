//! Which processor a process stays on.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, iter};

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

const THIS: Pid = Pid::from_raw(0);

/// Keeps this process, and what it starts, on one of the processors that it may use; numbers beyond
/// those count around.
///
/// The processes of User-Mode Linux wait for each other at every system call of the guest: on two
/// processors each of these waits wakes up the other one, which takes longer than the call.
pub fn stay_on(number: usize) {
    if let Some(one) = one_of(&usable(), number) {
        // Where it cannot be had, the scheduler goes on as it likes.
        let _ = sched_setaffinity(THIS, &one);
    }
}

/// The processors that this process may use.
pub fn usable() -> Vec<usize> {
    sched_getaffinity(THIS).map_or(Vec::new(), |allowed| processors(&allowed))
}

fn processors(set: &CpuSet) -> Vec<usize> {
    (0..CpuSet::count()).filter(|processor| set.is_set(*processor) == Ok(true)).collect()
}

/// Has what a process started, and those that stay on one processor, stay on another. Numbers are those of
/// [`stay_on`]. What is started meanwhile is where the one is that starts it: it is looked for until nobody
/// new is found.
pub fn move_to(process: Pid, number: usize) {
    let Some(one) = one_of(&usable(), number) else { return };
    let stays_on_one = |allowed: CpuSet| processors(&allowed).len() == 1;
    let mut moved = BTreeSet::new();
    loop {
        let new: Vec<i32> = started_by(process.as_raw()).difference(&moved).copied().collect();
        if new.is_empty() {
            return;
        }
        for pid in new {
            moved.insert(pid);
            let pid = Pid::from_raw(pid);
            // One that has ended meanwhile is nowhere.
            if sched_getaffinity(pid).is_ok_and(stays_on_one) {
                let _ = sched_setaffinity(pid, &one);
            }
        }
    }
}

/// The processes that a process started, and those that they did.
fn started_by(process: i32) -> BTreeSet<i32> {
    let all = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        // After the name in parentheses come the state and the parent: proc_pid_stat(5).
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    });
    let parents: BTreeMap<i32, i32> = all.collect();
    let above = |pid: &i32| parents.get(pid).copied();
    // They were not looked at all at once: who is above whom may go in a circle.
    let ancestors = |pid: &i32| iter::successors(above(pid), above).take(parents.len());
    let descends = |pid: &i32| ancestors(pid).any(|above| above == process);
    parents.keys().copied().filter(descends).collect()
}

fn one_of(usable: &[usize], number: usize) -> Option<CpuSet> {
    let mut one = CpuSet::new();
    let chosen = usable.get(number.checked_rem(usable.len())?)?;
    one.set(*chosen).is_ok().then_some(one)
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
        // Where there is one anyway, there is nothing to do.
        let before = sched_getaffinity(THIS).ok().filter(|before| processors(before).len() > 1);
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
