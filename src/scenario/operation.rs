//! The steps of the language: one operation each, named as the syscall or the concept is named.
//!
//! The same types are decoded from YAML, travel in a plan and are performed by a worker. Their
//! documentation is the reference that users read: the schema and `docs/scenario-format.md` are
//! made from it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::words::{
    AccessPurpose, FsCommand, LockKind, MountApi, MountAttribute, MountFlag, Namespace, NodeType,
    OpenFlag, OpenTreeFlag, PropagationType, RenameFlag, UmountFlag, XattrFlag,
};

use super::scalar::{Capability, DeviceNumber, IdMap, Mode, Name, StepPath, Timestamp};

/// Most bytes that one step reads. What is read stands in a transcript as JSON, where a byte may take
/// six.
pub const MAX_READ: u32 = 1 << 20;
/// How many bytes a step reads where it does not say.
const DEFAULT_READ: u32 = 64 << 10;

/// Declares the operations: the enum, a struct for each with its fields, and their tables.
macro_rules! operations {
    ($(
        $(#[doc = $doc:literal])+
        $family:ident $variant:ident = $word:literal { $(
            $(#[doc = $field_doc:literal])+
            $(#[serde($($serde:tt)*)])?
            $field:ident: $type:ty
        ),* $(,)? } gives { $($value:literal: $value_doc:literal),* $(,)? }
    )+) => {
        /// One operation of one actor.
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        pub enum Operation {
            $(
                $(#[doc = $doc])+
                #[serde(rename = $word)]
                $variant($variant),
            )+
        }

        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
            #[serde(deny_unknown_fields)]
            pub struct $variant {
                $(
                    $(#[doc = $field_doc])+
                    $(#[serde($($serde)*)])?
                    pub $field: $type,
                )*
            }
        )+

        impl Operation {
            /// What the language knows of each operation, in the order of its documentation.
            pub const ALL: &[Described] = &[$(Described {
                word: $word,
                family: Family::$family,
                values: &[$(($value, $value_doc)),*],
            }),+];

            /// The word that names it in YAML.
            pub fn word(&self) -> &'static str {
                match self { $(Self::$variant(_) => $word),+ }
            }
        }
    };
}

/// A family of operations, as the documentation and the worker are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Files, directories and their attributes.
    Files,
    /// The mount table.
    Mounts,
    /// Root and working directories.
    Roots,
    /// Namespaces and id maps.
    Namespaces,
    /// Ids, capabilities and process attributes.
    Credentials,
    /// Running a program.
    Exec,
}

/// What the language knows of one operation.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// The word that names it in YAML.
    pub word: &'static str,
    /// Where it belongs.
    pub family: Family,
    /// The values of a successful outcome that `expect` may name, each with its meaning.
    pub values: &'static [(&'static str, &'static str)],
}

impl Operation {
    /// What the language knows of this operation.
    pub fn described(&self) -> &'static Described {
        let word = self.word();
        Self::ALL.iter().find(|d| d.word == word).expect("every operation is described")
    }
}

operations! {
    // ---- files ----

    /// Opens a file by openat(2) and keeps it open under the name `fd`.
    Files Open = "open" {
        /// The path.
        path: StepPath,
        /// Flags of open(2), in lower case without `O_`; `[rdonly]` if left out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<OpenFlag>,
        /// Permission bits of a file that is created; 0644 if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<Mode>,
        /// The name of an open directory that a relative path starts from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dirfd: Option<Name>,
        /// The name that later steps of the same actor use for the open file; without it the file
        /// is closed at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
    } gives {}

    /// Reads from a path (open, read to the end, close) or from an open file at its position.
    Files Read = "read" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// Where to read, by pread(2); otherwise from the file's position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// The most bytes to read, up to 1 MiB; 64 KiB if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<u32>,
    } gives { "data": "the bytes as text", "length": "how many bytes" }

    /// Writes to a path (created where missing and truncated, as a shell's `>` does) or to an open file.
    Files Write = "write" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// What to write.
        data: String,
        /// Writes to the end of the file, as a shell's `>>` does.
        #[serde(default, skip_serializing_if = "is_false")]
        append: bool,
        /// Where to write, by pwrite(2).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// Permission bits of a file that is created; 0644 if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<Mode>,
    } gives { "length": "how many bytes were written" }

    /// Sets a file's length by truncate(2) or ftruncate(2).
    Files Truncate = "truncate" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// The new length in bytes.
        length: u64,
    } gives {}

    /// Closes an open file.
    Files Close = "close" {
        /// Its name.
        fd: Name,
    } gives {}

    /// Creates a directory by mkdir(2).
    Files Mkdir = "mkdir" {
        /// The path.
        path: StepPath,
        /// Permission bits, before the umask; 0755 if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<Mode>,
    } gives {}

    /// Removes an empty directory by rmdir(2).
    Files Rmdir = "rmdir" {
        /// The path.
        path: StepPath,
    } gives {}

    /// Removes a name by unlink(2).
    Files Unlink = "unlink" {
        /// The path.
        path: StepPath,
    } gives {}

    /// Renames by renameat2(2).
    Files Rename = "rename" {
        /// The old path.
        from: StepPath,
        /// The new path.
        to: StepPath,
        /// Flags of renameat2(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<RenameFlag>,
    } gives {}

    /// Makes a hard link by linkat(2).
    Files Link = "link" {
        /// The file that gets one more name.
        from: StepPath,
        /// The new name.
        to: StepPath,
        /// Follows `from` where it is a symbolic link (`AT_SYMLINK_FOLLOW`).
        #[serde(default, skip_serializing_if = "is_false")]
        follow: bool,
    } gives {}

    /// Makes a symbolic link by symlink(2).
    Files Symlink = "symlink" {
        /// What the link says; any text.
        target: String,
        /// Where the link is made.
        path: StepPath,
    } gives {}

    /// Reads a symbolic link by readlink(2).
    Files Readlink = "readlink" {
        /// The path.
        path: StepPath,
    } gives { "target": "what the link says" }

    /// Makes a node by mknod(2).
    Files Mknod = "mknod" {
        /// The path.
        path: StepPath,
        /// What kind of node.
        #[serde(rename = "type")]
        kind: NodeType,
        /// The device number of a `char` or `block` node.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rdev: Option<DeviceNumber>,
        /// Permission bits, before the umask; 0644 if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<Mode>,
    } gives {}

    /// Changes permission bits by chmod(2) or fchmod(2).
    Files Chmod = "chmod" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// The new permission bits.
        mode: Mode,
    } gives {}

    /// Changes the owner by fchownat(2) or fchown(2); an id that is left out stays (-1).
    Files Chown = "chown" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// The new user id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
        /// The new group id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gid: Option<u32>,
        /// Follows a symbolic link; true if left out.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        follow: bool,
    } gives {}

    /// Sets access and modification time by utimensat(2) or futimens(3).
    Files Utimes = "utimes" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// The access time; `omit` if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        atime: Option<Timestamp>,
        /// The modification time; `omit` if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtime: Option<Timestamp>,
        /// Follows a symbolic link; true if left out.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        follow: bool,
    } gives {}

    /// Asks for a file's attributes by statx(2).
    Files Stat = "stat" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// The name of an open directory that a relative path starts from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dirfd: Option<Name>,
        /// Follows a symbolic link; true if left out.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        follow: bool,
    } gives {
        "type": "file, dir, symlink, char, block, fifo or socket",
        "mode": "permission bits in octal",
        "uid": "the owner as the actor sees it",
        "gid": "the group as the actor sees it",
        "size": "length in bytes",
        "blocks": "512-byte blocks allocated",
        "nlink": "number of hard links",
        "rdev": "device number of a char or block node",
        "ino": "which file it is, by device and inode number, renumbered: compare it by same_as",
        "ino_number": "the inode number alone, renumbered: two devices may use one number",
        "dev": "the device, renumbered: compare it by same_as",
        "atime": "access time",
        "mtime": "modification time",
        "ctime": "change time",
        "mount_root": "whether it is the root of a mount (STATX_ATTR_MOUNT_ROOT)",
    }

    /// Lists a directory by getdents64(2), without `.` and `..`, sorted.
    Files List = "list" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open directory; it is read from its start.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
    } gives { "names": "the names, sorted", "count": "how many" }

    /// Reads an extended attribute by getxattr(2), or lgetxattr(2) where `follow` is false.
    Files Getxattr = "getxattr" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// The attribute, with its namespace: `user.key`.
        name: String,
        /// Follows a symbolic link; true if left out.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        follow: bool,
    } gives { "value": "the value as text", "length": "its length in bytes" }

    /// Sets an extended attribute by setxattr(2), or lsetxattr(2) where `follow` is false.
    Files Setxattr = "setxattr" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// The attribute, with its namespace: `user.key`.
        name: String,
        /// The value; or give `hex`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// The value as hexadecimal digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hex: Option<String>,
        /// `create` fails where it exists, `replace` where it does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flag: Option<XattrFlag>,
        /// Follows a symbolic link; true if left out.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        follow: bool,
    } gives {}

    /// Removes an extended attribute by removexattr(2), or lremovexattr(2) where `follow` is false.
    Files Removexattr = "removexattr" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// The attribute, with its namespace: `user.key`.
        name: String,
        /// Follows a symbolic link; true if left out.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        follow: bool,
    } gives {}

    /// Lists the extended attributes by listxattr(2), sorted.
    Files Listxattr = "listxattr" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// Follows a symbolic link; true if left out.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        follow: bool,
    } gives { "names": "the names, sorted", "count": "how many" }

    /// Asks for the file system's attributes by statfs(2).
    Files Statfs = "statfs" {
        /// The path.
        path: StepPath,
    } gives {
        "type": "the name of the file system, or its magic number in hexadecimal",
        "flags": "mount flags, sorted: ro, nosuid, nodev, noexec, noatime, nodiratime, relatime",
    }

    /// Asks whether the actor may access a path by faccessat2(2) with its effective ids.
    Files Access = "access" {
        /// The path.
        path: StepPath,
        /// What for: `read`, `write`, `execute`; none asks whether it exists.
        #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "for")]
        purposes: Vec<AccessPurpose>,
    } gives {}

    /// Locks an open file by flock(2) without waiting.
    Files Flock = "flock" {
        /// The name of an open file.
        fd: Name,
        /// What to do.
        lock: LockKind,
    } gives {}

    // ---- mounts ----

    /// Mounts a file system by mount(2).
    Mounts Mount = "mount" {
        /// The type, as in /proc/filesystems.
        #[serde(rename = "type")]
        kind: String,
        /// The mount point.
        at: StepPath,
        /// The source; the type's name if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// Flags of mount(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<MountFlag>,
        /// The type's own options.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    } gives {}

    /// Mounts an overlay, by mount(2) or by the new mount API.
    Mounts Overlay = "overlay" {
        /// The mount point.
        at: StepPath,
        /// The lower layers, topmost first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lower: Vec<StepPath>,
        /// Data-only lower layers, behind the lower ones.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        data: Vec<StepPath>,
        /// The upper layer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upper: Option<StepPath>,
        /// The work directory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        work: Option<StepPath>,
        /// Other options, as in `redirect_dir=on`. A rootless overlay keeps its marks in `user.*`
        /// attributes only if `userxattr` is given.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
        /// Flags of mount(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<MountFlag>,
        /// Which interface mounts it; `classic` if left out. With `new` the kernel's message is in the report.
        #[serde(default, skip_serializing_if = "is_classic")]
        api: MountApi,
    } gives {}

    /// Binds a directory or file to another place by mount(2) with `MS_BIND`.
    Mounts Bind = "bind" {
        /// What is bound.
        from: StepPath,
        /// The mount point.
        at: StepPath,
    } gives {}

    /// Binds a directory with all mounts below it by mount(2) with `MS_BIND|MS_REC`.
    Mounts Rbind = "rbind" {
        /// What is bound.
        from: StepPath,
        /// The mount point.
        at: StepPath,
    } gives {}

    /// Moves a mount by mount(2) with `MS_MOVE`.
    Mounts Move = "move" {
        /// The mount point now.
        from: StepPath,
        /// The new mount point.
        at: StepPath,
    } gives {}

    /// Unmounts by umount2(2).
    Mounts Umount = "umount" {
        /// The mount point.
        at: StepPath,
        /// Flags of umount2(2): `detach`, `force`, `expire`, `nofollow`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<UmountFlag>,
    } gives {}

    /// Changes a mount by mount(2) with `MS_REMOUNT`; flags that are left out are cleared.
    Mounts Remount = "remount" {
        /// The mount point.
        at: StepPath,
        /// Changes this mount only and not its file system (`MS_BIND`).
        #[serde(default, skip_serializing_if = "is_false")]
        bind: bool,
        /// Flags of mount(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<MountFlag>,
        /// The file system's own options.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    } gives {}

    /// Changes a mount's propagation type by mount(2).
    Mounts Propagation = "propagation" {
        /// The mount point.
        at: StepPath,
        /// The new type.
        #[serde(rename = "type")]
        kind: PropagationType,
        /// Changes all mounts below too (`MS_REC`).
        #[serde(default, skip_serializing_if = "is_false")]
        recursive: bool,
    } gives {}

    /// Asks whether a place is the root of a mount in the actor's namespace (`STATX_ATTR_MOUNT_ROOT`).
    Mounts Mounted = "mounted" {
        /// The place.
        at: StepPath,
    } gives { "mounted": "true or false; `expect: true` is short for it" }

    /// Attaches a file to a free loop device (`LOOP_CONFIGURE`), as losetup(8) does, and makes the
    /// device's node, which is then the source of a `mount`. The device is freed when nobody uses it any
    /// more: when it was unmounted and whoever attached it has ended.
    Mounts Losetup = "losetup" {
        /// The file that holds a file system, as `image` in a tree makes it.
        file: StepPath,
        /// Where the block device's node is made. It can be opened only where devices are allowed: the
        /// sandbox's own file system is mounted with `nodev`, a tmpfs of the scenario is not.
        at: StepPath,
        /// Whether what is mounted of it can only be read (`LO_FLAGS_READ_ONLY`).
        #[serde(default, skip_serializing_if = "is_false")]
        read_only: bool,
    } gives {}

    /// Mounts a directory once more through FUSE: a process of nsharness serves it for as long as the
    /// scenario runs, and does with the files what is asked for as the user and group that ask, with none
    /// of their capabilities or supplementary groups.
    Mounts Fuse = "fuse" {
        /// The directory that is served.
        from: StepPath,
        /// The mount point.
        at: StepPath,
        /// The node of the FUSE device, `10:229`, that is opened. One that nobody else sees if left out:
        /// that takes real root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<StepPath>,
        /// Options of the mount, as in `allow_other` and `default_permissions`; `fd`, `rootmode`, `user_id`
        /// and `group_id` are given by themselves.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
        /// Flags of mount(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<MountFlag>,
    } gives {}

    /// Opens a file system context by fsopen(2), kept under the name `fd`.
    Mounts Fsopen = "fsopen" {
        /// The type, as in /proc/filesystems.
        #[serde(rename = "type")]
        kind: String,
        /// The name that later steps use for the context.
        fd: Name,
    } gives {}

    /// Sets a parameter of a context, or creates its file system, by fsconfig(2). The kernel's
    /// message is in the report.
    Mounts Fsconfig = "fsconfig" {
        /// The name of the context.
        fd: Name,
        /// The parameter; or give `command`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The parameter's value; without one it is a flag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// The name of an open file as the parameter's value (`FSCONFIG_SET_FD`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value_fd: Option<Name>,
        /// What to do with the context instead of setting a parameter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<FsCommand>,
    } gives {}

    /// Makes a detached mount of a context by fsmount(2), kept under the name `mount`.
    Mounts Fsmount = "fsmount" {
        /// The name of the context.
        fd: Name,
        /// The name that later steps use for the mount.
        mount: Name,
        /// Attributes of the mount.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attributes: Vec<MountAttribute>,
    } gives {}

    /// Picks a mount, or a detached copy of it, by open_tree(2), kept under the name `mount`.
    Mounts OpenTree = "open_tree" {
        /// The path.
        path: StepPath,
        /// Flags of open_tree(2): `clone`, `recursive`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<OpenTreeFlag>,
        /// The name that later steps use for the mount.
        mount: Name,
    } gives {}

    /// Attaches or moves a mount by move_mount(2).
    Mounts MoveMount = "move_mount" {
        /// The name of a mount; or give `from`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<Name>,
        /// The mount point now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<StepPath>,
        /// The new mount point.
        at: StepPath,
        /// Mounts beneath the topmost mount there (`MOVE_MOUNT_BENEATH`, Linux 6.5).
        #[serde(default, skip_serializing_if = "is_false")]
        beneath: bool,
        /// Moves nothing: the mount at `at` joins the peer group of `mount` or `from`
        /// (`MOVE_MOUNT_SET_GROUP`, Linux 5.15).
        #[serde(default, skip_serializing_if = "is_false")]
        set_group: bool,
    } gives {}

    /// Changes a mount's attributes by mount_setattr(2); attributes that are left out stay.
    Mounts MountSetattr = "mount_setattr" {
        /// The path of the mount; or give `mount`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<StepPath>,
        /// The name of a mount.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<Name>,
        /// Changes all mounts below too, or none (`AT_RECURSIVE`).
        #[serde(default, skip_serializing_if = "is_false")]
        recursive: bool,
        /// Attributes to set.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        set: Vec<MountAttribute>,
        /// Attributes to clear.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        clear: Vec<MountAttribute>,
        /// The new propagation type.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        propagation: Option<PropagationType>,
        /// Makes it an idmapped mount by a user namespace with these maps (`MOUNT_ATTR_IDMAP`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idmap: Option<IdMaps>,
    } gives {}

    // ---- roots ----

    /// Changes the actor's root directory by chroot(2); the working directory stays.
    Roots Chroot = "chroot" {
        /// The new root.
        path: StepPath,
    } gives {}

    /// Changes the actor's working directory by chdir(2).
    Roots Chdir = "chdir" {
        /// The new working directory.
        path: StepPath,
    } gives {}

    /// Changes the actor's working directory to an open directory by fchdir(2).
    Roots Fchdir = "fchdir" {
        /// The name of an open directory.
        fd: Name,
    } gives {}

    /// Asks for the path of the working directory by getcwd(2).
    Roots Getcwd = "getcwd" {} gives {
        "path": "the path, which starts with (unreachable) where the root does not lead to it",
    }

    /// Makes a mount the root of the mount namespace by pivot_root(2).
    Roots PivotRoot = "pivot_root" {
        /// The mount that becomes the root.
        new_root: StepPath,
        /// Where the old root is mounted.
        put_old: StepPath,
    } gives {}

    // ---- namespaces ----

    /// Leaves shared namespaces for new ones by unshare(2). `pid` moves only later children of the actor.
    Namespaces Unshare = "unshare" {
        /// The namespaces.
        namespaces: Vec<Namespace>,
    } gives {}

    /// Enters a namespace of another actor by setns(2).
    Namespaces Setns = "setns" {
        /// The actor whose namespace is entered; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// Which of its namespaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<Namespace>,
        /// The name of an open namespace file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
    } gives {}

    /// Opens a namespace file of an actor, /proc/PID/ns/..., kept under the name `fd`.
    Namespaces OpenNamespace = "open_namespace" {
        /// The actor; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// Which of its namespaces.
        namespace: Namespace,
        /// The name that later steps use for it.
        fd: Name,
    } gives {}

    /// Writes /proc/PID/uid_map of an actor in one write(2), verbatim: it is allowed to be wrong.
    Namespaces WriteUidMap = "write_uid_map" {
        /// The actor whose user namespace gets the map; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// What is written.
        text: String,
        /// What is written in a second write(2) to the same open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        then: Option<String>,
    } gives {}

    /// Writes /proc/PID/gid_map of an actor in one write(2), verbatim: it is allowed to be wrong.
    Namespaces WriteGidMap = "write_gid_map" {
        /// The actor whose user namespace gets the map; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// What is written.
        text: String,
        /// What is written in a second write(2) to the same open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        then: Option<String>,
    } gives {}

    /// Writes /proc/PID/setgroups of an actor, verbatim.
    Namespaces WriteSetgroups = "write_setgroups" {
        /// The actor whose user namespace is meant; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// What is written: `allow` or `deny`.
        text: String,
    } gives {}

    /// Reads the id maps of an actor's user namespace as the actor that takes the step sees them.
    Namespaces ReadMaps = "read_maps" {
        /// The actor; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
    } gives {
        "uid_map": "the lines of uid_map, each `inside outside count`",
        "gid_map": "the lines of gid_map",
        "setgroups": "allow or deny",
    }

    /// Starts a child process of the actor by fork(2); it is an actor of its own from then on.
    Namespaces Fork = "fork" {
        /// The name of the new actor.
        child: Name,
    } gives {}

    /// Ends the actor's process by _exit(2).
    Namespaces Exit = "exit" {} gives {}

    /// Sets the host name of the actor's UTS namespace by sethostname(2).
    Namespaces Sethostname = "sethostname" {
        /// The new name.
        name: String,
    } gives {}

    /// Asks for the host name of the actor's UTS namespace by uname(2).
    Namespaces Gethostname = "gethostname" {} gives { "name": "the host name" }

    // ---- credentials ----

    /// Sets the user id by setuid(2).
    Credentials Setuid = "setuid" {
        /// The user id.
        uid: u32,
    } gives {}

    /// Sets the group id by setgid(2).
    Credentials Setgid = "setgid" {
        /// The group id.
        gid: u32,
    } gives {}

    /// Sets real, effective and saved user id by setresuid(2); one that is left out stays.
    Credentials Setresuid = "setresuid" {
        /// The real user id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ruid: Option<u32>,
        /// The effective user id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        euid: Option<u32>,
        /// The saved user id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suid: Option<u32>,
    } gives {}

    /// Sets real, effective and saved group id by setresgid(2); one that is left out stays.
    Credentials Setresgid = "setresgid" {
        /// The real group id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rgid: Option<u32>,
        /// The effective group id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        egid: Option<u32>,
        /// The saved group id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sgid: Option<u32>,
    } gives {}

    /// Sets the supplementary groups by setgroups(2).
    Credentials Setgroups = "setgroups" {
        /// The groups.
        groups: Vec<u32>,
    } gives {}

    /// Asks for the actor's ids, groups and capabilities.
    Credentials Getcred = "getcred" {} gives {
        "uid": "real user id",
        "euid": "effective user id",
        "suid": "saved user id",
        "gid": "real group id",
        "egid": "effective group id",
        "sgid": "saved group id",
        "groups": "supplementary groups",
        "effective": "effective capabilities: all, none, or their names",
        "permitted": "permitted capabilities",
        "inheritable": "inheritable capabilities",
        "bounding": "bounding set",
        "ambient": "ambient set",
        "no_new_privs": "true or false",
    }

    /// Sets the capability sets by capset(2); a set that is left out stays.
    Credentials Capset = "capset" {
        /// The effective set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective: Option<Vec<Capability>>,
        /// The permitted set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permitted: Option<Vec<Capability>>,
        /// The inheritable set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inheritable: Option<Vec<Capability>>,
    } gives {}

    /// Raises capabilities in the ambient set by prctl(2) with `PR_CAP_AMBIENT_RAISE`.
    Credentials CapAmbient = "cap_ambient" {
        /// The capabilities.
        raise: Vec<Capability>,
    } gives {}

    /// Drops capabilities from the bounding set by prctl(2) with `PR_CAPBSET_DROP`.
    Credentials CapBset = "cap_bset" {
        /// The capabilities.
        drop: Vec<Capability>,
    } gives {}

    /// Keeps permitted capabilities over a change of user ids, by prctl(2) with `PR_SET_KEEPCAPS`.
    Credentials Keepcaps = "keepcaps" {
        /// Whether they are kept.
        keep: bool,
    } gives {}

    /// Sets no_new_privs by prctl(2); it cannot be taken back.
    Credentials NoNewPrivs = "no_new_privs" {} gives {}

    /// Sets the file mode creation mask by umask(2).
    Credentials Umask = "umask" {
        /// The bits that are taken away from the mode of new files.
        mode: Mode,
    } gives {}

    // ---- exec ----

    /// Runs a program in a child of the actor by execve(2) and waits for it. A model abstains here.
    Exec Exec = "exec" {
        /// The program, as an entry `program` of the world's tree. `program: credentials` tells the
        /// credentials that it runs with; with the arguments `echo TEXT...`, `exit STATUS` or
        /// `signal NUMBER` it prints, exits with that status, or ends itself by that signal.
        path: StepPath,
        /// Arguments behind the program's name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// The environment; `NSHARNESS_PROGRAM` is added to it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
    } gives {
        "status": "the exit status",
        "signal": "the number of the signal that ended it",
        "stdout": "what it printed, up to 64 KiB",
        "uid": "real user id, of `program: credentials`",
        "euid": "effective user id",
        "suid": "saved user id",
        "gid": "real group id",
        "egid": "effective group id",
        "sgid": "saved group id",
        "groups": "supplementary groups",
        "effective": "effective capabilities: all, none, or their names",
        "permitted": "permitted capabilities",
        "inheritable": "inheritable capabilities",
        "bounding": "bounding set",
        "ambient": "ambient set",
        "no_new_privs": "true or false",
    }
}

impl Read {
    /// The most bytes that are read.
    pub fn limit(&self) -> usize {
        self.length.unwrap_or(DEFAULT_READ).min(MAX_READ) as usize
    }
}

impl Setxattr {
    /// The bytes of the value, given as text or as hexadecimal digits.
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.value, &self.hex) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, digits) => digits
                .as_deref()
                .unwrap_or_default()
                .as_bytes()
                .chunks(2)
                .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect(),
        }
    }
}

/// The maps of a user namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdMaps {
    /// Lines of uid_map: `[inside, outside, count]`.
    pub uid_map: IdMap,
    /// Lines of gid_map: `[inside, outside, count]`.
    pub gid_map: IdMap,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_classic(api: &MountApi) -> bool {
    *api == MountApi::Classic
}
