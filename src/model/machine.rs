//! The state of the modelled machine: plain tables, and the few questions everybody asks of them.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::arena::{Arena, Id};
use super::halt::{Halt, Res};
use super::overlay;
use super::profile::Profile;
use super::rules::{Citations, Rule};
use crate::scenario::operation::Namespace;
use crate::scenario::scalar::{Errno, Name};

/// Names an [`Inode`].
pub type InodeId = Id<Inode>;
/// Names a [`Dentry`].
pub type DentryId = Id<Dentry>;
/// Names a [`Super`].
pub type SuperId = Id<Super>;
/// Names a [`Mount`].
pub type MountId = Id<Mount>;
/// Names a [`MntNs`].
pub type MntNsId = Id<MntNs>;
/// Names an [`UserNs`].
pub type UserNsId = Id<UserNs>;
/// Names an [`OtherNs`].
pub type OtherNsId = Id<OtherNs>;
/// Names an [`OpenFile`].
pub type FileId = Id<OpenFile>;
/// Names a [`Process`].
pub type ProcId = Id<Process>;

/// A user or group id as the kernel keeps it: counted in the first user namespace (`kuid_t`).
pub type Kid = u32;
/// No id: what an id that is not mapped becomes.
pub const NO_ID: Kid = u32::MAX;
/// What an unmapped id is shown as: kernel.overflowuid.
pub const OVERFLOW_ID: u32 = 65534;

/// The modelled machine.
#[allow(missing_docs, reason = "each table is named by what is in it")]
pub struct Machine<'p> {
    pub profile: &'p Profile,
    pub rules: Citations,
    pub inodes: Arena<Inode>,
    pub dentries: Arena<Dentry>,
    pub supers: Arena<Super>,
    pub mounts: Arena<Mount>,
    /// Why the model no longer follows what happens.
    pub lost: Option<&'static str>,
    pub peer_groups: Vec<super::mounts::PeerGroup>,
    pub mnt_nss: Arena<MntNs>,
    pub user_nss: Arena<UserNs>,
    pub other_nss: Arena<OtherNs>,
    pub files: Arena<OpenFile>,
    pub processes: Arena<Process>,
    pub actors: BTreeMap<Name, ProcId>,
    /// The supplementary groups that an NFS server looks up itself, by user.
    pub managed_gids: BTreeMap<Kid, Vec<Kid>>,
    /// Loop devices by their minor numbers.
    pub loops: Vec<LoopDevice>,
    /// Counts what happens, for times and for identities that must differ.
    pub events: u64,
    /// The user namespace that the sandbox runs in.
    pub sandbox_userns: UserNsId,
    /// The root directory of the sandbox, which observations start from.
    pub sandbox_root: Place,
}

// ---- files ----

/// An inode of a file system; that of an overlay only leads to those of its layers.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "stat(2) explains what is named as there")]
pub struct Inode {
    pub sb: SuperId,
    /// Its number, which no other inode of its file system has.
    pub number: u64,
    pub kind: Kind,
    /// Permission bits with set-user-ID, set-group-ID and sticky bit.
    pub mode: u32,
    pub uid: Kid,
    pub gid: Kid,
    pub nlink: u32,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    /// Extended attributes as they are stored, by their whole names.
    pub xattrs: BTreeMap<Rc<str>, Vec<u8>>,
    /// Who holds a lock of flock(2) on it.
    pub locks: Vec<(FileId, Lock)>,
}

/// What an inode is.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "stat(2) explains what is named as there")]
pub enum Kind {
    Dir(BTreeMap<Rc<str>, DentryId>),
    File(Data),
    Symlink(Rc<str>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
    /// An inode of an overlay: what it is, is what its topmost layer says ([`Machine::real`]).
    Overlay(overlay::Node),
    /// A file over NFS: it is what the server's says.
    Remote(DentryId),
}

/// What an inode is, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "stat(2) explains what is named as there")]
pub enum FileType {
    Dir,
    File,
    Symlink,
    Char,
    Block,
    Fifo,
    Socket,
}

/// The content of a regular file.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// Its length.
    pub size: u64,
    /// The pages of 4 KiB that are allocated, as far as they were written to; all else is zeros.
    pub pages: BTreeMap<u64, Vec<u8>>,
    /// One of the programs of a world: nothing is known of what is in it.
    pub program: bool,
    /// A file system that is kept in it, of which only the type is known.
    pub image: Option<FsType>,
}

