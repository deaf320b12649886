//! Modules of a kernel, in a directory with the lists that depmod(8) makes.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Failure;
use super::tool::run;
use crate::missing::Missing;

/// What makes a directory one of modules.
pub(super) const DEPENDENCIES: &str = "modules.dep";

/// The directory with `modules.dep`: the one that is named, or where `make modules_install` puts it below.
pub(super) fn modules_in(directory: &Path, release: Option<&str>) -> Result<PathBuf, Missing> {
    let below = release.map(|release| directory.join("lib/modules").join(release));
    let beside = release.map(|release| directory.join(release));
    [Some(directory.to_owned()), below, beside]
        .into_iter()
        .flatten()
        .find(|candidate| candidate.join(DEPENDENCIES).is_file())
        .ok_or_else(|| {
            Missing::new(
                format!("modules in {}", directory.display()),
                format!("it has no {DEPENDENCIES}"),
                "name the directory that `make modules_install INSTALL_MOD_PATH=DIR` was given",
            )
        })
}

/// Drivers that a guest can have a device for, or that file systems build on.
const DRIVERS: [&str; 12] = [
    "block", "char", "cdrom", "dax", "md", "mtd", "net", "nvdimm", "scsi", "tty", "vhost", "virtio",
];

/// Leaves out what drives hardware: a guest has none, and it is three quarters of all modules.
pub(super) fn prune(modules: &Path) -> Result<(), Failure> {
    let kernel = modules.join("kernel");
    let drivers = directories(&kernel.join("drivers"))
        .filter(|path| !DRIVERS.iter().any(|kept| path.ends_with(kept)));
    // The devices that are software lie beside the directories of those that are not.
    let hardware = ["drivers/net", "drivers/scsi"].map(|path| directories(&kernel.join(path)));
    drivers.chain(hardware.into_iter().flatten()).chain([kernel.join("sound")]).try_for_each(
        |path| match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::of_file(&path, &error))
            }
            _ => Ok(()),
        },
    )
}

fn directories(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

/// Makes the lists of the modules of a release below a root, as the installation of its package would.
pub(super) fn index(root: &Path, release: &str, scratch: &Path) -> Result<(), Failure> {
    // depmod(8) is built to look in one of the two.
    let [old, new] = ["lib/modules", "usr/lib/modules"].map(|path| root.join(path));
    let linked = match (old.exists(), new.exists()) {
        (true, false) => link(&old, &new),
        (false, true) => link(&new, &old),
        _ => Ok(()),
    };
    linked.map_err(|error| Failure::of_file(root, &error))?;
    let mut command = Command::new("depmod");
    // An ordinary user's PATH does not have where it is.
    command.env("PATH", with_administrators(env::var_os("PATH").unwrap_or_default()));
    let done = run(command.arg("-b").arg(root).arg(release), scratch)?;
    if done.status.success() {
        return Ok(());
    }
    let why = done.stderr.lines().last().map_or_else(|| done.ending(), str::to_owned);
    Err(Missing::new("the lists of the modules", format!("depmod: {why}"), "see why").into())
}

fn link(there: &Path, here: &Path) -> io::Result<()> {
    if let Some(above) = here.parent() {
        fs::create_dir_all(above)?;
    }
    symlink(there, here)
}

fn with_administrators(mut path: OsString) -> OsString {
    path.push(":/usr/sbin:/sbin");
    path
}
