//! chmod, chown, utimes, truncate: what is asked of `notify_change`.

use std::rc::Rc;

use super::names::is_member;
use crate::model::checks::{Answer, Check};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::ids::{IdKind, cap};
use crate::model::machine::{
    Cred, DentryId, FileType, FsType, Idmap, InodeId, Kid, Machine, NO_ID, Place, Time,
};
use crate::model::rules::{Rule, nfs as nfs_rules};
use crate::model::rules::{idmap as idmap_rules, ownership as rules};
use crate::scenario::scalar::{Errno, Timestamp};

/// The set-user-ID bit of a mode.
pub(super) const SETUID: u32 = 0o4000;
/// The set-group-ID bit of a mode.
pub(super) const SETGID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;
/// The attribute that holds the capabilities of a file.
pub const FILE_CAPABILITIES: &str = "security.capability";

/// A change of a file's attributes (`struct iattr`).
///
/// What is asked of [`Machine::notify_change`] has ids as they are seen through the mount; what a
/// file system is asked by `fs_setattr` has them as they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<Kid>,
    /// The group.
    pub gid: Option<Kid>,
    /// The length.
    pub size: Option<u64>,
    /// The length is set by ftruncate(2) or O_TRUNC, which set the modification time with it.
    pub of_open: bool,
    /// The access time.
    pub atime: Option<Time>,
    /// The modification time.
    pub mtime: Option<Time>,
    /// Takes the set-user-ID bit away (`ATTR_KILL_SUID`).
    pub drop_setuid: bool,
    /// Takes the set-group-ID bit away (`ATTR_KILL_SGID`).
    pub drop_setgid: bool,
    /// Takes the file's capabilities away (`ATTR_KILL_PRIV`).
    pub drop_capabilities: bool,
    /// Both times become now, which who may write may do (`ATTR_TOUCH`).
    pub touch: bool,
    /// Times are set to what the caller says (`ATTR_TIMES_SET`).
    pub own_times: bool,
    /// Rights were asked before (`ATTR_FORCE`).
    pub force: bool,
}

