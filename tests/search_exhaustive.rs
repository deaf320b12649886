//! What is counted in advance is asked completely: every sequence of a vocabulary, and every rename.

mod common;

use common::{Place, User};
use nsharness::search::family;
use nsharness::search::findings::Record;

/// What a search said, if this machine can be asked.
fn search(place: &Place, arguments: &[&str]) -> Option<String> {
    let done = place.run(User::Own, &[&["search"], arguments].concat());
    if done.code == Some(4) {
        common::skip("overlay", &done.text());
        return None;
    }
    assert_eq!(done.code, Some(0), "{}", done.text());
    Some(done.text())
}

#[test]
fn every_sequence_of_a_family_is_asked() {
    for family in family::names() {
        let arguments = [family, "--exhaustive", "--depth", "1"];
        let Some(said) = search(&Place::new(), &arguments) else { return };
        let counted = "30 sequences of up to 1 of 30 operations, in 4 worlds: 120 trials";
        assert!(said.contains(counted), "{said}");
        assert!(said.contains("in 120 trials"), "{said}");
        assert!(said.contains("next: none is left"), "{said}");
    }
}

#[test]
fn what_is_counted_is_spread_and_gone_on_with() {
    let place = Place::new();
    let vocabulary = ["overlay", "--exhaustive", "--depth", "1"];
    let record = |name: &str| Record::read(&place.path().join(name)).unwrap().unwrap();
    for (name, part, trials) in [("one", "1/7", 18), ("last", "7/7", 17)] {
        let arguments = [&vocabulary[..], &["--out", name, "--shard", part]].concat();
        if search(&place, &arguments).is_none() {
            return;
        }
        assert_eq!(record(name).searches[0].trials, trials);
    }
    search(&place, &[&vocabulary[..], &["--out", "all", "--count", "50"]].concat());
    search(&place, &[&vocabulary[..], &["--out", "all", "--resume"]].concat());
    let all = &record("all").searches[0];
    assert_eq!((all.trials, all.next), (120, 120));
}

#[test]
fn a_scenario_is_a_vocabulary() {
    let place = Place::new();
    let vocabulary = "\
title: Two operations
cases: { one: { name: a }, two: { name: b } }
world: { tree: { a: dir } }
steps:
  - rmdir: { path: \"${case.name}\" }
  - mkdir: { path: \"${case.name}\" }
observe:
  - tree: { at: . }
";
    place.write("own.yaml", vocabulary);
    let arguments = ["own.yaml", "--exhaustive", "--depth", "3"];
    let Some(said) = search(&place, &arguments) else { return };
    assert!(
        said.contains("14 sequences of up to 3 of 2 operations, in 2 worlds: 28 trials"),
        "{said}"
    );
    assert!(said.contains("in 28 trials"), "{said}");
}

#[test]
fn renames_are_counted_and_asked() {
    let Some(said) = search(&Place::new(), &["rename", "--count", "300"]) else { return };
    assert!(said.contains(" renames x "), "{said}");
    assert!(said.contains("in 300 trials"), "{said}");
    assert!(said.contains("next: --from 300"), "{said}");
}

#[test]
fn what_does_not_go_together_is_told() {
    for (arguments, told) in [
        (&["rename", "--exhaustive"][..], "without --exhaustive"),
        (&["own.yaml"][..], "with --exhaustive alone"),
        (&["overlay", "--exhaustive", "--seed", "1"][..], "--seed"),
        (&["overlay", "--depth", "3"][..], "--exhaustive"),
        (&["overlay", "--exhaustive", "--depth", "99"][..], "lessen --depth"),
    ] {
        let done = Place::new().run(User::Own, &[&["search"], arguments].concat());
        assert_eq!(done.code, Some(2), "{arguments:?}");
        assert!(done.text().contains(told), "{}", done.text());
    }
}
