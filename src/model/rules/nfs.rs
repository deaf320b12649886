//! Rules of the family `nfs`: what the client leaves to the server, and how the server decides.

rules! {
    WIRE_IDS "nfs.wire.ids"
        "The server hears of the ids in the first user namespace, and of no capability."
        "RFC 5531, AUTH_SYS; net/sunrpc/auth_unix.c";
    ROOT_OF_SERVER "nfs.server.root"
        "User 0 on the wire that is not squashed is root to the server, whatever capabilities it has at home."
        "exports(5), no_root_squash; fs/nfsd/auth.c nfsd_setuser()";
    ROOT_SQUASH "nfs.squash.root"
        "With root_squash ids 0 on the wire are those of the anonymous user, 65534."
        "exports(5), root_squash";
    ALL_SQUASH "nfs.squash.all"
        "With all_squash all ids on the wire are those of the anonymous user, 65534."
        "exports(5), all_squash";
    SERVER_DECIDES "nfs.client.server-decides"
        "The client makes no check of its own before it has the server change attributes."
        "fs/nfs/inode.c nfs_setattr()";
    XATTR_USER "nfs.xattr.user"
        "Version 4.2 has attributes of user.*."
        "RFC 8276; fs/nfs/nfs4proc.c nfs4_xattr_handlers"
        since (5, 9);
    XATTR_PREFIX "nfs.xattr.prefix"
        "Over NFS there are no attributes but of user.*: EOPNOTSUPP."
        "RFC 8276; fs/nfs/nfs4proc.c nfs4_xattr_handlers";
    RENAME_FLAGS "nfs.rename.flags"
        "Over NFS there are no flags of renameat2(2): EINVAL."
        "rename(2), EINVAL; fs/nfs/dir.c nfs_rename()";
}
