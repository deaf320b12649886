//! Brings programs of the system into a sandbox: their libraries to the places where their loaders look
//! for them, and the programs themselves for the trees of the world.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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

/// Programs and their libraries, open: what is mounted from then on may cover their files.
pub struct Opened {
    programs: BTreeMap<ProgramName, OwnedFd>,
    /// By the path where a loader looks for it.
    libraries: BTreeMap<PathBuf, File>,
}

/// Opens programs and their libraries.
pub fn open(programs: &Programs) -> Result<Opened, Breakage> {
    let open = |file: &Path| {
        let what = || format!("open {}", file.display());
        File::open(file).map_err(|error| failed(&what(), &error))
    };
    let mut opened = Opened { programs: BTreeMap::new(), libraries: BTreeMap::new() };
    for (name, program) in programs {
        opened.programs.insert(name.clone(), open(&program.path)?.into());
        for (at, file) in &program.libraries {
            if !opened.libraries.contains_key(at) {
                opened.libraries.insert(at.clone(), open(file)?);
            }
        }
    }
    Ok(opened)
}

/// Fills the library directories below the working directory, which is to be the root, and gives the programs.
pub fn bring(opened: Opened) -> Result<BTreeMap<ProgramName, OwnedFd>, Breakage> {
    let Opened { programs, mut libraries } = opened;
    if programs.is_empty() {
        return Ok(programs);
    }
    let none = None::<&str>;
    for directory in LIBRARY_DIRECTORIES {
        fs::create_dir(directory).map_err(|error| failed(&format!("mkdir {directory}"), &error))?;
        mount(Some(LIBRARIES), *directory, Some("tmpfs"), MsFlags::empty(), Some(OPTIONS))
            .map_err(|errno| broke(&format!("mount {directory}"), errno))?;
    }
    for (at, file) in &mut libraries {
        copy(file, at).map_err(|error| failed(&format!("copy {}", at.display()), &error))?;
    }
    for directory in LIBRARY_DIRECTORIES {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(none, *directory, none, flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND, none)
            .map_err(|errno| broke(&format!("remount {directory}"), errno))?;
    }
    Ok(programs)
}

/// Copies a library to its place; programs are among them.
fn copy(file: &mut File, at: &Path) -> io::Result<()> {
    let at = at.strip_prefix("/").unwrap_or(at);
    if let Some(above) = at.parent() {
        fs::create_dir_all(above)?;
    }
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o755).open(at)?;
    io::copy(file, &mut copy).map(drop)
}

fn failed(what: &str, error: &io::Error) -> Breakage {
    broke(what, Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}
