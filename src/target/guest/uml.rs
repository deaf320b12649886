//! Starts User-Mode Linux: a kernel that is an ordinary program.
//!
//! Source of the options: Documentation/virt/uml/user_mode_linux_howto_v2.rst of the kernel.

use std::fs::File;
use std::io;

use super::agent::CHANNEL;
use super::machine::Machine;
use crate::kernel::Kernel;

/// Starts a kernel with this first file system and so much memory, in MiB.
///
/// # Errors
/// Those of making processes.
pub fn start(kernel: &Kernel, initramfs: &File, memory: u32) -> io::Result<Machine> {
    Machine::start(initramfs, |surroundings| {
        let directory = surroundings.directory.display();
        let mut command = kernel.command(&surroundings.directory)?;
        command
            .env("TMPDIR", &surroundings.directory)
            .env("HOME", &surroundings.directory)
            .arg(format!("mem={memory}M"))
            .arg(format!("initrd=/proc/self/fd/{}", surroundings.initramfs))
            .arg(format!("uml_dir={directory}/"))
            .arg("umid=guest")
            .args(["con=null", "con0=null,fd:1", "ssl=null"])
            .arg(format!("ssl0=fd:{}", surroundings.channel))
            .args(["quiet", "panic=-1", "rdinit=/init"])
            .arg(format!("{CHANNEL}=/dev/ttyS0"));
        Ok(command)
    })
}
