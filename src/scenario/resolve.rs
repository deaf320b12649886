//! A parsed file to its cases: substitution, decoding, checks, and what each plan needs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::condition::Condition;
use super::decode::Errors;
use super::expect::{Expect, Known, Scope};
use super::observe::Observe;
use super::operation::{Described, MountApi, Namespace, Operation};
use super::plan::{COMMON_IDS, Needs, Plan, PlanStep};
use super::scalar::{Name, StepPath};
use super::world::{self, EntryKind, MAX_ACTORS, Setup, World};
use super::yaml::{self, Kind, Node};
use crate::diag::{Diagnostic, Source};

/// The keys at the top of a scenario.
pub const SCENARIO_KEYS: &[&str] = &[
    "title", "refs", "tags", "requires", "timeout", "cases", "variants", "world", "steps",
    "observe",
];
/// The keys that every step may have beside its operation's own.
pub const STEP_KEYS: &[&str] = &["as", "id", "expect", "known"];
/// What a shell calls some of the steps.
const SHELL_WORDS: &[(&str, &str)] = &[
    ("cat", "read"),
    ("cd", "chdir"),
    ("echo", "write"),
    ("ln", "link"),
    ("ls", "list"),
    ("mv", "rename"),
    ("pwd", "getcwd"),
    ("rm", "unlink"),
    ("run", "exec"),
    ("touch", "write"),
    ("id", "getcred"),
    ("mountpoint", "mounted"),
];
/// Most steps of one scenario.
pub const MAX_STEPS: usize = 1000;
/// Most cases of one scenario.
pub const MAX_CASES: usize = 100;
/// The time a scenario may take if it does not say, in seconds.
pub const DEFAULT_TIMEOUT: u64 = 10;
/// The longest time a scenario may ask for, in seconds.
pub const MAX_TIMEOUT: u64 = 600;

/// One case of a scenario, ready to be asked and judged.
#[derive(Clone, Debug)]
pub struct Case {
    /// The id of the file, with `@case` where the scenario has cases.
    pub id: String,
    /// The text it comes from.
    pub source: Arc<Source>,
    /// Where that text lies.
    pub path: PathBuf,
    /// The directory that the id is counted from.
    pub base: PathBuf,
    /// The fact that the scenario states.
    pub title: String,
    /// Where that can be read.
    pub refs: Vec<String>,
    /// Words to select by.
    pub tags: Vec<String>,
    /// What must be there, as the author says.
    pub requires: Vec<Requirement>,
    /// Which snapshot counts where kernels legitimately differ: the first whose condition holds.
    pub variants: Vec<(String, Condition)>,
    /// What witnesses are asked.
    pub plan: Plan,
    /// What the author says of each step, in the order of the plan's.
    pub steps: Vec<StepInfo>,
}

/// What the author says of a step, and where.
#[derive(Clone, Debug)]
pub struct StepInfo {
    /// Where the step stands in the source.
    pub span: Range<usize>,
    /// Its name for later steps.
    pub label: Option<Name>,
    /// What it gives.
    pub expect: Option<Expect>,
    /// How this kernel is known to deviate.
    pub known: Option<Known>,
}

/// Something that must be there for a scenario to be asked.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// A probe that must be true.
    Probe(String),
    /// A condition that must hold.
    Condition(Condition),
}

/// Names that are defined outside the language.
#[derive(Clone, Copy, Debug)]
pub struct KnownNames<'a> {
    /// The names of all probes.
    pub probes: &'a [&'a str],
}

/// Resolves a source to its cases.
///
/// # Errors
/// Everything that is wrong with the file, in its order.
pub fn resolve(
    file: &super::FoundFile,
    source: &Arc<Source>,
    names: KnownNames<'_>,
) -> Result<Vec<Case>, Vec<Diagnostic>> {
    let root = yaml::parse(source).map_err(|d| vec![*d])?;
    let errors = Errors::new(source);
    let mut cases = Vec::new();
    if matches!(root.kind, Kind::Mapping(_)) {
        errors.known_keys(&root, SCENARIO_KEYS);
        let table = case_table(root.get("cases"), &errors);
        let case_names: Vec<String> = table.iter().map(|(name, _)| name.clone()).collect();
        for index in 0..table.len().max(1) {
            let case = table.get(index);
            let body = without_cases(&root);
            let body = substitute(&body, case.map(|(_, values)| *values), &errors);
            if !errors.has_room() {
                break;
            }
            let case = case.map(|(name, _)| name.as_str());
            let resolver = Resolver { file, errors: &errors, names, case_names: &case_names, case };
            cases.extend(resolver.case(&body));
        }
    } else {
        errors
            .at(&root.span, "wrong type: expected a mapping")
            .label(format!("this is {}", root.describe()))
            .hint("a scenario starts with `title:`");
    }
    if errors.is_empty() { Ok(cases) } else { Err(errors.into_sorted()) }
}

