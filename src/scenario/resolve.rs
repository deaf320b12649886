//! A parsed file to its cases: substitution, decoding, checks, and what each plan needs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::cases::{case_table, substitute, without_cases};
use super::check::{Checker, Seen};
use super::condition::{CONDITION_KEYS, Condition};
use super::container::Level;
use super::decode::Errors;
use super::expect::{DEVIATION_KEYS, Expect, Known, Scope};
use super::needs;
use super::observe::Observe;
use super::operation::{Create, Described, Operation, Start};
use super::plan::{Needs, Plan, PlanStep};
use super::scalar::Name;
use super::world::{self, MAX_ACTORS, World};
use super::yaml::{self, Kind, Node};
use crate::diag::{Diagnostic, Source};

/// The keys at the top of a scenario.
pub const SCENARIO_KEYS: &[&str] = &[
    "title", "refs", "level", "plain", "tags", "requires", "timeout", "cases", "variants", "known",
    "world", "steps", "observe",
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
/// Most observations of one scenario.
pub const MAX_OBSERVATIONS: usize = 100;
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
    /// How the specification that it refers to demands that fact.
    pub level: Option<Level>,
    /// The ids of scenarios that ask the kernel alone for the same.
    pub plain: Vec<String>,
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
    /// Observations, by their place in `observe`, that are known to deviate from what the model says.
    pub known: Vec<(usize, Known)>,
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
    /// How those who answer are known to deviate: the first whose condition holds counts.
    pub known: Vec<Known>,
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

struct Resolver<'a> {
    file: &'a super::FoundFile,
    errors: &'a Errors,
    names: KnownNames<'a>,
    case_names: &'a [String],
    case: Option<&'a str>,
}

/// The fields of a step's operation, without those that all steps share.
fn own_fields(body: &Node) -> Node {
    let is_own = |key: &Node| !STEP_KEYS.contains(&key.text().unwrap_or_default());
    let own: Vec<_> = body.entries().iter().filter(|(key, _)| is_own(key)).cloned().collect();
    Node { span: body.span.clone(), kind: Kind::Mapping(own) }
}

