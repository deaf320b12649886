//! What of a machine a run could change or leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands outside of every sandbox, a line each: mounts, files of the system, cgroups, the name of the host.
pub struct Machine(BTreeSet<String>);

impl Machine {
    /// As it is now.
    pub fn now() -> Self {
        let mut lines = BTreeSet::new();
        for directory in ["/", "/etc", "/dev/shm"] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let Ok(of) = path.symlink_metadata() else { continue };
                // A directory changes with whatever else runs on this machine.
                let (size, time) = if of.is_file() { (of.size(), of.mtime()) } else { (0, 0) };
                let (mode, owner) = (of.mode(), of.uid());
                lines.insert(format!(
                    "{}: mode {mode:o}, owner {owner}, {size} bytes of {time}",
                    path.display()
                ));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        lines.extend(mounts.lines().map(|line| format!("mount {line}")));
        lines.extend(cgroups().iter().map(|path| format!("cgroup {}", path.display())));
        lines.insert(fs::read_to_string("/proc/sys/kernel/hostname").unwrap());
        Self(lines)
    }

    #[track_caller]
    pub fn assert_same(&self, now: &Self) {
        let lost: Vec<_> = self.0.difference(&now.0).collect();
        let new: Vec<_> = now.0.difference(&self.0).collect();
        assert!(
            lost.is_empty() && new.is_empty(),
            "the machine is another: was {lost:#?}, is {new:#?}"
        );
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

/// A process that a run has made, or the run itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    /// In how many pid namespaces it is.
    pub depth: usize,
    pub exe: Option<PathBuf>,
}

impl Process {
    /// One that is there and has not ended.
    pub fn of(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        if field("State:")?.trim_start().starts_with(['Z', 'X']) {
            return None;
        }
        Some(Self {
            pid,
            parent: field("PPid:")?.trim().parse().ok()?,
            depth: field("NSpid:")?.split_whitespace().count(),
            exe: fs::read_link(format!("/proc/{pid}/exe")).ok(),
        })
    }

    /// How it was called.
    pub fn command(&self) -> String {
        let text = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&text).replace('\0', " ")
    }
}

/// A process and all that it started and that are still there, itself not among them.
pub fn below(pid: i32) -> Vec<Process> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| Process::of(entry.file_name().to_str()?.parse().ok()?));
    let mut others: Vec<_> = all.collect();
    let mut found = vec![];
    let mut parents = BTreeSet::from([pid]);
    loop {
        let (children, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|process| parents.contains(&process.parent));
        if children.is_empty() {
            return found;
        }
        parents.extend(children.iter().map(|process| process.pid));
        found.extend(children);
        others = rest;
    }
}
