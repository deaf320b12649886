//! Files of settings: where they are, and what they say.

use std::env;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::table::{Checkout, Kind, SETTINGS, Setting, sections};
use super::{Found, Origin, Rank};
use crate::bounded;
use crate::diag::{Diagnostic, Source, did_you_mean};
use crate::links::leads_out;
use crate::target::{Target, Targets, Which};

/// The file of a checkout.
pub const NAME: &str = "nsharness.toml";
/// The largest file that is read.
const MAX_BYTES: u64 = 64 << 10;

/// The file of a checkout, as it is reached from the working directory: the nearest one on the way up to the directory
/// that has `.git`. Where there is no such directory, only the working directory is looked at: what lies above
/// it may be anybody's, as /tmp is.
pub fn of_checkout() -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    let top = here.ancestors().position(|above| above.join(".git").symlink_metadata().is_ok());
    let mut file = PathBuf::from(NAME);
    for directory in here.ancestors().take(top.unwrap_or(0) + 1) {
        if directory.join(NAME).symlink_metadata().is_ok() {
            return Some(file);
        }
        file = Path::new("..").join(file);
    }
    None
}

/// The user's own file, whether it is there or not.
pub fn of_user() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG base directory specification has relative paths ignored.
    variable("XDG_CONFIG_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".config")))
        .filter(|path| path.is_absolute())
        .map(|path| path.join("nsharness").join("config.toml"))
}

/// Reads a file; `None` where it may be missing and is.
pub fn read(path: &Path, rank: Rank) -> Result<Option<Vec<Found>>, Vec<Diagnostic>> {
    let text = match text(path, rank) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && rank != Rank::Named => {
            return Ok(None);
        }
        // The home of somebody else, as setpriv(1) and sudo(8) leave it in HOME: there is nothing of this user's.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_closed(path, rank) => {
            return Ok(None);
        }
        Err(error) => {
            let why = format!("cannot be read: {error}");
            let hint = "mend it, or leave all files of settings out by --no-config";
            return Err(vec![Diagnostic::whole(path.display().to_string(), why).hint(hint)]);
        }
    };
    let source = Arc::new(Source { name: path.display().to_string(), text });
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        let told = errors.iter().map(|error| {
            let end = source.text.len();
            Diagnostic::at(&source, error.span().unwrap_or(end..end), error.message())
                .hint("settings are TOML, as in: on = [\"host\", \"uml:6.12\"]")
        });
        return Err(told.collect());
    }
    let mut reader = Reader { source: Arc::clone(&source), rank, found: vec![], wrong: vec![] };
    reader.top(table.get_ref());
    // The parser gives them in the order of their keys.
    reader.wrong.sort_by_key(|diagnostic| diagnostic.span.as_ref().map(|span| span.start));
    if reader.wrong.is_empty() { Ok(Some(reader.found)) } else { Err(reader.wrong) }
}

/// Whether the user's own file is in a directory that this user may not look into.
fn is_closed(path: &Path, rank: Rank) -> bool {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    rank == Rank::User && path.symlink_metadata().is_err_and(|error| denied(&error))
}

/// The text of a file. In a checkout it must not be a link that leads out of its directory: an error would show a line
/// of what it leads to.
fn text(path: &Path, rank: Rank) -> io::Result<String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if rank == Rank::Checkout
        && path.is_symlink()
        && leads_out(path, directory.unwrap_or(Path::new(".")))
    {
        return Err(io::Error::other("a symbolic link that leads out of its directory"));
    }
    String::from_utf8(bounded::read(path, MAX_BYTES)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        io::Error::other(format!("a byte on line {line} is not text: settings are UTF-8"))
    })
}

struct Reader {
    source: Arc<Source>,
    rank: Rank,
    found: Vec<Found>,
    wrong: Vec<Diagnostic>,
}

type Key<'i> = Spanned<DeString<'i>>;
type Value<'i> = Spanned<DeValue<'i>>;

