//! Targets as the user names them: `host`, `uml:6.12`, `qemu:./bzImage,modules=DIR`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::diag::did_you_mean;

/// Where a witness is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The kernel that runs here.
    Host,
    /// For each scenario the cheapest target that has what it needs.
    Auto,
    /// A kernel that is an ordinary program.
    Uml(Which),
    /// A kernel in a virtual machine.
    Qemu(Which),
    /// What a kernel answered before.
    Recorded(PathBuf),
}

/// Which kernel a guest boots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The one that is installed on this system; there is none for QEMU.
    Installed,
    /// One in the cache, by the beginning of its release: `6.12`.
    Version(String),
    /// A file that the user names.
    File {
        /// The kernel.
        path: PathBuf,
        /// The directory of its modules, as /lib/modules/RELEASE, or what it lies in.
        modules: Option<PathBuf>,
    },
}

/// What every target can be, as errors tell it.
const EXPECTED: &str =
    "expected host, auto, uml, uml:VERSION, uml:PATH, qemu:VERSION, qemu:PATH or recorded:FILE";
const WORDS: [&str; 5] = ["host", "auto", "uml", "qemu", "recorded"];
/// What stands before the directory of modules.
const MODULES: &str = "modules=";

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = match text.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        match (word, rest) {
            ("host", None) => Ok(Self::Host),
            ("auto", None) => Ok(Self::Auto),
            ("host" | "auto", Some(_)) => Err(format!("`{word}` stands alone")),
            ("uml", None) => Ok(Self::Uml(Which::Installed)),
            ("uml", Some(which)) => Ok(Self::Uml(kernel(word, which)?)),
            ("qemu", None) => {
                Err("`qemu` needs a kernel: qemu:VERSION of one in the cache, or qemu:PATH"
                    .to_owned())
            }
            ("qemu", Some(which)) => Ok(Self::Qemu(kernel(word, which)?)),
            ("recorded", Some(file)) if !file.is_empty() => Ok(Self::Recorded(file.into())),
            ("recorded", _) => Err("`recorded` needs a file: recorded:FILE".to_owned()),
            _ => Err(unknown(word)),
        }
    }
}

fn unknown(word: &str) -> String {
    let hint = match did_you_mean(word, WORDS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => EXPECTED.to_owned(),
    };
    format!("no target `{}`: {hint}", word.escape_debug())
}

/// What stands behind `uml:` or `qemu:`: what begins with a digit and has no `/` is a version, also where a file has that
/// name: who proposes a change of a checkout must not choose what `uml:6.12` runs.
fn kernel(word: &str, text: &str) -> Result<Which, String> {
    let (file, modules) = match text.split_once(',') {
        Some((file, options)) => (file, Some(options)),
        None => (text, None),
    };
    let modules = match modules.map(|options| options.strip_prefix(MODULES).ok_or(options)) {
        None => None,
        Some(Ok(directory)) if !directory.is_empty() => Some(PathBuf::from(directory)),
        Some(_) => {
            return Err(format!("expected {word}:PATH,modules=DIRECTORY behind the comma"));
        }
    };
    let path = PathBuf::from(file);
    let numbered = file.starts_with(|c: char| c.is_ascii_digit());
    if file.contains('/') || (!file.is_empty() && !numbered && path.is_file()) {
        return Ok(Which::File { path, modules });
    }
    let version = |c: char| c.is_ascii_alphanumeric() || ".-+~_".contains(c);
    if !numbered || !file.chars().all(version) {
        return Err(format!(
            "`{}` is neither a version, as in {word}:6.12, nor a file, as in {word}:./linux",
            file.escape_debug()
        ));
    }
    match modules {
        None => Ok(Which::Version(file.to_owned())),
        Some(_) => {
            Err("a kernel in the cache has its own modules: `modules=` goes with a path".to_owned())
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, which) = match self {
            Self::Host => return f.write_str("host"),
            Self::Auto => return f.write_str("auto"),
            Self::Recorded(file) => return write!(f, "recorded:{}", file.display()),
            Self::Uml(which) => ("uml", which),
            Self::Qemu(which) => ("qemu", which),
        };
        match which {
            Which::Installed => f.write_str(word),
            Which::Version(version) => write!(f, "{word}:{version}"),
            Which::File { path, modules: None } => write!(f, "{word}:{}", path.display()),
            Which::File { path, modules: Some(modules) } => {
                write!(f, "{word}:{},{MODULES}{}", path.display(), modules.display())
            }
        }
    }
}

/// Several targets, separated by commas, in the order in which they are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets(pub Vec<Target>);

impl FromStr for Targets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words: Vec<String> = Vec::new();
        for part in text.split(',') {
            match words.last_mut() {
                // It belongs to the kernel before the comma.
                Some(before) if part.starts_with(MODULES) => {
                    before.push(',');
                    before.push_str(part);
                }
                _ => words.push(part.to_owned()),
            }
        }
        let mut targets: Vec<Target> = Vec::new();
        for word in &words {
            let target = word.parse()?;
            if targets.contains(&target) {
                return Err(format!("`{target}` stands there twice"));
            }
            targets.push(target);
        }
        if targets.contains(&Target::Auto) && targets.len() > 1 {
            return Err("`auto` chooses the targets itself: name no others beside it".to_owned());
        }
        Ok(Self(targets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_gives_its_word_back() {
        for word in [
            "host",
            "auto",
            "uml",
            "uml:6.12",
            "uml:6.1.0-18-amd64",
            "uml:./linux",
            "uml:/a/linux,modules=/b",
            "qemu:7.2",
            "qemu:arch/x86/boot/bzImage,modules=../m",
            "recorded:6.1.jsonl",
        ] {
            let target = word.parse::<Target>().map(|target| target.to_string());
            assert_eq!(target.as_deref(), Ok(word));
        }
    }

    #[test]
    fn a_comma_before_modules_separates_no_targets() {
        let targets: Targets = "host,qemu:./a,modules=/m,uml:6.1".parse().unwrap();
        let words: Vec<_> = targets.0.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["host", "qemu:./a,modules=/m", "uml:6.1"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        for (text, told) in [
            ("hots", "no target `hots`: did you mean `host`?"),
            ("", "no target ``: expected host, auto, uml"),
            ("host,", "no target ``"),
            ("vbox", "no target `vbox`: expected host"),
            ("host:1", "`host` stands alone"),
            ("qemu", "`qemu` needs a kernel"),
            ("uml:", "`` is neither a version, as in uml:6.12, nor a file"),
            ("uml:linux\u{1b}", "`linux\\u{1b}` is neither"),
            ("qemu:./a,modules=", "expected qemu:PATH,modules=DIRECTORY"),
            ("qemu:6.1,modules=/m", "a kernel in the cache has its own modules"),
            ("recorded", "`recorded` needs a file"),
            ("host,host", "`host` stands there twice"),
            ("auto,host", "`auto` chooses the targets itself"),
        ] {
            let error = text.parse::<Targets>().unwrap_err();
            assert!(error.starts_with(told), "{text}: {error}");
        }
    }
}
