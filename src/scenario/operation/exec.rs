//! Running a program.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::scalar::StepPath;

operations! {
    Exec;

    /// Runs a program in a child of the actor by execve(2) and waits for it. A model abstains here. What has no part in
    /// files, mounts and namespaces is refused to it as by a kernel that is built without: keys, bpf(2), perf_event_open(2),
    /// userfaultfd(2), io_uring and asynchronous I/O, the kernel's log, quotas, memory policies (ENOSYS); sockets but those
    /// of UNIX, streams and datagrams of the internet and rtnetlink (EAFNOSUPPORT); calls of i386 end it with SIGSYS. With
    /// `requires: [root]` nothing is.
    Exec = "exec" {
        /// The program, as an entry `program` of the world's tree. `program: credentials` tells the
        /// credentials that it runs with; with the arguments `echo TEXT...`, `exit STATUS` or
        /// `signal NUMBER` it prints, exits with that status, or ends itself by that signal.
        path: StepPath,
        /// Arguments behind the program's name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// The environment; `NSHARNESS_PROGRAM` is added to it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
    } gives {
        "status" Number: "the exit status",
        "signal" Number: "the number of the signal that ended it",
        "stdout" Text: "what it printed, up to 64 KiB",
        "uid" Id: "real user id, of `program: credentials`",
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
}
