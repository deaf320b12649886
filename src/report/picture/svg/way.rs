//! The way of a step through what is asked, from who asks to what comes of it.

use super::super::super::escape::cut;
use super::super::super::markup::Markup;
use super::super::Way;
use super::{LINE, PAD, frame, label, number, svg, wide};
use crate::model::checks::{Answer, Check};
use crate::transcript::Outcome;

/// Longest line, and the space between what is asked.
const LONG: usize = 140;
const GAP: f64 = 18.0;
const HEIGHT: f64 = 2.0 * LINE + 8.0;

impl Way {
    /// Draws it: one box for each thing that is asked, and the one that decides with a thick frame and a word.
    pub fn svg(&self) -> Markup {
        let deciding = self.deciding();
        let boxes: Vec<_> = self.checks.iter().map(Lines::of).collect();
        let outcome = cut(&self.outcome.to_string(), LONG);
        let title = format!("the way of: {}", self.step);
        let widths =
            boxes.iter().map(Lines::width).chain([wide(&cut(&title, LONG)), wide(&outcome)]);
        let width = widths.fold(0.0, f64::max) + 2.0 * PAD;
        let height = LINE + 4.0 + (HEIGHT + GAP) * boxes.len() as f64 + LINE + 10.0;
        let told: Vec<_> = boxes.iter().map(|l| format!("{}: {}", l.first(), l.found)).collect();
        let told = format!("{}. Outcome: {outcome}", told.join(". "));
        svg(&title, &told, width, height, |m| {
            label(m, 0.0, 14.0, "head", &cut(&title, LONG));
            for (index, lines) in boxes.iter().enumerate() {
                let y = LINE + 4.0 + (HEIGHT + GAP) * index as f64;
                let class = match self.checks[index].answer {
                    Answer::Refused(_) => "check refused decides",
                    _ if Some(index) == deciding => "check allowed decides",
                    _ => "check",
                };
                m.element("g", &[("class", class)], |m| {
                    frame(m, "box", 0.0, y, width, HEIGHT);
                    m.element("text", &[("x", &number(PAD)), ("y", &number(y + 18.0))], |m| {
                        m.put("tspan", &[("class", "name")], &lines.asked);
                        m.put("tspan", &[("class", "answer")], format_args!("  {}", lines.answer));
                        if Some(index) == deciding {
                            m.put("tspan", &[("class", "mark")], "  decides");
                        }
                        if let Some(rule) = lines.rule {
                            m.put("tspan", &[("class", "detail")], format_args!("  {rule}"));
                        }
                    });
                    label(m, PAD, y + 38.0, "detail", &lines.found);
                });
                let d = format!("M24 {}v{}m-4 -5l4 5l4 -5", number(y + HEIGHT), number(GAP - 1.0));
                m.void("path", &[("d", &d), ("class", "flow")]);
            }
            let y = height - LINE - 10.0;
            let failed = matches!(self.outcome, Outcome::Failed { .. });
            let class = if failed { "check refused" } else { "check allowed" };
            m.element("g", &[("class", class)], |m| {
                frame(m, "box", 0.0, y, width, LINE + 8.0);
                label(m, PAD, y + 18.0, "name", &outcome);
            });
        })
    }

    /// What refuses it, or else what allows it at last.
    fn deciding(&self) -> Option<usize> {
        let refuses = |check: &Check| matches!(check.answer, Answer::Refused(_));
        let refusal = self.checks.iter().position(refuses);
        refusal.or_else(|| self.checks.iter().rposition(|check| check.answer == Answer::Allowed))
    }
}

/// What stands in a box.
struct Lines {
    asked: String,
    answer: String,
    rule: Option<&'static str>,
    found: String,
}

impl Lines {
    fn of(check: &Check) -> Self {
        let answer = match check.answer {
            Answer::Told => "",
            Answer::Passed => "passed",
            Answer::Allowed => "allowed",
            Answer::Refused(errno) => {
                return Self { answer: format!("refused: {errno}"), ..Self::told(check) };
            }
        };
        Self { answer: answer.to_owned(), ..Self::told(check) }
    }

    fn told(check: &Check) -> Self {
        let rule = check.rule.map(|rule| rule.id);
        Self {
            asked: cut(&check.asked, LONG),
            answer: String::new(),
            rule,
            found: cut(&check.found, LONG),
        }
    }

    fn first(&self) -> String {
        format!("{} {}", self.asked, self.answer)
    }

    fn width(&self) -> f64 {
        let rule = self.rule.map_or(0.0, |rule| wide(rule) + 15.0);
        (wide(&self.first()) + wide("  decides  ") + rule).max(wide(&self.found))
    }
}
