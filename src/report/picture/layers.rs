//! Layers of an overlay side by side with what is seen through it.

use std::collections::BTreeMap;

use super::table::table;
use super::{Entry, Look, Text, plain};
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

/// The layers of an overlay, and what is seen through it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    at: String,
    /// The topmost first, what is seen at last.
    pub(super) columns: Vec<Column>,
}

/// A layer, or what is seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub role: &'static str,
    pub name: String,
    pub entries: Vec<Entry>,
}

/// What `role` says of the column of what is seen.
pub(super) const SEEN: &str = "seen at";

/// Looks at the layers of an overlay.
pub fn layers(overlay: &Overlay<'_>, look: &mut Look<'_>) -> Option<Layers> {
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
        let (name, entries) = (path.as_str().to_owned(), entries.unwrap_or_default());
        columns.push(Column { role, name, entries });
    }
    columns.push(Column { role: SEEN, name: mount.at.to_string(), entries: merged });
    Some(Layers { at: mount.at.to_string(), columns })
}

impl Column {
    /// What it is called.
    pub fn head(&self) -> String {
        if self.name == self.role {
            self.name.clone()
        } else {
            format!("{} {}", self.role, self.name)
        }
    }
}

impl Layers {
    /// What is shown.
    pub fn title(&self) -> String {
        format!("overlay at {}", self.at)
    }

    /// A table: one row a path, one column a layer.
    pub fn text(&self) -> Text {
        let heads: Vec<String> =
            [String::new()].into_iter().chain(self.columns.iter().map(Column::head)).collect();
        let mut rows: BTreeMap<Vec<&str>, Vec<String>> = BTreeMap::new();
        for (index, column) in self.columns.iter().enumerate() {
            for entry in column.entries.iter().filter(|entry| entry.path != ".") {
                let path: Vec<_> = entry.path.split('/').collect();
                let name = format!("{}{}", "  ".repeat(path.len() - 1), path[path.len() - 1]);
                let row = rows.entry(path).or_insert_with(|| vec![String::new(); heads.len()]);
                row[0] = name;
                row[index + 1] = Cell::of(entry).text();
            }
        }
        let rows: Vec<_> = rows.into_iter().map(|(path, row)| (path.join("/"), row)).collect();
        Text { title: self.title(), lines: table(&heads, &rows) }
    }
}

/// What a layer has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub what: String,
    /// The marks of the overlay by their names, and other extended attributes.
    pub marks: Vec<String>,
}

impl Cell {
    pub fn of(entry: &Entry) -> Self {
        let kind = entry.text("type");
        if kind == "char" && entry.text("rdev") == "0:0" {
            return Self { what: WHITEOUT.to_owned(), marks: Vec::new() };
        }
        let mut what = match kind.as_str() {
            "symlink" => format!("link to {}", entry.text("target")),
            "file" => match entry.field("content") {
                Some(Value::Text(content)) if !content.is_empty() => {
                    format!("file {}", brief(content))
                }
                _ => "file".to_owned(),
            },
            other => other.to_owned(),
        };
        what.push_str(&entry.rights());
        let mut marks = Vec::new();
        for (name, value) in entry.xattrs() {
            match name.rsplit_once("overlay.").map(|(_, mark)| mark) {
                Some("opaque") => marks.push("opaque".to_owned()),
                Some("redirect") => marks.push(format!("redirect to {}", plain(value))),
                Some("metacopy") => marks.push("without data".to_owned()),
                Some("whiteout") => marks.push(WHITEOUT.to_owned()),
                Some("origin" | "impure" | "nlink" | "uuid" | "upper" | "protattr") => {}
                Some(mark) => marks.push(mark.to_owned()),
                None => marks.push(format!("{name}={}", plain(value))),
            }
        }
        Self { what, marks }
    }

    /// Whether it hides what lies below.
    pub fn is_whiteout(&self) -> bool {
        self.what == WHITEOUT || self.marks.iter().any(|mark| mark == WHITEOUT)
    }

    fn text(&self) -> String {
        let parts = [&self.what].into_iter().chain(&self.marks).map(String::as_str);
        parts.collect::<Vec<_>>().join(", ")
    }
}

const WHITEOUT: &str = "whiteout";

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
            ("upper", "upper", vec![dir("."), dir("etc"), whiteout, opaque]),
            ("lower", "lower", vec![dir("."), dir("etc"), file("etc/gone"), file("etc/kept")]),
            (SEEN, "m", vec![dir("."), dir("etc"), file("etc/kept"), dir("new")]),
        ];
        let columns =
            columns.map(|(role, name, entries)| Column { role, name: name.into(), entries });
        let picture = Layers { at: "m".into(), columns: columns.into() }.text();
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
        assert_eq!(Cell::of(&file).text(), "file 4755 of 1000:0");
    }
}
