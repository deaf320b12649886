//! A step in a sentence, for those who do not know its syscall.

use std::fmt::Display;

use serde::Serialize;

use crate::scenario::operation::{IdMaps, LockKind, Operation};
use crate::scenario::plan::PlanStep;
use crate::scenario::scalar::{Capability, IdMap, Name, StepPath};

/// Who does what.
pub fn sentence(step: &PlanStep) -> String {
    let said = format!("{} {}", step.actor, predicate(&step.operation));
    // Paths and data may hold anything, and must not write to a terminal.
    said.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn predicate(operation: &Operation) -> String {
    use Operation as O;
    match operation {
        O::Open(s) => {
            let dir = s.dirfd.as_ref().map_or_else(String::new, |fd| format!(" from `{fd}`"));
            let how = with(" with ", &s.flags);
            let kept =
                s.fd.as_ref().map_or_else(String::new, |fd| format!(" and keeps it as `{fd}`"));
            format!("opens {}{dir}{how}{kept}", s.path)
        }
        O::Read(s) => format!("reads {}", file(s.path.as_ref(), s.fd.as_ref())),
        O::Write(s) => {
            let verb = if s.append { "appends" } else { "writes" };
            let data = brief(&s.data);
            format!("{verb} {data} to {}", file(s.path.as_ref(), s.fd.as_ref()))
        }
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
        O::Chown(s) => {
            let owner = match (s.uid, s.gid) {
                (Some(uid), Some(gid)) => format!("{uid}:{gid}"),
                (Some(uid), None) => format!("user {uid}"),
                (None, Some(gid)) => format!("group {gid}"),
                (None, None) => "what it is".to_owned(),
            };
            let what = file(s.path.as_ref(), s.fd.as_ref());
            format!("changes the owner of {what} to {owner}{}", itself(s.follow))
        }
        O::Utimes(s) => {
            let what = file(s.path.as_ref(), s.fd.as_ref());
            let time = |name: &str, time: Option<_>| {
                time.map(|time: crate::scenario::scalar::Timestamp| format!("{name} to {time}"))
            };
            let times = [time("access time", s.atime), time("modification time", s.mtime)];
            let times: Vec<_> = times.into_iter().flatten().collect();
            format!("sets of {what} the {}{}", list(&times, "times"), itself(s.follow))
        }
        O::Stat(s) => {
            let what = file(s.path.as_ref(), s.fd.as_ref());
            format!("asks for the attributes of {what}{}", itself(s.follow))
        }
        O::List(s) => format!("lists the directory {}", file(s.path.as_ref(), s.fd.as_ref())),
        O::Getxattr(s) => {
            format!("reads the attribute {} of {}", s.name, file(s.path.as_ref(), s.fd.as_ref()))
        }
        O::Setxattr(s) => {
            let value = s.value.as_deref().or(s.hex.as_deref()).unwrap_or_default();
            let what = file(s.path.as_ref(), s.fd.as_ref());
            format!("sets the attribute {} of {what} to {}", s.name, brief(value))
        }
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
        O::Mount(s) => format!(
            "mounts a {} at {}{}{}",
            s.kind,
            s.at,
            with(" with ", &s.flags),
            options(&s.options)
        ),
        O::Overlay(s) => {
            let lower = list(&paths(&s.lower), "nothing");
            let data = if s.data.is_empty() {
                String::new()
            } else {
                format!(" with the data of {}", list(&paths(&s.data), ""))
            };
            let upper = s.upper.as_ref().map_or_else(String::new, |u| format!(" below {u}"));
            let flags = with(" with ", &s.flags);
            format!(
                "mounts an overlay of {lower}{upper}{data} at {}{flags}{}",
                s.at,
                options(&s.options)
            )
        }
        O::Bind(s) => format!("binds {} to {}", s.from, s.at),
        O::Rbind(s) => format!("binds {} with all mounts below it to {}", s.from, s.at),
        O::Move(s) => format!("moves the mount at {} to {}", s.from, s.at),
        O::Umount(s) => format!("unmounts {}{}", s.at, with(" with ", &s.flags)),
        O::Remount(s) => {
            let what = if s.bind { "the mount" } else { "the file system" };
            let flags: Vec<_> = s.flags.iter().map(word).collect();
            format!(
                "changes {what} at {} to {}{}",
                s.at,
                list(&flags, "no flags"),
                options(&s.options)
            )
        }
        O::Propagation(s) => {
            let below = if s.recursive { " and all mounts below it" } else { "" };
            format!("makes the mount at {}{below} {}", s.at, word(&s.kind))
        }
        O::Mounted(s) => format!("asks whether {} is a mount point", s.at),
        O::Losetup(s) => {
            let how = if s.read_only { " to be read only" } else { "" };
            format!("attaches {} to a loop device{how}, at {}", s.file, s.at)
        }
        O::Fuse(s) => format!(
            "mounts {} through FUSE at {}{}{}",
            s.from,
            s.at,
            with(" with ", &s.flags),
            options(&s.options)
        ),
        O::Fsopen(s) => format!("opens a context for a {}, as `{}`", s.kind, s.fd),
        O::Fsconfig(s) => match (&s.key, &s.command) {
            (Some(key), _) => {
                let fd = s.value_fd.as_ref().map(|fd| format!("`{fd}`"));
                let value = s.value.clone().or(fd).map_or_else(String::new, |v| format!(" to {v}"));
                format!("sets {key}{value} in the context `{}`", s.fd)
            }
            (None, Some(command)) => {
                format!("tells the context `{}` to {}", s.fd, word(command).replace('_', " "))
            }
            (None, None) => format!("asks the context `{}` for nothing", s.fd),
        },
        O::Fsmount(s) => format!(
            "makes a detached mount `{}` of the context `{}`{}",
            s.mount,
            s.fd,
            with(" with ", &s.attributes)
        ),
        O::OpenTree(s) => {
            let flags: Vec<_> = s.flags.iter().map(word).collect();
            let what = match (
                flags.iter().any(|f| f == "clone"),
                flags.iter().any(|f| f == "recursive"),
            ) {
                (true, true) => "a detached copy of the mount and all below it at",
                (true, false) => "a detached copy of the mount at",
                _ => "the mount at",
            };
            format!("picks {what} {}, as `{}`", s.path, s.mount)
        }
        O::MoveMount(s) => {
            let what = match (&s.mount, &s.from) {
                (Some(mount), _) => format!("the mount `{mount}`"),
                (None, Some(from)) => format!("the mount at {from}"),
                (None, None) => "no mount".to_owned(),
            };
            match (s.set_group, s.beneath) {
                (true, _) => format!("lets the mount at {} join the peer group of {what}", s.at),
                (_, true) => format!("puts {what} beneath the mount at {}", s.at),
                _ => format!("attaches {what} at {}", s.at),
            }
        }
        O::MountSetattr(s) => {
            let mut changes = Vec::new();
            changes.extend(s.set.iter().map(|a| format!("set {}", word(a))));
            changes.extend(s.clear.iter().map(|a| format!("clear {}", word(a))));
            changes.extend(s.propagation.iter().map(|p| format!("become {}", word(p))));
            changes.extend(s.idmap.iter().map(maps));
            let below = if s.recursive { " and all mounts below it" } else { "" };
            let what = file(s.at.as_ref(), s.mount.as_ref());
            format!("lets the mount {what}{below} {}", list(&changes, "change nothing"))
        }
        O::Chroot(s) => format!("makes {} its root directory", s.path),
        O::Chdir(s) => format!("makes {} its working directory", s.path),
        O::Fchdir(s) => format!("makes `{}` its working directory", s.fd),
        O::Getcwd(_) => "asks for the path of its working directory".to_owned(),
        O::PivotRoot(s) => {
            format!(
                "makes the mount {} the root and puts the old root at {}",
                s.new_root, s.put_old
            )
        }
        O::Unshare(s) => {
            let kinds: Vec<_> = s.namespaces.iter().map(word).collect();
            format!("leaves for a new {} namespace", list(&kinds, ""))
        }
        O::Setns(s) => {
            let kind = s.namespace.as_ref().map_or_else(String::new, |n| format!(" {}", word(n)));
            match (&s.of, &s.fd) {
                (Some(of), _) => format!("enters the{kind} namespace of {of}"),
                (None, Some(fd)) => format!("enters the{kind} namespace `{fd}`"),
                (None, None) => format!("enters its own{kind} namespace"),
            }
        }
        O::OpenNamespace(s) => {
            format!("opens {} {} namespace as `{}`", whose(&s.of), word(&s.namespace), s.fd)
        }
        O::WriteUidMap(s) => format!("writes {} to {} uid_map", brief(&s.text), whose(&s.of)),
        O::WriteGidMap(s) => format!("writes {} to {} gid_map", brief(&s.text), whose(&s.of)),
        O::WriteSetgroups(s) => {
            format!("writes {} to {} setgroups file", brief(&s.text), whose(&s.of))
        }
        O::ReadMaps(s) => format!("reads {} id maps", whose(&s.of)),
        O::Fork(s) => format!("starts the process {}", s.child),
        O::Exit(_) => "ends".to_owned(),
        O::Sethostname(s) => format!("sets the host name to {}", s.name),
        O::Gethostname(_) => "asks for the host name".to_owned(),
        O::Setuid(s) => format!("becomes user {}", s.uid),
        O::Setgid(s) => format!("becomes group {}", s.gid),
        O::Setresuid(s) => format!("sets its user ids to {}", ids([s.ruid, s.euid, s.suid])),
        O::Setresgid(s) => format!("sets its group ids to {}", ids([s.rgid, s.egid, s.sgid])),
        O::Setgroups(s) => format!("sets its supplementary groups to {}", list(&s.groups, "none")),
        O::Getcred(_) => "asks for its ids and capabilities".to_owned(),
        O::Capset(s) => {
            let set = |name: &str, set: &Option<Vec<Capability>>| {
                set.as_ref().map(|set| format!("{name} capabilities to {}", list(set, "none")))
            };
            let sets = [
                set("effective", &s.effective),
                set("permitted", &s.permitted),
                set("inheritable", &s.inheritable),
            ];
            let sets: Vec<_> = sets.into_iter().flatten().collect();
            format!("sets its {}", list(&sets, "capabilities to what they are"))
        }
        O::CapAmbient(s) => format!("raises {} in its ambient set", list(&s.raise, "nothing")),
        O::CapBset(s) => format!("drops {} from its bounding set", list(&s.drop, "nothing")),
        O::Keepcaps(s) if s.keep => "keeps its capabilities over a change of user".to_owned(),
        O::Keepcaps(_) => "no longer keeps its capabilities over a change of user".to_owned(),
        O::NoNewPrivs(_) => "gives up to gain privileges by execve(2)".to_owned(),
        O::Umask(s) => format!("sets its umask to {}", s.mode),
        O::Exec(s) => format!("runs {}{}", s.path, with(" ", &s.args)),
        O::Create(s) => {
            let how = if s.no_pivot { " without pivot_root" } else { "" };
            format!("has the runtime make the container{how}")
        }
        O::Start(_) => "has the runtime start the container".to_owned(),
        O::State(_) => "asks the runtime for the state of the container".to_owned(),
        O::Kill(s) => {
            let signal = s.signal.as_deref().unwrap_or("TERM");
            format!("has the runtime send {} to the container", brief(signal))
        }
        O::Delete(s) => {
            let how = if s.force { ", whatever its state" } else { "" };
            format!("has the runtime delete the container{how}")
        }
    }
}

fn file(path: Option<&StepPath>, fd: Option<&Name>) -> String {
    match (path, fd) {
        (Some(path), _) => path.to_string(),
        (None, Some(fd)) => format!("`{fd}`"),
        (None, None) => "nothing".to_owned(),
    }
}

fn whose(of: &Option<Name>) -> String {
    of.as_ref().map_or_else(|| "its own".to_owned(), |name| format!("{name}'s"))
}

fn itself(follow: bool) -> &'static str {
    if follow { "" } else { ", the link itself" }
}

