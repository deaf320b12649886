//! The language: YAML files to plans, with every error placed in the file.

mod cases;
mod check;
pub mod condition;
pub mod container;
mod decode;
pub mod expect;
pub mod implementation;
pub mod load;
mod needs;
pub mod observe;
pub mod operation;
pub mod plan;
pub mod reference;
mod resolve;
pub mod scalar;
pub mod schema;
pub mod value;
pub mod words;
pub mod world;
mod yaml;

pub use load::{FoundFile, discover, read};
pub use resolve::{Case, DEFAULT_TIMEOUT, KnownNames, Requirement, StepInfo, resolve};
