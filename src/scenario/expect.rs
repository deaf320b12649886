//! What the author says a step gives.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use super::condition::{Answers, CONDITION_KEYS, Condition};
use super::decode::Errors;
use super::operation::Described;
use super::scalar::{Errno, Name};
use super::value::ValueType;
use super::yaml::{Kind, Node};

/// An expected outcome.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Success, with any values.
    Ok,
    /// This error.
    Errno(Errno),
    /// A program refuses it, where something is said with a message like this.
    Refused(Option<Matcher>),
    /// Success with these values; others are not looked at.
    Values(BTreeMap<String, Matcher>),
    /// One of several outcomes that the rules leave open.
    AnyOf(Vec<Expect>),
    /// The first branch whose condition holds; none holding is as if nothing were expected.
    When(Vec<(Condition, Expect)>),
}

/// What one value of an outcome must be.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// Exactly this.
    Is(Wanted),
    /// Not this.
    Not(Wanted),
    /// A list or text that has all of these.
    Contains(Vec<String>),
    /// A list or text that has none of these.
    Lacks(Vec<String>),
    /// The value that an earlier step gave.
    SameAs(ValueOf),
    /// Another value than an earlier step gave.
    DiffersFrom(ValueOf),
}

/// A value as it is written in YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One word or text.
    Text(String),
    /// A list of them, in order.
    List(Vec<String>),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", text.escape_debug()),
            Self::List(items) => write!(f, "[{}]", items.join(", ").escape_debug()),
        }
    }
}

/// A value of an earlier step: `STEP.VALUE`, or `STEP` for the value of the same name.
#[derive(Clone, Debug)]
pub struct ValueOf {
    /// The step's `id`.
    pub step: Name,
    /// The value's name, where it is another one.
    pub value: Option<String>,
}

/// An expected failure: this kernel is known to deviate.
#[derive(Clone, Debug)]
pub struct Known {
    /// Where it deviates; everywhere if left out.
    pub when: Condition,
    /// What it answers instead.
    pub outcome: Expect,
    /// Why that is accepted.
    pub reason: String,
    /// Where that can be read.
    pub reference: String,
}

impl Known {
    /// Whether it speaks of who answers. One that names no program speaks of the kernel.
    pub fn is_of(&self, environment: &dyn Answers) -> bool {
        self.when.holds(environment)
            && (environment.overlay().is_none() || self.when.overlay.is_some())
    }
}

/// The keys of `known:`.
pub const KNOWN_KEYS: &[&str] = &["outcome", "reason", "ref", "when"];
/// The keys of an item of a scenario's own `known:`.
pub const DEVIATION_KEYS: &[&str] = &["cases", "observe", "reason", "ref", "steps", "when"];
/// The word for what a program does not do.
const REFUSED: &str = "refused";
const MATCHERS: &[&str] = &["not", "contains", "lacks", "same_as", "differs_from"];

/// What an expectation is decoded for.
pub struct Scope<'a> {
    /// The operation of the step.
    pub operation: &'a Described,
    /// The names of all cases.
    pub cases: &'a [String],
    /// The case at hand.
    pub case: Option<&'a str>,
    /// The `id`s of the steps before, with their operations.
    pub earlier: &'a BTreeMap<Name, &'static Described>,
    /// The names of all probes.
    pub probes: &'a [&'a str],
}

