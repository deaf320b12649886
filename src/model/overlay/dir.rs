//! What makes and removes names: fs/overlayfs/dir.c.

use std::rc::Rc;

use super::copy_up::Need;
use super::options::{Redirect, Xino};
use super::{Child, Node, Overlay};
use crate::model::halt::{Res, refuse};
use crate::model::machine::{Cred, Dentry, DentryId, FileType, InodeId, Machine, Place};
use crate::model::rules::Rule;
use crate::model::rules::overlay as rules;
use crate::model::vfs::{Access, Change, New, NewKind, RenameHow};
use crate::scenario::scalar::Errno;

/// The name of the whiteout that all others are links to.
const SHARED_WHITEOUT: &str = "#whiteout";
const EXCHANGE: RenameHow =
    RenameHow { noreplace: false, exchange: true, whiteout: false, mount: None };

impl Overlay {
    /// Whether a layer may change below while it is not mounted: then a new directory cannot know that
    /// nothing will be below it (`ovl_allow_offline_changes`).
    fn allows_offline_changes(&self) -> bool {
        !self.config.index
            && !self.config.metacopy
            && self.config.redirect != Redirect::On
            && self.config.xino != Xino::On
    }

    /// By which rule a new directory in a merged one is opaque.
    fn opaque_rule(&self) -> &'static Rule {
        if self.allows_offline_changes() {
            &rules::MKDIR_ALWAYS_OPAQUE
        } else {
            &rules::MKDIR_OPAQUE
        }
    }
}

