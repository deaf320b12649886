//! The host is never at risk, whoever runs it, and nothing is left behind.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{HANGS, PASSES, Place, User, is_root, json_lines, wait_for};
use rstest::rstest;

/// What a run could leave behind.
#[derive(Debug, PartialEq)]
struct Traces {
    mounts: String,
    processes: BTreeSet<String>,
}

fn traces(place: &Place) -> Traces {
    // Processes of this test's own copy of the binary, by what they run.
    let binary = place.path().join("nsharness");
    let processes = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|process| fs::read_link(process.join("exe")).is_ok_and(|exe| exe == binary))
        .map(|process| process.display().to_string())
        .collect();
    Traces { mounts: fs::read_to_string("/proc/self/mountinfo").unwrap(), processes }
}

const BUSY: &str = "\
title: A world with everything in it
world:
  tree: { l/f: file, u: dir, w: dir, m: dir, t: dir, bin/who: { program: credentials } }
  mounts:
    - overlay: { at: m, lower: [l], upper: u, work: w }
    - mount: { type: tmpfs, at: t }
  actors: { box: { unshare: [mount, pid] } }
steps:
  - write: { as: box, path: m/f, data: x }
  - mount: { as: box, type: tmpfs, at: t }
  - fork: { as: box, child: kid }
  - open: { as: kid, path: m/f, fd: f }
  - exec: { path: bin/who, expect: { uid: 0 } }
";

#[rstest]
fn nothing_is_left_behind(#[values(User::Own, User::Ordinary)] user: User) {
    let place = Place::new();
    place.write("scenarios/busy.yaml", BUSY);
    place.write("scenarios/hangs.yaml", HANGS);
    place.write("scenarios/passes.yaml", PASSES);
    // The first run makes the copy of the binary.
    place.run(user, &["run", "scenarios/passes.yaml"]).expect_code(0);
    let before = traces(&place);
    let files: BTreeSet<_> = walk(place.path());
    place.run(user, &["run", "scenarios"]).expect_code(1);
    assert_eq!(traces(&place), before);
    assert_eq!(walk(place.path()), files);
}

fn walk(directory: &std::path::Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.insert(path.display().to_string());
    }
    found
}

#[rstest]
fn a_scenario_that_hangs_is_ended_with_all_it_started(
    #[values(User::Own, User::Ordinary)] user: User,
) {
    let place = Place::new();
    let scenario = HANGS.replace(
        "  - open:",
        "  - fork: { child: kid }\n  - open: { as: kid, path: pipe }\n  - open:",
    );
    place.write("scenarios/a.yaml", &scenario);
    let began = Instant::now();
    let done = place.run(user, &["run"]).expect_code(1);
    assert!(done.stdout.contains("timeout a"), "{}", done.stdout);
    assert!(began.elapsed() < Duration::from_secs(8), "took {:?}", began.elapsed());
    assert_eq!(traces(&place).processes, BTreeSet::new());
}

#[rstest]
fn the_host_cannot_be_reached(#[values(User::Own, User::Ordinary)] user: User) {
    let place = Place::new();
    let canary = place.write("canary", "the host");
    let scenario = format!(
        "title: t\nworld: {{ tree: {{ a: dir }} }}\nsteps:\n\
         \x20 - stat: {{ path: {path}, expect: ENOENT }}\n\
         \x20 - list: {{ path: /, expect: {{ names: [a] }} }}\n\
         \x20 - chdir: {{ path: a }}\n\
         \x20 - list: {{ path: ../../../.., expect: {{ names: [a] }} }}\n\
         \x20 - read_maps: {{ expect: {{ setgroups: deny }} }}\n\
         observe:\n  - mountinfo: {{ under: . }}\n",
        path = canary.display()
    );
    place.write("scenarios/a.yaml", &scenario);
    let done = place.run(user, &["run", "--snapshots", "accept"]).expect_code(0);
    let snapshot = place.read("snapshots/a.snap");
    let mounts: Vec<_> = snapshot.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(
        mounts,
        ["  /: { root: /, type: tmpfs, options: \"rw,relatime\" }"],
        "{}",
        done.stdout
    );
}

#[test]
fn root_of_the_host_maps_no_id_of_the_host() {
    if !is_root() {
        eprintln!("skipped: it is about root");
        return;
    }
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "title: t\nsteps:\n  - read_maps: { id: maps }\n  - chown: { path: ., uid: 5, gid: 5 }\n",
    );
    place.run(User::Own, &["run", "--json", "out.json"]).expect_code(0);
    let events = json_lines(&place.read("out.json"));
    let map = events[1]["steps"][0]["values"]["uid_map"].as_array().unwrap();
    for line in map {
        let outside: u64 = line.as_str().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        assert!(outside >= 0x7000_0000, "{line}");
    }
}

