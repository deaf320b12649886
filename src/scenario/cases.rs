//! Cases: their table, and the substitution of `${case.x}`.

use super::decode::Errors;
use super::scalar::Name;
use super::yaml::{Kind, Node};

/// Most cases of one scenario.
pub const MAX_CASES: usize = 100;

/// The cases of a scenario in the order of the file: names with the nodes of their values.
pub fn case_table<'n>(node: Option<&'n Node>, errors: &Errors) -> Vec<(String, &'n Node)> {
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
pub fn without_cases(root: &Node) -> Node {
    let entries = root.entries().iter().filter(|(key, _)| key.text() != Some("cases")).cloned();
    Node { span: root.span.clone(), kind: Kind::Mapping(entries.collect()) }
}

/// Replaces `${case.x}` everywhere by the values of one case, and `$${` by `${`.
pub fn substitute(node: &Node, case: Option<&Node>, errors: &Errors) -> Node {
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
                    let what = format!("the case variable `{name}` is {}", value.describe());
                    errors.at(&node.span, what).hint("only a single value can stand inside a text");
                    errors.spoil(&node.span);
                }
            },
            None => unknown_variable(node, reference, case, errors),
        }
        rest = &rest[start + length + 1..];
    }
    result.push_str(rest);
    Node { span: node.span.clone(), kind: Kind::Scalar { text: result, plain } }
}

/// Tells of a variable that the case does not have, with those that it has.
fn unknown_variable(node: &Node, reference: &str, case: Option<&Node>, errors: &Errors) {
    let known: Vec<String> = case.map_or_else(Vec::new, |case| {
        case.entries()
            .iter()
            .filter_map(|(k, _)| Some(format!("${{case.{}}}", k.text()?)))
            .collect()
    });
    let written = format!("${{{reference}}}");
    let error =
        errors.at(&node.span, format!("unknown case variable `{}`", written.escape_debug()));
    if known.is_empty() {
        error.hint("the scenario has no `cases:` that define it");
    } else {
        error.choices(&written, known.iter().map(String::as_str));
    }
    errors.spoil(&node.span);
}
