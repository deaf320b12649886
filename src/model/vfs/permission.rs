//! Who may do what with a file: ids through the mount, mode bits, capabilities.

use super::names::is_member;
use crate::model::halt::Res;
use crate::model::ids::{IdKind, cap};
use crate::model::machine::{
    Cred, FileType, FsType, Idmap, InodeId, Kid, Machine, MountId, NO_ID, Place,
};
use crate::model::rules::{idmap as idmap_rules, ownership as rules};
use crate::scenario::scalar::Errno;

/// What a process wants of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// To read it.
    pub read: bool,
    /// To write to it.
    pub write: bool,
    /// To execute it, or to search a directory.
    pub execute: bool,
}

impl Access {
    /// To read.
    pub const READ: Self = Self { read: true, write: false, execute: false };
    /// To write.
    pub const WRITE: Self = Self { read: false, write: true, execute: false };
    /// To search a directory.
    pub const SEARCH: Self = Self { read: false, write: false, execute: true };
    /// To make or remove names in a directory.
    pub const CHANGE_DIR: Self = Self { read: false, write: true, execute: true };

    /// As the bits of one class of a mode.
    fn bits(self) -> u32 {
        u32::from(self.read) << 2 | u32::from(self.write) << 1 | u32::from(self.execute)
    }
}

/// What decides who may use a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub uid: Kid,
    /// Its group.
    pub gid: Kid,
}

/// Bits of a mode that let anybody execute.
const EXECUTE_BITS: u32 = 0o111;

