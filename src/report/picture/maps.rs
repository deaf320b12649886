//! Id maps as bands: inside above, outside below.

use super::table::table;
use super::{Line, Look, Text, field, plain};
use crate::scenario::observe::Observe;
use crate::scenario::scalar::Name;
use crate::transcript::{Field, Value};

/// The id maps of an actor's user namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Maps {
    actor: String,
    /// The lines of each map: inside, outside, how many.
    pub(super) uid: Vec<Band>,
    pub(super) gid: Vec<Band>,
    pub(super) setgroups: String,
}

/// A line of a map: inside, outside, how many.
pub(super) type Band = (u64, u64, u64);

impl Maps {
    /// What is shown.
    pub fn title(&self) -> String {
        format!("id maps of {}'s user namespace", self.actor)
    }

    /// Each map by the words for its ids; one where users and groups are mapped alike.
    pub(super) fn named(&self) -> Vec<(&'static str, &[Band])> {
        if self.uid == self.gid {
            vec![("ids", &self.uid)]
        } else {
            vec![("uids", &self.uid), ("gids", &self.gid)]
        }
    }

    /// A table for each map.
    pub fn text(&self) -> Text {
        let named = self.named();
        let mut lines: Vec<_> = named.iter().flat_map(|(what, bands)| drawn(what, bands)).collect();
        let setgroups = &self.setgroups;
        lines.push(Line::new("setgroups", setgroups, format!("setgroups: {setgroups}")));
        Text { title: self.title(), lines }
    }
}

/// The maps of each actor in a user namespace of its own.
pub fn maps(actors: &[Name], look: &mut Look<'_>, sandbox: Option<&Value>) -> Vec<Maps> {
    let mut maps = Vec::new();
    for name in actors {
        let Some(found) = look.of(name, Observe::IdMaps) else { continue };
        if sandbox == Some(&found) {
            continue;
        }
        let Value::Map(fields) = found else { continue };
        maps.push(Maps {
            actor: name.to_string(),
            uid: bands(&fields, "uid_map"),
            gid: bands(&fields, "gid_map"),
            setgroups: field(&fields, "setgroups").map(plain).unwrap_or_default(),
        });
    }
    maps
}

/// A range of ids.
pub(super) fn range(first: u64, count: u64) -> String {
    match count {
        1 => first.to_string(),
        count => format!("{first} … {}", first + count.saturating_sub(1)),
    }
}

/// The lines of a map: inside, outside, how many.
fn bands(fields: &[Field], map: &str) -> Vec<Band> {
    let Some(Value::List(lines)) = field(fields, map) else { return Vec::new() };
    let band = |line: &Value| {
        let text = plain(line);
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    };
    lines.iter().filter_map(band).collect()
}

fn drawn(what: &str, bands: &[Band]) -> Vec<Line> {
    if bands.is_empty() {
        let text = format!("{what}: nothing is mapped; everybody is 65534 (nobody)");
        return vec![Line::new(what, "nothing", text)];
    }
    let head = |first: &str, cells: &mut dyn Iterator<Item = String>, rest: &str| {
        [first.to_owned()].into_iter().chain(cells).chain([rest.to_owned()]).collect::<Vec<_>>()
    };
    let inside = head(
        &format!("{what} inside"),
        &mut bands.iter().map(|(inside, _, count)| range(*inside, *count)),
        "all others",
    );
    let outside = head(
        "outside",
        &mut bands.iter().map(|(_, outside, count)| range(*outside, *count)),
        "unmapped: seen as 65534",
    );
    let mut lines = table(&inside, &[(what.to_owned(), outside)]);
    // The head says as much as the row.
    for line in &mut lines {
        line.content = format!("{} {}", inside.join(" "), line.content);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::drawn;

    #[test]
    fn a_map_is_drawn_as_bands() {
        let lines = drawn("ids", &[(0, 1000, 1), (1, 100_000, 65536)]);
        let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "┌────────────┬──────┬─────────────────┬─────────────────────────┐",
                "│ ids inside │ 0    │ 1 … 65536       │ all others              │",
                "├────────────┼──────┼─────────────────┼─────────────────────────┤",
                "│ outside    │ 1000 │ 100000 … 165535 │ unmapped: seen as 65534 │",
                "└────────────┴──────┴─────────────────┴─────────────────────────┘",
            ]
        );
        assert_eq!(drawn("ids", &[]).len(), 1);
    }
}
