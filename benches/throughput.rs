//! The same work with and without the harness: how many scenarios a second, and how near that is to
//! a bare loop of the same system calls.
//!
//! `cargo bench --bench throughput` prints both rates, in turn, and their ratio.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::{chdir, getegid, geteuid, pivot_root};
use nsharness::diag::Source;
use nsharness::model::predict;
use nsharness::probe::{self, Environment};
use nsharness::scenario::{Case, FoundFile, KnownNames, resolve};
use nsharness::sys::{clone_namespaces, exit_now};
use nsharness::target::Witness;
use nsharness::target::host::Host;
use nsharness::verdict::{Recorded, Status, judge};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

const ROUNDS: usize = 2000;
const TURNS: usize = 3;

const SCENARIO: &str = r#"
title: Deleting a lower file leaves a whiteout
world:
  tree: { lower/etc/hosts: file, upper: dir, work: dir, merged: dir }
  mounts:
    - overlay: { at: merged, lower: [lower], upper: upper, work: work }
steps:
  - unlink: { path: merged/etc/hosts }
  - stat: { path: merged/etc/hosts, expect: ENOENT }
  - stat: { path: upper/etc/hosts, expect: { type: char, rdev: "0:0" } }
"#;

fn main() {
    // `cargo test --benches` and the like only want to know that it runs.
    let rounds = if std::env::args().any(|argument| argument == "--test") { 10 } else { ROUNDS };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for workers in if cores > 1 { vec![1, cores] } else { vec![1] } {
        let mut ratios = Vec::new();
        for turn in 1..=TURNS {
            let bare = rate(rounds, || bare_loops(rounds, workers));
            let harness = harness_rate(rounds, workers);
            let ratio = harness / bare;
            println!(
                "workers {workers}, turn {turn}: bare loop {bare:.0}/s, nsharness {harness:.0}/s, ratio {ratio:.2}"
            );
            ratios.push(ratio);
        }
        ratios.sort_by(f64::total_cmp);
        println!("workers {workers}: median ratio {:.2}", ratios[ratios.len() / 2]);
    }
}

fn rate(rounds: usize, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    rounds as f64 / began.elapsed().as_secs_f64()
}

/// The system calls of the scenario in a sandbox of the same kind, in as many processes as workers.
fn bare_loops(rounds: usize, workers: usize) {
    let loops: Vec<_> = (0..workers)
        .map(|_| match nsharness::sys::fork().expect("fork") {
            Some(child) => child,
            None => {
                for _ in 0..rounds / workers {
                    bare_round();
                }
                exit_now(0)
            }
        })
        .collect();
    for child in loops {
        waitpid(child, None).expect("waitpid");
    }
}

fn bare_round() {
    let (uid, gid) = (geteuid(), getegid());
    let namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    match clone_namespaces(namespaces).expect("clone") {
        Some(child) => {
            let status = waitpid(child.pid, None).expect("waitpid");
            assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
        }
        None => exit_now(i32::from(bare_sandbox(uid.as_raw(), gid.as_raw()).is_none())),
    }
}

fn bare_sandbox(uid: u32, gid: u32) -> Option<()> {
    fs::write("/proc/self/setgroups", "deny").ok()?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n")).ok()?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1\n")).ok()?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).ok()?;
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    rustix::mount::fsconfig_create(context.as_fd()).ok()?;
    let _proc = rustix::mount::fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .ok()?;
    let options = Some("size=256m,nr_inodes=64k,mode=0755");
    mount(Some("sandbox"), "/tmp", Some("tmpfs"), MsFlags::empty(), options).ok()?;
    chdir("/tmp").ok()?;
    pivot_root(".", ".").ok()?;
    umount2(".", MntFlags::MNT_DETACH).ok()?;
    chdir("/").ok()?;
    for directory in ["lower", "lower/etc", "merged", "upper", "work"] {
        fs::create_dir(directory).ok()?;
    }
    fs::File::create("lower/etc/hosts").ok()?;
    let layers = Some("lowerdir=lower,upperdir=upper,workdir=work");
    mount(Some("overlay"), "merged", Some("overlay"), MsFlags::empty(), layers).ok()?;
    fs::remove_file("merged/etc/hosts").ok()?;
    if fs::metadata("merged/etc/hosts").is_ok() || fs::metadata("upper/etc/hosts").is_err() {
        return None;
    }
    Some(())
}

/// From the parsed plan to the verdict, as a run does it.
fn harness_rate(rounds: usize, workers: usize) -> f64 {
    let mut host = Host::start(workers).expect("workers");
    let case = case();
    let mut environment = Environment::of_host(false);
    environment.ask(&probe::wanted([&case]), &mut host).expect("probes");
    let profile = environment.profile();
    assert!(environment.missing(&case).is_empty(), "this machine cannot run the scenario");
    rate(rounds, || {
        let (mut given, mut judged) = (0, 0);
        let mut predictions = Vec::new();
        while judged < rounds {
            while given < rounds && given - judged < host.capacity() {
                host.submit(given, &case.plan).expect("submit");
                predictions.push(predict(&case.plan, &profile));
                given += 1;
            }
            if let Some((_, answer)) = host.next(Duration::from_secs(1)).expect("next") {
                let prediction = predictions.pop();
                let verdict = judge(&case, &environment, answer, prediction, |_| Recorded::Nothing);
                assert_eq!(verdict.status, Status::Pass, "{:?}", verdict.reasons);
                judged += 1;
            }
        }
    })
}

fn case() -> Case {
    let source = Arc::new(Source { name: "benchmark".into(), text: SCENARIO.into() });
    let file = FoundFile {
        id: "benchmark".into(),
        path: PathBuf::from("benchmark"),
        base: PathBuf::new(),
    };
    let names = probe::names();
    resolve(&file, &source, KnownNames { probes: &names }).expect("a valid scenario").remove(0)
}
