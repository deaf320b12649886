//! Conditions on the environment: kernel versions and probes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A kernel version, as far as it is given: `6.6`, `6.18.44`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KernelVersion(pub u32, pub u32, pub u32);

impl KernelVersion {
    /// Reads the leading numbers of what uname(2) calls the release: `6.1.0-18-amd64` is 6.1.0.
    pub fn of_release(release: &str) -> Option<Self> {
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        let mut next = || parts.next()?.parse().ok();
        let (major, minor) = (next()?, next()?);
        Some(Self(major, minor, next().unwrap_or(0)))
    }

    /// The version of the kernel that uname(2) tells of: some distributions give the release the number of
    /// their interface, and what they built is in the text of the version, as
    /// `5.10.0-32-amd64` and `#1 SMP Debian 5.10.223-1 (2024-08-10)`.
    pub fn of_uname(release: &str, version: &str) -> Option<Self> {
        let named = Self::of_release(release)?;
        let mut words = version.split_whitespace().skip_while(|word| *word != "Debian").skip(1);
        let built = words.next().and_then(Self::of_release);
        Some(built.filter(|built| (built.0, built.1) == (named.0, named.1)).unwrap_or(named))
    }
}

impl FromStr for KernelVersion {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match parts.map_err(|_| ())?.as_slice() {
            [major, minor] => Ok(Self(*major, *minor, 0)),
            [major, minor, patch] => Ok(Self(*major, *minor, *patch)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)?;
        if self.2 > 0 { write!(f, ".{}", self.2) } else { Ok(()) }
    }
}

/// Bounds on the kernel version, all of which must hold: `">=5.12"`, `">=6.1, <6.12"`.
#[derive(Clone, Debug)]
pub struct KernelRange {
    text: String,
    bounds: Vec<(Bound, KernelVersion)>,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast,
    Above,
    AtMost,
    Below,
}

impl KernelRange {
    /// Whether a kernel of this version is meant.
    pub fn holds(&self, kernel: KernelVersion) -> bool {
        self.bounds.iter().all(|(bound, version)| match bound {
            Bound::AtLeast => kernel >= *version,
            Bound::Above => kernel > *version,
            Bound::AtMost => kernel <= *version,
            Bound::Below => kernel < *version,
        })
    }
}

impl FromStr for KernelRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| {
            let (bound, rest) = match part.trim() {
                p if p.starts_with(">=") => (Bound::AtLeast, &p[2..]),
                p if p.starts_with("<=") => (Bound::AtMost, &p[2..]),
                p if p.starts_with('>') => (Bound::Above, &p[1..]),
                p if p.starts_with('<') => (Bound::Below, &p[1..]),
                _ => return None,
            };
            Some((bound, rest.trim().parse().ok()?))
        };
        let bounds: Option<Vec<_>> = text.split(',').map(parse).collect();
        match bounds {
            Some(bounds) => Ok(Self { text: text.to_owned(), bounds }),
            None => Err(format!(
                "`{}` is not a range of kernel versions\nexpected bounds as in \">=5.12\" or \">=6.1, <6.12\"",
                text.escape_debug()
            )),
        }
    }
}

impl fmt::Display for KernelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for KernelRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for KernelRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for KernelRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KernelRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bounds on the kernel version, all of which must hold: \">=6.1, <6.12\"",
            "type": "string",
            "pattern": "^ *[<>]=? *[0-9.]+ *(, *[<>]=? *[0-9.]+ *)*$"
        })
    }
}

/// A program that implements something, of any version or of some: `runc`, `crun <1.9`, `fuse-overlayfs`.
#[derive(Clone, Debug)]
pub struct ImplementationRange {
    name: String,
    versions: Option<KernelRange>,
}

impl ImplementationRange {
    /// Whether a program of this name and version is meant.
    pub fn holds(&self, name: &str, version: KernelVersion) -> bool {
        self.name == name && self.versions.as_ref().is_none_or(|range| range.holds(version))
    }
}

