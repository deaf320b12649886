//! Scenarios by kernels: as a table for a terminal, and as Markdown.

use std::io;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::escape::{code, cut, harmless, prose};
use super::{Judged, Reporter, Start, Totals, json, markdown};
use crate::comparison::{Cause, Column, Line, Reader, Row, Skips, rows, skips};
use crate::target::Unopened;

/// Narrowest cell of a table that still says something.
const NARROW: usize = 8;
/// Widest cell of a table; the JSON report has all of it.
const WIDE: usize = 40;
/// Widest name of a row of a table.
const LABEL: usize = 48;
/// Room for the marks of footnotes behind a row of a table.
const MARKS: usize = 12;
/// Longest cell where each has a line of its own.
const LONG_CELL: usize = 60;
/// Most lines of one case that are shown.
const LINES: usize = 12;
/// Most reasons of one failure that are told.
const REASONS: usize = 4;
/// Most things that are named of what a target lacks.
const NAMED: usize = 5;

/// What stands above rows in which runtimes differ as they may.
const LEFT_OPEN: &str = "The specification is silent, or allows it";

/// Collects what is told of a run.
#[derive(Debug)]
pub struct Collector {
    /// What was told.
    pub read: Reader,
    bar: ProgressBar,
}

impl Collector {
    /// A collector that shows on standard error how far it is, where that is a terminal.
    pub fn new(terminal: bool) -> Self {
        let bar = ProgressBar::hidden();
        if terminal {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
        }
        Self { read: Reader::default(), bar }
    }

    fn event(&mut self, event: serde_json::Value) -> io::Result<()> {
        self.read.event(event).map_err(io::Error::other)
    }
}

impl Reporter for Collector {
    fn start(&mut self, start: Start<'_>) -> io::Result<()> {
        self.bar.set_message(start.target.to_owned());
        self.bar.inc_length(start.cases as u64);
        self.event(json::environment(start))
    }

    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()> {
        self.event(json::unavailable(target, cases, why))
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        self.bar.inc(1);
        self.event(json::scenario(judged))
    }

    fn end(&mut self, _: &Totals) -> io::Result<()> {
        self.bar.finish_and_clear();
        Ok(())
    }
}

/// Which rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All of them.
    All,
    /// Those that differ; what is only skipped somewhere is told in short.
    Differing,
    /// Those that differ in any way.
    Changed,
}

/// A matrix that can be told.
#[derive(Debug)]
pub struct Matrix<'c> {
    columns: Vec<&'c Column>,
    names: Vec<String>,
    rows: Vec<Row>,
    skips: Vec<Skips>,
    asked: usize,
    shown: Shown,
}

/// One line of a table: its name, its cells, and the marks of its footnotes.
type GridLine = (String, Vec<String>, String);

/// What is said of causes below a table, each once.
#[derive(Default)]
struct Footnotes(Vec<String>);

impl Footnotes {
    fn mark(&mut self, causes: &[Cause]) -> String {
        let mut marks = String::new();
        let told = causes.iter().filter(|cause| !matches!(cause, Cause::Unknown));
        for cause in told.take(REASONS) {
            // Where it follows from stands there: it needs no note of its own.
            if let Cause::Follows(line) = cause {
                marks.push_str(&format!(" [line {line}]"));
                continue;
            }
            let sentence = harmless(&cause.sentence());
            let known = self.0.iter().position(|note| *note == sentence);
            let number = known.unwrap_or_else(|| {
                self.0.push(sentence);
                self.0.len() - 1
            });
            marks.push_str(&format!(" [{}]", number + 1));
        }
        if causes == [Cause::Unknown] {
            marks.push_str(" [cause unknown]");
        }
        marks
    }
}

