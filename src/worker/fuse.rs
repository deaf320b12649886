//! A directory seen once more through FUSE: a process of its own serves it, and does with the files what
//! each request asks for as the user and group that the request names. It knows of no capabilities and no
//! supplementary groups of who asks, as a server of NFS with AUTH_SYS knows of none.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, Session, SessionACL,
    TimeOrNow, WriteFlags,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, chdir, getegid, geteuid, pivot_root, setfsgid, setfsuid};
use rustix::fs::{self, Access, AtFlags, Mode, OFlags, Statx, StatxFlags, Timespec, Timestamps};
use rustix::io::Errno as Failed;

use super::devices::open_device;
use super::mounts;
use super::perform::{Failure, Named, Step};
use crate::scenario::operation::Fuse;
use crate::sys;

/// Documentation/admin-guide/devices.txt of the kernel.
const DEVICE: (u32, u32) = (10, 229);
/// Nothing is kept by the kernel: what is asked is what the server says now.
const NO_TIME: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);

/// Mounts a directory through FUSE, and starts the process that serves it.
pub fn perform(step: &Fuse, around: Step<'_>) -> Result<(), Failure> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::open(step.from.as_str(), directory, Mode::empty()).of("open")?;
    let device = match &step.device {
        Some(node) => {
            fs::open(node.as_str(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).of("open")?
        }
        None => open_device(DEVICE)?,
    };
    let mut options = vec![
        format!("fd={}", device.as_raw_fd()),
        "rootmode=40000".to_owned(),
        format!("user_id={}", geteuid()),
        format!("group_id={}", getegid()),
    ];
    options.extend(step.options.iter().cloned());
    mount(
        Some("fuse"),
        step.at.as_str(),
        Some("fuse"),
        mounts::flags(&step.flags),
        Some(options.join(",").as_str()),
    )
    .of("mount")?;
    let proc = around.proc.try_clone_to_owned().of("dup")?;
    match sys::fork().of("fork")? {
        Some(_) => Ok(()),
        None => serve(device, root, proc),
    }
}

/// Serves until it is unmounted; ends with the sandbox at the latest.
fn serve(device: OwnedFd, root: OwnedFd, proc: OwnedFd) -> ! {
    sys::close_all_but(&[&device, &root, &proc]);
    rustix::process::umask(Mode::empty());
    // Where an actor's root is no mount, it keeps what it has.
    let _ = leave_mounts();
    // Files are reached by /proc/self/fd, in a proc that no scenario can cover.
    if rustix::process::fchdir(&proc).is_ok() {
        let _ = rustix::thread::set_thread_groups(&[]);
        let files = Mirror(Mutex::new(Files::of(root)));
        if let Ok(session) = Session::from_fd(files, device, SessionACL::All, Config::default()) {
            let _ = session.run();
        }
    }
    sys::exit_now(0)
}

/// Leaves the mounts of the sandbox for an empty file system. The last process that has a mount unmounts
/// it as it ends: one that has to ask this server for that, as an export of it that was mounted over NFS,
/// would wait for itself.
fn leave_mounts() -> Result<(), nix::Error> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("none"), "/", Some("tmpfs"), MsFlags::empty(), none)?;
    // Beyond the root lies what was just mounted upon it.
    chdir("/..")?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)
}

/// A directory as a file system.
struct Mirror(Mutex<Files>);

/// What the kernel has been told of.
struct Files {
    nodes: BTreeMap<u64, Node>,
    /// Nodes by device and inode number.
    known: BTreeMap<(u32, u32, u64), u64>,
    open: BTreeMap<u64, OwnedFd>,
    /// The number that was given out last, of nodes and open files.
    last: u64,
}

struct Node {
    /// By `O_PATH`.
    fd: OwnedFd,
    file: (u32, u32, u64),
    lookups: u64,
}

type Answer<T> = Result<T, Failed>;

impl Files {
    fn of(root: OwnedFd) -> Self {
        let node = Node { fd: root, file: (0, 0, 0), lookups: 1 };
        let root = INodeNo::ROOT.0;
        Self {
            nodes: BTreeMap::from([(root, node)]),
            known: BTreeMap::new(),
            open: BTreeMap::new(),
            last: root,
        }
    }

    fn node(&self, number: INodeNo) -> Answer<&OwnedFd> {
        self.nodes.get(&number.0).map(|node| &node.fd).ok_or(Failed::STALE)
    }

    fn open_file(&self, handle: FileHandle) -> Answer<&OwnedFd> {
        self.open.get(&handle.0).ok_or(Failed::BADF)
    }

