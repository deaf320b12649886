//! What layers come to together: lookups and listings as fs/overlayfs/namei.c and readdir.c make them,
//! with the layer that each part comes from and what it hides.

use std::collections::BTreeSet;

use super::marks::{Entry, Opacity, Reading, Whiteout};
use super::tree::{File, Id, Kind, ROOT};
use super::{Role, Stack};
use crate::scenario::scalar::Errno;

/// A file of a layer: the number of the layer, and the file in its tree.
pub type Spot = (usize, Id);

/// A name of the merged view, or one that the layers have and the view does not.
#[derive(Debug)]
pub struct Name {
    /// The path from the root.
    pub path: Vec<u8>,
    /// What a lookup of it gives.
    pub found: Found,
    /// Whether its directory lists it; `None` where that depends on what was looked up before.
    pub listed: Option<bool>,
    /// Files of lower layers of that name which are not seen, topmost first.
    pub hidden: Vec<Hidden>,
}

/// What a lookup gives.
#[derive(Debug)]
pub enum Found {
    /// A file.
    There(There),
    /// Nothing: a whiteout takes the name away.
    Gone {
        /// The whiteout.
        by: Spot,
        /// Its form.
        form: Whiteout,
    },
    /// An error.
    Refused(Refusal),
}

/// Where the layers have a file.
#[derive(Clone, Debug, Default)]
pub struct There {
    /// The layers' files, topmost first: of a directory those that are merged, of another file the one that
    /// is seen and the one that has its data, if that is another.
    pub spots: Vec<Spot>,
    /// Where the layers below have it, if that is not its own path, and who says so.
    pub redirect: Option<(Spot, Vec<u8>)>,
    /// The directory that ends the merge by a mark.
    pub opaque: Option<Spot>,
    /// It has no data itself: the last of its files has them.
    pub metacopy: bool,
    /// The data-only layers do not have its data.
    pub data_missing: bool,
    /// Lower layers whose directory says that it may hold whiteouts in the form of attributes.
    holds_whiteouts: Vec<usize>,
}

/// Why a lookup fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where the mark is because of which it fails.
    pub at: Spot,
    /// What is wrong.
    pub why: Refused,
}

/// What makes a lookup fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A redirect, and none is followed.
    Redirect,
    /// A redirect that is neither a name nor a path.
    InvalidRedirect,
    /// A redirect through `.` or `..`.
    DottedRedirect,
    /// A file without data, and the overlay knows of none.
    Metacopy,
    /// The mark of a file without data is none.
    InvalidMetacopy,
    /// No layer has the data.
    NoData,
}

impl Refused {
    /// The error that the kernel gives.
    pub fn errno(self) -> Errno {
        match self {
            Self::Redirect | Self::Metacopy => Errno::EPERM,
            Self::InvalidRedirect => Errno::EINVAL,
            Self::DottedRedirect => Errno::EACCES,
            Self::InvalidMetacopy | Self::NoData => Errno::EIO,
        }
    }
}

/// A file that is not seen.
#[derive(Clone, Copy, Debug)]
pub struct Hidden {
    /// It.
    pub spot: Spot,
    /// What hides it.
    pub by: Spot,
}

/// A directory of the merged view whose names are still to be told.
struct Dir {
    path: Vec<u8>,
    spots: Vec<Spot>,
    holds_whiteouts: Vec<usize>,
}

/// Tells every name of the merged view and every one that is hidden in a directory of it, a directory before
/// what is in it, in the order of their bytes.
pub struct Merge<'s> {
    stack: &'s Stack,
    /// Names that were found and not told yet, the next one last.
    pending: Vec<(Name, Option<Dir>)>,
    /// What is told next is in this directory.
    open: Option<Dir>,
}

impl<'s> Merge<'s> {
    /// The merged view of these layers.
    pub fn new(stack: &'s Stack) -> Self {
        let spots: Vec<Spot> = (0..stack.merged()).map(|layer| (layer, ROOT)).collect();
        let there = There { spots: spots.clone(), ..There::default() };
        let root = Name {
            path: b"/".to_vec(),
            found: Found::There(there),
            listed: Some(true),
            hidden: Vec::new(),
        };
        let lower =
            spots[..spots.len() - 1].iter().filter(|spot| stack.layers[spot.0].role == Role::Lower);
        let holds_whiteouts =
            lower.filter(|spot| stack.holds_whiteouts(**spot)).map(|spot| spot.0).collect();
        let dir = Dir { path: Vec::new(), spots, holds_whiteouts };
        Self { stack, pending: vec![(root, Some(dir))], open: None }
    }
}

