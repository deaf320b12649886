//! A directory as a file system: each request is answered as who asks.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use nix::unistd::{Gid, Uid, getegid, geteuid, setfsgid, setfsuid};
use rustix::fs::{self, Access, AtFlags, Mode, OFlags};
use rustix::process::{getgid, getuid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use super::files::{Answer, Change, Files};
use crate::sys;

/// Nothing is kept by the kernel: what is asked is what the server says now.
const NO_TIME: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);

/// A directory as a file system.
pub struct Mirror(Mutex<Files>);

impl Mirror {
    /// One that serves this directory.
    pub fn of(root: OwnedFd) -> Self {
        Self(Mutex::new(Files::of(root)))
    }

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

/// Before Linux 5.8 there is only the system call faccessat, which asks for the real ids: meanwhile they are those of who
/// asks, and the file is looked up by them too.
fn access_by_real_ids(path: &str, access: Access, request: &Request) -> Answer<()> {
    let (uid, gid) = (getuid(), getgid());
    let real = |uid, gid| {
        set_thread_res_gid(Some(gid), None, None)?;
        set_thread_res_uid(Some(uid), None, None)
    };
    real(rustix::fs::Uid::from_raw(request.uid()), rustix::fs::Gid::from_raw(request.gid()))?;
    let answer = fs::accessat(fs::CWD, path, access, AtFlags::empty());
    real(uid, gid)?;
    // Both have made the effective ids those for files. What root loses of its capabilities with those for files comes
    // back only where they change back: capabilities(7), effect of user ID changes.
    setfsgid(Gid::from_raw(request.gid()));
    setfsuid(Uid::from_raw(request.uid()));
    answer
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
            let path = files.path(number)?;
            match sys::effective_access(&path, access) {
                Err(nix::errno::Errno::ENOSYS) => access_by_real_ids(&path, access, request),
                answer => answer.map_err(|e| rustix::io::Errno::from_raw_os_error(e as i32)),
            }
        });
        done(answer, reply);
    }
}
