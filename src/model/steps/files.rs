//! Files, directories and their attributes.

use std::rc::Rc;

use compact_str::{ToCompactString, format_compact};

use super::{Failure, Named, Performed};
use crate::model::halt::Halt;
use crate::model::ids::IdKind;
use crate::model::machine::{Atime, FileId, FsType, Lock, Machine, Place, ProcId, Time};
use crate::model::rules::files as rules;
use crate::model::vfs::{Access, Attr, How, NewKind, RenameHow, Walk};
use crate::scenario::operation::{
    self as op, AccessPurpose, FileOperation, LockKind, NodeType, RenameFlag, XattrFlag,
};
use crate::scenario::scalar::{Errno, Name, StepPath, Timestamp};
use crate::transcript::{Class, Outcome, Value, Values, text};

impl Machine<'_> {
    /// Takes a step of this family.
    pub fn file_step(&mut self, who: ProcId, operation: FileOperation<'_>) -> Performed {
        match operation {
            FileOperation::Open(open) => self.step_open(who, open),
            FileOperation::Read(read) => self.step_read(who, read),
            FileOperation::Write(write) => self.step_write(who, write),
            FileOperation::Truncate(truncate) => self.step_truncate(who, truncate),
            FileOperation::Close(close) => self.step_close(who, close),
            FileOperation::Mkdir(mkdir) => {
                let mode = mkdir.mode.map_or(0o755, |mode| mode.0);
                done(self.sys_mkdir(who, mkdir.path.as_str(), mode).of("mkdir"))
            }
            FileOperation::Rmdir(rmdir) => {
                done(self.sys_rmdir(who, rmdir.path.as_str()).of("rmdir"))
            }
            FileOperation::Unlink(unlink) => {
                done(self.sys_unlink(who, unlink.path.as_str()).of("unlink"))
            }
            FileOperation::Rename(rename) => self.step_rename(who, rename),
            FileOperation::Link(link) => {
                let (from, to) = (link.from.as_str(), link.to.as_str());
                done(self.sys_link(who, from, to, link.follow).of("linkat"))
            }
            FileOperation::Symlink(link) => {
                done(self.sys_symlink(who, &link.target, link.path.as_str()).of("symlink"))
            }
            FileOperation::Readlink(link) => self.step_readlink(who, link),
            FileOperation::Mknod(mknod) => self.step_mknod(who, mknod),
            FileOperation::Chmod(chmod) => self.step_chmod(who, chmod),
            FileOperation::Chown(chown) => self.step_chown(who, chown),
            FileOperation::Utimes(utimes) => self.step_utimes(who, utimes),
            FileOperation::Stat(stat) => self.step_stat(who, stat),
            FileOperation::List(list) => self.step_list(who, list),
            FileOperation::Getxattr(get) => self.step_getxattr(who, get),
            FileOperation::Setxattr(set) => self.step_setxattr(who, set),
            FileOperation::Removexattr(remove) => self.step_removexattr(who, remove),
            FileOperation::Listxattr(list) => self.step_listxattr(who, list),
            FileOperation::Statfs(statfs) => self.step_statfs(who, statfs),
            FileOperation::Access(access) => self.step_access(who, access),
            FileOperation::Flock(flock) => self.step_flock(who, flock),
        }
    }

    fn bad_fd(&self, syscall: &'static str) -> Performed {
        self.refuse_by(&rules::BAD_FD, Errno::EBADF).of(syscall)
    }

    /// The place that a step is about, by path or by descriptor, and the system call that is made.
    fn target(
        &mut self,
        who: ProcId,
        path: Option<&StepPath>,
        fd: Option<&Name>,
        walk: Walk,
        [by_path, by_fd]: [&'static str; 2],
    ) -> Result<(Place, &'static str), Failure> {
        match (path, fd) {
            (Some(path), _) => {
                self.walk(who, None, path.as_str(), walk).of(by_path).map(|place| (place, by_path))
            }
            (None, Some(name)) => {
                let file = self.open_fd(who, name).of(by_fd)?;
                Ok((self.files[file].place, by_fd))
            }
            (None, None) => Err(Failure { halt: Halt::Refused(Errno::EINVAL), syscall: by_fd }),
        }
    }

    fn xattr_target(
        &mut self,
        who: ProcId,
        path: Option<&StepPath>,
        fd: Option<&Name>,
        follow: bool,
        [followed, itself, by_fd]: [&'static str; 3],
    ) -> Result<(Place, &'static str), Failure> {
        let by_path = if follow { followed } else { itself };
        self.target(who, path, fd, Walk { follow, ..Walk::default() }, [by_path, by_fd])
    }

    /// The directory that a path starts from.
    fn start_of(
        &self,
        who: ProcId,
        dirfd: Option<&Name>,
        syscall: &'static str,
    ) -> Result<Option<Place>, Failure> {
        dirfd.map(|name| self.fd_place(who, name).of(syscall)).transpose()
    }

    fn step_open(&mut self, who: ProcId, step: &op::Open) -> Performed {
        let start = self.start_of(who, step.dirfd.as_ref(), "openat")?;
        let mode = step.mode.map_or(0o644, |mode| mode.0);
        let how = How::of(&step.flags);
        let file = self.sys_open(who, start, step.path.as_str(), how, mode).of("openat")?;
        match &step.fd {
            Some(name) => self.keep(who, name, file),
            None => self.close(file),
        }
        Ok(Outcome::done())
    }

    /// Opens a path for one step, which closes it again.
    fn open_for_step(
        &mut self,
        who: ProcId,
        path: &StepPath,
        how: How,
        mode: u32,
    ) -> Result<FileId, Failure> {
        self.sys_open(who, None, path.as_str(), how, mode).of("open")
    }

    fn step_read(&mut self, who: ProcId, step: &op::Read) -> Performed {
        let limit = step.limit();
        let call = if step.offset.is_some() { "pread64" } else { "read" };
        let data = match (&step.path, &step.fd) {
            (Some(path), _) => {
                let file = self.open_for_step(who, path, How::READ, 0)?;
                let data = self.read_file(file, step.offset, limit).of(call);
                self.close(file);
                data?
            }
            (None, Some(name)) => {
                let file = self.fd(who, name).of("read")?;
                self.deny(self.files[file].path_only, &rules::PATH_FD, Errno::EBADF).of(call)?;
                self.read_file(file, step.offset, limit).of(call)?
            }
            (None, None) => return self.bad_fd("read"),
        };
        Ok(Outcome::values([
            ("data", text(&data).into()),
            ("length", Value::Number(data.len() as i64)),
        ]))
    }

    fn step_write(&mut self, who: ProcId, step: &op::Write) -> Performed {
        let call = if step.offset.is_some() { "pwrite64" } else { "write" };
        let written = match (&step.path, &step.fd) {
            (Some(path), _) => {
                let how = How {
                    write: true,
                    create: true,
                    append: step.append,
                    truncate: !step.append && step.offset.is_none(),
                    ..How::default()
                };
                let mode = step.mode.map_or(0o644, |mode| mode.0);
                let file = self.open_for_step(who, path, how, mode)?;
                let written =
                    self.write_file(who, file, step.offset, step.data.as_bytes()).of(call);
                self.close(file);
                written?
            }
            (None, Some(name)) => {
                let file = self.fd(who, name).of("write")?;
                self.deny(self.files[file].path_only, &rules::PATH_FD, Errno::EBADF).of(call)?;
                self.write_file(who, file, step.offset, step.data.as_bytes()).of(call)?
            }
            (None, None) => return self.bad_fd("write"),
        };
        Ok(Outcome::values([("length", Value::Number(written as i64))]))
    }

    fn step_truncate(&mut self, who: ProcId, step: &op::Truncate) -> Performed {
        let cred = Rc::clone(&self.processes[who].cred);
        if let (None, Some(name)) = (&step.path, &step.fd) {
            let file = self.open_fd(who, name).of("ftruncate")?;
            let open = &self.files[file];
            // EINVAL and not EBADF: ftruncate(2).
            let closed = !open.writable;
            let place = open.place;
            self.deny(closed, &rules::FTRUNCATE_READ, Errno::EINVAL).of("ftruncate")?;
            return done(self.vfs_ftruncate(&cred, place, step.length).of("ftruncate"));
        }
        let path = step.path.as_ref().map_or("", |path| path.as_str());
        if i64::try_from(step.length).is_err() {
            return Err(Failure { halt: Halt::Refused(Errno::EINVAL), syscall: "truncate" });
        }
        let place = self.walk(who, None, path, Walk::default()).of("truncate")?;
        done(self.vfs_truncate(&cred, place, step.length).of("truncate"))
    }

    fn step_close(&mut self, who: ProcId, step: &op::Close) -> Performed {
        let file = self.processes[who].fds.remove(&step.fd);
        match file {
            Some(file) => self.close(file),
            None => return self.bad_fd("close"),
        }
        Ok(Outcome::done())
    }

    fn step_rename(&mut self, who: ProcId, step: &op::Rename) -> Performed {
        let how = RenameHow {
            noreplace: step.flags.contains(&RenameFlag::Noreplace),
            exchange: step.flags.contains(&RenameFlag::Exchange),
            whiteout: step.flags.contains(&RenameFlag::Whiteout),
            mount: None,
        };
        let renamed = self.sys_rename(who, step.from.as_str(), step.to.as_str(), how);
        done(renamed.of("renameat2"))
    }

    fn step_readlink(&mut self, who: ProcId, step: &op::Readlink) -> Performed {
        let place = self.walk(who, None, step.path.as_str(), Walk::NO_FOLLOW).of("readlink")?;
        let is_link =
            self.file_type(self.inode(place.dentry)) == crate::model::machine::FileType::Symlink;
        if !is_link {
            return self.refuse_by(&rules::READLINK_OTHER, Errno::EINVAL).of("readlink");
        }
        self.touch_atime(place);
        let target = self.fs_readlink(place.dentry).of("readlink")?;
        Ok(Outcome::values([("target", (&*target).into())]))
    }

    fn step_mknod(&mut self, who: ProcId, step: &op::Mknod) -> Performed {
        let (major, minor) = step.rdev.map_or((0, 0), |rdev| (rdev.major, rdev.minor));
        let kind = match step.kind {
            NodeType::File => NewKind::File,
            NodeType::Char => NewKind::Char(major, minor),
            NodeType::Block => NewKind::Block(major, minor),
            NodeType::Fifo => NewKind::Fifo,
            NodeType::Socket => NewKind::Socket,
        };
        let mode = step.mode.map_or(0o644, |mode| mode.0);
        done(self.sys_mknod(who, step.path.as_str(), kind, mode).of("mknod"))
    }

    fn step_chmod(&mut self, who: ProcId, step: &op::Chmod) -> Performed {
        let (place, call) = self.target(
            who,
            step.path.as_ref(),
            step.fd.as_ref(),
            Walk::default(),
            ["chmod", "fchmod"],
        )?;
        let cred = Rc::clone(&self.processes[who].cred);
        done(self.vfs_chmod(&cred, place, step.mode.0).of(call))
    }

    fn step_chown(&mut self, who: ProcId, step: &op::Chown) -> Performed {
        let walk = Walk { follow: step.follow, ..Walk::default() };
        let calls = ["fchownat", "fchown"];
        let (place, call) = self.target(who, step.path.as_ref(), step.fd.as_ref(), walk, calls)?;
        let cred = Rc::clone(&self.processes[who].cred);
        done(self.vfs_chown(&cred, place, step.uid, step.gid).of(call))
    }

    fn step_utimes(&mut self, who: ProcId, step: &op::Utimes) -> Performed {
        let omitted = |time| matches!(time, None | Some(Timestamp::Omit));
        if omitted(step.atime) && omitted(step.mtime) && self.by(&rules::UTIMES_OMIT) {
            return Ok(Outcome::done());
        }
        let walk = Walk { follow: step.follow, ..Walk::default() };
        let calls = ["utimensat", "futimens"];
        let (place, call) = self.target(who, step.path.as_ref(), step.fd.as_ref(), walk, calls)?;
        let cred = Rc::clone(&self.processes[who].cred);
        done(self.vfs_utimes(&cred, place, step.atime, step.mtime).of(call))
    }

    fn step_stat(&mut self, who: ProcId, step: &op::Stat) -> Performed {
        let place = match (&step.path, &step.fd) {
            (Some(path), _) => {
                let start = self.start_of(who, step.dirfd.as_ref(), "statx")?;
                let walk = Walk { follow: step.follow, ..Walk::default() };
                self.walk(who, start, path.as_str(), walk).of("statx")?
            }
            (None, Some(name)) => self.fd_place(who, name).of("statx")?,
            (None, None) => return self.bad_fd("statx"),
        };
        self.stat(who, place).of("statx").map(Outcome::Ok)
    }

    /// What statx(2) tells a process of a place.
    pub fn stat(&mut self, who: ProcId, place: Place) -> Result<Values, Halt> {
        if self.is_there_alone(place.dentry) {
            return Err(Halt::Unknown("what is in a proc or sysfs is not modelled"));
        }
        let attr = self.fs_getattr(place.dentry)?;
        let (uid, gid) = self.shown_owner(who, place, &attr);
        let mut values = Values::new();
        let mut add = |name: &str, value: Value| drop(values.insert(name.into(), value));
        add("type", attr.kind.word().into());
        add("mode", format!("{:04o}", attr.mode).into());
        add("uid", uid.into());
        add("gid", gid.into());
        if let Some(size) = attr.size {
            add("size", Value::Number(size as i64));
        }
        if let Some(blocks) = attr.blocks {
            add("blocks", Value::Number(blocks as i64));
        }
        add("nlink", attr.nlink.into());
        if let Some((major, minor)) = attr.rdev {
            add("rdev", format!("{major}:{minor}").into());
        }
        add("ino", inode(&attr));
        // Which numbers a disk gives out is its own business, and they may be those of another file system.
        if self.loops.is_empty() {
            add("ino_number", Value::Identity(Class::Number, attr.ino.to_compact_string()));
        }
        add("dev", device(&attr));
        add("atime", time(attr.atime));
        add("mtime", time(attr.mtime));
        add("ctime", time(attr.ctime));
        // STATX_ATTR_MOUNT_ROOT came with Linux 5.8.
        if self.profile.at_least(5, 8) {
            let is_root = self.mounts[place.mount].root == place.dentry;
            add("mount_root", is_root.into());
        }
        Ok(values)
    }

    /// The owners of a file as a process sees them through a mount.
    pub fn shown_owner(&self, who: ProcId, place: Place, attr: &Attr) -> (u32, u32) {
        let userns = self.processes[who].cred.userns;
        let shown = |kind, id| {
            let seen = self.mounts[place.mount].idmap.as_ref().map_or(id, |map| map.seen(kind, id));
            self.shown_id(userns, kind, seen)
        };
        (shown(IdKind::User, attr.uid), shown(IdKind::Group, attr.gid))
    }

    fn step_list(&mut self, who: ProcId, step: &op::List) -> Performed {
        let (names, dir) = match (&step.path, &step.fd) {
            (Some(path), _) => {
                let how = How { directory: true, ..How::READ };
                let file = self.open_for_step(who, path, how, 0)?;
                let dir = self.files[file].place.dentry;
                let names = self.list_file(file).of("getdents64");
                self.close(file);
                (names?, dir)
            }
            (None, Some(name)) => {
                let file = self.open_fd(who, name).of("getdents64")?;
                (self.list_file(file).of("getdents64")?, self.files[file].place.dentry)
            }
            (None, None) => return self.bad_fd("getdents64"),
        };
        if !names.is_empty() && self.is_workdir(dir) {
            return Ok(Outcome::values([("count", Value::Number(names.len() as i64))]));
        }
        Ok(named(&names))
    }

    fn step_getxattr(&mut self, who: ProcId, step: &op::Getxattr) -> Performed {
        let (place, call) = self.xattr_target(
            who,
            step.path.as_ref(),
            step.fd.as_ref(),
            step.follow,
            ["getxattr", "lgetxattr", "fgetxattr"],
        )?;
        let cred = Rc::clone(&self.processes[who].cred);
        let value = self.vfs_getxattr(&cred, place, &step.name).of(call)?;
        let length = ("length", Value::Number(value.len() as i64));
        let mark = Value::of_mark(&step.name, &value);
        let value = mark.unwrap_or_else(|| text(&value).into());
        Ok(Outcome::values([("value", value), length]))
    }

    fn step_setxattr(&mut self, who: ProcId, step: &op::Setxattr) -> Performed {
        let (place, call) = self.xattr_target(
            who,
            step.path.as_ref(),
            step.fd.as_ref(),
            step.follow,
            ["setxattr", "lsetxattr", "fsetxattr"],
        )?;
        let value = step.bytes();
        let create = step.flag == Some(XattrFlag::Create);
        let replace = step.flag == Some(XattrFlag::Replace);
        let cred = Rc::clone(&self.processes[who].cred);
        done(self.vfs_setxattr(&cred, place, &step.name, &value, create, replace).of(call))
    }

    fn step_removexattr(&mut self, who: ProcId, step: &op::Removexattr) -> Performed {
        let (place, call) = self.xattr_target(
            who,
            step.path.as_ref(),
            step.fd.as_ref(),
            step.follow,
            ["removexattr", "lremovexattr", "fremovexattr"],
        )?;
        let cred = Rc::clone(&self.processes[who].cred);
        done(self.vfs_removexattr(&cred, place, &step.name).of(call))
    }

    fn step_listxattr(&mut self, who: ProcId, step: &op::Listxattr) -> Performed {
        let (place, call) = self.xattr_target(
            who,
            step.path.as_ref(),
            step.fd.as_ref(),
            step.follow,
            ["listxattr", "llistxattr", "flistxattr"],
        )?;
        let cred = Rc::clone(&self.processes[who].cred);
        let mut names = self.vfs_listxattr(&cred, place).of(call)?;
        names.sort();
        Ok(named(&names))
    }

    fn step_statfs(&mut self, who: ProcId, step: &op::Statfs) -> Performed {
        let place = self.walk(who, None, step.path.as_str(), Walk::default()).of("statfs")?;
        let sb = self.dentries[place.dentry].sb;
        let kind = match self.supers[sb].kind {
            FsType::Tmpfs | FsType::Devices | FsType::Libraries => "tmpfs",
            FsType::Ramfs => "ramfs",
            FsType::Overlay => "overlay",
            FsType::Proc => "proc",
            FsType::Sysfs => "sysfs",
            FsType::Devpts => "devpts",
            FsType::Mqueue => "mqueue",
            FsType::Cgroup2 => "cgroup2",
            FsType::Ext4 => "ext4",
            FsType::Xfs => "xfs",
            FsType::Btrfs => "btrfs",
            FsType::Nfs => "nfs",
            FsType::Nsfs => "nsfs",
        };
        let flags = self.mounts[place.mount].flags;
        let shown = [
            (flags.atime == Atime::Noatime, "noatime"),
            (flags.nodev, "nodev"),
            (flags.nodiratime, "nodiratime"),
            (flags.noexec, "noexec"),
            (flags.nosuid, "nosuid"),
            (flags.atime == Atime::Relatime, "relatime"),
            (self.is_readonly(place.mount), "ro"),
        ];
        let flags =
            shown.into_iter().filter(|(on, _)| *on).map(|(_, word)| Value::from(word)).collect();
        Ok(Outcome::values([("type", kind.into()), ("flags", Value::List(flags))]))
    }

    fn step_access(&mut self, who: ProcId, step: &op::Access) -> Performed {
        let wants = |purpose| step.purposes.contains(&purpose);
        let access = Access {
            read: wants(AccessPurpose::Read),
            write: wants(AccessPurpose::Write),
            execute: wants(AccessPurpose::Execute),
        };
        let place = self.walk(who, None, step.path.as_str(), Walk::default()).of("faccessat2")?;
        done(self.may_access(who, place, access).of("faccessat2"))
    }

    fn step_flock(&mut self, who: ProcId, step: &op::Flock) -> Performed {
        let file = self.open_fd(who, &step.fd).of("flock")?;
        let lock = match step.lock {
            LockKind::Shared => Some(Lock::Shared),
            LockKind::Exclusive => Some(Lock::Exclusive),
            LockKind::Unlock => None,
        };
        done(self.lock_file(file, lock).of("flock"))
    }

    fn may_access(&mut self, who: ProcId, place: Place, access: Access) -> Result<(), Halt> {
        use crate::model::machine::FileType;
        let cred = Rc::clone(&self.processes[who].cred);
        let kind = self.file_type(self.inode(place.dentry));
        let noexec = self.mounts[place.mount].flags.noexec;
        let closed = access.execute && kind == FileType::File && noexec;
        self.deny(closed, &rules::ACCESS_NOEXEC, Errno::EACCES)?;
        let asked = self.nfs_access(place.dentry, access)?;
        self.may(&cred, place, asked)?;
        let special =
            matches!(kind, FileType::Char | FileType::Block | FileType::Fifo | FileType::Socket);
        let readonly = access.write && !special && self.is_readonly(place.mount);
        self.deny(readonly, &rules::ACCESS_RO, Errno::EROFS)
    }
}

fn done(result: Result<(), Failure>) -> Performed {
    result.map(|()| Outcome::done())
}

/// The inode: its number says nothing without its device.
pub fn inode(attr: &Attr) -> Value {
    Value::Identity(Class::Ino, format_compact!("{}:{}", attr.dev, attr.ino))
}

/// The device of a file.
pub fn device(attr: &Attr) -> Value {
    Value::Identity(Class::Dev, attr.dev.to_compact_string())
}

/// A time: what a scenario set as a number, everything else as the moment that it was.
pub fn time(time: Time) -> Value {
    match time {
        // What is later than this is told from the clock's by nobody.
        Time::Set(seconds) if seconds < 1_000_000_000 => Value::Number(seconds),
        Time::Set(seconds) => Value::Identity(Class::Time, seconds.to_compact_string()),
        Time::Event(event) => Value::Identity(Class::Time, format_compact!("event {event}")),
    }
}

fn named(names: &[Rc<str>]) -> Outcome {
    let count = Value::Number(names.len() as i64);
    let names = names.iter().map(|name| Value::from(&**name)).collect();
    Outcome::values([("names", Value::List(names)), ("count", count)])
}
