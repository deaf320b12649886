//! The probes: one question each.

use std::fs;
use std::path::Path;

use super::{Environment, Finding};
use crate::model::profile::Settings;
use crate::sandbox::IdSource;
use crate::scenario::condition::KernelVersion;
use crate::scenario::plan::COMMON_IDS;

/// One question about an environment.
pub struct Probe {
    /// Its name in `requires:` and in conditions.
    pub name: &'static str,
    /// The question.
    pub question: &'static str,
    /// What to do where the answer is no.
    pub remedy: &'static str,
    /// How it is asked.
    pub how: How,
}

/// How a probe is asked.
pub enum How {
    /// Of the machine that nsharness runs on.
    Host(fn(&Environment) -> Finding),
    /// By a scenario: whether its last step succeeds.
    Scenario(&'static str),
    /// The same, of a kernel of this version or later: of an older one that cannot be asked so, the answer is known.
    Since(KernelVersion, bool, &'static str),
}

const fn scenario(
    name: &'static str,
    question: &'static str,
    remedy: &'static str,
    text: &'static str,
) -> Probe {
    Probe { name, question, remedy, how: How::Scenario(text) }
}

/// The probe whose question is whether anything can be asked.
pub const USERNS: &str = "userns";

const NEWER: &str = "run it on a newer kernel";
const OTHER: &str = "run it on another kernel";
const GUEST: &str = "run it in a guest kernel, by --on auto or --on uml";

/// Every probe. What the question is about stands in the steps: a world that cannot be set up is no
/// answer.
pub const ALL: &[Probe] = &[
    Probe {
        name: "root",
        question: "May scenarios run as real root, without a user namespace of their own?",
        remedy: "ask a guest by --on auto, or run as root with --privileged on a machine that may be harmed",
        how: How::Host(root),
    },
    scenario(
        USERNS,
        "Can a sandbox be made, with user, mount and pid namespaces of its own?",
        "lift what the evidence names; as root of a machine it takes a kernel with user namespaces",
        "{title: userns, steps: [stat: {path: .}]}",
    ),
    scenario(
        "userns.nested",
        "Can a user namespace be made inside of another one, with mounts of its own?",
        "raise user.max_user_namespaces, and run it in fewer namespaces inside of each other",
        "{title: nested, world: {tree: {a: dir}, actors: {box: {userns: {uid_map: [[0, 0, 1]]}, unshare: [mount]}}},
            steps: [mount: {as: box, type: tmpfs, at: a}]}",
    ),
    Probe {
        name: "ids",
        question: "Can a sandbox have more than one user and group id?",
        remedy: "add ranges to /etc/subuid and /etc/subgid and install newuidmap, or run as root",
        how: How::Host(ids),
    },
    scenario(
        "nfs",
        "Can this kernel serve NFS and mount it, as real root?",
        "run it in a guest kernel that has nfs and nfsd",
        "{title: nfs, world: {tree: {e: dir, m: dir}, nfs: {export: e, at: m, version: \"4.1\", squash: none}},
            steps: [write: {path: m/f, data: x}]}",
    ),
    Probe {
        name: "aufs",
        question: "Is the file system aufs known?",
        remedy: OTHER,
        how: How::Host(aufs),
    },
    scenario(
        "loop",
        "Can a file be attached to a loop device?",
        GUEST,
        "{title: loop, requires: [root], world: {tree: {disk: {image: ext4}, d: dir}, mounts: [
            mount: {type: tmpfs, at: d}]}, steps: [losetup: {file: disk, at: d/loop}]}",
    ),
    scenario(
        "ext4",
        "Can ext4 be mounted from a loop device?",
        GUEST,
        "{title: ext4, requires: [root], world: {tree: {disk: {image: ext4}, d: dir, m: dir}, mounts: [
            mount: {type: tmpfs, at: d}]}, steps: [losetup: {file: disk, at: d/loop},
            mount: {type: ext4, source: d/loop, at: m}]}",
    ),
    scenario(
        "xfs",
        "Can XFS be mounted from a loop device?",
        GUEST,
        "{title: xfs, requires: [root], world: {tree: {disk: {image: xfs}, d: dir, m: dir}, mounts: [
            mount: {type: tmpfs, at: d}]}, steps: [losetup: {file: disk, at: d/loop},
            mount: {type: xfs, source: d/loop, at: m}]}",
    ),
    scenario(
        "btrfs",
        "Can Btrfs be mounted from a loop device?",
        GUEST,
        "{title: btrfs, requires: [root], world: {tree: {disk: {image: btrfs}, d: dir, m: dir}, mounts: [
            mount: {type: tmpfs, at: d}]}, steps: [losetup: {file: disk, at: d/loop},
            mount: {type: btrfs, source: d/loop, at: m}]}",
    ),
    scenario(
        "hostfs",
        "Can a directory of the machine's host be mounted by hostfs? (User-Mode Linux)",
        "run it in User-Mode Linux, by --on uml",
        "{title: hostfs, requires: [root], world: {tree: {h: dir}}, steps: [mount: {type: hostfs, at: h}]}",
    ),
    scenario(
        "fuse",
        "Can a directory be mounted through FUSE?",
        GUEST,
        "{title: fuse, requires: [root], world: {tree: {a: dir, m: dir}}, steps: [fuse: {from: a, at: m},
            stat: {path: m}]}",
    ),
    scenario(
        "proc",
        "Can a new proc be mounted in a sandbox?",
        "run outside of a container, or with all of /proc visible",
        "{title: proc, world: {tree: {p: dir}}, steps: [mount: {type: proc, at: p}]}",
    ),
    scenario(
        "sysfs",
        "Can a new sysfs be mounted in a sandbox with a network namespace of its own?",
        "run outside of a container, or with all of /sys visible",
        "{title: sysfs, world: {tree: {s: dir}}, steps: [mount: {type: sysfs, at: s}]}",
    ),
    scenario(
        "mqueue",
        "Can mqueue be mounted in a sandbox with an IPC namespace of its own?",
        OTHER,
        "{title: mqueue, world: {tree: {q: dir}}, steps: [mount: {type: mqueue, at: q}]}",
    ),
    scenario(
        "cgroup2",
        "Can cgroup2 be mounted in a sandbox with a cgroup namespace of its own?",
        OTHER,
        "{title: cgroup2, world: {tree: {c: dir}}, steps: [mount: {type: cgroup2, at: c}]}",
    ),
    scenario(
        "tmpfs.user_xattr",
        "Does tmpfs keep user.* extended attributes? (Linux 6.6)",
        NEWER,
        "{title: xattr, world: {tree: {f: file}}, steps: [setxattr: {path: f, name: user.x, value: y}]}",
    ),
    scenario(
        "xattr.security_unchecked",
        "Does the kernel forget to ask for CAP_SYS_ADMIN where security.* attributes are set? (with the BPF \
         module of security, up to Linux 6.10)",
        OTHER,
        "{title: unchecked, world: {tree: {f: file}, actors: {box: {userns: {uid_map: [[0, 0, 1]]}}}}, steps: [
            setxattr: {as: box, path: f, name: security.x, value: y}]}",
    ),
    scenario(
        "tmpfs.idmap",
        "Can a mount of tmpfs be idmapped? (Linux 6.3)",
        NEWER,
        "{title: idmap, world: {tree: {a: dir}, mounts: [mount: {type: tmpfs, at: a}]}, steps: [
            open_tree: {path: a, flags: [clone], mount: m},
            mount_setattr: {mount: m, idmap: {uid_map: [[0, 0, 1]], gid_map: [[0, 0, 1]]}}]}",
    ),
    scenario(
        "ext4.idmap",
        "Can a mount of ext4 be idmapped, as real root? (Linux 5.12)",
        GUEST,
        "{title: idmap, requires: [root], world: {tree: {disk: {image: ext4}, d: dir, m: dir}, mounts: [
            mount: {type: tmpfs, at: d}]}, steps: [losetup: {file: disk, at: d/loop},
            mount: {type: ext4, source: d/loop, at: m}, open_tree: {path: m, flags: [clone], mount: t},
            mount_setattr: {mount: t, idmap: {uid_map: [[0, 1000, 1]], gid_map: [[0, 1000, 1]]}}]}",
    ),
    scenario(
        "xfs.idmap",
        "Can a mount of XFS be idmapped, as real root? (Linux 5.12)",
        GUEST,
        "{title: idmap, requires: [root], world: {tree: {disk: {image: xfs}, d: dir, m: dir}, mounts: [
            mount: {type: tmpfs, at: d}]}, steps: [losetup: {file: disk, at: d/loop},
            mount: {type: xfs, source: d/loop, at: m}, open_tree: {path: m, flags: [clone], mount: t},
            mount_setattr: {mount: t, idmap: {uid_map: [[0, 1000, 1]], gid_map: [[0, 1000, 1]]}}]}",
    ),
    scenario(
        "btrfs.idmap",
        "Can a mount of Btrfs be idmapped, as real root? (Linux 5.15)",
        GUEST,
        "{title: idmap, requires: [root], world: {tree: {disk: {image: btrfs}, d: dir, m: dir}, mounts: [
            mount: {type: tmpfs, at: d}]}, steps: [losetup: {file: disk, at: d/loop},
            mount: {type: btrfs, source: d/loop, at: m}, open_tree: {path: m, flags: [clone], mount: t},
            mount_setattr: {mount: t, idmap: {uid_map: [[0, 1000, 1]], gid_map: [[0, 1000, 1]]}}]}",
    ),
    scenario(
        "overlay",
        "Can an overlay be mounted in a user namespace? (Linux 5.11)",
        NEWER,
        "{title: overlay, world: {tree: {l: dir, u: dir, w: dir, m: dir}}, steps: [
            overlay: {at: m, lower: [l], upper: u, work: w}]}",
    ),
    scenario(
        "overlay.userxattr",
        "Can a rootless overlay keep its marks in user.* attributes? (Linux 5.11, and 6.6 for a layer on tmpfs)",
        NEWER,
        "{title: userxattr, world: {tree: {l/d/f: file, u: dir, w: dir, m: dir}}, steps: [
            overlay: {at: m, lower: [l], upper: u, work: w, options: [userxattr]},
            unlink: {path: m/d/f}, rmdir: {path: m/d}, mkdir: {path: m/d},
            getxattr: {path: u/d, name: user.overlay.opaque}]}",
    ),
    scenario(
        "overlay.redirect_dir",
        "May a rootless overlay without userxattr set redirect_dir=on? (yes on 6.1, no on 6.12 and later)",
        OTHER,
        "{title: redirect, world: {tree: {l: dir, u: dir, w: dir, m: dir}}, steps: [
            overlay: {at: m, lower: [l], upper: u, work: w, options: [redirect_dir=on]}]}",
    ),
    scenario(
        "overlay.lowerdir_plus",
        "Does overlayfs take its layers one by one as lowerdir+? (Linux 6.7)",
        NEWER,
        // Before Linux 6.5 any option is taken, and only looked at when the context is created.
        "{title: layers, world: {tree: {a: dir, b: dir}}, steps: [
            fsopen: {type: overlay, fd: o}, fsconfig: {fd: o, key: lowerdir+, value: a},
            fsconfig: {fd: o, key: lowerdir+, value: b}, fsconfig: {fd: o, command: create}]}",
    ),
    scenario(
        "overlay.data_only",
        "Does a rootless overlay with userxattr take data-only layers?",
        NEWER,
        "{title: data, world: {tree: {l: dir, d: dir, m: dir}}, steps: [
            overlay: {at: m, lower: [l], data: [d], options: [userxattr]}]}",
    ),
    Probe {
        name: "overlay.copy_up.replaces",
        question: "Does a directory that is copied up replace an empty one that has its name by now? (until Linux 7.2)",
        remedy: OTHER,
        // Before, a sandbox in a user namespace has no overlays.
        how: How::Since(KernelVersion(5, 11, 0), true, "{title: replaces, world: {tree: {l/d: dir, u: dir, w: dir, m: dir},
            mounts: [overlay: {at: m, lower: [l], upper: u, work: w}]}, steps: [
            open: {path: m/d, flags: [rdonly, directory], fd: d}, mkdir: {path: u/d}, chmod: {fd: d, mode: 0700}]}"),
    },
    scenario(
        "runtime",
        "Does the container runtime that was named by --runtime make a container, and run a program in it?",
        "name a runtime that does, as by `--runtime runc`",
        "{title: runtime, world: {container: {}}, steps: [create: {}, start: {}]}",
    ),
    scenario(
        "overlay.program",
        "Does the program that was named by --overlay mount an overlay?",
        "name a program that does, as by `--overlay fuse-overlayfs`",
        "{title: program, world: {tree: {l/f: {file: x}, u: dir, w: dir, m: dir}, mounts: [
            overlay: {at: m, lower: [l], upper: u, work: w, by: program}]}, steps: [stat: {path: m/f}]}",
    ),
    scenario(
        "mount_setattr",
        "Is there mount_setattr(2)? (Linux 5.12)",
        NEWER,
        "{title: setattr, world: {tree: {a: dir}, mounts: [bind: {from: a, at: a}]}, steps: [
            mount_setattr: {at: a, set: [ro]}]}",
    ),
    scenario(
        "move_mount.beneath",
        "Can a mount be put beneath another? (Linux 6.5)",
        NEWER,
        "{title: beneath, world: {tree: {a: dir}, mounts: [mount: {type: tmpfs, at: a}]}, steps: [
            fsopen: {type: tmpfs, fd: t}, fsconfig: {fd: t, command: create}, fsmount: {fd: t, mount: m},
            move_mount: {mount: m, at: a, beneath: true}]}",
    ),
    scenario(
        "move_mount.set_group",
        "Can a mount be added to a peer group? (Linux 5.15)",
        NEWER,
        "{title: set group, world: {tree: {a: dir, b: dir}, mounts: [mount: {type: tmpfs, at: a},
            propagation: {at: a, type: shared}, bind: {from: a, at: b}, propagation: {at: b, type: private}]}, steps: [
            move_mount: {from: a, at: b, set_group: true}]}",
    ),
    scenario(
        "move_mount.set_group_unbindable",
        "Can an unbindable mount be added to a peer group? (Linux 5.15 to 7.2)",
        OTHER,
        "{title: set group, world: {tree: {a: dir, b: dir}, mounts: [mount: {type: tmpfs, at: a},
            propagation: {at: a, type: shared}, bind: {from: a, at: b}, propagation: {at: b, type: unbindable}]}, steps: [
            move_mount: {from: a, at: b, set_group: true}]}",
    ),
    scenario(
        "umount.force",
        "Can a user namespace unmount its own file systems by force? (Linux 6.15)",
        NEWER,
        "{title: force, world: {tree: {a: dir}, actors: {box: {userns: {uid_map: [[0, 0, 1]]}, unshare: [mount]}}},
            steps: [mount: {as: box, type: tmpfs, at: a}, umount: {as: box, at: a, flags: [force]}]}",
    ),
    scenario(
        "time_namespace",
        "Are there time namespaces? (Linux 5.6)",
        NEWER,
        "{title: time, steps: [unshare: {namespaces: [time]}]}",
    ),
    Probe {
        name: "fs.protected_hardlinks",
        question: "Is the sysctl fs.protected_hardlinks set?",
        remedy: SYSCTL,
        how: How::Host(|environment| sysctl(environment.settings.protected_hardlinks.into())),
    },
    Probe {
        name: "fs.protected_symlinks",
        question: "Is the sysctl fs.protected_symlinks set?",
        remedy: SYSCTL,
        how: How::Host(|environment| sysctl(environment.settings.protected_symlinks.into())),
    },
    Probe {
        name: "fs.protected_regular",
        question: "Is the sysctl fs.protected_regular set? (Linux 4.19)",
        remedy: SYSCTL,
        how: How::Host(|environment| since_4_19(environment, |set| set.protected_regular)),
    },
    Probe {
        name: "fs.protected_fifos",
        question: "Is the sysctl fs.protected_fifos set? (Linux 4.19)",
        remedy: SYSCTL,
        how: How::Host(|environment| since_4_19(environment, |set| set.protected_fifos)),
    },
];

