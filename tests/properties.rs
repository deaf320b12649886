//! What holds of the model in every world, by worlds and steps that nobody chose.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{cases, root};
use nsharness::diag::Source;
use nsharness::model::ids::{map_in, map_out};
use nsharness::model::machine::{DentryId, Extent, Machine, MountId};
use nsharness::model::profile::Profile;
use nsharness::model::rules::{Invariant, Rule};
use nsharness::model::{Simulation, predict};
use nsharness::scenario::condition::KernelVersion;
use nsharness::scenario::observe::{Observe, ObserveTree, TreeField};
use nsharness::scenario::{Case, FoundFile, KnownNames, resolve};
use nsharness::transcript::{Observation, Outcome, Value};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

/// The names that everything has: few, so that steps meet.
const NAMES: &[&str] = &["a", "b", "c"];

/// Rules by which a directory lists what a lookup does not find, or the other way round.
const LISTS_OTHERWISE: &[&str] = &["overlay.list.one-layer"];

/// Whether an operation may leave something behind though it fails.
fn leaves_traces(rules: &[&Rule]) -> bool {
    rules.iter().any(|rule| rule.breaks.contains(&Invariant::Trace))
}

/// The same worlds each time, so that what fails is what was changed; `nsharness search` looks for new ones.
fn config(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(1);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

fn profile() -> Profile {
    Profile::of_version(KernelVersion(6, 18, 0))
}

fn case(text: &str) -> Case {
    let file = FoundFile { id: "p".into(), path: PathBuf::from("p.yaml"), base: PathBuf::new() };
    let source = Arc::new(Source { name: "p.yaml".into(), text: text.to_owned() });
    match resolve(&file, &source, KnownNames { probes: &[] }) {
        Ok(mut cases) => cases.remove(0),
        Err(errors) => panic!("{}\n{text}", errors[0].render(false)),
    }
}

// ---- worlds ----

/// A path of one or two names.
fn below(top: &'static str) -> impl Strategy<Value = String> {
    (select(NAMES), proptest::option::of(select(NAMES))).prop_map(move |(first, second)| {
        second.map_or_else(|| format!("{top}/{first}"), |second| format!("{top}/{first}/{second}"))
    })
}

fn entry() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(NAMES).prop_map(|name| format!("{{ file: \"{name}\\n\" }}")),
        4 => Just("dir".to_owned()),
        1 => select(NAMES).prop_map(|name| format!("{{ symlink: {name} }}")),
        1 => Just("fifo".to_owned()),
        2 => Just("{ char: \"0:0\" }".to_owned()),
        1 => Just("{ type: dir, mode: 01777, xattrs: { user.overlay.opaque: \"y\" } }".to_owned()),
        1 => Just("{ file: \"x\", mode: 0600, xattrs: { user.colour: red } }".to_owned()),
    ]
}

/// The entries of one layer: a name below something that is no directory is left out.
fn layer(top: &'static str) -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::btree_map(below(top), entry(), 0..6).prop_map(|entries| {
        let is_dir = |path: &str| {
            entries.get(path).is_none_or(|entry| entry.contains("dir")) || path.is_empty()
        };
        let fits = |path: &String| match path.match_indices('/').nth(1) {
            Some((at, _)) => is_dir(&path[..at]),
            None => true,
        };
        entries.iter().filter(|(path, _)| fits(path)).map(|(p, e)| (p.clone(), e.clone())).collect()
    })
}

/// An overlay over two lower layers and an upper one.
fn overlay_world() -> impl Strategy<Value = (String, String)> {
    let options = select(&["", "userxattr", "xino=off"][..]);
    (layer("upper"), layer("lower"), layer("base"), options).prop_map(|(upper, lower, base, options)| {
        let mut tree = String::new();
        for (path, entry) in upper.iter().chain(&lower).chain(&base) {
            tree.push_str(&format!("    {path}: {entry}\n"));
        }
        for top in ["upper", "lower", "base", "work", "merged"] {
            tree.push_str(&format!("    {top}: dir\n"));
        }
        let mount = format!(
            "overlay: {{ at: merged, lower: [lower, base], upper: upper, work: work, options: [{options}] }}"
        );
        let world = format!("title: t\nworld:\n  tree:\n{tree}  mounts:\n    - {mount}\n");
        (world, mount)
    })
}

