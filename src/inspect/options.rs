//! The mount options of an overlay, as a command line or /proc/self/mounts has them.

use crate::diag::did_you_mean;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::Role;

/// What mount options say of layers and of marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The layers, topmost first.
    pub layers: Vec<(Role, PathBuf)>,
    /// The work directory, where that is said.
    pub work: Option<PathBuf>,
    /// Whether marks are kept in user.*.
    pub userxattr: bool,
    /// Whether redirects are followed, where that is said.
    pub redirects: Option<bool>,
    /// Whether there are files without data, where that is said.
    pub metacopy: Option<bool>,
}

impl Options {
    /// Reads options that stand one behind the other.
    ///
    /// # Errors
    /// One of them is not known.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let (mut upper, mut lower, mut data) = (None, Vec::new(), Vec::new());
        let mut options = Self::default();
        for option in split_unescaped(text, b',') {
            let (key, value) = match option.iter().position(|byte| *byte == b'=') {
                Some(at) => (&option[..at], Some(decode_octal(&option[at + 1..]))),
                None => (option, None),
            };
            let shown = super::shown(option);
            match (key, value) {
                (b"upperdir", Some(path)) => upper = Some(path_of(unescape(&path))),
                (b"lowerdir", Some(paths)) => (lower, data) = lower_layers(&paths)?,
                (b"lowerdir+", Some(path)) => lower.push(path_of(path)),
                (b"datadir+", Some(path)) => data.push(path_of(path)),
                (b"workdir", path) => {
                    options.work = path.map(|path| path_of(unescape(&path)));
                }
                (b"userxattr", None) => options.userxattr = true,
                (b"redirect_dir", Some(value)) => {
                    options.redirects = Some(match &value[..] {
                        b"on" | b"follow" | b"off" => true,
                        b"nofollow" => false,
                        _ => {
                            return Err(format!("`{shown}`: expected on, follow, off or nofollow"));
                        }
                    });
                }
                (b"metacopy", Some(value)) => {
                    options.metacopy = Some(match &value[..] {
                        b"on" => true,
                        b"off" => false,
                        _ => return Err(format!("`{shown}`: expected on or off")),
                    });
                }
                (key, _) if IRRELEVANT.contains(&key) || key.is_empty() => {}
                (key, _) => {
                    let key = String::from_utf8_lossy(key);
                    let near = did_you_mean(&key, RELEVANT);
                    let hint =
                        near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                    return Err(format!(
                        "`{shown}` is no option of an overlay: expected lowerdir=, upperdir=, lowerdir+=, datadir+=, \
                         userxattr, redirect_dir=, metacopy= and what stands beside them in /proc/self/mounts{hint}"
                    ));
                }
            }
        }
        options.layers.extend(upper.map(|path| (Role::Upper, path)));
        options.layers.extend(lower.into_iter().map(|path| (Role::Lower, path)));
        options.layers.extend(data.into_iter().map(|path| (Role::Data, path)));
        Ok(options)
    }
}

/// What says where layers are, and how they are read.
const RELEVANT: [&str; 7] =
    ["lowerdir", "upperdir", "workdir", "datadir", "userxattr", "redirect_dir", "metacopy"];

/// Options that change nothing of what is seen: the overlay's, and those of every mount.
const IRRELEVANT: [&[u8]; 29] = [
    b"index",
    b"nfs_export",
    b"xino",
    b"uuid",
    b"verity",
    b"volatile",
    b"fsync",
    b"default_permissions",
    b"override_creds",
    b"nooverride_creds",
    b"ro",
    b"rw",
    b"nosuid",
    b"suid",
    b"nodev",
    b"dev",
    b"noexec",
    b"exec",
    b"noatime",
    b"atime",
    b"relatime",
    b"strictatime",
    b"nodiratime",
    b"seclabel",
    b"context",
    b"fscontext",
    b"defcontext",
    b"rootcontext",
    b"sync",
];

