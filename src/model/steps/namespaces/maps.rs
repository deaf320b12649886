//! The maps of user namespaces: how they are written, and how they are shown.

use std::rc::Rc;

use super::super::{Failure, Named};
use crate::model::halt::Res;
use crate::model::ids::{IdKind, cap, map_out, map_range_out};
use crate::model::machine::{Cred, Extent, Idmap, Machine, NO_ID, ProcId, SuperId, UserNsId};
use crate::model::rules::userns as rules;
use crate::scenario::operation::IdMaps;
use crate::scenario::scalar::Errno;
use crate::transcript::{Value, Values};

/// The bytes of a page, which the text of a map must be shorter than.
const PAGE: usize = 4096;
/// What is written to setgroups must be shorter.
const SETGROUPS_BYTES: usize = 8;
/// Maps of more lines are kept in the order of the ids inside: `UID_GID_MAP_MAX_BASE_EXTENTS`.
const UNSORTED_LINES: usize = 5;

/// A map file that is written: the first text, and another one to the same open file.
#[derive(Clone, Copy)]
pub(super) struct MapFile<'a> {
    pub(super) kind: IdKind,
    pub(super) text: &'a str,
    pub(super) then: Option<&'a str>,
}

impl Machine<'_> {
    pub(super) fn write_map(
        &mut self,
        who: ProcId,
        of: ProcId,
        file: MapFile<'_>,
    ) -> Result<(), Failure> {
        self.may_write_file_of(who, of).of("open")?;
        let opener = Rc::clone(&self.processes[who].cred);
        let userns = self.processes[of].cred.userns;
        self.map_write(&opener, userns, file.kind, file.text, 0).of("write")?;
        if let Some(text) = file.then {
            self.map_write(&opener, userns, file.kind, text, file.text.len()).of("write")?;
        }
        Ok(())
    }

    /// Sets a map of a user namespace, by who opened the map file and writes to it (`map_write`).
    ///
    /// # Errors
    /// What the rules refuse, in the order of the kernel.
    pub fn map_write(
        &mut self,
        opener: &Cred,
        userns: UserNsId,
        kind: IdKind,
        text: &str,
        position: usize,
    ) -> Res<()> {
        let this = &self.user_nss[userns];
        let Some(parent) = this.parent else {
            return self.refuse_by(&rules::MAP_OPENER, Errno::EPERM);
        };
        let elsewhere = opener.userns != userns && opener.userns != parent;
        self.deny(elsewhere, &rules::MAP_OPENER, Errno::EPERM)?;
        self.deny(position != 0, &rules::MAP_POSITION, Errno::EINVAL)?;
        self.deny(text.len() >= PAGE, &rules::MAP_PAGE, Errno::EINVAL)?;
        self.deny(!self.map(userns, kind).is_empty(), &rules::MAP_ONCE, Errno::EPERM)?;
        let without = !self.capable(opener, userns, cap::SYS_ADMIN);
        self.deny(without, &rules::MAP_ADMIN, Errno::EPERM)?;
        let mut map = self.parse_map(text)?;
        self.map_permitted(opener, userns, parent, kind, &map)?;
        for line in &mut map {
            let outside = map_range_out(self.map(parent, kind), line.outside, line.count);
            line.outside = match outside {
                Some(kid) => kid,
                None if self.by(&rules::MAP_EXTENT) => return Err(Errno::EPERM.into()),
                None => map_out(self.map(parent, kind), line.outside).unwrap_or(NO_ID),
            };
        }
        if map.len() > UNSORTED_LINES {
            map.sort_unstable_by_key(|line| line.inside);
        }
        let this = &mut self.user_nss[userns];
        match kind {
            IdKind::User => this.uid_map = map,
            IdKind::Group => this.gid_map = map,
        }
        Ok(())
    }

    /// The lines of a map as they are written, outside in the ids of the namespace above.
    fn parse_map(&self, text: &str) -> Res<Vec<Extent>> {
        // The kernel's strings end at a NUL.
        let text = text.split('\0').next().unwrap_or_default();
        // One newline at the end is no empty line.
        let text = text.strip_suffix('\n').filter(|text| !text.is_empty()).unwrap_or(text);
        let lines = text.split('\n');
        let mut map: Vec<Extent> = Vec::new();
        let saturates = || self.by(&rules::MAP_SATURATES);
        for line in lines {
            let Some(line) = parse_line(line, &saturates) else {
                return self.refuse_by(&rules::MAP_FORMAT, Errno::EINVAL);
            };
            self.deny(line.count == 0, &rules::MAP_EMPTY_RANGE, Errno::EINVAL)?;
            let wraps = line.inside.checked_add(line.count).is_none()
                || line.outside.checked_add(line.count).is_none();
            self.deny(wraps, &rules::MAP_WRAP, Errno::EINVAL)?;
            let overlaps = map.iter().any(|other| overlap(other, &line));
            self.deny(overlaps, &rules::MAP_OVERLAP, Errno::EINVAL)?;
            self.deny(map.len() == 340, &rules::MAP_LINES, Errno::EINVAL)?;
            self.deny(map.len() == 5, &rules::MAP_LINES_5, Errno::EINVAL)?;
            map.push(line);
        }
        Ok(map)
    }

    /// Whether a map may be set (`new_idmap_permitted`).
    fn map_permitted(
        &self,
        opener: &Cred,
        userns: UserNsId,
        parent: UserNsId,
        kind: IdKind,
        map: &[Extent],
    ) -> Res<()> {
        let this = &self.user_nss[userns];
        let maps_root = kind == IdKind::User && map.iter().any(|line| line.outside == 0);
        if maps_root && opener.userns == userns {
            let without = !this.parent_could_setfcap;
            self.deny(without, &rules::MAP_ROOT_INSIDE, Errno::EPERM)?;
        } else if maps_root {
            let without = !self.capable(opener, parent, cap::SETFCAP);
            self.deny(without, &rules::MAP_ROOT_OUTSIDE, Errno::EPERM)?;
        }
        let own = match kind {
            IdKind::User => opener.euid,
            IdKind::Group => opener.egid,
        };
        let maps_own = this.owner == opener.euid
            && matches!(map, [line] if line.count == 1
                && self.kid(parent, kind, line.outside) == Some(own));
        if maps_own && self.by(&rules::MAP_OWN_ID) {
            let allowed = kind == IdKind::Group && this.setgroups_allowed;
            if !(allowed && self.by(&rules::MAP_GID_DENY)) {
                return Ok(());
            }
        }
        let capability = match kind {
            IdKind::User => cap::SETUID,
            IdKind::Group => cap::SETGID,
        };
        let without = !self.capable(opener, parent, capability);
        self.deny(without, &rules::MAP_SETID, Errno::EPERM)
    }

    pub(super) fn write_setgroups(
        &mut self,
        who: ProcId,
        of: ProcId,
        text: &str,
    ) -> Result<(), Failure> {
        self.may_write_file_of(who, of).of("open")?;
        let cred = &self.processes[who].cred;
        let userns = self.processes[of].cred.userns;
        let without = !self.capable(cred, userns, cap::SYS_ADMIN);
        self.deny(without, &rules::SETGROUPS_FILE_ADMIN, Errno::EACCES).of("open")?;
        self.setgroups_write(userns, text).of("write")
    }

    /// Sets whether a user namespace allows setgroups(2) (`proc_setgroups_write`).
    ///
    /// # Errors
    /// What the rules refuse.
    pub fn setgroups_write(&mut self, userns: UserNsId, text: &str) -> Res<()> {
        let long = text.len() >= SETGROUPS_BYTES;
        self.deny(long, &rules::SETGROUPS_FILE_LENGTH, Errno::EINVAL)?;
        let word = |word| {
            let rest: Option<&str> = text.strip_prefix(word);
            rest.is_some_and(|rest| rest.bytes().all(is_blank))
        };
        let this = &self.user_nss[userns];
        if word("allow") {
            let denied = !this.setgroups_allowed;
            self.deny(denied, &rules::SETGROUPS_ALLOW, Errno::EPERM)?;
            self.user_nss[userns].setgroups_allowed = true;
        } else if word("deny") {
            let late = !this.gid_map.is_empty();
            self.deny(late, &rules::SETGROUPS_DENY, Errno::EPERM)?;
            self.user_nss[userns].setgroups_allowed = false;
        } else {
            self.deny(true, &rules::SETGROUPS_FILE_WORD, Errno::EINVAL)?;
        }
        Ok(())
    }

    /// uid_map, gid_map and setgroups of a user namespace as a reader sees them. Which ids of the host
    /// the sandbox has is up to the host: its own maps are left out, but for those of the first one.
    pub fn shown_maps(&self, reader: UserNsId, userns: UserNsId) -> Values {
        let setgroups = if self.user_nss[userns].setgroups_allowed { "allow" } else { "deny" };
        let mut shown = Values::from([("setgroups".into(), setgroups.into())]);
        let is_first = self.user_nss[userns].parent.is_none();
        if userns != self.sandbox_userns || reader != userns || is_first {
            for (name, kind) in [("uid_map", IdKind::User), ("gid_map", IdKind::Group)] {
                shown.insert(name.into(), self.shown_map(reader, userns, kind));
            }
        }
        shown
    }

    fn shown_map(&self, reader: UserNsId, userns: UserNsId, kind: IdKind) -> Value {
        let map = self.map(userns, kind);
        let mut outside = reader;
        if let Some(parent) = self.user_nss[userns].parent
            && reader == userns
            && !map.is_empty()
            && self.by(&rules::MAP_READER_INSIDE)
        {
            outside = parent;
        }
        let shown = |line: &Extent| {
            let of_reader = self.id_in(outside, kind, line.outside).unwrap_or(NO_ID);
            // The first user namespace has them as they are kept.
            let id = match of_reader != line.outside && !self.by(&rules::MAP_READER) {
                true => line.outside,
                false => of_reader,
            };
            format!("{} {id} {}", line.inside, line.count).into()
        };
        Value::List(map.iter().map(shown).collect())
    }

    // ---- user namespaces for idmapped mounts ----

    /// A user namespace with these maps that a process makes by a child, as it is given to
    /// mount_setattr(2).
    ///
    /// # Errors
    /// The system call that is refused.
    pub fn make_userns_for_idmap(
        &mut self,
        who: ProcId,
        maps: &IdMaps,
    ) -> Result<UserNsId, Failure> {
        let userns = self.create_userns(who).of("unshare")?;
        let opener = Rc::clone(&self.processes[who].cred);
        for (kind, map) in [(IdKind::User, &maps.uid_map), (IdKind::Group, &maps.gid_map)] {
            // The child has the ids of its parent.
            self.may_write_file_of(who, who).of("open")?;
            self.map_write(&opener, userns, kind, &map.text(), 0).of("write")?;
        }
        Ok(userns)
    }

    /// The id map that a user namespace gives a mount of a file system: the ids inside are those of
    /// the file system's user namespace.
    pub fn idmap_of(&self, userns: UserNsId, sb: SuperId) -> Rc<Idmap> {
        let fs = self.supers[sb].userns;
        let lines = |kind| {
            let mut lines = Vec::new();
            for seen in self.map(userns, kind) {
                for stored in self.map(fs, kind) {
                    lines.extend(intersection(seen, stored));
                }
            }
            lines
        };
        Rc::new(Idmap { uid: lines(IdKind::User), gid: lines(IdKind::Group) })
    }
}

