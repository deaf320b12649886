//! Files that are there as a whole or not at all, whatever ends who writes them: what is written has no name before
//! it is complete (open(2), `O_TMPFILE`), so nothing has to be cleared away after SIGKILL.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{mem, process};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, ResolveFlags, flock};
use rustix::io::Errno;

use crate::links;

/// How often a name is tried that another process takes at the same time.
const TRIES: usize = 10;
/// The mode of what is new; the umask takes from it.
const MODE: u32 = 0o666;

/// Writes a whole file in the place of the one that is there. Its directory is there.
///
/// # Errors
/// Those of open(2), write(2), fdatasync(2), link(2) and rename(2). What was there before is there still.
pub fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let directory = match file.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    put(directory.as_fd(), Path::new(file.file_name().unwrap_or_default()), text, None)
}

/// Puts a whole file at a name in a directory, with the mode of the one in whose place it comes.
fn put(directory: BorrowedFd<'_>, name: &Path, text: &[u8], mode: Option<u32>) -> io::Result<()> {
    let fill = |file: OwnedFd| -> io::Result<File> {
        let mut file = File::from(file);
        if let Some(mode) = mode {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        file.write_all(text)?;
        // Some file systems say only now that there is no room, or that the disk fails.
        file.sync_data()?;
        Ok(file)
    };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let new = Mode::from_raw_mode(MODE);
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(".new");
    let beside = Path::new(&beside);
    if let Ok(nameless) = rustix::fs::openat(directory, ".", flags | OFlags::TMPFILE, new) {
        let file = fill(nameless)?;
        for _ in 0..TRIES {
            match link(&file, directory, name) {
                Err(Errno::EXIST) => {}
                Err(_) => break,
                Ok(()) => return Ok(()),
            }
            // There is no link(2) that replaces: it gets a name for the moment until rename(2), which does. What
            // was killed in this moment is replaced by the next.
            match link(&file, directory, beside) {
                Err(Errno::EXIST) => {
                    let _ = rustix::fs::unlinkat(directory, beside, AtFlags::empty());
                }
                Err(_) => break,
                Ok(()) => match rustix::fs::renameat(directory, beside, directory, name) {
                    Err(Errno::NOENT) => {}
                    Err(errno) => {
                        let _ = rustix::fs::unlinkat(directory, beside, AtFlags::empty());
                        return Err(errno.into());
                    }
                    Ok(()) => return Ok(()),
                },
            }
        }
    }
    // Not every file system has files without a name, as overlayfs before 6.1; and link(2) of one needs /proc or a
    // capability.
    let mut beside = beside.as_os_str().to_owned();
    beside.push(format!("-{}", process::id()));
    let flags = flags | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let written = rustix::fs::openat(directory, &*beside, flags, new)
        .map_err(io::Error::from)
        .and_then(fill)
        .and_then(|_| Ok(rustix::fs::renameat(directory, &*beside, directory, name)?));
    if written.is_err() {
        let _ = rustix::fs::unlinkat(directory, &*beside, AtFlags::empty());
    }
    written
}

/// Gives a file without a name one. By its descriptor alone that takes a capability (until Linux 6.10), by its name
/// in /proc none: linkat(2).
fn link(file: &File, directory: BorrowedFd<'_>, name: &Path) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd;
    match rustix::fs::linkat(file, "", directory, name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let of_proc = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, of_proc, directory, name, AtFlags::SYMLINK_FOLLOW)
        }
        linked => linked,
    }
}

/// A file that is written in the end: until then what is there is empty, so that nobody takes what was there
/// before for what comes.
#[derive(Debug)]
pub struct Whole {
    path: PathBuf,
    /// What is there.
    there: File,
    /// Where the whole takes its place. Nothing where it is written into what is there: a device, a pipe, a file of
    /// somebody else or with several names.
    directory: Option<OwnedFd>,
    text: Vec<u8>,
}

impl Whole {
    /// Empties the file that is there, or creates it, as [`links::create`] does.
    ///
    /// # Errors
    /// Those of openat2(2); links in words.
    pub fn create(path: &Path) -> io::Result<Self> {
        let there = links::create(path)?;
        let is = there.metadata()?;
        let replaces = is.is_file()
            && !path.is_symlink()
            && is.nlink() == 1
            && is.uid() == rustix::process::geteuid().as_raw();
        let directory = if replaces { directory(path) } else { None };
        Ok(Self { path: path.to_owned(), there, directory, text: Vec::new() })
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        if let Some(directory) = &self.directory {
            let name = Path::new(self.path.file_name().unwrap_or_default());
            let mode = self.there.metadata()?.mode() & 0o777;
            match put(directory.as_fd(), name, text, Some(mode)) {
                // The file may be written and its directory not, or it is a mount.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy
                    ) => {}
                put => return put,
            }
        }
        let written = self.there.write_all(text);
        if written.is_err() {
            // Half of it is worse than nothing. A device cannot be cut off.
            let _ = self.there.set_len(0);
        }
        written
    }
}

/// The directory of a file, reached as the file is.
fn directory(path: &Path) -> Option<OwnedFd> {
    let above = path.parent()?;
    let above = if above == Path::new("") { Path::new(".") } else { above };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = if links::stays(path) { ResolveFlags::BENEATH } else { ResolveFlags::empty() };
    rustix::fs::openat2(CWD, above, flags, Mode::empty(), resolve).ok()
}

impl Write for Whole {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    /// What was written is all: it takes its place.
    fn flush(&mut self) -> io::Result<()> {
        let text = mem::take(&mut self.text);
        self.put(&text).map_err(|error| named(&self.path, &error))
    }
}

/// A file that is written as it goes on, by one process at a time. Its errors have its name.
#[derive(Debug)]
pub struct Stream {
    path: PathBuf,
    file: File,
}

impl Stream {
    /// Empties the file that is there, or creates it, as [`links::create`] does.
    ///
    /// # Errors
    /// Those of openat2(2); links in words; where another process writes it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = links::open(path)?;
        if let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            return Err(io::Error::other("another process is writing it"));
        }
        links::empty(&file)?;
        Ok(Self { path: path.to_owned(), file })
    }
}

impl Write for Stream {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.file.write(text).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => named(&self.path, &error),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error with the file that it is about.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_takes_the_place_of_another_and_nothing_is_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("f");
        for text in ["one", "another"] {
            write(&file, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert_eq!(names(place.path()), ["f"]);
        }
    }

    #[test]
    fn what_a_killed_process_left_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("f");
        write(&file, b"old").unwrap();
        fs::write(place.path().join(".f.new"), "half").unwrap();
        write(&file, b"new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(names(place.path()), ["f"]);
    }

    #[test]
    fn a_report_is_empty_until_it_is_whole_and_keeps_its_mode() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("f");
        fs::write(&file, "before").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let mut whole = Whole::create(&file).unwrap();
        whole.write_all(b"all of it").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
        whole.flush().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "all of it");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert_eq!(names(place.path()), ["f"]);
    }

    #[test]
    fn a_file_with_another_name_is_written_where_it_is() {
        let place = tempfile::tempdir().unwrap();
        let (file, other) = (place.path().join("f"), place.path().join("other"));
        fs::write(&file, "before").unwrap();
        fs::hard_link(&file, &other).unwrap();
        let mut whole = Whole::create(&file).unwrap();
        whole.write_all(b"all of it").unwrap();
        whole.flush().unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "all of it");
    }
}
