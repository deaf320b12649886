//! Rules of the family `idmap`: what an idmapped mount shows, stores and refuses.

rules! {
    SEEN "idmap.owner.seen"
        "Through an idmapped mount an owner is the id that the mount maps the stored one to, and none where it maps it to none."
        "mount_setattr(2), ID-mapped mounts; Documentation/filesystems/idmappings.rst"
        since (5, 12);
    STORED "idmap.owner.stored"
        "Through an idmapped mount the id that is stored is the one that the mount maps from."
        "mount_setattr(2), ID-mapped mounts; Documentation/filesystems/idmappings.rst"
        since (5, 12);
    WRITE_UNMAPPED "idmap.write.unmapped-owner"
        "A file whose owner or group the mount maps to no id is not written to, whatever its mode: EACCES."
        "fs/namei.c inode_permission() HAS_UNMAPPED_ID()";
    CHANGE_UNMAPPED "idmap.change.unmapped-owner"
        "A file whose owner or group the mount maps to no id is not changed, unless it is given a new one: EOVERFLOW."
        "fs/attr.c notify_change()";
    CHOWN_UNSTORABLE "idmap.chown.unstorable"
        "A file is not given to an id that the mount's map or the file system's user namespace does not have: EOVERFLOW."
        "fs/attr.c notify_change() vfsuid_has_fsmapping()";
    XATTR_UNMAPPED "idmap.xattr.unmapped-owner"
        "A file whose owner or group the mount maps to no id gets and loses no extended attributes: EPERM."
        "fs/xattr.c may_write_xattr()";
}
