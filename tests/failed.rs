//! What failed is run again: `--failed`.

mod common;

use common::{Done, FAILS, PASSES, Place, User, json_lines, skip};
use nsharness::programs;

/// A container that every runtime makes, of which another thing is expected.
const CONTAINER_FAILS: &str = "\
title: There is no program in the container
world: { container: {} }
steps:
  - stat: { as: container, path: /nsharness, expect: ENOENT }
";

/// An overlay that everybody mounts, of which another thing is expected.
const OVERLAY_FAILS: &str = "\
title: A file of the layer is not there
world:
  tree: { l/f: file, u: dir, w: dir, m: dir }
  mounts: [ overlay: { at: m, lower: [l], upper: u, work: w, options: [userxattr] } ]
steps:
  - stat: { path: m/f, expect: ENOENT }
";

fn ids(place: &Place) -> Vec<(String, String)> {
    let events = json_lines(&place.read("out.json"));
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    events.iter().filter_map(|event| Some((text(&event["target"])?, text(&event["id"])?))).collect()
}

fn again(place: &Place, arguments: &[&str]) -> Done {
    place.run(User::Own, &[&["run", "--json", "out.json"], arguments].concat())
}

#[test]
fn only_what_failed_is_asked_until_nothing_does() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    place.write("scenarios/b.yaml", PASSES);
    place.write("scenarios/c/d.yaml", FAILS);
    place.write("scenarios/e.yaml", &format!("requires: [aufs]\n{PASSES}"));
    place.run(User::Own, &["run"]).expect_code(1);
    let done = again(&place, &["--failed"]).expect_code(1);
    assert!(done.stdout.starts_with("2 scenarios failed in the run of 2"), "{}", done.stdout);
    let host = |id: &str| ("host".to_owned(), id.to_owned());
    assert_eq!(ids(&place), [host("a"), host("c/d")]);
    // What is not asked has failed still, however it is named.
    place.write("scenarios/a.yaml", PASSES);
    again(&place, &["--failed", "./scenarios/a.yaml"]).expect_code(0);
    assert_eq!(ids(&place), [host("a")]);
    // What cannot be asked neither.
    place.write("scenarios/c/d.yaml", &format!("requires: [aufs]\n{FAILS}"));
    again(&place, &["--failed"]).expect_code(4);
    assert_eq!(ids(&place), [host("c/d")]);
    let done = again(&place, &["--failed", "--id", "a"]).expect_code(4);
    assert!(done.stdout.contains("failed on host, in nothing that is selected"), "{}", done.stdout);
    place.write("scenarios/c/d.yaml", PASSES);
    again(&place, &["--failed"]).expect_code(0);
    let done = again(&place, &["--failed"]).expect_code(4);
    assert!(done.stdout.contains("nothing failed in the run of 2"), "{}", done.stdout);
    assert!(done.stdout.contains(": there is nothing to ask\n"), "{}", done.stdout);
    assert_eq!(ids(&place), []);
}

#[test]
fn each_target_is_asked_what_failed_on_it() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", PASSES);
    place.run(User::Own, &["run", "--record", "passed"]).expect_code(0);
    // The same plan, of which the recording says that it fails.
    let recorded = place.read("passed");
    let lines: Vec<_> = recorded.lines().collect();
    let answer = lines.iter().position(|line| line.contains("\"a\"")).unwrap();
    let mut changed = lines.clone();
    let line = lines[answer].replace("hello", "other");
    changed[answer] = &line;
    place.write("failed", &(changed.join("\n") + "\n"));
    let on = "host,recorded:failed";
    place.run(User::Own, &["run", "--on", on, "--witness", "kernel"]).expect_code(1);
    again(&place, &["--failed", "--witness", "kernel"]).expect_code(1);
    assert_eq!(ids(&place), [("recorded:failed".to_owned(), "a".to_owned())]);
    let done = again(&place, &["--failed", "--on", "host"]).expect_code(4);
    assert!(done.stdout.contains("failed on recorded:failed, in nothing"), "{}", done.stdout);
}

