//! Path walks, as in path_resolution(7).

use std::rc::Rc;

use super::permission::Access;
use crate::model::halt::Res;
use crate::model::ids::IdKind;
use crate::model::machine::{Cred, FileType, FsType, Machine, MountId, Place, ProcId};
use crate::model::rules::files as rules;
use crate::scenario::scalar::Errno;

/// Longest path with its NUL byte: `PATH_MAX`.
const PATH_MAX: usize = 4096;
/// Longest name: `NAME_MAX`.
pub const NAME_MAX: usize = 255;
/// Most symbolic links that one walk follows: `MAXSYMLINKS`.
const MAX_LINKS: u32 = 40;

/// How a path is walked.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Follows the last component where it is a symbolic link.
    pub follow: bool,
    /// Wants a directory.
    pub directory: bool,
    /// Goes on into what is mounted on the place where the walk ends, even if its last component is
    /// a dot (`LOOKUP_MOUNTPOINT`).
    pub into_mount: bool,
}

impl Default for Walk {
    fn default() -> Self {
        Self { follow: true, directory: false, into_mount: false }
    }
}

impl Walk {
    /// Does not follow the last component.
    pub const NO_FOLLOW: Self = Self { follow: false, directory: false, into_mount: false };
    /// Wants a directory.
    pub const DIRECTORY: Self = Self { follow: true, directory: true, into_mount: false };
}

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum Last {
    Name(Rc<str>),
    Dot,
    DotDot,
    /// The path is `/` alone.
    Root,
}

/// The directory that a path ends in, and its last component.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the type says it")]
pub struct Parent {
    pub dir: Place,
    pub last: Last,
    /// Whether a slash stands behind the last component.
    pub slash: bool,
}

/// Where in a path a symbolic link stands. What the last name leads to is the last name again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    OnTheWay,
    Last,
}

/// What stays the same over one walk.
struct Walker {
    who: ProcId,
    cred: Rc<Cred>,
    root: Place,
    links: u32,
}

