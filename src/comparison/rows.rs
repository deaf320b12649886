//! The rows of a matrix: a case each, with the lines on which its answers differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::cause::{self, Cause, causes};
use super::difference::{Part, differences};
use super::{Column, Told};
use crate::verdict::Status;

/// One case on several targets.
#[derive(Clone, Debug)]
pub struct Row {
    /// The id of the case.
    pub id: String,
    /// The title of its scenario.
    pub title: String,
    /// The status on each target, and why where it is none of success; `-` where it was not asked.
    pub status: Line,
    /// Where the answers differ.
    pub lines: Vec<Line>,
    /// Whether container runtimes do otherwise where the specification leaves that to them.
    pub is_left_open: bool,
}

/// One line of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The line of the scenario, for a step.
    pub line: Option<usize>,
    /// What is compared, as in `overlay` or `tree at upper: d/f mode`.
    pub what: String,
    /// What each target has there.
    pub cells: Vec<String>,
    /// Why they differ.
    pub causes: Vec<Cause>,
}

/// What is skipped on a target, where those that answered did so alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skips {
    /// The target.
    pub target: String,
    /// What is missing first.
    pub what: String,
    /// The ids of the cases.
    pub cases: Vec<String>,
}

/// What stands where a case was not asked.
const NOT_ASKED: &str = "-";

impl Row {
    /// Whether the targets that were asked answered differently.
    pub fn differs(&self) -> bool {
        !self.lines.is_empty() || !self.status.is_same_where_asked()
    }

    /// Whether they did, or one of them was not asked.
    pub fn is_changed(&self) -> bool {
        self.differs() || !self.status.is_same()
    }

    /// Whether those that answered did so alike, and the others skipped it.
    pub fn is_only_skipped(&self) -> bool {
        let rest: BTreeSet<_> = self
            .status
            .cells
            .iter()
            .filter(|cell| **cell != Status::Skip.word() && **cell != NOT_ASKED)
            .collect();
        self.lines.is_empty() && rest.len() <= 1
    }

    /// The events of the JSON report: one for each line that differs.
    pub fn json(&self, columns: &[&Column]) -> Vec<Value> {
        let status = Some(&self.status).filter(|status| !status.is_same());
        let lines = status.into_iter().chain(&self.lines);
        lines
            .map(|line| {
                let cells = columns.iter().zip(&line.cells);
                let cells: serde_json::Map<_, _> = cells
                    .map(|(column, cell)| (column.target.clone(), cell.as_str().into()))
                    .collect();
                json!({
                    "event": "difference",
                    "id": self.id,
                    "line": line.line,
                    "what": line.what,
                    "targets": cells,
                    "left_open": self.is_left_open,
                    "causes": line.causes.iter().map(Cause::json).collect::<Vec<_>>(),
                })
            })
            .collect()
    }
}

