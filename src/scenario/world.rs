//! The state before the first step: trees, mounts, actors and NFS exports.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::container::{Container, RUNTIME_DIRECTORIES};
use super::decode::Errors;
use super::operation::{Namespace, Operation};
use super::scalar::{
    Capability, DeviceNumber, IdMap, Mode, Name, ProgramName, StepPath, WorldPath,
};
use super::yaml::{Kind, Node};

/// The keys of `world:`.
pub const WORLD_KEYS: &[&str] = &["tree", "mounts", "actors", "nfs", "container"];
/// The operations that `world.mounts` may hold; `tree` stands there too.
pub const WORLD_MOUNTS: &[&str] = &[
    "tree",
    "mount",
    "overlay",
    "bind",
    "rbind",
    "move",
    "remount",
    "propagation",
    "losetup",
    "fuse",
];
/// The words that a tree entry without further keys may be.
pub const ENTRY_WORDS: &[&str] = &["dir", "file", "fifo", "socket"];
/// Most actors of one scenario.
pub const MAX_ACTORS: usize = 16;
/// Most entries in all trees of a world.
pub const MAX_ENTRIES: usize = 10_000;
/// Most bytes of content in one file of a tree.
pub const MAX_FILE_SIZE: u64 = 16 << 20;

/// The directories of the root that the loaders and libraries of programs of the system are in.
pub const LIBRARY_DIRECTORIES: &[&str] = &["lib", "lib64", "usr"];

/// The state before the first step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct World {
    /// What is set up, in order.
    pub setup: Vec<Setup>,
    /// The processes, by name; `main` is always there.
    pub actors: BTreeMap<Name, Actor>,
    /// The exports that stand beside the world.
    #[serde(with = "nothing_if_empty")]
    pub nfs: Vec<Nfs>,
    /// The container that a runtime makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
}

impl World {
    /// What its trees are made of.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let trees = self.setup.iter().filter_map(|setup| match setup {
            Setup::Tree(tree) => Some(tree),
            Setup::Mount { .. } => None,
        });
        trees.flat_map(BTreeMap::values)
    }

    /// The paths of all entries.
    pub fn paths(&self) -> impl Iterator<Item = &WorldPath> {
        let trees = self.setup.iter().filter_map(|setup| match setup {
            Setup::Tree(tree) => Some(tree),
            Setup::Mount { .. } => None,
        });
        trees.flat_map(BTreeMap::keys)
    }

    /// The programs of the system that it has.
    pub fn programs(&self) -> BTreeSet<&ProgramName> {
        let programs = self.entries().filter_map(|entry| match &entry.kind {
            EntryKind::Program(program) => Some(program),
            _ => None,
        });
        programs.filter(|program| !program.is_own()).collect()
    }
}

/// One part of the world.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Setup {
    /// Files and directories; parents come first.
    Tree(BTreeMap<WorldPath, Entry>),
    /// A change of the mount table, performed as the step of the same name.
    Mount {
        /// The line of the scenario file, from one.
        line: usize,
        /// What is done.
        operation: Operation,
    },
}

/// One file of a tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, whatever the umask.
    pub mode: Option<Mode>,
    /// The owner, as an id of the sandbox.
    pub uid: Option<u32>,
    /// The group, as an id of the sandbox.
    pub gid: Option<u32>,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, String>,
}

/// What a tree entry is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum EntryKind {
    /// A directory.
    Dir,
    /// A regular file with its content.
    File(String),
    /// A regular file of this many zero bytes, without blocks.
    Sparse(u64),
    /// A symbolic link with its target.
    Symlink(String),
    /// One more name of another entry.
    Hardlink(WorldPath),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device; `0:0` is a whiteout.
    Char(DeviceNumber),
    /// A block device.
    Block(DeviceNumber),
    /// A program.
    Program(ProgramName),
    /// A regular file that holds an empty file system.
    Image(Image),
}

/// The file systems of which an empty one comes with nsharness, to be attached by `losetup` and mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// ext4 of 1 MiB, without a journal.
    Ext4,
    /// XFS of 16 MiB.
    Xfs,
    /// Btrfs of 18 MiB, with mixed block groups.
    Btrfs,
}

