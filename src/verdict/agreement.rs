//! Whether the model says what the kernel answered, step by step and observation by observation.
//!
//! Both transcripts are compared before their identities are renumbered: the model may leave values
//! out, which would shift the numbers. Identities are the same where the two witnesses tell them
//! apart alike: a one-to-one relation between the keys of both, a class each, one for the outcomes
//! and one for the observations, as [`Transcript::normalise`] numbers them.

use std::collections::BTreeMap;
use std::fmt;

use crate::transcript::{Class, End, Field, Observation, Outcome, Transcript, Value};

/// Most differences of one step or observation that are told.
const TOLD: usize = 8;

/// Whether the model says of one step or observation what the kernel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agrees {
    /// It says the same of all that it says.
    Yes,
    /// It says something else: how they differ.
    No(String),
    /// It says nothing, for this reason.
    Abstained(String),
}

/// One thing that the kernel and the model say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, as in `a/b: mode`; nothing where it is the whole.
    pub place: String,
    /// The innermost name of the place: the field or attribute, or the entry that only one of them has.
    pub field: String,
    /// What the kernel has.
    pub kernel: String,
    /// What the model has.
    pub model: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told_of(KERNEL))
    }
}

impl Difference {
    /// How the two differ, where it is not the kernel that is beside the model.
    fn told_of(&self, voice: &str) -> String {
        let colon = if self.place.is_empty() { "" } else { ": " };
        format!("{}{colon}{voice} {}, model {}", self.place, self.kernel, self.model)
    }
}

/// Who speaks beside the model, unless a program mounts the overlays.
pub const KERNEL: &str = "kernel";

/// The first step of which two transcripts have another outcome, and how they differ. Their identities must
/// not be renumbered yet. `frees` says whether after a step the kernel may give a number once more, as that of
/// a device that is not mounted any more.
pub fn first_step(
    kernel: &Transcript,
    model: &Transcript,
    frees: impl Fn(usize) -> bool,
) -> Option<(usize, Vec<Difference>)> {
    let mut comparison = Comparison::default();
    for (index, (kernel, model)) in kernel.outcomes.iter().zip(&model.outcomes).enumerate() {
        if !comparison.outcome(kernel, model) {
            return Some((index, comparison.differences));
        }
        if frees(index) {
            comparison.of_kernel.clear();
        }
    }
    None
}

/// The same of observations.
pub fn first_observation(
    kernel: &Transcript,
    model: &Transcript,
    frees: impl Fn(usize) -> bool,
) -> Option<(usize, Vec<Difference>)> {
    let mut comparison = Comparison::default();
    let both = kernel.observations.iter().zip(&model.observations);
    for (index, (kernel, model)) in both.enumerate() {
        if !comparison.observation(kernel, model) {
            return Some((index, comparison.differences));
        }
        if frees(index) {
            comparison.of_kernel.clear();
        }
    }
    None
}

/// The first of some observations that was another one before, and how they differ: what was before stands
/// for the model. Both are of one witness, so that what has the same identity is the same.
pub fn first_change(
    before: &[Observation],
    after: &[Observation],
) -> Option<(usize, Vec<Difference>)> {
    let mut comparison = Comparison::default();
    for (index, (before, after)) in before.iter().zip(after).enumerate() {
        if before != after && !comparison.observation(after, before) {
            return Some((index, comparison.differences));
        }
    }
    None
}

/// Which parts of two transcripts agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// One for each step that both answered.
    pub steps: Vec<Agrees>,
    /// One for each observation that both made, and where both came to the end, of either.
    pub observations: Vec<Agrees>,
}

impl Agreement {
    /// Compares two transcripts whose identities are not renumbered yet.
    pub fn of(kernel: &Transcript, model: &Transcript) -> Self {
        Self::with(KERNEL, kernel, model)
    }

