//! What every page has: one file that loads nothing, and says so to the browser.

use sha2::{Digest, Sha256};

use super::super::markup::Markup;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("report.js");

/// A whole page. The script is for filters, and a page without them has none.
pub fn page(title: &str, has_filters: bool, body: &Markup) -> String {
    let script = if has_filters { format!("'sha256-{}'", digest(SCRIPT)) } else { "'none'".into() };
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src {script}; \
         img-src data:; base-uri 'none'; \
         form-action 'none'",
        digest(STYLE)
    );
    let page = Markup::of(|m| {
        m.element("html", &[("lang", "en")], |m| {
            m.element("head", &[], |m| {
                m.void("meta", &[("charset", "utf-8")]);
                m.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy)]);
                let viewport = "width=device-width, initial-scale=1";
                m.void("meta", &[("name", "viewport"), ("content", viewport)]);
                m.void("meta", &[("name", "color-scheme"), ("content", "light dark")]);
                m.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
                // Browsers ask for an icon that no page names.
                m.void("link", &[("rel", "icon"), ("href", "data:,")]);
                m.put("title", &[], title);
                m.element("style", &[], |m| {
                    m.verbatim(STYLE);
                });
            });
            m.element("body", &[], |m| {
                m.put("a", &[("class", "skip-link"), ("href", "#content")], "Skip to the content");
                m.add(body);
                if has_filters {
                    m.element("script", &[], |m| {
                        m.verbatim(SCRIPT);
                    });
                }
            });
        });
    });
    format!("<!DOCTYPE html>\n{}\n", page.as_str())
}

/// The digest of an inline style or script, as a policy has it.
fn digest(text: &str) -> String {
    base64(&Sha256::digest(text.as_bytes()))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let six = (bits >> (18 - 6 * index)) & 63;
            let c = if index <= three.len() { ALPHABET[six as usize] as char } else { '=' };
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_its_rfc() {
        let of = |text: &str| base64(text.as_bytes());
        assert_eq!([of(""), of("f"), of("fo"), of("foo")], ["", "Zg==", "Zm8=", "Zm9v"]);
        assert_eq!(of("foobar"), "Zm9vYmFy");
    }
}
