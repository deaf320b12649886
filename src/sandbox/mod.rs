//! Fresh namespaces on a tmpfs that is pivoted into: nothing of the host's files can be reached,
//! and nothing is left when its first process ends.

mod filter;
mod ids;
mod limits;
mod maker;
mod programs;
mod restrictions;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, chdir, getppid, pivot_root};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::scenario::operation::Namespace;
use crate::scenario::plan::Needs;
use crate::scenario::scalar::{Errno as ErrnoName, ProgramName};
use crate::sys::{self, Child, Stack};
use crate::transcript::Breakage;

pub use ids::{IdSource, Maps};
pub use maker::Maker;
pub use programs::{LIBRARIES, Programs};
pub use restrictions::{restrictions, sysctl};

/// Where the sandbox's tmpfs can be mounted before it becomes the root: any directory that is there.
const STAGING: &[&str] = &["/tmp", "/run", "/mnt", "/var", "/usr", "/etc"];
/// Size and number of inodes of the sandbox's tmpfs.
pub const TMPFS_OPTIONS: &str = "size=256m,nr_inodes=64k,mode=0755";
/// The source of what the harness mounts, by which its mounts are told from a scenario's.
pub const MARK: &str = "sandbox";
/// The devices of a minimal /dev.
pub const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// The device of FUSE.
const FUSE: &str = "fuse";

/// What the first process of a sandbox holds.
#[derive(Debug)]
pub struct Sandbox {
    /// The root directory of the sandbox.
    pub root: OwnedFd,
    /// A proc of the sandbox's pid namespace, mounted nowhere.
    pub proc: OwnedFd,
    /// Programs of the system, open for the trees of the world.
    pub programs: BTreeMap<ProgramName, OwnedFd>,
    /// How large each of them is.
    pub program_sizes: Vec<u64>,
}

/// How a sandbox ended.
#[derive(Debug)]
pub struct Ended {
    /// What its first process ended with.
    pub status: nix::Result<WaitStatus>,
    /// Whether it ended by itself before its time was up.
    pub in_time: bool,
}

/// How the first process of a sandbox is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Making<'a> {
    /// Where it runs, if it shares the memory of this process.
    pub stack: Option<&'a Stack>,
    /// Who makes it; this process itself if left out.
    pub maker: Option<&'a Maker>,
}

/// Runs `first` in the first process of a sandbox, which ends with it, or when its time is up; made as by
/// [`start`].
///
/// # Errors
/// What kept the process from being started. What goes wrong inside is given to `first`.
pub fn run(
    ids: &IdSource,
    maps: &Maps,
    needs: &Needs,
    programs: &Programs,
    making: Making<'_>,
    limit: Duration,
    first: impl FnOnce(Result<Sandbox, Breakage>),
) -> Result<Ended, Breakage> {
    let deadline = Instant::now() + limit;
    start(ids, maps, needs, programs, making, first, |child| {
        let in_time = ready_by(&child.pidfd, deadline);
        Ended { status: end(&child, in_time), in_time }
    })
}

/// Starts `first` in the first process of a sandbox, which ends with it, or with this process; `meanwhile`
/// is what this one does until the sandbox is made, or longer. With a stack the process shares the memory of
/// this one, where nobody but nsharness may run in the sandbox: whoever is root there may look into all of
/// its processes. If it was killed, this memory may be left as it was in the middle of something.
///
/// # Errors
/// What kept the process from being started. What goes wrong inside is given to `first`.
pub fn start<T>(
    ids: &IdSource,
    maps: &Maps,
    needs: &Needs,
    programs: &Programs,
    making: Making<'_>,
    first: impl FnOnce(Result<Sandbox, Breakage>),
    meanwhile: impl FnOnce(Child) -> T,
) -> Result<T, Breakage> {
    // Real root has no filter.
    let maker = making.maker.filter(|_| !needs.privileged);
    let filtered = needs.privileged || maker.is_some();
    filter::prepare();
    let (wait, go) = std::io::pipe().map_err(|e| broke("pipe", errno_of(&e)))?;
    let begin =
        || {
            sys::close_copies(&[go.as_raw_fd()]);
            // Nothing is touched before the parent, whose memory this may be, has done its part.
            let mut byte = [0];
            if rustix::io::read(&wait, &mut byte) != Ok(1) {
                sys::exit_now(1);
            }
            let sandbox = enter(ids, maps, needs, programs, wait.as_fd());
            let install = || filter::install().map_err(|e| broke("seccomp", e));
            first(sandbox.and_then(|sandbox| {
                if filtered { Ok(sandbox) } else { install().map(|()| sandbox) }
            }));
        };
    let flags =
        clone_flags(needs) | maker.map_or(CloneFlags::empty(), |_| CloneFlags::CLONE_PARENT);
    let make = || match making.stack {
        Some(stack) => sys::clone_sharing_memory(flags, stack, begin),
        None => sys::clone_namespaces(flags).map(|child| {
            child.unwrap_or_else(|| {
                begin();
                sys::exit_now(0)
            })
        }),
    };
    let child = match maker {
        Some(maker) => maker.make(|| with_owner(ids, needs, make))?,
        None => with_owner(ids, needs, make),
    }?;
    if !needs.privileged
        && !maps.is_single()
        && let Err(breakage) = write_maps(ids, maps, child.pid)
    {
        let _ = end(&child, false);
        return Err(breakage);
    }
    let _ = rustix::io::write(&go, &[1]);
    Ok(meanwhile(child))
}

