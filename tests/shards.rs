//! Runs that are spread over machines: their parts.

mod common;

use std::collections::BTreeMap;

use common::{FAILS, PASSES, Place, User, json_lines};

/// The ids that each of so many parts lists.
fn listed(place: &Place, of: usize) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for index in 1..=of {
        let shard = format!("{index}/{of}");
        let done = place.run(User::Own, &["list", "--json", "--shard", &shard]).expect_code(0);
        for event in json_lines(&done.stdout) {
            let id = event["id"].as_str().unwrap().to_owned();
            assert_eq!(all.insert(id, index), None, "in two parts: {event}");
        }
    }
    all
}

#[test]
fn each_scenario_is_in_one_part_and_stays_there_when_others_come() {
    let place = Place::new();
    for name in ["a", "b", "c/d", "c/e", "f"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    let before = listed(&place, 3);
    assert_eq!(before.len(), 5);
    place.write("scenarios/0.yaml", PASSES);
    place.write("scenarios/c/dd.yaml", PASSES);
    let after = listed(&place, 3);
    assert_eq!(after.len(), 7);
    for (id, index) in before {
        assert_eq!(after[&id], index, "{id}");
    }
}

#[test]
fn the_cases_of_a_scenario_stay_together() {
    let place = Place::new();
    let cases: String = (0..20).map(|n| format!("  c{n}: {{ name: f{n} }}\n")).collect();
    place.write(
        "scenarios/a.yaml",
        &format!(
            "title: t\ncases:\n{cases}steps:\n  - write: {{ path: '${{case.name}}', data: x }}\n"
        ),
    );
    let all = listed(&place, 4);
    assert_eq!(all.len(), 20);
    assert!(all.values().all(|index| *index == all["a@c0"]));
}

#[test]
fn a_part_runs_what_it_lists_and_says_what_it_is_a_part_of() {
    let place = Place::new();
    for name in ["a", "b", "c", "d"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    let listed = listed(&place, 2);
    let mut digests = Vec::new();
    for (index, command) in [(1, "run"), (2, "simulate")] {
        let own: Vec<_> =
            listed.iter().filter(|(_, part)| **part == index).map(|(id, _)| id.as_str()).collect();
        assert!(!own.is_empty());
        let shard = format!("{index}/2");
        let done = place
            .run(User::Own, &[command, "--shard", &shard, "--json", "out.json"])
            .expect_code(0);
        let told = format!("shard {shard}: {} of 4 scenarios\n", own.len());
        assert!(done.stdout.starts_with(&told), "{}", done.stdout);
        let events = json_lines(&place.read("out.json"));
        let ids: Vec<_> = events.iter().filter_map(|event| event["id"].as_str()).collect();
        assert_eq!(ids, own);
        for event in [events.first().unwrap(), events.last().unwrap()] {
            let part = &event["part"];
            assert_eq!(part["shard"], shard.as_str());
            assert_eq!((&part["scenarios"], &part["selected"]), (&own.len().into(), &4.into()));
            digests.push(part["digest"].clone());
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "one selection");
}

#[test]
fn a_part_that_has_nothing_leaves_nothing_out_and_one_of_nothing_does() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    let own = listed(&place, 2)["a"];
    let other = format!("{}/2", 3 - own);
    let done = place.run(User::Own, &["run", "--shard", &other]).expect_code(0);
    assert!(done.stdout.contains("0 of 1 scenario: nothing to ask here"), "{}", done.stdout);
    assert!(done.stdout.ends_with("summary: 0 passed, 0 failed, 0 skipped\n"), "{}", done.stdout);
    place.run(User::Own, &["run", "--shard", &format!("{own}/2")]).expect_code(1);
    place.run(User::Own, &["run", "--shard", &other, "--tag", "none"]).expect_code(4);
    place.write("scenarios/a.yaml", &format!("requires: [aufs]\n{PASSES}"));
    place.run(User::Own, &["run", "--shard", &format!("{own}/2")]).expect_code(4);
}

#[test]
fn what_is_no_part_is_refused_as_in_a_search() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    for wrong in ["0/2", "3/2", "2", "a/b", "1/0", "", "1/99999999999999999999"] {
        for command in [&["run"][..], &["simulate"], &["list"], &["matrix"], &["search", "all"]] {
            let done =
                place.run(User::Own, &[command, &["--shard", wrong]].concat()).expect_code(2);
            assert!(done.stderr.contains("expected K/N, as in 3/16"), "{}", done.stderr);
        }
    }
}
