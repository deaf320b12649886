//! Peer groups and slaves: who sends to whom, and the types of propagation that make it so.
//!
//! As in the kernel, a group is a ring of its members (`mnt_share`), a master is one mount, and each mount
//! has a list of its own slaves (`mnt_slave_list`), in which the members of a group stand side by side. All
//! of a group have the same master. Whom they send to does not depend on the order of these lists; in which
//! order copies are made does.

use std::collections::BTreeSet;

use crate::model::machine::{Machine, MountId};
use crate::model::rules::propagation as rules;
use crate::scenario::operation::PropagationType;

/// A peer group, by its number: its members, in the order in which they receive.
#[derive(Clone, Debug, Default)]
pub struct PeerGroup(Vec<MountId>);

impl Machine<'_> {
    /// The members of a peer group.
    pub fn peers(&self, group: u32) -> &[MountId] {
        self.peer_groups.get(group as usize).map_or(&[], |group| &group.0)
    }

    /// The members of a peer group from one of them on, and once around.
    pub fn peers_from(&self, group: u32, first: MountId) -> Vec<MountId> {
        let mut members = self.peers(group).to_vec();
        let start = members.iter().position(|member| *member == first).unwrap_or(0);
        members.rotate_left(start);
        members
    }

    /// The peers of a mount, from the next one on.
    fn other_peers(&self, mount: MountId) -> Vec<MountId> {
        let Some(group) = self.mounts[mount].peer_group else { return Vec::new() };
        self.peers_from(group, mount).into_iter().filter(|peer| *peer != mount).collect()
    }

    /// Whether two mounts are in one peer group.
    pub fn are_peers(&self, one: MountId, other: MountId) -> bool {
        let group = self.mounts[one].peer_group;
        group.is_some() && group == self.mounts[other].peer_group
    }

    /// The group that a mount receives from.
    pub fn master_group(&self, mount: MountId) -> Option<u32> {
        self.mounts[mount].master.and_then(|master| self.mounts[master].peer_group)
    }

    /// Makes a peer group with one member.
    pub fn found_group(&mut self, mount: MountId) {
        let number = self.peer_groups.len() as u32;
        self.peer_groups.push(PeerGroup(vec![mount]));
        self.mounts[mount].peer_group = Some(number);
    }

    /// Adds a mount to a peer group, behind another member.
    pub fn join_group(&mut self, mount: MountId, group: u32, behind: MountId) {
        if let Some(peers) = self.peer_groups.get_mut(group as usize) {
            insert_behind(&mut peers.0, mount, Some(behind));
            self.mounts[mount].peer_group = Some(group);
        }
    }

    /// Takes a mount out of its group.
    fn leave_group(&mut self, mount: MountId) {
        let group = self.mounts[mount].peer_group.take();
        if let Some(group) = group.and_then(|group| self.peer_groups.get_mut(group as usize)) {
            group.0.retain(|member| *member != mount);
        }
    }

    /// Gives a mount a master or none: among its slaves the newest stands first, but a copy behind
    /// its original.
    pub fn set_master(&mut self, mount: MountId, master: Option<MountId>, behind: Option<MountId>) {
        if let Some(old) = std::mem::replace(&mut self.mounts[mount].master, master) {
            self.mounts[old].slaves.retain(|slave| *slave != mount);
        }
        if let Some(new) = master {
            insert_behind(&mut self.mounts[new].slaves, mount, behind);
        }
    }

    // ---- types ----

    /// Changes the propagation type of one mount (`change_mnt_propagation`).
    pub fn change_type(&mut self, mount: MountId, kind: PropagationType) {
        match kind {
            PropagationType::Shared => self.make_shared(mount),
            PropagationType::Slave => self.make_slave(mount),
            PropagationType::Private => self.make_private(mount),
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
        let peer = self.next_source(mount);
        self.stop_sharing(mount, peer);
        let peer = peer.filter(|_| self.by(&rules::TYPE_SLAVE));
        let master = peer.or(self.mounts[mount].master);
        self.set_master(mount, master, None);
    }

    /// Takes a mount out of its group and away from its master.
    fn make_private(&mut self, mount: MountId) {
        let peer = self.next_source(mount);
        self.stop_sharing(mount, peer);
        self.set_master(mount, None, None);
        self.mounts[mount].unbindable = false;
    }

    /// The peer that takes the place of a mount that leaves its group: the next one.
    fn next_source(&self, mount: MountId) -> Option<MountId> {
        let peers = self.other_peers(mount);
        let next = peers.first().copied()?;
        let root = self.mounts[mount].root;
        let same = peers.iter().copied().find(|peer| self.mounts[*peer].root == root);
        Some(same.filter(|same| *same == next || self.by(&rules::HEIR_SAME_ROOT)).unwrap_or(next))
    }

    fn stop_sharing(&mut self, mount: MountId, peer: Option<MountId>) {
        let heir = peer.or(self.mounts[mount].master);
        let from_master = peer.is_none();
        self.leave_group(mount);
        self.hand_on(mount, heir, from_master);
    }

    /// Gives the slaves of a mount to another one (`transfer_propagation`).
    fn hand_on(&mut self, mount: MountId, heir: Option<MountId>, from_master: bool) {
        let slaves = std::mem::take(&mut self.mounts[mount].slaves);
        if slaves.is_empty() {
            return;
        }
        let heir = heir.filter(|_| !from_master || self.by(&rules::SLAVES_HANDED_ON));
        for &slave in &slaves {
            self.mounts[slave].master = heir;
        }
        let Some(heir) = heir else { return };
        let own = self.mounts[heir].slaves.len();
        let at = if own > 0 && self.by(&rules::HEIR_BEHIND) { own } else { 0 };
        self.mounts[heir].slaves.splice(at..at, slaves);
    }

    /// Takes mounts that were unmounted out of their groups (`bulk_make_private`).
    pub fn leave_groups(&mut self, gone: &[MountId]) {
        let all: BTreeSet<_> = gone.iter().copied().collect();
        let goes = |mount: &MountId| all.contains(mount);
        let matters = |mount: &MountId| {
            let this = &self.mounts[*mount];
            let others = self.other_peers(*mount);
            !this.slaves.is_empty() && others.iter().chain(&this.master).any(goes)
        };
        if !gone.iter().any(matters) || !self.by(&rules::HEIR_STAYS) {
            gone.iter().for_each(|mount| self.make_private(*mount));
            return;
        }
        let heirs: Vec<_> = gone.iter().map(|mount| self.heir_that_stays(*mount, &all)).collect();
        for &mount in gone {
            self.leave_group(mount);
            self.set_master(mount, None, None);
            self.mounts[mount].unbindable = false;
        }
        for (&mount, (heir, from_master)) in gone.iter().zip(heirs) {
            self.hand_on(mount, heir, from_master);
        }
    }

    /// Who sends to the slaves of a mount that goes: the next peer that stays, or one of the master's, and
    /// whether it is of the master's.
    fn heir_that_stays(&self, mount: MountId, gone: &BTreeSet<MountId>) -> (Option<MountId>, bool) {
        let stays = |mount: &MountId| !gone.contains(mount);
        let mut this = mount;
        // A master is never one's own slave: its slaves are handed on before it could become one.
        loop {
            if let Some(peer) = self.other_peers(this).into_iter().find(stays) {
                return (Some(peer), this != mount);
            }
            match self.mounts[this].master {
                Some(master) if !stays(&master) => this = master,
                master => return (master, true),
            }
        }
    }
}

fn insert_behind(list: &mut Vec<MountId>, mount: MountId, behind: Option<MountId>) {
    let at = behind.and_then(|behind| list.iter().position(|other| *other == behind));
    list.insert(at.map_or(0, |at| at + 1), mount);
}
