//! One operation as statements of C.

use std::collections::BTreeMap;
use std::fmt::Display;

use compact_str::format_compact;

use super::words::{
    access_purpose, attributes, flags, mount_flag, namespace, open_flag, open_tree_flag,
    propagation, rename_flag, shown, umount_flag,
};
use crate::scenario::operation::{
    FsCommand, LockKind, MountApi, NodeType, OpenFlag, Operation, Overlay, Stat, XattrFlag,
};
use crate::scenario::scalar::{Capability, Mode, Name, StepPath, Timestamp};
use crate::transcript::{Value, Values};

/// What statements may speak of besides the operation.
pub struct Context<'c> {
    /// The values that are compared: only these are said.
    pub wanted: &'c Values,
    /// The variables of the actor's open files.
    pub files: &'c BTreeMap<Name, String>,
    /// The indices of the actors.
    pub actors: &'c BTreeMap<Name, usize>,
}

/// A text as a literal of C.
pub fn literal(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | b'?' => literal.extend(['\\', char::from(byte)]),
            b'\n' => literal.push_str("\\n"),
            b'\t' => literal.push_str("\\t"),
            0x20..0x7f => literal.push(char::from(byte)),
            other => literal.push_str(&format!("\\{other:03o}")),
        }
    }
    literal.push('"');
    literal
}

fn result(call: &str, expression: impl Display) -> Vec<String> {
    vec![format!("result(\"{call}\", {expression});")]
}

fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), literal)
}

fn joined(options: &[String]) -> String {
    if options.is_empty() { "NULL".to_owned() } else { literal(&options.join(",")) }
}

fn mode(mode: Option<Mode>, otherwise: u32) -> String {
    format!("{:#o}", mode.map_or(otherwise, |mode| mode.0)).replace("0o", "0")
}

fn nofollow(follow: bool) -> &'static str {
    if follow { "0" } else { "AT_SYMLINK_NOFOLLOW" }
}

fn id(id: Option<u32>) -> String {
    id.map_or_else(|| "-1".to_owned(), |id| format!("{id}U"))
}

/// Capabilities as the bits of a set.
pub fn capabilities(capabilities: Option<&[Capability]>) -> String {
    let bits = |all: &[Capability]| all.iter().fold(0_u64, |bits, one| bits | one.bit());
    capabilities.map_or_else(|| "-1".to_owned(), |all| format!("{:#x}", bits(all)))
}

impl Context<'_> {
    fn fd(&self, name: &Name) -> String {
        self.files.get(name).cloned().unwrap_or_else(|| "-1".to_owned())
    }

    fn dir(&self, name: Option<&Name>) -> String {
        name.map_or_else(|| "AT_FDCWD".to_owned(), |name| self.fd(name))
    }

    fn wants(&self, value: &str) -> bool {
        self.wanted.contains_key(value)
    }

    /// Calls by path or by open file, whichever is given.
    fn either(
        &self,
        path: Option<&StepPath>,
        fd: Option<&Name>,
        by_path: (&str, &str),
        by_fd: (&str, &str),
        rest: &str,
    ) -> Vec<String> {
        match (path, fd) {
            (Some(path), _) => {
                let (call, function) = by_path;
                result(call, format!("{function}{}{rest})", literal(path.as_str())))
            }
            (None, fd) => {
                let (call, function) = by_fd;
                let fd = fd.map_or_else(|| "-1".to_owned(), |fd| self.fd(fd));
                result(call, format!("{function}{fd}{rest})"))
            }
        }
    }

    /// The pid of another actor, or of this one.
    fn pid(&self, of: Option<&Name>) -> String {
        let index = of.and_then(|name| self.actors.get(name));
        index.map_or_else(|| "own_pid()".to_owned(), |index| format!("pids[{index}]"))
    }
}

/// The statements that perform an operation and say what it gave.
///
/// # Errors
/// Why there are none.
pub fn statements(operation: &Operation, context: &Context<'_>) -> Result<Vec<String>, String> {
    use crate::scenario::operation::Family;
    match operation.described().family {
        Family::Files => files(operation, context),
        Family::Mounts => mounts(operation, context),
        Family::Roots | Family::Namespaces | Family::Credentials => process(operation, context),
        Family::Exec => Err("programs are not run".to_owned()),
        Family::Container => Err("no container runtime is called".to_owned()),
    }
}