/// A time of a file: what a scenario set, or the moment of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Time {
    Set(i64),
    Event(u64),
}

/// A kind of lock of flock(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "flock(2) explains them")]
pub enum Lock {
    Shared,
    Exclusive,
}

/// A name in a directory. A directory has one; other files one for each hard link.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as in the kernel")]
pub struct Dentry {
    pub sb: SuperId,
    /// The directory; a root is its own.
    pub parent: DentryId,
    pub name: Rc<str>,
    pub inode: InodeId,
    /// Whether the name was removed while something still held it.
    pub unlinked: bool,
}

/// The types of file systems that the model knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the types of /proc/filesystems")]
pub enum FsType {
    Tmpfs,
    Ramfs,
    Overlay,
    Proc,
    Sysfs,
    Devpts,
    Mqueue,
    Cgroup2,
    Ext4,
    Xfs,
    Btrfs,
    Nfs,
    /// The files of namespaces.
    Nsfs,
    /// The device nodes that the sandbox binds into /dev.
    Devices,
    /// The libraries of programs of the system.
    Libraries,
}

/// A loop device: a file as a block device.
#[derive(Clone, Debug)]
pub struct LoopDevice {
    /// The file.
    pub file: InodeId,
    /// Whether nothing can be written to it.
    pub read_only: bool,
    /// The file system on it, once it was mounted.
    pub sb: Option<SuperId>,
}

/// A mounted file system, wherever and how often it is mounted.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as in the kernel")]
pub struct Super {
    pub kind: FsType,
    /// The user namespace that it was mounted in (`s_user_ns`).
    pub userns: UserNsId,
    pub root: DentryId,
    /// The namespace that it shows: there is one sysfs, mqueue and cgroup2 for each.
    pub shows: Option<OtherNsId>,
    /// Mounted read-only as a whole (`SB_RDONLY`).
    pub readonly: bool,
    /// The inode number that was given out last.
    pub last_number: u64,
    /// Pages that may still be allocated, where there is a limit.
    pub free_pages: Option<u64>,
    /// Inodes that may still be made, where there is a limit.
    pub free_inodes: Option<u64>,
    pub overlay: Option<Rc<overlay::Overlay>>,
    pub nfs: Option<Rc<super::nfs::Client>>,
}

// ---- mounts ----

/// A mount: a file system, or a part of it, at a place.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as in mount_namespaces(7)")]
pub struct Mount {
    pub sb: SuperId,
    /// The directory (or file) of the file system that is seen at the mount point.
    pub root: DentryId,
    /// Where it is mounted; `None` for the topmost mount of a namespace and for what is detached.
    pub at: Option<Place>,
    /// The namespace it is in; `None` once it was unmounted.
    pub ns: Option<MntNsId>,
    pub flags: MountFlags,
    /// Flags that may not be cleared (`MNT_LOCK_*`); of `atime` that it may not be changed.
    pub locked_flags: LockedFlags,
    /// May not be unmounted by itself (`MNT_LOCKED`).
    pub locked: bool,
    /// The peer group it is shared in.
    pub peer_group: Option<u32>,
    /// The mount that it receives from, a member of a peer group.
    pub master: Option<MountId>,
    /// Those that receive from it, in the order in which they do.
    pub slaves: Vec<MountId>,
    /// When it was put into the list of its namespace.
    pub listed: u64,
    pub unbindable: bool,
    /// Mounts on it, in the order in which they were made.
    pub children: Vec<MountId>,
    pub source: Rc<str>,
    pub idmap: Option<Rc<Idmap>>,
    /// A file of the harness itself, which observations leave out.
    pub of_harness: bool,
    /// For `MNT_EXPIRE`: nobody used it since it was asked for the first time.
    pub expiring: bool,
}

