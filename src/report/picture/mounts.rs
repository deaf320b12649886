//! Mount tables as trees, with who tells whom of new mounts.

use std::collections::BTreeMap;

use super::{Line, Look, Numbers, Picture, field, plain};
use crate::scenario::observe::{Actors, Observe, ObserveMountinfo};
use crate::scenario::scalar::Name;
use crate::transcript::Value;

/// One mount of a table.
struct Mount {
    at: String,
    /// What the line says behind the mount point.
    rest: String,
    shared: Option<usize>,
    master: Option<usize>,
}

/// A tree for each mount table, and the peer groups of all of them.
pub fn pictures(actors: &[Name], look: &mut Look<'_>, numbers: &mut Numbers) -> Vec<Picture> {
    // Actors in one mount namespace and with one root see one table.
    let mut tables: Vec<(Vec<&Name>, Vec<Mount>, Vec<Line>)> = Vec::new();
    for name in actors {
        let Some(mounts) = table(name, look, numbers) else { continue };
        let lines = tree(&mounts);
        match tables.iter_mut().find(|(_, _, others)| *others == lines) {
            Some((names, ..)) => names.push(name),
            None => tables.push((vec![name], mounts, lines)),
        }
    }
    let groups = groups(&tables);
    let mut pictures: Vec<_> = tables
        .into_iter()
        .map(|(names, _, lines)| {
            let names: Vec<_> = names.into_iter().map(Name::as_str).collect();
            Picture { title: format!("mounts of {}", names.join(", ")), lines }
        })
        .collect();
    if !groups.is_empty() {
        let title = "peer groups (who tells whom of new mounts)".to_owned();
        pictures.push(Picture { title, lines: groups });
    }
    pictures
}

fn table(name: &Name, look: &mut Look<'_>, numbers: &mut Numbers) -> Option<Vec<Mount>> {
    let actors = Actors::One(name.clone());
    let found = look.one(&Observe::Mountinfo(ObserveMountinfo { actors, under: None }))?;
    let Value::List(items) = found else { return None };
    let mount = |item: &Value| {
        let Value::Map(fields) = item else { return None };
        let text = |name: &str| field(fields, name).map(plain).unwrap_or_default();
        let mut group = |name: &str| match field(fields, name) {
            Some(Value::Identity(_, key)) => Some(numbers.number(key)),
            _ => None,
        };
        let (shared, master) = (group("shared"), group("master"));
        let mut rest = text("type");
        if text("root") != "/" {
            rest.push_str(&format!(" of {}", text("root")));
        }
        // What every mount has says nothing.
        let unusual = |option: &&str| !["rw", "relatime"].contains(option);
        for option in text("options").split(',').filter(unusual) {
            rest.push_str(&format!(" {option}"));
        }
        shared.iter().for_each(|group| rest.push_str(&format!("  shared in group {group}")));
        master.iter().for_each(|group| rest.push_str(&format!("  slave of group {group}")));
        if field(fields, "unbindable").is_some() {
            rest.push_str("  unbindable");
        }
        Some(Mount { at: text("at"), rest, shared, master })
    };
    Some(items.iter().filter_map(mount).collect())
}

/// The mounts as a tree by their mount points.
fn tree(mounts: &[Mount]) -> Vec<Line> {
    let depth_of = |index: usize| {
        mounts[..index].iter().filter(|above| is_below(&mounts[index].at, &above.at)).count()
    };
    let depths: Vec<_> = (0..mounts.len()).map(depth_of).collect();
    let mut lines = Vec::new();
    let width = mounts.iter().zip(&depths).map(|(m, d)| m.at.chars().count() + 3 * d).max();
    for (index, mount) in mounts.iter().enumerate() {
        let mut branch = String::new();
        for level in 1..=depths[index] {
            // Whether something at this level still follows before the tree goes up.
            let follows =
                depths[index + 1..].iter().take_while(|d| **d >= level).any(|d| *d == level);
            branch.push_str(match (level == depths[index], follows) {
                (true, true) => "├─ ",
                (true, false) => "└─ ",
                (false, true) => "│  ",
                (false, false) => "   ",
            });
        }
        let width = width.unwrap_or_default() - 3 * depths[index];
        let text = format!("{branch}{:<width$}  {}", mount.at, mount.rest);
        lines.push(Line::new(&mount.at, &mount.rest, text));
    }
    lines
}

/// Whether a mount point is below another; one on the same place lies on it.
fn is_below(at: &str, top: &str) -> bool {
    top == "/" || at == top || at.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

/// Each peer group with its members and its slaves, as `actor:mount point`.
fn groups(tables: &[(Vec<&Name>, Vec<Mount>, Vec<Line>)]) -> Vec<Line> {
    let mut groups: BTreeMap<usize, [Vec<String>; 2]> = BTreeMap::new();
    for (names, mounts, _) in tables {
        for mount in mounts {
            let place = format!("{}:{}", names[0], mount.at);
            for (group, role) in [(mount.shared, 0), (mount.master, 1)] {
                if let Some(group) = group {
                    groups.entry(group).or_default()[role].push(place.clone());
                }
            }
        }
    }
    groups
        .into_iter()
        .map(|(group, [peers, slaves])| {
            let peers =
                if peers.is_empty() { "nobody here".to_owned() } else { peers.join(" ⇄ ") };
            let slaves = if slaves.is_empty() {
                String::new()
            } else {
                format!("  ──▶ {}", slaves.join(", "))
            };
            let text = format!("group {group}: {peers}{slaves}");
            Line::new(format!("group {group}"), text.clone(), text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(at: &str, shared: Option<usize>, master: Option<usize>) -> Mount {
        Mount { at: at.to_owned(), rest: "tmpfs".into(), shared, master }
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn mounts_are_a_tree_and_what_lies_on_a_place_is_below_it() {
        let mounts = ["/", "/a", "/a", "/a/b", "/c"].map(|at| mount(at, None, None));
        assert_eq!(
            texts(&tree(&mounts)),
            [
                "/              tmpfs",
                "├─ /a          tmpfs",
                "│  └─ /a       tmpfs",
                "│     └─ /a/b  tmpfs",
                "└─ /c          tmpfs",
            ]
        );
    }

    #[test]
    fn a_peer_group_names_its_members_and_slaves() {
        let names = ["host", "box"].map(|name| name.parse::<Name>().unwrap());
        let tables = [
            (vec![&names[0]], vec![mount("/m", Some(1), None)], Vec::new()),
            (
                vec![&names[1]],
                vec![mount("/m", Some(1), None), mount("/s", None, Some(1))],
                Vec::new(),
            ),
        ];
        assert_eq!(texts(&groups(&tables)), ["group 1: host:/m ⇄ box:/m  ──▶ box:/s"]);
    }
}
