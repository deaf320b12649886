//! A reproduction in C: plain system calls, one file, no library but the C library.

mod steps;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use self::steps::{Context, capabilities, literal, told};
use self::words::shown;
use super::{About, Expected, Refusal, expected, is_within_reach, refuse};
use crate::report::sentence::sentence;
use crate::scenario::operation::{Family, Namespace, Operation};
use crate::scenario::plan::Plan;
use crate::scenario::scalar::{IdMap, Name};
use crate::scenario::world::{Actor, Entry, EntryKind, Setup};
use crate::transcript::{Transcript, Values};

/// The functions that reproductions are made of, in sections: each has only those that it uses.
const PRELUDE: &str = include_str!("prelude.c");
/// The id that root of the sandbox is on the machine where root runs it: nobody's, as systemd has it.
const NOBODY: u32 = 0x7000_0000;
/// System calls that the headers may be too old to know; their numbers are the same everywhere.
const NEW_CALLS: &[(&str, u32)] = &[
    ("SYS_open_tree", 428),
    ("SYS_move_mount", 429),
    ("SYS_fsopen", 430),
    ("SYS_fsconfig", 431),
    ("SYS_fsmount", 432),
    ("SYS_faccessat2", 439),
    ("SYS_mount_setattr", 442),
    ("STATX_ATTR_MOUNT_ROOT", 0x2000),
];
const HEADERS: &[&str] = &[
    "errno.h",
    "fcntl.h",
    "sched.h",
    "signal.h",
    "stdarg.h",
    "stdio.h",
    "stdlib.h",
    "string.h",
    "unistd.h",
    "linux/capability.h",
    "sys/file.h",
    "sys/mman.h",
    "sys/mount.h",
    "sys/prctl.h",
    "sys/socket.h",
    "sys/stat.h",
    "sys/statfs.h",
    "sys/syscall.h",
    "sys/sysmacros.h",
    "sys/utsname.h",
    "sys/wait.h",
    "sys/xattr.h",
];

/// The program that reproduces a plan: `predicted` is what the model says of it.
///
/// # Errors
/// The first part of the plan that such a program cannot do.
pub fn program(plan: &Plan, predicted: &Transcript, about: &About) -> Result<String, Refusal> {
    is_within_reach(plan)?;
    if let Some(overlays) = &about.overlay {
        return refuse(
            "world",
            format!("its overlays are mounted by {overlays}: a script can call that"),
        );
    }
    let program = Program::new(plan, expected(plan, predicted)?);
    let mut body = program.constants();
    let mut functions = program.files();
    functions.push_str(&program.world()?);
    functions.push_str(&program.actors()?);
    functions.push_str(&program.take()?);
    functions.push_str(&program.conduct());
    functions.push_str("\nint main(void)\n{\n\treturn sandbox(conduct);\n}\n");
    body.push_str(&used(&format!("{body}{functions}")));
    body.push_str(&functions);
    Ok(format!("{}{}{body}", head(about), includes(&body)))
}

/// The comment at the top.
fn head(about: &About) -> String {
    let mut head = String::from("/*\n");
    let how = [
        "Build and run it: cc -o repro repro.c && ./repro",
        "It exits with 1 where anything deviates, with 0 where nothing does, with 2 where it cannot be asked.",
    ];
    let notes = about.notes.iter().map(String::as_str);
    for line in [about.title.as_str()].into_iter().chain(notes).chain(how) {
        // What ends a comment, or writes to a terminal, is not part of any.
        let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        head.push_str(&format!(" * {}\n", line.replace("*/", "* /").replace("/*", "/ *")));
    }
    head.push_str(" */\n#define _GNU_SOURCE\n");
    head
}

fn includes(body: &str) -> String {
    let mut includes: String = HEADERS.iter().map(|name| format!("#include <{name}>\n")).collect();
    includes.push('\n');
    for (name, value) in NEW_CALLS.iter().filter(|(name, _)| names(body, name)) {
        includes.push_str(&format!("#ifndef {name}\n#define {name} {value}\n#endif\n"));
    }
    includes
}

/// The sections of the prelude that some functions use, and those that these use.
fn used(functions: &str) -> String {
    let sections: Vec<(&str, &str)> =
        PRELUDE.split("//- ").filter_map(|section| section.split_once('\n')).collect();
    let mut chosen = BTreeSet::new();
    let mut texts = vec![code(functions)];
    while let Some(text) = texts.pop() {
        for (index, (defined, section)) in sections.iter().enumerate() {
            if defined.split(' ').any(|name| names(&text, name)) && chosen.insert(index) {
                texts.push(code(section));
            }
        }
    }
    chosen.iter().map(|index| format!("\n{}", sections[*index].1)).collect()
}

