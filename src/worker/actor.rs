//! Actors: processes that live through a scenario and take steps when they are asked to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use rustix::fs::Mode;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySets, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};

use super::credentials::capability_set;
use super::guard;
use super::log::{Log, Part};
use super::observe;
use super::perform::{State, Step, perform};
use super::shell::{self, Visit};
use super::traced;
use crate::channel;
use crate::sandbox::{Sandbox, breakage, errno, namespace_flag};
use crate::scenario::operation::{Namespace, Operation};
use crate::scenario::plan::Plan;
use crate::scenario::scalar::{Errno as ErrnoName, Name};
use crate::scenario::world::{Actor, Userns};
use crate::sys::{self, Mark};
use crate::transcript::{Breakage, Observation, Outcome};

/// What an actor is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The maps of its user namespace are written.
    MapsWritten,
    /// To take this step; `of` is the process id that the step's `of` names.
    Step(usize, Option<i32>),
    /// To take these steps, one after the other, and to add to the log what each gives. After the last ones nothing more is
    /// asked: it ends.
    Steps { steps: Range<usize>, last: bool },
    /// To make this observation.
    Observe(usize),
    /// To let others look into it: a shell comes.
    Open,
    /// To run the program of the shell.
    Run,
    /// To end: nothing more will be asked.
    End,
}

/// What an actor answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Its user namespace is there and wants its maps; its process id in the sandbox.
    WantsMaps(i32),
    /// It is as the world describes it; its process id in the sandbox.
    Ready(i32),
    /// It is the process of a container, and began with these descriptors open.
    Began(Vec<u32>),
    /// It could not be made as the world describes it.
    Broke(Breakage),
    /// What a step gave.
    Outcome(Outcome),
    /// It did, and there is nothing to say of it.
    Done,
    /// The program of a shell has ended with this status.
    Left(i32),
    /// What was observed.
    Observation(Observation),
}

/// The actors that an actor may fork, and those that they may fork.
pub fn descendants(plan: &Plan, name: &Name) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    let mut wanted = vec![name.clone()];
    while let Some(parent) = wanted.pop() {
        for step in plan.steps.iter().filter(|step| step.actor == parent) {
            if let Operation::Fork(fork) = &step.operation
                && found.insert(fork.child.clone())
            {
                wanted.push(fork.child.clone());
            }
        }
    }
    found
}

/// One actor in its process.
pub struct Process<'p> {
    plan: &'p Plan,
    sandbox: &'p Sandbox,
    name: Name,
    /// Whether it shares its memory with the process that asks it.
    shares: bool,
    /// The sockets of the actors that this one may fork.
    children: BTreeMap<Name, UnixStream>,
    state: State,
    /// The shell that one of the actors lets in at last.
    visit: Option<&'p Visit>,
    /// Where it adds what its steps give; one in a container has none.
    log: Option<&'p Log<'p>>,
    /// With it the actor's turn ends.
    socket: UnixStream,
}

impl<'p> Process<'p> {
    /// An actor that is to be started; it takes its own sockets and those of the actors it may fork.
    pub fn new(
        plan: &'p Plan,
        sandbox: &'p Sandbox,
        name: &Name,
        shares: bool,
        sockets: &mut BTreeMap<Name, UnixStream>,
        visit: Option<&'p Visit>,
        log: &'p Log<'p>,
    ) -> Option<Self> {
        let socket = sockets.remove(name)?;
        let children = descendants(plan, name)
            .into_iter()
            .filter_map(|child| Some((child.clone(), sockets.remove(&child)?)))
            .collect();
        let (name, state, log) = (name.clone(), State::default(), Some(log));
        Some(Self { plan, sandbox, name, shares, children, state, visit, log, socket })
    }

    /// The descriptors of its sockets.
    pub fn descriptors(&self) -> Vec<RawFd> {
        [&self.socket].into_iter().chain(self.children.values()).map(AsRawFd::as_raw_fd).collect()
    }

