//! bubblewrap: what a container's description is in the options of bwrap(1).
//!
//! <https://github.com/containers/bubblewrap/blob/v0.8.0/bwrap.xml>

use std::collections::BTreeSet;

use super::bundle::{self, PROGRAM};
use super::by_options::Words;
use crate::missing::Missing;
use crate::scenario::container::{Capabilities, Container, Mount, Process, RUNTIME_DIRECTORIES};
use crate::scenario::operation::{Family, Operation};
use crate::scenario::plan::Plan;
use crate::scenario::world::{LIBRARY_DIRECTORIES, Setup};

/// What it calls itself.
pub const NAME: &str = "bubblewrap";
/// Where it mounts the tmpfs on which it makes the new root: it has to be there. See main() of bubblewrap.c.
pub const BASE: &str = "/tmp";

/// The options for new namespaces, by the types of the specification. That of mounts is always new.
const NAMESPACES: &[(&str, &str)] = &[
    ("mount", ""),
    ("pid", "--unshare-pid"),
    ("ipc", "--unshare-ipc"),
    ("uts", "--unshare-uts"),
    ("network", "--unshare-net"),
    ("cgroup", "--unshare-cgroup"),
    ("user", "--unshare-user"),
];

/// What it is told of the container of a plan, and the program that runs in it.
///
/// # Errors
/// Everything that it has no option for, or does otherwise by design.
pub fn arguments(plan: &Plan, container: &Container) -> Result<Vec<String>, Vec<Missing>> {
    let mut words = Words::of(NAME);
    words.common(plan, container);
    let own = words.namespaces(container, NAMESPACES);
    if !own.contains("mount") {
        words.lacks("the mount namespace of who calls it", "always makes one");
    }
    if own.contains("pid") {
        // Otherwise the first process of the namespace is one of its own.
        words.say(["--as-pid-1"]);
    }
    let none = Process::default();
    let process = container.process.as_ref().unwrap_or(&none);
    user(&mut words, container, process, &own);
    if process.no_new_privileges == Some(false) {
        words.lacks("process.noNewPrivileges that is not set", "always sets it");
    }
    if let Some(name) = &container.hostname {
        words.say(["--hostname", name]);
    }
    if let Some(linux) = &container.linux {
        words.lacks_if(linux.rootfs_propagation.is_some(), "linux.rootfsPropagation");
        words.lacks_if(!linux.time_offsets.is_empty(), "linux.timeOffsets");
    }
    let root = container.root.clone().unwrap_or_default();
    let path = bundle::path(root.path.as_deref().unwrap_or("rootfs"));
    words.say(["--dev-bind", &path, "/", "--proc", "/proc", "--dev", "/dev"]);
    let has_mounts = has_mounts(plan);
    for one in &container.mounts {
        mount(&mut words, one, has_mounts, own.contains("pid"));
    }
    if root.readonly == Some(true) {
        // Mounts on it are not: so it comes behind them, and is not `--ro-bind`.
        words.say(["--remount-ro", "/"]);
    }
    words.say(["--chdir", process.cwd.as_deref().unwrap_or("/"), "--"]);
    match &process.args {
        Some(args) => words.say(args.iter().map(String::as_str)),
        None => words.say([&*format!("/{PROGRAM}")]),
    }
    words.finish()
}

/// The ids of the process and its capabilities: bubblewrap has one set for all but the bounding set, of which it says
/// nothing.
fn user(
    words: &mut Words<'_>,
    container: &Container,
    process: &Process,
    own: &BTreeSet<&'static str>,
) {
    let ((uid, gid), is_mapped) = words.user(container, own);
    if is_mapped {
        words.say(["--uid", &uid.to_string(), "--gid", &gid.to_string()]);
    } else if (uid, gid) != (0, 0) {
        words.lacks("process.user", "has other ids in a user namespace of its own alone");
    }
    match &process.capabilities {
        None if uid == 0 => words.say(["--cap-add", "ALL"]),
        None => words.lacks(
            "the capabilities of a process that is not root",
            "makes those that it gives ambient, so that they have to be said",
        ),
        Some(sets) => match the_same_in_all(sets) {
            Some(names) => {
                words.say(["--cap-drop", "ALL"]);
                names.into_iter().for_each(|name| words.say(["--cap-add", name]));
            }
            None => words.lacks("process.capabilities that differ", "has one set for all five"),
        },
    }
}

