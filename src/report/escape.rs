//! Texts of scenarios, kernels and file names, where they must not be taken for anything else.

/// A text without what would write to a terminal or turn its direction.
pub(super) fn harmless(text: &str) -> String {
    let is_harmless = |c: char| {
        !c.is_control()
            && !('\u{202a}'..='\u{202e}').contains(&c)
            && !('\u{2066}'..='\u{2069}').contains(&c)
    };
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_default());
        }
    }
    escaped
}

/// The same, not longer than so many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    let text = harmless(text);
    if text.chars().count() <= most {
        return text;
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A text within Markdown, in one line, in a table or between tags, where it is nothing but text: no emphasis, no
/// link, no cell, and on GitHub nobody is called (`@name`) and no issue referred to (`#1`).
pub(super) fn prose(text: &str) -> String {
    // An entity would not do: who is called is looked for in what is rendered.
    let parts = text.split_inclusive(['@', '#']).map(literal);
    parts.collect::<Vec<_>>().join("<!-- -->")
}

/// The same as what somebody could type, in which nobody is looked for.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", literal(text))
}

/// A text without what is a mark of Markdown or HTML.
fn literal(text: &str) -> String {
    let text = harmless(text);
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let within_word =
            before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        match c {
            '_' if within_word => escaped.push(c),
            '&' | '<' | '>' | '|' | '\\' | '`' | '*' | '_' | '~' | '$' => {
                escaped.push_str(&format!("&#{};", u32::from(c)));
            }
            _ => escaped.push(c),
        }
        before = c;
    }
    escaped.replace("](", "]&#40;").replace("://", ":&#47;&#47;").replace("www.", "www&#46;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_writes_to_a_terminal_or_breaks_a_table() {
        assert_eq!(cut("\u{1b}[2J", 20), "\\u{1b}[2J");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(prose("a|b<c\\|d"), "a&#124;b&#60;c&#92;&#124;d");
        assert_eq!(prose("[a](b) [1]"), "[a]&#40;b) [1]");
        assert_eq!(prose("@all #1 https://a.b"), "@<!-- -->all #<!-- -->1 https:&#47;&#47;a.b");
        assert_eq!(code("`x`"), "<code>&#96;x&#96;</code>");
    }
}
