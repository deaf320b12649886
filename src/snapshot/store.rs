//! Snapshot files: where they are, how they are read, written, compared and reviewed.
//!
//! The format is that of the crate `insta` (a header between two `---` lines, then the content), and
//! a pending snapshot is the same file with `.new` behind its name, so that `cargo insta review`
//! works on them too.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use similar::{ChangeTag, TextDiff};

use crate::bounded;
use crate::links::{self, first_link};
use crate::scenario::Case;
use crate::scenario::condition::Answers;
use crate::scenario::load::SCENARIOS;
use crate::verdict::Recorded;
use crate::whole;

/// No record is larger.
const LARGEST: u64 = 64 << 20;

/// The directory that mirrors `scenarios/`.
const SNAPSHOTS: &str = "snapshots";
const ENDING: &str = "snap";
const PENDING_ENDING: &str = "snap.new";
/// Most lines of a difference that are shown.
const DIFF_LINES: usize = 60;

/// What is done with observations that have no record or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Only compare: a missing record is a failure.
    Check,
    /// Compare, and write what is new beside the record for review.
    New,
    /// Record what was observed.
    Accept,
}

/// The snapshots beside one directory of scenarios.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shelf {
    directory: PathBuf,
}

/// A snapshot that waits for review.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The pending file.
    pub file: PathBuf,
    /// The record that it would replace.
    pub record: PathBuf,
    /// The directory of all snapshots.
    shelf: PathBuf,
}

/// A snapshot that belongs to no scenario, or to one that observes nothing any more.
#[derive(Clone, Debug)]
pub struct Stray {
    /// The file.
    pub file: PathBuf,
    /// Why it is one.
    pub why: String,
}

impl Shelf {
    /// The shelf for scenarios whose ids are counted from this directory: `snapshots` beside a
    /// directory named `scenarios`, and inside of any other.
    pub fn beside(base: &Path) -> Self {
        let directory = if base.file_name().is_some_and(|name| name == SCENARIOS) {
            base.with_file_name(SNAPSHOTS)
        } else {
            base.join(SNAPSHOTS)
        };
        Self { directory }
    }

    /// The record of a case in an environment.
    pub fn record(&self, case: &Case, environment: &dyn Answers) -> PathBuf {
        let variant = case.variants.iter().find(|(_, condition)| condition.holds(environment));
        let variant = variant.map(|(name, _)| name.as_str());
        self.named(case, variant)
    }

    fn named(&self, case: &Case, variant: Option<&str>) -> PathBuf {
        let variant = variant.map_or_else(String::new, |name| format!("~{name}"));
        self.directory.join(format!("{}{variant}.{ENDING}", case.id))
    }

    /// Compares what a case observed with its record, and writes as the mode says.
    pub fn compare(
        &self,
        case: &Case,
        environment: &dyn Answers,
        content: &str,
        mode: Mode,
    ) -> Recorded {
        let record = self.record(case, environment);
        let file = record.display().to_string();
        let pending = pending_of(&record);
        if let Some(link) = first_link(&self.directory, &record) {
            let why = format!("{} is a symbolic link", link.display());
            return Recorded::Unreadable { file, why };
        }
        let old = match read(&record) {
            Ok(old) => old,
            Err(error) => {
                return Recorded::Unreadable { file, why: format!("it cannot be read: {error}") };
            }
        };
        if content.is_empty() {
            return Recorded::Nothing;
        }
        if old.as_deref() == Some(content) {
            // What was pending has come true or gone away: nobody needs to review it.
            let outdated = if mode == Mode::Check { Ok(()) } else { remove(&pending) };
            return match outdated {
                Ok(()) => Recorded::Same,
                Err(error) => Recorded::Unreadable {
                    file: pending.display().to_string(),
                    why: format!("it cannot be removed: {error}"),
                },
            };
        }
        let written = match mode {
            Mode::Check => Ok(()),
            Mode::New => write(&pending, case, content),
            Mode::Accept => write(&record, case, content).and_then(|()| remove(&pending)),
        };
        match (written, mode, old) {
            (Err(error), ..) => {
                Recorded::Unreadable { file, why: format!("it cannot be written: {error}") }
            }
            (Ok(()), Mode::Accept, _) => Recorded::Same,
            (Ok(()), _, None) => Recorded::New { file, pending: mode == Mode::New },
            (Ok(()), _, Some(old)) => Recorded::Changed {
                file,
                diff: difference(&old, content),
                pending: mode == Mode::New,
            },
        }
    }

    /// The snapshots of these cases that wait for review.
    pub fn pending(&self, cases: &[Case]) -> Vec<Pending> {
        let records = cases
            .iter()
            .filter(|case| Self::beside(&case.base) == *self)
            .flat_map(|case| self.records(case));
        records
            .map(|record| {
                let (file, shelf) = (pending_of(&record), self.directory.clone());
                Pending { file, record, shelf }
            })
            .filter(|pending| pending.file.symlink_metadata().is_ok())
            .collect()
    }

