//! A run in which a witness lies or dies is not green, whatever is said of the rest.
//!
//! The witness is one of this file: it knows the truth, from the model, and says something else. Nobody holds the model
//! against it, so that nothing but what it says can give it away. tests/liars.rs does the same with processes.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nsharness::diag::Source;
use nsharness::exit_code::ExitCode;
use nsharness::missing::Missing;
use nsharness::model::predict;
use nsharness::probe::Environment;
use nsharness::report::json::Json;
use nsharness::report::junit::Junit;
use nsharness::report::ktap::Ktap;
use nsharness::report::{Part, Reporter, Totals};
use nsharness::run::{Asked, Options, Record, Share, Takes, exit_code, run};
use nsharness::scenario::plan::Plan;
use nsharness::scenario::{Case, FoundFile, KnownNames, resolve};
use nsharness::shard::Shard;
use nsharness::snapshot::Mode;
use nsharness::target::recording::Recording;
use nsharness::target::{Answer, Opener, Witness};
use nsharness::transcript::{Breakage, End, Outcome, Transcript, Values};
use rstest::rstest;

/// Three cases; the first two have as many steps, and the third has one more.
fn cases(base: &Path) -> Vec<Case> {
    let a = "title: a\nsteps:\n  - write: { path: f, data: hello }\n  - read: { path: f, expect: { data: hello } }\n\
             observe:\n  - tree: { at: . }\n  - mountinfo: {}\n";
    let b = a.replace("title: a", "title: b").replace("data: hello", "data: other");
    let c = format!("{}  - stat: {{ path: f }}\n", a.split("observe").next().unwrap());
    let all = [("a", a), ("b", &b), ("c", &c)].map(|(id, text)| {
        let source = Arc::new(Source { name: id.into(), text: text.to_owned() });
        let file = FoundFile { id: id.into(), path: id.into(), base: base.to_owned() };
        resolve(&file, &source, KnownNames { probes: &[] }).expect("a scenario").remove(0)
    });
    all.into()
}

type Truth = Box<Transcript>;

/// What a witness makes of the truth about a plan: what it says, in this order.
type Lie = fn(usize, Truth) -> Vec<(usize, Answer)>;

/// The case that is lied about.
const B: usize = 1;

struct Liar {
    environment: Environment,
    lie: Lie,
    said: VecDeque<io::Result<(usize, Answer)>>,
    trouble: Option<String>,
    dies: bool,
}

impl Liar {
    fn new(lie: Lie) -> Self {
        let environment = Environment::of_host(false);
        Self { environment, lie, said: VecDeque::new(), trouble: None, dies: false }
    }
}

impl Witness for Liar {
    fn name(&self) -> &'static str {
        "kernel"
    }
    fn target(&self) -> String {
        "host".to_owned()
    }
    fn capacity(&self) -> usize {
        2
    }
    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        let truth = Box::new(predict(plan, &self.environment.profile()).transcript);
        let said = match ticket {
            B if self.dies => return Err(io::ErrorKind::BrokenPipe.into()),
            B => (self.lie)(ticket, truth),
            _ => vec![(ticket, Answer::Asked(truth))],
        };
        self.said.extend(said.into_iter().map(Ok));
        Ok(())
    }
    fn next(&mut self, _: Duration) -> io::Result<Option<(usize, Answer)>> {
        self.said.pop_front().transpose()
    }
    fn trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }
}

fn options(record: Option<PathBuf>) -> Options {
    Options {
        // What is observed is recorded, whatever it is.
        snapshots: Mode::Accept,
        fail_fast: false,
        keep: None,
        model: false,
        record: record.map(|file| Record { file, known: None }),
        probes: Default::default(),
        guests: 1,
        share: Share::Every,
        part: Part {
            shard: Shard::WHOLE,
            scenarios: 3,
            selected: 3,
            digest: "0".to_owned(),
            shared: false,
        },
        retries: 0,
        refuse_flaky: false,
        only: None,
    }
}

/// Asks a witness all cases; the totals, and what reporters write.
fn ask(opener: Opener, options: Options) -> (Totals, [String; 3]) {
    let target = "host".to_owned();
    let asked = Asked { kernel: target.clone(), target, opener, takes: Takes::ALL };
    let directory = tempfile::tempdir().unwrap();
    let (mut json, mut junit, mut ktap) = (Vec::new(), Vec::new(), Vec::new());
    let totals = {
        let mut reporters = (Json::new(&mut json), Junit::new(&mut junit), Ktap::new(&mut ktap));
        let mut all: [&mut dyn Reporter; 3] =
            [&mut reporters.0, &mut reporters.1, &mut reporters.2];
        let totals = run(&cases(directory.path()), vec![asked], options, &mut all)
            .expect("reports in memory");
        all.iter_mut().for_each(|reporter| reporter.end(&totals).expect("memory"));
        totals
    };
    (totals, [json, junit, ktap].map(|text| String::from_utf8(text).expect("text")))
}

