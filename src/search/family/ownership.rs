//! Ownership: files of every owner and mode, and who does what with them: other users and groups, some
//! capabilities, none, and users of namespaces in which not every id has a name.

use std::collections::BTreeMap;

use super::credentials::{self, MASKS, some_capabilities};
use super::files::{self, IDS, ONE_ID, Palette};
use super::{Family, Means, Variant, main, name, path, place};
use crate::scenario::observe::{Actors, Observe, ObserveActors, ObserveTree};
use crate::scenario::operation::{
    Access, AccessPurpose, Bind, Chmod, Chown, Mount, MountFlag, Namespace, Open, OpenFlag,
    Operation, Remount, Setxattr, Truncate, Unshare, Utimes,
};
use crate::scenario::plan::{COMMON_IDS, Needs, PlanStep};
use crate::scenario::scalar::{IdMap, Mode, Name, StepPath, Timestamp, WorldPath};
use crate::scenario::world::{Actor, Entry, EntryKind, Setup, Userns, World};
use crate::search::random::Random;
use crate::search::scene::{Kind, Scene, any_path};
use crate::transcript::Outcome;

/// The directory that everything is in.
const TOP: &str = "w";
/// Where the same is bound, with flags of its own.
const BOUND: &str = "b";
/// Permission bits: as they are usually, and each that something follows from.
const MODES: &[u32] = &[
    0o777, 0o755, 0o644, 0o666, 0o600, 0o640, 0o660, 0o750, 0o770, 0o700, 0o444, 0o1777, 0o1770,
    0o3777, 0o2775, 0o2755, 0o2745, 0o4755, 0o6755, 0o6777, 0o6666, 0o111, 0o22, 0o4, 0,
];
/// Those of directories, which mostly let everybody in.
const OF_DIRECTORIES: &[u32] =
    &[0o777, 0o777, 0o755, 0o755, 0o1777, 0o1777, 0o2777, 0o2775, 0o3777, 0o775, 0o700, 0o1755, 0];
/// An id that only a machine has.
const FOREIGN: u32 = 100_000;
/// File capabilities: one of version 2, of version 3 with a root, and what is none.
const FILE_CAPABILITIES: &[&str] = &[
    "0100000200040000000000000000000000000000",
    "010000030004000000000000000000000000000000000000",
    "0100000300040000000000000000000000000000e8030000",
    "00",
];
/// The lines of maps, outside as ids of the sandbox.
type Lines = &'static [(u32, u32, u32)];
/// Maps of a user namespace where a sandbox has many ids.
const MAPS: &[Lines] = &[
    &[(0, 0, 1)],
    &[(0, 1000, 1)],
    &[(0, 1000, 2)],
    &[(1000, 1000, 2)],
    &[(0, 0, 1), (1, 1000, 1), (1000, 1001, 1)],
    &[(0, 1000, 1), (1, 1, 1), (1000, 1001, 1)],
    &[(1000, 0, 1), (1, 1000, 1)],
    &[(0, 0, 1), (1, 1, 65535)],
];
/// The same where it has one.
const MAPS_OF_ONE: &[Lines] = &[&[(0, 0, 1)], &[(1000, 0, 1)]];

/// A trial of this family.
pub fn of(number: u64, means: Means) -> Option<Box<dyn Family>> {
    Some(Box::new(Ownership {
        variant: Variant::of(number, means, false),
        user_xattrs: means.user_xattrs,
        actors: vec![main()],
        scene: Scene::below(TOP),
        bound: false,
    }))
}

struct Ownership {
    variant: Variant,
    /// Whether a tmpfs keeps `user.*` attributes.
    user_xattrs: bool,
    actors: Vec<Name>,
    scene: Scene,
    /// Whether the files are also seen through another mount.
    bound: bool,
}

impl Family for Ownership {
    fn needs(&self) -> Needs {
        let ids = if self.variant.ids { vec![COMMON_IDS] } else { Vec::new() };
        Needs { ids, privileged: self.variant.root, ..Needs::default() }
    }

    fn world(&mut self, random: &mut Random) -> World {
        let mut top = self.entry(random, EntryKind::Dir);
        if self.variant.ids {
            // So that what the trial needs can be told from what it names.
            top.gid = Some(IDS[1]);
        }
        let directories = BTreeMap::from([
            (place(TOP), top.clone()),
            (place(BOUND), Entry { mode: None, ..self.entry(random, EntryKind::Dir) }),
        ]);
        let mut setup = vec![Setup::Tree(directories)];
        if random.percent(30) {
            setup.push(mount(tmpfs(random)));
        }
        setup.push(Setup::Tree(self.tree(random)));
        if random.percent(50) {
            self.bound = true;
            setup.push(mount(Operation::Bind(Bind { from: path(TOP), at: path(BOUND) })));
            let flags = random.some(20, FLAGS);
            let (at, options) = (path(BOUND), Vec::new());
            setup.push(mount(Operation::Remount(Remount { at, bind: true, flags, options })));
        }
        let mut world = World { setup, ..World::default() };
        world.actors.insert(main(), Actor::default());
        let others: &[&str] = if self.variant.ids { &["amy", "bob", "box"] } else { &["box"] };
        for other in random.some(70, others) {
            let actor = self.actor(random, other);
            world.actors.insert(name(other), actor);
            self.actors.push(name(other));
        }
        world
    }