impl Iterator for Merge<'_> {
    type Item = Name;

    fn next(&mut self) -> Option<Name> {
        if let Some(dir) = self.open.take() {
            let names: Vec<_> = names(self.stack, &dir).into_iter().rev().collect();
            self.pending.extend(names);
        }
        let (name, dir) = self.pending.pop()?;
        self.open = dir;
        Some(name)
    }
}

/// The names of a directory.
fn names(stack: &Stack, dir: &Dir) -> Vec<(Name, Option<Dir>)> {
    let reading = stack.reading;
    let of = |(layer, id): &Spot| reading.names(&stack.layers[*layer].tree, *id);
    let names: BTreeSet<&[u8]> = dir.spots.iter().flat_map(of).collect();
    let made_by_overlay = is_listed_by_overlay(stack, dir);
    let told = names.into_iter().map(|name| {
        let (found, stop) = Search::run(stack, &dir.spots, name);
        let path = [&dir.path, &b"/"[..], name].concat();
        let listed = match &found {
            Found::There(_) => Some(true),
            Found::Refused(_) => None,
            Found::Gone { .. } if reading == Reading::Oci => Some(false),
            Found::Gone { .. } if !made_by_overlay => Some(true),
            Found::Gone { by, form } => is_whiteout_listed(dir, *by, *form),
        };
        let inside = match &found {
            Found::There(there) if stack.file(there.spots[0]).kind == Kind::Dir => Some(Dir {
                path: path.clone(),
                spots: there.spots.clone(),
                holds_whiteouts: there.holds_whiteouts.clone(),
            }),
            _ => None,
        };
        let hidden = hidden(stack, dir, name, &found, stop);
        (Name { path, found, listed, hidden }, inside)
    });
    told.collect()
}

/// Whether the overlay makes the listing: where there is nothing to merge a layer's own is passed on, with
/// whiteouts (`ovl_dir_is_real`).
fn is_listed_by_overlay(stack: &Stack, dir: &Dir) -> bool {
    let top = stack.file(dir.spots[0]);
    dir.path.is_empty() || dir.spots.len() > 1 || stack.reading.mark(top, "origin").is_some()
}

/// Whether a listing that the overlay makes has a whiteout (`ovl_fill_merge`). One in the form of an attribute has
/// to be looked up, which is done where its directory says so; and where another layer's directory does, only if the
/// kernel met such a mark in this layer before.
fn is_whiteout_listed(dir: &Dir, (layer, _): Spot, form: Whiteout) -> Option<bool> {
    match form {
        Whiteout::Attribute if dir.holds_whiteouts.is_empty() => Some(true),
        Whiteout::Attribute if !dir.holds_whiteouts.contains(&layer) => None,
        _ => Some(false),
    }
}

/// The files of a name that are not seen.
fn hidden(stack: &Stack, dir: &Dir, name: &[u8], found: &Found, stop: Option<Spot>) -> Vec<Hidden> {
    let seen = match found {
        Found::There(there) => &there.spots[..],
        Found::Refused(_) => return Vec::new(),
        Found::Gone { .. } => &[],
    };
    let below = dir.spots.iter().filter_map(|(layer, id)| {
        let above = |spot: &Spot| spot.0 < *layer;
        let by = stop.filter(above).or(seen.first().copied().filter(above))?;
        match stack.reading.entry(&stack.layers[*layer].tree, *id, name)? {
            Entry::File(id) if !seen.contains(&(*layer, id)) => {
                Some(Hidden { spot: (*layer, id), by })
            }
            _ => None,
        }
    });
    below.collect()
}

impl Stack {
    /// A file of a layer.
    pub fn file(&self, (layer, id): Spot) -> &File {
        self.layers[layer].tree.get(id)
    }

    /// Whether a directory says that it may hold whiteouts in the form of attributes.
    fn holds_whiteouts(&self, (layer, id): Spot) -> bool {
        self.reading.opacity(&self.layers[layer].tree, id) == Opacity::HoldsWhiteouts
    }
}

/// A lookup of one name on its way down the layers (`struct ovl_lookup_data`).
struct Search<'s> {
    stack: &'s Stack,
    /// What to look for in the next layer: a name, or a path from the root of the overlay.
    name: Vec<u8>,
    is_dir: bool,
    stop: bool,
    /// No layer comes after this one.
    last: bool,
    /// What was found last has no data.
    metacopy: bool,
    /// The last redirect was a path.
    absolute: bool,
    redirect: Option<(Spot, Vec<u8>)>,
    opaque: Option<Spot>,
    whiteout: Option<(Spot, Whiteout)>,
    holds_whiteouts: Vec<usize>,
    data_missing: bool,
    /// Who ended the search.
    stopped_by: Option<Spot>,
}

