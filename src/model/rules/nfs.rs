//! Rules of the family `nfs`: what the client leaves to the server, and how the server decides.

rules! {
    WIRE_IDS "nfs.wire.ids"
        "The server hears of the ids in the first user namespace, and of no capability."
        "RFC 5531, AUTH_SYS; net/sunrpc/auth_unix.c";
    ROOT_OF_SERVER "nfs.server.root"
        "User 0 on the wire that is not squashed is root to the server, whatever capabilities it has at home."
        "exports(5), no_root_squash; fs/nfsd/auth.c nfsd_setuser()";
    ROOT_SQUASH "nfs.squash.root"
        "With root_squash ids 0 on the wire are those of the anonymous user, anonuid and anongid or 65534."
        "exports(5), root_squash; fs/nfsd/auth.c nfsd_setuser()";
    ALL_SQUASH "nfs.squash.all"
        "With all_squash all ids on the wire are those of the anonymous user, who has no supplementary groups."
        "exports(5), all_squash; fs/nfsd/auth.c nfsd_setuser()";
    WIRE_GROUPS "nfs.wire.groups"
        "The client sends the 16 supplementary groups with the lowest numbers, and no others."
        "RFC 5531, AUTH_SYS; net/sunrpc/auth_unix.c unx_create_cred()";
    MANAGE_GIDS "nfs.server.manage-gids"
        "A server that looks groups up itself takes a user to have those, and none that the client sends."
        "rpc.mountd(8), --manage-gids; net/sunrpc/svcauth_unix.c unix_gid_find()";
    MANAGE_GIDS_UNKNOWN "nfs.server.manage-gids-unknown"
        "Of a user of whom it knows no group it takes what the client sends."
        "net/sunrpc/svcauth_unix.c unix_gid_parse()"
        since (7, 3) backports [(6, 12, 117)];
    ACCESS_DIRECTORY "nfs.access.directory"
        "To a server, who may write to a directory may also search it, so that access(2) for writing asks for both."
        "RFC 8881, 18.1; fs/nfsd/vfs.c nfsd_access()";
    READ_ONLY "nfs.export.read-only"
        "Of an export with ro nothing is changed, whoever asks: EROFS."
        "exports(5), ro; fs/nfsd/vfs.c nfsd_permission()";
    READ_ONLY_ACCESS "nfs.export.read-only-access"
        "Where the client asks first whether a file may be written to, an export with ro makes it EACCES."
        "RFC 8881, 18.1; fs/nfs/dir.c nfs_permission()";
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
