//! What marks a layer has: attributes, devices and names that an overlay gives a meaning.

use super::tree::{File, Id, Kind, ROOT, Tree};

/// The name of the file by which a layer in the form of OCI is opaque in a directory.
pub const OCI_OPAQUE: &[u8] = b".wh..wh..opq";
/// What stands before a name that a layer in the form of OCI takes away.
pub const OCI_WHITEOUT: &[u8] = b".wh.";
/// What stands before names that aufs keeps for itself.
pub const AUFS: &[u8] = b".wh..wh.";

/// Where attributes begin that an overlay gives a meaning.
pub const PREFIXES: [&str; 3] = ["trusted.overlay.", "user.overlay.", "user.fuseoverlayfs."];

/// Which marks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Those of an overlay that the kernel mounts: trusted.overlay.* and the device 0:0.
    Trusted,
    /// Those of one that is mounted with `userxattr`: user.overlay.* and the device 0:0.
    User,
    /// Those of an unpacked layer of an OCI image: `.wh.NAME` and `.wh..wh..opq`.
    Oci,
}

/// Whether a directory hides what is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opacity {
    /// It does.
    Opaque,
    /// It does not, and may hold whiteouts in the form of attributes (`opaque=x`).
    HoldsWhiteouts,
    /// It does not.
    None,
}

/// In which form a name is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteout {
    /// The character device 0:0.
    Device,
    /// An empty file with the attribute `overlay.whiteout`.
    Attribute,
    /// The file `.wh.NAME` beside it.
    Name,
}

impl Whiteout {
    /// What it is.
    pub fn words(self) -> &'static str {
        match self {
            Self::Device => "whiteout (device 0:0)",
            Self::Attribute => "whiteout (overlay.whiteout)",
            Self::Name => "whiteout (.wh.)",
        }
    }
}

/// What a layer has under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File(Id),
    /// A whiteout, and the file that it is.
    Whiteout(Id, Whiteout),
}

/// Why the value of a mark is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

