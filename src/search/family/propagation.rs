//! Propagation: mounts that are bound, moved, stacked and taken away in several mount namespaces, and the
//! peer groups and slaves that pass them on.

use std::collections::BTreeMap;

use super::{Family, Means, Variant, main, name, path, place};
use crate::scenario::observe::{Actors, Observe, ObserveMountinfo};
use crate::scenario::operation::{
    Bind, Mount, Mounted, Move, Operation, Propagation as Change, PropagationType, Rbind, Umount,
    UmountFlag,
};
use crate::scenario::operation::{Namespace, Unshare};
use crate::scenario::plan::{COMMON_IDS, Needs, PlanStep};
use crate::scenario::scalar::{IdMap, Name};
use crate::scenario::world::{Actor, Entry, EntryKind, Setup, Userns, World};
use crate::search::random::Random;
use crate::transcript::Outcome;

/// Everything is below this directory, which is what is observed.
const TOP: &str = "w";
/// The directories below it.
const DIRECTORIES: &[&str] =
    &["a", "a/x", "a/x/z", "a/y", "b", "b/x", "b/x/z", "b/y", "c", "c/x", "c/x/z", "c/y"];
/// The actors besides the first, each in a mount namespace of its own.
const OTHERS: &[&str] = &["box", "cell"];
const TYPES: &[PropagationType] = &[
    PropagationType::Shared,
    PropagationType::Slave,
    PropagationType::Private,
    PropagationType::Unbindable,
];
/// More mounts would become so many by propagation that nothing else is learned.
const MOST_MOUNTS: usize = 12;

/// A trial of this family.
pub fn of(number: u64, means: Means) -> Option<Box<dyn Family>> {
    let variant = Variant::of(number, means, false);
    Some(Box::new(Propagation { variant, actors: vec![main()], mounts: BTreeMap::new(), made: 0 }))
}

struct Propagation {
    variant: Variant,
    actors: Vec<Name>,
    /// Where each actor has mounted something: a hint, for others have their part in it.
    mounts: BTreeMap<Name, Vec<String>>,
    /// How many mounts were made by a step.
    made: usize,
}

impl Family for Propagation {
    fn needs(&self) -> Needs {
        let ids = if self.variant.ids { vec![COMMON_IDS] } else { Vec::new() };
        Needs { ids, privileged: self.variant.root, ..Needs::default() }
    }

    fn world(&mut self, random: &mut Random) -> World {
        let directories = DIRECTORIES.iter().map(|directory| format!("{TOP}/{directory}"));
        let tree = directories.map(|directory| (place(&directory), directory_entry())).collect();
        let mut world = World { setup: vec![Setup::Tree(tree)], ..World::default() };
        // Most of what there is to see begins with a mount that somebody shares.
        for _ in 0..random.between(1, 3) {
            let at = self.somewhere(random);
            let kind = *random.pick(&TYPES[..2]);
            self.mounted(&main(), &at);
            let bind = Operation::Bind(Bind { from: path(&at), at: path(&at) });
            let change = Operation::Propagation(Change { at: path(&at), kind, recursive: false });
            let line = 0;
            world.setup.extend([bind, change].map(|operation| Setup::Mount { line, operation }));
        }
        world.actors.insert(main(), Actor::default());
        for other in random.some(60, OTHERS) {
            let userns = (self.variant.ids && random.percent(30)).then(in_a_container);
            let actor = Actor { userns, unshare: vec![Namespace::Mount], ..Actor::default() };
            world.actors.insert(name(other), actor);
            self.actors.push(name(other));
            let inherited = self.mounts.get(&main()).cloned().unwrap_or_default();
            self.mounts.insert(name(other), inherited);
        }
        world
    }

    fn step(&mut self, random: &mut Random) -> (Name, Operation) {
        let actor = random.pick(&self.actors).clone();
        let at = self.somewhere(random);
        let mount = self.a_mount(&actor, random);
        let grows = self.made < MOST_MOUNTS;
        let operation = match random.below(100) {
            0..12 if grows => {
                Operation::Bind(Bind { from: path(&self.anywhere(&actor, random)), at: path(&at) })
            }
            12..22 if grows => Operation::Rbind(Rbind {
                from: path(&self.anywhere(&actor, random)),
                at: path(&at),
            }),
            22..32 if grows => tmpfs(&self.anywhere(&actor, random)),
            32..40 if grows => Operation::Bind(Bind { from: path(&at), at: path(&at) }),
            40..50 => Operation::Move(Move { from: path(&mount), at: path(&at) }),
            50..66 => {
                let flags = random.some(40, &[UmountFlag::Detach]);
                Operation::Umount(Umount { at: path(&mount), flags })
            }
            66..70 => Operation::Unshare(Unshare { namespaces: vec![Namespace::Mount] }),
            70..78 => Operation::Mounted(Mounted { at: path(&self.anywhere(&actor, random)) }),
            _ => Operation::Propagation(Change {
                at: path(&mount),
                kind: *random.pick(TYPES),
                recursive: random.percent(25),
            }),
        };
        (actor, operation)
    }

    fn learn(&mut self, step: &PlanStep, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Ok(_)) {
            return;
        }
        let at = match &step.operation {
            Operation::Bind(Bind { at, .. })
            | Operation::Rbind(Rbind { at, .. })
            | Operation::Mount(Mount { at, .. }) => at,
            Operation::Move(moved) => {
                self.unmounted(&step.actor, moved.from.as_str());
                self.made = self.made.saturating_sub(1);
                &moved.at
            }
            Operation::Umount(umount) => return self.unmounted(&step.actor, umount.at.as_str()),
            _ => return,
        };
        self.mounted(&step.actor, at.as_str());
    }

    fn observe(&self) -> Vec<Observe> {
        let actors = Actors::Several(self.actors.clone());
        vec![Observe::Mountinfo(ObserveMountinfo { actors, under: Some(path(TOP)) })]
    }
}

impl Propagation {
    fn somewhere(&self, random: &mut Random) -> String {
        format!("{TOP}/{}", random.pick(DIRECTORIES))
    }

    /// A place where the actor has a mount, if it has any.
    fn a_mount(&self, actor: &Name, random: &mut Random) -> String {
        let mounts = self.mounts.get(actor).map_or(&[][..], Vec::as_slice);
        random.pick_any(mounts).cloned().unwrap_or_else(|| self.somewhere(random))
    }

    fn anywhere(&self, actor: &Name, random: &mut Random) -> String {
        if random.percent(60) { self.a_mount(actor, random) } else { self.somewhere(random) }
    }

    fn mounted(&mut self, actor: &Name, at: &str) {
        self.made += 1;
        self.mounts.entry(actor.clone()).or_default().push(at.to_owned());
    }

    fn unmounted(&mut self, actor: &Name, at: &str) {
        let mounts = self.mounts.entry(actor.clone()).or_default();
        if let Some(last) = mounts.iter().rposition(|mount| mount == at) {
            mounts.remove(last);
        }
    }
}

fn directory_entry() -> Entry {
    Entry { kind: EntryKind::Dir, mode: None, uid: None, gid: None, xattrs: BTreeMap::new() }
}

/// A user namespace as a container has one.
fn in_a_container() -> Userns {
    let map = || Some(IdMap(vec![(0, 0, 1)]));
    Userns { uid_map: map(), gid_map: map(), deny_setgroups: false }
}

fn tmpfs(at: &str) -> Operation {
    let (source, flags, options) = (None, Vec::new(), Vec::new());
    Operation::Mount(Mount { kind: "tmpfs".to_owned(), at: path(at), source, flags, options })
}
