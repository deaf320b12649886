//! NFS for real: directories of the world are exported by a server of this kernel and mounted back.
//!
//! No program has a part in it: what exportfs(8) and rpc.mountd(8) tell the kernel is written into its
//! caches, and what nfsdcld(8) answers is answered by the [`Server`]'s own process.
//!
//! Each export has a client of its own, with an address of its own: what a server allows is decided by
//! the client's address, and root of a server's tree is one directory for each client.

mod groups;
mod loopback;
mod server;
mod tracking;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags};

use super::perform::{Failure, Named};
use crate::missing::Missing;
use crate::sandbox::Sandbox;
use crate::scenario::scalar::Errno as ErrnoName;
use crate::scenario::world::{Nfs, NfsVersion, Squash};
use crate::transcript::Breakage;

pub use server::Server;

/// Caches of the server that hold what one plan exports.
const CACHES: [&str; 4] = ["auth.unix.ip", "auth.unix.gid", "nfsd.export", "nfsd.fh"];
/// How long what is written into the caches holds: longer than any plan.
const VALID_SECONDS: u64 = 86_400;
/// Nothing is kept that a look at the server would show otherwise; a server that is gone is an error.
const OPTIONS: &str = "nosharecache,actimeo=0,lookupcache=none,soft,timeo=50,retrans=1";

/// How every breakage of this part begins.
const STAGE: &str = "world: nfs: ";

/// Flags of an export: include/uapi/linux/nfsd/export.h.
mod flags {
    pub const READ_ONLY: u32 = 0x1;
    pub const INSECURE_PORT: u32 = 0x2;
    pub const ROOT_SQUASH: u32 = 0x4;
    pub const ALL_SQUASH: u32 = 0x8;
    pub const NO_SUBTREE_CHECK: u32 = 0x400;
    pub const FSID: u32 = 0x2000;
}

/// Exports and mounts what the world says, over the server of this network namespace.
///
/// # Errors
/// The first of them that the kernel refuses.
pub fn set_up(exports: &[Nfs], sandbox: &Sandbox) -> Result<Mounted, Breakage> {
    let proc = sandbox.proc.as_fd();
    let mut mounted = Mounted::default();
    // What was exported before pins the file system of another scenario, or names a directory of it.
    for cache in CACHES {
        tell(proc, cache, "flush", "1\n")
            .map_err(|failure| breakage(format!("flush {cache}"), &failure))?;
    }
    let until = valid_until();
    let managed: BTreeMap<_, _> = exports.iter().flat_map(|nfs| nfs.manage_gids.clone()).collect();
    if !managed.is_empty() {
        groups::answer(&managed, until, proc)
            .map_err(|failure| breakage("manage_gids".into(), &failure))?;
    }
    for (nfs, number) in exports.iter().zip(1..) {
        let place = |what: &str, path: &str| format!("{what} {path}");
        export(nfs, number, until, proc)
            .map_err(|e| breakage(place("export", nfs.export.as_str()), &e))?;
        mount_back(nfs, number, proc).map_err(|e| breakage(place("mount", nfs.at.as_str()), &e))?;
        mounted.0.push(format!("/{}", nfs.at));
    }
    Ok(mounted)
}

/// Mounts of a world, which are unmounted with this: a client asks its server as it is unmounted, and of what
/// the server exports a process of the sandbox may be the server, by FUSE. Processes of a sandbox end in no
/// order.
#[derive(Debug, Default)]
pub struct Mounted(Vec<String>);

impl Drop for Mounted {
    fn drop(&mut self) {
        for at in &self.0 {
            // A scenario may have unmounted it itself.
            let _ = umount2(at.as_str(), MntFlags::MNT_DETACH);
        }
    }
}

