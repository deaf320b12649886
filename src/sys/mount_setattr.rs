//! mount_setattr(2), which neither `nix` nor `rustix` has.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// `struct mount_attr` of include/uapi/linux/mount.h, version 0 (32 bytes).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED` and its like, or 0.
    pub propagation: u64,
    /// A user namespace for `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// Changes the attributes of a mount, as mount_setattr(2).
///
/// # Errors
/// Those of mount_setattr(2).
pub fn mount_setattr(
    dirfd: BorrowedFd<'_>,
    path: &str,
    flags: libc::c_uint,
    attr: &MountAttr,
) -> Result<(), Errno> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path is a terminated string and the struct has the layout and the size given;
    // the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dirfd.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    Errno::result(result).map(drop)
}
