//! Programs of the system: where they are, and the files that they need to run.
//!
//! The files are asked of the program's own loader, by its option `--list`: it looks for libraries as it
//! would to run the program, and runs nothing (ld.so(8)).

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use elf::ElfStream;
use elf::abi::PT_INTERP;
use elf::endian::AnyEndian;

use crate::missing::Missing;
use crate::scenario::world::LIBRARY_DIRECTORIES;

/// Where programs are looked for besides PATH.
const STANDARD: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// How often a loader is asked that is killed before it has answered.
const ASKED: usize = 3;
/// Packages that have programs which are called otherwise.
const PACKAGES: &[(&str, &str)] = &[
    ("mke2fs", "e2fsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.vfat", "dosfstools"),
    ("mksquashfs", "squashfs-tools"),
    ("bwrap", "bubblewrap"),
    ("setcap", "libcap2-bin"),
    ("getfattr", "attr"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("busybox", "busybox-static"),
];

/// A program of the system, and what it needs to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its loader and libraries: by the path that they are looked for at, the files. All of them are
    /// below [`LIBRARY_DIRECTORIES`].
    pub libraries: BTreeMap<PathBuf, PathBuf>,
}

/// The file of a program, as a shell would find it; also where PATH leaves out what is for root.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .chain(STANDARD.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| {
            fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
}

/// Where a program has its place in a guest, which has no PATH but the standard one.
pub fn in_guest(name: &str, path: &Path) -> PathBuf {
    let found = path.parent().is_some_and(|above| STANDARD.iter().any(|d| above == Path::new(d)));
    if found { path.to_owned() } else { Path::new("/usr/local/bin").join(name) }
}

/// Finds a program and what it needs.
///
/// # Errors
/// Where it is not there, or cannot be run anywhere but where it is.
pub fn find(name: &str) -> Result<Program, Missing> {
    let what = format!("the program {name}");
    let package = PACKAGES.iter().find(|(program, _)| *program == name).map(|(_, package)| package);
    let Some(path) = in_path(name) else {
        let remedy = match package {
            Some(package) => format!("install it, as by `apt-get install {package}`"),
            None => format!("install {name}, or add its directory to PATH"),
        };
        return Err(Missing::new(what, "it is not in PATH", remedy));
    };
    at(&path).map_err(|missing| Missing { what, ..missing })
}

/// The program that is this file, and what it needs.
///
/// # Errors
/// Where it cannot be run anywhere but where it is.
pub fn at(path: &Path) -> Result<Program, Missing> {
    let found = libraries(path).map(|libraries| Program { path: path.to_owned(), libraries });
    found.map_err(|why| {
        let what = format!("the program {}", name_of(path));
        Missing::new(what, format!("{}: {why}", path.display()), "use another build of it")
    })
}

/// What a program needs besides itself.
fn libraries(program: &Path) -> Result<BTreeMap<PathBuf, PathBuf>, String> {
    let Some(loader) = loader(program)? else { return Ok(BTreeMap::new()) };
    let ask = || {
        let list = Command::new(&loader).arg("--list").arg(program).env_clear().output();
        list.map_err(|error| format!("its loader {}: {error}", loader.display()))
    };
    let mut list = ask()?;
    // One that somebody killed has said nothing: what it would have said is no matter of chance.
    for _ in 1..ASKED {
        if list.status.signal().is_none() {
            break;
        }
        list = ask()?;
    }
    if let Some(signal) = list.status.signal() {
        return Err(format!("its loader was ended by signal {signal}, {ASKED} times"));
    }
    if !list.status.success() {
        let said = String::from_utf8_lossy(&list.stderr);
        return Err(format!("its loader says: {}", said.trim()));
    }
    let mut files = parse_list(&String::from_utf8_lossy(&list.stdout))?;
    files.push(loader);
    // The loader looks in the directory of the C library by itself. What it found elsewhere, it was
    // told by a cache or a setting of this system, which a sandbox does not have.
    let standard = files.iter().find(|file| name_of(file).starts_with("libc.")).cloned();
    let standard = standard.as_deref().and_then(Path::parent);
    let mut needed = BTreeMap::new();
    for file in files {
        let is_below = |top: &&str| file.starts_with(Path::new("/").join(top));
        if !LIBRARY_DIRECTORIES.iter().any(is_below) {
            let places =
                LIBRARY_DIRECTORIES.iter().map(|top| format!("/{top}")).collect::<Vec<_>>();
            return Err(format!(
                "it needs {}, and only {} are known",
                file.display(),
                places.join(", ")
            ));
        }
        if let Some(beside) = standard {
            needed.entry(beside.join(name_of(&file))).or_insert_with(|| file.clone());
        }
        needed.insert(file.clone(), file);
    }
    Ok(needed)
}