    /// The same, where this is who speaks for the kernel.
    pub fn with(voice: &str, kernel: &Transcript, model: &Transcript) -> Self {
        let mut outcomes = Comparison::default();
        let steps = kernel
            .outcomes
            .iter()
            .zip(&model.outcomes)
            .map(|(kernel, model)| {
                outcomes.outcome(kernel, model);
                outcomes.conclude(voice)
            })
            .collect();
        let mut found = Comparison::default();
        let mut observations: Vec<_> = kernel
            .observations
            .iter()
            .zip(&model.observations)
            .map(|(kernel, model)| {
                found.observation(kernel, model);
                found.conclude(voice)
            })
            .collect();
        if !matches!((&kernel.end, &model.end), (End::Completed, End::Completed)) {
            return Self { steps, observations };
        }
        let both = observations.len();
        let rest = |observations: &[Observation], who: &str| {
            let the = if matches!(who, KERNEL | "model") { "the " } else { "" };
            let alone = observations.iter().skip(both);
            alone.map(|one| Agrees::No(format!("only {the}{who} has {}", one.title))).collect()
        };
        let rests: [Vec<_>; 2] =
            [rest(&kernel.observations, voice), rest(&model.observations, "model")];
        observations.extend(rests.into_iter().flatten());
        Self { steps, observations }
    }
}

/// Where a value stands, as a chain from the inside out: it is spelt only where something differs.
#[derive(Clone, Copy)]
struct Place<'p> {
    inside: Option<&'p Place<'p>>,
    name: &'p str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = self.inside.filter(|outer| !outer.name.is_empty()) {
            write!(f, "{outer}: ")?;
        }
        // A path of the world, which may hold anything.
        self.name.escape_debug().fmt(f)
    }
}

const TOP: Place<'static> = Place { inside: None, name: "" };

