//! What a generator knows of a trial that is on its way: the names that are there, learned from what the
//! model says of each step. It is a guide to steps that do something and nothing rests on it: whatever the
//! scene has wrong is asked all the same.

use std::collections::BTreeMap;

use super::random::Random;
use crate::scenario::operation::{OpenFlag, Operation, RenameFlag};
use crate::transcript::Outcome;

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A pipe, a socket or a device.
    Node,
}

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// What it is.
    pub kind: Kind,
    /// Whether it can be written to.
    pub writable: bool,
}

/// The names below one directory.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The directory, as paths of steps begin.
    top: String,
    /// Whose turn it is.
    actor: String,
    /// What is below it.
    entries: BTreeMap<String, Kind>,
    /// Open files by whoever opened them and name.
    open: BTreeMap<(String, String), Open>,
}

/// The names that things are given: so few that they meet.
const NAMES: &[&str] = &["a", "b", "c", "d", "e"];
/// How many names below each other are made.
const DEPTH: usize = 3;

/// A path of few names, whatever is there.
pub fn any_path(random: &mut Random) -> String {
    let depth = random.weighted(&[(5, 1), (4, 2), (2, DEPTH)]);
    let names: Vec<_> = (0..depth).map(|_| *random.pick(NAMES)).collect();
    names.join("/")
}

