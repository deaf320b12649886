//! Reads a layer from disk. Nothing is followed out of it and nothing is changed: a layer may be anybody's.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    self, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes,
    StatxFlags,
};
use rustix::io::Errno as RustixErrno;

use super::marks::PREFIXES;
use super::tree::{Attribute, File, Id, Kind, ROOT, Tree, Unread};
use crate::scenario::scalar::Errno;

/// Longest list of names of attributes, and longest value (xattr(7)).
const XATTR_BYTES: usize = 65536;

/// The inode number of the first user namespace (`PROC_USER_INIT_INO`).
const INIT_USER_NS: u64 = 0xEFFF_FFFD;

/// A directory that is to be read as a layer.
#[derive(Debug)]
pub struct Opened {
    fd: OwnedFd,
    identity: Identity,
    is_overlay: bool,
}

/// What tells one directory from another: device and inode.
type Identity = (u32, u32, u64);

/// Why a layer was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There are more files than may be read.
    #[error("the layers have more than {0} files")]
    TooMany(usize),
    /// The environment lacks something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Opened {
    /// Opens a directory by its path, through symbolic links if there are any.
    ///
    /// # Errors
    /// It cannot be opened, or is no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = open_beneath(CWD, path.as_os_str().as_encoded_bytes(), ResolveFlags::empty())?;
        let stat = stat(fd.as_fd(), b"")?;
        let is_overlay = fs::fstatfs(&fd).is_ok_and(|fs| fs.f_type == libc::OVERLAYFS_SUPER_MAGIC);
        Ok(Self { fd, identity: identity(&stat), is_overlay })
    }

    /// Whether it lies on an overlay itself.
    pub fn is_overlay(&self) -> bool {
        self.is_overlay
    }

    /// Whether it is the same directory as another.
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

/// Whether this process sees attributes of trusted.*: it takes CAP_SYS_ADMIN in the first user namespace
/// (`xattr_permission`), without which they are not even listed.
pub fn sees_trusted() -> bool {
    let first = std::fs::metadata("/proc/self/ns/user")
        .is_ok_and(|ns| std::os::unix::fs::MetadataExt::ino(&ns) == INIT_USER_NS);
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN));
    first && capable
}

/// Reads layers, all files of them together not more than `limit`.
///
/// # Errors
/// There are more, or /proc is not there.
pub fn read(opened: &[Opened], limit: usize) -> Result<Vec<Tree>, ReadError> {
    let roots: BTreeMap<Identity, usize> =
        opened.iter().enumerate().map(|(index, layer)| (layer.identity, index)).collect();
    let mut left = limit;
    let mut trees = Vec::new();
    for layer in opened {
        let mut reader = Reader {
            root: &layer.fd,
            roots: &roots,
            tree: Tree::default(),
            buffer: vec![0; XATTR_BYTES],
            left,
        };
        reader.read().map_err(|error| match error {
            ReadError::TooMany(_) => ReadError::TooMany(limit),
            other => other,
        })?;
        left = reader.left;
        trees.push(reader.tree);
    }
    Ok(trees)
}

