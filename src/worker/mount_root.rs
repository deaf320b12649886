//! Whether a place is the root of a mount, where statx(2) does not say: before Linux 5.8.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::files;
use super::observe::read_proc;
use super::perform::{Failure, Named, Performed, failure};
use crate::transcript::{Outcome, text};

/// Asks statx(2), and otherwise the mount table of the process: see proc_pid_mountinfo(5).
pub fn mounted(proc: BorrowedFd<'_>, path: &str) -> Performed {
    let found = files::statx_of(CWD, path, AtFlags::empty()).of("statx")?;
    let mounted = match files::mount_root(&found) {
        Some(mounted) => mounted,
        None => by_table(proc, path).map_err(|why| Failure {
            message: Some(format!("it tells no roots of mounts, and {why}")),
            ..failure("statx", Errno::EOPNOTSUPP)
        })?,
    };
    Ok(Outcome::values([("mounted", mounted.into())]))
}

/// Whether the table has the path as the place of the mount that it leads to. Nothing is known where it does not have
/// that mount, and it is not the one that the root directory lies in: a mount of another namespace, or above the root.
fn by_table(proc: BorrowedFd<'_>, path: &str) -> Result<bool, &'static str> {
    let open = |path| {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        fd.map_err(|_| "the path cannot be opened")
    };
    // What shares memory is dumpable no more when one of it changes ids, and its fdinfo is root's then: proc_pid_fdinfo(5).
    let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
    let place = open(path)?;
    let mount = mount_of(proc, place.as_fd())?;
    let link = rustix::fs::readlinkat(proc, format!("self/fd/{}", place.as_raw_fd()), Vec::new());
    let link = link.map_err(|_| "/proc/self/fd cannot be read")?;
    let at = escaped(&text(link.as_bytes()));
    let table = read_proc(proc, "self/mountinfo").ok_or("/proc/self/mountinfo cannot be read")?;
    match place_in(&table, &mount) {
        Some(of) => Ok(of == at),
        None if mount_of(proc, open("/")?.as_fd())? == mount => Ok(false),
        None => Err("/proc/self/mountinfo does not have this one"),
    }
}

/// The number of the mount that an open file lies in.
fn mount_of(proc: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<String, &'static str> {
    let about = read_proc(proc, &format!("self/fdinfo/{}", file.as_raw_fd()));
    let about = about.ok_or("/proc/self/fdinfo cannot be read")?;
    let number = about.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let number = number.ok_or("/proc/self/fdinfo has no mnt_id")?;
    Ok(number.trim().to_owned())
}

/// Where a mount is, as the table writes it.
fn place_in<'t>(table: &'t str, mount: &str) -> Option<&'t str> {
    table.lines().find_map(|line| {
        let mut fields = line.split(' ');
        (fields.next() == Some(mount)).then(|| fields.nth(3)).flatten()
    })
}

/// A path as mount tables have it: seq_path() in fs/seq_file.c.
fn escaped(path: &str) -> String {
    path.replace('\\', r"\134").replace(' ', r"\040").replace('\t', r"\011").replace('\n', r"\012")
}

#[cfg(test)]
mod tests {
    use rustix::fs::FileType;

    use super::*;

    /// Both ways give the same of every mount of this machine, and of what is beside them.
    #[test]
    fn the_table_tells_what_statx_tells() {
        let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let proc = proc.expect("/proc");
        let table = read_proc(proc.as_fd(), "self/mountinfo").expect("a mount table");
        let mounts = table.lines().filter_map(|line| line.split(' ').nth(4));
        let others = ["/", "/proc/self", "/proc/self/fd", "/usr/bin", "/proc/..", "/etc/passwd"];
        let mut told = 0;
        for path in mounts.filter(|path| !path.contains('\\')).chain(others) {
            let Ok(found) = files::statx_of(CWD, path, AtFlags::empty()) else {
                continue;
            };
            assert_ne!(FileType::from_raw_mode(found.stx_mode.into()), FileType::Symlink);
            if let Some(is_root) = files::mount_root(&found) {
                assert_eq!(by_table(proc.as_fd(), path), Ok(is_root), "{path}");
                told += 1;
            }
        }
        assert!(told > 5, "{told} were told");
    }

    #[test]
    fn a_path_is_written_as_in_the_table() {
        assert_eq!(escaped("/a b\\c\td\n"), r"/a\040b\134c\011d\012");
        let table = "21 1 0:5 / /a\\040b rw - tmpfs x rw\n2 1 0:5 / /c rw - tmpfs x rw\n";
        assert_eq!(place_in(table, "2"), Some("/c"));
        assert_eq!(place_in(table, "21"), Some(r"/a\040b"));
        assert_eq!(place_in(table, "1"), None);
    }
}