fn root_has_no_container(root: &Node) -> bool {
    root.get("world").and_then(|world| world.get("container")).is_none()
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

    fn checker(&self) -> Checker<'_> {
        Checker { errors: self.errors }
    }

    fn case(&self, root: &Node) -> Option<Case> {
        let errors = self.errors;
        let title = self.title(root);
        let refs = self.texts(root, "refs");
        let level = root.get("level").and_then(|node| errors.decode(node));
        let plain = self.plain(root);
        let tags = self.texts(root, "tags");
        let world = world::decode(root.get("world"), errors);
        let requires = self.requires(root);
        let variants = self.variants(root);
        if world.actors.len() > MAX_ACTORS {
            let span = root.get("world").map_or(0..0, |w| w.span.clone());
            errors.at(&span, format!("more than {MAX_ACTORS} actors"));
        }
        let mut known = Seen::of(&world);
        let mut needs = Needs::default();
        let (steps, mut infos) = self.steps(root, &world, &mut known, &mut needs)?;
        let observe = self.observations(root, &known);
        let known = self.known(root, &steps, &mut infos, observe.len(), &known.labels);
        needs::of_world(&world, &mut needs);
        needs.privileged |= needs.probes.contains("root")
            || requires.iter().any(|r| matches!(r, Requirement::Probe(name) if name == "root"));
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
            level,
            plain,
            tags,
            requires,
            variants,
            plan: Plan {
                id: id.clone(),
                needs,
                world,
                steps,
                observe,
                timeout_ms,
                keep: false,
                trace: false,
                runtime: None,
                overlay: None,
            },
            steps: infos,
            known,
            id,
        })
    }

    fn plain(&self, root: &Node) -> Vec<String> {
        if let Some(node) = root.get("plain").filter(|_| root_has_no_container(root)) {
            self.errors
                .at(&node.span, "`plain`, and the world has no container")
                .hint("it is said of a scenario that asks a runtime");
        }
        self.texts(root, "plain")
    }

    fn variants(&self, root: &Node) -> Vec<(String, Condition)> {
        let errors = self.errors;
        let mut variants = Vec::new();
        for (key, value) in
            errors.mapping(root.get("variants"), "a mapping from names to conditions")
        {
            errors.known_keys(value, CONDITION_KEYS);
            let none = BTreeMap::new();
            let condition = self.scope(&Operation::ALL[0], &none).condition(value, errors);
            if let Some(name) = errors.decode::<Name>(key) {
                variants.push((name.to_string(), condition));
            }
        }
        variants
    }

    /// All steps, with what the author says of each; `None` where they are too many.
    fn steps(
        &self,
        root: &Node,
        world: &World,
        known: &mut Seen,
        needs: &mut Needs,
    ) -> Option<(Vec<PlanStep>, Vec<StepInfo>)> {
        let nodes = self.step_nodes(root)?;
        let (mut steps, mut infos) = self.first_steps(root, world, known);
        for node in nodes {
            if let Some((step, info, body)) = self.step(node, known) {
                needs::of_step(&step.operation, body, needs);
                steps.push(step);
                infos.push(info);
            }
        }
        Some((steps, infos))
    }

    /// The steps as they are written; `None` where they are too many to look at.
    fn step_nodes<'n>(&self, root: &'n Node) -> Option<&'n [Node]> {
        let errors = self.errors;
        let nodes = errors.list(root.get("steps"), "a list of steps");
        if root.get("steps").is_none() {
            errors.at(&root.span, "`steps` is missing").label("needs `steps:`");
        } else if nodes.is_empty() && root.get("observe").is_none_or(|o| o.items().is_empty()) {
            let span = root.get("steps").map_or(0..0, |s| s.span.clone());
            errors
                .at(&span, "no steps and nothing to observe")
                .hint("a scenario that asks nothing proves nothing");
        }
        if nodes.len() > MAX_STEPS {
            errors
                .at(
                    &nodes[MAX_STEPS].span,
                    format!("{} steps, at most {MAX_STEPS} are allowed", nodes.len()),
                )
                .hint("divide the scenario, or use `cases`");
            return None;
        }
        Some(nodes)
    }

    fn observations(&self, root: &Node, known: &Seen) -> Vec<Observe> {
        let errors = self.errors;
        let mut observe = Vec::new();
        let nodes = errors.list(root.get("observe"), "a list of observations");
        if let Some(node) = nodes.get(MAX_OBSERVATIONS) {
            let count = nodes.len();
            errors.at(
                &node.span,
                format!("{count} observations, at most {MAX_OBSERVATIONS} are allowed"),
            );
        }
        for node in nodes.iter().take(MAX_OBSERVATIONS) {
            if let Some(item) = errors.decode::<Observe>(node) {
                self.checker().check_observe(&item, node, known);
                observe.push(item);
            }
        }
        observe
    }

    /// What a scenario with a container begins with, unless it says itself how that is made.
    fn first_steps(
        &self,
        root: &Node,
        world: &World,
        known: &mut Seen,
    ) -> (Vec<PlanStep>, Vec<StepInfo>) {
        let says = |node: &Node| node.get("create").is_some();
        let steps = root.get("steps").map_or(&[][..], Node::items);
        let container = root.get("world").and_then(|world| world.get("container"));
        let (Some(node), Some(_)) = (container, &world.container) else {
            return Default::default();
        };
        if steps.iter().any(says) {
            return Default::default();
        }
        known.begin_container();
        let (line, _) = self.errors.source().line_column(node.span.start);
        let operations = [
            Operation::Create(Create { no_pivot: false, open: Vec::new(), preserve_fds: None }),
            Operation::Start(Start {}),
        ];
        let first = operations.into_iter().filter_map(|operation| {
            let step = PlanStep { actor: "main".parse().ok()?, operation, line };
            let info = StepInfo {
                span: node.span.clone(),
                label: None,
                expect: Some(Expect::Ok),
                known: Vec::new(),
            };
            Some((step, info))
        });
        first.unzip()
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
                    self.errors.known_keys(node, CONDITION_KEYS);
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

    /// What an implementation does otherwise, told of the whole scenario: the steps and observations by their
    /// numbers, counted from one.
    fn known(
        &self,
        root: &Node,
        steps: &[PlanStep],
        infos: &mut [StepInfo],
        observations: usize,
        labels: &BTreeMap<Name, &'static Described>,
    ) -> Vec<(usize, Known)> {
        let errors = self.errors;
        let mut found = Vec::new();
        let nodes = errors.list(root.get("known"), "a list of mappings");
        for node in nodes {
            if !matches!(node.kind, Kind::Mapping(_)) {
                errors
                    .at(&node.span, "wrong type: expected a mapping")
                    .label(format!("this is {}", node.describe()));
                continue;
            }
            errors.known_keys(node, DEVIATION_KEYS);
            let is_meant = self.is_meant(node);
            let scope = self.scope(&Operation::ALL[0], labels);
            let Some(known) = scope.deviation(node, errors) else { continue };
            for (key, value) in errors.mapping(node.get("steps"), "outcomes by numbers of steps") {
                let Some(index) = self.number(key, steps.len(), "step") else { continue };
                let scope = self.scope(steps[index].operation.described(), labels);
                if let Some(outcome) = scope.deviating(value, errors)
                    && is_meant
                {
                    infos[index].known.push(Known { outcome, ..known.clone() });
                }
            }
            for node in errors.list(node.get("observe"), "a list of numbers") {
                if let Some(index) = self.number(node, observations, "observation")
                    && is_meant
                {
                    found.push((index, known.clone()));
                }
            }
            if node.get("steps").is_none() && node.get("observe").is_none() {
                errors
                    .at(&node.span, "neither `steps` nor `observe`")
                    .hint("as in `steps: { 2: ENOENT }` or `observe: [1]`");
            }
        }
        found
    }

    /// Whether what is known deviates in this case.
    fn is_meant(&self, node: &Node) -> bool {
        let cases: Option<Vec<String>> =
            node.get("cases").and_then(|node| self.errors.decode(node));
        for name in cases.iter().flatten().filter(|name| !self.case_names.contains(name)) {
            self.errors
                .at(&node.span, format!("unknown case `{}`", name.escape_debug()))
                .choices(name, self.case_names.iter().map(String::as_str));
        }
        cases
            .is_none_or(|cases| self.case.is_some_and(|case| cases.iter().any(|name| name == case)))
    }

    /// The index of what is counted from one.
    fn number(&self, node: &Node, count: usize, what: &str) -> Option<usize> {
        let number: usize = self.errors.decode(node)?;
        let known = (1..=count).contains(&number);
        if !known {
            let text = format!("there is no {what} {number}");
            self.errors.at(&node.span, text).hint(format!("they are counted from 1 to {count}"));
        }
        known.then(|| number - 1)
    }

    /// The one key of a step, its fields, and what the language knows of its operation.
    fn described<'n>(&self, node: &'n Node) -> Option<(&'n Node, &'n Node, &'static Described)> {
        let errors = self.errors;
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
            let words = Operation::ALL.iter().map(|described| described.word);
            match meant.or_else(|| crate::diag::did_you_mean(word, words)) {
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
        Some((key, body, described))
    }

    fn step<'n>(&self, node: &'n Node, known: &mut Seen) -> Option<(PlanStep, StepInfo, &'n Node)> {
        let errors = self.errors;
        let (key, body, described) = self.described(node)?;
        let step = Node {
            span: node.span.clone(),
            kind: Kind::Mapping(vec![(key.clone(), own_fields(body))]),
        };
        let operation: Option<Operation> = errors.decode_step(&step, STEP_KEYS);

        let actor = match body.get("as") {
            Some(node) => self.checker().actor(node, known),
            None => {
                let main: Name = "main".parse().ok()?;
                self.checker().is_there(&main, &key.span, known).then_some(main)
            }
        };
        let scope = self.scope(described, &known.labels);
        let expect = body.get("expect").and_then(|node| scope.expect(node, errors));
        let deviation = body.get("known").map(|node| scope.known(node, errors));
        let label = body.get("id").and_then(|node| {
            let name: Name = errors.decode(node)?;
            if known.labels.contains_key(&name) {
                errors.at(&node.span, format!("two steps have the id `{name}`"));
            }
            Some(name)
        });
        if let (Some(operation), Some(actor)) = (&operation, &actor) {
            self.checker().check_step(operation, body, actor, known);
        }
        if let Some(name) = &label {
            known.labels.insert(name.clone(), described);
        }
        let (line, _) = errors.source().line_column(key.span.start);
        let span = key.span.start..body.span.end.max(key.span.end);
        let info = StepInfo { span, label, expect, known: deviation.unwrap_or_default() };
        Some((PlanStep { actor: actor?, operation: operation?, line }, info, body))
    }
}
