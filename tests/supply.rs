//! What others wrote and the binary has. Licences, where it comes from, what is there twice and known holes are looked at
//! by cargo-deny (`deny.toml`), in CI.
//!
//! `THIRD_PARTY=FILE cargo test --test supply` writes the notices that go with a binary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The packages that are in a binary for Linux on this machine's processor, or build it.
fn shipped() -> Vec<Value> {
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
    let packages = all(&metadata["packages"]).into_iter();
    packages.filter(|package| shipped.contains(&name(&package["id"]))).collect()
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
    let mut texts = BTreeMap::<String, Vec<String>>::new();
    let mut silent = Vec::new();
    for package in &shipped() {
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