fn files(operation: &Operation, context: &Context<'_>) -> Result<Vec<String>, String> {
    use Operation as O;
    let path = |path: &StepPath| literal(path.as_str());
    Ok(match operation {
        O::Open(step) => {
            let how = flags(&step.flags, open_flag, "O_CLOEXEC");
            let creates =
                step.flags.iter().any(|f| matches!(f, OpenFlag::Creat | OpenFlag::Tmpfile));
            let mode = if creates { mode(step.mode, 0o644) } else { "0".to_owned() };
            let dir = context.dir(step.dirfd.as_ref());
            let call = format!("openat({dir}, {}, {how}, {mode})", path(&step.path));
            match &step.fd {
                Some(name) => {
                    let call = format!("result(\"openat\", {call})");
                    vec![format!("keep(&{}, {call});", context.fd(name))]
                }
                None => vec![format!("close(result(\"openat\", {call}));")],
            }
        }
        O::Read(step) => read(step, context),
        O::Write(step) => write(step, context),
        O::Truncate(step) => {
            let rest = format!(", {}", step.length);
            let (by_path, by_fd) = (("truncate", "truncate("), ("ftruncate", "ftruncate("));
            context.either(step.path.as_ref(), step.fd.as_ref(), by_path, by_fd, &rest)
        }
        O::Close(step) => {
            let fd = context.fd(&step.fd);
            vec![format!("result(\"close\", close({fd}));"), format!("{fd} = -1;")]
        }
        O::Mkdir(step) => {
            result("mkdir", format!("mkdir({}, {})", path(&step.path), mode(step.mode, 0o755)))
        }
        O::Rmdir(step) => result("rmdir", format!("rmdir({})", path(&step.path))),
        O::Unlink(step) => result("unlink", format!("unlink({})", path(&step.path))),
        O::Rename(step) => {
            let (from, to) = (path(&step.from), path(&step.to));
            let how = flags(&step.flags, rename_flag, "");
            let call = format!("syscall(SYS_renameat2, AT_FDCWD, {from}, AT_FDCWD, {to}, {how})");
            result("renameat2", call)
        }
        O::Link(step) => {
            let (from, to) = (path(&step.from), path(&step.to));
            let how = if step.follow { "AT_SYMLINK_FOLLOW" } else { "0" };
            result("linkat", format!("linkat(AT_FDCWD, {from}, AT_FDCWD, {to}, {how})"))
        }
        O::Symlink(step) => {
            result("symlink", format!("symlink({}, {})", literal(&step.target), path(&step.path)))
        }
        O::Readlink(step) => vec![
            "static char target[4097];".to_owned(),
            format!(
                "long length = result(\"readlink\", readlink({}, target, sizeof target - 1));",
                path(&step.path)
            ),
            "if (length >= 0)".to_owned(),
            "\tsay_text(\"target\", target, length);".to_owned(),
        ],
        O::Mknod(step) => {
            let kind = match step.kind {
                NodeType::File => "S_IFREG",
                NodeType::Char => "S_IFCHR",
                NodeType::Block => "S_IFBLK",
                NodeType::Fifo => "S_IFIFO",
                NodeType::Socket => "S_IFSOCK",
            };
            let device = step.rdev.map_or_else(
                || "0".to_owned(),
                |rdev| format!("makedev({}, {})", rdev.major, rdev.minor),
            );
            let mode = mode(step.mode, 0o644);
            result("mknod", format!("mknod({}, {kind} | {mode}, {device})", path(&step.path)))
        }
        O::Chmod(step) => {
            let rest = format!(", {}", mode(Some(step.mode), 0));
            let (by_path, by_fd) = (("chmod", "chmod("), ("fchmod", "fchmod("));
            context.either(step.path.as_ref(), step.fd.as_ref(), by_path, by_fd, &rest)
        }
        O::Chown(step) => {
            let ids = format!(", {}, {}", id(step.uid), id(step.gid));
            match &step.path {
                Some(at) => {
                    let how = nofollow(step.follow);
                    result("fchownat", format!("fchownat(AT_FDCWD, {}{ids}, {how})", path(at)))
                }
                None => {
                    let fd = step.fd.as_ref().map_or_else(|| "-1".to_owned(), |fd| context.fd(fd));
                    result("fchown", format!("fchown({fd}{ids})"))
                }
            }
        }
        O::Utimes(step) => {
            let time = |time: Option<Timestamp>| match time {
                Some(Timestamp::Now) => "{ 0, UTIME_NOW }".to_owned(),
                Some(Timestamp::Omit) | None => "{ 0, UTIME_OMIT }".to_owned(),
                Some(Timestamp::Seconds(seconds)) => format!("{{ {seconds}LL, 0 }}"),
            };
            let times = format!(
                "const struct timespec times[2] = {{ {}, {} }};",
                time(step.atime),
                time(step.mtime)
            );
            let call = match &step.path {
                Some(at) => {
                    let how = nofollow(step.follow);
                    result("utimensat", format!("utimensat(AT_FDCWD, {}, times, {how})", path(at)))
                }
                None => {
                    let fd = step.fd.as_ref().map_or_else(|| "-1".to_owned(), |fd| context.fd(fd));
                    result("futimens", format!("futimens({fd}, times)"))
                }
            };
            [vec![times], call].concat()
        }
        O::Stat(step) => stat(step, context),
        O::List(step) => {
            let how = "O_RDONLY | O_DIRECTORY | O_CLOEXEC";
            match &step.path {
                Some(at) => vec![
                    format!("int fd = result(\"open\", open({}, {how}));", path(at)),
                    "if (fd >= 0) {".to_owned(),
                    "\tlist_names(fd);".to_owned(),
                    "\tclose(fd);".to_owned(),
                    "}".to_owned(),
                ],
                None => {
                    let fd = step.fd.as_ref().map_or_else(|| "-1".to_owned(), |fd| context.fd(fd));
                    vec![format!("list_names({fd});")]
                }
            }
        }
        O::Getxattr(step) => {
            let rest = format!(", {}, value, sizeof value)", literal(&step.name));
            let call =
                xattr(context, "getxattr", step.path.as_ref(), step.fd.as_ref(), step.follow);
            let mut lines = vec![
                "static char value[65536];".to_owned(),
                format!("long length = result({call}{rest});"),
            ];
            if context.wants("value") {
                lines.extend([
                    "if (length >= 0)".to_owned(),
                    "\tsay_text(\"value\", value, length);".to_owned(),
                ]);
            } else {
                lines.push("(void)length;".to_owned());
            }
            lines
        }
        O::Setxattr(step) => {
            let flag = match step.flag {
                None => "0",
                Some(XattrFlag::Create) => "XATTR_CREATE",
                Some(XattrFlag::Replace) => "XATTR_REPLACE",
            };
            let bytes = step.bytes();
            let value: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            let value = match &step.value {
                Some(text) => literal(text),
                None => format!("\"{value}\""),
            };
            let call =
                xattr(context, "setxattr", step.path.as_ref(), step.fd.as_ref(), step.follow);
            let name = literal(&step.name);
            vec![format!("result({call}, {name}, {value}, {}, {flag}));", bytes.len())]
        }
        O::Removexattr(step) => {
            let call =
                xattr(context, "removexattr", step.path.as_ref(), step.fd.as_ref(), step.follow);
            vec![format!("result({call}, {}));", literal(&step.name))]
        }
        O::Listxattr(step) => {
            let call =
                xattr(context, "listxattr", step.path.as_ref(), step.fd.as_ref(), step.follow);
            vec![
                "static char names[65536];".to_owned(),
                format!("long length = result({call}, names, sizeof names));"),
                "if (length >= 0)".to_owned(),
                "\tsay_names(names, length);".to_owned(),
            ]
        }
        O::Statfs(step) => vec![
            "struct statfs found;".to_owned(),
            format!("if (result(\"statfs\", statfs({}, &found)) >= 0)", path(&step.path)),
            "\tstatfs_type(found.f_type);".to_owned(),
        ],
        O::Access(step) => {
            let how = flags(&step.purposes, access_purpose, "");
            let how = if step.purposes.is_empty() { "F_OK".to_owned() } else { how };
            let call = format!(
                "syscall(SYS_faccessat2, AT_FDCWD, {}, {how}, AT_EACCESS)",
                path(&step.path)
            );
            result("faccessat2", call)
        }
        O::Flock(step) => {
            let lock = match step.lock {
                LockKind::Shared => "LOCK_SH | LOCK_NB",
                LockKind::Exclusive => "LOCK_EX | LOCK_NB",
                LockKind::Unlock => "LOCK_UN",
            };
            result("flock", format!("flock({}, {lock})", context.fd(&step.fd)))
        }
        _ => return Err(format!("`{}` has no statements", operation.word())),
    })
}

