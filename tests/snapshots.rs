//! Observations are recorded, compared, reviewed.

mod common;

use common::{Place, User};
use rstest::rstest;

const OBSERVES: &str = "\
title: A tree is observed
world: { tree: { d/f: { file: one }, d/g: { hardlink: d/f } } }
steps: [ { stat: { path: d, expect: { type: dir } } } ]
observe: [ { tree: { at: d } } ]
";

#[test]
fn a_missing_record_fails_and_writes_nothing_in_check_mode() {
    let place = Place::new();
    place.write("scenarios/a.yaml", OBSERVES);
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(
        done.stdout.contains("the observations were never recorded: snapshots/a.snap is new"),
        "{}",
        done.stdout
    );
    assert!(!place.exists("snapshots"));
}

#[test]
fn new_writes_a_pending_file_that_accept_makes_the_record() {
    let place = Place::new();
    place.write("scenarios/a.yaml", OBSERVES);
    place.run(User::Own, &["run", "--snapshots", "new"]).expect_code(1);
    assert!(place.exists("snapshots/a.snap.new") && !place.exists("snapshots/a.snap"));
    let done = place.run(User::Own, &["snap", "status"]).expect_code(1);
    assert!(done.stdout.contains("pending  snapshots/a.snap.new"), "{}", done.stdout);
    place.run(User::Own, &["snap", "accept"]).expect_code(0);
    assert!(place.exists("snapshots/a.snap") && !place.exists("snapshots/a.snap.new"));
    place.run(User::Own, &["run"]).expect_code(0);
    place.run(User::Own, &["snap", "status"]).expect_code(0);
}

#[test]
fn a_record_is_in_the_format_of_insta() {
    let place = Place::new();
    place.write("scenarios/a.yaml", OBSERVES);
    place.run(User::Own, &["run", "--snapshots", "accept"]).expect_code(0);
    insta::assert_snapshot!(place.read("snapshots/a.snap"), @r#"
    ---
    source: "scenarios/a.yaml"
    expression: "a"
    ---
    tree at d:
      .: { type: dir, mode: "0755", owner: "0:0" }
      f: { type: file, mode: "0644", owner: "0:0", size: 3, content: one, nlink: 2, ino: ino#1 }
      g: { type: file, mode: "0644", owner: "0:0", size: 3, content: one, nlink: 2, ino: ino#1 }
    "#);
}

#[rstest]
fn records_are_the_same_for_root_and_an_ordinary_user(
    #[values(User::Own, User::Ordinary)] user: User,
) {
    let place = Place::new();
    place.write("scenarios/a.yaml", OBSERVES);
    place.run(User::Own, &["run", "--snapshots", "accept"]).expect_code(0);
    place.run(user, &["run"]).expect_code(0);
}

#[test]
fn a_change_fails_and_shows_both_until_it_is_rejected_or_accepted() {
    let place = Place::new();
    place.write("scenarios/a.yaml", OBSERVES);
    place.run(User::Own, &["run", "--snapshots", "accept"]).expect_code(0);
    place.write("scenarios/a.yaml", &OBSERVES.replace("one", "two"));
    let done = place.run(User::Own, &["run", "--snapshots", "new"]).expect_code(1);
    assert!(
        done.stdout.contains("the observations differ from snapshots/a.snap"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("-  f: { type: file") && done.stdout.contains("+  f: { type: file"),
        "{}",
        done.stdout
    );
    place.run(User::Own, &["snap", "reject"]).expect_code(0);
    assert!(!place.exists("snapshots/a.snap.new"));
    place.run(User::Own, &["run"]).expect_code(1);
}

#[test]
fn a_stray_record_is_reported_and_pruned() {
    let place = Place::new();
    place.write("scenarios/a.yaml", OBSERVES);
    place.write("scenarios/b.yaml", OBSERVES);
    place.run(User::Own, &["run", "--snapshots", "accept"]).expect_code(0);
    std::fs::remove_file(place.path().join("scenarios/b.yaml")).unwrap();
    let done = place.run(User::Own, &["run"]).expect_code(0);
    assert!(
        done.stdout.contains("warning: snapshots/b.snap: no scenario has this snapshot"),
        "{}",
        done.stdout
    );
    let done = place.run(User::Own, &["snap", "status"]).expect_code(1);
    assert!(done.stdout.contains("stray    snapshots/b.snap"), "{}", done.stdout);
    place.run(User::Own, &["snap", "prune"]).expect_code(0);
    assert!(!place.exists("snapshots/b.snap") && place.exists("snapshots/a.snap"));
}

#[test]
fn a_part_of_the_scenarios_prunes_nothing() {
    let place = Place::new();
    place.write("scenarios/a.yaml", OBSERVES);
    place.write("scenarios/b.yaml", OBSERVES);
    place.run(User::Own, &["run", "--snapshots", "accept"]).expect_code(0);
    place.run(User::Own, &["snap", "prune", "scenarios/a.yaml"]).expect_code(2);
    assert!(place.exists("snapshots/b.snap"));
}

#[test]
fn a_variant_is_chosen_by_a_probe() {
    let place = Place::new();
    let variants =
        "variants: { with: { probe: { aufs: true } }, without: { probe: { aufs: false } } }\n";
    place.write("scenarios/a.yaml", &format!("{OBSERVES}{variants}"));
    place.run(User::Own, &["run", "--snapshots", "accept"]).expect_code(0);
    assert!(place.exists("snapshots/a~without.snap"));
}

#[test]
fn a_damaged_record_is_not_overlooked() {
    let place = Place::new();
    place.write("scenarios/a.yaml", OBSERVES);
    place.write("snapshots/a.snap", "tree at d:\n");
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(done.stdout.contains("snapshots/a.snap: it cannot be read"), "{}", done.stdout);
}
