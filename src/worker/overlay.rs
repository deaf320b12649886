//! Overlays that a program mounts through FUSE, in the place of the kernel.
//!
//! The program runs in the sandbox, as the actor that mounts: with its credentials, namespaces, root and working
//! directory. It ends with the sandbox at the latest, as all that is in its pid namespace.

use std::ffi::{CStr, CString};
use std::io::{PipeReader, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, execve};
use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags};

use super::mounts::layers;
use super::observe::read_proc;
use super::perform::{Failure, Named, c_string};
use crate::overlays::options;
use crate::sandbox;
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::Overlay;
use crate::sys;
use crate::transcript::{Breakage, Message, Outcome};

/// How long a program may take until its overlay is mounted.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a program that has mounted may take until it is in the background; one that is not by then stays in the
/// foreground.
const DEPARTURE: Duration = Duration::from_millis(500);
/// How long a program may take to be gone whose files say that it is.
const DEATH: Duration = Duration::from_secs(1);
/// How long is waited before it is looked again.
const PAUSE: Duration = Duration::from_millis(5);
/// How much of what it prints is kept.
const SAID_BYTES: usize = 4096;

/// Where the program is in the sandbox: among the libraries, which no observation has and nobody can change.
pub fn place(program: &Implementation) -> PathBuf {
    Path::new("/usr/bin").join(program.program.as_str())
}

/// What came of it.
pub enum Mounted {
    /// It did, or refused.
    Done(Outcome),
    /// It did neither: who asked for an overlay has no answer.
    Broke(Breakage),
}

/// What the program printed; as long as this is there it may print.
#[derive(Debug)]
pub struct Said(PipeReader);

/// Has the program mount an overlay. What it prints can be read until it has nothing to say any more.
///
/// # Errors
/// Where it cannot be asked for a reason that is the harness's.
pub fn mount(program: &Implementation, step: &Overlay) -> Result<(Mounted, Said), Failure> {
    let arguments = arguments(program, step)?;
    let file = c_string(&place(program).to_string_lossy(), "execve")?;
    let before = mount_id(step);
    let (output, to_output) = std::io::pipe().of("pipe2")?;
    rustix::fs::fcntl_setfl(&output, OFlags::NONBLOCK).of("fcntl")?;
    let (mut failed, to_failed) = std::io::pipe().of("pipe2")?;
    let environment: [&CStr; 1] = [c"PATH=/"];
    let child = sys::vfork(|| {
        let Err(errno) = rustix::stdio::dup2_stdout(&to_output)
            .and_then(|()| rustix::stdio::dup2_stderr(&to_output))
            .map_err(sandbox::errno)
            .and_then(|()| execve(&file, &arguments, &environment));
        let _ = rustix::io::write(&to_failed, &(errno as i32).to_le_bytes());
    });
    drop((to_output, to_failed));
    let child = child.of("fork")?;
    let name = &program.name;
    let broke = |detail: String, errno: Option<Errno>| {
        let errno = errno.map(|errno| crate::scenario::scalar::Errno(errno as i32));
        Mounted::Broke(Breakage { stage: format!("overlay: {name}"), detail, errno })
    };
    let mut errno = [0; 4];
    let mut said = Said(output);
    if failed.read_exact(&mut errno).is_ok() {
        let _ = waitpid(child, None);
        let errno = Errno::from_raw(i32::from_le_bytes(errno));
        return Ok((broke(format!("it cannot be run: {errno}"), Some(errno)), said));
    }
    let mut printed = Vec::new();
    let status = await_mount(child, &mut said, &mut printed, || mount_id(step) != before)?;
    let is_mounted = mount_id(step) != before;
    let words = in_short(&printed);
    let and_said = if words.is_empty() { String::new() } else { format!("; it says: {words}") };
    let mounted = match status {
        // It stays, as it serves in the foreground.
        None if is_mounted => Mounted::Done(Outcome::done()),
        None => {
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
            let seconds = PATIENCE.as_secs();
            broke(format!("it mounted nothing within {seconds} s and was killed{and_said}"), None)
        }
        Some(WaitStatus::Exited(_, 0)) if is_mounted => Mounted::Done(Outcome::done()),
        Some(WaitStatus::Exited(_, 0)) => {
            broke(format!("it ended with success and mounted nothing{and_said}"), None)
        }
        Some(WaitStatus::Exited(_, code)) => {
            let message = if words.is_empty() { format!("exit status {code}") } else { words };
            Mounted::Done(refusal(name, message))
        }
        Some(WaitStatus::Signaled(_, signal, _)) => broke(
            format!("{} ended it before it mounted anything{and_said}", signal.as_str()),
            None,
        ),
        Some(other) => broke(format!("it is in a state of its own: {other:?}{and_said}"), None),
    };
    Ok((mounted, said))
}

fn arguments(program: &Implementation, step: &Overlay) -> Result<Vec<CString>, Failure> {
    let mut given = Vec::new();
    given.extend(layers(step).map(|layers| format!("lowerdir={layers}")));
    given.extend(step.upper.as_ref().map(|upper| format!("upperdir={upper}")));
    given.extend(step.work.as_ref().map(|work| format!("workdir={work}")));
    given.extend(options(step).map(str::to_owned));
    let name = program.program.as_str();
    let given = given.join(",");
    let mut words = vec![name];
    if !given.is_empty() {
        words.extend(["-o", &given]);
    }
    words.push(step.at.as_str());
    words.into_iter().map(|word| c_string(word, "execve")).collect()
}

