//! One actor performs one operation: system calls in, an outcome out.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use rustix::fs::CWD;

use super::nfs::Mounted;
use super::{credentials, exec, files, mounts, namespaces, overlay, roots};
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::{ExecOperation, InFamily, Operation};
use crate::scenario::scalar::{Errno as ErrnoName, Name};
use crate::transcript::{Breakage, Message, Outcome};

/// A system call that failed.
#[derive(Debug)]
pub struct Failure {
    /// The error.
    pub errno: Errno,
    /// The call.
    pub syscall: &'static str,
    /// The kernel's own message.
    pub message: Option<String>,
}

/// What an operation comes to: an outcome, or the system call that failed.
pub type Performed = Result<Outcome, Failure>;

/// Names the system call of a result.
pub trait Named<T> {
    /// Gives the value, or the failure of this system call.
    fn of(self, syscall: &'static str) -> Result<T, Failure>;
}

impl<T> Named<T> for rustix::io::Result<T> {
    fn of(self, syscall: &'static str) -> Result<T, Failure> {
        self.map_err(|e| failure(syscall, Errno::from_raw(e.raw_os_error())))
    }
}

impl<T> Named<T> for nix::Result<T> {
    fn of(self, syscall: &'static str) -> Result<T, Failure> {
        self.map_err(|e| failure(syscall, e))
    }
}

impl<T> Named<T> for std::io::Result<T> {
    fn of(self, syscall: &'static str) -> Result<T, Failure> {
        self.map_err(|e| failure(syscall, Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))
    }
}

/// The failure of a system call.
pub fn failure(syscall: &'static str, errno: Errno) -> Failure {
    Failure { errno, syscall, message: None }
}

/// What an actor's process keeps between its steps.
#[derive(Debug, Default)]
pub struct State {
    /// Its open files, contexts and mounts by name.
    pub open: BTreeMap<Name, OwnedFd>,
    /// Loop devices that it attached, which are freed when nobody holds them open.
    pub devices: Vec<OwnedFd>,
    /// What the world has mounted over NFS.
    pub remote: Mounted,
    /// What programs print that have mounted overlays: they may, as long as this is there.
    pub said: Vec<overlay::Said>,
    /// Why nobody was asked, where the step before was taken by a program that broke.
    pub broke: Option<Breakage>,
}

/// What an actor is given for one step.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// The operation.
    pub operation: &'a Operation,
    /// A proc of the sandbox's pid namespace.
    pub proc: BorrowedFd<'a>,
    /// Who mounts overlays, where the kernel does not.
    pub overlay: Option<&'a Implementation>,
    /// The process id, in the sandbox, of the actor that `of` names; the actor itself if there is none.
    pub of: Option<i32>,
}

impl Step<'_> {
    /// The directory in proc of the process that the step is about.
    pub fn process(&self) -> String {
        self.of.map_or_else(|| "self".to_owned(), |pid| pid.to_string())
    }
}

impl State {
    /// An open file by its name. The checks of the language see to it that a step has opened it; if
    /// that step failed, using it fails as with any closed descriptor.
    pub fn fd(&self, name: &Name, syscall: &'static str) -> Result<BorrowedFd<'_>, Failure> {
        self.open.get(name).map(AsFd::as_fd).ok_or_else(|| failure(syscall, Errno::EBADF))
    }

    /// A directory to start from: an open one, or the working directory.
    pub fn dir(
        &self,
        name: Option<&Name>,
        syscall: &'static str,
    ) -> Result<BorrowedFd<'_>, Failure> {
        name.map_or(Ok(CWD), |name| self.fd(name, syscall))
    }

    /// Keeps an open file under a name; another one of this name is closed.
    pub fn keep(&mut self, name: &Name, fd: OwnedFd) {
        self.open.insert(name.clone(), fd);
    }
}

/// Performs one operation in this process.
pub fn perform(state: &mut State, step: Step<'_>) -> Outcome {
    let performed = match step.operation.in_family() {
        InFamily::Files(operation) => files::perform(state, operation),
        InFamily::Mounts(operation) => mounts::perform(state, step, operation),
        InFamily::Roots(operation) => roots::perform(state, operation),
        InFamily::Namespaces(operation) => namespaces::perform(state, step, operation),
        InFamily::Credentials(operation) => credentials::perform(operation, step.proc),
        InFamily::Exec(ExecOperation::Exec(exec)) => exec::perform(exec),
        // The first process of the sandbox takes these steps: see `conduct`.
        InFamily::Container(_) => Err(failure("", Errno::ENOSYS)),
    };
    performed.unwrap_or_else(|failure| Outcome::Failed {
        errno: ErrnoName(failure.errno as i32),
        syscall: failure.syscall.to_owned(),
        message: failure.message.map(Message::Kernel),
    })
}

/// A path or text as the kernel wants it; the language has no NUL bytes in paths, but may in texts.
pub fn c_string(text: &str, syscall: &'static str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| failure(syscall, Errno::EINVAL))
}
