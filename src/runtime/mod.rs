//! Container runtimes: which there are, how they are called, and the bundle that they are given. All of them have the
//! command line that runc has, which the specification leaves open.

pub mod bundle;
pub mod by_hand;

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use crate::missing::Missing;
use crate::programs;
use crate::scenario::condition::KernelVersion;
use crate::scenario::implementation::Implementation;

/// Runtimes that have a package of their name.
const PACKAGED: [&str; 2] = ["runc", "crun"];

/// Options of a runtime that stand before its command.
pub fn options(runtime: &Implementation) -> &'static [&'static str] {
    match runtime.name.as_str() {
        // Otherwise it wants cgroups that it can write to.
        "crun" => &["--cgroup-manager=disabled"],
        _ => &[],
    }
}

/// A runtime as the user names it: a program in PATH, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(String);

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a runtime has a name, as runc, or is a file, as ./target/runc".to_owned());
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
    /// Finds it, and asks it for its version.
    ///
    /// # Errors
    /// Where it is not there, or is no runtime.
    pub fn find(&self) -> Result<Implementation, Missing> {
        let what = format!("the container runtime {self}");
        let path = if self.0.contains('/') {
            std::path::absolute(&self.0).ok().filter(|path| path.is_file())
        } else {
            programs::in_path(&self.0)
        };
        let Some(path) = path else {
            let remedy = if PACKAGED.contains(&self.0.as_str()) {
                format!("install it, as by `apt-get install {self}`")
            } else {
                format!("install {self}, or name its file")
            };
            return Err(Missing::new(what, "it is not there", remedy));
        };
        let refused = |why: String| Missing::new(what.clone(), why, "name a runtime, as runc");
        let (name, version) = version(&path).map_err(refused)?;
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let program = file
            .parse()
            .map_err(|_| refused(format!("`{}` is no name of a program", file.escape_debug())))?;
        Ok(Implementation { program, path, name, version })
    }
}

/// What a runtime says that it is, as `runc version 1.1.5`.
fn version(program: &Path) -> Result<(String, KernelVersion), String> {
    let said = Command::new(program).arg("--version").output();
    let said = said.map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let mut words = text.split_whitespace();
    let name = words.next().map(|word| word.trim_end_matches(':').to_owned());
    let is_number =
        |word: &&str| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    let number = words.find(is_number).map(|word| word.trim_start_matches('v'));
    match (name, number.and_then(KernelVersion::of_release)) {
        (Some(name), Some(version)) if said.status.success() => Ok((name, version)),
        _ => Err(format!("{} --version does not tell a version", program.display())),
    }
}
