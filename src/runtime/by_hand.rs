//! A bundle for a runtime that is called by hand: the `config.json` and the script that does what the sandbox does.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::{bundle, is_by_options, options};
use crate::scenario::container::{BUNDLE, CONTAINER, Given};
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::Operation;
use crate::scenario::scalar::{StepPath, WorldPath};
use crate::scenario::world::{Entry, EntryKind, Setup, World};

/// The script that calls the runtime, in the directory that stands for the root of the sandbox.
pub const SCRIPT: &str = "run";

/// The `config.json` of the world's container, where this directory stands for the root of the sandbox; the container
/// runs this program, unless the scenario says which, or none, with the capabilities of this set.
pub fn config(world: &World, directory: &Path, program: &str, bounding: u64) -> Option<Value> {
    let container = world.container.as_ref()?;
    let mut config = bundle::config(container, "HOME=/", bounding);
    let says = container.process.as_ref().is_some_and(|process| process.args.is_some());
    let lacks = |given| container.without.contains(&given);
    if !says && !lacks(Given::Process) && !lacks(Given::ProcessArgs) {
        config["process"]["args"] = json!([program]);
    }
    let here = |value: &mut Value| {
        if let Some(path) = value.as_str().filter(|path| path.starts_with('/')) {
            *value = format!("{}{path}", directory.display()).into();
        }
    };
    let mounts = config["mounts"].as_array_mut().into_iter().flatten();
    mounts.filter_map(|mount| mount.get_mut("source")).for_each(here);
    let namespaces = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut);
    let paths = namespaces.into_iter().flatten().filter_map(|one| one.get_mut("path"));
    // What is in /proc is not in the world.
    paths
        .filter(|path| !path.as_str().is_some_and(|path| path.starts_with("/proc")))
        .for_each(here);
    Some(config)
}

/// The script: namespaces as the sandbox has them, the mounts of the world, the runtime.
///
/// # Errors
/// What of the world it cannot do, and a runtime that reads no bundle.
pub fn script(id: &str, world: &World, runtime: &Implementation) -> Result<String, String> {
    if is_by_options(runtime) {
        return Err(format!("{runtime} is told by options, and reads no config.json"));
    }
    if let Some(path) = behind_link(world) {
        return Err(format!(
            "`{path}` lies behind a symbolic link of its world, which leads anywhere"
        ));
    }
    let mut mounts = String::new();
    for setup in &world.setup {
        match setup {
            Setup::Mount { operation, .. } => mounts.push_str(&command(operation)?),
            Setup::Tree(_) if !mounts.is_empty() => {
                return Err("it puts files into what it mounts: they would lie beneath".to_owned());
            }
            Setup::Tree(_) => {}
        }
    }
    let program = quoted(&runtime.path.display().to_string());
    let options = options(runtime).join(" ");
    Ok(format!(
        r#"#!/bin/sh
# The container of {id}, as nsharness has {runtime} make it. Who is not root is root of a user namespace.
set -eu
cd "$(dirname "$0")"
if [ "${{1-}}" != inside ]; then
  user=
  [ "$(id -u)" = 0 ] || user="--user --map-root-user"
  exec unshare $user --mount --pid --fork --kill-child --ipc --uts --cgroup --propagation private --mount-proc "./{SCRIPT}" inside
fi
mount -t cgroup2 cgroup /sys/fs/cgroup
{mounts}mkdir -p state
# Not in the place of this shell: there is a first process beside it.
{program} {options} --root "$PWD/state" run --bundle "$PWD/{BUNDLE}" {CONTAINER}
"#
    ))
}

/// The first entry of a world that would be made behind one of its symbolic links: by hand these lead to what the machine
/// has there. What a hard link names is an entry, too.
fn behind_link(world: &World) -> Option<&WorldPath> {
    let trees = || {
        world.setup.iter().filter_map(|setup| match setup {
            Setup::Tree(tree) => Some(tree),
            Setup::Mount { .. } => None,
        })
    };
    let is_link = |entry: &Entry| matches!(entry.kind, EntryKind::Symlink(_));
    let links: BTreeSet<&Path> = trees()
        .flatten()
        .filter(|(_, entry)| is_link(entry))
        .map(|(path, _)| Path::new(path.as_str()))
        .collect();
    let behind =
        |path: &str| Path::new(path).ancestors().skip(1).any(|above| links.contains(above));
    let found = trees().flatten().find(|(path, entry)| {
        behind(path.as_str()) || !is_link(entry) && links.contains(Path::new(path.as_str()))
    });
    found.map(|(path, _)| path)
}

/// A mount of the world as a command for a shell.
fn command(operation: &Operation) -> Result<String, String> {
    let place = |path: &StepPath| match path.as_str() {
        "/" => "/".to_owned(),
        path => format!("./{}", path.trim_start_matches('/')),
    };
    let two = |how: &str, from: &StepPath, at: &StepPath| {
        format!("mount {how} {} {}\n", quoted(&place(from)), quoted(&place(at)))
    };
    Ok(match operation {
        Operation::Bind(step) => two("--bind", &step.from, &step.at),
        Operation::Rbind(step) => two("--rbind", &step.from, &step.at),
        Operation::Move(step) => two("--move", &step.from, &step.at),
        Operation::Mount(step) => {
            let source = step.source.as_ref().unwrap_or(&step.kind);
            let options = step.flags.iter().map(word).chain(step.options.iter().cloned());
            let options = options.collect::<Vec<_>>().join(",");
            let options = if options.is_empty() { "defaults".to_owned() } else { options };
            let words = [&step.kind, &options, source, &place(&step.at)].map(|word| quoted(word));
            let [kind, options, source, at] = words;
            format!("mount -t {kind} -o {options} {source} {at}\n")
        }
        Operation::Remount(step) => {
            let bind = step.bind.then(|| "bind".to_owned());
            let all = ["remount".to_owned()].into_iter().chain(bind);
            let all = all.chain(step.flags.iter().map(word)).chain(step.options.iter().cloned());
            let all = quoted(&all.collect::<Vec<_>>().join(","));
            format!("mount -o {all} {}\n", quoted(&place(&step.at)))
        }
        Operation::Propagation(step) => {
            let recursive = if step.recursive { "r" } else { "" };
            format!("mount --make-{recursive}{} {}\n", word(step.kind), quoted(&place(&step.at)))
        }
        other => return Err(format!("its world has `{}`, which no command does", other.word())),
    })
}

/// The word by which something is written in YAML.
fn word(value: impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_quotes_stays_one_word() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn sources_are_where_the_world_is() {
        let container = json!({
            "mounts": [
                { "destination": "/data", "type": "bind", "source": "/volume" },
                { "destination": "/other", "type": "bind", "source": "volume" },
            ],
            "linux": { "namespaces": [{ "type": "uts", "path": "/proc/1/ns/uts" }, { "type": "ipc", "path": "/ns" }] },
        });
        let container = serde_json::from_value(container).expect("a container");
        let world = World { container: Some(container), ..World::default() };
        let config = config(&world, Path::new("/d"), "/sh", u64::MAX).expect("a container");
        assert_eq!(config["mounts"][2]["source"], "/d/volume");
        assert_eq!(config["mounts"][3]["source"], "volume");
        assert_eq!(config["linux"]["namespaces"][0]["path"], "/proc/1/ns/uts");
        assert_eq!(config["linux"]["namespaces"][1]["path"], "/d/ns");
        assert_eq!(config["process"]["args"], json!(["/sh"]));
    }
}
