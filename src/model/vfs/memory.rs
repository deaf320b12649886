//! What a tmpfs does, and every file system that is kept in memory here as one is: inodes, names and pages.

use std::rc::Rc;

use super::attributes::SETGID;
use super::fs::{Attr, New, NewKind, RenameHow};
use crate::model::halt::Res;
use crate::model::ids::IdKind;
use crate::model::machine::{
    Cred, Data, Dentry, DentryId, FileType, FsType, Inode, InodeId, Kind, Machine, Super, SuperId,
    UserNsId,
};
use crate::model::rules::{disk as disk_rules, files as rules};
use crate::scenario::scalar::Errno;

/// How much one entry adds to the size of a directory of tmpfs: `BOGO_DIRENT_SIZE` of mm/shmem.c.
const ENTRY_SIZE: u64 = 20;
/// Bytes of a page, which is what tmpfs allocates.
pub const PAGE: u64 = 4096;
/// 512-byte blocks of a page.
const BLOCKS: u64 = PAGE / 512;
/// Shorter targets of symbolic links lie in the inode: `SHORT_SYMLINK_LEN` of mm/shmem.c.
const SHORT_SYMLINK: usize = 128;

impl Machine<'_> {
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

    pub(super) fn take_inode(&mut self, sb: SuperId) -> Res<()> {
        match &mut self.supers[sb].free_inodes {
            Some(0) => self.refuse_by(&rules::WRITE_FULL, Errno::ENOSPC),
            Some(free) => {
                *free -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn take_pages(&mut self, sb: SuperId, pages: u64) -> Res<()> {
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

    /// Puts a dentry into a directory, which has changed by that.
    pub(super) fn put(&mut self, dir: DentryId, name: Rc<str>, dentry: DentryId) {
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
    pub(super) fn take(&mut self, dentry: DentryId) {
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

    pub(super) fn changed(&mut self, dir: DentryId) {
        let now = self.now();
        let inode = self.inode(dir);
        self.inodes[inode].mtime = now;
        self.inodes[inode].ctime = now;
    }

    /// A dentry that has no name any more.
    pub(super) fn let_go(&mut self, dentry: DentryId) {
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

    pub(super) fn memory_rename(
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
    pub(super) fn new_whiteout(
        &mut self,
        cred: &Cred,
        how: RenameHow,
        dir: DentryId,
    ) -> Res<InodeId> {
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

    pub(super) fn memory_write(
        &mut self,
        dentry: DentryId,
        offset: u64,
        data: &[u8],
    ) -> Res<usize> {
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

    pub(super) fn memory_getattr(&self, dentry: DentryId) -> Attr {
        let inode = &self.inodes[self.inode(dentry)];
        let (size, blocks) = match &inode.kind {
            Kind::Dir(names) => (2 * ENTRY_SIZE + names.len() as u64 * ENTRY_SIZE, 0),
            Kind::File(data) => (data.size, data.pages.len() as u64 * BLOCKS),
            Kind::Symlink(target) if target.len() >= SHORT_SYMLINK => (target.len() as u64, BLOCKS),
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
        Attr {
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
