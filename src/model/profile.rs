//! The kernel that is modelled: its version, and what was probed of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scenario::condition::{Answers, KernelVersion};

/// The oldest version that is modelled, as major and minor number. The oldest kernel that it was held against is 5.10:
/// what came between the two is taken from manual pages and the kernel's history.
pub const OLDEST: (u32, u32) = (5, 4);
/// The newest version that the model was held against.
pub const NEWEST: (u32, u32) = (7, 2);

/// Probes that are no where nobody asked: they ask for what is chosen when a kernel is built, and is not
/// chosen by itself.
const CHOSEN: [&str; 1] = ["xattr.security_unchecked"];

/// What the model knows of a kernel: a version, and the answers of probes, which outrank it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The version.
    pub version: KernelVersion,
    /// What probes answered; one that was not asked is decided by the version.
    pub probes: BTreeMap<String, bool>,
    /// What can be set on a kernel.
    pub settings: Settings,
}

/// What can be set on a kernel: module parameters and sysctls that change what a scenario sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// /sys/module/overlay/parameters/redirect_dir
    pub overlay_redirect_dir: bool,
    /// /sys/module/overlay/parameters/redirect_always_follow
    pub overlay_redirect_always_follow: bool,
    /// /sys/module/overlay/parameters/index
    pub overlay_index: bool,
    /// /sys/module/overlay/parameters/metacopy
    pub overlay_metacopy: bool,
    /// /sys/module/overlay/parameters/nfs_export
    pub overlay_nfs_export: bool,
    /// /sys/module/overlay/parameters/xino_auto
    pub overlay_xino_auto: bool,
    /// fs.protected_hardlinks
    pub protected_hardlinks: bool,
    /// fs.protected_symlinks
    pub protected_symlinks: bool,
    /// fs.protected_regular: 0, 1 or 2
    pub protected_regular: u8,
    /// fs.protected_fifos: 0, 1 or 2
    pub protected_fifos: u8,
    /// The types in /proc/filesystems; `None` where they are not known.
    pub file_systems: Option<Vec<String>>,
}

impl Default for Settings {
    /// What the kernel is built with where nobody chose otherwise; the protections are what
    /// distributions set.
    fn default() -> Self {
        Self {
            overlay_redirect_dir: false,
            overlay_redirect_always_follow: true,
            overlay_index: false,
            overlay_metacopy: false,
            overlay_nfs_export: false,
            overlay_xino_auto: false,
            protected_hardlinks: true,
            protected_symlinks: true,
            protected_regular: 1,
            protected_fifos: 1,
            file_systems: None,
        }
    }
}

impl Profile {
    /// A kernel of which only the version is known.
    pub fn of_version(version: KernelVersion) -> Self {
        let probes = CHOSEN.map(|name| (name.to_owned(), false));
        Self { version, probes: probes.into(), settings: Settings::default() }
    }

    /// What a probe answered.
    pub fn probe(&self, name: &str) -> Option<bool> {
        self.probes.get(name).copied()
    }

    /// Whether the kernel is this version or a later one.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        self.version >= KernelVersion(major, minor, 0)
    }
}

impl Answers for Profile {
    fn kernel(&self) -> KernelVersion {
        self.version
    }

    fn probe(&self, name: &str) -> Option<bool> {
        Self::probe(self, name)
    }
}
