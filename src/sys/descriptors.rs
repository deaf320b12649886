//! Descriptors that stay open across execve(2): which there are, and giving them to a program.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use rustix::io::fcntl_dupfd_cloexec;

/// The number of the first descriptor above standard error.
const FIRST: RawFd = 3;
/// Most descriptors that are looked for: the usual soft limit.
const MOST: RawFd = 1024;

/// The numbers of the descriptors of this process that are open, in their order, up to the usual limit. It opens
/// none, and needs no /proc.
pub fn open_descriptors() -> Vec<u32> {
    // SAFETY: F_GETFD takes no pointer and changes nothing, whatever the number is.
    let is_open = |fd: &RawFd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0;
    (0..MOST).filter(is_open).filter_map(|fd| u32::try_from(fd).ok()).collect()
}

/// Has a program that is started have these descriptors open, from 3 on in their order. What is given back is kept
/// until it was started.
///
/// # Errors
/// Those of fcntl(2).
pub fn pass_on(command: &mut Command, open: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Errno> {
    let error = |errno: rustix::io::Errno| Errno::from_raw(errno.raw_os_error());
    let Ok(count) = RawFd::try_from(open.len()) else { return Err(Errno::EMFILE) };
    let mut kept = Vec::new();
    if open.is_empty() {
        return Ok(kept);
    }
    // What Command opens itself must not be where these will be: so no number there is free.
    while let Some(first) = open.first() {
        let copy = fcntl_dupfd_cloexec(first, FIRST).map_err(error)?;
        let is_above = copy.as_raw_fd() >= FIRST + count;
        kept.push(copy);
        if is_above {
            break;
        }
    }
    // Nor may one of them be where another will be.
    let above = |fd: &OwnedFd| fcntl_dupfd_cloexec(fd, FIRST + count).map_err(error);
    let sources: Vec<_> = open.iter().map(above).collect::<Result<_, _>>()?;
    let numbers: Vec<RawFd> = sources.iter().map(AsRawFd::as_raw_fd).collect();
    kept.extend(sources);
    let place = move || {
        for (from, to) in numbers.iter().zip(FIRST..) {
            // SAFETY: dup2(2) takes no pointer; what was open at that number in this process, which is about to
            // execute a program, was closed on execve(2) anyway.
            if unsafe { libc::dup2(*from, to) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork(2) and execve(2) it calls dup2(2) alone, and allocates nothing.
    unsafe { command.pre_exec(place) };
    Ok(kept)
}