/// The run has this exit status, and where that is not 0 no report is green.
#[track_caller]
fn expect(liar: Liar, code: ExitCode) -> Totals {
    let environment = liar.environment.clone();
    let (totals, [json, junit, ktap]) = ask(Opener::at(liar, environment), options(None));
    assert_eq!(exit_code(&totals), code, "{json}");
    let red = !matches!(code, ExitCode::AsExpected | ExitCode::NothingExecuted);
    assert_eq!(ktap.contains("\nnot ok "), red, "{ktap}");
    assert_eq!(junit.contains("<failure ") || junit.contains("<error "), red, "{junit}");
    totals
}

fn asked(transcript: Transcript) -> Answer {
    Answer::Asked(Box::new(transcript))
}

fn but(mut truth: Box<Transcript>, change: impl FnOnce(&mut Transcript)) -> Answer {
    change(&mut truth);
    Answer::Asked(truth)
}

fn unknown() -> Outcome {
    Outcome::Abstained("I will not say".to_owned())
}

#[test]
fn the_truth_is_green() {
    let totals =
        expect(Liar::new(|b, truth| vec![(b, Answer::Asked(truth))]), ExitCode::AsExpected);
    assert_eq!((totals.all.passed, totals.problems.len()), (3, 0));
}

#[rstest]
#[case::of_a_ticket_that_nobody_gave(|b: usize, t: Truth| vec![(b + 100, Answer::Asked(t.clone())), (b, Answer::Asked(t))])]
#[case::twice(|b: usize, t: Truth| vec![(b, Answer::Asked(t.clone())), (b, Answer::Asked(t))])]
#[case::twice_and_other_the_second_time(|b: usize, t: Truth| vec![(b, Answer::Asked(t)), (b, Answer::Missing(vec![]))])]
#[case::of_what_comes_only_later(|b: usize, t: Truth| vec![(b + 1, Answer::Asked(t.clone())), (b, Answer::Asked(t))])]
#[case::no_steps(|b: usize, t: Truth| vec![(b, but(t, |t| t.outcomes.clear()))])]
#[case::a_step_less(|b: usize, t: Truth| vec![(b, but(t, |t| drop(t.outcomes.pop())))])]
#[case::a_step_more(|b: usize, t: Truth| vec![(b, but(t, |t| t.outcomes.push(Outcome::Ok(Values::new()))))])]
#[case::no_observations(|b: usize, t: Truth| vec![(b, but(t, |t| t.observations.clear()))])]
#[case::an_observation_less(|b: usize, t: Truth| vec![(b, but(t, |t| drop(t.observations.pop())))])]
#[case::an_observation_more(|b: usize, t: Truth| vec![(b, but(t, |t| t.observations.extend(t.observations.clone())))])]
#[case::no_word_of_a_step(|b: usize, t: Truth| vec![(b, but(t, |t| t.outcomes[1] = unknown()))])]
#[case::no_word_of_an_observation(|b: usize, t: Truth| vec![(b, but(t, |t| t.observations[0].found = Err(unknown())))])]
#[case::missing_and_no_word_of_what(|b: usize, _: Truth| vec![(b, Answer::Missing(Vec::new()))])]
#[case::as_if_it_were_many(|b: usize, t: Truth| vec![(b, Answer::All(vec![*t]))])]
#[case::as_many_as_none(|b: usize, _: Truth| vec![(b, Answer::All(Vec::new()))])]
#[case::what_a_model_says(|b: usize, _: Truth| {
    let case = &cases(Path::new(""))[b];
    vec![(b, Answer::Predicted(Box::new(predict(&case.plan, &Environment::of_host(false).profile()))))]
})]
#[case::that_it_broke(|b: usize, t: Truth| vec![(b, but(t, |t| {
    t.end = End::Broke(Breakage { stage: "s".into(), detail: "d".into(), errno: None });
}))])]
fn an_answer_that_cannot_be_is_broken(#[case] lie: Lie) {
    expect(Liar::new(lie), ExitCode::Broken);
}

