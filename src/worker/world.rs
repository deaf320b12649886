//! Sets up the world of a plan in a fresh sandbox.

use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, XattrFlags, makedev};

use super::perform::{Failure, Named, State, Step, failure, perform};
use super::{image, nfs};
use crate::programs;
use crate::sandbox::Sandbox;
use crate::scenario::implementation::Implementation;
use crate::scenario::scalar::{Errno as ErrnoName, WorldPath};
use crate::scenario::world::{Entry, EntryKind, Setup, World};
use crate::transcript::{Breakage, Outcome};

/// Sets up trees and mounts, in order. The working directory is the root of the sandbox. What has to be
/// held open for the world is in what it gives. Overlays are mounted by a program where there is one.
///
/// # Errors
/// The first part that could not be set up: then nobody was asked.
pub fn set_up(
    world: &World,
    sandbox: &Sandbox,
    overlay: Option<&Implementation>,
) -> Result<State, Breakage> {
    let mut state = State::default();
    for setup in &world.setup {
        match setup {
            Setup::Tree(tree) => plant(tree, sandbox)?,
            Setup::Mount { line, operation } => {
                let step = Step { operation, proc: sandbox.proc.as_fd(), overlay, of: None };
                let outcome = perform(&mut state, step);
                if let Some(breakage) = state.broke.take() {
                    return Err(breakage);
                }
                let errno = match &outcome {
                    Outcome::Failed { errno, .. } => Some(*errno),
                    Outcome::Refused { .. } => None,
                    Outcome::Ok(_) | Outcome::Abstained(_) => continue,
                };
                return Err(Breakage {
                    stage: format!("world: line {line}: {}", operation.word()),
                    detail: outcome.to_string(),
                    errno,
                });
            }
        }
    }
    if !world.nfs.is_empty() {
        state.remote = nfs::set_up(&world.nfs, sandbox)?;
    }
    Ok(state)
}

/// Makes the entries of a world's trees below a directory, which stands for the root of a sandbox and becomes the working
/// directory. Nothing is mounted.
///
/// # Errors
/// The first entry that could not be made.
pub fn plant_by_hand(world: &World, directory: &Path) -> Result<(), Breakage> {
    let broke = |error: std::io::Error| Breakage {
        stage: "world".to_owned(),
        detail: error.to_string(),
        errno: error.raw_os_error().map(ErrnoName),
    };
    std::env::set_current_dir(directory).map_err(broke)?;
    rustix::process::umask(Mode::empty());
    let open = |path: &str| -> std::io::Result<OwnedFd> { Ok(std::fs::File::open(path)?.into()) };
    let mut programs = BTreeMap::new();
    for name in world.programs() {
        let program = programs::find(name.as_str());
        let program =
            program.map_err(|missing| broke(std::io::Error::other(missing.to_string())))?;
        let file = std::fs::File::open(program.path).map_err(broke)?;
        programs.insert(name.clone(), file.into());
    }
    let (root, proc) = (open(".").map_err(broke)?, open("/proc").map_err(broke)?);
    let sandbox = Sandbox { root, proc, programs, program_sizes: Vec::new() };
    world.setup.iter().try_for_each(|setup| match setup {
        Setup::Tree(tree) => plant(tree, &sandbox),
        Setup::Mount { .. } => Ok(()),
    })
}

/// Makes the entries of a tree; hard links come last, because what they name must be there.
fn plant(tree: &BTreeMap<WorldPath, Entry>, sandbox: &Sandbox) -> Result<(), Breakage> {
    let is_link = |entry: &Entry| matches!(entry.kind, EntryKind::Hardlink(_));
    let first = tree.iter().filter(|(_, entry)| !is_link(entry));
    for (path, entry) in first.chain(tree.iter().filter(|(_, entry)| is_link(entry))) {
        make(path.as_str(), entry, sandbox).map_err(|failure| Breakage {
            stage: format!("world: tree: {path}"),
            detail: format!("{} from {}", ErrnoName(failure.errno as i32), failure.syscall),
            errno: Some(ErrnoName(failure.errno as i32)),
        })?;
    }
    Ok(())
}

fn make(path: &str, entry: &Entry, sandbox: &Sandbox) -> Result<(), Failure> {
    make_parents(path)?;
    let default_mode = make_kind(path, &entry.kind, sandbox)?;
    set_attributes(path, entry, default_mode)
}

