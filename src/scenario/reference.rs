//! The reference of the language as Markdown, made from the schema and from examples that run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

use serde_json::Value;

use super::operation::{Family, Operation};

/// The examples of a directory: text by name without the ending.
///
/// # Errors
/// Where the directory or a file cannot be read.
pub fn examples(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut examples = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            examples.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(examples)
}

const START: &str = "\
# The scenario format

This page is made by `nsharness schema --reference docs/examples` from the types that decode
scenarios; a test keeps it current and runs every example. The JSON schema is
[`scenario.schema.json`](scenario.schema.json): an editor with a YAML language server completes and
checks scenarios with this line at their top:

```yaml
# yaml-language-server: $schema=../../docs/scenario.schema.json
```

A scenario is one YAML file: a world, steps by actors, what is expected, what is observed. Anchors,
aliases and tags are not part of the language; unknown keys are errors; numbers are decimal but for
modes, which are octal. `nsharness check` finds every error of a file at once.

Each case of a scenario runs in fresh user, mount and pid namespaces, on a tmpfs that is its root.
Paths of the world are relative to that root. A step without `expect`
gives what kernel and model agree on; where the model says nothing it must succeed.
";

/// The page.
pub fn reference(
    schema: &Value,
    examples: &BTreeMap<String, String>,
    probes: &[(&str, &str)],
) -> String {
    let mut page = Page { schema, examples, text: START.to_owned() };
    page.of_scenario();
    page.of_world();
    page.of_every_step();
    page.steps();
    page.of_observations();
    page.of_probes(probes);
    page.text
}

struct Page<'a> {
    schema: &'a Value,
    examples: &'a BTreeMap<String, String>,
    text: String,
}

