//! Looks for a name in one layer of an overlay, and reads the marks there: fs/overlayfs/namei.c.

use std::rc::Rc;

use super::Overlay;
use super::xattrs::Mark;
use crate::model::halt::{Halt, Res};
use crate::model::machine::{DentryId, FileType, Kind, Machine, Place};
use crate::model::rules::overlay as rules;
use crate::model::vfs::Access;
use crate::scenario::scalar::Errno;

/// A lookup of one name on its way down the layers (`struct ovl_lookup_data`).
pub(super) struct Search {
    /// What to look for in the next layer: a name, or a path from the root of the overlay.
    pub(super) name: Rc<str>,
    pub(super) is_dir: bool,
    pub(super) opaque: bool,
    pub(super) xwhiteouts: bool,
    pub(super) stop: bool,
    /// No layer comes after this one.
    pub(super) last: bool,
    pub(super) redirect: Option<Rc<str>>,
    /// What was found last has no data.
    pub(super) metacopy: bool,
    /// The last redirect was a path.
    pub(super) absolute: bool,
}

impl Search {
    /// Whether what was found would lead where this overlay follows nothing.
    pub(super) fn leads_where_none_may(&self, fs: &Overlay) -> bool {
        (self.redirect.is_some() && !fs.follows_redirects())
            || (self.metacopy && !fs.config.metacopy)
    }

    /// Whether what was found leads to a path from the overlay's root.
    pub(super) fn is_led_to_root(&self) -> bool {
        self.redirect.as_ref().is_some_and(|path| path.starts_with('/'))
    }
}

impl Machine<'_> {
    // ---- one layer ----

    /// Looks in one layer for a name, or for a path from the overlay's root (`ovl_lookup_layer`).
    pub(super) fn look_in_layer(
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
}
