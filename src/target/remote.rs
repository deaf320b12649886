//! A witness in a process of its own: it takes its time to start, and others go on meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, setsid};
use serde::{Deserialize, Serialize};

use super::{Answer, Boot, Opened, Unopened, Witness};
use crate::channel;
use crate::missing::Missing;
use crate::probe::Environment;
use crate::processor;
use crate::sandbox::die_with;
use crate::scenario::plan::Plan;
use crate::sys;
use crate::transcript::Transcript;

/// How many plans it is given: so many that the witness never waits for the next.
const DEPTH: usize = 16;
/// How many bytes of plans are on their way to it at most, but for a plan that is longer by itself. A
/// socket holds more, so that nobody ever waits for the other to read while both are writing.
const UNREAD: usize = 64 << 10;
/// How long an answer is waited for before it is looked whether anybody still wants it.
const TICK: Duration = Duration::from_millis(100);
/// How often it is looked whether the process has ended, before it is killed.
const PATIENCE: u32 = 100;

/// How long it may stop in the middle of what it says.
const STALLED: Duration = Duration::from_secs(10);

const ENDED: &str = "the process that asks it ended";

/// What the process says.
#[derive(Serialize, Deserialize)]
enum Said {
    Opened(Box<Environment>),
    Unopened(Unopened),
    Asked(usize, Box<Transcript>),
    Missing(usize, Vec<Missing>),
    /// Something went wrong that is in no answer.
    Trouble(String),
    /// It cannot be asked anything any more.
    Broken(String),
}

/// A witness in a process of its own.
#[derive(Debug)]
pub struct Remote {
    target: String,
    pid: Pid,
    socket: UnixStream,
    /// The lengths of the plans that it was sent and has not answered, by ticket.
    sent: BTreeMap<usize, usize>,
    /// Plans that are sent when others are answered.
    held: VecDeque<(usize, Vec<u8>)>,
    /// What went wrong that is in no answer.
    troubles: Vec<String>,
}

impl Remote {
    /// Starts a process that opens a target at a place of its own and then asks it.
    ///
    /// # Errors
    /// Those of socketpair(2) and fork(2).
    pub fn start(target: String, place: usize, boot: Boot) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let supervisor = getpid();
        match sys::fork()? {
            None => {
                let _ = setsid();
                die_with(supervisor);
                let socket = OwnedFd::from(theirs);
                // What belongs to other targets would be kept open by its copies.
                sys::close_all_but(&[&socket]);
                let mut socket = UnixStream::from(socket);
                let _ = serve(&mut socket, || boot(place));
                sys::exit_now(0)
            }
            Some(pid) => {
                // Whoever has begun to say something goes on.
                ours.set_read_timeout(Some(STALLED))?;
                let (sent, held, troubles) = (BTreeMap::new(), VecDeque::new(), Vec::new());
                Ok(Self { target, pid, socket: ours, sent, held, troubles })
            }
        }
    }

    /// What came of opening the target; `None` as long as that is not known.
    pub fn opened(&mut self) -> Option<Result<Environment, Unopened>> {
        if !readable(&self.socket, Duration::ZERO) {
            return None;
        }
        Some(match channel::receive(&mut self.socket) {
            Ok(Some(Said::Opened(environment))) => Ok(*environment),
            Ok(Some(Said::Unopened(why))) => Err(why),
            Ok(_) => Err(Unopened::Broken(ENDED.to_owned())),
            Err(error) => Err(Unopened::Broken(format!("{ENDED}: {error}"))),
        })
    }
}

impl Remote {
    fn ask(&mut self, ticket: usize, afresh: bool, plan: &Plan) -> io::Result<()> {
        self.held.push_back((ticket, channel::encode(&(ticket, afresh, plan))?));
        self.send_held();
        Ok(())
    }

    /// Sends what is held back, as far as it is read without waiting for an answer to be read.
    fn send_held(&mut self) {
        while let Some((ticket, message)) = self.held.pop_front() {
            let unread = self.sent.values().sum::<usize>();
            if unread > 0 && unread + message.len() > UNREAD {
                self.held.push_front((ticket, message));
                return;
            }
            // Where it has ended, that is seen when the answer is waited for.
            let _ = self.socket.write_all(&message);
            self.sent.insert(ticket, message.len());
        }
    }
}