/// A text without its comments and literals.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        code.push_str(&rest[..at]);
        let (open, inside) = rest[at..].split_at(1);
        rest = if let Some(comment) = inside.strip_prefix('*').filter(|_| open == "/") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else if open == "/" {
            inside
        } else {
            behind(inside, open)
        };
    }
    code.push_str(rest);
    code
}

/// What stands behind the end of a literal.
fn behind<'t>(inside: &'t str, quote: &str) -> &'t str {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if quote.starts_with(c) => return &inside[at + 1..],
            _ => {}
        }
    }
    ""
}

/// Whether a text has a word that stands by itself.
fn names(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

/// A name as a part of one in C.
fn identifier(name: &Name) -> String {
    name.as_str().replace('-', "_")
}

struct Program<'p> {
    plan: &'p Plan,
    expected: Vec<Expected<'p>>,
    /// The actors with processes of their own, by name.
    actors: BTreeMap<Name, usize>,
    /// The variables of open files.
    files: BTreeMap<Name, String>,
}

impl<'p> Program<'p> {
    fn new(plan: &'p Plan, expected: Vec<Expected<'p>>) -> Self {
        let mut actors = BTreeMap::new();
        if needs_processes(plan, &expected) {
            let forked = plan.steps.iter().filter_map(|step| match &step.operation {
                Operation::Fork(fork) => Some(&fork.child),
                _ => None,
            });
            let names = plan.world.actors.keys().chain(forked);
            actors.extend(names.enumerate().map(|(index, name)| (name.clone(), index)));
        }
        let mut files = BTreeMap::new();
        for name in opened(plan) {
            let variable = format!("fd{}_{}", files.len(), identifier(&name));
            files.entry(name).or_insert(variable);
        }
        Self { plan, expected, actors, files }
    }

    fn constants(&self) -> String {
        let mut maps = String::new();
        let privileged = self.plan.needs.privileged;
        if !self.plan.needs.ids.is_empty() && !privileged {
            let mut next = NOBODY + 1;
            maps = format!("0 {NOBODY} 1\n");
            for (first, last) in &self.plan.needs.ids {
                let count = last - first + 1;
                maps.push_str(&format!("{first} {next} {count}\n"));
                next = next.saturating_add(count);
            }
        }
        let namespaces: Vec<Namespace> = self.plan.needs.namespaces.iter().copied().collect();
        let time = |kind: &Namespace| *kind != Namespace::Time;
        let namespaces: Vec<Namespace> = namespaces.into_iter().filter(time).collect();
        let namespaces = words::flags(&namespaces, words::namespace, "");
        let mut text = format!("\n#define NOBODY {NOBODY}\n#define MAPS {}\n", literal(&maps));
        text.push_str(&format!("#define NAMESPACES ({namespaces})\n"));
        let (flags, become_it) = match privileged {
            true => ("MS_NOSUID | MS_NODEV", "real_root()"),
            false => ("0", "mapped_root(unshared, mapped)"),
        };
        text.push_str(&format!("#define FLAGS ({flags})\n#define BECOME {become_it}\n"));
        if !self.actors.is_empty() {
            text.push_str(&format!("#define ACTORS {}\n", self.actors.len()));
        }
        text
    }

    fn files(&self) -> String {
        let lines = self.files.values().map(|name| format!("static int {name} = -1;\n"));
        let lines: String = lines.collect();
        if lines.is_empty() { lines } else { format!("\n{lines}") }
    }

    fn world(&self) -> Result<String, Refusal> {
        let mut lines = vec!["umask(0);".to_owned()];
        let mut made = BTreeSet::new();
        for setup in &self.plan.world.setup {
            match setup {
                Setup::Tree(tree) => {
                    let is_link = |entry: &Entry| matches!(entry.kind, EntryKind::Hardlink(_));
                    let first = tree.iter().filter(|(_, entry)| !is_link(entry));
                    for (path, entry) in first.chain(tree.iter().filter(|(_, e)| is_link(e))) {
                        plant(path.as_str(), entry, &mut made, &mut lines);
                    }
                }
                Setup::Mount { operation, .. } => {
                    let what = literal(operation.word());
                    let wanted = Values::new();
                    let statements = self.statements(operation, &wanted, "world")?;
                    lines.push("{".to_owned());
                    lines.extend(statements.iter().map(|line| format!("\t{line}")));
                    lines.extend([format!("\tneed({what});"), "}".to_owned()]);
                    // What is mounted may hide what was made.
                    made.clear();
                }
            }
        }
        lines.push("umask(022);".to_owned());
        Ok(function("world", &lines))
    }

