//! Propagation: mounts that are bound, moved, stacked and taken away in several mount namespaces, and the
//! peer groups and slaves that pass them on.

use std::collections::{BTreeMap, BTreeSet};

use super::{Family, Means, Variant, main, name, path, place};
use crate::scenario::observe::{Actors, Observe, ObserveMountinfo};
use crate::scenario::operation::{
    Bind, Close, Mkdir, Mount, MountAttribute, MountSetattr, Mounted, Move, MoveMount, Namespace,
    Open, OpenFlag, OpenTree, OpenTreeFlag, Operation, PivotRoot, Propagation as Change,
    PropagationType, Rbind, Rmdir, Setns, Umount, UmountFlag, Unshare,
};
use crate::scenario::plan::{COMMON_IDS, Needs, PlanStep};
use crate::scenario::scalar::{IdMap, Name};
use crate::scenario::world::{Actor, Entry, EntryKind, Setup, Userns, World};
use crate::search::random::Random;
use crate::transcript::Outcome;

/// Everything is below this directory, which is what is observed.
const TOP: &str = "w";
/// It and the directories below it.
const DIRECTORIES: &[&str] =
    &["", "/a", "/a/x", "/a/x/z", "/a/y", "/b", "/b/x", "/b/x/z", "/b/y", "/c", "/c/x"];
/// The actors besides the first, each in a mount namespace of its own.
const OTHERS: &[&str] = &["box", "cell", "den"];
/// Names of detached mounts and of open directories.
const HANDLES: &[&str] = &["p", "q"];
const TYPES: &[PropagationType] = &[
    PropagationType::Shared,
    PropagationType::Slave,
    PropagationType::Private,
    PropagationType::Unbindable,
];
/// More mounts would become so many by propagation that nothing else is learned.
const MOST_MOUNTS: usize = 12;
/// With each recursive bind there may be twice as many.
const MOST_RBINDS: usize = 4;

/// A trial of this family.
pub fn of(number: u64, means: Means) -> Option<Box<dyn Family>> {
    Some(Box::new(Propagation {
        variant: Variant::of(number, means, false),
        means,
        actors: vec![main()],
        mounts: BTreeMap::new(),
        made: 0,
        trees: 0,
        detached: BTreeSet::new(),
        open: BTreeSet::new(),
        pivoted: false,
        next: None,
    }))
}

struct Propagation {
    variant: Variant,
    means: Means,
    actors: Vec<Name>,
    /// Where each actor has mounted something: a hint, for others have their part in it.
    mounts: BTreeMap<Name, Vec<String>>,
    /// How many mounts were made by a step.
    made: usize,
    /// How many trees were bound.
    trees: usize,
    /// The detached mounts that each actor holds.
    detached: BTreeSet<(Name, Name)>,
    /// The directories that each holds open.
    open: BTreeSet<(Name, Name)>,
    /// Whether somebody has another root.
    pivoted: bool,
    /// A step that comes next.
    next: Option<(Name, Operation)>,
}

impl Family for Propagation {
    fn needs(&self) -> Needs {
        let ids = if self.variant.ids { vec![COMMON_IDS] } else { Vec::new() };
        Needs { ids, privileged: self.variant.root, ..Needs::default() }
    }

