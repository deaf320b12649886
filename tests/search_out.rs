//! A search can be stopped, gone on with, and spread over machines: what is found is the same.
//!
//! The model lacks a rule, so that there is something to find.
#![cfg(debug_assertions)]

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use common::{Place, User};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nsharness::search::Cause;
use nsharness::search::findings::Record;

/// A search of the model without a rule that a few trials in a hundred depend on.
const SEARCH: &[&str] = &[
    "search",
    "overlay",
    "--seed",
    "10",
    "--quiet",
    "--jobs",
    "1",
    "--without",
    "files.rmdir.not-empty",
];

fn search(place: &Place, arguments: &[&str], code: i32) -> String {
    place.run(User::Own, &[SEARCH, arguments].concat()).expect_code(code).stdout
}

fn record(place: &Place, directory: &str) -> Record {
    Record::read(&place.path().join(directory)).expect("a record").expect("a record")
}

fn counts(record: &Record) -> BTreeMap<Cause, u64> {
    let of = |found: &nsharness::search::findings::Found| found.finding.count;
    record.findings.iter().map(|found| (found.finding.cause.clone(), of(found))).collect()
}

#[test]
fn parts_and_pieces_of_a_search_find_what_the_whole_does() {
    let place = Place::new();
    search(&place, &["--count", "128", "--out", "whole"], 1);
    let whole = record(&place, "whole");
    assert!(!whole.findings.is_empty());
    assert_eq!((whole.searches[0].next, whole.searches[0].trials), (128, 128));

    search(&place, &["--count", "64", "--out", "one", "--shard", "1/2"], 1);
    search(&place, &["--count", "64", "--out", "two", "--shard", "2/2"], 1);
    place.run(User::Own, &["findings", "merge", "one", "two", "--out", "both"]).expect_code(0);
    assert_eq!(counts(&record(&place, "both")), counts(&whole));

    search(&place, &["--count", "50", "--out", "pieces"], 1);
    let again = ["--count", "78", "--out", "pieces"];
    let refused = place.run(User::Own, &[SEARCH, &again].concat()).expect_code(2);
    assert!(refused.stderr.contains("go on with it by --resume"), "{}", refused.stderr);
    search(&place, &[&again[..], &["--resume"]].concat(), 1);
    let pieces = record(&place, "pieces");
    assert_eq!((pieces.searches[0].next, pieces.searches[0].trials), (128, 128));
    assert_eq!(counts(&pieces), counts(&whole));
}

#[test]
fn each_finding_is_a_scenario_that_runs_and_a_program_that_compiles() {
    let place = Place::new();
    search(&place, &["--count", "128", "--out", "found", "--repro", "c,sh"], 1);
    let found = record(&place, "found");
    for found in &found.findings {
        let name = &found.name;
        place.run(User::Own, &["check", &format!("found/{name}.yaml")]).expect_code(0);
        // The kernel is right, and so is the model that has the rule.
        place
            .run(User::Own, &["run", &format!("found/{name}.yaml"), "--snapshots", "accept"])
            .expect_code(0);
        assert!(place.exists(&format!("found/{name}.c")), "{name}");
    }
}

#[test]
fn an_interrupted_search_keeps_what_it_found_and_misses_nothing_when_it_goes_on() {
    let place = Place::new();
    let arguments = [SEARCH, &["--for", "60s", "--out", "found"]].concat();
    let mut searching =
        place.interruptible().args(&arguments).stdout(Stdio::null()).spawn().expect("a search");
    std::thread::sleep(Duration::from_secs(5));
    kill(Pid::from_raw(searching.id().try_into().expect("a pid")), Signal::SIGINT).unwrap();
    let status = searching.wait().expect("its end");
    assert_eq!(status.code(), Some(130));
    let found = record(&place, "found");
    let search = &found.searches[0];
    assert!(search.trials > 0 && search.trials == search.next, "{search:?}");
}

#[test]
fn a_search_that_is_killed_goes_on_where_it_was() {
    let place = Place::new();
    let arguments = [SEARCH, &["--for", "60s", "--out", "found"]].concat();
    let mut searching =
        place.command(User::Own).args(&arguments).stdout(Stdio::null()).spawn().expect("a search");
    let began = std::time::Instant::now();
    while !place.exists("found/findings.json") {
        assert!(began.elapsed() < Duration::from_secs(50), "no record was written");
        std::thread::sleep(Duration::from_millis(100));
    }
    kill(Pid::from_raw(searching.id().try_into().expect("a pid")), Signal::SIGKILL).unwrap();
    searching.wait().expect("its end");
    let before = record(&place, "found").searches.remove(0);
    assert!(before.trials > 0 && before.trials == before.next, "{before:?}");

    search(&place, &["--count", "64", "--out", "found", "--resume"], 1);
    let after = record(&place, "found");
    let reached = before.next + 64;
    assert_eq!((after.searches[0].trials, after.searches[0].next), (reached, reached));
    // As one search of them all would have found it.
    search(&place, &["--count", &reached.to_string(), "--out", "whole"], 1);
    assert_eq!(counts(&after), counts(&record(&place, "whole")));
}
