//! What mount(2), umount2(2) and move_mount(2) do to the mount tree, in the order of the checks of
//! fs/namespace.c.

use super::file_systems::{Configured, ON_DISK};
use super::flags::Asked;
use super::tree::{Apart, Copy, Keep};
use crate::model::halt::{Res, refuse};
use crate::model::ids::cap;
use crate::model::machine::{FsType, Kind, Machine, MountId, Place, ProcId, SuperId};
use crate::model::overlay::MountOptions;
use crate::model::rules::{mount as rules, overlay as overlay_rules, propagation};
use crate::model::vfs::Walk;
use crate::scenario::operation::{MountFlag, PropagationType, UmountFlag};
use crate::scenario::scalar::Errno;

/// What mount(2) is given besides the mount point.
#[derive(Clone, Copy, Debug)]
pub struct MountCall<'a> {
    /// The type.
    pub kind: &'a str,
    /// The source.
    pub source: &'a str,
    /// The flags.
    pub flags: &'a [MountFlag],
    /// The options, with commas between them.
    pub options: &'a str,
}

impl Machine<'_> {
    /// The place where something can be mounted: on top of what is mounted there (`lock_mount`).
    pub fn mount_point(&self, place: Place) -> Res<Place> {
        let at = self.down(place);
        let removed = self.dentries[at.dentry].unlinked;
        self.deny(removed, &rules::POINT_REMOVED, Errno::ENOENT)?;
        let detached = self.mounts[at.mount].ns.is_none();
        self.deny(detached, &rules::POINT_UNMOUNTED, Errno::ENOENT)?;
        Ok(at)
    }

    /// mount(2) without `MS_REMOUNT` and `MS_MOVE`.
    pub fn sys_mount(&mut self, who: ProcId, at: &str, call: MountCall<'_>) -> Res<()> {
        let asked = Asked::of(call.flags);
        let place = self.walk(who, None, at, Walk::default())?;
        self.must_be_able_to_mount(who)?;
        if asked.bind {
            return self.bind(who, call.source, place, asked.recursive);
        }
        if let Some(kind) = asked.kind {
            self.deny(!self.is_mount_root(place), &propagation::TYPE_NOT_ROOT, Errno::EINVAL)?;
            let unclear = asked.several_kinds || asked.others;
            self.deny(unclear, &propagation::TYPE_ALONE, Errno::EINVAL)?;
            return self.change_types(who, place.mount, kind, asked.recursive);
        }
        self.mount_new(who, place, call, asked)
    }

    /// Mounts a file system (`do_new_mount`).
    fn mount_new(
        &mut self,
        who: ProcId,
        place: Place,
        call: MountCall<'_>,
        asked: Asked,
    ) -> Res<()> {
        let kind = self.file_system(call.kind)?;
        let mut fs = self.configure(who, kind)?;
        fs.readonly = asked.flags.ro;
        fs.source = Some(call.source.into());
        // Options of these types, which the model does not know, are read first.
        fs.on_disk = call.options.is_empty() && ON_DISK.contains(&call.kind);
        if kind.is_some() {
            self.parse_options(who, &mut fs, call.options)?;
        }
        self.must_be_able_to_make(who, &fs)?;
        let sb = self.make_file_system(who, &fs)?;
        let locked = self.must_not_reveal(who, sb, asked.flags)?;
        let at = self.mount_point(place)?;
        self.must_be_ours(who, at.mount)?;
        let twice = self.mounts[at.mount].sb == sb && self.is_mount_root(at);
        self.deny(twice, &rules::SAME_TWICE, Errno::EBUSY)?;
        let mount = self.new_mount(sb, asked.flags, call.source);
        self.mounts[mount].locked_flags = locked;
        self.graft(who, mount, at)
    }

    /// A directory goes on a directory, anything else on what is none (`graft_tree`). What does not go there is gone:
    /// a copy leaves the peer group that it was made in (fs/namespace.c do_loopback()).
    fn graft(&mut self, who: ProcId, mount: MountId, at: Place) -> Res<()> {
        let mixed = self.is_dir(at.dentry) != self.is_dir(self.mounts[mount].root);
        let kind = self.deny(mixed, &rules::BIND_KIND, Errno::ENOTDIR);
        let attached = kind.and_then(|()| self.attach(who, mount, at));
        if attached.is_err() {
            self.unmount(mount, Apart::All, false);
        }
        attached
    }

    // ---- binds ----

    fn bind(&mut self, who: ProcId, from: &str, place: Place, recursive: bool) -> Res<()> {
        let source = self.walk(who, None, from, Walk::default())?;
        let own = self.mnt_nss[self.processes[who].mnt_ns].sequence;
        let loops =
            self.mnt_ns_of_file(source.dentry).is_some_and(|ns| self.mnt_nss[ns].sequence <= own);
        self.deny(loops, &rules::NAMESPACE_LOOP, Errno::EINVAL)?;
        let at = self.mount_point(place)?;
        self.must_be_ours(who, at.mount)?;
        let mount = self.copy_for_bind(who, source, recursive)?;
        self.graft(who, mount, at)
    }

    /// The copy that a bind or open_tree(2) makes (`__do_loopback`).
    pub fn copy_for_bind(&mut self, who: ProcId, source: Place, recursive: bool) -> Res<MountId> {
        let Place { mount, dentry } = source;
        let unbindable = self.mounts[mount].unbindable;
        self.deny(unbindable, &propagation::BIND_UNBINDABLE, Errno::EINVAL)?;
        self.must_be_copyable(who, source)?;
        let locked = !recursive && self.has_locked_children(mount, dentry);
        self.deny(locked, &rules::BIND_LOCKED, Errno::EINVAL)?;
        let copy = if recursive {
            self.copy_mounts(mount, dentry, Copy::Peer, Keep::BIND)?
        } else {
            self.copy_mount(mount, dentry, Copy::Peer)
        };
        self.mounts[copy].locked = false;
        Ok(copy)
    }

    /// What is bound is in one's own mount namespace, or a file of a namespace, or detached and made
    /// there (`may_copy_tree`).
    fn must_be_copyable(&self, who: ProcId, source: Place) -> Res<()> {
        let of_namespace = self.supers[self.dentries[source.dentry].sb].kind == FsType::Nsfs;
        if self.is_ours(who, source.mount) || of_namespace {
            return Ok(());
        }
        if self.is_our_detached(who, source.mount) && self.by(&rules::DETACHED_COPY) {
            return Ok(());
        }
        self.deny(true, &rules::BIND_FOREIGN, Errno::EINVAL)
    }

    // ---- types of propagation ----

    /// Changes the type of a mount, or of a whole tree (`do_change_type`).
    pub fn change_types(
        &mut self,
        who: ProcId,
        mount: MountId,
        kind: PropagationType,
        recursive: bool,
    ) -> Res<()> {
        self.may_change_type(who, mount)?;
        let mounts = if recursive { self.mount_tree(mount) } else { vec![mount] };
        for mount in mounts {
            self.change_type(mount, kind);
        }
        Ok(())
    }

    /// `may_change_propagation`
    fn may_change_type(&self, who: ProcId, mount: MountId) -> Res<()> {
        let Some(ns) = self.mounts[mount].ns else {
            return self.deny(true, &propagation::TYPE_UNMOUNTED, Errno::EINVAL);
        };
        let able = self.capable(&self.processes[who].cred, self.mnt_nss[ns].owner, cap::SYS_ADMIN);
        self.deny(!able, &propagation::TYPE_FOREIGN, Errno::EPERM)
    }

    /// Adds a mount to the peer group of another (`do_set_group`).
    pub fn set_group(&mut self, who: ProcId, from: Place, to: Place) -> Res<()> {
        use propagation as rules;
        self.may_change_type(who, from.mount)?;
        self.may_change_type(who, to.mount)?;
        let roots = self.is_mount_root(from) && self.is_mount_root(to);
        self.deny(!roots, &rules::GROUP_ROOTS, Errno::EINVAL)?;
        let (source, target) = (&self.mounts[from.mount], &self.mounts[to.mount]);
        let (group, master) = (source.peer_group, source.master);
        let unbindable = target.unbindable;
        // Nothing of one file system is below the root of another.
        let wider = self.is_below(target.root, source.root);
        self.deny(!wider, &rules::GROUP_NARROWER, Errno::EINVAL)?;
        let hides = self.has_locked_children(from.mount, target.root);
        self.deny(hides, &rules::GROUP_LOCKED, Errno::EINVAL)?;
        let taken = target.peer_group.is_some() || target.master.is_some();
        let taken = taken || unbindable && !self.by(&rules::GROUP_OF_UNBINDABLE);
        self.deny(taken, &rules::GROUP_TAKEN, Errno::EINVAL)?;
        self.deny(group.is_none() && master.is_none(), &rules::GROUP_NONE, Errno::EINVAL)?;
        if let Some(group) = group {
            self.join_group(to.mount, group, from.mount);
            self.mounts[to.mount].unbindable = false;
        }
        self.set_master(to.mount, master, Some(from.mount));
        Ok(())
    }

    // ---- moves ----

    /// mount(2) with `MS_MOVE`.
    pub fn sys_move(&mut self, who: ProcId, from: &str, at: &str) -> Res<()> {
        let new = self.walk(who, None, at, Walk::default())?;
        self.must_be_able_to_mount(who)?;
        let old = self.walk(who, None, from, Walk::default())?;
        self.move_tree(who, old, new, false)
    }

    /// Moves a mount, or attaches a detached one (`do_move_mount`).
    pub fn move_tree(&mut self, who: ProcId, old: Place, new: Place, beneath: bool) -> Res<()> {
        let not_root = !self.is_mount_root(old);
        let mixed = self.is_dir(new.dentry) != self.is_dir(old.dentry);
        if (not_root || mixed) && self.by(&rules::MOVE_PLACE_FIRST) {
            self.place_for(new, beneath)?;
        }
        self.deny(not_root, &rules::MOVE_NOT_ROOT, Errno::EINVAL)?;
        self.deny(mixed, &rules::MOVE_KIND, Errno::EINVAL)?;
        let at = self.place_for(new, beneath)?;
        self.may_move_mount(who, old.mount, at.mount)?;
        if beneath {
            self.may_go_beneath(who, old, new.mount, at)?;
        }
        let sends = self.mounts[at.mount].peer_group.is_some();
        let unbindable =
            sends && self.mount_tree(old.mount).iter().any(|mount| self.mounts[*mount].unbindable);
        self.deny(unbindable, &propagation::MOVE_UNBINDABLE, Errno::EINVAL)?;
        let outside = !self.is_mounted_below(at.mount, old.mount);
        self.require(outside, &rules::MOVE_LOOP, Errno::ELOOP)?;
        self.attach(who, old.mount, at)
    }

    fn may_move_mount(&self, who: ProcId, old: MountId, new: MountId) -> Res<()> {
        if self.is_ours(who, old) {
            let this = &self.mounts[old];
            // The first mount of a namespace is on nothing.
            if this.at.is_none() {
                return refuse(Errno::EINVAL);
            }
            self.deny(this.locked, &rules::MOVE_LOCKED, Errno::EINVAL)?;
            let shared = this.at.is_some_and(|at| self.mounts[at.mount].peer_group.is_some());
            self.deny(shared, &propagation::MOVE_FROM_SHARED, Errno::EINVAL)?;
            return self.must_be_ours(who, new);
        }
        self.deny(!self.is_detached_root(old), &rules::MOVE_FOREIGN, Errno::EINVAL)?;
        let same = self.mounts[old].ns == self.mounts[new].ns;
        self.deny(same, &rules::MOVE_WITHIN_DETACHED, Errno::EINVAL)?;
        if self.is_our_detached(who, new) && self.by(&rules::DETACHED_TARGET) {
            return Ok(());
        }
        self.must_be_ours(who, new)
    }

    fn place_for(&self, new: Place, beneath: bool) -> Res<Place> {
        if beneath { self.place_beneath(new) } else { self.mount_point(new) }
    }

    /// Where a mount goes that is put beneath another one: the place that the other one is on.
    fn place_beneath(&self, top: Place) -> Res<Place> {
        self.deny(!self.is_mount_root(top), &rules::BENEATH_NOTHING, Errno::EINVAL)?;
        match self.mounts[top.mount].at {
            Some(at) => Ok(at),
            None => self.refuse_by(&rules::BENEATH_NOTHING, Errno::EINVAL),
        }
    }

    /// `can_move_mount_beneath`
    fn may_go_beneath(&mut self, who: ProcId, from: Place, top: MountId, at: Place) -> Res<()> {
        let locked = self.mounts[top].locked;
        self.deny(locked, &rules::BENEATH_LOCKED, Errno::EINVAL)?;
        let covered = self.mount_at(from).is_some();
        self.deny(covered, &rules::BENEATH_COVERED, Errno::EINVAL)?;
        let root = self.processes[who].root.mount == top;
        let first = at.mount == self.mnt_nss[self.processes[who].mnt_ns].root;
        self.deny(root || first, &rules::BENEATH_ROOT, Errno::EINVAL)?;
        let above = self.is_mounted_below(from.mount, top);
        self.deny(above, &rules::BENEATH_ITSELF, Errno::EINVAL)?;
        let covers = self.would_cover(at.mount, top, at);
        self.deny(covers, &rules::BENEATH_PROPAGATED, Errno::EINVAL)?;
        if self.would_cover(at.mount, from.mount, at) {
            let gets_none = self.is_detached(from.mount) && self.by(&rules::BENEATH_DETACHED);
            self.deny(!gets_none, &rules::BENEATH_COVERS_ITSELF, Errno::EINVAL)?;
        }
        if locked && self.by(&rules::BENEATH_TAKES_LOCK) {
            self.mounts[top].locked = false;
            self.mounts[from.mount].locked = true;
        }
        Ok(())
    }

    // ---- unmounts ----

    /// umount2(2)
    pub fn sys_umount(&mut self, who: ProcId, path: &str, flags: &[UmountFlag]) -> Res<()> {
        let has = |flag| flags.contains(&flag);
        // To look for it by this call is no use of it.
        let marked: Vec<MountId> =
            self.mounts.iter().filter(|(_, mount)| mount.expiring).map(|(id, _)| id).collect();
        let how = Walk { follow: !has(UmountFlag::Nofollow), directory: false, into_mount: true };
        let place = self.walk(who, None, path, how);
        for mount in marked {
            self.mounts[mount].expiring = true;
        }
        let place = place?;
        let mount = place.mount;
        self.must_be_able_to_mount(who)?;
        self.deny(!self.is_mount_root(place), &rules::UMOUNT_NOT_ROOT, Errno::EINVAL)?;
        self.must_be_ours(who, mount)?;
        self.deny(self.mounts[mount].locked, &rules::UMOUNT_LOCKED, Errno::EINVAL)?;
        let cred = &self.processes[who].cred;
        let owns = self.capable(cred, self.supers[self.mounts[mount].sb].userns, cap::SYS_ADMIN);
        if has(UmountFlag::Force) && !self.capable(cred, self.first_userns(), cap::SYS_ADMIN) {
            let able = owns && self.by(&rules::UMOUNT_FORCE_OWNER);
            self.deny(!able, &rules::UMOUNT_FORCE, Errno::EPERM)?;
        }
        let own_root = self.processes[who].root.mount == mount;
        if has(UmountFlag::Expire) {
            let other = own_root || has(UmountFlag::Force) || has(UmountFlag::Detach);
            self.expire(mount, other)?;
        }
        if own_root && !has(UmountFlag::Detach) && self.by(&rules::UMOUNT_OWN_ROOT) {
            return self.close_root(mount, owns);
        }
        if has(UmountFlag::Detach) {
            self.unmount(mount, Apart::Unlocked, true);
            return Ok(());
        }
        self.must_be_idle(mount)?;
        self.unmount(mount, Apart::All, true);
        Ok(())
    }

    /// `MNT_EXPIRE`: the first call only marks what nobody uses.
    fn expire(&mut self, mount: MountId, with_others: bool) -> Res<()> {
        self.deny(with_others, &rules::EXPIRE_ALONE, Errno::EINVAL)?;
        let used = self.is_used(mount) || !self.mounts[mount].children.is_empty();
        self.deny(used, &rules::EXPIRE_USED, Errno::EBUSY)?;
        let marked = std::mem::replace(&mut self.mounts[mount].expiring, true);
        self.deny(!marked, &rules::EXPIRE_MARKS, Errno::EAGAIN)
    }

    /// What umount2(2) makes of one's own root: its file system becomes read-only.
    fn close_root(&mut self, mount: MountId, owns: bool) -> Res<()> {
        let sb = self.mounts[mount].sb;
        self.deny(!owns, &rules::FOREIGN_SUPER, Errno::EPERM)?;
        self.close_super(sb)
    }

    fn must_be_idle(&self, mount: MountId) -> Res<()> {
        let children = !self.mounts[mount].children.is_empty();
        self.deny(children, &rules::BUSY_CHILDREN, Errno::EBUSY)?;
        self.deny(self.is_used(mount), &rules::BUSY_USED, Errno::EBUSY)?;
        self.deny(self.copy_is_used(mount), &propagation::BUSY_COPY, Errno::EBUSY)
    }

    // ---- remounts ----

    /// mount(2) with `MS_REMOUNT`, of the mount alone or of its file system.
    pub fn sys_remount(
        &mut self,
        who: ProcId,
        at: &str,
        bind: bool,
        flags: &[MountFlag],
        options: &str,
    ) -> Res<()> {
        let mut asked = Asked::of(flags);
        let place = self.walk(who, None, at, Walk::default())?;
        self.must_be_able_to_mount(who)?;
        let mount = place.mount;
        if !asked.names_atime && self.by(&rules::REMOUNT_KEEPS_ATIME) {
            asked.flags.atime = self.mounts[mount].flags.atime;
            asked.flags.nodiratime = self.mounts[mount].flags.nodiratime;
        }
        self.must_be_ours(who, mount)?;
        self.deny(!self.is_mount_root(place), &rules::REMOUNT_NOT_ROOT, Errno::EINVAL)?;
        self.must_keep_locked(mount, asked.flags)?;
        if bind || asked.bind {
            let closes = asked.flags.ro && !self.is_readonly(mount);
            let busy = closes && self.has_writers(mount);
            self.deny(busy, &rules::REMOUNT_WRITERS, Errno::EBUSY)?;
        } else {
            let sb = self.mounts[mount].sb;
            let mut fs = self.configured_again(sb);
            fs.readonly = asked.flags.ro;
            if self.supers[sb].kind != FsType::Overlay {
                self.parse_options(who, &mut fs, options)?;
            }
            self.must_own_super(who, sb)?;
            self.change_super(sb, &fs)?;
        }
        self.mounts[mount].flags = asked.flags;
        Ok(())
    }

    /// A file system that is there, to be changed.
    fn configured_again(&self, sb: SuperId) -> Configured {
        let this = &self.supers[sb];
        Configured {
            kind: Some(this.kind),
            userns: this.userns,
            shows: this.shows,
            source: None,
            on_disk: false,
            readonly: this.readonly,
            size: None,
            inodes: None,
            mode: None,
            uid: None,
            gid: None,
            overlay: MountOptions::default(),
        }
    }

    fn close_super(&mut self, sb: SuperId) -> Res<()> {
        if self.supers[sb].readonly {
            return Ok(());
        }
        let fs = Configured { readonly: true, ..self.configured_again(sb) };
        self.change_super(sb, &fs)
    }

    /// Changes what tmpfs is limited to, which must be enough for what it has (`shmem_reconfigure`).
    pub fn change_limits(&mut self, sb: SuperId, fs: &Configured) -> Res<()> {
        if self.supers[sb].kind != FsType::Tmpfs || (fs.size.is_none() && fs.inodes.is_none()) {
            return Ok(());
        }
        let (mut pages, mut inodes) = (0, 0);
        for (_, inode) in self.inodes.iter().filter(|(_, inode)| inode.sb == sb) {
            inodes += u64::from(inode.nlink.max(1));
            pages += match &inode.kind {
                Kind::File(data) => data.pages.len() as u64,
                _ => 0,
            };
        }
        let wanted = fs.size.map(|size| size.div_ceil(4096)).filter(|size| *size > 0);
        let few = wanted.is_some_and(|wanted| wanted < pages);
        self.deny(few, &rules::TMPFS_TOO_SMALL, Errno::EINVAL)?;
        if let Some(wanted) = wanted {
            self.supers[sb].free_pages = Some(wanted.saturating_sub(pages));
        }
        if let Some(wanted) = fs.inodes.filter(|wanted| *wanted > 0) {
            self.supers[sb].free_inodes = Some(wanted.saturating_sub(inodes));
        }
        Ok(())
    }

    /// Refuses to write to an overlay that cannot be written to.
    pub fn overlay_may_write(&self, sb: SuperId) -> Res<()> {
        let forced = self.supers[sb].overlay.as_ref().is_some_and(|fs| fs.is_forced_readonly());
        self.deny(forced, &overlay_rules::REMOUNT_READONLY, Errno::EROFS)
    }
}