impl Scope<'_> {
    /// Decodes what stands behind `expect:`; `None` where nothing is expected or something is wrong.
    pub fn expect(&self, node: &Node, errors: &Errors) -> Option<Expect> {
        match &node.kind {
            Kind::Scalar { .. } => self.word(node, errors),
            Kind::Sequence(items) => {
                if items.is_empty() {
                    errors
                        .at(&node.span, "an empty list of outcomes")
                        .hint("as in `[EPERM, EACCES]`");
                }
                Some(Expect::AnyOf(
                    items.iter().filter_map(|item| self.expect(item, errors)).collect(),
                ))
            }
            Kind::Mapping(entries) => {
                if node.get("when").is_some() {
                    return Some(self.when(node, errors));
                }
                let is_case =
                    |key: &Node| self.cases.iter().any(|case| Some(case.as_str()) == key.text());
                if !self.cases.is_empty() && entries.iter().any(|(key, _)| is_case(key)) {
                    return self.by_case(node, errors);
                }
                if node.get(REFUSED).is_some() {
                    return self.refused(node, errors);
                }
                Some(self.values(node, errors))
            }
        }
    }

    /// A refusal of which is said how its message must be.
    fn refused(&self, node: &Node, errors: &Errors) -> Option<Expect> {
        errors.known_keys(node, &[REFUSED]);
        let message = node.get(REFUSED)?;
        if !matches!(message.kind, Kind::Mapping(_)) {
            errors
                .at(&message.span, "expected a comparison of the message")
                .hint("as in `refused: { contains: rlimit }`; `expect: refused` takes any message");
            return None;
        }
        let matcher = self.matcher(REFUSED, ValueType::Text, message, errors);
        matcher.map(|matcher| Expect::Refused(Some(matcher)))
    }

    fn word(&self, node: &Node, errors: &Errors) -> Option<Expect> {
        if node.is_absent() {
            errors.at(&node.span, "a value is missing").label("expected ok, an errno or values");
            return None;
        }
        match node.text().unwrap_or_default() {
            "ok" => Some(Expect::Ok),
            REFUSED => Some(Expect::Refused(None)),
            word @ ("true" | "false") => {
                if self.operation.word == "mounted" {
                    let wanted = Matcher::Is(Wanted::Text(word.to_owned()));
                    return Some(Expect::Values(BTreeMap::from([("mounted".to_owned(), wanted)])));
                }
                errors
                    .at(&node.span, format!("`{}` gives no true or false", self.operation.word))
                    .hint("expected `ok`, an errno or values, as in `expect: { type: dir }`");
                None
            }
            _ => errors.decode(node).map(Expect::Errno),
        }
    }

    fn by_case(&self, node: &Node, errors: &Errors) -> Option<Expect> {
        let mut chosen = None;
        for (key, value) in node.entries() {
            let name = key.text().unwrap_or_default();
            if !self.cases.iter().any(|case| case == name) {
                errors
                    .at(&key.span, format!("unknown case `{}`", name.escape_debug()))
                    .choices(name, self.cases.iter().map(String::as_str));
            }
            let decoded = self.expect(value, errors);
            if self.case == Some(name) {
                chosen = decoded;
            }
        }
        for case in self.cases {
            if node.get(case).is_none() {
                errors
                    .at(&node.span, format!("no outcome for the case `{case}`"))
                    .hint("name every case, or none");
            }
        }
        chosen
    }

    fn when(&self, node: &Node, errors: &Errors) -> Expect {
        errors.known_keys(node, &["when"]);
        let mut branches = Vec::new();
        let items = errors.list(node.get("when"), "a list of branches");
        if items.is_empty() {
            errors
                .at(&node.span, "a condition without branches")
                .hint("as in `when: [ { kernel: \">=6.6\", then: ok }, { then: EINVAL } ]`");
        }
        let open = |item: &Node| CONDITION_KEYS.iter().all(|key| item.get(key).is_none());
        if let Some(index) = items.iter().position(open)
            && let Some(behind) = items.get(index + 1)
        {
            errors
                .at(&behind.span, "this branch is never taken")
                .label("the one before it has no condition");
        }
        for item in items {
            errors.known_keys(item, &[CONDITION_KEYS, &["then"]].concat());
            let condition = self.condition(item, errors);
            let Some(then) = item.get("then") else {
                errors.at(&item.span, "`then` is missing").label("needs `then:`");
                continue;
            };
            if let Some(expect) = self.expect(then, errors) {
                branches.push((condition, expect));
            }
        }
        Expect::When(branches)
    }

    /// Decodes the parts of a condition that stand in a mapping.
    pub fn condition(&self, node: &Node, errors: &Errors) -> Condition {
        let kernel = node.get("kernel").and_then(|range| errors.decode(range));
        let mut probe = BTreeMap::new();
        for (key, value) in
            errors.mapping(node.get("probe"), "a mapping from probes to true or false")
        {
            let name = key.text().unwrap_or_default();
            if !self.probes.contains(&name) {
                errors
                    .at(&key.span, format!("unknown probe `{}`", name.escape_debug()))
                    .choices(name, self.probes.iter().copied());
            }
            if let Some(wanted) = errors.decode(value) {
                probe.insert(name.to_owned(), wanted);
            }
        }
        let program = |key| node.get(key).and_then(|program| errors.decode(program));
        let (runtime, overlay) = (program("runtime"), program("overlay"));
        Condition { kernel, probe, runtime, overlay }
    }

    fn values(&self, node: &Node, errors: &Errors) -> Expect {
        let mut values = BTreeMap::new();
        for (key, value) in node.entries() {
            let name = key.text().unwrap_or_default();
            let Some(given) = self.operation.value(name) else {
                let known = self.operation.values.iter().map(|value| value.name);
                let error = errors.at(
                    &key.span,
                    format!("`{}` gives no value `{}`", self.operation.word, name.escape_debug()),
                );
                if self.operation.values.is_empty() {
                    error.hint("it gives no values: expected `ok` or an errno");
                } else {
                    error.choices(name, known);
                }
                continue;
            };
            if let Some(matcher) = self.matcher(name, given.kind, value, errors) {
                values.insert(name.to_owned(), matcher);
            }
        }
        Expect::Values(values)
    }

    fn matcher(
        &self,
        name: &str,
        kind: ValueType,
        node: &Node,
        errors: &Errors,
    ) -> Option<Matcher> {
        let Kind::Mapping(entries) = &node.kind else {
            return kind.whole(node, errors).map(Matcher::Is);
        };
        let [(key, value)] = entries.as_slice() else {
            errors
                .at(&node.span, "expected one comparison")
                .hint(format!("one of {}", MATCHERS.join(", ")));
            return None;
        };
        match key.text().unwrap_or_default() {
            "not" => kind.whole(value, errors).map(Matcher::Not),
            "contains" => kind.parts(value, errors).map(Matcher::Contains),
            "lacks" => kind.parts(value, errors).map(Matcher::Lacks),
            "same_as" => self.value_of(name, value, errors).map(Matcher::SameAs),
            "differs_from" => self.value_of(name, value, errors).map(Matcher::DiffersFrom),
            other => {
                errors
                    .at(&key.span, format!("unknown comparison `{}`", other.escape_debug()))
                    .choices(other, MATCHERS.iter().copied());
                None
            }
        }
    }

    fn value_of(&self, name: &str, node: &Node, errors: &Errors) -> Option<ValueOf> {
        let text = node.text().unwrap_or_default();
        let (step, value) = match text.split_once('.') {
            Some((step, value)) => (step, Some(value.to_owned())),
            None => (text, None),
        };
        let known =
            step.parse::<Name>().ok().and_then(|name| Some((self.earlier.get(&name)?, name)));
        let Some((described, step)) = known else {
            errors
                .at(
                    &node.span,
                    format!("no step before this one has the id `{}`", step.escape_debug()),
                )
                .choices(step, self.earlier.keys().map(Name::as_str));
            return None;
        };
        let wanted = value.as_deref().unwrap_or(name);
        if described.value(wanted).is_none() {
            errors
                .at(
                    &node.span,
                    format!(
                        "the step `{step}` is a `{}` and gives no value `{}`",
                        described.word,
                        wanted.escape_debug()
                    ),
                )
                .choices(wanted, described.values.iter().map(|value| value.name));
        }
        Some(ValueOf { step, value })
    }

    /// Decodes what stands behind `known:`: one deviation, or a list of them.
    pub fn known(&self, node: &Node, errors: &Errors) -> Vec<Known> {
        match &node.kind {
            Kind::Sequence(items) => {
                items.iter().filter_map(|item| self.known_outcome(item, errors)).collect()
            }
            _ => self.known_outcome(node, errors).into_iter().collect(),
        }
    }

    fn known_outcome(&self, node: &Node, errors: &Errors) -> Option<Known> {
        if !matches!(node.kind, Kind::Mapping(_)) {
            errors.at(
                &node.span,
                format!("wrong type: expected a mapping with {}", KNOWN_KEYS.join(", ")),
            );
            return None;
        }
        errors.known_keys(node, KNOWN_KEYS);
        let known = self.deviation(node, errors);
        let Some(outcome) = node.get("outcome") else {
            errors.at(&node.span, "`outcome` is missing").label("needs `outcome:`");
            return None;
        };
        let outcome = self.deviating(outcome, errors)?;
        Some(Known { outcome, ..known? })
    }

    /// Decodes the outcome that a deviation comes to. When it does is said beside it.
    pub fn deviating(&self, node: &Node, errors: &Errors) -> Option<Expect> {
        let outcome = self.expect(node, errors)?;
        if let Expect::When(_) = outcome {
            errors
                .at(&node.span, "a condition stands beside what is known, not in its outcome")
                .hint("name each outcome in an entry of its own, with its own `when`");
            return None;
        }
        Some(outcome)
    }

    /// What is said of a deviation but for the outcome.
    pub fn deviation(&self, node: &Node, errors: &Errors) -> Option<Known> {
        let missing = |key: &str| {
            errors.at(&node.span, format!("`{key}` is missing")).label(format!("needs `{key}:`"));
        };
        let text = |key: &str| match node.get(key) {
            Some(value) => errors.decode::<String>(value),
            None => {
                missing(key);
                None
            }
        };
        let when = node.get("when").map(|when| {
            errors.known_keys(when, CONDITION_KEYS);
            self.condition(when, errors)
        });
        let (reason, reference) = (text("reason"), text("ref"));
        Some(Known {
            when: when.unwrap_or_default(),
            outcome: Expect::Ok,
            reason: reason?,
            reference: reference?,
        })
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Errno(errno) => errno.fmt(f),
            Self::Refused(None) => f.write_str(REFUSED),
            Self::Refused(Some(message)) => write!(f, "{REFUSED} with a message {message}"),
            Self::Values(values) => {
                f.write_str("ok")?;
                for (index, (name, matcher)) in values.iter().enumerate() {
                    write!(f, "{} {name} {matcher}", if index == 0 { " with" } else { "," })?;
                }
                Ok(())
            }
            Self::AnyOf(several) => {
                for (index, expect) in several.iter().enumerate() {
                    write!(f, "{}{expect}", if index == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
            Self::When(_) => f.write_str("what a condition chooses"),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(wanted) => wanted.fmt(f),
            Self::Not(wanted) => write!(f, "not {wanted}"),
            Self::Contains(texts) => write!(f, "containing {}", Wanted::List(texts.clone())),
            Self::Lacks(texts) => write!(f, "lacking {}", Wanted::List(texts.clone())),
            Self::SameAs(of) => write!(f, "same as {of}"),
            Self::DiffersFrom(of) => write!(f, "other than {of}"),
        }
    }
}

impl fmt::Display for ValueOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}.{value}", self.step),
            None => self.step.fmt(f),
        }
    }
}

