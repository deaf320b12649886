//! What a plan needs of the place where it runs: ids, namespaces, /proc, probes.

use super::container::{Container, IdMapping};
use super::operation::{Mounter, Namespace, Operation, Overlay};
use super::plan::{COMMON_IDS, Needs};
use super::world::{Actor, EntryKind, Setup, World};
use super::yaml::Node;

/// Adds what a step needs; `body` is the step as it was written.
pub fn of_step(operation: &Operation, body: &Node, needs: &mut Needs) {
    const IDS: &[&str] = &["uid", "gid", "ruid", "euid", "suid", "rgid", "egid", "sgid"];
    for key in IDS {
        need_id(needs, body.get(key).and_then(|node| node.text()?.parse().ok()));
    }
    for (_, value) in body.entries() {
        if let Some(path) = value.text() {
            need_path(needs, path);
        }
    }
    match operation {
        Operation::Setgroups(step) => {
            needs.ids.push(COMMON_IDS);
            step.groups.iter().for_each(|gid| need_id(needs, Some(*gid)));
        }
        Operation::WriteUidMap(step) => {
            [Some(&step.text), step.then.as_ref()]
                .into_iter()
                .flatten()
                .for_each(|text| need_raw_map(needs, text));
        }
        Operation::WriteGidMap(step) => {
            [Some(&step.text), step.then.as_ref()]
                .into_iter()
                .flatten()
                .for_each(|text| need_raw_map(needs, text));
        }
        Operation::MountSetattr(step) => {
            if let Some(maps) = &step.idmap {
                need_maps(needs, &maps.uid_map.0);
                need_maps(needs, &maps.gid_map.0);
            }
        }
        Operation::Unshare(step) => needs.namespaces.extend(reachable(&step.namespaces)),
        Operation::Setns(step) => needs.namespaces.extend(reachable(step.namespace.as_slice())),
        Operation::Exec(_) => {
            needs.proc = true;
            needs.dev = true;
            needs.namespaces.extend([
                Namespace::Net,
                Namespace::Ipc,
                Namespace::Uts,
                Namespace::Cgroup,
            ]);
        }
        Operation::Sethostname(_) | Operation::Gethostname(_) => {
            needs.namespaces.insert(Namespace::Uts);
        }
        Operation::Overlay(step) => need_mounter(needs, step),
        Operation::Mount(step) => need_mount(needs, &step.kind),
        Operation::Fsopen(step) => need_mount(needs, &step.kind),
        _ => {}
    }
}

/// Adds what a world needs, and puts the ids into order.
pub fn of_world(world: &World, needs: &mut Needs) {
    world.actors.values().for_each(|actor| of_actor(actor, needs));
    world.setup.iter().for_each(|setup| of_setup(setup, needs));
    if let Some(container) = &world.container {
        of_container(container, needs);
    }
    if !world.nfs.is_empty() {
        // A server is made by real root alone, as is a client.
        needs.privileged = true;
        needs.probes.insert("nfs".into());
    }
    if needs.proc {
        needs.probes.insert("proc".into());
    }
    if needs.sys {
        needs.namespaces.insert(Namespace::Net);
        needs.probes.insert("sysfs".into());
    }
    needs.ids.sort_unstable();
    needs.ids.dedup();
    merge(&mut needs.ids);
}

fn of_actor(actor: &Actor, needs: &mut Needs) {
    need_id(needs, actor.uid);
    need_id(needs, actor.gid);
    if !actor.groups.is_empty() {
        needs.ids.push(COMMON_IDS);
    }
    actor.groups.iter().for_each(|gid| need_id(needs, Some(*gid)));
    needs.namespaces.extend(reachable(&actor.unshare));
    if let Some(userns) = &actor.userns {
        for map in userns.uid_map.iter().chain(&userns.gid_map) {
            need_maps(needs, &map.0);
        }
    }
}

