//! The mount table, by mount(2) and by the mount API of Linux 5.2 and later.

use std::cell::RefCell;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::perform::{Failure, Named, Performed, State, Step, failure};
use super::{devices, fuse, mount_root, overlay};
use crate::overlays::is_by_program;
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::{
    self as op, FsCommand, IdMaps, MountApi, MountAttribute, MountFlag, MountOperation,
    OpenTreeFlag, PropagationType, UmountFlag,
};
use crate::sys::{self, MountAttr, Stack};
use crate::transcript::Outcome;

// include/uapi/linux/mount.h; rustix 1.1 does not have these two.
const MOVE_MOUNT_SET_GROUP: u32 = 0x100;
const MOVE_MOUNT_BENEATH: u32 = 0x200;
/// include/uapi/linux/fcntl.h
const AT_RECURSIVE: u32 = 0x8000;

pub fn perform(state: &mut State, step: Step<'_>, operation: MountOperation<'_>) -> Performed {
    match operation {
        MountOperation::Mount(step) => mount_file_system(step)?,
        MountOperation::Overlay(overlay) => match step.overlay.filter(|_| is_by_program(overlay)) {
            Some(program) => return by_program(state, program, overlay),
            None => by_kernel(overlay)?,
        },
        MountOperation::Bind(step) => bind(step.from.as_str(), step.at.as_str(), MsFlags::MS_BIND)?,
        MountOperation::Rbind(step) => {
            bind(step.from.as_str(), step.at.as_str(), MsFlags::MS_BIND | MsFlags::MS_REC)?
        }
        MountOperation::Move(step) => bind(step.from.as_str(), step.at.as_str(), MsFlags::MS_MOVE)?,
        MountOperation::Umount(step) => umount(step)?,
        MountOperation::Remount(step) => remount(step)?,
        MountOperation::Propagation(step) => change_propagation(step)?,
        MountOperation::Mounted(of) => return mount_root::mounted(step.proc, of.at.as_str()),
        MountOperation::Fuse(fuse) => fuse::perform(fuse, step)?,
        MountOperation::Losetup(step) => devices::losetup(state, step)?,
        MountOperation::Fsopen(step) => {
            let fd = rustix::mount::fsopen(step.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)
                .of("fsopen")?;
            state.keep(&step.fd, fd);
        }
        MountOperation::Fsconfig(step) => fsconfig(state, step)?,
        MountOperation::Fsmount(step) => fsmount(state, step)?,
        MountOperation::OpenTree(step) => open_tree(state, step)?,
        MountOperation::MoveMount(step) => move_mount(state, step)?,
        MountOperation::MountSetattr(set) => mount_setattr(state, set, step.proc)?,
    }
    Ok(Outcome::done())
}

fn mount_file_system(step: &op::Mount) -> Result<(), Failure> {
    let source = step.source.as_deref().unwrap_or(&step.kind);
    let options = options(&step.options);
    mount(
        Some(source),
        step.at.as_str(),
        Some(step.kind.as_str()),
        flags(&step.flags),
        options.as_deref(),
    )
    .of("mount")
}

fn bind(from: &str, at: &str, flags: MsFlags) -> Result<(), Failure> {
    mount(Some(from), at, None::<&str>, flags, None::<&str>).of("mount")
}

fn umount(step: &op::Umount) -> Result<(), Failure> {
    let flags = step.flags.iter().fold(MntFlags::empty(), |flags, flag| {
        flags
            | match flag {
                UmountFlag::Detach => MntFlags::MNT_DETACH,
                UmountFlag::Force => MntFlags::MNT_FORCE,
                UmountFlag::Expire => MntFlags::MNT_EXPIRE,
                UmountFlag::Nofollow => MntFlags::UMOUNT_NOFOLLOW,
            }
    });
    umount2(step.at.as_str(), flags).of("umount2")
}

fn remount(step: &op::Remount) -> Result<(), Failure> {
    let mut flags = flags(&step.flags) | MsFlags::MS_REMOUNT;
    if step.bind {
        flags |= MsFlags::MS_BIND;
    }
    mount(None::<&str>, step.at.as_str(), None::<&str>, flags, options(&step.options).as_deref())
        .of("mount")
}

