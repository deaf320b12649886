//! Kernels that a guest boots: by path, installed, or fetched into a cache of one's own.
//!
//! `find` turns the name of a target into files; `cache` holds what was fetched or added; `fetch` gets
//! kernels of Debian through the system's package client.

mod add;
pub(crate) mod architecture;
pub(crate) mod archive;
pub mod cache;
pub mod debian;
mod failure;
mod fetch;
mod find;
mod libc;
mod modules;
pub(crate) mod release;
mod tool;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use add::add;
pub use architecture::Architecture;
pub use archive::Options;
pub use failure::Failure;
pub use fetch::{Fetched, fetch};
pub use find::{find, installed};
pub use libc::Libc;
pub use release::{Description, describe};

/// What kind of file a kernel is, and so what boots it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// A User-Mode Linux: an ordinary program
    Uml,
    /// A kernel image, as `bzImage`: booted by QEMU
    Image,
}

impl Flavour {
    /// The word that targets of this flavour begin with.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Uml => "uml",
            Self::Image => "qemu",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uml => "uml",
            Self::Image => "image",
        })
    }
}

/// A kernel that a guest boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The target that means it, as in `uml:6.12.101`.
    pub name: String,
    /// What boots it.
    pub flavour: Flavour,
    /// What uname(2) calls its release, where the file tells.
    pub release: Option<String>,
    /// The program or the image.
    pub file: PathBuf,
    /// The directory of its modules, where it has one.
    pub modules: Option<PathBuf>,
    /// The C library that it needs, where the system's may be too old.
    pub libc: Option<Libc>,
}
