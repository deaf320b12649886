//! The parts of a report, in the order in which somebody reads them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::super::escape::cut;
use super::super::markup::{Attributes, Markup};
use super::super::{OfLevel, Summary, Totals, count};
use super::case::{cite, ids, sources};
use super::{Answered, Collected, Told, class, family};
use crate::comparison::{Cause, Row};
use crate::model::rules::{Rule, all};
use crate::shard::Shard;
use crate::verdict::Status;

/// Longest text of a cell of what differs.
const CELL: usize = 160;
/// Most lines of one case in which targets differ.
const DIFFERENCES: usize = 40;

/// Every status, what is wrong first.
const STATUSES: [Status; 8] = [
    Status::Fail,
    Status::Broken,
    Status::Timeout,
    Status::Xpass,
    Status::Flaky,
    Status::Xfail,
    Status::Skip,
    Status::Pass,
];

/// The whole body of a report; `columns` are the targets by which cases are told to differ.
pub fn report(told: &Collected, columns: &[String], totals: &Totals) -> Markup {
    let order = order(told);
    let of = |wanted: &[Kind]| -> Vec<usize> {
        order
            .iter()
            .copied()
            .filter(|number| wanted.contains(&kind(&told.cases[*number])))
            .collect()
    };
    let failures = of(&[Kind::Failure]);
    let known = of(&[Kind::Known]);
    let rest = of(&[Kind::Other]);
    Markup::of(|m| {
        m.element("header", &[("class", "page")], |m| {
            m.put("p", &[("class", "brand")], "nsharness");
            m.put("h1", &[], totals.headline());
            figures(m, &totals.all);
            m.element("nav", &[("aria-label", "Parts of the report")], |m| {
                let parts = [
                    ("targets", "Targets", true),
                    ("failures", "Failures", true),
                    ("matrix", "Matrix", !told.cases.is_empty()),
                    ("known", "Known", !known.is_empty()),
                    ("skips", "Skipped", !told.missing.is_empty()),
                    ("quirks", "Deviations", !told.quirks.is_empty()),
                    ("rest", "Everything else", !rest.is_empty()),
                    ("rules", "Rules", true),
                ];
                for (id, name, _) in parts.iter().filter(|(_, _, is_there)| *is_there) {
                    m.put("a", &[("href", &format!("#{id}"))], name);
                }
            });
        });
        m.element("main", &[("id", "content"), ("tabindex", "-1")], |m| {
            problems(m, totals);
            targets(m, told, totals);
            filters(m, told);
            let cases = |numbers: &[usize]| Cases { told, columns, numbers: numbers.to_vec() };
            cases(&failures).section(m, "failures", "Failures", "Nothing failed.", true);
            matrix(m, told, &order);
            cases(&known).section(m, "known", "Failed as known", "", true);
            skips(m, told, &order);
            quirks(m, told);
            cases(&rest).section(m, "rest", "Everything else", "", false);
            rules(m, told);
        });
    })
}

/// In which section a case stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failure,
    Known,
    Other,
}

fn kind(told: &Told) -> Kind {
    if told.answers.iter().any(|answer| answer.status.is_failure()) {
        Kind::Failure
    } else if told.answers.iter().any(|answer| answer.status == Status::Xfail) {
        Kind::Known
    } else {
        Kind::Other
    }
}

/// The numbers of the cases by scenario, as they stand in its file: what failed first, then what differs.
fn order(told: &Collected) -> Vec<usize> {
    let mut order: Vec<usize> = (0..told.cases.len()).collect();
    order.sort_by_key(|number| {
        let case = &told.cases[*number];
        let kind = match (kind(case), &case.differs) {
            (Kind::Failure, _) => 0,
            (_, Some(row)) if !row.is_only_skipped() => 1,
            (Kind::Known, _) => 2,
            (Kind::Other, _) => 3,
        };
        (kind, case.id.split('@').next().unwrap_or_default().to_owned())
    });
    order
}

