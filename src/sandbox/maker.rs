//! A process that makes sandboxes and has their filter already.

use nix::errno::Errno;

use super::{broke, filter};
use crate::processor::OneProcessor;
use crate::sys::Deputy;
use crate::transcript::Breakage;

/// Makes the first processes of sandboxes, children of the process that has it, so that they are under the filter of
/// system calls from their beginning.
///
/// To install a filter is next to nothing for a kernel that is a machine's own. In User-Mode Linux before 6.12 it
/// costs more than all else of a sandbox: the filter lies in new memory of vmalloc(), and at the first touch of such
/// memory all of it is mapped again, page by page (`flush_tlb_kernel_vm()` of arch/um/kernel/tlb.c).
#[derive(Debug)]
pub struct Maker(Deputy);

impl Maker {
    /// Starts the process. This one must have one thread, and the right to install a filter: be root of its user
    /// namespace.
    ///
    /// # Errors
    /// What kept it from being started, or from having the filter.
    pub fn start() -> Result<Self, Breakage> {
        filter::prepare();
        let broken = |errno| broke("the process that makes them", errno);
        let deputy = Deputy::start().map_err(broken)?;
        let install = || {
            // As who asks it stays: what it makes begins there.
            std::mem::forget(OneProcessor::stay());
            filter::install()
        };
        deputy.run(install).and_then(|installed| installed).map_err(broken)?;
        Ok(Self(deputy))
    }

    /// Has it make a process, with CLONE_PARENT.
    pub(super) fn make<T>(&self, make: impl FnOnce() -> T) -> Result<T, Breakage> {
        self.0.run(make).map_err(|errno: Errno| broke("the process that makes them", errno))
    }
}
