//! `nsharness kernel`

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::kernel::cache::{Cache, Cached, Origin};
use crate::kernel::debian::Release;
use crate::kernel::{self, Failure, Fetched, Flavour, Options};
use crate::missing::Missing;
use crate::sys;

const EXAMPLES: &str = "\
Examples:
  nsharness kernel fetch debian:12
  nsharness kernel list
  nsharness run --on uml:6.1
  nsharness kernel remove uml:6.1
";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const FETCH_EXAMPLES: &str = "\
Examples:
  nsharness kernel fetch debian:12                     a User-Mode Linux 6.1: uml:6.1
  nsharness kernel fetch debian:11 debian:13 debian:sid
  nsharness kernel fetch debian:12 --flavour image     a kernel for QEMU: qemu:6.1

Releases: debian:11 (5.10), debian:12 (6.1), debian:13 (6.12), debian:sid (the newest).
Packages come from the mirror that this system's apt uses, with their signatures checked. Nothing is installed.
";

const ADD_EXAMPLES: &str = "\
Examples:
  nsharness kernel add ./linux                         built with `make ARCH=um`
  nsharness kernel add arch/x86/boot/bzImage --name 6.13-mine --modules /tmp/modules

A file needs not be added to be booted once: `--on uml:./linux`, `--on qemu:arch/x86/boot/bzImage`.
";

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch kernels of Debian into the cache, through the system's package client
    #[command(after_help = FETCH_EXAMPLES)]
    Fetch {
        /// Releases, as `debian:12`
        #[arg(value_name = "RELEASE", required = true)]
        releases: Vec<Release>,
        /// What kind of kernel
        #[arg(long, value_enum, value_delimiter = ',', default_value = "uml")]
        flavour: Vec<Flavour>,
        /// Asks this mirror of Debian instead of the one that the system uses
        #[arg(long, value_name = "URL", value_parser = mirror)]
        mirror: Option<String>,
        /// Checks the archive's signature with these keys instead of Debian's
        #[arg(long, value_name = "FILE")]
        keyring: Option<PathBuf>,
    },
    /// List the kernels that a target can name
    List {
        /// Prints JSON lines, one a kernel
        #[arg(long)]
        json: bool,
    },
    /// Copy a kernel of one's own into the cache
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// A User-Mode Linux, or an image
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// What targets name it by, instead of its release; begins with a digit
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The directory of its modules
        #[arg(long, value_name = "DIR")]
        modules: Option<PathBuf>,
        /// What kind of kernel it is, where the file does not tell
        #[arg(long, value_enum)]
        flavour: Option<Flavour>,
    },
    /// Remove kernels from the cache
    Remove {
        /// Names as `kernel list` shows them
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    sys::watch_for_interrupts()
        .map_err(|error| Trouble::Environment("signals cannot be watched".into(), error.into()))?;
    let cache = Cache::of_user().map_err(|missing| trouble("the cache cannot be used", missing))?;
    match &arguments.command {
        Command::Fetch { releases, flavour, mirror, keyring } => {
            let options = Options { mirror: mirror.clone(), keyring: keyring.clone() };
            fetch(&cache, releases, flavour, &options)
        }
        Command::List { json } => list(&cache, *json),
        Command::Add { path, name, modules, flavour } => {
            let added = kernel::add(&cache, path, name.as_deref(), modules.as_deref(), *flavour);
            done(added, &format!("{} cannot be added", path.display()), |cached| {
                print(&format!("{}: added: {}\n", cached.entry.name(), told(&cached)))
            })
        }
        Command::Remove { names } => remove(&cache, names),
    }
}

/// A mirror becomes a part of a source list: one word, an address.
fn mirror(text: &str) -> Result<String, String> {
    let whole = text.contains(":/") && text.chars().all(|c| c.is_ascii_graphic() && c != '[');
    whole
        .then(|| text.to_owned())
        .ok_or_else(|| "expected an address, as http://HOST/debian".into())
}

/// Goes on after a release that cannot be fetched, and tells of each.
fn fetch(
    cache: &Cache,
    releases: &[Release],
    flavours: &[Flavour],
    options: &Options,
) -> Result<ExitCode, Trouble> {
    let mut code = ExitCode::AsExpected;
    let each = releases.iter().flat_map(|r| flavours.iter().map(move |flavour| (*r, *flavour)));
    for (release, flavour) in each {
        let fetched = kernel::fetch(cache, release, flavour, options, &mut |progress| {
            mention(progress);
        });
        let result =
            done(fetched, &format!("{release} ({flavour}) cannot be fetched"), |fetched| {
                match fetched {
                    Fetched::New(cached) => {
                        print(&format!("{}: fetched: {}\n", cached.entry.name(), told(&cached)))
                    }
                    Fetched::Known(cached) => {
                        print(&format!("{}: up to date: {}\n", cached.entry.name(), told(&cached)))
                    }
                }
            });
        match result {
            Ok(ExitCode::AsExpected) => {}
            Ok(interrupted) => return Ok(interrupted),
            Err(trouble) => code = super::complain(&trouble),
        }
    }
    Ok(code)
}

