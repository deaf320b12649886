//! Traces processes by ptrace(2): one that asked for it, and all that come from it.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;
use syscalls::Sysno;

use super::Call;
use super::table::{Kind, Signature, signature};
use crate::sys::{Mark, SyscallStop, as_mark, syscall_stop};

/// Most bytes that are read of one argument.
const MOST: usize = 64 << 10;
/// How long a path is at most: PATH_MAX of limits.h.
const PATH: usize = 4096;
/// What is read of memory at once: what is behind a page may not be there.
const PAGE: usize = 4096;

/// Who is told what traced processes do.
pub trait Watcher {
    /// Whether what a process asks from now on is wanted; it is asked after each mark.
    fn wants(&self, process: Pid) -> bool;

    /// A process says where it is.
    fn marked(&mut self, process: Pid, mark: Mark);

    /// A process has made another one.
    fn forked(&mut self, _parent: Pid, _child: Pid) {}

    /// A process begins a call; what it is about may be looked up in /proc.
    fn begins(&mut self, _process: Pid, _call: &Call) {}

    /// A call of a process has ended.
    fn called(&mut self, process: Pid, call: Call);

    /// A process has ended.
    fn ended(&mut self, _process: Pid) {}
}

/// What came of the first process.
#[derive(Debug)]
pub struct End {
    /// What it ended with; killed by the tracer, where it was not in time.
    pub status: WaitStatus,
    /// Whether it ended by itself before the time was up.
    pub in_time: bool,
}

/// The processes that are traced.
pub struct Tracer<'w> {
    watcher: &'w mut dyn Watcher,
    processes: BTreeMap<Pid, Process>,
}

/// What is known of one of them.
#[derive(Default)]
struct Process {
    /// The call that it is in.
    call: Option<Call>,
    /// Whether it is in a call, wanted or not.
    inside: bool,
    /// Whether it has stopped for the first time: whoever comes from a traced process does, by SIGSTOP.
    stopped: bool,
    /// Whether who made it has told of it. That may come later than its first stop, and until then it waits.
    announced: bool,
}

/// Traces a child of this process, and all that come from it, until it ends or the time is up. The child must have
/// asked for it (`PTRACE_TRACEME`), or be about to, and stop itself by SIGSTOP.
///
/// # Errors
/// Those of signalfd(2), poll(2) and waitpid(2).
pub fn trace(first: Pid, deadline: Instant, watcher: &mut dyn Watcher) -> Result<End, Errno> {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let before = children.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut tracer = Tracer { watcher, processes: BTreeMap::new() };
    let end = tracer.run(first, deadline, &signals);
    before.thread_set_mask()?;
    end
}

