//! Lookups, from the upper layer down to the data: fs/overlayfs/namei.c.

use std::rc::Rc;

use super::layer::Search;
use super::xattrs::Mark;
use super::{Child, NO_OVERLAY, Node, Overlay};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::machine::{DentryId, FileType, InodeId, Kind, Machine, Place};
use crate::model::rules::Rule;
use crate::model::rules::overlay as rules;
use crate::scenario::scalar::Errno;

impl Machine<'_> {
    /// The child of a directory of an overlay.
    pub fn ovl_lookup(&mut self, dir: DentryId, name: &str) -> Res<Option<DentryId>> {
        if self.ovl_is_found_dead(dir) {
            return Ok(None);
        }
        Ok(match self.name_of(dir, name)? {
            Child::There(dentry) => Some(dentry),
            Child::Missing { .. } => None,
        })
    }

    /// What a name of a directory stands for.
    pub(super) fn name_of(&mut self, dir: DentryId, name: &str) -> Res<Child> {
        if let Some(child) = self.node(dir)?.children.get(name) {
            return Ok(*child);
        }
        let fs = self.overlay(dir)?;
        let child = match self.resolve_name(&fs, dir, name)? {
            Ok(node) => {
                let named = node.named;
                let (inode, is_known) = self.node_inode(&fs, dir, node)?;
                let other = if is_known { self.other_name(inode) } else { None };
                let dentry = match other.filter(|_| self.by(&rules::ONE_NAME)) {
                    Some(other) => self.move_name(other, dir, name)?,
                    None => self.new_name(dir, name, inode)?,
                };
                if fs.indexed && named {
                    fs.aliased.borrow_mut().insert(dentry);
                }
                return Ok(Child::There(dentry));
            }
            Err(whiteout) => Child::Missing { whiteout },
        };
        self.node_mut(dir)?.children.insert(name.into(), child);
        Ok(child)
    }

    /// Where the layers have a name of a directory; where they do not, whether a whiteout of the upper
    /// layer hides it (`ovl_lookup`).
    fn resolve_name(&mut self, fs: &Overlay, dir: DentryId, name: &str) -> Res<Result<Node, bool>> {
        let parent = self.node(dir)?;
        let (upper_dir, mut parents) = (parent.upper, parent.lower.clone());
        let root = self.supers[self.dentries[dir].sb].root;
        // Where data-only layers may be led to, redirects are read though none between others is followed.
        let reads_redirects = fs.follows_redirects()
            || (fs.has_data_layers() && self.by(&rules::REDIRECT_CHECKED_FOR_DATA));
        let mut search = Search {
            name: name.into(),
            is_dir: false,
            opaque: false,
            xwhiteouts: false,
            stop: false,
            last: !reads_redirects && parents.is_empty(),
            redirect: None,
            metacopy: false,
            absolute: false,
        };
        let mut node = Node::default();
        if let Some(upper_dir) = upper_dir {
            self.look_in_upper(fs, upper_dir, &mut search, &mut node)?;
            if search.is_led_to_root() {
                parents.clone_from(&self.node(root)?.lower);
            }
        }
        self.look_below(fs, (dir, root), parents, reads_redirects, &mut search, &mut node)?;
        self.look_for_data(fs, &mut search, &mut node)?;
        if node.upper.is_none() && node.lower.is_empty() {
            return Ok(Err(node.opaque));
        }
        if let (Some(upper), false, true) = (node.upper, search.is_dir, node.lower.is_empty()) {
            node.lower.extend(self.origin_of(fs, upper)?);
        }
        node.xwhiteouts = search.xwhiteouts;
        self.finish_node(fs, &mut node, search.is_dir)?;
        Ok(Ok(node))
    }

    fn look_in_upper(
        &mut self,
        fs: &Overlay,
        dir: DentryId,
        search: &mut Search,
        node: &mut Node,
    ) -> Res<()> {
        node.upper = self.look_in_layer(fs, None, dir, search)?;
        node.named = node.upper.is_some();
        node.metacopy = node.upper.is_some() && !search.is_dir && search.metacopy;
        node.redirect.clone_from(&search.redirect);
        node.opaque = search.opaque;
        Ok(())
    }

    /// Looks in one lower layer after the other, from the parents that the directory has there.
    fn look_below(
        &mut self,
        fs: &Overlay,
        (dir, root): (DentryId, DentryId),
        mut parents: Vec<(usize, DentryId)>,
        reads_redirects: bool,
        search: &mut Search,
        node: &mut Node,
    ) -> Res<()> {
        let has_data_layers = fs.has_data_layers();
        let mut at_root = dir == root;
        let mut index = 0;
        while !search.stop && index < parents.len() {
            self.may_go_on(fs, search)?;
            let (layer, base) = parents[index];
            if !reads_redirects {
                search.last = index == parents.len() - 1;
            } else if search.is_dir || !has_data_layers {
                search.last = layer + 1 == fs.merged;
            }
            index += 1;
            let Some(found) = self.look_in_layer(fs, Some(layer), base, search)? else {
                continue;
            };
            let metacopy = (node.metacopy || search.metacopy) && !fs.config.metacopy;
            self.deny_of_old(metacopy, &rules::METACOPY_REFUSED)?;
            if node.lower.is_empty() && search.is_dir {
                self.fix_origin(fs, dir, node.upper, found)?;
                if self.has_another_origin(fs, node.upper, found)? {
                    break;
                }
            }
            if node.lower.is_empty() && node.metacopy && fs.config.index {
                self.must_be_origin(fs, node.upper, found)?;
            }
            // Of files without data only the topmost counts, and the one that has the data.
            if !search.metacopy || node.lower.is_empty() {
                node.lower.push((layer, found));
            }
            if search.stop {
                break;
            }
            let redirected = search.redirect.is_some() && !fs.follows_redirects();
            self.deny_of_old(redirected, &rules::REDIRECT_REFUSED)?;
            if search.is_led_to_root() && !at_root {
                parents.clone_from(&self.node(root)?.lower);
                at_root = true;
                index = layer + 1;
            }
        }
        Ok(())
    }

    /// A file without data of its own has it in a layer below, or in one that holds data only.
    fn look_for_data(&mut self, fs: &Overlay, search: &mut Search, node: &mut Node) -> Res<()> {
        let leads_to_data =
            search.metacopy && !node.lower.is_empty() && fs.has_data_layers() && search.absolute;
        let allowed = (fs.follows_redirects() && fs.config.metacopy)
            || (leads_to_data && self.by(&rules::DATA_REDIRECT));
        if leads_to_data && allowed {
            search.metacopy = false;
            node.data_redirect.clone_from(&search.redirect);
            return Ok(());
        }
        self.may_go_on(fs, search)?;
        let no_data = search.metacopy || (node.metacopy && node.lower.is_empty());
        self.deny(no_data, &rules::METACOPY_NO_DATA, Errno::EIO)
    }

    /// Whether the layers below may be looked at.
    fn may_go_on(&self, fs: &Overlay, search: &Search) -> Res<()> {
        if search.leads_where_none_may(fs) && self.by(&rules::REFUSED_AT_ONCE) {
            return self.may_follow(fs, search);
        }
        Ok(())
    }

    /// The same of older kernels, which ask only once something was found there.
    fn deny_of_old(&self, refused: bool, rule: &'static Rule) -> Res<()> {
        if refused && !self.by(&rules::REFUSED_AT_ONCE) {
            return self.deny(true, rule, Errno::EPERM);
        }
        Ok(())
    }

    /// Whether what was found may lead on to another name or to the data of another file.
    fn may_follow(&self, fs: &Overlay, search: &Search) -> Res<()> {
        let redirected = search.redirect.is_some() && !fs.follows_redirects();
        self.deny(redirected, &rules::REDIRECT_REFUSED, Errno::EPERM)?;
        let metacopy = search.metacopy && !fs.config.metacopy;
        self.deny(metacopy, &rules::METACOPY_REFUSED, Errno::EPERM)
    }

    /// What is known of a file from where the layers have it (`ovl_get_inode`).
    fn finish_node(&mut self, fs: &Overlay, node: &mut Node, is_dir: bool) -> Res<()> {
        self.use_entry(fs, node, is_dir)?;
        if let Some(upper) = node.upper {
            let place = fs.upper_place(upper)?;
            node.impure = is_dir && self.mark_byte(fs, place, Mark::Impure) == Some(b'y');
        }
        node.constant_ino = self.is_known_by_lower(fs, node);
        if is_dir {
            let top = match (node.upper, node.top_lower()) {
                (Some(upper), _) => fs.upper_place(upper)?,
                (None, Some((layer, lower))) => fs.lower_place(layer, lower)?,
                (None, None) => return refuse(Errno::EIO),
            };
            node.whiteouts = node.is_merged(true) || self.mark(fs, top, Mark::Origin)?.is_some();
        }
        Ok(())
    }

    /// Whether an inode stands for a file of a lower layer, whose number it keeps
    /// (`ovl_hash_bylower`).
    pub(super) fn is_known_by_lower(&self, fs: &Overlay, node: &Node) -> bool {
        let Some((_, lower)) = node.top_lower() else { return false };
        if node.indexed || fs.upper.is_none() {
            return true;
        }
        let inode = &self.inodes[self.real(self.inode(lower))];
        let breaks = (node.upper.is_some() || !fs.indexed)
            && !matches!(inode.kind, Kind::Dir(_))
            && inode.nlink > 1;
        let unindexed_export = fs.config.nfs_export && node.upper.is_some();
        !breaks && !unindexed_export
    }

    /// The inode for a file of an overlay, and whether it was known: names of one upper file share it.
    fn node_inode(&mut self, fs: &Overlay, dir: DentryId, node: Node) -> Res<(InodeId, bool)> {
        let key = match (node.upper, node.top_lower()) {
            (_, Some((_, lower))) if node.constant_ino => Some(self.inode(lower)),
            (Some(upper), _) => Some(self.inode(upper)),
            // A hard link of a lower layer that will be broken.
            _ => None,
        };
        let known = key.and_then(|key| fs.inodes.borrow().get(&key).copied());
        if let Some(known) = known.filter(|known| self.is_remembered(*known)) {
            self.must_be_as_known(known, &node)?;
            return Ok((known, true));
        }
        let nlink = self.union_nlink(fs, &node);
        let inode = self.new_node(self.dentries[dir].sb, node);
        if let Some(key) = key {
            self.inodes[inode].nlink = nlink;
            fs.inodes.borrow_mut().insert(key, inode);
        }
        Ok((inode, false))
    }

    /// The name that a directory has already, also where it was removed and is held.
    fn other_name(&self, inode: InodeId) -> Option<DentryId> {
        if self.file_type(inode) != FileType::Dir {
            return None;
        }
        let used = self.used_names(self.inodes[inode].sb);
        let names = self.dentries.iter().filter(|(_, dentry)| dentry.inode == inode);
        let mut names = names.map(|(id, _)| id);
        names.find(|id| used.contains(id) || self.is_known_name(*id))
    }

    /// Moves a directory to the name by which it was found (`d_splice_alias`).
    fn move_name(&mut self, dentry: DentryId, dir: DentryId, name: &str) -> Res<DentryId> {
        if dir == dentry || self.is_below(dir, dentry) {
            return refuse(Errno::ELOOP);
        }
        if self.is_known_name(dentry) {
            let (parent, old) =
                (self.dentries[dentry].parent, Rc::clone(&self.dentries[dentry].name));
            self.node_mut(parent)?.children.remove(&old);
        }
        let name: Rc<str> = name.into();
        self.node_mut(dir)?.children.insert(Rc::clone(&name), Child::There(dentry));
        let moved = &mut self.dentries[dentry];
        (moved.parent, moved.name, moved.unlinked) = (dir, name, false);
        Ok(dentry)
    }

    /// What an inode is known by must be what was found for another name of it (`ovl_verify_inode`).
    fn must_be_as_known(&self, known: InodeId, found: &Node) -> Res<()> {
        let Kind::Overlay(node) = &self.inodes[known].kind else { return Err(NO_OVERLAY) };
        let is_dir = self.file_type(known) == FileType::Dir;
        let inode = |dentry: DentryId| self.inode(dentry);
        let lower = |node: &Node| node.top_lower().map(|(_, dentry)| inode(dentry));
        let upper = |node: &Node| node.upper.map(inode);
        // A name may not show the origin of a file, or not yet its copy; of a directory there is one.
        let differs = |known: Option<InodeId>, found: Option<InodeId>| {
            found.map_or(is_dir && known.is_some(), |found| known != Some(found))
        };
        let other = differs(lower(node), lower(found)) || differs(upper(node), upper(found));
        self.deny(other, &rules::ANOTHER_FILE, Errno::ESTALE)
    }

    /// Whether a lower layer has the name of a file, so that a removal must leave a whiteout
    /// (`ovl_lower_positive`).
    pub(super) fn is_lower_positive(&mut self, fs: &Overlay, dentry: DentryId) -> Res<bool> {
        if self.node(dentry)?.upper.is_none() {
            return Ok(true);
        }
        let (dir, name) = {
            let dentry = &self.dentries[dentry];
            (dentry.parent, Rc::clone(&dentry.name))
        };
        for (layer, base) in self.node(dir)?.lower.clone() {
            match self.layer_lookup(fs, fs.lower_place(layer, base)?, &name) {
                Ok(None) => {}
                Ok(Some(found)) => {
                    let place = fs.lower_place(layer, found)?;
                    return Ok(!self.is_whiteout(fs, place)?);
                }
                // Something may be there that cannot be reached.
                Err(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The lower file that has the data of a file; looked up in the data-only layers when it is needed
    /// for the first time (`ovl_verify_lowerdata`).
    pub(super) fn data_place(&mut self, dentry: DentryId) -> Res<Place> {
        let fs = self.overlay(dentry)?;
        let node = self.node(dentry)?;
        if let (Some(upper), false) = (node.upper, node.metacopy) {
            return fs.upper_place(upper);
        }
        if let Some(path) = node.data_redirect.clone() {
            let found = self.look_in_data_layers(&fs, &path)?;
            let node = self.node_mut(dentry)?;
            node.data_redirect = None;
            node.lower.push(found);
        }
        match self.node(dentry)?.lower.last() {
            Some((layer, lower)) => fs.lower_place(*layer, *lower),
            None => refuse(Errno::EIO),
        }
    }

    fn look_in_data_layers(&mut self, fs: &Overlay, path: &str) -> Res<(usize, DentryId)> {
        let mut why = Errno::ENOENT;
        for (index, layer) in fs.lower.iter().enumerate().skip(fs.merged) {
            match self.look_in_data_layer(fs, (index, layer.root), path) {
                Ok(found) => return Ok((index, found)),
                Err(Halt::Refused(errno)) => why = errno,
                Err(halt) => return Err(halt),
            }
        }
        self.deny(true, &rules::DATA_MISSING, why)?;
        refuse(Errno::EIO)
    }

    /// Walks to the data of a file, and through no symbolic link (`ovl_lookup_data_layer`).
    fn look_in_data_layer(
        &mut self,
        fs: &Overlay,
        (layer, root): (usize, DentryId),
        path: &str,
    ) -> Res<DentryId> {
        let mut at = root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match self.file_type(self.inode(at)) {
                FileType::Dir => {}
                FileType::Symlink => return refuse(Errno::ELOOP),
                _ => return refuse(Errno::ENOTDIR),
            }
            let found = self.layer_lookup(fs, fs.lower_place(layer, at)?, name)?;
            at = found.ok_or(Errno::ENOENT)?;
        }
        if self.is_regular(at) { Ok(at) } else { refuse(Errno::ENOENT) }
    }
}
