//! What `inspect` says of layers. That it agrees with the kernel is held by `inspect_kernel`.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{Done, Place, User, is_root, json_lines};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::fs::XattrFlags;

fn mark(path: &Path, name: &str, value: &str) {
    rustix::fs::lsetxattr(path, name, value.as_bytes(), XattrFlags::empty()).expect("an attribute");
}

fn whiteout(path: &Path) {
    mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).expect("a whiteout");
}

/// An upper layer over two lower ones, as a rootless engine has them.
fn layers() -> Place {
    let place = Place::new();
    for file in [
        "u/etc/hosts",
        "l1/etc/hosts",
        "l1/opt/a/b",
        "l2/etc/motd",
        "l2/opt/c",
        "u/opt/d",
        "l2/srv",
    ] {
        place.write(file, file);
    }
    whiteout(&place.path().join("u/etc/motd"));
    mark(&place.path().join("u/opt"), "user.overlay.opaque", "y");
    place
}

const MOUNTED: &str = "rw,lowerdir=l1:l2,upperdir=u,workdir=w,userxattr";

/// The remarks of one weight, as topic and path.
fn remarks(done: &Done, weight: &str) -> Vec<(String, String)> {
    let lines = json_lines(&done.stdout);
    let of_weight =
        lines.iter().filter(|line| line["event"] == "remark" && line["weight"] == weight);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    of_weight.map(|line| (text(&line["topic"]), text(&line["path"]))).collect()
}

fn problems(place: &Place, arguments: &[&str]) -> Vec<(String, String)> {
    let arguments = [&["inspect", "--json"], arguments].concat();
    remarks(&place.run(User::Ordinary, &arguments).expect_code(1), "problem")
}

fn is(topic: &str, path: &str) -> Vec<(String, String)> {
    vec![(topic.into(), path.into())]
}

#[test]
fn each_name_is_told_with_its_layers_and_with_what_it_hides() {
    let place = layers();
    let done = place.run(User::Ordinary, &["inspect", "-o", MOUNTED]).expect_code(0);
    let lines: Vec<String> = done
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "1 upper u",
        "2 lower l1",
        "3 lower l2",
        "d 1+2+3 /",
        "f 1 /etc/hosts hides file of 2",
        "- 1 /etc/motd whiteout (device 0:0); hides file of 3",
        "d 1 /opt opaque; hides directory of 2 with 2 in it; hides directory of 3 with 1 in it",
        "f 1 /opt/d",
        "f 3 /srv",
    ] {
        assert!(lines.iter().any(|told| told == line), "{line} is not in:\n{}", done.stdout);
    }
    assert!(
        done.stdout.ends_with("summary: 6 names, 1 not seen, 0 problems, 0 unknown, 2 notes\n"),
        "{}",
        done.stdout
    );
}

#[test]
fn the_json_lines_say_the_same() {
    let place = layers();
    let done = place.run(User::Ordinary, &["inspect", "--json", "-o", MOUNTED]).expect_code(0);
    let lines = json_lines(&done.stdout);
    assert_eq!(
        (&lines[0]["event"], &lines[0]["read_as"]),
        (&"layers".into(), &"user.overlay".into())
    );
    let of = |path: &str| lines.iter().find(|line| line["path"] == path).expect("a name");
    assert_eq!(of("/etc/hosts")["from"], serde_json::json!([{ "layer": 1, "path": "/etc/hosts" }]));
    assert_eq!(of("/etc/hosts")["hides"][0]["layer"], 2);
    assert_eq!(of("/etc/motd")["state"], "gone");
    assert_eq!(of("/opt")["opaque"], 1);
    assert_eq!(lines.last().expect("a summary")["names"], 6);
}

#[test]
fn attributes_that_this_user_cannot_see_are_not_taken_for_none() {
    let place = layers();
    let done = place.run(User::Ordinary, &["inspect", "u", "l1", "l2"]).expect_code(5);
    assert!(done.stdout.contains("unknown trusted.overlay.*"), "{}", done.stdout);
    assert!(done.stdout.contains("say `-o userxattr` or `--oci`"), "{}", done.stdout);
    place.run(User::Ordinary, &["inspect", "-o", "userxattr", "u", "l1", "l2"]).expect_code(0);
    if is_root() {
        let done = place.run(User::Own, &["inspect", "u", "l1", "l2"]).expect_code(0);
        assert!(
            done.stdout.contains("marks: 0 trusted.overlay.*, 1 user.overlay.*"),
            "{}",
            done.stdout
        );
    }
}

#[test]
fn a_directory_that_cannot_be_read_leaves_the_view_unknown() {
    let place = layers();
    let locked = place.path().join("l1/opt");
    let mode =
        |mode| fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(mode));
    mode(0).expect("a mode");
    let done = place.run(User::Ordinary, &["inspect", "-o", MOUNTED]);
    mode(0o755).expect("a mode");
    assert!(done.stdout.contains("its names cannot be read: EACCES"), "{}", done.stdout);
    done.expect_code(5);
}

