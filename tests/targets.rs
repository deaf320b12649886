//! Several targets in one run: what is told of each, and what the run means to the shell.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::{Done, FAILS, PASSES, Place, User, json_lines};

/// What only real root can be asked.
const ROOT: &str = "\
title: Real root is root of the first user namespace
requires: [root]
steps:
  - stat: { path: ., expect: { type: dir } }
";

/// The command, where no guest kernel is to be had.
fn without_guests(place: &Place, arguments: &[&str]) -> Done {
    let mut command = place.command(User::Own);
    command.env("NSHARNESS_CACHE", place.path().join("cache")).env("PATH", "/nonexistent");
    Done::of(command.args(arguments).output().unwrap())
}

#[test]
fn every_target_is_told_after_the_other_and_every_event_names_its_target() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", PASSES);
    place.run(User::Own, &["run", "--record", "there"]).expect_code(0);
    let arguments = ["run", "--on", "recorded:there,host", "--json", "out.json"];
    let done = place.run(User::Own, &arguments).expect_code(0);
    assert!(
        done.stdout.ends_with(
            "recorded:there  2 passed, 0 failed, 0 skipped\n\
             host            2 passed, 0 failed, 0 skipped\n\
             summary: 4 passed, 0 failed, 0 skipped\n"
        ),
        "{}",
        done.stdout
    );
    let events = json_lines(&place.read("out.json"));
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            (word("event"), word("target"), word("id"))
        })
        .collect();
    let of = |event: &str, target: &str, id: &str| (event.into(), target.into(), id.into());
    assert_eq!(
        told,
        [
            of("environment", "recorded:there", ""),
            of("scenario", "recorded:there", "a"),
            of("scenario", "recorded:there", "b"),
            of("environment", "host", ""),
            of("scenario", "host", "a"),
            of("scenario", "host", "b"),
            of("summary", "", ""),
        ]
    );
}

#[test]
fn what_was_skipped_is_one_line_a_target_where_little_is_to_be_said() {
    let place = Place::new();
    for name in ["a", "b"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
        place.write(&format!("scenarios/root-{name}.yaml"), ROOT);
    }
    place.run(User::Own, &["run", "--record", "there"]).expect_code(0);
    let told = |on: &str| {
        let done = place.run(User::Own, &["run", "--quiet", "--on", on]).expect_code(0);
        let lines = done.stdout.lines().filter(|line| !line.starts_with("asking "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let skipped = |target: &str| format!("skip    2 scenarios on {target}, for want of: root (2)");
    assert_eq!(told("host"), [&skipped("host"), "summary: 2 passed, 0 failed, 2 skipped"]);
    assert_eq!(
        told("recorded:there,host"),
        [
            &skipped("recorded:there"),
            &skipped("host"),
            "recorded:there  2 passed, 0 failed, 2 skipped",
            "host            2 passed, 0 failed, 2 skipped",
            "summary: 4 passed, 0 failed, 4 skipped",
        ]
    );
}

#[test]
fn a_target_that_cannot_be_had_is_never_green() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let arguments = ["run", "--on", "host,uml:6.1,uml:./linux", "--json", "out.json"];
    let done = without_guests(&place, &arguments).expect_code(4);
    for shown in [
        "pass    a",
        "skip    all 1 scenario on uml:6.1\n        needs the kernel uml:6.1: none is in the cache (nsharness kernel fetch debian:12)",
        "skip    all 1 scenario on uml:./linux\n        needs the kernel ./linux",
        "summary: 1 passed, 0 failed, 2 skipped",
    ] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
    let events = json_lines(&place.read("out.json"));
    let unavailable: Vec<_> = events.iter().filter(|e| e["event"] == "unavailable").collect();
    assert_eq!(unavailable.len(), 2);
    assert_eq!(unavailable[0]["target"], "uml:6.1");
    assert_eq!(unavailable[0]["scenarios"], 1);
    assert!(unavailable[0]["missing"]["remedy"].as_str().unwrap().contains("kernel fetch"));
    // A failure is graver, and is not hidden by it.
    place.write("scenarios/b.yaml", FAILS);
    without_guests(&place, &arguments).expect_code(1);
}

/// What is a kernel and does not boot is in tests/guests.rs.
#[test]
fn a_program_that_is_no_kernel_is_not_asked_and_not_passed_over() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let kernel = place.write("linux", "");
    std::fs::copy("/bin/true", &kernel).unwrap();
    let on = format!("host,uml:{}", kernel.display());
    let done = without_guests(&place, &["run", "--on", &on]).expect_code(4);
    assert!(done.stdout.contains("no kernel is recognised in it"), "{}", done.stdout);
    assert!(done.stdout.contains("pass    a"), "{}", done.stdout);
}

#[test]
fn words_that_name_no_target_are_2() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    for (on, told) in [
        ("hots", "did you mean `host`?"),
        ("host,host", "`host` stands there twice"),
        ("auto,host", "`auto` chooses the targets itself"),
        ("qemu", "`qemu` needs a kernel"),
        ("uml:new", "neither a version, as in uml:6.12, nor a file"),
        ("vbox", "expected host, auto, uml"),
    ] {
        for command in ["run", "list", "simulate", "doctor", "matrix"] {
            let done = place.run(User::Own, &[command, "--on", on]).expect_code(2);
            assert!(done.stderr.contains(told), "{command} {on}: {}", done.stderr);
        }
    }
    for arguments in [
        &["run", "--on", "host,uml:6.1", "--record", "f"][..],
        &["run", "--on", "uml:6.1", "--privileged"],
        &["run", "--on", "uml:6.1", "--jobs", "2"],
        &["simulate", "--on", "auto"],
        &["simulate", "--on", "host", "--kernel", "6.1"],
        &["doctor", "--on", "auto"],
    ] {
        place.run(User::Own, arguments).expect_code(2);
    }
}