fn of_setup(setup: &Setup, needs: &mut Needs) {
    match setup {
        Setup::Tree(tree) => {
            for (path, entry) in tree {
                need_id(needs, entry.uid);
                need_id(needs, entry.gid);
                if let EntryKind::Image(image) = entry.kind {
                    needs.probes.insert(image.file_system().into());
                }
                if !matches!(entry.kind, EntryKind::Symlink(_)) {
                    need_path(needs, path.as_str());
                }
            }
        }
        Setup::Mount { operation: Operation::Mount(mount), .. } => {
            need_mount(needs, &mount.kind);
        }
        Setup::Mount { operation: Operation::Overlay(step), .. } => {
            need_mounter(needs, step);
            if step.by != Some(Mounter::Program) {
                needs.probes.insert("overlay".into());
            }
        }
        Setup::Mount { operation: Operation::Fuse(fuse), .. } => {
            needs.probes.insert("fuse".into());
            if fuse.device.is_none() {
                needs.probes.insert("root".into());
            }
        }
        Setup::Mount { operation: Operation::Losetup(_), .. } => {
            needs.probes.extend(["root", "loop"].map(str::to_owned));
        }
        Setup::Mount { .. } => {}
    }
}

fn of_container(container: &Container, needs: &mut Needs) {
    needs.proc = true;
    needs.dev = true;
    needs.probes.extend(["cgroup2", "runtime"].map(str::to_owned));
    needs.namespaces.extend([Namespace::Ipc, Namespace::Uts, Namespace::Cgroup]);
    let mapped = |map: &IdMapping| (map.container_id, map.host_id, map.size);
    need_maps(needs, &container.id_mappings().map(mapped).collect::<Vec<_>>());
    if let Some(user) = container.process.as_ref().and_then(|process| process.user.as_ref()) {
        let ids = [user.uid, user.gid].into_iter().chain(user.additional_gids.iter().copied());
        ids.for_each(|id| need_id(needs, Some(id)));
    }
}

/// Namespaces that a sandbox has anyway are not among those that a plan asks for.
fn reachable(namespaces: &[Namespace]) -> impl Iterator<Item = Namespace> {
    use Namespace::{Mount, Pid, User};
    namespaces.iter().copied().filter(|n| !matches!(n, User | Mount | Pid))
}

fn need_mounter(needs: &mut Needs, step: &Overlay) {
    if step.by == Some(Mounter::Program) {
        needs.probes.insert("overlay.program".into());
    }
}

fn need_mount(needs: &mut Needs, kind: &str) {
    // The file systems that show a namespace can be mounted by its owner only: see
    // user_namespaces(7) and the fs_context of each in the kernel.
    // One that shows processes or devices can be mounted only beside another that hides nothing.
    match kind {
        "proc" => needs.proc = true,
        "sysfs" => needs.sys = true,
        "mqueue" => drop(needs.namespaces.insert(Namespace::Ipc)),
        "cgroup" | "cgroup2" => drop(needs.namespaces.insert(Namespace::Cgroup)),
        _ => {}
    }
}

fn need_path(needs: &mut Needs, path: &str) {
    let mut parts = path.split('/').filter(|p| !p.is_empty() && *p != ".");
    match parts.next() {
        Some("proc") => needs.proc = true,
        Some("sys") => needs.sys = true,
        Some("dev") => needs.dev = true,
        _ => {}
    }
}

fn need_id(needs: &mut Needs, id: Option<u32>) {
    if id.is_some_and(|id| (COMMON_IDS.0..=COMMON_IDS.1).contains(&id)) {
        needs.ids.push(COMMON_IDS);
    }
}

fn need_maps(needs: &mut Needs, lines: &[(u32, u32, u32)]) {
    for (_, outside, count) in lines {
        if (*outside, *count) == (0, 1) {
            continue;
        }
        needs.ids.push(COMMON_IDS);
        let first = (*outside).max(COMMON_IDS.1 + 1);
        let last = outside.saturating_add(count - 1);
        if last >= first {
            needs.ids.push((first, last));
        }
    }
}

fn need_raw_map(needs: &mut Needs, text: &str) {
    let outside = text.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
    outside.for_each(|id| need_id(needs, Some(id)));
}

/// Joins ranges that touch or overlap.
fn merge(ranges: &mut Vec<(u32, u32)>) {
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for range in ranges.drain(..) {
        match merged.last_mut() {
            Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
            _ => merged.push(range),
        }
    }
    *ranges = merged;
}
