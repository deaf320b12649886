//! What the arguments of system calls are, each as its man page has it.
//!
//! Those about files, mounts, namespaces, ids and processes are here; any other is told without arguments.

use std::fmt;

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A descriptor, or `AT_FDCWD`.
    Descriptor,
    /// A path or another text that ends with a zero byte.
    Text,
    /// Bytes that are given, as many as the argument at this place says.
    Given(usize),
    /// Bytes that are returned, as many as the call returns.
    Returned,
    /// A number.
    Number,
    /// A number of 32 bits with a sign.
    Int,
    /// An id, -1 for one that stays.
    Id,
    /// Permission bits, and the type for mknod(2).
    Mode,
    /// Flags.
    Flags(&'static [(u64, &'static str)]),
    /// Flags of open(2): the way of access is a number in them.
    OpenFlags,
    /// One of several words.
    Word(&'static [(u64, &'static str)]),
    /// A structure of so many bytes, which is read and not shown.
    Struct(u64),
    /// A mask of bits.
    Mask,
    /// Something in memory that is not shown.
    Pointer,
}

/// What a call takes.
#[derive(Debug)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: &'static [Kind],
}

impl Signature {
    /// Those of its arguments that mean something beside the others.
    pub fn shown(&self, raw: &[u64; 6]) -> &'static [Kind] {
        let creates = |flags: u64| flags & (libc::O_CREAT | TMPFILE) as u64 != 0;
        let takes_none = [libc::F_GETFD, libc::F_GETFL];
        let without = match self.name {
            "open" if !creates(raw[1]) => 1,
            "openat" if !creates(raw[2]) => 1,
            "fcntl" if takes_none.iter().any(|command| *command as u64 == raw[1]) => 1,
            _ => 0,
        };
        &self.arguments[..self.arguments.len() - without]
    }
}

/// `__O_TMPFILE`: the C library's `O_TMPFILE` is a directory too.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
/// The C library has it as 0 where every file is large, and the kernel has it none the less.
const LARGEFILE: u64 = 0o100_000;

impl Kind {
    /// Writes an argument that points to nothing that is shown.
    ///
    /// # Errors
    /// Those of the formatter.
    pub fn write(self, f: &mut fmt::Formatter<'_>, raw: u64) -> fmt::Result {
        match self {
            Self::Descriptor if raw as u32 as i32 == libc::AT_FDCWD => f.write_str("AT_FDCWD"),
            Self::Descriptor | Self::Int | Self::Id => write!(f, "{}", raw as u32 as i32),
            Self::Number => write!(f, "{raw}"),
            Self::Mode => write!(f, "{raw:04o}"),
            Self::OpenFlags => open_flags(f, raw),
            Self::Flags(names) => flags(f, raw, names),
            Self::Word(names) => match names.iter().find(|(value, _)| *value == raw) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "{raw:#x}"),
            },
            Self::Mask => write!(f, "{raw:#x}"),
            _ if raw == 0 => f.write_str("NULL"),
            Self::Text | Self::Given(_) | Self::Returned | Self::Struct(_) | Self::Pointer => {
                f.write_str("…")
            }
        }
    }
}

fn flags(f: &mut fmt::Formatter<'_>, raw: u64, names: &[(u64, &str)]) -> fmt::Result {
    let mut left = raw;
    let mut said = Vec::new();
    for (bits, name) in names {
        if *bits != 0 && left & bits == *bits {
            left &= !bits;
            said.push((*name).to_owned());
        }
    }
    if left != 0 || said.is_empty() {
        said.push(if left == 0 { "0".to_owned() } else { format!("{left:#x}") });
    }
    f.write_str(&said.join("|"))
}

fn open_flags(f: &mut fmt::Formatter<'_>, raw: u64) -> fmt::Result {
    let access = match raw as i32 & libc::O_ACCMODE {
        libc::O_WRONLY => "O_WRONLY",
        libc::O_RDWR => "O_RDWR",
        _ => "O_RDONLY",
    };
    f.write_str(access)?;
    let rest = raw & !(libc::O_ACCMODE as u64) & !LARGEFILE;
    if rest == 0 {
        return Ok(());
    }
    f.write_str("|")?;
    flags(f, rest, OPEN)
}

/// Names with their values, as the C library has them.
macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name as u64, stringify!($name))),*] };
}

