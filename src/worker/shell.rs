//! A person in a sandbox: the steps up to some point are taken, and then a program runs as one of the actors.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use serde::{Deserialize, Serialize};

use super::Answer;
use super::tools::{PLACE, TERMINFO, Tools};
use crate::channel;
use crate::sandbox::{breakage, errno};
use crate::scenario::scalar::Name;
use crate::sys::{self, Mark};
use crate::trace::Event;
use crate::transcript::{Breakage, Outcome};

/// Who goes into a sandbox, and for what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shell {
    /// As which actor.
    pub actor: Name,
    /// The program and its arguments; a shell where there are none.
    pub command: Vec<String>,
    /// Whether what it asks of the kernel is told.
    pub record: bool,
    /// The terminal that is in front of it, where there is one.
    pub terminal: Option<Terminal>,
}

/// A terminal in front of a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Terminal {
    /// Its kind, as in the variable TERM.
    pub name: String,
    /// What terminfo(5) knows of it.
    pub description: Option<Vec<u8>>,
    /// How large it is.
    pub size: Size,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// How many lines there are.
    pub rows: u16,
    /// How many characters are in one.
    pub columns: u16,
}

/// One of the two streams that a program writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, and all that a terminal shows.
    Output,
    /// Standard error.
    Error,
}

/// What is told from the inside.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    /// The system calls of the step whose outcome comes next, where they are traced.
    Traced(Vec<String>),
    /// What a step gave.
    Outcome(Outcome),
    /// The steps were taken, and the program begins.
    Begins,
    /// What the program has asked, where it is recorded.
    Recorded(Box<Event>),
    /// What the program wrote.
    Wrote(Stream, Vec<u8>),
    /// The program ended with this status, as a shell counts: 128 more than its number for a signal.
    Left(i32),
    /// The sandbox has ended.
    Ended(Box<Answer>),
}

/// What is said to the inside.
#[derive(Debug, Serialize, Deserialize)]
pub enum Said {
    /// What was typed.
    Typed(Vec<u8>),
    /// That nothing more will be.
    NoMore,
    /// That the terminal has another size.
    Resized(Size),
}

/// A shell on its way into a sandbox.
#[derive(Debug)]
pub struct Visit {
    /// Who goes in, and for what.
    pub shell: Shell,
    /// What it has with it.
    pub tools: Tools,
    /// Its standard input, output and error.
    pub streams: [OwnedFd; 3],
    /// To whom is told what happens.
    pub told: UnixStream,
}

impl Visit {
    /// What has to stay open on the way.
    pub fn descriptors(&self) -> impl Iterator<Item = &dyn AsRawFd> {
        let told: &dyn AsRawFd = &self.told;
        self.streams.iter().map(|stream| stream as &dyn AsRawFd).chain([told])
    }

    /// Tells what happens; nobody may be there any more.
    pub fn tell(&self, told: &Told) {
        let _ = channel::send(&mut &self.told, told);
    }

    /// Puts the tools into the root of a process, by its directory in `proc`.
    ///
    /// # Errors
    /// Why they are not there.
    pub fn bring(&self, proc: BorrowedFd<'_>, process: &str) -> Result<(), Breakage> {
        self.tools.mount(proc, process)
    }