fn file_step() -> impl Strategy<Value = String> {
    let path = || below("merged");
    prop_oneof![
        path().prop_map(|p| format!("mkdir: {{ path: {p} }}")),
        path().prop_map(|p| format!("write: {{ path: {p}, data: new }}")),
        path().prop_map(|p| format!("write: {{ path: {p}, data: more, append: true }}")),
        path().prop_map(|p| format!("unlink: {{ path: {p} }}")),
        path().prop_map(|p| format!("rmdir: {{ path: {p} }}")),
        path().prop_map(|p| format!("chmod: {{ path: {p}, mode: 0700 }}")),
        path().prop_map(|p| format!("truncate: {{ path: {p}, length: 1 }}")),
        path().prop_map(|p| format!("utimes: {{ path: {p}, mtime: 1000 }}")),
        path().prop_map(|p| format!(
            "setxattr: {{ path: {p}, name: user.colour, value: blue, flag: create }}"
        )),
        path().prop_map(|p| format!("removexattr: {{ path: {p}, name: user.colour }}")),
        (path(), path()).prop_map(|(p, q)| format!("link: {{ from: {p}, to: {q} }}")),
        path().prop_map(|p| format!("symlink: {{ target: a, path: {p} }}")),
        (path(), path(), select(&["", "noreplace", "exchange"][..]))
            .prop_map(|(p, q, flag)| format!("rename: {{ from: {p}, to: {q}, flags: [{flag}] }}")),
        path().prop_map(|p| format!("open: {{ path: {p}, flags: [rdonly, trunc, nonblock] }}")),
    ]
}

fn overlay_plan(more: &[&str]) -> impl Strategy<Value = (Case, String)> {
    let more: Vec<String> = more.iter().map(|step| (*step).to_owned()).collect();
    (overlay_world(), proptest::collection::vec(file_step(), 1..12)).prop_map(
        move |((world, mount), steps)| {
            let mut text = world;
            text.push_str("steps:\n");
            for step in steps.iter().chain(&more) {
                text.push_str(&format!("  - {}\n", step.replace("MOUNT", &mount)));
            }
            (case(&text), text)
        },
    )
}

/// What is to be seen of a tree.
fn tree(
    simulation: &mut Simulation<'_>,
    case: &Case,
    at: &str,
    fields: &[TreeField],
) -> Vec<Observation> {
    let at = at.parse().expect("a path");
    let item = Observe::Tree(ObserveTree { at, actor: None, fields: fields.to_vec() });
    let seen = simulation.machine.observe(&case.plan, &item);
    simulation.machine.rules.take();
    seen
}

fn shown(observations: &[Observation]) -> String {
    let show = |observation: &Observation| match &observation.found {
        Ok(Value::List(items)) => items.iter().map(|item| format!("{item}\n")).collect(),
        Ok(value) => value.to_string(),
        Err(outcome) => outcome.to_string(),
    };
    observations.iter().map(show).collect()
}

