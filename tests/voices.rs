//! Author, kernel and model: what each says, and what is told of it.

mod common;

use std::process::Command;

use common::{Done, FAILS, PASSES, Place, User, is_root, json_lines};
use rstest::rstest;

/// A step that fails, of which the author says nothing.
const SILENT: &str = "\
title: A name that nobody made cannot be removed
steps:
  - unlink: { path: nobody }
";

/// What depends on the kernel's version.
const BY_VERSION: &str = "\
title: What depends on the kernel
requires: [{ kernel: \">=6.6\" }]
steps:
  - stat: { path: ., expect: { type: dir } }
";

#[test]
fn where_the_author_is_silent_kernel_and_model_decide_together() {
    let place = Place::new();
    place.write("scenarios/a.yaml", SILENT);
    place.run(User::Own, &["run", "--json", "out.json"]).expect_code(0);
    let events = json_lines(&place.read("out.json"));
    let step = &events[1]["steps"][0];
    assert_eq!((&step["status"], &step["expect"]), (&"pass".into(), &serde_json::Value::Null));
    assert_eq!(step["outcome"], "ENOENT from unlink");
    assert_eq!(step["model"]["outcome"], "ENOENT from unlink");
    assert_eq!(step["model"]["agrees"], true);
    assert_eq!(step["model"]["rules"][0], "files.path.missing");
    place.run(User::Own, &["run", "--witness", "kernel"]).expect_code(1);
}

#[test]
fn run_always_asks_the_kernel() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let done = place.run(User::Own, &["run", "--witness", "model"]).expect_code(2);
    assert!(done.stderr.contains("nsharness simulate"), "{}", done.stderr);
}

#[test]
fn a_failure_shows_every_voice_and_the_rule() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    let done = place.run(User::Own, &["run"]).expect_code(1);
    for shown in [
        "kernel and model disagree with expect: expected ok, found ENOENT from statx",
        "   = expect: ok\n",
        "   = kernel: ENOENT from statx\n",
        "   = model: ENOENT from statx\n",
        "by files.path.missing: ",
    ] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
}

#[test]
fn simulate_judges_as_run_does_and_its_report_has_the_same_fields() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", FAILS);
    place.run(User::Own, &["run", "--json", "run.json"]).expect_code(1);
    let done = place.run(User::Own, &["simulate", "--json", "simulate.json"]).expect_code(1);
    assert!(done.stdout.starts_with("simulating Linux "), "{}", done.stdout);
    assert!(done.stdout.contains("model and expect disagree"), "{}", done.stdout);
    assert!(!done.stdout.contains("= kernel"), "{}", done.stdout);
    let (run, simulate) =
        (json_lines(&place.read("run.json")), json_lines(&place.read("simulate.json")));
    assert_eq!(run.len(), simulate.len());
    for (run, simulate) in run.iter().zip(&simulate) {
        let keys = |event: &serde_json::Value| {
            event.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(run), keys(simulate));
        assert_eq!(run["status"], simulate["status"]);
    }
    assert_eq!(
        (&simulate[1]["witness"], &simulate[1]["target"]),
        (&"model".into(), &"model".into())
    );
}

#[test]
fn simulate_needs_no_process_and_no_namespace() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.command(User::Own); // copies the binary
    let binary = place.path().join("nsharness");
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "prlimit"]);
        command
    } else {
        Command::new("prlimit")
    };
    // Whoever may not have one more process can make no sandbox.
    command.args(["--nproc=0", "--"]).arg(binary).arg("simulate").current_dir(place.path());
    Done::of(command.env_remove("CI").output().unwrap()).expect_code(0);
}

#[test]
fn another_kernel_is_simulated_by_its_version() {
    let place = Place::new();
    place.write("scenarios/a.yaml", BY_VERSION);
    let simulate = |version: &str| place.run(User::Own, &["simulate", "--kernel", version]);
    let done = simulate("6.6").expect_code(0);
    assert!(done.stdout.starts_with("simulating Linux 6.6 (model)"), "{}", done.stdout);
    let done = simulate("5.10").expect_code(4);
    assert!(done.stdout.contains("needs a kernel >=6.6: this is 5.10"), "{}", done.stdout);
    let done = simulate("newest").expect_code(2);
    assert!(done.stderr.contains("as in 6.12 or 5.10.46"), "{}", done.stderr);
}

