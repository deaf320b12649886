//! The script for `git bisect run`: what it makes of a build and of a run, and that it finds the commit.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{Done, Place};
use rstest::rstest;

/// A tree of a kernel, where `make` and nsharness are scripts.
fn tree() -> Place {
    let place = Place::new();
    let answers = "#!/bin/sh\nexit $(cat answer)\n";
    for (name, script) in [("make", "#!/bin/sh\nexit $(cat built)\n"), ("nsharness", answers)] {
        let path = place.write(&format!("bin/{name}"), script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let merge = place.write("scripts/kconfig/merge_config.sh", "#!/bin/sh\n");
    fs::set_permissions(merge, fs::Permissions::from_mode(0o755)).unwrap();
    place.write("built", "0\n");
    place.write("answer", "0\n");
    place
}

fn in_tree(place: &Place, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(place.path())
        .env("PATH", format!("{}/bin:/usr/bin:/bin", place.path().display()))
        .env("HOME", place.path())
        .env_remove("BUILD")
        .env_remove("TARGET")
        .env_remove("NSHARNESS");
    command
}

#[rstest]
#[case("0", "0", 0)]
#[case("0", "1", 1)]
#[case("0", "4", 125)]
#[case("0", "5", 125)]
#[case("0", "70", 125)]
#[case("0", "2", 255)]
#[case("0", "3", 255)]
#[case("0", "127", 255)]
#[case("0", "130", 255)]
#[case("2", "0", 125)]
#[case("130", "0", 255)]
fn the_script_for_bisection_says_what_git_wants(
    #[case] built: &str,
    #[case] answer: &str,
    #[case] status: i32,
) {
    let place = tree();
    place.write("built", built);
    place.write("answer", answer);
    let script = common::root().join("docs/bisect.sh");
    let output = in_tree(&place, script.to_str().unwrap()).arg("a.yaml").output().unwrap();
    Done::of(output).expect_code(status);
}

#[test]
fn a_bisection_finds_the_commit() {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("skipped: git is not in the PATH");
        return;
    }
    let place = tree();
    let git = |arguments: &[&str]| {
        let mut command = in_tree(&place, "git");
        command.args(["-c", "user.name=n", "-c", "user.email=e"]).args(arguments);
        Done::of(command.output().unwrap()).expect_code(0).stdout
    };
    git(&["init", "-q", "-b", "main"]);
    // One that does not build and one that does not boot, on the way to the first that is bad.
    for (commit, built, answer) in [
        (1, "0", "0"),
        (2, "0", "0"),
        (3, "2", "0"),
        (4, "0", "0"),
        (5, "0", "5"),
        (6, "0", "0"),
        (7, "0", "1"),
        (8, "0", "1"),
        (9, "0", "1"),
    ] {
        place.write("built", built);
        place.write("answer", answer);
        place.write("number", &commit.to_string());
        git(&["add", "."]);
        git(&["commit", "-q", "-m", &format!("commit {commit}")]);
    }
    git(&["bisect", "start", "HEAD", "HEAD~8"]);
    let script = common::root().join("docs/bisect.sh");
    let found = git(&["bisect", "run", script.to_str().unwrap(), "a.yaml"]);
    assert!(found.contains("is the first bad commit"), "{found}");
    assert_eq!(git(&["log", "-1", "--format=%s", "refs/bisect/bad"]), "commit 7\n");
}
