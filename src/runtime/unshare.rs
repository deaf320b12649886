//! unshare(1) of util-linux: namespaces, a root by chroot(2), /proc. It makes no other mount, so that the tmpfs at /dev
//! is not there, and what looks at it is not asked.
//!
//! <https://man7.org/linux/man-pages/man1/unshare.1.html>

use super::bundle::{self, PROGRAM};
use super::by_options::Words;
use crate::missing::Missing;
use crate::scenario::container::{Container, Process};
use crate::scenario::plan::Plan;

/// What it calls itself.
pub const NAME: &str = "unshare";

/// The options for new namespaces, by the types of the specification.
const NAMESPACES: &[(&str, &str)] = &[
    ("mount", "--mount"),
    ("pid", "--pid"),
    ("ipc", "--ipc"),
    ("uts", "--uts"),
    ("network", "--net"),
    ("cgroup", "--cgroup"),
    ("time", "--time"),
    ("user", "--user"),
];

/// What it is told of the container of a plan, and the program that runs in it.
///
/// # Errors
/// Everything that it has no option for.
pub fn arguments(plan: &Plan, container: &Container) -> Result<Vec<String>, Vec<Missing>> {
    let mut words = Words::of(NAME);
    words.common(plan, container);
    let own = words.namespaces(container, NAMESPACES);
    if !own.contains("mount") {
        words.lacks("the mount namespace of who calls it", "makes one, to mount /proc");
    }
    // Who calls unshare(2) is itself in neither of them: its children are.
    if own.contains("pid") || own.contains("time") {
        words.say(["--fork"]);
    }
    let ((uid, gid), is_mapped) = words.user(container, &own);
    let (uid, gid) = (uid.to_string(), gid.to_string());
    match is_mapped {
        true => words.say([&*format!("--map-user={uid}"), &*format!("--map-group={gid}")]),
        false if (&*uid, &*gid) != ("0", "0") => words.say(["--setuid", &uid, "--setgid", &gid]),
        false => {}
    }
    words.lacks_if(container.hostname.is_some(), "hostname");
    words.lacks_if(!container.mounts.is_empty(), "mounts");
    let root = container.root.clone().unwrap_or_default();
    words.lacks_if(root.readonly == Some(true), "root.readonly");
    let none = Process::default();
    let process = container.process.as_ref().unwrap_or(&none);
    words.lacks_if(process.capabilities.is_some(), "process.capabilities");
    words.lacks_if(process.no_new_privileges == Some(true), "process.noNewPrivileges");
    if let Some(linux) = &container.linux {
        match linux.rootfs_propagation.as_deref() {
            None => {}
            Some(word @ ("private" | "shared" | "slave")) => words.say(["--propagation", word]),
            Some(word) => words.no_option(&format!("linux.rootfsPropagation {word}")),
        }
        for (clock, offset) in &linux.time_offsets {
            let option = match clock.as_str() {
                "monotonic" | "boottime" if offset.nanosecs == 0 => format!("--{clock}"),
                _ => {
                    words.lacks(&format!("linux.timeOffsets of {clock}"), "has whole seconds");
                    continue;
                }
            };
            words.say([&*option, &*offset.secs.to_string()]);
        }
    }
    if is_told_of_dev(plan) {
        words.lacks("/dev in the container", "mounts nothing there");
    }
    let cwd = process.cwd.as_deref().unwrap_or("/");
    let root = bundle::path(root.path.as_deref().unwrap_or("rootfs"));
    words.say([&*format!("--root={root}"), "--wd", cwd, "--mount-proc=/proc", "--"]);
    match &process.args {
        Some(args) => words.say(args.iter().map(String::as_str)),
        None => words.say([&*format!("/{PROGRAM}")]),
    }
    words.finish()
}

/// Whether a step that is not taken outside, or an observation, names /dev.
fn is_told_of_dev(plan: &Plan) -> bool {
    let inside = plan.steps.iter().filter(|step| step.actor.as_str() != "main");
    let steps = inside.map(|step| serde_json::to_value(&step.operation));
    let all = steps.chain(plan.observe.iter().map(serde_json::to_value));
    all.flatten().any(|value| names_dev(&value))
}

fn names_dev(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.split('/').any(|part| part == "dev"),
        serde_json::Value::Array(values) => values.iter().any(names_dev),
        serde_json::Value::Object(values) => values.values().any(names_dev),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{missing, said};

    const BEHIND: &str = "--root=/bundle/rootfs --wd / --mount-proc=/proc -- /nsharness";

    #[test]
    fn what_every_container_has_is_said() {
        let options = format!("--pid --ipc --uts --mount --fork {BEHIND}");
        assert_eq!(said("unshare", "{}", "[]"), options);
    }

    #[test]
    fn namespaces_ids_and_propagation_are_said() {
        let container =
            "{linux: {namespaces: [{type: mount}, {type: time}], rootfsPropagation: slave,
            timeOffsets: {boottime: {secs: 7}}}, process: {user: {uid: 5, gid: 6}, cwd: /a}}";
        assert_eq!(
            said("unshare", container, "[]"),
            "--mount --time --fork --setuid 5 --setgid 6 --propagation slave --boottime 7 \
             --root=/bundle/rootfs --wd /a --mount-proc=/proc -- /nsharness"
        );
        let container = "{linux: {namespaces: [{type: mount}, {type: user}],
            uidMappings: [{containerID: 5, hostID: 0, size: 1}], gidMappings: [{containerID: 0, hostID: 0, size: 1}]},
            process: {user: {uid: 5}}}";
        let options = format!("--mount --user --map-user=5 --map-group=0 {BEHIND}");
        assert_eq!(said("unshare", container, "[]"), options);
    }

    #[test]
    fn what_it_has_no_option_for_is_not_asked() {
        let of = |container| missing("unshare", container, "[]");
        assert_eq!(of("{hostname: box}"), ["hostname"]);
        assert_eq!(of("{mounts: [{destination: /a, type: tmpfs}]}"), ["mounts"]);
        assert_eq!(of("{root: {readonly: true}}"), ["root.readonly"]);
        let container = "{linux: {namespaces: [{type: pid}]}}";
        assert_eq!(of(container), ["the mount namespace of who calls it"]);
        let container = "{linux: {rootfsPropagation: unbindable}}";
        assert_eq!(of(container), ["linux.rootfsPropagation unbindable"]);
        let container = "{linux: {namespaces: [{type: mount}, {type: user}],
            uidMappings: [{containerID: 0, hostID: 1000, size: 10}], gidMappings: [{containerID: 0, hostID: 0, size: 1}]}}";
        assert_eq!(of(container), ["linux.uidMappings"]);
        let steps = "[stat: {as: container, path: /dev/null}, stat: {path: /dev/null}]";
        assert_eq!(missing("unshare", "{}", steps), ["/dev in the container"]);
    }
}
