//! Every status beside every reporter: what each of them says, that all say the same, and that none of them can be
//! taken for green where the exit status is not 0.
//!
//! A report of JSON lines is written by the reporter itself, and `nsharness merge` tells it to all the others, as
//! `run` would have. A reporter more is a line more in `REPORTERS`.

mod common;

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::{Done, Place, User, json_lines};
use nsharness::diag::Source;
use nsharness::missing::Missing;
use nsharness::probe::Environment;
use nsharness::report::json::Json;
use nsharness::report::matrix::{Collector, Matrix, Shown};
use nsharness::report::subject::Subject;
use nsharness::report::{Judged, Part, Reporter, Start, Summary, Totals};
use nsharness::shard::Shard;
use nsharness::target::Unopened;
use nsharness::verdict::{Attempt, Recorded, Status, StepStatus, StepVerdict, Verdict};
use rstest::rstest;

/// What somebody concludes who knows a format and nothing of nsharness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Light {
    /// Something passed, and nothing is wrong.
    Green,
    /// Nothing is wrong, and nothing passed.
    Grey,
    /// Something is wrong.
    Red,
}

/// A reporter: its name, the option that names its file, and how its report is read. Without an option it prints.
type Named = (&'static str, Option<&'static str>, fn(&str) -> Light);

const REPORTERS: &[Named] = &[
    ("console", None, console),
    ("github", None, github),
    ("json", Some("--json"), json),
    ("junit", Some("--junit"), junit),
    ("ktap", Some("--ktap"), ktap),
    ("markdown", Some("--markdown"), markdown),
    ("html", Some("--html"), html),
];

fn light(wrong: bool, passed: bool) -> Light {
    match (wrong, passed) {
        (true, _) => Light::Red,
        (false, true) => Light::Green,
        (false, false) => Light::Grey,
    }
}

/// By the last line alone.
fn console(text: &str) -> Light {
    let line = text.lines().rev().find(|line| line.starts_with("summary: ")).expect("a summary");
    let number = |word: &str| {
        let found = line.split([' ', ',']).collect::<Vec<_>>();
        let at = found.iter().position(|found| *found == word).expect("a number");
        found[..at].iter().rev().find_map(|found| found.parse::<usize>().ok()).expect("a number")
    };
    let wrong = number("failed") > 0 || line.contains("not whole") || line.contains("not run");
    light(wrong, number("passed") > 0)
}

/// By its annotations: it has no word for what passed.
fn github(text: &str) -> Light {
    let is = |level: &str| text.lines().any(|line| line.starts_with(level));
    light(is("::error "), !is("::warning "))
}

/// By the last line alone.
fn json(text: &str) -> Light {
    let events = json_lines(text);
    let summary = events.last().expect("a summary");
    assert_eq!(summary["event"], "summary");
    let number = |name: &str| summary[name].as_u64().expect("a number");
    let problems = summary["problems"].as_array().expect("problems");
    let wrong = number("failed") > 0 || number("not_run") > 0 || !problems.is_empty();
    light(wrong, number("passed") > 0)
}

/// By the counts of the root; that they are those of the elements is looked at too.
fn junit(text: &str) -> Light {
    let counts = junit_counts(text);
    let [tests, failures, errors, skipped] = counts;
    let elements = |name: &str| text.matches(&format!("<{name} ")).count();
    let found = ["testcase", "failure", "error", "skipped"].map(elements);
    assert_eq!(counts, found, "{text}");
    light(failures + errors > 0, tests > failures + errors + skipped)
}

/// `tests`, `failures`, `errors` and `skipped` of the root.
fn junit_counts(text: &str) -> [usize; 4] {
    let root = text.lines().find(|line| line.starts_with("<testsuites ")).expect("a root");
    ["tests", "failures", "errors", "skipped"].map(|name| {
        let value =
            root.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        value.map_or(0, |value| value.parse().expect("a number"))
    })
}

/// `passed`, `failed` and `skipped` of the summary.
fn json_counts(text: &str) -> [u64; 3] {
    let summary = json_lines(text).pop().expect("a summary");
    ["passed", "failed", "skipped"].map(|name| summary[name].as_u64().expect("a number"))
}