#[test]
fn what_the_model_abstains_from_is_said_and_is_no_success_alone() {
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "title: t\nworld: { tree: { p: { program: credentials } } }\nsteps:\n  - exec: { path: p }\n",
    );
    let done = place.run(User::Own, &["simulate"]).expect_code(4);
    assert!(done.stdout.contains("needs a model of this: line 4: exec: "), "{}", done.stdout);
    place.write(
        "scenarios/a.yaml",
        &format!("{}  - stat: {{ path: p }}\n", place.read("scenarios/a.yaml")),
    );
    place.run(User::Own, &["simulate", "--json", "out.json"]).expect_code(0);
    let events = json_lines(&place.read("out.json"));
    assert_eq!(events[1]["steps"][0]["status"], "abstained");
    assert_eq!(events[1]["steps"][0]["model"]["outcome"], serde_json::Value::Null);
    assert_eq!(events[2]["abstained"], 1);
}

#[test]
fn rules_are_listed_shown_and_counted() {
    let place = Place::new();
    place.write("scenarios/a.yaml", SILENT);
    let done = place.run(User::Own, &["rules"]).expect_code(0);
    assert!(done.stdout.contains("files.path.missing "), "{}", done.stdout);
    let done = place.run(User::Own, &["rules", "list", "files.path"]).expect_code(0);
    assert!(done.stdout.lines().all(|line| line.starts_with("files.path.")), "{}", done.stdout);
    let done = place.run(User::Own, &["rules", "list", "--quirks"]).expect_code(0);
    assert!(done.stdout.lines().all(|line| line.ends_with("[quirk]")), "{}", done.stdout);
    let done = place.run(User::Own, &["rules", "show", "files.path.missing"]).expect_code(0);
    for shown in ["source:", "https://", "scenarios: a\n"] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
    let done = place.run(User::Own, &["rules", "--coverage"]).expect_code(0);
    assert!(done.stdout.contains("     1  files.path.missing "), "{}", done.stdout);
    assert!(done.stdout.contains("no scenario exercises files."), "{}", done.stdout);
    let done = place.run(User::Own, &["rules", "--json"]).expect_code(0);
    let rules = json_lines(&done.stdout);
    let missing = rules.iter().find(|rule| rule["id"] == "files.path.missing").unwrap();
    assert_eq!(missing["scenarios"], serde_json::json!(["a"]));
}

#[test]
fn a_rule_that_is_not_there_has_a_neighbour() {
    let place = Place::new();
    let done = place.run(User::Own, &["rules", "show", "files.path.mising"]).expect_code(2);
    assert!(done.stderr.contains("did you mean `files.path.missing`?"), "{}", done.stderr);
}

#[test]
fn a_scenario_is_explained_by_id_and_by_path() {
    let place = Place::new();
    place.write(
        "scenarios/d/a.yaml",
        "title: A mode is changed\nrefs: [chmod(2)]\nworld: { tree: { f: { file: x, mode: 0600 } } }\nsteps:\n  - chmod: { path: f, mode: 0640 }\n  - stat: { path: nobody }\n",
    );
    for subject in ["d/a", "scenarios/d/a.yaml", "d/"] {
        let done = place.run(User::Own, &["explain", subject]).expect_code(0);
        if subject == "d/" {
            assert!(done.stdout.contains("1 files of scenarios"), "{}", done.stdout);
            continue;
        }
        for shown in [
            "A mode is changed\n  chmod(2)\n",
            "0600 0:0          f\n",
            "line 5: main changes the mode of f to 0640\n  → ok\n",
            "   * 0640 0:0          f\n",
            "  → ENOENT from statx\n  by files.path.missing: ",
            "https://man7.org/",
        ] {
            assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
        }
    }
}

