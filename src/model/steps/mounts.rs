//! Steps of the family mounts.

use super::{Failure, Named, Performed};
use crate::model::halt::Res;
use crate::model::machine::{FileId, Machine, Place, ProcId};
use crate::model::mounts::{Config, Given, MountCall};
use crate::model::vfs::Walk;
use crate::scenario::operation::{
    self as op, FsCommand, MountApi, MountAttribute, MountFlag, MountOperation, PropagationType,
};
use crate::scenario::scalar::{Name, StepPath};
use crate::transcript::Outcome;

/// What of the options reaches the kernel: a page less its last byte.
const MAX_OPTIONS: usize = 4095;

impl Machine<'_> {
    /// Takes a step of this family.
    pub fn mount_step(&mut self, who: ProcId, operation: MountOperation<'_>) -> Performed {
        match operation {
            MountOperation::Mount(step) => self.step_mount(who, step)?,
            MountOperation::Overlay(step) => self.step_overlay(who, step)?,
            MountOperation::Bind(step) => self.step_bind(who, &step.from, &step.at, false)?,
            MountOperation::Rbind(step) => self.step_bind(who, &step.from, &step.at, true)?,
            MountOperation::Move(step) => {
                self.sys_move(who, step.from.as_str(), step.at.as_str()).of("mount")?;
            }
            MountOperation::Umount(step) => {
                self.sys_umount(who, step.at.as_str(), &step.flags).of("umount2")?;
            }
            MountOperation::Remount(step) => self.step_remount(who, step)?,
            MountOperation::Propagation(step) => self.step_propagation(who, step)?,
            MountOperation::Mounted(step) => {
                let place = self.walk(who, None, step.at.as_str(), Walk::default()).of("statx")?;
                let mounted = self.is_mount_root(place);
                return Ok(Outcome::values([("mounted", mounted.into())]));
            }
            MountOperation::Fuse(step) => self.step_fuse(who, step)?,
            MountOperation::Losetup(step) => self.step_losetup(who, step)?,
            MountOperation::Fsopen(step) => {
                let file = self.sys_fsopen(who, &step.kind).of("fsopen")?;
                self.keep(who, &step.fd, file);
            }
            MountOperation::Fsconfig(step) => self.step_fsconfig(who, step).of("fsconfig")?,
            MountOperation::Fsmount(step) => self.step_fsmount(who, step)?,
            MountOperation::OpenTree(step) => self.step_open_tree(who, step)?,
            MountOperation::MoveMount(step) => self.step_move_mount(who, step).of("move_mount")?,
            MountOperation::MountSetattr(step) => self.step_mount_setattr(who, step)?,
        }
        Ok(Outcome::done())
    }

    fn step_mount(&mut self, who: ProcId, step: &op::Mount) -> Result<(), Failure> {
        let options = joined(&step.options);
        let call = MountCall {
            kind: &step.kind,
            source: step.source.as_deref().unwrap_or(&step.kind),
            flags: &step.flags,
            options: &options,
        };
        self.sys_mount(who, step.at.as_str(), call).of("mount")
    }

    fn step_bind(
        &mut self,
        who: ProcId,
        from: &StepPath,
        at: &StepPath,
        recursive: bool,
    ) -> Result<(), Failure> {
        let all = [MountFlag::Bind, MountFlag::Rec];
        let flags = if recursive { &all[..] } else { &all[..1] };
        let call = MountCall { kind: "", source: from.as_str(), flags, options: "" };
        self.sys_mount(who, at.as_str(), call).of("mount")
    }

    fn step_remount(&mut self, who: ProcId, step: &op::Remount) -> Result<(), Failure> {
        let options = joined(&step.options);
        self.sys_remount(who, step.at.as_str(), step.bind, &step.flags, &options).of("mount")
    }

    fn step_propagation(&mut self, who: ProcId, step: &op::Propagation) -> Result<(), Failure> {
        let mut flags = vec![flag_of(step.kind)];
        if step.recursive {
            flags.push(MountFlag::Rec);
        }
        let call = MountCall { kind: "", source: "", flags: &flags, options: "" };
        self.sys_mount(who, step.at.as_str(), call).of("mount")
    }

    fn step_fsconfig(&mut self, who: ProcId, step: &op::Fsconfig) -> Res<()> {
        let file = self.open_fd(who, &step.fd)?;
        let key = step.key.as_deref().unwrap_or_default();
        let config = match (&step.command, &step.value, &step.value_fd) {
            (Some(command), ..) => Config::Command(*command),
            (None, Some(value), _) => Config::Set(key, Given::Text(value)),
            (None, None, Some(fd)) => Config::Set(key, Given::Fd(self.fd_place(who, fd)?)),
            (None, None, None) => Config::Set(key, Given::Flag),
        };
        self.sys_fsconfig(who, file, config)
    }

    fn step_fsmount(&mut self, who: ProcId, step: &op::Fsmount) -> Result<(), Failure> {
        let fd = |this: &Self| this.open_fd(who, &step.fd);
        let file = self.sys_fsmount(who, fd, &step.attributes).of("fsmount")?;
        self.keep(who, &step.mount, file);
        Ok(())
    }

    fn step_open_tree(&mut self, who: ProcId, step: &op::OpenTree) -> Result<(), Failure> {
        let has = |flag| step.flags.contains(&flag);
        let (clone, recursive) = (has(op::OpenTreeFlag::Clone), has(op::OpenTreeFlag::Recursive));
        let file = self.sys_open_tree(who, step.path.as_str(), clone, recursive).of("open_tree")?;
        self.keep(who, &step.mount, file);
        Ok(())
    }

    fn step_move_mount(&mut self, who: ProcId, step: &op::MoveMount) -> Res<()> {
        // A mount that was never opened has no descriptor to give.
        if let Some(name) = &step.mount {
            self.fd(who, name)?;
        }
        self.must_be_able_to_mount(who)?;
        let old =
            self.named_place(who, step.mount.as_ref(), step.from.as_ref(), Walk::NO_FOLLOW)?;
        let new = self.walk(who, None, step.at.as_str(), Walk::NO_FOLLOW)?;
        if step.set_group {
            return self.set_group(who, old, new);
        }
        self.move_tree(who, old, new, step.beneath)
    }

    /// A place by the name of a mount, or by a path.
    fn named_place(
        &mut self,
        who: ProcId,
        mount: Option<&Name>,
        path: Option<&StepPath>,
        how: Walk,
    ) -> Res<Place> {
        match mount {
            Some(name) => self.fd_place(who, name),
            None => self.walk(who, None, path.map_or("", StepPath::as_str), how),
        }
    }

    fn step_mount_setattr(&mut self, who: ProcId, step: &op::MountSetattr) -> Result<(), Failure> {
        const CALL: &str = "mount_setattr";
        let userns = match &step.idmap {
            Some(maps) => Some(self.make_userns_for_idmap(who, maps)?),
            None => None,
        };
        // A mount that was never opened has no descriptor to give.
        if let Some(name) = &step.mount {
            self.fd(who, name).of(CALL)?;
        }
        let Some(change) = self.read_mount_change(who, step, userns).of(CALL)? else {
            return Ok(());
        };
        let place = self
            .named_place(who, step.mount.as_ref(), step.at.as_ref(), Walk::default())
            .of(CALL)?;
        self.change_mounts(who, place, &change).of(CALL)
    }

    // ---- overlays ----

    fn step_overlay(&mut self, who: ProcId, step: &op::Overlay) -> Result<(), Failure> {
        let parameters = parameters(step);
        match step.api {
            MountApi::Classic => {
                let options: Vec<_> = parameters
                    .into_iter()
                    .map(|(key, value)| value.map_or(key.clone(), |value| format!("{key}={value}")))
                    .collect();
                let options = joined(&options);
                let call = MountCall {
                    kind: "overlay",
                    source: "overlay",
                    flags: &step.flags,
                    options: &options,
                };
                self.sys_mount(who, step.at.as_str(), call).of("mount")
            }
            MountApi::New => {
                let context = self.sys_fsopen(who, "overlay").of("fsopen")?;
                let mount = self.overlay_mount(who, context, &parameters, &step.flags)?;
                self.files[mount].count += 1;
                let moved = self.attach_new(who, mount, &step.at).of("move_mount");
                self.close(mount);
                moved
            }
        }
    }

    /// Configures an overlay in a context and mounts it nowhere.
    fn overlay_mount(
        &mut self,
        who: ProcId,
        context: FileId,
        parameters: &[(String, Option<String>)],
        flags: &[MountFlag],
    ) -> Result<FileId, Failure> {
        for (key, value) in parameters {
            let value = value.as_deref().map_or(Given::Flag, Given::Text);
            self.sys_fsconfig(who, context, Config::Set(key, value)).of("fsconfig")?;
        }
        self.sys_fsconfig(who, context, Config::Command(FsCommand::Create)).of("fsconfig")?;
        let attributes: Vec<MountAttribute> =
            flags.iter().filter_map(|flag| flag.attribute()).flatten().copied().collect();
        self.sys_fsmount(who, |_| Ok(context), &attributes).of("fsmount")
    }

    fn attach_new(&mut self, who: ProcId, mount: FileId, at: &StepPath) -> Res<()> {
        self.must_be_able_to_mount(who)?;
        let new = self.walk(who, None, at.as_str(), Walk::NO_FOLLOW)?;
        self.move_tree(who, self.files[mount].place, new, false)
    }
}

