//! The mount tree: copies of mounts, attaching, unmounting, and who keeps a mount busy.

use crate::model::arena::Arena;
use crate::model::halt::{Halt, Res};
use crate::model::machine::{
    DentryId, LockedFlags, Machine, MntNs, MntNsId, Mount, MountFlags, MountId, Opened, Place,
    ProcId, SuperId, UserNsId,
};
use crate::model::rules::{mount as rules, propagation};
use crate::scenario::scalar::Errno;

/// Most mounts that are modelled. The kernel refuses the 100,000th of a namespace (fs.mount-max), and
/// takes its time until then.
const MOST_MOUNTS: usize = 20_000;

/// What becomes of the propagation type in a copy of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// As in a bind: a peer of what is shared, a slave of the same master.
    Peer,
    /// The same, and shared in any case.
    Shared,
    /// A slave of what is copied, and shared too if so told.
    Slave {
        /// Whether it is shared too.
        shared: bool,
    },
    /// A slave of what is shared, otherwise as in a bind: for a namespace of another user namespace.
    SharedToSlave,
    /// Private.
    Private,
}

/// What a copy of a tree leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Copies unbindable mounts too.
    pub unbindable: bool,
    /// Copies files of mount namespaces too.
    pub namespace_files: bool,
}

impl Keep {
    /// What a recursive bind copies.
    pub const BIND: Self = Self { unbindable: false, namespace_files: true };
    /// What a new mount namespace copies.
    pub const NAMESPACE: Self = Self { unbindable: true, namespace_files: false };
}

/// What an unmount leaves together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// Every mount is by itself afterwards.
    All,
    /// Mounts that are locked stay where they are below unmounted ones.
    Unlocked,
    /// All mounts below stay where they are (`UMOUNT_CONNECTED`).
    None,
}

