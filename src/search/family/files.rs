//! Operations on files, chosen so that most of them do something.

use super::{name, path};
use crate::scenario::operation::{
    Access, AccessPurpose, Chmod, Chown, Close, Flock, Getxattr, Link, List, Listxattr, LockKind,
    Mkdir, Mknod, NodeType, Open, OpenFlag, Operation, Read, Readlink, Removexattr, Rename,
    RenameFlag, Rmdir, Setxattr, Stat, Symlink, Truncate, Unlink, Utimes, Write, XattrFlag,
};
use crate::scenario::scalar::{DeviceNumber, Mode, Name, StepPath, Timestamp};
use crate::search::random::Random;
use crate::search::scene::{Kind, Scene, any_path};

/// What operations are made up of.
#[derive(Clone, Debug)]
pub struct Palette {
    /// The ids that files are given to.
    pub ids: &'static [u32],
    /// The permission bits that they are given.
    pub modes: &'static [u32],
    /// The names of attributes that files are given.
    pub xattrs: &'static [&'static str],
}

/// Ids where a sandbox has one.
pub const ONE_ID: &[u32] = &[0];
/// Ids where a sandbox has many.
pub const IDS: &[u32] = &[0, 1, 1000, 1001];
/// Permission bits that something follows from.
pub const MODES: &[u32] = &[0o644, 0o600, 0o755, 0o700, 0o444, 0o4755, 0o2755, 0o1777, 0];
/// The names that open files are kept under.
const DESCRIPTORS: &[&str] = &["x", "y", "z"];
/// What is written.
const TEXTS: &[&str] = &["", "one", "two\n", "a longer text\n"];
/// Times that files are given.
const TIMES: &[i64] = &[0, 1, 1_000_000_000];
/// How often in a hundred a name is taken that may not be there, or not be what is wanted.
const WILD: usize = 7;

#[derive(Clone, Copy)]
enum What {
    Mkdir,
    Rmdir,
    Unlink,
    Rename,
    Link,
    Symlink,
    Mknod,
    Write,
    Truncate,
    Chmod,
    Chown,
    Utimes,
    Setxattr,
    Removexattr,
    Open,
    Close,
    ReadOpen,
    WriteOpen,
    ChangeOpen,
    Look,
}

const WEIGHTS: &[(usize, What)] = &[
    (9, What::Mkdir),
    (5, What::Rmdir),
    (10, What::Unlink),
    (18, What::Rename),
    (8, What::Link),
    (3, What::Symlink),
    (3, What::Mknod),
    (9, What::Write),
    (3, What::Truncate),
    (5, What::Chmod),
    (4, What::Chown),
    (2, What::Utimes),
    (4, What::Setxattr),
    (1, What::Removexattr),
    (8, What::Open),
    (3, What::Close),
    (3, What::ReadOpen),
    (3, What::WriteOpen),
    (3, What::ChangeOpen),
    (12, What::Look),
];

const ANYTHING: &[Kind] = &[Kind::Dir, Kind::File, Kind::Symlink, Kind::Node];
const NO_DIR: &[Kind] = &[Kind::File, Kind::File, Kind::Symlink, Kind::Node];

/// One operation on a file.
pub fn operation(random: &mut Random, scene: &Scene, palette: &Palette) -> Operation {
    Maker { random, scene, palette }.operation()
}

struct Maker<'m> {
    random: &'m mut Random,
    scene: &'m Scene,
    palette: &'m Palette,
}

