//! What is to be said of layers: marks that do not mean what they seem to, and what gets lost on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::marks::{AUFS, OCI_OPAQUE, OCI_WHITEOUT, PREFIXES, Reading, Whiteout};
use super::merge::{Found, Merge, Name, Refused, Spot, There};
use super::tree::{File, Kind, Unread};
use super::{Layer, Role, Stack, shown};

/// Something to be said of a file of a layer, or of a name of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What it is about.
    pub topic: Topic,
    /// The layer, by its number from 0.
    pub layer: Option<usize>,
    /// The path in that layer, or in the view.
    pub path: Vec<u8>,
    /// What is to be said.
    pub text: String,
}

/// What a remark is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// What keeps an overlay from being mounted with its work directory.
    Incompatible,
    /// A name that is listed and cannot be looked up.
    Phantom,
    /// A name of which a lookup fails.
    Refused,
    /// A redirect to what no layer has.
    RedirectToNothing,
    /// A file of which the data-only layers do not have the data.
    DataMissing,
    /// A mark that this overlay does not know, or not on such a file.
    MarkIgnored,
    /// A directory of a lower layer that is to be seen in two places.
    Twice,
    /// A layer that lies inside of another one.
    LayerInside,
    /// What could not be read.
    Unread,
    /// A whiteout of a name that nothing below has.
    WhiteoutOfNothing,
    /// An opaque mark where nothing is below.
    OpaqueOverNothing,
    /// A mark of an overlay that lies on this one.
    Escaped,
    /// A file that hides a directory.
    FileOverDirectory,
    /// A directory that hides a file.
    DirectoryOverFile,
    /// A mark that is lost or not understood where the layer is copied or packed.
    Travel,
    /// What an overlay began in its work directory and did not end.
    Temporary,
    /// What the index has that no name is of any more.
    Nameless,
    /// A directory that is no work directory yet.
    Unused,
}

/// What follows from a remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The layers do not show what they seem to.
    Problem,
    /// It is not known what they show.
    Unknown,
    /// It is good to know.
    Note,
}

impl Topic {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Incompatible => "incompatible",
            Self::Phantom => "phantom",
            Self::Refused => "refused",
            Self::RedirectToNothing => "redirect-to-nothing",
            Self::DataMissing => "data-missing",
            Self::MarkIgnored => "mark-ignored",
            Self::Twice => "seen-twice",
            Self::LayerInside => "layer-inside-layer",
            Self::Unread => "unread",
            Self::WhiteoutOfNothing => "whiteout-of-nothing",
            Self::OpaqueOverNothing => "opaque-over-nothing",
            Self::Escaped => "escaped",
            Self::FileOverDirectory => "file-over-directory",
            Self::DirectoryOverFile => "directory-over-file",
            Self::Travel => "does-not-travel",
            Self::Temporary => "temporary",
            Self::Nameless => "index-without-name",
            Self::Unused => "unused",
        }
    }

    /// What follows from it; what does not travel is a problem of who exports a layer.
    pub fn weight(self, export: bool) -> Weight {
        match self {
            Self::Incompatible
            | Self::Phantom
            | Self::Refused
            | Self::RedirectToNothing
            | Self::DataMissing
            | Self::MarkIgnored
            | Self::Twice
            | Self::LayerInside => Weight::Problem,
            Self::Travel if export => Weight::Problem,
            Self::Unread => Weight::Unknown,
            Self::WhiteoutOfNothing
            | Self::OpaqueOverNothing
            | Self::Escaped
            | Self::FileOverDirectory
            | Self::DirectoryOverFile
            | Self::Travel
            | Self::Temporary
            | Self::Nameless
            | Self::Unused => Weight::Note,
        }
    }
}

impl Weight {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Unknown => "unknown",
            Self::Note => "note",
        }
    }
}

/// How many marks there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attributes of trusted.overlay.*
    pub trusted: usize,
    /// Attributes of user.overlay.*
    pub user: usize,
    /// Files named `.wh.*`
    pub oci: usize,
    /// Devices 0:0
    pub devices: usize,
}