/// The beginning of a call on extended attributes, up to its first argument.
fn xattr(
    context: &Context<'_>,
    call: &str,
    path: Option<&StepPath>,
    fd: Option<&Name>,
    follow: bool,
) -> String {
    match (path, fd) {
        (Some(path), _) if follow => format!("\"{call}\", {call}({}", literal(path.as_str())),
        (Some(path), _) => format!("\"l{call}\", l{call}({}", literal(path.as_str())),
        (None, fd) => {
            let fd = fd.map_or_else(|| "-1".to_owned(), |fd| context.fd(fd));
            format!("\"f{call}\", f{call}({fd}")
        }
    }
}

fn read(step: &crate::scenario::operation::Read, context: &Context<'_>) -> Vec<String> {
    let mut lines =
        vec!["static char data[1 << 20];".to_owned(), "long length = 0, read_now;".to_owned()];
    let fd = match &step.path {
        Some(path) => {
            let open = format!("open({}, O_RDONLY | O_CLOEXEC)", literal(path.as_str()));
            lines.push(format!("int fd = result(\"open\", {open});"));
            "fd".to_owned()
        }
        None => step.fd.as_ref().map_or_else(|| "-1".to_owned(), |fd| context.fd(fd)),
    };
    let limit = step.limit();
    let call = match step.offset {
        Some(offset) => format!(
            "result(\"pread64\", pread({fd}, data + length, {limit} - length, {offset} + length))"
        ),
        None => format!("result(\"read\", read({fd}, data + length, {limit} - length))"),
    };
    if step.path.is_some() {
        lines.extend(["if (fd < 0)", "\tbreak;", "do {"].map(str::to_owned));
        lines.push(format!("\tread_now = {call};"));
        lines.push("\tlength += read_now > 0 ? read_now : 0;".to_owned());
        lines.push(format!("}} while (read_now > 0 && length < {limit});"));
        lines.push("close(fd);".to_owned());
    } else {
        lines.push(format!("read_now = {call};"));
        lines.push("length = read_now;".to_owned());
    }
    lines.push("if (!said.error) {".to_owned());
    if context.wants("data") {
        lines.push("\tsay_text(\"data\", data, length);".to_owned());
    }
    if context.wants("length") {
        lines.push("\tsay(\"length\", \"%ld\", length);".to_owned());
    }
    lines.push("}".to_owned());
    lines
}

