//! Settings: who is believed before whom, what a checkout may not say, and how a wrong one is told.

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;

use common::{Done, PASSES, Place, User, json_lines};
use rstest::rstest;

const OWN: &str = ".config/nsharness/config.toml";
const CHECKOUT: &str = "nsharness.toml";

fn place() -> Place {
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place
}

/// The command without the settings of who runs the tests.
fn command(place: &Place) -> Command {
    let mut command = place.command(User::Own);
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"NSHARNESS_") {
            command.env_remove(name);
        }
    }
    command.env_remove("XDG_CONFIG_HOME").env("NSHARNESS_CACHE", place.path().join("cache"));
    command
}

fn run(place: &Place, arguments: &[&str], variables: &[(&str, &str)]) -> Done {
    Done::of(command(place).args(arguments).envs(variables.iter().copied()).output().unwrap())
}

/// Who says which kernel is modelled, and who says another one and is not believed.
#[rstest]
#[case::option_before_variable(&["5.10"], Some("6.1"), None, None, "5.10")]
#[case::option_before_checkout(&["5.10"], None, Some("6.1"), None, "5.10")]
#[case::option_before_own_file(&["5.10"], None, None, Some("6.1"), "5.10")]
#[case::variable_before_checkout(&[], Some("5.15"), Some("6.1"), None, "5.15")]
#[case::variable_before_own_file(&[], Some("5.15"), None, Some("6.1"), "5.15")]
#[case::checkout_before_own_file(&[], None, Some("6.6"), Some("6.1"), "6.6")]
#[case::own_file_before_default(&[], None, None, Some("6.1"), "6.1")]
fn the_first_of_them_counts(
    #[case] option: &[&str],
    #[case] variable: Option<&str>,
    #[case] checkout: Option<&str>,
    #[case] own: Option<&str>,
    #[case] counts: &str,
) {
    let place = place();
    let mut arguments = vec!["simulate"];
    for version in option {
        arguments.extend(["--kernel", version]);
    }
    let text = |version: &str| format!("kernel = \"{version}\"\n");
    if let Some(version) = checkout {
        place.write(CHECKOUT, &text(version));
    }
    if let Some(version) = own {
        place.write(OWN, &text(version));
    }
    let variables: Vec<_> =
        variable.map(|version| ("NSHARNESS_KERNEL", version)).into_iter().collect();
    let done = run(&place, &arguments, &variables).expect_code(0);
    assert!(done.stdout.starts_with(&format!("simulating Linux {counts} ")), "{}", done.stdout);
    assert_eq!(done.stderr.contains("settings: kernel="), option.is_empty(), "{}", done.stderr);
}

#[test]
fn what_is_said_to_one_command_counts_more_than_what_is_said_to_all() {
    let place = place();
    place.write(CHECKOUT, "kernel = \"6.1\"\n[simulate]\nkernel = \"5.10\"\n");
    let done = run(&place, &["simulate"], &[]).expect_code(0);
    assert!(done.stdout.starts_with("simulating Linux 5.10 "), "{}", done.stdout);
    // A variable is believed before any file, also where it is said to all.
    let done = run(&place, &["simulate"], &[("NSHARNESS_KERNEL", "6.6")]).expect_code(0);
    assert!(done.stdout.starts_with("simulating Linux 6.6 "), "{}", done.stdout);
    let both = [("NSHARNESS_KERNEL", "6.6"), ("NSHARNESS_SIMULATE_KERNEL", "6.12")];
    let done = run(&place, &["simulate"], &both).expect_code(0);
    assert!(done.stdout.starts_with("simulating Linux 6.12 "), "{}", done.stdout);
}

