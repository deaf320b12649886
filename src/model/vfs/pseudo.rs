//! proc, sysfs and the directories of libraries: what is known of them is that some names are there.

use super::fs::{New, NewKind};
use crate::model::halt::{Halt, Res};
use crate::model::ids::IdKind;
use crate::model::machine::{DentryId, FsType, Machine};

/// The sysctl that limits user namespaces, in proc/sys/user.
const USERNS_LIMIT: &str = "max_user_namespaces";

impl Machine<'_> {
    /// Whether a file is the sysctl that limits user namespaces.
    pub(super) fn is_userns_limit(&self, dentry: DentryId) -> bool {
        &*self.dentries[dentry].name == USERNS_LIMIT
    }

    /// Whether a file is one of proc or sysfs of which no more is modelled than that it is there, and of what type.
    pub fn is_there_alone(&self, dentry: DentryId) -> bool {
        let of = &self.supers[self.dentries[dentry].sb];
        matches!(of.kind, FsType::Proc | FsType::Sysfs)
            && of.root != dentry
            && !self.is_userns_limit(dentry)
    }

    /// A well-known name of proc or sysfs. Their files are made when they are asked for; what is in
    /// them is not modelled.
    pub(super) fn pseudo_lookup(&mut self, dir: DentryId, name: &str) -> Res<Option<DentryId>> {
        if let Some(found) = self.children(dir).and_then(|names| names.get(name)).copied() {
            return Ok(Some(found));
        }
        if self.supers[self.dentries[dir].sb].kind == FsType::Libraries {
            return Err(Halt::Unknown("which libraries programs bring is not modelled"));
        }
        let root = self.supers[self.dentries[dir].sb].root;
        if name == USERNS_LIMIT {
            // A sysctl belongs to root of the user namespace that it is one of.
            let owner = |kind| self.kid(self.sandbox_userns, kind, 0).unwrap_or(0);
            let (uid, gid) = (owner(IdKind::User), owner(IdKind::Group));
            let inode = self.new_inode(
                self.dentries[dir].sb,
                New { kind: NewKind::File, mode: 0o644, uid, gid },
            )?;
            return Ok(Some(self.enter(dir, name, inode)));
        }
        let directory = match name {
            "sys" | "fs" | "kernel" | "irq" | "bus" | "tty" | "firmware" | "devices" | "class"
            | "module" | "user" | "vm" | "net" | "binfmt_misc" | "acpi" | "cgroup" => true,
            "meminfo" | "mounts" | "kcore" | "keys" | "timer_list" | "sched_debug" | "cmdline"
            | "filesystems" | "uptime" | "version" | "cpuinfo" | "stat" | "loadavg"
                if dir == root =>
            {
                false
            }
            _ => {
                return Err(Halt::Unknown("what is in a proc or sysfs is not modelled"));
            }
        };
        let kind = if directory { NewKind::Dir } else { NewKind::File };
        let mode = if directory { 0o555 } else { 0o444 };
        // Of the first user namespace's root, as those files are.
        let new = New { kind, mode, uid: 0, gid: 0 };
        let inode = self.new_inode(self.dentries[dir].sb, new)?;
        Ok(Some(self.enter(dir, name, inode)))
    }
}