impl Counts {
    /// Counts the marks of layers.
    pub fn of(layers: &[Layer]) -> Self {
        let mut counts = Self::default();
        for (_, file) in layers.iter().flat_map(|layer| layer.tree.files()) {
            let of =
                |prefix| file.attributes.iter().filter(move |a| a.name.starts_with(prefix)).count();
            counts.trusted += of(PREFIXES[0]);
            counts.user += of(PREFIXES[1]);
            counts.oci += usize::from(file.name.starts_with(OCI_WHITEOUT));
            counts.devices += usize::from(file.kind == Kind::Char(0, 0));
        }
        counts
    }

    /// Which marks count where nobody says so: those that are there, the kernel's first.
    pub fn reading(&self, sees_trusted: bool) -> Reading {
        match self {
            Self { trusted: 1.., .. } => Reading::Trusted,
            Self { user: 1.., .. } => Reading::User,
            Self { oci: 1.., .. } => Reading::Oci,
            _ if sees_trusted => Reading::Trusted,
            _ => Reading::User,
        }
    }
}

/// What is to be said of the files of the layers by themselves.
pub fn of_layers(stack: &Stack) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (index, layer) in stack.layers.iter().enumerate() {
        for (id, file) in layer.tree.files() {
            let mut told = Vec::new();
            unread(stack, file, &mut told);
            strange_names(stack.reading, file, &mut told);
            for attribute in &file.attributes {
                of_attribute(stack.reading, file, &attribute.name, &mut told);
            }
            if stack.reading.whiteout(file).is_some() {
                told.push((Topic::Travel, whiteout_travels(file)));
            }
            let path = || layer.tree.path(id);
            let remark = |(topic, text)| Remark { topic, layer: Some(index), path: path(), text };
            remarks.extend(told.into_iter().map(remark));
        }
    }
    remarks
}

type Told = Vec<(Topic, String)>;

fn unread(stack: &Stack, file: &File, told: &mut Told) {
    let why = match file.unread {
        None => None,
        Some(Unread::Refused(errno)) => Some(format!("its names cannot be read: {errno}")),
        Some(Unread::Attributes(errno)) => Some(format!("its attributes cannot be listed: {errno}")),
        Some(Unread::Covered) => {
            Some("something is mounted on it, and an overlay shows what that covers: look where it is not mounted".into())
        }
        Some(Unread::Layer) => {
            let text = "it is a layer itself: the kernel says ELOOP, when the overlay is mounted or at a lookup";
            told.push((Topic::LayerInside, text.into()));
            None
        }
    };
    told.extend(why.map(|why| (Topic::Unread, why)));
    let own = |name: &str| stack.reading.prefix().is_some_and(|prefix| name.starts_with(prefix));
    for attribute in file.attributes.iter().filter(|attribute| own(&attribute.name)) {
        if let Err(errno) = attribute.value {
            told.push((Topic::Unread, format!("{} cannot be read: {errno}", attribute.name)));
        }
    }
}

/// Names and devices that mean something in another form of layers.
fn strange_names(reading: Reading, file: &File, told: &mut Told) {
    let oci = reading == Reading::Oci;
    if !oci && file.name.starts_with(OCI_WHITEOUT) {
        let text = "an overlay shows it as the file that it is; in a layer of OCI it takes a name away (--oci)";
        told.push((Topic::MarkIgnored, text.into()));
    }
    if oci && file.kind == Kind::Char(0, 0) {
        let text = "in a layer of OCI this is a device, and takes nothing away";
        told.push((Topic::MarkIgnored, text.into()));
    }
    if oci && file.name.starts_with(AUFS) && *file.name != *OCI_OPAQUE {
        told.push((
            Topic::MarkIgnored,
            "a file that aufs keeps for itself; it is not shown".into(),
        ));
    }
}

