//! Every rename in an overlay: what is moved, what stands in its new place, the directories that both are in,
//! the flags, and the options of the overlay.

use std::collections::BTreeMap;
use std::fmt;

use super::is_refused;
use crate::probe::Environment;
use crate::scenario::DEFAULT_TIMEOUT;
use crate::scenario::observe::{Observe, ObserveTree};
use crate::scenario::operation::{List, MountApi, Operation, Overlay, Rename, RenameFlag, Umount};
use crate::scenario::plan::{Needs, Plan, PlanStep};
use crate::scenario::scalar::{DeviceNumber, WorldPath};
use crate::scenario::world::{Actor, Entry, EntryKind, Setup, World};
use crate::search::family::{Means, main, path, place};

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nothing,
    Whiteout,
    UpperFile,
    LowerFile,
    CopiedUp,
    Symlink,
    Socket,
    EmptyUpperDir,
    UpperDir,
    EmptyLowerDir,
    LowerDir,
    MergedDir,
    OpaqueDir,
    /// The same name: only what is moved onto.
    Itself,
    /// A further name of the file that is moved: only what is moved onto.
    Link,
}

/// What is moved.
const SOURCES: &[Kind] = &[
    Kind::Nothing,
    Kind::Whiteout,
    Kind::UpperFile,
    Kind::LowerFile,
    Kind::CopiedUp,
    Kind::Symlink,
    Kind::Socket,
    Kind::EmptyUpperDir,
    Kind::UpperDir,
    Kind::EmptyLowerDir,
    Kind::LowerDir,
    Kind::MergedDir,
    Kind::OpaqueDir,
];
/// What it is moved onto, beside those.
const TARGETS: &[Kind] = &[Kind::Itself, Kind::Link];

/// A directory of the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    Merged,
    Upper,
    Lower,
    Opaque,
}

/// Where the new name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// In the directory of the old one.
    Same,
    /// In another directory.
    Other(Parent),
    /// In what is moved itself.
    Inside,
}

/// The directories of the old and the new name.
const PARENTS: &[(Parent, To)] = &[
    (Parent::Merged, To::Same),
    (Parent::Upper, To::Same),
    (Parent::Lower, To::Same),
    (Parent::Opaque, To::Same),
    (Parent::Merged, To::Other(Parent::Merged)),
    (Parent::Merged, To::Other(Parent::Upper)),
    (Parent::Merged, To::Other(Parent::Lower)),
    (Parent::Merged, To::Other(Parent::Opaque)),
    (Parent::Upper, To::Other(Parent::Merged)),
    (Parent::Lower, To::Other(Parent::Merged)),
    (Parent::Opaque, To::Other(Parent::Merged)),
    (Parent::Merged, To::Inside),
];
const FLAGS: &[&[RenameFlag]] = &[
    &[],
    &[RenameFlag::Noreplace],
    &[RenameFlag::Exchange],
    &[RenameFlag::Whiteout],
    &[RenameFlag::Whiteout, RenameFlag::Noreplace],
];
/// Options of an overlay, each on, off or otherwise.
const OPTIONS: &[&[&str]] = &[
    &["redirect_dir=off", "redirect_dir=on", "redirect_dir=nofollow"],
    &["index=off", "index=on"],
    &["metacopy=off", "metacopy=on"],
];

/// One rename, but for the options.
#[derive(Clone, Copy, Debug)]
struct Combination {
    source: Kind,
    target: Kind,
    parents: (Parent, To),
    flags: &'static [RenameFlag],
}

/// The options of an overlay, and how it is mounted.
#[derive(Clone, Debug)]
struct Options {
    options: Vec<String>,
    /// As real root.
    root: bool,
    /// What the marks of its layers begin with; `None` where nobody can set them.
    prefix: Option<&'static str>,
    /// The model says that it is not mounted in this way.
    refused: bool,
}

/// All renames that a kernel can be asked.
#[derive(Clone, Debug)]
pub struct Renames {
    sets: Vec<Options>,
    all: Vec<Combination>,
    /// Those without opaque directories, which somebody has to have marked.
    unmarked: Vec<Combination>,
}

