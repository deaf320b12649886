//! Processes of a run are killed, disks are full, things are missing: nothing is left behind, what is told is true, and
//! what was written is whole or is not there.
//!
//! `NSHARNESS_KILLS=1000 cargo test --test faults killed -- --nocapture` kills as often, `NSHARNESS_SEED` chooses others.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::machine::{Machine, Process, below, names};
use common::{Place, User, is_root};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use nsharness::programs;
use nsharness::report::read::{Asked, Told};
use nsharness::target::Unopened;
use rustix::process::set_child_subreaper;
use serde_json::Value;

/// How often a process is killed where nobody says otherwise.
const KILLS: usize = 24;
const SEED: u64 = 20_261_123;
/// How long a run may go on after one of its processes was killed, and what is left of one that was.
const PATIENCE: Duration = Duration::from_secs(90);
const DEPARTURE: Duration = Duration::from_secs(15);
/// How long a process of a kind is waited for.
const WATCH: Duration = Duration::from_secs(2);

/// One at a time: what a run leaves behind becomes a child of this process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    alone
}

/// Choices that are the same each time: SplitMix64.
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// One of these, each as often as its share.
    fn among<'w>(&mut self, works: &'w [Work]) -> &'w Work {
        let mut share = self.below(works.iter().map(|work| work.share).sum());
        let chosen = works.iter().find(|work| match share.checked_sub(work.share) {
            Some(rest) => {
                share = rest;
                false
            }
            None => true,
        });
        chosen.expect("a share below their sum")
    }
}

/// What a process is to a run.
fn kind(process: &Process, run: &Process, all: &[Process], place: &Place) -> &'static str {
    let own = place.path().join("nsharness");
    let parent = all.iter().find(|other| other.pid == process.parent);
    let is_other = process.exe.as_ref().is_some_and(|exe| *exe != own);
    match parent {
        _ if process.pid == run.pid => "supervisor",
        _ if process.exe.as_ref().is_some_and(|exe| exe.ends_with("linux.uml")) => "guest kernel",
        _ if is_other => "program",
        _ if process.depth == run.depth && process.parent == run.pid => "worker",
        _ if process.depth == run.depth => "helper",
        Some(parent) if parent.depth < process.depth => "first of a pid namespace",
        _ => "actor",
    }
}

/// Ends what a run left of itself; what that is.
fn leftovers() -> Vec<String> {
    let own = i32::try_from(std::process::id()).unwrap();
    let began = Instant::now();
    loop {
        while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        let left = below(own);
        if left.is_empty() || began.elapsed() > DEPARTURE {
            let told = left.iter().map(|process| format!("{process:?} {}", process.command()));
            let told = told.collect();
            for process in left {
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
            return told;
        }
        sleep(Duration::from_millis(2));
    }
}

/// Waits for a run to end.
#[track_caller]
fn ended(child: &mut Child) -> std::process::ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "it does not end: {:?}", below(child.id() as i32));
        sleep(Duration::from_millis(1));
    }
}

