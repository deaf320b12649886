//! A directory seen once more through FUSE: a process of its own serves it, and does with the files what
//! each request asks for as the user and group that the request names. It knows of no capabilities and no
//! supplementary groups of who asks, as a server of NFS with AUTH_SYS knows of none.

mod files;
mod mirror;

use std::os::fd::{AsRawFd, OwnedFd};

use fuser::{Config, Session, SessionACL};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, getegid, geteuid, pivot_root};
use rustix::fs::{self, Mode, OFlags};

use self::mirror::Mirror;
use super::devices::open_device;
use super::mounts;
use super::perform::{Failure, Named, Step};
use crate::scenario::operation::Fuse;
use crate::sys;

/// Documentation/admin-guide/devices.txt of the kernel.
const DEVICE: (u32, u32) = (10, 229);

/// Mounts a directory through FUSE, and starts the process that serves it.
pub fn perform(step: &Fuse, around: Step<'_>) -> Result<(), Failure> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::open(step.from.as_str(), directory, Mode::empty()).of("open")?;
    let device = match &step.device {
        Some(node) => {
            fs::open(node.as_str(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).of("open")?
        }
        None => open_device(DEVICE)?,
    };
    let mut options = vec![
        format!("fd={}", device.as_raw_fd()),
        "rootmode=40000".to_owned(),
        format!("user_id={}", geteuid()),
        format!("group_id={}", getegid()),
    ];
    options.extend(step.options.iter().cloned());
    mount(
        Some("fuse"),
        step.at.as_str(),
        Some("fuse"),
        mounts::flags(&step.flags),
        Some(options.join(",").as_str()),
    )
    .of("mount")?;
    let proc = around.proc.try_clone_to_owned().of("dup")?;
    match sys::fork().of("fork")? {
        Some(_) => Ok(()),
        None => serve(device, root, proc),
    }
}

/// Serves until it is unmounted; ends with the sandbox at the latest.
fn serve(device: OwnedFd, root: OwnedFd, proc: OwnedFd) -> ! {
    sys::close_all_but(&[&device, &root, &proc]);
    rustix::process::umask(Mode::empty());
    // Where an actor's root is no mount, it keeps what it has.
    let _ = leave_mounts();
    // Files are reached by /proc/self/fd, in a proc that no scenario can cover.
    if rustix::process::fchdir(&proc).is_ok() {
        let _ = rustix::thread::set_thread_groups(&[]);
        let files = Mirror::of(root);
        if let Ok(session) = Session::from_fd(files, device, SessionACL::All, Config::default()) {
            let _ = session.run();
        }
    }
    sys::exit_now(0)
}

/// Leaves the mounts of the sandbox for an empty file system. The last process that has a mount unmounts
/// it as it ends: one that has to ask this server for that, as an export of it that was mounted over NFS,
/// would wait for itself.
fn leave_mounts() -> Result<(), nix::Error> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("none"), "/", Some("tmpfs"), MsFlags::empty(), none)?;
    // Beyond the root lies what was just mounted upon it.
    chdir("/..")?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)
}
