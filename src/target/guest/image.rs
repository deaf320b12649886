//! What is in the first file system of a guest: the agent and the modules of its kernel.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

use super::agent::MODULES;
use super::initramfs::Archive;
use super::modules::{Module, Modules};
use super::{BootError, Wanted};
use crate::kernel::Kernel;
use crate::programs;

/// The first file system of a guest with this kernel, in memory: with these drivers, and what is wanted.
///
/// # Errors
/// Where a driver or a module that one depends on is missing, or there is no memory.
pub fn of(
    kernel: &Kernel,
    modules: Option<&Modules>,
    drivers: &[&str],
    wanted: &Wanted,
) -> Result<File, BootError> {
    let modules = modules.map_or(Ok(Vec::new()), |modules| chosen(modules, drivers, wanted))?;
    write(&modules, &programs(wanted)).map_err(|error| BootError::Failed {
        kernel: kernel.name.clone(),
        why: format!("its first file system cannot be made: {error}"),
        console: String::new(),
    })
}

/// The drivers, and the modules for what is wanted; what the kernel does not have, the guest will say
/// itself.
fn chosen(modules: &Modules, drivers: &[&str], wanted: &Wanted) -> Result<Vec<Module>, BootError> {
    let mut aliases: Vec<String> =
        wanted.file_systems.iter().map(|name| format!("fs-{name}")).collect();
    aliases.extend(wanted.loop_devices.then(|| "loop".to_owned()));
    let known = aliases.iter().map(String::as_str).filter(|name| modules.knows(name));
    let names: Vec<&str> = drivers.iter().copied().chain(known).collect();
    Ok(modules.load(&names)?)
}

/// The files of the programs that are wanted, each by its place. What is not on this system the guest
/// does not find, and says so.
fn programs(wanted: &Wanted) -> BTreeMap<PathBuf, PathBuf> {
    let mut files = BTreeMap::new();
    let programs = wanted.programs.iter().map(|name| (name, programs::find(name.as_str())));
    let named = wanted.files.iter().map(|(name, file)| (name, programs::at(file)));
    for (name, program) in programs.chain(named) {
        if let Ok(program) = program {
            files.insert(programs::in_guest(name.as_str(), &program.path), program.path);
            files.extend(program.libraries);
        }
    }
    files
}

fn write(modules: &[Module], programs: &BTreeMap<PathBuf, PathBuf>) -> io::Result<File> {
    let agent = fs::read("/proc/self/exe").map_err(|error| {
        let why = format!("this program cannot be read by way of /proc/self/exe: {error}");
        io::Error::new(error.kind(), why)
    })?;
    let out = File::from(memfd_create("initramfs", MemfdFlags::CLOEXEC)?);
    let mut archive = Archive::new(io::BufWriter::with_capacity(1 << 20, out));
    archive.device("/dev/console", 0o600, (5, 1))?;
    archive.file("/init", 0o755, &loaded_part(&agent))?;
    for (number, module) in modules.iter().enumerate() {
        archive.file(&format!("{MODULES}/{number:03}-{}", module.name), 0o644, &module.bytes)?;
    }
    for (at, file) in programs {
        let at = at.to_str().ok_or_else(|| io::Error::other("a path that is no text"))?;
        archive.file(at, 0o755, &fs::read(file)?)?;
    }
    let mut out = archive.finish()?;
    out.flush()?;
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

/// A program without what is not loaded: a debug build is mostly that. Of anything but an ELF file of 64
/// bits it is the whole.
fn loaded_part(program: &[u8]) -> Vec<u8> {
    let end =
        elf::ElfBytes::<elf::endian::AnyEndian>::minimal_parse(program).ok().and_then(|elf| {
            let segments = elf.segments()?;
            segments.iter().map(|segment| segment.p_offset.saturating_add(segment.p_filesz)).max()
        });
    let end = end.and_then(|end| usize::try_from(end).ok()).unwrap_or(program.len());
    let mut loaded = program[..end.min(program.len())].to_vec();
    // e_shoff, e_shnum and e_shstrndx of Elf64_Ehdr: the table of sections is gone.
    for range in [40..48, 60..64] {
        if let Some(field) = loaded.get_mut(range).filter(|_| end < program.len()) {
            field.fill(0);
        }
    }
    loaded
}
