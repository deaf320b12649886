//! One call after the other as a step.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::actors::Actors;
use super::{Line, Wanted};
use crate::trace::{Call, Event};

/// Places that are not the scenario's: what the shell came with, and what the kernel shows.
const NOT_OURS: &[&str] = &["/.nsharness", "/proc", "/sys", "/dev"];
/// Where programs look for settings and libraries; in a sandbox there is nothing, unless the world has it.
const SETTINGS: &[&str] = &["/etc", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/var", "/run"];
/// Most bytes of data of one step.
const MOST_DATA: usize = 64 << 10;

/// An open file of the program, which several descriptors may be.
#[derive(Debug)]
struct Open {
    name: String,
}

/// What one process has.
#[derive(Clone, Debug, Default)]
struct Process {
    files: BTreeMap<i32, (Rc<Open>, bool)>,
    umask: Option<u64>,
}

/// Where a file is read or written next, once that was set.
type Positions = BTreeMap<String, u64>;

/// What keeps a call from being a step.
enum Not {
    /// It is nothing of the scenario's.
    Ours,
    /// No step says it, for this reason.
    Said(String),
}

type Step = Result<(&'static str, Map<String, Value>), Not>;

struct Translator<'e> {
    wanted: Wanted,
    first: &'e str,
    actors: Actors,
    processes: BTreeMap<i32, Process>,
    positions: Positions,
    /// What is set of each actor by a step.
    umasks: BTreeMap<String, u64>,
    opened: usize,
    lines: Vec<Line>,
}

/// The lines of what was recorded, each call for itself.
pub fn lines(events: &[Event], first: &str, wanted: Wanted) -> Vec<Line> {
    let mut translator = Translator {
        wanted,
        first,
        actors: Actors::of(events, first),
        processes: BTreeMap::new(),
        positions: BTreeMap::new(),
        umasks: BTreeMap::new(),
        opened: 0,
        lines: Vec::new(),
    };
    for (index, event) in events.iter().enumerate() {
        translator.take(index, event);
    }
    translator.lines
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn mode(raw: u64) -> Value {
    json!(format!("{:04o}", raw & 0o7777))
}

/// The words for bits, in the order of the list; `None` where other bits are set.
fn words(raw: u64, known: &[(u64, &str)]) -> Option<Vec<String>> {
    let all = known.iter().fold(0, |all, (bits, _)| all | bits);
    let word = |(bits, word): &(u64, &str)| (raw & bits == *bits).then(|| (*word).to_owned());
    (raw & !all == 0).then(|| known.iter().filter_map(word).collect())
}

fn no_step(why: &str) -> Not {
    Not::Said(why.to_owned())
}

impl Translator<'_> {
    fn take(&mut self, index: usize, event: &Event) {
        match event {
            Event::Forked { parent, child } => {
                let copy = self.processes.get(parent).cloned().unwrap_or_default();
                self.processes.insert(*child, copy);
                if let Some((parent, child)) = self.actors.begins(index).cloned() {
                    let umask = self.umasks.get(&parent).copied();
                    self.umasks.extend(umask.map(|umask| (child.clone(), umask)));
                    self.push(&parent, "fork", fields([("child", json!(child))]));
                }
            }
            Event::Ended { process } => {
                let leads = self.actors.leads(*process);
                let open: Vec<i32> = self
                    .processes
                    .get(process)
                    .map_or(Vec::new(), |p| p.files.keys().copied().collect());
                let actor = self.actor(*process);
                if leads {
                    self.processes.remove(process);
                    self.push(&actor, "exit", Map::new());
                } else {
                    open.into_iter().for_each(|fd| self.let_go(*process, fd, &actor));
                    self.processes.remove(process);
                }
            }
            Event::Called { process, call, places, root } => {
                // What never came back: it ended the process, or was cut off.
                if call.returned.is_some() {
                    self.call(*process, call, places, root.as_deref());
                }
            }
        }
    }

    fn actor(&self, process: i32) -> String {
        self.actors.actor(process, self.first).to_owned()
    }

    fn push(&mut self, actor: &str, word: &str, mut fields: Map<String, Value>) {
        if actor != "main" {
            let own = std::mem::take(&mut fields);
            fields.insert("as".to_owned(), json!(actor));
            fields.extend(own);
        }
        self.lines.push(Line::Step(json!({ word: fields })));
    }

    fn call(
        &mut self,
        process: i32,
        call: &Call,
        places: &[Option<String>; 6],
        root: Option<&str>,
    ) {
        let actor = self.actor(process);
        self.processes.entry(process).or_default();
        let asked = Asked { call, places, root };
        if self.of_descriptors(process, call, &actor) {
            return;
        }
        match self.step(process, &asked) {
            Ok((word, mut said)) => {
                if CREATES.contains(&word) {
                    self.set_umask(process, &actor);
                }
                if let Some(errno) = call.errno() {
                    said.shift_remove("fd").filter(|_| word == "open");
                    said.insert("expect".to_owned(), json!(format!("{errno:?}")));
                }
                self.push(&actor, word, said);
            }
            Err(Not::Ours) => {}
            Err(Not::Said(why)) => {
                self.lines.push(Line::Comment(format!("{actor}: {call}: {why}")));
            }
        }
    }

    /// Sets the mask of an actor to that of the process, where something is created.
    fn set_umask(&mut self, process: i32, actor: &str) {
        let Some(mask) = self.processes.get(&process).and_then(|process| process.umask) else {
            return;
        };
        if self.umasks.insert(actor.to_owned(), mask) != Some(mask) {
            self.push(actor, "umask", fields([("mode", mode(mask))]));
        }
    }

    /// Takes what only changes which descriptor is which file; whether it was that.
    fn of_descriptors(&mut self, process: i32, call: &Call, actor: &str) -> bool {
        let known = self.processes.entry(process).or_default();
        let fd = call.raw[0] as u32 as i32;
        let value = call.value();
        match (call.name.as_str(), value) {
            ("umask", Some(_)) => known.umask = Some(call.raw[0] & 0o777),
            ("dup" | "dup2" | "dup3", Some(new)) => {
                let same = known.files.get(&fd).cloned();
                if new as i32 != fd {
                    self.let_go(process, new as i32, actor);
                    let closes = call.name == "dup3" && call.raw[2] & libc::O_CLOEXEC as u64 != 0;
                    let files = &mut self.processes.entry(process).or_default().files;
                    files.extend(same.map(|(open, _)| (new as i32, (open, closes))));
                }
            }
            ("fcntl", Some(new)) => match call.raw[1] as i32 {
                libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
                    let same = known.files.get(&fd).cloned();
                    let closes = call.raw[1] as i32 == libc::F_DUPFD_CLOEXEC;
                    known.files.extend(same.map(|(open, _)| (new as i32, (open, closes))));
                }
                libc::F_SETFD => {
                    if let Some((_, closes)) = known.files.get_mut(&fd) {
                        *closes = call.raw[2] & libc::FD_CLOEXEC as u64 != 0;
                    }
                }
                _ => {}
            },
            ("lseek", Some(place)) => {
                let asks = call.raw[1] == 0 && call.raw[2] == libc::SEEK_CUR as u64;
                if let Some((open, _)) = known.files.get(&fd).filter(|_| !asks) {
                    self.positions.insert(open.name.clone(), place);
                }
            }
            ("close", Some(_)) => self.let_go(process, fd, actor),
            ("close_range", Some(_)) if call.raw[2] == 0 => {
                let (first, last) = (call.raw[0], call.raw[1]);
                let of = |fd: &i32| (first..=last).contains(&(*fd as u64));
                let all: Vec<i32> = known.files.keys().copied().filter(of).collect();
                all.into_iter().for_each(|fd| self.let_go(process, fd, actor));
            }
            ("execve" | "execveat", Some(_)) => {
                let closed = |(fd, (_, closes)): (&i32, &(_, bool))| closes.then_some(*fd);
                let all: Vec<i32> = known.files.iter().filter_map(closed).collect();
                all.into_iter().for_each(|fd| self.let_go(process, fd, actor));
            }
            (
                "umask" | "dup" | "dup2" | "dup3" | "fcntl" | "lseek" | "close" | "close_range",
                _,
            ) => {}
            _ => return false,
        }
        true
    }

    /// A process has a descriptor no more; with the last one of an actor, its file is closed.
    fn let_go(&mut self, process: i32, fd: i32, actor: &str) {
        let known = self.processes.entry(process).or_default();
        let Some((open, _)) = known.files.remove(&fd) else { return };
        let holds = |(other, known): (&i32, &Process)| {
            self.actors.actor(*other, self.first) == actor
                && known.files.values().any(|(file, _)| Rc::ptr_eq(file, &open))
        };
        if !self.processes.iter().any(holds) {
            self.push(actor, "close", fields([("fd", json!(open.name))]));
        }
    }

    /// The file that a descriptor is.
    fn file(&self, process: i32, fd: u64) -> Result<Rc<Open>, Not> {
        let known = self.processes.get(&process);
        let open = known.and_then(|known| known.files.get(&(fd as u32 as i32)));
        // A pipe, a terminal, or something that is not the scenario's.
        open.map(|(open, _)| Rc::clone(open)).ok_or(Not::Ours)
    }

    /// What a call is as a step.
    fn step(&mut self, process: i32, asked: &Asked<'_>) -> Step {
        let Asked { call, .. } = asked;
        let raw = call.raw;
        match call.name.as_str() {
            "open" => self.open(process, asked, asked.path(0)?, raw[1], raw[2]),
            "creat" => {
                let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64;
                self.open(process, asked, asked.path(0)?, flags, raw[1])
            }
            "openat" => self.open(process, asked, asked.path_at(0)?, raw[2], raw[3]),
            "read" | "pread64" => self.read(process, call),
            "write" | "pwrite64" => self.write(process, call),
            "copy_file_range" => self.copy(process, call, raw[0], raw[2]),
            "sendfile" => self.copy(process, call, raw[1], raw[0]),
            "ftruncate" => {
                let fd = self.file(process, raw[0])?;
                Ok(("truncate", fields([("fd", json!(fd.name)), ("length", json!(raw[1]))])))
            }
            "fchmod" => {
                let fd = self.file(process, raw[0])?;
                Ok(("chmod", fields([("fd", json!(fd.name)), ("mode", mode(raw[1]))])))
            }
            "fchown" => {
                let fd = self.file(process, raw[0])?;
                Ok(("chown", owners(("fd", json!(fd.name)), raw[1], raw[2], true)))
            }
            "flock" => {
                let fd = self.file(process, raw[0])?;
                let lock = match raw[1] as i32 & !libc::LOCK_NB {
                    libc::LOCK_SH => "shared",
                    libc::LOCK_EX => "exclusive",
                    _ => "unlock",
                };
                Ok(("flock", fields([("fd", json!(fd.name)), ("lock", json!(lock))])))
            }
            "fchdir" => {
                let fd = self.file(process, raw[0])?;
                Ok(("fchdir", fields([("fd", json!(fd.name))])))
            }
            "fsetxattr" | "fgetxattr" | "fremovexattr" | "flistxattr" => {
                let fd = self.file(process, raw[0])?;
                self.xattr(asked, ("fd", json!(fd.name)))
            }
            "utimensat" if raw[1] == 0 => {
                let fd = self.file(process, raw[0])?;
                times(call, ("fd", json!(fd.name)), true)
            }
            _ => self.step_of_path(asked),
        }
    }

    /// What is no matter of a descriptor.
    fn step_of_path(&self, asked: &Asked<'_>) -> Step {
        let Asked { call, .. } = asked;
        let raw = call.raw;
        let with = |word: &'static str, said| Ok((word, said));
        match call.name.as_str() {
            "mkdir" => with("mkdir", fields([("path", asked.path(0)?), ("mode", mode(raw[1]))])),
            "mkdirat" => {
                with("mkdir", fields([("path", asked.path_at(0)?), ("mode", mode(raw[2]))]))
            }
            "rmdir" => with("rmdir", fields([("path", asked.path(0)?)])),
            "unlink" => with("unlink", fields([("path", asked.path(0)?)])),
            "unlinkat" => {
                let word = if raw[2] == libc::AT_REMOVEDIR as u64 { "rmdir" } else { "unlink" };
                with(word, fields([("path", asked.path_at(0)?)]))
            }
            "rename" => with("rename", fields([("from", asked.path(0)?), ("to", asked.path(1)?)])),
            "renameat" | "renameat2" => {
                let flags = if call.name == "renameat2" { raw[4] } else { 0 };
                let mut said = fields([("from", asked.path_at(0)?), ("to", asked.path_at(2)?)]);
                let known = [(1, "noreplace"), (2, "exchange"), (4, "whiteout")];
                let flags =
                    words(flags, &known).ok_or_else(|| no_step("its flags have no words"))?;
                if !flags.is_empty() {
                    said.insert("flags".to_owned(), json!(flags));
                }
                with("rename", said)
            }
            "link" => with("link", fields([("from", asked.path(0)?), ("to", asked.path(1)?)])),
            "linkat" => {
                let mut said = fields([("from", asked.path_at(0)?), ("to", asked.path_at(2)?)]);
                if raw[4] & libc::AT_SYMLINK_FOLLOW as u64 != 0 {
                    said.insert("follow".to_owned(), json!(true));
                }
                with("link", said)
            }
            "symlink" => {
                with("symlink", fields([("target", asked.text(0)?), ("path", asked.path(1)?)]))
            }
            "symlinkat" => {
                with("symlink", fields([("target", asked.text(0)?), ("path", asked.path_at(1)?)]))
            }
            "mknod" => node(asked.path(0)?, raw[1], raw[2]),
            "mknodat" => node(asked.path_at(0)?, raw[2], raw[3]),
            "chmod" => with("chmod", fields([("path", asked.path(0)?), ("mode", mode(raw[1]))])),
            "fchmodat" => {
                with("chmod", fields([("path", asked.path_at(0)?), ("mode", mode(raw[2]))]))
            }
            "fchmodat2" if raw[3] == 0 => {
                with("chmod", fields([("path", asked.path_at(0)?), ("mode", mode(raw[2]))]))
            }
            "chown" => with("chown", owners(("path", asked.path(0)?), raw[1], raw[2], true)),
            "lchown" => with("chown", owners(("path", asked.path(0)?), raw[1], raw[2], false)),
            "fchownat" => {
                let follow = raw[4] & libc::AT_SYMLINK_NOFOLLOW as u64 == 0;
                with("chown", owners(("path", asked.path_at(0)?), raw[2], raw[3], follow))
            }
            "truncate" => {
                with("truncate", fields([("path", asked.path(0)?), ("length", json!(raw[1]))]))
            }
            "utimensat" => {
                let follow = raw[3] & libc::AT_SYMLINK_NOFOLLOW as u64 == 0;
                times(call, ("path", asked.path_at(0)?), follow)
            }
            "setxattr" | "lsetxattr" | "removexattr" | "lremovexattr" | "getxattr"
            | "lgetxattr" | "listxattr" | "llistxattr" => {
                self.xattr(asked, ("path", asked.path(0)?))
            }
            "chdir" => with("chdir", fields([("path", asked.path(0)?)])),
            "chroot" => with("chroot", fields([("path", asked.path(0)?)])),
            "pivot_root" => {
                let said = fields([("new_root", asked.path(0)?), ("put_old", asked.path(1)?)]);
                with("pivot_root", said)
            }
            "mount" => mount(asked),
            "umount2" => {
                let known = [(1, "force"), (2, "detach"), (4, "expire"), (8, "nofollow")];
                let flags =
                    words(raw[1], &known).ok_or_else(|| no_step("its flags have no words"))?;
                let mut said = fields([("at", asked.path(0)?)]);
                if !flags.is_empty() {
                    said.insert("flags".to_owned(), json!(flags));
                }
                with("umount", said)
            }
            "unshare" => {
                let rest = raw[0] & !((libc::CLONE_FS | libc::CLONE_FILES) as u64);
                match words(rest, NAMESPACES) {
                    Some(all) if all.is_empty() => Err(Not::Ours),
                    Some(all) => with("unshare", fields([("namespaces", json!(all))])),
                    None => Err(no_step("its flags have no words")),
                }
            }
            "clone" if raw[0] & namespaces() != 0 => {
                Err(no_step("a child in new namespaces has no step: fork and unshare are two"))
            }
            "sethostname" => with("sethostname", fields([("name", asked.text(0)?)])),
            "setuid" => with("setuid", fields([("uid", json!(raw[0] as u32))])),
            "setgid" => with("setgid", fields([("gid", json!(raw[0] as u32))])),
            "setresuid" => with("setresuid", ids(["ruid", "euid", "suid"], &raw)),
            "setresgid" => with("setresgid", ids(["rgid", "egid", "sgid"], &raw)),
            "setgroups" if raw[0] == 0 => with("setgroups", fields([("groups", json!([]))])),
            "prctl" if raw[0] == libc::PR_SET_NO_NEW_PRIVS as u64 => {
                with("no_new_privs", Map::new())
            }
            "stat" | "lstat" | "newfstatat" | "statx" | "access" | "faccessat" | "faccessat2"
            | "readlink" | "readlinkat" | "statfs" => self.lookup(asked),
            name if HAS_NO_STEP.contains(&name) && call.errno().is_none() => {
                Err(no_step("nothing in the language is this call with these arguments"))
            }
            _ => Err(Not::Ours),
        }
    }

    fn lookup(&self, asked: &Asked<'_>) -> Step {
        let Asked { call, .. } = asked;
        if !self.wanted.lookups {
            return Err(Not::Ours);
        }
        let raw = call.raw;
        let stat = |path, follow: bool| {
            let mut said = fields([("path", path)]);
            if !follow {
                said.insert("follow".to_owned(), json!(false));
            }
            Ok(("stat", said))
        };
        let nofollow = |flags: u64| flags & libc::AT_SYMLINK_NOFOLLOW as u64 != 0;
        let access = |path, purposes: u64| {
            let known = [(4, "read"), (2, "write"), (1, "execute")];
            let purposes = words(purposes, &known).unwrap_or_default();
            let mut said = fields([("path", path)]);
            if !purposes.is_empty() {
                said.insert("purposes".to_owned(), json!(purposes));
            }
            Ok(("access", said))
        };
        match call.name.as_str() {
            "stat" => stat(asked.path(0)?, true),
            "lstat" => stat(asked.path(0)?, false),
            "newfstatat" => stat(asked.path_at(0)?, !nofollow(raw[3])),
            "statx" => stat(asked.path_at(0)?, !nofollow(raw[2])),
            "access" => access(asked.path(0)?, raw[1]),
            "faccessat" | "faccessat2" => access(asked.path_at(0)?, raw[2]),
            "readlink" => Ok(("readlink", fields([("path", asked.path(0)?)]))),
            "readlinkat" => Ok(("readlink", fields([("path", asked.path_at(0)?)]))),
            _ => Ok(("statfs", fields([("path", asked.path(0)?)]))),
        }
    }

    fn open(&mut self, process: i32, asked: &Asked<'_>, path: Value, raw: u64, bits: u64) -> Step {
        let Asked { call, .. } = asked;
        let mut flags = vec![match raw as i32 & libc::O_ACCMODE {
            libc::O_WRONLY => "wronly",
            libc::O_RDWR => "rdwr",
            _ => "rdonly",
        }];
        // In the order in which they are read aloud; what holds several bits stands first.
        for (flag, word) in OPEN_FLAGS {
            let bits = *flag as u64;
            let within = *word == "directory" && flags.contains(&"tmpfile");
            if raw & bits == bits && !within {
                flags.push(word);
            }
        }
        let mut said = fields([("path", path)]);
        if flags != ["rdonly"] {
            said.insert("flags".to_owned(), json!(flags));
        }
        if flags.contains(&"creat") || flags.contains(&"tmpfile") {
            said.insert("mode".to_owned(), mode(bits));
        }
        if let Some(fd) = call.value() {
            self.opened += 1;
            let name = format!("f{}", self.opened);
            said.insert("fd".to_owned(), json!(name));
            let closes = raw & libc::O_CLOEXEC as u64 != 0;
            let known = self.processes.entry(process).or_default();
            known.files.insert(fd as i32, (Rc::new(Open { name }), closes));
        }
        Ok(("open", said))
    }

    fn read(&mut self, process: i32, call: &Call) -> Step {
        let file = self.file(process, call.raw[0])?;
        let mut said = fields([("fd", json!(file.name))]);
        let at = if call.name == "pread64" { Some(call.raw[3]) } else { self.at(&file, call) };
        said.extend(at.map(|at| ("offset".to_owned(), json!(at))));
        said.insert("length".to_owned(), json!(call.raw[2].min(1 << 20)));
        if call.errno().is_none() {
            let data = call.bytes[1].as_deref().map(std::str::from_utf8);
            match data {
                Some(Ok(data)) if data.len() == call.value().unwrap_or(0) as usize => {
                    said.insert("expect".to_owned(), json!({ "data": data }));
                }
                _ => drop(said.insert("expect".to_owned(), json!({ "length": call.value() }))),
            }
        }
        Ok(("read", said))
    }

    fn write(&mut self, process: i32, call: &Call) -> Step {
        let file = self.file(process, call.raw[0])?;
        let data = self.data(call.bytes[1].as_deref(), call.raw[2])?;
        let mut said = fields([("fd", json!(file.name)), ("data", json!(data))]);
        let at = if call.name == "pwrite64" { Some(call.raw[3]) } else { self.at(&file, call) };
        said.extend(at.map(|at| ("offset".to_owned(), json!(at))));
        Ok(("write", said))
    }

    /// What was given, where it can be written down.
    fn data<'d>(&self, bytes: Option<&'d [u8]>, length: u64) -> Result<&'d str, Not> {
        let bytes = bytes.ok_or_else(|| no_step("its data could not be read"))?;
        if bytes.len() as u64 != length || bytes.len() > MOST_DATA {
            return Err(no_step("its data are too long for a step"));
        }
        std::str::from_utf8(bytes).map_err(|_| no_step("its data are no text"))
    }

    /// Where a file is read or written next, where that was set before; and behind what is, from then on.
    fn at(&mut self, file: &Open, call: &Call) -> Option<u64> {
        let position = self.positions.get_mut(&file.name)?;
        let at = *position;
        *position += call.value().unwrap_or(0);
        Some(at)
    }

    /// From one file to another in the kernel: as a step that reads, and one that writes.
    fn copy(&mut self, process: i32, call: &Call, from: u64, to: u64) -> Step {
        let (from, to) = (self.file(process, from)?, self.file(process, to)?);
        // At the end of the file, or not between these two, after which programs read and write.
        let Some(length @ 1..) = call.value() else { return Err(Not::Ours) };
        let data = self.data(call.bytes[5].as_deref(), length)?.to_owned();
        let actor = self.actor(process);
        let expect = json!({ "data": data });
        let mut read =
            fields([("fd", json!(from.name)), ("length", json!(length)), ("expect", expect)]);
        let at = self.at(&from, call);
        read.extend(at.map(|at| ("offset".to_owned(), json!(at))));
        self.push(&actor, "read", read);
        let mut write = fields([("fd", json!(to.name)), ("data", json!(data))]);
        let at = self.at(&to, call);
        write.extend(at.map(|at| ("offset".to_owned(), json!(at))));
        Ok(("write", write))
    }

    fn xattr(&self, asked: &Asked<'_>, (key, file): (&str, Value)) -> Step {
        let Asked { call, .. } = asked;
        let follow = !call.name.starts_with('l');
        let mut said = fields([(key, file)]);
        let word = match call.name.trim_start_matches(['l', 'f']) {
            "setxattr" => "setxattr",
            "removexattr" => "removexattr",
            "getxattr" => "getxattr",
            // `l` is the beginning of listxattr too.
            _ => "listxattr",
        };
        let follow = follow || call.name == "listxattr";
        if ["getxattr", "listxattr"].contains(&word) && !self.wanted.lookups {
            return Err(Not::Ours);
        }
        if word != "listxattr" {
            said.insert("name".to_owned(), asked.text(1)?);
        }
        if word == "setxattr" {
            let bytes =
                call.bytes[3 - 1].as_deref().or(call.bytes[2].as_deref()).unwrap_or_default();
            match std::str::from_utf8(bytes) {
                Ok(text) => said.insert("value".to_owned(), json!(text)),
                Err(_) => {
                    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    said.insert("hex".to_owned(), json!(hex))
                }
            };
            let flag = match call.raw[4] {
                1 => Some("create"),
                2 => Some("replace"),
                _ => None,
            };
            said.extend(flag.map(|flag| ("flag".to_owned(), json!(flag))));
        }
        if !follow && key == "path" {
            said.insert("follow".to_owned(), json!(false));
        }
        Ok((word, said))
    }
}

