//! Plainer names and shorter paths, everywhere at once.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The keys whose texts are paths.
const PATHS: &[&str] = &[
    "path", "from", "to", "at", "new_root", "put_old", "upper", "work", "lower", "data", "device",
    "root", "cwd", "under", "export", "hardlink", "symlink", "target", "source",
];
/// A name of this many letters is plain.
const PLAIN: usize = 6;

/// The document without one of the directories that its paths lead through.
pub fn shorter_paths(document: &Value) -> Vec<Value> {
    let mut through = BTreeSet::new();
    each_path(document, &mut |path| {
        let parts: Vec<&str> = path.split('/').collect();
        through.extend(parts[..parts.len() - 1].iter().map(|part| (*part).to_owned()));
    });
    let without = |name: &String| {
        changed(document, &|path| {
            let parts: Vec<&str> = path.split('/').collect();
            let alone = parts.len() == 1;
            let left: Vec<&str> = parts.into_iter().filter(|part| alone || part != name).collect();
            left.join("/")
        })
    };
    through.iter().filter(|name| !name.is_empty()).filter_map(without).collect()
}

/// The document with plain names for those that are not: for all of them, and for each.
pub fn plainer(document: &Value) -> Vec<Value> {
    let mut used = BTreeSet::new();
    each_path(document, &mut |path| used.extend(path.split('/').map(str::to_owned)));
    let mut free = ('a'..='z').map(String::from).filter(|name| !used.contains(name));
    let odd = used.iter().filter(|name| !is_plain(name));
    let renamed: Vec<(String, String)> = odd.cloned().zip(&mut free).collect();
    let rename = |pairs: &[(String, String)]| {
        changed(document, &|path| {
            let new = |part: &str| {
                let pair = pairs.iter().find(|(old, _)| old == part);
                pair.map_or_else(|| part.to_owned(), |(_, new)| new.clone())
            };
            path.split('/').map(new).collect::<Vec<_>>().join("/")
        })
    };
    let all = (renamed.len() > 1).then(|| rename(&renamed)).flatten();
    all.into_iter().chain(renamed.chunks(1).filter_map(rename)).collect()
}

fn is_plain(name: &str) -> bool {
    let letters = name.chars().all(|c| c.is_ascii_lowercase());
    let numbered = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_role = ["lower", "upper", "work", "merged", "data"].contains(&numbered);
    [".", ".."].contains(&name) || is_role || (letters && name.len() <= PLAIN)
}

/// Calls with every path of a document.
fn each_path(document: &Value, call: &mut dyn FnMut(&str)) {
    let change = |path: &str| path.to_owned();
    walk(document, "", &mut |path| {
        call(path);
        change(path)
    });
}

/// The document with other paths; `None` where two entries would have one name.
fn changed(document: &Value, change: &dyn Fn(&str) -> String) -> Option<Value> {
    let new = walk(document, "", &mut |path| change(path));
    (size(&new) == size(document)).then_some(new)
}

/// A document anew, with each path as `change` wants it.
fn walk(value: &Value, key: &str, change: &mut dyn FnMut(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            let mut new = Map::new();
            for (name, field) in fields {
                let field = walk(field, name, change);
                let name =
                    if key == "tree" && is_tree(fields) { change(name) } else { name.clone() };
                new.insert(name, field);
            }
            Value::Object(new)
        }
        Value::Array(items) => items.iter().map(|item| walk(item, key, change)).collect(),
        Value::String(path) if PATHS.contains(&key) => Value::String(change(path)),
        other => other.clone(),
    }
}

/// Whether this is a tree of the world and not an observation of one.
fn is_tree(fields: &Map<String, Value>) -> bool {
    !fields.contains_key("at") || fields.values().any(|value| value.is_object())
}

fn size(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        _ => 1,
    }
}
