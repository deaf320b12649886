//! Id maps as two parallel bands: inside above, outside below, each in the order of its ids.

use super::super::super::markup::Markup;
use super::super::maps::{Band, Maps, range};
use super::{LINE, PAD, frame, label, number, svg, wide};

const COLOURS: [&str; 6] = ["g1", "g2", "g3", "g4", "g5", "g6"];
/// How high a band is, and how far apart the two are.
const BAND: f64 = 26.0;
const BETWEEN: f64 = 44.0;
const UNMAPPED: &str = "all others: unmapped, seen as 65534";

pub fn draw(title: &str, maps: &Maps) -> Markup {
    let named = maps.named();
    let each = LINE + 2.0 * BAND + BETWEEN + LINE;
    let height = LINE + each * named.len() as f64 + LINE;
    let left = PAD + wide("uids outside") + PAD;
    let width =
        named.iter().map(|(_, bands)| left + room(bands)).fold(wide(title) + 2.0 * PAD, f64::max);
    let told: Vec<_> = named.iter().map(|(what, bands)| told(what, bands)).collect();
    svg(title, &told.join(". "), width + PAD, height, |m| {
        m.element("g", &[("class", "panel")], |m| {
            frame(m, "box", 0.0, 0.0, width + PAD, height);
            label(m, PAD, 15.0, "head", title);
            for (index, (what, bands)) in named.iter().enumerate() {
                bands_at(m, what, bands, left, LINE + each * index as f64 + 12.0);
            }
            let setgroups = format!("setgroups: {}", maps.setgroups);
            label(m, PAD, height - 8.0, "detail", &setgroups);
        });
    })
}

fn told(what: &str, bands: &[Band]) -> String {
    if bands.is_empty() {
        return format!("{what}: nothing is mapped");
    }
    let line = |(inside, outside, count): &Band| {
        format!("{} inside is {} outside", range(*inside, *count), range(*outside, *count))
    };
    format!("{what}: {}", bands.iter().map(line).collect::<Vec<_>>().join(", "))
}

/// How wide each line of a map is drawn: so that its ids can be read, and more for more of them.
fn widths(bands: &[Band]) -> Vec<f64> {
    let width = |(inside, outside, count): &Band| {
        let text = wide(&range(*inside, *count)).max(wide(&range(*outside, *count)));
        text + 2.0 * PAD + 6.0 * (*count as f64).log2().max(0.0)
    };
    bands.iter().map(width).collect()
}

fn room(bands: &[Band]) -> f64 {
    widths(bands).iter().map(|width| width + 4.0).sum::<f64>() + wide(UNMAPPED) + 2.0 * PAD
}

/// Where each line of a map stands when they are ordered by something.
fn places(bands: &[Band], widths: &[f64], left: f64, by: impl Fn(&Band) -> u64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..bands.len()).collect();
    order.sort_by_key(|index| by(&bands[*index]));
    let mut places = vec![0.0; bands.len()];
    let mut x = left;
    for index in order {
        places[index] = x;
        x += widths[index] + 4.0;
    }
    places
}

fn bands_at(m: &mut Markup, what: &str, bands: &[Band], left: f64, top: f64) {
    let widths = widths(bands);
    let inside = places(bands, &widths, left, |(inside, ..)| *inside);
    let outside = places(bands, &widths, left, |(_, outside, _)| *outside);
    let bottom = top + BAND + BETWEEN;
    label(m, PAD, top + 17.0, "detail", &format!("{what} inside"));
    label(m, PAD, bottom + 17.0, "detail", &format!("{what} outside"));
    for (index, (first, other, count)) in bands.iter().enumerate() {
        let (colour, width) = (COLOURS[index % COLOURS.len()], widths[index]);
        let (up, down) = (inside[index], outside[index]);
        let d = format!(
            "M{} {}h{}L{} {}h{}z",
            number(up),
            number(top + BAND),
            number(width),
            number(down + width),
            number(bottom),
            number(-width),
        );
        m.void("path", &[("d", &d), ("class", &format!("link {colour}"))]);
        for (x, y, first) in [(up, top, first), (down, bottom, other)] {
            frame(m, &format!("badge {colour}"), x, y, width, BAND);
            let text = range(*first, *count);
            label(
                m,
                x + (width - wide(&text)) / 2.0,
                y + 17.0,
                &format!("badge-text {colour}"),
                &text,
            );
        }
    }
    let end = left + widths.iter().map(|width| width + 4.0).sum::<f64>();
    let others =
        if bands.is_empty() { "nothing is mapped: everybody is 65534 (nobody)" } else { UNMAPPED };
    frame(m, "none", end, top, wide(others) + 2.0 * PAD, BAND);
    label(m, end + PAD, top + 17.0, "detail", others);
}