/// A comparison on its way: which keys of the two stand for the same thing.
#[derive(Default)]
struct Comparison<'t> {
    of_kernel: BTreeMap<(Class, &'t str), &'t str>,
    of_model: BTreeMap<(Class, &'t str), &'t str>,
    differences: Vec<Difference>,
    /// Why one of them says nothing.
    abstained: Option<&'t str>,
}

impl<'t> Comparison<'t> {
    /// Whether nothing differs.
    fn outcome(&mut self, kernel: &'t Outcome, model: &'t Outcome) -> bool {
        match (kernel, model) {
            (_, Outcome::Abstained(why)) | (Outcome::Abstained(why), _) => {
                self.abstained = Some(why);
            }
            (Outcome::Ok(kernel), Outcome::Ok(model)) => {
                for (name, said) in model {
                    let place = Place { inside: None, name };
                    match kernel.get(name) {
                        Some(found) => self.value(found, said, place),
                        None => self.differ(place, &"none", &Shown(said)),
                    }
                }
            }
            (
                Outcome::Failed { errno, syscall, .. },
                Outcome::Failed { errno: said, syscall: by, .. },
            ) if errno == said && syscall == by => {}
            (Outcome::Refused { .. }, Outcome::Refused { .. }) => {}
            _ => self.differ(TOP, &Brief(kernel), &Brief(model)),
        }
        self.differences.is_empty()
    }

    /// Whether nothing differs.
    fn observation(&mut self, kernel: &'t Observation, model: &'t Observation) -> bool {
        if kernel.title != model.title {
            self.differ(TOP, &kernel.title, &model.title);
            return false;
        }
        match (&kernel.found, &model.found) {
            (_, Err(Outcome::Abstained(why))) => self.abstained = Some(why),
            (Ok(kernel), Ok(model)) => self.value(kernel, model, TOP),
            (Err(kernel), Err(model)) => return self.outcome(kernel, model),
            (Ok(_), Err(model)) => self.differ(TOP, &"found it", &Brief(model)),
            (Err(kernel), Ok(_)) => self.differ(TOP, &Brief(kernel), &"found it"),
        }
        self.differences.is_empty()
    }

    fn value(&mut self, kernel: &'t Value, model: &'t Value, place: Place<'_>) {
        match (kernel, model) {
            (Value::Identity(class, found), Value::Identity(said_class, said))
                if class == said_class =>
            {
                self.identity(*class, found, said, place);
            }
            (Value::List(found), Value::List(said)) => self.list(found, said, place),
            (Value::Map(found), Value::Map(said)) => self.map(found, said, place),
            (found, said) if found == said => {}
            (found, said) => self.differ(place, &Shown(found), &Shown(said)),
        }
    }

    fn identity(&mut self, class: Class, kernel: &'t str, model: &'t str, place: Place<'_>) {
        // The kernel's clock may tick or not between two events: whether two times are equal is chance.
        if class == Class::Time {
            return;
        }
        let found = self.of_model.get(&(class, model)).copied();
        // Two devices may use one number: that the kernel's are equal may be chance, and that they
        // differ is none.
        let chance = class == Class::Number;
        let said = self.of_kernel.get(&(class, kernel)).copied().filter(|_| !chance);
        match (said, found) {
            (None, None) => {
                self.of_kernel.insert((class, kernel), model);
                self.of_model.insert((class, model), kernel);
            }
            (Some(said), _) if said == model => {}
            (None, Some(found)) if found == kernel => {
                // Its number may have been given to another one meanwhile, or was.
                if !chance {
                    self.of_kernel.insert((class, kernel), model);
                }
            }
            (said, found) => {
                let word = |seen: bool| if seen { "one that was seen before" } else { "a new one" };
                let model = if said.is_some() && found.is_some() {
                    "another one that was seen before"
                } else {
                    word(found.is_some())
                };
                self.differ(place, &word(said.is_some()), &model);
            }
        }
    }

    fn list(&mut self, kernel: &'t [Value], model: &'t [Value], place: Place<'_>) {
        let labelled = |items: &[Value]| items.iter().all(|item| label(item).is_some());
        if !labelled(kernel) || !labelled(model) {
            if kernel.len() != model.len() {
                return self.differ(place, &ShownList(kernel), &ShownList(model));
            }
            for (found, said) in kernel.iter().zip(model) {
                self.value(found, said, place);
            }
            return;
        }
        let labels = |items: &'t [Value]| items.iter().filter_map(label);
        if labels(kernel).eq(labels(model)) {
            for (found, said) in kernel.iter().zip(model) {
                let name = label(found).unwrap_or_default();
                self.value(found, said, Place { inside: Some(&place), name });
            }
            return;
        }
        let before = self.differences.len();
        for alone in without(labels(kernel), labels(model)) {
            self.differ(Place { inside: Some(&place), name: alone }, &"has it", &"does not");
        }
        for alone in without(labels(model), labels(kernel)) {
            self.differ(Place { inside: Some(&place), name: alone }, &"does not", &"has it");
        }
        if self.differences.len() == before {
            let order = |items| labels(items).collect::<Vec<_>>().join(" ");
            self.differ(place, &order(kernel), &order(model));
        }
    }

    fn map(&mut self, kernel: &'t [Field], model: &'t [Field], place: Place<'_>) {
        let of = |fields: &'t [Field], index: usize, name: &str| {
            // The fields mostly stand in the same order.
            let same = fields.get(index).filter(|(other, _)| other == name);
            same.or_else(|| fields.iter().find(|(other, _)| other == name)).map(|(_, value)| value)
        };
        for (index, (name, found)) in kernel.iter().enumerate() {
            let place = Place { inside: Some(&place), name };
            match of(model, index, name) {
                Some(said) => self.value(found, said, place),
                None => self.differ(place, &Shown(found), &"none"),
            }
        }
        for (index, (name, said)) in model.iter().enumerate() {
            if of(kernel, index, name).is_none() {
                self.differ(Place { inside: Some(&place), name }, &"none", &Shown(said));
            }
        }
    }

    fn differ(&mut self, place: Place<'_>, kernel: &dyn fmt::Display, model: &dyn fmt::Display) {
        self.differences.push(Difference {
            place: place.to_string(),
            field: place.name.to_owned(),
            kernel: kernel.to_string(),
            model: model.to_string(),
        });
    }

    /// What came of one part; the next one begins anew.
    fn conclude(&mut self, voice: &str) -> Agrees {
        let differences = std::mem::take(&mut self.differences);
        if let Some(why) = self.abstained.take() {
            return Agrees::Abstained(why.to_owned());
        }
        if differences.is_empty() {
            return Agrees::Yes;
        }
        let mut told: Vec<_> =
            differences.iter().take(TOLD).map(|one| one.told_of(voice)).collect();
        let more = differences.len().saturating_sub(TOLD);
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        Agrees::No(told.join("; "))
    }
}

