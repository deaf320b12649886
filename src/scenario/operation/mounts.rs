//! Operations on the mount table, by mount(2) and by the new mount API, and on what is mounted: disks, FUSE.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::scenario::scalar::{IdMap, Name, StepPath};
use crate::scenario::words::{
    FsCommand, MountApi, MountAttribute, MountFlag, Mounter, OpenTreeFlag, PropagationType,
    UmountFlag,
};

operations! {
    Mounts;

    /// Mounts a file system by mount(2).
    Mount = "mount" {
        /// The type, as in /proc/filesystems.
        #[serde(rename = "type")]
        kind: String,
        /// The mount point.
        at: StepPath,
        /// The source; the type's name if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// Flags of mount(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<MountFlag>,
        /// The type's own options.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    } gives {}

    /// Mounts an overlay, by mount(2) or by the new mount API.
    Overlay = "overlay" {
        /// The mount point.
        at: StepPath,
        /// The lower layers, topmost first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lower: Vec<StepPath>,
        /// Data-only lower layers, behind the lower ones.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        data: Vec<StepPath>,
        /// The upper layer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upper: Option<StepPath>,
        /// The work directory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        work: Option<StepPath>,
        /// Other options, as in `redirect_dir=on`. A rootless overlay keeps its marks in `user.*`
        /// attributes only if `userxattr` is given.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
        /// Flags of mount(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<MountFlag>,
        /// Which interface mounts it; `classic` if left out. With `new` the kernel's message is in the report.
        #[serde(default, skip_serializing_if = "is_classic")]
        api: MountApi,
        /// Who mounts it, where it matters: `kernel` or `program`. The program that the run names by `--overlay`
        /// if left out, and the kernel if it names none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Mounter>,
    } gives {}

    /// Binds a directory or file to another place by mount(2) with `MS_BIND`.
    Bind = "bind" {
        /// What is bound.
        from: StepPath,
        /// The mount point.
        at: StepPath,
    } gives {}

    /// Binds a directory with all mounts below it by mount(2) with `MS_BIND|MS_REC`.
    Rbind = "rbind" {
        /// What is bound.
        from: StepPath,
        /// The mount point.
        at: StepPath,
    } gives {}

    /// Moves a mount by mount(2) with `MS_MOVE`.
    Move = "move" {
        /// The mount point now.
        from: StepPath,
        /// The new mount point.
        at: StepPath,
    } gives {}

    /// Unmounts by umount2(2).
    Umount = "umount" {
        /// The mount point.
        at: StepPath,
        /// Flags of umount2(2): `detach`, `force`, `expire`, `nofollow`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<UmountFlag>,
    } gives {}

    /// Changes a mount by mount(2) with `MS_REMOUNT`; flags that are left out are cleared.
    Remount = "remount" {
        /// The mount point.
        at: StepPath,
        /// Changes this mount only and not its file system (`MS_BIND`).
        #[serde(default, skip_serializing_if = "is_false")]
        bind: bool,
        /// Flags of mount(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<MountFlag>,
        /// The file system's own options.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    } gives {}

    /// Changes a mount's propagation type by mount(2).
    Propagation = "propagation" {
        /// The mount point.
        at: StepPath,
        /// The new type.
        #[serde(rename = "type")]
        kind: PropagationType,
        /// Changes all mounts below too (`MS_REC`).
        #[serde(default, skip_serializing_if = "is_false")]
        recursive: bool,
    } gives {}

    /// Asks whether a place is the root of a mount in the actor's namespace (`STATX_ATTR_MOUNT_ROOT`).
    Mounted = "mounted" {
        /// The place.
        at: StepPath,
    } gives { "mounted" Bool: "true or false; `expect: true` is short for it" }

    /// Attaches a file to a free loop device (`LOOP_CONFIGURE`), as losetup(8) does, and makes the
    /// device's node, which is then the source of a `mount`. The device is freed when nobody uses it any
    /// more: when it was unmounted and whoever attached it has ended.
    Losetup = "losetup" {
        /// The file that holds a file system, as `image` in a tree makes it.
        file: StepPath,
        /// Where the block device's node is made. It can be opened only where devices are allowed: the
        /// sandbox's own file system is mounted with `nodev`, a tmpfs of the scenario is not.
        at: StepPath,
        /// Whether what is mounted of it can only be read (`LO_FLAGS_READ_ONLY`).
        #[serde(default, skip_serializing_if = "is_false")]
        read_only: bool,
    } gives {}

    /// Mounts a directory once more through FUSE: a process of nsharness serves it for as long as the
    /// scenario runs, and does with the files what is asked for as the user and group that ask, with none
    /// of their capabilities or supplementary groups.
    Fuse = "fuse" {
        /// The directory that is served.
        from: StepPath,
        /// The mount point.
        at: StepPath,
        /// The node of the FUSE device, `10:229`, that is opened. One that nobody else sees if left out:
        /// that takes real root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<StepPath>,
        /// Options of the mount, as in `allow_other` and `default_permissions`; `fd`, `rootmode`, `user_id`
        /// and `group_id` are given by themselves.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
        /// Flags of mount(2).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<MountFlag>,
    } gives {}

    /// Opens a file system context by fsopen(2), kept under the name `fd`.
    Fsopen = "fsopen" {
        /// The type, as in /proc/filesystems.
        #[serde(rename = "type")]
        kind: String,
        /// The name that later steps use for the context.
        fd: Name,
    } gives {}

    /// Sets a parameter of a context, or creates its file system, by fsconfig(2). The kernel's
    /// message is in the report.
    Fsconfig = "fsconfig" {
        /// The name of the context.
        fd: Name,
        /// The parameter; or give `command`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The parameter's value; without one it is a flag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// The name of an open file as the parameter's value (`FSCONFIG_SET_FD`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value_fd: Option<Name>,
        /// What to do with the context instead of setting a parameter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<FsCommand>,
    } gives {}

    /// Makes a detached mount of a context by fsmount(2), kept under the name `mount`.
    Fsmount = "fsmount" {
        /// The name of the context.
        fd: Name,
        /// The name that later steps use for the mount.
        mount: Name,
        /// Attributes of the mount.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attributes: Vec<MountAttribute>,
    } gives {}

    /// Picks a mount, or a detached copy of it, by open_tree(2), kept under the name `mount`.
    OpenTree = "open_tree" {
        /// The path.
        path: StepPath,
        /// Flags of open_tree(2): `clone`, `recursive`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        flags: Vec<OpenTreeFlag>,
        /// The name that later steps use for the mount.
        mount: Name,
    } gives {}

    /// Attaches or moves a mount by move_mount(2).
    MoveMount = "move_mount" {
        /// The name of a mount; or give `from`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<Name>,
        /// The mount point now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<StepPath>,
        /// The new mount point.
        at: StepPath,
        /// Mounts beneath the topmost mount there (`MOVE_MOUNT_BENEATH`, Linux 6.5).
        #[serde(default, skip_serializing_if = "is_false")]
        beneath: bool,
        /// Moves nothing: the mount at `at` joins the peer group of `mount` or `from`
        /// (`MOVE_MOUNT_SET_GROUP`, Linux 5.15).
        #[serde(default, skip_serializing_if = "is_false")]
        set_group: bool,
    } gives {}

    /// Changes a mount's attributes by mount_setattr(2); attributes that are left out stay.
    MountSetattr = "mount_setattr" {
        /// The path of the mount; or give `mount`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<StepPath>,
        /// The name of a mount.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<Name>,
        /// Changes all mounts below too, or none (`AT_RECURSIVE`).
        #[serde(default, skip_serializing_if = "is_false")]
        recursive: bool,
        /// Attributes to set.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        set: Vec<MountAttribute>,
        /// Attributes to clear.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        clear: Vec<MountAttribute>,
        /// The new propagation type.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        propagation: Option<PropagationType>,
        /// Makes it an idmapped mount by a user namespace with these maps (`MOUNT_ATTR_IDMAP`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idmap: Option<IdMaps>,
    } gives {}
}

/// The maps of a user namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdMaps {
    /// Lines of uid_map: `[inside, outside, count]`.
    pub uid_map: IdMap,
    /// Lines of gid_map: `[inside, outside, count]`.
    pub gid_map: IdMap,
}

fn is_classic(api: &MountApi) -> bool {
    *api == MountApi::Classic
}
