//! One witness's answer to a plan: outcomes and observations, as plain data.
//!
//! Values that vary from run to run (inodes, devices, mount ids, peer groups, namespaces, times)
//! are renumbered in the order in which they appear, so that equality survives and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use compact_str::{CompactString, ToCompactString, format_compact};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::scenario::scalar::Errno;

/// What one witness answered to a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// One for each step that was taken.
    pub outcomes: Vec<Outcome>,
    /// One for each observation that was made.
    pub observations: Vec<Observation>,
    /// How it ended.
    pub end: End,
    /// Texts by name that were kept as evidence.
    pub evidence: BTreeMap<String, String>,
}

/// How a transcript ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum End {
    /// Every step was taken and every observation made.
    Completed,
    /// The time was up; what was running was killed.
    TimedOut,
    /// The sandbox, the world or a worker broke: the scenario was not asked to its end.
    Broke(Breakage),
}

/// What the system calls of the steps are called among the evidence.
pub const TRACE: &str = "trace";

/// Why a scenario could not be asked to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{stage}: {detail}")]
pub struct Breakage {
    /// What was being done, as in `sandbox: clone` or `world: line 12: overlay`.
    pub stage: String,
    /// What went wrong.
    pub detail: String,
    /// The error number, where a system call failed.
    pub errno: Option<Errno>,
}

/// What one step gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Success.
    Ok(Values),
    /// The system call that failed, and how.
    Failed {
        /// The error.
        errno: Errno,
        /// The system call.
        syscall: String,
        /// What is said of it, where somebody says something.
        message: Option<Message>,
    },
    /// A container runtime does not do it.
    Refused {
        /// Which, and its command, as in `runc create`.
        by: String,
        /// What it says.
        message: String,
    },
    /// The witness does not answer, and says why.
    Abstained(String),
}

/// What is said of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Message {
    /// By the kernel itself, as in the log of fsopen(2).
    Kernel(String),
    /// By a program that does it in the kernel's place.
    Program {
        /// Which.
        by: String,
        /// What it says.
        says: String,
    },
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, says) = match self {
            Self::Kernel(says) => ("the kernel", says),
            Self::Program { by, says } => (by.as_str(), says),
        };
        write!(f, "{by} says: {}", escape(says))
    }
}

/// The values of a successful step, by name.
pub type Values = BTreeMap<CompactString, Value>;

/// One field of a map: most names and texts are so short that they lie in the value itself.
pub type Field = (CompactString, Value);

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A number.
    Number(i64),
    /// A text.
    Text(CompactString),
    /// A list.
    List(Vec<Value>),
    /// Fields in order.
    Map(Vec<Field>),
    /// Something that is only the same or another: renumbered before it is shown.
    Identity(Class, CompactString),
}

/// A class of identities; each is numbered by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Devices.
    Dev,
    /// Files: inode numbers with their devices.
    Ino,
    /// Inode numbers alone.
    Number,
    /// Mount ids.
    Mnt,
    /// Peer groups.
    Peer,
    /// Namespaces.
    Ns,
    /// Times.
    Time,
    /// Identifiers of the upper layers of overlays.
    Uuid,
    /// File handles that overlays keep.
    Handle,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dev => "dev",
            Self::Ino => "ino",
            Self::Number => "number",
            Self::Mnt => "mnt",
            Self::Peer => "peer",
            Self::Ns => "ns",
            Self::Time => "time",
            Self::Uuid => "uuid",
            Self::Handle => "handle",
        })
    }
}

/// Something recorded after the steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What was observed, as in `tree at upper` or `mountinfo of host`.
    pub title: String,
    /// What was found, or the outcome of the system call that failed.
    pub found: Result<Value, Outcome>,
}

impl Transcript {
    /// A transcript of a scenario that was not asked at all.
    pub fn broken(breakage: Breakage) -> Self {
        Self {
            outcomes: Vec::new(),
            observations: Vec::new(),
            end: End::Broke(breakage),
            evidence: BTreeMap::new(),
        }
    }

    /// Renumbers all identities in the order in which they appear: those of the outcomes, and those of
    /// the observations.
    pub fn normalise(&mut self) {
        let mut numbers = Numbers::default();
        self.outcomes.iter_mut().for_each(|outcome| numbers.outcome(outcome));
        // By themselves, so that a snapshot does not change with what steps asked for.
        let mut numbers = Numbers::default();
        self.observations.iter_mut().for_each(|observation| numbers.observation(observation));
    }

