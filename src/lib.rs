//! nsharness: declarative tests for what containers stand on.
//!
//! Data flows one way: scenario → plan → witness → transcript → verdict → report.

pub mod channel;
pub mod diag;
pub mod exit_code;
pub mod missing;
pub mod sandbox;
pub mod scenario;
pub mod sys;
pub mod transcript;
pub mod worker;
