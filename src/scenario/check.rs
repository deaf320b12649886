//! What cannot be said by types alone: actors that are there, fields that exclude each other, names
//! of open files, paths that leave the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::container::CONTAINER;
use super::decode::Errors;
use super::observe::Observe;
use super::operation::{Described, Family, MAX_READ, MountApi, Operation};
use super::scalar::{Name, StepPath};
use super::world::{Actor, MAX_ACTORS, World};
use super::yaml::Node;

/// What the steps so far have made known.
pub struct Seen {
    /// Actors that exist, with the names of their open files.
    pub actors: BTreeMap<Name, SeenActor>,
    pub labels: BTreeMap<Name, &'static Described>,
    /// Whether the world has a container.
    pub has_container: bool,
}

impl Seen {
    /// What is known before the first step.
    pub fn of(world: &World) -> Self {
        let seen = |actor: &Actor| {
            let moved = actor.cwd.is_some() || actor.root.is_some();
            SeenActor { moved, ..SeenActor::default() }
        };
        let actors = world.actors.iter().map(|(name, actor)| (name.clone(), seen(actor)));
        let has_container = world.container.is_some();
        Self { actors: actors.collect(), labels: BTreeMap::new(), has_container }
    }

    /// The process of the container takes steps from here on.
    pub fn begin_container(&mut self) {
        if let Ok(name) = CONTAINER.parse() {
            // To climb is how one would get out of it.
            self.actors.insert(name, SeenActor { moved: true, ..SeenActor::default() });
        }
    }

    /// What a step changes for those behind it.
    fn note(&mut self, operation: &Operation, actor: &Name) {
        match operation {
            Operation::Start(_) => self.begin_container(),
            Operation::Exit(_) => {
                if let Some(state) = self.actors.get_mut(actor) {
                    state.ended = true;
                }
            }
            Operation::Chdir(_)
            | Operation::Fchdir(_)
            | Operation::Chroot(_)
            | Operation::PivotRoot(_)
            | Operation::Setns(_) => {
                // From here on `..` may be meant: it is how one climbs out of a chroot.
                if let Some(state) = self.actors.get_mut(actor) {
                    state.moved = true;
                }
            }
            _ => {}
        }
    }
}

#[derive(Clone, Default)]
pub struct SeenActor {
    pub open: BTreeSet<Name>,
    /// Whether a step has ended its process.
    pub ended: bool,
    /// Whether its working directory may be another than the root of the sandbox.
    pub moved: bool,
}

/// Checks steps and observations against what is known so far.
#[derive(Clone, Copy)]
pub struct Checker<'a> {
    /// Where errors go.
    pub errors: &'a Errors,
}

