//! Kernels that nsharness boots: that they answer, and that whatever happens to them is told.
//!
//! Each failure is caused for real. Without a User-Mode Linux, installed or in the cache, it is skipped.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Done, HANGS, PASSES, Place, User, json_lines, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

/// As real root, with a proc of its own: writes this letter to the kernel's own emergency key.
fn key(letter: char) -> String {
    format!(
        "title: The emergency key {letter}\nrequires: [root]\nworld:\n  tree: {{ p: dir }}\nsteps:\n  \
         - mount: {{ type: proc, at: p }}\n  - write: {{ path: p/sysrq-trigger, data: \"{letter}\" }}\n  \
         - stat: {{ path: nobody, expect: ENOENT }}\n"
    )
}

/// Every process of a place, and everything of its guests.
fn left(place: &Place) -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let link = |name: &str| fs::read_link(entry.path().join(name)).unwrap_or_default();
        if link("exe").starts_with(place.path()) || link("cwd").starts_with(place.path()) {
            left.push(format!("process {}", entry.file_name().display()));
        }
    }
    for directory in ["/dev/shm", "/tmp"] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let of_guest = name.starts_with("nsharness-") && !name.starts_with("nsharness-test-");
            if of_guest || name.starts_with("vm_file") {
                left.push(format!("{directory}/{name}"));
            }
        }
    }
    left
}

fn status<'e>(events: &'e [serde_json::Value], id: &str) -> &'e serde_json::Value {
    events.iter().find(|event| event["id"] == id).unwrap_or(&serde_json::Value::Null)
}

/// Runs the scenarios of a place there, and reads the report.
fn run(place: &Place, user: User, on: &str) -> (Done, Vec<serde_json::Value>) {
    let done = place.run(user, &["run", "--on", on, "--json", "out.json"]);
    let events =
        if place.exists("out.json") { json_lines(&place.read("out.json")) } else { Vec::new() };
    (done, events)
}

#[rstest]
fn a_guest_answers_and_leaves_nothing_behind(#[values(User::Own, User::Ordinary)] user: User) {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    place.write("scenarios/a.yaml", PASSES);
    place.write(
        "scenarios/root.yaml",
        "title: In a guest one is real root\nrequires: [root]\nsteps:\n  - write: { path: f, data: x }\n  \
         - setxattr: { path: f, name: trusted.x, value: y }\n",
    );
    let done = place.run(user, &["run", "--on", &kernel]).expect_code(0);
    assert!(done.stdout.contains("2 passed, 0 failed, 0 skipped"), "{}", done.stdout);
    assert_eq!(left(&place), [""; 0]);
}

/// Two kernels answer in one run, each for itself: what fails on one counts, whatever the other says.
#[test]
fn two_kernels_of_one_run_are_told_apart() {
    let place = Place::new();
    let Some(old) = place.kernel("uml:5.10") else { return };
    let Some(new) = place.kernel("uml:6.12") else { return };
    place.write("scenarios/a.yaml", PASSES);
    place.write(
        "scenarios/b.yaml",
        "title: A tmpfs keeps attributes of users\nsteps:\n  - write: { path: f, data: x }\n  \
         - setxattr: { path: f, name: user.x, value: y, expect: ok }\n",
    );
    let (done, events) = run(&place, User::Own, &format!("{old},{new}"));
    let done = done.expect_code(1);
    let of = |target: &str, id: &str| {
        let told = |event: &&serde_json::Value| event["target"] == target && event["id"] == id;
        let event = events.iter().find(told).expect("an event");
        event["status"].as_str().expect("a status").to_owned()
    };
    assert_eq!([of(&old, "a"), of(&old, "b")], ["pass", "fail"], "{}", done.stdout);
    assert_eq!([of(&new, "a"), of(&new, "b")], ["pass", "pass"], "{}", done.stdout);
    let is_environment = |event: &&serde_json::Value| event["event"] == "environment";
    let releases: Vec<_> = events.iter().filter(is_environment).map(|e| &e["kernel"]).collect();
    assert_eq!(releases.len(), 2, "{}", done.stdout);
    assert!(releases[0].as_str().is_some_and(|release| release.starts_with("5.10")));
    assert!(releases[1].as_str().is_some_and(|release| release.starts_with("6.12")));
    assert!(done.stdout.contains("summary: 3 passed, 1 failed, 0 skipped"), "{}", done.stdout);
    assert_eq!(left(&place), [""; 0]);
}