impl Image {
    /// The type of the file system, as in /proc/filesystems.
    pub fn file_system(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

/// A tree entry as it is written when it is more than one word.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Entry")]
pub struct EntryKeys {
    /// What it is, where no other key says so.
    #[serde(rename = "type", default)]
    kind: Option<EntryWord>,
    /// A regular file with this content.
    #[serde(default)]
    file: Option<String>,
    /// A regular file of this many zero bytes, without blocks.
    #[serde(default)]
    sparse: Option<u64>,
    /// A symbolic link with this target.
    #[serde(default)]
    symlink: Option<String>,
    /// One more name of the entry at this path.
    #[serde(default)]
    hardlink: Option<WorldPath>,
    /// A character device; `"0:0"` is a whiteout.
    #[serde(default)]
    char: Option<DeviceNumber>,
    /// A block device.
    #[serde(default)]
    block: Option<DeviceNumber>,
    /// A program to be run by `exec`: `credentials`, which comes with nsharness, or one of the system by its
    /// name, as `sh`. It is looked for in PATH; its loader and libraries are at their own paths below
    /// /lib, /lib64 and /usr, which the world then has for that. A scenario whose program is not there is
    /// skipped.
    #[serde(default)]
    program: Option<ProgramName>,
    /// A regular file that holds an empty file system of this type, to be attached by `losetup`.
    #[serde(default)]
    image: Option<Image>,
    /// Permission bits, whatever the umask; 0755 for a directory or program, 0644 for the rest.
    #[serde(default)]
    mode: Option<Mode>,
    /// The owner; 0 if left out.
    #[serde(default)]
    uid: Option<u32>,
    /// The group; 0 if left out.
    #[serde(default)]
    gid: Option<u32>,
    /// Extended attributes, by their whole names.
    #[serde(default)]
    xattrs: BTreeMap<String, String>,
}

/// A tree entry that is one word.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryWord {
    /// A directory.
    Dir,
    /// An empty regular file.
    File,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl From<EntryWord> for EntryKind {
    fn from(word: EntryWord) -> Self {
        match word {
            EntryWord::Dir => Self::Dir,
            EntryWord::File => Self::File(String::new()),
            EntryWord::Fifo => Self::Fifo,
            EntryWord::Socket => Self::Socket,
        }
    }
}

/// A process of the world, with its own credentials, namespaces, root and open files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Actor {
    /// The user id in the sandbox that it starts as, real, effective and saved; 0 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group id in the sandbox that it starts as; the user id's number if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
    /// A user namespace of its own, created as `uid`; the actor goes on as id 0 in it if 0 is mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userns: Option<Userns>,
    /// Other namespaces of its own, created after the user namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unshare: Vec<Namespace>,
    /// Its root directory, entered by chroot(2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<StepPath>,
    /// Its working directory; the root of the sandbox if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<StepPath>,
    /// The capabilities that it keeps, permitted and effective; what the kernel leaves it if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps: Option<Vec<Capability>>,
    /// Whether no_new_privs is set.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privs: bool,
    /// The file mode creation mask; 0022 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<Mode>,
}

/// A user namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Userns {
    /// Lines of uid_map, `[inside, outside, count]`, outside as ids of the sandbox; none leaves it unmapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid_map: Option<IdMap>,
    /// Lines of gid_map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid_map: Option<IdMap>,
    /// Writes `deny` into setgroups before the maps.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deny_setgroups: bool,
}

/// A directory exported over NFS by the kernel and mounted back, by a client of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nfs {
    /// The directory that is exported.
    pub export: WorldPath,
    /// Where it is mounted.
    pub at: WorldPath,
    /// The protocol version.
    pub version: NfsVersion,
    /// Which ids the server maps to the anonymous one.
    pub squash: Squash,
    /// The user that squashed users are; 65534 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonuid: Option<u32>,
    /// The group that squashed groups are; 65534 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anongid: Option<u32>,
    /// Whether the server refuses changes; what the mount allows is another matter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ro: bool,
    /// The supplementary groups of users as the server has them, by user id on the wire: it asks no client
    /// for them, as with `rpc.mountd --manage-gids`. Other users have none then. This holds for all exports
    /// of the world.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub manage_gids: BTreeMap<u32, Vec<u32>>,
}

impl Nfs {
    /// The user and the group that squashed ones are.
    pub fn anonymous(&self) -> (u32, u32) {
        (self.anonuid.unwrap_or(ANONYMOUS), self.anongid.unwrap_or(ANONYMOUS))
    }
}

