//! Kernels of Debian, fetched into the cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::archive::{Archive, Options, Package};
use super::cache::{Cache, Cached, Entry, Origin, now};
use super::debian::Release;
use super::modules::prune;
use super::tool::run;
use super::{Architecture, Failure, Flavour, Kernel, describe};
use crate::missing::Missing;

/// What came of fetching.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// It is in the cache now.
    New(Cached),
    /// It was there before: the archive has nothing newer.
    Known(Cached),
}

/// Fetches the kernel of a release into the cache, and says on the way what it does.
///
/// It is the kernel of the release's main archive; what `updates` and `security` have besides is not
/// looked at.
///
/// # Errors
/// What is missing, and how to get it; or that it was interrupted.
pub fn fetch(
    cache: &Cache,
    release: Release,
    flavour: Flavour,
    options: &Options,
    say: &mut dyn FnMut(&str),
) -> Result<Fetched, Failure> {
    let architecture = match flavour {
        Flavour::Uml => Architecture::with_user_mode(),
        Flavour::Image => Architecture::here(),
    }?;
    let staging = cache.stage()?;
    say(&format!("{release}: reading what the archive has"));
    let archive = Archive::open(&staging.directory("archive")?, release, architecture, options)?;
    let packages = packages(&archive, architecture, flavour)?;
    let main = &packages[0];
    if let Some(cached) = known(cache, flavour, main)
        && starts(&cached.kernel(), staging.path())?
    {
        return Ok(Fetched::Known(cached));
    }
    let root = staging.directory("root")?;
    for package in &packages {
        get(&archive, package, &root, say)?;
    }
    let kernel = staging.directory("kernel")?;
    let mut entry = Entry {
        flavour,
        origin: Origin::Package {
            suite: release.to_string(),
            name: main.name.clone(),
            version: main.version.clone(),
            sha256: main.sha256.clone(),
        },
        ..assemble(&root, &kernel, flavour)?
    };
    if !starts(&entry.kernel(&kernel), staging.path())? {
        say(&format!("{release}: its kernel needs a newer C library than this system's"));
        let root = staging.directory("libc")?;
        get(&archive, &archive.package("libc6")?, &root, say)?;
        entry.libc = Some(library(&root, &kernel)?);
        if !starts(&entry.kernel(&kernel), staging.path())? {
            return Err(unusable(&entry.version, "it does not start with its own C library").into());
        }
    }
    staging.publish(&kernel, entry).map(Fetched::New)
}

/// The packages that make up the kernel; the first is the one that it is known by.
fn packages(
    archive: &Archive,
    architecture: &Architecture,
    flavour: Flavour,
) -> Result<Vec<Package>, Failure> {
    if flavour == Flavour::Uml {
        return Ok(vec![archive.package("user-mode-linux")?]);
    }
    // Its only use is to depend on the newest; from Debian 14 on that is made of parts.
    let any = format!("linux-image-{}", architecture.debian);
    let newest = archive.package(&any)?.dependencies(&["linux-image-"]);
    let Some(newest) = newest.first() else {
        return Err(unusable("linux-image", &format!("{any} depends on no kernel")).into());
    };
    let image = archive.package(newest)?;
    let parts = image.dependencies(&["linux-base-", "linux-binary-", "linux-modules-"]);
    let parts: Result<Vec<_>, _> = parts.iter().map(|name| archive.package(name)).collect();
    Ok([vec![image], parts?].concat())
}

/// The kernel in the cache that this package gave.
fn known(cache: &Cache, flavour: Flavour, package: &Package) -> Option<Cached> {
    cache.kernels(flavour).find(|cached| match &cached.entry.origin {
        Origin::Package { name, version, sha256, .. } => {
            (name, version, sha256) == (&package.name, &package.version, &package.sha256)
        }
        Origin::Path(_) => false,
    })
}

