//! Pictures of the modelled machine between the steps, for learners: layers of overlays, trees,
//! mount tables with their peer groups, id maps, processes.
//!
//! They are made from observations, the same that scenarios make, and drawn twice: as text, and as SVG. The plan
//! is simulated anew up to each step, so that looking changes nothing of what comes after.

mod layers;
mod maps;
mod mounts;
mod processes;
pub mod svg;
mod table;
mod tree;

use std::collections::BTreeMap;

use super::sentence::sentence;
use crate::model::Simulation;
use crate::model::checks::Check;
use crate::model::profile::Profile;
use crate::scenario::observe::{Actors, Observe, ObserveActors, ObserveTree};
use crate::scenario::operation::{Family, Namespace, Operation};
use crate::scenario::plan::{Plan, PlanStep};
use crate::scenario::scalar::{Name, WorldPath};
use crate::scenario::world::Setup;
use crate::transcript::{Field, Observation, Outcome, Value};

/// Most lines of a picture that are shown again where only some have changed.
const SHOWN_WHOLE: usize = 24;

/// What is shown of a machine, to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture(Shown);

#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Layers(layers::Layers),
    Files(Vec<Entry>),
    Mounts(Vec<mounts::Table>),
    Maps(maps::Maps),
    Processes(processes::Processes),
}

impl Picture {
    /// What is shown, as in `overlay at merged`.
    pub fn title(&self) -> String {
        match &self.0 {
            Shown::Layers(layers) => layers.title(),
            Shown::Files(_) => "files (mode, owner)".to_owned(),
            Shown::Mounts(_) => "mounts and peer groups".to_owned(),
            Shown::Maps(maps) => maps.title(),
            Shown::Processes(processes) => processes.title.to_owned(),
        }
    }

    /// As texts, most as one.
    fn texts(&self) -> Vec<Text> {
        match &self.0 {
            Shown::Layers(layers) => vec![layers.text()],
            Shown::Files(entries) => {
                vec![Text { title: self.title(), lines: tree::lines(entries) }]
            }
            Shown::Mounts(tables) => mounts::texts(tables),
            Shown::Maps(maps) => vec![maps.text()],
            Shown::Processes(processes) => vec![processes.text()],
        }
    }
}

/// One picture as text: a title, and lines that are compared with those of the picture before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    /// What is shown, as in `overlay at merged`.
    title: String,
    lines: Vec<Line>,
}

/// One line of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// What it is about, which tells it from the others; `None` for a frame.
    key: Option<String>,
    /// What it says of that, whatever the width of its columns.
    content: String,
    text: String,
}

impl Line {
    fn new(key: impl Into<String>, content: impl Into<String>, text: String) -> Self {
        Self { key: Some(key.into()), content: content.into(), text }
    }

    fn frame(text: String) -> Self {
        Self { key: None, content: String::new(), text }
    }
}

/// The pictures of a plan from step to step: only what changed is shown.
#[derive(Debug)]
pub struct Album<'p> {
    plan: &'p Plan,
    profile: &'p Profile,
    wanted: Wanted,
    shown: BTreeMap<String, Text>,
    peers: Numbers,
    /// The id maps of the sandbox, which say nothing of the scenario.
    sandbox: Option<Value>,
}

/// What was asked on the way of a step, and what came of it.
#[derive(Clone, Debug)]
pub struct Way {
    step: String,
    checks: Vec<Check>,
    outcome: Outcome,
}

/// The numbers of peer groups, which stay the same from picture to picture.
#[derive(Debug, Default)]
struct Numbers {
    of: BTreeMap<String, usize>,
}

impl Numbers {
    fn number(&mut self, key: &str) -> usize {
        let next = self.of.len() + 1;
        *self.of.entry(key.to_owned()).or_insert(next)
    }
}

/// Which pictures say something about a plan.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    mounts: bool,
    maps: bool,
    directories: bool,
    credentials: bool,
}

impl Wanted {
    fn of(plan: &Plan) -> Self {
        let family = |family: Family| {
            plan.steps.iter().any(|step| step.operation.described().family == family)
        };
        let leaves = |wanted: Namespace| {
            plan.world.actors.values().any(|actor| actor.unshare.contains(&wanted))
        };
        let enters = plan.steps.iter().any(|step| matches!(step.operation, Operation::Setns(_)));
        let set_up = plan.world.setup.iter().any(|setup| {
            matches!(
                setup,
                Setup::Mount { operation, .. } if !matches!(operation, Operation::Overlay(_))
            )
        });
        let moved = plan.world.actors.values().any(|a| a.root.is_some() || a.cwd.is_some());
        Self {
            mounts: family(Family::Mounts)
                || family(Family::Roots)
                || leaves(Namespace::Mount)
                || set_up
                || enters,
            maps: plan.world.actors.values().any(|actor| actor.userns.is_some())
                || family(Family::Namespaces),
            directories: family(Family::Roots) || moved,
            credentials: family(Family::Credentials),
        }
    }
}

