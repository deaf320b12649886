//! Everything that reads bytes which nsharness did not just write itself: files of a checkout, what processes and guests
//! say, what the kernel and other programs print. It is one list, so that each of them is tried with whatever comes
//! (`tests/edges.rs` and `fuzz/`).
//!
//! None may panic, hang, or take more memory than its limits say. What it says of good input may be good to be held
//! against something; then that is looked at too.

use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::channel;
use crate::comparison;
use crate::diag::Source;
use crate::inspect::merge::Merge;
use crate::inspect::tree::{Attribute, File, Id, Kind, ROOT, Tree};
use crate::inspect::{Layer, Role, Stack, marks, options, remarks};
use crate::kernel::archive::Package;
use crate::kernel::{cache, debian, release};
use crate::last::Last;
use crate::merge::Merged;
use crate::model::predict;
use crate::named::Named;
use crate::probe::Environment;
use crate::programs;
use crate::report::Reporter;
use crate::report::junit::Junit;
use crate::report::ktap::Ktap;
use crate::report::markdown::Markdown;
use crate::report::read::Told;
use crate::scenario::condition::{ImplementationRange, KernelRange, KernelVersion};
use crate::scenario::scalar::{
    Capability, DeviceNumber, Errno, Mode, Name, ProgramName, StepPath, Timestamp, WorldPath,
};
use crate::scenario::{Case, FoundFile, KnownNames, resolve};
use crate::search::document;
use crate::search::findings::Record;
use crate::shard::Shard;
use crate::snapshot::store;
use crate::target::guest::frame::{Decoder, Encoder};
use crate::target::guest::message::{Reply, Request};
use crate::target::guest::modules::{self, Compression};
use crate::target::recording::Recording;
use crate::target::{Target, Targets};
use crate::worker::{self, log, observe};

/// A reader of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// Its name.
    pub name: &'static str,
    /// Gives it some. An error says what it did that it must not do.
    pub read: fn(&[u8]) -> Result<(), String>,
}

/// All of them.
pub const ALL: &[Edge] = &[
    Edge { name: "scenario", read: scenario },
    Edge { name: "model", read: model },
    Edge { name: "document", read: document },
    Edge { name: "snapshot", read: snapshot },
    Edge { name: "recording", read: recording },
    Edge { name: "report", read: report },
    Edge { name: "comparison", read: compared },
    Edge { name: "last-run", read: json::<Last> },
    Edge { name: "findings", read: json::<Record> },
    Edge { name: "kernel-entry", read: json::<cache::Entry> },
    Edge { name: "channel", read: answer },
    Edge { name: "worker-log", read: worker_log },
    Edge { name: "frame", read: frame },
    Edge { name: "message", read: message },
    Edge { name: "mountinfo", read: mountinfo },
    Edge { name: "overlay-options", read: overlay_options },
    Edge { name: "layers", read: layers },
    Edge { name: "module", read: module },
    Edge { name: "module-compressed", read: compressed },
    Edge { name: "module-aliases", read: aliases },
    Edge { name: "program", read: program },
    Edge { name: "kernel-file", read: kernel_file },
    Edge { name: "package", read: package },
    Edge { name: "words", read: words },
];

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The cases of a scenario, or nothing where it is none: then each diagnostic must lie in the file.
fn cases(bytes: &[u8]) -> Result<Vec<Case>, String> {
    let Some(text) = text(bytes) else { return Ok(Vec::new()) };
    let source = Arc::new(Source { name: "fuzzed.yaml".into(), text: text.to_owned() });
    let path = PathBuf::from(&source.name);
    let file = FoundFile { id: "fuzzed".into(), path, base: PathBuf::new() };
    let diagnostics = match resolve(&file, &source, KnownNames { probes: &[] }) {
        Ok(cases) => return Ok(cases),
        Err(diagnostics) => diagnostics,
    };
    if diagnostics.is_empty() {
        return Err("it is refused without a reason".to_owned());
    }
    for diagnostic in diagnostics {
        let rendered = diagnostic.render(false);
        if rendered.contains('\u{1b}') {
            return Err(format!("it writes to the terminal: {rendered:?}"));
        }
        let Some(span) = diagnostic.span else { continue };
        let inside = span.start <= span.end
            && span.end <= text.len()
            && text.is_char_boundary(span.start)
            && text.is_char_boundary(span.end);
        if !inside {
            return Err(format!("{span:?} is not in a file of {} bytes", text.len()));
        }
    }
    Ok(Vec::new())
}

fn scenario(bytes: &[u8]) -> Result<(), String> {
    for case in cases(bytes)? {
        let sent = serde_json::to_string(&case.plan).map_err(|error| error.to_string())?;
        let heard = serde_json::from_str::<crate::scenario::plan::Plan>(&sent);
        let heard = heard.map_err(|error| format!("its plan cannot be read again: {error}"))?;
        if serde_json::to_string(&heard).ok().as_deref() != Some(&*sent) {
            return Err("its plan is another one when it is read again".to_owned());
        }
    }
    Ok(())
}

