//! SIGINT, SIGTERM and SIGHUP end a run early; what was reported until then is whole, and nothing is left behind.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::machine::{below, names};
use common::{Done, HANGS, PASSES, Place, User, json_lines};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

/// Waits until something holds.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        sleep(Duration::from_millis(2));
    }
}

fn send(child: &Child, signal: Signal) {
    let _ = kill(Pid::from_raw(child.id() as i32), signal);
}

/// Whether there are processes of the binary of a place, or of a kernel in its cache.
fn has_processes(place: &Path) -> bool {
    below(1).into_iter().any(|process| process.exe.is_some_and(|exe| exe.starts_with(place)))
}

#[rstest]
fn an_interrupted_run_is_130_and_its_report_whole(
    #[values(Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP)] signal: Signal,
) {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", &HANGS.replace("timeout: 1", "timeout: 60"));
    let child = place
        .interruptible()
        .args(["run", "--jobs", "1", "--json", "out.json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !place.exists("out.json") || !place.read("out.json").contains("\"scenario\"") {
        assert!(began.elapsed() < Duration::from_secs(20), "the first scenario was never reported");
        sleep(Duration::from_millis(5));
    }
    send(&child, signal);
    let done = Done::of(child.wait_with_output().unwrap()).expect_code(130);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(done.stdout.contains("pass    a"), "{}", done.stdout);
    assert!(done.stdout.contains("interrupted"), "{}", done.stdout);
    assert!(
        done.stdout.ends_with("summary: 1 passed, 0 failed, 0 skipped, 1 not run\n"),
        "{}",
        done.stdout
    );
    let events = json_lines(&place.read("out.json"));
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["environment", "scenario", "summary"]);
    assert_eq!(events[2]["interrupted"], true);
    assert_eq!(events[2]["not_run"], 1);
}

/// Wherever a signal comes, the reports are whole or are not there, and the status says which.
#[rstest]
#[case("host")]
#[case("uml")]
fn a_signal_at_any_time_leaves_nothing(#[case] target: &str) {
    let place = Place::new();
    for number in 0..60 {
        place.write(&format!("scenarios/{number}.yaml"), PASSES);
    }
    let target = match target {
        "uml" => match place.kernel("uml") {
            Some(kernel) => kernel,
            None => return,
        },
        host => host.to_owned(),
    };
    let reports = ["--json", "out.json", "--html", "out.html", "--record", "recording"];
    let arguments = [&["run", "--on", &target][..], &reports].concat();
    let began = Instant::now();
    place.run(User::Own, &arguments).expect_code(0);
    let takes = began.elapsed();
    let before = names(place.path());
    let mut statuses = Vec::new();
    let turns = if target == "host" { 16 } else { 8 };
    for turn in 0..turns {
        let signal = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP][turn as usize % 3];
        for report in reports.iter().skip(1).step_by(2) {
            let _ = std::fs::remove_file(place.path().join(report));
        }
        let mut command = place.interruptible();
        let mut child = command.args(&arguments).stdout(Stdio::null()).spawn().unwrap();
        sleep(takes * turn / turns);
        send(&child, signal);
        let began = Instant::now();
        let status = child.wait().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        until("a process is left", || !has_processes(place.path()));
        let names = names(place.path());
        assert!(names.is_subset(&before), "{names:?}");
        let read = |name| if place.exists(name) { place.read(name) } else { String::new() };
        let (json, html, recording) = (read("out.json"), read("out.html"), read("recording"));
        match status.code() {
            // Before a run begins there is nothing to be told.
            None => assert!(json.is_empty() && html.is_empty() && recording.is_empty(), "{json}"),
            Some(code) => {
                let events = json_lines(&json);
                let summary = events.last().unwrap();
                assert_eq!(summary["event"], "summary", "{json}");
                assert_eq!(summary["interrupted"], code == 130, "{status} {summary}");
                let told = events.iter().filter(|event| event["event"] == "scenario");
                assert!(told.clone().all(|event| event["status"] == "pass"), "{json}");
                assert_eq!(summary["passed"], told.count());
                let all =
                    summary["passed"].as_u64().unwrap() + summary["not_run"].as_u64().unwrap();
                assert_eq!(all, 60, "{summary}");
                assert!(html.trim_end().ends_with("</html>"));
                assert!(code == 130 || code == 0 && summary["passed"] == 60, "{status}");
            }
        }
        statuses.push(status.code());
    }
    assert!(statuses.contains(&Some(130)), "{statuses:?}");
}

