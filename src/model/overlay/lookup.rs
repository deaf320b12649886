//! Lookups: fs/overlayfs/namei.c.

use std::rc::Rc;

use super::xattrs::Mark;
use super::{Child, NO_OVERLAY, Node, Overlay};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::ids::cap;
use crate::model::machine::{DentryId, FileType, InodeId, Kind, Machine, Place};
use crate::model::rules::Rule;
use crate::model::rules::overlay as rules;
use crate::model::vfs::Access;
use crate::scenario::scalar::Errno;

/// The length of a file handle of tmpfs with what the overlay puts before it.
const HANDLE_BYTES: usize = 33;

/// A lookup of one name on its way down the layers (`struct ovl_lookup_data`).
struct Search {
    /// What to look for in the next layer: a name, or a path from the root of the overlay.
    name: Rc<str>,
    is_dir: bool,
    opaque: bool,
    xwhiteouts: bool,
    stop: bool,
    /// No layer comes after this one.
    last: bool,
    redirect: Option<Rc<str>>,
    /// What was found last has no data.
    metacopy: bool,
    /// The last redirect was a path.
    absolute: bool,
}

impl Search {
    /// Whether what was found would lead where this overlay follows nothing.
    fn leads_where_none_may(&self, fs: &Overlay) -> bool {
        (self.redirect.is_some() && !fs.follows_redirects())
            || (self.metacopy && !fs.config.metacopy)
    }