fn figures(m: &mut Markup, summary: &Summary) {
    let figures = [
        (summary.failed, "failed", "fail"),
        (summary.passed, "passed", "pass"),
        (summary.skipped, "skipped", "skip"),
        (summary.broken, "of these broken", "broken"),
        (summary.timeouts, "of these not ended in time", "timeout"),
        (summary.xpassed, "passed though known to fail", "xpass"),
        (summary.xfailed, "failed as known", "xfail"),
        (summary.flaky, "passed only when asked again", "flaky"),
        (summary.with_quirks, "with a known deviation of the kernel", "quirk"),
        (summary.abstained, "answers from which the model abstains", "abstained"),
        (summary.not_run, "not run", "notrun"),
    ];
    m.element("dl", &[("class", "figures")], |m| {
        for (index, (number, what, class)) in figures.iter().enumerate() {
            if *number > 0 || index < 3 {
                m.element("div", &[("class", class)], |m| {
                    m.put("dt", &[], what).put("dd", &[], number);
                });
            }
        }
    });
}

fn problems(m: &mut Markup, totals: &Totals) {
    let summary = &totals.all;
    if totals.problems.is_empty() && !summary.interrupted && summary.stray_snapshots.is_empty() {
        return;
    }
    let is_whole = totals.problems.is_empty() && !summary.interrupted;
    let class = if is_whole { "problems mild" } else { "problems" };
    m.element("section", &[("class", class), ("aria-label", "Warnings")], |m| {
        if summary.interrupted {
            m.put("p", &[], "The run was interrupted: what is not told here was not asked.");
        }
        if !totals.problems.is_empty() {
            m.put("h2", &[], "The report is not whole");
            m.element("ul", &[], |m| {
                totals.problems.iter().for_each(|problem| {
                    m.put("li", &[], problem);
                });
            });
        }
        let strays = &summary.stray_snapshots;
        if !strays.is_empty() {
            m.element("details", &[], |m| {
                m.element("summary", &[], |m| {
                    m.text("Snapshots that no scenario has (");
                    m.put("code", &[], "nsharness snap prune").text(") ");
                    m.put("span", &[("class", "count")], strays.len());
                });
                m.element("ul", &[("class", "cases")], |m| {
                    for file in strays {
                        m.put("li", &[], file);
                    }
                });
            });
        }
    });
}

fn targets(m: &mut Markup, told: &Collected, totals: &Totals) {
    let id = [("id", "targets"), ("aria-labelledby", "targets-h")];
    m.element("section", &id, |m| {
        m.put("h2", &[("id", "targets-h")], "What was asked, and where");
        if let Some(part) = told.part.as_ref().filter(|part| part.shard != Shard::WHOLE) {
            let (shard, cases) = (part.shard, part.scenarios);
            let of = count(part.selected);
            m.put("p", &[], format_args!("Shard {shard}: {cases} of {of}."));
        }
        m.element("div", &[("class", "scroll"), ("tabindex", "0")], |m| {
            m.element("table", &[], |m| {
                m.element("thead", &[], |m| {
                    m.element("tr", &[], |m| {
                        let heads =
                            ["target", "what it is", "failed", "passed", "skipped", "of these"];
                        heads.iter().for_each(|head| {
                            m.put("th", &[("scope", "col")], head);
                        });
                    });
                });
                m.element("tbody", &[], |m| {
                    let nothing = Summary::default();
                    for target in &told.targets {
                        let found = totals.targets.iter().find(|(name, _)| *name == target.name);
                        let summary = found.map_or(&nothing, |(_, summary)| summary);
                        m.element("tr", &[], |m| {
                            m.put("th", &[("scope", "row")], &target.name);
                            m.element("td", &[("class", "what")], |m| {
                                m.text(&target.what.join(", "));
                                for (cases, why) in &target.never {
                                    let word = if target.broke { "broken" } else { "not asked" };
                                    m.element("p", &[], |m| {
                                        m.put("b", &[], word);
                                        m.text(": ").text(&count(*cases)).text(": ").text(why);
                                    });
                                }
                            });
                            for number in [summary.failed, summary.passed, summary.skipped] {
                                m.put("td", &[("class", "number")], number);
                            }
                            m.put("td", &[], summary.details());
                        });
                    }
                });
            });
        });
        levels(m, totals);
    });
}

