//! A reproduction as a script of the shell: the usual tools, for what they can do as the system call would.
//!
//! Tools are no system calls: mount(8) reports errors in words of its own, so that of mounts only whether
//! they succeed is compared. What a tool would do in another way is refused, and so are actors, open files and
//! another root.

use super::{About, Expected, Refusal, expected, is_within_reach, refuse};
use crate::overlays::{self, is_by_program};
use crate::report::sentence::sentence;
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::{
    self as op, Family, MountApi, MountFlag, NodeType, Operation, Overlay, PropagationType,
    UmountFlag,
};
use crate::scenario::plan::Plan;
use crate::scenario::scalar::{StepPath, Timestamp};
use crate::scenario::world::{Actor, Entry, EntryKind, Setup};
use crate::transcript::{Transcript, Value, Values};

const PRELUDE: &str = include_str!("prelude.sh");

/// What a command of a script says, and what is compared with it.
struct Command {
    /// The words of the command.
    line: String,
    /// What it prints, where that is compared.
    prints: Option<String>,
}

/// The script that reproduces a plan: `predicted` is what the model says of it.
///
/// # Errors
/// The first part of the plan that has no command.
pub fn script(plan: &Plan, predicted: &Transcript, about: &About) -> Result<String, Refusal> {
    is_within_reach(plan)?;
    let needs = &plan.needs;
    if !needs.ids.is_empty() && !needs.privileged || !needs.namespaces.is_empty() {
        return refuse("world", "a script has one id and no further namespaces");
    }
    let only_main = plan.world.actors.values().all(|actor| *actor == Actor::default());
    if plan.world.actors.len() > 1 || !only_main {
        return refuse("world", "a script has no actors");
    }
    let mut text = String::from("#!/bin/sh\n");
    for line in [&about.title].into_iter().chain(&about.notes) {
        let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        text.push_str(&format!("# {line}\n"));
    }
    let (who, flags) = match needs.privileged {
        true => ("", "mode=0755,nosuid,nodev"),
        false => ("--user --map-root-user", "mode=0755"),
    };
    // A program that serves an overlay ends with the script, for it has the script's pid namespace.
    let together = if about.overlay.is_some() { " --pid --fork --kill-child" } else { "" };
    text.push_str(&format!("who='{who}{together}' flags={flags}\n{PRELUDE}"));
    let program = about.overlay.as_ref();
    text.push_str("\n# The world.\n");
    for setup in &plan.world.setup {
        match setup {
            Setup::Tree(tree) => {
                let is_link = |entry: &Entry| matches!(entry.kind, EntryKind::Hardlink(_));
                let first = tree.iter().filter(|(_, entry)| !is_link(entry));
                for (path, entry) in first.chain(tree.iter().filter(|(_, e)| is_link(e))) {
                    let lines = plant(path.as_str(), entry);
                    let lines = lines.or_else(|why| refuse(format!("world: {path}"), why))?;
                    lines.iter().for_each(|line| text.push_str(&format!("need {line}\n")));
                }
            }
            Setup::Mount { operation, .. } => {
                let command = command(operation, &Values::new(), program);
                let command = command.or_else(|why| refuse("world", why))?;
                text.push_str(&format!("need {}\n", command.line));
            }
        }
    }
    text.push_str("\n# Each step: what it is, the error, what is printed, and the command.\n");
    let steps = expected(plan, predicted)?;
    for (index, expected) in steps.iter().enumerate() {
        text.push_str(&step(index + 1, expected, program)?);
    }
    text.push_str("exit $deviates\n");
    Ok(text)
}

