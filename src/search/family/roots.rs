//! Root and working directories: chroot, pivot_root, open directories and `..`, mounts over the root and below
//! it, and directories that are moved and removed under those who stand in them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Family, Means, Variant, main, name, path, place};
use crate::scenario::observe::{Actors, Observe, ObserveActors, ObserveMountinfo, ObserveTree};
use crate::scenario::operation::{
    Access, Bind, Chdir, Chroot, Fchdir, Fork, Getcwd, List, Mkdir, Mount, Mounted, Move,
    Namespace, Open, OpenFlag, Operation, PivotRoot, Propagation, PropagationType, Rbind, Rename,
    Rmdir, Setns, Stat, Symlink, Umount, UmountFlag, Unshare, Write,
};
use crate::scenario::plan::{COMMON_IDS, Needs, PlanStep};
use crate::scenario::scalar::{IdMap, Name, StepPath};
use crate::scenario::world::{Actor, Entry, EntryKind, Setup, Userns, World};
use crate::search::random::Random;
use crate::transcript::Outcome;

/// The directories of the world.
const DIRECTORIES: &[&str] =
    &["a", "a/x", "a/x/z", "a/y", "b", "b/x", "b/x/z", "b/y", "c", "c/old", "c/x"];
/// Those that nothing is in, which may be hidden without anybody who begins in another one being lost.
const LEAVES: &[&str] = &["a/x/z", "a/y", "b/y", "c/x"];
/// Names that directories are given.
const NAMES: &[&str] = &["x", "y", "z", "old", "new"];
/// The actors besides the first.
const OTHERS: &[&str] = &["ann", "box"];
/// The actors that may be forked, each once.
const CHILDREN: &[&str] = &["kid", "tot"];
/// The names that open directories are kept under.
const DESCRIPTORS: &[&str] = &["p", "q"];
/// More mounts would be a table that nobody reads.
const MOST_MOUNTS: usize = 8;
/// The id of what makes a trial one with many ids.
const OWNER: u32 = 1;

/// A trial of this family.
pub fn of(number: u64, means: Means) -> Option<Box<dyn Family>> {
    let variant = Variant::of(number, means, false);
    Some(Box::new(Roots {
        variant,
        actors: vec![main()],
        stands: BTreeMap::from([(main(), Stand::default())]),
        directories: DIRECTORIES.iter().map(|directory| (*directory).to_owned()).collect(),
        mounts: Vec::new(),
        made: 0,
        children: 0,
    }))
}

/// Where an actor stands. Places are called by the paths that lead there from the first root: a hint, for
/// mounts come to lie over them.
#[derive(Clone, Debug, Default)]
struct Stand {
    root: String,
    cwd: String,
    /// Open directories by name.
    open: BTreeMap<String, String>,
    /// Whether it tried to leave the root, so that `..` may lead there.
    moved: bool,
}

struct Roots {
    variant: Variant,
    /// Those that the world has.
    actors: Vec<Name>,
    stands: BTreeMap<Name, Stand>,
    directories: BTreeSet<String>,
    /// Where something is mounted.
    mounts: Vec<String>,
    made: usize,
    children: usize,
}

impl Family for Roots {
    fn needs(&self) -> Needs {
        let ids = if self.variant.ids { vec![COMMON_IDS] } else { Vec::new() };
        Needs { ids, privileged: self.variant.root, ..Needs::default() }
    }

