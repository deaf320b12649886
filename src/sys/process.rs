//! Making processes.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use nix::unistd::{ForkResult, Pid, getpid, getppid};

/// A child process.
#[derive(Debug)]
pub struct Child {
    /// Its process id as the parent sees it.
    pub pid: Pid,
    /// A file descriptor that becomes readable when it ends.
    pub pidfd: OwnedFd,
}

/// Starts a copy of this process in new namespaces, as clone(2) without a stack of its own does.
///
/// Returns the child in the parent, and `None` in the child. The parent must be single-threaded:
/// only then is everything allowed in the child that was allowed in the parent.
///
/// # Errors
/// Those of clone(2).
pub fn clone_namespaces(namespaces: CloneFlags) -> Result<Option<Child>, Errno> {
    let mut pidfd: libc::c_int = -1;
    let flags = namespaces.bits() | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with a null stack the call behaves like fork(2); the only memory
    // that the kernel writes is `pidfd`, which outlives the call. Every caller is single-threaded.
    // The argument order is that of x86-64, arm64 and most others: flags, stack, parent_tid (where
    // CLONE_PIDFD stores the descriptor), and two that are unused.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags as libc::c_ulong,
            std::ptr::null_mut::<libc::c_void>(),
            &raw mut pidfd,
            std::ptr::null_mut::<libc::c_void>(),
            0_usize,
        )
    };
    match Errno::result(pid)? {
        0 => Ok(None),
        pid => {
            // SAFETY: the kernel has just opened this descriptor for us and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Some(Child { pid: Pid::from_raw(pid as i32), pidfd }))
        }
    }
}

/// A stack for a process that shares the memory of this one; below it is a page that nobody may touch.
#[derive(Debug)]
pub struct Stack {
    start: NonNull<libc::c_void>,
}

/// Size of a stack, with the page below it.
const STACK_BYTES: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();
/// Size of the page below a stack: no system has larger ones.
const GUARD_BYTES: usize = 64 << 10;

impl Stack {
    /// Maps a stack; memory is used only as it is needed.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn new() -> Result<Self, Errno> {
        let (none, flags) = (ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE);
        let all = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { mmap_anonymous(None, STACK_BYTES, all, flags) }?;
        let stack = Self { start };
        // SAFETY: the pages were just mapped, and nothing refers to them.
        unsafe { mprotect(start, GUARD_BYTES, none) }?;
        Ok(stack)
    }

    /// Room for a value at its top: a stack grows downwards from there. An address that 16 divides is what
    /// every machine wants.
    fn top<T>(&self) -> *mut T {
        let room = size_of::<T>().next_multiple_of(align_of::<T>().max(16));
        self.start.as_ptr().wrapping_byte_add(STACK_BYTES.get() - room).cast()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length; the process that ran on it has ended.
        let _ = unsafe { munmap(self.start, STACK_BYTES.get()) };
    }
}

