//! Mount tables as trees, with who tells whom of new mounts.

use std::collections::BTreeMap;

use super::{Line, Look, Numbers, Text, field, plain};
use crate::scenario::observe::{Actors, Observe, ObserveMountinfo};
use crate::scenario::scalar::Name;
use crate::transcript::Value;

/// The mounts that some actors see alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub(super) actors: Vec<String>,
    pub(super) mounts: Vec<Mount>,
}

/// One mount of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub at: String,
    /// The type, and what is unusual.
    pub what: String,
    pub shared: Option<usize>,
    pub master: Option<usize>,
    pub unbindable: bool,
    /// Whether it cannot be unmounted by itself, which no table of a kernel says.
    pub locked: bool,
}

impl Mount {
    /// What the line says behind the mount point.
    fn rest(&self) -> String {
        let mut rest = self.what.clone();
        self.shared.iter().for_each(|group| rest.push_str(&format!("  shared in group {group}")));
        self.master.iter().for_each(|group| rest.push_str(&format!("  slave of group {group}")));
        if self.unbindable {
            rest.push_str("  unbindable");
        }
        rest
    }
}

impl Table {
    /// What is shown.
    pub(super) fn title(&self) -> String {
        format!("mounts of {}", self.actors.join(", "))
    }
}

/// The mount tables of actors: who is in one mount namespace and has one root sees one table.
pub fn tables(actors: &[Name], look: &mut Look<'_>, numbers: &mut Numbers) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for name in actors {
        let Some(mounts) = mounts(name, look, numbers) else { continue };
        match tables.iter_mut().find(|table| table.mounts == mounts) {
            Some(table) => table.actors.push(name.to_string()),
            None => tables.push(Table { actors: vec![name.to_string()], mounts }),
        }
    }
    tables
}

/// A tree for each mount table, and the peer groups of all of them.
pub fn texts(tables: &[Table]) -> Vec<Text> {
    let tree = |table: &Table| Text { title: table.title(), lines: tree(&table.mounts) };
    let mut texts: Vec<_> = tables.iter().map(tree).collect();
    let groups = groups(tables);
    if !groups.is_empty() {
        let title = "peer groups (who tells whom of new mounts)".to_owned();
        texts.push(Text { title, lines: groups });
    }
    texts
}

fn mounts(name: &Name, look: &mut Look<'_>, numbers: &mut Numbers) -> Option<Vec<Mount>> {
    let actors = Actors::One(name.clone());
    let found = look.one(&Observe::Mountinfo(ObserveMountinfo { actors, under: None }))?;
    let Value::List(items) = found else { return None };
    let mount = |(item, locked): (&Value, bool)| {
        let Value::Map(fields) = item else { return None };
        let text = |name: &str| field(fields, name).map(plain).unwrap_or_default();
        let mut group = |name: &str| match field(fields, name) {
            Some(Value::Identity(_, key)) => Some(numbers.number(key)),
            _ => None,
        };
        let (shared, master) = (group("shared"), group("master"));
        let mut what = text("type");
        if text("root") != "/" {
            what.push_str(&format!(" of {}", text("root")));
        }
        // What every mount has says nothing.
        let unusual = |option: &&str| !["rw", "relatime"].contains(option);
        for option in text("options").split(',').filter(unusual) {
            what.push_str(&format!(" {option}"));
        }
        let unbindable = field(fields, "unbindable").is_some();
        Some(Mount { at: text("at"), what, shared, master, unbindable, locked })
    };
    let locked = look.locked(name);
    let locked = locked.into_iter().chain(std::iter::repeat(false));
    Some(items.iter().zip(locked).filter_map(mount).collect())
}

/// The mounts as a tree by their mount points.
fn tree(mounts: &[Mount]) -> Vec<Line> {
    let depths = depths(mounts);
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
        let rest = mount.rest();
        let text = format!("{branch}{:<width$}  {rest}", mount.at);
        lines.push(Line::new(&mount.at, &rest, text));
    }
    lines
}

/// How many mounts each is below.
pub(super) fn depths(mounts: &[Mount]) -> Vec<usize> {
    let depth_of = |index: usize| {
        mounts[..index].iter().filter(|above| is_below(&mounts[index].at, &above.at)).count()
    };
    (0..mounts.len()).map(depth_of).collect()
}

/// Whether a mount point is below another; one on the same place lies on it.
fn is_below(at: &str, top: &str) -> bool {
    top == "/" || at == top || at.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

/// Each peer group with its members and its slaves, as `actor:mount point`.
fn groups(tables: &[Table]) -> Vec<Line> {
    let mut groups: BTreeMap<usize, [Vec<String>; 2]> = BTreeMap::new();
    for Table { actors, mounts } in tables {
        for mount in mounts {
            let place = format!("{}:{}", actors[0], mount.at);
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
        let (at, what) = (at.to_owned(), "tmpfs".to_owned());
        Mount { at, what, shared, master, unbindable: false, locked: false }
    }

    fn shown(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn mounts_are_a_tree_and_what_lies_on_a_place_is_below_it() {
        let mounts = ["/", "/a", "/a", "/a/b", "/c"].map(|at| mount(at, None, None));
        assert_eq!(
            shown(&tree(&mounts)),
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
        let table = |actor: &str, mounts| Table { actors: vec![actor.to_owned()], mounts };
        let tables = [
            table("host", vec![mount("/m", Some(1), None)]),
            table("box", vec![mount("/m", Some(1), None), mount("/s", None, Some(1))]),
        ];
        assert_eq!(shown(&groups(&tables)), ["group 1: host:/m ⇄ box:/m  ──▶ box:/s"]);
    }
}
