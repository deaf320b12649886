//! What a machine has for containers of ordinary users beside its kernel: limits, programs, ids, cgroups. `doctor`
//! tells of it; no scenario depends on it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, accessat, lgetxattr, statfs, statvfs};

use super::questions::{How, Probe};
use super::{Environment, Finding};
use crate::kernel::cache::Cache;
use crate::kernel::{self, Architecture, Flavour};
use crate::programs::in_path;
use crate::sandbox::{IdSource, sysctl};

/// How many ids an engine maps for an image: all below that of `nobody`, and it.
const IDS_OF_IMAGES: u64 = 65536;

/// File systems on which no upper layer lies (`ovl_mount_dir_check`, `ovl_make_workdir`), or not that of a rootless
/// engine.
const NO_PLACE: [(i64, &str); 5] = [
    (0x6969, "nfs"),
    (0x794c_7630, "overlay"),
    (0x5346_414f, "afs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
];

const fn fact(
    name: &'static str,
    question: &'static str,
    remedy: &'static str,
    ask: fn(&Environment) -> Finding,
) -> Probe {
    Probe { name, question, remedy, how: How::Host(ask) }
}

/// Every question about the machine.
pub const MACHINE: &[Probe] = &[
    fact(
        "userns.limit",
        "Does the limit of user namespaces leave room for one?",
        "sysctl user.max_user_namespaces=10000",
        |_| limit(sysctl("user.max_user_namespaces")),
    ),
    fact(
        "userns.unprivileged",
        "May ordinary users make user namespaces? (a sysctl of Debian)",
        "sysctl kernel.unprivileged_userns_clone=1",
        |_| switch("kernel.unprivileged_userns_clone", "1"),
    ),
    fact(
        "userns.apparmor",
        "Does AppArmor leave new user namespaces their capabilities? (a sysctl of Ubuntu)",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,` for the engine",
        |_| switch("kernel.apparmor_restrict_unprivileged_userns", "0"),
    ),
    fact(
        "apparmor.unconfined",
        "Is this process confined by no profile of AppArmor?",
        "in a container: run it with --security-opt apparmor=unconfined",
        |_| apparmor(),
    ),
    fact(
        "seccomp.none",
        "Is no seccomp filter in force?",
        "in a container: run it with --security-opt seccomp=unconfined, or with a profile that allows what is refused",
        |_| status("Seccomp:", "0"),
    ),
    fact(
        "seccomp.filter",
        "Can programs of scenarios be kept from system calls that none needs?",
        "use a kernel with CONFIG_SECCOMP_FILTER, or a guest",
        |_| filters(),
    ),
    fact(
        "new_privs",
        "May programs gain privileges, as newuidmap and fusermount do?",
        "do not set no_new_privs (in a container: leave out --security-opt no-new-privileges)",
        |_| status("NoNewPrivs:", "0"),
    ),
    fact(
        "newuidmap",
        "Are newuidmap and newgidmap installed, with the privilege that they need?",
        "install the package uidmap (shadow-utils elsewhere), whose programs are set-user-ID or have capabilities",
        |_| helpers(&["newuidmap", "newgidmap"]),
    ),
    fact(
        "subids",
        "Has this user 65536 subordinate user and group ids?",
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME",
        subordinate,
    ),
    fact(
        "fuse.device",
        "Can /dev/fuse be opened?",
        "modprobe fuse; chmod 666 /dev/fuse, as udev does; in a container --device /dev/fuse",
        |_| opens("/dev/fuse"),
    ),
    fact(
        "fusermount",
        "Is fusermount3 installed, with the privilege that it needs?",
        "install the package fuse3, whose program is set-user-ID",
        |_| match in_path("fusermount3") {
            Some(_) => helpers(&["fusermount3"]),
            None => helpers(&["fusermount"]),
        },
    ),
    fact(
        "storage",
        "Is the home directory where an upper layer can lie?",
        "put the storage on a local file system that the user may write to, as by graphroot in storage.conf of podman",
        storage,
    ),
    fact(
        "cgroup.v2",
        "Are cgroups of version 2 alone?",
        "boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 at /sys/fs/cgroup",
        |_| cgroup_mode(),
    ),
    fact(
        "cgroup.delegated",
        "Are the controllers memory and pids delegated to this user?",
        "be logged in with a systemd user session, with Delegate=memory pids in user@.service",
        delegated,
    ),
    fact(
        "ptrace",
        "Does no setting forbid that a process traces its children? (User-Mode Linux before 6.16)",
        "sysctl kernel.yama.ptrace_scope=1",
        |_| ptrace(),
    ),
    fact(
        "shm.exec",
        "Can what lies in /dev/shm be executed? (memory of User-Mode Linux, where namespaces are forbidden)",
        "mount -o remount,exec /dev/shm",
        |_| executable("/dev/shm"),
    ),
    fact(
        "kvm",
        "Can /dev/kvm be opened?",
        "add the user to the group kvm; without it guests in QEMU are emulated",
        |_| kvm(),
    ),
    fact(
        "uml",
        "Is there a User-Mode Linux for guests?",
        "nsharness kernel fetch debian:12",
        |_| kernels(Flavour::Uml),
    ),
    fact(
        "qemu",
        "Is there QEMU, and a kernel for it?",
        "install the package qemu-system-x86 (on aarch64 qemu-system-arm), and nsharness kernel fetch debian:12 --flavour image",
        |_| kernels(Flavour::Image),
    ),
];

impl Environment {
    /// Asks what this machine has beside its kernel.
    pub fn ask_machine(&mut self) {
        for probe in MACHINE {
            if let How::Host(ask) = probe.how {
                let finding = ask(self);
                self.findings.insert(probe.name.to_owned(), finding);
            }
        }
    }
}

fn limit(set: Option<String>) -> Finding {
    let Some(text) = set else {
        return Finding::none("/proc/sys/user/max_user_namespaces cannot be read");
    };
    let nesting = "less may hold in a user namespace above, and at most 32 nest";
    Finding::answer(text != "0", format!("user.max_user_namespaces is {text}; {nesting}"))
}

/// A sysctl that not every kernel has: what is not there restricts nothing.
fn switch(name: &str, free: &str) -> Finding {
    match sysctl(name) {
        Some(value) => Finding::answer(value == free, format!("{name} is {value}")),
        None => Finding::answer(true, format!("there is no {name}")),
    }
}

fn apparmor() -> Finding {
    // Where AppArmor is not the module of security, the file may belong to another one or to none.
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|text| text.starts_with('Y')) {
        return Finding::answer(true, "AppArmor is not enabled");
    }
    match fs::read_to_string("/proc/self/attr/current") {
        Ok(text) => {
            let profile = text.trim_end_matches(['\n', '\0']);
            let shown = profile.escape_debug();
            Finding::answer(profile == "unconfined", format!("the profile is {shown}"))
        }
        Err(error) => Finding::none(format!("/proc/self/attr/current: {error}")),
    }
}

/// A line of /proc/self/status.
fn status(field: &str, free: &str) -> Finding {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    match line.map(str::trim) {
        Some(value) => {
            Finding::answer(value == free, format!("{field} {value} in /proc/self/status"))
        }
        None => Finding::none(format!("/proc/self/status has no {field}")),
    }
}

/// Whether there can be a filter of system calls. Without one sandboxes have none, and nothing else tells of it.
fn filters() -> Finding {
    const ACTIONS: &str = "kernel.seccomp.actions_avail";
    match sysctl(ACTIONS) {
        Some(actions) => {
            let errno = actions.split(' ').any(|action| action == "errno");
            Finding::answer(errno, format!("{ACTIONS} is {actions}"))
        }
        None if Path::new("/proc/sys/kernel").is_dir() => {
            Finding::answer(false, format!("there is no {ACTIONS}"))
        }
        None => Finding::none("there is no /proc/sys/kernel"),
    }
}

/// Programs that do for a user what takes privilege.
fn helpers(names: &[&str]) -> Finding {
    let mut evidence = Vec::new();
    let mut all = true;
    for name in names {
        let (has, what) = match in_path(name) {
            None => (false, format!("{name} is not in PATH")),
            Some(path) => privilege(&path),
        };
        all &= has;
        evidence.push(what);
    }
    Finding::answer(all, evidence.join(", "))
}

fn privilege(path: &Path) -> (bool, String) {
    let shown = path.display();
    let Ok(file) = fs::metadata(path) else { return (false, format!("{shown} cannot be read")) };
    let nosuid = statvfs(path).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOSUID));
    let capabilities = lgetxattr(path, "security.capability", &mut [0u8; 64][..]).is_ok();
    let set_id = file.uid() == 0 && file.permissions().mode() & 0o4000 != 0;
    match (set_id, capabilities) {
        _ if nosuid => (false, format!("{shown} is on a file system that is mounted nosuid")),
        (true, _) => (true, format!("{shown} is set-user-ID root")),
        (_, true) => (true, format!("{shown} has file capabilities")),
        _ => (false, format!("{shown} is neither set-user-ID root nor has it capabilities")),
    }
}

fn subordinate(_: &Environment) -> Finding {
    match IdSource::detect() {
        IdSource::Root { .. } => Finding::answer(true, "root maps any id"),
        IdSource::User { uid, subuid, subgid, .. } => {
            let count =
                |ranges: &[(u32, u32)]| ranges.iter().map(|range| u64::from(range.1)).sum::<u64>();
            let (users, groups) = (count(&subuid), count(&subgid));
            let enough = users.min(groups) >= IDS_OF_IMAGES;
            let evidence =
                format!("uid {uid} has {users} in /etc/subuid and {groups} in /etc/subgid");
            Finding::answer(enough, evidence)
        }
    }
}

/// Whether a device can be opened for reading and writing, which changes nothing.
fn opens(device: &str) -> Finding {
    let opened =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(device);
    match opened {
        Ok(_) => Finding::answer(true, format!("{device} can be opened")),
        Err(error) => Finding::answer(false, format!("{device}: {error}")),
    }
}

fn kvm() -> Finding {
    let mut finding = opens("/dev/kvm");
    if finding.value == Some(true) {
        finding.evidence.push_str("; whether guests run on it is tried when one boots");
    }
    finding
}

fn storage(environment: &Environment) -> Finding {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
    else {
        return Finding::none("HOME names no directory");
    };
    let shown = home.display();
    let Ok(fs) = statfs(&home) else {
        return Finding::none(format!("the home directory {shown} cannot be looked up"));
    };
    if accessat(CWD, &home, Access::WRITE_OK, AtFlags::EACCESS).is_err() {
        let uid = environment.uid;
        return Finding::answer(
            false,
            format!("uid {uid} may not write to the home directory {shown}"),
        );
    }
    let magic = fs.f_type & 0xffff_ffff;
    match NO_PLACE.iter().find(|(number, _)| *number == magic) {
        Some((_, name)) => {
            Finding::answer(false, format!("the home directory {shown} is on {name}"))
        }
        None => Finding::answer(
            true,
            format!("the home directory {shown} is on no network and no overlay"),
        ),
    }
}

const CGROUP: &str = "/sys/fs/cgroup";

fn is_cgroup2(path: &str) -> bool {
    statfs(path).is_ok_and(|fs| fs.f_type == libc::CGROUP2_SUPER_MAGIC)
}

fn cgroup_mode() -> Finding {
    if is_cgroup2(CGROUP) {
        let controllers = fs::read_to_string(format!("{CGROUP}/cgroup.controllers"));
        let controllers = controllers.unwrap_or_default().trim().replace(' ', ", ");
        return Finding::answer(true, format!("{CGROUP} is cgroup2, with {controllers}"));
    }
    let hybrid = is_cgroup2("/sys/fs/cgroup/unified");
    let v1 = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let controllers = v1.lines().filter(|line| !line.starts_with("0:")).count();
    Finding::answer(
        false,
        match (hybrid, controllers) {
            (true, _) => {
                "hybrid: cgroup2 at /sys/fs/cgroup/unified, controllers in version 1".into()
            }
            (false, 0) => format!("no cgroups are mounted at {CGROUP}"),
            (false, count) => format!("version 1: {count} hierarchies"),
        },
    )
}

/// Whether a cgroup of version 2 belongs to this user: the one that it is in, or that of its systemd.
fn delegated(environment: &Environment) -> Finding {
    if !is_cgroup2(CGROUP) {
        return Finding::answer(false, format!("{CGROUP} is no cgroup2"));
    }
    let uid = environment.uid;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let systemd = format!("/user.slice/user-{uid}.slice/user@{uid}.service");
    for group in [own.clone(), systemd] {
        let directory = PathBuf::from(format!("{CGROUP}{group}"));
        let writable = |file: &str| {
            accessat(CWD, directory.join(file), Access::WRITE_OK, AtFlags::EACCESS).is_ok()
        };
        if !writable("") || !writable("cgroup.procs") {
            continue;
        }
        let controllers =
            fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
        let has = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
        let listed = controllers.trim().replace(' ', ", ");
        let shown = group.escape_debug();
        let listed = if listed.is_empty() { "no controllers".to_owned() } else { listed };
        let evidence = format!("uid {uid} may write to the cgroup {shown}, with {listed}");
        return Finding::answer(has("memory") && has("pids"), evidence);
    }
    let shown = own.escape_debug();
    Finding::answer(false, format!("uid {uid} may not write to its cgroup {shown}"))
}

fn ptrace() -> Finding {
    match sysctl("kernel.yama.ptrace_scope").as_deref() {
        Some(scope @ ("2" | "3")) => {
            Finding::answer(false, format!("kernel.yama.ptrace_scope is {scope}"))
        }
        Some(scope) => Finding::answer(true, format!("kernel.yama.ptrace_scope is {scope}")),
        None => Finding::answer(true, "there is no kernel.yama.ptrace_scope"),
    }
}

fn executable(directory: &str) -> Finding {
    match statvfs(directory) {
        Ok(fs) if fs.f_flag.contains(StatVfsMountFlags::NOEXEC) => {
            Finding::answer(false, format!("{directory} is mounted noexec"))
        }
        Ok(_) => Finding::answer(true, format!("{directory} is not mounted noexec")),
        Err(error) => Finding::answer(false, format!("{directory}: {error}")),
    }
}

/// Which kernels there are for guests.
fn kernels(flavour: Flavour) -> Finding {
    let mut names: Vec<String> = Vec::new();
    if flavour == Flavour::Uml {
        names.extend(kernel::installed().map(|kernel| kernel.name));
    }
    if let Ok(cache) = Cache::of_user() {
        names.extend(cache.kernels(flavour).map(|cached| cached.kernel().name));
    }
    let missing = match Architecture::here() {
        _ if flavour == Flavour::Uml => None,
        Err(missing) => Some(missing.why),
        Ok(here) if in_path(here.qemu).is_some() => None,
        Ok(here) => Some(format!("{} is not in PATH", here.qemu)),
    };
    let launcher = missing.is_none();
    let evidence = match (missing, names.is_empty()) {
        (Some(why), _) => why,
        (None, true) => "nsharness kernel list has none".to_owned(),
        (None, false) => names.join(", "),
    };
    Finding::answer(launcher && !names.is_empty(), evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_zero_leaves_no_room_and_one_that_cannot_be_read_is_not_known() {
        assert_eq!(limit(Some("0".into())).value, Some(false));
        assert_eq!(limit(Some("15000".into())).value, Some(true));
        assert_eq!(limit(None).value, None);
    }

    #[test]
    fn a_program_without_privilege_is_no_helper() {
        let (has, why) = privilege(Path::new("/bin/sh"));
        assert!(!has && why.contains("neither set-user-ID"), "{why}");
        assert_eq!(helpers(&["no-such-program"]).value, Some(false));
    }
}
