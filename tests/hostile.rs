//! Scenarios that want out of the sandbox: the machine is the same before and after, and what is told of them is true.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::{Done, FAILS, PASSES, Place, User, json_lines, machine, root, skip};
use nsharness::programs;
use rstest::rstest;

/// Programs of the system that the scenarios bring.
const TOOLS: &[&str] = &["sh", "ls", "mv", "ln", "dd", "yes", "nsenter", "perl"];

/// Scenarios that make calls by their numbers, which are those of x86-64.
const BY_NUMBER: &[&str] = &["calls-", "sockets-"];

/// What each scenario comes to, wherever it is asked; those that are not named pass.
const OTHERWISE: &[(&str, &[&str])] = &[
    // Its program kills `main`, which answers no more.
    ("an-actor-is-killed", &["broken"]),
    // Its shell may end in time, as one that cannot make a process.
    ("fork-bomb", &["fail", "timeout"]),
    ("endless-output", &["timeout"]),
    // Its observations are too many, or nobody has recorded them.
    ("full-of-names", &["fail", "broken", "timeout"]),
    ("mounts-over-what-is-read", &["fail"]),
    ("words-for-the-terminal", &["fail"]),
];

/// One at a time: each looks at the processes of the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What of the machine a scenario could change.
struct Machine {
    outside: machine::Machine,
    /// Processes of the binary, and those in a sandbox: its root is told by its source.
    processes: BTreeSet<String>,
    canary: String,
}

impl Machine {
    fn now(place: &Place) -> Self {
        Self {
            outside: machine::Machine::now(),
            processes: processes(place),
            canary: place.read("canary/file"),
        }
    }

    #[track_caller]
    fn assert_same(&self, now: &Self) {
        assert_eq!(now.processes, self.processes);
        assert_eq!(now.canary, self.canary);
        self.outside.assert_same(&now.outside);
    }
}

fn processes(place: &Place) -> BTreeSet<String> {
    let binary = place.path().join("nsharness");
    let is_left = |process: &Path| {
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        mounts.contains(" - tmpfs sandbox ")
            || fs::read_link(process.join("exe")).is_ok_and(|exe| exe == binary)
    };
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    all.filter(|process| is_left(process)).map(|process| process.display().to_string()).collect()
}

/// A place with the scenarios, and what nobody may reach.
fn hostile() -> Place {
    let place = Place::new();
    place.write("canary/file", "precious\n");
    let canary = place.path().join("canary").display().to_string();
    for entry in fs::read_dir(root().join("fixtures/hostile")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let by_number = BY_NUMBER.iter().any(|calls| name.starts_with(calls));
        if name.ends_with(".yaml") && (cfg!(target_arch = "x86_64") || !by_number) {
            let text = fs::read_to_string(&file).unwrap().replace("@canary@", &canary);
            place.write(&format!("scenarios/{name}"), &text);
        }
    }
    place
}

/// Whether the programs are here.
fn has_tools() -> bool {
    let missing = TOOLS.iter().find(|tool| programs::in_path(tool).is_none());
    if let Some(tool) = missing {
        skip("sh.tools", &format!("{tool} is not in PATH"));
    }
    missing.is_none()
}

/// Runs all of them; what each came to is what it should.
#[track_caller]
fn run(place: &Place, user: User, arguments: &[&str]) -> Done {
    let began = Instant::now();
    let done = place.run(user, &[&["run", "--json", "out.json"], arguments].concat());
    assert!(began.elapsed() < Duration::from_secs(150), "took {:?}", began.elapsed());
    let mut told = 0;
    for event in json_lines(&place.read("out.json")) {
        let (Some(id), Some(status)) = (event["id"].as_str(), event["status"].as_str()) else {
            continue;
        };
        let name = id.split('@').next().unwrap();
        let otherwise = OTHERWISE.iter().find(|(other, _)| *other == name);
        let expected = otherwise.map_or(&["pass"][..], |(_, statuses)| statuses);
        // User-Mode Linux 6.12 panics over so many processes, and the machine does not.
        let panicked = name == "fork-bomb" && status == "broken" && arguments.contains(&"--on");
        assert!(
            panicked || expected.contains(&status),
            "{id} is {status}, not {expected:?}:\n{event:#}"
        );
        told += 1;
    }
    assert!(
        told >= if cfg!(target_arch = "x86_64") { 22 } else { 19 },
        "{told} cases were told:\n{}",
        done.stdout
    );
    let raw = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!done.stdout.contains(raw), "control characters came through: {:?}", done.stdout);
    assert!(!done.stderr.contains(raw), "control characters came through: {:?}", done.stderr);
    assert!(!done.stdout.lines().any(|line| line.starts_with("::")), "{}", done.stdout);
    done
}

