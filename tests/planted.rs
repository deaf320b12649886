//! What somebody else put where nsharness reads or writes: links, pipes, sockets, directories, files without end. Nothing is
//! written, read or removed by them, and what is wrong is said.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Done, FAILS, PASSES, Place, User, is_root, skip};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use nsharness::programs;
use nsharness::search::findings::{Found, Record, Search};
use nsharness::search::{Cause, Deviation, Finding, document};
use rstest::rstest;

/// No reader takes longer than this to refuse what it is given, however large.
const SOON: Duration = Duration::from_secs(20);

/// Beside the checkout is what nobody may reach.
struct Planted {
    place: Place,
}

impl Planted {
    fn new() -> Self {
        let place = Place::new();
        place.write("elsewhere/victim", "precious\n");
        place.write("checkout/scenarios/fails.yaml", FAILS);
        Self { place }
    }

    fn checkout(&self) -> PathBuf {
        self.place.path().join("checkout")
    }

    fn elsewhere(&self) -> PathBuf {
        self.place.path().join("elsewhere")
    }

    /// Plants a link in the checkout to what is elsewhere.
    fn link(&self, name: &str, to: &str) {
        let at = self.checkout().join(name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(self.elsewhere().join(to), at).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Done {
        let mut command = self.place.command(User::Own);
        Done::of(command.current_dir(self.checkout()).args(arguments).output().unwrap())
    }

    /// The command does not do that, for this reason.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], why: &str) {
        let done = self.run(arguments).expect_code(5);
        assert!(done.stderr.contains(why), "{arguments:?}: {}", done.stderr);
        self.assert_untouched();
    }

    #[track_caller]
    fn assert_untouched(&self) {
        let entries = fs::read_dir(self.elsewhere()).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["victim"]);
        assert_eq!(self.place.read("elsewhere/victim"), "precious\n");
    }
}

/// A directory of findings with one of this name.
fn findings(directory: &Path, name: Option<&str>) -> String {
    let search = Search {
        family: "overlay".into(),
        target: "host".into(),
        kernel: "6.12.1".into(),
        seed: 7,
        shard: "1/1".parse().unwrap(),
        next: 30,
        trials: 10,
        broken: 0,
    };
    let (kernel, model) = ("EIO".to_owned(), "ok".to_owned());
    let (kernel_says, model_says) = (kernel.clone(), model.clone());
    let cause =
        Cause { what: "mkdir".into(), kernel: kernel_says, model: model_says, rules: vec![] };
    let text = "title: Found\nsteps: [ mkdir: { path: a } ]\n";
    let finding = Finding {
        cause: cause.clone(),
        count: 1,
        first: 3,
        smallest: document::read(text, "found").expect("a scenario"),
        deviation: Deviation {
            place: nsharness::search::Place::Step(0),
            kernel,
            model,
            rules: Vec::new(),
            cause,
        },
        again: None,
    };
    let mut found = Found::new(finding, "6.12.1");
    if let Some(name) = name {
        found.name = name.to_owned();
    }
    let name = found.name.clone();
    let mut record = Record::of(search);
    record.findings.push(found);
    record.write(directory, &BTreeMap::new()).expect("a record");
    name
}

#[test]
fn no_directory_that_is_written_into_is_a_link() {
    let planted = Planted::new();
    planted.link("out", "");
    findings(&planted.checkout().join("good"), None);
    for into in ["out", "out/", "./out"] {
        let why = "it is a symbolic link: name the directory that it leads to";
        planted.refuses(&["run", "--keep", into], why);
        planted.refuses(&["search", "ownership", "--count", "1", "--out", into], why);
        planted.refuses(&["search", "ownership", "--count", "1", "--out", into, "--resume"], why);
        planted.refuses(&["findings", "merge", "good", "--out", into], why);
        planted.refuses(&["man", into], why);
    }
    let (below, why) = ("out/below", "it leads out of this directory by a symbolic link");
    planted.refuses(&["run", "--keep", below], why);
    planted.refuses(&["search", "ownership", "--count", "1", "--out", below], why);
    planted.refuses(&["findings", "merge", "good", "--out", below], why);
    planted.refuses(&["man", below], why);
    // Who names the place means it.
    let whole = planted.elsewhere().join("new").display().to_string();
    planted.run(&["run", "--keep", &whole]).expect_code(1);
    planted.run(&["findings", "merge", "good", "--out", "../elsewhere/all"]).expect_code(0);
    assert!(planted.place.exists("elsewhere/new/fails/plan.json"));
    assert!(planted.place.exists("elsewhere/all/findings.json"));
}

