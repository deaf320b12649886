//! The modules of a kernel: by name or alias, with what they depend on, decompressed.
//!
//! What a module depends on is read from the module itself (its section `.modinfo`), not from
//! `modules.dep`: packages of kernels come without that file, which depmod(8) makes on installation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use elf::ElfBytes;
use elf::endian::AnyEndian;

use crate::missing::Missing;

/// The most bytes that a module may have.
const LARGEST: u64 = 256 << 20;
/// How deep the directories of modules are looked through.
const DEEPEST: usize = 16;
/// The ends of file names, each with how the file is compressed.
const SUFFIXES: &[(&str, Compression)] = &[
    (".ko", Compression::None),
    (".ko.xz", Compression::Xz),
    (".ko.zst", Compression::Zstd),
    (".ko.gz", Compression::Gzip),
];
/// What modules ask the kernel to load when they are used. In a guest nobody would do that.
const LOADED_LATER: &[(&str, &[&str])] =
    &[("nfs", &["nfsv3", "nfsv4"]), ("vfat", &["nls_cp437", "nls_ascii", "nls_iso8859_1"])];

/// How a file is compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compression {
    None,
    Xz,
    Zstd,
    Gzip,
}

/// A module as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with `_` for `-`.
    pub name: String,
    /// The whole module, not compressed.
    pub bytes: Vec<u8>,
}

/// A directory of modules, as /lib/modules/RELEASE.
#[derive(Debug)]
pub struct Modules {
    directory: PathBuf,
    files: BTreeMap<String, (PathBuf, Compression)>,
    /// Names and aliases of what the kernel has built in.
    built_in: BTreeSet<String>,
    /// The names behind each alias; `None` where depmod(8) has not written them down.
    aliases: Option<BTreeMap<String, Vec<String>>>,
}

/// What a module says of itself.
#[derive(Debug, Default)]
pub(crate) struct Info {
    depends: Vec<String>,
    before: Vec<String>,
    after: Vec<String>,
    aliases: Vec<String>,
}

impl Modules {
    /// Reads which modules a directory has, and what the kernel has built in.
    ///
    /// # Errors
    /// Where the directory cannot be read or has no modules.
    pub fn open(directory: &Path) -> Result<Self, Missing> {
        let mut files = BTreeMap::new();
        find(directory, DEEPEST, &mut files).map_err(|error| unreadable(directory, &error))?;
        let text = |name| fs::read_to_string(directory.join(name)).ok();
        let mut built_in: BTreeSet<String> = text("modules.builtin")
            .unwrap_or_default()
            .lines()
            .filter_map(|line| Some(name_of(Path::new(line).file_name()?.to_str()?)?.0))
            .collect();
        let described = fs::read(directory.join("modules.builtin.modinfo")).unwrap_or_default();
        built_in.extend(strings(&described).filter_map(|line| {
            let (_, value) = line.split_once('.')?;
            value.strip_prefix("alias=").map(canonical)
        }));
        if files.is_empty() && built_in.is_empty() {
            return Err(Missing::new(
                "the modules of the kernel",
                format!("{} has no modules", directory.display()),
                "name the directory that holds the modules of this kernel, as /lib/modules/RELEASE",
            ));
        }
        let aliases = text("modules.alias").map(|text| parse_aliases(&text));
        Ok(Self { directory: directory.to_owned(), files, built_in, aliases })
    }

    /// Whether there is a module of this name or alias, or the kernel has it built in.
    pub fn knows(&self, name: &str) -> bool {
        self.built_in.contains(&canonical(name)) || !self.names(name).is_empty()
    }

    /// The modules of these names or aliases, each once and after those that it depends on. What the
    /// kernel has built in needs none.
    ///
    /// # Errors
    /// A name that is neither a module nor built in, or a module that cannot be read.
    pub fn load(&self, names: &[&str]) -> Result<Vec<Module>, Missing> {
        let mut loading = Loading { modules: self, seen: BTreeSet::new(), loaded: Vec::new() };
        for name in names {
            loading.require(name)?;
        }
        Ok(loading.loaded)
    }

    /// The names of the modules that a name or an alias stands for; none for what is built in.
    fn names(&self, name: &str) -> Vec<String> {
        let name = canonical(name);
        if self.built_in.contains(&name) {
            return Vec::new();
        }
        if self.files.contains_key(&name) {
            return vec![name];
        }
        match &self.aliases {
            Some(aliases) => {
                let known = aliases.get(&name).cloned().unwrap_or_default();
                known.into_iter().filter(|name| self.files.contains_key(name)).collect()
            }
            None => self.search(&name),
        }
    }