/// The anonymous user and group where an export does not say, as in exports(5).
const ANONYMOUS: u32 = 65534;
/// Most exports of one world.
pub const MAX_EXPORTS: usize = 8;

/// A list that is nothing where it is empty: so plans without it are as they always were, and what was
/// recorded of them holds.
mod nothing_if_empty {
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(list: &[T], to: S) -> Result<S::Ok, S::Error> {
        Some(list).filter(|list| !list.is_empty()).serialize(to)
    }

    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        Option::deserialize(from).map(Option::unwrap_or_default)
    }
}

/// A protocol version of NFS. Version 3 is not among them: its server must be registered with
/// rpcbind(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NfsVersion {
    /// NFS version 4.0.
    #[serde(rename = "4.0")]
    V40,
    /// NFS version 4.1.
    #[serde(rename = "4.1")]
    V41,
    /// NFS version 4.2.
    #[serde(rename = "4.2")]
    V42,
}

/// Which ids an NFS server maps to the anonymous one, as in exports(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Squash {
    /// None.
    None,
    /// Id 0.
    Root,
    /// Every id.
    All,
}

/// Decodes `world:`; what is wrong is added to the errors.
pub fn decode(node: Option<&Node>, errors: &Errors) -> World {
    let mut world = World::default();
    world.actors.insert("main".parse().expect("a name"), Actor::default());
    let Some(node) = node else { return world };
    if !matches!(node.kind, Kind::Mapping(_)) {
        errors
            .at(
                &node.span,
                format!("wrong type: expected a mapping with {}", WORLD_KEYS.join(", ")),
            )
            .label(format!("this is {}", node.describe()));
        return world;
    }
    errors.known_keys(node, WORLD_KEYS);
    let mut entries = 0;
    if let Some(tree) = node.get("tree") {
        world.setup.push(Setup::Tree(decode_tree(tree, errors, &mut entries)));
    }
    for item in errors.list(node.get("mounts"), "a list of mounts") {
        world.setup.extend(decode_mount(item, errors, &mut entries));
    }
    let actors = errors.mapping(node.get("actors"), "a mapping from names to actors");
    for (key, value) in actors.iter().take(2 * MAX_ACTORS) {
        let actor: Option<Actor> = errors.decode(value);
        for key in ["root", "cwd"] {
            let path = value.get(key).filter(|node| {
                node.text()
                    .and_then(|text| text.parse::<StepPath>().ok())
                    .is_some_and(|path| path.climbs_out())
            });
            if let Some(path) = path {
                errors
                    .at(&path.span, format!("{} leaves the sandbox by `..`", path.describe()))
                    .hint("an actor starts at the root of the sandbox; name the place from there");
            }
        }
        no_minus_one(value, errors, OWN_IDS);
        if let Some(userns) = value.get("userns") {
            check_extents(userns, errors);
        }
        // An actor that is wrong is there all the same: its steps are not wrong for that.
        if let Some(name) = errors.decode::<Name>(key) {
            world.actors.insert(name, actor.unwrap_or_default());
        }
    }
    world.nfs = decode_nfs(node.get("nfs"), errors);
    if let Some(container) = node.get("container") {
        world.container = Some(errors.decode(container).unwrap_or_default());
        let used = RUNTIME_DIRECTORIES;
        nothing_in(used, node, errors, |top| format!("/{top} is the runtime's"));
    }
    if !world.programs().is_empty() || world.container.is_some() {
        nothing_in(LIBRARY_DIRECTORIES, node, errors, |top| {
            format!("/{top} has the libraries of the programs of this world")
        });
    }
    world
}

/// Decodes `nfs:`, one export or a list of them.
fn decode_nfs(node: Option<&Node>, errors: &Errors) -> Vec<Nfs> {
    let Some(node) = node else { return Vec::new() };
    let one = std::slice::from_ref(node);
    let nodes = if matches!(node.kind, Kind::Mapping(_)) {
        one
    } else {
        errors.list(Some(node), "an export or a list of exports")
    };
    if let Some(node) = nodes.get(MAX_EXPORTS) {
        errors
            .at(&node.span, format!("{} exports, at most {MAX_EXPORTS} are allowed", nodes.len()))
            .hint("each of them has a client of its own");
    }
    for node in nodes {
        no_minus_one(node, errors, ["anonuid", "anongid"]);
    }
    let served = |node: &&Node| is_served(node, errors);
    nodes.iter().take(MAX_EXPORTS).filter(served).filter_map(|node| errors.decode(node)).collect()
}

