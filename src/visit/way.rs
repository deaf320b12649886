//! The way into a sandbox, by the target that it is on.

use std::fmt;
use std::io;

use super::Broken;
use crate::kernel;
use crate::missing::Missing;
use crate::probe::{self, Environment};
use crate::scenario::Case;
use crate::scenario::plan::Plan;
use crate::target::guest::{Guest, Wanted};
use crate::target::host::Host;
use crate::target::passage::{Here, Passage};
use crate::target::{Opener, Target};
use crate::worker::shell::Shell;
use crate::worker::tools;

/// A program that was let in.
pub struct Entered {
    /// What it is in.
    pub environment: Environment,
    /// The way to it.
    pub passage: Box<dyn Passage>,
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entered(Linux {})", self.environment.release)
    }
}

/// Why nobody is let in.
#[derive(Debug)]
pub enum NoWay {
    /// What the scenario needs is missing there.
    Missing(Vec<Missing>),
    /// Such a target has no sandbox.
    NoSandbox(&'static str),
    /// It broke before anything was asked.
    Broken(Broken),
}

impl From<Broken> for NoWay {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Takes the steps of a plan on a target, and lets a program in.
///
/// # Errors
/// Why it is not let in there.
pub fn enter(
    target: &Target,
    case: &Case,
    plan: &Plan,
    shell: &Shell,
    privileged: bool,
) -> Result<Entered, NoWay> {
    match target {
        Target::Host => here(case, plan, shell, privileged),
        Target::Uml(_) | Target::Qemu(_) => there(target, case, plan, shell),
        Target::Recorded(_) => {
            Err(NoWay::NoSandbox("a recording has no sandbox to go into: name a kernel"))
        }
        Target::Auto => Err(NoWay::NoSandbox("`auto` is several targets")),
    }
}

/// Lets it in on this machine.
fn here(case: &Case, plan: &Plan, shell: &Shell, privileged: bool) -> Result<Entered, NoWay> {
    let broken = || Broken::at(Target::Host.to_string());
    let probes = probe::wanted(std::slice::from_ref(case));
    let host = Host::start(1).map_err(Broken::at("a worker cannot be started"))?;
    let opened = Opener::at(host, Environment::of_host(privileged)).open(&probes);
    let environment =
        opened.map_err(|why| broken()(io::Error::other(why.to_string())))?.environment;
    has_all(&environment, case)?;
    let passage = Box::new(Here::start(plan, shell).map_err(broken())?);
    Ok(Entered { environment, passage })
}

/// Boots a guest, and lets it in there.
fn there(target: &Target, case: &Case, plan: &Plan, shell: &Shell) -> Result<Entered, NoWay> {
    let broken = || Broken::at(target.to_string());
    let probes = probe::wanted(std::slice::from_ref(case));
    let kernel = kernel::find(target).map_err(|missing| NoWay::Missing(vec![missing]))?;
    let questions = probe::plans(&probes);
    let mut wanted = Wanted::by([plan].into_iter().chain(&questions));
    wanted.programs.extend(tools::names());
    let booted = Guest::boot(kernel, &wanted, 0);
    let (mut guest, mut environment) =
        booted.map_err(|error| broken()(io::Error::other(error.to_string())))?;
    environment.ask(&probes, &mut guest).map_err(broken())?;
    has_all(&environment, case)?;
    let passage = Box::new(guest.let_in(plan, shell).map_err(broken())?);
    Ok(Entered { environment, passage })
}

fn has_all(environment: &Environment, case: &Case) -> Result<(), NoWay> {
    let missing = environment.missing(case);
    if missing.is_empty() { Ok(()) } else { Err(NoWay::Missing(missing)) }
}
