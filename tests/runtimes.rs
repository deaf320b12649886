//! Container runtimes are held to the scenarios with a container, and a program that is none is never green.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::{Done, Place, User, cases, is_root, root, skip, users};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nsharness::programs;
use nsharness::scenario::Case;

const PLAIN: &str = "\
title: A program runs in the container
world: { container: {} }
steps:
  - stat: { as: container, path: /nsharness, expect: { type: file } }
";

/// A scenario that passes wherever every container is refused.
const REFUSED: &str = "\
title: A propagation that there is not is refused
world: { container: { linux: { rootfsPropagation: sideways } } }
steps:
  - create: { expect: refused }
";

/// Those that read a config.json.
const BY_BUNDLE: &[&str] = &["runc", "crun", "youki"];
/// Those that are told by options of their command line.
const BY_OPTIONS: &[&str] = &["bwrap", "unshare"];

/// Those that read a config.json and are installed.
fn installed() -> Vec<&'static str> {
    those_in_path(BY_BUNDLE)
}

fn those_in_path(runtimes: &[&'static str]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for runtime in runtimes.iter().copied() {
        match programs::in_path(runtime) {
            Some(_) => found.push(runtime),
            None => skip(runtime, "it is not in PATH"),
        }
    }
    found
}

/// Held by who looks which cgroups there are, or makes some: scenarios list those of this machine.
static CGROUPS: Mutex<()> = Mutex::new(());

#[test]
fn every_runtime_is_as_the_scenarios_say() {
    let runtimes = those_in_path(&[BY_BUNDLE, BY_OPTIONS].concat());
    if runtimes.is_empty() {
        return;
    }
    let _alone = CGROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Place::new();
    place.copy("scenarios");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for user in users() {
        let named = runtimes.join(",");
        let containers = ["scenarios/oci", "scenarios/containers"];
        let done = ["run", "--quiet", "--runtime", &named].into_iter().chain(containers);
        let done = place.run(user, &done.collect::<Vec<_>>());
        let done = done.expect_code(0);
        for runtime in &runtimes {
            let line = done.stdout.lines().rfind(|line| line.starts_with(runtime));
            let of_one = runtimes.len() == 1 && done.stdout.contains("summary: ");
            assert!(line.is_some() || of_one, "{runtime}: {}", done.stdout);
        }
    }
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
}

/// A container of real root that does not end.
const HANGS: &str = "\
title: A fifo that nobody writes to is opened
requires: [root]
timeout: SECONDS
world:
  tree: { volume/fifo: fifo }
  container: { mounts: [ { destination: /volume, type: bind, source: /volume, options: [bind] } ] }
steps:
  - open: { as: container, path: /volume/fifo, flags: [rdonly], fd: f }
";

/// The cgroups of version 2 of this machine; `None` where this is not its root, or they cannot be written to.
fn cgroups() -> Option<Vec<PathBuf>> {
    let all = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let here = all.map(Path::new).into_iter().find(|path| path.join("cgroup.procs").exists())?;
    let own = here.join(format!("nsharness-test-{}", std::process::id()));
    fs::create_dir(&own).ok().filter(|()| is_root())?;
    fs::remove_dir(&own).unwrap();
    let mut found = vec![here.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        next += 1;
    }
    found.sort();
    Some(found)
}

/// Those that look as if a container of nsharness had made them.
fn left_behind() -> Vec<PathBuf> {
    let own = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("nsharness-") || ["container", ":youki:container"].contains(&&*name)
    };
    cgroups().unwrap_or_default().into_iter().filter(own).collect()
}

#[test]
fn no_cgroup_of_a_container_of_real_root_outlives_its_run() {
    if cgroups().is_none() {
        return skip("root", "cgroups of version 2 cannot be made here");
    }
    let _alone = CGROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    // Somebody who calls a runtime by hand may leave some too.
    let before = left_behind();
    for runtime in installed() {
        let place = Place::new();
        place.write("scenarios/hangs.yaml", &HANGS.replace("SECONDS", "2"));
        place.write("scenarios/ends.yaml", &format!("requires: [root]\n{PLAIN}"));
        let arguments = ["run", "--privileged", "--runtime", runtime];
        let done = place.run(User::Own, &arguments).expect_code(1);
        assert!(done.stdout.contains("1 passed, 1 failed, 0 skipped"), "{}", done.stdout);
        assert_eq!(left_behind(), before, "{runtime}");
        // Neither where a worker is killed in the middle of it, nor the run.
        place.write("scenarios/hangs.yaml", &HANGS.replace("SECONDS", "60"));
        for of_run in [false, true] {
            let mut command = place.command(User::Own);
            command.args(arguments).arg("scenarios/hangs.yaml").stdout(Stdio::null());
            let mut run = command.spawn().unwrap();
            let made = |path: &PathBuf| path.ends_with("sandbox");
            let is_made = || cgroups().unwrap_or_default().iter().any(made);
            wait_until("a cgroup is made", is_made);
            // The container, too.
            std::thread::sleep(Duration::from_millis(500));
            let run_pid = Pid::from_raw(run.id() as i32);
            let killed = if of_run { run_pid } else { worker(run_pid) };
            kill(killed, Signal::SIGKILL).unwrap();
            wait_until("its cgroups are gone", || left_behind() == before);
            run.wait().unwrap();
        }
    }
}