impl Reading {
    /// What stands before the marks in the names of attributes; none are read of a layer of OCI.
    pub fn prefix(self) -> Option<&'static str> {
        match self {
            Self::Trusted => Some(PREFIXES[0]),
            Self::User => Some(PREFIXES[1]),
            Self::Oci => None,
        }
    }

    /// The value of a mark.
    pub fn mark<'f>(self, file: &'f File, name: &str) -> Option<&'f [u8]> {
        if file.attributes.is_empty() {
            return None;
        }
        file.attribute(&format!("{}{name}", self.prefix()?))
    }

    /// What a directory of a layer has under a name.
    pub fn entry(self, tree: &Tree, dir: Id, name: &[u8]) -> Option<Entry> {
        let found = tree.child(dir, name);
        if self == Self::Oci {
            if name.starts_with(OCI_WHITEOUT) {
                return None;
            }
            let whiteout = || tree.child(dir, &[OCI_WHITEOUT, name].concat());
            return match found {
                Some(found) => Some(Entry::File(found)),
                None => whiteout().map(|id| Entry::Whiteout(id, Whiteout::Name)),
            };
        }
        let found = found?;
        Some(match self.whiteout(tree.get(found)) {
            Some(form) => Entry::Whiteout(found, form),
            None => Entry::File(found),
        })
    }

    /// The names of a directory of a layer, without those that are marks.
    pub fn names(self, tree: &Tree, dir: Id) -> impl Iterator<Item = &[u8]> {
        tree.get(dir).children.iter().filter_map(move |id| {
            let name = &*tree.get(*id).name;
            match name.strip_prefix(OCI_WHITEOUT) {
                Some(_) if self == Self::Oci && name.starts_with(AUFS) => None,
                Some(hidden) if self == Self::Oci => Some(hidden),
                _ => Some(name),
            }
        })
    }

    /// Whether a file is a whiteout by itself.
    pub fn whiteout(self, file: &File) -> Option<Whiteout> {
        let marked = || file.kind == Kind::File && self.mark(file, "whiteout").is_some();
        match file.kind {
            _ if self == Self::Oci => None,
            Kind::Char(0, 0) => Some(Whiteout::Device),
            Kind::File if file.size == 0 && marked() => Some(Whiteout::Attribute),
            _ => None,
        }
    }

    /// Whether a directory hides what is below.
    pub fn opacity(self, tree: &Tree, dir: Id) -> Opacity {
        let file = tree.get(dir);
        if self == Self::Oci {
            // What a layer takes away and has itself is taken away from those below.
            let taken = || tree.child(file.parent, &[OCI_WHITEOUT, &file.name].concat()).is_some();
            let opaque = tree.child(dir, OCI_OPAQUE).is_some() || (dir != ROOT && taken());
            return if opaque { Opacity::Opaque } else { Opacity::None };
        }
        match self.mark(file, "opaque") {
            Some(b"y") => Opacity::Opaque,
            Some(b"x") => Opacity::HoldsWhiteouts,
            _ => Opacity::None,
        }
    }

    /// Where the layers below have a file: a name or a path from the root.
    pub fn redirect(self, file: &File) -> Result<Option<&[u8]>, Invalid> {
        let Some(value) = self.mark(file, "redirect") else { return Ok(None) };
        // The kernel takes it for a string that ends with a zero.
        let value = value.split(|byte| *byte == 0).next().unwrap_or(value);
        let valid = match value.strip_prefix(b"/") {
            Some(path) => path.split(|byte| *byte == b'/').all(|name| !name.is_empty()),
            None => !value.is_empty() && !value.contains(&b'/'),
        };
        if valid { Ok(Some(value)) } else { Err(Invalid) }
    }

    /// Whether a file has no data (`ovl_check_metacopy_xattr`).
    pub fn metacopy(self, file: &File) -> Result<bool, Invalid> {
        let value = (file.kind == Kind::File).then(|| self.mark(file, "metacopy")).flatten();
        match value {
            None => Ok(false),
            // Of older kernels; newer ones say version, length and flags, and may have a digest.
            Some([]) => Ok(true),
            Some([0, length, 0, _, ..]) if value.map(<[u8]>::len) == Some((*length).into()) => {
                Ok(true)
            }
            Some(_) => Err(Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Attribute;
    use super::*;

    fn file(name: &str, value: &[u8]) -> File {
        let mut file = File::new(b"f", ROOT, Kind::File);
        file.attributes.push(Attribute { name: name.into(), value: Ok(value.into()) });
        file
    }

    #[test]
    fn a_redirect_is_a_name_or_a_path_without_gaps() {
        let redirect = |value: &[u8]| {
            Reading::User
                .redirect(&file("user.overlay.redirect", value))
                .map(|path| path.map(<[u8]>::to_vec))
        };
        assert_eq!(redirect(b"/a/b"), Ok(Some(b"/a/b".to_vec())));
        assert_eq!(redirect(b"a\0b/c"), Ok(Some(b"a".to_vec())));
        for wrong in [&b"/"[..], b"", b"/a/", b"/a//b", b"a/b"] {
            assert_eq!(redirect(wrong), Err(Invalid), "{wrong:?}");
        }
    }

    #[test]
    fn a_metacopy_is_empty_or_says_its_own_length() {
        let metacopy = |value: &[u8]| Reading::User.metacopy(&file("user.overlay.metacopy", value));
        assert_eq!(metacopy(b""), Ok(true));
        assert_eq!(metacopy(&[0, 4, 0, 0]), Ok(true));
        for wrong in [&b"y"[..], &[0, 5, 0, 0], &[1, 4, 0, 0], &[0, 4, 1, 0]] {
            assert_eq!(metacopy(wrong), Err(Invalid), "{wrong:?}");
        }
    }

    #[test]
    fn marks_of_another_namespace_are_none() {
        assert_eq!(
            Reading::User.whiteout(&file("user.overlay.whiteout", b"")),
            Some(Whiteout::Attribute)
        );
        assert_eq!(Reading::Trusted.whiteout(&file("user.overlay.whiteout", b"")), None);
    }
}
