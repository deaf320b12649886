//! The first process of a guest: the same binary as outside, started by the guest's kernel as its init.
//!
//! It makes of a bare kernel a place where sandboxes can be made, says hello, and runs one plan after
//! the other. It ends when nobody is there any more to ask it, and the guest ends with it.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{chdir, chroot, getpid, sethostname};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::frame::{Decoder, Encoder};
use super::message::{PROTOCOL, Reply, Request, TAKEN};
use super::trouble;
use crate::probe::Environment;
use crate::scenario::plan::Plan;
use crate::sys;
use crate::target::passage::{Here, Passage};
use crate::transcript::{Breakage, Transcript};
use crate::worker::shell::{Shell, Told};
use crate::worker::{Answer, Worker};

/// What the kernel's command line calls the line to the outside. The kernel gives a word that it does not
/// know to its init, as a variable of the environment.
pub const CHANNEL: &str = "NSHARNESS_CHANNEL";
/// What it calls a line that takes a frame at one go, and is given it as it is: to compress it, the agent would write
/// here and there in tables, and in User-Mode Linux the first write to a page after a fork costs up to five stops.
pub const PLAIN: &str = "NSHARNESS_PLAIN";
/// Where the modules are, named so that their order is the order to load them in.
pub const MODULES: &str = "/modules";

/// More bits of entropy than any kernel wants before it gives random numbers.
const ENTROPY_BITS: i32 = 1024;
/// How many lines of the kernel's log about one plan are passed on.
const MOST_LINES: usize = 1000;
/// How many of its complaints.
const MOST_TROUBLES: usize = 3;

/// Whether this process is the init of a guest.
pub fn is_agent() -> bool {
    getpid().as_raw() == 1 && env::var_os(CHANNEL).is_some()
}

/// The whole life of the init of a guest.
pub fn run() -> ! {
    // Standard error is the guest's console.
    if let Err(error) = serve() {
        eprintln!("nsharness: {error}");
    }
    let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    // Where the machine cannot be switched off: the end of the first process is a panic, and ends it too.
    sys::exit_now(1)
}

/// What was being done when it failed.
fn at(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    let what = what.to_owned();
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn serve() -> io::Result<()> {
    let mut notes = prepare()?;
    if let Err(error) = credit_entropy() {
        notes.push(format!("random numbers may be waited for: {error}"));
    }
    notes.extend(load_modules());
    if let Err(error) = loopback_up() {
        notes.push(format!("the loopback interface stays down: {error}"));
    }
    let mut log = KernelLog::open().map_err(at("/dev/kmsg"))?;
    let mut line = Line::open().map_err(at("the channel"))?;
    let worker = Worker::in_guest().map_err(|broke| io::Error::other(broke.to_string()))?;
    let mut environment = Environment::of_host(true);
    environment.ask_host();
    line.say(&Reply::Hello { protocol: PROTOCOL, environment: Box::new(environment), notes })?;
    while let Some(request) = line.hear()? {
        let (number, plan) = match request {
            Request::Ask { number, plan } => (number, plan),
            Request::LetIn { plan, shell } => {
                let_in(&mut line, &plan, &shell)?;
                reap();
                continue;
            }
            // Its program has ended meanwhile.
            Request::Say(_) => continue,
            Request::AskAll { number, plans, check } => {
                line.say(&Reply::Begun { number })?;
                line.flush()?;
                let transcripts = worker.run_all(&plans, check);
                reap();
                let News { troubles, .. } = log.news().map_err(at("/dev/kmsg"))?;
                line.say(&Reply::AnswerAll { number, transcripts, troubles })?;
                continue;
            }
        };
        line.say(&Reply::Begun { number })?;
        line.flush()?;
        let mut answer = worker.run(&plan);
        reap();
        let News { lines, troubles } = log.news().map_err(at("/dev/kmsg"))?;
        if let (true, Answer::Asked(transcript)) = (plan.keep, &mut answer) {
            transcript.evidence.insert("kernel-log".to_owned(), lines.join("\n") + "\n");
        }
        line.say(&Reply::Answer { number, answer: Box::new(answer), troubles })?;
        if worker.is_spent() {
            // What is left is asked of a guest with a fresh agent.
            line.say(&Reply::Leaving)?;
            break;
        }
    }
    line.flush()
}

/// Takes the steps of a plan, lets a program in, and passes on what is said between it and the outside.
fn let_in(line: &mut Line, plan: &Plan, shell: &Shell) -> io::Result<()> {
    /// How often is looked whether the program takes what was typed.
    const TICK: u16 = 50;
    let broke = |detail: String| {
        let breakage = Breakage { stage: "shell".to_owned(), detail, errno: None };
        let broken = Answer::Asked(Box::new(Transcript::broken(breakage)));
        Reply::Told(Box::new(Told::Ended(Box::new(broken))))
    };
    let started = make_terminals().and_then(|()| Here::start(plan, shell));
    let mut here = match started {
        Ok(here) => here,
        Err(error) => {
            line.say(&broke(error.to_string()))?;
            return line.flush();
        }
    };
    loop {
        while let Some(told) = here.next(Duration::ZERO)? {
            let is_last = matches!(told, Told::Ended(_));
            line.say(&Reply::Told(Box::new(told)))?;
            line.flush()?;
            if is_last {
                return Ok(());
            }
        }
        let heard = {
            let sources = here.sources();
            let all = [line.file.as_fd()].into_iter().chain(sources);
            let mut fds: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            let timeout = if here.waiting() > 0 { TICK.into() } else { PollTimeout::NONE };
            poll(&mut fds, timeout)?;
            fds[0].any().unwrap_or(false)
        };
        if heard && !line.take()? {
            return Ok(());
        }
        while let Some(request) = line.decoder.decode().map_err(at("the channel"))? {
            if let Request::Say(said) = request {
                here.say(said)?;
            }
        }
    }
}

/// Pseudoterminals: pts(4).
fn make_terminals() -> io::Result<()> {
    make_directory("/dev/pts")?;
    let options = Some("newinstance,ptmxmode=0666");
    mount(Some("devpts"), "/dev/pts", Some("devpts"), MsFlags::empty(), options)?;
    match fs::remove_file("/dev/ptmx") {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at("/dev/ptmx")(error)),
        _ => std::os::unix::fs::symlink("pts/ptmx", "/dev/ptmx").map_err(at("/dev/ptmx")),
    }
}

