//! What is recorded of an actor's ids: maps, credentials, namespaces.

use super::machine::{Machine, ProcId};
use crate::scenario::operation::Namespace;
use crate::scenario::plan::Plan;
use crate::transcript::{Class, Observation, Outcome, Value};

/// The files in /proc/PID/ns, in the order in which they are recorded.
const NAMESPACES: [Namespace; 8] = [
    Namespace::Cgroup,
    Namespace::Ipc,
    Namespace::Mount,
    Namespace::Net,
    Namespace::Pid,
    Namespace::Time,
    Namespace::User,
    Namespace::Uts,
];

impl Machine<'_> {
    /// The maps of an actor's user namespace, as the sandbox's first process sees them.
    pub fn observe_id_maps(&mut self, actor: ProcId, name: &str) -> Observation {
        let mut maps = self.shown_maps(self.sandbox_userns, self.processes[actor].cred.userns);
        let fields = ["uid_map", "gid_map", "setgroups"];
        let fields = fields.map(|field| Some((field.into(), maps.remove(field)?)));
        let found = fields.into_iter().collect::<Option<_>>().map(Value::Map);
        let unknown = "which ids of the host the sandbox has is up to the host";
        let found = found.ok_or_else(|| Outcome::Abstained(unknown.to_owned()));
        Observation { title: format!("id maps of {name}"), found }
    }

    /// The ids, groups and capabilities of an actor, as it sees them itself.
    pub fn observe_credentials(&mut self, _: &Plan, actor: ProcId, name: &str) -> Observation {
        let fields = self.credentials(actor).into_iter().collect();
        Observation { title: format!("credentials of {name}"), found: Ok(Value::Map(fields)) }
    }

    /// The identities of an actor's namespaces.
    pub fn observe_namespaces(&mut self, actor: ProcId, name: &str) -> Observation {
        let process = &self.processes[actor];
        let identity = |kind: Namespace| match kind {
            Namespace::User => format!("user:{}", process.cred.userns.number()),
            Namespace::Mount => format!("mnt:{}", process.mnt_ns.number()),
            other => match process.nss.get(&other) {
                Some(ns) => format!("{}:{}", other.file(), ns.number()),
                None => format!("{}:host", other.file()),
            },
        };
        let found = NAMESPACES
            .into_iter()
            .map(|kind| (kind.file().into(), Value::Identity(Class::Ns, identity(kind).into())))
            .collect();
        Observation { title: format!("namespaces of {name}"), found: Ok(Value::Map(found)) }
    }
}
