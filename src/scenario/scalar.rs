//! The leaves of the language: values that are one word in YAML and one string in a plan.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::diag::did_you_mean;

/// Longest path in a scenario, in bytes: longer ones than `PATH_MAX` are there to be refused by the kernel.
const MAX_PATH: usize = 8192;

/// Most lines of an id map, since Linux 4.15.
const MAX_MAP_LINES: usize = 340;

/// Derives serde and the schema of a leaf from its `FromStr` and `Display`.
macro_rules! leaf {
    ($type:ty, $name:literal, $schema:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

/// Permission bits, written in octal: `0755`, `04755`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl FromStr for Mode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if mode <= 0o7777 && !digits.starts_with('+') => Ok(Self(mode)),
            _ => Err(format!(
                "`{}` is not a mode\nexpected three or four octal digits, as in 0644 or 4755",
                text.escape_debug()
            )),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

leaf!(
    Mode,
    "Mode",
    json_schema!({
        "description": "Permission bits in octal: 0755, 04755",
        "type": ["string", "integer"],
        "pattern": "^(0o)?[0-7]{1,5}$"
    })
);

/// A device number, `major:minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
}

impl FromStr for DeviceNumber {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once(':')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match parsed {
            Some((major, minor)) => Ok(Self { major, minor }),
            None => Err(format!(
                "`{}` is not a device number\nexpected \"MAJOR:MINOR\" in quotes, as in \"0:0\"",
                text.escape_debug()
            )),
        }
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

leaf!(
    DeviceNumber,
    "DeviceNumber",
    json_schema!({
        "description": "A device number, \"MAJOR:MINOR\"",
        "type": "string",
        "pattern": "^[0-9]+:[0-9]+$"
    })
);

/// The name of an actor, a step, a case or an open file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as a word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        let rest =
            text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
        if first && rest && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{}` is not a name\nexpected lower case letters, digits, `_` and `-`, with a letter first",
                text.escape_debug()
            ))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

leaf!(
    Name,
    "Name",
    json_schema!({
        "description": "Lower case letters, digits, `_` and `-`, with a letter first",
        "type": "string",
        "pattern": "^[a-z][a-z0-9_-]{0,63}$"
    })
);

/// The name of a program: one that comes with nsharness, or one of the system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramName(String);

impl ProgramName {
    /// The name as a word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it comes with nsharness.
    pub fn is_own(&self) -> bool {
        self.0 == "credentials"
    }
}

impl FromStr for ProgramName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if first && text.chars().all(known) && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{}` is not the name of a program\nexpected a name without a directory, as in sh or mkfs.ext4",
                text.escape_debug()
            ))
        }
    }
}

impl fmt::Display for ProgramName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

leaf!(
    ProgramName,
    "ProgramName",
    json_schema!({
        "description": "`credentials`, which comes with nsharness, or the name of a program of the system, without its directory: `sh`, `mkfs.ext4`",
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
    })
);

/// A path in the world, relative to the root of the sandbox, without `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorldPath(String);

impl WorldPath {
    /// The path; `.` for the root of the sandbox.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorldPath {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        plain_path(text)?;
        if text.starts_with('/') && text != "/" {
            return Err(format!(
                "`{}` starts at the root, which a scenario cannot see\nwrite it relative to the sandbox: `{}`",
                text.escape_debug(),
                text.trim_start_matches('/')
            ));
        }
        if text.split('/').any(|part| part == "..") {
            return Err(format!(
                "`{}` climbs by `..`\nthe world ends at the root of the sandbox; name the place from there",
                text.escape_debug()
            ));
        }
        if text.is_empty() {
            return Err("an empty path\nthe root of the sandbox is `.`".into());
        }
        let parts: Vec<_> = text.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
        Ok(Self(if parts.is_empty() { ".".into() } else { parts.join("/") }))
    }
}

impl fmt::Display for WorldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

leaf!(
    WorldPath,
    "WorldPath",
    json_schema!({
        "description": "A path relative to the root of the sandbox, without `..`",
        "type": "string",
        "minLength": 1
    })
);

/// A path as a step gives it to the kernel: relative to the actor's working directory, or from the
/// actor's root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepPath(String);

impl StepPath {
    /// The path, verbatim.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path, taken from the root of the sandbox, climbs above it at any component.
    pub fn climbs_out(&self) -> bool {
        let mut depth = 0_i64;
        for part in self.0.split('/') {
            match part {
                "" | "." => {}
                ".." => depth -= 1,
                _ => depth += 1,
            }
            if depth < 0 {
                return true;
            }
        }
        false
    }
}

