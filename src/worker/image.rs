//! Empty file systems for `image` in a tree: see fixtures/images/README.md for how they were made.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use flate2::read::GzDecoder;

use crate::scenario::world::Image;

/// How much is written at a time: whole sectors.
const PIECE: usize = 64 << 10;
/// Where ext4 keeps its superblock and its UUID: fs/ext4/ext4.h `struct ext4_super_block`.
const EXT4: Superblock = Superblock { at: 1024, length: 1024, uuid: 104, checksum: None };
/// The same of XFS, with its checksum: fs/xfs/libxfs/xfs_format.h `struct xfs_dsb`.
const XFS: Superblock =
    Superblock { at: 0, length: 512, uuid: 32, checksum: Some(Checksum { at: 224, of: 0..512 }) };
/// The same of Btrfs: include/uapi/linux/btrfs_tree.h `struct btrfs_super_block`.
const BTRFS: Superblock = Superblock {
    at: 65536,
    length: 4096,
    uuid: 32,
    checksum: Some(Checksum { at: 0, of: 32..4096 }),
};

/// A superblock with a UUID that tells file systems apart and may be changed freely: the metadata carry
/// none, or another one.
struct Superblock {
    at: u64,
    length: usize,
    uuid: usize,
    checksum: Option<Checksum>,
}

/// Where a CRC-32C stands, and what it is of: where it stands itself counts as zeros.
struct Checksum {
    at: usize,
    of: std::ops::Range<usize>,
}

/// The first bytes of a record in the log of XFS, and where its UUID stands: fs/xfs/libxfs/xfs_log_format.h
/// `struct xlog_rec_header`.
const LOG_RECORD: &[u8] = &0xFEED_BABE_u32.to_be_bytes();
const LOG_UUID: usize = 304;
const SECTOR: usize = 512;

/// Writes an empty file system to a file, with a UUID of its own: the kernel does not mount two that seem
/// to be one. Only what is not zeros is packed, and written: `fixtures/images/make` says how.
pub fn write(image: Image, file: &File) -> io::Result<()> {
    let packed: &[u8] = match image {
        Image::Ext4 => include_bytes!("../../fixtures/images/ext4.gz"),
        Image::Xfs => include_bytes!("../../fixtures/images/xfs.gz"),
        Image::Btrfs => include_bytes!("../../fixtures/images/btrfs.gz"),
    };
    let mut uuid = [0; 16];
    rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())?;
    let mut unpacked = GzDecoder::new(packed);
    let mut piece = vec![0; PIECE];
    loop {
        let (mut start, mut left) = (number(&mut unpacked)?, number(&mut unpacked)?);
        if left == 0 {
            file.set_len(start)?;
            break;
        }
        while left > 0 {
            let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            let piece = &mut piece[..length];
            unpacked.read_exact(piece)?;
            if image == Image::Xfs {
                name_log_records(piece, &uuid);
            }
            file.write_all_at(piece, start)?;
            start += length as u64;
            left -= length as u64;
        }
    }
    match image {
        Image::Ext4 => EXT4.name(file, &uuid),
        Image::Xfs => XFS.name(file, &uuid),
        Image::Btrfs => BTRFS.name(file, &uuid),
    }
}

/// A log is not replayed where its records name another file system.
fn name_log_records(piece: &mut [u8], uuid: &[u8; 16]) {
    for sector in piece.chunks_exact_mut(SECTOR).filter(|sector| sector.starts_with(LOG_RECORD)) {
        sector[LOG_UUID..LOG_UUID + uuid.len()].copy_from_slice(uuid);
    }
}

fn number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

impl Superblock {
    fn name(&self, file: &File, uuid: &[u8; 16]) -> io::Result<()> {
        let mut block = vec![0; self.length];
        file.read_exact_at(&mut block, self.at)?;
        block[self.uuid..self.uuid + uuid.len()].copy_from_slice(uuid);
        if let Some(Checksum { at, of }) = &self.checksum {
            let field = *at..at + 4;
            block[field.clone()].fill(0);
            let checksum = crc32c(&block[of.clone()]);
            block[field].copy_from_slice(&checksum.to_le_bytes());
        }
        file.write_all_at(&block, self.at)
    }
}

/// The checksum CRC-32C (Castagnoli), of RFC 3720 B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn every_image_has_a_uuid_of_its_own() {
        for (image, superblock) in [(Image::Ext4, EXT4), (Image::Xfs, XFS), (Image::Btrfs, BTRFS)] {
            let uuids = [0, 1].map(|_| {
                let file = tempfile::tempfile().unwrap();
                write(image, &file).unwrap();
                let mut block = vec![0; superblock.length];
                file.read_exact_at(&mut block, superblock.at).unwrap();
                block[superblock.uuid..superblock.uuid + 16].to_vec()
            });
            assert_ne!(uuids[0], uuids[1], "{image:?}");
        }
    }
}