impl Machine<'_> {
    /// Whether anything may be changed through a mount (`mnt_want_write`).
    pub fn want_write(&self, place: Place) -> Res<()> {
        self.deny(self.is_read_only(place), &rules::CHANGE_READ_ONLY, Errno::EROFS)
    }

    fn is_read_only(&self, place: Place) -> bool {
        let mount = &self.mounts[place.mount];
        mount.flags.ro || self.supers[mount.sb].readonly
    }

    fn idmap_at(&self, place: Place) -> Option<Rc<Idmap>> {
        self.mounts[place.mount].idmap.clone()
    }

    /// Changes a mode (`chmod_common`).
    pub fn vfs_chmod(&mut self, cred: &Rc<Cred>, place: Place, mode: u32) -> Res<()> {
        self.want_write(place)?;
        let change = Change { mode: Some(mode), ..Change::default() };
        self.notify_change(cred, self.idmap_at(place).as_deref(), place.dentry, change)
    }

    /// Changes owner and group, by the ids of the caller's user namespace (`chown_common`).
    pub fn vfs_chown(
        &mut self,
        cred: &Rc<Cred>,
        place: Place,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Res<()> {
        // -1 stands for no change.
        let (uid, gid) = (uid.filter(|id| *id != NO_ID), gid.filter(|id| *id != NO_ID));
        self.tell("who asks", None, || self.told_caller(cred));
        let writable = self.want_write(place);
        let read_only = || told(self.is_read_only(place), "read-only", "writable");
        self.checked(
            writable,
            &rules::CHANGE_READ_ONLY,
            "the mount and the file system",
            read_only,
        )?;
        let mut change = Change {
            uid: self.mapped_for_chown(cred, IdKind::User, uid)?,
            gid: self.mapped_for_chown(cred, IdKind::Group, gid)?,
            ..Change::default()
        };
        let idmap = self.idmap_at(place);
        self.drop_for_chown(cred, idmap.as_deref(), place.dentry, &mut change);
        self.notify_change(cred, idmap.as_deref(), place.dentry, change)
    }

    /// What chown takes from what is no directory.
    pub fn drop_for_chown(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        dentry: DentryId,
        change: &mut Change,
    ) {
        let inode = self.inode(dentry);
        if self.file_type(inode) == FileType::Dir {
            return;
        }
        let mode = self.mode(inode);
        // Asked for whatever the mode: below an overlay, what decides is the mode of the layer's file
        // (`chown_common`, ATTR_KILL_SUID).
        change.drop_setuid = mode & SETUID == 0 || self.by(&rules::CHOWN_SETUID);
        change.drop_setgid =
            self.setgid_goes(cred, idmap, inode, mode) && self.by(&rules::CHOWN_SETGID);
        change.drop_capabilities = true;
    }

    fn mapped_for_chown(&self, cred: &Cred, kind: IdKind, id: Option<u32>) -> Res<Option<Kid>> {
        let Some(id) = id else { return Ok(None) };
        let kid = self.kid(cred.userns, kind, id);
        let mapped = match kid {
            Some(kid) => Ok(Some(kid)),
            None => self.refuse_by(&rules::CHOWN_UNMAPPED, Errno::EINVAL),
        };
        let asked = format!("the new {} {id} in the caller's user namespace", word(kind));
        let found = || self.told_mapping(cred.userns, kind, kid);
        self.checked(mapped, &rules::CHOWN_UNMAPPED, &asked, found)
    }

    /// Sets times (`vfs_utimes`); the caller has seen to it that not both are left as they are.
    pub fn vfs_utimes(
        &mut self,
        cred: &Rc<Cred>,
        place: Place,
        atime: Option<Timestamp>,
        mtime: Option<Timestamp>,
    ) -> Res<()> {
        self.want_write(place)?;
        let touch = (atime, mtime) == (Some(Timestamp::Now), Some(Timestamp::Now));
        let now = self.now();
        let time = |asked: Option<Timestamp>| match asked {
            None | Some(Timestamp::Omit) => None,
            Some(Timestamp::Now) => Some(now),
            Some(Timestamp::Seconds(seconds)) => Some(Time::Set(seconds)),
        };
        let change = Change {
            atime: time(atime),
            mtime: time(mtime),
            touch,
            own_times: !touch,
            ..Change::default()
        };
        self.notify_change(cred, self.idmap_at(place).as_deref(), place.dentry, change)
    }

    /// Sets a length (`vfs_truncate`).
    pub fn vfs_truncate(&mut self, cred: &Rc<Cred>, place: Place, size: u64) -> Res<()> {
        match self.file_type(self.inode(place.dentry)) {
            FileType::File => {}
            FileType::Dir => return self.refuse_by(&rules::TRUNCATE_DIR, Errno::EISDIR),
            _ => return self.refuse_by(&rules::TRUNCATE_OTHER, Errno::EINVAL),
        }
        if self.is_read_only(place) && !self.by(&rules::TRUNCATE_ASKS_FILE) {
            self.want_write(place)?;
        }
        self.may(cred, place, super::Access::WRITE)?;
        self.want_write(place)?;
        self.do_truncate(cred, place, size, false)
    }

    /// Sets the length of a file that is open for writing.
    pub fn vfs_ftruncate(&mut self, cred: &Rc<Cred>, place: Place, size: u64) -> Res<()> {
        let other = self.file_type(self.inode(place.dentry)) != FileType::File;
        self.deny(other, &rules::TRUNCATE_OTHER, Errno::EINVAL)?;
        self.do_truncate(cred, place, size, true)
    }

    /// What O_TRUNC does to a file that was opened.
    pub fn truncate_opened(&mut self, cred: &Rc<Cred>, place: Place) -> Res<()> {
        self.do_truncate(cred, place, 0, true)
    }

    /// Sets the length of a file that may be written to (`do_truncate`).
    fn do_truncate(&mut self, cred: &Rc<Cred>, place: Place, size: u64, of_open: bool) -> Res<()> {
        let idmap = self.idmap_at(place);
        let mut change = self.privileges_to_drop(cred, idmap.as_deref(), place.dentry);
        (change.size, change.of_open) = (Some(size), of_open);
        self.notify_change(cred, idmap.as_deref(), place.dentry, change)
    }

    /// Takes set-user-ID, set-group-ID and capabilities from a file that is about to be written to
    /// (`file_remove_privs`); a write of nothing takes nothing.
    pub fn strip_privileges(&mut self, cred: &Rc<Cred>, place: Place, empty: bool) -> Res<()> {
        if empty {
            return Ok(());
        }
        self.ovl_read_guard(place.dentry);
        let idmap = self.idmap_at(place);
        let change = self.privileges_to_drop(cred, idmap.as_deref(), place.dentry);
        if change.force {
            self.notify_change(cred, idmap.as_deref(), place.dentry, change)?;
        }
        self.ovl_strip_privileges(place.dentry)
    }

    /// What writing takes from a file (`dentry_needs_remove_privs`).
    fn privileges_to_drop(
        &mut self,
        cred: &Rc<Cred>,
        idmap: Option<&Idmap>,
        dentry: DentryId,
    ) -> Change {
        let inode = self.inode(dentry);
        let mut change = Change::default();
        if self.file_type(inode) != FileType::File {
            return change;
        }
        let mode = self.mode(inode);
        let keeps = mode & (SETUID | SETGID) == 0 || self.capable_of_machine(cred, cap::FSETID);
        let has_capabilities = self.has_file_capabilities(dentry);
        if (!keeps || has_capabilities) && self.ovl_remembers_no_privileges(inode) {
            return change;
        }
        if !keeps {
            change.drop_setuid = mode & SETUID != 0 && self.by(&rules::WRITE_SETUID);
            change.drop_setgid =
                self.setgid_goes(cred, idmap, inode, mode) && self.by(&rules::WRITE_SETGID);
        }
        change.drop_capabilities = has_capabilities;
        change.force = change.drop_setuid || change.drop_setgid || change.drop_capabilities;
        change
    }

    fn has_file_capabilities(&mut self, dentry: DentryId) -> bool {
        let real = self.real(self.inode(dentry));
        self.inodes[real].xattrs.contains_key(FILE_CAPABILITIES)
            && self.fs_getxattr(dentry, FILE_CAPABILITIES).is_ok()
    }

    /// Whether a change of the file takes its set-group-ID bit (`setattr_should_drop_sgid`). Without
    /// group execution the bit once meant mandatory locking, and went only with a change of the mode, as one
    /// that takes the set-user-ID bit is.
    fn setgid_goes(&self, cred: &Cred, idmap: Option<&Idmap>, inode: InodeId, mode: u32) -> bool {
        let foreign =
            || !self.may_setgid(cred, idmap, inode, self.seen(idmap, inode, IdKind::Group));
        let goes = || mode & SETUID != 0 || self.by(&rules::SETGID_NO_EXECUTION);
        mode & SETGID != 0 && (mode & GROUP_EXECUTE != 0 || foreign() && goes())
    }

    /// Whether a file of this group may have its set-group-ID bit (`in_group_or_capable`).
    pub fn may_setgid(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        group: Kid,
    ) -> bool {
        is_member(cred, group) || self.capable_through(cred, idmap, inode, cap::FSETID)
    }

    /// Changes attributes of a file, ids as they are seen through an id map (`notify_change`).
    ///
    /// # Errors
    /// What the rules refuse, in the order of the kernel.
    pub fn notify_change(
        &mut self,
        cred: &Rc<Cred>,
        idmap: Option<&Idmap>,
        dentry: DentryId,
        mut change: Change,
    ) -> Res<()> {
        let inode = self.inode(dentry);
        self.check_touch(cred, idmap, inode, &change)?;
        change.drop_capabilities = change.drop_capabilities && self.has_file_capabilities(dentry);
        let asked = change.mode;
        self.add_dropped_bits(&mut change, inode);
        self.check_ids(idmap, inode, &change)?;
        if change.mode.is_some_and(has_privileges) {
            self.ovl_forget_no_privileges(inode);
        }
        let kind = self.supers[self.dentries[dentry].sb].kind;
        // An NFS server decides itself.
        let decides_here = kind != FsType::Nfs || !self.by(&nfs_rules::SERVER_DECIDES);
        if !decides_here {
            let rule = Some(&nfs_rules::SERVER_DECIDES);
            self.tell("the client of NFS", rule, || {
                "checks nothing itself, and asks the server".into()
            });
        }
        if decides_here {
            self.prepare(cred, idmap, dentry, &mut change)?;
        }
        if matches!(kind, FsType::Nfs | FsType::Overlay) {
            // Their bits are dropped where the file is.
            if change.drop_setuid || change.drop_setgid {
                change.mode = asked;
            }
        }
        change.uid = change.uid.map(|id| self.stored_as(idmap, IdKind::User, id));
        change.gid = change.gid.map(|id| self.stored_as(idmap, IdKind::Group, id));
        self.fs_setattr(cred, dentry, &change)
    }

    /// An id that is seen through an id map as it is stored.
    pub fn stored_as(&self, idmap: Option<&Idmap>, kind: IdKind, id: Kid) -> Kid {
        match idmap {
            Some(map) if self.by(&idmap_rules::STORED) => map.stored(kind, id),
            _ => id,
        }
    }

    /// Who does not own a file touches it only by the right to write (`may_setattr`).
    fn check_touch(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        change: &Change,
    ) -> Res<()> {
        if !change.touch || self.owns_through(cred, idmap, inode) {
            return Ok(());
        }
        if self.by(&rules::UTIMES_TOUCH) {
            return self.inode_permission(cred, idmap, inode, super::Access::WRITE);
        }
        refuse(Errno::EPERM)
    }

    /// The mode without the bits that are to be dropped.
    fn add_dropped_bits(&self, change: &mut Change, inode: InodeId) {
        let mode = self.mode(inode);
        let drop = |yes: bool, bit: u32| if yes { mode & bit } else { 0 };
        let dropped = drop(change.drop_setuid, SETUID) | drop(change.drop_setgid, SETGID);
        if dropped != 0 {
            change.mode = Some(change.mode.unwrap_or(mode) & !dropped);
        }
    }

    /// Ids that cannot be stored are not given, and files whose owner is unknown are not changed.
    fn check_ids(&self, idmap: Option<&Idmap>, inode: InodeId, change: &Change) -> Res<()> {
        let userns = self.supers[self.inodes[inode].sb].userns;
        for (kind, new) in [(IdKind::User, change.uid), (IdKind::Group, change.gid)] {
            let Some(id) = new else { continue };
            let storable = match idmap {
                Some(map) => map.stored(kind, id) != NO_ID,
                None => self.id_in(userns, kind, id).is_some(),
            };
            let denied = self.deny(!storable, &idmap_rules::CHOWN_UNSTORABLE, Errno::EOVERFLOW);
            let asked = match idmap {
                Some(_) => "through the id map of the mount",
                None => "in the user namespace of the file system",
            };
            let asked = format!("the new {} {asked}", word(kind));
            self.checked(denied, &idmap_rules::CHOWN_UNSTORABLE, &asked, || match idmap {
                Some(map) if storable => {
                    let stored = map.stored(kind, id);
                    let stored = self.id_in(self.sandbox_userns, kind, stored).unwrap_or(stored);
                    format!("stored as {stored}")
                }
                _ => told(storable, "there is one", "there is none"),
            })?;
        }
        if idmap.is_none() {
            return Ok(());
        }
        for (kind, new) in [(IdKind::User, change.uid), (IdKind::Group, change.gid)] {
            let unknown = new.is_none() && self.seen(idmap, inode, kind) == NO_ID;
            let denied = self.deny(unknown, &idmap_rules::CHANGE_UNMAPPED, Errno::EOVERFLOW);
            if new.is_none() {
                let asked = format!("the file's {} through the id map of the mount", word(kind));
                let found = || told(unknown, "not mapped", "mapped");
                self.checked(denied, &idmap_rules::CHANGE_UNMAPPED, &asked, found)?;
            }
        }
        Ok(())
    }

    /// What the caller may change (`setattr_prepare`).
    fn prepare(
        &mut self,
        cred: &Rc<Cred>,
        idmap: Option<&Idmap>,
        dentry: DentryId,
        change: &mut Change,
    ) -> Res<()> {
        let inode = self.inode(dentry);
        if !change.force {
            if let Some(id) = change.uid {
                let ok = self.chown_ok(cred, idmap, inode, id);
                let denied = self.deny(!ok, &rules::CHOWN_UID, Errno::EPERM);
                let right = || self.told_right(cred, idmap, inode, IdKind::User, id);
                self.right(denied, &rules::CHOWN_UID, "the right to change the owner", right)?;
            }
            if let Some(id) = change.gid {
                let ok = self.chgrp_ok(cred, idmap, inode, id);
                let denied = self.deny(!ok, &rules::CHOWN_GID, Errno::EPERM);
                let right = || self.told_right(cred, idmap, inode, IdKind::Group, id);
                self.right(denied, &rules::CHOWN_GID, "the right to change the group", right)?;
            }
            if let Some(mode) = change.mode {
                let owns = self.owns_through(cred, idmap, inode);
                self.deny(!owns, &rules::CHMOD_OWNER, Errno::EPERM)?;
                let group = change.gid.unwrap_or_else(|| self.seen(idmap, inode, IdKind::Group));
                let drops = mode & SETGID != 0
                    && !self.may_setgid(cred, idmap, inode, group)
                    && self.by(&rules::CHMOD_SETGID);
                change.mode = Some(if drops { mode & !SETGID } else { mode });
            }
            if change.own_times {
                let owns = self.owns_through(cred, idmap, inode);
                self.deny(!owns, &rules::UTIMES_OWNER, Errno::EPERM)?;
            }
        }
        if change.drop_capabilities && self.by(&rules::CHANGE_CAPS) {
            self.fs_removexattr(cred, dentry, FILE_CAPABILITIES)?;
        }
        Ok(())
    }

    fn chown_ok(&self, cred: &Cred, idmap: Option<&Idmap>, inode: InodeId, new: Kid) -> bool {
        let owner = self.seen(idmap, inode, IdKind::User);
        (owner == cred.fsuid && new == owner)
            || self.capable_through(cred, idmap, inode, cap::CHOWN)
            || owner == NO_ID && self.may_adopt(cred, inode)
    }

    fn chgrp_ok(&self, cred: &Cred, idmap: Option<&Idmap>, inode: InodeId, new: Kid) -> bool {
        let owner = self.seen(idmap, inode, IdKind::User);
        let group = self.seen(idmap, inode, IdKind::Group);
        (owner == cred.fsuid && (new == group || is_member(cred, new)))
            || self.capable_through(cred, idmap, inode, cap::CHOWN)
            || group == NO_ID && self.may_adopt(cred, inode)
    }

    /// Writes down what was asked, for who follows, and passes on what came of it.
    fn checked<T>(
        &self,
        result: Res<T>,
        rule: &'static Rule,
        asked: &str,
        found: impl FnOnce() -> String,
    ) -> Res<T> {
        self.note_check(&result, Answer::Passed, rule, asked, found);
        result
    }

    /// The same of what allows it.
    fn right(
        &self,
        result: Res<()>,
        rule: &'static Rule,
        asked: &str,
        found: impl FnOnce() -> String,
    ) -> Res<()> {
        self.note_check(&result, Answer::Allowed, rule, asked, found);
        result
    }

    fn note_check<T>(
        &self,
        result: &Res<T>,
        otherwise: Answer,
        rule: &'static Rule,
        asked: &str,
        found: impl FnOnce() -> String,
    ) {
        self.rules.note(|| {
            let answer = match result {
                Err(Halt::Refused(errno)) => Answer::Refused(*errno),
                _ => otherwise,
            };
            Check { asked: asked.to_owned(), found: found(), answer, rule: Some(rule) }
        });
    }

    /// Whether somebody may give a file an owner or group that has none.
    fn may_adopt(&self, cred: &Cred, inode: InodeId) -> bool {
        let userns = self.supers[self.inodes[inode].sb].userns;
        self.capable(cred, userns, cap::CHOWN) && self.by(&rules::CHOWN_ADOPT)
    }
}

fn told(holds: bool, yes: &str, no: &str) -> String {
    if holds { yes } else { no }.to_owned()
}

fn word(kind: IdKind) -> &'static str {
    match kind {
        IdKind::User => "user",
        IdKind::Group => "group",
    }
}

/// Whether a mode gives who executes the file rights of its owner or group (`is_sxid`).
pub fn has_privileges(mode: u32) -> bool {
    mode & SETUID != 0 || mode & SETGID != 0 && mode & GROUP_EXECUTE != 0
}
