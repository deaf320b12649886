//! `--on`: where it is asked.

use super::Trouble;
use crate::last::{Last, Way};
use crate::missing::Missing;
use crate::named::Named;
use crate::overlays;
use crate::run::{Asked, Share, Takes};
use crate::runtime;
use crate::scenario::Case;
use crate::scenario::implementation::Implementation;
use crate::target::host::Host;
use crate::target::open::{Means, candidates, opener};
use crate::target::through::Through;
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

    /// The workers for the host, where it is asked, for this many times that it is: they are copies of this
    /// process and are made while it is small.
    pub fn workers(&self, jobs: usize, times: usize) -> Result<Vec<Host>, Trouble> {
        let start =
            |_| Host::start(jobs).map_err(Trouble::environment("workers cannot be started"));
        let times = if self.has_host() { times } else { 0 };
        (0..times).map(start).collect()
    }

    /// How each of the targets is got.
    pub fn asked(&self, mut means: Means, cases: &[Case]) -> Result<Vec<Asked>, Trouble> {
        let one = |target| asked(target, &mut means, cases, None, Takes::ALL);
        self.targets().iter().map(one).collect()
    }

    /// How each of the targets is got, and each of them through each of the programs.
    pub fn asked_through(
        &self,
        programs: &Programs,
        mut means: Means,
        cases: &[Case],
    ) -> Result<Vec<Asked>, Trouble> {
        if programs.count() == 0 {
            return self.asked(means, cases);
        }
        let mut all = Vec::new();
        for target in self.targets() {
            let by_kernel = programs.left_to_kernel();
            if cases.iter().any(|case| by_kernel.takes(case)) {
                all.push(asked(&target, &mut means, cases, None, by_kernel)?);
            }
            for runtime in &programs.runtimes {
                let through = Some(Through::Runtime(runtime.clone()));
                all.push(asked(&target, &mut means, cases, through, Takes::CONTAINERS)?);
            }
            for overlay in &programs.overlays {
                let through = Some(Through::Overlay(overlay.clone()));
                all.push(asked(&target, &mut means, cases, through, Takes::OVERLAYS)?);
            }
        }
        Ok(all)
    }

    /// The names of the targets, each through each of the programs, as they are told; and what each takes.
    pub fn names(&self, programs: &Programs) -> Vec<(String, Takes)> {
        let mut names = Vec::new();
        for target in self.named() {
            names.push((name(target, None), programs.left_to_kernel()));
            for program in &programs.runtimes {
                names.push((name(target, Some(program)), Takes::CONTAINERS));
            }
            for program in &programs.overlays {
                names.push((name(target, Some(program)), Takes::OVERLAYS));
            }
        }
        names
    }

    fn targets(&self) -> Vec<Target> {
        if self.is_auto() { candidates() } else { self.named().to_vec() }
    }
}

fn asked(
    target: &Target,
    means: &mut Means,
    cases: &[Case],
    through: Option<Through>,
    takes: Takes,
) -> Result<Asked, Trouble> {
    let what = match target {
        Target::Recorded(file) => format!("{} is no recording", file.display()),
        other => other.to_string(),
    };
    let opener =
        opener(target, means, cases, through.as_ref()).map_err(Trouble::environment(what))?;
    let kernel = target.to_string();
    let target = name(target, through.as_ref().map(Through::implementation));
    Ok(Asked { target, kernel, opener, takes })
}

/// What a target is called that is asked through a program, or without one.
fn name(target: &Target, program: Option<&Implementation>) -> String {
    match program.map(|program| &program.program) {
        Some(program) if *target == Target::Host => program.to_string(),
        Some(program) => format!("{program}@{target}"),
        None => target.to_string(),
    }
}

