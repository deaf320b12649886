//! `nsharness shell`

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Trouble;
use super::on::On;
use super::select::Selection;
use crate::diag::did_you_mean;
use crate::exit_code::ExitCode;
use crate::kernel;
use crate::missing::Missing;
use crate::probe::{self, Environment};
use crate::report::explain::telling;
use crate::report::sentence::sentence;
use crate::scenario::Case;
use crate::scenario::container::CONTAINER;
use crate::scenario::operation::Operation;
use crate::scenario::plan::{Plan, PlanStep};
use crate::scenario::scalar::Name;
use crate::sys;
use crate::target::guest::{Guest, Wanted};
use crate::target::host::Host;
use crate::target::open::candidates;
use crate::target::passage::{Here, MOST_WAITING, Passage};
use crate::target::{Opener, Target};
use crate::terminal::{Raw, size, terminal};
use crate::trace::Event;
use crate::transcript::{End, Outcome};
use crate::worker::Answer;
use crate::worker::shell::{Said, Shell, Stream, Told};
use crate::worker::tools;

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
    sys::watch_for_interrupts()
        .map_err(|errno| Trouble::Environment("signals cannot be handled".into(), errno.into()))?;
    let [target] = place.on.named() else {
        return Err(Trouble::Usage("a shell is on one target: name one".to_owned()));
    };
    let targets = match target {
        Target::Auto => candidates(),
        other => vec![other.clone()],
    };
    let mut reasons: Vec<(String, Missing)> = Vec::new();
    for target in &targets {
        match enter(target, case, plan, shell, place.privileged)? {
            Ok((environment, mut passage)) => {
                let mut visit = Visit { case, plan, shell, environment, events: Vec::new() };
                let (code, status) = visit.make(&mut *passage, target)?;
                let kernel = format!("Linux {} ({target})", visit.environment.release);
                return Ok(Visited { code, events: visit.events, kernel, status });
            }
            Err(missing) => {
                reasons.extend(missing.into_iter().map(|missing| (target.to_string(), missing)));
            }
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
        /// As long as a person likes.
        const LONG: Duration = Duration::from_secs(30 * 24 * 60 * 60);
        let mut plan = case.plan.clone();
        if plan.world.container.is_some() {
            return Err(Trouble::Usage(format!(
                "{0} has a container, which its runtime makes: `nsharness bundle {0} DIR` has it by hand",
                case.id
            )));
        }
        let child = |operation: &Operation| match operation {
            Operation::Fork(fork) => Some(fork.child.clone()),
            _ => None,
        };
        let declared: Vec<Name> = plan.world.actors.keys().cloned().collect();
        let forked = |steps: &[PlanStep]| -> Vec<Name> {
            steps.iter().filter_map(|step| child(&step.operation)).collect()
        };
        let (before, after) = plan.steps.split_at(at);
        if forked(after).contains(&self.actor) {
            return Err(Trouble::Usage(format!(
                "--actor {}: it is forked later than after step {at}",
                self.actor
            )));
        }
        let there: Vec<Name> = declared.into_iter().chain(forked(before)).collect();
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
        plan.steps.truncate(at);
        plan.observe.clear();
        plan.keep = false;
        plan.timeout_ms = LONG.as_millis() as u64;
        (plan.needs.proc, plan.needs.dev) = (true, true);
        Ok(plan)
    }
}

/// The way in, or why there is none.
type Entered = Result<(Environment, Box<dyn Passage>), Vec<Missing>>;

fn enter(
    target: &Target,
    case: &Case,
    plan: &Plan,
    shell: &Shell,
    privileged: bool,
) -> Result<Entered, Trouble> {
    let probes = probe::wanted(std::slice::from_ref(case));
    let broken = || Trouble::environment(target.to_string());
    match target {
        Target::Host => {
            let host =
                Host::start(1).map_err(Trouble::environment("a worker cannot be started"))?;
            let opened = Opener::at(host, Environment::of_host(privileged)).open(&probes);
            let environment =
                opened.map_err(|why| broken()(io::Error::other(why.to_string())))?.environment;
            let missing = environment.missing(case);
            if !missing.is_empty() {
                return Ok(Err(missing));
            }
            let here = Here::start(plan, shell).map_err(broken())?;
            Ok(Ok((environment, Box::new(here))))
        }
        Target::Uml(_) | Target::Qemu(_) => {
            let kernel = match kernel::find(target) {
                Ok(kernel) => kernel,
                Err(missing) => return Ok(Err(vec![missing])),
            };
            let questions = probe::plans(&probes);
            let mut wanted = Wanted::by([plan].into_iter().chain(&questions));
            wanted.programs.extend(tools::names());
            let booted = Guest::boot(kernel, &wanted, 0);
            let (mut guest, mut environment) =
                booted.map_err(|error| broken()(io::Error::other(error.to_string())))?;
            environment.ask(&probes, &mut guest).map_err(broken())?;
            let missing = environment.missing(case);
            if !missing.is_empty() {
                return Ok(Err(missing));
            }
            let there = guest.let_in(plan, shell).map_err(broken())?;
            Ok(Ok((environment, Box::new(there))))
        }
        Target::Recorded(_) => {
            Err(Trouble::Usage("a recording has no sandbox to go into: name a kernel".to_owned()))
        }
        Target::Auto => Err(Trouble::Usage("`auto` is several targets".to_owned())),
    }
}