/// What came of that which a specification demands.
fn levels(m: &mut Markup, totals: &Totals) {
    if totals.all.levels.is_empty() {
        return;
    }
    m.put("h3", &[], "By what a specification demands");
    m.element("div", &[("class", "scroll"), ("tabindex", "0")], |m| {
        m.element("table", &[], |m| {
            m.element("thead", &[], |m| {
                m.element("tr", &[], |m| {
                    let heads = ["target", "the specification says", "failed", "passed"];
                    for head in heads.into_iter().chain(["failed as known", "skipped"]) {
                        m.put("th", &[("scope", "col")], head);
                    }
                });
            });
            m.element("tbody", &[], |m| {
                for (target, summary) in &totals.targets {
                    for (level, counts) in &summary.levels {
                        let OfLevel { passed, known, failed, skipped } = counts;
                        m.element("tr", &[], |m| {
                            m.put("th", &[("scope", "row")], target).put("td", &[], level);
                            for number in [failed, passed, known, skipped] {
                                m.put("td", &[("class", "number")], number);
                            }
                        });
                    }
                }
            });
        });
    });
}

/// The controls that the script makes work, and which are not there without it.
fn filters(m: &mut Markup, told: &Collected) {
    let families: BTreeSet<_> = told.cases.iter().map(|case| family(&case.id)).collect();
    let found = |status: &Status| {
        told.cases.iter().any(|case| case.answers.iter().any(|answer| answer.status == *status))
    };
    let statuses: Vec<_> = STATUSES.iter().filter(|status| found(status)).collect();
    let differing = told.cases.iter().any(|case| case.differs.is_some());
    let attributes = [("id", "filters"), ("role", "search"), ("hidden", "")];
    let select =
        |m: &mut Markup, name: &'static str, all: &str, options: &mut dyn Iterator<Item = &str>| {
            m.element("label", &[], |m| {
                m.text(name);
                m.element("select", &[("name", name)], |m| {
                    m.put("option", &[("value", "")], all);
                    for option in options {
                        m.put("option", &[("value", option)], option);
                    }
                });
            });
        };
    m.element("form", &attributes, |m| {
        m.element("fieldset", &[], |m| {
            m.put("legend", &[], "Show only");
            m.element("label", &[("class", "search")], |m| {
                m.text("text");
                let hint = "words of an id, a title, a tag";
                m.void("input", &[("type", "search"), ("name", "q"), ("placeholder", hint)]);
            });
            let named = families.iter().copied().filter(|family| !family.is_empty());
            select(m, "family", "all families", &mut named.into_iter());
            select(m, "status", "all statuses", &mut statuses.iter().map(|status| status.word()));
            let targets = told.targets.iter().map(|target| target.name.as_str());
            select(m, "target", "all targets", &mut targets.into_iter());
            let class: Attributes<'_> = if differing {
                &[("class", "check")]
            } else {
                &[("class", "check"), ("hidden", "")]
            };
            m.element("label", class, |m| {
                m.void("input", &[("type", "checkbox"), ("name", "differs")]);
                m.text("what differs");
            });
            m.put("button", &[("type", "button"), ("name", "clear")], "Show all");
            m.put("output", &[("id", "shown"), ("aria-live", "polite")], "");
        });
    });
}