fn change_propagation(step: &op::Propagation) -> Result<(), Failure> {
    let mut flags = propagation(step.kind);
    if step.recursive {
        flags |= MsFlags::MS_REC;
    }
    mount(None::<&str>, step.at.as_str(), None::<&str>, flags, None::<&str>).of("mount")
}

fn options(options: &[String]) -> Option<String> {
    (!options.is_empty()).then(|| options.join(","))
}

/// The flags of mount(2).
pub fn flags(flags: &[MountFlag]) -> MsFlags {
    flags.iter().fold(MsFlags::empty(), |all, flag| {
        all | match flag {
            MountFlag::Ro => MsFlags::MS_RDONLY,
            MountFlag::Nosuid => MsFlags::MS_NOSUID,
            MountFlag::Nodev => MsFlags::MS_NODEV,
            MountFlag::Noexec => MsFlags::MS_NOEXEC,
            MountFlag::Noatime => MsFlags::MS_NOATIME,
            MountFlag::Nodiratime => MsFlags::MS_NODIRATIME,
            MountFlag::Relatime => MsFlags::MS_RELATIME,
            MountFlag::Strictatime => MsFlags::MS_STRICTATIME,
            MountFlag::Sync => MsFlags::MS_SYNCHRONOUS,
            MountFlag::Dirsync => MsFlags::MS_DIRSYNC,
            MountFlag::Nosymfollow => MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW),
            MountFlag::Rec => MsFlags::MS_REC,
            MountFlag::Private => MsFlags::MS_PRIVATE,
            MountFlag::Shared => MsFlags::MS_SHARED,
            MountFlag::Slave => MsFlags::MS_SLAVE,
            MountFlag::Unbindable => MsFlags::MS_UNBINDABLE,
            MountFlag::Bind => MsFlags::MS_BIND,
            MountFlag::Silent => MsFlags::MS_SILENT,
        }
    })
}

fn propagation(kind: PropagationType) -> MsFlags {
    match kind {
        PropagationType::Shared => MsFlags::MS_SHARED,
        PropagationType::Private => MsFlags::MS_PRIVATE,
        PropagationType::Slave => MsFlags::MS_SLAVE,
        PropagationType::Unbindable => MsFlags::MS_UNBINDABLE,
    }
}

/// Layers as one option: lower ones with `:` between them, data-only ones behind `::`.
pub fn layers(step: &op::Overlay) -> Option<String> {
    let lower: Vec<_> = step.lower.iter().map(ToString::to_string).collect();
    let mut layers = lower.join(":");
    for data in &step.data {
        layers.push_str("::");
        layers.push_str(data.as_str());
    }
    (!layers.is_empty()).then_some(layers)
}

/// Has a program mount an overlay. One that broke is told to who asked for the step.
fn by_program(state: &mut State, program: &Implementation, step: &op::Overlay) -> Performed {
    let (mounted, said) = overlay::mount(program, step)?;
    state.said.push(said);
    match mounted {
        overlay::Mounted::Done(outcome) => Ok(outcome),
        overlay::Mounted::Broke(breakage) => {
            state.broke = Some(breakage);
            Err(failure("mount", Errno::EIO))
        }
    }
}

