//! YAML text to a tree of nodes that know where they stand in the file.
//!
//! The language needs every scalar verbatim (`mode: 0644` is octal, `version: 4.20` is not a
//! number) and every error of a file at once, so it is decoded from this tree and not straight
//! from the parser. Anchors, aliases and tags are not part of the language.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle};

use crate::diag::{Diagnostic, Source};

/// A file larger than this is refused unread.
pub const MAX_FILE_BYTES: u64 = 4 << 20;
/// Deepest nesting of collections.
pub const MAX_DEPTH: usize = 32;

/// One value of a YAML document.
#[derive(Clone, Debug)]
pub struct Node {
    /// The bytes of the source it was written in.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// The three kinds of YAML values.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A scalar, with its text after YAML's own escapes.
    Scalar {
        /// The text.
        text: String,
        /// Whether it was written without quotes.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping in the order of the file; keys are scalars and unique.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether nothing was written where a value belongs.
    pub fn is_absent(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if text.is_empty() || text == "~")
    }

    /// The entries of a mapping; empty for anything else.
    pub fn entries(&self) -> &[(Node, Node)] {
        match &self.kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; empty for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The entry of a mapping with this key.
    pub fn entry(&self, key: &str) -> Option<&(Node, Node)> {
        self.entries().iter().find(|(k, _)| k.text() == Some(key))
    }

    /// The value of a mapping with this key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// What a person would call it.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Scalar { .. } if self.is_absent() => "nothing".into(),
            Kind::Scalar { text, .. } if text.chars().count() > 40 => "a long text".into(),
            Kind::Scalar { text, .. } => format!("`{}`", text.escape_debug()),
            Kind::Sequence(_) => "a list".into(),
            Kind::Mapping(_) => "a mapping".into(),
        }
    }
}

/// Parses the one document of a source.
///
/// # Errors
/// Returns what is wrong: syntax, a second document, an anchor, an alias, a tag, a key that is
/// not a scalar or stands twice, or nesting beyond [`MAX_DEPTH`].
pub fn parse(source: &Arc<Source>) -> Result<Node, Box<Diagnostic>> {
    let mut builder = Builder { source, stack: Vec::new(), root: None };
    let options = granit_parser::options! { emit_unresolved_aliases: true };
    for event in Parser::new_from_str_with_options(&source.text, options) {
        let (event, span) = event.map_err(|error| Box::new(scan_error(source, &error)))?;
        let span = span.byte_range().unwrap_or(0..0);
        builder.event(event, span).map_err(Box::new)?;
    }
    builder.root.ok_or_else(|| {
        Box::new(
            Diagnostic::whole(&source.name, "the file is empty")
                .hint("a scenario needs at least `title:` and `steps:`"),
        )
    })
}

struct Builder<'s> {
    source: &'s Arc<Source>,
    stack: Vec<Open>,
    root: Option<Node>,
}

struct Open {
    span: Range<usize>,
    /// `Some` in a mapping, holding the key that waits for its value.
    key: Option<Option<Node>>,
    entries: Vec<(Node, Node)>,
    /// Where each key stands among the entries.
    keys: HashMap<String, usize>,
    items: Vec<Node>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Diagnostic> {
        let refuse = |what: &str| {
            Err(Diagnostic::at(
                self.source,
                span.clone(),
                format!("{what} are not part of the language"),
            )
            .hint(
                "write the value out where it is used; `cases` repeat a scenario with other values",
            ))
        };
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                return Err(Diagnostic::at(self.source, span, "a second document in one file")
                    .label("a scenario file holds one document")
                    .hint("put each scenario into a file of its own"));
            }
            Event::Alias(..) | Event::UnresolvedAlias(..) => return refuse("aliases"),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(_, anchor, _)
            | Event::MappingStart(_, anchor, _)
                if anchor != 0 =>
            {
                return refuse("anchors");
            }
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(.., Some(_))
            | Event::MappingStart(.., Some(_)) => return refuse("tags"),
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                self.add(Node { span, kind: Kind::Scalar { text: text.into_owned(), plain } })?;
            }
            Event::SequenceStart(..) => self.open(span, None)?,
            Event::MappingStart(..) => self.open(span, Some(None))?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.stack.pop() {
                    let end = span.end.max(open.span.start);
                    let kind = match open.key {
                        Some(_) => Kind::Mapping(open.entries),
                        None => Kind::Sequence(open.items),
                    };
                    self.add(Node { span: open.span.start..end, kind })?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, span: Range<usize>, key: Option<Option<Node>>) -> Result<(), Diagnostic> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Diagnostic::at(self.source, span, "the file is nested too deeply")
                .label(format!("deeper than {MAX_DEPTH} levels")));
        }
        self.stack.push(Open {
            span,
            key,
            entries: Vec::new(),
            keys: HashMap::new(),
            items: Vec::new(),
        });
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Diagnostic> {
        let Some(open) = self.stack.last_mut() else {
            self.root.get_or_insert(node);
            return Ok(());
        };
        let Some(pending) = &mut open.key else {
            open.items.push(node);
            return Ok(());
        };
        if let Some(key) = pending.take() {
            open.entries.push((key, node));
            return Ok(());
        }
        let Some(text) = node.text() else {
            return Err(Diagnostic::at(self.source, node.span, "a key must be a plain word")
                .label("expected `key: value`"));
        };
        if let Some((first, _)) = open.keys.get(text).and_then(|index| open.entries.get(*index)) {
            let (line, _) = self.source.line_column(first.span.start);
            return Err(Diagnostic::at(
                self.source,
                node.span.clone(),
                format!("the key `{text}` stands twice in one mapping"),
            )
            .label(format!("already given on line {line}"))
            .hint("remove one of the two"));
        }
        open.keys.insert(text.to_owned(), open.entries.len());
        *pending = Some(node);
        Ok(())
    }
}

fn scan_error(source: &Arc<Source>, error: &granit_parser::ScanError) -> Diagnostic {
    let at = error.marker().byte_offset().unwrap_or(0).min(source.text.len());
    let line_start = source.text[..floor(&source.text, at)].rfind('\n').map_or(0, |at| at + 1);
    let line = source.text[line_start..].lines().next().unwrap_or("");
    let blank = line.len() - line.trim_start().len();
    if let Some(tab) = line[..blank].find('\t') {
        let tab = line_start + tab;
        return Diagnostic::at(source, tab..tab + 1, "a tab in the indentation")
            .label("YAML indents by spaces only")
            .hint("replace the tab with spaces");
    }
    let mut diagnostic = Diagnostic::at(source, at..at + 1, format!("not YAML: {}", error.info()));
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        diagnostic.message = "the file is nested too deeply".into();
        diagnostic = diagnostic.label(format!("deeper than {MAX_DEPTH} levels"));
    }
    let line = source.text[line_start..].lines().next().unwrap_or("");
    if diagnostic.message.contains("mapping values are not allowed") && line.contains(": ") {
        diagnostic.hint = Some("a text that has `: ` in it needs quotes".into());
    }
    diagnostic
}

fn floor(text: &str, mut offset: usize) -> usize {
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
