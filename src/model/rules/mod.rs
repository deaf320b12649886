//! The registry of rules: what the model believes, each with its source.
//!
//! A rule is one condition and its effect at one place of the model, which cites it by
//! [`Citations::by`]. A rule that is left out (by a mutation check, or because the kernel that is
//! modelled does not have it) is as if its condition had never held.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};

use crate::model::checks::Check;
use crate::model::profile::Profile;
use crate::scenario::condition::KernelVersion;

/// One numbered statement of the semantics.
#[derive(Debug)]
pub struct Rule {
    /// Its stable name: family, operation, what is special, as in `overlay.rename.dir-exdev`.
    pub id: &'static str,
    /// What it says, in one sentence.
    pub statement: &'static str,
    /// Where that can be read: a kernel document and section, a man page, a kernel function or commit.
    pub source: &'static str,
    /// The first version of the kernel that has it.
    pub since: Option<KernelVersion>,
    /// Where older stable kernels got it: the first version of each.
    pub backports: &'static [KernelVersion],
    /// The first version of the kernel that no longer has it.
    pub until: Option<KernelVersion>,
    /// Where older stable kernels lost it: the first version of each without.
    pub ended: &'static [KernelVersion],
    /// The probe that says whether it holds, which outranks the versions: distributions backport.
    pub probe: Option<&'static str>,
    /// What documentation or POSIX says instead, where the kernel deviates from it.
    pub quirk: Option<&'static str>,
    /// What does not hold where it decides.
    pub breaks: &'static [Invariant],
}

/// What holds of all operations, but where a rule says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// An operation that fails leaves everything as it was.
    Trace,
    /// An overlay that is unmounted and mounted again shows what it showed.
    Remount,
    /// Real root sees what root of a user namespace sees.
    Root,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Declares rules: a constant name, the id, the statement, the source, and what else there is.
macro_rules! rules {
    ($($name:ident $id:literal $statement:literal $source:literal
        $(since $since:tt)? $(backports [$($backport:tt),+])? $(until $until:tt)? $(ended [$($ended:tt),+])?
        $(probe $probe:literal)?
        $(quirk $quirk:literal)? $(breaks $($breaks:ident)+)? ;)+) => {
        $(
            #[doc = $statement]
            pub static $name: $crate::model::rules::Rule = $crate::model::rules::Rule {
                id: $id,
                statement: $statement,
                source: $source,
                since: $crate::model::rules::optional!($($crate::model::rules::version!($since))?),
                backports: &[$($($crate::model::rules::version!($backport)),+)?],
                until: $crate::model::rules::optional!($($crate::model::rules::version!($until))?),
                ended: &[$($($crate::model::rules::version!($ended)),+)?],
                probe: $crate::model::rules::optional!($($probe)?),
                quirk: $crate::model::rules::optional!($($quirk)?),
                breaks: &[$($($crate::model::rules::Invariant::$breaks),+)?],
            };
        )+
        /// The rules of this family, in their order.
        pub static ALL: &[&$crate::model::rules::Rule] = &[$(&$name),+];
    };
}
macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}
/// `(6, 13)` or `(6, 18, 11)` as a version.
macro_rules! version {
    (($major:literal, $minor:literal)) => {
        $crate::scenario::condition::KernelVersion($major, $minor, 0)
    };
    (($major:literal, $minor:literal, $patch:literal)) => {
        $crate::scenario::condition::KernelVersion($major, $minor, $patch)
    };
}
pub(crate) use {optional, version};

pub mod cred;
pub mod disk;
pub mod files;
pub mod idmap;
pub mod mount;
pub mod nfs;
pub mod overlay;
pub mod ownership;
pub mod propagation;
pub mod roots;
pub mod userns;

/// Every family with its rules.
pub static FAMILIES: &[(&str, &[&Rule])] = &[
    ("files", files::ALL),
    ("cred", cred::ALL),
    ("ownership", ownership::ALL),
    ("userns", userns::ALL),
    ("idmap", idmap::ALL),
    ("mount", mount::ALL),
    ("propagation", propagation::ALL),
    ("roots", roots::ALL),
    ("disk", disk::ALL),
    ("overlay", overlay::ALL),
    ("nfs", nfs::ALL),
];

