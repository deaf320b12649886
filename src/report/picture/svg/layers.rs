//! Layers side by side, from the lowest to what is seen, with one path on one line.

use std::collections::BTreeSet;

use super::super::super::markup::Markup;
use super::super::Entry;
use super::super::layers::{Cell, Column, Layers, SEEN};
use super::panel::{Panel, Row, compared};
use super::{LINE, label, svg};

/// The space between layers, and before what is seen.
const GAP: f64 = 12.0;
const ARROW: f64 = 30.0;

pub fn draw(title: &str, layers: &Layers, before: Option<Option<&Layers>>) -> Markup {
    // As they lie on each other, the lowest first.
    let (seen, below): (Vec<_>, Vec<_>) = layers.columns.iter().partition(|c| c.role == SEEN);
    let columns: Vec<&Column> = below.into_iter().rev().chain(seen).collect();
    let rows: Vec<_> = columns
        .iter()
        .map(|column| {
            let before = before.map(|before| before.and_then(|old| same(old, column)).map(rows));
            compared(rows(column), before)
        })
        .collect();
    let paths: BTreeSet<Vec<&str>> =
        rows.iter().flatten().map(|row| row.key.split('/').collect()).collect();
    let panels: Vec<Panel> = columns
        .iter()
        .zip(&rows)
        .map(|(column, rows)| {
            let at = |path: &Vec<&str>| {
                let path = path.join("/");
                rows.iter().find(|row| row.key == path).cloned().unwrap_or_else(Row::empty)
            };
            let class = if column.role == SEEN { "panel seen" } else { "panel layer" };
            Panel { head: column.head(), class, rows: paths.iter().map(at).collect() }
        })
        .collect();
    let height = panels.first().map_or(LINE, Panel::height);
    let gap = |index: usize| match index {
        0 => 0.0,
        _ if index + 1 == panels.len() => ARROW,
        _ => GAP,
    };
    let width: f64 = panels.iter().enumerate().map(|(i, panel)| panel.width() + gap(i)).sum();
    let told: Vec<_> =
        panels.iter().map(|panel| format!("{}: {}", panel.head, panel.told())).collect();
    svg(title, &told.join(". "), width, height, |m| {
        let mut x = 0.0;
        for (index, panel) in panels.iter().enumerate() {
            x += gap(index);
            if index > 0 && index + 1 == panels.len() {
                label(m, x - 22.0, height / 2.0 + 5.0, "arrow", "⇒");
            }
            panel.draw(m, x, 0.0, panel.width());
            x += panel.width();
        }
    })
}

/// The same layer in another picture.
fn same<'l>(layers: &'l Layers, column: &Column) -> Option<&'l Column> {
    layers.columns.iter().find(|old| (old.role, &old.name) == (column.role, &column.name))
}

fn rows(column: &Column) -> Vec<Row> {
    let entries = column.entries.iter().filter(|entry| entry.path != ".");
    let row = |entry: &Entry| {
        let Cell { what, marks } = Cell::of(entry);
        let path = &entry.path;
        let name = path.rsplit('/').next().unwrap_or_default();
        let slash = if what.starts_with("dir") { "/" } else { "" };
        let mut row = Row::new(path, path.matches('/').count(), &format!("{name}{slash}"), &what);
        row.hides = Cell::of(entry).is_whiteout();
        row.marks = marks;
        row
    };
    entries.map(row).collect()
}