#[test]
fn a_flag_can_be_taken_back() {
    let place = place();
    place.write(CHECKOUT, "quiet = true\n");
    let quiet = |arguments: &[&str], variables: &[(&str, &str)]| {
        !run(&place, arguments, variables).expect_code(0).stdout.contains("pass    a")
    };
    assert!(quiet(&["run"], &[]));
    assert!(!quiet(&["run"], &[("NSHARNESS_QUIET", "no")]));
    assert!(!quiet(&["run", "--quiet=false"], &[("NSHARNESS_QUIET", "1")]));
    assert!(!quiet(&["run"], &[("NSHARNESS_CONFIG", "")]));
    assert!(!quiet(&["run", "--no-config"], &[]));
    assert!(quiet(&["run", "--no-config", "-q"], &[]));
}

#[test]
fn a_named_file_is_the_only_one_and_is_trusted() {
    let place = place();
    place.write(CHECKOUT, "quiet = true\n");
    place.write(OWN, "fail-fast = true\n");
    place.write("mine.toml", "json = \"out.json\"\njobs = 1\n");
    let done = run(&place, &["run", "--config", "mine.toml"], &[]).expect_code(0);
    assert!(
        done.stderr.contains("settings: jobs=1 (mine.toml:2), json=out.json (mine.toml:1)\n"),
        "{}",
        done.stderr
    );
    assert!(place.exists("out.json"));
    let done = run(&place, &["run"], &[("NSHARNESS_CONFIG", "mine.toml")]).expect_code(0);
    assert!(
        done.stderr.contains("mine.toml:1") && !done.stderr.contains("quiet"),
        "{}",
        done.stderr
    );
    let done = run(&place, &["run", "--config", "gone.toml"], &[]).expect_code(3);
    assert!(
        done.stderr.contains("gone.toml") && done.stderr.contains("cannot be read"),
        "{}",
        done.stderr
    );
    run(&place, &["run", "--config", "mine.toml", "--no-config"], &[]).expect_code(2);
}

#[test]
fn a_setting_gives_way_to_what_the_command_line_says() {
    let place = place();
    place.write(OWN, "on = \"uml:0.1\"\njobs = 2\nretries = 1\n[simulate]\nkernel = \"5.10\"\n");
    // `--on` excludes `--kernel`, `--jobs` is about the host alone, `--record` excludes `--retries`.
    let done = run(&place, &["simulate", "--on", "host"], &[]).expect_code(0);
    assert!(!done.stdout.contains("5.10"), "{}", done.stdout);
    let done = run(&place, &["run"], &[]).expect_code(4);
    assert!(done.stdout.contains("uml:0.1"), "{}", done.stdout);
    run(&place, &["run", "--on", "host", "--record", "r"], &[]).expect_code(0);
    run(&place, &["run", "--on", "recorded:r"], &[]).expect_code(0);
}

#[test]
fn the_file_of_a_checkout_is_looked_for_up_to_its_root() {
    let place = place();
    place.write(CHECKOUT, "kernel = \"5.10\"\n");
    place.write("deep/er/scenarios/a.yaml", PASSES);
    let below = |place: &Place| {
        let mut command = command(place);
        Done::of(
            command.current_dir(place.path().join("deep/er")).arg("simulate").output().unwrap(),
        )
        .expect_code(0)
    };
    // Nothing says that the directories above belong to the same: /tmp is anybody's.
    assert!(!below(&place).stdout.contains("5.10"));
    place.write(".git/HEAD", "");
    let done = below(&place);
    assert!(
        done.stderr.contains("../../nsharness.toml:1") && done.stdout.contains("5.10"),
        "{done:?}"
    );
    place.write("deep/.git", "gitdir: elsewhere\n");
    assert!(!below(&place).stdout.contains("5.10"));
}

