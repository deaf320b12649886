//! What is done to the mount table.

use super::{file, list, with, word};
use crate::scenario::operation::{self as op, IdMaps, MountOperation};
use crate::scenario::scalar::{IdMap, StepPath};

/// The predicate of such a step.
pub fn predicate(operation: MountOperation<'_>) -> String {
    use MountOperation as O;
    match operation {
        O::Mount(s) => mount(s),
        O::Overlay(s) => overlay(s),
        O::Bind(s) => format!("binds {} to {}", s.from, s.at),
        O::Rbind(s) => format!("binds {} with all mounts below it to {}", s.from, s.at),
        O::Move(s) => format!("moves the mount at {} to {}", s.from, s.at),
        O::Umount(s) => format!("unmounts {}{}", s.at, with(" with ", &s.flags)),
        O::Remount(s) => remount(s),
        O::Propagation(s) => {
            let below = if s.recursive { " and all mounts below it" } else { "" };
            format!("makes the mount at {}{below} {}", s.at, word(&s.kind))
        }
        O::Mounted(s) => format!("asks whether {} is a mount point", s.at),
        O::Losetup(s) => {
            let how = if s.read_only { " to be read only" } else { "" };
            format!("attaches {} to a loop device{how}, at {}", s.file, s.at)
        }
        O::Fuse(s) => fuse(s),
        O::Fsopen(s) => format!("opens a context for a {}, as `{}`", s.kind, s.fd),
        O::Fsconfig(s) => fsconfig(s),
        O::Fsmount(s) => fsmount(s),
        O::OpenTree(s) => open_tree(s),
        O::MoveMount(s) => move_mount(s),
        O::MountSetattr(s) => mount_setattr(s),
    }
}

fn mount(s: &op::Mount) -> String {
    format!("mounts a {} at {}{}{}", s.kind, s.at, with(" with ", &s.flags), options(&s.options))
}

fn overlay(s: &op::Overlay) -> String {
    let lower = list(&paths(&s.lower), "nothing");
    let data = if s.data.is_empty() {
        String::new()
    } else {
        format!(" with the data of {}", list(&paths(&s.data), ""))
    };
    let upper = s.upper.as_ref().map_or_else(String::new, |u| format!(" below {u}"));
    let flags = with(" with ", &s.flags);
    format!("mounts an overlay of {lower}{upper}{data} at {}{flags}{}", s.at, options(&s.options))
}

fn remount(s: &op::Remount) -> String {
    let what = if s.bind { "the mount" } else { "the file system" };
    let flags: Vec<_> = s.flags.iter().map(word).collect();
    format!("changes {what} at {} to {}{}", s.at, list(&flags, "no flags"), options(&s.options))
}

fn fuse(s: &op::Fuse) -> String {
    format!(
        "mounts {} through FUSE at {}{}{}",
        s.from,
        s.at,
        with(" with ", &s.flags),
        options(&s.options)
    )
}

fn fsconfig(s: &op::Fsconfig) -> String {
    match (&s.key, &s.command) {
        (Some(key), _) => {
            let fd = s.value_fd.as_ref().map(|fd| format!("`{fd}`"));
            let value = s.value.clone().or(fd).map_or_else(String::new, |v| format!(" to {v}"));
            format!("sets {key}{value} in the context `{}`", s.fd)
        }
        (None, Some(command)) => {
            format!("tells the context `{}` to {}", s.fd, word(command).replace('_', " "))
        }
        (None, None) => format!("asks the context `{}` for nothing", s.fd),
    }
}

fn fsmount(s: &op::Fsmount) -> String {
    format!(
        "makes a detached mount `{}` of the context `{}`{}",
        s.mount,
        s.fd,
        with(" with ", &s.attributes)
    )
}

fn open_tree(s: &op::OpenTree) -> String {
    let flags: Vec<_> = s.flags.iter().map(word).collect();
    let what = match (flags.iter().any(|f| f == "clone"), flags.iter().any(|f| f == "recursive")) {
        (true, true) => "a detached copy of the mount and all below it at",
        (true, false) => "a detached copy of the mount at",
        _ => "the mount at",
    };
    format!("picks {what} {}, as `{}`", s.path, s.mount)
}

fn move_mount(s: &op::MoveMount) -> String {
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

fn mount_setattr(s: &op::MountSetattr) -> String {
    let mut changes = Vec::new();
    changes.extend(s.set.iter().map(|a| format!("set {}", word(a))));
    changes.extend(s.clear.iter().map(|a| format!("clear {}", word(a))));
    changes.extend(s.propagation.iter().map(|p| format!("become {}", word(p))));
    changes.extend(s.idmap.iter().map(maps));
    let below = if s.recursive { " and all mounts below it" } else { "" };
    let what = file(s.at.as_ref(), s.mount.as_ref());
    format!("lets the mount {what}{below} {}", list(&changes, "change nothing"))
}

fn paths(paths: &[StepPath]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}

fn options(options: &[String]) -> String {
    if options.is_empty() { String::new() } else { format!(" ({})", options.join(",")) }
}

fn maps(maps: &IdMaps) -> String {
    let lines = |map: &IdMap| map.text().trim().replace('\n', ", ");
    format!("map ids by uid {} and gid {}", lines(&maps.uid_map), lines(&maps.gid_map))
}