impl<'c> Matrix<'c> {
    /// The matrix of some targets, by these names.
    pub fn of(columns: Vec<&'c Column>, names: Vec<String>, shown: Shown) -> Self {
        let mut all = rows(&columns);
        let asked = all.len();
        let skips = match shown {
            Shown::Differing => skips(&all, &columns),
            Shown::All | Shown::Changed => Vec::new(),
        };
        all.retain(|row| match shown {
            Shown::All => true,
            Shown::Differing => row.differs() && !row.is_only_skipped(),
            Shown::Changed => row.is_changed(),
        });
        Self { columns, names, rows: all, skips, asked, shown }
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The events of the JSON report.
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.rows.iter().flat_map(|row| row.json(&self.columns)).collect()
    }

    /// As a table of about this width, or where it would say too little, as lists.
    pub fn text(&self, width: usize) -> String {
        let mut notes = Footnotes::default();
        let room = width.saturating_sub(LABEL + MARKS) / self.columns.len().max(1);
        let cell = room.saturating_sub(2).min(WIDE);
        let names = self.names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        let mut told = |rows: &[&Row]| {
            if rows.is_empty() {
                String::new()
            } else if cell >= names.max(NARROW) {
                self.table(rows, &mut notes, cell)
            } else {
                self.lists(rows, &mut notes)
            }
        };
        let (rows, left_open) = self.by_what_is_left_open();
        let mut text = told(&rows);
        if !left_open.is_empty() {
            let gap = if rows.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{LEFT_OPEN}:\n{}", told(&left_open)));
        }
        if !notes.0.is_empty() {
            text.push('\n');
        }
        for (index, note) in notes.0.iter().enumerate() {
            text.push_str(&wrap(&format!("[{}] {note}", index + 1), width, "    "));
        }
        if !self.rows.is_empty() {
            text.push('\n');
        }
        self.tell_skips(&mut text, width);
        text.push_str(&self.summary());
        text
    }

    /// The rows, and beside them those in which runtimes differ as they may.
    fn by_what_is_left_open(&self) -> (Vec<&Row>, Vec<&Row>) {
        self.rows.iter().partition(|row| !(row.is_left_open && row.differs()))
    }

