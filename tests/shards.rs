//! Runs that are spread over machines: their parts, and what they come to together.

mod common;

use std::collections::BTreeMap;

use common::{Done, FAILS, HANGS, PASSES, Place, User, json_lines};

/// The ids that each of so many parts lists.
fn listed(place: &Place, of: usize) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for index in 1..=of {
        let shard = format!("{index}/{of}");
        let done = place.run(User::Own, &["list", "--json", "--shard", &shard]).expect_code(0);
        for event in json_lines(&done.stdout) {
            let id = event["id"].as_str().unwrap().to_owned();
            assert_eq!(all.insert(id, index), None, "in two parts: {event}");
        }
    }
    all
}

#[test]
fn each_scenario_is_in_one_part_and_stays_there_when_others_come() {
    let place = Place::new();
    for name in ["a", "b", "c/d", "c/e", "f"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    let before = listed(&place, 3);
    assert_eq!(before.len(), 5);
    place.write("scenarios/0.yaml", PASSES);
    place.write("scenarios/c/dd.yaml", PASSES);
    let after = listed(&place, 3);
    assert_eq!(after.len(), 7);
    for (id, index) in before {
        assert_eq!(after[&id], index, "{id}");
    }
}

#[test]
fn the_cases_of_a_scenario_stay_together() {
    let place = Place::new();
    let cases: String = (0..20).map(|n| format!("  c{n}: {{ name: f{n} }}\n")).collect();
    place.write(
        "scenarios/a.yaml",
        &format!(
            "title: t\ncases:\n{cases}steps:\n  - write: {{ path: '${{case.name}}', data: x }}\n"
        ),
    );
    let all = listed(&place, 4);
    assert_eq!(all.len(), 20);
    assert!(all.values().all(|index| *index == all["a@c0"]));
}

#[test]
fn a_part_runs_what_it_lists_and_says_what_it_is_a_part_of() {
    let place = Place::new();
    for name in ["a", "b", "c", "d"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    let listed = listed(&place, 2);
    let mut digests = Vec::new();
    for (index, command) in [(1, "run"), (2, "simulate")] {
        let own: Vec<_> =
            listed.iter().filter(|(_, part)| **part == index).map(|(id, _)| id.as_str()).collect();
        assert!(!own.is_empty());
        let shard = format!("{index}/2");
        let done = place
            .run(User::Own, &[command, "--shard", &shard, "--json", "out.json"])
            .expect_code(0);
        let told = format!("shard {shard}: {} of 4 scenarios\n", own.len());
        assert!(done.stdout.starts_with(&told), "{}", done.stdout);
        let events = json_lines(&place.read("out.json"));
        let ids: Vec<_> = events.iter().filter_map(|event| event["id"].as_str()).collect();
        assert_eq!(ids, own);
        for event in [events.first().unwrap(), events.last().unwrap()] {
            let part = &event["part"];
            assert_eq!(part["shard"], shard.as_str());
            assert_eq!((&part["scenarios"], &part["selected"]), (&own.len().into(), &4.into()));
            digests.push(part["digest"].clone());
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "one selection");
}

#[test]
fn a_part_that_has_nothing_leaves_nothing_out_and_one_of_nothing_does() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    let own = listed(&place, 2)["a"];
    let other = format!("{}/2", 3 - own);
    let done = place.run(User::Own, &["run", "--shard", &other]).expect_code(0);
    assert!(done.stdout.contains("0 of 1 scenario: nothing to ask here"), "{}", done.stdout);
    assert!(done.stdout.ends_with("summary: 0 passed, 0 failed, 0 skipped\n"), "{}", done.stdout);
    place.run(User::Own, &["run", "--shard", &format!("{own}/2")]).expect_code(1);
    place.run(User::Own, &["run", "--shard", &other, "--tag", "none"]).expect_code(4);
    place.write("scenarios/a.yaml", &format!("requires: [aufs]\n{PASSES}"));
    place.run(User::Own, &["run", "--shard", &format!("{own}/2")]).expect_code(4);
}

#[test]
fn what_is_no_part_is_refused_as_in_a_search() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    for wrong in ["0/2", "3/2", "2", "a/b", "1/0", "", "1/99999999999999999999"] {
        for command in [&["run"][..], &["simulate"], &["list"], &["matrix"], &["search", "all"]] {
            let done =
                place.run(User::Own, &[command, &["--shard", wrong]].concat()).expect_code(2);
            assert!(done.stderr.contains("expected K/N, as in 3/16"), "{}", done.stderr);
        }
    }
}

/// Scenarios of all kinds, and what three parts of them say, in `1.json` to `3.json`.
fn three_parts(place: &Place) {
    let cases = "title: t\ncases:\n  z: { name: f }\n  y: { name: g }\nsteps:\n";
    place.write(
        "scenarios/cases.yaml",
        &format!("{cases}  - write: {{ path: '${{case.name}}', data: x }}\n"),
    );
    place.write("scenarios/a/fails.yaml", FAILS);
    place.write("scenarios/a/hangs.yaml", HANGS);
    place.write("scenarios/a/passes.yaml", PASSES);
    place.write("scenarios/a/skips.yaml", &format!("requires: [aufs]\n{PASSES}"));
    // More than one line, and letters of more than one byte.
    place.write(
        "scenarios/lines.yaml",
        "title: t\nsteps:\n  - write:\n      path: f\n      data: äöü\n  - read:\n      path: f\n      expect:\n        data: ß\n",
    );
    let known = "known: { outcome: ENOENT, reason: why, ref: where }";
    for (name, path) in [("xfails", "nobody"), ("xpasses", ".")] {
        let step = format!("  - stat: {{ path: {path}, expect: ok, {known} }}\n");
        place.write(&format!("scenarios/{name}.yaml"), &format!("title: t\nsteps:\n{step}"));
    }
    place.write(
        "scenarios/observes.yaml",
        "title: t\nsteps:\n  - write: { path: f, data: x }\nobserve:\n  - tree: { at: . }\n",
    );
    for index in 1..=3 {
        let (shard, out) = (format!("{index}/3"), format!("{index}.json"));
        place.run(User::Own, &["run", "--shard", &shard, "--json", &out, "--retries", "1"]);
    }
}

fn merge(place: &Place, arguments: &[&str]) -> Done {
    place.run(User::Own, &[&["merge"], arguments].concat())
}

/// A report without the times in it.
fn timeless(text: &str) -> String {
    let mut parts = text.split("time=\"");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| kept.push_str(part.split_once('"').unwrap().1));
    kept
}

