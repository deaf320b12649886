//! Restrictions that distributions and containers put on user namespaces, recognised and named.

use std::fs;

use crate::missing::Missing;
use crate::scenario::scalar::Errno;
use crate::transcript::Breakage;

const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns";
const DEBIAN: &str = "kernel.unprivileged_userns_clone";
const LIMIT: &str = "user.max_user_namespaces";

/// What can be seen of a host's restrictions.
struct Host {
    /// Whether this process was chrooted.
    chrooted: bool,
    /// Whether a seccomp filter is in force.
    filtered: bool,
    /// Whether there is no /proc, where the rest is to be seen.
    blind: bool,
    /// The value of a sysctl, where there is one.
    sysctl: fn(&str) -> Option<String>,
}

impl Host {
    fn look() -> Self {
        // mountinfo leaves out what the root cannot reach: in a chroot to a plain directory no line
        // is mounted at `/`.
        let mounted_at_root =
            |table: String| table.lines().any(|line| line.split(' ').nth(4) == Some("/"));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            chrooted: fs::read_to_string("/proc/self/mountinfo")
                .is_ok_and(|table| !mounted_at_root(table)),
            blind: status.is_empty(),
            filtered: status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])),
            sysctl,
        }
    }
}

/// The value of a sysctl, where there is one.
pub fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.trim().to_owned())
}

/// The restrictions of this host that explain why a sandbox could not be made; empty where none does.
pub fn restrictions(breakage: &Breakage) -> Vec<Missing> {
    explain(breakage, &Host::look())
}

/// What a sandbox was refused, where and by which errno.
struct Refused<'b> {
    stage: &'b str,
    errno: Option<Errno>,
}

impl Refused<'_> {
    fn is(&self, errno: i32) -> bool {
        self.errno == Some(Errno(errno))
    }

    fn is_denied(&self) -> bool {
        self.is(libc::EPERM) || self.is(libc::EACCES)
    }

    fn at(&self, stage: &str, errno: i32) -> bool {
        self.stage == stage && self.is(errno)
    }
}

fn explain(breakage: &Breakage, host: &Host) -> Vec<Missing> {
    // Only the making of the sandbox is explained: what fails in a world failed by itself.
    let Some(stage) = breakage.stage.strip_prefix("sandbox: ") else { return Vec::new() };
    let refused = Refused { stage, errno: breakage.errno };
    let mut found = of_user_namespaces(&refused, host);
    found.extend(of_file_systems(&refused, host));
    if found.is_empty() {
        found.extend(of_what_cannot_be_seen(&refused, host));
    }
    found
}

