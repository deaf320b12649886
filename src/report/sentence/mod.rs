//! A step in a sentence, for those who do not know its syscall.

mod files;
mod mounts;
mod processes;

use std::fmt::Display;

use serde::Serialize;

use crate::scenario::operation::{ExecOperation, InFamily, Operation};
use crate::scenario::plan::PlanStep;
use crate::scenario::scalar::{Name, StepPath};

/// Who does what.
pub fn sentence(step: &PlanStep) -> String {
    let said = format!("{} {}", step.actor, predicate(&step.operation));
    // Paths and data may hold anything, and must not write to a terminal.
    said.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn predicate(operation: &Operation) -> String {
    match operation.in_family() {
        InFamily::Files(operation) => files::predicate(operation),
        InFamily::Mounts(operation) => mounts::predicate(operation),
        InFamily::Roots(operation) => processes::of_roots(operation),
        InFamily::Namespaces(operation) => processes::of_namespaces(operation),
        InFamily::Credentials(operation) => processes::of_credentials(operation),
        InFamily::Exec(ExecOperation::Exec(s)) => format!("runs {}{}", s.path, with(" ", &s.args)),
        InFamily::Container(operation) => processes::of_containers(operation),
    }
}

/// What a step is about, by its path or by the name of an open file.
fn file(path: Option<&StepPath>, fd: Option<&Name>) -> String {
    match (path, fd) {
        (Some(path), _) => path.to_string(),
        (None, Some(fd)) => format!("`{fd}`"),
        (None, None) => "nothing".to_owned(),
    }
}

/// A text as it would be typed, cut where it is long.
fn brief(text: &str) -> String {
    const SHOWN: usize = 40;
    let cut: String = text.chars().take(SHOWN).collect();
    let dots = if cut.len() < text.len() { "..." } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

/// The word that the language has for something.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Words of the language behind a text that leads to them; nothing where there are none.
fn with(before: &str, words: &[impl Serialize]) -> String {
    if words.is_empty() {
        return String::new();
    }
    format!("{before}{}", words.iter().map(word).collect::<Vec<_>>().join(","))
}

/// `a`, `a and b`, `a, b and c`; another word where there is nothing.
fn list(items: &[impl Display], nothing: &str) -> String {
    match items {
        [] => nothing.to_owned(),
        [one] => one.to_string(),
        [before @ .., last] => {
            let before: Vec<_> = before.iter().map(ToString::to_string).collect();
            format!("{} and {last}", before.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(operation: &str) -> String {
        let operation = serde_json::from_str(operation).unwrap();
        let actor = "main".parse().unwrap();
        sentence(&PlanStep { actor, operation, line: 1 })
    }

    #[test]
    fn a_step_is_a_sentence() {
        assert_eq!(of(r#"{"unlink": {"path": "a/b"}}"#), "main removes the name a/b");
        assert_eq!(
            of(
                r#"{"overlay": {"at": "m", "lower": ["a", "b"], "upper": "u", "options": ["userxattr"]}}"#
            ),
            "main mounts an overlay of a and b below u at m (userxattr)"
        );
        assert_eq!(
            of(r#"{"chown": {"path": "f", "uid": 7, "follow": false}}"#),
            "main changes the owner of f to user 7, the link itself"
        );
        assert_eq!(
            of(r#"{"fsconfig": {"fd": "c", "command": "create"}}"#),
            "main tells the context `c` to create"
        );
    }

    #[test]
    fn a_sentence_cannot_write_to_a_terminal() {
        let said = of("{\"symlink\": {\"path\": \"\\u001b[2J\", \"target\": \"\\u0007\"}}");
        assert!(!said.contains(char::is_control), "{said:?}");
    }
}
