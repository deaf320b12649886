//! Observations as text that a person reviews line by line.

use std::fmt::Write;

use crate::transcript::{Transcript, Value};

/// The observations of a transcript, one block each; empty where there are none.
pub fn render(transcript: &Transcript) -> String {
    let mut text = String::new();
    for observation in &transcript.observations {
        let _ = writeln!(text, "{}:", observation.title);
        match &observation.found {
            Ok(Value::List(items)) if items.is_empty() => text.push_str("  nothing\n"),
            Ok(Value::List(items)) => items.iter().for_each(|item| entry(&mut text, item)),
            Ok(Value::Map(fields)) => {
                for (name, value) in fields {
                    let _ = writeln!(text, "  {name}: {value}");
                }
            }
            Ok(value) => {
                let _ = writeln!(text, "  {value}");
            }
            Err(outcome) => {
                let _ = writeln!(text, "  {outcome}");
            }
        }
    }
    text
}

/// One entry on one line, led by its path or mount point.
fn entry(text: &mut String, item: &Value) {
    match item {
        Value::Map(fields) if matches!(fields.first(), Some((key, _)) if key == "path" || key == "at") =>
        {
            let _ = writeln!(text, "  {}: {}", fields[0].1, Value::Map(fields[1..].to_vec()));
        }
        other => {
            let _ = writeln!(text, "  - {other}");
        }
    }
}
