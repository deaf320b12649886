//! Opening files, and what is done with open ones.

use std::rc::Rc;

use super::fs::NewKind;
use super::permission::Access;
use super::walk::{Last, Parent, Walk};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::ids::IdKind;
use crate::model::machine::{
    Atime, Cred, DentryId, FileId, FileType, FsType, Kind, Lock, Machine, OpenFile, Opened, Place,
    ProcId, Time,
};
use crate::model::rules::files as rules;
use crate::scenario::operation::OpenFlag;
use crate::scenario::scalar::{Errno, Name};

/// How a file is opened: flags of open(2).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "open(2) explains them")]
pub struct How {
    pub read: bool,
    pub write: bool,
    pub create: bool,
    pub exclusive: bool,
    pub truncate: bool,
    pub append: bool,
    pub directory: bool,
    pub nofollow: bool,
    pub path_only: bool,
    pub tmpfile: bool,
    pub noatime: bool,
    pub nonblock: bool,
}

impl How {
    /// For reading.
    pub const READ: Self = Self { read: true, ..Self::NONE };
    const NONE: Self = Self {
        read: false,
        write: false,
        create: false,
        exclusive: false,
        truncate: false,
        append: false,
        directory: false,
        nofollow: false,
        path_only: false,
        tmpfile: false,
        noatime: false,
        nonblock: false,
    };

    /// The flags of a step.
    pub fn of(flags: &[OpenFlag]) -> Self {
        let has = |flag| flags.contains(&flag);
        let write = has(OpenFlag::Wronly) || has(OpenFlag::Rdwr);
        let path_only = has(OpenFlag::Path);
        let how = Self {
            read: !has(OpenFlag::Wronly) || has(OpenFlag::Rdwr),
            write,
            create: has(OpenFlag::Creat),
            exclusive: has(OpenFlag::Excl),
            truncate: has(OpenFlag::Trunc),
            append: has(OpenFlag::Append),
            directory: has(OpenFlag::Directory) || has(OpenFlag::Tmpfile),
            nofollow: has(OpenFlag::Nofollow),
            path_only,
            tmpfile: has(OpenFlag::Tmpfile),
            noatime: has(OpenFlag::Noatime),
            nonblock: has(OpenFlag::Nonblock),
        };
        if !path_only {
            return how;
        }
        // O_PATH leaves all others without effect but these: open(2).
        Self { directory: how.directory, nofollow: how.nofollow, path_only, ..Self::NONE }
    }
}

