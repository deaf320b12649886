//! hostfs is how a guest hands files to its host: what is written there is seen from outside, in a directory
//! that goes with the guest, and nothing else of the host can be written to.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Place, User};

/// It hands a tree over, and waits so that somebody can look at it.
const HANDS_OVER: &str = "\
title: A tree is handed to the host
requires: [root, hostfs]
timeout: 60
world:
  tree: { handed: dir, pipe: fifo }
  mounts: [ { mount: { type: hostfs, at: handed } } ]
  actors: { user: { uid: 4711 } }
steps:
  - mkdir: { path: handed/NAME }
  - chmod: { path: handed/NAME, mode: 0777 }
  - write: { as: user, path: handed/NAME/f, data: from the guest, mode: 0640 }
  - open: { path: pipe }
";

/// A place of the machine, by whichever of its processes that sees it.
fn seen_by_a_process(path: &str) -> Option<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let own = std::process::id().to_string();
    processes
        .filter(|process| process.file_name().to_string_lossy() != own)
        .map(|process| process.path().join("root").join(path))
        .find(|path| path.exists())
}

#[test]
fn the_host_sees_what_a_guest_hands_over_as_its_own() {
    let place = Place::new();
    let Some(target) = place.kernel("uml") else { return };
    let name = format!("handed-{}", std::process::id());
    place.write("scenarios/hands-over.yaml", &HANDS_OVER.replace("NAME", &name));
    let mut child = place
        .command(User::Own)
        .args(["run", "--on", &target])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let path = format!("dev/shm/shared/{name}/f");
    let began = Instant::now();
    let found = loop {
        match seen_by_a_process(&path) {
            Some(found) if fs::read(&found).is_ok_and(|data| data == b"from the guest") => {
                break found;
            }
            _ => assert!(began.elapsed() < Duration::from_secs(60), "nothing was handed over"),
        }
        sleep(Duration::from_millis(20));
    };
    let attributes = found.metadata().unwrap();
    assert_eq!(attributes.permissions().mode() & 0o7777, 0o640);
    // The guest's user is nobody here: it belongs to whoever runs the guest.
    assert_eq!(attributes.uid(), nix::unistd::geteuid().as_raw());
    child.kill().unwrap();
    child.wait().unwrap();
    let began = Instant::now();
    while seen_by_a_process(&path).is_some() {
        assert!(began.elapsed() < Duration::from_secs(10), "it is left: {}", found.display());
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_lies_outside_of_the_directory_cannot_be_written_to() {
    let place = Place::new();
    let Some(target) = place.kernel("uml") else { return };
    place.write("there", "untouched");
    let text = format!(
        "title: A guest climbs out of the directory that it is given
requires: [root, hostfs]
world: {{ tree: {{ host: dir }} }}
steps:
  - mount: {{ type: hostfs, at: host, options: [../../..] }}
  - write: {{ path: host{0}/there, data: x, expect: EROFS }}
  - mkdir: {{ path: host{0}/new, expect: EROFS }}
",
        place.path().display()
    );
    place.write("scenarios/climbs.yaml", &text);
    let done = place.run(User::Own, &["run", "--on", &target]).expect_code(0);
    assert!(done.stdout.contains("1 passed"), "{}", done.stdout);
    assert_eq!(place.read("there"), "untouched");
    assert!(!place.exists("new"));
}
