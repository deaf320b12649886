//! Where two answers to one case differ.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Observation, Step, Told};

/// A place in what came of a case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// A step, by its index.
    Step(usize),
    /// An observation, by its index.
    Observation(usize),
}

/// One difference: where, and what both have there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    pub part: Part,
    /// The value within the part; empty for the part itself.
    pub path: String,
    pub left: String,
    pub right: String,
}

/// How two answers to one case differ, in their order.
pub(super) fn differences(left: &Told, right: &Told) -> Vec<Difference> {
    let mut comparison = Comparison::default();
    for index in 0..left.steps.len().max(right.steps.len()) {
        comparison.part = Part::Step(index);
        comparison.step(left.steps.get(index), right.steps.get(index));
    }
    // As the transcript numbers them: identities of observations are numbered by themselves.
    comparison.of_left.clear();
    comparison.of_right.clear();
    for index in 0..left.observations.len().max(right.observations.len()) {
        comparison.part = Part::Observation(index);
        comparison.observation(left.observations.get(index), right.observations.get(index));
    }
    comparison.found
}

/// What is shown of an outcome: its error, or that there was none.
pub(super) fn shown_outcome(step: Option<&Step>) -> String {
    match step.and_then(|step| step.outcome.as_deref()) {
        None => NOTHING.to_owned(),
        Some(outcome) if is_ok(outcome) => "ok".to_owned(),
        // Each runtime says it in its own words.
        Some(outcome) if outcome.starts_with("refused by ") => "refused".to_owned(),
        // What is said of an error is worded anew from version to version, and by everybody.
        Some(outcome) => match outcome.split_once(" (") {
            Some((error, said)) if error.contains(" from ") && said.contains(" says: ") => {
                error.to_owned()
            }
            _ => outcome.to_owned(),
        },
    }
}

fn is_ok(outcome: &str) -> bool {
    outcome == "ok" || outcome.starts_with("ok with ")
}

const NOTHING: &str = "-";

struct Comparison {
    part: Part,
    /// Which identities stand for the same thing, in both directions.
    of_left: BTreeMap<String, String>,
    of_right: BTreeMap<String, String>,
    found: Vec<Difference>,
}

impl Default for Comparison {
    fn default() -> Self {
        let (of_left, of_right) = (BTreeMap::new(), BTreeMap::new());
        Self { part: Part::Step(0), of_left, of_right, found: Vec::new() }
    }
}

impl Comparison {
    fn differ(&mut self, path: &str, left: String, right: String) {
        let (part, path) = (self.part.clone(), path.to_owned());
        self.found.push(Difference { part, path, left, right });
    }

    fn step(&mut self, left: Option<&Step>, right: Option<&Step>) {
        let (before, after) = (shown_outcome(left), shown_outcome(right));
        if before != after {
            return self.differ("", before, after);
        }
        let (Some(left), Some(right)) = (left, right) else { return };
        self.value(&left.values, &right.values, "");
    }

    fn observation(&mut self, left: Option<&Observation>, right: Option<&Observation>) {
        let shown = |one: Option<&Observation>| match one {
            None => NOTHING.to_owned(),
            Some(one) => one.failed.clone().unwrap_or_else(|| "found".to_owned()),
        };
        match (left, right) {
            (Some(a), Some(b)) if a.title != b.title => {
                self.differ("", a.title.clone(), b.title.clone());
            }
            (Some(a), Some(b)) if a.failed.is_none() && b.failed.is_none() => {
                self.value(&a.found, &b.found, "");
            }
            _ if shown(left) != shown(right) => self.differ("", shown(left), shown(right)),
            _ => {}
        }
    }

    fn value(&mut self, left: &Value, right: &Value, path: &str) {
        match (left, right) {
            (Value::String(a), Value::String(b)) if class(a).is_some() && class(a) == class(b) => {
                self.identity(a, b, path);
            }
            (Value::Array(a), Value::Array(b)) => self.list(a, b, path),
            (Value::Object(a), Value::Object(b)) => {
                for (name, value) in a {
                    let path = within(path, name);
                    match b.get(name) {
                        Some(other) => self.value(value, other, &path),
                        None => self.differ(&path, shown(value), NOTHING.to_owned()),
                    }
                }
                for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                    self.differ(&within(path, name), NOTHING.to_owned(), shown(value));
                }
            }
            (a, b) if a == b => {}
            (a, b) => self.differ(path, shown(a), shown(b)),
        }
    }

    fn identity(&mut self, left: &str, right: &str, path: &str) {
        // Whether two times or two numbers of devices are equal is chance.
        if matches!(class(left), Some("time" | "number")) {
            return;
        }
        match (self.of_left.get(left), self.of_right.get(right)) {
            (None, None) => {
                self.of_left.insert(left.to_owned(), right.to_owned());
                self.of_right.insert(right.to_owned(), left.to_owned());
            }
            (Some(known), _) if known == right => {}
            _ => self.differ(path, left.to_owned(), right.to_owned()),
        }
    }

    fn list(&mut self, left: &[Value], right: &[Value], path: &str) {
        let names = |items: &[Value]| items.iter().map(label).collect::<Option<Vec<_>>>();
        let (Some(a), Some(b)) = (names(left), names(right)) else {
            if left.len() != right.len() {
                let text = |items: &[Value]| shown(&Value::Array(items.to_vec()));
                return self.differ(path, text(left), text(right));
            }
            for (one, other) in left.iter().zip(right) {
                self.value(one, other, path);
            }
            return;
        };
        // Several mounts can lie at one place: the first is held against the first.
        let (a, b) = (numbered(a), numbered(b));
        for (name, item) in a.iter().zip(left) {
            let path = within(path, &name.0);
            match b.iter().position(|other| other == name) {
                Some(at) => self.value(item, &right[at], &path),
                None => self.differ(&path, "there".to_owned(), NOTHING.to_owned()),
            }
        }
        for name in b.iter().filter(|name| !a.contains(name)) {
            self.differ(&within(path, &name.0), NOTHING.to_owned(), "there".to_owned());
        }
    }
}

