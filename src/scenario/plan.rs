//! A scenario resolved for one case: what crosses the border to a witness, and nothing else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::implementation::Implementation;
use super::observe::Observe;
use super::operation::{Namespace, Operation, Overlay};
use super::scalar::Name;
use super::world::{Setup, World};

/// What a witness is asked. It holds no expectation: a witness cannot know what the author wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario's id, for messages and evidence.
    pub id: String,
    /// What has to be there.
    pub needs: Needs,
    /// The state before the first step.
    pub world: World,
    /// The steps in order.
    pub steps: Vec<PlanStep>,
    /// What is recorded after the steps.
    pub observe: Vec<Observe>,
    /// After how long it is ended, in milliseconds.
    pub timeout_ms: u64,
    /// Whether the sandbox's own mount table is kept as evidence.
    pub keep: bool,
    /// Whether the system calls of each step are kept as evidence.
    #[serde(default, skip_serializing_if = "super::operation::is_false")]
    pub trace: bool,
    /// The runtime that makes the container of the world; the target sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Implementation>,
    /// The program that mounts the overlays which nothing else says of; the target sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Implementation>,
}

/// What it takes to serve NFS and to mount it.
const NFS: [&str; 3] = ["nfs4", "nfsd", "rpc_pipefs"];

impl Plan {
    /// The types of the file systems that the world and the steps mount or ask for.
    pub fn file_systems(&self) -> BTreeSet<String> {
        let types = self.operations().filter_map(|operation| match operation {
            Operation::Overlay(_) => Some("overlay"),
            Operation::Fuse(_) => Some("fuse"),
            Operation::Mount(step) => Some(step.kind.as_str()),
            Operation::Fsopen(step) => Some(step.kind.as_str()),
            _ => None,
        });
        let served: &[_] = if self.world.nfs.is_empty() { &[] } else { &NFS };
        types.chain(served.iter().copied()).map(str::to_owned).collect()
    }

    /// The overlays that the world and the steps mount.
    pub fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        self.operations().filter_map(|operation| match operation {
            Operation::Overlay(step) => Some(step),
            _ => None,
        })
    }

    /// Whether a file is attached to a loop device.
    pub fn has_loop_devices(&self) -> bool {
        self.operations().any(|operation| matches!(operation, Operation::Losetup(_)))
    }

    /// What the world and the steps do.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        let setup = self.world.setup.iter().filter_map(|setup| match setup {
            Setup::Mount { operation, .. } => Some(operation),
            Setup::Tree(_) => None,
        });
        setup.chain(self.steps.iter().map(|step| &step.operation))
    }
}

/// One step of a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanStep {
    /// Who takes it.
    pub actor: Name,
    /// What is done.
    pub operation: Operation,
    /// The line of the scenario file, from one.
    pub line: usize,
}

/// What a plan needs of the place where it runs, computed from its world and steps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Needs {
    /// Id ranges `[first, last]` of the sandbox beyond id 0 that must be mapped.
    pub ids: Vec<(u32, u32)>,
    /// Namespaces beyond user, mount and pid that a step could reach.
    pub namespaces: BTreeSet<Namespace>,
    /// Whether a proc is mounted at /proc for the scenario.
    pub proc: bool,
    /// Whether a sysfs is mounted at /sys for the scenario.
    pub sys: bool,
    /// Whether a minimal /dev is there for the scenario.
    pub dev: bool,
    /// Whether that /dev has the device of FUSE.
    #[serde(default, skip_serializing_if = "super::operation::is_false")]
    pub fuse: bool,
    /// Names of probes that must be true for the world to be set up.
    pub probes: BTreeSet<String>,
    /// Whether the sandbox has no user namespace of its own: it needs real root.
    pub privileged: bool,
}

/// The range of ids that a plan gets as soon as it names any id but 0.
pub const COMMON_IDS: (u32, u32) = (1, 65535);
