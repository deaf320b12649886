//! One edge, which `NSHARNESS_EDGE` names, given whatever the fuzzer finds: see CONTRIBUTING.md.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nsharness::edges::{ALL, Edge};

static EDGE: LazyLock<&Edge> = LazyLock::new(|| {
    let wanted = std::env::var("NSHARNESS_EDGE").unwrap_or_default();
    ALL.iter().find(|edge| edge.name == wanted).unwrap_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|edge| edge.name).collect();
        panic!("NSHARNESS_EDGE is {wanted:?}: it names one of {}", names.join(", "))
    })
});

fuzz_target!(|input: &[u8]| {
    if let Err(wrong) = (EDGE.read)(input) {
        panic!("{}: {wrong}", EDGE.name);
    }
});
