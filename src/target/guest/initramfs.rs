//! The first file system of a guest: a cpio archive in the `newc` format, written entry by entry.
//!
//! Source of the format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.

use std::collections::BTreeSet;
use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that is being written. Everything in it belongs to root.
///
/// The directories above an entry are added where they are missing: the kernel makes none by itself.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    inodes: u32,
    directories: BTreeSet<String>,
}

/// What differs between the entries.
#[derive(Default)]
struct Header {
    mode: u32,
    device: (u32, u32),
}

impl<W: Write> Archive<W> {
    /// An empty archive that is written to `out`.
    pub fn new(out: W) -> Self {
        Self { out, inodes: 0, directories: BTreeSet::new() }
    }

    /// Adds a directory; one that is there already keeps its mode.
    ///
    /// # Errors
    /// Those of writing.
    pub fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let path = relative(path);
        self.parents(path)?;
        if path.is_empty() || !self.directories.insert(path.to_owned()) {
            return Ok(());
        }
        self.entry(path, &Header { mode: DIRECTORY | mode, ..Header::default() }, &[])
    }

    /// Adds a file.
    ///
    /// # Errors
    /// Those of writing, and a file of 4 GiB or more.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.parents(relative(path))?;
        self.entry(path, &Header { mode: FILE | mode, ..Header::default() }, content)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// Those of writing.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.parents(relative(path))?;
        let header = Header { mode: SYMLINK | 0o777, ..Header::default() };
        self.entry(path, &header, target.as_bytes())
    }

    /// Adds a character device of this major and minor number.
    ///
    /// # Errors
    /// Those of writing.
    pub fn device(&mut self, path: &str, mode: u32, device: (u32, u32)) -> io::Result<()> {
        self.parents(relative(path))?;
        self.entry(path, &Header { mode: CHARACTER_DEVICE | mode, device }, &[])
    }

    /// Ends the archive and gives back what it was written to.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> io::Result<W> {
        self.inodes = 0;
        self.entry("TRAILER!!!", &Header::default(), &[])?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        for (end, _) in path.match_indices('/') {
            if !self.directories.contains(&path[..end]) {
                self.directory(&path[..end], 0o755)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, header: &Header, content: &[u8]) -> io::Result<()> {
        let path = relative(path);
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "longer than cpio allows");
        let size = u32::try_from(content.len()).map_err(too_long)?;
        let name_size = u32::try_from(path.len() + 1).map_err(too_long)?;
        self.inodes += 1;
        let (major, minor) = header.device;
        let fields = [self.inodes, header.mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08X}")?;
        }
        self.out.write_all(path.as_bytes())?;
        self.out.write_all(&[0])?;
        // 110 bytes of header; name and content each end at a multiple of four.
        self.pad(110 + path.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

/// A path as the archive names it.
fn relative(path: &str) -> &str {
    path.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;

    fn example() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.directory("proc", 0o555).unwrap();
        archive.file("/init", 0o755, b"#!/bin/sh\n").unwrap();
        archive.file("/usr/lib/a/empty", 0o600, b"").unwrap();
        archive.file("/usr/lib/odd", 0o640, b"12345").unwrap();
        archive.symlink("lib", "usr/lib").unwrap();
        archive.device("dev/console", 0o600, (5, 1)).unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn entries_begin_at_multiples_of_four() {
        let bytes = example();
        assert_eq!(bytes.len() % 4, 0);
        let begins: Vec<_> =
            (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"070701")).collect();
        assert!(begins.iter().all(|at| at % 4 == 0), "{begins:?}");
        // proc, init, usr, usr/lib, usr/lib/a, empty, odd, lib, dev, dev/console and the end.
        assert_eq!(begins.len(), 11);
    }

    #[test]
    fn the_real_cpio_unpacks_it() {
        let place = tempfile::tempdir().unwrap();
        let child = Command::new("cpio")
            .args(["--extract", "--make-directories", "--quiet", "--no-absolute-filenames"])
            .arg("--nonmatching")
            .arg("dev/console")
            .current_dir(place.path())
            .stdin(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: there is no cpio here");
            return;
        };
        io::Write::write_all(&mut child.stdin.take().unwrap(), &example()).unwrap();
        assert!(child.wait().unwrap().success());
        let at = |path: &str| place.path().join(path);
        let mode = |path: &str| fs::metadata(at(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(fs::read(at("init")).unwrap(), b"#!/bin/sh\n");
        assert_eq!(fs::read(at("usr/lib/odd")).unwrap(), b"12345");
        assert_eq!(fs::read(at("usr/lib/a/empty")).unwrap(), b"");
        assert_eq!(fs::read_link(at("lib")).unwrap().to_str(), Some("usr/lib"));
        assert_eq!((mode("init"), mode("usr/lib/odd"), mode("proc")), (0o755, 0o640, 0o555));
    }
}
