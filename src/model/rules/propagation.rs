//! Rules of the family `propagation`: shared subtrees.

rules! {
    TYPE_NOT_ROOT "propagation.type.not-a-mount"
        "Only the root of a mount has a type of propagation: EINVAL."
        "mount(2), EINVAL; fs/namespace.c do_change_type()";
    TYPE_ALONE "propagation.type.alone"
        "A change of type takes one type and no other flags than MS_REC and MS_SILENT: EINVAL."
        "mount(2), EINVAL; fs/namespace.c flags_to_propagation_type()";
    TYPE_UNMOUNTED "propagation.type.unmounted"
        "What was unmounted has no type to change: EINVAL."
        "fs/namespace.c may_change_propagation(), commit 12f147ddd6de"
        since (6, 16) backports [(6, 15, 3), (6, 12, 34), (6, 6, 94), (6, 1, 142), (5, 15, 186), (5, 10, 239), (5, 4, 295)];
    TYPE_FOREIGN "propagation.type.foreign"
        "A type is changed by who has CAP_SYS_ADMIN over the owner of the mount's namespace: EPERM."
        "fs/namespace.c may_change_propagation(), commit cffd0441872e"
        since (6, 17) backports [(6, 16, 4), (6, 12, 44), (6, 6, 103), (6, 1, 149), (5, 15, 190), (5, 10, 241), (5, 4, 297)];
    TYPE_SHARED "propagation.type.shared"
        "make-shared gives a mount that is not shared a peer group of its own."
        "Documentation/filesystems/sharedsubtree.rst, section 3";
    TYPE_SLAVE "propagation.type.slave"
        "make-slave makes a shared mount a slave of its peers; where it has none, it keeps its master if \
         it has one."
        "Documentation/filesystems/sharedsubtree.rst, section 5a; fs/pnode.c do_make_slave()";
    TYPE_UNBINDABLE "propagation.type.unbindable"
        "make-unbindable makes a mount private, and refuses to bind it."
        "Documentation/filesystems/sharedsubtree.rst, section 3";
    SLAVES_HANDED_ON "propagation.group.slaves-handed-on"
        "When the last member leaves a peer group, its slaves become slaves of its master."
        "fs/pnode.c do_make_slave()";
    HEIR_SAME_ROOT "propagation.heir.same-root"
        "The slaves of a mount that leaves its peer group go to a peer that shows the same directory, if there is \
         one, and otherwise to the next one."
        "fs/pnode.c do_make_slave(); gone with commit 955336e204ab"
        until (6, 17);
    HEIR_BEHIND "propagation.heir.behind"
        "Slaves that are handed on come behind those that their new master has already, not before them."
        "fs/pnode.c do_make_slave(), list_splice(), before transfer_propagation()"
        until (6, 17);
    HEIR_STAYS "propagation.heir.stays"
        "Slaves of what is unmounted are handed on at once to a mount that stays."
        "fs/pnode.c propagation_source(), commit 955336e204ab; since 6.18 bulk_make_private()"
        since (6, 17);

    COPY_PEER "propagation.copy.peer"
        "A copy of a shared mount is its peer."
        "Documentation/filesystems/sharedsubtree.rst, section 5b";
    COPY_SLAVE "propagation.copy.slave"
        "A copy of a slave is a slave of the same master."
        "Documentation/filesystems/sharedsubtree.rst, section 5b";
    BIND_UNBINDABLE "propagation.bind.unbindable"
        "An unbindable mount is not bound: EINVAL."
        "Documentation/filesystems/sharedsubtree.rst, section 5b";
    UNBINDABLE_PRUNED "propagation.rbind.unbindable"
        "A recursive bind leaves out unbindable mounts and what is below them."
        "Documentation/filesystems/sharedsubtree.rst, section 5c";
    UNBINDABLE_LOCKED "propagation.rbind.unbindable-locked"
        "A recursive bind does not leave out a mount that is unbindable and locked: EPERM."
        "fs/namespace.c copy_tree()";
    UNBINDABLE_LOST "propagation.copy.unbindable-lost"
        "In a copy of its mount namespace an unbindable mount is no longer unbindable."
        "fs/namespace.c clone_mnt(), T_UNBINDABLE; fixed by \"mount: keep a copied mount unbindable\""
        since (6, 17) until (7, 2, 11)
        quirk "sharedsubtree.rst, section 5g: the copy of an unbindable mount is unbindable too";

    SHARED_BELOW "propagation.mount.shared-below"
        "What is mounted on a shared mount becomes shared, with all that is below it."
        "Documentation/filesystems/sharedsubtree.rst, sections 5b and 5d";
    TO_PEERS "propagation.mount.to-peers"
        "What is mounted on a shared mount is mounted on its peers too."
        "Documentation/filesystems/sharedsubtree.rst, section 2";
    TO_SLAVES "propagation.mount.to-slaves"
        "What is mounted on a shared mount is mounted on its slaves too, and on theirs."
        "Documentation/filesystems/sharedsubtree.rst, section 2";
    OUT_OF_SIGHT "propagation.mount.out-of-sight"
        "A mount that does not show the place gets no copy, but passes it on."
        "fs/pnode.c propagate_mnt(), need_secondary()";
    NOT_TO_NEW "propagation.mount.not-to-new"
        "A mount that is just being attached gets no copy of itself."
        "fs/pnode.c propagate_mnt(), need_secondary()";
    NOT_YET_SHARED "propagation.mount.not-yet-shared"
        "A slave that is moved onto a mount that it receives from gets a copy of itself that is not shared, \
         for it becomes shared only after that."
        "fs/namespace.c attach_recursive_mnt(): propagate_mnt() comes before set_mnt_shared()"
        quirk "sharedsubtree.rst, section 5d, makes the moved mount shared, and its copies with it";
    NOT_TO_DETACHED "propagation.mount.not-to-detached"
        "A detached mount gets no copies."
        "fs/pnode.c propagate_mnt(), need_secondary()";
    NOT_PAST_DETACHED "propagation.detached.not-past"
        "A slave of a detached mount receives nothing, neither mounts nor unmounts."
        "fs/pnode.h IS_MNT_NEW(); fs/pnode.c propagation_next(), next_group()"
        until (6, 15)
        quirk "sharedsubtree.rst, section 2: whatever comes to a peer group comes to its slaves too";
    LOCKED_ACROSS "propagation.mount.locked-across"
        "In a tree that arrives in a mount namespace of another user namespace, all but its top is locked."
        "mount_namespaces(7), restrictions; fs/namespace.c attach_recursive_mnt()";
    COVER_NOT_LOCKED "propagation.mount.cover-not-locked"
        "What was mounted at a place is not locked when a tree from another user namespace slides beneath it."
        "fs/namespace.c attach_recursive_mnt(), commit ce7df1968653"
        since (6, 16) backports [(6, 15, 5), (6, 12, 36), (6, 6, 96), (6, 1, 143), (5, 15, 187), (5, 10, 240), (5, 4, 296)];
    COVER_UNLOCKED "propagation.mount.cover-unlocked"
        "A locked mount is no longer locked when what is mounted elsewhere slides beneath it."
        "fs/namespace.c attach_recursive_mnt(), commit c62a4766937e; in 7.2.13 it keeps its lock"
        since (7, 1) until (7, 2, 13)
        quirk "mount_namespaces(7), restrictions: mounts that came from a more privileged namespace as a unit are \
               locked together";
    COVER_BESIDE "propagation.mount.cover-beside"
        "What was mounted at a place is put on the lowest mount of the tree that slides beneath it, and hides \
         what covers that one: when the original of that cover is unmounted, it is taken away in its place."
        "fs/namespace.c attach_recursive_mnt(), before topmost_overmount(); fs/pnode.c propagate_umount()"
        until (6, 17)
        quirk "sharedsubtree.rst, section 5f: an unmount takes away what the mount sent, and nothing else";
    MOVE_FROM_SHARED "propagation.move.from-shared"
        "A mount that is on a shared mount is not moved: EINVAL."
        "mount(2), EINVAL; Documentation/filesystems/sharedsubtree.rst, section 5d";
    MOVE_UNBINDABLE "propagation.move.unbindable"
        "A tree with an unbindable mount is not moved onto a shared mount: EINVAL."
        "Documentation/filesystems/sharedsubtree.rst, section 5d";

    UMOUNT_PROPAGATES "propagation.umount.propagates"
        "An unmount takes away the copies on all mounts that the parent sends to."
        "Documentation/filesystems/sharedsubtree.rst, section 5f";
    UMOUNT_KEEPS_PARENTS "propagation.umount.keeps-parents"
        "A copy with something mounted on it that stays, stays too."
        "Documentation/filesystems/sharedsubtree.rst, section 5f; fs/pnode.c propagate_umount()";
    UMOUNT_SETTLED "propagation.umount.settled"
        "Which copies go with an unmount is decided for all of them together; before, one by one as they were \
         found, and it depended on their order."
        "Documentation/filesystems/propagate_umount.txt; fs/pnode.c propagate_umount(), commit f0d0ba19985d"
        since (6, 17);
    UMOUNT_FROM_BELOW "propagation.umount.from-below"
        "A tree is unmounted from its last mount to its first."
        "fs/namespace.c umount_tree(), list_move(); gone with commit 2eea9ce4310d"
        until (6, 8);
    UMOUNT_KEEPS_LOCKED "propagation.umount.keeps-locked"
        "A locked copy goes only together with the mount that it is locked to."
        "fs/pnode.c propagate_umount(), handle_locked()";
    UMOUNT_UNLOCKS "propagation.umount.unlocks"
        "The lock of a copy does not keep an unmount from taking it away."
        "fs/pnode.c propagate_mount_unlock()";
    BUSY_COPY "propagation.umount.copy-used"
        "A mount is busy if a copy that would go with it is in use: EBUSY."
        "fs/pnode.c propagate_mount_busy()";

    USERNS_SLAVE "propagation.namespace.slave"
        "In a copy for another user namespace, every shared mount is a slave of its original."
        "mount_namespaces(7), restrictions; fs/namespace.c copy_mnt_ns(), CL_SHARED_TO_SLAVE";
    LISTED_AS_ATTACHED "propagation.mountinfo.as-attached"
        "A mount table lists mounts in the order in which they were put into their namespace, not in that in \
         which they were made."
        "fs/namespace.c commit_tree(); gone with commit 2eea9ce4310d"
        until (6, 8);
    PROPAGATE_FROM "propagation.mountinfo.propagate-from"
        "A slave whose master is out of sight shows the nearest group that it receives from as \
         propagate_from."
        "proc_pid_mountinfo(5); fs/pnode.c get_dominating_id()";

    GROUP_ROOTS "propagation.group.roots"
        "MOVE_MOUNT_SET_GROUP takes the roots of two mounts: EINVAL."
        "move_mount(2); fs/namespace.c do_set_group()";
    GROUP_NARROWER "propagation.group.narrower"
        "The mount whose group is joined must show all that the joining one shows, of one file system: \
         EINVAL."
        "move_mount(2); fs/namespace.c do_set_group()";
    GROUP_LOCKED "propagation.group.locked"
        "A group is not joined where a mount is locked over what the joining one shows: EINVAL."
        "fs/namespace.c do_set_group(), has_locked_children()";
    GROUP_TAKEN "propagation.group.taken"
        "Only a private mount joins a group: EINVAL."
        "move_mount(2); fs/namespace.c do_set_group()";
    GROUP_OF_UNBINDABLE "propagation.group.of-unbindable"
        "An unbindable mount joins a group too, and can be bound from then on."
        "fs/namespace.c do_set_group(), set_mnt_shared()"
        until (7, 3) ended [(7, 2, 11)] probe "move_mount.set_group_unbindable";
    GROUP_NONE "propagation.group.none"
        "A private mount has no group to join: EINVAL."
        "fs/namespace.c do_set_group()";
}
