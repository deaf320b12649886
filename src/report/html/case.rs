//! What is told of one case: each step that is not as expected, the voices, the rules, the difference.

use super::super::Judged;
use super::super::console::{expected, next, voice};
use super::super::escape::cut;
use super::super::link::links;
use super::super::markup::{Attributes, Markup};
use super::super::picture::{Album, Picture};
use crate::diag::Diagnostic;
use crate::model::profile::Profile;
use crate::model::rules::Rule;
use crate::scenario::Case;
use crate::verdict::{Attempt, Recorded, Status, StepStatus, StepVerdict, Verdict};

/// Most lines of one difference, and longest text of a cell or of one answer.
const LINES: usize = 400;
const LONG: usize = 2000;
const CELL: usize = 160;

/// What a target answered.
pub fn body(judged: &Judged<'_>, kernel: &str) -> Markup {
    let Judged { case, verdict, witness, .. } = *judged;
    Markup::of(|m| {
        for (step, span) in verdict.steps.iter().zip(&case.steps) {
            if matches!(step.status, StepStatus::Fail | StepStatus::Xpass) {
                let why = step.why.clone().unwrap_or_default();
                let diagnostic = Diagnostic::at(&case.source, span.clone(), why);
                source(m, &diagnostic.label(voice(step)).render(false));
                voices(m, step, witness);
            }
        }
        if verdict.status == Status::Skip {
            lacks(m, verdict);
        } else {
            reasons(m, verdict);
        }
        difference(m, verdict);
        attempts(m, &verdict.attempts);
        abstentions(m, verdict);
        if !verdict.quirks.is_empty() {
            m.element("p", &[("class", "quirks")], |m| {
                m.text("known deviations: ");
                ids(m, &verdict.quirks);
            });
        }
        steps(m, verdict, witness);
        if verdict.status.is_failure() {
            m.element("p", &[("class", "next")], |m| {
                m.text("next: ");
                m.put("code", &[], next(judged, kernel));
            });
        }
    })
}

/// The lines of a scenario with the caret, as on a console.
fn source(m: &mut Markup, rendered: &str) {
    m.element("pre", &[("class", "source"), ("tabindex", "0")], |m| {
        for (number, line) in rendered.lines().enumerate() {
            let gutter = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
            let marks = gutter.trim_start().trim_start_matches('|').trim_start();
            let class = match line {
                _ if number == 0 => "message",
                _ if line.trim_start().starts_with("-->") => "place",
                _ if marks.starts_with('^') => "caret",
                _ => "line",
            };
            m.element("span", &[("class", class)], |m| {
                m.text(line).newline();
            });
        }
    });
}

/// What each voice says of a step.
fn voices(m: &mut Markup, step: &StepVerdict, witness: &str) {
    m.element("dl", &[("class", "voices")], |m| {
        let mut say = |who: &str, what: &str| {
            m.put("dt", &[], who);
            m.element("dd", &[], |m| {
                m.put("code", &[], cut(what, LONG));
            });
        };
        say("expect", expected(step));
        if witness != "model" {
            say(witness, step.outcome.as_deref().unwrap_or("no answer"));
        }
        let Some(model) = &step.model else { return };
        match (&model.outcome, &model.abstained) {
            (Some(outcome), _) => say("model", outcome),
            (None, why) => {
                let why = why.as_deref().unwrap_or("it was not asked");
                say("model", &format!("abstains: {why}"));
            }
        }
        for rule in &model.rules {
            m.put("dt", &[], "by");
            m.element("dd", &[], |m| {
                cite(m, rule);
            });
        }
    });
}

/// A rule with its statement and where it can be read.
pub fn cite(m: &mut Markup, rule: &Rule) {
    m.put("code", &[("class", "rule")], rule.id);
    m.text(" ").text(rule.statement).text(" ");
    sources(m, rule);
    if let Some(quirk) = rule.quirk {
        m.element("span", &[("class", "quirk")], |m| {
            m.text(" A known deviation; otherwise documented: ").text(quirk);
        });
    }
}