/// What a machine's owner set; nsharness changes no sysctl.
const SYSCTL: &str = "set the sysctl, on a machine that may be changed";

fn sysctl(set: u8) -> Finding {
    Finding::answer(set > 0, format!("it is {set}"))
}

fn since_4_19(environment: &Environment, set: fn(&Settings) -> u8) -> Finding {
    if environment.version < KernelVersion(4, 19, 0) {
        return Finding::answer(false, "it came with Linux 4.19");
    }
    sysctl(set(&environment.settings))
}

/// What the model does that a host may refuse: it harms nobody.
const MODELLED: &str = "the model can do that";

pub fn root(environment: &Environment) -> Finding {
    if environment.simulated {
        return Finding::answer(true, MODELLED);
    }
    match (environment.uid, environment.privileged) {
        (0, true) => Finding::answer(true, "uid 0 and --privileged"),
        (0, false) => {
            Finding::answer(false, "running as root, but real root on this machine was not allowed")
        }
        (uid, _) => Finding::answer(false, format!("running as uid {uid}")),
    }
}

fn ids(environment: &Environment) -> Finding {
    if environment.simulated {
        return Finding::answer(true, MODELLED);
    }
    match IdSource::detect().maps(&[COMMON_IDS]) {
        Ok(maps) => {
            let lines: Vec<_> = maps.uid.iter().map(|(i, o, c)| format!("{i} {o} {c}")).collect();
            Finding::answer(true, format!("uid_map {}", lines.join(", ")))
        }
        Err(missing) => {
            let reasons: Vec<_> = missing
                .iter()
                .map(|missing| format!("{}: {}", missing.what, missing.why))
                .collect();
            Finding::answer(false, reasons.join("; "))
        }
    }
}

fn knows(file_system: &str) -> bool {
    fs::read_to_string("/proc/filesystems").is_ok_and(|table| {
        table.lines().any(|line| line.split_whitespace().last() == Some(file_system))
    })
}

fn aufs(environment: &Environment) -> Finding {
    if environment.simulated {
        return Finding::answer(false, "the model has no aufs");
    }
    let module = Path::new("/sys/module/aufs").exists();
    Finding::answer(
        knows("aufs") || module,
        if knows("aufs") { "in /proc/filesystems" } else { "not in /proc/filesystems" },
    )
}
