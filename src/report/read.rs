//! Reads a JSON report back: what reporters were told when it was written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::json::VERSION;
use super::subject::{Excerpt, Subject};
use super::{Part, Summary};
use crate::diag::Source;
use crate::missing::Missing;
use crate::model::rules::Rule;
use crate::probe::{Environment, Finding};
use crate::scenario::condition::KernelVersion;
use crate::scenario::container::Level;
use crate::scenario::implementation::Implementation;
use crate::target::Unopened;
use crate::verdict::{Attempt, ObservationVerdict, Recorded, Status, StepVerdict, Verdict};

/// The longest line that is read.
const LONGEST: u64 = 64 << 20;

/// A case that was judged, as [`super::Judged`] has it.
#[derive(Clone, Debug)]
pub struct ToldCase {
    /// The case.
    pub case: Subject,
    /// Whose answer it is.
    pub witness: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was observed, as text.
    pub observed: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What a target was.
#[derive(Clone, Debug)]
pub enum Asked {
    /// It was asked, and by whom.
    At(Box<Environment>, Vec<String>),
    /// It could not be asked.
    Never(Unopened),
}

/// What was told of a target.
#[derive(Clone, Debug)]
pub struct ToldTarget {
    /// Its name.
    pub target: String,
    /// What it was.
    pub asked: Asked,
    /// How many cases it was to be asked.
    pub scenarios: usize,
    /// Those that were judged.
    pub cases: Vec<ToldCase>,
}

/// The last line of a report.
#[derive(Clone, Debug, Deserialize)]
pub struct Ending {
    /// Of all targets.
    #[serde(flatten)]
    pub all: Counts,
    /// Of each target.
    pub targets: Vec<Counts>,
    /// What keeps it from being whole.
    pub problems: Vec<String>,
}

/// What a report says that it comes to.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Counts {
    /// The target.
    #[serde(default)]
    pub target: String,
    passed: usize,
    failed: usize,
    skipped: usize,
    /// How many were not asked.
    pub not_run: usize,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Snapshots that belong to no scenario.
    pub stray_snapshots: Vec<String>,
}

impl Counts {
    /// Whether it is what the lines before come to.
    pub fn is_of(&self, summary: &Summary) -> bool {
        let Summary { passed, failed, skipped, .. } = summary;
        (self.passed, self.failed, self.skipped) == (*passed, *failed, *skipped)
    }
}

/// A report, as far as it can be read.
#[derive(Clone, Debug)]
pub struct Told {
    /// The file.
    pub file: PathBuf,
    /// What the run was about, where that can be read.
    pub part: Option<Part>,
    /// The targets, in their order.
    pub targets: Vec<ToldTarget>,
    /// The last line, where there is one.
    pub ending: Option<Ending>,
    /// Why not all of it can be read.
    pub trouble: Option<String>,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
    nsharness: String,
    part: Part,
}

#[derive(Deserialize)]
struct Target {
    target: String,
    scenarios: usize,
    #[serde(default)]
    witnesses: Vec<String>,
    #[serde(default)]
    kernel: String,
    #[serde(default)]
    machine: String,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    privileged: bool,
    #[serde(default)]
    runtime: Option<String>,
    #[serde(default)]
    overlay: Option<String>,
    #[serde(default)]
    program: Option<PathBuf>,
    #[serde(default)]
    probes: BTreeMap<String, Finding>,
    #[serde(default)]
    missing: Option<Missing>,
    #[serde(default)]
    broke: Option<String>,
}

#[derive(Deserialize)]
struct Scenario {
    id: String,
    file: PathBuf,
    title: String,
    level: Option<Level>,
    #[serde(default)]
    plain: Vec<String>,
    tags: Vec<String>,
    target: String,
    witness: String,
    status: Status,
    reasons: Vec<String>,
    missing: Vec<Missing>,
    attempts: Vec<Attempt>,
    probes: Vec<String>,
    world: Vec<&'static Rule>,
    steps: Vec<StepVerdict>,
    excerpts: Vec<Excerpt>,
    observations: Vec<ObservationVerdict>,
    abstained: Vec<String>,
    quirks: Vec<&'static Rule>,
    observed: Option<String>,
    snapshot: Option<Snapshot>,
    seconds: f64,
}

#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Snapshot {
    Same,
    New { file: String, pending: bool },
    Changed { file: String, diff: String, pending: bool },
    Unreadable { file: String, why: String },
}

impl From<Snapshot> for Recorded {
    fn from(snapshot: Snapshot) -> Self {
        match snapshot {
            Snapshot::Same => Self::Same,
            Snapshot::New { file, pending } => Self::New { file, pending },
            Snapshot::Changed { file, diff, pending } => Self::Changed { file, diff, pending },
            Snapshot::Unreadable { file, why } => Self::Unreadable { file, why },
        }
    }
}

impl Target {
    fn told(self, event: &str) -> Result<ToldTarget, String> {
        let asked = match (event, self.missing, self.broke) {
            ("environment", ..) => {
                let simulated = self.witnesses == ["model"];
                let version = KernelVersion::of_release(&self.kernel);
                let version = version.ok_or_else(|| format!("`{}` is no kernel", self.kernel))?;
                let through = |said: Option<String>| {
                    said.map(|said| implementation(&self.target, self.program.as_deref(), &said))
                        .transpose()
                };
                let (runtime, overlay) = (through(self.runtime)?, through(self.overlay)?);
                let environment = Environment {
                    release: self.kernel,
                    version,
                    machine: self.machine,
                    uid: self.uid,
                    privileged: self.privileged,
                    simulated,
                    note: self.note,
                    runtime,
                    overlay,
                    settings: Default::default(),
                    findings: self.probes,
                };
                Asked::At(Box::new(environment), self.witnesses)
            }
            (_, Some(missing), _) => Asked::Never(Unopened::Missing(missing)),
            (_, None, Some(why)) => Asked::Never(Unopened::Broken(why)),
            (_, None, None) => return Err("a target without a reason why it was not asked".into()),
        };
        let (target, scenarios) = (self.target, self.scenarios);
        Ok(ToldTarget { target, asked, scenarios, cases: Vec::new() })
    }
}