/// The addresses of a rule's source, or its words.
pub fn sources(m: &mut Markup, rule: &Rule) {
    m.element("small", &[("class", "sources")], |m| {
        let links = links(rule.source);
        if links.is_empty() {
            m.text(rule.source);
        }
        for (number, link) in links.iter().enumerate() {
            if number > 0 {
                m.text(", ");
            }
            let shown = link.trim_start_matches("https://");
            m.put("a", &[("href", link), ("rel", "noreferrer")], shown);
        }
    });
}

/// The ids of rules, each leading to what it says.
pub fn ids(m: &mut Markup, rules: &[&'static Rule]) {
    for (number, rule) in rules.iter().enumerate() {
        if number > 0 {
            m.text(", ");
        }
        m.put("a", &[("href", &format!("#rule-{}", rule.id))], rule.id);
    }
}

fn lacks(m: &mut Markup, verdict: &Verdict) {
    m.element("ul", &[("class", "lacks")], |m| {
        for missing in &verdict.missing {
            m.element("li", &[], |m| {
                m.text("needs ").put("b", &[], &missing.what);
                m.text(": ").text(&missing.why);
                m.text(" (").text(&missing.remedy).text(")");
            });
        }
    });
}

/// The reasons that no step tells.
fn reasons(m: &mut Markup, verdict: &Verdict) {
    let of_steps = verdict.steps.iter().filter(|step| step.status.is_told()).count();
    let told_above = if verdict.status == Status::Xfail { 0 } else { of_steps };
    let rest: Vec<_> = verdict.reasons.iter().skip(told_above).collect();
    list(m, "reasons", rest.iter().map(|reason| reason.as_str()));
}

fn list<'t>(m: &mut Markup, class: &'static str, texts: impl Iterator<Item = &'t str>) {
    let mut texts = texts.peekable();
    if texts.peek().is_some() {
        m.element("ul", &[("class", class)], |m| {
            texts.for_each(|text| {
                m.put("li", &[], cut(text, LONG));
            });
        });
    }
}

/// How the observations differ from their snapshot, each line with its sign.
fn difference(m: &mut Markup, verdict: &Verdict) {
    let Recorded::Changed { diff, file, .. } = &verdict.recorded else { return };
    m.element("figure", &[("class", "difference")], |m| {
        m.element("figcaption", &[], |m| {
            m.text("recorded in ").put("code", &[], file);
            m.text(" (−) and observed (+)");
        });
        m.element("pre", &[("tabindex", "0")], |m| {
            for line in diff.lines().take(LINES) {
                let (name, class) = match line.chars().next() {
                    Some('-') => ("del", "gone"),
                    Some('+') => ("ins", "new"),
                    _ => ("span", "line"),
                };
                m.element(name, &[("class", class)], |m| {
                    m.text(line).newline();
                });
            }
            let more = diff.lines().count().saturating_sub(LINES);
            if more > 0 {
                m.put("span", &[("class", "line")], format_args!("… and {more} lines more"));
            }
        });
    });
}

fn attempts(m: &mut Markup, attempts: &[Attempt]) {
    if attempts.is_empty() {
        return;
    }
    m.element("ol", &[("class", "attempts")], |m| {
        for attempt in attempts {
            m.element("li", &[], |m| {
                m.put("span", &[("class", super::class(attempt.status))], attempt.status.word());
                m.text(" ").text(&cut(&attempt.reasons.join("; "), LONG));
            });
        }
    });
}

fn abstentions(m: &mut Markup, verdict: &Verdict) {
    if verdict.status == Status::Skip {
        return;
    }
    let mut abstained: Vec<_> = verdict.abstained.iter().collect();
    abstained.dedup();
    let told = abstained.iter().map(|why| format!("the model abstains: {why}"));
    let told: Vec<_> = told.collect();
    list(m, "abstained", told.iter().map(String::as_str));
}

