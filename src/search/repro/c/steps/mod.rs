//! One operation as statements of C.

mod files;
mod mounts;
mod processes;
mod told;

use std::collections::BTreeMap;
use std::fmt::Display;

pub use processes::{capabilities, groups};
pub use told::told;

use crate::scenario::operation::{InFamily, Operation};
use crate::scenario::scalar::{Mode, Name, StepPath};
use crate::transcript::Values;

/// What statements may speak of besides the operation.
pub struct Context<'c> {
    /// The values that are compared: only these are said.
    pub wanted: &'c Values,
    /// The variables of the actor's open files.
    pub files: &'c BTreeMap<Name, String>,
    /// The indices of the actors.
    pub actors: &'c BTreeMap<Name, usize>,
}

/// A text as a literal of C.
pub fn literal(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | b'?' => literal.extend(['\\', char::from(byte)]),
            b'\n' => literal.push_str("\\n"),
            b'\t' => literal.push_str("\\t"),
            0x20..0x7f => literal.push(char::from(byte)),
            other => literal.push_str(&format!("\\{other:03o}")),
        }
    }
    literal.push('"');
    literal
}

/// A path as a literal of C.
fn path(path: &StepPath) -> String {
    literal(path.as_str())
}

fn result(call: &str, expression: impl Display) -> Vec<String> {
    vec![format!("result(\"{call}\", {expression});")]
}

fn mode(mode: Option<Mode>, otherwise: u32) -> String {
    format!("{:#o}", mode.map_or(otherwise, |mode| mode.0)).replace("0o", "0")
}

fn id(id: Option<u32>) -> String {
    id.map_or_else(|| "-1".to_owned(), |id| format!("{id}U"))
}

impl Context<'_> {
    fn fd(&self, name: &Name) -> String {
        self.files.get(name).cloned().unwrap_or_else(|| "-1".to_owned())
    }

    /// The file that a step names, which may be none.
    fn fd_of(&self, name: Option<&Name>) -> String {
        name.map_or_else(|| "-1".to_owned(), |name| self.fd(name))
    }

    fn dir(&self, name: Option<&Name>) -> String {
        name.map_or_else(|| "AT_FDCWD".to_owned(), |name| self.fd(name))
    }

    fn wants(&self, value: &str) -> bool {
        self.wanted.contains_key(value)
    }

    /// Calls by path or by open file, whichever is given.
    fn either(
        &self,
        path: Option<&StepPath>,
        fd: Option<&Name>,
        by_path: (&str, &str),
        by_fd: (&str, &str),
        rest: &str,
    ) -> Vec<String> {
        match (path, fd) {
            (Some(path), _) => {
                let (call, function) = by_path;
                result(call, format!("{function}{}{rest})", literal(path.as_str())))
            }
            (None, fd) => {
                let (call, function) = by_fd;
                let fd = self.fd_of(fd);
                result(call, format!("{function}{fd}{rest})"))
            }
        }
    }

    /// The pid of another actor, or of this one.
    fn pid(&self, of: Option<&Name>) -> String {
        let index = of.and_then(|name| self.actors.get(name));
        index.map_or_else(|| "own_pid()".to_owned(), |index| format!("pids[{index}]"))
    }
}

/// The statements that perform an operation and say what it gave.
///
/// # Errors
/// Why there are none.
pub fn statements(operation: &Operation, context: &Context<'_>) -> Result<Vec<String>, String> {
    match operation.in_family() {
        InFamily::Files(operation) => Ok(files::statements(operation, context)),
        InFamily::Mounts(operation) => mounts::statements(operation, context),
        InFamily::Roots(operation) => Ok(processes::of_roots(operation, context)),
        InFamily::Namespaces(operation) => processes::of_namespaces(operation, context),
        InFamily::Credentials(operation) => processes::of_credentials(operation, context),
        InFamily::Exec(_) => Err("programs are not run".to_owned()),
        InFamily::Container(_) => Err("no container runtime is called".to_owned()),
    }
}