#[test]
fn a_whiteout_that_is_listed_is_a_problem() {
    let place = layers();
    whiteout(&place.path().join("u/opt/phantom"));
    assert_eq!(problems(&place, &["-o", MOUNTED]), is("phantom", "/opt/phantom"));
}

#[test]
fn marks_that_do_not_count_here_are_problems() {
    let place = layers();
    place.write("u/.wh.srv", "");
    assert_eq!(problems(&place, &["-o", MOUNTED]), is("mark-ignored", "/.wh.srv"));
    fs::remove_file(place.path().join("u/.wh.srv")).unwrap();
    mark(&place.path().join("u/etc"), "user.overlay.redirect", "/opt");
    assert_eq!(problems(&place, &["-o", MOUNTED]), is("refused", "/etc"));
    mark(&place.path().join("u/etc"), "user.overlay.opaque", "maybe");
    assert!(problems(&place, &["-o", MOUNTED]).contains(&("mark-ignored".into(), "/etc".into())));
}

#[test]
fn layers_of_oci_have_their_whiteouts_in_names() {
    let place = Place::new();
    for file in
        ["top/etc/.wh.motd", "top/opt/.wh..wh..opq", "top/opt/new", "base/etc/motd", "base/opt/old"]
    {
        place.write(file, "");
    }
    let done =
        place.run(User::Ordinary, &["inspect", "--json", "--oci", "top", "base"]).expect_code(0);
    let names: Vec<_> = json_lines(&done.stdout)
        .into_iter()
        .filter(|line| line["event"] == "name")
        .map(|line| {
            format!("{} {}", line["path"].as_str().unwrap(), line["state"].as_str().unwrap())
        })
        .collect();
    assert_eq!(names, ["/ there", "/etc there", "/etc/motd gone", "/opt there", "/opt/new there"]);
    whiteout(&place.path().join("top/base"));
    assert_eq!(problems(&place, &["--oci", "top", "base"]), is("mark-ignored", "/base"));
}

#[test]
fn what_would_be_lost_is_a_problem_of_who_exports_only() {
    let place = layers();
    let done = place.run(User::Ordinary, &["inspect", "--json", "-o", MOUNTED]).expect_code(0);
    let lost = vec![
        ("does-not-travel".into(), "/opt".into()),
        ("does-not-travel".into(), "/etc/motd".into()),
    ];
    let mut noted = remarks(&done, "note");
    let mut told = problems(&place, &["--export", "-o", MOUNTED]);
    for list in [&mut noted, &mut told] {
        list.sort_by(|a: &(String, String), b| b.cmp(a));
        assert_eq!(*list, lost);
    }
}

#[test]
fn no_link_is_followed_out_of_a_layer_and_no_time_is_changed() {
    let place = layers();
    symlink("/etc", place.path().join("l2/link")).unwrap();
    symlink("../../../../../../etc/passwd", place.path().join("l2/up")).unwrap();
    let layer = place.path().join("l2/opt");
    let touched =
        Command::new("touch").args(["-a", "-d", "2001-01-01"]).arg(&layer).status().unwrap();
    assert!(touched.success());
    let read = fs::metadata(&layer).unwrap().atime();
    let done = place.run(User::Own, &["inspect", "-o", MOUNTED]).expect_code(0);
    assert!(!done.stdout.contains("passwd") && done.stdout.contains("/link"), "{}", done.stdout);
    assert_eq!(fs::metadata(&layer).unwrap().atime(), read);
}

#[test]
fn names_reach_the_terminal_escaped() {
    let place = layers();
    place.write("l2/a\x1b[2J\u{202e}\\", "");
    let done = place.run(User::Ordinary, &["inspect", "-o", MOUNTED]).expect_code(0);
    assert!(done.stdout.contains(r"/a\x1b[2J\u{202e}\\"), "{}", done.stdout);
}

#[test]
fn a_tree_deeper_than_a_path_can_say_is_not_known_and_harms_nobody() {
    let place = layers();
    let script = "cd l2; i=0; while [ $i -lt 200 ]; do mkdir $0; cd -P $0; i=$((i + 1)); done";
    let name = "d".repeat(50);
    let made = Command::new("sh").args(["-c", script, &name]).current_dir(place.path()).status();
    assert!(made.unwrap().success());
    let done = place.run(User::Own, &["inspect", "--remarks", "-o", MOUNTED]).expect_code(5);
    assert!(done.stdout.contains("ENAMETOOLONG"), "{}", done.stdout);
}

