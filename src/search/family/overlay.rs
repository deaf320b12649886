//! Overlays: layers of every shape, file operations on the merged view, and layers that are taken apart and
//! put together again.

use std::collections::BTreeMap;

use super::files::{self, IDS, MODES, ONE_ID, Palette};
use super::{Family, Means, Variant, main, path, place};
use crate::scenario::observe::{Observe, ObserveTree};
use crate::scenario::operation::{
    MountApi, MountFlag, Operation, Overlay as Mount, Remount, Umount, UmountFlag,
};
use crate::scenario::plan::{COMMON_IDS, Needs, PlanStep};
use crate::scenario::scalar::{DeviceNumber, Mode, Name};
use crate::scenario::world::{Entry, EntryKind, Setup, World};
use crate::search::random::Random;
use crate::search::scene::{Kind, Scene, any_path};
use crate::transcript::Outcome;

/// Where the overlay is mounted.
const MERGED: &str = "m";
/// The lower layers that a world has, from the top.
const LOWERS: &[&str] = &["l1", "l2", "l3"];
/// A layer that is there for the data of others.
const DATA: &str = "x1";
/// The upper layers, each with its work directory: the first, and those after a rotation.
const UPPERS: &[(&str, &str)] = &[("u1", "w1"), ("u2", "w2"), ("u3", "w3")];

/// A trial of this family.
pub fn of(number: u64, means: Means) -> Option<Box<dyn Family>> {
    if !means.overlay && !means.root {
        return None;
    }
    let variant = Variant::of(number, means, !means.overlay);
    let user_xattrs = means.user_xattrs;
    let scene = Scene::below(MERGED);
    Some(Box::new(Overlay {
        variant,
        user_xattrs,
        by_program: means.overlay_program,
        userxattr: false,
        layers: BTreeMap::new(),
        stack: Stack::default(),
        tried: Stack::default(),
        mounted: false,
        bound: false,
        refused: 0,
        scene,
        uppers: 0,
        most_uppers: 0,
    }))
}

/// What an overlay is mounted of.
#[derive(Clone, Debug, Default, PartialEq)]
struct Stack {
    lowers: Vec<&'static str>,
    data: Option<&'static str>,
    upper: Option<(&'static str, &'static str)>,
    options: Vec<String>,
}

struct Overlay {
    variant: Variant,
    /// Whether marks are `user.*` attributes, which they are from the first mount to the last: else those
    /// of one are what another shows, with values that nobody can tell.
    userxattr: bool,
    /// Whether files of the layers may have `user.*` attributes.
    user_xattrs: bool,
    /// Whether a program mounts it.
    by_program: bool,
    /// What the world has in each layer.
    layers: BTreeMap<&'static str, Vec<(String, Shape)>>,
    /// What is mounted, or was at last.
    stack: Stack,
    /// What was tried to be mounted at last.
    tried: Stack,
    mounted: bool,
    /// Whether features were used that bind layers to each other: then a change of a lower one gives what
    /// nobody defines ("Changes to underlying filesystems" of overlayfs.rst).
    bound: bool,
    /// How often in a row it could not be mounted.
    refused: usize,
    scene: Scene,
    /// How many upper layers were used, and how many will be at most.
    uppers: usize,
    most_uppers: usize,
}

/// What a layer has under a name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Kind(Kind),
    /// A directory that hides those of its name below.
    Opaque,
    /// A device or an attribute that hides a name.
    Whiteout,
}

impl Family for Overlay {
    fn needs(&self) -> Needs {
        let ids = if self.variant.ids { vec![COMMON_IDS] } else { Vec::new() };
        Needs { ids, privileged: self.variant.root, ..Needs::default() }
    }

    fn world(&mut self, random: &mut Random) -> World {
        let mut tree = BTreeMap::new();
        tree.insert(place(MERGED), plain(EntryKind::Dir));
        let count = random.weighted(&[(4, 1), (5, 2), (3, LOWERS.len())]);
        self.stack.lowers = LOWERS[..count].to_vec();
        for layer in LOWERS[..count].iter().copied() {
            self.fill(layer, random, &mut tree);
        }
        self.most_uppers = random.weighted(&[(5, 1), (3, 2), (1, UPPERS.len())]);
        for (upper, work) in &UPPERS[..self.most_uppers] {
            tree.insert(place(upper), plain(EntryKind::Dir));
            tree.insert(place(work), plain(EntryKind::Dir));
        }
        if random.percent(85) || count == 1 {
            self.stack.upper = Some(UPPERS[0]);
            self.uppers = 1;
            if random.percent(40) {
                self.fill(UPPERS[0].0, random, &mut tree);
            }
        }
        if self.variant.ids {
            // So that what the trial needs can be told from what it names.
            let owner = tree.get_mut(&place(MERGED)).expect("the mount point");
            (owner.uid, owner.gid) = (Some(IDS[1]), Some(IDS[1]));
        }
        self.lay();
        self.userxattr = !self.variant.root && random.percent(75);
        if !self.by_program && random.percent(if self.variant.root { 20 } else { 5 }) {
            self.fill(DATA, random, &mut tree);
            self.stack.data = Some(DATA);
        }
        self.stack.options = self.options(random);
        let mut world = World { setup: vec![Setup::Tree(tree)], ..World::default() };
        world.actors.insert(main(), crate::scenario::world::Actor::default());
        world
    }

