//! Root and working directories.

use super::perform::{Named, Performed, State};
use crate::scenario::operation::RootOperation;
use crate::transcript::{Outcome, text};

pub fn perform(state: &mut State, operation: RootOperation<'_>) -> Performed {
    match operation {
        RootOperation::Chroot(step) => nix::unistd::chroot(step.path.as_str()).of("chroot")?,
        RootOperation::Chdir(step) => nix::unistd::chdir(step.path.as_str()).of("chdir")?,
        RootOperation::Fchdir(step) => {
            rustix::process::fchdir(state.fd(&step.fd, "fchdir")?).of("fchdir")?
        }
        RootOperation::Getcwd(_) => {
            // The system call itself: the C library turns "(unreachable)" into ENOENT.
            let path = rustix::process::getcwd(Vec::new()).of("getcwd")?;
            return Ok(Outcome::values([("path", text(path.as_bytes()).into())]));
        }
        RootOperation::PivotRoot(step) => {
            nix::unistd::pivot_root(step.new_root.as_str(), step.put_old.as_str())
                .of("pivot_root")?;
        }
    }
    Ok(Outcome::done())
}
