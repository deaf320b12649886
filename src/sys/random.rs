//! The ioctls of /dev/random, which neither `nix` nor `rustix` has.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

// include/uapi/linux/random.h
const RNDADDTOENTCNT: libc::Ioctl = 0x4004_5201;

/// Tells the kernel that its pool holds so many more bits of entropy: see random(4).
///
/// # Errors
/// Those of ioctl(2); it takes CAP_SYS_ADMIN.
pub fn credit_entropy(pool: BorrowedFd<'_>, bits: i32) -> Result<(), Errno> {
    // SAFETY: the ioctl reads an `int`, which outlives the call.
    let result =
        unsafe { libc::ioctl(pool.as_raw_fd(), RNDADDTOENTCNT, std::ptr::from_ref(&bits)) };
    Errno::result(result).map(drop)
}
