//! A disk that is full or read-only, a limit that is reached, something of the system that is not there, a second run at
//! the same time: it is said what is wrong, and nothing that looks whole is not.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::{Done, FAILS, PASSES, Place, User, is_root, json_lines, skip};
use nsharness::programs;
use rstest::rstest;

/// A scenario that observes something.
const OBSERVES: &str = "\
title: A file that was written is there
steps:
  - write: { path: f, data: hello }
observe:
  - tree: { at: . }
";

/// A place with many scenarios: their reports are larger than a page.
fn place() -> Place {
    let place = Place::new();
    for number in 0..40 {
        place.write(&format!("scenarios/passes-{number}.yaml"), PASSES);
    }
    place.write("small/.keep", "");
    fs::remove_file(place.path().join("small/.keep")).unwrap();
    place
}

/// Runs a script of the shell in a mount namespace of its own, where it may mount; `$N` is the command. `None` is a skip.
fn apart(place: &Place, script: &str) -> Option<Done> {
    place.run(User::Own, &["--version"]).expect_code(0);
    let inner = place.command(User::Own);
    let mut command = Command::new("unshare");
    command.args(if is_root() { &["-m"][..] } else { &["-rm"][..] });
    command.args(["sh", "-c", &format!("mount --make-rprivate / && echo apart >&2 && {script}")]);
    common::take_environment(&mut command, &inner);
    command.current_dir(place.path()).env("N", inner.get_program());
    let done = Done::of(command.output().ok()?);
    if !done.stderr.starts_with("apart\n") {
        skip("userns", &format!("a mount namespace of its own cannot be had: {}", done.stderr));
        return None;
    }
    Some(done)
}

#[rstest]
#[case("--json", "json")]
#[case("--junit", "junit")]
#[case("--ktap", "ktap")]
#[case("--markdown", "markdown")]
#[case("--html", "html")]
#[case("--record", "record")]
fn a_report_that_has_no_room_is_named_and_nothing_looks_whole(
    #[case] option: &str,
    #[case] name: &str,
) {
    let place = place();
    let full = place.run(User::Own, &["run", option, "/dev/full"]).expect_code(5);
    assert!(full.stderr.contains("/dev/full: No space left"), "{}", full.stderr);
    let file = format!("small/{name}");
    let script = format!(
        "mount -t tmpfs -o size=4k none small; head -c 4000 /dev/zero > small/filler; $N run {option} {file}; \
         code=$?; cat {file} > copy; ls -A small; exit $code"
    );
    let Some(done) = apart(&place, &script) else { return };
    let done = done.expect_code(5);
    assert!(done.stderr.contains(&format!("{file}: No space left")), "{}", done.stderr);
    let listed: Vec<_> = done.stdout.lines().rev().take(2).collect();
    assert_eq!(listed, [name, "filler"], "{}", done.stdout);
    let left = place.read("copy");
    if option == "--json" {
        // What stands there has no last line, and is refused.
        let merged = place.run(User::Own, &["merge", "copy"]);
        assert_ne!(merged.code, Some(0), "{}", merged.stdout);
        place.run(User::Own, &["diff", "copy", "copy"]).expect_code(5);
    } else {
        assert_eq!(left, "");
    }
}

