//! Devices that the harness opens for a step, and the loop devices of `losetup`.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::perform::{Failure, Named, State, failure};
use crate::scenario::operation::Losetup;
use crate::sys;

// Documentation/admin-guide/devices.txt of the kernel.
const LOOP_CONTROL: (u32, u32) = (10, 237);
const LOOP_MAJOR: u32 = 7;
/// How often a loop device is looked for that another process takes away every time.
const ATTEMPTS: usize = 64;

/// Opens a character device by a node that nobody else sees: on a tmpfs that is mounted nowhere. That
/// takes real root, as mknod(2) does.
pub fn open_device((major, minor): (u32, u32)) -> Result<OwnedFd, Failure> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).of("fsopen")?;
    rustix::mount::fsconfig_create(context.as_fd()).of("fsconfig")?;
    let hidden = rustix::mount::fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .of("fsmount")?;
    let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(&hidden, "device", kind, mode, makedev(major, minor)).of("mknod")?;
    rustix::fs::openat(&hidden, "device", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).of("open")
}

/// Attaches a file to a free loop device and makes the node of it.
pub fn losetup(state: &mut State, step: &Losetup) -> Result<(), Failure> {
    let access = if step.read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let file =
        rustix::fs::open(step.file.as_str(), access | OFlags::CLOEXEC, Mode::empty()).of("open")?;
    let control = open_device(LOOP_CONTROL)?;
    let node = step.at.as_str();
    for _ in 0..ATTEMPTS {
        let number = sys::free_loop_device(control.as_fd()).of("ioctl LOOP_CTL_GET_FREE")?;
        let (kind, mode) = (FileType::BlockDevice, Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(CWD, node, kind, mode, makedev(LOOP_MAJOR, number)).of("mknod")?;
        let attached = rustix::fs::open(node, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .of("open")
            .and_then(|device| {
                sys::attach_loop_device(device.as_fd(), file.as_fd(), step.read_only)
                    .of("ioctl LOOP_CONFIGURE")?;
                Ok(device)
            });
        match attached {
            // It stays attached as long as it is open.
            Ok(device) => {
                state.devices.push(device);
                return Ok(());
            }
            Err(error) => {
                let _ = rustix::fs::unlink(node);
                if error.errno != Errno::EBUSY {
                    return Err(error);
                }
            }
        }
    }
    Err(failure("ioctl LOOP_CONFIGURE", Errno::EBUSY))
}