#[test]
fn evidence_is_kept_behind_no_link_and_takes_the_place_of_what_is_there() {
    let planted = Planted::new();
    planted.link("evidence/fails", "");
    planted.refuses(&["run", "--keep", "evidence"], "evidence/fails is a symbolic link");

    fs::remove_file(planted.checkout().join("evidence/fails")).unwrap();
    planted.link("evidence/fails/plan.json", "victim");
    let evidence = planted.checkout().join("evidence/fails");
    mkfifo(&evidence.join("voices.json"), Mode::from_bits_truncate(0o666)).unwrap();
    let _socket = UnixListener::bind(evidence.join("reasons.txt")).unwrap();
    let began = Instant::now();
    planted.run(&["run", "--keep", "evidence"]).expect_code(1);
    assert!(began.elapsed() < SOON, "took {:?}", began.elapsed());
    planted.assert_untouched();
    for name in ["plan.json", "voices.json", "reasons.txt"] {
        let there = evidence.join(name).symlink_metadata().unwrap();
        assert!(there.is_file() && there.len() > 0, "{name}: {there:?}");
    }

    fs::remove_file(evidence.join("plan.json")).unwrap();
    fs::create_dir(evidence.join("plan.json")).unwrap();
    planted.refuses(&["run", "--keep", "evidence"], "s a directory");
    assert!(evidence.join("plan.json").is_dir());
}

#[test]
fn what_a_search_found_is_neither_read_nor_written_elsewhere() {
    let planted = Planted::new();
    let name = findings(&planted.checkout().join("good"), None);
    // A file of the machine is no scenario that was found.
    planted.link(&format!("good/{name}.yaml"), "victim");
    planted.refuses(&["findings", "merge", "good", "--out", "all"], "is a symbolic link");
    assert!(!planted.place.exists("checkout/all"));

    for name in ["../../elsewhere/planted", "/etc/planted", "", "a.b"] {
        fs::remove_dir_all(planted.checkout().join("good")).unwrap();
        findings(&planted.checkout().join("good"), Some(name));
        planted.place.write("checkout/good/planted.yaml", "text");
        for arguments in [
            &["findings", "merge", "good", "--out", "all"][..],
            &["search", "overlay", "--count", "1", "--out", "good", "--resume"],
        ] {
            let done = planted.run(arguments).expect_code(2);
            assert!(done.stderr.contains("is no name of a finding"), "{}", done.stderr);
        }
        planted.assert_untouched();
    }

    // What is in the way is replaced, or said.
    findings(&planted.checkout().join("other"), None);
    planted.link("merged/findings.json", "victim");
    planted.run(&["findings", "merge", "other", "--out", "merged"]).expect_code(0);
    planted.assert_untouched();
    assert!(!planted.checkout().join("merged/findings.json").is_symlink());
}