    fn keep(&mut self, fd: OwnedFd) -> FileHandle {
        self.last += 1;
        self.open.insert(self.last, fd);
        FileHandle(self.last)
    }

    /// A path to the file itself, for what is not done by a descriptor of `O_PATH`.
    fn path(&self, number: INodeNo) -> Answer<String> {
        Ok(format!("self/fd/{}", self.node(number)?.as_raw_fd()))
    }

    /// A child by its name, which the kernel knows from now on.
    fn look_up(&mut self, parent: INodeNo, name: &OsStr) -> Answer<FileAttr> {
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

    fn forget(&mut self, number: INodeNo, lookups: u64) {
        let Some(node) = self.nodes.get_mut(&number.0) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 && number != INodeNo::ROOT {
            self.known.remove(&node.file);
            self.nodes.remove(&number.0);
        }
    }

    fn attributes(&self, number: INodeNo) -> Answer<FileAttr> {
        Ok(shown(&attributes(self.node(number)?)?, number.0))
    }

    fn change(&self, number: INodeNo, change: &Change) -> Answer<FileAttr> {
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

    fn open(&mut self, number: INodeNo, flags: OFlags) -> Answer<FileHandle> {
        // The kernel has created it and followed links already.
        let not = OFlags::CREATE | OFlags::EXCL | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let fd = fs::open(self.path(number)?, (flags - not) | OFlags::CLOEXEC, Mode::empty())?;
        Ok(self.keep(fd))
    }

    /// The names in an open directory from a position, each with the position behind it.
    fn list(&self, handle: FileHandle, from: u64, reply: &mut ReplyDirectory) -> Answer<()> {
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
struct Change {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    /// Access and modification time.
    times: [Option<TimeOrNow>; 2],
    open: Option<FileHandle>,
}

fn attributes(fd: impl AsFd) -> Answer<Statx> {
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

fn shown(found: &Statx, number: u64) -> FileAttr {
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

impl Mirror {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something as who asks for it: files are opened, made and changed by these ids.
    fn by<T>(
        &self,
        request: &Request,
        ask: impl FnOnce(&mut Files) -> Answer<T>,
    ) -> Result<T, Errno> {
        let (uid, gid) = (geteuid(), getegid());
        // The group first on the way down, the user first on the way up, as with any ids.
        setfsgid(Gid::from_raw(request.gid()));
        setfsuid(Uid::from_raw(request.uid()));
        let answer = ask(&mut self.files());
        setfsuid(uid);
        setfsgid(gid);
        answer.map_err(|error| Errno::from_i32(error.raw_os_error()))
    }
}

fn done(answer: Result<(), Errno>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(answer: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match answer {
        Ok(attributes) => reply.entry(&NO_TIME, &attributes, GENERATION),
        Err(error) => reply.error(error),
    }
}

fn attribute(answer: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match answer {
        Ok(attributes) => reply.attr(&NO_TIME, &attributes),
        Err(error) => reply.error(error),
    }
}

fn data(answer: Result<Vec<u8>, Errno>, reply: ReplyData) {
    match answer {
        Ok(data) => reply.data(&data),
        Err(error) => reply.error(error),
    }
}

fn xattr(answer: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match answer {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(error) => reply.error(error),
    }
}

fn opened(answer: Result<FileHandle, Errno>, reply: ReplyOpen) {
    match answer {
        Ok(handle) => reply.opened(handle, FopenFlags::empty()),
        Err(error) => reply.error(error),
    }
}

/// The longest value and list of extended attributes: `XATTR_SIZE_MAX` of include/uapi/linux/limits.h.
const XATTR_BYTES: usize = 65536;

#[allow(clippy::too_many_arguments, reason = "as the trait has them")]
impl Filesystem for Mirror {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.by(request, |files| files.look_up(parent, name)), reply);
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.files().forget(number, lookups);
    }

    fn getattr(&self, request: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attribute(self.by(request, |files| files.attributes(number)), reply);
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        open: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = Change { mode, uid, gid, size, times: [atime, mtime], open };
        attribute(self.by(request, |files| files.change(number, &change)), reply);
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let answer = self.by(request, |files| {
            let target = fs::readlinkat(files.node(number)?, "", Vec::new())?;
            Ok(target.into_bytes())
        });
        data(answer, reply);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let answer = self.by(request, |files| {
            let (kind, mode) = (fs::FileType::from_raw_mode(mode), Mode::from_raw_mode(mode));
            let device = fs::makedev((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & !0xff));
            fs::mknodat(files.node(parent)?, name, kind, mode, device)?;
            files.look_up(parent, name)
        });
        entry(answer, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let answer = self.by(request, |files| {
            fs::mkdirat(files.node(parent)?, name, Mode::from_raw_mode(mode))?;
            files.look_up(parent, name)
        });
        entry(answer, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |files: &mut Files| fs::unlinkat(files.node(parent)?, name, AtFlags::empty());
        done(self.by(request, remove), reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove =
            |files: &mut Files| fs::unlinkat(files.node(parent)?, name, AtFlags::REMOVEDIR);
        done(self.by(request, remove), reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let answer = self.by(request, |files| {
            fs::symlinkat(target, files.node(parent)?, name)?;
            files.look_up(parent, name)
        });
        entry(answer, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let answer = self.by(request, |files| {
            let flags = fs::RenameFlags::from_bits_retain(flags.bits());
            let (old, new) = (files.node(parent)?, files.node(new_parent)?);
            fs::renameat_with(old, name, new, new_name, flags)
        });
        done(answer, reply);
    }

    fn link(
        &self,
        request: &Request,
        number: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        let answer = self.by(request, |files| {
            let old = files.path(number)?;
            fs::linkat(fs::CWD, old, files.node(parent)?, name, AtFlags::SYMLINK_FOLLOW)?;
            files.look_up(parent, name)
        });
        entry(answer, reply);
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let flags = OFlags::from_bits_retain(flags.0.cast_unsigned());
        opened(self.by(request, |files| files.open(number, flags)), reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let answer = self.by(request, |files| {
            let flags = OFlags::from_bits_retain(flags.cast_unsigned());
            let flags = flags | OFlags::CREATE | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(mode);
            let fd = fs::openat(files.node(parent)?, name, flags, mode)?;
            let attributes = files.look_up(parent, name)?;
            Ok((attributes, files.keep(fd)))
        });
        match answer {
            Ok((attributes, handle)) => {
                reply.created(&NO_TIME, &attributes, GENERATION, handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<fuser::LockOwner>,
        reply: ReplyData,
    ) {
        let answer = self.by(request, |files| {
            let mut buffer = vec![0; size as usize];
            let length = rustix::io::pread(files.open_file(handle)?, &mut buffer, offset)?;
            buffer.truncate(length);
            Ok(buffer)
        });
        data(answer, reply);
    }

    fn write(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<fuser::LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = |files: &mut Files| rustix::io::pwrite(files.open_file(handle)?, data, offset);
        match self.by(request, write) {
            Ok(written) => reply.written(written as u32),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<fuser::LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.files().open.remove(&handle.0);
        reply.ok();
    }

    fn opendir(&self, request: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        opened(self.by(request, |files| files.open(number, flags)), reply);
    }

    fn readdir(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.by(request, |files| files.list(handle, offset, &mut reply)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.files().open.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, request: &Request, number: INodeNo, reply: ReplyStatfs) {
        match self.by(request, |files| fs::fstatvfs(files.node(number)?)) {
            Ok(found) => reply.statfs(
                found.f_blocks,
                found.f_bfree,
                found.f_bavail,
                found.f_files,
                found.f_ffree,
                found.f_bsize as u32,
                found.f_namemax as u32,
                found.f_frsize as u32,
            ),
            Err(error) => reply.error(error),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let answer = self.by(request, |files| {
            let flags = fs::XattrFlags::from_bits_retain(flags.cast_unsigned());
            fs::setxattr(files.path(number)?, name, value, flags)
        });
        done(answer, reply);
    }

    fn getxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let answer = self.by(request, |files| {
            let mut value = vec![0; XATTR_BYTES];
            let length = fs::getxattr(files.path(number)?, name, &mut value)?;
            value.truncate(length);
            Ok(value)
        });
        xattr(answer, size, reply);
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let answer = self.by(request, |files| {
            let mut names = vec![0; XATTR_BYTES];
            let length = fs::listxattr(files.path(number)?, &mut names)?;
            names.truncate(length);
            Ok(names)
        });
        xattr(answer, size, reply);
    }

    fn removexattr(&self, request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |files: &mut Files| fs::removexattr(files.path(number)?, name);
        done(self.by(request, remove), reply);
    }

    fn access(&self, request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let answer = self.by(request, |files| {
            let access = Access::from_bits_retain(mask.bits().cast_unsigned());
            fs::accessat(fs::CWD, files.path(number)?, access, AtFlags::EACCESS)
        });
        done(answer, reply);
    }
}
