//! Choices that follow from a seed, the same on every machine and in every version.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};

/// A source of choices. How a number becomes a choice is written down here, so that no other version of a
/// crate makes other trials of a seed.
#[derive(Clone, Debug)]
pub struct Random {
    generator: Pcg64Mcg,
}

impl Random {
    /// The choices of one trial: those of each are independent of all others.
    pub fn of(seed: u64, trial: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&mix(seed).to_le_bytes());
        bytes[8..].copy_from_slice(&mix(trial ^ 0x6e73_6861_726e_6573).to_le_bytes());
        Self { generator: Pcg64Mcg::from_seed(bytes) }
    }

    /// A number below `bound`; zero where there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        // Of 32 bits, whose product with a small bound is spread evenly enough.
        (((self.generator.next_u64() >> 32) * bound as u64) >> 32) as usize
    }

    /// A number from the first to the last.
    pub fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these, which must not be empty.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    /// One of these, if there are any.
    pub fn pick_any<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        if of.is_empty() { None } else { Some(self.pick(of)) }
    }

    /// One of these, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, of: &[(usize, T)]) -> T {
        let mut left = self.below(of.iter().map(|(weight, _)| weight).sum());
        for (weight, one) in of {
            if left < *weight {
                return *one;
            }
            left -= weight;
        }
        of[of.len() - 1].1
    }

    /// Some of these, in their order, each with this chance in a hundred.
    pub fn some<T: Copy>(&mut self, percent: usize, of: &[T]) -> Vec<T> {
        of.iter().copied().filter(|_| self.percent(percent)).collect()
    }
}

/// Spreads the bits of a number (the last step of SplitMix64): seeds are small and near each other.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64, trial: u64) -> Vec<usize> {
        let mut random = Random::of(seed, trial);
        (0..8).map(|_| random.below(1000)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_choices_and_another_gives_others() {
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
        assert_ne!(numbers(1, 2), numbers(2, 2));
        assert_ne!(numbers(1, 2), numbers(2, 1));
    }

    #[test]
    fn what_is_heavy_is_chosen_oftener_and_what_weighs_nothing_is_not() {
        let mut random = Random::of(0, 0);
        let mut counts = [0; 3];
        for _ in 0..1000 {
            counts[random.weighted(&[(0, 0), (1, 1), (9, 2)])] += 1;
        }
        assert!(counts[0] == 0 && counts[1] > 50 && counts[2] > 800, "{counts:?}");
    }
}