impl Kind {
    /// Whether it can be in a directory.
    fn fits(self, parent: Parent) -> bool {
        match parent {
            Parent::Merged => true,
            Parent::Upper | Parent::Opaque => matches!(
                self,
                Self::Nothing
                    | Self::UpperFile
                    | Self::Socket
                    | Self::EmptyUpperDir
                    | Self::UpperDir
                    | Self::Itself
                    | Self::Link
            ),
            Parent::Lower => matches!(
                self,
                Self::Nothing
                    | Self::LowerFile
                    | Self::Symlink
                    | Self::EmptyLowerDir
                    | Self::LowerDir
                    | Self::Itself
                    | Self::Link
            ),
        }
    }

    fn is_directory(self) -> bool {
        matches!(
            self,
            Self::EmptyUpperDir
                | Self::UpperDir
                | Self::EmptyLowerDir
                | Self::LowerDir
                | Self::MergedDir
                | Self::OpaqueDir
        )
    }
}

impl Combination {
    /// Whether there is such a thing.
    fn is_possible(&self) -> bool {
        let (from, to) = self.parents;
        let target = match to {
            To::Same => self.target.fits(from),
            To::Other(parent) => self.target.fits(parent) && self.target != Kind::Itself,
            To::Inside => self.target == Kind::Nothing && self.source.is_directory(),
        };
        // Both names of a file are in one layer.
        let linked = match (self.target, to) {
            (Kind::Link, To::Other(to)) => match self.source {
                Kind::UpperFile => Kind::UpperFile.fits(to),
                Kind::LowerFile => Kind::LowerFile.fits(to),
                _ => false,
            },
            (Kind::Link, _) => matches!(self.source, Kind::UpperFile | Kind::LowerFile),
            _ => true,
        };
        self.source.fits(from) && target && linked
    }

    fn has_marks(&self) -> bool {
        let (from, to) = self.parents;
        [self.source, self.target].contains(&Kind::OpaqueDir)
            || from == Parent::Opaque
            || to == To::Other(Parent::Opaque)
    }

    fn source_path(&self) -> String {
        "p/s".to_owned()
    }

    fn target_path(&self) -> String {
        match (self.target, self.parents.1) {
            (Kind::Itself, _) => self.source_path(),
            (_, To::Same) => "p/t".to_owned(),
            (_, To::Other(_)) => "q/t".to_owned(),
            (_, To::Inside) => "p/s/t".to_owned(),
        }
    }
}

impl Renames {
    /// Those that a kernel can be asked.
    pub(super) fn of(environment: &Environment) -> Self {
        let means = Means::of(environment);
        let mut renames = Self::new(means.overlay, means.root, means.user_xattrs);
        let profile = environment.profile();
        for index in 0..renames.sets.len() {
            let refused = renames.all.first().is_some_and(|first| {
                is_refused(&renames.asks(first, &renames.sets[index], 0), &profile)
            });
            renames.sets[index].refused = refused;
        }
        renames
    }

    fn new(rootless: bool, root: bool, user_xattrs: bool) -> Self {
        let mut sets = Vec::new();
        for as_root in [root.then_some(true), rootless.then_some(false)].into_iter().flatten() {
            for userxattr in [false, true] {
                let prefix = match (userxattr, as_root) {
                    (true, _) => user_xattrs.then_some("user.overlay."),
                    (false, true) => Some("trusted.overlay."),
                    (false, false) => None,
                };
                let first = userxattr.then(|| "userxattr".to_owned());
                for options in choices(OPTIONS) {
                    let options = first.iter().cloned().chain(options).collect();
                    sets.push(Options { options, root: as_root, prefix, refused: false });
                }
            }
        }
        let mut all = Vec::new();
        for &source in SOURCES {
            for &target in SOURCES.iter().chain(TARGETS) {
                for &parents in PARENTS {
                    let flags = FLAGS.iter();
                    let of = |&flags| Combination { source, target, parents, flags };
                    all.extend(flags.map(of).filter(Combination::is_possible));
                }
            }
        }
        let unmarked = all.iter().copied().filter(|one| !one.has_marks()).collect();
        Self { sets, all, unmarked }
    }