fn case_table<'n>(node: Option<&'n Node>, errors: &Errors) -> Vec<(String, &'n Node)> {
    let mut table = Vec::new();
    let entries = errors.mapping(node, "a mapping from case names to values");
    if let (Some(node), []) = (node, entries) {
        errors.at(&node.span, "no cases").hint("remove `cases:` or name at least one");
    }
    for (key, value) in entries {
        if !matches!(value.kind, Kind::Mapping(_)) {
            errors.at(&value.span, "wrong type: expected a mapping from names to values");
        }
        for (name, _) in value.entries() {
            errors.decode::<Name>(name);
        }
        if let Some(name) = errors.decode::<Name>(key) {
            if ["when", "not", "contains", "lacks"].contains(&name.as_str()) {
                errors
                    .at(&key.span, format!("`{name}` cannot name a case"))
                    .hint("`expect` gives the word a meaning");
            }
            table.push((name.to_string(), value));
        }
    }
    if table.len() > MAX_CASES {
        let span = node.map_or(0..0, |n| n.span.clone());
        errors.at(&span, format!("{} cases, at most {MAX_CASES} are allowed", table.len()));
        table.truncate(MAX_CASES);
    }
    table
}

/// A scenario without its cases, which are values and not part of what is decoded.
fn without_cases(root: &Node) -> Node {
    let entries = root.entries().iter().filter(|(key, _)| key.text() != Some("cases")).cloned();
    Node { span: root.span.clone(), kind: Kind::Mapping(entries.collect()) }
}

/// Replaces `${case.x}` everywhere by the values of one case, and `$${` by `${`.
fn substitute(node: &Node, case: Option<&Node>, errors: &Errors) -> Node {
    if !errors.has_room() {
        return node.clone();
    }
    errors.take_room(node);
    let kind = match &node.kind {
        Kind::Scalar { text, plain } if text.contains("${") => {
            return substitute_scalar(node, text, *plain, case, errors);
        }
        Kind::Scalar { .. } => node.kind.clone(),
        Kind::Sequence(items) => {
            Kind::Sequence(items.iter().map(|item| substitute(item, case, errors)).collect())
        }
        Kind::Mapping(entries) => {
            let mut substituted: Vec<(Node, Node)> = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let new = substitute(key, case, errors);
                let changed = new.text() != key.text();
                if changed && substituted.iter().any(|(other, _)| other.text() == new.text()) {
                    let word = new.text().unwrap_or_default().escape_debug();
                    errors.at(
                        &key.span,
                        format!("in this case the key `{word}` stands twice in one mapping"),
                    );
                }
                substituted.push((new, substitute(value, case, errors)));
            }
            Kind::Mapping(substituted)
        }
    };
    Node { span: node.span.clone(), kind }
}