impl Machine<'_> {
    /// An owner of a file as it is seen through a mount (`i_uid_into_vfsuid`): [`NO_ID`] where the
    /// mount's id map does not have it.
    pub fn seen_id(&self, mount: MountId, inode: InodeId, kind: IdKind) -> Kid {
        self.seen(self.mounts[mount].idmap.as_deref(), inode, kind)
    }

    /// An owner of a file as it is seen through an id map.
    pub fn seen(&self, idmap: Option<&Idmap>, inode: InodeId, kind: IdKind) -> Kid {
        self.seen_as(idmap, kind, self.owner(inode, kind))
    }

    /// An id that is stored as it is seen through an id map.
    pub fn seen_as(&self, idmap: Option<&Idmap>, kind: IdKind, id: Kid) -> Kid {
        match idmap {
            Some(map) if self.by(&idmap_rules::SEEN) => map.seen(kind, id),
            _ => id,
        }
    }

    /// An owner of a file as its file system has it; an overlay, as it saw its layer last.
    pub fn owner(&self, inode: InodeId, kind: IdKind) -> Kid {
        let guard = self.guard(inode);
        match kind {
            IdKind::User => guard.uid,
            IdKind::Group => guard.gid,
        }
    }

    /// The mode by which a file is guarded.
    pub fn mode(&self, inode: InodeId) -> u32 {
        self.guard(inode).mode
    }

    /// By what a file is guarded.
    pub fn guard(&self, inode: InodeId) -> Guard {
        if let Some(guard) = self.ovl_guard(inode) {
            return guard;
        }
        let inode = &self.inodes[self.real(inode)];
        Guard { mode: inode.mode, uid: inode.uid, gid: inode.gid }
    }

    /// Whether a mount's id map lacks an owner of a file (`HAS_UNMAPPED_ID`).
    pub fn has_unmapped_owner(&self, idmap: Option<&Idmap>, inode: InodeId) -> bool {
        idmap.is_some()
            && (self.seen(idmap, inode, IdKind::User) == NO_ID
                || self.seen(idmap, inode, IdKind::Group) == NO_ID)
    }

    /// Whether credentials may do something with the file at a place (`inode_permission`).
    pub fn may(&self, cred: &Cred, place: Place, access: Access) -> Res<()> {
        let idmap = self.mounts[place.mount].idmap.as_deref();
        self.inode_permission(cred, idmap, self.inode(place.dentry), access)
    }

    /// Whether credentials may do something with a file that is seen through an id map.
    pub fn inode_permission(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        access: Access,
    ) -> Res<()> {
        let sb = &self.supers[self.inodes[inode].sb];
        if access.write {
            let read_only = sb.readonly
                && matches!(
                    self.file_type(inode),
                    FileType::File | FileType::Dir | FileType::Symlink
                );
            self.deny(read_only, &rules::ACCESS_READ_ONLY, Errno::EROFS)?;
            let unmapped = self.has_unmapped_owner(idmap, inode);
            self.deny(unmapped, &idmap_rules::WRITE_UNMAPPED, Errno::EACCES)?;
        }
        match sb.kind {
            FsType::Nfs => self.nfs_permission(cred, inode, access),
            FsType::Overlay => {
                self.generic_permission(cred, idmap, inode, access)?;
                self.ovl_permission(inode, access)
            }
            _ => self.generic_permission(cred, idmap, inode, access),
        }
    }

    /// Whether the mode of a file or a capability over it allows an access (`generic_permission`).
    pub fn generic_permission(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        access: Access,
    ) -> Res<()> {
        let wanted = access.bits();
        let mode = self.mode(inode);
        if self.mode_allows(cred, idmap, inode, mode, wanted)
            || self.override_allows(cred, idmap, inode, mode, access)
        {
            return Ok(());
        }
        self.deny(true, &rules::ACCESS_MODE, Errno::EACCES)
    }

    fn mode_allows(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        mode: u32,
        wanted: u32,
    ) -> bool {
        let allowed = |shift: u32| (mode >> shift) & wanted == wanted;
        let classes = [6, 3, 0];
        // Where every class allows it, none needs to be found.
        if classes.into_iter().all(allowed) {
            return true;
        }
        let owner = self.seen(idmap, inode, IdKind::User);
        let first = if owner == cred.fsuid && owner != NO_ID {
            0
        } else if is_member(cred, self.seen(idmap, inode, IdKind::Group)) {
            1
        } else {
            2
        };
        if allowed(classes[first]) {
            return true;
        }
        let later = classes[first + 1..].iter().any(|shift| allowed(*shift));
        later && !self.by(&rules::ACCESS_CLASS)
    }

    /// Whether a capability over the file allows what its mode does not.
    fn override_allows(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        mode: u32,
        access: Access,
    ) -> bool {
        let is_dir = self.file_type(inode) == FileType::Dir;
        let reads = if is_dir { !access.write } else { access == Access::READ };
        let has = |capability| self.capable_through(cred, idmap, inode, capability);
        if reads && has(cap::DAC_READ_SEARCH) && self.by(&rules::ACCESS_READ_SEARCH) {
            return true;
        }
        if !has(cap::DAC_OVERRIDE) {
            return false;
        }
        let nobody_executes = !is_dir && access.execute && mode & EXECUTE_BITS == 0;
        !(nobody_executes && self.by(&rules::ACCESS_NO_EXECUTION))
            && self.by(&rules::ACCESS_OVERRIDE)
    }

    /// Whether a capability over the own user namespace counts for this file
    /// (`capable_wrt_inode_uidgid`): both of its owners must be mapped there.
    pub fn capable_over(&self, cred: &Cred, place: Place, capability: u8) -> bool {
        let idmap = self.mounts[place.mount].idmap.as_deref();
        self.capable_through(cred, idmap, self.inode(place.dentry), capability)
    }

    /// The same for a file that is seen through an id map.
    pub fn capable_through(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        capability: u8,
    ) -> bool {
        let mapped = |kind| {
            let id = self.seen(idmap, inode, kind);
            self.id_in(cred.userns, kind, id).is_some()
        };
        cred.has(capability)
            && ((mapped(IdKind::User) && mapped(IdKind::Group))
                || !self.by(&rules::CAPABLE_UNMAPPED))
    }

    /// Whether credentials own the file or count as its owner (`inode_owner_or_capable`).
    pub fn owns(&self, cred: &Cred, place: Place) -> bool {
        let idmap = self.mounts[place.mount].idmap.as_deref();
        self.owns_through(cred, idmap, self.inode(place.dentry))
    }

    /// The same for a file that is seen through an id map. A capability needs only the owner to be
    /// mapped, and not the group.
    pub fn owns_through(&self, cred: &Cred, idmap: Option<&Idmap>, inode: InodeId) -> bool {
        let owner = self.seen(idmap, inode, IdKind::User);
        if owner == cred.fsuid && owner != NO_ID {
            return true;
        }
        cred.has(cap::FOWNER)
            && (self.id_in(cred.userns, IdKind::User, owner).is_some()
                || !self.by(&rules::OWNER_UNMAPPED))
    }
}

impl Cred {
    /// Whether a capability is effective in the own user namespace.
    pub fn has(&self, capability: u8) -> bool {
        self.effective & (1 << capability) != 0
    }
}
