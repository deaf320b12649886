//! `nsharness simulate`

use super::reports::Reports;
use super::select::{OfShard, Selection};
use super::{Trouble, watch_for_interrupts};
use crate::exit_code::ExitCode;
use crate::kernel;
use crate::missing::Missing;
use crate::model::profile::{NEWEST, OLDEST, Profile};
use crate::probe::{self, Environment};
use crate::run::{Asked, Options, Share, Takes};
use crate::scenario::condition::KernelVersion;
use crate::snapshot::Mode;
use crate::target::model::Model;
use crate::target::recording::Recording;
use crate::target::{Opener, Target, Targets, Unopened, Which};

const EXAMPLES: &str = "\
Examples:
  nsharness simulate                                    the model of this kernel: nothing is run
  nsharness simulate overlay/ --kernel 5.10             an older kernel
  nsharness simulate --on uml:6.12 --json model.json    the kernel of a target

Exit status: 0 as the scenarios expect, 1 a failure, 3 a file is invalid, 4 the model abstained from all.
";

/// Nothing is run: no kernel is asked, no namespace made, no right needed. Where the model does not
/// know the rules it abstains and says why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shard: OfShard,
    #[command(flatten)]
    kernel: Kernel,
    #[command(flatten)]
    modelled: Modelled,
    /// Ends the run with the first failure
    #[arg(long)]
    fail_fast: bool,
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
    let version: KernelVersion = text
        .parse()
        .map_err(|()| "a version is two or three numbers, as in 6.12 or 5.10.46".to_owned())?;
    let KernelVersion(major, minor, _) = version;
    if !(OLDEST..=NEWEST).contains(&(major, minor)) {
        let ((from, first), (to, last)) = (OLDEST, NEWEST);
        return Err(format!("the model knows Linux {from}.{first} to {to}.{last}"));
    }
    Ok(version)
}

/// The targets whose kernels are modelled.
#[derive(Debug, clap::Args)]
struct Modelled {
    /// The kernels that are modelled, by the targets that run them: uml:6.12 is the version of that
    /// kernel, host this machine with its settings, recorded:FILE what was recorded of one
    #[arg(long, value_name = "TARGET,...", conflicts_with = "kernel")]
    on: Option<Targets>,
}

/// A profile, or why it cannot be known.
type Known = Result<Profile, Missing>;

impl Arguments {
    /// Each target with its profile.
    fn profiles(&self) -> Result<Vec<(String, Known)>, Trouble> {
        let Some(Targets(targets)) = &self.modelled.on else {
            return Ok(vec![(MODEL.to_owned(), Ok(self.kernel.profile()))]);
        };
        targets.iter().map(|target| Ok((target.to_string(), self.profile(target)?))).collect()
    }

    fn profile(&self, target: &Target) -> Result<Known, Trouble> {
        let which = match target {
            Target::Host => return Ok(Ok(Kernel::default().profile())),
            Target::Auto => {
                return Err(Trouble::Usage("`auto` is no kernel that could be modelled".into()));
            }
            Target::Recorded(file) => {
                let what = format!("{} is no recording", file.display());
                let recording = Recording::read(file).map_err(Trouble::environment(what))?;
                return Ok(Ok(recording.environment.profile()));
            }
            Target::Uml(which) | Target::Qemu(which) => which,
        };
        // A version needs no kernel: it is modelled.
        let written = match which {
            Which::Version(text) => KernelVersion::of_release(text),
            Which::Installed | Which::File { .. } => None,
        };
        let found = kernel::find(target);
        let release = found.as_ref().ok().and_then(|kernel| kernel.release.as_deref());
        let version = release.and_then(KernelVersion::of_release).or(written);
        Ok(match (version, found) {
            (Some(version), _) => Ok(Profile::of_version(version)),
            (None, Err(missing)) => Err(missing),
            (None, Ok(kernel)) => Err(Missing::new(
                format!("the version of {}", kernel.name),
                "the file does not tell it",
                "name the version: --kernel VERSION",
            )),
        })
    }
}

/// What the target is called where none was named.
const MODEL: &str = "model";

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    watch_for_interrupts()?;
    let mut selected = arguments.selection.cases()?;
    selected.keep(&arguments.shard);
    let mut asked = Vec::new();
    for (target, profile) in arguments.profiles()? {
        let opener = match profile {
            Ok(profile) => {
                let environment = Environment::simulated(&profile);
                Opener::at(Model::new(profile), environment)
            }
            Err(missing) => Opener::Never(Unopened::Missing(missing)),
        };
        asked.push(Asked { kernel: target.clone(), target, opener, takes: Takes::ALL });
    }
    let options = Options {
        // What is recorded is what kernels answered.
        snapshots: Mode::Check,
        fail_fast: arguments.fail_fast,
        keep: None,
        model: false,
        record: None,
        probes: probe::wanted(&selected.cases),
        guests: 0,
        share: Share::Every,
        part: selected.part.clone(),
        retries: 0,
        refuse_flaky: false,
        only: None,
    };
    arguments.reports.of(&selected, asked, options, Vec::new())
}
