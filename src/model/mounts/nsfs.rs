//! Files that stand for namespaces, and the links of proc that lead to them and to the directories
//! of processes.

use crate::model::halt::{Halt, Res};
use crate::model::machine::{
    DentryId, FsType, Machine, MntNsId, MountFlags, MountId, OtherNsId, Place, ProcId, UserNsId,
};
use crate::model::rules::roots as rules;
use crate::model::vfs::{New, NewKind};
use crate::scenario::operation::Namespace;
use crate::scenario::scalar::Errno;

/// A namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyNs {
    /// A user namespace.
    User(UserNsId),
    /// A mount namespace.
    Mount(MntNsId),
    /// Any other.
    Other(OtherNsId),
}

impl Machine<'_> {
    /// The file that stands for a namespace: one and the same whoever opens it.
    pub fn namespace_file(&mut self, namespace: AnyNs) -> Place {
        let name = match namespace {
            AnyNs::User(ns) => format!("user:[{}]", ns.number()),
            AnyNs::Mount(ns) => format!("mnt:[{}]", ns.number()),
            AnyNs::Other(ns) => {
                format!("{}:[{}]", self.other_nss[ns].kind.file(), ns.number())
            }
        };
        let mount = self.nsfs();
        let root = self.mounts[mount].root;
        let dentry = match self.child_of(root, &name) {
            Some(found) => found,
            None => self.add_fixed(root, &name, NewKind::File, 0o444),
        };
        Place { mount, dentry }
    }

    /// The one nsfs, which is mounted nowhere.
    fn nsfs(&mut self) -> MountId {
        let there = self.mounts.iter().find(|(_, mount)| {
            let sb = &self.supers[mount.sb];
            sb.kind == FsType::Nsfs && mount.ns.is_none() && mount.root == sb.root
        });
        if let Some((mount, _)) = there {
            return mount;
        }
        let root = New { kind: NewKind::Dir, mode: 0o555, uid: 0, gid: 0 };
        let sb = self.new_super(FsType::Nsfs, self.first_userns(), root);
        self.new_mount(sb, MountFlags::default(), "nsfs")
    }

    /// The mount namespace that a file of nsfs stands for.
    pub fn mnt_ns_of_file(&self, dentry: DentryId) -> Option<MntNsId> {
        let dentry = &self.dentries[dentry];
        if self.supers[dentry.sb].kind != FsType::Nsfs {
            return None;
        }
        let number: u32 = dentry.name.strip_prefix("mnt:[")?.strip_suffix(']')?.parse().ok()?;
        self.mnt_nss.iter().map(|(id, _)| id).find(|id| id.number() == number)
    }

    fn child_of(&self, dir: DentryId, name: &str) -> Option<DentryId> {
        match &self.inodes[self.inode(dir)].kind {
            crate::model::machine::Kind::Dir(names) => names.get(name).copied(),
            _ => None,
        }
    }

    /// A file of the kernel's own, which belongs to the first user namespace's root.
    fn add_fixed(&mut self, dir: DentryId, name: &str, kind: NewKind<'_>, mode: u32) -> DentryId {
        let sb = self.dentries[dir].sb;
        match self.new_inode(sb, New { kind, mode, uid: 0, gid: 0 }) {
            Ok(inode) => self.enter(dir, name, inode),
            // Such file systems have no limits.
            Err(_) => dir,
        }
    }

    // ---- proc ----

    /// Where a name in a proc leads that is about a process; `None` where it is about none.
    pub fn proc_link(&mut self, who: ProcId, dir: Place, name: &str) -> Res<Option<Place>> {
        let sb = self.dentries[dir.dentry].sb;
        let root = self.supers[sb].root;
        if dir.dentry == root {
            let Some(process) = self.process_in_proc(who, sb, name) else { return Ok(None) };
            let name = format!("@{}", process.number());
            return Ok(Some(self.fixed_dir(dir, &name)));
        }
        let (of, below) = match self.process_of(dir.dentry) {
            Some(process) => (process, false),
            None => match self.process_of(self.dentries[dir.dentry].parent) {
                Some(process) => (process, true),
                None => return Ok(None),
            },
        };
        if below {
            return self.namespace_link(who, of, name).map(Some);
        }
        Ok(match name {
            "ns" => Some(self.fixed_dir(dir, name)),
            "root" | "cwd" => {
                self.must_see_process(who, of)?;
                let process = &self.processes[of];
                Some(if name == "root" { process.root } else { process.cwd })
            }
            _ => None,
        })
    }

    fn fixed_dir(&mut self, dir: Place, name: &str) -> Place {
        let dentry = match self.child_of(dir.dentry, name) {
            Some(found) => found,
            None => self.add_fixed(dir.dentry, name, NewKind::Dir, 0o555),
        };
        self.down(Place { mount: dir.mount, dentry })
    }

    /// The process that a name at the top of a proc is about: only the first one of a pid namespace
    /// has a number that is known.
    fn process_in_proc(
        &self,
        who: ProcId,
        sb: crate::model::machine::SuperId,
        name: &str,
    ) -> Option<ProcId> {
        let pids = self.supers[sb].shows;
        let is_in = |process: ProcId| {
            let mut at = self.processes[process].nss.get(&Namespace::Pid).copied();
            while at.is_some() && at != pids {
                at = at.and_then(|ns| self.other_nss[ns].parent);
            }
            at.is_some()
        };
        match name {
            "self" | "thread-self" if is_in(who) => Some(who),
            "1" => self.processes.iter().map(|(id, _)| id).find(|process| {
                self.processes[*process].alive
                    && self.processes[*process].nss.get(&Namespace::Pid).copied() == pids
            }),
            _ => None,
        }
    }

    fn process_of(&self, dentry: DentryId) -> Option<ProcId> {
        let number: u32 = self.dentries[dentry].name.strip_prefix('@')?.parse().ok()?;
        self.processes.iter().map(|(id, _)| id).find(|id| id.number() == number)
    }

    fn must_see_process(&self, who: ProcId, of: ProcId) -> Res<()> {
        let hidden = who != of && !self.may_trace(who, of);
        self.deny(hidden, &rules::PROC_LINK, Errno::EACCES)
    }

    fn namespace_link(&mut self, who: ProcId, of: ProcId, name: &str) -> Res<Place> {
        const KINDS: [Namespace; 6] = [
            Namespace::Pid,
            Namespace::Net,
            Namespace::Ipc,
            Namespace::Uts,
            Namespace::Cgroup,
            Namespace::Time,
        ];
        self.must_see_process(who, of)?;
        let process = &self.processes[of];
        let namespace = match name {
            "user" => Some(AnyNs::User(process.cred.userns)),
            "mnt" => Some(AnyNs::Mount(process.mnt_ns)),
            _ => KINDS
                .into_iter()
                .find(|kind| kind.file() == name)
                .and_then(|kind| process.nss.get(&kind))
                .map(|ns| AnyNs::Other(*ns)),
        };
        match namespace {
            Some(namespace) => Ok(self.namespace_file(namespace)),
            None => Err(Halt::Unknown("what is in a proc is not modelled")),
        }
    }
}
