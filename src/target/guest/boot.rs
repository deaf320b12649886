//! One life of a guest: what it says and prints, and how long it is waited for.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::console::Console;
use super::frame::{Decoder, Encoder};
use super::machine::Machine;
use super::message::{Reply, WINDOW};

/// How many pieces of what it says and prints are read before something else is looked at: it may never stop.
const AT_ONCE: usize = 64;

/// One life of a guest.
#[derive(Debug)]
pub(super) struct Boot {
    pub(super) machine: Machine,
    pub(super) console: Console,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    /// What was not yet taken by the line.
    pub(super) out: Vec<u8>,
    /// How many bytes are on their way, and how many the agent has taken before them.
    pub(super) on_the_way: usize,
    pub(super) taken: usize,
    /// Whether it has said hello.
    pub(super) up: bool,
    /// Whether it was asked anything.
    pub(super) used: bool,
    /// Whether it has said that it ends.
    pub(super) leaving: bool,
    /// When it should have said something.
    pub(super) deadline: Instant,
}

impl Boot {
    /// One that begins, and has until then to say what it is.
    pub(super) fn of(machine: Machine, deadline: Instant) -> Self {
        Self {
            machine,
            console: Console::default(),
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            out: Vec::new(),
            on_the_way: 0,
            taken: 0,
            up: false,
            used: false,
            leaving: false,
            deadline,
        }
    }

    /// Waits for a reply, at most this long; what went wrong where there will be none.
    pub(super) fn wait(&mut self, wait: Duration) -> Result<Option<Reply>, String> {
        let until = Instant::now() + wait;
        loop {
            match self.decoder.decode() {
                // Who says nothing but that, and never stops, must not hold up the end of its time.
                Ok(Some(Reply::Taken { .. })) if Instant::now() >= self.deadline => {}
                Ok(Some(reply)) => return Ok(Some(reply)),
                Ok(None) => {}
                Err(error) => return Err(format!("what it says cannot be understood: {error}")),
            }
            self.flush().map_err(|error| format!("it cannot be asked: {error}"))?;
            let now = Instant::now();
            if now >= self.deadline {
                let what = if self.up { "answer" } else { "come up" };
                return Err(format!("it did not {what} in time"));
            }
            let left = until.min(self.deadline).saturating_duration_since(now);
            if !self.poll(left).map_err(|error| format!("it cannot be waited for: {error}"))? {
                return Ok(None);
            }
            let (open, alive) = (self.read_channel(), self.is_alive());
            self.read_console();
            if !alive {
                self.machine.end_rest();
            }
            if !alive && !open {
                // Its last words may have come meanwhile.
                return self.decoder.decode().ok().flatten().map(Some).ok_or("it ended".to_owned());
            }
        }
    }

    /// Whether something has come before the time is up.
    fn poll(&self, wait: Duration) -> io::Result<bool> {
        let writes = !self.out.is_empty() && self.room() > 0;
        let write = if writes { PollFlags::POLLOUT } else { PollFlags::empty() };
        let mut fds = [
            PollFd::new(self.machine.channel.as_fd(), PollFlags::POLLIN | write),
            PollFd::new(self.machine.console.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.machine.ended(), PollFlags::POLLIN),
        ];
        // Rounded up: not to look a thousand times whether it is time.
        let timeout =
            PollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(self.machine.ended(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    }

    /// Takes in what came over the line, as much as is understood at once; whether more may come.
    fn read_channel(&mut self) -> bool {
        let mut bytes = [0; 64 << 10];
        for _ in 0..AT_ONCE {
            match self.machine.channel.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.decoder.feed(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    pub(super) fn read_console(&mut self) {
        let mut bytes = [0; 16 << 10];
        for _ in 0..AT_ONCE {
            match self.machine.console.read(&mut bytes) {
                Ok(length) if length > 0 => self.console.feed(&bytes[..length]),
                _ => return,
            }
        }
    }

    /// How many bytes more may be on their way.
    fn room(&self) -> usize {
        WINDOW.saturating_sub(self.on_the_way)
    }

    /// Writes as much as the line takes now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() && self.room() > 0 {
            let next = self.out.len().min(self.room());
            match self.machine.channel.write(&self.out[..next]) {
                Ok(length) => {
                    drop(self.out.drain(..length));
                    self.on_the_way += length;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Its end is seen by whoever reads.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => self.out.clear(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Why it ended, with what the console says to it.
    pub(super) fn explain(&mut self, why: &str) -> String {
        self.read_console();
        match self.console.complaint() {
            Some(line) => format!("{why}; its console says: {line}"),
            None => why.to_owned(),
        }
    }
}
