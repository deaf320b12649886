//! Renames: fs/overlayfs/dir.c ovl_rename().

use std::rc::Rc;

use super::copy_up::Need;
use super::options::Redirect;
use super::xattrs::Mark;
use super::{Child, Overlay};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::machine::{DentryId, Machine};
use crate::model::rules::overlay as rules;
use crate::model::vfs::{Access, RenameHow};
use crate::scenario::scalar::Errno;

/// Longest redirect that is a path: `ovl_redirect_max`.
const REDIRECT_MAX: usize = 256;

/// One side of a rename.
#[derive(Clone, Copy)]
struct Side {
    dentry: DentryId,
    dir: DentryId,
    is_dir: bool,
}

/// A rename of an overlay, with what it finds before it changes anything.
struct Rename<'n> {
    from: Side,
    new_dir: DentryId,
    new_name: &'n str,
    /// What has the new name.
    to: Option<Side>,
    /// The two change places.
    exchange: bool,
    /// What keeps the directory that is replaced from being empty in the upper layer.
    whiteouts: Vec<Rc<str>>,
    /// The new name is that of a whiteout.
    over_whiteout: bool,
    /// A lower layer has the old name, and nothing gets it.
    hides: bool,
}

impl Rename<'_> {
    fn exchanged(&self) -> Option<Side> {
        self.to.filter(|_| self.exchange)
    }

    fn replaced(&self) -> Option<Side> {
        self.to.filter(|_| !self.exchange)
    }

    fn same_dir(&self) -> bool {
        self.from.dir == self.new_dir
    }
}

