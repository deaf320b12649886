//! A way to a program in a sandbox: what is typed goes in, what it writes comes out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid, setsid};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::channel;
use crate::missing::Missing;
use crate::sandbox::die_with;
use crate::scenario::plan::Plan;
use crate::sys;
use crate::transcript::{Breakage, Transcript};
use crate::worker::shell::{Said, Shell, Size, Stream, Told, Visit};
use crate::worker::tools::Tools;
use crate::worker::{Answer, Worker};

/// How much is read at once.
const AT_ONCE: usize = 4096;
/// How much may wait to be taken by the program, before no more is taken from who types.
pub const MOST_WAITING: usize = 64 << 10;

/// A way to a program in a sandbox. The last that is told is [`Told::Ended`].
pub trait Passage {
    /// What becomes readable when there is something to tell.
    fn sources(&self) -> Vec<BorrowedFd<'_>>;

    /// What is told next; `None` where there was nothing for so long.
    ///
    /// # Errors
    /// Where nothing can be told any more.
    fn next(&mut self, wait: Duration) -> io::Result<Option<Told>>;

    /// Says something to the program.
    ///
    /// # Errors
    /// Where it cannot be said.
    fn say(&mut self, said: Said) -> io::Result<()>;

    /// How much of what was typed was not taken yet.
    fn waiting(&self) -> usize;
}

/// A program in a sandbox of this kernel.
#[derive(Debug)]
pub struct Here {
    worker: Pid,
    told: UnixStream,
    /// What it reads from; gone when nothing more is typed.
    input: Option<OwnedFd>,
    /// What was typed and not taken.
    typed: VecDeque<u8>,
    no_more: bool,
    /// What it writes to, by the stream.
    outputs: Vec<(Stream, OwnedFd)>,
    terminal: bool,
    /// That it has ended, while what it wrote before is still told.
    last: Option<Told>,
}

/// What the program has on its side.
struct Theirs {
    streams: [OwnedFd; 3],
}

impl Here {
    /// Starts a worker that takes the steps of a plan and lets the program in then.
    ///
    /// # Errors
    /// Those of pty(7), pipe(2) and fork(2).
    pub fn start(plan: &Plan, shell: &Shell) -> io::Result<Self> {
        let (told, tells) = UnixStream::pair()?;
        let (mut here, theirs) = match &shell.terminal {
            Some(terminal) => Self::with_terminal(told, terminal.size)?,
            None => Self::with_pipes(told)?,
        };
        let supervisor = getpid();
        match sys::fork()? {
            None => {
                drop(here);
                // The keys of the user's terminal are for the one of the program.
                let _ = setsid();
                die_with(supervisor);
                serve(plan, shell, theirs, tells);
                sys::exit_now(0)
            }
            Some(worker) => {
                here.worker = worker;
                Ok(here)
            }
        }
    }

    fn with_terminal(told: UnixStream, size: Size) -> io::Result<(Self, Theirs)> {
        let ours =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(&name, flags, rustix::fs::Mode::empty())?;
        resize(&ours, size);
        let streams = [theirs.try_clone()?, theirs.try_clone()?, theirs];
        let outputs = vec![(Stream::Output, ours.try_clone()?)];
        Ok((Self::of(told, ours, outputs, true)?, Theirs { streams }))
    }

    fn with_pipes(told: UnixStream) -> io::Result<(Self, Theirs)> {
        let ((input, ours), (out, output), (err, error)) = (io::pipe()?, io::pipe()?, io::pipe()?);
        let outputs = vec![(Stream::Output, out.into()), (Stream::Error, err.into())];
        let streams = [input.into(), output.into(), error.into()];
        Ok((Self::of(told, ours.into(), outputs, false)?, Theirs { streams }))
    }

    fn of(
        told: UnixStream,
        input: OwnedFd,
        outputs: Vec<(Stream, OwnedFd)>,
        terminal: bool,
    ) -> io::Result<Self> {
        // A program that does not read must not keep what it writes from being told.
        let flags = rustix::fs::fcntl_getfl(&input)?;
        rustix::fs::fcntl_setfl(&input, flags | OFlags::NONBLOCK)?;
        Ok(Self {
            worker: Pid::from_raw(0),
            told,
            input: Some(input),
            typed: VecDeque::new(),
            no_more: false,
            outputs,
            terminal,
            last: None,
        })
    }