    fn world(&mut self, random: &mut Random) -> World {
        let directories = DIRECTORIES.iter().map(|directory| format!("{TOP}{directory}"));
        let tree = directories.map(|directory| (place(&directory), directory_entry())).collect();
        let mut world = World { setup: vec![Setup::Tree(tree)], ..World::default() };
        // Most of what there is to see begins with a mount that somebody shares.
        for _ in 0..random.between(1, 3) {
            let at = if random.percent(50) { TOP.to_owned() } else { self.somewhere(random) };
            let kind = *random.pick(&TYPES[..2]);
            self.mounted(&main(), &at);
            let bind = Operation::Bind(Bind { from: path(&at), at: path(&at) });
            let change = Operation::Propagation(Change { at: path(&at), kind, recursive: false });
            let line = 0;
            world.setup.extend([bind, change].map(|operation| Setup::Mount { line, operation }));
        }
        world.actors.insert(main(), Actor::default());
        for other in random.some(50, OTHERS) {
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
        if let Some(next) = self.next.take() {
            return next;
        }
        let actor = random.pick(&self.actors).clone();
        let at = path(&self.somewhere(random));
        let mount = path(&self.a_mount(&actor, random));
        let grows = self.made < MOST_MOUNTS;
        let operation = match random.below(100) {
            0..10 if grows => {
                Operation::Bind(Bind { from: path(&self.anywhere(&actor, random)), at })
            }
            10..19 if grows && self.trees < MOST_RBINDS => {
                Operation::Rbind(Rbind { from: path(&self.anywhere(&actor, random)), at })
            }
            19..27 if grows => tmpfs(&self.anywhere(&actor, random)),
            27..33 if grows => Operation::Bind(Bind { from: at.clone(), at }),
            33..39 => Operation::Move(Move { from: mount, at }),
            39..54 => Operation::Umount(Umount { at: mount, flags: umount_flags(random) }),
            54..58 => Operation::Unshare(Unshare { namespaces: vec![Namespace::Mount] }),
            58..63 => Operation::Mounted(Mounted { at: path(&self.anywhere(&actor, random)) }),
            63..80 => self.new_api(&actor, random),
            80..84 => self.of_others(&actor, random),
            _ => Operation::Propagation(Change {
                at: mount,
                kind: *random.pick(TYPES),
                recursive: random.percent(25),
            }),
        };
        // Whether a path that leads through a mount is a use of it depends on what the kernel has in its caches:
        // so what is marked as expired is asked to expire at once.
        if let Operation::Umount(umount) = &operation
            && umount.flags.contains(&UmountFlag::Expire)
        {
            self.next = Some((actor.clone(), operation.clone()));
        }
        (actor, operation)
    }

    fn learn(&mut self, step: &PlanStep, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Ok(_)) {
            return;
        }
        self.hold(step);
        self.trees += usize::from(binds_a_tree(&step.operation));
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
            Operation::MoveMount(MoveMount { at, set_group: false, .. }) => at,
            Operation::Setns(Setns { of: Some(other), .. }) => {
                let theirs = self.mounts.get(other).cloned().unwrap_or_default();
                self.mounts.insert(step.actor.clone(), theirs);
                return;
            }
            Operation::PivotRoot(_) => {
                self.pivoted = true;
                return;
            }
            _ => return,
        };
        self.mounted(&step.actor, at.as_str());
    }

    fn observe(&self) -> Vec<Observe> {
        let actors = Actors::Several(self.actors.clone());
        let under = (!self.pivoted).then(|| path(TOP));
        vec![Observe::Mountinfo(ObserveMountinfo { actors, under })]
    }
}

impl Propagation {
    fn somewhere(&self, random: &mut Random) -> String {
        format!("{TOP}{}", random.pick(DIRECTORIES))
    }

    /// A place where the actor has a mount, if it has any.
    fn a_mount(&self, actor: &Name, random: &mut Random) -> String {
        let mounts = self.mounts.get(actor).map_or(&[][..], Vec::as_slice);
        random.pick_any(mounts).cloned().unwrap_or_else(|| self.somewhere(random))
    }

    fn anywhere(&self, actor: &Name, random: &mut Random) -> String {
        if random.percent(60) { self.a_mount(actor, random) } else { self.somewhere(random) }
    }