    /// The records that a case can have: one a variant, and one where no variant applies.
    fn records(&self, case: &Case) -> Vec<PathBuf> {
        let variants = case.variants.iter().map(|(name, _)| Some(name.as_str()));
        variants.chain([None]).map(|variant| self.named(case, variant)).collect()
    }

    /// The snapshots below a directory that none of these cases can have; they are all its cases.
    ///
    /// # Errors
    /// Where the directory cannot be read, or is reached by a symbolic link.
    pub fn strays(&self, below: &Path, cases: &[Case]) -> io::Result<Vec<Stray>> {
        links::check_below(&self.directory, &self.directory.join(below))?;
        let mut possible = BTreeSet::new();
        let mut silent = BTreeSet::new();
        for case in cases.iter().filter(|case| Self::beside(&case.base) == *self) {
            let files = self.records(case);
            if case.plan.observe.is_empty() { silent.extend(files) } else { possible.extend(files) }
        }
        let mut strays = Vec::new();
        for file in files(&self.directory.join(below))? {
            let name = name_of(&file);
            if !name.ends_with(ENDING) && !name.ends_with(PENDING_ENDING) {
                continue;
            }
            let record =
                if name.ends_with(PENDING_ENDING) { file.with_extension("") } else { file.clone() };
            if silent.contains(&record) {
                strays.push(Stray { file, why: "its scenario observes nothing".into() });
            } else if !possible.contains(&record) {
                strays.push(Stray { file, why: "no scenario has it".into() });
            }
        }
        Ok(strays)
    }
}

impl Pending {
    /// How it differs from the record.
    ///
    /// # Errors
    /// Where one of the two cannot be read, or is reached by a symbolic link.
    pub fn difference(&self) -> io::Result<String> {
        self.check()?;
        let old = read(&self.record)?.unwrap_or_default();
        let new = read(&self.file)?.unwrap_or_default();
        Ok(difference(&old, &new))
    }

    /// Makes it the record.
    ///
    /// # Errors
    /// Those of rename(2); symbolic links.
    pub fn accept(&self) -> io::Result<()> {
        self.check()?;
        fs::rename(&self.file, &self.record)
    }

    /// Throws it away.
    ///
    /// # Errors
    /// Those of unlink(2); symbolic links on the way.
    pub fn reject(&self) -> io::Result<()> {
        links::check_below(&self.shelf, self.file.parent().unwrap_or(&self.shelf))?;
        fs::remove_file(&self.file)
    }

    /// Neither of the two is reached by a symbolic link, nor is one.
    fn check(&self) -> io::Result<()> {
        links::check_below(&self.shelf, &self.file)?;
        links::check_below(&self.shelf, &self.record)
    }
}

/// Every file below a directory; none where there is no directory.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn pending_of(record: &Path) -> PathBuf {
    let mut name = record.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// The content of a snapshot file; `None` where there is none.
fn read(file: &Path) -> io::Result<Option<String>> {
    match bounded::read_text(file, LARGEST) {
        Ok(text) => content(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was observed, of the text of a record.
pub(crate) fn content(text: &str) -> io::Result<String> {
    let content = text.strip_prefix("---\n").and_then(|rest| Some(rest.split_once("\n---\n")?.1));
    match content {
        Some(content) => Ok(format!("{}\n", content.trim_end_matches('\n'))),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it has no header between two `---` lines",
        )),
    }
}

/// Writes a whole file or none.
fn write(file: &Path, case: &Case, content: &str) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // From the directory that ids are counted from, wherever the command was run.
    let below = case.path.strip_prefix(&case.base).unwrap_or(&case.path);
    let source =
        Path::new(case.base.file_name().unwrap_or_default()).join(below).display().to_string();
    let text = format!(
        "---\nsource: {}\nexpression: {}\n---\n{content}",
        serde_json::to_string(&source)?,
        serde_json::to_string(&case.id)?
    );
    whole::write(file, text.as_bytes())
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        // A file system that is read-only says so of a name that is not there, too.
        Err(error) if file.symlink_metadata().is_ok() => Err(error),
        _ => Ok(()),
    }
}

/// Both texts, with `-` before what is recorded and `+` before what was observed.
fn difference(old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut text = String::new();
    let mut lines = 0;
    for group in diff.grouped_ops(2) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            lines += 1;
            if lines > DIFF_LINES {
                text.push_str("... and more\n");
                return text;
            }
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            text.push(sign);
            text.push_str(change.value().trim_end_matches('\n'));
            text.push('\n');
        }
    }
    text
}