/// The capabilities that each of the sets has, where they are the same.
fn the_same_in_all(sets: &Capabilities) -> Option<BTreeSet<&str>> {
    let all = [&sets.bounding, &sets.effective, &sets.permitted, &sets.inheritable, &sets.ambient];
    let all = all.map(|set| set.iter().flatten().map(String::as_str).collect::<BTreeSet<_>>());
    let [first, others @ ..] = all;
    others.iter().all(|set| *set == first).then_some(first)
}

/// Whether the scenario might mount anything before the container is made.
fn has_mounts(plan: &Plan) -> bool {
    let made = plan.steps.iter().take_while(|s| !matches!(s.operation, Operation::Create(_)));
    plan.world.setup.iter().any(|setup| matches!(setup, Setup::Mount { .. }))
        || made.into_iter().any(|step| step.operation.described().family != Family::Files)
}

/// Whether the sandbox might have a mount of its own below a path: it has none in what is the scenario's alone, and
/// below /dev each node is one.
fn has_mounts_of_the_sandbox(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match parts[..] {
        _ if parts.contains(&"..") => true,
        ["dev", _] => false,
        [top, ..] => {
            top == "dev"
                || top == "proc"
                || RUNTIME_DIRECTORIES.contains(&top)
                || LIBRARY_DIRECTORIES.contains(&top)
        }
        [] => true,
    }
}

fn mount(words: &mut Words<'_>, mount: &Mount, has_mounts: bool, has_own_pids: bool) {
    let Some(destination) = &mount.destination else {
        return words.lacks("mounts without a destination", "is told one");
    };
    let destination = format!("/{}", destination.trim_start_matches('/'));
    let options: BTreeSet<&str> = mount.options.iter().map(String::as_str).collect();
    if options.contains("bind") || options.contains("rbind") {
        bind(words, mount, &destination, &options, has_mounts);
        words.lacks_if(
            !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty(),
            "mounts with id maps",
        );
        return;
    }
    let expected: &[&str] = match mount.kind.as_deref() {
        Some("tmpfs") => &["nosuid", "nodev"],
        Some("proc") => &["nosuid", "noexec", "nodev"],
        Some("mqueue") => &[],
        kind => {
            let what = format!("mounts of type {}", kind.unwrap_or("none"));
            return words.no_option(&what);
        }
    };
    let kind = mount.kind.as_deref().unwrap_or_default();
    for option in expected.iter().filter(|option| !options.contains(**option)) {
        words.lacks(&format!("{kind} without {option}"), "always sets it");
    }
    let others = options.iter().filter(|option| !expected.contains(option));
    let (mut mode, mut size) = (None, None);
    for option in others {
        match option.split_once('=') {
            Some(("mode", octal)) if kind == "tmpfs" && is_octal(octal) => mode = Some(octal),
            Some(("size", text)) if kind == "tmpfs" && bytes(text).is_some() => size = bytes(text),
            _ => words.no_option(&format!("{kind} with {option}")),
        }
    }
    match (kind, mode) {
        ("tmpfs", Some(mode)) => {
            words.say(["--perms", mode]);
            if let Some(size) = size {
                words.say(["--size", &size.to_string()]);
            }
        }
        ("tmpfs", None) => words.lacks("tmpfs without a mode", "has one of its own, 0755"),
        ("proc", _) if !has_own_pids => {
            words.lacks("proc without a pid namespace", "binds the one that is there");
        }
        _ => {}
    }
    words.say([&*format!("--{kind}"), &*destination]);
}

