//! What failed in the last run, for the next: one record for each directory in which runs are started.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bounded;
use crate::kernel::cache;
use crate::named::Named;
use crate::overlays;
use crate::report::read::{Asked, Told};
use crate::report::{Judged, Part, Reporter, Start, Totals};
use crate::scenario::Case;
use crate::scenario::implementation::Implementation;
use crate::target::{Target, Unopened};
use crate::verdict::Status;
use crate::whole;

/// The version of what is written: records of others are none.
const VERSION: u32 = 2;

/// No record is larger: ten thousands of cases, each with its path.
const LARGEST: u64 = 64 << 20;

/// A case: its file and its id.
type Name = (PathBuf, String);

/// The same by whatever way the file was named.
fn name(path: &Path, id: &str) -> Name {
    (std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), id.to_owned())
}

/// What failed on one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Failed {
    /// Whether the target broke, so that nothing was asked of it.
    all: bool,
    cases: BTreeSet<Name>,
}

/// Where a run asked and through what, in the words of who started it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// The targets.
    on: Vec<String>,
    /// The programs that made containers.
    runtimes: Vec<String>,
    /// The programs that mounted overlays, `kernel` among them where it did too.
    overlays: Vec<String>,
}

impl Way {
    /// These targets, through these programs.
    pub fn of(on: &[Target], runtimes: &[Named], overlays: &[Named]) -> Self {
        let words = |named: &[Named]| named.iter().map(ToString::to_string).collect();
        Self {
            on: on.iter().map(ToString::to_string).collect(),
            runtimes: words(runtimes),
            overlays: words(overlays),
        }
    }

    /// The targets.
    ///
    /// # Errors
    /// Where one of them is none that can be asked.
    pub fn targets(&self) -> Result<Vec<Target>, String> {
        let parse = |target: &String| {
            target.parse().map_err(|why| {
                format!("nothing can be run on {target}: {why}; name targets by --on, and programs by --runtime and --overlay")
            })
        };
        self.on.iter().map(parse).collect()
    }

    /// The programs that made containers.
    pub fn runtimes(&self) -> impl Iterator<Item = Named> {
        self.runtimes.iter().filter_map(|word| word.parse().ok())
    }

    /// The programs that mounted overlays.
    pub fn overlays(&self) -> impl Iterator<Item = Named> {
        self.overlays.iter().filter_map(|word| word.parse().ok())
    }

    /// Adds what a report tells of a target: its program and where that was asked.
    fn add(&mut self, target: &str, asked: &Asked) {
        let Asked::At(environment, _) = asked else {
            return add(&mut self.on, target.to_owned());
        };
        let through = [(&environment.runtime, true), (&environment.overlay, false)];
        let through =
            through.into_iter().find_map(|(program, makes)| Some((program.as_ref()?, makes)));
        let Some((implementation, makes_containers)) = through else {
            return add(&mut self.on, target.to_owned());
        };
        let Implementation { program, path, .. } = implementation;
        let on = target.strip_prefix(program.as_str()).and_then(|rest| rest.strip_prefix('@'));
        add(&mut self.on, on.unwrap_or("host").to_owned());
        let named = if path.is_file() { path.display().to_string() } else { program.to_string() };
        if makes_containers {
            return add(&mut self.runtimes, named);
        }
        // Of the kernel it tells nothing: where it was asked too, what failed there is asked of it.
        add(&mut self.overlays, overlays::KERNEL.to_owned());
        add(&mut self.overlays, named);
    }
}

fn add(words: &mut Vec<String>, word: String) {
    if !words.contains(&word) {
        words.push(word);
    }
}

/// What failed in a run. Where each case was asked on one of the targets only, that is told of `auto`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Last {
    version: u32,
    /// When the run ended, or what wrote of it.
    run: String,
    /// Where it asked.
    way: Way,
    /// The targets in the order in which they were told.
    targets: Vec<(String, Failed)>,
}

