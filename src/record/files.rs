//! Steps that a person would write as one: to open a file, read or write it and close it again.

use serde_json::{Map, Value, json};

use super::Line;

/// Puts together what follows each other.
pub fn put_together(lines: Vec<Line>) -> Vec<Line> {
    let mut put = Vec::with_capacity(lines.len());
    let mut rest = &lines[..];
    while let Some((first, others)) = rest.split_first() {
        if let Some((line, taken)) = whole(rest) {
            put.push(line);
            rest = &rest[taken..];
        } else {
            put.push(first.clone());
            rest = others;
        }
    }
    put
}

/// The one field of a step's operation, and its fields.
fn operation(line: &Line) -> Option<(&str, &Map<String, Value>)> {
    let Line::Step(step) = line else { return None };
    let (word, fields) = step.as_object()?.iter().next()?;
    Some((word, fields.as_object()?))
}

/// A whole file that was read or written, and how many lines that took.
fn whole(lines: &[Line]) -> Option<(Line, usize)> {
    let (word, opened) = operation(lines.first()?)?;
    if word != "open" || opened.contains_key("expect") {
        return None;
    }
    let (fd, actor) = (opened.get("fd")?, opened.get("as"));
    let flags: Vec<&str> = opened
        .get("flags")
        .and_then(Value::as_array)
        .map_or(vec!["rdonly"], |flags| flags.iter().filter_map(Value::as_str).collect());
    let wanted = match flags[..] {
        ["rdonly"] => "read",
        ["wronly", "creat", "trunc"] | ["wronly", "creat", "append"] => "write",
        _ => return None,
    };
    let mut data = String::new();
    for (index, line) in lines.iter().enumerate().skip(1) {
        let (word, fields) = operation(line)?;
        if fields.get("fd") != Some(fd) || fields.get("as") != actor {
            return None;
        }
        // What is read or written elsewhere than behind what was before, or fails, says more.
        if word == "close" && index > 1 {
            let mut said = Map::new();
            said.extend(actor.map(|actor| ("as".to_owned(), actor.clone())));
            said.insert("path".to_owned(), opened.get("path")?.clone());
            if wanted == "read" {
                said.insert("expect".to_owned(), json!({ "data": data }));
            } else {
                said.insert("data".to_owned(), json!(data));
                if flags.contains(&"append") {
                    said.insert("append".to_owned(), json!(true));
                }
                said.extend(opened.get("mode").map(|mode| ("mode".to_owned(), mode.clone())));
            }
            return Some((Line::Step(json!({ wanted: said })), index + 1));
        }
        if word != wanted || fields.contains_key("offset") {
            return None;
        }
        data.push_str(match (wanted, fields.get("expect")) {
            ("read", Some(Value::Object(expect))) => expect.get("data")?.as_str()?,
            ("write", None) => fields.get("data")?.as_str()?,
            _ => return None,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(steps: &[Value]) -> Vec<Line> {
        steps.iter().cloned().map(Line::Step).collect()
    }

    #[test]
    fn what_was_written_at_once_is_one_step() {
        let flags = ["wronly", "creat", "trunc"];
        let lines = steps(&[
            json!({ "open": { "path": "f", "flags": flags, "mode": "0666", "fd": "f1" } }),
            json!({ "write": { "fd": "f1", "data": "one " } }),
            json!({ "write": { "fd": "f1", "data": "two" } }),
            json!({ "close": { "fd": "f1" } }),
            json!({ "unlink": { "path": "g" } }),
        ]);
        let expected = steps(&[
            json!({ "write": { "path": "f", "data": "one two", "mode": "0666" } }),
            json!({ "unlink": { "path": "g" } }),
        ]);
        assert_eq!(put_together(lines), expected);
    }

    #[test]
    fn what_happens_between_keeps_the_steps_apart() {
        let lines = steps(&[
            json!({ "open": { "path": "f", "fd": "f1" } }),
            json!({ "unlink": { "path": "f" } }),
            json!({ "read": { "fd": "f1", "expect": { "data": "x" } } }),
            json!({ "close": { "fd": "f1" } }),
        ]);
        assert_eq!(put_together(lines.clone()), lines);
    }
}
