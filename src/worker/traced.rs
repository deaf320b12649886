//! The system calls of steps: who is traced, which calls belong to which step, and how they are told.

use std::collections::BTreeMap;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::{Signal, raise};
use nix::unistd::Pid;

use super::shell::{Told, Visit};
use crate::sandbox::{Ended, breakage};
use crate::scenario::plan::Plan;
use crate::sys::{self, Child, Mark};
use crate::trace::{Call, Event, Kind, Watcher, signature, trace};
use crate::transcript::Breakage;

/// Most calls of one step that are told.
const MOST: usize = 1000;

/// Has the worker trace this process, and all that come from it.
///
/// # Errors
/// Where that is forbidden.
pub fn begin() -> Result<(), Breakage> {
    let at = |what: &'static str| move |errno: Errno| breakage(what, errno);
    nix::sys::ptrace::traceme().map_err(at("trace: ptrace PTRACE_TRACEME"))?;
    raise(Signal::SIGSTOP).map_err(at("trace: raise SIGSTOP"))
}

/// Says where this process is, where anybody listens.
pub fn mark(plan: &Plan, mark: Mark) {
    if plan.trace {
        sys::mark(mark);
    }
}

/// The calls of the steps of a plan.
pub struct Steps<'v> {
    /// Of each step, as text.
    calls: Vec<Vec<String>>,
    /// How many more there were.
    more: Vec<usize>,
    /// Who takes which step now, and who was made by it.
    now: BTreeMap<Pid, Taker>,
    /// Who is told of each step as it ends.
    visit: Option<&'v Visit>,
    /// The processes of a program that is recorded, each with the places of the call that it is in.
    recorded: BTreeMap<Pid, Places>,
}

/// Where descriptors and the root of a process led as a call began.
type Places = ([Option<String>; 6], Option<String>);

/// A process that has a part in a step.
#[derive(Clone, Copy)]
struct Taker {
    step: usize,
    /// Its number among the processes that the step has made; the actor itself has none.
    child: Option<usize>,
}

impl<'v> Steps<'v> {
    /// None yet.
    pub fn new(plan: &Plan, visit: Option<&'v Visit>) -> Self {
        let steps = plan.steps.len();
        Self {
            calls: vec![Vec::new(); steps],
            more: vec![0; steps],
            now: BTreeMap::new(),
            visit,
            recorded: BTreeMap::new(),
        }
    }

    /// Traces the first process of a sandbox to its end.
    pub fn follow(&mut self, child: &Child, deadline: Instant) -> Ended {
        match trace(child.pid, deadline, self) {
            Ok(end) => Ended { status: Ok(end.status), in_time: end.in_time },
            Err(errno) => {
                let _ = crate::sandbox::end(child, false);
                Ended { status: Err(errno), in_time: true }
            }
        }
    }

    /// Them all, by the lines of the steps.
    pub fn text(&self, plan: &Plan) -> String {
        let mut text = String::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let calls = self.of(index);
            text.push_str(&format!(
                "line {}: {}: {}\n",
                step.line,
                step.actor,
                step.operation.word()
            ));
            text.extend(calls.iter().map(|call| format!("  {call}\n")));
        }
        text
    }

    /// Those of one step.
    fn of(&self, index: usize) -> Vec<String> {
        let mut calls = self.calls[index].clone();
        if self.more[index] > 0 {
            calls.push(format!("… and {} more", self.more[index]));
        }
        calls
    }

    fn tell(&self, event: Event) {
        if let Some(visit) = self.visit {
            visit.tell(&Told::Recorded(Box::new(event)));
        }
    }

    /// A process takes no part in a step any more; with the actor, the step has ended.
    fn leave(&mut self, process: Pid) {
        let Some(Taker { step, child: None }) = self.now.remove(&process) else { return };
        self.now.retain(|_, taker| taker.step != step);
        if let Some(visit) = self.visit {
            visit.tell(&Told::Traced(self.of(step)));
        }
    }
}