/// What the filters look at.
fn filtered<R>(case: &Told, number: usize, id: &str, then: impl FnOnce(Attributes<'_>) -> R) -> R {
    let mut cells: Vec<_> = case
        .answers
        .iter()
        .flat_map(|a| a.targets.iter().map(|target| (*target, a.status.word())))
        .collect();
    cells.sort_unstable();
    let cells: Vec<_> = cells.iter().map(|(target, word)| format!("{target}={word}")).collect();
    let text = format!("{} {} {}", case.id, case.title, case.tags.join(" "));
    let (number, cells) = (number.to_string(), cells.join(" "));
    let mut attributes = vec![
        ("id", id),
        ("data-case", number.as_str()),
        ("data-family", family(&case.id)),
        ("data-cells", cells.as_str()),
        ("data-text", text.as_str()),
    ];
    if case.differs.is_some() {
        attributes.push(("data-differs", ""));
    }
    then(&attributes)
}

/// Some cases, one after the other.
struct Cases<'t> {
    told: &'t Collected,
    columns: &'t [String],
    numbers: Vec<usize>,
}

impl Cases<'_> {
    fn section(&self, m: &mut Markup, id: &'static str, head: &str, nothing: &str, is_open: bool) {
        if self.numbers.is_empty() && nothing.is_empty() {
            return;
        }
        let label = format!("{id}-h");
        m.element("section", &[("id", id), ("aria-labelledby", &label), ("data-cases", "")], |m| {
            m.element("h2", &[("id", &label)], |m| {
                m.text(head).text(" ");
                m.put("span", &[("class", "count")], self.numbers.len());
                m.put("span", &[("class", "left")], "");
            });
            if self.numbers.is_empty() {
                m.put("p", &[], nothing);
            }
            for number in &self.numbers {
                self.article(m, *number, is_open);
            }
        });
    }

    fn article(&self, m: &mut Markup, number: usize, is_open: bool) {
        let case = &self.told.cases[number];
        filtered(case, number, &format!("case-{number}"), |attributes| {
            m.element("article", attributes, |m| {
                let open: Attributes<'_> = if is_open { &[("open", "")] } else { &[] };
                m.element("details", open, |m| {
                    m.element("summary", &[], |m| {
                        let statuses: BTreeSet<_> = case.answers.iter().map(|a| a.status).collect();
                        for status in STATUSES.iter().filter(|status| statuses.contains(status)) {
                            m.put("span", &[("class", class(*status))], status.word());
                            m.text(" ");
                        }
                        m.put(if is_open { "h3" } else { "span" }, &[("class", "id")], &case.id);
                        m.text(" ");
                        m.element("span", &[("class", "title")], |m| {
                            if let Some(level) = case.level {
                                m.text(&format!("{level}: "));
                            }
                            m.text(&case.title);
                        });
                    });
                    m.element("p", &[("class", "file")], |m| {
                        m.put("code", &[], &case.path);
                        if !case.tags.is_empty() {
                            m.text(" tags: ").text(&case.tags.join(", "));
                        }
                    });
                    for (index, answer) in case.answers.iter().enumerate() {
                        self.answer(m, &format!("case-{number}-{index}"), answer);
                    }
                    if let Some(row) = &case.differs {
                        self.difference(m, row);
                    }
                    m.add(&case.pictures);
                });
            });
        });
    }

    fn answer(&self, m: &mut Markup, id: &str, answer: &Answered) {
        m.element("div", &[("class", "answer"), ("id", id)], |m| {
            m.element("p", &[("class", "on")], |m| {
                m.put("span", &[("class", class(answer.status))], answer.status.word());
                m.text(" on ");
                for (index, target) in answer.targets.iter().enumerate() {
                    if index > 0 {
                        m.text(", ");
                    }
                    m.put("b", &[], &self.told.targets[*target].name);
                }
            });
            m.add(&answer.body);
        });
    }

    /// Where the targets differ, and why.
    fn difference(&self, m: &mut Markup, row: &Row) {
        if row.lines.is_empty() {
            return;
        }
        m.put("h4", &[], "Where the targets differ");
        m.element("div", &[("class", "scroll"), ("tabindex", "0")], |m| {
            m.element("table", &[("class", "differences")], |m| {
                m.element("thead", &[], |m| {
                    m.element("tr", &[], |m| {
                        m.put("th", &[("scope", "col")], "what");
                        for name in self.columns {
                            m.put("th", &[("scope", "col")], name);
                        }
                        m.put("th", &[("scope", "col")], "why");
                    });
                });
                m.element("tbody", &[], |m| {
                    for line in row.lines.iter().take(DIFFERENCES) {
                        m.element("tr", &[], |m| {
                            m.element("th", &[("scope", "row")], |m| {
                                if let Some(number) = line.line {
                                    m.text(&format!("line {number}: "));
                                }
                                m.text(&line.what);
                            });
                            for cell in &line.cells {
                                m.element("td", &[], |m| {
                                    m.put("code", &[], cut(cell, CELL));
                                });
                            }
                            m.element("td", &[("class", "why")], |m| causes(m, &line.causes));
                        });
                    }
                });
            });
        });
        let more = row.lines.len().saturating_sub(DIFFERENCES);
        if more > 0 {
            m.put("p", &[], format_args!("and {more} more"));
        }
    }
}

