//! The model's border: it cannot reach a kernel, and knows nothing of who can.

use std::fs;
use std::path::{Path, PathBuf};

/// What would let the model ask a kernel, the disk or a clock, or know what a kernel answered.
const FORBIDDEN: &[&str] = &[
    "nix",
    "rustix",
    "libc",
    "caps",
    "std::fs",
    "std::process",
    "std::time",
    "std::env",
    "std::io",
    "std::net",
    "std::os",
    "std::thread",
    "unsafe",
    "extern",
    "include_str",
    "include_bytes",
    "env!",
];
/// The parts of nsharness that the model may know: plain data.
const ALLOWED: &[&str] = &["model", "scenario", "transcript"];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

/// The code of a line: without its comment, and without what stands in quotes.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if quoted => drop(rest.next()),
            '"' => quoted = !quoted,
            '/' if !quoted && rest.peek() == Some(&'/') => break,
            c if !quoted => code.push(c),
            _ => {}
        }
    }
    code
}

/// Whether code names a crate, a module or a keyword; what stands behind one dot is a field or method.
fn names(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = &code[..at];
        let is_field = before.ends_with('.') && !before.ends_with("..");
        !is_field && !before.ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

#[test]
fn the_model_cannot_reach_a_kernel() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model");
    let files = sources(&directory);
    assert!(files.len() > 10, "the model is somewhere else");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = code(line);
            let place = format!("{}:{}: {line}", file.display(), number + 1);
            for word in FORBIDDEN {
                // The attribute that forbids it names it.
                let forbids = code.contains("forbid(unsafe_code)");
                assert!(forbids || !names(&code, word), "the model may not use {word}\n{place}");
            }
            for (at, _) in code.match_indices("crate::") {
                let module = &code[at + "crate::".len()..];
                let allowed = ALLOWED.iter().any(|name| module.starts_with(name));
                // A list of modules behind `crate::{` would hide what it names.
                assert!(allowed, "the model may know {} only\n{place}", ALLOWED.join(", "));
            }
        }
    }
    let top = fs::read_to_string(directory.join("mod.rs")).unwrap();
    assert!(top.contains("#![forbid(unsafe_code)]"));
}

#[test]
fn the_check_of_the_border_can_fail() {
    assert!(names(&code("use std::fs::File;"), "std::fs"));
    assert!(names(&code("let x = libc::getpid();"), "libc"));
    assert!(names(&code("use {caps, std::rc::Rc};"), "caps"));
    assert!(names(&code("let all = ..caps::all();"), "caps"));
    assert!(!names(&code("let held = actor.caps;"), "caps"));
    assert!(!names(&code("// std::fs is not used"), "std::fs"));
    assert!(!names(&code("let matrix = \"nix\"; let phoenix = 1;"), "nix"));
}
