//! What rpc.mountd(8) does with `--manage-gids`: the server asks it which supplementary groups a user has.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{Mode, OFlags};

use crate::sys;
use crate::worker::perform::{Failure, Named};

/// Starts a process that answers for as long as the sandbox is there. Users that are not known have no
/// groups.
///
/// # Errors
/// Where the server's questions cannot be heard.
pub fn answer(
    known: &BTreeMap<u32, Vec<u32>>,
    until: u64,
    proc: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = "self/net/rpc/auth.unix.gid/channel";
    let channel = rustix::fs::openat(proc, path, flags, Mode::empty()).of("open")?;
    if sys::fork().of("fork")?.is_none() {
        while reply(&channel, known, until).is_some() {}
        sys::exit_now(1);
    }
    Ok(())
}

/// Waits for one question, a user id, and answers it.
fn reply(channel: &OwnedFd, known: &BTreeMap<u32, Vec<u32>>, until: u64) -> Option<()> {
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).ok()?;
    let mut question = [0; 64];
    let Ok(length) = rustix::io::read(channel, &mut question) else { return Some(()) };
    let uid: u32 = std::str::from_utf8(&question[..length]).ok()?.trim().parse().ok()?;
    let groups = known.get(&uid).map_or(&[][..], Vec::as_slice);
    let list: String = groups.iter().map(|gid| format!(" {gid}")).collect();
    let answer = format!("{uid} {until} {}{list}\n", groups.len());
    rustix::io::write(channel, answer.as_bytes()).ok().map(drop)
}