    fn proc(&self) -> BorrowedFd<'p> {
        self.sandbox.proc.as_fd()
    }

    /// In a process that was just made for it: becomes what the world describes, and takes steps until it is
    /// told to end, as the process does then. It may share its memory with the process that asks it, and
    /// only runs in its turn.
    pub fn run(mut self) -> ! {
        let mut keep: Vec<&dyn AsRawFd> =
            vec![&self.sandbox.root, &self.sandbox.proc, &self.socket];
        keep.extend(self.children.values().map(|socket| socket as &dyn AsRawFd));
        keep.extend(self.visit.into_iter().flat_map(Visit::descriptors));
        sys::close_all_but(&keep);
        drop(keep);
        let plan = self.plan;
        let plain = Actor::default();
        let actor = plan.world.actors.get(&self.name).unwrap_or(&plain);
        match self.take_on_ids(actor).and_then(|()| make_namespaces(&actor.unshare)) {
            Ok(()) if actor.unshare.iter().any(is_for_children) => self.begin_in_child(actor),
            made => self.begin(actor, made),
        }
    }

    /// What is left to become the actor, after its namespaces were made or could not be, and its steps.
    fn begin(self, actor: &Actor, made: Result<(), (String, Errno)>) -> ! {
        let become_it = made.and_then(|()| take_on_place(actor)).and_then(|()| {
            guard::close(self.plan).map_err(|errno| ("prctl PR_SET_DUMPABLE".to_owned(), errno))
        });
        let reply = match become_it {
            Ok(()) => Reply::Ready(self.pid()),
            Err((what, errno)) => {
                Reply::Broke(breakage(format!("actor {}: {what}", self.name), errno))
            }
        };
        self.take_steps(reply)
    }

    /// The same in a child, which alone enters the namespaces that were made. This process is only there to wait for it:
    /// what the two have in memory is the child's to give back.
    fn begin_in_child(self, actor: &Actor) -> ! {
        // By vfork(2) a child enters a time namespace only with the program that it executes, from 6.1 on; before, it
        // is refused (kernel/fork.c copy_process()).
        let shares = self.shares && !actor.unshare.contains(&Namespace::Time);
        let mut process = Some(self);
        let mut begin = || {
            if let Some(process) = process.take() {
                process.begin(actor, Ok(()));
            }
        };
        let child = match shares {
            true => sys::vfork(begin),
            false => sys::fork().map(|child| {
                child.unwrap_or_else(|| {
                    begin();
                    sys::exit_now(0)
                })
            }),
        };
        match (child, process) {
            (Ok(child), process) => {
                std::mem::forget(process);
                let _ = waitpid(child, None);
                sys::exit_now(0)
            }
            (Err(errno), Some(process)) => process.begin(actor, Err(("fork".to_owned(), errno))),
            (Err(_), None) => sys::exit_now(1),
        }
    }

    /// Replies, and waits for the next request.
    fn reply(&mut self, reply: &Reply) -> Request {
        match channel::exchange(&mut self.socket, reply) {
            Ok(Some(request)) => request,
            Ok(None) => sys::exit_now(0),
            Err(_) => sys::exit_now(1),
        }
    }

    /// The process id in the pid namespace of the sandbox, whichever this process is in.
    fn pid(&self) -> i32 {
        rustix::fs::readlinkat(self.proc(), "self", Vec::new())
            .ok()
            .and_then(|pid| pid.into_string().ok()?.parse().ok())
            .unwrap_or(0)
    }

    fn take_steps(mut self, first: Reply) -> ! {
        let mut reply = first;
        loop {
            reply = match self.reply(&reply) {
                Request::Step(index, of) => self.take(index, of),
                Request::Steps { steps, last } => match self.take_all(steps) {
                    Reply::Done if last => self.end(Some(&Reply::Done)),
                    reply => reply,
                },
                Request::Observe(index) => {
                    let Some(item) = self.plan.observe.get(index) else { sys::exit_now(1) };
                    let (plan, sandbox) = (self.plan, self.sandbox);
                    Reply::Observation(observe::by_actor(item, plan, sandbox, &self.name))
                }
                Request::Open => match shell::open() {
                    Ok(()) => Reply::Done,
                    Err(_) => sys::exit_now(1),
                },
                Request::Run => match self.visit.map(Visit::run) {
                    Some(Ok(status)) => Reply::Left(status),
                    Some(Err(breakage)) => Reply::Broke(breakage),
                    None => sys::exit_now(1),
                },
                Request::End => self.end(None),
                Request::MapsWritten => sys::exit_now(1),
            };
        }
    }

    /// Takes one step; `of` as in [`Request::Step`].
    fn take(&mut self, index: usize, of: Option<i32>) -> Reply {
        let Some(step) = self.plan.steps.get(index) else { sys::exit_now(1) };
        traced::mark(self.plan, Mark::Step(index));
        let reply = match &step.operation {
            Operation::Fork(fork) => self.fork(&fork.child),
            Operation::Exit(_) => self.exit(),
            operation => {
                let overlay = self.plan.overlay.as_ref();
                let step = Step { operation, proc: self.proc(), overlay, of };
                let outcome = perform(&mut self.state, step);
                match self.state.broke.take() {
                    Some(breakage) => Reply::Broke(breakage),
                    None => Reply::Outcome(observe::of_the_scenario(self.plan, operation, outcome)),
                }
            }
        };
        traced::mark(self.plan, Mark::Done);
        reply
    }

    /// Takes steps that concern nobody else. What they give is in the log as soon as each is taken: so it is known also
    /// where the next one takes this process down.
    fn take_all(&mut self, steps: Range<usize>) -> Reply {
        let Some(log) = self.log else { sys::exit_now(1) };
        for index in steps {
            match self.take(index, None) {
                Reply::Outcome(outcome) => log.add(&Part::Outcome(outcome)),
                other => return other,
            }
        }
        Reply::Done
    }

    /// Ends, having given back what it has of memory. With the reply its turn ends too, and without one as its socket is
    /// closed, which the end of the process does: nothing of it runs any more then.
    fn end(self, reply: Option<&Reply>) -> ! {
        let said = reply.and_then(|reply| channel::encode(reply).ok()).unwrap_or_default();
        // What lies on the stack needs not be given back.
        let mut last = [0; 32];
        let length = said.len().min(last.len());
        last[..length].copy_from_slice(&said[..length]);
        let mut socket = self.socket;
        drop((said, self.name, self.state, self.children));
        let _ = socket.write_all(&last[..length]);
        sys::exit_now(0)
    }

    /// Ends; with the reply its turn ends too.
    fn exit(&mut self) -> ! {
        let reply = channel::encode(&Reply::Outcome(Outcome::done())).unwrap_or_default();
        let _ = self.socket.write_all(&reply);
        sys::exit_now(0)
    }

    /// Makes a child with a copy of this process's memory; each of the two has its own reply.
    fn fork(&mut self, child: &Name) -> Reply {
        let socket = self.children.remove(child);
        match (sys::fork(), socket) {
            (Ok(None), Some(socket)) => {
                self.name = child.clone();
                self.socket = socket;
                let own = descendants(self.plan, child);
                self.children.retain(|name, _| own.contains(name));
                Reply::Ready(self.pid())
            }
            (Ok(Some(_)), _) => {
                let theirs = descendants(self.plan, child);
                self.children.retain(|name, _| !theirs.contains(name));
                Reply::Outcome(Outcome::done())
            }
            (Err(error), _) => {
                let errno = ErrnoName(error as i32);
                Reply::Outcome(Outcome::Failed { errno, syscall: "fork".into(), message: None })
            }
            (Ok(None), None) => sys::exit_now(1),
        }
    }

    /// Takes on the credentials of an actor, and its user namespace.
    fn take_on_ids(&mut self, actor: &Actor) -> Result<(), (String, Errno)> {
        if let Some(mode) = actor.umask {
            rustix::process::umask(Mode::from_raw_mode(mode.0));
        }
        let uid = actor.uid.unwrap_or(0);
        let gid = actor.gid.unwrap_or(uid);
        if actor.caps.is_some() && uid != 0 {
            rustix::thread::set_keep_capabilities(true).map_err(at("prctl PR_SET_KEEPCAPS"))?;
        }
        if !actor.groups.is_empty() {
            let groups: Vec<_> = actor.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
            set_thread_groups(&groups).map_err(at("setgroups"))?;
        }
        if gid != 0 {
            let gid = Some(Gid::from_raw(gid));
            set_thread_res_gid(gid, gid, gid).map_err(at("setresgid"))?;
        }
        if uid != 0 {
            let uid = Some(Uid::from_raw(uid));
            set_thread_res_uid(uid, uid, uid).map_err(at("setresuid"))?;
        }
        set_dumpable()?;
        if let Some(userns) = &actor.userns {
            self.make_userns(userns)?;
        }
        Ok(())
    }

    fn make_userns(&mut self, userns: &Userns) -> Result<(), (String, Errno)> {
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| ("unshare user".to_owned(), e))?;
        if userns.uid_map.is_none() && userns.gid_map.is_none() && !userns.deny_setgroups {
            return Ok(());
        }
        let pid = self.pid();
        let Request::MapsWritten = self.reply(&Reply::WantsMaps(pid)) else { sys::exit_now(1) };
        let maps_zero = |map: &Option<crate::scenario::scalar::IdMap>| {
            map.as_ref().is_some_and(|map| map.0.iter().any(|(inside, ..)| *inside == 0))
        };
        if maps_zero(&userns.gid_map) {
            let root = Some(Gid::ROOT);
            set_thread_res_gid(root, root, root)
                .map_err(|e| ("setresgid 0".to_owned(), errno(e)))?;
        }
        if maps_zero(&userns.uid_map) {
            let root = Some(Uid::ROOT);
            set_thread_res_uid(root, root, root)
                .map_err(|e| ("setresuid 0".to_owned(), errno(e)))?;
        }
        set_dumpable()
    }
}

