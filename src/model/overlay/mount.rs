//! Mounting: fs/overlayfs/super.c.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::options::{Config, MountOptions, Redirect, Uuid, Xino};
use super::xattrs::Mark;
use super::{Identity, Layer, Node, Overlay};
use crate::model::halt::{Halt, Res, refuse};
use crate::model::ids::cap;
use crate::model::machine::{
    Atime, Dentry, DentryId, FsType, InodeId, Machine, Place, ProcId, Super, SuperId,
};
use crate::model::rules::overlay as rules;
use crate::model::vfs::{Access, New, NewKind, RenameHow};
use crate::scenario::scalar::Errno;

/// Most file systems on each other: `FILESYSTEM_MAX_STACK_DEPTH`.
const MAX_DEPTH: u32 = 2;
const WORK: &str = "work";
const UUID_BYTES: usize = 16;
const INDEX: &str = "index";

impl Machine<'_> {
    /// Makes the file system of an overlay, with the layers that are in use from now on
    /// (`ovl_fill_super`).
    ///
    /// # Errors
    /// What is wrong with options or layers. What was made in the work directory until then stays.
    pub fn ovl_fill(&mut self, who: ProcId, options: &MountOptions) -> Res<SuperId> {
        let userns = self.processes[who].cred.userns;
        let mut mounter = self.processes[who].cred.as_ref().clone();
        mounter.effective &= !(1 << cap::SYS_RESOURCE);
        let config = self.verify_options(who, options)?;
        self.deny(options.lower.is_empty(), &rules::NO_LOWER, Errno::EINVAL)?;
        let mut fs = Overlay {
            upper: None,
            lower: Vec::new(),
            merged: options.lower.len().saturating_sub(options.data),
            work_base: None,
            workdir: None,
            indexed: false,
            config,
            mounter: Rc::new(mounter),
            noxattr: Cell::new(false),
            identity: Identity::SameFs,
            traps: Vec::new(),
            whiteout: Cell::new(None),
            inodes: RefCell::new(BTreeMap::new()),
            aliased: RefCell::new(BTreeSet::new()),
            depth: 0,
        };
        if let Some(upper) = &options.upper {
            let no_work = options.work.is_none();
            self.deny(no_work, &rules::NO_WORK, Errno::EINVAL)?;
            let upper = self.found_layer(who, upper, true)?;
            self.use_upper(who, &mut fs, upper)?;
            if let Some(work) = &options.work {
                let work = self.found_layer(who, work, true)?;
                self.use_work(&mut fs, upper, work)?;
            }
            fs.depth = self.depth_of(upper);
        }
        let single = options.upper.is_none() && options.lower.len() == 1;
        self.deny(single, &rules::SINGLE_LOWER, Errno::EINVAL)?;
        let only_data = options.data > 0 && fs.merged == 0;
        self.deny(only_data, &rules::ONLY_DATA, Errno::EINVAL)?;
        let mut lower = Vec::with_capacity(options.lower.len());
        for given in &options.lower {
            lower.push(self.found_layer(who, given, false)?);
        }
        self.use_lower(who, &mut fs, &lower)?;
        self.name_upper(&fs)?;
        if !fs.is_forced_readonly() && fs.config.index {
            self.use_index(&mut fs, lower.first().copied())?;
        }
        self.check_overlaps(&fs)?;
        let readonly = fs.is_forced_readonly();
        self.make_super(fs, userns, readonly)
    }

    fn depth_of(&self, place: Place) -> u32 {
        let sb = &self.supers[self.dentries[place.dentry].sb];
        sb.overlay.as_ref().map_or(0, |overlay| overlay.depth)
    }

    /// A private clone of the mount of a layer.
    fn clone_for_layer(&mut self, who: ProcId, place: Place, lower: bool) -> Res<Layer> {
        let mount = self.private_copy(who, place)?;
        let flags = &mut self.mounts[mount].flags;
        if lower {
            flags.ro = true;
            flags.atime = Atime::Noatime;
        } else {
            flags.atime = Atime::Strictatime;
            flags.nodiratime = false;
        }
        Ok(Layer { mount, root: place.dentry, fsid: 0, xwhiteouts: Cell::new(false) })
    }

    /// A directory that must not be met inside of a layer, and is none of two layers
    /// (`ovl_setup_trap`).
    fn trap(&self, fs: &mut Overlay, dir: DentryId) -> Res<()> {
        let inode = self.inode(dir);
        let twice = fs.traps.contains(&inode);
        self.deny(twice, &rules::LAYERS_THE_SAME, Errno::ELOOP)?;
        fs.traps.push(inode);
        Ok(())
    }

    fn use_upper(&mut self, who: ProcId, fs: &mut Overlay, upper: Place) -> Res<()> {
        let readonly =
            self.mounts[upper.mount].flags.ro || self.supers[self.mounts[upper.mount].sb].readonly;
        self.deny(readonly, &rules::UPPER_READONLY, Errno::EINVAL)?;
        self.trap(fs, upper.dentry)?;
        fs.upper = Some(self.clone_for_layer(who, upper, false)?);
        self.check_in_use(fs, upper.dentry)
    }

    /// A directory that another overlay writes to is refused where there is an index.
    fn check_in_use(&self, fs: &Overlay, dir: DentryId) -> Res<()> {
        let clash = fs.config.index && self.is_in_use(self.inode(dir));
        self.deny(clash, &rules::IN_USE, Errno::EBUSY)
    }

    /// Whether an overlay that is still mounted has a directory as its upper layer or work directory.
    fn is_in_use(&self, dir: InodeId) -> bool {
        self.supers.iter().any(|(sb, this)| {
            this.overlay.as_ref().is_some_and(|overlay| {
                let upper = overlay.upper.as_ref().map(|upper| upper.root);
                let used = [upper, overlay.work_base];
                used.iter().flatten().any(|used| self.inode(*used) == dir) && self.is_alive(sb)
            })
        })
    }

    /// Whether a file system is still used: by a mount, an open file, a process or an overlay on it.
    pub fn is_alive(&self, sb: SuperId) -> bool {
        let holds = |place: &Place| self.mounts[place.mount].sb == sb;
        self.mounts.iter().any(|(_, mount)| mount.sb == sb && mount.ns.is_some())
            || self.files.iter().any(|(_, file)| file.count > 0 && holds(&file.place))
            || self
                .processes
                .iter()
                .any(|(_, process)| process.alive && (holds(&process.root) || holds(&process.cwd)))
            || self.supers.iter().any(|(other, this)| {
                other != sb
                    && this.overlay.as_ref().is_some_and(|overlay| {
                        overlay.mounts().any(|mount| self.mounts[mount].sb == sb)
                            && self.is_alive(other)
                    })
            })
    }

    fn use_work(&mut self, fs: &mut Overlay, upper: Place, work: Place) -> Res<()> {
        let elsewhere = upper.mount != work.mount;
        self.deny(elsewhere, &rules::WORK_ON_ANOTHER_MOUNT, Errno::EINVAL)?;
        let nested =
            self.is_below(work.dentry, upper.dentry) || self.is_below(upper.dentry, work.dentry);
        self.deny(nested, &rules::WORK_AND_UPPER_NESTED, Errno::EINVAL)?;
        fs.work_base = Some(work.dentry);
        self.check_in_use(fs, work.dentry)?;
        self.trap(fs, work.dentry)?;
        self.make_workdir(fs, work.dentry)
    }

    /// Makes the directory in which files are prepared, and finds out what the upper layer can do
    /// (`ovl_make_workdir`).
    fn make_workdir(&mut self, fs: &mut Overlay, base: DentryId) -> Res<()> {
        self.ovl_want_write(fs)?;
        fs.workdir = self.make_work_directory(fs, base, WORK, false)?;
        let Some(workdir) = fs.workdir else { return Ok(()) };
        self.trap(fs, workdir)?;
        self.may(&fs.mounter, fs.upper_place(base)?, Access::READ)?;
        let remote = self.supers[self.dentries[workdir].sb].kind == FsType::Nfs;
        let whiteouts = !remote || self.keeps_whiteouts(fs, workdir)?;
        match self.set_mark(fs, workdir, Mark::Opaque, b"0") {
            Ok(()) => self.remove_mark(fs, workdir, Mark::Opaque)?,
            Err(halt @ (Halt::Unknown(_) | Halt::Lost(_))) => return Err(halt),
            Err(Halt::Refused(_)) => without_xattrs(fs),
        }
        let lacks = remote && (!whiteouts || fs.noxattr.get());
        self.deny(lacks, &rules::REMOTE_UPPER, Errno::EINVAL)?;
        if fs.config.volatile {
            self.mark_volatile(fs, base)?;
        }
        self.need_handles(fs, workdir);
        fs.config.nfs_export &= fs.config.index;
        Ok(())
    }

    /// Does without an index where a file of a layer cannot be found again by a handle.
    fn need_handles(&self, fs: &mut Overlay, dentry: DentryId) -> bool {
        let handles = self.has_file_handles(fs, dentry);
        if !handles && fs.config.index {
            fs.config.index = !self.by(&rules::INDEX_NEEDS_HANDLES);
        }
        handles
    }

    /// A directory in the work directory, emptied if it is there; `None` where it cannot be made, and
    /// then nothing can be written (`ovl_workdir_create`).
    fn make_work_directory(
        &mut self,
        fs: &Overlay,
        base: DentryId,
        name: &str,
        keep: bool,
    ) -> Res<Option<DentryId>> {
        let place = fs.upper_place(base)?;
        self.may(&fs.mounter, place, Access::SEARCH)?;
        if let Some(found) = self.fs_lookup(base, name)? {
            if keep {
                return Ok(Some(found));
            }
            match self.clean_workdir(fs, found, 0) {
                Err(Halt::Refused(Errno::EINVAL)) => return refuse(Errno::EINVAL),
                Err(halt @ (Halt::Unknown(_) | Halt::Lost(_))) => return Err(halt),
                _ => {}
            }
            if let Some(left) = self.fs_lookup(base, name)? {
                return Ok((!self.by(&rules::LEFTOVERS_READONLY)).then_some(left));
            }
        }
        match self.may_create(&fs.mounter, place) {
            Err(Halt::Refused(_)) => return Ok(None),
            result => result?,
        }
        let made = self.make_in_work(fs, base, name, NewKind::Dir, 0);
        match made {
            Err(Halt::Refused(_)) => Ok(None),
            result => result.map(Some),
        }
    }

    pub(super) fn make_in_work(
        &mut self,
        fs: &Overlay,
        dir: DentryId,
        name: &str,
        kind: NewKind<'_>,
        mode: u32,
    ) -> Res<DentryId> {
        let new = New { kind, mode, uid: fs.mounter.fsuid, gid: fs.mounter.fsgid };
        self.fs_make(&fs.mounter, dir, name, self.stored_new(fs, new))
    }

    /// Removes what an earlier overlay left, as deep as it ever leaves something; EINVAL for what that
    /// one says must not be used (`ovl_workdir_cleanup`).
    fn clean_workdir(&mut self, fs: &Overlay, left: DentryId, level: u32) -> Res<()> {
        if !self.is_dir(left) || level > 1 {
            return self.fs_remove(&fs.mounter, left);
        }
        if self.fs_remove(&fs.mounter, left).is_ok() {
            return Ok(());
        }
        self.may(&fs.mounter, fs.upper_place(left)?, Access::READ)?;
        let incompatible = level == 1 && &*self.dentries[left].name == "incompat";
        for name in self.fs_list(left)? {
            self.deny(incompatible, &rules::INCOMPATIBLE, Errno::EINVAL)?;
            if let Some(found) = self.fs_lookup(left, &name)? {
                self.clean_workdir(fs, found, level + 1)?;
            }
        }
        self.fs_remove(&fs.mounter, left)
    }

    /// Whether a rename can leave a whiteout (`ovl_check_rename_whiteout`).
    fn keeps_whiteouts(&mut self, fs: &Overlay, workdir: DentryId) -> Res<bool> {
        let temp = self.make_temp(fs, NewKind::File, 0)?;
        let how = RenameHow { whiteout: true, ..RenameHow::default() };
        let renamed = self.fs_rename(&fs.mounter, temp, workdir, "#renamed", None, how);
        self.clean_up(fs, temp);
        match renamed {
            Ok(()) => {
                if let Some(left) = self.fs_lookup(workdir, super::copy_up::TEMP)? {
                    self.clean_up(fs, left);
                }
                Ok(true)
            }
            Err(Halt::Refused(Errno::EINVAL)) => Ok(false),
            Err(halt) => Err(halt),
        }
    }

    /// Makes work/incompat/volatile/dirty (`ovl_create_volatile_dirty`).
    fn mark_volatile(&mut self, fs: &Overlay, base: DentryId) -> Res<()> {
        let mut at = base;
        for name in [WORK, "incompat", "volatile", "dirty"] {
            let kind = if name == "dirty" { NewKind::File } else { NewKind::Dir };
            at = match self.fs_lookup(at, name)? {
                Some(found) => found,
                None => self.make_in_work(fs, at, name, kind, 0)?,
            };
        }
        Ok(())
    }

    /// Takes the lower layers into use (`ovl_get_lowerstack`).
    fn use_lower(&mut self, who: ProcId, fs: &mut Overlay, lower: &[Place]) -> Res<()> {
        let depth = lower.iter().map(|place| self.depth_of(*place)).max().unwrap_or(0);
        fs.depth = fs.depth.max(depth) + 1;
        self.deny(fs.depth > MAX_DEPTH, &rules::TOO_DEEP, Errno::EINVAL)?;
        for place in lower {
            if !self.need_handles(fs, place.dentry) {
                fs.config.nfs_export &= fs.config.index;
                if fs.config.xino == Xino::Auto && fs.upper.is_some() {
                    fs.config.xino = Xino::Off;
                }
            }
        }
        let upper_sb = fs.upper.as_ref().map(|upper| self.dentries[upper.root].sb);
        let mut sbs: Vec<Option<SuperId>> = vec![upper_sb];
        for (index, place) in lower.iter().enumerate() {
            let sb = Some(self.dentries[place.dentry].sb);
            let fsid = match sbs.iter().position(|known| *known == sb) {
                Some(fsid) => fsid,
                None if index < fs.merged => {
                    sbs.push(sb);
                    sbs.len() - 1
                }
                None => sbs.len(),
            };
            self.trap(fs, place.dentry)?;
            self.check_in_use(fs, place.dentry)?;
            let mut layer = self.clone_for_layer(who, *place, true)?;
            layer.fsid = u32::try_from(fsid).unwrap_or(u32::MAX);
            fs.lower.push(layer);
        }
        let file_systems = sbs.len() - usize::from(upper_sb.is_none());
        fs.identity = if file_systems == 1 {
            Identity::SameFs
        } else if fs.config.xino == Xino::Off {
            Identity::Devices
        } else {
            Identity::HighBits
        };
        Ok(())
    }

    /// Gives the upper layer an identity of its own when it is used for the first time
    /// (`ovl_init_uuid_xattr`).
    fn name_upper(&mut self, fs: &Overlay) -> Res<()> {
        let Some(upper) = fs.upper.as_ref().map(|upper| upper.root) else { return Ok(()) };
        if fs.noxattr.get() || !matches!(fs.config.uuid, Uuid::Auto | Uuid::On) {
            return Ok(());
        }
        let place = fs.upper_place(upper)?;
        if self.mark(fs, place, Mark::Uuid)?.is_some() {
            return Ok(());
        }
        let used = self.mark(fs, place, Mark::Impure)?.is_some();
        if (used && fs.config.uuid == Uuid::Auto) || !self.by(&rules::UPPER_UUID) {
            return Ok(());
        }
        // Any that no other layer has.
        let uuid = self.origin_handle(upper);
        match self.set_mark(fs, upper, Mark::Uuid, &uuid[..UUID_BYTES]) {
            Err(Halt::Unknown(why)) => Err(Halt::Unknown(why)),
            _ => Ok(()),
        }
    }

    /// Takes the index of hard links into use; the upper layer then belongs to this lower one
    /// (`ovl_get_indexdir`).
    fn use_index(&mut self, fs: &mut Overlay, lower: Option<Place>) -> Res<()> {
        let (Some(lower), Some(base)) = (lower, fs.work_base) else { return Ok(()) };
        let Some(upper) = fs.upper.as_ref().map(|upper| upper.root) else { return Ok(()) };
        let place = fs.upper_place(upper)?;
        match self.mark(fs, place, Mark::Origin)? {
            None => self.set_origin(fs, upper, lower.dentry)?,
            Some(handle) => {
                let other = handle != self.origin_handle(lower.dentry);
                self.deny(other, &rules::INDEX_OTHER_LOWER, Errno::ESTALE)?;
            }
        }
        if let Some(work) = fs.workdir {
            let inode = self.inode(work);
            fs.traps.retain(|trap| *trap != inode);
        }
        fs.workdir = self.make_work_directory(fs, base, INDEX, true)?;
        fs.indexed = fs.workdir.is_some();
        if let Some(index) = fs.workdir {
            self.trap(fs, index)?;
            self.clean_index(fs, index)?;
            if self.mark(fs, fs.upper_place(index)?, Mark::Upper)?.is_none() {
                let handle = self.origin_handle(upper);
                self.set_mark(fs, index, Mark::Upper, &handle)?;
            }
        }
        Ok(())
    }

    /// Removes from the index what an earlier overlay prepared in it (`ovl_indexdir_cleanup`).
    fn clean_index(&mut self, fs: &Overlay, index: DentryId) -> Res<()> {
        for name in self.fs_list(index)? {
            if name.starts_with('#')
                && let Some(left) = self.fs_lookup(index, &name)?
            {
                self.clean_workdir(fs, left, 1)?;
            }
        }
        Ok(())
    }

    /// Whether an overlay prepares files in a directory, or has its index there: it makes their names of
    /// counters and file handles.
    pub fn is_workdir(&self, dir: DentryId) -> bool {
        let has = |fs: &Overlay| fs.workdir == Some(dir);
        self.supers.iter().any(|(_, this)| this.overlay.as_deref().is_some_and(has))
    }

    /// No layer may lie inside of another one (`ovl_check_overlapping_layers`).
    fn check_overlaps(&self, fs: &Overlay) -> Res<()> {
        for dir in fs.upper.as_ref().map(|upper| upper.root).into_iter().chain(fs.work_base) {
            for above in self.ancestors(dir) {
                self.check_in_use(fs, above)?;
            }
        }
        for layer in &fs.lower {
            for above in self.ancestors(layer.root) {
                let inside = fs.traps.contains(&self.inode(above));
                self.deny(inside, &rules::LAYERS_OVERLAP, Errno::ELOOP)?;
                self.check_in_use(fs, above)?;
            }
        }
        Ok(())
    }

    /// The directories above a dentry in the tree of its file system, nearest first.
    pub fn ancestors(&self, dir: DentryId) -> impl Iterator<Item = DentryId> {
        let parent = move |at: DentryId| {
            let parent = self.dentries[at].parent;
            (parent != at).then_some(parent)
        };
        std::iter::successors(parent(dir), move |at| parent(*at))
    }

    fn make_super(
        &mut self,
        fs: Overlay,
        userns: crate::model::machine::UserNsId,
        readonly: bool,
    ) -> Res<SuperId> {
        let mut root = Node {
            upper: fs.upper.as_ref().map(|upper| upper.root),
            lower: fs
                .lower
                .iter()
                .take(fs.merged)
                .enumerate()
                .map(|(index, layer)| (index, layer.root))
                .collect(),
            named: true,
            whiteouts: true,
            ..Node::default()
        };
        if root.upper.is_none() && root.lower.is_empty() {
            return refuse(Errno::EIO);
        }
        if let Some(upper) = root.upper {
            let place = fs.upper_place(upper)?;
            root.impure = self.mark_byte(&fs, place, Mark::Impure) == Some(b'y');
        }
        for (index, dentry) in root.lower.iter().rev().skip(1) {
            let place = fs.lower_place(*index, *dentry)?;
            if self.mark_byte(&fs, place, Mark::Opaque) == Some(b'x') {
                fs.lower[*index].xwhiteouts.set(true);
                root.xwhiteouts = true;
            }
        }
        // The tables name each other: first the super block, then its root.
        let sb = self.supers.add(Super {
            kind: FsType::Overlay,
            userns,
            shows: None,
            root: root.top(),
            readonly,
            last_number: 1,
            free_pages: None,
            free_inodes: None,
            overlay: Some(Rc::new(fs)),
            nfs: None,
        });
        let inode = self.new_node(sb, root);
        let at = DentryId::clone(&self.supers[sb].root);
        let dentry = Dentry { sb, parent: at, name: "/".into(), inode, unlinked: false };
        let dentry = self.dentries.add(dentry);
        self.dentries[dentry].parent = dentry;
        self.supers[sb].root = dentry;
        Ok(sb)
    }
}

/// What an overlay does without whose upper layer takes no attributes.
fn without_xattrs(fs: &mut Overlay) {
    fs.noxattr.set(true);
    fs.config = Config {
        redirect: Redirect::NoFollow,
        metacopy: false,
        index: false,
        uuid: if matches!(fs.config.uuid, Uuid::Auto | Uuid::On) {
            Uuid::Null
        } else {
            fs.config.uuid
        },
        xino: if fs.config.xino == Xino::Auto { Xino::Off } else { fs.config.xino },
        ..fs.config
    };
}
