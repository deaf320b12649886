//! Rules of the family `roots`: root and working directories.

rules! {
    CHROOT_CAPABILITY "roots.chroot.capability"
        "chroot(2) takes CAP_SYS_CHROOT, for which it asks when the path was found: EPERM."
        "chroot(2), EPERM; fs/open.c chroot()";
    GETCWD_REMOVED "roots.getcwd.removed"
        "A working directory that was removed has no path: ENOENT."
        "getcwd(2), ENOENT";
    GETCWD_UNREACHABLE "roots.getcwd.unreachable"
        "The path of a working directory that the root does not lead to starts with (unreachable)."
        "getcwd(2), C library/kernel differences; fs/d_path.c getcwd()";
    PATH_ESCAPED "roots.path.escaped"
        "The path of what was moved out of the directory that its mount shows is /, without any name."
        "fs/d_path.c prepend_path()";
    MOUNTINFO_REACHABLE "roots.mountinfo.reachable"
        "A mount table has only the mounts that the root leads to."
        "proc_pid_mountinfo(5); fs/proc_namespace.c show_mountinfo()";

    PROC_LINK "roots.proc.link"
        "The links root, cwd and ns/* of another process in proc are followed by who may trace it: EACCES."
        "proc_pid_root(5); ptrace(2), ptrace access mode checking";

    PIVOT_ONTO_SHARED "roots.pivot.onto-shared"
        "The old root is not put onto a shared mount: EINVAL."
        "pivot_root(2), EINVAL";
    PIVOT_NEW_ON_SHARED "roots.pivot.new-on-shared"
        "The mount below the new root must not be shared: EINVAL."
        "pivot_root(2), EINVAL";
    PIVOT_ROOT_ON_SHARED "roots.pivot.root-on-shared"
        "The mount below the current root must not be shared: EINVAL."
        "pivot_root(2), EINVAL";
    PIVOT_FOREIGN "roots.pivot.foreign"
        "The current and the new root must be in one's own mount namespace: EINVAL."
        "fs/namespace.c pivot_root(), check_mnt()";
    PIVOT_LOCKED "roots.pivot.locked"
        "A mount that is locked to its place does not become the root: EINVAL."
        "mount_namespaces(7), restrictions; fs/namespace.c pivot_root()";
    PIVOT_REMOVED "roots.pivot.removed"
        "A directory that was removed does not become the root: ENOENT."
        "fs/namespace.c pivot_root(), d_unlinked()";
    PIVOT_SAME_MOUNT "roots.pivot.same-mount"
        "Neither the new root nor the place for the old one is on the mount of the current root: EBUSY."
        "pivot_root(2), EBUSY";
    PIVOT_IN_CHROOT "roots.pivot.in-chroot"
        "The current root must be the root of a mount: EINVAL."
        "pivot_root(2), EINVAL";
    PIVOT_NOT_A_MOUNT "roots.pivot.not-a-mount"
        "The new root must be the root of a mount: EINVAL."
        "pivot_root(2), EINVAL";
    PIVOT_PUT_OLD_OUTSIDE "roots.pivot.put-old-outside"
        "The place for the old root must be at or below the new root: EINVAL."
        "pivot_root(2), EINVAL";
    PIVOT_NEW_OUTSIDE "roots.pivot.new-outside"
        "The new root must be below the current one: EINVAL."
        "fs/namespace.c pivot_root(), is_path_reachable()";
    PIVOT_PATHS_FIRST "roots.pivot.paths-first"
        "Both paths are looked up before CAP_SYS_ADMIN is asked for."
        "fs/namespace.c pivot_root(), path_pivot_root(), commit 3c1b73fc6a4d"
        since (7, 0);
    PIVOT_LOCK_MOVES "roots.pivot.lock-moves"
        "A lock of the old root goes over to the new one."
        "fs/namespace.c pivot_root()";
    PIVOT_MOVES_ROOTS "roots.pivot.moves-roots"
        "Every process whose root was the old root gets the new one."
        "pivot_root(2), DESCRIPTION; fs/fs_struct.c chroot_fs_refs()";
    PIVOT_MOVES_CWDS "roots.pivot.moves-working-directories"
        "Every process whose working directory was the old root gets the new root."
        "pivot_root(2), DESCRIPTION; fs/fs_struct.c chroot_fs_refs()";
}
