//! The files of the sandbox, with modes and owners.

use super::{Line, Look, Picture};

/// One line a file.
pub fn picture(look: &mut Look<'_>) -> Option<Picture> {
    let entries = look.tree(&".".parse().ok()?, None, false)?;
    let mut lines = Vec::new();
    for entry in entries.iter().filter(|entry| entry.path != ".") {
        let depth = entry.path.matches('/').count();
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        let slash = if entry.text("type") == "dir" { "/" } else { "" };
        let kind = match entry.text("type").as_str() {
            "dir" | "file" => String::new(),
            "symlink" => format!(" -> {}", entry.text("target")),
            "char" | "block" => format!(" {} {}", entry.text("type"), entry.text("rdev")),
            other => format!(" {other}"),
        };
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
    (!lines.is_empty()).then(|| Picture { title: "files (mode, owner)".to_owned(), lines })
}
