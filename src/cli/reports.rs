//! Asks what was selected and reports it: what `run` and `simulate` share.

use std::env;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::Trouble;
use super::select::Selected;
use crate::exit_code::ExitCode;
use crate::report::Reporter;
use crate::report::console::{Console, Verbosity};
use crate::report::github::{Github, StepSummary};
use crate::report::json::Json;
use crate::report::junit::Junit;
use crate::report::ktap::Ktap;
use crate::report::markdown::Markdown;
use crate::run::{Asked, Options, exit_code, run};

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
    /// Ends the run with the first failure
    #[arg(long)]
    pub fail_fast: bool,
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
    /// Whether GitHub is told: annotations of what failed on standard output, and the summary in Markdown
    /// in the file that GITHUB_STEP_SUMMARY names
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = WhetherGithub::Auto)]
    github: WhetherGithub,
    /// Says nothing of what passed, and one line a target of what was skipped
    #[arg(long, short)]
    quiet: bool,
}

impl Reports {
    /// Asks the cases and reports what came of them.
    pub fn of(
        &self,
        selected: &Selected,
        asked: Vec<Asked>,
        options: Options,
    ) -> Result<ExitCode, Trouble> {
        let mut reporters = self.github()?;
        reporters.push(Box::new(Console::new(Verbosity { quiet: self.quiet })));
        if let Some(path) = &self.json {
            reporters.push(Box::new(Json::new(create(path)?)));
        }
        if let Some(path) = &self.junit {
            reporters.push(Box::new(Junit::new(BufWriter::new(create(path)?))));
        }
        if let Some(path) = &self.ktap {
            reporters.push(Box::new(Ktap::new(create(path)?)));
        }
        if let Some(path) = &self.markdown {
            reporters.push(Box::new(Markdown::new(create(path)?)));
        }
        let mut reporters: Vec<&mut dyn Reporter> =
            reporters.iter_mut().map(|reporter| &mut **reporter as &mut dyn Reporter).collect();
        let written = || Trouble::environment("the report cannot be written to its end");
        let mut totals = run(&selected.cases, asked, options, &mut reporters).map_err(written())?;
        let strays = selected.strays().map_err(Trouble::environment("snapshots cannot be read"))?;
        totals
            .all
            .stray_snapshots
            .extend(strays.into_iter().map(|stray| stray.file.display().to_string()));
        // The console says the summary when the other reports are whole, and GitHub is told last of all.
        for reporter in reporters.iter_mut().rev() {
            reporter.end(&totals).map_err(written())?;
        }
        Ok(exit_code(&totals))
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

/// A report's file.
pub fn create(path: &Path) -> Result<File, Trouble> {
    File::create(path).map_err(Trouble::environment(path.display().to_string()))
}
