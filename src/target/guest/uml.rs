//! Starts User-Mode Linux: a kernel that is an ordinary program.
//!
//! Source of the options: Documentation/virt/uml/user_mode_linux_howto_v2.rst of the kernel.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;

use super::agent::{CHANNEL, PLAIN};
use super::console::Console;
use super::machine::{CANNOT_START, Machine};
use crate::kernel::Kernel;
use crate::missing::Missing;
use crate::processor;

/// The directory of the machine that its guest sees by hostfs.
const SHARED: &str = "shared";

/// What a kernel does not do when it boots. To find its fastest code for RAID6, and a pool for compressed
/// swap, takes most of the time of a boot, and a guest has neither disks in an array nor swap.
const LEFT_OUT: [&str; 3] = ["raid6_select_algo", "raid6_init", "init_zswap"];

/// Starts a kernel with this first file system and so much memory, in MiB. Guests that run at the
/// same time have different places, from 0.
///
/// # Errors
/// Those of making processes.
pub fn start(kernel: &Kernel, initramfs: &File, memory: u32, place: usize) -> io::Result<Machine> {
    Machine::start(initramfs, |surroundings| {
        processor::stay_on(place);
        let directory = surroundings.directory.display();
        // A throwaway directory that the guest may mount by hostfs.
        std::fs::create_dir_all(surroundings.directory.join(SHARED))?;
        let mut command = kernel.command(&surroundings.directory)?;
        command
            .env("TMPDIR", &surroundings.directory)
            .env("HOME", &surroundings.directory)
            .arg(format!("mem={memory}M"))
            .arg(format!("initrd=/proc/self/fd/{}", surroundings.initramfs))
            .arg(format!("uml_dir={directory}/"))
            .arg("umid=guest")
            .arg(format!("hostfs={directory}/{SHARED}"))
            .args(["con=null", "con0=null,fd:1", "ssl=null"])
            .arg(format!("ssl0=fd:{}", surroundings.channel))
            .args(["quiet", "panic=-1", "rdinit=/init"])
            // Without ptrace, and faster, where a kernel can (6.16). Others pass the word on to the init.
            .arg("seccomp=auto")
            // To measure how long a delay takes is a tenth of a second, and nothing here delays.
            .arg("lpj=10000000")
            // For each device a kernel starts a program that is not there, and of these it makes 512.
            .arg("pty.legacy_count=0")
            .arg(format!("initcall_blacklist={}", LEFT_OUT.join(",")))
            .arg(format!("{CHANNEL}=/dev/ttyS0"))
            // Its driver writes what it is given by one write(2), and reads byte by byte: arch/um/drivers/chan_user.c.
            .arg(format!("{PLAIN}=1"));
        Ok(command)
    })
}

/// The restriction of this machine that explains why a kernel did not boot, by what it printed.
pub fn restriction(kernel: &Kernel, console: &Console) -> Option<Missing> {
    let text = console.text();
    let executable = || kernel.file.metadata().is_ok_and(|m| m.permissions().mode() & 0o111 != 0);
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    // The words are those of arch/um/os-Linux/{start_up,mem,skas/process}.c.
    if says(&["ptrace: Operation not permitted", "check_ptrace :", "ptrace: Permission denied"]) {
        return Some(Missing::new(
            "ptrace",
            "User-Mode Linux traces its processes, and that is forbidden here",
            "sysctl kernel.yama.ptrace_scope=1, in a container --cap-add SYS_PTRACE; or use a kernel \
             that needs no ptrace, as uml:7.2",
        ));
    }
    let refused = format!("{CANNOT_START}: {}", io::Error::from_raw_os_error(libc::EACCES));
    if says(&["must be not mounted noexec"]) || says(&[&refused]) && executable() {
        return Some(Missing::new(
            "memory that can be executed",
            "the file system for the guest's memory is mounted noexec, and this user may not mount another",
            "mount -o remount,exec /dev/shm, or set TMPDIR to a directory that is not noexec",
        ));
    }
    if says(&["likely just ran out of space", "Kernel mode signal 7"]) {
        return Some(Missing::new(
            "room for the guest's memory",
            "the file system for the guest's memory is full",
            "enlarge /dev/shm, in a container --shm-size=1g; or set TMPDIR to a larger one",
        ));
    }
    None
}
