//! Brings programs of the system into a sandbox: their libraries to the places where their loaders look
//! for them, and the programs themselves for the trees of the world.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::broke;
use crate::programs::Program;
use crate::scenario::scalar::ProgramName;
use crate::scenario::world::LIBRARY_DIRECTORIES;
use crate::transcript::Breakage;

/// The source of the file systems with libraries, by which they are told from a scenario's.
pub const LIBRARIES: &str = "sandbox-libraries";
/// Everybody may read them, nobody may change them, and no privilege comes from them.
const OPTIONS: &str = "size=64m,mode=0755";

/// Programs of the system, by name.
pub type Programs = BTreeMap<ProgramName, Program>;

/// Fills the library directories below the working directory, which is to be the root, and opens the
/// programs. The host's files must be there to be read.
pub fn bring(programs: &Programs) -> Result<BTreeMap<ProgramName, OwnedFd>, Breakage> {
    if programs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let none = None::<&str>;
    for directory in LIBRARY_DIRECTORIES {
        fs::create_dir(directory).map_err(|error| failed(&format!("mkdir {directory}"), &error))?;
        mount(Some(LIBRARIES), *directory, Some("tmpfs"), MsFlags::empty(), Some(OPTIONS))
            .map_err(|errno| broke(&format!("mount {directory}"), errno))?;
    }
    for (at, file) in programs.values().flat_map(|program| &program.libraries) {
        copy(file, at).map_err(|error| failed(&format!("copy {}", file.display()), &error))?;
    }
    for directory in LIBRARY_DIRECTORIES {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(none, *directory, none, flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND, none)
            .map_err(|errno| broke(&format!("remount {directory}"), errno))?;
    }
    let open = |(name, program): (&ProgramName, &Program)| {
        let file = File::open(&program.path);
        let file =
            file.map_err(|error| failed(&format!("open {}", program.path.display()), &error))?;
        Ok((name.clone(), file.into()))
    };
    programs.iter().map(open).collect()
}

/// Whether files of programs lie in a directory: who covers it can bring them no more.
pub fn are_below(programs: &Programs, directory: &str) -> bool {
    let files = programs.values().flat_map(|program| {
        std::iter::once(&program.path).chain(program.libraries.iter().map(|(_, file)| file))
    });
    files.into_iter().any(|file| file.starts_with(directory))
}

/// Copies a library to its place, unless another program brought it.
fn copy(file: &Path, at: &Path) -> io::Result<()> {
    let at = at.strip_prefix("/").unwrap_or(at);
    if at.exists() {
        return Ok(());
    }
    if let Some(above) = at.parent() {
        fs::create_dir_all(above)?;
    }
    fs::copy(file, at).map(drop)
}

fn failed(what: &str, error: &io::Error) -> Breakage {
    broke(what, Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}
