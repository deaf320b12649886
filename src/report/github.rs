//! What GitHub shows beside a change: annotations at the lines of scenarios, by workflow commands on standard output.
//!
//! Sources: Workflow commands for GitHub Actions, in its documentation; src/Runner.Common/ActionCommand.cs of its
//! runner, which takes `##[` for the beginning of a command wherever in a line it stands.

use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use super::escape::harmless;
use super::junit::line;
use super::{Judged, Reporter, Start, Totals, count};
use crate::target::Unopened;

/// How many annotations of one level GitHub shows of a step.
const SHOWN: usize = 10;
/// Most reasons of one annotation.
const REASONS: usize = 8;
/// Longest of them.
const LONG_REASON: usize = 600;

/// Prints workflow commands when the run has ended.
///
/// It is told of everything before who else prints, and of the end after them: what they print comes from
/// scenarios, and no command is taken from it.
#[derive(Debug)]
pub struct Github<W: Write> {
    out: W,
    /// What lets commands be taken again: nobody can guess it.
    token: String,
    /// Whether they are taken now.
    stopped: bool,
    /// What GitHub counts paths from.
    workspace: Option<PathBuf>,
    /// The targets that could not be asked.
    unavailable: Vec<String>,
    errors: Vec<Annotation>,
    warnings: Vec<Annotation>,
}

#[derive(Debug, PartialEq)]
struct Annotation {
    place: Option<(String, usize)>,
    title: String,
    message: String,
    targets: Vec<String>,
}

impl<W: Write> Github<W> {
    /// A reporter that prints here, with paths as seen from the workspace; the token is a secret of this run.
    pub fn new(out: W, workspace: Option<PathBuf>, token: [u8; 16]) -> Self {
        let token = token.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            out,
            token,
            stopped: false,
            workspace,
            unavailable: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Prints a line; that nobody reads any more ends no run.
    fn say(&mut self, line: &str) -> io::Result<()> {
        match writeln!(self.out, "{line}").and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            said => said,
        }
    }

    fn stop_commands(&mut self) -> io::Result<()> {
        if self.stopped {
            return Ok(());
        }
        self.stopped = true;
        self.say(&format!("::stop-commands::{}", self.token))
    }

    fn tell(&mut self, level: &str, annotations: &[Annotation]) -> io::Result<()> {
        let shown = if annotations.len() > SHOWN { SHOWN - 1 } else { annotations.len() };
        for annotation in &annotations[..shown] {
            self.say(&annotation.command(level))?;
        }
        let more = annotations.len() - shown;
        if more > 0 {
            let what = format!("and {more} more: GitHub shows {SHOWN} of a step, the log has all");
            self.say(&Annotation::new("nsharness", what).command(level))?;
        }
        Ok(())
    }
}

impl<W: Write> Reporter for Github<W> {
    fn start(&mut self, _: Start<'_>) -> io::Result<()> {
        self.stop_commands()
    }

    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()> {
        let told = format!("{} not asked on {target}: {why}", count(cases));
        let annotation = Annotation::new(format!("{target} was not asked"), told);
        self.unavailable.push(target.to_owned());
        match why {
            // Its scenarios went on to the next target, or are told one by one.
            _ if cases == 0 => {}
            Unopened::Missing(_) => self.warnings.push(annotation),
            Unopened::Broken(_) => self.errors.push(annotation),
        }
        self.stop_commands()
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        let Judged { case, target, verdict, .. } = judged;
        if !verdict.status.is_failure() {
            return Ok(());
        }
        let mut message = vec![case.title.clone()];
        message.extend(verdict.reasons.iter().take(REASONS).map(|why| cut(why)));
        let more = verdict.reasons.len().saturating_sub(REASONS);
        if more > 0 {
            message.push(format!("and {more} more reasons"));
        }
        let title = format!("{}: {}", verdict.status.word(), case.id);
        let place = (path_from(self.workspace.as_deref(), &case.path), line(verdict));
        let annotation =
            Annotation { place: Some(place), ..Annotation::new(title, message.join("\n")) };
        // The same of several targets is one annotation: GitHub shows few.
        let known = self.errors.iter_mut().find(|known| known.is_same(&annotation));
        match known {
            Some(known) => known.targets.push(target.to_owned()),
            None => {
                self.errors.push(Annotation { targets: vec![target.to_owned()], ..annotation });
            }
        }
        Ok(())
    }

