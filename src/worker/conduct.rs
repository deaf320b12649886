//! The first process of a sandbox: sets up the world, lets the actors take the steps, observes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{Mode, OFlags};

use super::actor::{Process, Reply, Request};
use super::arena::Check;
use super::container::Running;
use super::guard;
use super::log::{Log, Part};
use super::observe::{self, Item};
use super::overlay;
use super::perform::{State, Step, perform};
use super::sharing::Sharing;
use super::shell::{Told, Visit};
use super::{container, traced, world};
use crate::channel;
use crate::sandbox::{self, Sandbox};
use crate::scenario::container::CONTAINER;
use crate::scenario::operation::{Family, Operation};
use crate::scenario::plan::{Plan, PlanStep};
use crate::scenario::scalar::{Errno, Name};
use crate::scenario::world::{Actor, Userns};
use crate::sys::{self, Mark, Stack};
use crate::transcript::{Breakage, Observation, Outcome};

/// The mask that an actor starts with.
const UMASK: u32 = 0o022;

/// Conducts a plan to its end; everything is said to the log.
///
/// Actors that share the memory of this process have a stack each: see [`sys::clone_sharing_memory`].
pub fn conduct(
    plan: &Plan,
    mut sandbox: Sandbox,
    sharing: &Sharing<'_>,
    stacks: &[Stack],
    check: Check,
    visit: Option<&Visit>,
    log: &Log<'_>,
) {
    let mut keep: Vec<&dyn AsRawFd> = vec![&sandbox.root, &sandbox.proc];
    keep.extend(sandbox.programs.values().map(|program| program as &dyn AsRawFd));
    keep.extend(visit.into_iter().flat_map(Visit::descriptors));
    sys::close_all_but(&keep);
    let end = match visit {
        None => play(plan, &mut sandbox, sharing, stacks, check, log),
        Some(visit) => let_in(plan, &mut sandbox, visit, log),
    };
    if plan.keep {
        let table = observe::read_proc(sandbox.proc.as_fd(), "self/mountinfo").unwrap_or_default();
        log.add(&Part::Evidence("mountinfo".into(), table));
    }
    log.add(&end.map_or_else(Part::Broke, |()| Part::Completed));
}

/// Sets up the world of a plan at the root that it was given, takes its steps and observes.
///
/// # Errors
/// What kept it from being asked to the end.
pub fn play(
    plan: &Plan,
    sandbox: &mut Sandbox,
    sharing: &Sharing<'_>,
    stacks: &[Stack],
    check: Check,
    log: &Log<'_>,
) -> Result<(), Breakage> {
    let world = set_up(plan, sandbox)?;
    if plan.trace {
        traced::begin()?;
    }
    Conductor::start(plan, sandbox, world, sharing, stacks, None, log)?.conduct(check, log)
}

/// Sets up the world of a plan, takes its steps and lets a shell in.
fn let_in(
    plan: &Plan,
    sandbox: &mut Sandbox,
    visit: &Visit,
    log: &Log<'_>,
) -> Result<(), Breakage> {
    let world = set_up(plan, sandbox)?;
    if plan.trace || visit.shell.record {
        traced::begin()?;
    }
    let mut conductor =
        Conductor::start(plan, sandbox, world, &Sharing::default(), &[], Some(visit), log)?;
    conductor.take_all(log)?;
    conductor.let_in(visit)
}

/// Sets up the world; what it was made from is closed then. What it holds open is in what this gives.
fn set_up(plan: &Plan, sandbox: &mut Sandbox) -> Result<State, Breakage> {
    rustix::process::umask(Mode::empty());
    if let (Some(container), Some(runtime)) = (&plan.world.container, &plan.runtime) {
        container::prepare(container, runtime, sandbox)?;
    }
    let world = world::set_up(&plan.world, sandbox, plan.overlay.as_ref())?;
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    sandbox.programs.clear();
    Ok(world)
}

/// Where an actor is.
enum Place {
    /// In this process: it never changes what the process is.
    Here(State),
    /// In a process of its own.
    There { socket: UnixStream, pid: i32 },
}

struct Conductor<'p> {
    plan: &'p Plan,
    sandbox: &'p Sandbox,
    actors: BTreeMap<Name, Place>,
    container: Running,
    /// Sockets of actors that are forked later.
    unborn: BTreeMap<Name, UnixStream>,
    /// What was observed last, where it is after every step.
    seen: Vec<Observation>,
    /// The shell that is let in at last.
    visit: Option<&'p Visit>,
    /// What the world holds open.
    _world: State,
}

