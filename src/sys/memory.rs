//! How malloc(3) keeps memory.

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
