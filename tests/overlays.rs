//! Programs that mount overlays in the kernel's place are held to the same scenarios, and one that mounts nothing is
//! never green.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use common::{Place, User, json_lines, skip, users};
use nsharness::programs;

const PROGRAM: &str = "fuse-overlayfs";

const DELETES: &str = "\
title: A deleted file is not there
world:
  tree: { l/f: file, l/g: file, u: dir, w: dir, m: dir }
  mounts: [ overlay: { at: m, lower: [l], upper: u, work: w, options: [userxattr] } ]
steps:
  - unlink: { path: m/f }
  - list: { path: m, expect: { names: [g] } }
";

/// A scenario that passes wherever no overlay can be mounted.
const REFUSED: &str = "\
title: A layer that is not there is refused
world: { tree: { l: dir, m: dir } }
steps:
  - overlay: { at: m, lower: [l, missing], expect: [ENOENT, refused] }
";

/// Who counts the processes of the program takes turns with everybody else who runs it.
static TURNS: RwLock<()> = RwLock::new(());

fn alone() -> RwLockWriteGuard<'static, ()> {
    TURNS.write().unwrap_or_else(PoisonError::into_inner)
}

fn others() -> RwLockReadGuard<'static, ()> {
    TURNS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the program is here, and everybody may ask FUSE.
fn is_here() -> bool {
    if programs::in_path(PROGRAM).is_none() {
        skip(PROGRAM, "it is not in PATH");
        return false;
    }
    let mode = fs::metadata("/dev/fuse").map_or(0, |device| device.permissions().mode());
    if mode & 0o006 != 0o006 {
        skip(PROGRAM, "/dev/fuse is not open to everybody");
    }
    mode & 0o006 == 0o006
}

