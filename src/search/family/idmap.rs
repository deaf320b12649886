//! Id maps: raw map files, user namespaces below each other, and what an id is called in each of them, in
//! files, in processes and through idmapped mounts.

use std::collections::{BTreeMap, VecDeque};

use super::files::{self, IDS, MODES, ONE_ID, Palette};
use super::maps::{self, Lines};
use super::{Family, Means, Variant, credentials, main, name, path, place};
use crate::scenario::observe::{Actors, Observe, ObserveActors, ObserveTree};
use crate::scenario::operation::{
    Fork, Getcred, IdMaps, MountSetattr, MoveMount, Namespace, OpenTree, OpenTreeFlag, Operation,
    ReadMaps, Setns, Stat, Unshare, WriteGidMap, WriteSetgroups, WriteUidMap,
};
use crate::scenario::plan::{COMMON_IDS, Needs, PlanStep};
use crate::scenario::scalar::{Mode, Name};
use crate::scenario::world::{Actor, Entry, EntryKind, Setup, Userns, World};
use crate::search::random::Random;
use crate::search::scene::{Kind, Scene, any_path};
use crate::transcript::Outcome;

/// The directory that the files are in.
const TOP: &str = "f";
/// Where it is mounted once more, with other ids.
const VIEWS: &[&str] = &["v1", "v2"];
/// The actors that may be forked, each once.
const CHILDREN: &[&str] = &["kid", "lad", "tot"];
/// What is written to setgroups.
const WORDS: &[&str] = &["deny", "deny", "allow", "deny\n", "allow ", "denied", "", "deny    "];
/// What a sandbox has of ids where it has many.
const MANY: &[(u32, u32, u32)] = &[(0, 0, 1), (1, 1, 65535)];
/// The same where it has one.
const ONE: &[(u32, u32, u32)] = &[(0, 0, 1)];

/// A trial of this family.
pub fn of(number: u64, means: Means) -> Option<Box<dyn Family>> {
    let variant = Variant::of(number, means, false);
    let ids = if variant.ids { MANY } else { ONE };
    let space = Space { parent: None, users: ids.to_vec(), groups: ids.to_vec() };
    Some(Box::new(Idmaps {
        variant,
        actors: vec![main()],
        processes: BTreeMap::from([(main(), Process { space: 0, user: 0, group: 0 })]),
        spaces: vec![space],
        next: VecDeque::new(),
        scene: Scene::below(TOP),
        views: 0,
        children: 0,
    }))
}

/// A user namespace, as far as it is known.
struct Space {
    parent: Option<usize>,
    users: Lines,
    groups: Lines,
}

/// A process: the ids that it had in the namespace above its own when it entered that.
#[derive(Clone, Copy)]
struct Process {
    space: usize,
    user: u32,
    group: u32,
}

struct Idmaps {
    variant: Variant,
    /// Those that the world has.
    actors: Vec<Name>,
    /// All of them.
    processes: BTreeMap<Name, Process>,
    spaces: Vec<Space>,
    /// Steps that belong to the one before.
    next: VecDeque<(Name, Operation)>,
    scene: Scene,
    /// How many idmapped mounts there are.
    views: usize,
    /// How many actors were forked.
    children: usize,
}

impl Family for Idmaps {
    fn needs(&self) -> Needs {
        let ids = if self.variant.ids { vec![COMMON_IDS] } else { Vec::new() };
        Needs { ids, privileged: self.variant.root, ..Needs::default() }
    }

    fn world(&mut self, random: &mut Random) -> World {
        let mut tree = BTreeMap::new();
        let entry = |kind, mode, id: Option<u32>| Entry {
            kind,
            mode: Some(Mode(mode)),
            uid: id,
            gid: id,
            xattrs: BTreeMap::new(),
        };
        tree.insert(place(TOP), entry(EntryKind::Dir, 0o777, None));
        for view in VIEWS {
            tree.insert(place(view), entry(EntryKind::Dir, 0o755, None));
        }
        for (at, id) in ["a", "b", "c", "d"].into_iter().zip(IDS) {
            // So that what the trial needs can be told from what it names.
            let id = self.variant.ids.then_some(*id);
            let (kind, is) = match random.percent(50) {
                true => (EntryKind::Dir, Kind::Dir),
                false => (EntryKind::File("x".to_owned()), Kind::File),
            };
            let mode = *random.pick(&[0o777, 0o755, 0o644, 0o2775, 0o600]);
            tree.insert(place(&format!("{TOP}/{at}")), entry(kind, mode, id));
            self.scene.lay(at, Some(is), false);
        }
        let mut world = World { setup: vec![Setup::Tree(tree)], ..World::default() };
        world.actors.insert(main(), Actor::default());
        for other in random.some(75, &["amy", "box", "cell"]) {
            let actor = self.actor(random, other);
            world.actors.insert(name(other), actor);
            self.actors.push(name(other));
        }
        world
    }