impl Tracer<'_> {
    fn run(&mut self, first: Pid, deadline: Instant, signals: &SignalFd) -> Result<End, Errno> {
        let mut in_time = true;
        loop {
            // Every process that is traced is waited for as a child: `__WALL` of waitpid(2).
            match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::StillAlive) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left == Duration::ZERO && in_time {
                        in_time = false;
                        nix::sys::signal::kill(first, Signal::SIGKILL)?;
                        continue;
                    }
                    wait(signals, if in_time { left } else { Duration::from_secs(1) })?;
                }
                Ok(status) => {
                    if let Some(end) = self.take(first, status) {
                        return Ok(End { status: end, in_time });
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Takes what has happened to a process, and has it go on; the end of the first one.
    fn take(&mut self, first: Pid, status: WaitStatus) -> Option<WaitStatus> {
        // A process that was killed meanwhile does not go on, and its end comes next.
        let go_on = |process: Pid, signal: Option<Signal>| {
            let _ = ptrace::syscall(process, signal);
        };
        match status {
            WaitStatus::Exited(process, _) | WaitStatus::Signaled(process, ..) => {
                if let Some(call) = self.processes.remove(&process).and_then(|known| known.call) {
                    self.watcher.called(process, call);
                }
                self.watcher.ended(process);
                return (process == first).then_some(status);
            }
            WaitStatus::Stopped(process, Signal::SIGSTOP)
                if !self.processes.get(&process).is_some_and(|known| known.stopped) =>
            {
                let known = self.processes.entry(process).or_default();
                known.stopped = true;
                if process == first {
                    known.announced = true;
                    let options = Options::PTRACE_O_TRACESYSGOOD
                        | Options::PTRACE_O_TRACEFORK
                        | Options::PTRACE_O_TRACEVFORK
                        | Options::PTRACE_O_TRACECLONE
                        | Options::PTRACE_O_TRACEEXEC
                        | Options::PTRACE_O_EXITKILL;
                    let _ = ptrace::setoptions(process, options);
                }
                if self.processes.get(&process).is_some_and(|known| known.announced) {
                    go_on(process, None);
                }
            }
            WaitStatus::Stopped(process, signal) => go_on(process, Some(signal)),
            WaitStatus::PtraceEvent(process, _, event) => {
                let is_new =
                    [libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK, libc::PTRACE_EVENT_CLONE];
                if is_new.contains(&event)
                    && let Ok(child) = ptrace::getevent(process)
                {
                    let child = Pid::from_raw(child as i32);
                    self.watcher.forked(process, child);
                    let known = self.processes.entry(child).or_default();
                    known.announced = true;
                    if known.stopped {
                        go_on(child, None);
                    }
                }
                go_on(process, None);
            }
            WaitStatus::PtraceSyscall(process) => {
                self.at_call(process);
                go_on(process, None);
            }
            _ => {}
        }
        None
    }

    fn at_call(&mut self, process: Pid) {
        let known = self.processes.entry(process).or_default();
        let inside = known.inside;
        known.inside = !inside;
        match syscall_stop(process, inside) {
            Ok(SyscallStop::Entry(number, raw)) => {
                known.inside = true;
                known.call = None;
                if let Some(mark) = as_mark(number, &raw) {
                    self.watcher.marked(process, mark);
                } else if self.watcher.wants(process) {
                    let call = entered(process, number, raw);
                    self.watcher.begins(process, &call);
                    self.processes.entry(process).or_default().call = Some(call);
                }
            }
            Ok(SyscallStop::Exit(value)) => {
                known.inside = false;
                let call = self.processes.get_mut(&process).and_then(|known| known.call.take());
                if let Some(mut call) = call {
                    call.returned = Some(value);
                    fill_in(process, &mut call);
                    self.watcher.called(process, call);
                }
            }
            Ok(SyscallStop::Other) | Err(_) => {}
        }
    }
}

/// Waits until something has happened to a child.
fn wait(signals: &SignalFd, wait: Duration) -> Result<(), Errno> {
    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    while let Ok(Some(_)) = signals.read_signal() {}
    Ok(())
}

/// A call that begins, with what its arguments point to.
fn entered(process: Pid, number: u64, raw: [u64; 6]) -> Call {
    let name =
        usize::try_from(number).ok().and_then(Sysno::new).map_or("unknown", |call| call.name());
    let mut call = Call { name: name.to_owned(), raw, bytes: Default::default(), returned: None };
    let arguments = signature(name).map_or(&[][..], |Signature { arguments, .. }| arguments);
    for (place, kind) in arguments.iter().enumerate() {
        let bytes = match kind {
            Kind::Text => text(process, raw[place]),
            Kind::Given(length) => data(process, raw[place], raw[*length]),
            Kind::Struct(length) => data(process, raw[place], *length),
            _ => None,
        };
        call.bytes[place] = bytes;
    }
    call
}

/// What a call has returned in memory.
fn fill_in(process: Pid, call: &mut Call) {
    let Some(length) = call.value() else { return };
    let arguments = signature(&call.name).map_or(&[][..], |signature| signature.arguments);
    for (place, kind) in arguments.iter().enumerate() {
        if *kind == Kind::Returned {
            call.bytes[place] = data(process, call.raw[place], length);
        }
    }
}

/// Bytes in the memory of a process; `None` where they are not to be read.
fn data(process: Pid, at: u64, length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok()?.min(MOST);
    let at = usize::try_from(at).ok().filter(|at| *at != 0)?;
    if length == 0 {
        return Some(Vec::new());
    }
    let mut bytes = vec![0; length];
    let remote = [RemoteIoVec { base: at, len: length }];
    let read = process_vm_readv(process, &mut [IoSliceMut::new(&mut bytes)], &remote).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

/// A text in the memory of a process, up to its zero byte.
fn text(process: Pid, at: u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while text.len() < PATH {
        let from = at.checked_add(text.len() as u64)?;
        let in_page = PAGE - usize::try_from(from).ok()? % PAGE;
        let part = data(process, from, in_page as u64)?;
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            text.extend(&part[..end]);
            return Some(text);
        }
        if part.is_empty() {
            return None;
        }
        text.extend(part);
    }
    Some(text)
}
