//! The same pictures as SVG. Colours are those of the page, by classes; what changed has a sign and a word, too.

mod layers;
mod maps;
mod mounts;
mod panel;
mod way;

use super::super::markup::Markup;
use super::{Entry, Picture, Shown, plain, tree};
use panel::{Panel, Row};

/// Width of a character of the pictures' font, height of a line, and the space around what stands together.
const CHAR: f64 = 7.3;
const LINE: f64 = 20.0;
const PAD: f64 = 10.0;
/// Longest name and longest detail; the whole stands in the title of the row.
const NAME: usize = 36;
const DETAIL: usize = 64;

impl Picture {
    /// Draws it. Where there is a picture of before, what changed since is marked; `Some(None)` is a picture of what was
    /// not there before.
    pub fn svg(&self, before: Option<Option<&Self>>) -> Markup {
        let since = before.is_some();
        let before = before.flatten().map(|picture| &picture.0);
        let title = self.title();
        match &self.0 {
            Shown::Layers(layers) => {
                let old = before.and_then(|old| match old {
                    Shown::Layers(old) => Some(old),
                    _ => None,
                });
                layers::draw(&title, layers, since.then_some(old))
            }
            Shown::Mounts(tables) => {
                let old = before.and_then(|old| match old {
                    Shown::Mounts(old) => Some(old.as_slice()),
                    _ => None,
                });
                mounts::draw(&title, tables, since.then_some(old))
            }
            Shown::Maps(maps) => maps::draw(&title, maps),
            Shown::Files(_) | Shown::Processes(_) => {
                let rows = panel::compared(rows(&self.0), since.then(|| before.map(rows)));
                alone(&title, rows)
            }
        }
    }
}

/// The rows of what is one list.
fn rows(shown: &Shown) -> Vec<Row> {
    match shown {
        Shown::Files(entries) => entries.iter().map(file).collect(),
        Shown::Processes(processes) => {
            let row = |(name, said): &(String, String)| Row::new(name, 0, name, said);
            processes.said.iter().map(row).collect()
        }
        _ => Vec::new(),
    }
}

fn file(entry: &Entry) -> Row {
    let depth = entry.path.matches('/').count();
    let name = entry.path.rsplit('/').next().unwrap_or_default();
    let slash = if entry.text("type") == "dir" { "/" } else { "" };
    let mode = entry.text("mode");
    let mode = if mode.is_empty() { "-" } else { &mode };
    let detail = format!("{mode} {}{}", entry.text("owner"), tree::kind(entry));
    let mut row = Row::new(&entry.path, depth, &format!("{name}{slash}"), &detail);
    row.marks =
        entry.xattrs().iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
    row
}

/// One list as a picture.
fn alone(title: &str, rows: Vec<Row>) -> Markup {
    let panel = Panel { head: title.to_owned(), class: "panel", rows };
    let (width, height) = (panel.width(), panel.height());
    svg(title, &panel.told(), width, height, |m| panel.draw(m, 0.0, 0.0, width))
}

/// A picture of this size, with what it shows in words.
fn svg(title: &str, told: &str, width: f64, height: f64, draw: impl FnOnce(&mut Markup)) -> Markup {
    let view = format!("-1 -1 {} {}", number(width + 2.0), number(height + 2.0));
    let attributes = [
        ("viewBox", view.as_str()),
        ("width", &number(width + 2.0)),
        ("height", &number(height + 2.0)),
        ("role", "img"),
    ];
    Markup::of(|m| {
        m.element("svg", &attributes, |m| {
            m.put("title", &[], title);
            m.put("desc", &[], told);
            draw(m);
        });
    })
}

/// A number as an attribute has it.
fn number(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// How wide a text is.
fn wide(text: &str) -> f64 {
    // Letters of East Asia take two columns.
    let columns = text
        .chars()
        .map(|c| if c >= '\u{1100}' && !('\u{2000}'..'\u{2e80}').contains(&c) { 2.0 } else { 1.0 });
    columns.sum::<f64>() * CHAR
}

/// A text at a place.
fn label(m: &mut Markup, x: f64, y: f64, class: &str, text: &str) {
    m.put("text", &[("x", &number(x)), ("y", &number(y)), ("class", class)], text);
}

/// A box.
fn frame(m: &mut Markup, class: &str, x: f64, y: f64, width: f64, height: f64) {
    let (x, y, width, height) = (number(x), number(y), number(width), number(height));
    let attributes = [
        ("x", x.as_str()),
        ("y", &y),
        ("width", &width),
        ("height", &height),
        ("rx", "4"),
        ("class", class),
    ];
    m.void("rect", &attributes);
}
