//! Filters of system calls, for a process and all that come from it.

use nix::errno::Errno;

/// An instruction of a filter.
pub type Instruction = libc::sock_filter;

/// Puts a filter before the calls of this thread, which has CAP_SYS_ADMIN in its user namespace: so it takes no
/// no_new_privs, by which set-user-ID programs would no longer be what they are.
///
/// # Errors
/// Those of seccomp(2): EINVAL or ENOSYS where the kernel has no filters.
pub fn filter_calls(program: &[Instruction]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    // Before Linux 5.16 the processor would be slowed down for who has a filter: what speculation could tell is told
    // without one, too.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the program outlives the call, has the length given, and the kernel only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&program),
        )
    };
    Errno::result(result).map(drop)
}
