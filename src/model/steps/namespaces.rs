//! Steps of the family namespaces: user namespaces and their maps, and the way into and out of others.

use std::rc::Rc;

use super::{Failure, Named, Performed};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::ids::{IdKind, all_capabilities, cap, map_out, map_range_out};
use crate::model::machine::{
    Cred, Extent, Idmap, Kid, Machine, MntNsId, NO_ID, OpenFile, Opened, OtherNsId, Place, ProcId,
    SuperId, UserNs, UserNsId,
};
use crate::model::mounts::AnyNs;
use crate::model::rules::{cred as cred_rules, userns as rules};
use crate::scenario::operation::{IdMaps, Namespace, NamespaceOperation, Setns};
use crate::scenario::scalar::{Errno, Name};
use crate::transcript::{Outcome, Value, Values};

/// The deepest user namespace in which another one is created.
const MAX_LEVEL: u32 = 32;
/// user.max_user_namespaces of a new user namespace.
pub const UNLIMITED: u64 = i32::MAX as u64;
/// The bytes of a page, which the text of a map must be shorter than.
const PAGE: usize = 4096;
/// Longer host names are refused: `__NEW_UTS_LEN`.
const HOSTNAME_BYTES: usize = 64;
/// What is written to setgroups must be shorter.
const SETGROUPS_BYTES: usize = 8;
/// Maps of more lines are kept in the order of the ids inside: `UID_GID_MAP_MAX_BASE_EXTENTS`.
const UNSORTED_LINES: usize = 5;

/// A namespace that is entered or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    User(UserNsId),
    Mount(MntNsId),
    Other(OtherNsId),
}

