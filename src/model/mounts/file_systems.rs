//! Types of file systems: who may mount them, their options, and what they may reveal.

use std::rc::Rc;

use crate::model::halt::{Halt, Res};
use crate::model::ids::{IdKind, cap};
use crate::model::machine::{
    Cred, FsType, Kid, Machine, MountFlags, OtherNsId, Place, ProcId, SuperId, UserNsId,
};
use crate::model::overlay;
use crate::model::rules::mount as rules;
use crate::model::vfs::{New, NewKind, PAGE};
use crate::scenario::operation::Namespace;
use crate::scenario::scalar::Errno;

/// Types that are read from a block device, which is opened before anything else is asked.
pub const ON_DISK: &[&str] = &["ext2", "ext3", "f2fs", "iso9660", "squashfs", "vfat"];

/// Types that a kernel may have and that this model knows only by their names.
const OTHERS: &[&str] = &[
    "autofs",
    "bdev",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "configfs",
    "cpuset",
    "debugfs",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "f2fs",
    "fuse",
    "fuseblk",
    "fusectl",
    "hostfs",
    "hugetlbfs",
    "iso9660",
    "nfs",
    "nfs4",
    "nfsd",
    "pipefs",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sockfs",
    "squashfs",
    "tracefs",
    "udf",
    "vfat",
    "virtiofs",
    "9p",
];

/// A parameter's value.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// None: the parameter is a flag.
    Flag,
    /// A text.
    Text(&'a str),
    /// An open file.
    Fd(Place),
}

/// What is known of a file system that is to be made.
#[derive(Clone, Debug)]
pub struct Configured {
    /// Its type; `None` for one that the model knows only by its name.
    pub kind: Option<FsType>,
    /// The user namespace that it will belong to, who mounts it must own that.
    pub userns: UserNsId,
    /// The namespace that it shows, of those of which there is one file system for each.
    pub shows: Option<OtherNsId>,
    /// Where it comes from, if that was said.
    pub source: Option<Rc<str>>,
    /// Whether its source is looked for first and must be a block device.
    pub on_disk: bool,
    /// Whether it is read-only as a whole.
    pub readonly: bool,
    /// Bytes and inodes that tmpfs is limited to.
    pub size: Option<u64>,
    /// The same for inodes.
    pub inodes: Option<u64>,
    /// Permission bits of its root directory.
    pub mode: Option<u32>,
    /// The owner of its root directory.
    pub uid: Option<Kid>,
    /// The group of its root directory.
    pub gid: Option<Kid>,
    /// Layers and options of an overlay.
    pub overlay: overlay::MountOptions,
}