/// All steps, in short.
fn steps(m: &mut Markup, verdict: &Verdict, witness: &str) {
    if verdict.steps.is_empty() {
        return;
    }
    let table = |m: &mut Markup| {
        m.element("div", &[("class", "scroll")], |m| {
            m.element("table", &[("class", "steps")], |m| {
                m.element("thead", &[], |m| {
                    m.element("tr", &[], |m| {
                        for head in ["line", "actor", "step", witness, "by"] {
                            m.put("th", &[("scope", "col")], head);
                        }
                    });
                });
                m.element("tbody", &[], |m| verdict.steps.iter().for_each(|step| row(m, step)));
            });
        });
    };
    m.element("details", &[("class", "all-steps")], |m| {
        let number = verdict.steps.len();
        m.put(
            "summary",
            &[],
            format_args!("{number} {}", if number == 1 { "step" } else { "steps" }),
        );
        table(m);
    });
}

fn row(m: &mut Markup, step: &StepVerdict) {
    let attributes: Attributes<'_> = match step.status {
        StepStatus::Fail | StepStatus::Xpass => &[("class", "unexpected")],
        _ => &[],
    };
    m.element("tr", attributes, |m| {
        m.put("td", &[], step.line).put("td", &[], &step.actor);
        m.put("td", &[], &step.operation);
        m.element("td", &[], |m| {
            m.text(&cut(step.outcome.as_deref().unwrap_or("not reached"), CELL));
            let word = match step.status {
                StepStatus::Fail => " not as expected",
                StepStatus::Xfail => " not as documented, as known",
                StepStatus::Xpass => " no longer as known",
                StepStatus::Abstained => " the model abstains",
                StepStatus::Pass | StepStatus::NotReached => "",
            };
            if !word.is_empty() {
                m.put("small", &[], word);
            }
        });
        m.element("td", &[], |m| {
            if let Some(model) = &step.model {
                ids(m, &model.rules);
            }
        });
    });
}

/// The model's pictures of a case before the first step and after the last, and the ways of these steps.
pub fn pictures(
    album: &mut Album<'_>,
    case: &Case,
    profile: &Profile,
    unexpected: &[usize],
) -> Markup {
    let steps = case.plan.steps.len();
    let mut before = album.pictures(0);
    let mut after = Vec::new();
    let mut later = false;
    // An overlay that a step mounts is shown as it was when it came to be.
    for step in 1..=steps {
        after = album.pictures(step);
        let is_new = |new: &&Picture| !before.iter().any(|old| old.title() == new.title());
        let new: Vec<_> = after.iter().filter(is_new).cloned().collect();
        later |= !new.is_empty();
        before.extend(new);
    }
    let ways: Vec<_> = unexpected.iter().filter_map(|step| album.way(*step)).collect();
    if before.is_empty() && after.is_empty() {
        return Markup::new();
    }
    let same = before == after;
    Markup::of(|m| {
        m.element("details", &[("class", "pictures"), ("open", "")], |m| {
            let version = profile.version;
            m.put("summary", &[], format_args!("pictures, as the model has it on Linux {version}"));
            m.element("div", &[("class", "before-after")], |m| {
                let head = match (same, later) {
                    (true, _) => "before and after the steps",
                    (false, true) => "before the steps, or when it was mounted",
                    (false, false) => "before the steps",
                };
                side(m, head, &before, None);
                if !same {
                    side(m, "after the steps", &after, Some(&before));
                }
            });
            ways.iter().for_each(|way| figure(m, &way.svg()));
        });
    })
}

fn side(m: &mut Markup, head: &str, pictures: &[Picture], before: Option<&[Picture]>) {
    m.element("div", &[("class", "side")], |m| {
        m.put("h4", &[], head);
        for picture in pictures {
            let old = before.map(|all| all.iter().find(|old| old.title() == picture.title()));
            figure(m, &picture.svg(old));
        }
    });
}

/// A picture in a box of its own, which scrolls where it is too wide.
pub fn figure(m: &mut Markup, picture: &Markup) {
    m.element("div", &[("class", "picture"), ("tabindex", "0")], |m| {
        m.add(picture);
    });
}
