//! `nsharness new`: what it writes is true, and nothing else is touched.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::{Place, User, json_lines, root};
use nsharness::model::predict;
use nsharness::model::profile::{NEWEST, Profile};
use nsharness::new::TEMPLATES;
use nsharness::probe;
use nsharness::scenario::condition::KernelVersion;
use nsharness::scenario::{KnownNames, discover, read, resolve};
use serde_json::Value;

/// The families of rules that the first scenario of each family is about. What has none is asked of programs, or of
/// servers that the model knows nothing of.
const ABOUT: &[(&str, &[&str])] = &[
    ("overlay", &["overlay"]),
    ("bind", &["mount"]),
    ("propagation", &["propagation"]),
    ("userns", &["userns"]),
    ("roots", &["roots"]),
    ("files", &["files"]),
    ("ownership", &["ownership"]),
    ("mount-namespaces", &["mount"]),
    ("nfs", &["nfs"]),
    ("disks", &["disk"]),
    ("fuse", &[]),
    ("hostfs", &[]),
    ("idmapped", &["idmap"]),
    ("runtimes", &["roots"]),
    ("layers", &[]),
    ("oci", &[]),
    ("containers", &[]),
];

/// A place with the first scenario of every family.
fn all() -> Place {
    let place = Place::new();
    for template in TEMPLATES {
        let done = place.run(User::Own, &["new", template.family, "first"]).expect_code(0);
        let file = format!("scenarios/{}/first.yaml", template.family);
        assert!(done.stdout.starts_with(&format!("{file}: {}\nnext:\n", template.title())));
        assert_eq!(place.read(&file), template.text);
    }
    let opened = Command::new("chmod").arg("-R").arg("a+rwX").arg(place.path()).status();
    assert!(opened.unwrap().success());
    place
}

/// The status of each scenario by its id, as a run with these arguments says.
fn statuses(place: &Place, user: User, arguments: &[&str]) -> BTreeMap<String, String> {
    let arguments = [arguments, &["--json", "report.json"]].concat();
    let done = place.run(user, &arguments);
    let lines = json_lines(&place.read("report.json"));
    let scenarios = lines.iter().filter(|line| line["event"] == "scenario");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let statuses: BTreeMap<_, _> =
        scenarios.map(|line| (text(&line["id"]), text(&line["status"]))).collect();
    let good = |status: &String| ["pass", "skip"].contains(&status.as_str());
    assert!(statuses.values().all(good) && !statuses.is_empty(), "{statuses:?}\n{}", done.stdout);
    assert!(done.stdout.contains(" 0 failed"), "{}", done.stdout);
    fs::remove_file(place.path().join("report.json")).unwrap();
    statuses
}

#[test]
fn there_is_one_for_each_directory_of_the_bundle() {
    let directories = fs::read_dir(root().join("scenarios")).unwrap();
    let directories: BTreeSet<_> =
        directories.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let templates: BTreeSet<_> = TEMPLATES.iter().map(|t| t.family.to_owned()).collect();
    assert_eq!(templates, directories);
    assert_eq!(ABOUT.iter().map(|(family, _)| *family).collect::<Vec<_>>(), {
        TEMPLATES.iter().map(|t| t.family).collect::<Vec<_>>()
    });
    let titles: BTreeSet<_> = TEMPLATES.iter().map(|template| template.title()).collect();
    assert_eq!(titles.len(), TEMPLATES.len());
    let place = Place::new();
    let listed = place.run(User::Own, &["new", "--list"]).expect_code(0).stdout;
    assert_eq!(listed.lines().count(), TEMPLATES.len());
}

/// Here, by whoever runs this and by an ordinary user; and by the model of old and new kernels.
#[test]
fn what_is_written_passes_at_once() {
    let place = all();
    place.run(User::Own, &["check"]).expect_code(0);
    let accept = ["run", "--snapshots", "accept"];
    let own = statuses(&place, User::Own, &accept);
    let ordinary = statuses(&place, User::Ordinary, &accept);
    for statuses in [own, ordinary] {
        // These need nothing of a machine that it may not have, but for more ids than one.
        for family in ["bind", "propagation", "roots", "files", "mount-namespaces", "runtimes"] {
            assert_eq!(statuses[&format!("{family}/first")], "pass", "{family}");
        }
    }
    // What nobody could observe here has no snapshot.
    let unseen = place.path().join("scenarios/nfs");
    fs::remove_dir_all(unseen).unwrap();
    for version in ["5.10", "6.12", "7.2"] {
        statuses(&place, User::Own, &["simulate", "--kernel", version]);
    }
}