fn mode(mode: Option<crate::scenario::scalar::Mode>) -> String {
    mode.map_or_else(String::new, |mode| format!(" with mode {mode}"))
}

fn paths(paths: &[StepPath]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}

fn options(options: &[String]) -> String {
    if options.is_empty() { String::new() } else { format!(" ({})", options.join(",")) }
}

fn ids(ids: [Option<u32>; 3]) -> String {
    let shown = ids.map(|id| id.map_or_else(|| "-".to_owned(), |id| id.to_string()));
    format!("{} (real, effective, saved)", shown.join(", "))
}

fn maps(maps: &IdMaps) -> String {
    let lines = |map: &IdMap| map.text().trim().replace('\n', ", ");
    format!("map ids by uid {} and gid {}", lines(&maps.uid_map), lines(&maps.gid_map))
}

/// A text as it would be typed, cut where it is long.
fn brief(text: &str) -> String {
    const SHOWN: usize = 40;
    let cut: String = text.chars().take(SHOWN).collect();
    let dots = if cut.len() < text.len() { "..." } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

/// The word that the language has for something.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn with(before: &str, words: &[impl Serialize]) -> String {
    if words.is_empty() {
        return String::new();
    }
    format!("{before}{}", words.iter().map(word).collect::<Vec<_>>().join(","))
}

