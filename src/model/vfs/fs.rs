//! What a file system answers itself: its inode operations, for what is kept in memory here and for
//! an overlay or an NFS mount there. Who may ask is decided before.

use std::rc::Rc;

use super::attributes::Change;
use crate::model::halt::{Res, refuse};
use crate::model::ids::IdKind;
use crate::model::machine::{
    Cred, Data, Dentry, DentryId, FileType, FsType, Inode, InodeId, Kid, Kind, Machine, MountId,
    Super, SuperId, Time, UserNsId,
};
use crate::model::rules::{disk as disk_rules, files as rules};
use crate::scenario::scalar::Errno;

/// How much one entry adds to the size of a directory of tmpfs: `BOGO_DIRENT_SIZE` of mm/shmem.c.
const ENTRY_SIZE: u64 = 20;
/// Bytes of a page, which is what tmpfs allocates.
const PAGE: u64 = 4096;
/// 512-byte blocks of a page.
const BLOCKS: u64 = PAGE / 512;
/// Shorter targets of symbolic links lie in the inode: `SHORT_SYMLINK_LEN` of mm/shmem.c.
const SHORT_SYMLINK: usize = 128;

/// A file that is to be made.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "stat(2) explains what is named as there")]
pub struct New<'a> {
    pub kind: NewKind<'a>,
    /// Permission bits, the umask applied.
    pub mode: u32,
    /// The owner as it is stored.
    pub uid: Kid,
    pub gid: Kid,
}

/// What is to be made.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "mknod(2) and mkdir(2) explain them")]
pub enum NewKind<'a> {
    Dir,
    File,
    Symlink(&'a str),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

/// How a name is moved: the flags of renameat2(2).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "rename(2) explains them")]
pub struct RenameHow {
    pub noreplace: bool,
    pub exchange: bool,
    pub whiteout: bool,
    /// The mount that it is done through, if it is through one.
    pub mount: Option<MountId>,
}

/// The set-group-ID bit.
const SETGID: u32 = 0o2000;

/// What stat(2) tells, owners as they are stored.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "stat(2) explains what is named as there")]
pub struct Attr {
    pub kind: FileType,
    pub mode: u32,
    pub uid: Kid,
    pub gid: Kid,
    pub size: Option<u64>,
    pub blocks: Option<u64>,
    pub nlink: u32,
    pub rdev: Option<(u32, u32)>,
    /// The device, as an identity.
    pub dev: u64,
    /// The inode number, as an identity.
    pub ino: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
}

/// Whose inode operations count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Memory,
    Overlay,
    Nfs,
    /// Nothing can be changed: proc, sysfs, the libraries of programs.
    Fixed,
}