/// What keeps user namespaces from being made, or from being worth something.
fn of_user_namespaces(refused: &Refused<'_>, host: &Host) -> Vec<Missing> {
    let set_to = |name: &str, value: &str| (host.sysctl)(name).as_deref() == Some(value);
    let mut found = Vec::new();
    let mut add =
        |what: &str, why: String, remedy: &str| found.push(Missing::new(what, why, remedy));
    if refused.at("clone", libc::EPERM) && host.chrooted {
        add(
            "user namespaces",
            "this process is in a chroot, where the kernel refuses to make one (user_namespaces(7))".into(),
            "run outside of the chroot, or enter it by pivot_root",
        );
    }
    if refused.at("clone", libc::EPERM) && set_to(DEBIAN, "0") {
        add(
            "user namespaces",
            format!("{DEBIAN} is 0"),
            "sysctl kernel.unprivileged_userns_clone=1, or run as root",
        );
    }
    if refused.at("clone", libc::ENOSPC) {
        let limit = (host.sysctl)(LIMIT).unwrap_or_else(|| "unknown".into());
        add(
            "user namespaces",
            format!("the limit {LIMIT} ({limit} here, perhaps less in an ancestor) is reached"),
            "sysctl user.max_user_namespaces=10000",
        );
    }
    if refused.at("clone", libc::EINVAL) {
        add("user namespaces", "this kernel is built without them".into(), "use another kernel");
    }
    if refused.is_denied() && set_to(APPARMOR, "1") {
        add(
            "unrestricted user namespaces",
            format!(
                "AppArmor takes the capabilities away in new user namespaces ({APPARMOR} is 1)"
            ),
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,` for nsharness",
        );
    }
    found
}

/// What keeps the file systems of a sandbox from being mounted.
fn of_file_systems(refused: &Refused<'_>, host: &Host) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut add =
        |what: &str, why: String, remedy: &str| found.push(Missing::new(what, why, remedy));
    if ["fsconfig proc", "fsmount proc", "mount proc"].contains(&refused.stage)
        && refused.is(libc::EPERM)
    {
        add(
            "a whole /proc",
            "parts of /proc are covered here, as container engines do, so the kernel refuses a new one (mount_too_revealing)".into(),
            "run the container with --security-opt systempaths=unconfined, or outside of it",
        );
    }
    if refused.at("mount sysfs", libc::EPERM) {
        add(
            "a whole /sys",
            "parts of /sys are covered here, as container engines do, so the kernel refuses a new one (mount_too_revealing)".into(),
            "run the container with --security-opt systempaths=unconfined, or outside of it",
        );
    }
    if refused.stage == "open /dev/fuse" {
        let (why, remedy) = match refused.is_denied() {
            true => (
                "it cannot be opened in a user namespace: only its owner may",
                "chmod 0666 /dev/fuse, as the rules of udev have it",
            ),
            false => ("there is none, or nothing behind it", "modprobe fuse"),
        };
        add("/dev/fuse", why.into(), remedy);
    }
    if host.blind && refused.is(libc::ENOENT) {
        add(
            "/proc",
            "it is not mounted here, and id maps are written there (user_namespaces(7))".into(),
            "mount -t proc proc /proc",
        );
    }
    found
}

/// What is likely where nothing else explains the refusal.
fn of_what_cannot_be_seen(refused: &Refused<'_>, host: &Host) -> Option<Missing> {
    // A filter says nothing of what it forbids.
    if host.filtered && (refused.is(libc::EPERM) || refused.is(libc::ENOSYS)) {
        return Some(Missing::new(
            "user namespaces",
            "a seccomp filter is in force, as container engines set it by default",
            "run the container with --security-opt seccomp=unconfined",
        ));
    }
    (host.blind && refused.at("clone", libc::EPERM)).then(|| {
        Missing::new(
            "user namespaces",
            "the kernel refuses to make one, and without /proc it cannot be seen why: in a chroot it always does",
            "run outside of the chroot, or mount /proc to see more",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Host = Host { chrooted: false, filtered: false, blind: false, sysctl: |_| None };

    fn broke(stage: &str, errno: i32) -> Breakage {
        Breakage { stage: stage.into(), detail: String::new(), errno: Some(Errno(errno)) }
    }

    fn whys(breakage: &Breakage, host: &Host) -> String {
        explain(breakage, host).into_iter().map(|missing| missing.why + "\n").collect()
    }

    #[test]
    fn a_host_without_restrictions_explains_nothing() {
        assert_eq!(whys(&broke("sandbox: clone", libc::EPERM), &FREE), "");
    }

    #[test]
    fn each_restriction_is_named() {
        let clone = broke("sandbox: clone", libc::EPERM);
        let debian = Host { sysctl: |name| (name == DEBIAN).then(|| "0".into()), ..FREE };
        assert!(whys(&clone, &debian).contains("kernel.unprivileged_userns_clone is 0"));
        let apparmor = Host { sysctl: |name| (name == APPARMOR).then(|| "1".into()), ..FREE };
        for stage in ["sandbox: write uid_map", "sandbox: make / private"] {
            assert!(whys(&broke(stage, libc::EACCES), &apparmor).contains("AppArmor"));
        }
        assert!(whys(&clone, &Host { chrooted: true, ..FREE }).contains("chroot"));
        assert!(whys(&clone, &Host { filtered: true, ..FREE }).contains("seccomp"));
        assert!(whys(&clone, &Host { blind: true, ..FREE }).contains("/proc"));
        assert!(whys(&broke("sandbox: clone", libc::ENOSPC), &FREE).contains(LIMIT));
        let maps = broke("sandbox: write setgroups", libc::ENOENT);
        assert!(whys(&maps, &Host { blind: true, ..FREE }).contains("id maps"));
        assert_eq!(whys(&maps, &FREE), "");
    }

    #[test]
    fn a_refusal_in_a_world_is_not_explained_away() {
        let all =
            Host { chrooted: true, filtered: true, blind: true, sysctl: |_| Some("1".into()) };
        assert_eq!(whys(&broke("world: line 4: mount", libc::EPERM), &all), "");
        assert_eq!(whys(&broke("actor box: chroot", libc::EPERM), &all), "");
    }
}
