//! Extended attributes: the overlay's own marks on its layers, and those that users see through it.

use std::rc::Rc;

use super::Overlay;
use crate::model::halt::{Halt, Res, refuse};
use crate::model::machine::{DentryId, FsType, Machine, Place};
use crate::model::rules::overlay as rules;
use crate::scenario::scalar::Errno;

const TRUSTED: &str = "trusted.overlay.";
const USER: &str = "user.overlay.";

/// A mark of the overlay on a file of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Opaque,
    Redirect,
    Origin,
    Impure,
    Nlink,
    Upper,
    Metacopy,
    Uuid,
    Whiteout,
}

impl Mark {
    /// The attribute that it is.
    pub(super) fn name(self, userxattr: bool) -> &'static str {
        let (trusted, user) = match self {
            Self::Opaque => ("trusted.overlay.opaque", "user.overlay.opaque"),
            Self::Redirect => ("trusted.overlay.redirect", "user.overlay.redirect"),
            Self::Origin => ("trusted.overlay.origin", "user.overlay.origin"),
            Self::Impure => ("trusted.overlay.impure", "user.overlay.impure"),
            Self::Nlink => ("trusted.overlay.nlink", "user.overlay.nlink"),
            Self::Upper => ("trusted.overlay.upper", "user.overlay.upper"),
            Self::Metacopy => ("trusted.overlay.metacopy", "user.overlay.metacopy"),
            Self::Uuid => ("trusted.overlay.uuid", "user.overlay.uuid"),
            Self::Whiteout => ("trusted.overlay.whiteout", "user.overlay.whiteout"),
        };
        if userxattr { user } else { trusted }
    }
}

impl Overlay {
    fn prefix(&self) -> &'static str {
        if self.config.userxattr { USER } else { TRUSTED }
    }

    /// Whether an attribute is the overlay's, with those that are escaped.
    fn is_own(&self, name: &str) -> bool {
        name.starts_with(self.prefix())
    }

    /// Whether an attribute on a layer is one of an overlay that lies on this one.
    fn is_escaped(&self, name: &str) -> bool {
        name.strip_prefix(self.prefix()).is_some_and(|own| own.starts_with("overlay."))
    }
}

