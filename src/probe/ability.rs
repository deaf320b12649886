//! What a rootless container engine could do here, by what the probes found.

use super::Environment;

/// Something that an engine does, and the probes that must all be true for it.
struct Ability {
    what: &'static str,
    needs: &'static [&'static str],
}

/// What engines do, and then what this program does, the most important first.
const ABILITIES: &[Ability] = &[
    Ability { what: "run containers, in namespaces of their own", needs: &["userns"] },
    Ability { what: "have images with several users: map 65536 ids", needs: &["userns", "ids"] },
    Ability {
        what: "keep layers by the kernel's overlay",
        needs: &["userns", "overlay.userxattr"],
    },
    Ability {
        what: "keep them in the home directory",
        needs: &["userns", "overlay.userxattr", "storage"],
    },
    Ability { what: "keep layers by fuse-overlayfs", needs: &["userns", "fuse.device"] },
    Ability { what: "give a container its own /proc", needs: &["userns", "proc"] },
    Ability { what: "give a container its own /sys", needs: &["userns", "sysfs"] },
    Ability {
        what: "limit the memory and processes of a container",
        needs: &["cgroup.v2", "cgroup.delegated"],
    },
    Ability { what: "run containers in containers", needs: &["userns", "userns.nested", "proc"] },
    Ability {
        what: "mount FUSE file systems outside of containers",
        needs: &["fuse.device", "fusermount", "new_privs"],
    },
    Ability { what: "ask guests in any User-Mode Linux (--on uml)", needs: &["uml", "ptrace"] },
    Ability { what: "ask guests in QEMU (--on qemu:VERSION)", needs: &["qemu"] },
];

/// What is said of an ability.
#[derive(Debug)]
pub struct Verdict {
    /// What it is about.
    pub what: &'static str,
    /// Whether it can be done; `None` where a probe that decides has no answer.
    pub can: Option<bool>,
    /// The probes because of which it cannot, or is not known.
    pub because: Vec<&'static str>,
}

/// What could be done in an environment. What depends on questions that were not asked of it, as those about the
/// programs of a guest that has none, is left out.
pub fn verdicts(environment: &Environment) -> Vec<Verdict> {
    let asked = ABILITIES.iter().filter(|ability| {
        ability.needs.iter().all(|name| environment.findings.contains_key(*name))
    });
    let verdicts = asked.map(|ability| {
        let value = |name: &&str| environment.findings[*name].value;
        let is = |wanted: Option<bool>| {
            ability.needs.iter().copied().filter(|name| value(name) == wanted).collect::<Vec<_>>()
        };
        let (no, unknown) = (is(Some(false)), is(None));
        let (can, because) = match (no.is_empty(), unknown.is_empty()) {
            (false, _) => (Some(false), no),
            (true, false) => (None, unknown),
            (true, true) => (Some(true), Vec::new()),
        };
        Verdict { what: ability.what, can, because }
    });
    verdicts.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, all, of_machine};
    use super::*;

    #[test]
    fn every_ability_needs_probes_that_there_are() {
        let known = |name: &&str| all().iter().chain(of_machine()).any(|probe| probe.name == *name);
        assert!(ABILITIES.iter().flat_map(|ability| ability.needs).all(known));
    }

    #[test]
    fn what_is_refused_outweighs_what_is_not_known_and_what_was_not_asked_is_left_out() {
        let mut environment = Environment::of_host(false);
        let values =
            [("qemu", None), ("userns", Some(true)), ("uml", None), ("ptrace", Some(false))];
        for (name, value) in values {
            let finding = Finding { value, ..Finding::none("x") };
            environment.findings.insert(name.into(), finding);
        }
        let told: Vec<_> = verdicts(&environment)
            .into_iter()
            .map(|verdict| (verdict.can, verdict.because))
            .collect();
        assert_eq!(
            told,
            [(Some(true), vec![]), (Some(false), vec!["ptrace"]), (None, vec!["qemu"])]
        );
    }
}
