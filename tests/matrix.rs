//! Scenarios by kernels, and two runs held against each other: over recordings, so that no kernel is
//! needed but this one.

mod common;

use common::{FAILS, PASSES, Place, User, json_lines};
use serde_json::{Value, json};

/// What the rules of two kernels decide differently, and the scenario allows for.
const ATTRIBUTES: &str = "\
title: tmpfs keeps attributes of users since Linux 6.6
world:
  tree: { f: file }
steps:
  - setxattr:
      path: f
      name: user.x
      value: y
      expect: { when: [{ probe: { tmpfs.user_xattr: true }, then: ok }, { then: EOPNOTSUPP }] }
  - listxattr: { path: f }
";

/// What one of the kernels cannot be asked.
const NEEDS: &str = "\
title: An attribute is read back
requires: [tmpfs.user_xattr]
world:
  tree: { f: file }
steps:
  - setxattr: { path: f, name: user.x, value: y }
";

fn failed(errno: &str, syscall: &str) -> Value {
    json!({ "Failed": { "errno": errno, "syscall": syscall, "message": null } })
}

fn listed(names: &[&str]) -> Value {
    let list: Vec<_> = names.iter().map(|name| json!({ "Text": name })).collect();
    json!({ "Ok": { "count": { "Number": names.len() }, "names": { "List": list } } })
}

/// Two recordings, `old` and `new`, of two kernels that differ in one probe.
fn kernels(place: &Place) {
    place.write("scenarios/attributes.yaml", ATTRIBUTES);
    place.write("scenarios/needs.yaml", NEEDS);
    place.write("scenarios/same.yaml", PASSES);
    place.run(User::Own, &["run", "--record", "here"]);
    let lines = json_lines(&place.read("here"));
    for (name, version, has) in [("old", [6, 1, 0], false), ("new", [7, 0, 0], true)] {
        let mut kernel = lines[0].clone();
        kernel["release"] = format!("{}.{}.0-test", version[0], version[1]).into();
        kernel["version"] = json!(version);
        let finding = json!({ "value": has, "evidence": "asked", "broke": false });
        kernel["findings"]["tmpfs.user_xattr"] = finding;
        let mut text = format!("{kernel}\n");
        for line in &lines[1..] {
            let mut line = line.clone();
            let id = line["id"].as_str().unwrap().to_owned();
            line["transcript"]["end"] = "Completed".into();
            if id == "attributes" || id == "needs" {
                let mut outcomes = if has {
                    vec![json!({ "Ok": {} }), listed(&["user.x"])]
                } else {
                    vec![failed("EOPNOTSUPP", "setxattr"), listed(&[])]
                };
                outcomes.truncate(if id == "needs" { 1 } else { 2 });
                line["transcript"]["outcomes"] = outcomes.into();
            }
            text.push_str(&format!("{line}\n"));
        }
        place.write(name, &text);
    }
}

const MATRIX: [&str; 3] = ["matrix", "--on", "recorded:old,recorded:new"];

#[test]
fn a_row_shows_what_differs_although_both_pass_and_the_rule_that_is_the_cause() {
    let place = Place::new();
    kernels(&place);
    let done = place.run(User::Own, &MATRIX).expect_code(0);
    let expected = [
        "                            recorded:old  recorded:new",
        "                            6.1.0-test    7.0.0-test",
        "attributes                  pass          pass",
        "  line 5: setxattr          EOPNOTSUPP    ok           [1]",
        "  line 10: listxattr count  0             1            [line 5]",
        "  line 10: listxattr names  []            [\"user.x\"]   [line 5]",
        "",
        "[1] rule ownership.xattr.tmpfs-user (Linux 6.6 and later), probe tmpfs.user_xattr: tmpfs keeps attributes of user.*.",
        "    Source: tmpfs(5); mm/shmem.c shmem_user_xattr_handler, commit 2daf18a7884d",
        "",
        "recorded:old skips 1, for want of: tmpfs.user_xattr (1)",
        "1 of 3 scenarios differs, 1 skip beside (--all shows it)",
    ];
    assert_eq!(done.stdout.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_narrow_terminal_has_lists_and_all_shows_every_row() {
    let place = Place::new();
    kernels(&place);
    let mut command = place.command(User::Own);
    command.args(MATRIX).arg("--all").env("COLUMNS", "60");
    let done = common::Done::of(command.output().unwrap()).expect_code(0);
    for shown in [
        "attributes  pass\n  line 5: setxattr [1]\n    EOPNOTSUPP: recorded:old\n    ok: recorded:new\n",
        "needs\n  status [2]\n    skip: recorded:old\n    pass: recorded:new\n",
        "same  pass\n",
        "[2] needs tmpfs.user_xattr: asked (run it on a newer kernel)\n",
    ] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 60), "{}", done.stdout);
}

