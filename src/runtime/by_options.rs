//! Programs that make a container by options of their command line and read no `config.json`: what they are told of
//! one, or every part of it that they have no option for. What is left out of a container's description they may do as
//! they do; what is said is put into their words exactly, or they are not asked.

use std::collections::BTreeSet;

use crate::missing::Missing;
use crate::scenario::container::{Container, Process};
use crate::scenario::operation::Operation;
use crate::scenario::plan::Plan;

/// What to do where a program cannot be told.
const REMEDY: &str = "name a runtime that reads config.json, as runc";
/// The namespaces that a container has if its description does not say which.
const NAMESPACES: &[&str] = &["pid", "ipc", "uts", "mount"];

/// The command line of a program while it is written, and what there are no words for.
#[derive(Debug)]
pub struct Words<'n> {
    name: &'n str,
    said: Vec<String>,
    missing: Vec<Missing>,
}

impl<'n> Words<'n> {
    /// Those of a program that calls itself this.
    pub fn of(name: &'n str) -> Self {
        Self { name, said: Vec::new(), missing: Vec::new() }
    }

    /// Adds arguments.
    pub fn say<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        self.said.extend(words.into_iter().map(str::to_owned));
    }

    /// There are no words for this, a key of `config.json` or a step; `why` speaks of the program.
    pub fn lacks(&mut self, what: &str, why: &str) {
        let one = Missing::new(what, format!("{} {why}", self.name), REMEDY);
        if !self.missing.contains(&one) {
            self.missing.push(one);
        }
    }

    /// There is no option for this.
    pub fn no_option(&mut self, what: &str) {
        self.lacks(what, "has no option for it");
    }

    /// There is no option for this, if it is said.
    pub fn lacks_if(&mut self, said: bool, what: &str) {
        if said {
            self.no_option(what);
        }
    }

    /// The arguments.
    ///
    /// # Errors
    /// Everything that there are no words for.
    pub fn finish(self) -> Result<Vec<String>, Vec<Missing>> {
        if self.missing.is_empty() { Ok(self.said) } else { Err(self.missing) }
    }

    /// What no program of this kind can be told. The rest is for its own words.
    pub fn common(&mut self, plan: &Plan, container: &Container) {
        self.life(plan);
        for given in &container.without {
            let (object, key) = given.pointer();
            let key = format!("{object}/{key}").trim_start_matches('/').replace('/', ".");
            self.lacks(&format!("a configuration without {key}"), "reads none");
        }
        self.lacks_if(container.oci_version.is_some(), "ociVersion");
        let none = Process::default();
        let process = container.process.as_ref().unwrap_or(&none);
        if process.args.as_ref().is_some_and(Vec::is_empty) {
            self.lacks("process.args", "is given a program, or takes one of its own");
        }
        self.lacks_if(!process.rlimits.is_empty(), "process.rlimits");
        self.lacks_if(process.oom_score_adj.is_some(), "process.oomScoreAdj");
        if let Some(user) = &process.user {
            self.lacks_if(user.umask.is_some(), "process.user.umask");
            self.lacks_if(!user.additional_gids.is_empty(), "process.user.additionalGids");
        }
        if let Some(linux) = &container.linux {
            self.lacks_if(linux.masked_paths.is_some(), "linux.maskedPaths");
            self.lacks_if(linux.readonly_paths.is_some(), "linux.readonlyPaths");
            self.lacks_if(!linux.devices.is_empty(), "linux.devices");
            self.lacks_if(!linux.sysctl.is_empty(), "linux.sysctl");
        }
    }

    /// It is started and runs: what a runtime does beside that it cannot be asked. One that is never started may be: as
    /// it takes no step, it is as one that was made alone.
    fn life(&mut self, plan: &Plan) {
        let mut before: Option<&Operation> = None;
        let mut is_made = false;
        for operation in plan.steps.iter().map(|step| &step.operation) {
            match operation {
                Operation::Create(step) => {
                    if is_made {
                        self.lacks("a second create", "makes one container and ends with it");
                    }
                    is_made = true;
                    self.lacks_if(step.no_pivot, "create with --no-pivot");
                    self.lacks_if(step.preserve_fds.is_some(), "create with --preserve-fds");
                    if !step.open.is_empty() {
                        self.lacks("descriptors that end with create", "passes on what is open");
                    }
                }
                Operation::Start(_) if !matches!(before, Some(Operation::Create(_))) => {
                    self.lacks("start without create before it", "starts what it makes at once");
                }
                Operation::State(_) | Operation::Kill(_) | Operation::Delete(_) => {
                    self.lacks(operation.word(), "has no such command");
                }
                _ => {}
            }
            before = Some(operation);
        }
    }

    /// The types of the namespaces of its own, by the names of the specification: each of them has an option.
    pub fn namespaces(
        &mut self,
        container: &Container,
        options: &[(&'static str, &str)],
    ) -> BTreeSet<&'static str> {
        let said = container.linux.as_ref().and_then(|linux| linux.namespaces.as_ref());
        let kinds: Vec<&str> = match said {
            Some(namespaces) => {
                if namespaces.iter().any(|namespace| namespace.path.is_some()) {
                    self.lacks("linux.namespaces with a path", "makes new ones");
                }
                namespaces.iter().map(|namespace| namespace.kind.as_str()).collect()
            }
            None => NAMESPACES.to_vec(),
        };
        let mut own = BTreeSet::new();
        for kind in kinds {
            match options.iter().find(|(name, _)| *name == kind) {
                Some((name, _)) if !own.insert(*name) => {
                    self.lacks(&format!("the namespace {kind} twice"), "is told of it once");
                }
                Some((_, "")) => {}
                Some((_, option)) => self.say([*option]),
                None => self.no_option(&format!("the namespace {kind}")),
            }
        }
        own
    }

    /// The user of the process, and whether it has a user namespace in which that id alone is mapped, to root of the
    /// sandbox.
    pub fn user(
        &mut self,
        container: &Container,
        own: &BTreeSet<&'static str>,
    ) -> ((u32, u32), bool) {
        let user = container.process.as_ref().and_then(|process| process.user.as_ref());
        let (uid, gid) = user.map_or((0, 0), |user| (user.uid, user.gid));
        let maps = container.linux.iter().flat_map(|linux| {
            [
                ("linux.uidMappings", &linux.uid_mappings, uid),
                ("linux.gidMappings", &linux.gid_mappings, gid),
            ]
        });
        let is_new = own.contains("user");
        for (what, map, id) in maps {
            let is_own = matches!(
                map[..],
                [ref one] if (one.container_id, one.host_id, one.size) == (id, 0, 1)
            );
            if is_new && !is_own || !is_new && !map.is_empty() {
                let why = "maps the one id of who calls it to that of the process, by itself";
                self.lacks(what, why);
            }
        }
        ((uid, gid), is_new)
    }
}
