//! The mount API of Linux 5.2: file system contexts and detached mounts.

use std::rc::Rc;

use super::file_systems::{Configured, Given};
use super::flags::{atime_of, attribute, put};
use crate::model::halt::Res;
use crate::model::ids::cap;
use crate::model::machine::{
    DentryId, FileId, FsType, Machine, Mount, MountFlags, MountId, OpenFile, Opened, Place, ProcId,
    SuperId,
};
use crate::model::rules::mount as rules;
use crate::scenario::operation::{FsCommand, MountAttribute};
use crate::scenario::scalar::Errno;

/// A file system context of fsopen(2).
#[derive(Clone, Debug)]
pub struct Context {
    phase: Phase,
    fs: Configured,
    /// The file system, once it was created.
    made: Option<SuperId>,
}

/// What a context is ready for (`enum fs_context_phase`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Parameters, and then to be created.
    Configure,
    /// To be mounted.
    Mount,
    /// Changes of what was mounted.
    Reconfigure,
    /// Nothing: it failed.
    Failed,
}

/// What fsconfig(2) is to do.
#[derive(Clone, Copy, Debug)]
pub enum Config<'a> {
    /// To set a parameter.
    Set(&'a str, Given<'a>),
    /// To go on to the next phase.
    Command(FsCommand),
}

