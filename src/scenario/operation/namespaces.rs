//! Operations on namespaces and id maps, and the processes that they are tried with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::scalar::Name;
use crate::scenario::words::Namespace;

operations! {
    Namespaces;

    /// Leaves shared namespaces for new ones by unshare(2). `pid` moves only later children of the actor.
    Unshare = "unshare" {
        /// The namespaces.
        namespaces: Vec<Namespace>,
    } gives {}

    /// Enters a namespace of another actor by setns(2).
    Setns = "setns" {
        /// The actor whose namespace is entered; or give `fd`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// Which of its namespaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<Namespace>,
        /// The name of an open namespace file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fd: Option<Name>,
    } gives {}

    /// Opens a namespace file of an actor, /proc/PID/ns/..., kept under the name `fd`.
    OpenNamespace = "open_namespace" {
        /// The actor; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// Which of its namespaces.
        namespace: Namespace,
        /// The name that later steps use for it.
        fd: Name,
    } gives {}

    /// Writes /proc/PID/uid_map of an actor in one write(2), verbatim: it is allowed to be wrong.
    WriteUidMap = "write_uid_map" {
        /// The actor whose user namespace gets the map; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// What is written.
        text: String,
        /// What is written in a second write(2) to the same open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        then: Option<String>,
    } gives {}

    /// Writes /proc/PID/gid_map of an actor in one write(2), verbatim: it is allowed to be wrong.
    WriteGidMap = "write_gid_map" {
        /// The actor whose user namespace gets the map; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// What is written.
        text: String,
        /// What is written in a second write(2) to the same open file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        then: Option<String>,
    } gives {}

    /// Writes /proc/PID/setgroups of an actor, verbatim.
    WriteSetgroups = "write_setgroups" {
        /// The actor whose user namespace is meant; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
        /// What is written: `allow` or `deny`.
        text: String,
    } gives {}

    /// Reads the id maps of an actor's user namespace as the actor that takes the step sees them.
    ReadMaps = "read_maps" {
        /// The actor; the one that takes the step if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Name>,
    } gives {
        "uid_map" Map: "the lines of uid_map, each `inside outside count`",
        "gid_map" Map: "the lines of gid_map",
        "setgroups" Setgroups: "allow or deny",
    }

    /// Starts a child process of the actor by fork(2); it is an actor of its own from then on.
    Fork = "fork" {
        /// The name of the new actor.
        child: Name,
    } gives {}

    /// Ends the actor's process by _exit(2).
    Exit = "exit" {} gives {}

    /// Sets the host name of the actor's UTS namespace by sethostname(2).
    Sethostname = "sethostname" {
        /// The new name.
        name: String,
    } gives {}

    /// Asks for the host name of the actor's UTS namespace by uname(2).
    Gethostname = "gethostname" {} gives { "name" Text: "the host name" }
}