    /// Names all identities by numbers that tell nothing of the machine; the same ones stay the same.
    pub fn anonymise(&mut self) {
        self.renumber(Numbers { anonymous: true, ..Numbers::default() });
    }

    /// The same but for what is chance: whether times that nobody set are equal, as clocks are coarse.
    pub fn without_chance(&self) -> Self {
        let mut certain = self.clone();
        certain.renumber(Numbers { anonymous: true, one_time: true, ..Numbers::default() });
        certain
    }

    fn renumber(&mut self, mut numbers: Numbers) {
        self.outcomes.iter_mut().for_each(|outcome| numbers.outcome(outcome));
        self.observations.iter_mut().for_each(|observation| numbers.observation(observation));
    }
}

#[derive(Default)]
struct Numbers {
    seen: BTreeMap<Class, BTreeMap<CompactString, usize>>,
    /// Whether identities stay what they are.
    anonymous: bool,
    /// Whether all times are one.
    one_time: bool,
}

impl Numbers {
    fn outcome(&mut self, outcome: &mut Outcome) {
        if let Outcome::Ok(values) = outcome {
            values.values_mut().for_each(|value| self.value(value));
        }
    }

    fn observation(&mut self, observation: &mut Observation) {
        match &mut observation.found {
            Ok(value) => self.value(value),
            Err(outcome) => self.outcome(outcome),
        }
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::Identity(class, key) => {
                if self.one_time && *class == Class::Time {
                    key.clear();
                }
                let seen = self.seen.entry(*class).or_default();
                let next = seen.len() + 1;
                let number = *seen.entry(std::mem::take(key)).or_insert(next);
                if self.anonymous {
                    *key = number.to_compact_string();
                } else {
                    *value = Value::Text(format_compact!("{class}#{number}"));
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Map(fields) => fields.iter_mut().for_each(|(_, field)| self.value(field)),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
        }
    }
}

/// The longest content that is shown as text; beyond, its digest is.
const CONTENT_BYTES: usize = 4096;

/// Bytes as text: what is not UTF-8 is written as `\xNN`.
pub fn text(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
        text
    })
}

/// The same of what is mostly short, as names are.
pub fn short_text(bytes: &[u8]) -> CompactString {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => text(bytes).into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that read as text, which nothing but line ends and tabs controls.
fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.chars().any(|c| c.is_control() && !"\n\t".contains(c)))
}

impl Value {
    /// Bytes as text where they read as text, else as hexadecimal digits.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        as_text(bytes).map_or_else(|| format!("hex:{}", hex(bytes)).into(), Self::from)
    }

    /// The value of an extended attribute.
    pub fn of_xattr(name: &str, value: &[u8]) -> Self {
        Self::of_mark(name, value).unwrap_or_else(|| Self::of_bytes(value))
    }

    /// The value of an attribute of overlays that is random or a file handle, and so another one each time.
    pub fn of_mark(name: &str, value: &[u8]) -> Option<Self> {
        let mark = name.strip_prefix("trusted.overlay.").or(name.strip_prefix("user.overlay."));
        match mark.filter(|_| !value.is_empty()) {
            Some("uuid") => Some(Self::Identity(Class::Uuid, hex(value).into())),
            Some("origin" | "upper") => Some(Self::Identity(Class::Handle, hex(value).into())),
            _ => None,
        }
    }

    /// The content of a file, or its digest where it is long or not text.
    pub fn of_content(bytes: &[u8]) -> Self {
        match as_text(bytes) {
            Some(text) if bytes.len() <= CONTENT_BYTES => text.into(),
            _ => format!("sha256:{}", &hex(&Sha256::digest(bytes))[..16]).into(),
        }
    }
}

