//! What is recorded after the steps: trees, mount tables, maps, credentials, namespaces.

use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use compact_str::{CompactString, format_compact};
use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx};

use super::credentials;
use super::files::{
    self, device, entries_from_here, file_type, inode, statx_of, time, xattr_names,
};
use super::namespaces::read_maps;
use super::perform::{Failure, Named};
use crate::sandbox::{DEVICES, LIBRARIES, MARK, Sandbox};
use crate::scenario::observe::{Observe, ObserveMountinfo, ObserveTree, TreeField};
use crate::scenario::operation::Operation;
use crate::scenario::plan::Plan;
use crate::scenario::scalar::{Errno as ErrnoName, Name};
use crate::scenario::world::LIBRARY_DIRECTORIES;
use crate::transcript::{Class, Field, Observation, Outcome, Value, text};

/// Most entries of one tree.
const MAX_ENTRIES: usize = 20_000;
/// Deepest tree.
const MAX_DEPTH: usize = 64;

/// Who makes one observation.
pub enum Item {
    /// An actor, in its own process.
    ByActor(Name),
    /// The first process of the sandbox, of an actor or of the sandbox itself.
    FromOutside(Option<Name>),
}

/// The observations that one item of the plan comes to.
pub fn items(observe: &Observe) -> Vec<Item> {
    match observe {
        Observe::Tree(tree) | Observe::Layer(tree) => match &tree.actor {
            Some(name) => vec![Item::ByActor(name.clone())],
            None => vec![Item::FromOutside(None)],
        },
        // A process that changed its ids may look at its own namespaces, and others may not.
        Observe::Credentials(of) | Observe::Namespaces(of) => {
            of.actors.names().iter().cloned().map(Item::ByActor).collect()
        }
        Observe::Mountinfo(of) => outside(of.actors.names()),
        Observe::IdMaps(of) | Observe::Process(of) => outside(of.actors.names()),
    }
}

fn outside(names: &[Name]) -> Vec<Item> {
    names.iter().cloned().map(|name| Item::FromOutside(Some(name))).collect()
}

/// Makes an observation in the process of the actor that looks.
pub fn by_actor(observe: &Observe, plan: &Plan, sandbox: &Sandbox, name: &Name) -> Observation {
    let single = plan.needs.ids.is_empty();
    match observe {
        Observe::Tree(tree) => observe_tree(tree, false, plan, sandbox, Some(name)),
        Observe::Layer(tree) => observe_tree(tree, true, plan, sandbox, Some(name)),
        Observe::Namespaces(_) => Observation {
            title: format!("namespaces of {name}"),
            found: namespaces(sandbox.proc.as_fd(), "self").map_err(outcome),
        },
        _ => {
            let proc = Some(sandbox.proc.as_fd());
            let mut fields: Vec<_> = credentials::credentials(proc).into_iter().collect();
            for (field, value) in &mut fields {
                if single && field == "groups" {
                    without_groups_of_the_host(value);
                }
            }
            Observation { title: format!("credentials of {name}"), found: Ok(Value::Map(fields)) }
        }
    }
}

/// What a step gave, without what only comes from who runs it.
pub fn of_the_scenario(plan: &Plan, operation: &Operation, mut outcome: Outcome) -> Outcome {
    if let (Operation::Getcred(_), Outcome::Ok(values)) = (operation, &mut outcome)
        && plan.needs.ids.is_empty()
        && let Some(groups) = values.get_mut("groups")
    {
        without_groups_of_the_host(groups);
    }
    outcome
}

/// In a sandbox with one id nobody can set groups: whichever there are come from who runs it, and say
/// nothing about the scenario.
fn without_groups_of_the_host(groups: &mut Value) {
    if let Value::List(groups) = groups {
        groups.clear();
    }
}