impl Machine<'_> {
    /// A type by its name: ENODEV where the kernel does not have it.
    pub fn file_system(&self, name: &str) -> Res<Option<FsType>> {
        let known = match name {
            "tmpfs" => Some(FsType::Tmpfs),
            "ramfs" => Some(FsType::Ramfs),
            "overlay" => Some(FsType::Overlay),
            "proc" => Some(FsType::Proc),
            "sysfs" => Some(FsType::Sysfs),
            "devpts" => Some(FsType::Devpts),
            "mqueue" => Some(FsType::Mqueue),
            "cgroup2" => Some(FsType::Cgroup2),
            "ext4" => Some(FsType::Ext4),
            "xfs" => Some(FsType::Xfs),
            "btrfs" => Some(FsType::Btrfs),
            _ => None,
        };
        let listed = match &self.profile.settings.file_systems {
            Some(list) => list.iter().any(|listed| listed == name),
            // Where nothing is known of the machine, NFS is there for the worlds that have it.
            None if name == "nfs4" => true,
            // A world that has an image of one needs a kernel that has it too.
            None if known.is_some_and(is_on_disk) => return Ok(known),
            None if known.is_none() && OTHERS.contains(&name) => {
                return Err(Halt::Unknown("whether this kernel has the file system"));
            }
            None => known.is_some(),
        };
        self.deny(!listed, &rules::UNKNOWN_TYPE, Errno::ENODEV)?;
        Ok(known)
    }

    /// What a process starts to configure (`init_fs_context`).
    pub fn configure(&self, who: ProcId, kind: Option<FsType>) -> Res<Configured> {
        let process = &self.processes[who];
        let shown = match kind {
            Some(FsType::Proc) => Some(Namespace::Pid),
            Some(FsType::Sysfs) => Some(Namespace::Net),
            Some(FsType::Mqueue) => Some(Namespace::Ipc),
            Some(FsType::Cgroup2) => Some(Namespace::Cgroup),
            _ => None,
        };
        let shows = shown.and_then(|namespace| process.nss.get(&namespace).copied());
        let own = process.cred.userns;
        let owner = shows.map_or(own, |ns| self.other_nss[ns].owner);
        let cred = &process.cred;
        let foreign = shows.is_some() && !self.capable(cred, owner, cap::SYS_ADMIN);
        // sysfs asks at once, the others when they are made: it is EPERM either way.
        let asks_now = foreign && kind == Some(FsType::Sysfs);
        self.deny(asks_now, &rules::NAMESPACE_OWNER, Errno::EPERM)?;
        Ok(Configured {
            kind,
            userns: owner,
            shows,
            source: None,
            on_disk: false,
            readonly: false,
            size: None,
            inodes: None,
            mode: None,
            uid: None,
            gid: None,
            overlay: overlay::MountOptions::default(),
        })
    }

    /// Reads the options of mount(2), with commas between them.
    pub fn parse_options(&mut self, who: ProcId, fs: &mut Configured, options: &str) -> Res<()> {
        for option in split_options(options, fs.kind == Some(FsType::Overlay)) {
            match option.split_once('=') {
                Some((key, value)) => self.parse_option(who, fs, key, Given::Text(value))?,
                None => self.parse_option(who, fs, option, Given::Flag)?,
            }
        }
        Ok(())
    }

    /// Reads one parameter (`vfs_parse_fs_param`).
    pub fn parse_option(
        &mut self,
        who: ProcId,
        fs: &mut Configured,
        key: &str,
        value: Given<'_>,
    ) -> Res<()> {
        match key {
            "ro" => {
                fs.readonly = true;
                return Ok(());
            }
            "rw" => {
                fs.readonly = false;
                return Ok(());
            }
            "sync" | "async" | "dirsync" | "lazytime" | "nolazytime" | "mand" | "nomand" => {
                return Ok(());
            }
            _ => {}
        }
        let kind = fs.kind;
        let own = kind.is_some_and(is_on_disk) && key != "source";
        if own {
            return Err(Halt::Unknown("the options of this file system are not modelled"));
        }
        match kind {
            Some(FsType::Overlay) => self.parse_overlay_option(who, fs, key, value),
            Some(kind) if self.is_own_option(who, kind, fs, key, value)? => Ok(()),
            _ => self.parse_source(fs, key, value),
        }
    }

    fn parse_overlay_option(
        &mut self,
        who: ProcId,
        fs: &mut Configured,
        key: &str,
        value: Given<'_>,
    ) -> Res<()> {
        if key == "source" {
            return self.parse_source(fs, key, value);
        }
        let value = match value {
            Given::Flag => overlay::ParamValue::Flag,
            Given::Text(text) => overlay::ParamValue::Text(text),
            Given::Fd(place) => overlay::ParamValue::Fd(place),
        };
        self.ovl_parse_param(who, &mut fs.overlay, key, value)
    }

    fn parse_source(&self, fs: &mut Configured, key: &str, value: Given<'_>) -> Res<()> {
        // ramfs takes whatever it is given, as it always did: fs/ramfs/inode.c ramfs_parse_param().
        let ignored = fs.kind == Some(FsType::Ramfs) && key != "source";
        if ignored && self.by(&rules::RAMFS_OPTIONS) {
            return Ok(());
        }
        self.deny(key != "source", &rules::UNKNOWN_OPTION, Errno::EINVAL)?;
        match value {
            Given::Text(text) if fs.source.is_none() => {
                fs.source = Some(text.into());
                Ok(())
            }
            _ => self.deny(true, &rules::ONE_SOURCE, Errno::EINVAL),
        }
    }

    /// Reads an option that a type has itself; gives whether it has it.
    fn is_own_option(
        &self,
        who: ProcId,
        kind: FsType,
        fs: &mut Configured,
        key: &str,
        value: Given<'_>,
    ) -> Res<bool> {
        let text = match value {
            Given::Text(text) => Some(text),
            Given::Flag | Given::Fd(_) => None,
        };
        let known = match (kind, key) {
            (FsType::Tmpfs, "size") => put(&mut fs.size, text.and_then(bytes)),
            (FsType::Tmpfs, "nr_blocks") => {
                put(&mut fs.size, text.and_then(number).map(|blocks| blocks.saturating_mul(PAGE)))
            }
            (FsType::Tmpfs, "nr_inodes") => put(&mut fs.inodes, text.and_then(number)),
            (FsType::Tmpfs | FsType::Ramfs | FsType::Devpts, "mode") => {
                put(&mut fs.mode, text.and_then(octal))
            }
            (FsType::Tmpfs | FsType::Devpts, "uid") => return self.id_option(who, fs, true, text),
            (FsType::Tmpfs | FsType::Devpts, "gid") => return self.id_option(who, fs, false, text),
            (FsType::Tmpfs, "inode32" | "inode64") => text.is_none().then_some(()),
            (FsType::Tmpfs, "huge") => text
                .filter(|value| ["never", "always", "within_size", "advise"].contains(value))
                .map(drop),
            (FsType::Devpts, "ptmxmode") => text.and_then(octal).map(drop),
            (FsType::Devpts, "max") => text.and_then(number).map(drop),
            (FsType::Devpts, "newinstance") => text.is_none().then_some(()),
            (FsType::Proc, "hidepid") => text
                .filter(|value| {
                    ["0", "1", "2", "4", "off", "noaccess", "invisible", "ptraceable"]
                        .contains(value)
                })
                .map(drop),
            (FsType::Proc, "subset") => text.filter(|value| *value == "pid").map(drop),
            (FsType::Proc, "gid") => return self.id_option(who, fs, false, text),
            (FsType::Cgroup2, "nsdelegate" | "favordynmods" | "memory_recursiveprot") => {
                text.is_none().then_some(())
            }
            _ => return Ok(false),
        };
        self.deny(known.is_none(), &rules::BAD_VALUE, Errno::EINVAL)?;
        Ok(true)
    }

    /// An option that names an id: it must be mapped.
    fn id_option(
        &self,
        who: ProcId,
        fs: &mut Configured,
        user: bool,
        text: Option<&str>,
    ) -> Res<bool> {
        let id: Option<u32> = text.and_then(|text| text.parse().ok());
        self.deny(id.is_none(), &rules::BAD_VALUE, Errno::EINVAL)?;
        let kind = if user { IdKind::User } else { IdKind::Group };
        let own = self.processes[who].cred.userns;
        let kid = id.and_then(|id| self.kid(own, kind, id));
        self.deny(kid.is_none(), &rules::OPTION_ID, Errno::EINVAL)?;
        *(if user { &mut fs.uid } else { &mut fs.gid }) = kid;
        Ok(true)
    }

    /// Refuses who may not mount a type (`mount_capable`).
    pub fn must_be_able_to_make(&self, who: ProcId, fs: &Configured) -> Res<()> {
        let cred = &self.processes[who].cred;
        let first = self.capable(cred, self.first_userns(), cap::SYS_ADMIN);
        let for_userns = match fs.kind {
            None => false,
            Some(kind) if is_on_disk(kind) => false,
            Some(FsType::Overlay) => first || self.by(&rules::OVERLAY_IN_USERNS),
            Some(_) => true,
        };
        self.deny(!for_userns && !first, &rules::NOT_FOR_USERNS, Errno::EPERM)?;
        let owner = for_userns && self.capable(cred, fs.userns, cap::SYS_ADMIN);
        self.deny(for_userns && !owner, &rules::NAMESPACE_OWNER, Errno::EPERM)
    }

    /// The file system itself (`vfs_get_tree`): a new one, or the one that shows a namespace already.
    pub fn make_file_system(&mut self, who: ProcId, fs: &Configured) -> Res<SuperId> {
        let cred = Rc::clone(&self.processes[who].cred);
        let sb = match fs.kind {
            None => return self.mount_unmodelled(who, fs),
            Some(FsType::Overlay) => self.ovl_fill(who, &fs.overlay)?,
            Some(kind) if is_on_disk(kind) => return self.mount_disk(who, kind, fs),
            Some(kind) => match self.existing(kind, fs.shows) {
                Some(sb) => return Ok(sb),
                None => self.make_plain(kind, fs, &cred),
            },
        };
        self.supers[sb].readonly |= fs.readonly;
        Ok(sb)
    }

    /// A type of which only the name is known: what is refused before it is read from a disk.
    fn mount_unmodelled(&mut self, who: ProcId, fs: &Configured) -> Res<SuperId> {
        if fs.on_disk
            && let Some(source) = &fs.source
        {
            self.block_device(who, source)?;
        }
        Err(Halt::Lost("this file system is not modelled"))
    }

    /// The file system of this type that shows a namespace: a proc is always a new one.
    fn existing(&self, kind: FsType, shows: Option<OtherNsId>) -> Option<SuperId> {
        shows.filter(|_| kind != FsType::Proc)?;
        self.supers
            .iter()
            .find(|(_, other)| other.kind == kind && other.shows == shows)
            .map(|(id, _)| id)
    }

    fn make_plain(&mut self, kind: FsType, fs: &Configured, cred: &Cred) -> SuperId {
        let (mode, owned) = match kind {
            FsType::Tmpfs => (0o1777, true),
            FsType::Mqueue => (0o1777, true),
            FsType::Ramfs => (0o755, true),
            FsType::Proc => (0o555, false),
            _ => (0o755, false),
        };
        let (uid, gid) = if owned { (cred.fsuid, cred.fsgid) } else { (0, 0) };
        let settable = matches!(kind, FsType::Tmpfs | FsType::Ramfs);
        let mode = fs.mode.filter(|_| settable).unwrap_or(mode);
        let uid = fs.uid.filter(|_| settable).unwrap_or(uid);
        let gid = fs.gid.filter(|_| settable).unwrap_or(gid);
        let root = New { kind: NewKind::Dir, mode, uid, gid };
        let sb = self.new_super(kind, fs.userns, root);
        let this = &mut self.supers[sb];
        this.shows = fs.shows;
        // The root directory is one of the inodes. Nought is no limit.
        let limit = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
        this.free_pages = limit(fs.size).map(|size| size.div_ceil(PAGE));
        this.free_inodes = limit(fs.inodes).map(|inodes| inodes.saturating_sub(1));
        sb
    }

    /// Refuses to show what mounts that came with the mount namespace hide of this type, and gives
    /// the flags that stay locked (`mount_too_revealing`).
    pub fn must_not_reveal(
        &self,
        who: ProcId,
        sb: SuperId,
        flags: MountFlags,
    ) -> Res<crate::model::machine::LockedFlags> {
        let ns = self.processes[who].mnt_ns;
        let mut locked = crate::model::machine::LockedFlags::default();
        let kind = self.supers[sb].kind;
        let reveals = matches!(kind, FsType::Proc | FsType::Sysfs);
        if !reveals || self.mnt_nss[ns].owner == self.first_userns() {
            return Ok(locked);
        }
        let mut refusal = &rules::REVEALING_NONE;
        for (id, mount) in self.mounts.iter() {
            let other = &self.supers[mount.sb];
            if mount.ns != Some(ns) || other.kind != kind {
                continue;
            }
            let ro = mount.locked_flags.ro || other.readonly;
            let atime = mount.locked_flags.atime
                && (mount.flags.atime, mount.flags.nodiratime) != (flags.atime, flags.nodiratime);
            let reason = if mount.root != other.root {
                &rules::REVEALING_PART
            } else if ro && !flags.ro {
                &rules::REVEALING_RO
            } else if atime {
                &rules::REVEALING_ATIME
            } else if self.hides_something(id) {
                &rules::REVEALING_COVERED
            } else {
                locked.ro = ro;
                locked.atime = mount.locked_flags.atime;
                return Ok(locked);
            };
            refusal = reason;
        }
        self.deny(true, refusal, Errno::EPERM)?;
        Ok(locked)
    }

    /// Whether a locked mount covers more of this one than a directory that is always empty.
    fn hides_something(&self, mount: crate::model::machine::MountId) -> bool {
        self.mounts[mount].children.iter().any(|child| {
            let child = &self.mounts[*child];
            child.locked && child.at.is_some_and(|at| !self.is_always_empty(at.dentry))
        })
    }

    /// Directories that the kernel makes for others to mount on, and in which nothing can be made.
    fn is_always_empty(&self, dentry: crate::model::machine::DentryId) -> bool {
        let this = &self.dentries[dentry];
        let parent = &self.dentries[this.parent];
        let above = &self.dentries[parent.parent];
        let place = (&*above.name, &*parent.name, &*this.name);
        let made = match self.supers[this.sb].kind {
            FsType::Sysfs => matches!(
                place,
                (_, "fs", "cgroup" | "bpf" | "pstore" | "selinux" | "smackfs" | "resctrl")
                    | ("fs", "fuse", "connections")
                    | (_, "kernel", "debug" | "tracing" | "security" | "config")
            ),
            FsType::Proc => {
                matches!(
                    place,
                    ("sys", "fs", "binfmt_misc") | (_, "fs", "nfsd") | (_, _, "openprom")
                )
            }
            _ => false,
        };
        made && self.by(&rules::REVEALING_EMPTY)
    }
}