    /// The lines of a row that are shown, and how many are not.
    fn lines<'r>(&self, row: &'r Row) -> (Vec<&'r Line>, usize) {
        let shown: Vec<_> = row.lines.iter().take(LINES).collect();
        (shown, row.lines.len().saturating_sub(LINES))
    }

    fn table(&self, rows: &[&Row], notes: &mut Footnotes, widest: usize) -> String {
        let mut grid: Vec<GridLine> = Vec::new();
        grid.push((String::new(), self.names.clone(), String::new()));
        let kernels: Vec<_> =
            self.columns.iter().map(|column| cut(&kernel(column), widest)).collect();
        if kernels != self.names {
            grid.push((String::new(), kernels, String::new()));
        }
        for row in rows {
            let mark = notes.mark(&row.status.causes);
            grid.push((cut(&row.id, LABEL), row.status.cells.clone(), mark));
            let (lines, more) = self.lines(row);
            for line in lines {
                let cells = line.cells.iter().map(|cell| cut(cell, widest)).collect();
                grid.push((
                    cut(&format!("  {}", label(line)), LABEL),
                    cells,
                    notes.mark(&line.causes),
                ));
            }
            if more > 0 {
                grid.push((format!("  and {more} more"), Vec::new(), String::new()));
            }
        }
        let width = |of: &dyn Fn(&GridLine) -> usize| grid.iter().map(of).max().unwrap_or_default();
        let first = width(&|(label, ..)| label.chars().count());
        let others: Vec<_> = (0..self.columns.len())
            .map(|index| {
                width(&|(_, cells, _)| cells.get(index).map_or(0, |cell| cell.chars().count()))
            })
            .collect();
        let mut text = String::new();
        for (label, cells, mark) in &grid {
            let mut line = format!("{label:<first$}");
            for (cell, width) in cells.iter().zip(&others) {
                line.push_str(&format!("  {cell:<width$}"));
            }
            line.push_str(mark);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The same with the targets grouped by what they say, for when there are too many side by side.
    fn lists(&self, rows: &[&Row], notes: &mut Footnotes) -> String {
        let mut text = String::new();
        for row in rows {
            let same = row.status.is_same();
            let status = row.status.cells.first().filter(|_| same);
            let status = status.map(|status| format!("  {status}")).unwrap_or_default();
            let mark = if same { notes.mark(&row.status.causes) } else { String::new() };
            text.push_str(&format!("{}{status}{mark}\n", harmless(&row.id)));
            let (lines, more) = self.lines(row);
            let status = Some(&row.status).filter(|_| !same);
            for line in status.into_iter().chain(lines) {
                let mark = notes.mark(&line.causes);
                text.push_str(&format!("  {}{mark}\n", label(line)));
                let mut told: Vec<&String> = Vec::new();
                for cell in &line.cells {
                    if told.contains(&cell) {
                        continue;
                    }
                    told.push(cell);
                    let who =
                        line.cells.iter().zip(&self.names).filter(|(other, _)| *other == cell);
                    let who: Vec<_> = who.map(|(_, name)| name.as_str()).collect();
                    text.push_str(&format!("    {}: {}\n", cut(cell, LONG_CELL), who.join(", ")));
                }
            }
            if more > 0 {
                text.push_str(&format!("  and {more} more\n"));
            }
        }
        text
    }

    /// What a target alone was not asked, by what is missing there most.
    fn tell_skips(&self, text: &mut String, width: usize) {
        for (column, name) in self.columns.iter().zip(&self.names) {
            let here = self.skips.iter().filter(|skips| skips.target == column.target);
            let mut total = 0;
            let mut wants: Vec<(String, usize)> = Vec::new();
            for skips in here {
                total += skips.cases.len();
                match wants.iter_mut().find(|(what, _)| *what == skips.what) {
                    Some((_, count)) => *count += skips.cases.len(),
                    None => wants.push((skips.what.clone(), skips.cases.len())),
                }
            }
            if total == 0 {
                continue;
            }
            wants.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let named = wants.iter().take(NAMED).map(|(what, count)| format!("{what} ({count})"));
            let named = harmless(&named.collect::<Vec<_>>().join(", "));
            let more = wants.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let line = format!("{name} skips {total}, for want of: {named}{more}");
            text.push_str(&wrap(&line, width, "    "));
        }
    }

    fn summary(&self) -> String {
        let mut text = String::new();
        for (column, name) in self.columns.iter().zip(&self.names) {
            if let Some(why) = &column.unavailable {
                text.push_str(&format!("{name} was not asked: {}\n", harmless(why)));
            }
        }
        text.push_str(&self.in_short());
        text.push('\n');
        text
    }

    /// How many differ.
    fn in_short(&self) -> String {
        let counts = |row: &&Row| match self.shown {
            Shown::Changed => row.is_changed(),
            Shown::All | Shown::Differing => row.differs(),
        };
        let differing = self.rows.iter().filter(counts).count();
        let skipped = self.skips.iter().map(|skips| skips.cases.len()).sum::<usize>();
        let skipped = match skipped {
            0 => String::new(),
            1 => ", 1 skip beside (--all shows it)".to_owned(),
            count => format!(", {count} skips beside (--all shows them)"),
        };
        let verb = if differing == 1 { "differs" } else { "differ" };
        format!("{differing} of {} scenarios {verb}{skipped}", self.asked)
    }

    /// As a page of Markdown: what came of each target, and where they differ.
    pub fn page(&self, totals: &Totals) -> String {
        let columns = self.columns.iter();
        let targets: Vec<_> =
            columns.map(|column| (column.target.clone(), kernel(column))).collect();
        let figures = markdown::figures(&targets, totals);
        let mut headline = self.in_short();
        // Where all fail alike, nothing differs.
        if totals.all.failed > 0 {
            headline = format!("{} failed, {headline}", totals.all.failed);
        }
        if totals.all.interrupted {
            headline = format!("interrupted, {headline}");
        }
        if !totals.problems.is_empty() {
            headline = format!("not whole, {headline}");
        }
        let problems = markdown::problems(&totals.problems);
        format!("## nsharness: {headline}\n\n{figures}{problems}{}", self.markdown())
    }

    /// As a table of Markdown, with its footnotes.
    pub fn markdown(&self) -> String {
        let mut notes = Footnotes::default();
        let (rows, left_open) = self.by_what_is_left_open();
        let mut text = self.table_of_markdown(&rows, &mut notes);
        if !left_open.is_empty() {
            let table = self.table_of_markdown(&left_open, &mut notes);
            text.push_str(&format!("### {LEFT_OPEN}\n\n{table}"));
        }
        for (index, note) in notes.0.iter().enumerate() {
            text.push_str(&format!("{}. {}\n", index + 1, prose(note)));
        }
        if !notes.0.is_empty() {
            text.push('\n');
        }
        let mut skips = String::new();
        self.tell_skips(&mut skips, usize::MAX);
        let lines = skips + &self.summary();
        lines.lines().for_each(|line| text.push_str(&format!("- {}\n", prose(line))));
        text
    }

    fn table_of_markdown(&self, rows: &[&Row], notes: &mut Footnotes) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let row = |label: &str, cells: &[String], mark: &str| {
            let cells: Vec<_> = cells.iter().map(|cell| prose(cell)).collect();
            format!(
                "| {label} | {} |{}\n",
                cells.join(" | "),
                if mark.is_empty() { String::new() } else { format!(" {mark} |") }
            )
        };
        let mut text = String::from("| scenario |");
        for (name, column) in self.names.iter().zip(&self.columns) {
            let kernel = kernel(column);
            let kernel =
                if kernel == *name { String::new() } else { format!("<br>{}", prose(&kernel)) };
            text.push_str(&format!(" {}{kernel} |", prose(name)));
        }
        text.push_str(" cause |\n|---|");
        text.push_str(&"---|".repeat(self.names.len() + 1));
        text.push('\n');
        for one in rows {
            let mark = notes.mark(&one.status.causes);
            let id = code(&one.id);
            text.push_str(&row(&id, &one.status.cells, &pad(&mark)));
            let (lines, more) = self.lines(one);
            for line in lines {
                let cells: Vec<_> = line.cells.iter().map(|cell| cut(cell, LONG_CELL)).collect();
                let mark = notes.mark(&line.causes);
                let label = format!("&emsp;{}", prose(&label(line)));
                text.push_str(&row(&label, &cells, &pad(&mark)));
            }
            if more > 0 {
                let cells = vec![String::new(); self.names.len()];
                text.push_str(&row(&format!("&emsp;and {more} more"), &cells, &pad("")));
            }
        }
        text.push('\n');
        text
    }
}

/// A cell is never empty, or the table of Markdown would lack one.
fn pad(mark: &str) -> String {
    let mark = mark.trim();
    if mark.is_empty() { "\u{a0}".to_owned() } else { mark.to_owned() }
}

fn kernel(column: &Column) -> String {
    if column.unavailable.is_some() { "not asked".to_owned() } else { harmless(&column.kernel) }
}

fn label(line: &Line) -> String {
    let what = cut(&line.what, LONG_CELL);
    match line.line {
        Some(number) => format!("line {number}: {what}"),
        None => what,
    }
}

/// A text in lines of this width, all but the first indented.
fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let length = line.chars().count() + 1 + word.chars().count();
        if !line.trim().is_empty() && length > width {
            lines.push_str(&line);
            lines.push('\n');
            line = indent.to_owned();
        } else if !line.is_empty() && line != indent {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push_str(&line);
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_between_words() {
        assert_eq!(wrap("one two three four", 9, "  "), "one two\n  three\n  four\n");
        assert_eq!(wrap("word", 2, "  "), "word\n");
    }
}
