//! Other kernels that nsharness boots by itself, and asks through an agent that is their init.

pub mod agent;
mod boot;
mod console;
pub mod frame;
mod image;
pub mod initramfs;
mod machine;
pub mod message;
pub mod modules;
mod passage;
mod qemu;
mod trouble;
mod uml;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::through::Through;
use super::{Answer, Unopened, Witness};
use crate::kernel::{Flavour, Kernel};
use crate::missing::Missing;
use crate::probe::Environment;
use crate::scenario::plan::Plan;
use crate::scenario::scalar::ProgramName;
use crate::transcript::{Breakage, Transcript};
use crate::variables;
use crate::worker::arena::{self, Check};

use boot::Boot;
use message::{PROTOCOL, Reply, Request};
use modules::Modules;
pub use passage::There;
use qemu::Qemu;

/// How long a guest may take to say hello.
const BOOT: Duration = Duration::from_secs(60);
/// How long one may take whose processor is emulated.
const SLOW_BOOT: Duration = Duration::from_secs(240);
/// How much longer than its plan's time a guest may take before it counts as stuck.
const GRACE: Duration = Duration::from_secs(10);
/// How many plans a guest is given: one to work on, the others so that it never waits.
const DEPTH: usize = 8;
/// How often in a row a guest may end without having answered anything, before it is given up.
const TRIES: u32 = 3;
/// The memory of a guest in MiB. It takes of the host's what is used of it.
const MEMORY: u32 = 512;

/// What the text of the console is called among the evidence.
const CONSOLE: &str = "console";

/// What a guest must have for the plans that it will be asked.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Types of file systems, as mount(2) names them.
    pub file_systems: BTreeSet<String>,
    /// Whether files are attached to loop devices.
    pub loop_devices: bool,
    /// Programs of the system that nsharness runs on.
    pub programs: BTreeSet<ProgramName>,
    /// Programs that are asked there, as container runtimes, with their files.
    pub files: BTreeMap<ProgramName, PathBuf>,
}

impl Wanted {
    /// What these plans need.
    pub fn by<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> Self {
        let mut wanted = Self::default();
        for plan in plans {
            wanted.file_systems.extend(plan.file_systems());
            wanted.loop_devices |= plan.has_loop_devices();
            wanted.programs.extend(plan.world.programs().into_iter().cloned());
        }
        wanted
    }

    /// What a program needs that is asked there beside the kernel.
    pub fn extend_by(&mut self, through: Option<&Through>) {
        if let Some(Through::Overlay(_)) = through {
            self.file_systems.insert("fuse".to_owned());
        }
        let program = through.map(Through::implementation);
        self.files.extend(program.map(|program| (program.program.clone(), program.path.clone())));
    }

    /// Whether any kernel has it.
    fn is_bare(&self) -> bool {
        self.file_systems.is_empty() && !self.loop_devices
    }
}

/// Why a guest is not there.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// This machine cannot boot it, and why.
    #[error("{0}")]
    Missing(Missing),
    /// It was started and did not come up.
    #[error("{kernel} does not boot: {why}")]
    Failed {
        /// The target.
        kernel: String,
        /// What went wrong.
        why: String,
        /// What it printed.
        console: String,
    },
}

impl From<BootError> for Unopened {
    fn from(error: BootError) -> Self {
        match error {
            BootError::Missing(missing) => Self::Missing(missing),
            BootError::Failed { .. } => Self::Broken(error.to_string()),
        }
    }
}

impl From<Missing> for BootError {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

/// A kernel in a machine of its own.
#[derive(Debug)]
pub struct Guest {
    kernel: Kernel,
    /// What starts its machines, where its kernel does not start by itself.
    qemu: Option<Qemu>,
    initramfs: File,
    /// What tells it from other guests that run at the same time.
    place: usize,
    boot: Option<Boot>,
    jobs: VecDeque<Job>,
    ready: VecDeque<(usize, Answer)>,
    /// The number of the next plan.
    number: usize,
    /// How often in a row it ended without having answered anything.
    fruitless: u32,
    /// Why it is not started any more.
    given_up: Option<String>,
    /// What went wrong that is in no answer.
    troubles: Vec<String>,
    environment: Option<Environment>,
}

#[derive(Debug)]
struct Job {
    ticket: usize,
    number: usize,
    question: Question,
    /// Whether it is asked of a guest that was asked nothing before.
    afresh: bool,
    sent: bool,
    begun: bool,
    /// How many guests ended while it was the next.
    deaths: u32,
}

/// What is asked at once.
#[derive(Clone, Debug)]
enum Question {
    One(Box<Plan>),
    Many(Vec<Plan>, Check),
}

impl Job {
    fn time(&self) -> Duration {
        let time = match &self.question {
            Question::One(plan) => Duration::from_millis(plan.timeout_ms),
            Question::Many(plans, _) => arena::time(plans),
        };
        time + GRACE
    }

