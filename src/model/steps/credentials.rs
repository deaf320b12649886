//! Steps of the family credentials: ids, groups, capability sets, process attributes.

use std::rc::Rc;

use super::{Named, Performed};
use crate::model::halt::Res;
use crate::model::ids::{IdKind, all_capabilities, cap};
use crate::model::machine::{Cred, Kid, Machine, ProcId};
use crate::model::rules::cred as rules;
use crate::scenario::operation::CredentialOperation;
use crate::scenario::scalar::{Capability, Errno};
use crate::transcript::{Outcome, Value, Values};

/// The sets that capset(2) gives a process.
#[derive(Clone, Copy, Debug)]
pub struct CapSets {
    /// What counts.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What a program may inherit.
    pub inheritable: u64,
}

impl Machine<'_> {
    /// Takes a step of this family.
    pub fn credential_step(
        &mut self,
        who: ProcId,
        operation: CredentialOperation<'_>,
    ) -> Performed {
        match operation {
            CredentialOperation::Setuid(step) => self.setuid(who, step.uid).of("setuid")?,
            CredentialOperation::Setgid(step) => self.setgid(who, step.gid).of("setgid")?,
            CredentialOperation::Setresuid(step) => {
                self.setresuid(who, [step.ruid, step.euid, step.suid]).of("setresuid")?;
            }
            CredentialOperation::Setresgid(step) => {
                self.setresgid(who, [step.rgid, step.egid, step.sgid]).of("setresgid")?;
            }
            CredentialOperation::Setgroups(step) => {
                self.setgroups(who, &step.groups).of("setgroups")?
            }
            CredentialOperation::Getcred(_) => return Ok(Outcome::Ok(self.credentials(who))),
            CredentialOperation::Capset(step) => {
                let now = &self.processes[who].cred;
                let set = |wanted: &Option<Vec<Capability>>, now| {
                    wanted.as_deref().map_or(now, capability_set)
                };
                let sets = CapSets {
                    effective: set(&step.effective, now.effective),
                    permitted: set(&step.permitted, now.permitted),
                    inheritable: set(&step.inheritable, now.inheritable),
                };
                self.capset(who, sets).of("capset")?;
            }
            CredentialOperation::CapAmbient(step) => {
                for capability in &step.raise {
                    self.raise_ambient(who, *capability).of("prctl PR_CAP_AMBIENT_RAISE")?;
                }
            }
            CredentialOperation::CapBset(step) => {
                for capability in &step.drop {
                    self.drop_bounding(who, *capability).of("prctl PR_CAPBSET_DROP")?;
                }
            }
            CredentialOperation::Keepcaps(step) => self.cred_mut(who).keepcaps = step.keep,
            CredentialOperation::NoNewPrivs(_) => self.cred_mut(who).no_new_privs = true,
            CredentialOperation::Umask(step) => self.processes[who].umask = step.mode.0 & 0o777,
        }
        Ok(Outcome::done())
    }

    fn cred_mut(&mut self, who: ProcId) -> &mut Cred {
        Rc::make_mut(&mut self.processes[who].cred)
    }

    /// Gives a process other credentials (`commit_creds`): with other effective ids, or with
    /// capabilities that it did not have, it is no longer dumpable.
    pub fn commit(&mut self, who: ProcId, new: Cred) {
        let old = &self.processes[who].cred;
        let same = |new: &Cred, old: &Cred| {
            (new.euid, new.egid, new.fsuid, new.fsgid) == (old.euid, old.egid, old.fsuid, old.fsgid)
        };
        if !same(&new, old) || !self.has_all_of(old, &new) {
            self.processes[who].dumpable = false;
        }
        self.processes[who].cred = Rc::new(new);
    }

    /// Whether credentials have all capabilities of others (`cred_cap_issubset`), as the owner of a
    /// user namespace has over that.
    fn has_all_of(&self, set: &Cred, subset: &Cred) -> bool {
        if set.userns == subset.userns {
            return subset.permitted & !set.permitted == 0;
        }
        let mut at = subset.userns;
        loop {
            let this = &self.user_nss[at];
            match this.parent {
                Some(parent) if parent == set.userns && this.owner == set.euid => return true,
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    // ---- ids ----

    fn id_to_take(&self, cred: &Cred, kind: IdKind, id: u32) -> Res<Kid> {
        match self.kid(cred.userns, kind, id) {
            Some(kid) => Ok(kid),
            None => self.refuse_by(&rules::SETID_UNMAPPED, Errno::EINVAL),
        }
    }

    /// setuid(2)
    pub fn setuid(&mut self, who: ProcId, uid: u32) -> Res<()> {
        let old = Rc::clone(&self.processes[who].cred);
        let uid = self.id_to_take(&old, IdKind::User, uid)?;
        let mut new = Cred::clone(&old);
        if old.has(cap::SETUID) {
            if self.by(&rules::SETUID_ALL) {
                (new.uid, new.suid) = (uid, uid);
            }
        } else {
            let foreign = uid != old.uid && uid != old.suid;
            self.deny(foreign, &rules::SETUID_FOREIGN, Errno::EPERM)?;
        }
        (new.euid, new.fsuid) = (uid, uid);
        self.fix_capabilities(&old, &mut new);
        self.commit(who, new);
        Ok(())
    }

    /// setgid(2)
    pub fn setgid(&mut self, who: ProcId, gid: u32) -> Res<()> {
        let old = Rc::clone(&self.processes[who].cred);
        let gid = self.id_to_take(&old, IdKind::Group, gid)?;
        let mut new = Cred::clone(&old);
        if old.has(cap::SETGID) {
            if self.by(&rules::SETGID_ALL) {
                (new.gid, new.sgid) = (gid, gid);
            }
        } else {
            let foreign = gid != old.gid && gid != old.sgid;
            self.deny(foreign, &rules::SETGID_FOREIGN, Errno::EPERM)?;
        }
        (new.egid, new.fsgid) = (gid, gid);
        self.commit(who, new);
        Ok(())
    }

    /// The ids that setresuid(2) or setresgid(2) asks for: -1 and nothing leave one as it is.
    fn ids_to_take(
        &self,
        cred: &Cred,
        kind: IdKind,
        asked: [Option<u32>; 3],
    ) -> Res<[Option<Kid>; 3]> {
        let mut ids = [None; 3];
        for (id, asked) in ids.iter_mut().zip(asked) {
            *id = match asked.filter(|id| *id != u32::MAX) {
                Some(asked) => Some(self.id_to_take(cred, kind, asked)?),
                None => None,
            };
        }
        Ok(ids)
    }

    /// setresuid(2)
    pub fn setresuid(&mut self, who: ProcId, ids: [Option<u32>; 3]) -> Res<()> {
        let old = Rc::clone(&self.processes[who].cred);
        let ids = self.ids_to_take(&old, IdKind::User, ids)?;
        let own = [old.uid, old.euid, old.suid];
        let foreign = ids.into_iter().flatten().any(|id| !own.contains(&id));
        let refused = foreign && !old.has(cap::SETUID);
        self.deny(refused, &rules::SETUID_FOREIGN, Errno::EPERM)?;
        let mut new = Cred::clone(&old);
        new.uid = ids[0].unwrap_or(old.uid);
        new.euid = ids[1].unwrap_or(old.euid);
        new.suid = ids[2].unwrap_or(old.suid);
        new.fsuid = new.euid;
        self.fix_capabilities(&old, &mut new);
        self.commit(who, new);
        Ok(())
    }

    /// setresgid(2)
    pub fn setresgid(&mut self, who: ProcId, ids: [Option<u32>; 3]) -> Res<()> {
        let old = Rc::clone(&self.processes[who].cred);
        let ids = self.ids_to_take(&old, IdKind::Group, ids)?;
        let own = [old.gid, old.egid, old.sgid];
        let foreign = ids.into_iter().flatten().any(|id| !own.contains(&id));
        let refused = foreign && !old.has(cap::SETGID);
        self.deny(refused, &rules::SETGID_FOREIGN, Errno::EPERM)?;
        let mut new = Cred::clone(&old);
        new.gid = ids[0].unwrap_or(old.gid);
        new.egid = ids[1].unwrap_or(old.egid);
        new.sgid = ids[2].unwrap_or(old.sgid);
        new.fsgid = new.egid;
        self.commit(who, new);
        Ok(())
    }

    /// What a change of user ids does to the capabilities (`cap_emulate_setxuid`).
    fn fix_capabilities(&self, old: &Cred, new: &mut Cred) {
        let Some(root) = self.kid(old.userns, IdKind::User, 0) else { return };
        let has_root = |cred: &Cred| [cred.uid, cred.euid, cred.suid].contains(&root);
        if has_root(old) && !has_root(new) {
            let keeps = new.keepcaps && self.by(&rules::KEEPCAPS);
            if !keeps && self.by(&rules::LEAVE_ROOT) {
                (new.permitted, new.effective) = (0, 0);
            }
            if new.ambient != 0 && self.by(&rules::AMBIENT_LEAVE_ROOT) {
                new.ambient = 0;
            }
        }
        let (was, is) = (old.euid == root, new.euid == root);
        if was && !is && new.effective != 0 && self.by(&rules::EFFECTIVE_FROM_ROOT) {
            new.effective = 0;
        }
        if !was && is && self.by(&rules::EFFECTIVE_TO_ROOT) {
            new.effective = new.permitted;
        }
    }

    /// setgroups(2)
    pub fn setgroups(&mut self, who: ProcId, groups: &[u32]) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        let userns = &self.user_nss[cred.userns];
        self.deny(!cred.has(cap::SETGID), &rules::SETGROUPS_CAP, Errno::EPERM)?;
        self.deny(userns.gid_map.is_empty(), &rules::SETGROUPS_NO_MAP, Errno::EPERM)?;
        self.deny(!userns.setgroups_allowed, &rules::SETGROUPS_DENIED, Errno::EPERM)?;
        let mut kids = Vec::with_capacity(groups.len());
        for gid in groups {
            match self.kid(cred.userns, IdKind::Group, *gid) {
                Some(kid) => kids.push(kid),
                None => return self.refuse_by(&rules::SETGROUPS_UNMAPPED, Errno::EINVAL),
            }
        }
        self.cred_mut(who).groups = kids.into();
        Ok(())
    }

    // ---- capabilities ----

    /// capset(2)
    pub fn capset(&mut self, who: ProcId, sets: CapSets) -> Res<()> {
        let old = Rc::clone(&self.processes[who].cred);
        let added = sets.inheritable & !old.inheritable;
        let unknown = added & !old.permitted != 0 && !old.has(cap::SETPCAP);
        self.deny(unknown, &rules::CAPSET_INHERITABLE, Errno::EPERM)?;
        self.deny(added & !old.bounding != 0, &rules::CAPSET_BOUNDING, Errno::EPERM)?;
        let more = sets.permitted & !old.permitted != 0;
        self.deny(more, &rules::CAPSET_PERMITTED, Errno::EPERM)?;
        let without = sets.effective & !sets.permitted != 0;
        self.deny(without, &rules::CAPSET_EFFECTIVE, Errno::EPERM)?;
        let mut new = Cred::clone(&old);
        (new.effective, new.permitted, new.inheritable) =
            (sets.effective, sets.permitted, sets.inheritable);
        let lost = old.ambient & !(sets.permitted & sets.inheritable);
        if lost != 0 && self.by(&rules::CAPSET_AMBIENT) {
            new.ambient &= !lost;
        }
        self.commit(who, new);
        Ok(())
    }

    fn raise_ambient(&mut self, who: ProcId, capability: Capability) -> Res<()> {
        let cred = &self.processes[who].cred;
        let without = cred.permitted & cred.inheritable & capability.bit() == 0;
        self.deny(without, &rules::AMBIENT_RAISE, Errno::EPERM)?;
        self.cred_mut(who).ambient |= capability.bit();
        Ok(())
    }

    fn drop_bounding(&mut self, who: ProcId, capability: Capability) -> Res<()> {
        let without = !self.processes[who].cred.has(cap::SETPCAP);
        self.deny(without, &rules::BOUNDING_DROP, Errno::EPERM)?;
        self.cred_mut(who).bounding &= !capability.bit();
        Ok(())
    }

    // ---- what a process is ----

    /// The ids, groups and capabilities of a process, as it sees them itself.
    pub fn credentials(&self, who: ProcId) -> Values {
        let cred = &self.processes[who].cred;
        let mut values = Values::new();
        let mut add = |name: &str, value: Value| drop(values.insert(name.into(), value));
        let shown = |kind, id| self.shown_id(cred.userns, kind, id);
        for (name, id) in [("uid", cred.uid), ("euid", cred.euid), ("suid", cred.suid)] {
            add(name, shown(IdKind::User, id).into());
        }
        for (name, id) in [("gid", cred.gid), ("egid", cred.egid), ("sgid", cred.sgid)] {
            add(name, shown(IdKind::Group, id).into());
        }
        let mut groups: Vec<u32> =
            cred.groups.iter().map(|gid| shown(IdKind::Group, *gid)).collect();
        groups.sort_unstable();
        add("groups", Value::List(groups.into_iter().map(Value::from).collect()));
        let all = all_capabilities(self.profile);
        for (name, set) in [
            ("effective", cred.effective),
            ("permitted", cred.permitted),
            ("inheritable", cred.inheritable),
            ("bounding", cred.bounding),
            ("ambient", cred.ambient),
        ] {
            add(name, shown_set(set, all));
        }
        add("no_new_privs", cred.no_new_privs.into());
        values
    }
}

/// Capabilities as a set of bits.
pub fn capability_set(capabilities: &[Capability]) -> u64 {
    capabilities.iter().fold(0, |bits, capability| bits | capability.bit())
}

/// A set of capabilities in a transcript, beside all that there are.
fn shown_set(set: u64, all: u64) -> Value {
    match set {
        0 => "none".into(),
        set if set == all => "all".into(),
        set => Value::List(
            Capability::all()
                .filter(|capability| set & capability.bit() != 0)
                .map(|capability| capability.to_string().into())
                .collect(),
        ),
    }
}
