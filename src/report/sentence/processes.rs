//! What is done to a process, and what is run: roots, namespaces, credentials, programs, containers.

use super::{brief, list, word};
use crate::scenario::operation::{
    self as op, ContainerOperation, CredentialOperation, NamespaceOperation, RootOperation,
};
use crate::scenario::scalar::{Capability, Name};

/// What is done to root and working directories.
pub fn of_roots(operation: RootOperation<'_>) -> String {
    use RootOperation as O;
    match operation {
        O::Chroot(s) => format!("makes {} its root directory", s.path),
        O::Chdir(s) => format!("makes {} its working directory", s.path),
        O::Fchdir(s) => format!("makes `{}` its working directory", s.fd),
        O::Getcwd(_) => "asks for the path of its working directory".to_owned(),
        O::PivotRoot(s) => pivot_root(s),
    }
}

fn pivot_root(s: &op::PivotRoot) -> String {
    format!("makes the mount {} the root and puts the old root at {}", s.new_root, s.put_old)
}

/// What is done to namespaces and id maps.
pub fn of_namespaces(operation: NamespaceOperation<'_>) -> String {
    use NamespaceOperation as O;
    match operation {
        O::Unshare(s) => {
            let kinds: Vec<_> = s.namespaces.iter().map(word).collect();
            format!("leaves for a new {} namespace", list(&kinds, ""))
        }
        O::Setns(s) => setns(s),
        O::OpenNamespace(s) => {
            format!("opens {} {} namespace as `{}`", whose(&s.of), word(&s.namespace), s.fd)
        }
        O::WriteUidMap(s) => format!("writes {} to {} uid_map", brief(&s.text), whose(&s.of)),
        O::WriteGidMap(s) => format!("writes {} to {} gid_map", brief(&s.text), whose(&s.of)),
        O::WriteSetgroups(s) => {
            format!("writes {} to {} setgroups file", brief(&s.text), whose(&s.of))
        }
        O::ReadMaps(s) => format!("reads {} id maps", whose(&s.of)),
        O::Fork(s) => format!("starts the process {}", s.child),
        O::Exit(_) => "ends".to_owned(),
        O::Sethostname(s) => format!("sets the host name to {}", s.name),
        O::Gethostname(_) => "asks for the host name".to_owned(),
    }
}

fn setns(s: &op::Setns) -> String {
    let kind = s.namespace.as_ref().map_or_else(String::new, |n| format!(" {}", word(n)));
    match (&s.of, &s.fd) {
        (Some(of), _) => format!("enters the{kind} namespace of {of}"),
        (None, Some(fd)) => format!("enters the{kind} namespace `{fd}`"),
        (None, None) => format!("enters its own{kind} namespace"),
    }
}

/// What is done to ids, capabilities and process attributes.
pub fn of_credentials(operation: CredentialOperation<'_>) -> String {
    use CredentialOperation as O;
    match operation {
        O::Setuid(s) => format!("becomes user {}", s.uid),
        O::Setgid(s) => format!("becomes group {}", s.gid),
        O::Setresuid(s) => format!("sets its user ids to {}", ids([s.ruid, s.euid, s.suid])),
        O::Setresgid(s) => format!("sets its group ids to {}", ids([s.rgid, s.egid, s.sgid])),
        O::Setgroups(s) => format!("sets its supplementary groups to {}", list(&s.groups, "none")),
        O::Getcred(_) => "asks for its ids and capabilities".to_owned(),
        O::Capset(s) => capset(s),
        O::CapAmbient(s) => format!("raises {} in its ambient set", list(&s.raise, "nothing")),
        O::CapBset(s) => format!("drops {} from its bounding set", list(&s.drop, "nothing")),
        O::Keepcaps(s) if s.keep => "keeps its capabilities over a change of user".to_owned(),
        O::Keepcaps(_) => "no longer keeps its capabilities over a change of user".to_owned(),
        O::NoNewPrivs(_) => "gives up to gain privileges by execve(2)".to_owned(),
        O::Umask(s) => format!("sets its umask to {}", s.mode),
    }
}

fn capset(s: &op::Capset) -> String {
    let set = |name: &str, set: &Option<Vec<Capability>>| {
        set.as_ref().map(|set| format!("{name} capabilities to {}", list(set, "none")))
    };
    let sets = [
        set("effective", &s.effective),
        set("permitted", &s.permitted),
        set("inheritable", &s.inheritable),
    ];
    let sets: Vec<_> = sets.into_iter().flatten().collect();
    format!("sets its {}", list(&sets, "capabilities to what they are"))
}

/// What a container runtime is told to do.
pub fn of_containers(operation: ContainerOperation<'_>) -> String {
    use ContainerOperation as O;
    match operation {
        O::Create(s) => {
            let how = if s.no_pivot { " without pivot_root" } else { "" };
            format!("has the runtime make the container{how}")
        }
        O::Start(_) => "has the runtime start the container".to_owned(),
        O::State(_) => "asks the runtime for the state of the container".to_owned(),
        O::Kill(s) => {
            let signal = s.signal.as_deref().unwrap_or("TERM");
            format!("has the runtime send {} to the container", brief(signal))
        }
        O::Delete(s) => {
            let how = if s.force { ", whatever its state" } else { "" };
            format!("has the runtime delete the container{how}")
        }
    }
}

fn whose(of: &Option<Name>) -> String {
    of.as_ref().map_or_else(|| "its own".to_owned(), |name| format!("{name}'s"))
}

fn ids(ids: [Option<u32>; 3]) -> String {
    let shown = ids.map(|id| id.map_or_else(|| "-".to_owned(), |id| id.to_string()));
    format!("{} (real, effective, saved)", shown.join(", "))
}
