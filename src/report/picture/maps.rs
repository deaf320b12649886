//! Id maps as bands: inside above, outside below.

use super::table::table;
use super::{Line, Look, Picture, field, plain};
use crate::scenario::observe::Observe;
use crate::scenario::scalar::Name;
use crate::transcript::{Field, Value};

/// A picture for each actor in a user namespace of its own.
pub fn pictures(actors: &[Name], look: &mut Look<'_>, sandbox: Option<&Value>) -> Vec<Picture> {
    let mut pictures: Vec<Picture> = Vec::new();
    for name in actors {
        let Some(found) = look.of(name, Observe::IdMaps) else { continue };
        if sandbox == Some(&found) {
            continue;
        }
        let Value::Map(fields) = found else { continue };
        let (uid, gid) = (bands(&fields, "uid_map"), bands(&fields, "gid_map"));
        let mut lines = Vec::new();
        if uid == gid {
            lines.extend(drawn("ids", &uid));
        } else {
            lines.extend(drawn("uids", &uid));
            lines.extend(drawn("gids", &gid));
        }
        let setgroups = field(&fields, "setgroups").map(plain).unwrap_or_default();
        lines.push(Line::new("setgroups", &setgroups, format!("setgroups: {setgroups}")));
        pictures.push(Picture { title: format!("id maps of {name}'s user namespace"), lines });
    }
    pictures
}

/// The lines of a map: inside, outside, how many.
fn bands(fields: &[Field], map: &str) -> Vec<(u64, u64, u64)> {
    let Some(Value::List(lines)) = field(fields, map) else { return Vec::new() };
    let band = |line: &Value| {
        let text = plain(line);
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    };
    lines.iter().filter_map(band).collect()
}

fn drawn(what: &str, bands: &[(u64, u64, u64)]) -> Vec<Line> {
    if bands.is_empty() {
        let text = format!("{what}: nothing is mapped; everybody is 65534 (nobody)");
        return vec![Line::new(what, "nothing", text)];
    }
    let range = |first: u64, count: u64| match count {
        1 => first.to_string(),
        count => format!("{first} … {}", first + count.saturating_sub(1)),
    };
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
