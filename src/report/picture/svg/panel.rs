//! A box with a head and rows, each with a sign where it changed.

use super::super::super::escape::cut;
use super::super::super::markup::Markup;
use super::{DETAIL, LINE, NAME, PAD, frame, label, number, wide};

/// What stands in a box without rows.
const EMPTY: &str = "(empty)";
/// How far what lies in something is moved to the right, and room for the sign of a change.
const INDENT: f64 = 14.0;
const SIGN: f64 = 14.0;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Same,
    New,
    Changed,
    Gone,
}

impl Change {
    fn sign(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::New => "+",
            Self::Changed => "~",
            Self::Gone => "−",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is about, which tells it from the others; empty for room where nothing stands.
    pub key: String,
    pub depth: usize,
    pub name: String,
    pub detail: String,
    pub marks: Vec<String>,
    /// Whether it hides something, and is nothing itself.
    pub hides: bool,
    pub change: Change,
}

impl Row {
    pub fn new(key: &str, depth: usize, name: &str, detail: &str) -> Self {
        Self {
            key: key.to_owned(),
            depth,
            name: name.to_owned(),
            detail: detail.to_owned(),
            marks: Vec::new(),
            hides: false,
            change: Change::Same,
        }
    }

    /// Room where nothing stands.
    pub fn empty() -> Self {
        Self::new("", 0, "", "")
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.detail, &self.marks) == (&other.detail, &other.marks)
    }

    fn width(&self) -> f64 {
        let marks: f64 = self.marks.iter().map(|mark| wide(&cut(mark, DETAIL)) + 2.0 * 7.3).sum();
        let (name, detail) = (wide(&cut(&self.name, NAME)), wide(&cut(&self.detail, DETAIL)));
        SIGN + INDENT * self.depth as f64 + name + 2.0 * 7.3 + detail + marks
    }
}

/// Rows with what changed since others; all are as they were where there is nothing to compare with.
pub fn compared(mut rows: Vec<Row>, before: Option<Option<Vec<Row>>>) -> Vec<Row> {
    let Some(before) = before else { return rows };
    let before = before.unwrap_or_default();
    for row in &mut rows {
        row.change = match before.iter().find(|old| old.key == row.key) {
            None => Change::New,
            Some(old) if !old.is_like(row) => Change::Changed,
            Some(_) => Change::Same,
        };
    }
    for (index, old) in before.into_iter().enumerate() {
        if !rows.iter().any(|row| row.key == old.key) {
            let index = index.min(rows.len());
            rows.insert(index, Row { change: Change::Gone, ..old });
        }
    }
    rows
}

/// A box.
pub struct Panel {
    pub head: String,
    pub class: &'static str,
    pub rows: Vec<Row>,
}

impl Panel {
    /// How wide it must be.
    pub fn width(&self) -> f64 {
        let rows = self.rows.iter().map(Row::width);
        rows.fold(wide(&cut(&self.head, DETAIL)).max(wide(EMPTY)), f64::max) + 2.0 * PAD
    }

    pub fn height(&self) -> f64 {
        LINE * (self.rows.len().max(1) as f64 + 1.0) + PAD
    }

    /// What changed, in words.
    pub fn told(&self) -> String {
        let changed = self.rows.iter().filter(|row| row.change != Change::Same);
        let told: Vec<_> = changed
            .map(|row| format!("{}: {} {}", row.change.word(), row.key, row.detail))
            .collect();
        let rows = self.rows.iter().filter(|row| !row.key.is_empty()).count();
        if told.is_empty() { format!("{rows} entries") } else { told.join("; ") }
    }

    pub fn draw(&self, m: &mut Markup, x: f64, y: f64, width: f64) {
        m.element("g", &[("class", self.class)], |m| {
            frame(m, "box", x, y, width, self.height());
            label(m, x + PAD, y + 15.0, "head", &cut(&self.head, DETAIL));
            let line = format!("M{} {}h{}", number(x), number(y + LINE + 2.0), number(width));
            m.void("path", &[("d", &line), ("class", "rule")]);
            for (index, row) in self.rows.iter().enumerate() {
                let y = y + LINE * (index as f64 + 1.0) + 4.0;
                row_at(m, row, x, y, width);
            }
            if self.rows.iter().all(|row| row.key.is_empty()) {
                label(m, x + PAD, y + LINE + 19.0, "detail", EMPTY);
            }
        });
    }
}

/// A line to what a row lies in.
fn branch(m: &mut Markup, depth: usize, x: f64, y: f64) {
    let from = x + PAD + SIGN + INDENT * (depth as f64 - 1.0);
    let d = format!("M{} {}v{}h7", number(from), number(y - 1.0), number(LINE / 2.0));
    m.void("path", &[("d", &d), ("class", "branch")]);
}

fn row_at(m: &mut Markup, row: &Row, x: f64, y: f64, width: f64) {
    if row.key.is_empty() {
        return;
    }
    let class = if row.hides {
        format!("row hides {}", row.change.class())
    } else {
        format!("row {}", row.change.class())
    };
    m.element("g", &[("class", &class)], |m| {
        let name = cut(&row.name, NAME);
        if name != row.name || row.change != Change::Same {
            let change = row.change.word();
            m.put("title", &[], format_args!("{} {} ({change})", row.key, row.detail));
        }
        if row.change != Change::Same {
            frame(m, "back", x + 3.0, y, width - 6.0, LINE - 1.0);
            label(m, x + PAD - 3.0, y + 14.0, "sign", row.change.sign());
        }
        if row.depth > 0 {
            branch(m, row.depth, x, y);
        }
        let (left, base) = (x + PAD + SIGN + INDENT * row.depth as f64 - 4.0, y + 14.0);
        m.element("text", &[("x", &number(left)), ("y", &number(base))], |m| {
            m.put("tspan", &[("class", "name")], name);
            if !row.detail.is_empty() {
                m.put(
                    "tspan",
                    &[("class", "detail")],
                    format_args!("  {}", cut(&row.detail, DETAIL)),
                );
            }
            for mark in &row.marks {
                m.put("tspan", &[("class", "mark")], format_args!("  {}", cut(mark, DETAIL)));
            }
        });
    });
}
