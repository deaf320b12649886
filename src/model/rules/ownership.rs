//! Rules of the family `ownership`: what owners, modes and capabilities allow with a file.

rules! {
    ACCESS_MODE "ownership.access.mode"
        "The permission bits of a file say who reads, writes and executes or searches it: EACCES."
        "path_resolution(7), permissions";
    ACCESS_CLASS "ownership.access.class"
        "The first class that fits decides, owner then group then others, even if a later one allows more."
        "path_resolution(7), permissions; fs/namei.c acl_permission_check()";
    ACCESS_OVERRIDE "ownership.access.override"
        "CAP_DAC_OVERRIDE over a file allows what its mode does not."
        "capabilities(7), CAP_DAC_OVERRIDE";
    ACCESS_READ_SEARCH "ownership.access.read-search"
        "CAP_DAC_READ_SEARCH over a file allows to read it, or to read and search a directory."
        "capabilities(7), CAP_DAC_READ_SEARCH";
    ACCESS_NO_EXECUTION "ownership.access.no-execution"
        "No capability allows to execute a file that nobody may execute: EACCES."
        "path_resolution(7), bypassing permission checks; fs/namei.c generic_permission()";
    ACCESS_READ_ONLY "ownership.access.read-only"
        "Nothing is written to a file system that is read-only: EROFS."
        "fs/namei.c sb_permission()";
    CAPABLE_UNMAPPED "ownership.capable.unmapped"
        "A capability counts for a file only if its owner and its group are mapped in the own user namespace."
        "user_namespaces(7), effect of capabilities within a user namespace; kernel/capability.c capable_wrt_inode_uidgid()";
    OWNER_UNMAPPED "ownership.owner.unmapped"
        "CAP_FOWNER makes an owner of who has the file's owner mapped in the own user namespace, whatever its group."
        "fs/inode.c inode_owner_or_capable()";

    CHANGE_READ_ONLY "ownership.change.read-only"
        "On a read-only mount or file system no attribute is changed: EROFS."
        "chmod(2), chown(2), utimensat(2), setxattr(2), EROFS";
    CHMOD_OWNER "ownership.chmod.owner"
        "A mode is changed by the owner or CAP_FOWNER: EPERM."
        "chmod(2), EPERM";
    CHMOD_SETGID "ownership.chmod.setgid"
        "The set-group-ID bit is dropped silently where the file's group is not one's own and CAP_FSETID is missing."
        "chmod(2); fs/attr.c setattr_prepare()";
    CHOWN_UNMAPPED "ownership.chown.unmapped"
        "A file is not given to an id that the own user namespace does not map, which is asked before the file: EINVAL."
        "fs/open.c chown_common(); user_namespaces(7), unmapped user and group IDs";
    CHOWN_UID "ownership.chown.uid"
        "Only CAP_CHOWN over a file gives it to another user: EPERM."
        "chown(2), EPERM; fs/attr.c chown_ok()";
    CHOWN_GID "ownership.chown.gid"
        "An owner gives a file to its own groups, and CAP_CHOWN over it to any: EPERM."
        "chown(2), EPERM; fs/attr.c chgrp_ok()";
    CHOWN_ADOPT "ownership.chown.adopt"
        "An owner or group that has no id through the mount is changed by CAP_CHOWN in the file system's user \
         namespace."
        "fs/attr.c chown_ok(), chgrp_ok(); https://git.kernel.org/torvalds/c/0031181c49ca"
        since (4, 18);
    CHOWN_SETUID "ownership.chown.setuid-cleared"
        "chown takes the set-user-ID bit from what is no directory, even if it changes nothing."
        "chown(2); fs/open.c chown_common()"
        quirk "chown(2) says it of executable files, and of a change";
    CHOWN_SETGID "ownership.chown.setgid-cleared"
        "chown takes the set-group-ID bit from what is no directory, if the group may execute it or is not one's own."
        "chown(2); fs/attr.c setattr_should_drop_sgid()";
    CHANGE_CAPS "ownership.change.file-capabilities-cleared"
        "chown, truncation and writing take a file's capabilities away."
        "capabilities(7), file capabilities; security/commoncap.c cap_inode_killpriv()";
    WRITE_SETUID "ownership.write.setuid-cleared"
        "Writing to a file and truncating it take the set-user-ID bit away, but from CAP_FSETID in the first user namespace."
        "write(2), truncate(2); fs/inode.c file_remove_privs()";
    WRITE_SETGID "ownership.write.setgid-cleared"
        "Writing to a file and truncating it take the set-group-ID bit away, if the group may execute it or is not one's own."
        "write(2), truncate(2); fs/inode.c file_remove_privs()";
    SETGID_NO_EXECUTION "ownership.setgid.no-execution"
        "What takes the set-group-ID bit takes it also where the group may not execute the file and is not one's own."
        "fs/attr.c setattr_should_drop_sgid(), commit ed5a7047d201"
        since (6, 2) backports [(6, 1, 15), (5, 15, 103), (5, 10, 176)];
    UTIMES_OWNER "ownership.utimes.owner"
        "Only the owner or CAP_FOWNER sets a time to anything but two times now: EPERM."
        "utimensat(2), EPERM";
    UTIMES_TOUCH "ownership.utimes.touch"
        "Who may write to a file may set both of its times to now."
        "utimensat(2), permissions requirements";
    TRUNCATE_DIR "ownership.truncate.directory"
        "A directory has no length to set: EISDIR."
        "truncate(2), EISDIR";
    TRUNCATE_ASKS_FILE "ownership.truncate.file-first"
        "truncate(2) asks whether the file may be written to before it asks whether the mount may: EACCES, not EROFS."
        "fs/open.c vfs_truncate()"
        since (6, 14);
    TRUNCATE_OTHER "ownership.truncate.other"
        "Only a regular file is truncated: EINVAL."
        "truncate(2), EINVAL";

    XATTR_NAME "ownership.xattr.name"
        "The name of an extended attribute has 1 to 255 bytes: ERANGE."
        "setxattr(2), ERANGE; fs/xattr.c import_xattr_name()";
    XATTR_PREFIX "ownership.xattr.prefix"
        "A file system has no attributes of a namespace that it does not know: EOPNOTSUPP."
        "xattr(7), ENOTSUP; fs/xattr.c xattr_resolve_name()";
    XATTR_BARE_PREFIX "ownership.xattr.bare-prefix"
        "A namespace alone is no name of an attribute: EINVAL."
        "fs/xattr.c xattr_resolve_name()";
    XATTR_TMPFS_USER "ownership.xattr.tmpfs-user"
        "tmpfs keeps attributes of user.*."
        "tmpfs(5); mm/shmem.c shmem_user_xattr_handler, commit 2daf18a7884d"
        since (6, 6)
        probe "tmpfs.user_xattr";
    XATTR_USER_KIND "ownership.xattr.user-kind"
        "Attributes of user.* do not exist on symbolic links, pipes and devices: EPERM, and ENODATA to read."
        "xattr(7), extended user attributes";
    XATTR_USER_SOCKET "ownership.xattr.user-socket"
        "Attributes of user.* do not exist on sockets either: EPERM, and ENODATA to read."
        "xattr(7), extended user attributes; fs/xattr.c xattr_permission(), commit dc0876b9846d"
        until (7, 1);
    XATTR_USER_STICKY "ownership.xattr.user-sticky"
        "Attributes of user.* of a sticky directory are changed by its owner or CAP_FOWNER: EPERM."
        "xattr(7), extended user attributes; fs/xattr.c xattr_permission()";
    XATTR_TRUSTED_SET "ownership.xattr.trusted-set"
        "Attributes of trusted.* are changed with CAP_SYS_ADMIN in the first user namespace: EPERM."
        "xattr(7), trusted extended attributes; fs/xattr.c xattr_permission()";
    XATTR_TRUSTED_GET "ownership.xattr.trusted-get"
        "Attributes of trusted.* are not there for who lacks CAP_SYS_ADMIN in the first user namespace: ENODATA."
        "xattr(7), trusted extended attributes; fs/xattr.c xattr_permission()";
    XATTR_TRUSTED_LIST "ownership.xattr.trusted-list"
        "Attributes of trusted.* are not listed for who lacks CAP_SYS_ADMIN in the first user namespace."
        "xattr(7), trusted extended attributes; fs/xattr.c simple_xattr_list()";
    XATTR_SECURITY "ownership.xattr.security"
        "Attributes of security.* are changed with CAP_SYS_ADMIN over the user namespace that mounted the file system: EPERM."
        "xattr(7), extended security attributes; security/commoncap.c cap_inode_setxattr()";
    XATTR_SECURITY_UNCHECKED "ownership.xattr.security-unchecked"
        "Where the BPF module of security is active, its empty hook allows every change of security.* attributes."
        "security/security.c security_inode_setxattr(), commit 61df7b828204"
        since (5, 7)
        until (6, 11)
        probe "xattr.security_unchecked"
        quirk "xattr(7): write access is limited to processes that have the CAP_SYS_ADMIN capability";
    FILECAPS_HEADER "ownership.filecaps.header"
        "security.capability is set to what is a capability set of version 2 or 3: EINVAL."
        "security/commoncap.c cap_convert_nscap()"
        since (4, 14);
    FILECAPS_SET "ownership.filecaps.set"
        "File capabilities are changed with CAP_SETFCAP over the file: EPERM."
        "capabilities(7), file capabilities";
    FILECAPS_NAMESPACED "ownership.filecaps.namespaced"
        "File capabilities set without CAP_SETFCAP over the file system are stored with the id that is root of the own user namespace."
        "capabilities(7), namespaced file capabilities"
        since (4, 14);
    FILECAPS_UNMAPPED "ownership.filecaps.unmapped"
        "The root id of file capabilities must be mapped in the own user namespace and on the file system: EINVAL."
        "security/commoncap.c cap_convert_nscap()"
        since (4, 14);
    FILECAPS_OTHER_ROOT "ownership.filecaps.other-root"
        "File capabilities of a root id that is another id here are read as version 3 with that id."
        "security/commoncap.c cap_inode_getsecurity()"
        since (4, 14);
    FILECAPS_OWN_ROOT "ownership.filecaps.own-root"
        "File capabilities of this or an outer user namespace's root are read as version 2."
        "security/commoncap.c cap_inode_getsecurity()"
        since (4, 14);
    FILECAPS_FOREIGN_ROOT "ownership.filecaps.foreign-root"
        "File capabilities of a root id that has no name here are not read: EOVERFLOW."
        "security/commoncap.c cap_inode_getsecurity()"
        since (4, 14);
}
