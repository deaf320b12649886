//! What is said of a run: JSON lines, the console, evidence.

mod common;

use std::process::Stdio;

use common::{FAILS, HANGS, PASSES, Place, User, json_lines};

#[test]
fn json_lines_can_be_read_back_and_tell_all() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", FAILS);
    place.write("scenarios/c.yaml", &format!("requires: [aufs]\ntags: [x]\n{PASSES}"));
    place.run(User::Own, &["run", "--json", "out.json"]).expect_code(1);
    let events = json_lines(&place.read("out.json"));
    assert_eq!(events.len(), 5);
    assert_eq!(events[0]["event"], "environment");
    assert_eq!(events[0]["version"], 3);
    assert_eq!(events[0]["witnesses"], serde_json::json!(["kernel", "model"]));
    assert_eq!(events[0]["target"], "host");
    assert_eq!(events[0]["scenarios"], 3);
    assert_eq!(events[0]["probes"]["aufs"]["value"], false);
    let statuses: Vec<_> = events[1..4].iter().map(|e| e["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["pass", "fail", "skip"]);
    assert_eq!(events[1]["id"], "a");
    assert_eq!(events[1]["steps"][1]["operation"], "read");
    assert_eq!(events[1]["steps"][1]["line"], 4);
    assert_eq!(events[1]["steps"][1]["values"]["data"], "hello");
    assert_eq!(events[2]["steps"][0]["outcome"], "ENOENT from statx");
    assert_eq!(
        events[2]["reasons"][0],
        "line 3: stat: kernel and model disagree with expect: expected ok, found ENOENT from statx"
    );
    assert_eq!(events[3]["missing"][0]["what"], "aufs");
    assert_eq!(events[4]["event"], "summary");
    assert_eq!(
        (&events[4]["passed"], &events[4]["failed"], &events[4]["skipped"]),
        (&1.into(), &1.into(), &1.into())
    );
}

#[test]
fn a_report_that_cannot_be_written_is_never_a_success() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let done = place.run(User::Own, &["run", "--json", "/dev/full"]).expect_code(5);
    assert!(done.stderr.contains("report cannot be written"), "{}", done.stderr);
    let done =
        place.run(User::Own, &["run", "--json", "no/such/directory/out.json"]).expect_code(5);
    assert!(done.stderr.contains("no/such/directory/out.json"), "{}", done.stderr);
}

#[test]
fn a_full_disk_behind_standard_output_is_never_a_success() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place
        .command(User::Own)
        .args(["run"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_pipe_has_plain_lines_in_the_order_of_the_ids() {
    let place = Place::new();
    for name in ["b", "a", "d/c"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    let mut command = place.command(User::Own);
    let done = common::Done::of(
        command.env_remove("NO_COLOR").args(["run", "--jobs", "3"]).output().unwrap(),
    )
    .expect_code(0);
    assert!(!done.stdout.contains('\u{1b}'), "{}", done.stdout);
    assert!(done.stderr.is_empty(), "{}", done.stderr);
    let ids: Vec<_> =
        done.stdout.lines().filter_map(|l| l.strip_prefix("pass    ")?.split(' ').next()).collect();
    assert_eq!(ids, ["a", "b", "d/c"]);
}

#[test]
fn evidence_of_a_failure_is_kept() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    place.write("scenarios/b.yaml", PASSES);
    place.run(User::Own, &["run", "--keep", "evidence"]).expect_code(1);
    assert!(place.read("evidence/a/plan.json").contains("\"nobody\""));
    assert!(place.read("evidence/a/transcript.json").contains("ENOENT"));
    assert!(place.read("evidence/a/mountinfo.txt").contains(" / / "));
    assert!(!place.read("evidence/a/kernel-log.txt").is_empty());
    assert!(!place.exists("evidence/b"));
}

#[test]
fn the_new_mount_api_tells_what_the_kernel_said() {
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "title: t\nsteps:\n  - fsopen: { type: tmpfs, fd: t }\n  - fsconfig: { fd: t, key: bogus, value: x, expect: ok }\n",
    );
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(done.stdout.contains("EINVAL from fsconfig (the kernel says: "), "{}", done.stdout);
    assert!(done.stdout.contains("bogus"), "{}", done.stdout);
}

#[test]
fn a_name_cannot_write_to_the_terminal() {
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "title: t\nsteps:\n  - write: { path: \"\\e[2Jx\", data: \"\\e]0;owned\\a\" }\n  - list: { path: ., expect: { count: 2 } }\n  - read: { path: \"\\e[2Jx\", expect: { length: 1 } }\n",
    );
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(!done.stdout.contains('\u{1b}'), "{:?}", done.stdout);
    assert!(!done.stdout.contains('\u{7}'), "{:?}", done.stdout);
}