/// Reports the version of NFS that is known and not served.
fn is_served(nfs: &Node, errors: &Errors) -> bool {
    let Some(version) = nfs.get("version").filter(|node| node.text() == Some("3")) else {
        return true;
    };
    errors
        .at(
            &version.span,
            "NFS version 3 cannot be had: its server must be registered with rpcbind(8)",
        )
        .hint("expected 4.0, 4.1 or 4.2");
    false
}

/// The keys of ids of an actor and of an entry.
const OWN_IDS: [&str; 2] = ["uid", "gid"];

/// Reports entries in directories of the root that are not for the world.
fn nothing_in(used: &[&str], world: &Node, errors: &Errors, why: impl Fn(&str) -> String) {
    let mounts = world.get("mounts").map_or(&[][..], Node::items);
    let trees = mounts.iter().chain([world]).filter_map(|node| node.get("tree"));
    for (key, _) in trees.flat_map(Node::entries) {
        let top =
            key.text().and_then(|path| path.split('/').find(|part| !matches!(*part, "" | ".")));
        if let Some(top) = top.filter(|top| used.contains(top)) {
            errors.at(&key.span, why(top)).hint("give the entry another place");
        }
    }
}

/// Reports ids that are -1 as the kernel sees them, which stands for no id.
fn no_minus_one(node: &Node, errors: &Errors, keys: [&str; 2]) {
    for key in keys {
        if let Some(id) =
            node.get(key).filter(|id| id.text().and_then(|t| t.parse().ok()) == Some(u32::MAX))
        {
            errors
                .at(&id.span, "4294967295 is the id -1, which stands for no id")
                .hint("the highest id is 4294967294");
        }
    }
}

/// Reports map lines that the kernel would refuse for every sandbox: id 0 is an extent of its own, and
/// a line of a map must lie within one extent of the parent's (user_namespaces(7)).
fn check_extents(userns: &Node, errors: &Errors) {
    for map in ["uid_map", "gid_map"] {
        for line in userns.get(map).map_or(&[][..], Node::items) {
            let numbers: Vec<u32> =
                line.items().iter().filter_map(|n| n.text()?.parse().ok()).collect();
            if let [inside, 0, count] = numbers[..]
                && count > 1
            {
                errors
                    .at(&line.span, "the line spans id 0 and others, which are two extents of the sandbox's own map")
                    .hint(format!("write two lines: [{inside}, 0, 1], [{}, 1, {}]", inside.saturating_add(1), count - 1));
            }
        }
    }
}

fn decode_tree(node: &Node, errors: &Errors, count: &mut usize) -> BTreeMap<WorldPath, Entry> {
    let mut tree: BTreeMap<WorldPath, Entry> = BTreeMap::new();
    let mut spans = Vec::new();
    for (key, value) in errors.mapping(Some(node), "a mapping from paths to entries") {
        *count += 1;
        if *count > MAX_ENTRIES {
            errors.at(
                &key.span,
                format!("more than {MAX_ENTRIES} entries in the trees of one world"),
            );
            break;
        }
        let path: Option<WorldPath> = errors.decode(key);
        if let (Some(path), Some(entry)) = (path, decode_entry(value, errors)) {
            if tree.contains_key(&path) {
                errors
                    .at(&key.span, format!("`{path}` stands twice in one tree"))
                    .hint("remove one of the two");
            }
            spans.push((path.clone(), key.span.clone(), value.span.clone()));
            tree.insert(path, entry);
        }
    }
    for (path, key, value) in spans {
        check_place(&path, &key, &value, &tree, errors);
    }
    tree
}