    fn world(&mut self, random: &mut Random) -> World {
        // So that what the trial needs can be told from what it names.
        let owner = self.variant.ids.then_some(OWNER);
        let entry =
            |kind| Entry { kind, mode: None, uid: owner, gid: None, xattrs: BTreeMap::new() };
        let directory = |at: &&str| (place(at), entry(EntryKind::Dir));
        let mut tree: BTreeMap<_, _> = DIRECTORIES.iter().map(directory).collect();
        tree.insert(place("a/up"), entry(EntryKind::Symlink("..".to_owned())));
        tree.insert(place("b/top"), entry(EntryKind::Symlink("/".to_owned())));
        tree.insert(place("c/file"), entry(EntryKind::File("x".to_owned())));
        let mut world = World { setup: vec![Setup::Tree(tree)], ..World::default() };
        for _ in 0..random.between(1, 3) {
            let hides = random.percent(40);
            let at = (*random.pick(if hides { LEAVES } else { DIRECTORIES })).to_owned();
            let operation = match hides {
                true => tmpfs(path(&at)),
                false => Operation::Bind(Bind { from: path(&at), at: path(&at) }),
            };
            self.mounts.push(at);
            world.setup.push(Setup::Mount { line: 0, operation });
        }
        world.actors.insert(main(), Actor::default());
        for other in random.some(65, OTHERS) {
            let (actor, stand) = self.actor(random, other);
            world.actors.insert(name(other), actor);
            self.actors.push(name(other));
            self.stands.insert(name(other), stand);
        }
        world
    }

    fn step(&mut self, random: &mut Random) -> (Name, Operation) {
        let all: Vec<_> = self.stands.keys().collect();
        let actor = (*random.pick(&all)).clone();
        let stand = self.stands[&actor].clone();
        let operation = match random.below(100) {
            0..9 => Operation::Chroot(Chroot { path: self.somewhere(random, &stand, true) }),
            9..21 => Operation::Chdir(Chdir { path: self.somewhere(random, &stand, true) }),
            21..28 => self.open(random, &stand),
            28..34 => match random.pick_any(&stand.open.keys().collect::<Vec<_>>()) {
                Some(fd) => Operation::Fchdir(Fchdir { fd: name(fd) }),
                None => self.open(random, &stand),
            },
            34..45 => self.pivot(random, &stand),
            45..63 => self.on_mounts(random, &stand),
            63..67 => self.on_namespaces(random, &actor),
            67..82 => self.on_directories(random, &stand),
            82..84 if self.children < CHILDREN.len() => {
                Operation::Fork(Fork { child: name(CHILDREN[self.children]) })
            }
            _ => self.look(random, &stand),
        };
        (actor, operation)
    }

    fn learn(&mut self, step: &PlanStep, outcome: &Outcome) {
        let Some(mut stand) = self.stands.get(&step.actor).cloned() else { return };
        if matches!(
            step.operation,
            Operation::Chdir(_)
                | Operation::Fchdir(_)
                | Operation::Chroot(_)
                | Operation::PivotRoot(_)
                | Operation::Setns(_)
        ) {
            stand.moved = true;
        }
        if matches!(outcome, Outcome::Ok(_)) {
            self.learn_of_success(&step.operation, &mut stand);
        }
        self.stands.insert(step.actor.clone(), stand);
    }

    fn observe(&self) -> Vec<Observe> {
        let actors = || Actors::Several(self.actors.clone());
        vec![
            Observe::Mountinfo(ObserveMountinfo { actors: actors(), under: None }),
            Observe::Process(ObserveActors { actors: actors() }),
            Observe::Tree(ObserveTree { at: place("."), actor: None, fields: Vec::new() }),
        ]
    }
}

impl Roots {
    fn actor(&self, random: &mut Random, who: &str) -> (Actor, Stand) {
        let (mut actor, mut stand) = (Actor::default(), Stand::default());
        let put = |random: &mut Random, percent| {
            let directory = random.percent(percent).then(|| *random.pick(DIRECTORIES));
            directory.map(|directory| (path(directory), directory.to_owned()))
        };
        if who == "box" {
            let container = self.variant.ids && random.percent(50);
            let map = || Some(IdMap(vec![(0, 0, 1)]));
            let userns = || Userns { uid_map: map(), gid_map: map(), deny_setgroups: false };
            actor.userns = container.then(userns);
            actor.unshare = vec![Namespace::Mount];
        }
        if let Some((root, at)) = put(random, 35) {
            actor.root = Some(root);
            (stand.root, stand.cwd) = (at.clone(), at);
            stand.moved = true;
        } else if let Some((cwd, at)) = put(random, 40) {
            actor.cwd = Some(cwd);
            stand.cwd = at;
            stand.moved = true;
        }
        (actor, stand)
    }

