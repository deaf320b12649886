//! Sets up the world of a plan: the sandbox, its trees and mounts, its actors.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::arena::Arena;
use super::halt::Halt;
use super::machine::{
    Atime, Cred, FsType, Kind, LockedFlags, Machine, MntNs, MntNsId, Mount, MountFlags, MountId,
    Place, ProcId, Process, SuperId,
};
use super::profile::Profile;
use super::rules::Citations;
use super::steps::{Failure, Named, OF_RUNTIMES, Step};
use super::vfs::{Change, How, New, NewKind, Walk};
use crate::scenario::operation::Namespace;
use crate::scenario::plan::{Needs, Plan};
use crate::scenario::scalar::{Errno, WorldPath};
use crate::scenario::world::{Entry, EntryKind, LIBRARY_DIRECTORIES, Setup};
use crate::transcript::{Breakage, Outcome};

/// The file mode creation mask that an actor starts with.
const UMASK: u32 = 0o022;
/// Pages and inodes of the sandbox's tmpfs: size=256m, nr_inodes=64k.
const PAGES: u64 = (256 << 20) / 4096;
const INODES: u64 = 64 << 10;
/// The devices of a minimal /dev, with their numbers.
const DEVICES: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// A machine in which the world of a plan stands.
///
/// # Errors
/// The first part of the world that the rules refuse: then nobody is asked anything.
pub fn set_up<'p>(
    plan: &Plan,
    profile: &'p Profile,
    rules: Citations,
) -> Result<Machine<'p>, Breakage> {
    let (mut machine, first) = Machine::with_sandbox(plan, profile, rules);
    for setup in &plan.world.setup {
        match setup {
            Setup::Tree(tree) => machine.plant(first, tree)?,
            Setup::Mount { line, operation } => {
                let outcome = machine.perform(Step { who: first, operation, of: first });
                let broke = |detail: String, errno| Breakage {
                    stage: format!("world: line {line}: {}", operation.word()),
                    detail,
                    errno,
                };
                match outcome {
                    Outcome::Ok(_) => {}
                    Outcome::Failed { errno, .. } => {
                        return Err(broke(outcome.to_string(), Some(errno)));
                    }
                    Outcome::Refused { message: why, .. } | Outcome::Abstained(why) => {
                        return Err(broke(why, None));
                    }
                }
            }
        }
    }
    for nfs in &plan.world.nfs {
        machine.nfs_mount(first, nfs).map_err(|halt| breakage("world: nfs".into(), halt))?;
    }
    machine.processes[first].umask = UMASK;
    if plan.world.container.is_some() {
        machine.lost = Some(OF_RUNTIMES);
    }
    for (name, actor) in &plan.world.actors {
        machine.start_actor(name, actor, first)?;
    }
    Ok(machine)
}

fn breakage(stage: String, halt: Halt) -> Breakage {
    match halt {
        Halt::Refused(errno) => Breakage { stage, detail: errno.to_string(), errno: Some(errno) },
        Halt::Unknown(why) | Halt::Lost(why) => {
            Breakage { stage, detail: why.to_owned(), errno: None }
        }
    }
}

impl<'p> Machine<'p> {
    /// A machine with nothing in it. What it says of the sandbox is of nothing yet.
    fn empty(profile: &'p Profile, rules: Citations) -> Self {
        let mounts = Arena::default();
        let sandbox_root = Place { mount: mounts.next(), dentry: Arena::default().next() };
        Self {
            profile,
            rules,
            inodes: Arena::default(),
            dentries: Arena::default(),
            supers: Arena::default(),
            mounts,
            lost: None,
            peer_groups: Vec::new(),
            mnt_nss: Arena::default(),
            user_nss: Arena::default(),
            other_nss: Arena::default(),
            files: Arena::default(),
            processes: Arena::default(),
            actors: BTreeMap::new(),
            managed_gids: BTreeMap::new(),
            loops: Vec::new(),
            events: 0,
            sandbox_userns: Arena::default().next(),
            sandbox_root,
        }
    }

