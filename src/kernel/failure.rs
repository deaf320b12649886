//! Why a kernel does not get into the cache.

use std::fmt;
use std::io;
use std::path::Path;

use crate::missing::Missing;

/// What keeps a kernel out of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Something is missing; how to get it.
    Missing(Missing),
    /// SIGINT or SIGTERM came.
    Interrupted,
}

impl Failure {
    /// A file that cannot be read or written.
    pub(super) fn of_file(path: &Path, error: &io::Error) -> Self {
        let elsewhere = "set NSHARNESS_CACHE to a directory that you can write";
        let (why, remedy) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
                "no space",
                "make room, or set NSHARNESS_CACHE to a directory with 500 MB to spare",
            ),
            io::ErrorKind::PermissionDenied => ("permission denied", elsewhere),
            io::ErrorKind::ReadOnlyFilesystem => ("it lies on a read-only file system", elsewhere),
            _ => {
                return Missing::new(path.display().to_string(), error.to_string(), elsewhere)
                    .into();
            }
        };
        Missing::new(path.display().to_string(), why, remedy).into()
    }

    /// A program of the system that cannot be started.
    pub(super) fn of_program(name: &str, error: &io::Error) -> Self {
        if error.kind() != io::ErrorKind::NotFound {
            return Missing::new(name, error.to_string(), "see why it cannot be started").into();
        }
        let remedy = match name {
            "depmod" => "apt-get install kmod",
            _ => {
                "fetch on a Debian system; elsewhere build a kernel, and `nsharness kernel add PATH`"
            }
        };
        Missing::new(name, "it is not in the PATH", remedy).into()
    }
}

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => write!(f, "{missing}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}
