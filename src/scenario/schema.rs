//! The JSON schema of a scenario file, made from the types.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::condition::{Condition, ImplementationRange, KernelRange};
use super::container::{Container, Level};
use super::expect;
use super::observe::Observe;
use super::operation::Operation;
use super::resolve::{DEFAULT_TIMEOUT, MAX_TIMEOUT};
use super::scalar::{Name, WorldPath};
use super::world::{Actor, ENTRY_WORDS, EntryKeys, MAX_EXPORTS, Nfs, WORLD_MOUNTS};

/// The schema for editors: the plain one, with `${case.x}` allowed wherever a value stands.
///
/// `probes` are the names that `requires` and conditions may use.
pub fn schema(probes: &[&str]) -> Value {
    let mut schema = plain(probes);
    for part in ["world", "steps", "observe"] {
        allow_case(&mut schema["properties"][part]);
    }
    // The operation itself may be the case's.
    if let Some(steps) = schema["properties"]["steps"]["items"]["anyOf"][0]["anyOf"].as_array_mut()
    {
        steps.push(json!({
            "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
            "patternProperties": { r"^\$\{case\.": { "type": "object" } }
        }));
    }
    if let Some(definitions) = schema["$defs"].as_object_mut() {
        definitions.values_mut().for_each(allow_case);
        let reference = json!({
            "description": "A value of the case at hand",
            "type": "string",
            "pattern": r"\$\{case\.[a-z][a-z0-9_-]*\}"
        });
        definitions.insert("CaseValue".into(), reference);
    }
    schema
}

/// Lets a value of the case stand for every value inside of a schema.
fn allow_case(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                allow_case(value);
                match key.as_str() {
                    "properties" => value
                        .as_object_mut()
                        .into_iter()
                        .flat_map(|p| p.values_mut())
                        .for_each(or_case),
                    "items" | "additionalProperties" if value.is_object() => or_case(value),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(allow_case),
        _ => {}
    }
}

fn or_case(schema: &mut Value) {
    let mut choice = Map::new();
    let inner = schema.take();
    if let Some(description) = inner.get("description") {
        choice.insert("description".into(), description.clone());
    }
    choice.insert("anyOf".into(), json!([inner, { "$ref": "#/$defs/CaseValue" }]));
    *schema = Value::Object(choice);
}

/// The schema as the documentation shows it.
pub fn plain(probes: &[&str]) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let steps = steps(&mut generator);
    // The definitions stand in the order in which they are asked for.
    let entry = generator.subschema_for::<EntryKeys>();
    let observe = generator.subschema_for::<Observe>();
    let (actor, nfs) = (generator.subschema_for::<Actor>(), generator.subschema_for::<Nfs>());
    let condition = generator.subschema_for::<Condition>();
    let container = generator.subschema_for::<Container>();
    let world = world(&steps, actor, nfs, container);
    let steps: Vec<Value> = steps.into_iter().map(|(_, schema)| schema).collect();
    let level = generator.subschema_for::<Level>();
    let texts = |description: &str| json!({ "description": description, "type": "array", "items": { "type": "string" } });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An nsharness scenario",
        "type": "object",
        "required": ["title", "steps"],
        "additionalProperties": false,
        "properties": {
            "title": { "description": "The fact that the scenario shows, in one sentence.", "type": "string", "maxLength": 200 },
            "refs": texts("Where the fact can be read: kernel documentation, man pages, commits."),
            "level": level,
            "plain": texts("Ids of scenarios that ask the kernel alone for what this one asks a container runtime for: where a runtime deviates, reports name them and what came of them."),
            "tags": texts("Words to select by: `nsharness run --tag WORD`."),
            "requires": {
                "description": "What must be there; otherwise the scenario is skipped with the reason.",
                "type": "array",
                "items": { "anyOf": [
                    { "enum": probes },
                    { "$ref": "#/$defs/Condition" }
                ] }
            },
            "timeout": {
                "description": format!("After how many seconds it is ended; {DEFAULT_TIMEOUT} if left out."),
                "type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT
            },
            "cases": {
                "description": "Repeats the scenario with other values: `${case.x}` stands for the value of `x`.",
                "type": "object", "minProperties": 1,
                "additionalProperties": { "type": "object" }
            },
            "variants": {
                "description": "Names for snapshots of kernels that legitimately differ; the first whose condition holds counts.",
                "type": "object",
                "additionalProperties": condition
            },
            "known": {
                "description": "What a program that mounts overlays is known to do otherwise, told of the whole scenario.",
                "type": "array", "items": { "$ref": "#/$defs/Deviation" }
            },
            "world": world,
            "steps": { "description": "What happens, in order.", "type": "array", "items": { "anyOf": steps } },
            "observe": { "description": "What is recorded after the steps and held against the snapshot.", "type": "array", "items": observe }
        },
        "$defs": definitions(generator, entry)
    })
}