impl Value {
    /// The same, with a digest in the place of every text that is too long to be read by anybody.
    fn in_short(&self) -> Self {
        match self {
            Self::Text(text) if text.len() > CONTENT_BYTES => {
                let digest = &hex(&Sha256::digest(text))[..16];
                format!("sha256:{digest} of {} bytes", text.len()).into()
            }
            Self::List(items) => Self::List(items.iter().map(Self::in_short).collect()),
            Self::Map(fields) => {
                let fields = fields.iter().map(|(name, value)| (name.clone(), value.in_short()));
                Self::Map(fields.collect())
            }
            other => other.clone(),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Number(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl From<CompactString> for Value {
    fn from(value: CompactString) -> Self {
        Self::Text(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl Outcome {
    /// Success without values.
    pub fn done() -> Self {
        Self::Ok(Values::new())
    }

    /// Whether it is a refusal of a program that a signal ended: who was killed has given no reason.
    pub fn is_of_killed(&self) -> bool {
        // As std::process::ExitStatus prints it.
        matches!(self, Self::Refused { message, .. } if message.starts_with("signal: "))
    }

    /// The same, with a digest in the place of every text that is too long to be read by anybody.
    pub fn in_short(&self) -> Self {
        match self {
            Self::Ok(values) => {
                Self::Ok(values.iter().map(|(name, v)| (name.clone(), v.in_short())).collect())
            }
            other => other.clone(),
        }
    }

    /// Success with values.
    pub fn values<const N: usize>(values: [(&str, Value); N]) -> Self {
        Self::Ok(values.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(values) if values.is_empty() => f.write_str("ok"),
            Self::Ok(values) => {
                f.write_str("ok with ")?;
                for (index, (name, value)) in values.iter().enumerate() {
                    write!(f, "{}{name} {value}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Failed { errno, syscall, message: None } => write!(f, "{errno} from {syscall}"),
            Self::Failed { errno, syscall, message: Some(text) } => {
                write!(f, "{errno} from {syscall} ({text})")
            }
            Self::Refused { by, message } => write!(f, "refused by {by}: {message}"),
            Self::Abstained(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl fmt::Display for Value {
    /// One line of YAML's flow style; control characters are escaped, so that no value can
    /// write to a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(text) if is_word(text) => f.write_str(text),
            Self::Text(text) => write!(f, "\"{}\"", escape(text)),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Map(fields) => {
                f.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{} {name}: {value}", if index == 0 { "" } else { "," })?;
                }
                f.write_str(if fields.is_empty() { "}" } else { " }" })
            }
            Self::Identity(class, key) => write!(f, "{class}({key})"),
        }
    }
}

/// Whether a text reads as itself without quotes.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./#()=+@%".contains(c))
        && !["true", "false", "null", "~"].contains(&text)
        && text.parse::<f64>().is_err()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c) =>
            {
                escaped.push_str(&format!("\\u{{{:x}}}", c as u32));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_identities_get_equal_numbers_in_order_of_appearance() {
        let identity = |key: &str| Value::Identity(Class::Ino, key.into());
        let mut transcript = Transcript {
            outcomes: vec![
                Outcome::values([("ino", identity("77"))]),
                Outcome::values([("ino", identity("5"))]),
                Outcome::values([("ino", identity("77"))]),
            ],
            observations: Vec::new(),
            end: End::Completed,
            evidence: BTreeMap::new(),
        };
        transcript.normalise();
        let shown: Vec<_> = transcript.outcomes.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["ok with ino ino#1", "ok with ino ino#2", "ok with ino ino#1"]);
    }

    #[test]
    fn a_message_names_who_says_it_and_one_of_the_kernel_is_a_text_alone() {
        let told = |message: &str| {
            let text = format!(
                r#"{{"Failed":{{"errno":"EINVAL","syscall":"fsconfig","message":{message}}}}}"#
            );
            let outcome: Outcome = serde_json::from_str(&text).expect("an outcome");
            assert_eq!(serde_json::to_string(&outcome).expect("a text"), text);
            outcome.to_string()
        };
        assert_eq!(told(r#""e no""#), "EINVAL from fsconfig (the kernel says: e no)");
        let by = r#"{"by":"fuse-overlayfs","says":"\u001bno"}"#;
        assert!(told(by).ends_with(r"(fuse-overlayfs says: \u{1b}no)"), "{}", told(by));
    }

    #[test]
    fn a_value_cannot_write_to_a_terminal() {
        let value = Value::Text("\u{1b}[2Jred\u{202e}".into());
        assert_eq!(value.to_string(), "\"\\u{1b}[2Jred\\u{202e}\"");
    }
}