fn causes(m: &mut Markup, causes: &[Cause]) {
    for cause in causes {
        m.element("p", &[], |m| match cause {
            Cause::Rule(rule) => {
                m.text("rule ");
                ids(m, &[rule]);
            }
            other => {
                m.text(&other.sentence());
            }
        });
    }
}

/// Scenarios by targets.
fn matrix(m: &mut Markup, told: &Collected, order: &[usize]) {
    if told.cases.is_empty() {
        return;
    }
    m.element("section", &[("id", "matrix"), ("aria-labelledby", "matrix-h")], |m| {
        m.put("h2", &[("id", "matrix-h")], "Scenarios by targets");
        // With several targets their names stay in sight, which needs a box of its own height.
        let class = if told.targets.len() > 1 { "scroll tall" } else { "scroll" };
        let named = ("aria-labelledby", "matrix-h");
        m.element("div", &[("class", class), ("tabindex", "0"), ("role", "region"), named], |m| {
            m.element("table", &[("class", "matrix")], |m| {
                m.element("thead", &[], |m| {
                    m.element("tr", &[], |m| {
                        m.put("th", &[("scope", "col")], "scenario");
                        for target in &told.targets {
                            m.put("th", &[("scope", "col")], &target.name);
                        }
                    });
                });
                m.element("tbody", &[], |m| {
                    order.iter().for_each(|number| row(m, told, *number));
                });
            });
        });
    });
}

fn row(m: &mut Markup, told: &Collected, number: usize) {
    let case = &told.cases[number];
    let mut cells: BTreeMap<usize, (usize, Status)> = BTreeMap::new();
    for (index, answer) in case.answers.iter().enumerate() {
        cells.extend(answer.targets.iter().map(|target| (*target, (index, answer.status))));
    }
    filtered(case, number, &format!("row-{number}"), |attributes| {
        m.element("tr", attributes, |m| {
            m.element("th", &[("scope", "row")], |m| {
                m.put("a", &[("href", &format!("#case-{number}"))], &case.id);
                if case.differs.as_ref().is_some_and(|row| !row.is_only_skipped()) {
                    m.text(" ").put("span", &[("class", "differs")], "differs");
                }
                m.put("span", &[("class", "title")], &case.title);
            });
            for target in 0..told.targets.len() {
                m.element("td", &[], |m| match cells.get(&target) {
                    Some((index, status)) => {
                        let link = format!("#case-{number}-{index}");
                        m.put("a", &[("class", class(*status)), ("href", &link)], status.word());
                    }
                    None => {
                        m.put("span", &[("class", "none")], "not asked");
                    }
                });
            }
        });
    });
}

