//! What a search leaves in a directory: a scenario for each finding, reproductions, and the record to go on
//! with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::findings::{FindingsError, Found, Record, Search};
use super::hunt::Haul;
use super::repro::{Refusal, c, sh, world_as_steps};
use super::write::{Origin, about, scenario};
use super::{Finding, Place};
use crate::links;
use crate::model::predict;
use crate::model::profile::Profile;
use crate::model::rules::Invariant;
use crate::scenario::observe::Observe;
use crate::scenario::operation::Operation;
use crate::scenario::plan::Plan;
use crate::transcript::Outcome;

/// What a reproduction is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Repro {
    /// C, with plain system calls
    C,
    /// The shell, with the usual tools
    Sh,
}

impl Repro {
    /// The ending of its file.
    pub fn ending(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Sh => "sh",
        }
    }
}

/// A directory of findings, and the search that goes on in it.
#[derive(Debug)]
pub struct Keeper {
    directory: PathBuf,
    record: Record,
}

impl Keeper {
    /// A directory for a search: it goes on where an earlier one stopped if that is asked for. One that has
    /// findings is not written over otherwise.
    ///
    /// # Errors
    /// A record that cannot be read, or is that of another search; a directory behind a symbolic link.
    pub fn open(directory: PathBuf, search: Search, resume: bool) -> Result<Self, FindingsError> {
        links::check_directory(&directory)
            .map_err(|error| FindingsError::File(directory.clone(), error))?;
        let record = if resume {
            Record::resume(&directory, search)?
        } else if Record::read(&directory)?.is_some() {
            return Err(FindingsError::Kept(directory));
        } else {
            Record::of(search)
        };
        Ok(Self { directory, record })
    }

    /// The first trial that was not asked yet.
    pub fn next(&self) -> u64 {
        self.record.searches.first().map_or(0, |search| search.next)
    }

    /// Writes what came of a search until now, with what was there before it. What could not be reproduced is
    /// told.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn keep(
        &self,
        haul: &Haul,
        findings: &[Finding],
        reproductions: &[Repro],
    ) -> Result<Vec<(String, Refusal)>, FindingsError> {
        let mut record = self.record.clone();
        let profile = haul.environment.as_ref().map(|environment| environment.profile());
        let release = haul.environment.as_ref().map_or("", |e| e.release.as_str());
        let Some(search) = record.searches.first_mut() else { return Ok(Vec::new()) };
        search.kernel = release.to_owned();
        search.next = haul.next;
        search.trials += haul.summary.trials;
        search.broken += haul.summary.broken;
        let (target, seed) = (search.target.clone(), search.seed);
        let overlay = haul.environment.as_ref().and_then(|e| e.overlay.as_ref());
        let origin = Origin { target: &target, kernel: release, overlay, seed };
        let (mut files, mut refused) = (BTreeMap::new(), Vec::new());
        for finding in findings {
            let name = record.add(Found::new(finding.clone(), release));
            let (Some(name), Some(profile)) = (name, &profile) else { continue };
            let predicted = predicted(finding, profile);
            files.insert(format!("{name}.yaml"), scenario(finding, &origin, predicted.as_ref()));
            for kind in reproductions {
                match reproduction(*kind, finding, &origin, profile) {
                    Ok(text) => drop(files.insert(format!("{name}.{}", kind.ending()), text)),
                    Err(why) => refused.push((format!("{name}.{}", kind.ending()), why)),
                }
            }
        }
        record.write(&self.directory, &files)?;
        Ok(refused)
    }
}

/// What the model says of the step at which a finding deviates.
pub fn predicted(finding: &Finding, profile: &Profile) -> Option<Outcome> {
    let Place::Step(index) = finding.deviation.place else { return None };
    predict(&finding.smallest, profile).transcript.outcomes.into_iter().nth(index)
}

/// A finding as a program of its own.
///
/// # Errors
/// The first part of its plan that such a program cannot do.
pub fn reproduction(
    kind: Repro,
    finding: &Finding,
    origin: &Origin<'_>,
    profile: &Profile,
) -> Result<String, Refusal> {
    let mut plan: Plan = match finding.deviation.place {
        Place::World => world_as_steps(&finding.smallest).ok_or_else(|| Refusal {
            what: "world".to_owned(),
            why: "it has trees that are made after mounts".to_owned(),
        })?,
        _ => finding.smallest.clone(),
    };
    if let Place::Observation(index) = finding.deviation.place {
        can_be_seen(&plan, index)?;
    }
    let mut predicted = predict(&plan, profile).transcript;
    if let Place::Invariant(invariant, step) = finding.deviation.place {
        let before = before(invariant, step, &mut plan)?;
        predicted.observations = predict(&before, profile).transcript.observations;
    }
    let about = about(finding, origin);
    match kind {
        Repro::C => c::program(&plan, &predicted, &about),
        Repro::Sh => sh::script(&plan, &predicted, &about),
    }
}

/// Whether steps can see what was observed at a place: none tells which namespaces two processes share, nor a path
/// as somebody else sees it.
fn can_be_seen(plan: &Plan, place: usize) -> Result<(), Refusal> {
    let mut items = plan.observe.iter().flat_map(|item| std::iter::repeat_n(item, item.count()));
    let what = match items.nth(place) {
        Some(Observe::Namespaces(_)) => "the namespaces of a process",
        Some(Observe::Process(_)) => "the root and working directory of a process",
        _ => return Ok(()),
    };
    Err(Refusal { what: what.to_owned(), why: "no step can see them".to_owned() })
}

/// The steps after which was seen what must be seen again at the end of a plan; nothing else is looked at then.
fn before(invariant: Invariant, step: usize, plan: &mut Plan) -> Result<Plan, Refusal> {
    // Two answers can part in the world already, and then there need be no step.
    let steps = match (invariant, plan.steps.get(step).map(|step| &step.operation)) {
        (Invariant::Trace, _) => step,
        (Invariant::Remount, Some(Operation::Overlay(mount))) => {
            let at = mount.at.as_str();
            plan.observe
                .retain(|item| matches!(item, Observe::Tree(tree) if tree.at.as_str() == at));
            step.saturating_sub(1)
        }
        _ => {
            let (what, why) = ("what holds of root and others", "it is asked twice");
            return Err(Refusal { what: what.to_owned(), why: why.to_owned() });
        }
    };
    let mut before = plan.clone();
    before.steps.truncate(steps);
    Ok(before)
}