    /// A step of the new mount API.
    fn new_api(&self, actor: &Name, random: &mut Random) -> Operation {
        let mount = path(&self.a_mount(actor, random));
        let at = path(&self.somewhere(random));
        let handle = name(random.pick::<&str>(HANDLES));
        let held = (actor.clone(), handle.clone());
        match random.below(18) {
            0..3 => {
                let often = if self.trees < MOST_RBINDS { 50 } else { 0 };
                let recursive = random.some(often, &[OpenTreeFlag::Recursive]);
                let flags = [vec![OpenTreeFlag::Clone], recursive].concat();
                let path = path(&self.anywhere(actor, random));
                Operation::OpenTree(OpenTree { path, flags, mount: handle })
            }
            3..7 if self.detached.contains(&held) => {
                let beneath = self.means.beneath && random.percent(40);
                let at = if beneath { mount } else { at };
                let (mount, from) = (Some(handle), None);
                Operation::MoveMount(MoveMount { mount, from, at, beneath, set_group: false })
            }
            7..10 if self.means.beneath => {
                let from = Some(path(&self.a_mount(actor, random)));
                let (beneath, set_group) = (true, false);
                Operation::MoveMount(MoveMount { mount: None, from, at: mount, beneath, set_group })
            }
            10..13 if self.means.set_group => {
                let from = Some(path(&self.a_mount(actor, random)));
                let (beneath, set_group) = (false, true);
                Operation::MoveMount(MoveMount { mount: None, from, at: mount, beneath, set_group })
            }
            13..15 if self.means.mount_setattr => {
                let set = random.some(30, &[MountAttribute::Ro, MountAttribute::Nosuid]);
                let propagation = random.percent(80).then(|| *random.pick(TYPES));
                let recursive = random.percent(50);
                let (at, clear) = (Some(mount), Vec::new());
                let (mount, idmap) = (None, None);
                let step = MountSetattr { at, mount, recursive, set, clear, propagation, idmap };
                Operation::MountSetattr(step)
            }
            15..17 => {
                let (flags, mode) = (vec![OpenFlag::Directory], None);
                let path = path(&self.anywhere(actor, random));
                Operation::Open(Open { path, flags, mode, dirfd: None, fd: Some(handle) })
            }
            _ if self.open.contains(&held) => Operation::Close(Close { fd: handle }),
            _ => Operation::Mounted(Mounted { at }),
        }
    }

    /// A step that has to do with other namespaces or other roots.
    fn of_others(&self, actor: &Name, random: &mut Random) -> Operation {
        let at = path(&self.somewhere(random));
        match random.below(10) {
            0..5 => {
                let other = random.pick(&self.actors).clone();
                let namespace = Some(Namespace::Mount);
                Operation::Setns(Setns { of: Some(other), namespace, fd: None })
            }
            5..7 => Operation::Rmdir(Rmdir { path: at }),
            7..8 => Operation::Mkdir(Mkdir { path: at, mode: None }),
            _ if *actor == main() => Operation::Mounted(Mounted { at }),
            _ => {
                let new_root = self.a_mount(actor, random);
                let put_old = path(&format!("{new_root}/{}", random.pick(&["x", "y", "."])));
                Operation::PivotRoot(PivotRoot { new_root: path(&new_root), put_old })
            }
        }
    }

    /// Learns which descriptors an actor has.
    fn hold(&mut self, step: &PlanStep) {
        let held = |fd: &Name| (step.actor.clone(), fd.clone());
        match &step.operation {
            Operation::OpenTree(OpenTree { mount, .. }) => {
                self.open.insert(held(mount));
                self.detached.insert(held(mount));
            }
            Operation::Open(Open { fd: Some(fd), .. }) => {
                self.open.insert(held(fd));
                self.detached.remove(&held(fd));
            }
            Operation::MoveMount(MoveMount { mount: Some(mount), .. }) => {
                self.detached.remove(&held(mount));
            }
            Operation::Close(Close { fd }) => {
                self.open.remove(&held(fd));
                self.detached.remove(&held(fd));
            }
            _ => {}
        }
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

fn binds_a_tree(operation: &Operation) -> bool {
    match operation {
        Operation::Rbind(_) => true,
        Operation::OpenTree(step) => step.flags.contains(&OpenTreeFlag::Recursive),
        _ => false,
    }
}

/// Flags of umount2(2), of which it takes few together.
fn umount_flags(random: &mut Random) -> Vec<UmountFlag> {
    match random.below(100) {
        0..38 => vec![UmountFlag::Detach],
        38..44 => vec![UmountFlag::Expire],
        44..46 => vec![UmountFlag::Nofollow],
        _ => Vec::new(),
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