fn step(
    number: usize,
    expected: &Expected<'_>,
    program: Option<&Implementation>,
) -> Result<String, Refusal> {
    let operation = &expected.step.operation;
    let sentence = sentence(&expected.step);
    let values = expected.outcome.clone().unwrap_or_default();
    let what = format!("step {number}: {sentence}");
    let command = command(operation, &values, program).or_else(|why| refuse(what, why))?;
    let is_mount = operation.described().family == Family::Mounts;
    let error = match &expected.outcome {
        _ if expected.anything => "any".to_owned(),
        Ok(_) => String::new(),
        // In words of its own, or in those of the C library.
        Err(_) if is_mount => "fails".to_owned(),
        Err((errno, _)) => {
            let words = std::io::Error::from_raw_os_error(errno.0).to_string();
            let words = words.split(" (os error").next().unwrap_or_default().to_owned();
            let is_attribute = operation.word().ends_with("xattr");
            if is_attribute && words == "No data available" {
                "No such attribute".into()
            } else {
                words
            }
        }
    };
    let prints = command.prints.map_or_else(String::new, |prints| format!("={prints}"));
    let said = quoted(&format!("{number}. {sentence}"));
    Ok(format!("step {said} {} {} {}\n", quoted(&error), quoted(&prints), command.line))
}

/// A text as one word of the shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,%+@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A path as a word, if a script can say it: from the sandbox's root, and no option of a tool.
fn word(path: &StepPath) -> Result<String, String> {
    match path.as_str() {
        text if text.starts_with('/') || path.climbs_out() => {
            Err("a script has no root of its own".to_owned())
        }
        "" => Err("no tool takes an empty path".to_owned()),
        text if text.starts_with('-') => Ok(quoted(&format!("./{text}"))),
        text => Ok(quoted(text)),
    }
}

fn named(path: Option<&StepPath>) -> Result<String, String> {
    path.map_or_else(|| Err("a script has no open files".to_owned()), word)
}

fn refused<T>(why: &str) -> Result<T, String> {
    Err(why.to_owned())
}

fn text_of<'v>(values: &'v Values, name: &str) -> Option<&'v str> {
    match values.get(name) {
        Some(Value::Text(text)) if text.len() <= 1000 && !text.contains("\\x") => Some(text),
        _ => None,
    }
}

/// The command that does what an operation does.
fn command(
    operation: &Operation,
    values: &Values,
    program: Option<&Implementation>,
) -> Result<Command, String> {
    use Operation as O;
    let printed = |line: String, prints: Option<&str>| {
        // The shell drops NUL bytes.
        let prints = prints.filter(|text| !text.contains('\0')).map(str::to_owned);
        Ok(Command { line, prints })
    };
    match operation {
        O::Read(step) if step.offset.is_none() && step.length.is_none() => {
            let path = named(step.path.as_ref())?;
            printed(format!("cat {path}"), text_of(values, "data"))
        }
        O::Readlink(step) => {
            printed(format!("readlink -vn {}", word(&step.path)?), text_of(values, "target"))
        }
        O::Getxattr(step) => {
            let path = named(step.path.as_ref())?;
            let how = if step.follow { "" } else { "-h " };
            let line = format!("getfattr {how}--only-values -n {} {path}", quoted(&step.name));
            printed(line, text_of(values, "value"))
        }
        O::List(step) => {
            let path = named(step.path.as_ref())?;
            printed(format!("ls -A {path}/"), listed(values).as_deref())
        }
        O::Stat(step) if step.dirfd.is_none() => {
            let path = named(step.path.as_ref())?;
            let (format, prints) = attributes(values);
            let how = if step.follow { "-L " } else { "" };
            let prints = Some(prints).filter(|prints| !prints.is_empty());
            printed(format!("stat {how}-c {} {path}", quoted(&format)), prints.as_deref())
        }
        O::Mounted(step) => {
            let mounted = matches!(values.get("mounted"), Some(Value::Bool(true)));
            let prints =
                values.contains_key("mounted").then_some(if mounted { "yes" } else { "no" });
            printed(format!("is_mounted {}", word(&step.at)?), prints)
        }
        _ => changing(operation, program).map(|line| Command { line, prints: None }),
    }
}

/// What ls(1) prints of the names in a directory; `None` where it would print one otherwise.
fn listed(values: &Values) -> Option<String> {
    let Some(Value::List(names)) = values.get("names") else { return None };
    let line = |name: &Value| match name {
        Value::Text(name) if !name.contains(['\n', '\\']) => Some(format!("{name}\n")),
        _ => None,
    };
    names.iter().map(line).collect()
}

