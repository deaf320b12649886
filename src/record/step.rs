//! What a call becomes: the word and the fields of a step, or why it is none.

use serde_json::{Map, Value, json};

use crate::trace::Call;

/// Places that are not the scenario's: what the shell came with, and what the kernel shows.
const NOT_OURS: &[&str] = &["/.nsharness", "/proc", "/sys", "/dev"];
/// Where programs look for settings and libraries; in a sandbox there is nothing, unless the world has it.
const SETTINGS: &[&str] = &["/etc", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/var", "/run"];

/// What keeps a call from being a step.
pub enum Not {
    /// It is nothing of the scenario's.
    Ours,
    /// No step says it, for this reason.
    Said(String),
}

/// A step, by its word and its fields.
pub type Step = Result<(&'static str, Map<String, Value>), Not>;

/// Fields in this order.
pub fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Permission bits as YAML has them.
pub fn mode(raw: u64) -> Value {
    json!(format!("{:04o}", raw & 0o7777))
}

/// The words for bits, in the order of the list; `None` where other bits are set.
pub fn words(raw: u64, known: &[(u64, &str)]) -> Option<Vec<String>> {
    let all = known.iter().fold(0, |all, (bits, _)| all | bits);
    let word = |(bits, word): &(u64, &str)| (raw & bits == *bits).then(|| (*word).to_owned());
    (raw & !all == 0).then(|| known.iter().filter_map(word).collect())
}

/// No step says it, and why.
pub fn no_step(why: &str) -> Not {
    Not::Said(why.to_owned())
}

/// A call, and what was where as it began.
pub struct Asked<'a> {
    /// The call.
    pub call: &'a Call,
    /// Where its descriptors led.
    pub places: &'a [Option<String>; 6],
    /// The root of the process.
    pub root: Option<&'a str>,
}

impl Asked<'_> {
    /// An argument that is a text.
    pub fn text(&self, place: usize) -> Result<Value, Not> {
        match (&self.call.bytes[place], self.call.text(place)) {
            (_, Some(text)) if text.contains('\0') => Err(no_step("there is a zero byte in it")),
            (_, Some(text)) => Ok(json!(text)),
            (Some(_), None) => Err(no_step("it is no text")),
            (None, None) => Err(no_step("it could not be read")),
        }
    }

    fn finds_nothing(&self) -> bool {
        self.call.errno() == Some(nix::errno::Errno::ENOENT)
    }

    /// An argument that is a path.
    pub fn path(&self, place: usize) -> Result<Value, Not> {
        let path = self.text(place)?;
        match path.as_str() {
            Some(path) if is_below(path, NOT_OURS) => Err(Not::Ours),
            Some(path) if is_below(path, SETTINGS) && self.finds_nothing() => Err(Not::Ours),
            _ => Ok(path),
        }
    }

    /// A path behind the descriptor at this place, from where it starts.
    pub fn path_at(&self, place: usize) -> Result<Value, Not> {
        let path = self.path(place + 1)?;
        let text = path.as_str().unwrap_or_default();
        let here = self.call.raw[place] as u32 as i32 == libc::AT_FDCWD;
        if here || text.starts_with('/') {
            return Ok(path);
        }
        let Some(directory) = &self.places[place] else {
            // A descriptor that there is not.
            return Err(no_step("it starts from a descriptor that is no directory"));
        };
        if !directory.starts_with('/') || self.root.is_some_and(|root| root != "/") {
            return Err(no_step("it starts from a directory that has no path in its root"));
        }
        let joined = if text.is_empty() {
            directory.clone()
        } else {
            format!("{}/{text}", directory.trim_end_matches('/'))
        };
        if is_below(&joined, NOT_OURS) { Err(Not::Ours) } else { Ok(json!(joined)) }
    }
}

fn is_below(path: &str, tops: &[&str]) -> bool {
    let below = |top: &&str| {
        path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    tops.iter().any(below)
}