fn write(step: &crate::scenario::operation::Write, context: &Context<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let fd = match &step.path {
        Some(path) => {
            let how = match (step.append, step.offset) {
                (true, _) => " | O_APPEND",
                (false, Some(_)) => "",
                (false, None) => " | O_TRUNC",
            };
            let flags = format!("O_WRONLY | O_CREAT | O_CLOEXEC{how}");
            let mode = mode(step.mode, 0o644);
            let open = format!("open({}, {flags}, {mode})", literal(path.as_str()));
            lines.push(format!("int fd = result(\"open\", {open});"));
            lines.push("if (fd < 0)".to_owned());
            lines.push("\tbreak;".to_owned());
            "fd".to_owned()
        }
        None => step.fd.as_ref().map_or_else(|| "-1".to_owned(), |fd| context.fd(fd)),
    };
    let (data, length) = (literal(&step.data), step.data.len());
    let call = match step.offset {
        Some(offset) => format!("result(\"pwrite64\", pwrite({fd}, {data}, {length}, {offset}))"),
        None => format!("result(\"write\", write({fd}, {data}, {length}))"),
    };
    lines.push(format!("long written = {call};"));
    if step.path.is_some() {
        lines.push("close(fd);".to_owned());
    }
    if context.wants("length") {
        lines.push("if (written >= 0)".to_owned());
        lines.push("\tsay(\"length\", \"%ld\", written);".to_owned());
    } else {
        lines.push("(void)written;".to_owned());
    }
    lines
}

