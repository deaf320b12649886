//! Names made, removed and moved: what the kernel checks before a file system is asked.

use std::rc::Rc;

use super::attributes::{SETGID, SETUID};
use super::fs::{New, NewKind, RenameHow};
use super::permission::Access;
use super::walk::{Last, NAME_MAX, Parent, Walk};
use crate::model::halt::Res;
use crate::model::ids::{IdKind, cap};
use crate::model::machine::{
    Cred, DentryId, FileType, FsType, Kid, Machine, MountId, NO_ID, Place, ProcId,
};
use crate::model::rules::files as rules;
use crate::scenario::scalar::Errno;

/// The sticky bit.
const STICKY: u32 = 0o1000;

impl Machine<'_> {
    /// Whether nothing may be written through a mount (`__mnt_is_readonly`).
    pub fn is_readonly(&self, mount: MountId) -> bool {
        let mount = &self.mounts[mount];
        mount.flags.ro || self.supers[mount.sb].readonly
    }

    /// What is stored for an id that is used through a mount.
    pub fn stored_id(&self, mount: MountId, kind: IdKind, id: Kid) -> Kid {
        self.mounts[mount].idmap.as_ref().map_or(id, |map| map.stored(kind, id))
    }

    /// Whether a file of these credentials would have owners on the file system
    /// (`fsuidgid_has_mapping`).
    pub fn can_own(&self, cred: &Cred, mount: MountId) -> bool {
        let userns = self.supers[self.mounts[mount].sb].userns;
        [(IdKind::User, cred.fsuid), (IdKind::Group, cred.fsgid)]
            .into_iter()
            .all(|(kind, id)| self.id_in(userns, kind, self.stored_id(mount, kind, id)).is_some())
    }

    /// Whether a directory was removed (`IS_DEADDIR`).
    pub fn is_dead(&self, dir: DentryId) -> bool {
        self.dentries[dir].unlinked || self.ovl_is_found_dead(dir)
    }

    /// Whether something may be created in a directory (`may_create`).
    pub fn may_create(&self, cred: &Cred, dir: Place) -> Res<()> {
        self.deny(self.is_dead(dir.dentry), &rules::CREATE_DEAD, Errno::ENOENT)?;
        self.deny(!self.can_own(cred, dir.mount), &rules::CREATE_UNMAPPED, Errno::EOVERFLOW)?;
        self.may(cred, dir, Access::CHANGE_DIR)
    }

    /// Mode and owners of what is made in a directory (`inode_init_owner`).
    pub fn new_file<'k>(&self, cred: &Cred, dir: Place, kind: NewKind<'k>, mode: u32) -> New<'k> {
        let parent = self.inode(dir.dentry);
        let parent_mode = self.mode(parent);
        let is_dir = matches!(kind, NewKind::Dir);
        let mut mode = mode;
        let mut gid = self.stored_id(dir.mount, IdKind::Group, cred.fsgid);
        if parent_mode & SETGID != 0 && self.by(&rules::SETGID_DIR) {
            gid = self.owner(parent, IdKind::Group);
            if is_dir {
                mode |= SETGID;
            }
        }
        if !is_dir && self.strips_setgid(cred, dir, mode) {
            let keeps = self.keeps_special(dir, &kind) && self.by(&rules::SETGID_SPECIAL);
            mode = if keeps { mode } else { mode & !SETGID };
        }
        New { kind, mode, uid: self.stored_id(dir.mount, IdKind::User, cred.fsuid), gid }
    }

    /// Whether a new file of this mode loses its set-group-ID bit (`mode_strip_sgid`).
    fn strips_setgid(&self, cred: &Cred, dir: Place, mode: u32) -> bool {
        let parent = self.inode(dir.dentry);
        mode & (SETGID | 0o010) == SETGID | 0o010
            && self.mode(parent) & SETGID != 0
            && !is_member(cred, self.seen_id(dir.mount, parent, IdKind::Group))
            && !self.capable_over(cred, dir, cap::FSETID)
            && self.by(&rules::SETGID_STRIP)
    }

    /// Makes a file whose name is free, where that may be done.
    pub fn vfs_make(
        &mut self,
        cred: &Rc<Cred>,
        dir: Place,
        name: &str,
        kind: NewKind<'_>,
        mode: u32,
    ) -> Res<DentryId> {
        self.may_create(cred, dir)?;
        if name.len() > NAME_MAX {
            return self.refuse_by(&rules::LONG_NAME, Errno::ENAMETOOLONG);
        }
        let new = self.new_file(cred, dir, kind, mode);
        self.fs_make(cred, dir.dentry, name, new)
    }

    /// Whether a name may be removed or moved away (`may_delete`).
    pub fn may_remove(&self, cred: &Cred, dir: Place, victim: DentryId, as_dir: bool) -> Res<()> {
        let inode = self.inode(victim);
        let place = Place { mount: dir.mount, dentry: victim };
        let owner = self.seen_id(dir.mount, inode, IdKind::User);
        let group = self.seen_id(dir.mount, inode, IdKind::Group);
        let unmapped = owner == NO_ID || group == NO_ID;
        self.deny(unmapped, &rules::REMOVE_UNMAPPED, Errno::EOVERFLOW)?;
        self.may(cred, dir, Access::CHANGE_DIR)?;
        let parent = self.inode(dir.dentry);
        let sticky = self.mode(parent) & STICKY != 0
            && owner != cred.fsuid
            && self.seen_id(dir.mount, parent, IdKind::User) != cred.fsuid
            && !self.capable_over(cred, place, cap::FOWNER);
        self.deny(sticky, &rules::REMOVE_STICKY, Errno::EPERM)?;
        let is_dir = self.is_dir(victim);
        if as_dir && !is_dir {
            return self.refuse_by(&rules::RMDIR_FILE, Errno::ENOTDIR);
        }
        if !as_dir && is_dir {
            return self.refuse_by(&rules::UNLINK_DIR, Errno::EISDIR);
        }
        if self.is_dead(dir.dentry) {
            return self.refuse_by(&rules::NO_ENTRY, Errno::ENOENT);
        }
        Ok(())
    }

    /// Walks to where something is to be made (`filename_create`).
    fn walk_to_create(&mut self, who: ProcId, path: &str, is_dir: bool) -> Res<(Place, Rc<str>)> {
        let Parent { dir, last, slash } = self.walk_parent(who, None, path)?;
        let Last::Name(name) = last else {
            return self.refuse_by(&rules::CREATE_EXISTS, Errno::EEXIST);
        };
        let found = self.child_to_be(dir, &name)?;
        if found.is_some() {
            return self.refuse_by(&rules::CREATE_EXISTS, Errno::EEXIST);
        }
        self.deny(slash && !is_dir, &rules::CREATE_SLASH, Errno::ENOENT)?;
        self.deny(self.is_readonly(dir.mount), &rules::CREATE_RO, Errno::EROFS)?;
        Ok((dir, name))
    }

    /// The child of a directory by a name that is not too long.
    pub fn child(&mut self, dir: Place, name: &str) -> Res<Option<DentryId>> {
        if name.len() > NAME_MAX {
            return self.refuse_by(&rules::LONG_NAME, Errno::ENAMETOOLONG);
        }
        self.fs_lookup(dir.dentry, name)
    }

    /// The same of a name that is to be taken: before anything is asked of a directory it must still be there
    /// (`lookup_one_qstr_excl`).
    pub fn child_to_be(&mut self, dir: Place, name: &str) -> Res<Option<DentryId>> {
        self.deny(self.is_dead(dir.dentry), &rules::CREATE_DEAD, Errno::ENOENT)?;
        self.child(dir, name)
    }

    /// A mode without what the file mode creation mask of a process takes away.
    pub fn masked(&self, who: ProcId, mode: u32) -> u32 {
        let umask = self.processes[who].umask;
        if mode & umask != 0 && self.by(&rules::UMASK) { mode & !umask } else { mode }
    }

    /// The mode of a new file that is no directory (`vfs_prepare_mode`).
    pub fn prepared(
        &self,
        who: ProcId,
        cred: &Cred,
        dir: Place,
        kind: &NewKind<'_>,
        mode: u32,
    ) -> u32 {
        let masked = self.masked(who, mode);
        // What the mask leaves of it is looked at when the file is made.
        let executable = mode & !masked & 0o010 != 0;
        let strips = executable && self.strips_setgid(cred, dir, mode);
        let has_acls = self.fs_type(dir) != FsType::Ramfs && !self.keeps_special(dir, kind);
        let first = strips
            && (self.by(&rules::SETGID_BEFORE_UMASK)
                || has_acls && self.by(&rules::SETGID_BEFORE_ACL_UMASK));
        if first { masked & !SETGID } else { masked }
    }

    /// Whether a file is special and on a file system that takes its mode as it was asked for
    /// (`init_special_inode`).
    fn keeps_special(&self, dir: Place, kind: &NewKind<'_>) -> bool {
        !matches!(kind, NewKind::File) && matches!(self.fs_type(dir), FsType::Tmpfs | FsType::Ramfs)
    }

    fn fs_type(&self, dir: Place) -> FsType {
        self.supers[self.dentries[dir.dentry].sb].kind
    }

    /// mkdir(2)
    pub fn sys_mkdir(&mut self, who: ProcId, path: &str, mode: u32) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        let (dir, name) = self.walk_to_create(who, path, true)?;
        // Of the bits beyond the permissions, mkdir(2) takes the sticky bit alone.
        let mode = self.masked(who, mode & 0o1777);
        self.vfs_make(&cred, dir, &name, NewKind::Dir, mode).map(drop)
    }

    /// mknod(2)
    pub fn sys_mknod(&mut self, who: ProcId, path: &str, kind: NewKind<'_>, mode: u32) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        let (dir, name) = self.walk_to_create(who, path, false)?;
        let mode = self.prepared(who, &cred, dir, &kind, mode);
        self.may_create(&cred, dir)?;
        let first = self.first_userns();
        let allowed = match kind {
            NewKind::Char(0, 0) if self.by(&rules::MKNOD_WHITEOUT) => true,
            NewKind::Char(..) | NewKind::Block(..) => self.capable(&cred, first, cap::MKNOD),
            _ => true,
        };
        self.deny(!allowed, &rules::MKNOD_DEVICE, Errno::EPERM)?;
        self.vfs_make(&cred, dir, &name, kind, mode).map(drop)
    }

    /// symlink(2)
    pub fn sys_symlink(&mut self, who: ProcId, target: &str, path: &str) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        if target.is_empty() {
            return self.refuse_by(&rules::EMPTY_PATH, Errno::ENOENT);
        }
        if target.len() >= 4096 {
            return self.refuse_by(&rules::LONG_PATH, Errno::ENAMETOOLONG);
        }
        let (dir, name) = self.walk_to_create(who, path, false)?;
        self.vfs_make(&cred, dir, &name, NewKind::Symlink(target), 0o777).map(drop)
    }

    /// linkat(2)
    pub fn sys_link(&mut self, who: ProcId, from: &str, to: &str, follow: bool) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        let old = self.walk(who, None, from, Walk { follow, ..Walk::default() })?;
        let (dir, name) = self.walk_to_create(who, to, false)?;
        self.deny(old.mount != dir.mount, &rules::LINK_MOUNTS, Errno::EXDEV)?;
        let inode = self.inode(old.dentry);
        let unmapped = [IdKind::User, IdKind::Group]
            .into_iter()
            .any(|kind| self.seen_id(old.mount, inode, kind) == NO_ID);
        self.deny(unmapped, &rules::LINK_UNMAPPED, Errno::EOVERFLOW)?;
        let protected = self.profile.settings.protected_hardlinks
            && !self.is_safe_source(&cred, old)
            && !self.owns(&cred, old);
        self.deny(protected, &rules::LINK_PROTECTED, Errno::EPERM)?;
        self.may_create(&cred, dir)?;
        self.deny(self.is_dir(old.dentry), &rules::LINK_DIR, Errno::EPERM)?;
        if self.has_no_links(old.dentry)? {
            return self.refuse_by(&rules::NO_ENTRY, Errno::ENOENT);
        }
        self.fs_link(&cred, old.dentry, dir.dentry, &name).map(drop)
    }

    /// Whether a file has no name any more, as far as its file system counts them.
    fn has_no_links(&mut self, dentry: DentryId) -> Res<bool> {
        if self.supers[self.dentries[dentry].sb].overlay.is_some() {
            return Ok(self.inodes[self.inode(dentry)].nlink == 0);
        }
        Ok(self.fs_getattr(dentry)?.nlink == 0)
    }

    /// Whether anybody may link a file (`safe_hardlink_source`).
    fn is_safe_source(&self, cred: &Cred, place: Place) -> bool {
        let inode = self.inode(place.dentry);
        let mode = self.mode(inode);
        let both = Access { read: true, write: true, execute: false };
        self.file_type(inode) == FileType::File
            && mode & SETUID == 0
            && mode & (SETGID | 0o010) != SETGID | 0o010
            && self.may(cred, place, both).is_ok()
    }

    /// unlink(2)
    pub fn sys_unlink(&mut self, who: ProcId, path: &str) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        let Parent { dir, last, slash } = self.walk_parent(who, None, path)?;
        let Last::Name(name) = last else {
            return self.refuse_by(&rules::UNLINK_DIR, Errno::EISDIR);
        };
        self.deny(self.is_readonly(dir.mount), &rules::REMOVE_RO, Errno::EROFS)?;
        let Some(victim) = self.child(dir, &name)? else {
            return self.refuse_by(&rules::NO_ENTRY, Errno::ENOENT);
        };
        if slash {
            return if self.is_dir(victim) {
                self.refuse_by(&rules::UNLINK_DIR, Errno::EISDIR)
            } else {
                self.refuse_by(&rules::NOT_A_DIRECTORY, Errno::ENOTDIR)
            };
        }
        self.may_remove(&cred, dir, victim, false)?;
        self.remove(who, &cred, victim)
    }

    /// rmdir(2)
    pub fn sys_rmdir(&mut self, who: ProcId, path: &str) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        let Parent { dir, last, .. } = self.walk_parent(who, None, path)?;
        let name = match last {
            Last::Name(name) => name,
            Last::Dot => return self.refuse_by(&rules::RMDIR_DOT, Errno::EINVAL),
            Last::DotDot => return self.refuse_by(&rules::RMDIR_DOT, Errno::ENOTEMPTY),
            Last::Root => return self.refuse_by(&rules::RMDIR_DOT, Errno::EBUSY),
        };
        self.deny(self.is_readonly(dir.mount), &rules::REMOVE_RO, Errno::EROFS)?;
        let Some(victim) = self.child(dir, &name)? else {
            return self.refuse_by(&rules::NO_ENTRY, Errno::ENOENT);
        };
        self.may_remove(&cred, dir, victim, true)?;
        self.remove(who, &cred, victim)
    }

    fn remove(&mut self, who: ProcId, cred: &Rc<Cred>, victim: DentryId) -> Res<()> {
        let mounted = self.is_mountpoint_in(self.processes[who].mnt_ns, victim);
        self.deny(mounted, &rules::REMOVE_MOUNTPOINT, Errno::EBUSY)?;
        self.fs_remove(cred, victim)?;
        self.unmount_elsewhere(victim);
        Ok(())
    }

    /// Unmounts what other mount namespaces have on a place that is gone.
    fn unmount_elsewhere(&mut self, gone: DentryId) {
        if self.is_mountpoint(gone) && self.by(&rules::REMOVE_MOUNTED_ELSEWHERE) {
            self.detach_mounts_on(gone);
        }
    }

    /// renameat2(2)
    pub fn sys_rename(&mut self, who: ProcId, from: &str, to: &str, how: RenameHow) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        let contradiction = how.exchange && (how.noreplace || how.whiteout);
        self.deny(contradiction, &rules::RENAME_FLAGS, Errno::EINVAL)?;
        let refused = how.whiteout && !self.capable(&cred, self.first_userns(), cap::MKNOD);
        self.deny(refused, &rules::RENAME_WHITEOUT_PRIVILEGED, Errno::EPERM)?;
        let old = self.walk_parent(who, None, from)?;
        let new = self.walk_parent(who, None, to)?;
        self.deny(old.dir.mount != new.dir.mount, &rules::RENAME_MOUNTS, Errno::EXDEV)?;
        let Last::Name(old_name) = old.last else {
            return self.refuse_by(&rules::RENAME_DOT, Errno::EBUSY);
        };
        let Last::Name(new_name) = new.last else {
            return if how.noreplace {
                self.refuse_by(&rules::RENAME_NOREPLACE, Errno::EEXIST)
            } else {
                self.refuse_by(&rules::RENAME_DOT, Errno::EBUSY)
            };
        };
        self.deny(self.is_readonly(old.dir.mount), &rules::REMOVE_RO, Errno::EROFS)?;
        let Some(source) = self.child(old.dir, &old_name)? else {
            return self.refuse_by(&rules::NO_ENTRY, Errno::ENOENT);
        };
        let target = self.child_to_be(new.dir, &new_name)?;
        let taken = how.noreplace && target.is_some();
        self.deny(taken, &rules::RENAME_NOREPLACE, Errno::EEXIST)?;
        if how.exchange && target.is_none() {
            return self.refuse_by(&rules::NO_ENTRY, Errno::ENOENT);
        }
        let target_is_dir = target.is_some_and(|target| self.is_dir(target));
        let mut slash = !self.is_dir(source) && (old.slash || (!how.exchange && new.slash));
        slash |= how.exchange && new.slash && !target_is_dir;
        if slash {
            return self.refuse_by(&rules::NOT_A_DIRECTORY, Errno::ENOTDIR);
        }
        self.deny_into_itself((old.dir, source), (new.dir, target), how)?;
        if target.is_some_and(|target| self.is_same_file(source, target))
            && self.by(&rules::RENAME_SAME_FILE)
        {
            return Ok(());
        }
        self.may_rename(&cred, old.dir, source, new.dir, target, how)?;
        let ns = self.processes[who].mnt_ns;
        let busy = self.is_mountpoint_in(ns, source)
            || target.is_some_and(|target| self.is_mountpoint_in(ns, target));
        self.deny(busy, &rules::REMOVE_MOUNTPOINT, Errno::EBUSY)?;
        let through = RenameHow { mount: Some(old.dir.mount), ..how };
        self.fs_rename(&cred, source, new.dir.dentry, &new_name, target, through)?;
        if let Some(target) = target
            && !how.exchange
        {
            self.unmount_elsewhere(target);
        }
        Ok(())
    }

    /// Neither of two that change places is above where it goes to.
    fn deny_into_itself(
        &self,
        (old_dir, source): (Place, DentryId),
        (new_dir, target): (Place, Option<DentryId>),
        how: RenameHow,
    ) -> Res<()> {
        if self.is_below(new_dir.dentry, source) {
            return self.refuse_by(&rules::RENAME_INTO_ITSELF, Errno::EINVAL);
        }
        match target {
            Some(target) if self.is_below(old_dir.dentry, target) => match how.exchange {
                true => self.refuse_by(&rules::RENAME_INTO_ITSELF, Errno::EINVAL),
                false => self.refuse_by(&rules::RENAME_ONTO_ANCESTOR, Errno::ENOTEMPTY),
            },
            _ => Ok(()),
        }
    }

    /// Whether two names lead to the same inode; those of an overlay that are one file on disk need
    /// not be one inode.
    fn is_same_file(&self, one: DentryId, other: DentryId) -> bool {
        self.inode(one) == self.inode(other) || self.ovl_is_same_inode(one, other)
    }

    fn may_rename(
        &self,
        cred: &Cred,
        old_dir: Place,
        source: DentryId,
        new_dir: Place,
        target: Option<DentryId>,
        how: RenameHow,
    ) -> Res<()> {
        let is_dir = self.is_dir(source);
        self.may_remove(cred, old_dir, source, is_dir)?;
        match target {
            None => self.may_create(cred, new_dir)?,
            Some(target) => {
                let target_is_dir = self.is_dir(target);
                if !how.exchange && is_dir != target_is_dir {
                    // The same checks come before: may_delete() of the target.
                    self.may_remove(cred, new_dir, target, target_is_dir)?;
                    return if is_dir {
                        self.refuse_by(&rules::RENAME_DIR_ON_FILE, Errno::ENOTDIR)
                    } else {
                        self.refuse_by(&rules::RENAME_FILE_ON_DIR, Errno::EISDIR)
                    };
                }
                self.may_remove(cred, new_dir, target, target_is_dir)?;
                if how.exchange && target_is_dir && old_dir.dentry != new_dir.dentry {
                    self.may_move_dir(cred, Place { mount: new_dir.mount, dentry: target })?;
                }
            }
        }
        if is_dir && old_dir.dentry != new_dir.dentry {
            self.may_move_dir(cred, Place { mount: old_dir.mount, dentry: source })?;
        }
        Ok(())
    }

    fn may_move_dir(&self, cred: &Cred, dir: Place) -> Res<()> {
        match self.may(cred, dir, Access::WRITE) {
            Err(_) if self.by(&rules::RENAME_WRITE_DIR) => Err(Errno::EACCES.into()),
            _ => Ok(()),
        }
    }
}

/// Whether credentials are in a group for access to files.
pub fn is_member(cred: &Cred, group: Kid) -> bool {
    group != NO_ID && (cred.fsgid == group || cred.groups.contains(&group))
}
