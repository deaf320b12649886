//! One diagnostic type and one renderer for everything that is wrong with a file.

mod suggest;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

pub use suggest::did_you_mean;

/// The longest line that a rendered diagnostic shows whole; a longer one is shown around the span.
const LONGEST_LINE: usize = 200;

/// A text that diagnostics point into.
#[derive(Debug)]
pub struct Source {
    /// How the file is named in messages: the path as the user gave it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Line and column of a byte offset, both counted from one; columns count characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// The file it is about.
    pub source: Arc<Source>,
    /// Bytes of the source that the caret marks; none where the file as a whole is wrong.
    pub span: Option<Range<usize>>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What stands beside the caret.
    pub label: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A diagnostic about a part of a file.
    pub fn at(source: &Arc<Source>, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            source: Arc::clone(source),
            span: Some(inside(&source.text, span)),
            message: one_line(&message.into()),
            label: String::new(),
            hint: None,
        }
    }

    /// A diagnostic about a file that cannot be shown: it is unreadable, binary or empty.
    pub fn whole(name: impl Into<String>, message: impl Into<String>) -> Self {
        let source = Source { name: name.into(), text: String::new() };
        Self {
            source: Arc::new(source),
            span: None,
            message: one_line(&message.into()),
            label: String::new(),
            hint: None,
        }
    }

    /// Adds the text beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `file:line:column`, or the file alone.
    pub fn place(&self) -> String {
        match &self.span {
            Some(span) => {
                let (line, column) = self.source.line_column(span.start);
                format!("{}:{line}:{column}", self.source.name)
            }
            None => self.source.name.clone(),
        }
    }

    /// The diagnostic with its source line and caret.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let title = Level::ERROR.primary_title(self.message.as_str());
        let mut group = match &self.span {
            Some(span) => {
                let window = Window::around(&self.source, span);
                let snippet =
                    Snippet::source(window.text).line_start(window.line).fold(false).annotation(
                        AnnotationKind::Primary.span(window.span).label(self.label.as_str()),
                    );
                if window.cut {
                    // What is shown starts in the middle of a line: the place is that in the file.
                    let (line, column) = self.source.line_column(span.start);
                    let origin =
                        Origin::path(self.source.name.as_str()).line(line).char_column(column);
                    title.element(origin).element(snippet)
                } else {
                    title.element(snippet.path(self.source.name.as_str()))
                }
            }
            None => {
                let origin = Origin::path(self.source.name.as_str());
                Group::with_title(title).element(origin)
            }
        };
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.message)
    }
}

/// A message on one line: words of the file may stand in it, whatever they are.
fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for c in message.chars() {
        // Controls, and the marks that turn the direction of writing.
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}');
        if hidden { line.extend(c.escape_unicode()) } else { line.push(c) }
    }
    line
}

/// A span as far as it lies in a text, from one character to another: a parser means the end of a file by one byte more,
/// and a character by its first byte.
fn inside(text: &str, span: Range<usize>) -> Range<usize> {
    let start = floor(text, span.start.min(text.len()));
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// The part of a source that is shown: the first line of the span, cut where it is too long.
struct Window {
    text: String,
    line: usize,
    span: Range<usize>,
    /// Whether the start of the line is left out.
    cut: bool,
}

impl Window {
    fn around(source: &Source, span: &Range<usize>) -> Self {
        let text = &source.text;
        let start = floor(text, span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let mut from = line_start;
        if start - from > LONGEST_LINE {
            from = floor(text, start - LONGEST_LINE / 4);
        }
        let to = floor(text, line_end.min(from + LONGEST_LINE)).max(start);
        let end = floor(text, span.end.clamp(start, to));
        let end = if end == start { (start + 1).min(to).max(start) } else { end };
        let end = if text.is_char_boundary(end) { end } else { to };
        // A control character would move the caret or write to the terminal: blanks stand for its bytes.
        let shown: String = text[from..to]
            .chars()
            .flat_map(|c| {
                let blanks = if c.is_control() { c.len_utf8() } else { 0 };
                std::iter::repeat_n(' ', blanks).chain((blanks == 0).then_some(c))
            })
            .collect();
        let (line, _) = source.line_column(start);
        Self { text: shown, line, span: start - from..end - from, cut: from > line_start }
    }
}

fn floor(text: &str, mut offset: usize) -> usize {
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