/// What somebody could propose, to do harm with the next run.
#[rstest]
#[case::kernel_to_boot("on = [\"host\", \"uml:./evil\"]", "1:6", "names no files as targets")]
#[case::image_to_boot("on = \"qemu:./evil,modules=.\"", "1:6", "names no files as targets")]
#[case::file_to_read("on = \"recorded:/etc/shadow\"", "1:6", "names no files as targets")]
#[case::runtime("runtime = \"./evil\"", "1:1", "no setting for the file of a checkout")]
#[case::overlay("overlay = \"./evil\"", "1:1", "no setting for the file of a checkout")]
#[case::report(
    "markdown = \".git/hooks/pre-commit\"",
    "1:1",
    "no setting for the file of a checkout"
)]
#[case::evidence("keep = \"/tmp\"", "1:1", "no setting for the file of a checkout")]
#[case::cache("cache = \"cache\"", "1:1", "no setting for the file of a checkout")]
#[case::findings("out = \"/tmp\"", "1:1", "no setting for the file of a checkout")]
#[case::table("[matrix]\njson = \"/tmp/x\"", "2:1", "no setting for the file of a checkout")]
#[case::mirror("mirror = \"http://evil\"", "1:1", "no setting for the file of a checkout")]
#[case::processes("jobs = 1000", "1:1", "no setting for the file of a checkout")]
#[case::record("snapshots = \"accept\"", "1:1", "no setting for the file of a checkout")]
#[case::root("privileged = true", "1:1", "there is no setting `privileged`")]
#[case::selection("skip-tag = \"all\"", "1:1", "there is no setting `skip-tag`")]
fn a_checkout_cannot_choose_what_is_run_or_written(
    #[case] text: &str,
    #[case] at: &str,
    #[case] told: &str,
) {
    let place = place();
    place.write("evil", "#!/bin/sh\ntouch harm\n");
    place.write(CHECKOUT, text);
    for arguments in [&["run"][..], &["simulate"], &["config"]] {
        let done = run(&place, arguments, &[]).expect_code(3);
        assert!(done.stderr.contains(told), "{}", done.stderr);
        assert!(done.stderr.contains(&format!("{CHECKOUT}:{at}")), "{}", done.stderr);
        assert!(done.stderr.contains("^^") && done.stdout.is_empty(), "{done:?}");
    }
    assert!(!place.exists("harm"));
}

#[test]
fn a_file_of_a_checkout_does_not_stand_for_a_kernel_that_is_named_by_its_version() {
    let place = place();
    let evil = place.write("6.12", "#!/bin/sh\ntouch harm\n");
    fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let done = run(&place, &["run", "--on", "uml:6.12"], &[]).expect_code(4);
    assert!(done.stdout.contains("kernel fetch"), "{}", done.stdout);
    assert!(!place.exists("harm"));
}

#[rstest]
#[case::near("retires = 2", "1:1", "did you mean `retries`?")]
#[case::underscore("fail_fast = true", "1:1", "did you mean `fail-fast`?")]
#[case::far("frobnicate = 2", "1:1", "`nsharness config` shows every setting")]
#[case::table("[serach]\nseed = 1", "1:2", "did you mean `search`?")]
#[case::of_a_table("[search]\nseeds = 1", "2:1", "did you mean `seed`?")]
#[case::of_another_table(
    "[search]\nwitness = \"kernel\"",
    "2:1",
    "no setting `witness` of `search`"
)]
#[case::value("on = \"ulm\"", "1:6", "did you mean `uml`?")]
#[case::choice("witness = [\"kernle\"]", "1:11", "did you mean `kernel`?")]
#[case::range("timeout = 0", "1:11", "0 is not in 1..=3600")]
#[case::float("kernel = 6.12", "1:10", "as in: kernel = \"6.12\"")]
#[case::text("retries = \"2\"", "1:11", "`retries` is not a number")]
#[case::negative("retries = -2", "1:11", "`retries` is not a number")]
#[case::flag("quiet = 1", "1:9", "`quiet` is not true or false")]
#[case::empty("kernel = \"\"", "1:10", "`kernel` is not a text")]
#[case::no_text("kernel = \"6.1\\u0000\"", "1:10", "`kernel` is not a text")]
#[case::table_for_value("kernel = { a = 1 }", "1:10", "`kernel` is not a text")]
#[case::twice("quiet = true\nquiet = true", "2:1", "duplicate key")]
#[case::syntax("on = ", "1:6", "settings are TOML")]
fn a_wrong_setting_is_told_with_its_place(
    #[case] text: &str,
    #[case] at: &str,
    #[case] told: &str,
) {
    let place = place();
    place.write(CHECKOUT, text);
    let done = run(&place, &["list"], &[]).expect_code(3);
    assert!(done.stderr.contains(told), "{}", done.stderr);
    assert!(done.stderr.contains(&format!("{CHECKOUT}:{at}")), "{}", done.stderr);
}