    /// A machine with an empty sandbox, and the sandbox's first process.
    fn with_sandbox(plan: &Plan, profile: &'p Profile, rules: Citations) -> (Self, ProcId) {
        let needs = &plan.needs;
        let mut machine = Self::empty(profile, rules);
        let (userns, cred) = machine.sandbox_userns(needs);
        machine.sandbox_userns = userns;
        let ns = machine.mnt_nss.next();
        machine.mnt_nss.add(MntNs {
            owner: userns,
            // Until it has one.
            root: machine.mounts.next(),
            anonymous: false,
            sequence: 0,
            origin: None,
        });
        let first_userns = machine.first_userns();
        let of_nobody = New { kind: NewKind::Dir, mode: 0o755, uid: 0, gid: 0 };
        // What every mount namespace begins with, and nobody sees.
        let rootfs = machine.new_super(FsType::Ramfs, first_userns, of_nobody);
        let hidden = machine.plain_mount(rootfs, ns, None);
        machine.mnt_nss[ns].root = hidden;
        let root_of_hidden = machine.mounts[hidden].root;
        let root = New { kind: NewKind::Dir, mode: 0o755, uid: cred.fsuid, gid: cred.fsgid };
        let tmpfs = machine.new_super(FsType::Tmpfs, userns, root);
        machine.supers[tmpfs].free_pages = Some(PAGES);
        machine.supers[tmpfs].free_inodes = Some(INODES - 1);
        let at = Place { mount: hidden, dentry: root_of_hidden };
        let mount = machine.plain_mount(tmpfs, ns, Some(at));
        // The lock of the host's root, which pivot_root(2) handed over.
        machine.mounts[mount].locked = !needs.privileged;
        if needs.privileged {
            machine.mounts[mount].flags.nosuid = true;
            machine.mounts[mount].flags.nodev = true;
        }
        let root = Place { mount, dentry: machine.mounts[mount].root };
        machine.sandbox_root = root;
        let first = machine.first_process(cred, root, ns, needs);
        machine.mount_for_needs(first, needs);
        if !plan.world.programs().is_empty() {
            machine.mount_libraries(first);
        }
        (machine, first)
    }

    /// A mount of a whole file system with nothing special about it.
    pub fn plain_mount(&mut self, sb: SuperId, ns: MntNsId, at: Option<Place>) -> MountId {
        let root = self.supers[sb].root;
        let mount = self.mounts.add(Mount {
            sb,
            root,
            at,
            ns: Some(ns),
            flags: MountFlags { atime: Atime::Relatime, ..MountFlags::default() },
            locked_flags: LockedFlags::default(),
            locked: false,
            peer_group: None,
            master: None,
            slaves: Vec::new(),
            listed: 0,
            unbindable: false,
            children: Vec::new(),
            source: "sandbox".into(),
            idmap: None,
            of_harness: false,
            expiring: false,
        });
        if let Some(at) = at {
            self.mounts[at.mount].children.push(mount);
        }
        mount
    }

    fn first_process(&mut self, cred: Rc<Cred>, root: Place, ns: MntNsId, needs: &Needs) -> ProcId {
        let mut nss = BTreeMap::new();
        let first = self.first_userns();
        let kinds = [
            Namespace::Pid,
            Namespace::Net,
            Namespace::Ipc,
            Namespace::Uts,
            Namespace::Cgroup,
            Namespace::Time,
        ];
        for kind in kinds {
            let own = kind == Namespace::Pid || needs.namespaces.contains(&kind);
            let own = own && kind != Namespace::Time;
            let owner = if own { self.sandbox_userns } else { first };
            let hostname = String::new();
            let other = super::machine::OtherNs { kind, owner, parent: None, hostname };
            nss.insert(kind, self.other_nss.add(other));
        }
        self.processes.add(Process {
            cred,
            root,
            cwd: root,
            mnt_ns: ns,
            nss_for_children: nss.clone(),
            nss,
            umask: 0,
            fds: BTreeMap::new(),
            dumpable: true,
            alive: true,
        })
    }

