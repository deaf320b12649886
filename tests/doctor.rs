//! What `doctor` says of a machine, and of one that forbids things.

mod common;

use std::process::Command;

use common::{Done, PASSES, Place, User, is_root, skip};
use serde_json::Value;

fn examine(place: &Place, user: User, arguments: &[&str]) -> Value {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let done = place.run(user, &arguments).expect_code(0);
    serde_json::from_str(&done.stdout).expect("one object")
}

/// The command in a user namespace that was prepared by a line of shell; `None` where there is none.
fn restricted(place: &Place, prepare: &str) -> Option<Done> {
    let command = place.command(User::Ordinary);
    let script = format!("{prepare} && exec \"$0\" \"$@\"");
    let mut inside = Command::new(command.get_program());
    // Who becomes an ordinary user does so outside of the namespace.
    let arguments: Vec<_> = command.get_args().collect();
    let namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script];
    match is_root() {
        true => {
            let (binary, identity) = arguments.split_last().expect("the binary");
            inside.args(identity).args(namespace).arg(binary);
        }
        false => {
            inside = Command::new(namespace[0]);
            inside.args(&namespace[1..]).arg(command.get_program());
        }
    }
    inside.current_dir(place.path()).env("HOME", place.path()).env("NO_COLOR", "1").arg("doctor");
    let done = Done::of(inside.output().expect("unshare"));
    if done.stderr.starts_with("unshare: ") || done.stderr.contains("sh: ") {
        skip("userns", &done.stderr);
        return None;
    }
    Some(done)
}

#[test]
fn each_probe_has_evidence_and_each_ability_follows_from_probes() {
    let place = Place::new();
    for user in [User::Own, User::Ordinary] {
        let object = examine(&place, user, &[]);
        let probes = object["probes"].as_object().expect("probes");
        for name in ["overlay.userxattr", "ids", "newuidmap", "fuse.device", "cgroup.v2", "storage"]
        {
            assert!(probes.contains_key(name), "{name}");
        }
        for (name, probe) in probes {
            let said = probe["evidence"].as_str().is_some_and(|text| !text.is_empty());
            assert!(
                said && probe["blocks"].is_null() && probe["broke"] == false,
                "{name}: {probe}"
            );
        }
        for ability in object["abilities"].as_array().expect("abilities") {
            let because = ability["because"].as_array().expect("names");
            assert_eq!(because.is_empty(), ability["can"] == true, "{ability}");
            assert!(
                because.iter().all(|name| probes[name.as_str().unwrap()]["value"] != true),
                "{ability}"
            );
        }
    }
}

#[test]
fn a_user_without_subordinate_ids_is_told_how_to_get_them() {
    if !is_root() {
        return skip("root", "whether the user has subordinate ids is not known");
    }
    let place = Place::new();
    let done = place.run(User::Ordinary, &["doctor"]).expect_code(0);
    assert!(done.stdout.contains("uid 1000 has 0 in /etc/subuid"), "{}", done.stdout);
    assert!(done.stdout.contains("usermod --add-subuids"), "{}", done.stdout);
    assert!(
        done.stdout.contains("cannot         have images with several users"),
        "{}",
        done.stdout
    );
}

#[test]
fn scenarios_that_cannot_be_asked_are_counted_by_probe() {
    let place = Place::new();
    place.write("scenarios/plain.yaml", PASSES);
    place.write("scenarios/needs.yaml", &PASSES.replace("steps:", "requires: [aufs]\nsteps:"));
    let object = examine(&place, User::Ordinary, &[]);
    assert_eq!(object["probes"]["aufs"]["blocks"], serde_json::json!(["needs"]));
    assert_eq!(object["probes"]["userns"]["blocks"], serde_json::json!([]));
    let done = place.run(User::Ordinary, &["doctor"]).expect_code(0);
    assert!(done.stdout.contains("keeps 1 scenario from being asked here"), "{}", done.stdout);
}

#[test]
fn without_user_namespaces_nothing_can_be_asked_and_the_setting_is_named() {
    let place = Place::new();
    place.write("scenarios/plain.yaml", PASSES);
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces";
    let Some(done) = restricted(&place, forbid) else { return };
    let done = done.expect_code(5);
    for said in [
        "user.max_user_namespaces is 0",
        "sysctl user.max_user_namespaces=10000",
        "keeps 1 scenario from being asked here",
        "cannot         run containers, in namespaces of their own: userns",
        "cannot         give a container its own /proc: userns",
    ] {
        assert!(done.stdout.contains(said), "{said} is not in:\n{}", done.stdout);
    }
}

#[test]
fn a_proc_that_is_covered_is_named_with_its_remedy() {
    let place = Place::new();
    // Of each, as in a chroot besides: one that is visible as a whole is enough for a new one.
    let cover = "grep ' - proc ' /proc/self/mountinfo | cut -d' ' -f5 | while read -r at; \
                 do mount -t tmpfs -o ro none \"$at/sys\" || exit; done";
    let Some(done) = restricted(&place, cover) else { return };
    assert!(done.stdout.contains("parts of /proc are covered here"), "{}", done.stdout);
    assert!(done.stdout.contains("systempaths=unconfined"), "{}", done.stdout);
}

#[test]
fn programs_that_may_gain_no_privilege_are_noticed() {
    let place = Place::new();
    place.run(User::Own, &["--version"]).expect_code(0);
    let output = Command::new("setpriv")
        .args(["--no-new-privs", "./nsharness", "doctor", "--json"])
        .current_dir(place.path())
        .output()
        .expect("setpriv");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["probes"]["new_privs"]["value"], false);
}

#[test]
fn of_a_recording_nothing_is_said_that_was_not_asked() {
    let place = Place::new();
    let recording = common::root().join("fixtures/recordings/6.12.jsonl");
    let target = format!("recorded:{}", recording.display());
    let object = examine(&place, User::Ordinary, &["--on", &target]);
    assert!(object["probes"].get("newuidmap").is_none());
    assert!(
        object["abilities"]
            .as_array()
            .expect("abilities")
            .iter()
            .all(|ability| ability["can"] != false)
    );
}