/// Makes an observation in the first process of the sandbox.
pub fn from_outside(
    observe: &Observe,
    plan: &Plan,
    sandbox: &Sandbox,
    name: Option<&Name>,
    process: &str,
) -> Observation {
    let proc = sandbox.proc.as_fd();
    let of = name.map_or("main", Name::as_str);
    let (title, found) = match observe {
        Observe::Tree(tree) => return observe_tree(tree, false, plan, sandbox, None),
        Observe::Layer(tree) => return observe_tree(tree, true, plan, sandbox, None),
        Observe::Mountinfo(item) => {
            let under =
                item.under.as_ref().map_or_else(String::new, |path| format!(" under {path}"));
            (format!("mountinfo of {of}{under}"), mountinfo(item, proc, process))
        }
        Observe::IdMaps(_) => {
            let maps = read_maps(proc, process).map(|(uid_map, gid_map, setgroups)| {
                Value::Map(vec![
                    ("uid_map".into(), uid_map),
                    ("gid_map".into(), gid_map),
                    ("setgroups".into(), setgroups),
                ])
            });
            (format!("id maps of {of}"), maps)
        }
        Observe::Process(_) => (format!("process of {of}"), process_directories(proc, process)),
        Observe::Credentials(_) | Observe::Namespaces(_) => {
            unreachable!("an actor observes its own")
        }
    };
    Observation { title, found: found.map_err(outcome) }
}

fn outcome(failure: Failure) -> Outcome {
    let errno = ErrnoName(failure.errno as i32);
    Outcome::Failed { errno, syscall: failure.syscall.to_owned(), message: None }
}

/// A whole file of a proc.
pub fn read_proc(proc: BorrowedFd<'_>, path: &str) -> Option<String> {
    let fd =
        rustix::fs::openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let bytes = read_all(fd.as_fd(), usize::MAX).ok()?;
    Some(text(&bytes))
}

fn read_all(fd: BorrowedFd<'_>, limit: usize) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Most files are small.
    let (mut small, mut large) = ([0; 1 << 10], Vec::new());
    loop {
        let buffer = if bytes.len() < small.len() {
            &mut small[..]
        } else {
            large.resize(16 << 10, 0);
            &mut large[..]
        };
        match rustix::io::read(fd, &mut *buffer)? {
            0 => return Ok(bytes),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
        if bytes.len() >= limit {
            return Ok(bytes);
        }
    }
}

// ---- trees ----

fn observe_tree(
    item: &ObserveTree,
    layer: bool,
    plan: &Plan,
    sandbox: &Sandbox,
    actor: Option<&Name>,
) -> Observation {
    let kind = if layer { "layer" } else { "tree" };
    let by = actor.map_or_else(String::new, |name| format!(" as {name}"));
    let fields = if item.fields.is_empty() { TreeField::DEFAULT } else { &item.fields };
    // The sandbox looks from its own root even if the root of its process was moved by pivot_root.
    let base = if actor.is_some() { CWD } else { sandbox.root.as_fd() };
    // It is the same for as long as this process and those that it starts live.
    static OWN: OnceLock<Option<u64>> = OnceLock::new();
    let own = *OWN.get_or_init(|| {
        let own = statx_of(sandbox.proc.as_fd(), "self/exe", AtFlags::empty());
        own.map(|own| own.stx_size).ok()
    });
    let libraries =
        !plan.world.programs().is_empty() || plan.runtime.is_some() || plan.overlay.is_some();
    let program_sizes = own.into_iter().chain(sandbox.program_sizes.iter().copied()).collect();
    let mut walk = Walk {
        fields,
        layer,
        plan,
        libraries,
        program_sizes,
        entries: Vec::new(),
        here: OnceCell::new(),
    };
    let found = walk.start(base, item.at.as_str());
    if let Some(here) = walk.here.get() {
        let _ = rustix::process::fchdir(here);
    }
    let title = format!("{kind} at {}{by}", item.at);
    Observation { title, found: found.map(|()| Value::List(walk.entries)).map_err(outcome) }
}

struct Walk<'a> {
    fields: &'a [TreeField],
    layer: bool,
    plan: &'a Plan,
    /// Whether the root has the libraries of programs.
    libraries: bool,
    /// The sizes of this very binary and of programs of the system: what is a copy of one says nothing.
    program_sizes: Vec<u64>,
    entries: Vec<Value>,
    /// The working directory, once it was left: attributes of what cannot be opened are read by name, from the
    /// directory that holds it.
    here: OnceCell<OwnedFd>,
}

