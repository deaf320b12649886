//! Shared subtrees: peer groups and their slaves, what a mount sends to others, and what an unmount
//! takes away from them.
//!
//! A peer group is its number. All of its members have one master, and a master is always a group: a
//! mount that leaves its group hands its slaves over to those who stay, or to its own master.

use crate::model::halt::Res;
use crate::model::machine::{Machine, MountId, Place};
use crate::model::rules::propagation as rules;
use crate::scenario::operation::PropagationType;

use super::tree::{Copy, Keep};

/// A peer group, by its number.
#[derive(Clone, Debug, Default)]
pub struct PeerGroup {
    /// Its members, in the order in which they receive: a copy stands behind its original.
    members: Vec<MountId>,
    /// The slaves of its members.
    slaves: Vec<MountId>,
}

impl Machine<'_> {
    /// The members of a peer group.
    pub fn peers(&self, group: u32) -> &[MountId] {
        self.peer_groups.get(group as usize).map_or(&[], |group| &group.members)
    }

    fn slaves(&self, group: u32) -> &[MountId] {
        self.peer_groups.get(group as usize).map_or(&[], |group| &group.slaves)
    }

    /// The members of a peer group from one of them on, and once around.
    fn peers_from(&self, group: u32, first: MountId) -> Vec<MountId> {
        let mut members = self.peers(group).to_vec();
        let start = members.iter().position(|member| *member == first).unwrap_or(0);
        members.rotate_left(start);
        members
    }

    /// Makes a peer group with one member.
    pub fn found_group(&mut self, mount: MountId) {
        let number = self.peer_groups.len() as u32;
        self.peer_groups.push(PeerGroup { members: vec![mount], slaves: Vec::new() });
        self.mounts[mount].peer_group = Some(number);
    }

    /// Adds a mount to a peer group, behind another member.
    pub fn join_group(&mut self, mount: MountId, group: u32, behind: MountId) {
        if let Some(peers) = self.peer_groups.get_mut(group as usize) {
            insert_behind(&mut peers.members, mount, Some(behind));
            self.mounts[mount].peer_group = Some(group);
        }
    }

    /// Gives a mount a master or none: among its slaves the newest stands first, but a copy behind
    /// its original.
    pub fn set_master(&mut self, mount: MountId, master: Option<u32>, behind: Option<MountId>) {
        let old = std::mem::replace(&mut self.mounts[mount].master, master);
        if let Some(old) = old.and_then(|old| self.peer_groups.get_mut(old as usize)) {
            old.slaves.retain(|slave| *slave != mount);
        }
        if let Some(new) = master.and_then(|new| self.peer_groups.get_mut(new as usize)) {
            insert_behind(&mut new.slaves, mount, behind);
        }
    }

    // ---- types ----

    /// Changes the propagation type of one mount (`change_mnt_propagation`).
    pub fn change_type(&mut self, mount: MountId, kind: PropagationType) {
        match kind {
            PropagationType::Shared => self.make_shared(mount),
            PropagationType::Slave => self.make_slave(mount),
            PropagationType::Private => {
                self.make_private(mount);
            }
            PropagationType::Unbindable => {
                self.make_private(mount);
                self.mounts[mount].unbindable = self.by(&rules::TYPE_UNBINDABLE);
            }
        }
    }

    fn make_shared(&mut self, mount: MountId) {
        if self.mounts[mount].peer_group.is_none() && self.by(&rules::TYPE_SHARED) {
            self.found_group(mount);
        }
        self.mounts[mount].unbindable = false;
    }

    /// Makes a whole tree shared, as what is mounted on a shared mount becomes.
    pub fn share_tree(&mut self, top: MountId) {
        for mount in self.mount_tree(top) {
            if self.mounts[mount].peer_group.is_none() && self.by(&rules::SHARED_BELOW) {
                self.found_group(mount);
                self.mounts[mount].unbindable = false;
            }
        }
    }

    fn make_slave(&mut self, mount: MountId) {
        let Some(group) = self.mounts[mount].peer_group else { return };
        self.leave_group(mount);
        if !self.peers(group).is_empty() && self.by(&rules::TYPE_SLAVE) {
            self.set_master(mount, Some(group), None);
        }
    }

    /// Takes a mount out of its group and away from its master.
    pub fn make_private(&mut self, mount: MountId) {
        self.leave_group(mount);
        self.set_master(mount, None, None);
        self.mounts[mount].unbindable = false;
    }

    /// The last one to leave a peer group hands its slaves over to its master.
    fn leave_group(&mut self, mount: MountId) {
        let Some(group) = self.mounts[mount].peer_group.take() else { return };
        let Some(left) = self.peer_groups.get_mut(group as usize) else { return };
        left.members.retain(|member| *member != mount);
        if !left.members.is_empty() {
            return;
        }
        let master = self.mounts[mount].master;
        for slave in self.slaves(group).to_vec().into_iter().rev() {
            let heir = master.filter(|_| self.by(&rules::SLAVES_HANDED_ON));
            self.set_master(slave, heir, None);
        }
    }

    // ---- mounting ----

    /// Copies a tree for every mount that receives what is mounted on a place; they are not attached.
    /// Groups from the number `fresh` on were founded for what is being mounted.
    pub fn propagate(&mut self, top: MountId, at: Place, fresh: u32) -> Res<Vec<(MountId, Place)>> {
        let mut copies = Vec::new();
        let Some(group) = self.mounts[at.mount].peer_group else { return Ok(copies) };
        let mut last = top;
        for peer in self.peers_from(group, at.mount) {
            let place = Place { mount: peer, dentry: at.dentry };
            if peer != at.mount && self.receives(peer, at) && self.by(&rules::TO_PEERS) {
                last = self.send(last, Copy::Shared, place, &mut copies)?;
            }
        }
        self.propagate_to_slaves((group, fresh), top, at, &mut copies)?;
        Ok(copies)
    }

    /// Sends a tree to the slaves of a group: its copy there is a slave of the nearest copy above.
    fn propagate_to_slaves(
        &mut self,
        (master, fresh): (u32, u32),
        nearest: MountId,
        at: Place,
        copies: &mut Vec<(MountId, Place)>,
    ) -> Res<()> {
        let mut done = Vec::new();
        for slave in self.slaves(master).to_vec() {
            let not_yet = |group: &u32| *group >= fresh && self.by(&rules::NOT_YET_SHARED);
            let group = self.mounts[slave].peer_group.filter(|group| !not_yet(group));
            let members = match group {
                Some(group) if done.contains(&group) => continue,
                Some(group) => self.peers_from(group, slave),
                None => vec![slave],
            };
            done.extend(group);
            let mut first = None;
            for member in members {
                if !self.receives(member, at) || !self.by(&rules::TO_SLAVES) {
                    continue;
                }
                let place = Place { mount: member, dentry: at.dentry };
                let (from, copy) = match first {
                    None => (nearest, Copy::Slave { shared: group.is_some() }),
                    Some(first) => (first, Copy::Shared),
                };
                let sent = self.send(from, copy, place, copies)?;
                first = first.or(Some(sent));
            }
            if let Some(group) = group {
                let nearest = first.unwrap_or(nearest);
                self.propagate_to_slaves((group, fresh), nearest, at, copies)?;
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        tree: MountId,
        copy: Copy,
        to: Place,
        copies: &mut Vec<(MountId, Place)>,
    ) -> Res<MountId> {
        let root = self.mounts[tree].root;
        let new = self.copy_mounts(tree, root, copy, Keep::BIND)?;
        copies.push((new, to));
        Ok(new)
    }

    /// Whether a mount that is sent to takes a copy (`need_secondary`).
    fn receives(&self, mount: MountId, at: Place) -> bool {
        let this = &self.mounts[mount];
        if !self.is_below(at.dentry, this.root) && self.by(&rules::OUT_OF_SIGHT) {
            return false;
        }
        if this.ns.is_none() && self.by(&rules::NOT_TO_NEW) {
            return false;
        }
        !(self.is_detached(mount) && self.by(&rules::NOT_TO_DETACHED))
    }

    /// Whether what is mounted on one mount would be sent on top of another
    /// (`propagation_would_overmount`).
    pub fn would_cover(&self, from: MountId, to: MountId, at: Place) -> bool {
        let Some(group) = self.mounts[from].peer_group else { return false };
        if self.mounts[to].root != at.dentry {
            return false;
        }
        let mut this = self.mounts[to].peer_group;
        let mut master = self.mounts[to].master;
        loop {
            if this == Some(group) {
                return true;
            }
            let Some(next) = master else { return false };
            this = Some(next);
            master = self.peers(next).first().and_then(|peer| self.mounts[*peer].master);
        }
    }

    // ---- unmounting ----

    /// Every other mount that receives what happens on a mount.
    fn receivers(&self, mount: MountId) -> Vec<MountId> {
        let Some(group) = self.mounts[mount].peer_group else { return Vec::new() };
        let mut found: Vec<_> =
            self.peers(group).iter().copied().filter(|peer| *peer != mount).collect();
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            for &slave in self.slaves(group) {
                if found.contains(&slave) {
                    continue;
                }
                found.push(slave);
                if let Some(own) = self.mounts[slave].peer_group {
                    groups.push(own);
                }
            }
        }
        found
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
        let mut candidates = self.candidates(gone);
        if candidates.is_empty() || !self.by(&rules::UMOUNT_PROPAGATES) {
            return Vec::new();
        }
        let mut leaving = Vec::new();
        // What has something on it that stays, stays too; what has nothing on it goes.
        for mount in candidates.clone() {
            if candidates.contains(&mount) {
                self.trim(mount, &mut candidates, &mut leaving);
            }
        }
        while let Some(&mount) = candidates.first() {
            self.settle_locked(mount, gone, &mut candidates, &mut leaving);
        }
        for &mount in &leaving {
            if let Some(cover) = self.cover_of(mount).filter(|cover| !leaving.contains(cover)) {
                self.slide_down(cover, gone, &leaving);
            }
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

    fn trim(&mut self, mount: MountId, candidates: &mut Vec<MountId>, leaving: &mut Vec<MountId>) {
        let cover = self.cover_of(mount);
        let children = &self.mounts[mount].children;
        let staying: Vec<_> =
            children.iter().copied().filter(|child| !candidates.contains(child)).collect();
        let held = staying.iter().any(|child| Some(*child) != cover);
        if !staying.is_empty() {
            self.keep_ancestors(mount, candidates);
        } else if !self.mounts[mount].locked && children.is_empty() {
            candidates.retain(|other| *other != mount);
            self.leave(mount, leaving);
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
        &mut self,
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
        for at in chain.into_iter().take(cutoff) {
            self.leave(at, leaving);
        }
    }

    fn leave(&mut self, mount: MountId, leaving: &mut Vec<MountId>) {
        if let Some(at) = self.mounts[mount].at {
            self.mounts[at.mount].children.retain(|child| *child != mount);
        }
        leaving.push(mount);
    }

    /// A mount that covers ones that go takes the place of the lowest of them.
    fn slide_down(&mut self, cover: MountId, gone: &[MountId], leaving: &[MountId]) {
        let mut at = self.mounts[cover].at;
        while let Some(place) =
            at.filter(|at| gone.contains(&at.mount) || leaving.contains(&at.mount))
        {
            at = self.mounts[place.mount].at;
        }
        self.unhang(cover);
        if let Some(place) = at {
            self.mounts[cover].at = Some(place);
            self.mounts[place.mount].children.push(cover);
        }
    }
}

fn insert_behind(list: &mut Vec<MountId>, mount: MountId, behind: Option<MountId>) {
    let at = behind.and_then(|behind| list.iter().position(|other| *other == behind));
    list.insert(at.map_or(0, |at| at + 1), mount);
}
