//! Many plans in one sandbox, each as if it were alone.
//!
//! A sandbox costs more than the steps of a plan. So plans that need the same of it take turns in one: each
//! gets a tmpfs of its own as its root, which is detached with everything on it afterwards. One whose actors
//! all stay in the first process is performed there, in a changed root (chroot(2)); any other by a process of
//! its own in a mount namespace of its own, as in a sandbox, and what is left of its processes is killed.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, chroot, pivot_root};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::conduct::{self, stays_here};
use super::log::{self, Log, Part};
use super::sharing::Sharing;
use super::{Answer, Stacks, Worker};
use crate::sandbox::{self, Ended, MARK, Programs, Sandbox, TMPFS_OPTIONS};
use crate::scenario::operation::{Family, Namespace, Operation};
use crate::scenario::plan::{Needs, Plan, PlanStep};
use crate::scenario::world::EntryKind;
use crate::sys;
use crate::transcript::{Breakage, End, Transcript};

/// How often what is observed is observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// After the last step
    #[default]
    Sequence,
    /// After every step
    Step,
}

/// Where the root of a plan is mounted.
const PLACE: &str = "trial";
/// What each process of many plans may take on the average, beside the time that any of them may take.
const SHARE: Duration = Duration::from_millis(250);

impl Worker {
    /// Asks many plans, one after the other.
    pub fn run_all(&self, plans: &[Plan], check: Check) -> Vec<Transcript> {
        self.answers.clear();
        self.ask_all(plans, check, false);
        self.read_all(plans.len())
    }

    /// Takes the steps of many plans and says nothing of them: what asking costs beside that can be measured.
    /// How many were taken to their end.
    pub fn replay(&self, plans: &[Plan]) -> usize {
        self.answers.clear();
        self.ask_all(plans, Check::Sequence, true);
        self.read_all(plans.len()).iter().filter(|answer| answer.end == End::Completed).count()
    }

    /// Asks plans, and appends what they answer to the buffer of answers.
    pub(super) fn ask_all(&self, plans: &[Plan], check: Check, ends_only: bool) {
        let log = Log { buffer: &self.answers, ends_only };
        let mut left = plans;
        while let Some(first) = left.first() {
            if !fits(first) {
                log.add_all(self.run_checked(first, check, None));
                left = &left[1..];
                continue;
            }
            let together = left.iter().take_while(|plan| fits(plan) && share(first, plan)).count();
            let done = self.ask_together(&left[..together], check, &log);
            left = &left[done..];
        }
    }

    /// Asks plans in one sandbox; how many of them were answered, which is one at least.
    fn ask_together(&self, plans: &[Plan], check: Check, log: &Log<'_>) -> usize {
        let maps = match self.ids.maps(&plans[0].needs.ids) {
            Ok(maps) => maps,
            Err(missing) => {
                log.add_all(Answer::Missing(missing));
                return 1;
            }
        };
        let limit = time(plans);
        let before = log.ended().0;
        let stay = crate::processor::OneProcessor::stay();
        let needs = &plans[0].needs;
        let programs = Programs::new();
        let making = self.making(None);
        let ended =
            sandbox::run(
                &self.ids,
                &maps,
                needs,
                &programs,
                making,
                limit,
                |sandbox| match sandbox.and_then(|sandbox| {
                    Arena::new(sandbox, &[], self.may_share, self.stacks.clone())
                }) {
                    Ok(mut arena) => arena.perform(plans, check, log),
                    Err(breakage) => log.add(&Part::Broke(breakage)),
                },
            );
        drop(stay);
        let (after, open) = log.ended();
        let done = after - before;
        match ended {
            Err(breakage) => log.add(&Part::Broke(breakage)),
            Ok(Ended { in_time: false, .. }) if done < plans.len() => log.add(&Part::TimedOut),
            // It may end between two of them, for others to go on.
            Ok(Ended { status, .. }) if done == 0 || open => {
                let stage = "sandbox: its first process".to_owned();
                let detail = format!("ended early: {status:?}");
                log.add(&Part::Broke(Breakage { stage, detail, errno: None }));
            }
            Ok(_) => return done,
        }
        done + 1
    }

    pub(super) fn read_all(&self, count: usize) -> Vec<Transcript> {
        let mut transcripts = log::read(&self.answers);
        transcripts.truncate(count);
        while transcripts.len() < count {
            let stage = "worker".to_owned();
            let detail = "the process that asks ended before".to_owned();
            transcripts.push(Transcript::broken(Breakage { stage, detail, errno: None }));
        }
        transcripts
    }
}

/// How long plans may take together: any of them its time, and each a little.
pub fn time(plans: &[Plan]) -> Duration {
    let longest = plans.iter().map(|plan| plan.timeout_ms).max().unwrap_or_default();
    let processes = |plan: &Plan| if stays(plan) { 1 } else { 2 + plan.world.actors.len() as u32 };
    Duration::from_millis(longest) + SHARE * plans.iter().map(processes).sum::<u32>()
}