/// Somebody in a hurry does not have to wait, and leaves nothing either.
#[rstest]
fn a_second_signal_kills_at_once(#[values(Signal::SIGINT, Signal::SIGHUP)] second: Signal) {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", &HANGS.replace("timeout: 1", "timeout: 60"));
    let mut command = place.interruptible();
    command.args(["run", "--jobs", "1", "--json", "out.json"]).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    until("the first scenario is never reported", || {
        place.exists("out.json") && place.read("out.json").contains("\"scenario\"")
    });
    // Stopped, it takes note of neither before both are there.
    send(&child, Signal::SIGSTOP);
    send(&child, Signal::SIGTERM);
    send(&child, second);
    // One that comes while its handler runs comes once more.
    send(&child, Signal::SIGCONT);
    let status = child.wait().unwrap();
    assert!(status.signal().is_some(), "{status}");
    until("a process is left", || !has_processes(place.path()));
    let merged = place.run(User::Own, &["merge", "out.json"]);
    assert_ne!(merged.code, Some(0), "{}", merged.stdout);
}

/// nohup(1) has SIGHUP ignored, a shell SIGINT of what it starts in the background.
#[test]
fn what_whoever_started_a_run_has_ignored_stays_ignored() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", &HANGS.replace("timeout: 1", "timeout: 2"));
    let inner = place.command(User::Own);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT; exec \"$0\" run --jobs 1 --json out.json"]);
    command.arg(inner.get_program()).current_dir(place.path());
    command.env("NSHARNESS_CACHE", place.path().join("cache"));
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    until("the first scenario is never reported", || {
        place.exists("out.json") && place.read("out.json").contains("\"scenario\"")
    });
    send(&child, Signal::SIGHUP);
    send(&child, Signal::SIGINT);
    let done = Done::of(child.wait_with_output().unwrap()).expect_code(1);
    assert!(done.stdout.contains("timeout b"), "{}", done.stdout);
    assert!(!done.stdout.contains("interrupted"), "{}", done.stdout);
}

/// A run that is stopped for longer than its scenarios may take: where only the run itself is, as by Ctrl-Z, nothing comes
/// of it; where all of its processes are, as by a frozen cgroup, what was being asked took too long, and that is told.
#[rstest]
fn a_run_that_is_stopped_and_goes_on_tells_no_pass_that_was_none(
    #[values(false, true)] everybody: bool,
) {
    let place = Place::new();
    for number in 0..150 {
        place.write(
            &format!("scenarios/{number}.yaml"),
            &PASSES.replace("steps:", "timeout: 1\nsteps:"),
        );
    }
    let mut command = place.command(User::Own);
    command.args(["run", "--jobs", "2", "--json", "out.json"]).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    until("the first scenario is never reported", || {
        place.exists("out.json") && place.read("out.json").contains("\"scenario\"")
    });
    send(&child, Signal::SIGSTOP);
    let mut stopped = Vec::new();
    if everybody {
        stopped = below(child.id() as i32);
        for process in &stopped {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGSTOP);
        }
    }
    sleep(Duration::from_millis(2500));
    for process in &stopped {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGCONT);
    }
    send(&child, Signal::SIGCONT);
    let done = Done::of(child.wait_with_output().unwrap());
    let events = json_lines(&place.read("out.json"));
    let of = |status: &str| events.iter().filter(|event| event["status"] == status).count();
    let (passed, late) = (of("pass"), of("timeout"));
    assert_eq!(passed + late, 150, "{}", done.stdout);
    // Those that two workers were at.
    assert!(late <= if everybody { 2 } else { 0 }, "{}", done.stdout);
    assert_eq!(done.code, Some(i32::from(late > 0)), "{}", done.stdout);
    for event in events.iter().filter(|event| event["status"] == "pass") {
        let steps = event["steps"].as_array().unwrap();
        assert!(steps.len() == 2 && steps.iter().all(|step| step["status"] == "pass"), "{event}");
    }
}