/// Starts a process in new namespaces that shares the memory of this one, and runs `first` on a stack of
/// its own; the process ends with `first`. Everything else it has a copy of, as after fork(2).
///
/// The two must take turns: from its first wait for the other side until that has answered, neither may
/// touch anything but its own stack. What `first` borrows, and the stack, must outlast the process.
///
/// # Errors
/// Those of clone(2).
pub fn clone_sharing_memory(
    namespaces: CloneFlags,
    stack: &Stack,
    first: impl FnOnce(),
) -> Result<Child, Errno> {
    let (pid, pidfd) = start_on(stack, namespaces.bits() | libc::CLONE_PIDFD, first)?;
    // SAFETY: the kernel has just opened this descriptor for us and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// The same without new namespaces.
///
/// # Errors
/// Those of clone(2).
pub fn fork_sharing_memory(stack: &Stack, first: impl FnOnce()) -> Result<Pid, Errno> {
    start_on(stack, 0, first).map(|(pid, _)| pid)
}

/// The same without new namespaces, where the process has the descriptors, the working directory and the root of this
/// one too: of what either changes of them the other one knows.
///
/// # Errors
/// Those of clone(2).
pub(super) fn share_all(stack: &Stack, first: impl FnOnce()) -> Result<Child, Errno> {
    let flags = libc::CLONE_PIDFD | libc::CLONE_FILES | libc::CLONE_FS;
    let (pid, pidfd) = start_on(stack, flags, first)?;
    // SAFETY: the kernel has just opened this descriptor for us and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// Starts a process that runs a program, or ends with `first`. It shares the memory of this one, which waits
/// so long, as by vfork(2): to copy memory only for it to be thrown away costs more than the rest.
///
/// # Errors
/// Those of mmap(2) and clone(2).
pub fn vfork(mut first: impl FnMut()) -> Result<Pid, Errno> {
    let stack = Stack::new()?;
    match start_on(&stack, libc::CLONE_VFORK, &mut first) {
        // Before 6.1, who is to enter a new time namespace shares no memory (kernel/fork.c copy_process()).
        Err(Errno::EINVAL) => match fork()? {
            Some(pid) => Ok(pid),
            None => {
                first();
                exit_now(0)
            }
        },
        started => started.map(|(pid, _)| pid),
    }
}

fn start_on<F: FnOnce()>(
    stack: &Stack,
    flags: libc::c_int,
    first: F,
) -> Result<(Pid, RawFd), Errno> {
    extern "C" fn begin<F: FnOnce()>(first: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it was put there below for this process alone, and is taken once.
        let first = unsafe { first.cast::<F>().read() };
        first();
        exit_now(0)
    }
    let mut pidfd: libc::c_int = -1;
    let flags = flags | libc::CLONE_VM | libc::SIGCHLD;
    // On the new stack: nothing has to be freed by somebody whose turn it is not.
    let place = stack.top::<F>();
    // SAFETY: the place is within the stack, aligned, and nobody uses the stack by now.
    unsafe { place.write(first) };
    // SAFETY: what lies below `place` is for the new process alone, and `place` is what this entry takes.
    // The only memory that the kernel writes is `pidfd`, before the call returns. That the processes do
    // not use the memory at one time, and that it outlasts them, is up to the caller, who was told so.
    let pid = unsafe { libc::clone(begin::<F>, place.cast(), flags, place.cast(), &raw mut pidfd) };
    match Errno::result(pid) {
        Ok(pid) => Ok((Pid::from_raw(pid), pidfd)),
        Err(errno) => {
            // SAFETY: no process was made that could have it.
            drop(unsafe { place.read() });
            Err(errno)
        }
    }
}

/// Starts a copy of this process by fork(2); the caller must be single-threaded.
///
/// Returns the child's process id in the parent, and `None` in the child.
///
/// # Errors
/// Those of fork(2).
pub fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: the processes of nsharness have one thread each, so the child may do all that the
    // parent may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Has a program that is to be started killed when this process ends, in whatever way: prctl(2), PR_SET_PDEATHSIG.
pub fn end_with_this(command: &mut Command) {
    let own = getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // Of a parent that ended meanwhile no signal comes any more.
        if getppid() == own { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ECHILD)) }
    };
    // SAFETY: between fork(2) and execve(2) it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

/// Ends this process at once, without the destructors and buffers that it shares with its parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Closes every descriptor above standard error but these; used in a process that was just made.
pub fn close_all_but(keep: &[&dyn AsRawFd]) {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    keep.sort_unstable();
    let mut from = 3_u32;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > from {
            close_range(from, fd - 1);
        }
        from = fd.saturating_add(1);
    }
}

/// close_range(2), also before Linux 5.9 and where a filter refuses it: a descriptor that stayed open would be a way
/// out of a sandbox.
fn close_range(first: u32, last: u32) {
    // SAFETY: the descriptors that are closed belong to objects that this process, which has just been made, never
    // uses again.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    let close = |fd: u32| {
        // SAFETY: as above. A number that is no descriptor is EBADF.
        unsafe { libc::close(fd as libc::c_int) };
    };
    if let Some(open) = open_by_proc() {
        return open.into_iter().filter(|fd| (first..=last).contains(fd)).for_each(close);
    }
    // No descriptor is above the hard limit, unless that was lowered after it was opened; a table has at most
    // `fs.nr_open` of them, a million if nobody changed that (proc_sys_fs(5)).
    const MOST: u64 = 1 << 20;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let end = limit.unwrap_or(MOST).min(MOST);
    (first..=last.min(end as u32)).for_each(close);
}

/// The descriptors of this process, where there is a proc at /proc to which it belongs: the world of a scenario may
/// have something else there, or nothing.
fn open_by_proc() -> Option<Vec<u32>> {
    use rustix::fs::{Dir, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, open};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open("/proc/self/fd", flags, Mode::empty()).ok()?;
    if fstatfs(&directory).ok()?.f_type != PROC_SUPER_MAGIC {
        return None;
    }
    let mut open = Vec::new();
    for entry in Dir::new(directory).ok()? {
        let entry = entry.ok()?;
        open.extend(entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
    }
    Some(open)
}

/// Closes this process's copies of descriptors that were given to a process that shares its memory, and
/// that owns them from then on.
pub fn close_copies(copies: &[RawFd]) {
    for fd in copies {
        // SAFETY: who owns the descriptor is in another process, with a table of its own.
        unsafe { libc::close(*fd) };
    }
}