fn get(
    archive: &Archive,
    package: &Package,
    root: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let megabytes = package.size.div_ceil(1_000_000);
    say(&format!("downloading {} {} ({megabytes} MB)", package.name, package.version));
    archive.unpack(&archive.download(package)?, root)
}

/// Puts the files of a kernel together, from its unpacked packages.
fn assemble(root: &Path, kernel: &Path, flavour: Flavour) -> Result<Entry, Failure> {
    let name = match flavour {
        Flavour::Uml => "linux.uml",
        Flavour::Image => "vmlinuz",
    };
    let program = || Some(root.join("usr/bin/linux.uml")).filter(|file| file.is_file());
    let found = match flavour {
        Flavour::Uml => program(),
        Flavour::Image => image(root),
    };
    let found = found.ok_or_else(|| unusable(name, "it is not in its package"))?;
    let file = kernel.join(name);
    rename(&found, &file)?;
    let described = describe(&file).map_err(|error| Failure::of_file(&file, &error))?;
    let release = described
        .release
        .filter(|_| described.flavour == Some(flavour))
        .ok_or_else(|| unusable(name, "the file does not tell its release"))?;
    let modules = ["usr/lib/uml/modules", "usr/lib/modules", "lib/modules"]
        .map(|directory| root.join(directory).join(&release))
        .into_iter()
        .find(|directory| directory.is_dir())
        .ok_or_else(|| unusable(name, "its modules are not in its package"))?;
    if flavour == Flavour::Image {
        prune(&modules)?;
    }
    rename(&modules, &kernel.join("modules"))?;
    Ok(Entry {
        version: release.clone(),
        flavour,
        release: Some(release),
        file: name.into(),
        modules: Some("modules".into()),
        libc: None,
        origin: Origin::Path(root.to_owned()),
        added: now(),
    })
}

/// The image in a root: /boot/vmlinuz-RELEASE, or vmlinuz beside its modules.
fn image(root: &Path) -> Option<PathBuf> {
    let boot = entries(&root.join("boot"));
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
    };
    let beside = entries(&root.join("usr/lib/modules")).map(|modules| modules.join("vmlinuz"));
    boot.filter(named).chain(beside).find(|file| file.is_file())
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The loader and the C library, with what a User-Mode Linux links besides: empty since glibc 2.34.
fn library(root: &Path, kernel: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    const LOADER: &str = "ld-linux-x86-64.so.2";
    const LIBRARIES: [&str; 4] = ["libc.so.6", "libpthread.so.0", "librt.so.1", "libutil.so.1"];
    let from = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
        .map(|directory| root.join(directory))
        .into_iter()
        .find(|directory| directory.join(LIBRARIES[0]).exists())
        .ok_or_else(|| unusable("libc6", "the C library is not in its package"))?;
    let to = kernel.join("libc");
    let copy = || -> io::Result<()> {
        fs::create_dir(&to)?;
        for name in [LOADER].iter().chain(&LIBRARIES).filter(|name| from.join(name).exists()) {
            // Some are links: what they lead to is copied.
            fs::copy(from.join(name), to.join(name))?;
        }
        Ok(())
    };
    copy().map_err(|error| Failure::of_file(&to, &error))?;
    Ok((Path::new("libc").join(LOADER), Path::new("libc").join(LIBRARIES[0])))
}

/// Whether a User-Mode Linux starts, with the C library that there is. An image needs none.
fn starts(kernel: &Kernel, scratch: &Path) -> Result<bool, Failure> {
    if kernel.flavour == Flavour::Image {
        return Ok(true);
    }
    let command = kernel.command(scratch);
    let mut command = command.map_err(|error| Failure::of_file(&kernel.file, &error))?;
    let done = run(command.arg("--version"))?;
    Ok(done.status.success() && kernel.release.as_deref() == Some(done.stdout.trim()))
}

fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|error| Failure::of_file(to, &error))
}

fn unusable(what: &str, why: &str) -> Missing {
    Missing::new(what, why, "choose another release; this one's package is not as expected")
}
