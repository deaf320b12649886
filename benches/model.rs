//! How many steps a second the model predicts on one core.

use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nsharness::model::Simulation;
use nsharness::model::profile::Profile;
use nsharness::scenario::condition::KernelVersion;
use nsharness::scenario::{Case, FoundFile, KnownNames, resolve};

/// Rounds of the same steps in one scenario.
const ROUNDS: usize = 50;

const FILES: &str = "
  - mkdir: { path: a/new }
  - write: { path: a/new/file, data: hello }
  - stat: { path: a/new/file }
  - rename: { from: a/new/file, to: b }
  - stat: { path: a/new/file, expect: ENOENT }
  - read: { path: b }
  - chmod: { path: b, mode: 0600 }
  - unlink: { path: b }
  - rmdir: { path: a/new }
  - list: { path: a }
";
const FILES_WORLD: &str = "
world:
  tree: { a: dir }
";

const OVERLAY: &str = "
  - stat: { path: merged/d/lower }
  - unlink: { path: merged/d/lower }
  - stat: { path: merged/d/lower, expect: ENOENT }
  - write: { path: merged/d/lower, data: again }
  - list: { path: merged/d }
  - mkdir: { path: merged/d/new }
  - rename: { from: merged/d/lower, to: merged/d/new/name }
  - rename: { from: merged/d/new/name, to: merged/d/lower }
  - rmdir: { path: merged/d/new }
  - read: { path: merged/d/lower }
";
const OVERLAY_WORLD: &str = "
world:
  tree: { lower/d/lower: file, lower/d/other: file, upper: dir, work: dir, merged: dir }
  mounts: [ overlay: { at: merged, lower: [lower], upper: upper, work: work } ]
";

const MOUNTS: &str = "
  - mount: { type: tmpfs, at: m/a }
  - mounted: { path: m/a, at: s/a }
  - umount: { at: m/a }
";
const MOUNTS_WORLD: &str = "
world:
  tree: { m/a: dir, s: dir }
  mounts:
    - bind: { from: m, at: m }
    - propagation: { at: m, type: shared }
    - bind: { from: m, at: s }
    - propagation: { at: s, type: slave }
";

fn case(name: &str, world: &str, steps: &str) -> Case {
    let steps = steps.replace("path: m/a, at: s/a", "at: s/a").repeat(ROUNDS);
    let text = format!("title: {name}\n{world}\nsteps:{steps}");
    let path = PathBuf::from(format!("{name}.yaml"));
    let file = FoundFile { id: name.to_owned(), base: PathBuf::new(), path };
    let source =
        std::sync::Arc::new(nsharness::diag::Source { name: format!("{name}.yaml"), text });
    let resolved = resolve(&file, &source, KnownNames { probes: &[] });
    resolved.expect("a scenario").remove(0)
}

fn steps(c: &mut Criterion) {
    let profile = Profile::of_version(KernelVersion(6, 18, 0));
    let mut group = c.benchmark_group("model");
    let shapes = [
        ("files", FILES_WORLD, FILES),
        ("overlay", OVERLAY_WORLD, OVERLAY),
        ("mounts", MOUNTS_WORLD, MOUNTS),
    ];
    for (name, world, text) in shapes {
        let case = case(name, world, text);
        group.throughput(Throughput::Elements(case.plan.steps.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut simulation = Simulation::start(&case.plan, &profile).expect("a world");
                for step in &case.plan.steps {
                    std::hint::black_box(simulation.step(step));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
