//! A reproduction says the same as nsharness does, without it: of what the bundled scenarios ask, it finds no
//! deviation where kernel and model agree, and finds one where it expects something else.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::{Place, User, cases, root, skip};
use nsharness::model::predict;
use nsharness::model::profile::Profile;
use nsharness::model::rules::Invariant;
use nsharness::probe::Environment;
use nsharness::scenario::Case;
use nsharness::scenario::condition::{Answers, KernelVersion};
use nsharness::search::keep::{Repro, reproduction};
use nsharness::search::repro::{About, c, sh};
use nsharness::search::write::Origin;
use nsharness::search::{Cause, Deviation, Finding, Place as At};
use nsharness::target::recording::Recording;
use nsharness::transcript::{Outcome, Transcript};

/// Compilers and programs that are running at once.
const AT_ONCE: usize = 2;
/// Of so many programs one is run; the others are only compiled.
const RUN: usize = 3;

/// What nsharness finds out of this machine.
fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let place = Place::new();
        place.copy("scenarios");
        place.copy("snapshots");
        let arguments = ["run", "scenarios", "--record", "host.jsonl", "--quiet"];
        // Whether the scenarios pass is another test's.
        let done = place.run(User::Own, &arguments);
        assert!(matches!(done.code, Some(0 | 1)), "{}", done.stderr);
        let recording = Recording::read(&place.path().join("host.jsonl")).expect("a recording");
        recording.environment
    })
}

/// Whether there is a compiler.
fn has_compiler() -> bool {
    let version = Command::new("cc").arg("--version").stdout(Stdio::null()).status();
    let found = version.is_ok_and(|status| status.success());
    if !found {
        skip("cc", "there is no C compiler");
    }
    found
}

/// A reproduction that is to be tried.
struct Trial {
    id: String,
    text: String,
    /// Whether it is run.
    run: bool,
}

/// What came of a reproduction.
struct Reproduced {
    id: String,
    code: Option<i32>,
    said: String,
}

/// Compiles a program, to a file beside it or only to see that nothing is wrong.
fn compile(source: &Path, to: Option<&Path>) {
    let mut compiler = Command::new("cc");
    compiler.args(["-Wall", "-Wextra", "-Werror"]).arg(source);
    match to {
        Some(to) => compiler.arg("-o").arg(to),
        None => compiler.arg("-fsyntax-only"),
    };
    let built = compiler.output().expect("a compiler");
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "{}: {said}", source.display());
}

fn reproduce_c(place: &Place, trial: &Trial) -> Option<Reproduced> {
    let name = trial.id.replace(['/', '@'], "-");
    let source = place.write(&format!("{name}.c"), &trial.text);
    let program = place.path().join(name);
    compile(&source, trial.run.then_some(&program));
    let done = trial.run.then(|| run(trial, &mut Command::new(&program)));
    let _ = fs::remove_file(&program);
    done
}

fn reproduce_sh(place: &Place, trial: &Trial) -> Option<Reproduced> {
    let script = place.write(&format!("{}.sh", trial.id.replace(['/', '@'], "-")), &trial.text);
    Some(run(trial, Command::new("sh").arg(script)))
}

fn run(trial: &Trial, command: &mut Command) -> Reproduced {
    let done = command.output().expect("the program");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    Reproduced { id: trial.id.clone(), code: done.status.code(), said }
}

/// Tries reproductions, some at once.
fn each(trials: &[Trial], reproduce: fn(&Place, &Trial) -> Option<Reproduced>) -> Vec<Reproduced> {
    let place = &Place::new();
    let chunk = trials.len().div_ceil(AT_ONCE).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = trials
            .chunks(chunk)
            .map(|part| {
                let reproduce = move |trial| reproduce(place, trial);
                scope.spawn(move || part.iter().filter_map(reproduce).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("the part")).collect()
    })
}

/// The cases of which the kernel here can be asked, each with what the model says.
fn predicted() -> Vec<(Case, Transcript)> {
    let environment = environment();
    let profile = environment.profile();
    let all = cases(&root().join("scenarios"));
    let cases = all.into_iter().filter(|case| environment.missing(case).is_empty());
    let predict = |case: Case| {
        let predicted = predict(&case.plan, &profile).transcript;
        (case, predicted)
    };
    cases.map(predict).collect()
}

fn about(case: &Case) -> About {
    About { title: case.title.clone(), ..About::default() }
}

