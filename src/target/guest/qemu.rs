//! Starts a machine of QEMU for a kernel image, on this machine's processor where that works.
//!
//! The line to the agent is a virtio console where the kernel has the drivers: a serial port moves a byte
//! at a time, each with an exit of the machine. Measured under emulation, 256 KiB one way take 0.7 to 3.9 s
//! over a serial port and 0.03 s over virtio.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::agent::CHANNEL;
use super::machine::Machine;
use super::modules::Modules;
use crate::kernel::{Architecture, Kernel};
use crate::missing::Missing;
use crate::programs::in_path;

/// The device of KVM.
const KVM: &str = "/dev/kvm";
/// The drivers of the virtio console.
pub const VIRTIO: &[&str] = &["virtio_pci", "virtio_console"];
/// How long a kernel may take on this machine's processor until it prints its first line: it takes
/// a tenth of that.
const FIRST_LINE: Duration = Duration::from_secs(5);
/// How long it may take until it misses its root file system.
const PROBE: Duration = Duration::from_secs(20);

/// What starts the machines of one kernel.
#[derive(Clone, Debug)]
pub struct Qemu {
    architecture: &'static Architecture,
    program: PathBuf,
    accelerator: Accelerator,
    /// Whether the line to the agent is a virtio console.
    pub virtio: bool,
}

/// What executes the instructions of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Accelerator {
    Kvm,
    /// Nothing but software, and why.
    Emulation(String),
}

impl Qemu {
    /// What is there to start this kernel with.
    ///
    /// # Errors
    /// Where there is no QEMU, or none that could run this very program in a guest.
    pub fn of(kernel: &Kernel, modules: Option<&Modules>) -> Result<Self, Missing> {
        let architecture = Architecture::here()?;
        let program = in_path(architecture.qemu).ok_or_else(|| {
            let why = format!("{} is not in PATH", architecture.qemu);
            Missing::new("QEMU", why, format!("apt-get install {}", architecture.package))
        })?;
        let accelerator = accelerator(architecture, &program, kernel).clone();
        let virtio = modules.is_some_and(|known| VIRTIO.iter().all(|name| known.knows(name)));
        Ok(Self { architecture, program, accelerator, virtio })
    }

    /// Why it is slow, where it is.
    pub fn note(&self) -> Option<String> {
        match &self.accelerator {
            Accelerator::Kvm => None,
            Accelerator::Emulation(why) => Some(format!("emulated: {why}")),
        }
    }

    /// Starts a kernel with this first file system and so much memory, in MiB.
    ///
    /// # Errors
    /// Those of making processes.
    pub fn start(&self, kernel: &Kernel, initramfs: &File, memory: u32) -> io::Result<Machine> {
        Machine::start(initramfs, |surroundings| {
            let Architecture { console, serial: ([option, port], second), .. } = self.architecture;
            let mut command =
                machine(self.architecture, &self.program, &self.accelerator, &kernel.file, memory);
            command.arg("-chardev").arg(format!("socket,id=channel,fd={}", surroundings.channel));
            if self.virtio {
                command.args(["-device", "virtio-serial-pci"]);
                command.args(["-device", "virtconsole,chardev=channel"]);
            } else {
                command.arg(option).arg(format!("{port}channel"));
            }
            let line = if self.virtio { "hvc0" } else { second };
            command.arg("-initrd").arg(format!("/proc/self/fd/{}", surroundings.initramfs));
            command.arg("-append").arg(format!(
                "console={console} quiet panic=-1 rdinit=/init {CHANNEL}=/dev/{line}"
            ));
            Ok(command)
        })
    }
}

/// A machine with nothing but a kernel, whose console is its first serial port.
fn machine(
    architecture: &Architecture,
    program: &Path,
    accelerator: &Accelerator,
    kernel: &Path,
    memory: u32,
) -> Command {
    let [emulated, own] = architecture.processor;
    let (accelerator, processor) = match accelerator {
        Accelerator::Kvm => ("kvm", own),
        Accelerator::Emulation(_) => ("tcg", emulated),
    };
    let mut command = Command::new(program);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    command.args(["-machine", architecture.machine, "-cpu", processor, "-accel", accelerator]);
    command.arg("-m").arg(memory.to_string());
    command.args(["-serial", "stdio", "-kernel"]).arg(kernel);
    command
}

/// Whether guests run on this machine's processor. What was found once holds as long as this process.
fn accelerator(
    architecture: &Architecture,
    program: &Path,
    kernel: &Kernel,
) -> &'static Accelerator {
    static KNOWN: OnceLock<Accelerator> = OnceLock::new();
    KNOWN.get_or_init(|| match try_kvm(architecture, program, kernel) {
        Ok(()) => Accelerator::Kvm,
        Err(why) => Accelerator::Emulation(why),
    })
}

/// Boots the kernel on this machine's processor as far as it comes without a file system: that there is
/// a /dev/kvm says little, as on machines that are virtual themselves.
fn try_kvm(architecture: &Architecture, program: &Path, kernel: &Kernel) -> Result<(), String> {
    if let Err(error) = OpenOptions::new().read(true).write(true).open(KVM) {
        return Err(match error.kind() {
            io::ErrorKind::NotFound => format!("there is no {KVM} here"),
            _ => format!("{KVM} cannot be opened: {error}"),
        });
    }
    let empty = rustix::fs::memfd_create("initramfs", rustix::fs::MemfdFlags::CLOEXEC);
    let empty = File::from(empty.map_err(|error| error.to_string())?);
    let machine = Machine::start(&empty, |_| {
        let mut command = machine(architecture, program, &Accelerator::Kvm, &kernel.file, 256);
        command.arg("-append").arg(format!("console={} panic=-1", architecture.console));
        Ok(command)
    });
    let machine = machine.map_err(|error| error.to_string())?;
    judge(machine).map_err(|why| format!("KVM does not work here: {why}"))
}

/// Whether a kernel without a root file system comes as far as to miss it.
fn judge(mut machine: Machine) -> Result<(), String> {
    let begun = Instant::now();
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    loop {
        let booting = text.contains("Linux version");
        let patience = if booting { PROBE } else { FIRST_LINE };
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            let what = if booting { "hangs" } else { "says nothing" };
            return Err(format!("a kernel {what} for {} s", patience.as_secs()));
        }
        let ended = ended(&machine, left);
        loop {
            match machine.console.read(&mut bytes) {
                Ok(length) if length > 0 => {
                    text.push_str(&String::from_utf8_lossy(&bytes[..length]));
                }
                _ => break,
            }
        }
        if text.contains("Kernel panic") {
            return Ok(());
        }
        if ended {
            return Err(complaint(&text));
        }
    }
}

/// What a machine said that ended: the first error, or else its last words.
fn complaint(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().find_map(|line| line.split_once(" error: ")).map(|(_, error)| error);
    let said = error.or_else(|| lines().next_back()).unwrap_or("the machine ends without a word");
    said.chars().take(100).collect()
}

/// Waits for something to read; whether the machine has ended.
fn ended(machine: &Machine, wait: Duration) -> bool {
    let mut fds = [
        PollFd::new(machine.ended(), PollFlags::POLLIN),
        PollFd::new(machine.console.as_fd(), PollFlags::POLLIN),
    ];
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    // What was interrupted is tried again by the caller.
    poll(&mut fds, wait).is_ok_and(|ready| ready > 0) && fds[0].any().unwrap_or(false)
}
