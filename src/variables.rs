//! Variables of the environment that are about nsharness as a whole, and what a file of the user says in their place.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::sync::OnceLock;

/// Where kernels and records are kept.
pub const CACHE: &str = "NSHARNESS_CACHE";
/// How many seconds a guest may take to boot.
pub const BOOT_TIMEOUT: &str = "NSHARNESS_BOOT_TIMEOUT";
/// How many MiB of memory a guest has.
pub const GUEST_MEMORY: &str = "NSHARNESS_GUEST_MEMORY";

static INSTEAD: OnceLock<BTreeMap<&'static str, OsString>> = OnceLock::new();

/// The value of a variable; what a file says where the environment has none. An empty one is none.
pub fn value(name: &str) -> Option<OsString> {
    let of_file = || INSTEAD.get().and_then(|values| values.get(name)).cloned();
    env::var_os(name).filter(|value| !value.is_empty()).or_else(of_file)
}

/// Says what variables are where the environment has none. Only what is said first counts.
pub fn instead(values: BTreeMap<&'static str, OsString>) {
    let _ = INSTEAD.set(values);
}