fn substitute_scalar(
    node: &Node,
    text: &str,
    plain: bool,
    case: Option<&Node>,
    errors: &Errors,
) -> Node {
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let escaped = rest[..start].ends_with('$');
        let Some(length) = rest[start..].find('}').or(escaped.then_some(2)) else {
            errors
                .at(&node.span, "`${` without `}`")
                .hint("a case variable is written as `${case.x}`");
            break;
        };
        let reference = &rest[start + 2..start + length];
        if rest[..start].ends_with('$') {
            result.push_str(&rest[..start - 1]);
            result.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        result.push_str(&rest[..start]);
        let value = reference.strip_prefix("case.").and_then(|name| Some((name, case?.get(name)?)));
        match value {
            Some((_, value))
                if rest.len() == text.len() && start == 0 && length + 1 == text.len() =>
            {
                errors.take_room(value);
                return Node { span: node.span.clone(), kind: value.kind.clone() };
            }
            Some((name, value)) => match value.text() {
                Some(text) => {
                    errors.take_room(value);
                    if errors.has_room() {
                        result.push_str(text);
                    }
                }
                None => {
                    errors
                        .at(
                            &node.span,
                            format!("the case variable `{name}` is {}", value.describe()),
                        )
                        .hint("only a single value can stand inside a text");
                }
            },
            None => {
                let known: Vec<_> = case
                    .map(|c| c.entries().iter().filter_map(|(k, _)| k.text()).collect())
                    .unwrap_or_default();
                let error = errors.at(
                    &node.span,
                    format!("unknown case variable `${{{}}}`", reference.escape_debug()),
                );
                if known.is_empty() {
                    error.hint("the scenario has no `cases:` that define it");
                } else {
                    error.choices(reference.strip_prefix("case.").unwrap_or(reference), known);
                }
            }
        }
        rest = &rest[start + length + 1..];
    }
    result.push_str(rest);
    Node { span: node.span.clone(), kind: Kind::Scalar { text: result, plain } }
}

struct Resolver<'a> {
    file: &'a super::FoundFile,
    errors: &'a Errors,
    names: KnownNames<'a>,
    case_names: &'a [String],
    case: Option<&'a str>,
}

/// What the steps so far have made known.
struct Seen {
    /// Actors that exist, with the names of their open files.
    actors: BTreeMap<Name, SeenActor>,
    labels: BTreeMap<Name, &'static Described>,
}

#[derive(Clone, Default)]
struct SeenActor {
    open: BTreeSet<Name>,
    /// Whether a step has ended its process.
    ended: bool,
    /// Whether its working directory may be another than the root of the sandbox.
    moved: bool,
}

