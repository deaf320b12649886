//! One target in a run: a state that is taken further whenever there is news of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::Asked;
use crate::model::Prediction;
use crate::model::profile::Profile;
use crate::probe::Environment;
use crate::report::{Reporter, Start, Summary};
use crate::target::remote::Remote;
use crate::target::{Opened, Opener, Unopened, Witness};
use crate::verdict::{Attempts, Verdict};

/// What is said of a witness that answers twice, or answers what nobody asked.
pub(super) const UNASKED: &str = "it answered what it was not asked";

/// How much of what went wrong is told.
const MOST_TROUBLES: usize = 8;

/// How often in a row chance may decide the answer to a case. Beside processes that do nothing but mount and unmount it
/// takes one mark of MNT_EXPIRE in 700.
const MOST_CHANCES: u32 = 3;

/// A case whose answer is awaited.
pub(super) struct Started {
    pub at: Instant,
    /// What the model says, asked while the witness is busy.
    pub prediction: Option<Prediction>,
}

/// How far a target is.
pub(super) enum State {
    /// Nobody has asked for it yet.
    Closed(Opener),
    /// A guest that is being booted.
    Opening(Remote),
    /// It is asked.
    Open,
    /// It cannot be asked, for this reason.
    Unavailable(Unopened),
    /// Everything was asked.
    Over,
}

pub(super) struct Session {
    pub target: String,
    /// The name of the same without a runtime.
    pub kernel: String,
    pub state: State,
    pub guest: bool,
    /// Its place among the guests that run.
    pub place: usize,
    pub witness: Option<Box<dyn Witness>>,
    pub witness_name: &'static str,
    pub environment: Option<Environment>,
    /// The kernel as the model knows it, where it speaks beside the witness.
    pub profile: Option<Profile>,
    /// The cases that are still to be asked.
    pub waiting: BTreeSet<usize>,
    pub started: BTreeMap<usize, Started>,
    /// What failed and is asked again.
    pub attempts: BTreeMap<usize, Attempts>,
    /// How often chance decided an answer, which was not judged.
    pub by_chance: BTreeMap<usize, u32>,
    /// What was judged and not told yet.
    pub finished: BTreeMap<usize, (Verdict, Duration)>,
    pub summary: Summary,
    /// What went wrong with the witness that is in no answer.
    pub troubles: Vec<String>,
    /// Whether the reporters know of it.
    pub announced: bool,
    /// How many cases are told as a whole, because the target cannot be asked.
    unasked: usize,
}

impl Session {
    pub fn new(asked: Asked, waiting: BTreeSet<usize>) -> Self {
        Self {
            target: asked.target,
            kernel: asked.kernel,
            guest: asked.opener.is_guest(),
            place: 0,
            state: State::Closed(asked.opener),
            witness: None,
            witness_name: "kernel",
            environment: None,
            profile: None,
            waiting,
            started: BTreeMap::new(),
            attempts: BTreeMap::new(),
            by_chance: BTreeMap::new(),
            finished: BTreeMap::new(),
            summary: Summary::default(),
            troubles: Vec::new(),
            announced: false,
            unasked: 0,
        }
    }

    /// Whether it is a guest that is there now.
    pub fn is_guest(&self) -> bool {
        self.guest && matches!(self.state, State::Opening(_) | State::Open)
    }

    /// Moves a guest to another place; one that is being booted stays where it is.
    pub fn move_to(&mut self, place: usize) {
        self.place = place;
        if let Some(witness) = &mut self.witness {
            witness.move_to(place);
        }
    }

    /// Opens the target, or begins to; a guest at this place.
    pub fn open(&mut self, place: usize) -> Option<Result<Opened, Unopened>> {
        let State::Closed(opener) = std::mem::replace(&mut self.state, State::Over) else {
            return None;
        };
        match opener {
            Opener::At(opened) => Some(Ok(*opened)),
            Opener::Never(why) => Some(Err(why)),
            Opener::Guest(boot) => match Remote::start(self.target.clone(), place, boot) {
                Ok(remote) => {
                    self.place = place;
                    self.state = State::Opening(remote);
                    None
                }
                Err(error) => Some(Err(Unopened::Broken(format!("no process for it: {error}")))),
            },
        }
    }

    /// What became of a guest that was being booted.
    pub fn opened(&mut self) -> Option<Result<Opened, Unopened>> {
        let State::Opening(remote) = &mut self.state else { return None };
        let environment = remote.opened()?;
        let State::Opening(remote) = std::mem::replace(&mut self.state, State::Over) else {
            return None;
        };
        Some(environment.map(|environment| Opened { witness: Box::new(remote), environment }))
    }

    pub fn start(&mut self, opened: Opened, model: bool) {
        // In a guest it is a process that hands on what the kernel says, or a program there.
        self.witness_name = match &opened.environment {
            Environment { runtime: Some(_), .. } => "runtime",
            Environment { overlay: Some(_), .. } => "overlay program",
            _ => opened.witness.name(),
        };
        // What a runtime does is not modelled.
        let model = model && opened.environment.runtime.is_none();
        self.profile = model.then(|| opened.environment.profile());
        self.environment = Some(opened.environment);
        self.witness = Some(opened.witness);
        self.state = State::Open;
    }

    /// The target cannot be asked; so many cases are told as a whole.
    pub fn fail(&mut self, why: Unopened, unasked: usize) {
        self.unasked = unasked;
        self.summary.count_unasked(unasked, &why);
        self.state = State::Unavailable(why);
    }

