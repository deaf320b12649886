//! Processes: roots, namespaces, credentials.

use super::super::words::{flags, namespace};
use super::{Context, id, literal, mode, path, result};
use crate::scenario::operation::{
    self as op, CredentialOperation, NamespaceOperation, RootOperation,
};
use crate::scenario::scalar::{Capability, Name};

/// The statements of an operation on root and working directories.
pub fn of_roots(operation: RootOperation<'_>, context: &Context<'_>) -> Vec<String> {
    use RootOperation as O;
    match operation {
        O::Chroot(step) => result("chroot", format!("chroot({})", path(&step.path))),
        O::Chdir(step) => result("chdir", format!("chdir({})", path(&step.path))),
        O::Fchdir(step) => result("fchdir", format!("fchdir({})", context.fd(&step.fd))),
        O::Getcwd(_) => vec![
            "static char path[4096];".to_owned(),
            "if (result(\"getcwd\", syscall(SYS_getcwd, path, sizeof path)) >= 0)".to_owned(),
            "\tsay(\"path\", \"%s\", path);".to_owned(),
        ],
        O::PivotRoot(step) => {
            let (new, old) = (path(&step.new_root), path(&step.put_old));
            result("pivot_root", format!("syscall(SYS_pivot_root, {new}, {old})"))
        }
    }
}

/// The statements of an operation on namespaces and id maps.
///
/// # Errors
/// Why there are none.
pub fn of_namespaces(
    operation: NamespaceOperation<'_>,
    context: &Context<'_>,
) -> Result<Vec<String>, String> {
    use NamespaceOperation as O;
    let map = |of: &Option<Name>, name: &str, text: &str, then: Option<&str>| {
        if then.is_some() {
            return Err("it writes twice to one open file".to_owned());
        }
        let (pid, text, length) = (context.pid(of.as_ref()), literal(text), text.len());
        Ok(vec![format!("write_file({pid}, \"{name}\", {text}, {length});")])
    };
    Ok(match operation {
        O::Unshare(step) => {
            result("unshare", format!("unshare({})", flags(&step.namespaces, namespace, "")))
        }
        O::Setns(step) => setns(step, context)?,
        O::OpenNamespace(step) => open_namespace(step, context),
        O::WriteUidMap(step) => map(&step.of, "uid_map", &step.text, step.then.as_deref())?,
        O::WriteGidMap(step) => map(&step.of, "gid_map", &step.text, step.then.as_deref())?,
        O::WriteSetgroups(step) => map(&step.of, "setgroups", &step.text, None)?,
        O::ReadMaps(step) => {
            let pid = context.pid(step.of.as_ref());
            let files = ["gid_map", "setgroups", "uid_map"];
            let wanted = files.into_iter().filter(|name| context.wants(name));
            wanted.map(|name| format!("say_map({pid}, \"{name}\");")).collect()
        }
        O::Fork(step) => {
            let child = context.actors.get(&step.child).copied().unwrap_or_default();
            result("fork", format!("fork_as({child})"))
        }
        O::Exit(_) => vec!["leave();".to_owned()],
        O::Sethostname(step) => {
            let (name, length) = (literal(&step.name), step.name.len());
            result("sethostname", format!("sethostname({name}, {length})"))
        }
        O::Gethostname(_) => vec![
            "struct utsname found;".to_owned(),
            "if (result(\"uname\", uname(&found)) >= 0)".to_owned(),
            "\tsay(\"name\", \"%s\", found.nodename);".to_owned(),
        ],
    })
}

fn setns(step: &op::Setns, context: &Context<'_>) -> Result<Vec<String>, String> {
    match (&step.fd, step.namespace) {
        (Some(fd), kind) => {
            let kind = kind.map_or("0", namespace);
            Ok(result("setns", format!("setns({}, {kind})", context.fd(fd))))
        }
        (None, Some(kind)) => {
            let (pid, file) = (context.pid(step.of.as_ref()), kind.file());
            Ok(vec![format!("setns_of({pid}, \"ns/{file}\", {});", namespace(kind))])
        }
        (None, None) => Err("it names no namespace".to_owned()),
    }
}