/// The schema of the state before the first step.
fn world(steps: &[(String, Value)], actor: Schema, nfs: Schema, container: Schema) -> Value {
    let mounts = steps.iter().filter(|(word, _)| WORLD_MOUNTS.contains(&word.as_str()));
    let mut mounts: Vec<Value> = mounts.map(|(_, step)| bare(step)).collect();
    mounts.push(json!({
        "type": "object", "required": ["tree"], "additionalProperties": false,
        "properties": { "tree": { "$ref": "#/$defs/Tree" } }
    }));
    let several_nfs = json!({ "type": "array", "items": nfs, "maxItems": MAX_EXPORTS });
    json!({
        "description": "The state before the first step.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "tree": { "$ref": "#/$defs/Tree" },
            "mounts": {
                "description": "Mounts, in order, behind the tree; `tree` puts files into what was mounted before it.",
                "type": "array", "items": { "anyOf": mounts }
            },
            "actors": {
                "description": "The processes by name. `main` is always there: root of the sandbox.",
                "type": "object",
                "additionalProperties": actor
            },
            "nfs": {
                "description": "A directory exported over NFS and mounted back, or several of them.",
                "anyOf": [nfs, several_nfs]
            },
            "container": container
        }
    })
}

/// What other parts of the schema refer to by name.
fn definitions(mut generator: SchemaGenerator, entry: Schema) -> Map<String, Value> {
    generator.subschema_for::<KernelRange>();
    generator.subschema_for::<ImplementationRange>();
    generator.subschema_for::<Name>();
    generator.subschema_for::<WorldPath>();
    let mut definitions = generator.take_definitions(true);
    definitions.insert("Expect".into(), expect::schema());
    definitions.insert("Matcher".into(), expect::matcher_schema());
    definitions.insert("Known".into(), known());
    definitions.insert("KnownOutcome".into(), known_outcome());
    definitions.insert("Deviation".into(), deviation());
    definitions.insert(
        "Tree".into(),
        json!({
            "description": "Files and directories by path; parents are made where they are missing.",
            "type": "object",
            "additionalProperties": { "anyOf": [{ "enum": ENTRY_WORDS }, entry] }
        }),
    );
    definitions
}

fn known() -> Value {
    let one = json!({ "$ref": "#/$defs/KnownOutcome" });
    json!({
        "description": "A deviation, or several, of which the first counts whose condition holds.",
        "anyOf": [one, { "type": "array", "items": one }]
    })
}

fn known_outcome() -> Value {
    json!({
        "description": "An expected failure, strict: another outcome, or success, is a failure.",
        "type": "object", "required": ["outcome", "reason", "ref"], "additionalProperties": false,
        "properties": {
            "outcome": { "$ref": "#/$defs/Expect" },
            "reason": { "description": "Why that is accepted.", "type": "string" },
            "ref": { "description": "Where that can be read.", "type": "string" },
            "when": { "$ref": "#/$defs/Condition" }
        }
    })
}

fn deviation() -> Value {
    json!({
        "description": "Steps and observations that are known to deviate, strict: another outcome, or none that deviates, is a failure.",
        "type": "object", "required": ["reason", "ref"], "additionalProperties": false,
        "properties": {
            "when": { "$ref": "#/$defs/Condition" },
            "cases": {
                "description": "The cases that it is about; all if left out.",
                "type": "array", "items": { "type": "string" }
            },
            "steps": {
                "description": "Outcomes by the numbers of steps, counted from 1.",
                "type": "object", "additionalProperties": { "$ref": "#/$defs/Expect" }
            },
            "observe": {
                "description": "The numbers of observations that the model says otherwise, counted from 1. What they are stands in the snapshot of a variant.",
                "type": "array", "items": { "type": "integer", "minimum": 1 }
            },
            "reason": { "description": "Why that is accepted.", "type": "string" },
            "ref": { "description": "Where that can be read.", "type": "string" }
        }
    })
}

/// The schema of each step by its word: the operation's own, with the fields that all steps share.
fn steps(generator: &mut SchemaGenerator) -> Vec<(String, Value)> {
    let root = generator.root_schema_for::<Operation>().to_value();
    let variants = root.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
    let definitions = root.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut steps = Vec::new();
    for mut variant in variants {
        let Some((word, reference)) = variant
            .get("properties")
            .and_then(Value::as_object)
            .and_then(|p| p.iter().next())
            .map(|(word, schema)| (word.clone(), schema.clone()))
        else {
            continue;
        };
        let name = reference.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next());
        let Some(mut body) = name.and_then(|name| definitions.get(name)).cloned() else { continue };
        variant["description"] = body["description"].clone();
        let properties = body
            .as_object_mut()
            .map(|b| b.entry("properties").or_insert_with(|| Value::Object(Map::new())));
        if let Some(Value::Object(properties)) = properties {
            for (key, schema) in shared() {
                properties.insert(key.into(), schema);
            }
        }
        variant["properties"][&word] = body;
        steps.push((word, variant));
    }
    steps
}

fn shared() -> [(&'static str, Value); 4] {
    [
        (
            "as",
            json!({ "description": "The actor that takes the step; `main` if left out.", "$ref": "#/$defs/Name" }),
        ),
        (
            "id",
            json!({ "description": "A name by which later steps refer to the values of this one.", "$ref": "#/$defs/Name" }),
        ),
        ("expect", json!({ "$ref": "#/$defs/Expect" })),
        ("known", json!({ "$ref": "#/$defs/Known" })),
    ]
}

/// A step without the shared fields, as `world.mounts` holds it.
fn bare(step: &Value) -> Value {
    let mut step = step.clone();
    if let Some(properties) = step.get_mut("properties").and_then(Value::as_object_mut) {
        for (_, body) in properties.iter_mut() {
            if let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) {
                for (key, _) in shared() {
                    properties.remove(key);
                }
            }
        }
    }
    step
}
