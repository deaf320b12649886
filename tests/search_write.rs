//! What a search finds is written as a scenario: whatever a plan can ask, the writer can say.

mod common;

use common::{cases, root};
use nsharness::scenario::plan::Plan;
use nsharness::search::{document, layout};

/// The plans of all scenarios of a directory.
fn plans(directory: &str) -> Vec<Plan> {
    cases(&root().join(directory)).into_iter().map(|case| case.plan).collect()
}

#[test]
fn every_bundled_plan_is_written_and_read_back_as_it_was() {
    let plans: Vec<_> = ["scenarios", "docs/examples"].into_iter().flat_map(plans).collect();
    assert!(plans.len() > 200, "the bundle is somewhere else");
    for plan in &plans {
        let written = document::of_plan(plan);
        let text = layout::yaml(&written);
        let read = document::to_plan(&written, &plan.id);
        let read = read.unwrap_or_else(|why| panic!("{}: {why}\n{text}", plan.id));
        assert!(document::same(plan, &read), "{} is another plan now:\n{text}", plan.id);
    }
}
