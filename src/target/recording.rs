//! What a kernel answered, written to a file and asked again elsewhere: the model can be held against
//! a kernel that is not here.
//!
//! The file has one line for the environment and one for each plan. A plan is known again by a digest,
//! so that an answer is never held against a scenario that has changed meanwhile. Nothing in it tells
//! of the machine but the kernel's version, settings and file systems: ids are numbered anew.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Answer, Target, Witness};
use crate::missing::Missing;
use crate::probe::Environment;
use crate::scenario::plan::Plan;
use crate::transcript::Transcript;
use crate::whole::Whole;

/// The longest line that is read: no scenario gives as much.
const LONGEST: u64 = 80 << 20;
/// The longest recording that is read.
const MOST: u64 = 256 << 20;

/// One line of a recording.
#[derive(Serialize, Deserialize)]
struct Recorded {
    id: String,
    plan: String,
    transcript: Transcript,
}

impl Recorded {
    fn says_the_same_as(&self, other: &Self) -> bool {
        self.plan == other.plan
            && self.transcript.without_chance() == other.transcript.without_chance()
    }
}

/// What tells a plan from what it was before: all of it but what changes no answer.
fn digest(plan: &Plan) -> io::Result<String> {
    let mut plan = Plan { keep: false, trace: false, timeout_ms: 0, ..plan.clone() };
    plan.steps.iter_mut().for_each(|step| step.line = 0);
    let digest = Sha256::digest(serde_json::to_vec(&plan)?);
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Another witness whose answers are written down, when it has given all of them.
pub struct Recorder {
    witness: Box<dyn Witness>,
    out: Whole,
    /// What is not written down again.
    known: Option<Recording>,
    asked: BTreeMap<usize, (String, String)>,
}

impl Recorder {
    /// Writes to this file what the witness of an environment answers, but for what is known already.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn new(
        path: &Path,
        environment: &Environment,
        witness: Box<dyn Witness>,
        known: Option<Recording>,
    ) -> io::Result<Self> {
        let out = Whole::create(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let mut recorder = Self { witness, out, known, asked: BTreeMap::new() };
        // How it runs, as on an emulated processor, is of this machine and not of the kernel.
        recorder.line(&Environment { note: None, ..environment.clone() })?;
        Ok(recorder)
    }

    fn line(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.out.write_all(&line)
    }
}

impl Witness for Recorder {
    fn name(&self) -> &'static str {
        self.witness.name()
    }

    fn target(&self) -> String {
        self.witness.target()
    }

    fn capacity(&self) -> usize {
        self.witness.capacity()
    }

    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        self.asked.insert(ticket, (plan.id.clone(), digest(plan)?));
        self.witness.submit(ticket, plan)
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<(usize, Answer)>> {
        let next = self.witness.next(wait)?;
        if let Some((ticket, Answer::Asked(transcript))) = &next
            && let Some((id, plan)) = self.asked.remove(ticket)
        {
            let mut transcript = (**transcript).clone();
            transcript.anonymise();
            transcript.evidence.clear();
            let recorded = Recorded { id, plan, transcript };
            let known = self.known.as_ref().and_then(|known| known.answers.get(&recorded.id));
            if !known.is_some_and(|known| known.says_the_same_as(&recorded)) {
                self.line(&recorded)?;
            }
        }
        Ok(next)
    }

    fn trouble(&mut self) -> Option<String> {
        self.witness.trouble()
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.witness.sources()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A kernel that was asked before.
pub struct Recording {
    /// What it was asked on.
    pub environment: Environment,
    file: PathBuf,
    answers: BTreeMap<String, Recorded>,
    next: VecDeque<(usize, Answer)>,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recording({}, {} answers)", self.file.display(), self.answers.len())
    }
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// Where the file cannot be read or is no recording.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut recording = Self::parse(BufReader::new(File::open(path)?.take(MOST)))?;
        recording.file = path.to_owned();
        Ok(recording)
    }

    /// Reads a recording from what was a file.
    pub(crate) fn parse(mut input: impl BufRead) -> io::Result<Self> {
        let mut number = 1;
        let wrong = |number: usize, why: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {why}"))
        };
        let Some(first) = line(&mut input).map_err(|error| wrong(number, error.to_string()))?
        else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
        };
        let environment: Environment = serde_json::from_slice(&first)
            .map_err(|error| wrong(number, format!("no environment: {error}")))?;
        let texts = [&environment.release, &environment.machine];
        if texts.into_iter().any(|text| text.chars().any(char::is_control)) {
            return Err(wrong(number, "a control character in the name of the kernel".to_owned()));
        }
        let mut answers = BTreeMap::new();
        loop {
            number += 1;
            let next = line(&mut input).map_err(|error| wrong(number, error.to_string()))?;
            let Some(next) = next else { break };
            let recorded: Recorded = serde_json::from_slice(&next)
                .map_err(|error| wrong(number, format!("no answer: {error}")))?;
            let id = recorded.id.clone();
            if answers.insert(id.clone(), recorded).is_some() {
                return Err(wrong(number, format!("{id} is answered twice")));
            }
        }
        Ok(Self { environment, file: PathBuf::new(), answers, next: VecDeque::new() })
    }

    fn answer(&self, plan: &Plan) -> io::Result<Answer> {
        let missing = |why: &str| {
            let remedy = "record it again there: nsharness run --record FILE";
            Answer::Missing(vec![Missing::new("an answer in the recording", why, remedy)])
        };
        Ok(match self.answers.get(&plan.id) {
            None => missing("it was not asked"),
            Some(recorded) if recorded.plan != digest(plan)? => {
                missing("the scenario has changed since it was asked")
            }
            Some(recorded) => Answer::Asked(Box::new(recorded.transcript.clone())),
        })
    }
}

