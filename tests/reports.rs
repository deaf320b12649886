//! What is said of a run: JSON lines, the console, evidence.

mod common;

use std::process::Stdio;

use common::{FAILS, PASSES, Place, User, json_lines};

#[test]
fn json_lines_can_be_read_back_and_tell_all() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", FAILS);
    place.write("scenarios/c.yaml", &format!("requires: [aufs]\ntags: [x]\n{PASSES}"));
    place.run(User::Own, &["run", "--json", "out.json"]).expect_code(1);
    let events = json_lines(&place.read("out.json"));
    assert_eq!(events.len(), 5);
    assert_eq!(events[0]["event"], "environment");
    assert_eq!(events[0]["version"], 3);
    assert_eq!(events[0]["witnesses"], serde_json::json!(["kernel", "model"]));
    assert_eq!(events[0]["target"], "host");
    assert_eq!(events[0]["scenarios"], 3);
    assert_eq!(events[0]["probes"]["aufs"]["value"], false);
    let statuses: Vec<_> = events[1..4].iter().map(|e| e["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["pass", "fail", "skip"]);
    assert_eq!(events[1]["id"], "a");
    assert_eq!(events[1]["steps"][1]["operation"], "read");
    assert_eq!(events[1]["steps"][1]["line"], 4);
    assert_eq!(events[1]["steps"][1]["values"]["data"], "hello");
    assert_eq!(events[2]["steps"][0]["outcome"], "ENOENT from statx");
    assert_eq!(
        events[2]["reasons"][0],
        "line 3: stat: kernel and model disagree with expect: expected ok, found ENOENT from statx"
    );
    assert_eq!(events[3]["missing"][0]["what"], "aufs");
    assert_eq!(events[4]["event"], "summary");
    assert_eq!(
        (&events[4]["passed"], &events[4]["failed"], &events[4]["skipped"]),
        (&1.into(), &1.into(), &1.into())
    );
}

#[test]
fn a_report_that_cannot_be_written_is_never_a_success() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let done = place.run(User::Own, &["run", "--json", "/dev/full"]).expect_code(5);
    assert!(done.stderr.contains("report cannot be written"), "{}", done.stderr);
    let done =
        place.run(User::Own, &["run", "--json", "no/such/directory/out.json"]).expect_code(5);
    assert!(done.stderr.contains("no/such/directory/out.json"), "{}", done.stderr);
}

#[test]
fn a_full_disk_behind_standard_output_is_never_a_success() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place
        .command(User::Own)
        .args(["run"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_pipe_has_plain_lines_in_the_order_of_the_ids() {
    let place = Place::new();
    for name in ["b", "a", "d/c"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    let mut command = place.command(User::Own);
    let done = common::Done::of(
        command.env_remove("NO_COLOR").args(["run", "--jobs", "3"]).output().unwrap(),
    )
    .expect_code(0);
    assert!(!done.stdout.contains('\u{1b}'), "{}", done.stdout);
    assert!(done.stderr.is_empty(), "{}", done.stderr);
    let ids: Vec<_> =
        done.stdout.lines().filter_map(|l| l.strip_prefix("pass    ")?.split(' ').next()).collect();
    assert_eq!(ids, ["a", "b", "d/c"]);
}

#[test]
fn evidence_of_a_failure_is_kept() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    place.write("scenarios/b.yaml", PASSES);
    place.run(User::Own, &["run", "--keep", "evidence"]).expect_code(1);
    assert!(place.read("evidence/a/plan.json").contains("\"nobody\""));
    assert!(place.read("evidence/a/transcript.json").contains("ENOENT"));
    assert!(place.read("evidence/a/mountinfo.txt").contains(" / / "));
    assert!(!place.read("evidence/a/kernel-log.txt").is_empty());
    assert!(!place.exists("evidence/b"));
}

#[test]
fn the_new_mount_api_tells_what_the_kernel_said() {
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "title: t\nsteps:\n  - fsopen: { type: tmpfs, fd: t }\n  - fsconfig: { fd: t, key: bogus, value: x, expect: ok }\n",
    );
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(done.stdout.contains("EINVAL from fsconfig (the kernel says: "), "{}", done.stdout);
    assert!(done.stdout.contains("bogus"), "{}", done.stdout);
}

#[test]
fn a_name_cannot_write_to_the_terminal() {
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "title: t\nsteps:\n  - write: { path: \"\\e[2Jx\", data: \"\\e]0;owned\\a\" }\n  - list: { path: ., expect: { count: 2 } }\n  - read: { path: \"\\e[2Jx\", expect: { length: 1 } }\n",
    );
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(!done.stdout.contains('\u{1b}'), "{:?}", done.stdout);
    assert!(!done.stdout.contains('\u{7}'), "{:?}", done.stdout);
}

#[test]
fn scenarios_are_selected_by_path_id_and_tag() {
    let place = Place::new();
    place.write("scenarios/x/one.yaml", &format!("tags: [fast]\n{PASSES}"));
    place.write("scenarios/x/two.yaml", &format!("tags: [slow]\n{PASSES}"));
    place.write("scenarios/y/three.yaml", PASSES);
    let ids = |arguments: &[&str]| {
        let mut all = vec!["list", "--json"];
        all.extend(arguments);
        let done = place.run(User::Own, &all).expect_code(0);
        json_lines(&done.stdout)
            .iter()
            .map(|e| e["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["x/one", "x/two", "y/three"]);
    assert_eq!(ids(&["scenarios/x"]), ["x/one", "x/two"]);
    assert_eq!(ids(&["hree"]), ["y/three"]);
    assert_eq!(ids(&["--id", "x/"]), ["x/one", "x/two"]);
    assert_eq!(ids(&["--tag", "fast"]), ["x/one"]);
    assert_eq!(ids(&["--skip-tag", "fast"]), ["x/two", "y/three"]);
}
