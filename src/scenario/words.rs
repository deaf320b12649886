//! The words of the language that name flags, types and kinds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares enums of words.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $(#[$default:ident])? $variant:ident),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[doc = $doc])+ $(#[$default])? $variant),+ }
    )+};
}

words! {
    /// A flag of open(2).
    OpenFlag {
        /// `O_RDONLY`
        Rdonly,
        /// `O_WRONLY`
        Wronly,
        /// `O_RDWR`
        Rdwr,
        /// `O_CREAT`
        Creat,
        /// `O_EXCL`
        Excl,
        /// `O_TRUNC`
        Trunc,
        /// `O_APPEND`
        Append,
        /// `O_DIRECTORY`
        Directory,
        /// `O_NOFOLLOW`
        Nofollow,
        /// `O_PATH`
        Path,
        /// `O_TMPFILE`
        Tmpfile,
        /// `O_NOATIME`
        Noatime,
        /// `O_NONBLOCK`
        Nonblock,
        /// `O_SYNC`
        Sync,
        /// `O_DIRECT`
        Direct,
    }
    /// A flag of renameat2(2).
    RenameFlag {
        /// `RENAME_NOREPLACE`: fails where the new path exists.
        Noreplace,
        /// `RENAME_EXCHANGE`: exchanges the two.
        Exchange,
        /// `RENAME_WHITEOUT`: leaves a whiteout behind.
        Whiteout,
    }
    /// What mknod(2) makes.
    NodeType {
        /// A regular file.
        File,
        /// A character device.
        Char,
        /// A block device.
        Block,
        /// A named pipe.
        Fifo,
        /// A socket.
        Socket,
    }
    /// A flag of setxattr(2).
    XattrFlag {
        /// `XATTR_CREATE`
        Create,
        /// `XATTR_REPLACE`
        Replace,
    }
    /// What access is asked for.
    AccessPurpose {
        /// `R_OK`
        Read,
        /// `W_OK`
        Write,
        /// `X_OK`
        Execute,
    }
    /// What flock(2) does.
    LockKind {
        /// `LOCK_SH`
        Shared,
        /// `LOCK_EX`
        Exclusive,
        /// `LOCK_UN`
        Unlock,
    }
    /// A flag of mount(2).
    MountFlag {
        /// `MS_RDONLY`
        Ro,
        /// `MS_NOSUID`
        Nosuid,
        /// `MS_NODEV`
        Nodev,
        /// `MS_NOEXEC`
        Noexec,
        /// `MS_NOATIME`
        Noatime,
        /// `MS_NODIRATIME`
        Nodiratime,
        /// `MS_RELATIME`
        Relatime,
        /// `MS_STRICTATIME`
        Strictatime,
        /// `MS_SYNCHRONOUS`
        Sync,
        /// `MS_DIRSYNC`
        Dirsync,
        /// `MS_NOSYMFOLLOW`
        Nosymfollow,
        /// `MS_REC`
        Rec,
        /// `MS_PRIVATE`, to test that it does not go together with others
        Private,
        /// `MS_SHARED`
        Shared,
        /// `MS_SLAVE`
        Slave,
        /// `MS_UNBINDABLE`
        Unbindable,
        /// `MS_BIND`
        Bind,
        /// `MS_SILENT`
        Silent,
    }
    /// Which interface mounts.
    #[derive(Default)]
    MountApi {
        /// mount(2)
        #[default]
        Classic,
        /// fsopen(2), fsconfig(2), fsmount(2) and move_mount(2)
        New,
    }
    /// Who mounts an overlay.
    Mounter {
        /// The kernel, whatever the run names.
        Kernel,
        /// The program that the run names by --overlay; without one the scenario is skipped.
        Program,
    }
    /// A flag of umount2(2).
    UmountFlag {
        /// `MNT_DETACH`: at once from the tree, later from memory.
        Detach,
        /// `MNT_FORCE`
        Force,
        /// `MNT_EXPIRE`
        Expire,
        /// `UMOUNT_NOFOLLOW`
        Nofollow,
    }
    /// A propagation type, as in mount_namespaces(7).
    PropagationType {
        /// Sends to its peers and receives from them.
        Shared,
        /// Neither sends nor receives.
        Private,
        /// Receives from its master and does not send to it.
        Slave,
        /// Private, and cannot be bound.
        Unbindable,
    }
    /// What fsconfig(2) does with a context.
    FsCommand {
        /// `FSCONFIG_CMD_CREATE`
        Create,
        /// `FSCONFIG_CMD_CREATE_EXCL`
        CreateExclusive,
        /// `FSCONFIG_CMD_RECONFIGURE`
        Reconfigure,
    }
    /// An attribute of a mount, as in mount_setattr(2).
    MountAttribute {
        /// `MOUNT_ATTR_RDONLY`
        Ro,
        /// `MOUNT_ATTR_NOSUID`
        Nosuid,
        /// `MOUNT_ATTR_NODEV`
        Nodev,
        /// `MOUNT_ATTR_NOEXEC`
        Noexec,
        /// `MOUNT_ATTR_NOATIME`
        Noatime,
        /// `MOUNT_ATTR_STRICTATIME`
        Strictatime,
        /// `MOUNT_ATTR__ATIME`: the whole field of access time settings, to be cleared before one is set.
        Atime,
        /// `MOUNT_ATTR_NODIRATIME`
        Nodiratime,
        /// `MOUNT_ATTR_NOSYMFOLLOW`
        Nosymfollow,
        /// `MOUNT_ATTR_IDMAP`, to test that it cannot be cleared
        Idmap,
    }
    /// A flag of open_tree(2).
    OpenTreeFlag {
        /// `OPEN_TREE_CLONE`: a detached copy.
        Clone,
        /// `AT_RECURSIVE`: with all mounts below.
        Recursive,
    }
    /// A kind of namespace, as in namespaces(7).
    Namespace {
        /// User and group ids, capabilities.
        User,
        /// The mount table.
        Mount,
        /// Process ids.
        Pid,
        /// The network.
        Net,
        /// System V and POSIX message queues.
        Ipc,
        /// Host name.
        Uts,
        /// The root of the cgroup tree.
        Cgroup,
        /// The boot-time and monotonic clocks.
        Time,
    }
}

