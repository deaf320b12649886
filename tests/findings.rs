//! `docs/findings.md` and what it tells of: deviations of the kernel that rules and scenarios know.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::{cases, root};
use nsharness::model::rules;

#[test]
fn every_quirk_and_every_known_deviation_is_told() {
    let (findings, cases) = (findings(), cases(&root().join("scenarios")));
    let named = names(&findings);
    let quirks = rules::all().filter(|rule| rule.quirk.is_some()).map(|rule| rule.id.to_owned());
    let known = cases.iter().filter(|case| {
        !case.known.is_empty() || case.steps.iter().any(|step| !step.known.is_empty())
    });
    let known = known.map(|case| file_id(&case.id).to_owned());
    let untold: BTreeSet<_> =
        quirks.chain(known).filter(|id| !named.contains(id.as_str())).collect();
    assert!(untold.is_empty(), "docs/findings.md does not tell of {untold:?}");
}

#[test]
fn what_is_named_there_exists() {
    let (findings, cases) = (findings(), cases(&root().join("scenarios")));
    let ids: BTreeSet<_> = cases.iter().flat_map(|case| [file_id(&case.id), &case.id]).collect();
    let families: BTreeSet<_> =
        cases.iter().filter_map(|case| Some(case.id.split_once('/')?.0)).collect();
    for name in names(&findings) {
        if name.split_once('/').is_some_and(|(family, _)| families.contains(family)) {
            assert!(ids.contains(name), "no scenario is called {name}");
        } else if let Some((family, _)) = name.split_once('.')
            && rules::FAMILIES.iter().any(|(known, _)| *known == family)
        {
            assert!(rules::find(name).is_some(), "no rule is called {name}");
        }
    }
}

/// Every finding says what is documented, what the kernel does, where that was seen, and what shows it.
#[test]
fn every_finding_is_whole() {
    let findings = findings();
    let deviations = findings.split("\n## What changed").next().unwrap_or_default();
    for finding in deviations.split("\n### ").skip(1) {
        let title = finding.lines().next().unwrap_or_default();
        for part in ["- Documented: ", "- Kernel: ", "- Measured: ", "- Shown by: "] {
            assert!(finding.contains(part), "{title}: `{part}` is missing");
        }
    }
}

fn findings() -> String {
    fs::read_to_string(root().join("docs/findings.md")).expect("docs/findings.md")
}

/// What stands between backticks.
fn names(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The id of the file that a case is in.
fn file_id(id: &str) -> &str {
    id.split('@').next().unwrap_or(id)
}