/// Waits until the program has ended, or has mounted something and does not end; its status where it has ended.
fn await_mount(
    child: Pid,
    said: &mut Said,
    printed: &mut Vec<u8>,
    is_mounted: impl Fn() -> bool,
) -> Result<Option<WaitStatus>, Failure> {
    let mut deadline = Instant::now() + PATIENCE;
    let mut mounted = false;
    loop {
        said.read_into(printed);
        let status = waitpid(child, Some(WaitPidFlag::WNOHANG)).of("waitpid")?;
        let ended = status != WaitStatus::StillAlive;
        if !mounted && is_mounted() {
            // It goes into the background from here, or stays. A sandbox that ended in the middle of its fork(2) ended
            // guests too: User-Mode Linux 6.12 panics where a signal comes upon dup_mmap() of kernel/fork.c.
            mounted = true;
            deadline = deadline.min(Instant::now() + DEPARTURE);
        }
        if ended || Instant::now() >= deadline {
            // What ends as soon as it has mounted has said so, or why not, by then.
            said.read_into(printed);
            return Ok(ended.then_some(status));
        }
        std::thread::sleep(PAUSE);
    }
}

impl Said {
    /// Takes what was printed, and keeps its start.
    fn read_into(&mut self, printed: &mut Vec<u8>) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.0.read(&mut buffer) {
            let room = SAID_BYTES.saturating_sub(printed.len());
            printed.extend_from_slice(&buffer[..length.min(room)]);
        }
    }
}

/// The mount that is at the place; without a question to who serves it, for that may hang.
fn mount_id(step: &Overlay) -> Option<u64> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(CWD, step.at.as_str(), flags, StatxFlags::MNT_ID).ok()?;
    if StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID) {
        return Some(found.stx_mnt_id);
    }
    // Before Linux 5.8: what such a program mounts has a device number of its own.
    Some(u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor))
}

/// What is printed, in one line.
fn in_short(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// A program has no errno for who calls it. But what it says may end with the text of one, as that of error(3)
/// and perror(3) does.
fn refusal(name: &str, message: String) -> Outcome {
    let text = message.rsplit(": ").next().unwrap_or_default().trim_end_matches('.');
    let known = (1..=133).map(Errno::from_raw).find(|errno| errno.desc() == text);
    match known {
        Some(errno) => Outcome::Failed {
            errno: crate::scenario::scalar::Errno(errno as i32),
            syscall: "mount".to_owned(),
            message: Some(Message::Program { by: name.to_owned(), says: message }),
        },
        None => Outcome::Refused { by: name.to_owned(), message },
    }
}

/// Looks for a child that served an overlay and does not any more, and says how it ended: what has put itself into the
/// background is a child of this process, the first of the sandbox. One that ends because its overlay was unmounted
/// ends with 0. Whose status is of nobody's interest is taken too.
pub fn dead_program(
    program: &Implementation,
    proc: BorrowedFd<'_>,
    actors: &[i32],
    outcome: Option<&Outcome>,
) -> Option<String> {
    let deadline = Instant::now() + DEATH;
    loop {
        let found = next_dead(program, proc, actors);
        if found.is_some() || !tells_of_death(outcome) || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether it is an error of a file system of FUSE that nobody serves (fuse_abort_conn() of fs/fuse/dev.c): then the
/// end of the program is near, but what it held open is closed before it has a status.
fn tells_of_death(outcome: Option<&Outcome>) -> bool {
    let Some(Outcome::Failed { errno, .. }) = outcome else { return false };
    [libc::ENOTCONN, libc::ECONNABORTED].contains(&errno.0)
}

fn next_dead(program: &Implementation, proc: BorrowedFd<'_>, actors: &[i32]) -> Option<String> {
    let mut dead = None;
    loop {
        let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let status = waitid(Id::All, ended | WaitPidFlag::WNOWAIT);
        let Some(pid) = status.ok().and_then(|status| status.pid()) else { return dead };
        // Others may be anybody's whom a program that was executed has left behind.
        let is_program = is_called(program, proc, pid);
        match waitpid(pid, None) {
            Ok(WaitStatus::Signaled(_, signal, _)) if !actors.contains(&pid.as_raw()) => {
                dead = Some(format!("{} ended it", signal.as_str()));
            }
            Ok(WaitStatus::Exited(_, code @ 1..)) if is_program => {
                dead = Some(format!("it ended with exit status {code}"));
            }
            Err(_) => return dead,
            Ok(_) => {}
        }
    }
}

/// Whether a process that has ended has the name that execve(2) gives to one of this program: see proc(5), `comm`.
fn is_called(program: &Implementation, proc: BorrowedFd<'_>, pid: Pid) -> bool {
    const LONGEST: usize = 15;
    let name = program.program.as_str().as_bytes();
    let name = &name[..name.len().min(LONGEST)];
    read_proc(proc, &format!("{pid}/comm")).is_some_and(|comm| comm.trim_end().as_bytes() == name)
}