    fn keeps(&self) -> bool {
        matches!(&self.question, Question::One(plan) if plan.keep)
    }

    fn request(&self) -> Request {
        let number = self.number;
        match self.question.clone() {
            Question::One(plan) => Request::Ask { number, plan },
            Question::Many(plans, check) => Request::AskAll { number, plans, check },
        }
    }
}

/// The number in a variable of the environment.
fn said(variable: &str) -> Option<u32> {
    variables::value(variable)?.to_str()?.parse().ok()
}

/// How long a guest may take to say hello.
fn patience(flavour: Flavour) -> Duration {
    match (said(variables::BOOT_TIMEOUT), flavour) {
        (Some(seconds), _) => Duration::from_secs(seconds.into()),
        (None, Flavour::Uml) => BOOT,
        (None, Flavour::Image) => SLOW_BOOT,
    }
}

impl Guest {
    /// Boots a kernel, and waits until its agent says what it is.
    ///
    /// # Errors
    /// Where it cannot be booted here, or does not come up.
    pub fn boot(
        kernel: Kernel,
        wanted: &Wanted,
        place: usize,
    ) -> Result<(Self, Environment), BootError> {
        let mut guest = Self::start(kernel, wanted, place)?;
        let environment = guest.environment()?;
        Ok((guest, environment))
    }

    /// Begins to boot a kernel.
    ///
    /// # Errors
    /// Where it cannot be booted here.
    pub fn start(kernel: Kernel, wanted: &Wanted, place: usize) -> Result<Self, BootError> {
        // Looking through a directory of modules takes its time: not where none is wanted.
        let needs_modules = kernel.flavour == Flavour::Image || !wanted.is_bare();
        let directory = kernel.modules.as_deref().filter(|_| needs_modules);
        let modules = directory.map(Modules::open).transpose()?;
        let qemu = match kernel.flavour {
            Flavour::Uml => None,
            Flavour::Image => Some(Qemu::of(&kernel, modules.as_ref())?),
        };
        let drivers = if qemu.as_ref().is_some_and(|q| q.virtio) { qemu::VIRTIO } else { &[] };
        let initramfs = image::of(&kernel, modules.as_ref(), drivers, wanted)?;
        let mut guest = Self {
            kernel,
            qemu,
            initramfs,
            place,
            boot: None,
            jobs: VecDeque::new(),
            ready: VecDeque::new(),
            number: 0,
            fruitless: 0,
            given_up: None,
            troubles: Vec::new(),
            environment: None,
        };
        let boot = guest.begin().map_err(|error| guest.failed(error.to_string(), String::new()))?;
        guest.boot = Some(boot);
        Ok(guest)
    }

    /// Waits until the guest that was started says what it is.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn environment(&mut self) -> Result<Environment, BootError> {
        loop {
            if let Some(environment) = &self.environment {
                return Ok(environment.clone());
            }
            if crate::sys::interrupted() {
                return Err(self.failed("interrupted".to_owned(), String::new()));
            }
            let Some(boot) = &mut self.boot else {
                return Err(self.failed("it is not started".to_owned(), String::new()));
            };
            match boot.wait(Duration::from_millis(100)) {
                Ok(None) => {}
                Ok(Some(reply)) => self.take(reply),
                Err(why) => {
                    let why = boot.explain(&why);
                    let boot = self.boot.take();
                    let console = boot.map(|boot| boot.console).unwrap_or_default();
                    let restriction = match self.kernel.flavour {
                        Flavour::Uml => uml::restriction(&self.kernel, &console),
                        Flavour::Image => None,
                    };
                    let failed = || self.failed(why, console.text());
                    return Err(restriction.map_or_else(failed, BootError::from));
                }
            }
        }
    }

    fn ask(&mut self, ticket: usize, question: Question, afresh: bool) {
        let number = self.number;
        let job = Job { ticket, number, question, afresh, sent: false, begun: false, deaths: 0 };
        self.number += 1;
        self.jobs.push_back(job);
        self.send();
    }