impl Walk<'_> {
    fn start(&mut self, base: BorrowedFd<'_>, at: &str) -> Result<(), Failure> {
        self.entry(base, at, FileType::Unknown, ".", 0).of("statx")
    }

    /// Records what has a name in a directory, which was listed there as this.
    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &str,
        listed: FileType,
        path: &str,
        depth: usize,
    ) -> rustix::io::Result<()> {
        let (found, opened) = self.find(dir, name, listed)?;
        let kind = file_type(&found);
        let mut fields = Vec::with_capacity(1 + self.fields.len());
        fields.push(("path".into(), Value::from(path)));
        for field in self.fields {
            self.field(*field, dir, name, &found, &opened, &mut fields);
        }
        if let (Err(error), "file" | "dir") = (&opened, kind)
            && *error != rustix::io::Errno::OPNOTSUPP
        {
            fields.push(("unreadable".into(), ErrnoName(error.raw_os_error()).to_string().into()));
        }
        self.entries.push(Value::Map(fields));
        if let ("dir", Ok(directory)) = (kind, opened) {
            match entries_from_here(directory.as_fd()) {
                Ok(names) => self.descend(directory.as_fd(), path, names, depth),
                Err(error) => self.note(path, &ErrnoName(error.raw_os_error()).to_string()),
            }
        }
        Ok(())
    }

    /// What has a name, and what comes of opening it. A directory is looked at when it is open, which spares a
    /// walk; anything else is opened only when it is known what it is.
    fn find(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        listed: FileType,
    ) -> rustix::io::Result<(Statx, rustix::io::Result<OwnedFd>)> {
        if listed == FileType::Directory
            && let Ok(fd) = self.open(dir, name, "dir")
        {
            return Ok((statx_of(fd.as_fd(), "", AtFlags::EMPTY_PATH)?, Ok(fd)));
        }
        let found = statx_of(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let opened = self.open(dir, name, file_type(&found));
        Ok((found, opened))
    }

    fn descend(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &str,
        names: Vec<(CompactString, FileType)>,
        depth: usize,
    ) {
        if depth >= MAX_DEPTH {
            return self.note(path, "deeper than is recorded");
        }
        for (name, listed) in names {
            if self.entries.len() >= MAX_ENTRIES {
                return self.note(path, "more entries than are recorded");
            }
            let needs = &self.plan.needs;
            let ours = [(needs.proc, "proc"), (needs.sys, "sys"), (needs.dev, "dev")];
            let ours = ours.iter().any(|(mounted, place)| *mounted && name == *place)
                || self.libraries && LIBRARY_DIRECTORIES.contains(&name.as_str());
            if path == "." && depth == 0 && ours && is_mount_root(directory, &name) {
                continue;
            }
            let below = if path == "." { name.clone() } else { format_compact!("{path}/{name}") };
            if let Err(error) = self.entry(directory, &name, listed, &below, depth + 1) {
                // A name that is listed and cannot be looked up is worth to be seen.
                self.note(&below, &format!("listed, but {}", ErrnoName(error.raw_os_error())));
            }
        }
    }

    fn note(&mut self, path: &str, text: &str) {
        self.entries
            .push(Value::Map(vec![("path".into(), path.into()), ("note".into(), text.into())]));
    }

    /// Opens what can be opened without side effects.
    fn open(&self, dir: BorrowedFd<'_>, name: &str, kind: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match kind {
            "dir" => rustix::fs::openat(dir, name, flags | OFlags::DIRECTORY, Mode::empty()),
            "file" => rustix::fs::openat(dir, name, flags, Mode::empty()),
            _ => Err(rustix::io::Errno::OPNOTSUPP),
        }
    }

    fn field(
        &self,
        field: TreeField,
        dir: BorrowedFd<'_>,
        name: &str,
        found: &Statx,
        opened: &rustix::io::Result<OwnedFd>,
        fields: &mut Vec<Field>,
    ) {
        let kind = file_type(found);
        let mut add = |key: &str, value: Value| fields.push((key.into(), value));
        // Whiteouts are hard links to one inode in the work directory, as many as there are.
        let whiteout = kind == "char" && files::rdev(found).as_deref() == Some("0:0");
        let program = kind == "file" && self.program_sizes.contains(&found.stx_size);
        match field {
            TreeField::Size if program => {}
            TreeField::Content if program => add("content", "program".into()),
            TreeField::Type => add("type", kind.into()),
            TreeField::Mode if kind != "symlink" => {
                add("mode", format_compact!("{:04o}", found.stx_mode & 0o7777).into())
            }
            TreeField::Owner => {
                add("owner", format_compact!("{}:{}", found.stx_uid, found.stx_gid).into())
            }
            TreeField::Size if kind == "file" => add("size", Value::Number(found.stx_size as i64)),
            TreeField::Content if kind == "file" => {
                if let Ok(fd) = opened {
                    add("content", content(fd.as_fd()));
                }
            }
            TreeField::Target if kind == "symlink" => {
                if let Ok(target) = rustix::fs::readlinkat(dir, name, Vec::new()) {
                    add("target", text(target.as_bytes()).into());
                }
            }
            TreeField::Rdev => {
                if let Some(rdev) = files::rdev(found) {
                    add("rdev", rdev.into());
                }
            }
            TreeField::Links if kind != "dir" && found.stx_nlink > 1 && !whiteout => {
                add("nlink", found.stx_nlink.into());
                add("ino", inode(found));
            }
            TreeField::Xattrs => {
                let xattrs = self.xattrs(dir, name, opened);
                if !xattrs.is_empty() {
                    add("xattrs", Value::Map(xattrs));
                }
            }
            TreeField::Time => add("mtime", time(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec)),
            TreeField::Dev => add("dev", device(found)),
            TreeField::Ino if !fields.iter().any(|(key, _)| key == "ino") => {
                fields.push(("ino".into(), inode(found)));
            }
            _ => {}
        }
    }

    /// Makes a directory the working directory.
    fn go_to(&self, dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
        if self.here.get().is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let _ = self.here.set(rustix::fs::open(".", flags, Mode::empty())?);
        }
        rustix::process::fchdir(dir)
    }

    fn xattrs(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        opened: &rustix::io::Result<OwnedFd>,
    ) -> Vec<Field> {
        let list = |list: &mut [u8]| match opened {
            Ok(fd) => rustix::fs::flistxattr(fd, list),
            Err(_) => self.go_to(dir).and_then(|()| rustix::fs::llistxattr(name, list)),
        };
        let Ok(names) = with_room(list, xattr_names) else { return Vec::new() };
        let mut xattrs = Vec::with_capacity(names.len());
        for attribute in names {
            let own = attribute.rsplit_once("overlay.").map(|(_, own)| own);
            // Labels of security modules are the host's; whether "impure" is there is up to when a
            // directory was last read (fs/overlayfs/readdir.c).
            let host = ["security.selinux", "security.ima", "security.evm"]
                .contains(&attribute.as_str())
                || attribute.starts_with("security.SMACK");
            if host || (self.layer && own == Some("impure")) {
                continue;
            }
            let get = |value: &mut [u8]| match opened {
                Ok(fd) => rustix::fs::fgetxattr(fd, attribute.as_str(), value),
                Err(_) => rustix::fs::lgetxattr(name, attribute.as_str(), value),
            };
            // File handles and identifiers: that they are there is the fact.
            let is_own = self.layer && matches!(own, Some("origin" | "uuid" | "upper"));
            let shown = with_room(get, |value| match is_own {
                true => "present".into(),
                false => Value::of_xattr(&attribute, value),
            });
            let shown =
                shown.unwrap_or_else(|error| ErrnoName(error.raw_os_error()).to_string().into());
            xattrs.push((attribute, shown));
        }
        xattrs
    }
}

