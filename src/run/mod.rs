//! The main job: cases in, answers asked on several targets at once, verdicts out: target after
//! target, in the order of the cases.

mod evidence;
mod places;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::exit_code::ExitCode;
use crate::missing::Missing;
use crate::model::predict;
use crate::overlays;
use crate::processor;
use crate::report::subject::Subject;
use crate::report::{Judged, Part, Reporter, Summary, Totals};
use crate::scenario::Case;
use crate::snapshot::{Mode, Shelf, render};
use crate::sys;
use crate::target::model;
use crate::target::recording::{Recorder, Recording};
use crate::target::{Answer, Opened, Opener, Unopened};
use crate::transcript::Transcript;
use crate::verdict::{Attempts, Recorded, Status, Verdict, chance, judge};

use session::{Session, Started, State, UNASKED};

/// How long a wait for answers lasts before interrupts are looked at again.
const TICK: Duration = Duration::from_millis(100);

/// How a run is done.
#[derive(Debug)]
pub struct Options {
    /// What is done with snapshots.
    pub snapshots: Mode,
    /// Ends the run with the first failure.
    pub fail_fast: bool,
    /// Where the evidence of what failed is kept.
    pub keep: Option<PathBuf>,
    /// Whether the model speaks beside the kernels.
    pub model: bool,
    /// Where the answers of the only target are written down.
    pub record: Option<Record>,
    /// What is asked of every target before anything else.
    pub probes: BTreeSet<String>,
    /// How many guests run at once.
    pub guests: usize,
    /// Which targets are asked a case.
    pub share: Share,
    /// What the cases are a part of.
    pub part: Part,
    /// How often what failed is asked again, at most.
    pub retries: u32,
    /// Whether what passes then is what it was at first.
    pub refuse_flaky: bool,
    /// The cases that each target is asked, where that is not every one: by their numbers.
    pub only: Option<BTreeMap<String, BTreeSet<usize>>>,
}

/// Which targets are asked a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Every target.
    Every,
    /// The first that has what the case needs.
    FirstThatCan,
}

/// Where answers are written down.
#[derive(Debug)]
pub struct Record {
    /// The file.
    pub file: PathBuf,
    /// What is not written down again.
    pub known: Option<Recording>,
}

/// A target that is to be asked.
#[derive(Debug)]
pub struct Asked {
    /// Its name.
    pub target: String,
    /// The name of the same without a runtime.
    pub kernel: String,
    /// How it is got.
    pub opener: Opener,
    /// What it is asked.
    pub takes: Takes,
}

/// Which cases a target is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// Those with a container.
    pub containers: bool,
    /// Those with an overlay that a program may mount, and without a container.
    pub overlays: bool,
    /// All others.
    pub others: bool,
}

impl Takes {
    /// All of them.
    pub const ALL: Self = Self { containers: true, overlays: true, others: true };
    /// Those with a container alone.
    pub const CONTAINERS: Self = Self { containers: true, overlays: false, others: false };
    /// Those with an overlay alone.
    pub const OVERLAYS: Self = Self { containers: false, overlays: true, others: false };

    /// Whether a case is among them.
    pub fn takes(self, case: &Case) -> bool {
        if case.plan.world.container.is_some() {
            self.containers
        } else if case.plan.overlays().any(overlays::is_by_program) {
            self.overlays
        } else {
            self.others
        }
    }
}

/// Asks all cases and tells the reporters, target after target, each in the order of the cases.
///
/// # Errors
/// Where a report cannot be written.
pub fn run(
    cases: &[Case],
    asked: Vec<Asked>,
    options: Options,
    reporters: &mut [&mut dyn Reporter],
) -> io::Result<Totals> {
    reporters.iter_mut().try_for_each(|reporter| reporter.begin(&options.part))?;
    let sessions = asked.into_iter().enumerate().map(|(index, asked)| {
        let all = index == 0 || options.share == Share::Every;
        let cases = match &options.only {
            Some(only) => only.get(&asked.target).cloned().unwrap_or_default(),
            None if all => {
                let taken = |number: &usize| asked.takes.takes(&cases[*number]);
                (0..cases.len()).filter(taken).collect()
            }
            None => BTreeSet::new(),
        };
        Session::new(asked, cases)
    });
    let asks_twice = options.record.is_none();
    let mut run = Run {
        cases,
        sessions: sessions.collect(),
        options,
        processors: processor::usable().len(),
        lacks: BTreeMap::new(),
        judged_records: BTreeMap::new(),
        asks_twice,
        plain: BTreeMap::new(),
        telling: 0,
        stop: false,
    };
    loop {
        run.stop |= sys::interrupted();
        if run.stop {
            run.sessions.iter_mut().for_each(Session::give_up);
        }
        for index in 0..run.sessions.len() {
            run.advance(index)?;
        }
        run.place_guests();
        run.tell(reporters)?;
        if sys::interrupted() || (0..run.sessions.len()).all(|index| run.is_over(index)) {
            break;
        }
        if !run.hear()? {
            run.wait()?;
        }
    }
    run.sessions.iter_mut().try_for_each(Session::abandon)?;
    run.tell_rest(reporters)?;
    Ok(run.totals())
}