    fn step(&mut self, random: &mut Random) -> (Name, Operation) {
        if let Some(next) = self.next.pop_front() {
            self.scene.look(next.0.as_str(), TOP);
            return next;
        }
        let actor = self.anybody(random);
        let view = random.below(2 * self.views + 2);
        let top = VIEWS.get(view).filter(|_| view < self.views).copied().unwrap_or(TOP);
        self.scene.look(actor.as_str(), top);
        match random.below(100) {
            0..11 => (actor, Operation::Unshare(Unshare { namespaces: vec![Namespace::User] })),
            11..37 => self.write(random),
            37..43 => {
                let of = self.of(random, &actor);
                let text = (*random.pick(WORDS)).to_owned();
                (actor, Operation::WriteSetgroups(WriteSetgroups { of, text }))
            }
            43..55 => {
                let of = self.of(random, &actor);
                (actor, Operation::ReadMaps(ReadMaps { of }))
            }
            55..60 => (actor, Operation::Getcred(Getcred {})),
            60..68 => (actor, credentials::operation(random, self.ids())),
            68..72 => self.fork(actor),
            72..76 => {
                let (of, namespace) = (Some(self.anybody(random)), Some(Namespace::User));
                (actor, Operation::Setns(Setns { of, namespace, fd: None }))
            }
            76..80 => self.view(random),
            80..88 => {
                let found = self.scene.existing(random, &[Kind::Dir, Kind::File]);
                let at = self.scene.at(&found.unwrap_or_else(|| any_path(random)));
                let stat = Stat { path: Some(path(&at)), fd: None, dirfd: None, follow: false };
                (actor, Operation::Stat(stat))
            }
            _ => {
                let (ids, xattrs) = (self.ids(), &["user.k"][..]);
                let palette = Palette { ids, modes: MODES, xattrs };
                (actor, files::operation(random, &self.scene, &palette))
            }
        }
    }

    fn learn(&mut self, step: &PlanStep, outcome: &Outcome) {
        self.scene.learn(&step.operation, outcome);
        if matches!(outcome, Outcome::Ok(_)) {
            self.learn_of_namespaces(&step.actor, &step.operation);
        }
    }

    fn observe(&self) -> Vec<Observe> {
        let actors = || ObserveActors { actors: Actors::Several(self.actors.clone()) };
        let tree = |actor: Option<Name>| {
            Observe::Tree(ObserveTree { at: place(TOP), actor, fields: Vec::new() })
        };
        let mut observed = vec![tree(None)];
        observed.extend(self.actors.iter().skip(1).map(|actor| tree(Some(actor.clone()))));
        observed.extend([Observe::IdMaps(actors()), Observe::Credentials(actors())]);
        observed
    }
}