/// The worker of a run that has a sandbox.
fn worker(run: Pid) -> Pid {
    let children = |of: Pid| {
        let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
        let all = text.split_whitespace().filter_map(|pid| pid.parse().ok());
        all.map(Pid::from_raw).collect::<Vec<_>>()
    };
    children(run).into_iter().find(|worker| !children(*worker).is_empty()).expect("a worker")
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_refusal_for_another_reason_than_the_expected_is_a_failure() {
    let runtimes = installed();
    let Some(runtime) = runtimes.first() else { return };
    let place = Place::new();
    for (name, expect, code, said) in [
        ("a", "{ refused: { contains: sideways } }", 0, "1 passed"),
        ("b", "[ok, { refused: { contains: [sideways, rootfs] } }]", 0, "1 passed"),
        (
            "c",
            "{ refused: { contains: upwards } }",
            1,
            "expected refused with a message containing [upwards]",
        ),
        (
            "d",
            "{ refused: { lacks: sideways } }",
            1,
            "with a message lacking [sideways], found refused by",
        ),
        ("e", "{ refused: sideways }", 3, "expected a comparison of the message"),
        ("f", "{ refused: { has: x } }", 3, "unknown comparison `has`"),
        ("g", "{ refused: { contains: x }, type: file }", 3, "unknown key `type`"),
    ] {
        let file = format!("scenarios/{name}.yaml");
        place.write(&file, &REFUSED.replace("expect: refused", &format!("expect: {expect}")));
        let done = place.run(User::Own, &["run", &file, "--runtime", runtime]).expect_code(code);
        let (all, (stdout, stderr)) = (said, (&done.stdout, &done.stderr));
        assert!(stdout.contains(all) || stderr.contains(all), "{expect}: {stdout}{stderr}");
    }
}

#[test]
fn a_container_is_asked_of_the_runtimes_and_all_else_of_the_kernel() {
    let runtimes = installed();
    let Some(runtime) = runtimes.first() else { return };
    let place = Place::new();
    place.write("scenarios/plain.yaml", PLAIN);
    place.write("scenarios/passes.yaml", common::PASSES);
    let done = place.run(User::Own, &["run", "--runtime", runtime]).expect_code(0);
    let summary = |name: &str, passed| format!("{name:<5} {passed} passed, 0 failed, 0 skipped");
    for line in [summary("host", 1), summary(runtime, 1)] {
        assert!(done.stdout.contains(line.trim_end()), "{line}: {}", done.stdout);
    }
}

#[test]
fn without_a_runtime_a_container_is_skipped_with_the_reason() {
    let place = Place::new();
    place.write("scenarios/plain.yaml", PLAIN);
    let done = place.run(User::Own, &["run"]).expect_code(4);
    assert!(done.stdout.contains("needs runtime: none was named"), "{}", done.stdout);
    assert!(done.stdout.contains("--runtime runc"), "{}", done.stdout);
}

#[test]
fn what_is_no_runtime_is_never_green() {
    let place = Place::new();
    place.write("scenarios/plain.yaml", PLAIN);
    place.write("scenarios/refused.yaml", REFUSED);
    // It takes no command, so it would refuse what is to be refused too.
    let done = place.run(User::Own, &["run", "--runtime", "ls"]).expect_code(4);
    assert!(done.stdout.contains("needs runtime: refused by ls create"), "{}", done.stdout);
    // It says yes to everything.
    let done = place.run(User::Own, &["run", "--runtime", "true"]).expect_code(5);
    assert!(done.stdout.contains("summary: 0 passed, 2 failed"), "{}", done.stdout);
    let done = place.run(User::Own, &["run", "--runtime", "no-such-runtime"]).expect_code(5);
    assert!(done.stderr.contains("no-such-runtime: it is not there"), "{}", done.stderr);
}

#[test]
fn a_program_is_asked_by_its_options_and_skipped_where_it_has_none() {
    let place = Place::new();
    place.write("scenarios/plain.yaml", PLAIN);
    let host_name = PLAIN.replace("container: {}", "container: { hostname: box }");
    let mount = "container: { mounts: [ { destination: /data, type: tmpfs } ] }";
    place.write("scenarios/host-name.yaml", &host_name);
    place.write("scenarios/mount.yaml", &PLAIN.replace("container: {}", mount));
    place.write("scenarios/state.yaml", &format!("{PLAIN}  - state: {{}}\n"));
    let state = "needs state: {} has no such command";
    let told: &[(&str, &str, u32, &[&str])] = &[
        (
            "bwrap",
            "bubblewrap",
            2,
            &[
                "needs tmpfs without nosuid: bubblewrap always sets it",
                "needs tmpfs without a mode",
                state,
            ],
        ),
        (
            "unshare",
            "unshare",
            1,
            &[
                "needs hostname: unshare has no option for it",
                "needs mounts: unshare has no option for it",
                state,
            ],
        ),
    ];
    let found = those_in_path(BY_OPTIONS);
    for (program, name, passed, reasons) in told {
        if !found.contains(program) {
            continue;
        }
        for user in users() {
            let done = place.run(user, &["run", "--runtime", program]).expect_code(0);
            let summary = format!("summary: {passed} passed, 0 failed, {} skipped", 4 - passed);
            assert!(done.stdout.contains(&summary), "{program}: {}", done.stdout);
            for reason in *reasons {
                let reason = reason.replace("{}", name);
                assert!(done.stdout.contains(&reason), "{reason}: {}", done.stdout);
            }
            assert!(done.stdout.contains("name a runtime that reads config.json, as runc"));
        }
        let arguments = ["bundle", "plain", "there", "--runtime", program];
        let done = place.run(User::Own, &arguments).expect_code(2);
        assert!(done.stderr.contains("reads no config.json"), "{}", done.stderr);
        assert!(!place.path().join("there").exists());
    }
}

/// What it prints as its version makes it one that is told by options: nothing of that is believed.
#[test]
fn a_program_that_isolates_nothing_is_caught() {
    if Command::new("cc").arg("--version").output().is_err() {
        skip("cc", "there is no C compiler");
        return;
    }
    let place = Place::new();
    place.copy("scenarios");
    const RUNS: &str = "execl(\"/bundle/rootfs/nsharness\", \"p\", (char *)0)";
    for (directory, version, does) in [
        ("runs", "bubblewrap 9.0.0", RUNS),
        ("runs-too", "unshare from util-linux 9.0", RUNS),
        ("ends", "bubblewrap 9.0.0", "0"),
        ("fails", "bubblewrap 9.0.0", "1"),
    ] {
        let source = place.path().join("source.c");
        let text = format!(
            "#include <stdio.h>\n#include <string.h>\n#include <unistd.h>\nint main(int count, char **arguments) {{\n  \
             if (count == 2 && !strcmp(arguments[1], \"--version\")) return puts(\"{version}\") < 0;\n  return {does};\n}}\n"
        );
        fs::write(&source, text).unwrap();
        fs::create_dir(place.path().join(directory)).unwrap();
        let program = place.path().join(directory).join("fake");
        let status = Command::new("cc").arg("-o").arg(&program).arg(&source).status().unwrap();
        assert!(status.success());
        let program = program.display().to_string();
        let arguments = ["run", "scenarios/containers", "--runtime", &program];
        let done = place.run(User::Own, &arguments);
        let passed = done.stdout.lines().filter(|line| line.starts_with("pass"));
        let passed: Vec<_> = passed.filter_map(|line| line.split_whitespace().nth(1)).collect();
        let failed = done.stdout.lines().filter(|line| line.starts_with("fail ")).count();
        if directory.starts_with("runs") {
            // It inherits what is to be inherited.
            let inherited = passed.iter().all(|id| *id == "containers/message-queues@inherited");
            assert!(inherited && failed > 3, "{directory}: {}", done.stdout);
            done.expect_code(1);
        } else {
            // It is found out before anything is asked.
            assert_eq!((passed.len(), failed), (0, 0), "{directory}: {}", done.stdout);
            assert!(done.stdout.contains("needs runtime: "), "{directory}: {}", done.stdout);
            done.expect_code(4);
        }
    }
}

#[test]
fn what_a_runtime_does_otherwise_stands_beside_what_the_kernel_does() {
    let runtimes = installed();
    let Some(runtime) = runtimes.first() else { return };
    let place = Place::new();
    place.write("scenarios/passes.yaml", common::PASSES);
    let otherwise = PLAIN.replace("{ type: file }", "ENOENT");
    let plain = "level: MUST\nplain: [passes, nothing/there]\nworld:";
    place.write("scenarios/otherwise.yaml", &otherwise.replacen("world:", plain, 1));
    place.write("scenarios/plain.yaml", &PLAIN.replacen("world:", "level: SHOULD\nworld:", 1));
    let done = place.run(User::Own, &["run", "--runtime", runtime]).expect_code(1);
    for line in [
        "passes asks the kernel alone for the same, and passed in this run: the kernel does it",
        "nothing/there asks the kernel alone for the same, and was not asked in this run",
        "MUST    0 passed, 0 failed as known, 1 failed, 0 skipped",
        "SHOULD  1 passed, 0 failed as known, 0 failed, 0 skipped",
    ] {
        assert!(done.stdout.contains(line), "{line}: {}", done.stdout);
    }
}

#[test]
fn what_the_specification_leaves_open_is_told_apart() {
    let runtimes = installed();
    if !["runc", "crun"].iter().all(|name| runtimes.contains(name)) {
        return;
    }
    let place = Place::new();
    place.write(
        "scenarios/open.yaml",
        "title: A version that is none may be refused\nworld: { container: { ociVersion: latest } }\nsteps:\n  - create: { expect: [ok, refused] }\n",
    );
    let done = place.run(User::Own, &["matrix", "--runtime", "runc,crun"]).expect_code(0);
    let (_, open) = done.stdout.split_once("The specification is silent").expect("its section");
    assert!(open.contains("line 4: create"), "{}", done.stdout);
}

#[test]
fn a_bundle_is_taken_by_a_runtime_that_is_called_by_hand() {
    let place = Place::new();
    place.copy("scenarios");
    // `youki run` waits for ever where the container has ended before it begins to wait.
    for runtime in installed().into_iter().filter(|runtime| *runtime != "youki") {
        for user in users() {
            let there = format!("{runtime}-{}", matches!(user, User::Own));
            let arguments = ["bundle", "oci/volume-read-only", &there, "--runtime", runtime];
            let done = place.run(user, &arguments).expect_code(0);
            assert!(done.stdout.contains("config.json"), "{}", done.stdout);
            place.run(user, &arguments).expect_code(5);
            let script = place.path().join(&there).join("run");
            fs::write(place.path().join("input"), "read x < /data/file; echo $x; exit 3\n")
                .unwrap();
            let mut command = match user {
                User::Ordinary if is_root() => {
                    let mut command = Command::new("setpriv");
                    command
                        .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
                        .arg(script);
                    command
                }
                _ => Command::new(script),
            };
            let input = fs::File::open(place.path().join("input")).unwrap();
            let done = Done::of(command.stdin(input).output().unwrap()).expect_code(3);
            assert_eq!(done.stdout, "text\n");
        }
    }
    let place = Place::new();
    place.write("scenarios/passes.yaml", common::PASSES);
    let done = place.run(User::Own, &["bundle", "passes", "there"]).expect_code(2);
    assert!(done.stderr.contains("passes has no container"), "{}", done.stderr);
    assert!(!place.path().join("there").exists());
}

/// Who reads of a deviation is to find the scenario that is named.
#[test]
fn every_plain_scenario_is_there_and_has_no_container() {
    let cases = cases(&root().join("scenarios"));
    for id in cases.iter().flat_map(|case| &case.plain) {
        let is_it = |case: &&Case| case.id.split('@').next() == Some(id);
        let found = cases.iter().find(is_it).unwrap_or_else(|| panic!("there is no {id}"));
        assert!(found.plan.world.container.is_none(), "{id}");
    }
}

#[test]
fn what_a_container_cannot_be_is_told_in_its_place() {
    let place = Place::new();
    place.write(
        "scenarios/wrong.yaml",
        "title: A key is misspelt\nworld: { container: { linux: { rootfsPropogation: shared } } }\nsteps:\n  - state: {}\n",
    );
    place.write("scenarios/none.yaml", "title: There is none\nsteps:\n  - start: {}\n");
    let done = place.run(User::Own, &["check"]).expect_code(3);
    assert!(done.stderr.contains("unknown key `rootfsPropogation`"), "{}", done.stderr);
    assert!(done.stderr.contains("did you mean `rootfsPropagation`?"), "{}", done.stderr);
    assert!(done.stderr.contains("the world has no container"), "{}", done.stderr);
}
