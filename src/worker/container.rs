//! The container of a world: the bundle, the runtime that makes it, and the process in it that takes steps.
//!
//! The runtime runs in the sandbox, as its root. The process in the container is this very program; it is asked over
//! its standard input, a socket, which every runtime passes on to what it starts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::actor::{self, Reply};
use super::credentials::PROGRAM_NAME;
use super::observe;
use crate::channel;
use crate::runtime::{self, bundle, options};
use crate::sandbox::{Sandbox, ready_by};
use crate::scenario::container::{BUNDLE, CONTAINER, Container};
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::{Create, Operation};
use crate::scenario::plan::Plan;
use crate::scenario::scalar::{Errno, Name};
use crate::sys;
use crate::transcript::{Breakage, Outcome, Value, Values};

/// What the program of a container is called in its environment: see [`PROGRAM_NAME`].
pub const IN_CONTAINER: &str = "container";
/// Where the runtime's program and its state are.
const RUN: &str = "/run";
/// What runtimes look at for the mode of the cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";
/// How long a process that was started may take until it says so, and one that was killed until it is gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of what a runtime says is kept, from its end.
const SAID_BYTES: u64 = 4096;

/// Makes the bundle of a container and brings its runtime. The working directory is the root of the sandbox.
///
/// # Errors
/// The first part that could not be made: then nobody was asked.
pub fn prepare(
    container: &Container,
    runtime: &Implementation,
    sandbox: &Sandbox,
) -> Result<(), Breakage> {
    let rootfs = Path::new(BUNDLE).join("rootfs");
    for directory in [&rootfs.join("proc"), &rootfs.join("dev"), Path::new(RUN), Path::new(CGROUPS)]
    {
        fs::create_dir_all(directory).map_err(at("mkdir"))?;
    }
    let status = observe::read_proc(sandbox.proc.as_fd(), "self/status").unwrap_or_default();
    let bounding = bundle::bounding_set(&status).unwrap_or(u64::MAX);
    let config = bundle::config(container, &format!("{PROGRAM_NAME}={IN_CONTAINER}"), bounding);
    let text = serde_json::to_string_pretty(&config).unwrap_or_default();
    fs::write(Path::new(BUNDLE).join("config.json"), text).map_err(at("write config.json"))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = rustix::fs::openat(&sandbox.proc, "self/exe", flags, Mode::empty());
    let mut own = File::from(own.map_err(io::Error::from).map_err(at("open /proc/self/exe"))?);
    copy_program(&mut own, &rootfs.join(bundle::PROGRAM)).map_err(at("copy the program"))?;
    let program = sandbox.programs.get(&runtime.program);
    let program = program.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
    let program = program.and_then(OwnedFd::try_clone).map_err(at("open the runtime"))?;
    copy_program(&mut File::from(program), &of_runtime(runtime)).map_err(at("copy the runtime"))?;
    // A hierarchy of the sandbox's own, so that the mode of the host's is no matter.
    mount(Some("cgroup"), CGROUPS, Some("cgroup2"), MsFlags::empty(), None::<&str>)
        .map_err(io::Error::from)
        .map_err(at("mount cgroup2"))
}

fn of_runtime(runtime: &Implementation) -> std::path::PathBuf {
    Path::new(RUN).join(runtime.program.as_str())
}

fn copy_program(from: &mut File, to: &Path) -> io::Result<()> {
    from.rewind()?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o755).open(to)?;
    io::copy(from, &mut to).map(drop)
}

fn at(what: &str) -> impl Fn(io::Error) -> Breakage {
    move |error| Breakage {
        stage: format!("world: container: {what}"),
        detail: error.to_string(),
        errno: error.raw_os_error().map(Errno),
    }
}

/// The container while the steps are taken.
#[derive(Debug, Default)]
pub struct Running {
    /// Where its process is asked, once it is made.
    socket: Option<UnixStream>,
    /// That process, in the sandbox.
    pid: Option<i32>,
    /// What came of a process that was started as it was made.
    begun: Option<Result<Begun, String>>,
}

/// A process that takes steps, where it is asked and its process id in the sandbox, and the descriptors that it began
/// with.
type Begun = ((UnixStream, i32), Vec<u32>);

/// What a command of the runtime came to.
enum Said {
    Done(String),
    Refused(Outcome),
}

