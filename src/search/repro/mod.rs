//! A deviation as a program of its own, for whoever does not have nsharness.
//!
//! A reproduction makes the world, takes the steps, and says of each what it gave and what the model says. It
//! exits with 1 where anything deviates, with 0 where nothing does, and with 2 where it could not be asked.

pub mod c;
pub mod sh;

use compact_str::CompactString;

use crate::scenario::implementation::Implementation;
use crate::scenario::observe::{Observe, ObserveTree};
use crate::scenario::operation::Operation;
use crate::scenario::plan::{Plan, PlanStep};
use crate::scenario::scalar::{Errno, Name};
use crate::scenario::world::{EntryKind, Setup};
use crate::transcript::{End, Field, Outcome, Transcript, Value, Values};

/// Why a plan has no reproduction of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}; `nsharness run` can ask it")]
pub struct Refusal {
    /// The part of the plan, as `step 3: main runs /bin/sh`.
    pub what: String,
    /// What is in the way.
    pub why: String,
}

/// The title of a reproduction, and what else is to be said of it, a line each.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// What deviates.
    pub title: String,
    /// Where it was found, and by which rules the model says otherwise.
    pub notes: Vec<String>,
    /// What mounts the overlays, where that is not the kernel.
    pub overlay: Option<Implementation>,
}

/// One step with what the model says of it.
struct Expected<'p> {
    step: std::borrow::Cow<'p, PlanStep>,
    /// The values, or the error and the system call that gives it.
    outcome: Result<Values, (Errno, String)>,
    /// The model abstains: whatever it gives is right.
    anything: bool,
    /// It is the sandbox that looks, from its own root, and not the actor.
    outside: bool,
}

fn refuse<T>(what: impl Into<String>, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { what: what.into(), why: why.into() })
}

/// The plan in which the world's mounts are steps, for a deviation in setting them up: what a world needs may
/// not fail. `None` where trees are made between the mounts, which no step does.
pub fn world_as_steps(plan: &Plan) -> Option<Plan> {
    let main: Name = "main".parse().ok()?;
    let mut plan = plan.clone();
    let is_tree = |setup: &Setup| matches!(setup, Setup::Tree(_));
    let trees = plan.world.setup.iter().take_while(|setup| is_tree(setup)).count();
    let mounts = plan.world.setup.split_off(trees);
    let step = |setup| match setup {
        Setup::Mount { operation, line } => Some(PlanStep { actor: main.clone(), operation, line }),
        Setup::Tree(_) => None,
    };
    plan.steps = mounts.into_iter().map(step).collect::<Option<Vec<_>>>()?;
    plan.observe.clear();
    (!plan.steps.is_empty()).then_some(plan)
}

/// What no reproduction can make.
fn is_within_reach(plan: &Plan) -> Result<(), Refusal> {
    let needs = &plan.needs;
    let served = [
        (!plan.world.nfs.is_empty(), "it has an NFS server"),
        (needs.proc || needs.sys || needs.dev, "it uses /proc, /sys or /dev"),
    ];
    if let Some((_, why)) = served.iter().find(|(is, _)| *is) {
        return refuse("world", *why);
    }
    for setup in &plan.world.setup {
        let Setup::Tree(tree) = setup else { continue };
        for (path, entry) in tree {
            if matches!(entry.kind, EntryKind::Program(_) | EntryKind::Image(_)) {
                return refuse(format!("world: {path}"), "it is a file that nsharness makes");
            }
        }
    }
    Ok(())
}

