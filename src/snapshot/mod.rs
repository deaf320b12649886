//! Observations as they were recorded and reviewed, in files beside the scenarios.

mod render;
pub(crate) mod store;

pub use render::render;
pub use store::{Mode, Pending, Shelf, Stray};
