//! A program on a target: plans with a container are asked through a runtime, and plans with overlays through what
//! mounts them.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{Answer, Boot, Opened, Opener, Witness};
use crate::overlays;
use crate::scenario::implementation::Implementation;
use crate::scenario::plan::Plan;
use crate::worker::arena::Check;

/// What a target is asked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Through {
    /// A runtime, which makes the containers.
    Runtime(Implementation),
    /// A program, which mounts the overlays.
    Overlay(Implementation),
}

impl Through {
    /// The program.
    pub fn implementation(&self) -> &Implementation {
        match self {
            Self::Runtime(program) | Self::Overlay(program) => program,
        }
    }

    /// A plan that is asked through it.
    pub fn plan(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        match self {
            Self::Runtime(runtime) => plan.runtime = Some(runtime.clone()),
            Self::Overlay(program) if plan.overlays().any(overlays::is_by_program) => {
                plan.overlay = Some(program.clone());
                // It looks at its own descriptors in /proc, and asks /dev/fuse.
                plan.needs.proc = true;
                plan.needs.dev = true;
                plan.needs.fuse = true;
            }
            Self::Overlay(_) => {}
        }
        plan
    }
}

/// A witness whose plans are asked through a program.
struct Asked {
    kernel: Box<dyn Witness>,
    through: Through,
}

impl Witness for Asked {
    fn name(&self) -> &'static str {
        match self.through {
            Through::Runtime(_) => "runtime",
            Through::Overlay(_) => "overlay program",
        }
    }

    fn target(&self) -> String {
        format!("{} on {}", self.through.implementation(), self.kernel.target())
    }

    fn capacity(&self) -> usize {
        self.kernel.capacity()
    }

    fn submit(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        self.kernel.submit(ticket, &self.through.plan(plan))
    }

    fn submit_afresh(&mut self, ticket: usize, plan: &Plan) -> io::Result<()> {
        self.kernel.submit_afresh(ticket, &self.through.plan(plan))
    }

    fn submit_all(&mut self, ticket: usize, plans: &[Plan], check: Check) -> io::Result<()> {
        let plans: Vec<_> = plans.iter().map(|plan| self.through.plan(plan)).collect();
        self.kernel.submit_all(ticket, &plans, check)
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<(usize, Answer)>> {
        self.kernel.next(wait)
    }

    fn trouble(&mut self) -> Option<String> {
        self.kernel.trouble()
    }

    fn move_to(&mut self, processor: usize) {
        self.kernel.move_to(processor);
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.kernel.sources()
    }
}

impl Opener {
    /// The same target, through a program.
    #[must_use]
    pub fn through(self, through: Through) -> Self {
        match self {
            Self::At(opened) => Self::At(Box::new(opened.through(through))),
            Self::Guest(boot) => {
                let boot: Boot = Box::new(move |place| Ok(boot(place)?.through(through)));
                Self::Guest(boot)
            }
            never @ Self::Never(_) => never,
        }
    }
}

impl Opened {
    /// The same, through a program.
    #[must_use]
    pub fn through(mut self, through: Through) -> Self {
        let program = Some(through.implementation().clone());
        // What was found without it is not what there is with it.
        match through {
            Through::Runtime(_) => {
                self.environment.runtime = program;
                self.environment.findings.remove("runtime");
            }
            Through::Overlay(_) => {
                self.environment.overlay = program;
                self.environment.findings.remove(overlays::PROBE);
            }
        }
        self.witness = Box::new(Asked { kernel: self.witness, through });
        self
    }
}
