//! nsharness: declarative tests for what containers stand on.
//!
//! Data flows one way: scenario → plan → witness → transcript → verdict → report.

pub mod diag;
pub mod exit_code;
pub mod scenario;
