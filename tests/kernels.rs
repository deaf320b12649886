//! Kernels by name: fetched by a package client, added, listed, removed; and every way in which that fails.
//!
//! The package client is made of scripts, but for one test that needs a network: `NSHARNESS_REQUIRE` must
//! name `kernel.fetch`.

#[path = "common/archive.rs"]
mod archive;
mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use archive::{Client, compile};
use common::{Done, PASSES, Place, User, json_lines, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nsharness::programs;
use rstest::rstest;

/// An image, as far as its header goes.
fn image(release: &str) -> Vec<u8> {
    let mut bytes = vec![0; 0x1000];
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
    bytes[0x500..0x500 + release.len()].copy_from_slice(release.as_bytes());
    bytes
}

/// A guest runs this very program, so that its kernel must be for the same processor.
#[test]
fn a_kernel_for_another_processor_is_named_as_such() {
    let client = Client::new("6.1.176");
    client.place.write("scenarios/plain.yaml", common::PASSES);
    let mut of_32_bits = image("6.13.0");
    of_32_bits[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    let mut program = vec![0; 0x100];
    program[..4].copy_from_slice(b"\x7fELF");
    program[18..20].copy_from_slice(&183_u16.to_le_bytes());
    program.extend(b"Linux version 6.13.0 (x@y)");
    let (foreign, processor) = if cfg!(target_arch = "x86_64") {
        (program, "aarch64")
    } else {
        (of_32_bits.clone(), "x86")
    };
    for (kernel, processor) in [(foreign, processor), (of_32_bits, "x86")] {
        fs::write(client.place.path().join("Image"), kernel).unwrap();
        let done = client.run(&["add", "Image"]).expect_code(5);
        told(
            &done,
            &[&format!("it is for {processor}, and this is nsharness for"), "remedy: name a"],
        );
        assert_eq!(client.entries(), [""; 0]);
        let done = client.place.run(User::Own, &["run", "--on", "qemu:Image"]).expect_code(4);
        assert!(done.stdout.contains(&format!("it is for {processor}, and")), "{}", done.stdout);
    }
}

#[track_caller]
fn told(done: &Done, words: &[&str]) {
    for word in words {
        assert!(done.stderr.contains(word), "{word} is not in:\n{}", done.stderr);
    }
}

#[test]
fn a_kernel_is_fetched_and_known_by_its_version() {
    let client = Client::new("6.1.176");
    let done = client.fetch().expect_code(0);
    assert!(
        done.stdout.starts_with("uml:6.1.176: fetched: user-mode-linux 6.1.176um1 of debian:12")
    );
    assert_eq!(client.entries(), ["uml-6.1.176"]);
    let done = client.run(&["list", "--json"]).expect_code(0);
    let lines = json_lines(&done.stdout);
    let kernel = lines.iter().find(|line| line["name"] == "uml:6.1.176").unwrap();
    assert_eq!(kernel["release"], "6.1.176");
    assert_eq!(kernel["libc"], serde_json::Value::Null);
    assert_eq!(kernel["origin"]["package"]["sha256"], "6.1.176um1");
    let modules = Path::new(kernel["modules"].as_str().unwrap());
    assert!(modules.join("kernel/fs/a.ko").is_file());
    assert!(Path::new(kernel["file"].as_str().unwrap()).is_file());
}

#[test]
fn signatures_are_checked_and_the_mirror_is_the_systems() {
    let client = Client::new("6.1.176");
    client.fetch().expect_code(0);
    let sources = client.place.read("sources");
    assert!(sources.contains(" http://mirror.example/debian/ bookworm main"), "{sources}");
    assert!(sources.contains("signed-by=") && sources.contains("/keys]"), "{sources}");
    assert!(!sources.contains("trusted") && !sources.contains("insecure"), "{sources}");
    // A system that never fetched lists has only its sources; another mirror may be named.
    client.place.write("targets", "");
    client.place.write(
        "addresses",
        "'http://other.example/repo/dists/bookworm/InRelease' a 0\n\
         'http://second.example/debian/dists/trixie/InRelease' b 0\n",
    );
    client.fetch().expect_code(0);
    assert!(client.place.read("sources").contains(" http://second.example/debian bookworm main"));
    let mirror =
        ["fetch", "debian:13", "--keyring", "keys", "--mirror", "http://third.example/debian"];
    client.run(&mirror).expect_code(0);
    assert!(client.place.read("sources").contains(" http://third.example/debian trixie main"));
}

#[test]
fn what_is_there_is_not_fetched_again_and_what_is_newer_stands_beside_it() {
    let client = Client::new("6.1.176");
    client.fetch().expect_code(0);
    let done = client.fetch().expect_code(0);
    assert!(done.stdout.starts_with("uml:6.1.176: up to date"), "{}", done.stdout);
    assert_eq!(client.place.read("downloaded"), "user-mode-linux=6.1.176um1\n");
    client.kernel("6.1.180", false);
    client.fetch().expect_code(0);
    assert_eq!(client.names(), ["uml:6.1.176", "uml:6.1.180"]);
    // The same release in a new package takes the place of the old.
    client.package("user-mode-linux", "6.1.180um1+b1", "libc6");
    let done = client.fetch().expect_code(0);
    assert!(done.stdout.contains("uml:6.1.180: fetched: user-mode-linux 6.1.180um1+b1"));
    assert_eq!(client.entries(), ["uml-6.1.176", "uml-6.1.180"]);
}

#[test]
fn a_newer_kernel_gets_its_own_libc_and_starts_with_it() {
    let loader = fs::canonicalize("/lib64/ld-linux-x86-64.so.2");
    let Ok(loader) = loader else {
        eprintln!("skipped: this system has no glibc for x86-64");
        return;
    };
    let client = Client::new("6.12.101");
    client.kernel("6.12.101", true);
    client.package("libc6", "2.99", "");
    let libraries = client.place.path().join("packages/libc6/usr/lib/x86_64-linux-gnu");
    fs::create_dir_all(&libraries).unwrap();
    fs::copy(&loader, libraries.join("ld-linux-x86-64.so.2")).unwrap();
    fs::copy(loader.with_file_name("libc.so.6"), libraries.join("libc.so.6")).unwrap();
    let done = client.fetch().expect_code(0);
    assert!(done.stdout.contains("with its own C library"), "{}", done.stdout);
    assert_eq!(client.entries(), ["uml-6.12.101"]);
    // The cache may be moved.
    fs::rename(client.place.path().join("cache"), client.place.path().join("moved")).unwrap();
    let moved = nsharness::kernel::Kernel {
        name: "uml:6.12.101".into(),
        flavour: nsharness::kernel::Flavour::Uml,
        release: Some("6.12.101".into()),
        file: client.place.path().join("moved/kernels/uml-6.12.101/linux.uml"),
        modules: None,
        libc: Some(nsharness::kernel::Libc {
            loader: client
                .place
                .path()
                .join("moved/kernels/uml-6.12.101/libc/ld-linux-x86-64.so.2"),
            libc: client.place.path().join("moved/kernels/uml-6.12.101/libc/libc.so.6"),
        }),
    };
    let mut command = moved.command(client.place.path()).unwrap();
    let output = command.arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "6.12.101\n");
}

#[test]
fn an_image_comes_with_its_modules_and_without_those_of_hardware() {
    let client = Client::new("6.1.176");
    let release = "6.1.0-50-amd64";
    client.package("linux-image-amd64", "6.1.176-1", "linux-image-6.1.0-50-amd64 (= 6.1.176-1)");
    client.package("linux-image-6.1.0-50-amd64", "6.1.176-1", "kmod, initramfs-tools | dracut");
    let root = client.place.path().join("packages/linux-image-6.1.0-50-amd64");
    for file in ["fs/overlayfs/overlay.ko", "drivers/gpu/drm.ko"] {
        let module =
            format!("packages/linux-image-6.1.0-50-amd64/lib/modules/{release}/kernel/{file}");
        client.place.write(&module, "a module");
    }
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::write(root.join("boot/vmlinuz-6.1.0-50-amd64"), image(release)).unwrap();
    let fetch = ["fetch", "debian:12", "--flavour", "image", "--keyring", "keys"];
    client.run(&fetch).expect_code(0);
    assert_eq!(client.names(), ["qemu:6.1.0-50-amd64"]);
    let modules = client.cache().join("qemu-6.1.0-50-amd64/modules/kernel");
    assert!(modules.join("fs/overlayfs/overlay.ko").is_file());
    assert!(!modules.join("drivers/gpu").exists());
}

#[test]
fn an_image_of_several_packages_is_put_together() {
    let client = Client::new("7.2.7");
    let release = "7.2.13+deb14-amd64";
    client.package("linux-image-amd64", "7.2.13-1", &format!("linux-image-{release} (= 7.2.13-1)"));
    let parts =
        format!("linux-binary-{release} (= 7.2.13-1), linux-modules-{release} (= 7.2.13-1)");
    client.package(&format!("linux-image-{release}"), "7.2.13-1", &parts);
    for part in ["base", "binary", "modules"] {
        client.package(&format!("linux-{part}-{release}"), "7.2.13-1", "");
    }
    let below = |part: &str, file: &str| {
        format!("packages/linux-{part}-{release}/usr/lib/modules/{release}/{file}")
    };
    client.place.write(&below("modules", "kernel/fs/nfs/nfs.ko.xz"), "a module");
    client.place.write(&below("base", "modules.builtin"), "kernel/fs/ext4/ext4.ko\n");
    let binary = client.place.write(&below("binary", "vmlinuz"), "");
    fs::write(binary, image(release)).unwrap();
    client.run(&["fetch", "debian:sid", "--flavour", "image", "--keyring", "keys"]).expect_code(0);
    assert_eq!(client.names(), [format!("qemu:{release}")]);
    assert!(
        client.cache().join(format!("qemu-{release}/modules/kernel/fs/nfs/nfs.ko.xz")).is_file()
    );
}

/// What apt prints, and what is made of it.
#[rstest]
#[case::no_network(
    "update",
    "E: Failed to fetch http://m.example/debian/dists/bookworm/InRelease  Could not resolve 'm.example'\n\
     E: Some index files failed to download. They have been ignored, or old ones used instead.\n",
    &["no network: Failed to fetch", "Could not resolve 'm.example'", "proxy"]
)]
#[case::refused(
    "update",
    "E: Failed to fetch http://m.example/x  Could not connect to m.example:80 (192.0.2.1). - connect (111: Connection refused)\n",
    &["no network", "Connection refused"]
)]
#[case::no_such_suite(
    "update",
    "E: The repository 'http://m.example/debian bookworm Release' does not have a Release file.\n",
    &["the mirror does not have it", "does not have a Release file", "--mirror URL"]
)]
#[case::no_key(
    "update",
    "W: GPG error: http://m.example/debian bookworm InRelease: The following signatures couldn't be verified \
     because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\n\
     E: The repository 'http://m.example/debian bookworm InRelease' is not signed.\n",
    &["the signature of the archive cannot be checked", "NO_PUBKEY 6ED0E7B82643E131", "debian-archive-keyring"]
)]
#[case::out_of_date(
    "update",
    "E: Release file for http://m.example/debian/dists/sid/InRelease is expired (invalid since 9d 1h 2min 3s). \
     Updates for this repository will not be applied.\n",
    &["out of date, or the clock", "is expired", "set the clock"]
)]
#[case::no_space_for_lists(
    "update",
    "E: Failed to fetch http://m.example/Packages  Error writing to file - write (28: No space left on device)\n",
    &["no space", "make room, or set NSHARNESS_CACHE"]
)]
#[case::no_space_for_a_package(
    "download",
    "E: You don't have enough free space in /var/cache/apt/archives/.\n",
    &["no space", "make room"]
)]
#[case::gone("download", "E: Failed to fetch http://m.example/a.deb  404  Not Found\n", &["the mirror does not have it"])]
#[case::no_space_to_unpack(
    "unpack",
    "tar: ./usr/bin/linux.uml: Cannot write: No space left on device\ndpkg-deb: error: tar subprocess returned error exit status 2\n",
    &["no space", "make room"]
)]
#[case::silent("update", "", &["it exits with 100"])]
fn a_failure_of_the_client_is_told_with_its_remedy(
    #[case] stage: &str,
    #[case] message: &str,
    #[case] words: &[&str],
) {
    let client = Client::new("6.1.176");
    client.place.write(stage, message);
    let done = client.fetch().expect_code(5);
    told(&done, &["debian:12 (uml) cannot be fetched", "remedy: "]);
    told(&done, words);
    assert!(client.entries().is_empty(), "{:?}", client.entries());
}