/// Reports an entry below one that is no directory, and a hard link to nothing.
fn check_place(
    path: &WorldPath,
    key: &Range<usize>,
    value: &Range<usize>,
    tree: &BTreeMap<WorldPath, Entry>,
    errors: &Errors,
) {
    for (at, _) in path.as_str().match_indices('/') {
        let above: Option<WorldPath> = path.as_str()[..at].parse().ok();
        let Some((above, entry)) = above.and_then(|above| tree.get_key_value(&above)) else {
            continue;
        };
        if !matches!(entry.kind, EntryKind::Dir | EntryKind::Symlink(_)) {
            errors.at(key, format!("`{above}` is no directory, so nothing can be below it"));
        }
    }
    let Some(Entry { kind: EntryKind::Hardlink(target), .. }) = tree.get(path) else { return };
    if !tree.contains_key(target) {
        errors.at(value, format!("a hard link to `{target}`, which is not in this tree")).choices(
            target.as_str(),
            tree.keys().filter(|other| *other != path).map(WorldPath::as_str),
        );
    }
}

fn decode_mount(node: &Node, errors: &Errors, count: &mut usize) -> Option<Setup> {
    let (line, _) = errors.source().line_column(node.span.start);
    if let [(key, value)] = node.entries() {
        let word = key.text().unwrap_or_default();
        if word == "tree" {
            return Some(Setup::Tree(decode_tree(value, errors, count)));
        }
        if !WORLD_MOUNTS.contains(&word) {
            errors
                .at(&key.span, format!("`{}` is not a mount of the world", word.escape_debug()))
                .choices(word, WORLD_MOUNTS.iter().copied());
            return None;
        }
    }
    let operation = errors.decode(node)?;
    for (key, value) in node.entries().first().map_or(&[][..], |(_, body)| body.entries()) {
        match key.text().unwrap_or_default() {
            "at" | "from" | "upper" | "work" | "file" | "device" => {
                drop(errors.decode::<WorldPath>(value));
            }
            "lower" | "data" => {
                value.items().iter().for_each(|layer| drop(errors.decode::<WorldPath>(layer)))
            }
            _ => {}
        }
    }
    Some(Setup::Mount { line, operation })
}

fn decode_entry(node: &Node, errors: &Errors) -> Option<Entry> {
    if let Kind::Scalar { .. } = node.kind {
        let word = node.text().unwrap_or_default();
        if !ENTRY_WORDS.contains(&word) {
            errors
                .at(&node.span, format!("{} is not a kind of entry", node.describe()))
                .label("expected dir, file, fifo, socket or a mapping")
                .hint("a file with content is written as `{ file: \"content\" }`");
            return None;
        }
        let kind: EntryWord = errors.decode(node)?;
        let kind = kind.into();
        return Some(Entry { kind, mode: None, uid: None, gid: None, xattrs: BTreeMap::new() });
    }
    let keys: EntryKeys = errors.decode(node)?;
    let mut kinds = Vec::new();
    kinds.extend(keys.kind.map(EntryKind::from));
    kinds.extend(keys.file.map(EntryKind::File));
    kinds.extend(keys.sparse.map(EntryKind::Sparse));
    kinds.extend(keys.symlink.map(EntryKind::Symlink));
    kinds.extend(keys.hardlink.map(EntryKind::Hardlink));
    kinds.extend(keys.char.map(EntryKind::Char));
    kinds.extend(keys.block.map(EntryKind::Block));
    kinds.extend(keys.program.map(EntryKind::Program));
    kinds.extend(keys.image.map(EntryKind::Image));
    let mut kinds = kinds.into_iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        errors.at(&node.span, "an entry must say what it is, once").hint(
            "give exactly one of type, file, sparse, symlink, hardlink, char, block, program, image",
        );
        return None;
    };
    if keys.mode.is_some() && matches!(kind, EntryKind::Symlink(_)) {
        errors.at(&node.span, "a symbolic link has no mode").hint("remove `mode`");
    }
    let own =
        keys.mode.is_some() || keys.uid.is_some() || keys.gid.is_some() || !keys.xattrs.is_empty();
    if own && matches!(kind, EntryKind::Hardlink(_)) {
        errors
            .at(&node.span, "a hard link has no attributes of its own")
            .hint("give them to the file that it names");
    }
    no_minus_one(node, errors, OWN_IDS);
    let size = match &kind {
        EntryKind::File(data) => data.len() as u64,
        EntryKind::Sparse(size) => *size,
        _ => 0,
    };
    if size > MAX_FILE_SIZE {
        errors
            .at(&node.span, format!("a file of {size} bytes"))
            .hint(format!("at most {MAX_FILE_SIZE} are allowed"));
        return None;
    }
    Some(Entry { kind, mode: keys.mode, uid: keys.uid, gid: keys.gid, xattrs: keys.xattrs })
}