    /// Runs the program as a child of this process, with its credentials, namespaces, root and working directory;
    /// gives its status as a shell counts.
    ///
    /// # Errors
    /// Where there can be no child.
    pub fn run(&self) -> Result<i32, Breakage> {
        let broke = |what: &str, errno: Errno| breakage(format!("shell: {what}"), errno);
        let (program, arguments, environment) = self.command();
        match sys::fork().map_err(|errno| broke("fork", errno))? {
            None => {
                let Err((what, errno)) = self.become_program(&program, &arguments, &environment);
                let program = program.to_string_lossy();
                let mut message = format!("nsharness: {program}: {what}: {}\n", errno.desc());
                if self
                    .shell
                    .command
                    .first()
                    .is_some_and(|name| !self.tools.has(name) && !name.contains('/'))
                {
                    message = format!(
                        "nsharness: {program} is not there: a shell has the usual programs that this machine has; name another in the sandbox by its path\n"
                    );
                }
                let _ = rustix::io::write(&self.streams[2], message.as_bytes());
                // As a shell has it: not found, and not to be run.
                sys::exit_now(if errno == Errno::ENOENT { 127 } else { 126 })
            }
            Some(child) => match waitpid(child, None).map_err(|errno| broke("waitpid", errno))? {
                WaitStatus::Exited(_, status) => Ok(status),
                WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as i32),
                other => Err(Breakage {
                    stage: "shell: waitpid".to_owned(),
                    detail: format!("{other:?}"),
                    errno: None,
                }),
            },
        }
    }

    /// The program, its arguments and its environment. A word without a slash is one of the tools.
    fn command(&self) -> (CString, Vec<CString>, Vec<CString>) {
        let text = |text: String| CString::new(text.replace('\0', "")).unwrap_or_default();
        let tool = |name: &str| format!("{PLACE}/bin/{name}");
        let (program, arguments) = match self.shell.command.split_first() {
            None => {
                let (shell, options) = self.tools.shell();
                let options = options.iter().map(|option| text((*option).to_owned()));
                (tool(shell), std::iter::once(text(shell.to_owned())).chain(options).collect())
            }
            Some((first, _)) => {
                let program = if first.contains('/') { first.clone() } else { tool(first) };
                (program, self.shell.command.iter().cloned().map(text).collect())
            }
        };
        let mut environment = vec![
            format!(
                "PATH={PLACE}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            ),
            format!("LD_LIBRARY_PATH={PLACE}/lib"),
            format!("SHELL={}", tool(self.tools.shell().0)),
            format!("PS1={}:$PWD\\$ ", self.shell.actor),
            "HOME=/".to_owned(),
            "HISTFILE=".to_owned(),
        ];
        if let Some(terminal) = &self.shell.terminal {
            environment.push(format!("TERM={}", terminal.name));
            environment.push(format!("TERMINFO={PLACE}/{TERMINFO}"));
        }
        (text(program), arguments, environment.into_iter().map(text).collect())
    }

    /// In a child: takes the streams, and becomes the program with what this process may do.
    fn become_program(
        &self,
        program: &CString,
        arguments: &[CString],
        environment: &[CString],
    ) -> Result<std::convert::Infallible, (&'static str, Errno)> {
        let at = |what| move |error| (what, errno(error));
        rustix::process::setsid().map_err(at("setsid"))?;
        let [input, output, error] = &self.streams;
        rustix::stdio::dup2_stdin(input)
            .and_then(|()| rustix::stdio::dup2_stdout(output))
            .and_then(|()| rustix::stdio::dup2_stderr(error))
            .map_err(at("dup2"))?;
        if self.shell.terminal.is_some() {
            rustix::process::ioctl_tiocsctty(input).map_err(at("ioctl TIOCSCTTY"))?;
        }
        keep_capabilities().map_err(at("capset"))?;
        sys::default_signals().map_err(|errno| ("sigaction", errno))?;
        if self.shell.record {
            sys::mark(Mark::Program);
        }
        nix::unistd::execve(program, arguments, environment).map_err(|errno| ("execve", errno))
    }
}

/// Has a program that this process becomes have the capabilities of this process, no more and no less.
///
/// By itself, execve(2) gives root all of its bounding set, and everybody else what is ambient
/// (capabilities(7), "Transformation of capabilities during execve()").
fn keep_capabilities() -> rustix::io::Result<()> {
    let sets = capabilities(None)?;
    if rustix::process::geteuid().is_root() || rustix::process::getuid().is_root() {
        // What is gained is dropped again where no privileges may be gained (cap_bprm_creds_from_file() of
        // security/commoncap.c).
        let bounding = in_bounding_set();
        return match sets.permitted.contains(bounding) {
            true => Ok(()),
            false => rustix::thread::set_no_new_privs(true),
        };
    }
    set_capabilities(None, CapabilitySets { inheritable: sets.permitted, ..sets })?;
    for capability in sets.permitted.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// The bounding set, as far as it is known by name.
fn in_bounding_set() -> CapabilitySet {
    let known = CapabilitySet::all().iter();
    known
        .filter(|one| rustix::thread::capability_is_in_bounding_set(*one).unwrap_or(false))
        .fold(CapabilitySet::empty(), |all, one| all | one)
}

/// Lets others look into this process again: who puts the tools into its root has to.
///
/// # Errors
/// Those of prctl(2).
pub fn open() -> Result<(), Errno> {
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(errno)
}