#[rstest]
fn the_machine_is_as_it_was(#[values(User::Own, User::Ordinary)] user: User) {
    if !has_tools() {
        return;
    }
    let _alone = alone();
    let place = hostile();
    // The first run makes the copy of the binary.
    place.run(user, &["--version"]).expect_code(0);
    let before = Machine::now(&place);
    run(&place, user, &[]);
    before.assert_same(&Machine::now(&place));
    assert!(!place.exists("canary-written") && !place.exists("canary/written"));
}

#[test]
fn the_machine_of_a_guest_is_as_it_was() {
    if !has_tools() {
        return;
    }
    let _alone = alone();
    let place = hostile();
    let Some(kernel) = place.kernel("uml:6.12") else { return };
    place.run(User::Own, &["--version"]).expect_code(0);
    let before = Machine::now(&place);
    run(&place, User::Own, &["--on", &kernel]);
    before.assert_same(&Machine::now(&place));
}

/// While one scenario makes processes without end, the others are asked.
#[test]
fn a_fork_bomb_does_not_keep_others_from_being_asked() {
    if !has_tools() {
        return;
    }
    let _alone = alone();
    let place = hostile();
    let bomb = place.read("scenarios/fork-bomb.yaml");
    fs::remove_dir_all(place.path().join("scenarios")).unwrap();
    for index in 0..3 {
        place.write(&format!("scenarios/bomb-{index}.yaml"), &bomb);
        place.write(&format!("scenarios/passes-{index}.yaml"), PASSES);
    }
    let done = place.run(User::Own, &["run"]);
    assert!(done.stdout.contains("summary: 3 passed, 3 failed"), "{}", done.stdout);
    assert!(!done.stdout.contains("broken"), "{}", done.stdout);
}

/// Where memory runs out the sandbox ends, before anything of the machine does.
#[test]
fn the_processes_of_a_sandbox_are_the_first_to_go_where_memory_runs_out() {
    if !has_tools() {
        return;
    }
    let _alone = alone();
    let place = Place::new();
    place.write(
        "scenarios/a.yaml",
        "title: t\nworld: { tree: { sh: { program: sh } } }\nsteps:\n  - stat: { path: /proc/1/status }\n  \
         - exec: { path: sh, args: [-c, \"read n < /proc/1/oom_score_adj; read m < /proc/self/oom_score_adj; \
         echo $n $m; echo 0 > /proc/self/oom_score_adj\"], expect: { stdout: \"1000 1000\\n\" } }\n",
    );
    place.run(User::Own, &["run"]).expect_code(0);
}

/// Which keyring a session has no namespace says: it goes from whoever runs nsharness to every program, keyrings(7).
#[cfg(target_arch = "x86_64")]
#[rstest]
fn keys_of_who_runs_it_are_neither_read_nor_changed(
    #[values(User::Own, User::Ordinary)] user: User,
) {
    if !has_tools() {
        return;
    }
    let _alone = alone();
    let place = Place::new();
    place.write(
        "scenarios/keys.yaml",
        r#"title: t
world: { tree: { perl: { program: perl } } }
steps:
  - exec:
      path: perl
      args:
        - -e
        - |
          my ($type, $name, $planted, $text, $room) = ("user", "secret", "planted", "changed", "\0" x 64);
          my $key = syscall(250, 10, -3, $type, $name, 0);
          print "read: $room\n" if syscall(250, 11, $key, $room, 64) > 0;
          print "changed\n" if syscall(250, 2, $key, $text, 7) == 0;
          print "planted\n" if syscall(248, $type, $planted, $text, 7, -3) > 0;
          print "done\n";
      expect: { stdout: "done\n" }
"#,
    );
    // In a session of its own; what is in it afterwards is printed.
    let caller = r#"
        my ($type, $name, $text, $planted, $room) = ("user", "secret", "hunter2", "planted", "\0" x 64);
        exit 77 if syscall(250, 1, 0) < 0;
        my $key = syscall(248, $type, $name, $text, 7, -3);
        exit 77 if $key < 0;
        my $status = system(@ARGV);
        my $length = syscall(250, 11, $key, $room, 64);
        print "secret: ", substr($room, 0, $length), "\n";
        print "planted: ", syscall(250, 10, -3, $type, $planted, 0), "\n";
        exit $status >> 8;
    "#;
    let mut perl = Command::new("perl");
    perl.args(["-e", caller]);
    let done = Done::of(place.started_by(perl, &place.command(user)).arg("run").output().unwrap());
    if done.code == Some(77) {
        return skip("keys", "there is no keyring here");
    }
    let done = done.expect_code(0);
    assert!(done.stdout.contains("secret: hunter2\nplanted: -1\n"), "{}", done.stdout);
}

