//! Which processes of a plan share the worker's memory instead of having a copy of it.
//!
//! Copies are what a sandbox costs most: in User-Mode Linux each is one more process of its host, and
//! each page that is touched in it a few system calls there. But memory tells who has it, and where
//! that could be seen nobody shares any. And memory that is shared can be written: that is for guests,
//! which are thrown away, and for trials, which nsharness makes up itself: no actor and no sandbox of a
//! scenario shares any on this machine.

use std::collections::BTreeSet;

use super::conduct::of;
use crate::scenario::observe::Observe;
use crate::scenario::operation::{Family, Namespace, Operation};
use crate::scenario::plan::{Plan, PlanStep};
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
        let takes = |name: &Name, what: fn(&Operation) -> bool| {
            plan.steps.iter().any(|step| step.actor == *name && what(&step.operation))
        };
        let names = || plan.world.actors.keys().filter(|name| !takes(name, needs_own_memory));
        let changing: BTreeSet<_> = names().filter(|name| takes(name, shows_in_memory)).collect();
        let by_path = plan.needs.proc || maps_mounts(plan);
        let looked_at = looked_at(plan);
        let shares = |name: &&Name| match changing.first() {
            _ if !changing.contains(name) => true,
            // Who is looked at then is not known.
            _ if by_path => false,
            _ if looked_at.is_empty() => true,
            // All others that are looked at have memory of their own, so it shows what this one alone changes.
            first => first == Some(name) && looked_at.is_subset(&changing),
        };
        Self { first: true, actors: names().filter(shares).collect() }
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

/// Whether a mount is idmapped: by the namespace of a process with the same memory, opened in proc.
fn maps_mounts(plan: &Plan) -> bool {
    plan.operations()
        .any(|operation| matches!(operation, Operation::MountSetattr(step) if step.idmap.is_some()))
}

/// The actors that somebody looks at in proc, if only they themselves: there it shows whether a process is dumpable
/// (fs/proc/base.c task_dump_owner(), and kernel/ptrace.c ptrace_may_access()). And those that forked one of them,
/// which began as dumpable as they were.
fn looked_at(plan: &Plan) -> BTreeSet<&Name> {
    let looks = |operation: &Operation| {
        matches!(operation, Operation::Setns(_) | Operation::OpenNamespace(_))
            || matches!(operation, Operation::WriteUidMap(_) | Operation::WriteGidMap(_))
            || matches!(operation, Operation::WriteSetgroups(_) | Operation::ReadMaps(_))
    };
    let in_steps = plan.steps.iter().filter(|step| looks(&step.operation));
    let in_steps = in_steps.map(|step| of(&step.operation).unwrap_or(&step.actor));
    let observed = plan.observe.iter().flat_map(|observe| match observe {
        Observe::Tree(_) | Observe::Layer(_) | Observe::Credentials(_) => &[],
        Observe::Mountinfo(of) => of.actors.names(),
        Observe::Namespaces(of) | Observe::IdMaps(of) | Observe::Process(of) => of.actors.names(),
    });
    let parent = |child: &Name| {
        let forks = |step: &&PlanStep| matches!(&step.operation, Operation::Fork(fork) if fork.child == *child);
        plan.steps.iter().find(forks).map(|step| &step.actor)
    };
    let mut all = BTreeSet::new();
    for name in in_steps.chain(observed) {
        let mut next = Some(name);
        while let Some(name) = next.filter(|name| all.insert(*name)) {
            next = parent(name);
        }
    }
    // Who was forked has a copy of its parent's memory.
    all.retain(|name| plan.world.actors.contains_key(*name));
    all
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
