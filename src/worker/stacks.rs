//! Stacks of processes that share memory.

use std::cell::RefCell;
use std::rc::Rc;

use nix::errno::Errno;

use crate::sys::Stack;

/// Stacks that are kept for the next plan, in whichever sandbox it is asked: only one plan is at a time. Few are: each is
/// two mappings, and User-Mode Linux before 6.12 goes through all mappings of a process whenever another begins to share
/// them (`force_flush_all()` of arch/um/kernel/tlb.c).
#[derive(Clone, Debug, Default)]
pub struct Stacks(Rc<RefCell<Vec<Stack>>>);

/// How many are kept: most plans have one actor beside the first process of their sandbox.
const KEPT: usize = 2;

impl Stacks {
    /// This many of them at least, to be put back when nobody begins anything on them any more. Whoever ran on those of
    /// the plan before has ended.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn take(&self, count: usize) -> Result<Vec<Stack>, Errno> {
        let mut stacks = self.0.take();
        // Not when they are put back: who ran on one may not quite have ended then.
        stacks.truncate(count.max(KEPT));
        while stacks.len() < count {
            stacks.push(Stack::new()?);
        }
        Ok(stacks)
    }

    /// Keeps them for the next plan.
    pub fn put_back(&self, stacks: Vec<Stack>) {
        self.0.replace(stacks);
    }
}
