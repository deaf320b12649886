//! Rules of the family `cred`: ids, groups and capabilities of a process.

rules! {
    SETID_UNMAPPED "cred.setid.unmapped"
        "An id that the own user namespace does not map cannot be taken: EINVAL."
        "setuid(2), setresuid(2), EINVAL; user_namespaces(7), unmapped user and group IDs";
    SETUID_FOREIGN "cred.setuid.foreign"
        "Without CAP_SETUID a process takes only user ids that it has already: EPERM."
        "setuid(2), setresuid(2), EPERM";
    SETGID_FOREIGN "cred.setgid.foreign"
        "Without CAP_SETGID a process takes only group ids that it has already: EPERM."
        "setgid(2), setresgid(2), EPERM";
    SETUID_ALL "cred.setuid.all-three"
        "With CAP_SETUID setuid(2) sets the real and the saved user id too."
        "setuid(2)";
    SETGID_ALL "cred.setgid.all-three"
        "With CAP_SETGID setgid(2) sets the real and the saved group id too."
        "setgid(2)";
    LEAVE_ROOT "cred.setuid.leave-root"
        "A process that had id 0 among its user ids and has it no more loses its permitted and effective capabilities."
        "capabilities(7), effect of user ID changes on capabilities; security/commoncap.c cap_emulate_setxuid()";
    KEEPCAPS "cred.setuid.keepcaps"
        "With PR_SET_KEEPCAPS the permitted capabilities stay when the last id 0 is given up."
        "capabilities(7), SECBIT_KEEP_CAPS; prctl(2), PR_SET_KEEPCAPS";
    AMBIENT_LEAVE_ROOT "cred.setuid.ambient-cleared"
        "When the last id 0 is given up the ambient capabilities go, whatever PR_SET_KEEPCAPS says."
        "security/commoncap.c cap_emulate_setxuid()";
    EFFECTIVE_FROM_ROOT "cred.setuid.effective-from-root"
        "An effective user id that changes from 0 takes the effective capabilities away."
        "capabilities(7), effect of user ID changes on capabilities";
    EFFECTIVE_TO_ROOT "cred.setuid.effective-to-root"
        "An effective user id that changes to 0 makes the permitted capabilities effective."
        "capabilities(7), effect of user ID changes on capabilities";
    NOT_DUMPABLE "cred.dumpable.ids-changed"
        "The files in /proc of a process that changed its effective ids belong to the host's root."
        "prctl(2), PR_SET_DUMPABLE; fs/proc/base.c task_dump_owner()";

    SETGROUPS_CAP "cred.setgroups.capability"
        "setgroups(2) takes CAP_SETGID: EPERM."
        "setgroups(2), EPERM";
    SETGROUPS_NO_MAP "cred.setgroups.no-gid-map"
        "setgroups(2) is refused until the user namespace has a gid_map: EPERM."
        "user_namespaces(7), The /proc/pid/setgroups file; kernel/user_namespace.c userns_may_setgroups()";
    SETGROUPS_DENIED "cred.setgroups.denied"
        "setgroups(2) is refused where the user namespace denies it, even to give groups up: EPERM."
        "user_namespaces(7), The /proc/pid/setgroups file"
        since (3, 19);
    SETGROUPS_UNMAPPED "cred.setgroups.unmapped"
        "A group that is not mapped cannot be among the supplementary groups that are set: EINVAL."
        "setgroups(2), EINVAL; kernel/groups.c groups_from_user()";

    CAPSET_PERMITTED "cred.capset.permitted"
        "No capability is added to the permitted set: EPERM."
        "capset(2), EPERM; capabilities(7), programmatically adjusting capability sets";
    CAPSET_EFFECTIVE "cred.capset.effective"
        "What is effective must be permitted: EPERM."
        "capset(2), EPERM; capabilities(7), programmatically adjusting capability sets";
    CAPSET_INHERITABLE "cred.capset.inheritable"
        "Without CAP_SETPCAP only what is permitted is added to the inheritable set: EPERM."
        "capabilities(7), programmatically adjusting capability sets";
    CAPSET_BOUNDING "cred.capset.bounding"
        "What is not in the bounding set is not added to the inheritable set: EPERM."
        "capabilities(7), programmatically adjusting capability sets";
    CAPSET_AMBIENT "cred.capset.ambient"
        "What is no longer both permitted and inheritable is no longer ambient."
        "capabilities(7), ambient";
    AMBIENT_RAISE "cred.ambient.raise"
        "Only what is both permitted and inheritable is made ambient: EPERM."
        "prctl(2), PR_CAP_AMBIENT_RAISE"
        since (4, 3);
    BOUNDING_DROP "cred.bounding.drop"
        "Dropping a capability from the bounding set takes CAP_SETPCAP: EPERM."
        "prctl(2), PR_CAPBSET_DROP, EPERM";
}