    fn combinations(&self, options: &Options) -> &[Combination] {
        match (options.refused, options.prefix) {
            // That it is refused is asked, and nothing more.
            (true, _) => &self.unmarked[..1],
            (false, Some(_)) => &self.all,
            (false, None) => &self.unmarked,
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.sets.iter().map(|options| self.combinations(options).len() as u64).sum()
    }

    pub(super) fn plan(&self, number: u64) -> Option<Plan> {
        let mut left = usize::try_from(number).ok()?;
        for options in &self.sets {
            let combinations = self.combinations(options);
            match combinations.get(left) {
                Some(one) => return Some(self.asks(one, options, number)),
                None => left -= combinations.len(),
            }
        }
        None
    }

    fn asks(&self, one: &Combination, options: &Options, number: u64) -> Plan {
        let world = world(one, options);
        let at = |inside: &str| path(&format!("m/{inside}"));
        let (from, to) = (at(&one.source_path()), at(&one.target_path()));
        let list = |inside: &str| Operation::List(List { path: Some(at(inside)), fd: None });
        let new = if matches!(one.parents.1, To::Other(_)) { "q" } else { "p" };
        let operations = [
            Operation::Rename(Rename { from, to, flags: one.flags.to_vec() }),
            list("p"),
            list(new),
            Operation::Umount(Umount { at: path("m"), flags: Vec::new() }),
            overlay(options),
        ];
        let steps = operations.into_iter().zip(1..);
        let of = |(operation, line)| PlanStep { actor: main(), operation, line };
        let tree = |at: &str| ObserveTree { at: place(at), actor: None, fields: Vec::new() };
        Plan {
            id: format!("rename-{number}"),
            needs: Needs { privileged: options.root, ..Needs::default() },
            world,
            steps: steps.map(of).collect(),
            observe: vec![Observe::Tree(tree("m")), Observe::Layer(tree("u"))],
            timeout_ms: 1000 * DEFAULT_TIMEOUT,
            keep: false,
            trace: false,
            runtime: None,
            overlay: None,
        }
    }
}

/// Every way to take one of each.
fn choices(of: &[&[&str]]) -> Vec<Vec<String>> {
    let longer = |chosen: Vec<Vec<String>>, one_of: &&[&str]| {
        let with = |chosen: Vec<String>| {
            one_of.iter().map(move |one| {
                chosen.iter().cloned().chain([(*one).to_owned()]).collect::<Vec<_>>()
            })
        };
        chosen.into_iter().flat_map(with).collect()
    };
    of.iter().fold(vec![Vec::new()], longer)
}

fn overlay(options: &Options) -> Operation {
    Operation::Overlay(Overlay {
        at: path("m"),
        lower: vec![path("l")],
        data: Vec::new(),
        upper: Some(path("u")),
        work: Some(path("w")),
        options: options.options.clone(),
        flags: Vec::new(),
        api: MountApi::Classic,
        by: None,
    })
}

fn world(one: &Combination, options: &Options) -> World {
    let mut layers = Layers { tree: BTreeMap::new(), prefix: options.prefix.unwrap_or_default() };
    for directory in ["l", "u", "w", "m"] {
        layers.add(directory, EntryKind::Dir);
    }
    let (from, to) = one.parents;
    layers.parent("p", from);
    if let To::Other(parent) = to {
        layers.parent("q", parent);
    }
    let source = one.source_path();
    layers.entry(&source, one.source);
    let target = one.target_path();
    match one.target {
        Kind::Itself => {}
        Kind::Link => {
            let layer = if one.source == Kind::UpperFile { "u" } else { "l" };
            let link = EntryKind::Hardlink(place(&format!("{layer}/{source}")));
            layers.add(&format!("{layer}/{target}"), link);
        }
        kind => layers.entry(&target, kind),
    }
    let mount = Setup::Mount { line: 0, operation: overlay(options) };
    let mut world = World { setup: vec![Setup::Tree(layers.tree), mount], ..World::default() };
    world.actors.insert(main(), Actor::default());
    world
}

/// The layers on their way.
struct Layers {
    tree: BTreeMap<WorldPath, Entry>,
    prefix: &'static str,
}

impl Layers {
    fn add(&mut self, at: &str, kind: EntryKind) {
        let entry = Entry { kind, mode: None, uid: None, gid: None, xattrs: BTreeMap::new() };
        self.tree.insert(place(at), entry);
    }

    fn file(&mut self, at: &str) {
        self.add(at, EntryKind::File(format!("{at}\n")));
    }

