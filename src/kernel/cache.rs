//! The cache of kernels: one directory a kernel, with a description beside its files.
//!
//! A kernel is put together in a staging directory beside the others, and renamed: whoever looks sees it
//! whole or not at all. A staging directory is locked as long as its maker lives; what a maker that was
//! killed has left is removed by the next one.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::process;
use std::time::SystemTime;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::release::{compare, is_of};
use super::{Failure, Flavour, Kernel, Libc};
use crate::bounded;
use crate::missing::Missing;
use crate::variables;

/// The name of the description in the directory of a kernel.
const DESCRIPTION: &str = "kernel.json";
/// No description is larger.
const LARGEST: u64 = 64 << 10;
const STAGING: &str = ".staging-";

/// The directory that holds everything nsharness keeps for later: `$NSHARNESS_CACHE`, else
/// `$XDG_CACHE_HOME/nsharness`, else `~/.cache/nsharness`.
///
/// # Errors
/// Where no variable says where that is.
pub fn root() -> Result<PathBuf, Missing> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(root) = variables::value(variables::CACHE) {
        return std::path::absolute(&root)
            .map_err(|error| Missing::new("a cache", error.to_string(), "set NSHARNESS_CACHE"));
    }
    // The XDG base directory specification has relative paths ignored.
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .filter(|cache| cache.is_absolute())
        .map(|cache| cache.join("nsharness"))
        .ok_or_else(|| {
            Missing::new("a cache", "HOME is not set", "set NSHARNESS_CACHE to a directory")
        })
}

/// Where a kernel in the cache comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A package of a distribution.
    Package {
        /// The suite that has it, as in `debian:12`.
        suite: String,
        /// The name of the package.
        name: String,
        /// Its version.
        version: String,
        /// The digest of the package's file, in hexadecimal, as the signed index of the archive has it.
        sha256: String,
    },
    /// A file of the user.
    Path(PathBuf),
}

/// A kernel as the cache describes it. Paths are relative to its directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What a target names it by, behind `uml:` or `qemu:`.
    pub version: String,
    /// What boots it.
    pub flavour: Flavour,
    /// What uname(2) calls its release.
    pub release: Option<String>,
    /// The program or the image.
    pub file: PathBuf,
    /// The directory of its modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<PathBuf>,
    /// The loader and the C library that it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libc: Option<(PathBuf, PathBuf)>,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was put into the cache, in UTC.
    pub added: String,
}

impl Entry {
    /// The target that means it: `uml:6.12.101`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.flavour.scheme(), self.version)
    }

    fn directory(&self) -> String {
        format!("{}-{}", self.flavour.scheme(), self.version)
    }

    /// Whether it stays within its directory and has a name that a target can have.
    fn is_sound(&self) -> bool {
        let inside = |path: &PathBuf| path.components().all(|c| matches!(c, Component::Normal(_)));
        let libc = self.libc.iter().flat_map(|(loader, libc)| [loader, libc]);
        is_version(&self.version)
            && [&self.file].into_iter().chain(&self.modules).chain(libc).all(inside)
    }

    pub(super) fn kernel(&self, directory: &Path) -> Kernel {
        Kernel {
            name: self.name(),
            flavour: self.flavour,
            release: self.release.clone(),
            file: directory.join(&self.file),
            modules: self.modules.as_ref().map(|modules| directory.join(modules)),
            libc: self.libc.as_ref().map(|(loader, libc)| Libc {
                loader: directory.join(loader),
                libc: directory.join(libc),
            }),
        }
    }
}

/// Whether a target can name a kernel by this: it begins with a digit, as a release does.
pub fn is_version(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-+~_".contains(c);
    text.starts_with(|c: char| c.is_ascii_digit()) && text.len() <= 64 && text.chars().all(allowed)
}

/// This moment, as descriptions say it.
pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Cached {
    /// Its description.
    pub entry: Entry,
    /// Its directory.
    pub directory: PathBuf,
}

impl Cached {
    /// What a guest boots.
    pub fn kernel(&self) -> Kernel {
        self.entry.kernel(&self.directory)
    }

    /// How many bytes its files take.
    pub fn size(&self) -> u64 {
        size(&self.directory)
    }
}

