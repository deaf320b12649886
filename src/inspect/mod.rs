//! Layers of an overlay as they lie on disk: read, merged as the kernel would, and what is wrong with them.

pub mod marks;
pub mod merge;
pub mod options;
pub mod read;
pub mod remarks;
pub mod tree;
pub mod work;

use std::path::PathBuf;

use marks::Reading;
use tree::Tree;

/// A layer that was read.
#[derive(Debug)]
pub struct Layer {
    /// The directory, as it was given.
    pub path: PathBuf,
    /// What it is for.
    pub role: Role,
    /// What is in it.
    pub tree: Tree,
}

/// What a layer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is written to.
    Upper,
    /// It is merged.
    Lower,
    /// It gives the data of files of other layers, and no names.
    Data,
}

impl Role {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Upper => "upper",
            Self::Lower => "lower",
            Self::Data => "data",
        }
    }
}

/// Layers, topmost first, and how their marks are read.
#[derive(Debug)]
pub struct Stack {
    /// The upper layer if there is one, the lower ones, those that only give data.
    pub layers: Vec<Layer>,
    /// Which marks count.
    pub reading: Reading,
    /// Whether redirects are followed.
    pub redirects: bool,
    /// Whether files without data get those of a layer below.
    pub metacopy: bool,
}

impl Stack {
    /// How many layers have names.
    pub fn merged(&self) -> usize {
        self.layers.iter().filter(|layer| layer.role != Role::Data).count()
    }

    /// Whether the topmost layer is the one that is written to.
    pub fn has_upper(&self) -> bool {
        self.layers.first().is_some_and(|layer| layer.role == Role::Upper)
    }
}

/// Bytes as they can be shown: what is no UTF-8, a control character or a backslash is escaped, so that
/// different bytes never look the same.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if is_plain(c) => text.push(c),
                c if c.is_ascii() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => text.extend(c.escape_unicode()),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// Whether a character neither moves the cursor nor turns the direction of the text.
fn is_plain(c: char) -> bool {
    let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !c.is_control() && !turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_no_two_names_look_alike() {
        assert_eq!(shown(b"a\x1b[2J\n\xff\\x1b"), r"a\x1b[2J\x0a\xff\\x1b");
        assert_eq!(shown("\u{202e}gpj.ä".as_bytes()), "\\u{202e}gpj.ä");
    }
}