#[test]
fn auto_asks_the_host_first_and_tells_what_every_target_lacks() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", ROOT);
    let done = without_guests(&place, &["run", "--on", "auto"]).expect_code(0);
    for shown in [
        "(host) as ",
        "pass    a",
        "skip    b",
        "needs root: host: running as ",
        "apt-get install user-mode-linux",
        "summary: 1 passed, 0 failed, 1 skipped",
    ] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
    let done = without_guests(&place, &["list", "--on", "auto"]).expect_code(0);
    assert!(done.stdout.contains("would be skipped on host: needs root"), "{}", done.stdout);
    assert!(!done.stdout.contains("on host: needs User-Mode"), "{}", done.stdout);
    // Where nothing is left to ask, nobody is waited for.
    place.write("scenarios/a.yaml", ROOT);
    without_guests(&place, &["run", "--on", "auto"]).expect_code(4);
}

#[test]
fn a_simulation_is_of_the_kernels_of_targets() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write(
        "scenarios/b.yaml",
        "title: t\nrequires: [{ kernel: \">=6.6\" }]\nsteps: [stat: { path: . }]\n",
    );
    let done = without_guests(&place, &["simulate", "--on", "uml:6.1,qemu:6.12"]).expect_code(0);
    for shown in [
        "simulating Linux 6.1 (uml:6.1): 2 scenarios",
        "simulating Linux 6.12 (qemu:6.12): 2 scenarios",
        "uml:6.1    1 passed, 0 failed, 1 skipped",
        "qemu:6.12  2 passed, 0 failed, 0 skipped",
    ] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
    let done = without_guests(&place, &["simulate", "--kernel", "0.1"]).expect_code(2);
    assert!(done.stderr.contains("the model knows Linux 5.4 to 7.2"), "{}", done.stderr);
}

/// What one target records, another that observes something else does not overwrite.
#[test]
fn targets_do_not_quarrel_over_a_snapshot() {
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "title: t\nworld: { tree: { f: { file: x, mode: 0600 } } }\nsteps: [stat: { path: f }]\nobserve: [tree: { at: f, fields: [mode] }]\n",
    );
    place.run(User::Own, &["run", "--record", "one", "--snapshots", "accept"]).expect_code(0);
    let other = place.read("one").replace("\"0600\"", "\"0640\"");
    place.write("other", &other);
    let on = "recorded:one,recorded:other";
    let done = place.run(User::Own, &["run", "--on", on, "--snapshots", "accept"]).expect_code(1);
    assert!(
        done.stdout.contains("the observations differ from snapshots/a.snap"),
        "{}",
        done.stdout
    );
    assert!(place.read("snapshots/a.snap").contains("0600"));
    // A pending one stays, whoever agrees with the record afterwards.
    let on = "recorded:other,recorded:one";
    place.run(User::Own, &["run", "--on", on, "--snapshots", "new"]).expect_code(1);
    assert!(place.read("snapshots/a.snap.new").contains("0640"));
}

/// As behind `head`: the answer is what the scenarios gave, whoever reads it.
#[test]
fn a_reader_that_goes_away_changes_no_answer() {
    let place = Place::new();
    for index in 0..200 {
        place.write(&format!("scenarios/{index:03}.yaml"), PASSES);
    }
    let mut command = place.command(User::Own);
    let mut child =
        command.args(["run", "--json", "out.json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 1]).unwrap();
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(json_lines(&place.read("out.json")).last().unwrap()["passed"], 200);
}

#[test]
fn probes_are_told_of_every_target() {
    let place = Place::new();
    let done = without_guests(&place, &["doctor", "--on", "host,uml:6.1"]).expect_code(4);
    assert!(done.stdout.starts_with("Linux "), "{}", done.stdout);
    assert!(done.stdout.contains("uml:6.1 cannot be asked\n"), "{}", done.stdout);
    assert!(done.stdout.contains("nsharness kernel fetch"), "{}", done.stdout);
}
