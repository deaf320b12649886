//! Files, directories and their attributes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use compact_str::{CompactString, ToCompactString, format_compact};
use nix::errno::Errno;
use rustix::fs::{
    Access, AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, RawDir, RenameFlags,
    StatVfsMountFlags, Statx, StatxAttributes, StatxFlags, Timespec, Timestamps, Uid, XattrFlags,
    makedev,
};

use super::perform::{Failure, Named, Performed, State, failure};
use crate::scenario::operation::{
    self as op, AccessPurpose, FileOperation, LockKind, NodeType, OpenFlag, RenameFlag, XattrFlag,
};
use crate::scenario::scalar::{Name, StepPath, Timestamp};
use crate::sys;
use crate::transcript::{Class, Outcome, Value, short_text, text};

/// The longest value or list of an extended attribute: `XATTR_SIZE_MAX`.
const XATTR_BYTES: usize = 64 << 10;

pub fn perform(state: &mut State, operation: FileOperation<'_>) -> Performed {
    match operation {
        FileOperation::Open(step) => open(state, step),
        FileOperation::Read(step) => read(state, step),
        FileOperation::Write(step) => write(state, step),
        FileOperation::Truncate(step) => truncate(state, step),
        FileOperation::Close(step) => close(state, step),
        FileOperation::Mkdir(step) => {
            done(rustix::fs::mkdirat(CWD, step.path.as_str(), mode(step.mode, 0o755)).of("mkdir"))
        }
        FileOperation::Rmdir(step) => {
            done(rustix::fs::unlinkat(CWD, step.path.as_str(), AtFlags::REMOVEDIR).of("rmdir"))
        }
        FileOperation::Unlink(step) => {
            done(rustix::fs::unlinkat(CWD, step.path.as_str(), AtFlags::empty()).of("unlink"))
        }
        FileOperation::Rename(step) => rename(step),
        FileOperation::Link(step) => link(step),
        FileOperation::Symlink(step) => {
            let (target, path) = (step.target.as_str(), step.path.as_str());
            done(rustix::fs::symlinkat(target, CWD, path).of("symlink"))
        }
        FileOperation::Readlink(step) => readlink(step),
        FileOperation::Mknod(step) => mknod(step),
        FileOperation::Chmod(step) => chmod(state, step),
        FileOperation::Chown(step) => chown(state, step),
        FileOperation::Utimes(step) => utimes(state, step),
        FileOperation::Stat(step) => stat(state, step),
        FileOperation::List(step) => list(state, step),
        FileOperation::Getxattr(step) => getxattr(state, step),
        FileOperation::Setxattr(step) => setxattr(state, step),
        FileOperation::Removexattr(step) => removexattr(state, step),
        FileOperation::Listxattr(step) => listxattr(state, step),
        FileOperation::Statfs(step) => statfs(step),
        FileOperation::Access(step) => access(step),
        FileOperation::Flock(step) => flock(state, step),
    }
}

/// What a step without values gives.
fn done(result: Result<(), Failure>) -> Performed {
    result.map(|()| Outcome::done())
}

enum Target<'a> {
    Path(&'a str),
    Fd(BorrowedFd<'a>),
}

/// What a step with `path` or `fd` is about; the language has exactly one of the two.
fn target<'a>(
    state: &'a State,
    path: Option<&'a StepPath>,
    fd: Option<&Name>,
    syscall: &'static str,
) -> Result<Target<'a>, Failure> {
    match (path, fd) {
        (Some(path), _) => Ok(Target::Path(path.as_str())),
        (None, Some(name)) => state.fd(name, syscall).map(Target::Fd),
        (None, None) => Err(failure(syscall, Errno::EINVAL)),
    }
}

fn mode(mode: Option<crate::scenario::scalar::Mode>, otherwise: u32) -> Mode {
    Mode::from_raw_mode(mode.map_or(otherwise, |mode| mode.0))
}

fn follow(yes: bool) -> AtFlags {
    if yes { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW }
}