#[test]
fn all_that_is_wrong_with_both_files_is_told_at_once() {
    let place = place();
    place.write(CHECKOUT, "retires = 2\nquiet = 1\n");
    place.write(OWN, "witness = \"nobody\"\n");
    let done = run(&place, &["run"], &[]).expect_code(3);
    for told in [
        "nsharness.toml:1:1",
        "nsharness.toml:2:9",
        "config.toml:1:11",
        "3 errors; nothing was run",
    ] {
        assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
    }
}

#[rstest]
#[case("NSHARNESS_ON", "ulm", "NSHARNESS_ON: `ulm`: no target `ulm`: did you mean `uml`?")]
#[case("NSHARNESS_QUIET", "maybe", "NSHARNESS_QUIET: `maybe` is neither true nor false")]
#[case("NSHARNESS_RETRIES", "many", "NSHARNESS_RETRIES: `many`: invalid digit")]
#[case(
    "NSHARNESS_WITNESS",
    "modle",
    "NSHARNESS_WITNESS: there is no `modle`: did you mean `model`?"
)]
#[case("NSHARNESS_COLOR", "red", "NSHARNESS_COLOR: there is no `red`: expected one of auto")]
#[case("NSHARNESS_BOOT_TIMEOUT", "soon", "NSHARNESS_BOOT_TIMEOUT: `soon` is no number")]
#[case("NSHARNESS_SEARCH_JOBS", "0", "NSHARNESS_SEARCH_JOBS: `0`: 0 is not in 1..=256")]
fn a_wrong_variable_is_named(#[case] name: &str, #[case] value: &str, #[case] told: &str) {
    let done = run(&place(), &["run"], &[(name, value)]).expect_code(2);
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

#[test]
fn a_variable_that_is_no_setting_is_told_and_an_empty_one_is_none() {
    let place = place();
    let done = run(&place, &["run"], &[("NSHARNESS_RETIRES", "2"), ("NSHARNESS_ON", "")]);
    let done = done.expect_code(0);
    assert!(
        done.stderr.contains("no setting NSHARNESS_RETIRES: did you mean NSHARNESS_RETRIES?"),
        "{}",
        done.stderr
    );
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let done = Done::of(command(&place).arg("run").env("NSHARNESS_KERNEL", odd).output().unwrap());
    let done = done.expect_code(2);
    assert!(done.stderr.contains("NSHARNESS_KERNEL: the value is not UTF-8"), "{}", done.stderr);
}

#[test]
fn odd_files_are_refused_and_nothing_of_them_reaches_the_terminal() {
    let place = place();
    let path = place.path().join(CHECKOUT);
    let refused = |told: &str| {
        let done = run(&place, &["run"], &[]).expect_code(3);
        assert!(done.stderr.contains(told), "{}", done.stderr);
        assert!(!done.stderr.contains('\u{1b}'), "{}", done.stderr);
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        // What does not depend on settings works all the same.
    };
    fs::write(&path, b"on = \"host\"\nkeep = \"\xff\"\n").unwrap();
    refused("a byte on line 2 is not text");
    fs::write(&path, "\u{1b}[31m = 1\n").unwrap();
    refused("nsharness.toml:1");
    fs::write(&path, "\"\\u001b[31m\" = 1\n").unwrap();
    refused("there is no setting `\\u{1b}[31m`");
    fs::write(&path, "kernel = \"\\u001b[31m\"\n").unwrap();
    refused("a version is two or three numbers");
    fs::write(&path, "x = ".to_owned() + &"[".repeat(30_000)).unwrap();
    refused("nsharness.toml:1");
    fs::write(&path, "#".repeat(70_000)).unwrap();
    refused("larger than 64 KiB");
    fs::create_dir(&path).unwrap();
    refused("not a regular file");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o644.into(), 0)
        .unwrap();
    refused("not a regular file");
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(&secret, "secret-key\n").unwrap();
    symlink(secret.path(), &path).unwrap();
    refused("a symbolic link that leads out of its directory");
    symlink("nobody", &path).unwrap();
    run(&place, &["run"], &[]).expect_code(0);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "broken").unwrap();
    run(&place, &["completions", "bash"], &[]).expect_code(0);
    run(&place, &["run", "--help"], &[]).expect_code(0);
}