impl Running {
    /// Has the runtime do something. A process that was started is given beside the outcome.
    ///
    /// # Errors
    /// Where the runtime could not be asked.
    pub fn perform(
        &mut self,
        plan: &Plan,
        operation: &Operation,
    ) -> Result<(Outcome, Option<(UnixStream, i32)>), Breakage> {
        let Some(runtime) = &plan.runtime else {
            return Err(at("call the runtime")(io::ErrorKind::NotFound.into()));
        };
        reap();
        if runtime::is_by_options(runtime) {
            return self.start_at_once(plan, runtime, operation);
        }
        let command = operation.word();
        let id = CONTAINER.to_owned();
        let tell =
            |arguments: Vec<String>| call(runtime, command, &arguments, Stdio::null(), Vec::new());
        let said = match operation {
            Operation::Create(step) => self.create(runtime, step)?,
            Operation::Kill(step) => {
                let signal = step.signal.clone().unwrap_or_else(|| "TERM".to_owned());
                let said = tell(vec![id, signal.clone()])?;
                if signal.trim_start_matches("SIG") == "KILL" && matches!(said, Said::Done(_)) {
                    self.wait_for_end();
                }
                said
            }
            Operation::Delete(step) => {
                let force = step.force.then(|| "--force".to_owned());
                tell(force.into_iter().chain([id]).collect())?
            }
            _ => tell(vec![id])?,
        };
        let text = match said {
            Said::Refused(outcome) => return Ok((outcome, None)),
            Said::Done(text) => text,
        };
        Ok(match operation {
            Operation::Start(_) => started(runtime, self.welcome(plan)),
            Operation::State(_) => (state(&text, runtime), None),
            _ => (Outcome::done(), None),
        })
    }

    /// `create`, by which the process in the container is there, and can be asked.
    fn create(&mut self, runtime: &Implementation, step: &Create) -> Result<Said, Breakage> {
        let (ours, theirs) = UnixStream::pair().map_err(at("socketpair"))?;
        let pid_file = format!("{RUN}/pid");
        let options = ["--bundle", &format!("/{BUNDLE}"), "--pid-file", &pid_file];
        let mut arguments: Vec<String> = options.iter().map(|&word| word.to_owned()).collect();
        arguments.extend(step.no_pivot.then(|| "--no-pivot".to_owned()));
        let passed = step.preserve_fds;
        arguments.extend(passed.map(|count| format!("--preserve-fds={count}")));
        arguments.push(CONTAINER.to_owned());
        let open = step.open.iter().map(|path| File::open(path.as_str()).map(OwnedFd::from));
        let open: Vec<_> = open.collect::<io::Result<_>>().map_err(at("open"))?;
        let said = call(runtime, "create", &arguments, OwnedFd::from(theirs).into(), open)?;
        if let Said::Done(_) = said {
            let pid = fs::read_to_string(&pid_file).map_err(at("read the pid file"))?;
            self.pid = pid.trim().parse().ok();
            self.socket = Some(ours);
        }
        Ok(said)
    }

    /// `create` and `start` of a program that does both at once: it is called by `create`, which waits until the process
    /// in the container has said something, or the program has ended.
    fn start_at_once(
        &mut self,
        plan: &Plan,
        runtime: &Implementation,
        operation: &Operation,
    ) -> Result<(Outcome, Option<(UnixStream, i32)>), Breakage> {
        match operation {
            Operation::Create(_) => Ok((self.begin(plan, runtime)?, None)),
            Operation::Start(_) => {
                let begun = self.begun.take().unwrap_or_else(|| Err("it was not made".to_owned()));
                Ok(started(runtime, begun))
            }
            // Such a plan is not asked of it.
            _ => Err(at(operation.word())(io::ErrorKind::Unsupported.into())),
        }
    }

