//! System calls of traced processes, as data and as text.

mod table;
mod tracer;

use std::fmt;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub use table::{Kind, Signature, signature};
pub use tracer::{End, Tracer, Watcher, trace};

/// A system call that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its name, as in `openat`.
    pub name: String,
    /// Its arguments as they are in registers.
    pub raw: [u64; 6],
    /// Texts and data that arguments point to, by their place.
    pub bytes: [Option<Vec<u8>>; 6],
    /// What it returned, below 0 an error; `None` where it never did.
    pub returned: Option<i64>,
}

/// What a traced process has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// It has asked something.
    Called {
        /// Which process, by a number.
        process: i32,
        /// What it asked.
        call: Box<Call>,
        /// Where its descriptors among the arguments led, as /proc/PID/fd has it.
        places: Box<[Option<String>; 6]>,
        /// Its root, as /proc/PID/root has it.
        root: Option<String>,
    },
    /// It has made another one.
    Forked {
        /// The process.
        parent: i32,
        /// The new one.
        child: i32,
    },
    /// It has ended.
    Ended {
        /// The process.
        process: i32,
    },
}

/// Most bytes of data that are shown.
const SHOWN: usize = 48;

impl Call {
    /// The error, where there was one.
    pub fn errno(&self) -> Option<Errno> {
        let value = self.returned?;
        // The range of errors: include/linux/err.h, MAX_ERRNO.
        (-4095..0).contains(&value).then(|| Errno::from_raw(-value as i32))
    }

    /// What it returned, where it was no error.
    pub fn value(&self) -> Option<u64> {
        u64::try_from(self.returned?).ok()
    }

    /// An argument as a path or another text.
    pub fn text(&self, place: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(place)?.as_deref()?).ok()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        let kinds = signature(&self.name).map_or(&[][..], |signature| signature.shown(&self.raw));
        for (place, kind) in kinds.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            let raw = self.raw[place];
            match (&self.bytes[place], kind) {
                (Some(_), Kind::Struct(_)) => f.write_str("…")?,
                (Some(bytes), _) => write_bytes(f, bytes)?,
                (None, kind) => kind.write(f, raw)?,
            }
        }
        if signature(&self.name).is_none() {
            f.write_str("…")?;
        }
        f.write_str(") = ")?;
        match (self.errno(), self.returned) {
            (_, None) => f.write_str("?"),
            (Some(errno), _) => write!(f, "-1 {errno:?} ({})", errno.desc()),
            (None, Some(value)) if value < 0 => write!(f, "{value:#x}"),
            (None, Some(value)) => write!(f, "{value}"),
        }
    }
}

fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let (shown, more) = (&bytes[..bytes.len().min(SHOWN)], bytes.len() > SHOWN);
    // A path is shown whole, where it is of a length that one reads.
    let shown = if more && bytes.len() <= 256 && !bytes.contains(&b'\n') { bytes } else { shown };
    write!(f, "\"{}\"", shown.escape_ascii())?;
    if shown.len() < bytes.len() { f.write_str("…") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, raw: [u64; 6], bytes: &[(usize, &str)], returned: i64) -> String {
        let mut all: [Option<Vec<u8>>; 6] = Default::default();
        for (place, text) in bytes {
            all[*place] = Some(text.as_bytes().to_vec());
        }
        Call { name: name.to_owned(), raw, bytes: all, returned: Some(returned) }.to_string()
    }

    #[test]
    fn a_call_is_told_as_its_man_page_has_it() {
        let here = libc::AT_FDCWD as u32 as u64;
        assert_eq!(
            call("unlinkat", [here, 1, 0, 0, 0, 0], &[(1, "a/b")], -2),
            "unlinkat(AT_FDCWD, \"a/b\", 0) = -1 ENOENT (No such file or directory)"
        );
        let flags = (libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC) as u64;
        assert_eq!(
            call("openat", [here, 1, flags, 0o644, 0, 0], &[(1, "f")], 3),
            "openat(AT_FDCWD, \"f\", O_WRONLY|O_CREAT|O_CLOEXEC, 0644) = 3"
        );
        assert_eq!(
            call("fchownat", [3, 1, u64::MAX, 7, 0x100, 0], &[(1, "f")], 0),
            "fchownat(3, \"f\", -1, 7, AT_SYMLINK_NOFOLLOW) = 0"
        );
        assert_eq!(
            call("write", [1, 9, 3, 0, 0, 0], &[(1, "a\n\u{1b}")], 3),
            "write(1, \"a\\n\\x1b\", 3) = 3"
        );
        assert_eq!(
            call("no_such_call", [0; 6], &[], -38),
            "no_such_call(…) = -1 ENOSYS (Function not implemented)"
        );
    }
}