#[test]
fn scenarios_are_selected_by_path_id_and_tag() {
    let place = Place::new();
    place.write("scenarios/x/one.yaml", &format!("tags: [fast]\n{PASSES}"));
    place.write("scenarios/x/two.yaml", &format!("tags: [slow]\n{PASSES}"));
    place.write("scenarios/y/three.yaml", PASSES);
    let ids = |arguments: &[&str]| {
        let mut all = vec!["list", "--json"];
        all.extend(arguments);
        let done = place.run(User::Own, &all).expect_code(0);
        json_lines(&done.stdout)
            .iter()
            .map(|e| e["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["x/one", "x/two", "y/three"]);
    assert_eq!(ids(&["scenarios/x"]), ["x/one", "x/two"]);
    assert_eq!(ids(&["hree"]), ["y/three"]);
    assert_eq!(ids(&["--id", "x/"]), ["x/one", "x/two"]);
    assert_eq!(ids(&["--tag", "fast"]), ["x/one"]);
    assert_eq!(ids(&["--skip-tag", "fast"]), ["x/two", "y/three"]);
}

/// A scenario of each status but `pass`, `fail` and `broken`.
fn write_all_statuses(place: &Place) {
    let known = "      known: { outcome: ENOENT, reason: \"as is <known>\", ref: \"https://example.org/1\" }\n";
    let xfail = FAILS.replace(
        "  - stat: { path: nobody, expect: ok }\n",
        &format!("  - stat:\n      path: nobody\n      expect: ok\n{known}"),
    );
    let xpass = xfail.replace("path: nobody", "path: .");
    place.write("scenarios/a/pass.yaml", PASSES);
    place.write("scenarios/a/fail.yaml", FAILS);
    place.write("scenarios/a/skip.yaml", &format!("requires: [aufs]\n{PASSES}"));
    place.write("scenarios/a/timeout.yaml", HANGS);
    place.write("scenarios/a/xfail.yaml", &xfail);
    place.write("scenarios/a/xpass.yaml", &xpass);
}

/// The name of a case, its element in JUnit, and that element's type and message.
fn status_in_junit(case: &quick_junit::TestCase) -> (String, &'static str, String, String) {
    use quick_junit::{NonSuccessKind, TestCaseStatus};
    let (what, kind, message) = match &case.status {
        TestCaseStatus::Success { .. } => ("success", &None, &None),
        TestCaseStatus::Skipped { ty, message, .. } => ("skipped", ty, message),
        TestCaseStatus::NonSuccess { kind: NonSuccessKind::Failure, ty, message, .. } => {
            ("failure", ty, message)
        }
        TestCaseStatus::NonSuccess { kind: NonSuccessKind::Error, ty, message, .. } => {
            ("error", ty, message)
        }
    };
    let text = |text: &Option<quick_junit::XmlString>| {
        text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default()
    };
    (case.name.as_str().to_owned(), what, text(kind), text(message))
}

#[test]
fn junit_can_be_read_back_and_has_every_status_where_ci_systems_look_for_it() {
    use quick_junit::Report;
    let place = Place::new();
    write_all_statuses(&place);
    place.run(User::Own, &["run", "--junit", "out.xml"]).expect_code(1);
    let report = Report::deserialize_from_str(&place.read("out.xml")).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (6, 2, 1));
    assert_eq!(report.test_suites.len(), 1);
    let suite = &report.test_suites[0];
    assert_eq!(suite.name.as_str(), "host");
    assert!(
        suite.test_cases.iter().all(|case| {
            case.classname.as_ref().is_some_and(|class| class.as_str() == "host.a")
        })
    );
    let found: Vec<_> = suite.test_cases.iter().map(status_in_junit).collect();
    let statuses: Vec<_> =
        found.iter().map(|(name, what, kind, _)| (name.as_str(), *what, kind.as_str())).collect();
    assert_eq!(
        statuses,
        [
            ("fail", "failure", "fail"),
            ("pass", "success", ""),
            ("skip", "skipped", "skip"),
            ("timeout", "error", "timeout"),
            ("xfail", "skipped", "xfail"),
            ("xpass", "failure", "xpass"),
        ]
    );
    assert!(found[0].3.starts_with("line 3: stat:"), "{}", found[0].3);
    assert!(found[2].3.contains("aufs"), "{}", found[2].3);
    assert!(found[4].3.contains("as is <known>"), "{}", found[4].3);
    let extra = &suite.test_cases[0].extra;
    let extra = |name: &str| {
        extra
            .iter()
            .find(|(key, _)| key.as_str() == name)
            .map(|(_, value)| value.as_str().to_owned())
    };
    assert_eq!(extra("file").as_deref(), Some("scenarios/a/fail.yaml"));
    assert_eq!(extra("line").as_deref(), Some("3"));
    let told = suite.test_cases[0].system_out.as_ref().unwrap();
    assert_eq!(told.as_str(), "A file that nobody wrote is there");
}

/// What an element of JUnit's XML may have, as the plugins of Jenkins and GitLab want it.
struct Element {
    needs: &'static [&'static str],
    may_have: &'static [&'static str],
    children: &'static [&'static str],
}