/// Each name with how often it stood before.
fn numbered(names: Vec<String>) -> Vec<(String, usize)> {
    let mut seen = BTreeMap::<String, usize>::new();
    let number = names.into_iter().map(|name| {
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        (name, *count)
    });
    number.collect()
}

fn within(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path} {name}") }
}

/// The path or mount point of an entry, which tells it from the others of its list.
fn label(item: &Value) -> Option<String> {
    let (key, value) = item.as_object()?.iter().next()?;
    (key == "path" || key == "at").then(|| value.as_str().map(str::to_owned)).flatten()
}

/// The class of what was renumbered, as in `ino#2`, and of what is another one on every machine.
fn class(text: &str) -> Option<&str> {
    if is_file_handle(text) {
        return Some("handle");
    }
    let (class, number) = text.split_once('#')?;
    let known = ["dev", "ino", "number", "mnt", "peer", "ns", "time"].contains(&class);
    (known && number.parse::<usize>().is_ok()).then_some(class)
}

/// Whether it is a file handle as overlayfs writes it: a zero, a magic 0xfb and the id of a file system
/// (fs/overlayfs/overlayfs.h, struct ovl_fb), as text or in hexadecimal digits.
fn is_file_handle(text: &str) -> bool {
    const LEAST_DIGITS: usize = 24;
    let digits = text.strip_prefix("hex:").unwrap_or(text);
    text.starts_with("\u{0}\\xfb")
        || digits.starts_with("00fb")
            && digits.len() >= LEAST_DIGITS
            && digits.chars().all(|c| c.is_ascii_hexdigit())
}

/// A value on one line.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(outcome: &str, values: Value, found: Value) -> Told {
        serde_json::from_value(json!({
            "id": "a", "file": "a.yaml", "title": "t", "status": "pass", "reasons": [], "missing": [],
            "probes": [], "world": [],
            "steps": [{ "line": 3, "operation": "stat", "status": "pass", "outcome": outcome, "values": values }],
            "observations": [{ "title": "tree at .", "found": found, "rules": [] }],
        }))
        .unwrap()
    }

    fn all(left: &Told, right: &Told) -> Vec<(String, String, String)> {
        let told = differences(left, right).into_iter();
        told.map(|one| (one.path, one.left, one.right)).collect()
    }

    fn of(parts: [&str; 3]) -> (String, String, String) {
        let [path, left, right] = parts.map(str::to_owned);
        (path, left, right)
    }

    #[test]
    fn an_outcome_a_value_and_an_entry_differ_each_at_its_place() {
        let ok = told("ok with nlink 2", json!({ "nlink": 2 }), json!([]));
        assert_eq!(
            all(&ok, &told("EPERM from statx", Value::Null, json!([]))),
            [of(["", "ok", "EPERM from statx"])]
        );
        let other = told("ok with nlink 1", json!({ "nlink": 1 }), json!([]));
        assert_eq!(all(&ok, &other), [of(["nlink", "2", "1"])]);
        let entry = |mode: &str| json!([{ "path": "d/f", "mode": mode }]);
        let (left, right) =
            (told("ok", Value::Null, entry("0644")), told("ok", Value::Null, entry("0600")));
        assert_eq!(all(&left, &right), [of(["d/f mode", "0644", "0600"])]);
        assert_eq!(all(&left, &told("ok", Value::Null, json!([]))), [of(["d/f", "there", "-"])]);
    }

    /// What one kernel did not number must not make all that comes later differ.
    #[test]
    fn identities_differ_where_equality_does() {
        let pair = |a: &str, b: &str| told("ok", json!({ "a": a, "b": b }), json!([]));
        assert!(all(&pair("ino#1", "ino#2"), &pair("ino#2", "ino#3")).is_empty());
        assert_eq!(
            all(&pair("ino#1", "ino#1"), &pair("ino#1", "ino#2")),
            [of(["b", "ino#1", "ino#2"])]
        );
        assert!(all(&pair("time#1", "time#1"), &pair("time#1", "time#2")).is_empty());
        let handles = pair("00fb210001b16118c8195d4c", "hex:00fb210001ccdde527143148");
        let others = pair("00fb210001fff786222d8c49", "hex:00fb2100011ba1241dfa4614");
        assert!(all(&handles, &others).is_empty());
    }

    #[test]
    fn what_is_said_of_an_error_is_no_difference() {
        let said = |text: &str| told(&format!("EINVAL from mount{text}"), Value::Null, json!([]));
        let (one, other) = (said(" (the kernel says: e one)"), said(" (the kernel says: e other)"));
        assert!(all(&one, &other).is_empty());
        assert!(all(&one, &said(" (fuse-overlayfs says: no)")).is_empty());
        assert!(all(&one, &said("")).is_empty());
    }
}
