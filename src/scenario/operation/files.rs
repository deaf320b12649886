//! Operations on files, directories and their attributes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::scenario::scalar::{DeviceNumber, Mode, Name, StepPath, Timestamp};
use crate::scenario::words::{AccessPurpose, LockKind, NodeType, OpenFlag, RenameFlag, XattrFlag};

/// Most bytes that one step reads. What is read stands in a transcript as JSON, where a byte may take
/// six.
pub const MAX_READ: u32 = 1 << 20;
/// How many bytes a step reads where it does not say.
const DEFAULT_READ: u32 = 64 << 10;

operations! {
    Files;

    /// Opens a file by openat(2) and keeps it open under the name `fd`.
    Open = "open" {
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
    Read = "read" {
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
    } gives { "data" Text: "the bytes as text", "length" Number: "how many bytes" }

    /// Writes to a path (created where missing and truncated, as a shell's `>` does) or to an open file.
    Write = "write" {
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
    } gives { "length" Number: "how many bytes were written" }

    /// Sets a file's length by truncate(2) or ftruncate(2).
    Truncate = "truncate" {
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
    Close = "close" {
        /// Its name.
        fd: Name,
    } gives {}

    /// Creates a directory by mkdir(2).
    Mkdir = "mkdir" {
        /// The path.
        path: StepPath,
        /// Permission bits, before the umask; 0755 if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<Mode>,
    } gives {}

    /// Removes an empty directory by rmdir(2).
    Rmdir = "rmdir" {
        /// The path.
        path: StepPath,
    } gives {}

    /// Removes a name by unlink(2).
    Unlink = "unlink" {
        /// The path.
        path: StepPath,
    } gives {}

    /// Renames by renameat2(2).
    Rename = "rename" {
        /// The old path.
        from: StepPath,
        /// The new path.
        to: StepPath,
        /// Flags of renameat2(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<RenameFlag>,
    } gives {}

    /// Makes a hard link by linkat(2).
    Link = "link" {
        /// The file that gets one more name.
        from: StepPath,
        /// The new name.
        to: StepPath,
        /// Follows `from` where it is a symbolic link (`AT_SYMLINK_FOLLOW`).
        #[serde(default, skip_serializing_if = "is_false")]
        follow: bool,
    } gives {}

    /// Makes a symbolic link by symlink(2).
    Symlink = "symlink" {
        /// What the link says; any text.
        target: String,
        /// Where the link is made.
        path: StepPath,
    } gives {}

    /// Reads a symbolic link by readlink(2).
    Readlink = "readlink" {
        /// The path.
        path: StepPath,
    } gives { "target" Text: "what the link says" }

    /// Makes a node by mknod(2).
    Mknod = "mknod" {
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
    Chmod = "chmod" {
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
    Chown = "chown" {
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
    Utimes = "utimes" {
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
    Stat = "stat" {
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
        "type" Node: "file, dir, symlink, char, block, fifo or socket",
        "mode" Mode: "permission bits in octal",
        "uid" Id: "the owner as the actor sees it",
        "gid" Id: "the group as the actor sees it",
        "size" Number: "length in bytes",
        "blocks" Number: "512-byte blocks allocated",
        "nlink" Number: "number of hard links",
        "rdev" Device: "device number of a char or block node",
        "ino" Identity: "which file it is, by device and inode number, renumbered: compare it by same_as",
        "ino_number" Identity: "the inode number alone, renumbered: two devices may use one number",
        "dev" Identity: "the device, renumbered: compare it by same_as",
        "atime" Time: "access time",
        "mtime" Time: "modification time",
        "ctime" Time: "change time",
        "mount_root" Bool: "whether it is the root of a mount (STATX_ATTR_MOUNT_ROOT)",
    }

    /// Lists a directory by getdents64(2), without `.` and `..`, sorted.
    List = "list" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open directory; it is read from its start.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
    } gives { "names" Texts: "the names, sorted", "count" Number: "how many" }

    /// Reads an extended attribute by getxattr(2), or lgetxattr(2) where `follow` is false.
    Getxattr = "getxattr" {
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
    } gives { "value" Text: "the value as text", "length" Number: "its length in bytes" }

    /// Sets an extended attribute by setxattr(2), or lsetxattr(2) where `follow` is false.
    Setxattr = "setxattr" {
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
    Removexattr = "removexattr" {
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
    Listxattr = "listxattr" {
        /// The path; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<StepPath>,
        /// The name of an open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
        /// Follows a symbolic link; true if left out.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        follow: bool,
    } gives { "names" Texts: "the names, sorted", "count" Number: "how many" }

    /// Asks for the file system's attributes by statfs(2).
    Statfs = "statfs" {
        /// The path.
        path: StepPath,
    } gives {
        "type" Text: "the name of the file system, or its magic number in hexadecimal",
        "flags" MountFlags: "mount flags, sorted: ro, nosuid, nodev, noexec, noatime, nodiratime, relatime",
    }

    /// Asks whether the actor may access a path by faccessat2(2) with its effective ids.
    Access = "access" {
        /// The path.
        path: StepPath,
        /// What for: `read`, `write`, `execute`; none asks whether it exists.
        #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "for")]
        purposes: Vec<AccessPurpose>,
    } gives {}

    /// Locks an open file by flock(2) without waiting.
    Flock = "flock" {
        /// The name of an open file.
        fd: Name,
        /// What to do.
        lock: LockKind,
    } gives {}
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

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}
