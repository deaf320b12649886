//! How the kernel decided before 6.17 which copies go with an unmount: one after another, as they are found,
//! with the mounts below them for as long as that leads on.

use std::collections::{BTreeMap, BTreeSet};

use super::Leaving;
use crate::model::machine::{DentryId, Machine, MountId, Place};

/// The state of the search.
struct Search<'m, 'p> {
    machine: &'m Machine<'p>,
    /// Where what is unmounted was.
    gone: BTreeMap<(MountId, DentryId), MountId>,
    /// The copies that go.
    leaving: Vec<MountId>,
    /// What is unmounted, and the copies that go.
    going: BTreeSet<MountId>,
    /// What was seen to be unmounted.
    visited: BTreeSet<MountId>,
    /// What stays for now.
    restored: Vec<MountId>,
    /// What would go if it were not locked.
    marked: BTreeSet<MountId>,
}

/// The copies that go with mounts that are unmounted.
pub fn copies(machine: &Machine<'_>, gone: &[MountId]) -> Leaving {
    let places = gone.iter().filter_map(|mount| {
        let at = machine.mounts[*mount].at?;
        Some(((at.mount, at.dentry), *mount))
    });
    let mut search = Search {
        machine,
        gone: places.collect(),
        leaving: Vec::new(),
        going: gone.iter().copied().collect(),
        visited: BTreeSet::new(),
        restored: Vec::new(),
        marked: BTreeSet::new(),
    };
    for &mount in gone.iter().rev() {
        search.visit(mount);
    }
    search.take_what_is_below();
    Leaving { leaving: search.leaving, covers: search.restored }
}

impl Search<'_, '_> {
    fn goes(&self, mount: MountId) -> bool {
        self.going.contains(&mount)
    }

    fn was_seen(&self, mount: MountId) -> bool {
        self.visited.contains(&mount) || self.restored.contains(&mount)
    }

    fn forget(&mut self, mount: MountId) {
        self.visited.remove(&mount);
        self.restored.retain(|other| *other != mount);
    }

    fn restore(&mut self, mount: MountId) {
        self.forget(mount);
        self.restored.push(mount);
    }

    fn take(&mut self, mount: MountId) {
        self.forget(mount);
        self.marked.remove(&mount);
        self.leaving.push(mount);
        self.going.insert(mount);
    }

    /// What is mounted on a mount and does not go yet.
    fn children(&self, mount: MountId) -> Vec<MountId> {
        let children = self.machine.mounts[mount].children.iter().copied();
        children.filter(|child| !self.goes(*child)).collect()
    }

    fn covers(&self, child: MountId, mount: MountId) -> bool {
        self.machine.mounts[child].at == Some(self.machine.root_of(mount))
    }

    /// What is mounted on a place; what is being unmounted is found there too.
    fn found_at(&self, place: Place) -> Option<MountId> {
        let gone = || self.gone.get(&(place.mount, place.dentry)).copied();
        self.machine.mount_at(place).or_else(gone)
    }

    fn visit(&mut self, mount: MountId) {
        let Some(at) = self.machine.mounts[mount].at.filter(|_| !self.was_seen(mount)) else {
            return;
        };
        self.visited.insert(mount);
        let receivers = self.machine.receivers(at.mount);
        let mut next = 0;
        while let Some(&receiver) = receivers.get(next) {
            next += 1;
            let place = Place { mount: receiver, dentry: at.dentry };
            let Some(copy) = self.found_at(place) else { continue };
            if self.was_seen(copy) {
                // Its slaves are passed over, though not those of the last one.
                let last = self.machine.slaves_reached(receiver).last();
                let last = receivers.iter().position(|other| Some(other) == last);
                next = last.map_or(next, |last| last + 1);
            } else if self.goes(copy) {
                self.visited.insert(copy);
            } else {
                self.go_down(copy);
            }
        }
    }

    /// Takes a copy, and what it is mounted on while that has been seen and is waiting.
    fn go_down(&mut self, copy: MountId) {
        let mut this = copy;
        while self.try_to_take(this) {
            match self.machine.parent_of(this).filter(|parent| self.was_seen(*parent)) {
                Some(parent) => this = parent,
                None => return,
            }
        }
    }

    /// Takes a mount if nothing stays on it (`__propagate_umount`), and says whether that is news.
    fn try_to_take(&mut self, mount: MountId) -> bool {
        if self.goes(mount) || self.marked.contains(&mount) {
            return false;
        }
        let holds = |child: &MountId| {
            let waits = self.was_seen(*child) && self.marked.contains(child);
            !self.covers(*child, mount) && !waits
        };
        if self.children(mount).iter().any(holds) {
            self.restore(mount);
            return false;
        }
        self.marked.insert(mount);
        if self.machine.mounts[mount].locked {
            self.restore(mount);
        } else {
            self.take(mount);
        }
        true
    }

    /// What is still on a mount that goes, goes too, unless it covers it (`umount_list`).
    fn take_what_is_below(&mut self) {
        let mut next = 0;
        while let Some(&mount) = self.leaving.get(next) {
            next += 1;
            for child in self.children(mount) {
                if self.covers(child, mount) {
                    self.restore(child);
                } else {
                    self.take(child);
                }
            }
        }
    }
}