    /// Looks for an alias in the modules themselves: first in those that are called alike, because
    /// to read a module it has to be decompressed.
    fn search(&self, alias: &str) -> Vec<String> {
        let (parts, rest): (&[&str], _) = match alias.split_once('_') {
            Some(("fs", rest)) => (&["/fs/", "/sunrpc/"], rest),
            Some(("crypto", rest)) => (&["/crypto/"], rest),
            _ => (&["/crypto/"], alias),
        };
        let stem = rest.split('_').next().unwrap_or(rest).trim_end_matches(char::is_numeric);
        let (alike, others): (Vec<_>, Vec<_>) = self
            .files
            .iter()
            .filter(|(_, (path, _))| parts.iter().any(|p| path.to_string_lossy().contains(p)))
            .partition(|(name, _)| name.starts_with(stem));
        let has = |file: &(PathBuf, Compression)| {
            let info = read(file).ok().and_then(|bytes| info(&bytes));
            info.is_some_and(|info| info.aliases.iter().any(|other| other == alias))
        };
        let of = |files: Vec<(&String, &(PathBuf, Compression))>| -> Vec<String> {
            files.into_iter().filter(|(_, file)| has(file)).map(|(name, _)| name.clone()).collect()
        };
        let found = of(alike);
        if found.is_empty() { of(others) } else { found }
    }

    fn unknown(&self, name: &str, wanted_by: Option<&str>) -> Missing {
        let wanted_by = wanted_by.map(|by| format!(", which {by} depends on")).unwrap_or_default();
        Missing::new(
            format!("the kernel module {name}"),
            format!(
                "the kernel does not have it built in, and it is not in {}{wanted_by}",
                self.directory.display()
            ),
            "use a kernel that has it, or name the directory of all of its modules",
        )
    }
}

/// Modules that are being collected.
struct Loading<'m> {
    modules: &'m Modules,
    seen: BTreeSet<String>,
    loaded: Vec<Module>,
}

impl Loading<'_> {
    fn require(&mut self, name: &str) -> Result<(), Missing> {
        let modules = self.modules;
        let names = modules.names(name);
        if names.is_empty() && !modules.built_in.contains(&canonical(name)) {
            return Err(modules.unknown(name, None));
        }
        names.iter().try_for_each(|name| self.add(name))
    }

    /// Adds what a module is better with: whatever there is of it.
    fn welcome(&mut self, names: &[String]) -> Result<(), Missing> {
        let names: Vec<_> = names.iter().flat_map(|name| self.modules.names(name)).collect();
        names.iter().try_for_each(|name| self.add(name))
    }

    fn add(&mut self, name: &str) -> Result<(), Missing> {
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let modules = self.modules;
        let file = modules.files.get(name).ok_or_else(|| modules.unknown(name, None))?;
        let bytes = read(file).map_err(|error| unreadable(&file.0, &error))?;
        let not_one = io::Error::new(io::ErrorKind::InvalidData, "it is not a kernel module");
        let info = info(&bytes).ok_or_else(|| unreadable(&file.0, &not_one))?;
        self.welcome(&info.before)?;
        for other in &info.depends {
            if modules.files.contains_key(other) {
                self.add(other)?;
            } else if !modules.built_in.contains(other) {
                return Err(modules.unknown(other, Some(name)));
            }
        }
        self.loaded.push(Module { name: name.to_owned(), bytes });
        self.welcome(&info.after)?;
        let later = LOADED_LATER.iter().find(|(user, _)| *user == name);
        let later = later.map_or(&[][..], |(_, names)| names);
        self.welcome(&later.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }
}

/// A name with `_` for `-`: the kernel does not tell the two apart.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name that a file name holds.
fn name_of(file: &str) -> Option<(String, Compression)> {
    SUFFIXES.iter().find_map(|(suffix, compression)| {
        Some((canonical(file.strip_suffix(suffix)?), *compression))
    })
}

/// Adds the modules below a directory.
fn find(
    directory: &Path,
    deepest: usize,
    files: &mut BTreeMap<String, (PathBuf, Compression)>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && deepest > 0 {
            find(&entry.path(), deepest - 1, files)?;
        } else if !kind.is_dir()
            && let Some((name, compression)) = entry.file_name().to_str().and_then(name_of)
        {
            files.insert(name, (entry.path(), compression));
        }
    }
    Ok(())
}

/// The lines `alias PATTERN MODULE` of modules.alias, but for patterns of hardware.
pub(crate) fn parse_aliases(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        if let ["alias", alias, module] = line.split(' ').collect::<Vec<_>>()[..] {
            aliases.entry(canonical(alias)).or_default().push(canonical(module));
        }
    }
    aliases
}

fn unreadable(path: &Path, error: &io::Error) -> Missing {
    Missing::new(
        "the modules of the kernel",
        format!("{} cannot be read: {error}", path.display()),
        "name the directory that holds the modules of this kernel, as /lib/modules/RELEASE",
    )
}

fn read((path, compression): &(PathBuf, Compression)) -> io::Result<Vec<u8>> {
    decompress(BufReader::new(File::open(path)?), *compression)
}

