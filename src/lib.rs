//! nsharness: declarative tests for what containers stand on.
//!
//! Data flows one way: scenario → plan → witness → transcript → verdict → report.
//!
//! - [`scenario`] makes cases of files, each with a plan and what its author expects.
//! - [`target`] is where a witness is asked a plan: there a [`worker`] asks a kernel in a [`sandbox`], the [`model`]
//!   predicts, or a recording answers.
//! - [`transcript`] is what it answered.
//! - [`verdict`] holds that against what is expected, the model and the [`snapshot`].
//! - [`report`] tells it. [`run`] drives all of this, [`cli`] what a user asks for.
//!
//! DESIGN.md has every module.

mod bounded;
pub mod channel;
pub mod cli;
pub mod comparison;
pub mod coverage;
pub mod diag;
pub mod edges;
pub mod exit_code;
pub mod inspect;
pub mod interpreter;
pub mod kernel;
pub mod last;
mod links;
pub mod merge;
pub mod missing;
pub mod model;
pub mod named;
pub mod new;
pub mod overlays;
pub mod probe;
mod processor;
pub mod programs;
pub mod record;
pub mod report;
pub mod run;
pub mod runtime;
pub mod sandbox;
pub mod scenario;
pub mod search;
pub mod shard;
pub mod snapshot;
pub mod sys;
pub mod target;
mod terminal;
pub mod trace;
pub mod transcript;
pub mod variables;
pub mod verdict;
pub mod visit;
mod whole;
pub mod worker;