    fn statements(
        &self,
        operation: &Operation,
        wanted: &Values,
        what: &str,
    ) -> Result<Vec<String>, Refusal> {
        let context = Context { wanted, files: &self.files, actors: &self.actors };
        steps::statements(operation, &context).or_else(|why| refuse(what, why))
    }

    fn take(&self) -> Result<String, Refusal> {
        let mut text = String::from("\nstatic void take(int step)\n{\n\tswitch (step) {\n");
        for (index, expected) in self.expected.iter().enumerate() {
            let number = index + 1;
            let what = format!("step {number}: {}", sentence(&expected.step));
            let wanted = expected.outcome.clone().unwrap_or_default();
            let wanted = told(&expected.step.operation, &wanted);
            text.push_str(&format!("\tcase {number}: {{\n"));
            for line in self.statements(&expected.step.operation, &wanted, &what)? {
                text.push_str(&format!("\t\t{line}\n"));
            }
            text.push_str("\t\tbreak;\n\t}\n");
        }
        text.push_str("\t}\n}\n");
        Ok(text)
    }

    fn conduct(&self) -> String {
        let mut lines = vec!["world();".to_owned()];
        if !self.actors.is_empty() {
            lines.push("lines();".to_owned());
        }
        for (name, actor) in &self.plan.world.actors {
            if let Some(index) = self.actors.get(name) {
                let own = identifier(name);
                let become_it = if *actor == Actor::default() {
                    "NULL".into()
                } else {
                    format!("become_actor_{own}")
                };
                let maps = if wants_maps(actor) { format!("maps_{own}") } else { "NULL".into() };
                lines.push(format!("start({index}, {become_it}, {maps});"));
            }
        }
        for (index, expected) in self.expected.iter().enumerate() {
            self.asked(index + 1, expected, &mut lines);
        }
        function("conduct", &lines)
    }

    /// The statements that have a step taken and checked.
    fn asked(&self, number: usize, expected: &Expected<'_>, lines: &mut Vec<String>) {
        let step = &expected.step;
        let actor = self.actors.get(&step.actor);
        lines.push(match actor {
            _ if expected.outside => format!("outside({number});"),
            Some(actor) => format!("ask({actor}, {number});"),
            None => format!("run({number});"),
        });
        let wanted = match &expected.outcome {
            _ if expected.anything => "said".to_owned(),
            Ok(values) => {
                let values = told(&step.operation, values);
                format!(
                    "(struct answer){{ .values = {} }}",
                    literal(&in_order(&step.operation, &values))
                )
            }
            Err((errno, call)) => {
                let name = errno.to_string();
                let error = name.strip_prefix("errno ").unwrap_or(&name);
                format!("(struct answer){{ .error = {error}, .call = {} }}", literal(call))
            }
        };
        lines.push(format!("check({number}, {}, {wanted});", literal(&sentence(step))));
        match &step.operation {
            Operation::Fork(fork) => {
                let child = self.actors.get(&fork.child).copied().unwrap_or_default();
                lines.push("if (!said.error) {".to_owned());
                lines.extend([format!("\thear({child});"), format!("\tpids[{child}] = said.pid;")]);
                lines.push("}".to_owned());
            }
            Operation::Exit(_) => lines.extend(actor.map(|actor| format!("gone({actor});"))),
            _ => {}
        }
    }