#[test]
fn rules_errors_and_topics_are_explained() {
    let place = Place::new();
    place.write("scenarios/a.yaml", &format!("tags: [removal]\n{SILENT}"));
    let explain = |subject: &str| place.run(User::Own, &["explain", subject]);
    assert!(explain("files.path.missing").expect_code(0).stdout.contains("scenarios: a"));
    let errno = explain("enoent").expect_code(0).stdout;
    assert!(errno.starts_with("ENOENT: No such file or directory"), "{errno}");
    assert!(errno.contains("  files.path.missing: ") && errno.contains("     a\n"), "{errno}");
    let family = explain("files").expect_code(0).stdout;
    assert!(family.contains("files.path.missing "), "{family}");
    let tag = explain("removal").expect_code(0).stdout;
    assert!(tag.contains("files.path.missing ") && tag.contains("  a  A name"), "{tag}");
    assert!(explain("files.path").expect_code(0).stdout.starts_with("files.path."));
    let wrong = explain("removel").expect_code(2).stderr;
    assert!(wrong.contains("did you mean `removal`?"), "{wrong}");
}

#[test]
fn what_a_kernel_cannot_be_asked_is_said_instead_of_explained() {
    let place = Place::new();
    place.write("scenarios/a.yaml", BY_VERSION);
    let done = place.run(User::Own, &["explain", "a", "--kernel", "6.1"]).expect_code(0);
    assert!(done.stdout.contains("Linux 6.1 cannot be asked this"), "{}", done.stdout);
    assert!(done.stdout.contains("needs a kernel >=6.6"), "{}", done.stdout);
}

#[test]
fn the_layers_of_an_overlay_are_drawn_side_by_side() {
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "\
title: A lower file is deleted
world:
  tree: { lower/etc/hosts: { file: x }, upper: dir, work: dir, merged: dir }
  mounts:
    - overlay: { at: merged, lower: [lower], upper: upper, work: work }
steps:
  - unlink: { path: merged/etc/hosts }
",
    );
    let done = place.run(User::Own, &["explain", "a", "--kernel", "6.12"]).expect_code(0);
    for shown in [
        "     │   hosts │       │ file \"x\" │ file \"x\"       │\n",
        "line 7: main removes the name merged/etc/hosts\n  → ok\n",
        "   * │   hosts │ whiteout │ file \"x\" │                │\n",
    ] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
}

#[test]
fn id_maps_mounts_and_peer_groups_are_drawn() {
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "\
title: A copy of a shared mount is its peer
world:
  tree: { m: dir, n: dir }
  mounts: [mount: { type: tmpfs, at: m }, propagation: { at: m, type: shared }]
  actors:
    box: { userns: { uid_map: [[0, 0, 1]], gid_map: [[0, 0, 1]] }, unshare: [mount] }
steps:
  - bind: { from: m, at: n }
  - umount: { at: n }
",
    );
    let done = place.run(User::Own, &["explain", "a", "--kernel", "6.12"]).expect_code(0);
    for shown in [
        "id maps of box's user namespace",
        "│ ids inside │ 0 │ all others              │",
        "mounts of box",
        "group 1: main:/m",
        "   * └─ /n  tmpfs  shared in group 1\n",
        "   * group 1: main:/m ⇄ main:/n",
        "   - gone: /n\n",
    ] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
}

/// Where kernels differ, the bundle says so: no other kernel needs to be at hand to see that.
#[rstest]
fn the_bundle_is_simulated_on_every_kernel(
    #[values("", "5.10", "5.15", "6.1", "6.6", "6.12", "6.18", "7.2")] version: &str,
) {
    let place = Place::new();
    place.copy("scenarios");
    place.copy("snapshots");
    let mut arguments = vec!["simulate", "--quiet", "--json", "out.json"];
    if !version.is_empty() {
        arguments.extend(["--kernel", version]);
    }
    place.run(User::Own, &arguments).expect_code(0);
    let events = json_lines(&place.read("out.json"));
    let skipped = events.iter().filter(|event| event["status"] == "skip");
    for missing in skipped.flat_map(|event| event["missing"].as_array().unwrap()) {
        assert!(!missing["remedy"].as_str().unwrap().is_empty(), "{missing}");
    }
}
