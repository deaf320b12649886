//! Loop devices and FUSE servers end with their scenario, however it ends. They are asked of the machine
//! that runs the tests, as real root: only where `NSHARNESS_REQUIRE` names `root`.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Place, User};

/// It mounts a disk and a directory through FUSE, and waits for ever.
const WAITS: &str = "\
title: A disk is mounted when the scenario is ended
requires: [root]
timeout: TIME
world:
  tree: { disk: { image: IMAGE }, devices: dir, mnt: dir, served: dir, pipe: fifo }
  mounts:
    - mount: { type: tmpfs, at: devices }
    - losetup: { file: disk, at: devices/disk }
    - mount: { type: IMAGE, source: devices/disk, at: mnt }
    - fuse: { from: mnt, at: served }
steps:
  - write: { path: served/f, data: x }
  - open: { path: pipe }
";

/// One test at a time looks at the loop devices of the machine. `None` is a skip.
fn allowed() -> Option<MutexGuard<'static, ()>> {
    static MACHINE: Mutex<()> = Mutex::new(());
    let required = std::env::var("NSHARNESS_REQUIRE").unwrap_or_default();
    if common::is_root() && required.split(',').any(|name| name == "root") {
        return Some(MACHINE.lock().unwrap_or_else(PoisonError::into_inner));
    }
    eprintln!("skipped: NSHARNESS_REQUIRE must name `root`, on a machine that may be harmed");
    None
}

/// The loop devices that have a file.
fn attached() -> BTreeSet<String> {
    let devices = fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path());
    let attached = devices.filter(|path| path.join("loop").is_dir());
    attached.map(|path| path.display().to_string()).collect()
}

/// The kernel takes a moment to take everything down.
#[track_caller]
fn nothing_is_left(before: &BTreeSet<String>) {
    let began = Instant::now();
    while &attached() != before {
        assert!(began.elapsed() < Duration::from_secs(10), "{:?} and {before:?}", attached());
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_scenario_that_takes_too_long_leaves_no_loop_device() {
    let Some(_machine) = allowed() else { return };
    let place = Place::new();
    let before = attached();
    for image in ["ext4", "xfs", "btrfs"] {
        let text = WAITS.replace("IMAGE", image).replace("TIME", "1");
        place.write(&format!("scenarios/{image}.yaml"), &text);
    }
    let done = place.run(User::Own, &["run", "--privileged"]).expect_code(1);
    assert!(done.stdout.contains("3 not ended in time"), "{}", done.stdout);
    nothing_is_left(&before);
}

#[test]
fn a_run_that_is_killed_leaves_no_loop_device() {
    let Some(_machine) = allowed() else { return };
    let place = Place::new();
    let before = attached();
    let text = WAITS.replace("IMAGE", "ext4").replace("TIME", "60");
    place.write("scenarios/waits.yaml", &text);
    let mut child = place
        .command(User::Own)
        .args(["run", "--privileged"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    // The probes attach one after the other; the scenario keeps its own.
    let mut seen = 0;
    while seen < 10 {
        assert!(began.elapsed() < Duration::from_secs(30), "no loop device was attached");
        seen = if attached().len() > before.len() { seen + 1 } else { 0 };
        sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    nothing_is_left(&before);
}
