//! Loop devices and the file systems on them: ext4, XFS and Btrfs are kept in memory as tmpfs is, with
//! what tells them apart.

use crate::model::halt::{Halt, Res};
use crate::model::ids::cap;
use crate::model::machine::{
    FsType, InodeId, Kind, LoopDevice, Machine, Place, ProcId, SuperId, Time,
};
use crate::model::rules::{disk as rules, files as file_rules, mount as mount_rules};
use crate::model::steps::{Failure, Named};
use crate::model::vfs::{Change, How, New, NewKind, Walk};
use crate::scenario::operation::Losetup;
use crate::scenario::scalar::Errno;
use crate::scenario::world::Image;

use super::file_systems::Configured;

/// The major number of loop devices.
const LOOP_MAJOR: u32 = 7;
/// What the model's minor numbers start from: none that a scenario would give.
const FIRST_MINOR: u32 = 1 << 19;

impl Machine<'_> {
    /// Makes a file that holds an empty file system.
    pub fn make_image(&mut self, who: ProcId, path: &str, image: Image) -> Result<(), Failure> {
        let (kind, mebibytes) = match image {
            Image::Ext4 => (FsType::Ext4, 1),
            Image::Xfs => (FsType::Xfs, 16),
            Image::Btrfs => (FsType::Btrfs, 18),
        };
        let place = self.make_file(who, path, &[], 0o644)?;
        let cred = std::rc::Rc::clone(&self.processes[who].cred);
        let change = Change { size: Some(mebibytes << 20), ..Change::default() };
        self.fs_setattr(&cred, place.dentry, &change).of("write")?;
        let inode = self.real(self.inode(place.dentry));
        if let Kind::File(data) = &mut self.inodes[inode].kind {
            data.image = Some(kind);
        }
        Ok(())
    }

    /// Attaches a file to a loop device, as the harness does it for the process.
    pub fn step_losetup(&mut self, who: ProcId, step: &Losetup) -> Result<(), Failure> {
        let how = How { read: true, write: !step.read_only, ..How::default() };
        let file = self.sys_open(who, None, step.file.as_str(), how, 0).of("open")?;
        let inode = self.real(self.inode(self.files[file].place.dentry));
        self.close(file);
        self.must_reach_devices(who)?;
        let minor = FIRST_MINOR + u32::try_from(self.loops.len()).unwrap_or(0);
        let node = NewKind::Block(LOOP_MAJOR, minor);
        let at = step.at.as_str();
        self.sys_mknod(who, at, node, 0o600).of("mknod")?;
        let cred = std::rc::Rc::clone(&self.processes[who].cred);
        let place = self.walk(who, None, at, Walk::NO_FOLLOW).of("open")?;
        // What cannot be opened as a device is not left behind.
        let closed = self.mounts[place.mount].flags.nodev || !self.has_devices(place);
        if let Err(halt) = self.deny(closed, &file_rules::OPEN_NODEV, Errno::EACCES) {
            self.fs_remove(&cred, place.dentry).of("unlink")?;
            return Err(Failure { halt, syscall: "open" });
        }
        self.loops.push(LoopDevice { file: inode, read_only: step.read_only, sb: None });
        Ok(())
    }

    /// A node that nobody else sees is made on a tmpfs that is mounted nowhere.
    pub fn must_reach_devices(&self, who: ProcId) -> Result<(), Failure> {
        self.must_be_able_to_mount(who).of("fsopen")?;
        let able = self.capable_of_machine(&self.processes[who].cred, cap::MKNOD);
        self.deny(!able, &file_rules::MKNOD_DEVICE, Errno::EPERM).of("mknod")
    }

    /// Whether a device number is that of a loop device, which the kernel chose.
    pub fn is_loop_device(&self, major: u32, minor: u32) -> bool {
        self.loop_device(major, minor).is_some()
    }

    fn loop_device(&self, major: u32, minor: u32) -> Option<usize> {
        let index = minor.checked_sub(FIRST_MINOR)? as usize;
        (major == LOOP_MAJOR && index < self.loops.len()).then_some(index)
    }

    /// The block device that a source names (`lookup_bdev`).
    pub fn block_device(&mut self, who: ProcId, source: &str) -> Res<Place> {
        let place = self.walk(who, None, source, Walk::default())?;
        let device =
            matches!(self.inodes[self.real(self.inode(place.dentry))].kind, Kind::Block(..));
        self.deny(!device, &mount_rules::BLOCK_DEVICE, Errno::ENOTBLK)?;
        let closed = self.mounts[place.mount].flags.nodev || !self.has_devices(place);
        self.deny(closed, &rules::SOURCE_NODEV, Errno::EACCES)?;
        Ok(place)
    }

    /// The file system on a block device: one, however often it is mounted.
    pub fn mount_disk(&mut self, who: ProcId, kind: FsType, fs: &Configured) -> Res<SuperId> {
        let source = fs.source.clone().unwrap_or_default();
        let place = self.block_device(who, &source)?;
        let inode = self.real(self.inode(place.dentry));
        let device = match self.inodes[inode].kind {
            Kind::Block(major, minor) => match self.loop_device(major, minor) {
                Some(device) => device,
                None => return Err(Halt::Unknown("a block device of the machine is not modelled")),
            },
            // Only where the rule for it is left out: as if the kernel attached the file itself.
            _ => {
                self.loops.push(LoopDevice { file: inode, read_only: false, sb: None });
                self.loops.len() - 1
            }
        };
        let LoopDevice { file, read_only, sb } = self.loops[device].clone();
        self.deny(read_only && !fs.readonly, &rules::READ_ONLY_DEVICE, Errno::EACCES)?;
        let found = self.image_in(file);
        self.deny(found != Some(kind), &rules::WRONG_SUPERBLOCK, Errno::EINVAL)?;
        if let Some(sb) = sb {
            return self.mount_again(sb, fs);
        }
        if self.loops.iter().any(|other| other.file == file && other.sb.is_some()) {
            return Err(Halt::Unknown("one file as two disks is not modelled"));
        }
        let root = New { kind: NewKind::Dir, mode: 0o755, uid: 0, gid: 0 };
        let sb = self.new_super(kind, self.first_userns(), root);
        self.supers[sb].readonly = fs.readonly;
        if kind == FsType::Xfs {
            // As mkfs.xfs(8) writes it.
            let root = self.inode(self.supers[sb].root);
            self.inodes[root].atime = Time::Set(0);
        }
        self.loops[device].sb = Some(sb);
        Ok(sb)
    }

    fn mount_again(&mut self, sb: SuperId, fs: &Configured) -> Res<SuperId> {
        let alive = self.is_alive(sb);
        if alive && self.supers[sb].kind == FsType::Btrfs && self.by(&rules::BTRFS_AGAIN) {
            self.supers[sb].readonly &= fs.readonly;
            return Ok(sb);
        }
        if alive {
            let other = self.supers[sb].readonly != fs.readonly;
            self.deny(other, &rules::OTHER_READ_ONLY, Errno::EBUSY)?;
        }
        self.supers[sb].readonly = fs.readonly;
        Ok(sb)
    }

    fn image_in(&self, file: InodeId) -> Option<FsType> {
        match &self.inodes[file].kind {
            Kind::File(data) => data.image,
            _ => None,
        }
    }
}
