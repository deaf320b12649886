//! Mount tables and directories of processes as they are recorded.

use std::rc::Rc;

use compact_str::ToCompactString;

use crate::model::halt::Res;
use crate::model::machine::{DentryId, FsType, Machine, MntNsId, MountId, Place, ProcId};
use crate::model::rules::{propagation, roots};
use crate::model::steps::files::inode;
use crate::model::steps::{Failure, Named};
use crate::scenario::observe::ObserveMountinfo;
use crate::transcript::{Class, Observation, Outcome, Value};

/// A path from a root, or from the top of its tree where the root does not lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The path, which starts with a slash.
    pub path: String,
    /// Whether the root leads to it.
    pub reachable: bool,
}

impl Machine<'_> {
    /// The mount table of an actor, as /proc/PID/mountinfo shows it.
    pub fn observe_mountinfo(
        &mut self,
        item: &ObserveMountinfo,
        actor: ProcId,
        name: &str,
    ) -> Observation {
        let under = item.under.as_ref();
        let suffix = under.map_or_else(String::new, |path| format!(" under {path}"));
        let under = under.map(|path| format!("/{}", path.as_str().trim_matches(['/', '.'])));
        let title = format!("mountinfo of {name}{suffix}");
        if !self.processes[actor].alive {
            return Observation { title, found: Err(ended()) };
        }
        let root = self.processes[actor].root;
        let mut shown = self.shown_mounts(actor);
        shown.retain(|(at, _)| under.as_ref().is_none_or(|top| is_under(at, top)));
        let line = |(at, mount): (String, MountId)| self.mount_line(mount, &at, root);
        let lines = shown.into_iter().map(line).collect();
        Observation { title, found: Ok(Value::List(lines)) }
    }

    /// The mounts that the table of a process shows, each with its mount point, in the order of these.
    pub fn shown_mounts(&self, process: ProcId) -> Vec<(String, MountId)> {
        let process = &self.processes[process];
        let (ns, root) = (process.mnt_ns, process.root);
        let mut shown = Vec::new();
        for mount in self.listed(ns) {
            let place = self.path_of(self.root_of(mount), root);
            if !place.reachable && self.by(&roots::MOUNTINFO_REACHABLE) {
                continue;
            }
            if !self.is_of_harness(mount, &place.path) {
                shown.push((place.path, mount));
            }
        }
        // Stacked mounts keep their order.
        shown.sort_by(|one, other| one.0.cmp(&other.0));
        shown
    }

    /// The mounts of a namespace as its table lists them: in the order in which they were made.
    fn listed(&self, ns: MntNsId) -> Vec<MountId> {
        let ours = self.mounts.iter().filter(|(_, mount)| mount.ns == Some(ns));
        let mut ours: Vec<_> = ours.map(|(id, _)| id).collect();
        let attached = |mount: &MountId| self.mounts[*mount].listed;
        if !ours.is_sorted_by_key(attached) && self.by(&propagation::LISTED_AS_ATTACHED) {
            ours.sort_by_key(attached);
        }
        ours
    }

    /// Whether a mount is one of those that the harness made: what is beneath them differs from host
    /// to host.
    fn is_of_harness(&self, mount: MountId, at: &str) -> bool {
        let this = &self.mounts[mount];
        match self.supers[this.sb].kind {
            FsType::Devices => {
                let name = &*self.dentries[this.root].name;
                at.strip_prefix("/dev/") == Some(name)
            }
            _ => this.of_harness,
        }
    }

    fn mount_line(&self, mount: MountId, at: &str, root: Place) -> Value {
        let this = &self.mounts[mount];
        let sb = &self.supers[this.sb];
        let kind = match sb.kind {
            FsType::Tmpfs | FsType::Libraries => "tmpfs",
            FsType::Devices => "devtmpfs",
            FsType::Ramfs => "ramfs",
            FsType::Overlay => "overlay",
            FsType::Proc => "proc",
            FsType::Sysfs => "sysfs",
            FsType::Devpts => "devpts",
            FsType::Mqueue => "mqueue",
            FsType::Cgroup2 => "cgroup2",
            FsType::Ext4 => "ext4",
            FsType::Xfs => "xfs",
            FsType::Btrfs => "btrfs",
            FsType::Nfs => "nfs4",
            FsType::Nsfs => "nsfs",
        };
        let mut line = vec![
            ("at".into(), escaped(at).into()),
            ("root".into(), escaped(&self.path_in_fs(this.root)).into()),
            ("type".into(), kind.into()),
            ("options".into(), self.shown_flags(mount).into()),
        ];
        let group = |group: u32| Value::Identity(Class::Peer, group.to_compact_string());
        if let Some(own) = this.peer_group {
            line.push(("shared".into(), group(own)));
        }
        if let Some(master) = self.master_group(mount) {
            line.push(("master".into(), group(master)));
            let seen = self.dominating(mount, root).filter(|seen| *seen != master);
            if let Some(seen) = seen.filter(|_| self.by(&propagation::PROPAGATE_FROM)) {
                line.push(("propagate_from".into(), group(seen)));
            }
        }
        if this.unbindable {
            line.push(("unbindable".into(), true.into()));
        }
        Value::Map(line)
    }

    /// The nearest group that a slave receives from of which a member is in sight
    /// (`get_dominating_id`).
    fn dominating(&self, mount: MountId, root: Place) -> Option<u32> {
        let ns = self.mounts[mount].ns;
        let mut above = self.mounts[mount].master;
        while let Some(master) = above {
            let group = self.mounts[master].peer_group?;
            let seen = |peer: &MountId| {
                self.mounts[*peer].ns == ns && self.is_reachable(self.root_of(*peer), root)
            };
            if self.peers(group).iter().any(seen) {
                return Some(group);
            }
            above = self.mounts[master].master;
        }
        None
    }

    /// The root and working directory of an actor, as the links in /proc/PID show them to the first
    /// process.
    pub fn observe_process(&mut self, actor: ProcId, name: &str) -> Observation {
        let title = format!("process of {name}");
        if !self.processes[actor].alive {
            return Observation { title, found: Err(ended()) };
        }
        let found = self.directories(actor).map_err(Failure::outcome);
        Observation { title, found }
    }

    fn directories(&mut self, actor: ProcId) -> Result<Value, Failure> {
        let reader = self.processes.first();
        let seen_from = self.processes[reader].root;
        let process = &self.processes[actor];
        let mut found = Vec::new();
        for (name, place) in [("root", process.root), ("cwd", process.cwd)] {
            let mut path = self.path_of(place, seen_from).path;
            if self.dentries[place.dentry].unlinked {
                path.push_str(" (deleted)");
            }
            let attr = self.fs_getattr(place.dentry).of("statx")?;
            found.push((
                name.into(),
                Value::Map(vec![("path".into(), path.into()), ("ino".into(), inode(&attr))]),
            ));
        }
        Ok(Value::Map(found))
    }

    /// The path of a place as a process with this root sees it (`prepend_path`).
    pub fn path_of(&self, place: Place, root: Place) -> Shown {
        let mut names: Vec<Rc<str>> = Vec::new();
        let mut at = place;
        let reachable = loop {
            if at == root {
                break true;
            }
            if at.dentry != self.mounts[at.mount].root {
                let parent = self.dentries[at.dentry].parent;
                if parent == at.dentry {
                    // It was moved out of what the mount shows: its names lead to nothing.
                    if self.by(&roots::PATH_ESCAPED) {
                        names.clear();
                    }
                    break false;
                }
                names.push(Rc::clone(&self.dentries[at.dentry].name));
                at.dentry = parent;
                continue;
            }
            match self.mounts[at.mount].at {
                Some(below) => at = below,
                None => break false,
            }
        };
        Shown { path: joined(&names), reachable }
    }

    /// The path of a file in its file system, as mountinfo shows the root of a mount.
    fn path_in_fs(&self, dentry: DentryId) -> String {
        let top = self.supers[self.dentries[dentry].sb].root;
        if self.supers[self.dentries[dentry].sb].kind == FsType::Nsfs {
            return self.dentries[dentry].name.to_string();
        }
        let mut names = Vec::new();
        let mut at = dentry;
        while at != top && self.dentries[at].parent != at {
            names.push(Rc::clone(&self.dentries[at].name));
            at = self.dentries[at].parent;
        }
        let mut path = joined(&names);
        if self.dentries[dentry].unlinked {
            path.push_str("//deleted");
        }
        path
    }

    /// getcwd(2)
    pub fn sys_getcwd(&self, who: ProcId) -> Res<String> {
        let process = &self.processes[who];
        let gone = self.dentries[process.cwd.dentry].unlinked;
        self.deny(gone, &roots::GETCWD_REMOVED, crate::scenario::scalar::Errno::ENOENT)?;
        let shown = self.path_of(process.cwd, process.root);
        if !shown.reachable && self.by(&roots::GETCWD_UNREACHABLE) {
            return Ok(format!("(unreachable){}", shown.path));
        }
        Ok(shown.path)
    }
}

/// Names from the last to the first as a path.
fn joined(names: &[Rc<str>]) -> String {
    if names.is_empty() {
        return "/".to_owned();
    }
    names.iter().rev().fold(String::new(), |path, name| path + "/" + name)
}

/// Blanks and backslashes as octal numbers, as in all tables of proc.
fn escaped(path: &str) -> String {
    let mut shown = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            ' ' | '\t' | '\n' | '\\' => shown.push_str(&format!("\\{:03o}", c as u32)),
            c => shown.push(c),
        }
    }
    shown
}

fn is_under(at: &str, top: &str) -> bool {
    top == "/" || at == top || at.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

fn ended() -> Outcome {
    Outcome::Abstained("the process has ended".into())
}
