//! `nsharness shell`

use std::io::{self, Write};
use std::path::PathBuf;

use super::on::On;
use super::select::Selection;
use super::{Trouble, watch_for_interrupts};
use crate::diag::did_you_mean;
use crate::exit_code::ExitCode;
use crate::missing::Missing;
use crate::probe::Environment;
use crate::report::explain::telling;
use crate::report::sentence::sentence;
use crate::scenario::Case;
use crate::scenario::container::CONTAINER;
use crate::scenario::operation::Operation;
use crate::scenario::plan::{Plan, PlanStep};
use crate::scenario::scalar::Name;
use crate::target::Target;
use crate::target::open::candidates;
use crate::terminal::terminal;
use crate::trace::Event;
use crate::transcript::{End, Outcome};
use crate::visit::{self, Broken, Entered, Front, Left, NoWay};
use crate::worker::Answer;
use crate::worker::shell::{Shell, Stream};

const EXAMPLES: &str = "\
Examples:
  nsharness shell overlay/whiteout                      look around after the last step
  nsharness shell overlay/whiteout --at 0               before the first
  nsharness shell bind/api-permission --actor child     as another actor
  nsharness shell overlay/whiteout --on uml:6.12        on another kernel
  nsharness shell overlay/whiteout -- ls -la upper      one command; status 1 where it fails
";

/// Takes the steps of a scenario in a sandbox of its own, and gives a shell there: as one of its actors, with its
/// credentials, namespaces, root and working directory. What is done there ends with the shell.
///
/// The shell and other programs of this machine are mounted at /.nsharness in the root of the actor, after the steps.
/// The sandbox has a /proc and a /dev, which it has in a run only where a scenario names them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The id of a scenario, with @CASE where it has several, or its file
    #[arg(value_name = "ID|PATH")]
    scenario: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Shows the system calls of each step
    #[arg(long)]
    trace: bool,
    /// A command that is run in the place of a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Where somebody goes in, and as whom.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// After which step: its number from 1, or its `id`; 0 is before the first; the last one if left out
    #[arg(long, value_name = "STEP")]
    at: Option<String>,
    /// As which actor
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(super) actor: Name,
    #[command(flatten)]
    on: On,
    /// Takes the steps of scenarios that require root as real root of this machine, which they may harm
    #[arg(long)]
    privileged: bool,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let Arguments { scenario, place, trace, command } = arguments;
    let case = Selection::one(scenario)?;
    let mut plan = place.plan(&case)?;
    plan.trace = *trace;
    let shell = Shell {
        actor: place.actor.clone(),
        command: command.clone(),
        record: false,
        terminal: terminal(),
    };
    Ok(visit(&case, &plan, &shell, place)?.code)
}

/// What came of a visit.
#[derive(Debug)]
pub struct Visited {
    /// What it means to the shell that nsharness was started by.
    pub code: ExitCode,
    /// What the program asked, where it was recorded.
    pub events: Vec<Event>,
    /// The release of the kernel that was asked, and the target.
    pub kernel: String,
    /// The status of the program, where it ended by itself.
    pub status: Option<i32>,
}

/// Takes the steps of a plan where the place says, and lets a program in.
pub fn visit(case: &Case, plan: &Plan, shell: &Shell, place: &Place) -> Result<Visited, Trouble> {
    watch_for_interrupts()?;
    let [target] = place.on.named() else {
        return Err(Trouble::Usage("a shell is on one target: name one".to_owned()));
    };
    let targets = match target {
        Target::Auto => candidates(),
        other => vec![other.clone()],
    };
    let mut reasons: Vec<(String, Missing)> = Vec::new();
    for target in &targets {
        match visit::enter(target, case, plan, shell, place.privileged) {
            Ok(Entered { environment, mut passage }) => {
                eprintln!("{}  {}", case.id, case.title);
                eprintln!("on {} ({target})", environment.release);
                let mut shown = Shown { case, plan, shell, environment };
                let left = visit::talk(&mut *passage, shell, &target.to_string(), &mut shown)?;
                let kernel = format!("Linux {} ({target})", shown.environment.release);
                let Left { answer, status, events } = left;
                let code = answer.map_or(Ok(ExitCode::Interrupted), |a| shown.ended(a, status))?;
                return Ok(Visited { code, events, kernel, status });
            }
            Err(NoWay::Missing(missing)) => {
                reasons.extend(missing.into_iter().map(|missing| (target.to_string(), missing)));
            }
            Err(NoWay::NoSandbox(why)) => return Err(Trouble::Usage(why.to_owned())),
            Err(NoWay::Broken(broken)) => return Err(broken.into()),
        }
    }
    for (target, missing) in reasons {
        eprintln!("{target}: {missing}");
    }
    eprintln!("{} cannot be asked there", case.id);
    let code = ExitCode::NothingExecuted;
    Ok(Visited { code, events: Vec::new(), kernel: String::new(), status: None })
}