/// A text without the numbers of times: whether two are the same is a matter of how coarse the clock is.
fn without_times(text: &str) -> String {
    let mut parts = text.split("time#");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "time" + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

/// The reports of a run, by their options.
const REPORTS: &[(&str, &str)] = &[
    ("--json", "report.json"),
    ("--junit", "report.xml"),
    ("--ktap", "report.ktap"),
    ("--markdown", "report.md"),
    ("--html", "report.html"),
    ("--record", "recording"),
];

/// A run that is done again and again.
struct Work {
    name: &'static str,
    place: Place,
    user: User,
    arguments: Vec<String>,
    /// How many of a hundred runs are this one.
    share: usize,
    /// What it comes to where nobody is killed.
    whole: BTreeMap<String, Value>,
    records: BTreeMap<String, String>,
    recorded: usize,
    markdown: String,
    /// The names in its place before it, and after it.
    before: BTreeSet<String>,
    after: BTreeSet<String>,
    takes: Duration,
    /// What there is to be killed.
    kinds: BTreeSet<&'static str>,
}

impl Work {
    fn new(
        name: &'static str,
        share: usize,
        user: User,
        scenarios: &[&str],
        arguments: &[&str],
    ) -> Self {
        let place = Place::new();
        for scenario in scenarios {
            let text = fs::read_to_string(common::root().join("scenarios").join(scenario)).unwrap();
            place.write(&format!("checkout/scenarios/{scenario}"), &text);
        }
        place.write("tmp/.keep", "");
        fs::remove_file(place.path().join("tmp/.keep")).unwrap();
        place.write("cache/.keep", "");
        fs::remove_file(place.path().join("cache/.keep")).unwrap();
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        Self {
            name,
            place,
            user,
            arguments,
            share,
            whole: BTreeMap::new(),
            records: BTreeMap::new(),
            recorded: 0,
            markdown: String::new(),
            before: BTreeSet::new(),
            after: BTreeSet::new(),
            takes: Duration::ZERO,
            kinds: BTreeSet::new(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join("checkout").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    fn start(&self) -> Child {
        let mut command = self.place.command(self.user);
        let output = |name| File::create(self.place.path().join(name)).unwrap();
        command.current_dir(self.file("")).env("TMPDIR", self.place.path().join("tmp"));
        command.stdout(output("stdout")).stderr(output("stderr"));
        command.args(["run", "--snapshots", "accept", "--keep", "kept"]);
        for (option, file) in REPORTS {
            if *option != "--record" || !self.arguments.iter().any(|word| word == "--runtime") {
                command.args([option, file]);
            }
        }
        command.args(&self.arguments).spawn().unwrap()
    }

    /// Takes away what a run wrote where it should.
    fn clear(&self) {
        for (_, report) in REPORTS {
            let _ = fs::remove_file(self.file(report));
        }
        let _ = fs::remove_dir_all(self.file("snapshots"));
        let _ = fs::remove_dir_all(self.file("kept"));
    }

    /// Runs it whole.
    fn begin(&mut self) {
        // The first makes what stays, as what is remembered of the last run.
        self.start().wait().unwrap();
        self.clear();
        self.before = names(self.place.path());
        let began = Instant::now();
        let status = self.start().wait().unwrap();
        self.takes = began.elapsed();
        let told = self.place.read("stdout") + &self.place.read("stderr");
        assert!(status.success(), "{}: {status}\n{told}", self.name);
        self.whole = self.cases();
        assert!(self.whole.len() > 2, "{told}");
        self.records = self.snapshots();
        self.recorded = self.text("recording").lines().count();
        self.markdown = self.text("report.md");
        self.after = names(self.place.path());
        self.clear();
        let mut child = self.start();
        let pid = child.id() as i32;
        while child.try_wait().unwrap().is_none() {
            self.kinds.extend(self.processes(pid).into_iter().map(|(kind, _)| kind));
        }
        self.clear();
        assert_eq!(leftovers(), [""; 0]);
    }

    /// The processes of a run that goes on, and what they are to it.
    fn processes(&self, pid: i32) -> Vec<(&'static str, Process)> {
        let Some(run) = Process::of(pid) else { return Vec::new() };
        let mut all = vec![run.clone()];
        let mut parents = vec![pid];
        while let Some(parent) = parents.pop() {
            // Quicker than to look through all that there is: an actor lives for milliseconds.
            let tasks =
                fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
            let children = tasks.map(|task| fs::read_to_string(task.path().join("children")));
            let children: String = children.flatten().collect();
            let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
            let children: Vec<_> = children.filter_map(Process::of).collect();
            parents.extend(children.iter().map(|process| process.pid));
            all.extend(children);
        }
        let kinds: Vec<_> =
            all.iter().map(|process| kind(process, &run, &all, &self.place)).collect();
        kinds.into_iter().zip(all).collect()
    }

    /// A process of this kind as soon as there is one, or in the end any of a run that goes on.
    fn victim(&self, pid: i32, wanted: &str, among: usize) -> Option<(&'static str, Process)> {
        let began = Instant::now();
        loop {
            let mut all = self.processes(pid);
            let mut of_kind: Vec<_> = all.extract_if(.., |(kind, _)| *kind == wanted).collect();
            if of_kind.is_empty() && (all.is_empty() || began.elapsed() > WATCH) {
                of_kind = all;
            }
            match of_kind.len() {
                0 if Process::of(pid).is_none() => return None,
                0 => {}
                some => return Some(of_kind.swap_remove(among % some)),
            }
        }
    }

    /// What the console was told first, but for what passed.
    fn first_lines(&self) -> String {
        let told = self.place.read("stdout") + &self.place.read("stderr");
        told.lines().filter(|line| !line.starts_with("pass ")).take(20).collect()
    }

    /// What is told of each case, without what differs from run to run.
    fn cases(&self) -> BTreeMap<String, Value> {
        let text = self.text("report.json");
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let events = common::json_lines(whole).into_iter();
        let cases = events.filter(|event| event["event"] == "scenario").map(|event| {
            let step = |step: &Value| {
                let outcome = step["outcome"].as_str().map(without_times);
                serde_json::json!([step["line"], step["status"], outcome])
            };
            let steps: Value = event["steps"].as_array().unwrap().iter().map(step).collect();
            let observed = event["observed"].as_str().map(without_times);
            let told = serde_json::json!([event["status"], steps, observed]);
            (event["id"].as_str().unwrap().to_owned(), told)
        });
        cases.collect()
    }

    fn snapshots(&self) -> BTreeMap<String, String> {
        let directory = self.file("snapshots");
        let files = names(&directory).into_iter().filter(|name| directory.join(name).is_file());
        files.map(|name| (name.clone(), self.text(&format!("snapshots/{name}")))).collect()
    }

    /// What is wrong with what a run left, whose supervisor was killed or ended with a status.
    fn wrong(&self, status: std::process::ExitStatus) -> Vec<String> {
        let mut wrong = Wrong::default();
        self.look_at_names(&mut wrong);
        self.look_at_verdicts(status.code(), &mut wrong);
        self.look_at_reports(status.code().is_none(), &mut wrong);
        self.look_at_records(status.code().is_none(), &mut wrong);
        wrong.0
    }

    /// No name is left, but those of reports and of the evidence of what broke, and none is gone.
    fn look_at_names(&self, wrong: &mut Wrong) {
        let allowed = |name: &str| {
            let own = name.strip_prefix("checkout/").unwrap_or(name);
            self.after.contains(name)
                || REPORTS.iter().any(|(_, file)| *file == own)
                || own.starts_with("kept") && !name.contains("/.")
        };
        let left: Vec<_> =
            names(self.place.path()).into_iter().filter(|name| !allowed(name)).collect();
        wrong.unless(left.is_empty(), || format!("names are left: {left:?}"));
        let lost: Vec<_> = self.before.iter().filter(|n| !self.place.exists(n)).collect();
        wrong.unless(lost.is_empty(), || format!("names are gone: {lost:?}"));
    }

    /// Each pass was earned, and the status (none of who was killed) is that of what is told.
    fn look_at_verdicts(&self, code: Option<i32>, wrong: &mut Wrong) {
        let cases = self.cases();
        for (id, told) in &cases {
            let whole = self.whole.get(id);
            let failed = ["fail", "broken", "timeout"].iter().any(|word| told[0] == *word);
            wrong.unless(failed || whole == Some(told), || {
                format!("{id} is told as {told}, not {whole:?}")
            });
        }
        let told = Told::read(&self.file("report.json"));
        let is_whole = told.trouble.is_none();
        wrong.unless(is_whole || code.is_none(), || format!("not whole: {:?}", told.trouble));
        let unavailable = told
            .targets
            .iter()
            .any(|target| matches!(target.asked, Asked::Never(Unopened::Broken(_))));
        // Who is killed while it has nothing to say has answered everything, and is told all the same.
        let died = told.ending.as_ref().is_some_and(|ending| !ending.problems.is_empty());
        let failed =
            unavailable || died || cases.iter().any(|(id, told)| self.whole.get(id) != Some(told));
        match code {
            None => {}
            Some(0) => wrong.unless(cases == self.whole, || "it is told as a success".to_owned()),
            Some(code) => wrong.unless(failed && (code == 1 || code == 5), || {
                format!("exit status {code}, and {} of {}", cases.len(), self.whole.len())
            }),
        }
        // A killed supervisor may have told everything just before.
        wrong.unless(!is_whole || unavailable || cases.len() == self.whole.len(), || {
            format!("{} of {} are in a whole report", cases.len(), self.whole.len())
        });
    }

    /// Reports are whole, or empty, or not there.
    fn look_at_reports(&self, was_killed: bool, wrong: &mut Wrong) {
        let (xml, ktap, md, html) = ["report.xml", "report.ktap", "report.md", "report.html"]
            .map(|name| self.text(name))
            .into();
        for (name, text, ends) in [
            ("xml", &xml, "</testsuites>"),
            ("ktap", &ktap, ""),
            ("md", &md, ""),
            ("html", &html, "</html>"),
        ] {
            wrong.unless(was_killed || !text.is_empty(), || format!("report.{name} is empty"));
            let whole = text.trim_end().ends_with(ends);
            wrong.unless(text.is_empty() || whole, || format!("report.{name} is cut off"));
        }
        if !ktap.is_empty() {
            // The result of the last target, or of the whole, is the last line.
            let last = ktap.lines().last().unwrap_or_default();
            let plan = ktap.lines().nth(1).and_then(|line| line.strip_prefix("1.."));
            let number = last.trim_start_matches("not ").strip_prefix("ok ");
            let number = number.and_then(|rest| rest.split(' ').next());
            let is_result = plan.is_some() && plan == number;
            wrong.unless(is_result && ktap.ends_with('\n'), || format!("cut off:\n{ktap}"));
        }
        if was_killed && !md.is_empty() {
            wrong.unless(md == self.markdown, || format!("cut off:\n{md}"));
        }
    }

    /// So are recordings, snapshots, and what is remembered of the run.
    fn look_at_records(&self, was_killed: bool, wrong: &mut Wrong) {
        let recorded = self.text("recording").lines().count();
        let is_whole = recorded == 0 || recorded == self.recorded;
        wrong.unless(!was_killed || is_whole, || format!("{recorded} lines are recorded"));
        for (name, text) in self.snapshots() {
            let is_whole = self.records.get(&name) == Some(&text);
            wrong.unless(is_whole, || format!("{name} is\n{text}"));
        }
        for name in names(&self.place.path().join("cache/last-run")) {
            let text = self.place.read(&format!("cache/last-run/{name}"));
            let read = serde_json::from_str::<Value>(&text);
            wrong.unless(read.is_ok(), || format!("what is remembered of the run is\n{text}"));
        }
    }
}

/// What a run must not have left or told.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }
}

fn works() -> Vec<Work> {
    let of = |family: &str, most: usize| -> Vec<String> {
        let files = names(&common::root().join("scenarios").join(family)).into_iter();
        let files = files.filter(|name| name.ends_with(".yaml"));
        files.map(|name| format!("{family}/{name}")).take(most).collect()
    };
    // Those on mount namespaces have several actors.
    let all = [of("bind", usize::MAX), of("mount-namespaces", 20)].concat();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let few = of("bind", 25);
    let few: Vec<&str> = few.iter().map(String::as_str).collect();
    let mut works = vec![
        Work::new("host", 40, User::Own, &all, &["--on", "host", "--jobs", "2"]),
        Work::new("ordinary user", 20, User::Ordinary, &all, &["--on", "host", "--jobs", "2"]),
    ];
    let mut guest = Work::new("guest", 25, User::Own, &few, &[]);
    if let Some(kernel) = guest.place.kernel("uml:6.12") {
        guest.arguments = vec!["--on".into(), kernel];
        works.push(guest);
    }
    if is_root() && programs::in_path("runc").is_some() {
        let containers = ["oci/hostname.yaml", "oci/lifecycle.yaml", "oci/cgroup-namespace.yaml"];
        let arguments = ["--on", "host", "--privileged", "--runtime", "runc"];
        works.push(Work::new("container", 15, User::Own, &containers, &arguments));
    } else {
        common::skip("runc", "a container that root makes needs it, and root");
    }
    works
}

/// A number of the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect(name))
}

#[test]
fn whoever_is_killed_nothing_is_left_and_no_pass_is_unearned() {
    let _alone = alone();
    let mut works = works();
    works.iter_mut().for_each(Work::begin);
    let kills = number("NSHARNESS_KILLS", KILLS as u64);
    let mut choices = Choices(number("NSHARNESS_SEED", SEED));
    let before = Machine::now();
    let mut killed: BTreeMap<(&str, &str), [usize; 4]> = BTreeMap::new();
    let mut faults = Vec::new();
    for turn in 0..kills {
        let work = choices.among(&works);
        let delay = work.takes.mul_f64(choices.below(1000) as f64 / 1000.0);
        let wanted = work.kinds.iter().nth(choices.below(work.kinds.len())).unwrap();
        let among = choices.below(1 << 20);
        let mut child = work.start();
        sleep(delay);
        let Some((kind, victim)) = work.victim(child.id() as i32, wanted, among) else {
            // It was faster this time.
            ended(&mut child);
            work.clear();
            continue;
        };
        let _ = kill(Pid::from_raw(victim.pid), Signal::SIGKILL);
        let status = ended(&mut child);
        let mut wrong: Vec<_> = leftovers()
            .into_iter()
            .map(|process| format!("a process is left: {process}"))
            .collect();
        wrong.extend(work.wrong(status));
        let counts = killed.entry((work.name, kind)).or_default();
        counts[match status.code() {
            None => 0,
            Some(0) => 1,
            Some(1) => 2,
            _ => 3,
        }] += 1;
        if !wrong.is_empty() {
            let (name, wrong, told) = (work.name, wrong.join("\n  "), work.first_lines());
            faults.push(format!(
                "turn {turn}: {name}, {kind} after {delay:?}: {status}\n  {wrong}\n{told}"
            ));
        }
        work.clear();
    }
    for ((work, kind), [by_signal, success, failure, broken]) in &killed {
        println!(
            "{work}: {kind} killed {} times: the run was killed {by_signal}, succeeded {success}, failed \
             {failure}, was broken {broken}",
            by_signal + success + failure + broken
        );
    }
    assert!(faults.is_empty(), "{} of {kills}:\n{}", faults.len(), faults.join("\n"));
    before.assert_same(&Machine::now());
}

/// Where a guest can have no pid namespace, nothing ends by itself with who started it.
#[test]
fn a_guest_without_namespaces_of_its_own_leaves_nothing_either() {
    let _alone = alone();
    let place = Place::new();
    place.write("scenarios/a.yaml", &common::HANGS.replace("timeout: 1", "timeout: 60"));
    fs::create_dir(place.path().join("tmp")).unwrap();
    let Some(kernel) = place.kernel("uml:6.12") else { return };
    place.run(User::Own, &["--version"]).expect_code(0);
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && \
                  exec setpriv --bounding-set=-all --inh-caps=-all \"$N\" run --on \"$K\"";
    for wanted in ["launcher", "asker"] {
        let inner = place.command(User::Own);
        let mut command = Command::new("unshare");
        command.args(["-r", "sh", "-c", script]).current_dir(place.path());
        command.env("N", inner.get_program()).env("K", &kernel);
        command.env("TMPDIR", place.path().join("tmp"));
        command.env("NSHARNESS_CACHE", place.path().join("cache"));
        let output = |name| File::create(place.path().join(name)).unwrap();
        let mut child = command.stdout(output("stdout")).stderr(output("stderr")).spawn().unwrap();
        let pid = child.id() as i32;
        let cache = place.path().join("cache");
        let began = Instant::now();
        let (all, kernel) = loop {
            let told = || place.read("stdout") + &place.read("stderr");
            if child.try_wait().unwrap().is_some() {
                common::skip("userns", &told());
                return;
            }
            let all = below(pid);
            let is_kernel = |process: &&Process| {
                process.exe.as_ref().is_some_and(|exe| exe.starts_with(&cache))
            };
            let kernel = all.iter().find(is_kernel).cloned();
            // It has the files of the guest by then.
            if let Some(kernel) = kernel
                && place.read("stdout").contains("asking")
            {
                break (all, kernel);
            }
            assert!(began.elapsed() < PATIENCE, "{}", told());
            sleep(Duration::from_millis(10));
        };
        assert!(all.iter().all(|process| process.depth == all[0].depth), "{all:?}");
        let parent = |pid| all.iter().find(|process| process.pid == pid).map_or(0, |p| p.parent);
        let victim = if wanted == "launcher" { kernel.parent } else { parent(kernel.parent) };
        kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
        let status = ended(&mut child);
        assert_eq!(status.code(), Some(5), "{wanted}");
        assert_eq!(leftovers(), [""; 0], "{wanted}");
        assert_eq!(names(&place.path().join("tmp")), BTreeSet::new(), "{wanted}");
    }
}
