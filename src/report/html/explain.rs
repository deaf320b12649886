//! A scenario step by step, as a page: what is done, what comes of it, by which rule, and what changed.

use std::collections::BTreeSet;

use super::super::explain::{Story, Told, story};
use super::super::markup::Markup;
use super::super::picture::{Album, Picture};
use super::case::{figure, sources};
use super::page;
use crate::model::profile::Profile;
use crate::model::rules::Rule;
use crate::probe::Environment;
use crate::scenario::Case;
use crate::transcript::Outcome;
use crate::verdict::StepStatus;

/// The page of some cases; of each file one is told, and its others are named.
pub fn page(cases: &[Case], environment: &Environment, profile: &Profile) -> String {
    let mut files = BTreeSet::new();
    let told: Vec<_> = cases.iter().filter(|case| files.insert(&case.path)).collect();
    let title = told.iter().map(|case| case.id.as_str()).collect::<Vec<_>>().join(", ");
    let body = Markup::of(|m| {
        m.element("main", &[("id", "content"), ("tabindex", "-1"), ("class", "story")], |m| {
            let mut cited = BTreeSet::new();
            for case in &told {
                tell(m, case, environment, profile, &mut cited);
                let others = cases.iter().filter(|o| o.path == case.path && o.id != case.id);
                let others: Vec<_> = others.map(|other| other.id.as_str()).collect();
                if !others.is_empty() {
                    m.put(
                        "p",
                        &[("class", "others")],
                        format_args!("Other cases: {}", others.join(", ")),
                    );
                }
            }
        });
    });
    page::page(&format!("nsharness explain: {title}"), false, &body)
}

fn tell(
    m: &mut Markup,
    case: &Case,
    environment: &Environment,
    profile: &Profile,
    cited: &mut BTreeSet<&'static str>,
) {
    m.element("header", &[("class", "page")], |m| {
        m.put("p", &[("class", "brand")], "nsharness explain");
        m.put("h1", &[], &case.title);
        m.element("p", &[("class", "file")], |m| {
            m.put("code", &[], &case.id);
            m.text(&format!(" as the model has it on Linux {}", profile.version));
        });
        if !case.refs.is_empty() {
            m.element("ul", &[("class", "refs")], |m| {
                for reference in &case.refs {
                    m.element("li", &[], |m| {
                        if reference.starts_with("https://") {
                            let link = [("href", reference.as_str()), ("rel", "noreferrer")];
                            m.put("a", &link, reference);
                        } else {
                            m.text(reference);
                        }
                    });
                }
            });
        }
    });
    match story(case, environment, profile) {
        Story::Lacks(missing) => {
            let version = profile.version;
            m.put("h2", &[], format_args!("Linux {version} cannot be asked this"));
            m.element("ul", &[], |m| {
                missing.iter().for_each(|lack| {
                    m.put("li", &[], lack);
                })
            });
            m.put("p", &[], "--kernel VERSION simulates another kernel.");
        }
        Story::Abstains(why) => {
            m.put("p", &[], format_args!("The model abstains: {why}"));
        }
        Story::Ends(reasons) => reasons.iter().for_each(|why| {
            m.put("p", &[], why);
        }),
        Story::Told(world, steps) => {
            steps_of(m, &mut Album::new(&case.plan, profile), &world, &steps, cited)
        }
    }
}

fn steps_of(
    m: &mut Markup,
    album: &mut Album<'_>,
    world: &[&'static Rule],
    steps: &[Told],
    cited: &mut BTreeSet<&'static str>,
) {
    let mut before = album.pictures(0);
    m.element("section", &[("class", "step")], |m| {
        m.put("h2", &[], "Before the first step");
        before.iter().for_each(|picture| figure(m, &picture.svg(None)));
        if !world.is_empty() {
            m.put("h3", &[("class", "quiet")], "The rules that set it up");
            cite(m, world, cited);
        }
    });
    m.element("ol", &[("class", "story-steps")], |m| {
        for (index, told) in steps.iter().enumerate() {
            let after = album.pictures(index + 1);
            m.element("li", &[("class", "step")], |m| {
                let line = told.verdict.line;
                m.element("h2", &[], |m| {
                    m.put("span", &[("class", "line-number")], format_args!("line {line}"))
                        .text(" ");
                    m.text(&told.sentence);
                });
                say(m, told);
                if let Some(model) = &told.verdict.model {
                    cite(m, &model.rules, cited);
                }
                if let Some(way) = album.way(index) {
                    figure(m, &way.svg());
                }
                changes(m, &before, &after);
            });
            before = after;
        }
    });
}

/// The pictures that are not as they were, before and after.
fn changes(m: &mut Markup, before: &[Picture], after: &[Picture]) {
    let old = |new: &Picture| before.iter().find(|old| old.title() == new.title());
    for picture in after.iter().filter(|new| old(new) != Some(new)) {
        m.element("div", &[("class", "before-after")], |m| {
            if let Some(old) = old(picture) {
                m.element("div", &[("class", "side")], |m| {
                    m.put("h3", &[("class", "quiet")], "before");
                    figure(m, &old.svg(None));
                });
            }
            m.element("div", &[("class", "side")], |m| {
                m.put("h3", &[("class", "quiet")], "after");
                // Of what was not shown before it is not known what is new.
                figure(m, &picture.svg(old(picture).map(Some)));
            });
        });
    }
    for gone in before.iter().filter(|old| !after.iter().any(|new| new.title() == old.title())) {
        m.put("p", &[("class", "quiet")], format_args!("gone: {}", gone.title()));
    }
}

/// What comes of a step.
fn say(m: &mut Markup, told: &Told) {
    let class = match &told.outcome {
        Some(Outcome::Failed { .. }) => "outcome refused",
        Some(Outcome::Abstained(_)) | None => "outcome silent",
        Some(_) => "outcome",
    };
    m.element("p", &[("class", class)], |m| match &told.outcome {
        Some(Outcome::Abstained(why)) => {
            m.text(&format!("the model abstains: {why}"));
        }
        Some(outcome) => {
            m.text("→ ").put("code", &[], outcome);
        }
        None => {
            m.text("not reached");
        }
    });
    let verdict = &told.verdict;
    match (verdict.status, &verdict.why) {
        (StepStatus::Fail, Some(why)) => {
            m.put("p", &[("class", "but")], format_args!("but {why}"));
        }
        (StepStatus::Xfail, Some(why)) => {
            let documented = verdict.expect.as_deref().unwrap_or("ok");
            let text = format_args!("documented is {documented}; this kernel deviates: {why}");
            m.put("p", &[("class", "but")], text);
        }
        _ => {}
    }
}

/// The rules that decided; where one was told before, its id leads there.
fn cite(m: &mut Markup, rules: &[&'static Rule], cited: &mut BTreeSet<&'static str>) {
    if rules.is_empty() {
        return;
    }
    m.element("ul", &[("class", "by")], |m| {
        for rule in rules {
            let id = format!("rule-{}", rule.id);
            if !cited.insert(rule.id) {
                let link = format!("#{id}");
                m.element("li", &[], |m| {
                    m.text("by ").put("a", &[("href", &link)], rule.id);
                });
                continue;
            }
            m.element("li", &[("id", &id)], |m| {
                m.text("by ").put("code", &[("class", "rule")], rule.id);
                m.text(": ").text(rule.statement).text(" ");
                if let Some(quirk) = rule.quirk {
                    m.element("span", &[("class", "quirk")], |m| {
                        m.text("A known deviation; otherwise documented: ").text(quirk).text(" ");
                    });
                }
                sources(m, rule);
            });
        }
    });
}
