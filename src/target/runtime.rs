//! A container runtime on a target: plans with a container are asked through it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{Answer, Boot, Opened, Opener, Witness};
use crate::scenario::container::Runtime;
use crate::scenario::plan::Plan;

/// A witness whose plans have their containers made by a runtime.
struct Through {
    kernel: Box<dyn Witness>,
    runtime: Runtime,
}

impl Witness for Through {
    fn name(&self) -> &'static str {
        "runtime"
    }

    fn target(&self) -> String {
        format!("{} on {}", self.runtime, self.kernel.target())
    }

    fn capacity(&self) -> usize {
        self.kernel.capacity()
    }

    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        self.kernel.submit(ticket, &through(&self.runtime, plan))
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<(usize, Answer)>> {
        self.kernel.next(wait)
    }

    fn move_to(&mut self, processor: usize) {
        self.kernel.move_to(processor);
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.kernel.sources()
    }
}

/// A plan whose container is made by a runtime.
pub fn through(runtime: &Runtime, plan: &Plan) -> Plan {
    Plan { runtime: Some(runtime.clone()), ..plan.clone() }
}

impl Opener {
    /// The same target, with a runtime.
    #[must_use]
    pub fn through(self, runtime: Runtime) -> Self {
        match self {
            Self::At(opened) => Self::At(Box::new(opened.through(runtime))),
            Self::Guest(boot) => {
                let boot: Boot = Box::new(move |place| Ok(boot(place)?.through(runtime)));
                Self::Guest(boot)
            }
            never @ Self::Never(_) => never,
        }
    }
}

impl Opened {
    fn through(mut self, runtime: Runtime) -> Self {
        self.environment.runtime = Some(runtime.clone());
        // What was found without it is not what there is with it.
        self.environment.findings.remove("runtime");
        self.witness = Box::new(Through { kernel: self.witness, runtime });
        self
    }
}
