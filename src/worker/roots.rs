//! Root and working directories.

use super::perform::{Named, Performed, State};
use crate::scenario::operation::Operation;
use crate::transcript::{Outcome, text};

pub fn perform(state: &mut State, operation: &Operation) -> Performed {
    match operation {
        Operation::Chroot(step) => nix::unistd::chroot(step.path.as_str()).of("chroot")?,
        Operation::Chdir(step) => nix::unistd::chdir(step.path.as_str()).of("chdir")?,
        Operation::Fchdir(step) => {
            rustix::process::fchdir(state.fd(&step.fd, "fchdir")?).of("fchdir")?
        }
        Operation::Getcwd(_) => {
            // The system call itself: the C library turns "(unreachable)" into ENOENT.
            let path = rustix::process::getcwd(Vec::new()).of("getcwd")?;
            return Ok(Outcome::values([("path", text(path.as_bytes()).into())]));
        }
        Operation::PivotRoot(step) => {
            nix::unistd::pivot_root(step.new_root.as_str(), step.put_old.as_str())
                .of("pivot_root")?;
        }
        _ => unreachable!("not an operation on roots"),
    }
    Ok(Outcome::done())
}
