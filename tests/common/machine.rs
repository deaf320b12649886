//! What of a machine a run could change or leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands outside of every sandbox.
pub struct Machine {
    mounts: String,
    name: String,
    files: BTreeMap<String, (u32, u32, u64, i64)>,
    cgroups: BTreeSet<PathBuf>,
}

impl Machine {
    /// As it is now.
    pub fn now() -> Self {
        let mut files = BTreeMap::new();
        for directory in ["/", "/etc", "/dev/shm"] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let Ok(of) = path.symlink_metadata() else { continue };
                // A directory changes with whatever else runs on this machine.
                let (size, time) = if of.is_file() { (of.size(), of.mtime()) } else { (0, 0) };
                files.insert(path.display().to_string(), (of.mode(), of.uid(), size, time));
            }
        }
        Self {
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap(),
            name: fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
            files,
            cgroups: cgroups(),
        }
    }

    #[track_caller]
    pub fn assert_same(&self, now: &Self) {
        assert_eq!(now.name, self.name);
        assert_eq!(now.files, self.files);
        assert_eq!(now.mounts, self.mounts);
        assert_eq!(now.cgroups, self.cgroups);
    }
}

/// The cgroups that nsharness has made, wherever the hierarchies are mounted.
fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|of| of.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with("nsharness-") {
                found.insert(entry.path());
            }
            waiting.push(entry.path());
        }
    }
    found
}

/// Every name below a directory, as seen from there.
pub fn names(directory: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            names.insert(path.strip_prefix(directory).unwrap().display().to_string());
            if entry.file_type().is_ok_and(|of| of.is_dir()) {
                waiting.push(path);
            }
        }
    }
    names
}
