//! Finds scenario files and reads them.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::yaml::MAX_FILE_BYTES;
use crate::diag::{Diagnostic, Source};
use crate::links::leads_out;

/// The directory name that ids and snapshots are counted from.
pub const SCENARIOS: &str = "scenarios";
/// Where a package puts the bundled scenarios, with their snapshots beside them.
pub const INSTALLED: &str = "/usr/share/nsharness/scenarios";

/// The scenarios that are meant where nobody names any: those of the working directory, else those of the package.
pub fn bundle() -> &'static Path {
    let here = Path::new(SCENARIOS);
    let installed = Path::new(INSTALLED);
    if !here.is_dir() && installed.is_dir() { installed } else { here }
}

/// Deepest directory below a given one that is searched.
const MAX_DIRECTORY_DEPTH: usize = 32;

/// A scenario file, found but not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundFile {
    /// Its id: the path below `scenarios/` (or below the given directory) without the ending.
    pub id: String,
    /// The path as the user would type it.
    pub path: PathBuf,
    /// The directory that the id is counted from.
    pub base: PathBuf,
}

/// Finds the scenario files of the given files and directories, sorted by id, each once.
///
/// Beside them stands one diagnostic for each path that does not exist, cannot be read or holds no
/// scenario.
pub fn discover(paths: &[PathBuf]) -> (Vec<FoundFile>, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                let before = found.len();
                if let Err((at, error)) = walk(path, path, 0, &mut found) {
                    errors.push(unreadable(&at, &error));
                } else if found.len() == before {
                    errors.push(
                        Diagnostic::whole(name, "no scenario in this directory")
                            .hint("scenarios are files that end in .yaml or .yml"),
                    );
                }
            }
            Ok(_) => {
                let parent = path.parent().unwrap_or(Path::new(""));
                found.push(FoundFile::new(path, parent));
            }
            Err(error) => errors.push(unreadable(path, &error)),
        }
    }
    found.sort();
    found.dedup();
    for pair in
        found.windows(2).filter(|pair| pair[0].id == pair[1].id && pair[0].base == pair[1].base)
    {
        let name = pair[1].path.display().to_string();
        errors.push(
            Diagnostic::whole(
                name,
                format!("it has the id `{}`, as {} has", pair[1].id, pair[0].path.display()),
            )
            .hint("rename one of the two: ids and snapshots do not have the ending"),
        );
    }
    (found, errors)
}

impl FoundFile {
    fn new(path: &Path, root: &Path) -> Self {
        let base = scenarios_above(path).unwrap_or_else(|| root.to_owned());
        let below = path.strip_prefix(&base).unwrap_or(path);
        let id = below.with_extension("").to_string_lossy().into_owned();
        Self { id, path: path.to_owned(), base }
    }
}

/// What the ids of scenarios in a directory are counted from, and the directory as seen from there.
pub fn base_of_directory(directory: &Path) -> (PathBuf, PathBuf) {
    let base = scenarios_above(&directory.join("x")).unwrap_or_else(|| directory.to_owned());
    let below = directory.strip_prefix(&base).unwrap_or(Path::new("")).to_owned();
    (base, below)
}

/// The part of a path up to and with its last directory named `scenarios`.
fn scenarios_above(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    let components: Vec<_> = parent.components().collect();
    let last = components.iter().rposition(|c| *c == Component::Normal(SCENARIOS.as_ref()))?;
    Some(components[..=last].iter().collect())
}

fn walk(
    directory: &Path,
    root: &Path,
    depth: usize,
    found: &mut Vec<FoundFile>,
) -> Result<(), (PathBuf, io::Error)> {
    let at = |error| (directory.to_owned(), error);
    if depth > MAX_DIRECTORY_DEPTH {
        return Err(at(io::Error::other("directories are nested too deeply")));
    }
    let mut entries = fs::read_dir(directory)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>())
        .map_err(at)?;
    entries.sort();
    for path in entries {
        // A dangling link or a loop is an error where it names a scenario, and nothing elsewhere.
        let is_scenario = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() && !path.is_symlink() => walk(&path, root, depth + 1, found)?,
            Ok(meta) if meta.is_dir() => {}
            Ok(_) if is_scenario && path.is_symlink() && leads_out(&path, root) => {
                let why = "a symbolic link that leads out of the directory: name the file itself";
                return Err((path, io::Error::other(why)));
            }
            Ok(_) if is_scenario => found.push(FoundFile::new(&path, root)),
            Err(error) if is_scenario => return Err((path, error)),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Reads a scenario file.
///
/// # Errors
/// What is wrong with the file as a whole: unreadable, too large, binary, not UTF-8, empty.
pub fn read(path: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    let name = path.display().to_string();
    let whole = |message: String| Box::new(Diagnostic::whole(&name, message));
    let fail = |error: &io::Error| Box::new(unreadable(path, error));
    // Looked at before it is opened: to open a pipe would wait for a writer.
    let meta = fs::metadata(path).map_err(|e| fail(&e))?;
    if !meta.is_file() {
        return Err(whole("not a regular file".into()));
    }
    let file = fs::File::open(path).map_err(|e| fail(&e))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| fail(&e))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let mut diagnostic = whole(format!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20));
        diagnostic.hint = Some("divide it: one scenario a file".into());
        return Err(diagnostic);
    }
    if bytes.contains(&0) {
        return Err(whole("this is a binary file and no scenario".into()));
    }
    let binary = |at: usize| {
        let line = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
        let mut diagnostic = whole(format!("a byte on line {line} is not text"));
        diagnostic.hint = Some(format!("scenarios are UTF-8 text; the byte is {:#04x}", bytes[at]));
        diagnostic
    };
    if let Some(at) = bytes.iter().position(|b| *b < 0x20 && !b"\n\r\t".contains(b)) {
        return Err(binary(at));
    }
    match String::from_utf8(bytes.clone()) {
        Ok(text) if text.trim().is_empty() => {
            let mut diagnostic = whole("the file is empty".into());
            diagnostic.hint = Some("a scenario needs at least `title:` and `steps:`".into());
            Err(diagnostic)
        }
        Ok(text) => Ok(Arc::new(Source { name, text })),
        Err(error) => Err(binary(error.utf8_error().valid_up_to())),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let name = path.display().to_string();
    let (message, hint) = match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => {
            let target = fs::read_link(path).unwrap_or_default();
            (
                format!("a symbolic link to `{}`, which does not exist", target.display()),
                "mend or remove the link",
            )
        }
        io::ErrorKind::NotFound => ("no such file or directory".into(), "check the path"),
        io::ErrorKind::PermissionDenied => {
            ("no permission to read this".into(), "change its mode, or run as its owner")
        }
        _ => (format!("cannot be read: {error}"), "check the path"),
    };
    Diagnostic::whole(name, message).hint(hint)
}