impl Reader {
    fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match value.get_ref() {
                DeValue::Table(own) if sections().contains(&key.get_ref().as_ref()) => {
                    let section = sections().into_iter().find(|name| name == key.get_ref());
                    for (key, value) in own {
                        self.entry(section, key, value);
                    }
                }
                _ => self.entry(None, key, value),
            }
        }
    }

    fn entry(&mut self, section: Option<&'static str>, key: &Key<'_>, value: &Value<'_>) {
        let word = key.get_ref().as_ref();
        let wanted = |setting: &&Setting| match section {
            Some(section) => setting.sections().any(|name| name == section),
            None => true,
        };
        let Some(setting) = SETTINGS.iter().filter(wanted).find(|setting| setting.key == word)
        else {
            return self.unknown(section, key, matches!(value.get_ref(), DeValue::Table(_)));
        };
        if section.is_none() && !setting.is_common() {
            let of: Vec<_> = setting.sections().map(|name| format!("[{name}]")).collect();
            let hint = format!("put it into a table: {}", of.join(", "));
            return self.complain(
                key.span(),
                format!("`{word}` is a setting of single commands"),
                hint,
            );
        }
        if self.rank == Rank::Checkout && setting.checkout == Checkout::Nothing {
            let message = format!("`{word}` is no setting for the file of a checkout");
            let hint = format!(
                "whoever proposes a change could choose it for you: say it by {}, or in your own file; \
                 --config {} trusts this one",
                setting.variable_of(section),
                self.source.name
            );
            return self.complain(key.span(), message, hint);
        }
        let text = match text_of(setting.kind, value.get_ref()) {
            Ok(text) => text,
            Err(expected) => {
                let message = format!("`{word}` is not {expected}");
                return self.complain(value.span(), message, example(setting));
            }
        };
        if self.rank == Rank::Checkout
            && setting.checkout == Checkout::NoFiles
            && names_files(&text)
        {
            let message = "the file of a checkout names no files as targets".to_owned();
            let hint = format!(
                "a kernel that is a file would be run: say it by {}, or in your own file",
                setting.variable_of(section)
            );
            return self.complain(value.span(), message, hint);
        }
        let origin = Origin::File(Arc::clone(&self.source), value.span());
        self.found.push(Found { setting, section, text, origin, rank: self.rank });
    }

    fn unknown(&mut self, section: Option<&str>, key: &Key<'_>, is_table: bool) {
        let word = key.get_ref().as_ref();
        let keys = SETTINGS.iter().filter(|setting| match section {
            Some(section) => setting.sections().any(|name| name == section),
            None => true,
        });
        let keys: Vec<_> = keys.map(|setting| setting.key).collect();
        let (what, known) =
            if is_table && section.is_none() { ("table", sections()) } else { ("setting", keys) };
        let of = section.map_or_else(String::new, |section| format!(" of `{section}`"));
        // What an option is called otherwise.
        let folded = word.replace('_', "-");
        let hint = match did_you_mean(&folded, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if section.is_some() => format!("it has {}", known.join(", ")),
            None => "`nsharness config` shows every setting".to_owned(),
        };
        self.complain(key.span(), format!("there is no {what} `{word}`{of}"), hint);
    }

    fn complain(&mut self, span: Range<usize>, message: String, hint: impl Into<String>) {
        self.wrong.push(Diagnostic::at(&self.source, span, message).hint(hint));
    }
}

/// A value as the command line would have it; else what was expected.
fn text_of(kind: Kind, value: &DeValue<'_>) -> Result<OsString, &'static str> {
    let texts = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    let text = match (kind, value) {
        (Kind::Flag, DeValue::Boolean(value)) => Some(value.to_string()),
        (Kind::Number, DeValue::Integer(number)) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
        }
        (Kind::List, DeValue::Array(items)) => {
            let items: Option<Vec<_>> = items.iter().map(|item| texts(item.get_ref())).collect();
            items.filter(|items| !items.is_empty()).map(|items| items.join(","))
        }
        (Kind::Text | Kind::List | Kind::Path, value) => texts(value),
        _ => None,
    };
    text.filter(|text| !text.is_empty() && !text.contains('\0')).map(OsString::from).ok_or(
        match kind {
            Kind::Flag => "true or false",
            Kind::Number => "a number",
            Kind::Text => "a text",
            Kind::List => "a text or a list of texts",
            Kind::Path => "the name of a file",
        },
    )
}

/// How a setting is written, by its kind.
fn example(setting: &Setting) -> String {
    let value = match (setting.kind, setting.key) {
        (Kind::Flag, _) => "true",
        (Kind::Number, _) => "8",
        (_, "kernel") => "\"6.12\"",
        (Kind::List, "on") => "[\"host\", \"uml:6.12\"]",
        (Kind::List, _) => "[\"one\", \"another\"]",
        (Kind::Text | Kind::Path, _) => "\"text\"",
    };
    format!("as in: {} = {value}", setting.key)
}

/// Whether a text names targets that are files. What is no target is told of elsewhere.
fn names_files(text: &OsString) -> bool {
    let targets = String::from_utf8_lossy(text.as_bytes()).parse::<Targets>();
    targets.is_ok_and(|Targets(targets)| {
        targets.iter().any(|target| {
            matches!(
                target,
                Target::Recorded(_)
                    | Target::Uml(Which::File { .. })
                    | Target::Qemu(Which::File { .. })
            )
        })
    })
}
