//! What a program asked of the kernel, as the steps of a scenario.
//!
//! A program is many processes, and a scenario has few actors: a process is an actor of its own where it changes
//! something that its parent keeps, as its root or ids. All others take their steps as the process that they came
//! from. What has no step, or cannot be written down, is a comment.

mod actors;
mod calls;
mod files;
mod step;
mod translate;

use serde_json::Value;

use crate::scenario::plan::Plan;
use crate::search::document;
use crate::search::layout::Page;
use crate::trace::Event;

/// What is recorded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Also what only asks, and changes nothing: stat(2), access(2), readlink(2) and their like.
    pub lookups: bool,
}

/// A line of a recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A step, as YAML has it.
    Step(Value),
    /// Something that no step says, and why.
    Comment(String),
}

/// What a program has asked, line by line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Its lines.
    pub lines: Vec<Line>,
}

impl Recorded {
    /// What came of these events, in the order in which they happened. `actor` is who ran the program.
    pub fn of(events: &[Event], actor: &str, wanted: Wanted) -> Self {
        Self { lines: files::put_together(translate::lines(events, actor, wanted)) }
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line, Line::Step(_))).count()
    }

    /// How many comments.
    pub fn comments(&self) -> usize {
        self.lines.len() - self.steps()
    }

    /// A scenario that begins with the world and the steps of this plan.
    pub fn scenario(&self, plan: &Plan, title: &str, notes: &[String]) -> String {
        let mut page = Page::default();
        page.entry(0, "title", &title.into());
        notes.iter().for_each(|note| page.comment(0, note));
        let document = document::of_plan(plan);
        for (key, value) in document.as_object().into_iter().flatten() {
            if key != "steps" {
                page.entry(0, key, value);
            }
        }
        page.text.push_str("steps:\n");
        let before = document.get("steps").and_then(Value::as_array);
        before.into_iter().flatten().for_each(|step| page.item(2, step));
        for line in &self.lines {
            match line {
                Line::Step(step) => page.item(2, step),
                Line::Comment(text) => page.comment(2, text),
            }
        }
        page.text
    }
}