/// Makes the places that sandboxes are made from; says what could not be had and may not be needed.
fn prepare() -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    leave_rootfs().map_err(at("leaving the initial root file system"))?;
    for directory in ["/proc", "/sys", "/dev", "/tmp", "/run"] {
        make_directory(directory)?;
    }
    let place = |kind: &str, at: &str| {
        mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>).map_err(|errno| {
            io::Error::new(io::Error::from(errno).kind(), format!("mount {kind} on {at}: {errno}"))
        })
    };
    place("proc", "/proc")?;
    place("sysfs", "/sys")?;
    if place("devtmpfs", "/dev").is_err() {
        place("tmpfs", "/dev")?;
    }
    make_devices()?;
    make_directory("/dev/shm")?;
    place("tmpfs", "/dev/shm")?;
    for (kind, at) in [("tmpfs", "/tmp"), ("tmpfs", "/run"), ("cgroup2", "/sys/fs/cgroup")] {
        if let Err(error) = place(kind, at) {
            notes.push(error.to_string());
        }
    }
    let _ = sethostname("guest");
    leave_out_helpers();
    // Warnings go to the console too, where they are kept when the guest does not live to tell of them.
    let _ = fs::write("/proc/sys/kernel/printk", "5 4 1 5");
    Ok(notes)
}

/// Has the kernel start no programs of its own, for a device that came or a module that it lacks: a guest has
/// none of them, and to find that out may take the kernel a process each time (lib/kobject_uevent.c,
/// kernel/module/kmod.c).
fn leave_out_helpers() {
    for helper in ["hotplug", "modprobe"] {
        let _ = fs::write(Path::new("/proc/sys/kernel").join(helper), "\n");
    }
}

/// Has the kernel give random numbers at once: nothing in a guest is secret, and one that was just booted
/// may take seconds to gather what getrandom(2) waits for.
fn credit_entropy() -> io::Result<()> {
    let pool = OpenOptions::new().write(true).open("/dev/random")?;
    Ok(sys::credit_entropy(pool.as_fd(), ENTROPY_BITS)?)
}

/// Makes a mount of its own the root. What an initramfs was unpacked to has nothing above it, and
/// pivot_root(2) refuses to leave such a root (fs/namespace.c, "not attached").
fn leave_rootfs() -> io::Result<()> {
    make_directory("/root")?;
    mount(Some("/"), "/root", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    chdir("/root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    Ok(chdir("/")?)
}

fn make_directory(path: &str) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// The devices that a sandbox binds, and those that the agent uses itself, where no devtmpfs has made them.
fn make_devices() -> io::Result<()> {
    const ALL: &[(&str, u64, u64)] = &[
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("kmsg", 1, 11),
        ("tty", 5, 0),
        ("console", 5, 1),
        ("ttyS0", 4, 64),
        ("ttyS1", 4, 65),
        ("ttyAMA0", 204, 64),
        ("loop-control", 10, 237),
        ("fuse", 10, 229),
    ];
    let mode = Mode::from_bits_truncate(0o666);
    for (name, major, minor) in ALL {
        match mknod(
            Path::new("/dev").join(name).as_path(),
            SFlag::S_IFCHR,
            mode,
            makedev(*major, *minor),
        ) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(errno) => return Err(at(&format!("/dev/{name}"))(errno.into())),
        }
    }
    // A devtmpfs makes it for root alone, and udev gives it to everybody.
    fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).map_err(at("/dev/fuse"))?;
    Ok(())
}

