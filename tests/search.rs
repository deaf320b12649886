//! The search: it finds nothing unexplained, it repeats itself, and it would find a rule that is wrong.

mod common;

use std::collections::BTreeSet;

use common::{Place, User};
use nsharness::model::profile::Profile;
use nsharness::model::rules;
use nsharness::scenario::condition::KernelVersion;
use nsharness::search::family::{self, Means};
use nsharness::search::mutation::Mutation;
use nsharness::search::trial::Recipe;
use nsharness::worker::arena::Check;

fn recipe(seed: u64) -> Recipe {
    Recipe {
        families: family::names().collect(),
        seed,
        means: Means::ALL,
        profile: Profile::of_version(KernelVersion(6, 12, 0)),
        check: Check::Sequence,
        without: None,
        overlay: None,
        mutate: false,
        catalogue: None,
    }
}

#[test]
fn a_seed_makes_the_same_trials_and_another_makes_others() {
    let plans = |seed| {
        let made = (0..300).map(|number| recipe(seed).make(number).expect("a trial").trial.plan);
        made.map(|plan| serde_json::to_string(&plan).expect("a plan")).collect::<Vec<_>>()
    };
    let (one, same, other) = (plans(1), plans(1), plans(2));
    assert_eq!(one, same);
    assert!(one.iter().zip(&other).all(|(one, other)| one != other));
}

#[test]
fn what_is_predicted_on_the_way_is_what_is_predicted_of_the_whole() {
    let recipe = recipe(3);
    for number in 0..300 {
        let made = recipe.make(number).expect("a trial");
        let whole = recipe.predict(&made.trial.plan, Check::Sequence).transcript;
        assert_eq!(made.prediction.transcript, whole, "trial {number}");
    }
}

#[test]
fn at_least_half_of_the_steps_succeed() {
    let recipe = recipe(4);
    let made = (0..300).filter_map(|number| recipe.make(number));
    let outcomes: Vec<_> = made.flat_map(|made| made.prediction.transcript.outcomes).collect();
    let ok = outcomes.iter().filter(|o| matches!(o, nsharness::transcript::Outcome::Ok(_)));
    assert!(2 * ok.count() > outcomes.len());
}

#[test]
fn kernel_and_model_say_the_same_of_what_nobody_wrote_down() {
    for user in [User::Own, User::Ordinary] {
        for family in family::names() {
            let arguments = ["search", family, "--seed", "1", "--count", "512"];
            let output = Place::new().run(user, &arguments);
            let said = output.text();
            if output.code == Some(4) {
                common::skip("overlay", &said);
                continue;
            }
            assert_eq!(output.code, Some(0), "{user:?}: {said}");
            assert!(said.contains("in 512 trials"), "{said}");
        }
    }
}

#[test]
fn a_rule_that_the_model_lacks_is_found_and_made_small() {
    let arguments = [
        "search",
        "overlay",
        "--seed",
        "1",
        "--count",
        "256",
        "--without",
        "overlay.remove.whiteout",
    ];
    let output = Place::new().run(User::Own, &arguments);
    let said = output.text();
    if output.code == Some(4) {
        return common::skip("overlay", &said);
    }
    assert_eq!(output.code, Some(1), "{said}");
    assert!(said.contains("finding 1"), "{said}");
    let scenario = said.split("\nsteps:\n").nth(1).expect("a scenario");
    let steps = scenario
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter(|l| l.starts_with("  - "));
    assert!(steps.count() <= 4, "{said}");
}

#[test]
fn a_rule_is_missed_by_the_first_trial_that_shows_it() {
    let recipe = Recipe { mutate: true, ..recipe(5) };
    let (mut mutation, mut missed) = (Mutation::default(), BTreeSet::new());
    for number in 0..128 {
        let made = recipe.make(number).expect("a trial");
        // A kernel that does what the model says.
        let kernel = made.prediction.transcript.clone();
        mutation.hold(&made, &kernel, &recipe, &mut missed);
    }
    let found = mutation.rules["overlay.remove.whiteout"].missed.expect("a trial");
    let first = |number: u64| {
        let made = recipe.make(number).expect("a trial");
        let whiteout = rules::find("overlay.remove.whiteout");
        let without = recipe.predict_without(&made.trial.plan, Check::Sequence, whiteout);
        without.transcript != made.prediction.transcript
    };
    assert_eq!(found, (0..128).find(|number| first(*number)).expect("a trial"));
    // Times are not observed, so nobody can miss it.
    assert_eq!(mutation.rules["overlay.copy-up.parent-time"].missed, None);
    let told = mutation.to_string();
    assert!(told.contains("nobody misses overlay.copy-up.parent-time"), "{told}");
    assert!(told.contains("nfs: none decided anything"), "{told}");
}

#[test]
fn rules_are_left_out_one_by_one() {
    let arguments = ["search", "overlay", "--seed", "1", "--count", "64", "--mutate"];
    let output = Place::new().run(User::Own, &arguments);
    if output.code == Some(4) {
        return common::skip("overlay", &output.text());
    }
    assert_eq!(output.code, Some(0), "{}", output.text());
    assert!(output.text().contains("rules left out one by one: of "), "{}", output.text());
    assert!(!output.text().contains("nobody misses overlay.remove.whiteout"), "{}", output.text());
}

#[test]
fn after_every_step_is_found_what_is_found_after_the_last() {
    let arguments = ["search", "overlay", "--seed", "1", "--count", "64", "--check", "step"];
    let output = Place::new().run(User::Own, &arguments);
    if output.code == Some(4) {
        return common::skip("overlay", &output.text());
    }
    assert_eq!(output.code, Some(0), "{}", output.text());
}

#[test]
fn a_wrong_argument_is_told_with_the_right_ones() {
    for (arguments, told) in [
        (&["search", "overlai"][..], "did you mean `overlay`?"),
        (&["search", "overlay", "--on", "auto"], "a search asks one kernel"),
        (&["search", "overlay", "--for", "soon"], "--for"),
        (&["search", "overlay", "--count", "0"], "--count"),
    ] {
        let output = Place::new().run(User::Own, arguments);
        assert_eq!(output.code, Some(2), "{arguments:?}");
        assert!(output.text().contains(told), "{}", output.text());
    }
}
