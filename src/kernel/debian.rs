//! What Debian has: its releases, and the kernels in them.

use std::fmt;
use std::str::FromStr;

use crate::diag::did_you_mean;

/// A release of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// What the user names it by, behind `debian:`.
    pub word: &'static str,
    /// Its code name, which the archive calls a suite.
    pub suite: &'static str,
    /// The version that its kernels have; the unstable suite has the newest.
    kernel: Option<&'static str>,
}

/// Every release that has kernels that can be fetched.
pub const RELEASES: [Release; 4] = [
    Release { word: "11", suite: "bullseye", kernel: Some("5.10") },
    Release { word: "12", suite: "bookworm", kernel: Some("6.1") },
    Release { word: "13", suite: "trixie", kernel: Some("6.12") },
    Release { word: "sid", suite: "sid", kernel: None },
];

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(word) = text.strip_prefix("debian:") else {
            let near = text
                .split_once(':')
                .filter(|(before, _)| did_you_mean(before, ["debian"]).is_some());
            let hint = near.map_or_else(String::new, |(_, word)| {
                format!("; did you mean `debian:{}`?", word.escape_debug())
            });
            return Err(format!(
                "`{}` names no release: expected debian:RELEASE, as debian:12{hint}",
                text.escape_debug()
            ));
        };
        RELEASES
            .into_iter()
            .find(|release| [release.word, release.suite].contains(&word))
            .ok_or_else(|| unknown(word))
    }
}

fn unknown(word: &str) -> String {
    let words = RELEASES.map(|release| release.word).join(", ");
    let hint = match did_you_mean(word, RELEASES.map(|release| release.suite)) {
        Some(near) => format!("did you mean `debian:{near}`? "),
        None => String::new(),
    };
    format!("no release `{}` of Debian is known: {hint}there are {words}", word.escape_debug())
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "debian:{}", self.word)
    }
}

/// The release of Debian whose kernel is of this version, or may be.
pub fn release_of_kernel(version: &str) -> Option<Release> {
    let numbers = |text: &str| -> Vec<u32> {
        text.split(['.', '-']).map_while(|number| number.parse().ok()).collect()
    };
    let asked = numbers(version);
    let same = |known: &Vec<u32>| asked.iter().zip(known).all(|(a, b)| a == b);
    let of = |release: &Release| release.kernel.map(numbers);
    let newest_known = RELEASES.iter().filter_map(of).max()?;
    // The newest first: `6` alone means the newest of them.
    let named = RELEASES.into_iter().rev().find(|release| of(release).is_some_and(|k| same(&k)));
    named.or_else(|| {
        RELEASES.into_iter().find(|release| release.kernel.is_none() && asked > newest_known)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_tells_the_release_that_has_it() {
        let word = |version| release_of_kernel(version).map(|release| release.word);
        assert_eq!(word("5.10"), Some("11"));
        assert_eq!(word("5.10.46"), Some("11"));
        assert_eq!(word("6.1"), Some("12"));
        assert_eq!(word("6.1.0-44-amd64"), Some("12"));
        assert_eq!(word("6.12"), Some("13"));
        assert_eq!(word("7.2"), Some("sid"));
        assert_eq!(word("6"), Some("13"));
        assert_eq!(word("5.15"), None);
        assert_eq!(word("4.19"), None);
    }

    #[test]
    fn releases_have_numbers_and_code_names() {
        for (text, suite) in
            [("debian:12", "bookworm"), ("debian:trixie", "trixie"), ("debian:sid", "sid")]
        {
            assert_eq!(text.parse::<Release>().map(|release| release.suite), Ok(suite));
        }
        for (text, told) in [
            ("12", "`12` names no release: expected debian:RELEASE"),
            ("debian:99", "no release `99` of Debian is known: there are 11, 12, 13, sid"),
            ("debian:bokworm", "did you mean `debian:bookworm`?"),
        ] {
            let error = text.parse::<Release>().unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
