//! Files, directories and their attributes.

use super::super::words::{access_purpose, flags, open_flag, rename_flag};
use super::{Context, id, literal, mode, path, result};
use crate::scenario::operation::{
    self as op, FileOperation, LockKind, NodeType, OpenFlag, XattrFlag,
};
use crate::scenario::scalar::{Name, StepPath, Timestamp};

/// The statements of such an operation.
pub fn statements(operation: FileOperation<'_>, context: &Context<'_>) -> Vec<String> {
    use FileOperation as O;
    match operation {
        O::Open(step) => open(step, context),
        O::Read(step) => read(step, context),
        O::Write(step) => write(step, context),
        O::Truncate(step) => truncate(step, context),
        O::Close(step) => {
            let fd = context.fd(&step.fd);
            vec![format!("result(\"close\", close({fd}));"), format!("{fd} = -1;")]
        }
        O::Mkdir(step) => {
            result("mkdir", format!("mkdir({}, {})", path(&step.path), mode(step.mode, 0o755)))
        }
        O::Rmdir(step) => result("rmdir", format!("rmdir({})", path(&step.path))),
        O::Unlink(step) => result("unlink", format!("unlink({})", path(&step.path))),
        O::Rename(step) => rename(step),
        O::Link(step) => link(step),
        O::Symlink(step) => {
            result("symlink", format!("symlink({}, {})", literal(&step.target), path(&step.path)))
        }
        O::Readlink(step) => readlink(step),
        O::Mknod(step) => mknod(step),
        O::Chmod(step) => chmod(step, context),
        O::Chown(step) => chown(step, context),
        O::Utimes(step) => utimes(step, context),
        O::Stat(step) => stat(step, context),
        O::List(step) => list(step, context),
        O::Getxattr(step) => getxattr(step, context),
        O::Setxattr(step) => setxattr(step, context),
        O::Removexattr(step) => removexattr(step, context),
        O::Listxattr(step) => listxattr(step, context),
        O::Statfs(step) => statfs(step),
        O::Access(step) => access(step),
        O::Flock(step) => flock(step, context),
    }
}