/// The scenario that took the guest down is broken, with the reason and the console; the rest go on.
#[track_caller]
fn takes_the_guest_down(scenario: &str, reason: &str) {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    for before in ["a", "b", "x", "y", "z"] {
        place.write(&format!("scenarios/{before}.yaml"), PASSES);
    }
    place.write("scenarios/m.yaml", scenario);
    let done = place.run(
        User::Own,
        &["run", "--on", &kernel, "--witness", "kernel", "--json", "out.json", "--keep", "kept"],
    );
    let done = done.expect_code(5);
    let events = json_lines(&place.read("out.json"));
    let broken = status(&events, "m");
    assert_eq!(broken["status"], "broken", "{}", done.stdout);
    assert!(broken["reasons"].to_string().contains(reason), "{}", done.stdout);
    for other in ["a", "b", "x", "y", "z"] {
        assert_eq!(status(&events, other)["status"], "pass", "{}", done.stdout);
    }
    assert!(place.exists("kept/m/console.txt"), "{}", done.stdout);
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn a_panic_breaks_the_scenario_that_caused_it() {
    takes_the_guest_down(&key('c'), "Kernel panic - not syncing: sysrq triggered crash");
}

/// The kernel's server of NFS has no word for ENOTCONN, and warns (fs/nfsd nfserrno()). A server of FUSE that
/// is gone gives it: the file system that is exported is taken away by force.
#[test]
fn a_warning_of_the_kernel_breaks_the_scenario_that_caused_it() {
    let scenario = "title: What is exported over NFS is taken away by force\nrequires: [root]\nworld:\n  \
         tree: { files/f: file, served: dir, remote: dir }\n  \
         mounts: [ { fuse: { from: files, at: served, options: [allow_other] } } ]\n  \
         nfs: { export: served, at: remote, version: \"4.2\", squash: none }\nsteps:\n  \
         - umount: { at: served, flags: [force] }\n  - stat: { path: remote }\n";
    takes_the_guest_down(scenario, "the kernel complained: WARNING: ");
}

#[test]
fn the_end_of_the_memory_is_told_of_the_scenario_that_was_running() {
    // The key has the out-of-memory killer called, from a queue of the kernel's (drivers/tty/sysrq.c moom_callback()):
    // the scenario goes on until it has been. The killer takes whoever has most of the memory.
    let waits = key('f').replace("tree: { p: dir }", "tree: { p: dir, pipe: fifo }")
        + "  - open: { path: pipe }\ntimeout: 5\n";
    takes_the_guest_down(&waits, "Out of memory");
}

#[test]
fn what_a_scenario_writes_to_the_channel_breaks_it_alone() {
    let noise = "x".repeat(4096);
    let mut scenario =
        "title: Writing to the line of the agent\nrequires: [root]\nworld:\n  tree: { d: dir }\n\
                        steps:\n  - mount: { type: tmpfs, at: d }\n  \
                        - mknod: { path: d/line, type: char, rdev: \"4:64\" }\n  \
                        - open: { path: d/line, flags: [wronly], fd: line }\n"
            .to_owned();
    for _ in 0..3 {
        scenario.push_str(&format!("  - write: {{ fd: line, data: \"{noise}\" }}\n"));
    }
    takes_the_guest_down(&scenario, "bytes that are no frame");
}

/// Starts a run whose first scenario waits, does something to its guest, and lets it end.
fn disturb(place: &Place, kernel: &str, disturb: impl Fn(Pid)) -> Done {
    place.write("scenarios/a.yaml", &HANGS.replace("timeout: 1", "timeout: 8"));
    place.write("scenarios/b.yaml", PASSES);
    let mut command = place.command(User::Own);
    command.args(["run", "--on", kernel, "--witness", "kernel"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let guest = wait_for(|| descendants(child.id()).into_iter().find(|pid| is_guest(*pid)));
    // Until the scenario is running: the guest has nothing to do then.
    sleep(Duration::from_secs(4));
    disturb(Pid::from_raw(guest as i32));
    Done::of(child.wait_with_output().unwrap())
}

#[test]
fn a_guest_that_is_killed_breaks_the_scenario_that_was_running() {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    let done = disturb(&place, &kernel, |pid| kill(pid, Signal::SIGKILL).unwrap()).expect_code(5);
    assert!(done.stdout.contains("broken  a"), "{}", done.stdout);
    assert!(done.stdout.contains("pass    b"), "{}", done.stdout);
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn a_guest_that_stands_still_is_ended() {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    let done = disturb(&place, &kernel, |pid| kill(pid, Signal::SIGSTOP).unwrap()).expect_code(5);
    assert!(done.stdout.contains("it did not answer in time"), "{}", done.stdout);
    assert!(done.stdout.contains("pass    b"), "{}", done.stdout);
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn a_supervisor_that_is_killed_takes_its_guests_with_it() {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    place.write("scenarios/a.yaml", &HANGS.replace("timeout: 1", "timeout: 60"));
    let mut child = place
        .command(User::Own)
        .args(["run", "--on", &kernel])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let guest = wait_for(|| descendants(child.id()).into_iter().find(|pid| is_guest(*pid)));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(|| (!is_guest(guest)).then_some(()));
    wait_for(|| left(&place).is_empty().then_some(()));
}

/// A program that is taken for a kernel, and is none.
fn impostor(place: &Place, program: &str) -> PathBuf {
    let path = place.path().join("linux");
    let mut bytes = fs::read(program).unwrap();
    bytes.extend(b"\0Linux version 9.9.9 (nobody)\0uml_dir=\0");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn what_never_reaches_the_agent_is_told_with_its_last_words() {
    let place = Place::new();
    impostor(&place, "/bin/false");
    place.write("scenarios/a.yaml", PASSES);
    let (done, _) = run(&place, User::Own, "uml:./linux");
    let done = done.expect_code(5);
    assert!(done.stdout.contains("uml:./linux does not boot: it ended"), "{}", done.stdout);
}

#[test]
fn a_boot_that_takes_too_long_is_ended_however_much_it_prints() {
    let place = Place::new();
    impostor(&place, "/usr/bin/yes");
    place.write("scenarios/a.yaml", PASSES);
    let mut command = place.command(User::Own);
    command.env("NSHARNESS_BOOT_TIMEOUT", "2").args(["run", "--on", "uml:./linux"]);
    let began = Instant::now();
    let done = Done::of(command.output().unwrap()).expect_code(5);
    assert!(done.stdout.contains("it did not come up in time"), "{}", done.stdout);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn a_kernel_whose_memory_does_not_suffice_does_not_boot_and_says_so() {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    place.write("scenarios/a.yaml", PASSES);
    let mut command = place.command(User::Own);
    command.env("NSHARNESS_GUEST_MEMORY", "16").args(["run", "--on", &kernel]);
    let done = Done::of(command.output().unwrap()).expect_code(5);
    assert!(done.stdout.contains("does not boot"), "{}", done.stdout);
}

/// Runs a command under a filter that answers one system call with EPERM.
fn without(call: libc::c_long, mut command: Command) -> Done {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    let filter = [
        instruction(load, 0, 0, 0),
        instruction(equal, 0, 1, call as u32),
        instruction(give, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        instruction(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: 4, filter: filter.as_ptr().cast_mut() };
        #[allow(unsafe_code)]
        // SAFETY: prctl(2) reads the program, which lives until it returns.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
                    == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    #[allow(unsafe_code)]
    // SAFETY: between fork and exec only prctl(2) is called.
    unsafe {
        command.pre_exec(install);
    }
    Done::of(command.output().unwrap())
}

#[test]
fn a_machine_that_forbids_ptrace_is_named_unless_the_kernel_needs_none() {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    place.write("scenarios/a.yaml", PASSES);
    let mut command = place.command(User::Own);
    command.args(["run", "--on", &kernel]);
    let done = without(libc::SYS_ptrace, command);
    if done.code != Some(0) {
        let done = done.expect_code(4);
        assert!(done.stdout.contains("needs ptrace"), "{}", done.stdout);
        assert!(done.stdout.contains("sysctl kernel.yama.ptrace_scope=1"), "{}", done.stdout);
    }
}

#[test]
fn a_noexec_directory_for_memory_is_no_obstacle_where_another_can_be_mounted() {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    place.write("scenarios/a.yaml", PASSES);
    let script = "mount -t tmpfs -o noexec none /dev/shm && exec ./nsharness run --on \"$0\"";
    in_namespaces(&place, script, &kernel).expect_code(0);
}

#[test]
fn a_noexec_directory_for_memory_is_named_where_no_other_can_be_mounted() {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    place.write("scenarios/a.yaml", PASSES);
    let script = "mount -t tmpfs -o noexec none /dev/shm; echo 0 > /proc/sys/user/max_pid_namespaces; \
                  echo 0 > /proc/sys/user/max_user_namespaces; exec ./nsharness run --on \"$0\"";
    let done = in_namespaces(&place, script, &kernel).expect_code(4);
    assert!(done.stdout.contains("needs memory that can be executed"), "{}", done.stdout);
    assert!(done.stdout.contains("mount -o remount,exec /dev/shm"), "{}", done.stdout);
}

#[test]
fn a_machine_without_namespaces_boots_guests_and_is_left_clean() {
    let place = Place::new();
    let Some(kernel) = place.kernel("uml") else { return };
    place.write("scenarios/a.yaml", PASSES);
    let script = "echo 0 > /proc/sys/user/max_pid_namespaces; echo 0 > /proc/sys/user/max_user_namespaces; \
                  exec ./nsharness run --on \"$0\"";
    in_namespaces(&place, script, &kernel).expect_code(0);
    assert_eq!(left(&place), [""; 0]);
}

/// Runs a script as root of a user namespace with mounts of its own.
fn in_namespaces(place: &Place, script: &str, argument: &str) -> Done {
    place.command(User::Own);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, argument]);
    command
        .current_dir(place.path())
        .env("NO_COLOR", "1")
        .env("NSHARNESS_CACHE", place.path().join("cache"));
    Done::of(command.output().unwrap())
}

/// The processes below one, from above to below.
fn descendants(parent: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let children: Vec<u32> = children
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    children.iter().flat_map(|child| [vec![*child], descendants(*child)].concat()).collect()
}

/// Whether a process is a User-Mode Linux, and not one of its own processes.
fn is_guest(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    line.contains("NSHARNESS_CHANNEL=") && Path::new(&format!("/proc/{pid}")).exists()
}