#[rstest]
#[case::that_time_was_up(|b: usize, t: Truth| vec![(b, but(t, |t| t.end = End::TimedOut))])]
#[case::without_the_value(|b: usize, t: Truth| vec![(b, but(t, |t| t.outcomes[1] = Outcome::Ok(Values::new())))])]
#[case::of_another_plan(|b: usize, _: Truth| {
    let other = predict(&cases(Path::new(""))[0].plan, &Environment::of_host(false).profile());
    vec![(b, asked(other.transcript))]
})]
#[case::refused(|b: usize, t: Truth| vec![(b, but(t, |t| {
    t.outcomes[0] = Outcome::Refused { by: "x".into(), message: "no".into() };
}))])]
fn an_answer_that_is_not_as_expected_fails(#[case] lie: Lie) {
    expect(Liar::new(lie), ExitCode::Failure);
}

/// Nobody can know that something is there of which a witness says that it is not; it is a skip with a reason, in
/// the count, and a run of nothing else is none.
#[test]
fn what_is_said_to_be_missing_is_skipped_and_never_passed() {
    fn no(ticket: usize, _: Box<Transcript>) -> Vec<(usize, Answer)> {
        vec![(ticket, Answer::Missing(vec![Missing::new("air", "there is none", "go out")]))]
    }
    let totals = expect(Liar::new(no), ExitCode::AsExpected);
    assert_eq!((totals.all.passed, totals.all.skipped), (2, 1));
}

#[test]
fn a_witness_that_dies_breaks_what_it_was_to_answer() {
    let totals = expect(Liar { dies: true, ..Liar::new(|_, _| vec![]) }, ExitCode::Broken);
    assert_eq!(totals.all.passed + totals.all.broken, 3);
    assert!(totals.all.broken >= 2);
}

#[test]
fn what_went_wrong_beside_the_answers_is_told() {
    let honest = Liar::new(|b, truth| vec![(b, Answer::Asked(truth))]);
    let liar = Liar { trouble: Some("it died between two plans".into()), ..honest };
    let totals = expect(liar, ExitCode::Broken);
    assert_eq!(
        (totals.all.passed, &totals.problems[..]),
        (3, &["host: it died between two plans".into()][..])
    );
}

/// What was recorded, line by line.
fn recording() -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let honest = Liar::new(|b, truth| vec![(b, Answer::Asked(truth))]);
    let environment = honest.environment.clone();
    let recorded = options(Some(file.path().to_owned()));
    let (totals, _) = ask(Opener::at(honest, environment), recorded);
    assert_eq!(exit_code(&totals), ExitCode::AsExpected);
    std::fs::read_to_string(file.path()).unwrap().lines().map(str::to_owned).collect()
}

/// What a run says that asks a recording with the line of the second case changed; `None` where it is no recording.
fn asked_of(change: impl FnOnce(&mut serde_json::Value)) -> Option<Totals> {
    let mut lines = recording();
    assert_eq!(lines.len(), 4);
    let mut line = serde_json::from_str(&lines[2]).unwrap();
    change(&mut line);
    lines[2] = line.to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines.join("\n") + "\n").unwrap();
    let recording = Recording::read(file.path()).ok()?;
    let environment = recording.environment.clone();
    Some(ask(Opener::at(recording, environment), options(None)).0)
}

#[rstest]
#[case::fewer_steps("/transcript/outcomes", "[]")]
#[case::fewer_observations("/transcript/observations", "[]")]
#[case::no_word("/transcript/observations/0/found", r#"{"Err":{"Abstained":"x"}}"#)]
#[case::another_end("/transcript/end", r#"{"Broke":{"stage":"s","detail":"d","errno":null}}"#)]
fn a_recording_that_was_edited_is_broken(#[case] place: &str, #[case] value: &str) {
    let value: serde_json::Value = serde_json::from_str(value).unwrap();
    let totals = asked_of(|line| *line.pointer_mut(place).expect("a place") = value);
    assert_eq!(exit_code(&totals.unwrap()), ExitCode::Broken);
}

#[test]
fn a_recording_of_another_plan_answers_nothing() {
    let totals = asked_of(|line| line["plan"] = "0000000000000000".into()).unwrap();
    assert_eq!((totals.all.passed, totals.all.skipped), (2, 1));
    // Nor does a line that has the name of another.
    assert!(asked_of(|line| line["id"] = "a".into()).is_none());
    let totals = asked_of(|line| line["id"] = "z".into()).unwrap();
    assert_eq!((totals.all.passed, totals.all.skipped), (2, 1));
}
