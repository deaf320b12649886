//! What holds of every trial whatever it is about, and is asked of the kernel alone: that what fails leaves no
//! trace, that an overlay shows the same when it is mounted again, and that real root sees what others see.
//! A rule may say otherwise, see [`Rule::breaks`].

use super::compare::told;
use super::summary::Summary;
use super::{Asked, Deviation, Place};
use crate::model::Prediction;
use crate::model::rules::{Invariant, Rule};
use crate::scenario::observe::Observe;
use crate::scenario::operation::{Operation, Overlay};
use crate::scenario::plan::Plan;
use crate::scenario::world::Setup;
use crate::transcript::{End, Observation, Outcome, Transcript};
use crate::verdict::agreement::{Difference, first_change, first_observation, first_step};
use crate::worker::arena::Check;

/// The first invariant that a kernel breaks; it was observed after every step.
pub fn broken(
    plan: &Plan,
    kernel: &Transcript,
    model: &Prediction,
    summary: &mut Summary,
) -> Option<Deviation> {
    if kernel.end != End::Completed || plan.steps.is_empty() {
        return None;
    }
    let each = kernel.observations.len() / plan.steps.len();
    let mut trial = Trial { plan, kernel, model, each, summary };
    (1..plan.steps.len()).find_map(|index| trial.trace(index).or_else(|| trial.remount(index)))
}

struct Trial<'t> {
    plan: &'t Plan,
    kernel: &'t Transcript,
    model: &'t Prediction,
    /// How many observations are made after a step.
    each: usize,
    summary: &'t mut Summary,
}

impl<'t> Trial<'t> {
    /// What was observed after a step.
    fn after(&self, step: usize) -> &'t [Observation] {
        let all = &self.kernel.observations;
        all.get(step * self.each..(step + 1) * self.each).unwrap_or_default()
    }

    /// The rules of what was observed after some steps, from the first to the last.
    fn looks(
        &self,
        first: usize,
        last: usize,
    ) -> impl Iterator<Item = &'t Vec<&'static Rule>> + use<'t> {
        let (items, model) = (self.plan.observe.len(), self.model);
        model.observations.iter().take((last + 1) * items).skip(first * items)
    }

    /// A step that failed must have changed nothing.
    fn trace(&mut self, index: usize) -> Option<Deviation> {
        if !matches!(self.kernel.outcomes.get(index)?, Outcome::Failed { .. }) {
            return None;
        }
        if is_several_calls(&self.plan.steps[index].operation) {
            return None;
        }
        let change = first_change(self.after(index - 1), self.after(index));
        // To look may change what is seen.
        let steps = self.model.steps.iter().skip(index).take(1);
        let rules = steps.chain(self.looks(index - 1, index)).flatten().copied();
        self.count(Invariant::Trace, change, rules, index)
    }

    /// An overlay that was unmounted by the step before this one, and is mounted again by it, must show the same.
    fn remount(&mut self, index: usize) -> Option<Deviation> {
        let before = index.checked_sub(2)?;
        let Operation::Overlay(mount) = &self.plan.steps[index].operation else { return None };
        let Operation::Umount(umount) = &self.plan.steps[index - 1].operation else { return None };
        let done = (index - 1..=index).all(|step| is_ok(self.kernel, step));
        if !done
            || umount.at != mount.at
            || !self.mounted(index - 1).is_some_and(|other| is_same(other, mount))
        {
            return None;
        }
        let (mut from, mut views) = (0, Vec::new());
        for item in &self.plan.observe {
            let is_view =
                matches!(item, Observe::Tree(tree) if tree.at.as_str() == mount.at.as_str());
            views.extend(is_view.then_some(from));
            from += item.count();
        }
        for view in views {
            let of = |step| self.after(step).get(view..=view).unwrap_or_default();
            let change = first_change(of(before), of(index));
            let steps = self.model.steps.iter().take(index + 1).flatten();
            let rules = steps.chain(self.looks(0, index).flatten());
            let rules: Vec<_> = self.model.world.iter().chain(rules).copied().collect();
            let found = self.count(Invariant::Remount, change, rules.into_iter(), index);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The overlay that a step unmounts, as it was mounted.
    fn mounted(&self, umount: usize) -> Option<&'t Overlay> {
        let Operation::Umount(at) = &self.plan.steps[umount].operation else { return None };
        let at = at.at.as_str();
        for index in (0..umount).rev().filter(|index| is_ok(self.kernel, *index)) {
            match &self.plan.steps[index].operation {
                Operation::Overlay(mount) if mount.at.as_str() == at => return Some(mount),
                Operation::Umount(other) if other.at.as_str() == at => return None,
                _ => {}
            }
        }
        self.plan.world.setup.iter().rev().find_map(|setup| match setup {
            Setup::Mount { operation: Operation::Overlay(mount), .. }
                if mount.at.as_str() == at =>
            {
                Some(mount)
            }
            _ => None,
        })
    }

    fn count(
        &mut self,
        invariant: Invariant,
        change: Option<(usize, Vec<Difference>)>,
        mut rules: impl Iterator<Item = &'static Rule>,
        step: usize,
    ) -> Option<Deviation> {
        let kept = self.summary.invariants.entry(invariant).or_default();
        kept.checked += 1;
        let (_, differences) = change?;
        if rules.any(|rule| rule.breaks.contains(&invariant)) {
            kept.excused += 1;
            return None;
        }
        let word = self.plan.steps[step].operation.word();
        let what = match invariant {
            Invariant::Trace => format!("a trace of {word} that fails"),
            Invariant::Remount => format!("another view after {word} again"),
            Invariant::Root => format!("root and others, {word}"),
        };
        let rules = self.model.steps.get(step).map_or(&[][..], Vec::as_slice);
        part(told(Place::Invariant(invariant, step), what, &differences, rules))
    }
}

