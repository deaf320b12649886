//! Running a program of the system to its end, with an eye on interrupts.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{PidfdFlags, pidfd_open};

use super::Failure;
use crate::sys;

/// What a program did.
#[derive(Debug)]
pub(super) struct Done {
    /// How it ended.
    pub(super) status: ExitStatus,
    /// What it printed to standard output.
    pub(super) stdout: String,
    /// What it printed to standard error.
    pub(super) stderr: String,
}

impl Done {
    /// How it ended, in words.
    pub(super) fn ending(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("it exits with {code}"),
            (_, Some(signal)) => format!("signal {signal} ended it"),
            _ => "it ended".to_owned(),
        }
    }
}

/// How long a program has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// Most bytes that are read of what a program printed.
const PRINTED: u64 = 64 << 20;

/// Runs a program in a process group of its own: an interrupt ends all of it. What it prints goes
/// into memory: where a disk is full, a file on it would lack the message that says so.
pub(super) fn run(command: &mut Command) -> Result<Done, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| Failure::of_program(&name, &error);
    let create =
        || -> io::Result<File> { Ok(memfd_create("printed", MemfdFlags::CLOEXEC)?.into()) };
    let (out, err) = (create().map_err(failed)?, create().map_err(failed)?);
    let writes = |file: &File| file.try_clone().map_err(failed);
    let child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(writes(&out)?)
        .stderr(writes(&err)?)
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let status = wait(child).map_err(failed)?;
    if sys::interrupted() {
        return Err(Failure::Interrupted);
    }
    let printed = |mut file: File| -> io::Result<String> {
        let mut text = Vec::new();
        file.rewind()?;
        file.take(PRINTED).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into())
    };
    Ok(Done {
        status,
        stdout: printed(out).map_err(failed)?,
        stderr: printed(err).map_err(failed)?,
    })
}

fn wait(mut child: Child) -> io::Result<ExitStatus> {
    let pid = Pid::from_raw(child.id() as i32);
    let ended = pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty())?;
    // A signal between the question and poll(2) would be noticed with the next turn.
    let turn = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let mut signalled: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match signalled {
            None if sys::interrupted() => {
                let _ = killpg(pid, Signal::SIGTERM);
                signalled = Some(Instant::now());
            }
            Some(when) if when.elapsed() > GRACE => {
                let _ = killpg(pid, Signal::SIGKILL);
            }
            _ => {}
        }
        let _ = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&turn));
    }
}