#[test]
fn snapshots_elsewhere_are_not_reviewed() {
    let planted = Planted::new();
    let observes = "title: t\nsteps: [ mkdir: { path: d } ]\nobserve: [ tree: { at: . } ]\n";
    planted.place.write("checkout/scenarios/observes.yaml", observes);
    let victim = planted.elsewhere().join("victim.snap");
    planted.link("snapshots", "");
    for command in ["status", "prune"] {
        fs::write(&victim, "precious\n").unwrap();
        let done = planted.run(&["snap", command, "scenarios"]).expect_code(5);
        assert!(done.stderr.contains("snapshots is a symbolic link"), "{}", done.stderr);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
        fs::remove_file(&victim).unwrap();
    }
    for command in ["accept", "reject"] {
        let pending = planted.elsewhere().join("observes.snap.new");
        fs::write(&pending, "precious\n").unwrap();
        let done = planted.run(&["snap", command, "scenarios"]).expect_code(5);
        assert!(done.stderr.contains("snapshots is a symbolic link"), "{}", done.stderr);
        fs::remove_file(&pending).unwrap();
        planted.assert_untouched();
    }

    // A pending one that is a link is thrown away, and never the record.
    fs::remove_file(planted.checkout().join("snapshots")).unwrap();
    planted.link("snapshots/observes.snap.new", "victim");
    let done = planted.run(&["snap", "accept", "scenarios"]).expect_code(5);
    assert!(done.stderr.contains("observes.snap.new is a symbolic link"), "{}", done.stderr);
    planted.run(&["snap", "reject", "scenarios"]).expect_code(0);
    assert!(!planted.place.exists("checkout/snapshots/observes.snap.new"));
    planted.assert_untouched();
}

/// By hand there is no sandbox: a link of the world leads to what the machine has there.
#[test]
fn a_bundle_is_made_in_its_directory_alone() {
    if programs::in_path("runc").is_none() {
        return skip("runtime", "runc is not in PATH");
    }
    let planted = Planted::new();
    let elsewhere = planted.elsewhere().display().to_string();
    let scenario = |tree: &str| {
        let text = format!(
            "title: t\nworld:\n  container: {{}}\n  tree:\n{tree}steps:\n  - create: {{}}\n  - start: {{}}\n"
        );
        planted.place.write("checkout/scenarios/contained.yaml", &text);
    };
    for tree in [
        format!("    way: {{ symlink: {elsewhere} }}\n    way/new: {{ file: x }}\n"),
        format!("    way: {{ symlink: {elsewhere} }}\n    way/a/b: dir\n"),
        "    way: { symlink: . }\n    way/new: { file: x }\n".to_owned(),
    ] {
        scenario(&tree);
        let done = planted.run(&["bundle", "scenarios/contained.yaml", "there"]).expect_code(2);
        assert!(done.stderr.contains("lies behind a symbolic link"), "{tree}{}", done.stderr);
        assert!(!planted.place.exists("checkout/there"));
        planted.assert_untouched();
    }
    // A link that nothing lies behind is a link.
    scenario(&format!("    way: {{ symlink: {elsewhere} }}\n"));
    planted.link("out", "");
    planted.refuses(&["bundle", "scenarios/contained.yaml", "out"], "it is a symbolic link");
    planted.refuses(&["bundle", "scenarios/contained.yaml", "out/there"], "leads out of");
    planted.run(&["bundle", "scenarios/contained.yaml", "there"]).expect_code(0);
    assert!(planted.checkout().join("there/way").is_symlink());
    planted.assert_untouched();
}

/// Outside a sandbox a set-user-ID program is of whoever wrote the bundle, and a device is the machine's.
#[test]
fn a_bundle_gives_rights_to_nobody() {
    if programs::in_path("runc").is_none() {
        return skip("runtime", "runc is not in PATH");
    }
    let planted = Planted::new();
    let mut worlds = vec![
        ("plain", "{ file: x, mode: 0755 }", false),
        ("setuid", "{ file: x, mode: 04755 }", true),
        ("setgid", "{ type: dir, mode: 02777 }", true),
    ];
    if is_root() {
        worlds.push(("device", "{ char: \"1:3\", mode: 0666 }", true));
    }
    for (name, entry, is_private) in worlds {
        planted.place.write(
            "checkout/scenarios/contained.yaml",
            &format!(
                "title: t\nworld:\n  container: {{}}\n  tree:\n    it: {entry}\nsteps:\n  - create: {{}}\n  - start: {{}}\n"
            ),
        );
        planted.run(&["bundle", "scenarios/contained.yaml", name]).expect_code(0);
        let mode = fs::metadata(planted.checkout().join(name)).unwrap().mode();
        assert_eq!(mode & 0o077 == 0, is_private, "{name}: {mode:o}");
    }
}