    /// /dev, /proc and /sys where a scenario looks for them.
    fn mount_for_needs(&mut self, who: ProcId, needs: &Needs) {
        let (ns, root) = (self.processes[who].mnt_ns, self.processes[who].root);
        let cred = Rc::clone(&self.processes[who].cred);
        let directory = |machine: &mut Self, name: &str| {
            machine.vfs_make(&cred, root, name, NewKind::Dir, 0o755).ok()
        };
        let first_userns = self.first_userns();
        if needs.dev
            && let Some(dev) = directory(self, "dev")
        {
            let new = New { kind: NewKind::Dir, mode: 0o755, uid: 0, gid: 0 };
            let devices = self.new_super(FsType::Devices, first_userns, new);
            let devices_root = self.supers[devices].root;
            for (name, major, minor) in DEVICES {
                let new = New { kind: NewKind::Char(*major, *minor), mode: 0o666, uid: 0, gid: 0 };
                let Ok(inode) = self.new_inode(devices, new) else { continue };
                let device = self.enter(devices_root, name, inode);
                let file =
                    New { kind: NewKind::File, mode: 0o644, uid: cred.fsuid, gid: cred.fsgid };
                let Ok(at) = self.fs_make(&cred, dev, name, file) else { continue };
                let mount =
                    self.plain_mount(devices, ns, Some(Place { mount: root.mount, dentry: at }));
                self.mounts[mount].root = device;
                self.mounts[mount].of_harness = true;
            }
        }
        for (wanted, name, kind) in
            [(needs.proc, "proc", FsType::Proc), (needs.sys, "sys", FsType::Sysfs)]
        {
            if wanted && let Some(at) = directory(self, name) {
                let new = New { kind: NewKind::Dir, mode: 0o555, uid: 0, gid: 0 };
                let sb = self.new_super(kind, self.sandbox_userns, new);
                let shown = if kind == FsType::Proc { Namespace::Pid } else { Namespace::Net };
                self.supers[sb].shows = self.processes[who].nss.get(&shown).copied();
                let at = Place { mount: root.mount, dentry: at };
                let mount = self.plain_mount(sb, ns, Some(at));
                let mount = &mut self.mounts[mount];
                mount.of_harness = true;
                mount.flags.nosuid = true;
                mount.flags.nodev = true;
                mount.flags.noexec = true;
                // Handed over by the host's, which came with the user namespace.
                mount.locked_flags.atime = !needs.privileged;
            }
        }
    }

    /// The directories with the libraries of programs.
    fn mount_libraries(&mut self, who: ProcId) {
        let (ns, root) = (self.processes[who].mnt_ns, self.processes[who].root);
        let cred = Rc::clone(&self.processes[who].cred);
        for name in LIBRARY_DIRECTORIES {
            let Ok(at) = self.vfs_make(&cred, root, name, NewKind::Dir, 0o755) else { continue };
            let new = New { kind: NewKind::Dir, mode: 0o755, uid: cred.fsuid, gid: cred.fsgid };
            let sb = self.new_super(FsType::Libraries, self.sandbox_userns, new);
            let at = Place { mount: root.mount, dentry: at };
            let mount = self.plain_mount(sb, ns, Some(at));
            let mount = &mut self.mounts[mount];
            mount.of_harness = true;
            mount.flags.ro = true;
            mount.flags.nosuid = true;
            mount.flags.nodev = true;
        }
    }

    // ---- trees ----

    /// Makes the entries of a tree; hard links come last, because what they name must be there.
    fn plant(&mut self, who: ProcId, tree: &BTreeMap<WorldPath, Entry>) -> Result<(), Breakage> {
        let is_link = |entry: &Entry| matches!(entry.kind, EntryKind::Hardlink(_));
        let first = tree.iter().filter(|(_, entry)| !is_link(entry));
        for (path, entry) in first.chain(tree.iter().filter(|(_, entry)| is_link(entry))) {
            self.make(who, path.as_str(), entry).map_err(|failure| {
                let stage = format!("world: tree: {path}");
                match failure.halt {
                    Halt::Refused(errno) => Breakage {
                        stage,
                        detail: format!("{errno} from {}", failure.syscall),
                        errno: Some(errno),
                    },
                    halt => breakage(stage, halt),
                }
            })?;
        }
        Ok(())
    }

