//! What a kernel's file tells: its flavour, its release and its processor.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::Path;

use memchr::memmem;

use super::Flavour;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// What boots it; `None` where it is no kernel that is known.
    pub flavour: Option<Flavour>,
    /// What uname(2) will call its release.
    pub release: Option<String>,
    /// The processor that it is for, where that is known, as [`std::env::consts::ARCH`] calls it.
    pub processor: Option<&'static str>,
}

/// No kernel is larger; what is, is not read.
const LARGEST: u64 = 2 << 30;

/// Looks into a file.
///
/// # Errors
/// Where it cannot be read.
pub fn describe(file: &Path) -> io::Result<Description> {
    let metadata = fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if metadata.len() > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too large for a kernel"));
    }
    Ok(of_bytes(&fs::read(file)?))
}

pub(crate) fn of_bytes(bytes: &[u8]) -> Description {
    let contains = |text: &[u8]| memmem::find(bytes, text).is_some();
    if let Some((release, processor)) = boot_release(bytes) {
        Description { flavour: Some(Flavour::Image), release, processor: Some(processor) }
    } else if bytes.starts_with(b"\x7fELF") && contains(b"Linux version ") {
        // A vmlinux is an ELF file too; only User-Mode Linux has this option.
        let flavour = if contains(b"uml_dir=") { Flavour::Uml } else { Flavour::Image };
        Description {
            flavour: Some(flavour),
            release: banner(bytes),
            processor: elf_processor(bytes),
        }
    } else if bytes.get(56..60) == Some(b"ARM\x64") {
        // Documentation/arch/arm64/booting.rst
        let release = banner(bytes);
        Description { flavour: Some(Flavour::Image), release, processor: Some("aarch64") }
    } else {
        Description { flavour: None, release: None, processor: None }
    }
}

/// The release that a bzImage says in its setup header, if it does, and its processor: Documentation/arch/x86/boot.rst.
fn boot_release(bytes: &[u8]) -> Option<(Option<String>, &'static str)> {
    const XLOADFLAGS_SINCE: u16 = 0x20c;
    const XLF_KERNEL_64: u8 = 1;
    if bytes.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let version = u16::from_le_bytes([*bytes.get(0x206)?, *bytes.get(0x207)?]);
    let is_64 = version < XLOADFLAGS_SINCE || bytes.get(0x236)? & XLF_KERNEL_64 != 0;
    let pointer = usize::from(u16::from_le_bytes([*bytes.get(0x20e)?, *bytes.get(0x20f)?]));
    let release = bytes.get(0x200 + pointer..).filter(|_| pointer > 0).and_then(first_word);
    Some((release, if is_64 { "x86_64" } else { "x86" }))
}

/// The processor in the header of an ELF file: elf(5).
fn elf_processor(bytes: &[u8]) -> Option<&'static str> {
    match u16::from_le_bytes([*bytes.get(18)?, *bytes.get(19)?]) {
        3 => Some("x86"),
        62 => Some("x86_64"),
        183 => Some("aarch64"),
        _ => None,
    }
}

/// The release in the banner that is printed at boot: `linux_banner` of init/version.c.
///
/// The same words are also in format strings, which no digit follows.
fn banner(bytes: &[u8]) -> Option<String> {
    const BEGIN: &[u8] = b"Linux version ";
    memmem::find_iter(bytes, BEGIN)
        .filter_map(|at| first_word(&bytes[at + BEGIN.len()..]))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

fn first_word(bytes: &[u8]) -> Option<String> {
    // __NEW_UTS_LEN
    let word = bytes.iter().take(64).take_while(|byte| byte.is_ascii_graphic());
    let word: String = word.map(|byte| char::from(*byte)).collect();
    (!word.is_empty()).then_some(word)
}

/// Whether a release is of this version: `6.1.176` is of `6.1` and of `6`, `6.12.101` is not.
pub(super) fn is_of(release: &str, version: &str) -> bool {
    release
        .strip_prefix(version)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+', '_', '~']))
}

/// Which release is newer. Numbers are compared as numbers, and a release candidate comes before its release.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |release: &str| -> Vec<u64> {
        let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
        release[..end].split('.').filter_map(|number| number.parse().ok()).collect()
    };
    let is_final = |release: &str| !release.contains("-rc");
    let key = |release: &str| (numbers(release), is_final(release));
    key(a).cmp(&key(b)).then_with(|| natural(a, b))
}

/// Compares text in which numbers count as numbers: `6.1.0-9-amd64` comes before `6.1.0-44-amd64`.
fn natural(a: &str, b: &str) -> Ordering {
    fn pieces(text: &str) -> impl Iterator<Item = (u64, &str)> {
        text.split(|c: char| !c.is_ascii_alphanumeric())
            .map(|piece| (piece.parse().unwrap_or(u64::MAX), piece))
    }
    pieces(a).cmp(pieces(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(release: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x1000];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        bytes[0x500..0x500 + release.len()].copy_from_slice(release);
        bytes
    }

    #[test]
    fn an_image_says_its_release_in_its_header() {
        let description =
            of_bytes(&image(b"6.1.0-44-amd64 (debian-kernel@lists.debian.org) #1 SMP"));
        assert_eq!(description.flavour, Some(Flavour::Image));
        assert_eq!(description.release.as_deref(), Some("6.1.0-44-amd64"));
        assert_eq!(description.processor, Some("x86_64"));
    }

    #[test]
    fn a_user_mode_linux_says_it_in_its_banner() {
        let bytes = b"\x7fELF..uml_dir=..Linux version %s\0..Linux version 6.12.101 (x@y)";
        let description = of_bytes(bytes);
        assert_eq!(description.flavour, Some(Flavour::Uml));
        assert_eq!(description.release.as_deref(), Some("6.12.101"));
    }

    #[test]
    fn an_image_for_arm_says_it_in_its_banner() {
        let mut bytes = vec![0; 56];
        bytes.extend(b"ARM\x64..Linux version %s\0..Linux version 6.1.0-50-arm64 (x@y)");
        let description = of_bytes(&bytes);
        assert_eq!(description.flavour, Some(Flavour::Image));
        assert_eq!(description.release.as_deref(), Some("6.1.0-50-arm64"));
        assert_eq!(description.processor, Some("aarch64"));
    }

    #[test]
    fn what_is_no_kernel_is_none() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF and no kernel", &[0xff; 0x300]] {
            let nothing = Description { flavour: None, release: None, processor: None };
            assert_eq!(of_bytes(bytes), nothing);
        }
        // A header that points beyond the file.
        let mut short = image(b"");
        short.truncate(0x210);
        assert_eq!(of_bytes(&short).release, None);
    }

    #[test]
    fn versions_end_at_a_component() {
        assert!(is_of("6.1.176", "6.1") && is_of("6.1.176", "6") && is_of("6.1.176", "6.1.176"));
        assert!(is_of("6.1.0-44-amd64", "6.1.0") && is_of("7.2-rc1", "7.2"));
        assert!(!is_of("6.12.101", "6.1") && !is_of("6.1", "6.1.176") && !is_of("6.1.17", "6.1.1"));
    }

    #[test]
    fn newer_is_greater() {
        let ordered = [
            "5.10.46",
            "6.1.0-9-amd64",
            "6.1.0-44-amd64",
            "6.1.176",
            "6.12.9",
            "6.12.101",
            "7.2.0-rc1",
            "7.2.0",
            "7.2.7",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }
}
