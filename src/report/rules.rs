//! Rules of the model as text and as JSON.

use std::fmt::Write;

use serde_json::json;

use super::escape::prose;
use super::link::links;
use crate::coverage::Coverage;
use crate::model::profile::Profile;
use crate::model::rules::{FAMILIES, Rule, all};

/// Most scenarios of one rule that are named.
const NAMED: usize = 5;

/// The family that a rule belongs to.
pub fn family(rule: &Rule) -> &'static str {
    rule.id.split('.').next().unwrap_or(rule.id)
}

/// One line: the id and the statement, with a mark where it is a quirk.
pub fn line(rule: &Rule) -> String {
    let quirk = if rule.quirk.is_some() { " [quirk]" } else { "" };
    format!("{:<36} {}{quirk}\n", rule.id, rule.statement)
}

/// The kernels that have a rule, where not all have it.
pub fn versions(rule: &Rule) -> Option<String> {
    let mut said = match (rule.since, rule.until) {
        (Some(since), Some(until)) => format!("Linux {since} to before {until}"),
        (Some(since), None) => format!("Linux {since} and later"),
        (None, Some(until)) => format!("before Linux {until}"),
        (None, None) => return None,
    };
    for (word, stable) in [("since", rule.backports), ("before", rule.ended)] {
        if !stable.is_empty() {
            let stable: Vec<_> = stable.iter().map(ToString::to_string).collect();
            let _ = write!(said, ", and stable {word} {}", stable.join(", "));
        }
    }
    Some(said)
}

/// Everything about a rule, and the scenarios that exercise it.
pub fn describe(rule: &Rule, coverage: &Coverage) -> String {
    let mut text = format!("{}\n  {}\n", rule.id, rule.statement);
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<11}{value}");
    };
    field("source:", rule.source);
    links(rule.source).iter().for_each(|link| field("", link));
    if let Some(quirk) = rule.quirk {
        field("quirk:", &format!("this deviates from what is documented: {quirk}"));
    }
    if let Some(versions) = versions(rule) {
        field("kernels:", &versions);
    }
    if let Some(probe) = rule.probe {
        field("probe:", &format!("{probe}, which outranks the version"));
    }
    let cases = coverage.of_rule(rule);
    match cases {
        [] if coverage.asked == 0 => field("scenarios:", "there are none here"),
        [] => field("scenarios:", "none exercises it"),
        [first, rest @ ..] => {
            field("scenarios:", first);
            rest.iter().take(NAMED - 1).for_each(|id| field("", id));
            if cases.len() > NAMED {
                field("", &format!("and {} more", cases.len() - NAMED));
            }
        }
    }
    text
}

/// Where scenarios are, as seen from the page.
const SCENARIOS: &str = "../scenarios";

/// The page of all rules in Markdown, by family: each has its id as its anchor.
pub fn page(coverage: &Coverage) -> String {
    let mut text = String::from(OPENING);
    for (name, rules) in FAMILIES {
        let _ = writeln!(text, "- [{name}](#{name}): {} rules", rules.len());
    }
    for (name, rules) in FAMILIES {
        let _ = write!(text, "\n## {name}\n");
        rules.iter().for_each(|rule| text.push_str(&entry(rule, coverage)));
    }
    text
}

const OPENING: &str = "\
# The rules

What the model believes: each rule is one condition and its effect at one place of it, with its source. This page is made
by `nsharness rules --markdown`, and a test keeps it current. `nsharness explain RULE` shows a rule, `nsharness
rules --coverage` how many scenarios exercise each. The kernels are those of kernel.org; where a probe tells better than a
version, the probe decides. A *quirk* is a rule that contradicts what is documented: [findings.md](findings.md) tells of each.

";

/// A rule with its anchor, as a section of the page.
fn entry(rule: &Rule, coverage: &Coverage) -> String {
    let Rule { id, statement, .. } = rule;
    let mut text = format!("\n### <a id=\"{id}\"></a>`{id}`\n\n{}\n\n", prose(statement));
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "- {name}: {value}");
    };
    let links: Vec<_> = links(rule.source).iter().map(|link| format!("<{link}>")).collect();
    field("Source", &[&[prose(rule.source)], &links[..]].concat().join(" "));
    if let Some(quirk) = rule.quirk {
        field("Quirk, otherwise documented", &prose(quirk));
    }
    if let Some(versions) = versions(rule) {
        field("Kernels", &versions);
    }
    if let Some(probe) = rule.probe {
        field("Probe", &format!("`{probe}`, which outranks the version"));
    }
    let mut files: Vec<&str> = Vec::new();
    for case in coverage.of_rule(rule) {
        let file = case.split('@').next().unwrap_or(case);
        if !files.contains(&file) {
            files.push(file);
        }
    }
    let named = files.iter().take(NAMED).map(|id| format!("[{id}]({SCENARIOS}/{id}.yaml)"));
    let mut scenarios = named.collect::<Vec<_>>().join(", ");
    match files.len() {
        0 => scenarios.push_str("none exercises it"),
        count if count > NAMED => scenarios.push_str(&format!(", and {} more", count - NAMED)),
        _ => {}
    }
    field("Scenarios", &scenarios);
    text
}

/// A rule as a JSON object, with the scenarios that exercise it.
pub fn json(rule: &Rule, coverage: &Coverage) -> serde_json::Value {
    json!({
        "id": rule.id,
        "family": family(rule),
        "statement": rule.statement,
        "source": rule.source,
        "links": links(rule.source),
        "since": rule.since.map(|version| version.to_string()),
        "backports": rule.backports.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "until": rule.until.map(|version| version.to_string()),
        "ended": rule.ended.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "probe": rule.probe,
        "quirk": rule.quirk,
        "scenarios": coverage.of_rule(rule),
    })
}

/// How many scenarios exercise each rule, family by family, and which rules none does.
pub fn table(coverage: &Coverage, profile: &Profile) -> String {
    let mut text = String::new();
    for (name, rules) in FAMILIES {
        let covered = rules.iter().filter(|rule| !coverage.of_rule(rule).is_empty()).count();
        let _ = writeln!(text, "{name}: {covered} of {}", rules.len());
        for rule in *rules {
            let cases = coverage.of_rule(rule);
            let example = cases.first().map_or("", String::as_str);
            let _ = writeln!(text, "  {:>4}  {:<36} {example}", cases.len(), rule.id);
        }
    }
    let missing: Vec<_> = coverage.missing().collect();
    for rule in &missing {
        let elsewhere = if rule.applies(profile) { "" } else { " (not in this kernel)" };
        let _ = writeln!(text, "no scenario exercises {}{elsewhere}", rule.id);
    }
    let count = all().count();
    let _ = writeln!(text, "{} of {count} rules are exercised", count - missing.len());
    text
}