    fn begin(&mut self, plan: &Plan, runtime: &Implementation) -> Result<Outcome, Breakage> {
        let arguments = runtime::arguments(runtime, plan).map_err(|missing| {
            let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
            at("arguments")(io::Error::other(missing.join("; ")))
        })?;
        if let Some(base) = runtime::base(runtime) {
            let made = fs::create_dir(base);
            let is_there = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
            made.or_else(|e| if is_there(&e) { Ok(()) } else { Err(e) }).map_err(at("mkdir"))?;
        }
        let (mut ours, theirs) = UnixStream::pair().map_err(at("socketpair"))?;
        // Nobody says which process it is, but the kernel says who has sent something.
        rustix::net::sockopt::set_socket_passcred(&ours, true)
            .map_err(io::Error::from)
            .map_err(at("setsockopt SO_PASSCRED"))?;
        let mut caller = caller(runtime, OwnedFd::from(theirs).into())?;
        caller.args(&arguments).env(PROGRAM_NAME, IN_CONTAINER);
        let deadline = Instant::now() + PATIENCE;
        let mut child = caller.spawn().map_err(at(&format!("run {}", runtime.program)))?;
        // With it the last copy of the socket's other end that is not in the container.
        drop(caller);
        let begun = match channel::send(&mut ours, plan) {
            Err(error) => Err(format!("it cannot be asked: {error}")),
            Ok(()) => {
                let from = sender(&ours, deadline);
                from.and_then(|pid| receive_begun(ours, pid))
            }
        };
        if begun.is_err() {
            while Instant::now() < deadline {
                match child.try_wait().map_err(at("waitpid"))? {
                    Some(status) if status.success() => break,
                    Some(status) => return Ok(refused(&runtime.name, status)),
                    None => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        }
        self.begun = Some(begun);
        Ok(Outcome::done())
    }

    /// Tells the process that was started what its steps are; it says with which descriptors it began.
    fn welcome(&mut self, plan: &Plan) -> Result<Begun, String> {
        let (Some(mut socket), Some(pid)) = (self.socket.take(), self.pid) else {
            return Err("it was not made".to_owned());
        };
        channel::send(&mut socket, plan).map_err(|error| format!("it cannot be asked: {error}"))?;
        if !ready_by(&socket, Instant::now() + PATIENCE) {
            return Err(silent());
        }
        receive_begun(socket, pid)
    }

    fn wait_for_end(&self) {
        let Some(pid) = self.pid.and_then(rustix::process::Pid::from_raw) else { return };
        if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            ready_by(&pidfd, Instant::now() + PATIENCE);
        }
        reap();
    }
}

/// What the step `start` comes to.
fn started(
    runtime: &Implementation,
    begun: Result<Begun, String>,
) -> (Outcome, Option<(UnixStream, i32)>) {
    match begun {
        Ok((process, descriptors)) => {
            let descriptors = descriptors.into_iter().map(|fd| fd.into());
            let values = [("descriptors", Value::List(descriptors.collect()))];
            (Outcome::values(values), Some(process))
        }
        Err(why) => {
            let said = in_short(&said_so_far());
            let message = if said.is_empty() { why } else { format!("{why}: {said}") };
            (Outcome::Refused { by: format!("the process of {runtime}"), message }, None)
        }
    }
}

fn silent() -> String {
    format!("it said nothing for {} s", PATIENCE.as_secs())
}

fn ended() -> String {
    "it ended before it said anything".to_owned()
}

/// With which descriptors the process in a container began.
fn receive_begun(mut socket: UnixStream, pid: i32) -> Result<Begun, String> {
    match channel::receive(&mut socket) {
        Ok(Some(Reply::Began(descriptors))) => Ok(((socket, pid), descriptors)),
        Ok(None) => Err(ended()),
        other => Err(format!("it answered {other:?}")),
    }
}

/// The process that has sent what is to be read next, by its id in the sandbox: see unix(7), SO_PASSCRED.
fn sender(socket: &UnixStream, deadline: Instant) -> Result<i32, String> {
    if !ready_by(socket, deadline) {
        return Err(silent());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let buffers = &mut [io::IoSliceMut::new(&mut byte)];
    let received = rustix::net::recvmsg(socket, buffers, &mut control, RecvFlags::PEEK);
    let received = received.map_err(|error| format!("it cannot be heard: {error}"))?;
    if received.bytes == 0 {
        return Err(ended());
    }
    let sender = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
        _ => None,
    });
    let pid = sender.ok_or("nobody says which process it is")?;
    Ok(pid.as_raw_nonzero().get())
}

