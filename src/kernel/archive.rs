//! An archive of Debian, through the system's package client.
//!
//! The client gets a source list, lists and a cache of its own in a private directory, and the configuration
//! of the system for the rest: proxies and credentials. It checks the signature of the archive with Debian's
//! keys, as it always does. Nothing is installed, and no hook of the system is run.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::{RELEASES, Release};
use super::tool::{Done, run};
use super::{Architecture, Failure};
use crate::missing::Missing;

/// Which archive is asked, where that is not what the system uses.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The address of a mirror, as it stands in a source list.
    pub mirror: Option<String>,
    /// The keys that sign the archive.
    pub keyring: Option<PathBuf>,
}

/// What the index of an archive says of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// The digest of the file, in hexadecimal.
    pub(super) sha256: String,
    /// The size of the file in bytes.
    pub(super) size: u64,
    depends: String,
}

impl Package {
    /// Reads a paragraph of an index: deb822(5).
    pub(crate) fn parse(paragraph: &str) -> Option<Self> {
        let field = |name: &str| {
            let begin = |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned);
            paragraph.lines().find_map(begin).map(|value| value.trim().to_owned())
        };
        Some(Self {
            name: field("Package")?,
            version: field("Version")?,
            sha256: field("SHA256")?,
            size: field("Size")?.parse().ok()?,
            depends: field("Depends").unwrap_or_default(),
        })
    }

    /// The names of the packages it depends on that begin with one of these.
    pub(crate) fn dependencies(&self, beginnings: &[&str]) -> Vec<String> {
        let names = self.depends.split([',', '|']).filter_map(|one| one.split_whitespace().next());
        names
            .filter(|name| beginnings.iter().any(|begin| name.starts_with(begin)))
            .map(str::to_owned)
            .collect()
    }
}

/// The main archive of a release.
#[derive(Debug)]
pub(super) struct Archive {
    directory: PathBuf,
    release: Release,
    architecture: &'static Architecture,
}

/// What is left of the system's configuration beside `-o`: lists can only be cleared in a file. The hooks
/// of `update` change the system.
const CONFIGURATION: &str = "\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
";

impl Archive {
    /// Gets the lists of a release. The client's files lie in the directory, which must be there.
    pub(super) fn open(
        directory: &Path,
        release: Release,
        architecture: &'static Architecture,
        options: &Options,
    ) -> Result<Self, Failure> {
        let archive = Self { directory: directory.to_owned(), release, architecture };
        for below in ["lists/partial", "cache/archives/partial", "packages"] {
            let path = directory.join(below);
            fs::create_dir_all(&path).map_err(|error| Failure::of_file(&path, &error))?;
        }
        archive.write("apt.conf", CONFIGURATION)?;
        let keyring = keyring(options)?;
        let mirror = match &options.mirror {
            Some(mirror) => mirror.clone(),
            None => archive.mirror()?,
        };
        let source = format!(
            "deb [arch={} target=Packages signed-by={}] {mirror} {} main\n",
            architecture.debian,
            keyring.display(),
            release.suite
        );
        archive.write("sources.list", &source)?;
        // Without it a failure to fetch is a warning.
        let update = archive.client("apt-get", &["-o", "APT::Update::Error-Mode=any", "update"])?;
        if !update.status.success() {
            return Err(archive.refused(&update).into());
        }
        Ok(archive)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(|error| Failure::of_file(&path, &error))
    }

    /// What the index says of a package: the newest version.
    pub(super) fn package(&self, name: &str) -> Result<Package, Failure> {
        let shown = self.client("apt-cache", &["show", "--no-all-versions", name])?;
        let package = Package::parse(&shown.stdout).filter(|_| shown.status.success());
        package.ok_or_else(|| {
            let what = format!("{} in {}", name, self.release);
            Missing::new(what, "the archive has no such package", "choose another release").into()
        })
    }