/// What the first process of a sandbox ended with; where it has not ended, it is killed, and everything in
/// its pid namespace ends too.
pub fn end(child: &Child, has_ended: bool) -> nix::Result<WaitStatus> {
    if !has_ended {
        let _ = kill(child.pid, Signal::SIGKILL);
    }
    waitpid(child.pid, None)
}

/// Makes a process as whoever owns its user namespace: that is the creator's effective id, and root of
/// the host is not what a sandbox should be owned by.
fn with_owner(
    ids: &IdSource,
    needs: &Needs,
    make: impl FnOnce() -> Result<Child, Errno>,
) -> Result<Child, Breakage> {
    let IdSource::Root { range: (id, _) } = ids else {
        return make().map_err(|e| broke("clone", e));
    };
    if needs.privileged {
        return make().map_err(|e| broke("clone", e));
    }
    let parent = getppid();
    set_effective(*id, *id).map_err(|e| broke("seteuid", e))?;
    let child = make();
    if set_effective(0, 0).is_err() {
        // Nothing sensible can be done without one's own ids; the sandbox ends with this process.
        sys::exit_now(1);
    }
    die_with(parent);
    child.map_err(|e| broke("clone", e))
}

/// Waits until something can be read, as the pidfd of a child that ended can; false where the time is up
/// first. It touches nothing but the stack.
pub fn ready_by(file: impl AsFd, deadline: Instant) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(n) if n > 0 => return true,
            Ok(_) if Instant::now() >= deadline => return false,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Has this process killed when its parent ends. A change of ids takes that back (prctl(2),
/// PR_SET_PDEATHSIG), and of a parent that ended meanwhile no signal comes any more.
pub fn die_with(parent: Pid) {
    let kill = Some(rustix::process::Signal::KILL);
    if rustix::process::set_parent_process_death_signal(kill).is_err() || getppid() != parent {
        sys::exit_now(1);
    }
}

fn clone_flags(needs: &Needs) -> CloneFlags {
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if !needs.privileged {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    for namespace in &needs.namespaces {
        flags |= namespace_flag(*namespace);
    }
    // A time namespace cannot be made by clone(2): CLONE_NEWTIME is in the range of its exit signal.
    flags - CLONE_NEWTIME
}

const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// The flag of clone(2), unshare(2) and setns(2) for a namespace.
pub fn namespace_flag(namespace: Namespace) -> CloneFlags {
    match namespace {
        Namespace::User => CloneFlags::CLONE_NEWUSER,
        Namespace::Mount => CloneFlags::CLONE_NEWNS,
        Namespace::Pid => CloneFlags::CLONE_NEWPID,
        Namespace::Net => CloneFlags::CLONE_NEWNET,
        Namespace::Ipc => CloneFlags::CLONE_NEWIPC,
        Namespace::Uts => CloneFlags::CLONE_NEWUTS,
        Namespace::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        Namespace::Time => CLONE_NEWTIME,
    }
}

fn set_effective(uid: u32, gid: u32) -> Result<(), Errno> {
    // Group first on the way down, user first on the way up: either order keeps the right to do both.
    let set_gid = || set_thread_res_gid(None, Some(rustix::process::Gid::from_raw(gid)), None);
    let set_uid = || set_thread_res_uid(None, Some(rustix::process::Uid::from_raw(uid)), None);
    let result = if uid == 0 {
        set_uid().and_then(|()| set_gid())
    } else {
        set_gid().and_then(|()| set_uid())
    };
    result.map_err(errno)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// The error number of a `rustix` call.
pub fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// A failure in making a sandbox.
/// What it means that a system call failed at some stage.
pub fn breakage(stage: impl Into<String>, errno: Errno) -> Breakage {
    let (stage, detail) = (stage.into(), errno.to_string());
    Breakage { stage, detail, errno: Some(ErrnoName(errno as i32)) }
}

fn broke(what: &str, errno: Errno) -> Breakage {
    breakage(format!("sandbox: {what}"), errno)
}

/// Writes the maps of a child from outside: as root by itself, as an ordinary user by newuidmap(1).
fn write_maps(ids: &IdSource, maps: &Maps, pid: Pid) -> Result<(), Breakage> {
    match ids {
        IdSource::Root { .. } => {
            for (file, lines) in [("uid_map", &maps.uid), ("gid_map", &maps.gid)] {
                fs::write(format!("/proc/{pid}/{file}"), map_text(lines))
                    .map_err(|e| broke(file, errno_of(&e)))?;
            }
            Ok(())
        }
        IdSource::User { helpers, .. } => {
            let Some((newuidmap, newgidmap)) = helpers else {
                return Err(broke("newuidmap", Errno::ENOENT));
            };
            run_helper(newuidmap, pid, &maps.uid)?;
            run_helper(newgidmap, pid, &maps.gid)
        }
    }
}

fn map_text(lines: &[(u32, u32, u32)]) -> String {
    lines.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect()
}

fn run_helper(program: &Path, pid: Pid, lines: &[(u32, u32, u32)]) -> Result<(), Breakage> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for (inside, outside, count) in lines {
        command.args([inside.to_string(), outside.to_string(), count.to_string()]);
    }
    let name = program.display();
    let failed =
        |detail: String| Breakage { stage: format!("sandbox: {name}"), detail, errno: None };
    let output = command.output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// In the new process: maps, ids, the mount tree, the pivot.
fn enter(
    ids: &IdSource,
    maps: &Maps,
    needs: &Needs,
    programs: &Programs,
    lifeline: BorrowedFd<'_>,
) -> Result<Sandbox, Breakage> {
    // Ends with the worker, whatever happens to it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|e| broke("prctl PR_SET_PDEATHSIG", errno(e)))?;
    // Having changed ids, a process is not dumpable, and its files in /proc belong to the host's root.
    set_dumpable()?;
    if !needs.privileged {
        become_root(maps)?;
    }
    // A parent that ended before the signal was asked for sends none.
    let mut lifeline = [PollFd::new(lifeline, PollFlags::empty())];
    if poll(&mut lifeline, PollTimeout::ZERO) != Ok(0) {
        return Err(broke("look for the parent", Errno::ECHILD));
    }
    limits::processes(ids, needs).map_err(|e| broke("setrlimit", e))?;
    close_standard_streams()?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|e| broke("make / private", e))?;
    let proc = mount_proc()?;
    let programs = programs::open(programs)?;
    mount_staging(needs)?;
    if needs.dev {
        bind_devices(needs)?;
    }
    let programs = programs::bring(programs)?;
    // While the host's are still to be seen: the kernel allows a new one only beside another that
    // hides nothing (mount_too_revealing in fs/namespace.c).
    for (wanted, kind) in [(needs.proc, "proc"), (needs.sys, "sysfs")] {
        if wanted {
            mount_view(kind)?;
        }
    }
    let root = make_root()?;
    let size = |program| rustix::fs::fstat(program).map_or(0, |stat| stat.st_size as u64);
    let program_sizes = programs.values().map(size).collect();
    let sandbox = Sandbox { root, proc, programs, program_sizes };
    limits::memory(&sandbox).map_err(|e| broke("write oom_score_adj", e))?;
    Ok(sandbox)
}

/// Mounts the sandbox's tmpfs, which is the working directory then.
fn mount_staging(needs: &Needs) -> Result<(), Breakage> {
    let staging = STAGING
        .iter()
        .find(|path| Path::new(path).is_dir())
        .ok_or_else(|| broke("find a directory", Errno::ENOENT))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let flags = if needs.privileged { flags } else { MsFlags::empty() };
    mount(Some(MARK), *staging, Some("tmpfs"), flags, Some(TMPFS_OPTIONS))
        .map_err(|e| broke("mount tmpfs", e))?;
    chdir(*staging).map_err(|e| broke("chdir", e))
}

/// Makes the working directory the root, and nothing of the old root stays.
fn make_root() -> Result<OwnedFd, Breakage> {
    // The old root is stacked upon the new one and taken away: pivot_root(2), "pivot_root(".", ".")".
    pivot_root(".", ".").map_err(|e| broke("pivot_root", e))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(|e| broke("umount the old root", e))?;
    chdir("/").map_err(|e| broke("chdir /", e))?;
    rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| broke("open /", errno(e)))
}

/// What is printed in a sandbox has nowhere to go: not to the terminal or a file of the host.
///
/// # Errors
/// Where /dev/null cannot be opened.
pub fn close_standard_streams() -> Result<(), Breakage> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| broke("open /dev/null", errno(e)))?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .map_err(|e| broke("dup2", errno(e)))
}