fn stat(step: &Stat, context: &Context<'_>) -> Vec<String> {
    let (dir, path, how) = match &step.path {
        Some(path) => {
            (context.dir(step.dirfd.as_ref()), literal(path.as_str()), nofollow(step.follow))
        }
        None => {
            let fd = step.fd.as_ref().map_or_else(|| "-1".to_owned(), |fd| context.fd(fd));
            (fd, "\"\"".to_owned(), "AT_EMPTY_PATH")
        }
    };
    let call = format!("statx({dir}, {path}, {how} | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &s)");
    let mut lines = vec![
        "struct statx s;".to_owned(),
        format!("if (result(\"statx\", {call}) < 0)"),
        "\tbreak;".to_owned(),
    ];
    let said = [
        ("atime", "say(\"atime\", \"%lld\", (long long)s.stx_atime.tv_sec);"),
        ("blocks", "say(\"blocks\", \"%llu\", (unsigned long long)s.stx_blocks);"),
        ("gid", "say(\"gid\", \"%u\", s.stx_gid);"),
        ("mode", "say(\"mode\", \"%04o\", s.stx_mode & 07777);"),
        (
            "mount_root",
            "say(\"mount_root\", \"%s\", s.stx_attributes & STATX_ATTR_MOUNT_ROOT ? \"true\" : \"false\");",
        ),
        ("mtime", "say(\"mtime\", \"%lld\", (long long)s.stx_mtime.tv_sec);"),
        ("nlink", "say(\"nlink\", \"%u\", s.stx_nlink);"),
        ("rdev", "say(\"rdev\", \"%u:%u\", s.stx_rdev_major, s.stx_rdev_minor);"),
        ("size", "say(\"size\", \"%llu\", (unsigned long long)s.stx_size);"),
        ("type", "say_type(s.stx_mode);"),
        ("uid", "say(\"uid\", \"%u\", s.stx_uid);"),
    ];
    let wanted = said.into_iter().filter(|(name, _)| context.wants(name));
    lines.extend(wanted.map(|(_, line)| line.to_owned()));
    lines
}

fn mounts(operation: &Operation, context: &Context<'_>) -> Result<Vec<String>, String> {
    use Operation as O;
    let path = |path: &StepPath| literal(path.as_str());
    let mount = |source: &str, at: &StepPath, kind: &str, how: &str, data: &str| {
        result("mount", format!("mount({source}, {}, {kind}, {how}, {data})", path(at)))
    };
    Ok(match operation {
        O::Mount(step) => {
            let source = literal(step.source.as_deref().unwrap_or(&step.kind));
            let how = flags(&step.flags, mount_flag, "");
            mount(&source, &step.at, &literal(&step.kind), &how, &joined(&step.options))
        }
        O::Overlay(step) => overlay(step),
        O::Bind(step) => mount(&path(&step.from), &step.at, "NULL", "MS_BIND", "NULL"),
        O::Rbind(step) => mount(&path(&step.from), &step.at, "NULL", "MS_BIND | MS_REC", "NULL"),
        O::Move(step) => mount(&path(&step.from), &step.at, "NULL", "MS_MOVE", "NULL"),
        O::Umount(step) => {
            let how = flags(&step.flags, umount_flag, "");
            result("umount2", format!("umount2({}, {how})", path(&step.at)))
        }
        O::Remount(step) => {
            let first = if step.bind { "MS_REMOUNT | MS_BIND" } else { "MS_REMOUNT" };
            let how = flags(&step.flags, mount_flag, first);
            mount("NULL", &step.at, "NULL", &how, &joined(&step.options))
        }
        O::Propagation(step) => {
            let recursive = if step.recursive { " | MS_REC" } else { "" };
            let how = format!("{}{recursive}", propagation(step.kind));
            mount("NULL", &step.at, "NULL", &how, "NULL")
        }
        O::Mounted(step) => vec![
            "struct statx s;".to_owned(),
            format!("if (result(\"statx\", statx(AT_FDCWD, {}, AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &s)) >= 0)", path(&step.at)),
            "\tsay(\"mounted\", \"%s\", s.stx_attributes & STATX_ATTR_MOUNT_ROOT ? \"true\" : \"false\");".to_owned(),
        ],
        O::Fsopen(step) => {
            let call = format!("result(\"fsopen\", syscall(SYS_fsopen, {}, 1))", literal(&step.kind));
            vec![format!("keep(&{}, {call});", context.fd(&step.fd))]
        }
        O::Fsconfig(step) => {
            let (fd, key) = (context.fd(&step.fd), optional(step.key.as_deref()));
            let rest = match (&step.command, &step.value, &step.value_fd) {
                (Some(FsCommand::Create), ..) => "6, NULL, NULL, 0".to_owned(),
                (Some(FsCommand::Reconfigure), ..) => "7, NULL, NULL, 0".to_owned(),
                (Some(FsCommand::CreateExclusive), ..) => "8, NULL, NULL, 0".to_owned(),
                (None, Some(value), _) => format!("1, {key}, {}, 0", literal(value)),
                (None, None, Some(name)) => format!("5, {key}, NULL, {}", context.fd(name)),
                (None, None, None) => format!("0, {key}, NULL, 0"),
            };
            vec![format!("configure({fd}, {rest});")]
        }
        O::Fsmount(step) => {
            let (fd, attributes) = (context.fd(&step.fd), attributes(&step.attributes));
            let call = format!("result(\"fsmount\", syscall(SYS_fsmount, {fd}, 1, {attributes:#x}))");
            vec![format!("keep(&{}, {call});", context.fd(&step.mount))]
        }
        O::OpenTree(step) => {
            let how = flags(&step.flags, open_tree_flag, "O_CLOEXEC");
            let call = format!("syscall(SYS_open_tree, AT_FDCWD, {}, {how})", path(&step.path));
            vec![format!("keep(&{}, result(\"open_tree\", {call}));", context.fd(&step.mount))]
        }
        O::MoveMount(step) => {
            let how = [(step.beneath, 0x200), (step.set_group, 0x100), (step.mount.is_some(), 4)];
            let how = how.iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag);
            let from = match (&step.mount, &step.from) {
                (Some(name), _) => format!("{}, \"\"", context.fd(name)),
                (None, from) => format!("AT_FDCWD, {}", from.as_ref().map_or("\"\"".into(), path)),
            };
            let at = path(&step.at);
            let call = format!("syscall(SYS_move_mount, {from}, AT_FDCWD, {at}, {how:#x})");
            result("move_mount", call)
        }
        O::MountSetattr(step) if step.idmap.is_none() => {
            let kind = step.propagation.map_or("0", propagation);
            let (set, clear) = (attributes(&step.set), attributes(&step.clear));
            let recursive = if step.recursive { 0x8000 } else { 0 };
            let (at, how) = match (&step.mount, &step.at) {
                (Some(name), _) => (format!("{}, \"\"", context.fd(name)), recursive | 0x1000),
                (None, at) => {
                    let at = at.as_ref().map_or("\"\"".into(), path);
                    (format!("AT_FDCWD, {at}"), recursive)
                }
            };
            let call = format!("syscall(SYS_mount_setattr, {at}, {how:#x}, attributes, sizeof attributes)");
            let attributes = format!("{set:#x}, {clear:#x}, {kind}, 0");
            let line = format!("const unsigned long long attributes[4] = {{ {attributes} }};");
            [vec![line], result("mount_setattr", call)].concat()
        }
        O::MountSetattr(_) => return Err("idmapped mounts take a user namespace of their own".to_owned()),
        O::Losetup(_) => return Err("it attaches a loop device".to_owned()),
        O::Fuse(_) => return Err("it takes a FUSE server".to_owned()),
        _ => return Err(format!("`{}` has no statements", operation.word())),
    })
}

