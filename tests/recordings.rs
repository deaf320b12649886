//! The model and the authors held against what other kernels answered: fixtures/recordings/.

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{PASSES, Place, User, json_lines, root};
use rstest::rstest;

/// How many scenarios of a recording may have changed since it was made.
const STALE: usize = 5;

/// Each with how many answers it has at least.
#[rstest]
#[case("5.10", 20)]
#[case("5.10.223", 5)]
#[case("6.1", 20)]
#[case("6.1-bpf", 1)]
#[case("6.12", 20)]
#[case("6.12.117", 5)]
#[case("6.18", 20)]
#[case("7.2", 20)]
#[case("7.2.13", 5)]
fn the_bundle_passes_on_a_recorded_kernel(#[case] kernel: &str, #[case] answers: usize) {
    let place = Place::new();
    place.copy("scenarios");
    place.copy("snapshots");
    let file = root().join(format!("fixtures/recordings/{kernel}.jsonl"));
    let text = fs::read_to_string(&file).unwrap();
    let recorded: Vec<_> = json_lines(&text).into_iter().skip(1).collect();
    assert!(recorded.len() >= answers, "{kernel} has only {} answers", recorded.len());
    let on = format!("recorded:{}", file.display());
    let arguments = ["run", "scenarios", "--on", &on, "--snapshots", "check", "--json"];
    let done = place.run(User::Own, &[&arguments[..], &["out.json"]].concat()).expect_code(0);
    let events = json_lines(&place.read("out.json"));
    let cases: BTreeMap<_, _> = events
        .iter()
        .filter(|event| event["event"] == "scenario")
        .map(|event| (event["id"].as_str().unwrap(), event))
        .collect();
    let stale: Vec<_> = recorded
        .iter()
        .filter_map(|line| line["id"].as_str())
        .filter(|id| cases.get(id).is_none_or(|event| event["status"] == "skip"))
        .collect();
    assert!(
        stale.len() <= STALE,
        "{} scenarios are not what Linux {kernel} was asked: {stale:?}\nRecord it again, as \
         CONTRIBUTING.md says under Recordings.",
        stale.len()
    );
    let passed = events.last().unwrap()["passed"].as_u64().unwrap();
    assert_eq!(passed as usize + stale.len(), recorded.len(), "{}", done.stdout);
}

/// Answers are public, and of any machine of that kernel.
#[test]
fn a_recording_tells_nothing_of_the_machine() {
    for file in fs::read_dir(root().join("fixtures/recordings")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let size = text.len();
        assert!(size < 400_000, "{} has {size} bytes", path.display());
        let lines = json_lines(&text);
        assert_eq!(lines[0]["uid"], 0, "{}", path.display());
        for line in &lines[1..] {
            assert_eq!(line["transcript"]["evidence"], serde_json::json!({}), "{}", line["id"]);
            identities(&line["transcript"], &mut |key| {
                let small = key.parse::<usize>().is_ok_and(|number| number < 1000);
                assert!(small, "{}: {}: {key}", path.display(), line["id"]);
            });
        }
    }
}

fn identities(value: &serde_json::Value, tell: &mut impl FnMut(&str)) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| identities(item, tell)),
        serde_json::Value::Object(fields) => {
            if let Some(identity) = fields.get("Identity") {
                tell(identity[1].as_str().unwrap());
            }
            fields.values().for_each(|field| identities(field, tell));
        }
        _ => {}
    }
}

#[test]
fn what_is_recorded_is_answered_and_what_is_known_is_not_recorded_again() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.run(User::Own, &["run", "--record", "all"]).expect_code(0);
    let done = place.run(User::Own, &["run", "--on", "recorded:all"]).expect_code(0);
    assert!(done.stdout.contains("1 passed, 0 failed"), "{}", done.stdout);
    place.write("scenarios/b.yaml", &PASSES.replace("hello", "there").replace("A file", "What"));
    place.run(User::Own, &["run", "--record", "more", "--unlike", "all"]).expect_code(0);
    assert_eq!(json_lines(&place.read("more")).len(), 2);
    let done = place.run(User::Own, &["run", "--on", "recorded:more"]).expect_code(0);
    assert!(done.stdout.contains("it was not asked"), "{}", done.stdout);
    assert!(done.stdout.contains("1 passed, 0 failed, 1 skipped"), "{}", done.stdout);
    place.write("scenarios/b.yaml", &PASSES.replace("path: f", "path: g"));
    let done = place.run(User::Own, &["run", "--on", "recorded:more"]).expect_code(4);
    assert!(done.stdout.contains("has changed since"), "{}", done.stdout);
    assert!(done.stdout.contains("nsharness run --record FILE"), "{}", done.stdout);
}

#[test]
fn of_a_kernel_that_is_newer_than_the_model_it_is_said() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.run(User::Own, &["run", "--record", "all"]).expect_code(0);
    let said = "newer than the model, which knows Linux up to ";
    let done = place.run(User::Own, &["run", "--on", "recorded:all"]).expect_code(0);
    assert!(!done.stdout.contains(said), "{}", done.stdout);
    let recording = place.read("all");
    let (environment, answers) = recording.split_once('\n').unwrap();
    let mut environment: serde_json::Value = serde_json::from_str(environment).unwrap();
    environment["version"] = serde_json::json!([999, 1, 0]);
    place.write("newer", &format!("{environment}\n{answers}"));
    let arguments = ["run", "--on", "recorded:newer", "--html", "report.html"];
    let done = place.run(User::Own, &arguments).expect_code(0);
    assert!(done.stdout.contains(said), "{}", done.stdout);
    assert!(place.read("report.html").contains(said));
}

#[test]
fn what_is_no_recording_is_told_and_is_5() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("empty", "");
    place.write("garbage", "\u{1}\u{2}\n");
    place.write("scenario", PASSES);
    place.run(User::Own, &["run", "--record", "all"]).expect_code(0);
    let all = place.read("all");
    place.write("cut", &all[..all.len() - 20]);
    for (file, why) in [
        ("empty", "it is empty"),
        ("garbage", "line 1: no environment"),
        ("scenario", "line 1: no environment"),
        ("cut", "line 2: it has no end"),
        ("none", "No such file or directory"),
        ("scenarios", "Is a directory"),
        ("/dev/zero", "line 1: it is too long"),
    ] {
        let on = format!("recorded:{file}");
        for option in [&["--on", &on][..], &["--record", "new", "--unlike", file]] {
            let arguments = [&["run"], option].concat();
            let done = place.run(User::Own, &arguments).expect_code(5);
            let told = done.stderr.contains(&format!("{file} is no recording: "));
            assert!(told && done.stderr.contains(why), "{}", done.stderr);
        }
    }
    place.run(User::Own, &["run", "--unlike", "all"]).expect_code(2);
    place.run(User::Own, &["run", "--on", "recorded:all", "--privileged"]).expect_code(2);
}