/// What becomes of what a call writes to a buffer that it is given: most of it is small.
fn with_room<T>(
    call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    then: impl FnOnce(&[u8]) -> T,
) -> rustix::io::Result<T> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => Ok(then(&small[..length])),
        Err(rustix::io::Errno::RANGE) => {
            let mut large = vec![0; 64 << 10];
            let length = call(&mut large)?;
            Ok(then(&large[..length]))
        }
        Err(error) => Err(error),
    }
}

fn is_mount_root(directory: BorrowedFd<'_>, name: &str) -> bool {
    name == "dev"
        || statx_of(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .and_then(|s| files::mount_root(&s))
            != Some(false)
}

/// The content of a file.
fn content(fd: BorrowedFd<'_>) -> Value {
    match read_all(fd, 32 << 20) {
        Ok(bytes) => Value::of_content(&bytes),
        Err(error) => ErrnoName(error.raw_os_error()).to_string().into(),
    }
}

// ---- mount tables ----

fn mountinfo(
    item: &ObserveMountinfo,
    proc: BorrowedFd<'_>,
    process: &str,
) -> Result<Value, Failure> {
    let table = read_proc(proc, &format!("{process}/mountinfo"))
        .ok_or_else(|| super::perform::failure("open mountinfo", Errno::last()))?;
    let under = item.under.as_ref().map(|path| path.as_str());
    Ok(mounts(&table, under))
}

/// What a mount table has, or what it has at and below a path.
pub fn mounts(table: &str, under: Option<&str>) -> Value {
    let under = under.map(|path| format!("/{}", path.trim_matches(['/', '.'])));
    let is_under = |at: &str, top: &str| {
        top == "/" || at == top || at.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
    };
    let mut mounts: Vec<(String, Value)> = table
        .lines()
        .filter(|line| !is_harness(line))
        .filter_map(mount_line)
        .filter(|(at, _)| under.as_ref().is_none_or(|top| is_under(at, top)))
        .collect();
    // Stacked mounts keep their order; otherwise the order of the table is the kernel's business.
    mounts.sort_by(|a, b| a.0.cmp(&b.0));
    Value::List(mounts.into_iter().map(|(_, mount)| mount).collect())
}

/// Whether a line of mountinfo is of a /proc, /sys or device that the harness mounted: what is
/// beneath them differs from host to host.
fn is_harness(line: &str) -> bool {
    let Some((before, behind)) = line.split_once(" - ") else { return false };
    let (mut before, mut behind) = (before.split(' ').skip(3), behind.split(' '));
    let (root, at) = (before.next().unwrap_or_default(), before.next().unwrap_or_default());
    let (kind, source) = (behind.next(), behind.next());
    let device = at.strip_prefix("/dev/").filter(|name| DEVICES.contains(name));
    (source == Some(MARK) && matches!(kind, Some("proc" | "sysfs")))
        || source == Some(LIBRARIES)
        || device.is_some_and(|name| root.rsplit('/').next() == Some(name))
}

/// One line of mountinfo: see proc_pid_mountinfo(5).
fn mount_line(line: &str) -> Option<(String, Value)> {
    let (before, behind) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let (_id, _parent, _device) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, at, options) = (fields.next()?, fields.next()?, fields.next()?);
    let kind = behind.split(' ').next()?;
    let mut mount = vec![
        ("at".into(), Value::from(at)),
        ("root".into(), root.into()),
        ("type".into(), kind.into()),
        ("options".into(), options.into()),
    ];
    for optional in fields {
        match optional.split_once(':') {
            Some((key @ ("shared" | "master" | "propagate_from"), group)) => {
                mount.push((key.into(), Value::Identity(Class::Peer, group.into())));
            }
            _ => mount.push((optional.into(), Value::Bool(true))),
        }
    }
    Some((at.to_owned(), Value::Map(mount)))
}

// ---- namespaces and directories of a process ----

fn namespaces(proc: BorrowedFd<'_>, process: &str) -> Result<Value, Failure> {
    let mut found = Vec::new();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let link = match rustix::fs::readlinkat(proc, format!("{process}/ns/{name}"), Vec::new()) {
            // A kernel that does not have this kind.
            Err(rustix::io::Errno::NOENT) => continue,
            link => link.of("readlink")?,
        };
        found.push((name.into(), Value::Identity(Class::Ns, text(link.as_bytes()).into())));
    }
    Ok(Value::Map(found))
}

fn process_directories(proc: BorrowedFd<'_>, process: &str) -> Result<Value, Failure> {
    let mut found = Vec::new();
    for name in ["root", "cwd"] {
        let path = format!("{process}/{name}");
        let link = rustix::fs::readlinkat(proc, path.as_str(), Vec::new()).of("readlink")?;
        let place = statx_of(proc, &path, AtFlags::empty()).of("statx")?;
        found.push((
            name.into(),
            Value::Map(vec![
                ("path".into(), text(link.as_bytes()).into()),
                ("ino".into(), inode(&place)),
            ]),
        ));
    }
    Ok(Value::Map(found))
}
