//! Which process of a program is which actor.

use std::collections::BTreeMap;

use crate::trace::{Call, Event};

/// The processes of a program, and the actors that they are.
#[derive(Debug, Default)]
pub struct Actors {
    /// The actor that each process takes its steps as.
    actors: BTreeMap<i32, String>,
    /// By the number of the event: who becomes an actor by it, and whose child it is.
    begins: BTreeMap<usize, (String, String)>,
}

impl Actors {
    /// The actors of these events. A process that the events do not say the beginning of is `first`.
    pub fn of(events: &[Event], first: &str) -> Self {
        let mut parents = BTreeMap::new();
        let mut forks = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            if let Event::Forked { parent, child } = event {
                parents.insert(*child, *parent);
                forks.insert(*child, index);
            }
        }
        let mut own = BTreeMap::new();
        for child in parents.keys() {
            own.insert(*child, false);
        }
        // One that has to be an actor makes others ones: until there is no more.
        loop {
            let found = parents
                .keys()
                .copied()
                .find(|process| !own[process] && is_own(*process, events, &parents, &forks, &own));
            let Some(process) = found else { break };
            own.insert(process, true);
        }
        let mut all = Self::default();
        let mut count = 0;
        let mut in_order: Vec<_> = forks.iter().map(|(child, index)| (*index, *child)).collect();
        in_order.sort_unstable();
        for (index, child) in in_order {
            let parent = all.actors.get(&parents[&child]).cloned();
            let parent = parent.unwrap_or_else(|| first.to_owned());
            if own[&child] {
                count += 1;
                let name = format!("child{count}");
                all.begins.insert(index, (parent, name.clone()));
                all.actors.insert(child, name);
            } else {
                all.actors.insert(child, parent);
            }
        }
        all
    }

    /// As which actor a process takes its steps.
    pub fn actor<'a>(&'a self, process: i32, first: &'a str) -> &'a str {
        self.actors.get(&process).map_or(first, String::as_str)
    }

    /// Who becomes an actor by an event, behind whose child it is.
    pub fn begins(&self, event: usize) -> Option<&(String, String)> {
        self.begins.get(&event)
    }

    /// Whether a process is the one by which an actor began.
    pub fn leads(&self, process: i32) -> bool {
        let Some(actor) = self.actors.get(&process) else { return false };
        let first = self.actors.iter().find(|(_, other)| *other == actor);
        self.begins.values().any(|(_, name)| name == actor)
            && first.is_some_and(|(p, _)| *p == process)
    }
}

/// Whether a process changes something that its parent keeps, or goes on after the parent has changed it.
fn is_own(
    process: i32,
    events: &[Event],
    parents: &BTreeMap<i32, i32>,
    forks: &BTreeMap<i32, usize>,
    own: &BTreeMap<i32, bool>,
) -> bool {
    let born = forks[&process];
    let of = |event: &Event| match event {
        Event::Called { process, call, .. } => Some((*process, changes_process(call))),
        Event::Forked { parent, .. } => Some((*parent, false)),
        Event::Ended { .. } => None,
    };
    let later = || events[born + 1..].iter().filter_map(of);
    if later().any(|(who, changes)| who == process && changes) {
        return true;
    }
    // Those whose state it shares: its parent, and whom that shares it with.
    let mut shares = vec![parents[&process]];
    while let Some(last) = shares.last().copied()
        && own.get(&last) == Some(&false)
        && let Some(above) = parents.get(&last)
    {
        shares.push(*above);
    }
    let mut changed = false;
    for (who, changes) in later() {
        changed |= changes && shares.contains(&who);
        if changed && who == process {
            return true;
        }
    }
    false
}

/// Whether a call changes what a process is, and not a file.
fn changes_process(call: &Call) -> bool {
    const CALLS: &[&str] = &[
        "chdir",
        "fchdir",
        "chroot",
        "pivot_root",
        "unshare",
        "setns",
        "setuid",
        "setgid",
        "setreuid",
        "setregid",
        "setresuid",
        "setresgid",
        "setgroups",
        "capset",
        "setfsuid",
        "setfsgid",
    ];
    let is_no_new_privs = call.name == "prctl" && call.raw[0] == libc::PR_SET_NO_NEW_PRIVS as u64;
    call.errno().is_none() && (CALLS.contains(&call.name.as_str()) || is_no_new_privs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(process: i32, name: &str) -> Event {
        let bytes = Default::default();
        let call = Call { name: name.to_owned(), raw: [0; 6], bytes, returned: Some(0) };
        Event::Called { process, call: Box::new(call), places: Default::default(), root: None }
    }

    fn forked(parent: i32, child: i32) -> Event {
        Event::Forked { parent, child }
    }

    #[test]
    fn who_changes_nothing_of_itself_is_its_parent() {
        let events = [forked(1, 2), called(2, "mkdir"), forked(2, 3), called(3, "mkdir")];
        let actors = Actors::of(&events, "main");
        assert_eq!((actors.actor(2, "main"), actors.actor(3, "main")), ("main", "main"));
    }

    #[test]
    fn who_changes_itself_is_an_actor_from_its_beginning() {
        let events = [
            forked(1, 2),
            called(2, "mkdir"),
            called(2, "chdir"),
            forked(2, 3),
            called(3, "mkdir"),
        ];
        let actors = Actors::of(&events, "main");
        assert_eq!((actors.actor(2, "main"), actors.actor(3, "main")), ("child1", "child1"));
        assert_eq!(actors.begins(0), Some(&("main".to_owned(), "child1".to_owned())));
        assert!(actors.leads(2) && !actors.leads(3) && !actors.leads(1));
    }

    #[test]
    fn who_goes_on_after_its_parent_has_changed_is_an_actor() {
        let events = [forked(1, 2), called(1, "chdir"), called(2, "mkdir")];
        assert_eq!(Actors::of(&events, "main").actor(2, "main"), "child1");
        let events = [forked(1, 2), called(2, "mkdir"), called(1, "chdir")];
        assert_eq!(Actors::of(&events, "main").actor(2, "main"), "main");
    }
}
