//! Extended attributes: who may read and write which namespace, and how file capabilities are shown.

use std::rc::Rc;

use super::attributes::FILE_CAPABILITIES;
use super::permission::Access;
use crate::model::halt::{Halt, Res, refuse};
use crate::model::ids::{IdKind, cap};
use crate::model::machine::{
    Cred, DentryId, FileType, FsType, Idmap, InodeId, Machine, NO_ID, Place,
};
use crate::model::rules::{disk as disk_rules, idmap as idmap_rules, ownership as rules};
use crate::scenario::scalar::Errno;

/// The longest name: `XATTR_NAME_MAX`.
const NAME_BYTES: usize = 255;
/// The longest value: `XATTR_SIZE_MAX`.
const VALUE_BYTES: usize = 65536;
/// Sizes of `struct vfs_cap_data` and `struct vfs_ns_cap_data`.
const CAPS_V2_BYTES: usize = 20;
const CAPS_V3_BYTES: usize = 24;
/// The versions in the first word, whose lowest bit says that the capabilities become effective.
const CAPS_V2: u32 = 0x0200_0000;
const CAPS_V3: u32 = 0x0300_0000;

/// The namespace of an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    User,
    Trusted,
    Security,
    System,
    Other,
}

impl Space {
    const ALL: [(&str, Self); 4] = [
        ("user.", Self::User),
        ("trusted.", Self::Trusted),
        ("security.", Self::Security),
        ("system.", Self::System),
    ];

    /// The namespace of a name, and what stands behind it.
    fn of(name: &str) -> (Self, &str) {
        Self::ALL
            .into_iter()
            .find_map(|(prefix, space)| Some((space, name.strip_prefix(prefix)?)))
            .unwrap_or((Self::Other, name))
    }
}