/// Takes the steps of an actor in this process, which is as it should be already, until nobody asks any more.
pub fn serve(
    plan: &Plan,
    sandbox: &Sandbox,
    name: &Name,
    socket: UnixStream,
    descriptors: Vec<u32>,
) -> ! {
    let (name, children, state) = (name.clone(), BTreeMap::new(), State::default());
    let shares = false;
    let (visit, log) = (None, None);
    let process = Process { plan, sandbox, name, shares, children, state, visit, log, socket };
    process.take_steps(Reply::Began(descriptors))
}

/// Makes the namespaces of an actor; a process enters those that are for its children not itself.
fn make_namespaces(kinds: &[Namespace]) -> Result<(), (String, Errno)> {
    let flags = kinds.iter().fold(CloneFlags::empty(), |all, kind| all | namespace_flag(*kind));
    if flags.is_empty() {
        return Ok(());
    }
    unshare(flags).map_err(|e| (format!("unshare {kinds:?}").to_lowercase(), e))
}

/// Whether only children enter a namespace: see pid_namespaces(7) and time_namespaces(7).
fn is_for_children(kind: &Namespace) -> bool {
    matches!(kind, Namespace::Pid | Namespace::Time)
}

/// Takes on the root and the working directory of an actor, and the rights that it keeps.
fn take_on_place(actor: &Actor) -> Result<(), (String, Errno)> {
    if let Some(root) = &actor.root {
        nix::unistd::chroot(root.as_str()).map_err(|e| (format!("chroot {root}"), e))?;
    }
    if actor.root.is_some() || actor.cwd.is_some() {
        let cwd = actor.cwd.as_ref().map_or("/", |path| path.as_str());
        nix::unistd::chdir(cwd).map_err(|e| (format!("chdir {cwd}"), e))?;
    }
    if let Some(caps) = &actor.caps {
        let set = capability_set(caps);
        let inheritable = rustix::thread::CapabilitySet::empty();
        let sets = CapabilitySets { effective: set, permitted: set, inheritable };
        rustix::thread::set_capabilities(None, sets).map_err(at("capset"))?;
    }
    if actor.no_new_privs {
        rustix::thread::set_no_new_privs(true).map_err(at("prctl PR_SET_NO_NEW_PRIVS"))?;
    }
    Ok(())
}

/// What was being done, with the error.
fn at(what: &str) -> impl FnOnce(rustix::io::Errno) -> (String, Errno) {
    let what = what.to_owned();
    move |e| (what, errno(e))
}

/// A process that changed its ids is not dumpable, and then its files in /proc belong to root: an
/// actor is set up as if it had been born with its ids.
fn set_dumpable() -> Result<(), (String, Errno)> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(|e| ("prctl PR_SET_DUMPABLE".to_owned(), errno(e)))
}
