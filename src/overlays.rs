//! Programs that mount overlays through FUSE: how they are found, how they are called, and what of the kernel's
//! overlays they cannot be asked. All of them have the command line of mount(8)'s helpers, as
//! `fuse-overlayfs -o lowerdir=a:b,upperdir=c,workdir=d PLACE`.

use std::collections::BTreeSet;

use crate::missing::Missing;
use crate::named::{Named, Purpose};
use crate::scenario::implementation::Implementation;
use crate::scenario::operation::{Family, MountApi, MountFlag, Mounter, Operation, Overlay};
use crate::scenario::plan::Plan;
use crate::scenario::world::LIBRARY_DIRECTORIES;

/// The probe whether the program mounts anything.
pub const PROBE: &str = "overlay.program";
/// The word for the kernel where programs are named.
pub const KERNEL: &str = "kernel";

/// What such a program is named for.
const PURPOSE: Purpose = Purpose {
    what: "the overlay program",
    remedy: "name a program that mounts overlays, as fuse-overlayfs",
    packaged: &[("fuse-overlayfs", "fuse-overlayfs")],
};

/// Whether the kernel is named where programs are.
pub fn is_kernel(named: &Named) -> bool {
    named.as_str() == KERNEL
}

/// Finds a program, and asks it for its version.
///
/// # Errors
/// Where it is not there, tells no version, or cannot be brought into a sandbox.
pub fn find(named: &Named) -> Result<Implementation, Missing> {
    named.find(PURPOSE)
}

/// Whether the program of a run mounts this overlay.
pub fn is_by_program(step: &Overlay) -> bool {
    step.by != Some(Mounter::Kernel)
}

/// Why a plan cannot be asked of a program; empty where it can. What only the kernel has is told before anything is
/// asked: programs may pass over options that they do not know, and would answer for another overlay.
pub fn missing(implementation: &Implementation, plan: &Plan) -> Vec<Missing> {
    let name = &implementation.name;
    let mut missing = Vec::new();
    let mut lacks = |what: String, why: String| {
        let one = Missing::new(what, why, "ask the kernel: leave --overlay out");
        if !missing.contains(&one) {
            missing.push(one);
        }
    };
    for step in plan.overlays().filter(|step| is_by_program(step)) {
        if step.api == MountApi::New {
            lacks("the new mount API".into(), format!("{name} mounts by its command line"));
        }
        if !step.data.is_empty() {
            lacks("data-only layers".into(), format!("{name} is not known to have them"));
        }
        for option in step.options.iter().filter(|option| !is_common(option)) {
            let why =
                format!("{name} does not say if it heeds it, as the model knows it of the kernel");
            lacks(format!("the overlay option {option}"), why);
        }
        for flag in step.flags.iter().filter(|flag| option_of(**flag).is_none()) {
            let why = format!("{name} takes options of mount(8), and there is none for it");
            lacks(format!("the mount flag {flag:?}").to_lowercase(), why);
        }
    }
    let brought = "its libraries are in the root of the sandbox";
    let has = |top: &&&str| plan.world.paths().any(|path| is_below(path.as_str(), top));
    for top in LIBRARY_DIRECTORIES.iter().filter(has) {
        lacks(format!("/{top} for the libraries of {name}"), "the world has its own".into());
    }
    let mut moved = BTreeSet::new();
    moved.extend(plan.world.actors.iter().filter(|(_, a)| a.root.is_some()).map(|(name, _)| name));
    for step in &plan.steps {
        match &step.operation {
            Operation::Overlay(overlay)
                if is_by_program(overlay) && moved.contains(&step.actor) =>
            {
                let actor = &step.actor;
                lacks(format!("{name} in the root of {actor}"), brought.into());
            }
            operation if operation.described().family == Family::Roots => {
                moved.insert(&step.actor);
            }
            _ => {}
        }
    }
    missing
}

fn is_below(path: &str, top: &str) -> bool {
    path.split('/').find(|part| !part.is_empty() && *part != ".") == Some(top)
}

/// Whether an option asks for nothing that the kernel alone has: what is off, and where the marks are, which a
/// program decides by its rights.
fn is_common(option: &str) -> bool {
    option == "userxattr" || option == "volatile" || option.ends_with("=off")
}

/// The options that the program is given, behind those that name layers.
pub fn options(step: &Overlay) -> impl Iterator<Item = &str> {
    // Marks are where its rights allow it: the kernel needs to be told, a program finds out.
    let given = step.options.iter().map(String::as_str);
    let given = given.filter(|option| *option != "userxattr" && !option.ends_with("=off"));
    given.chain(step.flags.iter().filter_map(|flag| option_of(*flag)))
}

/// The option of mount(8) for a flag of mount(2).
fn option_of(flag: MountFlag) -> Option<&'static str> {
    Some(match flag {
        MountFlag::Ro => "ro",
        MountFlag::Nosuid => "nosuid",
        MountFlag::Nodev => "nodev",
        MountFlag::Noexec => "noexec",
        MountFlag::Noatime => "noatime",
        MountFlag::Sync => "sync",
        MountFlag::Dirsync => "dirsync",
        _ => return None,
    })
}
