//! `nsharness record` and `--trace`: what a program or a step asks of the kernel is told as it was, and what is
//! recorded is a scenario that passes.

mod common;

use std::fs;

use common::{Done, Place, User};

/// Records a program of a shell, and gives the scenario.
fn record(place: &Place, user: User, arguments: &[&str], script: &str) -> (String, Done) {
    let out = ["record", "--out", "recorded.yaml"];
    let all = [&out[..], arguments, &["--", "sh", "-c", script]].concat();
    let _ = fs::remove_file(place.path().join("recorded.yaml"));
    let done = place.run(user, &all).expect_code(0);
    (place.read("recorded.yaml"), done)
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        let found = rest.find(line);
        let found =
            found.unwrap_or_else(|| panic!("`{line}` is not there, or not in this order:\n{text}"));
        rest = &rest[found + line.len()..];
    }
}

#[test]
fn what_was_recorded_passes() {
    let place = Place::new();
    let script = "mkdir d; echo one > d/f; echo two >> d/f; cat d/f; mv d e; ln -s f e/g; rmdir missing; \
                  cp e/f c; (cd e; chmod 600 f); umask 077; mkdir -p x/y; rm -r x; chown 5:6 c";
    let (text, done) = record(&place, User::Own, &[], script);
    assert!(done.stderr.contains("one\ntwo\n"), "what it prints is seen: {}", done.stderr);
    has(
        &text,
        &[
            "- mkdir: { path: d, mode: 0777 }",
            "- write: { path: d/f, data: \"one\\n\", mode: 0666 }",
            "- write: { path: d/f, data: \"two\\n\", append: true, mode: 0666 }",
            "- read: { path: d/f, expect: { data: \"one\\ntwo\\n\" } }",
            "- rename: { from: d, to: e",
            "- symlink: { target: f, path: e/g }",
            "- rmdir: { path: missing, expect: ENOENT }",
            "data: \"one\\ntwo\\n\" }",
            "- fork: { child: child1 }",
            "- chdir: { as: child1, path: ",
            "- chmod: { as: child1, path: f, mode: 0600 }",
            "- exit: { as: child1 }",
            "- umask: { as: child2, mode: 0077 }",
            "- mkdir: { as: child2, path: x, mode: 0777 }",
            "- mkdir: { as: child2, path: ",
            "- rmdir: { path: /x/y }",
            "- rmdir: { path: x }",
            "- chown: { path: c, uid: 5, gid: 6 }",
        ],
    );
    place.run(User::Own, &["run", "recorded.yaml"]).expect_code(0);
}

#[test]
fn mounts_namespaces_and_what_has_no_step_are_recorded() {
    let place = Place::new();
    let script = "mkdir a b; mount -t tmpfs -o size=1m none a; mount --bind a b; mount --make-shared a; \
                  umount b; umount -l a; unshare -u hostname inside";
    let (text, _) = record(&place, User::Own, &["--title", "Mounts come and go"], script);
    has(
        &text,
        &[
            "title: \"Mounts come and go\"",
            "- mount: { type: tmpfs, at: /a",
            "options: [size=1m]",
            "- bind: { from: /a, at: /b }",
            "- propagation: { at: /a, type: shared }",
            "- umount: { at: /b",
            "- umount: { at: /a, flags: [detach",
            "- fork: { child: child1 }",
            "- unshare: { as: child1, namespaces: [uts] }",
            "- sethostname: { as: child1, name: inside }",
        ],
    );
    place.run(User::Own, &["run", "recorded.yaml"]).expect_code(0);
    let (text, done) =
        record(&place, User::Own, &[], "mkdir a; unshare -f --mount-proc -p -m true");
    has(&text, &["- mkdir: { path: a", "- unshare: { as: child1, namespaces: ["]);
    assert!(done.stderr.contains("steps recorded in recorded.yaml"), "{}", done.stderr);
    let (text, done) = record(&place, User::Own, &[], "printf '\\377' > f; mkdir a");
    has(&text, &["# main: write(", "its data are no text", "- mkdir: { path: a"]);
    assert!(done.stderr.contains("1 call has no step and is a comment"), "{}", done.stderr);
}