#[test]
fn without_a_package_client_the_remedy_is_another_way() {
    let client = Client::new("6.1.176");
    fs::remove_file(client.place.path().join("bin/apt-get")).unwrap();
    let bin = client.place.path().join("bin");
    let mut command = client.command(User::Own, &["fetch", "debian:12", "--keyring", "keys"]);
    let done = Done::of(command.env("PATH", bin).output().unwrap()).expect_code(5);
    told(
        &done,
        &["apt-get: it is not in the PATH", "remedy: fetch on a Debian system", "kernel add"],
    );
}

#[test]
fn a_system_that_is_not_debian_is_asked_for_a_mirror() {
    let client = Client::new("6.1.176");
    client.place.write("targets", "");
    client.place.write("addresses", "'http://a.example/ubuntu/dists/noble/InRelease' a 0\n");
    let done = client.fetch().expect_code(5);
    told(&done, &["no source of this system's apt is Debian's main archive", "--mirror URL"]);
}

#[test]
fn keys_that_are_not_there_are_never_done_without() {
    let client = Client::new("6.1.176");
    let done = client.run(&["fetch", "debian:12", "--keyring", "nobody"]).expect_code(5);
    told(&done, &["the keyring nobody: there is no such file"]);
    assert!(!client.place.exists("sources"), "the archive was asked");
}