fn make_parents(path: &str) -> Result<(), Failure> {
    let parents: Vec<_> =
        Path::new(path).ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
    if parents.first().is_some_and(|parent| !parent.is_dir()) {
        for parent in parents.into_iter().rev() {
            match rustix::fs::mkdir(parent, Mode::from_raw_mode(0o755)) {
                Err(rustix::io::Errno::EXIST) => {}
                result => result.of("mkdir")?,
            }
        }
    }
    Ok(())
}

/// Makes what an entry is, and gives the mode that this has by itself; 0 where it is another's.
fn make_kind(path: &str, kind: &EntryKind, sandbox: &Sandbox) -> Result<u32, Failure> {
    Ok(match kind {
        EntryKind::Dir => {
            match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
                Err(rustix::io::Errno::EXIST) if Path::new(path).is_dir() => {}
                result => result.of("mkdir")?,
            }
            0o755
        }
        EntryKind::File(content) => {
            create(path, 0o644)?.write_all(content.as_bytes()).of("write")?;
            0o644
        }
        EntryKind::Sparse(size) => {
            create(path, 0o644)?.set_len(*size).of("ftruncate")?;
            0o644
        }
        EntryKind::Image(image) => {
            image::write(*image, &create(path, 0o644)?).of("write")?;
            0o644
        }
        EntryKind::Program(name) if !name.is_own() => {
            let program = sandbox.programs.get(name);
            let program = program.ok_or_else(|| failure("open", Errno::ENOENT))?;
            let mut program = std::fs::File::from(program.try_clone().of("fcntl")?);
            // It may stand in the world more than once.
            program.rewind().of("lseek")?;
            std::io::copy(&mut program, &mut create(path, 0o755)?).of("copy_file_range")?;
            0o755
        }
        EntryKind::Program(_) => {
            // The program is this very binary: see `run_program`.
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let own = rustix::fs::openat(&sandbox.proc, "self/exe", flags, Mode::empty())
                .of("open /proc/self/exe")?;
            let mut own = std::fs::File::from(own);
            std::io::copy(&mut own, &mut create(path, 0o755)?).of("copy_file_range")?;
            0o755
        }
        EntryKind::Symlink(target) => {
            rustix::fs::symlink(target.as_str(), path).of("symlink")?;
            0
        }
        EntryKind::Hardlink(other) => {
            rustix::fs::link(other.as_str(), path).of("link")?;
            0
        }
        EntryKind::Fifo => node(path, FileType::Fifo, 0)?,
        EntryKind::Socket => node(path, FileType::Socket, 0)?,
        EntryKind::Char(n) => node(path, FileType::CharacterDevice, makedev(n.major, n.minor))?,
        EntryKind::Block(n) => node(path, FileType::BlockDevice, makedev(n.major, n.minor))?,
    })
}

/// Gives what was made its owner, its mode and its extended attributes.
fn set_attributes(path: &str, entry: &Entry, default_mode: u32) -> Result<(), Failure> {
    if entry.uid.is_some() || entry.gid.is_some() {
        let (uid, gid) = (entry.uid.map(Uid::from_raw), entry.gid.map(Gid::from_raw));
        rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).of("fchownat")?;
    }
    // After chown, which takes set-user-ID bits away; links have no mode of their own.
    let is_whiteout = matches!(&entry.kind, EntryKind::Char(n) if n.major == 0 && n.minor == 0);
    // What was created has its default mode already: the umask is 0.
    let changed = entry.uid.is_some() || entry.gid.is_some();
    let default_mode = (changed && default_mode != 0 && !is_whiteout).then_some(default_mode);
    let mode = entry.mode.map(|mode| mode.0).or(default_mode);
    if let Some(mode) = mode {
        if matches!(entry.kind, EntryKind::Symlink(_)) {
            return Err(failure("chmod of a symbolic link", Errno::EOPNOTSUPP));
        }
        rustix::fs::chmod(path, Mode::from_raw_mode(mode)).of("chmod")?;
    }
    for (name, value) in &entry.xattrs {
        rustix::fs::lsetxattr(path, name.as_str(), value.as_bytes(), XattrFlags::empty())
            .of("lsetxattr")?;
    }
    Ok(())
}

fn create(path: &str, mode: u32) -> Result<std::fs::File, Failure> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(mode)).map(std::fs::File::from).of("open")
}

fn node(path: &str, kind: FileType, device: rustix::fs::Dev) -> Result<u32, Failure> {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), device).of("mknod")?;
    Ok(0o644)
}
