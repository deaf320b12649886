//! Overlays: the state is the layers on disk; the merged view and every operation are functions of them.
//!
//! A name of an overlay is looked up in the layers once and then remembered, as the kernel's dentry
//! cache does: whoever changes a layer behind a mounted overlay may not be seen.

mod attributes;
mod copy_up;
mod dir;
mod forget;
mod index;
mod layer;
mod lookup;
mod mount;
mod options;
mod origins;
mod readdir;
mod rename;
mod xattrs;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::halt::{Halt, Res};
use super::machine::{
    Cred, Dentry, DentryId, FileType, Inode, InodeId, Kind, Machine, MountId, Place, SuperId,
};

use options::{Config, Redirect};
pub use options::{MountOptions, ParamValue};

/// An overlay that is mounted.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The layer that is written to.
    upper: Option<Layer>,
    /// The lower layers, topmost first; those that only give data come last.
    lower: Vec<Layer>,
    /// How many of the lower layers are merged.
    merged: usize,
    /// The directory that was given as `workdir`.
    work_base: Option<DentryId>,
    /// Its subdirectory in which files are prepared; without it nothing can be changed.
    workdir: Option<DentryId>,
    /// Whether the work directory is the index of hard links.
    indexed: bool,
    config: Config,
    /// With these credentials the layers are used.
    mounter: Rc<Cred>,
    /// The upper layer takes no attributes of the overlay.
    noxattr: Cell<bool>,
    identity: Identity,
    /// Roots of layers and the work directories, which must not be met inside of another layer.
    traps: Vec<InodeId>,
    /// The inode that all whiteouts share, by its name in the work directory.
    whiteout: Cell<Option<DentryId>>,
    /// Overlay inodes by the inode of a layer that they stand for.
    inodes: RefCell<BTreeMap<InodeId, InodeId>>,
    /// Names that the upper layer has itself, where there is an index: a file may have been copied up
    /// by way of another of its names.
    aliased: RefCell<BTreeSet<DentryId>>,
    /// How many overlays lie on each other.
    depth: u32,
}

/// A layer: a private clone of a mount.
#[derive(Clone, Debug)]
struct Layer {
    mount: MountId,
    root: DentryId,
    /// Which of the file systems of the layers it is on; 0 is that of the upper layer.
    fsid: u32,
    /// Whether a directory with whiteouts in the form of attributes was met in it.
    xwhiteouts: Cell<bool>,
}

/// How device and inode numbers are made from those of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// All layers are on one file system: its numbers are used.
    SameFs,
    /// The high bits of an inode number tell the file system.
    HighBits,
    /// Every file system has a device number of its own.
    Devices,
}

/// A file of an overlay: where it is in the layers.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// In the upper layer.
    pub upper: Option<DentryId>,
    /// In the lower layers, topmost first, with the number of the layer.
    pub lower: Vec<(usize, DentryId)>,
    /// The directory of the upper layer hides what is below.
    opaque: bool,
    /// The path at which the lower layers have it, where that is not its own.
    redirect: Option<Rc<str>>,
    /// The upper file has no data yet.
    metacopy: bool,
    /// Where the data-only layers have the data of the topmost lower file.
    data_redirect: Option<Rc<str>>,
    /// May hold whiteouts, so its listing is made by the overlay.
    whiteouts: bool,
    /// May hold whiteouts in the form of attributes.
    xwhiteouts: bool,
    /// May hold files that were copied up.
    impure: bool,
    /// Its number is that of the file it was copied up from.
    constant_ino: bool,
    /// The upper layer has its name.
    named: bool,
    /// It has an entry in the index.
    indexed: bool,
    /// It is a directory that was removed (`S_DEAD`).
    dead: bool,
    /// It had no privileges that writing takes when it was written to last (`S_NOSEC`).
    unprivileged: bool,
    /// What was looked up in it.
    children: BTreeMap<Rc<str>, Child>,
}

/// What was found for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    There(DentryId),
    Missing {
        /// A whiteout of the upper layer hides it.
        whiteout: bool,
    },
}

impl Node {
    /// The topmost of its layers.
    pub fn top(&self) -> DentryId {
        self.upper.unwrap_or_else(|| self.lower[0].1)
    }

    /// The topmost lower one.
    fn top_lower(&self) -> Option<(usize, DentryId)> {
        self.lower.first().copied()
    }

    /// Whether a directory is merged of several.
    fn is_merged(&self, is_dir: bool) -> bool {
        match self.upper {
            Some(_) => !self.lower.is_empty() && (is_dir || self.metacopy),
            None => self.lower.len() > 1,
        }
    }

    /// Whether it lies on a lower layer, wholly or in part (`ovl_type_merge_or_lower`).
    fn is_merged_or_lower(&self, is_dir: bool) -> bool {
        self.upper.is_none() || self.is_merged(is_dir)
    }