fn cites(rules: &[&'static Rule], among: &[&str]) -> bool {
    rules.iter().any(|rule| among.contains(&rule.id))
}

const ALL_FIELDS: &[TreeField] = &[
    TreeField::Type,
    TreeField::Mode,
    TreeField::Owner,
    TreeField::Size,
    TreeField::Content,
    TreeField::Target,
    TreeField::Rdev,
    TreeField::Links,
    TreeField::Xattrs,
    TreeField::Time,
    TreeField::Ino,
];
const WITHOUT_IDENTITY: &[TreeField] = &[
    TreeField::Type,
    TreeField::Mode,
    TreeField::Owner,
    TreeField::Size,
    TreeField::Content,
    TreeField::Target,
    TreeField::Xattrs,
];

proptest! {
    #![proptest_config(config(400))]

    /// The merged view is a function of what is in the layers: it does not remember.
    #[test]
    fn the_view_is_the_same_after_a_remount((case, text) in overlay_plan(&["umount: { at: merged }", "MOUNT"])) {
        let profile = profile();
        let Ok(mut simulation) = Simulation::start(&case.plan, &profile) else { return Ok(()) };
        let (steps, remount) = case.plan.steps.split_at(case.plan.steps.len() - 2);
        for step in steps {
            simulation.step(step);
        }
        let before = tree(&mut simulation, &case, "merged", WITHOUT_IDENTITY);
        for step in remount {
            let (outcome, _) = simulation.step(step);
            prop_assert!(matches!(outcome, Outcome::Ok(_)), "{outcome}\n{text}");
        }
        let after = tree(&mut simulation, &case, "merged", WITHOUT_IDENTITY);
        prop_assert_eq!(shown(&before), shown(&after), "{}", text);
    }

    /// What fails changes nothing: not in the view, not in a layer.
    #[test]
    fn a_failing_operation_leaves_no_trace((case, text) in overlay_plan(&[])) {
        let profile = profile();
        let Ok(mut simulation) = Simulation::start(&case.plan, &profile) else { return Ok(()) };
        // The work directory is where an overlay tries things.
        let all = |simulation: &mut Simulation<'_>| {
            let tops = ["merged", "upper", "lower", "base"];
            tops.map(|top| shown(&tree(simulation, &case, top, ALL_FIELDS))).join("\n")
        };
        for step in &case.plan.steps {
            let before = all(&mut simulation);
            let (outcome, rules) = simulation.step(step);
            if matches!(outcome, Outcome::Failed { .. }) && !leaves_traces(&rules) {
                let after = all(&mut simulation);
                let ids: Vec<_> = rules.iter().map(|rule| rule.id).collect();
                prop_assert_eq!(
                    before, after,
                    "line {}: {} by {:?}\n{}", step.line, outcome, ids, text
                );
            }
        }
    }

    /// A name is listed exactly if it is found.
    #[test]
    fn lookup_and_readdir_agree((case, text) in overlay_plan(&[
        "list: { path: merged }", "list: { path: merged/a }", "list: { path: merged/b }",
    ])) {
        let profile = profile();
        let Ok(mut simulation) = Simulation::start(&case.plan, &profile) else { return Ok(()) };
        let (steps, lists) = case.plan.steps.split_at(case.plan.steps.len() - 3);
        for step in steps {
            simulation.step(step);
        }
        for (list, top) in lists.iter().zip(["merged", "merged/a", "merged/b"]) {
            let (outcome, rules) = simulation.step(list);
            let Outcome::Ok(values) = outcome else { continue };
            if cites(&rules, LISTS_OTHERWISE) {
                continue;
            }
            let mut found = Vec::new();
            let mut otherwise = false;
            for name in NAMES {
                let probe = self::case(&format!(
                    "title: t\nsteps:\n  - stat: {{ path: {top}/{name}, follow: false }}\n"
                ));
                let (outcome, rules) = simulation.step(&probe.plan.steps[0]);
                otherwise |= cites(&rules, LISTS_OTHERWISE);
                if matches!(outcome, Outcome::Ok(_)) {
                    found.push(Value::from(*name));
                }
            }
            prop_assert!(otherwise || values.get("names") == Some(&Value::List(found.clone())),
                "{top}: listed {:?}, found {found:?}\n{text}", values.get("names"));
        }
    }

    /// The same plan gives the same transcript.
    #[test]
    fn a_prediction_is_repeatable((case, _) in overlay_plan(&[])) {
        let profile = profile();
        let predicted = || serde_json::to_string(&predict(&case.plan, &profile).transcript).unwrap();
        prop_assert_eq!(predicted(), predicted());
    }
}

// ---- ids ----

/// Extents that do not overlap on either side.
fn extents() -> impl Strategy<Value = Vec<Extent>> {
    proptest::collection::vec((1_u32..50, 0_u32..50, 0_u32..50), 1..8).prop_map(|parts| {
        let (mut inside, mut outside) = (0, 100_000);
        let extent = |(count, gap, other_gap)| {
            let extent = Extent { inside: inside + gap, outside: outside + other_gap, count };
            inside = extent.inside + count;
            outside = extent.outside + count;
            extent
        };
        parts.into_iter().map(extent).collect()
    })
}