/// Opens the target and asks it until nobody wants an answer any more.
fn serve(
    socket: &mut UnixStream,
    boot: impl FnOnce() -> Result<Opened, Unopened>,
) -> io::Result<()> {
    let Opened { mut witness, environment } = match boot() {
        Ok(opened) => opened,
        Err(why) => return channel::send(socket, &Said::Unopened(why)),
    };
    channel::send(socket, &Said::Opened(Box::new(environment)))?;
    let mut asked = 0;
    loop {
        while asked == 0 || asked < witness.capacity() && readable(socket, Duration::ZERO) {
            let next = channel::receive::<(usize, bool, Plan)>(socket)?;
            let Some((ticket, afresh, plan)) = next else { return Ok(()) };
            let submitted = if afresh {
                witness.submit_afresh(ticket, &plan)
            } else {
                witness.submit(ticket, &plan)
            };
            if let Err(error) = submitted {
                return channel::send(socket, &Said::Broken(error.to_string()));
            }
            asked += 1;
        }
        let next = witness.next(TICK);
        // Before the answer, so that it is told before the last one.
        while let Some(trouble) = witness.trouble() {
            channel::send(socket, &Said::Trouble(trouble))?;
        }
        let said = match next {
            Ok(Some((ticket, Answer::Asked(transcript)))) => Said::Asked(ticket, transcript),
            Ok(Some((ticket, Answer::Missing(missing)))) => Said::Missing(ticket, missing),
            Ok(Some((_, Answer::Predicted(_) | Answer::All(_)))) => {
                Said::Broken("what it says is no answer of a kernel to one plan".to_owned())
            }
            Ok(None) if has_gone(socket) => return Ok(()),
            Ok(None) => continue,
            Err(error) => Said::Broken(error.to_string()),
        };
        asked -= 1;
        channel::send(socket, &said)?;
    }
}

/// Whether something can be read from a socket before the time is up.
pub fn readable(socket: &UnixStream, wait: Duration) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    poll(&mut fds, wait).is_ok_and(|ready| ready > 0)
}

fn has_gone(socket: &UnixStream) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

impl Witness for Remote {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn target(&self) -> String {
        self.target.clone()
    }

    fn capacity(&self) -> usize {
        DEPTH
    }

    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        self.ask(ticket, false, plan)
    }

    fn submit_afresh(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        self.ask(ticket, true, plan)
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<(usize, Answer)>> {
        if !readable(&self.socket, wait) {
            return Ok(None);
        }
        let (ticket, answer) = match channel::receive(&mut self.socket)? {
            Some(Said::Asked(ticket, transcript)) => (ticket, Answer::Asked(transcript)),
            Some(Said::Missing(ticket, missing)) => (ticket, Answer::Missing(missing)),
            Some(Said::Trouble(trouble)) => {
                self.troubles.push(trouble);
                return Ok(None);
            }
            Some(Said::Broken(why)) => return Err(io::Error::other(why)),
            Some(Said::Opened(_) | Said::Unopened(_)) | None => {
                return Err(io::Error::other(ENDED));
            }
        };
        self.sent.remove(&ticket);
        self.send_held();
        Ok(Some((ticket, answer)))
    }

    fn trouble(&mut self) -> Option<String> {
        self.troubles.pop()
    }

    fn move_to(&mut self, processor: usize) {
        processor::move_to(self.pid, processor);
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.socket.as_fd()]
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It halts its guest when it sees that nobody listens; one that is still booting is killed.
        hang_up(&self.socket, self.pid, PATIENCE);
    }
}

/// Has a child end that reads from a socket: it is killed where it has not after so many hundredths of a
/// second.
pub fn hang_up(socket: &UnixStream, child: Pid, patience: u32) {
    let _ = socket.shutdown(std::net::Shutdown::Both);
    for _ in 0..patience {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
}
