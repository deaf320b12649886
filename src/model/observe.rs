//! What is recorded after the steps.

use std::rc::Rc;

use compact_str::format_compact;

use super::halt::{Halt, Res};
use super::machine::{FileType, Kind, Machine, Place, ProcId};
use super::rules::files as rules;
use super::steps::files::{device, inode, time};
use super::steps::{Failure, Named};
use super::vfs::{Attr, How, Walk};
use crate::scenario::observe::{Observe, ObserveTree, TreeField};
use crate::scenario::plan::Plan;
use crate::scenario::scalar::{Errno, Name};
use crate::scenario::world::LIBRARY_DIRECTORIES;
use crate::transcript::{Field, Observation, Outcome, Value};

/// Most entries of one tree.
const MAX_ENTRIES: usize = 20_000;
/// Deepest tree.
const MAX_DEPTH: usize = 64;
/// How much of a file is read.
const MAX_CONTENT: usize = 32 << 20;

impl Machine<'_> {
    /// The observations that one item of a plan comes to.
    pub fn observe(&mut self, plan: &Plan, item: &Observe) -> Vec<Observation> {
        let mut observations = self.look(plan, item);
        if let Some(why) = self.lost {
            let unknown = || Err(Outcome::Abstained(why.to_owned()));
            observations.iter_mut().for_each(|observation| observation.found = unknown());
        }
        observations
    }

    fn look(&mut self, plan: &Plan, item: &Observe) -> Vec<Observation> {
        match item {
            Observe::Tree(tree) => vec![self.observe_tree(plan, tree, false)],
            Observe::Layer(tree) => vec![self.observe_tree(plan, tree, true)],
            Observe::Mountinfo(of) => self.each(of.actors.names(), |machine, who, name| {
                machine.observe_mountinfo(of, who, name)
            }),
            Observe::IdMaps(of) => self.each(of.actors.names(), Self::observe_id_maps),
            Observe::Credentials(of) => self.each(of.actors.names(), |machine, who, name| {
                machine.observe_credentials(plan, who, name)
            }),
            Observe::Namespaces(of) => self.each(of.actors.names(), Self::observe_namespaces),
            Observe::Process(of) => self.each(of.actors.names(), Self::observe_process),
        }
    }

    fn each(
        &mut self,
        names: &[Name],
        mut observe: impl FnMut(&mut Self, ProcId, &str) -> Observation,
    ) -> Vec<Observation> {
        let mut made = Vec::with_capacity(names.len());
        for name in names {
            if let Some(&who) = self.actors.get(name) {
                made.push(observe(self, who, name.as_str()));
            }
        }
        made
    }

    fn observe_tree(&mut self, plan: &Plan, item: &ObserveTree, layer: bool) -> Observation {
        let kind = if layer { "layer" } else { "tree" };
        let by = item.actor.as_ref().map_or_else(String::new, |name| format!(" as {name}"));
        let title = format!("{kind} at {}{by}", item.at);
        let actor = item.actor.as_ref().and_then(|name| self.actors.get(name)).copied();
        // The sandbox looks from its own root, whatever became of the root of its process.
        let (who, base) = match actor {
            Some(who) => (who, None),
            None => (self.processes.first(), Some(self.sandbox_root)),
        };
        let fields = if item.fields.is_empty() { TreeField::DEFAULT } else { &item.fields };
        let mut tree = Tree { machine: self, who, fields, layer, plan, entries: Vec::new() };
        let found = tree.start(base, item.at.as_str());
        let entries = tree.entries;
        if let Err(Failure { halt: Halt::Lost(why), .. }) = found {
            self.lost = Some(why);
        }
        Observation { title, found: found.map(|()| Value::List(entries)).map_err(Failure::outcome) }
    }
}

/// A tree that is being recorded.
struct Tree<'t, 'p> {
    machine: &'t mut Machine<'p>,
    who: ProcId,
    fields: &'t [TreeField],
    layer: bool,
    plan: &'t Plan,
    entries: Vec<Value>,
}

