//! The documents that are made from the types are current, and every example in them runs.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use common::{Place, User, root};
use nsharness::probe;
use nsharness::scenario::operation::Operation;
use nsharness::scenario::{reference, schema};
use serde_json::Value;

/// Compares a committed document with what it is made from; UPDATE_DOCS=1 writes it instead.
#[track_caller]
fn is_current(name: &str, made: &str, command: &str) {
    let file = root().join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, made).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == made, "{name} is out of date: {command}");
}

#[test]
fn the_schema_is_current() {
    let made = format!("{:#}\n", schema::schema(&probe::names()));
    is_current("docs/scenario.schema.json", &made, "nsharness schema > docs/scenario.schema.json");
}

#[test]
fn the_reference_is_current() {
    let examples = reference::examples(&root().join("docs/examples")).unwrap();
    let questions: Vec<_> = probe::all().iter().map(|probe| (probe.name, probe.question)).collect();
    let made = reference::reference(&schema::plain(&probe::names()), &examples, &questions);
    let command = "nsharness schema --reference docs/examples > docs/scenario-format.md";
    is_current("docs/scenario-format.md", &made, command);
}

#[test]
fn every_example_runs() {
    let place = Place::new();
    place.copy("docs");
    for user in [User::Own, User::Ordinary] {
        let done =
            place.run(user, &["run", "docs/examples", "--snapshots", "check"]).expect_code(0);
        assert!(!done.stdout.contains("warning:"), "{}", done.stdout);
    }
}

#[test]
fn an_editor_with_the_schema_accepts_every_scenario_and_not_a_wrong_one() {
    let schema = schema::schema(&probe::names());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut files = Vec::new();
    for directory in ["scenarios", "docs/examples"] {
        files.extend(nsharness::scenario::discover(&[root().join(directory)]).0);
    }
    for file in files {
        let text = fs::read_to_string(&file.path).unwrap();
        let scenario: Value = serde_saphyr::from_str(&text).expect("YAML");
        let wrong: Vec<_> = validator
            .iter_errors(&scenario)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", file.id);
    }
    for wrong in [
        "{title: t, steps: [unlinc: {path: a}]}",
        "{title: t, steps: [unlink: {paht: a}]}",
        "{steps: []}",
    ] {
        let scenario: Value = serde_saphyr::from_str(wrong).unwrap();
        assert!(!validator.is_valid(&scenario), "{wrong}");
    }
}

/// Every example that the reference shows is one, and every one is shown.
#[test]
fn every_step_has_an_example_and_every_example_is_shown() {
    let examples = reference::examples(&root().join("docs/examples")).unwrap();
    let page = fs::read_to_string(root().join("docs/scenario-format.md")).unwrap();
    for described in Operation::ALL {
        assert!(
            examples.contains_key(described.word),
            "docs/examples/{}.yaml is missing",
            described.word
        );
    }
    for (name, text) in examples {
        assert!(page.contains(&text), "docs/examples/{name}.yaml is not in the reference");
    }
}