#[test]
fn all_parts_together_are_told_as_the_whole_would_be() {
    let place = Place::new();
    three_parts(&place);
    let reports = ["--junit", "all.xml", "--ktap", "all.ktap", "--json", "all.json"];
    let whole = [&["run", "--retries", "1"][..], &reports].concat();
    let whole = place.run(User::Own, &whole).expect_code(1);
    let merged = merge(
        &place,
        &[
            &["3.json", "1.json", "2.json"][..],
            &["--junit", "m.xml", "--ktap", "m.ktap", "--json", "m.json"],
        ]
        .concat(),
    )
    .expect_code(1);
    assert_eq!(merged.stdout, whole.stdout);
    assert!(merged.stdout.contains("expected data ß"), "{}", merged.stdout);
    assert_eq!(merged.stderr, "");
    assert_eq!(place.read("m.ktap"), place.read("all.ktap"));
    assert_eq!(timeless(&place.read("m.xml")), timeless(&place.read("all.xml")));
    place.run(User::Own, &["diff", "all.json", "m.json"]).expect_code(0);
    // What was put together can be put together again, and is whole.
    assert_eq!(merge(&place, &["m.json"]).expect_code(1).stdout, whole.stdout);
}

#[test]
fn a_part_that_is_missing_is_named_and_never_green() {
    let place = Place::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    for index in 1..=3 {
        let (shard, out) = (format!("{index}/3"), format!("{index}.json"));
        place.run(User::Own, &["run", "--shard", &shard, "--json", &out]).expect_code(0);
    }
    merge(&place, &["1.json", "2.json", "3.json"]).expect_code(0);
    let reports = ["--junit", "m.xml", "--ktap", "m", "--json", "m.json", "--markdown", "m.md"];
    let arguments = [&["1.json", "3.json", "--github", "always"][..], &reports].concat();
    let done = merge(&place, &arguments).expect_code(5);
    let why = "no report has shard 2/3 of host";
    assert!(done.stdout.contains(&format!("the report is not whole: {why}\n")), "{}", done.stdout);
    let junit = quick_junit::Report::deserialize_from_str(&place.read("m.xml")).unwrap();
    assert_eq!(junit.errors, 1);
    assert!(place.read("m").contains(&format!("not ok 2 the report is whole # ERROR {why}\n")));
    assert_eq!(json_lines(&place.read("m.json")).last().unwrap()["problems"][0], why);
    assert!(place.read("m.md").contains("The report is not whole"), "{}", place.read("m.md"));
    assert!(done.stdout.contains("::error title=the report is not whole::"), "{}", done.stdout);
    // Nor is it where it is put together again.
    merge(&place, &["m.json"]).expect_code(5);
    // Parts of another selection make up for nothing.
    let other = ["run", "--shard", "2/3", "--json", "other.json", "--id", "b", "--id", "c"];
    place.run(User::Own, &other).expect_code(0);
    let done = merge(&place, &["1.json", "other.json", "3.json"]).expect_code(5);
    assert!(done.stdout.contains("no report has shard 2/3 of host of the selection"));
    assert!(done.stdout.contains("no report has shard 1/3, 3/3 of host of the selection"));
    // A file that is not there is a part that is not there.
    let done = merge(&place, &["1.json", "2.json", "3.json", "none.json"]).expect_code(5);
    assert!(done.stdout.contains("none.json: it cannot be read: No such file"), "{}", done.stdout);
}

