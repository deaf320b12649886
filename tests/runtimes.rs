//! Container runtimes are held to the scenarios with a container, and a program that is none is never green.

mod common;

use std::fs;

use common::{Place, User, is_root, skip};
use nsharness::programs;

const PLAIN: &str = "\
title: A program runs in the container
world: { container: {} }
steps:
  - stat: { as: container, path: /nsharness, expect: { type: file } }
";

/// A scenario that passes wherever every container is refused.
const REFUSED: &str = "\
title: A propagation that there is not is refused
world: { container: { linux: { rootfsPropagation: sideways } } }
steps:
  - create: { expect: refused }
";

/// Those that are installed.
fn installed() -> Vec<&'static str> {
    let mut found = Vec::new();
    for runtime in ["runc", "crun"] {
        match programs::in_path(runtime) {
            Some(_) => found.push(runtime),
            None => skip(runtime, "it is not in PATH"),
        }
    }
    found
}

fn users() -> Vec<User> {
    if is_root() { vec![User::Own, User::Ordinary] } else { vec![User::Own] }
}

#[test]
fn every_runtime_is_as_the_scenarios_say() {
    let runtimes = installed();
    if runtimes.is_empty() {
        return;
    }
    let place = Place::new();
    place.copy("scenarios");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for user in users() {
        let named = runtimes.join(",");
        let done = place.run(user, &["run", "scenarios/oci", "--quiet", "--runtime", &named]);
        let done = done.expect_code(0);
        for runtime in &runtimes {
            let line = done.stdout.lines().rfind(|line| line.starts_with(runtime));
            let of_one = runtimes.len() == 1 && done.stdout.contains("summary: ");
            assert!(line.is_some() || of_one, "{runtime}: {}", done.stdout);
        }
    }
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
}

#[test]
fn a_container_is_asked_of_the_runtimes_and_all_else_of_the_kernel() {
    let runtimes = installed();
    let Some(runtime) = runtimes.first() else { return };
    let place = Place::new();
    place.write("scenarios/plain.yaml", PLAIN);
    place.write("scenarios/passes.yaml", common::PASSES);
    let done = place.run(User::Own, &["run", "--runtime", runtime]).expect_code(0);
    let summary = |name: &str, passed| format!("{name:<5} {passed} passed, 0 failed, 0 skipped");
    for line in [summary("host", 1), summary(runtime, 1)] {
        assert!(done.stdout.contains(line.trim_end()), "{line}: {}", done.stdout);
    }
}

#[test]
fn without_a_runtime_a_container_is_skipped_with_the_reason() {
    let place = Place::new();
    place.write("scenarios/plain.yaml", PLAIN);
    let done = place.run(User::Own, &["run"]).expect_code(4);
    assert!(done.stdout.contains("needs runtime: none was named"), "{}", done.stdout);
    assert!(done.stdout.contains("--runtime runc"), "{}", done.stdout);
}

#[test]
fn what_is_no_runtime_is_never_green() {
    let place = Place::new();
    place.write("scenarios/plain.yaml", PLAIN);
    place.write("scenarios/refused.yaml", REFUSED);
    // It takes no command, so it would refuse what is to be refused too.
    let done = place.run(User::Own, &["run", "--runtime", "ls"]).expect_code(4);
    assert!(done.stdout.contains("needs runtime: refused by ls create"), "{}", done.stdout);
    // It says yes to everything.
    let done = place.run(User::Own, &["run", "--runtime", "true"]).expect_code(5);
    assert!(done.stdout.contains("summary: 0 passed, 2 failed"), "{}", done.stdout);
    let done = place.run(User::Own, &["run", "--runtime", "no-such-runtime"]).expect_code(5);
    assert!(done.stderr.contains("no-such-runtime: it is not there"), "{}", done.stderr);
}

#[test]
fn what_a_container_cannot_be_is_told_in_its_place() {
    let place = Place::new();
    place.write(
        "scenarios/wrong.yaml",
        "title: A key is misspelt\nworld: { container: { linux: { rootfsPropogation: shared } } }\nsteps:\n  - state: {}\n",
    );
    place.write("scenarios/none.yaml", "title: There is none\nsteps:\n  - start: {}\n");
    let done = place.run(User::Own, &["check"]).expect_code(3);
    assert!(done.stderr.contains("unknown key `rootfsPropogation`"), "{}", done.stderr);
    assert!(done.stderr.contains("did you mean `rootfsPropagation`?"), "{}", done.stderr);
    assert!(done.stderr.contains("the world has no container"), "{}", done.stderr);
}