/// By its results, the outer as well as the inner ones.
fn ktap(text: &str) -> Light {
    let inner: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let is = |line: &&&str, word: &str| line.strip_prefix(word).is_some_and(|l| l.starts_with(' '));
    let outer: Vec<_> = text.lines().collect();
    let wrong = |lines: &[&str]| lines.iter().any(|line| is(&line, "not ok"));
    if inner.iter().any(|line| line.starts_with("not ok")) {
        assert!(wrong(&outer), "what fails inside fails outside:\n{text}");
    }
    let ok: Vec<_> = inner.iter().filter(|line| is(line, "ok")).collect();
    light(wrong(&outer), ok.iter().any(|line| !line.contains(" # SKIP")))
}

/// By the headline alone.
fn markdown(text: &str) -> Light {
    let line = text.lines().find(|line| line.starts_with("## nsharness: ")).expect("a headline");
    let words = ["failed", "not run", "not whole", "interrupted"];
    light(words.iter().any(|word| line.contains(word)), line.contains(" passed"))
}

/// By the title of the page alone.
fn html(text: &str) -> Light {
    let title = text.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
    markdown(&format!("## {}", title.expect("a title")))
}

/// What a reporter writes, to be had afterwards.
#[derive(Clone, Default)]
struct Written(Rc<RefCell<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn subject(id: &str) -> Subject {
    Subject {
        id: id.to_owned(),
        path: PathBuf::from(format!("scenarios/{id}.yaml")),
        title: "A fact".to_owned(),
        level: None,
        plain: Vec::new(),
        tags: Vec::new(),
        probes: Vec::new(),
        source: Arc::new(Source { name: id.to_owned(), text: "title: A fact\n".to_owned() }),
        steps: std::iter::once(0..13).collect(),
    }
}

/// A verdict as it comes to be in a run.
fn verdict(status: Status) -> Verdict {
    let why = "the reason";
    let told = |status| Verdict { status, ..Verdict::broken(format!("line 1: stat: {why}")) };
    let step = |status| StepVerdict {
        line: 1,
        actor: "main".to_owned(),
        operation: "stat".to_owned(),
        status,
        expect: None,
        outcome: Some("ok".to_owned()),
        why: Some(why.to_owned()),
        values: serde_json::Value::Null,
        model: None,
    };
    let with = |status, of_step| Verdict { steps: vec![step(of_step)], ..told(status) };
    match status {
        Status::Pass => Verdict { reasons: Vec::new(), ..with(Status::Pass, StepStatus::Pass) },
        Status::Fail => with(status, StepStatus::Fail),
        Status::Xfail => with(status, StepStatus::Xfail),
        Status::Xpass => with(status, StepStatus::Xpass),
        Status::Skip => Verdict::skip(vec![Missing::new("a thing", why, "get one")]),
        Status::Broken => told(status),
        Status::Timeout => with(status, StepStatus::NotReached),
        Status::Flaky => {
            let attempt = |status| Attempt { status, reasons: vec![why.to_owned()], seconds: 0.5 };
            let attempts = vec![attempt(Status::Broken), attempt(Status::Pass)];
            Verdict { attempts, ..with(status, StepStatus::Pass) }
        }
    }
}

/// What a run tells.
#[derive(Default)]
struct Told {
    cases: Vec<(&'static str, Verdict)>,
    unopened: Option<Unopened>,
    not_run: usize,
    interrupted: bool,
    problems: Vec<String>,
}

impl Told {
    fn of(cases: &[(&'static str, Status)]) -> Self {
        let cases = cases.iter().map(|(id, status)| (*id, verdict(*status))).collect();
        Self { cases, ..Self::default() }
    }

    /// The JSON report of such a run.
    fn json(&self) -> String {
        let written = Written::default();
        let mut reporter = Json::new(written.clone());
        self.tell(&mut reporter).expect("memory can be written to");
        String::from_utf8(written.0.borrow().clone()).expect("JSON")
    }

    fn tell(&self, reporter: &mut dyn Reporter) -> io::Result<Totals> {
        let count = self.cases.len() + self.not_run;
        let part = Part {
            shard: Shard::WHOLE,
            scenarios: count,
            selected: count,
            digest: "0".to_owned(),
            shared: false,
        };
        reporter.begin(&part)?;
        let mut summary = Summary { not_run: self.not_run, ..Summary::default() };
        summary.interrupted = self.interrupted;
        let environment = Environment::of_host(false);
        match &self.unopened {
            Some(why) => {
                reporter.unavailable("host", 1, why)?;
                summary.count_unasked(1, why);
            }
            None => {
                let (target, witnesses) = ("host", &["kernel"][..]);
                reporter.start(Start {
                    environment: &environment,
                    target,
                    witnesses,
                    cases: count,
                })?;
            }
        }
        for (id, verdict) in &self.cases {
            summary.count(None, verdict);
            reporter.judged(Judged {
                case: &subject(id),
                target: "host",
                witness: "kernel",
                verdict,
                observed: None,
                took: Duration::from_millis(7),
            })?;
        }
        let targets = vec![("host".to_owned(), summary.clone())];
        let problems = self.problems.clone();
        let totals = Totals { part, all: summary, targets, problems };
        reporter.end(&totals)?;
        Ok(totals)
    }

    /// What every reporter says of it, and the exit status.
    fn everywhere(&self) -> (i32, Vec<(&'static str, String)>) {
        let place = Place::new();
        place.write("run.json", &self.json());
        let mut command: Command = place.command(User::Own);
        command.args(["merge", "run.json", "--github", "always"]);
        for (name, option, _) in REPORTERS {
            if let Some(option) = option {
                command.args([option, *name]);
            }
        }
        let done = Done::of(command.output().unwrap());
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
        let said = |(name, option, _): &Named| match option {
            Some(_) => (*name, place.read(name)),
            None => (*name, done.stdout.clone()),
        };
        (done.code.expect("an exit status"), REPORTERS.iter().map(said).collect())
    }
}

/// Where one is red all must be, and none is green whose exit status is not 0.
#[track_caller]
fn expect(told: &Told, code: i32, light: Light) -> Vec<(&'static str, String)> {
    let (found, said) = told.everywhere();
    assert_eq!(found, code, "{}", said[0].1);
    for ((name, text), (_, _, read)) in said.iter().zip(REPORTERS) {
        assert_eq!(read(text), light, "{name}:\n{text}");
    }
    assert!(code == 0 || light != Light::Green);
    said
}

/// How Markdown tells of one scenario.
fn in_markdown(status: Status) -> String {
    match status {
        Status::Pass => "## nsharness: 1 passed".to_owned(),
        Status::Flaky => "1 flaky".to_owned(),
        Status::Skip => "### Skipped: 1".to_owned(),
        Status::Xfail => "Failed as known: 1 scenario".to_owned(),
        failed => format!("**{}**", failed.word()),
    }
}

/// What is said of one status: the word, the exit status of a run of nothing else, and the light; the failures,
/// errors and skipped of JUnit; the line of KTAP.
#[rstest]
#[case::pass(Status::Pass, 0, Light::Green, [0, 0, 0], "ok 1 a", false)]
#[case::fail(Status::Fail, 1, Light::Red, [1, 0, 0], "not ok 1 a", true)]
#[case::skip(Status::Skip, 4, Light::Grey, [0, 0, 1], "ok 1 a # SKIP needs a thing: the reason (get one)", false)]
#[case::xfail(Status::Xfail, 0, Light::Green, [0, 0, 1], "ok 1 a # XFAIL line 1: stat: the reason", false)]
#[case::xpass(Status::Xpass, 1, Light::Red, [1, 0, 0], "not ok 1 a", true)]
#[case::flaky(Status::Flaky, 0, Light::Green, [0, 0, 0], "ok 1 a", false)]
#[case::timeout(Status::Timeout, 1, Light::Red, [0, 1, 0], "not ok 1 a # TIMEOUT", true)]
#[case::broken(Status::Broken, 5, Light::Red, [0, 1, 0], "not ok 1 a # ERROR", true)]
fn every_status_is_told_by_every_reporter(
    #[case] status: Status,
    #[case] code: i32,
    #[case] light: Light,
    #[case] junit: [usize; 3],
    #[case] ktap: &str,
    #[case] is_error: bool,
) {
    let (found, said) = Told::of(&[("a", status)]).everywhere();
    assert_eq!(found, code, "{}", said[0].1);
    let word = status.word();
    for ((name, text), (_, _, read)) in said.iter().zip(REPORTERS) {
        match *name {
            "console" => {
                let line = format!("{word:<8}a");
                assert!(text.lines().any(|told| told.starts_with(&line)), "{text}");
            }
            "github" => {
                let annotation =
                    format!("::error file=scenarios/a.yaml,line=1,title={word}%3A a (host)::");
                assert_eq!(text.contains(&annotation), is_error, "{text}");
            }
            "json" => {
                assert_eq!(json_lines(text)[1]["status"], word, "{text}");
                let counts = match status {
                    Status::Skip => [0, 0, 1],
                    _ if is_error => [0, 1, 0],
                    _ => [1, 0, 0],
                };
                assert_eq!(json_counts(text), counts, "{text}");
            }
            "junit" => {
                let [tests, rest @ ..] = junit_counts(text);
                assert_eq!((tests, rest), (1, junit), "{text}");
                let typed = format!("type=\"{word}\"");
                let silent = matches!(status, Status::Pass | Status::Flaky);
                assert_eq!(text.contains(&typed), !silent, "{text}");
                assert_eq!(text.contains("<flakyError "), status == Status::Flaky, "{text}");
            }
            "ktap" => assert!(text.lines().any(|line| line.trim() == ktap), "{text}"),
            "markdown" => {
                assert!(text.contains(&in_markdown(status)), "{text}");
            }
            "html" => {
                let told = format!("class=\"status {word}\"");
                assert!(text.contains(&told), "{text}");
            }
            other => panic!("nothing is known of {other}: say here what it must tell"),
        }
        // What failed as known is skipped to JUnit, and GitHub is not told what was skipped one by one.
        match (*name, status) {
            ("junit", Status::Xfail) => assert_eq!(read(text), Light::Grey, "{text}"),
            _ => assert_eq!(read(text), light, "{name}:\n{text}"),
        }
    }
}

/// The matrix of one kernel: a cell says the status where it is no outcome.
#[rstest]
fn every_status_is_in_the_matrix(
    #[values(
        Status::Fail,
        Status::Skip,
        Status::Xfail,
        Status::Xpass,
        Status::Flaky,
        Status::Timeout,
        Status::Broken
    )]
    status: Status,
) {
    let told = Told { problems: vec!["host: it lied".into()], ..Told::of(&[("a", status)]) };
    let mut collector = Collector::new(false);
    let totals = told.tell(&mut collector).unwrap();
    let columns: Vec<_> = collector.read.columns.iter().collect();
    let matrix = Matrix::of(columns, vec!["host".into()], Shown::All);
    for text in [matrix.text(120), matrix.page(&totals)] {
        assert!(text.contains(status.word()), "{text}");
    }
    assert!(matrix.page(&totals).contains("## nsharness: not whole, "));
    assert!(matrix.page(&totals).contains("host: it lied"));
}

/// Nothing that passes beside it hides a failure, and a skip hides nothing that passed.
#[rstest]
fn what_passes_hides_nothing(
    #[values(
        (Status::Fail, 1), (Status::Xpass, 1), (Status::Timeout, 1), (Status::Broken, 5)
    )]
    beside: (Status, i32),
    #[values(Status::Pass, Status::Xfail, Status::Flaky, Status::Skip)] other: Status,
) {
    let (status, code) = beside;
    expect(&Told::of(&[("a", other), ("b", status), ("c", other)]), code, Light::Red);
}

#[test]
fn a_skip_beside_a_pass_is_green_and_counted() {
    let said = expect(&Told::of(&[("a", Status::Pass), ("b", Status::Skip)]), 0, Light::Green);
    assert!(said[0].1.contains("summary: 1 passed, 0 failed, 1 skipped"), "{}", said[0].1);
}

#[test]
fn a_target_that_cannot_be_had_is_no_success() {
    let why = Missing::new("a kernel", "there is none", "fetch one");
    let told = Told { unopened: Some(Unopened::Missing(why)), ..Told::default() };
    expect(&told, 4, Light::Grey);
    let told = Told { unopened: Some(Unopened::Broken("it died".to_owned())), ..Told::default() };
    expect(&told, 5, Light::Red);
}

#[test]
fn half_a_run_is_not_green() {
    let passed = || Told::of(&[("a", Status::Pass)]);
    for (interrupted, code) in [(true, 130), (false, 5)] {
        let (found, said) = Told { not_run: 2, interrupted, ..passed() }.everywhere();
        assert_eq!(found, code);
        for ((name, text), (_, _, read)) in said.iter().zip(REPORTERS) {
            // A warning is what GitHub has for a run that somebody ended.
            let told = if *name == "github" { Light::Grey } else { Light::Red };
            assert_eq!(read(text), told, "{name}:\n{text}");
        }
    }
}

#[test]
fn what_went_wrong_beside_the_answers_is_red_everywhere() {
    let problems = vec!["host: it answered what it was not asked".to_owned()];
    let told = Told { problems, ..Told::of(&[("a", Status::Pass)]) };
    for (name, text) in expect(&told, 5, Light::Red) {
        assert!(text.contains("it answered what it was not asked"), "{name}:\n{text}");
    }
}

/// A report that was edited contradicts itself somewhere.
#[rstest]
#[case::a_status(
    "\"status\":\"fail\"",
    "\"status\":\"pass\"",
    "it is said to be pass, and line 1 is not"
)]
#[case::the_total("\"failed\":1", "\"failed\":0", "its summary is not the sum of its targets")]
#[case::an_id("\"id\":\"b\"", "\"id\":\"a\"", "a on host is in")]
#[case::how_many(
    "\"scenarios\":2,\"part\"",
    "\"scenarios\":3,\"part\"",
    "1 are not told, and 0 were not run"
)]
#[case::another_target(
    "\"witness\":\"kernel\",\"status\":\"fail\"",
    "\"status\":\"fail\"",
    "missing field `witness`"
)]
fn a_report_that_was_edited_is_not_believed(
    #[case] from: &str,
    #[case] to: &str,
    #[case] why: &str,
) {
    let place = Place::new();
    let text = Told::of(&[("a", Status::Pass), ("b", Status::Fail)]).json();
    assert!(text.contains(from), "{from} is not in {text}");
    place.write("run.json", &text.replacen(from, to, 1));
    let done = place.run(User::Own, &["merge", "run.json"]);
    assert!(matches!(done.code, Some(1 | 5)), "{done:?}");
    assert!(done.stdout.contains(why), "{}", done.stdout);
}