#[test]
fn a_report_that_was_cut_off_or_changed_is_broken() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", PASSES);
    place.run(User::Own, &["run", "--json", "whole.json"]).expect_code(0);
    let whole = place.read("whole.json");
    let lines: Vec<_> = whole.lines().collect();
    let excerpt = |excerpt: &str| {
        let excerpts = format!("\"excerpts\":[{{{excerpt}}}]");
        whole.replace("\"excerpts\":[]", &excerpts)
    };
    let of = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let dead = "the run that wrote it died, or is not over";
    for (text, why) in [
        (String::new(), dead),
        (of(&lines[..3]), dead),
        (whole[..whole.len() - 20].to_owned(), dead),
        (whole[..whole.len() - 1].to_owned(), dead),
        (of(&[lines[0], lines[1], lines[3]]), "some are missing or changed"),
        (of(&[lines[0], lines[1], lines[1], lines[2], lines[3]]), "some are missing or changed"),
        (of(&[lines[1], lines[2], lines[3]]), "line 1: a scenario without its target"),
        (whole.repeat(2), "two reports in one file"),
        ("hello\n".to_owned(), "line 1: it is no JSON"),
        ("{}\n".to_owned(), "line 1: it is no event of a report"),
        ("\0\u{1b}[2J\n".to_owned(), "line 1: it is no JSON"),
        (whole.replace("\"version\":3", "\"version\":9"), "in version 9 of the format"),
        (
            whole.replace("\"nsharness\":\"0", "\"nsharness\":\"7"),
            "merge with the version that ran",
        ),
        (whole.replace("\"part\"", "\"other\""), "missing field `part`"),
        (whole.replace("\"pass\"", "\"good\""), "unknown variant `good`"),
        (whole.replace("\"seconds\":", "\"seconds\":-"), "negative"),
        (excerpt(r#""step":0,"line":9e18,"text":"x","from":0,"to":1"#), "line 2: "),
        (
            excerpt(r#""step":7,"line":1,"text":"x","from":0,"to":1"#),
            "an excerpt of a step that is not there",
        ),
        (excerpt(r#""step":0,"line":1,"text":"ä","from":1,"to":0"#), "has no place in a file"),
    ] {
        place.write("bad.json", &text);
        for arguments in [&["bad.json"][..], &["whole.json", "bad.json"]] {
            let done = merge(&place, arguments).expect_code(5);
            let told = done.stdout.lines().filter(|line| line.starts_with("broken  the report"));
            let told: String = told.collect();
            assert!(told.contains("bad.json: ") && told.contains(why), "{why}: {}", done.stdout);
            assert!(!done.stdout.contains('\u{1b}'));
        }
    }
}

#[test]
fn one_question_has_one_answer() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.run(User::Own, &["run", "--json", "1.json"]).expect_code(0);
    let done = merge(&place, &["1.json", "1.json"]).expect_code(0);
    assert!(done.stderr.contains("1.json and 1.json with the same answer"), "{}", done.stderr);
    assert!(done.stdout.ends_with("summary: 1 passed, 0 failed, 0 skipped\n"), "{}", done.stdout);
    place.write("scenarios/a.yaml", FAILS);
    place.run(User::Own, &["run", "--json", "2.json"]).expect_code(1);
    for files in [["1.json", "2.json"], ["2.json", "1.json"]] {
        let done = merge(&place, &files).expect_code(1);
        assert!(done.stdout.contains("a on host is in "), "{}", done.stdout);
        assert!(done.stdout.contains("fail    a  "), "{}", done.stdout);
    }
    let other = place.read("1.json").replace("\"outcome\":\"ok", "\"outcome\":\"EIO");
    place.write("3.json", &other);
    let done = merge(&place, &["1.json", "3.json"]).expect_code(5);
    assert!(done.stdout.contains("with other answers"), "{}", done.stdout);
}

#[test]
fn the_gravest_of_all_is_the_exit_status() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.run(User::Own, &["run", "--json", "1.json"]).expect_code(0);
    let text = place.read("1.json").replace("\"host\"", "\"uml:6.12\"");
    place.write("other.json", &text.replace("\"interrupted\":false", "\"interrupted\":true"));
    let done = merge(&place, &["1.json", "other.json"]).expect_code(130);
    assert!(done.stdout.contains("uml:6.12  1 passed"), "{}", done.stdout);
    let on = ["1.json", "--on", "host,uml:5.10"];
    let done = merge(&place, &on).expect_code(5);
    assert!(done.stdout.contains("no report is of uml:5.10"), "{}", done.stdout);
    // A part that has nothing leaves nothing out; if no part has anything, nothing was asked.
    for index in 1..=2 {
        let (shard, out) = (format!("{index}/2"), format!("{index}.json"));
        place.run(User::Own, &["run", "--shard", &shard, "--json", &out]).expect_code(0);
    }
    merge(&place, &["1.json", "2.json"]).expect_code(0);
    let none = ["run", "--on", "uml:./none", "--json", "none.json"];
    place.run(User::Own, &none).expect_code(4);
    let done = merge(&place, &["1.json", "2.json", "none.json"]).expect_code(4);
    assert!(done.stdout.contains("skip    all 1 scenario on uml:./none"), "{}", done.stdout);
}

#[test]
fn a_report_is_not_written_over_what_is_read() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.run(User::Own, &["run", "--json", "1.json"]).expect_code(0);
    let done = merge(&place, &["1.json", "--json", "./1.json"]).expect_code(2);
    assert!(done.stderr.contains("name another file"), "{}", done.stderr);
    merge(&place, &["1.json"]).expect_code(0);
    merge(&place, &[]).expect_code(2);
    merge(&place, &["1.json", "--json", "/dev/full"]).expect_code(5);
}