/// The map file that is written.
#[derive(Clone, Copy)]
struct MapFile<'a> {
    kind: IdKind,
    text: &'a str,
    then: Option<&'a str>,
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
            let all = all_capabilities();
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

    // ---- maps ----

    fn write_map(&mut self, who: ProcId, of: ProcId, file: MapFile<'_>) -> Result<(), Failure> {
        self.may_write_file_of(who, of).of("open")?;
        let opener = Rc::clone(&self.processes[who].cred);
        let userns = self.processes[of].cred.userns;
        self.map_write(&opener, userns, file.kind, file.text, 0).of("write")?;
        if let Some(text) = file.then {
            self.map_write(&opener, userns, file.kind, text, file.text.len()).of("write")?;
        }
        Ok(())
    }

    /// Sets a map of a user namespace, by who opened the map file and writes to it (`map_write`).
    ///
    /// # Errors
    /// What the rules refuse, in the order of the kernel.
    pub fn map_write(
        &mut self,
        opener: &Cred,
        userns: UserNsId,
        kind: IdKind,
        text: &str,
        position: usize,
    ) -> Res<()> {
        let this = &self.user_nss[userns];
        let Some(parent) = this.parent else {
            return self.refuse_by(&rules::MAP_OPENER, Errno::EPERM);
        };
        let elsewhere = opener.userns != userns && opener.userns != parent;
        self.deny(elsewhere, &rules::MAP_OPENER, Errno::EPERM)?;
        self.deny(position != 0, &rules::MAP_POSITION, Errno::EINVAL)?;
        self.deny(text.len() >= PAGE, &rules::MAP_PAGE, Errno::EINVAL)?;
        self.deny(!self.map(userns, kind).is_empty(), &rules::MAP_ONCE, Errno::EPERM)?;
        let without = !self.capable(opener, userns, cap::SYS_ADMIN);
        self.deny(without, &rules::MAP_ADMIN, Errno::EPERM)?;
        let mut map = self.parse_map(text)?;
        self.map_permitted(opener, userns, parent, kind, &map)?;
        for line in &mut map {
            let outside = map_range_out(self.map(parent, kind), line.outside, line.count);
            line.outside = match outside {
                Some(kid) => kid,
                None if self.by(&rules::MAP_EXTENT) => return Err(Errno::EPERM.into()),
                None => map_out(self.map(parent, kind), line.outside).unwrap_or(NO_ID),
            };
        }
        if map.len() > UNSORTED_LINES {
            map.sort_unstable_by_key(|line| line.inside);
        }
        let this = &mut self.user_nss[userns];
        match kind {
            IdKind::User => this.uid_map = map,
            IdKind::Group => this.gid_map = map,
        }
        Ok(())
    }

    /// The lines of a map as they are written, outside in the ids of the namespace above.
    fn parse_map(&self, text: &str) -> Res<Vec<Extent>> {
        // The kernel's strings end at a NUL.
        let text = text.split('\0').next().unwrap_or_default();
        // One newline at the end is no empty line.
        let text = text.strip_suffix('\n').filter(|text| !text.is_empty()).unwrap_or(text);
        let lines = text.split('\n');
        let mut map: Vec<Extent> = Vec::new();
        let saturates = || self.by(&rules::MAP_SATURATES);
        for line in lines {
            let Some(line) = parse_line(line, &saturates) else {
                return self.refuse_by(&rules::MAP_FORMAT, Errno::EINVAL);
            };
            self.deny(line.count == 0, &rules::MAP_EMPTY_RANGE, Errno::EINVAL)?;
            let wraps = line.inside.checked_add(line.count).is_none()
                || line.outside.checked_add(line.count).is_none();
            self.deny(wraps, &rules::MAP_WRAP, Errno::EINVAL)?;
            let overlaps = map.iter().any(|other| overlap(other, &line));
            self.deny(overlaps, &rules::MAP_OVERLAP, Errno::EINVAL)?;
            self.deny(map.len() == 340, &rules::MAP_LINES, Errno::EINVAL)?;
            self.deny(map.len() == 5, &rules::MAP_LINES_5, Errno::EINVAL)?;
            map.push(line);
        }
        Ok(map)
    }

    /// Whether a map may be set (`new_idmap_permitted`).
    fn map_permitted(
        &self,
        opener: &Cred,
        userns: UserNsId,
        parent: UserNsId,
        kind: IdKind,
        map: &[Extent],
    ) -> Res<()> {
        let this = &self.user_nss[userns];
        let maps_root = kind == IdKind::User && map.iter().any(|line| line.outside == 0);
        if maps_root && opener.userns == userns {
            let without = !this.parent_could_setfcap;
            self.deny(without, &rules::MAP_ROOT_INSIDE, Errno::EPERM)?;
        } else if maps_root {
            let without = !self.capable(opener, parent, cap::SETFCAP);
            self.deny(without, &rules::MAP_ROOT_OUTSIDE, Errno::EPERM)?;
        }
        let own = match kind {
            IdKind::User => opener.euid,
            IdKind::Group => opener.egid,
        };
        let maps_own = this.owner == opener.euid
            && matches!(map, [line] if line.count == 1
                && self.kid(parent, kind, line.outside) == Some(own));
        if maps_own && self.by(&rules::MAP_OWN_ID) {
            let allowed = kind == IdKind::Group && this.setgroups_allowed;
            if !(allowed && self.by(&rules::MAP_GID_DENY)) {
                return Ok(());
            }
        }
        let capability = match kind {
            IdKind::User => cap::SETUID,
            IdKind::Group => cap::SETGID,
        };
        let without = !self.capable(opener, parent, capability);
        self.deny(without, &rules::MAP_SETID, Errno::EPERM)
    }

    fn write_setgroups(&mut self, who: ProcId, of: ProcId, text: &str) -> Result<(), Failure> {
        self.may_write_file_of(who, of).of("open")?;
        let cred = &self.processes[who].cred;
        let userns = self.processes[of].cred.userns;
        let without = !self.capable(cred, userns, cap::SYS_ADMIN);
        self.deny(without, &rules::SETGROUPS_FILE_ADMIN, Errno::EACCES).of("open")?;
        self.setgroups_write(userns, text).of("write")
    }

    /// Sets whether a user namespace allows setgroups(2) (`proc_setgroups_write`).
    ///
    /// # Errors
    /// What the rules refuse.
    pub fn setgroups_write(&mut self, userns: UserNsId, text: &str) -> Res<()> {
        let long = text.len() >= SETGROUPS_BYTES;
        self.deny(long, &rules::SETGROUPS_FILE_LENGTH, Errno::EINVAL)?;
        let word = |word| {
            let rest: Option<&str> = text.strip_prefix(word);
            rest.is_some_and(|rest| rest.bytes().all(is_blank))
        };
        let this = &self.user_nss[userns];
        if word("allow") {
            let denied = !this.setgroups_allowed;
            self.deny(denied, &rules::SETGROUPS_ALLOW, Errno::EPERM)?;
            self.user_nss[userns].setgroups_allowed = true;
        } else if word("deny") {
            let late = !this.gid_map.is_empty();
            self.deny(late, &rules::SETGROUPS_DENY, Errno::EPERM)?;
            self.user_nss[userns].setgroups_allowed = false;
        } else {
            self.deny(true, &rules::SETGROUPS_FILE_WORD, Errno::EINVAL)?;
        }
        Ok(())
    }

    /// uid_map, gid_map and setgroups of a user namespace as a reader sees them. Which ids of the host
    /// the sandbox has is up to the host: its own maps are left out, but for those of the first one.
    pub fn shown_maps(&self, reader: UserNsId, userns: UserNsId) -> Values {
        let setgroups = if self.user_nss[userns].setgroups_allowed { "allow" } else { "deny" };
        let mut shown = Values::from([("setgroups".into(), setgroups.into())]);
        let is_first = self.user_nss[userns].parent.is_none();
        if userns != self.sandbox_userns || reader != userns || is_first {
            for (name, kind) in [("uid_map", IdKind::User), ("gid_map", IdKind::Group)] {
                shown.insert(name.into(), self.shown_map(reader, userns, kind));
            }
        }
        shown
    }

    fn shown_map(&self, reader: UserNsId, userns: UserNsId, kind: IdKind) -> Value {
        let map = self.map(userns, kind);
        let mut outside = reader;
        if let Some(parent) = self.user_nss[userns].parent
            && reader == userns
            && !map.is_empty()
            && self.by(&rules::MAP_READER_INSIDE)
        {
            outside = parent;
        }
        let shown = |line: &Extent| {
            let of_reader = self.id_in(outside, kind, line.outside).unwrap_or(NO_ID);
            // The first user namespace has them as they are kept.
            let id = match of_reader != line.outside && !self.by(&rules::MAP_READER) {
                true => line.outside,
                false => of_reader,
            };
            format!("{} {id} {}", line.inside, line.count).into()
        };
        Value::List(map.iter().map(shown).collect())
    }

    // ---- user namespaces for idmapped mounts ----

    /// A user namespace with these maps that a process makes by a child, as it is given to
    /// mount_setattr(2).
    ///
    /// # Errors
    /// The system call that is refused.
    pub fn make_userns_for_idmap(
        &mut self,
        who: ProcId,
        maps: &IdMaps,
    ) -> Result<UserNsId, Failure> {
        let userns = self.create_userns(who).of("unshare")?;
        let opener = Rc::clone(&self.processes[who].cred);
        for (kind, map) in [(IdKind::User, &maps.uid_map), (IdKind::Group, &maps.gid_map)] {
            // The child has the ids of its parent.
            self.may_write_file_of(who, who).of("open")?;
            self.map_write(&opener, userns, kind, &map.text(), 0).of("write")?;
        }
        Ok(userns)
    }

    /// The id map that a user namespace gives a mount of a file system: the ids inside are those of
    /// the file system's user namespace.
    pub fn idmap_of(&self, userns: UserNsId, sb: SuperId) -> Rc<Idmap> {
        let fs = self.supers[sb].userns;
        let lines = |kind| {
            let mut lines = Vec::new();
            for seen in self.map(userns, kind) {
                for stored in self.map(fs, kind) {
                    lines.extend(intersection(seen, stored));
                }
            }
            lines
        };
        Rc::new(Idmap { uid: lines(IdKind::User), gid: lines(IdKind::Group) })
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

/// What the kernel takes as blank: isspace() of lib/ctype.c.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// One line of a map: three numbers with blanks between them and perhaps around them. Whether a number of more
/// than 64 bits is the highest of them is asked where there is one.
fn parse_line(line: &str, saturates: &dyn Fn() -> bool) -> Option<Extent> {
    let mut rest = line.as_bytes();
    let mut numbers = [0; 3];
    for (index, number) in numbers.iter_mut().enumerate() {
        rest = skip_blanks(rest);
        (*number, rest) = parse_number(rest, saturates);
        match rest.first() {
            Some(byte) if is_blank(*byte) => {}
            None if index == 2 => {}
            _ => return None,
        }
    }
    let [inside, outside, count] = numbers;
    skip_blanks(rest).is_empty().then_some(Extent { inside, outside, count })
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    &text[blanks..]
}

/// A decimal number and what stands behind it. No digits are 0, and of what does not fit into 32 bits the
/// lowest ones count (`simple_strtoul` into 32 bits).
fn parse_number<'t>(text: &'t [u8], saturates: &dyn Fn() -> bool) -> (u32, &'t [u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    let value = |digit: &u8| u64::from(digit - b'0');
    let exact = digits
        .iter()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(value(digit)));
    let wrapped = || {
        let add = |number: u64, digit: &u8| number.wrapping_mul(10).wrapping_add(value(digit));
        digits.iter().fold(0, add)
    };
    let number = exact.unwrap_or_else(|| if saturates() { u64::MAX } else { wrapped() });
    (number as u32, rest)
}