impl Idmaps {
    fn ids(&self) -> &'static [u32] {
        if self.variant.ids { IDS } else { ONE_ID }
    }

    fn anybody(&self, random: &mut Random) -> Name {
        let all: Vec<_> = self.processes.keys().collect();
        (*random.pick(&all)).clone()
    }

    /// Another actor, or nobody for oneself.
    fn of(&self, random: &mut Random, actor: &Name) -> Option<Name> {
        Some(self.anybody(random)).filter(|of| of != actor)
    }

    /// `amy` is another user, the others are in a user namespace, of which `cell` has some maps.
    fn actor(&mut self, random: &mut Random, who: &str) -> Actor {
        let mut actor = Actor::default();
        let id = if self.variant.ids && random.percent(70) { *random.pick(IDS) } else { 0 };
        actor.uid = (id != 0).then_some(id);
        let mut process = Process { space: 0, user: id, group: id };
        if who == "amy" {
            let limited = random.percent(60);
            actor.caps = limited.then(|| credentials::some_capabilities(random, 40));
        } else {
            process.space = self.spaces.len();
            let mut space = Space { parent: Some(0), users: Lines::new(), groups: Lines::new() };
            let mut userns = Userns::default();
            if who == "cell" {
                let some = |random: &mut Random, lines: &[(u32, u32, u32)]| {
                    random.percent(80).then(|| maps::into(random, lines, self.ids()))
                };
                space.users = some(random, &self.spaces[0].users).unwrap_or_default();
                space.groups = some(random, &self.spaces[0].groups).unwrap_or_default();
                userns.uid_map = Some(maps::map(&space.users)).filter(|map| !map.0.is_empty());
                userns.gid_map = Some(maps::map(&space.groups)).filter(|map| !map.0.is_empty());
                userns.deny_setgroups = random.percent(20);
            }
            actor.userns = Some(userns);
            self.spaces.push(space);
        }
        self.processes.insert(name(who), process);
        actor
    }

    /// Writes to a map file, mostly of a namespace that has no map, by one who may.
    fn write(&mut self, random: &mut Random) -> (Name, Operation) {
        let is_user = random.percent(50);
        let without = |process: &Process| {
            let space = &self.spaces[process.space];
            space.parent.is_some() && if is_user { &space.users } else { &space.groups }.is_empty()
        };
        let fitting: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, p)| without(p))
            .map(|(name, _)| name.clone())
            .collect();
        let target = match random.pick_any(&fitting) {
            Some(target) if random.percent(85) => target.clone(),
            _ => return (self.anybody(random), self.unshare_or_read(random)),
        };
        let process = self.processes[&target];
        let Some(parent) = self.spaces[process.space].parent else {
            return (target, Operation::Getcred(Getcred {}));
        };
        let above: Vec<_> = self.processes.iter().filter(|(_, p)| p.space == parent).collect();
        let writer = match random.pick_any(&above) {
            Some((writer, _)) if random.percent(60) => (*writer).clone(),
            _ if random.percent(85) => target.clone(),
            _ => self.anybody(random),
        };
        let own = if is_user { process.user } else { process.group };
        let by_itself = writer == target;
        let text = match random.below(100) {
            0..16 => maps::unusual(random),
            16..20 => maps::long(random, self.variant.ids),
            _ if by_itself && random.percent(85) => {
                let inside = *random.pick(&[0, 0, own, 7]);
                maps::written(random, &vec![(inside, own, 1)])
            }
            _ => {
                let space = &self.spaces[parent];
                let lines = if is_user { &space.users } else { &space.groups };
                let lines = maps::into(random, lines, self.ids());
                maps::written(random, &lines)
            }
        };
        let then = random.percent(6).then(|| "1 1000000 1\n".to_owned());
        let of = Some(target.clone()).filter(|_| !by_itself);
        if is_user {
            return (writer, Operation::WriteUidMap(WriteUidMap { of, text, then }));
        }
        let map = Operation::WriteGidMap(WriteGidMap { of: of.clone(), text, then });
        if by_itself && random.percent(80) {
            self.next.push_back((writer.clone(), map));
            let text = "deny".to_owned();
            return (writer, Operation::WriteSetgroups(WriteSetgroups { of, text }));
        }
        (writer, map)
    }

    fn unshare_or_read(&self, random: &mut Random) -> Operation {
        if random.percent(60) {
            return Operation::Unshare(Unshare { namespaces: vec![Namespace::User] });
        }
        Operation::ReadMaps(ReadMaps { of: None })
    }

    fn fork(&mut self, actor: Name) -> (Name, Operation) {
        let Some(child) = CHILDREN.get(self.children) else {
            return (actor, Operation::Getcred(Getcred {}));
        };
        (actor, Operation::Fork(Fork { child: name(child) }))
    }

    /// Mounts the files once more, with other ids.
    fn view(&mut self, random: &mut Random) -> (Name, Operation) {
        let Some(view) = VIEWS.get(self.views) else {
            return (main(), Operation::ReadMaps(ReadMaps { of: None }));
        };
        self.views += 1;
        let mount = name(&format!("m{}", self.views));
        let space = &self.spaces[0];
        let idmap = IdMaps {
            uid_map: maps::map(&maps::into(random, &space.users, self.ids())),
            gid_map: maps::map(&maps::into(random, &space.groups, self.ids())),
        };
        let setattr = Operation::MountSetattr(MountSetattr {
            at: None,
            mount: Some(mount.clone()),
            recursive: random.percent(30),
            set: Vec::new(),
            clear: Vec::new(),
            propagation: None,
            idmap: Some(idmap),
        });
        let attach = Operation::MoveMount(MoveMount {
            mount: Some(mount.clone()),
            from: None,
            at: path(view),
            beneath: false,
            set_group: false,
        });
        self.next.extend([(main(), setattr), (main(), attach)]);
        let flags = vec![OpenTreeFlag::Clone];
        (main(), Operation::OpenTree(OpenTree { path: path(TOP), flags, mount }))
    }

    fn learn_of_namespaces(&mut self, actor: &Name, operation: &Operation) {
        let of = |of: &Option<Name>| of.clone().unwrap_or_else(|| actor.clone());
        let process = self.processes.get(actor).copied();
        match operation {
            Operation::Unshare(_) => self.entered_new(actor),
            Operation::WriteUidMap(step) => {
                if let Some(process) = self.processes.get(&of(&step.of)) {
                    self.spaces[process.space].users = maps::read(&step.text);
                }
            }
            Operation::WriteGidMap(step) => {
                if let Some(process) = self.processes.get(&of(&step.of)) {
                    self.spaces[process.space].groups = maps::read(&step.text);
                }
            }
            Operation::Fork(step) => {
                self.children += 1;
                if let Some(process) = process {
                    self.processes.insert(step.child.clone(), process);
                }
            }
            Operation::Setns(step) => {
                let other = self.processes.get(&of(&step.of)).map(|process| process.space);
                if let (Some(process), Some(space)) = (self.processes.get_mut(actor), other) {
                    process.space = space;
                }
            }
            _ => {}
        }
    }

    fn entered_new(&mut self, actor: &Name) {
        let made = self.spaces.len();
        let Some(process) = self.processes.get_mut(actor) else { return };
        let Some(own) = self.spaces.get(process.space) else { return };
        if own.parent.is_some() {
            process.user = maps::inside(&own.users, process.user).unwrap_or_default();
            process.group = maps::inside(&own.groups, process.group).unwrap_or_default();
        }
        let parent = Some(process.space);
        process.space = made;
        self.spaces.push(Space { parent, users: Lines::new(), groups: Lines::new() });
    }
}
