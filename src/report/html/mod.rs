//! A report as one page: what failed first, then the matrix of scenarios by targets, then everything else.
//!
//! It is one file that loads nothing, is whole without scripts, and holds nothing of a scenario or a kernel but as text.

mod case;
pub mod explain;
mod page;
mod sections;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::console::{simulated_kernel, user};
use super::markup::Markup;
use super::picture::Album;
use super::{Judged, Part, Reporter, Start, Totals, count, json};
use crate::comparison::{Reader, Row, rows};
use crate::missing::Missing;
use crate::model::profile::Profile;
use crate::model::rules::Rule;
use crate::scenario::Case;
use crate::scenario::container::Level;
use crate::target::Unopened;
use crate::verdict::{Status, StepVerdict};

/// Most bytes of pictures; who looks further down than that asks `explain`.
const MOST_PICTURES: usize = 3 << 20;

/// Writes the page when the run has ended.
pub struct Html<'c, W: Write> {
    out: W,
    /// The cases, for their pictures; a report that is told again has none.
    cases: BTreeMap<&'c str, &'c Case>,
    collected: Collected,
}

/// What is told of a run.
#[derive(Default)]
struct Collected {
    part: Option<Part>,
    targets: Vec<Target>,
    cases: Vec<Told>,
    /// Where each case is among them, by its id.
    places: BTreeMap<String, usize>,
    /// What is missing, by what and its remedy: why at first, and the cases by their numbers with their targets.
    missing: BTreeMap<(String, String), Lack>,
    quirks: BTreeMap<&'static str, Quirk>,
    /// What all of it comes to, for what differs.
    reader: Reader,
    /// What `explain` is told of the kernel that is simulated now.
    kernel: String,
    /// How many bytes of pictures there are.
    pictures: usize,
}

/// A target, as it is told.
struct Target {
    name: String,
    /// What it is, and who asks.
    what: Vec<String>,
    profile: Option<Profile>,
    /// Why it could not be asked, and how many cases.
    never: Vec<(usize, String)>,
    /// Whether it broke.
    broke: bool,
}

/// What is told of a case.
struct Told {
    id: String,
    title: String,
    path: String,
    level: Option<Level>,
    tags: Vec<String>,
    /// What was answered, where several targets answered the same each once.
    answers: Vec<Answered>,
    /// The model's pictures of it.
    pictures: Markup,
    /// Where the targets differ.
    differs: Option<Row>,
}

/// What some targets answered.
struct Answered {
    status: Status,
    body: Markup,
    targets: Vec<usize>,
}

/// What is missing.
#[derive(Default)]
struct Lack {
    why: String,
    /// The cases, each with how many targets lack it.
    cases: BTreeMap<usize, usize>,
    /// Cases that stand nowhere: those of a target that nobody could ask.
    unnamed: usize,
}

/// A deviation that decided.
struct Quirk {
    rule: &'static Rule,
    cases: BTreeSet<usize>,
}

impl<'c, W: Write> Html<'c, W> {
    /// A reporter that writes here at the end, with pictures of these cases.
    pub fn new(out: W, cases: &'c [Case]) -> Self {
        let cases = cases.iter().map(|case| (case.id.as_str(), case)).collect();
        Self { out, cases, collected: Collected::default() }
    }

    /// Draws a case as the model has it on a target, with the ways of the steps that are not as expected.
    fn draw(&mut self, number: usize, target: usize, unexpected: &[usize]) {
        let Collected { cases, targets, pictures, .. } = &mut self.collected;
        let (Some(told), Some(target)) = (cases.get_mut(number), targets.get(target)) else {
            return;
        };
        let (Some(case), Some(profile)) = (self.cases.get(told.id.as_str()), &target.profile)
        else {
            return;
        };
        if !told.pictures.is_empty() {
            return;
        }
        told.pictures = if *pictures < MOST_PICTURES {
            case::pictures(&mut Album::new(&case.plan, profile), case, profile, unexpected)
        } else {
            Markup::of(|m| {
                m.element("p", &[("class", "next")], |m| {
                    m.text("pictures: ");
                    m.put("code", &[], format_args!("nsharness explain {} --html FILE", told.id));
                });
            })
        };
        *pictures += told.pictures.len();
    }
}

impl Collected {
    /// The number of a target.
    fn target(&mut self, name: &str) -> usize {
        let known = self.targets.iter().position(|target| target.name == name);
        known.unwrap_or_else(|| {
            self.targets.push(Target {
                name: name.to_owned(),
                what: Vec::new(),
                profile: None,
                never: Vec::new(),
                broke: false,
            });
            self.targets.len() - 1
        })
    }

    fn lack(&mut self, missing: &Missing) -> &mut Lack {
        let key = (missing.what.clone(), missing.remedy.clone());
        let lack = self.missing.entry(key).or_default();
        if lack.why.is_empty() {
            lack.why.clone_from(&missing.why);
        }
        lack
    }

    fn read(&mut self, event: serde_json::Value) -> io::Result<()> {
        self.reader.event(event).map_err(io::Error::other)
    }
}

