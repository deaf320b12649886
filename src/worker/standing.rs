//! A sandbox in a guest in which plans take turns, asked one after the other.
//!
//! To make a sandbox for each of many short plans takes half of their time, and who would get out of its sandbox in
//! a guest is still in a guest. Each plan gets a root of its own, and processes where it needs them, as in an
//! [`Arena`]. The sandbox's process shares the memory of the one that asks: the two take turns.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::arena::{Arena, Check, same_sandbox};
use super::{Log, Stacks, Worker};
use crate::sandbox::{self, Maps, Programs, Sandbox, ready_by};
use crate::scenario::plan::{Needs, Plan};
use crate::sys::{self, Child, SharedBuffer, Stack};
use crate::transcript::{Breakage, End};

/// How long the sandbox may take to be made.
const START: Duration = Duration::from_secs(10);

/// What the two processes hand each other.
#[derive(Debug)]
enum Desk {
    Empty,
    Plan(Box<Plan>),
    Broke(Breakage),
}

/// A sandbox that waits for the next plan; it ends when it is dropped.
#[derive(Debug)]
pub struct Standing {
    child: Child,
    needs: Needs,
    desk: Rc<RefCell<Desk>>,
    /// A byte in it says whose turn it is.
    turn: UnixStream,
    /// How long it is waited for it.
    patience: Duration,
    /// Where the process runs: dropped after the process has ended.
    _stack: Stack,
}

impl Standing {
    /// Makes the sandbox that a plan needs; what is answered goes to the worker's buffer.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn start(worker: &Worker, maps: &Maps, plan: &Plan) -> Result<Self, Breakage> {
        let stack = Stack::new().map_err(|errno| broke("mmap of a stack", &errno.to_string()))?;
        let (turn, theirs) =
            UnixStream::pair().map_err(|error| broke("socketpair", &error.to_string()))?;
        let needs = plan.needs.clone();
        let desk = Rc::new(RefCell::new(Desk::Empty));
        let given = theirs.as_raw_fd();
        let first = {
            let (desk, buffer) = (Rc::clone(&desk), Rc::clone(&worker.buffer));
            let stacks = worker.stacks.clone();
            move |sandbox| serve(sandbox, &theirs, &desk, &buffer, stacks)
        };
        let programs = Programs::new();
        let making = worker.making(Some(&stack));
        let (child, made) =
            sandbox::start(&worker.ids, maps, &needs, &programs, making, first, |child| {
                sys::close_copies(&[given]);
                let made = wait_at_most(&turn, START).map_err(|_| Waited::InVain);
                let made = made.and_then(|()| wait_for_turn(&turn));
                (child, made)
            })?;
        let standing = Self { child, needs, desk, turn, patience: START, _stack: stack };
        match (standing.desk.replace(Desk::Empty), made) {
            (Desk::Broke(breakage), _) => Err(breakage),
            (_, Ok(_)) => Ok(standing),
            (_, Err(Waited::InVain)) => Err(broke("its first process", "ended early")),
            (_, Err(Waited::TooLong)) => Err(broke("its first process", "says nothing")),
        }
    }

    /// Whether a plan can be asked in it.
    pub fn suits(&self, plan: &Plan) -> bool {
        same_sandbox(&self.needs, &plan.needs)
    }

    /// Asks a plan; whether another one can be asked after it. After an error nobody is there any more.
    ///
    /// # Errors
    /// How it ended before the plan did.
    pub fn ask(&mut self, plan: &Plan) -> Result<bool, End> {
        let patience = Duration::from_millis(plan.timeout_ms);
        self.desk.replace(Desk::Plan(Box::new(plan.clone())));
        let gone = || {
            let status = sandbox::end(&self.child, true);
            End::Broke(broke("its process", &format!("ended early: {status:?}")))
        };
        // Most plans have the same: one system call less for each of them.
        if patience != self.patience {
            if let Err(error) = wait_at_most(&self.turn, patience) {
                let _ = sandbox::end(&self.child, false);
                return Err(End::Broke(broke("setsockopt SO_RCVTIMEO", &error.to_string())));
            }
            self.patience = patience;
        }
        if !give_turn(&self.turn, Turn::Yours) {
            return Err(gone());
        }
        match wait_for_turn(&self.turn) {
            Ok(turn) => Ok(turn == Turn::Yours),
            Err(Waited::InVain) => Err(gone()),
            Err(Waited::TooLong) => {
                let _ = sandbox::end(&self.child, false);
                Err(End::TimedOut)
            }
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let _ = self.turn.shutdown(std::net::Shutdown::Both);
        let ended = ready_by(&self.child.pidfd, Instant::now() + START);
        let _ = sandbox::end(&self.child, ended);
    }
}

/// What one tells the other as a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It waits from now on.
    Yours = 1,
    /// It ends: this was its last one.
    Last = 2,
}

/// Why nothing was told.
enum Waited {
    /// The other one is gone.
    InVain,
    /// The time is up.
    TooLong,
}

/// Says how long [`wait_for_turn`] waits: SO_RCVTIMEO of socket(7).
fn wait_at_most(turn: &UnixStream, patience: Duration) -> io::Result<()> {
    // None at all would be forever.
    turn.set_read_timeout(Some(patience.max(Duration::from_millis(1))))
}

fn wait_for_turn(turn: &UnixStream) -> Result<Turn, Waited> {
    let mut byte = [0];
    loop {
        return match rustix::io::read(turn, &mut byte) {
            Ok(1) if byte[0] == Turn::Yours as u8 => Ok(Turn::Yours),
            Ok(1) => Ok(Turn::Last),
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => Err(Waited::TooLong),
            _ => Err(Waited::InVain),
        };
    }
}

fn give_turn(turn: &UnixStream, how: Turn) -> bool {
    rustix::net::send(turn, &[how as u8], rustix::net::SendFlags::NOSIGNAL) == Ok(1)
}

/// In the sandbox: performs what is laid on the desk until nobody is there to lay anything.
fn serve(
    sandbox: Result<Sandbox, Breakage>,
    turn: &UnixStream,
    desk: &RefCell<Desk>,
    buffer: &SharedBuffer,
    stacks: Stacks,
) {
    let arena =
        sandbox.and_then(|sandbox| Arena::new(sandbox, &[turn as &dyn AsRawFd], true, stacks));
    let mut arena = match arena {
        Ok(arena) => arena,
        Err(breakage) => {
            desk.replace(Desk::Broke(breakage));
            return;
        }
    };
    let log = Log { buffer, ends_only: false };
    let mut next = Turn::Yours;
    while give_turn(turn, next) && rustix::io::read(turn, &mut [0]) == Ok(1) {
        let Desk::Plan(plan) = desk.replace(Desk::Empty) else { return };
        if arena.take_turn(&plan, Check::Sequence, &log).is_err() {
            next = Turn::Last;
        }
    }
}

fn broke(what: &str, detail: &str) -> Breakage {
    Breakage { stage: format!("sandbox: {what}"), detail: detail.to_owned(), errno: None }
}