/// The flags of open(2).
fn open_flags(flags: &[OpenFlag]) -> OFlags {
    flags.iter().fold(OFlags::CLOEXEC, |all, flag| {
        all | match flag {
            OpenFlag::Rdonly => OFlags::RDONLY,
            OpenFlag::Wronly => OFlags::WRONLY,
            OpenFlag::Rdwr => OFlags::RDWR,
            OpenFlag::Creat => OFlags::CREATE,
            OpenFlag::Excl => OFlags::EXCL,
            OpenFlag::Trunc => OFlags::TRUNC,
            OpenFlag::Append => OFlags::APPEND,
            OpenFlag::Directory => OFlags::DIRECTORY,
            OpenFlag::Nofollow => OFlags::NOFOLLOW,
            OpenFlag::Path => OFlags::PATH,
            OpenFlag::Tmpfile => OFlags::TMPFILE,
            OpenFlag::Noatime => OFlags::NOATIME,
            OpenFlag::Nonblock => OFlags::NONBLOCK,
            OpenFlag::Sync => OFlags::SYNC,
            OpenFlag::Direct => OFlags::DIRECT,
        }
    })
}

fn open(state: &mut State, step: &op::Open) -> Performed {
    let flags = open_flags(&step.flags);
    let creates = flags.intersects(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
    let mode = if creates { mode(step.mode, 0o644) } else { Mode::empty() };
    let dir = state.dir(step.dirfd.as_ref(), "openat")?;
    let fd = rustix::fs::openat(dir, step.path.as_str(), flags, mode).of("openat")?;
    if let Some(name) = &step.fd {
        state.keep(name, fd);
    }
    Ok(Outcome::done())
}

fn read(state: &State, step: &op::Read) -> Performed {
    let opened: OwnedFd;
    let (fd, to_the_end) = match target(state, step.path.as_ref(), step.fd.as_ref(), "read")? {
        Target::Fd(fd) => (fd, false),
        Target::Path(path) => {
            opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .of("open")?;
            (opened.as_fd(), true)
        }
    };
    let limit = step.limit();
    let mut data = vec![0; limit];
    let mut length = 0;
    loop {
        let room = &mut data[length..];
        let read = match step.offset {
            Some(offset) => rustix::io::pread(fd, room, offset + length as u64).of("pread64")?,
            None => rustix::io::read(fd, room).of("read")?,
        };
        length += read;
        if read == 0 || length == limit || !to_the_end {
            break;
        }
    }
    Ok(Outcome::values([
        ("data", text(&data[..length]).into()),
        ("length", Value::Number(length as i64)),
    ]))
}

fn write(state: &State, step: &op::Write) -> Performed {
    let opened: OwnedFd;
    let fd = match target(state, step.path.as_ref(), step.fd.as_ref(), "write")? {
        Target::Fd(fd) => fd,
        Target::Path(path) => {
            let how = match (step.append, step.offset) {
                (true, _) => OFlags::APPEND,
                (false, Some(_)) => OFlags::empty(),
                (false, None) => OFlags::TRUNC,
            };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | how;
            opened = rustix::fs::open(path, flags, mode(step.mode, 0o644)).of("open")?;
            opened.as_fd()
        }
    };
    let written = match step.offset {
        Some(offset) => rustix::io::pwrite(fd, step.data.as_bytes(), offset).of("pwrite64")?,
        None => rustix::io::write(fd, step.data.as_bytes()).of("write")?,
    };
    Ok(Outcome::values([("length", Value::Number(written as i64))]))
}

fn truncate(state: &State, step: &op::Truncate) -> Performed {
    match target(state, step.path.as_ref(), step.fd.as_ref(), "ftruncate")? {
        Target::Fd(fd) => rustix::fs::ftruncate(fd, step.length).of("ftruncate")?,
        Target::Path(path) => {
            let length =
                i64::try_from(step.length).map_err(|_| failure("truncate", Errno::EINVAL))?;
            nix::unistd::truncate(path, length).of("truncate")?;
        }
    }
    Ok(Outcome::done())
}

fn close(state: &mut State, step: &op::Close) -> Performed {
    let fd = state.open.remove(&step.fd).ok_or_else(|| failure("close", Errno::EBADF))?;
    nix::unistd::close(fd).of("close").map(|()| Outcome::done())
}

fn rename(step: &op::Rename) -> Performed {
    let flags = step.flags.iter().fold(RenameFlags::empty(), |flags, flag| {
        flags
            | match flag {
                RenameFlag::Noreplace => RenameFlags::NOREPLACE,
                RenameFlag::Exchange => RenameFlags::EXCHANGE,
                RenameFlag::Whiteout => RenameFlags::WHITEOUT,
            }
    });
    rustix::fs::renameat_with(CWD, step.from.as_str(), CWD, step.to.as_str(), flags)
        .of("renameat2")
        .map(|()| Outcome::done())
}

fn link(step: &op::Link) -> Performed {
    let flags = if step.follow { AtFlags::SYMLINK_FOLLOW } else { AtFlags::empty() };
    rustix::fs::linkat(CWD, step.from.as_str(), CWD, step.to.as_str(), flags)
        .of("linkat")
        .map(|()| Outcome::done())
}

fn readlink(step: &op::Readlink) -> Performed {
    let target = rustix::fs::readlinkat(CWD, step.path.as_str(), Vec::new()).of("readlink")?;
    Ok(Outcome::values([("target", text(target.as_bytes()).into())]))
}

fn mknod(step: &op::Mknod) -> Performed {
    let kind = match step.kind {
        NodeType::File => FileType::RegularFile,
        NodeType::Char => FileType::CharacterDevice,
        NodeType::Block => FileType::BlockDevice,
        NodeType::Fifo => FileType::Fifo,
        NodeType::Socket => FileType::Socket,
    };
    let device = step.rdev.map_or(0, |rdev| makedev(rdev.major, rdev.minor));
    rustix::fs::mknodat(CWD, step.path.as_str(), kind, mode(step.mode, 0o644), device)
        .of("mknod")
        .map(|()| Outcome::done())
}

fn chmod(state: &State, step: &op::Chmod) -> Performed {
    let mode = Mode::from_raw_mode(step.mode.0);
    match target(state, step.path.as_ref(), step.fd.as_ref(), "fchmod")? {
        Target::Fd(fd) => rustix::fs::fchmod(fd, mode).of("fchmod")?,
        Target::Path(path) => rustix::fs::chmodat(CWD, path, mode, AtFlags::empty()).of("chmod")?,
    }
    Ok(Outcome::done())
}

fn chown(state: &State, step: &op::Chown) -> Performed {
    let (uid, gid) = (step.uid.map(Uid::from_raw), step.gid.map(Gid::from_raw));
    match target(state, step.path.as_ref(), step.fd.as_ref(), "fchown")? {
        Target::Fd(fd) => rustix::fs::fchown(fd, uid, gid).of("fchown")?,
        Target::Path(path) => {
            rustix::fs::chownat(CWD, path, uid, gid, follow(step.follow)).of("fchownat")?
        }
    }
    Ok(Outcome::done())
}

fn utimes(state: &State, step: &op::Utimes) -> Performed {
    // UTIME_NOW and UTIME_OMIT of utimensat(2).
    let timespec = |time: Option<Timestamp>| match time {
        Some(Timestamp::Now) => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        Some(Timestamp::Omit) | None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        Some(Timestamp::Seconds(seconds)) => Timespec { tv_sec: seconds, tv_nsec: 0 },
    };
    let times =
        Timestamps { last_access: timespec(step.atime), last_modification: timespec(step.mtime) };
    match target(state, step.path.as_ref(), step.fd.as_ref(), "futimens")? {
        Target::Fd(fd) => rustix::fs::futimens(fd, &times).of("futimens")?,
        Target::Path(path) => {
            rustix::fs::utimensat(CWD, path, &times, follow(step.follow)).of("utimensat")?
        }
    }
    Ok(Outcome::done())
}

fn stat(state: &State, step: &op::Stat) -> Performed {
    let found = match target(state, step.path.as_ref(), step.fd.as_ref(), "statx")? {
        Target::Fd(fd) => statx_of(fd, "", AtFlags::EMPTY_PATH).of("statx")?,
        Target::Path(path) => {
            let dir = state.dir(step.dirfd.as_ref(), "statx")?;
            statx_of(dir, path, follow(step.follow)).of("statx")?
        }
    };
    let kind = file_type(&found);
    let mut values = crate::transcript::Values::new();
    let mut add = |name: &str, value: Value| drop(values.insert(name.into(), value));
    add("type", kind.into());
    add("mode", format!("{:04o}", found.stx_mode & 0o7777).into());
    add("uid", found.stx_uid.into());
    add("gid", found.stx_gid.into());
    add("size", Value::Number(found.stx_size as i64));
    add("blocks", Value::Number(found.stx_blocks as i64));
    add("nlink", found.stx_nlink.into());
    if let Some(rdev) = rdev(&found) {
        add("rdev", rdev.into());
    }
    add("ino", inode(&found));
    add("ino_number", Value::Identity(Class::Number, found.stx_ino.to_compact_string()));
    add("dev", device(&found));
    add("atime", time(found.stx_atime.tv_sec, found.stx_atime.tv_nsec));
    add("mtime", time(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec));
    add("ctime", time(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec));
    if let Some(mounted) = mount_root(&found) {
        add("mount_root", mounted.into());
    }
    Ok(Outcome::Ok(values))
}

/// statx(2) with all that this module reads.
pub fn statx_of(dir: BorrowedFd<'_>, path: &str, flags: AtFlags) -> rustix::io::Result<Statx> {
    rustix::fs::statx(dir, path, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)
}

/// What a file is, as a word.
pub fn file_type(found: &Statx) -> &'static str {
    match FileType::from_raw_mode(found.stx_mode.into()) {
        FileType::RegularFile => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "symlink",
        FileType::CharacterDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        _ => "unknown",
    }
}

