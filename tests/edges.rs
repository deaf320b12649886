//! Whatever comes over an edge: no panic, no hang, no unbounded memory (`nsharness::edges`).
//!
//! Good input is changed at random, by a generator with fixed seeds, so that a failure comes again. What was found once
//! is in `fixtures/edges/EDGE/` and is tried first. `NSHARNESS_FUZZ_SECONDS` goes on for so long with each edge, from
//! `NSHARNESS_FUZZ_SEED` on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nsharness::edges::{ALL, Edge};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use rstest::rstest;

/// How often each edge is tried where nobody says how long.
const RUNS: u64 = 300;
/// How long one input may take, on a slow machine and unoptimised.
const LONGEST: Duration = Duration::from_secs(20);
/// How much memory may be in use at one time, by all tests that run at once: the largest message that may come, and
/// what is made of it.
const MOST_MEMORY: usize = 1 << 30;
/// The longest input that is made.
const LONGEST_INPUT: usize = 64 << 10;

/// Counts what is in use, and refuses what is too much: the process ends then.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator is")]
// SAFETY: all of it is left to the system's allocator; a count is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IN_USE.fetch_add(layout.size(), Relaxed) + layout.size() > MOST_MEMORY {
            IN_USE.fetch_sub(layout.size(), Relaxed);
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a directory that are short enough, in their order.
fn files(directory: &Path, ending: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    let mut paths = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { pending.push(path) } else { paths.push(path) }
        }
    }
    paths.sort();
    for path in paths.iter().filter(|path| path.to_string_lossy().ends_with(ending)) {
        let bytes = fs::read(path).expect("a fixture");
        if bytes.len() <= LONGEST_INPUT {
            found.push(bytes);
        }
    }
    found
}

fn own(edge: &str) -> PathBuf {
    root().join("fixtures/edges").join(edge)
}

/// What is changed: the edge's own inputs, and what the project has that goes over it.
fn good(edge: &str) -> Vec<Vec<u8>> {
    let mut all = files(&own(edge), "");
    match edge {
        "scenario" | "model" | "document" => {
            all.extend(files(&root().join("scenarios"), ".yaml"));
            all.extend(files(&root().join("docs/examples"), ".yaml"));
            all.extend(files(&root().join("fixtures/invalid"), ".yaml"));
        }
        "snapshot" => all.extend(files(&root().join("snapshots/overlay"), ".snap")),
        "recording" => {
            let text = fs::read_to_string(root().join("fixtures/recordings/6.12.jsonl")).unwrap();
            let lines: Vec<_> = text.split_inclusive('\n').collect();
            let answers = lines[1..].chunks(2).map(|two| format!("{}{}", lines[0], two.concat()));
            all.extend(answers.map(String::into_bytes).filter(|all| all.len() < LONGEST_INPUT));
        }
        "module" | "program" | "module-compressed" => {
            all.extend(files(&root().join("fixtures/modules"), ""));
        }
        "mountinfo" => all.extend(fs::read("/proc/self/mountinfo")),
        _ => {}
    }
    assert!(!all.is_empty(), "{edge} has no input to begin with");
    all
}

/// What is put in the place of a word: ends of ranges, and what formats give a meaning.
const WORDS: &[&[u8]] = &[
    b"-1",
    b"0",
    b"18446744073709551615",
    b"1e999",
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    b"~",
    b": ",
    b"- ",
    b"\n",
    b"\\u0000",
    b"\xff",
    b"\"",
    b"'",
    b"../..",
    b"/",
    b",",
    b"${case.x}",
    b"${",
    b"&a",
    b"*a",
    b"!!x",
    b"? ",
    b"| ",
    b"#",
    b"\t",
    b"{",
    b"[",
    b"\xe2\x80\xa8",
    b"\r\n",
];