#[test]
fn what_failed_through_a_program_is_asked_through_it_again() {
    for program in ["runc", "crun", "fuse-overlayfs"] {
        if programs::in_path(program).is_none() {
            return skip(program, "it is not in PATH");
        }
    }
    let place = Place::new();
    place.write("scenarios/c.yaml", CONTAINER_FAILS);
    place.write("scenarios/o.yaml", OVERLAY_FAILS);
    place.write("scenarios/p.yaml", PASSES);
    // A file that the user names is no program of PATH.
    std::os::unix::fs::symlink(programs::in_path("runc").unwrap(), place.path().join("mine"))
        .unwrap();
    let through = ["--runtime", "./mine,crun", "--overlay", "fuse-overlayfs,kernel"];
    let json = ["run", "--json", "before.json"];
    let of = |target: &str, id: &str| (target.to_owned(), id.to_owned());
    place.run(User::Own, &[&json[..], &through].concat()).expect_code(1);
    let all = [of("host", "o"), of("mine", "c"), of("crun", "c"), of("fuse-overlayfs", "o")];
    let done = again(&place, &["--failed"]).expect_code(1);
    assert!(done.stdout.starts_with("2 scenarios failed in the run of 2"), "{}", done.stdout);
    assert_eq!(ids(&place), all);
    // What is named takes the place of its like.
    again(&place, &["--failed", "--runtime", "crun", "--id", "c"]).expect_code(1);
    assert_eq!(ids(&place), [of("crun", "c")]);
    // The kernel alone has done better.
    place.write("scenarios/o.yaml", &OVERLAY_FAILS.replace("ENOENT", "ok"));
    again(&place, &["--failed", "--overlay", "kernel", "--id", "o"]).expect_code(0);
    assert_eq!(ids(&place), [of("host", "o")]);
    again(&place, &["--failed"]).expect_code(1);
    assert_eq!(ids(&place), all[1..]);
    again(&place, &["--failed"]).expect_code(1);
    assert_eq!(ids(&place), all[1..3]);
    // A report tells the file of the program, by another's report too.
    place.write("scenarios/o.yaml", OVERLAY_FAILS);
    for report in ["before.json", "merged.json"] {
        again(&place, &[&format!("--failed={report}")[..]]).expect_code(1);
        assert_eq!(ids(&place), [&all[..1], &all[1..3], &all[3..]].concat(), "{report}");
        place.run(User::Own, &["merge", "before.json", "--json", "merged.json"]);
    }
    again(&place, &["--failed", "--runtime", "./mine"]).expect_code(1);
    assert_eq!(ids(&place), [of("host", "o"), of("mine", "c"), of("fuse-overlayfs", "o")]);
}

#[test]
fn a_report_says_what_failed_too() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    place.write("scenarios/b.yaml", PASSES);
    place.run(User::Own, &["run", "--json", "before.json"]).expect_code(1);
    place.run(User::Own, &["run", "scenarios/b.yaml"]).expect_code(0);
    let done = again(&place, &["--failed=before.json"]).expect_code(1);
    assert!(done.stdout.starts_with("1 scenario failed in before.json\n"), "{}", done.stdout);
    assert_eq!(ids(&place), [("host".to_owned(), "a".to_owned())]);
    for (text, why) in [("", "it has no summary"), ("x\n", "it is no JSON")] {
        place.write("bad.json", text);
        let done = again(&place, &["--failed=bad.json"]).expect_code(2);
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
    place.run(User::Own, &["simulate", "--json", "model.json"]).expect_code(1);
    let done = again(&place, &["--failed=model.json"]).expect_code(2);
    assert!(done.stderr.contains("nothing can be run on model"), "{}", done.stderr);
}

#[test]
fn a_run_is_remembered_for_its_directory_and_by_nothing_else() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    let done = again(&place, &["--failed"]).expect_code(2);
    assert!(done.stderr.contains("no run in this directory is remembered"), "{}", done.stderr);
    assert!(done.stderr.contains("run without --failed first"), "{}", done.stderr);
    place.run(User::Own, &["run"]).expect_code(1);
    let mut found: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, ["cache", "nsharness", "scenarios"]);
    let records: Vec<_> = std::fs::read_dir(place.path().join("cache/last-run")).unwrap().collect();
    assert_eq!(records.len(), 1);
    let record = records[0].as_ref().unwrap().path();
    std::fs::write(&record, "{").unwrap();
    let done = again(&place, &["--failed"]).expect_code(2);
    assert!(done.stderr.contains("is no record of a run"), "{}", done.stderr);
    // As one was written that did not know of programs.
    std::fs::write(&record, r#"{"run":"the run of then","targets":[]}"#).unwrap();
    let done = again(&place, &["--failed"]).expect_code(2);
    assert!(done.stderr.contains("remembered by another version of nsharness"), "{}", done.stderr);
    assert!(done.stderr.contains("run without --failed first"), "{}", done.stderr);
    place.run(User::Own, &["run"]).expect_code(1);
    again(&place, &["--failed"]).expect_code(1);
    assert_eq!(ids(&place), [("host".to_owned(), "a".to_owned())]);
    // A cache that cannot be written is no failure of the run, but is told where it matters.
    let mut command = place.command(User::Own);
    command.env("NSHARNESS_CACHE", "/proc/none").arg("run");
    let done = Done::of(command.output().unwrap()).expect_code(1);
    assert!(done.stderr.contains("what failed is not remembered for --failed"), "{}", done.stderr);
}
