//! What a process is about to ask the kernel, or was answered, while it is traced.

use nix::errno::Errno;
use nix::unistd::Pid;

/// The numbers of prctl(2) that no kernel has, by which a traced process says where it is.
const MARK: libc::c_int = 0x6e73_6800;

/// Where a traced process says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It begins with the step of this number.
    Step(usize),
    /// It has ended the step.
    Done,
    /// It becomes a program that is let in.
    Program,
}

/// Says to a tracer where this process is. Without a tracer it is a system call that fails.
pub fn mark(mark: Mark) {
    let (what, number) = match mark {
        Mark::Step(index) => (MARK, index),
        Mark::Done => (MARK + 1, 0),
        Mark::Program => (MARK + 2, 0),
    };
    // SAFETY: prctl(2) refuses an operation that it does not know, and does nothing.
    unsafe { libc::prctl(what, number as libc::c_ulong, 0, 0, 0) };
}

/// What a call of this number with these arguments says, if it is [`mark`].
pub fn as_mark(number: u64, arguments: &[u64; 6]) -> Option<Mark> {
    if number != libc::SYS_prctl as u64 {
        return None;
    }
    match libc::c_int::try_from(arguments[0]).ok()?.checked_sub(MARK)? {
        0 => Some(Mark::Step(usize::try_from(arguments[1]).ok()?)),
        1 => Some(Mark::Done),
        2 => Some(Mark::Program),
        _ => None,
    }
}

/// Where a traced process has stopped.
#[derive(Clone, Copy, Debug)]
pub enum SyscallStop {
    /// Before a system call: its number and arguments.
    Entry(u64, [u64; 6]),
    /// After it: what it returned, below 0 an error.
    Exit(i64),
    /// Elsewhere.
    Other,
}

/// Where a process has stopped that this one traces: `PTRACE_GET_SYSCALL_INFO` of ptrace(2), since Linux 5.3. A
/// User-Mode Linux does not have it (it is no `HAVE_ARCH_TRACEHOOK`): there the registers say it, and whoever
/// asks says whether the process is in a call already.
///
/// # Errors
/// Those of ptrace(2).
pub fn syscall_stop(process: Pid, inside: bool) -> Result<SyscallStop, Errno> {
    let info = match nix::sys::ptrace::syscall_info(process) {
        Err(Errno::EIO) => return by_registers(process, inside),
        info => info?,
    };
    Ok(match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: `op` says that this is the part of the union that the kernel has filled.
            let entry = unsafe { info.u.entry };
            SyscallStop::Entry(entry.nr, entry.args)
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: as above.
            SyscallStop::Exit(unsafe { info.u.exit }.sval)
        }
        _ => SyscallStop::Other,
    })
}

#[cfg(target_arch = "x86_64")]
fn by_registers(process: Pid, inside: bool) -> Result<SyscallStop, Errno> {
    let registers = nix::sys::ptrace::getregs(process)?;
    Ok(if inside {
        SyscallStop::Exit(registers.rax as i64)
    } else {
        // The calling convention of system calls: syscall(2).
        let libc::user_regs_struct { rdi, rsi, rdx, r10, r8, r9, .. } = registers;
        SyscallStop::Entry(registers.orig_rax, [rdi, rsi, rdx, r10, r8, r9])
    })
}

/// There is no User-Mode Linux of any other kind.
#[cfg(not(target_arch = "x86_64"))]
fn by_registers(_process: Pid, _inside: bool) -> Result<SyscallStop, Errno> {
    Err(Errno::EIO)
}
