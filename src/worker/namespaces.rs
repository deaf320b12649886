//! Namespaces and id maps. `fork` and `exit` are the actor's own: see `actor`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};

use super::perform::{Failure, Named, Performed, State, Step};
use crate::sandbox::namespace_flag;
use crate::scenario::operation::NamespaceOperation;
use crate::transcript::{Outcome, Value, text};

/// Longest map file that is read: 340 lines of at most 34 bytes.
const MAP_BYTES: usize = 16 << 10;
/// What is read at once; the kernel gives a page at most.
const PIECE: usize = 4096;

pub fn perform(state: &mut State, step: Step<'_>, operation: NamespaceOperation<'_>) -> Performed {
    let process = step.process();
    match operation {
        NamespaceOperation::Unshare(unshare) => {
            let flags = unshare
                .namespaces
                .iter()
                .fold(CloneFlags::empty(), |all, kind| all | namespace_flag(*kind));
            nix::sched::unshare(flags).of("unshare")?;
        }
        NamespaceOperation::Setns(setns) => {
            let opened: OwnedFd;
            let fd = match (&setns.fd, setns.namespace) {
                (Some(name), _) => state.fd(name, "setns")?,
                (None, Some(kind)) => {
                    opened =
                        open(step.proc, &format!("{process}/ns/{}", kind.file()), OFlags::RDONLY)?;
                    opened.as_fd()
                }
                (None, None) => unreachable!("the language asks for one of the two"),
            };
            let kind = setns.namespace.map_or(CloneFlags::empty(), namespace_flag);
            nix::sched::setns(fd, kind).of("setns")?;
        }
        NamespaceOperation::OpenNamespace(namespace) => {
            let path = format!("{process}/ns/{}", namespace.namespace.file());
            let fd = open(step.proc, &path, OFlags::RDONLY)?;
            state.keep(&namespace.fd, fd);
        }
        NamespaceOperation::WriteUidMap(map) => {
            write(step.proc, &format!("{process}/uid_map"), &map.text, map.then.as_deref())?
        }
        NamespaceOperation::WriteGidMap(map) => {
            write(step.proc, &format!("{process}/gid_map"), &map.text, map.then.as_deref())?
        }
        NamespaceOperation::WriteSetgroups(map) => {
            write(step.proc, &format!("{process}/setgroups"), &map.text, None)?
        }
        NamespaceOperation::ReadMaps(_) => {
            let (uid_map, gid_map, setgroups) = read_maps(step.proc, &process)?;
            return Ok(Outcome::values([
                ("uid_map", uid_map),
                ("gid_map", gid_map),
                ("setgroups", setgroups),
            ]));
        }
        NamespaceOperation::Sethostname(host) => {
            nix::unistd::sethostname(&host.name).of("sethostname")?
        }
        NamespaceOperation::Gethostname(_) => {
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            return Ok(Outcome::values([("name", name.into())]));
        }
        NamespaceOperation::Fork(_) | NamespaceOperation::Exit(_) => {
            unreachable!("an actor forks and ends by itself")
        }
    }
    Ok(Outcome::done())
}

fn open(proc: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Failure> {
    rustix::fs::openat(proc, path, flags | OFlags::CLOEXEC, Mode::empty()).of("open")
}

/// Writes a map file with one write(2), and with a second one to the same open file if asked.
fn write(proc: BorrowedFd<'_>, path: &str, first: &str, then: Option<&str>) -> Result<(), Failure> {
    let fd = open(proc, path, OFlags::WRONLY)?;
    rustix::io::write(&fd, first.as_bytes()).of("write")?;
    if let Some(second) = then {
        rustix::io::write(&fd, second.as_bytes()).of("write")?;
    }
    Ok(())
}

fn read(proc: BorrowedFd<'_>, path: &str) -> Result<String, Failure> {
    let fd = open(proc, path, OFlags::RDONLY)?;
    let mut content = Vec::new();
    let mut piece = [0; PIECE];
    while content.len() < MAP_BYTES {
        let length = rustix::io::read(&fd, &mut piece[..]).of("read")?;
        if length == 0 {
            break;
        }
        content.extend_from_slice(&piece[..length]);
    }
    Ok(text(&content))
}

/// uid_map, gid_map and setgroups of a process, as this process sees them.
pub fn read_maps(proc: BorrowedFd<'_>, process: &str) -> Result<(Value, Value, Value), Failure> {
    let lines = |text: String| {
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        Value::List(lines.map(Value::from).collect())
    };
    let uid_map = read(proc, &format!("{process}/uid_map")).map(lines)?;
    let gid_map = read(proc, &format!("{process}/gid_map")).map(lines)?;
    let setgroups = read(proc, &format!("{process}/setgroups"))?;
    Ok((uid_map, gid_map, setgroups.trim().into()))
}