fn set_dumpable() -> Result<(), Breakage> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(|e| broke("prctl PR_SET_DUMPABLE", errno(e)))
}

fn become_root(maps: &Maps) -> Result<(), Breakage> {
    if maps.is_single() {
        let write = |file: &str, text: &str| {
            fs::write(format!("/proc/self/{file}"), text)
                .map_err(|e| broke(&format!("write {file}"), errno_of(&e)))
        };
        // A group map of one's own needs setgroups to be denied first: user_namespaces(7).
        write("setgroups", "deny")?;
        write("uid_map", &map_text(&maps.uid))?;
        write("gid_map", &map_text(&maps.gid))?;
    }
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    if !maps.is_single() {
        set_thread_groups(&[]).map_err(|e| broke("setgroups", errno(e)))?;
    }
    set_thread_res_gid(Some(gid), Some(gid), Some(gid))
        .map_err(|e| broke("setresgid", errno(e)))?;
    set_thread_res_uid(Some(uid), Some(uid), Some(uid))
        .map_err(|e| broke("setresuid", errno(e)))?;
    set_dumpable()?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|e| broke("prctl PR_SET_PDEATHSIG", errno(e)))?;
    debug_assert_eq!((Uid::effective(), Gid::effective()), (Uid::from_raw(0), Gid::from_raw(0)));
    Ok(())
}