impl Machine<'_> {
    // ---- looking ----

    /// A mount and all below it, parents first.
    pub fn mount_tree(&self, top: MountId) -> Vec<MountId> {
        let mut tree = vec![top];
        let mut next = 0;
        // Depth first, in the order of the children: as the kernel's next_mnt() goes.
        while let Some(&mount) = tree.get(next) {
            next += 1;
            tree.splice(next..next, self.mounts[mount].children.iter().copied());
        }
        tree
    }

    /// Whether a place is the root of its mount.
    pub fn is_mount_root(&self, place: Place) -> bool {
        self.mounts[place.mount].root == place.dentry
    }

    /// What a mount shows at its mount point.
    pub fn root_of(&self, mount: MountId) -> Place {
        Place { mount, dentry: self.mounts[mount].root }
    }

    /// The mount that another one is mounted on.
    pub fn parent_of(&self, mount: MountId) -> Option<MountId> {
        self.mounts[mount].at.map(|at| at.mount)
    }

    /// The mount that covers the whole of another one.
    pub fn cover_of(&self, mount: MountId) -> Option<MountId> {
        self.mount_at(self.root_of(mount))
    }

    /// Where a mount shows that covers everything that was mounted on this one (`topmost_overmount`).
    fn topmost(&self, mount: MountId) -> MountId {
        self.down(self.root_of(mount)).mount
    }

    /// Whether a place is reached from a root by going down only (`is_path_reachable`).
    pub fn is_reachable(&self, place: Place, root: Place) -> bool {
        let mut at = place;
        while at.mount != root.mount {
            match self.mounts[at.mount].at {
                Some(below) => at = below,
                None => return false,
            }
        }
        self.is_below(at.dentry, root.dentry)
    }

    /// Whether a mount is another one or below it.
    pub fn is_mounted_below(&self, mount: MountId, top: MountId) -> bool {
        let mut at = Some(mount);
        while let Some(this) = at {
            if this == top {
                return true;
            }
            at = self.parent_of(this);
        }
        false
    }

    /// Whether a mount is in the mount namespace of a process (`check_mnt`).
    pub fn is_ours(&self, who: ProcId, mount: MountId) -> bool {
        self.mounts[mount].ns == Some(self.processes[who].mnt_ns)
    }

    /// Refuses what is not in the mount namespace of a process.
    pub fn must_be_ours(&self, who: ProcId, mount: MountId) -> Res<()> {
        self.deny(!self.is_ours(who, mount), &rules::FOREIGN, Errno::EINVAL)
    }

    /// Whether a mount is in a namespace that is none: made by fsmount(2) or open_tree(2).
    pub fn is_detached(&self, mount: MountId) -> bool {
        self.mounts[mount].ns.is_some_and(|ns| self.mnt_nss[ns].anonymous)
    }

    /// Whether a mount is the top of such a namespace.
    pub fn is_detached_root(&self, mount: MountId) -> bool {
        self.is_detached(mount) && self.mounts[mount].at.is_none()
    }

    /// Whether a process may use a detached mount: its own mount namespace must have made it
    /// (`check_anonymous_mnt`).
    pub fn is_our_detached(&self, who: ProcId, mount: MountId) -> bool {
        self.is_detached(mount)
            && self.mounts[mount]
                .ns
                .is_some_and(|ns| self.mnt_nss[ns].origin == Some(self.processes[who].mnt_ns))
    }

    /// Refuses who may not change the mount table (`may_mount`).
    pub fn must_be_able_to_mount(&self, who: ProcId) -> Res<()> {
        let process = &self.processes[who];
        let owner = self.mnt_nss[process.mnt_ns].owner;
        let able = self.capable(&process.cred, owner, crate::model::ids::cap::SYS_ADMIN);
        self.deny(!able, &rules::CAPABILITY, Errno::EPERM)
    }

    // ---- making ----

    /// A mount of a file system that is in no namespace yet.
    pub fn new_mount(&mut self, sb: SuperId, flags: MountFlags, source: &str) -> MountId {
        let root = self.supers[sb].root;
        self.mounts.add(Mount {
            sb,
            root,
            at: None,
            ns: None,
            flags,
            locked_flags: LockedFlags::default(),
            locked: false,
            peer_group: None,
            master: None,
            slaves: Vec::new(),
            listed: 0,
            unbindable: false,
            children: Vec::new(),
            source: source.into(),
            idmap: None,
            of_harness: false,
            expiring: false,
        })
    }

    /// A mount namespace that no process can be in, with a tree in it.
    pub fn detach_into_namespace(&mut self, top: MountId, who: ProcId) {
        let here = self.processes[who].mnt_ns;
        let owner = self.mnt_nss[here].owner;
        self.events += 1;
        let sequence = self.events;
        let ns = MntNs { owner, root: top, anonymous: true, sequence, origin: Some(here) };
        let ns = self.mnt_nss.add(ns);
        self.enter_namespace(top, ns);
    }

    /// Puts a tree into a namespace, behind what is in its list already. What is moved within a namespace
    /// keeps its place.
    fn enter_namespace(&mut self, top: MountId, ns: MntNsId) {
        for mount in self.mount_tree(top) {
            if self.mounts[mount].ns != Some(ns) {
                self.events += 1;
                self.mounts[mount].listed = self.events;
                self.mounts[mount].ns = Some(ns);
            }
        }
    }

    /// A copy of one mount that shows this directory of it (`clone_mnt`).
    pub fn copy_mount(&mut self, old: MountId, root: DentryId, copy: Copy) -> MountId {
        let source = &self.mounts[old];
        let (group, master) = (source.peer_group, source.master);
        let new = self.mounts.add(Mount {
            root,
            at: None,
            ns: None,
            children: Vec::new(),
            peer_group: None,
            master: None,
            slaves: Vec::new(),
            listed: 0,
            expiring: false,
            ..source.clone()
        });
        match copy {
            Copy::Private => {}
            Copy::Slave { .. } if group.is_some() => self.set_master(new, Some(old), None),
            Copy::SharedToSlave if group.is_some() && self.by(&propagation::USERNS_SLAVE) => {
                self.set_master(new, Some(old), None);
            }
            Copy::Slave { .. } => self.set_master(new, master, Some(old)),
            Copy::Peer | Copy::Shared | Copy::SharedToSlave => {
                if let Some(group) = group.filter(|_| self.by(&propagation::COPY_PEER)) {
                    self.join_group(new, group, old);
                }
                if master.is_some() && self.by(&propagation::COPY_SLAVE) {
                    self.set_master(new, master, Some(old));
                }
            }
        }
        if matches!(copy, Copy::Shared | Copy::Slave { shared: true }) {
            if self.mounts[new].peer_group.is_none() {
                self.found_group(new);
            }
            self.mounts[new].unbindable = false;
        }
        if self.mounts[new].unbindable && self.by(&propagation::UNBINDABLE_LOST) {
            self.mounts[new].unbindable = false;
        }
        new
    }

    /// A copy of a mount, from one of its directories on, with all mounts below (`copy_tree`).
    pub fn copy_mounts(
        &mut self,
        old: MountId,
        root: DentryId,
        copy: Copy,
        keep: Keep,
    ) -> Res<MountId> {
        let new = self.copy_mount(old, root, copy);
        // Depth first, as next_mnt() goes: in this order they are listed, and join their groups.
        let children = |mounts: &Arena<Mount>, from: MountId, to| {
            mounts[from].children.iter().rev().map(move |child| (*child, to)).collect::<Vec<_>>()
        };
        let mut todo = children(&self.mounts, old, new);
        while let Some((child, to)) = todo.pop() {
            if self.mounts.count() >= MOST_MOUNTS {
                return Err(Halt::Lost("more mounts are made than are modelled"));
            }
            let Some(at) = self.mounts[child].at else { continue };
            let seen = at.mount != old || self.is_below(at.dentry, root);
            if !seen {
                continue;
            }
            match self.is_kept(child, keep) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(refused) => {
                    // What is copied by then has joined its groups, and leaves them again.
                    self.unmount(new, Apart::All, false);
                    return Err(refused);
                }
            }
            let shown = self.mounts[child].root;
            let twin = self.copy_mount(child, shown, copy);
            self.mounts[twin].at = Some(Place { mount: to, dentry: at.dentry });
            self.mounts[to].children.push(twin);
            todo.extend(children(&self.mounts, child, twin));
        }
        Ok(new)
    }

    fn is_kept(&self, mount: MountId, keep: Keep) -> Res<bool> {
        let this = &self.mounts[mount];
        if !keep.unbindable && this.unbindable {
            self.deny(this.locked, &propagation::UNBINDABLE_LOCKED, Errno::EPERM)?;
            if self.by(&propagation::UNBINDABLE_PRUNED) {
                return Ok(false);
            }
        }
        let of_namespace = !keep.namespace_files && self.mnt_ns_of_file(this.root).is_some();
        Ok(!(of_namespace && self.by(&rules::NAMESPACE_FILE_LEFT)))
    }

    /// Whether a mount below a directory is locked there, so that a copy without it would show more.
    pub fn has_locked_children(&self, mount: MountId, dentry: DentryId) -> bool {
        self.mounts[mount].children.iter().any(|child| {
            let child = &self.mounts[*child];
            child.locked && child.at.is_some_and(|at| self.is_below(at.dentry, dentry))
        })
    }

    /// A copy of a mount that belongs to no namespace and to no peer group, as an overlay keeps of
    /// its layers (`clone_private_mount`).
    ///
    /// # Errors
    /// What keeps a directory from being bound.
    pub fn private_copy(&mut self, who: ProcId, place: Place) -> Res<MountId> {
        self.deny(self.mounts[place.mount].unbindable, &rules::LAYER_UNBINDABLE, Errno::EINVAL)?;
        let ours = self.is_ours(who, place.mount)
            || (self.is_detached_root(place.mount) && self.by(&rules::LAYER_DETACHED));
        self.deny(!ours, &rules::LAYER_FOREIGN, Errno::EINVAL)?;
        let locked = self.has_locked_children(place.mount, place.dentry);
        self.deny(locked, &rules::LAYER_LOCKED, Errno::EINVAL)?;
        Ok(self.copy_mount(place.mount, place.dentry, Copy::Private))
    }

    /// Locks a tree that came from a more privileged namespace (`lock_mnt_tree`).
    pub fn lock_tree(&mut self, top: MountId) {
        let keep_flags = self.by(&rules::LOCK_FLAGS);
        let keep_atime = self.by(&rules::LOCK_ATIME);
        let keep_places = self.by(&rules::LOCK_PLACES);
        for mount in self.mount_tree(top) {
            let this = &mut self.mounts[mount];
            let (flags, locked) = (this.flags, &mut this.locked_flags);
            if keep_flags {
                locked.ro |= flags.ro;
                locked.nosuid |= flags.nosuid;
                locked.nodev |= flags.nodev;
                locked.noexec |= flags.noexec;
            }
            locked.atime |= keep_atime;
            this.locked |= keep_places;
        }
    }

    // ---- attaching ----

    /// Hangs a mount up at a place; what is mounted there already moves on top of it.
    pub fn hang(&mut self, mount: MountId, at: Place) {
        // A mount is never below itself: the checks of those who move it keep that out.
        if self.is_mounted_below(at.mount, mount) {
            return;
        }
        let covered = self.mount_at(at);
        self.mounts[mount].at = Some(at);
        self.mounts[at.mount].children.push(mount);
        if let Some(covered) = covered {
            let topmost = self.topmost(mount);
            let beside = topmost != mount && self.by(&propagation::COVER_BESIDE);
            let top = if beside { mount } else { topmost };
            let root = self.root_of(top);
            self.unhang(covered);
            self.mounts[covered].at = Some(root);
            self.mounts[top].children.push(covered);
        }
    }

    /// Takes a mount off the place where it is.
    pub fn unhang(&mut self, mount: MountId) {
        if let Some(at) = self.mounts[mount].at.take() {
            self.mounts[at.mount].children.retain(|child| *child != mount);
        }
    }

    /// Mounts a tree on a place, and copies of it where the mount below sends them
    /// (`attach_recursive_mnt`). The place is the mount point itself: nothing is gone down into.
    pub fn attach(&mut self, who: ProcId, top: MountId, at: Place) -> Res<()> {
        let is_removed = |mount: MountId| self.dentries[self.mounts[mount].root].unlinked;
        let covered = || is_removed(self.topmost(top)) && self.by(&rules::SOURCE_REMOVED_COVER);
        let removed = is_removed(top) || covered();
        self.deny(removed, &rules::SOURCE_REMOVED, Errno::ENOENT)?;
        let copies = if self.mounts[at.mount].peer_group.is_some() {
            let fresh = self.peer_groups.len() as u32;
            self.share_tree(top);
            self.propagate(top, at, fresh)?
        } else {
            Vec::new()
        };
        self.unhang(top);
        self.hang(top, at);
        if let Some(ns) = self.mounts[at.mount].ns {
            self.enter_namespace(top, ns);
        }
        let owner = self.owner_of(who, at.mount);
        // Each copy is put before those that were made earlier.
        for (copy, place) in copies.into_iter().rev() {
            let Some(ns) = self.mounts[place.mount].ns else { continue };
            let across = self.mnt_nss[ns].owner != owner && self.by(&propagation::LOCKED_ACROSS);
            if across {
                self.lock_tree(copy);
            }
            self.mounts[copy].locked = false;
            let covered = self.mount_at(place);
            self.hang(copy, place);
            if let Some(covered) = covered {
                self.take_over_lock(copy, covered);
            }
            if let Some(covered) = covered.filter(|_| across)
                && !self.by(&propagation::COVER_NOT_LOCKED)
            {
                self.lock_tree(covered);
            }
            self.enter_namespace(copy, ns);
        }
        Ok(())
    }

    /// What slides beneath a locked mount hides now what that one hid.
    fn take_over_lock(&mut self, copy: MountId, covered: MountId) {
        if self.mounts[covered].locked && self.by(&rules::BENEATH_TAKES_LOCK) {
            self.mounts[copy].locked = true;
            self.mounts[covered].locked = !self.by(&propagation::COVER_UNLOCKED);
        }
    }

    /// The user namespace whose mounts a process changes at a place.
    fn owner_of(&self, who: ProcId, mount: MountId) -> UserNsId {
        let here = self.processes[who].mnt_ns;
        let ns = self.mounts[mount].ns.filter(|ns| !self.mnt_nss[*ns].anonymous);
        self.mnt_nss[ns.unwrap_or(here)].owner
    }

    // ---- unmounting ----

    /// Unmounts a tree (`umount_tree`); `propagate` takes away what it sent to others too.
    pub fn unmount(&mut self, top: MountId, apart: Apart, propagate: bool) {
        if propagate {
            self.unlock_copies(top);
        }
        let mut gone = self.mount_tree(top);
        if gone.len() > 1 && self.by(&propagation::UMOUNT_FROM_BELOW) {
            gone.reverse();
        }
        let places: Vec<_> = gone.iter().map(|mount| self.mounts[*mount].at).collect();
        // They are children of nothing while others are looked for; where they were they still know.
        for (mount, at) in gone.iter().zip(&places) {
            if let Some(at) = at {
                self.mounts[at.mount].children.retain(|child| child != mount);
            }
        }
        if propagate {
            gone.extend(self.copies_to_unmount(&gone));
        }
        for &mount in &gone {
            self.mounts[mount].ns = None;
            let parent = self.mounts[mount].at;
            let stays = parent.is_some_and(|at| {
                gone.contains(&at.mount)
                    && match apart {
                        Apart::All => false,
                        Apart::Unlocked => self.mounts[mount].locked,
                        Apart::None => true,
                    }
            });
            match parent {
                Some(at) if stays => self.mounts[at.mount].children.push(mount),
                _ => self.mounts[mount].at = None,
            }
        }
        self.leave_groups(&gone);
    }

    /// Takes what stayed below unmounted mounts off those that are freed, for nobody uses them and they hang on
    /// nothing either (`cleanup_mnt`).
    pub fn let_go_of_unused(&mut self) {
        loop {
            let is_freed = |id: MountId| {
                let mount = &self.mounts[id];
                mount.ns.is_none() && mount.at.is_none() && !self.is_used(id)
            };
            let loose = self.mounts.iter().filter(|(_, mount)| {
                mount.ns.is_none() && mount.at.is_some_and(|at| is_freed(at.mount))
            });
            let loose: Vec<_> = loose.map(|(id, _)| id).collect();
            if loose.is_empty() || !self.by(&rules::UNUSED_LETS_GO) {
                return;
            }
            loose.into_iter().for_each(|mount| self.unhang(mount));
        }
    }

    /// What the last descriptor lets go of: a mount that was never attached (`dissolve_on_fput`), a
    /// mount namespace that nobody is in.
    pub fn dissolve_detached(&mut self, file: crate::model::machine::FileId) {
        match self.files[file].what {
            Opened::Detached => {
                let mount = self.files[file].place.mount;
                if self.is_detached_root(mount) {
                    self.unmount(mount, Apart::None, false);
                }
            }
            Opened::MntNs(ns) => self.drop_mnt_ns_if_unused(ns),
            _ => {}
        }
    }

    /// Unmounts all that is mounted on a dentry that is gone (`__detach_mounts`).
    pub fn detach_mounts_on(&mut self, dentry: DentryId) {
        let on_it: Vec<_> = self
            .mounts
            .iter()
            .filter(|(_, mount)| mount.at.is_some_and(|at| at.dentry == dentry))
            .map(|(id, _)| id)
            .collect();
        for mount in on_it {
            if self.mounts[mount].ns.is_some() {
                self.unmount(mount, Apart::None, false);
            }
            self.unhang(mount);
        }
    }

    /// Whether something is mounted on a dentry in a mount namespace.
    pub fn is_mountpoint_in(&self, ns: MntNsId, dentry: DentryId) -> bool {
        self.mounts.iter().any(|(_, mount)| {
            mount.ns == Some(ns) && mount.at.is_some_and(|at| at.dentry == dentry)
        })
    }

    /// Whether something is mounted on a dentry in any mount namespace.
    pub fn is_mountpoint(&self, dentry: DentryId) -> bool {
        self.mounts
            .iter()
            .any(|(_, mount)| mount.ns.is_some() && mount.at.is_some_and(|at| at.dentry == dentry))
    }

    // ---- use ----

    /// Whether processes or open files are on a mount; what is mounted on it does not count. The sandbox
    /// keeps its first root open, to look at trees from there.
    pub fn is_used(&self, mount: MountId) -> bool {
        mount == self.sandbox_root.mount
            || self.processes.iter().any(|(_, process)| {
                process.alive && (process.root.mount == mount || process.cwd.mount == mount)
            })
            || self.files.iter().any(|(_, file)| {
                file.count > 0
                    && file.place.mount == mount
                    && matches!(file.what, Opened::File | Opened::Detached)
            })
    }

    /// Whether a file that was opened through a mount may be written to.
    pub fn has_writers(&self, mount: MountId) -> bool {
        self.files.iter().any(|(_, file)| {
            file.count > 0
                && file.place.mount == mount
                && file.writable
                && !file.path_only
                && matches!(file.what, Opened::File)
                && matches!(
                    self.file_type(self.inode(file.place.dentry)),
                    crate::model::machine::FileType::File
                )
        })
    }

    // ---- namespaces ----

    /// A copy of a mount namespace for a process, whose root and working directory move there
    /// (`copy_mnt_ns`).
    ///
    /// # Errors
    /// None yet: what limits namespaces is asked before.
    pub fn clone_mnt_ns(
        &mut self,
        from: MntNsId,
        userns: UserNsId,
        process: ProcId,
    ) -> Res<MntNsId> {
        let old = self.mnt_nss[from].root;
        let less = self.mnt_nss[from].owner != userns;
        let copy = if less { Copy::SharedToSlave } else { Copy::Peer };
        let top = self.copy_mounts(old, self.mounts[old].root, copy, Keep::NAMESPACE)?;
        if less {
            self.lock_tree(top);
        }
        self.events += 1;
        let sequence = self.events;
        let ns = MntNs { owner: userns, root: top, anonymous: false, sequence, origin: None };
        let ns = self.mnt_nss.add(ns);
        self.enter_namespace(top, ns);
        let twins = self.twins(old, top);
        let process = &mut self.processes[process];
        for place in [&mut process.root, &mut process.cwd] {
            if let Some((_, new)) = twins.iter().find(|(old, _)| *old == place.mount) {
                place.mount = *new;
            }
        }
        process.mnt_ns = ns;
        Ok(ns)
    }

    /// Which mount of a tree each mount of its copy was taken from: both are in one order, and what
    /// was left out is skipped.
    fn twins(&self, old: MountId, new: MountId) -> Vec<(MountId, MountId)> {
        let mut pairs = vec![(old, new)];
        let mut next = 0;
        while let Some(&(old, new)) = pairs.get(next) {
            next += 1;
            let mut copies = self.mounts[new].children.iter().copied().peekable();
            for &child in &self.mounts[old].children {
                let place = |mount: MountId| self.mounts[mount].at.map(|at| at.dentry);
                if let Some(copy) = copies.next_if(|copy| {
                    place(*copy) == place(child)
                        && self.mounts[*copy].root == self.mounts[child].root
                }) {
                    pairs.push((child, copy));
                }
            }
        }
        pairs
    }

    /// Takes a mount namespace apart whose last process ended, unless a file stands for it.
    pub fn drop_mnt_ns_if_unused(&mut self, ns: MntNsId) {
        let in_it = self.processes.iter().any(|(_, process)| process.alive && process.mnt_ns == ns);
        let open = self.files.iter().any(|(_, file)| {
            file.count > 0 && matches!(file.what, Opened::MntNs(open) if open == ns)
        });
        let bound = self
            .mounts
            .iter()
            .any(|(_, mount)| mount.ns.is_some() && self.mnt_ns_of_file(mount.root) == Some(ns));
        let root = self.mnt_nss[ns].root;
        let there = self.mounts[root].ns == Some(ns);
        if there && !in_it && !open && !bound && self.by(&rules::NAMESPACE_ENDS) {
            self.unmount(root, Apart::Unlocked, false);
        }
    }
}
