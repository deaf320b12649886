//! Actors: processes as the world describes them, and those that are forked.

use std::fmt;
use std::rc::Rc;

use super::halt::{Halt, Res};
use super::ids::{IdKind, all_capabilities};
use super::machine::{Cred, Extent, Kid, Machine, ProcId, UserNs, UserNsId};
use super::steps::Step;
use super::steps::credentials::{CapSets, capability_set};
use super::steps::namespaces::UNLIMITED;
use crate::scenario::operation::{Chdir, Chroot, Namespace, Operation};
use crate::scenario::plan::{Needs, PlanStep};
use crate::scenario::scalar::{IdMap, Name, StepPath};
use crate::scenario::world::{Actor, Userns};
use crate::transcript::{Breakage, Outcome};

/// The first of the host's ids that a sandbox uses; nothing else may depend on it.
const HOST_IDS: Kid = 0x7000_0000;
/// Every id but -1.
const EVERY_ID: Extent = Extent { inside: 0, outside: 0, count: u32::MAX };

impl Machine<'_> {
    /// The user namespace of a sandbox below the host's, which maps id 0 and the ranges of ids that a
    /// plan needs, and the credentials of its root. A privileged sandbox is in the first user namespace.
    pub fn sandbox_userns(&mut self, needs: &Needs) -> (UserNsId, Rc<Cred>) {
        let mut userns = UserNs {
            parent: None,
            owner: 0,
            group: 0,
            level: 0,
            uid_map: vec![EVERY_ID],
            gid_map: vec![EVERY_ID],
            setgroups_allowed: true,
            parent_could_setfcap: true,
            max_user_namespaces: UNLIMITED,
        };
        let host = self.user_nss.add(userns.clone());
        if needs.privileged {
            return (host, Rc::new(self.cred_of_root(host, 0)));
        }
        let mut map = vec![Extent { inside: 0, outside: HOST_IDS, count: 1 }];
        let mut next = HOST_IDS + 1;
        for (first, last) in &needs.ids {
            let count = last.saturating_sub(*first).saturating_add(1);
            map.push(Extent { inside: *first, outside: next, count });
            next = next.saturating_add(count);
        }
        userns.parent = Some(host);
        (userns.owner, userns.group, userns.level) = (HOST_IDS, HOST_IDS, 1);
        // With one id it maps itself, which takes that setgroups(2) is denied.
        userns.setgroups_allowed = !needs.ids.is_empty();
        (userns.uid_map, userns.gid_map) = (map.clone(), map);
        userns.parent_could_setfcap = false;
        let userns = self.user_nss.add(userns);
        (userns, Rc::new(self.cred_of_root(userns, HOST_IDS)))
    }

    /// Makes an actor of the world: a child of the sandbox's first process that takes on credentials,
    /// namespaces, root and working directory, in this order.
    ///
    /// # Errors
    /// What the rules refuse: then nobody is asked anything.
    pub fn start_actor(
        &mut self,
        name: &Name,
        actor: &Actor,
        first: ProcId,
    ) -> Result<(), Breakage> {
        let id = self.copy_process(first);
        self.actors.insert(name.clone(), id);
        self.become_actor(id, actor, first).map_err(|broken| broken.of(name))
    }

    fn become_actor(&mut self, who: ProcId, actor: &Actor, first: ProcId) -> Result<(), Broken> {
        if let Some(mode) = actor.umask {
            self.processes[who].umask = mode.0;
        }
        let uid = actor.uid.unwrap_or(0);
        let gid = actor.gid.unwrap_or(uid);
        if actor.caps.is_some() && uid != 0 {
            Rc::make_mut(&mut self.processes[who].cred).keepcaps = true;
        }
        if !actor.groups.is_empty() {
            self.setgroups(who, &actor.groups).at("setgroups")?;
        }
        if gid != 0 {
            self.setresgid(who, [Some(gid); 3]).at("setresgid")?;
        }
        if uid != 0 {
            self.setresuid(who, [Some(uid); 3]).at("setresuid")?;
        }
        self.processes[who].dumpable = true;
        if let Some(userns) = &actor.userns {
            self.make_userns(who, userns, first)?;
        }
        self.make_namespaces(who, &actor.unshare)?;
        self.enter_directories(who, actor)?;
        if let Some(kept) = &actor.caps {
            let set = capability_set(kept);
            let sets = CapSets { effective: set, permitted: set, inheritable: 0 };
            self.capset(who, sets).at("capset")?;
        }
        if actor.no_new_privs {
            Rc::make_mut(&mut self.processes[who].cred).no_new_privs = true;
        }
        Ok(())
    }

    /// A user namespace of the actor's own, whose maps the sandbox's first process writes.
    fn make_userns(&mut self, who: ProcId, userns: &Userns, first: ProcId) -> Result<(), Broken> {
        self.unshare(who, &[Namespace::User]).at("unshare user")?;
        if userns.uid_map.is_none() && userns.gid_map.is_none() && !userns.deny_setgroups {
            return Ok(());
        }
        let opener = Rc::clone(&self.processes[first].cred);
        let ns = self.processes[who].cred.userns;
        if userns.deny_setgroups {
            self.setgroups_write(ns, "deny").at("write setgroups")?;
        }
        if let Some(map) = &userns.uid_map {
            self.map_write(&opener, ns, IdKind::User, &map.text(), 0).at("write uid_map")?;
        }
        if let Some(map) = &userns.gid_map {
            self.map_write(&opener, ns, IdKind::Group, &map.text(), 0).at("write gid_map")?;
        }
        let maps_zero = |map: &Option<IdMap>| {
            map.as_ref().is_some_and(|map| map.0.iter().any(|(inside, ..)| *inside == 0))
        };
        if maps_zero(&userns.gid_map) {
            self.setresgid(who, [Some(0); 3]).at("setresgid 0")?;
        }
        if maps_zero(&userns.uid_map) {
            self.setresuid(who, [Some(0); 3]).at("setresuid 0")?;
        }
        self.processes[who].dumpable = true;
        Ok(())
    }

    fn make_namespaces(&mut self, who: ProcId, kinds: &[Namespace]) -> Result<(), Broken> {
        if kinds.is_empty() {
            return Ok(());
        }
        self.unshare(who, kinds).at("unshare")?;
        // Only children enter these two, so the actor goes on as one.
        self.enter_as_child(who);
        Ok(())
    }

    fn enter_directories(&mut self, who: ProcId, actor: &Actor) -> Result<(), Broken> {
        if let Some(root) = &actor.root {
            self.must(who, Operation::Chroot(Chroot { path: root.clone() }))?;
        }
        if actor.root.is_some() || actor.cwd.is_some() {
            let path = match &actor.cwd {
                Some(path) => path.clone(),
                None => match "/".parse::<StepPath>() {
                    Ok(path) => path,
                    Err(_) => return Ok(()),
                },
            };
            self.must(who, Operation::Chdir(Chdir { path }))?;
        }
        Ok(())
    }

    /// Takes a step of the set-up, which must succeed.
    fn must(&mut self, who: ProcId, operation: Operation) -> Result<(), Broken> {
        match self.perform(Step { who, operation: &operation, of: who }) {
            Outcome::Ok(_) => Ok(()),
            Outcome::Failed { errno, .. } => {
                Err(Broken { what: operation.word(), halt: Halt::Refused(errno) })
            }
            Outcome::Refused { .. } | Outcome::Abstained(_) => {
                let halt = Halt::Unknown("what the world needs is not modelled");
                Err(Broken { what: operation.word(), halt })
            }
        }
    }

    // ---- fork and exit ----

    /// fork(2): the child is an actor of its own.
    pub fn fork(&mut self, who: ProcId, child: &Name) {
        let id = self.copy_process(who);
        self.enter_as_child(id);
        self.actors.insert(child.clone(), id);
    }

    /// _exit(2): nobody can name the actor any more.
    pub fn exit(&mut self, who: ProcId) {
        let files = std::mem::take(&mut self.processes[who].fds);
        for file in files.into_values() {
            self.close(file);
        }
        self.processes[who].alive = false;
        self.drop_mnt_ns_if_unused(self.processes[who].mnt_ns);
        self.actors.retain(|_, process| *process != who);
    }

    fn copy_process(&mut self, of: ProcId) -> ProcId {
        let process = self.processes[of].clone();
        for file in process.fds.values() {
            self.files[*file].count += 1;
        }
        self.processes.add(process)
    }

    /// Enters the namespaces that were made for children.
    fn enter_as_child(&mut self, who: ProcId) {
        let process = &mut self.processes[who];
        for kind in [Namespace::Pid, Namespace::Time] {
            if let Some(ns) = process.nss_for_children.get(&kind) {
                process.nss.insert(kind, *ns);
            }
        }
    }

    // ---- steps ----

    /// Lets an actor take one step of a plan.
    pub fn take_step(&mut self, step: &PlanStep) -> Outcome {
        let Some(&who) = self.actors.get(&step.actor) else {
            return Outcome::Abstained("the actor is not there".into());
        };
        let of = match other_actor(&step.operation) {
            None => who,
            Some(name) => match self.actors.get(name) {
                Some(&of) => of,
                None => return Outcome::Abstained("the actor is not there".into()),
            },
        };
        self.perform(Step { who, operation: &step.operation, of })
    }

    /// Credentials of root in a user namespace.
    fn cred_of_root(&self, userns: UserNsId, id: Kid) -> Cred {
        let all = all_capabilities(self.profile);
        Cred {
            userns,
            uid: id,
            euid: id,
            suid: id,
            fsuid: id,
            gid: id,
            egid: id,
            sgid: id,
            fsgid: id,
            groups: Rc::default(),
            effective: all,
            permitted: all,
            inheritable: 0,
            bounding: all,
            ambient: 0,
            keepcaps: false,
            no_new_privs: false,
        }
    }
}

/// Part of an actor that could not be made.
struct Broken {
    what: &'static str,
    halt: Halt,
}

impl Broken {
    fn of(self, name: &Name) -> Breakage {
        let (detail, errno) = match self.halt {
            Halt::Refused(errno) => (errno.to_string(), Some(errno)),
            Halt::Unknown(why) | Halt::Lost(why) => (why.to_owned(), None),
        };
        Breakage { stage: format!("actor {name}: {self}"), detail, errno }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// Names the part of an actor that a result is about.
trait At<T> {
    fn at(self, what: &'static str) -> Result<T, Broken>;
}

impl<T> At<T> for Res<T> {
    fn at(self, what: &'static str) -> Result<T, Broken> {
        self.map_err(|halt| Broken { what, halt })
    }
}

/// The actor that a step is about besides the one that takes it.
fn other_actor(operation: &Operation) -> Option<&Name> {
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