/// Flags of a mount itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "mount(2) explains them")]
pub struct MountFlags {
    pub ro: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    pub nosymfollow: bool,
    pub nodiratime: bool,
    pub atime: Atime,
}

/// When a read changes the access time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "mount(2) explains them")]
pub enum Atime {
    #[default]
    Relatime,
    Noatime,
    Strictatime,
}

/// Which flags of a mount are locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "mount(2) explains them")]
pub struct LockedFlags {
    pub ro: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    pub atime: bool,
}

/// A place in a mount namespace (`struct path`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the kernel")]
pub struct Place {
    pub mount: MountId,
    pub dentry: DentryId,
}

/// A mount namespace.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as in mount_namespaces(7)")]
pub struct MntNs {
    pub owner: UserNsId,
    /// The topmost mount.
    pub root: MountId,
    /// What fsmount(2) or open_tree(2) made, which is no namespace that a process could be in.
    pub anonymous: bool,
    /// Counts namespaces: a namespace file may be bound in an older one only.
    pub sequence: u64,
    /// The namespace that an anonymous one was made in.
    pub origin: Option<MntNsId>,
}

// ---- ids and namespaces ----

/// One line of an id map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in user_namespaces(7)")]
pub struct Extent {
    pub inside: u32,
    /// As the kernel keeps it, in the first user namespace.
    pub outside: Kid,
    pub count: u32,
}

/// An idmapped mount: what is on disk, and what is seen through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in mount_setattr(2)")]
pub struct Idmap {
    /// `inside` is on disk, `outside` what is seen.
    pub uid: Vec<Extent>,
    pub gid: Vec<Extent>,
}

/// A user namespace.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as in user_namespaces(7)")]
pub struct UserNs {
    pub parent: Option<UserNsId>,
    pub owner: Kid,
    pub group: Kid,
    pub level: u32,
    pub uid_map: Vec<Extent>,
    pub gid_map: Vec<Extent>,
    pub setgroups_allowed: bool,
    /// Whether its creator had CAP_SETFCAP.
    pub parent_could_setfcap: bool,
    /// user.max_user_namespaces in it.
    pub max_user_namespaces: u64,
}

/// A namespace whose only content is that it is another one, and the host name.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as in namespaces(7)")]
pub struct OtherNs {
    pub kind: Namespace,
    pub owner: UserNsId,
    pub parent: Option<OtherNsId>,
    pub hostname: String,
}

// ---- processes ----

/// Credentials of a process.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "credentials(7) and capabilities(7) explain them")]
pub struct Cred {
    pub userns: UserNsId,
    pub uid: Kid,
    pub euid: Kid,
    pub suid: Kid,
    pub fsuid: Kid,
    pub gid: Kid,
    pub egid: Kid,
    pub sgid: Kid,
    pub fsgid: Kid,
    pub groups: Rc<[Kid]>,
    /// Capability sets, by the bits of [`crate::scenario::scalar::Capability`].
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
    pub keepcaps: bool,
    pub no_new_privs: bool,
}

/// A process, which is an actor.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as in credentials(7)")]
pub struct Process {
    pub cred: Rc<Cred>,
    pub root: Place,
    pub cwd: Place,
    pub mnt_ns: MntNsId,
    /// The other namespaces it is in.
    pub nss: BTreeMap<Namespace, OtherNsId>,
    /// The namespaces that its children will be in: pid and time.
    pub nss_for_children: BTreeMap<Namespace, OtherNsId>,
    pub umask: u32,
    pub fds: BTreeMap<Name, FileId>,
    /// Whether its files in /proc belong to itself.
    pub dumpable: bool,
    pub alive: bool,
}

/// An open file, shared by the processes that inherited it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "open(2) explains them")]
pub struct OpenFile {
    pub place: Place,
    pub what: Opened,
    pub readable: bool,
    pub writable: bool,
    pub append: bool,
    /// `O_PATH`
    pub path_only: bool,
    /// `O_NOATIME`
    pub noatime: bool,
    pub position: u64,
    /// Whether its names were read, where it is a directory.
    pub listed: bool,
    /// Who opened it.
    pub cred: Rc<Cred>,
    /// How many descriptors lead to it.
    pub count: u32,
}

