//! Rules of the family `mount`: the mount table, file systems, flags, the mount API.

rules! {
    CAPABILITY "mount.capability"
        "Changing the mount table takes CAP_SYS_ADMIN over the user namespace that owns the mount \
         namespace: EPERM."
        "mount(2), EPERM; fs/namespace.c may_mount()";
    FOREIGN "mount.foreign"
        "A mount of another mount namespace is neither changed nor mounted on: EINVAL."
        "fs/namespace.c check_mnt()";
    POINT_REMOVED "mount.point.removed"
        "Nothing is mounted on a directory or file that was removed: ENOENT."
        "fs/namespace.c do_lock_mount(), cant_mount()";
    POINT_UNMOUNTED "mount.point.unmounted"
        "Nothing is mounted on a mount that was unmounted: ENOENT, and EINVAL before."
        "fs/namespace.c do_lock_mount(), is_mounted(), commit 0d039eac6e59"
        since (6, 15) backports [(6, 14, 5), (6, 12, 26), (6, 6, 89)];

    UNKNOWN_TYPE "mount.type.unknown"
        "A type that is not in /proc/filesystems cannot be mounted: ENODEV."
        "mount(2), ENODEV";
    NOT_FOR_USERNS "mount.type.not-for-userns"
        "Without CAP_SYS_ADMIN in the first user namespace only types that are marked as safe can be \
         mounted: EPERM, before the source is looked at."
        "user_namespaces(7); fs/super.c mount_capable(), FS_USERNS_MOUNT";
    BLOCK_DEVICE "mount.type.block-device"
        "A file system that is kept on a disk is mounted from nothing but a block device: ENOTBLK."
        "mount(2), ENOTBLK; fs/super.c lookup_bdev()";
    OVERLAY_IN_USERNS "mount.type.overlay-in-userns"
        "An overlay can be mounted in a user namespace."
        "fs/overlayfs/super.c FS_USERNS_MOUNT, commit 459c7c565ac3"
        since (5, 11) probe "overlay";
    NAMESPACE_OWNER "mount.type.namespace-owner"
        "proc, sysfs, mqueue and cgroup2 are mounted by who has CAP_SYS_ADMIN over the owner of the \
         pid, network, IPC or cgroup namespace that they show: EPERM."
        "user_namespaces(7), effect of capabilities within a user namespace";
    SAME_TWICE "mount.same-twice"
        "A file system is not mounted on the root of a mount of itself: EBUSY."
        "mount(2), EBUSY; fs/namespace.c do_add_mount()";

    UNKNOWN_OPTION "mount.option.unknown"
        "An option that the type does not know is refused: EINVAL."
        "fs/fs_context.c vfs_parse_fs_param()";
    RAMFS_OPTIONS "mount.option.ramfs"
        "ramfs takes any option without a word."
        "fs/ramfs/inode.c ramfs_parse_param()"
        quirk "mount_api.rst has an error for a parameter that a file system does not know";
    BAD_VALUE "mount.option.value"
        "An option whose value cannot be read is refused: EINVAL."
        "fs/fs_parser.c fs_parse()";
    ONE_SOURCE "mount.option.source"
        "A file system has one source, which is a text: EINVAL."
        "fs/fs_context.c vfs_parse_fs_param_source()";
    OPTION_ID "mount.option.id"
        "An id in an option must be mapped in the user namespace that mounts: EINVAL."
        "fs/fs_parser.c fs_param_is_uid(); mm/shmem.c shmem_parse_one()";
    TMPFS_TOO_SMALL "mount.option.tmpfs-too-small"
        "A tmpfs is not made smaller than what is in it: EINVAL."
        "mm/shmem.c shmem_reconfigure()";

    REVEALING_NONE "mount.revealing.none"
        "proc or sysfs is mounted in a user namespace only where its mount namespace has one already: \
         EPERM."
        "fs/namespace.c mnt_already_visible()";
    REVEALING_PART "mount.revealing.part"
        "A bind of a part of proc or sysfs does not count as one that is there already."
        "fs/namespace.c mnt_already_visible()";
    REVEALING_RO "mount.revealing.read-only"
        "A proc or sysfs that is locked to read-only allows no other one that is writable: EPERM."
        "fs/namespace.c mnt_already_visible()";
    REVEALING_ATIME "mount.revealing.atime"
        "A proc or sysfs whose access time mode is locked allows no other one with another mode: EPERM."
        "fs/namespace.c mnt_already_visible()";
    REVEALING_COVERED "mount.revealing.covered"
        "A proc or sysfs with a locked mount over a part of it allows no other one: EPERM."
        "fs/namespace.c mnt_already_visible()";
    REVEALING_EMPTY "mount.revealing.empty"
        "A mount over a directory that the kernel made for mounts, as /sys/fs/cgroup is, hides nothing."
        "fs/namespace.c mnt_already_visible(), is_empty_dir_inode()";

    BIND_KIND "mount.bind.kind"
        "A directory is mounted on a directory, and anything else on what is none: ENOTDIR."
        "mount(2), ENOTDIR; fs/namespace.c graft_tree()";
    SOURCE_REMOVED "mount.source-removed"
        "A mount of a directory or file that was removed is neither bound nor moved: ENOENT."
        "fs/namespace.c attach_recursive_mnt(), get_mountpoint(); commit 1064f874abc0"
        since (4, 11);
    SOURCE_REMOVED_COVER "mount.source-removed.cover"
        "The same holds of what covers the top of a tree."
        "fs/namespace.c attach_recursive_mnt()"
        since (6, 17);
    BIND_FOREIGN "mount.bind.foreign"
        "A mount of another mount namespace is not bound: EINVAL."
        "mount(2), EINVAL; fs/namespace.c __do_loopback()";
    BIND_LOCKED "mount.bind.locked-below"
        "A bind does not leave out a mount below its source that is locked there: EINVAL."
        "mount_namespaces(7), restrictions; fs/namespace.c has_locked_children()";
    NAMESPACE_LOOP "mount.bind.namespace-loop"
        "The file of a mount namespace is bound only in one that is older: EINVAL."
        "fs/namespace.c mnt_ns_loop()";
    NAMESPACE_FILE_LEFT "mount.namespace.file-left-out"
        "A new mount namespace does not copy mounts of files of mount namespaces."
        "fs/namespace.c copy_tree(), CL_COPY_MNT_NS_FILE";
    NAMESPACE_ENDS "mount.namespace.ends"
        "The mounts of a mount namespace go with the last process in it, unless a file stands for it."
        "mount_namespaces(7); fs/namespace.c put_mnt_ns()";
    DETACHED_COPY "mount.detached.copy"
        "A detached mount is copied by who made it, or in the same mount namespace."
        "fs/namespace.c may_copy_tree(), commit 43b54e1ef6b2"
        since (6, 15);
    DETACHED_TARGET "mount.detached.target"
        "A detached mount is attached to another detached one that was made in the same mount namespace."
        "fs/namespace.c may_use_mount(), commit 21107723831e"
        since (6, 15);

    LAYER_UNBINDABLE "mount.layer.unbindable"
        "An unbindable mount is no layer of an overlay: EINVAL."
        "fs/namespace.c clone_private_mount()";
    LAYER_FOREIGN "mount.layer.foreign"
        "A mount of another mount namespace is no layer of an overlay: EINVAL."
        "fs/namespace.c clone_private_mount(), commit 427215d85e8d"
        since (5, 14);
    LAYER_DETACHED "mount.layer.detached"
        "The top of a detached tree can be a layer of an overlay."
        "fs/namespace.c clone_private_mount(), commit db04662e2f4f"
        since (6, 15);
    LAYER_LOCKED "mount.layer.locked-below"
        "A directory below which a mount is locked is no layer of an overlay, which would show what it \
         hides: EINVAL."
        "fs/namespace.c clone_private_mount(), commit 427215d85e8d"
        since (5, 14);

    MOVE_PLACE_FIRST "mount.move.place-first"
        "Where a move cannot go is told before what cannot be moved: ENOENT rather than EINVAL."
        "fs/namespace.c do_move_mount()"
        until (6, 18);
    MOVE_NOT_ROOT "mount.move.not-a-mount"
        "Only the root of a mount is moved: EINVAL."
        "mount(2), EINVAL; fs/namespace.c do_move_mount()";
    MOVE_KIND "mount.move.kind"
        "A directory is moved onto a directory, and anything else onto what is none: EINVAL."
        "fs/namespace.c do_move_mount()"
        quirk "mount(2) says ENOTDIR, as a bind does";
    MOVE_LOCKED "mount.move.locked"
        "A mount that is locked to its place is not moved: EINVAL."
        "mount_namespaces(7), restrictions; fs/namespace.c do_move_mount()";
    MOVE_FOREIGN "mount.move.foreign"
        "What is moved is in one's own mount namespace, or the top of a detached tree: EINVAL."
        "move_mount(2), EINVAL; fs/namespace.c do_move_mount()";
    MOVE_WITHIN_DETACHED "mount.move.within-detached"
        "A detached tree is not moved into itself: EINVAL."
        "fs/namespace.c do_move_mount()";
    MOVE_LOOP "mount.move.loop"
        "A mount is not moved onto itself or what is below it: ELOOP."
        "mount(2), ELOOP";
    BENEATH_NOTHING "mount.beneath.nothing"
        "A mount is put beneath another only at the root of one that is mounted somewhere: EINVAL."
        "move_mount(2), MOVE_MOUNT_BENEATH";
    BENEATH_LOCKED "mount.beneath.locked"
        "Nothing is put beneath a locked mount: EINVAL."
        "move_mount(2), MOVE_MOUNT_BENEATH; fs/namespace.c can_move_mount_beneath()"
        until (7, 1);
    BENEATH_TAKES_LOCK "mount.beneath.takes-lock"
        "A mount that is put beneath a locked one takes over its lock."
        "fs/namespace.c can_move_mount_beneath(), commit c62a4766937e"
        since (7, 1);
    BENEATH_COVERED "mount.beneath.covered"
        "A mount that is covered itself is not put beneath another: EINVAL."
        "fs/namespace.c can_move_mount_beneath()";
    BENEATH_ROOT "mount.beneath.root"
        "Nothing is put beneath one's root or the first root of the mount namespace: EINVAL."
        "move_mount(2), MOVE_MOUNT_BENEATH; gone with commit ccfac16e0be5"
        until (7, 1);
    BENEATH_ITSELF "mount.beneath.itself"
        "A mount is not put beneath one that it is below: EINVAL."
        "fs/namespace.c can_move_mount_beneath()";
    BENEATH_PROPAGATED "mount.beneath.propagated"
        "A mount is not put beneath another where propagation would put a copy on top: EINVAL."
        "move_mount(2), MOVE_MOUNT_BENEATH; fs/pnode.c propagation_would_overmount()";
    BENEATH_COVERS_ITSELF "mount.beneath.covers-itself"
        "A mount is not put beneath another where propagation would put a copy on itself: EINVAL."
        "fs/namespace.c can_move_mount_beneath(), propagation_would_overmount()";
    BENEATH_DETACHED "mount.beneath.detached"
        "A detached mount receives nothing and so is not covered by its own copy."
        "fs/mount.h IS_MNT_NEW(); fs/namespace.c can_move_mount_beneath(), check_mnt()";

    UMOUNT_NOT_ROOT "mount.umount.not-a-mount"
        "Only the root of a mount is unmounted: EINVAL."
        "umount(2), EINVAL; fs/namespace.c can_umount()";
    UMOUNT_LOCKED "mount.umount.locked"
        "A mount that is locked to its place is not unmounted by itself: EINVAL."
        "umount(2), EINVAL; mount_namespaces(7), restrictions";
    UMOUNT_FORCE "mount.umount.force"
        "MNT_FORCE takes CAP_SYS_ADMIN: EPERM."
        "umount(2), MNT_FORCE; fs/namespace.c can_umount(), commit b2f5d4dc38e0"
        since (3, 18);
    UMOUNT_FORCE_OWNER "mount.umount.force-owner"
        "For MNT_FORCE it is enough to have CAP_SYS_ADMIN over the user namespace of the file system."
        "fs/namespace.c can_umount(), commit e1ff7aa34dec"
        since (6, 15) probe "umount.force";
    UMOUNT_OWN_ROOT "mount.umount.own-root"
        "To unmount one's own root makes its file system read-only."
        "fs/namespace.c do_umount()"
        quirk "umount(2) says that a mount is removed, or why not";
    EXPIRE_ALONE "mount.umount.expire-alone"
        "MNT_EXPIRE does not go together with MNT_DETACH or MNT_FORCE, nor with one's own root: EINVAL."
        "umount(2), EINVAL";
    EXPIRE_USED "mount.umount.expire-used"
        "A mount that is in use does not expire: EBUSY."
        "umount(2), MNT_EXPIRE";
    EXPIRE_MARKS "mount.umount.expire-marks"
        "The first MNT_EXPIRE, or the first one after a use of the mount, only marks it: EAGAIN."
        "umount(2), MNT_EXPIRE";
    UNUSED_LETS_GO "mount.umount.unused-lets-go"
        "A locked mount stays on an unmounted one only as long as that one is in use."
        "fs/namespace.c disconnect_mount(), cleanup_mnt()";
    BUSY_CHILDREN "mount.umount.mounts-on-it"
        "A mount with mounts on it is busy: EBUSY."
        "umount(2), EBUSY";
    BUSY_USED "mount.umount.used"
        "A mount with an open file, or a root or working directory of a process on it, is busy: EBUSY."
        "umount(2), EBUSY";

    LOCK_PLACES "mount.lock.places"
        "The mounts of a namespace that belongs to another user namespace than the one that it was \
         copied from are locked to their places."
        "mount_namespaces(7), restrictions; fs/namespace.c lock_mnt_tree()";
    LOCK_FLAGS "mount.lock.flags"
        "Their flags ro, nosuid, nodev and noexec are locked where they are set."
        "mount_namespaces(7), restrictions; fs/namespace.c lock_mnt_tree()";
    LOCK_ATIME "mount.lock.atime"
        "Their access time modes are locked."
        "mount_namespaces(7), restrictions; fs/namespace.c lock_mnt_tree()";
    LOCKED_FLAGS "mount.flags.locked"
        "A locked flag is not cleared: EPERM."
        "mount_namespaces(7), restrictions; fs/namespace.c can_change_locked_flags()";
    LOCKED_ATIME "mount.flags.locked-atime"
        "A locked access time mode is not changed: EPERM."
        "mount_namespaces(7), restrictions; fs/namespace.c can_change_locked_flags()";

    REMOUNT_NOT_ROOT "mount.remount.not-a-mount"
        "Only the root of a mount is remounted: EINVAL."
        "mount(2), EINVAL";
    REMOUNT_KEEPS_ATIME "mount.remount.keeps-atime"
        "A remount that names no access time mode keeps the old one; all other flags are replaced."
        "mount(2), MS_REMOUNT; fs/namespace.c path_mount()";
    REMOUNT_WRITERS "mount.remount.writers"
        "A mount with a file that is open for writing does not become read-only: EBUSY."
        "mount(2), EBUSY; fs/namespace.c mnt_make_readonly()";
    FOREIGN_SUPER "mount.super.foreign"
        "A file system is changed by who has CAP_SYS_ADMIN over the user namespace that it belongs to: \
         EPERM."
        "user_namespaces(7); fs/namespace.c do_remount()";
    SUPER_WRITERS "mount.super.writers"
        "A file system with a file that is open for writing does not become read-only: EBUSY."
        "mount(2), EBUSY; fs/namespace.c sb_prepare_remount_readonly()";
    SUPER_REMOVED "mount.super.removed-file"
        "A file system does not become read-only while a file is held open that has no name any more, even \
         for reading: EBUSY."
        "fs/namespace.c sb_prepare_remount_readonly(); fs/inode.c drop_nlink() s_remove_count";
    SUPER_FORGETS "mount.super.forgets-names"
        "A change of a file system forgets every name that nobody uses, so that it is looked up anew, even where \
         the change then fails."
        "fs/super.c reconfigure_super() shrink_dcache_sb()"
        breaks Trace;
    OVERLAY_RECONFIGURE "mount.super.overlay"
        "An overlay takes no parameters once it is mounted: EINVAL."
        "fs/overlayfs/params.c ovl_parse_param()";

    NO_CONTEXT "mount.context.none"
        "A descriptor that is no file system context is not configured or mounted: EINVAL."
        "fsconfig(2), EINVAL";
    CONTEXT_PHASE "mount.context.phase"
        "A context takes parameters, then is created, then mounted, then reconfigured, and nothing out \
         of this order: EBUSY."
        "fsconfig(2), EBUSY; fs/fsopen.c vfs_fsconfig_locked()";
    NOT_CREATED "mount.context.not-created"
        "A context is not mounted before it was created: EINVAL."
        "fsmount(2), EINVAL";
    CREATE_EXCLUSIVE "mount.context.exclusive"
        "FSCONFIG_CMD_CREATE_EXCL does not take a file system that was there before: EBUSY."
        "fs/fsopen.c vfs_cmd_create(), commit 22ed7ecdaefe"
        since (6, 6);
    NO_CREATE_EXCLUSIVE "mount.context.no-exclusive"
        "FSCONFIG_CMD_CREATE_EXCL is no command: EOPNOTSUPP."
        "fs/fsopen.c fsconfig(), before commit 22ed7ecdaefe"
        until (6, 6);
    FSMOUNT_ATTRIBUTE "mount.fsmount.attribute"
        "fsmount(2) takes one access time mode and no id map: EINVAL."
        "fsmount(2), EINVAL";
    OPEN_TREE_RECURSIVE "mount.open-tree.recursive"
        "AT_RECURSIVE goes with OPEN_TREE_CLONE only: EINVAL."
        "open_tree(2), EINVAL";

    SETATTR_KNOWN "mount.setattr.known"
        "There is mount_setattr(2); before it the call is unknown: ENOSYS."
        "mount_setattr(2), VERSIONS"
        since (5, 12)
        probe "mount_setattr";
    SETATTR_NOTHING "mount.setattr.nothing"
        "mount_setattr(2) that asks for nothing does not look for the mount."
        "fs/namespace.c mount_setattr()";
    SETATTR_ATIME_FIELD "mount.setattr.atime-field"
        "An access time mode is set only together with clearing the whole field, which is not cleared in \
         part: EINVAL."
        "mount_setattr(2), EINVAL";
    SETATTR_ATIME_TWO "mount.setattr.atime-two"
        "Two access time modes are not set at once: EINVAL."
        "fs/namespace.c build_mount_kattr()";
    SETATTR_NOT_ROOT "mount.setattr.not-a-mount"
        "mount_setattr(2) changes nothing but the root of a mount: EINVAL."
        "mount_setattr(2), EINVAL";
    SETATTR_WRITERS "mount.setattr.writers"
        "mount_setattr(2) makes no mount read-only that has a file open for writing, and then changes \
         none of a tree: EBUSY."
        "mount_setattr(2), EBUSY";
    IDMAP_CLEAR "mount.idmap.clear"
        "The id map of a mount is not taken away by mount_setattr(2): EINVAL."
        "mount_setattr(2), EINVAL; fs/namespace.c build_mount_idmapped()";
    IDMAP_NO_USERNS "mount.idmap.no-userns"
        "An id map comes from the descriptor of a user namespace: EINVAL."
        "mount_setattr(2), EINVAL";
    IDMAP_TWICE "mount.idmap.twice"
        "An idmapped mount does not get another id map: EPERM."
        "mount_setattr(2), EPERM; fs/namespace.c can_idmap_mount()";
    IDMAP_TMPFS "mount.idmap.tmpfs"
        "A mount of tmpfs can be idmapped."
        "mm/shmem.c FS_ALLOW_IDMAP, commit 7a80e5b8c6fa"
        since (6, 3) probe "tmpfs.idmap";
    IDMAP_FILE_SYSTEM "mount.idmap.file-system"
        "A mount of a file system that was not made ready for it is not idmapped: EINVAL."
        "mount_setattr(2), EINVAL; include/linux/fs.h FS_ALLOW_IDMAP";
    IDMAP_FOREIGN_SUPER "mount.idmap.foreign-super"
        "A mount is idmapped by who has CAP_SYS_ADMIN over the user namespace of the file system: EPERM."
        "mount_setattr(2), EPERM; fs/namespace.c can_idmap_mount()";
    IDMAP_ATTACHED "mount.idmap.attached"
        "A mount that could be seen already is not idmapped: EINVAL."
        "mount_setattr(2), EINVAL; fs/namespace.c can_idmap_mount()";
    IDMAP_WRITERS "mount.idmap.writers"
        "A mount with a file that is open for writing is not idmapped: EBUSY."
        "fs/namespace.c mnt_allow_writers()";
}