fn element_of_junit(name: &str) -> Element {
    let (needs, may_have, children): (&'static [_], &'static [_], &'static [_]) = match name {
        // `skipped` is beyond junit-10.xsd, as are `file` and `line`.
        "testsuites" => {
            (&["name", "tests", "failures", "errors"], &["skipped", "time"], &["testsuite"])
        }
        "testsuite" => (
            &["name", "tests", "failures", "errors", "skipped", "time"],
            &["timestamp", "hostname"],
            &["properties", "testcase"],
        ),
        "properties" => (&[], &[], &["property"]),
        "property" => (&["name", "value"], &[], &[]),
        "testcase" => (
            &["name", "classname", "time"],
            &["file", "line"],
            &["skipped", "error", "failure", "system-out"],
        ),
        "skipped" | "error" | "failure" => (&["type", "message"], &[], &[]),
        "system-out" => (&[], &[], &[]),
        other => panic!("no element {other} is in the schemas"),
    };
    Element { needs, may_have, children }
}

/// Reads the report as one who knows the schemas: elements, their order, their attributes, and the sums.
#[track_caller]
fn expect_junit(xml: &str) {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut roots = 0;
    loop {
        let (start, is_empty) = match reader.read_event().unwrap() {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                open.pop();
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
        let element = element_of_junit(&name);
        match open.last_mut() {
            None => {
                assert_eq!(name, "testsuites");
                roots += 1;
            }
            Some((above, last)) => {
                let order = element_of_junit(above).children;
                let at = order.iter().position(|child| *child == name);
                let at = at.unwrap_or_else(|| panic!("{name} stands in {above}:\n{xml}"));
                assert!(at >= *last, "{name} comes too late in {above}:\n{xml}");
                *last = at;
            }
        }
        let attributes: Vec<(String, String)> = start
            .attributes()
            .map(|attribute| {
                let attribute = attribute.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(attribute.key.as_ref()), text(&attribute.value))
            })
            .collect();
        for needed in element.needs {
            assert!(attributes.iter().any(|(key, _)| key == needed), "{name} lacks {needed}");
        }
        for (key, value) in &attributes {
            let known = element.needs.iter().chain(element.may_have).any(|known| known == key);
            assert!(known, "{name} has {key}");
            if key == "time" {
                let (whole, part) = value.split_once('.').unwrap();
                assert!(part.len() == 3 && format!("{whole}{part}").parse::<u64>().is_ok());
            }
        }
        if !is_empty {
            open.push((name, 0));
        }
    }
    assert_eq!(roots, 1);
}