impl Machine<'_> {
    /// Renames a file of an overlay.
    pub fn ovl_rename(
        &mut self,
        old: DentryId,
        new_dir: DentryId,
        new_name: &str,
        target: Option<DentryId>,
        how: RenameHow,
    ) -> Res<()> {
        let fs = self.overlay(old)?;
        self.deny(how.whiteout, &rules::RENAME_WHITEOUT, Errno::EINVAL)?;
        let old_dir = self.dentries[old].parent;
        let from = Side { dentry: old, dir: old_dir, is_dir: self.is_dir(old) };
        let to = target.map(|dentry| Side { dentry, dir: new_dir, is_dir: self.is_dir(dentry) });
        let rename = self.rename_start(&fs, from, new_dir, new_name, to, how.exchange)?;
        self.copy_up_for_rename(&fs, &rename)?;
        self.ovl_want_write(&fs)?;
        let cleared = match rename.replaced() {
            Some(other) if !rename.whiteouts.is_empty() => {
                Some(self.clear_empty(&fs, other.dentry, &rename.whiteouts)?)
            }
            _ => None,
        };
        if !rename.same_dir() {
            self.set_impure_by(&fs, old, new_dir)?;
            if let Some(other) = rename.exchanged() {
                self.set_impure_by(&fs, other.dentry, old_dir)?;
            }
        }
        let (old_upper, new_upper) = self.uppers_of(&fs, &rename, cleared)?;
        let marked = self.mark_moved(&fs, from, new_dir, rename.same_dir())?;
        if let Some(other) = rename.exchanged() {
            self.mark_moved(&fs, other, old_dir, rename.same_dir())?;
        }
        let renamed = self.rename_upper(&fs, &rename, old_upper, new_upper);
        if renamed.is_err() {
            self.take_back(&fs, marked, old, old_upper)?;
        }
        renamed?;
        let moved = [Some(old), target, Some(old_dir), Some(new_dir)];
        moved.into_iter().flatten().for_each(|dentry| self.read_guard(self.inode(dentry)));
        self.move_names(&fs, &rename)
    }

    /// Whether there may be a rename, and what it finds (`ovl_rename_start`).
    fn rename_start<'n>(
        &mut self,
        fs: &Overlay,
        from: Side,
        new_dir: DentryId,
        new_name: &'n str,
        to: Option<Side>,
        exchange: bool,
    ) -> Res<Rename<'n>> {
        self.ovl_may_move(fs, from)?;
        if let Some(other) = to.filter(|_| exchange) {
            self.ovl_may_move(fs, other)?;
        }
        let whiteouts = match to.filter(|_| !exchange) {
            Some(Side { dentry, is_dir: true, .. }) if !self.node(dentry)?.is_pure_upper() => {
                self.whiteouts_in_empty(fs, dentry)?
            }
            _ => Vec::new(),
        };
        let over_whiteout = self.name_of(new_dir, new_name)? == Child::Missing { whiteout: true };
        let hides = !exchange && self.is_lower_positive(fs, from.dentry)?;
        Ok(Rename { from, new_dir, new_name, to, exchange, whiteouts, over_whiteout, hides })
    }

    /// Has in the upper layer what a rename changes there.
    fn copy_up_for_rename(&mut self, fs: &Overlay, rename: &Rename<'_>) -> Res<()> {
        self.copy_up(rename.from.dentry, Need::Metadata)?;
        self.copy_up(rename.new_dir, Need::Metadata)?;
        if let Some(other) = rename.exchanged() {
            self.copy_up(other.dentry, Need::Metadata)?;
        } else if let Some(other) = rename.replaced() {
            if self.needs_index(fs, other.dentry)? {
                self.copy_up(other.dentry, Need::Metadata)?;
            }
            self.store_nlink(fs, other.dentry)?;
        }
        Ok(())
    }

    /// A directory into which something is moved that has an origin is impure.
    fn set_impure_by(&mut self, fs: &Overlay, moved: DentryId, dir: DentryId) -> Res<()> {
        if self.node(moved)?.has_origin() {
            self.set_impure(fs, dir)?;
        }
        Ok(())
    }

    /// Takes the mark of a move back that did not happen, where the mark is set behind it.
    fn take_back(
        &mut self,
        fs: &Overlay,
        marked: Option<Mark>,
        old: DentryId,
        upper: DentryId,
    ) -> Res<()> {
        match marked {
            Some(Mark::Opaque) if !self.by(&rules::RENAME_OPAQUE_FIRST) => {
                self.remove_mark(fs, upper, Mark::Opaque)?;
                self.node_mut(old)?.opaque = false;
            }
            Some(Mark::Redirect) if !self.by(&rules::RENAME_REDIRECT_FIRST) => {
                self.remove_mark(fs, upper, Mark::Redirect)?;
                self.node_mut(old)?.redirect = None;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a directory may get another name (`ovl_can_move`).
    fn ovl_may_move(&self, fs: &Overlay, side: Side) -> Res<()> {
        let bound = fs.config.redirect != Redirect::On
            && side.is_dir
            && self.node(side.dentry)?.is_merged_or_lower(true);
        self.deny(bound, &rules::RENAME_DIR_EXDEV, Errno::EXDEV)
    }

    /// What the upper layer has at both names, which must be what the overlay knows.
    fn uppers_of(
        &mut self,
        fs: &Overlay,
        rename: &Rename<'_>,
        cleared: Option<DentryId>,
    ) -> Res<(DentryId, Option<DentryId>)> {
        let &Rename { from, to, over_whiteout, .. } = rename;
        let (old_dir, new_dir) = (self.upper_of(from.dir)?, self.upper_of(rename.new_dir)?);
        self.may(&fs.mounter, fs.upper_place(old_dir)?, Access::CHANGE_DIR)?;
        self.may(&fs.mounter, fs.upper_place(new_dir)?, Access::CHANGE_DIR)?;
        let old_name = Rc::clone(&self.dentries[from.dentry].name);
        let old_upper = self.fs_lookup(old_dir, &old_name)?;
        let expected = self.node(from.dentry)?.upper;
        let new = self.fs_lookup(new_dir, rename.new_name)?;
        let swaps =
            rename.exchanged().is_some() || (over_whiteout && (rename.hides || from.is_dir));
        self.gone(old_upper.is_none() || (swaps && new.is_none()))?;
        let Some(old) = old_upper.filter(|_| self.is_same_upper(old_upper, expected)) else {
            return self.stale();
        };
        let known = match to {
            Some(to) => cleared.or(self.node(to.dentry)?.upper),
            None => None,
        };
        let as_known = match (known, new) {
            (Some(_), _) => self.is_same_upper(new, known),
            (None, Some(new)) => over_whiteout && self.is_whiteout(fs, fs.upper_place(new)?)?,
            (None, None) => !over_whiteout,
        };
        if !as_known || self.is_same_upper(Some(old), new) {
            return self.stale();
        }
        Ok((old, new))
    }

    /// Says on what is moved where the lower layers have it, or that they do not: the mark that it got.
    fn mark_moved(
        &mut self,
        fs: &Overlay,
        side: Side,
        new_dir: DentryId,
        same_dir: bool,
    ) -> Res<Option<Mark>> {
        let node = self.node(side.dentry)?;
        if node.is_merged_or_lower(side.is_dir) {
            let had = node.redirect.is_some();
            self.set_redirect(fs, side.dentry, same_dir)?;
            let has = self.node(side.dentry)?.redirect.is_some();
            return Ok((has && !had).then_some(Mark::Redirect));
        }
        let hides_nothing = side.is_dir && !node.opaque;
        if let (true, true, Some(upper)) =
            (hides_nothing, self.node(new_dir)?.is_merged(true), self.node(side.dentry)?.upper)
            && self.by(&rules::RENAME_OPAQUE)
        {
            self.set_opaque(fs, upper, Errno::EXDEV)?;
            self.node_mut(side.dentry)?.opaque = true;
            return Ok(Some(Mark::Opaque));
        }
        Ok(None)
    }

    /// Says on a file of the upper layer at which path the lower layers have it (`ovl_set_redirect`).
    pub(super) fn set_redirect(
        &mut self,
        fs: &Overlay,
        dentry: DentryId,
        same_dir: bool,
    ) -> Res<()> {
        let absolute = !same_dir || self.is_lower_hard_link(dentry)?;
        if let Some(redirect) = &self.node(dentry)?.redirect
            && (!absolute || redirect.starts_with('/'))
        {
            return Ok(());
        }
        let redirect: Rc<str> = if absolute {
            self.path_below(dentry)?.into()
        } else {
            Rc::clone(&self.dentries[dentry].name)
        };
        let upper = self.upper_of(dentry)?;
        let value = redirect.as_bytes().to_vec();
        match self.try_mark(fs, upper, Mark::Redirect, &value) {
            Ok(true) => {}
            Ok(false) | Err(Halt::Refused(_)) => return refuse(Errno::EXDEV),
            Err(halt) => return Err(halt),
        }
        self.node_mut(dentry)?.redirect = Some(redirect);
        Ok(())
    }

    fn is_lower_hard_link(&self, dentry: DentryId) -> Res<bool> {
        if self.is_dir(dentry) {
            return Ok(false);
        }
        let lower = self.node(dentry)?.top_lower();
        Ok(lower.is_some_and(|(_, lower)| self.inodes[self.real(self.inode(lower))].nlink > 1))
    }

    /// The path of a file in the lower layers, from the root of the overlay (`ovl_get_redirect`).
    fn path_below(&self, dentry: DentryId) -> Res<String> {
        let mut path = String::new();
        let mut at = dentry;
        loop {
            let parent = self.dentries[at].parent;
            if parent == at {
                break;
            }
            let name = match &self.node(at)?.redirect {
                Some(redirect) => redirect,
                None => &self.dentries[at].name,
            };
            path.insert_str(0, name);
            if name.starts_with('/') {
                break;
            }
            path.insert(0, '/');
            at = parent;
        }
        self.deny(path.len() > REDIRECT_MAX, &rules::REDIRECT_TOO_LONG, Errno::EXDEV)?;
        Ok(path)
    }

    /// Renames in the upper layer, and leaves a whiteout where a lower layer has the old name.
    fn rename_upper(
        &mut self,
        fs: &Overlay,
        rename: &Rename<'_>,
        old: DentryId,
        new: Option<DentryId>,
    ) -> Res<()> {
        let hides = rename.hides && self.by(&rules::RENAME_LEAVES_WHITEOUT);
        let new_dir = self.upper_of(rename.new_dir)?;
        // A whiteout that is in the way changes places with what hides the old name.
        let switches = rename.over_whiteout && (hides || rename.from.is_dir);
        let how = RenameHow {
            noreplace: false,
            exchange: rename.exchanged().is_some() || (switches && new.is_some()),
            whiteout: hides && !rename.over_whiteout,
            mount: fs.upper.as_ref().map(|upper| upper.mount),
        };
        self.fs_rename(&fs.mounter, old, new_dir, rename.new_name, new, how)?;
        if let (true, false, Some(new)) = (switches, hides, new) {
            self.clean_up(fs, new);
        }
        Ok(())
    }

    /// Moves the names of the overlay.
    fn move_names(&mut self, fs: &Overlay, rename: &Rename<'_>) -> Res<()> {
        let from = rename.from;
        let old_name = Rc::clone(&self.dentries[from.dentry].name);
        self.node_mut(from.dir)?.children.remove(&old_name);
        if let Some(other) = rename.exchanged() {
            self.place_name(other.dentry, from.dir, old_name)?;
        } else if let Some(other) = rename.replaced() {
            self.forget(other.dentry)?;
            self.end_link(fs, other.dentry)?;
        }
        self.place_name(from.dentry, rename.new_dir, rename.new_name.into())
    }

    fn place_name(&mut self, dentry: DentryId, dir: DentryId, name: Rc<str>) -> Res<()> {
        self.dentries[dentry].parent = dir;
        self.dentries[dentry].name = Rc::clone(&name);
        self.node_mut(dir)?.children.insert(name, Child::There(dentry));
        Ok(())
    }
}
