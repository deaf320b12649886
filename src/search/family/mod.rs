//! Families: what worlds and steps are made up of.

mod credentials;
mod files;
pub mod idmap;
mod maps;
pub mod overlay;
pub mod ownership;
pub mod propagation;
pub mod roots;

use super::random::Random;
use crate::probe::Environment;
use crate::scenario::condition::Answers;
use crate::scenario::observe::Observe;
use crate::scenario::operation::Operation;
use crate::scenario::plan::{Needs, PlanStep};
use crate::scenario::scalar::{Name, StepPath, WorldPath};
use crate::scenario::world::World;
use crate::transcript::Outcome;

/// A way to make up trials. One of it makes up one trial.
pub trait Family {
    /// What the world needs of the place where it is asked.
    fn needs(&self) -> Needs;

    /// The state before the first step.
    fn world(&mut self, random: &mut Random) -> World;

    /// The next step.
    fn step(&mut self, random: &mut Random) -> (Name, Operation);

    /// Learns what the model says of a step.
    fn learn(&mut self, step: &PlanStep, outcome: &Outcome);

    /// What is observed in the end.
    fn observe(&self) -> Vec<Observe>;
}

/// What the kernel that is asked allows, as far as it decides which trials are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// Whether a sandbox may have more than one id.
    pub ids: bool,
    /// Whether trials may run as real root.
    pub root: bool,
    /// Whether an overlay can be mounted in a user namespace.
    pub overlay: bool,
    /// Whether a tmpfs keeps `user.*` attributes.
    pub user_xattrs: bool,
    /// Whether mount_setattr(2) changes mounts.
    pub mount_setattr: bool,
    /// Whether a mount can be put beneath another.
    pub beneath: bool,
    /// Whether a mount can join the peer group of another.
    pub set_group: bool,
    /// Whether a program mounts overlays, which is not asked what the kernel alone has.
    pub overlay_program: bool,
}

/// The probes that [`Means`] come from.
pub const PROBES: &[&str] = &[
    "root",
    "ids",
    "overlay",
    "tmpfs.user_xattr",
    "mount_setattr",
    "move_mount.beneath",
    "move_mount.set_group",
];

impl Means {
    /// What a kernel allows that allows everything.
    pub const ALL: Self = Self {
        ids: true,
        root: true,
        overlay: true,
        user_xattrs: true,
        mount_setattr: true,
        beneath: true,
        set_group: true,
        overlay_program: false,
    };

    /// What a kernel was found to allow.
    pub fn of(environment: &Environment) -> Self {
        let yes = |name: &str| environment.probe(name) == Some(true);
        Self {
            ids: yes("ids"),
            root: yes("root"),
            overlay: yes("overlay"),
            user_xattrs: yes("tmpfs.user_xattr"),
            mount_setattr: yes("mount_setattr"),
            beneath: yes("move_mount.beneath"),
            set_group: yes("move_mount.set_group"),
            overlay_program: environment.overlay.is_some(),
        }
    }
}

/// So many trials in a row need the same of a sandbox, so that they can share one.
pub const BLOCK: u64 = 64;

/// In what trials differ that cannot share a sandbox.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Whether they have more than one id.
    pub ids: bool,
    /// Whether they run as real root.
    pub root: bool,
}

impl Variant {
    /// That of a trial.
    fn of(number: u64, means: Means, needs_root: bool) -> Self {
        let block = number / BLOCK;
        Self {
            ids: means.ids && block % 2 == 1,
            root: needs_root || means.root && block / 2 % 2 == 1,
        }
    }
}

/// What one family is called and how a trial of it begins: `None` where the kernel allows none.
type Entry = (&'static str, fn(u64, Means) -> Option<Box<dyn Family>>);

/// The families by name.
pub const ALL: &[Entry] = &[
    ("overlay", overlay::of),
    ("propagation", propagation::of),
    ("ownership", ownership::of),
    ("idmap", idmap::of),
    ("roots", roots::of),
];

/// The names of the families.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// The first actor of every world.
pub(super) fn main() -> Name {
    "main".parse().expect("a name")
}

/// A path that a generator made.
pub(super) fn path(text: &str) -> StepPath {
    text.parse().expect("generators make paths")
}

/// A path of a world that a generator made.
pub(super) fn place(text: &str) -> WorldPath {
    text.parse().expect("generators make paths of worlds")
}

/// A name that a generator made.
fn name(text: &str) -> Name {
    text.parse().expect("generators make names")
}
