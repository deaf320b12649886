//! Which processes of a plan share the worker's memory instead of having a copy of it.
//!
//! Copies are what a sandbox costs most: in User-Mode Linux each is one more process of its host, and
//! each page that is touched in it a few system calls there. But memory tells who has it, and where
//! that could be seen nobody shares any. And memory that is shared can be written: that is for guests,
//! which are thrown away, and for trials, which nsharness makes up itself: no actor and no sandbox of a
//! scenario shares any on this machine.

use std::collections::BTreeSet;

use super::conduct::{of, stays_here};
use crate::scenario::observe::Observe;
use crate::scenario::operation::{Family, Namespace, Operation};
use crate::scenario::plan::Plan;
use crate::scenario::scalar::Name;
use crate::scenario::world::EntryKind;

/// Files of a process in proc that change its memory, or what the kernel keeps with it: see proc(5).
const FILES_OF_MEMORY: [&str; 5] =
    ["mem", "clear_refs", "coredump_filter", "oom_adj", "oom_score_adj"];

/// Which processes of a plan share memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing<'p> {
    /// The first process of the sandbox, without which no other does.
    pub first: bool,
    /// Those of the actors that the world begins with.
    actors: BTreeSet<&'p Name>,
}

impl<'p> Sharing<'p> {
    /// What a plan allows.
    pub fn of(plan: &'p Plan) -> Self {
        if !is_own_code_alone(plan) || plan.needs.proc && names_memory(plan) {
            return Self::default();
        }
        let changing = |name: &Name, changes: fn(&Operation) -> bool| {
            plan.steps.iter().any(|step| step.actor == *name && changes(&step.operation))
        };
        let alone =
            !plan.needs.proc && !maps_mounts(plan) && (is_alone(plan) || nobody_looks(plan));
        let shares = |name: &&Name| {
            !changing(name, needs_own_memory) && (alone || !changing(name, shows_in_memory))
        };
        Self { first: true, actors: plan.world.actors.keys().filter(shares).collect() }
    }

    /// Whether an actor does.
    pub fn has(&self, actor: &Name) -> bool {
        self.actors.contains(actor)
    }

    /// How many processes do.
    pub fn processes(&self) -> usize {
        usize::from(self.first) + self.actors.len()
    }
}

/// Whether what one actor does to the memory is seen by itself alone: all others stay in the first process,
/// and nobody asks anything of that one.
fn is_alone(plan: &Plan) -> bool {
    let mut others = plan.world.actors.keys().filter(|name| !stays_here(plan, name));
    let of_first = |operation| of(operation).is_some_and(|name| stays_here(plan, name));
    others.next().is_none_or(|_| others.next().is_none())
        && !plan.steps.iter().any(|step| of_first(&step.operation))
}

/// Whether a mount is idmapped: by the namespace of a process with the same memory, opened in proc.
fn maps_mounts(plan: &Plan) -> bool {
    plan.operations()
        .any(|operation| matches!(operation, Operation::MountSetattr(step) if step.idmap.is_some()))
}

/// Whether nobody looks at a process in proc, not even at itself: there it shows whether one is dumpable
/// (fs/proc/base.c task_dump_owner(), and kernel/ptrace.c ptrace_may_access()).
fn nobody_looks(plan: &Plan) -> bool {
    let looks = |operation: &Operation| {
        matches!(operation, Operation::Setns(_) | Operation::OpenNamespace(_))
            || matches!(operation, Operation::WriteUidMap(_) | Operation::WriteGidMap(_))
            || matches!(operation, Operation::WriteSetgroups(_) | Operation::ReadMaps(_))
    };
    let looks_from_outside = |observe: &Observe| {
        !matches!(observe, Observe::Tree(_) | Observe::Layer(_) | Observe::Credentials(_))
    };
    !plan.observe.iter().any(looks_from_outside)
        && !plan.steps.iter().any(|step| looks(&step.operation))
}

/// Whether nothing runs in the sandbox but nsharness: a program could look into the memory of a process
/// (ptrace(2)).
fn is_own_code_alone(plan: &Plan) -> bool {
    let (mut programs, mut others) =
        (false, plan.world.container.is_some() || plan.overlay.is_some());
    for entry in plan.world.entries() {
        match &entry.kind {
            EntryKind::Program(name) if name.is_own() => programs = true,
            EntryKind::Program(_) => others = true,
            // As an ELF file does. What `#!` names is one of the programs.
            EntryKind::File(content) if content.starts_with('\x7f') => others = true,
            _ => {}
        }
    }
    let any = |is: fn(&Operation) -> bool| plan.steps.iter().any(|step| is(&step.operation));
    let executes = any(|operation| operation.described().family == Family::Exec);
    let writes = any(|operation| matches!(operation, Operation::Write(_)));
    !others && (!executes || programs && !writes)
}

/// Whether a path or the target of a symbolic link in the plan leads by a file of a process's memory. What a
/// lookup in proc finds has its own name in one of them.
fn names_memory(plan: &Plan) -> bool {
    // Where a string ends, a name does. One with an escape in it is cut at its quotes: that finds more, not less.
    serde_json::to_string(plan)
        .is_ok_and(|json| json.split(['/', '"']).any(|name| FILES_OF_MEMORY.contains(&name)))
}

/// Whether an operation changes what the kernel keeps with a process's memory: whether it is dumpable, which
/// a change of credentials decides (kernel/cred.c commit_creds()).
fn shows_in_memory(operation: &Operation) -> bool {
    match operation {
        Operation::Getcred(_) => false,
        Operation::Setns(_) => true,
        Operation::Unshare(step) => step.namespaces.contains(&Namespace::User),
        operation => operation.described().family == Family::Credentials,
    }
}

/// Whether an operation may want that nobody else has the memory, as a time namespace does
/// (kernel/time/namespace.c timens_install()).
fn needs_own_memory(operation: &Operation) -> bool {
    match operation {
        Operation::Setns(step) => step.namespace.is_none_or(|kind| kind == Namespace::Time),
        Operation::Unshare(step) => step.namespaces.contains(&Namespace::Time),
        _ => false,
    }
}
