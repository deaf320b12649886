//! Which scenarios a command is about.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Trouble;
use crate::diag::{Diagnostic, did_you_mean};
use crate::probe;
use crate::report::Part;
use crate::scenario::load::{INSTALLED, SCENARIOS, base_of_directory, bundle};
use crate::scenario::{Case, FoundFile, KnownNames, discover, read, resolve};
use crate::shard::Shard;
use crate::snapshot::{Pending, Shelf, Stray};

/// The arguments that select scenarios.
#[derive(Debug, Default, clap::Args)]
pub struct Selection {
    /// Files, directories, or parts of ids below `scenarios/`; all of `scenarios/` if left out, which is the one of the package where there is none here
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only scenarios whose id contains this
    #[arg(long, value_name = "PART")]
    id: Vec<String>,
    /// Only scenarios with this tag
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// No scenario with this tag
    #[arg(long, value_name = "TAG")]
    skip_tag: Vec<String>,
}

/// What was selected.
pub struct Selected {
    /// The cases, by id.
    pub cases: Vec<Case>,
    /// The directories that were selected with all that is in them: what ids are counted from, and
    /// the directory below it. Empty where only a part was selected.
    pub whole: Vec<(PathBuf, PathBuf)>,
    /// What the cases are a part of.
    pub part: Part,
}

/// The argument that takes a part of what is selected.
#[derive(Debug, clap::Args)]
pub struct OfShard {
    /// One part of a run that is spread over machines, as in 3/16: merge puts their JSON reports together
    #[arg(long, value_name = "K/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
}

/// What is selected, as far as nobody leaves a part of it to others.
fn part(cases: &[Case]) -> Part {
    let count = cases.len();
    let (shard, digest) = (Shard::WHOLE, digest(cases));
    Part { shard, scenarios: count, selected: count, digest, shared: false }
}

impl Selected {
    /// Selects of these alone.
    pub fn only(&mut self, wanted: impl Fn(&Case) -> bool) {
        self.cases.retain(wanted);
        self.whole.clear();
        self.part = part(&self.cases);
    }

    /// Leaves to others what is not in this part.
    pub fn keep(&mut self, OfShard { shard }: &OfShard) {
        self.part.shard = *shard;
        self.cases.retain(|case| shard.has(&case.id));
        if self.cases.len() < self.part.scenarios {
            self.whole.clear();
        }
        self.part.scenarios = self.cases.len();
    }

    /// Whether they are those of a package, beside which nothing is recorded.
    pub fn is_installed(&self) -> bool {
        self.cases.iter().any(|case| case.base.starts_with(INSTALLED))
    }

    /// The snapshots in the selected directories that no scenario has.
    pub fn strays(&self) -> io::Result<Vec<Stray>> {
        let mut strays = Vec::new();
        for (base, below) in &self.whole {
            strays.extend(Shelf::beside(base).strays(below, &self.cases)?);
        }
        Ok(strays)
    }

    /// The snapshots of the selected scenarios that wait for review.
    pub fn pending(&self) -> Vec<Pending> {
        let mut bases: Vec<_> = self.cases.iter().map(|case| case.base.as_path()).collect();
        bases.sort_unstable();
        bases.dedup();
        bases.into_iter().flat_map(|base| Shelf::beside(base).pending(&self.cases)).collect()
    }
}