impl<W: Write> Reporter for Html<'_, W> {
    fn begin(&mut self, part: &Part) -> io::Result<()> {
        self.collected.part = Some(part.clone());
        Ok(())
    }

    fn start(&mut self, start: Start<'_>) -> io::Result<()> {
        let Start { environment, target, witnesses, cases } = start;
        let told = &mut self.collected;
        told.kernel = simulated_kernel(environment);
        let number = told.target(target);
        let mut what = Vec::new();
        if environment.simulated {
            what.push(format!("a model of Linux {}", environment.release));
        } else {
            what.push(format!("Linux {} {}", environment.release, environment.machine));
            let programs = [&environment.runtime, &environment.overlay].into_iter().flatten();
            what.extend(programs.map(|program| format!("through {program}")));
            what.push(format!("as {}", user(environment, target)));
            what.extend(environment.notes());
        }
        what.push(format!("{} to {}", count(cases), witnesses.join(" and ")));
        told.targets[number].what = what;
        told.targets[number].profile = Some(environment.profile());
        told.read(json::environment(start))
    }

    fn unavailable(&mut self, target: &str, cases: usize, why: &Unopened) -> io::Result<()> {
        let told = &mut self.collected;
        let number = told.target(target);
        told.targets[number].never.push((cases, why.to_string()));
        told.targets[number].broke |= matches!(why, Unopened::Broken(_));
        if let Unopened::Missing(missing) = why {
            told.lack(missing).unnamed += cases;
        }
        told.read(json::unavailable(target, cases, why))
    }

    fn judged(&mut self, judged: Judged<'_>) -> io::Result<()> {
        let Judged { case, target, verdict, .. } = judged;
        let told = &mut self.collected;
        let target = told.target(target);
        let number = *told.places.entry(case.id.clone()).or_insert_with(|| {
            told.cases.push(Told {
                id: case.id.clone(),
                title: case.title.clone(),
                path: case.path.display().to_string(),
                level: case.level,
                tags: case.tags.clone(),
                answers: Vec::new(),
                pictures: Markup::new(),
                differs: None,
            });
            told.cases.len() - 1
        });
        for missing in &verdict.missing {
            *told.lack(missing).cases.entry(number).or_default() += 1;
        }
        for rule in &verdict.quirks {
            let quirk = told.quirks.entry(rule.id);
            quirk.or_insert_with(|| Quirk { rule, cases: BTreeSet::new() }).cases.insert(number);
        }
        let body = case::body(&judged, &told.kernel);
        let answers = &mut told.cases[number].answers;
        match answers.iter_mut().find(|a| a.status == verdict.status && a.body == body) {
            Some(answer) => answer.targets.push(target),
            None => {
                answers.push(Answered { status: verdict.status, body, targets: vec![target] });
            }
        }
        told.read(json::scenario(judged))?;
        let is_looked_at = verdict.status.is_failure() || verdict.status == Status::Xfail;
        if is_looked_at && !verdict.steps.is_empty() {
            let told = |(_, step): &(usize, &StepVerdict)| step.status.is_told();
            let steps = verdict.steps.iter().enumerate().filter(told);
            let unexpected: Vec<_> = steps.map(|(index, _)| index).collect();
            self.draw(number, target, &unexpected);
        }
        Ok(())
    }

    fn end(&mut self, totals: &Totals) -> io::Result<()> {
        let reader = std::mem::take(&mut self.collected.reader);
        let columns: Vec<_> = reader.columns.iter().filter(|c| !c.cases.is_empty()).collect();
        if columns.len() > 1 {
            for row in rows(&columns).into_iter().filter(|row| row.differs()) {
                let Some(number) = self.collected.places.get(&row.id).copied() else { continue };
                if !row.is_only_skipped() {
                    let answered = self.collected.cases[number].answers.iter();
                    let answered = answered.filter(|answer| answer.status != Status::Skip);
                    let first = answered.flat_map(|answer| &answer.targets).min().copied();
                    self.draw(number, first.unwrap_or_default(), &[]);
                }
                self.collected.cases[number].differs = Some(row);
            }
        }
        let names: Vec<_> = columns.iter().map(|column| column.target.clone()).collect();
        let body = sections::report(&self.collected, &names, totals);
        let title = format!("nsharness: {}", totals.headline());
        self.out.write_all(page::page(&title, true, &body).as_bytes())?;
        self.out.flush()
    }
}

/// The class of a status.
fn class(status: Status) -> &'static str {
    match status {
        Status::Pass => "status pass",
        Status::Fail => "status fail",
        Status::Xfail => "status xfail",
        Status::Xpass => "status xpass",
        Status::Skip => "status skip",
        Status::Broken => "status broken",
        Status::Timeout => "status timeout",
        Status::Flaky => "status flaky",
    }
}

/// The family of a case: the directory that it is in.
fn family(id: &str) -> &str {
    id.split_once('/').map_or("", |(family, _)| family)
}