proptest! {
    #![proptest_config(config(1000))]

    /// An id that is mapped comes back as itself, and one that is not is not made up.
    #[test]
    fn ids_come_back(map in extents(), id in 0_u32..2000) {
        match map_out(&map, id) {
            Some(out) => prop_assert_eq!(map_in(&map, out), Some(id)),
            None => prop_assert!(!map.iter().any(|line| id.wrapping_sub(line.inside) < line.count)),
        }
        if let Some(inside) = map_in(&map, id + 100_000) {
            prop_assert_eq!(map_out(&map, inside), Some(id + 100_000));
        }
    }

    /// What two maps do one after the other comes back by the other way.
    #[test]
    fn maps_compose(inner in extents(), id in 0_u32..400) {
        let outer: Vec<Extent> = inner
            .iter()
            .map(|line| Extent { inside: line.outside, outside: line.inside + 7, count: line.count })
            .collect();
        let mapped = map_out(&inner, id);
        let through = mapped.and_then(|middle| map_out(&outer, middle));
        prop_assert_eq!(through, mapped.map(|_| id + 7));
        let back = through.and_then(|out| map_in(&outer, out));
        prop_assert_eq!(back.and_then(|middle| map_in(&inner, middle)), mapped.map(|_| id));
    }
}

// ---- propagation ----

fn mount_step() -> impl Strategy<Value = String> {
    let place = || select(&["x", "y", "z", "x/s", "y/s", "z/s"][..]);
    prop_oneof![
        (place(), place()).prop_map(|(from, at)| format!("bind: {{ from: {from}, at: {at} }}")),
        (place(), place()).prop_map(|(from, at)| format!("rbind: {{ from: {from}, at: {at} }}")),
        (place(), select(&["shared", "private", "slave", "unbindable"][..]))
            .prop_map(|(at, kind)| format!("propagation: {{ at: {at}, type: {kind} }}")),
        (place(), select(&["shared", "slave"][..])).prop_map(|(at, kind)| format!(
            "propagation: {{ at: {at}, type: {kind}, recursive: true }}"
        )),
        place().prop_map(|at| format!("mount: {{ type: tmpfs, at: {at} }}")),
        place().prop_map(|at| format!("umount: {{ at: {at}, flags: [detach] }}")),
        (place(), place()).prop_map(|(from, at)| format!("move: {{ from: {from}, at: {at} }}")),
    ]
}

/// The places of a mount on which there is a mount that was not there before.
fn added(machine: &Machine<'_>, mount: MountId, before: &[MountId]) -> Vec<DentryId> {
    machine
        .mounts
        .iter()
        .filter(|(id, child)| child.ns.is_some() && !before.contains(id))
        .filter_map(|(_, child)| child.at.filter(|at| at.mount == mount).map(|at| at.dentry))
        .collect()
}

/// Whether what is mounted on one mount comes to another: a peer, or a slave, however far down.
fn receives(machine: &Machine<'_>, to: MountId, from: MountId) -> bool {
    if to == from {
        return true;
    }
    let sends = machine.mounts[from].peer_group;
    let mut at = Some(to);
    while let Some(mount) = at {
        let this = &machine.mounts[mount];
        if sends.is_some() && this.peer_group == sends {
            return true;
        }
        at = this.master;
    }
    false
}

