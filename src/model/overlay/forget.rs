//! What an overlay forgets: names that are gone, and after a remount those that nobody uses.

use std::collections::BTreeSet;

use super::Child;
use crate::model::machine::{Dentry, DentryId, InodeId, Kind, Machine, SuperId};
use crate::model::rules::overlay as rules;

impl Machine<'_> {
    /// Counts a name less that an inode of an overlay has (`ovl_drop_nlink`): layers that were changed behind
    /// it must not make it none while there is another name.
    pub(super) fn drop_link(&mut self, dentry: DentryId) {
        let inode = self.inode(dentry);
        let is_named = self.is_named(inode);
        let nlink = &mut self.inodes[inode].nlink;
        if *nlink > u32::from(is_named) {
            *nlink -= 1;
        }
    }

    /// Whether a name is known that leads to an inode of an overlay.
    fn is_named(&self, inode: InodeId) -> bool {
        let mut names = self.dentries.iter().filter(|(_, d)| d.inode == inode && !d.unlinked);
        names.any(|(id, _)| self.is_known_name(id))
    }

    /// Whether the directory of a name knows it.
    pub(super) fn is_known_name(&self, dentry: DentryId) -> bool {
        let Dentry { parent, name, .. } = &self.dentries[dentry];
        match &self.inodes[self.inode(*parent)].kind {
            Kind::Overlay(node) => node.children.get(name) == Some(&Child::There(dentry)),
            _ => false,
        }
    }

    /// Whether an overlay still has one of its inodes: it keeps those that have a name or are held.
    pub(super) fn is_remembered(&self, inode: InodeId) -> bool {
        let sb = self.inodes[inode].sb;
        self.is_named(inode) || self.held(sb).any(|dentry| self.inode(dentry) == inode)
    }

    /// Whether a directory has its name, and stands for one that was removed and is still held: a copy of that one
    /// took the name, and the overlay knows directories by their lower ones.
    pub fn ovl_is_found_dead(&self, dir: DentryId) -> bool {
        match &self.inodes[self.inode(dir)].kind {
            Kind::Overlay(node) => {
                node.dead && !self.dentries[dir].unlinked && self.by(&rules::FOUND_DEAD)
            }
            _ => false,
        }
    }

    /// Forgets every name of an overlay that nobody uses, and the inodes that were known by them alone.
    pub fn ovl_forget_names(&mut self, sb: SuperId) {
        let used = self.used_names(sb);
        let of_used = used.iter().map(|dentry| self.inode(*dentry));
        let kept: BTreeSet<InodeId> = of_used.collect();
        let inodes = self.inodes.iter().filter(|(_, inode)| inode.sb == sb);
        for id in inodes.map(|(id, _)| id).collect::<Vec<_>>() {
            if let Kind::Overlay(node) = &mut self.inodes[id].kind {
                let is_used = |child: &Child| match child {
                    Child::There(dentry) => used.contains(dentry),
                    Child::Missing { .. } => false,
                };
                node.children.retain(|_, child| is_used(child));
            }
        }
        if let Some(fs) = &self.supers[sb].overlay {
            fs.inodes.borrow_mut().retain(|_, inode| kept.contains(inode));
        }
    }

    /// The names that open files, processes and mounts hold, with those above them.
    pub(super) fn used_names(&self, sb: SuperId) -> BTreeSet<DentryId> {
        let mut used = BTreeSet::new();
        for held in self.held(sb) {
            let mut at = held;
            while used.insert(at) && self.dentries[at].parent != at {
                at = self.dentries[at].parent;
            }
        }
        used
    }
}
