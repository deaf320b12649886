//! mount_setattr(2): attributes, propagation and id maps of a mount or of a whole tree, all or none.

use super::flags::{atime_of, attribute, put};
use crate::model::halt::{Res, refuse};
use crate::model::ids::cap;
use crate::model::machine::{FsType, Machine, MountFlags, MountId, Place, ProcId, UserNsId};
use crate::model::rules::{disk as disk_rules, mount as rules};
use crate::scenario::operation::{MountAttribute, MountSetattr, PropagationType};
use crate::scenario::scalar::Errno;

/// A change of mounts that was understood.
#[derive(Debug)]
pub struct MountChange {
    set: u64,
    clear: u64,
    propagation: Option<PropagationType>,
    recursive: bool,
    userns: Option<UserNsId>,
}

impl Machine<'_> {
    /// What mount_setattr(2) checks before it looks for the mount; `None` where nothing is asked.
    pub fn read_mount_change(
        &self,
        who: ProcId,
        step: &MountSetattr,
        userns: Option<UserNsId>,
    ) -> Res<Option<MountChange>> {
        if !self.by(&rules::SETATTR_KNOWN) {
            return refuse(Errno::ENOSYS);
        }
        self.must_be_able_to_mount(who)?;
        let (set, clear) = (MountAttribute::bits(&step.set), MountAttribute::bits(&step.clear));
        let nothing = set == 0 && clear == 0 && step.propagation.is_none() && userns.is_none();
        if nothing && self.by(&rules::SETATTR_NOTHING) {
            return Ok(None);
        }
        let field = clear & attribute::ATIME;
        let part = field != 0 && field != attribute::ATIME;
        self.deny(part, &rules::SETATTR_ATIME_FIELD, Errno::EINVAL)?;
        let unasked = field == 0 && set & attribute::ATIME != 0;
        self.deny(unasked, &rules::SETATTR_ATIME_FIELD, Errno::EINVAL)?;
        self.deny(atime_of(set).is_none(), &rules::SETATTR_ATIME_TWO, Errno::EINVAL)?;
        self.deny(clear & attribute::IDMAP != 0, &rules::IDMAP_CLEAR, Errno::EINVAL)?;
        // Without a user namespace the descriptor is 0, which is none.
        let none = set & attribute::IDMAP != 0 && userns.is_none();
        self.deny(none, &rules::IDMAP_NO_USERNS, Errno::EINVAL)?;
        Ok(Some(MountChange {
            set,
            clear,
            propagation: step.propagation,
            recursive: step.recursive,
            userns,
        }))
    }

    /// Changes the mount at a place (`do_mount_setattr`).
    pub fn change_mounts(&mut self, who: ProcId, place: Place, change: &MountChange) -> Res<()> {
        self.deny(!self.is_mount_root(place), &rules::SETATTR_NOT_ROOT, Errno::EINVAL)?;
        let top = place.mount;
        if !self.is_detached_root(top) {
            self.must_be_ours(who, top)?;
        }
        let mounts = if change.recursive { self.mount_tree(top) } else { vec![top] };
        for &mount in &mounts {
            self.check_change(who, mount, change)?;
        }
        for &mount in &mounts {
            self.mounts[mount].flags = self.changed_flags(mount, change);
            if let Some(userns) = change.userns {
                let idmap = self.idmap_of(userns, self.mounts[mount].sb);
                self.mounts[mount].idmap = Some(idmap);
            }
            if let Some(kind) = change.propagation {
                self.change_type(mount, kind);
            }
        }
        Ok(())
    }

    fn changed_flags(&self, mount: MountId, change: &MountChange) -> MountFlags {
        let mut flags = self.mounts[mount].flags;
        put(&mut flags, change.clear, false);
        put(&mut flags, change.set, true);
        if change.clear & attribute::ATIME != 0 {
            flags.atime = atime_of(change.set).unwrap_or_default();
        }
        flags
    }

    fn check_change(&self, who: ProcId, mount: MountId, change: &MountChange) -> Res<()> {
        let flags = self.changed_flags(mount, change);
        self.must_keep_locked(mount, flags)?;
        if change.userns.is_some() {
            self.check_idmap(who, mount)?;
        }
        let closes = flags.ro && !self.mounts[mount].flags.ro;
        let busy = closes && self.has_writers(mount);
        self.deny(busy, &rules::SETATTR_WRITERS, Errno::EBUSY)?;
        let busy = change.userns.is_some() && self.has_writers(mount);
        self.deny(busy, &rules::IDMAP_WRITERS, Errno::EBUSY)
    }

    /// `can_idmap_mount`
    fn check_idmap(&self, who: ProcId, mount: MountId) -> Res<()> {
        let this = &self.mounts[mount];
        let sb = &self.supers[this.sb];
        self.deny(this.idmap.is_some(), &rules::IDMAP_TWICE, Errno::EPERM)?;
        let allowed = match sb.kind {
            FsType::Tmpfs => self.by(&rules::IDMAP_TMPFS),
            FsType::Ext4 | FsType::Xfs => self.by(&disk_rules::IDMAP_FIRST),
            FsType::Btrfs => self.by(&disk_rules::IDMAP_BTRFS),
            _ => false,
        };
        self.deny(!allowed, &rules::IDMAP_FILE_SYSTEM, Errno::EINVAL)?;
        let able = self.capable(&self.processes[who].cred, sb.userns, cap::SYS_ADMIN);
        self.deny(!able, &rules::IDMAP_FOREIGN_SUPER, Errno::EPERM)?;
        self.deny(!self.is_detached(mount), &rules::IDMAP_ATTACHED, Errno::EINVAL)
    }
}
