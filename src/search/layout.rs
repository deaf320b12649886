//! A document as YAML that reads like the bundled scenarios: one entry, mount or step a line, in flow
//! style, as long as it fits.

use serde_json::{Map, Value};

/// The longest line that is not divided, where it can be.
const WIDTH: usize = 110;

/// A document as YAML.
pub fn yaml(document: &Value) -> String {
    let mut page = Page::default();
    for (key, value) in entries(document) {
        page.entry(0, key, value);
    }
    page.text
}

/// YAML on its way: lines, and the comments that stand before them.
#[derive(Default)]
pub struct Page {
    /// What is written so far.
    pub text: String,
}

impl Page {
    /// Adds a comment, divided into lines that fit.
    pub fn comment(&mut self, indent: usize, text: &str) {
        let room = WIDTH.saturating_sub(indent + 2);
        let mut line = String::new();
        for word in text.split_whitespace() {
            // What is quoted in a comment may be anything; a comment ends with its line.
            let word: String = word.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                self.line(indent, &format!("# {line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        if !line.is_empty() {
            self.line(indent, &format!("# {line}"));
        }
    }

    /// Adds an entry of a mapping.
    pub fn entry(&mut self, indent: usize, key: &str, value: &Value) {
        let name = scalar(key);
        let line = format!("{name}: {}", flow(key, value));
        let divided = ["world", "mounts", "steps", "observe"].contains(&key);
        match value {
            Value::Object(fields) if !fields.is_empty() && (divided || !fits(indent, &line)) => {
                self.line(indent, &format!("{name}:"));
                fields.iter().for_each(|(key, value)| self.entry(indent + 2, key, value));
            }
            Value::Array(items) if !items.is_empty() && (divided || !fits(indent, &line)) => {
                self.line(indent, &format!("{name}:"));
                items.iter().for_each(|item| self.item(indent + 2, item));
            }
            _ => self.line(indent, &line),
        }
    }

    /// Adds an item of a list.
    pub fn item(&mut self, indent: usize, item: &Value) {
        let one = item.as_object().filter(|fields| fields.len() == 1);
        let inside = one.and_then(|fields| fields.iter().next());
        let line = match inside {
            Some((key, value)) => format!("- {}: {}", scalar(key), flow(key, value)),
            None => format!("- {}", flow("", item)),
        };
        match inside {
            Some((key, Value::Object(fields))) if !fields.is_empty() && !fits(indent, &line) => {
                self.line(indent, &format!("- {}:", scalar(key)));
                fields.iter().for_each(|(key, value)| self.entry(indent + 6, key, value));
            }
            _ => self.line(indent, &line),
        }
    }

    fn line(&mut self, indent: usize, line: &str) {
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn fits(indent: usize, line: &str) -> bool {
    indent + line.chars().count() <= WIDTH
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// A value on one line; `key` is what it belongs to.
fn flow(key: &str, value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, v)| format!("{}: {}", scalar(key), flow(key, v)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let inside = items.iter().map(|item| flow(key, item)).collect::<Vec<_>>().join(", ");
            let apart = items.iter().any(Value::is_object);
            if apart { format!("[ {inside} ]") } else { format!("[{inside}]") }
        }
        Value::String(text) if ["mode", "umask"].contains(&key) && is_octal(text) => {
            format!("{}{text}", if text.starts_with('0') { "" } else { "0" })
        }
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

fn is_octal(text: &str) -> bool {
    (4..=5).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b))
}

/// A text as a scalar: plain where it reads as itself, else in double quotes. `${` is what starts a case
/// variable, and is written as `$${`.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./+=@%".contains(c);
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || "_./".contains(c));
    let is_other = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_ascii_lowercase().as_str())
        || text.parse::<f64>().is_ok();
    if first && !is_other && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() && (c as u32) < 0x100 => {
                quoted.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if c.is_ascii() || c.is_alphanumeric() => quoted.push(c),
            c => quoted.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    quoted.push('"');
    quoted
}