fn by_kernel(step: &op::Overlay) -> Result<(), Failure> {
    let mut parameters: Vec<(&str, Option<String>)> = Vec::new();
    parameters.extend(layers(step).map(|layers| ("lowerdir", Some(layers))));
    parameters.extend(step.upper.as_ref().map(|upper| ("upperdir", Some(upper.to_string()))));
    parameters.extend(step.work.as_ref().map(|work| ("workdir", Some(work.to_string()))));
    for option in &step.options {
        match option.split_once('=') {
            Some((key, value)) => parameters.push((key, Some(value.to_owned()))),
            None => parameters.push((option, None)),
        }
    }
    match step.api {
        MountApi::Classic => {
            let parameters: Vec<_> = parameters
                .into_iter()
                .map(|(key, value)| {
                    value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}"))
                })
                .collect();
            let data = options(&parameters);
            mount(
                Some("overlay"),
                step.at.as_str(),
                Some("overlay"),
                flags(&step.flags),
                data.as_deref(),
            )
            .of("mount")
        }
        MountApi::New => {
            let context =
                rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).of("fsopen")?;
            let context = context.as_fd();
            for (key, value) in parameters {
                match value {
                    Some(value) => rustix::mount::fsconfig_set_string(context, key, value),
                    None => rustix::mount::fsconfig_set_flag(context, key),
                }
                .of("fsconfig")
                .map_err(|e| explained(e, context))?;
            }
            rustix::mount::fsconfig_create(context)
                .of("fsconfig")
                .map_err(|e| explained(e, context))?;
            let attributes = new_attributes(&step.flags);
            let mount = rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
                .of("fsmount")
                .map_err(|e| explained(e, context))?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(mount.as_fd(), "", CWD, step.at.as_str(), flags)
                .of("move_mount")
        }
    }
}

fn new_attributes(flags: &[MountFlag]) -> MountAttrFlags {
    let all: Vec<_> = flags.iter().filter_map(|flag| flag.attribute()).flatten().copied().collect();
    MountAttrFlags::from_bits_retain(MountAttribute::bits(&all) as u32)
}

/// Adds what the kernel wrote into the log of a file system context: see fsopen(2).
fn explained(mut failure: Failure, context: BorrowedFd<'_>) -> Failure {
    let mut lines = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        if length == 0 || lines.len() >= 16 {
            break;
        }
        // Each line starts with its level: `e`, `w` or `i`.
        let line = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
        lines.push(line.strip_prefix("e ").map_or(line.clone(), str::to_owned));
    }
    if !lines.is_empty() {
        failure.message = Some(lines.join("; "));
    }
    failure
}

fn fsconfig(state: &State, step: &op::Fsconfig) -> Result<(), Failure> {
    let context = state.fd(&step.fd, "fsconfig")?;
    let key = step.key.as_deref().unwrap_or_default();
    let result = match (&step.command, &step.value, &step.value_fd) {
        (Some(FsCommand::Create), ..) => rustix::mount::fsconfig_create(context),
        (Some(FsCommand::CreateExclusive), ..) => rustix::mount::fsconfig_create_exclusive(context),
        (Some(FsCommand::Reconfigure), ..) => rustix::mount::fsconfig_reconfigure(context),
        (None, Some(value), _) => rustix::mount::fsconfig_set_string(context, key, value.as_str()),
        (None, None, Some(fd)) => {
            rustix::mount::fsconfig_set_fd(context, key, state.fd(fd, "fsconfig")?)
        }
        (None, None, None) => rustix::mount::fsconfig_set_flag(context, key),
    };
    result.of("fsconfig").map_err(|e| explained(e, context))
}

fn fsmount(state: &mut State, step: &op::Fsmount) -> Result<(), Failure> {
    let context = state.fd(&step.fd, "fsmount")?;
    let attributes =
        MountAttrFlags::from_bits_retain(MountAttribute::bits(&step.attributes) as u32);
    let mount = rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .of("fsmount")
        .map_err(|e| explained(e, context))?;
    state.keep(&step.mount, mount);
    Ok(())
}

fn open_tree(state: &mut State, step: &op::OpenTree) -> Result<(), Failure> {
    let flags = step.flags.iter().fold(OpenTreeFlags::OPEN_TREE_CLOEXEC, |flags, flag| {
        flags
            | match flag {
                OpenTreeFlag::Clone => OpenTreeFlags::OPEN_TREE_CLONE,
                OpenTreeFlag::Recursive => OpenTreeFlags::AT_RECURSIVE,
            }
    });
    let mount = rustix::mount::open_tree(CWD, step.path.as_str(), flags).of("open_tree")?;
    state.keep(&step.mount, mount);
    Ok(())
}