/// As above, where the disk fails: strace(1) has system calls of the supervisor end with EIO, write(2) to the stream
/// and fdatasync(2) of what has no name before it is whole.
#[rstest]
#[case("--json", "write")]
#[case("--junit", "fdatasync")]
#[case("--ktap", "fdatasync")]
#[case("--markdown", "fdatasync")]
#[case("--html", "fdatasync")]
#[case("--record", "fdatasync")]
fn a_disk_that_fails_is_told(#[case] option: &str, #[case] call: &str) {
    if programs::in_path("strace").is_none() {
        skip("strace", "it is not installed");
        return;
    }
    let place = place();
    place.run(User::Own, &["--version"]).expect_code(0);
    let inner = place.command(User::Own);
    let mut command = Command::new("strace");
    command.args(["-o", "trace", &format!("--inject={call}:error=EIO")]);
    if call == "write" {
        command.arg("--trace-path").arg(place.path().join("report"));
    }
    let mut command = place.started_by(command, &inner);
    command.args(["run", option, "report", "--quiet"]);
    let done = Done::of(command.output().unwrap());
    if done.stderr.contains("ptrace") {
        skip("strace", &done.stderr);
        return;
    }
    assert!(place.read("trace").contains("INJECTED"), "{}", place.read("trace"));
    let done = done.expect_code(5);
    assert!(done.stderr.contains("report: Input/output error"), "{}", done.stderr);
    assert_eq!(place.read("report"), "");
    let hidden = fs::read_dir(place.path()).unwrap().flatten();
    let hidden: Vec<_> = hidden.filter(|e| e.file_name().as_encoded_bytes()[0] == b'.').collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn snapshots_evidence_and_pages_that_have_no_room_are_told() {
    let place = place();
    place.write("scenarios/a.yaml", OBSERVES);
    place.write("scenarios/fails.yaml", FAILS);
    let script = "mkdir snapshots; mount -t tmpfs -o size=4k none snapshots; head -c 4096 /dev/zero > snapshots/filler; \
                  $N run --snapshots accept scenarios/a.yaml; code=$?; ls -A snapshots; exit $code";
    let Some(done) = apart(&place, script) else { return };
    let done = done.expect_code(1);
    assert!(done.stdout.contains("a.snap: it cannot be written: No space left"), "{}", done.stdout);
    assert!(
        done.stdout.ends_with("summary: 0 passed, 1 failed, 0 skipped\nfiller\n"),
        "{}",
        done.stdout
    );

    let full = "mount -t tmpfs -o size=4k none small; head -c 4096 /dev/zero > small/filler;";
    let kept =
        apart(&place, &format!("{full} $N run --keep small/kept scenarios/fails.yaml")).unwrap();
    assert!(kept.expect_code(5).stderr.contains("small/kept: No space left"));
    let pages = apart(
        &place,
        &format!("{full} $N man small/man; code=$?; find small/man -type f; exit $code"),
    );
    let pages = pages.unwrap().expect_code(5);
    assert!(pages.stderr.contains("small/man: No space left"), "{}", pages.stderr);
    assert_eq!(pages.stdout, "");
    let explained = apart(
        &place,
        &format!(
            "{full} $N explain scenarios/a.yaml --html small/page; code=$?; wc -c < small/page; exit $code"
        ),
    );
    let explained = explained.unwrap().expect_code(5);
    assert!(explained.stderr.contains("small/page: No space left"), "{}", explained.stderr);
    assert_eq!(explained.stdout, "0\n");
    // A run is no worse for a cache that is full, but what failed cannot be remembered.
    let cached = format!(
        "{full} NSHARNESS_CACHE=$PWD/small $N run scenarios/fails.yaml; code=$?; find small -type f; exit $code"
    );
    let cached = apart(&place, &cached).unwrap().expect_code(1);
    assert!(cached.stderr.contains("not remembered"), "{}", cached.stderr);
    assert!(cached.stdout.ends_with("small/filler\n"), "{}", cached.stdout);
}

/// The model lacks a rule, so that there is something to find.
#[cfg(debug_assertions)]
#[test]
fn a_search_that_has_no_room_says_so_and_its_record_is_whole() {
    let place = place();
    for kilobytes in [4, 12, 24] {
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k none small; $N search overlay --seed 10 --quiet --jobs 1 --count 200 \
             --without files.rmdir.not-empty --out small/found; code=$?; ls -A small/found | grep '^[.]'; \
             cat small/found/*.json > copy; exit $code"
        );
        let Some(done) = apart(&place, &script) else { return };
        let done = done.expect_code(5);
        assert!(done.stderr.contains("No space left"), "{}", done.stderr);
        assert!(!done.stdout.lines().any(|line| line.starts_with('.')), "{}", done.stdout);
        let record = place.read("copy");
        assert!(record.is_empty() || serde_json::from_str::<serde_json::Value>(&record).is_ok());
    }
}

/// What a full device is for: whatever prints says that it could not.
#[rstest]
fn output_that_has_no_room_is_an_error(
    #[values("--help", "--version", "list", "schema", "completions bash", "rules", "run", "check")]
    arguments: &str,
) {
    let place = place();
    let mut command = place.command(User::Own);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command.args(arguments.split(' ')).stdout(full).output().unwrap();
    let done = Done::of(output).expect_code(5);
    assert!(done.stderr.contains("No space left"), "{}", done.stderr);
}

#[test]
fn a_limit_of_files_is_an_error_and_no_death() {
    let place = place();
    place.run(User::Own, &["--version"]).expect_code(0);
    let inner = place.command(User::Own);
    let mut command = Command::new("sh");
    common::take_environment(&mut command, &inner);
    command.current_dir(place.path()).env("N", inner.get_program());
    let script = "ulimit -f 1; $N run --json out.json";
    let done = Done::of(command.args(["-c", script]).output().unwrap()).expect_code(5);
    assert!(done.stderr.contains("out.json: File too large"), "{}", done.stderr);
}

/// Few descriptors, processes or little memory: whatever comes of it, it is no success unless everything passed.
#[rstest]
fn what_is_short_is_never_a_success(
    #[values(
        "-n 3",
        "-n 5",
        "-n 6",
        "-n 7",
        "-n 8",
        "-n 9",
        "-n 10",
        "-u 1",
        "-u 3",
        "-u 4",
        "-u 5",
        "-v 100000",
        "-v 300000"
    )]
    limit: &str,
) {
    let place = place();
    place.write("scenarios/a.yaml", "title: t\nworld: { actors: { a: {}, b: {} } }\nsteps:\n  - stat: { path: ., as: a }\n  - stat: { path: ., as: b }\n");
    let program = place.path().join("nsharness");
    place.run(User::Own, &["--version"]).expect_code(0);
    let mut shell = Command::new("bash");
    if is_root() {
        shell = Command::new("setpriv");
        shell.args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "bash"]);
    }
    shell
        .args(["-c", &format!("ulimit {limit} && exec $N run --jobs 1")])
        .current_dir(place.path());
    shell.env("N", program).env("NO_COLOR", "1").env("HOME", place.path());
    let done = Done::of(shell.output().unwrap());
    let all = done.stdout.contains("summary: 41 passed, 0 failed, 0 skipped");
    assert_eq!(done.code == Some(0), all, "{done:?}");
    assert!([Some(0), Some(1), Some(4), Some(5)].contains(&done.code), "{done:?}");
    assert!(
        !done.stderr.contains("panicked") && !done.stderr.contains("bug in"),
        "{}",
        done.stderr
    );
    assert!(done.code == Some(0) || done.stdout.lines().count() + done.stderr.lines().count() > 0);
}

#[test]
fn a_checkout_that_is_read_only_is_run_and_what_would_be_written_is_told() {
    let place = place();
    place.write("scenarios/a.yaml", OBSERVES);
    place.run(User::Own, &["run", "--snapshots", "accept"]).expect_code(0);
    // The cache is elsewhere.
    let ro = "mkdir -p /tmp/nothing 2>/dev/null; mount --bind . . && mount -o remount,bind,ro . && cd \"$PWD\" && \
              unset NSHARNESS_CACHE HOME XDG_CACHE_HOME &&";
    for mode in ["check", "new", "accept"] {
        let Some(done) = apart(&place, &format!("{ro} $N run --snapshots {mode}")) else { return };
        done.expect_code(0);
    }
    fs::remove_file(place.path().join("snapshots/a.snap")).unwrap();
    for mode in ["new", "accept"] {
        let done =
            apart(&place, &format!("{ro} $N run --snapshots {mode}")).unwrap().expect_code(1);
        assert!(
            done.stdout.contains("cannot be written: Read-only file system"),
            "{}",
            done.stdout
        );
        assert!(done.stdout.contains("summary: 40 passed, 1 failed, 0 skipped"), "{}", done.stdout);
    }
    let done = apart(&place, &format!("{ro} $N run --json out.json")).unwrap().expect_code(5);
    assert!(done.stderr.contains("out.json: Read-only file system"), "{}", done.stderr);
}

#[test]
fn without_proc_it_is_said_that_it_is_missing() {
    let place = place();
    let Some(done) = apart(&place, "umount -l /proc && $N run") else { return };
    let done = done.expect_code(4);
    assert!(done.stdout.contains("/proc"), "{}", done.stdout);
    assert!(done.stdout.contains("mount -t proc proc /proc"), "{}", done.stdout);
}

#[test]
fn neither_tmp_nor_home_nor_shm_is_needed() {
    let place = place();
    let script = "mkdir small/run && cp $N small/ && cp -r scenarios small/ && mount --bind small /mnt && cd /mnt && \
                  mount -t tmpfs -o ro,size=4k none /tmp; mount -t tmpfs -o ro none /dev/shm; unset HOME NSHARNESS_CACHE \
                  XDG_CACHE_HOME; TMPDIR=/nowhere ./nsharness run";
    let Some(done) = apart(&place, script) else { return };
    assert!(done.expect_code(0).stdout.contains("summary: 40 passed"));
}

/// A file that is opened must not be standard output: what is printed would be in a report.
#[rstest]
fn standard_streams_that_are_closed_are_no_reports(
    #[values(">&-", "2>&-", "<&-", ">&- 2>&- <&-")] closed: &str,
) {
    let place = place();
    place.write("scenarios/fails.yaml", FAILS);
    let program = place.path().join("nsharness");
    place.run(User::Own, &["--version"]).expect_code(0);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec $N run --json out.json --junit out.xml {closed}")]);
    shell.current_dir(place.path()).env("N", program).env("NSHARNESS_CACHE", place.path());
    assert_eq!(shell.status().unwrap().code(), Some(1));
    let events = json_lines(&place.read("out.json"));
    assert_eq!(events.len(), 43);
    assert!(
        place.read("out.xml").starts_with("<?xml")
            && place.read("out.xml").ends_with("</testsuites>\n")
    );
}

#[test]
fn a_reader_that_goes_away_changes_no_answer() {
    let place = place();
    place.write("scenarios/fails.yaml", FAILS);
    for (arguments, code) in
        [("run", 1), ("run scenarios/passes-1.yaml", 0), ("list", 0), ("--help", 0)]
    {
        let mut child = place
            .command(User::Own)
            .args(arguments.split(' '))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments}");
    }
}

#[test]
fn runs_at_the_same_time_in_one_checkout_do_not_disturb_each_other() {
    const RUNS: usize = 6;
    let place = place();
    for number in 0..10 {
        place.write(&format!("scenarios/observes-{number}.yaml"), OBSERVES);
    }
    place.write("scenarios/fails.yaml", FAILS);
    place.run(User::Own, &["--version"]).expect_code(0);
    for round in 0..3 {
        let _ = fs::remove_dir_all(place.path().join("snapshots"));
        let start = |run: usize| {
            let mut command = place.command(User::Own);
            let (json, html) = (format!("{run}.json"), "same.html".to_owned());
            command.args(["run", "--snapshots", "accept", "--keep", "kept", "--jobs", "2"]);
            command.args(["--json", &json, "--html", &html]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let runs: Vec<_> = (0..RUNS).map(start).collect();
        for (number, run) in runs.into_iter().enumerate() {
            let done = Done::of(run.wait_with_output().unwrap()).expect_code(1);
            assert!(
                done.stdout.contains("summary: 50 passed, 1 failed"),
                "{round}: {}",
                done.stdout
            );
            assert_eq!(done.stderr, "");
            assert_eq!(json_lines(&place.read(&format!("{number}.json"))).len(), 53);
        }
        let snapshots = common::machine::names(&place.path().join("snapshots"));
        let expected = (0..10).map(|number| format!("observes-{number}.snap")).collect();
        assert_eq!(snapshots, expected);
        assert!(place.read("same.html").trim_end().ends_with("</html>"));
        place
            .run(User::Own, &["run", "--snapshots", "check", "scenarios/observes-1.yaml"])
            .expect_code(0);
    }
    let left: Vec<_> = fs::read_dir(place.path().join("cache/last-run")).unwrap().collect();
    assert_eq!(left.len(), 1);
    place.run(User::Own, &["run", "--failed"]);
}

#[test]
fn two_runs_do_not_write_one_stream() {
    let place = place();
    let first = File::create(place.path().join("out.json")).unwrap();
    rustix::fs::flock(&first, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let done = place.run(User::Own, &["run", "--json", "out.json"]).expect_code(5);
    assert!(done.stderr.contains("out.json: another process is writing it"), "{}", done.stderr);
    drop(first);
    place.run(User::Own, &["run", "--json", "out.json"]).expect_code(0);
}

#[test]
fn guests_of_one_kernel_at_the_same_time_do_not_disturb_each_other() {
    let place = place();
    let Some(kernel) = place.kernel("uml") else { return };
    place.run(User::Own, &["--version"]).expect_code(0);
    let start = |_| {
        let mut command = place.command(User::Own);
        command.args(["run", "--on", &kernel]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let runs: Vec<_> = (0..3).map(start).collect();
    for run in runs {
        let done = Done::of(run.wait_with_output().unwrap()).expect_code(0);
        assert!(done.stdout.contains("summary: 40 passed, 0 failed, 0 skipped"), "{}", done.stdout);
    }
}

/// The clock is set while scenarios run: deadlines and durations come of another.
#[test]
fn a_clock_that_is_set_ends_nothing_early() {
    if programs::in_path("date").is_none() {
        skip("date", "it is not in PATH");
        return;
    }
    let place = Place::new();
    for (number, time) in ["2001-01-01", "2035-01-01", "1975-01-01"].iter().enumerate() {
        place.write(
            &format!("scenarios/set-{number}.yaml"),
            &format!(
                "title: t\nrequires: [root]\nworld: {{ tree: {{ date: {{ program: date }} }} }}\nsteps:\n  \
                 - exec: {{ path: date, args: [-s, \"{time}\"], expect: {{ status: 0 }} }}\n  - write: {{ path: f, data: x }}\n"
            ),
        );
    }
    place.write("scenarios/t.yaml", PASSES);
    let Some(kernel) = place.kernel("uml") else { return };
    let done = place.run(User::Own, &["run", "--on", &kernel, "--json", "out.json"]).expect_code(0);
    assert!(done.stdout.contains("summary: 4 passed, 0 failed, 0 skipped"), "{}", done.stdout);
    for event in json_lines(&place.read("out.json")) {
        let seconds = event["seconds"].as_f64().unwrap_or_default();
        assert!((0.0..60.0).contains(&seconds), "{event}");
    }
}

/// Who may not write the directory of a report may still write the report.
#[test]
fn a_report_is_written_where_only_the_file_may_be() {
    let place = place();
    let report = place.write("closed/out.md", "before");
    fs::set_permissions(place.path().join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    place.run(User::Ordinary, &["run", "--markdown", "closed/out.md"]).expect_code(0);
    assert!(fs::read_to_string(&report).unwrap().contains("40 passed"));
}