/// The steps of a plan with what the model says of each, and for observations the steps that look at what it
/// says is there.
fn expected<'p>(plan: &'p Plan, predicted: &Transcript) -> Result<Vec<Expected<'p>>, Refusal> {
    if let End::Broke(breakage) = &predicted.end {
        return refuse("world", format!("the model cannot set it up ({breakage})"));
    }
    let mut expected = Vec::new();
    for (step, outcome) in plan.steps.iter().zip(&predicted.outcomes) {
        expected.push(of_outcome(std::borrow::Cow::Borrowed(step), outcome));
    }
    let mut found = predicted.observations.iter();
    for observe in &plan.observe {
        let of_item: Vec<_> = found.by_ref().take(observe.count()).collect();
        match observe {
            Observe::Tree(tree) | Observe::Layer(tree) => {
                for observation in of_item {
                    look(tree, &observation.found, &mut expected);
                }
            }
            Observe::Mountinfo(of) => {
                for (name, observation) in of.actors.names().iter().zip(of_item) {
                    mount_points(name, &observation.found, &mut expected);
                }
            }
            Observe::Credentials(of) => {
                for (name, observation) in of.actors.names().iter().zip(of_item) {
                    if let Ok(Value::Map(fields)) = &observation.found {
                        let values = fields.iter().cloned().collect();
                        add(&mut expected, Some(name), "getcred", &[], values);
                    }
                }
            }
            Observe::IdMaps(of) => {
                for (name, observation) in of.actors.names().iter().zip(of_item) {
                    if let Ok(Value::Map(fields)) = &observation.found {
                        let values = fields.iter().cloned().collect();
                        add(&mut expected, None, "read_maps", &[("of", name.as_str())], values);
                    }
                }
            }
            // No step tells which namespaces two processes share, nor a path as somebody else sees it.
            Observe::Namespaces(_) | Observe::Process(_) => {}
        }
    }
    Ok(expected)
}

fn of_outcome<'p>(step: std::borrow::Cow<'p, PlanStep>, outcome: &Outcome) -> Expected<'p> {
    let (outcome, anything) = match outcome {
        Outcome::Ok(values) => (Ok(values.clone()), false),
        Outcome::Failed { errno, syscall, .. } => (Err((*errno, syscall.clone())), false),
        Outcome::Refused { .. } | Outcome::Abstained(_) => (Ok(Values::new()), true),
    };
    Expected { step, outcome, anything, outside: false }
}

/// Adds the steps that look at the entries of a tree, as far as steps can see them.
fn look<'p>(tree: &ObserveTree, found: &Result<Value, Outcome>, expected: &mut Vec<Expected<'p>>) {
    let Ok(Value::List(entries)) = found else { return };
    let actor = tree.actor.as_ref();
    let mut paths: Vec<String> = entries
        .iter()
        .filter_map(|entry| match entry {
            Value::Map(fields) => text(fields, "path"),
            _ => None,
        })
        .collect();
    // What could not be listed is told by a note behind it.
    let twice = paths.windows(2).filter(|two| two[0] == two[1]);
    let unlisted: Vec<String> = twice.map(|two| two[0].clone()).collect();
    paths.dedup();
    for entry in entries {
        let Value::Map(fields) = entry else { continue };
        let Some(path) = text(fields, "path") else { continue };
        let at = if path == "." { tree.at.to_string() } else { format!("{}/{path}", tree.at) };
        if fields.iter().any(|(key, _)| key == "note" || key == "unreadable") {
            continue;
        }
        let values = attributes(fields);
        add(expected, actor, "stat", &[("path", &at), ("follow", "false")], values);
        if let Some(content) = text(fields, "content").filter(|text| is_verbatim(text)) {
            add(expected, actor, "read", &[("path", &at)], one("data", content.into()));
        }
        if let Some(target) = text(fields, "target") {
            add(expected, actor, "readlink", &[("path", &at)], one("target", target.into()));
        }
        if text(fields, "type").as_deref() == Some("dir") && !unlisted.contains(&path) {
            let inside = if path == "." { String::new() } else { format!("{path}/") };
            let names = paths.iter().filter_map(|other| other.strip_prefix(&inside));
            let names = names.filter(|name| !name.contains('/') && *name != "." && *name != path);
            let names = Value::List(names.map(Value::from).collect());
            add(expected, actor, "list", &[("path", &at)], one("names", names));
        }
        for (name, value) in xattrs(fields) {
            let values = one("value", Value::Text(value.clone()));
            let fields = [("path", at.as_str()), ("name", name), ("follow", "false")];
            add(expected, actor, "getxattr", &fields, values);
        }
    }
}