impl FromStr for ImplementationRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, versions) = match text.trim().split_once(' ') {
            Some((name, versions)) => (name, Some(versions.trim())),
            None => (text.trim(), None),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let versions = versions.map(str::parse).transpose();
        match versions {
            Ok(versions) if !name.is_empty() && name.chars().all(is_name) => {
                Ok(Self { name: name.to_owned(), versions })
            }
            _ => Err(format!(
                "`{}` is no program\nexpected its name and bounds on its version, as in runc or \"crun <1.9\"",
                text.escape_debug()
            )),
        }
    }
}

impl fmt::Display for ImplementationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.versions.as_ref().map_or(Ok(()), |versions| write!(f, " {versions}"))
    }
}

impl<'de> Deserialize<'de> for ImplementationRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for ImplementationRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ImplementationRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ImplementationRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A program by its name, and bounds on its version: runc, \"crun <1.9\", fuse-overlayfs",
            "type": "string",
            "pattern": "^[A-Za-z0-9._-]+( +[<>]=? *[0-9.]+ *(, *[<>]=? *[0-9.]+ *)*)?$"
        })
    }
}

/// The keys of a condition.
pub const CONDITION_KEYS: &[&str] = &["kernel", "overlay", "probe", "runtime"];

/// A condition on the environment that answers; all parts must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// Bounds on the kernel's version. Prefer a probe: distributions backport.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelRange>,
    /// Values that probes must have, by the names that `nsharness doctor` lists.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub probe: BTreeMap<String, bool>,
    /// The container runtime that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<ImplementationRange>,
    /// The program that mounts overlays instead of the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<ImplementationRange>,
}

impl Condition {
    /// Whether it holds in an environment; a probe without an answer does not hold either way.
    pub fn holds(&self, environment: &dyn Answers) -> bool {
        let is = |range: &Option<ImplementationRange>, found: Option<(&str, KernelVersion)>| {
            range
                .as_ref()
                .is_none_or(|range| found.is_some_and(|(name, version)| range.holds(name, version)))
        };
        self.kernel.as_ref().is_none_or(|range| range.holds(environment.kernel()))
            && self.probe.iter().all(|(name, wanted)| environment.probe(name) == Some(*wanted))
            && is(&self.runtime, environment.runtime())
            && is(&self.overlay, environment.overlay())
    }
}

/// What conditions are held against: an environment that was probed.
pub trait Answers {
    /// The version of the kernel that answers.
    fn kernel(&self) -> KernelVersion;
    /// What a probe found; `None` where it could not be asked.
    fn probe(&self, name: &str) -> Option<bool>;
    /// The name and version of the container runtime, where one is asked.
    fn runtime(&self) -> Option<(&str, KernelVersion)> {
        None
    }
    /// Who speaks beside the model: the kernel, or the program that mounts overlays in its place.
    fn voice(&self) -> &str {
        self.overlay().map_or("kernel", |(name, _)| name)
    }
    /// The name and version of the program that mounts overlays, where the kernel does not.
    fn overlay(&self) -> Option<(&str, KernelVersion)> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_compared_number_by_number() {
        let range: KernelRange = ">=6.6, <6.12".parse().unwrap();
        assert!(range.holds(KernelVersion(6, 6, 0)));
        assert!(range.holds(KernelVersion(6, 11, 9)));
        assert!(!range.holds(KernelVersion(6, 12, 0)));
        assert!(!range.holds(KernelVersion(5, 19, 0)));
        assert!("6.6".parse::<KernelRange>().is_err());
    }

    #[test]
    fn a_release_of_a_distribution_is_a_version() {
        assert_eq!(KernelVersion::of_release("6.1.0-18-amd64"), Some(KernelVersion(6, 1, 0)));
        assert_eq!(KernelVersion::of_release("5.10.46"), Some(KernelVersion(5, 10, 46)));
        let of = |release, version| KernelVersion::of_uname(release, version).unwrap();
        let debian = "#1 SMP Debian 5.10.223-1 (2024-08-10)";
        assert_eq!(of("5.10.0-32-amd64", debian), KernelVersion(5, 10, 223));
        assert_eq!(of("6.1.0-own", debian), KernelVersion(6, 1, 0));
        assert_eq!(of("6.1.9", "#1 SMP PREEMPT_DYNAMIC"), KernelVersion(6, 1, 9));
        assert_eq!(of("6.1.9", "#1 SMP Debian"), KernelVersion(6, 1, 9));
    }
}