    fn step(&mut self, random: &mut Random) -> (Name, Operation) {
        let actor = random.pick(&self.actors).clone();
        let top = if self.bound && random.percent(30) { BOUND } else { TOP };
        self.scene.look(actor.as_str(), top);
        let operation = match random.below(100) {
            0..50 => self.on_files(random),
            50..62 => credentials::operation(random, self.ids()),
            62..64 => Operation::Unshare(Unshare { namespaces: vec![Namespace::User] }),
            _ => self.on_owners(random),
        };
        (actor, operation)
    }

    fn learn(&mut self, step: &PlanStep, outcome: &Outcome) {
        self.scene.learn(&step.operation, outcome);
    }

    fn observe(&self) -> Vec<Observe> {
        let tree = |actor: Option<Name>| {
            Observe::Tree(ObserveTree { at: place(TOP), actor, fields: Vec::new() })
        };
        let mut observed = vec![tree(None)];
        observed.extend(self.actors.iter().skip(1).map(|actor| tree(Some(actor.clone()))));
        let actors = Actors::Several(self.actors.clone());
        observed.push(Observe::Credentials(ObserveActors { actors }));
        observed
    }
}

/// Flags of the mount that the files are also seen through.
const FLAGS: &[MountFlag] = &[MountFlag::Ro, MountFlag::Nosuid, MountFlag::Noexec];