fn overlay(step: &Overlay) -> Vec<String> {
    let layers: Vec<&str> = step.lower.iter().map(StepPath::as_str).collect();
    let data = step.data.iter().map(|layer| format!("::{layer}")).collect::<String>();
    let lower = format!("{}{data}", layers.join(":"));
    let mut options: Vec<(&str, Option<String>)> = Vec::new();
    options.extend((!lower.is_empty()).then_some(("lowerdir", Some(lower))));
    options.extend(step.upper.as_ref().map(|upper| ("upperdir", Some(upper.to_string()))));
    options.extend(step.work.as_ref().map(|work| ("workdir", Some(work.to_string()))));
    options.extend(step.options.iter().map(|option| match option.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (option.as_str(), None),
    }));
    let at = literal(step.at.as_str());
    if step.api == MountApi::Classic {
        let options: Vec<String> = options
            .into_iter()
            .map(|(key, value)| value.map_or_else(|| key.to_owned(), |v| format!("{key}={v}")))
            .collect();
        let how = flags(&step.flags, mount_flag, "");
        let data = joined(&options);
        return result("mount", format!("mount(\"overlay\", {at}, \"overlay\", {how}, {data})"));
    }
    let pairs = options
        .iter()
        .map(|(key, value)| format!("{}, {}, ", literal(key), optional(value.as_deref())))
        .collect::<String>();
    let all: Vec<_> =
        step.flags.iter().filter_map(|flag| flag.attribute()).flatten().copied().collect();
    vec![
        format!("static const char *const options[] = {{ {pairs}NULL }};"),
        format!("overlay_new({at}, options, {:#x});", attributes(&all)),
    ]
}

