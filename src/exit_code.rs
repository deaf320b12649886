//! The one place that says what a run of nsharness means to the shell that started it.

use std::process::ExitCode as ProcessExitCode;

/// Every exit status of every command.
///
/// The numbers are part of the interface: CI systems and `git bisect run` act on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that was asked was answered as expected.
    AsExpected = 0,
    /// At least one `fail`, `xpass`, `timeout` or snapshot that does not match; of `inspect`: a problem in layers.
    Failure = 1,
    /// The command line could not be understood.
    Usage = 2,
    /// A file is invalid, of a scenario or of settings; nothing was run.
    InvalidFile = 3,
    /// The selection was valid, but not one scenario was executed: all were skipped or none matched.
    /// Of several targets that were named, each must have executed one. A shard that has nothing of what was
    /// selected is none of this: others have it.
    NothingExecuted = 4,
    /// The environment or the harness broke, so the answer is not known.
    Broken = 5,
    /// A bug in nsharness itself.
    Bug = 70,
    /// SIGINT or SIGTERM; the report up to that point is whole.
    Interrupted = 130,
}

impl ExitCode {
    /// Every status with its meaning, in numeric order, for `--help` and the README.
    pub const TABLE: &[(ExitCode, &str)] = &[
        (Self::AsExpected, "everything as expected"),
        (
            Self::Failure,
            "a failure: fail, xpass, timeout or a snapshot that does not match; a problem in layers",
        ),
        (Self::Usage, "the command line is wrong"),
        (Self::InvalidFile, "a file is invalid, of a scenario or of settings; nothing was run"),
        (Self::NothingExecuted, "nothing was executed, or nothing on a target that was named"),
        (Self::Broken, "the environment or the harness broke"),
        (Self::Bug, "a bug in nsharness"),
        (Self::Interrupted, "interrupted; the report up to there is whole"),
    ];

    /// What several parts of a run come to together: the first of these that any of them is.
    pub fn gravest(codes: impl IntoIterator<Item = Self>) -> Self {
        const BY_GRAVITY: [ExitCode; 5] = [
            ExitCode::Interrupted,
            ExitCode::Failure,
            ExitCode::Broken,
            ExitCode::NothingExecuted,
            ExitCode::AsExpected,
        ];
        let codes: Vec<Self> = codes.into_iter().collect();
        let gravest = BY_GRAVITY.into_iter().find(|code| codes.contains(code));
        gravest.unwrap_or(Self::NothingExecuted)
    }

    /// The text that `nsharness --help` ends with.
    pub fn help() -> String {
        let mut text = String::from("Exit status:\n");
        for (code, meaning) in Self::TABLE {
            text.push_str(&format!("  {:>3}  {meaning}\n", *code as u8));
        }
        text
    }
}

impl From<ExitCode> for ProcessExitCode {
    fn from(code: ExitCode) -> Self {
        ProcessExitCode::from(code as u8)
    }
}