/// A person in a sandbox.
struct Visit<'v> {
    case: &'v Case,
    plan: &'v Plan,
    shell: &'v Shell,
    environment: Environment,
    events: Vec<Event>,
}

impl Visit<'_> {
    /// Passes on what is said between the terminal and the program, to its end.
    fn make(
        &mut self,
        passage: &mut dyn Passage,
        target: &Target,
    ) -> Result<(ExitCode, Option<i32>), Trouble> {
        let lost = || Trouble::environment(target.to_string());
        eprintln!("{}  {}", self.case.id, self.case.title);
        eprintln!("on {} ({target})", self.environment.release);
        let (mut taken, mut raw, mut status) = (0, None, None);
        let (mut size_now, mut typing, mut calls) = (size(), Typing::Before, Vec::new());
        loop {
            while let Some(told) = passage.next(Duration::ZERO).map_err(lost())? {
                match told {
                    Told::Recorded(event) => self.events.push(*event),
                    Told::Traced(lines) => calls = lines,
                    Told::Outcome(outcome) => {
                        self.tell(taken, &outcome);
                        for call in std::mem::take(&mut calls) {
                            eprintln!("       {call}");
                        }
                        taken += 1;
                    }
                    Told::Begins => {
                        self.announce();
                        typing = Typing::Goes;
                        if self.shell.terminal.is_some() {
                            raw = Some(Raw::take().map_err(lost())?);
                        }
                    }
                    // What is recorded may go to standard output itself.
                    Told::Wrote(_, bytes) if self.shell.record && self.shell.terminal.is_none() => {
                        show(Stream::Error, &bytes)?;
                    }
                    Told::Wrote(stream, bytes) => show(stream, &bytes)?,
                    Told::Left(code) => {
                        drop(raw.take());
                        typing = Typing::Over;
                        status = Some(code);
                    }
                    Told::Ended(answer) => {
                        drop(raw.take());
                        return self.ended(*answer, status).map(|code| (code, status));
                    }
                }
            }
            if sys::interrupted() {
                return Ok((ExitCode::Interrupted, status));
            }
            if raw.is_some() && size() != size_now {
                size_now = size();
                passage.say(Said::Resized(size_now)).map_err(lost())?;
            }
            let takes = typing == Typing::Goes && passage.waiting() < MOST_WAITING;
            if wait(passage, takes).map_err(lost())? {
                let said = typed().map_err(Trouble::environment("standard input"))?;
                if matches!(said, Said::NoMore) {
                    typing = Typing::Over;
                }
                passage.say(said).map_err(lost())?;
            }
        }
    }

    /// What a step gave, as it was taken.
    fn tell(&self, index: usize, outcome: &Outcome) {
        if let (Some(step), Some(info)) = (self.plan.steps.get(index), self.case.steps.get(index)) {
            let outcome = telling(outcome, info, &self.environment);
            eprintln!("{:>3}  line {}: {}  → {outcome}", index + 1, step.line, sentence(step));
        }
    }

    /// Where the person is.
    fn announce(&self) {
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

/// Whether what is typed goes to the program.
#[derive(PartialEq)]
enum Typing {
    Before,
    Goes,
    Over,
}

/// What was typed.
fn typed() -> io::Result<Said> {
    let mut bytes = [0; 4096];
    match rustix::io::read(io::stdin(), &mut bytes) {
        Ok(0) => Ok(Said::NoMore),
        Ok(length) => Ok(Said::Typed(bytes[..length].to_vec())),
        // A signal, or a terminal that is gone.
        Err(rustix::io::Errno::INTR) => Ok(Said::Typed(Vec::new())),
        Err(rustix::io::Errno::IO) => Ok(Said::NoMore),
        Err(error) => Err(error.into()),
    }
}

/// Waits for either side; whether something was typed.
fn wait(passage: &dyn Passage, takes: bool) -> io::Result<bool> {
    /// How often is looked for a signal, and for the size of the terminal.
    const TICK: u16 = 100;
    let stdin = io::stdin();
    let sources: Vec<BorrowedFd<'_>> = passage.sources();
    let sources = sources.into_iter().map(|source| PollFd::new(source, PollFlags::POLLIN));
    let mut fds: Vec<_> = sources.collect();
    if takes {
        fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut fds, PollTimeout::from(TICK)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(takes && fds.last().and_then(PollFd::any).unwrap_or(false))
}

fn show(stream: Stream, bytes: &[u8]) -> Result<(), Trouble> {
    let shown = match stream {
        // As it is: a terminal may be told to do things, and a file may be written that is no text.
        Stream::Output => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Error => io::stderr().write_all(bytes),
    };
    match shown {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Trouble::Environment("cannot write to standard output".into(), error))
        }
        _ => Ok(()),
    }
}