impl Ownership {
    fn ids(&self) -> &'static [u32] {
        if self.variant.ids { IDS } else { ONE_ID }
    }

    fn xattrs(&self) -> &'static [&'static str] {
        match (self.variant.root, self.user_xattrs) {
            (true, _) => &["user.k", "trusted.k", "security.k"],
            (false, true) => &["user.k", "user.l", "security.k"],
            (false, false) => &["security.k", "security.l"],
        }
    }

    /// Something with an owner and a mode.
    fn entry(&self, random: &mut Random, kind: EntryKind) -> Entry {
        let modes = if matches!(kind, EntryKind::Dir) { OF_DIRECTORIES } else { MODES };
        let has_mode = !matches!(kind, EntryKind::Symlink(_) | EntryKind::Hardlink(_));
        let mode = (has_mode && random.percent(80)).then(|| Mode(*random.pick(modes)));
        let has_owner = self.variant.ids && !matches!(kind, EntryKind::Hardlink(_));
        let mut owner = || (has_owner && random.percent(75)).then(|| *random.pick(IDS));
        let (uid, gid) = (owner(), owner());
        Entry { kind, mode, uid, gid, xattrs: BTreeMap::new() }
    }

    fn tree(&mut self, random: &mut Random) -> BTreeMap<WorldPath, Entry> {
        let mut tree = BTreeMap::new();
        let mut add = |family: &mut Self, at: String, entry: Entry, kind: Kind| {
            tree.insert(place(&format!("{TOP}/{at}")), entry);
            family.scene.lay(&at, Some(kind), false);
        };
        for _ in 0..random.between(3, 9) {
            let at = any_path(random);
            let above = at.match_indices('/').map(|(end, _)| &at[..end]);
            let blocked = |path: &str| self.scene.kind(path).is_some_and(|kind| kind != Kind::Dir);
            if self.scene.kind(&at).is_some() || above.clone().any(blocked) {
                continue;
            }
            for path in above {
                if self.scene.kind(path).is_none() {
                    let entry = self.entry(random, EntryKind::Dir);
                    add(self, path.to_owned(), entry, Kind::Dir);
                }
            }
            let (kind, is) = match random.below(10) {
                0..3 => (EntryKind::Dir, Kind::Dir),
                3 => (EntryKind::Symlink(any_path(random)), Kind::Symlink),
                4 => (EntryKind::Socket, Kind::Node),
                _ => (EntryKind::File("text\n".to_owned()), Kind::File),
            };
            let entry = self.entry(random, kind);
            add(self, at.clone(), entry, is);
        }
        tree
    }

    fn actor(&self, random: &mut Random, who: &str) -> Actor {
        let mut actor = Actor::default();
        if self.variant.ids {
            let (uid, gid) = if who == "amy" { (1000, 1000) } else { (1001, 1001) };
            actor.uid = (who != "box" || random.percent(40)).then_some(uid);
            actor.gid = actor.uid.is_some().then_some(if random.percent(80) { gid } else { 1 });
            actor.groups = random.some(25, IDS);
        }
        if who == "box" {
            let maps = if self.variant.ids { MAPS } else { MAPS_OF_ONE };
            let map = |random: &mut Random| Some(IdMap(random.pick(maps).to_vec()));
            let uid_map = map(random);
            // Mostly the same for users and groups.
            let gid_map = if random.percent(70) { uid_map.clone() } else { map(random) };
            actor.userns = Some(Userns { uid_map, gid_map, deny_setgroups: false });
        }
        let limited = if who == "amy" { 10 } else { 45 };
        actor.caps = random.percent(limited).then(|| some_capabilities(random, 40));
        actor.no_new_privs = random.percent(10);
        actor.umask = random.percent(25).then(|| Mode(*random.pick(MASKS)));
        actor
    }

    fn on_files(&self, random: &mut Random) -> Operation {
        let (ids, xattrs) = (self.ids(), self.xattrs());
        files::operation(random, &self.scene, &Palette { ids, modes: MODES, xattrs })
    }

    /// A name that is there, and now and then one that may not be.
    fn existing(&self, random: &mut Random, kinds: &[Kind]) -> StepPath {
        let found = self.scene.existing(random, kinds).filter(|_| !random.percent(4));
        let found = found.unwrap_or_else(|| any_path(random));
        path(&self.scene.at(&found))
    }

    /// What ownership is about.
    fn on_owners(&self, random: &mut Random) -> Operation {
        const ALL: &[Kind] = &[Kind::Dir, Kind::File, Kind::Symlink, Kind::Node];
        const SOME: &[Kind] = &[Kind::Dir, Kind::File];
        match random.below(100) {
            0..25 => {
                let at = Some(self.existing(random, SOME));
                let is_dir = random.percent(50);
                let modes = if is_dir { OF_DIRECTORIES } else { MODES };
                Operation::Chmod(Chmod { path: at, fd: None, mode: Mode(*random.pick(modes)) })
            }
            25..45 => self.chown(random, ALL),
            45..58 => {
                let all = [AccessPurpose::Read, AccessPurpose::Write, AccessPurpose::Execute];
                let purposes = random.some(40, &all);
                Operation::Access(Access { path: self.existing(random, ALL), purposes })
            }
            58..78 => self.open(random),
            78..86 => {
                let at = Some(self.existing(random, SOME));
                let time = *random.pick(&[Timestamp::Now, Timestamp::Seconds(1)]);
                let (atime, mtime) = (Some(time).filter(|_| random.percent(60)), Some(time));
                Operation::Utimes(Utimes { path: at, fd: None, atime, mtime, follow: true })
            }
            86..94 => {
                let at = Some(self.existing(random, &[Kind::File]));
                let hex = Some((*random.pick(FILE_CAPABILITIES)).to_owned());
                Operation::Setxattr(Setxattr {
                    path: at,
                    fd: None,
                    name: "security.capability".to_owned(),
                    value: None,
                    hex,
                    flag: None,
                    follow: true,
                })
            }
            _ => {
                let at = Some(self.existing(random, &[Kind::File]));
                Operation::Truncate(Truncate { path: at, fd: None, length: 3 })
            }
        }
    }

    fn chown(&self, random: &mut Random, kinds: &[Kind]) -> Operation {
        let id = |random: &mut Random| match random.below(20) {
            0 => Some(FOREIGN),
            1..13 => Some(*random.pick(self.ids())),
            _ => None,
        };
        let (at, uid, gid) = (Some(self.existing(random, kinds)), id(random), id(random));
        Operation::Chown(Chown { path: at, fd: None, uid, gid, follow: random.percent(50) })
    }

    fn open(&self, random: &mut Random) -> Operation {
        use OpenFlag::{
            Creat, Directory, Excl, Noatime, Path, Rdonly, Rdwr, Tmpfile, Trunc, Wronly,
        };
        let (kinds, flags): (&[Kind], &[OpenFlag]) = *random.pick(&[
            (&[Kind::File, Kind::Dir][..], &[Rdonly, Noatime][..]),
            (&[Kind::File], &[Rdwr, Creat]),
            (&[Kind::File], &[Wronly, Creat, Trunc]),
            (&[Kind::File], &[Rdonly, Creat]),
            (&[Kind::File], &[Rdonly, Trunc]),
            (&[Kind::Dir], &[Rdwr, Tmpfile]),
            (&[Kind::Dir], &[Wronly, Tmpfile, Excl]),
            (&[Kind::Dir], &[Rdonly, Directory]),
            (&[Kind::File, Kind::Node, Kind::Dir], &[Path]),
        ]);
        let mode = random.percent(60).then(|| Mode(*random.pick(MODES)));
        let fd = random.percent(60).then(|| name(random.pick::<&str>(&["x", "y", "z"])));
        let at = self.existing(random, kinds);
        Operation::Open(Open { path: at, flags: flags.to_vec(), mode, dirfd: None, fd })
    }
}

fn mount(operation: Operation) -> Setup {
    Setup::Mount { line: 0, operation }
}

/// A file system for the files, of their own.
fn tmpfs(random: &mut Random) -> Operation {
    let options: &[&str] = random.pick::<&[&str]>(&[&["mode=777"], &["mode=1777"], &["mode=755"]]);
    Operation::Mount(Mount {
        kind: "tmpfs".to_owned(),
        at: path(TOP),
        source: None,
        flags: random.some(15, &[MountFlag::Nosuid]),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    })
}