/// Whether a plan can be asked beside others: it needs nothing that is made with a sandbox for it alone, and
/// leaves nothing in a namespace that the next one would find there (a name of the host, a message queue, a
/// control group).
pub fn fits(plan: &Plan) -> bool {
    let needs = &plan.needs;
    let keeps = [Namespace::Uts, Namespace::Ipc, Namespace::Cgroup];
    let runs_nothing = || {
        let mut families = plan.steps.iter().map(|step| step.operation.described().family);
        families.all(|family| !matches!(family, Family::Exec | Family::Container))
    };
    !(needs.proc || needs.sys || needs.dev || plan.keep)
        && plan.world.nfs.is_empty()
        && plan.world.container.is_none()
        && plan.overlay.is_none()
        && plan.world.programs().is_empty()
        && !plan.has_loop_devices()
        && !keeps.iter().any(|namespace| needs.namespaces.contains(namespace))
        && runs_nothing()
}

/// Whether two plans need the same sandbox.
fn share(one: &Plan, other: &Plan) -> bool {
    same_sandbox(&one.needs, &other.needs)
}

/// Whether what two plans need is there in the same sandbox, where neither needs what is made for it alone.
pub fn same_sandbox(one: &Needs, other: &Needs) -> bool {
    one.privileged == other.privileged && one.ids == other.ids && one.namespaces == other.namespaces
}

/// The first process of a sandbox in which plans take turns.
pub struct Arena {
    sandbox: Sandbox,
    /// Whether the processes of a plan may share the memory of this one.
    may_share: bool,
    /// For those that do.
    stacks: Stacks,
}

impl Arena {
    /// Keeps nothing open but what the sandbox has, and this.
    ///
    /// # Errors
    /// Where the place for the plans cannot be made.
    pub fn new(
        sandbox: Sandbox,
        keep: &[&dyn AsRawFd],
        may_share: bool,
        stacks: Stacks,
    ) -> Result<Self, Breakage> {
        sys::close_all_but(&[&[&sandbox.root as &dyn AsRawFd, &sandbox.proc], keep].concat());
        rustix::fs::mkdir(PLACE, Mode::from_raw_mode(0o755))
            .map_err(|errno| broke("mkdir", sandbox::errno(errno)))?;
        Ok(Self { sandbox, may_share, stacks })
    }

    /// Performs plans. It ends before the last of them where what one left behind cannot be taken away, or
    /// what they answer becomes too much.
    fn perform(&mut self, plans: &[Plan], check: Check, log: &Log<'_>) {
        for plan in plans {
            if self.take_turn(plan, check, log).is_err() || log.buffer.is_half_full() {
                return;
            }
        }
    }

    /// Performs a plan, says how it ended, and takes away what it left behind.
    ///
    /// # Errors
    /// Where something is left, so that no other plan can be performed.
    pub(super) fn take_turn(
        &mut self,
        plan: &Plan,
        check: Check,
        log: &Log<'_>,
    ) -> Result<(), Errno> {
        if stays(plan) {
            let end = self.here(plan, check, log);
            log.add(&end.map_or_else(Part::Broke, |()| Part::Completed));
            return self.clear();
        }
        match self.apart(plan, check, log) {
            Ok(()) => kill_the_rest(),
            Err(breakage) => {
                log.add(&Part::Broke(breakage));
                Err(Errno::ECHILD)
            }
        }
    }

    /// Performs a plan in this process; [`Arena::clear`] takes away what it leaves behind.
    ///
    /// # Errors
    /// What kept it from being asked to the end.
    fn here(&mut self, plan: &Plan, check: Check, log: &Log<'_>) -> Result<(), Breakage> {
        make_root(plan).map_err(|errno| broke("mount tmpfs", errno))?;
        chroot(".").map_err(|errno| broke("chroot", errno))?;
        let root = open_here().map_err(|errno| broke("open /", errno))?;
        let top = std::mem::replace(&mut self.sandbox.root, root);
        let end = conduct::play(plan, &mut self.sandbox, &Sharing::default(), &[], check, log);
        self.sandbox.root = top;
        end
    }

