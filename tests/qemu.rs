//! Kernel images in QEMU: a machine that boots and answers, and programs of the system in it.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::{Place, User, skip};
use nsharness::programs::in_path;

const SCENARIO: &str = "\
title: A shell in a world
world:
  tree: { bin/sh: { program: sh }, lower: dir, upper: dir, work: dir, merged: dir }
steps:
  - exec: { path: bin/sh, args: [-c, echo hello], expect: { stdout: \"hello\\n\" } }
  - overlay: { at: merged, lower: [lower], upper: upper, work: work }
  - write: { path: merged/file, data: x }
  - stat: { path: upper/file, expect: { size: 1 } }
";

/// The target of a kernel image for a place, where there is QEMU to boot it.
fn image(place: &Place) -> Option<String> {
    if in_path("qemu-system-x86_64").is_none() {
        skip("qemu", "it is not installed");
        return None;
    }
    place.kernel("qemu")
}

#[test]
fn an_image_answers_over_virtio_and_runs_a_program_of_this_system() {
    let place = Place::new();
    let Some(kernel) = image(&place) else { return };
    place.write("scenario.yaml", &format!("{SCENARIO}requires: [root]\n"));
    let done =
        place.command(User::Own).args(["run", "scenario.yaml", "--on", &kernel]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("1 passed, 0 failed, 0 skipped"), "{said}");
    // Without KVM that works it is emulated, and why is told.
    assert!(
        fs::metadata("/dev/kvm").is_ok() || said.contains("emulated: there is no /dev/kvm here"),
        "{said}"
    );
}

#[test]
fn an_image_that_is_no_kernel_is_told_and_nothing_passes() {
    let place = Place::new();
    let Some(_) = image(&place) else { return };
    place.write("scenario.yaml", SCENARIO);
    place.write("image", "this is no kernel");
    let done = place
        .command(User::Own)
        .env("NSHARNESS_BOOT_TIMEOUT", "20")
        .args(["run", "scenario.yaml", "--on", "qemu:./image"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains("qemu:./image"), "{said}");
    assert!(!said.contains("1 passed"), "{said}");
}

#[test]
fn a_program_that_is_not_there_is_a_skip_with_a_remedy() {
    let place = Place::new();
    let text = SCENARIO.replace("program: sh", "program: no-such-program");
    place.write("scenario.yaml", &text);
    let done = place.command(User::Own).args(["run", "scenario.yaml"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("needs the program no-such-program: it is not in PATH"), "{said}");
    assert!(said.contains("1 skipped"), "{said}");
}

#[test]
fn a_script_is_no_program() {
    let place = Place::new();
    place.write("tools/greet", "#!/bin/sh\necho hello\n");
    let tools = place.path().join("tools");
    fs::set_permissions(tools.join("greet"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("greet", tools.join("greets")).unwrap();
    place.write("scenario.yaml", &SCENARIO.replace("program: sh", "program: greets"));
    let path = format!("{}:/usr/bin:/bin", tools.display());
    let done =
        place.command(User::Own).env("PATH", path).args(["run", "scenario.yaml"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("it is a script: name its interpreter instead"), "{said}");
}
