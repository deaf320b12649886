//! The terminal that a person sits at.

use std::env;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::worker::shell::{Size, Terminal};

/// Where descriptions of terminals are, unless TERMINFO says otherwise (terminfo(5), "Fetching Compiled
/// Descriptions").
const DESCRIPTIONS: &[&str] =
    &["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo"];
/// What is taken for a terminal that says nothing of itself.
const SIZE: Size = Size { rows: 24, columns: 80 };

/// What is in front of a person, where both what is typed and what is shown is at a terminal.
pub fn terminal() -> Option<Terminal> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return None;
    }
    let name = env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    let description = description(&name);
    Some(Terminal { name, description, size: size() })
}

/// How large it is now.
pub fn size() -> Size {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            Size { rows: size.ws_row, columns: size.ws_col }
        }
        _ => SIZE,
    }
}

fn description(name: &str) -> Option<Vec<u8>> {
    let first = name.get(..1).filter(|_| !name.contains('/') && !name.starts_with('.'))?;
    let own = env::var_os("TERMINFO").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".terminfo"));
    let places = own.into_iter().chain(home).chain(DESCRIPTIONS.iter().map(PathBuf::from));
    places.map(|place| place.join(first).join(name)).find_map(|file| fs::read(file).ok())
}

/// Hands every key on as it is typed, until it is dropped.
#[derive(Debug)]
pub struct Raw(Termios);

impl Raw {
    /// Takes the keys of standard input.
    ///
    /// # Errors
    /// Where it is no terminal.
    pub fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}
