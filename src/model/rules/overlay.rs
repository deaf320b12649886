//! Rules of the family `overlay`.

rules! {
    // ---- mount options ----
    MOUNT_UNKNOWN_OPTION "overlay.mount.unknown-option"
        "An option or a value that overlayfs does not know is refused: EINVAL."
        "fs/overlayfs/params.c ovl_parse_param(), ovl_parameter_spec";
    LAYERS_LOOKED_UP_AT_ONCE "overlay.mount.looked-up-at-once"
        "Each layer is looked up when its option is read, even if a later option replaces it."
        "fs/overlayfs/params.c ovl_parse_layer()"
        since (6, 5);
    LAYERS_ONE_BY_ONE "overlay.mount.one-by-one"
        "lowerdir+ and datadir+ add one layer each, and colons are part of its path."
        "overlayfs.rst, Multiple lower layers (which says 6.8); commit 24e16e385f22"
        since (6, 7) probe "overlay.lowerdir_plus";
    LAYER_BY_FD "overlay.mount.layer-by-fd"
        "A layer may be given as an open directory by FSCONFIG_SET_FD, but not as lowerdir."
        "overlayfs.rst, Specifying layers via file descriptors"
        since (6, 13);
    DATA_LAYERS "overlay.mount.data-only"
        "In lowerdir two colons stand before a layer that gives data only."
        "overlayfs.rst, Data-only lower layers"
        since (6, 5);
    LAYER_EMPTY "overlay.mount.empty-layer"
        "A layer without a name is refused when the overlay is mounted: EINVAL."
        "fs/overlayfs/super.c ovl_mount_dir_noesc()"
        until (6, 5);
    LOWERDIR_COLONS "overlay.mount.lowerdir-colons"
        "In lowerdir a colon at an end, and three of them, are refused: EINVAL."
        "fs/overlayfs/params.c ovl_parse_param_split_lowerdirs()";
    LAYERS_ADDED_LATE "overlay.mount.added-late"
        "No layer is added to those that lowerdir gave all at once: EINVAL."
        "fs/overlayfs/params.c ovl_mount_dir_check()";
    LOWER_BEHIND_DATA "overlay.mount.lower-behind-data"
        "No merged lower layer comes behind a data-only one: EINVAL."
        "overlayfs.rst, Data-only lower layers";
    TOO_MANY_LAYERS "overlay.mount.too-many-layers"
        "An overlay has at most 500 lower layers: EINVAL."
        "fs/overlayfs/params.h OVL_MAX_STACK";
    LAYER_NO_DIRECTORY "overlay.mount.no-directory"
        "A layer must be a directory: EINVAL."
        "fs/overlayfs/params.c ovl_mount_dir_check()"
        quirk "mount(2) has ENOTDIR for what is no directory";
    UPPER_ON_OVERLAY "overlay.mount.upper-on-overlay"
        "The upper layer must not lie on an overlay: EINVAL."
        "overlayfs.rst, Upper and Lower; fs/overlayfs/params.c ovl_mount_dir_check()";
    UPPER_READONLY "overlay.mount.upper-read-only"
        "The upper layer must not lie on a read-only mount: EINVAL."
        "fs/overlayfs/params.c ovl_mount_dir_check()";
    VERITY_NEEDS_METACOPY "overlay.mount.verity-needs-metacopy"
        "verity turns metacopy on, and is refused where that is off: EINVAL."
        "fs/overlayfs/params.c ovl_fs_params_verify()"
        until (6, 16);
    METACOPY_NEEDS_REDIRECT "overlay.mount.metacopy-needs-redirect"
        "metacopy=on is refused with a redirect_dir that is not on: EINVAL."
        "overlayfs.rst, Metadata only copy up";
    NFS_EXPORT_NEEDS_INDEX "overlay.mount.nfs-export-needs-index"
        "nfs_export=on turns the index on, and is refused with index=off: EINVAL."
        "overlayfs.rst, NFS export; commit b0def88d807f"
        since (5, 8);
    NFS_EXPORT_FALLS_BACK "overlay.mount.nfs-export-falls-back"
        "nfs_export=on is turned off without index=on, and with metacopy=on."
        "fs/overlayfs/super.c ovl_make_workdir() ovl_get_lowerstack() ovl_fill_super(), before commit b0def88d807f"
        until (5, 8);
    NFS_EXPORT_OR_METACOPY "overlay.mount.nfs-export-or-metacopy"
        "nfs_export=on is refused with metacopy=on: EINVAL."
        "overlayfs.rst, NFS export; commit b0def88d807f"
        since (5, 8);
    USERXATTR_CONFLICT "overlay.mount.userxattr-conflict"
        "userxattr is refused with redirects and with metacopy=on: EINVAL."
        "overlayfs.rst, User xattr";
    USERXATTR_VERITY "overlay.mount.userxattr-verity"
        "userxattr is refused with verity: EINVAL."
        "fs/overlayfs/params.c ovl_fs_params_verify()"
        until (6, 16);
    ROOTLESS_REDIRECT "overlay.mount.rootless-redirect"
        "Whoever may not write trusted attributes may not ask for redirects: EPERM."
        "fs/overlayfs/params.c ovl_fs_params_verify()"
        since (6, 6);
    ROOTLESS_METACOPY "overlay.mount.rootless-metacopy"
        "Whoever may not write trusted attributes may not ask for metacopy: EPERM."
        "fs/overlayfs/params.c ovl_fs_params_verify()"
        since (6, 6);
    ROOTLESS_VERITY "overlay.mount.rootless-verity"
        "Whoever may not write trusted attributes may not ask for verity: EPERM."
        "fs/overlayfs/params.c ovl_fs_params_verify()"
        since (6, 6);
    ROOTLESS_DATA "overlay.mount.rootless-data-only"
        "Whoever may not write trusted attributes may not have data-only layers: EPERM."
        "fs/overlayfs/params.c ovl_fs_params_verify()"
        since (6, 6);
    DATA_NEEDS_METACOPY "overlay.mount.data-needs-metacopy"
        "Data-only layers take metacopy=on: EINVAL."
        "fs/overlayfs/params.c ovl_fs_params_verify()"
        until (6, 16);

    // ---- layers ----
    NO_LOWER "overlay.mount.no-lower"
        "An overlay has a lower layer: EINVAL."
        "fs/overlayfs/super.c ovl_fill_super()";
    NO_WORK "overlay.mount.no-work"
        "An upper layer takes a work directory: EINVAL."
        "overlayfs.rst, Upper and Lower; fs/overlayfs/super.c ovl_fill_super()";
    SINGLE_LOWER "overlay.mount.single-lower"
        "Without an upper layer there must be two lower ones: EINVAL."
        "fs/overlayfs/super.c ovl_get_lowerstack()";
    ONLY_DATA "overlay.mount.only-data"
        "A lower layer that is not for data only must be there: EINVAL."
        "fs/overlayfs/super.c ovl_get_lowerstack()";
    WORK_ON_ANOTHER_MOUNT "overlay.mount.work-on-another-mount"
        "The work directory must lie on the mount of the upper layer, not only on its file system: \
         EINVAL."
        "fs/overlayfs/super.c ovl_get_workdir()"
        quirk "overlayfs.rst asks for an empty directory on the same file system";
    WORK_AND_UPPER_NESTED "overlay.mount.work-and-upper-nested"
        "Work directory and upper layer must not be the same, nor one inside of the other: EINVAL."
        "fs/overlayfs/super.c ovl_workdir_ok()";
    IN_USE "overlay.mount.in-use"
        "With an index, what another overlay writes to is refused as a layer: EBUSY."
        "overlayfs.rst, Sharing and copying layers; fs/overlayfs/super.c ovl_report_in_use()";
    LAYERS_THE_SAME "overlay.mount.same-layer"
        "No directory is a layer twice: ELOOP."
        "overlayfs.rst, Sharing and copying layers; fs/overlayfs/super.c ovl_setup_trap()"
        since (5, 2);
    LAYERS_OVERLAP "overlay.mount.overlap"
        "No lower layer lies inside of another layer or of the work directory: ELOOP."
        "fs/overlayfs/super.c ovl_check_overlapping_layers()"
        since (5, 2);
    TOO_DEEP "overlay.mount.too-deep"
        "An overlay may lie on an overlay, but a third one may not lie on that: EINVAL."
        "overlayfs.rst, Nesting overlayfs mounts; include/linux/fs.h FILESYSTEM_MAX_STACK_DEPTH";
    REMOTE_UPPER "overlay.mount.remote-upper"
        "A network file system is an upper layer only if it keeps whiteouts and the overlay's \
         attributes: EINVAL."
        "overlayfs.rst, Upper and Lower; fs/overlayfs/super.c ovl_make_workdir()";
    INCOMPATIBLE "overlay.mount.incompatible"
        "A work directory in which something stands in work/incompat is refused: EINVAL."
        "overlayfs.rst, Volatile mount; fs/overlayfs/readdir.c ovl_workdir_cleanup_recurse()";
    LEFTOVERS_READONLY "overlay.mount.leftovers"
        "Where the work directory cannot be emptied, the overlay is mounted read-only."
        "fs/overlayfs/super.c ovl_workdir_create()"
        quirk "overlayfs.rst does not say that a mount for writing may become a read-only one";
    INDEX_NEEDS_HANDLES "overlay.mount.index-needs-handles"
        "An index falls back to off where the mounter may not use file handles, as in a user namespace."
        "fs/overlayfs/super.c ovl_make_workdir(); fs/overlayfs/util.c ovl_can_decode_fh()";
    INDEX_OTHER_LOWER "overlay.mount.index-other-lower"
        "An upper layer that was indexed over one lower layer is not mounted over another: ESTALE."
        "overlayfs.rst, Sharing and copying layers; fs/overlayfs/super.c ovl_get_indexdir()";
    UPPER_UUID "overlay.mount.upper-uuid"
        "A new upper layer gets an identifier in its uuid attribute when it is mounted first."
        "overlayfs.rst, UUID and fsid; fs/overlayfs/util.c ovl_init_uuid_xattr()"
        since (6, 6);

    REMOUNT_READONLY "overlay.remount.read-only"
        "An overlay that has nothing to write to does not become writable: EROFS."
        "fs/overlayfs/params.c ovl_reconfigure()";

    // ---- lookup ----
    WHITEOUT "overlay.lookup.whiteout"
        "A character device 0:0 in a layer hides the name in it and in all layers below."
        "overlayfs.rst, Whiteouts and opaque directories";
    WHITEOUT_XATTR "overlay.lookup.xattr-whiteout"
        "An empty regular file with the whiteout attribute is a whiteout as well."
        "overlayfs.rst, Whiteouts and opaque directories"
        since (6, 7)
        quirk "overlayfs.rst says that the directory must be marked opaque=x; a lookup does not ask";
    OPAQUE "overlay.lookup.opaque"
        "A directory whose opaque attribute is y hides the directories of the same name below it."
        "overlayfs.rst, Whiteouts and opaque directories";
    FILE_ENDS_MERGE "overlay.lookup.file-ends-merge"
        "A file between directories of the same name hides those below it."
        "overlayfs.rst, Directories; fs/overlayfs/namei.c ovl_lookup_single()";
    LAYER_INSIDE_LAYER "overlay.lookup.layer-inside"
        "The root of a layer or the work directory is not reached inside of another layer: ELOOP."
        "fs/overlayfs/namei.c ovl_lookup_single()"
        since (5, 2);
    REDIRECT_INVALID "overlay.lookup.redirect-invalid"
        "A redirect must be one name, or a path from the root of the overlay: EINVAL."
        "fs/overlayfs/util.c ovl_get_redirect_xattr()";
    REDIRECT_REFUSED "overlay.lookup.redirect-refused"
        "What carries a redirect is not reached where redirects are not followed: EPERM."
        "overlayfs.rst, Renaming directories; fs/overlayfs/namei.c ovl_lookup()";
    METACOPY_REFUSED "overlay.lookup.metacopy-refused"
        "A file without data is not reached where metacopy is off: EPERM."
        "overlayfs.rst, Metadata only copy up; fs/overlayfs/namei.c ovl_lookup()";
    REFUSED_AT_ONCE "overlay.lookup.refused-at-once"
        "What is not to be followed is refused before anything is looked for below, and not only where \
         something is found there."
        "fs/overlayfs/namei.c ovl_lookup(), commit eba3c0b3a9e0"
        since (6, 16);
    METACOPY_OF_INDEX "overlay.lookup.metacopy-of-index"
        "A file without data that the index leads to is not reached either where metacopy is off: EPERM."
        "fs/overlayfs/namei.c ovl_lookup(), commit eba3c0b3a9e0"
        since (6, 16);
    METACOPY_OTHER_ORIGIN "overlay.lookup.metacopy-other-origin"
        "With an index a file without data must have its data where it was copied up from: ESTALE."
        "fs/overlayfs/namei.c ovl_lookup(), ovl_verify_origin()";
    INDEX_BAD "overlay.lookup.index-bad"
        "What the index has of a lower file must be of its kind, and what it has of a directory must lead to that \
         of the upper layer: EIO."
        "fs/overlayfs/namei.c ovl_lookup_index()";
    METACOPY_NO_DATA "overlay.lookup.metacopy-no-data"
        "A file without data must have its data in a layer below: EIO."
        "fs/overlayfs/namei.c ovl_lookup()";
    DATA_REDIRECT "overlay.lookup.data-redirect"
        "A lower file may get its data from a data-only layer even where metacopy and redirects are off."
        "fs/overlayfs/namei.c ovl_lookup()"
        since (6, 16);
    REDIRECT_THROUGH_DOTS "overlay.lookup.redirect-through-dots"
        "A redirect through . or .. is refused: EACCES."
        "fs/namei.c lookup_one_common()";
    REDIRECT_CHECKED_FOR_DATA "overlay.lookup.redirect-checked-for-data"
        "With data-only layers a redirect is looked at where no layer is left to be merged too, and refused if none is \
         followed."
        "fs/overlayfs/namei.c ovl_lookup(), check_redirect"
        since (6, 16);
    DATA_PATH_FORGOTTEN "overlay.lookup.data-path-forgotten"
        "That a redirect is a path to data-only layers is forgotten where another layer has a directory on that \
         path, so that the data are missed: EIO."
        "fs/overlayfs/namei.c ovl_check_redirect()"
        quirk "overlayfs.rst, Data-only lower layers: the data are looked up by that path in those layers";
    DATA_MISSING "overlay.data.missing"
        "Data that are in no data-only layer are missed when the file is opened: ENOENT, or what the way there \
         gives in the last of them."
        "overlayfs.rst, Data-only lower layers; fs/overlayfs/namei.c ovl_lookup_data_layers()";
    LOOKUP_SETS_ORIGIN "overlay.lookup.sets-origin"
        "A directory of the upper layer that is found to be merged is marked with an origin."
        "fs/overlayfs/namei.c ovl_fix_origin()";
    ORIGIN_VERIFIED "overlay.lookup.origin-verified"
        "With nfs_export a directory of the upper layer is not merged with a lower one that is not its origin."
        "overlayfs.rst, NFS export; fs/overlayfs/namei.c ovl_lookup(), ovl_verify_origin()";
    ANOTHER_FILE "overlay.lookup.another-file"
        "A name that leads to a file which the overlay knows with other layers is not followed: ESTALE."
        "fs/overlayfs/inode.c ovl_verify_inode()";
    ONE_NAME "overlay.lookup.one-name"
        "A directory of a lower layer to which two names lead has one of them: it is moved to that by which it was \
         looked up last, with all processes in it."
        "fs/overlayfs/inode.c ovl_get_inode(); fs/dcache.c d_splice_alias()"
        quirk "POSIX: a path leads to the same file until it is renamed, whoever looks up another"
        breaks Remount;
    FOUND_DEAD "overlay.lookup.removed-directory"
        "Where the copy of a removed directory took a name, the name stands for the removed one once it is looked up \
         anew, for as long as that one is held: nothing is found, listed or made in it: ENOENT."
        "fs/overlayfs/inode.c ovl_get_inode(), ovl_hash_bylower(); fs/namei.c IS_DEADDIR()"
        quirk "POSIX: a directory that has a name can be listed"
        breaks Remount;
    STALE "overlay.layers.stale"
        "A name of the upper layer that is not what the overlay knows is not changed: ESTALE."
        "overlayfs.rst, Changes to underlying filesystems; fs/overlayfs/dir.c";
    GONE "overlay.layers.gone"
        "A name that is gone from the upper layer is not there for a removal or a rename either: ENOENT."
        "fs/namei.c start_removing() start_renaming(); commit bd6ede8a06e8"
        since (6, 19);

    // ---- readdir ----
    LIST_REMOVED_BELOW "overlay.list.removed-below"
        "A directory that is gone from its layer cannot be listed: ENOENT."
        "getdents(2), ENOENT; fs/readdir.c iterate_dir()";
    LIST_NO_WHITEOUTS "overlay.list.no-whiteouts"
        "The listing of a merged directory has no whiteouts."
        "overlayfs.rst, Readdir; fs/overlayfs/readdir.c ovl_iterate_merged()";
    LIST_ONE_LAYER "overlay.list.one-layer"
        "The listing of a directory that lies in one layer is that layer's own, whiteouts included, though \
         they cannot be looked up."
        "overlayfs.rst, Readdir; fs/overlayfs/readdir.c ovl_iterate()"
        quirk "overlayfs.rst, Whiteouts and opaque directories: the whiteout itself is hidden, too";
    LIST_XATTR_WHITEOUTS "overlay.list.no-xattr-whiteouts"
        "Whiteouts in the form of attributes are left out of a listing where their directory is marked \
         opaque=x."
        "overlayfs.rst, Whiteouts and opaque directories; fs/overlayfs/readdir.c ovl_cache_update()"
        since (6, 7);
    LIST_HIDES_REFUSED "overlay.list.hides-refused"
        "A listing of a directory with copied-up files leaves out what cannot be looked up."
        "fs/overlayfs/readdir.c ovl_cache_update(), commit \"ovl: skip stale entries in merge dir cache \
         iteration\""
        since (5, 15)
        breaks Trace Remount;
    LIST_IMPURE_FAILS "overlay.list.impure-fails"
        "A listing of a directory that lies in the upper layer alone and has copied-up files fails where one of \
         its names cannot be looked up, with the error of that."
        "fs/overlayfs/readdir.c ovl_dir_read_impure()"
        quirk "getdents(2) has no such error; what cannot be looked up in a merged directory is left out";
    LIST_FAILS "overlay.list.fails"
        "A listing fails where two names in a row cannot be looked up, with the error of the second."
        "fs/overlayfs/readdir.c ovl_iterate_merged(); fs/readdir.c getdents64()"
        quirk "getdents(2) has no such error; a single such name is left out without a word";

    // ---- copy-up ----
    OPEN_COPIES_UP "overlay.copy-up.open"
        "Opening a lower file for writing or truncation copies it up."
        "overlayfs.rst, Non-directories";
    COPY_UP_UNMAPPED "overlay.copy-up.unmapped-owner"
        "A file whose owner has no id in the mounter's user namespace is not copied up: EOVERFLOW."
        "fs/overlayfs/copy_up.c ovl_copy_up_one()"
        since (6, 2);
    COPY_UP_PARENT_TIME "overlay.copy-up.parent-time"
        "A copy-up does not change the modification time of the directory."
        "fs/overlayfs/copy_up.c ovl_do_copy_up()";
    COPY_UP_BREAKS_LINK "overlay.copy-up.breaks-link"
        "Copying up one name of a lower hard link makes a file of its own, without an origin."
        "overlayfs.rst, Non-standard behavior; fs/overlayfs/copy_up.c ovl_do_copy_up()"
        quirk "POSIX: a write by one name of a file is seen by all of its names";
    INDEX_KEEPS_LINKS "overlay.copy-up.index"
        "With an index all names of a lower hard link share one copy."
        "overlayfs.rst, Inode properties, Non-standard behavior"
        since (4, 13);
    INDEX_OF_ALL "overlay.copy-up.index-all"
        "With nfs_export whatever is copied up has an entry in the index, and what is removed is copied up \
         for it."
        "overlayfs.rst, NFS export; fs/overlayfs/copy_up.c ovl_need_index()"
        since (4, 16);
    COPY_UP_KEEPS_INODE "overlay.copy-up.keeps-inode"
        "A file that is copied up keeps its inode and the number of it for as long as it is remembered, even where \
         a further name of it cannot be traced to its origin, and so has another."
        "fs/overlayfs/inode.c ovl_hash_bylower(); fs/overlayfs/util.c ovl_can_decode_fh()"
        quirk "inode(7): a file has one inode number, whatever the name"
        breaks Remount;
    COPY_UP_NO_MARKS "overlay.copy-up.no-marks"
        "The overlay's own attributes are not copied up."
        "fs/overlayfs/copy_up.c ovl_copy_xattr()";
    COPY_UP_HOLES "overlay.copy-up.holes"
        "Holes of a file are not filled by a copy-up, as far as the data lie 1 MiB apart."
        "fs/overlayfs/copy_up.c ovl_copy_up_file()"
        since (5, 5);
    COPY_UP_UNLINKED "overlay.copy-up.unlinked"
        "What is open and was removed is not copied up any more where something, as a whiteout, has its name in the \
         upper layer: EEXIST."
        "fs/overlayfs/copy_up.c ovl_copy_up_tmpfile(), ovl_copy_up_workdir()"
        quirk "POSIX: fchmod(2) works on an open file whose name was removed";
    COPY_UP_RENAMED_OVER "overlay.copy-up.renamed-over"
        "What is no regular file is renamed to its name when it is copied up, and so replaces what has the name by now."
        "fs/overlayfs/copy_up.c ovl_copy_up_workdir()"
        until (7, 3) ended [(6, 12, 117)] probe "overlay.copy_up.replaces"
        quirk "POSIX: fchmod(2) changes the open file alone";
    COPY_UP_REMOVED_DIR "overlay.copy-up.removed-directory"
        "A directory does not replace the whiteout that has its name: ENOTDIR."
        "fs/overlayfs/copy_up.c ovl_copy_up_workdir()"
        quirk "POSIX: fchmod(2) works on an open directory that was removed";
    COPY_UP_CLEARED "overlay.copy-up.cleared-directory"
        "What is no regular file and lay in a directory that was removed with whiteouts in it is not copied up any \
         more: EIO, for that directory ended in the work directory."
        "fs/overlayfs/dir.c ovl_clear_empty(); fs/overlayfs/copy_up.c ovl_copy_up_workdir(), lock_rename()"
        quirk "POSIX: fchmod(2) works on an open directory that was removed";
    COPY_UP_REPLACES_DIR "overlay.copy-up.replaces-directory"
        "It is where a directory has its name by now, and takes the place of that one if nothing is in it."
        "fs/overlayfs/copy_up.c ovl_copy_up_workdir()"
        quirk "POSIX: fchmod(2) changes the mode of the open file alone"
        breaks Remount;
    METACOPY "overlay.copy-up.metacopy"
        "With metacopy=on a change of metadata copies no data."
        "overlayfs.rst, Metadata only copy up"
        since (4, 19);
    UPPER_BECAME_READONLY "overlay.write.upper-read-only"
        "Nothing is written where the upper layer's file system is read-only by now: EROFS."
        "fs/overlayfs/util.c ovl_want_write()";

    // ---- names ----
    MKNOD_WHITEOUT "overlay.mknod.whiteout"
        "The character device 0:0 is not made through an overlay: EPERM."
        "fs/overlayfs/dir.c ovl_mknod(); mknod(2), EPERM";
    MKDIR_OPAQUE "overlay.mkdir.opaque"
        "With index, metacopy, redirect_dir or xino=on a new directory in a merged one is opaque."
        "fs/overlayfs/dir.c ovl_create_upper()";
    MKDIR_ALWAYS_OPAQUE "overlay.mkdir.always-opaque"
        "A new directory in a merged one is opaque, whatever the options."
        "fs/overlayfs/dir.c ovl_create_upper(), commit \"ovl: do not set overlay.opaque for new directories\""
        until (5, 15);
    MKDIR_OVER_WHITEOUT "overlay.mkdir.over-whiteout"
        "A directory that takes the place of a whiteout is opaque."
        "overlayfs.rst, Whiteouts and opaque directories; fs/overlayfs/dir.c ovl_create_over_whiteout()";
    OPAQUE_NEEDS_XATTRS "overlay.opaque.no-xattrs"
        "A directory that must become opaque cannot be made, removed or moved where the upper layer \
         takes no such attribute: EIO, or EXDEV from rename, and what was copied up for it stays."
        "fs/overlayfs/dir.c ovl_set_opaque_xerr()"
        quirk "POSIX: a call that fails leaves the files as they were"
        breaks Trace;
    TMPFILE "overlay.open.tmpfile"
        "O_TMPFILE makes a file without a name in the upper layer."
        "fs/overlayfs/dir.c ovl_tmpfile(), commit 9a2544037600"
        since (6, 10);
    REMOVE_LEAVES_WHITEOUT "overlay.remove.whiteout"
        "Removing a name that a lower layer has leaves a whiteout in the upper layer."
        "overlayfs.rst, Whiteouts and opaque directories; fs/overlayfs/dir.c ovl_do_remove()";
    REMOVE_NOT_EMPTY "overlay.remove.not-empty"
        "A merged directory in which a name is seen is not removed or replaced: ENOTEMPTY."
        "fs/overlayfs/readdir.c ovl_check_empty_dir()";
    WHITEOUTS_SHARED "overlay.remove.shared-whiteout"
        "The whiteouts of an overlay are hard links to one inode."
        "fs/overlayfs/dir.c ovl_whiteout()"
        since (5, 8);
    RENAME_WHITEOUT "overlay.rename.whiteout-flag"
        "RENAME_WHITEOUT is refused on an overlay: EINVAL."
        "fs/overlayfs/dir.c ovl_rename()";
    RENAME_DIR_EXDEV "overlay.rename.dir-exdev"
        "A directory that lies on a lower layer is not renamed without redirect_dir=on: EXDEV."
        "overlayfs.rst, Renaming directories";
    RENAME_LEAVES_WHITEOUT "overlay.rename.whiteout"
        "Renaming what a lower layer has leaves a whiteout under the old name."
        "fs/overlayfs/dir.c ovl_rename()";
    RENAME_OPAQUE "overlay.rename.opaque"
        "A directory of the upper layer that is moved into a merged one becomes opaque."
        "fs/overlayfs/dir.c ovl_rename()";
    RENAME_OPAQUE_FIRST "overlay.rename.opaque-first"
        "It becomes opaque before it is moved, and stays so where it then cannot be."
        "fs/overlayfs/dir.c ovl_rename()"
        quirk "POSIX: a call that fails leaves the files as they were"
        breaks Trace;
    RENAME_REDIRECT_FIRST "overlay.rename.redirect-first"
        "What a lower layer has gets its redirect before it is moved, and keeps that where it then cannot be."
        "fs/overlayfs/dir.c ovl_rename() ovl_set_redirect()"
        quirk "POSIX: a call that fails leaves the files as they were"
        breaks Trace;
    REDIRECT_TOO_LONG "overlay.rename.redirect-too-long"
        "A redirect of more than 256 bytes is not made: EXDEV."
        "fs/overlayfs/dir.c ovl_redirect_max";

    // ---- attributes ----
    MERGED_NLINK "overlay.stat.merged-nlink"
        "A merged directory has one link."
        "fs/overlayfs/inode.c ovl_getattr()"
        quirk "inode(7) says that this is the number of hard links";
    NLINK_OF_UPPER "overlay.stat.index-nlink"
        "A copied-up file whose origin has one link is taken to have as many as its upper file, and so one for \
         its entry in the index."
        "fs/overlayfs/inode.c ovl_get_nlink()"
        until (7, 3) ended [(6, 12, 117)]
        quirk "inode(7) says that this is the number of hard links"
        breaks Remount;
    METACOPY_BLOCKS "overlay.stat.metacopy-blocks"
        "A file without data shows the blocks of the file that has them."
        "fs/overlayfs/inode.c ovl_getattr()";
    INO_OF_ORIGIN "overlay.stat.origin-ino"
        "A copied-up file keeps the inode number of its origin."
        "overlayfs.rst, Inode properties"
        since (4, 12);
    DEV_OF_LAYER "overlay.stat.layer-dev"
        "With layers on several file systems and without xino, a file has a device number for each of \
         them."
        "overlayfs.rst, Inode properties";
    OWN_ATTRIBUTES "overlay.permission.own-attributes"
        "Rights are decided by the mode and owners that the overlay read of a file when it changed it or found it \
         last, though its layer has others since."
        "fs/overlayfs/util.c ovl_copyattr(); fs/overlayfs/inode.c ovl_permission()"
        quirk "POSIX: whoever may use a file is decided by the mode that stat(2) tells";
    NO_PRIVILEGES_KEPT "overlay.permission.no-privileges-kept"
        "A file that had no set-ID bits when it was written to keeps those that it was given since by way of another \
         inode of the overlay, when it is truncated by way of the first."
        "fs/overlayfs/super.c ovl_get_upper() inherits SB_NOSEC; fs/attr.c notify_change() takes S_NOSEC from one inode";
    MOUNTERS_RIGHTS "overlay.permission.mounter"
        "What is done with a layer takes the rights of the process that mounted the overlay."
        "overlayfs.rst, Permission model";
    OPEN_FILE_SEES_COPY "overlay.read.sees-copy"
        "A file that was opened before it was copied up reads what is written to the copy."
        "overlayfs.rst, Non-standard behavior; fs/overlayfs/file.c"
        since (4, 19);

    // ---- extended attributes ----
    XATTR_HIDDEN "overlay.xattr.hidden"
        "The overlay's own attributes are not listed through it."
        "overlayfs.rst, Nesting overlayfs mounts; fs/overlayfs/xattrs.c ovl_listxattr()";
    XATTR_ESCAPED "overlay.xattr.escaped"
        "An attribute of the overlay's prefix that is set or read through it is an escaped one below."
        "overlayfs.rst, Nesting overlayfs mounts; fs/overlayfs/xattrs.c ovl_own_xattr_set()"
        since (6, 7);
    XATTR_HIDDEN_OLD "overlay.xattr.refused"
        "An attribute of the overlay's prefix is not set or read through it: EOPNOTSUPP."
        "fs/overlayfs/super.c ovl_own_xattr_set()"
        until (6, 7);
    SETXATTR_COPIES_UP_FIRST "overlay.xattr.copies-up-first"
        "setxattr(2) copies a lower file up before it is known whether the attribute can be set."
        "fs/overlayfs/xattrs.c ovl_xattr_set()"
        quirk "POSIX: a call that fails leaves the file as it was"
        breaks Trace;
    REMOVE_MISSING_XATTR "overlay.xattr.remove-missing"
        "Removing an attribute that a lower file does not have copies nothing up: ENODATA."
        "fs/overlayfs/xattrs.c ovl_xattr_set()";
}
