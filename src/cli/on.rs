//! `--on`: where it is asked.

use super::Trouble;
use crate::run::{Asked, Share};
use crate::scenario::Case;
use crate::target::host::Host;
use crate::target::open::{Means, candidates, opener};
use crate::target::{Target, Targets};

/// The argument that names targets.
#[derive(Debug, clap::Args)]
pub struct On {
    /// Where it is asked, one after the other: host, uml, uml:VERSION, uml:PATH, qemu:VERSION,
    /// qemu:PATH[,modules=DIR], recorded:FILE; or auto, which takes for each scenario the cheapest
    /// that has what it needs; host if left out
    #[arg(long, value_name = "TARGET,...")]
    on: Option<Targets>,
}

/// Where it is asked if nobody says.
const HOST: &[Target] = &[Target::Host];

impl On {
    /// These targets.
    pub fn of(targets: Targets) -> Self {
        Self { on: Some(targets) }
    }

    /// Whether somebody said.
    pub fn is_given(&self) -> bool {
        self.on.is_some()
    }

    /// Whether `auto` chooses the targets.
    pub fn is_auto(&self) -> bool {
        self.named() == [Target::Auto]
    }

    /// Which targets are asked a case.
    pub fn share(&self) -> Share {
        if self.is_auto() { Share::FirstThatCan } else { Share::Every }
    }

    /// What the user named, or what is asked if nothing was.
    pub fn named(&self) -> &[Target] {
        self.on.as_ref().map_or(HOST, |targets| &targets.0)
    }

    /// Whether this machine's kernel may be asked.
    pub fn has_host(&self) -> bool {
        self.is_auto() || self.named().contains(&Target::Host)
    }

    /// Whether all that is asked was answered before.
    pub fn is_recorded(&self) -> bool {
        self.named().iter().all(|target| matches!(target, Target::Recorded(_)))
    }

    /// The workers for the host, where it is asked: they are copies of this process and are made while
    /// it is small.
    pub fn workers(&self, jobs: usize) -> Result<Option<Host>, Trouble> {
        let start = || Host::start(jobs).map_err(Trouble::environment("workers cannot be started"));
        self.has_host().then(start).transpose()
    }

    /// How each of the targets is got.
    pub fn asked(&self, mut means: Means, cases: &[Case]) -> Result<Vec<Asked>, Trouble> {
        let targets = if self.is_auto() { candidates() } else { self.named().to_vec() };
        let asked = targets.iter().map(|target| {
            let what = match target {
                Target::Recorded(file) => format!("{} is no recording", file.display()),
                other => other.to_string(),
            };
            let opener = opener(target, &mut means, cases).map_err(Trouble::environment(what))?;
            Ok(Asked { target: target.to_string(), opener })
        });
        asked.collect()
    }
}

/// How many processors there are.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many guests run at one time: two for each processor. Each of them waits now and then, as for its NFS
/// server to be a second old; and one that begins when another has ended runs alone in the end.
pub fn guests_at_once() -> usize {
    2 * cores()
}
