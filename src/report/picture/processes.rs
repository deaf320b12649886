//! What processes are and where they stand.

use super::{Line, Look, Text, field, plain};
use crate::scenario::observe::Observe;
use crate::scenario::scalar::Name;
use crate::transcript::Value;

/// Something of each actor.
#[derive(Clone, Debug, PartialEq)]
pub struct Processes {
    /// What is shown.
    pub title: &'static str,
    /// What is said of each, by name.
    pub said: Vec<(String, String)>,
}

impl Processes {
    /// One line an actor.
    pub fn text(&self) -> Text {
        let line =
            |(name, said): &(String, String)| Line::new(name, said, format!("{name:<10} {said}"));
        Text { title: self.title.to_owned(), lines: self.said.iter().map(line).collect() }
    }
}

/// Root and working directory of each actor.
pub fn directories(actors: &[Name], look: &mut Look<'_>) -> Option<Processes> {
    processes("roots and working directories", actors, |name| {
        let Value::Map(fields) = look.of(name, Observe::Process)? else { return None };
        let path = |name: &str| match field(&fields, name) {
            Some(Value::Map(of)) => field(of, "path").map(plain).unwrap_or_default(),
            _ => String::new(),
        };
        Some(format!("root {:<16} cwd {}", path("root"), path("cwd")))
    })
}

/// Ids and capabilities of each actor.
pub fn credentials(actors: &[Name], look: &mut Look<'_>) -> Option<Processes> {
    processes("credentials", actors, |name| {
        let Value::Map(fields) = look.of(name, Observe::Credentials)? else { return None };
        let text = |name: &str| field(&fields, name).map(plain).unwrap_or_default();
        let ids = |names: [&str; 3]| {
            let ids = names.map(text);
            if ids.iter().all(|id| *id == ids[0]) { ids[0].clone() } else { ids.join("/") }
        };
        let capabilities = match (text("effective"), text("permitted")) {
            (effective, permitted) if effective == permitted => format!("capabilities {effective}"),
            (effective, permitted) => format!("effective {effective}  permitted {permitted}"),
        };
        Some(format!(
            "uid {}  gid {}  groups {}  {capabilities}",
            ids(["uid", "euid", "suid"]),
            ids(["gid", "egid", "sgid"]),
            text("groups"),
        ))
    })
}

fn processes(
    title: &'static str,
    actors: &[Name],
    mut said: impl FnMut(&Name) -> Option<String>,
) -> Option<Processes> {
    let said = actors.iter().filter_map(|name| Some((name.to_string(), said(name)?)));
    let said: Vec<_> = said.collect();
    (!said.is_empty()).then_some(Processes { title, said })
}
