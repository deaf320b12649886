//! What is done to files, directories and their attributes.

use super::{brief, file, list, with, word};
use crate::scenario::operation::{self as op, FileOperation, LockKind};
use crate::scenario::scalar::{Mode, Timestamp};

/// The predicate of such a step.
pub fn predicate(operation: FileOperation<'_>) -> String {
    use FileOperation as O;
    match operation {
        O::Open(s) => open(s),
        O::Read(s) => format!("reads {}", file(s.path.as_ref(), s.fd.as_ref())),
        O::Write(s) => write(s),
        O::Truncate(s) => {
            format!("sets the length of {} to {}", file(s.path.as_ref(), s.fd.as_ref()), s.length)
        }
        O::Close(s) => format!("closes `{}`", s.fd),
        O::Mkdir(s) => format!("makes the directory {}{}", s.path, mode(s.mode)),
        O::Rmdir(s) => format!("removes the directory {}", s.path),
        O::Unlink(s) => format!("removes the name {}", s.path),
        O::Rename(s) => format!("renames {} to {}{}", s.from, s.to, with(" with ", &s.flags)),
        O::Link(s) => format!("gives {} the further name {}", s.from, s.to),
        O::Symlink(s) => format!("makes the symbolic link {} to {}", s.path, s.target),
        O::Readlink(s) => format!("reads the symbolic link {}", s.path),
        O::Mknod(s) => {
            let rdev = s.rdev.map_or_else(String::new, |rdev| format!(" {rdev}"));
            format!("makes the {} node {}{rdev}{}", word(&s.kind), s.path, mode(s.mode))
        }
        O::Chmod(s) => {
            format!("changes the mode of {} to {}", file(s.path.as_ref(), s.fd.as_ref()), s.mode)
        }
        O::Chown(s) => chown(s),
        O::Utimes(s) => utimes(s),
        O::Stat(s) => {
            let what = file(s.path.as_ref(), s.fd.as_ref());
            format!("asks for the attributes of {what}{}", itself(s.follow))
        }
        O::List(s) => format!("lists the directory {}", file(s.path.as_ref(), s.fd.as_ref())),
        O::Getxattr(s) => {
            format!("reads the attribute {} of {}", s.name, file(s.path.as_ref(), s.fd.as_ref()))
        }
        O::Setxattr(s) => setxattr(s),
        O::Removexattr(s) => {
            format!("removes the attribute {} of {}", s.name, file(s.path.as_ref(), s.fd.as_ref()))
        }
        O::Listxattr(s) => {
            format!("lists the attributes of {}", file(s.path.as_ref(), s.fd.as_ref()))
        }
        O::Statfs(s) => format!("asks which file system {} is on", s.path),
        O::Access(s) => {
            let purposes: Vec<_> = s.purposes.iter().map(word).collect();
            format!("asks whether it may {} {}", list(&purposes, "reach"), s.path)
        }
        O::Flock(s) => match s.lock {
            LockKind::Unlock => format!("unlocks `{}`", s.fd),
            kind => format!("takes the {} lock of `{}`", word(&kind), s.fd),
        },
    }
}

fn open(s: &op::Open) -> String {
    let dir = s.dirfd.as_ref().map_or_else(String::new, |fd| format!(" from `{fd}`"));
    let how = with(" with ", &s.flags);
    let kept = s.fd.as_ref().map_or_else(String::new, |fd| format!(" and keeps it as `{fd}`"));
    format!("opens {}{dir}{how}{kept}", s.path)
}

fn write(s: &op::Write) -> String {
    let verb = if s.append { "appends" } else { "writes" };
    let data = brief(&s.data);
    format!("{verb} {data} to {}", file(s.path.as_ref(), s.fd.as_ref()))
}

fn chown(s: &op::Chown) -> String {
    let owner = match (s.uid, s.gid) {
        (Some(uid), Some(gid)) => format!("{uid}:{gid}"),
        (Some(uid), None) => format!("user {uid}"),
        (None, Some(gid)) => format!("group {gid}"),
        (None, None) => "what it is".to_owned(),
    };
    let what = file(s.path.as_ref(), s.fd.as_ref());
    format!("changes the owner of {what} to {owner}{}", itself(s.follow))
}

fn utimes(s: &op::Utimes) -> String {
    let what = file(s.path.as_ref(), s.fd.as_ref());
    let time =
        |name: &str, time: Option<_>| time.map(|time: Timestamp| format!("{name} to {time}"));
    let times = [time("access time", s.atime), time("modification time", s.mtime)];
    let times: Vec<_> = times.into_iter().flatten().collect();
    format!("sets of {what} the {}{}", list(&times, "times"), itself(s.follow))
}

fn setxattr(s: &op::Setxattr) -> String {
    let value = s.value.as_deref().or(s.hex.as_deref()).unwrap_or_default();
    let what = file(s.path.as_ref(), s.fd.as_ref());
    format!("sets the attribute {} of {what} to {}", s.name, brief(value))
}

fn itself(follow: bool) -> &'static str {
    if follow { "" } else { ", the link itself" }
}

fn mode(mode: Option<Mode>) -> String {
    mode.map_or_else(String::new, |mode| format!(" with mode {mode}"))
}