/// Steps by which something comes to be, with the mode that the umask leaves.
const CREATES: &[&str] = &["mkdir", "mknod", "open"];
/// Calls that change files, mounts or the process, and that are steps only with some arguments or with none.
const HAS_NO_STEP: &[&str] = &[
    "openat2",
    "fallocate",
    "writev",
    "pwritev",
    "pwritev2",
    "fchmodat2",
    "utime",
    "utimes",
    "futimesat",
    "setns",
    "clone3",
    "setreuid",
    "setregid",
    "setfsuid",
    "setfsgid",
    "setgroups",
    "capset",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "splice",
    "io_uring_setup",
    "name_to_handle_at",
    "open_by_handle_at",
    "copy_file_range",
    "swapon",
    "quotactl",
];
const OPEN_FLAGS: &[(i32, &str)] = &[
    (libc::O_CREAT, "creat"),
    (libc::O_EXCL, "excl"),
    (libc::O_TRUNC, "trunc"),
    (libc::O_APPEND, "append"),
    (libc::O_TMPFILE, "tmpfile"),
    (libc::O_DIRECTORY, "directory"),
    (libc::O_NOFOLLOW, "nofollow"),
    (libc::O_PATH, "path"),
    (libc::O_NOATIME, "noatime"),
    (libc::O_NONBLOCK, "nonblock"),
    (libc::O_SYNC, "sync"),
    (libc::O_DIRECT, "direct"),
];
const NAMESPACES: &[(u64, &str)] = &[
    (libc::CLONE_NEWUSER as u64, "user"),
    (libc::CLONE_NEWNS as u64, "mount"),
    (libc::CLONE_NEWPID as u64, "pid"),
    (libc::CLONE_NEWNET as u64, "net"),
    (libc::CLONE_NEWIPC as u64, "ipc"),
    (libc::CLONE_NEWUTS as u64, "uts"),
    (libc::CLONE_NEWCGROUP as u64, "cgroup"),
    (0x80, "time"),
];
/// Flags of mount(2) that say what a mount is like.
const MOUNT_FLAGS: &[(u64, &str)] = &[
    (libc::MS_RDONLY, "ro"),
    (libc::MS_NOSUID, "nosuid"),
    (libc::MS_NODEV, "nodev"),
    (libc::MS_NOEXEC, "noexec"),
    (libc::MS_NOATIME, "noatime"),
    (libc::MS_NODIRATIME, "nodiratime"),
    (libc::MS_RELATIME, "relatime"),
    (libc::MS_STRICTATIME, "strictatime"),
    (libc::MS_SYNCHRONOUS, "sync"),
    (libc::MS_DIRSYNC, "dirsync"),
];
/// What libmount adds, and what means nothing any more.
const NOTHING: u64 = libc::MS_SILENT | 0xC0ED_0000;
const PROPAGATION: &[(u64, &str)] = &[
    (libc::MS_SHARED, "shared"),
    (libc::MS_PRIVATE, "private"),
    (libc::MS_SLAVE, "slave"),
    (libc::MS_UNBINDABLE, "unbindable"),
];