impl Line {
    /// Whether all cells say the same.
    pub fn is_same(&self) -> bool {
        self.cells.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn is_same_where_asked(&self) -> bool {
        let asked: BTreeSet<_> = self.cells.iter().filter(|cell| **cell != NOT_ASKED).collect();
        asked.len() <= 1
    }
}

/// One row for each case, in the order of the ids; columns that cannot be asked have no cells.
pub fn rows(columns: &[&Column]) -> Vec<Row> {
    let ids: BTreeSet<&String> = columns.iter().flat_map(|column| column.cases.keys()).collect();
    ids.into_iter().map(|id| row(id, columns)).collect()
}

fn row(id: &str, columns: &[&Column]) -> Row {
    let told: Vec<Option<&Told>> = columns.iter().map(|column| column.cases.get(id)).collect();
    let first = told.iter().flatten().next();
    Row {
        id: id.to_owned(),
        title: first.map(|told| told.title.clone()).unwrap_or_default(),
        status: status(&told),
        lines: lines(columns, &told),
        is_left_open: is_left_open(columns, &told),
    }
}

/// Whether all that answered were container runtimes, and none of them broke what the author expects of a
/// specification: what they do otherwise is up to them.
fn is_left_open(columns: &[&Column], told: &[Option<&Told>]) -> bool {
    let answered =
        || columns.iter().zip(told).filter_map(|(column, told)| Some((column, (*told)?)));
    let mut answered = answered().filter(|(_, told)| told.is_answered()).peekable();
    answered.peek().is_some()
        && answered.all(|(column, told)| column.runtime.is_some() && told.status == Status::Pass)
}

fn status(told: &[Option<&Told>]) -> Line {
    let cells =
        told.iter().map(|told| told.map_or(NOT_ASKED, |told| told.status.word()).to_owned());
    let mut causes = Vec::new();
    for told in told.iter().flatten() {
        let found: Vec<Cause> = match told.status {
            Status::Skip => told.missing.iter().cloned().map(Cause::Missing).collect(),
            status if status.is_failure() || status == Status::Flaky => {
                told.reasons.iter().cloned().map(Cause::Verdict).collect()
            }
            _ => Vec::new(),
        };
        causes
            .extend(found.into_iter().filter(|cause| !causes.contains(cause)).collect::<Vec<_>>());
    }
    Line { line: None, what: "status".to_owned(), cells: cells.collect(), causes }
}

/// A place at which targets are compared.
type Key = (Part, String);
/// By place: what the first has there, and those that have something else.
type Places = BTreeMap<Key, (String, BTreeMap<usize, String>)>;

/// Where others differ from the first that answered, in the order in which that was found, for steps before
/// observations.
fn places(base: &Told, others: &[(usize, &Told)]) -> (Vec<Key>, Places) {
    let mut places = Places::new();
    let mut order: Vec<Key> = Vec::new();
    for (index, other) in others {
        for difference in differences(base, other) {
            let key = (difference.part, difference.path);
            if !order.contains(&key) {
                order.push(key.clone());
            }
            let place = places.entry(key).or_insert_with(|| (difference.left, BTreeMap::new()));
            place.1.insert(*index, difference.right);
        }
    }
    order.sort_by(|a, b| a.0.cmp(&b.0));
    (order, places)
}

/// What every target has where any of them differs from the first that answered.
fn lines(columns: &[&Column], told: &[Option<&Told>]) -> Vec<Line> {
    let answered: Vec<_> = told
        .iter()
        .enumerate()
        .filter_map(|(index, told)| Some((index, (*told)?)))
        .filter(|(_, told)| told.is_answered())
        .collect();
    let Some(((base, base_told), others)) = answered.split_first() else { return Vec::new() };
    let (order, places) = places(base_told, others);
    let mut lines = Vec::new();
    for key in &order {
        let Some((left, rights)) = places.get(key) else { continue };
        let cell = |index: usize| match rights.get(&index) {
            Some(right) => right.clone(),
            None if answered.iter().any(|(asked, _)| *asked == index) => left.clone(),
            None => NOT_ASKED.to_owned(),
        };
        let mut found = Vec::new();
        let mut values = BTreeSet::from([left]);
        for (index, right) in rights {
            let Some(other) = told[*index] else { continue };
            if !values.insert(right) {
                continue;
            }
            let differs = |key: &Key| places.get(key).is_some_and(|(_, r)| r.contains_key(index));
            let before = order.iter().filter(|other| other.0 < key.0 && differs(other));
            let before: Vec<Part> = before.map(|(part, _)| part.clone()).collect();
            let pair = ((columns[*base], *base_told), (columns[*index], other));
            for cause in causes(&key.0, &before, pair.0, pair.1) {
                if !found.contains(&cause) {
                    found.push(cause);
                }
            }
        }
        lines.push(Line {
            line: cause::line(&key.0, base_told)
                .or_else(|| others.iter().find_map(|(_, other)| cause::line(&key.0, other))),
            what: what(key, base_told, others),
            cells: short((0..columns.len()).map(cell).collect()),
            causes: found,
        });
    }
    lines
}

/// What is compared at a place.
fn what((part, path): &(Part, String), base: &Told, others: &[(usize, &Told)]) -> String {
    let all = || std::iter::once(base).chain(others.iter().map(|(_, told)| *told));
    let (name, between) = match part {
        Part::Step(index) => {
            let mut steps = all().filter_map(|told| told.steps.get(*index));
            (steps.next().map(|step| step.operation.clone()), " ")
        }
        Part::Observation(index) => {
            let mut made = all().filter_map(|told| told.observations.get(*index));
            (made.next().map(|one| one.title.clone()), ": ")
        }
    };
    let name = name.unwrap_or_default();
    if path.is_empty() { name } else { format!("{name}{between}{path}") }
}

/// Errors without their system call, where that is the same in all of them.
fn short(cells: Vec<String>) -> Vec<String> {
    let calls: BTreeSet<&str> =
        cells.iter().filter_map(|cell| Some(cell.split_once(" from ")?.1)).collect();
    if calls.len() > 1 {
        return cells;
    }
    cells
        .iter()
        .map(|cell| match cell.split_once(" from ") {
            Some((errno, _)) if errno.starts_with('E') && !errno.contains(' ') => errno.to_owned(),
            _ => cell.clone(),
        })
        .collect()
}

/// What is skipped on some targets and answered alike by the others.
pub fn skips(rows: &[Row], columns: &[&Column]) -> Vec<Skips> {
    let mut skips: Vec<Skips> = Vec::new();
    for row in rows.iter().filter(|row| row.is_only_skipped()) {
        for column in columns {
            let Some(told) = column.cases.get(&row.id) else { continue };
            if told.status != Status::Skip {
                continue;
            }
            let what = told.missing.first().map(|missing| missing.what.clone());
            let what = what.unwrap_or_default();
            let known =
                skips.iter_mut().find(|one| one.target == column.target && one.what == what);
            match known {
                Some(known) => known.cases.push(row.id.clone()),
                None => skips.push(Skips {
                    target: column.target.clone(),
                    what,
                    cases: vec![row.id.clone()],
                }),
            }
        }
    }
    skips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_call_is_told_where_it_differs() {
        let cells = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            short(cells(["ok", "EPERM from mount", "EINVAL from mount"])),
            ["ok", "EPERM", "EINVAL"]
        );
        let both = ["ok", "EPERM from mount", "EINVAL from fsconfig"];
        assert_eq!(short(cells(both)), both);
    }
}
