//! The program interpreter that an ELF file names, made another one.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use elf::ElfBytes;
use elf::abi::PT_INTERP;
use elf::endian::LittleEndian;
use elf::file::Class;

/// A program that names another interpreter.
///
/// The name is appended, and the program header made to point there: the kernel reads it from the
/// file (load_elf_binary in fs/binfmt_elf.c), so no part of what is loaded moves.
///
/// # Errors
/// Where it is no dynamic program of 64 bits.
pub fn with_interpreter(mut program: Vec<u8>, interpreter: &Path) -> io::Result<Vec<u8>> {
    let header = interpreter_header(&program).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "not a dynamic program (ELF of 64 bits)")
    })?;
    let name = [interpreter.as_os_str().as_bytes(), b"\0"].concat();
    // `p_offset` and `p_filesz` of Elf64_Phdr.
    let (offset, length) = (program.len() as u64, name.len() as u64);
    program[header + 8..header + 16].copy_from_slice(&offset.to_le_bytes());
    program[header + 32..header + 40].copy_from_slice(&length.to_le_bytes());
    program.extend(name);
    Ok(program)
}

/// Where the program header of the interpreter lies, in a little-endian ELF file of 64 bits;
/// `None` where it is no such file, or names none.
pub fn interpreter_header(program: &[u8]) -> Option<usize> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(program).ok()?;
    let is_64 = elf.ehdr.class == Class::ELF64;
    let index = elf.segments()?.iter().position(|header| header.p_type == PT_INTERP)?;
    let first = usize::try_from(elf.ehdr.e_phoff).ok()?;
    let header = first.checked_add(index.checked_mul(elf.ehdr.e_phentsize.into())?)?;
    (is_64 && header.checked_add(56)? <= program.len()).then_some(header)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_program_is_refused() {
        for bytes in [&b""[..], b"\x7fELF\x02\x01", &[0xff; 64], &[0x7f; 4096]] {
            assert!(with_interpreter(bytes.to_vec(), Path::new("/ld")).is_err());
        }
        // Headers that point beyond every address.
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0xff);
        assert!(with_interpreter(elf, Path::new("/ld")).is_err());
    }

    #[test]
    fn another_interpreter_is_named_and_nothing_moves() {
        let program = fs::read("/bin/true").unwrap();
        let Some(header) = interpreter_header(&program) else { return };
        let patched = with_interpreter(program.clone(), Path::new("/a/loader")).unwrap();
        assert!(patched.ends_with(b"/a/loader\0"));
        assert_eq!(patched[header + 8..header + 16], (program.len() as u64).to_le_bytes());
        assert_eq!(patched[header + 40..program.len()], program[header + 40..]);
    }
}
