//! The files of the sandbox, with modes and owners.

use super::{Entry, Line, Look};

/// The files of the sandbox, where there are any.
pub fn files(look: &mut Look<'_>) -> Option<Vec<Entry>> {
    let mut entries = look.tree(&".".parse().ok()?, None, false)?;
    entries.retain(|entry| entry.path != ".");
    (!entries.is_empty()).then_some(entries)
}

/// What an entry is, behind its name.
pub fn kind(entry: &Entry) -> String {
    match entry.text("type").as_str() {
        "dir" | "file" => String::new(),
        "symlink" => format!(" -> {}", entry.text("target")),
        "char" | "block" => format!(" {} {}", entry.text("type"), entry.text("rdev")),
        other => format!(" {other}"),
    }
}

/// One line a file.
pub fn lines(entries: &[Entry]) -> Vec<Line> {
    let mut lines = Vec::new();
    for entry in entries {
        let depth = entry.path.matches('/').count();
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        let slash = if entry.text("type") == "dir" { "/" } else { "" };
        let kind = kind(entry);
        let mode = entry.text("mode");
        let mut line = format!(
            "{:<4} {:<12} {}{name}{slash}{kind}",
            if mode.is_empty() { "-" } else { &mode },
            entry.text("owner"),
            "  ".repeat(depth),
        );
        for (name, value) in entry.xattrs() {
            line.push_str(&format!("  {name}={}", super::plain(value)));
        }
        lines.push(Line::new(&entry.path, line.clone(), line));
    }
    lines
}