    /// How each actor becomes what the world says, and who writes its maps.
    fn actors(&self) -> Result<String, Refusal> {
        let mut text = String::new();
        for (name, actor) in &self.plan.world.actors {
            if !self.actors.contains_key(name) || *actor == Actor::default() {
                continue;
            }
            let own = identifier(name);
            text.push_str(&function(&format!("become_actor_{own}"), &becoming(actor)));
            if let Some(userns) = actor.userns.as_ref().filter(|_| wants_maps(actor)) {
                text.push_str(&format!("\nstatic void maps_{own}(int pid)\n{{\n"));
                let deny = userns.deny_setgroups.then(|| ("setgroups", "deny".to_owned()));
                let map = |name, map: &Option<IdMap>| map.as_ref().map(|map| (name, map.text()));
                let uid = map("uid_map", &userns.uid_map);
                let gid = map("gid_map", &userns.gid_map);
                for (file, written) in deny.into_iter().chain(uid).chain(gid) {
                    let (written, length) = (literal(&written), written.len());
                    text.push_str(&format!(
                        "\twrite_file(pid, \"{file}\", {written}, {length});\n"
                    ));
                    text.push_str(&format!("\tneed(\"{file}\");\n"));
                }
                text.push_str("}\n");
            }
        }
        Ok(text)
    }
}

/// Whether actors take processes of their own: where there are several, or one of them changes what the
/// sandbox itself has to look at afterwards.
fn needs_processes(plan: &Plan, expected: &[Expected<'_>]) -> bool {
    let changes = |operation: &Operation| {
        !matches!(operation.described().family, Family::Files | Family::Mounts)
    };
    let makes =
        |operation: &Operation| matches!(operation, Operation::Fork(_) | Operation::Exit(_));
    let looked_at = expected.iter().any(|expected| expected.outside);
    plan.world.actors.len() > 1
        || plan.world.actors.values().any(|actor| *actor != Actor::default())
        || plan.steps.iter().any(|step| makes(&step.operation))
        || looked_at && plan.steps.iter().any(|step| changes(&step.operation))
}

/// The names of open files, contexts and mounts.
fn opened(plan: &Plan) -> BTreeSet<Name> {
    let names = plan.steps.iter().filter_map(|step| match &step.operation {
        Operation::Open(open) => open.fd.clone(),
        Operation::Fsopen(open) => Some(open.fd.clone()),
        Operation::OpenNamespace(open) => Some(open.fd.clone()),
        Operation::Fsmount(open) => Some(open.mount.clone()),
        Operation::OpenTree(open) => Some(open.mount.clone()),
        _ => None,
    });
    names.collect()
}

fn wants_maps(actor: &Actor) -> bool {
    actor
        .userns
        .as_ref()
        .is_some_and(|u| u.uid_map.is_some() || u.gid_map.is_some() || u.deny_setgroups)
}

/// A function without arguments.
fn function(name: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("\t{line}\n")).collect();
    format!("\nstatic void {name}(void)\n{{\n{lines}}}\n")
}

/// The values as statements say them: in the order of the statements.
fn in_order(operation: &Operation, values: &Values) -> String {
    // A list says its names first; all others are said in the order of the alphabet.
    let mut names: Vec<&str> = values.keys().map(|name| name.as_str()).collect();
    if matches!(operation, Operation::List(_) | Operation::Listxattr(_)) {
        names.reverse();
    }
    let said = names.into_iter().filter_map(|name| {
        let value = values.get(name).and_then(shown)?;
        Some(format!("{name} {value}\n"))
    });
    said.collect()
}

/// The statements that make an entry of a tree.
fn plant(path: &str, entry: &Entry, made: &mut BTreeSet<String>, lines: &mut Vec<String>) {
    for (at, _) in path.match_indices('/') {
        if made.insert(path[..at].to_owned()) {
            lines.push(format!("directory({});", literal(&path[..at])));
        }
    }
    let name = literal(path);
    let must = |call: String| format!("must({name}, {call});");
    let node = |kind: &str, major: u32, minor: u32| {
        must(format!("mknod({name}, {kind} | 0644, makedev({major}, {minor}))"))
    };
    let mut default_mode = Some(0o644);
    match &entry.kind {
        EntryKind::Dir => {
            default_mode = Some(0o755);
            if made.insert(path.to_owned()) {
                lines.push(format!("directory({name});"));
            }
        }
        EntryKind::File(content) => {
            lines.push(format!("file({name}, {}, {});", literal(content), content.len()));
        }
        EntryKind::Sparse(size) => lines.push(format!("sparse({name}, {size});")),
        EntryKind::Symlink(target) => {
            default_mode = None;
            lines.push(must(format!("symlink({}, {name})", literal(target))));
        }
        EntryKind::Hardlink(other) => {
            default_mode = None;
            lines.push(must(format!("link({}, {name})", literal(other.as_str()))));
        }
        EntryKind::Fifo => lines.push(node("S_IFIFO", 0, 0)),
        EntryKind::Socket => lines.push(node("S_IFSOCK", 0, 0)),
        EntryKind::Char(number) => {
            lines.push(node("S_IFCHR", number.major, number.minor));
            if (number.major, number.minor) == (0, 0) {
                default_mode = None;
            }
        }
        EntryKind::Block(number) => lines.push(node("S_IFBLK", number.major, number.minor)),
        // Refused before: see `is_within_reach`.
        EntryKind::Program(_) | EntryKind::Image(_) => {}
    }
    let is_owned = entry.uid.is_some() || entry.gid.is_some();
    if is_owned {
        let id = |id: Option<u32>| id.map_or_else(|| "-1".to_owned(), |id| format!("{id}U"));
        let (uid, gid) = (id(entry.uid), id(entry.gid));
        lines.push(must(format!("lchown({name}, {uid}, {gid})")));
    }
    // After chown, which takes set-user-ID bits away.
    let mode = entry.mode.map(|mode| mode.0).or(default_mode.filter(|_| is_owned));
    if let Some(mode) = mode {
        lines.push(must(format!("chmod({name}, 0{mode:o})")));
    }
    for (key, value) in &entry.xattrs {
        let (key, length, value) = (literal(key), value.len(), literal(value));
        lines.push(must(format!("lsetxattr({name}, {key}, {value}, {length}, 0)")));
    }
}