proptest! {
    #![proptest_config(config(400))]

    /// Where something new is mounted on one peer it is mounted on all that can see the place, and a
    /// mount that only receives sends nothing back.
    #[test]
    fn peers_share_and_slaves_only_receive(steps in proptest::collection::vec(mount_step(), 1..12)) {
        let mut text = String::from("title: t\nworld:\n  tree: { x/s: dir, y/s: dir, z/s: dir, new: dir }\n");
        text.push_str("  mounts: [ bind: { from: x, at: x }, propagation: { at: x, type: shared } ]\nsteps:\n");
        steps.iter().for_each(|step| text.push_str(&format!("  - {step}\n")));
        text.push_str("  - mount: { type: tmpfs, at: x/s }\n");
        let case = case(&text);
        let profile = profile();
        let mut simulation = Simulation::start(&case.plan, &profile).expect("a world");
        let (last, before) = case.plan.steps.split_last().expect("a step");
        for step in before {
            simulation.step(step);
        }
        let mounts: Vec<MountId> = simulation
            .machine
            .mounts
            .iter()
            .filter(|(_, mount)| mount.ns.is_some())
            .map(|(id, _)| id)
            .collect();
        let (outcome, _) = simulation.step(last);
        if !matches!(outcome, Outcome::Ok(_)) {
            return Ok(());
        }
        let machine = &simulation.machine;
        let grown: Vec<_> =
            mounts.iter().copied().filter(|mount| !added(machine, *mount, &mounts).is_empty()).collect();
        prop_assert!(!grown.is_empty(), "{text}");
        for mount in &grown {
            let this = &machine.mounts[*mount];
            let new: Vec<_> = added(machine, *mount, &mounts);
            for peer in mounts.iter().map(|id| (*id, &machine.mounts[*id])) {
                let is_peer = this.peer_group.is_some() && peer.1.peer_group == this.peer_group;
                let sees = new.iter().any(|place| machine.is_below(*place, peer.1.root));
                prop_assert!(!is_peer || !sees || grown.contains(&peer.0), "a peer did not receive: {text}");
            }
        }
        // All grew by one of them, the one that was mounted on: its peers, and who receives from it.
        let spread = |from: MountId| grown.iter().all(|to| receives(machine, *to, from));
        prop_assert!(grown.iter().any(|from| spread(*from)), "a slave sent: {text}");
    }
}

// ---- any plan ----

/// Every plan of the bundle, as plain JSON.
fn bundled() -> Vec<serde_json::Value> {
    let plain = |case: Case| serde_json::to_value(&case.plan).expect("plain data");
    cases(&root().join("scenarios")).into_iter().map(plain).collect()
}

/// The fields of steps that name places, actors and descriptors.
const NAMING: &[&str] =
    &["path", "at", "from", "to", "new_root", "put_old", "fd", "mount", "of", "actor", "child"];

fn names_in(value: &serde_json::Value, found: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                if let (Some(text), true) = (value.as_str(), NAMING.contains(&key.as_str())) {
                    found.push((key.clone(), text.to_owned()));
                }
                names_in(value, found);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| names_in(item, found)),
        _ => {}
    }
}

/// Gives every fourth name the value of another one of its kind.
fn rename_some(
    value: &mut serde_json::Value,
    names: &[(String, String)],
    next: &mut impl FnMut(usize) -> usize,
) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                let same: Vec<_> = names.iter().filter(|(name, _)| name == key).collect();
                if value.is_string() && !same.is_empty() && next(4) == 0 {
                    *value = same[next(same.len())].1.clone().into();
                } else {
                    rename_some(value, names, next);
                }
            }
        }
        serde_json::Value::Array(items) => {
            items.iter_mut().for_each(|item| rename_some(item, names, next));
        }
        _ => {}
    }
}

/// Whatever is asked, an answer comes: the steps of two scenarios mixed, with each other's names.
#[test]
fn every_mixture_of_scenarios_is_answered() {
    let plans = bundled();
    // xorshift64: the same mixtures in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let versions = [KernelVersion(5, 10, 0), KernelVersion(6, 1, 0), KernelVersion(7, 2, 0)];
    for _ in 0..3000 {
        let mut plan = plans[next(plans.len())].clone();
        let other = &plans[next(plans.len())];
        let mut names = Vec::new();
        names_in(&plan, &mut names);
        names_in(other, &mut names);
        let steps =
            [&plan, other].map(|plan| plan["steps"].as_array().cloned().unwrap_or_default());
        let steps = steps.concat();
        let mut mixed: Vec<_> = (0..next(20)).map(|_| steps[next(steps.len())].clone()).collect();
        mixed.iter_mut().for_each(|step| rename_some(step, &names, &mut next));
        plan["steps"] = mixed.into();
        let plan: nsharness::scenario::plan::Plan = serde_json::from_value(plan).expect("a plan");
        let profile = Profile::of_version(versions[next(versions.len())]);
        let prediction = predict(&plan, &profile);
        let ended = matches!(prediction.transcript.end, nsharness::transcript::End::Completed);
        assert!(!ended || prediction.transcript.outcomes.len() == plan.steps.len());
    }
}
