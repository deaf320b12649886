//! Symbolic links in a checkout. Whoever proposes a scenario may propose a link, too, and the next run would read or
//! write what that leads to.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// Where links belong to the system, as /dev/stdout does.
const OF_THE_SYSTEM: &[&str] = &["/dev", "/proc"];

/// Creates a file, or empties the one that is there. The last part of its path may be no link; and a relative path
/// that names nothing above the working directory leads to nothing outside of it.
///
/// # Errors
/// Those of openat2(2); ELOOP and EXDEV in words.
pub fn create(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    empty(&file)?;
    Ok(file)
}

/// Empties a file; what is none, as a device or a pipe, is as it is.
///
/// # Errors
/// Those of ftruncate(2).
pub fn empty(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { file.set_len(0) } else { Ok(()) }
}

/// The same as [`create`], but that what is in the file stays there.
///
/// # Errors
/// Those of openat2(2); ELOOP and EXDEV in words.
pub fn open(path: &Path) -> io::Result<File> {
    if OF_THE_SYSTEM.iter().any(|top| path.starts_with(top)) {
        return File::options().write(true).create(true).truncate(false).open(path);
    }
    open_with(path, OFlags::empty())
}

/// Creates a file where none is, with the bounds of [`create`].
///
/// # Errors
/// EEXIST, and those of [`create`].
pub fn create_new(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::EXCL)
}

fn open_with(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
    let beneath = if stays(path) { ResolveFlags::BENEATH } else { ResolveFlags::empty() };
    match rustix::fs::openat2(CWD, path, flags, Mode::from_raw_mode(0o666), beneath) {
        Ok(file) => Ok(file.into()),
        Err(rustix::io::Errno::LOOP) => {
            Err(io::Error::other("it is a symbolic link: name the file that it leads to"))
        }
        Err(rustix::io::Errno::XDEV) => Err(out()),
        // Before Linux 5.6, and where a filter does not know it.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            if stays(path) && parent.is_some_and(|parent| leads_out(parent, Path::new("."))) {
                return Err(out());
            }
            let flags = (OFlags::NOFOLLOW | more).bits() as i32;
            let mut options = File::options();
            options.write(true).create(true).truncate(false).custom_flags(flags).open(path)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Whether what is written into a directory stays where its name says: with the bounds of [`create`].
///
/// # Errors
/// Links in words.
pub fn check_directory(path: &Path) -> io::Result<()> {
    let path = without_slash(path);
    if path.is_symlink() {
        return Err(io::Error::other("it is a symbolic link: name the directory that it leads to"));
    }
    let here = Path::new(".");
    let mut parts = path.ancestors().filter(|part| !part.as_os_str().is_empty());
    if stays(&path) && parts.any(|part| leads_out(part, here)) {
        return Err(out());
    }
    Ok(())
}

/// Creates a directory and those above it, with the bounds of [`create`].
///
/// # Errors
/// Those of mkdir(2); links in words.
pub fn create_directory(path: &Path) -> io::Result<()> {
    check_directory(path)?;
    fs::create_dir_all(path)
}

/// From a directory, itself included, to something below it there is no link, nor is that one.
///
/// # Errors
/// The first link, in words.
pub fn check_below(directory: &Path, below: &Path) -> io::Result<()> {
    match first_link(directory, below) {
        None => Ok(()),
        Some(link) => Err(io::Error::other(format!("{} is a symbolic link", link.display()))),
    }
}

fn out() -> io::Error {
    io::Error::other(
        "it leads out of this directory by a symbolic link: name the file by its whole path",
    )
}

/// Whether a path names nothing above the working directory, as far as there are no links.
pub fn stays(path: &Path) -> bool {
    path.is_relative() && path.components().all(|part| part.as_os_str() != "..")
}

/// lstat(2) of a name with a slash behind it follows a link.
fn without_slash(path: &Path) -> PathBuf {
    path.components().collect()
}

/// The first symbolic link on the way from a directory, itself included, to something below it.
pub fn first_link(directory: &Path, below: &Path) -> Option<PathBuf> {
    let below = without_slash(below);
    let parts: Vec<_> = below.ancestors().take_while(|part| part.starts_with(directory)).collect();
    parts.into_iter().rev().find(|part| part.is_symlink()).map(Path::to_owned)
}

/// Whether a symbolic link leads out of a directory. One that leads nowhere does not.
pub fn leads_out(link: &Path, directory: &Path) -> bool {
    match (fs::canonicalize(link), fs::canonicalize(directory)) {
        (Ok(target), Ok(directory)) => !target.starts_with(directory),
        _ => false,
    }
}
