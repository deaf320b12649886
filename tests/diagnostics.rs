//! What is said of files that are wrong: exit code 3, nothing run, and a diagnostic that is reviewed.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::{PASSES, Place, User, root};

/// The name of every file in `fixtures/invalid` that is a scenario.
fn fixtures() -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root().join("fixtures/invalid"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_invalid_file_is_told_what_is_wrong() {
    let place = Place::new();
    place.copy("fixtures/invalid");
    let names = fixtures();
    assert!(names.len() >= 25, "{names:?}");
    for name in names {
        let file = format!("invalid/{name}");
        let done = place.run(User::Own, &["check", &file]).expect_code(3);
        assert!(done.stdout.is_empty(), "{name}: {}", done.stdout);
        assert!(done.stderr.contains(&file), "{name}: {}", done.stderr);
        // Running it says the same and runs nothing.
        let run = place.run(User::Own, &["run", &file]).expect_code(3);
        assert_eq!(
            (run.stdout.as_str(), run.stderr.as_str()),
            ("", done.stderr.as_str()),
            "{name}"
        );
        insta::assert_snapshot!(name.trim_end_matches(".yaml"), done.stderr);
    }
}

/// Checks a file that is made here, within a time that shows that nobody read all of it.
#[track_caller]
fn check(text: &str, file: &str) -> String {
    let place = Place::new();
    place.write(file, text);
    let began = Instant::now();
    let done = place.run(User::Own, &["check", file]).expect_code(3);
    assert!(began.elapsed() < Duration::from_secs(10), "took {:?}", began.elapsed());
    done.stderr
}

#[test]
fn ten_megabytes_of_nesting_are_refused() {
    insta::assert_snapshot!(check(&"[".repeat(10 << 20), "nested.yaml"));
}

#[test]
fn nesting_within_the_size_limit_is_refused() {
    insta::assert_snapshot!(check(
        &format!("title: t\nsteps: {}", "[".repeat(1 << 20)),
        "nested.yaml"
    ));
    insta::assert_snapshot!(check(
        &format!("title: t\nsteps: {}", "{a: ".repeat(1 << 18)),
        "nested.yaml"
    ));
}

#[test]
fn a_hundred_thousand_steps_are_refused() {
    let steps = "  - stat: { path: a }\n".repeat(100_000);
    insta::assert_snapshot!(check(&format!("title: t\nsteps:\n{steps}"), "steps.yaml"));
}

#[test]
fn a_file_without_read_permission_is_named() {
    let place = Place::new();
    let file = place.write("secret.yaml", PASSES);
    fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
    let done = place.run(User::Ordinary, &["check", "secret.yaml"]).expect_code(3);
    insta::assert_snapshot!(done.stderr);
}

#[test]
fn a_dangling_link_is_named() {
    let place = Place::new();
    std::os::unix::fs::symlink("nowhere.yaml", place.path().join("link.yaml")).unwrap();
    insta::assert_snapshot!(place.run(User::Own, &["check", "link.yaml"]).expect_code(3).stderr);
    insta::assert_snapshot!(place.run(User::Own, &["check", "."]).expect_code(3).stderr);
}

#[test]
fn a_directory_without_a_scenario_is_named() {
    let place = Place::new();
    place.write("empty/notes.txt", "no scenario");
    insta::assert_snapshot!(place.run(User::Own, &["check", "empty"]).expect_code(3).stderr);
}

#[test]
fn two_files_with_one_id_are_named() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/a.yml", PASSES);
    insta::assert_snapshot!(place.run(User::Own, &["check"]).expect_code(3).stderr);
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(User::Own, &["check", "nowhere.yaml"]).expect_code(3).stderr);
}

#[test]
fn a_device_or_a_pipe_is_no_scenario() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(User::Own, &["check", "/dev/zero"]).expect_code(3).stderr);
}
