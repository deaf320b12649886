//! The directory of a kernel's modules: which one is meant, what of it is kept, copies of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::missing::Missing;
use crate::sys;

/// The directory of the modules of a release: the one that is named, or where `make modules_install` puts
/// it below.
pub(super) fn modules_in(directory: &Path, release: Option<&str>) -> Result<PathBuf, Missing> {
    let installed = release.map(|release| directory.join("lib/modules").join(release));
    let beside = release.map(|release| directory.join(release));
    let named = Some(directory.to_owned());
    let mut candidates = [installed, beside, named].into_iter().flatten();
    candidates.find(|candidate| candidate.is_dir()).ok_or_else(|| {
        Missing::new(
            format!("modules in {}", directory.display()),
            "it is no directory",
            "name the one that `make modules_install INSTALL_MOD_PATH=DIR` was given, or the build tree",
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
    let sound = kernel.join("sound");
    drivers.chain(hardware.into_iter().flatten()).chain([sound]).try_for_each(|path| {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::of_file(&path, &error))
            }
            _ => Ok(()),
        }
    })
}

fn directories(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

/// How deep modules lie at most.
const DEEPEST: usize = 16;

/// Copies the modules below a directory, and the lists beside them, and nothing else: a build tree has much
/// more.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    copy_below(from, to, DEEPEST)
}

fn copy_below(from: &Path, to: &Path, deepest: usize) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        if sys::interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        let text = name.to_string_lossy();
        let is_module = text.contains(".ko") && !text.ends_with(".cmd") && !text.ends_with(".mod");
        if kind.is_dir() && deepest > 0 {
            copy_below(&entry.path(), &to.join(&name), deepest - 1)?;
        } else if kind.is_file() && (is_module || text.starts_with("modules.")) {
            fs::create_dir_all(to)?;
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modules_and_their_lists_are_copied() {
        let place = tempfile::tempdir().unwrap();
        let from = place.path().join("build");
        for file in ["fs/a.ko", "fs/a.c", "fs/.a.ko.cmd", "fs/a.mod", "modules.order", "vmlinux"] {
            fs::create_dir_all(from.join(file).parent().unwrap()).unwrap();
            fs::write(from.join(file), file).unwrap();
        }
        let to = place.path().join("modules");
        copy(&from, &to).unwrap();
        let mut found = list(&to);
        found.sort();
        assert_eq!(found, [to.join("fs"), to.join("fs/a.ko"), to.join("modules.order")]);
    }

    fn list(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.flat_map(|entry| [vec![entry.path()], list(&entry.path())].concat()).collect()
    }

    #[test]
    fn hardware_is_left_out_and_software_stays() {
        let place = tempfile::tempdir().unwrap();
        let kernel = place.path().join("kernel");
        for file in [
            "fs/overlayfs/overlay.ko",
            "drivers/net/veth.ko",
            "drivers/net/ethernet/intel/e1000.ko",
            "drivers/gpu/drm/drm.ko",
            "drivers/virtio/virtio_pci.ko",
            "sound/soundcore.ko",
        ] {
            fs::create_dir_all(kernel.join(file).parent().unwrap()).unwrap();
            fs::write(kernel.join(file), "").unwrap();
        }
        prune(place.path()).unwrap();
        let mut kept: Vec<_> = list(&kernel).into_iter().filter(|path| path.is_file()).collect();
        kept.sort();
        assert_eq!(
            kept,
            ["drivers/net/veth.ko", "drivers/virtio/virtio_pci.ko", "fs/overlayfs/overlay.ko"]
                .map(|file| kernel.join(file))
        );
    }
}