struct Run<'a> {
    cases: &'a [Case],
    sessions: Vec<Session>,
    options: Options,
    /// How many processors there are for guests.
    processors: usize,
    /// What a case lacks on the targets that passed it on.
    lacks: BTreeMap<usize, Vec<Missing>>,
    /// The records that were written or differ, and by which session.
    judged_records: BTreeMap<PathBuf, usize>,
    /// Whether a case may be asked twice: a recording has one answer of each.
    asks_twice: bool,
    /// What was told of those that ask a kernel alone, by its target and their ids without cases.
    plain: BTreeMap<(String, String), Vec<Status>>,
    /// The session that the reporters are being told of.
    telling: usize,
    stop: bool,
}

impl Run<'_> {
    /// Takes a session as far as it goes without waiting: opens it, asks what it takes, closes it.
    fn advance(&mut self, index: usize) -> io::Result<()> {
        if !self.stop && self.may_open(index) {
            let place = self.free_place();
            let opened = self.sessions[index].open(place);
            self.opened(index, opened)?;
        }
        while !self.stop && self.sessions[index].has_room() {
            let Some(case) = self.sessions[index].waiting.pop_first() else { break };
            self.begin(index, case)?;
        }
        if self.is_over(index) {
            self.sessions[index].close()?;
        }
        Ok(())
    }

    /// Whether a session is to be opened now: there is something to ask, and room for a guest.
    fn may_open(&self, index: usize) -> bool {
        let session = &self.sessions[index];
        let State::Closed(opener) = &session.state else { return false };
        let guests = self.sessions.iter().filter(|session| session.is_guest()).count();
        (!session.waiting.is_empty() || self.is_opened_anyway(index))
            && (!opener.is_guest() || guests < self.options.guests)
    }

    /// Where a guest is booted.
    fn free_place(&self) -> usize {
        let guests: Vec<_> = self.guests().map(|(_, guest)| guest).collect();
        places::free(&guests, self.processors)
    }

    /// The guests that run, with the numbers of their sessions.
    fn guests(&self) -> impl Iterator<Item = (usize, places::Guest)> {
        let guests = self.sessions.iter().enumerate().filter(|(_, session)| session.is_guest());
        guests.map(|(index, session)| {
            (index, places::Guest { place: session.place, waiting: session.waiting.len() })
        })
    }

    /// Has the guests share the processors so that they end at the same time.
    fn place_guests(&mut self) {
        let (sessions, mut guests): (Vec<_>, Vec<_>) = self.guests().unzip();
        while let Some(moves) = places::better(&guests, self.processors) {
            for (guest, place) in moves {
                guests[guest].place = place;
                self.sessions[sessions[guest]].move_to(place);
            }
        }
    }

    /// Whether a target is opened even where there is nothing to ask: a guest is not booted for that.
    fn is_opened_anyway(&self, index: usize) -> bool {
        self.options.share == Share::Every && !self.sessions[index].guest
    }

    /// A target has been opened, or cannot be: then its cases go on to the next, or nobody is asked.
    fn opened(&mut self, index: usize, opened: Option<Result<Opened, Unopened>>) -> io::Result<()> {
        match opened {
            None => Ok(()),
            Some(Ok(mut opened)) => {
                if let Err(why) = opened.probe(&self.options.probes) {
                    self.unavailable(index, why);
                    return Ok(());
                }
                if let Some(Record { file, known }) = self.options.record.take() {
                    let recorder =
                        Recorder::new(&file, &opened.environment, opened.witness, known)?;
                    opened.witness = Box::new(recorder);
                }
                self.sessions[index].start(opened, self.options.model);
                self.share(index)
            }
            Some(Err(why)) => {
                self.unavailable(index, why);
                Ok(())
            }
        }
    }

    /// Passes on at once what this target cannot be asked, so that the next can be opened meanwhile.
    fn share(&mut self, index: usize) -> io::Result<()> {
        if self.next_for(index).is_none() {
            return Ok(());
        }
        let waiting: Vec<usize> = self.sessions[index].waiting.iter().copied().collect();
        for case in waiting {
            let Some(environment) = &self.sessions[index].environment else { break };
            let missing = environment.missing(&self.cases[case]);
            if environment.broken(&self.cases[case]).is_none() && !missing.is_empty() {
                self.sessions[index].waiting.remove(&case);
                self.skip(index, case, missing);
            }
        }
        Ok(())
    }

    fn unavailable(&mut self, index: usize, why: Unopened) {
        let waiting = std::mem::take(&mut self.sessions[index].waiting);
        let passed_on = self.options.share == Share::FirstThatCan;
        let unasked = if passed_on { 0 } else { waiting.len() };
        if passed_on {
            for case in waiting {
                match &why {
                    Unopened::Missing(missing) => self.skip(index, case, vec![missing.clone()]),
                    Unopened::Broken(why) => {
                        let verdict = Verdict::broken(why.clone());
                        self.settle(index, case, verdict, Duration::ZERO);
                    }
                }
            }
        }
        self.sessions[index].fail(why, unasked);
    }

    /// The target that is asked what this one cannot be asked.
    fn next_for(&self, index: usize) -> Option<usize> {
        let next = index + 1;
        (self.options.share == Share::FirstThatCan && next < self.sessions.len()).then_some(next)
    }

    /// A case cannot be asked on a target: it goes on to the next, or is skipped for all that it lacks.
    fn skip(&mut self, index: usize, case: usize, missing: Vec<Missing>) {
        let target = self.sessions[index].target.clone();
        let next = self.next_for(index);
        let failed = self.sessions[index].attempts.contains_key(&case);
        if failed || next.is_none() && !self.lacks.contains_key(&case) {
            self.settle(index, case, Verdict::skip(missing), Duration::ZERO);
            return;
        }
        let lacks = self.lacks.entry(case).or_default();
        lacks.extend(
            missing
                .into_iter()
                .map(|missing| Missing { why: format!("{target}: {}", missing.why), ..missing }),
        );
        match next {
            Some(next) => drop(self.sessions[next].waiting.insert(case)),
            None => {
                let verdict = Verdict::skip(self.lacks.remove(&case).unwrap_or_default());
                self.settle(index, case, verdict, Duration::ZERO);
            }
        }
    }

    fn begin(&mut self, index: usize, number: usize) -> io::Result<()> {
        let case = &self.cases[number];
        let session = &mut self.sessions[index];
        let (Some(environment), Some(witness)) = (&session.environment, &mut session.witness)
        else {
            return Ok(());
        };
        if let Some(why) = environment.broken(case) {
            self.settle(index, number, Verdict::broken(why), Duration::ZERO);
            return Ok(());
        }
        let missing = environment.missing(case);
        if !missing.is_empty() {
            self.skip(index, number, missing);
            return Ok(());
        }
        let submitted = if session.attempts.contains_key(&number) {
            witness.submit_afresh(number, &case.plan)
        } else {
            witness.submit(number, &case.plan)
        };
        if let Err(error) = submitted {
            session.waiting.insert(number);
            return session.break_off(&error, self.options.refuse_flaky);
        }
        let prediction = session.profile.as_ref().map(|profile| predict(&case.plan, profile));
        session.started.insert(number, Started { at: Instant::now(), prediction });
        Ok(())
    }

    /// Takes the answers that are there; whether there were any.
    fn hear(&mut self) -> io::Result<bool> {
        let mut heard = false;
        for index in 0..self.sessions.len() {
            if let Some(opened) = self.sessions[index].opened() {
                self.opened(index, Some(opened))?;
                heard = true;
            }
            let session = &mut self.sessions[index];
            let Some(witness) = session.witness.as_mut().filter(|_| !session.started.is_empty())
            else {
                continue;
            };
            match witness.next(Duration::ZERO) {
                Ok(None) => {}
                Ok(Some((case, answer))) => {
                    heard = true;
                    self.finish(index, case, answer)?;
                }
                Err(error) => {
                    heard = true;
                    session.break_off(&error, self.options.refuse_flaky)?;
                }
            }
        }
        Ok(heard)
    }

    /// Waits until one of the targets has something to say.
    fn wait(&self) -> io::Result<()> {
        let sources = self.sessions.iter().flat_map(Session::sources);
        let mut fds: Vec<_> = sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::try_from(TICK).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn finish(&mut self, index: usize, number: usize, answer: Answer) -> io::Result<()> {
        let several = self.sessions.len() > 1;
        let session = &mut self.sessions[index];
        let Some(Started { at, prediction }) = session.started.remove(&number) else {
            return session.distrust(UNASKED, self.options.refuse_flaky);
        };
        let answer = match answer {
            Answer::Missing(missing) if !missing.is_empty() => {
                self.skip(index, number, missing);
                return Ok(());
            }
            answer => answer,
        };
        let case = &self.cases[number];
        let by_chance =
            matches!(&answer, Answer::Asked(kernel) if chance::lost_a_mark(&case.plan, kernel));
        if by_chance && self.asks_twice && !self.stop && session.ask_past_chance(number) {
            return Ok(());
        }
        let Some(environment) = &session.environment else { return Ok(()) };
        if matches!(answer, Answer::Predicted(_)) && session.witness_name != model::NAME {
            let why = "it answered with what a model says";
            let distrusted = session.distrust(why, self.options.refuse_flaky);
            let verdict = Verdict::broken("a model answered in its place".to_owned());
            self.settle(index, number, verdict, at.elapsed());
            return distrusted;
        }
        let (mode, judged) = (self.options.snapshots, &mut self.judged_records);
        let record = |transcript: &Transcript| {
            let shelf = Shelf::beside(&case.base);
            let record = shelf.record(case, environment);
            // What one target wrote, another must not overwrite or take back.
            let others = judged.get(&record).is_some_and(|by| *by != index);
            let mode = if others { Mode::Check } else { mode };
            let recorded = shelf.compare(case, environment, &render(transcript), mode);
            if mode == Mode::Accept || !matches!(recorded, Recorded::Same | Recorded::Nothing) {
                judged.entry(record).or_insert(index);
            }
            recorded
        };
        let verdict = judge(case, environment, answer, prediction, record);
        let took = at.elapsed();
        if verdict.status.is_failure() {
            let before = session.attempts.get(&number).map_or(0, Attempts::count);
            // Of a case that is asked again the first failure is evidence.
            if let Some(directory) = self.options.keep.as_ref().filter(|_| before == 0) {
                let target = &session.target;
                let of_target = several.then(|| as_name(target));
                let kept = evidence::keep(directory, of_target.as_deref(), target, case, &verdict);
                kept.map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", directory.display()))
                })?;
            }
            let again = verdict.status.is_asked_again() && before < self.options.retries as usize;
            if again && !self.stop {
                session.ask_again(number, verdict, took);
                return Ok(());
            }
        }
        self.settle(index, number, verdict, took);
        Ok(())
    }

    /// What came of a case is known.
    fn settle(&mut self, index: usize, number: usize, verdict: Verdict, took: Duration) {
        let session = &mut self.sessions[index];
        session.settle(number, verdict, took, self.options.refuse_flaky);
        let settled = session.finished.get(&number);
        let failed = settled.is_some_and(|(verdict, _)| verdict.status.is_failure());
        self.stop |= failed && self.options.fail_fast;
    }

    /// Whether nothing more will come of a session.
    fn is_over(&self, index: usize) -> bool {
        let session = &self.sessions[index];
        let fed = self.options.share == Share::FirstThatCan
            && index > 0
            && !self.is_over(index - 1)
            && !self.stop;
        let unopened = matches!(session.state, State::Closed(_));
        let to_be_opened = unopened && self.is_opened_anyway(index);
        session.started.is_empty()
            && !matches!(session.state, State::Opening(_))
            && (self.stop || session.waiting.is_empty() && !fed && !to_be_opened)
    }

    /// Tells of what has finished, as far as nothing before it is missing.
    fn tell(&mut self, reporters: &mut [&mut dyn Reporter]) -> io::Result<()> {
        while self.telling < self.sessions.len() {
            let over = self.is_over(self.telling);
            self.tell_session(self.telling, over, reporters)?;
            if !over {
                break;
            }
            self.telling += 1;
        }
        Ok(())
    }

    /// Tells of what has finished although something before it was given up.
    fn tell_rest(&mut self, reporters: &mut [&mut dyn Reporter]) -> io::Result<()> {
        for index in self.telling..self.sessions.len() {
            self.tell_session(index, true, reporters)?;
        }
        Ok(())
    }

    fn tell_session(
        &mut self,
        index: usize,
        all: bool,
        reporters: &mut [&mut dyn Reporter],
    ) -> io::Result<()> {
        let session = &mut self.sessions[index];
        if !session.announced {
            session.announced = session.announce(reporters)?;
        }
        while let Some(number) = session.finished.keys().next().copied() {
            if !all && session.is_before(number) {
                break;
            }
            let Some((mut verdict, took)) = session.finished.remove(&number) else { break };
            let case = &self.cases[number];
            session.summary.count(case.level, &verdict);
            let key = |id: &str| (session.kernel.clone(), without_case(id).to_owned());
            if case.plan.world.container.is_none() {
                self.plain.entry(key(&case.id)).or_default().push(verdict.status);
            }
            if verdict.status.deviates() {
                let told = case.plain.iter().map(|id| plain(id, self.plain.get(&key(id))));
                verdict.reasons.extend(told);
            }
            let rendered = verdict.transcript.as_ref().map(render);
            let judged = Judged {
                case: &Subject::from(case),
                target: &session.target,
                witness: session.witness_name,
                verdict: &verdict,
                observed: rendered.as_deref().filter(|text| !text.is_empty()),
                took,
            };
            reporters.iter_mut().try_for_each(|reporter| reporter.judged(judged))?;
        }
        if all && session.announced {
            let (target, summary) = (&session.target, &session.summary);
            reporters.iter_mut().try_for_each(|reporter| reporter.done(target, summary))?;
        }
        Ok(())
    }

    fn totals(self) -> Totals {
        let share = self.options.share;
        let (part, all) = (self.options.part, Summary::default());
        let mut totals = Totals { part, all, targets: Vec::new(), problems: Vec::new() };
        for mut session in self.sessions {
            if let Err(error) = session.close() {
                session.troubles.push(format!("what it answered cannot be written down: {error}"));
            }
            let target = &session.target;
            totals.problems.extend(session.troubles.iter().map(|why| format!("{target}: {why}")));
            session.summary.not_run = session.waiting.len() + session.started.len();
            session.summary.interrupted = sys::interrupted();
            totals.all.add(&session.summary);
            let unasked = !session.announced && session.summary.not_run == 0;
            if share == Share::Every || !unasked {
                totals.targets.push((session.target, session.summary));
            }
        }
        totals
    }
}

