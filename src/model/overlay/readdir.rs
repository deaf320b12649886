//! Listings: fs/overlayfs/readdir.c.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{Child, Identity, Overlay};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::machine::{DentryId, Machine, Place};
use crate::model::rules::overlay as rules;
use crate::model::vfs::Access;
use crate::scenario::scalar::Errno;

/// A name of a merged listing.
#[derive(Clone, Copy, Debug)]
struct Entry {
    is_upper: bool,
    is_whiteout: bool,
    /// May be a whiteout in the form of an attribute.
    may_be_whiteout: bool,
}

/// The first of several names that are refused decides, and each file system has an order of its own. It is not known
/// either what else was looked up, which leaves marks in the upper layer.
const UNKNOWN_ORDER: &str = "in which order the names of a directory are read";

/// Of names that an open directory keeps it is not known whether they were looked up when they were found.
const KEPT_LISTING: &str = "whether the names that an open directory keeps were looked up";

impl Machine<'_> {
    /// The names that a directory of an overlay lists.
    pub fn ovl_list(&mut self, dir: DentryId) -> Res<Vec<Rc<str>>> {
        let fs = self.overlay(dir)?;
        let node = self.node(dir)?;
        if !node.whiteouts {
            // What is in one layer only is passed on as it is, with whiteouts.
            let real = self.real_place(dir)?;
            let names = self.one_layer_entries(&fs, real)?;
            return self.look_up_numbered(&fs, dir, names);
        }
        let numbered = node.impure && fs.identity != Identity::Devices;
        let mut names = Vec::new();
        let mut refused = Vec::new();
        let mut hidden = false;
        for (name, entry) in self.merged_entries(&fs, dir)? {
            if entry.is_whiteout && self.by(&rules::LIST_NO_WHITEOUTS) {
                continue;
            }
            // What needs a number of its own is looked up for it, and left out where that fails.
            let looked_up = fs.identity == Identity::HighBits || (entry.is_upper && numbered);
            if looked_up || entry.may_be_whiteout {
                match self.name_of(dir, &name) {
                    Ok(Child::There(_)) => {}
                    Err(Halt::Refused(errno)) if self.by(&rules::LIST_HIDES_REFUSED) => {
                        refused.push(errno);
                        hidden = true;
                        continue;
                    }
                    Err(halt @ (Halt::Unknown(_) | Halt::Lost(_))) => return Err(halt),
                    _ if entry.may_be_whiteout && self.by(&rules::LIST_XATTR_WHITEOUTS) => continue,
                    Ok(Child::Missing { .. })
                        if looked_up && self.by(&rules::LIST_HIDES_REFUSED) =>
                    {
                        hidden = true;
                        continue;
                    }
                    _ => {}
                }
            }
            names.push(name);
        }
        if hidden && self.keeps_a_listing(dir) {
            return Err(Halt::Lost(KEPT_LISTING));
        }
        self.check_refused(&refused, names.is_empty())?;
        Ok(names)
    }

    /// Whether a descriptor by which a directory was listed is open: it keeps the names as they were found then, for
    /// all who list the directory (`ovl_dir_cache_get`).
    fn keeps_a_listing(&self, dir: DentryId) -> bool {
        let inode = self.inode(dir);
        let mut files = self.files.iter().map(|(_, file)| file);
        files.any(|file| file.listed && file.count > 0 && self.inode(file.place.dentry) == inode)
    }

    /// Whether a directory of a layer can be listed: the mounter may, and nobody removed it there.
    fn may_list(&self, fs: &Overlay, dir: Place) -> Res<()> {
        self.may(&fs.mounter, dir, Access::READ)?;
        self.deny(self.is_dead(dir.dentry), &rules::LIST_REMOVED_BELOW, Errno::ENOENT)
    }

    /// What a layer itself lists, where there is nothing to merge (`ovl_iterate_real`).
    fn one_layer_entries(&mut self, fs: &Overlay, real: Place) -> Res<Vec<Rc<str>>> {
        self.may_list(fs, real)?;
        let mut names = Vec::new();
        for name in self.fs_list(real.dentry)? {
            let found = self.fs_lookup(real.dentry, &name)?;
            let found = found.map(|dentry| Place { dentry, ..real });
            let whiteout = match found {
                Some(found) => self.has_whiteout_form(fs, found)?,
                None => false,
            };
            if !whiteout || self.by(&rules::LIST_ONE_LAYER) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Looks up the names of a directory that lies in the upper layer, for the numbers of what was copied up
    /// (`ovl_dir_read_impure`).
    fn look_up_numbered(
        &mut self,
        fs: &Overlay,
        dir: DentryId,
        names: Vec<Rc<str>>,
    ) -> Res<Vec<Rc<str>>> {
        let node = self.node(dir)?;
        if !node.impure || node.upper.is_none() || fs.identity == Identity::Devices {
            return Ok(names);
        }
        let mut refused = BTreeSet::new();
        for name in &names {
            if let Err(Halt::Refused(errno)) = self.name_of(dir, name) {
                refused.insert(errno);
            }
        }
        if refused.len() > 1 {
            return Err(Halt::Lost(UNKNOWN_ORDER));
        }
        match refused.pop_first() {
            Some(errno) => self.deny(true, &rules::LIST_IMPURE_FAILS, errno).map(|()| names),
            None => Ok(names),
        }
    }

    /// One name that is refused ends a call of getdents(2) early. A second one with no name between
    /// them has the next call end without a name, and that call fails.
    fn check_refused(&self, refused: &[Errno], nothing_else: bool) -> Res<()> {
        match refused {
            [] | [_] => Ok(()),
            [.., last] if nothing_else => self.deny(true, &rules::LIST_FAILS, *last),
            _ => Err(Halt::Lost(UNKNOWN_ORDER)),
        }
    }

    /// The names of all layers of a directory, each once (`ovl_dir_read_merged`).
    fn merged_entries(&mut self, fs: &Overlay, dir: DentryId) -> Res<BTreeMap<Rc<str>, Entry>> {
        let node = self.node(dir)?;
        let xwhiteouts = node.xwhiteouts;
        let mut layers: Vec<(Place, bool, bool)> = Vec::new();
        if let Some(upper) = node.upper {
            layers.push((fs.upper_place(upper)?, true, false));
        }
        for (layer, lower) in &node.lower {
            let marked = xwhiteouts && fs.lower.get(*layer).is_some_and(|l| l.xwhiteouts.get());
            layers.push((fs.lower_place(*layer, *lower)?, false, marked));
        }
        let mut entries = BTreeMap::new();
        for (place, is_upper, marked) in layers {
            self.may_list(fs, place)?;
            for name in self.fs_list(place.dentry)? {
                if entries.contains_key(&name) {
                    continue;
                }
                let found = self.fs_lookup(place.dentry, &name).ok().flatten();
                let is_whiteout = found.is_some_and(|found| self.is_device_whiteout(found));
                let may_be_whiteout = marked && found.is_some_and(|found| self.is_regular(found));
                entries.insert(name, Entry { is_upper, is_whiteout, may_be_whiteout });
            }
        }
        Ok(entries)
    }

    /// The whiteouts of the upper layer in a directory in which nothing is seen; ENOTEMPTY otherwise
    /// (`ovl_check_empty_dir`).
    pub(super) fn whiteouts_in_empty(&mut self, fs: &Overlay, dir: DentryId) -> Res<Vec<Rc<str>>> {
        let entries = self.merged_entries(fs, dir)?;
        if entries.values().any(|entry| !entry.is_whiteout) {
            self.deny(true, &rules::REMOVE_NOT_EMPTY, Errno::ENOTEMPTY)?;
            return refuse(Errno::EIO);
        }
        let upper = entries.into_iter().filter(|(_, entry)| entry.is_upper);
        Ok(upper.map(|(name, _)| name).collect())
    }
}
