//! Operations on ids, capabilities and process attributes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::scalar::{Capability, Mode};

operations! {
    Credentials;

    /// Sets the user id by setuid(2).
    Setuid = "setuid" {
        /// The user id.
        uid: u32,
    } gives {}

    /// Sets the group id by setgid(2).
    Setgid = "setgid" {
        /// The group id.
        gid: u32,
    } gives {}

    /// Sets real, effective and saved user id by setresuid(2); one that is left out stays.
    Setresuid = "setresuid" {
        /// The real user id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ruid: Option<u32>,
        /// The effective user id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        euid: Option<u32>,
        /// The saved user id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suid: Option<u32>,
    } gives {}

    /// Sets real, effective and saved group id by setresgid(2); one that is left out stays.
    Setresgid = "setresgid" {
        /// The real group id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rgid: Option<u32>,
        /// The effective group id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        egid: Option<u32>,
        /// The saved group id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sgid: Option<u32>,
    } gives {}

    /// Sets the supplementary groups by setgroups(2).
    Setgroups = "setgroups" {
        /// The groups.
        groups: Vec<u32>,
    } gives {}

    /// Asks for the actor's ids, groups and capabilities.
    Getcred = "getcred" {} gives {
        "uid" Id: "real user id",
        "euid" Id: "effective user id",
        "suid" Id: "saved user id",
        "gid" Id: "real group id",
        "egid" Id: "effective group id",
        "sgid" Id: "saved group id",
        "groups" Ids: "supplementary groups",
        "effective" Capabilities: "effective capabilities: all, none, or their names",
        "permitted" Capabilities: "permitted capabilities",
        "inheritable" Capabilities: "inheritable capabilities",
        "bounding" Capabilities: "bounding set",
        "ambient" Capabilities: "ambient set",
        "no_new_privs" Bool: "true or false",
    }

    /// Sets the capability sets by capset(2); a set that is left out stays.
    Capset = "capset" {
        /// The effective set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective: Option<Vec<Capability>>,
        /// The permitted set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permitted: Option<Vec<Capability>>,
        /// The inheritable set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inheritable: Option<Vec<Capability>>,
    } gives {}

    /// Raises capabilities in the ambient set by prctl(2) with `PR_CAP_AMBIENT_RAISE`.
    CapAmbient = "cap_ambient" {
        /// The capabilities.
        raise: Vec<Capability>,
    } gives {}

    /// Drops capabilities from the bounding set by prctl(2) with `PR_CAPBSET_DROP`.
    CapBset = "cap_bset" {
        /// The capabilities.
        drop: Vec<Capability>,
    } gives {}

    /// Keeps permitted capabilities over a change of user ids, by prctl(2) with `PR_SET_KEEPCAPS`.
    Keepcaps = "keepcaps" {
        /// Whether they are kept.
        keep: bool,
    } gives {}

    /// Sets no_new_privs by prctl(2); it cannot be taken back.
    NoNewPrivs = "no_new_privs" {} gives {}

    /// Sets the file mode creation mask by umask(2).
    Umask = "umask" {
        /// The bits that are taken away from the mode of new files.
        mode: Mode,
    } gives {}
}