/// The model's transcript with one thing turned around: a step that succeeds is to fail, or the reverse.
fn turned(predicted: &Transcript) -> Option<Transcript> {
    let mut turned = predicted.clone();
    let is_said = |outcome: &&mut Outcome| !matches!(outcome, Outcome::Abstained(_));
    let outcome = turned.outcomes.iter_mut().rev().find(is_said)?;
    *outcome = match outcome {
        Outcome::Failed { .. } => Outcome::done(),
        _ => Outcome::Failed {
            errno: "EIO".parse().expect("an error"),
            syscall: String::new(),
            message: None,
        },
    };
    Some(turned)
}

/// Says what was tried, and what of it ended otherwise than with this code or, where it could not be asked,
/// with 2.
#[track_caller]
fn judge(what: &str, done: &[Reproduced], code: i32, least: usize) {
    let wrong = |one: &&Reproduced| one.code != Some(code);
    let asked = done.iter().filter(|one| one.code != Some(2)).count();
    eprintln!("{what}: {asked} of {} asked", done.len());
    for one in done.iter().filter(wrong) {
        eprintln!("== {}: {:?}\n{}", one.id, one.code, one.said);
    }
    assert!(!done.iter().any(|one| wrong(&one) && one.code != Some(2)), "see above");
    assert!(asked >= least, "{asked} could be asked");
}

#[test]
fn in_c_nothing_deviates_where_kernel_and_model_agree() {
    if !has_compiler() {
        return;
    }
    let known = predicted();
    let programs = known.iter().filter_map(|(case, predicted)| {
        let text = c::program(&case.plan, predicted, &about(case)).ok()?;
        Some((case.plan.id.clone(), text))
    });
    let number = |(index, (id, text)): (usize, _)| Trial { id, text, run: index % RUN == 0 };
    let trials: Vec<Trial> = programs.enumerate().map(number).collect();
    assert!(trials.len() * 3 > known.len() * 2, "{} of {}", trials.len(), known.len());
    judge("agree", &each(&trials, reproduce_c), 0, 100);
}

#[test]
fn in_c_it_deviates_where_something_else_is_expected() {
    if !has_compiler() {
        return;
    }
    let programs = predicted().into_iter().filter_map(|(case, predicted)| {
        let text = c::program(&case.plan, &turned(&predicted)?, &about(&case)).ok()?;
        Some(Trial { id: case.plan.id, text, run: true })
    });
    let trials: Vec<Trial> = programs.step_by(12).collect();
    judge("deviate", &each(&trials, reproduce_c), 1, 30);
}

/// Scripts for the plans of which there are any; `predicted` may be turned around.
fn scripts(turn: fn(&Transcript) -> Option<Transcript>) -> Vec<Trial> {
    let scripts = predicted().into_iter().filter_map(|(case, predicted)| {
        let text = sh::script(&case.plan, &turn(&predicted)?, &about(&case)).ok()?;
        Some(Trial { id: case.plan.id, text, run: true })
    });
    scripts.collect()
}

/// Whether the tools of scripts are there.
fn has_tools() -> bool {
    let lacks = |tool: &&str| {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
        !found.is_ok_and(|found| found.status.success())
    };
    let missing = ["unshare", "mount", "mountpoint", "perl"].into_iter().find(lacks);
    if let Some(tool) = missing {
        skip("sh.tools", &format!("there is no {tool}"));
    }
    missing.is_none()
}

/// A process that has answered its last step still has its root directory for a moment.
#[test]
fn what_follows_the_end_of_an_actor_waits_for_it() {
    if !has_compiler() {
        return;
    }
    let known = predicted();
    let is_asked = |(case, _): &&(Case, Transcript)| case.plan.id == "bind/umount-busy";
    let (case, predicted) = known.iter().find(is_asked).expect("the scenario");
    let text = c::program(&case.plan, predicted, &about(case)).expect("a program");
    let place = Place::new();
    let program = place.path().join("program");
    compile(&place.write("program.c", &text), Some(&program));
    let trial = Trial { id: case.plan.id.clone(), text, run: true };
    let done: Vec<_> = (0..30).map(|_| run(&trial, &mut Command::new(&program))).collect();
    judge("agree", &done, 0, 30);
}

#[test]
fn in_sh_nothing_deviates_where_kernel_and_model_agree() {
    if has_tools() {
        judge("agree", &each(&scripts(|said| Some(said.clone())), reproduce_sh), 0, 40);
    }
}

#[test]
fn in_sh_it_deviates_where_something_else_is_expected() {
    if has_tools() {
        let scripts: Vec<_> = scripts(turned).into_iter().step_by(4).collect();
        judge("deviate", &each(&scripts, reproduce_sh), 1, 10);
    }
}

