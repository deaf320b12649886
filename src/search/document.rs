//! A plan as the document that a person would write, and back: YAML's mappings, lists and scalars as
//! JSON values, which keep their order.
//!
//! What reads a document is the language itself, so a document that it accepts is a plan, with
//! everything that the language knows to ask of one.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::layout;
use crate::diag::Source;
use crate::probe;
use crate::scenario::observe::Observe;
use crate::scenario::plan::{Plan, PlanStep};
use crate::scenario::world::{Actor, Entry, EntryKind, Setup, World};
use crate::scenario::{Case, FoundFile, KnownNames, resolve};

/// The time that a scenario may take where it does not say, in milliseconds.
const DEFAULT_TIMEOUT_MS: u64 = 10_000;

/// The document of a plan: what `nsharness run` would have to be given, but for the title.
pub fn of_plan(plan: &Plan) -> Value {
    let mut document = Map::new();
    // What else needs real root says so by being there.
    let implied = !plan.world.nfs.is_empty() || plan.needs.probes.contains("root");
    if plan.needs.privileged && !implied {
        document.insert("requires".into(), json!(["root"]));
    }
    if plan.timeout_ms != DEFAULT_TIMEOUT_MS {
        document.insert("timeout".into(), json!(plan.timeout_ms / 1000));
    }
    let world = of_world(&plan.world);
    if !world.is_empty() {
        document.insert("world".into(), Value::Object(world));
    }
    document.insert("steps".into(), plan.steps.iter().map(of_step).collect());
    if !plan.observe.is_empty() {
        document.insert("observe".into(), plan.observe.iter().map(of_observe).collect());
    }
    Value::Object(document)
}

/// The plan of a document, as the language reads it. `id` is what the plan is called.
///
/// # Errors
/// The first thing that the language has against it.
pub fn to_plan(document: &Value, id: &str) -> Result<Plan, String> {
    let mut titled = Map::from_iter([("title".to_owned(), json!(id))]);
    titled.extend(document.as_object().cloned().unwrap_or_default());
    read(&layout::yaml(&Value::Object(titled)), id)
}

/// The plan of a scenario's text.
///
/// # Errors
/// The first thing that is wrong with the text.
pub fn read(text: &str, id: &str) -> Result<Plan, String> {
    case(text, id).map(|case| case.plan)
}

/// The one case of a scenario's text.
///
/// # Errors
/// The first thing that is wrong with the text.
pub fn case(text: &str, id: &str) -> Result<Case, String> {
    let source = Arc::new(Source { name: format!("{id}.yaml"), text: text.to_owned() });
    let path = std::path::PathBuf::from(&source.name);
    let file = FoundFile { id: id.to_owned(), path, base: std::path::PathBuf::new() };
    let names = probe::names();
    let cases = resolve(&file, &source, KnownNames { probes: &names }).map_err(|errors| {
        errors.first().map_or_else(|| "it is no scenario".to_owned(), |e| e.message.clone())
    })?;
    let mut cases = cases.into_iter();
    match (cases.next(), cases.next()) {
        (Some(case), None) => Ok(case),
        _ => Err("one scenario was expected".to_owned()),
    }
}

/// Whether two plans ask the same: they may stand on other lines and be called otherwise.
pub fn same(one: &Plan, other: &Plan) -> bool {
    let asked = |plan: &Plan| {
        let mut asked = plain(plan);
        without_lines(&mut asked);
        if let Value::Object(fields) = &mut asked {
            fields.remove("id");
        }
        asked
    };
    asked(one) == asked(other)
}

fn without_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.shift_remove("line");
            fields.values_mut().for_each(without_lines);
        }
        Value::Array(items) => items.iter_mut().for_each(without_lines),
        _ => {}
    }
}