/// `a`, `a and b`, `a, b and c`; another word where there is nothing.
fn list(items: &[impl Display], nothing: &str) -> String {
    match items {
        [] => nothing.to_owned(),
        [one] => one.to_string(),
        [before @ .., last] => {
            let before: Vec<_> = before.iter().map(ToString::to_string).collect();
            format!("{} and {last}", before.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(operation: &str) -> String {
        let operation = serde_json::from_str(operation).unwrap();
        let actor = "main".parse().unwrap();
        sentence(&PlanStep { actor, operation, line: 1 })
    }

    #[test]
    fn a_step_is_a_sentence() {
        assert_eq!(of(r#"{"unlink": {"path": "a/b"}}"#), "main removes the name a/b");
        assert_eq!(
            of(
                r#"{"overlay": {"at": "m", "lower": ["a", "b"], "upper": "u", "options": ["userxattr"]}}"#
            ),
            "main mounts an overlay of a and b below u at m (userxattr)"
        );
        assert_eq!(
            of(r#"{"chown": {"path": "f", "uid": 7, "follow": false}}"#),
            "main changes the owner of f to user 7, the link itself"
        );
        assert_eq!(
            of(r#"{"fsconfig": {"fd": "c", "command": "create"}}"#),
            "main tells the context `c` to create"
        );
    }

    #[test]
    fn a_sentence_cannot_write_to_a_terminal() {
        let said = of("{\"symlink\": {\"path\": \"\\u001b[2J\", \"target\": \"\\u0007\"}}");
        assert!(!said.contains(char::is_control), "{said:?}");
    }
}