/// The layers of `lowerdir`: behind a single colon a lower one, behind two of them one for data only.
fn lower_layers(text: &[u8]) -> Result<(Vec<PathBuf>, Vec<PathBuf>), String> {
    let (mut lower, mut data) = (Vec::new(), Vec::new());
    let mut only_data = false;
    for (index, part) in split_unescaped(text, b':').enumerate() {
        if part.is_empty() {
            if only_data || index == 0 {
                return Err("lowerdir=: a colon at an end, or three of them".into());
            }
            only_data = true;
            continue;
        }
        if !data.is_empty() && !only_data {
            return Err("lowerdir=: a lower layer behind one that only gives data".into());
        }
        let list = if only_data { &mut data } else { &mut lower };
        list.push(path_of(unescape(part)));
        only_data = false;
    }
    if only_data {
        return Err("lowerdir=: a colon at an end".into());
    }
    Ok((lower, data))
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// Splits at every separator that has no backslash before it.
fn split_unescaped(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut escaped = false;
    text.split(move |byte| {
        let splits = *byte == separator && !escaped;
        escaped = *byte == b'\\' && !escaped;
        splits
    })
}

/// Takes away the backslashes that keep what is behind them from having a meaning.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut escaped = false;
    let plain = text.iter().filter(|byte| {
        escaped = **byte == b'\\' && !escaped;
        !escaped
    });
    plain.copied().collect()
}

/// The options of the overlay that a table, as /proc/PID/mountinfo has it, shows at a mount point; `None` where what
/// shows there is none.
pub fn mounted_at<'t>(table: &'t [u8], point: &[u8]) -> Option<&'t [u8]> {
    // What is mounted last hides what is there before.
    let line = table.split(|byte| *byte == b'\n').rev().find(|line| {
        let other = line.split(|byte| *byte == b' ').nth(4).unwrap_or_default();
        decode_octal(other) == point
    })?;
    let behind = line.windows(3).position(|three| three == b" - ")? + 3;
    let mut fields = line[behind..].split(|byte| *byte == b' ');
    (fields.next()? == b"overlay").then(|| fields.nth(1))?
}

/// What /proc/self/mounts writes as a backslash and three octal digits (`seq_escape`).
pub fn decode_octal(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| *first == b'\\');
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &behind[3..];
            }
            None => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Vec<(Role, String)> {
        let options = Options::parse(text.as_bytes()).expect("options");
        options.layers.into_iter().map(|(role, path)| (role, path.display().to_string())).collect()
    }

    #[test]
    fn the_overlay_at_a_mount_point_is_the_one_that_was_mounted_last() {
        let table = b"30 1 0:30 / / rw - tmpfs tmpfs rw\n\
            31 30 0:31 / /a\\040b rw - overlay none lowerdir=/one\n\
            32 30 0:32 / /a\\040b rw shared:1 - overlay none lowerdir=/two\n";
        assert_eq!(mounted_at(table, b"/a b"), Some(&b"lowerdir=/two"[..]));
        assert_eq!(mounted_at(table, b"/"), None);
        assert_eq!(mounted_at(table, b"/a"), None);
    }

    #[test]
    fn layers_are_read_as_mount_shows_them() {
        let text = r"rw,relatime,lowerdir=/a:b:/c\040d::/data,upperdir=/u\054v,workdir=/w,uuid=on,userxattr";
        let one = |role, path: &str| (role, path.to_owned());
        assert_eq!(
            layers(text),
            [
                one(Role::Upper, "/u,v"),
                one(Role::Lower, "/a"),
                one(Role::Lower, "b"),
                one(Role::Lower, "/c d"),
                one(Role::Data, "/data")
            ]
        );
        assert_eq!(layers(r"lowerdir=/a\:b\,c"), [one(Role::Lower, "/a:b,c")]);
        assert_eq!(layers(r"lowerdir=/a\134:b"), [one(Role::Lower, "/a:b")]);
        assert_eq!(layers("lowerdir+=/a:b,datadir+=/d").len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "lowerdir=:/a",
            "lowerdir=/a:::b",
            "lowerdir=/a:",
            "lowerdir=/a::b:c",
            "metacopy=x",
            "lowedir=/a",
        ] {
            assert!(Options::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