/// The cache of kernels.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// The user's cache, which need not be there yet.
    ///
    /// # Errors
    /// Where it cannot be told where it is.
    pub fn of_user() -> Result<Self, Missing> {
        Ok(Self { directory: root()?.join("kernels") })
    }

    /// The directory that holds the kernels.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn refused(&self, error: &io::Error) -> Failure {
        Failure::of_file(&self.directory, error)
    }

    /// What it holds, flavour by flavour, the oldest first. A directory that describes no kernel is
    /// an error of its own, with its path.
    pub fn list(&self) -> Vec<Result<Cached, (PathBuf, String)>> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let paths = entries.filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"."));
        let mut all: Vec<_> = paths.map(|entry| open(entry.path())).collect();
        // Another process may have removed it meanwhile.
        all.retain(|kernel| !kernel.as_ref().is_err_and(|(gone, _)| !gone.exists()));
        all.sort_by(|a, b| match (a, b) {
            (Ok(a), Ok(b)) => {
                let (a, b) = (&a.entry, &b.entry);
                a.flavour.cmp(&b.flavour).then_with(|| compare(&a.version, &b.version))
            }
            (Err((a, _)), Err((b, _))) => a.cmp(b),
            (a, b) => a.is_err().cmp(&b.is_err()),
        });
        all
    }

    /// The kernels of a flavour, the oldest first.
    pub fn kernels(&self, flavour: Flavour) -> impl Iterator<Item = Cached> {
        self.list().into_iter().flatten().filter(move |cached| cached.entry.flavour == flavour)
    }

    /// The kernels of a flavour that a version means, the oldest first: those whose release or name
    /// begins with it.
    pub fn matching(&self, flavour: Flavour, version: &str) -> Vec<Cached> {
        let meant = |cached: &Cached| {
            is_of(&cached.entry.version, version)
                || cached.entry.release.as_ref().is_some_and(|release| is_of(release, version))
        };
        self.kernels(flavour).filter(meant).collect()
    }

    /// A directory to put a kernel together in, beside the others.
    ///
    /// # Errors
    /// Where the cache cannot be written.
    pub fn stage(&self) -> Result<Staging, Failure> {
        self.make_staging().map_err(|error| self.refused(&error))
    }

    fn make_staging(&self) -> io::Result<Staging> {
        fs::create_dir_all(&self.directory)?;
        self.sweep();
        for number in 0_u32.. {
            let name = format!("{STAGING}{}-{number}", process::id());
            let path = self.directory.join(name);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            // Somebody who sweeps may have come before the lock.
            let Ok(lock) = File::open(&path) else { continue };
            let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && fs::metadata(&path).is_ok_and(|m| m.ino() == ino(&lock)) {
                return Ok(Staging { path, cache: self.clone(), _lock: lock });
            }
        }
        unreachable!("a number is free")
    }

    /// Removes the staging directories that nobody works in any more.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let is_staging = entry.file_name().as_encoded_bytes().starts_with(STAGING.as_bytes());
            let Some(lock) = is_staging.then(|| File::open(entry.path()).ok()).flatten() else {
                continue;
            };
            let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            // Its maker may have removed it and made another of its name.
            if locked && fs::metadata(entry.path()).is_ok_and(|m| m.ino() == ino(&lock)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes a kernel, or what is left of one. That another process has removed it at the same time is no error.
    ///
    /// # Errors
    /// Where the cache cannot be written.
    pub fn remove(&self, directory: &Path) -> Result<(), Failure> {
        let staging = self.stage()?;
        let removed = match fs::rename(directory, staging.path().join("removed")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.and_then(|()| staging.remove()),
        };
        removed.map_err(|error| Failure::of_file(directory, &error))
    }
}

fn open(directory: PathBuf) -> Result<Cached, (PathBuf, String)> {
    let description = directory.join(DESCRIPTION);
    let read = || -> Result<Entry, String> {
        let text = bounded::read_text(&description, LARGEST).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    match read() {
        Ok(entry) if !entry.is_sound() => {
            Err((directory, format!("{DESCRIPTION} describes no kernel in this directory")))
        }
        Ok(entry) if !directory.join(&entry.file).is_file() => {
            Err((directory, format!("{} is not there", entry.file.display())))
        }
        Ok(entry) => Ok(Cached { entry, directory }),
        Err(why) => Err((directory, format!("{DESCRIPTION}: {why}"))),
    }
}

fn ino(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.ino())
}

fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if metadata.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        return entries.map(|entry| size(&entry.path())).sum();
    }
    metadata.len()
}

/// A directory in which a kernel is put together. It goes when it is dropped.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    cache: Cache,
    _lock: File,
}

impl Staging {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory below it.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        match fs::create_dir(&path) {
            Ok(()) => Ok(path),
            Err(error) => Err(Failure::of_file(&path, &error)),
        }
    }

    /// Makes a directory in it the kernel that the entry describes, in place of one of the same name.
    ///
    /// # Errors
    /// Where the cache cannot be written.
    pub fn publish(self, directory: &Path, entry: Entry) -> Result<Cached, Failure> {
        let cache = self.cache.clone();
        self.rename(directory, entry).map_err(|error| cache.refused(&error))
    }

    fn rename(self, from: &Path, entry: Entry) -> io::Result<Cached> {
        let description = serde_json::to_string_pretty(&entry)? + "\n";
        fs::write(from.join(DESCRIPTION), description)?;
        let to = self.cache.directory.join(entry.directory());
        // A few times: another process may put the same kernel there, or remove it, at the same time.
        for attempt in 0.. {
            // In one step, so that there is one at every moment; the other goes with this directory.
            match renameat_with(CWD, from, CWD, &to, RenameFlags::EXCHANGE) {
                Ok(()) => break,
                Err(Errno::NOENT) => {}
                // Not every file system can do that, as NFS.
                Err(_) => {
                    let _ = fs::rename(&to, self.path.join(format!("replaced-{attempt}")));
                }
            }
            match fs::rename(from, &to) {
                Ok(()) => break,
                Err(error) if attempt == 9 => return Err(error),
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Cached { entry, directory: to })
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}
