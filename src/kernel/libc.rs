//! A C library beside the system's, for a User-Mode Linux that needs a newer one.
//!
//! Run by the loader (`ld.so PROGRAM`), User-Mode Linux fails: it looks at its own load address. So the
//! kernel has to load it, with another loader than its file names. A copy of the file names that loader; the
//! file in the cache stays as its package has it, and may be moved.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Kernel;
use crate::interpreter::with_interpreter;

/// The loader and the library of another suite than the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Libc {
    /// The program interpreter, `ld-linux-x86-64.so.2`.
    pub loader: PathBuf,
    /// `libc.so.6`; whatever else the kernel needs lies beside it.
    pub libc: PathBuf,
}

impl Kernel {
    /// A command that starts a User-Mode Linux, without arguments.
    ///
    /// Where it has a C library of its own, a copy of the program that names it is written to the
    /// directory, and `LD_LIBRARY_PATH` is set.
    ///
    /// # Errors
    /// Where a file cannot be read or written, or is no dynamic program of 64 bits.
    pub fn command(&self, directory: &Path) -> io::Result<Command> {
        const NAME: &str = "linux.uml";
        let mut command = match &self.libc {
            None => {
                let mut command = Command::new(std::path::absolute(&self.file)?);
                command.env_remove(LIBRARIES);
                command
            }
            Some(Libc { loader, libc }) => {
                let program = with_interpreter(fs::read(&self.file)?, &fs::canonicalize(loader)?)?;
                let copy = std::path::absolute(directory)?.join(NAME);
                fs::write(&copy, program)?;
                fs::set_permissions(&copy, fs::Permissions::from_mode(0o700))?;
                let mut command = Command::new(copy);
                command.env(LIBRARIES, fs::canonicalize(libc)?.parent().unwrap_or(Path::new("/")));
                command
            }
        };
        command.arg0(NAME);
        Ok(command)
    }
}

/// Where the loader looks for libraries first: ld.so(8).
const LIBRARIES: &str = "LD_LIBRARY_PATH";
