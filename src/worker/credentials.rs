//! Ids, groups, capabilities and process attributes.

use std::os::fd::BorrowedFd;

use nix::sys::signal::{Signal, raise};
use nix::unistd::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::container::IN_CONTAINER;
use super::observe::read_proc;
use super::perform::{Named, Performed};
use crate::scenario::operation::CredentialOperation;
use crate::scenario::scalar::Capability;
use crate::transcript::{Outcome, Value, Values};

/// The environment variable that makes the binary one of the programs of a world.
pub const PROGRAM_NAME: &str = "NSHARNESS_PROGRAM";
/// What a system call takes as "leave it as it is".
const LEAVE: u32 = u32::MAX;

pub fn perform(operation: CredentialOperation<'_>, proc: BorrowedFd<'_>) -> Performed {
    match operation {
        CredentialOperation::Setuid(step) => {
            nix::unistd::setuid(Uid::from_raw(step.uid)).of("setuid")?
        }
        CredentialOperation::Setgid(step) => {
            nix::unistd::setgid(Gid::from_raw(step.gid)).of("setgid")?
        }
        CredentialOperation::Setresuid(step) => {
            let id = |id: Option<u32>| Uid::from_raw(id.unwrap_or(LEAVE));
            nix::unistd::setresuid(id(step.ruid), id(step.euid), id(step.suid)).of("setresuid")?;
        }
        CredentialOperation::Setresgid(step) => {
            let id = |id: Option<u32>| Gid::from_raw(id.unwrap_or(LEAVE));
            nix::unistd::setresgid(id(step.rgid), id(step.egid), id(step.sgid)).of("setresgid")?;
        }
        CredentialOperation::Setgroups(step) => {
            let groups: Vec<_> = step.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
            nix::unistd::setgroups(&groups).of("setgroups")?;
        }
        CredentialOperation::Getcred(_) => return Ok(Outcome::Ok(credentials(Some(proc)))),
        CredentialOperation::Capset(step) => {
            let now = rustix::thread::capabilities(None).of("capget")?;
            let set = |wanted: &Option<Vec<Capability>>, now| {
                wanted.as_deref().map_or(now, capability_set)
            };
            let sets = CapabilitySets {
                effective: set(&step.effective, now.effective),
                permitted: set(&step.permitted, now.permitted),
                inheritable: set(&step.inheritable, now.inheritable),
            };
            rustix::thread::set_capabilities(None, sets).of("capset")?;
        }
        CredentialOperation::CapAmbient(step) => {
            for capability in &step.raise {
                rustix::thread::configure_capability_in_ambient_set(
                    capability_set(&[*capability]),
                    true,
                )
                .of("prctl PR_CAP_AMBIENT_RAISE")?;
            }
        }
        CredentialOperation::CapBset(step) => {
            for capability in &step.drop {
                rustix::thread::remove_capability_from_bounding_set(capability_set(&[*capability]))
                    .of("prctl PR_CAPBSET_DROP")?;
            }
        }
        CredentialOperation::Keepcaps(step) => {
            rustix::thread::set_keep_capabilities(step.keep).of("prctl PR_SET_KEEPCAPS")?
        }
        CredentialOperation::NoNewPrivs(_) => {
            rustix::thread::set_no_new_privs(true).of("prctl PR_SET_NO_NEW_PRIVS")?
        }
        CredentialOperation::Umask(step) => {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(step.mode.0));
        }
    }
    Ok(Outcome::done())
}

/// Capabilities as the set that system calls take.
pub fn capability_set(capabilities: &[Capability]) -> CapabilitySet {
    CapabilitySet::from_bits_retain(
        capabilities.iter().fold(0, |bits, capability| bits | capability.bit()),
    )
}

