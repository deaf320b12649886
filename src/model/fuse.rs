//! FUSE: who may mount it, by which node of its device.

use super::halt::Halt;
use super::machine::{Machine, ProcId};
use super::steps::{Failure, Named};
use super::vfs::{How, Walk};
use crate::scenario::operation::Fuse;

/// The device number of /dev/fuse.
pub const DEVICE: (u32, u32) = (10, 229);

impl Machine<'_> {
    /// Mounts a directory through FUSE, served by a process of the harness.
    ///
    /// # Errors
    /// What keeps the process from opening the device or from mounting.
    pub fn step_fuse(&mut self, who: ProcId, step: &Fuse) -> Result<(), Failure> {
        self.walk(who, None, step.from.as_str(), Walk::DIRECTORY).of("open")?;
        match &step.device {
            Some(node) => {
                let how = How { read: true, write: true, ..How::default() };
                let file = self.sys_open(who, None, node.as_str(), how, 0).of("open")?;
                self.close(file);
            }
            None => self.must_reach_devices(who)?,
        }
        self.walk(who, None, step.at.as_str(), Walk::default()).of("mount")?;
        self.must_be_able_to_mount(who).of("mount")?;
        let halt = Halt::Lost("what is served through FUSE is not modelled");
        Err(Failure { halt, syscall: "mount" })
    }
}
