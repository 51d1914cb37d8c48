//! The difference that blocks, or pairs of runs, like the measured ones resolve.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::compare::verdict::{self, Verdict};
use crate::stats::Summary;
use crate::stats::estimate::{self, BLOCKS_MANY, Estimate};
use crate::stats::quantile_of_sorted;

/// How many runs are resampled from the measured ones.
const DRAWN: usize = 500;

/// The share of them in which a difference must be found.
const FOUND: f64 = 0.8;

/// What can be resolved; fractions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Resolved {
    /// The median of half the 95% interval.
    pub half: f64,
    /// The smallest difference for which the interval excludes 0 in 80% of all cases.
    pub least: f64,
}

/// What runs of `count` blocks like these would resolve. The differences are those of a cell from itself, in time
/// order, and so are chance. Each run is resampled from consecutive pieces of them, within which neighbours resemble
/// each other as they did. `None` for more blocks than were measured, and for too few.
pub(super) fn by_blocks(differences: &[f64], count: usize, seed: u64) -> Option<Resolved> {
    let level = estimate::pieces(differences)?.center;
    let pieces = estimate::pieces_of(count).filter(|_| count <= differences.len())?;
    drawn(level, seed, |random| {
        let run = (0..pieces).flat_map(|at| {
            let length = (at + 1) * count / pieces - at * count / pieces;
            let first = random.random_range(0..=differences.len() - length);
            &differences[first..first + length]
        });
        estimate::pieces(&run.copied().collect::<Vec<f64>>())
    })
}

/// What so many pairs of runs like these would resolve.
pub(super) fn by_pairs(differences: &[f64], count: usize, seed: u64) -> Option<Resolved> {
    let level = estimate::signed_ranks(differences)?.center;
    drawn(level, seed, |random| {
        let pairs = (0..count).map(|_| differences[random.random_range(0..differences.len())]);
        estimate::signed_ranks(&pairs.collect::<Vec<f64>>())
    })
}

fn drawn(level: f64, seed: u64, mut one: impl FnMut(&mut ChaCha8Rng) -> Option<Estimate>) -> Option<Resolved> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let estimates: Option<Vec<Estimate>> = (0..DRAWN).map(|_| one(&mut random)).collect();
    let estimates = estimates?;
    let half = Summary::of(estimates.iter().map(|found| (found.high - found.low) / 2.0))?.median;
    // A difference shifts the whole interval: it excludes 0 once it exceeds the distance of the lower end from the
    // level.
    let mut needed: Vec<f64> = estimates.iter().map(|found| level - found.low).collect();
    needed.sort_unstable_by(f64::total_cmp);
    Some(Resolved { half: half.exp_m1(), least: quantile_of_sorted(&needed, FOUND)?.exp_m1() })
}

/// Comparisons of a cell with itself: how many there are, and how many are wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// How many there are.
    pub all: usize,
    /// How many have an interval that excludes 0.
    pub excluding: usize,
    /// How many are called better or worse.
    pub different: usize,
}

impl Counted {
    /// From estimates, each judged on its own.
    pub(super) fn of(estimates: impl Iterator<Item = Estimate>, threshold: f64) -> Self {
        let mut counted = Self::default();
        for found in estimates {
            let verdict = verdict::verdict(Some((found.low, found.high)), found.p, threshold);
            counted.all += 1;
            counted.excluding += usize::from(found.low > 0.0 || found.high < 0.0);
            counted.different += usize::from(matches!(verdict, Verdict::Better | Verdict::Worse));
        }
        counted
    }

    /// From blocks: consecutive comparisons of 50 blocks each, or one of all if there are fewer.
    pub(super) fn by_blocks(differences: &[f64], threshold: f64) -> Self {
        let parts = differences.chunks_exact(differences.len().clamp(1, BLOCKS_MANY));
        Self::of(parts.filter_map(estimate::pieces), threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Differences with this much noise, as a fraction.
    fn differences(noise: f64, count: usize) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        (0..count).map(|_| 0.3 + noise * random.random_range(-1.7..1.7)).collect()
    }

    #[test]
    fn less_noise_and_more_blocks_resolve_more() {
        let least = |noise, count| by_blocks(&differences(noise, 400), count, 1).expect("enough").least;
        let [quiet, noisy, long] = [least(0.01, 50), least(0.08, 50), least(0.08, 400)];
        assert!(quiet < 0.02 && noisy > 4.0 * quiet && long < noisy / 2.0, "{quiet} {noisy} {long}");
        let of_pairs = |noise| by_pairs(&differences(noise, 20), 20, 1).expect("enough");
        assert!(of_pairs(0.01).least < of_pairs(0.08).least && of_pairs(0.01).half < of_pairs(0.01).least);
    }

    #[test]
    fn what_was_not_measured_is_not_promised() {
        let measured = differences(0.01, 60);
        for (count, is_known) in [(17, false), (18, true), (60, true), (61, false)] {
            assert_eq!(by_blocks(&measured, count, 1).is_some(), is_known, "{count}");
        }
        assert_eq!(by_blocks(&measured[..17], 17, 1), None);
        assert_eq!(by_pairs(&measured[..5], 20, 1), None);
    }

    #[test]
    fn wrong_verdicts_are_counted() {
        let mut differences = vec![0.0; 100];
        differences.extend([0.5; 50]);
        differences.extend([0.01; 70]);
        assert_eq!(Counted::by_blocks(&differences, 0.03), Counted { all: 4, excluding: 2, different: 1 });
        assert_eq!(Counted::by_blocks(&differences[..20], 0.03).all, 1);
        assert_eq!(Counted::by_blocks(&[], 0.03).all, 0);
    }
}
