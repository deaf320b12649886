//! One call after the other as a step.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::actors::Actors;
use super::step::{Asked, Not, Step, fields, mode, no_step};
use super::{Line, Wanted, calls};
use crate::trace::{Call, Event};

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
                Ok(("chown", calls::owners(("fd", json!(fd.name)), raw[1], raw[2], true)))
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
            "fsetxattr" | "fremovexattr" => {
                let fd = self.file(process, raw[0])?;
                calls::xattr(asked, ("fd", json!(fd.name)))
            }
            "utimensat" if raw[1] == 0 => {
                let fd = self.file(process, raw[0])?;
                calls::times(call, ("fd", json!(fd.name)), true)
            }
            _ => calls::step(asked, self.wanted),
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
}

/// Steps by which something comes to be, with the mode that the umask leaves.
const CREATES: &[&str] = &["mkdir", "mknod", "open"];
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
