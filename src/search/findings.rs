//! The directory that a search writes: a scenario for each finding, and `findings.json`, which has what is
//! needed to go on with the search and to put several of them together.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Cause, Finding, document};
use crate::bounded;
use crate::links;
use crate::shard::Shard;
use crate::whole;

/// The file that has the record.
pub const RECORD: &str = "findings.json";
/// The version of its format.
const FORMAT: u32 = 1;
/// No record is larger.
const LARGEST_RECORD: u64 = 64 << 20;
/// No file of a finding is larger.
const LARGEST_FILE: u64 = 1 << 20;
/// The files that a finding may have, by their endings: a scenario and reproductions.
const ENDINGS: &[&str] = &["yaml", "c", "sh"];

/// What one search found, or several together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format.
    pub format: u32,
    /// The version of nsharness that wrote it.
    pub nsharness: String,
    /// The searches that it comes from: one, or those that were merged.
    pub searches: Vec<Search>,
    /// What they found, in the order of the causes.
    pub findings: Vec<Found>,
}

/// One search: what it takes to repeat it or to go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// What was searched.
    pub family: String,
    /// Where the kernel was asked, as it is named by `--on`.
    pub target: String,
    /// The release of the kernel.
    pub kernel: String,
    /// The seed.
    pub seed: u64,
    /// The part of it, where it is spread over machines.
    pub shard: Shard,
    /// The first trial that was not asked.
    pub next: u64,
    /// How many trials were asked.
    pub trials: u64,
    /// In how many of them the kernel was not asked to the end.
    pub broken: u64,
}

/// A finding and where it was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The name of its files, without their endings.
    pub name: String,
    /// What was found; its count is that of all searches.
    #[serde(flatten)]
    pub finding: Finding,
    /// The kernels that showed it.
    pub kernels: Vec<String>,
}

/// Why findings cannot be read, written or put together.
#[derive(Debug, thiserror::Error)]
pub enum FindingsError {
    /// A file or directory.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// A record that cannot be read.
    #[error("{0}: {1}")]
    Record(PathBuf, String),
    /// Another search is in the directory.
    #[error("{0}: it is {1}, and not {2}: give another directory, or the same search")]
    Other(PathBuf, String, String),
    /// There are findings, and nobody said that they go on.
    #[error(
        "{0}: it has the findings of a search: go on with it by --resume, or give another directory"
    )]
    Kept(PathBuf),
}

impl Search {
    /// Whether a search goes on with another: it would have made up the same trials.
    pub fn goes_on(&self, other: &Self) -> bool {
        let own = |search: &Self| {
            (search.family.clone(), search.target.clone(), search.seed, search.shard)
        };
        own(self) == own(other)
    }
}

impl std::fmt::Display for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a search of {} on {} with seed {}", self.family, self.target, self.seed)?;
        if self.shard == Shard::WHOLE { Ok(()) } else { write!(f, ", part {}", self.shard) }
    }
}

impl Found {
    /// A finding with a name after its cause.
    pub fn new(finding: Finding, kernel: &str) -> Self {
        Self { name: name(&finding.cause), finding, kernels: vec![kernel.to_owned()] }
    }

    /// The same cause found again: what is smaller is kept. Says whether the other one was.
    fn join(&mut self, other: Self) -> bool {
        let kernels = other.kernels.into_iter().filter(|kernel| !self.kernels.contains(kernel));
        let kernels: Vec<_> = kernels.collect();
        self.kernels.extend(kernels);
        self.kernels.sort();
        let count = self.finding.count.saturating_add(other.finding.count);
        let is_smaller = size(&other.finding) < size(&self.finding);
        if is_smaller {
            self.finding = other.finding;
        }
        self.finding.count = count;
        is_smaller
    }
}

/// How much there is to read: first the steps, then everything.
fn size(finding: &Finding) -> (usize, usize) {
    let plan = &finding.smallest;
    (plan.steps.len(), document::of_plan(plan).to_string().len())
}

/// The name of a finding's files: what differs, in words, and a digest of the whole cause.
fn name(cause: &Cause) -> String {
    let words = format!("{} {} {}", cause.what, cause.kernel, cause.model).to_ascii_lowercase();
    let words: Vec<&str> =
        words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let whole = serde_json::to_string(cause).unwrap_or_default();
    let digest =
        Sha256::digest(whole).iter().take(4).map(|b| format!("{b:02x}")).collect::<String>();
    let words: String = words.join("-").chars().take(60).collect();
    format!("{}-{digest}", words.trim_end_matches('-'))
}

/// Whether a finding may be called so: as [`name`] makes them.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

