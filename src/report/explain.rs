//! What a learner reads: a scenario step by step, a rule, an error, a topic.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::link::links;
use super::picture::Album;
use super::rules::{self, describe, line};
use super::sentence::sentence;
use crate::coverage::Coverage;
use crate::missing::Missing;
use crate::model::predict;
use crate::model::profile::Profile;
use crate::model::rules::{FAMILIES, Rule, all};
use crate::probe::Environment;
use crate::scenario::expect::Expect;
use crate::scenario::scalar::Errno;
use crate::scenario::{Case, StepInfo};
use crate::target::Answer;
use crate::transcript::Outcome;
use crate::verdict::{Recorded, StepStatus, StepVerdict, judge, resolve};

/// Most scenarios of one topic or rule that are named.
const NAMED: usize = 8;

/// What can be told of a case on a kernel.
pub enum Story {
    /// It cannot be asked there.
    Lacks(Vec<Missing>),
    /// The model says nothing of it.
    Abstains(String),
    /// No step is reached.
    Ends(Vec<String>),
    /// Step by step, after the rules that made the world.
    Told(Vec<&'static Rule>, Vec<Told>),
}

/// A step of a story.
pub struct Told {
    /// Who does what.
    pub sentence: String,
    /// How it is judged.
    pub verdict: StepVerdict,
    /// What comes of it, with the values that tell a reader something; `None` where it is not reached.
    pub outcome: Option<Outcome>,
}

/// Has the model tell of a case.
pub fn story(case: &Case, environment: &Environment, profile: &Profile) -> Story {
    let missing = environment.missing(case);
    if !missing.is_empty() {
        return Story::Lacks(missing);
    }
    let prediction = predict(&case.plan, profile);
    if let Some(why) = prediction.abstains() {
        return Story::Abstains(why.to_string());
    }
    let world = prediction.world.clone();
    let answer = Answer::Predicted(Box::new(prediction));
    let verdict = judge(case, environment, answer, None, |_| Recorded::Nothing);
    if verdict.steps.iter().all(|step| step.status == StepStatus::NotReached) {
        return Story::Ends(verdict.reasons);
    }
    let outcomes = verdict.transcript.iter().flat_map(|transcript| &transcript.outcomes);
    let mut outcomes = outcomes.zip(&case.steps);
    let told = case.plan.steps.iter().zip(verdict.steps).map(|(planned, verdict)| Told {
        sentence: sentence(planned),
        verdict,
        outcome: outcomes.next().map(|(outcome, info)| telling(outcome, info, environment)),
    });
    Story::Told(world, told.collect())
}

/// A case step by step: what is done, what comes of it, by which rules, and what changed.
pub fn case(case: &Case, environment: &Environment, profile: &Profile) -> String {
    let mut text = format!("{}\n{}\n", case.id, case.title);
    for reference in &case.refs {
        let _ = writeln!(text, "  {reference}");
    }
    let (world, steps) = match story(case, environment, profile) {
        Story::Lacks(missing) => {
            let _ = writeln!(text, "\nLinux {} cannot be asked this:", profile.version);
            for missing in missing {
                let _ = writeln!(text, "  {missing}");
            }
            text.push_str("  `--kernel VERSION` simulates another kernel\n");
            return text;
        }
        Story::Abstains(why) => {
            let _ = writeln!(text, "\nThe model abstains: {why}");
            return text;
        }
        Story::Ends(reasons) => {
            for reason in reasons {
                let _ = writeln!(text, "\n{reason}");
            }
            return text;
        }
        Story::Told(world, steps) => (world, steps),
    };
    let mut told = BTreeSet::new();
    let mut album = Album::new(&case.plan, profile);
    let _ = writeln!(text, "\nBefore the first step, on Linux {}:", profile.version);
    text.push_str(&album.after(0));
    if !world.is_empty() {
        let ids: Vec<_> = world.iter().map(|rule| rule.id).collect();
        let _ = writeln!(text, "  set up by {}", ids.join(", "));
        let quirks: Vec<_> = world.into_iter().filter(|rule| rule.quirk.is_some()).collect();
        cite(&mut text, &quirks, &mut told);
    }
    for (index, Told { sentence, verdict, outcome }) in steps.iter().enumerate() {
        let _ = writeln!(text, "\nline {}: {sentence}", verdict.line);
        say(&mut text, verdict, outcome.as_ref());
        if let Some(model) = &verdict.model {
            cite(&mut text, &model.rules, &mut told);
        }
        text.push_str(&album.after(index + 1));
    }
    text
}

/// An outcome with the values that the author names, or with those that tell a reader something.
pub fn telling(outcome: &Outcome, info: &StepInfo, environment: &Environment) -> Outcome {
    const NOISE: &[&str] =
        &["atime", "blocks", "count", "ctime", "dev", "ino", "ino_number", "mtime"];
    let Outcome::Ok(values) = outcome else { return outcome.clone() };
    let expect = info.expect.as_ref().and_then(|expect| resolve(expect, environment));
    let named = |name: &str| match expect {
        Some(Expect::Values(wanted)) => wanted.contains_key(name),
        _ => !NOISE.contains(&name),
    };
    let values = values.iter().filter(|(name, _)| named(name));
    Outcome::Ok(values.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// What comes of a step.
fn say(text: &mut String, step: &StepVerdict, outcome: Option<&Outcome>) {
    match outcome {
        Some(Outcome::Abstained(why)) => {
            let _ = writeln!(text, "  → the model abstains: {why}");
        }
        Some(outcome) => {
            let _ = writeln!(text, "  → {outcome}");
        }
        None => text.push_str("  → not reached\n"),
    }
    match (step.status, &step.expect, &step.why) {
        (StepStatus::Fail, _, Some(why)) => {
            let _ = writeln!(text, "  but {why}");
        }
        (StepStatus::Xfail, expect, Some(why)) => {
            let documented = expect.as_deref().unwrap_or("ok");
            let _ = writeln!(text, "  documented is {documented}; this kernel deviates: {why}");
        }
        _ => {}
    }
}

/// The rules that decided; where one was told before, its id is enough.
fn cite(text: &mut String, rules: &[&'static Rule], told: &mut BTreeSet<&'static str>) {
    for rule in rules {
        if !told.insert(rule.id) {
            let _ = writeln!(text, "  by {}", rule.id);
            continue;
        }
        let _ = writeln!(text, "  by {}: {}", rule.id, rule.statement);
        let links = links(rule.source);
        let link = if links.is_empty() { rule.source.to_owned() } else { links.join(" ") };
        let _ = writeln!(text, "     {link}");
        if let Some(quirk) = rule.quirk {
            let _ = writeln!(text, "     a known deviation; otherwise documented: {quirk}");
        }
    }
}

/// The rules that give an error, family by family, with scenarios that show it.
pub fn errno(errno: Errno, coverage: &Coverage) -> String {
    let word = errno.to_string();
    let meaning = nix::errno::Errno::from_raw(errno.0).desc();
    let mut text = format!("{word}: {meaning}\n");
    let shown = coverage.errors.get(&errno.0);
    let says = |rule: &Rule| {
        rule.statement.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == word)
    };
    for (family, rules) in FAMILIES {
        let cases = |rule: &Rule| shown.and_then(|rules| rules.get(rule.id));
        let found: Vec<_> =
            rules.iter().filter(|rule| says(rule) || cases(rule).is_some()).collect();
        if found.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{family}");
        for rule in found {
            let _ = writeln!(text, "  {}: {}", rule.id, rule.statement);
            name(&mut text, "     ", cases(rule).into_iter().flatten().map(String::as_str));
        }
    }
    if text.lines().count() == 1 {
        text.push_str("no rule of the model gives it, and no scenario shows it\n");
    }
    text
}

/// A rule, with its scenarios.
pub fn rule(rule: &Rule, coverage: &Coverage) -> String {
    describe(rule, coverage)
}

/// A family of rules or a tag of scenarios: `None` where there is no such thing.
pub fn topic(word: &str, cases: &[Case], coverage: &Coverage) -> Option<String> {
    let family = FAMILIES.iter().find(|(name, _)| *name == word);
    let below = format!("{word}/");
    let of_topic =
        |case: &&Case| case.tags.iter().any(|tag| tag == word) || case.id.starts_with(&below);
    let mut files = BTreeSet::new();
    let scenarios: Vec<_> =
        cases.iter().filter(of_topic).filter(|case| files.insert(&case.path)).collect();
    if family.is_none() && scenarios.is_empty() {
        return None;
    }
    let ids: BTreeSet<&str> = cases.iter().filter(of_topic).map(|case| case.id.as_str()).collect();
    let rules: Vec<&Rule> = match family {
        Some((_, rules)) => rules.to_vec(),
        None => all()
            .filter(|rule| coverage.of_rule(rule).iter().any(|id| ids.contains(id.as_str())))
            .collect(),
    };
    let mut text =
        format!("{word}: {} rules, {} files of scenarios\n", rules.len(), scenarios.len());
    if !rules.is_empty() {
        text.push_str("\nrules\n");
        rules.iter().for_each(|rule| text.push_str(&format!("  {}", line(rule))));
    }
    if !scenarios.is_empty() {
        text.push_str("\nscenarios\n");
        for case in scenarios {
            let id = case.id.split('@').next().unwrap_or(&case.id);
            let _ = writeln!(text, "  {id}  {}", case.title);
        }
    }
    Some(text)
}

/// Rules whose ids begin with a word, one line each.
pub fn rules_below(word: &str) -> String {
    let below = format!("{word}.");
    all().filter(|rule| rule.id.starts_with(&below)).map(line).collect()
}

/// The words that can be explained beside scenarios: rules, errors, families, tags.
pub fn words(cases: &[Case]) -> BTreeSet<String> {
    let mut words: BTreeSet<String> = all().map(|rule| rule.id.to_owned()).collect();
    words.extend(all().map(|rule| rules::family(rule).to_owned()));
    words.extend(Errno::names().map(str::to_owned));
    for case in cases {
        words.extend(case.tags.iter().cloned());
        words.insert(case.id.clone());
        words.extend(case.id.split('@').next().map(str::to_owned));
    }
    words
}

fn name<'i>(text: &mut String, before: &str, ids: impl Iterator<Item = &'i str>) {
    let ids: Vec<_> = ids.collect();
    if ids.is_empty() {
        return;
    }
    let more =
        if ids.len() > NAMED { format!(", and {} more", ids.len() - NAMED) } else { String::new() };
    let _ = writeln!(text, "{before}{}{more}", ids[..ids.len().min(NAMED)].join(", "));
}