/// Programs that are asked on every target beside its kernel.
#[derive(Debug, clap::Args)]
pub struct NamedPrograms {
    /// Who makes the containers of scenarios that have one, one after the other: runc, crun, youki, or the file of
    /// another runtime with the same command line; bwrap and unshare where they have options for what a scenario
    /// says. All other scenarios are asked of the kernel alone
    #[arg(long, value_name = "RUNTIME,...", value_delimiter = ',')]
    runtime: Vec<Named>,
    /// Who mounts the overlays of scenarios, one after the other: fuse-overlayfs, the file of another program with
    /// the same command line, or kernel. All other scenarios are asked of the kernel alone
    #[arg(long, value_name = "PROGRAM,...", value_delimiter = ',')]
    overlay: Vec<Named>,
}

impl NamedPrograms {
    /// How many programs there are.
    pub fn count(&self) -> usize {
        self.runtime.len() + self.overlay.iter().filter(|named| !overlays::is_kernel(named)).count()
    }

    /// Whether there are programs that mount overlays.
    pub fn has_overlays(&self) -> bool {
        self.overlay.iter().any(|named| !overlays::is_kernel(named))
    }

    /// Takes those of a run before, of each kind of which none is named here, as far as something failed through
    /// them.
    pub fn take_up(&mut self, last: &Last) {
        let failed = |named: &Named| {
            let name = named.program();
            last.targets().any(|target| target.split('@').next() == Some(name))
        };
        if self.runtime.is_empty() {
            self.runtime = last.way().runtimes().filter(failed).collect();
        }
        if self.overlay.is_empty() {
            let wanted = |named: &Named| overlays::is_kernel(named) || failed(named);
            self.overlay = last.way().overlays().filter(wanted).collect();
        }
    }

    /// Forgets those of a kind.
    pub fn leave_out(&mut self, runtimes: bool, overlays: bool) {
        if runtimes {
            self.runtime.clear();
        }
        if overlays {
            self.overlay.clear();
        }
    }

    /// These on these targets, as they are named.
    pub fn way(&self, on: &On) -> Way {
        Way::of(on.named(), &self.runtime, &self.overlay)
    }

    /// Finds all of them.
    ///
    /// # Errors
    /// The first that is not there: who names one wants it asked.
    pub fn find(&self) -> Result<Programs, Trouble> {
        let runtimes = distinct(self.runtime.iter().map(runtime::find))?;
        let named = self.overlay.iter().filter(|named| !overlays::is_kernel(named));
        let overlays = distinct(named.map(overlays::find))?;
        let kernel_too = overlays.is_empty() || self.overlay.iter().any(overlays::is_kernel);
        let both =
            |one: &&Implementation| overlays.iter().any(|other| other.program == one.program);
        if let Some(program) = runtimes.iter().find(both) {
            return Err(called(program));
        }
        Ok(Programs { runtimes, overlays, kernel_too })
    }
}

/// What was named, found.
#[derive(Debug)]
pub struct Programs {
    runtimes: Vec<Implementation>,
    overlays: Vec<Implementation>,
    /// Whether the kernel mounts overlays beside the programs that do.
    kernel_too: bool,
}

impl Programs {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.runtimes.len() + self.overlays.len()
    }

    /// The same, with the kernel as one that mounts overlays.
    #[must_use]
    pub fn beside_kernel(self) -> Self {
        Self { kernel_too: true, ..self }
    }

    /// What no program is asked.
    fn left_to_kernel(&self) -> Takes {
        Takes { containers: self.runtimes.is_empty(), overlays: self.kernel_too, others: true }
    }
}

fn distinct(
    found: impl Iterator<Item = Result<Implementation, Missing>>,
) -> Result<Vec<Implementation>, Trouble> {
    let mut all: Vec<Implementation> = Vec::new();
    for program in found {
        let program = program?;
        if all.iter().any(|other| other.program == program.program) {
            return Err(called(&program));
        }
        all.push(program);
    }
    Ok(all)
}

fn called(program: &Implementation) -> Trouble {
    Trouble::Usage(format!("two programs are called {}", program.program))
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
