//! Many plans in one sandbox answer what each answers alone: nothing of one reaches the next.
//!
//! Its own `main`: the kernel is asked by forks of this process, which must have one thread then.

mod common;

use std::path::Path;
use std::process::ExitCode;

use common::cases;
use nsharness::scenario::plan::Plan;
use nsharness::transcript::{End, Transcript};
use nsharness::verdict::agreement::{first_observation, first_step};
use nsharness::worker::arena::{Check, fits};
use nsharness::worker::{Answer, Worker};

fn main() -> ExitCode {
    let plans = plans(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"));
    let worker = Worker::new().expect("memory");
    let mut asked: Vec<(Plan, Transcript)> = Vec::new();
    for plan in plans {
        // What this machine does not allow is no matter of how it is asked.
        if let Answer::Asked(transcript) = worker.run(&plan)
            && transcript.end == End::Completed
        {
            asked.push((plan, *transcript));
        }
    }
    // Those that need the same sandbox stand together, each of them twice: beside others, and after itself.
    asked.sort_by_key(|(plan, _)| (plan.needs.ids.clone(), plan.needs.namespaces.clone()));
    let twice = asked.iter().flat_map(|(plan, _)| [plan.clone(), plan.clone()]).collect::<Vec<_>>();
    // As scenarios are on this machine, and as trials and all in guests are, which share memory.
    let sharing = Worker::sharing_memory().expect("memory");
    let mut ways = vec![("together", worker), ("sharing memory", sharing)];
    // As in guests, where the worker is root and has another process make its sandboxes.
    if nix::unistd::geteuid().is_root() {
        ways.push(("as in a guest", Worker::in_guest().expect("a process that makes sandboxes")));
    }
    let mut wrong = Vec::new();
    for (how, worker) in ways {
        let together = worker.run_all(&twice, Check::Sequence);
        for (index, (plan, alone)) in asked.iter().enumerate() {
            for answer in &together[2 * index..2 * index + 2] {
                wrong.extend(parts(plan, alone, answer, how));
            }
        }
    }
    let fitting = asked.iter().filter(|(plan, _)| fits(plan)).count();
    println!("{} plans asked alone and together, {fitting} in a sandbox with others", asked.len());
    wrong.iter().for_each(|line| println!("  {line}"));
    let enough = fitting > 100 || asked.is_empty();
    if wrong.is_empty() && enough { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where two answers to a plan part.
fn parts(plan: &Plan, alone: &Transcript, answer: &Transcript, how: &str) -> Vec<String> {
    let mut parts = Vec::new();
    if answer.end != alone.end {
        parts.push(format!("{}: alone {:?}, {how} {:?}", plan.id, alone.end, answer.end));
    }
    let step = first_step(answer, alone, |_| false)
        .map(|(index, difference)| (format!("step {index}"), difference));
    let seen = || Some(("observation".to_owned(), first_observation(answer, alone, |_| false)?.1));
    if let Some((place, difference)) = step.or_else(seen) {
        parts.push(format!("{}: {how}: {place}: {difference:?}", plan.id));
    }
    parts
}

fn plans(scenarios: &Path) -> Vec<Plan> {
    let plans = cases(scenarios).into_iter().map(|case| case.plan);
    plans.filter(|plan| !plan.needs.privileged).collect()
}
