//! Operations on root and working directories.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::scalar::{Name, StepPath};

operations! {
    Roots;

    /// Changes the actor's root directory by chroot(2); the working directory stays.
    Chroot = "chroot" {
        /// The new root.
        path: StepPath,
    } gives {}

    /// Changes the actor's working directory by chdir(2).
    Chdir = "chdir" {
        /// The new working directory.
        path: StepPath,
    } gives {}

    /// Changes the actor's working directory to an open directory by fchdir(2).
    Fchdir = "fchdir" {
        /// The name of an open directory.
        fd: Name,
    } gives {}

    /// Asks for the path of the working directory by getcwd(2).
    Getcwd = "getcwd" {} gives {
        "path" Text: "the path, which starts with (unreachable) where the root does not lead to it",
    }

    /// Makes a mount the root of the mount namespace by pivot_root(2).
    PivotRoot = "pivot_root" {
        /// The mount that becomes the root.
        new_root: StepPath,
        /// Where the old root is mounted.
        put_old: StepPath,
    } gives {}
}
