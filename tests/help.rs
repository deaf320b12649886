//! The examples in the help are command lines that work.

mod common;

use std::process::Command;

use common::{Done, Place, User};

/// The commands, with those of commands.
fn commands(place: &Place) -> Vec<Vec<String>> {
    let below = |command: &[String]| -> Vec<Vec<String>> {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = place.run(User::Own, &arguments).expect_code(0).stdout;
        let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names =
            lines.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        let names =
            names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        names.map(|name| [command, &[name.to_owned()]].concat()).collect()
    };
    let first = below(&[]);
    let second: Vec<_> = first.iter().flat_map(|command| below(command)).collect();
    first.into_iter().chain(second).collect()
}

/// The examples of a command, without what explains them.
fn examples(place: &Place, command: &[String]) -> Vec<String> {
    let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    arguments.push("--help");
    let help = place.run(User::Own, &arguments).expect_code(0).stdout;
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let lines = lines.take_while(|line| line.starts_with("  ")).map(str::trim_start);
    lines.map(|line| line.split("  ").next().unwrap().to_owned()).collect()
}

/// The arguments of each nsharness in a line of a shell.
fn arguments(line: &str) -> Vec<Vec<&str>> {
    line.split("&&")
        .filter_map(|part| {
            let words = part.split('>').next().unwrap().split_whitespace();
            let mut words = words.skip_while(|word| word.contains('='));
            (words.next() == Some("nsharness")).then(|| words.collect())
        })
        .collect()
}

#[test]
fn every_command_has_examples_that_are_command_lines() {
    let place = Place::new();
    let mut without = Vec::new();
    for command in commands(&place).into_iter().chain([Vec::new()]) {
        let examples = examples(&place, &command);
        if examples.is_empty() {
            without.push(command.join(" "));
        }
        for example in examples {
            let lines = arguments(&example);
            assert!(!lines.is_empty(), "{command:?}: {example}");
            for line in lines {
                nsharness::cli::understand(&line).unwrap_or_else(|why| panic!("{example}: {why}"));
            }
        }
    }
    // These have nothing that their command's examples do not show.
    let shown = [
        "findings",
        "rules list",
        "rules show",
        "kernel list",
        "kernel remove",
        "snap status",
        "snap review",
        "snap accept",
        "snap reject",
        "snap prune",
    ];
    assert_eq!(without, shown, "commands without examples");
}

/// What needs a guest, a network, a terminal, root or a program that may not be there.
fn needs_more(example: &str) -> bool {
    ["uml", "qemu", "--on auto", "kernel ", "--runtime", "--overlay", "snap review", "bundle", "inspect", "man ", "fpath"]
        .iter()
        .any(|word| example.contains(word))
        // Long, and tested elsewhere.
        || example.starts_with("nsharness search")
        || example.starts_with("nsharness findings")
        // A shell in which nobody does anything.
        || example.starts_with("nsharness record --out")
}

#[test]
fn examples_that_need_nothing_else_work_in_a_checkout() {
    let place = Place::new();
    place.copy("scenarios");
    place.copy("snapshots");
    // A part is enough, and the whole takes its time.
    for family in std::fs::read_dir(place.path().join("scenarios")).unwrap() {
        let family = family.unwrap();
        if !["overlay", "bind", "oci"].iter().any(|kept| family.file_name() == *kept) {
            std::fs::remove_dir_all(family.path()).unwrap();
        }
    }
    let docs = place.path().join("docs");
    std::fs::create_dir_all(&docs).unwrap();
    let examples_of_language = common::root().join("docs/examples");
    let copied = Command::new("cp").arg("-r").arg(examples_of_language).arg(docs).status();
    assert!(copied.unwrap().success());
    place.write("my.yaml", common::PASSES);
    for name in ["bash-completion/completions", "fish"] {
        std::fs::create_dir_all(place.path().join(".local/share").join(name)).unwrap();
    }
    std::fs::create_dir_all(place.path().join(".config/fish/completions")).unwrap();
    place.command(User::Own);
    let path = format!("{}:{}", place.path().display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for command in commands(&place).into_iter().chain([Vec::new()]) {
        for example in examples(&place, &command).into_iter().filter(|example| !needs_more(example))
        {
            let done = Command::new("sh")
                .args(["-c", &example])
                .current_dir(place.path())
                .env("PATH", &path)
                .env("HOME", place.path())
                .env("NSHARNESS_CACHE", place.path().join("cache"))
                .output()
                .unwrap();
            let done = Done::of(done);
            // What fails on this kernel is the business of other tests, as is what waits for review.
            let nothing_failed = example.ends_with("--failed") && done.code == Some(4);
            assert!(matches!(done.code, Some(0 | 1)) || nothing_failed, "{example}: {done:?}");
            ran += 1;
        }
    }
    assert!(ran > 25, "only {ran} were run");
}