fn list(cache: &Cache, as_json: bool) -> Result<ExitCode, Trouble> {
    let installed = kernel::installed();
    let all = cache.list();
    if as_json {
        if let Some(kernel) = &installed {
            let line = json!({
                "name": kernel.name, "flavour": kernel.flavour, "release": kernel.release,
                "file": kernel.file, "modules": kernel.modules, "origin": "installed",
            });
            print(&format!("{line}\n"))?;
        }
        for cached in all.iter().flatten() {
            let kernel = cached.kernel();
            let line = json!({
                "name": kernel.name, "flavour": kernel.flavour, "release": kernel.release,
                "file": kernel.file, "modules": kernel.modules,
                "libc": kernel.libc.map(|libc| libc.libc),
                "origin": cached.entry.origin, "added": cached.entry.added, "size": cached.size(),
            });
            print(&format!("{line}\n"))?;
        }
    } else {
        if let Some(kernel) = &installed {
            let release = kernel.release.as_deref().unwrap_or("of an unknown release");
            print(&format!("{:<28} {release}, installed as {}\n", "uml", kernel.file.display()))?;
        }
        for cached in all.iter().flatten() {
            print(&format!("{:<28} {}\n", cached.entry.name(), told(cached)))?;
        }
    }
    for (path, why) in all.iter().filter_map(|kernel| kernel.as_ref().err()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let what = format!("{} is no kernel", path.display());
        mention(&format!("{what}: {why} (`nsharness kernel remove {name}`)"));
    }
    if all.is_empty() && installed.is_none() {
        mention("no kernels: `nsharness kernel fetch debian:12` gets one");
    }
    Ok(ExitCode::AsExpected)
}

fn remove(cache: &Cache, names: &[String]) -> Result<ExitCode, Trouble> {
    for name in names {
        let directory = meant(cache, name)?;
        let what = format!("{name} cannot be removed");
        done(cache.remove(&directory), &what, |()| print(&format!("removed {name}\n")))?;
    }
    Ok(ExitCode::AsExpected)
}

/// The directory of the one kernel that a name means: by its whole name, or what is left of one by its
/// directory's.
fn meant(cache: &Cache, name: &str) -> Result<PathBuf, Trouble> {
    let all = cache.list();
    let found = all.iter().find_map(|kernel| match kernel {
        Ok(cached) => (cached.entry.name() == name).then(|| cached.directory.clone()),
        Err((path, _)) => path.file_name().is_some_and(|file| file == name).then(|| path.clone()),
    });
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().flatten().map(|cached| cached.entry.name()).collect();
        let there = match names.as_slice() {
            [] => "it is empty".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        Trouble::Usage(format!("no kernel `{}` in the cache: {there}", name.escape_debug()))
    })
}

/// Says something beside the results; nobody may be there to hear it.
fn mention(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Where a kernel in the cache comes from, and what it takes.
fn told(cached: &Cached) -> String {
    let entry = &cached.entry;
    let origin = match &entry.origin {
        Origin::Package { suite, name, version, .. } => format!("{name} {version} of {suite}"),
        Origin::Path(path) => format!("a copy of {}", path.display()),
    };
    let libc = if entry.libc.is_some() { ", with its own C library" } else { "" };
    let megabytes = cached.size().div_ceil(1_000_000);
    format!("{origin}, {megabytes} MB{libc}")
}

fn done<T>(
    result: Result<T, Failure>,
    what: &str,
    tell: impl FnOnce(T) -> Result<(), Trouble>,
) -> Result<ExitCode, Trouble> {
    match result {
        Ok(value) => tell(value).map(|()| ExitCode::AsExpected),
        Err(Failure::Interrupted) => Ok(ExitCode::Interrupted),
        Err(Failure::Missing(missing)) => Err(trouble(what, missing)),
    }
}

fn trouble(what: &str, missing: Missing) -> Trouble {
    let Missing { what: needed, why, remedy } = missing;
    let error = std::io::Error::other(format!("{needed}: {why}\n  remedy: {remedy}"));
    Trouble::Environment(what.to_owned(), error)
}