/// One attribute of a file.
fn of_attribute(reading: Reading, file: &File, name: &str, told: &mut Told) {
    let shown_name = shown(name.as_bytes());
    let own = reading.prefix().and_then(|prefix| name.strip_prefix(prefix));
    let Some(mark) = own else {
        let mark = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        if matches!(mark, "opaque" | "redirect" | "metacopy" | "whiteout") {
            let who = match name {
                _ if name.starts_with(PREFIXES[0]) => {
                    "an overlay that is mounted without userxattr"
                }
                _ if name.starts_with(PREFIXES[1]) => "an overlay that is mounted with userxattr",
                _ => "fuse-overlayfs",
            };
            told.push((Topic::MarkIgnored, format!("{shown_name} counts for {who} only")));
        }
        return;
    };
    if mark.starts_with("overlay.") {
        let text = format!("{shown_name} is a mark of an overlay that lies on this one");
        told.push((Topic::Escaped, text));
        return;
    }
    let value = reading.mark(file, mark);
    let on_wrong_type = match mark {
        "opaque" => file.kind != Kind::Dir,
        "metacopy" => file.kind != Kind::File,
        "whiteout" => file.kind != Kind::File || file.size > 0,
        _ => false,
    };
    let unknown = mark == "opaque" && value.is_some_and(|value| !matches!(value, b"y" | b"x"));
    if on_wrong_type {
        let text = match mark {
            "whiteout" => format!("{shown_name} makes a whiteout of an empty regular file only"),
            _ => format!("{shown_name} means nothing on a {}", file.kind.word()),
        };
        told.push((Topic::MarkIgnored, text));
    } else if unknown {
        let value = shown(value.unwrap_or_default());
        let text = format!("{shown_name} is `{value}`: only y and x mean something");
        told.push((Topic::MarkIgnored, text));
    } else if let Some(lost) = lost_on_the_way(mark) {
        told.push((Topic::Travel, format!("{shown_name}: {lost}{}", how_kept(reading))));
    }
}

/// What is lost with a mark where the layer is packed or copied without it.
fn lost_on_the_way(mark: &str) -> Option<&'static str> {
    Some(match mark {
        "opaque" => "without it what is below comes back (an OCI layer says .wh..wh..opq)",
        "redirect" => {
            "without it the directory or file loses what it has below, and an OCI layer has no word for it"
        }
        "metacopy" => {
            "without it the file is empty or all zeros, and an OCI layer has no word for it"
        }
        "whiteout" => "without it a name that was taken away comes back as an empty file",
        _ => return None,
    })
}

/// Who keeps an attribute.
fn how_kept(reading: Reading) -> &'static str {
    match reading {
        Reading::Trusted => {
            "; kept by root of the machine alone: cp -a, rsync -X, tar --xattrs --xattrs-include='trusted.*'"
        }
        _ => "; kept by cp -a, rsync -X and tar --xattrs, lost by others",
    }
}

fn whiteout_travels(file: &File) -> String {
    let text = match file.kind {
        Kind::Char(..) => {
            "tar packs it as a device, which before Linux 5.8 root alone can make: where it is not made the name \
             comes back; an OCI layer says .wh.NAME"
        }
        _ => "an OCI layer says .wh.NAME, and takes this for an empty file",
    };
    text.into()
}

/// What is to be said of a name of the view.
pub fn of_name(stack: &Stack, name: &Name) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut say = |topic, layer, text: String| {
        remarks.push(Remark { topic, layer, path: name.path.clone(), text });
    };
    match &name.found {
        Found::Refused(refusal) => {
            let why = why_refused(refusal.why);
            let text = format!("{}: {why}", refusal.why.errno());
            say(Topic::Refused, Some(refusal.at.0), text);
        }
        Found::Gone { by, form } => {
            if name.listed == Some(true) {
                let text = match form {
                    Whiteout::Attribute => {
                        "it is listed and cannot be found: its directory has not overlay.opaque=x, or lies in the \
                         last layer or the upper one"
                    }
                    _ => {
                        "it is listed and cannot be found: a whiteout in a directory that is merged with no other, \
                         which cannot be removed for it (ENOTEMPTY)"
                    }
                };
                say(Topic::Phantom, Some(by.0), text.into());
            } else if name.hidden.is_empty() {
                let text = "no layer below has what this whiteout takes away";
                say(Topic::WhiteoutOfNothing, Some(by.0), text.into());
            }
        }
        Found::There(there) => of_file(stack, name, there, &mut say),
    }
    for hidden in &name.hidden {
        let (of, by) = (stack.file(hidden.spot), stack.file(hidden.by));
        let taken = matches!(name.found, Found::Gone { .. });
        let (of_dir, by_dir) = (of.kind == Kind::Dir, by.kind == Kind::Dir);
        let below = hidden.spot.0 + 1;
        if of_dir && !by_dir && !taken {
            let text = format!("it hides a directory of layer {below} with {} files", of.below);
            say(Topic::FileOverDirectory, Some(hidden.by.0), text);
        } else if !of_dir && by_dir {
            let text = format!("it hides a {} of layer {below}", of.kind.word());
            say(Topic::DirectoryOverFile, Some(hidden.by.0), text);
        }
    }
    remarks
}