fn name_of(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The loader that a program asks the kernel for; `None` where it needs none.
fn loader(program: &Path) -> Result<Option<PathBuf>, String> {
    let unreadable = |error: io::Error| format!("it cannot be read: {error}");
    interpreter(File::open(program).map_err(unreadable)?)
}

/// The loader that stands in a program.
pub(crate) fn interpreter(mut file: impl Read + Seek) -> Result<Option<PathBuf>, String> {
    let mut start = [0; 2];
    if file.read_exact(&mut start).is_ok() && start == *b"#!" {
        return Err("it is a script: name its interpreter instead".to_owned());
    }
    let not_elf = |error| format!("it is not an ELF file: {error}");
    let mut elf = ElfStream::<AnyEndian, _>::open_stream(BufReader::new(file)).map_err(not_elf)?;
    let Some(segment) = elf.segments().iter().find(|segment| segment.p_type == PT_INTERP).copied()
    else {
        return Ok(None);
    };
    let path = elf.segment_data(&segment).map_err(not_elf)?;
    let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
    let path = std::str::from_utf8(path).map_err(|_| "its loader has no sensible name")?;
    Ok(Some(PathBuf::from(path)))
}

/// The files of what a loader lists, as `NAME => FILE (ADDRESS)` or `FILE (ADDRESS)`.
pub(crate) fn parse_list(list: &str) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for line in list.lines().map(str::trim) {
        let (name, found) = line.split_once(" => ").unwrap_or((line, line));
        if found == "not found" {
            return Err(format!("its library {name} is not there"));
        }
        // A name without a directory is of something that the kernel provides: vdso(7).
        let file = found.rsplit_once(" (").map_or(found, |(file, _)| file);
        if file.starts_with('/') {
            files.push(PathBuf::from(file));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_glibc_or_musl_is_read() {
        let glibc = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibcom_err.so.2 => /lib/libcom_err.so.2 (0x7f)\n\
                     \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let expected = [
            "/lib/libcom_err.so.2",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(parse_list(glibc).unwrap(), expected.map(PathBuf::from));
        let musl = "\t/lib/ld-musl-x86_64.so.1 (0x7f)\n\tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f)\n";
        assert_eq!(parse_list(musl).unwrap().len(), 2);
        assert!(parse_list("\tliba.so.1 => not found\n").unwrap_err().contains("liba.so.1"));
    }

    #[test]
    fn a_program_of_this_system_is_found_with_its_libraries() {
        let program = find("sh").unwrap();
        assert!(program.path.is_absolute());
        assert!(program.libraries.values().all(|file| file.is_file()), "{program:?}");
        assert!(program.libraries.is_empty() || program.libraries.len() >= 2, "{program:?}");
    }

    #[test]
    fn what_cannot_be_taken_says_why() {
        let missing = find("no-such-program").unwrap_err();
        assert!(missing.to_string().contains("the program no-such-program: it is not in PATH"));
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(place.path().join(name), text).unwrap();
            libraries(&place.path().join(name)).unwrap_err()
        };
        assert!(file("script", "#!/bin/sh\n").contains("it is a script"));
        assert!(
            file("text", "no program at all, but rather long for a text")
                .contains("not an ELF file")
        );
        assert!(file("empty", "").contains("not an ELF file"));
    }
}
