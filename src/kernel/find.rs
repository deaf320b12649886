//! From the name of a target to a kernel.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::architecture::is_bootable;
use super::cache::{Cache, Cached};
use super::modules::modules_in;
use super::release::{Description, compare, describe, is_of};
use super::{Architecture, Flavour, Kernel};
use crate::missing::Missing;
use crate::target::name::{Target, Which};

/// The kernel that a target means.
///
/// # Errors
/// What is missing, and how to get it.
pub fn find(target: &Target) -> Result<Kernel, Missing> {
    let (flavour, which) = match target {
        Target::Uml(which) => (Flavour::Uml, which),
        Target::Qemu(which) => (Flavour::Image, which),
        other => {
            return Err(Missing::new(
                other.to_string(),
                "it is no kernel that a guest boots",
                "name one: uml:VERSION or qemu:VERSION",
            ));
        }
    };
    match which {
        Which::Installed if flavour == Flavour::Uml => installed().map_or_else(not_installed, Ok),
        Which::Installed => Err(Missing::new(
            "a kernel for QEMU",
            "none is installed for it",
            "name one: qemu:VERSION or qemu:PATH",
        )),
        Which::Version(version) => of_version(flavour, version),
        Which::File { path, modules } => {
            of_file(target.to_string(), flavour, path, modules.as_deref())
        }
    }
}

/// The User-Mode Linux that is installed: `linux.uml` in the PATH, as Debian's package has it.
pub fn installed() -> Option<Kernel> {
    let file = in_path("linux.uml")?;
    let Description { release, processor, .. } = describe(&file).ok()?;
    is_bootable("linux.uml", processor).ok()?;
    let modules = release
        .as_ref()
        .map(|release| Path::new("/usr/lib/uml/modules").join(release))
        .filter(|modules| modules.is_dir());
    Some(Kernel {
        name: "uml".to_owned(),
        flavour: Flavour::Uml,
        release,
        file,
        modules,
        libc: None,
    })
}

/// A program in the PATH.
fn in_path(name: &str) -> Option<PathBuf> {
    let directories = env::var_os("PATH")?;
    env::split_paths(&directories).map(|directory| directory.join(name)).find(|file| {
        file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    })
}

fn not_installed() -> Result<Kernel, Missing> {
    Architecture::with_user_mode()?;
    let newest = Cache::of_user().ok().and_then(|cache| cache.kernels(Flavour::Uml).last());
    let remedy = match newest {
        Some(cached) => format!(
            "apt-get install user-mode-linux, or name one of the cache, as {}",
            cached.entry.name()
        ),
        None => {
            "apt-get install user-mode-linux, or `nsharness kernel fetch debian:12` and uml:6.1"
                .to_owned()
        }
    };
    Err(Missing::new("User-Mode Linux", "linux.uml is not in the PATH", remedy))
}

/// The newest kernel of a version: of those in the cache, and of the installed one.
fn of_version(flavour: Flavour, version: &str) -> Result<Kernel, Missing> {
    let cache = Cache::of_user()?;
    let installed = (flavour == Flavour::Uml)
        .then(installed)
        .flatten()
        .filter(|kernel| kernel.release.as_ref().is_some_and(|release| is_of(release, version)));
    let newest = cache.matching(flavour, version).last().map(Cached::kernel);
    let release = |kernel: &Kernel| kernel.release.clone().unwrap_or_default();
    newest
        .into_iter()
        .chain(installed)
        .max_by(|a, b| compare(&release(a), &release(b)))
        .ok_or_else(|| not_cached(&cache, flavour, version))
}

fn not_cached(cache: &Cache, flavour: Flavour, version: &str) -> Missing {
    let names: Vec<_> = cache.kernels(flavour).map(|cached| cached.entry.name()).collect();
    // A directory that is not there is a cache that is empty.
    let unreadable = std::fs::read_dir(cache.directory()).err();
    let unreadable = unreadable.filter(|error| error.kind() != io::ErrorKind::NotFound);
    let unreadable = unreadable.map(|error| (cache.directory().to_owned(), error.to_string()));
    let unreadable = unreadable.or_else(|| cache.list().into_iter().find_map(Result::err));
    let here = match (names.as_slice(), unreadable) {
        (_, Some((path, why))) => format!("{} cannot be read: {why}", path.display()),
        ([], None) => "none is in the cache".to_owned(),
        (names, None) => format!("the cache has {}", names.join(", ")),
    };
    let option = if flavour == Flavour::Image { " --flavour image" } else { "" };
    let remedy = match super::debian::release_of_kernel(version) {
        Some(suite) => format!("nsharness kernel fetch {suite}{option}"),
        None => format!(
            "no release of Debian has it: build it, and `nsharness kernel add PATH`, or {}:PATH",
            flavour.scheme()
        ),
    };
    Missing::new(format!("the kernel {}:{version}", flavour.scheme()), here, remedy)
}

/// A file that the user names.
fn of_file(
    name: String,
    flavour: Flavour,
    path: &Path,
    modules: Option<&Path>,
) -> Result<Kernel, Missing> {
    let what = || format!("the kernel {}", path.display());
    let Description { flavour: found, release, processor } = File::open(path)
        .and_then(|_| describe(path))
        .map_err(|error| Missing::new(what(), reason(&error), "name a kernel that can be read"))?;
    if found.is_some_and(|found| found != flavour) {
        let (is, other) = match flavour {
            Flavour::Uml => ("it is an image for a machine", "qemu"),
            Flavour::Image => ("it is a User-Mode Linux", "uml"),
        };
        return Err(Missing::new(what(), is, format!("boot it as {other}:{}", path.display())));
    }
    if found.is_none() {
        let remedy = match flavour {
            Flavour::Uml => "name the file `linux` that `make ARCH=um` has built",
            Flavour::Image => "name a bzImage or a vmlinux",
        };
        return Err(Missing::new(what(), "no kernel is recognised in it", remedy));
    }
    is_bootable(&what(), processor)?;
    if flavour == Flavour::Uml && access(path, Access::EXEC_OK).is_err() {
        let why = "it cannot be executed by this user, or on this file system";
        return Err(Missing::new(what(), why, format!("chmod +x {}", path.display())));
    }
    let modules = match modules {
        Some(directory) => Some(modules_in(directory, release.as_deref())?),
        None => None,
    };
    Ok(Kernel { name, flavour, release, file: path.to_owned(), modules, libc: None })
}

/// Why a file cannot be read, without the number of the error.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
