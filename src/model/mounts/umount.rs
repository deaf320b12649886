//! Unmounting in shared subtrees: which copies go with a mount.

mod one_by_one;

use crate::model::machine::{Machine, MountId, Place};
use crate::model::rules::propagation as rules;

/// What goes with an unmount.
struct Leaving {
    /// The copies that go, in the order in which that was found.
    leaving: Vec<MountId>,
    /// The mounts that lie on them and stay.
    covers: Vec<MountId>,
}

impl Machine<'_> {
    /// Every other mount that receives what happens on a mount (`propagation_next`).
    fn receivers(&self, mount: MountId) -> Vec<MountId> {
        let Some(group) = self.mounts[mount].peer_group else { return Vec::new() };
        let mut found = Vec::new();
        for peer in self.peers_from(group, mount) {
            self.with_slaves(peer, &mut found);
        }
        found.retain(|found| *found != mount);
        found
    }

    /// A mount, its slaves and theirs, in the order of the kernel's walk.
    fn with_slaves(&self, mount: MountId, found: &mut Vec<MountId>) {
        found.push(mount);
        for &slave in self.slaves_reached(mount) {
            self.with_slaves(slave, found);
        }
    }

    /// The mounts that others have at the place of this one because the same was sent to them.
    fn copies_of(&self, mount: MountId) -> Vec<MountId> {
        let Some(at) = self.mounts[mount].at else { return Vec::new() };
        let there = |receiver| self.mount_at(Place { mount: receiver, dentry: at.dentry });
        self.receivers(at.mount).into_iter().filter_map(there).collect()
    }

    /// Whether an unmount would take a copy away that is in use (`propagate_mount_busy`). One with
    /// mounts on it stays anyway, and hinders nothing.
    pub fn copy_is_used(&self, mount: MountId) -> bool {
        self.copies_of(mount).into_iter().any(|copy| {
            let children = &self.mounts[copy].children;
            let kept = match children.as_slice() {
                [] => false,
                [only] => self.cover_of(copy) != Some(*only),
                _ => true,
            };
            !kept && self.is_used(copy)
        })
    }

    /// What is unmounted with its parent's consent may be unmounted in every copy
    /// (`propagate_mount_unlock`).
    pub fn unlock_copies(&mut self, mount: MountId) {
        for copy in self.copies_of(mount) {
            if self.mounts[copy].locked && self.by(&rules::UMOUNT_UNLOCKS) {
                self.mounts[copy].locked = false;
            }
        }
    }

    /// The copies that go with mounts that are unmounted (`propagate_umount`). They are taken off
    /// their places; a mount that covers one of them and stays takes its place.
    pub fn copies_to_unmount(&mut self, gone: &[MountId]) -> Vec<MountId> {
        let candidates = self.candidates(gone);
        if candidates.is_empty() || !self.by(&rules::UMOUNT_PROPAGATES) {
            return Vec::new();
        }
        let Leaving { leaving, covers } = if self.by(&rules::UMOUNT_SETTLED) {
            self.settle(gone, candidates)
        } else {
            one_by_one::copies(self, gone)
        };
        for &mount in &leaving {
            if let Some(at) = self.mounts[mount].at {
                self.mounts[at.mount].children.retain(|child| *child != mount);
            }
        }
        for cover in covers {
            self.slide_down(cover, gone, &leaving);
        }
        leaving
    }

    fn candidates(&self, gone: &[MountId]) -> Vec<MountId> {
        let mut found = Vec::new();
        for &mount in gone {
            for copy in self.copies_of(mount) {
                if !gone.contains(&copy) && !found.contains(&copy) {
                    found.push(copy);
                }
            }
        }
        found.reverse();
        found
    }

    /// Decides over all candidates together: what has something on it that stays, stays too.
    fn settle(&self, gone: &[MountId], mut candidates: Vec<MountId>) -> Leaving {
        let mut leaving = Vec::new();
        for mount in candidates.clone() {
            if candidates.contains(&mount) {
                self.trim(mount, &mut candidates, &mut leaving);
            }
        }
        while let Some(&mount) = candidates.first() {
            self.settle_locked(mount, gone, &mut candidates, &mut leaving);
        }
        let covers = leaving.iter().filter_map(|mount| self.cover_of(*mount));
        let covers = covers.filter(|cover| !leaving.contains(cover)).collect();
        Leaving { leaving, covers }
    }

    fn trim(&self, mount: MountId, candidates: &mut Vec<MountId>, leaving: &mut Vec<MountId>) {
        let cover = self.cover_of(mount);
        let children = self.mounts[mount].children.iter();
        let children: Vec<_> = children.filter(|child| !leaving.contains(child)).collect();
        let stays = |child: &&&MountId| !candidates.contains(child);
        let staying: Vec<_> = children.iter().filter(stays).copied().copied().collect();
        let held = staying.iter().any(|child| Some(*child) != cover);
        if !staying.is_empty() {
            self.keep_ancestors(mount, candidates);
        } else if !self.mounts[mount].locked && children.is_empty() {
            candidates.retain(|other| *other != mount);
            leaving.push(mount);
        }
        if held && self.by(&rules::UMOUNT_KEEPS_PARENTS) {
            candidates.retain(|other| *other != mount);
        }
    }

    /// Mounts below one that stays stay too, up to one that is covered as a whole.
    fn keep_ancestors(&self, mount: MountId, candidates: &mut Vec<MountId>) {
        let mut this = mount;
        while let Some(parent) = self.parent_of(this).filter(|parent| candidates.contains(parent)) {
            if self.cover_of(parent) != Some(this) && self.by(&rules::UMOUNT_KEEPS_PARENTS) {
                candidates.retain(|other| *other != parent);
            }
            this = parent;
        }
    }

    /// Decides what is left: a locked mount goes only together with the one that it is locked to.
    fn settle_locked(
        &self,
        mount: MountId,
        gone: &[MountId],
        candidates: &mut Vec<MountId>,
        leaving: &mut Vec<MountId>,
    ) {
        let mut chain = Vec::new();
        let mut cutoff = 0;
        let mut this = Some(mount);
        while let Some(at) = this.filter(|at| candidates.contains(at)) {
            candidates.retain(|other| *other != at);
            chain.push(at);
            if !self.mounts[at].locked {
                cutoff = chain.len();
            }
            this = self.parent_of(at);
        }
        if this.is_some_and(|at| gone.contains(&at) || leaving.contains(&at)) {
            cutoff = chain.len();
        }
        if cutoff < chain.len() && !self.by(&rules::UMOUNT_KEEPS_LOCKED) {
            cutoff = chain.len();
        }
        leaving.extend(chain.into_iter().take(cutoff));
    }

    /// A mount that covers ones that go takes the place of the lowest of them.
    fn slide_down(&mut self, cover: MountId, gone: &[MountId], leaving: &[MountId]) {
        let goes = |at: &Place| gone.contains(&at.mount) || leaving.contains(&at.mount);
        let mut at = self.mounts[cover].at;
        if !at.as_ref().is_some_and(goes) {
            return;
        }
        while let Some(place) = at.filter(goes) {
            at = self.mounts[place.mount].at;
        }
        self.unhang(cover);
        if let Some(place) = at {
            self.mounts[cover].at = Some(place);
            self.mounts[place.mount].children.push(cover);
        }
    }
}