/// Every rule, by family.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().flat_map(|(_, rules)| rules.iter().copied())
}

/// The rule of this id.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

impl Rule {
    /// Whether a kernel of this profile has it.
    pub fn applies(&self, profile: &Profile) -> bool {
        if let Some(answer) = self.probe.and_then(|name| profile.probe(name)) {
            return answer;
        }
        self.in_version(profile.version)
    }

    fn in_version(&self, version: KernelVersion) -> bool {
        let KernelVersion(major, minor, _) = version;
        let since = |first: &KernelVersion| version >= *first;
        let stable = |first: &KernelVersion| (first.0, first.1) == (major, minor) && since(first);
        let has = self.since.as_ref().is_none_or(since) || self.backports.iter().any(stable);
        has && !self.until.as_ref().is_some_and(since) && !self.ended.iter().any(stable)
    }
}

/// The rules that decided something, in the order in which they did.
#[derive(Debug, Default)]
pub struct Citations {
    cited: RefCell<Vec<&'static Rule>>,
    /// The rule that is left out, by a check that somebody would notice.
    left_out: Option<&'static Rule>,
    /// What was asked on the way, where somebody follows.
    followed: RefCell<Option<Vec<Check>>>,
}

impl Citations {
    /// Those of a model that lacks a rule, if it lacks one: for mutation checks alone.
    pub fn without(rule: Option<&'static Rule>) -> Self {
        Self { left_out: rule, ..Self::default() }
    }

    /// Whether the rule decides: it is cited if it does. To be asked after its condition, so that
    /// what is cited is what mattered.
    pub fn by(&self, profile: &Profile, rule: &'static Rule) -> bool {
        if self.left_out == Some(rule) {
            return false;
        }
        if !rule.applies(profile) {
            return false;
        }
        let mut cited = self.cited.borrow_mut();
        if !cited.contains(&rule) {
            cited.push(rule);
        }
        true
    }

    /// Has what is asked on the way written down from now on.
    pub fn follow(&self) {
        *self.followed.borrow_mut() = Some(Vec::new());
    }

    /// What was asked since, and ends that.
    pub fn followed(&self) -> Vec<Check> {
        self.followed.take().unwrap_or_default()
    }

    /// Writes down what was asked, where somebody follows.
    pub fn note(&self, check: impl FnOnce() -> Check) {
        if self.followed.borrow().is_none() {
            return;
        }
        // What it looks up may cite rules, which decide nothing here.
        let check = check();
        if let Some(followed) = self.followed.borrow_mut().as_mut() {
            followed.push(check);
        }
    }

    /// What was cited since this was last asked.
    pub fn take(&self) -> Vec<&'static Rule> {
        std::mem::take(&mut self.cited.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_stable_kernel_has_what_it_got_later() {
        let rule = find("mount.point.unmounted").expect("a rule");
        let has = |major, minor, patch| rule.in_version(KernelVersion(major, minor, patch));
        assert!(has(6, 15, 0) && has(6, 12, 26) && has(6, 12, 101) && has(7, 2, 0));
        assert!(!has(6, 12, 25) && !has(6, 13, 12) && !has(6, 6, 0) && !has(5, 10, 300));
    }

    #[test]
    fn a_stable_kernel_lacks_what_it_lost() {
        let rule = find("files.create.setgid-special").expect("a rule");
        let has = |major, minor, patch| rule.in_version(KernelVersion(major, minor, patch));
        assert!(has(5, 10, 175) && has(5, 14, 21) && has(5, 15, 0));
        assert!(!has(5, 10, 176) && !has(5, 15, 200) && !has(6, 0, 0) && !has(7, 2, 0));
    }

    #[test]
    fn every_rule_has_an_id_of_its_family_that_no_other_has() {
        let mut seen = BTreeSet::new();
        for (family, rules) in FAMILIES {
            for rule in *rules {
                assert!(rule.id.starts_with(&format!("{family}.")), "{}", rule.id);
                assert!(seen.insert(rule.id), "{} stands twice", rule.id);
                assert!(!rule.source.is_empty() && rule.statement.ends_with('.'), "{}", rule.id);
                assert!(
                    rule.id
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c)),
                    "{}",
                    rule.id
                );
            }
        }
    }
}