impl<'p> Conductor<'p> {
    fn start(
        plan: &'p Plan,
        sandbox: &'p Sandbox,
        world: State,
        sharing: &Sharing<'_>,
        stacks: &[Stack],
        visit: Option<&'p Visit>,
        log: &Log<'_>,
    ) -> Result<Self, Breakage> {
        let mut conductor = Self {
            plan,
            sandbox,
            actors: BTreeMap::new(),
            container: Running::default(),
            unborn: BTreeMap::new(),
            seen: Vec::new(),
            visit,
            _world: world,
        };
        let mut theirs = BTreeMap::new();
        let mut connect = |conductor: &mut Self, name: &Name| -> Result<(), Breakage> {
            // The actor has the lower descriptor: what it is to close is in fewer pieces then.
            let (other, socket) = pair()?;
            theirs.insert(name.clone(), other);
            drop(conductor.unborn.insert(name.clone(), socket));
            Ok(())
        };
        for name in plan.world.actors.keys() {
            if stays_here(plan, name) {
                conductor.actors.insert(name.clone(), Place::Here(State::default()));
            } else {
                connect(&mut conductor, name)?;
            }
        }
        for step in &plan.steps {
            if let Operation::Fork(fork) = &step.operation {
                connect(&mut conductor, &fork.child)?;
            }
        }
        let mut stacks = stacks.iter();
        for name in plan.world.actors.keys() {
            let stack = if sharing.has(name) { stacks.next() } else { None };
            let shares = stack.is_some();
            if let Some(process) =
                Process::new(plan, sandbox, name, shares, &mut theirs, visit, log)
            {
                conductor.start_actor(name, process, stack)?;
            }
        }
        guard::close(plan).map_err(|errno| sandbox::breakage("prctl PR_SET_DUMPABLE", errno))?;
        Ok(conductor)
    }

    fn start_actor(
        &mut self,
        name: &Name,
        process: Process<'_>,
        stack: Option<&Stack>,
    ) -> Result<(), Breakage> {
        let Some(mut socket) = self.unborn.remove(name) else {
            return Err(breakage(name, "it has no socket"));
        };
        let reply = match stack {
            Some(stack) => {
                let theirs = process.descriptors();
                sys::fork_sharing_memory(stack, || process.run())
                    .map_err(|e| breakage(name, &e.to_string()))?;
                // It is the actor's turn now.
                let reply = receive(name, &mut socket);
                sys::close_copies(&theirs);
                reply
            }
            None => match sys::fork().map_err(|e| breakage(name, &e.to_string()))? {
                None => process.run(),
                Some(_) => {
                    drop(process);
                    receive(name, &mut socket)
                }
            },
        };
        let mut reply = reply?;
        if let Reply::WantsMaps(pid) = reply {
            let actor = self.plan.world.actors.get(name);
            if let Some(userns) = actor.and_then(|actor| actor.userns.as_ref()) {
                self.write_maps(name, pid, userns)?;
            }
            reply = ask(name, &mut socket, &Request::MapsWritten)?;
        }
        match reply {
            Reply::Ready(pid) => {
                drop(self.actors.insert(name.clone(), Place::There { socket, pid }))
            }
            Reply::Broke(breakage) => return Err(breakage),
            other => return Err(breakage(name, &format!("answered {other:?}"))),
        }
        Ok(())
    }

    /// Writes the maps of an actor from outside of its user namespace, with the rights of the sandbox.
    fn write_maps(&self, name: &Name, pid: i32, userns: &Userns) -> Result<(), Breakage> {
        let write = |file: &str, text: &str| {
            let at = |e: rustix::io::Errno| Breakage {
                stage: format!("actor {name}: write {file}"),
                detail: format!("{e}; written was `{}`", text.trim()),
                errno: Some(Errno(e.raw_os_error())),
            };
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(
                &self.sandbox.proc,
                format!("{pid}/{file}"),
                flags,
                Mode::empty(),
            )
            .map_err(at)?;
            rustix::io::write(&fd, text.as_bytes()).map_err(at).map(drop)
        };
        if userns.deny_setgroups {
            write("setgroups", "deny")?;
        }
        if let Some(map) = &userns.uid_map {
            write("uid_map", &map.text())?;
        }
        if let Some(map) = &userns.gid_map {
            write("gid_map", &map.text())?;
        }
        Ok(())
    }

