//! The only unsafe code: system calls that `nix` and `rustix` lack or wrap as unsafe.

#![allow(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

mod access;
mod deputy;
mod descriptors;
mod loop_device;
mod memory;
mod mount_setattr;
mod process;
mod random;
mod seccomp;
mod shared;
mod signal;
mod trace;

pub use access::effective_access;
pub use deputy::Deputy;
pub use descriptors::{open_descriptors, pass_on};
pub use loop_device::{attach_loop_device, free_loop_device};
pub use memory::{give_back_large_blocks, hand_on_program_at_fork};
pub use mount_setattr::{MountAttr, mount_setattr};
pub use process::{
    Child, Stack, clone_namespaces, clone_sharing_memory, close_all_but, close_copies,
    end_with_this, exit_now, fork, fork_sharing_memory, vfork,
};
pub use random::credit_entropy;
pub use seccomp::{Instruction, filter_calls};
pub use shared::SharedBuffer;
pub use signal::{default_signals, interrupted, watch_for_interrupts};
pub use trace::{Mark, SyscallStop, as_mark, mark, syscall_stop};
