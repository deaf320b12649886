//! Restrictions that distributions and containers put on user namespaces, recognised and named.

use std::fs;

use crate::missing::Missing;
use crate::scenario::scalar::Errno;
use crate::transcript::Breakage;

fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.trim().to_owned())
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// Whether this process was chrooted: its root is not the root of its mount namespace.
///
/// `/proc/self/mountinfo` leaves out what the root cannot reach, so then no line is mounted at `/`.
fn is_chrooted() -> bool {
    fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|table| !table.lines().any(|line| line.split(' ').nth(4) == Some("/")))
}

/// The restrictions of this host that explain why a sandbox could not be made; empty where none does.
pub fn restrictions(breakage: &Breakage) -> Vec<Missing> {
    let is = |errno: i32| breakage.errno == Some(Errno(errno));
    let at = |stage: &str| breakage.stage.starts_with(&format!("sandbox: {stage}"));
    let mut found = Vec::new();
    if at("clone") && is(nix::libc::EPERM) {
        if is_chrooted() {
            found.push(Missing::new(
                "user namespaces",
                "this process is in a chroot, where the kernel refuses to make one (user_namespaces(7))",
                "run outside of the chroot, or enter it by pivot_root",
            ));
        }
        if sysctl("kernel.unprivileged_userns_clone").as_deref() == Some("0") {
            found.push(Missing::new(
                "user namespaces",
                "kernel.unprivileged_userns_clone is 0",
                "sysctl kernel.unprivileged_userns_clone=1, or run as root",
            ));
        }
    }
    if at("clone") && is(nix::libc::ENOSPC) {
        let limit = sysctl("user.max_user_namespaces").unwrap_or_else(|| "unknown".into());
        found.push(Missing::new(
            "user namespaces",
            format!("the limit user.max_user_namespaces ({limit} here, perhaps less in an ancestor) is reached"),
            "sysctl user.max_user_namespaces=10000",
        ));
    }
    if is(nix::libc::EPERM) || is(nix::libc::EACCES) {
        let apparmor = "kernel.apparmor_restrict_unprivileged_userns";
        if sysctl(apparmor).as_deref() == Some("1") {
            found.push(Missing::new(
                "unrestricted user namespaces",
                format!(
                    "AppArmor takes the capabilities away in new user namespaces ({apparmor} is 1)"
                ),
                format!("sysctl {apparmor}=0, or an AppArmor profile with `userns,` for nsharness"),
            ));
        }
    }
    if at("clone")
        && (is(nix::libc::EPERM) || is(nix::libc::ENOSYS))
        && found.is_empty()
        && status_field("Seccomp").as_deref() == Some("2")
    {
        found.push(Missing::new(
            "user namespaces",
            "a seccomp filter is in force, as container engines set it by default",
            "run the container with --security-opt seccomp=unconfined",
        ));
    }
    if at("clone") && is(nix::libc::EINVAL) {
        found.push(Missing::new(
            "user namespaces",
            "this kernel is built without them",
            "use another kernel",
        ));
    }
    let proc = ["fsconfig proc", "fsmount proc", "mount proc"].into_iter().any(at);
    if proc && is(nix::libc::EPERM) {
        found.push(Missing::new(
            "a whole /proc",
            "parts of /proc are covered here, as container engines do, so the kernel refuses a new one (mount_too_revealing)",
            "run the container with --security-opt systempaths=unconfined, or outside of it",
        ));
    }
    found
}
