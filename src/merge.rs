//! What several runs have told, as one: targets of the same name are one target.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::probe::Environment;
use crate::report::read::{Asked, Ending, Told, ToldCase, ToldTarget};
use crate::report::{Judged, Part, Reporter, Start, Summary, Totals};
use crate::shard::Shard;
use crate::target::Unopened;

/// How many missing shards are named.
const NAMED: usize = 8;

/// Several reports, put together.
#[derive(Debug, Default)]
pub struct Merged {
    targets: Vec<Target>,
    /// What keeps it from being whole.
    problems: Vec<String>,
    /// What is odd, and changes nothing of what came of it.
    pub warnings: Vec<String>,
    strays: BTreeSet<String>,
    interrupted: bool,
    part: Option<Part>,
}

/// What is told of one target.
#[derive(Debug)]
struct Target {
    name: String,
    at: Option<(Box<Environment>, Vec<String>)>,
    /// How often it could not be asked: for how many cases, of how many nothing else is told, and why.
    never: Vec<(usize, usize, Unopened)>,
    /// The cases, with the file that tells them.
    cases: Vec<(PathBuf, ToldCase)>,
    /// Where each is among them, by its id.
    places: BTreeMap<String, usize>,
    not_run: usize,
}

impl Merged {
    /// Puts reports together, and finds out what they lack.
    pub fn of(reports: Vec<Told>) -> Self {
        let mut merged = Self::default();
        merged.look_for_shards(&reports);
        merged.part = Some(whole(&reports));
        for report in reports {
            merged.add(report);
        }
        merged.look_for_twice_asked();
        merged
    }

    /// Tells reporters what a run would have told them that asked all of it.
    ///
    /// # Errors
    /// Where a report cannot be written.
    pub fn tell(mut self, reporters: &mut [&mut dyn Reporter]) -> io::Result<Totals> {
        let scenarios = self.targets.iter().flat_map(|target| target.places.keys());
        let scenarios = scenarios.collect::<BTreeSet<_>>().len();
        let part = self.part.take().unwrap_or_else(|| whole(&[]));
        let part = Part { scenarios, ..part };
        reporters.iter_mut().try_for_each(|reporter| reporter.begin(&part))?;
        let all = Summary::default();
        let mut totals = Totals { part, all, targets: Vec::new(), problems: self.problems };
        for target in self.targets {
            let name = target.name.clone();
            let mut summary = target.tell(reporters)?;
            summary.interrupted = self.interrupted;
            totals.all.add(&summary);
            totals.targets.push((name, summary));
        }
        totals.all.interrupted = self.interrupted;
        totals.all.stray_snapshots.extend(self.strays);
        Ok(totals)
    }

    /// Misses those of these targets of which no report tells: all of their runs may have died.
    pub fn expect(&mut self, targets: impl IntoIterator<Item = String>) {
        for name in targets {
            if !self.targets.iter().any(|target| target.name == name) {
                self.problems.push(format!("no report is of {name}"));
            }
        }
    }

    fn add(&mut self, report: Told) {
        let Told { file, part, targets, ending, trouble } = report;
        let name = file.display().to_string();
        // What one target of a chain cannot be asked, the next one is.
        let chain = part.is_some_and(|part| part.shared);
        self.problems.extend(trouble.map(|trouble| format!("{name}: {trouble}")));
        let mut summaries = BTreeMap::<String, Summary>::new();
        let mut unheard = BTreeMap::<String, usize>::new();
        for told in &targets {
            for case in &told.cases {
                if let Some(why) = case.verdict.contradiction() {
                    let id = &case.case.id;
                    self.problems.push(format!("{name}: {id} on {}: {why}", told.target));
                }
            }
            let summary = summaries.entry(told.target.clone()).or_default();
            told.cases.iter().for_each(|told| summary.count(told.case.level, &told.verdict));
            match &told.asked {
                Asked::Never(why) => {
                    let unasked = told.scenarios.saturating_sub(told.cases.len());
                    summary.count_unasked(unasked, why);
                }
                Asked::At(..) => {
                    let unheard = unheard.entry(told.target.clone()).or_default();
                    *unheard += told.scenarios.saturating_sub(told.cases.len());
                }
            }
        }
        match ending {
            Some(ending) => {
                for counts in ending.targets.iter().filter(|_| !chain) {
                    let Some(unheard) = unheard.get(&counts.target) else { continue };
                    let not_run = counts.not_run;
                    if *unheard != not_run {
                        let why = format!("{unheard} are not told, and {not_run} were not run");
                        let target = &counts.target;
                        self.problems.push(format!("{name}: {target}: of its scenarios {why}"));
                    }
                }
                self.end(&name, ending, &summaries);
            }
            // It is not known what else it was to ask.
            None => unheard.iter().for_each(|(target, count)| self.target(target).not_run += count),
        }
        for told in targets {
            self.add_target(&file, told);
        }
    }