#[test]
fn config_shows_every_setting_with_who_said_it() {
    let place = place();
    place.write(OWN, "timeout = 5\n[search]\njobs = 2\n");
    place.write(CHECKOUT, "timeout = 7\n");
    let variables = [("NSHARNESS_TIMEOUT", "9")];
    let text = run(&place, &["config"], &variables).expect_code(0).stdout;
    for line in [
        "timeout          9                 NSHARNESS_TIMEOUT",
        "not 7             nsharness.toml:1",
        "search.jobs      2",
        "kernel           -                 NSHARNESS_KERNEL",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    let json = run(&place, &["config", "--json"], &variables).expect_code(0).stdout;
    let timeout = json_lines(&json).into_iter().find(|line| line["setting"] == "timeout").unwrap();
    assert_eq!(timeout["value"], "9");
    assert_eq!(timeout["not"][0]["from"], "nsharness.toml:1");
    // The page has them all.
    let page = fs::read_to_string(common::root().join("docs/configuration.md")).unwrap();
    for line in json_lines(&json) {
        let setting = line["setting"].as_str().unwrap();
        let is_there = setting.contains('.') || page.contains(&format!("| `{setting}` |"));
        assert!(is_there, "docs/configuration.md does not have {setting}");
    }
}

#[test]
fn a_file_says_where_the_cache_is() {
    let place = place();
    let cache = place.path().join("elsewhere");
    place.write(OWN, &format!("cache = \"{}\"\n", cache.display()));
    let mut command = command(&place);
    Done::of(command.env_remove("NSHARNESS_CACHE").arg("run").output().unwrap()).expect_code(0);
    assert!(cache.join("last-run").exists());
}

#[test]
fn help_names_the_variable_of_a_setting() {
    let place = place();
    let help = run(&place, &["run", "-h"], &[]).expect_code(0).stdout;
    assert!(help.contains("NSHARNESS_RETRIES"), "{help}");
    let help = run(&place, &["search", "-h"], &[]).expect_code(0).stdout;
    assert!(help.contains("NSHARNESS_SEARCH_ON") && help.contains("NSHARNESS_SEED"), "{help}");
    let help = run(&place, &["kernel", "fetch", "-h"], &[]).expect_code(0).stdout;
    assert!(help.contains("NSHARNESS_MIRROR"), "{help}");
}

/// setpriv(1) and sudo(8) may leave HOME as that of somebody else.
#[test]
fn a_home_that_may_not_be_looked_into_has_no_settings() {
    if !common::is_root() {
        return common::skip("root", "the tests run as another user");
    }
    let place = Place::new();
    place.write("scenarios/a.yaml", PASSES);
    place.write("home/.config/nsharness/config.toml", "kernel = \"6.1\"\n");
    let home = place.path().join("home");
    let simulate = |user| {
        place.command(user).arg("simulate").env("HOME", &home).output().map(Done::of).unwrap()
    };
    assert!(simulate(User::Ordinary).expect_code(0).stdout.contains("Linux 6.1 "));
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert!(!simulate(User::Ordinary).expect_code(0).stdout.contains("Linux 6.1 "));
    assert!(simulate(User::Own).expect_code(0).stdout.contains("Linux 6.1 "));
    // Its own file that it cannot read is a mistake, and is told.
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let file = home.join(".config/nsharness/config.toml");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let done = simulate(User::Ordinary).expect_code(3);
    assert!(done.stderr.contains("cannot be read: Permission denied"), "{}", done.stderr);
}