#[rstest]
#[case(&["fetch"], "required arguments")]
#[case(&["fetch", "debian:99"], "no release `99` of Debian is known: there are 11, 12, 13, sid")]
#[case(&["fetch", "debian:bokworm"], "did you mean `debian:bookworm`?")]
#[case(&["fetch", "fedora:40"], "expected debian:RELEASE")]
#[case(&["fetch", "debian:12", "--flavour", "umi"], "uml, image")]
#[case(&["fetch", "debian:12", "--mirror", "http://a b"], "expected an address")]
#[case(&["fetch", "debian:12", "--mirror", "[trusted=yes] http://a/debian"], "expected an address")]
#[case(&["remove", "uml:6.1"], "no kernel `uml:6.1` in the cache: it is empty")]
fn a_wrong_command_line_is_2_and_says_what_there_is(
    #[case] arguments: &[&str],
    #[case] word: &str,
) {
    let client = Client::new("6.1.176");
    told(&client.run(arguments).expect_code(2), &[word]);
}

#[test]
fn a_release_that_fails_does_not_keep_the_others() {
    let client = Client::new("6.1.176");
    let image = ["fetch", "debian:12", "--flavour", "image,uml", "--keyring", "keys"];
    let done = client.run(&image).expect_code(5);
    told(&done, &["debian:12 (image) cannot be fetched", "linux-image-amd64 in debian:12"]);
    assert_eq!(client.names(), ["uml:6.1.176"]);
}

