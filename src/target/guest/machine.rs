//! A running machine: processes that end together with nsharness and leave nothing behind.
//!
//! A launcher starts the machine's program, in namespaces of its own where that is allowed: a pid
//! namespace, so that everything the program started ends with it, and a mount namespace with a fresh
//! /dev/shm, so that its files are gone with it and can be executed. It is a copy of this process.

use std::fs::{self, File};
use std::io::{self, PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid, geteuid, setsid};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::sys::{self, Child, MountAttr};

/// How much of the console is held for a supervisor that is busy with something else.
const CONSOLE_BUFFER: usize = 1 << 20;
/// How long a launcher may take to end what it started.
const END: Duration = Duration::from_secs(5);
/// What is said where the machine's program cannot be executed.
pub const CANNOT_START: &str = "the machine cannot be started";
/// Where a machine's program finds a file system of its own.
const SHM: &str = "/dev/shm";

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    launcher: Child,
    /// Whether everything ends with the launcher.
    enclosed: bool,
    /// Where the program's files are, if they could not be hidden.
    directory: PathBuf,
    /// What tells the launcher to end; it ends too when this is closed.
    lifeline: PipeWriter,
    /// The line to the agent.
    pub channel: UnixStream,
    /// What the guest's kernel prints, and the machine's program.
    pub console: File,
}

/// What a machine's program is started with.
#[derive(Debug)]
pub struct Surroundings {
    /// The file descriptor of the line to the agent.
    pub channel: RawFd,
    /// The file descriptor of the guest's first file system, for `/proc/self/fd/N`.
    pub initramfs: RawFd,
    /// A directory for the program's files. Nobody else sees it where there are namespaces of its own.
    pub directory: PathBuf,
}

impl Machine {
    /// Starts the program that `command` makes; its standard streams are set here.
    ///
    /// # Errors
    /// Those of making sockets, pipes and processes. What goes wrong later is said on the console.
    pub fn start(
        initramfs: &File,
        command: impl FnOnce(&Surroundings) -> io::Result<Command>,
    ) -> io::Result<Self> {
        let (channel, theirs) = UnixStream::pair()?;
        channel.set_nonblocking(true)?;
        let (console, print) = io::pipe()?;
        let _ = rustix::pipe::fcntl_setpipe_size(&print, CONSOLE_BUFFER);
        rustix::io::ioctl_fionbio(&console, true)?;
        let (end, lifeline) = io::pipe()?;
        let directory = new_directory()?;
        let (launcher, enclosed) = fork_enclosed()?;
        let Some(launcher) = launcher else {
            let descriptors = Descriptors {
                channel: theirs.into(),
                initramfs: initramfs
                    .as_fd()
                    .try_clone_to_owned()
                    .unwrap_or_else(|_| sys::exit_now(1)),
                console: print.into(),
                lifeline: end.into(),
            };
            let status = launch(&descriptors, enclosed, &directory, command);
            sys::exit_now(status)
        };
        let console = File::from(OwnedFd::from(console));
        Ok(Self { launcher, enclosed, directory, lifeline, channel, console })
    }

    /// Readable when the machine has ended.
    pub fn ended(&self) -> std::os::fd::BorrowedFd<'_> {
        self.launcher.pidfd.as_fd()
    }

    /// Ends what a launcher has left that was killed: with a pid namespace of its own nothing, else what is in its
    /// session, as the helpers of User-Mode Linux, which would hold the line open.
    pub fn end_rest(&self) {
        if self.enclosed {
            return;
        }
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // After the name in parentheses come state, parent, group and session: proc_pid_stat(5).
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            let session = fields.split_whitespace().nth(3).and_then(|field| field.parse().ok());
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|_| session == Some(self.launcher.pid.as_raw())) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.lifeline.write_all(&[1]);
        let mut ended = [PollFd::new(self.launcher.pidfd.as_fd(), PollFlags::POLLIN)];
        let patience = if self.enclosed { Duration::ZERO } else { END };
        let _ = poll(&mut ended, PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO));
        let _ = kill(self.launcher.pid, Signal::SIGKILL);
        self.end_rest();
        let _ = waitpid(self.launcher.pid, None);
        // A launcher that was killed has not done it.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A name that nobody has for a directory of the program's files, where they cannot be hidden. The process id alone
/// would not do: in a pid namespace of its own each launcher is the first.
fn new_directory() -> io::Result<PathBuf> {
    let mut number = [0; 8];
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
    let above = std::env::var_os("TMPDIR").map(PathBuf::from);
    let above =
        above.or_else(|| Path::new(SHM).is_dir().then(|| SHM.into())).unwrap_or("/tmp".into());
    Ok(above.join(format!("nsharness-{:016x}", u64::from_ne_bytes(number))))
}