// What holds several bits stands before what holds one of them.
const OPEN: &[(u64, &str)] = names!(
    O_TMPFILE O_CREAT O_EXCL O_TRUNC O_APPEND O_NONBLOCK O_SYNC O_DSYNC O_DIRECT O_DIRECTORY O_NOFOLLOW
    O_NOATIME O_CLOEXEC O_PATH O_NOCTTY
);
const AT: &[(u64, &str)] =
    names!(AT_SYMLINK_NOFOLLOW AT_SYMLINK_FOLLOW AT_NO_AUTOMOUNT AT_EMPTY_PATH AT_STATX_DONT_SYNC);
const UNLINK: &[(u64, &str)] = names!(AT_REMOVEDIR);
const RENAME: &[(u64, &str)] = names!(RENAME_NOREPLACE RENAME_EXCHANGE RENAME_WHITEOUT);
const MOUNT: &[(u64, &str)] = names!(
    MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_SYNCHRONOUS MS_REMOUNT MS_MANDLOCK MS_DIRSYNC MS_NOATIME MS_NODIRATIME
    MS_BIND MS_MOVE MS_REC MS_SILENT MS_UNBINDABLE MS_PRIVATE MS_SLAVE MS_SHARED MS_RELATIME MS_STRICTATIME MS_LAZYTIME
);
const UMOUNT: &[(u64, &str)] = names!(MNT_FORCE MNT_DETACH MNT_EXPIRE UMOUNT_NOFOLLOW);
const CLONE: &[(u64, &str)] = names!(
    CLONE_NEWNS CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET CLONE_NEWCGROUP CLONE_VM CLONE_FS
    CLONE_FILES CLONE_VFORK CLONE_THREAD CLONE_PARENT CLONE_CHILD_CLEARTID CLONE_CHILD_SETTID CLONE_SIGHAND
);
/// `CLONE_NEWTIME` is none of the C library's for unshare(2) everywhere.
const UNSHARE: &[(u64, &str)] = &[
    (0x80, "CLONE_NEWTIME"),
    (libc::CLONE_NEWNS as u64, "CLONE_NEWNS"),
    (libc::CLONE_NEWUTS as u64, "CLONE_NEWUTS"),
    (libc::CLONE_NEWIPC as u64, "CLONE_NEWIPC"),
    (libc::CLONE_NEWUSER as u64, "CLONE_NEWUSER"),
    (libc::CLONE_NEWPID as u64, "CLONE_NEWPID"),
    (libc::CLONE_NEWNET as u64, "CLONE_NEWNET"),
    (libc::CLONE_NEWCGROUP as u64, "CLONE_NEWCGROUP"),
    (libc::CLONE_FS as u64, "CLONE_FS"),
    (libc::CLONE_FILES as u64, "CLONE_FILES"),
];
/// include/uapi/linux/mount.h
const OPEN_TREE: &[(u64, &str)] = &[
    (1, "OPEN_TREE_CLONE"),
    (libc::O_CLOEXEC as u64, "OPEN_TREE_CLOEXEC"),
    (0x8000, "AT_RECURSIVE"),
    (0x1000, "AT_EMPTY_PATH"),
    (0x100, "AT_SYMLINK_NOFOLLOW"),
];
const MOVE_MOUNT: &[(u64, &str)] = &[
    (0x1, "MOVE_MOUNT_F_SYMLINKS"),
    (0x2, "MOVE_MOUNT_F_AUTOMOUNTS"),
    (0x4, "MOVE_MOUNT_F_EMPTY_PATH"),
    (0x10, "MOVE_MOUNT_T_SYMLINKS"),
    (0x20, "MOVE_MOUNT_T_AUTOMOUNTS"),
    (0x40, "MOVE_MOUNT_T_EMPTY_PATH"),
    (0x100, "MOVE_MOUNT_SET_GROUP"),
    (0x200, "MOVE_MOUNT_BENEATH"),
];
const FSOPEN: &[(u64, &str)] = &[(1, "FSOPEN_CLOEXEC")];
const FSMOUNT: &[(u64, &str)] = &[(1, "FSMOUNT_CLOEXEC")];
const FSCONFIG: &[(u64, &str)] = &[
    (0, "FSCONFIG_SET_FLAG"),
    (1, "FSCONFIG_SET_STRING"),
    (2, "FSCONFIG_SET_BINARY"),
    (3, "FSCONFIG_SET_PATH"),
    (4, "FSCONFIG_SET_PATH_EMPTY"),
    (5, "FSCONFIG_SET_FD"),
    (6, "FSCONFIG_CMD_CREATE"),
    (7, "FSCONFIG_CMD_RECONFIGURE"),
    (8, "FSCONFIG_CMD_CREATE_EXCL"),
];
const MOUNT_ATTR: &[(u64, &str)] = &[
    (0x1, "MOUNT_ATTR_RDONLY"),
    (0x2, "MOUNT_ATTR_NOSUID"),
    (0x4, "MOUNT_ATTR_NODEV"),
    (0x8, "MOUNT_ATTR_NOEXEC"),
    (0x10, "MOUNT_ATTR_NOATIME"),
    (0x20, "MOUNT_ATTR_STRICTATIME"),
    (0x80, "MOUNT_ATTR_NODIRATIME"),
    (0x10_0000, "MOUNT_ATTR_IDMAP"),
    (0x20_0000, "MOUNT_ATTR_NOSYMFOLLOW"),
];
const MOUNT_SETATTR: &[(u64, &str)] =
    &[(0x8000, "AT_RECURSIVE"), (0x1000, "AT_EMPTY_PATH"), (0x100, "AT_SYMLINK_NOFOLLOW")];
