//! SIGINT and SIGTERM end a run early; what was reported until then is whole.

mod common;

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{HANGS, PASSES, Place, User, json_lines};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

#[rstest]
fn an_interrupted_run_is_130_and_its_report_whole(
    #[values(Signal::SIGINT, Signal::SIGTERM)] signal: Signal,
) {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("scenarios/b.yaml", &HANGS.replace("timeout: 1", "timeout: 60"));
    let child = place
        .command(User::Own)
        .args(["run", "--jobs", "1", "--json", "out.json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !place.exists("out.json") || !place.read("out.json").contains("\"scenario\"") {
        assert!(began.elapsed() < Duration::from_secs(20), "the first scenario was never reported");
        sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    let done = common::Done::of(child.wait_with_output().unwrap()).expect_code(130);
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