impl<'p> Album<'p> {
    /// An album of a plan on a kernel of this profile.
    pub fn new(plan: &'p Plan, profile: &'p Profile) -> Self {
        let wanted = Wanted::of(plan);
        let (shown, peers) = (BTreeMap::new(), Numbers::default());
        let mut album = Self { plan, profile, wanted, shown, peers, sandbox: None };
        let of_sandbox = |name: &&Name| plan.world.actors[*name].userns.is_none();
        if let (Some(mut look), Some(name)) =
            (album.look(0), plan.world.actors.keys().find(of_sandbox))
        {
            album.sandbox = look.of(name, Observe::IdMaps);
        }
        album
    }

    /// What changed since the last time: the pictures after so many steps, with a mark before each
    /// line that is new.
    pub fn after(&mut self, steps: usize) -> String {
        let mut text = String::new();
        for picture in self.pictures(steps).iter().flat_map(Picture::texts) {
            let before = self.shown.get(&picture.title);
            if before.is_some_and(|before| *before == picture) {
                continue;
            }
            text.push_str(&picture.text(before));
            self.shown.insert(picture.title.clone(), picture);
        }
        text
    }

    /// The way of a chown through what the model asks, where the step of this number is one.
    pub fn way(&self, step: usize) -> Option<Way> {
        let chown = |step: &&PlanStep| matches!(step.operation, Operation::Chown(_));
        let taken = self.plan.steps.get(step).filter(chown)?;
        let mut look = self.look(step)?;
        look.simulation.machine.rules.follow();
        let (outcome, _) = look.simulation.step(taken);
        let checks = look.simulation.machine.rules.followed();
        (!checks.is_empty()).then(|| Way { step: sentence(taken), checks, outcome })
    }

    /// A machine after so many steps, to be looked at.
    fn look(&self, steps: usize) -> Option<Look<'p>> {
        let mut simulation = Simulation::start(self.plan, self.profile).ok()?;
        for step in self.plan.steps.iter().take(steps) {
            simulation.step(step);
        }
        Some(Look { plan: self.plan, simulation })
    }

    /// The pictures after so many steps.
    pub fn pictures(&mut self, steps: usize) -> Vec<Picture> {
        let Some(mut look) = self.look(steps) else { return Vec::new() };
        let actors: Vec<Name> = look.simulation.machine.actors.keys().cloned().collect();
        let mut pictures = Vec::new();
        let overlays = layers::overlays(self.plan, steps);
        for overlay in &overlays {
            pictures.extend(layers::layers(overlay, &mut look).map(Shown::Layers));
        }
        if overlays.is_empty() && !self.wanted.mounts {
            pictures.extend(tree::files(&mut look).map(Shown::Files));
        }
        if self.wanted.mounts {
            let tables = mounts::tables(&actors, &mut look, &mut self.peers);
            pictures.extend((!tables.is_empty()).then_some(Shown::Mounts(tables)));
        }
        if self.wanted.maps {
            let maps = maps::maps(&actors, &mut look, self.sandbox.as_ref());
            pictures.extend(maps.into_iter().map(Shown::Maps));
        }
        if self.wanted.directories {
            pictures.extend(processes::directories(&actors, &mut look).map(Shown::Processes));
        }
        if self.wanted.credentials {
            pictures.extend(processes::credentials(&actors, &mut look).map(Shown::Processes));
        }
        pictures.into_iter().map(Picture).collect()
    }
}

impl Text {
    /// The lines; where it was shown before, those that are new or have changed have a mark, and of
    /// many only they are shown. What is gone is named.
    fn text(&self, before: Option<&Self>) -> String {
        let mut text = format!("     {}\n", self.title);
        let only_new = before.is_some() && self.lines.len() > SHOWN_WHOLE;
        for line in &self.lines {
            let same = |other: &&Line| other.key == line.key && other.content == line.content;
            let new = line.key.is_some()
                && before.is_some_and(|before| !before.lines.iter().any(|other| same(&other)));
            if only_new && !new && line.key.is_some() {
                continue;
            }
            let mark = if new { '*' } else { ' ' };
            text.push_str(&format!("   {mark} {}\n", line.text));
        }
        let gone = |line: &&Line| !self.lines.iter().any(|other| other.key == line.key);
        for line in before.iter().flat_map(|before| before.lines.iter().filter(gone)) {
            if let Some(key) = &line.key {
                text.push_str(&format!("   - gone: {key}\n"));
            }
        }
        text
    }
}

