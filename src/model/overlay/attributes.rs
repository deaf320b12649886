//! Attributes, permissions and open files: fs/overlayfs/inode.c and file.c.

use std::rc::Rc;

use super::copy_up::Need;
use super::{Identity, Overlay};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::ids::IdKind;
use crate::model::machine::{DentryId, FileType, Inode, InodeId, Kind, Machine, Place};
use crate::model::rules::overlay as rules;
use crate::model::vfs::{Access, Attr, Change, Guard, has_privileges};
use crate::scenario::scalar::Errno;

/// Above the numbers of file systems: the devices that an overlay makes for those of its layers.
const LAYER_DEVICES: u32 = 32;

impl Machine<'_> {
    /// The mode and owners that an overlay has of one of its files: as it read them of the layer when it
    /// looked there last.
    pub fn ovl_guard(&self, inode: InodeId) -> Option<Guard> {
        let real = self.real_guard(inode)?;
        let Inode { mode, uid, gid, .. } = self.inodes[inode];
        let kept = Guard { mode, uid, gid };
        Some(if kept != real && self.by(&rules::OWN_ATTRIBUTES) { kept } else { real })
    }

    /// The mode and owners that the topmost layer has of a file, as its mount shows them.
    fn real_guard(&self, inode: InodeId) -> Option<Guard> {
        let Place { mount, dentry } = self.ovl_real_place(inode)?;
        let real = self.inode(dentry);
        Some(Guard {
            mode: self.mode(real),
            uid: self.seen_id(mount, real, IdKind::User),
            gid: self.seen_id(mount, real, IdKind::Group),
        })
    }

    /// Reads mode and owners of the layer anew (`ovl_copyattr`).
    pub(super) fn read_guard(&mut self, inode: InodeId) {
        if let Some(Guard { mode, uid, gid }) = self.real_guard(inode) {
            let inode = &mut self.inodes[inode];
            (inode.mode, inode.uid, inode.gid) = (mode, uid, gid);
        }
    }

    /// Reads mode and owners of a file anew that is about to be written to, if an overlay has it.
    pub fn ovl_read_guard(&mut self, dentry: DentryId) {
        self.read_guard(self.inode(dentry));
    }

    /// Whether writing to a file takes nothing from it because it had nothing to take when it was written to last,
    /// though it has by now: another inode of the overlay for the same file was given it.
    pub fn ovl_remembers_no_privileges(&self, inode: InodeId) -> bool {
        let Kind::Overlay(node) = &self.inodes[inode].kind else { return false };
        node.unprivileged && self.by(&rules::NO_PRIVILEGES_KEPT)
    }

    /// A mode with privileges or a security attribute is set by way of this very inode (`notify_change`).
    pub fn ovl_forget_no_privileges(&mut self, inode: InodeId) {
        if let Kind::Overlay(node) = &mut self.inodes[inode].kind {
            node.unprivileged = false;
        }
    }

    /// What a write takes from the file of a layer, after it took what it found at the overlay's own; and that nothing
    /// is left is remembered (`inode_has_no_xattr`).
    pub fn ovl_strip_privileges(&mut self, dentry: DentryId) -> Res<()> {
        let Ok(fs) = self.overlay(dentry) else { return Ok(()) };
        let real = self.real_place(dentry)?;
        self.strip_privileges(&fs.mounter, real, false)?;
        let inode = self.inode(dentry);
        if !has_privileges(self.inodes[inode].mode) {
            self.node_mut(dentry)?.unprivileged = true;
        }
        Ok(())
    }

    /// What stat(2) tells of a file of an overlay.
    pub fn ovl_getattr(&mut self, dentry: DentryId) -> Res<Attr> {
        let fs = self.overlay(dentry)?;
        let real = self.real_place(dentry)?;
        let mut attr = self.fs_getattr(real.dentry)?;
        self.see_owners(real.mount, &mut attr);
        let is_dir = attr.kind == FileType::Dir;
        let node = self.node(dentry)?;
        let (merged, indexed) = (node.is_merged(is_dir), node.indexed);
        let metacopy = attr.kind == FileType::File
            && (node.metacopy
                || (node.upper.is_none() && node.lower.len() > 1)
                || node.data_redirect.is_some());
        let fsid = self.identify(&fs, dentry, is_dir, &mut attr)?;
        self.map_identity(&fs, dentry, is_dir, fsid, &mut attr);
        if is_dir && merged && self.by(&rules::MERGED_NLINK) {
            attr.nlink = 1;
        }
        if !is_dir && indexed {
            attr.nlink = self.inodes[self.inode(dentry)].nlink;
        }
        if metacopy && self.by(&rules::METACOPY_BLOCKS) {
            attr.blocks = self.blocks_of_data(dentry, &attr)?;
        }
        Ok(attr)
    }

    /// The blocks of the lower file that has the data; guessed from the size before it was looked up.
    fn blocks_of_data(&mut self, dentry: DentryId, attr: &Attr) -> Res<Option<u64>> {
        let node = self.node(dentry)?;
        if node.data_redirect.is_some() {
            return Ok(attr.size.map(|size| size.div_ceil(4096) * 8));
        }
        match node.lower.last().copied() {
            Some((_, lower)) => Ok(self.fs_getattr(lower)?.blocks),
            None => Ok(attr.blocks),
        }
    }

    /// Takes the inode number of the origin where it stands for the file; gives the file system that it
    /// is from.
    fn identify(
        &mut self,
        fs: &Overlay,
        dentry: DentryId,
        is_dir: bool,
        attr: &mut Attr,
    ) -> Res<u32> {
        if is_dir && fs.identity == Identity::Devices {
            return Ok(0);
        }
        let node = self.node(dentry)?;
        let Some((layer, lower)) = node.top_lower() else { return Ok(0) };
        let fsid = fs.lower.get(layer).map_or(0, |layer| layer.fsid);
        if node.upper.is_none() {
            return Ok(fsid);
        }
        let (has_origin, indexed) = (node.has_origin(), node.indexed);
        if !has_origin {
            return Ok(0);
        }
        let origin = self.fs_getattr(lower)?;
        let kept = indexed || (!fs.config.nfs_export && (is_dir || origin.nlink == 1));
        if kept && self.by(&rules::INO_OF_ORIGIN) {
            attr.ino = origin.ino;
            return Ok(fsid);
        }
        Ok(0)
    }

    /// The device and inode number that users see (`ovl_map_dev_ino`).
    fn map_identity(
        &self,
        fs: &Overlay,
        dentry: DentryId,
        is_dir: bool,
        fsid: u32,
        attr: &mut Attr,
    ) {
        let sb = u64::from(self.dentries[dentry].sb.number());
        match fs.identity {
            Identity::SameFs => attr.dev = sb,
            Identity::HighBits => {
                attr.ino |= u64::from(fsid) << 56;
                attr.dev = sb;
            }
            Identity::Devices if is_dir => {
                attr.dev = sb;
                attr.ino = self.inodes[self.inode(dentry)].number;
            }
            Identity::Devices => {
                let own = (sb << LAYER_DEVICES) + (1 << 24) + u64::from(fsid);
                attr.dev = if self.by(&rules::DEV_OF_LAYER) { own } else { sb };
            }
        }
    }

    /// Whether the mounter may do with the file of the layer what somebody wants of the overlay's, who
    /// was found to have the right to it (the second half of `ovl_permission`).
    pub fn ovl_permission(&self, inode: InodeId, access: Access) -> Res<()> {
        let Some(real) = self.ovl_real_place(inode) else { return Ok(()) };
        let sb = self.inodes[inode].sb;
        let Some(fs) = &self.supers[sb].overlay else { return Ok(()) };
        let node = match &self.inodes[inode].kind {
            Kind::Overlay(node) => node,
            _ => return Ok(()),
        };
        let mut access = access;
        let special =
            !matches!(self.file_type(inode), FileType::File | FileType::Dir | FileType::Symlink);
        if node.upper.is_none() && !special && access.write {
            // It will be copied up, for which the mounter must be able to read it.
            access.write = false;
            access.read = true;
        }
        self.mounter_may(fs, real, access)
    }

    fn mounter_may(&self, fs: &Overlay, real: Place, access: Access) -> Res<()> {
        match self.may(&fs.mounter, real, access) {
            Err(Halt::Refused(_)) if !self.by(&rules::MOUNTERS_RIGHTS) => Ok(()),
            result => result,
        }
    }

    /// Changes attributes: the file is copied up first, even if nothing changes.
    pub fn ovl_setattr(&mut self, dentry: DentryId, change: &Change) -> Res<()> {
        let fs = self.overlay(dentry)?;
        let need = if change.size.is_some() { Need::Data } else { Need::Metadata };
        self.copy_up(dentry, need)?;
        self.ovl_want_write(&fs)?;
        let upper = self.upper_of(dentry)?;
        let idmap = self.mounts[fs.upper_place(upper)?.mount].idmap.clone();
        self.tell("the overlay", None, || {
            format!(
                "asks the same of the upper layer, as who mounted it: {}",
                self.told_caller(&fs.mounter)
            )
        });
        self.notify_change(&fs.mounter, idmap.as_deref(), upper, *change)?;
        self.read_guard(self.inode(dentry));
        Ok(())
    }

    // ---- open files ----

    /// Opens a file of an overlay: what will be written is copied up now.
    pub fn ovl_open(&mut self, dentry: DentryId, write: bool, truncate: bool) -> Res<()> {
        let fs = self.overlay(dentry)?;
        match self.file_type(self.inode(dentry)) {
            FileType::Dir => {
                let real = self.real_place(dentry)?;
                return self.may(&fs.mounter, real, Access::READ);
            }
            FileType::File => {}
            // What goes through a FIFO or a device is no content of the file system.
            _ => return Ok(()),
        }
        self.data_place(dentry)?;
        let need = if truncate { Need::Truncate } else { Need::Data };
        if (write || truncate) && !self.has_upper_data(dentry)? && self.by(&rules::OPEN_COPIES_UP) {
            self.copy_up(dentry, need)?;
        } else if write || truncate {
            self.copy_alias(dentry, need)?;
        }
        let real = self.data_place(dentry)?;
        let access = Access { read: !write, write, execute: false };
        self.mounter_may(&fs, real, access)
    }

    fn has_upper_data(&self, dentry: DentryId) -> Res<bool> {
        let node = self.node(dentry)?;
        Ok(node.upper.is_some() && !node.metacopy)
    }

    /// A file that was copied up by way of another name gets this one, too.
    fn copy_alias(&mut self, dentry: DentryId, need: Need) -> Res<()> {
        if self.node(dentry)?.upper.is_some() { self.copy_up(dentry, need) } else { Ok(()) }
    }

    /// Up to `length` bytes of a file: of the copy, even if it was opened before that was made.
    pub fn ovl_read(&mut self, dentry: DentryId, offset: u64, length: usize) -> Res<Vec<u8>> {
        let copied = self.has_upper_data(dentry)? && !self.node(dentry)?.lower.is_empty();
        if copied && !self.by(&rules::OPEN_FILE_SEES_COPY) {
            let lower = self.node(dentry)?.top_lower();
            if let Some((_, lower)) = lower {
                return self.fs_read(lower, offset, length);
            }
        }
        let real = self.data_place(dentry)?;
        self.fs_read(real.dentry, offset, length)
    }

    /// Writes to an open file, as the mounter.
    pub fn ovl_write(&mut self, dentry: DentryId, offset: u64, data: &[u8]) -> Res<usize> {
        let fs = self.overlay(dentry)?;
        if self.file_type(self.inode(dentry)) != FileType::File {
            return Ok(data.len());
        }
        if !self.has_upper_data(dentry)? {
            return refuse(Errno::EROFS);
        }
        let upper = self.upper_of(dentry)?;
        let written = self.fs_write(&fs.mounter, upper, offset, data);
        self.read_guard(self.inode(dentry));
        written
    }

    /// The target of a symbolic link.
    pub fn ovl_readlink(&mut self, dentry: DentryId) -> Res<Rc<str>> {
        let real = self.real_place(dentry)?;
        self.fs_readlink(real.dentry)
    }
}