/// The flags of clone(2) for namespaces; that of time namespaces is another thing there.
fn namespaces() -> u64 {
    NAMESPACES[..NAMESPACES.len() - 1].iter().fold(0, |all, (bits, _)| all | bits)
}

/// A call, and what was where as it began.
struct Asked<'a> {
    call: &'a Call,
    places: &'a [Option<String>; 6],
    root: Option<&'a str>,
}

impl Asked<'_> {
    /// An argument that is a text.
    fn text(&self, place: usize) -> Result<Value, Not> {
        match (&self.call.bytes[place], self.call.text(place)) {
            (_, Some(text)) if text.contains('\0') => Err(no_step("there is a zero byte in it")),
            (_, Some(text)) => Ok(json!(text)),
            (Some(_), None) => Err(no_step("it is no text")),
            (None, None) => Err(no_step("it could not be read")),
        }
    }

    fn finds_nothing(&self) -> bool {
        self.call.errno() == Some(nix::errno::Errno::ENOENT)
    }

    /// An argument that is a path.
    fn path(&self, place: usize) -> Result<Value, Not> {
        let path = self.text(place)?;
        match path.as_str() {
            Some(path) if is_below(path, NOT_OURS) => Err(Not::Ours),
            Some(path) if is_below(path, SETTINGS) && self.finds_nothing() => Err(Not::Ours),
            _ => Ok(path),
        }
    }

    /// A path behind the descriptor at this place, from where it starts.
    fn path_at(&self, place: usize) -> Result<Value, Not> {
        let path = self.path(place + 1)?;
        let text = path.as_str().unwrap_or_default();
        let here = self.call.raw[place] as u32 as i32 == libc::AT_FDCWD;
        if here || text.starts_with('/') {
            return Ok(path);
        }
        let Some(directory) = &self.places[place] else {
            // A descriptor that there is not.
            return Err(no_step("it starts from a descriptor that is no directory"));
        };
        if !directory.starts_with('/') || self.root.is_some_and(|root| root != "/") {
            return Err(no_step("it starts from a directory that has no path in its root"));
        }
        let joined = if text.is_empty() {
            directory.clone()
        } else {
            format!("{}/{text}", directory.trim_end_matches('/'))
        };
        if is_below(&joined, NOT_OURS) { Err(Not::Ours) } else { Ok(json!(joined)) }
    }
}