/// Loads the modules in the order of their names; says which could not be loaded.
fn load_modules() -> Vec<String> {
    let Ok(directory) = fs::read_dir(MODULES) else { return Vec::new() };
    let mut files: Vec<_> = directory.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let load = |path: &Path| {
        let file = File::open(path)?;
        rustix::system::finit_module(file.as_fd(), c"", 0).map_err(io::Error::from)
    };
    let told = |path: &Path, error: io::Error| match error.raw_os_error() {
        Some(libc::EEXIST) => None,
        _ => Some(format!("the module {} could not be loaded: {error}", path.display())),
    };
    files.iter().filter_map(|path| load(path).err().and_then(|error| told(path, error))).collect()
}

/// Brings the interface `lo` up, by rtnetlink(7): it has index 1 in every network namespace.
fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SendFlags, SocketType};
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    // struct nlmsghdr: length, type, flags, sequence, port.
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family, padding, type, index, flags, change.
    message.extend([0; 4]);
    message.extend(1_i32.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    Ok(())
}

/// Takes the end of everybody who ended without a parent.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// The line to the outside.
struct Line {
    file: File,
    encoder: Encoder,
    decoder: Decoder,
    /// What is said and not yet written: the end of one plan and the beginning of the next take one write(2).
    said: Vec<u8>,
    /// How many bytes were read.
    taken: usize,
    /// How many of them were told.
    told: usize,
}

impl Line {
    fn open() -> io::Result<Self> {
        let path = env::var(CHANNEL).map_err(io::Error::other)?;
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)?;
        if let Ok(mut settings) = tcgetattr(&file) {
            settings.make_raw();
            tcsetattr(&file, OptionalActions::Now, &settings)?;
        }
        let encoder = match env::var_os(PLAIN) {
            Some(_) => Encoder::plain(),
            None => Encoder::default(),
        };
        let (decoder, said) = (Decoder::default(), Vec::new());
        Ok(Self { file, encoder, decoder, said, taken: 0, told: 0 })
    }

    /// Says something, by the time that nothing more is to be heard, or by [`Line::flush`].
    fn say(&mut self, reply: &Reply) -> io::Result<()> {
        self.said.extend(self.encoder.encode(reply)?);
        Ok(())
    }

    /// Writes what was said.
    fn flush(&mut self) -> io::Result<()> {
        let said = std::mem::take(&mut self.said);
        self.file.write_all(&said).map_err(at("the channel"))
    }

    /// The next request; `None` where nobody is there any more.
    fn hear(&mut self) -> io::Result<Option<Request>> {
        loop {
            let heard = self.decoder.decode();
            if let Ok(Some(request)) = heard {
                return Ok(Some(request));
            }
            self.flush()?;
            heard.map_err(at("the channel"))?;
            if !self.take()? {
                return Ok(None);
            }
        }
    }

    /// Waits for more to come over the line, and takes it in; whether there was any before the end.
    fn take(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        loop {
            match self.file.read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    self.decoder.feed(&bytes[..length]);
                    self.taken += length;
                    if self.taken - self.told >= TAKEN {
                        self.told = self.taken;
                        self.say(&Reply::Taken { bytes: self.taken })?;
                        self.flush()?;
                    }
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(false),
                Err(error) => return Err(at("the channel")(error)),
            }
        }
    }
}

/// What the kernel says while plans run.
struct KernelLog(File);

/// What the kernel said since it was asked last.
#[derive(Default)]
struct News {
    lines: Vec<String>,
    /// Those that tell of trouble.
    troubles: Vec<String>,
}

impl KernelLog {
    fn open() -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    fn news(&mut self) -> io::Result<News> {
        let mut news = News::default();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => news.add(&String::from_utf8_lossy(&record[..length])),
                // A record that was overwritten before it could be read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(news)
    }
}

impl News {
    /// Takes in a record, `PRIORITY,NUMBER,TIME,FLAGS;TEXT` and lines of details that begin with a blank.
    fn add(&mut self, record: &str) {
        let Some((head, text)) = record.split_once(';') else { return };
        let text = text.lines().next().unwrap_or_default();
        // The facility of the kernel is 0; what a program writes to /dev/kmsg has another.
        let priority = head.split(',').next().and_then(|number| number.parse::<u32>().ok());
        let of_kernel = priority.is_some_and(|priority| priority >> 3 == 0);
        if of_kernel && trouble::in_line(text) && self.troubles.len() < MOST_TROUBLES {
            self.troubles.push(text.to_owned());
        }
        if self.lines.len() < MOST_LINES {
            self.lines.push(text.to_owned());
        }
    }
}
