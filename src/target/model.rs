//! The model as a witness: it answers at once, from rules alone.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::{Answer, Witness};
use crate::model::predict;
use crate::model::profile::Profile;
use crate::scenario::plan::Plan;

/// The model of one kernel.
#[derive(Debug)]
pub struct Model {
    profile: Profile,
    answers: VecDeque<(usize, Answer)>,
}

/// The name of the model among the witnesses.
pub const NAME: &str = "model";

impl Model {
    /// The model of a kernel of this profile.
    pub fn new(profile: Profile) -> Self {
        Self { profile, answers: VecDeque::new() }
    }
}

impl Witness for Model {
    fn name(&self) -> &'static str {
        NAME
    }

    fn target(&self) -> String {
        "model".to_owned()
    }

    fn capacity(&self) -> usize {
        1
    }

    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        let prediction = predict(plan, &self.profile);
        self.answers.push_back((ticket, Answer::Predicted(Box::new(prediction))));
        Ok(())
    }

    fn next(&mut self, _: Duration) -> io::Result<Option<(usize, Answer)>> {
        Ok(self.answers.pop_front())
    }
}
