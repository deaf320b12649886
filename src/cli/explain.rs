//! `nsharness explain`

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::reports::whole;
use super::rules::of_bundle;
use super::select::Selection;
use super::simulate::Kernel;
use super::{Trouble, print};
use crate::diag::did_you_mean;
use crate::exit_code::ExitCode;
use crate::model::profile::Profile;
use crate::model::rules;
use crate::probe::{self, Environment};
use crate::report::{explain, html};
use crate::scenario::Case;
use crate::scenario::scalar::Errno;
use crate::target::model::Model;

/// Most scenarios that are explained at once.
const AT_ONCE: usize = 3;

const EXAMPLES: &str = "\
Examples:
  nsharness explain overlay/whiteout                    a scenario, step by step
  nsharness explain overlay.rename.dir-exdev            a rule
  nsharness explain EXDEV                               which rules give an error
  nsharness explain rename --kernel 5.10                a topic, as an older kernel has it
";

/// Nothing is run: what is told is what the model says.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The id or file of a scenario, a rule, an error as in EXDEV, or a topic: a family of rules or a
    /// tag
    #[arg(value_name = "ID|PATH|RULE|ERRNO|TOPIC")]
    subject: String,
    #[command(flatten)]
    kernel: Kernel,
    /// Writes a page with drawn pictures to this file, for a scenario; /dev/stdout is a file, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let word = arguments.subject.as_str();
    if arguments.html.is_some() {
        return match found(word)? {
            Some(found) => page(&found, arguments),
            None => Err(Trouble::Usage(format!(
                "--html shows a scenario step by step, and `{}` is none: `nsharness list` shows them",
                word.escape_debug()
            ))),
        };
    }
    if let Some(rule) = rules::find(word) {
        print(&explain::rule(rule, &of_bundle()?))?;
        return Ok(ExitCode::AsExpected);
    }
    let upper = word.to_ascii_uppercase();
    if Errno::names().any(|name| name == upper)
        && let Ok(errno) = upper.parse()
    {
        print(&explain::errno(errno, &of_bundle()?))?;
        return Ok(ExitCode::AsExpected);
    }
    if Path::new(word).is_file() {
        return cases(&Selection::of(word).cases()?.cases, arguments);
    }
    let all = Selection::of_default()?;
    let exact: Vec<_> = all.iter().filter(|case| is_called(case, word)).cloned().collect();
    if !exact.is_empty() {
        return cases(&exact, arguments);
    }
    let topic = word.trim_end_matches('/').trim_start_matches("scenarios/");
    if let Some(text) = explain::topic(topic, &all, &of_bundle()?) {
        print(&text)?;
        return Ok(ExitCode::AsExpected);
    }
    let below = explain::rules_below(word);
    if !below.is_empty() {
        print(&below)?;
        return Ok(ExitCode::AsExpected);
    }
    let near: Vec<_> = all.iter().filter(|case| case.id.contains(word)).cloned().collect();
    let files: BTreeSet<_> = near.iter().map(|case| &case.path).collect();
    match files.len() {
        0 => Err(unknown(word, &all)),
        _ if word.is_empty() => Err(unknown(word, &all)),
        1..=AT_ONCE => cases(&near, arguments),
        count => Err(Trouble::Usage(format!(
            "{count} files of scenarios have `{0}` in their ids: `nsharness list {0}` shows them",
            word.escape_debug()
        ))),
    }
}

/// Whether a word is the id of a case, or of the file that it is in.
fn is_called(case: &Case, word: &str) -> bool {
    case.id == word || case.id.split('@').next() == Some(word)
}

/// The scenarios that a word names: one by its file or id, or some whose ids have it.
fn found(word: &str) -> Result<Option<Vec<Case>>, Trouble> {
    if Path::new(word).is_file() {
        return Ok(Some(Selection::of(word).cases()?.cases));
    }
    let all = Selection::of_default()?;
    let exact: Vec<_> = all.iter().filter(|case| is_called(case, word)).cloned().collect();
    if !exact.is_empty() {
        return Ok(Some(exact));
    }
    let near: Vec<_> = all.into_iter().filter(|case| case.id.contains(word)).collect();
    let files: BTreeSet<_> = near.iter().map(|case| &case.path).collect();
    let few = !word.is_empty() && (1..=AT_ONCE).contains(&files.len());
    Ok(few.then_some(near))
}

/// Writes the page of some scenarios.
fn page(cases: &[Case], arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let (environment, profile) = simulated(cases, arguments)?;
    let page = html::explain::page(cases, &environment, &profile);
    if let Some(path) = &arguments.html {
        let mut file = whole(path)?;
        let written = file.write_all(page.as_bytes()).and_then(|()| file.flush());
        written.map_err(Trouble::environment("the page cannot be written"))?;
    }
    Ok(ExitCode::AsExpected)
}

/// What the kernel that is simulated is, as far as these cases depend on it.
fn simulated(cases: &[Case], arguments: &Arguments) -> Result<(Environment, Profile), Trouble> {
    let profile = arguments.kernel.profile();
    let mut environment = Environment::simulated(&profile);
    environment
        .ask(&probe::wanted(cases), &mut Model::new(profile.clone()))
        .map_err(Trouble::environment("the model cannot be probed"))?;
    Ok((environment, profile))
}

fn cases(cases: &[Case], arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let (environment, profile) = simulated(cases, arguments)?;
    let mut told: BTreeSet<&Path> = BTreeSet::new();
    for case in cases {
        // The cases of a file mostly differ in one word: one is told, and the others are named.
        if !told.insert(&case.path) {
            continue;
        }
        if told.len() > 1 {
            print("\n")?;
        }
        print(&explain::case(case, &environment, &profile))?;
        let others = cases.iter().filter(|other| other.path == case.path && other.id != case.id);
        let others: Vec<_> = others.map(|other| other.id.as_str()).collect();
        if !others.is_empty() {
            print(&format!("\nother cases: {}\n", others.join(", ")))?;
        }
    }
    Ok(ExitCode::AsExpected)
}

fn unknown(word: &str, cases: &[Case]) -> Trouble {
    let words = explain::words(cases);
    let hint = match did_you_mean(word, words.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if cases.is_empty() => {
            "there are no scenarios here: go to a checkout of nsharness, or name a file".to_owned()
        }
        None => "`nsharness list` shows scenarios, `nsharness rules` rules".to_owned(),
    };
    Trouble::Usage(format!("nothing is called `{}`: {hint}", word.escape_debug()))
}