/// What is in a file; no more of it is unpacked than a module may have.
pub(crate) fn decompress(mut file: impl BufRead, compression: Compression) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut take = |from: &mut dyn Read| from.take(LARGEST + 1).read_to_end(&mut bytes);
    match compression {
        Compression::None => take(&mut file)?,
        Compression::Xz => take(&mut lzma_rust2::XzReader::new(file, true))?,
        Compression::Gzip => take(&mut flate2::bufread::MultiGzDecoder::new(file))?,
        Compression::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(&mut file);
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}"));
            take(&mut decoder.map_err(invalid)?)?
        }
    };
    if bytes.len() as u64 > LARGEST {
        let error = format!("a module of more than {} MiB", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    Ok(bytes)
}

/// The zero-terminated strings of a section.
fn strings(section: &[u8]) -> impl Iterator<Item = &str> {
    section.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok())
}

/// What a module says of itself; `None` where it is not a module.
pub(crate) fn info(bytes: &[u8]) -> Option<Info> {
    let elf = ElfBytes::<AnyEndian>::minimal_parse(bytes).ok()?;
    let header = elf.section_header_by_name(".modinfo").ok()??;
    let (section, _) = elf.section_data(&header).ok()?;
    let mut info = Info::default();
    for (key, value) in strings(section).filter_map(|line| line.split_once('=')) {
        match key {
            "depends" => {
                let names = value.split(',').filter(|name| !name.is_empty());
                info.depends.extend(names.map(canonical));
            }
            "alias" => info.aliases.push(canonical(value)),
            "softdep" => soften(value, &mut info),
            _ => {}
        }
    }
    Some(info)
}

/// Reads `pre: NAME... post: NAME...`.
fn soften(text: &str, info: &mut Info) {
    let mut after = false;
    for word in text.split_whitespace() {
        match word {
            "pre:" => after = false,
            "post:" => after = true,
            name if after => info.after.push(canonical(name)),
            name => info.before.push(canonical(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A copy of the fixture, which has a module of each compression and nothing that depmod(8) writes.
    fn fixture() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let from = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/modules/.");
        let copied = Command::new("cp").arg("-r").arg(from).arg(place.path()).status().unwrap();
        assert!(copied.success());
        place
    }

    fn names(modules: &Modules, wanted: &[&str]) -> Vec<String> {
        let loaded = modules.load(wanted).unwrap();
        assert!(loaded.iter().all(|module| module.bytes.starts_with(b"\x7fELF")));
        loaded.into_iter().map(|module| module.name).collect()
    }

    #[test]
    fn a_module_comes_after_what_it_depends_on() {
        let place = fixture();
        let modules = Modules::open(place.path()).unwrap();
        let order = ["sum_generic", "rpc_base", "share", "share_extra"];
        assert_eq!(names(&modules, &["share"]), order);
        assert_eq!(names(&modules, &["fs-share4", "share-extra", "rpc_base"]), order);
        assert_eq!(names(&modules, &["share-extra"]), order);
    }

    #[test]
    fn what_is_built_in_needs_no_module() {
        let place = fixture();
        let modules = Modules::open(place.path()).unwrap();
        assert!(names(&modules, &["cache", "disk", "fs-disk3"]).is_empty());
        assert!(modules.knows("fs-disk3") && modules.knows("fs-pipes") && !modules.knows("fs-ink"));
    }

    #[test]
    fn aliases_are_taken_from_modules_alias_where_it_is() {
        let place = fixture();
        let aliases = "# Aliases\nalias fs-other share\nalias crypto-sum sum_generic\n";
        fs::write(place.path().join("modules.alias"), aliases).unwrap();
        let modules = Modules::open(place.path()).unwrap();
        assert_eq!(names(&modules, &["fs-other"])[2], "share");
        assert!(!modules.knows("fs-share4"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let place = fixture();
        let modules = Modules::open(place.path()).unwrap();
        let refusal = |name| modules.load(&[name]).unwrap_err().to_string();
        let directory = place.path().display().to_string();
        assert!(
            refusal("nfsd").contains("the kernel module nfsd")
                && refusal("nfsd").contains(&directory)
        );
        assert!(
            refusal("lonely").contains("nowhere")
                && refusal("lonely").contains("lonely depends on")
        );
        assert!(
            refusal("garbage").contains("garbage.ko cannot be read: it is not a kernel module")
        );
        fs::write(place.path().join("kernel/fs/share.ko.xz"), b"\xfd7zXZ\0 cut off").unwrap();
        assert!(refusal("share").contains("share.ko.xz cannot be read"));
        let nothing = tempfile::tempdir().unwrap();
        assert!(Modules::open(nothing.path()).unwrap_err().why.contains("has no modules"));
        let nowhere = Modules::open(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(nowhere.why.contains("/nowhere/at/all cannot be read"), "{nowhere}");
    }
}
