//! What is asked on the way of a chown, in its order, for who wants to see the way and not only its end.
//!
//! Nothing is decided here: each check is written down where the model makes it, and only for who follows.

use super::ids::{IdKind, cap};
use super::machine::{Cred, Idmap, InodeId, Kid, Machine, NO_ID, UserNsId};
use super::rules::Rule;
use super::vfs::is_member;
use crate::scenario::scalar::Errno;

/// One thing that was asked, and what was found.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was asked.
    pub asked: String,
    /// What was found.
    pub found: String,
    /// What follows from it.
    pub answer: Answer,
    /// The rule by which it is asked.
    pub rule: Option<&'static Rule>,
}

/// What follows from a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Something is known that counts later.
    Told,
    /// Nothing stands against it.
    Passed,
    /// It is allowed.
    Allowed,
    /// It is refused with this error.
    Refused(Errno),
}

impl Machine<'_> {
    /// Writes down a fact, for who follows.
    pub fn tell(&self, asked: &str, rule: Option<&'static Rule>, found: impl FnOnce() -> String) {
        self.rules.note(|| Check {
            asked: asked.to_owned(),
            found: found(),
            answer: Answer::Told,
            rule,
        });
    }

    /// Who asks, in its own user namespace.
    pub fn told_caller(&self, cred: &Cred) -> String {
        let shown = |kind, id| self.shown_id(cred.userns, kind, id);
        let sandbox = self.user_nss[self.sandbox_userns].level;
        let namespace = match self.user_nss[cred.userns].level.checked_sub(sandbox) {
            _ if cred.userns == self.sandbox_userns => "the sandbox's user namespace".to_owned(),
            Some(1) => "a user namespace below the sandbox's".to_owned(),
            Some(levels) if levels > 1 => format!("a user namespace {levels} below the sandbox's"),
            _ => "the first user namespace".to_owned(),
        };
        format!(
            "user {} and group {} of {namespace}, {} CAP_CHOWN",
            shown(IdKind::User, cred.fsuid),
            shown(IdKind::Group, cred.fsgid),
            with(cred.has(cap::CHOWN)),
        )
    }

    /// Where a user namespace maps an id to: which ids the sandbox itself got says nothing of a scenario.
    pub fn told_mapping(&self, ns: UserNsId, kind: IdKind, kid: Option<Kid>) -> String {
        let Some(kid) = kid else { return "not mapped".to_owned() };
        let parent =
            self.user_nss[ns].parent.filter(|_| self.is_userns_below(ns, self.sandbox_userns));
        match parent.filter(|_| ns != self.sandbox_userns) {
            Some(parent) => match self.id_in(parent, kind, kid) {
                Some(id) => format!("mapped: it is {id} in the user namespace around it"),
                None => "mapped, but not in the user namespace around it".to_owned(),
            },
            None => "mapped".to_owned(),
        }
    }

    /// What counts for the right to give a file away: who owns it, and the capability.
    pub fn told_right(
        &self,
        cred: &Cred,
        idmap: Option<&Idmap>,
        inode: InodeId,
        kind: IdKind,
        new: Kid,
    ) -> String {
        let shown = |kind, id: Kid| match self.id_in(cred.userns, kind, id) {
            Some(id) => id.to_string(),
            None if id == NO_ID => "no id through the mount".to_owned(),
            None => "an id that is not mapped here".to_owned(),
        };
        let owner = self.seen(idmap, inode, IdKind::User);
        let group = self.seen(idmap, inode, IdKind::Group);
        let mut found = format!(
            "it is of user {} and group {}, ",
            shown(IdKind::User, owner),
            shown(IdKind::Group, group)
        );
        found.push_str(match (owner == cred.fsuid, kind) {
            (false, _) => "not the caller's",
            (true, IdKind::User) if new == owner => "the caller's, who stays its owner",
            (true, IdKind::Group) if new == group => "the caller's, and stays of its group",
            (true, IdKind::Group) if is_member(cred, new) => {
                "the caller's, who is in the new group"
            }
            (true, IdKind::User) => "the caller's, and would be of another",
            (true, IdKind::Group) => "the caller's, who is not in the new group",
        });
        if !cred.has(cap::CHOWN) {
            found.push_str("; CAP_CHOWN is not effective");
        } else if self.capable_through(cred, idmap, inode, cap::CHOWN) {
            found.push_str("; CAP_CHOWN counts");
        } else {
            found.push_str("; CAP_CHOWN does not count, for not both are mapped");
        }
        found
    }
}

fn with(has: bool) -> &'static str {
    if has { "with" } else { "without" }
}