    /// Downloads the file of a package.
    pub(super) fn download(&self, package: &Package) -> Result<PathBuf, Failure> {
        let wanted = format!("{}={}", package.name, package.version);
        let done = self.client("apt-get", &["download", &wanted])?;
        let begin = format!("{}_", package.name);
        let files = fs::read_dir(self.packages()).into_iter().flatten().flatten();
        let file = files
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&begin)));
        match file {
            Some(file) if done.status.success() => Ok(file),
            _ => Err(self.refused(&done).into()),
        }
    }

    /// Unpacks the file of a package, and removes the file.
    pub(super) fn unpack(&self, file: &Path, into: &Path) -> Result<(), Failure> {
        let mut command = Command::new("dpkg-deb");
        let done = run(command.arg("-x").arg(file).arg(into))?;
        if !done.status.success() {
            return Err(self.refused(&done).into());
        }
        fs::remove_file(file).map_err(|error| Failure::of_file(file, &error))
    }

    /// The mirror of Debian that the system uses.
    fn mirror(&self) -> Result<String, Failure> {
        let mut command = Command::new("apt-get");
        // What the system's own lists say of themselves.
        command.args(["indextargets", "--format", "$(REPO_URI)"]);
        command.args([
            "Identifier: Packages",
            "Component: main",
            "Origin: Debian",
            "Label: Debian",
        ]);
        let targets = run(&mut command)?;
        if let Some(mirror) = targets.stdout.lines().find(|line| !line.is_empty()) {
            return Ok(mirror.to_owned());
        }
        // A system that never fetched lists has only its sources.
        let mut command = Command::new("apt-get");
        let lists = option("Dir::State::lists", &self.directory.join("lists"));
        command.arg("-o").arg(lists).args(["update", "--print-uris"]);
        let sources = run(&mut command)?;
        sources.stdout.lines().find_map(mirror_in).ok_or_else(|| {
            Missing::new(
                "a mirror of Debian",
                "no source of this system's apt is Debian's main archive",
                "name one: --mirror URL, and install debian-archive-keyring or give --keyring FILE",
            )
            .into()
        })
    }

    fn packages(&self) -> PathBuf {
        self.directory.join("packages")
    }

    /// Runs a program of the package client in this archive.
    fn client(&self, program: &str, arguments: &[&str]) -> Result<Done, Failure> {
        let own = |name: &str| self.directory.join(name);
        let nothing = PathBuf::from("/dev/null");
        let settings = [
            ("Dir::Etc::sourcelist", own("sources.list")),
            ("Dir::Etc::sourceparts", nothing.clone()),
            ("Dir::Etc::preferences", nothing.clone()),
            ("Dir::Etc::preferencesparts", nothing.clone()),
            ("Dir::State::lists", own("lists")),
            ("Dir::State::status", nothing),
            ("Dir::Cache", own("cache")),
            ("Acquire::Languages", "none".into()),
            // The system's may be another: a processor runs programs of more than one.
            ("APT::Architecture", self.architecture.debian.into()),
            ("APT::Architectures", self.architecture.debian.into()),
            // The system's may be one that this archive has not.
            ("APT::Default-Release", "".into()),
        ];
        let mut command = Command::new(program);
        command.arg("-c").arg(own("apt.conf"));
        for (name, value) in settings {
            command.arg("-o").arg(option(name, &value));
        }
        run(command.args(arguments).current_dir(self.packages()))
    }

    /// Why the client refused, by what it printed.
    fn refused(&self, done: &Done) -> Missing {
        let complaints = complaints(done);
        let (why, remedy) = explain(&complaints);
        let message = complaints.lines().next().map_or_else(|| done.ending(), str::to_owned);
        Missing::new(
            format!("the archive of {}", self.release),
            if why.is_empty() { message } else { format!("{why}: {message}") },
            remedy,
        )
    }
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(value);
    option
}

/// The keys that sign Debian's archive.
fn keyring(options: &Options) -> Result<PathBuf, Missing> {
    const KEYRINGS: [&str; 2] = [
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "/usr/share/keyrings/debian-archive-keyring.pgp",
    ];
    match &options.keyring {
        Some(keyring) if keyring.is_file() => {
            Ok(std::path::absolute(keyring).unwrap_or_else(|_| keyring.clone()))
        }
        Some(keyring) => Err(Missing::new(
            format!("the keyring {}", keyring.display()),
            "there is no such file",
            "name the file of the keys that sign the archive",
        )),
        None => {
            KEYRINGS.map(PathBuf::from).into_iter().find(|file| file.is_file()).ok_or_else(|| {
                Missing::new(
                    "the keys of Debian's archive",
                    format!("{} is not there, so no signature could be checked", KEYRINGS[0]),
                    "apt-get install debian-archive-keyring",
                )
            })
        }
    }
}

