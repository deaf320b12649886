//! What several machines found is put together: one finding a cause, with the counts of all.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Place, User};
use nsharness::search::findings::{Found, Record, Search};
use nsharness::search::{Cause, Deviation, Finding, document};

fn search(shard: &str) -> Search {
    Search {
        family: "overlay".into(),
        target: "host".into(),
        kernel: "6.12.1".into(),
        seed: 7,
        shard: shard.parse().unwrap(),
        next: 30,
        trials: 10,
        broken: 0,
    }
}

/// Something that was found: an operation, how often, and how many steps it takes to show.
fn finding(what: &str, count: u64, steps: usize) -> Finding {
    let step = format!("  - {what}: {{ path: a }}\n");
    let text = format!("title: Found\nsteps:\n{}", step.repeat(steps));
    let (kernel, model) = ("EIO".to_owned(), "ok".to_owned());
    let cause =
        Cause { what: what.into(), kernel: kernel.clone(), model: model.clone(), rules: vec![] };
    let place = nsharness::search::Place::Step(steps - 1);
    Finding {
        cause: cause.clone(),
        count,
        first: 3,
        smallest: document::read(&text, "found").expect("a scenario"),
        deviation: Deviation { place, kernel, model, rules: Vec::new(), cause },
        again: None,
    }
}

fn write(directory: &Path, shard: &str, findings: Vec<Finding>) {
    let mut record = Record::of(search(shard));
    let mut files = BTreeMap::new();
    for finding in findings {
        let text = format!("# of {shard}\n");
        let found = Found::new(finding, &format!("kernel of {shard}"));
        files.insert(format!("{}.yaml", found.name), text);
        record.findings.push(found);
    }
    record.write(directory, &files).expect("a record");
}

#[test]
fn counts_are_added_and_the_smaller_one_is_kept() {
    let place = Place::new();
    let [one, two] = ["one", "two"].map(|name| place.path().join(name));
    write(&one, "1/2", vec![finding("mkdir", 5, 3), finding("rmdir", 1, 1)]);
    write(&two, "2/2", vec![finding("mkdir", 2, 1), finding("unlink", 4, 2)]);
    let done = place
        .run(User::Own, &["findings", "merge", "one", "two", "one", "--out", "all"])
        .expect_code(0);
    assert!(done.stdout.contains("3 causes in 20 trials of 2 searches"), "{}", done.stdout);
    let merged = Record::read(&place.path().join("all")).unwrap().expect("a record");
    let counts: Vec<_> =
        merged.findings.iter().map(|f| (f.finding.cause.what.as_str(), f.finding.count)).collect();
    assert_eq!(counts, [("mkdir", 7), ("rmdir", 1), ("unlink", 4)]);
    let mkdir = &merged.findings[0];
    assert_eq!(mkdir.finding.smallest.steps.len(), 1);
    assert_eq!(mkdir.kernels, ["kernel of 1/2", "kernel of 2/2"]);
    // Its file is that of the one that was kept.
    assert_eq!(place.read(&format!("all/{}.yaml", mkdir.name)), "# of 2/2\n");
    assert_eq!(place.read(&format!("all/{}.yaml", merged.findings[1].name)), "# of 1/2\n");
    // What was merged can be merged again.
    place.run(User::Own, &["findings", "merge", "all", "--out", "again"]).expect_code(0);
    let again = place.read("again/findings.json");
    assert_eq!(again, place.read("all/findings.json"));
}

#[test]
fn a_directory_without_findings_is_named() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("empty")).unwrap();
    let done = place.run(User::Own, &["findings", "merge", "empty", "--out", "all"]).expect_code(2);
    assert!(done.stderr.contains("empty/findings.json: there is no record"), "{}", done.stderr);
    assert!(!place.exists("all"));
    let text = "{ \"format\": 99, \"else\": 1 }";
    place.write("new/findings.json", text);
    let done = place.run(User::Own, &["findings", "merge", "new", "--out", "all"]).expect_code(2);
    assert!(done.stderr.contains("its format is 99, expected 1"), "{}", done.stderr);
}

#[test]
fn a_search_goes_on_with_its_own_record_only() {
    let place = Place::new();
    write(place.path(), "1/2", vec![finding("mkdir", 5, 3)]);
    let record = Record::resume(place.path(), search("1/2")).expect("the record");
    assert_eq!((record.searches[0].next, record.findings.len()), (30, 1));
    let other = Record::resume(place.path(), search("2/2")).expect_err("another part");
    assert!(other.to_string().contains("part 1/2"), "{other}");
    let fresh = Record::resume(&place.path().join("fresh"), search("2/2")).expect("a new one");
    assert!(fresh.findings.is_empty());
}