    /// Whether it was copied up and keeps the number of its origin (`OVL_TYPE_ORIGIN`).
    fn has_origin(&self) -> bool {
        self.upper.is_some() && !self.lower.is_empty() && self.constant_ino
    }

    /// Whether nothing of it was ever on a lower layer (`ovl_pure_upper`).
    fn is_pure_upper(&self) -> bool {
        self.lower.is_empty() && !self.whiteouts
    }
}

impl Overlay {
    fn lower_place(&self, layer: usize, dentry: DentryId) -> Res<Place> {
        match self.lower.get(layer) {
            Some(layer) => Ok(Place { mount: layer.mount, dentry }),
            None => Err(NO_OVERLAY),
        }
    }

    fn upper_place(&self, dentry: DentryId) -> Res<Place> {
        match &self.upper {
            Some(upper) => Ok(Place { mount: upper.mount, dentry }),
            None => Err(NO_OVERLAY),
        }
    }

    /// Whether redirects are followed (`ovl_redirect_follow`).
    fn follows_redirects(&self) -> bool {
        self.config.redirect != Redirect::NoFollow
    }

    /// Whether it has layers that hold nothing but data, behind those that are merged.
    fn has_data_layers(&self) -> bool {
        self.lower.len() > self.merged
    }

    /// The mounts of its layers, which nobody sees.
    pub fn mounts(&self) -> impl Iterator<Item = MountId> {
        self.upper.iter().chain(&self.lower).map(|layer| layer.mount)
    }

    /// Whether it can never be written to.
    pub fn is_forced_readonly(&self) -> bool {
        self.upper.is_none() || self.workdir.is_none()
    }
}

/// What is asked of an overlay that is none.
const NO_OVERLAY: Halt = Halt::Unknown("an overlay without its layers");

impl Machine<'_> {
    fn overlay(&self, dentry: DentryId) -> Res<Rc<Overlay>> {
        self.supers[self.dentries[dentry].sb].overlay.clone().ok_or(NO_OVERLAY)
    }

    fn node(&self, dentry: DentryId) -> Res<&Node> {
        match &self.inodes[self.inode(dentry)].kind {
            Kind::Overlay(node) => Ok(node),
            _ => Err(NO_OVERLAY),
        }
    }

    fn node_mut(&mut self, dentry: DentryId) -> Res<&mut Node> {
        let inode = self.inode(dentry);
        match &mut self.inodes[inode].kind {
            Kind::Overlay(node) => Ok(node),
            _ => Err(NO_OVERLAY),
        }
    }

    /// Where the topmost layer has a file of an overlay: whose mode and owner count, the owner as it
    /// is seen through the mount of that layer (`ovl_path_real`).
    pub fn ovl_real_place(&self, inode: InodeId) -> Option<Place> {
        let Kind::Overlay(node) = &self.inodes[inode].kind else { return None };
        let fs = self.supers[self.inodes[inode].sb].overlay.as_ref()?;
        match (node.upper, node.top_lower()) {
            (Some(dentry), _) => fs.upper_place(dentry).ok(),
            (None, Some((layer, dentry))) => fs.lower_place(layer, dentry).ok(),
            (None, None) => None,
        }
    }

    fn real_place(&self, dentry: DentryId) -> Res<Place> {
        self.ovl_real_place(self.inode(dentry)).ok_or(NO_OVERLAY)
    }

    /// An inode of an overlay.
    fn new_node(&mut self, sb: SuperId, node: Node) -> InodeId {
        let this = &mut self.supers[sb];
        this.last_number += 1;
        let number = this.last_number;
        let now = super::machine::Time::Event(0);
        let inode = self.inodes.add(Inode {
            sb,
            number,
            kind: Kind::Overlay(node),
            mode: 0,
            uid: 0,
            gid: 0,
            nlink: 1,
            atime: now,
            mtime: now,
            ctime: now,
            xattrs: BTreeMap::new(),
            locks: Vec::new(),
        });
        self.read_guard(inode);
        inode
    }

    /// A name of an overlay that leads to an inode of it.
    fn new_name(&mut self, dir: DentryId, name: &str, inode: InodeId) -> Res<DentryId> {
        let sb = self.dentries[dir].sb;
        let name: Rc<str> = name.into();
        let dentry = Dentry { sb, parent: dir, name: Rc::clone(&name), inode, unlinked: false };
        let dentry = self.dentries.add(dentry);
        self.node_mut(dir)?.children.insert(name, Child::There(dentry));
        Ok(dentry)
    }

    /// Whether the layer's mount and file system take changes (`ovl_want_write`).
    fn upper_writable(&self, fs: &Overlay) -> bool {
        fs.upper.as_ref().is_some_and(|upper| {
            let mount = &self.mounts[upper.mount];
            !mount.flags.ro && !self.supers[mount.sb].readonly
        })
    }

    fn is_regular(&self, dentry: DentryId) -> bool {
        self.file_type(self.inode(dentry)) == FileType::File
    }
}