/// Types that are kept on a block device, as far as they are modelled.
pub fn is_on_disk(kind: FsType) -> bool {
    matches!(kind, FsType::Ext4 | FsType::Xfs | FsType::Btrfs)
}

/// A value that was read, or not.
fn put<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
    *field = Some(value?);
    Some(())
}

/// Options of mount(2) at their commas; an overlay's may hold commas behind a backslash.
fn split_options(options: &str, escapes: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, byte) in options.bytes().enumerate() {
        if byte == b',' && !escaped {
            parts.push(&options[start..index]);
            start = index + 1;
        }
        escaped = escapes && byte == b'\\' && !escaped;
    }
    parts.push(&options[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// A number with a suffix, as memparse() of lib/cmdline.c reads it, or a part of the memory.
fn bytes(text: &str) -> Option<u64> {
    match text.strip_suffix('%') {
        // How much memory there is nobody knows here: it is a limit that no scenario reaches.
        Some(percent) => percent.parse::<u64>().ok().map(|_| 0),
        None => number(text),
    }
}

fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().next_back()? {
        (end, 'k' | 'K') => (&text[..end], 10),
        (end, 'm' | 'M') => (&text[..end], 20),
        (end, 'g' | 'G') => (&text[..end], 30),
        (end, 't' | 'T') => (&text[..end], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_shl(shift)
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().map(|mode| mode & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(bytes("1m"), Some(1 << 20));
        assert_eq!(bytes("64k"), Some(64 << 10));
        assert_eq!(bytes("much"), None);
        assert_eq!(bytes("50%"), Some(0));
        assert_eq!(bytes(""), None);
    }

    #[test]
    fn only_an_overlay_escapes_commas() {
        assert_eq!(split_options("a=1,b,,c", false), ["a=1", "b", "c"]);
        assert_eq!(split_options(r"a=1\,b,c", true), [r"a=1\,b", "c"]);
        assert_eq!(split_options(r"a=1\,b,c", false), [r"a=1\", "b", "c"]);
    }
}