    fn conduct(&mut self, check: Check, log: &Log<'_>) -> Result<(), Breakage> {
        let plan = self.plan;
        let mut next = 0;
        while let Some(step) = plan.steps.get(next) {
            let together = match check {
                Check::Step => 0,
                Check::Sequence => self.steps_together(next),
            };
            if together > 0 {
                self.take_together(next..next + together, &step.actor)?;
                next += together;
                continue;
            }
            let outcome = self.take(next, step)?;
            next += 1;
            self.look_for_dead_programs(Some(&outcome), || {
                format!("line {}: {}", step.line, step.operation.word())
            })?;
            log.add(&Part::Outcome(outcome));
            if check == Check::Step && next < plan.steps.len() {
                self.observe(check, log)?;
            }
        }
        self.observe(check, log)?;
        self.look_for_dead_programs(None, || "the observations".to_owned())?;
        self.dismiss();
        Ok(())
    }

    /// How many steps from this one on a process takes with which nobody else has to do, and after which nobody looks.
    fn steps_together(&self, first: usize) -> usize {
        let Some((step, later)) = self.plan.steps[first..].split_first() else { return 0 };
        let own = |other: &PlanStep| {
            other.actor == step.actor
                && of(&other.operation).is_none()
                && !matches!(other.operation, Operation::Fork(_) | Operation::Exit(_))
                && other.operation.described().family != Family::Container
        };
        let is_there = matches!(self.actors.get(&step.actor), Some(Place::There { .. }));
        if !is_there
            || step.actor.as_str() == CONTAINER
            || self.plan.overlay.is_some()
            || !own(step)
        {
            return 0;
        }
        1 + later.iter().take_while(|step| own(step)).count()
    }

    /// Has an actor take several steps, which adds to the log what each of them gives. It ends with the last step of the
    /// plan, where nobody observes anything after it.
    fn take_together(&mut self, steps: Range<usize>, name: &Name) -> Result<(), Breakage> {
        let Some(Place::There { socket, .. }) = self.actors.get_mut(name) else {
            return Err(breakage(name, "it is not there"));
        };
        let last = steps.end == self.plan.steps.len() && self.plan.observe.is_empty();
        match ask(name, socket, &Request::Steps { steps, last })? {
            Reply::Done if last => self.actors.remove(name).map_or((), leave),
            Reply::Done => {}
            Reply::Broke(breakage) => return Err(breakage),
            other => return Err(breakage(name, &format!("answered {other:?}"))),
        }
        Ok(())
    }

    /// What serves an overlay and was ended by a signal, or ended by itself and says that it failed, has answered
    /// nothing more.
    fn look_for_dead_programs(
        &self,
        outcome: Option<&Outcome>,
        at: impl FnOnce() -> String,
    ) -> Result<(), Breakage> {
        let Some(implementation) = &self.plan.overlay else { return Ok(()) };
        let actors = self.actors.values().filter_map(|place| match place {
            Place::There { pid, .. } => Some(*pid),
            Place::Here(_) => None,
        });
        let actors: Vec<_> = actors.collect();
        let proc = self.sandbox.proc.as_fd();
        match overlay::dead_program(implementation, proc, &actors, outcome) {
            None => Ok(()),
            Some(how) => Err(Breakage {
                stage: format!("overlay: {}", implementation.name),
                detail: format!("{how} by the time of {}", at()),
                errno: None,
            }),
        }
    }

    /// Takes all steps, and tells of each.
    fn take_all(&mut self, log: &Log<'_>) -> Result<(), Breakage> {
        for (index, step) in self.plan.steps.iter().enumerate() {
            let outcome = self.take(index, step)?;
            if let Some(visit) = self.visit {
                visit.tell(&Told::Outcome(outcome.clone()));
            }
            log.add(&Part::Outcome(outcome));
        }
        Ok(())
    }

