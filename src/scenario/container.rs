//! A container of the world: what its `config.json` says, in the words of the OCI runtime specification.
//!
//! Values are plain texts where the specification has a list of words: what it forbids must be sayable, for a
//! runtime has to refuse it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of the actor that a container's process is.
pub const CONTAINER: &str = "container";
/// The bundle, with `config.json` and `rootfs`, from the root of the sandbox.
pub const BUNDLE: &str = "bundle";
/// Directories of the root that the runtime uses itself.
pub const RUNTIME_DIRECTORIES: &[&str] = &["run", "sys"];

/// How a specification demands what a scenario holds runtimes to, by the words of RFC 2119. Without one the
/// specification says nothing of it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// It is required.
    Must,
    /// It is recommended.
    Should,
    /// It is allowed.
    May,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        })
    }
}

/// A container that a runtime makes: keys of its `config.json`. What is left out is as nsharness has it: a process
/// with all capabilities, in namespaces of its own (pid, ipc, uts, mount), with /proc and a tmpfs at /dev.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Container {
    /// The version of the specification; 1.0.2 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci_version: Option<String>,
    /// The host name in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Mounts, in order, behind those of /proc and /dev.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// The process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What is there on Linux alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// What is left out of its `config.json` although every container of nsharness has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Given>,
}

/// A key of `config.json` that every container of nsharness has, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the specification explains its keys")]
pub enum Given {
    #[serde(rename = "ociVersion")]
    OciVersion,
    #[serde(rename = "root")]
    Root,
    #[serde(rename = "root.path")]
    RootPath,
    #[serde(rename = "process")]
    Process,
    #[serde(rename = "process.args")]
    ProcessArgs,
    #[serde(rename = "process.cwd")]
    ProcessCwd,
}

impl Given {
    /// The key, as a pointer into JSON: that of the object that has it, and its own name.
    pub fn pointer(self) -> (&'static str, &'static str) {
        match self {
            Self::OciVersion => ("", "ociVersion"),
            Self::Root => ("", "root"),
            Self::RootPath => ("/root", "path"),
            Self::Process => ("", "process"),
            Self::ProcessArgs => ("/process", "args"),
            Self::ProcessCwd => ("/process", "cwd"),
        }
    }
}

/// The root file system of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Root {
    /// Where it is, in the bundle or absolute; `rootfs` if left out, where the program of the steps is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether it is read-only in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly: Option<bool>,
}

/// One mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Mount {
    /// Where it is mounted in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The type of the file system; `bind` and `none` for a bind mount.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A device, or for a bind mount a file or directory of the sandbox; a relative one from the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Options, as `rbind`, `ro`, `rslave`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// The id map of an idmapped mount, of users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// The same of groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
}

/// One extent of an id map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IdMapping {
    /// The first id in the container.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// The first id in the sandbox.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many there are.
    pub size: u32,
}

/// The process of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Process {
    /// The program and its arguments; the program that takes the steps if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Its user and groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// Its working directory; `/` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Its capabilities by their sets; all in three of them if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Limits of resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Whether no_new_privs is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_new_privileges: Option<bool>,
    /// What is added to its score for the out-of-memory killer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
}

/// The user of a container's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct User {
    /// The user id in the container; 0 if left out.
    pub uid: u32,
    /// The group id in the container; 0 if left out.
    pub gid: u32,
    /// The file mode creation mask, decimal as in `config.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// The capabilities of a container's process, by their names, as `CAP_SYS_ADMIN`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "capabilities(7) explains the sets")]
pub struct Capabilities {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounding: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permitted: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inheritable: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambient: Option<Vec<String>>,
}

/// A limit of a resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// Its name, as `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The hard limit.
    pub hard: u64,
    /// The soft limit.
    pub soft: u64,
}

/// What a container is told that is there on Linux alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Linux {
    /// Namespaces of its own, or of the path that is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<ContainerNamespace>>,
    /// The id map of its user namespace, of users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// The same of groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// The propagation of the root mount in the container, as `rslave`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs_propagation: Option<String>,
    /// Paths in the container that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked_paths: Option<Vec<String>>,
    /// Paths in the container that are read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly_paths: Option<Vec<String>>,
    /// Device nodes besides those that every container has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Parameters of the kernel, as `kernel.domainname`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// Offsets of clocks in a time namespace: by `monotonic` or `boottime`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

/// A namespace of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerNamespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup` or `time`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The file of one that is there; a new one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A device node of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Device {
    /// `c`, `b`, `u` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is in the container.
    pub path: String,
    /// The major number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// The minor number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Its permissions, decimal as in `config.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// What a clock of a time namespace is ahead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeOffset {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds.
    pub nanosecs: u32,
}

impl Container {
    /// The id maps: of its user namespace and of its mounts.
    pub fn id_mappings(&self) -> impl Iterator<Item = &IdMapping> {
        let linux = self.linux.iter().flat_map(|linux| [&linux.uid_mappings, &linux.gid_mappings]);
        let mounts =
            self.mounts.iter().flat_map(|mount| [&mount.uid_mappings, &mount.gid_mappings]);
        linux.chain(mounts).flatten()
    }
}