    fn step(&mut self, random: &mut Random) -> (Name, Operation) {
        let operation = if self.mounted {
            match random.below(100) {
                0..5 => self.unmount(random),
                5..7 => self.remount(random),
                _ => self.on_files(random),
            }
        } else {
            match random.below(100) {
                // Behind a mounted overlay nothing is defined; now is the time.
                0..30 if self.uppers > 0 && self.refused == 0 => self.in_a_layer(random),
                _ => self.mount(random),
            }
        };
        (main(), operation)
    }

    fn learn(&mut self, step: &PlanStep, outcome: &Outcome) {
        let done = matches!(outcome, Outcome::Ok(_));
        match &step.operation {
            Operation::Umount(_) if done => self.mounted = false,
            Operation::Overlay(_) if done => {
                (self.mounted, self.refused) = (true, 0);
                self.stack = self.tried.clone();
            }
            Operation::Overlay(_) => self.refused += 1,
            operation => self.scene.learn(operation, outcome),
        }
    }

    fn observe(&self) -> Vec<Observe> {
        let tree = |at: &str| ObserveTree { at: place(at), actor: None, fields: Vec::new() };
        let mut observed = vec![Observe::Tree(tree(MERGED))];
        let uppers = &UPPERS[..self.most_uppers];
        observed.extend(uppers.iter().map(|(upper, _)| Observe::Layer(tree(upper))));
        observed
    }
}

fn plain(kind: EntryKind) -> Entry {
    Entry { kind, mode: None, uid: None, gid: None, xattrs: BTreeMap::new() }
}