/// What was skipped, by what is missing.
fn skips(m: &mut Markup, told: &Collected, order: &[usize]) {
    if told.missing.is_empty() {
        return;
    }
    m.element("section", &[("id", "skips"), ("aria-labelledby", "skips-h")], |m| {
        m.put("h2", &[("id", "skips-h")], "Skipped, by what is missing");
        let size = |lack: &super::Lack| lack.cases.values().sum::<usize>() + lack.unnamed;
        let mut lacks: Vec<_> = told.missing.iter().collect();
        lacks.sort_by_key(|(_, lack)| Reverse(size(lack)));
        for ((what, remedy), lack) in lacks {
            m.element("details", &[("class", "lack")], |m| {
                m.element("summary", &[], |m| {
                    m.put("b", &[], what).text(": ").text(&lack.why).text(" ");
                    m.put("span", &[("class", "count")], size(lack));
                });
                m.element("p", &[], |m| {
                    m.text("What to do: ").text(remedy);
                });
                if lack.unnamed > 0 {
                    let all = count(lack.unnamed);
                    m.put("p", &[], format_args!("A target could not be asked: {all}."));
                }
                m.element("ul", &[("class", "cases")], |m| {
                    let order = order.iter().filter_map(|number| {
                        lack.cases.get(number).map(|targets| (number, targets))
                    });
                    for (number, targets) in order {
                        m.element("li", &[], |m| {
                            let id = &told.cases[*number].id;
                            m.put("a", &[("href", &format!("#case-{number}"))], id);
                            if *targets > 1 {
                                m.text(&format!(" on {targets} targets"));
                            }
                        });
                    }
                });
            });
        }
    });
}

fn quirks(m: &mut Markup, told: &Collected) {
    if told.quirks.is_empty() {
        return;
    }
    m.element("section", &[("id", "quirks"), ("aria-labelledby", "quirks-h")], |m| {
        m.put("h2", &[("id", "quirks-h")], "Known deviations that decided");
        m.put(
            "p",
            &[],
            "Here the kernel does otherwise than it is documented, or than POSIX says.",
        );
        for quirk in told.quirks.values() {
            m.element("details", &[("class", "lack")], |m| {
                m.element("summary", &[], |m| {
                    m.put("code", &[("class", "rule")], quirk.rule.id);
                    m.text(" ").text(quirk.rule.statement).text(" ");
                    m.put("span", &[("class", "count")], quirk.cases.len());
                });
                m.element("p", &[], |m| cite(m, quirk.rule));
                m.element("ul", &[("class", "cases")], |m| {
                    for number in &quirk.cases {
                        let id = &told.cases[*number].id;
                        m.element("li", &[], |m| {
                            m.put("a", &[("href", &format!("#case-{number}"))], id);
                        });
                    }
                });
            });
        }
    });
}

/// What the rules say that something here leads to.
fn rules(m: &mut Markup, told: &Collected) {
    let mut cited = BTreeSet::new();
    let bodies = told.cases.iter().flat_map(|case| &case.answers);
    for body in bodies.map(|answer| answer.body.as_str()) {
        let links = body.split("href=\"#rule-").skip(1);
        cited.extend(links.filter_map(|rest| rest.split('"').next()));
    }
    for row in told.cases.iter().filter_map(|case| case.differs.as_ref()) {
        for cause in row.lines.iter().flat_map(|line| &line.causes) {
            if let Cause::Rule(rule) = cause {
                cited.insert(rule.id);
            }
        }
    }
    let rules: Vec<&Rule> = all().filter(|rule| cited.contains(rule.id)).collect();
    m.element("section", &[("id", "rules"), ("aria-labelledby", "rules-h")], |m| {
        m.put("h2", &[("id", "rules-h")], "Rules that the model cites");
        if rules.is_empty() {
            m.put("p", &[], "None.");
            return;
        }
        m.element("dl", &[("class", "rules")], |m| {
            for rule in rules {
                m.put("dt", &[("id", &format!("rule-{}", rule.id))], rule.id);
                m.element("dd", &[], |m| {
                    m.text(rule.statement).text(" ");
                    if let Some(quirk) = rule.quirk {
                        m.text("A known deviation; otherwise documented: ").text(quirk).text(" ");
                    }
                    sources(m, rule);
                });
            }
        });
    });
}
