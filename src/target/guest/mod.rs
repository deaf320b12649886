//! Other kernels that nsharness boots by itself.

pub mod initramfs;
pub mod modules;
