//! Linux 5.4 has none of the system calls that came later: here a filter answers as it would.
//!
//! What a filter cannot take away is left: fields of statx(2), options of file systems.

mod common;

use std::process::Command;

use common::{Done, Place, User, json_lines, skip};

/// The first system call that is younger: close_range(2) of Linux 5.9. All that are younger have greater numbers, and on
/// all processors the same ones.
const WRAPPER: &str = r#"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | WHICH | BPF_K, CALL, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ANSWER),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {4, program};
    /* Only root may do it without: then newuidmap(1) has no capability. */
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)
        && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))) {
        perror("seccomp");
        return 99;
    }
    execv(argv[1], argv + 1);
    perror(argv[1]);
    return 98;
}
"#;

/// A place with the wrapper, and what runs the command on a kernel of that age. `None` is a skip.
fn older(place: &Place) -> Option<impl Fn(&[&str]) -> Done + '_> {
    filtered(place, ["WHICH=BPF_JGE", "CALL=436", "ANSWER=ENOSYS"])
}

/// The same with a filter that answers to these calls.
fn filtered<'p>(place: &'p Place, what: [&str; 3]) -> Option<impl Fn(&[&str]) -> Done + 'p> {
    let source = place.write("old.c", WRAPPER);
    let wrapper = place.path().join("old");
    let defines = what.map(|define| format!("-D{define}"));
    let compiled = Command::new("cc").args(defines).arg("-o").arg(&wrapper).arg(source).status();
    if !compiled.is_ok_and(|status| status.success()) {
        skip("cc", "there is no C compiler");
        return None;
    }
    Some(move |arguments: &[&str]| {
        let mut command = place.started_by(Command::new(&wrapper), &place.command(User::Own));
        Done::of(command.args(arguments).output().unwrap())
    })
}

#[test]
fn nothing_breaks_where_younger_system_calls_are_missing() {
    let place = Place::new();
    let Some(older) = older(&place) else { return };
    place.copy("scenarios");
    place.copy("snapshots");
    let done = older(&["run", "scenarios", "--quiet", "--json", "report.json"]);
    assert!(matches!(done.code, Some(0 | 1)), "{done:?}");
    let report = place.read("report.json");
    let mut passed = 0;
    for line in json_lines(&report) {
        let Some(status) = line["status"].as_str() else { continue };
        passed += usize::from(status == "pass");
        // The kernel says that it is a new one, and the model and authors believe it.
        let explained = status == "fail" && line.to_string().contains("ENOSYS");
        let fine = ["pass", "skip", "xfail"].contains(&status);
        assert!(fine || explained, "{line}");
    }
    assert!(passed > 300, "only {passed} passed:\n{}", done.stdout);
}

#[test]
fn a_kernel_without_filters_of_calls_is_asked_without_one() {
    let place = Place::new();
    place.write("scenarios/a.yaml", common::PASSES);
    for errno in ["ENOSYS", "EINVAL"] {
        let answer = format!("ANSWER={errno}");
        let Some(without) = filtered(&place, ["WHICH=BPF_JEQ", "CALL=SYS_seccomp", &answer]) else {
            return;
        };
        without(&["run"]).expect_code(0);
    }
    // Where somebody forbids it nothing is asked, and who does is named.
    let forbids = filtered(&place, ["WHICH=BPF_JEQ", "CALL=SYS_seccomp", "ANSWER=EPERM"]);
    let done = forbids.expect("a compiler")(&["run"]).expect_code(4);
    assert!(done.stdout.contains("a seccomp filter is in force"), "{}", done.stdout);
}

#[test]
fn layers_are_read_and_links_heeded_where_openat2_is_missing() {
    let place = Place::new();
    let Some(older) = older(&place) else { return };
    place.write("upper/a/b", "");
    place.write("lower/a/c", "");
    let done = older(&["inspect", "upper", "lower"]).expect_code(0);
    assert!(done.stdout.contains("a/b") && done.stdout.contains("a/c"), "{}", done.stdout);
    place.write("scenarios/a.yaml", common::PASSES);
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), place.path().join("out")).unwrap();
    let done = older(&["simulate", "--json", "out/report.json"]).expect_code(5);
    assert!(done.stderr.contains("leads out of this directory"), "{}", done.stderr);
    assert!(elsewhere.path().read_dir().unwrap().next().is_none());
    older(&["simulate", "--json", "report.json"]).expect_code(0);
    assert!(place.exists("report.json"));
}