/// The next line of a recording, if there is one.
fn line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(LONGEST).read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() as u64 == LONGEST => Err(io::Error::other("it is too long")),
        Some(_) => Err(io::Error::other("it has no end: the recording was cut off")),
    }
}

impl Witness for Recording {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn target(&self) -> String {
        Target::Recorded(self.file.clone()).to_string()
    }

    fn capacity(&self) -> usize {
        1
    }

    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        let answer = self.answer(plan)?;
        self.next.push_back((ticket, answer));
        Ok(())
    }

    fn next(&mut self, _: Duration) -> io::Result<Option<(usize, Answer)>> {
        Ok(self.next.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diag::Source;
    use crate::scenario::{FoundFile, KnownNames, resolve};
    use crate::transcript::{Class, End, Outcome, Value, Values};

    fn plan(text: &str) -> Plan {
        let source = Arc::new(Source { name: "t".into(), text: text.into() });
        let file = FoundFile { id: "t".into(), path: "t".into(), base: "".into() };
        resolve(&file, &source, KnownNames { probes: &[] }).unwrap().remove(0).plan
    }

    /// A witness that answers every plan with these identities.
    struct Parrot(VecDeque<usize>, Values);

    impl Witness for Parrot {
        fn name(&self) -> &'static str {
            "kernel"
        }

        fn target(&self) -> String {
            "host".into()
        }

        fn capacity(&self) -> usize {
            1
        }

        fn submit(&mut self, ticket: usize, _: &Plan) -> io::Result<()> {
            self.0.push_back(ticket);
            Ok(())
        }

        fn next(&mut self, _: Duration) -> io::Result<Option<(usize, Answer)>> {
            let outcome = Outcome::Ok(self.1.clone());
            let transcript = Transcript {
                outcomes: vec![outcome],
                observations: Vec::new(),
                end: End::Completed,
                evidence: BTreeMap::from([("mounts".into(), "of this machine".into())]),
            };
            Ok(self.0.pop_front().map(|ticket| (ticket, Answer::Asked(Box::new(transcript)))))
        }
    }

    /// What is written of one plan whose answer holds this inode number.
    fn record(plan: &Plan, ino: &str, known: Option<Recording>) -> String {
        let ino = Value::Identity(Class::Ino, ino.into());
        record_values(plan, Values::from([("ino".into(), ino)]), known)
    }

    fn record_values(plan: &Plan, values: Values, known: Option<Recording>) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording");
        let parrot = Box::new(Parrot(VecDeque::new(), values));
        let mut environment = Environment::of_host(false);
        environment.note = Some("emulated".into());
        let mut recorder = Recorder::new(&path, &environment, parrot, known).unwrap();
        recorder.submit(7, plan).unwrap();
        assert!(recorder.next(Duration::ZERO).unwrap().is_some());
        recorder.finish().unwrap();
        std::fs::read_to_string(&path).unwrap()
    }

    fn read(text: &str) -> io::Result<Recording> {
        Recording::parse(text.as_bytes())
    }

    const SCENARIO: &str = "title: t\nsteps:\n  - stat: { path: . }\n";

    #[test]
    fn what_was_recorded_is_answered_until_the_plan_changes() {
        let recording = read(&record(&plan(SCENARIO), "77", None)).unwrap();
        let asked = |text: &str| matches!(recording.answer(&plan(text)), Ok(Answer::Asked(_)));
        assert!(asked(SCENARIO));
        assert!(asked("title: t\ntimeout: 9\n# more\nsteps:\n  - stat: { path: ., expect: ok }\n"));
        assert!(!asked("title: t\nsteps:\n  - stat: { path: / }\n"));
    }

    #[test]
    fn nothing_of_the_machine_is_written_down() {
        let text = record(&plan(SCENARIO), "77:8:1", None);
        assert!(!text.contains("77:8:1") && !text.contains("of this machine"), "{text}");
        assert!(!text.contains("emulated"), "{text}");
    }

    #[test]
    fn what_another_recording_answers_the_same_is_left_out() {
        let plan = plan(SCENARIO);
        let first = record(&plan, "1", None);
        assert_eq!(first.lines().count(), 2);
        assert_eq!(record(&plan, "2", Some(read(&first).unwrap())).lines().count(), 1);
    }

    #[test]
    fn whether_times_that_nobody_set_are_equal_is_no_difference() {
        let plan = plan(SCENARIO);
        let times = |mtime: &str| {
            let time = |key: &str| Value::Identity(Class::Time, key.into());
            Values::from([("atime".into(), time("1")), ("mtime".into(), time(mtime))])
        };
        let first = read(&record_values(&plan, times("1"), None)).unwrap();
        assert_eq!(record_values(&plan, times("2"), Some(first)).lines().count(), 1);
    }

    #[test]
    fn what_is_no_recording_is_told_by_its_line() {
        let whole = record(&plan(SCENARIO), "1", None);
        let answer = whole.lines().nth(1).unwrap();
        let long = "x".repeat(LONGEST as usize + 1);
        let zero = "\0".repeat(100);
        let escape = whole.replacen("\"release\":\"", "\"release\":\"\\u001b", 1);
        for (text, why) in [
            ("", "it is empty"),
            ("\n", "line 1: no environment: "),
            ("{}\n", "line 1: no environment: "),
            (&zero, "line 1: it has no end"),
            (&long, "line 1: it is too long"),
            (answer, "line 1: it has no end"),
            (&whole[..whole.len() - 9], "line 2: it has no end"),
            (&format!("{whole}{{}}\n"), "line 3: no answer: "),
            (&format!("{whole}{}\n", "[".repeat(10_000)), "line 3: no answer: "),
            (&format!("{whole}{answer}\n"), "line 3: t is answered twice"),
            (&escape, "line 1: a control character"),
        ] {
            let error = read(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with(why), "{why}: {error}");
        }
    }
}