#[test]
fn a_program_is_recorded_in_the_world_of_a_scenario() {
    let place = Place::new();
    place.write(
        "scenarios/base.yaml",
        "title: t\nworld:\n  tree: { lower/f: { file: x }, upper: dir, work: dir, merged: dir }\n  mounts: \
         [ { overlay: { at: merged, lower: [lower], upper: upper, work: work } } ]\nsteps:\n  - mkdir: { path: \
         merged/d }\n  - unlink: { path: merged/f }\n",
    );
    let (text, _) =
        record(&place, User::Own, &["--in", "base", "--at", "1"], "rm -r merged/f merged/d");
    has(
        &text,
        &[
            "lower/f: { file: x }",
            "overlay: { at: merged",
            "- mkdir: { path: merged/d }",
            "- unlink: { path: merged/f }",
            "- rmdir: { path: merged/d }",
        ],
    );
    place.run(User::Own, &["run", "recorded.yaml"]).expect_code(0);
    let (text, _) = record(&place, User::Own, &["--in", "base", "--lookups"], "test -e merged/f");
    has(&text, &["path: merged/f", "expect: ENOENT"]);
}

#[test]
fn an_ordinary_user_records_too_and_a_guest_is_recorded() {
    let place = Place::new();
    let (text, _) = record(&place, User::Ordinary, &[], "mkdir a; echo x > a/f");
    has(&text, &["- mkdir: { path: a", "- write: { path: a/f, data: \"x\\n\""]);
    let Some(target) = place.kernel("uml") else { return };
    let (text, _) = record(&place, User::Own, &["--on", &target], "mkdir a; mv a b");
    has(&text, &[&target, "- mkdir: { path: a", "- rename: { from: a, to: b"]);
}

#[test]
fn a_program_that_asks_nothing_is_no_scenario() {
    let place = Place::new();
    let done = place.run(User::Own, &["record", "--", "true"]).expect_code(4);
    assert!(done.stderr.contains("`true` asked nothing that a step says"), "{}", done.stderr);
    assert_eq!(done.stdout, "");
    let done = place.run(User::Own, &["record", "--", "no-such-program"]).expect_code(4);
    assert!(done.stderr.contains("no-such-program is not there"), "{}", done.stderr);
}

const TRACED: &str = "\
title: Steps are traced
world:
  tree: { a: dir, tool: { program: credentials } }
  actors: { other: { uid: 0 } }
steps:
  - rmdir: { path: a }
  - rmdir: { as: other, path: a, expect: ENOENT }
  - chown: { path: tool, uid: 0, gid: 0 }
  - exec: { path: tool, args: [] }
";

#[test]
fn each_step_is_told_with_its_calls() {
    let place = Place::new();
    place.write("scenarios/traced.yaml", TRACED);
    for user in [User::Own, User::Ordinary] {
        let done = place.run(user, &["run", "traced", "--trace"]).expect_code(0);
        has(
            &done.stdout,
            &[
                "pass    traced",
                "        line 6: main: rmdir\n          unlinkat(AT_FDCWD, \"a\", AT_REMOVEDIR) = 0\n",
                "        line 7: other: rmdir\n",
                "unlinkat(AT_FDCWD, \"a\", AT_REMOVEDIR) = -1 ENOENT (No such file or directory)\n",
                "        line 8: main: chown\n          fchownat(AT_FDCWD, \"tool\", 0, 0, ",
                "        line 9: main: exec\n",
                "[child 1] execve(\"tool\", …, …) = 0",
                "[child 1] exit_group(0) = ?",
            ],
        );
    }
    let done = place
        .run(User::Own, &["shell", "traced", "--at", "1", "--trace", "--", "true"])
        .expect_code(0);
    has(
        &done.stderr,
        &["line 6: main removes", "       unlinkat(AT_FDCWD, \"a\", AT_REMOVEDIR) = 0\n"],
    );
    let Some(target) = place.kernel("uml") else { return };
    let done = place.run(User::Own, &["run", "traced", "--trace", "--on", &target]).expect_code(0);
    has(
        &done.stdout,
        &["line 6: main: rmdir\n          unlinkat(AT_FDCWD, \"a\", AT_REMOVEDIR) = 0\n"],
    );
}

#[test]
fn a_step_that_hangs_is_traced_to_where_it_does() {
    let place = Place::new();
    place.write("scenarios/hangs.yaml", common::HANGS);
    let done = place.run(User::Own, &["run", "hangs", "--trace"]).expect_code(1);
    has(&done.stdout, &["timeout hangs", "line 7: main: open\n", "\"pipe\", O_RDONLY", ") = ?\n"]);
}
