//! Programs that do what else the kernel or nobody does: container runtimes, and overlays through FUSE.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::condition::KernelVersion;
use super::scalar::ProgramName;

/// A program of this machine that is asked, as a plan names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Implementation {
    /// The name of its program, by which it is in the sandbox.
    pub program: ProgramName,
    /// Its file on this machine.
    pub path: PathBuf,
    /// What it calls itself, as `runc` or `fuse-overlayfs`.
    pub name: String,
    /// Its version.
    pub version: KernelVersion,
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
