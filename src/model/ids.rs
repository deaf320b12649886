//! Ids through maps, and capabilities over user namespaces.

use std::rc::Rc;

use super::machine::{Cred, Extent, Idmap, Kid, Machine, NO_ID, OVERFLOW_ID, UserNsId};
use super::profile::Profile;
use super::rules::userns as rules;
use crate::scenario::scalar::Capability;

/// Capabilities by their numbers in include/uapi/linux/capability.h.
#[allow(missing_docs, reason = "capabilities(7) explains them")]
pub mod cap {
    pub const CHOWN: u8 = 0;
    pub const DAC_OVERRIDE: u8 = 1;
    pub const DAC_READ_SEARCH: u8 = 2;
    pub const FOWNER: u8 = 3;
    pub const FSETID: u8 = 4;
    pub const SETGID: u8 = 6;
    pub const SETUID: u8 = 7;
    pub const SETPCAP: u8 = 8;
    pub const SYS_CHROOT: u8 = 18;
    pub const SYS_PTRACE: u8 = 19;
    pub const SYS_ADMIN: u8 = 21;
    pub const SYS_RESOURCE: u8 = 24;
    pub const MKNOD: u8 = 27;
    pub const SETFCAP: u8 = 31;
}

/// Every capability that a kernel has: the last two releases that brought one are those of capabilities(7).
pub fn all_capabilities(profile: &Profile) -> u64 {
    let younger = match profile {
        _ if profile.at_least(5, 9) => 0,
        // CAP_CHECKPOINT_RESTORE.
        _ if profile.at_least(5, 8) => 1,
        // CAP_BPF and CAP_PERFMON too.
        _ => 3,
    };
    let count = Capability::all().count() - younger;
    Capability::all().take(count).fold(0, |bits, capability| bits | capability.bit())
}

/// Users or groups: their maps are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum IdKind {
    User,
    Group,
}

/// An id of the inside of a map, as the outside knows it.
pub fn map_out(map: &[Extent], id: u32) -> Option<Kid> {
    let line = map.iter().find(|line| id.wrapping_sub(line.inside) < line.count)?;
    Some(line.outside + (id - line.inside))
}

/// An id of the outside of a map, as the inside knows it.
pub fn map_in(map: &[Extent], id: Kid) -> Option<u32> {
    let line = map.iter().find(|line| id.wrapping_sub(line.outside) < line.count)?;
    Some(line.inside + (id - line.outside))
}

impl Idmap {
    /// What is seen through the mount of an id on disk; [`NO_ID`] where the map does not have it.
    pub fn seen(&self, kind: IdKind, id: Kid) -> Kid {
        map_out(self.map(kind), id).unwrap_or(NO_ID)
    }

    /// What is stored on disk for an id that is used through the mount; [`NO_ID`] as above.
    pub fn stored(&self, kind: IdKind, id: Kid) -> Kid {
        map_in(self.map(kind), id).unwrap_or(NO_ID)
    }

    fn map(&self, kind: IdKind) -> &[Extent] {
        match kind {
            IdKind::User => &self.uid,
            IdKind::Group => &self.gid,
        }
    }
}

/// Where a range of the inside of a map lies outside: within one line, and one alone.
pub fn map_range_out(map: &[Extent], first: u32, count: u32) -> Option<Kid> {
    let line = map.iter().find(|line| {
        let offset = first.wrapping_sub(line.inside);
        offset < line.count && u64::from(offset) + u64::from(count) <= u64::from(line.count)
    })?;
    Some(line.outside + (first - line.inside))
}

impl Machine<'_> {
    /// A map of a user namespace.
    pub fn map(&self, ns: UserNsId, kind: IdKind) -> &[Extent] {
        match kind {
            IdKind::User => &self.user_nss[ns].uid_map,
            IdKind::Group => &self.user_nss[ns].gid_map,
        }
    }

    /// An id of a user namespace as the kernel keeps it (`make_kuid`); `None` where it is not mapped.
    pub fn kid(&self, ns: UserNsId, kind: IdKind, id: u32) -> Option<Kid> {
        if id == NO_ID {
            return None;
        }
        map_out(self.map(ns, kind), id)
    }

    /// What a user namespace calls an id (`from_kuid`); `None` where it has no name there.
    pub fn id_in(&self, ns: UserNsId, kind: IdKind, kid: Kid) -> Option<u32> {
        if kid == NO_ID {
            return None;
        }
        map_in(self.map(ns, kind), kid)
    }

    /// What a user namespace shows for an id (`from_kuid_munged`).
    pub fn shown_id(&self, ns: UserNsId, kind: IdKind, kid: Kid) -> u32 {
        self.id_in(ns, kind, kid).unwrap_or(OVERFLOW_ID)
    }

    /// Whether credentials have a capability over a user namespace (`cap_capable`): effective in the
    /// same one, and every one over those that its owner's children made.
    pub fn capable(&self, cred: &Cred, ns: UserNsId, capability: u8) -> bool {
        let mut at = ns;
        loop {
            if at == cred.userns {
                return cred.has(capability) && (at == ns || self.by(&rules::ANCESTOR_CAPS));
            }
            let this = &self.user_nss[at];
            // Neither a sibling nor anything above can have it.
            if this.level <= self.user_nss[cred.userns].level {
                return false;
            }
            let Some(parent) = this.parent else { return false };
            let owns = parent == cred.userns && this.owner == cred.euid;
            if owns && self.by(&rules::OWNER_CAPS) {
                return true;
            }
            at = parent;
        }
    }

    /// Whether credentials have a capability over the whole machine (`capable`).
    pub fn capable_of_machine(&self, cred: &Cred, capability: u8) -> bool {
        self.user_nss[cred.userns].parent.is_none() && cred.has(capability)
    }

    /// Whether a user namespace is another one or below it.
    pub fn is_userns_below(&self, ns: UserNsId, top: UserNsId) -> bool {
        let mut at = Some(ns);
        while let Some(this) = at {
            if this == top {
                return true;
            }
            at = self.user_nss[this].parent;
        }
        false
    }
}

/// Credentials that are to be changed: those that share them keep the old ones.
pub fn own(cred: &mut Rc<Cred>) -> &mut Cred {
    Rc::make_mut(cred)
}
