//! `--on`: where it is asked.

use super::Trouble;
use crate::run::{Asked, Share, Takes};
use crate::runtime::Named;
use crate::scenario::Case;
use crate::scenario::container::Runtime;
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
        let one = |target| asked(target, &mut means, cases, None, Takes::All);
        self.targets().iter().map(one).collect()
    }

    /// How each of the targets is got, and each of them with each of the runtimes.
    pub fn asked_through(
        &self,
        runtimes: &[Runtime],
        mut means: Means,
        cases: &[Case],
    ) -> Result<Vec<Asked>, Trouble> {
        if runtimes.is_empty() {
            return self.asked(means, cases);
        }
        let mut all = Vec::new();
        for target in self.targets() {
            if cases.iter().any(|case| case.plan.world.container.is_none()) {
                all.push(asked(&target, &mut means, cases, None, Takes::Plain)?);
            }
            for runtime in runtimes {
                let through = asked(&target, &mut means, cases, Some(runtime), Takes::Containers)?;
                all.push(through);
            }
        }
        Ok(all)
    }

    fn targets(&self) -> Vec<Target> {
        if self.is_auto() { candidates() } else { self.named().to_vec() }
    }
}

fn asked(
    target: &Target,
    means: &mut Means,
    cases: &[Case],
    runtime: Option<&Runtime>,
    takes: Takes,
) -> Result<Asked, Trouble> {
    let what = match target {
        Target::Recorded(file) => format!("{} is no recording", file.display()),
        other => other.to_string(),
    };
    let opener = opener(target, means, cases, runtime).map_err(Trouble::environment(what))?;
    let kernel = target.to_string();
    let target = match runtime {
        Some(runtime) if *target == Target::Host => runtime.program.to_string(),
        Some(runtime) => format!("{}@{target}", runtime.program),
        None => target.to_string(),
    };
    Ok(Asked { target, kernel, opener, takes })
}

/// `--runtime`: what makes containers.
#[derive(Debug, clap::Args)]
pub struct Runtimes {
    /// Who makes the containers of scenarios that have one, one after the other: runc, crun, youki, or the file of
    /// another runtime with the same command line. All other scenarios are asked of the kernel alone
    #[arg(long, value_name = "RUNTIME,...", value_delimiter = ',')]
    runtime: Vec<Named>,
}

impl Runtimes {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.runtime.len()
    }

    /// Finds all of them.
    ///
    /// # Errors
    /// The first that is not there: who names one wants it asked.
    pub fn find(&self) -> Result<Vec<Runtime>, Trouble> {
        let mut found: Vec<Runtime> = Vec::new();
        for named in &self.runtime {
            let runtime = named.find().map_err(|missing| {
                let why = std::io::Error::other(format!("{} ({})", missing.why, missing.remedy));
                Trouble::Environment(missing.what, why)
            })?;
            if found.iter().any(|other| other.program == runtime.program) {
                return Err(Trouble::Usage(format!("two runtimes are called {}", runtime.program)));
            }
            found.push(runtime);
        }
        Ok(found)
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