impl Place {
    /// How many steps are taken.
    fn steps(&self, case: &Case) -> Result<usize, Trouble> {
        let all = case.plan.steps.len();
        let Some(at) = &self.at else { return Ok(all) };
        if let Ok(number) = at.parse::<usize>() {
            return if number <= all {
                Ok(number)
            } else {
                Err(Trouble::Usage(format!("--at {number}: {} has {all} steps", case.id)))
            };
        }
        let labels = || case.steps.iter().map(|step| step.label.as_ref().map(Name::as_str));
        if let Some(index) = labels().position(|label| label == Some(at.as_str())) {
            return Ok(index + 1);
        }
        let hint = match did_you_mean(at, labels().flatten()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("name a number from 0 to {all}"),
        };
        Err(Trouble::Usage(format!(
            "--at: no step of {} has the id `{}`: {hint}",
            case.id,
            at.escape_debug()
        )))
    }

    /// What is done before the shell.
    pub fn plan(&self, case: &Case) -> Result<Plan, Trouble> {
        let at = self.steps(case)?;
        if case.plan.world.container.is_some() {
            return Err(Trouble::Usage(format!(
                "{0} has a container, which its runtime makes: `nsharness bundle {0} DIR` has it by hand",
                case.id
            )));
        }
        self.check_actor(case, at)?;
        Ok(visit::before(case, at))
    }

    /// The actor must be there after so many steps.
    fn check_actor(&self, case: &Case, at: usize) -> Result<(), Trouble> {
        let forked = |steps: &[PlanStep]| -> Vec<Name> {
            steps.iter().filter_map(|step| child(&step.operation)).collect()
        };
        let (before, after) = case.plan.steps.split_at(at);
        if forked(after).contains(&self.actor) {
            return Err(Trouble::Usage(format!(
                "--actor {}: it is forked later than after step {at}",
                self.actor
            )));
        }
        let declared = case.plan.world.actors.keys().cloned();
        let there: Vec<Name> = declared.chain(forked(before)).collect();
        if !there.contains(&self.actor) || self.actor.as_str() == CONTAINER {
            let names: Vec<_> = there.iter().map(Name::as_str).collect();
            let hint = match did_you_mean(self.actor.as_str(), names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has {}", names.join(", ")),
            };
            return Err(Trouble::Usage(format!(
                "--actor: {} has no actor `{}`: {hint}",
                case.id, self.actor
            )));
        }
        let ended = |step: &PlanStep| {
            matches!(step.operation, Operation::Exit(_)) && step.actor == self.actor
        };
        if let Some(index) = before.iter().position(ended) {
            return Err(Trouble::Usage(format!(
                "--actor {}: it ends with step {}: `--at {index}` is before that",
                self.actor,
                index + 1
            )));
        }
        Ok(())
    }
}

/// The actor that a step starts.
fn child(operation: &Operation) -> Option<Name> {
    match operation {
        Operation::Fork(fork) => Some(fork.child.clone()),
        _ => None,
    }
}

impl From<Broken> for Trouble {
    fn from(Broken { what, error }: Broken) -> Self {
        Self::Environment(what, error)
    }
}

/// What a person is shown of a visit.
struct Shown<'v> {
    case: &'v Case,
    plan: &'v Plan,
    shell: &'v Shell,
    environment: Environment,
}

impl Front for Shown<'_> {
    fn taken(&mut self, index: usize, outcome: &Outcome, calls: &[String]) {
        if let (Some(step), Some(info)) = (self.plan.steps.get(index), self.case.steps.get(index)) {
            let outcome = telling(outcome, info, &self.environment);
            eprintln!("{:>3}  line {}: {}  → {outcome}", index + 1, step.line, sentence(step));
        }
        for call in calls {
            eprintln!("       {call}");
        }
    }

    fn begins(&mut self) {
        if !self.shell.command.is_empty() {
            return;
        }
        let (taken, all) = (self.plan.steps.len(), self.case.plan.steps.len());
        let actor = &self.shell.actor;
        eprintln!("{actor} after {taken} of {all} steps; `exit` ends the sandbox");
        if let Some(next) = self.case.plan.steps.get(taken) {
            eprintln!("next would be line {}: {}", next.line, sentence(next));
        }
    }

    fn wrote(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Broken> {
        let written = match stream {
            // As it is: a terminal may be told to do things, and a file may be written that is no text.
            Stream::Output => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Stream::Error => io::stderr().write_all(bytes),
        };
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Broken::at("cannot write to standard output")(error))
            }
            _ => Ok(()),
        }
    }
}

impl Shown<'_> {
    /// What the end means.
    fn ended(&self, answer: Answer, status: Option<i32>) -> Result<ExitCode, Trouble> {
        let why = match (answer, status) {
            (Answer::Missing(missing), _) => {
                for missing in &missing {
                    eprintln!("{missing}");
                }
                return Ok(ExitCode::NothingExecuted);
            }
            (Answer::Asked(transcript), status) => match (transcript.end, status) {
                (End::Completed, Some(status)) => {
                    // Of a shell, it is that of the last command that somebody typed.
                    let is_command = !self.shell.command.is_empty();
                    return Ok(match status {
                        0 => ExitCode::AsExpected,
                        _ if is_command || self.shell.terminal.is_none() => ExitCode::Failure,
                        _ => ExitCode::AsExpected,
                    });
                }
                (End::Completed, None) => "it ended before the program".to_owned(),
                (End::TimedOut, _) => "the time was up".to_owned(),
                (End::Broke(breakage), _) => breakage.to_string(),
            },
        };
        let what = format!("the sandbox of {}", self.case.id);
        Err(Trouble::Environment(what, io::Error::other(why)))
    }
}
