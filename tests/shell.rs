//! `nsharness shell`: who goes in is the actor, after the steps that were asked for, and nothing is left behind.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Done, Place, User};
use rustix::pty::{OpenptFlags, grantpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const ACTORS: &str = "\
title: Several actors look at one tree
world:
  tree: { a: { file: one }, inside/b: { file: two } }
  actors:
    plain: { uid: 1000, gid: 1000, groups: [7], umask: 0027 }
    capable: { uid: 1000, caps: [cap_chown, cap_dac_override] }
    poor: { caps: [cap_kill] }
    mapped: { uid: 1000, userns: { uid_map: [[0, 1000, 1]], gid_map: [[0, 1000, 1]], deny_setgroups: true }, unshare: [mount, uts] }
    below: { root: inside, cwd: / }
steps:
  - unlink: { path: a }
  - { mkdir: { as: main, path: made, id: made } }
  - write: { as: mapped, path: inside/c, data: x, expect: EACCES }
  - fork: { as: plain, child: later }
  - exit: { as: capable }
";

const HIDES: &str = "\
title: What an overlay has been told is seen in its layers
world:
  tree: { lower/f: { file: x }, upper: dir, work: dir, merged: dir }
  mounts: [ { overlay: { at: merged, lower: [lower], upper: upper, work: work } } ]
steps:
  - unlink: { path: merged/f }
";

fn place() -> Place {
    let place = Place::new();
    place.write("scenarios/actors.yaml", ACTORS);
    place.write("scenarios/hides.yaml", HIDES);
    place
}

/// What a shell script says that runs as an actor.
fn said(place: &Place, arguments: &[&str], script: &str) -> String {
    let all = [&["shell", "actors"], arguments, &["--", "sh", "-c", script]].concat();
    place.run(User::Own, &all).expect_code(0).stdout
}

#[test]
fn what_is_seen_is_what_the_steps_left() {
    let place = place();
    for (at, seen) in
        [("0", "a inside"), ("1", "inside"), ("made", "inside made"), ("5", "inside made")]
    {
        let said = said(&place, &["--at", at], "echo *");
        let said = said.replace("dev ", "").replace(" proc", "");
        assert_eq!(said.trim(), seen, "after step {at}");
    }
    let done = place.run(User::Own, &["shell", "hides", "--", "stat", "-c", "%F", "upper/f"]);
    assert_eq!(done.expect_code(0).stdout, "character special file\n");
}

#[test]
fn who_goes_in_has_what_the_actor_has() {
    let place = place();
    let ids = "id -u; id -g; id -G; umask; grep -E 'Cap(Prm|Eff)' /proc/self/status | cut -f2 | tr '\\n' ' '";
    let none = "0000000000000000";
    let plain = said(&place, &["--actor", "plain"], ids);
    assert_eq!(plain.trim(), format!("1000\n1000\n1000 7\n0027\n{none} {none}"));
    let later = said(&place, &["--actor", "later"], ids);
    assert_eq!(later, plain, "a child is as its parent");
    let capable = said(&place, &["--actor", "capable", "--at", "4"], ids);
    assert!(capable.ends_with("0000000000000003 0000000000000003 "), "{capable}");
    let poor = said(&place, &["--actor", "poor"], ids);
    assert!(poor.starts_with("0\n"), "{poor}");
    assert!(poor.ends_with("0000000000000020 0000000000000020 "), "{poor}");
    let mapped = "cat /proc/self/uid_map | tr -s ' '; hostname inside && hostname; touch /inside/c";
    let done =
        place.run(User::Own, &["shell", "actors", "--actor", "mapped", "--", "sh", "-c", mapped]);
    let done = done.expect_code(1);
    assert_eq!(done.stdout, " 0 1000 1\ninside\n");
    assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
    assert_eq!(said(&place, &["--actor", "below"], "pwd; echo *").trim(), "/\nb");
}

#[test]
fn what_is_typed_goes_in_and_the_status_comes_out() {
    let place = place();
    let mut child = place
        .command(User::Own)
        .args(["shell", "actors"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than any pipe holds, and a program that does not read it at once.
    let long = "x".repeat(300_000);
    let text =
        format!("sleep 0.3; read line; echo ${{#line}}\n{long}\necho to-stderr >&2; exit 3\n");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = Done::of(child.wait_with_output().unwrap()).expect_code(1);
    assert_eq!(done.stdout, "300000\n");
    assert!(done.stderr.contains("to-stderr"), "{}", done.stderr);
    assert!(done.stderr.contains("line 11: main removes the name a  → ok"), "{}", done.stderr);
}

#[test]
fn an_ordinary_user_has_a_shell_and_nothing_is_left() {
    let place = place();
    let done = place.run(
        User::Ordinary,
        &["shell", "hides", "--", "sh", "-c", "id -u; touch /left; (sleep 999 &)"],
    );
    // Where an ordinary user may not mount overlays the reason is told.
    assert!([Some(0), Some(4)].contains(&done.code), "{}", done.stderr);
    assert!(done.code == Some(4) || done.stdout == "0\n", "{}", done.stdout);
    assert!(!std::path::Path::new("/left").exists());
    let left = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|process| {
        std::fs::read(process.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x00999\x00")
    });
    assert!(!left, "a process is left");
}

#[test]
fn a_terminal_in_front_is_a_terminal_inside() {
    let place = place();
    let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut child = place
        .command(User::Own)
        .args(["shell", "actors"])
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .spawn()
        .unwrap();
    let mut terminal = File::from(ours);
    let mut seen = String::new();
    let mut wait_for = |what: &str, terminal: &mut File| {
        let began = Instant::now();
        let mut bytes = [0; 4096];
        while !seen.contains(what) {
            assert!(began.elapsed() < Duration::from_secs(60), "{what} does not come: {seen}");
            let length = terminal.read(&mut bytes).unwrap();
            seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        seen.clear();
    };
    wait_for("main:/", &mut terminal);
    terminal.write_all(b"stty size\r").unwrap();
    wait_for("33 77", &mut terminal);
    // A key that interrupts is for the program, and not for nsharness.
    terminal.write_all(b"sleep 1000\r").unwrap();
    wait_for("sleep 1000", &mut terminal);
    std::thread::sleep(Duration::from_millis(300));
    terminal.write_all(b"\x03").unwrap();
    wait_for("^C", &mut terminal);
    terminal.write_all(b"echo status=$?\r").unwrap();
    wait_for("status=130", &mut terminal);
    tcsetwinsize(&terminal, Winsize { ws_row: 20, ws_col: 50, ws_xpixel: 0, ws_ypixel: 0 })
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    terminal.write_all(b"stty size\r").unwrap();
    wait_for("20 50", &mut terminal);
    terminal.write_all(b"exit\r").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_guest_has_a_shell_too() {
    let place = place();
    let Some(target) = place.kernel("uml") else { return };
    let script = "stat -c %F upper/f; grep -c . /proc/1/mountinfo >&2; read line && echo \"$line\"";
    let mut child = place
        .command(User::Own)
        .args(["shell", "hides", "--on", &target, "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let done = Done::of(child.wait_with_output().unwrap()).expect_code(0);
    assert_eq!(done.stdout, "character special file\ntyped\n");
}

#[test]
fn what_cannot_be_is_told_with_what_could() {
    let place = place();
    place.write(
        "scenarios/several.yaml",
        "title: t\ncases: { one: { n: a }, two: { n: b } }\nsteps: [ mkdir: { path: \"${case.n}\" } ]\n",
    );
    for (arguments, code, wanted) in [
        (&["shell", "actors", "--at", "9"][..], 2, "actors has 5 steps"),
        (&["shell", "actors", "--at", "mad"], 2, "did you mean `made`?"),
        (&["shell", "actors", "--actor", "plian"], 2, "did you mean `plain`?"),
        (
            &["shell", "actors", "--actor", "later", "--at", "2"],
            2,
            "forked later than after step 2",
        ),
        (&["shell", "actors", "--actor", "capable"], 2, "`--at 4` is before that"),
        (&["shell", "several"], 2, "name one, as several@one, several@two"),
        (&["shell", "actors", "--on", "host,uml"], 2, "name one"),
        (&["shell", "actors", "--on", "recorded:x"], 2, "a recording has no sandbox"),
        (&["shell", "actors", "--", "no-such-program"], 1, "no-such-program is not there"),
        (&["shell", "no-such"], 3, "no such file or directory"),
    ] {
        let done = place.run(User::Own, arguments).expect_code(code);
        assert!(done.stderr.contains(wanted), "{arguments:?}: {}", done.stderr);
    }
}