fn overlap(a: &Extent, b: &Extent) -> bool {
    let touches = |a: u32, a_count: u32, b: u32, b_count: u32| {
        u64::from(a) < u64::from(b) + u64::from(b_count)
            && u64::from(b) < u64::from(a) + u64::from(a_count)
    };
    touches(a.inside, a.count, b.inside, b.count) || touches(a.outside, a.count, b.outside, b.count)
}

/// The ids that one line has inside and another one too, from what the other keeps them as to what
/// the first does.
fn intersection(seen: &Extent, stored: &Extent) -> Option<Extent> {
    let first = seen.inside.max(stored.inside);
    let end = |line: &Extent| u64::from(line.inside) + u64::from(line.count);
    let count = end(seen).min(end(stored)).checked_sub(u64::from(first))?;
    let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
    Some(Extent {
        inside: stored.outside + (first - stored.inside),
        outside: seen.outside + (first - seen.inside),
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    #[test]
    fn a_line_is_three_numbers_and_blanks() {
        let parse_line = |text| parse_line(text, &|| true);
        assert_eq!(parse_line("0 1000 1"), Some(line(0, 1000, 1)));
        assert_eq!(parse_line("  00\t1000   01 \r"), Some(line(0, 1000, 1)));
        for wrong in ["", "0 0", "0 0 1 1", "+0 0 1", "0x0 0 1", "0,0,1", "0 0 1x", " ", "-1 0 1"] {
            assert_eq!(parse_line(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_into_32_bits_is_cut_off() {
        let parsed = |text, saturates| parse_line(text, &|| saturates);
        for saturates in [false, true] {
            let cut = parsed("4294967296 4294967297 1", saturates);
            assert_eq!(cut, Some(line(0, 1, 1)));
        }
        assert_eq!(parsed("0 0 18446744073709551621", false), Some(line(0, 0, 5)));
        assert_eq!(parsed("0 0 18446744073709551621", true), Some(line(0, 0, u32::MAX)));
    }

    #[test]
    fn lines_meet_in_the_ids_inside() {
        let stored = line(1, 500, 10);
        assert_eq!(intersection(&line(0, 100, 5), &stored), Some(line(500, 101, 4)));
        assert_eq!(intersection(&line(11, 100, 5), &stored), None);
    }
}