/// Whether two overlays have the same layers and options.
fn is_same(one: &Overlay, other: &Overlay) -> bool {
    let layers = |mount: &'_ Overlay| {
        (mount.lower.clone(), mount.data.clone(), mount.upper.clone(), mount.work.clone())
    };
    layers(one) == layers(other) && one.options == other.options
}

fn is_ok(kernel: &Transcript, step: usize) -> bool {
    matches!(kernel.outcomes.get(step), Some(Outcome::Ok(_)))
}

fn part(asked: Asked) -> Option<Deviation> {
    match asked {
        Asked::Part(deviation) => Some(*deviation),
        Asked::Agree | Asked::Broke(_) => None,
    }
}

/// What was answered to one plan.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What the kernel answered.
    pub kernel: &'a Transcript,
    /// What the model says, which is the same.
    pub model: &'a Prediction,
}

/// Whether real root and root of a user namespace were answered otherwise to one plan, though the model has
/// the same rules for both up to there.
pub fn told_apart(
    root: Answered<'_>,
    other: Answered<'_>,
    check: Check,
    summary: &mut Summary,
) -> Option<Deviation> {
    let kept = summary.invariants.entry(Invariant::Root).or_default();
    kept.checked += 1;
    let (place, what, differences) = first_apart(root, other, check)?;
    if decided_by(root, place, check) != decided_by(other, place, check) {
        kept.excused += 1;
        return None;
    }
    let rules = root.model.steps.get(place).map_or(&[][..], Vec::as_slice);
    let what = format!("root and others, {what}");
    part(told(Place::Invariant(Invariant::Root, place), what, &differences, rules))
}

/// The first step by which two were answered otherwise, what it did or was observed after it, and how they differ.
fn first_apart(
    root: Answered<'_>,
    other: Answered<'_>,
    check: Check,
) -> Option<(usize, String, Vec<Difference>)> {
    let (plan, kernel) = (root.plan, root.kernel);
    let refused = |kernel: &Transcript| match &kernel.end {
        End::Broke(breakage) => breakage.to_string(),
        End::Completed | End::TimedOut => "ok".to_owned(),
    };
    let (one, two) = (refused(kernel), refused(other.kernel));
    if one != two {
        let (place, field) = (String::new(), String::new());
        let difference = Difference { place, field, kernel: one, model: two };
        return Some((0, "world".to_owned(), vec![difference]));
    }
    let last = plan.steps.len().saturating_sub(1);
    let each = kernel.observations.len() / plan.steps.len().max(1);
    let after = |index: usize| match check {
        Check::Step => index / each.max(1),
        Check::Sequence => last,
    };
    let step = first_step(kernel, other.kernel, |_| true);
    let observed = first_observation(kernel, other.kernel, |_| true);
    match (step, observed) {
        (Some((step, how)), observed)
            if observed.as_ref().is_none_or(|(index, _)| after(*index) >= step) =>
        {
            Some((step, plan.steps[step].operation.word().to_owned(), how))
        }
        (_, Some((index, how))) => {
            let kind = kernel.observations[index].title.split(' ').next().unwrap_or_default();
            Some((after(index), kind.to_owned(), how))
        }
        (_, None) => None,
    }
}

/// The rules that decided something up to a step.
fn decided_by(answered: Answered<'_>, step: usize, check: Check) -> Vec<&'static str> {
    let Answered { plan, model, .. } = answered;
    let items = match check {
        Check::Step => (step + 1) * plan.observe.len(),
        Check::Sequence => plan.observe.len(),
    };
    let steps = model.steps.iter().take(step + 1);
    let rules = steps.chain(model.observations.iter().take(items)).flatten();
    let mut ids: Vec<_> = model.world.iter().chain(rules).map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Whether a step asks the kernel for more than one change, of which the first ones may be done before another fails.
fn is_several_calls(operation: &Operation) -> bool {
    match operation {
        Operation::WriteUidMap(step) => step.then.is_some(),
        Operation::WriteGidMap(step) => step.then.is_some(),
        Operation::CapAmbient(step) => step.raise.len() > 1,
        _ => false,
    }
}