impl Machine<'_> {
    /// The value of an attribute as credentials see it (`vfs_getxattr`).
    pub fn vfs_getxattr(&mut self, cred: &Rc<Cred>, place: Place, name: &str) -> Res<Vec<u8>> {
        let idmap = self.mounts[place.mount].idmap.clone();
        self.getxattr_through(cred, idmap.as_deref(), place.dentry, name)
    }

    /// The same for a file that is seen through an id map.
    pub fn getxattr_through(
        &mut self,
        cred: &Rc<Cred>,
        idmap: Option<&Idmap>,
        dentry: DentryId,
        name: &str,
    ) -> Res<Vec<u8>> {
        self.check_name(name)?;
        self.xattr_permission(cred, idmap, self.inode(dentry), name, Access::READ)?;
        self.known_namespace(dentry, name, false)?;
        let value = self.fs_getxattr(dentry, name)?;
        if name == FILE_CAPABILITIES {
            return self.shown_capabilities(cred, idmap, dentry, value);
        }
        Ok(value)
    }

    /// Sets an attribute (`vfs_setxattr`).
    pub fn vfs_setxattr(
        &mut self,
        cred: &Rc<Cred>,
        place: Place,
        name: &str,
        value: &[u8],
        create: bool,
        replace: bool,
    ) -> Res<()> {
        self.check_name(name)?;
        if value.len() > VALUE_BYTES {
            return refuse(Errno::E2BIG);
        }
        self.want_write(place)?;
        let idmap = self.mounts[place.mount].idmap.clone();
        self.setxattr_through(cred, idmap.as_deref(), place.dentry, name, value, (create, replace))
    }

    /// The same for a file that is seen through an id map; the flags are those of setxattr(2),
    /// whether it is to be created and whether it is to be replaced.
    pub fn setxattr_through(
        &mut self,
        cred: &Rc<Cred>,
        idmap: Option<&Idmap>,
        dentry: DentryId,
        name: &str,
        value: &[u8],
        (create, replace): (bool, bool),
    ) -> Res<()> {
        let inode = self.inode(dentry);
        let converted = if name == FILE_CAPABILITIES && !value.is_empty() {
            Some(self.stored_capabilities(cred, idmap, inode, value)?)
        } else {
            None
        };
        self.xattr_permission(cred, idmap, inode, name, Access::WRITE)?;
        if name != FILE_CAPABILITIES {
            self.security_change(cred, inode, name)?;
        }
        self.known_namespace(dentry, name, true)?;
        if name.starts_with("security.") {
            self.ovl_forget_no_privileges(inode);
        }
        let value = converted.as_deref().unwrap_or(value);
        self.fs_setxattr(cred, dentry, name, value, create, replace)
    }

    /// Removes an attribute (`vfs_removexattr`).
    pub fn vfs_removexattr(&mut self, cred: &Rc<Cred>, place: Place, name: &str) -> Res<()> {
        self.check_name(name)?;
        self.want_write(place)?;
        let idmap = self.mounts[place.mount].idmap.clone();
        self.removexattr_through(cred, idmap.as_deref(), place.dentry, name)
    }

    /// The same for a file that is seen through an id map.
    pub fn removexattr_through(
        &mut self,
        cred: &Rc<Cred>,
        idmap: Option<&Idmap>,
        dentry: DentryId,
        name: &str,
    ) -> Res<()> {
        let inode = self.inode(dentry);
        self.xattr_permission(cred, idmap, inode, name, Access::WRITE)?;
        if name == FILE_CAPABILITIES {
            let may = self.capable_through(cred, idmap, inode, cap::SETFCAP);
            self.deny(!may, &rules::FILECAPS_SET, Errno::EPERM)?;
        } else {
            self.security_change(cred, inode, name)?;
        }
        self.known_namespace(dentry, name, true)?;
        self.fs_removexattr(cred, dentry, name)
    }

    /// The names of the attributes that credentials see (`vfs_listxattr`).
    pub fn vfs_listxattr(&mut self, cred: &Rc<Cred>, place: Place) -> Res<Vec<Rc<str>>> {
        let mut names = self.fs_listxattr(place.dentry)?;
        let disk = self.supers[self.dentries[place.dentry].sb].kind;
        let hides = names.iter().any(|name| name.starts_with("trusted."))
            && !self.capable_of_machine(cred, cap::SYS_ADMIN)
            && !(disk == FsType::Btrfs && self.by(&disk_rules::BTRFS_TRUSTED_LIST))
            && self.by(&rules::XATTR_TRUSTED_LIST);
        if hides {
            names.retain(|name| !name.starts_with("trusted."));
        }
        Ok(names)
    }

    fn check_name(&self, name: &str) -> Res<()> {
        let length = (1..=NAME_BYTES).contains(&name.len());
        self.deny(!length, &rules::XATTR_NAME, Errno::ERANGE)
    }

    /// Who may read and write which namespace (`xattr_permission`).
    fn xattr_permission(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        name: &str,
        access: Access,
    ) -> Res<()> {
        let writes = access.write;
        if writes {
            let unmapped = self.has_unmapped_owner(idmap, inode);
            self.deny(unmapped, &idmap_rules::XATTR_UNMAPPED, Errno::EPERM)?;
        }
        match Space::of(name).0 {
            // What these mean is up to the file system and the security modules.
            Space::Security | Space::System => return Ok(()),
            Space::Trusted => {
                let without = !self.capable_of_machine(cred, cap::SYS_ADMIN);
                return if writes {
                    self.deny(without, &rules::XATTR_TRUSTED_SET, Errno::EPERM)
                } else {
                    self.deny(without, &rules::XATTR_TRUSTED_GET, Errno::ENODATA)
                };
            }
            Space::User => {
                let kind = self.file_type(inode);
                let other = !matches!(kind, FileType::File | FileType::Dir | FileType::Socket);
                let errno = if writes { Errno::EPERM } else { Errno::ENODATA };
                self.deny(other, &rules::XATTR_USER_KIND, errno)?;
                self.deny(kind == FileType::Socket, &rules::XATTR_USER_SOCKET, errno)?;
                let protected = writes
                    && kind == FileType::Dir
                    && self.mode(inode) & 0o1000 != 0
                    && !self.owns_through(cred, idmap, inode);
                self.deny(protected, &rules::XATTR_USER_STICKY, Errno::EPERM)?;
            }
            Space::Other => {}
        }
        self.inode_permission(cred, idmap, inode, access)
    }

    /// Who may change what a security module may read (`cap_inode_setxattr`, `cap_inode_removexattr`).
    fn security_change(&self, cred: &Cred, inode: InodeId, name: &str) -> Res<()> {
        let userns = self.supers[self.inodes[inode].sb].userns;
        let without =
            Space::of(name).0 == Space::Security && !self.capable(cred, userns, cap::SYS_ADMIN);
        let unchecked = without && self.by(&rules::XATTR_SECURITY_UNCHECKED);
        self.deny(without && !unchecked, &rules::XATTR_SECURITY, Errno::EPERM)
    }

    /// Whether the file system has attributes of this namespace (`xattr_resolve_name`). Overlays and
    /// NFS say that themselves.
    fn known_namespace(&self, dentry: DentryId, name: &str, writes: bool) -> Res<()> {
        let kind = self.supers[self.dentries[dentry].sb].kind;
        let (space, rest) = Space::of(name);
        let known = match kind {
            FsType::Overlay | FsType::Nfs => return Ok(()),
            FsType::Tmpfs | FsType::Ext4 | FsType::Xfs | FsType::Btrfs => match space {
                Space::User => kind != FsType::Tmpfs || self.by(&rules::XATTR_TMPFS_USER),
                Space::Trusted | Space::Security => true,
                Space::System => {
                    let acl = matches!(rest, "posix_acl_access" | "posix_acl_default");
                    if acl && writes {
                        return Err(Halt::Unknown("access control lists are not modelled"));
                    }
                    acl
                }
                Space::Other => false,
            },
            FsType::Sysfs | FsType::Cgroup2 => {
                return Err(Halt::Unknown("attributes of this file system are not modelled"));
            }
            _ => false,
        };
        self.deny(!known, &rules::XATTR_PREFIX, Errno::EOPNOTSUPP)?;
        let bare = rest.is_empty() && space != Space::System;
        self.deny(bare, &rules::XATTR_BARE_PREFIX, Errno::EINVAL)
    }

    /// Capabilities of a file as they are stored: those of a user namespace's root with its id
    /// (`cap_convert_nscap`).
    fn stored_capabilities(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        value: &[u8],
    ) -> Res<Vec<u8>> {
        let given = match FileCapabilities::read(value) {
            Some(given) => given,
            None if self.by(&rules::FILECAPS_HEADER) => {
                return Err(Halt::Refused(Errno::EINVAL));
            }
            None => return Ok(value.to_vec()),
        };
        let may = self.capable_through(cred, idmap, inode, cap::SETFCAP);
        self.deny(!may, &rules::FILECAPS_SET, Errno::EPERM)?;
        let fs = self.supers[self.inodes[inode].sb].userns;
        let plain = given.root.is_none()
            && ((idmap.is_none() && self.capable(cred, fs, cap::SETFCAP))
                || !self.by(&rules::FILECAPS_NAMESPACED));
        if plain {
            return Ok(value.to_vec());
        }
        let root = self
            .kid(cred.userns, IdKind::User, given.root.unwrap_or(0))
            .map(|kid| idmap.map_or(kid, |map| map.stored(IdKind::User, kid)))
            .and_then(|kid| self.id_in(fs, IdKind::User, kid));
        match root {
            Some(root) => Ok(given.with_root(Some(root))),
            None => self.refuse_by(&rules::FILECAPS_UNMAPPED, Errno::EINVAL),
        }
    }

    /// Capabilities of a file as a user namespace sees them (`cap_inode_getsecurity`).
    fn shown_capabilities(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        dentry: DentryId,
        value: Vec<u8>,
    ) -> Res<Vec<u8>> {
        let Some(stored) = FileCapabilities::read(&value) else { return Ok(value) };
        let fs = self.supers[self.dentries[dentry].sb].userns;
        let root = self.kid(fs, IdKind::User, stored.root.unwrap_or(0)).unwrap_or(NO_ID);
        let root = self.seen_as(idmap, IdKind::User, root);
        match self.id_in(cred.userns, IdKind::User, root) {
            Some(id) if id != 0 && self.by(&rules::FILECAPS_OTHER_ROOT) => {
                return Ok(stored.with_root(Some(id)));
            }
            _ => {}
        }
        let own = self.is_root_of_this_or_outer(cred, root);
        self.deny(!own, &rules::FILECAPS_FOREIGN_ROOT, Errno::EOVERFLOW)?;
        if stored.root.is_some() && self.by(&rules::FILECAPS_OWN_ROOT) {
            return Ok(stored.with_root(None));
        }
        Ok(value)
    }

    /// Whether an id is root of the own user namespace or of one above (`rootid_owns_currentns`).
    fn is_root_of_this_or_outer(&self, cred: &Cred, id: u32) -> bool {
        let mut at = Some(cred.userns);
        while let Some(userns) = at {
            if self.id_in(userns, IdKind::User, id) == Some(0) {
                return true;
            }
            at = self.user_nss[userns].parent;
        }
        false
    }
}

/// A capability set of a file, of version 2 or 3.
struct FileCapabilities<'a> {
    bytes: &'a [u8],
    /// The id that is root, of version 3.
    root: Option<u32>,
}

impl<'a> FileCapabilities<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(word))
        };
        let root = match (bytes.len(), word(0)? & !1) {
            (CAPS_V2_BYTES, CAPS_V2) => None,
            (CAPS_V3_BYTES, CAPS_V3) => Some(word(CAPS_V2_BYTES)?),
            _ => return None,
        };
        Some(Self { bytes, root })
    }

    /// The same capabilities, as version 3 with this root or as version 2.
    fn with_root(&self, root: Option<u32>) -> Vec<u8> {
        let version = if root.is_some() { CAPS_V3 } else { CAPS_V2 };
        let effective = u32::from(self.bytes.first().is_some_and(|flags| flags & 1 != 0));
        let mut bytes = (version | effective).to_le_bytes().to_vec();
        bytes.extend(self.bytes.iter().take(CAPS_V2_BYTES).skip(4));
        bytes.extend(root.into_iter().flat_map(u32::to_le_bytes));
        bytes
    }
}
