//! The index of files that were copied up, by their lower files: fs/overlayfs/namei.c, copy_up.c and util.c.

use std::rc::Rc;

use super::xattrs::Mark;
use super::{Node, Overlay};
use crate::model::halt::{Res, refuse};
use crate::model::machine::{DentryId, Machine};
use crate::model::rules::overlay as rules;
use crate::model::vfs::NewKind;
use crate::scenario::scalar::Errno;

impl Machine<'_> {
    /// Whether copying a file up makes an entry in the index (`ovl_need_index`).
    pub(super) fn needs_index(&self, fs: &Overlay, dentry: DentryId) -> Res<bool> {
        let Some((_, lower)) = self.node(dentry)?.top_lower() else { return Ok(false) };
        if !fs.indexed {
            return Ok(false);
        }
        let linked = !self.is_dir(lower) && self.inodes[self.real(self.inode(lower))].nlink > 1;
        Ok((linked && self.by(&rules::INDEX_KEEPS_LINKS))
            || (!linked && fs.config.nfs_export && self.by(&rules::INDEX_OF_ALL)))
    }

    /// A directory is not itself in the index: what stands there leads to it (`ovl_create_index`).
    pub(super) fn index_directory(
        &mut self,
        fs: &Overlay,
        lower: DentryId,
        upper: DentryId,
    ) -> Res<()> {
        let Some(index) = fs.workdir else { return refuse(Errno::EROFS) };
        // The copy has the name of what is prepared, so this one is made where it stays.
        let name = self.index_name(lower);
        let entry = self.make_in_work(fs, index, &name, NewKind::Dir, 0)?;
        let handle = self.origin_handle(upper);
        let marked = self.set_mark(fs, entry, Mark::Upper, &handle);
        if marked.is_err() {
            self.clean_up(fs, entry);
        }
        marked
    }

    pub(super) fn index_name(&self, lower: DentryId) -> Rc<str> {
        let inode = &self.inodes[self.real(self.inode(lower))];
        format!("{:033x}{:033x}", inode.sb.number(), inode.number).into()
    }

    /// What the index has for a lower file that was looked up; `upper` is what the upper layer has for it
    /// (`ovl_lookup_index`).
    fn look_in_index(
        &mut self,
        fs: &Overlay,
        upper: Option<DentryId>,
        lower: DentryId,
    ) -> Res<Option<DentryId>> {
        let Some(index) = fs.workdir.filter(|_| fs.indexed) else { return Ok(None) };
        let Some(found) = self.fs_lookup(index, &self.index_name(lower))? else { return Ok(None) };
        let kind = |dentry: DentryId| self.file_type(self.inode(dentry));
        let mut bad = self.is_device_whiteout(found) || kind(found) != kind(lower);
        if !bad && self.is_dir(lower) {
            let leads_to = self.mark(fs, fs.upper_place(found)?, Mark::Upper)?;
            bad = upper.is_none_or(|upper| leads_to != Some(self.origin_handle(upper)));
        }
        self.deny(bad, &rules::INDEX_BAD, Errno::EIO)?;
        let other = |upper: DentryId| self.inode(upper) != self.inode(found);
        let is_others = bad || !self.is_dir(lower) && upper.is_some_and(other);
        Ok(Some(found).filter(|_| !is_others))
    }

    /// Learns from the index what is known of a file that was looked up.
    pub(super) fn use_entry(&mut self, fs: &Overlay, node: &mut Node, is_dir: bool) -> Res<()> {
        // Of what is there in the upper layer, the index is trusted if the origin was verified.
        let verified = match node.upper {
            None => true,
            Some(_) if is_dir => fs.config.nfs_export,
            Some(upper) if node.metacopy => self.origin_of(fs, upper)?.is_some(),
            Some(_) => true,
        };
        let lower = node.top_lower().filter(|_| verified && (!is_dir || fs.config.nfs_export));
        let Some((_, lower)) = lower else { return Ok(()) };
        let entry = self.look_in_index(fs, node.upper, lower)?;
        node.indexed = entry.is_some();
        if let (None, Some(upper)) = (node.upper, entry) {
            let place = fs.upper_place(upper)?;
            node.upper = Some(upper);
            node.redirect = self.redirect_mark(fs, place)?.map(Into::into);
            node.metacopy = self.is_metacopy(fs, place)?;
            let refused = node.metacopy && !fs.config.metacopy;
            self.deny(refused, &rules::METACOPY_OF_INDEX, Errno::EPERM)?;
        }
        Ok(())
    }

    /// What the index has for a lower file.
    pub(super) fn indexed_upper(&mut self, fs: &Overlay, lower: DentryId) -> Res<Option<DentryId>> {
        let index = fs.workdir.filter(|_| fs.indexed);
        let Some(index) = index else { return Ok(None) };
        let name = self.index_name(lower);
        // A whiteout says that the file was removed.
        let found = self.fs_lookup(index, &name)?;
        Ok(found.filter(|found| !self.is_device_whiteout(*found)))
    }

    /// Gives a name to a file that was copied up by way of another of its names (`ovl_link_up`).
    pub(super) fn link_up(&mut self, fs: &Overlay, dentry: DentryId) -> Res<()> {
        let (dir, name) = {
            let at = &self.dentries[dentry];
            (at.parent, Rc::clone(&at.name))
        };
        self.set_impure(fs, dir)?;
        let upper_dir = self.upper_of(dir)?;
        let upper = self.upper_of(dentry)?;
        if self.fs_lookup(upper_dir, &name)?.is_some() {
            return refuse(Errno::EEXIST);
        }
        self.fs_link(&fs.mounter, upper, upper_dir, &name)?;
        fs.aliased.borrow_mut().insert(dentry);
        self.store_nlink(fs, dentry)
    }

    /// The number of links that a mark of an indexed file tells, if it makes sense.
    fn stored_nlink(&self, fs: &Overlay, upper: DentryId) -> Option<u32> {
        let upper = &self.inodes[self.inode(upper)];
        let mark = upper.xattrs.get(Mark::Nlink.name(fs.config.userxattr))?;
        let difference = std::str::from_utf8(mark).ok()?.strip_prefix('U')?.parse::<i64>().ok()?;
        u32::try_from(i64::from(upper.nlink) + difference).ok().filter(|nlink| *nlink > 0)
    }

    /// How many links an indexed file has in all layers (`ovl_get_nlink`).
    pub(super) fn union_nlink(&self, fs: &Overlay, node: &Node) -> u32 {
        let nlink = |dentry: DentryId| self.inodes[self.real(self.inode(dentry))].nlink;
        match (node.upper, node.top_lower()) {
            (Some(upper), Some((_, lower))) => {
                let stored = self.stored_nlink(fs, upper).unwrap_or(nlink(upper));
                let other = stored != nlink(upper) && nlink(lower) == 1;
                if other && self.by(&rules::NLINK_OF_UPPER) { nlink(upper) } else { stored }
            }
            (Some(upper), None) => nlink(upper),
            (None, Some((_, lower))) => nlink(lower),
            (None, None) => 0,
        }
    }

    /// Keeps the number of links of an indexed file, as a difference to that of its upper file
    /// (`ovl_set_nlink_upper`).
    pub(super) fn store_nlink(&mut self, fs: &Overlay, dentry: DentryId) -> Res<()> {
        let node = self.node(dentry)?;
        let (Some(upper), true) = (node.upper, node.indexed) else { return Ok(()) };
        if self.is_dir(dentry) {
            return Ok(());
        }
        let nlink = |dentry| i64::from(self.inodes[self.inode(dentry)].nlink);
        let difference = nlink(dentry) - nlink(upper);
        self.set_mark(fs, upper, Mark::Nlink, format!("U{difference:+}").as_bytes())
    }

    /// An indexed file that has no name any more has no entry in the index either (`ovl_nlink_end`).
    pub(super) fn end_link(&mut self, fs: &Overlay, dentry: DentryId) -> Res<()> {
        let gone = self.is_dir(dentry) || self.inodes[self.inode(dentry)].nlink == 0;
        if gone { self.clean_index_entry(fs, dentry) } else { Ok(()) }
    }

    /// What has no name any more has no entry in the index; where file handles are given out, a whiteout
    /// tells those of the file that it is gone (`ovl_cleanup_index`).
    pub(super) fn clean_index_entry(&mut self, fs: &Overlay, dentry: DentryId) -> Res<()> {
        let node = self.node(dentry)?;
        let (true, Some((_, lower)), Some(index)) = (node.indexed, node.top_lower(), fs.workdir)
        else {
            return Ok(());
        };
        let Some(entry) = self.indexed_upper(fs, lower)? else { return Ok(()) };
        if fs.config.nfs_export {
            let name = self.index_name(lower);
            return self.put_whiteout(fs, index, &name, Some(entry));
        }
        self.clean_up(fs, entry);
        Ok(())
    }
}