fn open(step: &op::Open, context: &Context<'_>) -> Vec<String> {
    let how = flags(&step.flags, open_flag, "O_CLOEXEC");
    let creates = step.flags.iter().any(|f| matches!(f, OpenFlag::Creat | OpenFlag::Tmpfile));
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

fn read(step: &op::Read, context: &Context<'_>) -> Vec<String> {
    let mut lines =
        vec!["static char data[1 << 20];".to_owned(), "long length = 0, read_now;".to_owned()];
    let fd = match &step.path {
        Some(path) => {
            let open = format!("open({}, O_RDONLY | O_CLOEXEC)", literal(path.as_str()));
            lines.push(format!("int fd = result(\"open\", {open});"));
            "fd".to_owned()
        }
        None => context.fd_of(step.fd.as_ref()),
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

fn write(step: &op::Write, context: &Context<'_>) -> Vec<String> {
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
        None => context.fd_of(step.fd.as_ref()),
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

fn truncate(step: &op::Truncate, context: &Context<'_>) -> Vec<String> {
    let rest = format!(", {}", step.length);
    let (by_path, by_fd) = (("truncate", "truncate("), ("ftruncate", "ftruncate("));
    context.either(step.path.as_ref(), step.fd.as_ref(), by_path, by_fd, &rest)
}

fn rename(step: &op::Rename) -> Vec<String> {
    let (from, to) = (path(&step.from), path(&step.to));
    let how = flags(&step.flags, rename_flag, "");
    let call = format!("syscall(SYS_renameat2, AT_FDCWD, {from}, AT_FDCWD, {to}, {how})");
    result("renameat2", call)
}

fn link(step: &op::Link) -> Vec<String> {
    let (from, to) = (path(&step.from), path(&step.to));
    let how = if step.follow { "AT_SYMLINK_FOLLOW" } else { "0" };
    result("linkat", format!("linkat(AT_FDCWD, {from}, AT_FDCWD, {to}, {how})"))
}

fn readlink(step: &op::Readlink) -> Vec<String> {
    vec![
        "static char target[4097];".to_owned(),
        format!(
            "long length = result(\"readlink\", readlink({}, target, sizeof target - 1));",
            path(&step.path)
        ),
        "if (length >= 0)".to_owned(),
        "\tsay_text(\"target\", target, length);".to_owned(),
    ]
}

fn mknod(step: &op::Mknod) -> Vec<String> {
    let kind = match step.kind {
        NodeType::File => "S_IFREG",
        NodeType::Char => "S_IFCHR",
        NodeType::Block => "S_IFBLK",
        NodeType::Fifo => "S_IFIFO",
        NodeType::Socket => "S_IFSOCK",
    };
    let device = step
        .rdev
        .map_or_else(|| "0".to_owned(), |rdev| format!("makedev({}, {})", rdev.major, rdev.minor));
    let mode = mode(step.mode, 0o644);
    result("mknod", format!("mknod({}, {kind} | {mode}, {device})", path(&step.path)))
}

fn chmod(step: &op::Chmod, context: &Context<'_>) -> Vec<String> {
    let rest = format!(", {}", mode(Some(step.mode), 0));
    let (by_path, by_fd) = (("chmod", "chmod("), ("fchmod", "fchmod("));
    context.either(step.path.as_ref(), step.fd.as_ref(), by_path, by_fd, &rest)
}

fn chown(step: &op::Chown, context: &Context<'_>) -> Vec<String> {
    let ids = format!(", {}, {}", id(step.uid), id(step.gid));
    match &step.path {
        Some(at) => {
            let how = nofollow(step.follow);
            result("fchownat", format!("fchownat(AT_FDCWD, {}{ids}, {how})", path(at)))
        }
        None => {
            let fd = context.fd_of(step.fd.as_ref());
            result("fchown", format!("fchown({fd}{ids})"))
        }
    }
}

fn utimes(step: &op::Utimes, context: &Context<'_>) -> Vec<String> {
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
            let fd = context.fd_of(step.fd.as_ref());
            result("futimens", format!("futimens({fd}, times)"))
        }
    };
    [vec![times], call].concat()
}

fn stat(step: &op::Stat, context: &Context<'_>) -> Vec<String> {
    let (dir, path, how) = match &step.path {
        Some(path) => {
            (context.dir(step.dirfd.as_ref()), literal(path.as_str()), nofollow(step.follow))
        }
        None => {
            let fd = context.fd_of(step.fd.as_ref());
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

fn list(step: &op::List, context: &Context<'_>) -> Vec<String> {
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
            let fd = context.fd_of(step.fd.as_ref());
            vec![format!("list_names({fd});")]
        }
    }
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
            let fd = context.fd_of(fd);
            format!("\"f{call}\", f{call}({fd}")
        }
    }
}

fn getxattr(step: &op::Getxattr, context: &Context<'_>) -> Vec<String> {
    let rest = format!(", {}, value, sizeof value)", literal(&step.name));
    let call = xattr(context, "getxattr", step.path.as_ref(), step.fd.as_ref(), step.follow);
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

fn setxattr(step: &op::Setxattr, context: &Context<'_>) -> Vec<String> {
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
    let call = xattr(context, "setxattr", step.path.as_ref(), step.fd.as_ref(), step.follow);
    let name = literal(&step.name);
    vec![format!("result({call}, {name}, {value}, {}, {flag}));", bytes.len())]
}

fn removexattr(step: &op::Removexattr, context: &Context<'_>) -> Vec<String> {
    let call = xattr(context, "removexattr", step.path.as_ref(), step.fd.as_ref(), step.follow);
    vec![format!("result({call}, {}));", literal(&step.name))]
}

fn listxattr(step: &op::Listxattr, context: &Context<'_>) -> Vec<String> {
    let call = xattr(context, "listxattr", step.path.as_ref(), step.fd.as_ref(), step.follow);
    vec![
        "static char names[65536];".to_owned(),
        format!("long length = result({call}, names, sizeof names));"),
        "if (length >= 0)".to_owned(),
        "\tsay_names(names, length);".to_owned(),
    ]
}

fn statfs(step: &op::Statfs) -> Vec<String> {
    vec![
        "struct statfs found;".to_owned(),
        format!("if (result(\"statfs\", statfs({}, &found)) >= 0)", path(&step.path)),
        "\tstatfs_type(found.f_type);".to_owned(),
    ]
}

fn access(step: &op::Access) -> Vec<String> {
    let how = flags(&step.purposes, access_purpose, "");
    let how = if step.purposes.is_empty() { "F_OK".to_owned() } else { how };
    let call =
        format!("syscall(SYS_faccessat2, AT_FDCWD, {}, {how}, AT_EACCESS)", path(&step.path));
    result("faccessat2", call)
}

fn flock(step: &op::Flock, context: &Context<'_>) -> Vec<String> {
    let lock = match step.lock {
        LockKind::Shared => "LOCK_SH | LOCK_NB",
        LockKind::Exclusive => "LOCK_EX | LOCK_NB",
        LockKind::Unlock => "LOCK_UN",
    };
    result("flock", format!("flock({}, {lock})", context.fd(&step.fd)))
}

fn nofollow(follow: bool) -> &'static str {
    if follow { "0" } else { "AT_SYMLINK_NOFOLLOW" }
}