fn open_namespace(step: &op::OpenNamespace, context: &Context<'_>) -> Vec<String> {
    let (pid, file) = (context.pid(step.of.as_ref()), step.namespace.file());
    let call = format!("process_file({pid}, \"ns/{file}\", O_RDONLY)");
    vec![format!("keep(&{}, result(\"open\", {call}));", context.fd(&step.fd))]
}

/// The statements of an operation on ids, capabilities and process attributes.
///
/// # Errors
/// Why there are none.
pub fn of_credentials(
    operation: CredentialOperation<'_>,
    context: &Context<'_>,
) -> Result<Vec<String>, String> {
    use CredentialOperation as O;
    let three = |ids: [Option<u32>; 3]| ids.map(id).join(", ");
    Ok(match operation {
        // The system calls themselves: the C library would change all threads, and checks before.
        O::Setuid(step) => result("setuid", format!("syscall(SYS_setuid, {}U)", step.uid)),
        O::Setgid(step) => result("setgid", format!("syscall(SYS_setgid, {}U)", step.gid)),
        O::Setresuid(step) => {
            let ids = three([step.ruid, step.euid, step.suid]);
            result("setresuid", format!("syscall(SYS_setresuid, {ids})"))
        }
        O::Setresgid(step) => {
            let ids = three([step.rgid, step.egid, step.sgid]);
            result("setresgid", format!("syscall(SYS_setresgid, {ids})"))
        }
        O::Setgroups(step) => groups(&step.groups),
        O::Getcred(_) => getcred(context),
        O::Capset(step) => capset(step),
        O::CapAmbient(step) if step.raise.len() == 1 => {
            let call =
                format!("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, {}, 0, 0)", step.raise[0].0);
            result("prctl", call)
        }
        O::CapBset(step) if step.drop.len() == 1 => {
            result("prctl", format!("prctl(PR_CAPBSET_DROP, {}, 0, 0, 0)", step.drop[0].0))
        }
        O::CapAmbient(_) | O::CapBset(_) => {
            return Err("it changes several capabilities in one step".to_owned());
        }
        O::Keepcaps(step) => {
            result("prctl", format!("prctl(PR_SET_KEEPCAPS, {}, 0, 0, 0)", u8::from(step.keep)))
        }
        O::NoNewPrivs(_) => result("prctl", "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)"),
        O::Umask(step) => vec![format!("umask({});", mode(Some(step.mode), 0))],
    })
}

fn getcred(context: &Context<'_>) -> Vec<String> {
    let lines = [
        ("effective", "say_capabilities(\"effective\");"),
        ("egid", "say(\"egid\", \"%u\", getegid());"),
        ("euid", "say(\"euid\", \"%u\", geteuid());"),
        ("gid", "say(\"gid\", \"%u\", getgid());"),
        ("inheritable", "say_capabilities(\"inheritable\");"),
        ("permitted", "say_capabilities(\"permitted\");"),
        ("sgid", "say_saved(\"sgid\");"),
        ("suid", "say_saved(\"suid\");"),
        ("uid", "say(\"uid\", \"%u\", getuid());"),
    ];
    let wanted = lines.into_iter().filter(|(name, _)| context.wants(name));
    wanted.map(|(_, line)| line.to_owned()).collect()
}

fn capset(step: &op::Capset) -> Vec<String> {
    let sets = [&step.effective, &step.permitted, &step.inheritable];
    let sets = sets.map(|set| capabilities(set.as_deref())).join(", ");
    result("capset", format!("set_capabilities((struct capabilities){{ {sets} }})"))
}

/// The statements that set supplementary groups.
pub fn groups(groups: &[u32]) -> Vec<String> {
    if groups.is_empty() {
        return result("setgroups", "syscall(SYS_setgroups, 0, NULL)");
    }
    let list: Vec<String> = groups.iter().map(|group| format!("{group}U")).collect();
    let line = format!("static const unsigned int groups[] = {{ {} }};", list.join(", "));
    let call = format!("syscall(SYS_setgroups, {}, groups)", groups.len());
    [vec![line], result("setgroups", call)].concat()
}

/// Capabilities as the bits of a set.
pub fn capabilities(capabilities: Option<&[Capability]>) -> String {
    let bits = |all: &[Capability]| all.iter().fold(0_u64, |bits, one| bits | one.bit());
    capabilities.map_or_else(|| "-1".to_owned(), |all| format!("{:#x}", bits(all)))
}