/// What a launcher holds.
struct Descriptors {
    channel: OwnedFd,
    initramfs: OwnedFd,
    console: OwnedFd,
    lifeline: OwnedFd,
}

/// A copy of this process in pid and mount namespaces of its own, if that is allowed; whether it is.
fn fork_enclosed() -> io::Result<(Option<Child>, bool)> {
    let own = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    let (uid, gid) = (geteuid(), getegid());
    let with_user = own | CloneFlags::CLONE_NEWUSER;
    let tries: &[CloneFlags] = if uid.is_root() { &[own, with_user] } else { &[with_user] };
    for flags in tries {
        match sys::clone_namespaces(*flags) {
            Ok(None) if flags.contains(CloneFlags::CLONE_NEWUSER) => {
                // Everybody may map their own ids to themselves.
                let mapped = fs::write("/proc/self/setgroups", "deny")
                    .and_then(|()| fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")))
                    .and_then(|()| fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")));
                return Ok((None, mapped.is_ok()));
            }
            Ok(child) => return Ok((child, true)),
            Err(_) => {}
        }
    }
    Ok((sys::clone_namespaces(CloneFlags::empty())?, false))
}

/// The whole life of a launcher.
fn launch(
    descriptors: &Descriptors,
    enclosed: bool,
    directory: &Path,
    command: impl FnOnce(&Surroundings) -> io::Result<Command>,
) -> i32 {
    let Descriptors { channel, initramfs, console, lifeline } = descriptors;
    sys::close_all_but(&[channel, initramfs, console, lifeline]);
    let _ = setsid();
    // A kernel that panics aborts; its memory is not wanted.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let complain = |what: &str, error: &dyn std::fmt::Display| {
        let _ = rustix::io::write(console, format!("nsharness: {what}: {error}\n").as_bytes());
        1
    };
    let place = match place(enclosed, directory) {
        Ok(place) => place,
        Err(error) => return complain("a directory for the machine", &error),
    };
    let surroundings = Surroundings {
        channel: channel.as_raw_fd(),
        initramfs: initramfs.as_raw_fd(),
        directory: place,
    };
    let status = match spawn(descriptors, &surroundings, command) {
        Ok(program) => watch(program, lifeline),
        Err(error) => complain(CANNOT_START, &error),
    };
    let _ = fs::remove_dir_all(directory);
    status
}

/// A place for the files of the program: this directory, where they cannot be hidden.
fn place(enclosed: bool, directory: &Path) -> io::Result<PathBuf> {
    if enclosed && Path::new(SHM).is_dir() {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        let fresh = mount(None::<&str>, "/", None::<&str>, private, None::<&str>).and_then(|()| {
            close_host();
            mount(Some("nsharness"), SHM, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))
        });
        if fresh.is_ok() {
            return Ok(SHM.into());
        }
    }
    fs::create_dir(directory)?;
    Ok(directory.to_owned())
}

/// Makes all that is mounted read-only for the machine. Who is root in User-Mode Linux can mount any
/// directory of its host by hostfs, with the rights of whoever started it: the parameter `hostfs=` says
/// where such a mount begins, and `..` leads out of there. Where this cannot be had, those rights remain.
fn close_host() {
    // MOUNT_ATTR_RDONLY of include/uapi/linux/mount.h, AT_RECURSIVE of include/uapi/linux/fcntl.h.
    let attributes = MountAttr { set: 1, ..MountAttr::default() };
    let _ = sys::mount_setattr(rustix::fs::CWD, "/", 0x8000, &attributes);
}

fn spawn(
    descriptors: &Descriptors,
    surroundings: &Surroundings,
    command: impl FnOnce(&Surroundings) -> io::Result<Command>,
) -> io::Result<Pid> {
    for inherited in [&descriptors.channel, &descriptors.initramfs] {
        fcntl_setfd(inherited, FdFlags::empty())?;
    }
    let print = || descriptors.console.try_clone().map(Stdio::from);
    let mut command = command(surroundings)?;
    // Where there is no pid namespace that would end it with a launcher that is killed.
    sys::end_with_this(&mut command);
    let child =
        command.stdin(Stdio::null()).stdout(print()?).stderr(print()?).process_group(0).spawn()?;
    Ok(Pid::from_raw(child.id() as i32))
}

/// Waits for the end of the program, or for the word that it shall end; ends its process group.
fn watch(program: Pid, lifeline: &OwnedFd) -> i32 {
    let open = rustix::process::Pid::from_raw(program.as_raw()).and_then(|pid| {
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
    });
    if let Some(pidfd) = &open {
        let mut fds = [
            PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(lifeline.as_fd(), PollFlags::POLLIN),
        ];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
    }
    let _ = killpg(program, Signal::SIGKILL);
    i32::from(waitpid(program, None).is_err())
}