impl Page<'_> {
    /// The keys at the top.
    fn of_scenario(&mut self) {
        self.heading(2, "A whole scenario");
        self.example("scenario");
        self.heading(2, "Keys of a scenario");
        self.table(self.schema);
        self.heading(3, "cases");
        self.say("`${case.x}` stands for the value of `x` in the case at hand, in any text, key or value. Each case runs by itself; its id is `file@case`.");
        self.example("cases");
        self.heading(3, "requires and variants");
        self.say("What must be there for the scenario to be asked, and which snapshot counts where kernels legitimately differ. A probe is preferred to a version: distributions backport.");
        self.example("requires");
    }

    /// The state before the first step.
    fn of_world(&mut self) {
        self.heading(2, "world");
        let world = &self.schema["properties"]["world"];
        self.table(world);
        self.heading(3, "Entries of a tree");
        self.say("One of the words `dir`, `file`, `fifo`, `socket`, or a mapping:");
        self.table(&self.schema["$defs"]["Entry"]);
        self.example("tree");
        self.heading(3, "mounts");
        self.say("The steps `mount`, `overlay`, `bind`, `rbind`, `move`, `remount` and `propagation` without their shared fields, and `tree` for files on what was mounted before.");
        self.example("world-mounts");
        self.heading(3, "actors");
        self.table(&self.schema["$defs"]["Actor"]);
        self.say("`userns` holds:");
        self.table(&self.schema["$defs"]["Userns"]);
        self.example("actors");
        self.heading(3, "nfs");
        self.say("One export or a list of them, set up after the trees and mounts and before the actors. A kernel NFS server and its clients run in a network namespace of their own; each export has a client of its own, whose address is `127.0.0.1`, `127.0.0.2` and so on, and sees the exported directory as the root of the server. The clients keep no attributes and no names (`actimeo=0,lookupcache=none`). It takes real root, so such a scenario runs in a guest kernel, or on a host with `--privileged`.");
        self.table(&self.schema["$defs"]["Nfs"]);
        self.example("nfs");
        self.heading(3, "container");
        self.say("A container that a runtime makes, as `nsharness run --runtime runc,crun` names it; without one the scenario is skipped. The keys are those of the [OCI runtime specification](https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md), with its own words for values, so that what it forbids can be said too. What stands here is merged upon what every container has: `mounts` behind /proc and a tmpfs at /dev, all else in the place of what was there. The programs `bwrap` and `unshare` read no `config.json`: they are asked where they have options for what a scenario says, and the rest is a skip that names it. The runtime runs in the sandbox, as its root; the bundle is the directory `bundle` of the sandbox, with the root file system `bundle/rootfs`, into which `tree` may put files. Unless the scenario has a step `create`, it begins with `create` and `start`; from then on the actor `container` takes steps in the container. The model says nothing of such scenarios: steps without `expect` must succeed.");
        self.table(&self.schema["$defs"]["Container"]);
        for (key, of) in [
            ("root", "Root"),
            ("mounts", "Mount"),
            ("process", "Process"),
            ("process.user", "User"),
            ("linux", "Linux"),
        ] {
            self.say(&format!("`{key}` holds:"));
            self.table(&self.schema["$defs"][of]);
        }
        self.example("container");
    }

    /// What may stand in any step.
    fn of_every_step(&mut self) {
        self.heading(2, "Fields that all steps share");
        self.say("| field | type | meaning |\n|---|---|---|\n| `as` | name | the actor that takes the step; `main` if left out |\n| `id` | name | a name by which later steps refer to the values of this one |\n| `expect` | outcome | what the step gives |\n| `known` | mapping, or a list of them | an expected failure: `outcome`, `reason`, `ref`, and `when` it applies |");
        self.heading(3, "expect");
        self.say("| form | meaning |\n|---|---|\n| `ok` | it succeeds |\n| `ENOENT` | it fails with this errno |\n| `true`, `false` | of `mounted` |\n| `refused` | of a container runtime, or of a program that mounts an overlay: it does not do it |\n| `{ refused: { contains: x } }` | the same, with a message in which this stands; or `lacks` |\n| `{ type: dir, mode: 0755 }` | it succeeds with these values |\n| `[EPERM, EACCES]` | one of several outcomes that the rules leave open |\n| `{ local: ok, remote: EPERM }` | an outcome for each case |\n| `{ when: [ { kernel: \">=6.6\", then: ok }, { then: EINVAL } ] }` | the first branch whose condition holds |\n\nA value is compared with a word, a list, or one of `{ not: x }`, `{ contains: [x] }`, `{ lacks: [x] }`, `{ same_as: STEP }`, `{ differs_from: STEP }`, where `STEP` is the `id` of an earlier step, or `STEP.VALUE`.");
        self.example("expect");
        self.heading(3, "known");
        self.say("A strict expected failure: the outcome that is named counts as `xfail`, success as `xpass`, which is a failure, and any other outcome as `fail`. Values that the outcome does not name must be as `expect` has them. Of a list the first whose `when` holds counts. After a `create` that is refused as known there is no container, and the steps behind it are not judged.");
        self.example("known");
        self.say("What a program that mounts overlays does otherwise is told at the top of the scenario, in a list: the steps and observations by their numbers, and why. An entry of this kind counts where its condition on `overlay` holds, and one without such a condition speaks of the kernel. Several outcomes of which one is the expected leave it open.");
        self.table(&self.schema["$defs"]["Deviation"]);
        self.example("deviation");
    }

    /// What is recorded.
    fn of_observations(&mut self) {
        self.heading(2, "observe");
        self.say("What is recorded after the steps and held against the snapshot in `snapshots/`. Inodes, devices, peer groups, namespaces and times are renumbered in the order in which they appear, so that equality survives.");
        self.observations();
    }

    /// The names that conditions may have.
    fn of_probes(&mut self, probes: &[(&str, &str)]) {
        self.heading(2, "Probes");
        self.say("Names for `requires:` and for conditions; `nsharness doctor` shows the answers of this machine.");
        self.text.push_str("\n| probe | question |\n|---|---|\n");
        for (name, question) in probes {
            let _ = writeln!(self.text, "| `{name}` | {question} |");
        }
    }

    fn heading(&mut self, level: usize, title: &str) {
        let _ = write!(self.text, "\n{} {title}\n", "#".repeat(level));
    }

    fn say(&mut self, text: &str) {
        let _ = write!(self.text, "\n{text}\n");
    }

    /// The example of this name, and those that go on from it: `tree`, `tree-devices`.
    fn example(&mut self, name: &str) {
        for (example, text) in self.examples {
            if example == name
                || example.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
            {
                let _ = write!(self.text, "\n```yaml\n{text}```\n");
            }
        }
    }

    fn steps(&mut self) {
        let families = [
            (Family::Files, "Steps: files"),
            (Family::Mounts, "Steps: mounts"),
            (Family::Roots, "Steps: roots"),
            (Family::Namespaces, "Steps: namespaces"),
            (Family::Credentials, "Steps: credentials"),
            (Family::Exec, "Steps: exec"),
            (Family::Container, "Steps: containers"),
        ];
        let schema = self.schema;
        let steps = schema["properties"]["steps"]["items"]["anyOf"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        for (family, title) in families {
            self.heading(2, title);
            for described in Operation::ALL.iter().filter(|described| described.family == family) {
                self.heading(3, described.word);
                let Some(step) =
                    steps.iter().find(|step| step["properties"].get(described.word).is_some())
                else {
                    continue;
                };
                let body = &step["properties"][described.word];
                self.say(&one_line(
                    step["description"]
                        .as_str()
                        .or(body["description"].as_str())
                        .unwrap_or_default(),
                ));
                self.table_without(body, &["as", "id", "expect", "known"]);
                if !described.values.is_empty() {
                    let values: Vec<_> = described
                        .values
                        .iter()
                        .map(|value| format!("`{}` ({})", value.name, value.about))
                        .collect();
                    self.say(&format!("Gives {}.", values.join(", ")));
                }
                self.example(described.word);
            }
        }
    }

    fn observations(&mut self) {
        let schema = self.schema;
        let observe = &schema["$defs"]["Observe"]["oneOf"];
        for variant in observe.as_array().map_or(&[][..], Vec::as_slice) {
            let Some((word, body)) =
                variant["properties"].as_object().and_then(|p| p.iter().next())
            else {
                continue;
            };
            self.heading(3, word);
            self.say(&one_line(variant["description"].as_str().unwrap_or_default()));
            let body = self.resolve(body).clone();
            self.table(&body);
            self.example(&format!("observe-{}", word.replace('_', "-")));
        }
    }

    fn table(&mut self, body: &Value) {
        self.table_without(body, &[]);
    }

    fn table_without(&mut self, body: &Value, without: &[&str]) {
        let Some(properties) = body["properties"].as_object() else { return };
        let required: Vec<_> = body["required"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let rows: Vec<_> =
            properties.iter().filter(|(key, _)| !without.contains(&key.as_str())).collect();
        if rows.is_empty() {
            return;
        }
        self.text.push_str("\n| key | type | meaning |\n|---|---|---|\n");
        for (key, field) in rows {
            let need = if required.contains(&key.as_str()) { " (required)" } else { "" };
            let meaning = field["description"]
                .as_str()
                .or(self.resolve(field)["description"].as_str())
                .unwrap_or_default();
            let meaning = one_line(meaning).replace('|', "\\|");
            let kind = self.kind(field).replace('|', "\\|");
            let _ = writeln!(self.text, "| `{key}`{need} | {kind} | {meaning} |");
        }
    }

    fn resolve<'v>(&'v self, field: &'v Value) -> &'v Value {
        match field["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
            Some(name) => &self.schema["$defs"][name],
            None => field,
        }
    }

    /// What a field holds, in a few words.
    fn kind(&self, field: &Value) -> String {
        if let Some(name) =
            field["$ref"].as_str().and_then(|reference| reference.rsplit('/').next())
        {
            if let Some(words) = self.words(&self.schema["$defs"][name]) {
                return words;
            }
            return match name {
                "StepPath" | "WorldPath" => "path".into(),
                "Errno" | "Capability" | "Name" | "Mode" | "Timestamp" | "Actors" => {
                    name.to_lowercase()
                }
                "DeviceNumber" => "\"MAJOR:MINOR\"".into(),
                "IdMap" => "list of [inside, outside, count]".into(),
                other => other.to_lowercase(),
            };
        }
        if let Some(words) = self.words(field) {
            return words;
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(options) = field[several].as_array() {
                let mut kinds: Vec<_> =
                    options.iter().filter(|o| o["type"] != "null").map(|o| self.kind(o)).collect();
                kinds.dedup();
                return kinds.join(" or ");
            }
        }
        match &field["type"] {
            Value::String(kind) if kind == "array" => {
                format!("list of {}", self.kind(&field["items"]))
            }
            Value::String(kind) if kind == "object" => "mapping".into(),
            Value::String(kind) if kind == "string" => "text".into(),
            Value::String(kind) if kind == "boolean" => "true or false".into(),
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => {
                let kinds: Vec<_> =
                    kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
                match kinds.as_slice() {
                    ["array"] => format!("list of {}", self.kind(&field["items"])),
                    ["string"] => "text".into(),
                    ["object"] => "mapping".into(),
                    ["boolean"] => "true or false".into(),
                    kinds => kinds.join(" or "),
                }
            }
            _ => "value".into(),
        }
    }

    /// The words of an enumeration that is short enough for a table.
    fn words(&self, field: &Value) -> Option<String> {
        let mut words: Vec<String> = Vec::new();
        for option in
            field["oneOf"].as_array().or(field["anyOf"].as_array()).map_or(&[][..], Vec::as_slice)
        {
            words.push(option["const"].as_str()?.to_owned());
        }
        if let Some(listed) = field["enum"].as_array() {
            words.extend(listed.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        (!words.is_empty() && words.len() <= 24)
            .then(|| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(" "))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