/// The program through which a target was asked, as its line tells of it: `runc 1.1.5` on `runc@uml:6.12`.
fn implementation(target: &str, path: Option<&Path>, said: &str) -> Result<Implementation, String> {
    let program = target.split('@').next().unwrap_or_default();
    let told = || {
        let (name, version) = said.rsplit_once(' ')?;
        Some(Implementation {
            program: program.parse().ok()?,
            path: path.unwrap_or(Path::new("")).to_owned(),
            name: name.to_owned(),
            version: KernelVersion::of_release(version)?,
        })
    };
    told().ok_or_else(|| format!("`{said}` on `{target}` is no program with a version"))
}

impl Scenario {
    fn told(self) -> Result<ToldCase, String> {
        let took = Duration::try_from_secs_f64(self.seconds).map_err(|error| error.to_string())?;
        let mut case = Subject {
            id: self.id,
            path: self.file,
            title: self.title,
            level: self.level,
            plain: self.plain,
            tags: self.tags,
            probes: self.probes,
            source: Arc::new(Source { name: String::new(), text: String::new() }),
            steps: Vec::new(),
        };
        case.restore(self.steps.len(), &self.excerpts)?;
        let verdict = Verdict {
            status: self.status,
            reasons: self.reasons,
            missing: self.missing,
            world: self.world,
            steps: self.steps,
            observations: self.observations,
            recorded: self.snapshot.map_or(Recorded::Nothing, Recorded::from),
            transcript: None,
            abstained: self.abstained,
            quirks: self.quirks,
            attempts: self.attempts,
        };
        Ok(ToldCase { case, witness: self.witness, verdict, observed: self.observed, took })
    }
}

/// Reads one event.
fn decode<T: for<'de> Deserialize<'de>>(event: &Value) -> Result<T, String> {
    T::deserialize(event).map_err(|error| {
        format!("it is not what this nsharness writes: {error}; was it written by another version?")
    })
}

impl Told {
    /// Reads a report as far as it goes.
    pub fn read(file: &Path) -> Self {
        let mut told = Self::of_nothing(file);
        let opened = File::open(file).map_err(|error| format!("it cannot be read: {error}"));
        told.trouble = opened.and_then(|file| told.lines(BufReader::new(file))).err();
        told
    }

    /// Reads a report as far as it goes, from what was a file of this name.
    pub fn of(file: &Path, input: impl BufRead) -> Self {
        let mut told = Self::of_nothing(file);
        told.trouble = told.lines(input).err();
        told
    }

    fn of_nothing(file: &Path) -> Self {
        let (part, targets) = (None, Vec::new());
        Self { file: file.to_owned(), part, targets, ending: None, trouble: None }
    }

    fn lines(&mut self, mut input: impl BufRead) -> Result<(), String> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = io::Read::take(&mut input, LONGEST).read_until(b'\n', &mut line);
            read.map_err(|error| format!("it cannot be read: {error}"))?;
            if line.is_empty() {
                break;
            }
            let at = |why: String| format!("line {number}: {why}");
            if line.last() != Some(&b'\n') {
                return Err(at("it is cut off: the run that wrote it died, or is not over".into()));
            }
            let event = serde_json::from_slice::<Value>(&line);
            let event = event.map_err(|error| at(format!("it is no JSON: {error}")))?;
            self.event(&event).map_err(at)?;
        }
        match self.ending {
            Some(_) => Ok(()),
            None => Err("it has no summary: the run that wrote it died, or is not over".to_owned()),
        }
    }

    fn event(&mut self, event: &Value) -> Result<(), String> {
        if self.ending.is_some() {
            return Err("it goes on after its summary: is it two reports in one file?".to_owned());
        }
        let kind = event.get("event").and_then(Value::as_str).unwrap_or_default();
        if matches!(kind, "environment" | "unavailable" | "summary") {
            let Head { version, nsharness, part } = decode(event)?;
            let own = env!("CARGO_PKG_VERSION");
            if version != VERSION || nsharness != own {
                return Err(format!(
                    "nsharness {nsharness} wrote it, in version {version} of the format, and this \
                     is {own}, which reads {VERSION}: merge with the version that ran"
                ));
            }
            if *self.part.get_or_insert_with(|| part.clone()) != part {
                return Err("it is of two runs".to_owned());
            }
        }
        match kind {
            "environment" | "unavailable" => {
                self.targets.push(decode::<Target>(event)?.told(kind)?);
            }
            "scenario" => {
                let scenario: Scenario = decode(event)?;
                let told = self.targets.last_mut().filter(|told| told.target == scenario.target);
                let told = told.ok_or("a scenario without its target before it")?;
                told.cases.push(scenario.told()?);
            }
            "summary" => self.ending = Some(decode(event)?),
            // Follows from the others.
            "difference" => {}
            _ => return Err("it is no event of a report".to_owned()),
        }
        Ok(())
    }
}
