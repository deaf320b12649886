//! What nfsdcld(8) does: a server asks it, over a pipe, which clients it knew before it was restarted.
//! Here there were none, so that the server has no grace period (RFC 8881, 8.4.2) to wait for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{Mode, OFlags};

/// Longer than any message: `struct cld_msg_v2` of include/uapi/linux/nfsd/cld.h.
const LONGEST: usize = 2048;
/// Places in a message: the command, the status (two bytes), and what a command gives.
const COMMAND: usize = 1;
const STATUS: usize = 2;
const VALUE: usize = 8;
/// The command that asks for the version of the messages.
const GET_VERSION: u8 = 5;
/// The version without hashes of Kerberos names, for which the server needs no cryptography.
const VERSION: u8 = 1;

/// The pipe of a server, once it is there.
#[derive(Default)]
pub struct Tracking {
    pipe: Option<OwnedFd>,
}

impl Tracking {
    /// Looks for the pipe, which the server makes when it is started, in a mounted rpc_pipefs.
    pub fn look(&mut self, pipefs: BorrowedFd<'_>) {
        if self.pipe.is_none() {
            let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
            self.pipe = rustix::fs::openat(pipefs, "nfsd/cld", flags, Mode::empty()).ok();
        }
    }

    /// Waits at most this long, and answers what the server asks; true as soon as `other` is readable.
    pub fn answer(&mut self, other: BorrowedFd<'_>, wait: Option<Duration>) -> bool {
        let mut fds = vec![PollFd::new(other, PollFlags::POLLIN)];
        fds.extend(self.pipe.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let wait = wait.map_or(PollTimeout::NONE, |wait| {
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
        });
        if poll(&mut fds, wait).is_err() {
            return false;
        }
        let readable = fds[0].any().unwrap_or(true);
        let gone = |fd: &PollFd<'_>| fd.revents().is_some_and(|is| is.contains(PollFlags::POLLHUP));
        if fds.get(1).is_some_and(gone) {
            self.pipe = None;
        } else if let Some(pipe) = &self.pipe {
            reply(pipe);
        }
        readable
    }
}

/// Says yes to what the server asks, if it asks.
fn reply(pipe: &OwnedFd) {
    let mut message = [0; LONGEST];
    let Ok(length) = rustix::io::read(pipe, &mut message) else { return };
    if length <= VALUE {
        return;
    }
    message[STATUS..STATUS + 2].fill(0);
    if message[COMMAND] == GET_VERSION {
        message[VALUE] = VERSION;
    }
    let _ = rustix::io::write(pipe, &message[..length]);
}