impl Tree<'_, '_> {
    fn start(&mut self, base: Option<Place>, at: &str) -> Result<(), Failure> {
        let place = self.machine.walk(self.who, base, at, Walk::NO_FOLLOW).of("statx")?;
        self.entry(place, ".", 0).of("statx")
    }

    fn entry(&mut self, place: Place, path: &str, depth: usize) -> Res<()> {
        let attr = self.machine.fs_getattr(place.dentry)?;
        let opened = self.open(place, attr.kind);
        let mut fields = Vec::with_capacity(1 + self.fields.len());
        fields.push(("path".into(), Value::from(path)));
        for field in self.fields {
            self.field(*field, place, &attr, opened, &mut fields);
        }
        let can_be_opened = matches!(attr.kind, FileType::File | FileType::Dir);
        if let (Err(halt), true) = (opened, can_be_opened) {
            fields.push(("unreadable".into(), shown(halt)));
        }
        self.entries.push(Value::Map(fields));
        if attr.kind != FileType::Dir || opened.is_err() {
            return Ok(());
        }
        match self.names(place) {
            Ok(names) => return self.descend(place, path, names, depth),
            Err(halt) if is_unknown(halt) => return Err(halt),
            Err(halt) => self.note(path, &halt_word(halt)),
        }
        Ok(())
    }

    fn names(&mut self, place: Place) -> Res<Vec<Rc<str>>> {
        let removed = self.machine.is_dead(place.dentry);
        self.machine.deny(removed, &rules::LIST_REMOVED, Errno::ENOENT)?;
        let mut names = self.machine.fs_list(place.dentry)?;
        self.machine.touch_atime(place);
        names.sort();
        Ok(names)
    }

    fn descend(&mut self, place: Place, path: &str, names: Vec<Rc<str>>, depth: usize) -> Res<()> {
        if depth >= MAX_DEPTH {
            self.note(path, "deeper than is recorded");
            return Ok(());
        }
        for name in names {
            if self.entries.len() >= MAX_ENTRIES {
                self.note(path, "more entries than are recorded");
                break;
            }
            if path == "." && depth == 0 && self.is_of_harness(place, &name) {
                continue;
            }
            let below =
                if path == "." { (&*name).into() } else { format_compact!("{path}/{name}") };
            let found = self.machine.walk(self.who, Some(place), &name, Walk::NO_FOLLOW);
            let told = found.and_then(|found| self.entry(found, &below, depth + 1));
            match told {
                Ok(()) => {}
                Err(halt) if is_unknown(halt) => return Err(halt),
                // A name that is listed and cannot be looked up is worth to be seen.
                Err(halt) => self.note(&below, &format!("listed, but {}", halt_word(halt))),
            }
        }
        Ok(())
    }

    /// Whether a name in the root is one of the harness's own mounts.
    fn is_of_harness(&self, place: Place, name: &str) -> bool {
        let needs = &self.plan.needs;
        let ours = [(needs.proc, "proc"), (needs.sys, "sys"), (needs.dev, "dev")];
        place == self.machine.sandbox_root
            && (ours.iter().any(|(mounted, place)| *mounted && name == *place)
                || LIBRARY_DIRECTORIES.contains(&name) && !self.plan.world.programs().is_empty())
    }

    fn note(&mut self, path: &str, text: &str) {
        self.entries
            .push(Value::Map(vec![("path".into(), path.into()), ("note".into(), text.into())]));
    }

    /// Opens what can be opened without side effects.
    fn open(&mut self, place: Place, kind: FileType) -> Res<()> {
        let how = match kind {
            FileType::Dir => How { directory: true, ..How::READ },
            FileType::File => How::READ,
            _ => return Ok(()),
        };
        let cred = Rc::clone(&self.machine.processes[self.who].cred);
        self.machine.may_open(&cred, place, how)?;
        self.machine.fs_open(&cred, place.dentry, false, false)
    }

