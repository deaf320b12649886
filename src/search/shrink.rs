//! The smallest plan that still shows a deviation: fewest steps, smallest world, plainest names.
//!
//! What is made smaller is the document of a plan (see [`document`]), because every part of it is an entry
//! of a mapping or an item of a list, and what the language accepts is a plan. So no knowledge of single
//! operations is needed: what may not be left out is refused by the language, and whether what is left still
//! shows the same, the oracle says.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Cause, Deviation, Oracle, Place, SearchError, document};
use crate::scenario::plan::Plan;

mod names;

/// How many plans the oracle is asked at once.
const BATCH: usize = 24;
/// How often everything is tried, as long as anything came of it.
const ROUNDS: usize = 6;
/// The keys of which each tells an entry of a tree that is more than one word.
const KINDS: &[&str] = &["file", "sparse", "symlink", "hardlink", "char", "block", "image", "type"];

/// A plan that shows a deviation, made as small as the questions allowed.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// Where it shows the deviation.
    pub deviation: Deviation,
    /// How many plans the oracle was asked.
    pub questions: usize,
}

/// How often a plan is asked as it was found, until it shows its deviation again.
pub const TRIES: usize = 8;

/// Makes a plan smaller as long as a deviation of the same cause is left, with at most so many questions to
/// the oracle. `None` where the plan shows none any more in [`TRIES`] tries.
///
/// # Errors
/// What keeps the oracle from answering.
pub fn shrink(
    plan: &Plan,
    cause: &Cause,
    oracle: &mut dyn Oracle,
    questions: usize,
) -> Result<Option<Shrunk>, SearchError> {
    let document = document::of_plan(plan);
    let mut shrinker = Shrinker {
        oracle,
        cause,
        id: &plan.id,
        asked: BTreeSet::new(),
        left: questions.max(1),
        document: Value::Null,
        found: None,
    };
    for _ in 0..TRIES {
        shrinker.asked.clear();
        if shrinker.first(vec![document.clone()])?.is_some() {
            break;
        }
    }
    if shrinker.found.is_none() {
        return Ok(None);
    }
    shrinker.run()?;
    let asked = questions.max(1) - shrinker.left;
    Ok(shrinker.found.map(|(plan, deviation)| Shrunk { plan, deviation, questions: asked }))
}

struct Shrinker<'a> {
    oracle: &'a mut dyn Oracle,
    cause: &'a Cause,
    id: &'a str,
    /// What was asked before, which need not be asked again.
    asked: BTreeSet<String>,
    /// How many plans may still be asked.
    left: usize,
    /// The smallest document so far.
    document: Value,
    /// Its plan, and where it deviates.
    found: Option<(Plan, Deviation)>,
}

