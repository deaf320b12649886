//! Making processes.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::{ForkResult, Pid};

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

/// Ends this process at once, without the destructors and buffers that it shares with its parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Closes every descriptor above standard error but these; used in a child that was just made.
pub fn close_all_but(keep: &[&OwnedFd]) {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    keep.sort_unstable();
    let mut from = 3_u32;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > from {
            // SAFETY: the descriptors that are closed belong to objects that this process, a fresh
            // copy of its parent, never uses again.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd.saturating_add(1);
    }
}
