//! What a container runtime is told to do: the operations of the OCI runtime specification.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::scenario::scalar::StepPath;

operations! {
    Container;

    /// Has the runtime make the container of the world; `main` takes this step. A scenario that has none begins with
    /// `create` and `start`. What the runtime refuses is the outcome `refused`.
    Create = "create" {
        /// Has it move the root into its place instead of calling pivot_root(2): the option `--no-pivot`.
        #[serde(default, skip_serializing_if = "is_false")]
        no_pivot: bool,
        /// Files and directories of the sandbox that are open in the process that calls the runtime, from descriptor 3
        /// on, and stay open across execve(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        open: Vec<StepPath>,
        /// How many of those the runtime is to pass on to the process of the container: the option `--preserve-fds`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preserve_fds: Option<u8>,
    } gives {}

    /// Has the runtime start the process of the container, which takes steps as the actor `container` from then on.
    Start = "start" {} gives {
        "descriptors" Numbers: "the open descriptors that the process began with: those of the harness come later",
    }

    /// Asks the runtime for the state of the container.
    State = "state" {} gives {
        "status" Status: "creating, created, running or stopped",
    }

    /// Has the runtime send a signal to the process of the container, and waits until that has ended if the signal is
    /// KILL.
    Kill = "kill" {
        /// The signal; TERM if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
    } gives {}

    /// Has the runtime delete what it made of the container.
    Delete = "delete" {
        /// Also where its process is still there: the option `--force`.
        #[serde(default, skip_serializing_if = "is_false")]
        force: bool,
    } gives {}
}
