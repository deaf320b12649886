//! The work directory of an overlay: what mounts have left in it. Nothing is followed out of it and nothing is changed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, ResolveFlags};

use super::read::{open_beneath, stat};
use super::remarks::{Remark, Topic};
use super::shown;
use crate::scenario::scalar::Errno;

/// Most names that a remark tells.
const TOLD: usize = 10;

/// What is in a work directory.
#[derive(Debug, Default)]
pub struct Work {
    /// The directory, as it was given.
    pub path: PathBuf,
    /// Whether an overlay has ever used it.
    pub used: bool,
    /// What copies, removals and renames made before they were put in place (`ovl_tempname`).
    pub temporary: Vec<String>,
    /// How many entries the index has: files of several names, and with `nfs_export` all that were copied up.
    pub index: usize,
    /// Those of them that are files without a name in the upper layer.
    pub nameless: Vec<String>,
    /// What was used that keeps the kernel from mounting with it again (`ovl_workdir_cleanup_recurse`).
    pub incompatible: Vec<String>,
    /// What could not be read.
    pub unread: Vec<(String, Errno)>,
}

impl Work {
    /// Reads what is in a work directory.
    ///
    /// # Errors
    /// It cannot be opened, or is no directory.
    pub fn read(path: &Path) -> io::Result<Self> {
        let root = open_beneath(CWD, path.as_os_str().as_encoded_bytes(), ResolveFlags::empty())?;
        let mut work = Self { path: path.to_owned(), ..Self::default() };
        for name in work.names(&root, "work").unwrap_or_default() {
            if name != b"incompat" {
                work.temporary.push(format!("/work/{}", shown(&name)));
            }
        }
        for name in work.names(&root, "work/incompat").unwrap_or_default() {
            work.incompatible.push(shown(&name));
        }
        for name in work.names(&root, "index").unwrap_or_default() {
            let path = format!("/index/{}", shown(&name));
            if name.starts_with(b"#") {
                work.temporary.push(path);
                continue;
            }
            work.index += 1;
            let mut file = b"index/".to_vec();
            file.extend(name);
            match stat(root.as_fd(), &file) {
                Ok(stat) if is_file(stat.stx_mode) && stat.stx_nlink == 1 => {
                    work.nameless.push(path)
                }
                Ok(_) => {}
                Err(error) => work.is_unread(path, &error),
            }
        }
        for names in [&mut work.temporary, &mut work.nameless, &mut work.incompatible] {
            names.sort_unstable();
        }
        Ok(work)
    }

    /// The names in a directory below; none where it is not there, or cannot be read.
    fn names(&mut self, root: &OwnedFd, below: &str) -> Option<Vec<Vec<u8>>> {
        let inside = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let read = || -> io::Result<Vec<Vec<u8>>> {
            let directory = open_beneath(root.as_fd(), below.as_bytes(), inside)?;
            let mut names = Vec::new();
            for entry in Dir::read_from(directory)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if !matches!(name, b"." | b"..") {
                    names.push(name.to_vec());
                }
            }
            Ok(names)
        };
        match read() {
            Ok(names) => {
                self.used = true;
                Some(names)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.used = true;
                self.is_unread(format!("/{below}"), &error);
                None
            }
        }
    }

    fn is_unread(&mut self, path: String, error: &io::Error) {
        self.unread.push((path, Errno(error.raw_os_error().unwrap_or(libc::EIO))));
    }

    /// What is to be said of it.
    pub fn remarks(&self) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let mut say = |topic, path: &str, text: String| {
            let path = path.as_bytes().to_vec();
            remarks.push(Remark { topic, layer: None, path, text });
        };
        for feature in &self.incompatible {
            let what = match feature.as_str() {
                "volatile" => {
                    "it was mounted with `volatile`, so that after a crash files of the upper layer may be \
                               incomplete"
                }
                _ => "it was mounted with something that this does not know",
            };
            let text = format!(
                "work directory: /work/incompat/{feature}: {what}; the kernel does not mount an overlay with it again \
                 (EINVAL): remove that directory if the upper layer is known to be whole, else both"
            );
            say(Topic::Incompatible, &format!("/work/incompat/{feature}"), text);
        }
        for (path, errno) in &self.unread {
            say(Topic::Unread, path, format!("work directory: {path} cannot be read: {errno}"));
        }
        if !self.used {
            let text = "work directory: no overlay has used it: it has neither /work nor /index";
            say(Topic::Unused, "/", text.to_owned());
        }
        if let Some(names) = listed(&self.temporary) {
            let text = format!(
                "work directory: {names}: made for a copy, a removal or a rename and left there: it came to no end, it \
                 is a whiteout that was kept for more, or the overlay is mounted now; the next mount removes it, or is read-only where \
                 it is too deep"
            );
            say(Topic::Temporary, &self.temporary[0], text);
        }
        if let Some(names) = listed(&self.nameless) {
            let text = format!(
                "work directory: {names}: a file of the index without a name in the upper layer; the next mount with \
                 index=on removes it, unless lower names of it are left"
            );
            say(Topic::Nameless, &self.nameless[0], text);
        }
        remarks
    }
}

/// Names as a list that is not too long; `None` where there are none.
fn listed(names: &[String]) -> Option<String> {
    let told: Vec<_> = names.iter().take(TOLD).map(String::as_str).collect();
    match names.len().saturating_sub(TOLD) {
        _ if told.is_empty() => None,
        0 => Some(told.join(", ")),
        more => Some(format!("{} and {more} more", told.join(", "))),
    }
}

fn is_file(mode: u16) -> bool {
    u32::from(mode) & libc::S_IFMT == libc::S_IFREG
}
