//! What others wrote and the binary has: where it comes from, under which licences, and once only. `deny.toml` has the
//! lists; cargo-deny reads them too, where it is installed.
//!
//! `THIRD_PARTY=FILE cargo test --test supply` writes the notices that go with a binary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The packages that are needed for Linux on this machine's processor, and those of them that are in the binary or
/// build it.
fn packages() -> (Vec<Value>, BTreeSet<String>) {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform"])
        .arg(platform)
        .current_dir(root())
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes: BTreeMap<String, Value> = all(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (name(&node["id"]), node))
        .collect();
    let mut shipped = BTreeSet::new();
    let mut pending = vec![name(&metadata["resolve"]["root"])];
    while let Some(id) = pending.pop() {
        for dep in all(&nodes[&id]["deps"]) {
            let kinds = all(&dep["dep_kinds"]);
            let dep = name(&dep["pkg"]);
            if kinds.iter().any(|kind| kind["kind"] != "dev") && shipped.insert(dep.clone()) {
                pending.push(dep);
            }
        }
    }
    let used = |package: &Value| nodes.contains_key(&name(&package["id"]));
    let own = |package: &Value| package["source"].is_null();
    let packages = all(&metadata["packages"]).into_iter();
    (packages.filter(|package| used(package) && !own(package)).collect(), shipped)
}

/// The texts between quotes of a list in `deny.toml`.
fn listed(key: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let list =
        text.split_once(&format!("\n{key} = [\n")).expect("a list").1.split_once("\n]").unwrap().0;
    list.lines().filter_map(|line| line.split('"').nth(1).map(str::to_owned)).collect()
}

/// Whether an SPDX expression can be met by licences that are allowed.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<_> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&tokens, &mut at, allowed);
    assert_eq!(at, tokens.len(), "{expression} is no expression");
    met
}

fn any(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = each(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        met |= each(tokens, at, allowed);
    }
    met
}

fn each(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(tokens, at, allowed);
    }
    met
}

fn one(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let token = tokens.get(*at).copied().unwrap_or_default();
    *at += 1;
    if token == "(" {
        let met = any(tokens, at, allowed);
        assert_eq!(tokens.get(*at), Some(&")"));
        *at += 1;
        return met;
    }
    let mut licence = token.to_owned();
    if tokens.get(*at) == Some(&"WITH") {
        licence = format!("{token} WITH {}", tokens[*at + 1]);
        *at += 2;
    }
    allowed.contains(&licence)
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let allowed = listed("allow");
    let (packages, _) = packages();
    assert!(packages.len() > 50, "{}", packages.len());
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(
            is_met(licence, &allowed),
            "{} {}: {licence:?}",
            package["name"],
            package["version"]
        );
    }
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = ["MIT".to_owned(), "X WITH y".to_owned()];
    for (expression, met) in [
        ("MIT", true),
        ("GPL-2.0", false),
        ("GPL-2.0 OR MIT", true),
        ("GPL-2.0/MIT", true),
        ("GPL-2.0 AND MIT", false),
        ("(GPL-2.0 OR MIT) AND X WITH y", true),
        ("MIT AND (GPL-2.0 OR X)", false),
        ("", false),
    ] {
        let found = !expression.is_empty() && is_met(expression, &allowed);
        assert_eq!(found, met, "{expression}");
    }
}

#[test]
fn everything_comes_from_one_registry_and_is_locked() {
    for package in packages().0 {
        assert_eq!(package["source"], REGISTRY, "{}", package["name"]);
    }
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let count = |what: &str| lock.lines().filter(|line| line.starts_with(what)).count();
    // Only this package has neither.
    assert_eq!(count("source = "), count("name = ") - 1);
    assert_eq!(count("checksum = "), count("source = "));
}

#[test]
fn nothing_is_in_the_binary_twice() {
    let skipped: Vec<_> =
        listed("skip").iter().map(|name| name.split('@').next().unwrap().to_owned()).collect();
    let (packages, shipped) = packages();
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for package in packages.iter().filter(|p| shipped.contains(p["id"].as_str().unwrap())) {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        versions.entry(text("name")).or_default().insert(text("version"));
    }
    versions.retain(|name, versions| versions.len() > 1 && !skipped.contains(name));
    assert!(versions.is_empty(), "{versions:?}");
}

/// The notices of a package, as it has them.
fn notices(package: &Value) -> Vec<String> {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    let mut files: Vec<_> = fs::read_dir(manifest.parent().unwrap()).unwrap().flatten().collect();
    files.sort_by_key(|entry| entry.file_name());
    let is_notice = |name: &str| {
        let name = name.to_ascii_uppercase();
        ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|word| name.starts_with(word))
    };
    let files = files.iter().filter(|entry| is_notice(&entry.file_name().to_string_lossy()));
    files.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
}

/// Each text is told once, with the packages that have it.
#[test]
fn the_notices_of_what_is_in_the_binary_can_be_told() {
    let (packages, shipped) = packages();
    let mut texts = BTreeMap::<String, Vec<String>>::new();
    let mut silent = Vec::new();
    for package in packages.iter().filter(|p| shipped.contains(p["id"].as_str().unwrap())) {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{} {} ({})", text("name"), text("version"), text("license"));
        let notices = notices(package);
        if notices.is_empty() {
            silent.push(format!("{name}, {}", text("repository")));
        }
        for notice in notices {
            texts.entry(notice.trim().to_owned()).or_default().push(name.clone());
        }
    }
    // A package without a text has its licence in its manifest, and where it is kept.
    assert!(silent.iter().all(|name| name.contains("https://")), "{silent:?}");
    let mut told = String::from("What others wrote and is in nsharness, or builds it.\n");
    for name in &silent {
        let _ = writeln!(told, "\n{name}: its package has no text.");
    }
    for (text, names) in texts {
        let _ = writeln!(told, "\n{}\n{}\n\n{text}", "=".repeat(78), names.join("\n"));
    }
    if let Some(file) = std::env::var_os("THIRD_PARTY") {
        fs::write(file, &told).expect("the notices");
    }
    assert!(told.contains("Permission is hereby granted"));
}

/// The oldest compiler is stated, and CI builds with it.
#[test]
fn the_stated_compiler_is_the_one_that_ci_builds_with() {
    let stated = env!("CARGO_PKG_RUST_VERSION");
    assert!(!stated.is_empty());
    let ci = root().join(".ci/run");
    // A package of the registry has no CI.
    if let Ok(text) = fs::read_to_string(ci) {
        assert!(text.contains("cargo \"+$oldest\" check --locked"), "{text}");
    }
}