#[test]
fn junit_is_what_the_schemas_say() {
    let place = Place::new();
    write_all_statuses(&place);
    let hostile = FAILS.replace("A file", "\"]]> \\e[2J \\u202e & <failure/>");
    place.write("scenarios/a/hostile.yaml", &hostile.replace("there\n", "there\"\n"));
    let arguments = ["run", "--on", "host,uml:0.1", "--junit", "out.xml"];
    place.run(User::Own, &arguments).expect_code(1);
    expect_junit(&place.read("out.xml"));
    place.run(User::Own, &["simulate", "--tag", "none", "--junit", "out.xml"]).expect_code(4);
    expect_junit(&place.read("out.xml"));
}

#[test]
fn ktap_has_a_test_a_target_and_a_subtest_a_scenario() {
    let place = Place::new();
    write_all_statuses(&place);
    place.run(User::Own, &["run", "--ktap", "out.ktap"]).expect_code(1);
    let text = place.read("out.ktap");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        &lines[..5],
        ["KTAP version 1", "1..1", "    KTAP version 1", "    # Subtest: host", "    1..6"]
    );
    assert_eq!(lines.last(), Some(&"not ok 1 host"));
    let results: Vec<_> = lines[5..lines.len() - 1]
        .iter()
        .filter(|line| !line.starts_with("    # "))
        .map(|line| line.trim_start())
        .collect();
    assert_eq!(results[0], "not ok 1 a/fail");
    assert_eq!(results[1], "ok 2 a/pass");
    assert!(results[2].starts_with("ok 3 a/skip # SKIP needs aufs"), "{}", results[2]);
    assert_eq!(results[3], "not ok 4 a/timeout # TIMEOUT");
    assert!(results[4].starts_with("ok 5 a/xfail # XFAIL "), "{}", results[4]);
    assert_eq!(results[5], "not ok 6 a/xpass");
    assert_eq!(results.len(), 6);
    let why = lines.iter().position(|line| line.starts_with("    # a/fail: line 3: stat:"));
    assert_eq!(why, lines.iter().position(|line| line.trim_start() == results[0]).map(|at| at - 1));
}

/// What a reader counts: passed, failed, skipped.
#[derive(Debug, Default, PartialEq)]
struct Counts(usize, usize, usize);

/// A line of a result: whether it is `ok`, its number, name and directive.
fn ktap_result(line: &str) -> Option<(bool, usize, &str, Option<&str>)> {
    let (ok, rest) = match line.trim_start().strip_prefix("ok ") {
        Some(rest) => (true, rest),
        None => (false, line.trim_start().strip_prefix("not ok ")?),
    };
    let (number, rest) = rest.split_once(' ')?;
    let (name, directive) = match rest.split_once(" # ") {
        Some((name, directive)) => (name, Some(directive)),
        None => (rest, None),
    };
    (!name.contains('#')).then_some((ok, number.parse().ok()?, name, directive))
}

/// Reads a report as the kernel's own reader does: it knows a result by its name alone, looks for the last
/// ` # SKIP` of a line, and ends where the log of a kernel would.
#[track_caller]
fn expect_ktap(text: &str) -> Counts {
    let ends = ["List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System"];
    assert!(!ends.iter().any(|end| text.contains(end)), "{text}");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("KTAP version 1"));
    let plan = |line: Option<&str>| -> usize {
        line.and_then(|line| line.trim_start().strip_prefix("1..")).unwrap().parse().unwrap()
    };
    let tests = plan(lines.next());
    let mut counts = Counts::default();
    let mut count = |ok: bool, line: &str| match (line.contains(" # SKIP"), ok) {
        (true, _) => counts.2 += 1,
        (false, true) => counts.0 += 1,
        (false, false) => counts.1 += 1,
    };
    for number in 1..=tests {
        let mut line = lines.next().unwrap();
        if line == "    KTAP version 1" {
            let header = lines.next().unwrap().strip_prefix("    # Subtest: ").unwrap();
            let subtests = plan(lines.next());
            assert!(subtests > 0, "a plan of no tests:\n{text}");
            let mut all_ok = true;
            for number in 1..=subtests {
                let result = lines.by_ref().find(|line| !line.starts_with("    # ")).unwrap();
                let (ok, found, name, _) =
                    ktap_result(result).unwrap_or_else(|| panic!("{result}"));
                assert_eq!(found, number, "{text}");
                assert_ne!(name, header, "a result that ends the test:\n{text}");
                all_ok &= ok;
                count(ok, result);
            }
            line = lines.next().unwrap();
            let result = ktap_result(line).unwrap();
            assert_eq!((result.0, result.2), (all_ok, header), "{text}");
        } else {
            count(ktap_result(line).unwrap().0, line);
        }
        assert_eq!(ktap_result(line).unwrap().1, number);
    }
    assert_eq!(lines.next(), None);
    let headers = text.lines().filter(|line| line.trim_start().starts_with("# Subtest: ")).count();
    assert!(headers <= tests, "a reason that is taken for a header:\n{text}");
    counts
}

