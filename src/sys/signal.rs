//! SIGINT, SIGTERM and SIGHUP as a flag; SIGXFSZ as an error.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(signal: libc::c_int) {
    if INTERRUPTED.swap(true, Ordering::Relaxed) {
        // SAFETY: both are async-signal-safe (signal-safety(7)), and nobody else has to do with the handlers. The
        // signal comes again when this handler returns.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}

extern "C" fn pass_over(_: libc::c_int) {}

/// Notes SIGINT, SIGTERM and SIGHUP from now on instead of dying of them; a second one, the same or another, kills.
/// What whoever started this process has ignored, as nohup(1) does, stays ignored. What is written beyond
/// RLIMIT_FSIZE is an error (EFBIG) and no death.
///
/// # Errors
/// Those of sigaction(2).
pub fn watch_for_interrupts() -> Result<(), Errno> {
    let note = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler touches an atomic and makes calls that are async-signal-safe.
        let before = unsafe { sigaction(signal, &note) }?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: it is what was there before.
            unsafe { sigaction(signal, &before) }?;
        }
    }
    // A handler, unlike SIG_IGN, is nothing that a program would inherit by execve(2).
    let pass_over =
        SigAction::new(SigHandler::Handler(pass_over), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGXFSZ, &pass_over) }.map(drop)
}

/// Takes back what this process ignores or handles, for a program that it becomes: a signal that is ignored stays
/// so (execve(2)), and Rust has SIGPIPE ignored.
///
/// # Errors
/// Those of sigaction(2).
pub fn default_signals() -> Result<(), Errno> {
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGPIPE, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the default action runs no code of this process.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Whether one of the signals has come.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