impl Checker<'_> {
    pub fn actor(&self, node: &Node, known: &Seen) -> Option<Name> {
        let name: Name = self.errors.decode(node)?;
        self.is_there(&name, &node.span, known).then_some(name)
    }

    /// Whether an actor exists at this point; if not, that is an error.
    pub fn is_there(&self, name: &Name, span: &Range<usize>, known: &Seen) -> bool {
        match known.actors.get(name) {
            Some(actor) if actor.ended => {
                self.errors
                    .at(span, format!("the actor `{name}` has ended by a step `exit` before"));
                false
            }
            Some(_) => true,
            None => {
                let error = self.errors.at(span, format!("unknown actor `{name}`"));
                if known.actors.len() == 1 {
                    error.hint(
                        "describe it in `actors:` of the world, or leave `as` out for `main`",
                    );
                } else {
                    error.choices(name.as_str(), known.actors.keys().map(Name::as_str));
                }
                false
            }
        }
    }

    /// What cannot be said by types alone: fields that exclude each other, names of open files,
    /// paths that leave the sandbox.
    pub fn check_step(&self, operation: &Operation, body: &Node, actor: &Name, known: &mut Seen) {
        self.check_alternatives(operation, body);
        if operation.described().family == Family::Container {
            self.check_container(operation, body, actor, known);
        }
        self.check_values(operation, body);
        known.note(operation, actor);
        self.check_paths(body, actor, known);
        self.check_files(operation, body, actor, known);
        if let Some(node) = body.get("of") {
            self.actor(node, known);
        }
        if let (Operation::Fork(fork), Some(node)) = (operation, body.get("child")) {
            self.check_child(&fork.child, node, actor, known);
        }
    }

    /// Fields of which a step has exactly one.
    fn check_alternatives(&self, operation: &Operation, body: &Node) {
        let has = |key: &str| body.get(key).is_some();
        let exactly_one = |a: &str, b: &str| {
            if has(a) == has(b) {
                let both = if has(a) { "not both" } else { "one of them" };
                let word = operation.word();
                self.errors.at(&body.span, format!("`{word}` needs `{a}` or `{b}`, {both}"));
            }
        };
        match operation {
            Operation::Read(_)
            | Operation::Write(_)
            | Operation::Truncate(_)
            | Operation::Chmod(_)
            | Operation::Chown(_)
            | Operation::Utimes(_)
            | Operation::Stat(_)
            | Operation::List(_)
            | Operation::Getxattr(_)
            | Operation::Removexattr(_)
            | Operation::Listxattr(_) => exactly_one("path", "fd"),
            Operation::Setxattr(_) => {
                exactly_one("path", "fd");
                exactly_one("value", "hex");
            }
            Operation::MoveMount(_) => exactly_one("mount", "from"),
            Operation::MountSetattr(_) => exactly_one("at", "mount"),
            Operation::Setns(_) => {
                exactly_one("of", "fd");
                if has("of") && !has("namespace") {
                    self.errors
                        .at(&body.span, "`namespace` is missing")
                        .label("needs `namespace:`");
                }
            }
            Operation::Fsconfig(_) => exactly_one("key", "command"),
            _ => {}
        }
    }

    /// What a container runtime is told takes a container, and is told by `main`.
    fn check_container(&self, operation: &Operation, body: &Node, actor: &Name, known: &Seen) {
        let word = operation.word();
        if !known.has_container {
            self.errors
                .at(&body.span, format!("`{word}`, and the world has no container"))
                .hint("describe it in `container:` of the world");
        }
        if actor.as_str() != "main" {
            self.errors
                .at(&body.span, format!("`{word}` is taken by `main`"))
                .hint("leave `as` out");
        }
    }

    /// Values that are wrong beside the others of the step.
    fn check_values(&self, operation: &Operation, body: &Node) {
        let errors = self.errors;
        match operation {
            Operation::Overlay(overlay) if overlay.api == MountApi::New => {
                let lost = overlay.flags.iter().zip(body.get("flags").map_or(&[][..], Node::items));
                for (_, node) in lost.filter(|(flag, _)| flag.attribute().is_none()) {
                    errors
                        .at(&node.span, format!("the new mount API has no {}", node.describe()))
                        .hint("attributes of a mount are ro, nosuid, nodev, noexec, noatime, nodiratime, relatime, strictatime, nosymfollow");
                }
            }
            Operation::Fsconfig(config) => {
                let given =
                    [config.command.is_some(), config.value.is_some(), config.value_fd.is_some()];
                if given.into_iter().filter(|given| *given).count() > 1 {
                    errors.at(
                        &body.span,
                        "`fsconfig` takes one of `value`, `value_fd` and `command`",
                    );
                }
            }
            Operation::Read(read) => {
                if let Some(node) = body.get("length")
                    && read.length.is_some_and(|length| length > MAX_READ)
                {
                    errors
                        .at(&node.span, format!("one step reads at most {MAX_READ} bytes"))
                        .hint("read a part of the file, by `offset` and `length`");
                }
            }
            Operation::Setxattr(set) => {
                let digits = |h: &String| {
                    h.len().is_multiple_of(2) && h.bytes().all(|b| b.is_ascii_hexdigit())
                };
                if let (Some(hex), Some(node)) = (&set.hex, body.get("hex"))
                    && !digits(hex)
                {
                    errors.at(&node.span, "expected pairs of hexadecimal digits");
                }
            }
            Operation::Mknod(mknod) => {
                use super::operation::NodeType::{Block, Char};
                let device = matches!(mknod.kind, Char | Block);
                if device != mknod.rdev.is_some() {
                    let text =
                        if device { "a device needs `rdev`" } else { "only a device has `rdev`" };
                    errors.at(&body.span, text).hint("as in `rdev: \"0:0\"`");
                }
            }
            _ => {}
        }
    }

    /// An actor that is forked has a name of its own, and begins with what its parent has.
    fn check_child(&self, child: &Name, node: &Node, actor: &Name, known: &mut Seen) {
        if known.actors.contains_key(child) {
            self.errors.at(&node.span, format!("there is an actor `{child}` already"));
        } else if known.actors.len() >= MAX_ACTORS {
            self.errors.at(&node.span, format!("more than {MAX_ACTORS} actors"));
        } else if let Some(parent) = known.actors.get(actor).cloned() {
            known.actors.insert(child.clone(), parent);
        }
    }

    fn check_paths(&self, body: &Node, actor: &Name, known: &Seen) {
        const PATHS: &[&str] =
            &["path", "from", "to", "at", "new_root", "put_old", "upper", "work", "file", "device"];
        if known.actors.get(actor).is_some_and(|state| state.moved) || body.get("dirfd").is_some() {
            return;
        }
        for (key, value) in body.entries() {
            let word = key.text().unwrap_or_default();
            let single = PATHS.contains(&word).then_some(std::slice::from_ref(value));
            let several = ["lower", "data"].contains(&word).then(|| value.items());
            for node in single.or(several).unwrap_or(&[]) {
                let climbs = node
                    .text()
                    .and_then(|t| t.parse::<StepPath>().ok())
                    .is_some_and(|p| p.climbs_out());
                if climbs {
                    self.errors
                        .at(&node.span, format!("{} leaves the sandbox by `..`", node.describe()))
                        .hint("the actor stands at the root of the sandbox; to climb is only meant after chroot, chdir or setns");
                }
            }
        }
    }

    fn check_files(&self, operation: &Operation, body: &Node, actor: &Name, known: &mut Seen) {
        let defines: &[&str] = match operation {
            Operation::Open(_) | Operation::Fsopen(_) | Operation::OpenNamespace(_) => &["fd"],
            Operation::Fsmount(_) | Operation::OpenTree(_) => &["mount"],
            _ => &[],
        };
        let Some(state) = known.actors.get_mut(actor) else { return };
        for key in ["fd", "dirfd", "value_fd", "mount"] {
            let Some(node) = body.get(key) else { continue };
            let Some(name) = node.text().and_then(|text| text.parse::<Name>().ok()) else {
                continue;
            };
            if defines.contains(&key) {
                continue;
            }
            if !state.open.contains(&name) {
                let what = if key == "mount" { "mount" } else { "open file" };
                self.errors
                    .at(&node.span, format!("`{actor}` has no {what} `{name}`"))
                    .choices(name.as_str(), state.open.iter().map(Name::as_str));
            }
            if matches!(operation, Operation::Close(_)) {
                state.open.remove(&name);
            }
        }
        for key in defines {
            if let Some(name) = body.get(key).and_then(|node| node.text()?.parse().ok()) {
                state.open.insert(name);
            }
        }
    }

    pub fn check_observe(&self, item: &Observe, node: &Node, known: &Seen) {
        let Some((_, body)) = node.entries().first() else { return };
        let names: Vec<Name> = match item {
            Observe::Tree(tree) | Observe::Layer(tree) => tree.actor.iter().cloned().collect(),
            Observe::Mountinfo(m) => m.actors.names().to_vec(),
            Observe::IdMaps(a)
            | Observe::Credentials(a)
            | Observe::Namespaces(a)
            | Observe::Process(a) => a.actors.names().to_vec(),
        };
        for name in names {
            let span = body.get("as").map_or(&body.span, |n| &n.span);
            self.is_there(&name, span, known);
        }
    }
}