#[test]
fn redirects_that_multiply_what_is_shown_come_to_an_end() {
    if !is_root() {
        return common::skip("root", "redirects are followed where they are in trusted.* alone");
    }
    let place = Place::new();
    for layer in 0..6 {
        for n in 0..10 {
            let dir = place.path().join(format!("l{layer}/d/{n}"));
            fs::create_dir_all(&dir).unwrap();
            mark(&dir, "trusted.overlay.redirect", "/d");
        }
    }
    let layers = ["l0", "l1", "l2", "l3", "l4", "l5"];
    let arguments = [&["inspect", "--remarks", "--limit", "5000"], &layers[..]].concat();
    let done = place.run(User::Own, &arguments).expect_code(5);
    assert!(done.stderr.contains("the view has more than 5000 names"), "{}", done.stderr);
}

#[test]
fn what_mounts_have_left_in_the_work_directory_is_told() {
    let place = layers();
    place.write("w/work/#1f/half", "half");
    place.write("w/work/#20", "half");
    place.write("w/index/#21", "half");
    place.write("w/index/00fb1d0001", "alone");
    place.write("w/index/00fb1d0002", "named");
    fs::hard_link(place.path().join("w/index/00fb1d0002"), place.path().join("u/named")).unwrap();
    whiteout(&place.path().join("w/index/00fb1d0003"));
    symlink("/etc", place.path().join("w/work/incompat")).unwrap();
    let inspect = |arguments: &[&str]| {
        place.run(User::Ordinary, &[&["inspect", "-o", MOUNTED], arguments].concat())
    };
    let told = |arguments: &[&str], code, weight| {
        let done = inspect(&[&["--json"], arguments].concat()).expect_code(code);
        remarks(&done, weight).into_iter().map(|(topic, path)| format!("{topic} {path}")).collect()
    };
    let only = |told: Vec<String>, topics: &[&str]| -> Vec<String> {
        told.into_iter().filter(|one| topics.iter().any(|topic| one.starts_with(topic))).collect()
    };
    // Nobody is asked to look, so nothing is said.
    let of_work = ["temporary", "index-without-name", "unused", "incompatible", "unread"];
    let notes: Vec<String> = told(&[], 0, "note");
    assert!(only(notes, &of_work).is_empty());
    // A link is not followed: it is not what the kernel makes.
    let unknown: Vec<String> = told(&["--work"], 5, "unknown");
    assert_eq!(unknown, ["unread /work/incompat"]);
    fs::remove_file(place.path().join("w/work/incompat")).unwrap();
    let notes: Vec<String> = told(&["--work"], 0, "note");
    assert_eq!(
        only(notes, &of_work),
        ["temporary /index/#21", "index-without-name /index/00fb1d0001"]
    );
    let done = inspect(&["--work=w"]).expect_code(0);
    for line in [
        "work directory w: 3 temporary, 3 in the index\n",
        "note: temporary: work directory: /index/#21, /work/#1f, /work/#20: made for a copy, a removal",
        "note: index-without-name: work directory: /index/00fb1d0001: a file of the index",
    ] {
        assert!(done.stdout.contains(line), "{line}: {}", done.stdout);
    }
    place.write("w/work/incompat/volatile/dirty", "");
    let problems: Vec<String> = told(&["--work"], 1, "problem");
    assert_eq!(problems, ["incompatible /work/incompat/volatile"]);
    let done = inspect(&["--json", "--work"]).expect_code(1);
    let work = &json_lines(&done.stdout)[0]["work"];
    assert_eq!(work["incompatible"], serde_json::json!(["volatile"]));
    assert_eq!(work["index"], 3);
    let notes: Vec<String> = told(&["--work=l1"], 0, "note");
    assert_eq!(only(notes, &of_work), ["unused /"]);
    inspect(&["--work=none"]).expect_code(5);
    let done = place.run(User::Ordinary, &["inspect", "--work", "l1"]).expect_code(2);
    assert!(done.stderr.contains("name it, as --work=DIR"), "{}", done.stderr);
}

#[test]
fn what_cannot_be_inspected_is_refused_with_a_remedy() {
    let place = layers();
    for (arguments, code, said) in [
        (&["nobody"][..], 5, "layer nobody cannot be read (expected a directory)"),
        (&["l2/srv"], 5, "expected a directory"),
        (&["u", "./u"], 2, "no directory is a layer twice"),
        (&["-o", "userxattr"], 2, "no layers: name directories, topmost first"),
        (&["-o", "lowerdir=l1", "l2"], 2, "layers are named twice"),
        (&["-o", "lowerdir=l1::l2:l1"], 2, "behind one that only gives data"),
        (&["-o", "lowdir=l1"], 2, "expected lowerdir="),
        (&["--mount", "u"], 2, "no overlay is mounted there"),
        (&["--limit", "3", "u", "l1"], 5, "give a higher --limit"),
        (&[], 2, "<LAYER>"),
    ] {
        let done = place.run(User::Ordinary, &[&["inspect"], arguments].concat()).expect_code(code);
        assert!(done.stderr.contains(said), "{arguments:?}: {}", done.stderr);
    }
}
