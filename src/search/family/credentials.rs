//! Operations on ids, capabilities and what else a process is.

use crate::scenario::operation::{
    CapAmbient, CapBset, Capset, Getcred, Keepcaps, NoNewPrivs, Operation, Setgid, Setgroups,
    Setresgid, Setresuid, Setuid, Umask,
};
use crate::scenario::scalar::{Capability, Mode};
use crate::search::random::Random;

/// Capabilities that something of what is modelled follows from, by name.
const CAPABILITIES: &[&str] = &[
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_setfcap",
    "cap_sys_admin",
    "cap_mknod",
];
/// File mode creation masks.
pub const MASKS: &[u32] = &[0, 0o22, 0o77, 0o27, 0o777];

#[derive(Clone, Copy)]
enum What {
    User,
    Group,
    Users,
    Groups,
    Supplementary,
    Sets,
    Ambient,
    Bounding,
    Keep,
    NoNew,
    Mask,
    Look,
}

const WEIGHTS: &[(usize, What)] = &[
    (2, What::User),
    (2, What::Group),
    (5, What::Users),
    (4, What::Groups),
    (4, What::Supplementary),
    (6, What::Sets),
    (1, What::Ambient),
    (1, What::Bounding),
    (2, What::Keep),
    (1, What::NoNew),
    (6, What::Mask),
    (3, What::Look),
];

/// Some capabilities, each with this chance in a hundred.
pub fn some_capabilities(random: &mut Random, percent: usize) -> Vec<Capability> {
    let names = random.some(percent, CAPABILITIES);
    names.into_iter().map(|name| name.parse().expect("a capability")).collect()
}

/// One operation on what a process is. The ids are those of `ids`; where there is one alone, groups stay.
pub fn operation(random: &mut Random, ids: &[u32]) -> Operation {
    let an_id = |random: &mut Random| random.percent(50).then(|| *random.pick(ids));
    match random.weighted(WEIGHTS) {
        What::User => Operation::Setuid(Setuid { uid: *random.pick(ids) }),
        What::Group => Operation::Setgid(Setgid { gid: *random.pick(ids) }),
        What::Users => {
            let (ruid, euid, suid) = (an_id(random), an_id(random), an_id(random));
            Operation::Setresuid(Setresuid { ruid, euid, suid })
        }
        What::Groups => {
            let (rgid, egid, sgid) = (an_id(random), an_id(random), an_id(random));
            Operation::Setresgid(Setresgid { rgid, egid, sgid })
        }
        What::Supplementary if ids.len() > 1 => {
            Operation::Setgroups(Setgroups { groups: random.some(30, ids) })
        }
        What::Sets => capset(random),
        What::Ambient => Operation::CapAmbient(CapAmbient { raise: some_capabilities(random, 10) }),
        What::Bounding => Operation::CapBset(CapBset { drop: some_capabilities(random, 20) }),
        What::Keep => Operation::Keepcaps(Keepcaps { keep: random.percent(70) }),
        What::NoNew => Operation::NoNewPrivs(NoNewPrivs {}),
        What::Mask => Operation::Umask(Umask { mode: Mode(*random.pick(MASKS)) }),
        What::Supplementary | What::Look => Operation::Getcred(Getcred {}),
    }
}

fn capset(random: &mut Random) -> Operation {
    let permitted = random.percent(60).then(|| some_capabilities(random, 70));
    let effective = match &permitted {
        Some(permitted) if random.percent(90) => random.some(80, permitted),
        _ => some_capabilities(random, 50),
    };
    let inheritable = random.percent(25).then(|| some_capabilities(random, 40));
    Operation::Capset(Capset { effective: Some(effective), permitted, inheritable })
}