impl Machine<'_> {
    /// openat(2): an open file that no descriptor leads to yet.
    pub fn sys_open(
        &mut self,
        who: ProcId,
        start: Option<Place>,
        path: &str,
        how: How,
        mode: u32,
    ) -> Res<FileId> {
        let both = how.create && how.directory && !how.tmpfile;
        self.deny(both, &rules::OPEN_CREATE_DIRECTORY, Errno::EINVAL)?;
        self.deny(how.tmpfile && !how.write, &rules::OPEN_TMPFILE_READ, Errno::EINVAL)?;
        if how.tmpfile {
            return self.open_tmpfile(who, start, path, how, mode);
        }
        let cred = Rc::clone(&self.processes[who].cred);
        let (place, created) = if how.create {
            self.find_or_create(who, &cred, start, path, how, mode)?
        } else {
            let walk = Walk { follow: !how.nofollow, ..Walk::default() };
            (self.walk(who, start, path, walk)?, false)
        };
        if how.path_only {
            if how.directory && !self.is_dir(place.dentry) {
                return self.refuse_by(&rules::OPEN_NOT_DIR, Errno::ENOTDIR);
            }
            return Ok(self.opened(&cred, place, how));
        }
        if !created {
            self.may_open(&cred, place, how)?;
        }
        let truncate = how.truncate && !created && self.is_file(place.dentry);
        self.fs_open(&cred, place.dentry, how.write, truncate)?;
        if truncate {
            self.truncate_opened(&cred, place)?;
        }
        Ok(self.opened(&cred, place, how))
    }

    fn is_file(&self, dentry: DentryId) -> bool {
        self.file_type(self.inode(dentry)) == FileType::File
    }

    fn opened(&mut self, cred: &Rc<Cred>, place: Place, how: How) -> FileId {
        self.files.add(OpenFile {
            place,
            what: Opened::File,
            readable: how.read,
            writable: how.write,
            append: how.append,
            path_only: how.path_only,
            noatime: how.noatime,
            position: 0,
            listed: false,
            cred: Rc::clone(cred),
            count: 0,
        })
    }

    fn open_tmpfile(
        &mut self,
        who: ProcId,
        start: Option<Place>,
        path: &str,
        how: How,
        mode: u32,
    ) -> Res<FileId> {
        let cred = Rc::clone(&self.processes[who].cred);
        let dir = self.walk(who, start, path, Walk::DIRECTORY)?;
        self.deny(self.is_readonly(dir.mount), &rules::CREATE_RO, Errno::EROFS)?;
        let unmapped = !self.can_own(&cred, dir.mount);
        self.deny(unmapped, &rules::TMPFILE_UNMAPPED, Errno::EOVERFLOW)?;
        self.may(&cred, dir, Access::CHANGE_DIR)?;
        let mode = self.prepared(who, &cred, dir, &NewKind::File, mode);
        let new = self.new_file(&cred, dir, NewKind::File, mode);
        let dentry = self.fs_tmpfile(dir.dentry, new)?;
        Ok(self.opened(&cred, Place { mount: dir.mount, dentry }, how))
    }

    /// The file that O_CREAT opens, and whether it was created for that.
    fn find_or_create(
        &mut self,
        who: ProcId,
        cred: &Rc<Cred>,
        start: Option<Place>,
        path: &str,
        how: How,
        mode: u32,
    ) -> Res<(Place, bool)> {
        let mut parent = self.walk_parent(who, start, path)?;
        // As many links as a walk follows; more are a loop.
        for _ in 0..=40 {
            let Parent { dir, last, slash } = parent;
            let Last::Name(name) = last else {
                return self.refuse_by(&rules::OPEN_CREATE_DIR, Errno::EISDIR);
            };
            if slash {
                return self.refuse_by(&rules::OPEN_CREATE_DIR, Errno::EISDIR);
            }
            let Some(found) = self.child_to_be(dir, &name)? else {
                return self.create(who, cred, dir, &name, mode).map(|place| (place, true));
            };
            let place = self.down(Place { mount: dir.mount, dentry: found });
            self.deny(how.exclusive, &rules::OPEN_EXCLUSIVE, Errno::EEXIST)?;
            if self.file_type(self.inode(place.dentry)) != FileType::Symlink || how.nofollow {
                self.may_create_in_sticky(cred, dir, place)?;
                return Ok((place, false));
            }
            parent = self.follow_parent(who, dir, place)?;
        }
        self.refuse_by(&rules::LINK_LOOP, Errno::ELOOP)
    }

    fn create(
        &mut self,
        who: ProcId,
        cred: &Rc<Cred>,
        dir: Place,
        name: &str,
        mode: u32,
    ) -> Res<Place> {
        self.deny(self.is_readonly(dir.mount), &rules::CREATE_RO, Errno::EROFS)?;
        let mode = self.prepared(who, cred, dir, &NewKind::File, mode);
        let dentry = self.vfs_make(cred, dir, name, NewKind::File, mode)?;
        Ok(Place { mount: dir.mount, dentry })
    }

    /// fs.protected_regular and fs.protected_fifos (`may_create_in_sticky`).
    fn may_create_in_sticky(&self, cred: &Cred, dir: Place, place: Place) -> Res<()> {
        let (level, rule) = match self.file_type(self.inode(place.dentry)) {
            FileType::File => (self.profile.settings.protected_regular, &rules::OPEN_PROTECTED),
            FileType::Fifo => (self.profile.settings.protected_fifos, &rules::OPEN_PROTECTED),
            FileType::Dir => return self.refuse_by(&rules::OPEN_CREATE_DIR, Errno::EISDIR),
            _ => (1, &rules::OPEN_PROTECTED_SPECIAL),
        };
        let parent = self.inode(dir.dentry);
        let mode = self.mode(parent);
        let owner = self.seen_id(place.mount, self.inode(place.dentry), IdKind::User);
        let shared = mode & 0o002 != 0 || (mode & 0o020 != 0 && level >= 2);
        let protected = level > 0
            && mode & 0o1000 != 0
            && shared
            && owner != self.seen_id(dir.mount, parent, IdKind::User)
            && owner != cred.fsuid;
        self.deny(protected, rule, Errno::EACCES)
    }

    /// Whether a file that is there may be opened so (`may_open` and what stands around it).
    pub fn may_open(&mut self, cred: &Rc<Cred>, place: Place, how: How) -> Res<()> {
        let kind = self.file_type(self.inode(place.dentry));
        if how.directory && kind != FileType::Dir {
            return self.refuse_by(&rules::OPEN_NOT_DIR, Errno::ENOTDIR);
        }
        let truncates = how.truncate && kind == FileType::File;
        let readonly = self.is_readonly(place.mount);
        self.deny(truncates && readonly, &rules::OPEN_RO, Errno::EROFS)?;
        let wants_write = how.write || how.truncate;
        match kind {
            FileType::Symlink => return self.refuse_by(&rules::OPEN_NOFOLLOW, Errno::ELOOP),
            FileType::Dir if wants_write => {
                return self.refuse_by(&rules::OPEN_WRITE_DIR, Errno::EISDIR);
            }
            FileType::Char | FileType::Block => {
                let closed = self.mounts[place.mount].flags.nodev || !self.has_devices(place);
                self.deny(closed, &rules::OPEN_NODEV, Errno::EACCES)?;
            }
            _ => {}
        }
        let access = Access { read: how.read, write: wants_write, execute: false };
        self.nfs_may_open(place.dentry, wants_write)?;
        self.may(cred, place, access)?;
        self.deny(how.noatime && !self.owns(cred, place), &rules::OPEN_NOATIME, Errno::EPERM)?;
        let special =
            matches!(kind, FileType::Char | FileType::Block | FileType::Fifo | FileType::Socket);
        self.deny(how.write && readonly && !special, &rules::OPEN_RO, Errno::EROFS)?;
        self.open_special(place, kind, how)
    }

    /// Whether device nodes of a file system can be opened: not those of one that was mounted in a
    /// user namespace (`SB_I_NODEV`).
    pub fn has_devices(&self, place: Place) -> bool {
        let sb = &self.supers[self.dentries[place.dentry].sb];
        sb.kind == FsType::Devices || sb.userns == self.first_userns()
    }

    /// Whether a node is that of a device that a scenario can have made: a loop device, or that of FUSE.
    fn has_driver(&self, place: Place) -> bool {
        match self.inodes[self.real(self.inode(place.dentry))].kind {
            Kind::Char(major, minor) => (major, minor) == crate::model::fuse::DEVICE,
            Kind::Block(major, minor) => self.is_loop_device(major, minor),
            _ => false,
        }
    }

    fn open_special(&self, place: Place, kind: FileType, how: How) -> Res<()> {
        match kind {
            FileType::Socket => self.refuse_by(&rules::OPEN_NO_DRIVER, Errno::ENXIO),
            FileType::Char | FileType::Block => {
                let known = self.supers[self.dentries[place.dentry].sb].kind == FsType::Devices
                    || self.has_driver(place);
                self.deny(!known, &rules::OPEN_NO_DRIVER, Errno::ENXIO)
            }
            FileType::Fifo if how.read && how.write => Ok(()),
            FileType::Fifo => {
                let others = |reads: bool| {
                    self.files.iter().any(|(_, file)| {
                        file.count > 0
                            && self.inode(file.place.dentry) == self.inode(place.dentry)
                            && (if reads { file.readable } else { file.writable })
                    })
                };
                if how.write && !others(true) {
                    if how.nonblock {
                        return self.refuse_by(&rules::OPEN_FIFO_NO_READER, Errno::ENXIO);
                    }
                    return Err(Halt::Unknown("opening a FIFO waits for its other end"));
                }
                if how.read && !how.nonblock && !others(false) {
                    return Err(Halt::Unknown("opening a FIFO waits for its other end"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Keeps an open file under a name of the process; another one of this name is closed.
    pub fn keep(&mut self, who: ProcId, name: &Name, file: FileId) {
        self.files[file].count += 1;
        if let Some(old) = self.processes[who].fds.insert(name.clone(), file) {
            self.close(old);
        }
    }

    /// An open file by its name: EBADF where there is none (any more).
    pub fn fd(&self, who: ProcId, name: &Name) -> Res<FileId> {
        match self.processes[who].fds.get(name) {
            Some(file) => Ok(*file),
            None => self.refuse_by(&rules::BAD_FD, Errno::EBADF),
        }
    }

    /// An open file that is more than a place: EBADF for O_PATH.
    pub fn open_fd(&self, who: ProcId, name: &Name) -> Res<FileId> {
        let file = self.fd(who, name)?;
        self.deny(self.files[file].path_only, &rules::PATH_FD, Errno::EBADF)?;
        Ok(file)
    }

    /// Where an open file is, as the start of a walk or for a call that takes `AT_EMPTY_PATH`.
    pub fn fd_place(&self, who: ProcId, name: &Name) -> Res<Place> {
        self.fd(who, name).map(|file| self.files[file].place)
    }

    /// Closes one descriptor of an open file: the last one lets go of its locks and of a mount that
    /// was never attached.
    pub fn close(&mut self, file: FileId) {
        let open = &mut self.files[file];
        open.count = open.count.saturating_sub(1);
        if open.count > 0 {
            return;
        }
        let inode = self.inode(self.files[file].place.dentry);
        self.inodes[inode].locks.retain(|(holder, _)| *holder != file);
        self.dissolve_detached(file);
    }

    /// Reads from an open file; at its position where there is no offset.
    pub fn read_file(&mut self, file: FileId, offset: Option<u64>, length: usize) -> Res<Vec<u8>> {
        let open = &self.files[file];
        if !open.readable || !matches!(open.what, Opened::File) {
            return self.refuse_by(&rules::BAD_FD, Errno::EBADF);
        }
        let (place, position, noatime) = (open.place, open.position, open.noatime);
        match self.file_type(self.inode(place.dentry)) {
            FileType::Dir => return self.refuse_by(&rules::READ_DIR, Errno::EISDIR),
            FileType::Fifo => return Err(Halt::Unknown("what is in a FIFO is not modelled")),
            _ => {}
        }
        let data = self.fs_read(place.dentry, offset.unwrap_or(position), length)?;
        if !noatime {
            self.touch_atime(place);
        }
        if offset.is_none() {
            self.files[file].position = position + data.len() as u64;
        }
        Ok(data)
    }

    /// Writes to an open file; at its position, or its end with O_APPEND, where there is no offset.
    pub fn write_file(
        &mut self,
        who: ProcId,
        file: FileId,
        offset: Option<u64>,
        data: &[u8],
    ) -> Res<usize> {
        let open = &self.files[file];
        if !open.writable || !matches!(open.what, Opened::File) {
            return self.refuse_by(&rules::BAD_FD, Errno::EBADF);
        }
        let (place, position, append) = (open.place, open.position, open.append);
        let cred = Rc::clone(&open.cred);
        if self.file_type(self.inode(place.dentry)) == FileType::Fifo {
            return Err(Halt::Unknown("what is in a FIFO is not modelled"));
        }
        // O_APPEND counts for pwrite(2) too: pwrite(2), BUGS.
        let at = if append {
            self.fs_getattr(place.dentry)?.size.unwrap_or(0)
        } else {
            offset.unwrap_or(position)
        };
        if at.checked_add(data.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            return refuse(if at > i64::MAX as u64 { Errno::EINVAL } else { Errno::EFBIG });
        }
        // Who writes is asked here, whoever opened the file.
        let writer = Rc::clone(&self.processes[who].cred);
        self.strip_privileges(&writer, place, data.is_empty())?;
        let written = self.fs_write(&cred, place.dentry, at, data)?;
        if offset.is_none() {
            self.files[file].position = at + written as u64;
        }
        Ok(written)
    }

    /// The names in an open directory, sorted.
    pub fn list_file(&mut self, file: FileId) -> Res<Vec<Rc<str>>> {
        let open = &self.files[file];
        if !matches!(open.what, Opened::File) {
            return self.refuse_by(&rules::LIST_NOT_DIR, Errno::ENOTDIR);
        }
        let (place, noatime) = (open.place, open.noatime);
        if !self.is_dir(place.dentry) {
            return self.refuse_by(&rules::LIST_NOT_DIR, Errno::ENOTDIR);
        }
        self.deny(self.is_dead(place.dentry), &rules::LIST_REMOVED, Errno::ENOENT)?;
        let mut names = self.fs_list(place.dentry)?;
        self.files[file].listed = true;
        if !noatime {
            self.touch_atime(place);
        }
        names.sort();
        Ok(names)
    }

    /// flock(2) without waiting; `None` unlocks.
    pub fn lock_file(&mut self, file: FileId, lock: Option<Lock>) -> Res<()> {
        let inode = self.inode(self.files[file].place.dentry);
        if let Some(wanted) = lock {
            let held = self.inodes[inode].locks.iter().any(|(holder, held)| {
                *holder != file && (wanted == Lock::Exclusive || *held == Lock::Exclusive)
            });
            self.deny(held, &rules::FLOCK_HELD, Errno::EAGAIN)?;
        }
        let locks = &mut self.inodes[inode].locks;
        locks.retain(|(holder, _)| *holder != file);
        locks.extend(lock.map(|lock| (file, lock)));
        Ok(())
    }

    /// What a read does to the access time (`touch_atime`).
    pub fn touch_atime(&mut self, place: Place) {
        let sb = self.dentries[place.dentry].sb;
        if self.supers[sb].kind == FsType::Overlay {
            let flags = self.mounts[place.mount].flags;
            let place = self.ovl_atime_place(place.dentry);
            if let Some(upper) = place.filter(|_| !flags.ro && flags.atime != Atime::Noatime) {
                self.touch_atime(upper);
            }
            return;
        }
        if self.is_readonly(place.mount)
            || !matches!(
                self.supers[sb].kind,
                FsType::Tmpfs | FsType::Ramfs | FsType::Ext4 | FsType::Xfs | FsType::Btrfs
            )
        {
            return;
        }
        let flags = self.mounts[place.mount].flags;
        let inode = self.inode(place.dentry);
        let Time::Set(_) = self.inodes[inode].atime else {
            // Nothing that a transcript could show.
            return;
        };
        let is_dir = self.is_dir(place.dentry);
        if (flags.atime == Atime::Noatime || (is_dir && flags.nodiratime))
            && self.by(&rules::NOATIME)
        {
            return;
        }
        // A time that a scenario set is more than a day old.
        if self.by(&rules::ATIME) {
            let now = self.now();
            self.inodes[inode].atime = now;
        }
    }
}