    /// Runs the program of a shell as its actor.
    fn let_in(&mut self, visit: &Visit) -> Result<(), Breakage> {
        let name = &visit.shell.actor;
        let proc = self.sandbox.proc.as_fd();
        let status = match self.actors.get_mut(name) {
            None => return Err(breakage(name, "it is not there after these steps")),
            Some(Place::Here(_)) => {
                visit.bring(proc, "self")?;
                visit.tell(&Told::Begins);
                visit.run()?
            }
            Some(Place::There { socket, pid }) => {
                let pid = pid.to_string();
                ask(name, socket, &Request::Open)?;
                visit.bring(proc, &pid)?;
                visit.tell(&Told::Begins);
                match ask(name, socket, &Request::Run)? {
                    Reply::Left(status) => status,
                    Reply::Broke(breakage) => return Err(breakage),
                    other => return Err(breakage(name, &format!("answered {other:?}"))),
                }
            }
        };
        visit.tell(&Told::Left(status));
        Ok(())
    }

    fn observe(&mut self, check: Check, log: &Log<'_>) -> Result<(), Breakage> {
        let mut seen = std::mem::take(&mut self.seen).into_iter();
        let all = seen.len();
        for (index, observe) in self.plan.observe.iter().enumerate() {
            for item in observe::items(observe) {
                let observation = match &item {
                    Item::ByActor(name) => self.ask_to_observe(index, name)?,
                    Item::FromOutside(name) => {
                        let process = match name {
                            Some(name) => self.process(name)?,
                            None => "self".to_owned(),
                        };
                        observe::from_outside(
                            observe,
                            self.plan,
                            self.sandbox,
                            name.as_ref(),
                            &process,
                        )
                    }
                };
                if check == Check::Sequence {
                    log.add(&Part::Observation(observation));
                    continue;
                }
                log.add(&match seen.next() {
                    Some(old) => Part::since(all, &old, &observation),
                    None => Part::Observation(observation.clone()),
                });
                self.seen.push(observation);
            }
        }
        Ok(())
    }

    /// Has the actors end, each in its turn: so they give back what they have of memory that is shared.
    fn dismiss(&mut self) {
        while let Some((_, mut place)) = self.actors.pop_first() {
            if let Place::There { socket, .. } = &mut place {
                let _ = channel::exchange::<Reply>(socket, &Request::End);
            }
            leave(place);
        }
    }

    /// The directory of an actor in the sandbox's proc.
    fn process(&self, name: &Name) -> Result<String, Breakage> {
        match self.actors.get(name) {
            Some(Place::There { pid, .. }) => Ok(pid.to_string()),
            Some(Place::Here(_)) => Ok("self".to_owned()),
            None => Err(breakage(name, "it is not there")),
        }
    }

    fn take(&mut self, index: usize, step: &PlanStep) -> Result<Outcome, Breakage> {
        if step.operation.described().family == Family::Container {
            return self.have_runtime(&step.operation);
        }
        let of = match of(&step.operation).map(|name| (name, self.actors.get(name))) {
            None => None,
            Some((_, Some(Place::There { pid, .. }))) => Some(*pid),
            // This process: the actor is in it.
            Some((_, Some(Place::Here(_)))) => Some(std::process::id() as i32),
            Some((name, None)) => return Err(breakage(name, "it is not there")),
        };
        let sandbox = self.sandbox;
        let outcome = match self.actors.get_mut(&step.actor) {
            Some(Place::Here(state)) => {
                let (operation, proc) = (&step.operation, sandbox.proc.as_fd());
                let overlay = self.plan.overlay.as_ref();
                traced::mark(self.plan, Mark::Step(index));
                let outcome = perform(state, Step { operation, proc, overlay, of });
                traced::mark(self.plan, Mark::Done);
                match state.broke.take() {
                    Some(breakage) => return Err(breakage),
                    None => observe::of_the_scenario(self.plan, operation, outcome),
                }
            }
            Some(Place::There { socket, .. }) => {
                match ask(&step.actor, socket, &Request::Step(index, of))? {
                    Reply::Outcome(outcome) => outcome,
                    Reply::Broke(breakage) => return Err(breakage),
                    other => return Err(breakage(&step.actor, &format!("answered {other:?}"))),
                }
            }
            None if step.actor.as_str() == CONTAINER => Outcome::Refused {
                by: CONTAINER.to_owned(),
                message: "it was not started".to_owned(),
            },
            None => return Err(breakage(&step.actor, "it is not there")),
        };
        match (&step.operation, &outcome) {
            (Operation::Fork(fork), Outcome::Ok(_)) => self.welcome(&fork.child)?,
            (Operation::Exit(_), Outcome::Ok(_)) => self.see_off(&step.actor),
            _ => {}
        }
        Ok(outcome)
    }