/// The JSON schema of what may stand behind `expect:`.
pub fn schema() -> serde_json::Value {
    let words: Vec<_> =
        ["ok", "true", "false", REFUSED].into_iter().chain(Errno::names()).collect();
    json!({
        "description": "What the step gives. Without it kernel and model decide: they must agree, and where one of them says nothing the step must succeed.",
        "anyOf": [
            { "enum": words },
            { "type": "boolean" },
            { "description": "One of several outcomes that the rules leave open", "type": "array", "minItems": 1,
              "items": { "$ref": "#/$defs/Expect" } },
            { "description": "Branches; the first whose condition holds counts", "type": "object",
              "required": ["when"], "additionalProperties": false,
              "properties": { "when": { "type": "array", "items": {
                  "type": "object", "required": ["then"], "additionalProperties": false,
                  "properties": {
                      "kernel": { "$ref": "#/$defs/KernelRange" },
                      "probe": { "type": "object", "additionalProperties": { "type": "boolean" } },
                      "runtime": { "$ref": "#/$defs/ImplementationRange" },
                      "overlay": { "$ref": "#/$defs/ImplementationRange" },
                      "then": { "$ref": "#/$defs/Expect" }
                  } } } } },
            { "description": "A program refuses it, with such a message", "type": "object",
              "required": [REFUSED], "additionalProperties": false,
              "properties": { REFUSED: { "$ref": "#/$defs/Matcher" } } },
            { "description": "Success with these values; or an outcome for each case", "type": "object",
              "not": { "anyOf": [{ "required": ["when"] }, { "required": [REFUSED] }] },
              "additionalProperties": { "anyOf": [
                  { "$ref": "#/$defs/Expect" }, { "$ref": "#/$defs/Matcher" } ] } }
        ]
    })
}

/// The JSON schema of what a value may be compared with.
pub fn matcher_schema() -> serde_json::Value {
    let scalar = json!({ "type": ["string", "integer", "boolean"] });
    let wanted = json!({ "anyOf": [scalar, { "type": "array", "items": scalar }] });
    json!({
        "description": "A value, a list, or one comparison",
        "anyOf": [
            wanted,
            { "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
              "properties": {
                  "not": wanted,
                  "contains": wanted,
                  "lacks": wanted,
                  "same_as": { "description": "`STEP` or `STEP.VALUE` of an earlier step", "type": "string" },
                  "differs_from": { "description": "`STEP` or `STEP.VALUE` of an earlier step", "type": "string" }
              } }
        ]
    })
}