/// Takes the status of processes that have ended: what a runtime leaves behind has this one for its parent, and a
/// process of which nobody takes the status is still there.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// Calls the runtime. What it and the container print goes to a file: a pipe would be open as long as the
/// container is.
fn call(
    runtime: &Implementation,
    command: &str,
    arguments: &[String],
    input: Stdio,
    open: Vec<OwnedFd>,
) -> Result<Said, Breakage> {
    let mut caller = caller(runtime, input)?;
    let _kept = sys::pass_on(&mut caller, open).map_err(io::Error::from).map_err(at("dup"))?;
    let status: ExitStatus = caller
        .args(options(runtime))
        .args(["--root", &format!("{RUN}/state"), command])
        .args(arguments)
        .status()
        .map_err(at(&format!("run {}", runtime.program)))?;
    Ok(match status.success() {
        true => Said::Done(said_so_far()),
        false => Said::Refused(refused(&format!("{} {command}", runtime.name), status)),
    })
}

/// The runtime as it is to be called: with nothing but the environment that it needs.
fn caller(runtime: &Implementation, input: Stdio) -> Result<Command, Breakage> {
    let printed = File::create(printed()).map_err(at("create a file"))?;
    let errors = printed.try_clone().map_err(at("dup"))?;
    let mut caller = Command::new(of_runtime(runtime));
    caller
        .env_clear()
        .envs([("PATH", "/run"), ("XDG_RUNTIME_DIR", RUN), ("HOME", "/")])
        .current_dir("/")
        .stdin(input)
        .stdout(printed)
        .stderr(errors);
    Ok(caller)
}

/// A call that failed, with what was printed.
fn refused(by: &str, status: ExitStatus) -> Outcome {
    let text = said_so_far();
    let message = match (text.is_empty(), status.signal()) {
        (true, _) => status.to_string(),
        (false, None) => in_short(&text),
        // What it printed before is no reason.
        (false, Some(_)) => format!("{status}: {}", in_short(&text)),
    };
    Outcome::Refused { by: by.to_owned(), message }
}

fn printed() -> String {
    format!("{RUN}/printed")
}

/// What the runtime and the container have printed since the last call, from its end.
fn said_so_far() -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(printed())?;
        let length = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(length.saturating_sub(SAID_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(SAID_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_default()
}

/// What a runtime says of an error, in one line: without the time and the level that some write before it.
fn in_short(text: &str) -> String {
    let message = |line: &str| match line
        .split_once(" level=")
        .and_then(|(_, rest)| rest.split_once(" msg="))
    {
        Some((_, message)) => unquoted(message),
        None => line.to_owned(),
    };
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(message)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The first value of what is left of such a line: in quotes where it has spaces.
fn unquoted(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"') else { return value.to_owned() };
    let mut text = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next().filter(|c| *c != '"') {
        match c {
            '\\' => text.extend(characters.next()),
            c => text.push(c),
        }
    }
    text
}

/// The status in what `state` prints.
fn state(text: &str, runtime: &Implementation) -> Outcome {
    let state: Option<serde_json::Value> = serde_json::from_str(text).ok();
    match state.as_ref().and_then(|state| state["status"].as_str()) {
        Some(status) => Outcome::Ok(Values::from([("status".into(), status.into())])),
        None => Outcome::Refused {
            by: format!("{} state", runtime.name),
            message: format!("it prints no state: {text}"),
        },
    }
}

/// The process of a container: it takes steps until nobody asks any more.
///
/// # Errors
/// Where it is not asked by nsharness.
pub fn serve() -> io::Result<()> {
    // Before there is any of its own.
    let descriptors = sys::open_descriptors();
    let input = rustix::stdio::stdin().try_clone_to_owned()?;
    let mut socket = UnixStream::from(input);
    let Some(plan) = channel::receive::<Plan>(&mut socket)? else { return Ok(()) };
    let open = |path: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
    };
    let root = open("/")?;
    // Without one there is none for steps either.
    let proc = open("/proc")
        .or_else(|_| root.as_fd().try_clone_to_owned().map_err(|_| rustix::io::Errno::MFILE))?;
    let sandbox = Sandbox {
        root,
        proc,
        programs: std::collections::BTreeMap::new(),
        program_sizes: Vec::new(),
    };
    let name: Name = CONTAINER.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    actor::serve(&plan, &sandbox, &name, socket, descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_says_is_its_message_alone() {
        let text = "time=\"t\" level=error msg=\"invalid device type \\\"x\\\"\"\n\
                    time=\"t\" level=warning msg=\"it is odd\" error=\"a \\\"b\\\"\"\n\
                    level=info msg=no\nno level at all\n";
        assert_eq!(
            in_short(text),
            "invalid device type \"x\"; it is odd; level=info msg=no; no level at all"
        );
    }
}