const XATTR: &[(u64, &str)] = names!(XATTR_CREATE XATTR_REPLACE);
const ACCESS: &[(u64, &str)] = names!(R_OK W_OK X_OK);
const WHENCE: &[(u64, &str)] = names!(SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE);
const LOCK: &[(u64, &str)] = names!(LOCK_SH LOCK_EX LOCK_NB LOCK_UN);
const PRCTL: &[(u64, &str)] = names!(
    PR_SET_PDEATHSIG PR_GET_DUMPABLE PR_SET_DUMPABLE PR_GET_KEEPCAPS PR_SET_KEEPCAPS PR_SET_NAME PR_CAPBSET_READ
    PR_CAPBSET_DROP PR_GET_SECUREBITS PR_SET_SECUREBITS PR_SET_NO_NEW_PRIVS PR_GET_NO_NEW_PRIVS PR_CAP_AMBIENT
);
const FCNTL: &[(u64, &str)] = names!(
    F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC F_GETLK F_SETLK F_SETLKW F_ADD_SEALS
);

use Kind::{
    Descriptor as D, Flags, Id, Int, Mode, Number as N, OpenFlags, Pointer as P, Text as T, Word,
};

/// Signatures, a line a call.
macro_rules! signatures {
    ($($name:literal ($($kind:expr),*))*) => {
        const ALL: &[Signature] = &[$(Signature { name: $name, arguments: &[$($kind),*] }),*];
    };
}

