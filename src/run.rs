//! The main job: cases in, answers asked, verdicts out, in the order of the cases.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::exit_code::ExitCode;
use crate::model::Prediction;
use crate::model::predict;
use crate::model::profile::Profile;
use crate::probe::Environment;
use crate::report::{Judged, Reporter, Start, Summary};
use crate::scenario::Case;
use crate::snapshot::{Mode, Shelf, render};
use crate::sys;
use crate::target::{Answer, Witness};
use crate::verdict::{Status, Verdict, judge};

/// How long a wait for answers lasts before interrupts are looked at again.
const TICK: Duration = Duration::from_millis(100);

/// How a run is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is done with snapshots.
    pub snapshots: Mode,
    /// Ends the run with the first failure.
    pub fail_fast: bool,
    /// Where the evidence of what failed is kept.
    pub keep: Option<PathBuf>,
    /// The kernel as the model knows it, where it speaks beside the witness.
    pub model: Option<Profile>,
}

/// Asks all cases and tells the reporters, in the order of the cases.
///
/// # Errors
/// Where the witness cannot be asked or a report cannot be written.
pub fn run(
    cases: &[Case],
    environment: &Environment,
    witness: &mut dyn Witness,
    options: &Options,
    reporters: &mut [&mut dyn Reporter],
) -> io::Result<Summary> {
    let target = witness.target();
    let name = witness.name();
    let witnesses = [name, "model"];
    let witnesses = if options.model.is_some() { &witnesses[..] } else { &witnesses[..1] };
    let start = Start { environment, target: &target, witnesses, cases: cases.len() };
    for reporter in reporters.iter_mut() {
        reporter.start(start)?;
    }
    let mut run = Run {
        cases,
        environment,
        options,
        target,
        witness: name,
        started: BTreeMap::new(),
        finished: BTreeMap::new(),
        told: 0,
        summary: Summary::default(),
        stop: false,
    };
    let mut next = 0;
    loop {
        run.stop |= sys::interrupted();
        while !run.stop && next < cases.len() && run.started.len() < witness.capacity() {
            run.begin(next, witness)?;
            next += 1;
        }
        run.tell(reporters)?;
        if run.started.is_empty() && (next == cases.len() || run.stop) {
            break;
        }
        if sys::interrupted() {
            break;
        }
        if !run.started.is_empty()
            && let Some((ticket, answer)) = witness.next(TICK)?
        {
            run.finish(ticket, answer)?;
        }
    }
    run.tell_rest(reporters)?;
    let mut summary = run.summary;
    summary.interrupted = sys::interrupted();
    summary.not_run = cases.len() - summary.executed() - summary.skipped;
    Ok(summary)
}

/// A case whose answer is awaited.
struct Started {
    at: Instant,
    /// What the model says, asked while the witness is busy.
    prediction: Option<Prediction>,
}

struct Run<'a> {
    cases: &'a [Case],
    environment: &'a Environment,
    options: &'a Options,
    target: String,
    witness: &'static str,
    started: BTreeMap<usize, Started>,
    finished: BTreeMap<usize, (Verdict, Duration)>,
    /// How many cases the reporters were told of, from the first.
    told: usize,
    summary: Summary,
    stop: bool,
}

