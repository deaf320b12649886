//! Asks what was selected and reports it: what `run` and `simulate` share.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use super::Trouble;
use super::select::Selected;
use super::settings::Applied;
use crate::exit_code::ExitCode;
use crate::report::console::{Console, Verbosity};
use crate::report::github::{Github, StepSummary};
use crate::report::html::Html;
use crate::report::json::Json;
use crate::report::junit::Junit;
use crate::report::ktap::Ktap;
use crate::report::markdown::Markdown;
use crate::report::{Reporter, Totals};
use crate::run::{Asked, Options, exit_code, run};
use crate::scenario::Case;
use crate::whole::{Stream, Whole};

/// The arguments that have what failed asked again.
#[derive(Debug, clap::Args)]
pub struct Again {
    /// Asks what failed, broke or took too long again, at most so often, each time in a fresh sandbox or
    /// guest: what passes then is flaky
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    retries: Option<u32>,
    /// What a flaky scenario is: a status of its own, counted as passed, if left out; or what it was at first
    #[arg(long, value_name = "WHAT", value_enum)]
    flaky: Option<Flaky>,
}

/// What a flaky scenario is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Flaky {
    /// It is counted as passed
    Pass,
    /// It fails, breaks or takes too long, as at first
    Fail,
}

impl Again {
    /// What does not go together. A setting may say it for when --retries is given.
    pub fn check(&self, applied: &Applied) -> Result<(), Trouble> {
        if self.flaky.is_some() && self.retries.is_none() && !applied.has("flaky") {
            return Err(Trouble::Usage(
                "--flaky is about what is asked again: it needs --retries".into(),
            ));
        }
        Ok(())
    }

    /// Asks nothing again.
    pub fn leave_out(&mut self) {
        self.retries = None;
    }

    /// How often what failed is asked again, at most.
    pub fn retries(&self) -> u32 {
        self.retries.unwrap_or_default()
    }

    /// Whether what passes then is what it was at first.
    pub fn refuses_flaky(&self) -> bool {
        self.flaky == Some(Flaky::Fail)
    }
}

/// Whether GitHub is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum WhetherGithub {
    /// Where GITHUB_ACTIONS is `true`
    Auto,
    Always,
    Never,
}

/// The arguments that say what is reported, and where.
#[derive(Debug, clap::Args)]
pub struct Reports {
    /// Writes JSON lines to this file; docs/json.md describes them
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes JUnit's XML to this file, for CI systems; docs/reports.md says what stands where
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Writes KTAP, version 1, to this file, as the kernel's own tests do
    #[arg(long, value_name = "FILE")]
    ktap: Option<PathBuf>,
    /// Writes a summary in Markdown to this file, to be read below a change that is proposed
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Writes one page to this file that shows all of it, with filters and pictures, and loads nothing
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Whether GitHub is told: annotations of what failed on standard output, and the summary in Markdown
    /// in the file that GITHUB_STEP_SUMMARY names
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = WhetherGithub::Auto)]
    github: WhetherGithub,
    /// Says nothing of what passed, and one line a target of what was skipped
    #[arg(long, short)]
    quiet: bool,
}

impl Reports {
    /// Asks the cases and reports what came of them, to others too.
    pub fn of(
        &self,
        selected: &Selected,
        asked: Vec<Asked>,
        options: Options,
        others: Vec<Box<dyn Reporter>>,
    ) -> Result<ExitCode, Trouble> {
        let mut reporters = self.reporters(&selected.cases)?;
        for other in others {
            reporters.push(other);
        }
        let mut reporters: Vec<_> =
            reporters.iter_mut().map(|reporter| &mut **reporter as _).collect();
        let written = Trouble::environment("the report cannot be written to its end");
        let mut totals = run(&selected.cases, asked, options, &mut reporters).map_err(written)?;
        let strays = selected.strays().map_err(Trouble::environment("snapshots cannot be read"))?;
        totals
            .all
            .stray_snapshots
            .extend(strays.into_iter().map(|stray| stray.file.display().to_string()));
        self.end(&mut reporters, &totals)?;
        Ok(exit_code(&totals))
    }

    /// Tells everybody what it comes to.
    pub fn end(&self, reporters: &mut [&mut dyn Reporter], totals: &Totals) -> Result<(), Trouble> {
        // The console says the summary when the other reports are whole, and GitHub is told last of all.
        let ended = reporters.iter_mut().rev().try_for_each(|reporter| reporter.end(totals));
        ended.map_err(Trouble::environment("the report cannot be written to its end"))
    }

    /// Whether a report is written to this file.
    pub fn writes(&self, file: &Path) -> bool {
        let named = [&self.json, &self.junit, &self.ktap, &self.markdown, &self.html];
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        named.into_iter().flatten().any(|named| real(named) == real(file))
    }

    /// The reporters, GitHub and the console first; of these cases there are pictures.
    pub fn reporters<'c>(&self, cases: &'c [Case]) -> Result<Vec<Box<dyn Reporter + 'c>>, Trouble> {
        let mut reporters: Vec<Box<dyn Reporter + 'c>> = Vec::new();
        for reporter in self.github()? {
            reporters.push(reporter);
        }
        reporters.push(Box::new(Console::new(Verbosity { quiet: self.quiet })));
        if let Some(path) = &self.json {
            reporters.push(Box::new(Json::new(stream(path)?)));
        }
        if let Some(path) = &self.junit {
            reporters.push(Box::new(Junit::new(whole(path)?)));
        }
        if let Some(path) = &self.ktap {
            reporters.push(Box::new(Ktap::new(whole(path)?)));
        }
        if let Some(path) = &self.markdown {
            reporters.push(Box::new(Markdown::new(whole(path)?)));
        }
        if let Some(path) = &self.html {
            reporters.push(Box::new(Html::new(whole(path)?, cases)));
        }
        Ok(reporters)
    }

    /// Who tells GitHub, where it is to be told.
    fn github(&self) -> Result<Vec<Box<dyn Reporter>>, Trouble> {
        let here = env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
        match self.github {
            WhetherGithub::Never => return Ok(Vec::new()),
            WhetherGithub::Auto if !here => return Ok(Vec::new()),
            WhetherGithub::Auto | WhetherGithub::Always => {}
        }
        let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut reporters: Vec<Box<dyn Reporter>> = Vec::new();
        if let Some(file) = path("GITHUB_STEP_SUMMARY") {
            reporters.push(Box::new(Markdown::new(StepSummary(file))));
        }
        let mut token = [0; 16];
        rustix::rand::getrandom(&mut token, rustix::rand::GetRandomFlags::empty()).map_err(
            |errno| Trouble::Environment("no random number can be had".into(), errno.into()),
        )?;
        reporters.push(Box::new(Github::new(io::stdout(), path("GITHUB_WORKSPACE"), token)));
        Ok(reporters)
    }
}

/// The file of a report that is written as the run goes on, and says in its last line that it is whole.
pub fn stream(path: &Path) -> Result<Stream, Trouble> {
    Stream::create(path).map_err(Trouble::environment(path.display().to_string()))
}

/// The file of a report that is written in the end.
pub fn whole(path: &Path) -> Result<Whole, Trouble> {
    Whole::create(path).map_err(Trouble::environment(path.display().to_string()))
}