#[test]
fn what_needs_real_root_passes_in_a_guest() {
    let place = all();
    let Some(uml) = place.kernel("uml:6.12") else { return };
    let asked = ["run", "--on", &uml, "--snapshots", "accept"];
    let statuses = statuses(&place, User::Own, &asked);
    for (id, status) in statuses {
        let family = id.split('/').next().unwrap();
        let template = TEMPLATES.iter().find(|template| template.family == family).unwrap();
        let by_program = template.asked_by.starts_with("--runtime")
            || template.asked_by.starts_with("--overlay");
        assert_eq!(status, if by_program { "skip" } else { "pass" }, "{id}");
    }
}

#[test]
fn what_is_asked_of_programs_passes_through_them() {
    let place = all();
    for template in TEMPLATES {
        let Some((option, program)) = template.asked_by.split_once(' ') else { continue };
        if option == "--on" {
            continue;
        }
        if nsharness::programs::find(program).is_err() {
            common::skip(program, "it is not installed");
            continue;
        }
        let id = format!("{}/first", template.family);
        let statuses = statuses(&place, User::Own, &["run", &id, option, program]);
        assert!(statuses.values().any(|status| status == "pass"), "{id}: {statuses:?}");
    }
}

/// What a first scenario shows is of its family: the model decides it by the rules of that.
#[test]
fn the_rules_that_decide_are_of_the_family() {
    let place = all();
    let profile = Profile::of_version(KernelVersion(NEWEST.0, NEWEST.1, 0));
    let probes = probe::names();
    for (family, about) in ABOUT {
        let directory = place.path().join("scenarios").join(family);
        for file in discover(&[directory]).0 {
            let source = read(&file.path).unwrap();
            let cases = resolve(&file, &source, KnownNames { probes: &probes }).unwrap();
            for case in cases {
                let prediction = predict(&case.plan, &profile);
                let cited: Vec<_> = prediction.steps.iter().flatten().collect();
                for rules in *about {
                    let of_family = |id: &str| id.split('.').next() == Some(*rules);
                    assert!(cited.iter().any(|rule| of_family(rule.id)), "{}: {rules}", case.id);
                }
            }
        }
    }
}

#[test]
fn nothing_is_overwritten_and_no_link_is_followed_out() {
    let place = Place::new();
    let elsewhere = Place::new();
    place.write("scenarios/overlay/mine.yaml", "mine\n");
    place.write("scenarios/overlay/other.yml", "mine\n");
    symlink("nowhere", place.path().join("scenarios/overlay/dangling.yaml")).unwrap();
    symlink(elsewhere.path(), place.path().join("scenarios/bind")).unwrap();
    for (family, name, why) in [
        ("overlay", "mine", "is there already"),
        ("overlay", "other", "other.yml has that id"),
        ("overlay", "dangling", "is there already"),
        ("bind", "mine", "scenarios/bind is a symbolic link out of this directory"),
    ] {
        let done = place.run(User::Own, &["new", family, name]).expect_code(5);
        assert!(done.stderr.contains(why) && done.stdout.is_empty(), "{name}: {done:?}");
    }
    for (family, name, why) in [
        ("overly", "mine", "did you mean `overlay`?"),
        ("overlay", "../../mine", "did you mean `mine`?"),
        ("overlay", "Mine.yaml", "did you mean `mine`?"),
    ] {
        let done = place.run(User::Own, &["new", family, name]).expect_code(2);
        assert!(done.stderr.contains(why) && done.stdout.is_empty(), "{name}: {done:?}");
    }
    assert_eq!(place.read("scenarios/overlay/mine.yaml"), "mine\n");
    assert!(!place.exists("scenarios/overlay/nowhere"));
    let is_empty = |path: &Path| fs::read_dir(path).unwrap().next().is_none();
    assert!(is_empty(elsewhere.path()));
    // A link that stays inside is what somebody wants.
    fs::create_dir(place.path().join("scenarios/real")).unwrap();
    symlink("real", place.path().join("scenarios/files")).unwrap();
    place.run(User::Own, &["new", "files", "mine"]).expect_code(0);
    assert!(place.exists("scenarios/real/mine.yaml"));
}