    /// Whether what was found leads to a path from the overlay's root.
    fn is_led_to_root(&self) -> bool {
        self.redirect.as_ref().is_some_and(|path| path.starts_with('/'))
    }
}

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

    // ---- one layer ----

    /// Looks in one layer for a name, or for a path from the overlay's root (`ovl_lookup_layer`).
    fn look_in_layer(
        &mut self,
        fs: &Overlay,
        layer: Option<usize>,
        base: DentryId,
        search: &mut Search,
    ) -> Res<Option<DentryId>> {
        if !search.name.starts_with('/') {
            let name = Rc::clone(&search.name);
            return self.look_single(fs, layer, base, search, (&name, 0, name.len()));
        }
        // Counted from the end, for a redirect on the way changes what stands before.
        let mut rest = search.name.len() - 1;
        let mut base = base;
        loop {
            let path = Rc::clone(&search.name);
            let start = path.len() - rest;
            let end = path[start..].find('/').map_or(path.len(), |length| start + length);
            let found = self.look_single(fs, layer, base, search, (&path, start, end))?;
            let Some(found) = found else { return Ok(None) };
            if end == path.len() {
                return Ok(Some(found));
            }
            base = found;
            rest = path.len() - end - 1;
        }
    }

    /// Looks for one component of a path: its text, where it starts and where it ends
    /// (`ovl_lookup_single`).
    fn look_single(
        &mut self,
        fs: &Overlay,
        layer: Option<usize>,
        base: DentryId,
        search: &mut Search,
        (path, start, end): (&str, usize, usize),
    ) -> Res<Option<DentryId>> {
        let is_last = end == path.len();
        let at = |dentry| match layer {
            None => fs.upper_place(dentry),
            Some(layer) => fs.lower_place(layer, dentry),
        };
        let name = &path[start..end];
        self.deny(matches!(name, "." | ".."), &rules::REDIRECT_THROUGH_DOTS, Errno::EACCES)?;
        let found = self.layer_lookup(fs, at(base)?, name)?;
        let Some(found) = found else { return Ok(None) };
        let place = at(found)?;
        if self.is_whiteout(fs, place)? {
            search.stop = true;
            search.opaque = true;
            return Ok(None);
        }
        let kind = self.file_type(self.inode(found));
        if is_last && search.metacopy && kind != FileType::File {
            search.stop = true;
            return Ok(None);
        }
        if kind != FileType::Dir {
            if search.is_dir || !is_last {
                if self.by(&rules::FILE_ENDS_MERGE) {
                    search.stop = true;
                }
                return Ok(None);
            }
            search.metacopy = self.is_metacopy(fs, place)?;
            search.stop = !search.metacopy;
            if !search.metacopy || search.last {
                return Ok(Some(found));
            }
        } else if self.is_end_in_dir(fs, layer, place, search, is_last)? {
            return Ok(Some(found));
        }
        self.redirect_search(fs, place, search, (path, start, end))?;
        Ok(Some(found))
    }

    /// Whether a directory ends the search: it is the last that is asked for, or opaque.
    fn is_end_in_dir(
        &mut self,
        fs: &Overlay,
        layer: Option<usize>,
        place: Place,
        search: &mut Search,
        is_last: bool,
    ) -> Res<bool> {
        let trapped = fs.traps.contains(&self.inode(place.dentry));
        self.deny(trapped, &rules::LAYER_INSIDE_LAYER, Errno::ELOOP)?;
        search.is_dir |= is_last;
        if search.last {
            return Ok(true);
        }
        match self.mark_byte(fs, place, Mark::Opaque) {
            Some(b'y') if self.by(&rules::OPAQUE) => {
                search.stop = true;
                search.opaque |= is_last;
                return Ok(true);
            }
            Some(b'x') if is_last => {
                if let Some(layer) = layer.and_then(|layer| fs.lower.get(layer)) {
                    search.xwhiteouts = true;
                    layer.xwhiteouts.set(true);
                }
            }
            _ => {}
        }
        Ok(false)
    }

    /// A redirect changes what the layers below are asked for (`ovl_check_redirect`).
    fn redirect_search(
        &mut self,
        fs: &Overlay,
        place: Place,
        search: &mut Search,
        (path, start, end): (&str, usize, usize),
    ) -> Res<()> {
        let Some(redirect) = self.redirect_mark(fs, place)? else {
            if search.absolute && search.metacopy && fs.has_data_layers() {
                search.absolute = !self.by(&rules::DATA_PATH_FORGOTTEN);
            }
            return Ok(());
        };
        let behind = &path[end..];
        let name = if redirect.starts_with('/') {
            // A directory on the way may have been opaque: this one is not.
            search.stop = false;
            search.absolute = true;
            format!("{redirect}{behind}")
        } else {
            search.absolute = false;
            format!("{}{redirect}{behind}", &path[..start])
        };
        search.name = name.into();
        search.redirect = Some(Rc::clone(&search.name));
        Ok(())
    }

    /// The redirect that a file of a layer carries.
    pub(super) fn redirect_mark(&mut self, fs: &Overlay, place: Place) -> Res<Option<String>> {
        let Some(value) = self.mark(fs, place, Mark::Redirect)? else { return Ok(None) };
        let redirect = String::from_utf8_lossy(&value).into_owned();
        let invalid = match redirect.strip_prefix('/') {
            Some(path) => path.split('/').any(str::is_empty),
            None => redirect.is_empty() || redirect.contains('/'),
        };
        self.deny(invalid, &rules::REDIRECT_INVALID, Errno::EINVAL)?;
        Ok(Some(redirect))
    }

    /// Looks up a name of a directory of a layer as the mounter.
    pub(super) fn layer_lookup(
        &mut self,
        fs: &Overlay,
        dir: Place,
        name: &str,
    ) -> Res<Option<DentryId>> {
        self.may(&fs.mounter, dir, Access::SEARCH)?;
        match self.fs_lookup(dir.dentry, name) {
            Err(Halt::Refused(Errno::ENOENT | Errno::ENAMETOOLONG)) => Ok(None),
            result => result,
        }
    }

    /// Whether a file of a layer is a whiteout (`ovl_path_is_whiteout`).
    pub(super) fn is_whiteout(&mut self, fs: &Overlay, place: Place) -> Res<bool> {
        if self.is_device_whiteout(place.dentry) {
            return Ok(self.by(&rules::WHITEOUT));
        }
        Ok(self.is_xattr_whiteout(fs, place)? && self.by(&rules::WHITEOUT_XATTR))
    }

    /// Whether it looks like a whiteout, whether or not a lookup takes it for one.
    pub(super) fn has_whiteout_form(&mut self, fs: &Overlay, place: Place) -> Res<bool> {
        Ok(self.is_device_whiteout(place.dentry) || self.is_xattr_whiteout(fs, place)?)
    }

    /// Whether it is the character device 0:0.
    pub(super) fn is_device_whiteout(&self, dentry: DentryId) -> bool {
        matches!(self.inodes[self.real(self.inode(dentry))].kind, Kind::Char(0, 0))
    }

    fn is_xattr_whiteout(&mut self, fs: &Overlay, place: Place) -> Res<bool> {
        let empty = match &self.inodes[self.real(self.inode(place.dentry))].kind {
            Kind::File(data) => data.size == 0,
            _ => false,
        };
        Ok(empty && self.mark(fs, place, Mark::Whiteout)?.is_some())
    }

    /// Whether a file of a layer has no data (`ovl_check_metacopy_xattr`).
    pub(super) fn is_metacopy(&mut self, fs: &Overlay, place: Place) -> Res<bool> {
        if !self.is_regular(place.dentry) {
            return Ok(false);
        }
        Ok(self.mark(fs, place, Mark::Metacopy)?.is_some())
    }

    // ---- origins ----

    /// Marks a directory of the upper layer that is merged with a lower one for the first time
    /// (`ovl_fix_origin`).
    fn fix_origin(
        &mut self,
        fs: &Overlay,
        dir: DentryId,
        upper: Option<DentryId>,
        lower: DentryId,
    ) -> Res<()> {
        let Some(upper) = upper.filter(|_| !fs.noxattr.get()) else { return Ok(()) };
        let place = fs.upper_place(upper)?;
        if self.mark(fs, place, Mark::Origin)?.is_some() || !self.by(&rules::LOOKUP_SETS_ORIGIN) {
            return Ok(());
        }
        self.ovl_want_write(fs)?;
        self.set_origin(fs, upper, lower)?;
        self.set_impure(fs, dir)
    }

    /// Whether a directory of the upper layer is marked with another origin than the lower one that was found,
    /// which is not merged with it where handles lead to either (`ovl_verify_origin`).
    fn has_another_origin(
        &mut self,
        fs: &Overlay,
        upper: Option<DentryId>,
        lower: DentryId,
    ) -> Res<bool> {
        let Some(upper) = upper.filter(|_| fs.config.nfs_export) else { return Ok(false) };
        let origin = self.mark(fs, fs.upper_place(upper)?, Mark::Origin)?;
        let other = origin.is_some_and(|origin| origin != self.origin_handle(lower));
        Ok(other && self.by(&rules::ORIGIN_VERIFIED))
    }

    /// With an index a file without data must have them where it was copied up from.
    fn must_be_origin(
        &mut self,
        fs: &Overlay,
        upper: Option<DentryId>,
        lower: DentryId,
    ) -> Res<()> {
        let Some(upper) = upper else { return Ok(()) };
        let origin = self.origin_of(fs, upper)?;
        let other = origin.is_some_and(|(_, origin)| self.inode(origin) != self.inode(lower));
        self.deny(other, &rules::METACOPY_OTHER_ORIGIN, Errno::ESTALE)
    }

    /// Remembers where a file of the upper layer comes from; the value is empty where there are no file
    /// handles (`ovl_set_origin_fh`).
    pub(super) fn set_origin(&mut self, fs: &Overlay, upper: DentryId, lower: DentryId) -> Res<()> {
        let handle =
            if self.has_file_handles(fs, lower) { self.origin_handle(lower) } else { Vec::new() };
        match self.try_mark(fs, upper, Mark::Origin, &handle) {
            // A symbolic link or a special file takes no user.* attribute.
            Err(Halt::Refused(Errno::EPERM)) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Whether a file can be found again by a handle (`ovl_can_decode_fh`).
    pub(super) fn has_file_handles(&self, fs: &Overlay, dentry: DentryId) -> bool {
        let sb = &self.supers[self.dentries[dentry].sb];
        sb.overlay.as_ref().is_none_or(|below| below.config.nfs_export)
            && self.capable_of_machine(&fs.mounter, cap::DAC_READ_SEARCH)
    }

    /// What stands for a file handle: the inode number and as many bytes as a handle of tmpfs has.
    pub(super) fn origin_handle(&self, dentry: DentryId) -> Vec<u8> {
        let mut handle = vec![0; HANDLE_BYTES];
        let inode = &self.inodes[self.real(self.inode(dentry))];
        handle[..8].copy_from_slice(&inode.number.to_le_bytes());
        handle[8..12].copy_from_slice(&inode.sb.number().to_le_bytes());
        handle
    }

    /// The lower file that a file of the upper layer was copied from, by the handle that it carries.
    pub(super) fn origin_of(
        &mut self,
        fs: &Overlay,
        upper: DentryId,
    ) -> Res<Option<(usize, DentryId)>> {
        let place = fs.upper_place(upper)?;
        let handle = match self.mark(fs, place, Mark::Origin)? {
            Some(handle) if handle.len() == HANDLE_BYTES => handle,
            _ => return Ok(None),
        };
        let found = self.dentries.iter().find_map(|(id, dentry)| {
            let layer = fs.lower[..fs.merged]
                .iter()
                .position(|layer| self.dentries[layer.root].sb == dentry.sb)?;
            let same = !dentry.unlinked && self.origin_handle(id) == handle;
            same.then_some((layer, id))
        });
        let kind = self.file_type(self.inode(upper));
        Ok(found.filter(|(_, lower)| self.file_type(self.inode(*lower)) == kind))
    }

    // ---- below a name ----

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