/// The ids, groups and capabilities of this process. The bounding set is read where there is a proc of the sandbox:
/// prctl(2) tells of one capability at a time.
pub fn credentials(proc: Option<BorrowedFd<'_>>) -> Values {
    let mut values = Values::new();
    let mut add = |name: &str, value: Value| drop(values.insert(name.into(), value));
    if let Ok(ids) = nix::unistd::getresuid() {
        add("uid", ids.real.as_raw().into());
        add("euid", ids.effective.as_raw().into());
        add("suid", ids.saved.as_raw().into());
    }
    if let Ok(ids) = nix::unistd::getresgid() {
        add("gid", ids.real.as_raw().into());
        add("egid", ids.effective.as_raw().into());
        add("sgid", ids.saved.as_raw().into());
    }
    if let Ok(mut groups) = nix::unistd::getgroups() {
        groups.sort_unstable_by_key(|gid| gid.as_raw());
        add("groups", Value::List(groups.into_iter().map(|gid| gid.as_raw().into()).collect()));
    }
    // A capability that the kernel does not know is in no set and an error in the bounding set.
    let is_bounding =
        |one: Capability| rustix::thread::capability_is_in_bounding_set(capability_set(&[one]));
    let known = known_capabilities(|one| is_bounding(one).is_ok());
    let bounding = proc.and_then(bounding_in_proc).unwrap_or_else(|| {
        let one_by_one = Capability::all().filter(|one| is_bounding(*one).unwrap_or(false));
        one_by_one.fold(0, |bits, capability| bits | capability.bit())
    });
    let named = |bits: u64| -> Value {
        match bits & known {
            0 => "none".into(),
            bits if bits == known => "all".into(),
            bits => {
                let names =
                    Capability::all().filter(|c| bits & c.bit() != 0).map(|c| c.to_string().into());
                Value::List(names.collect())
            }
        }
    };
    let mut ambient = 0;
    if let Ok(sets) = rustix::thread::capabilities(None) {
        // No capability is ambient that is not permitted and inheritable: capabilities(7).
        let possible = sets.permitted.bits() & sets.inheritable.bits();
        for capability in Capability::all().filter(|capability| possible & capability.bit() != 0) {
            let set = capability_set(&[capability]);
            if rustix::thread::capability_is_in_ambient_set(set).unwrap_or(false) {
                ambient |= capability.bit();
            }
        }
        add("effective", named(sets.effective.bits()));
        add("permitted", named(sets.permitted.bits()));
        add("inheritable", named(sets.inheritable.bits()));
    }
    add("bounding", named(bounding));
    add("ambient", named(ambient));
    if let Ok(set) = rustix::thread::no_new_privs() {
        add("no_new_privs", set.into());
    }
    values
}

/// The capabilities up to the last one that the kernel knows: it has a number for each, without a gap
/// (include/uapi/linux/capability.h, CAP_LAST_CAP).
fn known_capabilities(knows: impl Fn(Capability) -> bool) -> u64 {
    let all: Vec<_> = Capability::all().collect();
    let unknown = all.iter().rev().take_while(|capability| !knows(**capability)).count();
    all[..all.len() - unknown].iter().fold(0, |bits, capability| bits | capability.bit())
}

/// The bounding set of this process as proc_pid_status(5) has it. In a container something else may be where proc is
/// expected.
fn bounding_in_proc(proc: BorrowedFd<'_>) -> Option<u64> {
    if rustix::fs::fstatfs(proc).ok()?.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return None;
    }
    let status = read_proc(proc, "self/status")?;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

/// What `program: credentials` does: prints the credentials that it runs with, or does what its
/// arguments say. Returns its exit status.
pub fn run_program(arguments: &[String]) -> u8 {
    if std::env::var_os(PROGRAM_NAME).is_some_and(|name| name == IN_CONTAINER) {
        return u8::from(super::container::serve().is_err());
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["echo", texts @ ..] => println!("{}", texts.join(" ")),
        ["exit", status] => return status.parse().unwrap_or(2),
        ["signal", number] => {
            let signal = number.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
            let _ = signal.map(raise);
        }
        // An interpreter is given the name of its script, and tells its credentials too.
        _ => println!("{}", serde_json::to_string(&credentials(None)).unwrap_or_default()),
    }
    0
}
