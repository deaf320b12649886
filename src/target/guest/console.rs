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
        found.map(str::to_owned)
    }
}
