//! `nsharness diff`

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::matrix::width;
use super::{Trouble, print};
use crate::comparison::{Column, Reader};
use crate::exit_code::ExitCode;
use crate::report::matrix::{Matrix, Shown};

const EXAMPLES: &str = "\
Examples:
  nsharness run --json before.json
  nsharness run --json after.json                       after an upgrade of the kernel, say
  nsharness diff before.json after.json
  nsharness diff before.json after.json --markdown

Exit status: 0 nothing differs, 1 something does, 4 the two have no target in common.
";

/// Both are what `run --json` or `matrix --json` wrote. Targets of the same name are held against each
/// other; where each file has only one, those two. The exit status is 0 where nothing differs, 1 where
/// anything does, and 4 where the two have no target in common.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The report of before
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// The report of after
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// Prints tables of Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Prints JSON lines, one a difference
    #[arg(long)]
    json: bool,
}

fn read(path: &Path) -> Result<Reader, Trouble> {
    let what = || Trouble::environment(format!("{} is no report", path.display()));
    let file = File::open(path).map_err(what())?;
    Reader::read(&mut BufReader::new(file)).map_err(what())
}

/// The targets that are held against each other, and those that only one of the two has.
fn pairs<'c>(
    before: &'c [Column],
    after: &'c [Column],
) -> (Vec<(&'c Column, &'c Column)>, Vec<String>) {
    if let ([one], [other]) = (before, after) {
        return (vec![(one, other)], Vec::new());
    }
    let mut pairs = Vec::new();
    let mut alone = Vec::new();
    for column in before {
        match after.iter().find(|other| other.target == column.target) {
            Some(other) => pairs.push((column, other)),
            None => alone.push(format!("{} was asked before and not after", column.target)),
        }
    }
    for column in after {
        if !before.iter().any(|other| other.target == column.target) {
            alone.push(format!("{} was asked after and not before", column.target));
        }
    }
    (pairs, alone)
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    let (pairs, alone) = pairs(&before.columns, &after.columns);
    let mut differs = !alone.is_empty();
    for (one, other) in &pairs {
        let heading = match (&one.target, &other.target) {
            (one, other) if one == other => one.clone(),
            (one, other) => format!("{one} and {other}"),
        };
        // By another name each, so that a row of JSON has both.
        let side = |column: &Column, side: &str| Column {
            target: format!("{side}: {}", column.target),
            ..column.clone()
        };
        let (one, other) = (side(one, "before"), side(other, "after"));
        let names = vec![one.target.clone(), other.target.clone()];
        let matrix = Matrix::of(vec![&one, &other], names, Shown::Changed);
        differs |= !matrix.rows().is_empty() || one.unavailable != other.unavailable;
        if arguments.json {
            for event in matrix.json() {
                print(&format!("{event}\n"))?;
            }
        } else if arguments.markdown {
            print(&format!("## {heading}\n\n{}\n", matrix.markdown()))?;
        } else {
            let between = if matrix.rows().is_empty() { " " } else { "\n" };
            print(&format!("{heading}:{between}{}", matrix.text(width())))?;
        }
    }
    if !arguments.json {
        alone.iter().try_for_each(|line| print(&format!("{line}\n")))?;
    }
    Ok(match (pairs.is_empty(), differs) {
        (true, _) => ExitCode::NothingExecuted,
        (false, true) => ExitCode::Failure,
        (false, false) => ExitCode::AsExpected,
    })
}
