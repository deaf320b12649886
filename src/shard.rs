//! One part of a run or a search that is spread over machines.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Part `index` of `of`, from one: the scenarios whose ids, or the trials whose numbers are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u64,
    of: u64,
}

impl Shard {
    /// The whole.
    pub const WHOLE: Self = Self { index: 1, of: 1 };

    /// Which part it is, from one.
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many parts there are.
    pub fn of(self) -> u64 {
        self.of
    }

    /// Whether a case is in this part.
    ///
    /// What is before the `@` of its id decides and nothing else: a scenario stays where it is when others
    /// come or go, and its cases stay together. The first 64 bits of the id's SHA-256 are divided by the
    /// number of parts: that is promised in docs/reports.md, and must not change.
    pub fn has(self, id: &str) -> bool {
        let scenario = id.split_once('@').map_or(id, |(scenario, _)| scenario);
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(scenario)[..8]);
        u64::from_be_bytes(first) % self.of == self.index - 1
    }

    /// The trials of this part in their order, from the first that is not below `from`.
    pub fn trials(self, from: u64) -> impl Iterator<Item = u64> {
        let own = self.index - 1;
        let ahead = (own + self.of - from % self.of) % self.of;
        let step = usize::try_from(self.of).unwrap_or(usize::MAX);
        from.checked_add(ahead).into_iter().flat_map(move |first| (first..=u64::MAX).step_by(step))
    }
}

impl FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(index, of)| {
            let (index, of): (u64, u64) = (index.parse().ok()?, of.parse().ok()?);
            (1..=of).contains(&index).then_some(Self { index, of })
        });
        parsed.ok_or_else(|| {
            format!("`{}` is no part of a whole: expected K/N, as in 3/16", text.escape_debug())
        })
    }
}

impl TryFrom<String> for Shard {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::Shard;

    #[test]
    fn the_parts_are_the_whole_and_no_two_have_a_trial_in_common() {
        let mut all: Vec<u64> = (1..=3)
            .flat_map(|index| {
                let shard: Shard = format!("{index}/3").parse().unwrap();
                shard.trials(0).take_while(|number| *number < 20).collect::<Vec<_>>()
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_part_goes_on_where_it_was() {
        let shard: Shard = "2/4".parse().unwrap();
        assert_eq!(shard.trials(0).take(3).collect::<Vec<_>>(), [1, 5, 9]);
        assert_eq!(shard.trials(5).take(2).collect::<Vec<_>>(), [5, 9]);
        assert_eq!(shard.trials(6).take(2).collect::<Vec<_>>(), [9, 13]);
        assert_eq!(Shard::WHOLE.trials(7).take(2).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(shard.trials(u64::MAX).count(), 0);
    }

    #[test]
    fn a_scenario_is_in_the_part_that_it_has_always_been_in() {
        // As `printf overlay/whiteout | sha256sum | cut -c 1-16` says, 0x1e8e27817fab1265.
        let shard = |text: &str| text.parse::<Shard>().unwrap();
        assert!(shard("6/16").has("overlay/whiteout"));
        assert!(Shard::WHOLE.has("overlay/whiteout"));
        for id in ["a", "b/c", "overlay/whiteout"] {
            let parts = (1..=5).filter(|index| shard(&format!("{index}/5")).has(id));
            assert_eq!(parts.count(), 1, "{id}");
            for index in 1..=5 {
                let shard = shard(&format!("{index}/5"));
                assert_eq!(shard.has(id), shard.has(&format!("{id}@case")), "{id}");
            }
        }
    }

    #[test]
    fn a_part_is_one_of_several() {
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
