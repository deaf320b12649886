//! First scenarios: one a family of `scenarios/`, short and with comments, to be copied and changed.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::diag::did_you_mean;
use crate::links;
use crate::scenario::load::SCENARIOS;

/// The first scenario of a family.
#[derive(Debug)]
pub struct Template {
    /// The directory below `scenarios/`.
    pub family: &'static str,
    /// The scenario.
    pub text: &'static str,
    /// What is added to `nsharness run FILE` where it would be skipped otherwise.
    pub asked_by: &'static str,
}

/// Declares templates: the family, whose file has its name, and what it is asked by.
macro_rules! templates {
    ($($family:literal $($asked_by:literal)?),+ $(,)?) => {
        &[$(Template {
            family: $family,
            text: include_str!(concat!($family, ".yaml")),
            asked_by: concat!($($asked_by)?),
        }),+]
    };
}

/// Every template, in the order of the README.
pub static TEMPLATES: &[Template] = templates![
    "overlay",
    "bind",
    "propagation",
    "userns",
    "roots",
    "files",
    "ownership",
    "mount-namespaces",
    "nfs" "--on auto",
    "disks" "--on auto",
    "fuse" "--on auto",
    "hostfs" "--on auto",
    "idmapped",
    "runtimes",
    "layers" "--overlay fuse-overlayfs",
    "oci" "--runtime runc",
    "containers" "--runtime runc",
];

/// The longest name, so that the snapshot of a case has a name that a file can have.
const MAX_NAME: usize = 80;

impl Template {
    /// The template of a family.
    ///
    /// # Errors
    /// There is none: in words, with the family that was meant or all that there are.
    pub fn of(family: &str) -> Result<&'static Self, String> {
        let families = || TEMPLATES.iter().map(|template| template.family);
        TEMPLATES.iter().find(|template| template.family == family).ok_or_else(|| {
            let hint = match did_you_mean(family, families()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", families().collect::<Vec<_>>().join(", ")),
            };
            format!("no family `{}`: {hint}", family.escape_debug())
        })
    }

    /// What the scenario shows.
    pub fn title(&self) -> &'static str {
        let title = self.text.lines().find_map(|line| line.strip_prefix("title: "));
        title.unwrap_or_default()
    }

    /// Whether it observes something, which is recorded before it can pass.
    pub fn observes(&self) -> bool {
        self.text.lines().any(|line| line == "observe:")
    }

    /// Writes it to `scenarios/FAMILY/NAME.yaml` below the working directory, and gives that path. Directories are
    /// made where they are missing.
    ///
    /// # Errors
    /// Something has that path or that id; a symbolic link leads out of the working directory; and those of mkdir(2),
    /// openat2(2) and write(2).
    pub fn write(&self, name: &str) -> io::Result<PathBuf> {
        let directory = Path::new(SCENARIOS).join(self.family);
        let here = Path::new(".");
        let out = directory.ancestors().find(|part| links::leads_out(part, here));
        if let Some(link) = out.filter(|part| !part.as_os_str().is_empty()) {
            let why = format!("{} is a symbolic link out of this directory", link.display());
            return Err(io::Error::other(why));
        }
        let file = directory.join(format!("{name}.yaml"));
        // Without the ending the two would be one id.
        let other = file.with_extension("yml");
        if other.symlink_metadata().is_ok() {
            return Err(io::Error::other(format!("{} has that id", other.display())));
        }
        fs::create_dir_all(&directory)?;
        let mut written = links::create_new(&file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                io::Error::other("it is there already, and is not overwritten: give another name")
            }
            _ => error,
        })?;
        written.write_all(self.text.as_bytes())?;
        Ok(file)
    }
}

/// Whether a scenario may be called so: lower-case letters, digits and hyphens, as all ids are.
///
/// # Errors
/// It may not: in words, with a name that may.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty()
        && name.len() <= MAX_NAME
        && name.chars().all(fits)
        && !name.starts_with('-')
    {
        return Ok(());
    }
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(name);
    let lower = stem
        .chars()
        .map(|c| if fits(c.to_ascii_lowercase()) { c.to_ascii_lowercase() } else { '-' });
    let near: String = lower.take(MAX_NAME).collect();
    let near = near.trim_matches('-');
    let hint = if near.is_empty() {
        "as in `whiteout-of-a-link`".to_owned()
    } else {
        format!("did you mean `{near}`?")
    };
    Err(format!(
        "`{}` is no name of a scenario: lower-case letters, digits and hyphens, at most {MAX_NAME}: {hint}",
        name.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::{TEMPLATES, Template, check_name};

    #[test]
    fn a_name_that_cannot_be_is_told_with_one_that_can() {
        assert_eq!(check_name("whiteout-2"), Ok(()));
        for (wrong, meant) in [
            ("Whiteout.yaml", "`whiteout`?"),
            ("two words", "`two-words`?"),
            ("../up", "`up`?"),
            ("a/b", "`a-b`?"),
            ("-a", "`a`?"),
            ("", "as in"),
            ("é\u{1b}", "as in"),
            (&"x".repeat(81), &"x".repeat(80)),
        ] {
            let why = check_name(wrong).unwrap_err();
            assert!(why.contains(meant) && !why.contains('\u{1b}'), "{wrong}: {why}");
        }
    }

    #[test]
    fn each_template_says_what_it_shows() {
        for template in TEMPLATES {
            assert!(!template.title().is_empty(), "{}", template.family);
        }
        assert!(Template::of("overly").unwrap_err().contains("`overlay`?"));
        assert!(Template::of("quux").unwrap_err().contains("there are overlay, bind"));
    }
}