/// What was opened.
#[derive(Clone, Debug)]
pub enum Opened {
    /// A file of a file system.
    File,
    /// A file system context of fsopen(2).
    Context(Box<super::mounts::Context>),
    /// A detached mount, which is unmounted when this is closed unless it was attached.
    Detached,
    /// A user namespace.
    UserNs(UserNsId),
    /// A mount namespace.
    MntNs(MntNsId),
    /// Another namespace.
    OtherNs(OtherNsId),
}

impl Kind {
    /// What it is; an inode of an overlay does not know.
    pub fn file_type(&self) -> Option<FileType> {
        Some(match self {
            Self::Dir(_) => FileType::Dir,
            Self::File(_) => FileType::File,
            Self::Symlink(_) => FileType::Symlink,
            Self::Char(..) => FileType::Char,
            Self::Block(..) => FileType::Block,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::Overlay(_) | Self::Remote(_) => return None,
        })
    }
}

impl FileType {
    /// The word in transcripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::File => "file",
            Self::Symlink => "symlink",
            Self::Char => "char",
            Self::Block => "block",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

impl Machine<'_> {
    /// Whether a rule decides; see [`Citations::by`].
    pub fn by(&self, rule: &'static Rule) -> bool {
        self.rules.by(self.profile, rule)
    }

    /// Refuses with an error where a condition holds and the rule decides.
    pub fn deny(&self, condition: bool, rule: &'static Rule, errno: Errno) -> Res<()> {
        if condition && self.by(rule) { Err(Halt::Refused(errno)) } else { Ok(()) }
    }

    /// Refuses with the error that a rule names. Where the rule is left out, no rule says anything, and
    /// the error is one that no rule gives.
    pub fn refuse_by<T>(&self, rule: &'static Rule, errno: Errno) -> Res<T> {
        Err(Halt::Refused(if self.by(rule) { errno } else { Errno::EIO }))
    }

    /// Refuses where a condition does not hold without which there is nothing that could be done: a
    /// tree that would hold itself. Otherwise as [`Machine::refuse_by`].
    pub fn require(&self, holds: bool, rule: &'static Rule, errno: Errno) -> Res<()> {
        if holds { Ok(()) } else { self.refuse_by(rule, errno) }
    }

    /// The moment of something that happens now.
    pub fn now(&mut self) -> Time {
        self.events += 1;
        Time::Event(self.events)
    }

    /// The inode that says what a file is and who owns it: for an overlay that of the topmost layer.
    pub fn real(&self, inode: InodeId) -> InodeId {
        match &self.inodes[inode].kind {
            Kind::Overlay(node) => self.real(self.dentries[node.top()].inode),
            Kind::Remote(theirs) => self.real(self.dentries[*theirs].inode),
            _ => inode,
        }
    }

    /// What a file is.
    pub fn file_type(&self, inode: InodeId) -> FileType {
        self.inodes[self.real(inode)].kind.file_type().unwrap_or(FileType::File)
    }

    /// The first user namespace, which all others are below.
    pub fn first_userns(&self) -> UserNsId {
        self.user_nss.first()
    }

    /// The inode of a dentry.
    pub fn inode(&self, dentry: DentryId) -> InodeId {
        self.dentries[dentry].inode
    }

    /// Whether a dentry is a directory.
    pub fn is_dir(&self, dentry: DentryId) -> bool {
        self.file_type(self.inode(dentry)) == FileType::Dir
    }

    /// Whether a dentry is another one or below it, in the tree of its file system (`is_subdir`).
    pub fn is_below(&self, dentry: DentryId, top: DentryId) -> bool {
        let mut at = dentry;
        while at != top {
            let parent = self.dentries[at].parent;
            if parent == at {
                return false;
            }
            at = parent;
        }
        true
    }
}