impl Shrinker<'_> {
    fn run(&mut self) -> Result<(), SearchError> {
        for _ in 0..ROUNDS {
            let before = self.document.clone();
            self.cut()?;
            for list in ["/steps", "/observe", "/world/mounts", "/world/tree", "/world/actors"] {
                self.thin_out(list)?;
            }
            self.one_by_one(less_actors)?;
            self.one_by_one(less_inside)?;
            self.one_by_one(names::shorter_paths)?;
            if self.document == before || self.left == 0 {
                break;
            }
        }
        self.one_by_one(names::plainer)
    }

    /// Asks for candidates in their order until one shows the deviation, which is taken over: its index.
    fn first(&mut self, candidates: Vec<Value>) -> Result<Option<usize>, SearchError> {
        let mut batch = Vec::new();
        let last = candidates.len();
        for (index, candidate) in candidates.into_iter().enumerate() {
            if self.left > batch.len()
                && self.asked.insert(candidate.to_string())
                && let Ok(plan) = document::to_plan(&candidate, self.id)
            {
                batch.push((index, candidate, plan));
            }
            if batch.len() < BATCH && index + 1 < last {
                continue;
            }
            if let Some(taken) = self.ask(std::mem::take(&mut batch))? {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    fn ask(&mut self, batch: Vec<(usize, Value, Plan)>) -> Result<Option<usize>, SearchError> {
        if batch.is_empty() {
            return Ok(None);
        }
        self.left = self.left.saturating_sub(batch.len());
        let plans: Vec<Plan> = batch.iter().map(|(.., plan)| plan.clone()).collect();
        let answers = self.oracle.ask(&plans)?;
        for ((index, document, plan), answer) in batch.into_iter().zip(answers) {
            if let Some(deviation) = answer.filter(|deviation| deviation.cause == *self.cause) {
                self.document = document;
                self.found = Some((plan, deviation));
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Cuts off what comes behind the deviation.
    fn cut(&mut self) -> Result<(), SearchError> {
        let place = self.found.as_ref().map(|(_, deviation)| deviation.place);
        let mut less = self.document.clone();
        let Some(document) = less.as_object_mut() else { return Ok(()) };
        match place {
            Some(Place::World) => {
                document.insert("steps".into(), json!([]));
            }
            Some(Place::Invariant(_, index)) => {
                if let Some(steps) = document.get_mut("steps").and_then(Value::as_array_mut) {
                    steps.truncate(index + 1);
                }
            }
            Some(Place::Step(index)) => {
                document.shift_remove("observe");
                if let Some(steps) = document.get_mut("steps").and_then(Value::as_array_mut) {
                    steps.truncate(index + 1);
                }
            }
            _ => return Ok(()),
        }
        self.first(vec![less]).map(drop)
    }

    /// Leaves out parts of a list or mapping: halves, quarters, and so on down to single ones, from its end.
    /// (Delta debugging, without the subsets: what is left is nearly always most of the list.)
    fn thin_out(&mut self, list: &str) -> Result<(), SearchError> {
        let length = |document: &Value| document.pointer(list).map_or(0, count);
        let mut size = length(&self.document);
        while size > 0 {
            let length = length(&self.document);
            let starts = (0..length).step_by(size).rev();
            let without = starts.map(|start| {
                let mut less = self.document.clone();
                if let Some(list) = less.pointer_mut(list) {
                    remove(list, start, start + size);
                }
                tidy(less)
            });
            match self.first(without.collect())? {
                Some(_) => {}
                None if size == 1 => break,
                None => size = size.div_ceil(2),
            }
        }
        Ok(())
    }

    /// Tries changes one after the other; after one that was taken it goes on at the same place.
    fn one_by_one(&mut self, changes: fn(&Value) -> Vec<Value>) -> Result<(), SearchError> {
        let mut done = 0;
        loop {
            let candidates: Vec<_> = changes(&self.document).into_iter().skip(done).collect();
            match self.first(candidates)? {
                Some(index) => done += index,
                None => return Ok(()),
            }
        }
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    }
}

/// Removes the items or fields from `start` up to `end`.
fn remove(value: &mut Value, start: usize, end: usize) {
    match value {
        Value::Array(items) => drop(items.drain(start..end.min(items.len()))),
        Value::Object(fields) => {
            let all = std::mem::take(fields).into_iter().enumerate();
            fields.extend(all.filter(|(i, _)| !(start..end).contains(i)).map(|(_, field)| field));
        }
        _ => {}
    }
}

/// Without the parts at the top that are empty and may be left out.
fn tidy(mut document: Value) -> Value {
    let empty = |value: &mut Value| {
        matches!(value, Value::Array(_) | Value::Object(_)) && count(value) == 0
    };
    if let Some(document) = document.as_object_mut() {
        if let Some(world) = document.get_mut("world").and_then(Value::as_object_mut) {
            world.retain(|_, part| !empty(part));
        }
        document.retain(|key, part| key == "steps" || !empty(part));
    }
    document
}

/// The document with one actor less, whose steps are `main`'s.
fn less_actors(document: &Value) -> Vec<Value> {
    let actors = document.pointer("/world/actors").and_then(Value::as_object);
    let without = |name: &String| {
        let mut less = document.clone();
        if let Some(Value::Object(actors)) = less.pointer_mut("/world/actors") {
            actors.shift_remove(name);
        }
        hand_over(&mut less, name);
        tidy(less)
    };
    actors.into_iter().flat_map(Map::keys).map(without).collect()
}

/// Gives what an actor does or is observed for to `main`, which is who is meant where nobody is named.
fn hand_over(value: &mut Value, actor: &str) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| !(key == "as" && value == actor));
            for (key, value) in fields {
                match value {
                    Value::String(name) if key == "of" && name == actor => *name = "main".into(),
                    Value::Array(names) if key == "as" => names.retain(|name| name != actor),
                    other => hand_over(other, actor),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hand_over(item, actor)),
        _ => {}
    }
}

/// The document with one thing less inside of a step, an observation or a part of the world, or with one
/// that is plainer.
fn less_inside(document: &Value) -> Vec<Value> {
    let mut changed = Vec::new();
    for top in ["/world/tree", "/world/mounts", "/world/actors", "/steps", "/observe"] {
        if let Some(list) = document.pointer(top) {
            let mut put = |list: Value| {
                let mut less = document.clone();
                if let Some(place) = less.pointer_mut(top) {
                    *place = list;
                }
                changed.push(less);
            };
            // The parts themselves are thinned out elsewhere: here it is about what is in them.
            each_part("", list, &mut |key, part, rebuild| {
                lesser(key, part, &mut |less| put(rebuild(less)));
            });
        }
    }
    for key in ["timeout", "requires"].into_iter().filter(|key| document.get(key).is_some()) {
        let mut less = document.clone();
        less.as_object_mut().map(|fields| fields.shift_remove(key));
        changed.push(less);
    }
    changed
}

/// Puts a value in the place of a part.
type Rebuild<'r> = &'r dyn Fn(Value) -> Value;

/// Calls for each item or field, and the key that it stands under, with what puts a value in its place.
fn each_part(key: &str, value: &Value, call: &mut dyn FnMut(&str, &Value, Rebuild<'_>)) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                call(key, item, &|new| {
                    let mut items = items.clone();
                    items[index] = new;
                    Value::Array(items)
                });
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                // Attributes have names of their own, and values that are texts.
                let inside = if key == "xattrs" { "value" } else { name };
                call(inside, field, &|new| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), new);
                    Value::Object(fields)
                });
            }
        }
        _ => {}
    }
}

/// Calls with everything that is a little less than a value, which stands under a key.
fn lesser(key: &str, value: &Value, call: &mut dyn FnMut(Value)) {
    match value {
        Value::Object(fields) => {
            if KINDS.iter().any(|kind| fields.contains_key(*kind)) {
                ["file", "dir"].into_iter().for_each(|word| call(json!(word)));
            }
            if !fields.is_empty() {
                call(json!({}));
            }
        }
        Value::String(text) => {
            let plain: &[&str] = match key {
                "mode" | "umask" => &["0755", "0644", "0000"],
                "file" | "data" | "value" | "text" | "then" => &["", "x"],
                _ => &[],
            };
            let known = plain.iter().position(|plain| plain == text).unwrap_or(plain.len());
            plain[..known].iter().for_each(|text| call(json!(text)));
        }
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            let less = [0, 1, number / 2].into_iter().filter(|less| less.abs() < number.abs());
            less.for_each(|less| call(json!(less)));
        }
        _ => {}
    }
    for index in 0..count(value) {
        let mut less = value.clone();
        remove(&mut less, index, index + 1);
        call(less);
    }
    each_part(key, value, &mut |key, part, rebuild| {
        lesser(key, part, &mut |less| call(rebuild(less)));
    });
}
