//! Layers of an overlay side by side with what is seen through it.

use std::collections::BTreeMap;

use super::table::table;
use super::{Entry, Look, Picture, plain};
use crate::scenario::operation::{self, Operation};
use crate::scenario::plan::Plan;
use crate::scenario::scalar::{Name, StepPath, WorldPath};
use crate::scenario::world::Setup;
use crate::transcript::Value;

/// An overlay that a plan mounts.
pub struct Overlay<'p> {
    mount: &'p operation::Overlay,
    /// Who sees it, where that is not the sandbox.
    actor: Option<&'p Name>,
}

/// The overlays that the world and the first steps mount.
pub fn overlays(plan: &Plan, steps: usize) -> Vec<Overlay<'_>> {
    let world = plan.world.setup.iter().filter_map(|setup| match setup {
        Setup::Mount { operation: Operation::Overlay(mount), .. } => {
            Some(Overlay { mount, actor: None })
        }
        _ => None,
    });
    let taken = plan.steps.iter().take(steps).filter_map(|step| match &step.operation {
        Operation::Overlay(mount) => Some(Overlay { mount, actor: Some(&step.actor) }),
        _ => None,
    });
    world.chain(taken).collect()
}

/// A table: one row a path, one column a layer, the topmost first, and what is seen at last.
pub fn picture(overlay: &Overlay<'_>, look: &mut Look<'_>) -> Option<Picture> {
    let Overlay { mount, actor } = overlay;
    let merged = look.tree(&world_path(&mount.at)?, *actor, false)?;
    let mut columns = Vec::new();
    for (role, path) in mount
        .upper
        .iter()
        .map(|path| ("upper", path))
        .chain(mount.lower.iter().map(|path| ("lower", path)))
        .chain(mount.data.iter().map(|path| ("data", path)))
    {
        let entries = world_path(path).and_then(|path| look.tree(&path, None, true));
        let name = path.as_str();
        let head = if name == role { name.to_owned() } else { format!("{role} {name}") };
        columns.push((head, entries.unwrap_or_default()));
    }
    columns.push((format!("seen at {}", mount.at), merged));
    Some(draw(format!("overlay at {}", mount.at), &columns))
}

fn draw(title: String, columns: &[(String, Vec<Entry>)]) -> Picture {
    let heads: Vec<String> =
        [String::new()].into_iter().chain(columns.iter().map(|(head, _)| head.clone())).collect();
    let mut rows: BTreeMap<Vec<&str>, Vec<String>> = BTreeMap::new();
    for (index, (_, entries)) in columns.iter().enumerate() {
        for entry in entries.iter().filter(|entry| entry.path != ".") {
            let path: Vec<_> = entry.path.split('/').collect();
            let name = format!("{}{}", "  ".repeat(path.len() - 1), path[path.len() - 1]);
            let row = rows.entry(path).or_insert_with(|| vec![String::new(); heads.len()]);
            row[0] = name;
            row[index + 1] = cell(entry);
        }
    }
    let rows: Vec<_> = rows.into_iter().map(|(path, row)| (path.join("/"), row)).collect();
    Picture { title, lines: table(&heads, &rows) }
}

/// What a layer has at a path, with the marks of the overlay by their names.
fn cell(entry: &Entry) -> String {
    let kind = entry.text("type");
    if kind == "char" && entry.text("rdev") == "0:0" {
        return "whiteout".to_owned();
    }
    let mut text = match kind.as_str() {
        "symlink" => format!("link to {}", entry.text("target")),
        "file" => match entry.field("content") {
            Some(Value::Text(content)) if !content.is_empty() => {
                format!("file {}", brief(content))
            }
            _ => "file".to_owned(),
        },
        other => other.to_owned(),
    };
    text.push_str(&entry.rights());
    for (name, value) in entry.xattrs() {
        match name.rsplit_once("overlay.").map(|(_, mark)| mark) {
            Some("opaque") => text.push_str(", opaque"),
            Some("redirect") => text.push_str(&format!(", redirect to {}", plain(value))),
            Some("metacopy") => text.push_str(", without data"),
            Some("whiteout") => text.push_str(", whiteout"),
            Some("origin" | "impure" | "nlink" | "uuid" | "upper" | "protattr") => {}
            Some(mark) => text.push_str(&format!(", {mark}")),
            None => text.push_str(&format!(", {name}={}", plain(value))),
        }
    }
    text
}

fn brief(content: &str) -> String {
    const SHOWN: usize = 16;
    let line: String = content.trim_end().chars().take(SHOWN).collect();
    let dots = if line.len() < content.trim_end().len() { "..." } else { "" };
    format!("\"{}{dots}\"", line.escape_debug())
}

/// A path of a step that is one of the world too.
fn world_path(path: &StepPath) -> Option<WorldPath> {
    path.as_str().trim_start_matches('/').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, fields: &[(&str, &str)], xattrs: &[(&str, &str)]) -> Entry {
        let text = |(name, value): &(&str, &str)| ((*name).into(), Value::from(*value));
        let mut fields: Vec<_> = fields.iter().map(text).collect();
        fields.push(("xattrs".into(), Value::Map(xattrs.iter().map(text).collect())));
        Entry { path: path.to_owned(), fields }
    }

    #[test]
    fn layers_stand_side_by_side_with_what_is_seen() {
        let dir = |path| entry(path, &[("type", "dir"), ("mode", "0755")], &[]);
        let file =
            |path| entry(path, &[("type", "file"), ("mode", "0644"), ("content", "x\n")], &[]);
        let whiteout = entry("etc/gone", &[("type", "char"), ("rdev", "0:0")], &[]);
        let opaque = entry("new", &[("type", "dir")], &[("trusted.overlay.opaque", "y")]);
        let columns = [
            ("upper".to_owned(), vec![dir("."), dir("etc"), whiteout, opaque]),
            ("lower".to_owned(), vec![dir("."), dir("etc"), file("etc/gone"), file("etc/kept")]),
            ("seen at m".to_owned(), vec![dir("."), dir("etc"), file("etc/kept"), dir("new")]),
        ];
        let picture = draw("overlay at m".into(), &columns);
        let texts: Vec<_> = picture.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "┌────────┬─────────────┬──────────┬───────────┐",
                "│        │ upper       │ lower    │ seen at m │",
                "├────────┼─────────────┼──────────┼───────────┤",
                "│ etc    │ dir         │ dir      │ dir       │",
                "│   gone │ whiteout    │ file \"x\" │           │",
                "│   kept │             │ file \"x\" │ file \"x\"  │",
                "│ new    │ dir, opaque │          │ dir       │",
                "└────────┴─────────────┴──────────┴───────────┘",
            ]
        );
    }

    #[test]
    fn rights_are_told_where_they_are_unusual() {
        let file = entry("f", &[("type", "file"), ("mode", "4755"), ("owner", "1000:0")], &[]);
        assert_eq!(cell(&file), "file 4755 of 1000:0");
    }
}
