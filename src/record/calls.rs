//! Calls that are about paths, or about the process that asks.

use serde_json::{Map, Value, json};

use super::Wanted;
use super::step::{Asked, Not, Step, fields, mode, no_step, words};
use crate::trace::Call;

/// What a call is as a step that is no matter of a descriptor.
///
/// # Errors
/// Why it is none.
pub fn step(asked: &Asked<'_>, wanted: Wanted) -> Step {
    let families = [names, attributes, places, mounts, process];
    if let Some(step) = families.into_iter().find_map(|family| family(asked).transpose()) {
        return step;
    }
    let Asked { call, .. } = asked;
    match call.name.as_str() {
        name if LOOKUPS.contains(&name) && wanted.lookups => lookup(asked),
        name if HAS_NO_STEP.contains(&name) && call.errno().is_none() => {
            Err(no_step("nothing in the language is this call with these arguments"))
        }
        _ => Err(Not::Ours),
    }
}

/// A step, where the call is of the family.
type OfFamily = Result<Option<(&'static str, Map<String, Value>)>, Not>;

/// Names come, change and go.
fn names(asked: &Asked<'_>) -> OfFamily {
    let Asked { call, .. } = asked;
    let raw = call.raw;
    let with = |word: &'static str, said| Ok((word, said));
    let step: Step = match call.name.as_str() {
        "mkdir" => with("mkdir", fields([("path", asked.path(0)?), ("mode", mode(raw[1]))])),
        "mkdirat" => with("mkdir", fields([("path", asked.path_at(0)?), ("mode", mode(raw[2]))])),
        "rmdir" => with("rmdir", fields([("path", asked.path(0)?)])),
        "unlink" => with("unlink", fields([("path", asked.path(0)?)])),
        "unlinkat" => {
            let word = if raw[2] == libc::AT_REMOVEDIR as u64 { "rmdir" } else { "unlink" };
            with(word, fields([("path", asked.path_at(0)?)]))
        }
        "rename" => with("rename", fields([("from", asked.path(0)?), ("to", asked.path(1)?)])),
        "renameat" | "renameat2" => {
            let flags = if call.name == "renameat2" { raw[4] } else { 0 };
            let mut said = fields([("from", asked.path_at(0)?), ("to", asked.path_at(2)?)]);
            let known = [(1, "noreplace"), (2, "exchange"), (4, "whiteout")];
            let flags = words(flags, &known).ok_or_else(|| no_step("its flags have no words"))?;
            if !flags.is_empty() {
                said.insert("flags".to_owned(), json!(flags));
            }
            with("rename", said)
        }
        "link" => with("link", fields([("from", asked.path(0)?), ("to", asked.path(1)?)])),
        "linkat" => {
            let mut said = fields([("from", asked.path_at(0)?), ("to", asked.path_at(2)?)]);
            if raw[4] & libc::AT_SYMLINK_FOLLOW as u64 != 0 {
                said.insert("follow".to_owned(), json!(true));
            }
            with("link", said)
        }
        "symlink" => {
            with("symlink", fields([("target", asked.text(0)?), ("path", asked.path(1)?)]))
        }
        "symlinkat" => {
            with("symlink", fields([("target", asked.text(0)?), ("path", asked.path_at(1)?)]))
        }
        "mknod" => node(asked.path(0)?, raw[1], raw[2]),
        "mknodat" => node(asked.path_at(0)?, raw[2], raw[3]),
        _ => return Ok(None),
    };
    step.map(Some)
}

/// What is known of a file changes.
fn attributes(asked: &Asked<'_>) -> OfFamily {
    let Asked { call, .. } = asked;
    let raw = call.raw;
    let with = |word: &'static str, said| Ok((word, said));
    let step: Step = match call.name.as_str() {
        "chmod" => with("chmod", fields([("path", asked.path(0)?), ("mode", mode(raw[1]))])),
        "fchmodat" => with("chmod", fields([("path", asked.path_at(0)?), ("mode", mode(raw[2]))])),
        "fchmodat2" if raw[3] == 0 => {
            with("chmod", fields([("path", asked.path_at(0)?), ("mode", mode(raw[2]))]))
        }
        "chown" => with("chown", owners(("path", asked.path(0)?), raw[1], raw[2], true)),
        "lchown" => with("chown", owners(("path", asked.path(0)?), raw[1], raw[2], false)),
        "fchownat" => {
            let follow = raw[4] & libc::AT_SYMLINK_NOFOLLOW as u64 == 0;
            with("chown", owners(("path", asked.path_at(0)?), raw[2], raw[3], follow))
        }
        "truncate" => {
            with("truncate", fields([("path", asked.path(0)?), ("length", json!(raw[1]))]))
        }
        "utimensat" => {
            let follow = raw[3] & libc::AT_SYMLINK_NOFOLLOW as u64 == 0;
            times(call, ("path", asked.path_at(0)?), follow)
        }
        "setxattr" | "lsetxattr" | "removexattr" | "lremovexattr" => {
            xattr(asked, ("path", asked.path(0)?))
        }
        _ => return Ok(None),
    };
    step.map(Some)
}

/// Roots and working directories.
fn places(asked: &Asked<'_>) -> OfFamily {
    let Asked { call, .. } = asked;
    let with = |word: &'static str, said| Ok((word, said));
    let step: Step = match call.name.as_str() {
        "chdir" => with("chdir", fields([("path", asked.path(0)?)])),
        "chroot" => with("chroot", fields([("path", asked.path(0)?)])),
        "pivot_root" => {
            let said = fields([("new_root", asked.path(0)?), ("put_old", asked.path(1)?)]);
            with("pivot_root", said)
        }
        _ => return Ok(None),
    };
    step.map(Some)
}

/// Mounts.
fn mounts(asked: &Asked<'_>) -> OfFamily {
    let Asked { call, .. } = asked;
    let raw = call.raw;
    let with = |word: &'static str, said| Ok((word, said));
    let step: Step = match call.name.as_str() {
        "mount" => mount(asked),
        "umount2" => {
            let known = [(1, "force"), (2, "detach"), (4, "expire"), (8, "nofollow")];
            let flags = words(raw[1], &known).ok_or_else(|| no_step("its flags have no words"))?;
            let mut said = fields([("at", asked.path(0)?)]);
            if !flags.is_empty() {
                said.insert("flags".to_owned(), json!(flags));
            }
            with("umount", said)
        }
        _ => return Ok(None),
    };
    step.map(Some)
}

/// Namespaces and ids.
fn process(asked: &Asked<'_>) -> OfFamily {
    let Asked { call, .. } = asked;
    let raw = call.raw;
    let with = |word: &'static str, said| Ok((word, said));
    let step: Step = match call.name.as_str() {
        "unshare" => {
            let rest = raw[0] & !((libc::CLONE_FS | libc::CLONE_FILES) as u64);
            match words(rest, NAMESPACES) {
                Some(all) if all.is_empty() => Err(Not::Ours),
                Some(all) => with("unshare", fields([("namespaces", json!(all))])),
                None => Err(no_step("its flags have no words")),
            }
        }
        "clone" if raw[0] & namespaces() != 0 => {
            Err(no_step("a child in new namespaces has no step: fork and unshare are two"))
        }
        "sethostname" => with("sethostname", fields([("name", asked.text(0)?)])),
        "setuid" => with("setuid", fields([("uid", json!(raw[0] as u32))])),
        "setgid" => with("setgid", fields([("gid", json!(raw[0] as u32))])),
        "setresuid" => with("setresuid", ids(["ruid", "euid", "suid"], &raw)),
        "setresgid" => with("setresgid", ids(["rgid", "egid", "sgid"], &raw)),
        "setgroups" if raw[0] == 0 => with("setgroups", fields([("groups", json!([]))])),
        "prctl" if raw[0] == libc::PR_SET_NO_NEW_PRIVS as u64 => with("no_new_privs", Map::new()),
        _ => return Ok(None),
    };
    step.map(Some)
}

/// What only asks.
fn lookup(asked: &Asked<'_>) -> Step {
    let Asked { call, .. } = asked;
    let raw = call.raw;
    let stat = |path, follow: bool| {
        let mut said = fields([("path", path)]);
        if !follow {
            said.insert("follow".to_owned(), json!(false));
        }
        Ok(("stat", said))
    };
    let nofollow = |flags: u64| flags & libc::AT_SYMLINK_NOFOLLOW as u64 != 0;
    let access = |path, purposes: u64| {
        let known = [(4, "read"), (2, "write"), (1, "execute")];
        let purposes = words(purposes, &known).unwrap_or_default();
        let mut said = fields([("path", path)]);
        if !purposes.is_empty() {
            said.insert("purposes".to_owned(), json!(purposes));
        }
        Ok(("access", said))
    };
    match call.name.as_str() {
        "stat" => stat(asked.path(0)?, true),
        "lstat" => stat(asked.path(0)?, false),
        "newfstatat" => stat(asked.path_at(0)?, !nofollow(raw[3])),
        "statx" => stat(asked.path_at(0)?, !nofollow(raw[2])),
        "access" => access(asked.path(0)?, raw[1]),
        "faccessat" | "faccessat2" => access(asked.path_at(0)?, raw[2]),
        "readlink" => Ok(("readlink", fields([("path", asked.path(0)?)]))),
        "getxattr" | "lgetxattr" | "listxattr" | "llistxattr" => {
            xattr(asked, ("path", asked.path(0)?))
        }
        "readlinkat" => Ok(("readlink", fields([("path", asked.path_at(0)?)]))),
        _ => Ok(("statfs", fields([("path", asked.path(0)?)]))),
    }
}

/// Calls that only ask.
const LOOKUPS: &[&str] = &[
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "statfs",
    "getxattr",
    "lgetxattr",
    "listxattr",
    "llistxattr",
];
/// Calls that change files, mounts or the process, and that are steps only with some arguments or with none.
const HAS_NO_STEP: &[&str] = &[
    "openat2",
    "fallocate",
    "writev",
    "pwritev",
    "pwritev2",
    "fchmodat2",
    "utime",
    "utimes",
    "futimesat",
    "setns",
    "clone3",
    "setreuid",
    "setregid",
    "setfsuid",
    "setfsgid",
    "setgroups",
    "capset",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "splice",
    "io_uring_setup",
    "name_to_handle_at",
    "open_by_handle_at",
    "copy_file_range",
    "swapon",
    "quotactl",
];
const NAMESPACES: &[(u64, &str)] = &[
    (libc::CLONE_NEWUSER as u64, "user"),
    (libc::CLONE_NEWNS as u64, "mount"),
    (libc::CLONE_NEWPID as u64, "pid"),
    (libc::CLONE_NEWNET as u64, "net"),
    (libc::CLONE_NEWIPC as u64, "ipc"),
    (libc::CLONE_NEWUTS as u64, "uts"),
    (libc::CLONE_NEWCGROUP as u64, "cgroup"),
    (0x80, "time"),
];
/// Flags of mount(2) that say what a mount is like.
const MOUNT_FLAGS: &[(u64, &str)] = &[
    (libc::MS_RDONLY, "ro"),
    (libc::MS_NOSUID, "nosuid"),
    (libc::MS_NODEV, "nodev"),
    (libc::MS_NOEXEC, "noexec"),
    (libc::MS_NOATIME, "noatime"),
    (libc::MS_NODIRATIME, "nodiratime"),
    (libc::MS_RELATIME, "relatime"),
    (libc::MS_STRICTATIME, "strictatime"),
    (libc::MS_SYNCHRONOUS, "sync"),
    (libc::MS_DIRSYNC, "dirsync"),
];
/// What libmount adds, and what means nothing any more.
const NOTHING: u64 = libc::MS_SILENT | 0xC0ED_0000;
const PROPAGATION: &[(u64, &str)] = &[
    (libc::MS_SHARED, "shared"),
    (libc::MS_PRIVATE, "private"),
    (libc::MS_SLAVE, "slave"),
    (libc::MS_UNBINDABLE, "unbindable"),
];

/// The flags of clone(2) for namespaces; that of time namespaces is another thing there.
fn namespaces() -> u64 {
    NAMESPACES[..NAMESPACES.len() - 1].iter().fold(0, |all, (bits, _)| all | bits)
}

/// Fields with ids, where one of -1 stays.
fn ids(keys: [&str; 3], raw: &[u64; 6]) -> Map<String, Value> {
    let ids = keys.iter().zip(raw).filter(|(_, id)| **id as u32 != u32::MAX);
    ids.map(|(key, id)| ((*key).to_owned(), json!(*id as u32))).collect()
}

/// The fields of a change of owners.
pub fn owners((key, file): (&str, Value), uid: u64, gid: u64, follow: bool) -> Map<String, Value> {
    let mut said = fields([(key, file)]);
    for (key, id) in [("uid", uid), ("gid", gid)] {
        if id as u32 != u32::MAX {
            said.insert(key.to_owned(), json!(id as u32));
        }
    }
    if !follow {
        said.insert("follow".to_owned(), json!(false));
    }
    said
}

fn node(path: Value, bits: u64, device: u64) -> Step {
    let kind = match bits as u32 & libc::S_IFMT {
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        _ => "file",
    };
    let mut said = fields([("path", path), ("type", json!(kind)), ("mode", mode(bits))]);
    if ["char", "block"].contains(&kind) {
        let number = format!("{}:{}", libc::major(device), libc::minor(device));
        said.insert("rdev".to_owned(), json!(number));
    }
    Ok(("mknod", said))
}

/// Times, of what the first of the fields names.
///
/// # Errors
/// Why it is no step.
pub fn times(call: &Call, (key, file): (&str, Value), follow: bool) -> Step {
    let mut said = fields([(key, file)]);
    let times = match (&call.bytes[2], call.raw[2]) {
        (_, 0) => [json!("now"), json!("now")],
        (Some(bytes), _) if bytes.len() == 32 => {
            let number =
                |at: usize| i64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
            let time = |at: usize| match number(at + 8) {
                libc::UTIME_NOW => json!("now"),
                libc::UTIME_OMIT => json!("omit"),
                _ => json!(number(at).to_string()),
            };
            [time(0), time(16)]
        }
        _ => return Err(no_step("its times could not be read")),
    };
    let [atime, mtime] = times;
    for (key, time) in [("atime", atime), ("mtime", mtime)] {
        if time != "omit" {
            said.insert(key.to_owned(), time);
        }
    }
    if !follow {
        said.insert("follow".to_owned(), json!(false));
    }
    Ok(("utimes", said))
}

fn mount(asked: &Asked<'_>) -> Step {
    let raw = asked.call.raw;
    let at = asked.path(1)?;
    let flags = raw[3] & !NOTHING;
    let recursive = flags & libc::MS_REC != 0;
    let known = words(flags & !(libc::MS_REC | libc::MS_BIND | libc::MS_REMOUNT), MOUNT_FLAGS);
    if flags & libc::MS_REMOUNT != 0 {
        let mut said = fields([("at", at)]);
        if flags & libc::MS_BIND != 0 {
            said.insert("bind".to_owned(), json!(true));
        }
        said.insert(
            "flags".to_owned(),
            json!(known.ok_or_else(|| no_step("its flags have no words"))?),
        );
        options(asked, &mut said)?;
        return Ok(("remount", said));
    }
    if flags & libc::MS_BIND != 0 {
        let word = if recursive { "rbind" } else { "bind" };
        return Ok((word, fields([("from", asked.path(0)?), ("at", at)])));
    }
    if let Some((_, kind)) = PROPAGATION.iter().find(|(bits, _)| flags & bits != 0) {
        let mut said = fields([("at", at), ("type", json!(kind))]);
        if recursive {
            said.insert("recursive".to_owned(), json!(true));
        }
        return Ok(("propagation", said));
    }
    if flags & libc::MS_MOVE != 0 {
        return Ok(("move", fields([("from", asked.path(0)?), ("at", at)])));
    }
    let mut said = fields([("type", asked.text(2)?), ("at", at)]);
    if raw[0] != 0 {
        said.insert("source".to_owned(), asked.text(0)?);
    }
    let known = known.ok_or_else(|| no_step("its flags have no words"))?;
    if !known.is_empty() {
        said.insert("flags".to_owned(), json!(known));
    }
    options(asked, &mut said)?;
    Ok(("mount", said))
}

/// The options of a mount, which are a text with commas.
fn options(asked: &Asked<'_>, said: &mut Map<String, Value>) -> Result<(), Not> {
    if asked.call.raw[4] == 0 {
        return Ok(());
    }
    let text = asked.text(4)?;
    let options: Vec<_> =
        text.as_str().unwrap_or_default().split(',').filter(|o| !o.is_empty()).collect();
    if !options.is_empty() {
        said.insert("options".to_owned(), json!(options));
    }
    Ok(())
}

/// Extended attributes of what the first of the fields names.
///
/// # Errors
/// Why it is no step.
pub fn xattr(asked: &Asked<'_>, (key, file): (&str, Value)) -> Step {
    let Asked { call, .. } = asked;
    let follow = !call.name.starts_with('l');
    let mut said = fields([(key, file)]);
    let word = match call.name.trim_start_matches(['l', 'f']) {
        "setxattr" => "setxattr",
        "removexattr" => "removexattr",
        "getxattr" => "getxattr",
        // `l` is the beginning of listxattr too.
        _ => "listxattr",
    };
    let follow = follow || call.name == "listxattr";
    if word != "listxattr" {
        said.insert("name".to_owned(), asked.text(1)?);
    }
    if word == "setxattr" {
        let bytes = call.bytes[3 - 1].as_deref().or(call.bytes[2].as_deref()).unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(text) => said.insert("value".to_owned(), json!(text)),
            Err(_) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                said.insert("hex".to_owned(), json!(hex))
            }
        };
        let flag = match call.raw[4] {
            1 => Some("create"),
            2 => Some("replace"),
            _ => None,
        };
        said.extend(flag.map(|flag| ("flag".to_owned(), json!(flag))));
    }
    if !follow && key == "path" {
        said.insert("follow".to_owned(), json!(false));
    }
    Ok((word, said))
}
