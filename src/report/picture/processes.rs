//! What processes are and where they stand.

use super::{Line, Look, Picture, field, plain};
use crate::scenario::observe::Observe;
use crate::scenario::scalar::Name;
use crate::transcript::Value;

/// Root and working directory of each actor.
pub fn directories(actors: &[Name], look: &mut Look<'_>) -> Option<Picture> {
    picture("roots and working directories", actors, |name| {
        let Value::Map(fields) = look.of(name, Observe::Process)? else { return None };
        let path = |name: &str| match field(&fields, name) {
            Some(Value::Map(of)) => field(of, "path").map(plain).unwrap_or_default(),
            _ => String::new(),
        };
        Some(format!("root {:<16} cwd {}", path("root"), path("cwd")))
    })
}

/// Ids and capabilities of each actor.
pub fn credentials(actors: &[Name], look: &mut Look<'_>) -> Option<Picture> {
    picture("credentials", actors, |name| {
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

fn picture(
    title: &str,
    actors: &[Name],
    mut said: impl FnMut(&Name) -> Option<String>,
) -> Option<Picture> {
    let line = |name: &Name| {
        let said = said(name)?;
        Some(Line::new(name.as_str(), &said, format!("{:<10} {said}", name.as_str())))
    };
    let lines: Vec<_> = actors.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| Picture { title: title.to_owned(), lines })
}
