//! Copy-up: fs/overlayfs/copy_up.c.

use std::rc::Rc;

use super::xattrs::Mark;
use super::{Node, Overlay};
use crate::model::halt::{Res, refuse};
use crate::model::ids::IdKind;
use crate::model::machine::{
    Cred, DentryId, FileType, InodeId, Kind, Machine, MountId, Place, Time,
};
use crate::model::rules::overlay as rules;
use crate::model::vfs::{Access, Attr, Change, New, NewKind, PAGE, RenameHow};
use crate::scenario::scalar::Errno;

/// How much data is copied at once: `OVL_COPY_UP_CHUNK_SIZE`.
const CHUNK: u64 = 1 << 20;
/// The name that a file has while it is prepared in the work directory.
pub(super) const TEMP: &str = "#temp";

/// What is to be done with the copy, which decides whether it needs data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Metadata,
    Data,
    /// The data will be cut off.
    Truncate,
}

impl Machine<'_> {
    /// The file of the upper layer, copied up if it was not.
    pub(super) fn copied_up(&mut self, dentry: DentryId) -> Res<DentryId> {
        self.copy_up(dentry, Need::Metadata)?;
        match self.node(dentry)?.upper {
            Some(upper) => Ok(upper),
            None => refuse(Errno::EROFS),
        }
    }

    /// Copies a file up, and before it the directories above it (`ovl_copy_up_flags`).
    pub(super) fn copy_up(&mut self, dentry: DentryId, need: Need) -> Res<()> {
        if self.is_copied_up(dentry, need)? {
            return Ok(());
        }
        let fs = self.overlay(dentry)?;
        if self.is_regular(dentry) {
            self.data_place(dentry)?;
        }
        let mut above = vec![dentry];
        let mut at = self.dentries[dentry].parent;
        while self.node(at)?.upper.is_none() {
            above.push(at);
            let parent = self.dentries[at].parent;
            if parent == at {
                return refuse(Errno::EROFS);
            }
            at = parent;
        }
        for next in above.into_iter().rev() {
            if !self.is_copied_up(next, need)? {
                self.copy_up_one(&fs, next, need)?;
            }
        }
        Ok(())
    }

    fn is_copied_up(&self, dentry: DentryId, need: Need) -> Res<bool> {
        let node = self.node(dentry)?;
        if node.upper.is_none() || (node.metacopy && need != Need::Metadata) {
            return Ok(false);
        }
        if !node.indexed {
            return Ok(true);
        }
        Ok(self.overlay(dentry)?.aliased.borrow().contains(&dentry))
    }

    fn copy_up_one(&mut self, fs: &Overlay, dentry: DentryId, need: Need) -> Res<()> {
        if fs.workdir.is_none() {
            return refuse(Errno::EROFS);
        }
        self.ovl_want_write(fs)?;
        let parent = self.dentries[dentry].parent;
        let Some((layer, lower)) = self.node(dentry)?.top_lower() else {
            return refuse(Errno::EIO);
        };
        let from = fs.lower_place(layer, lower)?;
        let mut attr = self.fs_getattr(lower)?;
        self.see_owners(from.mount, &mut attr);
        let mounter = fs.mounter.userns;
        let unmapped = self.id_in(mounter, IdKind::User, attr.uid).is_none()
            || self.id_in(mounter, IdKind::Group, attr.gid).is_none();
        self.deny(unmapped, &rules::COPY_UP_UNMAPPED, Errno::EOVERFLOW)?;
        let metacopy = fs.config.metacopy
            && attr.kind == FileType::File
            && need == Need::Metadata
            && self.by(&rules::METACOPY);
        if need == Need::Truncate && attr.kind == FileType::File {
            attr.size = Some(0);
        }
        let upper_dir = self.upper_of(parent)?;
        let times = {
            let dir = &self.inodes[self.inode(upper_dir)];
            (dir.atime, dir.mtime)
        };
        if self.node(dentry)?.upper.is_none() {
            self.make_copy(fs, dentry, from, &attr, metacopy)?;
        }
        if !self.is_copied_up(dentry, Need::Metadata)? {
            self.link_up(fs, dentry)?;
        }
        self.restore_times(upper_dir, times);
        if need != Need::Metadata && self.node(dentry)?.metacopy {
            self.copy_data_late(fs, dentry, &attr)?;
        }
        Ok(())
    }

    /// The directory of the upper layer behind a directory that was copied up.
    pub(super) fn upper_of(&self, dir: DentryId) -> Res<DentryId> {
        match self.node(dir)?.upper {
            Some(upper) => Ok(upper),
            None => refuse(Errno::EROFS),
        }
    }

    /// A change to the directory that no user asked for does not change its time.
    fn restore_times(&mut self, dir: DentryId, (atime, mtime): (Time, Time)) {
        let inode = self.inode(dir);
        if self.inodes[inode].mtime != mtime && self.by(&rules::COPY_UP_PARENT_TIME) {
            self.inodes[inode].atime = atime;
            self.inodes[inode].mtime = mtime;
        }
    }

    /// Copies a file to the upper layer (`ovl_do_copy_up`).
    fn make_copy(
        &mut self,
        fs: &Overlay,
        dentry: DentryId,
        from: Place,
        attr: &Attr,
        metacopy: bool,
    ) -> Res<()> {
        let is_dir = attr.kind == FileType::Dir;
        let indexed = self.needs_index(fs, dentry)?;
        let to_index = indexed && !is_dir;
        let breaks = !is_dir && attr.nlink != 1 && !to_index;
        let parent = self.dentries[dentry].parent;
        let keeps_origin = !(breaks && self.by(&rules::COPY_UP_BREAKS_LINK));
        if !to_index {
            self.set_impure(fs, parent)?;
        }
        let temp = self.make_temp_copy(fs, dentry, from, attr, metacopy, keeps_origin)?;
        if indexed && is_dir {
            self.index_directory(fs, from.dentry, temp)?;
            fs.aliased.borrow_mut().insert(dentry);
        }
        let upper = match self.install_copy(fs, dentry, temp, attr, to_index) {
            Ok(upper) => upper,
            Err(halt) => {
                self.clean_up(fs, temp);
                return Err(halt);
            }
        };
        let key = self.inode(upper);
        let inode = self.inode(dentry);
        let keeps_inode = is_dir
            || self.has_file_handles(fs, from.dentry)
            || self.by(&rules::COPY_UP_KEEPS_INODE);
        let node = self.node_mut(dentry)?;
        node.constant_ino &= keeps_inode;
        node.upper = Some(upper);
        node.metacopy = metacopy;
        node.indexed = indexed;
        node.whiteouts |= is_dir;
        if !node.constant_ino {
            fs.inodes.borrow_mut().insert(key, inode);
        }
        if to_index {
            self.store_nlink(fs, dentry)?;
        }
        Ok(())
    }

    /// Prepares a copy in the work directory; where that fails, nothing of it is left.
    fn make_temp_copy(
        &mut self,
        fs: &Overlay,
        dentry: DentryId,
        from: Place,
        attr: &Attr,
        metacopy: bool,
        keeps_origin: bool,
    ) -> Res<DentryId> {
        let target = match attr.kind {
            FileType::Symlink => self.fs_readlink(from.dentry)?,
            _ => "".into(),
        };
        let (major, minor) = attr.rdev.unwrap_or_default();
        let kind = match attr.kind {
            FileType::Dir => NewKind::Dir,
            FileType::File => NewKind::File,
            FileType::Symlink => NewKind::Symlink(&target),
            FileType::Char => NewKind::Char(major, minor),
            FileType::Block => NewKind::Block(major, minor),
            FileType::Fifo => NewKind::Fifo,
            FileType::Socket => NewKind::Socket,
        };
        let temp = self.make_temp(fs, kind, 0)?;
        let filled = self.fill_copy(fs, dentry, from, attr, metacopy, keeps_origin, temp);
        if let Err(halt) = filled {
            self.clean_up(fs, temp);
            return Err(halt);
        }
        Ok(temp)
    }

    #[expect(clippy::too_many_arguments, reason = "one copy, as the kernel's context of it")]
    fn fill_copy(
        &mut self,
        fs: &Overlay,
        dentry: DentryId,
        from: Place,
        attr: &Attr,
        metacopy: bool,
        keeps_origin: bool,
        temp: DentryId,
    ) -> Res<()> {
        let size = attr.size.unwrap_or(0);
        if attr.kind == FileType::File && !metacopy && size > 0 {
            self.copy_data(fs, dentry, temp, size)?;
        }
        // Writing data after the attributes would take file capabilities away.
        self.copy_xattrs(fs, from, temp)?;
        if keeps_origin {
            self.set_origin(fs, temp, from.dentry)?;
        }
        if metacopy {
            let marked = self.try_mark(fs, temp, Mark::Metacopy, b"")?;
            if !marked {
                return refuse(Errno::EOPNOTSUPP);
            }
        }
        let regular = attr.kind == FileType::File;
        let change = Change {
            mode: (attr.kind != FileType::Symlink).then_some(attr.mode),
            uid: Some(attr.uid),
            gid: Some(attr.gid),
            size: if regular { attr.size } else { None },
            ..Change::default()
        };
        let place = fs.upper_place(temp)?;
        let idmap = self.mounts[place.mount].idmap.clone();
        self.notify_change(&fs.mounter, idmap.as_deref(), temp, change)?;
        let times =
            Change { atime: Some(attr.atime), mtime: Some(attr.mtime), ..Change::default() };
        self.fs_setattr(&fs.mounter, temp, &times)
    }

    /// Gives a prepared copy its name.
    fn install_copy(
        &mut self,
        fs: &Overlay,
        dentry: DentryId,
        temp: DentryId,
        attr: &Attr,
        to_index: bool,
    ) -> Res<DentryId> {
        let (dir, name): (DentryId, Rc<str>) = if to_index {
            let lower = self.node(dentry)?.top_lower().map_or(temp, |(_, lower)| lower);
            match fs.workdir {
                Some(index) => (index, self.index_name(lower)),
                None => return refuse(Errno::EROFS),
            }
        } else {
            let at = &self.dentries[dentry];
            (self.upper_of(at.parent)?, Rc::clone(&at.name))
        };
        if attr.kind != FileType::File {
            // A regular file is linked to its name, anything else moved there.
            let ended = |work| dir != work && self.is_below(dir, work);
            let ended = fs.workdir.is_some_and(ended);
            self.deny(ended, &rules::COPY_UP_CLEARED, Errno::EIO)?;
        }
        self.may(&fs.mounter, fs.upper_place(dir)?, Access::CHANGE_DIR)?;
        if self.dentries[dir].unlinked {
            return refuse(Errno::ENOENT);
        }
        let taken = self.fs_lookup(dir, &name)?;
        if let Some(taken) = taken {
            let replaces = attr.kind != FileType::File && self.by(&rules::COPY_UP_RENAMED_OVER);
            self.deny(!replaces, &rules::COPY_UP_UNLINKED, Errno::EEXIST)?;
            if attr.kind == FileType::Dir {
                let replaces = self.is_dir(taken) && self.by(&rules::COPY_UP_REPLACES_DIR);
                self.deny(!replaces, &rules::COPY_UP_REMOVED_DIR, Errno::ENOTDIR)?;
            }
        }
        self.fs_rename(&fs.mounter, temp, dir, &name, taken, RenameHow::default())?;
        Ok(temp)
    }

    // ---- data ----

    /// Copies the data of a lower file; what lies in holes of it stays one (`ovl_copy_up_file`).
    fn copy_data(&mut self, fs: &Overlay, dentry: DentryId, to: DentryId, size: u64) -> Res<()> {
        let from = self.lower_data_place(fs, dentry)?;
        self.may(&fs.mounter, from, Access::READ)?;
        let mut at = 0;
        while at < size {
            match self.next_data(from.dentry, at) {
                Some(data) if data > at && self.by(&rules::COPY_UP_HOLES) => {
                    at = data;
                    continue;
                }
                None if self.by(&rules::COPY_UP_HOLES) => break,
                _ => {}
            }
            let length = CHUNK.min(size - at);
            let data = self.fs_read(from.dentry, at, usize::try_from(length).unwrap_or(0))?;
            if data.is_empty() {
                break;
            }
            let mut written = 0;
            while written < data.len() {
                written += self.fs_write(&fs.mounter, to, at + written as u64, &data[written..])?;
            }
            at += data.len() as u64;
        }
        Ok(())
    }

    fn lower_data_place(&self, fs: &Overlay, dentry: DentryId) -> Res<Place> {
        match self.node(dentry)?.lower.last() {
            Some((layer, lower)) => fs.lower_place(*layer, *lower),
            None => refuse(Errno::EIO),
        }
    }

    /// Where the next data of a file lies, from an offset on (`SEEK_DATA`).
    fn next_data(&self, dentry: DentryId, from: u64) -> Option<u64> {
        match &self.inodes[self.real_data(dentry)].kind {
            Kind::File(data) => {
                data.pages.range(from / PAGE..).next().map(|(page, _)| (page * PAGE).max(from))
            }
            _ => Some(from),
        }
    }

    /// The inode that holds the data of a file, through all overlays.
    fn real_data(&self, dentry: DentryId) -> InodeId {
        match &self.inodes[self.inode(dentry)].kind {
            Kind::Overlay(Node { upper: Some(upper), metacopy: false, .. }) => {
                self.real_data(*upper)
            }
            Kind::Overlay(node) => match node.lower.last() {
                Some((_, lower)) => self.real_data(*lower),
                None => self.inode(dentry),
            },
            _ => self.inode(dentry),
        }
    }

    /// Copies the data of a file whose metadata were copied up before
    /// (`ovl_copy_up_meta_inode_data`).
    fn copy_data_late(&mut self, fs: &Overlay, dentry: DentryId, attr: &Attr) -> Res<()> {
        let upper = self.upper_of(dentry)?;
        let size = attr.size.unwrap_or(0);
        if size > 0 {
            self.copy_data(fs, dentry, upper, size)?;
        }
        self.remove_mark(fs, upper, Mark::Metacopy)?;
        self.node_mut(dentry)?.metacopy = false;
        Ok(())
    }

    // ---- ids ----

    /// Owners on a layer, as they are seen through its mount.
    pub(super) fn see_owners(&self, mount: MountId, attr: &mut Attr) {
        let idmap = self.mounts[mount].idmap.as_deref();
        attr.uid = self.seen_as(idmap, IdKind::User, attr.uid);
        attr.gid = self.seen_as(idmap, IdKind::Group, attr.gid);
    }

    /// A file that is to be made, with owners as the upper layer stores them.
    pub(super) fn stored_new<'a>(&self, fs: &Overlay, new: New<'a>) -> New<'a> {
        let idmap = fs.upper.as_ref().and_then(|upper| self.mounts[upper.mount].idmap.as_deref());
        New {
            uid: self.stored_as(idmap, IdKind::User, new.uid),
            gid: self.stored_as(idmap, IdKind::Group, new.gid),
            ..new
        }
    }

    // ---- the work directory ----

    /// Makes a file in the work directory, as the mounter.
    pub(super) fn make_temp(
        &mut self,
        fs: &Overlay,
        kind: NewKind<'_>,
        mode: u32,
    ) -> Res<DentryId> {
        let new = New { kind, mode, uid: fs.mounter.fsuid, gid: fs.mounter.fsgid };
        self.make_temp_for(fs, &Rc::clone(&fs.mounter), self.stored_new(fs, new))
    }

    /// Makes a file in the work directory.
    pub(super) fn make_temp_for(
        &mut self,
        fs: &Overlay,
        cred: &Rc<Cred>,
        new: New<'_>,
    ) -> Res<DentryId> {
        let Some(workdir) = fs.workdir else { return refuse(Errno::EROFS) };
        self.may_create(cred, fs.upper_place(workdir)?)?;
        self.fs_make(cred, workdir, TEMP, new)
    }

    /// Removes what was prepared and is of no use; nobody hears of it where that fails.
    pub(super) fn clean_up(&mut self, fs: &Overlay, temp: DentryId) {
        let _ = self.fs_remove(&fs.mounter, temp);
    }

    /// Whether the overlay takes changes (`ovl_want_write`).
    pub(super) fn ovl_want_write(&self, fs: &Overlay) -> Res<()> {
        let readonly = !self.upper_writable(fs);
        self.deny(readonly, &rules::UPPER_BECAME_READONLY, Errno::EROFS)
    }
}
