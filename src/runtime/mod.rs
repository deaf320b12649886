//! Container runtimes: which there are, how they are called, and the bundle that they are given. All of them have the
//! command line that runc has, which the specification leaves open.

pub mod bundle;
pub mod by_hand;

use crate::missing::Missing;
use crate::named::{Named, Purpose};
use crate::scenario::implementation::Implementation;

/// What a runtime is named for.
const PURPOSE: Purpose = Purpose {
    what: "the container runtime",
    remedy: "name a runtime, as runc",
    packaged: &["runc", "crun"],
};

/// Options of a runtime that stand before its command.
pub fn options(runtime: &Implementation) -> &'static [&'static str] {
    match runtime.name.as_str() {
        // Otherwise it wants cgroups that it can write to.
        "crun" => &["--cgroup-manager=disabled"],
        _ => &[],
    }
}

/// Finds a runtime, and asks it for its version.
///
/// # Errors
/// Where it is not there, is no runtime, or cannot be brought into a sandbox.
pub fn find(named: &Named) -> Result<Implementation, Missing> {
    named.find(PURPOSE)
}