/// The id of a scenario, of which a case has this one.
fn without_case(id: &str) -> &str {
    id.split_once('@').map_or(id, |(scenario, _)| scenario)
}

/// What is to be said of a scenario that asks the kernel alone for what a runtime did otherwise; with what was told of
/// its cases.
fn plain(id: &str, told: Option<&Vec<Status>>) -> String {
    let told = told.map_or(&[][..], Vec::as_slice);
    let worst = told.iter().find(|status| status.is_failure() || status.deviates());
    let skip = || told.iter().all(|status| *status == Status::Skip);
    let came = match worst {
        Some(status) => format!("{} in this run too", status.word()),
        None if skip() => format!("was not asked in this run: nsharness run {id}"),
        None => "passed in this run: the kernel does it".to_owned(),
    };
    format!("{id} asks the kernel alone for the same, and {came}")
}

/// A target as the name of a directory.
fn as_name(target: &str) -> String {
    target.replace(['/', ':'], "_")
}

/// What a run means to the shell. A target that was named must have answered: what others answered
/// does not make up for it. A part that has nothing of what was selected leaves nothing out: others have it.
pub fn exit_code(totals: &Totals) -> ExitCode {
    if totals.part.is_empty() && !totals.all.interrupted {
        return ExitCode::AsExpected;
    }
    let broken = (!totals.problems.is_empty()).then_some(ExitCode::Broken);
    if totals.part.shared {
        return ExitCode::gravest(broken.into_iter().chain([of_summary(&totals.all)]));
    }
    let codes = totals.targets.iter().map(|(_, summary)| of_summary(summary));
    ExitCode::gravest(codes.chain(broken))
}

fn of_summary(summary: &Summary) -> ExitCode {
    if summary.interrupted {
        ExitCode::Interrupted
    } else if summary.failed > summary.broken {
        ExitCode::Failure
    } else if summary.broken > 0 || summary.not_run > 0 {
        ExitCode::Broken
    } else if summary.executed() == 0 {
        ExitCode::NothingExecuted
    } else {
        ExitCode::AsExpected
    }
}
