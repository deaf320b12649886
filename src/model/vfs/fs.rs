//! What a file system answers itself: its inode operations, for what is kept in memory here and for
//! an overlay or an NFS mount there. Who may ask is decided before.

use std::rc::Rc;

use super::attributes::Change;
use crate::model::halt::{Res, refuse};
use crate::model::machine::{
    Cred, Dentry, DentryId, FileType, FsType, Kid, Kind, Machine, MountId, Time,
};
use crate::model::rules::files as rules;
use crate::scenario::scalar::Errno;

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

    pub(super) fn is_regular_file(&self, dentry: DentryId) -> bool {
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
            By::Memory | By::Fixed => Ok(self.memory_getattr(dentry)),
        }
    }
}