/// The device number of a device node.
pub fn rdev(found: &Statx) -> Option<CompactString> {
    matches!(file_type(found), "char" | "block")
        .then(|| format_compact!("{}:{}", found.stx_rdev_major, found.stx_rdev_minor))
}

/// The inode: its number says nothing without its device.
pub fn inode(found: &Statx) -> Value {
    let key = format_compact!("{}:{}:{}", found.stx_dev_major, found.stx_dev_minor, found.stx_ino);
    Value::Identity(Class::Ino, key)
}

/// The device of a file.
pub fn device(found: &Statx) -> Value {
    Value::Identity(Class::Dev, format_compact!("{}:{}", found.stx_dev_major, found.stx_dev_minor))
}

/// A time: what a scenario set is in whole seconds of the last century, everything else varies.
pub fn time(seconds: i64, nanoseconds: u32) -> Value {
    if seconds < 1_000_000_000 && nanoseconds == 0 {
        Value::Number(seconds)
    } else {
        Value::Identity(Class::Time, format_compact!("{seconds}.{nanoseconds:09}"))
    }
}

/// Whether a place is the root of a mount; `None` before Linux 5.8, which cannot say.
pub fn mount_root(found: &Statx) -> Option<bool> {
    let attribute = StatxAttributes::MOUNT_ROOT;
    found.stx_attributes_mask.contains(attribute).then(|| found.stx_attributes.contains(attribute))
}

