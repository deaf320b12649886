//! The bundled scenarios, end to end, as a user runs them.

mod common;

use std::collections::BTreeSet;

use common::{Place, User, json_lines};
use rstest::rstest;

#[rstest]
fn the_bundle_passes(#[values(User::Own, User::Ordinary)] user: User) {
    let place = Place::new();
    place.copy("scenarios");
    place.copy("snapshots");
    let done = place
        .run(user, &["run", "scenarios", "--snapshots", "check", "--json", "out.json"])
        .expect_code(0);
    let events = json_lines(&place.read("out.json"));
    let summary = events.last().unwrap();
    assert_eq!(summary["failed"], 0, "{}", done.stdout);
    assert_eq!(summary["stray_snapshots"].as_array().map(Vec::len), Some(0), "{}", done.stdout);
    // In CI nothing that is named there may be missing.
    let required = std::env::var("NSHARNESS_REQUIRE").unwrap_or_default();
    let required: Vec<_> = required.split(',').filter(|name| !name.is_empty()).collect();
    // A skip has its reason, and a remedy.
    for event in events.iter().filter(|event| event["status"] == "skip") {
        let missing = event["missing"].as_array().unwrap();
        assert!(!missing.is_empty(), "{event}");
        if user == User::Own {
            let lacks = missing.iter().find(|m| required.iter().any(|name| m["what"] == *name));
            assert!(
                lacks.is_none(),
                "{}: {lacks:?} although NSHARNESS_REQUIRE names it",
                event["id"]
            );
        }
        assert!(
            missing.iter().all(|m| !m["why"].as_str().unwrap().is_empty()
                && !m["remedy"].as_str().unwrap().is_empty())
        );
    }
    // At least eighty scenarios; cases of one file count once.
    let files: BTreeSet<_> = events
        .iter()
        .filter(|e| e["status"] == "pass")
        .filter_map(|e| e["file"].as_str())
        .collect();
    assert!(files.len() >= 80 || user == User::Ordinary, "{} files", files.len());
}

#[test]
fn every_scenario_has_a_reference_and_a_title_that_no_other_has() {
    let place = Place::new();
    place.copy("scenarios");
    let done = place.run(User::Own, &["list", "--json"]).expect_code(0);
    let mut titles = BTreeSet::new();
    let mut files = BTreeSet::new();
    for event in json_lines(&done.stdout) {
        assert!(
            event["refs"].as_array().is_some_and(|refs| !refs.is_empty()),
            "{} has no reference",
            event["id"]
        );
        if files.insert(event["file"].to_string()) {
            assert!(titles.insert(event["title"].to_string()), "{} repeats a title", event["id"]);
        }
    }
}