/// An input by its number: a good one, changed in up to eight places.
fn input(good: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut below = |limit: usize| (random.next_u64() % limit.max(1) as u64) as usize;
    let mut bytes = good[below(good.len())].clone();
    for _ in 0..=below(8) {
        let at = below(bytes.len() + 1);
        let order = below(8);
        let length = 1 + below(1 << order);
        let until = (at + length).min(bytes.len());
        match below(10) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 if at < bytes.len() => bytes[at] = below(256) as u8,
            2 => drop(bytes.drain(at..until)),
            3 => bytes.truncate(at),
            // Something twice, or often.
            4 => {
                let order = below(10);
                let piece = bytes[at..until].repeat(1 + below(1 << order));
                bytes.splice(at..at, piece);
            }
            // Something of another input.
            5 | 6 => {
                let other = &good[below(good.len())];
                let from = below(other.len() + 1);
                let piece = other[from..(from + length).min(other.len())].to_vec();
                bytes.splice(at..until, piece);
            }
            // A word in the place of another.
            7 | 8 => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                let end = bytes[at..].iter().position(|byte| !is_part(byte));
                let end = end.map_or(bytes.len(), |end| at + end);
                bytes.splice(at..end, WORDS[below(WORDS.len())].iter().copied());
            }
            _ => bytes.extend((0..length).map(|_| below(256) as u8)),
        }
    }
    bytes.truncate(LONGEST_INPUT);
    bytes
}

/// Gives an edge one input; what it did that it must not do.
fn try_one(edge: &Edge, bytes: &[u8]) -> Result<(), String> {
    let began = Instant::now();
    match catch_unwind(AssertUnwindSafe(|| (edge.read)(bytes))) {
        Ok(Ok(())) if began.elapsed() > LONGEST => Err(format!("it took {:?}", began.elapsed())),
        Ok(said) => said,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            Err(format!("it panicked: {}", text.unwrap_or_default()))
        }
    }
}

/// Where an input is written that was not withstood.
fn keep(edge: &Edge, name: &str, bytes: &[u8]) -> PathBuf {
    let directory = root().join("target/edges").join(edge.name);
    fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

/// Tells of an input that hangs, and ends the test: the thread that reads it cannot.
fn watch(edge: &Edge, good: &[Vec<u8>], first: u64, heard: &Receiver<u64>) {
    let mut seed = first;
    loop {
        match heard.recv_timeout(LONGEST * 3) {
            Ok(next) => seed = next,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let path = keep(edge, &format!("hang-{seed}"), &input(good, seed));
                eprintln!("{} hangs: {}", edge.name, path.display());
                std::process::abort();
            }
        }
    }
}

#[rstest]
fn an_edge_withstands_whatever_comes(
    #[values(
        "scenario",
        "model",
        "document",
        "snapshot",
        "recording",
        "report",
        "comparison",
        "last-run",
        "findings",
        "kernel-entry",
        "channel",
        "worker-log",
        "frame",
        "message",
        "mountinfo",
        "overlay-options",
        "layers",
        "module",
        "module-compressed",
        "module-aliases",
        "program",
        "kernel-file",
        "package",
        "words"
    )]
    name: &str,
) {
    let edge = ALL.iter().find(|edge| edge.name == name).expect("an edge");
    let good = good(name);
    for bytes in &good {
        let done = try_one(edge, bytes);
        assert_eq!(done, Ok(()), "{name}: {}", String::from_utf8_lossy(bytes));
    }
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let time = variable("NSHARNESS_FUZZ_SECONDS").map(Duration::from_secs);
    let first = variable("NSHARNESS_FUZZ_SEED").unwrap_or_default();
    let (alive, heard) = channel::<u64>();
    let (watched, inputs) = (*edge, good.clone());
    let watch = std::thread::spawn(move || watch(&watched, &inputs, first, &heard));
    let began = Instant::now();
    let mut runs = 0;
    let goes_on = |runs: u64| time.map_or(runs < RUNS, |time| began.elapsed() < time);
    let mut wrong = Vec::new();
    while goes_on(runs) && wrong.len() < 5 {
        let seed = first + runs;
        let _ = alive.send(seed);
        let bytes = input(&good, seed);
        if let Err(why) = try_one(edge, &bytes) {
            let path = keep(edge, &format!("seed-{seed}"), &bytes);
            wrong.push(format!("{}: {why}", path.display()));
        }
        runs += 1;
    }
    drop(alive);
    watch.join().expect("the one that watches");
    eprintln!("{name}: {runs} runs in {:.1} s", began.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_edge_is_tried() {
    let text = fs::read_to_string(root().join("tests/edges.rs")).unwrap();
    for edge in ALL {
        assert!(text.contains(&format!("\"{}\"", edge.name)), "{} is not", edge.name);
    }
}