fn of_world(world: &World) -> Map<String, Value> {
    let mut document = Map::new();
    let mut setup = world.setup.iter().peekable();
    if let Some(Setup::Tree(_)) = setup.peek()
        && let Some(Setup::Tree(tree)) = setup.next()
    {
        document.insert("tree".into(), of_tree(tree));
    }
    let mounts: Vec<Value> = setup
        .map(|setup| match setup {
            Setup::Tree(tree) => json!({ "tree": of_tree(tree) }),
            Setup::Mount { operation, .. } => plain(operation),
        })
        .collect();
    if !mounts.is_empty() {
        document.insert("mounts".into(), Value::Array(mounts));
    }
    let is_told = |name: &str, actor: &Actor| name != "main" || *actor != Actor::default();
    let actors: Map<String, Value> = world
        .actors
        .iter()
        .filter(|(name, actor)| is_told(name.as_str(), actor))
        .map(|(name, actor)| (name.to_string(), plain(actor)))
        .collect();
    if !actors.is_empty() {
        document.insert("actors".into(), Value::Object(actors));
    }
    match world.nfs.as_slice() {
        [] => {}
        [one] => drop(document.insert("nfs".into(), plain(one))),
        several => drop(document.insert("nfs".into(), several.iter().map(plain).collect())),
    }
    if let Some(container) = &world.container {
        document.insert("container".into(), plain(container));
    }
    document
}

fn of_tree(tree: &std::collections::BTreeMap<crate::scenario::scalar::WorldPath, Entry>) -> Value {
    tree.iter().map(|(path, entry)| (path.to_string(), of_entry(entry))).collect()
}

fn of_entry(entry: &Entry) -> Value {
    let (key, value) = match &entry.kind {
        EntryKind::Dir => ("type", json!("dir")),
        EntryKind::File(content) if content.is_empty() => ("type", json!("file")),
        EntryKind::File(content) => ("file", json!(content)),
        EntryKind::Sparse(size) => ("sparse", json!(size)),
        EntryKind::Symlink(target) => ("symlink", json!(target)),
        EntryKind::Hardlink(other) => ("hardlink", plain(other)),
        EntryKind::Fifo => ("type", json!("fifo")),
        EntryKind::Socket => ("type", json!("socket")),
        EntryKind::Char(number) => ("char", plain(number)),
        EntryKind::Block(number) => ("block", plain(number)),
        EntryKind::Program(name) => ("program", plain(name)),
        EntryKind::Image(image) => ("image", plain(image)),
    };
    let mut keys = Map::from_iter([(key.to_owned(), value)]);
    let ids = [("mode", entry.mode.map(|mode| plain(&mode)))];
    let ids = ids.into_iter().chain([("uid", entry.uid.map(|id| json!(id)))]);
    let ids = ids.chain([("gid", entry.gid.map(|id| json!(id)))]);
    keys.extend(ids.filter_map(|(key, value)| Some((key.to_owned(), value?))));
    if !entry.xattrs.is_empty() {
        keys.insert("xattrs".into(), plain(&entry.xattrs));
    }
    match keys.get("type") {
        Some(word) if keys.len() == 1 => word.clone(),
        _ => Value::Object(keys),
    }
}

fn of_step(step: &PlanStep) -> Value {
    let mut document = plain(&step.operation);
    if step.actor.as_str() != "main"
        && let Value::Object(operation) = &mut document
        && let Some(Value::Object(fields)) = operation.values_mut().next()
    {
        let own = std::mem::take(fields);
        fields.insert("as".into(), plain(&step.actor));
        fields.extend(own);
    }
    document
}

/// An observation, without the actor where it is the one that is meant if none is named.
fn of_observe(observe: &Observe) -> Value {
    let mut document = plain(observe);
    if matches!(observe, Observe::Tree(_) | Observe::Layer(_)) {
        return document;
    }
    if let Some(Value::Object(fields)) =
        document.as_object_mut().and_then(|observe| observe.values_mut().next())
        && let Some([name]) = fields.get("as").and_then(Value::as_array).map(Vec::as_slice)
    {
        let name = name.clone();
        if name == "main" {
            fields.shift_remove("as");
        } else {
            fields.insert("as".into(), name);
        }
    }
    document
}

/// A value of the language, whose keys are those of YAML.
fn plain(value: &impl serde::Serialize) -> Value {
    // Keys are texts and numbers are whole: nothing of a plan cannot be JSON.
    serde_json::to_value(value).unwrap_or_default()
}
