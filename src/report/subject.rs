//! What reporters say of a case: where it stands, and nothing of what witnesses are asked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::diag::Source;
use crate::probe;
use crate::scenario::Case;
use crate::scenario::container::Level;
use crate::scenario::load::SCENARIOS;
use crate::verdict::{StepStatus, Verdict};

/// Most lines of a file of which a report tells a part.
const LINES: usize = 4 << 20;

/// A case, as a scenario says it or as a report has kept it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its id.
    pub id: String,
    /// The file of the scenario.
    pub path: PathBuf,
    /// The fact that the scenario states.
    pub title: String,
    /// How a specification demands that fact.
    pub level: Option<Level>,
    /// The ids of scenarios that ask the kernel alone for the same.
    pub plain: Vec<String>,
    /// Words to select by.
    pub tags: Vec<String>,
    /// The probes that it depends on.
    pub probes: Vec<String>,
    /// The text of the file; of a report, the lines that it has kept.
    pub source: Arc<Source>,
    /// Where each step stands in that text.
    pub steps: Vec<Range<usize>>,
}

impl From<&Case> for Subject {
    fn from(case: &Case) -> Self {
        Self {
            id: case.id.clone(),
            path: case.path.clone(),
            title: case.title.clone(),
            level: case.level,
            plain: case.plain.clone(),
            tags: case.tags.clone(),
            probes: probe::wanted([case]).into_iter().collect(),
            source: Arc::clone(&case.source),
            steps: case.steps.iter().map(|step| step.span.clone()).collect(),
        }
    }
}

/// The lines on which a step stands that is not as expected, so that a report shows it by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The number of the step, from 0.
    pub step: usize,
    /// The number of the first line, from 1.
    pub line: usize,
    /// The lines.
    pub text: String,
    /// Where the step begins in them, in bytes.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

impl Subject {
    /// Whether its id says in a checkout where it lies.
    pub fn is_below_scenarios(&self) -> bool {
        let scenario = self.id.split_once('@').map_or(&*self.id, |(scenario, _)| scenario);
        self.path
            .strip_prefix(SCENARIOS)
            .is_ok_and(|path| path.with_extension("") == Path::new(scenario))
    }

    /// The lines of the steps that are not as expected.
    pub fn excerpts(&self, verdict: &Verdict) -> Vec<Excerpt> {
        let text = &self.source.text;
        let failed = |status| matches!(status, StepStatus::Fail | StepStatus::Xpass);
        let steps = verdict.steps.iter().zip(&self.steps).enumerate();
        steps
            .filter(|(_, (step, _))| failed(step.status))
            .filter_map(|(number, (_, span))| {
                let begin = text.get(..span.start)?.rfind('\n').map_or(0, |newline| newline + 1);
                let end = text.get(span.end..)?.find('\n').map_or(text.len(), |n| span.end + n);
                let line = text[..begin].matches('\n').count() + 1;
                let (from, to) = (span.start - begin, span.end - begin);
                Some(Excerpt { step: number, line, text: text[begin..end].to_owned(), from, to })
            })
            .collect()
    }

    /// Text and places of steps, as far as excerpts tell them.
    ///
    /// # Errors
    /// Where an excerpt cannot be one.
    pub fn restore(&mut self, steps: usize, excerpts: &[Excerpt]) -> Result<(), String> {
        let mut lines = BTreeMap::new();
        for Excerpt { line, text, from, to, .. } in excerpts {
            if *line == 0 || *line > LINES || text.get(*from..*to).is_none() {
                return Err(format!("an excerpt of line {line} has no place in a file"));
            }
            lines.extend(text.split('\n').zip(*line..).map(|(text, number)| (number, text)));
        }
        let (mut text, mut begins) = (String::new(), BTreeMap::new());
        let mut number = 1;
        for (line, content) in lines {
            text.extend(std::iter::repeat_n('\n', line - number));
            begins.insert(line, text.len());
            text.push_str(content);
            number = line;
        }
        self.steps = vec![0..0; steps];
        for Excerpt { step, line, from, to, .. } in excerpts {
            let span = self.steps.get_mut(*step).ok_or("an excerpt of a step that is not there")?;
            let begin = begins.get(line).copied().unwrap_or_default();
            *span = begin + from..begin + to;
        }
        // Two excerpts of one line that differ are not of one file.
        if self.steps.iter().any(|span| text.get(span.clone()).is_none()) {
            return Err("excerpts of one line differ".to_owned());
        }
        self.source = Arc::new(Source { name: self.path.display().to_string(), text });
        Ok(())
    }
}