fn process(operation: &Operation, context: &Context<'_>) -> Result<Vec<String>, String> {
    use Operation as O;
    let path = |path: &StepPath| literal(path.as_str());
    let map = |of: &Option<Name>, name: &str, text: &str, then: Option<&str>| {
        if then.is_some() {
            return Err("it writes twice to one open file".to_owned());
        }
        let (pid, text, length) = (context.pid(of.as_ref()), literal(text), text.len());
        Ok(vec![format!("write_file({pid}, \"{name}\", {text}, {length});")])
    };
    Ok(match operation {
        O::Chroot(step) => result("chroot", format!("chroot({})", path(&step.path))),
        O::Chdir(step) => result("chdir", format!("chdir({})", path(&step.path))),
        O::Fchdir(step) => result("fchdir", format!("fchdir({})", context.fd(&step.fd))),
        O::Getcwd(_) => vec![
            "static char path[4096];".to_owned(),
            "if (result(\"getcwd\", syscall(SYS_getcwd, path, sizeof path)) >= 0)".to_owned(),
            "\tsay(\"path\", \"%s\", path);".to_owned(),
        ],
        O::PivotRoot(step) => {
            let (new, old) = (path(&step.new_root), path(&step.put_old));
            result("pivot_root", format!("syscall(SYS_pivot_root, {new}, {old})"))
        }
        O::Unshare(step) => {
            result("unshare", format!("unshare({})", flags(&step.namespaces, namespace, "")))
        }
        O::Setns(step) => match (&step.fd, step.namespace) {
            (Some(fd), kind) => {
                let kind = kind.map_or("0", namespace);
                result("setns", format!("setns({}, {kind})", context.fd(fd)))
            }
            (None, Some(kind)) => {
                let (pid, file) = (context.pid(step.of.as_ref()), kind.file());
                vec![format!("setns_of({pid}, \"ns/{file}\", {});", namespace(kind))]
            }
            (None, None) => return Err("it names no namespace".to_owned()),
        },
        O::OpenNamespace(step) => {
            let (pid, file) = (context.pid(step.of.as_ref()), step.namespace.file());
            let call = format!("process_file({pid}, \"ns/{file}\", O_RDONLY)");
            vec![format!("keep(&{}, result(\"open\", {call}));", context.fd(&step.fd))]
        }
        O::WriteUidMap(step) => map(&step.of, "uid_map", &step.text, step.then.as_deref())?,
        O::WriteGidMap(step) => map(&step.of, "gid_map", &step.text, step.then.as_deref())?,
        O::WriteSetgroups(step) => map(&step.of, "setgroups", &step.text, None)?,
        O::ReadMaps(step) => {
            let pid = context.pid(step.of.as_ref());
            let files = ["gid_map", "setgroups", "uid_map"];
            let wanted = files.into_iter().filter(|name| context.wants(name));
            wanted.map(|name| format!("say_map({pid}, \"{name}\");")).collect()
        }
        O::Fork(step) => {
            let child = context.actors.get(&step.child).copied().unwrap_or_default();
            result("fork", format!("fork_as({child})"))
        }
        O::Exit(_) => vec!["leave();".to_owned()],
        O::Sethostname(step) => {
            let (name, length) = (literal(&step.name), step.name.len());
            result("sethostname", format!("sethostname({name}, {length})"))
        }
        O::Gethostname(_) => vec![
            "struct utsname found;".to_owned(),
            "if (result(\"uname\", uname(&found)) >= 0)".to_owned(),
            "\tsay(\"name\", \"%s\", found.nodename);".to_owned(),
        ],
        _ => return credentials(operation, context),
    })
}