#[test]
fn a_matrix_is_written_as_markdown() {
    let place = Place::new();
    kernels(&place);
    place.run(User::Own, &[&MATRIX[..], &["--markdown", "out.md"]].concat()).expect_code(0);
    let text = place.read("out.md");
    let expected = "\
## nsharness: 1 of 3 scenarios differs, 1 skip beside (--all shows it)

| target | kernel | failed | passed | skipped | of these |
|---|---|--:|--:|--:|---|
| <code>recorded:old</code> | 6.1.0-test | 0 | 2 | 1 |  |
| <code>recorded:new</code> | 7.0.0-test | 0 | 3 | 0 |  |

| scenario | recorded:old<br>6.1.0-test | recorded:new<br>7.0.0-test | cause |
|---|---|---|---|
| <code>attributes</code> | pass | pass | \u{a0} |
| &emsp;line 5: setxattr | EOPNOTSUPP | ok | [1] |
| &emsp;line 10: listxattr count | 0 | 1 | [line 5] |
| &emsp;line 10: listxattr names | [] | [\"user.x\"] | [line 5] |

1. rule ownership.xattr.tmpfs-user";
    assert!(text.starts_with(expected), "{text}");
    let same = [&MATRIX[..], &["--id", "same", "--markdown", "out.md"]].concat();
    place.run(User::Own, &same).expect_code(0);
    assert!(!place.read("out.md").contains("| scenario |"), "{}", place.read("out.md"));
}

/// The fields that docs/json.md promises, with their types.
#[test]
fn a_difference_is_an_event_of_the_report() {
    let place = Place::new();
    kernels(&place);
    place.run(User::Own, &[&MATRIX[..], &["--json", "out.json"]].concat()).expect_code(0);
    let events = json_lines(&place.read("out.json"));
    let schema = json!({
        "type": "object",
        "required": ["event", "id", "line", "what", "targets", "left_open", "causes"],
        "additionalProperties": false,
        "properties": {
            "event": { "const": "difference" },
            "id": { "type": "string" },
            "line": { "type": ["integer", "null"] },
            "what": { "type": "string" },
            "targets": { "type": "object", "additionalProperties": { "type": "string" } },
            "left_open": { "type": "boolean" },
            "causes": { "type": "array", "items": {
                "type": "object",
                "required": ["kind"],
                "properties": { "kind": {
                    "enum": ["rule", "probe", "known", "missing", "verdict", "follows", "unknown"]
                } },
            } },
        },
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let differences: Vec<_> =
        events.iter().filter(|event| event["event"] == "difference").collect();
    assert_eq!(differences.len(), 3);
    for difference in &differences {
        assert!(validator.is_valid(difference), "{difference}");
    }
    assert_eq!(
        differences[0]["targets"],
        json!({ "recorded:old": "EOPNOTSUPP", "recorded:new": "ok" })
    );
    assert_eq!(differences[0]["causes"][0]["rule"], "ownership.xattr.tmpfs-user");
    assert_eq!(differences[1]["causes"], json!([{ "kind": "follows", "line": 5 }]));
    let summary = events.last().unwrap();
    assert_eq!(summary["event"], "summary");
    assert_eq!((&summary["passed"], &summary["skipped"]), (&json!(5), &json!(1)));
    assert_eq!(summary["targets"][0]["target"], "recorded:old");
    assert_eq!(summary["targets"][0]["passed"], 2);
}

#[test]
fn a_matrix_ends_as_a_run_does() {
    let place = Place::new();
    kernels(&place);
    place.run(User::Own, &["matrix", "--on", "host"]).expect_code(2);
    place.run(User::Own, &["matrix", "--on", "auto"]).expect_code(2);
    let done = place
        .run(User::Own, &["matrix", "same", "--on", "recorded:old,uml:./no-such-kernel"])
        .expect_code(4);
    assert!(done.stdout.contains("uml:./no-such-kernel was not asked: needs"), "{}", done.stdout);
    assert!(done.stdout.ends_with("0 of 1 scenarios differ\n"), "{}", done.stdout);
    // What one kernel answered otherwise than its model is a failure, and said to be one.
    let old = place.read("old").replace("EOPNOTSUPP", "EPERM");
    place.write("odd", &old);
    let done =
        place.run(User::Own, &["matrix", "--on", "recorded:old,recorded:odd"]).expect_code(1);
    assert!(done.stdout.contains("fail"), "{}", done.stdout);
    assert!(
        done.stdout.contains("line 5: setxattr: the kernel disagrees with expect and model"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("[cause unknown]"), "{}", done.stdout);
}

#[test]
fn two_runs_are_held_against_each_other() {
    let place = Place::new();
    kernels(&place);
    let run = |on: &str, out: &str| {
        let on = format!("recorded:{on}");
        place.run(User::Own, &["run", "--on", &on, "--json", out]);
    };
    run("old", "old.json");
    run("new", "new.json");
    let done = place.run(User::Own, &["diff", "old.json", "old.json"]).expect_code(0);
    assert_eq!(done.stdout, "recorded:old: 0 of 3 scenarios differ\n");
    // One target in each: they are held against each other whatever they are called.
    let done = place.run(User::Own, &["diff", "old.json", "new.json"]).expect_code(1);
    for shown in [
        "recorded:old and recorded:new:\n",
        "attributes                  pass                  pass\n",
        "  line 5: setxattr          EOPNOTSUPP            ok                  [1]\n",
        "needs                       skip                  pass                [2]\n",
        "2 of 3 scenarios differ\n",
    ] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
    let done = place.run(User::Own, &["diff", "old.json", "new.json", "--json"]).expect_code(1);
    let statuses: Vec<_> = json_lines(&done.stdout)
        .into_iter()
        .filter(|event| event["what"] == "status")
        .map(|event| (event["id"].clone(), event["targets"].clone()))
        .collect();
    let targets = json!({ "before: recorded:old": "skip", "after: recorded:new": "pass" });
    assert_eq!(statuses, [(json!("needs"), targets)]);
    // What was not asked any more is told as well.
    place.run(User::Own, &["run", "same", "--on", "recorded:old", "--json", "few.json"]);
    let done = place.run(User::Own, &["diff", "old.json", "few.json"]).expect_code(1);
    assert!(done.stdout.contains("attributes  pass                  -\n"), "{}", done.stdout);
    let done = place.run(User::Own, &["diff", "few.json", "old.json"]).expect_code(1);
    assert!(done.stdout.contains("attributes  -                     pass\n"), "{}", done.stdout);
}

#[test]
fn what_is_no_whole_report_is_told_and_is_5() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", FAILS);
    place.run(User::Own, &["run", "--json", "whole"]).expect_code(1);
    let whole = place.read("whole");
    let without_summary: Vec<_> = whole.lines().take(3).map(|line| format!("{line}\n")).collect();
    place.write("killed", &without_summary.concat());
    place.write("version", &whole.replacen("\"version\":3", "\"version\":2", 1));
    place.write("garbage", "\u{1}\n");
    place.write("empty", "");
    for (file, why) in [
        ("killed", "it has no summary: the run that wrote it was killed"),
        ("version", "line 1: it has version 2 of the format"),
        ("garbage", "line 1: "),
        ("empty", "it has no summary"),
        ("scenarios/a.yaml", "line 1: "),
        ("none", "No such file or directory"),
    ] {
        let done = place.run(User::Own, &["diff", "whole", file]).expect_code(5);
        let told = done.stderr.contains(&format!("{file} is no report: "));
        assert!(told && done.stderr.contains(why), "{file}: {}", done.stderr);
    }
    place.run(User::Own, &["diff", "whole"]).expect_code(2);
}