    /// Whether it takes one more plan.
    pub fn has_room(&self) -> bool {
        let capacity = self.witness.as_ref().map_or(0, |witness| witness.capacity());
        self.started.len() < capacity
    }

    /// The witness cannot be asked anything any more: nobody answers what was left.
    ///
    /// # Errors
    /// Where what it answered until then cannot be written down.
    pub fn break_off(&mut self, error: &io::Error, refuse_flaky: bool) -> io::Result<()> {
        let closed = self.close();
        let left = std::mem::take(&mut self.started).into_keys();
        for case in left.chain(std::mem::take(&mut self.waiting)) {
            let why = format!("{} cannot be asked any more: {error}", self.target);
            self.settle(case, Verdict::broken(why), Duration::ZERO, refuse_flaky);
        }
        closed
    }

    /// The witness is not believed any more, and what it was not asked yet nobody is.
    ///
    /// # Errors
    /// Where what it answered until then cannot be written down.
    pub fn distrust(&mut self, why: &str, refuse_flaky: bool) -> io::Result<()> {
        self.troubles.push(why.to_owned());
        self.break_off(&io::Error::other(why), refuse_flaky)
    }

    /// Ends what is asked: a guest is halted and makes room for another.
    ///
    /// # Errors
    /// Where what it answered cannot be written down.
    pub fn close(&mut self) -> io::Result<()> {
        let mut finished = Ok(());
        if let Some(mut witness) = self.witness.take() {
            // Whoever says something more says what it was not asked. That one has died who had nothing more
            // to say is seen by the witness itself.
            if self.started.is_empty() && matches!(witness.next(Duration::ZERO), Ok(Some(_))) {
                self.troubles.push(UNASKED.to_owned());
            }
            self.troubles.extend(std::iter::from_fn(|| witness.trouble()).take(MOST_TROUBLES));
            finished = witness.finish();
        }
        if matches!(self.state, State::Open) {
            self.state = State::Over;
        }
        finished
    }

    /// What becomes readable when there is news.
    pub fn sources(&self) -> Vec<BorrowedFd<'_>> {
        match (&self.state, &self.witness) {
            (State::Opening(remote), _) => remote.sources(),
            (_, Some(witness)) if !self.started.is_empty() => witness.sources(),
            _ => Vec::new(),
        }
    }

    /// What came of a case is known, but for what is asked again.
    pub fn settle(&mut self, case: usize, verdict: Verdict, took: Duration, refuse_flaky: bool) {
        let (verdict, took) = match self.attempts.remove(&case) {
            None => (verdict, took),
            Some(mut attempts) => {
                attempts.add(&verdict, took);
                attempts.come_to(Some(verdict), refuse_flaky)
            }
        };
        self.finished.insert(case, (verdict, took));
    }

    /// A case is asked again.
    pub fn ask_again(&mut self, case: usize, verdict: Verdict, took: Duration) {
        match self.attempts.get_mut(&case) {
            Some(attempts) => attempts.add(&verdict, took),
            None => drop(self.attempts.insert(case, Attempts::of(verdict, took))),
        }
        self.waiting.insert(case);
    }

    /// A case is asked once more because chance decided the answer, unless it did so too often to be chance.
    pub fn ask_past_chance(&mut self, case: usize) -> bool {
        let times = self.by_chance.entry(case).or_default();
        *times += 1;
        *times <= MOST_CHANCES && self.waiting.insert(case)
    }

    /// What waits to be asked again is not: it is what it was.
    pub fn give_up(&mut self) {
        let waiting: Vec<_> = self.attempts.keys().copied().collect();
        for case in waiting.into_iter().filter(|case| self.waiting.remove(case)) {
            if let Some(attempts) = self.attempts.remove(&case) {
                self.finished.insert(case, attempts.come_to(None, false));
            }
        }
    }

    /// No answer is awaited any more.
    ///
    /// # Errors
    /// Where what was answered cannot be written down.
    pub fn abandon(&mut self) -> io::Result<()> {
        let closed = self.close();
        self.waiting.extend(std::mem::take(&mut self.started).into_keys());
        self.give_up();
        closed
    }

    /// Whether a case of a lower number is still to come.
    pub fn is_before(&self, number: usize) -> bool {
        let first = |left: Option<&usize>| left.is_some_and(|left| *left < number);
        first(self.waiting.first()) || first(self.started.keys().next())
    }

    /// Tells the reporters of the target, once it is known what it is.
    pub fn announce(&mut self, reporters: &mut [&mut dyn Reporter]) -> io::Result<bool> {
        if let State::Unavailable(why) = &self.state {
            let (target, cases) = (&self.target, self.unasked + self.finished.len());
            if cases > 0 {
                reporters
                    .iter_mut()
                    .try_for_each(|reporter| reporter.unavailable(target, cases, why))?;
            }
            return Ok(cases > 0);
        }
        let cases = self.waiting.len() + self.started.len() + self.finished.len();
        let Some(environment) = &self.environment else { return Ok(false) };
        let witnesses = [self.witness_name, "model"];
        let witnesses = if self.profile.is_some() { &witnesses[..] } else { &witnesses[..1] };
        let start = Start { environment, target: &self.target, witnesses, cases };
        reporters.iter_mut().try_for_each(|reporter| reporter.start(start))?;
        Ok(true)
    }
}
