//! Whether the kernel says what the model does: the first deviation of a trial.

use super::summary::Summary;
use super::{Asked, Cause, Deviation, Place, invariants};
use crate::model::Prediction;
use crate::model::rules::Rule;
use crate::scenario::observe::Observe;
use crate::scenario::operation::Operation;
use crate::scenario::plan::Plan;
use crate::transcript::{End, Transcript};
use crate::verdict::agreement::{Difference, first_observation, first_step};
use crate::verdict::chance;
use crate::worker::arena::Check;

/// What the stage of a breakage begins with where the world itself was refused.
const OF_WORLD: &str = "world: ";

/// Holds what a kernel answered to a plan against what the model says. Where it was observed after every step,
/// the place of a deviation is in the plan with the steps up to there, see [`up_to`].
pub fn compare(plan: &Plan, kernel: &Transcript, model: &Prediction, check: Check) -> Asked {
    match (&kernel.end, &model.transcript.end) {
        (End::Completed, End::Completed) => {}
        (End::TimedOut, _) => return broke("it was not answered in time"),
        // Whatever the model says: nobody answered.
        (End::Broke(why), _) if !why.stage.starts_with(OF_WORLD) => {
            return Asked::Broke(why.clone());
        }
        // The model does not know the rules of this world.
        (_, End::Broke(why)) if why.errno.is_none() => return Asked::Agree,
        (End::Broke(why), End::Broke(said)) if why.errno == said.errno => return Asked::Agree,
        (kernel, model_end) => {
            return of_world(kernel, model_end, &model.world);
        }
    }
    if kernel.observations.len() != model.transcript.observations.len() {
        return broke("the kernel and the model did not observe the same");
    }
    let operation = |index: usize| plan.steps.get(index).map(|step| &step.operation);
    let step = first_step(kernel, &model.transcript, |index| {
        matches!(
            operation(index),
            Some(Operation::Umount(_) | Operation::Close(_) | Operation::Exit(_))
        )
    });
    if let Some((index, _)) = &step
        && chance::has_no_mark(plan, kernel, *index)
    {
        return Asked::Agree;
    }
    let each = kernel.observations.len() / plan.steps.len().max(1);
    let observed = match check {
        Check::Sequence if step.is_some() => None,
        Check::Sequence => first_observation(kernel, &model.transcript, |_| false),
        // Between the last observation after a step and the first after the next one.
        Check::Step => first_observation(kernel, &model.transcript, |index| {
            each > 0 && (index + 1) % each == 0 && operation((index + 1) / each).is_some_and(frees)
        }),
    };
    // The step after which something was observed.
    let after = |index: usize| match check {
        Check::Sequence => plan.steps.len(),
        Check::Step => index / each.max(1),
    };
    match (step, observed) {
        (None, None) => Asked::Agree,
        (Some((step, _)), Some((index, how))) if after(index) < step => {
            of_observation(&kernel.observations[index].title, index, &how)
        }
        (Some((step, how)), _) => of_step(plan, step, &how, model),
        (None, Some((index, how))) => {
            of_observation(&kernel.observations[index].title, index, &how)
        }
    }
}

/// The same, and where it was observed after every step, whether the kernel keeps the invariants.
pub fn judge(
    plan: &Plan,
    kernel: &Transcript,
    model: &Prediction,
    check: Check,
    summary: &mut Summary,
) -> Asked {
    let asked = compare(plan, kernel, model, check);
    if asked != Asked::Agree || check != Check::Step {
        return asked;
    }
    let broken = invariants::broken(plan, kernel, model, summary);
    broken.map_or(Asked::Agree, |deviation| Asked::Part(Box::new(deviation)))
}

/// Whether the kernel may give a number once more after an operation: that of a device, a namespace, or a peer
/// group that nobody belongs to any more.
fn frees(operation: &Operation) -> bool {
    use Operation as Of;
    matches!(
        operation,
        Of::Umount(_)
            | Of::Close(_)
            | Of::Exit(_)
            | Of::Propagation(_)
            | Of::MountSetattr(_)
            | Of::Move(_)
            | Of::MoveMount(_)
            | Of::PivotRoot(_)
            | Of::Unshare(_)
            | Of::Setns(_)
    )
}

/// The plan of which a deviation is the end, where it was observed after every step: its steps up to there.
pub fn up_to(plan: &mut Plan, deviation: &mut Deviation, check: Check) {
    if let Place::Invariant(_, step) = deviation.place {
        return plan.steps.truncate(step + 1);
    }
    let Place::Observation(index) = &mut deviation.place else { return };
    let each: usize = plan.observe.iter().map(Observe::count).sum();
    if check == Check::Step && each > 0 {
        plan.steps.truncate(*index / each + 1);
        *index %= each;
    }
}