signatures! {
    "open" (T, OpenFlags, Mode)
    "creat" (T, Mode)
    "openat" (D, T, OpenFlags, Mode)
    "openat2" (D, T, P, N)
    "close" (D)
    "close_range" (D, D, N)
    "read" (D, Kind::Returned, N)
    "pread64" (D, Kind::Returned, N, N)
    "write" (D, Kind::Given(2), N)
    "pwrite64" (D, Kind::Given(2), N, N)
    "readv" (D, P, N)
    "writev" (D, P, N)
    "copy_file_range" (D, P, D, P, N, N)
    "sendfile" (D, D, P, N)
    "lseek" (D, N, Word(WHENCE))
    "truncate" (T, N)
    "ftruncate" (D, N)
    "fallocate" (D, N, N, N)
    "fsync" (D)
    "fdatasync" (D)
    "flock" (D, Flags(LOCK))
    "dup" (D)
    "dup2" (D, D)
    "dup3" (D, D, OpenFlags)
    "fcntl" (D, Word(FCNTL), N)
    "mkdir" (T, Mode)
    "mkdirat" (D, T, Mode)
    "rmdir" (T)
    "unlink" (T)
    "unlinkat" (D, T, Flags(UNLINK))
    "rename" (T, T)
    "renameat" (D, T, D, T)
    "renameat2" (D, T, D, T, Flags(RENAME))
    "link" (T, T)
    "linkat" (D, T, D, T, Flags(AT))
    "symlink" (T, T)
    "symlinkat" (T, D, T)
    "readlink" (T, Kind::Returned, N)
    "readlinkat" (D, T, Kind::Returned, N)
    "mknod" (T, Mode, N)
    "mknodat" (D, T, Mode, N)
    "chmod" (T, Mode)
    "fchmod" (D, Mode)
    "fchmodat" (D, T, Mode)
    "fchmodat2" (D, T, Mode, Flags(AT))
    "chown" (T, Id, Id)
    "lchown" (T, Id, Id)
    "fchown" (D, Id, Id)
    "fchownat" (D, T, Id, Id, Flags(AT))
    "utime" (T, P)
    "utimes" (T, P)
    "futimesat" (D, T, P)
    "utimensat" (D, T, Kind::Struct(32), Flags(AT))
    "stat" (T, P)
    "lstat" (T, P)
    "fstat" (D, P)
    "newfstatat" (D, T, P, Flags(AT))
    "statx" (D, T, Flags(AT), Kind::Mask, P)
    "access" (T, Flags(ACCESS))
    "faccessat" (D, T, Flags(ACCESS))
    "faccessat2" (D, T, Flags(ACCESS), Flags(AT))
    "statfs" (T, P)
    "fstatfs" (D, P)
    "getdents" (D, P, N)
    "getdents64" (D, P, N)
    "getcwd" (P, N)
    "chdir" (T)
    "fchdir" (D)
    "chroot" (T)
    "pivot_root" (T, T)
    "umask" (Mode)
    "setxattr" (T, T, Kind::Given(3), N, Flags(XATTR))
    "lsetxattr" (T, T, Kind::Given(3), N, Flags(XATTR))
    "fsetxattr" (D, T, Kind::Given(3), N, Flags(XATTR))
    "getxattr" (T, T, Kind::Returned, N)
    "lgetxattr" (T, T, Kind::Returned, N)
    "fgetxattr" (D, T, Kind::Returned, N)
    "listxattr" (T, Kind::Returned, N)
    "llistxattr" (T, Kind::Returned, N)
    "flistxattr" (D, Kind::Returned, N)
    "removexattr" (T, T)
    "lremovexattr" (T, T)
    "fremovexattr" (D, T)
    "mount" (T, T, T, Flags(MOUNT), T)
    "umount2" (T, Flags(UMOUNT))
    "fsopen" (T, Flags(FSOPEN))
    "fsconfig" (D, Word(FSCONFIG), T, T, Int)
    "fsmount" (D, Flags(FSMOUNT), Flags(MOUNT_ATTR))
    "fspick" (D, T, N)
    "open_tree" (D, T, Flags(OPEN_TREE))
    "move_mount" (D, T, D, T, Flags(MOVE_MOUNT))
    "mount_setattr" (D, T, Flags(MOUNT_SETATTR), P, N)
    "statmount" (P, P, N, N)
    "listmount" (P, P, N, N)
    "unshare" (Flags(UNSHARE))
    "setns" (D, Flags(UNSHARE))
    "clone" (Flags(CLONE), P)
    "clone3" (P, N)
    "fork" ()
    "vfork" ()
    "execve" (T, P, P)
    "execveat" (D, T, P, P, Flags(AT))
    "exit" (Int)
    "exit_group" (Int)
    "wait4" (Int, P, N, P)
    "waitid" (N, Int, P, N, P)
    "setuid" (Id)
    "setgid" (Id)
    "setreuid" (Id, Id)
    "setregid" (Id, Id)
    "setresuid" (Id, Id, Id)
    "setresgid" (Id, Id, Id)
    "setfsuid" (Id)
    "setfsgid" (Id)
    "setgroups" (N, P)
    "getgroups" (N, P)
    "getuid" ()
    "geteuid" ()
    "getgid" ()
    "getegid" ()
    "getresuid" (P, P, P)
    "getresgid" (P, P, P)
    "getpid" ()
    "getppid" ()
    "capget" (P, P)
    "capset" (P, P)
    "prctl" (Word(PRCTL), N, N, N, N)
    "sethostname" (Kind::Given(1), N)
    "socket" (N, N, N)
    "pipe2" (P, OpenFlags)
    "ioctl" (D, N, P)
    "memfd_create" (T, N)
    "pidfd_open" (Int, N)
    "kill" (Int, Int)
}

/// What a call takes, by its name.
pub fn signature(name: &str) -> Option<&'static Signature> {
    ALL.iter().find(|signature| signature.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_there_once() {
        for (index, one) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != one.name), "{}", one.name);
            for (place, kind) in one.arguments.iter().enumerate() {
                if let Kind::Given(length) = kind {
                    assert!(one.arguments[*length] == N && *length != place, "{}", one.name);
                }
            }
        }
    }
}