    /// A directory that is there, as somebody gets to it.
    fn somewhere(&self, random: &mut Random, stand: &Stand, may_climb: bool) -> StepPath {
        if (may_climb || stand.moved) && random.percent(12) {
            let climb = random.pick::<&str>(&["..", "../..", "../../..", "../a", "../../b/x"]);
            return path(climb);
        }
        if random.percent(8) {
            return path(random.pick::<&str>(&[".", "/", "/..", "up", "/a/up", "/b/top", "top/a"]));
        }
        let all: Vec<_> = self.directories.iter().collect();
        let reachable: Vec<_> =
            all.iter().filter(|at| reaches(stand, at)).map(|at| at.as_str()).collect();
        match random.pick_any(&reachable) {
            Some(at) if random.percent(94) => path(&way(random, stand, at)),
            _ => path(random.pick::<&str>(DIRECTORIES)),
        }
    }

    /// Where something is mounted, as somebody gets to it.
    fn a_mount(&self, random: &mut Random, stand: &Stand) -> StepPath {
        let reachable: Vec<_> = self.mounts.iter().filter(|at| reaches(stand, at)).collect();
        match random.pick_any(&reachable) {
            Some(at) if random.percent(85) => path(&way(random, stand, at)),
            _ => self.somewhere(random, stand, false),
        }
    }

    fn open(&self, random: &mut Random, stand: &Stand) -> Operation {
        let fd = Some(name(random.pick::<&str>(DESCRIPTORS)));
        let flags = vec![*random.pick(&[OpenFlag::Directory, OpenFlag::Path])];
        let dirfd = random.pick_any(&stand.open.keys().collect::<Vec<_>>()).map(|fd| name(fd));
        let dirfd = dirfd.filter(|_| random.percent(25));
        let at = match (&dirfd, stand.moved) {
            (Some(_), true) => path(random.pick::<&str>(&[".", "x", "..", "../a", "../.."])),
            (Some(_), false) => path(random.pick::<&str>(&[".", "x", "y"])),
            (None, _) => self.somewhere(random, stand, false),
        };
        Operation::Open(Open { path: at, flags, mode: None, dirfd, fd })
    }

    fn pivot(&self, random: &mut Random, stand: &Stand) -> Operation {
        let mount = random.pick_any(&self.mounts).filter(|at| reaches(stand, at));
        let (new_root, put_old) = match (random.below(10), mount) {
            (0, _) => (path("."), path(".")),
            (1..7, Some(mount)) => {
                let inside = |at: &&String| behind(at, mount).is_some();
                let inside: Vec<_> = self.directories.iter().filter(inside).collect();
                let old = random.pick_any(&inside).map_or(mount, |at| *at).clone();
                (path(&way(random, stand, mount)), path(&way(random, stand, &old)))
            }
            (7..9, _) => {
                let new = self.a_mount(random, stand);
                (new.clone(), new)
            }
            _ => (self.a_mount(random, stand), self.somewhere(random, stand, true)),
        };
        Operation::PivotRoot(PivotRoot { new_root, put_old })
    }