    fn make(&mut self, who: ProcId, path: &str, entry: &Entry) -> Result<(), Failure> {
        for (at, _) in path.match_indices('/') {
            self.make_dir(who, &path[..at])?;
        }
        let default_mode = match &entry.kind {
            EntryKind::Dir => {
                self.make_dir(who, path)?;
                0o755
            }
            EntryKind::File(content) => {
                self.make_file(who, path, content.as_bytes(), 0o644)?;
                0o644
            }
            EntryKind::Sparse(size) => {
                let place = self.make_file(who, path, &[], 0o644)?;
                let cred = Rc::clone(&self.processes[who].cred);
                let change = Change { size: Some(*size), ..Change::default() };
                self.fs_setattr(&cred, place.dentry, &change).of("ftruncate")?;
                0o644
            }
            EntryKind::Program(_) => {
                let place = self.make_file(who, path, b"?", 0o755)?;
                let inode = self.real(self.inode(place.dentry));
                if let Kind::File(data) = &mut self.inodes[inode].kind {
                    data.program = true;
                }
                0o755
            }
            EntryKind::Image(image) => {
                self.make_image(who, path, *image)?;
                0o644
            }
            EntryKind::Symlink(target) => {
                self.sys_symlink(who, target, path).of("symlink")?;
                0
            }
            EntryKind::Hardlink(other) => {
                self.sys_link(who, other.as_str(), path, false).of("link")?;
                0
            }
            EntryKind::Fifo => self.make_node(who, path, NewKind::Fifo)?,
            EntryKind::Socket => self.make_node(who, path, NewKind::Socket)?,
            EntryKind::Char(n) => self.make_node(who, path, NewKind::Char(n.major, n.minor))?,
            EntryKind::Block(n) => self.make_node(who, path, NewKind::Block(n.major, n.minor))?,
        };
        self.give_attributes(who, path, entry, default_mode)
    }

    fn give_attributes(
        &mut self,
        who: ProcId,
        path: &str,
        entry: &Entry,
        default_mode: u32,
    ) -> Result<(), Failure> {
        let changed = entry.uid.is_some() || entry.gid.is_some();
        if !changed && entry.mode.is_none() && entry.xattrs.is_empty() {
            return Ok(());
        }
        let cred = Rc::clone(&self.processes[who].cred);
        let place = self.walk(who, None, path, Walk::NO_FOLLOW).of("fchownat")?;
        if changed {
            self.vfs_chown(&cred, place, entry.uid, entry.gid).of("fchownat")?;
        }
        let is_whiteout = matches!(&entry.kind, EntryKind::Char(n) if n.major == 0 && n.minor == 0);
        let default_mode = (changed && default_mode != 0 && !is_whiteout).then_some(default_mode);
        if let Some(mode) = entry.mode.map(|mode| mode.0).or(default_mode) {
            if matches!(entry.kind, EntryKind::Symlink(_)) {
                let halt = Halt::Refused(Errno::EOPNOTSUPP);
                return Err(Failure { halt, syscall: "chmod of a symbolic link" });
            }
            self.vfs_chmod(&cred, place, mode).of("chmod")?;
        }
        for (name, value) in &entry.xattrs {
            self.vfs_setxattr(&cred, place, name, value.as_bytes(), false, false)
                .of("lsetxattr")?;
        }
        Ok(())
    }

    fn make_dir(&mut self, who: ProcId, path: &str) -> Result<(), Failure> {
        match self.sys_mkdir(who, path, 0o755) {
            Err(Halt::Refused(Errno::EEXIST)) => {
                // As it is there: a directory, or a link to one.
                let found = self.walk(who, None, path, Walk::default()).of("mkdir")?;
                if self.is_dir(found.dentry) {
                    Ok(())
                } else {
                    Err(Failure { halt: Halt::Refused(Errno::EEXIST), syscall: "mkdir" })
                }
            }
            result => result.of("mkdir"),
        }
    }

    /// Makes a file of a tree, with its content.
    pub fn make_file(
        &mut self,
        who: ProcId,
        path: &str,
        content: &[u8],
        mode: u32,
    ) -> Result<Place, Failure> {
        let how = How { write: true, create: true, truncate: true, ..How::default() };
        let file = self.sys_open(who, None, path, how, mode).of("open")?;
        if !content.is_empty() {
            self.write_file(who, file, None, content).of("write")?;
        }
        let place = self.files[file].place;
        self.close(file);
        Ok(place)
    }

    fn make_node(&mut self, who: ProcId, path: &str, kind: NewKind<'_>) -> Result<u32, Failure> {
        self.sys_mknod(who, path, kind, 0o644).of("mknod")?;
        Ok(0o644)
    }
}