impl Selection {
    /// Whether nothing is said, which selects everything.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
            && self.id.is_empty()
            && self.tag.is_empty()
            && self.skip_tag.is_empty()
    }

    /// One path.
    pub fn of(path: impl Into<PathBuf>) -> Self {
        Self { paths: vec![path.into()], ..Self::default() }
    }

    /// The one case that is called so, by its id or by its file.
    pub fn one(called: &Path) -> Result<Case, Trouble> {
        let mut selected = Self::of(called).cases()?;
        let called = called.display().to_string();
        if selected.cases.iter().any(|case| case.id == called) {
            selected.only(|case| case.id == called);
        }
        if let [case] = &selected.cases[..] {
            return Ok(case.clone());
        }
        let ids: Vec<_> = selected.cases.iter().map(|case| case.id.as_str()).take(5).collect();
        Err(Trouble::Usage(format!(
            "`{called}` is {} scenarios: name one, as {}",
            selected.cases.len(),
            ids.join(", ")
        )))
    }

    /// All cases below `scenarios/`; none where there is no such directory.
    pub fn of_default() -> Result<Vec<Case>, Trouble> {
        if !bundle().is_dir() {
            return Ok(Vec::new());
        }
        Ok(Self::default().cases()?.cases)
    }

    /// Finds the files; a word that is no path selects ids below `scenarios/`.
    ///
    /// Beside the files stands what is wrong with the paths.
    pub fn files(&self) -> (Vec<FoundFile>, Vec<Diagnostic>) {
        let default = bundle().to_owned();
        let (paths, words): (Vec<&PathBuf>, Vec<&PathBuf>) = self
            .paths
            .iter()
            .partition(|path| path.symlink_metadata().is_ok() || !default.is_dir());
        let paths: Vec<_> = paths.into_iter().cloned().collect();
        let (mut files, mut errors) = discover(&paths);
        if self.paths.is_empty() && !default.is_dir() {
            let none = Diagnostic::whole(SCENARIOS, "there is no such directory here")
                .hint("go to a checkout of nsharness, or name files or directories");
            return (Vec::new(), vec![none]);
        }
        if self.paths.is_empty() || !words.is_empty() {
            let (all, wrong) = discover(std::slice::from_ref(&default));
            errors.extend(wrong);
            if self.paths.is_empty() {
                return (all, errors);
            }
            for word in words {
                let part = word.to_string_lossy();
                let part = part.split('@').next().unwrap_or_default();
                let before = files.len();
                files.extend(all.iter().filter(|file| file.id.contains(part)).cloned());
                if files.len() == before {
                    let near = near(part, &all).map_or_else(
                        || "`nsharness list` shows them".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    let diagnostic =
                        Diagnostic::whole(word.display().to_string(), "no such file or directory")
                            .hint(format!(
                                "and no id in {}/ contains it: {near}",
                                default.display()
                            ));
                    errors.push(diagnostic);
                }
            }
            files.sort();
            files.dedup();
        }
        (files, errors)
    }

    /// Reads and resolves all selected cases.
    pub fn cases(&self) -> Result<Selected, Trouble> {
        let (files, mut errors) = self.files();
        let mut cases = Vec::new();
        for file in &files {
            match resolve_file(file) {
                Ok(found) => cases.extend(found),
                Err(found) => errors.extend(found),
            }
        }
        if !errors.is_empty() {
            return Err(Trouble::Invalid(errors));
        }
        self.tell_of_words_that_nothing_has(&cases);
        let before = cases.len();
        cases.retain(|case| self.wants(case));
        let default = [bundle().to_owned()];
        let paths = if self.paths.is_empty() { &default[..] } else { &self.paths[..] };
        let mut whole = Vec::new();
        if cases.len() == before && paths.iter().all(|path| path.is_dir()) {
            whole.extend(paths.iter().map(|path| base_of_directory(path)));
        }
        let part = part(&cases);
        Ok(Selected { cases, whole, part })
    }

    /// A tag or a part of an id that nothing has is no error, for another one may select all that is wanted; who
    /// mistyped it is told.
    fn tell_of_words_that_nothing_has(&self, cases: &[Case]) {
        let tags = || cases.iter().flat_map(|case| &case.tags).map(String::as_str);
        let of_tag = self.tag.iter().chain(&self.skip_tag).map(|tag| ("has the tag", tag));
        let of_id = self.id.iter().map(|part| ("has an id with", part));
        for (what, word) in of_tag.chain(of_id) {
            let is_tag = what == "has the tag";
            let ids = || cases.iter().map(|case| case.id.as_str());
            let (is_there, near) = if is_tag {
                (tags().any(|tag| tag == word), did_you_mean(word, tags()))
            } else {
                let parts = ids().flat_map(|id| id.split('/')).chain(ids());
                (ids().any(|id| id.contains(word.as_str())), did_you_mean(word, parts))
            };
            if !is_there {
                let hint =
                    near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
                eprintln!("warning: no scenario {what} `{}`{hint}", word.escape_debug());
            }
        }
    }

    fn wants(&self, case: &Case) -> bool {
        let has = |tag: &String| case.tags.contains(tag);
        let named = |path: &PathBuf| {
            let word = path.to_string_lossy();
            !word.contains('@')
                || path.symlink_metadata().is_ok()
                || case.id.contains(word.as_ref())
        };
        (self.id.is_empty() || self.id.iter().any(|part| case.id.contains(part.as_str())))
            && (self.tag.is_empty() || self.tag.iter().any(has))
            && !self.skip_tag.iter().any(has)
            && self.paths.iter().all(named)
    }
}

/// What somebody may have meant who typed this: an id, or a part of one between slashes.
fn near<'f>(word: &str, files: &'f [FoundFile]) -> Option<&'f str> {
    let ids = || files.iter().map(|file| file.id.as_str());
    let parts = ids().flat_map(|id| id.split('/'));
    did_you_mean(word, ids()).or_else(|| did_you_mean(word, parts))
}

/// What was selected, in short: which cases, and what their files say.
fn digest(cases: &[Case]) -> String {
    const DIGITS: usize = 16;
    let mut digest = Sha256::new();
    for case in cases {
        for text in [&case.id, &case.source.text] {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
    }
    let mut digits: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(DIGITS);
    digits
}

/// The cases of one file.
pub fn resolve_file(file: &FoundFile) -> Result<Vec<Case>, Vec<Diagnostic>> {
    let names = probe::names();
    let source = read(&file.path).map_err(|diagnostic| vec![*diagnostic])?;
    resolve(file, &source, KnownNames { probes: &names })
}