/// The format of stat(1) for the values that it says as they are compared, and what it prints.
fn attributes(values: &Values) -> (String, String) {
    let number = |name: &str| match values.get(name) {
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let kinds = [
        ("file", 0o100_000),
        ("dir", 0o040_000),
        ("symlink", 0o120_000),
        ("char", 0o020_000),
        ("block", 0o060_000),
        ("fifo", 0o010_000),
        ("socket", 0o140_000),
    ];
    let mode = text_of(values, "mode").and_then(|mode| u32::from_str_radix(mode, 8).ok());
    let kind =
        text_of(values, "type").and_then(|kind| kinds.iter().find(|(name, _)| *name == kind));
    let whole = kind.zip(mode).map(|((_, kind), mode)| format!("{:x}", kind | mode));
    let parts = [
        ("%f", whole),
        ("%u", number("uid")),
        ("%g", number("gid")),
        ("%s", number("size")),
        ("%h", number("nlink")),
    ];
    let told: Vec<_> = parts.into_iter().filter_map(|(how, said)| Some((how, said?))).collect();
    let format: Vec<&str> = told.iter().map(|(how, _)| *how).collect();
    let said: Vec<&str> = told.iter().map(|(_, said)| said.as_str()).collect();
    let prints = if said.is_empty() { String::new() } else { format!("{}\n", said.join(" ")) };
    (if format.is_empty() { "%n".to_owned() } else { format.join(" ") }, prints)
}

/// The command of an operation that prints nothing.
fn changing(operation: &Operation, program: Option<&Implementation>) -> Result<String, String> {
    use Operation as O;
    Ok(match operation {
        O::Write(step) if step.offset.is_none() && step.mode.is_none() => {
            let how = if step.append { "append" } else { "write" };
            format!("{how} {} {}", named(step.path.as_ref())?, quoted(&step.data))
        }
        O::Truncate(step) => {
            format!("cut {} {}", named(step.path.as_ref())?, step.length)
        }
        O::Mkdir(step) => match step.mode {
            None => format!("mkdir {}", word(&step.path)?),
            Some(mode) => format!("make_directory {} 0{:o}", word(&step.path)?, mode.0),
        },
        O::Rmdir(step) => format!("rmdir {}", word(&step.path)?),
        O::Unlink(step) => format!("unlink {}", word(&step.path)?),
        O::Rename(step) if step.flags.is_empty() => {
            format!("rename_it {} {}", word(&step.from)?, word(&step.to)?)
        }
        O::Rename(_) => return refused("no usual tool renames with flags"),
        O::Link(step) => {
            let how = if step.follow { "ln -L -T" } else { "link_it" };
            format!("{how} {} {}", word(&step.from)?, word(&step.to)?)
        }
        O::Symlink(step) => format!("ln -sT -- {} {}", quoted(&step.target), word(&step.path)?),
        O::Mknod(step) if step.mode.is_none() => mknod(step)?,
        O::Chmod(step) => format!("chmod 0{:o} {}", step.mode.0, named(step.path.as_ref())?),
        O::Chown(step) => chown(step)?,
        O::Utimes(step) => touch(step)?,
        O::Setxattr(step) if step.flag.is_none() => {
            let path = named(step.path.as_ref())?;
            format!(
                "setfattr {}{} {path}",
                nofollow(step.follow),
                attribute(&step.name, &step.bytes())
            )
        }
        O::Removexattr(step) => {
            let path = named(step.path.as_ref())?;
            format!("setfattr {}-x {} {path}", nofollow(step.follow), quoted(&step.name))
        }
        O::Chdir(step) => format!("cd {}", word(&step.path)?),
        _ => return mounting(operation, program),
    })
}

fn mknod(step: &op::Mknod) -> Result<String, String> {
    let path = word(&step.path)?;
    Ok(match (step.kind, step.rdev) {
        (NodeType::Char, Some(n)) => format!("mknod {path} c {} {}", n.major, n.minor),
        (NodeType::Block, Some(n)) => format!("mknod {path} b {} {}", n.major, n.minor),
        (NodeType::Fifo, _) => format!("mknod {path} p"),
        _ => return refused("mknod(1) makes devices and pipes only"),
    })
}

fn chown(step: &op::Chown) -> Result<String, String> {
    let id = |id: Option<u32>| id.map_or_else(String::new, |id| id.to_string());
    let group = match (step.uid, step.gid) {
        (_, Some(gid)) => format!(":{gid}"),
        // It has to be asked for, though neither changes.
        (None, None) => ":".to_owned(),
        (Some(_), None) => String::new(),
    };
    let how = if step.follow { "" } else { "-h " };
    Ok(format!("chown {how}{}{group} {}", id(step.uid), named(step.path.as_ref())?))
}

fn touch(step: &op::Utimes) -> Result<String, String> {
    let path = named(step.path.as_ref())?;
    let how = if step.follow { "-c" } else { "-ch" };
    Ok(match (step.atime, step.mtime) {
        (None, Some(Timestamp::Seconds(time))) => format!("touch {how} -m -d @{time} {path}"),
        (Some(Timestamp::Seconds(time)), None) => format!("touch {how} -a -d @{time} {path}"),
        (Some(Timestamp::Seconds(one)), Some(Timestamp::Seconds(other))) if one == other => {
            format!("touch {how} -d @{one} {path}")
        }
        _ => return refused("touch(1) sets one time"),
    })
}

fn nofollow(follow: bool) -> &'static str {
    if follow { "" } else { "-h " }
}