impl Machine<'_> {
    /// fsopen(2)
    pub fn sys_fsopen(&mut self, who: ProcId, kind: &str) -> Res<FileId> {
        self.must_be_able_to_mount(who)?;
        let kind = self.file_system(kind)?;
        let fs = self.configure(who, kind)?;
        let context = Context { phase: Phase::Configure, fs, made: None };
        let place = self.processes[who].root;
        Ok(self.open_object(who, place, Opened::Context(Box::new(context)), false))
    }

    /// An open file that is no file: a context, or a place alone.
    fn open_object(&mut self, who: ProcId, place: Place, what: Opened, path_only: bool) -> FileId {
        let cred = Rc::clone(&self.processes[who].cred);
        self.files.add(OpenFile {
            place,
            what,
            readable: false,
            writable: false,
            append: false,
            path_only,
            noatime: false,
            position: 0,
            listed: false,
            cred,
            count: 0,
        })
    }

    fn context(&self, file: FileId) -> Res<Context> {
        match &self.files[file].what {
            Opened::Context(context) => Ok((**context).clone()),
            _ => self.refuse_by(&rules::NO_CONTEXT, Errno::EINVAL),
        }
    }

    /// fsconfig(2)
    pub fn sys_fsconfig(&mut self, who: ProcId, file: FileId, config: Config<'_>) -> Res<()> {
        let mut context = self.context(file)?;
        let result = match config {
            Config::Set(key, value) => self.set_parameter(who, &mut context, key, value),
            Config::Command(FsCommand::Reconfigure) => self.reconfigure(who, &mut context),
            Config::Command(command) => self.create_configured(who, &mut context, command),
        };
        self.files[file].what = Opened::Context(Box::new(context));
        result
    }

    fn set_parameter(
        &mut self,
        who: ProcId,
        context: &mut Context,
        key: &str,
        value: Given<'_>,
    ) -> Res<()> {
        let ready = matches!(context.phase, Phase::Configure | Phase::Reconfigure);
        self.deny(!ready, &rules::CONTEXT_PHASE, Errno::EBUSY)?;
        if context.phase == Phase::Reconfigure && context.fs.kind == Some(FsType::Overlay) {
            let own = !matches!(key, "ro" | "rw");
            self.deny(own, &rules::OVERLAY_RECONFIGURE, Errno::EINVAL)?;
        }
        self.parse_option(who, &mut context.fs, key, value)
    }

    fn create_configured(
        &mut self,
        who: ProcId,
        context: &mut Context,
        command: FsCommand,
    ) -> Res<()> {
        let exclusive = command == FsCommand::CreateExclusive;
        self.deny(exclusive, &rules::NO_CREATE_EXCLUSIVE, Errno::EOPNOTSUPP)?;
        let ready = context.phase == Phase::Configure;
        self.deny(!ready, &rules::CONTEXT_PHASE, Errno::EBUSY)?;
        self.must_be_able_to_make(who, &context.fs)?;
        context.phase = Phase::Failed;
        let before = self.supers.next();
        let sb = self.make_file_system(who, &context.fs)?;
        self.deny(exclusive && sb < before, &rules::CREATE_EXCLUSIVE, Errno::EBUSY)?;
        context.made = Some(sb);
        context.phase = Phase::Mount;
        Ok(())
    }

    fn reconfigure(&mut self, who: ProcId, context: &mut Context) -> Res<()> {
        let ready = context.phase == Phase::Reconfigure;
        self.deny(!ready, &rules::CONTEXT_PHASE, Errno::EBUSY)?;
        let Some(sb) = context.made else { return Ok(()) };
        context.phase = Phase::Failed;
        self.must_own_super(who, sb)?;
        self.change_super(sb, &context.fs)?;
        context.phase = Phase::Reconfigure;
        Ok(())
    }

    /// Refuses who does not own the user namespace that a file system belongs to.
    pub fn must_own_super(&self, who: ProcId, sb: SuperId) -> Res<()> {
        let cred = &self.processes[who].cred;
        let able = self.capable(cred, self.supers[sb].userns, cap::SYS_ADMIN);
        self.deny(!able, &rules::FOREIGN_SUPER, Errno::EPERM)
    }

    /// Changes a whole file system (`reconfigure_super`).
    pub fn change_super(&mut self, sb: SuperId, fs: &Configured) -> Res<()> {
        if self.supers[sb].kind == FsType::Overlay && self.by(&rules::SUPER_FORGETS) {
            self.ovl_forget_names(sb);
        }
        let closes = fs.readonly && !self.supers[sb].readonly;
        let removed = closes && self.has_removed_file(sb);
        self.deny(removed, &rules::SUPER_REMOVED, Errno::EBUSY)?;
        let busy = closes
            && self
                .mounts
                .iter()
                .any(|(id, mount)| mount.sb == sb && !mount.flags.ro && self.has_writers(id));
        self.deny(busy, &rules::SUPER_WRITERS, Errno::EBUSY)?;
        if self.supers[sb].kind == FsType::Overlay && !fs.readonly {
            self.overlay_may_write(sb)?;
        }
        self.change_limits(sb, fs)?;
        self.supers[sb].readonly = fs.readonly;
        Ok(())
    }

    /// Whether a file is held open, or a directory worked in, that has no name any more; what is held holds
    /// the directories that it was in.
    fn has_removed_file(&self, sb: SuperId) -> bool {
        let is_removed = |dentry: DentryId| {
            let gone = self.dentries[dentry].unlinked;
            gone && (self.is_dir(dentry) || self.inodes[self.inode(dentry)].nlink == 0)
        };
        self.held(sb).any(|dentry| is_removed(dentry) || self.ancestors(dentry).any(is_removed))
    }

    /// The names of a file system that open files, processes and mounts hold.
    pub fn held(&self, sb: SuperId) -> impl Iterator<Item = DentryId> {
        let files = self.files.iter().filter(|(_, file)| file.count > 0);
        let files = files.map(|(_, file)| file.place.dentry);
        let alive = self.processes.iter().filter(|(_, process)| process.alive);
        let processes = alive.flat_map(|(_, process)| [process.root.dentry, process.cwd.dentry]);
        let attached = |mount: &Mount| mount.ns.is_some() || mount.at.is_some();
        let mounts = self.mounts.iter().filter(move |(_, mount)| attached(mount));
        let point = |mount: &Mount| mount.at.map(|at| at.dentry);
        let mounts =
            mounts.flat_map(move |(_, mount)| point(mount).into_iter().chain([mount.root]));
        let all = files.chain(processes).chain(mounts);
        all.filter(move |dentry| self.dentries[*dentry].sb == sb)
    }

    /// fsmount(2); the descriptor is looked at behind the attributes.
    pub fn sys_fsmount(
        &mut self,
        who: ProcId,
        fd: impl FnOnce(&Self) -> Res<FileId>,
        attributes: &[MountAttribute],
    ) -> Res<FileId> {
        self.must_be_able_to_mount(who)?;
        let flags = self.attributes_of_new(attributes)?;
        let file = fd(self)?;
        let mut context = self.context(file)?;
        let Some(sb) = context.made else {
            return self.refuse_by(&rules::NOT_CREATED, Errno::EINVAL);
        };
        let locked = self.must_not_reveal(who, sb, flags)?;
        self.deny(context.phase != Phase::Mount, &rules::CONTEXT_PHASE, Errno::EBUSY)?;
        let source = context.fs.source.clone().unwrap_or_else(|| "none".into());
        let mount = self.new_mount(sb, flags, &source);
        self.mounts[mount].locked_flags = locked;
        context.phase = Phase::Reconfigure;
        context.fs = Configured { readonly: self.supers[sb].readonly, ..context.fs.cleaned() };
        self.files[file].what = Opened::Context(Box::new(context));
        Ok(self.open_detached(who, mount))
    }

    fn attributes_of_new(&self, attributes: &[MountAttribute]) -> Res<MountFlags> {
        let bits = MountAttribute::bits(attributes);
        let foreign = bits & attribute::IDMAP != 0;
        self.deny(foreign, &rules::FSMOUNT_ATTRIBUTE, Errno::EINVAL)?;
        let Some(atime) = atime_of(bits) else {
            return self.refuse_by(&rules::FSMOUNT_ATTRIBUTE, Errno::EINVAL);
        };
        let mut flags = MountFlags { atime, ..MountFlags::default() };
        put(&mut flags, bits, true);
        Ok(flags)
    }

    fn open_detached(&mut self, who: ProcId, mount: MountId) -> FileId {
        self.detach_into_namespace(mount, who);
        let place = self.root_of(mount);
        self.open_object(who, place, Opened::Detached, true)
    }

    /// open_tree(2)
    pub fn sys_open_tree(
        &mut self,
        who: ProcId,
        path: &str,
        clone: bool,
        recursive: bool,
    ) -> Res<FileId> {
        let alone = recursive && !clone;
        self.deny(alone, &rules::OPEN_TREE_RECURSIVE, Errno::EINVAL)?;
        if clone {
            self.must_be_able_to_mount(who)?;
        }
        let place = self.walk(who, None, path, crate::model::vfs::Walk::default())?;
        if !clone {
            return Ok(self.open_object(who, place, Opened::File, true));
        }
        let mount = self.copy_for_bind(who, place, recursive)?;
        Ok(self.open_detached(who, mount))
    }
}

impl Configured {
    /// What is left to configure of one that was mounted.
    fn cleaned(&self) -> Self {
        Self { size: None, inodes: None, mode: None, uid: None, gid: None, ..self.clone() }
    }
}