#[test]
fn a_worker_that_is_killed_makes_its_scenario_broken_and_the_others_go_on() {
    let place = Place::new();
    place.write("scenarios/a.yaml", &HANGS.replace("timeout: 1", "timeout: 60"));
    place.write("scenarios/b.yaml", PASSES);
    let child = place
        .command(User::Own)
        // Without the model no probe is asked, so that the first sandbox is the scenario's.
        .args(["run", "--jobs", "1", "--witness", "kernel"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let supervisor = child.id();
    let worker = wait_for(|| child_of(supervisor).filter(|worker| child_of(*worker).is_some()));
    let sandbox = child_of(worker).unwrap();
    kill(worker);
    let done = common::Done::of(child.wait_with_output().unwrap()).expect_code(5);
    assert!(done.stdout.contains("broken  a"), "{}", done.stdout);
    assert!(
        done.stdout.contains("its process ended while the scenario was running"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("pass    b"), "{}", done.stdout);
    // It is killed with its parent; that it is reaped is up to whoever inherits it.
    wait_for(|| has_ended(sandbox).then_some(()));
}

#[test]
fn a_sandbox_whose_first_process_is_killed_is_broken() {
    let place = Place::new();
    place.write("scenarios/a.yaml", &HANGS.replace("timeout: 1", "timeout: 60"));
    let child = place
        .command(User::Own)
        // Without the model no probe is asked, so that the first sandbox is the scenario's.
        .args(["run", "--jobs", "1", "--witness", "kernel"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let supervisor = child.id();
    let worker = wait_for(|| child_of(supervisor).filter(|worker| child_of(*worker).is_some()));
    kill(child_of(worker).unwrap());
    let done = common::Done::of(child.wait_with_output().unwrap()).expect_code(5);
    assert!(done.stdout.contains("broken  a"), "{}", done.stdout);
}

#[test]
fn a_supervisor_that_is_killed_takes_everything_with_it() {
    let place = Place::new();
    place.write("scenarios/a.yaml", &HANGS.replace("timeout: 1", "timeout: 60"));
    let mut child = place
        .command(User::Own)
        .args(["run", "--jobs", "2"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let supervisor = child.id();
    let worker = wait_for(|| child_of(supervisor).filter(|worker| child_of(*worker).is_some()));
    let sandbox = child_of(worker).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(|| (has_ended(worker) && has_ended(sandbox)).then_some(()));
    wait_for(|| traces(&place).processes.is_empty().then_some(()));
}

fn kill(pid: u32) {
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid as i32),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}

fn has_ended(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status
        .rsplit(") ")
        .next()
        .is_none_or(|rest| rest.is_empty() || rest.starts_with('Z') || rest.starts_with('X'))
}

fn child_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The command of another program around nsharness, in a user namespace where it is root.
fn in_user_namespace(place: &Place, script: &str) -> common::Done {
    place.command(User::Own);
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .current_dir(place.path())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    common::Done::of(output)
}

#[test]
fn a_limit_on_user_namespaces_is_named_with_its_remedy() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let done = in_user_namespace(
        &place,
        "echo 0 > /proc/sys/user/max_user_namespaces; exec ./nsharness run",
    )
    .expect_code(4);
    assert!(done.stdout.contains("the limit user.max_user_namespaces (0 here"), "{}", done.stdout);
    assert!(done.stdout.contains("sysctl user.max_user_namespaces="), "{}", done.stdout);
}

#[test]
fn a_chroot_is_named() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let script = "mkdir -p jail/proc jail/dev jail/tmp && cp -r nsharness scenarios jail/ && touch jail/dev/null && \
                  mount --rbind /proc jail/proc && mount --bind /dev/null jail/dev/null && chroot jail /nsharness run /scenarios";
    let done = in_user_namespace(&place, script).expect_code(4);
    assert!(done.stdout.contains("this process is in a chroot"), "{}", done.stdout);
}

#[test]
fn a_covered_proc_is_named() {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    let script = "mount -t tmpfs none /proc/irq && exec ./nsharness run";
    let done = in_user_namespace(&place, script).expect_code(4);
    assert!(done.stdout.contains("parts of /proc are covered here"), "{}", done.stdout);
}