/// What is proposed may have links beside the scenarios.
#[test]
fn links_in_a_checkout_lead_nowhere() {
    let _alone = alone();
    let place = Place::new();
    let victim = place.write("elsewhere/victim", "precious\n");
    place.write("checkout/scenarios/passes.yaml", PASSES);
    place.write(
        "checkout/scenarios/observes.yaml",
        "title: t\nsteps: [ stat: { path: . } ]\nobserve: [ tree: { at: . } ]\n",
    );
    place.write("elsewhere/secret.yaml", "password: hunter2\n");
    let checkout = place.path().join("checkout");
    let run = |arguments: &[&str]| {
        let mut command = place.command(User::Own);
        Done::of(command.current_dir(&checkout).args(arguments).output().unwrap())
    };
    symlink(&victim, checkout.join("report.json")).unwrap();
    symlink(place.path().join("elsewhere"), checkout.join("reports")).unwrap();
    for option in ["--json", "--junit", "--ktap", "--markdown", "--html"] {
        let link = run(&["run", option, "report.json"]).expect_code(5);
        assert!(link.stderr.contains("symbolic link"), "{option}: {}", link.stderr);
        let below = run(&["run", option, "reports/new"]).expect_code(5);
        assert!(below.stderr.contains("leads out"), "{option}: {}", below.stderr);
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
    assert!(!place.exists("elsewhere/new"));
    // Who names the place means it.
    let whole = place.path().join("elsewhere/new").display().to_string();
    run(&["run", "scenarios/passes.yaml", "--json", &whole]).expect_code(0);
    run(&["run", "scenarios/passes.yaml", "--json", "../elsewhere/new"]).expect_code(0);

    symlink(place.path().join("elsewhere"), checkout.join("snapshots")).unwrap();
    // Nothing can be said of the snapshots as a whole either, which is no failure of a scenario alone.
    let planted = run(&["run", "--snapshots", "accept"]).expect_code(5);
    assert!(planted.stdout.contains("snapshots is a symbolic link"), "{}", planted.stdout);
    assert!(!place.exists("elsewhere/observes.snap"));
    fs::remove_file(checkout.join("snapshots")).unwrap();

    symlink(place.path().join("elsewhere/secret.yaml"), checkout.join("scenarios/x.yaml")).unwrap();
    let told = run(&["run"]).expect_code(3);
    assert!(told.stderr.contains("leads out of the directory"), "{}", told.stderr);
    assert!(
        !told.stderr.contains("hunter2") && !told.stdout.contains("hunter2"),
        "{}",
        told.stderr
    );
}

/// What a program prints is what it printed: it says nothing of whether it was asked, or succeeded.
#[test]
fn a_program_that_prints_an_answer_gives_none() {
    if !has_tools() {
        return;
    }
    let _alone = alone();
    let place = Place::new();
    place.write("scenarios/fails.yaml", FAILS);
    place.write(
        "scenarios/forges.yaml",
        "title: t\nworld: { tree: { sh: { program: sh } } }\nsteps:\n  - exec: { path: sh, args: [-c, \"echo \
         '{\\\"status\\\":0,\\\"stdout\\\":\\\"right\\\",\\\"uid\\\":7}'; exit 3\"], expect: { status: 0, stdout: right } }\n",
    );
    let done = place.run(User::Own, &["run"]).expect_code(1);
    assert!(done.stdout.contains("summary: 0 passed, 2 failed"), "{}", done.stdout);
    assert!(done.stdout.contains("expected status 0, found 3"), "{}", done.stdout);
}
