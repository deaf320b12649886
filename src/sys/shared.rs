//! A buffer that a child fills and its parent reads when the child has ended.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

/// Memory shared between a process and its children, appended to by one of them at a time.
#[derive(Debug)]
pub struct SharedBuffer {
    start: NonNull<u8>,
    capacity: usize,
}

const HEADER: usize = size_of::<AtomicUsize>();
/// As many bytes are worth a system call.
const MUCH: usize = 16 << 20;

impl SharedBuffer {
    /// Maps a buffer that can hold this many bytes; memory is used only as it is filled.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn new(capacity: usize) -> Result<Self, Errno> {
        let length = NonZeroUsize::new(HEADER + capacity).ok_or(Errno::EINVAL)?;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE,
            )?
        };
        Ok(Self { start: start.cast(), capacity })
    }

    fn length(&self) -> &AtomicUsize {
        // SAFETY: the mapping starts with a page-aligned, zeroed word that is only used as this atomic.
        unsafe { self.start.cast::<AtomicUsize>().as_ref() }
    }

    /// How many bytes were appended.
    pub fn len(&self) -> usize {
        self.length().load(Ordering::Acquire)
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether half of it is filled.
    pub fn is_half_full(&self) -> bool {
        self.len() > self.capacity / 2
    }

    /// Forgets what was appended, and gives its memory back where that was much.
    pub fn clear(&self) {
        if self.length().swap(0, Ordering::AcqRel) > MUCH {
            // SAFETY: the mapping is shared and anonymous, and nothing refers to what lies in it; the next
            // who looks there finds zeros, and so the length that was just stored.
            let _ = unsafe {
                madvise(self.start.cast(), HEADER + self.capacity, MmapAdvise::MADV_REMOVE)
            };
        }
    }

    /// Appends all of the bytes, or nothing where they do not fit.
    #[must_use]
    pub fn append(&self, bytes: &[u8]) -> bool {
        let length = self.length().load(Ordering::Acquire);
        if length > self.capacity || bytes.len() > self.capacity - length {
            return false;
        }
        // SAFETY: the range lies in the mapping by the check above; one process appends at a time,
        // and readers look only at what the length covers.
        unsafe {
            let end = self.start.as_ptr().add(HEADER + length);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len());
        }
        self.length().store(length + bytes.len(), Ordering::Release);
        true
    }

    /// A copy of what was appended.
    pub fn contents(&self) -> Vec<u8> {
        let length = self.length().load(Ordering::Acquire).min(self.capacity);
        // SAFETY: the range lies in the mapping; it is called when the writer has ended.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(HEADER), length) }.to_vec()
    }
}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and nothing refers into it any more.
        let _ = unsafe { munmap(self.start.cast(), HEADER + self.capacity) };
    }
}