/// What the kernel takes as blank: isspace() of lib/ctype.c.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// One line of a map: three numbers with blanks between them and perhaps around them. Whether a number of more
/// than 64 bits is the highest of them is asked where there is one.
fn parse_line(line: &str, saturates: &dyn Fn() -> bool) -> Option<Extent> {
    let mut rest = line.as_bytes();
    let mut numbers = [0; 3];
    for (index, number) in numbers.iter_mut().enumerate() {
        rest = skip_blanks(rest);
        (*number, rest) = parse_number(rest, saturates);
        match rest.first() {
            Some(byte) if is_blank(*byte) => {}
            None if index == 2 => {}
            _ => return None,
        }
    }
    let [inside, outside, count] = numbers;
    skip_blanks(rest).is_empty().then_some(Extent { inside, outside, count })
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    &text[blanks..]
}

/// A decimal number and what stands behind it. No digits are 0, and of what does not fit into 32 bits the
/// lowest ones count (`simple_strtoul` into 32 bits).
fn parse_number<'t>(text: &'t [u8], saturates: &dyn Fn() -> bool) -> (u32, &'t [u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    let value = |digit: &u8| u64::from(digit - b'0');
    let exact = digits
        .iter()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(value(digit)));
    let wrapped = || {
        let add = |number: u64, digit: &u8| number.wrapping_mul(10).wrapping_add(value(digit));
        digits.iter().fold(0, add)
    };
    let number = exact.unwrap_or_else(|| if saturates() { u64::MAX } else { wrapped() });
    (number as u32, rest)
}