/// The names in an open directory from its start, without `.` and `..`, sorted.
///
/// By getdents64(2) itself: readdir(3) hides the ENOENT of a directory that was removed.
pub fn names_in(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<CompactString>> {
    rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
    Ok(entries_from_here(directory)?.into_iter().map(|(name, _)| name).collect())
}

/// The same from where it was read to, which is the start in one that was just opened, with what they are said
/// to be.
pub fn entries_from_here(
    directory: BorrowedFd<'_>,
) -> rustix::io::Result<Vec<(CompactString, FileType)>> {
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = short_text(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push((name, entry.file_type()));
        }
    }
    names.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(names)
}

fn list(state: &State, step: &op::List) -> Performed {
    let names = match target(state, step.path.as_ref(), step.fd.as_ref(), "getdents64")? {
        Target::Fd(fd) => names_in(fd).of("getdents64")?,
        Target::Path(path) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(path, flags, Mode::empty()).of("open")?;
            names_in(fd.as_fd()).of("getdents64")?
        }
    };
    Ok(named(names))
}

fn named(names: Vec<CompactString>) -> Outcome {
    let count = Value::Number(names.len() as i64);
    Outcome::values([
        ("names", Value::List(names.into_iter().map(Value::from).collect())),
        ("count", count),
    ])
}