impl FromStr for StepPath {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        plain_path(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl From<&WorldPath> for StepPath {
    fn from(path: &WorldPath) -> Self {
        Self(path.0.clone())
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

leaf!(
    StepPath,
    "StepPath",
    json_schema!({
        "description": "A path for the kernel: relative to the actor's working directory, or from its root",
        "type": "string"
    })
);

fn plain_path(text: &str) -> Result<(), String> {
    if text.len() > MAX_PATH {
        return Err(format!("a path of {} bytes\nat most {MAX_PATH} are allowed", text.len()));
    }
    if text.contains('\0') {
        return Err("a path with a NUL byte\nno system call can be given one".into());
    }
    Ok(())
}

/// An error number by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident)*) => {
        const ERRNOS: &[(&str, i32)] = &[$((stringify!($name), nix::libc::$name)),*];

        #[allow(missing_docs, reason = "errno(3) documents them")]
        impl Errno {
            $(pub const $name: Self = Self(nix::libc::$name);)*
        }
    };
}

// errno(3); numbers come from the C library because they differ between architectures.
errnos! {
    E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF EBADFD EBADMSG EBUSY
    ECANCELED ECHILD ECONNABORTED ECONNREFUSED ECONNRESET EDEADLK EDESTADDRREQ EDOM EDQUOT EEXIST
    EFAULT EFBIG EHOSTDOWN EHOSTUNREACH EIDRM EILSEQ EINPROGRESS EINTR EINVAL EIO EISCONN EISDIR
    EKEYEXPIRED EKEYREJECTED EKEYREVOKED ELIBBAD ELOOP EMEDIUMTYPE EMFILE EMLINK EMSGSIZE EMULTIHOP
    ENAMETOOLONG ENETDOWN ENETUNREACH ENFILE ENOBUFS ENODATA ENODEV ENOENT ENOEXEC ENOKEY ENOLCK
    ENOLINK ENOMEDIUM ENOMEM ENOMSG ENONET ENOPKG ENOPROTOOPT ENOSPC ENOSR ENOSYS ENOTBLK ENOTCONN
    ENOTDIR ENOTEMPTY ENOTRECOVERABLE ENOTSOCK ENOTTY ENOTUNIQ ENXIO EOPNOTSUPP EOVERFLOW EOWNERDEAD
    EPERM EPIPE EPROTO EPROTONOSUPPORT EPROTOTYPE ERANGE EREMCHG EREMOTE EREMOTEIO EROFS ESHUTDOWN
    ESOCKTNOSUPPORT ESPIPE ESRCH ESTALE ETIME ETIMEDOUT ETXTBSY EUCLEAN EUSERS EXDEV
}

impl Errno {
    /// Its name; that of no error where it has none.
    pub fn name(self) -> &'static str {
        ERRNOS.iter().find(|(_, number)| *number == self.0).map_or("errno", |(name, _)| name)
    }

    /// Every name that the language knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ERRNOS.iter().map(|(name, _)| *name)
    }
}

impl FromStr for Errno {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // Linux gives both the same number; errno(3) keeps both names.
        let wanted = if text == "ENOTSUP" { "EOPNOTSUPP" } else { text };
        if let Some((_, number)) = ERRNOS.iter().find(|(name, _)| *name == wanted) {
            return Ok(Self(*number));
        }
        if let Some(number) = text.strip_prefix("errno ").and_then(|n| n.parse().ok()) {
            return Ok(Self(number));
        }
        let hint = match did_you_mean(text, Self::names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "expected a name of errno(3), as in ENOENT".into(),
        };
        Err(format!("unknown errno `{}`\n{hint}", text.escape_debug()))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ERRNOS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

leaf!(
    Errno,
    "Errno",
    json_schema!({
        "description": "The name of an error of errno(3)",
        "enum": Errno::names().collect::<Vec<_>>()
    })
);

/// A capability of capabilities(7), written as `CAP_CHOWN` or `cap_chown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(pub u8);

/// In the order of their numbers in include/uapi/linux/capability.h.
const CAPABILITIES: &[&str] = &[
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
];

impl Capability {
    /// Every capability that the language knows.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CAPABILITIES.len()).map(|number| Self(number as u8))
    }

    /// The bit in a capability set.
    pub fn bit(self) -> u64 {
        1 << self.0
    }
}

impl FromStr for Capability {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let folded = text.to_ascii_lowercase();
        if let Some(number) = CAPABILITIES.iter().position(|name| *name == folded) {
            return Ok(Self(number as u8));
        }
        let hint = match did_you_mean(&folded, CAPABILITIES.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "expected a name of capabilities(7), as in cap_chown".into(),
        };
        Err(format!("unknown capability `{}`\n{hint}", text.escape_debug()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CAPABILITIES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "cap_{}", self.0),
        }
    }
}