/// A program that tells a version, says something, and then does this; `None` without a compiler.
fn fake(place: &Place, name: &str, version: &str, mount: &str) -> Option<String> {
    let version_of = Command::new("cc").arg("--version").stdout(Stdio::null()).status();
    if !version_of.is_ok_and(|status| status.success()) {
        skip("cc", "there is no C compiler");
        return None;
    }
    let source = place.write(
        &format!("{name}.c"),
        &format!(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/mount.h>\n#include <unistd.h>\n\
             int main(int count, char **words) {{\n\
             if (count > 1 && !strcmp(words[1], \"--version\")) {{ {version} }}\n\
             fputs(\"it was not to be\\n\", stderr);\n{mount}\n}}\n"
        ),
    );
    let program = place.path().join(name);
    let status = Command::new("cc").arg("-o").arg(&program).arg(&source).status().unwrap();
    assert!(status.success());
    Some(program.display().to_string())
}

const TELLS: &str = "puts(\"fake: version 1.2\"); return 0;";

#[test]
fn every_overlay_of_the_bundle_is_as_the_scenarios_say() {
    if !is_here() {
        return;
    }
    let _turn = alone();
    let place = Place::new();
    place.copy("scenarios");
    place.copy("snapshots");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let programs = running();
    for user in users() {
        let arguments = ["run", "scenarios/overlay", "scenarios/layers", "--quiet"];
        let named = ["--snapshots", "check", "--overlay", PROGRAM];
        let done = place.run(user, &[&arguments[..], &named[..]].concat()).expect_code(0);
        let line = done.stdout.lines().rfind(|line| line.starts_with(PROGRAM));
        let passed = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
        assert!(passed.is_some_and(|passed| passed > 100), "{}", done.stdout);
    }
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    assert_eq!(running(), programs, "a program outlived its run");
}

/// The processes of the program.
fn running() -> usize {
    let is_it = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim() == PROGRAM)
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|entry| is_it(entry)).count()
}

#[test]
fn what_mounts_nothing_is_broken_and_tells_what_it_said() {
    if !is_here() {
        return;
    }
    let _turn = others();
    for (name, mount, why) in [
        ("idle", "return 0;", "it ended with success and mounted nothing"),
        ("dies", "abort();", "SIGABRT ended it before it mounted anything"),
        ("waits", "for (;;) pause();", "it mounted nothing within 8 s and was killed"),
        ("refuses", "return 3;", "refused by fake"),
    ] {
        let place = Place::new();
        place.write("scenarios/deletes.yaml", DELETES);
        place.write("scenarios/refused.yaml", REFUSED);
        let Some(program) = fake(&place, name, TELLS, mount) else { return };
        let done = place.run(User::Own, &["run", "--overlay", &program]).expect_code(5);
        assert!(done.stdout.contains(why), "{name}: {}", done.stdout);
        assert!(done.stdout.contains("it was not to be"), "{name}: {}", done.stdout);
        assert!(done.stdout.contains("summary: 0 passed, 2 failed"), "{name}: {}", done.stdout);
    }
}

/// Its files answer ENOTCONN from then on, which a scenario may expect.
#[test]
fn a_program_that_dies_meanwhile_is_broken() {
    if !is_here() {
        return;
    }
    let _turn = others();
    let place = Place::new();
    place.write(
        "scenarios/killed.yaml",
        "title: The program is killed\nworld:\n  tree: { l/f: file, m: dir, sh: { program: sh } }\n\
         steps:\n  - overlay: { at: m, lower: [l], by: program }\n  - exec: { path: sh, args: [-c, \"cd /proc; for p in \
         [0-9]*; do read n < $p/comm; case $n in fuse-overlay*) kill -9 $p;; esac; done\"] }\n  \
         - stat: { path: m/f, expect: [ok, ENOTCONN] }\n",
    );
    let done = place.run(User::Own, &["run", "--overlay", PROGRAM]).expect_code(5);
    assert!(done.stdout.contains("SIGKILL ended it by the time of line"), "{}", done.stdout);
}

/// One that ends because nothing is left to do has done nothing wrong.
#[test]
fn a_program_that_ends_meanwhile_is_broken_where_it_says_that_it_failed() {
    if !is_here() {
        return;
    }
    let _turn = others();
    for (name, status, code, said) in [
        ("fails", 3, 5, "it ended with exit status 3 by the time of line"),
        ("a-name-that-is-longer-than-comm", 4, 5, "it ended with exit status 4 by the time of"),
        ("leaves", 0, 0, "summary: 1 passed"),
    ] {
        let place = Place::new();
        // What it mounts is no overlay, but shows the layer, and stays.
        let mount = format!(
            "char *layer = strstr(words[2], \"lowerdir=\") + 9;\nlayer[strcspn(layer, \",:\")] = 0;\n\
             mount(layer, words[count - 1], 0, MS_BIND, 0);\n\
             if (fork()) return 0;\nsetsid();\nclose(1); close(2);\n\
             while (access(\"/end\", F_OK)) usleep(1000);\nreturn {status};"
        );
        let Some(program) = fake(&place, name, TELLS, &mount) else { return };
        place.write(
            "scenarios/ends.yaml",
            "title: The program ends\nworld:\n  tree: { l: dir, u: dir, w: dir, m: dir, sleep: { program: sleep }, sh: { program: sh } }\n\
             steps:\n  - overlay: { at: m, lower: [l], upper: u, work: w, by: program }\n  \
             - exec: { path: sh, args: [-c, \"(exit 7) & :\"] }\n  \
             - mkdir: { path: end }\n  - exec: { path: sleep, args: [\"0.3\"] }\n  - stat: { path: m }\n",
        );
        let done = place.run(User::Own, &["run", "--overlay", &program]).expect_code(code);
        assert!(done.stdout.contains(said), "{name}: {}", done.stdout);
    }
}

/// The kernel has nothing to say where a program mounts.
#[test]
fn what_a_program_says_of_an_error_is_told_by_its_name() {
    if !is_here() {
        return;
    }
    let _turn = others();
    let place = Place::new();
    place.write("scenarios/refused.yaml", &REFUSED.replace("[ENOENT, refused]", "ok"));
    let done = place.run(User::Own, &["run", "--overlay", PROGRAM]).expect_code(1);
    assert!(done.stdout.contains("ENOENT from mount (fuse-overlayfs says: "), "{}", done.stdout);
    assert!(!done.stdout.contains("the kernel says"), "{}", done.stdout);
}

#[test]
fn what_is_no_program_is_told_with_a_remedy() {
    let place = Place::new();
    place.write("scenarios/deletes.yaml", DELETES);
    let script = place.write("script", "#!/bin/sh\n").display().to_string();
    for (program, why) in [
        ("no-such-program", "the overlay program no-such-program: it is not there"),
        ("./no-such-file", "the overlay program ./no-such-file: it is not there"),
        (script.as_str(), "it is a script: name its interpreter instead"),
        ("false", "--version"),
    ] {
        let done = place.run(User::Own, &["run", "--overlay", program]).expect_code(5);
        assert!(done.stderr.contains(why), "{program}: {}", done.stderr);
        assert!(done.stderr.contains('('), "{program}: {}", done.stderr);
    }
    if let Some(program) = fake(&place, "silent", "for (;;) pause();", "return 0;") {
        let done = place.run(User::Own, &["run", "--overlay", &program]).expect_code(5);
        assert!(done.stderr.contains("does not end within 5 s"), "{}", done.stderr);
    }
}

#[test]
fn a_program_that_nobody_named_is_asked_for() {
    let place = Place::new();
    place.write("scenarios/deletes.yaml", &DELETES.replace("options: [userxattr]", "by: program"));
    let done = place.run(User::Own, &["run"]).expect_code(4);
    assert!(done.stdout.contains("needs overlay.program: none was named"), "{}", done.stdout);
    assert!(done.stdout.contains("--overlay fuse-overlayfs"), "{}", done.stdout);
}

#[test]
fn what_only_the_kernel_has_is_no_question_to_a_program() {
    if !is_here() {
        return;
    }
    let _turn = others();
    let place = Place::new();
    place.write("scenarios/index.yaml", &DELETES.replace("userxattr", "index=on"));
    place.write("scenarios/usr.yaml", &DELETES.replace("l/f: file", "l/f: file, usr/f: file"));
    let done = place.run(User::Own, &["run", "--overlay", PROGRAM]).expect_code(4);
    assert!(done.stdout.contains("needs the overlay option index=on"), "{}", done.stdout);
    assert!(done.stdout.contains("/usr for the libraries of fuse-overlayfs"), "{}", done.stdout);
}

#[test]
fn a_matrix_has_a_column_for_the_kernel_and_one_for_the_program() {
    if !is_here() {
        return;
    }
    let _turn = others();
    let place = Place::new();
    place.write("scenarios/passes.yaml", common::PASSES);
    place.copy("scenarios/overlay/merged-directory-nlink.yaml");
    fs::rename(
        place.path().join("merged-directory-nlink.yaml"),
        place.path().join("scenarios/n.yaml"),
    )
    .unwrap();
    let done = place.run(User::Own, &["matrix", "--json", "report", "--overlay", PROGRAM]);
    let done = done.expect_code(0);
    assert!(done.stdout.contains("host") && done.stdout.contains(PROGRAM), "{}", done.stdout);
    let report = json_lines(&place.read("report"));
    let told = |target: &str, id: &str| {
        report.iter().any(|line| line["target"] == target && line["id"] == id)
    };
    assert!(told("host", "n") && told(PROGRAM, "n") && told("host", "passes"));
    assert!(!told(PROGRAM, "passes"), "it has no overlay");
}

/// Only what is named is expected, and only where it is so.
#[test]
fn a_known_deviation_of_a_program_is_strict() {
    if !is_here() {
        return;
    }
    let _turn = others();
    let place = Place::new();
    let known = |version: &str, steps: &str| {
        format!(
            "known: [ {{ when: {{ overlay: \"{PROGRAM}{version}\" }}, steps: {{ {steps} }}, reason: r, ref: f }} ]\n"
        )
    };
    let text = "title: A merged directory has one link\nworld:\n  tree: { l/d: dir, u/d: dir, o: dir, w: dir, m: dir }\n  \
                mounts: [ overlay: { at: m, lower: [l], upper: u, work: w } ]\n";
    let steps = "steps: [ stat: { path: m/d, expect: { nlink: 1 } }, stat: { path: o, expect: { nlink: 2 } } ]\n";
    for (known, code, said) in [
        (known("", "1: { nlink: 2 }"), 0, "xfail"),
        (known(" >=0.1", "1: { nlink: 2 }"), 0, "xfail"),
        (known(" <0.1", "1: { nlink: 2 }"), 1, "fuse-overlayfs disagrees with expect and model"),
        (known("", "1: { nlink: 3 }"), 1, "and it is known as"),
        (known("", "1: { nlink: 2 }, 2: ENOENT"), 1, "no longer deviates as known"),
    ] {
        place.write("scenarios/nlink.yaml", &format!("{text}{known}{steps}"));
        let done = place.run(User::Own, &["run", "--overlay", PROGRAM]).expect_code(code);
        assert!(done.stdout.contains(said), "{known}: {}", done.stdout);
    }
    for (steps, why) in [("3: ok", "there is no step 3"), ("0: ok", "there is no step 0")] {
        place.write(
            "scenarios/nlink.yaml",
            &format!(
                "{text}{}{}",
                known("", steps),
                "steps: [ stat: { path: m }, stat: { path: l } ]\n"
            ),
        );
        let done = place.run(User::Own, &["check"]).expect_code(3);
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
}

/// What a search finds of the program, the kernel does not do: the same trials find nothing of it.
#[test]
fn a_search_asks_the_program_and_says_so() {
    if !is_here() {
        return;
    }
    let _turn = alone();
    let place = Place::new();
    let programs = running();
    let search = ["search", "overlay", "--seed", "9", "--count", "5", "--overlay"];
    place.run(User::Own, &[&search[..], &["kernel"]].concat()).expect_code(0);
    for user in users() {
        let out = format!("found-{user:?}");
        let further = [PROGRAM, "--repro", "sh,c", "--out", &out];
        let done = place.run(user, &[&search[..], &further].concat()).expect_code(1);
        assert!(done.stdout.contains("(host through fuse-overlayfs 1."), "{}", done.stdout);
        assert!(done.stdout.contains(", fuse-overlayfs 1."), "{}", done.stdout);
        assert!(done.stdout.contains("a script can call that"), "{}", done.stdout);
        let found = fs::read_dir(place.path().join(&out)).unwrap().flatten();
        let found: Vec<_> = found.map(|entry| entry.path()).collect();
        let ending = |ending: &'static str| {
            found.iter().filter(move |file| file.extension().is_some_and(|e| e == ending))
        };
        let shows = ending("sh").filter(|script| {
            let shown = Command::new("sh").arg(script).stderr(Stdio::null()).output().unwrap();
            shown.status.code() == Some(1)
        });
        assert!(shows.count() > 0, "no script shows what was found: {found:?}");
        assert_eq!(running(), programs, "a program outlived its script");
        // A finding is a scenario, which fails through the program alone.
        let of_step = |file: &&std::path::PathBuf| {
            fs::read_to_string(file).is_ok_and(|text| text.contains(", expect: "))
        };
        let scenario = ending("yaml").find(of_step).expect("a step that deviates");
        let scenario = scenario.display().to_string();
        place.run(user, &["run", &scenario, "--overlay", PROGRAM]).expect_code(1);
        place.run(user, &["run", &scenario]).expect_code(0);
    }
    let left_out = ["search", "rename", "--count", "300", "--overlay", PROGRAM];
    let done = place.run(User::Own, &left_out);
    assert!(
        done.stdout.contains("trials were left out, for the overlay option"),
        "{}",
        done.stdout
    );
    let wrong = place.run(User::Own, &["search", "idmap", "--overlay", PROGRAM]).expect_code(2);
    assert!(wrong.stderr.contains("overlay, rename or a scenario"), "{}", wrong.stderr);
}