/// The names in a list of extended attributes, sorted.
pub fn xattr_names(list: &[u8]) -> Vec<CompactString> {
    let mut names: Vec<_> =
        list.split(|b| *b == 0).filter(|name| !name.is_empty()).map(short_text).collect();
    names.sort();
    names
}

fn getxattr(state: &State, step: &op::Getxattr) -> Performed {
    let mut value = vec![0; XATTR_BYTES];
    let name = step.name.as_str();
    let length = match target(state, step.path.as_ref(), step.fd.as_ref(), "fgetxattr")? {
        Target::Fd(fd) => rustix::fs::fgetxattr(fd, name, &mut value[..]).of("fgetxattr")?,
        Target::Path(path) if step.follow => {
            rustix::fs::getxattr(path, name, &mut value[..]).of("getxattr")?
        }
        Target::Path(path) => rustix::fs::lgetxattr(path, name, &mut value[..]).of("lgetxattr")?,
    };
    let value = &value[..length];
    let value = Value::of_mark(name, value).unwrap_or_else(|| text(value).into());
    Ok(Outcome::values([("value", value), ("length", Value::Number(length as i64))]))
}

fn setxattr(state: &State, step: &op::Setxattr) -> Performed {
    let value = step.bytes();
    let value = value.as_slice();
    let flags = match step.flag {
        None => XattrFlags::empty(),
        Some(XattrFlag::Create) => XattrFlags::CREATE,
        Some(XattrFlag::Replace) => XattrFlags::REPLACE,
    };
    let name = step.name.as_str();
    match target(state, step.path.as_ref(), step.fd.as_ref(), "fsetxattr")? {
        Target::Fd(fd) => rustix::fs::fsetxattr(fd, name, value, flags).of("fsetxattr")?,
        Target::Path(path) if step.follow => {
            rustix::fs::setxattr(path, name, value, flags).of("setxattr")?
        }
        Target::Path(path) => rustix::fs::lsetxattr(path, name, value, flags).of("lsetxattr")?,
    }
    Ok(Outcome::done())
}

fn removexattr(state: &State, step: &op::Removexattr) -> Performed {
    let name = step.name.as_str();
    match target(state, step.path.as_ref(), step.fd.as_ref(), "fremovexattr")? {
        Target::Fd(fd) => rustix::fs::fremovexattr(fd, name).of("fremovexattr")?,
        Target::Path(path) if step.follow => {
            rustix::fs::removexattr(path, name).of("removexattr")?
        }
        Target::Path(path) => rustix::fs::lremovexattr(path, name).of("lremovexattr")?,
    }
    Ok(Outcome::done())
}

