//! The text of id maps: as programs write it, and as nobody should.

use crate::scenario::scalar::IdMap;
use crate::search::random::Random;

/// Lines of a map: first id inside, first id outside, how many.
pub type Lines = Vec<(u32, u32, u32)>;

/// Texts that are no map, or one that is refused. The ids outside are 0 or none that a sandbox has, so that
/// the text needs no more than one id.
const WRONG: &[&str] = &[
    "",
    "\n",
    " ",
    "0",
    "0 0",
    "0 0 1 1",
    "0 0 1\n\n",
    "\n0 0 1\n",
    "root 0 1",
    "0,0,1",
    "0 0 1x",
    "0x0 0 1",
    "+0 0 1",
    "-1 0 1",
    "0 -1 1",
    "0 0 0",
    "0 0 -1",
    "0 0 1.0",
    "4294967295 0 1",
    "0 4294967295 1",
    "4294967294 0 2",
    "0 4294967294 2",
    "0 0 4294967295",
    "0 0 4294967296",
    "1 4294967295 4294967295",
    "0 0 1\n0 100000 1\n",
    "0 0 1\n1 0 1\n",
    "0 100000 10\n5 200000 10\n",
    "0 0 18446744073709551616",
];
/// Texts that are a map of one id, in another dress.
const UNUSUAL: &[&str] = &[
    "0\t0\t1\n",
    "  0   0   1  \n",
    "00 000 01",
    "0 0 1\0more",
    "0\u{b}0\u{c}1\r\n",
    "4294967296 4294967296 4294967297",
];
/// The bytes of a page, which the text must be shorter than.
const PAGE: usize = 4096;

/// A map as programs write it, now and then with blanks that others do not write.
pub fn written(random: &mut Random, lines: &Lines) -> String {
    let blank = *random.pick(&[" ", " ", " ", "\t", "  "]);
    let lines: Vec<_> = lines
        .iter()
        .map(|(inside, outside, count)| format!("{inside}{blank}{outside}{blank}{count}"))
        .collect();
    let end = if random.percent(50) { "\n" } else { "" };
    format!("{}{end}", lines.join("\n"))
}

/// A text that is no map, or that is one for all its looks.
pub fn unusual(random: &mut Random) -> String {
    let of = if random.percent(25) { UNUSUAL } else { WRONG };
    (*random.pick(of)).to_owned()
}

/// A map of very many lines, or of very many blanks.
pub fn long(random: &mut Random, many_ids: bool) -> String {
    if many_ids && random.percent(60) {
        let count = *random.pick(&[5_u32, 6, 339, 340, 341]);
        let lines: Vec<_> = (0..count).map(|id| format!("{id} {} 1\n", id + 1)).collect();
        return lines.concat();
    }
    let length = *random.pick(&[PAGE - 2, PAGE - 1, PAGE, 2 * PAGE]);
    format!("0 0 1{}", " ".repeat(length - 5))
}

/// The lines of a text that is a map.
pub fn read(text: &str) -> Lines {
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        Some((number(words.next())?, number(words.next())?, number(words.next())?))
    };
    text.lines().filter_map(line).collect()
}

/// The id inside that an id outside has.
pub fn inside(lines: &[(u32, u32, u32)], id: u32) -> Option<u32> {
    lines.iter().find_map(|(inside, outside, count)| {
        let offset = id.checked_sub(*outside).filter(|offset| offset < count)?;
        inside.checked_add(offset)
    })
}

/// A map into what these lines have inside: one line of one id mostly, or several.
pub fn into(random: &mut Random, lines: &[(u32, u32, u32)], ids: &[u32]) -> Lines {
    let wanted = random.weighted(&[(5, 1), (3, 2), (2, 3)]);
    let mut made = Lines::new();
    for _ in 0..wanted {
        let Some((first, _, count)) = random.pick_any(lines) else { break };
        let known: Vec<_> =
            ids.iter().filter(|id| **id >= *first && **id - first < *count).collect();
        let outside = random.pick_any(&known).map_or(*first, |id| **id);
        let inside = if made.is_empty() && random.percent(60) { 0 } else { *random.pick(ids) };
        let room = count - (outside - first);
        let count = random.weighted(&[(6, 1), (2, 2), (2, 10), (1, room)]).min(room);
        let meets =
            |a: u32, b: u32, of: u32| a < b.saturating_add(of) && b < a.saturating_add(count);
        let overlaps =
            made.iter().any(|line| meets(inside, line.0, line.2) || meets(outside, line.1, line.2));
        if !overlaps {
            made.push((inside, outside, count));
        }
    }
    made
}

/// Lines as a world or a mount has them.
pub fn map(lines: &[(u32, u32, u32)]) -> IdMap {
    IdMap(lines.to_vec())
}
