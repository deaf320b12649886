//! Running a program of the system to its end, with an eye on interrupts.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

/// Runs a program in a process group of its own: an interrupt ends all of it. What it prints goes
/// through files in `scratch`.
pub(super) fn run(command: &mut Command, scratch: &Path) -> Result<Done, Failure> {
    let [out, err] = ["stdout", "stderr"].map(|name| scratch.join(name));
    let create = |path: &Path| File::create(path).map_err(|error| Failure::of_file(path, &error));
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(create(&out)?)
        .stderr(create(&err)?)
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::of_program(&name, &error))?;
    let status = wait(child).map_err(|error| Failure::of_program(&name, &error))?;
    if sys::interrupted() {
        return Err(Failure::Interrupted);
    }
    let read = |path: &Path| std::fs::read(path).map(|text| String::from_utf8_lossy(&text).into());
    let printed = |path: &Path| read(path).map_err(|error| Failure::of_file(path, &error));
    Ok(Done { status, stdout: printed(&out)?, stderr: printed(&err)? })
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