impl Resolver<'_> {
    fn scope<'s>(
        &'s self,
        operation: &'s Described,
        earlier: &'s BTreeMap<Name, &'static Described>,
    ) -> Scope<'s> {
        Scope {
            operation,
            cases: self.case_names,
            case: self.case,
            earlier,
            probes: self.names.probes,
        }
    }

    fn case(&self, root: &Node) -> Option<Case> {
        let errors = self.errors;
        let title = self.title(root);
        let refs = self.texts(root, "refs");
        let tags = self.texts(root, "tags");
        let world = world::decode(root.get("world"), errors);
        let requires = self.requires(root);
        let mut variants = Vec::new();
        for (key, value) in
            errors.mapping(root.get("variants"), "a mapping from names to conditions")
        {
            errors.known_keys(value, &["kernel", "probe"]);
            let none = BTreeMap::new();
            let condition = self.scope(&Operation::ALL[0], &none).condition(value, errors);
            if let Some(name) = errors.decode::<Name>(key) {
                variants.push((name.to_string(), condition));
            }
        }
        if world.actors.len() > MAX_ACTORS {
            let span = root.get("world").map_or(0..0, |w| w.span.clone());
            errors.at(&span, format!("more than {MAX_ACTORS} actors"));
        }
        let mut known = Seen {
            actors: world
                .actors
                .iter()
                .map(|(name, actor)| {
                    let moved = actor.cwd.is_some() || actor.root.is_some();
                    (name.clone(), SeenActor { moved, ..SeenActor::default() })
                })
                .collect(),
            labels: BTreeMap::new(),
        };
        let step_nodes = errors.list(root.get("steps"), "a list of steps");
        if root.get("steps").is_none() {
            errors.at(&root.span, "`steps` is missing").label("needs `steps:`");
        } else if step_nodes.is_empty() && root.get("observe").is_none_or(|o| o.items().is_empty())
        {
            let span = root.get("steps").map_or(0..0, |s| s.span.clone());
            errors
                .at(&span, "no steps and nothing to observe")
                .hint("a scenario that asks nothing proves nothing");
        }
        if step_nodes.len() > MAX_STEPS {
            errors
                .at(
                    &step_nodes[MAX_STEPS].span,
                    format!("{} steps, at most {MAX_STEPS} are allowed", step_nodes.len()),
                )
                .hint("divide the scenario, or use `cases`");
            return None;
        }
        let mut steps = Vec::new();
        let mut infos = Vec::new();
        let mut needs = Needs::default();
        for node in step_nodes {
            if let Some((step, info, body)) = self.step(node, &mut known) {
                self.need_of_step(&step.operation, body, &mut needs);
                steps.push(step);
                infos.push(info);
            }
        }
        let mut observe = Vec::new();
        for node in errors.list(root.get("observe"), "a list of observations") {
            if let Some(item) = errors.decode::<Observe>(node) {
                self.check_observe(&item, node, &known);
                observe.push(item);
            }
        }
        self.need_of_world(&world, &mut needs);
        needs.privileged =
            requires.iter().any(|r| matches!(r, Requirement::Probe(name) if name == "root"));
        let id = match self.case {
            Some(case) => format!("{}@{case}", self.file.id),
            None => self.file.id.clone(),
        };
        let timeout_ms = 1000 * self.timeout(root);
        Some(Case {
            source: Arc::clone(errors.source()),
            path: self.file.path.clone(),
            base: self.file.base.clone(),
            title,
            refs,
            tags,
            requires,
            variants,
            plan: Plan { id: id.clone(), needs, world, steps, observe, timeout_ms, keep: false },
            steps: infos,
            id,
        })
    }

    fn title(&self, root: &Node) -> String {
        match root.get("title") {
            Some(node) => {
                let title: String = self.errors.decode(node).unwrap_or_default();
                if node.text().is_some_and(|text| !node.is_absent() && text.trim().is_empty()) {
                    self.errors
                        .at(&node.span, "the title is empty")
                        .hint("the title states the fact that the scenario shows");
                }
                if title.contains('\n') || title.chars().count() > 200 {
                    self.errors.at(&node.span, "a title is one line of at most 200 characters");
                }
                title
            }
            None => {
                self.errors
                    .at(&root.span, "`title` is missing")
                    .label("needs `title:`")
                    .hint("the title states the fact that the scenario shows");
                String::new()
            }
        }
    }

    fn texts(&self, root: &Node, key: &str) -> Vec<String> {
        let items = self.errors.list(root.get(key), "a list of texts");
        items.iter().filter_map(|item| self.errors.decode(item)).collect()
    }

    fn timeout(&self, root: &Node) -> u64 {
        let Some(node) = root.get("timeout") else { return DEFAULT_TIMEOUT };
        match self.errors.decode::<u64>(node) {
            Some(seconds) if (1..=MAX_TIMEOUT).contains(&seconds) => seconds,
            Some(seconds) => {
                self.errors
                    .at(&node.span, format!("a timeout of {seconds} seconds"))
                    .hint(format!("expected 1 to {MAX_TIMEOUT}"));
                DEFAULT_TIMEOUT
            }
            None => DEFAULT_TIMEOUT,
        }
    }

    fn requires(&self, root: &Node) -> Vec<Requirement> {
        let mut requires = Vec::new();
        for node in self.errors.list(root.get("requires"), "a list of requirements") {
            match &node.kind {
                Kind::Scalar { text, .. } if self.names.probes.contains(&text.as_str()) => {
                    requires.push(Requirement::Probe(text.clone()));
                }
                Kind::Mapping(_) => {
                    self.errors.known_keys(node, &["kernel", "probe"]);
                    if node.entries().is_empty() {
                        self.errors
                            .at(&node.span, "an empty requirement")
                            .hint("as in `{ kernel: \">=5.12\" }`");
                    }
                    let none = BTreeMap::new();
                    let condition =
                        self.scope(&Operation::ALL[0], &none).condition(node, self.errors);
                    requires.push(Requirement::Condition(condition));
                }
                _ => {
                    self.errors
                        .at(&node.span, format!("unknown requirement {}", node.describe()))
                        .choices(
                            node.text().unwrap_or_default(),
                            self.names.probes.iter().copied(),
                        );
                }
            }
        }
        requires
    }

    fn step<'n>(&self, node: &'n Node, known: &mut Seen) -> Option<(PlanStep, StepInfo, &'n Node)> {
        let errors = self.errors;
        let words: Vec<_> = Operation::ALL.iter().map(|d| d.word).collect();
        let [(key, body)] = node.entries() else {
            errors
                .at(&node.span, "a step is a mapping with one key: its operation")
                .label(format!("this is {}", node.describe()))
                .hint("write it as `- unlink: { path: a }`, with all fields inside");
            return None;
        };
        let word = key.text().unwrap_or_default();
        let Some(described) = Operation::ALL.iter().find(|d| d.word == word) else {
            let error = errors.at(&key.span, format!("unknown step `{}`", word.escape_debug()));
            let meant = SHELL_WORDS.iter().find(|(shell, _)| *shell == word).map(|(_, step)| *step);
            match meant.or_else(|| crate::diag::did_you_mean(word, words.iter().copied())) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("docs/scenario-format.md lists all steps"),
            };
            return None;
        };
        if !matches!(body.kind, Kind::Mapping(_)) {
            errors
                .at(&body.span, format!("wrong type: expected the fields of `{word}` in a mapping"))
                .label(format!("this is {}", body.describe()));
            return None;
        }
        // The fields that all steps share are taken out before the operation is decoded.
        let own: Vec<_> = body
            .entries()
            .iter()
            .filter(|(k, _)| !STEP_KEYS.contains(&k.text().unwrap_or_default()))
            .cloned()
            .collect();
        let own = Node { span: body.span.clone(), kind: Kind::Mapping(own) };
        let step = Node { span: node.span.clone(), kind: Kind::Mapping(vec![(key.clone(), own)]) };
        let operation: Option<Operation> = errors.decode_step(&step, STEP_KEYS);

        let actor = match body.get("as") {
            Some(node) => self.actor(node, known),
            None => {
                let main: Name = "main".parse().ok()?;
                self.is_there(&main, &key.span, known).then_some(main)
            }
        };
        let scope = self.scope(described, &known.labels);
        let expect = body.get("expect").and_then(|node| scope.expect(node, errors));
        let deviation = body.get("known").and_then(|node| scope.known(node, errors));
        let label = body.get("id").and_then(|node| {
            let name: Name = errors.decode(node)?;
            if known.labels.contains_key(&name) {
                errors.at(&node.span, format!("two steps have the id `{name}`"));
            }
            Some(name)
        });
        if let (Some(operation), Some(actor)) = (&operation, &actor) {
            self.check_step(operation, body, actor, known);
        }
        if let Some(name) = &label {
            known.labels.insert(name.clone(), described);
        }
        let (line, _) = errors.source().line_column(key.span.start);
        let span = key.span.start..body.span.end.max(key.span.end);
        let info = StepInfo { span, label, expect, known: deviation };
        Some((PlanStep { actor: actor?, operation: operation?, line }, info, body))
    }

    fn actor(&self, node: &Node, known: &Seen) -> Option<Name> {
        let name: Name = self.errors.decode(node)?;
        self.is_there(&name, &node.span, known).then_some(name)
    }

    /// Whether an actor exists at this point; if not, that is an error.
    fn is_there(&self, name: &Name, span: &Range<usize>, known: &Seen) -> bool {
        match known.actors.get(name) {
            Some(actor) if actor.ended => {
                self.errors
                    .at(span, format!("the actor `{name}` has ended by a step `exit` before"));
                false
            }
            Some(_) => true,
            None => {
                let error = self.errors.at(span, format!("unknown actor `{name}`"));
                if known.actors.len() == 1 {
                    error.hint(
                        "describe it in `actors:` of the world, or leave `as` out for `main`",
                    );
                } else {
                    error.choices(name.as_str(), known.actors.keys().map(Name::as_str));
                }
                false
            }
        }
    }

    /// What cannot be said by types alone: fields that exclude each other, names of open files,
    /// paths that leave the sandbox.
    fn check_step(&self, operation: &Operation, body: &Node, actor: &Name, known: &mut Seen) {
        let errors = self.errors;
        let word = operation.word();
        let has = |key: &str| body.get(key).is_some();
        let exactly_one = |a: &str, b: &str| {
            if has(a) == has(b) {
                let both = if has(a) { "not both" } else { "one of them" };
                errors.at(&body.span, format!("`{word}` needs `{a}` or `{b}`, {both}"));
            }
        };
        match operation {
            Operation::Read(_)
            | Operation::Write(_)
            | Operation::Truncate(_)
            | Operation::Chmod(_)
            | Operation::Chown(_)
            | Operation::Utimes(_)
            | Operation::Stat(_)
            | Operation::List(_)
            | Operation::Getxattr(_)
            | Operation::Setxattr(_)
            | Operation::Removexattr(_)
            | Operation::Listxattr(_) => exactly_one("path", "fd"),
            Operation::MoveMount(_) => exactly_one("mount", "from"),
            Operation::MountSetattr(_) => exactly_one("at", "mount"),
            Operation::Setns(_) => {
                exactly_one("of", "fd");
                if has("of") && !has("namespace") {
                    errors.at(&body.span, "`namespace` is missing").label("needs `namespace:`");
                }
            }
            Operation::Fsconfig(_) => exactly_one("key", "command"),
            _ => {}
        }
        match operation {
            Operation::Exit(_) => {
                if let Some(state) = known.actors.get_mut(actor) {
                    state.ended = true;
                }
            }
            Operation::Overlay(overlay) if overlay.api == MountApi::New => {
                let lost = overlay.flags.iter().zip(body.get("flags").map_or(&[][..], Node::items));
                for (_, node) in lost.filter(|(flag, _)| flag.attribute().is_none()) {
                    errors
                        .at(&node.span, format!("the new mount API has no {}", node.describe()))
                        .hint("attributes of a mount are ro, nosuid, nodev, noexec, noatime, nodiratime, relatime, strictatime, nosymfollow");
                }
            }
            Operation::Fsconfig(config) => {
                let given =
                    [config.command.is_some(), config.value.is_some(), config.value_fd.is_some()];
                if given.into_iter().filter(|given| *given).count() > 1 {
                    errors.at(
                        &body.span,
                        "`fsconfig` takes one of `value`, `value_fd` and `command`",
                    );
                }
            }
            Operation::Setxattr(set) => {
                exactly_one("value", "hex");
                let digits = |h: &String| {
                    h.len().is_multiple_of(2) && h.bytes().all(|b| b.is_ascii_hexdigit())
                };
                if let (Some(hex), Some(node)) = (&set.hex, body.get("hex"))
                    && !digits(hex)
                {
                    errors.at(&node.span, "expected pairs of hexadecimal digits");
                }
            }
            Operation::Mknod(mknod) => {
                use super::operation::NodeType::{Block, Char};
                let device = matches!(mknod.kind, Char | Block);
                if device != mknod.rdev.is_some() {
                    let text =
                        if device { "a device needs `rdev`" } else { "only a device has `rdev`" };
                    errors.at(&body.span, text).hint("as in `rdev: \"0:0\"`");
                }
            }
            Operation::Chdir(_)
            | Operation::Fchdir(_)
            | Operation::Chroot(_)
            | Operation::PivotRoot(_)
            | Operation::Setns(_) => {
                // From here on `..` may be meant: it is how one climbs out of a chroot.
                if let Some(state) = known.actors.get_mut(actor) {
                    state.moved = true;
                }
            }
            _ => {}
        }
        self.check_paths(body, actor, known);
        self.check_files(operation, body, actor, known);
        if let Some(node) = body.get("of") {
            self.actor(node, known);
        }
        if let (Operation::Fork(fork), Some(node)) = (operation, body.get("child")) {
            if known.actors.contains_key(&fork.child) {
                errors.at(&node.span, format!("there is an actor `{}` already", fork.child));
            } else if known.actors.len() >= MAX_ACTORS {
                errors.at(&node.span, format!("more than {MAX_ACTORS} actors"));
            } else if let Some(parent) = known.actors.get(actor).cloned() {
                known.actors.insert(fork.child.clone(), parent);
            }
        }
    }

    fn check_paths(&self, body: &Node, actor: &Name, known: &Seen) {
        const PATHS: &[&str] =
            &["path", "from", "to", "at", "new_root", "put_old", "upper", "work"];
        if known.actors.get(actor).is_some_and(|state| state.moved) || body.get("dirfd").is_some() {
            return;
        }
        for (key, value) in body.entries() {
            let word = key.text().unwrap_or_default();
            let single = PATHS.contains(&word).then_some(std::slice::from_ref(value));
            let several = ["lower", "data"].contains(&word).then(|| value.items());
            for node in single.or(several).unwrap_or(&[]) {
                let climbs = node
                    .text()
                    .and_then(|t| t.parse::<StepPath>().ok())
                    .is_some_and(|p| p.climbs_out());
                if climbs {
                    self.errors
                        .at(&node.span, format!("{} leaves the sandbox by `..`", node.describe()))
                        .hint("the actor stands at the root of the sandbox; to climb is only meant after chroot, chdir or setns");
                }
            }
        }
    }

    fn check_files(&self, operation: &Operation, body: &Node, actor: &Name, known: &mut Seen) {
        let defines: &[&str] = match operation {
            Operation::Open(_) | Operation::Fsopen(_) | Operation::OpenNamespace(_) => &["fd"],
            Operation::Fsmount(_) | Operation::OpenTree(_) => &["mount"],
            _ => &[],
        };
        let Some(state) = known.actors.get_mut(actor) else { return };
        for key in ["fd", "dirfd", "value_fd", "mount"] {
            let Some(node) = body.get(key) else { continue };
            let Some(name) = node.text().and_then(|text| text.parse::<Name>().ok()) else {
                continue;
            };
            if defines.contains(&key) {
                continue;
            }
            if !state.open.contains(&name) {
                let what = if key == "mount" { "mount" } else { "open file" };
                self.errors
                    .at(&node.span, format!("`{actor}` has no {what} `{name}`"))
                    .choices(name.as_str(), state.open.iter().map(Name::as_str));
            }
            if matches!(operation, Operation::Close(_)) {
                state.open.remove(&name);
            }
        }
        for key in defines {
            if let Some(name) = body.get(key).and_then(|node| node.text()?.parse().ok()) {
                state.open.insert(name);
            }
        }
    }

    fn check_observe(&self, item: &Observe, node: &Node, known: &Seen) {
        let Some((_, body)) = node.entries().first() else { return };
        let names: Vec<Name> = match item {
            Observe::Tree(tree) | Observe::Layer(tree) => tree.actor.iter().cloned().collect(),
            Observe::Mountinfo(m) => m.actors.names().to_vec(),
            Observe::IdMaps(a)
            | Observe::Credentials(a)
            | Observe::Namespaces(a)
            | Observe::Process(a) => a.actors.names().to_vec(),
        };
        for name in names {
            let span = body.get("as").map_or(&body.span, |n| &n.span);
            self.is_there(&name, span, known);
        }
    }

    fn need_of_step(&self, operation: &Operation, body: &Node, needs: &mut Needs) {
        const IDS: &[&str] = &["uid", "gid", "ruid", "euid", "suid", "rgid", "egid", "sgid"];
        for key in IDS {
            need_id(needs, body.get(key).and_then(|node| node.text()?.parse().ok()));
        }
        for (_, value) in body.entries() {
            if let Some(path) = value.text() {
                need_path(needs, path);
            }
        }
        match operation {
            Operation::Setgroups(step) => {
                needs.ids.push(COMMON_IDS);
                step.groups.iter().for_each(|gid| need_id(needs, Some(*gid)));
            }
            Operation::WriteUidMap(step) => {
                [Some(&step.text), step.then.as_ref()]
                    .into_iter()
                    .flatten()
                    .for_each(|text| need_raw_map(needs, text));
            }
            Operation::WriteGidMap(step) => {
                [Some(&step.text), step.then.as_ref()]
                    .into_iter()
                    .flatten()
                    .for_each(|text| need_raw_map(needs, text));
            }
            Operation::MountSetattr(step) => {
                if let Some(maps) = &step.idmap {
                    need_maps(needs, &maps.uid_map.0);
                    need_maps(needs, &maps.gid_map.0);
                }
            }
            Operation::Unshare(step) => needs.namespaces.extend(reachable(&step.namespaces)),
            Operation::Setns(step) => needs.namespaces.extend(reachable(step.namespace.as_slice())),
            Operation::Exec(_) => {
                needs.proc = true;
                needs.dev = true;
                needs.namespaces.extend([
                    Namespace::Net,
                    Namespace::Ipc,
                    Namespace::Uts,
                    Namespace::Cgroup,
                ]);
            }
            Operation::Sethostname(_) | Operation::Gethostname(_) => {
                needs.namespaces.insert(Namespace::Uts);
            }
            Operation::Mount(step) => need_mount(needs, &step.kind),
            Operation::Fsopen(step) => need_mount(needs, &step.kind),
            _ => {}
        }
    }

    fn need_of_world(&self, world: &World, needs: &mut Needs) {
        for actor in world.actors.values() {
            need_id(needs, actor.uid);
            need_id(needs, actor.gid);
            if !actor.groups.is_empty() {
                needs.ids.push(COMMON_IDS);
            }
            actor.groups.iter().for_each(|gid| need_id(needs, Some(*gid)));
            needs.namespaces.extend(reachable(&actor.unshare));
            if let Some(userns) = &actor.userns {
                for map in userns.uid_map.iter().chain(&userns.gid_map) {
                    need_maps(needs, &map.0);
                }
            }
        }
        for setup in &world.setup {
            match setup {
                Setup::Tree(tree) => {
                    for (path, entry) in tree {
                        need_id(needs, entry.uid);
                        need_id(needs, entry.gid);
                        if !matches!(entry.kind, EntryKind::Symlink(_)) {
                            need_path(needs, path.as_str());
                        }
                    }
                }
                Setup::Mount { operation: Operation::Mount(mount), .. } => {
                    need_mount(needs, &mount.kind);
                }
                Setup::Mount { operation: Operation::Overlay(_), .. } => {
                    needs.probes.insert("overlay".into());
                }
                Setup::Mount { .. } => {}
            }
        }
        if world.nfs.is_some() {
            needs.probes.insert("nfs".into());
        }
        if needs.proc {
            needs.probes.insert("proc".into());
        }
        if needs.sys {
            needs.namespaces.insert(Namespace::Net);
            needs.probes.insert("sysfs".into());
        }
        needs.ids.sort_unstable();
        needs.ids.dedup();
        merge(&mut needs.ids);
    }
}