fn credentials(operation: &Operation, context: &Context<'_>) -> Result<Vec<String>, String> {
    use Operation as O;
    let three = |ids: [Option<u32>; 3]| ids.map(id).join(", ");
    Ok(match operation {
        // The system calls themselves: the C library would change all threads, and checks before.
        O::Setuid(step) => result("setuid", format!("syscall(SYS_setuid, {}U)", step.uid)),
        O::Setgid(step) => result("setgid", format!("syscall(SYS_setgid, {}U)", step.gid)),
        O::Setresuid(step) => {
            let ids = three([step.ruid, step.euid, step.suid]);
            result("setresuid", format!("syscall(SYS_setresuid, {ids})"))
        }
        O::Setresgid(step) => {
            let ids = three([step.rgid, step.egid, step.sgid]);
            result("setresgid", format!("syscall(SYS_setresgid, {ids})"))
        }
        O::Setgroups(step) => groups(&step.groups),
        O::Getcred(_) => {
            let lines = [
                ("effective", "say_capabilities(\"effective\");"),
                ("egid", "say(\"egid\", \"%u\", getegid());"),
                ("euid", "say(\"euid\", \"%u\", geteuid());"),
                ("gid", "say(\"gid\", \"%u\", getgid());"),
                ("inheritable", "say_capabilities(\"inheritable\");"),
                ("permitted", "say_capabilities(\"permitted\");"),
                ("sgid", "say_saved(\"sgid\");"),
                ("suid", "say_saved(\"suid\");"),
                ("uid", "say(\"uid\", \"%u\", getuid());"),
            ];
            let wanted = lines.into_iter().filter(|(name, _)| context.wants(name));
            wanted.map(|(_, line)| line.to_owned()).collect()
        }
        O::Capset(step) => {
            let sets = [&step.effective, &step.permitted, &step.inheritable];
            let sets = sets.map(|set| capabilities(set.as_deref())).join(", ");
            result("capset", format!("set_capabilities((struct capabilities){{ {sets} }})"))
        }
        O::CapAmbient(step) if step.raise.len() == 1 => {
            let call =
                format!("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, {}, 0, 0)", step.raise[0].0);
            result("prctl", call)
        }
        O::CapBset(step) if step.drop.len() == 1 => {
            result("prctl", format!("prctl(PR_CAPBSET_DROP, {}, 0, 0, 0)", step.drop[0].0))
        }
        O::CapAmbient(_) | O::CapBset(_) => {
            return Err("it changes several capabilities in one step".to_owned());
        }
        O::Keepcaps(step) => {
            result("prctl", format!("prctl(PR_SET_KEEPCAPS, {}, 0, 0, 0)", u8::from(step.keep)))
        }
        O::NoNewPrivs(_) => result("prctl", "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)"),
        O::Umask(step) => vec![format!("umask({});", mode(Some(step.mode), 0))],
        _ => return Err(format!("`{}` has no statements", operation.word())),
    })
}

/// The statements that set supplementary groups.
pub fn groups(groups: &[u32]) -> Vec<String> {
    if groups.is_empty() {
        return result("setgroups", "syscall(SYS_setgroups, 0, NULL)");
    }
    let list: Vec<String> = groups.iter().map(|group| format!("{group}U")).collect();
    let line = format!("static const unsigned int groups[] = {{ {} }};", list.join(", "));
    let call = format!("syscall(SYS_setgroups, {}, groups)", groups.len());
    [vec![line], result("setgroups", call)].concat()
}

/// The values that statements say of an operation: what else the model knows is not compared.
pub fn told(operation: &Operation, values: &Values) -> Values {
    let names: &[&str] = match operation {
        Operation::Read(_) => &["data", "length"],
        Operation::Write(_) => &["length"],
        Operation::Readlink(_) => &["target"],
        Operation::Stat(_) => &[
            "atime",
            "blocks",
            "gid",
            "mode",
            "mount_root",
            "mtime",
            "nlink",
            "rdev",
            "size",
            "type",
            "uid",
        ],
        Operation::List(_) | Operation::Listxattr(_) => &["names", "count"],
        Operation::Getxattr(_) => &["value"],
        Operation::Statfs(_) => &["type"],
        Operation::Mounted(_) => &["mounted"],
        Operation::Getcwd(_) => &["path"],
        Operation::Gethostname(_) => &["name"],
        Operation::ReadMaps(_) => &["gid_map", "setgroups", "uid_map"],
        Operation::Getcred(_) => {
            &["effective", "egid", "euid", "gid", "inheritable", "permitted", "sgid", "suid", "uid"]
        }
        _ => &[],
    };
    let is_told = |name: &str, value: &Value| names.contains(&name) && shown(value).is_some();
    let told = values.iter().filter(|(name, value)| is_told(name, value));
    let mut told: Values = told.map(|(name, value)| (name.clone(), value.clone())).collect();
    for name in ["effective", "inheritable", "permitted"] {
        if let Some(Value::List(set)) = told.get(name) {
            let set = Value::Text(format_compact!("{:016x}", bits(set)));
            told.insert(name.into(), set);
        }
    }
    // How many there are is said with the names, and never without them.
    told.remove("count");
    if let Some(Value::List(names)) = told.get("names") {
        let count = Value::Number(names.len() as i64);
        told.insert("count".into(), count);
    }
    told
}

/// A set of capabilities that is told by their names.
fn bits(names: &[Value]) -> u64 {
    let bit = |name: &Value| match name {
        Value::Text(name) => name.parse::<Capability>().map_or(0, |capability| capability.bit()),
        _ => 0,
    };
    names.iter().fold(0, |all, name| all | bit(name))
}
