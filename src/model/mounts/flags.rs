//! Flags of mounts: as mount(2) and the mount API give them, as they are locked, as they are shown.

use crate::model::halt::Res;
use crate::model::machine::{Atime, Machine, Mount, MountFlags, MountId};
use crate::model::rules::mount as rules;
use crate::scenario::operation::{MountFlag, PropagationType};
use crate::scenario::scalar::Errno;

/// What the flags word of mount(2) asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The flags of the mount, the access time mode among them.
    pub flags: MountFlags,
    /// Whether the word names an access time mode at all.
    pub names_atime: bool,
    /// `MS_BIND`
    pub bind: bool,
    /// `MS_REC`
    pub recursive: bool,
    /// The type of propagation, if the word names one.
    pub kind: Option<PropagationType>,
    /// Whether it names more than one.
    pub several_kinds: bool,
    /// Whether it has anything that does not go together with a type of propagation.
    pub others: bool,
}

impl Asked {
    /// Reads the words of mount(2)'s flags, as path_mount() of fs/namespace.c does.
    pub fn of(words: &[MountFlag]) -> Self {
        let mut asked = Self::default();
        let (mut noatime, mut strictatime) = (false, false);
        for word in words {
            let flags = &mut asked.flags;
            let kind = match word {
                MountFlag::Ro => set(&mut flags.ro),
                MountFlag::Nosuid => set(&mut flags.nosuid),
                MountFlag::Nodev => set(&mut flags.nodev),
                MountFlag::Noexec => set(&mut flags.noexec),
                MountFlag::Nosymfollow => set(&mut flags.nosymfollow),
                MountFlag::Noatime => set(&mut noatime),
                MountFlag::Nodiratime => set(&mut flags.nodiratime),
                MountFlag::Strictatime => set(&mut strictatime),
                MountFlag::Bind => set(&mut asked.bind),
                MountFlag::Rec => set(&mut asked.recursive),
                MountFlag::Relatime | MountFlag::Sync | MountFlag::Dirsync | MountFlag::Silent => {
                    None
                }
                MountFlag::Private => Some(PropagationType::Private),
                MountFlag::Shared => Some(PropagationType::Shared),
                MountFlag::Slave => Some(PropagationType::Slave),
                MountFlag::Unbindable => Some(PropagationType::Unbindable),
            };
            let other = kind.is_some_and(|kind| asked.kind.is_some_and(|first| first != kind));
            asked.several_kinds |= other;
            asked.kind = asked.kind.or(kind);
            asked.others |= kind.is_none() && !matches!(word, MountFlag::Rec | MountFlag::Silent);
            asked.names_atime |= matches!(
                word,
                MountFlag::Noatime
                    | MountFlag::Nodiratime
                    | MountFlag::Relatime
                    | MountFlag::Strictatime
            );
        }
        asked.flags.atime = match (strictatime, noatime) {
            (true, _) => Atime::Strictatime,
            (false, true) => Atime::Noatime,
            (false, false) => Atime::Relatime,
        };
        asked
    }
}

/// Sets a flag, which names no type of propagation.
fn set(flag: &mut bool) -> Option<PropagationType> {
    *flag = true;
    None
}

/// `MOUNT_ATTR_*` of include/uapi/linux/mount.h.
pub mod attribute {
    /// The whole field of the access time modes (`MOUNT_ATTR__ATIME`).
    pub const ATIME: u64 = 0x70;
    /// `MOUNT_ATTR_NOATIME`
    pub const NOATIME: u64 = 0x10;
    /// `MOUNT_ATTR_STRICTATIME`
    pub const STRICTATIME: u64 = 0x20;
    /// `MOUNT_ATTR_IDMAP`
    pub const IDMAP: u64 = 0x0010_0000;
}

/// The access time mode of attribute bits; `None` where they are two at once.
pub fn atime_of(bits: u64) -> Option<Atime> {
    match bits & attribute::ATIME {
        0 => Some(Atime::Relatime),
        attribute::NOATIME => Some(Atime::Noatime),
        attribute::STRICTATIME => Some(Atime::Strictatime),
        _ => None,
    }
}

/// Sets the flags that attribute bits name, but for the access time mode, to a value.
pub fn put(flags: &mut MountFlags, bits: u64, value: bool) {
    for (flag, bit) in [
        (&mut flags.ro, 0x1),
        (&mut flags.nosuid, 0x2),
        (&mut flags.nodev, 0x4),
        (&mut flags.noexec, 0x8),
        (&mut flags.nodiratime, 0x80),
        (&mut flags.nosymfollow, 0x0020_0000),
    ] {
        if bits & bit != 0 {
            *flag = value;
        }
    }
}

impl Machine<'_> {
    /// Refuses flags that clear what is locked (`can_change_locked_flags`).
    pub fn must_keep_locked(&self, mount: MountId, wanted: MountFlags) -> Res<()> {
        let Mount { flags, locked_flags: locked, .. } = &self.mounts[mount];
        let cleared = (locked.ro && !wanted.ro)
            || (locked.nosuid && !wanted.nosuid)
            || (locked.nodev && !wanted.nodev)
            || (locked.noexec && !wanted.noexec);
        self.deny(cleared, &rules::LOCKED_FLAGS, Errno::EPERM)?;
        let other = (flags.atime, flags.nodiratime) != (wanted.atime, wanted.nodiratime);
        self.deny(locked.atime && other, &rules::LOCKED_ATIME, Errno::EPERM)
    }

    /// The flags of a mount as mountinfo shows them.
    pub fn shown_flags(&self, mount: MountId) -> String {
        let Mount { flags, idmap, .. } = &self.mounts[mount];
        let mut shown = String::from(if flags.ro { "ro" } else { "rw" });
        for (on, word) in [
            (flags.nosuid, ",nosuid"),
            (flags.nodev, ",nodev"),
            (flags.noexec, ",noexec"),
            (flags.atime == Atime::Noatime, ",noatime"),
            (flags.nodiratime, ",nodiratime"),
            (flags.atime == Atime::Relatime, ",relatime"),
            (flags.nosymfollow, ",nosymfollow"),
            (idmap.is_some(), ",idmapped"),
        ] {
            if on {
                shown.push_str(word);
            }
        }
        shown
    }
}