/// The mirror in a line of `apt-get update --print-uris`, if it is of Debian's main archive: its suites are
/// Debian's and it lies where Debian's mirrors have it.
fn mirror_in(line: &str) -> Option<String> {
    const STANDING: [&str; 4] = ["oldstable", "stable", "testing", "unstable"];
    let address = line.strip_prefix('\'')?.split('\'').next()?;
    let (mirror, below) = address.split_once("/dists/")?;
    let suite = below.strip_suffix("/InRelease")?;
    let known = RELEASES.iter().map(|release| release.suite).chain(STANDING).any(|s| s == suite);
    (known && mirror.ends_with("/debian")).then(|| mirror.to_owned())
}

/// What a program complained about, without apt's marks, the most telling line first. Some of it is the
/// mirror's own: it may not reach the terminal as it is.
fn complaints(done: &Done) -> String {
    let clean = |line: &str| {
        let line = line.strip_prefix("E: ").or(line.strip_prefix("W: ")).unwrap_or(line).trim();
        let line = line.strip_prefix("dpkg-deb: error: ").unwrap_or(line);
        line.replace(char::is_control, "\u{fffd}")
    };
    // `W: GPG error` tells the key; the E: after it only that the archive is not signed.
    let (warnings, errors): (Vec<_>, Vec<_>) = done
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .partition(|line| line.starts_with("W: "));
    let signature = |line: &&&str| line.contains("GPG error");
    let mut lines: Vec<_> = warnings.iter().filter(signature).map(|line| clean(line)).collect();
    lines.extend(errors.into_iter().map(clean));
    lines.join("\n")
}

/// What a complaint means, and what to do about it.
fn explain(complaints: &str) -> (&'static str, &'static str) {
    const CAUSES: [(&[&str], &str, &str); 7] = [
        (
            &["No space left on device", "enough free space", "Disk quota exceeded"],
            "no space",
            "make room, or set NSHARNESS_CACHE to a directory with 500 MB to spare",
        ),
        (
            &["Read-only file system", "Permission denied"],
            "the cache cannot be written",
            "set NSHARNESS_CACHE to a directory that you can write",
        ),
        (
            &["NO_PUBKEY", "Missing key", "is not signed", "signatures were invalid", "signed by"],
            "the signature of the archive cannot be checked",
            "install a debian-archive-keyring that has the key of this release, or give --keyring FILE",
        ),
        (
            &["is expired", "is not valid yet", "not live until"],
            "the archive is out of date, or the clock of this system is wrong",
            "set the clock, or name another mirror: --mirror URL",
        ),
        (
            &["does not have a Release file", "404 ", "File not found"],
            "the mirror does not have it",
            "name a mirror that does: --mirror URL",
        ),
        (
            &[
                "Could not resolve",
                "Temporary failure resolving",
                "Could not connect",
                "timed out",
                "Unable to connect",
                "Connection failed",
                "Failed to fetch",
            ],
            "no network",
            "connect this system, or set its proxy (http_proxy, or Acquire::http::Proxy in apt.conf)",
        ),
        (
            &["Unable to locate package", "was not found"],
            "the archive has no such package",
            "choose another release",
        ),
    ];
    CAUSES.iter().find(|(words, ..)| words.iter().any(|word| complaints.contains(word))).map_or(
        ("", "see apt's message, and `apt-get update` for the same in full"),
        |(_, why, remedy)| (why, remedy),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_of_an_index_is_read() {
        let package = Package::parse(
            "Package: linux-image-amd64\nVersion: 7.2.13-1\nSize: 1692\nDepends: linux-base-amd64 (= 7.2.13-1), \
             linux-image-7.2.13+deb14-amd64 (= 7.2.13-1)\nDescription: x\n y\nSHA256: 3ccf\n",
        )
        .unwrap();
        assert_eq!(package.version, "7.2.13-1");
        assert_eq!(package.size, 1692);
        assert_eq!(package.dependencies(&["linux-image-"]), ["linux-image-7.2.13+deb14-amd64"]);
        assert_eq!(Package::parse("Package: a\nVersion: 1\n"), None);
    }

    #[test]
    fn a_mirror_is_told_by_its_suites() {
        let mirror = |line| mirror_in(line);
        assert_eq!(
            mirror("'http://a.example/debian/dists/bookworm/InRelease' a_b 0 ").as_deref(),
            Some("http://a.example/debian")
        );
        for other in [
            "'http://a.example/debian-security/dists/bookworm-security/InRelease' x 0",
            "'http://a.example/repo/mariadb/dists/bookworm/InRelease' x 0",
            "'http://a.example/ubuntu/dists/noble/InRelease' x 0",
            "'http://a.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0",
            "",
        ] {
            assert_eq!(mirror(other), None, "{other}");
        }
    }
}