    fn end(&mut self, totals: &Totals) -> io::Result<()> {
        for problem in &totals.problems {
            self.errors.push(Annotation::new("the report is not whole", problem));
        }
        for (target, summary) in &totals.targets {
            let silent = summary.executed() == 0 && summary.skipped > 0;
            if summary.not_run > 0 {
                let told = format!("{} not asked: the run ended before", count(summary.not_run));
                let title = format!("{target} was not asked everything");
                self.warnings.push(Annotation::new(title, told));
            } else if silent && !totals.part.shared && !self.unavailable.contains(target) {
                let told = format!("{} skipped, and nothing executed", count(summary.skipped));
                let title = format!("{target} answered nothing");
                self.warnings.push(Annotation::new(title, told));
            }
        }
        if totals.part.shared && totals.all.executed() == 0 && totals.all.skipped > 0 {
            let told = format!("{} skipped on every target", count(totals.all.skipped));
            self.warnings.push(Annotation::new("nothing was executed", told));
        }
        for file in &totals.all.stray_snapshots {
            let place = (path_from(self.workspace.as_deref(), Path::new(file)), 1);
            let told =
                Annotation::new("stray snapshot", "no scenario has it: nsharness snap prune");
            self.warnings.push(Annotation { place: Some(place), ..told });
        }
        if std::mem::take(&mut self.stopped) {
            self.say(&format!("::{}::", self.token))?;
        }
        let (errors, warnings) =
            (std::mem::take(&mut self.errors), std::mem::take(&mut self.warnings));
        self.tell("error", &errors)?;
        self.tell("warning", &warnings)
    }
}

impl Annotation {
    fn new(title: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: None, title: title.into(), message: message.into(), targets: Vec::new() }
    }

    /// Whether it says the same, of whatever target.
    fn is_same(&self, other: &Self) -> bool {
        (&self.place, &self.title, &self.message) == (&other.place, &other.title, &other.message)
    }

    /// The workflow command.
    fn command(&self, level: &str) -> String {
        let mut title = self.title.clone();
        if !self.targets.is_empty() {
            title.push_str(&format!(" ({})", self.targets.join(", ")));
        }
        let title = property(&title);
        let properties = match &self.place {
            Some((file, line)) => format!("file={},line={line},title={title}", property(file)),
            None => format!("title={title}"),
        };
        format!("::{level} {properties}::{}", data(&self.message))
    }
}

/// The summary of a step, to which others add theirs.
#[derive(Debug)]
pub struct StepSummary(pub PathBuf);

impl Write for StepSummary {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let Self(path) = self;
        let opened = fs::OpenOptions::new().append(true).create(true).open(&path);
        // What is there need not end with a line.
        let added = opened.and_then(|mut file| file.write_all(&[b"\n", text].concat()));
        added.map_err(|error| {
            let what = format!("GITHUB_STEP_SUMMARY: {}: {error}", path.display());
            io::Error::new(error.kind(), what)
        })?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stands behind a command. Its lines are kept; what else would move a cursor is told by its code.
fn data(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(harmless).collect();
    lines.join("\n").replace('%', "%25").replace('\n', "%0A")
}

/// What stands in a command.
fn property(text: &str) -> String {
    harmless(text).replace('%', "%25").replace(':', "%3A").replace(',', "%2C")
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONG_REASON {
        return text.to_owned();
    }
    text.chars().take(LONG_REASON - 1).chain(['…']).collect()
}

/// A path as seen from the workspace, where it is in it.
fn path_from(workspace: Option<&Path>, path: &Path) -> String {
    let inside = |workspace: &Path| {
        // A link of the repository is shown where the link is, as far as the path says where that is.
        let goes_up = path.components().any(|part| part == Component::ParentDir);
        let plain = std::path::absolute(path).ok().filter(|_| !goes_up);
        let plain = plain.and_then(|path| path.strip_prefix(workspace).map(Path::to_owned).ok());
        plain.or_else(|| {
            let (path, workspace) =
                (fs::canonicalize(path).ok()?, fs::canonicalize(workspace).ok()?);
            path.strip_prefix(workspace).map(Path::to_owned).ok()
        })
    };
    let path = workspace.and_then(inside).unwrap_or_else(|| path.to_owned());
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_command_or_begins_another() {
        let annotation = Annotation {
            place: Some(("a,b:c%2C.yaml".to_owned(), 3)),
            ..Annotation::new("x::error::y\n::debug::z", "100%\r\n::set-output name=a::b")
        };
        assert_eq!(
            annotation.command("error"),
            "::error file=a%2Cb%3Ac%252C.yaml,line=3,\
             title=x%3A%3Aerror%3A%3Ay\\n%3A%3Adebug%3A%3Az::100%25%0A::set-output name=a::b"
        );
    }
}