impl<'s> Search<'s> {
    /// What a name is, and which file kept the search from going on.
    fn run(stack: &'s Stack, dir: &[Spot], name: &[u8]) -> (Found, Option<Spot>) {
        let mut search = Self {
            stack,
            name: name.to_vec(),
            is_dir: false,
            stop: false,
            last: false,
            metacopy: false,
            absolute: false,
            redirect: None,
            opaque: None,
            whiteout: None,
            holds_whiteouts: Vec::new(),
            data_missing: false,
            stopped_by: None,
        };
        let found = match search.look(dir) {
            Ok(spots) if spots.is_empty() => search.gone(dir),
            Ok(spots) => Found::There(There {
                metacopy: !search.is_dir && (spots.len() > 1 || search.metacopy),
                data_missing: search.data_missing,
                spots,
                redirect: search.redirect,
                opaque: search.opaque,
                holds_whiteouts: search.holds_whiteouts,
            }),
            Err(refusal) => Found::Refused(refusal),
        };
        (found, search.stopped_by)
    }

    /// Nothing was found of a name that a layer has: by a whiteout, for what else is there is a file.
    fn gone(&self, dir: &[Spot]) -> Found {
        let (by, form) = self.whiteout.unwrap_or((dir[0], Whiteout::Device));
        Found::Gone { by, form }
    }

    /// The layers' files of a name, topmost first (`ovl_lookup`).
    fn look(&mut self, dir: &[Spot]) -> Result<Vec<Spot>, Refusal> {
        let stack = self.stack;
        let merged = stack.merged();
        let upper = usize::from(stack.has_upper());
        let has_data_layers = stack.layers.len() > merged;
        let root: Vec<Spot> = (0..merged).map(|layer| (layer, ROOT)).collect();
        let mut dirs = dir.to_vec();
        let mut at_root = false;
        let mut spots: Vec<Spot> = Vec::new();
        let mut index = 0;
        while index < dirs.len() && !self.stop {
            let (layer, base) = dirs[index];
            let is_upper = layer < upper;
            self.may_go_on(&spots)?;
            // A redirect may lead from the last one into the data-only layers.
            self.last = match (stack.redirects || has_data_layers, is_upper) {
                (true, true) => false,
                (true, false) => (self.is_dir || !has_data_layers) && layer + 1 == merged,
                (false, _) => index + 1 == dirs.len(),
            };
            index += 1;
            let Some(found) = self.look_in_layer((layer, base))? else { continue };
            // Of lower files without data only the topmost counts, and the one that has the data.
            let has_lower = spots.last().is_some_and(|(layer, _)| *layer >= upper);
            if !self.metacopy || !has_lower {
                spots.push((layer, found));
            }
            if self.is_path() && !self.stop && !at_root {
                dirs.clone_from(&root);
                at_root = true;
                index = layer + 1;
            }
        }
        let has_lower = spots.last().is_some_and(|(layer, _)| *layer >= upper);
        if self.metacopy && has_data_layers && self.absolute && has_lower {
            // That they are missing is found out when the file is opened.
            let data = self.look_in_data_layers(merged);
            self.data_missing = data.is_none();
            spots.extend(data);
            return Ok(spots);
        }
        self.may_go_on(&spots)?;
        match spots.first() {
            Some(at) if self.metacopy => Err(Refusal { at: *at, why: Refused::NoData }),
            _ => Ok(spots),
        }
    }

    /// Whether a redirect has made a path from the root of what is looked for.
    fn is_path(&self) -> bool {
        self.name.first() == Some(&b'/')
    }

    /// Whether what was found may lead on to another name or to the data of another file.
    fn may_go_on(&self, spots: &[Spot]) -> Result<(), Refusal> {
        let Some(at) = spots.first().copied() else { return Ok(()) };
        match &self.redirect {
            Some((by, _)) if !self.stack.redirects => {
                Err(Refusal { at: *by, why: Refused::Redirect })
            }
            _ if self.metacopy && !self.stack.metacopy => {
                Err(Refusal { at, why: Refused::Metacopy })
            }
            _ => Ok(()),
        }
    }

    /// Looks in one layer for a name, or for a path from the overlay's root (`ovl_lookup_layer`).
    fn look_in_layer(&mut self, (layer, base): Spot) -> Result<Option<Id>, Refusal> {
        let whole = self.name.len();
        if !self.is_path() {
            return self.look_single((layer, base), 0, whole);
        }
        // Counted from the end, for a redirect on the way changes what stands before.
        let mut rest = whole - 1;
        let mut base = base;
        loop {
            let start = self.name.len() - rest;
            let slash = self.name[start..].iter().position(|byte| *byte == b'/');
            let end = slash.map_or(self.name.len(), |length| start + length);
            rest = (self.name.len() - end).saturating_sub(1);
            let is_last = slash.is_none();
            let Some(found) = self.look_single((layer, base), start, end)? else { return Ok(None) };
            if is_last {
                return Ok(Some(found));
            }
            base = found;
        }
    }