struct Reader<'l> {
    root: &'l OwnedFd,
    /// The roots of all layers.
    roots: &'l BTreeMap<Identity, usize>,
    tree: Tree,
    buffer: Vec<u8>,
    /// How many files may still come.
    left: usize,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), ReadError> {
        let mut root = File::new(b"", ROOT, Kind::Dir);
        self.read_attributes(&mut root, &format!("/proc/self/fd/{}/.", self.root.as_raw_fd()))?;
        self.tree.add(root);
        let mut pending = vec![ROOT];
        while let Some(dir) = pending.pop() {
            if self.tree.get(dir).unread.is_some_and(|why| !matches!(why, Unread::Attributes(_))) {
                continue;
            }
            if let Err(error) = self.read_dir(dir, &mut pending) {
                match error {
                    ReadError::Io(error) if is_of_layer(&error) => {
                        let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
                        self.tree.get_mut(dir).unread = Some(Unread::Refused(errno));
                    }
                    other => return Err(other),
                }
            }
        }
        self.tree.finish();
        Ok(())
    }

    fn read_dir(&mut self, dir: Id, pending: &mut Vec<Id>) -> Result<(), ReadError> {
        let path = self.tree.path(dir);
        let relative = path.strip_prefix(b"/").filter(|path| !path.is_empty()).unwrap_or(b".");
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let fd = open_beneath(self.root.as_fd(), relative, resolve)?;
        for entry in Dir::read_from(&fd).map_err(io::Error::from)? {
            let entry = entry.map_err(io::Error::from)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let Some(file) = self.read_file(&fd, dir, name)? else { continue };
            let enter = file.kind == Kind::Dir;
            self.left = self.left.checked_sub(1).ok_or(ReadError::TooMany(0))?;
            let id = self.tree.add(file);
            if enter {
                pending.push(id);
            }
        }
        Ok(())
    }

    /// One file of a directory; `None` where it is gone.
    fn read_file(
        &mut self,
        dir: &OwnedFd,
        parent: Id,
        name: &[u8],
    ) -> Result<Option<File>, ReadError> {
        let stat = match stat(dir.as_fd(), name) {
            Ok(stat) => stat,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut file = File::new(name, parent, kind(&stat));
        file.size = if file.kind == Kind::File { stat.stx_size } else { 0 };
        let covered = StatxAttributes::from_bits_retain(stat.stx_attributes.bits());
        if covered.contains(StatxAttributes::MOUNT_ROOT) {
            file.unread = Some(Unread::Covered);
            return Ok(Some(file));
        }
        if file.kind == Kind::Dir && self.roots.contains_key(&identity(&stat)) {
            file.unread = Some(Unread::Layer);
            return Ok(Some(file));
        }
        // The last name of a path is not followed, and what stands before it is this very directory.
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        self.read_attributes(&mut file, &path[..])?;
        Ok(Some(file))
    }

    fn read_attributes<P: rustix::path::Arg + Copy>(
        &mut self,
        file: &mut File,
        path: P,
    ) -> Result<(), ReadError> {
        let length = match fs::llistxattr(path, &mut self.buffer[..]) {
            Ok(length) => length,
            Err(RustixErrno::OPNOTSUPP) => 0,
            Err(errno) => {
                if !Path::new("/proc/self/fd").exists() {
                    let why = "/proc is not mounted, by which attributes are read: mount it";
                    return Err(io::Error::other(why).into());
                }
                file.unread = Some(Unread::Attributes(Errno(errno.raw_os_error())));
                0
            }
        };
        let list = self.buffer[..length].to_vec();
        let names = list.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
        for name in names.filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix))) {
            let value = match fs::lgetxattr(path, name, &mut self.buffer[..]) {
                Ok(length) => Ok(self.buffer[..length].into()),
                Err(errno) => Err(Errno(errno.raw_os_error())),
            };
            file.attributes.push(Attribute { name: name.into(), value });
        }
        Ok(())
    }
}

/// Opens a directory to read it, without a trace in its times where that is allowed.
pub(super) fn open_beneath(
    dir: BorrowedFd<'_>,
    path: &[u8],
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match fs::openat2(dir, path, flags | OFlags::NOATIME, Mode::empty(), resolve) {
        // It is for the owner and who may act as it.
        Err(RustixErrno::PERM) => match fs::openat2(dir, path, flags, Mode::empty(), resolve) {
            // Filters refuse what they do not know so, too.
            Err(RustixErrno::PERM) => open_step_by_step(dir, path, flags, resolve),
            result => Ok(result?),
        },
        Err(RustixErrno::NOSYS) => open_step_by_step(dir, path, flags, resolve),
        result => Ok(result?),
    }
}

/// What openat2(2) does, before Linux 5.6: one name after the other, none of them a link, none in another file system.
/// A directory of the same file system that is mounted over one of the layer is not told from it.
fn open_step_by_step(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let open = |dir: BorrowedFd<'_>, name: &[u8], flags: OFlags| match fs::openat(
        dir,
        name,
        flags | OFlags::NOATIME,
        Mode::empty(),
    ) {
        Err(RustixErrno::PERM) => fs::openat(dir, name, flags, Mode::empty()),
        result => result,
    };
    if resolve.is_empty() {
        return Ok(open(dir, path, flags)?);
    }
    let flags = flags | OFlags::NOFOLLOW;
    let mut at = open(dir, b".", flags)?;
    let device = fs::fstat(&at)?.st_dev;
    for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
        if name == b".." {
            return Err(RustixErrno::XDEV.into());
        }
        at = open(at.as_fd(), name, flags)?;
        if fs::fstat(&at)?.st_dev != device {
            return Err(RustixErrno::XDEV.into());
        }
    }
    Ok(at)
}

/// Whether an error is of the layer, and not of this process: that has no room.
fn is_of_layer(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        None | Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOSYS)
    )
}

/// What statx(2) says of a file, which is not followed.
pub(super) fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    Ok(fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)?)
}

fn identity(stat: &Statx) -> Identity {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
}

fn kind(stat: &Statx) -> Kind {
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Char(stat.stx_rdev_major, stat.stx_rdev_minor),
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::RegularFile | FileType::Unknown => Kind::File,
    }
}