fn move_mount(state: &State, step: &op::MoveMount) -> Result<(), Failure> {
    let mut flags = MoveMountFlags::empty();
    if step.beneath {
        flags |= MoveMountFlags::from_bits_retain(MOVE_MOUNT_BENEATH);
    }
    if step.set_group {
        flags |= MoveMountFlags::from_bits_retain(MOVE_MOUNT_SET_GROUP);
    }
    let (dir, path) = match (&step.mount, &step.from) {
        (Some(name), _) => {
            flags |= MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            (state.fd(name, "move_mount")?, "")
        }
        (None, from) => (CWD, from.as_ref().map_or("", |path| path.as_str())),
    };
    rustix::mount::move_mount(dir, path, CWD, step.at.as_str(), flags).of("move_mount")
}

fn mount_setattr(
    state: &State,
    step: &op::MountSetattr,
    proc: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let userns = step.idmap.as_ref().map(|maps| user_namespace(maps, proc)).transpose()?;
    let mut attr = MountAttr {
        set: MountAttribute::bits(&step.set),
        clear: MountAttribute::bits(&step.clear),
        propagation: step.propagation.map_or(0, |kind| propagation(kind).bits()),
        userns_fd: 0,
    };
    if let Some(userns) = &userns {
        use std::os::fd::AsRawFd;
        attr.set |= MountAttribute::bits(&[MountAttribute::Idmap]);
        attr.userns_fd = userns.as_raw_fd() as u64;
    }
    let recursive = if step.recursive { AT_RECURSIVE } else { 0 };
    let result = match (&step.mount, &step.at) {
        (Some(name), _) => {
            let fd = state.fd(name, "mount_setattr")?;
            sys::mount_setattr(fd, "", recursive | libc::AT_EMPTY_PATH as u32, &attr)
        }
        (None, at) => {
            let path = at.as_ref().map_or("", |path| path.as_str());
            sys::mount_setattr(CWD, path, recursive, &attr)
        }
    };
    result.of("mount_setattr")
}

/// A user namespace with these maps, held by a file descriptor alone. The process that it is made with shares
/// the memory of this one, on any kernel: it does nothing but wait, and is gone before the step is.
fn user_namespace(maps: &IdMaps, proc: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let (mut ready, said_ready) = std::io::pipe().of("pipe2")?;
    let (hold, release) = std::io::pipe().of("pipe2")?;
    // The child has it from then on: what it said is all there is to read when it has ended.
    let said_ready = ManuallyDrop::new(said_ready);
    let stack = Stack::new().of("mmap")?;
    let pid = RefCell::new(String::new());
    // Its process id as proc knows it, whatever pid namespace this actor is in.
    let begin = || {
        sys::close_copies(&[release.as_raw_fd()]);
        let own = rustix::fs::readlinkat(proc, "self", Vec::new());
        *pid.borrow_mut() = own.ok().and_then(|pid| pid.into_string().ok()).unwrap_or_default();
        let _ = rustix::io::write(&*said_ready, &[1]);
        let _ = rustix::io::read(&hold, &mut [0]);
    };
    let child = sys::clone_sharing_memory(CloneFlags::CLONE_NEWUSER, &stack, begin);
    sys::close_copies(&[said_ready.as_raw_fd()]);
    let child = child.of("unshare")?;
    let made = (|| {
        ready.read_exact(&mut [0]).of("read")?;
        let pid = pid.take();
        for (file, map) in [("uid_map", &maps.uid_map), ("gid_map", &maps.gid_map)] {
            let path = format!("{pid}/{file}");
            let fd =
                rustix::fs::openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                    .of("open")?;
            rustix::io::write(&fd, map.text().as_bytes()).of("write")?;
        }
        let path = format!("{pid}/ns/user");
        rustix::fs::openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).of("open")
    })();
    drop(release);
    let _ = kill(child.pid, Signal::SIGKILL);
    let _ = waitpid(child.pid, None);
    made
}

/// A file system of the namespaces of this process, mounted nowhere.
///
/// # Errors
/// Those of fsopen(2), fsconfig(2) and fsmount(2), by this name.
pub fn attach(kind: &str, call: &'static str) -> Result<OwnedFd, Failure> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).of(call)?;
    rustix::mount::fsconfig_create(context.as_fd()).of(call)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::empty()).of(call)
}