/// The arguments of setfattr(1) for an attribute; its value in hexadecimal digits, which say every byte.
fn attribute(name: &str, value: &[u8]) -> String {
    let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let value = if digits.is_empty() { digits } else { format!(" -v 0x{digits}") };
    format!("-n {}{value}", quoted(name))
}

fn mounting(operation: &Operation, program: Option<&Implementation>) -> Result<String, String> {
    use Operation as O;
    Ok(match operation {
        O::Mount(step) => {
            let source = quoted(step.source.as_deref().unwrap_or(&step.kind));
            let options = options(&step.flags, &step.options)?;
            format!("mount -t {}{options} {source} {}", quoted(&step.kind), word(&step.at)?)
        }
        O::Overlay(step) => overlay(step, program)?,
        O::Bind(step) => format!("mount --bind {} {}", word(&step.from)?, word(&step.at)?),
        O::Rbind(step) => format!("mount --rbind {} {}", word(&step.from)?, word(&step.at)?),
        O::Move(step) => format!("mount --move {} {}", word(&step.from)?, word(&step.at)?),
        O::Umount(step) => {
            let how = match step.flags.as_slice() {
                [] => "",
                [UmountFlag::Detach] => "-l ",
                [UmountFlag::Force] => "-f ",
                _ => return refused("umount(8) does not take these flags"),
            };
            format!("umount {how}{}", word(&step.at)?)
        }
        O::Propagation(step) => {
            let recursive = if step.recursive { "r" } else { "" };
            let kind = match step.kind {
                PropagationType::Shared => "shared",
                PropagationType::Private => "private",
                PropagationType::Slave => "slave",
                PropagationType::Unbindable => "unbindable",
            };
            format!("mount --make-{recursive}{kind} {}", word(&step.at)?)
        }
        // It would add the flags that the mount has.
        O::Remount(_) => return refused("mount(8) keeps flags that are left out"),
        _ => {
            return Err(format!(
                "there is no command for `{}` that does just that",
                operation.word()
            ));
        }
    })
}