/// The path or mount point of an entry, which tells it from the others of its list.
fn label(item: &Value) -> Option<&str> {
    match item {
        Value::Map(fields) => match fields.first() {
            Some((key, Value::Text(label))) if key == "path" || key == "at" => Some(label),
            _ => None,
        },
        _ => None,
    }
}

/// What is left of some labels when as many of each are taken away as the others are.
fn without<'t>(
    labels: impl Iterator<Item = &'t str>,
    others: impl Iterator<Item = &'t str>,
) -> Vec<&'t str> {
    let mut counts = BTreeMap::<&'t str, usize>::new();
    for other in others {
        *counts.entry(other).or_default() += 1;
    }
    let mut taken = |label: &&'t str| match counts.get_mut(*label) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    labels.filter(|label| !taken(label)).collect()
}

/// An outcome without its values.
struct Brief<'o>(&'o Outcome);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Outcome::Ok(_) => f.write_str("ok"),
            other => other.fmt(f),
        }
    }
}

/// A value whose key, if it is an identity, says nothing to a reader.
struct Shown<'v>(&'v Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Identity(Class::Time, _) => f.write_str("a time that nobody set"),
            Value::Identity(class, _) => write!(f, "some {class}"),
            Value::List(items) => ShownList(items).fmt(f),
            other => other.fmt(f),
        }
    }
}

struct ShownList<'v>(&'v [Value]);

