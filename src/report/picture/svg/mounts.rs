//! Mount tables as trees, with one colour and number for each peer group and arrows from slaves to their masters.

use super::super::super::markup::Markup;
use super::super::mounts::{Mount, Table, depths};
use super::panel::{Change, Panel, Row, compared};
use super::{LINE, frame, label, number, svg, wide};

/// Colours of peer groups, which are told by their number too.
const COLOURS: [&str; 6] = ["g1", "g2", "g3", "g4", "g5", "g6"];
/// The space between tables, and between arrows beside each other.
const GAP: f64 = 14.0;
const LANE: f64 = 11.0;

pub fn draw(title: &str, tables: &[Table], before: Option<Option<&[Table]>>) -> Markup {
    let drawn: Vec<Drawn<'_>> = tables
        .iter()
        .map(|table| {
            let old = before.map(|old| {
                old.and_then(|old| old.iter().find(|old| old.actors.contains(&table.actors[0])))
                    .map(rows)
            });
            let (rows, mounts) = (compared(rows(table), old), &table.mounts);
            Drawn { panel: Panel { head: table.title(), class: "panel", rows }, mounts }
        })
        .collect();
    let left = drawn.iter().map(|table| table.panel.width()).fold(0.0, f64::max);
    let all = tables.iter().flat_map(|table| &table.mounts).map(badges);
    let widest = all.map(|b| b.iter().map(|(_, text)| wide(text) + 18.0).sum()).fold(0.0, f64::max);
    let width = left + widest;
    let height: f64 = drawn.iter().map(|table| table.panel.height() + GAP).sum::<f64>() - GAP;
    let places = places(&drawn);
    let arrows = arrows(&places);
    let lanes = arrows.len() as f64 * LANE + if arrows.is_empty() { 0.0 } else { GAP };
    let told: Vec<_> =
        drawn.iter().map(|t| format!("{}: {}", t.panel.head, t.panel.told())).collect();
    svg(title, &told.join(". "), width + lanes, height, |m| {
        let mut y = 0.0;
        for table in &drawn {
            table.panel.draw(m, 0.0, y, width);
            y += table.panel.height() + GAP;
        }
        for (y, mount) in &places {
            let mut x = left;
            for (class, text) in badges(mount) {
                frame(m, &format!("badge {class}"), x, *y + 2.0, wide(&text) + 12.0, LINE - 5.0);
                label(m, x + 6.0, *y + 14.0, &format!("badge-text {class}"), &text);
                x += wide(&text) + 18.0;
            }
        }
        for (lane, (from, to, group)) in arrows.iter().enumerate() {
            let x = width + GAP + lane as f64 * LANE;
            let (from, to) = (from + 9.0, to + 9.0);
            let edge = number(width);
            let d = format!(
                "M{edge} {}H{}V{}H{}",
                number(from),
                number(x),
                number(to),
                number(width + 5.0)
            );
            let class = format!("arrow {}", colour(*group));
            m.void("path", &[("d", &d), ("class", &class)]);
            let tip = number(to);
            let head = format!("M{edge} {tip}l8 -4v8z");
            m.void("path", &[("d", &head), ("class", &format!("tip {}", colour(*group)))]);
        }
    })
}

/// A table as it is drawn.
struct Drawn<'t> {
    panel: Panel,
    mounts: &'t [Mount],
}

/// Where each mount stands that is there.
fn places<'t>(drawn: &[Drawn<'t>]) -> Vec<(f64, &'t Mount)> {
    let mut places = Vec::new();
    let mut top = 0.0;
    for table in drawn {
        let there = table.panel.rows.iter().enumerate();
        let there = there.filter(|(_, row)| row.change != Change::Gone);
        for ((index, _), mount) in there.zip(table.mounts) {
            places.push((top + LINE * (index as f64 + 1.0) + 4.0, mount));
        }
        top += table.panel.height() + GAP;
    }
    places
}

/// From each slave to the first mount of its master's group that is there.
fn arrows(places: &[(f64, &Mount)]) -> Vec<(f64, f64, usize)> {
    let to = |group: usize| places.iter().find(|(_, mount)| mount.shared == Some(group));
    let arrow = |(from, mount): &(f64, &Mount)| {
        let group = mount.master?;
        Some((*from, to(group)?.0, group))
    };
    places.iter().filter_map(arrow).collect()
}

fn colour(group: usize) -> &'static str {
    COLOURS[group.saturating_sub(1) % COLOURS.len()]
}

fn badges(mount: &Mount) -> Vec<(&'static str, String)> {
    let mut badges = Vec::new();
    if let Some(group) = mount.shared {
        badges.push((colour(group), format!("shared in group {group}")));
    }
    if let Some(group) = mount.master {
        badges.push((colour(group), format!("slave of group {group}")));
    }
    if mount.unbindable {
        badges.push(("plain", "unbindable".to_owned()));
    }
    if mount.locked {
        badges.push(("plain", "locked".to_owned()));
    }
    badges
}

/// The rows of a table; what a change of group changes stands in the badges.
fn rows(table: &Table) -> Vec<Row> {
    let depths = depths(&table.mounts);
    let mut rows: Vec<Row> = Vec::new();
    for (mount, depth) in table.mounts.iter().zip(depths) {
        // What lies on another has its mount point.
        let on = rows.iter().filter(|row| row.name == mount.at).count();
        let key = if on == 0 { mount.at.clone() } else { format!("{} ({on} on it)", mount.at) };
        rows.push(Row::new(&key, depth, &mount.at, &mount.what));
    }
    rows
}