    /// Performs a plan in a process and a mount namespace of its own, which says how it ended.
    ///
    /// # Errors
    /// Where that process did not come to its end. If it shared memory, that may be left as it was in the
    /// middle of something.
    fn apart(&mut self, plan: &Plan, check: Check, log: &Log<'_>) -> Result<(), Breakage> {
        let sharing = if self.may_share { Sharing::of(plan) } else { Sharing::default() };
        let stacks = self.stacks.take(sharing.processes());
        let stacks = stacks.map_err(|errno| broke("mmap of a stack", errno))?;
        let (first, others) = match stacks[..sharing.processes()].split_first() {
            Some((first, others)) if sharing.first => (Some(first), others),
            _ => (None, &[][..]),
        };
        let proc = &self.sandbox.proc;
        let perform = || {
            let end = enter(plan, proc).and_then(|mut sandbox| {
                let end = conduct::play(plan, &mut sandbox, &sharing, others, check, log);
                // Its descriptors are closed as this process ends.
                std::mem::forget(sandbox);
                end
            });
            log.add(&end.map_or_else(Part::Broke, |()| Part::Completed));
        };
        let pid = match first {
            Some(stack) => sys::fork_sharing_memory(stack, perform),
            None => sys::fork().map(|child| {
                child.unwrap_or_else(|| {
                    perform();
                    sys::exit_now(0)
                })
            }),
        };
        let pid = pid.map_err(|errno| broke("fork", errno))?;
        let ended = loop {
            match waitpid(pid, None) {
                Ok(WaitStatus::Exited(_, 0)) => {
                    self.stacks.put_back(stacks);
                    return Ok(());
                }
                Ok(status) => {
                    let stage = "arena: the process of a plan".to_owned();
                    let detail = format!("ended early: {status:?}");
                    break Breakage { stage, detail, errno: None };
                }
                Err(Errno::EINTR) => {}
                Err(errno) => break broke("waitpid", errno),
            }
        };
        // Its actors may still run on them.
        std::mem::forget(stacks);
        Err(ended)
    }

    /// Takes away what a plan left behind that was performed in this process.
    ///
    /// # Errors
    /// Where something is left.
    fn clear(&mut self) -> Result<(), Errno> {
        rustix::process::fchdir(&self.sandbox.root).map_err(sandbox::errno)?;
        chroot(".")?;
        umount2(PLACE, MntFlags::MNT_DETACH)
    }
}

/// Kills every other process of the pid namespace, and waits for them.
fn kill_the_rest() -> Result<(), Errno> {
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Err(Errno::ESRCH) => return Ok(()),
        killed => killed?,
    }
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether a plan can be performed by one process that is in the sandbox and stays as it is.
///
/// The root mount of a sandbox is locked, and that of a process in a changed root is not: who would unmount or
/// move it could tell.
pub fn stays(plan: &Plan) -> bool {
    let leads_below = symlinks(plan).all(is_below_root);
    let keeps_root = |step: &PlanStep| match &step.operation {
        Operation::Umount(step) => leads_below && is_below_root(step.at.as_str()),
        Operation::Move(step) => leads_below && is_below_root(step.from.as_str()),
        Operation::MoveMount(step) => {
            leads_below && step.from.as_ref().is_none_or(|from| is_below_root(from.as_str()))
        }
        Operation::OpenTree(step) => is_below_root(step.path.as_str()),
        // It takes a user namespace, which who is in a changed root may not make: user_namespaces(7).
        Operation::MountSetattr(step) => step.idmap.is_none(),
        _ => true,
    };
    plan.world.actors.keys().all(|name| stays_here(plan, name)) && plan.steps.iter().all(keeps_root)
}

/// What the symbolic links of a plan say.
fn symlinks(plan: &Plan) -> impl Iterator<Item = &str> {
    let in_world = plan.world.entries().filter_map(|entry| match &entry.kind {
        EntryKind::Symlink(target) => Some(target.as_str()),
        _ => None,
    });
    in_world.chain(plan.steps.iter().filter_map(|step| match &step.operation {
        Operation::Symlink(step) => Some(step.target.as_str()),
        _ => None,
    }))
}

/// Whether a path leads to something below the root for certain, but for symbolic links.
fn is_below_root(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.next().is_some() && !path.contains("..")
}

/// Mounts the root of a plan at its place, and goes there.
fn make_root(plan: &Plan) -> Result<(), Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let flags = if plan.needs.privileged { flags } else { MsFlags::empty() };
    mount(Some(MARK), PLACE, Some("tmpfs"), flags, Some(TMPFS_OPTIONS))?;
    chdir(PLACE)
}

/// In a process that was made for a plan: its root becomes the root of a mount namespace, and stays the working directory
/// (NOTES of pivot_root(2)).
fn enter(plan: &Plan, proc: &OwnedFd) -> Result<Sandbox, Breakage> {
    // Memory that was shared with an actor of a plan before this one may not be any more.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(|errno| broke("prctl PR_SET_DUMPABLE", sandbox::errno(errno)))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| broke("unshare", errno))?;
    make_root(plan).map_err(|errno| broke("mount tmpfs", errno))?;
    pivot_root(".", ".").map_err(|errno| broke("pivot_root", errno))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(|errno| broke("umount the old root", errno))?;
    let root = open_here().map_err(|errno| broke("open /", errno))?;
    let proc = proc.try_clone().map_err(|_| broke("dup of proc", Errno::EMFILE))?;
    Ok(Sandbox { root, proc, programs: BTreeMap::new(), program_sizes: Vec::new() })
}

fn open_here() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(".", flags, Mode::empty()).map_err(sandbox::errno)
}

fn broke(what: &str, errno: Errno) -> Breakage {
    sandbox::breakage(format!("arena: {what}"), errno)
}