/// Namespaces that a sandbox has anyway are not among those that a plan asks for.
fn reachable(namespaces: &[Namespace]) -> impl Iterator<Item = Namespace> {
    use Namespace::{Mount, Pid, User};
    namespaces.iter().copied().filter(|n| !matches!(n, User | Mount | Pid))
}

fn need_mount(needs: &mut Needs, kind: &str) {
    // The file systems that show a namespace can be mounted by its owner only: see
    // user_namespaces(7) and the fs_context of each in the kernel.
    // One that shows processes or devices can be mounted only beside another that hides nothing.
    match kind {
        "proc" => needs.proc = true,
        "sysfs" => needs.sys = true,
        "mqueue" => drop(needs.namespaces.insert(Namespace::Ipc)),
        "cgroup" | "cgroup2" => drop(needs.namespaces.insert(Namespace::Cgroup)),
        _ => {}
    }
}

fn need_path(needs: &mut Needs, path: &str) {
    let mut parts = path.split('/').filter(|p| !p.is_empty() && *p != ".");
    match parts.next() {
        Some("proc") => needs.proc = true,
        Some("sys") => needs.sys = true,
        Some("dev") => needs.dev = true,
        _ => {}
    }
}

fn need_id(needs: &mut Needs, id: Option<u32>) {
    if id.is_some_and(|id| (COMMON_IDS.0..=COMMON_IDS.1).contains(&id)) {
        needs.ids.push(COMMON_IDS);
    }
}

fn need_maps(needs: &mut Needs, lines: &[(u32, u32, u32)]) {
    for (_, outside, count) in lines {
        if (*outside, *count) == (0, 1) {
            continue;
        }
        needs.ids.push(COMMON_IDS);
        let first = (*outside).max(COMMON_IDS.1 + 1);
        let last = outside.saturating_add(count - 1);
        if last >= first {
            needs.ids.push((first, last));
        }
    }
}

fn need_raw_map(needs: &mut Needs, text: &str) {
    let outside = text.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
    outside.for_each(|id| need_id(needs, Some(id)));
}

/// Joins ranges that touch or overlap.
fn merge(ranges: &mut Vec<(u32, u32)>) {
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for range in ranges.drain(..) {
        match merged.last_mut() {
            Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
            _ => merged.push(range),
        }
    }
    *ranges = merged;
}