/// A proc that only the harness uses: it is mounted nowhere, so that no scenario can cover it.
fn mount_proc() -> Result<OwnedFd, Breakage> {
    let fs = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|e| broke("fsopen proc", errno(e)))?;
    rustix::mount::fsconfig_create(fs.as_fd()).map_err(|e| broke("fsconfig proc", errno(e)))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|e| broke("fsmount proc", errno(e)))
}

/// Mounts a proc or sysfs of the sandbox's own namespaces where a scenario looks for it.
fn mount_view(kind: &str) -> Result<(), Breakage> {
    let at = if kind == "sysfs" { "sys" } else { kind };
    let made = fs::create_dir(at);
    made.map_err(|e| broke(&format!("mkdir {at}"), errno_of(&e)))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(MARK), at, Some(kind), safe, None::<&str>)
        .map_err(|e| broke(&format!("mount {kind}"), e))
}

/// Binds the host's devices: device nodes of one's own cannot be made in a user namespace.
fn bind_devices(needs: &Needs) -> Result<(), Breakage> {
    let io = |what: &str, e: &std::io::Error| broke(what, errno_of(e));
    fs::create_dir("dev").map_err(|e| io("mkdir dev", &e))?;
    for device in DEVICES.iter().copied().chain(needs.fuse.then_some(FUSE)) {
        let (from, to) = (format!("/dev/{device}"), format!("dev/{device}"));
        if !Path::new(&from).exists() {
            continue;
        }
        fs::write(&to, "").map_err(|e| io("create a device", &e))?;
        mount(Some(from.as_str()), to.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|e| broke(&format!("bind {from}"), e))?;
    }
    if needs.fuse {
        let device = format!("/dev/{FUSE}");
        rustix::fs::open(&device, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| broke(&format!("open {device}"), errno(e)))?;
    }
    Ok(())
}