impl MountFlag {
    /// The attribute of a mount that the new mount API has for a flag of mount(2): relatime is its
    /// default and so the empty set.
    pub fn attribute(self) -> Option<&'static [MountAttribute]> {
        match self {
            Self::Ro => Some(&[MountAttribute::Ro]),
            Self::Nosuid => Some(&[MountAttribute::Nosuid]),
            Self::Nodev => Some(&[MountAttribute::Nodev]),
            Self::Noexec => Some(&[MountAttribute::Noexec]),
            Self::Noatime => Some(&[MountAttribute::Noatime]),
            Self::Nodiratime => Some(&[MountAttribute::Nodiratime]),
            Self::Strictatime => Some(&[MountAttribute::Strictatime]),
            Self::Nosymfollow => Some(&[MountAttribute::Nosymfollow]),
            Self::Relatime => Some(&[]),
            _ => None,
        }
    }
}

impl MountAttribute {
    /// The bits of attributes: `MOUNT_ATTR_*` of include/uapi/linux/mount.h.
    pub fn bits(attributes: &[Self]) -> u64 {
        attributes.iter().fold(0, |all, attribute| {
            all | match attribute {
                Self::Ro => 0x1,
                Self::Nosuid => 0x2,
                Self::Nodev => 0x4,
                Self::Noexec => 0x8,
                Self::Noatime => 0x10,
                Self::Strictatime => 0x20,
                Self::Atime => 0x70,
                Self::Nodiratime => 0x80,
                Self::Idmap => 0x0010_0000,
                Self::Nosymfollow => 0x0020_0000,
            }
        })
    }
}

impl Namespace {
    /// The file in /proc/PID/ns.
    pub fn file(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}