/// The statements by which a process becomes an actor, in the order in which nsharness does it.
fn becoming(actor: &Actor) -> Vec<String> {
    let mut lines = Vec::new();
    let must = |call: &str, rest: String| format!("must(\"{call}\", {rest});");
    if let Some(mask) = actor.umask {
        lines.push(format!("umask(0{:o});", mask.0));
    }
    let uid = actor.uid.unwrap_or(0);
    let gid = actor.gid.unwrap_or(uid);
    if actor.caps.is_some() && uid != 0 {
        lines.push(must("PR_SET_KEEPCAPS", "prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)".to_owned()));
    }
    if !actor.groups.is_empty() {
        lines.extend(steps::groups(&actor.groups));
        lines.push("need(\"setgroups\");".to_owned());
    }
    let all = |name: &str, id: u32| must(name, format!("syscall(SYS_{name}, {id}U, {id}U, {id}U)"));
    lines.extend((gid != 0).then(|| all("setresgid", gid)));
    lines.extend((uid != 0).then(|| all("setresuid", uid)));
    lines.push("prctl(PR_SET_DUMPABLE, 1);".to_owned());
    if let Some(userns) = &actor.userns {
        lines.push(must("unshare", "unshare(CLONE_NEWUSER)".to_owned()));
        if wants_maps(actor) {
            lines.push("own_maps();".to_owned());
            let maps_zero = |map: &Option<IdMap>| {
                map.as_ref().is_some_and(|map| map.0.iter().any(|(inside, ..)| *inside == 0))
            };
            lines.extend(maps_zero(&userns.gid_map).then(|| all("setresgid", 0)));
            lines.extend(maps_zero(&userns.uid_map).then(|| all("setresuid", 0)));
            lines.push("prctl(PR_SET_DUMPABLE, 1);".to_owned());
        }
    }
    if !actor.unshare.is_empty() {
        let kinds = words::flags(&actor.unshare, words::namespace, "");
        lines.push(must("unshare", format!("unshare({kinds})")));
        if actor.unshare.iter().any(|kind| matches!(kind, Namespace::Pid | Namespace::Time)) {
            lines.push("follow();".to_owned());
        }
    }
    let path = |path: &crate::scenario::scalar::StepPath| literal(path.as_str());
    if let Some(root) = &actor.root {
        lines.push(must("chroot", format!("chroot({})", path(root))));
    }
    if actor.root.is_some() || actor.cwd.is_some() {
        let cwd = actor.cwd.as_ref().map_or_else(|| "\"/\"".to_owned(), path);
        lines.push(must("chdir", format!("chdir({cwd})")));
    }
    if let Some(caps) = &actor.caps {
        let set = capabilities(Some(caps));
        let sets = format!("(struct capabilities){{ {set}, {set}, 0 }}");
        lines.push(must("capset", format!("set_capabilities({sets})")));
    }
    if actor.no_new_privs {
        let call = "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)".to_owned();
        lines.push(must("PR_SET_NO_NEW_PRIVS", call));
    }
    lines
}