leaf!(
    Capability,
    "Capability",
    json_schema!({
        "description": "A capability of capabilities(7)",
        "enum": CAPABILITIES.iter().flat_map(|n| [(*n).to_owned(), n.to_uppercase()]).collect::<Vec<_>>()
    })
);

/// A time for utimensat(2): `now`, `omit`, or whole seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// `UTIME_NOW`
    Now,
    /// `UTIME_OMIT`
    Omit,
    /// Seconds since 1970-01-01 00:00 UTC.
    Seconds(i64),
}

impl FromStr for Timestamp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(Self::Now),
            "omit" => Ok(Self::Omit),
            _ => text.parse().map(Self::Seconds).map_err(|_| {
                format!(
                    "`{}` is not a time\nexpected `now`, `omit` or whole seconds since 1970",
                    text.escape_debug()
                )
            }),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Omit => f.write_str("omit"),
            Self::Seconds(seconds) => write!(f, "{seconds}"),
        }
    }
}

leaf!(
    Timestamp,
    "Timestamp",
    json_schema!({
        "description": "`now`, `omit`, or whole seconds since 1970",
        "type": ["string", "integer"],
        "pattern": "^(now|omit|-?[0-9]+)$"
    })
);

/// Lines of a uid_map or gid_map: `[inside, outside, count]`, as in user_namespaces(7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct IdMap(pub Vec<(u32, u32, u32)>);

impl<'de> Deserialize<'de> for IdMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lines = Vec::<(u32, u32, u32)>::deserialize(deserializer).map_err(|error| {
            // What serde says of a list in a list helps only those who know what is meant.
            de::Error::custom(format!(
                "{error}\nan id map is a list of lines, as in [[0, 1000, 1], [1, 100000, 65536]]"
            ))
        })?;
        let map = Self(lines);
        map.check().map_err(de::Error::custom)?;
        Ok(map)
    }
}

impl IdMap {
    /// The text that is written into the map file.
    pub fn text(&self) -> String {
        self.0
            .iter()
            .map(|(inside, outside, count)| format!("{inside} {outside} {count}\n"))
            .collect()
    }

    /// The rules that no map can break and be meant: raw writes may break them, a world may not.
    fn check(&self) -> Result<(), String> {
        const RAW: &str = "to test how the kernel answers a bad map, use the step `write_uid_map`";
        if self.0.is_empty() {
            return Err(format!("an id map without lines\n{RAW}"));
        }
        if self.0.len() > MAX_MAP_LINES {
            return Err(format!(
                "an id map of {} lines\nthe kernel takes {MAX_MAP_LINES} (user_namespaces(7))",
                self.0.len()
            ));
        }
        for (index, line) in self.0.iter().enumerate() {
            let (inside, outside, count) = *line;
            if count == 0 {
                return Err(format!("an id map line with count 0\n{RAW}"));
            }
            if inside.checked_add(count).is_none() || outside.checked_add(count).is_none() {
                return Err(format!(
                    "the id map line [{inside}, {outside}, {count}] wraps around 4294967295\n{RAW}"
                ));
            }
            for earlier in &self.0[..index] {
                if overlap(earlier.0, inside, earlier.2, count)
                    || overlap(earlier.1, outside, earlier.2, count)
                {
                    return Err(format!(
                        "the id map lines [{}, {}, {}] and [{inside}, {outside}, {count}] overlap\n{RAW}",
                        earlier.0, earlier.1, earlier.2
                    ));
                }
            }
        }
        Ok(())
    }
}

fn overlap(a: u32, b: u32, a_count: u32, b_count: u32) -> bool {
    u64::from(a) < u64::from(b) + u64::from(b_count)
        && u64::from(b) < u64::from(a) + u64::from(a_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_with_or_without_the_leading_zero() {
        assert_eq!("0644".parse(), Ok(Mode(0o644)));
        assert_eq!("4755".parse(), Ok(Mode(0o4755)));
        assert!("0988".parse::<Mode>().is_err());
        assert!("rw-r--r--".parse::<Mode>().is_err());
    }

    #[test]
    fn a_world_path_is_cleaned_and_stays_inside() {
        assert_eq!("./a//b/".parse::<WorldPath>().unwrap().as_str(), "a/b");
        assert!("/etc/passwd".parse::<WorldPath>().is_err());
        assert!("a/../../b".parse::<WorldPath>().is_err());
    }

    #[test]
    fn a_step_path_climbs_out_at_any_component() {
        assert!("a/../../b/c".parse::<StepPath>().unwrap().climbs_out());
        assert!(!"a/../b".parse::<StepPath>().unwrap().climbs_out());
    }

    #[test]
    fn every_errno_has_one_name_each_way() {
        for name in Errno::names() {
            let errno: Errno = name.parse().unwrap();
            assert_eq!(errno.to_string().parse::<Errno>().unwrap(), errno);
        }
    }
}