#[test]
fn no_name_or_reason_is_taken_for_a_line_of_ktap() {
    let place = Place::new();
    write_all_statuses(&place);
    for name in ["host", "Subtest", "a # SKIP b", "reboot: System halted", "x\nok 1 y"] {
        place.write(&format!("scenarios/{name}.yaml"), FAILS);
    }
    let known = place.read("scenarios/a/xfail.yaml").replace("as is", "as is # SKIP");
    place.write("scenarios/a/xfail.yaml", &known);
    let arguments = ["run", "--on", "host,uml:0.1", "--ktap", "out.ktap"];
    place.run(User::Own, &arguments).expect_code(1);
    let text = place.read("out.ktap");
    // Of the first six, beside `pass` `xfail` passes; the target that is not there is skipped.
    assert_eq!(expect_ktap(&text), Counts(2, 3 + 5, 1 + 1), "{text}");
    place.run(User::Own, &["run", "--tag", "none", "--ktap", "out.ktap"]).expect_code(4);
    assert_eq!(expect_ktap(&place.read("out.ktap")), Counts(0, 0, 1));
}

#[test]
fn a_target_that_cannot_be_had_is_in_every_report() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let arguments = ["run", "--on", "host,uml:0.1", "--junit", "out.xml", "--ktap", "out.ktap"];
    let done = place.run(User::Own, &arguments);
    assert_eq!(done.code, Some(4), "{}", done.stdout);
    let report = quick_junit::Report::deserialize_from_str(&place.read("out.xml")).unwrap();
    let names: Vec<_> = report.test_suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(names, ["host", "uml:0.1"]);
    let skipped = &report.test_suites[1].test_cases[0].status;
    assert!(matches!(skipped, quick_junit::TestCaseStatus::Skipped { .. }), "{skipped:?}");
    let text = place.read("out.ktap");
    assert!(text.contains("\nok 2 uml:0.1 # SKIP 1 scenario not asked: "), "{text}");
}

#[test]
fn half_a_run_is_green_in_no_report() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    for name in ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    let arguments = ["run", "--fail-fast", "--jobs", "1", "--junit", "o.xml", "--ktap", "o.ktap"];
    let done = place.run(User::Own, &arguments).expect_code(1);
    assert!(done.stdout.contains("not run"), "{}", done.stdout);
    let report = quick_junit::Report::deserialize_from_str(&place.read("o.xml")).unwrap();
    let last = report.test_suites.last().and_then(|suite| suite.test_cases.last()).unwrap();
    assert_eq!(last.name.as_str(), "every scenario is asked");
    assert_eq!((report.failures, report.errors), (1, 1));
    let text = place.read("o.ktap");
    assert!(text.contains("every scenario is asked # ERROR "), "{text}");
    expect_ktap(&text);
    expect_junit(&place.read("o.xml"));
}

/// Runs as in a step of GitHub's actions.
fn run_on_github(place: &Place, arguments: &[&str]) -> common::Done {
    let mut command = place.command(User::Own);
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", place.path());
    command.env("GITHUB_STEP_SUMMARY", place.path().join("step.md"));
    common::Done::of(command.args(arguments).output().unwrap())
}

