//! `nsharness simulate`

use super::Trouble;
use super::reports::Reports;
use super::select::Selection;
use crate::exit_code::ExitCode;
use crate::model::profile::Profile;
use crate::probe::{self, Environment};
use crate::run::Options;
use crate::scenario::condition::KernelVersion;
use crate::snapshot::Mode;
use crate::sys;
use crate::target::model::Model;

/// Nothing is run: no kernel is asked, no namespace made, no right needed. Where the model does not
/// know the rules it abstains and says why.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    kernel: Kernel,
    #[command(flatten)]
    reports: Reports,
}

/// The arguments that say which kernel is modelled.
#[derive(Debug, Default, clap::Args)]
pub struct Kernel {
    /// The version of Linux that is modelled, as in 6.12 or 5.10.46, as it comes from kernel.org;
    /// this machine's, with its settings, if left out
    #[arg(long, value_name = "VERSION", value_parser = version)]
    kernel: Option<KernelVersion>,
}

impl Kernel {
    /// Whether a version was named.
    pub fn is_given(&self) -> bool {
        self.kernel.is_some()
    }

    /// The profile of that kernel.
    pub fn profile(&self) -> Profile {
        match self.kernel {
            Some(version) => Profile::of_version(version),
            None => {
                let mut profile = Environment::of_host(false).profile();
                // What could be mounted is asked, not what this machine has been built with.
                profile.settings.file_systems = None;
                profile
            }
        }
    }
}

fn version(text: &str) -> Result<KernelVersion, String> {
    text.parse().map_err(|()| "a version is two or three numbers, as in 6.12 or 5.10.46".to_owned())
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    sys::watch_for_interrupts()
        .map_err(|errno| Trouble::Environment("signals cannot be handled".into(), errno.into()))?;
    let selected = arguments.selection.cases()?;
    let profile = arguments.kernel.profile();
    let mut environment = Environment::simulated(&profile);
    let mut model = Model::new(profile);
    environment
        .ask(&probe::wanted(&selected.cases), &mut model)
        .map_err(Trouble::environment("the model cannot be probed"))?;
    let options = Options {
        // What is recorded is what kernels answered.
        snapshots: Mode::Check,
        fail_fast: arguments.reports.fail_fast,
        keep: None,
        model: None,
    };
    arguments.reports.of(&selected, &environment, &mut model, &options)
}