    fn failed(&self, why: String, console: String) -> BootError {
        BootError::Failed { kernel: self.kernel.name.clone(), why, console }
    }

    fn begin(&self) -> io::Result<Boot> {
        let memory = said(variables::GUEST_MEMORY).unwrap_or(MEMORY);
        let machine = match &self.qemu {
            None => uml::start(&self.kernel, &self.initramfs, memory, self.place)?,
            Some(qemu) => qemu.start(&self.kernel, &self.initramfs, memory)?,
        };
        Ok(Boot::of(machine, Instant::now() + patience(self.kernel.flavour)))
    }

    /// Takes what the agent says.
    fn take(&mut self, reply: Reply) {
        match reply {
            Reply::Hello { protocol, environment, notes } => {
                self.greeted(protocol, *environment, &notes);
            }
            Reply::Taken { bytes } => {
                if let Some(boot) = &mut self.boot {
                    let new = bytes.saturating_sub(boot.taken).min(boot.on_the_way);
                    boot.taken += new;
                    boot.on_the_way -= new;
                }
            }
            Reply::Begun { number } => self.begun(number),
            Reply::Leaving => {
                if let Some(boot) = &mut self.boot {
                    boot.leaving = true;
                }
            }
            Reply::Answer { number, answer, troubles } => {
                self.answered(number, Answer::from(*answer), &troubles);
            }
            // It was not asked to let anybody in.
            Reply::Told(_) => self.end("it told of a program out of turn"),
            Reply::AnswerAll { number, transcripts, troubles } => {
                self.answered(number, Answer::All(transcripts), &troubles);
            }
        }
    }

    /// It has booted, and says what it is.
    fn greeted(&mut self, protocol: u32, environment: Environment, notes: &[String]) {
        if protocol != PROTOCOL {
            self.end(&format!("its agent speaks protocol {protocol}, not {PROTOCOL}"));
            return;
        }
        if self.boot.as_ref().is_some_and(|boot| boot.up) {
            self.lied("it said twice what it is");
            return;
        }
        let known = self.environment.as_ref().map(|known| &known.release);
        if let Some(known) = known.filter(|known| **known != environment.release) {
            let is = environment.release.escape_debug();
            self.lied(&format!("it is Linux {is}, and was {} before", known.clone()));
            return;
        }
        let note = self.qemu.as_ref().and_then(Qemu::note);
        self.environment.get_or_insert(Environment { note, ..environment });
        if let Some(boot) = &mut self.boot {
            boot.up = true;
            for note in notes {
                boot.console.feed(format!("nsharness: {note}\n").as_bytes());
            }
        }
        self.send();
    }

    /// It begins the first of what it was asked: the time runs from here.
    fn begun(&mut self, number: usize) {
        let next = |job: &&mut Job| job.number == number && job.sent && !job.begun;
        let Some(job) = self.jobs.front_mut().filter(next) else {
            self.lied("it began a plan out of turn");
            return;
        };
        job.begun = true;
        let time = job.time();
        if let Some(boot) = &mut self.boot {
            boot.deadline = Instant::now() + time;
        }
    }

    /// Takes the answer to the first of what it was asked.
    fn answered(&mut self, number: usize, mut answer: Answer, troubles: &[String]) {
        let Some(job) = self.jobs.front().filter(|job| job.number == number && job.begun) else {
            self.lied("it answered a plan out of turn");
            return;
        };
        let fits = match (&job.question, &answer) {
            (Question::One(_), Answer::Asked(_) | Answer::Missing(_)) => true,
            (Question::Many(plans, _), Answer::All(all)) => plans.len() == all.len(),
            _ => false,
        };
        if !fits {
            self.lied("it answered another question than it was asked");
            return;
        }
        self.fruitless = 0;
        if !troubles.is_empty() {
            // What a kernel does after that says nothing of what it would have done.
            self.end(&format!("the kernel complained: {}", troubles.join("; ")));
            return;
        }
        let Some(job) = self.jobs.pop_front() else { return };
        if let (Answer::Asked(transcript), Some(boot)) = (&mut answer, &mut self.boot)
            && job.keeps()
        {
            boot.read_console();
            transcript.evidence.insert(CONSOLE.to_owned(), boot.console.text());
        }
        self.ready.push_back((job.ticket, answer));
        self.next_turn();
        self.send();
    }

    /// Begins to wait for the plan that is the first now.
    fn next_turn(&mut self) {
        if let (Some(boot), Some(job)) = (&mut self.boot, self.jobs.front()) {
            boot.deadline = Instant::now() + job.time();
        }
    }

