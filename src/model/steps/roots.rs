//! Steps of the family roots: root and working directories.

use std::rc::Rc;

use super::{Named, Performed};
use crate::model::halt::{Res, refuse};
use crate::model::ids::cap;
use crate::model::machine::{Machine, Place, ProcId};
use crate::model::rules::{files, roots as rules};
use crate::model::vfs::{Access, Walk};
use crate::scenario::operation::RootOperation;
use crate::scenario::scalar::Errno;
use crate::transcript::Outcome;

impl Machine<'_> {
    /// Takes a step of this family.
    pub fn root_step(&mut self, who: ProcId, operation: RootOperation<'_>) -> Performed {
        match operation {
            RootOperation::Chroot(step) => self.sys_chroot(who, step.path.as_str()).of("chroot")?,
            RootOperation::Chdir(step) => self.sys_chdir(who, step.path.as_str()).of("chdir")?,
            RootOperation::Fchdir(step) => {
                let place = self.fd_place(who, &step.fd).of("fchdir")?;
                let file = !self.is_dir(place.dentry);
                self.deny(file, &files::NOT_A_DIRECTORY, Errno::ENOTDIR).of("fchdir")?;
                self.may_enter(who, place).of("fchdir")?;
                self.processes[who].cwd = place;
            }
            RootOperation::Getcwd(_) => {
                let path = self.sys_getcwd(who).of("getcwd")?;
                return Ok(Outcome::values([("path", path.into())]));
            }
            RootOperation::PivotRoot(step) => self
                .sys_pivot_root(who, step.new_root.as_str(), step.put_old.as_str())
                .of("pivot_root")?,
        }
        Ok(Outcome::done())
    }

    /// Search permission in a directory that a process wants to stand in.
    fn may_enter(&self, who: ProcId, place: Place) -> Res<()> {
        let cred = Rc::clone(&self.processes[who].cred);
        self.may(&cred, place, Access::SEARCH)
    }

    /// chdir(2)
    pub fn sys_chdir(&mut self, who: ProcId, path: &str) -> Res<()> {
        let place = self.walk(who, None, path, Walk::DIRECTORY)?;
        self.may_enter(who, place)?;
        self.processes[who].cwd = place;
        Ok(())
    }

    /// chroot(2): the working directory stays where it is.
    pub fn sys_chroot(&mut self, who: ProcId, path: &str) -> Res<()> {
        let place = self.walk(who, None, path, Walk::DIRECTORY)?;
        self.may_enter(who, place)?;
        let cred = &self.processes[who].cred;
        let able = self.capable(cred, cred.userns, cap::SYS_CHROOT);
        self.deny(!able, &rules::CHROOT_CAPABILITY, Errno::EPERM)?;
        self.processes[who].root = place;
        Ok(())
    }

    /// pivot_root(2): the order of its checks is the order in which fs/namespace.c makes them.
    fn sys_pivot_root(&mut self, who: ProcId, new_root: &str, put_old: &str) -> Res<()> {
        if self.must_be_able_to_mount(who).is_err() && !self.by(&rules::PIVOT_PATHS_FIRST) {
            return refuse(Errno::EPERM);
        }
        let new = self.walk(who, None, new_root, Walk::DIRECTORY)?;
        let old = self.walk(who, None, put_old, Walk::DIRECTORY)?;
        self.must_be_able_to_mount(who)?;
        let old = self.mount_point(old)?;
        let root = self.processes[who].root;
        self.check_pivot(who, new, old, root)?;
        let Some(top) = self.mounts[root.mount].at else { return Ok(()) };
        let locked = self.mounts[root.mount].locked && self.by(&rules::PIVOT_LOCK_MOVES);
        self.unhang(new.mount);
        self.unhang(root.mount);
        if locked {
            self.mounts[root.mount].locked = false;
            self.mounts[new.mount].locked = true;
        }
        self.hang(root.mount, old);
        self.hang(new.mount, top);
        self.move_everybody(root, new);
        Ok(())
    }

    fn check_pivot(&self, who: ProcId, new: Place, old: Place, root: Place) -> Res<()> {
        let is_shared = |mount| self.mounts[mount].peer_group.is_some();
        let below = |place: Place| self.parent_of(place.mount);
        self.deny(is_shared(old.mount), &rules::PIVOT_ONTO_SHARED, Errno::EINVAL)?;
        let shared = below(new).is_some_and(is_shared);
        self.deny(shared, &rules::PIVOT_NEW_ON_SHARED, Errno::EINVAL)?;
        let shared = below(root).is_some_and(is_shared);
        self.deny(shared, &rules::PIVOT_ROOT_ON_SHARED, Errno::EINVAL)?;
        let foreign = !self.is_ours(who, root.mount) || !self.is_ours(who, new.mount);
        self.deny(foreign, &rules::PIVOT_FOREIGN, Errno::EINVAL)?;
        let locked = self.mounts[new.mount].locked;
        self.deny(locked, &rules::PIVOT_LOCKED, Errno::EINVAL)?;
        let removed = self.dentries[new.dentry].unlinked;
        self.deny(removed, &rules::PIVOT_REMOVED, Errno::ENOENT)?;
        let others = new.mount != root.mount && old.mount != root.mount;
        self.require(others, &rules::PIVOT_SAME_MOUNT, Errno::EBUSY)?;
        let inside = !self.is_mount_root(root);
        self.deny(inside, &rules::PIVOT_IN_CHROOT, Errno::EINVAL)?;
        // The first mount of a namespace, which is on nothing, is not replaced.
        if below(root).is_none() {
            return refuse(Errno::EINVAL);
        }
        let inside = !self.is_mount_root(new);
        self.deny(inside, &rules::PIVOT_NOT_A_MOUNT, Errno::EINVAL)?;
        self.require(below(new).is_some(), &rules::PIVOT_NOT_A_MOUNT, Errno::EINVAL)?;
        let inside = self.is_reachable(old, new);
        self.require(inside, &rules::PIVOT_PUT_OLD_OUTSIDE, Errno::EINVAL)?;
        let inside = self.is_reachable(new, root);
        self.require(inside, &rules::PIVOT_NEW_OUTSIDE, Errno::EINVAL)
    }

    /// Everybody who stands at the old root comes along (`chroot_fs_refs`).
    fn move_everybody(&mut self, from: Place, to: Place) {
        let all: Vec<_> = self.processes.iter().map(|(id, _)| id).collect();
        for process in all {
            let (root, cwd) = (self.processes[process].root, self.processes[process].cwd);
            if root == from && self.by(&rules::PIVOT_MOVES_ROOTS) {
                self.processes[process].root = to;
            }
            if cwd == from && self.by(&rules::PIVOT_MOVES_CWDS) {
                self.processes[process].cwd = to;
            }
        }
    }
}