impl Watcher for Steps<'_> {
    fn wants(&self, process: Pid) -> bool {
        self.now.contains_key(&process) || self.recorded.contains_key(&process)
    }

    fn marked(&mut self, process: Pid, mark: Mark) {
        match mark {
            Mark::Step(step) if step < self.calls.len() => {
                self.now.insert(process, Taker { step, child: None });
            }
            Mark::Step(_) => {}
            Mark::Program => drop(self.recorded.insert(process, Places::default())),
            Mark::Done => self.leave(process),
        }
    }

    fn begins(&mut self, process: Pid, call: &Call) {
        if let Some(places) = self.recorded.get_mut(&process) {
            *places = places_of(process, call);
        }
    }

    fn forked(&mut self, parent: Pid, child: Pid) {
        if self.recorded.contains_key(&parent) {
            self.recorded.insert(child, Places::default());
            self.tell(Event::Forked { parent: parent.as_raw(), child: child.as_raw() });
        }
        let Some(Taker { step, .. }) = self.now.get(&parent).copied() else { return };
        let others = self.now.values().filter(|taker| taker.step == step);
        let last = others.filter_map(|taker| taker.child).max().unwrap_or(0);
        self.now.insert(child, Taker { step, child: Some(last + 1) });
    }

    fn called(&mut self, process: Pid, mut call: Call) {
        if let Some((places, root)) = self.recorded.get(&process).cloned() {
            copied(process, &mut call);
            let (process, call) = (process.as_raw(), Box::new(call));
            let places = Box::new(places);
            return self.tell(Event::Called { process, call, places, root });
        }
        let Some(Taker { step, child }) = self.now.get(&process) else { return };
        if self.calls[*step].len() >= MOST {
            self.more[*step] += 1;
            return;
        }
        self.calls[*step].push(match child {
            Some(number) => format!("[child {number}] {call}"),
            None => call.to_string(),
        });
    }

    fn ended(&mut self, process: Pid) {
        if self.recorded.remove(&process).is_some() {
            self.tell(Event::Ended { process: process.as_raw() });
        }
        self.leave(process);
    }
}

/// Where the descriptors of a call lead before it.
fn places_of(process: Pid, call: &Call) -> Places {
    let link = |what: &str| {
        let link = std::fs::read_link(format!("/proc/{process}/{what}")).ok()?;
        link.into_os_string().into_string().ok()
    };
    let kinds = signature(&call.name).map_or(&[][..], |signature| signature.arguments);
    let mut places: [Option<String>; 6] = Default::default();
    for (place, kind) in kinds.iter().enumerate() {
        let descriptor = call.raw[place] as u32 as i32;
        if *kind == Kind::Descriptor && descriptor >= 0 {
            places[place] = link(&format!("fd/{descriptor}"));
        }
    }
    (places, link("root"))
}

/// Adds to a call that copied from one file to another what it has copied: as the last of its data.
fn copied(process: Pid, call: &mut Call) {
    use std::os::unix::fs::FileExt;
    /// More is not told anyway.
    const MOST: u64 = 64 << 10;
    let source = match call.name.as_str() {
        "copy_file_range" => call.raw[0],
        "sendfile" => call.raw[1],
        _ => return,
    };
    let Some(length) = call.value().filter(|length| (1..=MOST).contains(length)) else { return };
    // The position is behind what was copied, where no offset was given.
    let given = if call.name == "sendfile" { call.raw[2] } else { call.raw[1] };
    let about = std::fs::read_to_string(format!("/proc/{process}/fdinfo/{source}"));
    let position = about.ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("pos:")?.trim().parse::<u64>().ok())
    });
    let Some(from) = position.and_then(|position| position.checked_sub(length)) else { return };
    let mut bytes = vec![0; length as usize];
    let file = std::fs::File::open(format!("/proc/{process}/fd/{source}"));
    if given == 0 && file.and_then(|file| file.read_exact_at(&mut bytes, from)).is_ok() {
        call.bytes[5] = Some(bytes);
    }
}
