//! What of kernels and of the machines that boot them depends on the processor. A guest runs this very program, so
//! that its kernel is for the processor that this program is for.

use std::env::consts::ARCH;

use crate::missing::Missing;

/// A processor's architecture.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name in Rust, and of most in uname(2).
    pub name: &'static str,
    /// Its name in Debian's archive.
    pub debian: &'static str,
    /// Whether there is a User-Mode Linux for it: `arch/x86/um` of the kernel is the only one.
    pub user_mode: bool,
    /// The program of QEMU whose machines have such a processor.
    pub qemu: &'static str,
    /// The package of Debian that has the program.
    pub package: &'static str,
    /// What names the machine.
    pub machine: &'static str,
    /// What names the processor where it is emulated, and where it is this machine's own.
    pub processor: [&'static str; 2],
    /// The device of the machine's first serial port: the console.
    pub console: &'static str,
    /// What adds another serial port whose other end is `chardev`, up to that name, and its device.
    pub serial: ([&'static str; 2], &'static str),
}

const ALL: [Architecture; 2] = [
    Architecture {
        name: "x86_64",
        debian: "amd64",
        user_mode: true,
        qemu: "qemu-system-x86_64",
        package: "qemu-system-x86",
        machine: "q35",
        processor: ["max", "max"],
        console: "ttyS0",
        serial: (["-serial", "chardev:"], "ttyS1"),
    },
    Architecture {
        name: "aarch64",
        debian: "arm64",
        user_mode: false,
        qemu: "qemu-system-aarch64",
        package: "qemu-system-arm",
        machine: "virt,gic-version=max",
        // Pointers are authenticated by an algorithm that takes half of the time where it is emulated:
        // QEMU's docs/system/arm/cpu-features.rst.
        processor: ["max,pauth-impdef=on", "max"],
        console: "ttyAMA0",
        // The machine has no other serial port of its own kind.
        serial: (["-device", "pci-serial,chardev="], "ttyS0"),
    },
];

impl Architecture {
    /// The one that this program is for.
    ///
    /// # Errors
    /// Where no machines are made for it.
    pub fn here() -> Result<&'static Self, Missing> {
        ALL.iter().find(|known| known.name == ARCH).ok_or_else(|| {
            let known = ALL.each_ref().map(|known| known.name).join(" and ");
            let why = format!("this is nsharness for {ARCH}, and machines are made for {known}");
            Missing::new("a guest", why, "use the host")
        })
    }

    /// The same, where it has a User-Mode Linux.
    ///
    /// # Errors
    /// Where it has none.
    pub fn with_user_mode() -> Result<&'static Self, Missing> {
        Self::here().and_then(|here| {
            here.user_mode.then_some(here).ok_or_else(|| {
                let why = format!("this is nsharness for {ARCH}, and there is none for it");
                Missing::new(
                    "User-Mode Linux",
                    why,
                    "boot an image: `nsharness kernel fetch debian:12 --flavour image` and qemu:6.1",
                )
            })
        })
    }
}

/// Why a kernel cannot be booted that is for the processor `found`, where that is known.
///
/// # Errors
/// Where it is not the one that this program is for.
pub(super) fn is_bootable(what: &str, found: Option<&str>) -> Result<(), Missing> {
    match found {
        Some(other) if other != ARCH => {
            let why = format!("it is for {other}, and this is nsharness for {ARCH}");
            Err(Missing::new(what, why, format!("name a kernel for {ARCH}")))
        }
        _ => Ok(()),
    }
}
