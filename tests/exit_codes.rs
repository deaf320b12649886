//! What a run means to the shell: each code, by causing it.

mod common;

use std::process::Command;

use common::{FAILS, HANGS, PASSES, Place, User};

#[test]
fn all_as_expected_is_0() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let done = place.run(User::Own, &["run", "scenarios"]).expect_code(0);
    assert!(done.stdout.ends_with("summary: 1 passed, 0 failed, 0 skipped\n"), "{}", done.stdout);
}

#[test]
fn a_failure_is_1_and_shows_line_caret_voices_and_next_command() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    let done = place.run(User::Own, &["run", "scenarios"]).expect_code(1);
    for shown in [
        "scenarios/a.yaml:3:5",
        "stat: { path: nobody, expect: ok }",
        "^^^^",
        "= expect: ok",
        "= kernel: ENOENT from statx",
        "= model: ENOENT from statx",
        "next: nsharness explain a",
        "summary: 0 passed, 1 failed, 0 skipped",
    ] {
        assert!(done.stdout.contains(shown), "{shown} is not in:\n{}", done.stdout);
    }
}

#[test]
fn a_step_without_expectation_that_fails_is_a_failure_where_the_kernel_speaks_alone() {
    let place = Place::new();
    place.write("scenarios/a.yaml", "title: t\nsteps:\n  - unlink: { path: nobody }\n");
    let done = place.run(User::Own, &["run", "--witness", "kernel"]).expect_code(1);
    assert!(done.stdout.contains("nothing says that it may fail"), "{}", done.stdout);
    assert!(done.stdout.contains("next: nsharness run scenarios/a.yaml --keep evidence"));
}

#[rstest::rstest]
#[case::in_the_first_process("", 7)]
// Such an actor is asked for both steps at one go.
#[case::in_a_process_of_its_own("  actors: { main: { unshare: [uts] } }\n", 8)]
fn a_timeout_is_1_and_names_the_step_that_was_running(#[case] actors: &str, #[case] line: usize) {
    let place = Place::new();
    place.write("scenarios/a.yaml", &HANGS.replace("world:\n", &format!("world:\n{actors}")));
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(done.stdout.contains("timeout a"), "{}", done.stdout);
    let running = format!("line {line}: open was running");
    assert!(done.stdout.contains(&running), "{}", done.stdout);
}

#[test]
fn a_known_deviation_is_0_and_one_that_is_gone_is_1() {
    let place = Place::new();
    let known = |outcome: &str| {
        format!(
            "title: t\nsteps:\n  - stat: {{ path: {outcome}, expect: ok, known: {{ outcome: ENOENT, reason: why, ref: where }} }}\n"
        )
    };
    place.write("scenarios/a.yaml", &known("nobody"));
    let done = place.run(User::Own, &["run"]).expect_code(0);
    assert!(
        done.stdout.contains("xfail   a") && done.stdout.contains("why (where)"),
        "{}",
        done.stdout
    );
    place.write("scenarios/a.yaml", &known("."));
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(done.stdout.contains("xpass   a"), "{}", done.stdout);
    // Another failure than the known one is not the known one.
    place.write("scenarios/a.yaml", &known("nobody").replace("ENOENT", "EPERM"));
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(done.stdout.contains("fail    a"), "{}", done.stdout);
}

#[test]
fn what_is_known_of_one_value_excuses_no_other() {
    let place = Place::new();
    let known = "known: { outcome: { mode: 0644 }, reason: r, ref: x }";
    for (size, code) in [(4, 0), (5, 1)] {
        place.write(
            "scenarios/a.yaml",
            &format!(
                "title: t\nworld: {{ tree: {{ f: {{ file: text }} }} }}\nsteps:\n  \
                 - stat: {{ path: f, expect: {{ mode: 0600, size: {size} }}, {known} }}\n"
            ),
        );
        for command in ["run", "simulate"] {
            let done = place.run(User::Own, &[command]).expect_code(code);
            let says = done.stdout.contains("expected size 5, found 4");
            assert!(code == 0 || says || command == "simulate", "{}", done.stdout);
        }
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    let place = Place::new();
    place.run(User::Own, &["run", "--no-such-flag"]).expect_code(2);
    place.run(User::Own, &["fly"]).expect_code(2);
    place.run(User::Own, &[]).expect_code(2);
    place.run(User::Own, &["run", "--jobs", "0"]).expect_code(2);
}

#[test]
fn an_invalid_file_is_3_and_nothing_is_run() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", "title: t\nsteps:\n  - unlinc: { path: a }\n");
    let done = place.run(User::Own, &["run"]).expect_code(3);
    assert!(done.stdout.is_empty(), "{}", done.stdout);
    assert!(done.stderr.contains("did you mean `unlink`?"), "{}", done.stderr);
    place.run(User::Own, &["run", "no/such/file.yaml"]).expect_code(3);
}

