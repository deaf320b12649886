//! NFS for real, in guests: a server and its clients of the kernel that is asked.
//!
//! Without a User-Mode Linux, installed or in the cache, it is skipped.

mod common;

use common::{Done, Place, User};
use rstest::rstest;

/// Its client is still there, in another mount namespace too, when the time is up.
const HANGS_ON_NFS: &str = "\
title: Somebody waits on NFS for ever
timeout: 2
world:
  tree: { share: { type: dir, mode: 0777 }, remote: dir }
  nfs: { export: share, at: remote, version: \"4.2\", squash: none }
  actors: { one: { cwd: remote, unshare: [mount] } }
steps:
  - mknod: { as: one, path: pipe, type: fifo }
  - open: { as: one, path: pipe }
";

/// The server of the scenario before must not be felt: neither its files nor its exports.
const WRITES_ON_NFS: &str = "\
title: What is written at one end is read at the other, and one's own files are all there is
world:
  tree: { share: { type: dir, mode: 0777 }, remote: dir }
  nfs: { export: share, at: remote, version: \"VERSION\", squash: none }
  actors: { one: { uid: 1000, cwd: remote } }
steps:
  - list: { path: remote, expect: { names: [] } }
  - open: { as: one, path: file, flags: [creat, rdwr], fd: file }
  - write: { path: share/file, data: here }
  - read: { as: one, fd: file, expect: { data: here } }
";

fn kernel(place: &Place, word: &str, scenarios: &str) -> Option<Done> {
    let kernel = place.kernel(word)?;
    Some(place.run(User::Own, &["run", scenarios, "--on", &kernel, "--snapshots", "check"]))
}

#[rstest]
#[case("uml:5.10")]
#[case("uml:6.1")]
#[case("uml:6.12")]
#[case("uml:7.2")]
fn a_kernel_answers_over_nfs_as_authors_and_model_say(#[case] word: &str) {
    let place = Place::new();
    place.copy("scenarios/nfs");
    if let Some(done) = kernel(&place, word, "nfs") {
        let done = done.expect_code(0);
        assert!(done.stdout.contains("pass    chown-mapped-id@remote"), "{}", done.stdout);
    }
}

#[test]
fn what_one_scenario_leaves_at_the_server_is_not_felt_by_the_next() {
    let place = Place::new();
    place.write("s/a-hangs.yaml", HANGS_ON_NFS);
    for (name, version) in [("b", "4.0"), ("c", "4.0"), ("d", "4.1"), ("e", "4.2"), ("f", "4.2")] {
        place.write(&format!("s/{name}.yaml"), &WRITES_ON_NFS.replace("VERSION", version));
    }
    let Some(done) = kernel(&place, "uml", "s") else { return };
    let done = done.expect_code(1);
    assert!(done.stdout.contains("timeout a-hangs"), "{}", done.stdout);
    assert!(done.stdout.contains("5 passed, 1 failed, 0 skipped"), "{}", done.stdout);
}

#[test]
fn no_server_is_started_on_a_host_that_nobody_allowed_to_harm() {
    let place = Place::new();
    place.write("s.yaml", &WRITES_ON_NFS.replace("VERSION", "4.2"));
    for user in [User::Own, User::Ordinary] {
        let done = place.run(user, &["run", "s.yaml"]);
        assert!(done.stdout.contains("0 passed, 0 failed, 1 skipped"), "{done:?}");
        assert!(done.stdout.contains("needs root: running as"), "{done:?}");
    }
}
