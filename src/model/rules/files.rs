//! Rules of the family `files`: path walks and calls on files, as on any file system.

rules! {
    EMPTY_PATH "files.path.empty"
        "An empty path names nothing: ENOENT."
        "path_resolution(7), empty pathname";
    LONG_PATH "files.path.too-long"
        "A path of 4096 bytes or more, its NUL included, is too long: ENAMETOOLONG."
        "path_resolution(7), length limits";
    LONG_NAME "files.path.name-too-long"
        "A name of more than 255 bytes is too long: ENAMETOOLONG."
        "path_resolution(7), length limits; fs/libfs.c simple_lookup()";
    NO_ENTRY "files.path.missing"
        "A name that is not in its directory does not exist: ENOENT."
        "path_resolution(7), step 2";
    NOT_A_DIRECTORY "files.path.not-a-directory"
        "What a path goes through, or what a slash stands behind, must be a directory: ENOTDIR."
        "path_resolution(7), steps 2 and 3";
    DISCONNECTED "files.path.disconnected"
        "From a directory that was moved out of what its bind mount shows, .. leads nowhere: ENOENT."
        "fs/namei.c path_connected(); https://git.kernel.org/torvalds/c/397d425dc26d"
        since (4, 3);
    LINK_LOOP "files.path.symlink-loop"
        "A walk follows at most 40 symbolic links: ELOOP."
        "path_resolution(7), step 2; include/linux/namei.h MAXSYMLINKS";
    PROTECTED_SYMLINK "files.path.protected-symlink"
        "With fs.protected_symlinks, in a sticky directory that all may write to, a symbolic link is \
         followed only by its owner or where it belongs to the directory's owner: EACCES."
        "proc_sys_fs(5), protected_symlinks; fs/namei.c may_follow_link()";
    PROTECTED_ON_THE_WAY "files.path.protected-symlink-on-the-way"
        "fs.protected_symlinks is asked for the last name of a path alone: a link on the way there is followed."
        "fs/namei.c pick_link()"
        quirk "proc_sys_fs(5), protected_symlinks: symbolic links are followed only where they fulfil its conditions";
    NOSYMFOLLOW "files.path.nosymfollow"
        "On a mount with nosymfollow no symbolic link is followed: ELOOP."
        "mount(2), MS_NOSYMFOLLOW"
        since (5, 10);

    CREATE_EXISTS "files.create.exists"
        "What is to be created must not be there yet: EEXIST."
        "mkdir(2), mknod(2), symlink(2), link(2)";
    CREATE_SLASH "files.create.slash"
        "A slash behind the name of a new file that is no directory asks for a directory: ENOENT."
        "fs/namei.c filename_create()";
    CREATE_RO "files.create.read-only"
        "Nothing is created on a read-only mount or file system: EROFS."
        "mkdir(2), open(2)";
    CREATE_DEAD "files.create.removed-directory"
        "Nothing is created in a directory that was removed: ENOENT."
        "fs/namei.c lookup_one_qstr_excl(), lookup_open(), may_create(): IS_DEADDIR";
    CREATE_UNMAPPED "files.create.unmapped"
        "A file whose owner would have no id on the file system or in the mount's id map is not \
         created: EOVERFLOW."
        "fs/namei.c may_create() fsuidgid_has_mapping()";
    SETGID_DIR "files.create.setgid-directory"
        "What is created in a set-group-ID directory gets its group, and a directory the bit too."
        "inode(7), S_ISGID; fs/inode.c inode_init_owner()";
    SETGID_STRIP "files.create.setgid-stripped"
        "A set-group-ID bit is taken from a new executable file by who is not in its group and has \
         no CAP_FSETID over it."
        "inode(7), S_ISGID; fs/inode.c mode_strip_sgid()";
    SETGID_BEFORE_UMASK "files.create.setgid-before-umask"
        "Whether a new file is executable for its group, and so loses the set-group-ID bit, is looked at before \
         the umask takes that away."
        "fs/namei.c vfs_prepare_mode(); https://git.kernel.org/torvalds/c/1639a49ccdce"
        since (6, 0) backports [(5, 15, 103), (5, 10, 176), (5, 4, 269)];
    SETGID_BEFORE_ACL_UMASK "files.create.setgid-before-acl-umask"
        "On a file system with ACLs that is so of regular files: it takes the umask from the mode itself."
        "fs/inode.c inode_init_owner(); fs/posix_acl.c posix_acl_create()"
        until (6, 0) ended [(5, 15, 103), (5, 10, 176), (5, 4, 269)];
    SETGID_SPECIAL "files.create.setgid-special"
        "On a tmpfs or ramfs a new FIFO, socket or device node keeps the set-group-ID bit, for its mode is set once \
         more as it was asked for."
        "fs/inode.c init_special_inode(); mm/shmem.c shmem_get_inode(); fs/ramfs/inode.c ramfs_get_inode()"
        until (6, 0) ended [(5, 15, 103), (5, 10, 176), (5, 4, 269)]
        quirk "inode(7), S_ISGID: it is taken from an executable file of a group that the process is not in";
    UMASK "files.create.umask"
        "The file mode creation mask takes permission bits from what is created."
        "umask(2)";
    MKNOD_DEVICE "files.mknod.device"
        "Making a device node takes CAP_MKNOD in the first user namespace: EPERM."
        "mknod(2), EPERM; user_namespaces(7), effect of capabilities within a user namespace";
    MKNOD_WHITEOUT "files.mknod.whiteout"
        "The character device 0:0 is a whiteout and everybody may make it."
        "fs/namei.c vfs_mknod(), commit a3c751a50fe6"
        since (5, 8);

    OPEN_CREATE_DIRECTORY "files.open.create-directory"
        "open(2) with O_CREAT and O_DIRECTORY is refused: EINVAL."
        "open(2), BUGS; fs/open.c build_open_flags(), commit 43b450632676"
        since (6, 4);
    OPEN_EXCLUSIVE "files.open.exclusive"
        "open(2) with O_CREAT and O_EXCL fails where the name exists: EEXIST."
        "open(2), O_EXCL";
    OPEN_CREATE_DIR "files.open.create-on-directory"
        "open(2) with O_CREAT does not open a directory: EISDIR."
        "fs/namei.c do_open()";
    OPEN_WRITE_DIR "files.open.write-directory"
        "A directory is not opened for writing: EISDIR."
        "open(2), EISDIR";
    OPEN_NOT_DIR "files.open.not-a-directory"
        "open(2) with O_DIRECTORY opens nothing but a directory: ENOTDIR."
        "open(2), O_DIRECTORY";
    OPEN_NOFOLLOW "files.open.nofollow"
        "open(2) with O_NOFOLLOW does not open a symbolic link: ELOOP."
        "open(2), O_NOFOLLOW";
    OPEN_NODEV "files.open.nodev"
        "A device node is not opened through a mount with nodev or on a file system of a user \
         namespace: EACCES."
        "mount(2), MS_NODEV; fs/namei.c may_open_dev()";
    OPEN_NO_DRIVER "files.open.no-driver"
        "A socket, or a device node without a driver, cannot be opened: ENXIO."
        "open(2), ENXIO";
    OPEN_FIFO_NO_READER "files.open.fifo-no-reader"
        "A FIFO that nobody reads is not opened for writing alone with O_NONBLOCK: ENXIO."
        "open(2), ENXIO; fifo(7)";
    OPEN_NOATIME "files.open.noatime"
        "O_NOATIME is for the owner of the file: EPERM."
        "open(2), O_NOATIME";
    OPEN_RO "files.open.read-only"
        "A file on a read-only mount is not opened for writing: EROFS."
        "open(2), EROFS";
    OPEN_TMPFILE_READ "files.open.tmpfile-read"
        "O_TMPFILE makes a file to write to, so it is not opened for reading alone: EINVAL."
        "open(2), O_TMPFILE";
    TMPFILE_UNMAPPED "files.open.tmpfile-unmapped"
        "O_TMPFILE makes no file whose owner would have no id on the file system or in the mount's id map: EOVERFLOW."
        "fs/namei.c vfs_tmpfile() fsuidgid_has_mapping()"
        since (7, 2) backports [(6, 18, 44), (6, 12, 101)];
    OPEN_PROTECTED "files.open.protected-regular"
        "With fs.protected_regular or fs.protected_fifos, open(2) with O_CREAT does not open what \
         another user left in a sticky directory: EACCES."
        "proc_sys_fs(5), protected_regular; fs/namei.c may_create_in_sticky()"
        since (4, 19);
    OPEN_PROTECTED_SPECIAL "files.open.protected-special"
        "Whatever fs.protected_regular and fs.protected_fifos say, open(2) with O_CREAT does not open a socket, \
         a device node or a symbolic link that another user left in a sticky directory where all may write: EACCES."
        "fs/namei.c may_create_in_sticky()"
        since (4, 19)
        quirk "proc_sys_fs(5), protected_fifos and protected_regular: regular files and FIFOs are protected, if they are set";

    BAD_FD "files.fd.bad"
        "A descriptor that is closed, or not open for what is asked, is a bad one: EBADF."
        "read(2), write(2), EBADF";
    PATH_FD "files.fd.path-only"
        "A descriptor of O_PATH stands for a place and not for an open file: EBADF."
        "open(2), O_PATH";
    FTRUNCATE_READ "files.truncate.not-writable"
        "ftruncate(2) of a file that is not open for writing is refused: EINVAL."
        "ftruncate(2), EINVAL";
    READ_DIR "files.read.directory"
        "A directory is not read by read(2): EISDIR."
        "read(2), EISDIR";
    WRITE_FULL "files.write.no-space"
        "A file system that is full takes no more: ENOSPC."
        "write(2), ENOSPC; tmpfs(5), size";
    WRITE_NOTHING "files.write.nothing"
        "A write of nothing changes neither the length of a file nor its times."
        "write(2); fs/read_write.c generic_write_checks()";
    TRUNCATE_SAME "files.truncate.same-length"
        "truncate(2) to the length that it has leaves the modification time of a file of tmpfs alone as long as \
         it has no blocks; ftruncate(2) and O_TRUNC set it."
        "fs/open.c do_truncate(); mm/shmem.c shmem_setattr() shmem_truncate_range()";
    LIST_NOT_DIR "files.list.not-a-directory"
        "Only a directory is listed: ENOTDIR."
        "getdents(2), ENOTDIR";
    LIST_REMOVED "files.list.removed-directory"
        "A directory that was removed is not listed any more: ENOENT."
        "getdents(2), ENOENT; fs/readdir.c iterate_dir()";
    READLINK_OTHER "files.readlink.other"
        "Only a symbolic link is read by readlink(2): EINVAL."
        "readlink(2), EINVAL";
    ATIME "files.atime.relatime"
        "A read sets an access time that is older than a day or than the last change."
        "mount(2), MS_RELATIME; fs/inode.c relatime_need_update()";
    NOATIME "files.atime.noatime"
        "On a mount with noatime, or with nodiratime for a directory, a read does not set the access time."
        "mount(2), MS_NOATIME, MS_NODIRATIME";

    UTIMES_OMIT "files.utimes.omit"
        "utimensat(2) that leaves both times as they are looks at nothing and succeeds."
        "utimensat(2), UTIME_OMIT; fs/utimes.c";

    REMOVE_RO "files.remove.read-only"
        "Nothing is removed on a read-only mount or file system: EROFS."
        "unlink(2), rmdir(2), EROFS";
    REMOVE_STICKY "files.remove.sticky"
        "In a sticky directory only the owner of a file or of the directory, or CAP_FOWNER over the \
         file, removes or renames it: EPERM."
        "inode(7), S_ISVTX; fs/namei.c check_sticky()";
    REMOVE_UNMAPPED "files.remove.unmapped"
        "A file whose owner is not in the mount's id map is neither removed nor renamed: EOVERFLOW."
        "fs/namei.c may_delete()"
        since (5, 12);
    REMOVE_MOUNTPOINT "files.remove.mount-point"
        "A mount point of one's own mount namespace is neither removed nor renamed: EBUSY."
        "rename(2), rmdir(2), unlink(2), EBUSY; mount_namespaces(7)";
    REMOVE_MOUNTED_ELSEWHERE "files.remove.mounted-elsewhere"
        "What is mounted in other mount namespaces on a place that is removed or renamed over, is \
         unmounted there."
        "mount_namespaces(7), Restrictions; fs/namespace.c __detach_mounts()";
    UNLINK_DIR "files.unlink.directory"
        "A directory is not unlinked: EISDIR."
        "unlink(2), EISDIR";
    RMDIR_FILE "files.rmdir.not-a-directory"
        "rmdir(2) removes nothing but a directory: ENOTDIR."
        "rmdir(2), ENOTDIR";
    RMDIR_NOT_EMPTY "files.rmdir.not-empty"
        "A directory that is not empty is not removed: ENOTEMPTY."
        "rmdir(2), ENOTEMPTY";
    RMDIR_DOT "files.rmdir.dot"
        "A directory is not removed by its last component `.` (EINVAL), `..` (ENOTEMPTY) or by `/` (EBUSY)."
        "rmdir(2); fs/namei.c do_rmdir()";

    RENAME_FLAGS "files.rename.flags"
        "RENAME_EXCHANGE does not go together with RENAME_NOREPLACE or RENAME_WHITEOUT: EINVAL."
        "rename(2), EINVAL";
    RENAME_WHITEOUT_PRIVILEGED "files.rename.whiteout-privileged"
        "RENAME_WHITEOUT takes CAP_MKNOD in the first user namespace: EPERM."
        "rename(2), RENAME_WHITEOUT; fs/namei.c do_renameat2(), before commit a3c751a50fe6"
        until (5, 8);
    RENAME_WHITEOUT_MAPPED "files.rename.whiteout-mapped"
        "The whiteout that a rename leaves has the ids of whoever renames as the mount's id map stores them, and \
         none where that has none: anything else would be refused with EOVERFLOW."
        "mm/shmem.c shmem_whiteout(); fs/inode.c inode_init_owner()"
        quirk "open(2), EOVERFLOW; Documentation/filesystems/idmappings.rst: who has no id there makes no file";
    RENAME_MOUNTS "files.rename.other-mount"
        "A file is not renamed to another mount, even of the same file system: EXDEV."
        "rename(2), EXDEV";
    RENAME_DOT "files.rename.dot"
        "The last components `.` and `..` are not renamed: EBUSY."
        "rename(2), EBUSY; fs/namei.c do_renameat2()";
    RENAME_NOREPLACE "files.rename.noreplace"
        "With RENAME_NOREPLACE the new name must be free: EEXIST."
        "rename(2), RENAME_NOREPLACE";
    RENAME_INTO_ITSELF "files.rename.into-itself"
        "A directory is not renamed to a place below itself: EINVAL."
        "rename(2), EINVAL";
    RENAME_ONTO_ANCESTOR "files.rename.onto-ancestor"
        "A directory is not renamed over one that holds it: ENOTEMPTY."
        "rename(2), ENOTEMPTY; fs/namei.c do_renameat2()";
    RENAME_SAME_FILE "files.rename.same-file"
        "Renaming to another name of the same file does nothing."
        "rename(2): if oldpath and newpath are existing hard links to the same file";
    RENAME_DIR_ON_FILE "files.rename.directory-on-file"
        "A directory is not renamed over a file: ENOTDIR."
        "rename(2), ENOTDIR";
    RENAME_FILE_ON_DIR "files.rename.file-on-directory"
        "A file is not renamed over a directory: EISDIR."
        "rename(2), EISDIR";
    RENAME_WRITE_DIR "files.rename.write-directory"
        "A directory is moved to another one only by who may write to it, for its `..` changes: EACCES."
        "rename(2), EACCES; fs/namei.c vfs_rename()";

    LINK_MOUNTS "files.link.other-mount"
        "A hard link does not lead to another mount, even of the same file system: EXDEV."
        "link(2), EXDEV";
    LINK_DIR "files.link.directory"
        "A directory gets no hard link: EPERM."
        "link(2), EPERM";
    LINK_UNMAPPED "files.link.unmapped"
        "A file whose owner is not mapped gets no hard link."
        "fs/namei.c vfs_link(), HAS_UNMAPPED_ID; may_linkat()";
    LINK_PROTECTED "files.link.protected"
        "With fs.protected_hardlinks only the owner links a file that is set-user-ID, special, or not \
         readable and writable: EPERM."
        "proc_sys_fs(5), protected_hardlinks; fs/namei.c may_linkat()";

    ACCESS_RO "files.access.read-only"
        "On a read-only mount access(2) says that nothing may be written: EROFS."
        "access(2), EROFS";
    ACCESS_NOEXEC "files.access.noexec"
        "On a mount with noexec access(2) says that nothing may be executed: EACCES."
        "access(2), EACCES; fs/open.c do_faccessat()";
    FLOCK_HELD "files.flock.held"
        "A lock that another open file holds is not given: EAGAIN."
        "flock(2), EWOULDBLOCK";
}
