//! Rules of the family `disk`: file systems on block devices, and in what they differ.

rules! {
    SOURCE_NODEV "disk.source.nodev"
        "A block device is not mounted by a node on a mount with nodev or on a file system of a user \
         namespace: EACCES."
        "mount(2), EACCES; block/bdev.c lookup_bdev(), may_open_dev()";
    WRONG_SUPERBLOCK "disk.superblock"
        "A block device that holds no file system of the type is not mounted: EINVAL."
        "mount(2), EINVAL";
    READ_ONLY_DEVICE "disk.read-only-device"
        "A block device that cannot be written to is mounted read-only or not at all: EACCES."
        "mount(2), EACCES; fs/super.c setup_bdev_super()";
    OTHER_READ_ONLY "disk.again.read-only"
        "A file system is not mounted once more as read-only where it is writable, or the other way round: \
         EBUSY."
        "mount(2), EBUSY; fs/super.c get_tree_bdev_flags()";
    BTRFS_AGAIN "disk.btrfs.again"
        "Btrfs is mounted once more as read-only or writable as one likes: the file system is writable as \
         soon as one of its mounts is."
        "fs/btrfs/super.c btrfs_get_tree_subvol(), commit 0723a0473fb4";
    BTRFS_LINKS "disk.btrfs.links"
        "A directory of Btrfs has one link, whatever is in it."
        "fs/btrfs/inode.c btrfs_new_inode_prepare()";
    BTRFS_TRUSTED_LIST "disk.btrfs.trusted-list"
        "Btrfs lists attributes of trusted.* for everybody."
        "fs/btrfs/xattr.c btrfs_listxattr()"
        quirk "xattr(7) says that they are visible to processes with CAP_SYS_ADMIN alone";
    IDMAP_FIRST "disk.idmap"
        "A mount of ext4 and XFS can be idmapped."
        "fs/ext4/super.c and fs/xfs/xfs_super.c FS_ALLOW_IDMAP, commits 14f3db5542e9, f736d93d76d3"
        since (5, 12);
    IDMAP_BTRFS "disk.idmap.btrfs"
        "A mount of Btrfs can be idmapped."
        "fs/btrfs/super.c FS_ALLOW_IDMAP, commit 5b9b26f5d0b8"
        since (5, 15);
}