impl Machine<'_> {
    // ---- marks ----

    /// A mark on a file of a layer (`ovl_path_getxattr`); without the right to read it, it is not there.
    pub(super) fn mark(&mut self, fs: &Overlay, at: Place, mark: Mark) -> Res<Option<Vec<u8>>> {
        let name = mark.name(fs.config.userxattr);
        if self.has_no_xattrs(at) {
            return Ok(None);
        }
        match self.vfs_getxattr(&fs.mounter, at, name) {
            Ok(value) => Ok(Some(value)),
            Err(Halt::Refused(Errno::ENODATA | Errno::EOPNOTSUPP)) => Ok(None),
            Err(halt) => Err(halt),
        }
    }

    /// The most frequent case, which costs nothing: no file in memory without attributes has a mark.
    fn has_no_xattrs(&self, at: Place) -> bool {
        let dentry = &self.dentries[at.dentry];
        self.supers[dentry.sb].kind == FsType::Tmpfs && self.inodes[dentry.inode].xattrs.is_empty()
    }

    /// The one byte that a mark on a directory consists of (`ovl_get_dir_xattr_val`).
    pub(super) fn mark_byte(&mut self, fs: &Overlay, at: Place, mark: Mark) -> Option<u8> {
        match self.mark(fs, at, mark) {
            Ok(Some(value)) if value.len() == 1 => value.first().copied(),
            _ => None,
        }
    }

    /// Puts a mark on a file of the upper layer (`ovl_setxattr`).
    pub(super) fn set_mark(
        &mut self,
        fs: &Overlay,
        upper: DentryId,
        mark: Mark,
        value: &[u8],
    ) -> Res<()> {
        let name = mark.name(fs.config.userxattr);
        self.layer_setxattr(fs, upper, name, value, false, false)
    }

    /// Puts a mark on a file of the upper layer; false where that takes none (`ovl_check_setxattr`).
    pub(super) fn try_mark(
        &mut self,
        fs: &Overlay,
        upper: DentryId,
        mark: Mark,
        value: &[u8],
    ) -> Res<bool> {
        if fs.noxattr.get() {
            return Ok(false);
        }
        match self.set_mark(fs, upper, mark, value) {
            Err(Halt::Refused(Errno::EOPNOTSUPP)) => {
                fs.noxattr.set(true);
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }

    pub(super) fn remove_mark(&mut self, fs: &Overlay, upper: DentryId, mark: Mark) -> Res<()> {
        let place = fs.upper_place(upper)?;
        self.vfs_removexattr(&fs.mounter, place, mark.name(fs.config.userxattr))
    }

    /// Sets an attribute of the upper layer as the mounter (`vfs_setxattr`).
    pub(super) fn layer_setxattr(
        &mut self,
        fs: &Overlay,
        upper: DentryId,
        name: &str,
        value: &[u8],
        create: bool,
        replace: bool,
    ) -> Res<()> {
        self.vfs_setxattr(&fs.mounter, fs.upper_place(upper)?, name, value, create, replace)
    }

    /// Says on a directory of the upper layer that it may hold files that were copied up
    /// (`ovl_set_impure`).
    pub(super) fn set_impure(&mut self, fs: &Overlay, dir: DentryId) -> Res<()> {
        let node = self.node(dir)?;
        let Some(upper) = node.upper.filter(|_| !node.impure) else { return Ok(()) };
        self.try_mark(fs, upper, Mark::Impure, b"y")?;
        self.node_mut(dir)?.impure = true;
        Ok(())
    }

    /// Makes a directory of the upper layer hide what lies below it (`ovl_set_opaque_xerr`).
    pub(super) fn set_opaque(
        &mut self,
        fs: &Overlay,
        upper: DentryId,
        otherwise: Errno,
    ) -> Res<()> {
        let marked = self.try_mark(fs, upper, Mark::Opaque, b"y")?;
        self.deny(!marked, &rules::OPAQUE_NEEDS_XATTRS, otherwise)
    }

    // ---- what users see ----

    /// The name on the layers of an attribute that a user names: the overlay's own ones are escaped.
    fn real_name(&self, fs: &Overlay, name: &str) -> Res<Option<String>> {
        if !fs.is_own(name) {
            return Ok(None);
        }
        if self.by(&rules::XATTR_ESCAPED) {
            let prefix = fs.prefix();
            return Ok(Some(format!("{prefix}overlay.{}", &name[prefix.len()..])));
        }
        self.deny(true, &rules::XATTR_HIDDEN_OLD, Errno::EOPNOTSUPP)?;
        Ok(None)
    }

    /// An extended attribute.
    pub fn ovl_getxattr(&mut self, dentry: DentryId, name: &str) -> Res<Vec<u8>> {
        let fs = self.overlay(dentry)?;
        let real = self.real_place(dentry)?;
        match self.real_name(&fs, name)? {
            Some(escaped) => self.vfs_getxattr(&fs.mounter, real, &escaped),
            None => self.vfs_getxattr(&fs.mounter, real, name),
        }
    }

    /// Sets an extended attribute: the file is copied up first, whatever comes of it.
    pub fn ovl_setxattr(
        &mut self,
        dentry: DentryId,
        name: &str,
        value: &[u8],
        create: bool,
        replace: bool,
    ) -> Res<()> {
        let fs = self.overlay(dentry)?;
        let escaped = self.real_name(&fs, name)?;
        let name = escaped.as_deref().unwrap_or(name);
        let is_lower = self.node(dentry)?.upper.is_none();
        if is_lower
            && let Some(errno) = self.refused_by_flag(&fs, dentry, name, create, replace)?
            && !self.by(&rules::SETXATTR_COPIES_UP_FIRST)
        {
            return refuse(errno);
        }
        let upper = self.upper_for_xattr(dentry)?;
        self.ovl_want_write(&fs)?;
        let set = self.layer_setxattr(&fs, upper, name, value, create, replace);
        // It reads the attributes again whether it could set this one or not.
        self.read_guard(self.inode(dentry));
        set
    }

    /// The file of the upper layer; one that was copied up by way of another name does not get this one
    /// for the sake of an attribute.
    fn upper_for_xattr(&mut self, dentry: DentryId) -> Res<DentryId> {
        match self.node(dentry)?.upper {
            Some(upper) => Ok(upper),
            None => self.copied_up(dentry),
        }
    }

    /// Why an attribute cannot be set on a file: one that is to be created is there, or one that is to
    /// be replaced is not.
    fn refused_by_flag(
        &mut self,
        fs: &Overlay,
        dentry: DentryId,
        name: &str,
        create: bool,
        replace: bool,
    ) -> Res<Option<Errno>> {
        if !create && !replace {
            return Ok(None);
        }
        let real = self.real_place(dentry)?;
        Ok(match self.vfs_getxattr(&fs.mounter, real, name) {
            Ok(_) => create.then_some(Errno::EEXIST),
            Err(Halt::Refused(Errno::ENODATA)) => replace.then_some(Errno::ENODATA),
            Err(Halt::Refused(_)) => None,
            Err(halt) => return Err(halt),
        })
    }

    /// Removes an extended attribute: the lower file is asked first whether it has it.
    pub fn ovl_removexattr(&mut self, dentry: DentryId, name: &str) -> Res<()> {
        let fs = self.overlay(dentry)?;
        let escaped = self.real_name(&fs, name)?;
        let name = escaped.as_deref().unwrap_or(name);
        if self.node(dentry)?.upper.is_none() {
            let real = self.real_place(dentry)?;
            match self.vfs_getxattr(&fs.mounter, real, name) {
                Err(Halt::Refused(Errno::ENODATA)) => {
                    self.deny(true, &rules::REMOVE_MISSING_XATTR, Errno::ENODATA)?;
                }
                result => drop(result?),
            }
        }
        let upper = self.upper_for_xattr(dentry)?;
        self.ovl_want_write(&fs)?;
        let removed = self.vfs_removexattr(&fs.mounter, fs.upper_place(upper)?, name);
        self.read_guard(self.inode(dentry));
        removed
    }

    /// The names of the extended attributes, without the overlay's own.
    pub fn ovl_listxattr(&mut self, dentry: DentryId) -> Res<Vec<Rc<str>>> {
        let fs = self.overlay(dentry)?;
        let real = self.real_place(dentry)?;
        let mut names = self.vfs_listxattr(&fs.mounter, real)?;
        if !names.iter().any(|name| fs.is_own(name)) {
            return Ok(names);
        }
        let prefix = fs.prefix();
        names.retain(|name| {
            let private = fs.is_own(name) && !(fs.is_escaped(name) && self.rules_escape());
            !(private && self.by(&rules::XATTR_HIDDEN))
        });
        for name in &mut names {
            if fs.is_escaped(name) && self.by(&rules::XATTR_ESCAPED) {
                *name = format!("{prefix}{}", &name[prefix.len() + "overlay.".len()..]).into();
            }
        }
        Ok(names)
    }

    fn rules_escape(&self) -> bool {
        rules::XATTR_ESCAPED.applies(self.profile)
    }

    /// Copies the extended attributes of a lower file, but not the overlay's own (`ovl_copy_xattr`).
    pub(super) fn copy_xattrs(&mut self, fs: &Overlay, from: Place, to: DentryId) -> Res<()> {
        if self.has_no_xattrs(from) {
            return Ok(());
        }
        for name in self.vfs_listxattr(&fs.mounter, from)? {
            let private = fs.is_own(&name) && !(fs.is_escaped(&name) && self.rules_escape());
            if private && self.by(&rules::COPY_UP_NO_MARKS) {
                continue;
            }
            let value = self.vfs_getxattr(&fs.mounter, from, &name)?;
            match self.layer_setxattr(fs, to, &name, &value, false, false) {
                Err(Halt::Refused(Errno::EOPNOTSUPP)) if !name.starts_with("security.") => {}
                result => result?,
            }
        }
        Ok(())
    }
}