impl Last {
    /// The record of the last run in this directory.
    ///
    /// # Errors
    /// Why there is none, in a sentence.
    pub fn here() -> Result<Self, String> {
        let file = file()?;
        let text = bounded::read(&file, LARGEST).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "no run in this directory is remembered".to_owned(),
            _ => format!("{} cannot be read: {error}", file.display()),
        })?;
        let none = |error| format!("{} is no record of a run: {error}", file.display());
        let record: serde_json::Value = serde_json::from_slice(&text).map_err(none)?;
        if record.get("version").and_then(serde_json::Value::as_u64) != Some(VERSION.into()) {
            return Err("the last run in this directory was remembered by another version of nsharness, and this one \
                        does not read that"
                .to_owned());
        }
        Self::deserialize(record).map_err(none)
    }

    /// What failed in the run that wrote a JSON report.
    ///
    /// # Errors
    /// Where it is not whole.
    pub fn of_report(file: &Path) -> Result<Self, String> {
        let told = Told::read(file);
        if let Some(trouble) = told.trouble {
            return Err(format!("{}: {trouble}", file.display()));
        }
        let mut last = Self { run: file.display().to_string(), ..Self::of_nothing() };
        let shared = told.part.is_some_and(|part| part.shared);
        if shared {
            last.way.on.push(AUTO.to_owned());
        }
        for target in told.targets {
            if !shared {
                last.way.add(&target.target, &target.asked);
            }
            let failed = last.of(if shared { AUTO } else { &target.target });
            failed.all |= !shared && matches!(target.asked, Asked::Never(Unopened::Broken(_)));
            let judged = target.cases.into_iter().filter(|told| told.verdict.status.is_failure());
            failed.cases.extend(judged.map(|told| name(&told.case.path, &told.case.id)));
        }
        Ok(last)
    }

    fn of_nothing() -> Self {
        Self { version: VERSION, ..Self::default() }
    }

    /// Where it asked and through what.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Which run it was, for messages.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Where something failed.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        let failed =
            self.targets.iter().filter(|(_, failed)| failed.all || !failed.cases.is_empty());
        failed.map(|(target, _)| target.as_str())
    }

    /// Whether a case failed on a target.
    pub fn has(&self, target: &str, case: &Case) -> bool {
        let name = name(&case.path, &case.id);
        self.targets
            .iter()
            .any(|(of, failed)| of == target && (failed.all || failed.cases.contains(&name)))
    }

    fn of(&mut self, target: &str) -> &mut Failed {
        let at = self.targets.iter().position(|(of, _)| of == target);
        let at = at.unwrap_or_else(|| {
            self.targets.push((target.to_owned(), Failed::default()));
            self.targets.len() - 1
        });
        &mut self.targets[at].1
    }

    /// Writes the record in the place of the one before.
    fn write(&self, file: &Path) -> io::Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        whole::write(file, &serde_json::to_vec(self)?)
    }
}

/// The target that chooses others.
pub const AUTO: &str = "auto";

/// The file that has the record of this directory.
fn file() -> Result<PathBuf, String> {
    const DIGITS: usize = 32;
    let root = cache::root().map_err(|missing| format!("there is no place for it: {missing}"))?;
    let here =
        env::current_dir().map_err(|error| format!("where this is is not known: {error}"))?;
    let digest = Sha256::digest(here.as_os_str().as_encoded_bytes());
    let mut name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    name.truncate(DIGITS);
    Ok(root.join("last-run").join(name + ".json"))
}

/// Writes down what fails, when a run has ended.
#[derive(Debug)]
pub struct Memory {
    last: Last,
    shared: bool,
    /// Those that were broken as a whole in the run before and are asked now.
    asked: BTreeMap<String, usize>,
}

impl Memory {
    /// Of a run that asks what failed in this one: what it does not ask has failed still. Of any other run, which
    /// asks this way, what failed before is forgotten.
    pub fn of(before: Option<Last>, way: Way) -> Self {
        let last = before.unwrap_or_else(|| Last { way, ..Last::of_nothing() });
        Self { last, shared: false, asked: BTreeMap::new() }
    }

    fn failed(&mut self, target: &str) -> &mut Failed {
        self.last.of(if self.shared { AUTO } else { target })
    }
}

impl Reporter for Memory {
    fn begin(&mut self, part: &Part) -> io::Result<()> {
        self.shared = part.shared;
        Ok(())
    }

    fn start(&mut self, start: Start<'_>) -> io::Result<()> {
        self.asked.insert(start.target.to_owned(), start.cases);
        Ok(())
    }

    fn unavailable(&mut self, target: &str, _: usize, why: &Unopened) -> io::Result<()> {
        // Where others are asked instead, each of its cases is told.
        self.failed(target).all |= !self.shared && matches!(why, Unopened::Broken(_));
        Ok(())
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        let name = name(&judged.case.path, &judged.case.id);
        let cases = &mut self.failed(judged.target).cases;
        match judged.verdict.status {
            // Nobody was asked: what failed before may fail still.
            Status::Skip => {}
            status if status.is_failure() => drop(cases.insert(name)),
            _ => drop(cases.remove(&name)),
        }
        Ok(())
    }

    fn end(&mut self, totals: &Totals) -> io::Result<()> {
        for (target, summary) in &totals.targets {
            if summary.not_run == 0 && self.asked.contains_key(target) {
                self.failed(target).all = false;
            }
        }
        self.last.run =
            format!("the run of {}", humantime::format_rfc3339_seconds(SystemTime::now()));
        let Ok(file) = file() else { return Ok(()) };
        // A run is no worse for it; but who asks for what failed would be told of another run.
        if let Err(error) = self.last.write(&file)
            && (self.last.targets().next().is_some() || file.exists())
        {
            let file = file.display();
            eprintln!("warning: what failed is not remembered for --failed: {file}: {error}");
        }
        Ok(())
    }
}