impl Machine<'_> {
    /// Makes a file of an overlay: in the upper layer, with the mounter's rights and the maker's ids.
    pub fn ovl_make(&mut self, dir: DentryId, name: &str, new: New<'_>) -> Res<DentryId> {
        let fs = self.overlay(dir)?;
        let whiteout = matches!(new.kind, NewKind::Char(0, 0));
        self.deny(whiteout, &rules::MKNOD_WHITEOUT, Errno::EPERM)?;
        self.copy_up(dir, Need::Metadata)?;
        self.ovl_want_write(&fs)?;
        let maker = self.maker(&fs, new);
        let new = self.stored_new(&fs, new);
        let upper = if self.is_over_whiteout(dir, name)? {
            self.make_over_whiteout(&fs, &maker, dir, name, new)?
        } else {
            self.make_in_upper(&fs, &maker, dir, name, new)?
        };
        self.read_guard(self.inode(dir));
        let inode = self.upper_inode(&fs, dir, upper);
        self.new_name(dir, name, inode)
    }

    /// Makes a file without a name: in the directory of the upper layer.
    pub fn ovl_tmpfile(&mut self, dir: DentryId, new: New<'_>) -> Res<DentryId> {
        let fs = self.overlay(dir)?;
        if !self.by(&rules::TMPFILE) {
            return refuse(Errno::EOPNOTSUPP);
        }
        self.copy_up(dir, Need::Metadata)?;
        self.ovl_want_write(&fs)?;
        let new = self.stored_new(&fs, new);
        let upper_dir = self.upper_of(dir)?;
        let upper = self.fs_tmpfile(upper_dir, new)?;
        let inode = self.upper_inode(&fs, dir, upper);
        let sb = self.dentries[dir].sb;
        let name = "#".into();
        Ok(self.dentries.add(Dentry { sb, parent: dir, name, inode, unlinked: true }))
    }

    /// The mounter's credentials with the ids of the new file's owner (`ovl_setup_cred_for_create`).
    fn maker(&self, fs: &Overlay, new: New<'_>) -> Rc<Cred> {
        if (fs.mounter.fsuid, fs.mounter.fsgid) == (new.uid, new.gid) {
            return Rc::clone(&fs.mounter);
        }
        let mut maker = Cred::clone(&fs.mounter);
        maker.fsuid = new.uid;
        maker.fsgid = new.gid;
        Rc::new(maker)
    }

    /// The overlay's inode for a file that only the upper layer has.
    fn upper_inode(&mut self, fs: &Overlay, dir: DentryId, upper: DentryId) -> InodeId {
        let node = Node { upper: Some(upper), named: true, ..Node::default() };
        let key = self.inode(upper);
        let inode = self.new_node(self.dentries[dir].sb, node);
        fs.inodes.borrow_mut().insert(key, inode);
        inode
    }

    fn is_over_whiteout(&mut self, dir: DentryId, name: &str) -> Res<bool> {
        Ok(self.name_of(dir, name)? == Child::Missing { whiteout: true })
    }

    /// `ovl_create_upper`
    fn make_in_upper(
        &mut self,
        fs: &Overlay,
        maker: &Rc<Cred>,
        dir: DentryId,
        name: &str,
        new: New<'_>,
    ) -> Res<DentryId> {
        let upper_dir = self.upper_of(dir)?;
        self.may_create(maker, fs.upper_place(upper_dir)?)?;
        if self.fs_lookup(upper_dir, name)?.is_some() {
            return self.stale();
        }
        let upper = self.fs_make(maker, upper_dir, name, new)?;
        let merged = self.node(dir)?.is_merged(true);
        if matches!(new.kind, NewKind::Dir) && merged && self.by(fs.opaque_rule()) {
            // It would only be faster.
            let _ = self.set_opaque(fs, upper, Errno::EIO);
        }
        Ok(upper)
    }

    /// `ovl_create_over_whiteout`
    fn make_over_whiteout(
        &mut self,
        fs: &Overlay,
        maker: &Rc<Cred>,
        dir: DentryId,
        name: &str,
        new: New<'_>,
    ) -> Res<DentryId> {
        let whiteout = self.whiteout_of_upper(fs, dir, name)?;
        let temp = self.make_temp_for(fs, maker, new)?;
        let is_dir = matches!(new.kind, NewKind::Dir);
        let placed = self.replace_whiteout(fs, dir, name, temp, whiteout, is_dir);
        if let Err(halt) = placed {
            self.clean_up(fs, temp);
            return Err(halt);
        }
        Ok(temp)
    }

    fn replace_whiteout(
        &mut self,
        fs: &Overlay,
        dir: DentryId,
        name: &str,
        temp: DentryId,
        whiteout: DentryId,
        is_dir: bool,
    ) -> Res<()> {
        let upper_dir = self.upper_of(dir)?;
        if is_dir {
            if self.by(&rules::MKDIR_OVER_WHITEOUT) {
                self.set_opaque(fs, temp, Errno::EIO)?;
            }
            self.fs_rename(&fs.mounter, temp, upper_dir, name, Some(whiteout), EXCHANGE)?;
            self.clean_up(fs, whiteout);
            return Ok(());
        }
        let how = RenameHow::default();
        self.fs_rename(&fs.mounter, temp, upper_dir, name, Some(whiteout), how)
    }

    /// The whiteout that the upper layer has at a name; whoever took it away is not expected.
    fn whiteout_of_upper(&mut self, fs: &Overlay, dir: DentryId, name: &str) -> Res<DentryId> {
        let upper_dir = self.upper_of(dir)?;
        self.may(&fs.mounter, fs.upper_place(upper_dir)?, Access::CHANGE_DIR)?;
        match self.fs_lookup(upper_dir, name)? {
            Some(found) if self.is_whiteout(fs, fs.upper_place(found)?)? => Ok(found),
            _ => self.stale(),
        }
    }

    /// The upper layer was changed behind the overlay.
    pub(super) fn stale<T>(&self) -> Res<T> {
        self.deny(true, &rules::STALE, Errno::ESTALE)?;
        refuse(Errno::EIO)
    }

    /// What is looked up in the upper layer in order to be taken away must be there.
    pub(super) fn gone(&self, gone: bool) -> Res<()> {
        self.deny(gone, &rules::GONE, Errno::ENOENT)
    }

    /// Makes one more name of a file, which is copied up for it.
    pub fn ovl_link(&mut self, old: DentryId, dir: DentryId, name: &str) -> Res<DentryId> {
        let fs = self.overlay(dir)?;
        self.copy_up(old, Need::Metadata)?;
        self.copy_up(dir, Need::Metadata)?;
        self.ovl_want_write(&fs)?;
        self.store_nlink(&fs, old)?;
        if self.node(old)?.metacopy {
            self.set_redirect(&fs, old, false)?;
        }
        if self.node(old)?.has_origin() {
            self.set_impure(&fs, dir)?;
        }
        let upper = self.upper_of(old)?;
        let upper_dir = self.upper_of(dir)?;
        if self.is_over_whiteout(dir, name)? {
            let whiteout = self.whiteout_of_upper(&fs, dir, name)?;
            let Some(workdir) = fs.workdir else { return refuse(Errno::EROFS) };
            let temp = self.fs_link(&fs.mounter, upper, workdir, super::copy_up::TEMP)?;
            self.replace_whiteout(&fs, dir, name, temp, whiteout, false)?;
        } else {
            self.may(&fs.mounter, fs.upper_place(upper_dir)?, Access::CHANGE_DIR)?;
            if self.fs_lookup(upper_dir, name)?.is_some() {
                return self.stale();
            }
            self.fs_link(&fs.mounter, upper, upper_dir, name)?;
        }
        self.read_guard(self.inode(dir));
        let inode = self.inode(old);
        let dentry = self.new_name(dir, name, inode)?;
        self.inodes[inode].nlink += 1;
        // The next lookup finds out whether the new name knows the origin of the file.
        self.node_mut(dir)?.children.remove(name);
        if fs.indexed {
            fs.aliased.borrow_mut().insert(dentry);
        }
        Ok(dentry)
    }

    /// Removes a name: what a lower layer has is hidden by a whiteout.
    pub fn ovl_remove(&mut self, victim: DentryId) -> Res<()> {
        let fs = self.overlay(victim)?;
        let is_dir = self.is_dir(victim);
        let below = self.is_lower_positive(&fs, victim)?;
        let mut whiteouts = Vec::new();
        if is_dir && (below || !self.node(victim)?.is_pure_upper()) {
            whiteouts = self.whiteouts_in_empty(&fs, victim)?;
        }
        let dir = self.dentries[victim].parent;
        self.copy_up(dir, Need::Metadata)?;
        if self.needs_index(&fs, victim)? {
            self.copy_up(victim, Need::Metadata)?;
        }
        self.ovl_want_write(&fs)?;
        self.store_nlink(&fs, victim)?;
        let cleared = if whiteouts.is_empty() {
            None
        } else {
            Some(self.clear_empty(&fs, victim, &whiteouts)?)
        };
        let upper_dir = self.upper_of(dir)?;
        let name = Rc::clone(&self.dentries[victim].name);
        let place = fs.upper_place(upper_dir)?;
        self.may(&fs.mounter, place, Access::CHANGE_DIR)?;
        let upper = self.fs_lookup(upper_dir, &name)?;
        let expected = cleared.or(self.node(victim)?.upper);
        if expected.is_some() && !self.is_same_upper(upper, expected) {
            // For a whiteout the name is looked up without being wanted.
            self.gone(!below && upper.is_none())?;
            return self.stale();
        }
        if below && self.by(&rules::REMOVE_LEAVES_WHITEOUT) {
            self.put_whiteout(&fs, upper_dir, &name, upper)?;
        } else if let Some(upper) = upper {
            self.may_remove(&fs.mounter, place, upper, is_dir)?;
            self.fs_remove(&fs.mounter, upper)?;
        }
        self.read_guard(self.inode(dir));
        self.read_guard(self.inode(victim));
        self.forget(victim)?;
        self.end_link(&fs, victim)
    }

    pub(super) fn is_same_upper(&self, one: Option<DentryId>, other: Option<DentryId>) -> bool {
        one.map(|dentry| self.inode(dentry)) == other.map(|dentry| self.inode(dentry))
    }

    /// A name that is gone: whoever asks for it next looks anew.
    pub(super) fn forget(&mut self, dentry: DentryId) -> Res<()> {
        let (dir, name) = {
            let dentry = &mut self.dentries[dentry];
            dentry.unlinked = true;
            (dentry.parent, Rc::clone(&dentry.name))
        };
        self.node_mut(dir)?.children.remove(&name);
        self.node_mut(dentry)?.dead = self.is_dir(dentry);
        self.drop_link(dentry);
        Ok(())
    }

    /// Puts a whiteout in the place of a name of the upper layer (`ovl_cleanup_and_whiteout`).
    pub(super) fn put_whiteout(
        &mut self,
        fs: &Overlay,
        upper_dir: DentryId,
        name: &str,
        upper: Option<DentryId>,
    ) -> Res<()> {
        let whiteout = self.make_whiteout(fs)?;
        let is_dir = upper.is_some_and(|upper| self.is_dir(upper));
        let how = if is_dir { EXCHANGE } else { RenameHow::default() };
        if let Err(halt) = self.fs_rename(&fs.mounter, whiteout, upper_dir, name, upper, how) {
            self.clean_up(fs, whiteout);
            return Err(halt);
        }
        if let (true, Some(upper)) = (is_dir, upper) {
            self.clean_up(fs, upper);
        }
        Ok(())
    }

    /// A whiteout in the work directory: a link to the one that all share (`ovl_whiteout`).
    fn make_whiteout(&mut self, fs: &Overlay) -> Res<DentryId> {
        let Some(workdir) = fs.workdir else { return refuse(Errno::EROFS) };
        if !self.by(&rules::WHITEOUTS_SHARED) {
            return self.make_temp(fs, NewKind::Char(0, 0), 0);
        }
        let shared = match fs.whiteout.get().filter(|id| !self.dentries[*id].unlinked) {
            Some(shared) => shared,
            None => {
                let made = self.make_temp(fs, NewKind::Char(0, 0), 0)?;
                let how = RenameHow::default();
                self.fs_rename(&fs.mounter, made, workdir, SHARED_WHITEOUT, None, how)?;
                fs.whiteout.set(Some(made));
                made
            }
        };
        self.fs_link(&fs.mounter, shared, workdir, super::copy_up::TEMP)
    }

    /// Puts an opaque directory without whiteouts in the place of one in which nothing is seen
    /// (`ovl_clear_empty`).
    pub(super) fn clear_empty(
        &mut self,
        fs: &Overlay,
        dir: DentryId,
        whiteouts: &[Rc<str>],
    ) -> Res<DentryId> {
        let upper = self.upper_of(dir)?;
        let (parent, name) = {
            let upper = &self.dentries[upper];
            (upper.parent, Rc::clone(&upper.name))
        };
        let attr = self.fs_getattr(upper)?;
        if attr.kind != FileType::Dir || parent != self.upper_of(self.dentries[dir].parent)? {
            return self.stale();
        }
        let temp = self.make_temp(fs, NewKind::Dir, attr.mode)?;
        let filled = self.fill_cleared(fs, upper, temp, &attr);
        let placed = filled
            .and_then(|()| self.fs_rename(&fs.mounter, temp, parent, &name, Some(upper), EXCHANGE));
        if let Err(halt) = placed {
            self.clean_up(fs, temp);
            return Err(halt);
        }
        for name in whiteouts {
            if let Some(whiteout) = self.fs_lookup(upper, name)? {
                self.clean_up(fs, whiteout);
            }
        }
        self.clean_up(fs, upper);
        Ok(temp)
    }

    fn fill_cleared(
        &mut self,
        fs: &Overlay,
        upper: DentryId,
        temp: DentryId,
        attr: &crate::model::vfs::Attr,
    ) -> Res<()> {
        self.copy_xattrs(fs, fs.upper_place(upper)?, temp)?;
        self.set_opaque(fs, temp, Errno::EIO)?;
        let change = Change {
            mode: Some(attr.mode),
            uid: Some(attr.uid),
            gid: Some(attr.gid),
            atime: Some(attr.atime),
            mtime: Some(attr.mtime),
            ..Change::default()
        };
        self.fs_setattr(&fs.mounter, temp, &change)
    }

    /// The file of the upper layer whose access time a read through the overlay changes; that of a
    /// lower file it does not.
    pub fn ovl_atime_place(&self, dentry: DentryId) -> Option<Place> {
        let upper = self.node(dentry).ok()?.upper?;
        self.overlay(dentry).ok()?.upper_place(upper).ok()
    }

    /// Whether two names of an overlay lead to one file of it.
    pub fn ovl_is_same_inode(&self, one: DentryId, other: DentryId) -> bool {
        self.inode(one) == self.inode(other)
    }
}