impl Machine<'_> {
    /// Walks a path to its end, from an open directory or from the working directory.
    pub fn walk(&mut self, who: ProcId, start: Option<Place>, path: &str, how: Walk) -> Res<Place> {
        self.check_path(path)?;
        let mut walker = self.walker(who);
        let from = self.start(who, start, path);
        let mut at = self.resolve(&mut walker, from, path, how.follow, Part::Last)?;
        if how.into_mount {
            at = self.down(at);
        }
        if how.directory && !self.is_dir(at.dentry) {
            return self.refuse_by(&rules::NOT_A_DIRECTORY, Errno::ENOTDIR);
        }
        self.use_mount(at.mount);
        Ok(at)
    }

    /// Walks a path to the directory that holds its last component, which need not be there.
    pub fn walk_parent(&mut self, who: ProcId, start: Option<Place>, path: &str) -> Res<Parent> {
        self.check_path(path)?;
        let mut walker = self.walker(who);
        let from = self.start(who, start, path);
        let parent = self.resolve_parent(&mut walker, from, path)?;
        self.use_mount(parent.dir.mount);
        Ok(parent)
    }

    /// A use takes the mark of MNT_EXPIRE away (fs/namespace.c mntput()).
    fn use_mount(&mut self, mount: MountId) {
        self.mounts[mount].expiring = false;
    }

    /// Goes on from a symbolic link that a walk ended at, to the directory that its target ends in.
    pub fn follow_parent(&mut self, who: ProcId, dir: Place, link: Place) -> Res<Parent> {
        let mut walker = self.walker(who);
        let target = self.link_target(&mut walker, dir, link, Part::Last)?;
        let from = if target.starts_with('/') { walker.root } else { dir };
        self.resolve_parent(&mut walker, from, &target)
    }

    fn check_path(&self, path: &str) -> Res<()> {
        if path.is_empty() {
            return self.refuse_by(&rules::EMPTY_PATH, Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return self.refuse_by(&rules::LONG_PATH, Errno::ENAMETOOLONG);
        }
        Ok(())
    }

    fn walker(&self, who: ProcId) -> Walker {
        let process = &self.processes[who];
        Walker { who, cred: Rc::clone(&process.cred), root: process.root, links: 0 }
    }

    fn start(&self, who: ProcId, start: Option<Place>, path: &str) -> Place {
        let process = &self.processes[who];
        if path.starts_with('/') { process.root } else { start.unwrap_or(process.cwd) }
    }

    fn resolve(
        &mut self,
        walker: &mut Walker,
        from: Place,
        path: &str,
        follow: bool,
        part: Part,
    ) -> Res<Place> {
        let parent = self.resolve_parent(walker, from, path)?;
        let at = match &parent.last {
            Last::Root | Last::Dot => parent.dir,
            Last::DotDot => self.dot_dot(walker, parent.dir)?,
            Last::Name(name) => {
                let found = self.step_into(walker, parent.dir, name)?;
                let follow = follow || parent.slash;
                self.follow_link(walker, parent.dir, found, follow, part)?
            }
        };
        if parent.slash && !self.is_dir(at.dentry) {
            return self.refuse_by(&rules::NOT_A_DIRECTORY, Errno::ENOTDIR);
        }
        Ok(at)
    }

    fn resolve_parent(&mut self, walker: &mut Walker, from: Place, path: &str) -> Res<Parent> {
        let mut at = from;
        let mut rest = path.trim_start_matches('/');
        if rest.is_empty() {
            return Ok(Parent { dir: at, last: Last::Root, slash: false });
        }
        loop {
            let (name, behind) = rest.split_once('/').map_or((rest, None), |(n, b)| (n, Some(b)));
            let next = behind.map(|behind| behind.trim_start_matches('/'));
            self.may_search(walker, at)?;
            if next.is_none_or(str::is_empty) {
                let last = match name {
                    "." => Last::Dot,
                    ".." => Last::DotDot,
                    name => Last::Name(name.into()),
                };
                return Ok(Parent { dir: at, last, slash: next.is_some() });
            }
            at = match name {
                "." => at,
                ".." => self.dot_dot(walker, at)?,
                name => {
                    let found = self.step_into(walker, at, name)?;
                    self.follow_link(walker, at, found, true, Part::OnTheWay)?
                }
            };
            rest = next.unwrap_or_default();
        }
    }

    /// A directory that is walked through must be one, and may be searched.
    fn may_search(&self, walker: &Walker, at: Place) -> Res<()> {
        if !self.is_dir(at.dentry) {
            return self.refuse_by(&rules::NOT_A_DIRECTORY, Errno::ENOTDIR);
        }
        self.may(&walker.cred, at, Access::SEARCH)
    }

    fn dot_dot(&self, walker: &Walker, at: Place) -> Res<Place> {
        let above = self.above(at, walker.root);
        // At one's own root nothing is left, and so nothing is asked (`path_connected`).
        let leaves = at != walker.root;
        let lost = leaves && !self.is_below(above.dentry, self.mounts[above.mount].root);
        self.deny(lost, &rules::DISCONNECTED, Errno::ENOENT)?;
        Ok(self.down(above))
    }

    /// The child of a directory, or what is mounted there.
    fn step_into(&mut self, walker: &Walker, dir: Place, name: &str) -> Res<Place> {
        if name.len() > NAME_MAX {
            return self.refuse_by(&rules::LONG_NAME, Errno::ENAMETOOLONG);
        }
        if self.supers[self.dentries[dir.dentry].sb].kind == FsType::Proc
            && let Some(place) = self.proc_link(walker.who, dir, name)?
        {
            return Ok(place);
        }
        match self.fs_lookup(dir.dentry, name)? {
            Some(dentry) => Ok(self.down(Place { mount: dir.mount, dentry })),
            None => self.refuse_by(&rules::NO_ENTRY, Errno::ENOENT),
        }
    }

    fn follow_link(
        &mut self,
        walker: &mut Walker,
        dir: Place,
        found: Place,
        follow: bool,
        part: Part,
    ) -> Res<Place> {
        if !follow || self.file_type(self.inode(found.dentry)) != FileType::Symlink {
            return Ok(found);
        }
        let target = self.link_target(walker, dir, found, part)?;
        let from = if target.starts_with('/') { walker.root } else { dir };
        self.resolve(walker, from, &target, true, part)
    }

    /// What a symbolic link says, where it may be followed.
    fn link_target(
        &mut self,
        walker: &mut Walker,
        dir: Place,
        link: Place,
        part: Part,
    ) -> Res<Rc<str>> {
        walker.links += 1;
        if walker.links > MAX_LINKS {
            return self.refuse_by(&rules::LINK_LOOP, Errno::ELOOP);
        }
        let is_asked = || part == Part::Last || !self.by(&rules::PROTECTED_ON_THE_WAY);
        let foreign = self.is_foreign_link(walker, dir, link) && is_asked();
        self.deny(foreign, &rules::PROTECTED_SYMLINK, Errno::EACCES)?;
        let nosymfollow = self.mounts[link.mount].flags.nosymfollow;
        self.deny(nosymfollow, &rules::NOSYMFOLLOW, Errno::ELOOP)?;
        self.touch_atime(link);
        self.fs_readlink(link.dentry)
    }

    /// Whether fs.protected_symlinks keeps a link from being followed: it lies in a directory that
    /// everybody may write to and that is sticky, and belongs neither to who follows it nor to the
    /// directory's owner.
    fn is_foreign_link(&self, walker: &Walker, dir: Place, link: Place) -> bool {
        const STICKY_AND_WRITABLE: u32 = 0o1002;
        let parent = self.inode(dir.dentry);
        self.profile.settings.protected_symlinks
            && self.mode(parent) & STICKY_AND_WRITABLE == STICKY_AND_WRITABLE
            && {
                let owner = self.seen_id(link.mount, self.inode(link.dentry), IdKind::User);
                owner != walker.cred.fsuid && owner != self.seen_id(dir.mount, parent, IdKind::User)
            }
    }
}