#[test]
fn a_run_that_executed_nothing_is_4() {
    let place = Place::new();
    place.write("scenarios/a.yaml", &format!("requires: [aufs]\n{PASSES}"));
    let done = place.run(User::Own, &["run"]).expect_code(4);
    assert!(done.stdout.contains("needs aufs: not in /proc/filesystems"), "{}", done.stdout);
    let done = place.run(User::Own, &["run", "--tag", "nobody-has-this"]).expect_code(4);
    assert!(done.stdout.ends_with("summary: 0 passed, 0 failed, 0 skipped\n"), "{}", done.stdout);
}

#[test]
fn a_world_that_cannot_be_set_up_is_5_and_never_a_pass() {
    let place = Place::new();
    let world = "title: t\nworld:\n  tree: { a: file }\n  mounts: [ bind: { from: nobody, at: a } ]\nsteps:\n  - stat: { path: a }\n";
    place.write("scenarios/a.yaml", world);
    let done = place.run(User::Own, &["run"]).expect_code(5);
    assert!(done.stdout.contains("broken  a"), "{}", done.stdout);
    assert!(done.stdout.contains("world: line 4: bind: ENOENT from mount"), "{}", done.stdout);
    assert!(done.stdout.ends_with("summary: 0 passed, 1 failed, 0 skipped\n"), "{}", done.stdout);
}

#[test]
fn fail_fast_ends_the_run_and_counts_the_rest() {
    let place = Place::new();
    place.write("scenarios/a.yaml", FAILS);
    for name in ["b", "c", "d", "e", "f", "g", "h"] {
        place.write(&format!("scenarios/{name}.yaml"), PASSES);
    }
    let done = place.run(User::Own, &["run", "--fail-fast", "--jobs", "1"]).expect_code(1);
    assert!(done.stdout.contains("not run"), "{}", done.stdout);
}

#[test]
fn help_documents_every_exit_code() {
    let place = Place::new();
    let done = place.run(User::Own, &["--help"]).expect_code(0);
    for (code, meaning) in nsharness::exit_code::ExitCode::TABLE {
        assert!(done.stdout.contains(&format!("{}  {meaning}", *code as u8)), "{}", done.stdout);
    }
}

#[test]
fn shells_and_manual_pages_know_every_command() {
    let place = Place::new();
    let help = place.run(User::Own, &["--help"]).expect_code(0).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 15, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(User::Own, &["completions", shell]).expect_code(0).stdout;
        for command in &commands {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
        assert!(script.contains("snapshots"), "{shell} does not know --snapshots");
        let file = place.write(shell, &script);
        match Command::new(shell).arg("-n").arg(&file).status() {
            Ok(status) => assert!(status.success(), "{shell} cannot read it"),
            Err(_) => eprintln!("skipped: there is no {shell} here"),
        }
    }
    place.run(User::Own, &["man", "man1"]).expect_code(0);
    for command in commands.iter().filter(|command| **command != "help") {
        let page = place.read(&format!("man1/nsharness-{command}.1"));
        assert!(page.contains(".TH nsharness-"), "{page}");
    }
    assert!(place.read("man1/nsharness.1").contains("Exit status"));
    let wrong = place.run(User::Own, &["man", "/proc/nothing"]).expect_code(5);
    assert!(wrong.stderr.contains("/proc/nothing"), "{}", wrong.stderr);
}

#[test]
fn who_mistypes_an_id_is_told_which_was_meant() {
    let place = Place::new();
    place.write("scenarios/overlay/whiteout.yaml", PASSES);
    for (typed, meant) in [("overlay/whiteuot", "overlay/whiteout"), ("whiteot", "whiteout")] {
        let wrong = place.run(User::Own, &["run", typed]).expect_code(3);
        assert!(wrong.stderr.contains(&format!("did you mean `{meant}`?")), "{}", wrong.stderr);
    }
}