/// A simulation that is looked at, and thrown away.
struct Look<'p> {
    plan: &'p Plan,
    simulation: Simulation<'p>,
}

impl Look<'_> {
    /// What an observation finds; `None` where it finds an error or the model abstains.
    fn at(&mut self, observe: &Observe) -> Vec<Result<Value, Outcome>> {
        let found = self.simulation.machine.observe(self.plan, observe);
        found.into_iter().map(|Observation { found, .. }| found).collect()
    }

    fn one(&mut self, observe: &Observe) -> Option<Value> {
        self.at(observe).into_iter().next()?.ok()
    }

    /// What an actor's observation finds.
    fn of(&mut self, name: &Name, observe: fn(ObserveActors) -> Observe) -> Option<Value> {
        self.one(&observe(ObserveActors { actors: Actors::One(name.clone()) }))
    }

    /// Which mounts of an actor's table are locked, in its order.
    fn locked(&mut self, name: &Name) -> Vec<bool> {
        let machine = &self.simulation.machine;
        let shown = machine.actors.get(name).map(|who| machine.shown_mounts(*who));
        let locked = |(_, mount)| machine.mounts[mount].locked;
        shown.into_iter().flatten().map(locked).collect()
    }

    /// The entries of a tree.
    fn tree(&mut self, at: &WorldPath, actor: Option<&Name>, layer: bool) -> Option<Vec<Entry>> {
        let tree = ObserveTree { at: at.clone(), actor: actor.cloned(), fields: Vec::new() };
        let found = self.one(&if layer { Observe::Layer(tree) } else { Observe::Tree(tree) })?;
        let Value::List(items) = found else { return None };
        Some(items.into_iter().filter_map(Entry::of).collect())
    }
}

/// One file of a tree, as it was observed.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    path: String,
    fields: Vec<Field>,
}

impl Entry {
    fn of(item: Value) -> Option<Self> {
        let Value::Map(mut fields) = item else { return None };
        if fields.is_empty() {
            return None;
        }
        let (_, path) = fields.remove(0);
        Some(Self { path: plain(&path), fields })
    }

    fn field(&self, name: &str) -> Option<&Value> {
        field(&self.fields, name)
    }

    fn text(&self, name: &str) -> String {
        self.field(name).map(plain).unwrap_or_default()
    }

    fn xattrs(&self) -> &[Field] {
        match self.field("xattrs") {
            Some(Value::Map(xattrs)) => xattrs,
            _ => &[],
        }
    }

    /// Mode and owner, where they are not what most files have.
    fn rights(&self) -> String {
        let (mode, owner) = (self.text("mode"), self.text("owner"));
        let usual = if self.text("type") == "dir" { "0755" } else { "0644" };
        let mut said = String::new();
        if mode != usual && !mode.is_empty() {
            said.push_str(&format!(" {mode}"));
        }
        if owner != "0:0" && !owner.is_empty() {
            said.push_str(&format!(" of {owner}"));
        }
        said
    }
}

fn field<'f>(fields: &'f [Field], name: &str) -> Option<&'f Value> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// A value without quotes, and without anything that could write to a terminal.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::Text(text) => text.to_string(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture<'l>(lines: impl IntoIterator<Item = (&'l str, &'l str)>) -> Text {
        let line =
            |(key, content): (&str, &str)| Line::new(key, content, format!("{key} {content}"));
        Text { title: "files".into(), lines: lines.into_iter().map(line).collect() }
    }

    #[test]
    fn what_is_new_or_has_changed_has_a_mark_and_what_is_gone_is_named() {
        let before = picture([("a", "1"), ("b", "1"), ("c", "1")]);
        let after = picture([("a", "1"), ("b", "2"), ("d", "1")]);
        assert_eq!(before.text(None), "     files\n     a 1\n     b 1\n     c 1\n");
        assert_eq!(
            after.text(Some(&before)),
            "     files\n     a 1\n   * b 2\n   * d 1\n   - gone: c\n"
        );
    }

    #[test]
    fn of_a_long_picture_only_what_is_new_is_shown_again() {
        let names: Vec<_> = (0..30).map(|i| format!("f{i}")).collect();
        let with =
            |last| picture(names.iter().map(|name| (name.as_str(), "1")).chain([("g", last)]));
        assert_eq!(with("2").text(Some(&with("1"))), "     files\n   * g 2\n");
    }
}