/// The parameters of an overlay in the order in which they are given.
fn parameters(step: &op::Overlay) -> Vec<(String, Option<String>)> {
    let lower: Vec<_> = step.lower.iter().map(StepPath::as_str).collect();
    let mut layers = lower.join(":");
    for data in &step.data {
        layers.push_str("::");
        layers.push_str(data.as_str());
    }
    let layers = (!layers.is_empty()).then_some(layers);
    let path = |path: &Option<StepPath>| path.as_ref().map(|path| path.as_str().to_owned());
    let mut parameters: Vec<(String, Option<String>)> = Vec::new();
    for (key, value) in
        [("lowerdir", layers), ("upperdir", path(&step.upper)), ("workdir", path(&step.work))]
    {
        if value.is_some() {
            parameters.push((key.to_owned(), value));
        }
    }
    for option in &step.options {
        parameters.push(match option.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (option.clone(), None),
        });
    }
    parameters
}

fn joined(options: &[String]) -> String {
    let mut options = options.join(",");
    if options.len() > MAX_OPTIONS {
        let end = (0..=MAX_OPTIONS).rev().find(|end| options.is_char_boundary(*end));
        options.truncate(end.unwrap_or(0));
    }
    options
}

fn flag_of(kind: PropagationType) -> MountFlag {
    match kind {
        PropagationType::Shared => MountFlag::Shared,
        PropagationType::Private => MountFlag::Private,
        PropagationType::Slave => MountFlag::Slave,
        PropagationType::Unbindable => MountFlag::Unbindable,
    }
}
