//! What kinds of values steps give, so that an expectation that no answer could meet is told where it is written.

use super::decode::Errors;
use super::expect::Wanted;
use super::scalar::{Capability, DeviceNumber, Mode};
use super::yaml::{Kind, Node};

/// A kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// Any text.
    Text,
    /// A list of texts.
    Texts,
    /// A whole number that is not negative.
    Number,
    /// A list of them.
    Numbers,
    /// A user or group id.
    Id,
    /// A list of them.
    Ids,
    /// Lines of an id map.
    Map,
    /// Permission bits.
    Mode,
    /// True or false.
    Bool,
    /// A device number.
    Device,
    /// Whole seconds since 1970, as a scenario sets them.
    Time,
    /// What tells one thing from another and is renumbered.
    Identity,
    /// The type of a file.
    Node,
    /// A set of capabilities: `all`, `none` or their names.
    Capabilities,
    /// Flags of a mount, as statvfs(3) tells them.
    MountFlags,
    /// What a file setgroups says.
    Setgroups,
    /// The status of a container.
    Status,
}

const NODES: &[&str] = &["file", "dir", "symlink", "char", "block", "fifo", "socket"];
const MOUNT_FLAGS: &[&str] =
    &["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"];
const SETGROUPS: &[&str] = &["allow", "deny"];
const STATUS: &[&str] = &["creating", "created", "running", "stopped"];
/// Whole sets of capabilities.
const SETS: &[&str] = &["all", "none"];

impl ValueType {
    /// Whether such a value is a list.
    fn is_list(self) -> bool {
        matches!(self, Self::Texts | Self::Numbers | Self::Ids | Self::Map | Self::MountFlags)
    }

    /// Decodes what such a value is compared with as a whole.
    pub fn whole(self, node: &Node, errors: &Errors) -> Option<Wanted> {
        let is_set = node.text().is_some_and(|text| SETS.contains(&text));
        match &node.kind {
            Kind::Mapping(_) => {
                errors
                    .at(&node.span, format!("wrong type: expected {}", self.describe()))
                    .label(format!("this is {}", node.describe()));
                None
            }
            Kind::Scalar { .. } if self == Self::Capabilities && is_set => {
                node.text().map(|text| Wanted::Text(text.to_owned()))
            }
            Kind::Sequence(items) if self.is_list() || self == Self::Capabilities => {
                let items: Vec<_> = items.iter().map(|item| self.item(item, errors)).collect();
                items.into_iter().collect::<Option<Vec<_>>>().map(Wanted::List)
            }
            Kind::Scalar { .. } if !self.is_list() && self != Self::Capabilities => {
                self.item(node, errors).map(Wanted::Text)
            }
            _ => {
                errors
                    .at(&node.span, format!("wrong type: expected {}", self.describe()))
                    .label(format!("this is {}", node.describe()));
                None
            }
        }
    }

    /// Decodes what such a value is to contain, or to lack: items of a list, or parts of a text.
    pub fn parts(self, node: &Node, errors: &Errors) -> Option<Vec<String>> {
        if !self.is_list() && !matches!(self, Self::Text | Self::Capabilities) {
            errors
                .at(&node.span, format!("{} has no parts", self.describe()))
                .hint("lists and texts contain and lack something; compare this by `not`, `same_as` or `differs_from`");
            return None;
        }
        match &node.kind {
            Kind::Sequence(items) => {
                let items: Vec<_> = items.iter().map(|item| self.item(item, errors)).collect();
                items.into_iter().collect()
            }
            _ => self.item(node, errors).map(|item| vec![item]),
        }
    }

    /// Decodes one value, or one item of a list, as it is shown.
    fn item(self, node: &Node, errors: &Errors) -> Option<String> {
        match self {
            Self::Text | Self::Texts => errors.decode(node),
            Self::Number | Self::Numbers => errors.decode::<u64>(node).map(|n| n.to_string()),
            Self::Id | Self::Ids => errors.decode::<u32>(node).map(|id| id.to_string()),
            Self::Time => errors.decode::<i64>(node).map(|time| time.to_string()),
            Self::Bool => errors.decode::<bool>(node).map(|is| is.to_string()),
            Self::Mode => errors.decode::<Mode>(node).and_then(|_| node.text().map(str::to_owned)),
            Self::Device => errors.decode::<DeviceNumber>(node).map(|device| device.to_string()),
            Self::Node => word(NODES, node, errors),
            Self::Capabilities => {
                errors.decode::<Capability>(node).map(|capability| capability.to_string())
            }
            Self::MountFlags => word(MOUNT_FLAGS, node, errors),
            Self::Setgroups => word(SETGROUPS, node, errors),
            Self::Status => word(STATUS, node, errors),
            Self::Map => {
                let line: String = errors.decode(node)?;
                let numbers: Vec<_> = line.split_whitespace().map(str::parse::<u32>).collect();
                if numbers.len() == 3 && numbers.iter().all(Result::is_ok) {
                    return Some(line);
                }
                errors
                    .at(&node.span, format!("`{}` is no line of an id map", line.escape_debug()))
                    .hint("expected `INSIDE OUTSIDE COUNT`, as in `[0 1000 1]`");
                None
            }
            Self::Identity => {
                errors.at(&node.span, "what it is differs from run to run").hint(
                    "compare it with that of another step, as in `{ same_as: STEP }` or `{ differs_from: STEP }`",
                );
                None
            }
        }
    }

    /// What such a value is, in words.
    fn describe(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Texts => "a list of texts",
            Self::Number => "a whole number",
            Self::Numbers => "a list of whole numbers",
            Self::Id => "an id",
            Self::Ids => "a list of ids",
            Self::Map => "a list of lines of an id map",
            Self::Mode => "a mode",
            Self::Bool => "true or false",
            Self::Device => "a device number",
            Self::Time => "a time in whole seconds",
            Self::Identity => "a comparison with another step",
            Self::Node => "the type of a file",
            Self::Capabilities => "`all`, `none` or a list of capabilities",
            Self::MountFlags => "a list of flags",
            Self::Setgroups => "allow or deny",
            Self::Status => "a status",
        }
    }
}

/// One of these words.
fn word(words: &[&str], node: &Node, errors: &Errors) -> Option<String> {
    let word: String = errors.decode(node)?;
    if words.contains(&word.as_str()) {
        return Some(word);
    }
    errors
        .at(&node.span, format!("unknown word `{}`", word.escape_debug()))
        .choices(&word, words.iter().copied());
    None
}