#[test]
fn a_package_that_is_not_as_expected_is_told() {
    let client = Client::new("6.1.176");
    fs::remove_file(client.place.path().join("packages/user-mode-linux/usr/bin/linux.uml"))
        .unwrap();
    told(&client.fetch().expect_code(5), &["linux.uml: it is not in its package"]);
    client.place.write("packages/user-mode-linux/usr/bin/linux.uml", "#!/bin/sh\n");
    told(&client.fetch().expect_code(5), &["the file does not tell its release"]);
    assert!(client.entries().is_empty());
}

#[test]
fn an_interrupted_fetch_is_130_and_leaves_nothing() {
    let client = Client::new("6.1.176");
    client.place.write("hangs", "");
    let mut command = client.command(User::Own, &["fetch", "debian:12", "--keyring", "keys"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let running = wait_for(&client, "running");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let began = Instant::now();
    Done::of(child.wait_with_output().unwrap()).expect_code(130);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(client.entries().is_empty());
    assert!(kill(running, None).is_err(), "the package client still runs");
}

#[test]
fn what_a_killed_fetch_leaves_is_no_kernel_and_goes_with_the_next_one() {
    let client = Client::new("6.1.176");
    client.place.write("hangs", "");
    let mut command = client.command(User::Own, &["fetch", "debian:12", "--keyring", "keys"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = wait_for(&client, "running");
    // One that still runs keeps what it has.
    fs::remove_file(client.place.path().join("hangs")).unwrap();
    client.fetch().expect_code(0);
    assert_eq!(client.entries().len(), 2, "{:?}", client.entries());
    child.kill().unwrap();
    child.wait().unwrap();
    let _ = kill(running, Signal::SIGKILL);
    assert_eq!(client.names(), ["uml:6.1.176"]);
    client.fetch().expect_code(0);
    assert_eq!(client.entries(), ["uml-6.1.176"]);
}

fn wait_for(client: &Client, name: &str) -> Pid {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < Duration::from_secs(20), "the client was never started");
        if client.place.exists(name)
            && let Ok(pid) = client.place.read(name).trim().parse()
        {
            return Pid::from_raw(pid);
        }
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_that_fetch_the_same_at_once_both_succeed() {
    let client = Client::new("6.1.176");
    let children: Vec<_> = (0..3)
        .map(|_| {
            let mut command =
                client.command(User::Own, &["fetch", "debian:12", "--keyring", "keys"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        Done::of(child.wait_with_output().unwrap()).expect_code(0);
    }
    assert_eq!(client.entries(), ["uml-6.1.176"]);
}

/// Whoever adds, removes and lists at the same time, each is told what is true at some moment.
#[test]
fn many_that_use_one_cache_at_once_do_not_disturb_each_other() {
    const EACH: usize = 6;
    let client = Client::new("6.1.176");
    fs::write(client.place.path().join("bzImage"), image("6.13.0")).unwrap();
    client.run(&["list"]).expect_code(0);
    let spawn = |arguments: &[&str]| {
        let mut command = client.command(User::Own, arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let fetch = ["fetch", "debian:12", "--keyring", "keys"];
    for _ in 0..3 {
        let mut children = Vec::new();
        for _ in 0..EACH {
            children.push((0, spawn(&["add", "bzImage"])));
            children.push((2, spawn(&["remove", "qemu:6.13.0"])));
            children.push((0, spawn(&["list"])));
        }
        children.push((0, spawn(&fetch)));
        children.push((2, spawn(&["remove", "uml:6.1.176"])));
        for (other, child) in children {
            let done = Done::of(child.wait_with_output().unwrap());
            assert!(done.code == Some(0) || done.code == Some(other), "{done:?}");
            assert!(!done.stderr.contains("is no kernel"), "{done:?}");
            if done.code == Some(2) {
                told(&done, &["in the cache"]);
            }
        }
    }
    let left = client.entries();
    assert!(left.iter().all(|name| name == "qemu-6.13.0" || name == "uml-6.1.176"), "{left:?}");
    client.run(&["add", "bzImage"]).expect_code(0);
    assert!(client.names().contains(&"qemu:6.13.0".to_owned()));
}

/// What is between two calls is made long.
#[test]
fn while_a_kernel_is_replaced_there_is_one() {
    let client = Client::new("6.1.176");
    if programs::in_path("strace").is_none() {
        return skip("strace", "it is not in PATH");
    }
    fs::write(client.place.path().join("bzImage"), image("6.13.0")).unwrap();
    client.run(&["add", "bzImage"]).expect_code(0);
    let file = client.cache().join("qemu-6.13.0/vmlinuz");
    let before = fs::metadata(&file).unwrap().ino();
    let add = client.command(User::Own, &["add", "bzImage"]);
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=rename,renameat,renameat2:delay_exit=300000",
    ]);
    let mut command = client.place.started_by(command, &add);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        assert!(file.exists(), "for a moment there was none");
        sleep(Duration::from_millis(5));
    }
    let done = Done::of(child.wait_with_output().unwrap());
    if done.stderr.contains("ptrace") {
        return skip("strace", &done.stderr);
    }
    done.expect_code(0);
    assert_ne!(fs::metadata(&file).unwrap().ino(), before);
    assert_eq!(client.entries(), ["qemu-6.13.0"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let client = Client::new("6.1.176");
    let cache = client.place.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = client.command(User::Ordinary, &["fetch", "debian:12", "--keyring", "keys"]);
    let done = Done::of(command.output().unwrap()).expect_code(5);
    told(&done, &["permission denied", "remedy: set NSHARNESS_CACHE"]);
}

/// Runs a shell command in a mount namespace of its own.
fn unshared(client: &Client, script: &str) -> Done {
    let inner = client.command(User::Own, &[]);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh"])
        .arg(inner.get_program());
    common::take_environment(&mut command, &inner);
    Done::of(command.current_dir(client.place.path()).output().unwrap())
}

#[test]
fn a_full_file_system_is_told_and_keeps_nothing() {
    let client = Client::new("6.1.176");
    fs::create_dir(client.place.path().join("cache")).unwrap();
    let mut large = image("6.13.0");
    large.resize(8 << 20, 1);
    fs::write(client.place.path().join("bzImage"), large).unwrap();
    let done = unshared(
        &client,
        "mount -t tmpfs -o size=1m none cache; \"$1\" kernel add bzImage || code=$?; ls -A cache/kernels; exit $code",
    );
    let done = done.expect_code(5);
    told(&done, &["no space", "make room"]);
    assert_eq!(done.stdout, "");
}

/// What was in the cache stays, and the next one that has room succeeds.
#[rstest]
#[case::blocks("size=1m")]
#[case::names("size=64m,nr_inodes=40")]
fn what_has_no_room_in_the_cache_changes_nothing_there(#[case] room: &str) {
    let client = Client::new("6.1.176");
    fs::create_dir(client.place.path().join("cache")).unwrap();
    fs::write(client.place.path().join("small"), image("6.13.0")).unwrap();
    let mut large = image("6.13.0");
    large.resize(4 << 20, 1);
    fs::write(client.place.path().join("large"), large).unwrap();
    for number in 0..60 {
        client.place.write(&format!("m/lib/modules/6.13.0/{number}.ko"), "");
        let module = format!("packages/user-mode-linux/usr/lib/uml/modules/6.1.176/{number}.ko");
        client.place.write(&module, &"x".repeat(40_000));
    }
    let script = r#"
        all() { (cd cache && find . -type f -exec sha256sum {} + | sort); }
        mount -t tmpfs -o ROOM none cache
        "$1" kernel add small >/dev/null
        before=$(all)
        code=0; "$1" kernel add large --modules m || code=$?
        [ "$code" = 5 ] || exit 91
        code=0; "$1" kernel fetch debian:12 --keyring keys || code=$?
        [ "$code" = 5 ] || exit 92
        [ "$before" = "$(all)" ] || exit 93
        "$1" kernel add small --name 6.14 >/dev/null
        ls -A cache/kernels
    "#;
    let done = unshared(&client, &script.replace("ROOM", room)).expect_code(0);
    assert!(done.stdout.ends_with("qemu-6.13.0\nqemu-6.14\n"), "{done:?}");
    assert_eq!(done.stderr.matches(": no space").count(), 2, "{done:?}");
    told(&done, &["make room"]);
}

#[test]
fn a_read_only_file_system_is_told() {
    let client = Client::new("6.1.176");
    fs::create_dir(client.place.path().join("cache")).unwrap();
    fs::write(client.place.path().join("bzImage"), image("6.13.0")).unwrap();
    let script = "mount -t tmpfs -o ro none cache; exec \"$1\" kernel add bzImage";
    told(&unshared(&client, script).expect_code(5), &["read-only", "remedy: set NSHARNESS_CACHE"]);
}

#[test]
fn a_kernel_of_ones_own_is_added_and_removed() {
    let client = Client::new("6.1.176");
    fs::write(client.place.path().join("bzImage"), image("6.13.0-rc1+")).unwrap();
    compile(&client.place.path().join("linux"), "6.13.0", false);
    for file in ["m/lib/modules/6.13.0/kernel/fs/a.ko", "m/lib/modules/6.13.0/modules.order"] {
        client.place.write(file, "");
    }
    symlink("/usr/src", client.place.path().join("m/lib/modules/6.13.0/build")).unwrap();
    client.run(&["add", "bzImage"]).expect_code(0);
    client.run(&["add", "linux", "--modules", "m"]).expect_code(0);
    client.run(&["add", "linux", "--name", "6.13-mine"]).expect_code(0);
    assert_eq!(client.names(), ["uml:6.13-mine", "uml:6.13.0", "qemu:6.13.0-rc1+"]);
    let modules = client.cache().join("uml-6.13.0/modules");
    assert!(modules.join("kernel/fs/a.ko").is_file() && !modules.join("build").exists());
    // It is a copy.
    fs::remove_file(client.place.path().join("linux")).unwrap();
    assert!(client.cache().join("uml-6.13.0/linux.uml").is_file());
    let done = client.run(&["remove", "uml:6.13.0", "qemu:6.13.0-rc1+"]).expect_code(0);
    assert_eq!(done.stdout, "removed uml:6.13.0\nremoved qemu:6.13.0-rc1+\n");
    assert_eq!(client.entries(), ["uml-6.13-mine"]);
    let done = client.run(&["remove", "uml:6.13.0"]).expect_code(2);
    told(&done, &["no kernel `uml:6.13.0` in the cache: there are uml:6.13-mine"]);
}

#[test]
fn what_cannot_be_added_is_told() {
    let client = Client::new("6.1.176");
    client.place.write("text", "no kernel\n");
    fs::write(client.place.path().join("bzImage"), image("6.13.0")).unwrap();
    for (arguments, words) in [
        (vec!["add", "nobody"], "there is no such file"),
        (vec!["add", "."], "not a regular file"),
        (vec!["add", "/dev/zero"], "not a regular file"),
        (vec!["add", "text"], "no kernel is recognised in it"),
        (vec!["add", "text", "--flavour", "uml"], "it does not tell its release"),
        (vec!["add", "bzImage", "--flavour", "uml"], "its flavour is image"),
        (vec!["add", "bzImage", "--name", "mine"], "a name begins with a digit"),
        (vec!["add", "bzImage", "--name", "6/../../x"], "cannot be a target's version"),
        (vec!["add", "bzImage", "--modules", "nobody"], "it is no directory"),
    ] {
        told(&client.run(&arguments).expect_code(5), &[words, "remedy: "]);
    }
    assert!(client.entries().is_empty());
}

#[test]
fn what_is_broken_in_the_cache_is_told_and_can_be_removed() {
    let client = Client::new("6.1.176");
    client.fetch().expect_code(0);
    let escape = r#"{"version":"6.2","flavour":"uml","release":"6.2","file":"../../../bin/sh",
        "origin":{"path":"/x"},"added":""}"#;
    client.place.write("cache/kernels/uml-6.2/kernel.json", escape);
    client.place.write("cache/kernels/uml-6.3/kernel.json", "{");
    client.place.write("cache/kernels/uml-6.4/linux.uml", "");
    fs::remove_file(client.cache().join("uml-6.1.176/linux.uml")).unwrap();
    let done = client.run(&["list"]).expect_code(0);
    told(
        &done,
        &[
            "uml-6.2 is no kernel: kernel.json describes no kernel in this directory",
            "uml-6.3 is no kernel: kernel.json: EOF",
            "uml-6.4 is no kernel: kernel.json: No such file",
            "uml-6.1.176 is no kernel: linux.uml is not there",
            "`nsharness kernel remove uml-6.2`",
        ],
    );
    client.run(&["remove", "uml-6.1.176", "uml-6.2", "uml-6.3", "uml-6.4"]).expect_code(0);
    assert!(client.entries().is_empty());
}

#[test]
fn the_cache_is_where_the_variables_say() {
    let client = Client::new("6.1.176");
    fs::write(client.place.path().join("bzImage"), image("6.13.0")).unwrap();
    let add = |variables: &[(&str, &str)]| {
        let mut command = client.command(User::Own, &["add", "bzImage"]);
        command.env_remove("NSHARNESS_CACHE").env_remove("XDG_CACHE_HOME").env_remove("HOME");
        for (name, value) in variables {
            command.env(name, client.place.path().join(value));
        }
        Done::of(command.output().unwrap())
    };
    add(&[("HOME", "home")]).expect_code(0);
    assert!(client.place.exists("home/.cache/nsharness/kernels/qemu-6.13.0/vmlinuz"));
    add(&[("HOME", "home"), ("XDG_CACHE_HOME", "xdg")]).expect_code(0);
    assert!(client.place.exists("xdg/nsharness/kernels/qemu-6.13.0"));
    add(&[("HOME", "home"), ("XDG_CACHE_HOME", "xdg"), ("NSHARNESS_CACHE", "own")]).expect_code(0);
    assert!(client.place.exists("own/kernels/qemu-6.13.0"));
    told(&add(&[]).expect_code(5), &["HOME is not set", "set NSHARNESS_CACHE"]);
}

/// What `run` says of a target whose kernel is not there.
#[rstest]
#[case(
    "uml:6.1",
    "needs the kernel uml:6.1: none is in the cache (nsharness kernel fetch debian:12)"
)]
#[case("uml:5.10", "(nsharness kernel fetch debian:11)")]
#[case("uml:7.2", "(nsharness kernel fetch debian:sid)")]
#[case("qemu:6.12", "(nsharness kernel fetch debian:13 --flavour image)")]
#[case("uml:5.15", "no release of Debian has it: build it")]
#[case("uml:./nobody", "needs the kernel ./nobody: there is no such file")]
#[case("uml:./bzImage", "it is an image for a machine (boot it as qemu:./bzImage)")]
#[case("qemu:./linux", "it is a User-Mode Linux (boot it as uml:./linux)")]
#[case("uml:./a.yaml", "no kernel is recognised in it")]
#[case(
    "uml:./plain",
    "it cannot be executed by this user, or on this file system (chmod +x ./plain)"
)]
#[case("qemu:./bzImage,modules=nobody", "needs modules in nobody: it is no directory")]
fn a_kernel_that_is_not_there_is_told_with_its_remedy(#[case] target: &str, #[case] word: &str) {
    let client = Client::new("6.1.176");
    let place = &client.place;
    place.write("a.yaml", PASSES);
    fs::write(place.path().join("bzImage"), image("6.13.0")).unwrap();
    compile(&place.path().join("linux"), "6.13.0", false);
    fs::copy(place.path().join("linux"), place.path().join("plain")).unwrap();
    let not_executable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(place.path().join("plain"), not_executable).unwrap();
    let mut command = place.command(User::Own);
    command.args(["run", "a.yaml", "--on", target]);
    // A User-Mode Linux that is installed here would be found in the PATH.
    command.env("PATH", place.path()).env("NSHARNESS_CACHE", place.path().join("cache"));
    let done = Done::of(command.output().unwrap()).expect_code(4);
    assert!(done.stdout.contains(word), "{word} is not in:\n{}", done.stdout);
}

#[test]
fn the_real_archive_is_fetched_from_by_anybody() {
    if !common::is_required("kernel.fetch") {
        eprintln!("skipped: it downloads 50 MB; NSHARNESS_REQUIRE=kernel.fetch asks for it");
        return;
    }
    let place = Place::new();
    for user in [User::Own, User::Ordinary] {
        let kernel = |arguments: &[&str]| {
            let mut command = place.command(user);
            command.arg("kernel").args(arguments);
            Done::of(
                command
                    .env("NSHARNESS_CACHE", place.path().join(format!("{user:?}")))
                    .output()
                    .unwrap(),
            )
        };
        // Keys that are not the archive's.
        place.write("keys", "");
        let done = kernel(&["fetch", "debian:12", "--keyring", "keys"]).expect_code(5);
        told(&done, &["the signature of the archive cannot be checked"]);
        let done = kernel(&["fetch", "debian:12"]).expect_code(0);
        assert!(done.stdout.starts_with("uml:6.1."), "{}", done.stdout);
        let done = kernel(&["fetch", "debian:12"]).expect_code(0);
        assert!(done.stdout.contains("up to date"), "{}", done.stdout);
    }
}