fn broke(why: &str) -> Asked {
    let stage = "search".to_owned();
    Asked::Broke(crate::transcript::Breakage { stage, detail: why.to_owned(), errno: None })
}

/// A world that one of them alone can set up. Its cause has no places: they move when it is shrunk.
fn of_world(kernel: &End, model: &End, rules: &[&'static Rule]) -> Asked {
    let said = |end: &End| match end {
        End::Broke(breakage) => breakage.to_string(),
        End::Completed | End::TimedOut => "ok".to_owned(),
    };
    let error = |end: &End| match end {
        End::Broke(breakage) => breakage.errno.map_or_else(String::new, |errno| errno.to_string()),
        End::Completed | End::TimedOut => "ok".to_owned(),
    };
    let word = |end: &End| match end {
        End::Broke(breakage) => breakage.stage.rsplit(": ").next().map(str::to_owned),
        End::Completed | End::TimedOut => None,
    };
    let what = word(kernel).or_else(|| word(model)).unwrap_or_default();
    // The paths of a tree are names.
    let is_operation = Operation::ALL.iter().any(|operation| operation.word == what);
    let what = if is_operation { format!("world: {what}") } else { "world: tree".to_owned() };
    let cause = Cause { what, kernel: error(kernel), model: error(model), rules: Vec::new() };
    let (kernel, model) = (said(kernel), said(model));
    let rules = rules.to_vec();
    Asked::Part(Box::new(Deviation { place: Place::World, kernel, model, rules, cause }))
}

fn of_step(plan: &Plan, index: usize, differences: &[Difference], model: &Prediction) -> Asked {
    let rules = model.steps.get(index).map_or(&[][..], Vec::as_slice);
    let word = plan.steps.get(index).map_or("step", |step| step.operation.word());
    let first = differences.first();
    let field = first.map_or("", |difference| difference.field.as_str());
    let what = if field.is_empty() { word.to_owned() } else { format!("{word}: {field}") };
    told(Place::Step(index), what, differences, rules)
}

fn of_observation(title: &str, index: usize, differences: &[Difference]) -> Asked {
    let kind = title.split(" at ").next().unwrap_or_default();
    let kind = kind.split(" of ").next().unwrap_or_default();
    let alone =
        |difference: &Difference| difference.kernel == "has it" || difference.model == "has it";
    // What is in a directory and who has it matter more than how often it is named.
    let first = differences.iter().find(|difference| alone(difference)).or(differences.first());
    let what = match first {
        Some(first) if alone(first) => format!("{kind}: an entry"),
        Some(first) => format!("{kind}: {}", first.field),
        None => kind.to_owned(),
    };
    told(Place::Observation(index), what, differences, &[])
}

/// A deviation with all its differences, and a cause with none of the names.
pub(super) fn told(
    place: Place,
    what: String,
    differences: &[Difference],
    rules: &[&'static Rule],
) -> Asked {
    let words = |value: &dyn Fn(&Difference) -> &str| -> String {
        let told = differences.iter().map(|difference| {
            let colon = if difference.place.is_empty() { "" } else { ": " };
            format!("{}{colon}{}", difference.place, value(difference))
        });
        told.take(MOST).collect::<Vec<_>>().join("; ")
    };
    let (kernel, model) = (words(&|d| &d.kernel), words(&|d| &d.model));
    let first = differences.first();
    let field = first.map_or("", |d| d.field.as_str());
    let cause = Cause {
        kernel: first.map_or_else(String::new, |d| class(field, &d.kernel, "one value")),
        model: first.map_or_else(String::new, |d| class(field, &d.model, "another")),
        rules: rules.iter().map(|rule| rule.id.to_owned()).collect(),
        what,
    };
    Asked::Part(Box::new(Deviation { place, kernel, model, rules: rules.to_vec(), cause }))
}

/// Most differences that are told.
const MOST: usize = 4;

/// Fields of which each value is a class of its own.
const TELLING: &[&str] = &["", "type", "xattrs", "unreadable", "note", "mounted"];

/// What a value has in common with others of its class.
fn class(field: &str, value: &str, otherwise: &str) -> String {
    let told = TELLING.contains(&field)
        || ["none", "has it", "does not"].contains(&value)
        || value.contains(" that was seen before")
        || value == "a new one";
    if told { value.to_owned() } else { otherwise.to_owned() }
}