    fn on_mounts(&self, random: &mut Random, stand: &Stand) -> Operation {
        let grows = self.made < MOST_MOUNTS;
        match random.below(100) {
            0..30 if grows => {
                // Mostly onto itself: so it becomes a mount that can be a root.
                let at = self.somewhere(random, stand, false);
                let other = random.percent(40);
                let from = if other { self.somewhere(random, stand, false) } else { at.clone() };
                Operation::Bind(Bind { from, at })
            }
            30..38 if grows => {
                let from = self.somewhere(random, stand, false);
                Operation::Rbind(Rbind { from, at: self.somewhere(random, stand, false) })
            }
            38..52 if grows => tmpfs(self.somewhere(random, stand, false)),
            52..64 => {
                let from = self.a_mount(random, stand);
                let at = match random.percent(30) {
                    true => path("/"),
                    false => self.somewhere(random, stand, false),
                };
                Operation::Move(Move { from, at })
            }
            64..84 => {
                let at = match random.percent(20) {
                    true => path(random.pick::<&str>(&["/", "."])),
                    false => self.a_mount(random, stand),
                };
                // What is under the root of real root is the machine's. Many a path leads there, and
                // without the flag it is in use.
                let root = self.variant.root;
                if root && identity(stand, at.as_str()).is_empty() {
                    return Operation::Mounted(Mounted { at });
                }
                let flags = if root { vec![] } else { random.some(70, &[UmountFlag::Detach]) };
                Operation::Umount(Umount { at, flags })
            }
            84..92 => {
                const KINDS: &[PropagationType] =
                    &[PropagationType::Shared, PropagationType::Slave, PropagationType::Private];
                let root = random.percent(30);
                let at = if root { path("/") } else { self.a_mount(random, stand) };
                let kind = *random.pick(KINDS);
                Operation::Propagation(Propagation { at, kind, recursive: random.percent(20) })
            }
            _ => Operation::Mounted(Mounted { at: self.a_mount(random, stand) }),
        }
    }

    fn on_namespaces(&self, random: &mut Random, actor: &Name) -> Operation {
        let others: Vec<_> = self.stands.keys().filter(|other| *other != actor).collect();
        match (random.below(10), random.pick_any(&others)) {
            (0..5, _) | (_, None) => {
                Operation::Unshare(Unshare { namespaces: vec![Namespace::Mount] })
            }
            (5, _) => Operation::Unshare(Unshare { namespaces: vec![Namespace::User] }),
            (_, Some(other)) => {
                let (of, namespace) = (Some((*other).clone()), Some(Namespace::Mount));
                Operation::Setns(Setns { of, namespace, fd: None })
            }
        }
    }

    fn on_directories(&self, random: &mut Random, stand: &Stand) -> Operation {
        let fresh = |family: &Self, random: &mut Random| {
            let above = family.somewhere(random, stand, false);
            let name = random.pick(NAMES);
            path(&format!("{}/{name}", above.as_str().trim_end_matches('/')))
        };
        match random.below(100) {
            0..30 => Operation::Mkdir(Mkdir { path: fresh(self, random), mode: None }),
            30..60 => {
                let from = self.somewhere(random, stand, false);
                Operation::Rename(Rename { from, to: fresh(self, random), flags: Vec::new() })
            }
            60..85 => Operation::Rmdir(Rmdir { path: self.somewhere(random, stand, false) }),
            85..93 => {
                let target = (*random.pick(&["..", "/", "/a", "../../..", "."])).to_owned();
                Operation::Symlink(Symlink { target, path: fresh(self, random) })
            }
            _ => Operation::Write(Write {
                path: Some(fresh(self, random)),
                fd: None,
                data: "x".to_owned(),
                append: false,
                offset: None,
                mode: None,
            }),
        }
    }

    fn look(&self, random: &mut Random, stand: &Stand) -> Operation {
        let near: &[&str] =
            if stand.moved { &[".", "..", "/", "/..", "../.."] } else { &[".", "/", "a/up"] };
        let at = match random.percent(60) {
            true => path(random.pick::<&str>(near)),
            false => self.somewhere(random, stand, false),
        };
        match random.below(10) {
            0..5 => Operation::Getcwd(Getcwd {}),
            5..7 => Operation::Stat(Stat { path: Some(at), fd: None, dirfd: None, follow: true }),
            7..9 => Operation::List(List { path: Some(at), fd: None }),
            _ => Operation::Access(Access { path: at, purposes: Vec::new() }),
        }
    }

