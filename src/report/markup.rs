//! Writes HTML and SVG: elements are closed by construction, and text is nothing but text.

use std::fmt::Display;

use super::escape::harmless;

/// A piece of HTML or SVG, well-formed as XML too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markup(String);

/// The attributes of an element: names of ours, and values that may hold anything.
pub type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Markup {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A piece that this writes.
    pub fn of(write: impl FnOnce(&mut Self)) -> Self {
        let mut markup = Self::new();
        write(&mut markup);
        markup
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The HTML.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Adds a text, without what would steer a terminal or turn the direction of writing.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.escape(&harmless(text));
        self
    }

    /// Adds the lines of a text, for where white space is kept.
    pub fn lines(&mut self, text: &str) -> &mut Self {
        for (number, line) in text.lines().enumerate() {
            if number > 0 {
                self.0.push('\n');
            }
            self.text(line);
        }
        self
    }

    /// Ends a line, for where white space is kept.
    pub fn newline(&mut self) -> &mut Self {
        self.0.push('\n');
        self
    }

    /// Adds another piece.
    pub fn add(&mut self, other: &Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    /// Adds an element with what is inside of it.
    pub fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.open(name, attributes);
        self.0.push('>');
        inside(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
        self
    }

    /// Adds an element that holds a text.
    pub fn put(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        text: impl Display,
    ) -> &mut Self {
        self.element(name, attributes, |m| {
            m.text(&text.to_string());
        })
    }

    /// Adds an element that holds nothing.
    pub fn void(&mut self, name: &'static str, attributes: Attributes<'_>) -> &mut Self {
        self.open(name, attributes);
        self.0.push_str("/>");
        self
    }

    /// Adds a style sheet or a script of ours as it stands in its file.
    pub(super) fn verbatim(&mut self, text: &'static str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            self.escape(&harmless(value));
            self.0.push('"');
        }
    }

    fn escape(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                // No character of XML.
                '\u{fffe}' | '\u{ffff}' => self.0.extend(c.escape_unicode()),
                _ => self.0.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Markup;

    #[test]
    fn text_is_nothing_but_text_and_elements_are_closed() {
        let markup = Markup::of(|m| {
            m.element("a", &[("href", "#\"><script>")], |m| {
                m.text("</a>\u{1b}[2J&\u{202e}");
                m.void("br", &[]);
            });
        });
        assert_eq!(
            markup.as_str(),
            "<a href=\"#&quot;&gt;&lt;script&gt;\">&lt;/a&gt;\\u{1b}[2J&amp;\\u{202e}<br/></a>"
        );
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(
            Markup::of(|m| {
                m.lines("a\n<b>\r\nc");
            })
            .as_str(),
            "a\n&lt;b&gt;\nc"
        );
    }
}
