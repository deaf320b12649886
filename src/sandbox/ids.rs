//! Which ids a sandbox can have: one, or ranges from /etc/subuid, or any as root.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};

use crate::missing::Missing;
use crate::programs::in_path;

/// Where root takes ids from that nobody on the host uses: beyond the ranges that systemd assigns
/// (<https://systemd.io/UIDS-GIDS>) and well inside 31 bits.
const UNUSED_IDS: (u32, u32) = (0x7000_0000, 0x0F00_0000);

/// Where the ids of a sandbox come from.
#[derive(Clone, Debug)]
pub enum IdSource {
    /// Real root: it becomes the first of these ids before it makes a user namespace, so that no
    /// id of the host is mapped at all.
    Root {
        /// First id and count.
        range: (u32, u32),
    },
    /// An ordinary user.
    User {
        /// Its own ids.
        uid: u32,
        /// Its own group.
        gid: u32,
        /// Ranges of subordinate user ids, first and count.
        subuid: Vec<(u32, u32)>,
        /// Ranges of subordinate group ids.
        subgid: Vec<(u32, u32)>,
        /// newuidmap and newgidmap, where both are installed set-user-ID or with capabilities.
        helpers: Option<(PathBuf, PathBuf)>,
    },
}

/// The maps of a sandbox: lines of inside, outside, count.
#[derive(Clone, Debug)]
pub struct Maps {
    /// Lines of uid_map.
    pub uid: Vec<(u32, u32, u32)>,
    /// Lines of gid_map.
    pub gid: Vec<(u32, u32, u32)>,
}

impl Maps {
    /// Whether only id 0 is mapped, which needs no privilege.
    pub fn is_single(&self) -> bool {
        self.uid.len() == 1
    }
}

impl IdSource {
    /// What this process has. `as_root` is what it would do with real root; a worker in a container
    /// whose own user namespace lacks [`UNUSED_IDS`] takes the upper part of what is mapped there.
    pub fn detect() -> Self {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        if uid == 0
            && let Some(range) = unused_range()
        {
            return Self::Root { range };
        }
        let user = user_name(uid);
        Self::User {
            uid,
            gid,
            subuid: subordinate(Path::new("/etc/subuid"), uid, user.as_deref()),
            subgid: subordinate(Path::new("/etc/subgid"), uid, user.as_deref()),
            helpers: in_path("newuidmap").zip(in_path("newgidmap")),
        }
    }

    /// The maps for a sandbox with id 0 and these ranges of ids `[first, last]`.
    ///
    /// # Errors
    /// What is missing on this host, each with its remedy.
    pub fn maps(&self, ranges: &[(u32, u32)]) -> Result<Maps, Vec<Missing>> {
        match self {
            Self::Root { range } => {
                let pool = [(range.0 + 1, range.1 - 1)];
                let lines = allocate(range.0, &pool, ranges).ok_or_else(|| {
                    vec![Missing::new(
                        "enough ids",
                        "the ids of this user namespace do not suffice",
                        "run outside of the container",
                    )]
                })?;
                Ok(Maps { uid: lines.clone(), gid: lines })
            }
            Self::User { uid, gid, .. } if ranges.is_empty() => {
                Ok(Maps { uid: vec![(0, *uid, 1)], gid: vec![(0, *gid, 1)] })
            }
            Self::User { uid, gid, subuid, subgid, helpers } => {
                let wanted: u64 =
                    ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
                let mut missing = Vec::new();
                if helpers.is_none() {
                    missing.push(Missing::new(
                        "newuidmap and newgidmap",
                        "only they can map more than one id for an ordinary user",
                        "install the package uidmap (shadow-utils elsewhere), or run as root",
                    ));
                }
                let mut lines = |own, pool: &[(u32, u32)], file: &str, option: &str| {
                    let lines = allocate(own, pool, ranges);
                    if lines.is_none() {
                        let have: u64 = pool.iter().map(|(_, count)| u64::from(*count)).sum();
                        missing.push(Missing::new(
                            format!("{wanted} subordinate ids in {file}"),
                            format!("uid {uid} has {have}"),
                            format!(
                                "usermod {option} 100000-{} NAME, or run as root",
                                100_000 + wanted - 1
                            ),
                        ));
                    }
                    lines
                };
                let uids = lines(*uid, subuid, "/etc/subuid", "--add-subuids");
                let gids = lines(*gid, subgid, "/etc/subgid", "--add-subgids");
                match (uids, gids) {
                    (Some(uid), Some(gid)) if missing.is_empty() => Ok(Maps { uid, gid }),
                    _ => Err(missing),
                }
            }
        }
    }
}

/// One line for id 0 and one for each range, each within one range of the pool, so that the map has
/// the same lines for everybody.
fn allocate(own: u32, pool: &[(u32, u32)], ranges: &[(u32, u32)]) -> Option<Vec<(u32, u32, u32)>> {
    let mut free = pool.to_vec();
    let mut lines = vec![(0, own, 1)];
    for (first, last) in ranges {
        let count = last.checked_sub(*first)?.checked_add(1)?;
        let from = free.iter_mut().find(|(_, left)| *left >= count)?;
        lines.push((*first, from.0, count));
        *from = (from.0.checked_add(count)?, from.1 - count);
    }
    Some(lines)
}

fn unused_range() -> Option<(u32, u32)> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let groups = fs::read_to_string("/proc/self/gid_map").ok()?;
    let longest = |map: &str| {
        map.lines()
            .filter_map(|line| {
                let mut numbers = line.split_whitespace().map(str::parse::<u32>);
                let (inside, _, count) =
                    (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
                Some((inside, count))
            })
            .max_by_key(|(_, count)| *count)
    };
    let (inside, count) = longest(&map)?;
    let last = inside.checked_add(count - 1)?;
    if last >= UNUSED_IDS.0 + UNUSED_IDS.1 {
        return Some(UNUSED_IDS);
    }
    let (group_inside, group_count) = longest(&groups)?;
    let first = inside.max(group_inside).max(1);
    let end = (inside + count).min(group_inside + group_count);
    (end > first + 1).then(|| (first, end - first))
}

/// The name of a user in /etc/passwd. The static binary cannot load name service modules.
fn user_name(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line =
        passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()))?;
    line.split(':').next().map(str::to_owned)
}

/// The ranges of a user in /etc/subuid or /etc/subgid: see subuid(5).
fn subordinate(file: &Path, uid: u32, user: Option<&str>) -> Vec<(u32, u32)> {
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let range = (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
            (Some(name) == user || name == number).then_some(range)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_lies_in_one_piece_of_the_pool() {
        let pool = [(100_000, 10), (200_000, 70_000)];
        let lines = allocate(1000, &pool, &[(1, 65535), (100_000, 100_003)]).unwrap();
        assert_eq!(lines, [(0, 1000, 1), (1, 200_000, 65535), (100_000, 100_000, 4)]);
        assert!(allocate(1000, &pool, &[(1, 65535), (65536, 131_071)]).is_none());
    }
}