impl Overlay {
    /// What the attributes of an overlay begin with.
    fn prefix(&self) -> &'static str {
        if self.variant.root { "trusted.overlay." } else { "user.overlay." }
    }

    /// Whether layers may be marked by attributes.
    fn marks(&self) -> bool {
        self.variant.root || self.user_xattrs
    }

    /// Fills a layer of the world.
    fn fill(
        &mut self,
        layer: &'static str,
        random: &mut Random,
        tree: &mut BTreeMap<crate::scenario::scalar::WorldPath, Entry>,
    ) {
        tree.insert(place(layer), plain(EntryKind::Dir));
        let mut shapes: Vec<(String, Shape)> = Vec::new();
        for _ in 0..random.between(1, 7) {
            let at = any_path(random);
            if !has_room(&shapes, &at) {
                continue;
            }
            let file = shapes.iter().filter(|(_, shape)| *shape == Shape::Kind(Kind::File));
            let files: Vec<_> = file.map(|(path, _)| path.clone()).collect();
            let (entry, shape) = self.entry(random, layer, &files);
            // What is above it is made with it, as a plain directory.
            for (end, _) in at.match_indices('/') {
                if !shapes.iter().any(|(path, _)| *path == at[..end]) {
                    shapes.push((at[..end].to_owned(), Shape::Kind(Kind::Dir)));
                    tree.insert(place(&format!("{layer}/{}", &at[..end])), plain(EntryKind::Dir));
                }
            }
            tree.insert(place(&format!("{layer}/{at}")), entry);
            shapes.push((at, shape));
        }
        self.layers.insert(layer, shapes);
    }

    /// Something for a layer; `files` are the names of its files so far.
    fn entry(&self, random: &mut Random, layer: &str, files: &[String]) -> (Entry, Shape) {
        let file = |random: &mut Random| {
            plain(EntryKind::File((*random.pick(&["", "lower\n", "layer\n"])).to_owned()))
        };
        let (mut entry, shape) = match random.below(100) {
            0..34 => (plain(EntryKind::Dir), Shape::Kind(Kind::Dir)),
            34..62 => (file(random), Shape::Kind(Kind::File)),
            62..68 => {
                let link = plain(EntryKind::Symlink(any_path(random)));
                return (link, Shape::Kind(Kind::Symlink));
            }
            68..71 => (plain(EntryKind::Socket), Shape::Kind(Kind::Node)),
            71..79 => match random.pick_any(files) {
                Some(other) => {
                    let other = place(&format!("{layer}/{other}"));
                    return (plain(EntryKind::Hardlink(other)), Shape::Kind(Kind::File));
                }
                None => (file(random), Shape::Kind(Kind::File)),
            },
            79..88 => {
                let whiteout = DeviceNumber { major: 0, minor: 0 };
                return (plain(EntryKind::Char(whiteout)), Shape::Whiteout);
            }
            _ if self.marks() => return self.marked(random, layer),
            _ => (file(random), Shape::Kind(Kind::File)),
        };
        if random.percent(20) {
            entry.mode = Some(Mode(*random.pick(MODES)));
        }
        if self.variant.ids && random.percent(30) {
            (entry.uid, entry.gid) = (Some(*random.pick(IDS)), Some(*random.pick(IDS)));
        }
        let holds = matches!(entry.kind, EntryKind::Dir | EntryKind::File(_));
        if holds && self.user_xattrs && random.percent(15) {
            entry.xattrs.insert("user.k".to_owned(), "v".to_owned());
        }
        (entry, shape)
    }

    /// Something that an overlay has marked, or somebody who prepared a layer.
    fn marked(&self, random: &mut Random, layer: &str) -> (Entry, Shape) {
        let (dir, file) = (EntryKind::Dir, EntryKind::File("marked\n".to_owned()));
        let empty = EntryKind::File(String::new());
        let elsewhere = *random.pick(&["/b", "/c/a", "b"]);
        // The other marks belong to options that a program is not asked for.
        let which = if self.by_program { 0 } else { random.below(12) };
        let (kind, marks, shape): (_, &[(&str, &str)], _) = match which {
            0..4 => (dir, &[("opaque", "y")], Shape::Opaque),
            4 => (dir, &[("opaque", "x")], Shape::Kind(Kind::Dir)),
            5..7 => (empty, &[("whiteout", "y")], Shape::Whiteout),
            7 => (file, &[("metacopy", "")], Shape::Kind(Kind::File)),
            8 => (file, &[("redirect", elsewhere)], Shape::Kind(Kind::File)),
            // In an upper layer its origin would be seen by its own name, too, which gives what nobody defines.
            9 if LOWERS.contains(&layer) => {
                (dir, &[("redirect", elsewhere)], Shape::Kind(Kind::Dir))
            }
            _ => (file, &[("metacopy", ""), ("redirect", elsewhere)], Shape::Kind(Kind::File)),
        };
        let mut entry = plain(kind);
        let prefix = self.prefix();
        let marks =
            marks.iter().map(|(name, value)| (format!("{prefix}{name}"), (*value).to_owned()));
        entry.xattrs.extend(marks);
        (entry, shape)
    }

    /// Learns what is seen of the layers of the world.
    fn lay(&mut self) {
        let upper = self.stack.upper.map(|(upper, _)| upper);
        for layer in self.stack.lowers.iter().rev().copied().chain(upper) {
            for (path, shape) in self.layers.get(layer).into_iter().flatten() {
                match shape {
                    Shape::Kind(kind) => self.scene.lay(path, Some(*kind), false),
                    Shape::Opaque => self.scene.lay(path, Some(Kind::Dir), true),
                    Shape::Whiteout => self.scene.lay(path, None, false),
                }
            }
        }
    }

    /// Mount options, which mostly go together.
    fn options(&self, random: &mut Random) -> Vec<String> {
        let mut options = Vec::new();
        let mut add = |random: &mut Random, percent, of: &[&str]| {
            if random.percent(percent) {
                options.push((*random.pick(of)).to_owned());
            }
        };
        if self.userxattr {
            add(random, 100, &["userxattr"]);
        }
        if self.by_program {
            add(random, 25, &["index=off", "redirect_dir=off", "metacopy=off", "xino=off"]);
            add(random, 6, &["volatile"]);
            return options;
        }
        let rare = if self.variant.root { 40 } else { 4 };
        add(random, 25, &["index=on", "index=on", "index=off"]);
        add(random, rare, &["redirect_dir=on", "redirect_dir=on", "redirect_dir=follow"]);
        add(random, 5, &["redirect_dir=nofollow", "redirect_dir=off"]);
        add(random, rare, &["metacopy=on", "metacopy=off"]);
        add(random, 15, &["xino=on", "xino=off", "xino=auto"]);
        add(random, 6, &["nfs_export=on"]);
        add(random, 6, &["volatile"]);
        options
    }

    fn on_files(&mut self, random: &mut Random) -> Operation {
        const XATTRS: &[&str] = &["user.k", "user.l"];
        const AS_ROOT: &[&str] = &["user.k", "user.l", "trusted.k"];
        let xattrs = if self.variant.root { AS_ROOT } else { XATTRS };
        let ids = if self.variant.ids { IDS } else { ONE_ID };
        files::operation(random, &self.scene, &Palette { ids, modes: MODES, xattrs })
    }

    fn unmount(&mut self, random: &mut Random) -> Operation {
        // An open file keeps it mounted.
        if self.scene.open_files() > 0 && random.percent(80) {
            return self.on_files(random);
        }
        // Two overlays of one upper layer at once give what nobody defines.
        let detach = self.scene.open_files() == 0 && random.percent(5);
        let flags = if detach { vec![UmountFlag::Detach] } else { Vec::new() };
        Operation::Umount(Umount { at: path(MERGED), flags })
    }

    fn remount(&mut self, random: &mut Random) -> Operation {
        let flags = if random.percent(40) { vec![MountFlag::Ro] } else { Vec::new() };
        let bind = random.percent(20);
        Operation::Remount(Remount { at: path(MERGED), bind, flags, options: Vec::new() })
    }

    /// Mounts what was mounted before, or its layers in another way.
    fn mount(&mut self, random: &mut Random) -> Operation {
        let mut stack = self.stack.clone();
        if self.refused > 0 {
            // Whatever was wrong with it: this is not.
            stack.data = None;
            stack.options.retain(|option| option == "userxattr");
            if self.refused > 1 {
                self.rotate(&mut stack);
            }
        } else if self.tried != Stack::default() {
            match random.below(10) {
                0..4 => {}
                4..7 => self.rotate(&mut stack),
                7 => stack.options = self.options(random),
                8 if stack.lowers.len() > 1 => drop(stack.lowers.remove(0)),
                8 => stack.data = None,
                _ => {
                    self.rotate(&mut stack);
                    if random.percent(50) {
                        stack.upper = None;
                    }
                }
            }
        }
        let binds = |option: &String| option != "userxattr" && option != "volatile";
        self.bound |= stack.options.iter().any(binds);
        self.tried = stack.clone();
        Operation::Overlay(Mount {
            at: path(MERGED),
            lower: stack.lowers.iter().map(|layer| path(layer)).collect(),
            data: stack.data.map(path).into_iter().collect(),
            upper: stack.upper.map(|(upper, _)| path(upper)),
            work: stack.upper.map(|(_, work)| path(work)),
            options: stack.options,
            flags: Vec::new(),
            api: if !self.by_program && random.percent(10) {
                MountApi::New
            } else {
                MountApi::Classic
            },
            by: None,
        })
    }

    /// The upper layer becomes the topmost lower one, and a new one comes upon it.
    fn rotate(&mut self, stack: &mut Stack) {
        let Some(next) = UPPERS[..self.most_uppers].get(self.uppers) else { return };
        if let Some((upper, _)) = stack.upper
            && !stack.lowers.contains(&upper)
        {
            stack.lowers.insert(0, upper);
        }
        stack.upper = Some(*next);
        self.uppers += 1;
    }

    /// Changes a layer while it is no part of a mounted overlay.
    fn in_a_layer(&mut self, random: &mut Random) -> Operation {
        let (upper, _) = UPPERS[random.below(self.uppers)];
        let lower = random.percent(40) && !self.bound;
        let layer = if lower { *random.pick(&self.stack.lowers) } else { upper };
        let mut scene = Scene::below(layer);
        for (path, shape) in self.layers.get(layer).into_iter().flatten() {
            if let Shape::Kind(kind) = shape {
                scene.lay(path, Some(*kind), false);
            }
        }
        let ids = if self.variant.ids { IDS } else { ONE_ID };
        files::operation(
            random,
            &scene,
            &Palette { ids, modes: MODES, xattrs: self.marks_of_layers() },
        )
    }

    fn marks_of_layers(&self) -> &'static [&'static str] {
        if self.variant.root {
            &["trusted.overlay.opaque", "user.k"]
        } else {
            &["user.overlay.opaque", "user.k"]
        }
    }
}

/// Whether something can stand at a path: nothing does, and above it are directories alone.
fn has_room(shapes: &[(String, Shape)], at: &str) -> bool {
    let is_dir = |shape: &Shape| matches!(shape, Shape::Kind(Kind::Dir) | Shape::Opaque);
    shapes.iter().all(|(path, shape)| {
        let above = at.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'));
        path != at && (!above || is_dir(shape))
    })
}