    fn opaque(&mut self, at: &str) {
        self.add(at, EntryKind::Dir);
        if let Some(entry) = self.tree.get_mut(&place(at)) {
            entry.xattrs.insert(format!("{}opaque", self.prefix), "y".to_owned());
        }
    }

    fn parent(&mut self, name: &str, parent: Parent) {
        let (lower, upper) = (format!("l/{name}"), format!("u/{name}"));
        match parent {
            Parent::Merged => {
                self.add(&lower, EntryKind::Dir);
                self.add(&upper, EntryKind::Dir);
            }
            Parent::Upper => self.add(&upper, EntryKind::Dir),
            Parent::Lower => self.add(&lower, EntryKind::Dir),
            Parent::Opaque => {
                self.file(&format!("{lower}/hidden"));
                self.add(&lower, EntryKind::Dir);
                self.opaque(&upper);
            }
        }
    }

    fn entry(&mut self, at: &str, kind: Kind) {
        let (lower, upper) = (format!("l/{at}"), format!("u/{at}"));
        let whiteout = EntryKind::Char(DeviceNumber { major: 0, minor: 0 });
        match kind {
            Kind::Nothing | Kind::Itself | Kind::Link => {}
            Kind::Whiteout => {
                self.file(&lower);
                self.add(&upper, whiteout);
            }
            Kind::UpperFile => self.file(&upper),
            Kind::LowerFile => self.file(&lower),
            Kind::CopiedUp => {
                self.file(&lower);
                self.file(&upper);
            }
            Kind::Symlink => self.add(&lower, EntryKind::Symlink("x".to_owned())),
            Kind::Socket => self.add(&upper, EntryKind::Socket),
            Kind::EmptyUpperDir => self.add(&upper, EntryKind::Dir),
            Kind::UpperDir => self.full(&upper),
            Kind::EmptyLowerDir => self.add(&lower, EntryKind::Dir),
            Kind::LowerDir => self.full(&lower),
            Kind::MergedDir => {
                self.full(&lower);
                self.add(&upper, EntryKind::Dir);
                self.file(&format!("{upper}/y"));
            }
            Kind::OpaqueDir => {
                self.full(&lower);
                self.opaque(&upper);
                self.file(&format!("{upper}/y"));
            }
        }
    }

    /// A directory with a file in it.
    fn full(&mut self, at: &str) {
        self.add(at, EntryKind::Dir);
        self.file(&format!("{at}/x"));
    }
}

impl fmt::Display for Renames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (list, marked) in [(&self.all, true), (&self.unmarked, false)] {
            let asked = |options: &&Options| !options.refused && options.prefix.is_some() == marked;
            let sets = self.sets.iter().filter(asked).count();
            let count = list.len();
            let without = if marked { "" } else { " without opaque directories" };
            if sets > 0 {
                writeln!(
                    f,
                    "{count} renames{without} x {sets} sets of options: {} trials",
                    count * sets
                )?;
            }
        }
        let refused: Vec<_> = self.sets.iter().filter(|options| options.refused).collect();
        if !refused.is_empty() {
            let count = refused.len();
            writeln!(f, "{count} sets of options that this kernel refuses: {count} trials")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rename_has_one_number() {
        let renames = Renames::new(true, true, true);
        // As real root and without, with userxattr and without, 3 x 2 x 2 options.
        assert_eq!(renames.sets.len(), 2 * 2 * 12);
        let count = |set: usize| renames.combinations(&renames.sets[set]).len() as u64;
        let mut seen = BTreeSet::new();
        for number in 0..count(0) {
            let mut plan = serde_json::to_value(renames.plan(number).unwrap()).unwrap();
            plan.as_object_mut().unwrap().remove("id");
            assert!(seen.insert(plan.to_string()), "{number}");
        }
        assert!(renames.plan(renames.total() - 1).is_some());
        assert!(renames.plan(renames.total()).is_none());
    }

    #[test]
    fn every_kind_is_moved_and_moved_onto() {
        let renames = Renames::new(true, true, true);
        for kind in SOURCES {
            assert!(renames.all.iter().any(|one| one.source == *kind), "{kind:?}");
        }
        for kind in SOURCES.iter().chain(TARGETS) {
            assert!(renames.all.iter().any(|one| one.target == *kind), "{kind:?}");
        }
        for parents in PARENTS {
            assert!(renames.all.iter().any(|one| one.parents == *parents), "{parents:?}");
        }
    }
}
