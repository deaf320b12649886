//! What the kernel has been told of a directory that is served: its files by number, and what is done with them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileHandle, FileType, INodeNo, ReplyDirectory, TimeOrNow};
use rustix::fs::{self, AtFlags, Mode, OFlags, Statx, StatxFlags, Timespec, Timestamps};
use rustix::io::Errno as Failed;

/// What the kernel has been told of.
pub struct Files {
    nodes: BTreeMap<u64, Node>,
    /// Nodes by device and inode number.
    known: BTreeMap<(u32, u32, u64), u64>,
    /// Open files and directories by their handle.
    pub open: BTreeMap<u64, OwnedFd>,
    /// The number that was given out last, of nodes and open files.
    last: u64,
}

struct Node {
    /// By `O_PATH`.
    fd: OwnedFd,
    file: (u32, u32, u64),
    lookups: u64,
}

/// What a request comes to.
pub type Answer<T> = Result<T, Failed>;

impl Files {
    pub fn of(root: OwnedFd) -> Self {
        let node = Node { fd: root, file: (0, 0, 0), lookups: 1 };
        let root = INodeNo::ROOT.0;
        Self {
            nodes: BTreeMap::from([(root, node)]),
            known: BTreeMap::new(),
            open: BTreeMap::new(),
            last: root,
        }
    }

    pub fn node(&self, number: INodeNo) -> Answer<&OwnedFd> {
        self.nodes.get(&number.0).map(|node| &node.fd).ok_or(Failed::STALE)
    }

    pub fn open_file(&self, handle: FileHandle) -> Answer<&OwnedFd> {
        self.open.get(&handle.0).ok_or(Failed::BADF)
    }

    pub fn keep(&mut self, fd: OwnedFd) -> FileHandle {
        self.last += 1;
        self.open.insert(self.last, fd);
        FileHandle(self.last)
    }

    /// A path to the file itself, for what is not done by a descriptor of `O_PATH`.
    pub fn path(&self, number: INodeNo) -> Answer<String> {
        Ok(format!("self/fd/{}", self.node(number)?.as_raw_fd()))
    }

    /// A child by its name, which the kernel knows from now on.
    pub fn look_up(&mut self, parent: INodeNo, name: &OsStr) -> Answer<FileAttr> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(self.node(parent)?, name, flags, Mode::empty())?;
        let found = attributes(&fd)?;
        let file = (found.stx_dev_major, found.stx_dev_minor, found.stx_ino);
        let number = match self.known.get(&file) {
            Some(number) => *number,
            None => {
                self.last += 1;
                self.known.insert(file, self.last);
                self.nodes.insert(self.last, Node { fd, file, lookups: 0 });
                self.last
            }
        };
        if let Some(node) = self.nodes.get_mut(&number) {
            node.lookups += 1;
        }
        Ok(shown(&found, number))
    }

    pub fn forget(&mut self, number: INodeNo, lookups: u64) {
        let Some(node) = self.nodes.get_mut(&number.0) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 && number != INodeNo::ROOT {
            self.known.remove(&node.file);
            self.nodes.remove(&number.0);
        }
    }

    pub fn attributes(&self, number: INodeNo) -> Answer<FileAttr> {
        Ok(shown(&attributes(self.node(number)?)?, number.0))
    }

    pub fn change(&self, number: INodeNo, change: &Change) -> Answer<FileAttr> {
        let path = self.path(number)?;
        if let Some(mode) = change.mode {
            fs::chmod(&path, Mode::from_raw_mode(mode & 0o7777))?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            let uid = change.uid.map(fs::Uid::from_raw);
            let gid = change.gid.map(fs::Gid::from_raw);
            fs::chownat(self.node(number)?, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(size) = change.size {
            match change.open.map(|handle| self.open_file(handle)) {
                Some(open) => fs::ftruncate(open?, size)?,
                None => {
                    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                    fs::ftruncate(fs::open(&path, flags, Mode::empty())?, size)?;
                }
            }
        }
        if change.times != [None, None] {
            let [last_access, last_modification] = change.times.map(time_to_set);
            let times = Timestamps { last_access, last_modification };
            fs::utimensat(fs::CWD, &path, &times, AtFlags::empty())?;
        }
        self.attributes(number)
    }

    pub fn open(&mut self, number: INodeNo, flags: OFlags) -> Answer<FileHandle> {
        // The kernel has created it and followed links already.
        let not = OFlags::CREATE | OFlags::EXCL | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let fd = fs::open(self.path(number)?, (flags - not) | OFlags::CLOEXEC, Mode::empty())?;
        Ok(self.keep(fd))
    }

    /// The names in an open directory from a position, each with the position behind it.
    pub fn list(&self, handle: FileHandle, from: u64, reply: &mut ReplyDirectory) -> Answer<()> {
        let directory = self.open_file(handle)?;
        fs::seek(directory, fs::SeekFrom::Start(from))?;
        let mut buffer = Vec::with_capacity(16 << 10);
        let mut entries = fs::RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let kind = kind(entry.file_type());
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if reply.add(INodeNo(entry.ino()), entry.next_entry_cookie(), kind, name) {
                break;
            }
        }
        Ok(())
    }
}

/// What is to be changed of a file.
pub struct Change {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    /// Access and modification time.
    pub times: [Option<TimeOrNow>; 2],
    pub open: Option<FileHandle>,
}

/// The attributes of a file, by any descriptor.
pub fn attributes(fd: impl AsFd) -> Answer<Statx> {
    fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

/// A type of file, as the protocol names it.
fn kind(found: fs::FileType) -> FileType {
    match found {
        fs::FileType::Directory => FileType::Directory,
        fs::FileType::Symlink => FileType::Symlink,
        fs::FileType::CharacterDevice => FileType::CharDevice,
        fs::FileType::BlockDevice => FileType::BlockDevice,
        fs::FileType::Fifo => FileType::NamedPipe,
        fs::FileType::Socket => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

/// Attributes as the protocol has them, of a file by its number there.
pub fn shown(found: &Statx, number: u64) -> FileAttr {
    let kind = kind(fs::FileType::from_raw_mode(found.stx_mode.into()));
    let time = |stamp: fs::StatxTimestamp| {
        let seconds = Duration::from_secs(stamp.tv_sec.unsigned_abs());
        let whole = if stamp.tv_sec < 0 {
            SystemTime::UNIX_EPOCH - seconds
        } else {
            SystemTime::UNIX_EPOCH + seconds
        };
        whole + Duration::from_nanos(stamp.tv_nsec.into())
    };
    FileAttr {
        ino: INodeNo(number),
        size: found.stx_size,
        blocks: found.stx_blocks,
        atime: time(found.stx_atime),
        mtime: time(found.stx_mtime),
        ctime: time(found.stx_ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm: found.stx_mode & 0o7777,
        nlink: found.stx_nlink,
        uid: found.stx_uid,
        gid: found.stx_gid,
        // The kernel's own way of writing it: new_encode_dev() of include/linux/kdev_t.h.
        rdev: (found.stx_rdev_minor & 0xff)
            | (found.stx_rdev_major << 8)
            | ((found.stx_rdev_minor & !0xff) << 12),
        blksize: found.stx_blksize,
        flags: 0,
    }
}

fn time_to_set(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Timespec {
                tv_sec: since.as_secs().cast_signed(),
                tv_nsec: since.subsec_nanos().into(),
            },
            Err(before) => {
                Timespec { tv_sec: -before.duration().as_secs().cast_signed(), tv_nsec: 0 }
            }
        },
    }
}