impl Machine<'_> {
    fn by_whom(&self, dentry: DentryId) -> By {
        match self.supers[self.dentries[dentry].sb].kind {
            FsType::Overlay => By::Overlay,
            FsType::Nfs => By::Nfs,
            FsType::Proc | FsType::Sysfs | FsType::Libraries => By::Fixed,
            _ => By::Memory,
        }
    }

    /// The child of a directory; `None` where there is none (`->lookup`).
    pub fn fs_lookup(&mut self, dir: DentryId, name: &str) -> Res<Option<DentryId>> {
        match self.by_whom(dir) {
            By::Overlay => self.ovl_lookup(dir, name),
            By::Nfs => self.nfs_lookup(dir, name),
            By::Memory => Ok(self.children(dir).and_then(|names| names.get(name)).copied()),
            By::Fixed => self.pseudo_lookup(dir, name),
        }
    }

    pub(super) fn children(
        &self,
        dir: DentryId,
    ) -> Option<&std::collections::BTreeMap<Rc<str>, DentryId>> {
        match &self.inodes[self.inode(dir)].kind {
            Kind::Dir(names) => Some(names),
            _ => None,
        }
    }

    fn children_mut(
        &mut self,
        dir: DentryId,
    ) -> Option<&mut std::collections::BTreeMap<Rc<str>, DentryId>> {
        let inode = self.inode(dir);
        match &mut self.inodes[inode].kind {
            Kind::Dir(names) => Some(names),
            _ => None,
        }
    }

    /// The names that a directory lists, in no order (`->iterate_shared`).
    pub fn fs_list(&mut self, dir: DentryId) -> Res<Vec<Rc<str>>> {
        match self.by_whom(dir) {
            By::Overlay => self.ovl_list(dir),
            By::Nfs => self.nfs_list(dir),
            By::Memory => Ok(self
                .children(dir)
                .map_or_else(Vec::new, |names| names.keys().cloned().collect())),
            By::Fixed => Err(crate::model::halt::Halt::Unknown(
                "what proc, sysfs or a directory of libraries lists is not modelled",
            )),
        }
    }

    /// Makes a file (`->create`, `->mkdir`, `->mknod`, `->symlink`); the name is free.
    pub fn fs_make(
        &mut self,
        cred: &Rc<Cred>,
        dir: DentryId,
        name: &str,
        new: New<'_>,
    ) -> Res<DentryId> {
        match self.by_whom(dir) {
            By::Overlay => self.ovl_make(dir, name, new),
            By::Nfs => self.nfs_make(cred, dir, name, new),
            By::Fixed => refuse(Errno::EPERM),
            By::Memory => {
                let inode = self.new_inode(self.dentries[dir].sb, new)?;
                Ok(self.enter(dir, name, inode))
            }
        }
    }

    /// Makes a file without a name (`->tmpfile`).
    pub fn fs_tmpfile(&mut self, dir: DentryId, new: New<'_>) -> Res<DentryId> {
        match self.by_whom(dir) {
            By::Overlay => self.ovl_tmpfile(dir, new),
            By::Nfs | By::Fixed => refuse(Errno::EOPNOTSUPP),
            By::Memory => {
                let sb = self.dentries[dir].sb;
                let inode = self.new_inode(sb, new)?;
                self.inodes[inode].nlink = 0;
                let name = Rc::from("#");
                Ok(self.dentries.add(Dentry { sb, parent: dir, name, inode, unlinked: true }))
            }
        }
    }

    /// A new file system with an empty root directory.
    pub fn new_super(&mut self, kind: FsType, userns: UserNsId, root: New<'_>) -> SuperId {
        let sb = self.supers.next();
        let dentry = self.dentries.next();
        self.supers.add(Super {
            kind,
            userns,
            root: dentry,
            shows: None,
            readonly: false,
            last_number: 0,
            free_pages: None,
            free_inodes: None,
            overlay: None,
            nfs: None,
        });
        let inode = self.inodes.next();
        self.dentries.add(Dentry { sb, parent: dentry, name: "/".into(), inode, unlinked: false });
        // Without limits there is nothing that could be used up.
        let _ = self.new_inode(sb, root);
        sb
    }

    /// An inode in memory; the file system may be full.
    pub fn new_inode(&mut self, sb: SuperId, new: New<'_>) -> Res<InodeId> {
        let pages = match new.kind {
            NewKind::Symlink(target) if target.len() >= SHORT_SYMLINK => 1,
            _ => 0,
        };
        self.take_inode(sb)?;
        self.take_pages(sb, pages)?;
        let now = self.now();
        let (kind, nlink) = match new.kind {
            NewKind::Dir => (Kind::Dir(std::collections::BTreeMap::new()), 2),
            NewKind::File => (Kind::File(Data::default()), 1),
            NewKind::Symlink(target) => (Kind::Symlink(target.into()), 1),
            NewKind::Char(major, minor) => (Kind::Char(major, minor), 1),
            NewKind::Block(major, minor) => (Kind::Block(major, minor), 1),
            NewKind::Fifo => (Kind::Fifo, 1),
            NewKind::Socket => (Kind::Socket, 1),
        };
        let this = &mut self.supers[sb];
        this.last_number += 1;
        let number = this.last_number;
        let mode = if matches!(new.kind, NewKind::Symlink(_)) { 0o777 } else { new.mode };
        Ok(self.inodes.add(Inode {
            sb,
            number,
            kind,
            mode,
            uid: new.uid,
            gid: new.gid,
            nlink,
            atime: now,
            mtime: now,
            ctime: now,
            xattrs: std::collections::BTreeMap::new(),
            locks: Vec::new(),
        }))
    }

    fn take_inode(&mut self, sb: SuperId) -> Res<()> {
        match &mut self.supers[sb].free_inodes {
            Some(0) => self.refuse_by(&rules::WRITE_FULL, Errno::ENOSPC),
            Some(free) => {
                *free -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn take_pages(&mut self, sb: SuperId, pages: u64) -> Res<()> {
        match &mut self.supers[sb].free_pages {
            Some(free) if *free < pages => self.refuse_by(&rules::WRITE_FULL, Errno::ENOSPC),
            Some(free) => {
                *free -= pages;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Gives a name in a directory to an inode.
    pub fn enter(&mut self, dir: DentryId, name: &str, inode: InodeId) -> DentryId {
        let name: Rc<str> = name.into();
        let sb = self.dentries[dir].sb;
        let dentry = Dentry { sb, parent: dir, name: Rc::clone(&name), inode, unlinked: false };
        let dentry = self.dentries.add(dentry);
        self.put(dir, name, dentry);
        dentry
    }

    /// Puts a dentry into a directory, which has changed by that.
    fn put(&mut self, dir: DentryId, name: Rc<str>, dentry: DentryId) {
        self.dentries[dentry].parent = dir;
        self.dentries[dentry].name = Rc::clone(&name);
        if let Some(names) = self.children_mut(dir) {
            names.insert(name, dentry);
        }
        if self.is_dir(dentry) {
            let parent = self.inode(dir);
            self.inodes[parent].nlink += 1;
        }
        self.changed(dir);
    }

    /// Takes a dentry out of its directory.
    fn take(&mut self, dentry: DentryId) {
        let (dir, name) = (self.dentries[dentry].parent, Rc::clone(&self.dentries[dentry].name));
        if let Some(names) = self.children_mut(dir) {
            names.remove(&name);
        }
        if self.is_dir(dentry) {
            let parent = self.inode(dir);
            self.inodes[parent].nlink -= 1;
        }
        self.changed(dir);
    }

    fn changed(&mut self, dir: DentryId) {
        let now = self.now();
        let inode = self.inode(dir);
        self.inodes[inode].mtime = now;
        self.inodes[inode].ctime = now;
    }

    /// Makes one more name of a file (`->link`); the name is free.
    pub fn fs_link(
        &mut self,
        cred: &Rc<Cred>,
        old: DentryId,
        dir: DentryId,
        name: &str,
    ) -> Res<DentryId> {
        match self.by_whom(dir) {
            By::Overlay => self.ovl_link(old, dir, name),
            By::Nfs => self.nfs_link(cred, old, dir, name),
            By::Fixed => refuse(Errno::EPERM),
            By::Memory => {
                // Each name takes an inode of the limit: mm/shmem.c shmem_link().
                let inode = self.inode(old);
                self.take_inode(self.inodes[inode].sb)?;
                let now = self.now();
                self.inodes[inode].nlink += 1;
                self.inodes[inode].ctime = now;
                Ok(self.enter(dir, name, inode))
            }
        }
    }

    /// Removes a name (`->unlink`, `->rmdir`): ENOTEMPTY is the file system's to say.
    pub fn fs_remove(&mut self, cred: &Rc<Cred>, victim: DentryId) -> Res<()> {
        match self.by_whom(victim) {
            By::Overlay => self.ovl_remove(victim),
            By::Nfs => self.nfs_remove(cred, victim),
            By::Fixed => refuse(Errno::EPERM),
            By::Memory => {
                let full = self.children(victim).is_some_and(|names| !names.is_empty());
                self.deny(full, &rules::RMDIR_NOT_EMPTY, Errno::ENOTEMPTY)?;
                self.take(victim);
                self.let_go(victim);
                Ok(())
            }
        }
    }

    /// A dentry that has no name any more.
    fn let_go(&mut self, dentry: DentryId) {
        let now = self.now();
        self.dentries[dentry].unlinked = true;
        let id = self.inode(dentry);
        let inode = &mut self.inodes[id];
        inode.ctime = now;
        inode.nlink = match inode.kind {
            Kind::Dir(_) => 0,
            _ => inode.nlink.saturating_sub(1),
        };
        // What is still open keeps its pages; that only matters where a limit is small.
        let sb = inode.sb;
        let pages = match &inode.kind {
            Kind::File(data) if inode.nlink == 0 => data.pages.len() as u64,
            _ => 0,
        };
        let sb = &mut self.supers[sb];
        sb.free_pages = sb.free_pages.map(|free| free + pages);
        sb.free_inodes = sb.free_inodes.map(|free| free + 1);
    }

    /// Renames (`->rename`); `target` is what has the new name already.
    pub fn fs_rename(
        &mut self,
        cred: &Rc<Cred>,
        old: DentryId,
        new_dir: DentryId,
        new_name: &str,
        target: Option<DentryId>,
        how: RenameHow,
    ) -> Res<()> {
        match self.by_whom(old) {
            By::Overlay => self.ovl_rename(old, new_dir, new_name, target, how),
            By::Nfs => self.nfs_rename(cred, old, new_dir, new_name, target, how),
            By::Fixed => refuse(Errno::EPERM),
            By::Memory => self.memory_rename(cred, old, new_dir, new_name, target, how),
        }
    }

    fn memory_rename(
        &mut self,
        cred: &Cred,
        old: DentryId,
        new_dir: DentryId,
        new_name: &str,
        target: Option<DentryId>,
        how: RenameHow,
    ) -> Res<()> {
        let (old_dir, old_name) = (self.dentries[old].parent, Rc::clone(&self.dentries[old].name));
        let now = self.now();
        if let (true, Some(target)) = (how.exchange, target) {
            self.take(old);
            self.take(target);
            self.put(new_dir, new_name.into(), old);
            self.put(old_dir, old_name, target);
            let inode = self.inode(target);
            self.inodes[inode].ctime = now;
        } else {
            if let Some(target) = target {
                let full = self.children(target).is_some_and(|names| !names.is_empty());
                self.deny(full, &rules::RMDIR_NOT_EMPTY, Errno::ENOTEMPTY)?;
                self.take(target);
                self.let_go(target);
            }
            let whiteout =
                if how.whiteout { Some(self.new_whiteout(cred, how, old_dir)?) } else { None };
            self.take(old);
            self.put(new_dir, new_name.into(), old);
            if let Some(whiteout) = whiteout {
                self.enter(old_dir, &old_name, whiteout);
            }
        }
        let inode = self.inode(old);
        self.inodes[inode].ctime = now;
        Ok(())
    }

    /// What a rename leaves under the old name: a file of whoever renames, as any new one.
    fn new_whiteout(&mut self, cred: &Cred, how: RenameHow, dir: DentryId) -> Res<InodeId> {
        let mapped = how.mount.filter(|mount| self.mounts[*mount].idmap.is_some());
        let mapped = mapped.filter(|_| self.by(&rules::RENAME_WHITEOUT_MAPPED));
        let stored = |kind, id| mapped.map_or(id, |mount| self.stored_id(mount, kind, id));
        let uid = stored(IdKind::User, cred.fsuid);
        let parent = &self.inodes[self.inode(dir)];
        let inherited = parent.mode & SETGID != 0;
        let gid = if inherited { parent.gid } else { stored(IdKind::Group, cred.fsgid) };
        let new = New { kind: NewKind::Char(0, 0), mode: 0, uid, gid };
        self.new_inode(self.dentries[dir].sb, new)
    }

    /// Changes attributes that may be changed (`->setattr`).
    pub fn fs_setattr(&mut self, cred: &Rc<Cred>, dentry: DentryId, change: &Change) -> Res<()> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_setattr(dentry, change),
            By::Nfs => self.nfs_setattr(cred, dentry, change),
            By::Memory | By::Fixed => {
                let now = self.now();
                let id = self.inode(dentry);
                let same = self.keeps_length(dentry, change);
                if let Some(size) = change.size {
                    let freed = match &mut self.inodes[id].kind {
                        Kind::File(data) => data.truncate(size),
                        _ => 0,
                    };
                    let sb = self.inodes[id].sb;
                    let sb = &mut self.supers[sb];
                    sb.free_pages = sb.free_pages.map(|free| free + freed);
                    if !same {
                        self.inodes[id].mtime = now;
                    }
                }
                let inode = &mut self.inodes[id];
                inode.mode = change.mode.unwrap_or(inode.mode);
                inode.uid = change.uid.unwrap_or(inode.uid);
                inode.gid = change.gid.unwrap_or(inode.gid);
                inode.atime = change.atime.unwrap_or(inode.atime);
                inode.mtime = change.mtime.unwrap_or(inode.mtime);
                inode.ctime = now;
                Ok(())
            }
        }
    }

    fn is_regular_file(&self, dentry: DentryId) -> bool {
        matches!(self.inodes[self.inode(dentry)].kind, Kind::File(_))
    }

    /// Whether truncate(2) is given the length that a file without blocks has.
    fn keeps_length(&self, dentry: DentryId, change: &Change) -> bool {
        let same = match &self.inodes[self.inode(dentry)].kind {
            Kind::File(data) => {
                change.size == Some(data.size) && data.pages.is_empty() && !change.of_open
            }
            _ => false,
        };
        same && self.by(&rules::TRUNCATE_SAME)
    }

    /// An extended attribute; ENODATA where there is none (`->getxattr`).
    pub fn fs_getxattr(&mut self, dentry: DentryId, name: &str) -> Res<Vec<u8>> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_getxattr(dentry, name),
            By::Nfs => self.nfs_getxattr(dentry, name),
            By::Memory => {
                let found = self.inodes[self.inode(dentry)].xattrs.get(name).cloned();
                found.ok_or_else(|| Errno::ENODATA.into())
            }
            By::Fixed => refuse(Errno::EOPNOTSUPP),
        }
    }

    /// Sets an extended attribute; `create` and `replace` are the flags of setxattr(2).
    pub fn fs_setxattr(
        &mut self,
        cred: &Rc<Cred>,
        dentry: DentryId,
        name: &str,
        value: &[u8],
        create: bool,
        replace: bool,
    ) -> Res<()> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_setxattr(dentry, name, value, create, replace),
            By::Nfs => self.nfs_setxattr(cred, dentry, name, value, create, replace),
            By::Fixed => refuse(Errno::EOPNOTSUPP),
            By::Memory => {
                let now = self.now();
                let id = self.inode(dentry);
                let inode = &mut self.inodes[id];
                match inode.xattrs.contains_key(name) {
                    true if create => return refuse(Errno::EEXIST),
                    false if replace => return refuse(Errno::ENODATA),
                    _ => {}
                }
                inode.xattrs.insert(name.into(), value.to_vec());
                inode.ctime = now;
                Ok(())
            }
        }
    }

    /// Removes an extended attribute; ENODATA where there is none.
    pub fn fs_removexattr(&mut self, cred: &Rc<Cred>, dentry: DentryId, name: &str) -> Res<()> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_removexattr(dentry, name),
            By::Nfs => self.nfs_removexattr(cred, dentry, name),
            By::Fixed => refuse(Errno::EOPNOTSUPP),
            By::Memory => {
                let now = self.now();
                let id = self.inode(dentry);
                let inode = &mut self.inodes[id];
                if inode.xattrs.remove(name).is_none() {
                    return refuse(Errno::ENODATA);
                }
                inode.ctime = now;
                Ok(())
            }
        }
    }

    /// The names of the extended attributes (`->listxattr`).
    pub fn fs_listxattr(&mut self, dentry: DentryId) -> Res<Vec<Rc<str>>> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_listxattr(dentry),
            By::Nfs => self.nfs_listxattr(dentry),
            By::Memory => Ok(self.inodes[self.inode(dentry)].xattrs.keys().cloned().collect()),
            By::Fixed => Ok(Vec::new()),
        }
    }

    /// Opens a file that may be opened (`->open`): an overlay copies up what is to be written.
    pub fn fs_open(
        &mut self,
        cred: &Rc<Cred>,
        dentry: DentryId,
        write: bool,
        truncate: bool,
    ) -> Res<()> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_open(dentry, write, truncate),
            By::Nfs => self.nfs_open(cred, dentry, write, truncate),
            By::Memory | By::Fixed => Ok(()),
        }
    }

    /// Up to `length` bytes of a file from an offset.
    pub fn fs_read(&mut self, dentry: DentryId, offset: u64, length: usize) -> Res<Vec<u8>> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_read(dentry, offset, length),
            By::Nfs => self.nfs_read(dentry, offset, length),
            By::Memory => match &self.inodes[self.inode(dentry)].kind {
                Kind::File(data) if data.image.is_some() => {
                    Err(crate::model::halt::Halt::Unknown("what is on a disk is not modelled"))
                }
                Kind::File(data) => Ok(data.read(offset, length)),
                // The null device has nothing to say.
                Kind::Char(1, 3) => Ok(Vec::new()),
                _ => Err(crate::model::halt::Halt::Unknown("what a device says is not modelled")),
            },
            By::Fixed => Err(crate::model::halt::Halt::Unknown(
                "what a file of proc or sysfs says is not modelled",
            )),
        }
    }

    /// Writes to an open file; gives how many bytes were written.
    pub fn fs_write(
        &mut self,
        cred: &Rc<Cred>,
        dentry: DentryId,
        offset: u64,
        data: &[u8],
    ) -> Res<usize> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_write(dentry, offset, data),
            By::Nfs => self.nfs_write(cred, dentry, offset, data),
            By::Memory => self.memory_write(dentry, offset, data),
            By::Fixed if self.is_userns_limit(dentry) => self.set_userns_limit(cred, data),
            By::Fixed => Err(crate::model::halt::Halt::Unknown(
                "writing to a file of proc or sysfs is not modelled",
            )),
        }
    }

    fn memory_write(&mut self, dentry: DentryId, offset: u64, data: &[u8]) -> Res<usize> {
        if data.is_empty() && self.is_regular_file(dentry) && self.by(&rules::WRITE_NOTHING) {
            return Ok(0);
        }
        let now = self.now();
        let id = self.inode(dentry);
        let sb = self.inodes[id].sb;
        let mut free = self.supers[sb].free_pages;
        let Kind::File(file) = &mut self.inodes[id].kind else {
            return Ok(data.len());
        };
        let written = file.write(offset, data, &mut free);
        self.supers[sb].free_pages = free;
        if written == 0 && !data.is_empty() {
            return self.refuse_by(&rules::WRITE_FULL, Errno::ENOSPC);
        }
        self.inodes[id].mtime = now;
        self.inodes[id].ctime = now;
        Ok(written)
    }

    /// The target of a symbolic link.
    pub fn fs_readlink(&mut self, dentry: DentryId) -> Res<Rc<str>> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_readlink(dentry),
            _ => match &self.inodes[self.real(self.inode(dentry))].kind {
                Kind::Symlink(target) => Ok(Rc::clone(target)),
                _ => refuse(Errno::EINVAL),
            },
        }
    }

    /// What stat(2) tells (`->getattr`).
    pub fn fs_getattr(&mut self, dentry: DentryId) -> Res<Attr> {
        match self.by_whom(dentry) {
            By::Overlay => self.ovl_getattr(dentry),
            By::Nfs => self.nfs_getattr(dentry),
            By::Memory | By::Fixed => {
                let inode = &self.inodes[self.inode(dentry)];
                let (size, blocks) = match &inode.kind {
                    Kind::Dir(names) => (2 * ENTRY_SIZE + names.len() as u64 * ENTRY_SIZE, 0),
                    Kind::File(data) => (data.size, data.pages.len() as u64 * BLOCKS),
                    Kind::Symlink(target) if target.len() >= SHORT_SYMLINK => {
                        (target.len() as u64, BLOCKS)
                    }
                    Kind::Symlink(target) => (target.len() as u64, 0),
                    _ => (0, 0),
                };
                let rdev = match inode.kind {
                    Kind::Char(major, minor) | Kind::Block(major, minor) => Some((major, minor)),
                    _ => None,
                };
                // Only what tmpfs says of sizes is known.
                let program = matches!(&inode.kind, Kind::File(data) if data.program);
                let image = matches!(&inode.kind, Kind::File(data) if data.image.is_some());
                let sb = self.supers[inode.sb].kind;
                let sizes = sb == FsType::Tmpfs && !program;
                let is_dir = matches!(inode.kind, Kind::Dir(_));
                let single = is_dir && sb == FsType::Btrfs && self.by(&disk_rules::BTRFS_LINKS);
                Ok(Attr {
                    kind: inode.kind.file_type().unwrap_or(FileType::File),
                    mode: inode.mode,
                    uid: inode.uid,
                    gid: inode.gid,
                    size: (sizes || !is_dir && !program).then_some(size),
                    blocks: (sizes && !image).then_some(blocks),
                    nlink: if single { 1 } else { inode.nlink },
                    rdev: rdev.filter(|(major, minor)| !self.is_loop_device(*major, *minor)),
                    dev: u64::from(inode.sb.number()),
                    ino: inode.number,
                    atime: inode.atime,
                    mtime: inode.mtime,
                    ctime: inode.ctime,
                })
            }
        }
    }
}