fn listxattr(state: &State, step: &op::Listxattr) -> Performed {
    let mut names = vec![0_u8; XATTR_BYTES];
    let length = match target(state, step.path.as_ref(), step.fd.as_ref(), "flistxattr")? {
        Target::Fd(fd) => rustix::fs::flistxattr(fd, &mut names[..]).of("flistxattr")?,
        Target::Path(path) if step.follow => {
            rustix::fs::listxattr(path, &mut names[..]).of("listxattr")?
        }
        Target::Path(path) => rustix::fs::llistxattr(path, &mut names[..]).of("llistxattr")?,
    };
    Ok(named(xattr_names(&names[..length])))
}

fn statfs(step: &op::Statfs) -> Performed {
    let found = rustix::fs::statfs(step.path.as_str()).of("statfs")?;
    let flags = rustix::fs::statvfs(step.path.as_str()).of("statfs")?.f_flag;
    // Magic numbers of include/uapi/linux/magic.h for what a scenario can meet.
    let kind = match found.f_type as u64 {
        0x0102_1994 => "tmpfs".to_owned(),
        0x794c_7630 => "overlay".to_owned(),
        0x9fa0 => "proc".to_owned(),
        0x6265_6572 => "sysfs".to_owned(),
        0x8584_58f6 => "ramfs".to_owned(),
        0x1cd1 => "devpts".to_owned(),
        0x1980_0202 => "mqueue".to_owned(),
        0x6367_7270 => "cgroup2".to_owned(),
        0x6573_5546 => "fuse".to_owned(),
        0x6969 => "nfs".to_owned(),
        0xef53 => "ext4".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x9123_683e => "btrfs".to_owned(),
        0x6e73_6673 => "nsfs".to_owned(),
        other => format!("{other:#x}"),
    };
    let known = [
        (StatVfsMountFlags::NOATIME, "noatime"),
        (StatVfsMountFlags::NODEV, "nodev"),
        (StatVfsMountFlags::NODIRATIME, "nodiratime"),
        (StatVfsMountFlags::NOEXEC, "noexec"),
        (StatVfsMountFlags::NOSUID, "nosuid"),
        (StatVfsMountFlags::RELATIME, "relatime"),
        (StatVfsMountFlags::RDONLY, "ro"),
    ];
    let flags =
        known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| Value::from(*word));
    Ok(Outcome::values([("type", kind.into()), ("flags", Value::List(flags.collect()))]))
}

fn access(step: &op::Access) -> Performed {
    let access = step.purposes.iter().fold(Access::empty(), |access, purpose| {
        access
            | match purpose {
                AccessPurpose::Read => Access::READ_OK,
                AccessPurpose::Write => Access::WRITE_OK,
                AccessPurpose::Execute => Access::EXEC_OK,
            }
    });
    let access = if access.is_empty() { Access::EXISTS } else { access };
    let path = step.path.as_str();
    let answer = match sys::effective_access(path, access) {
        Err(nix::errno::Errno::ENOSYS) if real_ids_tell_the_same() => {
            rustix::fs::accessat(CWD, path, access, AtFlags::empty())
                .map_err(|errno| nix::errno::Errno::from_raw(errno.raw_os_error()))
        }
        answer => answer,
    };
    answer.of("faccessat2").map(|()| Outcome::done())
}

/// Whether faccessat(2), which asks for the real ids and the capabilities that they would have, answers as faccessat2(2)
/// does for the effective ones (fs/open.c access_override_creds()). Kernels before 5.8 have only the former.
fn real_ids_tell_the_same() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    let Ok(capabilities) = rustix::thread::capabilities(None) else { return false };
    let as_real = match geteuid().is_root() {
        true => capabilities.permitted,
        false => rustix::thread::CapabilitySet::empty(),
    };
    getuid() == geteuid() && getgid() == getegid() && capabilities.effective == as_real
}

fn flock(state: &State, step: &op::Flock) -> Performed {
    let lock = match step.lock {
        LockKind::Shared => FlockOperation::NonBlockingLockShared,
        LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
        LockKind::Unlock => FlockOperation::NonBlockingUnlock,
    };
    rustix::fs::flock(state.fd(&step.fd, "flock")?, lock).of("flock").map(|()| Outcome::done())
}
