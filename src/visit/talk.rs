//! What goes between who is in front and the program inside: what is typed, what it writes, and what happens.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Broken;
use crate::sys;
use crate::target::passage::{MOST_WAITING, Passage};
use crate::terminal::{Raw, size};
use crate::trace::Event;
use crate::transcript::Outcome;
use crate::worker::Answer;
use crate::worker::shell::{Said, Shell, Size, Stream, Told};

/// Who is in front, and is told what happens.
pub trait Front {
    /// A step was taken: its place in the plan, what it gave, and its system calls where they are traced.
    fn taken(&mut self, index: usize, outcome: &Outcome, calls: &[String]);

    /// The steps were taken, and the program begins.
    fn begins(&mut self);

    /// The program wrote something.
    ///
    /// # Errors
    /// Where it cannot be passed on.
    fn wrote(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Broken>;
}

/// What came of it.
#[derive(Debug)]
pub struct Left {
    /// What the sandbox answered as it ended; `None` where somebody interrupted.
    pub answer: Option<Answer>,
    /// The status of the program, where it ended by itself.
    pub status: Option<i32>,
    /// What the program asked, where it was recorded.
    pub events: Vec<Event>,
}

/// Passes on what is said between who is in front and the program, to its end. `place` is what is named where the way
/// to it is lost.
///
/// # Errors
/// Where one of the two can no longer be reached.
pub fn talk(
    passage: &mut dyn Passage,
    shell: &Shell,
    place: &str,
    front: &mut dyn Front,
) -> Result<Left, Broken> {
    let mut talk = Talk {
        shell,
        place,
        front,
        taken: 0,
        calls: Vec::new(),
        raw: None,
        size: size(),
        typing: Typing::Before,
        status: None,
        events: Vec::new(),
    };
    let answer = talk.until_it_ends(passage)?;
    let Talk { status, events, .. } = talk;
    Ok(Left { answer, status, events })
}

/// Whether what is typed goes to the program.
#[derive(PartialEq)]
enum Typing {
    Before,
    Goes,
    Over,
}

struct Talk<'t> {
    shell: &'t Shell,
    place: &'t str,
    front: &'t mut dyn Front,
    /// How many steps were taken.
    taken: usize,
    /// The system calls of the step whose outcome comes next.
    calls: Vec<String>,
    /// The keys of the terminal, while the program has them.
    raw: Option<Raw>,
    /// How large the program knows the terminal to be.
    size: Size,
    typing: Typing,
    status: Option<i32>,
    events: Vec<Event>,
}

impl Talk<'_> {
    fn lost(&self) -> impl FnOnce(io::Error) -> Broken {
        Broken::at(self.place)
    }

    fn until_it_ends(&mut self, passage: &mut dyn Passage) -> Result<Option<Answer>, Broken> {
        loop {
            while let Some(told) = passage.next(Duration::ZERO).map_err(self.lost())? {
                if let Some(answer) = self.hear(told)? {
                    return Ok(Some(answer));
                }
            }
            if sys::interrupted() {
                return Ok(None);
            }
            self.pass_on(passage)?;
        }
    }

    /// What is told from the inside; the answer where it was the last.
    fn hear(&mut self, told: Told) -> Result<Option<Answer>, Broken> {
        match told {
            Told::Recorded(event) => self.events.push(*event),
            Told::Traced(lines) => self.calls = lines,
            Told::Outcome(outcome) => {
                self.front.taken(self.taken, &outcome, &std::mem::take(&mut self.calls));
                self.taken += 1;
            }
            Told::Begins => {
                self.front.begins();
                self.typing = Typing::Goes;
                if self.shell.terminal.is_some() {
                    self.raw = Some(Raw::take().map_err(self.lost())?);
                }
            }
            // What is recorded may go to standard output itself.
            Told::Wrote(_, bytes) if self.shell.record && self.shell.terminal.is_none() => {
                self.front.wrote(Stream::Error, &bytes)?;
            }
            Told::Wrote(stream, bytes) => self.front.wrote(stream, &bytes)?,
            Told::Left(code) => {
                drop(self.raw.take());
                self.typing = Typing::Over;
                self.status = Some(code);
            }
            Told::Ended(answer) => {
                drop(self.raw.take());
                return Ok(Some(*answer));
            }
        }
        Ok(None)
    }

    /// Waits for either side, and says to the program what was typed and how large the terminal is.
    fn pass_on(&mut self, passage: &mut dyn Passage) -> Result<(), Broken> {
        if self.raw.is_some() && size() != self.size {
            self.size = size();
            passage.say(Said::Resized(self.size)).map_err(self.lost())?;
        }
        let takes = self.typing == Typing::Goes && passage.waiting() < MOST_WAITING;
        if wait(passage, takes).map_err(self.lost())? {
            let said = typed().map_err(Broken::at("standard input"))?;
            if matches!(said, Said::NoMore) {
                self.typing = Typing::Over;
            }
            passage.say(said).map_err(self.lost())?;
        }
        Ok(())
    }
}

/// What was typed.
fn typed() -> io::Result<Said> {
    let mut bytes = [0; 4096];
    match rustix::io::read(io::stdin(), &mut bytes) {
        Ok(0) => Ok(Said::NoMore),
        Ok(length) => Ok(Said::Typed(bytes[..length].to_vec())),
        // A signal, or a terminal that is gone.
        Err(rustix::io::Errno::INTR) => Ok(Said::Typed(Vec::new())),
        Err(rustix::io::Errno::IO) => Ok(Said::NoMore),
        Err(error) => Err(error.into()),
    }
}

/// Waits for either side; whether something was typed.
fn wait(passage: &dyn Passage, takes: bool) -> io::Result<bool> {
    /// How often is looked for a signal, and for the size of the terminal.
    const TICK: u16 = 100;
    let stdin = io::stdin();
    let sources: Vec<BorrowedFd<'_>> = passage.sources();
    let sources = sources.into_iter().map(|source| PollFd::new(source, PollFlags::POLLIN));
    let mut fds: Vec<_> = sources.collect();
    if takes {
        fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut fds, PollTimeout::from(TICK)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(takes && fds.last().and_then(PollFd::any).unwrap_or(false))
}