impl Data {
    /// Bytes from an offset; zeros where nothing was written.
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.size.min(offset.saturating_add(length as u64));
        if offset >= end {
            return Vec::new();
        }
        let mut read = vec![0; (end - offset) as usize];
        for (page, bytes) in self.pages.range(offset / PAGE..=(end - 1) / PAGE) {
            let start = page * PAGE;
            let from = offset.max(start);
            let to = end.min(start + bytes.len() as u64);
            if from < to {
                read[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
        read
    }

    /// Writes at an offset as far as there are free pages; gives how much was written.
    pub fn write(&mut self, offset: u64, data: &[u8], free: &mut Option<u64>) -> usize {
        let mut written = 0;
        while written < data.len() {
            let at = offset.saturating_add(written as u64);
            let page = at / PAGE;
            if !self.pages.contains_key(&page) {
                match free {
                    Some(0) => break,
                    Some(free) => *free -= 1,
                    None => {}
                }
            }
            let bytes = self.pages.entry(page).or_default();
            let from = (at % PAGE) as usize;
            let part = (PAGE as usize - from).min(data.len() - written);
            if bytes.len() < from + part {
                bytes.resize(from + part, 0);
            }
            bytes[from..from + part].copy_from_slice(&data[written..written + part]);
            written += part;
        }
        self.size = self.size.max(offset.saturating_add(written as u64));
        written
    }

    /// Sets the length; gives how many pages were freed.
    pub fn truncate(&mut self, size: u64) -> u64 {
        let before = self.pages.len();
        if size < self.size {
            self.pages.retain(|page, bytes| {
                let kept = size.saturating_sub(page * PAGE);
                bytes.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                kept > 0
            });
        }
        self.size = size;
        (before - self.pages.len()) as u64
    }
}