/// What stands where a file ought to be.
#[derive(Clone, Copy, Debug)]
enum Odd {
    Pipe,
    Socket,
    Directory,
    Endless,
}

impl Odd {
    fn put(self, at: &Path) {
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let _ = fs::remove_file(at);
        match self {
            Self::Pipe => mkfifo(at, Mode::from_bits_truncate(0o666)).unwrap(),
            Self::Socket => drop(UnixListener::bind(at).unwrap()),
            Self::Directory => fs::create_dir(at).unwrap(),
            // It has no blocks, and to read it would take this much memory.
            Self::Endless => File::create(at).unwrap().set_len(1 << 40).unwrap(),
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Endless => "larger than ",
            _ => "not a regular file",
        }
    }
}

/// Runs a command with little memory.
fn run(place: &Place, arguments: &[&str]) -> Done {
    let mut limit = Command::new("prlimit");
    limit.arg(format!("--as={}", 2_u64 << 30));
    let mut command = place.started_by(limit, &place.command(User::Own));
    let began = Instant::now();
    let done = Done::of(command.args(arguments).output().unwrap());
    assert!(began.elapsed() < SOON, "{arguments:?} took {:?}", began.elapsed());
    done
}

#[rstest]
fn what_is_no_file_is_not_waited_for_and_what_has_no_end_is_not_read(
    #[values(Odd::Pipe, Odd::Socket, Odd::Directory, Odd::Endless)] odd: Odd,
) {
    let place = Place::new();
    place.write("scenarios/passes.yaml", PASSES);
    let observes = "title: t\nsteps: [ mkdir: { path: d } ]\nobserve: [ tree: { at: . } ]\n";
    place.write("scenarios/observes.yaml", observes);
    let says = |done: &Done| {
        assert!(
            done.stdout.contains(odd.why()) || done.stderr.contains(odd.why()),
            "{odd:?}: {}{}",
            done.stdout,
            done.stderr
        );
    };

    // A snapshot fails its case, and no other; and it stays.
    odd.put(&place.path().join("snapshots/observes.snap"));
    for mode in ["check", "new", "accept"] {
        let done = run(&place, &["run", "--snapshots", mode]).expect_code(1);
        says(&done);
        assert!(done.stdout.contains("summary: 1 passed, 1 failed"), "{}", done.stdout);
        assert!(place.exists("snapshots/observes.snap"));
    }

    // The record of the last run, which is written anew.
    let records: Vec<_> = fs::read_dir(place.path().join("cache/last-run")).unwrap().collect();
    let record = records.into_iter().next().unwrap().unwrap().path();
    odd.put(&record);
    let done = run(&place, &["run", "--failed"]).expect_code(2);
    says(&done);
    if !matches!(odd, Odd::Directory) {
        run(&place, &["run"]).expect_code(1);
        assert!(record.is_file(), "{record:?}");
    }

    odd.put(&place.path().join("found/findings.json"));
    for arguments in [
        &["findings", "merge", "found", "--out", "all"][..],
        &["search", "ownership", "--count", "1", "--out", "found"],
        &["search", "ownership", "--count", "1", "--out", "found", "--resume"],
    ] {
        says(&run(&place, arguments).expect_code(5));
    }
    assert!(!place.exists("all"));

    findings(&place.path().join("with-a-file"), None);
    let name = findings(&place.path().join("with-a-file"), None);
    odd.put(&place.path().join(format!("with-a-file/{name}.c")));
    says(&run(&place, &["findings", "merge", "with-a-file", "--out", "all"]).expect_code(5));

    odd.put(&place.path().join("cache/kernels/uml-6.12/kernel.json"));
    let done = run(&place, &["kernel", "list"]).expect_code(0);
    says(&done);
    run(&place, &["kernel", "remove", "uml-6.12"]).expect_code(0);
    assert!(!place.exists("cache/kernels/uml-6.12"));
}