fn text(fields: &[Field], name: &str) -> Option<String> {
    fields.iter().find(|(key, _)| key == name).and_then(|(_, value)| match value {
        Value::Text(text) => Some(text.to_string()),
        _ => None,
    })
}

/// What `stat` says of an entry of a tree.
fn attributes(fields: &[Field]) -> Values {
    let mut values = Values::new();
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("type" | "mode" | "size" | "rdev" | "nlink", value) => {
                values.insert(key.clone(), value.clone());
            }
            ("owner", Value::Text(owner)) => {
                let ids = owner.split(':').filter_map(|id| id.parse::<i64>().ok());
                let named = ["uid", "gid"].into_iter().zip(ids);
                values.extend(named.map(|(name, id)| (name.into(), Value::Number(id))));
            }
            _ => {}
        }
    }
    values
}

/// The extended attributes of an entry of a tree that can be held against a value.
fn xattrs(fields: &[Field]) -> impl Iterator<Item = (&str, &CompactString)> {
    let of_entry = fields.iter().find(|(key, _)| key == "xattrs");
    let xattrs = match of_entry {
        Some((_, Value::Map(xattrs))) => &xattrs[..],
        _ => &[],
    };
    xattrs.iter().filter_map(|(name, value)| match value {
        // Origins and UUIDs are told as present, because they are others each time.
        Value::Text(value) if value != "present" && is_verbatim(value) => {
            Some((name.as_str(), value))
        }
        _ => None,
    })
}

/// Adds the steps that look whether mount points are mounted. A table lists mounts that are covered too, which
/// no path leads to: those are left out.
fn mount_points<'p>(
    actor: &Name,
    found: &Result<Value, Outcome>,
    expected: &mut Vec<Expected<'p>>,
) {
    let Ok(Value::List(mounts)) = found else { return };
    let place = |mount: &Value| match mount {
        Value::Map(fields) => match fields.first() {
            Some((key, Value::Text(at))) if key == "at" && at.starts_with('/') => {
                Some(at.to_string())
            }
            _ => None,
        },
        _ => None,
    };
    let places: Vec<String> = mounts.iter().filter_map(place).collect();
    for (index, at) in places.iter().enumerate() {
        if !may_be_covered(index, &places) {
            let values = one("mounted", Value::Bool(true));
            add(expected, Some(actor), "mounted", &[("at", at)], values);
        }
    }
}

/// Whether a mount may be covered by one on a directory above it, of which there are several, or a later one.
fn may_be_covered(index: usize, places: &[String]) -> bool {
    let lies_below = |above: &str| {
        let rest = places[index].strip_prefix(above);
        above != "/" && rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let above = places.iter().enumerate().filter(|(_, place)| lies_below(place));
    let mut seen = std::collections::BTreeSet::new();
    above.into_iter().any(|(other, place)| other > index || !seen.insert(place))
}

fn one(name: &str, value: Value) -> Values {
    Values::from([(name.into(), value)])
}

/// Whether a text is what was found, and neither a digest nor hexadecimal digits in its place.
fn is_verbatim(text: &str) -> bool {
    !text.starts_with("sha256:") && !text.starts_with("hex:") && !text.contains("\\x")
}

/// Adds a step that the language would read from these fields.
fn add(
    expected: &mut Vec<Expected<'_>>,
    actor: Option<&Name>,
    word: &str,
    fields: &[(&str, &str)],
    values: Values,
) {
    let fields: serde_json::Map<_, _> = fields
        .iter()
        .map(|(key, value)| {
            let value = match *value {
                "false" => serde_json::Value::Bool(false),
                text => serde_json::Value::from(text),
            };
            ((*key).to_owned(), value)
        })
        .collect();
    let operation = serde_json::from_value::<Operation>(serde_json::json!({ word: fields }));
    let outside = actor.is_none();
    let actor = actor.cloned().map_or_else(|| "main".parse(), Ok);
    if let (Ok(operation), Ok(actor)) = (operation, actor) {
        let step = PlanStep { actor, operation, line: 0 };
        let step = std::borrow::Cow::Owned(step);
        expected.push(Expected { step, outcome: Ok(values), anything: false, outside });
    }
}
