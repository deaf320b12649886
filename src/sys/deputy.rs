//! A process that does things in the place of this one.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;

use super::process::{Child, Stack, exit_now, share_all};

/// A process that has the memory, the descriptors and the working directory of this one, and credentials, system call
/// filters and a processor of its own. It does one thing at a time, while this one waits.
#[derive(Debug)]
pub struct Deputy {
    child: Child,
    desk: Rc<Cell<Option<Task>>>,
    /// A byte in it says whose turn it is.
    turn: UnixStream,
    /// The other end: the two have one table of descriptors, so that neither can close its own.
    _theirs: Rc<UnixStream>,
    /// Where the process runs: dropped after the process has ended.
    _stack: Stack,
}

/// What is to be done, and what it is given.
#[derive(Clone, Copy, Debug)]
struct Task {
    act: unsafe fn(*mut libc::c_void),
    with: *mut libc::c_void,
}

impl Deputy {
    /// Starts the process. This one must have one thread.
    ///
    /// # Errors
    /// Those of mmap(2), socketpair(2) and clone(2).
    pub fn start() -> Result<Self, Errno> {
        let stack = Stack::new()?;
        let (turn, theirs) = UnixStream::pair().map_err(errno)?;
        let (desk, theirs) = (Rc::new(Cell::new(None)), Rc::new(theirs));
        let serve = {
            let (desk, theirs) = (Rc::clone(&desk), Rc::clone(&theirs));
            move || serve(&desk, &theirs)
        };
        let child = share_all(&stack, serve)?;
        Ok(Self { child, desk, turn, _theirs: theirs, _stack: stack })
    }

    /// Has it do something, and waits for that.
    ///
    /// # Errors
    /// Where it has ended: `ESRCH`. What was to be done is then done in part, or not at all.
    pub fn run<T>(&self, task: impl FnOnce() -> T) -> Result<T, Errno> {
        /// # Safety
        /// `with` is a `&mut F` that nobody else uses.
        unsafe fn act<F: FnMut()>(with: *mut libc::c_void) {
            // SAFETY: what the caller was told.
            unsafe { (*with.cast::<F>())() }
        }
        fn task_of<F: FnMut()>(with: &mut F) -> Task {
            Task { act: act::<F>, with: (&raw mut *with).cast() }
        }
        let (mut task, mut result) = (Some(task), None);
        let mut take = || result = task.take().map(|task| task());
        self.desk.set(Some(task_of(&mut take)));
        let told = rustix::io::write(&self.turn, &[1]).is_ok() && self.is_answered();
        self.desk.set(None);
        result.filter(|_| told).ok_or(Errno::ESRCH)
    }

    /// Waits until it has done something; false where it ended before.
    fn is_answered(&self) -> bool {
        let read = PollFlags::POLLIN;
        let sources = [self.turn.as_fd(), self.child.pidfd.as_fd()];
        let mut fds = sources.map(|source| PollFd::new(source, read));
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        fds[0].any() == Some(true) && rustix::io::read(&self.turn, &mut [0]) == Ok(1)
    }
}

impl Drop for Deputy {
    fn drop(&mut self) {
        let _ = self.turn.shutdown(std::net::Shutdown::Both);
        let _ = waitpid(self.child.pid, None);
    }
}

/// The whole life of the process.
fn serve(desk: &Cell<Option<Task>>, turn: &UnixStream) {
    let mut byte = [0];
    loop {
        match rustix::io::read(turn, &mut byte) {
            Ok(1) => {}
            Err(rustix::io::Errno::INTR) => continue,
            _ => exit_now(0),
        }
        if let Some(task) = desk.take() {
            // SAFETY: `run` put it there, and waits until it is told; only it made `act` and `with`, for each other.
            unsafe { (task.act)(task.with) };
        }
        if rustix::io::write(turn, &byte) != Ok(1) {
            exit_now(1);
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