    /// A step of the container's runtime; a process that it starts is an actor from then on.
    fn have_runtime(&mut self, operation: &Operation) -> Result<Outcome, Breakage> {
        let (outcome, started) = self.container.perform(self.plan, operation)?;
        if let (Some((socket, pid)), Ok(name)) = (started, CONTAINER.parse()) {
            self.actors.insert(name, Place::There { socket, pid });
        }
        Ok(outcome)
    }

    fn welcome(&mut self, child: &Name) -> Result<(), Breakage> {
        let Some(mut socket) = self.unborn.remove(child) else {
            return Err(breakage(child, "it has no socket"));
        };
        match receive(child, &mut socket)? {
            Reply::Ready(pid) => {
                drop(self.actors.insert(child.clone(), Place::There { socket, pid }))
            }
            other => return Err(breakage(child, &format!("answered {other:?}"))),
        }
        Ok(())
    }

    /// Waits until an actor that has answered its last step is gone, and its namespaces with it.
    fn see_off(&mut self, name: &Name) {
        let Some(Place::There { pid, .. }) = self.actors.remove(name) else { return };
        let Some(pid) = rustix::process::Pid::from_raw(pid) else { return };
        if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            wait_for(&pidfd);
        }
    }

    fn ask_to_observe(&mut self, index: usize, name: &Name) -> Result<Observation, Breakage> {
        match self.actors.get_mut(name) {
            Some(Place::There { socket, .. }) => {
                match ask(name, socket, &Request::Observe(index))? {
                    Reply::Observation(observation) => Ok(observation),
                    other => Err(breakage(name, &format!("answered {other:?}"))),
                }
            }
            None => Err(breakage(name, "it is not there")),
            Some(Place::Here(_)) => {
                Ok(observe::by_actor(&self.plan.observe[index], self.plan, self.sandbox, name))
            }
        }
    }
}

/// Lets go of an actor that has ended: its socket is closed as this process ends, which is soon.
fn leave(place: Place) {
    if let Place::There { socket, .. } = place {
        std::mem::forget(socket);
    }
}

fn wait_for(pidfd: &OwnedFd) {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    while poll(&mut fds, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
}

/// Whether an actor needs no process of its own: it is root of the sandbox as the world begins, and
/// none of its steps changes its process.
pub fn stays_here(plan: &Plan, name: &Name) -> bool {
    let is_plain = plan.world.actors.get(name).is_some_and(|actor| *actor == Actor::default());
    let changes = |step: &PlanStep| {
        let family = step.operation.described().family;
        !matches!(family, Family::Files | Family::Mounts | Family::Container)
            && !matches!(step.operation, Operation::Getcred(_))
    };
    is_plain
        && name.as_str() == "main"
        && !plan.steps.iter().any(|step| step.actor == *name && changes(step))
}

/// The actor that a step is about besides the one that takes it.
pub fn of(operation: &Operation) -> Option<&Name> {
    match operation {
        Operation::Setns(step) => step.of.as_ref(),
        Operation::OpenNamespace(step) => step.of.as_ref(),
        Operation::WriteUidMap(step) => step.of.as_ref(),
        Operation::WriteGidMap(step) => step.of.as_ref(),
        Operation::WriteSetgroups(step) => step.of.as_ref(),
        Operation::ReadMaps(step) => step.of.as_ref(),
        _ => None,
    }
}

fn pair() -> Result<(UnixStream, UnixStream), Breakage> {
    UnixStream::pair().map_err(|e| Breakage {
        stage: "sandbox: socketpair".into(),
        detail: e.to_string(),
        errno: e.raw_os_error().map(Errno),
    })
}

fn breakage(name: &Name, detail: &str) -> Breakage {
    Breakage { stage: format!("actor {name}"), detail: detail.to_owned(), errno: None }
}

/// Asks an actor and waits for its answer: meanwhile it is its turn.
fn ask(name: &Name, socket: &mut UnixStream, request: &Request) -> Result<Reply, Breakage> {
    answer(name, channel::exchange(socket, request))
}

fn receive(name: &Name, socket: &mut UnixStream) -> Result<Reply, Breakage> {
    answer(name, channel::receive_alone(socket))
}

fn answer(name: &Name, reply: std::io::Result<Option<Reply>>) -> Result<Reply, Breakage> {
    match reply {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(breakage(name, "its process has ended")),
        Err(e) => Err(breakage(name, &format!("it does not answer: {e}"))),
    }
}