/// The workflow commands that GitHub's runner takes from what was printed.
fn workflow_commands(stdout: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut until = None;
    for line in stdout.lines() {
        match (until, line.strip_prefix("::stop-commands::")) {
            (None, Some(token)) => until = Some(token),
            (None, None) if line.trim_start().starts_with("::") || line.contains("##[") => {
                commands.push(line);
            }
            (Some(token), _) if line == format!("::{token}::") => until = None,
            _ => {}
        }
    }
    assert_eq!(until, None, "commands are not taken any more after this:\n{stdout}");
    commands
}

#[test]
fn github_is_told_of_what_failed_at_its_line_and_of_nothing_else() {
    let place = Place::new();
    write_all_statuses(&place);
    place.write("step.md", "before");
    let done = run_on_github(&place, &["run"]).expect_code(1);
    assert_eq!(
        workflow_commands(&done.stdout),
        [
            "::error file=scenarios/a/fail.yaml,line=3,title=fail%3A a/fail (host)::A file that nobody wrote is \
             there%0Aline 3: stat: kernel and model disagree with expect: expected ok, found ENOENT from statx",
            "::error file=scenarios/a/timeout.yaml,line=7,title=timeout%3A a/timeout (host)::Opening a pipe that \
             nobody writes to waits%0Aended after 1 s; line 7: open was running",
            "::error file=scenarios/a/xpass.yaml,line=3,title=xpass%3A a/xpass (host)::A file that nobody wrote is \
             there%0Aline 3: stat: no longer deviates as known (as is <known>; https://example.org/1)",
        ]
    );
    let summary = place.read("step.md");
    assert!(
        summary.starts_with("before\n## nsharness: 3 failed, 2 passed, 1 skipped\n"),
        "{summary}"
    );
    place.write("scenarios/a/fail.yaml", PASSES);
    for name in ["timeout", "xpass"] {
        std::fs::remove_file(place.path().join(format!("scenarios/a/{name}.yaml"))).unwrap();
    }
    let done = run_on_github(&place, &["run"]).expect_code(0);
    assert_eq!(workflow_commands(&done.stdout), [""; 0]);
}

#[test]
fn github_is_told_from_the_root_of_the_repository_and_only_where_it_listens() {
    let place = Place::new();
    place.write("deep/scenarios/a.yaml", FAILS);
    let mut command = place.command(User::Own);
    command.current_dir(place.path().join("deep")).env("GITHUB_WORKSPACE", place.path());
    command.args(["simulate", "scenarios/../scenarios", "--github", "always"]);
    let done = common::Done::of(command.output().unwrap()).expect_code(1);
    assert!(done.stdout.contains("::error file=deep/scenarios/a.yaml,line=3,"), "{}", done.stdout);
    let quiet = place.run(User::Own, &["run", "deep"]).expect_code(1);
    assert!(!quiet.stdout.contains("::"), "{}", quiet.stdout);
    let never = run_on_github(&place, &["run", "deep", "--github", "never"]).expect_code(1);
    assert!(!never.stdout.contains("::"), "{}", never.stdout);
    assert!(!place.exists("step.md"));
}

#[test]
fn no_scenario_gives_github_a_command() {
    let place = Place::new();
    let title = "\"::set-output name=a::b ##[add-mask]c %0A::error::d\"";
    place.write(
        "scenarios/::error::e.yaml",
        &FAILS.replace("A file that nobody wrote is there", title),
    );
    let known = format!(
        "title: {title}\nsteps:\n  - stat: {{ path: nobody, expect: ok, known: {{ outcome: ENOENT, reason: {title}, ref: {title} }} }}\n"
    );
    place.write("scenarios/x.yaml", &known);
    let done = run_on_github(&place, &["run"]).expect_code(1);
    let commands = workflow_commands(&done.stdout);
    assert_eq!(commands.len(), 1, "{commands:?}");
    let expected = "::error file=scenarios/%3A%3Aerror%3A%3Ae.yaml,line=3,title=fail%3A %3A%3Aerror%3A%3Ae (host)\
                    ::::set-output name=a::b ##[add-mask]c %250A::error::d%0A";
    assert!(commands[0].starts_with(expected), "{}", commands[0]);
}