impl fmt::Display for ShownList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, item) in self.0.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, Shown(item))?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(outcomes: Vec<Outcome>, observations: Vec<Observation>) -> Transcript {
        Transcript { outcomes, observations, end: End::Completed, evidence: BTreeMap::new() }
    }

    fn ino(key: &str) -> Value {
        Value::Identity(Class::Ino, key.into())
    }

    fn failed(errno: &str, syscall: &str) -> Outcome {
        let errno = errno.parse().unwrap();
        Outcome::Failed { errno, syscall: syscall.into(), message: None }
    }

    fn steps(kernel: Vec<Outcome>, model: Vec<Outcome>) -> Vec<Agrees> {
        Agreement::of(&transcript(kernel, Vec::new()), &transcript(model, Vec::new())).steps
    }

    fn observed(kernel: Value, model: Value) -> Agrees {
        let of = |found| vec![Observation { title: "tree at .".into(), found: Ok(found) }];
        let (kernel, model) = (transcript(vec![], of(kernel)), transcript(vec![], of(model)));
        Agreement::of(&kernel, &model).observations.remove(0)
    }

    fn entry(path: &str, fields: &[(&str, Value)]) -> Value {
        let path = ("path".into(), path.into());
        let fields = fields.iter().map(|(name, value)| ((*name).into(), value.clone()));
        Value::Map([path].into_iter().chain(fields).collect())
    }

    #[track_caller]
    fn no(agrees: &Agrees) -> &str {
        match agrees {
            Agrees::No(how) => how,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_agrees_with_the_same_error_of_the_same_system_call_whatever_was_said() {
        let said = Outcome::Failed {
            errno: "EPERM".parse().unwrap(),
            syscall: "mount".into(),
            message: Some(crate::transcript::Message::Kernel("overlay: no".into())),
        };
        assert_eq!(steps(vec![said.clone()], vec![failed("EPERM", "mount")]), [Agrees::Yes]);
        let other = steps(vec![said.clone()], vec![failed("EACCES", "mount")]);
        assert!(no(&other[0]).ends_with("model EACCES from mount"));
        no(&steps(vec![said.clone()], vec![failed("EPERM", "fsmount")])[0]);
        no(&steps(vec![said], vec![Outcome::done()])[0]);
    }

    #[test]
    fn the_model_may_leave_values_out_and_may_not_make_them_up() {
        let kernel = || Outcome::values([("type", "file".into()), ("size", 3_u32.into())]);
        let model =
            |name, value: Value| steps(vec![kernel()], vec![Outcome::values([(name, value)])]);
        assert_eq!(model("size", 3_u32.into()), [Agrees::Yes]);
        assert_eq!(no(&model("size", 4_u32.into())[0]), "size: kernel 3, model 4");
        assert_eq!(no(&model("rdev", "0:0".into())[0]), "rdev: kernel none, model \"0:0\"");
    }

    #[test]
    fn identities_agree_where_they_are_told_apart_alike() {
        let of = |keys: &[&str]| keys.iter().map(|k| Outcome::values([("ino", ino(k))])).collect();
        let compare = |kernel: &[&str], model: &[&str]| steps(of(kernel), of(model));
        assert!(compare(&["1", "2", "1"], &["9", "8", "9"]).iter().all(|a| *a == Agrees::Yes));
        let merged = compare(&["1", "2"], &["9", "9"]);
        assert_eq!(no(&merged[1]), "ino: kernel a new one, model one that was seen before");
        let split = compare(&["1", "1"], &["9", "8"]);
        assert_eq!(no(&split[1]), "ino: kernel one that was seen before, model a new one");
        let swapped = compare(&["1", "2", "1"], &["9", "8", "8"]);
        assert!(no(&swapped[2]).ends_with("model another one that was seen before"));
    }

    #[test]
    fn an_identity_that_the_model_leaves_out_does_not_shift_the_others() {
        let kernel = vec![
            Outcome::values([("ino", ino("1"))]),
            Outcome::values([("ino", ino("2"))]),
            Outcome::values([("ino", ino("2"))]),
        ];
        let model = vec![
            Outcome::done(),
            Outcome::values([("ino", ino("x"))]),
            Outcome::values([("ino", ino("x"))]),
        ];
        assert_eq!(steps(kernel, model), [Agrees::Yes, Agrees::Yes, Agrees::Yes]);
    }

    #[test]
    fn numbers_of_two_devices_may_be_equal_by_chance() {
        let of = |key: &str| {
            Outcome::values([("ino_number", Value::Identity(Class::Number, key.into()))])
        };
        let chance = steps(vec![of("7"), of("7"), of("7")], vec![of("a"), of("b"), of("a")]);
        assert_eq!(chance, [Agrees::Yes, Agrees::Yes, Agrees::Yes]);
        let other = steps(vec![of("7"), of("8")], vec![of("a"), of("a")]);
        assert_eq!(no(&other[1]), "ino_number: kernel a new one, model one that was seen before");
    }

    #[test]
    fn classes_are_told_apart_by_themselves() {
        let both = |key: &str, dev: &str| {
            Outcome::values([("dev", Value::Identity(Class::Dev, dev.into())), ("ino", ino(key))])
        };
        assert_eq!(steps(vec![both("1", "1")], vec![both("7", "8")]), [Agrees::Yes]);
    }

    #[test]
    fn outcomes_and_observations_are_compared_by_themselves() {
        let make = |step: &str, seen: &str| {
            let found = Ok(Value::Map(vec![("ino".into(), ino(seen))]));
            let observation = Observation { title: "process of main".into(), found };
            transcript(vec![Outcome::values([("ino", ino(step))])], vec![observation])
        };
        let agreement = Agreement::of(&make("1", "1"), &make("8", "9"));
        assert_eq!(agreement.steps, [Agrees::Yes]);
        assert_eq!(agreement.observations, [Agrees::Yes]);
    }

    #[test]
    fn a_time_that_was_set_is_that_number_and_others_are_chance() {
        let time =
            |key: &str| Outcome::values([("mtime", Value::Identity(Class::Time, key.into()))]);
        let set = |seconds: i64| Outcome::values([("mtime", seconds.into())]);
        let agreed = steps(vec![time("5"), time("5")], vec![time("e1"), time("e2")]);
        assert_eq!(agreed, [Agrees::Yes, Agrees::Yes]);
        assert_eq!(steps(vec![set(7)], vec![set(7)]), [Agrees::Yes]);
        no(&steps(vec![set(7)], vec![set(8)])[0]);
        let how = steps(vec![set(7)], vec![time("e1")]);
        assert_eq!(no(&how[0]), "mtime: kernel 7, model a time that nobody set");
    }

    #[test]
    fn a_difference_in_a_tree_is_told_by_its_path() {
        let kernel = Value::List(vec![entry(".", &[]), entry("d/f", &[("mode", "0644".into())])]);
        let model = Value::List(vec![entry(".", &[]), entry("d/f", &[("mode", "0600".into())])]);
        assert_eq!(no(&observed(kernel, model)), "d/f: mode: kernel \"0644\", model \"0600\"");
    }

    #[test]
    fn an_entry_that_only_one_has_does_not_make_the_others_differ() {
        let mode = ("mode", Value::from("0644"));
        let kernel = vec![
            entry("a", std::slice::from_ref(&mode)),
            entry("b", &[]),
            entry("c", std::slice::from_ref(&mode)),
        ];
        let model = vec![
            entry("a", std::slice::from_ref(&mode)),
            entry("c", std::slice::from_ref(&mode)),
            entry("d", &[]),
        ];
        let how = observed(Value::List(kernel), Value::List(model));
        assert_eq!(no(&how), "b: kernel has it, model does not; d: kernel does not, model has it");
    }

    #[test]
    fn an_attribute_that_only_one_has_is_a_difference() {
        let with = Value::List(vec![entry("a", &[("xattrs", Value::Map(vec![]))])]);
        let bare = Value::List(vec![entry("a", &[])]);
        assert_eq!(no(&observed(bare.clone(), with.clone())), "a: xattrs: kernel none, model {}");
        assert_eq!(no(&observed(with, bare)), "a: xattrs: kernel {}, model none");
    }

    #[test]
    fn stacked_mounts_are_compared_in_their_order() {
        let at =
            |kind: &str| Value::Map(vec![("at".into(), "/m".into()), ("type".into(), kind.into())]);
        let list = |kinds: [&str; 2]| Value::List(kinds.map(at).to_vec());
        assert_eq!(observed(list(["tmpfs", "proc"]), list(["tmpfs", "proc"])), Agrees::Yes);
        no(&observed(list(["tmpfs", "proc"]), list(["proc", "tmpfs"])));
    }

    #[test]
    fn an_observation_that_the_model_does_not_make_is_a_difference() {
        let one = Observation { title: "tree at .".into(), found: Ok(Value::List(vec![])) };
        let agreement = Agreement::of(&transcript(vec![], vec![one]), &transcript(vec![], vec![]));
        assert_eq!(no(&agreement.observations[0]), "only the kernel has tree at .");
    }

    #[test]
    fn a_model_that_abstains_neither_agrees_nor_disagrees() {
        let abstained = vec![Outcome::Abstained("exec".into())];
        assert_eq!(steps(vec![Outcome::done()], abstained), [Agrees::Abstained("exec".into())]);
    }

    #[test]
    fn no_more_is_told_than_can_be_read() {
        let many = |mode: &str| {
            let entries = (0..50).map(|i| entry(&format!("f{i}"), &[("mode", mode.into())]));
            Value::List(entries.collect())
        };
        let how = observed(many("0644"), many("0600"));
        assert!(no(&how).ends_with("; and 42 more"), "{how:?}");
    }
}
