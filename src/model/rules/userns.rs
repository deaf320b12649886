//! Rules of the family `userns`: user namespaces, their id maps, and what else is entered and left.

rules! {
    CREATE_DEPTH "userns.create.depth"
        "User namespaces nest 33 deep below the first one: ENOSPC."
        "kernel/user_namespace.c create_user_ns()"
        quirk "user_namespaces(7) says that 32 levels is the limit, and EUSERS the error";
    CREATE_LIMIT "userns.create.limit"
        "user.max_user_namespaces of each namespace above limits how many one user has in it: ENOSPC."
        "namespaces(7), The /proc/sys/user directory"
        since (4, 9);
    CREATE_CHROOTED "userns.create.chrooted"
        "A process whose root is not the root of its mount namespace creates no user namespace: EPERM."
        "unshare(2), EPERM; kernel/user_namespace.c create_user_ns() current_chrooted()"
        since (3, 9);
    CREATE_UNMAPPED "userns.create.unmapped"
        "The creator's effective user and group id must be mapped in the user namespace above: EPERM."
        "unshare(2), EPERM"
        since (3, 9);
    CREATE_ALL_CAPS "userns.create.all-capabilities"
        "Who creates or enters a user namespace has every capability in it, and a full bounding set."
        "user_namespaces(7), capabilities";
    CREATE_FRESH_SETS "userns.create.fresh-sets"
        "Who creates or enters a user namespace has no inheritable and no ambient capability and no PR_SET_KEEPCAPS."
        "kernel/user_namespace.c set_cred_user_ns()";
    CREATE_INHERIT_DENY "userns.create.setgroups-inherited"
        "A new user namespace denies setgroups(2) if the one above does."
        "user_namespaces(7), The /proc/pid/setgroups file";
    OWNER_CAPS "userns.capable.owner"
        "The owner of a user namespace has every capability over it in the user namespace above."
        "user_namespaces(7), capabilities, rule 3";
    ANCESTOR_CAPS "userns.capable.ancestor"
        "A capability in a user namespace is one over all those below it."
        "user_namespaces(7), capabilities, rule 2";

    UNSHARE_ADMIN "userns.unshare.admin"
        "Leaving any other namespace than the user namespace takes CAP_SYS_ADMIN: EPERM."
        "unshare(2), EPERM";
    UNSHARE_OWNER "userns.unshare.owner"
        "A namespace made in the same call as a user namespace belongs to the new one."
        "user_namespaces(7), interaction of user namespaces and other types of namespaces";
    UNSHARE_PID_TWICE "userns.unshare.pid-twice"
        "A process whose children are in another pid namespace makes no second one: EINVAL."
        "pid_namespaces(7); kernel/pid_namespace.c copy_pid_ns()";
    CHILDREN_ENTER "userns.unshare.children"
        "A new pid or time namespace is entered by later children and not by the process itself."
        "pid_namespaces(7); time_namespaces(7)";

    FILE_OWNER "userns.file.owner"
        "A map file or setgroups is opened for writing by its process's own user, or by CAP_DAC_OVERRIDE over it: EACCES."
        "user_namespaces(7), defining user and group ID mappings; proc_pid(5)";
    MAP_OPENER "userns.map.opener"
        "A map is written from the namespace itself or the one above, never from elsewhere: EPERM."
        "user_namespaces(7), defining user and group ID mappings; kernel/user_namespace.c proc_uid_map_write()";
    MAP_POSITION "userns.map.position"
        "A map is written at the start of its file: EINVAL."
        "user_namespaces(7), defining user and group ID mappings, EINVAL";
    MAP_PAGE "userns.map.page"
        "The text of a map is shorter than a page: EINVAL."
        "user_namespaces(7), defining user and group ID mappings";
    MAP_ONCE "userns.map.once"
        "A map is set once, which is asked before its text is read: EPERM."
        "user_namespaces(7), defining user and group ID mappings, EPERM; kernel/user_namespace.c map_write()";
    MAP_ADMIN "userns.map.admin"
        "Writing a map takes CAP_SYS_ADMIN over the user namespace: EPERM."
        "user_namespaces(7), defining user and group ID mappings, rule 1";
    MAP_FORMAT "userns.map.format"
        "A line of a map is three decimal numbers with blanks between them, and there is at least one line: EINVAL."
        "user_namespaces(7), defining user and group ID mappings";
    MAP_SATURATES "userns.map.saturates"
        "A number of more than 64 bits in a map is the highest one, and no longer what its lowest bits are."
        "lib/kstrtox.c _parse_integer_limit()"
        since (7, 1);
    MAP_EMPTY_RANGE "userns.map.empty-range"
        "The range of a line has at least one id: EINVAL."
        "user_namespaces(7), defining user and group ID mappings";
    MAP_WRAP "userns.map.wrap"
        "The range of a line does not reach 4294967295, which is no id, inside or outside: EINVAL."
        "kernel/user_namespace.c map_write()";
    MAP_OVERLAP "userns.map.overlap"
        "No two lines of a map overlap, inside or outside: EINVAL."
        "user_namespaces(7), defining user and group ID mappings";
    MAP_LINES "userns.map.lines"
        "A map has at most 340 lines: EINVAL."
        "user_namespaces(7), defining user and group ID mappings"
        since (4, 15);
    MAP_LINES_5 "userns.map.lines-5"
        "A map has at most 5 lines: EINVAL."
        "user_namespaces(7), defining user and group ID mappings"
        until (4, 15);
    MAP_ROOT_INSIDE "userns.map.root-inside"
        "A process maps user id 0 of the namespace above from inside only if the creator had CAP_SETFCAP: EPERM."
        "user_namespaces(7), defining user and group ID mappings, rule 4; kernel/user_namespace.c verify_root_map(), commit db2e718a4798"
        since (5, 12) backports [(5, 11, 19), (5, 10, 35)];
    MAP_ROOT_OUTSIDE "userns.map.root-outside"
        "A process maps user id 0 of the namespace above from there only with CAP_SETFCAP: EPERM."
        "user_namespaces(7), defining user and group ID mappings, rule 4; kernel/user_namespace.c verify_root_map(), commit db2e718a4798"
        since (5, 12) backports [(5, 11, 19), (5, 10, 35)];
    MAP_OWN_ID "userns.map.own-id"
        "The owner of a user namespace may map the one id that is its own."
        "user_namespaces(7), defining user and group ID mappings, rule 5";
    MAP_GID_DENY "userns.map.gid-needs-deny"
        "The own group id is mapped without privilege only where setgroups(2) is denied."
        "user_namespaces(7), defining user and group ID mappings, rule 5"
        since (3, 19);
    MAP_SETID "userns.map.setid"
        "Any other map takes CAP_SETUID, or CAP_SETGID for groups, in the namespace above: EPERM."
        "user_namespaces(7), defining user and group ID mappings, rule 5";
    MAP_EXTENT "userns.map.extent"
        "The ids outside of a line lie within one line of the map above: EPERM."
        "kernel/user_namespace.c map_write() map_id_range_down()"
        quirk "user_namespaces(7) asks that the ids are mapped in the parent, and two adjacent lines do that";
    MAP_READER "userns.map.reader"
        "The second column of a map is in the ids of who reads it, 4294967295 where it has none."
        "user_namespaces(7), defining user and group ID mappings";
    MAP_READER_INSIDE "userns.map.reader-inside"
        "Who reads the map of its own user namespace sees the ids of the one above."
        "user_namespaces(7), defining user and group ID mappings";

    SETGROUPS_FILE_ADMIN "userns.setgroups.admin"
        "setgroups is opened for writing with CAP_SYS_ADMIN over the user namespace: EACCES."
        "user_namespaces(7), The /proc/pid/setgroups file; kernel/user_namespace.c proc_setgroups_open()";
    SETGROUPS_FILE_LENGTH "userns.setgroups.length"
        "What is written to setgroups is shorter than 8 bytes: EINVAL."
        "kernel/user_namespace.c proc_setgroups_write()";
    SETGROUPS_FILE_WORD "userns.setgroups.word"
        "setgroups takes `allow` or `deny` with nothing but blanks behind it: EINVAL."
        "user_namespaces(7), The /proc/pid/setgroups file";
    SETGROUPS_ALLOW "userns.setgroups.allow-after-deny"
        "What setgroups denies cannot be allowed again: EPERM."
        "user_namespaces(7), The /proc/pid/setgroups file";
    SETGROUPS_DENY "userns.setgroups.deny-after-map"
        "setgroups is denied before gid_map is written and not afterwards: EPERM."
        "user_namespaces(7), The /proc/pid/setgroups file";

    NSFILE_PTRACE "userns.nsfile.ptrace"
        "A namespace file of another process is opened by who may trace it: EACCES."
        "namespaces(7), The /proc/pid/ns directory; kernel/ptrace.c ptrace_may_access()";
    SETNS_TYPE "userns.setns.type"
        "setns(2) enters what a namespace file says, of the type that is asked for: EINVAL."
        "setns(2), EINVAL";
    SETNS_OWN "userns.setns.own"
        "A process does not enter the user namespace that it is in: EINVAL."
        "setns(2), details for specific namespace types, user namespaces";
    SETNS_USER "userns.setns.user"
        "Entering a user namespace takes CAP_SYS_ADMIN over it, which nobody has over one above: EPERM."
        "setns(2), details for specific namespace types, user namespaces";
    SETNS_MOUNT "userns.setns.mount"
        "Entering a mount namespace takes CAP_SYS_ADMIN over its user namespace: EPERM."
        "setns(2), details for specific namespace types, mount namespaces";
    SETNS_MOUNT_OWN "userns.setns.mount-own"
        "Entering a mount namespace takes CAP_SYS_CHROOT and CAP_SYS_ADMIN in the own user namespace: EPERM."
        "setns(2), details for specific namespace types, mount namespaces";
    SETNS_MOUNT_ROOT "userns.setns.mount-root"
        "Who enters a mount namespace has its root as root and working directory, out of any chroot."
        "fs/namespace.c mntns_install()";
    SETNS_OTHER "userns.setns.other"
        "Entering another namespace takes CAP_SYS_ADMIN over its user namespace and in the own one: EPERM."
        "setns(2), EPERM";
    SETNS_PID "userns.setns.pid"
        "A pid namespace is entered only if it is the own one or below it: EINVAL."
        "setns(2), details for specific namespace types, PID namespaces";

    HOSTNAME "userns.hostname.admin"
        "Setting the host name takes CAP_SYS_ADMIN over the owner of the UTS namespace: EPERM."
        "sethostname(2), EPERM; uts_namespaces(7)";
    HOSTNAME_LENGTH "userns.hostname.length"
        "A host name has at most 64 bytes: EINVAL."
        "sethostname(2), EINVAL";
}