    fn end(&mut self, name: &str, ending: Ending, summaries: &BTreeMap<String, Summary>) {
        let carried = ending.problems.into_iter().map(|problem| format!("{name}: {problem}"));
        self.problems.extend(carried);
        self.interrupted |= ending.all.interrupted;
        let mut sum = Summary::default();
        summaries.values().for_each(|summary| sum.add(summary));
        if !ending.all.is_of(&sum) {
            self.problems.push(format!("{name}: its summary is not the sum of its targets"));
        }
        self.strays.extend(ending.all.stray_snapshots);
        let mut named = BTreeSet::new();
        for counts in ending.targets {
            let found = summaries.get(&counts.target).cloned().unwrap_or_default();
            if !counts.is_of(&found) {
                let target = &counts.target;
                let why = "its lines are not what its summary says: some are missing or changed";
                self.problems.push(format!("{name}: {target}: {why}"));
            }
            self.target(&counts.target).not_run += counts.not_run;
            named.insert(counts.target);
        }
        for target in summaries.keys().filter(|target| !named.contains(*target)) {
            self.problems.push(format!("{name}: its summary says nothing of {target}"));
        }
    }

    fn target(&mut self, name: &str) -> &mut Target {
        let at = self.targets.iter().position(|target| target.name == name);
        let at = at.unwrap_or_else(|| {
            self.targets.push(Target {
                name: name.to_owned(),
                at: None,
                never: Vec::new(),
                cases: Vec::new(),
                places: BTreeMap::new(),
                not_run: 0,
            });
            self.targets.len() - 1
        });
        &mut self.targets[at]
    }

    fn add_target(&mut self, file: &Path, told: ToldTarget) {
        let name = told.target;
        let mut warnings = Vec::new();
        let mut problems = Vec::new();
        let unasked = told.scenarios.saturating_sub(told.cases.len());
        let target = self.target(&name);
        match (told.asked, &mut target.at) {
            (Asked::Never(why), _) => target.never.push((told.scenarios, unasked, why)),
            (Asked::At(environment, witnesses), at @ None) => *at = Some((environment, witnesses)),
            (Asked::At(environment, witnesses), Some((known, speak))) => {
                let kernels = [&known.release, &environment.release];
                if kernels[0] != kernels[1] {
                    let [one, other] = kernels;
                    warnings.push(format!(
                        "{name} is Linux {one}, and Linux {other} in {}: name targets by versions \
                         where that matters",
                        file.display()
                    ));
                }
                // Each shard asks the probes that its scenarios need.
                for (probe, finding) in environment.findings {
                    known.findings.entry(probe).or_insert(finding);
                }
                if witnesses != *speak {
                    problems.push(format!(
                        "{}: {name} was asked of {}, and of {} in others",
                        file.display(),
                        witnesses.join(" and "),
                        speak.join(" and ")
                    ));
                }
            }
        }
        for case in told.cases {
            let id = case.case.id.clone();
            let place = target.places.get(&id).and_then(|place| target.cases.get_mut(*place));
            let Some((before, known)) = place else {
                target.places.insert(id, target.cases.len());
                target.cases.push((file.to_owned(), case));
                continue;
            };
            let both = format!("{} and {}", before.display(), file.display());
            if same(known, &case) {
                warnings.push(format!("{id} on {name} is in {both} with the same answer"));
                continue;
            }
            let (one, other) = (known.verdict.status.word(), case.verdict.status.word());
            let how =
                if one == other { "other answers".into() } else { format!("{one} and {other}") };
            problems.push(format!("{id} on {name} is in {both}, with {how}"));
            if case.verdict.status.is_failure() && !known.verdict.status.is_failure() {
                *known = case;
            }
        }
        self.warnings.extend(warnings);
        self.problems.extend(problems);
    }

