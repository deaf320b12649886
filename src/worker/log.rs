//! What a plan is answered, written part by part to memory that the worker shares, and read from there.

use serde::{Deserialize, Serialize};

use super::Answer;
use crate::sys::SharedBuffer;
use crate::transcript::{Breakage, End, Observation, Outcome, Transcript, Value};

/// One part of a transcript, in the order in which it came about.
#[derive(Debug, Serialize, Deserialize)]
pub enum Part {
    Outcome(Outcome),
    Observation(Observation),
    /// The same as the observation so many before it.
    Unchanged(usize),
    Changed(Change),
    Evidence(String, String),
    Broke(Breakage),
    TimedOut,
    Completed,
}

/// What is other in a list that was observed than in the one so many observations before: what a step does is
/// little beside what is there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Change {
    before: usize,
    /// How many entries are the same from the first on.
    first: usize,
    /// The entries between those.
    between: Vec<Value>,
    /// How many are the same up to the last one.
    last: usize,
}

impl Part {
    /// An observation beside one that was made so many before it.
    pub fn since(before: usize, old: &Observation, new: &Observation) -> Self {
        if old == new {
            return Self::Unchanged(before);
        }
        let (Ok(Value::List(was)), Ok(Value::List(is)), true) =
            (&old.found, &new.found, old.title == new.title)
        else {
            return Self::Observation(new.clone());
        };
        let same = |two: &(&Value, &Value)| two.0 == two.1;
        let first = was.iter().zip(is).take_while(same).count();
        let (was, is) = (&was[first..], &is[first..]);
        let last = was.iter().rev().zip(is.iter().rev()).take_while(same).count();
        let between = is[..is.len() - last].to_vec();
        Self::Changed(Change { before, first, between, last })
    }

    fn is_end(&self) -> bool {
        matches!(self, Self::Broke(_) | Self::TimedOut | Self::Completed)
    }
}

impl Change {
    /// The observation that this makes of those that were made before it; `None` where there is no such one.
    fn applied(self, made: &[Observation]) -> Option<Observation> {
        let old = made.get(made.len().checked_sub(self.before)?)?;
        let Ok(Value::List(was)) = &old.found else { return None };
        let first = was.get(..self.first)?;
        let last = was.get(was.len().checked_sub(self.last)?..)?;
        let list = first.iter().cloned().chain(self.between).chain(last.iter().cloned()).collect();
        Some(Observation { title: old.title.clone(), found: Ok(Value::List(list)) })
    }
}

/// A transcript that does not say how it ended.
pub fn unended() -> Transcript {
    Transcript::broken(Breakage { stage: String::new(), detail: String::new(), errno: None })
}

/// The transcripts in a buffer, one after the other; the last one may have no end.
pub fn read(buffer: &SharedBuffer) -> Vec<Transcript> {
    read_text(&buffer.contents())
}

/// The transcripts in what was written to a buffer.
pub fn read_text(contents: &[u8]) -> Vec<Transcript> {
    let (mut transcripts, mut transcript) = (Vec::new(), unended());
    let mut open = false;
    for line in contents.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        open = true;
        let part = serde_json::from_slice(line).map_err(|error| error.to_string());
        match part.and_then(|part| add(part, &mut transcript)) {
            Ok(None) => continue,
            Ok(Some(end)) => transcript.end = end,
            Err(detail) => {
                let stage = "worker: transcript".to_owned();
                transcript.end = End::Broke(Breakage { stage, detail, errno: None });
            }
        }
        transcripts.push(std::mem::replace(&mut transcript, unended()));
        open = false;
    }
    if open {
        transcripts.push(transcript);
    }
    transcripts
}

/// Adds a part to a transcript; how it ended, where it is the last one.
fn add(part: Part, transcript: &mut Transcript) -> Result<Option<End>, String> {
    let made = &mut transcript.observations;
    let nothing = || "it refers to an observation that is not there".to_owned();
    match part {
        Part::Outcome(outcome) => transcript.outcomes.push(outcome),
        Part::Observation(observation) => made.push(observation),
        Part::Unchanged(before) => {
            let old = made.len().checked_sub(before).and_then(|place| made.get(place));
            let same = old.ok_or_else(nothing)?.clone();
            made.push(same);
        }
        Part::Changed(change) => {
            let observation = change.applied(made).ok_or_else(nothing)?;
            made.push(observation);
        }
        Part::Evidence(name, text) => drop(transcript.evidence.insert(name, text)),
        Part::Broke(breakage) => return Ok(Some(End::Broke(breakage))),
        Part::TimedOut => return Ok(Some(End::TimedOut)),
        Part::Completed => return Ok(Some(End::Completed)),
    }
    Ok(None)
}