impl Record {
    /// The record of a search that has found nothing yet.
    pub fn of(search: Search) -> Self {
        let nsharness = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, nsharness, searches: vec![search], findings: Vec::new() }
    }

    /// Reads the record of a directory; `None` where there is none yet.
    ///
    /// # Errors
    /// A file that cannot be read, or has another format.
    pub fn read(directory: &Path) -> Result<Option<Self>, FindingsError> {
        let path = directory.join(RECORD);
        let text = match bounded::read(&path, LARGEST_RECORD) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FindingsError::File(path, error)),
        };
        let version: Format = serde_json::from_slice(&text)
            .map_err(|error| FindingsError::Record(path.clone(), error.to_string()))?;
        if version.format != FORMAT {
            let why = format!("its format is {}, expected {FORMAT}", version.format);
            return Err(FindingsError::Record(path, why));
        }
        let record: Self = serde_json::from_slice(&text)
            .map_err(|error| FindingsError::Record(path.clone(), error.to_string()))?;
        // Files are written by these names, and the record may be from elsewhere.
        match record.findings.iter().find(|found| !is_name(&found.name)) {
            None => Ok(Some(record)),
            Some(found) => {
                let why = format!("`{}` is no name of a finding", found.name.escape_debug());
                Err(FindingsError::Record(path, why))
            }
        }
    }

    /// The record to go on with: that of the directory if it is of this search, else a new one.
    ///
    /// # Errors
    /// A record that cannot be read, or is of another search.
    pub fn resume(directory: &Path, search: Search) -> Result<Self, FindingsError> {
        let Some(record) = Self::read(directory)? else { return Ok(Self::of(search)) };
        match record.searches.as_slice() {
            [one] if one.goes_on(&search) => Ok(record),
            [one] => {
                let (one, search) = (one.to_string(), search.to_string());
                Err(FindingsError::Other(directory.to_owned(), one, search))
            }
            several => {
                let several = format!("{} searches put together", several.len());
                Err(FindingsError::Other(directory.to_owned(), several, search.to_string()))
            }
        }
    }

    /// Writes the record and the files of new findings, by their names with endings. Each is there as a whole or
    /// not at all, and the record comes last: what it names is there, whenever the search is ended.
    ///
    /// # Errors
    /// The file or directory that cannot be written.
    pub fn write(
        &self,
        directory: &Path,
        files: &BTreeMap<String, String>,
    ) -> Result<(), FindingsError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| FindingsError::File(path, error)
        };
        links::create_directory(directory).map_err(at(directory))?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            whole::write(&path, text.as_bytes()).map_err(at(&path))
        };
        files.iter().try_for_each(|(name, text)| write(name, text))?;
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        write(RECORD, &text)
    }

    /// Takes over what another record has; the names of those whose files are the other's.
    fn join(&mut self, other: Self) -> Vec<String> {
        for search in other.searches {
            if !self.searches.contains(&search) {
                self.searches.push(search);
            }
        }
        other.findings.into_iter().filter_map(|found| self.add(found)).collect()
    }

    /// Adds a finding, to those of its cause if there are any. Its name, if its files are the ones to keep.
    pub fn add(&mut self, found: Found) -> Option<String> {
        let name = found.name.clone();
        let cause = found.finding.cause.clone();
        match self.findings.binary_search_by(|own| own.finding.cause.cmp(&cause)) {
            Ok(index) => self.findings[index].join(found).then_some(name),
            Err(index) => {
                self.findings.insert(index, found);
                Some(name)
            }
        }
    }
}

/// The version alone, which every format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Puts the findings of several directories into one, by their causes. A directory that is given twice
/// counts once.
///
/// # Errors
/// A directory without a record, or what cannot be read or written.
pub fn merge(directories: &[PathBuf], into: &Path) -> Result<Record, FindingsError> {
    links::check_directory(into).map_err(|error| FindingsError::File(into.to_owned(), error))?;
    let nsharness = env!("CARGO_PKG_VERSION").to_owned();
    let mut merged =
        Record { format: FORMAT, nsharness, searches: Vec::new(), findings: Vec::new() };
    let mut files = BTreeMap::new();
    let mut seen = Vec::new();
    for directory in directories {
        let real = directory.canonicalize();
        let real = real.map_err(|error| FindingsError::File(directory.clone(), error))?;
        if seen.contains(&real) {
            continue;
        }
        seen.push(real);
        let Some(record) = Record::read(directory)? else {
            let why = "there is no record: give directories that `nsharness search --out` wrote";
            return Err(FindingsError::Record(directory.join(RECORD), why.to_owned()));
        };
        for name in merged.join(record) {
            for ending in ENDINGS {
                let file = format!("{name}.{ending}");
                let path = directory.join(&file);
                // What a link leads to is nothing that a search found.
                let text = links::check_below(&path, &path)
                    .and_then(|()| bounded::read_text(&path, LARGEST_FILE));
                match text {
                    Ok(text) => drop(files.insert(file, text)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        files.remove(&file);
                    }
                    Err(error) => return Err(FindingsError::File(path, error)),
                }
            }
        }
    }
    merged.write(into, &files)?;
    Ok(merged)
}
