//! Shared subtrees: what a mount sends to its peers and slaves when something is mounted on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::halt::Res;
use crate::model::machine::{Machine, MountId, Place};
use crate::model::rules::propagation as rules;

use super::tree::{Copy, Keep};

/// What is on its way when a tree is mounted on a shared mount (`propagate_mnt`).
struct Sending {
    /// The tree that is being mounted.
    original: MountId,
    /// Where it is mounted.
    at: Place,
    /// Groups from this number on were founded for what is being mounted.
    fresh: u32,
    /// The copies and where they go, in the order in which they are made.
    copies: Vec<(MountId, Place)>,
    /// The mount that each copy goes to.
    receivers: BTreeMap<MountId, MountId>,
    /// Masters of mounts that have a copy.
    marked: BTreeSet<MountId>,
}

impl Machine<'_> {
    /// Copies a tree for every mount that receives what is mounted on a place; they are not attached.
    /// Groups from the number `fresh` on were founded for what is being mounted.
    pub fn propagate(&mut self, top: MountId, at: Place, fresh: u32) -> Res<Vec<(MountId, Place)>> {
        let Some(group) = self.mounts[at.mount].peer_group else { return Ok(Vec::new()) };
        let marked = self.mounts[at.mount].master.into_iter().collect();
        let (copies, receivers) = (Vec::new(), BTreeMap::new());
        let mut sending = Sending { original: top, at, fresh, copies, receivers, marked };
        let mut groups = Vec::new();
        let peers = self.peers_from(group, at.mount);
        for &peer in &peers {
            self.slave_groups(peer, &sending, &mut groups);
        }
        let mut last = top;
        for &peer in peers.iter().skip(1) {
            if self.receives(peer, at) && self.by(&rules::TO_PEERS) {
                last = self.send(last, Copy::Shared, peer, &mut sending)?;
            }
        }
        for members in groups {
            last = self.send_to_group(&members, last, &mut sending)?;
        }
        Ok(sending.copies)
    }

    /// The groups of slaves below a mount, as they stand side by side in its list; what has no group of its
    /// own is one by itself (`next_group`).
    fn slave_groups(&self, master: MountId, sending: &Sending, found: &mut Vec<Vec<MountId>>) {
        let mut before = None;
        for &slave in self.slaves_reached(master) {
            let group = self.mounts[slave].peer_group;
            if group.is_some() && group == before {
                continue;
            }
            before = group;
            let members = match group {
                Some(group) if group < sending.fresh => self.peers_from(group, slave),
                _ => vec![slave],
            };
            found.push(members.clone());
            for member in members {
                self.slave_groups(member, sending, found);
            }
        }
    }

    /// The slaves to which a mount passes on what it is sent (`propagation_next`).
    pub(super) fn slaves_reached(&self, mount: MountId) -> &[MountId] {
        let slaves = &self.mounts[mount].slaves;
        let stops = !slaves.is_empty() && self.is_detached(mount);
        if stops && self.by(&rules::NOT_PAST_DETACHED) { &[] } else { slaves }
    }

    /// Sends to the members of one group: the first copy is a slave of the nearest one above, the others
    /// are its peers.
    fn send_to_group(
        &mut self,
        members: &[MountId],
        mut last: MountId,
        sending: &mut Sending,
    ) -> Res<MountId> {
        let mut first = true;
        for &member in members {
            if !self.receives(member, sending.at) || !self.by(&rules::TO_SLAVES) {
                continue;
            }
            let copy = if first {
                let group = self.mounts[member].peer_group;
                let not_yet =
                    |group: &u32| *group >= sending.fresh && self.by(&rules::NOT_YET_SHARED);
                let shared = group.filter(|group| !not_yet(group)).is_some();
                last = self.nearest(member, last, sending);
                Copy::Slave { shared }
            } else {
                Copy::Shared
            };
            last = self.send(last, copy, member, sending)?;
            first = false;
        }
        Ok(last)
    }

    /// Which copy the first one of a group is a slave of (`find_master`): that of the nearest mount above
    /// that has one.
    fn nearest(&self, receiver: MountId, last: MountId, sending: &Sending) -> MountId {
        let mut top = receiver;
        while let Some(next) = self.mounts[top].master.filter(|next| !sending.marked.contains(next))
        {
            top = next;
        }
        let master = self.mounts[top].master;
        let mut last = last;
        while last != sending.original && !self.are_peers(last, sending.original) {
            let to = sending.receivers.get(&last).copied();
            let (Some(to), Some(above)) = (to, self.mounts[last].master) else { break };
            if self.mounts[to].master == master {
                return if self.are_peers(to, top) { last } else { above };
            }
            last = above;
        }
        last
    }

    fn send(
        &mut self,
        tree: MountId,
        copy: Copy,
        to: MountId,
        sending: &mut Sending,
    ) -> Res<MountId> {
        let root = self.mounts[tree].root;
        let new = self.copy_mounts(tree, root, copy, Keep::BIND)?;
        sending.copies.push((new, Place { mount: to, dentry: sending.at.dentry }));
        sending.receivers.insert(new, to);
        sending.marked.extend(self.mounts[to].master);
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
        if self.mounts[from].peer_group.is_none() || self.mounts[to].root != at.dentry {
            return false;
        }
        let mut this = Some(to);
        while let Some(mount) = this {
            if self.are_peers(from, mount) {
                return true;
            }
            this = self.mounts[mount].master;
        }
        false
    }
}