fn overlay(step: &Overlay, program: Option<&Implementation>) -> Result<String, String> {
    if step.api != MountApi::Classic {
        return refused("which interface mount(8) uses is its own choice");
    }
    let layer = |path: &StepPath| word(path).map(|_| path.to_string());
    let lower = step.lower.iter().map(layer).collect::<Result<Vec<_>, _>>()?.join(":");
    let data = step.data.iter().map(|path| Ok(format!("::{}", layer(path)?)));
    let data = data.collect::<Result<String, String>>()?;
    let mut all = Vec::new();
    if !(lower.is_empty() && data.is_empty()) {
        all.push(format!("lowerdir={lower}{data}"));
    }
    for (key, path) in [("upperdir", &step.upper), ("workdir", &step.work)] {
        if let Some(path) = path {
            all.push(format!("{key}={}", layer(path)?));
        }
    }
    if let Some(program) = program.filter(|_| is_by_program(step)) {
        all.extend(overlays::options(step).map(str::to_owned));
        let options =
            if all.is_empty() { String::new() } else { format!("-o {} ", quoted(&all.join(","))) };
        return Ok(format!("{} {options}{}", quoted(program.program.as_str()), word(&step.at)?));
    }
    all.extend(step.options.iter().cloned());
    Ok(format!("mount -t overlay{} overlay {}", options(&step.flags, &all)?, word(&step.at)?))
}

/// Options that mount(8) does not hand on to the file system.
const OF_MOUNT: &[&str] = &[
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "sync",
    "async",
    "dirsync",
    "silent",
    "loud",
    "symfollow",
    "nosymfollow",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "defaults",
    "auto",
    "noauto",
    "user",
    "users",
    "group",
    "owner",
    "remount",
    "bind",
    "rbind",
    "move",
];

/// `-o` with flags and options.
fn options(flags: &[MountFlag], own: &[String]) -> Result<String, String> {
    let mut all = Vec::new();
    for flag in flags {
        all.push(match flag {
            MountFlag::Ro => "ro",
            MountFlag::Nosuid => "nosuid",
            MountFlag::Nodev => "nodev",
            MountFlag::Noexec => "noexec",
            MountFlag::Noatime => "noatime",
            MountFlag::Nodiratime => "nodiratime",
            MountFlag::Relatime => "relatime",
            MountFlag::Strictatime => "strictatime",
            MountFlag::Sync => "sync",
            MountFlag::Dirsync => "dirsync",
            _ => return refused("mount(8) does not take these flags"),
        });
    }
    if own.iter().any(|option| OF_MOUNT.contains(&option.as_str())) {
        return refused("mount(8) takes this option for a flag");
    }
    all.extend(own.iter().map(String::as_str));
    Ok(if all.is_empty() { String::new() } else { format!(" -o {}", quoted(&all.join(","))) })
}

/// The commands that make an entry of a tree.
fn plant(path: &str, entry: &Entry) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    let name = if path.starts_with('-') { quoted(&format!("./{path}")) } else { quoted(path) };
    if let Some((above, _)) = path.rsplit_once('/') {
        lines.push(format!("mkdir -p -- {}", quoted(above)));
    }
    lines.push(match &entry.kind {
        EntryKind::Dir => format!("mkdir -p {name}"),
        EntryKind::File(content) => format!("write {name} {}", quoted(content)),
        EntryKind::Sparse(size) => format!("truncate -s {size} {name}"),
        EntryKind::Symlink(target) => format!("ln -sT -- {} {name}", quoted(target)),
        EntryKind::Hardlink(other) => format!("ln -P -T -- {} {name}", quoted(other.as_str())),
        EntryKind::Fifo => format!("mknod {name} p"),
        EntryKind::Char(number) => format!("mknod {name} c {} {}", number.major, number.minor),
        EntryKind::Block(number) => format!("mknod {name} b {} {}", number.major, number.minor),
        EntryKind::Socket => return refused("no usual tool makes a socket"),
        EntryKind::Program(_) | EntryKind::Image(_) => {
            return refused("it is a file that nsharness makes");
        }
    });
    if let Some(mode) = entry.mode {
        lines.push(format!("chmod 0{:o} {name}", mode.0));
    }
    for (key, value) in &entry.xattrs {
        lines.push(format!("setfattr -h {} {name}", attribute(key, value.as_bytes())));
    }
    Ok(lines)
}