#[test]
fn what_a_reproduction_cannot_do_is_named() {
    let plan = |text: &str| nsharness::search::document::read(text, "no").expect("a scenario");
    let refused = |text: &str| {
        let plan = plan(text);
        let profile = environment().profile();
        let predicted = predict(&plan, &profile).transcript;
        c::program(&plan, &predicted, &About::default()).expect_err("a refusal").to_string()
    };
    let served = "title: F\nworld: { tree: { a: dir, b: dir } }\nsteps:\n  - stat: { path: a }\n  - fuse: { from: a, at: b }\n";
    let why = refused(served);
    assert!(why.starts_with("step 2: ") && why.contains("FUSE"), "{why}");
    let nfs = "title: N\nworld:\n  tree: { a: dir, b: dir }\n  nfs: { export: a, at: b, version: \"4.2\", squash: none }\nsteps:\n  - stat: { path: b }\n";
    let why = refused(nfs);
    assert!(why.starts_with("world: ") && why.contains("NFS"), "{why}");
}

#[test]
fn what_fails_and_leaves_a_trace_is_reproduced() {
    if !has_compiler() {
        return;
    }
    if environment().probe("tmpfs.user_xattr") != Some(true) {
        return skip("tmpfs.user_xattr", "no attribute can be asked for on the layers");
    }
    let text = "\
title: A call that fails copies a file up
world:
  tree: { lower/file: file, upper: dir, work: dir, merged: dir }
  mounts:
    - overlay: { at: merged, lower: [lower], upper: upper, work: work, options: [userxattr] }
steps:
  - stat: { path: merged/file }
  - setxattr: { path: merged/file, name: user.k, value: v, flag: replace }
observe:
  - layer: { at: upper }
";
    let finding = |invariant| {
        let place = At::Invariant(invariant, 1);
        let (kernel, model) = ("has it".to_owned(), "does not".to_owned());
        let cause = Cause {
            what: "a trace of setxattr that fails".into(),
            kernel: kernel.clone(),
            model: model.clone(),
            rules: Vec::new(),
        };
        let mut smallest = nsharness::search::document::read(text, "trace").expect("a scenario");
        if invariant == Invariant::Root {
            // Two answers can part in the world already.
            smallest.steps.clear();
        }
        let deviation = Deviation { place, kernel, model, rules: Vec::new(), cause: cause.clone() };
        Finding { cause, count: 1, first: 0, smallest, deviation, again: None }
    };
    let origin = Origin { target: "host", kernel: "6.18", overlay: None, seed: 1 };
    let profile = environment().profile();
    let finding = |invariant| reproduction(Repro::C, &finding(invariant), &origin, &profile);
    let text = finding(Invariant::Trace).expect("a program");
    let trial = Trial { id: "trace".into(), text, run: true };
    let done = reproduce_c(&Place::new(), &trial).expect("it was run");
    if done.code == Some(2) {
        return skip("overlay.userxattr", &done.said);
    }
    assert_eq!(done.code, Some(1), "{}", done.said);
    assert!(done.said.contains("THIS DEVIATES"), "{}", done.said);
    // Asked as real root and as another it would have to be.
    assert!(finding(Invariant::Root).is_err());
}

#[test]
fn a_reproduction_that_could_not_see_the_deviation_is_refused() {
    let text = "\
title: An actor in another root
world:
  tree: { a: dir }
  actors: { box: { root: a } }
steps:
  - list: { as: box, path: / }
observe:
  - mountinfo: {}
  - process: { as: [main, box] }
";
    let smallest = nsharness::search::document::read(text, "root").expect("a scenario");
    let profile = Profile::of_version(KernelVersion(6, 12, 0));
    let origin = Origin { target: "host", kernel: "6.12", overlay: None, seed: 1 };
    let reproduction = |place| {
        let cause = Cause {
            what: "process: root".into(),
            kernel: "one value".into(),
            model: "another".into(),
            rules: Vec::new(),
        };
        let (kernel, model) = (cause.kernel.clone(), cause.model.clone());
        let place = At::Observation(place);
        let deviation = Deviation { place, kernel, model, rules: Vec::new(), cause: cause.clone() };
        let smallest = smallest.clone();
        let finding = Finding { cause, count: 1, first: 0, smallest, deviation, again: None };
        reproduction(Repro::C, &finding, &origin, &profile)
    };
    assert!(reproduction(0).is_ok());
    for place in [1, 2] {
        let why = reproduction(place).expect_err("a refusal").to_string();
        assert!(why.contains("the root and working directory of a process"), "{why}");
    }
}