    /// Finds the shards of which no report is there: those of one selection on one target belong together.
    fn look_for_shards(&mut self, reports: &[Told]) {
        let mut found = BTreeMap::<(String, u64, String), BTreeSet<u64>>::new();
        for report in reports {
            let Some(part) = &report.part else { continue };
            let told = report.targets.iter().map(|told| &told.target);
            let ended = report.ending.iter().flat_map(|ending| &ending.targets);
            let targets: BTreeSet<_> = told.chain(ended.map(|counts| &counts.target)).collect();
            let chain = [&"auto".to_owned()].into_iter().cloned().collect::<Vec<_>>();
            let targets: Vec<String> =
                if part.shared { chain } else { targets.into_iter().cloned().collect() };
            for target in targets {
                let key = (target, part.shard.of(), part.digest.clone());
                found.entry(key).or_default().insert(part.shard.index());
            }
        }
        let selections: BTreeSet<_> = found.keys().map(|(_, _, digest)| digest).collect();
        let several = selections.len() > 1;
        for ((target, of, digest), indices) in &found {
            let count = of - indices.len() as u64;
            if count == 0 {
                continue;
            }
            let missing = (1..=*of).filter(|index| !indices.contains(index)).take(NAMED);
            let missing: Vec<_> = missing.map(|index| format!("{index}/{of}")).collect();
            let more = count - missing.len() as u64;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let of = if several { format!(" of the selection {digest}") } else { String::new() };
            let missing = missing.join(", ");
            self.problems.push(format!("no report has shard {missing}{more} of {target}{of}"));
        }
    }

    /// By `--on auto` a case is asked on one target: where reports overlap it may be on two.
    fn look_for_twice_asked(&mut self) {
        if !self.part.as_ref().is_some_and(|part| part.shared) {
            return;
        }
        let mut seen = BTreeMap::<&String, &String>::new();
        for target in &self.targets {
            for id in target.places.keys() {
                if let Some(other) = seen.insert(id, &target.name) {
                    let name = &target.name;
                    self.problems.push(format!("{id} was asked on {other} and on {name}"));
                }
            }
        }
    }
}

impl Target {
    fn tell(mut self, reporters: &mut [&mut dyn Reporter]) -> io::Result<Summary> {
        // As a run tells them: by scenario, and its cases as they stand in the file.
        self.cases.sort_by(|(_, one), (_, other)| scenario(one).cmp(scenario(other)));
        let mut summary = Summary { not_run: self.not_run, ..Summary::default() };
        for (cases, unasked, why) in &self.never {
            summary.count_unasked(*unasked, why);
            let mut reporters = reporters.iter_mut();
            reporters.try_for_each(|reporter| reporter.unavailable(&self.name, *cases, why))?;
        }
        if let Some((environment, witnesses)) = &self.at {
            let witnesses: Vec<_> = witnesses.iter().map(String::as_str).collect();
            let cases = self.cases.len() + self.not_run;
            let start = Start { environment, target: &self.name, witnesses: &witnesses, cases };
            reporters.iter_mut().try_for_each(|reporter| reporter.start(start))?;
        }
        for (_, told) in &self.cases {
            summary.count(told.case.level, &told.verdict);
            let judged = Judged {
                case: &told.case,
                target: &self.name,
                witness: &told.witness,
                verdict: &told.verdict,
                observed: told.observed.as_deref(),
                took: told.took,
            };
            reporters.iter_mut().try_for_each(|reporter| reporter.judged(judged))?;
        }
        reporters.iter_mut().try_for_each(|reporter| reporter.done(&self.name, &summary))?;
        Ok(summary)
    }
}

/// The id without the name of the case.
fn scenario(told: &ToldCase) -> &str {
    let id = told.case.id.as_str();
    id.split_once('@').map_or(id, |(scenario, _)| scenario)
}

/// What reports are about that are put together.
fn whole(reports: &[Told]) -> Part {
    let parts: Vec<_> = reports.iter().filter_map(|report| report.part.as_ref()).collect();
    let digests: BTreeSet<_> = parts.iter().map(|part| part.digest.as_str()).collect();
    let selected: BTreeMap<_, _> =
        parts.iter().map(|part| (part.digest.as_str(), part.selected)).collect();
    Part {
        shard: Shard::WHOLE,
        scenarios: 0,
        selected: selected.values().sum(),
        digest: digests.into_iter().collect::<Vec<_>>().join("+"),
        shared: !parts.is_empty() && parts.iter().all(|part| part.shared),
    }
}

/// Whether two say the same of a case, but for the time that it took.
fn same(one: &ToldCase, other: &ToldCase) -> bool {
    let said = |told: &ToldCase| {
        let steps: Vec<_> = told.verdict.steps.iter().map(|step| step.outcome.clone()).collect();
        (told.verdict.status, told.verdict.reasons.clone(), steps, told.observed.clone())
    };
    said(one) == said(other)
}
