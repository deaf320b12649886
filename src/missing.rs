//! What is missing for a scenario to be asked: the reasons of a skip.

use serde::{Deserialize, Serialize};

/// One thing that is missing, why, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// How that was found.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl Missing {
    /// Something that is missing.
    pub fn new(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), remedy: remedy.into() }
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "needs {}: {} ({})", self.what, self.why, self.remedy)
    }
}
