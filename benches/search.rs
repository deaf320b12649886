//! How many steps a second are searched, and how near that is to the same steps taken bare: in the same
//! worlds, made and taken away in the same way, with no model, no observation and no comparison. Where it is
//! observed after every step, some trials are asked once more with other rights, and so they are taken bare.
//!
//! `cargo bench --bench search` prints both rates, in turn, and their ratio.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::sys::wait::waitpid;
use nsharness::probe::Environment;
use nsharness::scenario::plan::Plan;
use nsharness::search::Cause;
use nsharness::search::catalogue::Counted;
use nsharness::search::family::Means;
use nsharness::search::hunt::{Haul, Options, Watcher, search};
use nsharness::search::job::Parted;
use nsharness::search::trial::Recipe;
use nsharness::shard::Shard;
use nsharness::sys::{exit_now, fork};
use nsharness::target::Target;
use nsharness::worker::Worker;
use nsharness::worker::arena::Check;

const SEED: u64 = 1;
const TURNS: usize = 3;
/// How many trials are replayed in one sandbox at most, as a search does.
const BATCH: usize = 256;

/// Keeps what the kernel was found to be.
struct Silent;

impl Watcher for Silent {
    fn ready(&mut self, _: &Environment, _: Option<&Counted>) {}
    fn asked(&mut self, _: &Haul, _: &BTreeMap<Cause, Parted>) {}
    fn shrinking(&mut self, _: &Cause) {}
}

fn main() {
    // `cargo test --benches` and the like only want to know that it runs.
    let brief = std::env::args().any(|argument| argument == "--test");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for check in [Check::Sequence, Check::Step] {
        for jobs in if cores > 1 { vec![1, cores] } else { vec![1] } {
            let trials = match check {
                _ if brief => 64,
                Check::Sequence => 8192,
                Check::Step => 2048,
            };
            compare(check, jobs, trials);
        }
    }
}

fn compare(check: Check, jobs: usize, trials: u64) {
    let mut ratios = Vec::new();
    for turn in 1..=TURNS {
        let haul = search(&options(check, jobs, trials), &mut Silent);
        let Some(environment) = &haul.environment else {
            println!("this machine cannot be searched: {:?}", haul.ended);
            return;
        };
        let (bare, steps) = bare_rate(environment, check, jobs, trials);
        let searched = steps / haul.elapsed.as_secs_f64();
        println!(
            "{check:?}, jobs {jobs}, turn {turn}: bare {bare:.0} steps/s, searched {searched:.0} steps/s, ratio {:.2}",
            searched / bare
        );
        ratios.push(searched / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("{check:?}, jobs {jobs}: median ratio {:.2}", ratios[ratios.len() / 2]);
}

fn options(check: Check, jobs: usize, trials: u64) -> Options {
    Options {
        families: vec!["overlay"],
        target: Target::Host,
        seed: SEED,
        count: Some(trials),
        time: None::<Duration>,
        jobs,
        check,
        shard: Shard::WHOLE,
        from: 0,
        without: None,
        overlay: None,
        mutate: false,
        catalogue: None,
    }
}

/// The rate of the same trials, bare, by as many processes, and how many steps they are.
fn bare_rate(environment: &Environment, check: Check, jobs: usize, trials: u64) -> (f64, f64) {
    let recipe = Recipe {
        families: vec!["overlay"],
        seed: SEED,
        means: Means::of(environment),
        profile: environment.profile(),
        check,
        without: None,
        overlay: None,
        mutate: false,
        catalogue: None,
    };
    let (answers, answer) = std::io::pipe().expect("pipe");
    let share = trials.div_ceil(jobs as u64);
    let workers: Vec<_> = (0..trials)
        .step_by(share as usize)
        .map(|first| match fork().expect("fork") {
            Some(child) => child,
            None => {
                let (steps, time) = replay(&recipe, first..(first + share).min(trials));
                let said = [steps, steps / time.as_secs_f64()].map(f64::to_le_bytes).concat();
                exit_now(i32::from((&answer).write_all(&said).is_err()))
            }
        })
        .collect();
    for worker in &workers {
        let status = waitpid(*worker, None).expect("waitpid");
        assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
    }
    let number = || {
        let mut bytes = [0; 8];
        (&answers).read_exact(&mut bytes).expect("a number");
        f64::from_le_bytes(bytes)
    };
    workers.iter().fold((0.0, 0.0), |(rate, steps), _| {
        let more = number();
        (rate + number(), steps + more)
    })
}

/// Takes the steps of trials, and says how many those are and how long it took. Only the taking is timed. No more plans
/// are there at once than a search has: each process in a sandbox begins as a copy of the one that asks.
fn replay(recipe: &Recipe, numbers: Range<u64>) -> (f64, Duration) {
    let worker = Worker::sharing_memory().expect("memory");
    let (mut steps, mut time) = (0, Duration::ZERO);
    for first in numbers.clone().step_by(BATCH) {
        let batch: Vec<u64> = (first..(first + BATCH as u64).min(numbers.end)).collect();
        let mut plans: Vec<Plan> =
            recipe.make_all(&batch).made.into_iter().map(|made| made.trial.plan).collect();
        plans.iter_mut().for_each(|plan| plan.observe.clear());
        let began = Instant::now();
        let done = worker.replay(&plans);
        time += began.elapsed();
        // A few worlds are refused by kernel and model alike.
        assert!(10 * done > 9 * plans.len(), "{done} of {} trials", plans.len());
        steps += plans.iter().map(|plan| plan.steps.len()).sum::<usize>();
    }
    (steps as f64, time)
}