fn model(bytes: &[u8]) -> Result<(), String> {
    let profile = Environment::of_host(true).profile();
    for case in cases(bytes)?.iter().take(4) {
        predict(&case.plan, &profile);
    }
    Ok(())
}

fn document(bytes: &[u8]) -> Result<(), String> {
    let Some(plan) = text(bytes).and_then(|text| document::read(text, "fuzzed").ok()) else {
        return Ok(());
    };
    // What only scenarios say that people write is in no document.
    let Ok(again) = document::to_plan(&document::of_plan(&plan), "fuzzed") else { return Ok(()) };
    if plan.steps.len() == again.steps.len() { Ok(()) } else { Err("steps got lost".to_owned()) }
}

fn snapshot(bytes: &[u8]) -> Result<(), String> {
    let Some(content) = text(bytes).and_then(|text| store::content(text).ok()) else {
        return Ok(());
    };
    match store::content(&format!("---\nsource: x\n---\n{content}")) {
        Ok(again) if again == content => Ok(()),
        other => Err(format!("{content:?} is {other:?} when it is read again")),
    }
}

fn recording(bytes: &[u8]) -> Result<(), String> {
    let _ = Recording::parse(bytes);
    Ok(())
}

fn report(bytes: &[u8]) -> Result<(), String> {
    let told = Told::of(Path::new("fuzzed.json"), bytes);
    let mut junit = Junit::new(std::io::sink());
    let mut ktap = Ktap::new(std::io::sink());
    let mut markdown = Markdown::new(std::io::sink());
    let mut reporters: [&mut dyn Reporter; 3] = [&mut junit, &mut ktap, &mut markdown];
    let totals = Merged::of(vec![told]).tell(&mut reporters).map_err(|error| error.to_string())?;
    for reporter in &mut reporters {
        reporter.end(&totals).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn compared(mut bytes: &[u8]) -> Result<(), String> {
    let _ = comparison::Reader::read(&mut bytes);
    Ok(())
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<(), String> {
    let _ = serde_json::from_slice::<T>(bytes);
    Ok(())
}

fn answer(mut bytes: &[u8]) -> Result<(), String> {
    while let Ok(Some(_)) = channel::receive::<(u64, worker::Answer)>(&mut bytes) {}
    Ok(())
}

fn worker_log(bytes: &[u8]) -> Result<(), String> {
    log::read_text(bytes);
    Ok(())
}

/// The bytes as they are, and then as what is in a frame.
fn frame(bytes: &[u8]) -> Result<(), String> {
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(97) {
        decoder.feed(piece);
        if !matches!(decoder.decode::<serde_json::Value>(), Ok(Some(_) | None)) {
            break;
        }
    }
    let Some(text) = text(bytes) else { return Ok(()) };
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let framed = encoder.encode(&text).map_err(|error| error.to_string())?;
    decoder.feed(&framed);
    match decoder.decode::<String>() {
        Ok(Some(again)) if again == text => Ok(()),
        other => Err(format!("{text:?} is {other:?} when it is read again")),
    }
}

fn message(bytes: &[u8]) -> Result<(), String> {
    let _ = serde_json::from_slice::<Reply>(bytes);
    let _ = serde_json::from_slice::<Request>(bytes);
    Ok(())
}

fn mountinfo(bytes: &[u8]) -> Result<(), String> {
    if let Some(table) = text(bytes) {
        observe::mounts(table, None);
        observe::mounts(table, Some("a/b"));
    }
    options::mounted_at(bytes, b"/");
    Ok(())
}

fn overlay_options(bytes: &[u8]) -> Result<(), String> {
    let _ = options::Options::parse(bytes);
    Ok(())
}

/// Three layers that the bytes say: a file every four bytes, with attributes in which an overlay keeps its marks.
fn layers(bytes: &[u8]) -> Result<(), String> {
    const NAMES: [&[u8]; 8] =
        [b"a", b"b", b"c", b".wh.a", b".wh..wh..opq", b".wh.", b"\xff", b"a b"];
    const MARKS: [&str; 8] =
        ["opaque", "redirect", "metacopy", "origin", "whiteout", "impure", "nlink", "upper"];
    const MOST: usize = 120;
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut trees: [Tree; 3] = Default::default();
    let mut dirs: [Vec<Id>; 3] = Default::default();
    for (tree, dirs) in trees.iter_mut().zip(&mut dirs) {
        dirs.push(tree.add(File::new(b"", ROOT, Kind::Dir)));
    }
    let mut pieces = rest.chunks_exact(4).take(MOST);
    while let Some([place, name, kind, mark]) = pieces.next() {
        let layer = usize::from(*place) % 3;
        let (tree, dirs) = (&mut trees[layer], &mut dirs[layer]);
        let parent = dirs[usize::from(*place / 3) % dirs.len()];
        let name = NAMES[usize::from(*name) % NAMES.len()];
        // A directory has each name once.
        if tree.files().any(|(_, file)| file.parent == parent && *file.name == *name) {
            continue;
        }
        let kinds = [Kind::Dir, Kind::File, Kind::Char(0, 0), Kind::Symlink, Kind::Char(1, 3)];
        let mut file = File::new(name, parent, kinds[usize::from(*kind) % kinds.len()]);
        let value = match mark % 5 {
            0 => b"y".to_vec(),
            1 => b"x".to_vec(),
            2 => b"/a/b".to_vec(),
            3 => Vec::new(),
            _ => pieces.next().unwrap_or_default().to_vec(),
        };
        let space = if mark & 64 == 0 { "trusted" } else { "user" };
        let own = MARKS[usize::from(*mark / 5) % MARKS.len()];
        let attribute = format!("{space}.overlay.{own}");
        file.attributes.push(Attribute { name: attribute.into(), value: Ok(value.into()) });
        file.size = u64::from(mark % 2);
        let is_dir = file.kind == Kind::Dir;
        let id = tree.add(file);
        if is_dir {
            dirs.push(id);
        }
    }
    trees.iter_mut().for_each(Tree::finish);
    let roles = [Role::Upper, Role::Lower, if first & 16 == 0 { Role::Lower } else { Role::Data }];
    let layers = trees.into_iter().zip(roles);
    let stack = Stack {
        layers: layers.map(|(tree, role)| Layer { path: "l".into(), role, tree }).collect(),
        reading: [marks::Reading::Trusted, marks::Reading::User, marks::Reading::Oci]
            [usize::from(*first) % 3],
        redirects: first & 4 != 0,
        metacopy: first & 8 != 0,
    };
    // Redirects may show a directory in several places, and in itself.
    for name in Merge::new(&stack).take(10 * MOST) {
        remarks::of_name(&stack, &name);
    }
    remarks::of_layers(&stack);
    remarks::seen_twice(&stack);
    Ok(())
}

fn module(bytes: &[u8]) -> Result<(), String> {
    modules::info(bytes);
    Ok(())
}

/// The first byte says how it is compressed.
fn compressed(bytes: &[u8]) -> Result<(), String> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
    let kinds = [Compression::Xz, Compression::Gzip, Compression::Zstd, Compression::None];
    let kind = kinds[usize::from(*first) % kinds.len()];
    let _ = modules::decompress(BufReader::new(rest), kind);
    Ok(())
}

fn aliases(bytes: &[u8]) -> Result<(), String> {
    modules::parse_aliases(&String::from_utf8_lossy(bytes));
    Ok(())
}

fn program(bytes: &[u8]) -> Result<(), String> {
    let _ = programs::interpreter(Cursor::new(bytes));
    let _ = programs::parse_list(&String::from_utf8_lossy(bytes));
    Ok(())
}

fn kernel_file(bytes: &[u8]) -> Result<(), String> {
    release::of_bytes(bytes);
    Ok(())
}

fn package(bytes: &[u8]) -> Result<(), String> {
    if let Some(package) = text(bytes).and_then(Package::parse) {
        package.dependencies(&["linux-image-"]);
    }
    Ok(())
}

/// What people write on a command line and in fields of scenarios: what is understood is understood again as it is
/// written.
fn words(bytes: &[u8]) -> Result<(), String> {
    let Some(text) = text(bytes) else { return Ok(()) };
    fn again<T: FromStr + ToString>(text: &str) -> Result<(), String> {
        let Ok(read) = text.parse::<T>() else { return Ok(()) };
        let written = read.to_string();
        match written.parse::<T>() {
            Ok(same) if same.to_string() == written => Ok(()),
            _ => Err(format!("{text:?} is written {written:?}, which is something else")),
        }
    }
    again::<Target>(text)?;
    again::<Shard>(text)?;
    again::<Errno>(text)?;
    again::<KernelVersion>(text)?;
    again::<KernelRange>(text)?;
    again::<ImplementationRange>(text)?;
    again::<Mode>(text)?;
    again::<Name>(text)?;
    again::<ProgramName>(text)?;
    again::<WorldPath>(text)?;
    again::<StepPath>(text)?;
    again::<DeviceNumber>(text)?;
    again::<Capability>(text)?;
    again::<Timestamp>(text)?;
    again::<Named>(text)?;
    let _ = text.parse::<Targets>();
    let _ = text.parse::<debian::Release>();
    let _ = KernelVersion::of_release(text);
    let _ = KernelVersion::of_uname(text, text);
    Ok(())
}
