//! `nsharness matrix`

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use super::on::{NamedPrograms, On, cores, guests_at_once};
use super::reports::{Again, stream, whole};
use super::select::{OfShard, Selected, Selection};
use super::settings::Applied;
use super::{Trouble, print, watch_for_interrupts};
use crate::exit_code::ExitCode;
use crate::kernel::Flavour;
use crate::kernel::cache::Cache;
use crate::overlays;
use crate::probe;
use crate::report::html::Html;
use crate::report::json::Json;
use crate::report::matrix::{Collector, Matrix, Shown};
use crate::report::{Reporter, Totals};
use crate::run::{Options, Share, exit_code, run};
use crate::snapshot::Mode;
use crate::target::open::Means;
use crate::target::{Target, Targets, Which};

const EXAMPLES: &str = "\
Examples:
  nsharness matrix bind/ --on host,uml:5.10,uml:6.12    which kernels differ, and by which rule
  nsharness matrix oci/ --runtime runc,crun --markdown differences.md
  nsharness matrix overlay/ --overlay fuse-overlayfs    beside the kernel

Exit status: 0 everything as expected, although it differs; 1 a failure, 4 a target executed nothing, 5 something broke.
";

/// Every scenario is asked on every target. A row is shown where the targets differ: in the status, or
/// in what a step or an observation gave, although the scenario may allow for that. The exit status is
/// that of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shard: OfShard,
    #[command(flatten)]
    again: Again,
    /// Where it is asked, as for `run`; this machine and every User-Mode Linux in the cache if left out
    #[arg(long, value_name = "TARGET,...")]
    on: Option<Targets>,
    #[command(flatten)]
    programs: NamedPrograms,
    /// Shows the rows that do not differ too
    #[arg(long)]
    all: bool,
    /// Writes the table in Markdown to this file, with what came of each target
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Writes one page to this file that shows all of it, as `run` does
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes JSON lines to this file, as `run` does, with the differences
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many scenarios are asked at once on this machine; one a core if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Allows scenarios that require `root` to run as real root on this machine; they can harm it
    #[arg(long)]
    privileged: bool,
}

impl Arguments {
    fn on(&self) -> Result<On, Trouble> {
        let targets = match &self.on {
            Some(targets) => targets.clone(),
            // Programs are columns enough.
            None if self.programs.count() > 0 => Targets(vec![Target::Host]),
            None => every_kernel(),
        };
        if targets.0 == [Target::Auto] || targets.0.len() + self.programs.count() < 2 {
            return Err(Trouble::Usage(
                "a matrix needs two targets or more: name them with --on, or fill the cache with \
                 `nsharness kernel fetch`"
                    .into(),
            ));
        }
        Ok(On::of(targets))
    }

    /// What the run is told: nothing is judged but what they answer, and each of them answers everything.
    fn options(&self, probes: &BTreeSet<String>, selected: &Selected) -> Options {
        Options {
            snapshots: Mode::Check,
            fail_fast: false,
            keep: None,
            model: true,
            record: None,
            probes: probes.clone(),
            guests: guests_at_once(),
            share: Share::Every,
            part: selected.part.clone(),
            retries: self.again.retries(),
            refuse_flaky: self.again.refuses_flaky(),
            only: None,
        }
    }
}

/// This machine, and every User-Mode Linux in the cache, the oldest first.
fn every_kernel() -> Targets {
    let mut targets = vec![Target::Host];
    if let Ok(cache) = Cache::of_user() {
        let cached = cache.kernels(Flavour::Uml);
        targets
            .extend(cached.map(|cached| Target::Uml(Which::Version(cached.entry.version.clone()))));
    }
    Targets(targets)
}

/// How wide the terminal is; where there is none, as wide as most.
pub fn width() -> usize {
    const DEFAULT: usize = 120;
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let terminal = || match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => Some(size.ws_col.into()),
        _ => None,
    };
    columns.or_else(terminal).unwrap_or(DEFAULT)
}

pub fn execute(arguments: &Arguments, applied: &Applied) -> Result<ExitCode, Trouble> {
    arguments.again.check(applied)?;
    let on = arguments.on()?;
    // The kernel is a column of its own.
    let programs = arguments.programs.find()?.beside_kernel();
    let jobs = arguments.jobs.map_or_else(cores, usize::from);
    let hosts = on.workers(jobs, 1 + programs.count())?;
    watch_for_interrupts()?;
    let mut selected = arguments.selection.cases()?;
    selected.keep(&arguments.shard);
    let mut probes = probe::wanted(&selected.cases);
    probes.extend(probe::wanted_by_rules(&selected.cases));
    if arguments.programs.has_overlays() {
        probes.insert(overlays::PROBE.to_owned());
    }
    let options = arguments.options(&probes, &selected);
    let means = Means { hosts, privileged: arguments.privileged, probes };
    let asked = on.asked_through(&programs, means, &selected.cases)?;
    let mut json = arguments.json.as_deref().map(stream).transpose()?.map(Json::new);
    let mut markdown = arguments.markdown.as_deref().map(whole).transpose()?;
    let html = arguments.html.as_deref().map(whole).transpose()?;
    let mut html = html.map(|file| Html::new(file, &selected.cases));
    let mut collector = Collector::new(io::stderr().is_terminal());
    let mut reporters: Vec<&mut dyn Reporter> = vec![&mut collector];
    if let Some(json) = &mut json {
        reporters.push(json);
    }
    if let Some(html) = &mut html {
        reporters.push(html);
    }
    let written = || Trouble::environment("the report cannot be written to its end");
    let totals = run(&selected.cases, asked, options, &mut reporters).map_err(written())?;
    collector.end(&totals).map_err(written())?;
    let columns: Vec<_> = collector.read.columns.iter().collect();
    let names = columns.iter().map(|column| column.target.clone()).collect();
    let shown = if arguments.all { Shown::All } else { Shown::Differing };
    let matrix = Matrix::of(columns, names, shown);
    if let Some(json) = &mut json {
        let events = matrix.json();
        events.iter().try_for_each(|event| json.line(event)).map_err(written())?;
        json.end(&totals).map_err(written())?;
    }
    if let Some(html) = &mut html {
        html.end(&totals).map_err(written())?;
    }
    if let Some(file) = &mut markdown {
        let page = matrix.page(&totals);
        file.write_all(page.as_bytes()).and_then(|()| file.flush()).map_err(written())?;
    }
    show(&matrix, &totals)?;
    Ok(exit_code(&totals))
}

fn show(matrix: &Matrix, totals: &Totals) -> Result<(), Trouble> {
    print(&matrix.text(width()))?;
    for problem in &totals.problems {
        print(&format!("broken: the report is not whole: {}\n", problem.escape_debug()))?;
    }
    if totals.all.interrupted {
        print(&format!("interrupted: {} answers are missing\n", totals.all.not_run))?;
    }
    Ok(())
}