    /// Looks for one component of what is looked for (`ovl_lookup_single`).
    fn look_single(
        &mut self,
        (layer, base): Spot,
        start: usize,
        end: usize,
    ) -> Result<Option<Id>, Refusal> {
        let reading = self.stack.reading;
        let tree = &self.stack.layers[layer].tree;
        let is_last = end == self.name.len();
        let component = &self.name[start..end];
        if matches!(component, b"." | b"..") {
            let at = self.redirect.as_ref().map_or((layer, base), |(by, _)| *by);
            return Err(Refusal { at, why: Refused::DottedRedirect });
        }
        let found = match reading.entry(tree, base, component) {
            None => return Ok(None),
            Some(Entry::Whiteout(id, form)) => {
                self.end((layer, id));
                self.whiteout.get_or_insert(((layer, id), form));
                return Ok(None);
            }
            Some(Entry::File(found)) => found,
        };
        let spot = (layer, found);
        let file = tree.get(found);
        if is_last && self.metacopy && file.kind != Kind::File {
            self.end(spot);
            return Ok(None);
        }
        if file.kind != Kind::Dir {
            if self.is_dir || !is_last {
                self.end(spot);
                return Ok(None);
            }
            let invalid = |_| Refusal { at: spot, why: Refused::InvalidMetacopy };
            self.metacopy = reading.metacopy(file).map_err(invalid)?;
            // An opaque directory on the way does not keep it from its data.
            (self.stop, self.stopped_by) = (false, None);
            if !self.metacopy {
                self.end(spot);
            }
            if !self.metacopy || self.last {
                return Ok(Some(found));
            }
        } else if self.is_end_in_dir(spot, is_last) {
            return Ok(Some(found));
        }
        self.follow(spot, start, end)?;
        Ok(Some(found))
    }

    /// Whether a directory ends the search: it is the last that is asked for, or opaque.
    fn is_end_in_dir(&mut self, spot: Spot, is_last: bool) -> bool {
        let (layer, found) = spot;
        self.is_dir |= is_last;
        if self.last {
            return true;
        }
        let of = &self.stack.layers[layer];
        match self.stack.reading.opacity(&of.tree, found) {
            Opacity::Opaque => {
                self.end(spot);
                if is_last {
                    self.opaque = Some(spot);
                }
                return true;
            }
            Opacity::HoldsWhiteouts if is_last && of.role == Role::Lower => {
                self.holds_whiteouts.push(layer);
            }
            Opacity::HoldsWhiteouts | Opacity::None => {}
        }
        false
    }

    /// The search goes no further.
    fn end(&mut self, by: Spot) {
        self.stop = true;
        self.stopped_by.get_or_insert(by);
    }

    /// A redirect changes what the layers below are asked for (`ovl_check_redirect`).
    fn follow(&mut self, spot: Spot, start: usize, end: usize) -> Result<(), Refusal> {
        let redirect = self.stack.reading.redirect(self.stack.file(spot));
        let redirect = redirect.map_err(|_| Refusal { at: spot, why: Refused::InvalidRedirect })?;
        let Some(redirect) = redirect else {
            if self.metacopy && self.stack.layers.len() > self.stack.merged() {
                self.absolute = false;
            }
            return Ok(());
        };
        let behind = &self.name[end..];
        self.absolute = redirect.starts_with(b"/");
        self.name = if self.absolute {
            // A directory on the way may have been opaque: this one is not.
            self.stop = false;
            self.stopped_by = None;
            [redirect, behind].concat()
        } else {
            [&self.name[..start], redirect, behind].concat()
        };
        self.redirect = Some((spot, self.name.clone()));
        Ok(())
    }

    /// The data of a file, in the layers that only give data; no symbolic link is followed, and `..` does not lead
    /// out of them (`ovl_lookup_data_layer`).
    fn look_in_data_layers(&self, merged: usize) -> Option<Spot> {
        (merged..self.stack.layers.len()).find_map(|layer| {
            let tree = &self.stack.layers[layer].tree;
            let names = self.name.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
            let mut at = ROOT;
            for name in names {
                at = match name {
                    _ if tree.get(at).kind != Kind::Dir => return None,
                    b"." => at,
                    b".." if at == ROOT => return None,
                    b".." => tree.get(at).parent,
                    name => tree.child(at, name)?,
                };
            }
            (tree.get(at).kind == Kind::File).then_some((layer, at))
        })
    }
}
