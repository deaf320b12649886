//! Container runtimes are held to the scenarios with a container, and a program that is none is never green.

mod common;

use std::fs;
use std::process::Command;

use common::{Done, Place, User, is_root, skip};
use nsharness::scenario::{Case, KnownNames, discover, read, resolve};
use nsharness::{probe, programs};

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
    for runtime in ["runc", "crun", "youki"] {
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
fn what_a_runtime_does_otherwise_stands_beside_what_the_kernel_does() {
    let runtimes = installed();
    let Some(runtime) = runtimes.first() else { return };
    let place = Place::new();
    place.write("scenarios/passes.yaml", common::PASSES);
    let otherwise = PLAIN.replace("{ type: file }", "ENOENT");
    let plain = "level: MUST\nplain: [passes, nothing/there]\nworld:";
    place.write("scenarios/otherwise.yaml", &otherwise.replacen("world:", plain, 1));
    place.write("scenarios/plain.yaml", &PLAIN.replacen("world:", "level: SHOULD\nworld:", 1));
    let done = place.run(User::Own, &["run", "--runtime", runtime]).expect_code(1);
    for line in [
        "passes asks the kernel alone for the same, and passed in this run: the kernel does it",
        "nothing/there asks the kernel alone for the same, and was not asked in this run",
        "MUST    0 passed, 0 failed as known, 1 failed, 0 skipped",
        "SHOULD  1 passed, 0 failed as known, 0 failed, 0 skipped",
    ] {
        assert!(done.stdout.contains(line), "{line}: {}", done.stdout);
    }
}

#[test]
fn what_the_specification_leaves_open_is_told_apart() {
    let runtimes = installed();
    if !["runc", "crun"].iter().all(|name| runtimes.contains(name)) {
        return;
    }
    let place = Place::new();
    place.write(
        "scenarios/open.yaml",
        "title: A version that is none may be refused\nworld: { container: { ociVersion: latest } }\nsteps:\n  - create: { expect: [ok, refused] }\n",
    );
    let done = place.run(User::Own, &["matrix", "--runtime", "runc,crun"]).expect_code(0);
    let (_, open) = done.stdout.split_once("The specification is silent").expect("its section");
    assert!(open.contains("line 4: create"), "{}", done.stdout);
}

#[test]
fn a_bundle_is_taken_by_a_runtime_that_is_called_by_hand() {
    let place = Place::new();
    place.copy("scenarios");
    // `youki run` waits for ever where the container has ended before it begins to wait.
    for runtime in installed().into_iter().filter(|runtime| *runtime != "youki") {
        for user in users() {
            let there = format!("{runtime}-{}", matches!(user, User::Own));
            let arguments = ["bundle", "oci/volume-read-only", &there, "--runtime", runtime];
            let done = place.run(user, &arguments).expect_code(0);
            assert!(done.stdout.contains("config.json"), "{}", done.stdout);
            place.run(user, &arguments).expect_code(5);
            let script = place.path().join(&there).join("run");
            fs::write(place.path().join("input"), "read x < /data/file; echo $x; exit 3\n")
                .unwrap();
            let mut command = match user {
                User::Ordinary if is_root() => {
                    let mut command = Command::new("setpriv");
                    command
                        .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
                        .arg(script);
                    command
                }
                _ => Command::new(script),
            };
            let input = fs::File::open(place.path().join("input")).unwrap();
            let done = Done::of(command.stdin(input).output().unwrap()).expect_code(3);
            assert_eq!(done.stdout, "text\n");
        }
    }
    let place = Place::new();
    place.write("scenarios/passes.yaml", common::PASSES);
    let done = place.run(User::Own, &["bundle", "passes", "there"]).expect_code(2);
    assert!(done.stderr.contains("passes has no container"), "{}", done.stderr);
    assert!(!place.path().join("there").exists());
}

/// Who reads of a deviation is to find the scenario that is named.
#[test]
fn every_plain_scenario_is_there_and_has_no_container() {
    let probes = probe::names();
    let (files, _) = discover(&[common::root().join("scenarios")]);
    let cases: Vec<Case> = files
        .iter()
        .flat_map(|file| {
            let source = read(&file.path).expect("a file");
            resolve(file, &source, KnownNames { probes: &probes }).expect("a valid scenario")
        })
        .collect();
    for id in cases.iter().flat_map(|case| &case.plain) {
        let is_it = |case: &&Case| case.id.split('@').next() == Some(id);
        let found = cases.iter().find(is_it).unwrap_or_else(|| panic!("there is no {id}"));
        assert!(found.plan.world.container.is_none(), "{id}");
    }
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
