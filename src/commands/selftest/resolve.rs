//! What difference blocks of trials like these resolve.

use rand::{RngExt, SeedableRng};

use crate::compare::judge;
use crate::compare::verdict::{self, Verdict};
use crate::record::column::Better;
use crate::stats::Summary;

/// How many comparisons are made up for each difference.
const COMPARISONS: usize = 100;

/// How many of them must find it.
const FOUND: usize = 80;

/// The differences that are tried, in percent.
const TRIED_PCT: [u32; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50];

/// The least difference, in percent, that comparisons of so many blocks mostly find: those are drawn from `blocks`, which have the
/// values of two sides without any difference, and one side is made larger. `None` if not even the largest one is found.
pub(crate) fn least_pct(blocks: &[(f64, f64)], count: usize, threshold: f64, seed: u64) -> Option<u32> {
    let median = |values: &dyn Fn(&(f64, f64)) -> f64| Summary::of(blocks.iter().map(values)).map(|one| one.median);
    // What difference there is is chance.
    let level = median(&|block| block.0)? / median(&|block| block.1)?;
    let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
    let mut finds = |pct: u32| {
        let factor = level * (1.0 + f64::from(pct) / 100.0);
        let mut found = 0;
        for _ in 0..COMPARISONS {
            let (mut base, mut new) = (Vec::new(), Vec::new());
            for index in 0..count {
                let (a, b) = blocks[random.random_range(0..blocks.len())];
                base.push((index, a));
                new.push((index, b * factor));
            }
            let figures = judge::within_run(&base, &new);
            let verdict = verdict::verdict(figures.worse_by(Better::Lower), figures.p.unwrap_or(1.0), threshold);
            found += usize::from(verdict == Verdict::Worse);
        }
        found >= FOUND
    };
    // What is larger is found more often.
    let first = TRIED_PCT.partition_point(|&pct| f64::from(pct) < 100.0 * threshold - 1e-9);
    let tried = &TRIED_PCT[first..];
    tried.get(tried.partition_point(|&pct| !finds(pct))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks with so much noise, in percent.
    fn blocks(noise_pct: f64) -> Vec<(f64, f64)> {
        let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(5);
        let mut value = || 100.0 + noise_pct * random.random_range(-1.7..1.7);
        (0..20).map(|_| (value(), 1.3 * value())).collect()
    }

    #[test]
    fn less_noise_and_more_blocks_resolve_more() {
        let least = |noise, count| least_pct(&blocks(noise), count, 0.03, 1).unwrap_or(99);
        let [quiet, noisy, long] = [least(1.0, 18), least(8.0, 18), least(8.0, 100)];
        assert!(quiet <= 5, "{quiet}");
        assert!(noisy > quiet, "{noisy} and {quiet}");
        assert!(long < noisy, "{long} and {noisy}");
    }

    #[test]
    fn nothing_below_the_threshold_is_resolved() {
        let without_noise = [(100.0, 100.0); 10];
        assert_eq!(least_pct(&without_noise, 18, 0.03, 1), Some(3));
        assert_eq!(least_pct(&without_noise, 18, 0.10, 1), Some(10));
        assert_eq!(least_pct(&[], 10, 0.10, 1), None);
    }
}