impl Run<'_> {
    fn begin(&mut self, index: usize, witness: &mut dyn Witness) -> io::Result<()> {
        let case = &self.cases[index];
        let missing = self.environment.missing(case);
        if let Some(why) = self.environment.broken(case) {
            self.finished.insert(index, (Verdict::broken(why), Duration::ZERO));
        } else if missing.is_empty() {
            witness.submit(index, &case.plan)?;
            let at = Instant::now();
            let profile = self.options.model.as_ref();
            let prediction = profile.map(|profile| predict(&case.plan, profile));
            self.started.insert(index, Started { at, prediction });
        } else {
            self.finished.insert(index, (Verdict::skip(missing), Duration::ZERO));
        }
        Ok(())
    }

    fn finish(&mut self, index: usize, answer: Answer) -> io::Result<()> {
        let Some(Started { at, prediction }) = self.started.remove(&index) else { return Ok(()) };
        let case = &self.cases[index];
        let verdict = judge(case, self.environment, answer, prediction, |transcript| {
            let content = render(transcript);
            Shelf::beside(&case.base).compare(
                case,
                self.environment,
                &content,
                self.options.snapshots,
            )
        });
        let bad = !matches!(verdict.status, Status::Pass | Status::Xfail | Status::Skip);
        if bad {
            self.stop |= self.options.fail_fast;
            if let Some(directory) = &self.options.keep {
                keep(directory, case, &verdict)?;
            }
        }
        self.finished.insert(index, (verdict, at.elapsed()));
        Ok(())
    }

    /// Tells of what has finished, as far as nothing before it is missing.
    fn tell(&mut self, reporters: &mut [&mut dyn Reporter]) -> io::Result<()> {
        while let Some((verdict, took)) = self.finished.remove(&self.told) {
            self.report(self.told, &verdict, took, reporters)?;
            self.told += 1;
        }
        Ok(())
    }

    /// Tells of what has finished although something before it was given up.
    fn tell_rest(&mut self, reporters: &mut [&mut dyn Reporter]) -> io::Result<()> {
        for (index, (verdict, took)) in std::mem::take(&mut self.finished) {
            self.report(index, &verdict, took, reporters)?;
        }
        Ok(())
    }

    fn report(
        &mut self,
        index: usize,
        verdict: &Verdict,
        took: Duration,
        reporters: &mut [&mut dyn Reporter],
    ) -> io::Result<()> {
        self.summary.count(verdict);
        let judged = Judged {
            case: &self.cases[index],
            target: &self.target,
            witness: self.witness,
            verdict,
            took,
        };
        reporters.iter_mut().try_for_each(|reporter| reporter.judged(judged))
    }
}

/// Writes what is known of a case that failed: the plan, what each voice says of the steps, the
/// transcript, the sandbox's mount table and what the kernel said last.
fn keep(directory: &Path, case: &Case, verdict: &Verdict) -> io::Result<()> {
    let directory = directory.join(&case.id);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("plan.json"), serde_json::to_vec_pretty(&case.plan)?)?;
    fs::write(directory.join("voices.json"), serde_json::to_vec_pretty(&verdict.steps)?)?;
    fs::write(directory.join("reasons.txt"), verdict.reasons.join("\n") + "\n")?;
    if let Some(transcript) = &verdict.transcript {
        fs::write(directory.join("transcript.json"), serde_json::to_vec_pretty(transcript)?)?;
        for (name, text) in &transcript.evidence {
            fs::write(directory.join(format!("{name}.txt")), text)?;
        }
    }
    let log =
        kernel_log().unwrap_or_else(|error| format!("the kernel's log cannot be read: {error}\n"));
    fs::write(directory.join("kernel-log.txt"), log)
}

/// The last lines of the kernel's log, where this user may read them.
fn kernel_log() -> io::Result<String> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    const KEPT: usize = 100;
    let mut file =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
    let mut lines = Vec::new();
    let mut record = vec![0; 8192];
    // One record a read; EAGAIN is the end, EPIPE a record that was overwritten meanwhile.
    loop {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                lines.push(String::from_utf8_lossy(&record[..length]).trim_end().to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    let from = lines.len().saturating_sub(KEPT);
    Ok(lines[from..].join("\n") + "\n")
}

/// What a run means to the shell.
pub fn exit_code(summary: &Summary) -> ExitCode {
    if summary.interrupted {
        ExitCode::Interrupted
    } else if summary.failed > summary.broken {
        ExitCode::Failure
    } else if summary.broken > 0 {
        ExitCode::Broken
    } else if summary.executed() == 0 {
        ExitCode::NothingExecuted
    } else {
        ExitCode::AsExpected
    }
}
