//! The words of the language as the constants of C, and values as they are shown.

use crate::scenario::operation::{
    AccessPurpose, MountFlag, Namespace, OpenFlag, OpenTreeFlag, PropagationType, RenameFlag,
    UmountFlag,
};
use crate::transcript::Value;

/// Flags joined by `|`, or `0`.
pub fn flags<T: Copy>(flags: &[T], name: fn(T) -> &'static str, first: &str) -> String {
    let first = Some(first).filter(|first| !first.is_empty());
    let all: Vec<&str> = first.into_iter().chain(flags.iter().map(|flag| name(*flag))).collect();
    if all.is_empty() { "0".to_owned() } else { all.join(" | ") }
}

/// A flag of open(2).
pub fn open_flag(flag: OpenFlag) -> &'static str {
    match flag {
        OpenFlag::Rdonly => "O_RDONLY",
        OpenFlag::Wronly => "O_WRONLY",
        OpenFlag::Rdwr => "O_RDWR",
        OpenFlag::Creat => "O_CREAT",
        OpenFlag::Excl => "O_EXCL",
        OpenFlag::Trunc => "O_TRUNC",
        OpenFlag::Append => "O_APPEND",
        OpenFlag::Directory => "O_DIRECTORY",
        OpenFlag::Nofollow => "O_NOFOLLOW",
        OpenFlag::Path => "O_PATH",
        OpenFlag::Tmpfile => "O_TMPFILE",
        OpenFlag::Noatime => "O_NOATIME",
        OpenFlag::Nonblock => "O_NONBLOCK",
        OpenFlag::Sync => "O_SYNC",
        OpenFlag::Direct => "O_DIRECT",
    }
}

/// A flag of renameat2(2).
pub fn rename_flag(flag: RenameFlag) -> &'static str {
    match flag {
        RenameFlag::Noreplace => "RENAME_NOREPLACE",
        RenameFlag::Exchange => "RENAME_EXCHANGE",
        RenameFlag::Whiteout => "RENAME_WHITEOUT",
    }
}

/// What access is asked for.
pub fn access_purpose(purpose: AccessPurpose) -> &'static str {
    match purpose {
        AccessPurpose::Read => "R_OK",
        AccessPurpose::Write => "W_OK",
        AccessPurpose::Execute => "X_OK",
    }
}

/// A flag of mount(2).
pub fn mount_flag(flag: MountFlag) -> &'static str {
    match flag {
        MountFlag::Ro => "MS_RDONLY",
        MountFlag::Nosuid => "MS_NOSUID",
        MountFlag::Nodev => "MS_NODEV",
        MountFlag::Noexec => "MS_NOEXEC",
        MountFlag::Noatime => "MS_NOATIME",
        MountFlag::Nodiratime => "MS_NODIRATIME",
        MountFlag::Relatime => "MS_RELATIME",
        MountFlag::Strictatime => "MS_STRICTATIME",
        MountFlag::Sync => "MS_SYNCHRONOUS",
        MountFlag::Dirsync => "MS_DIRSYNC",
        MountFlag::Nosymfollow => "256 /* MS_NOSYMFOLLOW */",
        MountFlag::Rec => "MS_REC",
        MountFlag::Private => "MS_PRIVATE",
        MountFlag::Shared => "MS_SHARED",
        MountFlag::Slave => "MS_SLAVE",
        MountFlag::Unbindable => "MS_UNBINDABLE",
        MountFlag::Bind => "MS_BIND",
        MountFlag::Silent => "MS_SILENT",
    }
}

/// A flag of umount2(2).
pub fn umount_flag(flag: UmountFlag) -> &'static str {
    match flag {
        UmountFlag::Detach => "MNT_DETACH",
        UmountFlag::Force => "MNT_FORCE",
        UmountFlag::Expire => "MNT_EXPIRE",
        UmountFlag::Nofollow => "UMOUNT_NOFOLLOW",
    }
}

/// The flag of a propagation type.
pub fn propagation(kind: PropagationType) -> &'static str {
    match kind {
        PropagationType::Shared => "MS_SHARED",
        PropagationType::Private => "MS_PRIVATE",
        PropagationType::Slave => "MS_SLAVE",
        PropagationType::Unbindable => "MS_UNBINDABLE",
    }
}

/// A flag of open_tree(2).
pub fn open_tree_flag(flag: OpenTreeFlag) -> &'static str {
    match flag {
        OpenTreeFlag::Clone => "1 /* OPEN_TREE_CLONE */",
        OpenTreeFlag::Recursive => "0x8000 /* AT_RECURSIVE */",
    }
}

/// The flag of a kind of namespace.
pub fn namespace(kind: Namespace) -> &'static str {
    match kind {
        Namespace::User => "CLONE_NEWUSER",
        Namespace::Mount => "CLONE_NEWNS",
        Namespace::Pid => "CLONE_NEWPID",
        Namespace::Net => "CLONE_NEWNET",
        Namespace::Ipc => "CLONE_NEWIPC",
        Namespace::Uts => "CLONE_NEWUTS",
        Namespace::Cgroup => "CLONE_NEWCGROUP",
        Namespace::Time => "0x80 /* CLONE_NEWTIME */",
    }
}

/// A value as it is shown; `None` where it is too long, is renumbered, or is not what was found.
pub fn shown(value: &Value) -> Option<String> {
    let shown = match value {
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.replace('\0', "\\0"),
        Value::List(items) => items.iter().map(shown).collect::<Option<Vec<_>>>()?.join(", "),
        Value::Map(_) | Value::Identity(..) => return None,
    };
    (shown.len() <= 1000 && !shown.contains("\\x")).then_some(shown)
}