    /// Gives the program what was typed, as far as it takes it.
    fn flush(&mut self) {
        while let (Some(input), false) = (&self.input, self.typed.is_empty()) {
            match rustix::io::write(input, self.typed.make_contiguous()) {
                Ok(written) => drop(self.typed.drain(..written)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                // It has closed its side.
                Err(_) => {
                    self.typed.clear();
                    self.input = None;
                }
            }
        }
        // A terminal has no end: who is in front of it types one.
        if self.no_more && !self.terminal {
            self.input = None;
        }
    }

    /// Which of the sources has something, the last of them being the worker: it has when it said its last.
    fn poll(&self, wait: Duration) -> io::Result<Option<usize>> {
        let sources = self.sources();
        let of = |source| PollFd::new(source, PollFlags::POLLIN);
        let mut fds: Vec<_> = sources.into_iter().map(of).collect();
        match poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)) {
            Ok(_) => {
                let ready = fds.iter().position(|fd| fd.any().unwrap_or(false));
                Ok(ready.or(self.last.as_ref().map(|_| fds.len() - 1)))
            }
            Err(Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What the program wrote to one of its streams; `None` at the end.
    fn read(&mut self, index: usize) -> Option<Told> {
        let (stream, from) = &self.outputs[index];
        let mut bytes = [0; AT_ONCE];
        match rustix::io::read(from, &mut bytes) {
            Ok(length) if length > 0 => Some(Told::Wrote(*stream, bytes[..length].to_vec())),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                Some(Told::Wrote(*stream, Vec::new()))
            }
            // Of a terminal that nobody has open any more, the end is EIO.
            _ => {
                self.outputs.remove(index);
                None
            }
        }
    }

    /// What the worker says.
    fn hear(&mut self) -> Told {
        match channel::receive(&mut self.told) {
            Ok(Some(told)) => told,
            ended => {
                let detail = match ended {
                    Err(error) => format!("what it says cannot be read: {error}"),
                    Ok(_) => "its process has ended".to_owned(),
                };
                let breakage = Breakage { stage: "worker".to_owned(), detail, errno: None };
                Told::Ended(Box::new(Answer::Asked(Box::new(Transcript::broken(breakage)))))
            }
        }
    }
}

impl Passage for Here {
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        let outputs = self.outputs.iter().map(|(_, output)| output.as_fd());
        outputs.chain([self.told.as_fd()]).collect()
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<Told>> {
        self.flush();
        loop {
            // What was written before the end is told before it.
            let wait = if self.last.is_some() { Duration::ZERO } else { wait };
            let Some(ready) = self.poll(wait)? else { return Ok(None) };
            match (ready < self.outputs.len(), self.last.take()) {
                (true, last) => {
                    self.last = last;
                    if let Some(told) = self.read(ready) {
                        return Ok(Some(told));
                    }
                }
                (false, None) => match self.hear() {
                    last @ (Told::Ended(_) | Told::Left(_)) => self.last = Some(last),
                    told => return Ok(Some(told)),
                },
                (false, last) => return Ok(last),
            }
        }
    }

    fn say(&mut self, said: Said) -> io::Result<()> {
        match said {
            Said::Typed(bytes) => self.typed.extend(bytes),
            Said::NoMore => self.no_more = true,
            Said::Resized(size) => {
                if let (Some(terminal), true) = (&self.input, self.terminal) {
                    resize(terminal, size);
                }
            }
        }
        self.flush();
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.typed.len()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if self.worker.as_raw() > 0 {
            let _ = kill(self.worker, Signal::SIGKILL);
            let _ = waitpid(self.worker, None);
        }
    }
}

fn resize(terminal: &OwnedFd, size: Size) {
    let Size { rows: ws_row, columns: ws_col } = size;
    let _ = tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 });
}

/// The whole life of the worker.
fn serve(plan: &Plan, shell: &Shell, theirs: Theirs, mut tells: UnixStream) {
    let ended = |answer| Told::Ended(Box::new(answer));
    let tools = Tools::find().map(|mut tools| {
        shell.terminal.iter().for_each(|terminal| tools.describe(terminal));
        tools
    });
    let answer = match (tools, Worker::new()) {
        (Err(missing), _) => Answer::Missing(vec![missing]),
        (_, Err(errno)) => {
            let why = Missing::new("memory for transcripts", errno.to_string(), "free some");
            Answer::Missing(vec![why])
        }
        (Ok(tools), Ok(worker)) => {
            let Ok(told) = tells.try_clone() else { return };
            let visit = Visit { shell: shell.clone(), tools, streams: theirs.streams, told };
            worker.let_in(plan, &visit)
        }
    };
    let _ = channel::send(&mut tells, &ended(answer));
}