/// Whether a path is another one or below it.
fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Scene {
    /// Nothing below a directory.
    pub fn below(top: &str) -> Self {
        Self { top: top.to_owned(), ..Self::default() }
    }

    /// Looks at the same with the eyes of an actor, who sees it below this directory.
    pub fn look(&mut self, actor: &str, top: &str) {
        actor.clone_into(&mut self.actor);
        top.clone_into(&mut self.top);
    }

    /// Adds a layer upon what is there: `None` hides a name, and an opaque directory what is below its name.
    pub fn lay(&mut self, path: &str, kind: Option<Kind>, opaque: bool) {
        if opaque || kind != Some(Kind::Dir) || self.kind(path) != Some(Kind::Dir) {
            self.remove(path);
        }
        if let Some(kind) = kind {
            self.entries.insert(path.to_owned(), kind);
        }
    }

    /// What is under a name.
    pub fn kind(&self, path: &str) -> Option<Kind> {
        self.entries.get(path).copied()
    }

    fn remove(&mut self, path: &str) {
        self.entries.retain(|other, _| !is_below(other, path));
    }

    /// A path as a step names it.
    pub fn at(&self, path: &str) -> String {
        if path.is_empty() { self.top.clone() } else { format!("{}/{path}", self.top) }
    }

    /// A name of one of these kinds, if there is one.
    pub fn existing(&self, random: &mut Random, kinds: &[Kind]) -> Option<String> {
        let of_kind = || self.entries.iter().filter(|(_, kind)| kinds.contains(kind));
        let count = of_kind().count();
        if count == 0 {
            return None;
        }
        of_kind().nth(random.below(count)).map(|(path, _)| path.clone())
    }

    /// A directory that nothing is in, if there is one.
    pub fn empty_directory(&self, random: &mut Random) -> Option<String> {
        let is_empty = |path: &str| {
            let next = self.entries.range(format!("{path}/")..).next();
            !next.is_some_and(|(other, _)| is_below(other, path))
        };
        let dirs = self.entries.iter().filter(|(path, kind)| **kind == Kind::Dir && is_empty(path));
        let dirs: Vec<_> = dirs.collect();
        random.pick_any(&dirs).map(|(path, _)| (*path).clone())
    }

    /// A name that is free, in a directory that is there.
    pub fn fresh(&self, random: &mut Random) -> String {
        for _ in 0..4 {
            let directory = match random.below(3) {
                0 => String::new(),
                _ => self.existing(random, &[Kind::Dir]).unwrap_or_default(),
            };
            let name = random.pick(NAMES);
            let path = if directory.is_empty() {
                (*name).to_owned()
            } else {
                format!("{directory}/{name}")
            };
            if !self.entries.contains_key(&path) && path.split('/').count() <= DEPTH {
                return path;
            }
        }
        any_path(random)
    }

    /// An open file that fits, if there is one.
    pub fn an_open(&self, random: &mut Random, fits: impl Fn(&Open) -> bool) -> Option<String> {
        let own = self.open.iter().filter(|((actor, _), _)| *actor == self.actor);
        let fitting: Vec<_> = own.filter(|(_, open)| fits(open)).collect();
        random.pick_any(&fitting).map(|((_, name), _)| name.clone())
    }

    /// How many files are open.
    pub fn open_files(&self) -> usize {
        self.open.len()
    }

    fn inside<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(self.top.as_str())?.strip_prefix('/')
    }

    /// Learns what became of a step.
    pub fn learn(&mut self, operation: &Operation, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Ok(_)) {
            return;
        }
        match operation {
            Operation::Mkdir(step) => self.add(step.path.as_str(), Kind::Dir),
            Operation::Symlink(step) => self.add(step.path.as_str(), Kind::Symlink),
            Operation::Mknod(step) => {
                use crate::scenario::operation::NodeType;
                let is_file = step.kind == NodeType::File;
                self.add(step.path.as_str(), if is_file { Kind::File } else { Kind::Node });
            }
            Operation::Write(step) => {
                step.path.iter().for_each(|path| self.add(path.as_str(), Kind::File));
            }
            Operation::Link(step) => {
                let kind = self.inside(step.from.as_str()).and_then(|path| self.kind(path));
                self.add(step.to.as_str(), kind.unwrap_or(Kind::File));
            }
            Operation::Unlink(step) => self.take_away(step.path.as_str()),
            Operation::Rmdir(step) => self.take_away(step.path.as_str()),
            Operation::Rename(step) => self.rename(
                step.from.as_str(),
                step.to.as_str(),
                step.flags.contains(&RenameFlag::Exchange),
            ),
            Operation::Open(step) => self.opened(step),
            Operation::Close(step) => {
                self.open.remove(&(self.actor.clone(), step.fd.to_string()));
            }
            _ => {}
        }
    }

    fn add(&mut self, path: &str, kind: Kind) {
        if let Some(path) = self.inside(path) {
            // A write to a name that was there does not change what it is.
            self.entries.entry(path.to_owned()).or_insert(kind);
        }
    }

    fn take_away(&mut self, path: &str) {
        if let Some(path) = self.inside(path) {
            self.remove(path);
        }
    }

    fn rename(&mut self, from: &str, to: &str, exchange: bool) {
        let (Some(from), Some(to)) = (self.inside(from), self.inside(to)) else { return };
        if from == to {
            return;
        }
        let moved = self.cut(from);
        let other = self.cut(to);
        self.paste(moved, from, to);
        if exchange {
            self.paste(other, to, from);
        }
    }

    fn cut(&mut self, top: &str) -> Vec<(String, Kind)> {
        let all = self.entries.iter().filter(|(path, _)| is_below(path, top));
        let all: Vec<_> = all.map(|(path, kind)| (path.clone(), *kind)).collect();
        self.remove(top);
        all
    }

    fn paste(&mut self, entries: Vec<(String, Kind)>, from: &str, to: &str) {
        for (path, kind) in entries {
            self.entries.insert(format!("{to}{}", &path[from.len()..]), kind);
        }
    }

    fn opened(&mut self, step: &crate::scenario::operation::Open) {
        let has = |flag| step.flags.contains(&flag);
        let kind = self.inside(step.path.as_str()).and_then(|path| self.kind(path));
        if has(OpenFlag::Creat) {
            self.add(step.path.as_str(), Kind::File);
        }
        let Some(fd) = &step.fd else { return };
        let kind = if has(OpenFlag::Tmpfile) { Kind::File } else { kind.unwrap_or(Kind::File) };
        let writable = (has(OpenFlag::Wronly) || has(OpenFlag::Rdwr)) && !has(OpenFlag::Path);
        self.open.insert((self.actor.clone(), fd.to_string()), Open { kind, writable });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_hide_what_is_below_them() {
        let mut scene = Scene::below("m");
        scene.lay("a", Some(Kind::Dir), false);
        scene.lay("a/b", Some(Kind::File), false);
        scene.lay("a", Some(Kind::Dir), false);
        assert_eq!(scene.kind("a/b"), Some(Kind::File));
        scene.lay("a", Some(Kind::Dir), true);
        assert_eq!((scene.kind("a"), scene.kind("a/b")), (Some(Kind::Dir), None));
        scene.lay("a", None, false);
        assert_eq!(scene.kind("a"), None);
    }

    #[test]
    fn an_exchange_moves_what_is_below_both_names() {
        let mut scene = Scene::below("m");
        for (path, kind) in
            [("a", Kind::Dir), ("a/x", Kind::File), ("b", Kind::Dir), ("ab", Kind::File)]
        {
            scene.lay(path, Some(kind), false);
        }
        scene.rename("m/a", "m/b", true);
        assert_eq!((scene.kind("b/x"), scene.kind("a/x")), (Some(Kind::File), None));
        assert_eq!((scene.kind("a"), scene.kind("ab")), (Some(Kind::Dir), Some(Kind::File)));
    }
}
