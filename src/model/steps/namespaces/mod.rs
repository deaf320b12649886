//! Steps of the family namespaces: user namespaces and their maps, and the way into and out of others.

mod maps;

use std::rc::Rc;

use self::maps::MapFile;
use super::{Failure, Named, Performed};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::ids::{IdKind, all_capabilities, cap};
use crate::model::machine::{
    Cred, Kid, Machine, MntNsId, OpenFile, Opened, OtherNsId, Place, ProcId, UserNs, UserNsId,
};
use crate::model::mounts::AnyNs;
use crate::model::rules::{cred as cred_rules, userns as rules};
use crate::scenario::operation::{Namespace, NamespaceOperation, Setns};
use crate::scenario::scalar::{Errno, Name};
use crate::transcript::Outcome;

/// The deepest user namespace in which another one is created.
const MAX_LEVEL: u32 = 32;
/// user.max_user_namespaces of a new user namespace.
pub const UNLIMITED: u64 = i32::MAX as u64;
/// Longer host names are refused: `__NEW_UTS_LEN`.
const HOSTNAME_BYTES: usize = 64;
/// A namespace that is entered or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    User(UserNsId),
    Mount(MntNsId),
    Other(OtherNsId),
}

impl Machine<'_> {
    /// Takes a step of this family.
    pub fn namespace_step(
        &mut self,
        who: ProcId,
        of: ProcId,
        operation: NamespaceOperation<'_>,
    ) -> Performed {
        match operation {
            NamespaceOperation::Unshare(step) => {
                self.unshare(who, &step.namespaces).of("unshare")?
            }
            NamespaceOperation::Setns(step) => self.setns_step(who, of, step)?,
            NamespaceOperation::OpenNamespace(step) => {
                let target = self.open_namespace(who, of, step.namespace).of("open")?;
                self.keep_namespace(who, &step.fd, target);
            }
            NamespaceOperation::WriteUidMap(map) => {
                let then = map.then.as_deref();
                self.write_map(who, of, MapFile { kind: IdKind::User, text: &map.text, then })?;
            }
            NamespaceOperation::WriteGidMap(map) => {
                let then = map.then.as_deref();
                self.write_map(who, of, MapFile { kind: IdKind::Group, text: &map.text, then })?;
            }
            NamespaceOperation::WriteSetgroups(map) => self.write_setgroups(who, of, &map.text)?,
            NamespaceOperation::ReadMaps(_) => {
                let reader = self.processes[who].cred.userns;
                let userns = self.processes[of].cred.userns;
                return Ok(Outcome::Ok(self.shown_maps(reader, userns)));
            }
            NamespaceOperation::Fork(step) => self.fork(who, &step.child),
            NamespaceOperation::Exit(_) => self.exit(who),
            NamespaceOperation::Sethostname(step) => {
                self.sethostname(who, &step.name).of("sethostname")?;
            }
            NamespaceOperation::Gethostname(_) => return Ok(self.gethostname(who)),
        }
        Ok(Outcome::done())
    }

    // ---- unshare ----

    /// unshare(2)
    pub fn unshare(&mut self, who: ProcId, kinds: &[Namespace]) -> Res<()> {
        let user = match kinds.contains(&Namespace::User) {
            true => Some(self.create_userns(who)?),
            false => None,
        };
        let others = || kinds.iter().copied().filter(|kind| *kind != Namespace::User);
        if others().next().is_some() {
            self.unshare_others(who, user, others())?;
        }
        if let Some(userns) = user {
            self.enter_userns(who, userns);
        }
        Ok(())
    }

    fn unshare_others(
        &mut self,
        who: ProcId,
        user: Option<UserNsId>,
        kinds: impl Iterator<Item = Namespace> + Clone,
    ) -> Res<()> {
        let own = self.processes[who].cred.userns;
        let without = user.is_none() && !self.processes[who].cred.has(cap::SYS_ADMIN);
        self.deny(without, &rules::UNSHARE_ADMIN, Errno::EPERM)?;
        let owner = match user {
            Some(userns) if self.by(&rules::UNSHARE_OWNER) => userns,
            _ => own,
        };
        let process = &self.processes[who];
        let elsewhere =
            process.nss.get(&Namespace::Pid) != process.nss_for_children.get(&Namespace::Pid);
        let twice = kinds.clone().any(|kind| kind == Namespace::Pid) && elsewhere;
        self.deny(twice, &rules::UNSHARE_PID_TWICE, Errno::EINVAL)?;
        if kinds.clone().any(|kind| kind == Namespace::Mount) {
            let from = self.processes[who].mnt_ns;
            let copy = self.clone_mnt_ns(from, owner, who)?;
            self.processes[who].mnt_ns = copy;
            self.drop_mnt_ns_if_unused(from);
        }
        for kind in kinds.filter(|kind| *kind != Namespace::Mount) {
            self.unshare_other(who, owner, kind);
        }
        Ok(())
    }

    /// Makes a namespace that is neither a user nor a mount namespace.
    fn unshare_other(&mut self, who: ProcId, owner: UserNsId, kind: Namespace) {
        let process = &self.processes[who];
        let for_children = matches!(kind, Namespace::Pid | Namespace::Time);
        let now =
            if for_children { process.nss_for_children.get(&kind) } else { process.nss.get(&kind) };
        let parent = now.copied();
        let hostname = parent.map_or_else(String::new, |ns| self.other_nss[ns].hostname.clone());
        let made = crate::model::machine::OtherNs { kind, owner, parent, hostname };
        let made = self.other_nss.add(made);
        let process = &mut self.processes[who];
        if for_children {
            process.nss_for_children.insert(kind, made);
        }
        if !for_children || !self.by(&rules::CHILDREN_ENTER) {
            self.processes[who].nss.insert(kind, made);
        }
    }

    /// A new user namespace below that of a process (`create_user_ns`).
    pub fn create_userns(&mut self, who: ProcId) -> Res<UserNsId> {
        let process = &self.processes[who];
        let cred = Rc::clone(&process.cred);
        let (owner, group) = (cred.euid, cred.egid);
        let level = self.user_nss[cred.userns].level;
        self.deny(level > MAX_LEVEL, &rules::CREATE_DEPTH, Errno::ENOSPC)?;
        let full = self.is_limit_reached(cred.userns, owner);
        self.deny(full, &rules::CREATE_LIMIT, Errno::ENOSPC)?;
        let top = self.mnt_nss[process.mnt_ns].root;
        let top = self.down(Place { mount: top, dentry: self.mounts[top].root });
        let chrooted = process.root != top;
        self.deny(chrooted, &rules::CREATE_CHROOTED, Errno::EPERM)?;
        let mapped = self.id_in(cred.userns, IdKind::User, owner).is_some()
            && self.id_in(cred.userns, IdKind::Group, group).is_some();
        self.deny(!mapped, &rules::CREATE_UNMAPPED, Errno::EPERM)?;
        let denied =
            !self.user_nss[cred.userns].setgroups_allowed && self.by(&rules::CREATE_INHERIT_DENY);
        Ok(self.user_nss.add(UserNs {
            parent: Some(cred.userns),
            owner,
            group,
            level: level + 1,
            uid_map: Vec::new(),
            gid_map: Vec::new(),
            setgroups_allowed: !denied,
            parent_could_setfcap: cred.has(cap::SETFCAP),
            max_user_namespaces: UNLIMITED,
        }))
    }

    /// Whether one more user namespace of this owner is too many for any namespace above.
    fn is_limit_reached(&self, parent: UserNsId, owner: Kid) -> bool {
        let (mut at, mut user) = (parent, owner);
        loop {
            let this = &self.user_nss[at];
            if this.max_user_namespaces < UNLIMITED
                && self.userns_count(at, user) >= this.max_user_namespaces
            {
                return true;
            }
            let Some(above) = this.parent else { return false };
            (at, user) = (above, this.owner);
        }
    }

    /// How many user namespaces below one a user has there, of those that somebody is still in.
    fn userns_count(&self, top: UserNsId, user: Kid) -> u64 {
        let alive = |userns: UserNsId| {
            self.processes
                .iter()
                .any(|(_, p)| p.alive && self.is_userns_below(p.cred.userns, userns))
        };
        let counted = |mut userns: UserNsId| loop {
            let this = &self.user_nss[userns];
            match this.parent {
                Some(parent) if parent == top => break this.owner == user,
                Some(parent) => userns = parent,
                None => break false,
            }
        };
        self.user_nss.iter().filter(|(id, _)| counted(*id) && alive(*id)).count() as u64
    }

    /// What is written to user.max_user_namespaces, which is one of the writer's user namespace.
    pub fn set_userns_limit(&mut self, cred: &Cred, text: &[u8]) -> Res<usize> {
        let limit = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
        match limit {
            Some(limit) => self.user_nss[cred.userns].max_user_namespaces = limit,
            None => return refuse(Errno::EINVAL),
        }
        Ok(text.len())
    }

    /// Credentials in a user namespace that is entered (`set_cred_user_ns`).
    fn enter_userns(&mut self, who: ProcId, userns: UserNsId) {
        let mut new = Cred::clone(&self.processes[who].cred);
        new.userns = userns;
        if self.by(&rules::CREATE_ALL_CAPS) {
            let all = all_capabilities(self.profile);
            (new.effective, new.permitted, new.bounding) = (all, all, all);
        }
        let left = new.inheritable | new.ambient != 0 || new.keepcaps;
        if left && self.by(&rules::CREATE_FRESH_SETS) {
            (new.inheritable, new.ambient, new.keepcaps) = (0, 0, false);
        }
        self.commit(who, new);
    }

    // ---- setns ----

    fn setns_step(&mut self, who: ProcId, of: ProcId, step: &Setns) -> Result<(), Failure> {
        let target = match (&step.fd, step.namespace) {
            (Some(name), asked) => {
                let opened = self.opened_namespace(who, name).of("setns")?;
                let other = asked
                    .is_some_and(|asked| opened.is_none_or(|target| self.kind_of(target) != asked));
                self.deny(other, &rules::SETNS_TYPE, Errno::EINVAL).of("setns")?;
                match opened {
                    Some(target) => target,
                    None => return self.refuse_by(&rules::SETNS_TYPE, Errno::EINVAL).of("setns"),
                }
            }
            (None, Some(kind)) => self.open_namespace(who, of, kind).of("open")?,
            (None, None) => {
                let halt = Halt::Unknown("no namespace to enter");
                return Err(Failure { halt, syscall: "setns" });
            }
        };
        self.setns(who, target).of("setns")
    }

    fn opened_namespace(&self, who: ProcId, name: &Name) -> Res<Option<Target>> {
        let Some(file) = self.processes[who].fds.get(name) else {
            return self.refuse_by(&crate::model::rules::files::BAD_FD, Errno::EBADF);
        };
        Ok(match self.files[*file].what {
            Opened::UserNs(ns) => Some(Target::User(ns)),
            Opened::MntNs(ns) => Some(Target::Mount(ns)),
            Opened::OtherNs(ns) => Some(Target::Other(ns)),
            _ => None,
        })
    }

    fn kind_of(&self, target: Target) -> Namespace {
        match target {
            Target::User(_) => Namespace::User,
            Target::Mount(_) => Namespace::Mount,
            Target::Other(ns) => self.other_nss[ns].kind,
        }
    }

    fn setns(&mut self, who: ProcId, target: Target) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        match target {
            Target::User(userns) => {
                let own = userns == cred.userns;
                self.deny(own, &rules::SETNS_OWN, Errno::EINVAL)?;
                let without = !self.capable(&cred, userns, cap::SYS_ADMIN);
                self.deny(without, &rules::SETNS_USER, Errno::EPERM)?;
                self.enter_userns(who, userns);
            }
            Target::Mount(ns) => {
                let owner = self.mnt_nss[ns].owner;
                let without = !self.capable(&cred, owner, cap::SYS_ADMIN);
                self.deny(without, &rules::SETNS_MOUNT, Errno::EPERM)?;
                let without = !cred.has(cap::SYS_CHROOT) || !cred.has(cap::SYS_ADMIN);
                self.deny(without, &rules::SETNS_MOUNT_OWN, Errno::EPERM)?;
                let from = std::mem::replace(&mut self.processes[who].mnt_ns, ns);
                if self.by(&rules::SETNS_MOUNT_ROOT) {
                    let mount = self.mnt_nss[ns].root;
                    let top = self.down(Place { mount, dentry: self.mounts[mount].root });
                    let process = &mut self.processes[who];
                    (process.root, process.cwd) = (top, top);
                }
                self.drop_mnt_ns_if_unused(from);
            }
            Target::Other(ns) => self.enter_other(who, &cred, ns)?,
        }
        Ok(())
    }

    fn enter_other(&mut self, who: ProcId, cred: &Cred, ns: OtherNsId) -> Res<()> {
        let kind = self.other_nss[ns].kind;
        let owner = self.other_nss[ns].owner;
        let without = !self.capable(cred, owner, cap::SYS_ADMIN) || !cred.has(cap::SYS_ADMIN);
        self.deny(without, &rules::SETNS_OTHER, Errno::EPERM)?;
        if kind == Namespace::Pid {
            let own = self.processes[who].nss.get(&kind).copied();
            let mut at = Some(ns);
            while at.is_some() && at != own {
                at = at.and_then(|ns| self.other_nss[ns].parent);
            }
            self.deny(at.is_none(), &rules::SETNS_PID, Errno::EINVAL)?;
        }
        let process = &mut self.processes[who];
        if matches!(kind, Namespace::Pid | Namespace::Time) {
            process.nss_for_children.insert(kind, ns);
        }
        if kind != Namespace::Pid {
            process.nss.insert(kind, ns);
        }
        Ok(())
    }

    // ---- namespace files ----

    /// The namespace that /proc/PID/ns/KIND of a process leads to.
    fn open_namespace(&mut self, who: ProcId, of: ProcId, kind: Namespace) -> Res<Target> {
        let may = who == of || self.may_trace(who, of);
        self.deny(!may, &rules::NSFILE_PTRACE, Errno::EACCES)?;
        let process = &self.processes[of];
        match kind {
            Namespace::User => Ok(Target::User(process.cred.userns)),
            Namespace::Mount => Ok(Target::Mount(process.mnt_ns)),
            other => match process.nss.get(&other) {
                Some(ns) => Ok(Target::Other(*ns)),
                None => Err(Halt::Unknown("a namespace of the host")),
            },
        }
    }

    /// Whether a process may look into another one (`ptrace_may_access` for reading).
    pub fn may_trace(&self, who: ProcId, of: ProcId) -> bool {
        let caller = &self.processes[who].cred;
        let process = &self.processes[of];
        let target = &process.cred;
        let over_target = self.capable(caller, target.userns, cap::SYS_PTRACE);
        let same_ids = [target.uid, target.euid, target.suid] == [caller.fsuid; 3]
            && [target.gid, target.egid, target.sgid] == [caller.fsgid; 3];
        if !same_ids && !over_target {
            return false;
        }
        // Its memory belongs to the user namespace that its program was executed in.
        if !process.dumpable && !self.capable_of_machine(caller, cap::SYS_PTRACE) {
            return false;
        }
        let weaker = caller.userns == target.userns && target.permitted & !caller.effective == 0;
        weaker || over_target
    }

    fn keep_namespace(&mut self, who: ProcId, name: &Name, target: Target) {
        let what = match target {
            Target::User(ns) => Opened::UserNs(ns),
            Target::Mount(ns) => Opened::MntNs(ns),
            Target::Other(ns) => Opened::OtherNs(ns),
        };
        let place = self.namespace_file(match target {
            Target::User(ns) => AnyNs::User(ns),
            Target::Mount(ns) => AnyNs::Mount(ns),
            Target::Other(ns) => AnyNs::Other(ns),
        });
        let file = self.files.add(OpenFile {
            place,
            what,
            readable: true,
            writable: false,
            append: false,
            path_only: false,
            noatime: false,
            position: 0,
            listed: false,
            cred: Rc::clone(&self.processes[who].cred),
            count: 0,
        });
        self.keep(who, name, file);
    }

    /// Whether a process may open a file in the directory of another in proc for writing: a map or
    /// setgroups.
    fn may_write_file_of(&self, who: ProcId, of: ProcId) -> Res<()> {
        let cred = &self.processes[who].cred;
        let process = &self.processes[of];
        let hosts_root = !process.dumpable && self.by(&cred_rules::NOT_DUMPABLE);
        let (uid, gid) = if hosts_root { (0, 0) } else { (process.cred.euid, process.cred.egid) };
        let mapped = || {
            self.id_in(cred.userns, IdKind::User, uid).is_some()
                && self.id_in(cred.userns, IdKind::Group, gid).is_some()
        };
        let may = cred.fsuid == uid || (cred.has(cap::DAC_OVERRIDE) && mapped());
        self.deny(!may, &rules::FILE_OWNER, Errno::EACCES)
    }

    // ---- host name ----

    fn sethostname(&mut self, who: ProcId, name: &str) -> Res<()> {
        let Some(&uts) = self.processes[who].nss.get(&Namespace::Uts) else {
            return Err(Halt::Unknown("the host name of the host"));
        };
        let owner = self.other_nss[uts].owner;
        let without = !self.capable(&self.processes[who].cred, owner, cap::SYS_ADMIN);
        self.deny(without, &rules::HOSTNAME, Errno::EPERM)?;
        let long = name.len() > HOSTNAME_BYTES;
        self.deny(long, &rules::HOSTNAME_LENGTH, Errno::EINVAL)?;
        name.clone_into(&mut self.other_nss[uts].hostname);
        Ok(())
    }

    /// The host name, but for one that nobody set: that is the host's.
    fn gethostname(&self, who: ProcId) -> Outcome {
        let uts = self.processes[who].nss.get(&Namespace::Uts);
        match uts.map(|uts| self.other_nss[*uts].hostname.as_str()) {
            None | Some("") => Outcome::done(),
            Some(name) => Outcome::values([("name", name.into())]),
        }
    }
}
