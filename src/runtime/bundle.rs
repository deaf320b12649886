//! The `config.json` of a bundle: what a scenario says of its container, upon what is there for all.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md>

use serde_json::{Map, Value, json};

use crate::scenario::container::{BUNDLE, Container};

/// The program that a container runs, from its root; the steps of the scenario are taken by it.
pub const PROGRAM: &str = "nsharness";
/// Every capability that runtimes of these years know, in the order of their numbers.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
];

/// A path that a `config.json` has, from the root of the sandbox: a relative one is from the bundle.
pub fn path(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{BUNDLE}/{path}") }
}

/// The bounding set in what proc tells of a process: see proc(5), `status`.
pub fn bounding_set(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The `config.json` of a container, whose program has this in its environment and those capabilities that are in this
/// bounding set: nobody could give it others.
pub fn config(container: &Container, environment: &str, bounding: u64) -> Value {
    let numbered = CAPABILITIES.iter().zip(0_u32..);
    let capabilities: Vec<_> = numbered
        .filter(|(_, number)| bounding & (1 << number) != 0)
        .map(|(name, _)| name)
        .collect();
    let mut config = json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": [format!("/{PROGRAM}")],
            "env": ["PATH=/", environment],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
        ],
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ],
        },
    });
    let said = Container { without: Vec::new(), ..container.clone() };
    let own = serde_json::to_value(said).unwrap_or_default();
    if let (Value::Object(config), Value::Object(own)) = (&mut config, own) {
        merge(config, own);
    }
    for (object, key) in container.without.iter().map(|given| given.pointer()) {
        if let Some(object) = config.pointer_mut(object).and_then(Value::as_object_mut) {
            object.remove(key);
        }
    }
    config
}

/// Puts keys upon others: objects are merged, mounts stand behind those that are there, all else takes the place of
/// what was there.
fn merge(config: &mut Map<String, Value>, own: Map<String, Value>) {
    for (key, value) in own {
        match (config.get_mut(&key), value) {
            (Some(Value::Object(config)), Value::Object(own)) => merge(config, own),
            (Some(Value::Array(mounts)), Value::Array(own)) if key == "mounts" => {
                mounts.extend(own)
            }
            (_, value) => drop(config.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_that_cannot_be_given_is_not_asked_for() {
        let set = bounding_set("Name:\tx\nCapBnd:\t0000000000000005\n").expect("a set");
        let config = config(&Container::default(), "A=b", set);
        let own = json!(["CAP_CHOWN", "CAP_DAC_READ_SEARCH"]);
        assert_eq!(config["process"]["capabilities"]["bounding"], own);
    }

    #[test]
    fn what_is_to_be_left_out_is_not_there() {
        let container = json!({ "without": ["ociVersion", "root.path", "process.args"] });
        let config =
            config(&serde_json::from_value(container).expect("a container"), "A=b", u64::MAX);
        assert_eq!(config["root"], json!({}));
        for pointer in ["/ociVersion", "/process/args", "/without"] {
            assert_eq!(config.pointer(pointer), None, "{pointer}");
        }
        assert_eq!(config["process"]["cwd"], "/");
    }

    #[test]
    fn what_a_scenario_says_stands_upon_what_is_there() {
        let container = json!({
            "hostname": "box",
            "mounts": [{ "destination": "/data", "type": "bind", "source": "/data", "options": ["ro"] }],
            "linux": { "rootfsPropagation": "rslave", "namespaces": [{ "type": "mount" }] },
        });
        let config =
            config(&serde_json::from_value(container).expect("a container"), "A=b", u64::MAX);
        let mounts: Vec<_> = config["mounts"].as_array().into_iter().flatten().collect();
        let places: Vec<_> = mounts.iter().map(|mount| &mount["destination"]).collect();
        assert_eq!(places, ["/proc", "/dev", "/data"]);
        assert_eq!(config["linux"]["namespaces"], json!([{ "type": "mount" }]));
        assert_eq!(config["linux"]["rootfsPropagation"], "rslave");
        assert_eq!(config["process"]["cwd"], "/");
        assert_eq!(config["process"]["env"], json!(["PATH=/", "A=b"]));
        assert_eq!(config["hostname"], "box");
    }
}