/// A bind mount: recursive, nosuid, and nodev too unless devices are wanted; the flags are set on the mounts below as
/// well. So what it does is what is said where nothing is mounted below, or where it is said of the mounts below too.
fn bind(
    words: &mut Words<'_>,
    mount: &Mount,
    destination: &str,
    options: &BTreeSet<&str>,
    has_mounts: bool,
) {
    const SAID: &[&str] =
        &["bind", "rbind", "rw", "ro", "rro", "nosuid", "rnosuid", "nodev", "rnodev"];
    let source = bundle::path(mount.source.as_deref().unwrap_or_default());
    let is_deep = has_mounts || has_mounts_of_the_sandbox(&source);
    for option in options.iter().filter(|option| !SAID.contains(option)) {
        words.no_option(&format!("a bind mount with {option}"));
    }
    if is_deep && !options.contains("rbind") {
        words.lacks("a bind mount without those below it", "always binds these too");
    }
    let has = |alone: &str, all: &str| match is_deep {
        true => options.contains(all),
        false => options.contains(all) || options.contains(alone),
    };
    if !has("nosuid", "rnosuid") {
        let what = if is_deep { "rnosuid" } else { "nosuid" };
        words.lacks(
            &format!("a bind mount without {what}"),
            "always sets nosuid, on the mounts below too",
        );
    }
    let no_devices = has("nodev", "rnodev");
    if !no_devices && options.contains("nodev") {
        words.lacks("a bind mount without rnodev", "sets nodev on the mounts below too");
    }
    let is_ro = options.contains("ro") || options.contains("rro");
    let all_ro = has("ro", "rro");
    match (is_ro && all_ro, no_devices) {
        (true, true) => words.say(["--ro-bind", &source, destination]),
        (true, false) if options.contains("rro") && is_deep => {
            words.no_option("a bind mount with rro and without rnodev");
        }
        (_, true) => words.say(["--bind", &source, destination]),
        (_, false) => words.say(["--dev-bind", &source, destination]),
    }
    if is_ro && !(all_ro && no_devices) {
        words.say(["--remount-ro", destination]);
    }
}

fn is_octal(text: &str) -> bool {
    u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o7777)
}

