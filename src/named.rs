//! Programs that a user names for what they implement: how they are found, and what they say that they are.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::diag::did_you_mean;
use crate::missing::Missing;
use crate::programs;
use crate::scenario::condition::KernelVersion;
use crate::scenario::implementation::Implementation;

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of what it says then is read.
const SAID_BYTES: u64 = 4096;
/// How the lines begin by which libfuse tells of itself.
const OF_LIBRARY: &[&str] = &["fusermount", "FUSE ", "using FUSE "];

/// A program as the user names it: one in PATH, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(String);

/// What a program is named for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose {
    /// What it is, as "the container runtime".
    pub what: &'static str,
    /// What to name instead of something that is none.
    pub remedy: &'static str,
    /// Those that have a package, with its name.
    pub packaged: &'static [(&'static str, &'static str)],
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a program has a name, as runc, or is a file, as ./target/runc".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Named {
    /// As it was named.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the program, without the place of its file.
    pub fn program(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Finds it, and asks it for its version.
    ///
    /// # Errors
    /// Where it is not there, tells no version, or cannot be brought into a sandbox.
    pub fn find(&self, purpose: Purpose) -> Result<Implementation, Missing> {
        let what = format!("{} {self}", purpose.what);
        let path = if self.0.contains('/') {
            std::path::absolute(&self.0).ok().filter(|path| path.is_file())
        } else {
            programs::in_path(&self.0)
        };
        let Some(path) = path else {
            let package = purpose.packaged.iter().find(|(program, _)| *program == self.0);
            let known = purpose.packaged.iter().map(|(program, _)| *program);
            let remedy = match (package, did_you_mean(&self.0, known)) {
                (Some((_, package)), _) => format!("install it, as by `apt-get install {package}`"),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => format!("install {self}, or name its file"),
            };
            return Err(Missing::new(what, "it is not there", remedy));
        };
        let refused = |why: String| Missing::new(what.clone(), why, purpose.remedy);
        // What cannot be brought into a sandbox is told before anything is asked.
        programs::at(&path).map_err(|missing| Missing { what: what.clone(), ..missing })?;
        let (name, version) = version(&path).map_err(refused)?;
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let program = file
            .parse()
            .map_err(|_| refused(format!("`{}` is no name of a program", file.escape_debug())))?;
        Ok(Implementation { program, path, name, version })
    }
}

/// What a program says that it is, as `fuse-overlayfs: version 1.10`.
fn version(program: &Path) -> Result<(String, KernelVersion), String> {
    let text = said(program).map_err(|why| format!("{} --version {why}", program.display()))?;
    let own = |line: &&str| !OF_LIBRARY.iter().any(|start| line.starts_with(start));
    let told = text.lines().filter(own).find_map(version_in);
    told.ok_or_else(|| format!("{} --version does not tell a version", program.display()))
}

/// A name and, somewhere behind it, a version.
fn version_in(line: &str) -> Option<(String, KernelVersion)> {
    let mut words = line.split_whitespace();
    let name = words.next()?.trim_end_matches([':', ',']).to_owned();
    let number = |word: &str| {
        let number = word.trim_start_matches('v');
        let begins = number.starts_with(|c: char| c.is_ascii_digit());
        begins.then(|| KernelVersion::of_release(number)).flatten()
    };
    Some((name, words.find_map(number)?))
}

/// What a program prints when it is asked for its version; one that does not end is ended.
fn said(program: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("cannot be run: {error}");
    // Not a pipe: what it starts might keep that open.
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let printed = rustix::fs::memfd_create("version", flags).map_err(|e| failed(e.into()))?;
    let mut printed = File::from(printed);
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(printed.try_clone().map_err(failed)?)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("does not end within {} s", PATIENCE.as_secs()));
            }
        }
    };
    if !status.success() {
        return Err(format!("fails: {status}"));
    }
    printed.rewind().map_err(failed)?;
    let mut bytes = Vec::new();
    printed.take(SAID_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_in_a_line_of_its_own() {
        let told = |line| version_in(line).map(|(name, version)| format!("{name} {version}"));
        assert_eq!(told("fuse-overlayfs: version 1.10").as_deref(), Some("fuse-overlayfs 1.10"));
        assert_eq!(told("fuse-overlayfs 1.16.1").as_deref(), Some("fuse-overlayfs 1.16.1"));
        assert_eq!(told("unionfs-fuse version: v3.4").as_deref(), Some("unionfs-fuse 3.4"));
        assert_eq!(told("runc version 1.1.5+ds1").as_deref(), Some("runc 1.1.5"));
        assert_eq!(told("bubblewrap 0.8.0").as_deref(), Some("bubblewrap 0.8"));
        assert_eq!(told("unshare from util-linux 2.38.1").as_deref(), Some("unshare 2.38.1"));
        assert_eq!(told("no number at all"), None);
    }
}
