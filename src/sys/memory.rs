//! How malloc(3) keeps memory, and what of the program a fork(2) has copied.

use std::ffi::c_void;
use std::ptr::NonNull;

use nix::sys::mman::{ProtFlags, mprotect};

/// Has every block of 128 KiB and more given back to the kernel when it is freed, always.
///
/// By itself the GNU C library keeps blocks as large as the largest that was ever freed (mallopt(3), "the
/// dynamic mmap threshold"), and every copy of this process would have a copy of them.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes a number that the allocator reads; there is one thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// Has a fork(2) of this process hand on which pages of its program are there. By itself it leaves out mappings of
/// files in which nothing was ever written, for a page that is looked for again costs little (kernel/fork.c
/// dup_mmap(), mm/memory.c copy_page_range()). In User-Mode Linux it costs two stops of the new process, each page,
/// and what is handed on is mapped at one go.
///
/// Nothing of it changes what the process does: where it cannot be had, forks are slower.
pub fn hand_on_program_at_fork() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let own = |path: &str| std::path::Path::new(path) == program;
    for (start, length, protection) in maps.lines().filter_map(|line| read_only(line, &own)) {
        // SAFETY: the mapping is private and belongs to the program, which lives as long as the process. It stays as
        // readable and executable as it was, and a byte gets the value that it has: nobody sees a difference. There
        // is one thread.
        unsafe {
            if mprotect(start, length, protection | ProtFlags::PROT_WRITE).is_ok() {
                let first = start.cast::<u8>().as_ptr();
                first.write_volatile(first.read_volatile());
                let _ = mprotect(start, length, protection);
            }
        }
    }
}

/// Start, length and protection of a mapping of this program's file that is never written, of a line of
/// /proc/self/maps: proc_pid_maps(5).
fn read_only(
    line: &str,
    own: &impl Fn(&str) -> bool,
) -> Option<(NonNull<c_void>, usize, ProtFlags)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let protection = match fields.next()? {
        "r--p" => ProtFlags::PROT_READ,
        "r-xp" => ProtFlags::PROT_READ | ProtFlags::PROT_EXEC,
        _ => return None,
    };
    let path = fields.nth(3)?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (address(start)?, address(end)?);
    let first = NonNull::new(std::ptr::with_exposed_provenance_mut(start))?;
    own(path).then_some((first, end.checked_sub(start)?, protection))
}
