//! A case that was asked more than once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Status, Verdict};

/// What came of asking once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The status.
    pub status: Status,
    /// Why it is not a pass.
    pub reasons: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// What was answered so far to a case that is asked again.
#[derive(Debug)]
pub struct Attempts {
    first: Verdict,
    told: Vec<Attempt>,
    took: Duration,
}

impl Status {
    /// Whether asking again could come to something else: a kernel that gives what it is known not to give, and
    /// what is missing, are no chance.
    pub fn is_asked_again(self) -> bool {
        matches!(self, Self::Fail | Self::Timeout | Self::Broken)
    }

    fn is_passed(self) -> bool {
        matches!(self, Self::Pass | Self::Xfail)
    }
}

impl Attempts {
    /// The first attempt, which failed.
    pub fn of(first: Verdict, took: Duration) -> Self {
        let mut attempts = Self { told: Vec::new(), took: Duration::ZERO, first };
        attempts.told.push(Attempt::of(&attempts.first, took));
        attempts.took += took;
        attempts
    }

    /// One more.
    pub fn add(&mut self, verdict: &Verdict, took: Duration) {
        self.told.push(Attempt::of(verdict, took));
        self.took += took;
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.told.len()
    }

    /// What they come to, and how long all of them took. What passed at last is flaky, or where that is refused
    /// what it was at first; what never passed is what it was at first.
    pub fn come_to(self, last: Option<Verdict>, refuse_flaky: bool) -> (Verdict, Duration) {
        let Self { mut first, told, took } = self;
        let verdict = match last.filter(|last| last.status.is_passed()) {
            Some(last) if !refuse_flaky => {
                Verdict { status: Status::Flaky, reasons: first.reasons, attempts: told, ..last }
            }
            passed => {
                if passed.is_some() {
                    let times = told.len();
                    first.reasons.push(format!("attempt {times} passed: it is flaky"));
                }
                Verdict { attempts: told, ..first }
            }
        };
        (verdict, took)
    }
}

impl Attempt {
    fn of(verdict: &Verdict, took: Duration) -> Self {
        let seconds = (took.as_secs_f64() * 1e6).round() / 1e6;
        Self { status: verdict.status, reasons: verdict.reasons.clone(), seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(why: &str) -> Verdict {
        Verdict { status: Status::Fail, ..Verdict::broken(why.to_owned()) }
    }

    fn passed() -> Verdict {
        Verdict { status: Status::Pass, ..Verdict::skip(Vec::new()) }
    }

    fn of(first: Verdict, others: Vec<Verdict>, refuse_flaky: bool) -> (Verdict, Duration) {
        let second = Duration::from_secs(1);
        let mut attempts = Attempts::of(first, second);
        others.iter().for_each(|verdict| attempts.add(verdict, second));
        attempts.come_to(others.into_iter().last(), refuse_flaky)
    }

    #[test]
    fn what_passes_at_last_is_flaky_with_the_reason_of_the_first_failure() {
        let (verdict, took) = of(failed("a"), vec![failed("b"), passed()], false);
        assert_eq!((verdict.status, took.as_secs()), (Status::Flaky, 3));
        assert_eq!(verdict.reasons, ["a"]);
        let statuses: Vec<_> = verdict.attempts.iter().map(|attempt| attempt.status).collect();
        assert_eq!(statuses, [Status::Fail, Status::Fail, Status::Pass]);
    }

    #[test]
    fn where_flaky_is_refused_it_is_what_it_was_at_first() {
        let (verdict, _) = of(Verdict::broken("a".to_owned()), vec![passed()], true);
        assert_eq!(verdict.status, Status::Broken);
        assert_eq!(verdict.reasons, ["a", "attempt 2 passed: it is flaky"]);
    }

    #[test]
    fn what_cannot_be_asked_again_does_not_hide_a_failure() {
        for last in [Verdict::skip(Vec::new()), failed("b")] {
            let (verdict, _) = of(failed("a"), vec![last], false);
            assert_eq!((verdict.status, &verdict.reasons[..]), (Status::Fail, &["a".into()][..]));
        }
        let (verdict, _) = Attempts::of(failed("a"), Duration::ZERO).come_to(None, false);
        assert_eq!((verdict.status, verdict.attempts.len()), (Status::Fail, 1));
    }
}
