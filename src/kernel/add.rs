//! Kernels that the user has built, copied into the cache.

use std::fs;
use std::io;
use std::path::Path;

use super::architecture::is_bootable;
use super::cache::{Cache, Cached, Entry, Origin, is_version, now};
use super::find::reason;
use super::modules::{self, modules_in};
use super::{Failure, Flavour, describe};
use crate::missing::Missing;

/// Copies a kernel into the cache, so that a target can name it.
///
/// The name is its release if none is given. It begins with a digit, as a release does.
///
/// # Errors
/// What is missing, and how to get it; or that it was interrupted.
pub fn add(
    cache: &Cache,
    path: &Path,
    name: Option<&str>,
    modules: Option<&Path>,
    flavour: Option<Flavour>,
) -> Result<Cached, Failure> {
    let what = path.display().to_string();
    let missing = |why: String, remedy: &str| Failure::from(Missing::new(&what, why, remedy));
    let described = describe(path)
        .map_err(|error| missing(reason(&error), "name a kernel that can be read"))?;
    is_bootable(&what, described.processor)?;
    let flavour = match (flavour, described.flavour) {
        (Some(said), Some(found)) if said != found => {
            return Err(missing(format!("its flavour is {found}"), "leave out --flavour"));
        }
        (said, found) => said.or(found).ok_or_else(|| {
            let remedy = "say what it is: --flavour uml or image";
            missing("no kernel is recognised in it".into(), remedy)
        })?,
    };
    let version = name.map(str::to_owned).or(described.release.clone()).ok_or_else(|| {
        missing("it does not tell its release".into(), "give it a name: --name 6.13-mine")
    })?;
    if !is_version(&version) {
        let why = format!("`{}` cannot be a target's version", version.escape_debug());
        return Err(missing(
            why,
            "a name begins with a digit and has no other signs than . - + ~ _",
        ));
    }
    let modules = match modules {
        Some(directory) => Some(modules_in(directory, described.release.as_deref())?),
        None => None,
    };
    let staging = cache.stage()?;
    let kernel = staging.directory("kernel")?;
    let file = match flavour {
        Flavour::Uml => "linux.uml",
        Flavour::Image => "vmlinuz",
    };
    fs::copy(path, kernel.join(file)).map_err(refused(&kernel))?;
    if let Some(modules) = &modules {
        modules::copy(modules, &kernel.join("modules")).map_err(refused(&kernel))?;
    }
    let entry = Entry {
        version,
        flavour,
        release: described.release,
        file: file.into(),
        modules: modules.map(|_| "modules".into()),
        libc: None,
        origin: Origin::Path(std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
        added: now(),
    };
    staging.publish(&kernel, entry)
}

fn refused(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| match error.kind() {
        io::ErrorKind::Interrupted => Failure::Interrupted,
        _ => Failure::of_file(path, &error),
    }
}