#[test]
fn github_is_told_how_many_annotations_it_does_not_show() {
    let place = Place::new();
    for number in 10..22 {
        place.write(&format!("scenarios/{number}.yaml"), FAILS);
    }
    let done = run_on_github(&place, &["run", "--on", "host,uml:0.1"]).expect_code(1);
    let commands = workflow_commands(&done.stdout);
    let errors: Vec<_> = commands.iter().filter(|line| line.starts_with("::error ")).collect();
    assert_eq!(errors.len(), 10, "{errors:?}");
    assert!(errors[9].starts_with("::error title=nsharness::and 3 more"), "{}", errors[9]);
    let warnings: Vec<_> = commands.iter().filter(|line| line.starts_with("::warning ")).collect();
    let [warning] = warnings[..] else { panic!("{warnings:?}") };
    let expected =
        "::warning title=uml%3A0.1 was not asked::12 scenarios not asked on uml:0.1: needs";
    assert!(warning.starts_with(expected), "{warning}");
}

#[test]
fn a_step_summary_that_cannot_be_written_is_told_after_all_else() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    place.write("step.md/file", "");
    let done = run_on_github(&place, &["run", "--junit", "o.xml"]).expect_code(5);
    assert!(done.stdout.contains("summary: 0 passed, 1 failed"), "{}", done.stdout);
    assert_eq!(workflow_commands(&done.stdout).len(), 1);
    assert!(done.stderr.contains("GITHUB_STEP_SUMMARY: "), "{}", done.stderr);
    expect_junit(&place.read("o.xml"));
}

#[test]
fn a_summary_in_markdown_has_failures_first_and_both_voices() {
    let place = Place::new();
    write_all_statuses(&place);
    place.run(User::Own, &["run", "--markdown", "out.md"]).expect_code(1);
    let text = place.read("out.md");
    let mut from = 0;
    for shown in [
        "## nsharness: 3 failed, 2 passed, 1 skipped\n\n",
        "| 3 | 2 | 1 | 1 timeout, 1 xpass, 1 xfail |\n",
        "### Failures\n\n**fail** <code>a/fail</code> A file that nobody wrote is there<br><code>scenarios/a/fail.yaml:3</code>\n",
        "| line | step | author | kernel | model |\n|--:|---|---|---|---|\n",
        "| 3 | <code>stat</code> | <code>ok</code> | <code>ENOENT from statx</code> | <code>ENOENT from statx</code> |\n",
        "- rule [<code>files.path.missing</code>](https://",
        "**timeout** <code>a/timeout</code>",
        "- ended after 1 s; line 7: open was running\n",
        "**xpass** <code>a/xpass</code>",
        "### Skipped: 1\n\n",
        "| 1 | aufs | not in /proc/filesystems | ",
        "<details><summary>Failed as known: 1 scenario</summary>\n\n- <code>a/xfail</code>: line 3: stat: as is &#60;known&#62;",
    ] {
        let at = text[from..].find(shown);
        from += at.unwrap_or_else(|| panic!("{shown} is not in its place in:\n{text}"));
    }
    place.run(User::Own, &["simulate", "--tag", "none", "--markdown", "out.md"]).expect_code(4);
    let text = place.read("out.md");
    assert!(text.starts_with("## nsharness: nothing was executed\n"), "{text}");
}

#[test]
fn no_scenario_breaks_out_of_the_markdown() {
    let place = Place::new();
    let title = "\"a | b \\\\| c `d` <img src=x> @all #1 [e](https://f.g) **h** </details>\"";
    for number in 10..90 {
        let text = FAILS.replace("A file that nobody wrote is there", title);
        let steps = "  - readlink: { path: 'x|`y`\\|<z>', expect: { target: '|\\|`</code>' } }\n"
            .repeat(20);
        place.write(&format!("scenarios/<b>|`{number}.yaml"), &format!("{text}{steps}"));
    }
    place.run(User::Own, &["simulate", "--markdown", "out.md"]).expect_code(1);
    let text = place.read("out.md");
    assert!(text.len() < 65_536, "{}", text.len());
    assert!(text.contains(" more**, which the log has."), "{text}");
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells = line.matches('|').count();
        assert!([5, 7].contains(&cells), "{line}");
    }
    for forged in ["<img", "<b>", "@all", "#1 ", "](https://f", "**h", "`", "\\"] {
        assert!(!text.contains(forged), "{forged} is in:\n{text}");
    }
}