fn is_below(path: &str, tops: &[&str]) -> bool {
    let below = |top: &&str| {
        path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    tops.iter().any(below)
}

/// Fields with ids, where one of -1 stays.
fn ids(keys: [&str; 3], raw: &[u64; 6]) -> Map<String, Value> {
    let ids = keys.iter().zip(raw).filter(|(_, id)| **id as u32 != u32::MAX);
    ids.map(|(key, id)| ((*key).to_owned(), json!(*id as u32))).collect()
}

fn owners((key, file): (&str, Value), uid: u64, gid: u64, follow: bool) -> Map<String, Value> {
    let mut said = fields([(key, file)]);
    for (key, id) in [("uid", uid), ("gid", gid)] {
        if id as u32 != u32::MAX {
            said.insert(key.to_owned(), json!(id as u32));
        }
    }
    if !follow {
        said.insert("follow".to_owned(), json!(false));
    }
    said
}

fn node(path: Value, bits: u64, device: u64) -> Step {
    let kind = match bits as u32 & libc::S_IFMT {
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        _ => "file",
    };
    let mut said = fields([("path", path), ("type", json!(kind)), ("mode", mode(bits))]);
    if ["char", "block"].contains(&kind) {
        let number = format!("{}:{}", libc::major(device), libc::minor(device));
        said.insert("rdev".to_owned(), json!(number));
    }
    Ok(("mknod", said))
}

fn times(call: &Call, (key, file): (&str, Value), follow: bool) -> Step {
    let mut said = fields([(key, file)]);
    let times = match (&call.bytes[2], call.raw[2]) {
        (_, 0) => [json!("now"), json!("now")],
        (Some(bytes), _) if bytes.len() == 32 => {
            let number =
                |at: usize| i64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
            let time = |at: usize| match number(at + 8) {
                libc::UTIME_NOW => json!("now"),
                libc::UTIME_OMIT => json!("omit"),
                _ => json!(number(at).to_string()),
            };
            [time(0), time(16)]
        }
        _ => return Err(no_step("its times could not be read")),
    };
    let [atime, mtime] = times;
    for (key, time) in [("atime", atime), ("mtime", mtime)] {
        if time != "omit" {
            said.insert(key.to_owned(), time);
        }
    }
    if !follow {
        said.insert("follow".to_owned(), json!(false));
    }
    Ok(("utimes", said))
}

fn mount(asked: &Asked<'_>) -> Step {
    let raw = asked.call.raw;
    let at = asked.path(1)?;
    let flags = raw[3] & !NOTHING;
    let recursive = flags & libc::MS_REC != 0;
    let known = words(flags & !(libc::MS_REC | libc::MS_BIND | libc::MS_REMOUNT), MOUNT_FLAGS);
    if flags & libc::MS_REMOUNT != 0 {
        let mut said = fields([("at", at)]);
        if flags & libc::MS_BIND != 0 {
            said.insert("bind".to_owned(), json!(true));
        }
        said.insert(
            "flags".to_owned(),
            json!(known.ok_or_else(|| no_step("its flags have no words"))?),
        );
        options(asked, &mut said)?;
        return Ok(("remount", said));
    }
    if flags & libc::MS_BIND != 0 {
        let word = if recursive { "rbind" } else { "bind" };
        return Ok((word, fields([("from", asked.path(0)?), ("at", at)])));
    }
    if let Some((_, kind)) = PROPAGATION.iter().find(|(bits, _)| flags & bits != 0) {
        let mut said = fields([("at", at), ("type", json!(kind))]);
        if recursive {
            said.insert("recursive".to_owned(), json!(true));
        }
        return Ok(("propagation", said));
    }
    if flags & libc::MS_MOVE != 0 {
        return Ok(("move", fields([("from", asked.path(0)?), ("at", at)])));
    }
    let mut said = fields([("type", asked.text(2)?), ("at", at)]);
    if raw[0] != 0 {
        said.insert("source".to_owned(), asked.text(0)?);
    }
    let known = known.ok_or_else(|| no_step("its flags have no words"))?;
    if !known.is_empty() {
        said.insert("flags".to_owned(), json!(known));
    }
    options(asked, &mut said)?;
    Ok(("mount", said))
}

/// The options of a mount, which are a text with commas.
fn options(asked: &Asked<'_>, said: &mut Map<String, Value>) -> Result<(), Not> {
    if asked.call.raw[4] == 0 {
        return Ok(());
    }
    let text = asked.text(4)?;
    let options: Vec<_> =
        text.as_str().unwrap_or_default().split(',').filter(|o| !o.is_empty()).collect();
    if !options.is_empty() {
        said.insert("options".to_owned(), json!(options));
    }
    Ok(())
}
