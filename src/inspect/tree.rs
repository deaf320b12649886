//! What is in one layer: plain data, as it was read.

use crate::scenario::scalar::Errno;

/// The number of a file in its tree; the root is 0.
pub type Id = u32;

/// The root of every tree.
pub const ROOT: Id = 0;

/// A layer's files.
#[derive(Debug, Default)]
pub struct Tree {
    files: Vec<File>,
}

/// A file of a layer, of any type.
#[derive(Debug)]
pub struct File {
    /// Its name in its directory; empty for the root.
    pub name: Box<[u8]>,
    /// The directory that it is in.
    pub parent: Id,
    /// Its type.
    pub kind: Kind,
    /// Its size, for a regular file.
    pub size: u64,
    /// Attributes in which an overlay keeps its marks, by name.
    pub attributes: Vec<Attribute>,
    /// What is in a directory, by name.
    pub children: Vec<Id>,
    /// Why it is not known what is in it.
    pub unread: Option<Unread>,
    /// How many files there are below a directory.
    pub below: u32,
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, with its namespace.
    pub name: Box<str>,
    /// Its value, or why that could not be read.
    pub value: Result<Box<[u8]>, Errno>,
}

/// Why it is not known what is in a directory, or what marks a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It could not be opened or read.
    Refused(Errno),
    /// Something is mounted on it, and an overlay would see what that covers.
    Covered,
    /// It is a layer itself.
    Layer,
    /// Its attributes could not be listed.
    Attributes(Errno),
}

/// A type of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device, with its number.
    Char(u32, u32),
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "directory",
            Self::Symlink => "symbolic link",
            Self::Char(..) => "character device",
            Self::Block => "block device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }

    /// Its letter, as ls(1) has it; `f` for a regular file.
    pub fn letter(self) -> char {
        match self {
            Self::File => 'f',
            Self::Dir => 'd',
            Self::Symlink => 'l',
            Self::Char(..) => 'c',
            Self::Block => 'b',
            Self::Fifo => 'p',
            Self::Socket => 's',
        }
    }
}

impl File {
    /// A file without attributes.
    pub fn new(name: &[u8], parent: Id, kind: Kind) -> Self {
        Self {
            name: name.into(),
            parent,
            kind,
            size: 0,
            attributes: Vec::new(),
            children: Vec::new(),
            unread: None,
            below: 0,
        }
    }

    /// The value of an attribute, where there is one that could be read.
    pub fn attribute(&self, name: &str) -> Option<&[u8]> {
        let found = self.attributes.iter().find(|attribute| *attribute.name == *name)?;
        found.value.as_deref().ok()
    }
}

impl Tree {
    /// Adds a file. The root comes first, and each directory before what is in it.
    pub fn add(&mut self, file: File) -> Id {
        let id = Id::try_from(self.files.len()).expect("fewer files than the limit");
        let parent = file.parent;
        self.files.push(file);
        if id != ROOT {
            self.files[parent as usize].children.push(id);
        }
        id
    }

    /// Puts the names of each directory in order and counts what is below, once all is read.
    pub fn finish(&mut self) {
        for index in (0..self.files.len()).rev() {
            let mut children = std::mem::take(&mut self.files[index].children);
            children.sort_unstable_by(|a, b| self.get(*a).name.cmp(&self.get(*b).name));
            self.files[index].below = children.iter().map(|id| 1 + self.get(*id).below).sum();
            self.files[index].children = children;
        }
    }

    /// A file.
    pub fn get(&self, id: Id) -> &File {
        &self.files[id as usize]
    }

    /// The same, to be changed while it is read.
    pub fn get_mut(&mut self, id: Id) -> &mut File {
        &mut self.files[id as usize]
    }

    /// All files, in the order in which they were read.
    pub fn files(&self) -> impl Iterator<Item = (Id, &File)> {
        self.files.iter().enumerate().map(|(index, file)| (index as Id, file))
    }

    /// What a directory has under a name.
    pub fn child(&self, dir: Id, name: &[u8]) -> Option<Id> {
        let children = &self.get(dir).children;
        let found = children.binary_search_by(|id| (*self.get(*id).name).cmp(name));
        found.ok().map(|index| children[index])
    }

    /// The path of a file from the root, with a slash before it.
    pub fn path(&self, id: Id) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = id;
        while at != ROOT {
            names.push(&self.get(at).name);
            at = self.get(at).parent;
        }
        if names.is_empty() {
            return b"/".to_vec();
        }
        names.iter().rev().flat_map(|name| [b"/", &name[..]].concat()).collect()
    }
}