/// What is not there where a breakage says that this kernel lacks NFS.
pub fn missing(breakage: &Breakage) -> Option<Missing> {
    let lacks = breakage.errno == Some(ErrnoName(Errno::ENODEV as i32));
    (lacks && breakage.stage.starts_with(STAGE)).then(|| {
        let why = format!("this kernel lacks a file system of it: {}", breakage.detail);
        Missing::new("NFS", why, "run it in a guest kernel that has nfs, nfsd and rpc_pipefs")
    })
}

/// Until when what the caches are told holds, in seconds of Unix time.
fn valid_until() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + VALID_SECONDS
}

fn breakage(what: String, failure: &Failure) -> Breakage {
    let errno = ErrnoName(failure.errno as i32);
    Breakage {
        stage: format!("{STAGE}{what}"),
        detail: format!("{errno} from {}", failure.syscall),
        errno: Some(errno),
    }
}

/// Writes what rpc.mountd(8) would answer when the server asked.
fn export(nfs: &Nfs, number: u8, until: u64, proc: BorrowedFd<'_>) -> Result<(), Failure> {
    let client = format!("client{number}");
    let address = loopback::address(number);
    let path = quoted(&format!("/{}", nfs.export));
    let squash = match nfs.squash {
        Squash::None => 0,
        Squash::Root => flags::ROOT_SQUASH,
        Squash::All => flags::ALL_SQUASH,
    };
    let read_only = if nfs.ro { flags::READ_ONLY } else { 0 };
    let options = flags::INSECURE_PORT | flags::NO_SUBTREE_CHECK | flags::FSID | squash | read_only;
    let (uid, gid) = nfs.anonymous();
    tell(proc, "auth.unix.ip", "channel", &format!("nfsd {address} {until} {client}\n"))?;
    let export = format!("{client} {path} {until} {options} {uid} {gid} 0\n");
    tell(proc, "nfsd.export", "channel", &export)?;
    // File system number 0 is the root of what the client sees.
    tell(proc, "nfsd.fh", "channel", &format!("{client} 1 \\x00000000 {until} {path}\n"))?;
    Ok(())
}

/// Writes into a file of a cache of this network namespace.
fn tell(proc: BorrowedFd<'_>, cache: &str, file: &str, text: &str) -> Result<(), Failure> {
    let path = format!("self/net/rpc/{cache}/{file}");
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(proc, path, flags, Mode::empty()).of("open")?;
    rustix::io::write(file, text.as_bytes()).of("write").map(drop)
}

/// A word of a cache's line: what would end it is written in octal digits.
fn quoted(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    path.bytes()
        .map(
            |byte| if plain(byte) { char::from(byte).to_string() } else { format!("\\{byte:03o}") },
        )
        .collect()
}

/// Mounts an export under a host name of its own: by its name a client is known again, and one that the
/// server knows from another address would be asked over that one's connection.
fn mount_back(nfs: &Nfs, number: u8, proc: BorrowedFd<'_>) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = rustix::fs::openat(proc, "self/ns/uts", flags, Mode::empty()).of("open")?;
    unshare(CloneFlags::CLONE_NEWUTS).of("unshare")?;
    let mounted = nix::unistd::sethostname(format!("client{number}"))
        .of("sethostname")
        .and_then(|()| mount_as(nfs, number).of("mount"));
    setns(own, CloneFlags::CLONE_NEWUTS).of("setns")?;
    mounted
}

fn mount_as(nfs: &Nfs, number: u8) -> Result<(), Errno> {
    let address = loopback::address(number);
    let version = match nfs.version {
        NfsVersion::V40 => "4.0",
        NfsVersion::V41 => "4.1",
        NfsVersion::V42 => "4.2",
    };
    let options = format!("addr={address},clientaddr={address},vers={version},{OPTIONS}");
    let source = format!("{address}:/");
    let at = nfs.at.as_str();
    mount(Some(source.as_str()), at, Some("nfs4"), MsFlags::empty(), Some(options.as_str()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_would_end_a_word_is_quoted() {
        assert_eq!(super::quoted("/a b\\c"), "/a\\040b\\134c");
        assert_eq!(super::quoted("/ä"), "/\\303\\244");
    }
}
