//! The ioctls of loop devices, which neither `nix` nor `rustix` has.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

// include/uapi/linux/loop.h
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_SET_FD: libc::Ioctl = 0x4C00;
const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_SET_STATUS64: libc::Ioctl = 0x4C04;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_config` of include/uapi/linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// `struct loop_info64` of include/uapi/linux/loop.h.
#[repr(C)]
struct LoopInfo {
    /// `lo_device` to `lo_sizelimit`.
    numbers: [u64; 5],
    /// `lo_number` to `lo_encrypt_key_size`.
    words: [u32; 3],
    flags: u32,
    /// `lo_file_name`, `lo_crypt_name` and `lo_encrypt_key`.
    names: [u8; 160],
    init: [u64; 2],
}

/// The number of a loop device that nobody uses, of /dev/loop-control: see loop(4). Somebody else may
/// be faster to use it.
///
/// # Errors
/// Those of ioctl(2).
pub fn free_loop_device(control: BorrowedFd<'_>) -> Result<u32, Errno> {
    // SAFETY: this ioctl takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    Errno::result(number).map(i32::unsigned_abs)
}

/// Attaches a file to a loop device, which is cleared when it is closed for the last time: by `LOOP_CONFIGURE`, and
/// before Linux 5.8, which does not know it, by `LOOP_SET_FD` and `LOOP_SET_STATUS64`. Before that the device is read-only
/// where the file was opened so.
///
/// # Errors
/// Those of ioctl(2); EBUSY where somebody else was faster.
pub fn attach_loop_device(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    read_only: bool,
) -> Result<(), Errno> {
    let info = LoopInfo {
        numbers: [0; 5],
        words: [0; 3],
        flags: LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 },
        names: [0; 160],
        init: [0; 2],
    };
    let fd = file.as_raw_fd().cast_unsigned();
    let config = LoopConfig { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: the struct has the layout that the ioctl reads, and outlives the call.
    let result =
        unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, std::ptr::from_ref(&config)) };
    match Errno::result(result).map(drop) {
        // What a loop device does not know is EINVAL: lo_simple_ioctl() in drivers/block/loop.c.
        Err(Errno::EINVAL) => attach_in_two_steps(device, file, &config.info),
        answer => answer,
    }
}

fn attach_in_two_steps(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    info: &LoopInfo,
) -> Result<(), Errno> {
    let (device, file) = (device.as_raw_fd(), file.as_raw_fd());
    // SAFETY: this ioctl takes the number of a descriptor.
    Errno::result(unsafe { libc::ioctl(device, LOOP_SET_FD, file) })?;
    // SAFETY: the struct has the layout that the ioctl reads, and outlives the call.
    let set = unsafe { libc::ioctl(device, LOOP_SET_STATUS64, std::ptr::from_ref(info)) };
    Errno::result(set).map(drop).inspect_err(|_| {
        // SAFETY: this ioctl takes no argument.
        unsafe { libc::ioctl(device, LOOP_CLR_FD) };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_struct_is_as_long_as_the_kernel_s() {
        assert_eq!((size_of::<LoopConfig>(), size_of::<LoopInfo>()), (304, 232));
    }
}