fn overlap(a: &Extent, b: &Extent) -> bool {
    let touches = |a: u32, a_count: u32, b: u32, b_count: u32| {
        u64::from(a) < u64::from(b) + u64::from(b_count)
            && u64::from(b) < u64::from(a) + u64::from(a_count)
    };
    touches(a.inside, a.count, b.inside, b.count) || touches(a.outside, a.count, b.outside, b.count)
}

/// The ids that one line has inside and another one too, from what the other keeps them as to what
/// the first does.
fn intersection(seen: &Extent, stored: &Extent) -> Option<Extent> {
    let first = seen.inside.max(stored.inside);
    let end = |line: &Extent| u64::from(line.inside) + u64::from(line.count);
    let count = end(seen).min(end(stored)).checked_sub(u64::from(first))?;
    let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
    Some(Extent {
        inside: stored.outside + (first - stored.inside),
        outside: seen.outside + (first - seen.inside),
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    #[test]
    fn a_line_is_three_numbers_and_blanks() {
        let parse_line = |text| parse_line(text, &|| true);
        assert_eq!(parse_line("0 1000 1"), Some(line(0, 1000, 1)));
        assert_eq!(parse_line("  00\t1000   01 \r"), Some(line(0, 1000, 1)));
        for wrong in ["", "0 0", "0 0 1 1", "+0 0 1", "0x0 0 1", "0,0,1", "0 0 1x", " ", "-1 0 1"] {
            assert_eq!(parse_line(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_into_32_bits_is_cut_off() {
        let parsed = |text, saturates| parse_line(text, &|| saturates);
        for saturates in [false, true] {
            let cut = parsed("4294967296 4294967297 1", saturates);
            assert_eq!(cut, Some(line(0, 1, 1)));
        }
        assert_eq!(parsed("0 0 18446744073709551621", false), Some(line(0, 0, 5)));
        assert_eq!(parsed("0 0 18446744073709551621", true), Some(line(0, 0, u32::MAX)));
    }

    #[test]
    fn lines_meet_in_the_ids_inside() {
        let stored = line(1, 500, 10);
        assert_eq!(intersection(&line(0, 100, 5), &stored), Some(line(500, 101, 4)));
        assert_eq!(intersection(&line(11, 100, 5), &stored), None);
    }
}
