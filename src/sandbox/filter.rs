//! What programs in a sandbox cannot ask of the kernel: calls that no scenario needs, that are not held back by
//! namespaces, or that reach much code that has nothing to do with files, mounts and ids.
//!
//! Calls for which the kernel first wants a capability of the first user namespace (modules, kexec, swap, clocks) are
//! not named: it refuses them by itself.

use std::sync::LazyLock;

use nix::errno::Errno;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use syscalls::Sysno;

use crate::sys::{self, Instruction};

/// Calls that are answered as by a kernel that is built without them: ENOSYS. Programs go on without them then, where
/// EPERM would be an error to them, as it is to runc, which wants a keyring of its own.
const REFUSED: &[&str] = &[
    // The session keyring is that of whoever runs nsharness, whatever the namespaces: keyrings(7).
    "add_key",
    "request_key",
    "keyctl",
    // The kernel's log, where kernel.dmesg_restrict is 0.
    "syslog",
    // Its contexts are counted for the whole machine (fs.aio-max-nr): io_setup(2).
    "io_setup",
    // What lies on memory nodes, and where: there are none in a container.
    "mbind",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "migrate_pages",
    "move_pages",
    // Large parts of the kernel for themselves.
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "modify_ldt",
    "quotactl",
    "quotactl_fd",
];

/// Families of sockets that there are: the others have no network namespaces (AF_VSOCK, AF_ALG), or a module of the
/// kernel is loaded for who asks.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// Of the internet, what is no stream and no datagram: raw sockets, by which tables of netfilter are written, and
/// protocols that are modules.
const TYPES_REFUSED: &[libc::c_int] =
    &[libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, libc::SOCK_DCCP];
/// The protocols of the internet that streams and datagrams may have; 0 is the usual one.
const PROTOCOLS: &[libc::c_int] =
    &[0, libc::IPPROTO_ICMP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMPV6];
/// The bits of a socket's type that are no flags: `SOCK_TYPE_MASK` of include/linux/net.h.
const TYPE_MASK: u64 = 0xf;

/// Calls of the ABI x32 have this bit: `__X32_SYSCALL_BIT` of arch/x86/include/uapi/asm/unistd.h.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// The filters; the kernel takes the strictest answer of all.
static FILTERS: LazyLock<Result<Vec<Vec<Instruction>>, BackendError>> =
    LazyLock::new(|| Ok(vec![with_abi(&calls()?), with_abi(&sockets()?)]));

/// Makes the filters, so that what is forked has them.
pub fn prepare() {
    LazyLock::force(&FILTERS);
}

/// Puts the filters before the calls of this process and all that come from it. A kernel that has none is as it is.
///
/// # Errors
/// Those of seccomp(2).
pub fn install() -> Result<(), Errno> {
    // What is no filter for this architecture is none for this kernel either.
    let Ok(filters) = &*FILTERS else { return Ok(()) };
    for filter in filters {
        match sys::filter_calls(filter) {
            Err(Errno::ENOSYS | Errno::EINVAL) => return Ok(()),
            installed => installed?,
        }
    }
    Ok(())
}

/// The number of a call, where the architecture has it.
fn number(name: &str) -> Option<i64> {
    name.parse::<Sysno>().ok().map(|call| i64::from(call.id()))
}

fn calls() -> Result<BpfProgram, BackendError> {
    let rules = REFUSED.iter().filter_map(|name| Some((number(name)?, Vec::new())));
    let refuse = SeccompAction::Errno(libc::ENOSYS as u32);
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules.collect(), SeccompAction::Allow, refuse, arch)?.try_into()
}

fn sockets() -> Result<BpfProgram, BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let argument = |index, is, value: libc::c_int| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, is, value as u64)
    };
    let none_of = |index, values: &[libc::c_int]| {
        values.iter().map(|value| argument(index, Ne, *value)).collect::<Result<Vec<_>, _>>()
    };
    let family = |of| argument(0, Eq, of);
    let unknown = || SeccompRule::new(none_of(0, FAMILIES)?);
    let mut socket = vec![
        unknown()?,
        SeccompRule::new(vec![family(libc::AF_NETLINK)?, argument(2, Ne, libc::NETLINK_ROUTE)?])?,
    ];
    for internet in [libc::AF_INET, libc::AF_INET6] {
        for kind in TYPES_REFUSED {
            let kind = argument(1, MaskedEq(TYPE_MASK), *kind)?;
            socket.push(SeccompRule::new(vec![family(internet)?, kind])?);
        }
        let mut other = none_of(2, PROTOCOLS)?;
        other.push(family(internet)?);
        socket.push(SeccompRule::new(other)?);
    }
    let calls = [("socket", socket), ("socketpair", vec![unknown()?])];
    let rules = calls.into_iter().filter_map(|(name, rules)| Some((number(name)?, rules)));
    let refuse = SeccompAction::Errno(libc::EAFNOSUPPORT as u32);
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules.collect(), SeccompAction::Allow, refuse, arch)?.try_into()
}

/// The filter, which ends with SIGSYS who calls as a program of another architecture (i386 on x86-64), with what tells
/// the ABI x32: it has the architecture of x86-64 and other numbers.
fn with_abi(program: &BpfProgram) -> Vec<Instruction> {
    let own =
        program.iter().map(|one| Instruction { code: one.code, jt: one.jt, jf: one.jf, k: one.k });
    abi().into_iter().chain(own).collect()
}

#[cfg(target_arch = "x86_64")]
fn abi() -> Vec<Instruction> {
    let code = |code: u32| code as u16;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    // The number is the first of `struct seccomp_data`.
    vec![
        Instruction { code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), jt: 0, jf: 0, k: 0 },
        Instruction {
            code: code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K),
            jt: 0,
            jf: 1,
            k: X32,
        },
        Instruction { code: code(libc::BPF_RET | libc::BPF_K), jt: 0, jf: 0, k: refuse },
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn abi() -> Vec<Instruction> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_call_that_is_refused_has_a_number() {
        let without: Vec<_> = REFUSED.iter().filter(|name| number(name).is_none()).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn there_are_filters_for_this_architecture() {
        let filters = FILTERS.as_ref().expect("filters");
        assert_eq!(filters.len(), 2);
    }
}
