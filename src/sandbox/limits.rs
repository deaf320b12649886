//! What a sandbox may take of the machine, beside its time and the size of its root.

use nix::errno::Errno;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};

use super::{IdSource, Sandbox, errno};
use crate::scenario::condition::KernelVersion;
use crate::scenario::plan::Needs;

/// How many processes each user of a sandbox may have.
pub const PROCESSES: u64 = 256;
/// Since when processes are counted by user namespace, so that those of a sandbox are not counted with those that
/// its user has outside of it: commit 21d1c5e386bc.
const COUNTED_BY_NAMESPACE: KernelVersion = KernelVersion(5, 14, 0);
/// The first that is ended where memory runs out: proc_pid_oom_score_adj(5).
const FIRST: &[u8] = b"1000";

/// Bounds how many processes there can be, by RLIMIT_NPROC. Real root has none.
///
/// # Errors
/// Those of setrlimit(2).
pub fn processes(ids: &IdSource, needs: &Needs) -> Result<(), Errno> {
    let alone = matches!(ids, IdSource::Root { .. }) || is_counted_by_namespace();
    if needs.privileged || !alone {
        return Ok(());
    }
    let now = rustix::process::getrlimit(Resource::Nproc);
    let most = now.maximum.map_or(PROCESSES, |most| most.min(PROCESSES));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    rustix::process::setrlimit(Resource::Nproc, limit).map_err(errno)
}

fn is_counted_by_namespace() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    KernelVersion::of_release(&release).is_some_and(|version| version >= COUNTED_BY_NAMESPACE)
}

/// Where memory runs out, the processes of a sandbox are ended before any other; with its first one goes what it has
/// in file systems in memory.
///
/// # Errors
/// Those of open(2) and write(2).
pub fn memory(sandbox: &Sandbox) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&sandbox.proc, "self/oom_score_adj", flags, Mode::empty());
    rustix::io::write(file.map_err(errno)?, FIRST).map(drop).map_err(errno)
}