impl Maker<'_> {
    fn operation(&mut self) -> Operation {
        match self.random.weighted(WEIGHTS) {
            What::Mkdir => Operation::Mkdir(Mkdir { path: self.fresh(), mode: self.some_mode() }),
            What::Rmdir => {
                let empty = self.scene.empty_directory(self.random);
                let path = self.or_wild(empty);
                Operation::Rmdir(Rmdir { path })
            }
            What::Unlink => Operation::Unlink(Unlink { path: self.existing(NO_DIR) }),
            What::Rename => self.rename(),
            What::Link => {
                let (from, to) = (self.existing(NO_DIR), self.fresh());
                Operation::Link(Link { from, to, follow: self.random.percent(10) })
            }
            What::Symlink => {
                let target = any_path(self.random);
                Operation::Symlink(Symlink { target, path: self.fresh() })
            }
            What::Mknod => self.mknod(),
            What::Write => self.write(),
            What::Truncate => {
                let path = Some(self.existing(&[Kind::File]));
                let length = *self.random.pick(&[0, 2, 5000]);
                Operation::Truncate(Truncate { path, fd: None, length })
            }
            What::Chmod => {
                let path = Some(self.existing(ANYTHING));
                Operation::Chmod(Chmod { path, fd: None, mode: self.mode() })
            }
            What::Chown => {
                let path = Some(self.existing(ANYTHING));
                self.chown(path, None)
            }
            What::Utimes => {
                let path = Some(self.existing(ANYTHING));
                self.utimes(path, None)
            }
            What::Setxattr => {
                let path = Some(self.existing(&[Kind::File, Kind::Dir]));
                self.setxattr(path, None)
            }
            What::Removexattr => {
                let (path, name) = (Some(self.existing(&[Kind::File, Kind::Dir])), self.xattr());
                Operation::Removexattr(Removexattr { path, fd: None, name, follow: true })
            }
            What::Open => self.open(),
            What::Close => match self.descriptor(|_| true) {
                Some(fd) => Operation::Close(Close { fd }),
                None => self.open(),
            },
            What::ReadOpen => self.read_open(),
            What::WriteOpen => self.write_open(),
            What::ChangeOpen => self.change_open(),
            What::Look => self.look(),
        }
    }

    /// A name that is there, and now and then one that may not be.
    fn existing(&mut self, kinds: &[Kind]) -> StepPath {
        let found = self.scene.existing(self.random, kinds);
        self.or_wild(found)
    }

    fn or_wild(&mut self, found: Option<String>) -> StepPath {
        let wild = self.random.percent(WILD);
        let chosen = found.filter(|_| !wild).unwrap_or_else(|| any_path(self.random));
        path(&self.scene.at(&chosen))
    }

    fn fresh(&mut self) -> StepPath {
        let wild = self.random.percent(WILD);
        let chosen = if wild { any_path(self.random) } else { self.scene.fresh(self.random) };
        path(&self.scene.at(&chosen))
    }

    fn mode(&mut self) -> Mode {
        Mode(*self.random.pick(self.palette.modes))
    }

    fn some_mode(&mut self) -> Option<Mode> {
        self.random.percent(20).then(|| self.mode())
    }

    fn xattr(&mut self) -> String {
        (*self.random.pick(self.palette.xattrs)).to_owned()
    }

    fn text(&mut self) -> String {
        (*self.random.pick(TEXTS)).to_owned()
    }

    fn descriptor(&mut self, fits: impl Fn(&crate::search::scene::Open) -> bool) -> Option<Name> {
        self.scene.an_open(self.random, fits).map(|fd| name(&fd))
    }

    fn rename(&mut self) -> Operation {
        let flags = self.random.weighted(&[(12, 0), (2, 1), (4, 2), (2, 3), (1, 4)]);
        let flags = match flags {
            0 => vec![],
            1 => vec![RenameFlag::Noreplace],
            2 => vec![RenameFlag::Exchange],
            3 => vec![RenameFlag::Whiteout],
            _ => vec![RenameFlag::Whiteout, RenameFlag::Noreplace],
        };
        let onto = flags.contains(&RenameFlag::Exchange) || self.random.percent(35);
        let from = self.existing(ANYTHING);
        let inside = from.as_str().strip_prefix(&self.scene.at("")).unwrap_or_default();
        let kind = self.scene.kind(inside.trim_start_matches('/'));
        let to = match (onto, kind) {
            (false, _) => self.fresh(),
            // A directory may be replaced by one alone, and only where nothing is in it.
            (true, Some(Kind::Dir)) if flags.is_empty() => {
                let empty = self.scene.empty_directory(self.random);
                self.or_wild(empty)
            }
            (true, Some(Kind::Dir)) => self.existing(ANYTHING),
            (true, _) => self.existing(NO_DIR),
        };
        Operation::Rename(Rename { from, to, flags })
    }

    fn mknod(&mut self) -> Operation {
        // No pipes: who opens one waits for somebody at its other end.
        let kinds = [NodeType::File, NodeType::Socket, NodeType::Char];
        let kind = *self.random.pick(&kinds);
        let rdev = (kind == NodeType::Char).then_some(DeviceNumber { major: 0, minor: 0 });
        Operation::Mknod(Mknod { path: self.fresh(), kind, rdev, mode: self.some_mode() })
    }

    fn write(&mut self) -> Operation {
        let is_new = self.random.percent(40);
        let path = Some(if is_new { self.fresh() } else { self.existing(&[Kind::File]) });
        let append = self.random.percent(40);
        let data = self.text();
        Operation::Write(Write { path, fd: None, data, append, offset: None, mode: None })
    }

    fn chown(&mut self, path: Option<StepPath>, fd: Option<Name>) -> Operation {
        let mut id = || {
            let random = &mut *self.random;
            random.percent(70).then(|| *random.pick(self.palette.ids))
        };
        let (uid, gid) = (id(), id());
        let follow = fd.is_some() || self.random.percent(50);
        Operation::Chown(Chown { path, fd, uid, gid, follow })
    }

    fn utimes(&mut self, path: Option<StepPath>, fd: Option<Name>) -> Operation {
        let mtime = Some(Timestamp::Seconds(*self.random.pick(TIMES)));
        let follow = fd.is_some() || self.random.percent(50);
        Operation::Utimes(Utimes { path, fd, atime: None, mtime, follow })
    }

    fn setxattr(&mut self, path: Option<StepPath>, fd: Option<Name>) -> Operation {
        let flag = self.random.weighted(&[
            (8, None),
            (1, Some(XattrFlag::Create)),
            (1, Some(XattrFlag::Replace)),
        ]);
        let (name, value) = (self.xattr(), Some(self.text()));
        Operation::Setxattr(Setxattr { path, fd, name, value, hex: None, flag, follow: true })
    }

    fn open(&mut self) -> Operation {
        let fd = Some(name(self.random.pick::<&str>(DESCRIPTORS)));
        let (path, flags) = match self.random.below(21) / 2 {
            0..3 => (self.existing(&[Kind::File]), vec![OpenFlag::Rdonly]),
            3..5 => (self.existing(&[Kind::File]), vec![OpenFlag::Rdwr]),
            5 => (self.existing(&[Kind::File]), vec![OpenFlag::Wronly, OpenFlag::Trunc]),
            6 => (self.fresh(), vec![OpenFlag::Rdwr, OpenFlag::Creat, OpenFlag::Excl]),
            7 => (self.existing(&[Kind::Dir]), vec![OpenFlag::Rdonly, OpenFlag::Directory]),
            8 => (self.existing(ANYTHING), vec![OpenFlag::Path, OpenFlag::Nofollow]),
            10 => (self.existing(&[Kind::Dir]), vec![OpenFlag::Rdwr, OpenFlag::Tmpfile]),
            _ => (self.existing(&[Kind::File]), vec![OpenFlag::Wronly, OpenFlag::Append]),
        };
        Operation::Open(Open { path, flags, mode: None, dirfd: None, fd })
    }

    fn read_open(&mut self) -> Operation {
        match self.descriptor(|open| open.kind == Kind::File) {
            Some(fd) if self.random.percent(40) => stat(None, Some(fd), true),
            fd @ Some(_) => Operation::Read(Read { path: None, fd, offset: Some(0), length: None }),
            None => match self.descriptor(|open| open.kind == Kind::Dir) {
                fd @ Some(_) => Operation::List(List { path: None, fd }),
                None => self.open(),
            },
        }
    }

    fn write_open(&mut self) -> Operation {
        let Some(fd) = self.descriptor(|open| open.writable) else { return self.open() };
        if self.random.percent(25) {
            let length = *self.random.pick(&[0, 2, 5000]);
            return Operation::Truncate(Truncate { path: None, fd: Some(fd), length });
        }
        let data = self.text();
        Operation::Write(Write {
            path: None,
            fd: Some(fd),
            data,
            append: false,
            offset: None,
            mode: None,
        })
    }

    fn change_open(&mut self) -> Operation {
        let Some(fd) = self.descriptor(|_| true) else { return self.open() };
        match self.random.below(5) {
            0 => Operation::Chmod(Chmod { path: None, fd: Some(fd), mode: self.mode() }),
            1 => self.chown(None, Some(fd)),
            2 => self.utimes(None, Some(fd)),
            3 => self.setxattr(None, Some(fd)),
            _ => {
                let lock = *self.random.pick(&[LockKind::Shared, LockKind::Exclusive]);
                Operation::Flock(Flock { fd, lock })
            }
        }
    }

    fn look(&mut self) -> Operation {
        match self.random.below(8) {
            0..3 => {
                let follow = self.random.percent(50);
                let path = self.existing(ANYTHING);
                stat(Some(path), None, follow)
            }
            3 => Operation::List(List { path: Some(self.existing(&[Kind::Dir])), fd: None }),
            4 => {
                let path = Some(self.existing(&[Kind::File]));
                Operation::Read(Read { path, fd: None, offset: None, length: None })
            }
            5 => Operation::Readlink(Readlink { path: self.existing(&[Kind::Symlink]) }),
            6 => {
                let path = Some(self.existing(&[Kind::File, Kind::Dir]));
                if self.random.percent(50) {
                    return Operation::Listxattr(Listxattr { path, fd: None, follow: true });
                }
                let name = self.xattr();
                Operation::Getxattr(Getxattr { path, fd: None, name, follow: true })
            }
            _ => {
                let all = [AccessPurpose::Read, AccessPurpose::Write, AccessPurpose::Execute];
                let purposes = self.random.some(40, &all);
                Operation::Access(Access { path: self.existing(ANYTHING), purposes })
            }
        }
    }
}

fn stat(path: Option<StepPath>, fd: Option<Name>, follow: bool) -> Operation {
    Operation::Stat(Stat { path, fd, dirfd: None, follow })
}