/// The keys that the schema allows, by where they stand, each used by some example.
#[test]
fn every_key_is_used_by_an_example() {
    let schema = schema::plain(&probe::names());
    let examples = reference::examples(&root().join("docs/examples")).unwrap();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for text in examples.values() {
        uses(text, &mut used);
    }
    let mut missing = Vec::new();
    let mut demand = |place: &str, body: &Value| {
        for key in body["properties"].as_object().into_iter().flat_map(|p| p.keys()) {
            if !used.get(place).is_some_and(|keys| keys.contains(key)) {
                missing.push(format!("{place}.{key}"));
            }
        }
    };
    demand("scenario", &schema);
    demand("world", &schema["properties"]["world"]);
    demand("entry", &schema["$defs"]["Entry"]);
    demand("actor", &schema["$defs"]["Actor"]);
    demand("userns", &schema["$defs"]["Userns"]);
    demand("nfs", &schema["$defs"]["Nfs"]);
    demand("known", &schema["$defs"]["Known"]);
    for (family, list) in [
        ("", &schema["properties"]["steps"]["items"]["anyOf"]),
        ("observe ", &schema["$defs"]["Observe"]["oneOf"]),
    ] {
        for variant in list.as_array().unwrap() {
            let (word, body) = variant["properties"].as_object().unwrap().iter().next().unwrap();
            let body = match body["$ref"].as_str() {
                Some(reference) => &schema["$defs"][reference.rsplit('/').next().unwrap()],
                None => body,
            };
            // The fields that all steps share are shown once.
            let mut body = body.clone();
            for shared in ["as", "id", "expect", "known"] {
                if family.is_empty() {
                    body["properties"].as_object_mut().unwrap().remove(shared);
                }
            }
            demand(&format!("{family}{word}"), &body);
        }
    }
    assert!(missing.is_empty(), "no example uses: {}", missing.join(", "));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 2000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    })]

    /// Whatever a file says, it is a scenario or is told what is wrong at a place in the file.
    #[test]
    fn a_file_that_was_edited_at_random_is_resolved_or_refused(
        which in proptest::prelude::any::<proptest::sample::Index>(),
        edits in proptest::collection::vec(
            (proptest::prelude::any::<proptest::sample::Index>(), "[ -~\n]{0,3}|\\PC{1,2}|\\$\\{case\\.[a-z]\\}|- |: |\\[|\\{", 0..4_usize),
            1..6,
        ),
    ) {
        let examples = reference::examples(&root().join("docs/examples")).unwrap();
        let mut text: Vec<char> = which.get(&examples.into_values().collect::<Vec<_>>()).chars().collect();
        for (at, new, gone) in edits {
            let from = at.index(text.len() + 1);
            let to = (from + gone).min(text.len());
            text.splice(from..to, new.chars());
        }
        let text: String = text.into_iter().collect();
        let source = std::sync::Arc::new(nsharness::diag::Source { name: "edited".into(), text });
        let file = nsharness::scenario::FoundFile { id: "edited".into(), path: "edited".into(), base: "".into() };
        let names = nsharness::scenario::KnownNames { probes: &probe::names() };
        if let Err(errors) = nsharness::scenario::resolve(&file, &source, names) {
            proptest::prop_assert!(!errors.is_empty());
            for error in errors {
                let rendered = error.render(false);
                proptest::prop_assert!(rendered.contains(&error.message), "{:?} is not in {rendered:?}", error.message);
            }
        }
    }
}

/// Notes which keys a scenario uses, by where they stand. It is parsed by another YAML parser than the
/// project's own, so that a key that ours loses is missed.
fn uses(text: &str, used: &mut BTreeMap<String, BTreeSet<String>>) {
    let scenario: Value = serde_saphyr::from_str(text).expect("YAML");
    let mut note = |place: &str, value: &Value| {
        let keys = value.as_object().into_iter().flat_map(|o| o.keys().cloned());
        used.entry(place.to_owned()).or_default().extend(keys);
    };
    note("scenario", &scenario);
    let world = &scenario["world"];
    note("world", world);
    for nfs in world["nfs"].as_array().map_or(std::slice::from_ref(&world["nfs"]), Vec::as_slice) {
        note("nfs", nfs);
    }
    let trees = world["mounts"].as_array().into_iter().flatten().map(|mount| &mount["tree"]);
    for tree in trees.chain([&world["tree"]]) {
        tree.as_object()
            .into_iter()
            .flat_map(|t| t.values())
            .for_each(|entry| note("entry", entry));
    }
    for actor in world["actors"].as_object().into_iter().flat_map(|a| a.values()) {
        note("actor", actor);
        note("userns", &actor["userns"]);
    }
    for (prefix, list) in
        [("", &scenario["steps"]), ("observe ", &scenario["observe"]), ("", &world["mounts"])]
    {
        for item in list.as_array().into_iter().flatten() {
            for (word, body) in item.as_object().into_iter().flatten() {
                note(&format!("{prefix}{word}"), body);
                note("known", &body["known"]);
            }
        }
    }
}