/// Lines that are gone, each with its summary as it is and as somebody would mend it.
#[test]
fn a_report_without_one_of_its_lines_is_not_believed() {
    let place = Place::new();
    let text = Told::of(&[("a", Status::Pass), ("b", Status::Fail)]).json();
    let lines: Vec<_> = text.lines().collect();
    for gone in 0..lines.len() {
        let kept = lines.iter().enumerate().filter(|(number, _)| *number != gone);
        let kept: String = kept.map(|(_, line)| format!("{line}\n")).collect();
        for text in [kept.clone(), kept.replace("\"failed\":1", "\"failed\":0")] {
            place.write("run.json", &text);
            let done = place.run(User::Own, &["merge", "run.json"]);
            assert!(matches!(done.code, Some(1 | 5)), "{gone}: {done:?}");
        }
    }
}

/// What was observed and differs from its record is no success, whoever says so.
#[test]
fn a_record_that_differs_is_not_believed_to_be_a_pass() {
    let place = Place::new();
    let recorded = Recorded::Changed { file: "f".into(), diff: "-a\n+b\n".into(), pending: false };
    let passed = Verdict { recorded, ..verdict(Status::Pass) };
    let told = Told { cases: vec![("a", passed)], ..Told::default() };
    place.write("run.json", &told.json());
    let done = place.run(User::Own, &["merge", "run.json"]).expect_code(5);
    assert!(done.stdout.contains("its observations are not"), "{}", done.stdout);
}
