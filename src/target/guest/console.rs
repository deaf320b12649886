//! What a guest's kernel prints: kept as evidence, and read for what went wrong.

use super::trouble;

/// How much of it is kept, from its end.
const KEPT: usize = 64 << 10;

/// The console of one boot.
#[derive(Debug, Default)]
pub struct Console {
    text: Vec<u8>,
}

impl Console {
    /// Takes in what was printed.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        if self.text.len() > 2 * KEPT {
            self.text.drain(..self.text.len() - KEPT);
        }
    }

    /// What is kept of it.
    pub fn text(&self) -> String {
        let from = self.text.len().saturating_sub(KEPT);
        String::from_utf8_lossy(&self.text[from..]).replace('\r', "")
    }

    /// The line that says best what went wrong.
    pub fn complaint(&self) -> Option<String> {
        let text = self.text();
        let lines = || text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let found = lines()
            .find(|line| line.contains("Kernel panic"))
            .or_else(|| lines().find(|line| trouble::in_line(line)))
            .or_else(|| lines().rfind(|line| line.starts_with("nsharness: ")))
            .or_else(|| lines().next_back());
        found.map(printable)
    }
}

/// A line as a terminal may get it: the guest chose what is in it.
fn printable(line: &str) -> String {
    const LONGEST: usize = 300;
    let mut text = String::new();
    for c in line.chars().take(LONGEST) {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> Option<String> {
        let mut console = Console::default();
        text.as_bytes().chunks(7).for_each(|piece| console.feed(piece));
        console.complaint()
    }

    #[test]
    fn what_says_most_is_told() {
        let told = |text: &str| complaint(text).unwrap_or_default();
        let panic = "Kernel panic - not syncing: Attempted to kill init!";
        assert_eq!(told(&format!("a\r\nBUG: x\r\n{panic}\r\nCall Trace:\r\n")), panic);
        assert_eq!(told("boot\nBUG: unable to\nRIP: 0\n"), "BUG: unable to");
        assert_eq!(
            told("nsharness: /dev/kmsg: gone\nreboot: Power down\n"),
            "nsharness: /dev/kmsg: gone"
        );
        assert_eq!(told("one\ntwo\n\n"), "two");
        assert_eq!(complaint(""), None);
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(complaint("\u{1b}[2Jgone\n").as_deref(), Some("\\u{1b}[2Jgone"));
    }

    #[test]
    fn the_end_is_kept_however_much_is_printed() {
        let mut console = Console::default();
        for _ in 0..100 {
            console.feed(&[b'x'; 10_000]);
        }
        console.feed(b"\nthe end");
        assert!(console.text().len() <= KEPT && console.text().ends_with("the end"));
    }
}
