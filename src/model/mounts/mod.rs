//! The mount tree: where places lead, and what changes it.

mod context;
mod disks;
mod file_systems;
mod flags;
mod groups;
mod nsfs;
mod observe;
mod operations;
mod propagation;
mod setattr;
mod tree;
mod umount;

pub use context::{Config, Context};
pub use file_systems::Given;
pub use flags::Asked;
pub use groups::PeerGroup;
pub use nsfs::AnyNs;
pub use operations::MountCall;
pub use tree::{Apart, Copy, Keep};

use super::machine::{Machine, MountId, Place};

impl Machine<'_> {
    /// The mount on exactly this place; what is stacked there lies on its root. Where there are two (see
    /// `propagation.mount.cover-beside`), the newer one is found.
    pub fn mount_at(&self, place: Place) -> Option<MountId> {
        self.mounts[place.mount]
            .children
            .iter()
            .rev()
            .copied()
            .find(|child| self.mounts[*child].at == Some(place))
    }

    /// Goes down into whatever is mounted on a place, as a path does that arrives there.
    pub fn down(&self, mut place: Place) -> Place {
        while let Some(mount) = self.mount_at(place) {
            place = Place { mount, dentry: self.mounts[mount].root };
        }
        place
    }

    /// The directory above a place, across mount points; the place itself at the root of its tree.
    /// What is mounted on the directory above is not entered.
    pub fn above(&self, place: Place, root: Place) -> Place {
        let mut at = place;
        loop {
            if at == root {
                return at;
            }
            if at.dentry != self.mounts[at.mount].root {
                return Place { mount: at.mount, dentry: self.dentries[at.dentry].parent };
            }
            match self.mounts[at.mount].at {
                Some(below) => at = below,
                None => return at,
            }
        }
    }
}