    /// Sends what was not sent yet.
    fn send(&mut self) {
        let Some(boot) = self.boot.as_mut().filter(|boot| boot.up) else { return };
        let idle = !self.jobs.iter().any(|job| job.sent);
        if idle && boot.used && self.jobs.front().is_some_and(|job| job.afresh) {
            self.boot = None;
            return;
        }
        for job in self.jobs.iter_mut().filter(|job| !job.sent) {
            if job.afresh && boot.used {
                break;
            }
            job.sent = true;
            boot.used = true;
            match boot.encoder.encode(&job.request()) {
                Ok(frame) => boot.out.extend(frame),
                // Not a plan that was checked: it is answered when it is not.
                Err(_) => break,
            }
        }
        // That the line is broken is seen when its end is read.
        let _ = boot.flush();
        if idle {
            self.next_turn();
        }
    }

    /// The end of a guest that did not keep to the protocol. The plan that is next is not asked of another: who said
    /// something wrong about one plan may have said it of others too, and that must not look as if nothing was.
    fn lied(&mut self, why: &str) {
        match self.jobs.front_mut() {
            Some(job) => job.begun = true,
            None => self.troubles.push(why.to_owned()),
        }
        self.end(why);
    }

    /// The end of a guest, and of the plan that it was working on. Others are asked of another guest.
    fn end(&mut self, why: &str) {
        let Some(mut boot) = self.boot.take() else { return };
        boot.read_console();
        let why = boot.explain(why);
        let console = boot.console.text();
        let unmeant = boot.up && !boot.leaving;
        drop(boot);
        self.fruitless += 1;
        for job in &mut self.jobs {
            job.sent = false;
        }
        if let Some(job) = self.jobs.front_mut() {
            job.deaths += u32::from(unmeant);
            // One that had not begun may be without guilt; the second time it is not believed.
            if job.begun || job.deaths > 1 {
                self.fruitless = 0;
                self.break_first(&why, &console);
            } else if unmeant {
                self.troubles.push(format!("it ended between two plans: {why}"));
            }
        }
        if self.fruitless >= TRIES {
            self.given_up =
                Some(format!("it ended {TRIES} times without an answer, at last so: {why}"));
        }
        if let Some(why) = self.given_up.clone() {
            while !self.jobs.is_empty() {
                self.break_first(&why, &console);
            }
        }
    }

    fn break_first(&mut self, why: &str, console: &str) {
        let Some(job) = self.jobs.pop_front() else { return };
        let breakage = Breakage { stage: "guest".into(), detail: why.to_owned(), errno: None };
        let mut transcript = Transcript::broken(breakage);
        transcript.evidence.insert(CONSOLE.to_owned(), console.to_owned());
        self.ready.push_back((job.ticket, Answer::Asked(Box::new(transcript))));
    }
}

impl Witness for Guest {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn target(&self) -> String {
        self.kernel.name.clone()
    }

    fn capacity(&self) -> usize {
        DEPTH
    }

    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        self.ask(ticket, Question::One(Box::new(plan.clone())), false);
        Ok(())
    }

    fn submit_afresh(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        self.ask(ticket, Question::One(Box::new(plan.clone())), true);
        Ok(())
    }

    fn submit_all(&mut self, ticket: usize, plans: &[Plan], check: Check) -> io::Result<()> {
        self.ask(ticket, Question::Many(plans.to_vec(), check), false);
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<(usize, Answer)>> {
        if let Some(answer) = self.ready.pop_front() {
            return Ok(Some(answer));
        }
        if self.jobs.is_empty() {
            return Ok(None);
        }
        if let Some(why) = self.given_up.clone() {
            self.break_first(&why, "");
        } else if let Some(boot) = &mut self.boot {
            match boot.wait(wait) {
                Ok(None) => {}
                Ok(Some(reply)) => self.take(reply),
                Err(why) => self.end(&why),
            }
        } else {
            match self.begin() {
                Ok(boot) => self.boot = Some(boot),
                Err(error) => self.given_up = Some(format!("it cannot be started again: {error}")),
            }
        }
        Ok(self.ready.pop_front())
    }

    fn trouble(&mut self) -> Option<String> {
        self.troubles.pop()
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        match &self.boot {
            Some(boot) => vec![
                boot.machine.channel.as_fd(),
                boot.machine.console.as_fd(),
                boot.machine.ended(),
            ],
            None => Vec::new(),
        }
    }
}