/// Files of lower layers that several names lead to, because of redirects, and that are not of one file of the
/// upper layer: the kernel knows each by the lower file, and refuses all names but those of the one that was looked
/// up first (`ovl_verify_inode`).
pub fn seen_twice(stack: &Stack) -> Vec<Remark> {
    let mut files = stack.layers.iter().flat_map(|layer| layer.tree.files());
    if !stack.has_upper() || !files.any(|(_, file)| stack.reading.mark(file, "redirect").is_some())
    {
        return Vec::new();
    }
    let mut uppers: BTreeMap<Spot, Option<Spot>> = BTreeMap::new();
    let mut several = BTreeSet::new();
    for (lower, upper) in Merge::new(stack).filter_map(|name| known_by(stack, &name)) {
        if *uppers.entry(lower).or_insert(upper) != upper {
            several.insert(lower);
        }
    }
    let names = Merge::new(stack).filter_map(|name| {
        let (lower, _) = known_by(stack, &name).filter(|(lower, _)| several.contains(lower))?;
        let text = format!(
            "it shows {} of layer {}, as another name does: the one that is looked up later says ESTALE",
            shown(&stack.layers[lower.0].tree.path(lower.1)),
            lower.0 + 1
        );
        Some(Remark { topic: Topic::Twice, layer: Some(lower.0), path: name.path, text })
    });
    names.collect()
}

/// The lower file by which the kernel knows a name, and the upper one.
fn known_by(stack: &Stack, name: &Name) -> Option<(Spot, Option<Spot>)> {
    let Found::There(there) = &name.found else { return None };
    let role = |spot: &&Spot| stack.layers[spot.0].role;
    let lower = there.spots.iter().find(|spot| role(spot) == Role::Lower)?;
    let upper = there.spots.first().filter(|spot| role(spot) == Role::Upper);
    Some((*lower, upper.copied()))
}

fn of_file(
    stack: &Stack,
    name: &Name,
    there: &There,
    say: &mut impl FnMut(Topic, Option<usize>, String),
) {
    if let Some(by) = there.opaque
        && !name.hidden.iter().any(|hidden| stack.file(hidden.spot).kind == Kind::Dir)
    {
        say(
            Topic::OpaqueOverNothing,
            Some(by.0),
            "no layer below has a directory that it hides".into(),
        );
    }
    if there.data_missing {
        let text =
            "its data are in none of the data-only layers: stat(2) succeeds and open(2) fails";
        say(Topic::DataMissing, Some(there.spots[0].0), text.into());
    }
    let Some(last) = there.spots.last() else { return };
    let file = stack.file(*last);
    if file.kind == Kind::Dir
        && there.opaque.is_none()
        && let Ok(Some(path)) = stack.reading.redirect(file)
    {
        let text =
            format!("no layer below has {}, of which it is to show what is in it", shown(path));
        say(Topic::RedirectToNothing, Some(last.0), text);
    }
}

/// Why a lookup fails, and what to do.
fn why_refused(why: Refused) -> &'static str {
    match why {
        Refused::Redirect => {
            "it has a redirect, which this overlay does not follow (with userxattr none does; else redirect_dir=follow)"
        }
        Refused::InvalidRedirect => {
            "its redirect is neither a name nor a path from the root without gaps"
        }
        Refused::DottedRedirect => {
            "its redirect leads through `.` or `..`, as if out of the layers"
        }
        Refused::Metacopy => {
            "it has no data itself, and this overlay does not look for them below (metacopy=on does)"
        }
        Refused::InvalidMetacopy => "its mark metacopy has no form that the kernel knows",
        Refused::NoData => "it has no data itself, and no layer below has them",
    }
}
