//! Origins: what of a lower layer a file of the upper one was copied up from: fs/overlayfs/namei.c.

use super::Overlay;
use super::xattrs::Mark;
use crate::model::halt::{Halt, Res};
use crate::model::ids::cap;
use crate::model::machine::{DentryId, Machine};
use crate::model::rules::overlay as rules;
use crate::scenario::scalar::Errno;

/// The length of a file handle of tmpfs with what the overlay puts before it.
const HANDLE_BYTES: usize = 33;

impl Machine<'_> {
    // ---- origins ----

    /// Marks a directory of the upper layer that is merged with a lower one for the first time
    /// (`ovl_fix_origin`).
    pub(super) fn fix_origin(
        &mut self,
        fs: &Overlay,
        dir: DentryId,
        upper: Option<DentryId>,
        lower: DentryId,
    ) -> Res<()> {
        let Some(upper) = upper.filter(|_| !fs.noxattr.get()) else { return Ok(()) };
        let place = fs.upper_place(upper)?;
        if self.mark(fs, place, Mark::Origin)?.is_some() || !self.by(&rules::LOOKUP_SETS_ORIGIN) {
            return Ok(());
        }
        self.ovl_want_write(fs)?;
        self.set_origin(fs, upper, lower)?;
        self.set_impure(fs, dir)
    }

    /// Whether a directory of the upper layer is marked with another origin than the lower one that was found,
    /// which is not merged with it where handles lead to either (`ovl_verify_origin`).
    pub(super) fn has_another_origin(
        &mut self,
        fs: &Overlay,
        upper: Option<DentryId>,
        lower: DentryId,
    ) -> Res<bool> {
        let Some(upper) = upper.filter(|_| fs.config.nfs_export) else { return Ok(false) };
        let origin = self.mark(fs, fs.upper_place(upper)?, Mark::Origin)?;
        let other = origin.is_some_and(|origin| origin != self.origin_handle(lower));
        Ok(other && self.by(&rules::ORIGIN_VERIFIED))
    }

    /// With an index a file without data must have them where it was copied up from.
    pub(super) fn must_be_origin(
        &mut self,
        fs: &Overlay,
        upper: Option<DentryId>,
        lower: DentryId,
    ) -> Res<()> {
        let Some(upper) = upper else { return Ok(()) };
        let origin = self.origin_of(fs, upper)?;
        let other = origin.is_some_and(|(_, origin)| self.inode(origin) != self.inode(lower));
        self.deny(other, &rules::METACOPY_OTHER_ORIGIN, Errno::ESTALE)
    }

    /// Remembers where a file of the upper layer comes from; the value is empty where there are no file
    /// handles (`ovl_set_origin_fh`).
    pub(super) fn set_origin(&mut self, fs: &Overlay, upper: DentryId, lower: DentryId) -> Res<()> {
        let handle =
            if self.has_file_handles(fs, lower) { self.origin_handle(lower) } else { Vec::new() };
        match self.try_mark(fs, upper, Mark::Origin, &handle) {
            // A symbolic link or a special file takes no user.* attribute.
            Err(Halt::Refused(Errno::EPERM)) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Whether a file can be found again by a handle (`ovl_can_decode_fh`).
    pub(super) fn has_file_handles(&self, fs: &Overlay, dentry: DentryId) -> bool {
        let sb = &self.supers[self.dentries[dentry].sb];
        sb.overlay.as_ref().is_none_or(|below| below.config.nfs_export)
            && self.capable_of_machine(&fs.mounter, cap::DAC_READ_SEARCH)
    }

    /// What stands for a file handle: the inode number and as many bytes as a handle of tmpfs has.
    pub(super) fn origin_handle(&self, dentry: DentryId) -> Vec<u8> {
        let mut handle = vec![0; HANDLE_BYTES];
        let inode = &self.inodes[self.real(self.inode(dentry))];
        handle[..8].copy_from_slice(&inode.number.to_le_bytes());
        handle[8..12].copy_from_slice(&inode.sb.number().to_le_bytes());
        handle
    }

    /// The lower file that a file of the upper layer was copied from, by the handle that it carries.
    pub(super) fn origin_of(
        &mut self,
        fs: &Overlay,
        upper: DentryId,
    ) -> Res<Option<(usize, DentryId)>> {
        let place = fs.upper_place(upper)?;
        let handle = match self.mark(fs, place, Mark::Origin)? {
            Some(handle) if handle.len() == HANDLE_BYTES => handle,
            _ => return Ok(None),
        };
        let found = self.dentries.iter().find_map(|(id, dentry)| {
            let layer = fs.lower[..fs.merged]
                .iter()
                .position(|layer| self.dentries[layer.root].sb == dentry.sb)?;
            let same = !dentry.unlinked && self.origin_handle(id) == handle;
            same.then_some((layer, id))
        });
        let kind = self.file_type(self.inode(upper));
        Ok(found.filter(|(_, lower)| self.file_type(self.inode(*lower)) == kind))
    }
}
