//! faccessat2(2) as it is: what `rustix` does before Linux 5.8 is another question.

use std::ffi::CString;

use nix::errno::Errno;
use rustix::fs::Access;

/// Asks whether the calling process may do that with a file, by its effective ids.
///
/// # Errors
/// Those of faccessat2(2); ENOSYS before Linux 5.8.
pub fn effective_access(path: &str, access: Access) -> Result<(), Errno> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let (at, flags) = (libc::AT_FDCWD, libc::AT_EACCESS);
    // SAFETY: the path is a string that ends with a null byte and outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_faccessat2, at, path.as_ptr(), access.bits() as libc::c_int, flags)
    };
    Errno::result(result).map(drop)
}
