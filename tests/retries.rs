//! What is asked again: `--retries`.

mod common;

use common::{FAILS, HANGS, PASSES, Place, User, json_lines};
use serde_json::{Value, json};

/// A scenario that passes every other time: a random number has these digits.
const CHANCE: &str = "\
title: A random number has these digits
steps:
  - read:
      path: /proc/sys/kernel/random/uuid
      expect: { data: { contains: [\"7\", \"5\", \"3\", \"1\"] } }
";

/// So many of them that not all pass at once.
fn many(place: &Place) {
    for number in 0..24 {
        place.write(&format!("scenarios/a/{number:02}.yaml"), CHANCE);
    }
}

fn scenarios(place: &Place) -> Vec<Value> {
    let events = json_lines(&place.read("out.json"));
    events.into_iter().filter(|event| event["event"] == "scenario").collect()
}

#[test]
fn what_passes_when_it_is_asked_again_is_flaky_in_every_report() {
    use quick_junit::{Report, TestCaseStatus};
    let place = Place::new();
    many(&place);
    let done = place
        .run(
            User::Own,
            &["run", "--retries", "100", "--json", "out.json", "--junit", "x", "--ktap", "k"],
        )
        .expect_code(0);
    let all = scenarios(&place);
    let flaky: Vec<_> = all.iter().filter(|event| event["status"] == "flaky").collect();
    assert!(!flaky.is_empty() && all.len() == 24, "{}", done.stdout);
    let summary = format!("summary: 24 passed ({} flaky), 0 failed, 0 skipped\n", flaky.len());
    assert!(done.stdout.ends_with(&summary), "{}", done.stdout);
    let junit = Report::deserialize_from_str(&place.read("x")).unwrap();
    assert_eq!((junit.tests, junit.failures, junit.errors), (24, 0, 0));
    let ktap = place.read("k");
    for event in flaky {
        let id = event["id"].as_str().unwrap();
        let attempts = event["attempts"].as_array().unwrap();
        let (last, before) = attempts.split_last().unwrap();
        assert_eq!((&last["status"], &last["reasons"]), (&json!("pass"), &json!([])));
        assert!(before.iter().all(|attempt| attempt["status"] == "fail"), "{event}");
        assert!(attempts.iter().all(|attempt| attempt["seconds"].as_f64().unwrap() > 0.0));
        assert_eq!(event["reasons"], before[0]["reasons"]);
        let first = before[0]["reasons"][0].as_str().unwrap();
        let told = format!("        attempt 1: fail\n          {first}\n");
        assert!(done.stdout.contains(&told), "{told} is not in:\n{}", done.stdout);
        let name = id.strip_prefix("a/").unwrap();
        let mut cases = junit.test_suites[0].test_cases.iter();
        let case = cases.find(|case| case.name.as_str() == name).unwrap();
        let TestCaseStatus::Success { flaky_runs } = &case.status else { panic!("{case:?}") };
        assert_eq!(flaky_runs.len(), before.len());
        assert_eq!(flaky_runs[0].message.as_ref().unwrap().as_str(), first);
        assert!(ktap.contains(&format!("# {id}: attempt 1: fail\n")), "{ktap}");
    }
    assert!(!ktap.contains("not ok"), "{ktap}");
}

#[test]
fn where_flaky_is_refused_it_fails_as_it_did_at_first() {
    let place = Place::new();
    many(&place);
    place
        .run(User::Own, &["run", "--retries", "100", "--flaky", "fail", "--json", "out.json"])
        .expect_code(1);
    let all = scenarios(&place);
    let failed: Vec<_> = all.iter().filter(|event| event["status"] == "fail").collect();
    assert!(!failed.is_empty());
    assert!(all.iter().all(|event| event["status"] != "flaky"));
    for event in failed {
        let reasons = event["reasons"].as_array().unwrap();
        assert!(reasons.last().unwrap().as_str().unwrap().ends_with("passed: it is flaky"));
    }
}

#[test]
fn what_never_passes_is_what_it_was_and_what_is_skipped_is_not_asked_again() {
    let place = Place::new();
    place.write("scenarios/a/fails.yaml", FAILS);
    place.write("scenarios/a/hangs.yaml", HANGS);
    place.write("scenarios/a/passes.yaml", PASSES);
    place.write("scenarios/a/skips.yaml", &format!("requires: [aufs]\n{PASSES}"));
    let xpass = "title: t\nsteps:\n  - stat: { path: ., expect: ok, known: { outcome: ENOENT, reason: why, ref: where } }\n";
    place.write("scenarios/a/xpasses.yaml", xpass);
    let arguments =
        ["run", "--retries", "2", "--json", "out.json", "--junit", "x", "--keep", "evidence"];
    let done = place.run(User::Own, &arguments).expect_code(1);
    let told: Vec<_> = scenarios(&place)
        .iter()
        .map(|event| (event["status"].clone(), event["attempts"].as_array().unwrap().len()))
        .collect();
    let statuses = [("fail", 3), ("timeout", 3), ("pass", 0), ("skip", 0), ("xpass", 0)];
    assert_eq!(told, statuses.map(|(status, attempts)| (json!(status), attempts)));
    let report = place.read("x");
    assert_eq!(report.matches("<rerunFailure").count(), 2, "{report}");
    assert_eq!(report.matches("<rerunError").count(), 2, "{report}");
    assert!(done.stdout.contains("        attempt 3: timeout\n"), "{}", done.stdout);
    assert!(place.exists("evidence/a/fails/plan.json"));
}

#[test]
fn the_first_failure_ends_a_run_only_after_it_was_asked_again() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    place.write("scenarios/b.yaml", PASSES);
    let arguments = ["run", "--jobs", "1", "--fail-fast", "--retries", "3", "--json", "out.json"];
    place.run(User::Own, &arguments).expect_code(1);
    let all = scenarios(&place);
    assert_eq!(all[0]["attempts"].as_array().unwrap().len(), 4);
}

#[test]
fn a_guest_is_booted_for_each_attempt() {
    let place = Place::new();
    let Some(target) = place.kernel("uml") else { return };
    // What is written there outlives a sandbox, and not its guest.
    let setting = "\
title: Nobody has changed a setting of this kernel
requires: [root]
steps:
  - read: { path: /proc/sys/vm/swappiness, expect: { data: { lacks: [\"33\"] } } }
  - write: { path: /proc/sys/vm/swappiness, data: \"33\", expect: ok }
  - stat: { path: nobody, expect: ok }
";
    place.write("scenarios/a.yaml", setting);
    place.write("scenarios/b.yaml", setting);
    place.write("scenarios/c.yaml", PASSES);
    let reasons = |event: &Value| event["reasons"].as_array().unwrap().len();
    place.run(User::Own, &["run", "--on", &target, "--json", "out.json"]).expect_code(1);
    assert_eq!(scenarios(&place).iter().map(reasons).collect::<Vec<_>>(), [1, 2, 0]);
    let arguments = ["run", "--on", &target, "--retries", "2", "--json", "out.json"];
    place.run(User::Own, &arguments).expect_code(1);
    for event in &scenarios(&place)[..2] {
        let attempts = event["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 3);
        assert!(attempts[1..].iter().all(|attempt| reasons(attempt) == 1), "{event}");
    }
}

#[test]
fn what_was_written_down_is_not_asked_again() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.run(User::Own, &["run", "--record", "r"]).expect_code(0);
    for arguments in [
        &["run", "--retries", "1", "--on", "recorded:r"][..],
        &["run", "--retries", "1", "--record", "r2"],
    ] {
        let done = place.run(User::Own, arguments).expect_code(2);
        assert!(done.stderr.contains("leave --retries out"), "{}", done.stderr);
    }
    place.run(User::Own, &["run", "--flaky", "fail"]).expect_code(2);
    place.run(User::Own, &["run", "--retries", "many"]).expect_code(2);
}
