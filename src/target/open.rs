//! From what the user named to what can be asked.

use std::collections::BTreeSet;
use std::io;

use super::guest::{Guest, Wanted};
use super::host::Host;
use super::recording::Recording;
use super::through::Through;
use super::{Opened, Opener, Target, Unopened, Which};
use crate::kernel::cache::Cache;
use crate::kernel::{self, Flavour};
use crate::probe::{self, Environment};
use crate::scenario::Case;

/// What targets are opened with.
#[derive(Debug, Default)]
pub struct Means {
    /// Workers of this machine's kernel, for each time that it is asked: they are made before anything else.
    pub hosts: Vec<Host>,
    /// Whether scenarios may run as real root on this machine.
    pub privileged: bool,
    /// What is asked of every target first.
    pub probes: BTreeSet<String>,
}

/// How a target is got for these cases, through a program or without one.
///
/// # Errors
/// Where a recording cannot be read, or [`Target::Auto`] was not put into other words before.
pub fn opener(
    target: &Target,
    means: &mut Means,
    cases: &[Case],
    through: Option<&Through>,
) -> io::Result<Opener> {
    let opener = match target {
        Target::Host => {
            let host = means.hosts.pop();
            let host = host.ok_or_else(|| io::Error::other("there are no workers for the host"))?;
            Opener::at(host, Environment::of_host(means.privileged))
        }
        Target::Recorded(file) => {
            let recording = Recording::read(file)?;
            let environment = recording.environment.clone();
            Opener::at(recording, environment)
        }
        Target::Uml(_) | Target::Qemu(_) => guest(target, means, cases, through),
        Target::Auto => return Err(io::Error::other("`auto` is several targets")),
    };
    Ok(match through {
        Some(through) => opener.through(through.clone()),
        None => opener,
    })
}

fn guest(target: &Target, means: &Means, cases: &[Case], through: Option<&Through>) -> Opener {
    let questions = probe::plans(&means.probes);
    let mut wanted = Wanted::by(cases.iter().map(|case| &case.plan).chain(&questions));
    wanted.extend_by(through);
    guest_with(target, &wanted, &means.probes)
}

/// How a guest is got that has what is wanted, and is asked these probes first.
pub fn guest_with(target: &Target, wanted: &Wanted, probes: &BTreeSet<String>) -> Opener {
    let kernel = match kernel::find(target) {
        Ok(kernel) => kernel,
        Err(missing) => return Opener::Never(Unopened::Missing(missing)),
    };
    let (wanted, probes) = (wanted.clone(), probes.clone());
    Opener::Guest(Box::new(move |place| {
        let (guest, environment) = Guest::boot(kernel, &wanted, place)?;
        let mut opened = Opened { witness: Box::new(guest), environment };
        opened.probe(&probes)?;
        Ok(opened)
    }))
}

/// The targets that `auto` chooses from, the cheapest first: this kernel, the installed User-Mode
/// Linux, the newest one of the cache, and its images from the newest on.
pub fn candidates() -> Vec<Target> {
    let mut candidates = vec![Target::Host];
    let cached = |flavour| {
        let cache = Cache::of_user().ok();
        let kernels = cache.into_iter().flat_map(move |cache| {
            cache.kernels(flavour).map(|cached| cached.entry.version.clone()).collect::<Vec<_>>()
        });
        kernels.map(Which::Version).collect::<Vec<_>>()
    };
    let newest = cached(Flavour::Uml).pop();
    // Where there is none at all, what to do about that is told with what was skipped.
    if kernel::installed().is_some() || newest.is_none() {
        candidates.push(Target::Uml(Which::Installed));
    }
    candidates.extend(newest.map(Target::Uml));
    candidates.extend(cached(Flavour::Image).into_iter().rev().map(Target::Qemu));
    candidates
}