    fn learn_of_success(&mut self, operation: &Operation, stand: &mut Stand) {
        let at = |path: &StepPath| identity(stand, path.as_str());
        match operation {
            Operation::Chdir(step) => stand.cwd = at(&step.path),
            Operation::Chroot(step) => stand.root = at(&step.path),
            Operation::Fchdir(step) => {
                if let Some(open) = stand.open.get(step.fd.as_str()) {
                    stand.cwd.clone_from(open);
                }
            }
            Operation::Open(step) => {
                let from = step.dirfd.as_ref().and_then(|fd| stand.open.get(fd.as_str()));
                let start = Stand { cwd: from.unwrap_or(&stand.cwd).clone(), ..stand.clone() };
                let at = identity(&start, step.path.as_str());
                if let Some(fd) = &step.fd {
                    stand.open.insert(fd.to_string(), at);
                }
            }
            Operation::PivotRoot(step) => {
                let new = at(&step.new_root);
                self.follow_pivot(stand, &new);
            }
            Operation::Mkdir(step) => drop(self.directories.insert(at(&step.path))),
            Operation::Rmdir(step) => drop(self.directories.remove(&at(&step.path))),
            Operation::Rename(step) => self.follow_rename(&at(&step.from), &at(&step.to)),
            Operation::Bind(Bind { at: point, .. })
            | Operation::Rbind(Rbind { at: point, .. })
            | Operation::Mount(Mount { at: point, .. }) => {
                self.made += 1;
                self.mounts.push(at(point));
            }
            Operation::Move(step) => {
                let (from, to) = (at(&step.from), at(&step.at));
                self.mounts.retain(|mount| *mount != from);
                self.mounts.push(to);
            }
            Operation::Umount(step) => {
                let gone = at(&step.at);
                if let Some(last) = self.mounts.iter().rposition(|mount| *mount == gone) {
                    self.mounts.remove(last);
                }
            }
            Operation::Fork(step) => {
                self.children += 1;
                self.stands.insert(step.child.clone(), stand.clone());
            }
            Operation::Setns(_) => {
                stand.root.clear();
                stand.cwd.clear();
            }
            _ => {}
        }
    }

    /// pivot_root(2) takes everybody along who was at the old root.
    fn follow_pivot(&mut self, stand: &mut Stand, new: &str) {
        let old = stand.root.clone();
        for other in self.stands.values_mut().chain([stand]) {
            let was = other.clone();
            other.root = if was.root == old { new.to_owned() } else { was.root };
            other.cwd = if was.cwd == old { new.to_owned() } else { was.cwd };
        }
    }

    fn follow_rename(&mut self, from: &str, to: &str) {
        let moved = |path: &String| match path.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
            _ => path.clone(),
        };
        self.directories = self.directories.iter().map(moved).collect();
    }
}

fn tmpfs(at: StepPath) -> Operation {
    let (source, flags, options) = (None, Vec::new(), Vec::new());
    Operation::Mount(Mount { kind: "tmpfs".to_owned(), at, source, flags, options })
}

/// What a place has behind another one that it is or lies below.
fn behind<'p>(at: &'p str, top: &str) -> Option<&'p str> {
    if top.is_empty() {
        return Some(at);
    }
    let rest = at.strip_prefix(top)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// Whether somebody gets to a place.
fn reaches(stand: &Stand, at: &str) -> bool {
    behind(at, &stand.root).is_some() || behind(at, &stand.cwd).is_some()
}

/// How somebody gets to a place: from the root, or from where it stands.
fn way(random: &mut Random, stand: &Stand, at: &str) -> String {
    let from_root = behind(at, &stand.root).map(|rest| format!("/{rest}"));
    let from_here = behind(at, &stand.cwd)
        .map(|rest| if rest.is_empty() { ".".to_owned() } else { rest.to_owned() });
    match (from_root, from_here) {
        (Some(way), None) | (None, Some(way)) => way,
        (Some(root), Some(here)) => {
            if random.percent(50) {
                root
            } else {
                here
            }
        }
        (None, None) => at.to_owned(),
    }
}

/// The place that a path leads to, as far as no link and no mount is in the way.
fn identity(stand: &Stand, path: &str) -> String {
    let mut at = if path.starts_with('/') { &stand.root } else { &stand.cwd }.clone();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." {
            at = if at.is_empty() { part.to_owned() } else { format!("{at}/{part}") };
        } else if at != stand.root {
            at.truncate(at.rfind('/').unwrap_or(0));
        }
    }
    at
}