    fn field(
        &mut self,
        field: TreeField,
        place: Place,
        attr: &Attr,
        opened: Res<()>,
        fields: &mut Vec<Field>,
    ) {
        let kind = attr.kind;
        // Whiteouts are hard links to one inode in the work directory, as many as there are.
        let whiteout = kind == FileType::Char && attr.rdev == Some((0, 0));
        let program = kind == FileType::File && self.is_program(place);
        let mut add = |key: &str, value: Value| fields.push((key.into(), value));
        match field {
            TreeField::Size if program => {}
            TreeField::Content if program => add("content", "program".into()),
            TreeField::Type => add("type", kind.word().into()),
            TreeField::Mode if kind != FileType::Symlink => {
                add("mode", format_compact!("{:04o}", attr.mode).into());
            }
            TreeField::Owner => {
                let (uid, gid) = self.machine.shown_owner(self.who, place, attr);
                add("owner", format_compact!("{uid}:{gid}").into());
            }
            TreeField::Size if kind == FileType::File => {
                add("size", Value::Number(attr.size.unwrap_or(0) as i64));
            }
            TreeField::Content if kind == FileType::File && opened.is_ok() => {
                add("content", self.content(place));
            }
            TreeField::Target if kind == FileType::Symlink => {
                if let Ok(target) = self.machine.fs_readlink(place.dentry) {
                    add("target", (&*target).into());
                }
            }
            TreeField::Rdev => {
                if let Some((major, minor)) = attr.rdev {
                    add("rdev", format_compact!("{major}:{minor}").into());
                }
            }
            TreeField::Links if kind != FileType::Dir && attr.nlink > 1 && !whiteout => {
                add("nlink", attr.nlink.into());
                add("ino", inode(attr));
            }
            TreeField::Xattrs => {
                let xattrs = self.xattrs(place);
                if !xattrs.is_empty() {
                    add("xattrs", Value::Map(xattrs));
                }
            }
            TreeField::Time => add("mtime", time(attr.mtime)),
            TreeField::Dev => add("dev", device(attr)),
            TreeField::Ino if !fields.iter().any(|(key, _)| key == "ino") => {
                fields.push(("ino".into(), inode(attr)));
            }
            _ => {}
        }
    }

    fn is_program(&self, place: Place) -> bool {
        let inode = self.machine.real(self.machine.inode(place.dentry));
        matches!(&self.machine.inodes[inode].kind, Kind::File(data) if data.program)
    }

    fn content(&mut self, place: Place) -> Value {
        let bytes = match self.machine.fs_read(place.dentry, 0, MAX_CONTENT) {
            Ok(bytes) => bytes,
            Err(halt) => return shown(halt),
        };
        self.machine.touch_atime(place);
        Value::of_content(&bytes)
    }

    fn xattrs(&mut self, place: Place) -> Vec<Field> {
        let cred = Rc::clone(&self.machine.processes[self.who].cred);
        let Ok(mut names) = self.machine.vfs_listxattr(&cred, place) else { return Vec::new() };
        names.sort();
        let mut xattrs = Vec::new();
        for name in names {
            let own = name.rsplit_once("overlay.").map(|(_, own)| own);
            if self.layer && own == Some("impure") {
                continue;
            }
            let shown = match self.machine.vfs_getxattr(&cred, place, &name) {
                Ok(_) if self.layer && matches!(own, Some("origin" | "uuid" | "upper")) => {
                    "present".into()
                }
                Ok(value) => Value::of_xattr(&name, &value),
                Err(halt) => shown(halt),
            };
            xattrs.push(((&*name).into(), shown));
        }
        xattrs
    }
}

/// Whether the model does not say.
fn is_unknown(halt: Halt) -> bool {
    matches!(halt, Halt::Unknown(_) | Halt::Lost(_))
}

fn halt_word(halt: Halt) -> String {
    match halt {
        Halt::Refused(errno) => errno.to_string(),
        Halt::Unknown(why) | Halt::Lost(why) => why.to_owned(),
    }
}

fn shown(halt: Halt) -> Value {
    halt_word(halt).into()
}