/// Where the parts of a transcript are written.
pub struct Log<'b> {
    pub buffer: &'b SharedBuffer,
    /// Whether only the ends of plans are written.
    pub ends_only: bool,
}

impl Log<'_> {
    /// Adds all that was answered to a plan.
    pub fn add_all(&self, answer: Answer) {
        let transcript = match answer {
            Answer::Asked(transcript) => *transcript,
            Answer::Missing(missing) => {
                let reasons: Vec<_> = missing.iter().map(ToString::to_string).collect();
                let (stage, detail) = ("sandbox: missing".to_owned(), reasons.join("; "));
                Transcript::broken(Breakage { stage, detail, errno: None })
            }
        };
        transcript.outcomes.into_iter().for_each(|outcome| self.add(&Part::Outcome(outcome)));
        let observations = transcript.observations.into_iter();
        observations.for_each(|observation| self.add(&Part::Observation(observation)));
        self.add(&match transcript.end {
            End::Completed => Part::Completed,
            End::TimedOut => Part::TimedOut,
            End::Broke(breakage) => Part::Broke(breakage),
        });
    }

    /// How many plans have ended, and whether one has begun to answer beside them.
    pub fn ended(&self) -> (usize, bool) {
        let is_end = |line: &[u8]| {
            line.starts_with(b"\"Completed\"")
                || line.starts_with(b"\"TimedOut\"")
                || line.starts_with(b"{\"Broke\"")
        };
        let contents = self.buffer.contents();
        let lines = contents.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.fold((0, false), |(ended, _), line| match is_end(line) {
            true => (ended + 1, false),
            false => (ended, true),
        })
    }

    /// Adds one part. What does not fit breaks the scenario instead of being cut off silently.
    pub fn add(&self, part: &Part) {
        if self.ends_only && !part.is_end() {
            return;
        }
        let mut line = serde_json::to_vec(part).unwrap_or_default();
        line.push(b'\n');
        if line.len() <= 1 || !self.buffer.append(&line) {
            crate::sys::exit_now(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(names: &[&str]) -> Observation {
        let entry = |name: &&str| Value::Map(vec![("path".into(), (*name).into())]);
        let found = Ok(Value::List(names.iter().map(entry).collect()));
        Observation { title: "tree at .".to_owned(), found }
    }

    #[rstest::rstest]
    #[case::nothing(&["a", "b"], &["a", "b"], 0)]
    #[case::an_entry_more(&["a", "c"], &["a", "b", "c"], 1)]
    #[case::an_entry_less(&["a", "b", "c"], &["a", "c"], 0)]
    #[case::another_entry(&["a", "b", "c"], &["a", "x", "c"], 1)]
    #[case::the_same_twice(&["a", "a"], &["a", "a", "a"], 1)]
    #[case::all(&["a"], &["b", "c"], 2)]
    #[case::from_none(&[], &["b"], 1)]
    #[case::to_none(&["b"], &[], 0)]
    fn what_is_other_is_all_that_is_written(
        #[case] before: &[&str],
        #[case] after: &[&str],
        #[case] written: usize,
    ) {
        let (old, new) = (seen(before), seen(after));
        let mut transcript = unended();
        transcript.observations.push(old.clone());
        let part = Part::since(1, &old, &new);
        if let Part::Changed(change) = &part {
            assert_eq!(change.between.len(), written);
        }
        assert_eq!(add(part, &mut transcript), Ok(None));
        assert_eq!(transcript.observations[1], new);
    }

    #[test]
    fn a_part_that_refers_to_nothing_breaks_the_transcript() {
        let change = |before, first, last| {
            Part::Changed(Change { before, first, between: Vec::new(), last })
        };
        for part in [Part::Unchanged(2), change(2, 0, 0), change(1, 3, 0), change(1, 0, 3)] {
            let mut transcript = unended();
            transcript.observations.push(seen(&["a", "b"]));
            assert!(add(part, &mut transcript).is_err());
        }
    }

    #[test]
    fn what_was_no_list_is_written_whole() {
        let (old, mut new) = (seen(&["a"]), seen(&["a"]));
        new.found = Err(Outcome::Abstained("lost".to_owned()));
        assert!(matches!(Part::since(1, &old, &new), Part::Observation(_)));
        assert!(matches!(Part::since(1, &new, &new), Part::Unchanged(1)));
    }
}