/// A size as a tmpfs takes it: see tmpfs(5).
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    // Nothing, and 0, are no limit.
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{missing, said};

    const ROOT: &str = "--dev-bind /bundle/rootfs / --proc /proc --dev /dev";
    const BEHIND: &str = "--chdir / -- /nsharness";
    const OWN: &str = "--unshare-pid --unshare-ipc --unshare-uts --as-pid-1";

    fn mounts(mounts: &str) -> String {
        format!("{{mounts: [{mounts}]}}")
    }

    fn mounted(words: &str) -> String {
        format!("{OWN} --cap-add ALL {ROOT} {words} {BEHIND}")
    }

    #[test]
    fn what_every_container_has_is_said() {
        assert_eq!(said("bubblewrap", "{}", "[]"), format!("{OWN} --cap-add ALL {ROOT} {BEHIND}"));
        let container =
            "{linux: {namespaces: [{type: mount}]}, root: {readonly: true}, hostname: box}";
        assert_eq!(
            said("bubblewrap", container, "[]"),
            format!("--cap-add ALL --hostname box {ROOT} --remount-ro / {BEHIND}")
        );
    }

    #[test]
    fn ids_and_capabilities_are_said() {
        let container = "{linux: {namespaces: [{type: mount}, {type: user}],
            uidMappings: [{containerID: 5, hostID: 0, size: 1}], gidMappings: [{containerID: 6, hostID: 0, size: 1}]},
            process: {user: {uid: 5, gid: 6}, capabilities: {bounding: [CAP_KILL], effective: [CAP_KILL],
            permitted: [CAP_KILL], inheritable: [CAP_KILL], ambient: [CAP_KILL]}}}";
        assert_eq!(
            said("bubblewrap", container, "[]"),
            format!(
                "--unshare-user --uid 5 --gid 6 --cap-drop ALL --cap-add CAP_KILL {ROOT} {BEHIND}"
            )
        );
        let container = container.replace("ambient: [CAP_KILL]", "ambient: []");
        assert_eq!(missing("bubblewrap", &container, "[]"), ["process.capabilities that differ"]);
    }

    #[test]
    fn mounts_are_said_as_far_as_they_are_the_same() {
        let of = |options: &str| {
            mounts(&format!("{{destination: /d, type: bind, source: v, options: [{options}]}}"))
        };
        let tell = |options: &str| said("bubblewrap", &of(options), "[]");
        assert_eq!(tell("bind, nosuid, nodev"), mounted("--bind /bundle/v /d"));
        assert_eq!(tell("rbind, nosuid, nodev, ro"), mounted("--ro-bind /bundle/v /d"));
        assert_eq!(tell("bind, nosuid"), mounted("--dev-bind /bundle/v /d"));
        assert_eq!(tell("bind, nosuid, ro"), mounted("--dev-bind /bundle/v /d --remount-ro /d"));
        let lacks = |options: &str, steps| missing("bubblewrap", &of(options), steps);
        assert_eq!(lacks("bind", "[]"), ["a bind mount without nosuid"]);
        let of_sandbox = of("bind, nosuid").replace("source: v", "source: /sys");
        assert_eq!(
            missing("bubblewrap", &of_sandbox, "[]"),
            ["a bind mount without those below it", "a bind mount without rnosuid"]
        );
        assert_eq!(lacks("bind, nosuid, rslave", "[]"), ["a bind mount with rslave"]);
        let steps = "[mount: {type: tmpfs, at: bundle/v/a}, create: {}, start: {}]";
        assert_eq!(lacks("bind, rnosuid, rnodev", steps), ["a bind mount without those below it"]);
        assert_eq!(
            lacks("rbind, nosuid, nodev", steps),
            ["a bind mount without rnosuid", "a bind mount without rnodev"]
        );
        assert_eq!(
            said("bubblewrap", &of("rbind, rnosuid, rnodev, ro"), steps),
            mounted("--bind /bundle/v /d --remount-ro /d")
        );
    }

    #[test]
    fn file_systems_are_said_with_what_they_always_have() {
        let of = |text: &str| said("bubblewrap", &mounts(text), "[]");
        assert_eq!(
            of("{destination: d, type: tmpfs, options: [nosuid, nodev, mode=0711, size=1m]}"),
            mounted("--perms 0711 --size 1048576 --tmpfs /d")
        );
        assert_eq!(of("{destination: /q, type: mqueue}"), mounted("--mqueue /q"));
        let lacks = |text: &str| missing("bubblewrap", &mounts(text), "[]");
        assert_eq!(
            lacks("{destination: /d, type: tmpfs, options: [nr_inodes=3]}"),
            [
                "tmpfs without nosuid",
                "tmpfs without nodev",
                "tmpfs with nr_inodes=3",
                "tmpfs without a mode"
            ]
        );
        assert_eq!(lacks("{destination: /d, type: sysfs}"), ["mounts of type sysfs"]);
    }

    #[test]
    fn what_it_has_no_command_for_is_not_asked() {
        let of = |steps| missing("bubblewrap", "{}", steps);
        assert_eq!(of("[create: {}, start: {}, state: {}, kill: {}]"), ["state", "kill"]);
        let apart = ["start without create before it"];
        assert_eq!(of("[create: {}, stat: {path: /}, start: {}]"), apart);
        assert_eq!(of("[create: {preserve_fds: 1}, start: {}]"), ["create with --preserve-fds"]);
        let version = missing("bubblewrap", "{without: [root.path], ociVersion: 1.1.0}", "[]");
        assert_eq!(version, ["a configuration without root.path", "ociVersion"]);
    }
}
