//! The ratio of two medians, and how far it can be trusted: a percentile bootstrap (Efron and Tibshirani, *An
//! Introduction to the Bootstrap*, chapter 13).
//!
//! A few wild values must not widen it: two trials of ten that another program disturbed are enough for one resample in
//! thirty whose median is wild. So values that are farther than 3 median absolute deviations from the median count as if they were
//! just that far, unless they are more than three in ten, which is no accident. The median itself stays. For ten
//! trials a side, 2% noise, 10% of them 20% slower, and a true change of 5%, `compare` finds the change in 82 to 85% of
//! all cases instead of 72%, and the interval still holds it in 95% (800 simulated comparisons).
//!
//! What is drawn again and again is the *block*. Two trials of one block were run one after the other, so that a drift
//! of the machine is in both; where the two sides have no block in common, each is drawn on its own.
//!
//! The draws do not depend on the values. So they are made once for all comparisons of the same size, as a table of how
//! often each block was drawn in each resample; and the medians of all resamples are found in one pass over the sorted
//! values, by loops that a compiler turns into vector instructions.

use rand::{RngExt, SeedableRng};

use super::median_of_sorted;

/// How many resamples there are.
pub const RESAMPLES: usize = 10_000;

/// The share of the resamples that is left out at either end.
const TAIL: f64 = 0.025;

/// Values farther from the median than so many median absolute deviations are wild, …
const WILD_MAD: f64 = 3.0;
/// … unless they are more than this share.
const WILD_MAX: f64 = 0.3;

/// The most blocks whose draws are kept in a table of bytes; of more, each resample is drawn on its own.
const TABLE_MAX: usize = 255;

/// The most draws for one side: of very many blocks there are fewer resamples, but never less than 1,000.
const DRAWS_MAX: usize = 1 << 26;

/// Decides the draws: the same values always give the same interval.
const SEED: u64 = 0x6870_6265_6e63_6821;

/// The values of one side: each with the number of its block, which no other value of the side has.
pub type Side = [(usize, f64)];

/// Draws resamples.
#[derive(Debug, Default)]
pub struct Bootstrap {
    /// The draws that were made last: of both sides, or of each.
    tables: [Option<Table>; 2],
    /// The base that came last: several sides may be compared with one.
    base: Option<Base>,
}

/// A base, with the medians of its resamples.
#[derive(Debug)]
struct Base {
    values: Vec<(usize, f64)>,
    blocks: usize,
    medians: Vec<f64>,
}

impl Bootstrap {
    /// The interval of `median(new) / median(base)`, where blocks are numbered from 0 on, those of `new` as those of
    /// `base`. `None` if a side is empty, or if the ratio is of nothing to nothing.
    pub fn ratio(&mut self, base: &Side, new: &Side) -> Option<(f64, f64)> {
        if base.is_empty() || new.is_empty() {
            return None;
        }
        let blocks = 1 + base.iter().chain(new).map(|value| value.0).max()?;
        let mut in_base = vec![false; blocks];
        base.iter().for_each(|value| in_base[value.0] = true);
        let together = new.iter().any(|value| in_base[value.0]);
        let [base, new] = [tamed(base), tamed(new)];
        let [base, new] = if together {
            [self.medians_of_base(base, blocks), self.medians(0, &new, blocks)]
        } else {
            let alone =
                |side: &Side| side.iter().enumerate().map(|(index, value)| (index, value.1)).collect::<Vec<_>>();
            let count = base.len();
            [self.medians_of_base(alone(&base), count), self.medians(1, &alone(&new), new.len())]
        };
        // As far as resamples were made of both: of very many blocks there are fewer.
        let mut ratios: Vec<f64> = base.iter().zip(&new).map(|(base, new)| ratio(*base, *new)).collect();
        ratios.retain(|ratio| !ratio.is_nan());
        percentiles(&mut ratios)
    }

    /// As [`Bootstrap::medians`], of a base.
    fn medians_of_base(&mut self, values: Vec<(usize, f64)>, blocks: usize) -> Vec<f64> {
        if let Some(known) = &self.base
            && (&known.values, known.blocks) == (&values, blocks)
        {
            return known.medians.clone();
        }
        let medians = self.medians(0, &values, blocks);
        self.base = Some(Base { values, blocks, medians: medians.clone() });
        medians
    }

    /// The median of each resample; NaN of one that has no value of this side.
    fn medians(&mut self, stream: usize, side: &Side, blocks: usize) -> Vec<f64> {
        let mut sorted = side.to_vec();
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
        if blocks > TABLE_MAX {
            return one_by_one(&sorted, blocks, stream);
        }
        let known = self.tables[stream].take().filter(|table| table.blocks == blocks);
        let table = self.tables[stream].insert(known.unwrap_or_else(|| Table::draw(blocks, stream)));
        table.medians(&sorted)
    }
}

/// The values, the wild ones drawn nearer; all as they are where most are alike, and there is no telling what is wild.
fn tamed(side: &Side) -> Vec<(usize, f64)> {
    let middle = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        median_of_sorted(&values).unwrap_or(0.0)
    };
    let median = middle(side.iter().map(|value| value.1).collect());
    let reach = WILD_MAD * middle(side.iter().map(|value| (value.1 - median).abs()).collect());
    let wild = side.iter().filter(|value| (value.1 - median).abs() > reach).count();
    if reach == 0.0 || wild as f64 > WILD_MAX * side.len() as f64 {
        return side.to_vec();
    }
    side.iter().map(|value| (value.0, value.1.clamp(median - reach, median + reach))).collect()
}

/// What `new` is to `base`: 1 where they are equal, were they 0.
pub fn ratio(base: f64, new: f64) -> f64 {
    if base == new { 1.0 } else { new / base }
}

fn percentiles(values: &mut [f64]) -> Option<(f64, f64)> {
    let last = values.len().checked_sub(1)?;
    let tail = (TAIL * last as f64).floor() as usize;
    let low = *values.select_nth_unstable_by(tail, f64::total_cmp).1;
    let high = *values.select_nth_unstable_by(last - tail, f64::total_cmp).1;
    Some((low, high))
}

fn random(stream: usize) -> rand::rngs::ChaCha8Rng {
    rand::rngs::ChaCha8Rng::seed_from_u64(SEED + stream as u64)
}

/// How often each block is in each resample.
#[derive(Debug)]
struct Table {
    blocks: usize,
    /// Block by block: the count in each resample. It is at most the number of blocks.
    counts: Vec<u8>,
}

impl Table {
    fn draw(blocks: usize, stream: usize) -> Self {
        let (mut random, mut counts) = (random(stream), vec![0; blocks * RESAMPLES]);
        for resample in 0..RESAMPLES {
            for _ in 0..blocks {
                counts[random.random_range(0..blocks) * RESAMPLES + resample] += 1;
            }
        }
        Self { blocks, counts }
    }

    fn of_block(&self, block: usize) -> &[u8] {
        &self.counts[block * RESAMPLES..][..RESAMPLES]
    }

    /// The medians of sorted values: the mean of the lower and the upper middle one, which are the same of an odd
    /// number. How many values are below a middle one is counted by walking up the values.
    fn medians(&self, sorted: &Side) -> Vec<f64> {
        // A side that has all blocks has as many values in each resample.
        let mut total = vec![if sorted.len() == self.blocks { self.blocks as u8 } else { 0 }; RESAMPLES];
        for (block, _) in sorted.iter().filter(|_| sorted.len() < self.blocks) {
            total.iter_mut().zip(self.of_block(*block)).for_each(|(total, count)| *total += count);
        }
        // The middle ones are the (total + 1) / 2-th and the total / 2 + 1-th.
        let lower_place: Vec<u8> = total.iter().map(|&total| total - total / 2).collect();
        let upper_place: Vec<u8> = total.iter().map(|&total| total / 2 + 1).collect();
        let (mut so_far, mut lower, mut upper) = (vec![0_u8; RESAMPLES], vec![0_u8; RESAMPLES], vec![0_u8; RESAMPLES]);
        for (block, _) in sorted {
            so_far.iter_mut().zip(self.of_block(*block)).for_each(|(so_far, count)| *so_far += count);
            for (index, place) in [(&mut lower, &lower_place), (&mut upper, &upper_place)] {
                let below = so_far.iter().zip(place);
                index.iter_mut().zip(below).for_each(|(index, (so_far, place))| *index += u8::from(so_far < place));
            }
        }
        let value = |index: u8| sorted.get(index as usize).map_or(f64::NAN, |value| value.1);
        lower.iter().zip(&upper).map(|(&lower, &upper)| f64::midpoint(value(lower), value(upper))).collect()
    }
}

/// As [`Table::medians`], for any number of blocks.
fn one_by_one(sorted: &Side, blocks: usize, stream: usize) -> Vec<f64> {
    let resamples = (DRAWS_MAX / blocks).clamp(1000, RESAMPLES);
    let (mut random, mut counts) = (random(stream), vec![0_u32; blocks]);
    let mut median = || {
        counts.fill(0);
        for _ in 0..blocks {
            counts[random.random_range(0..blocks)] += 1;
        }
        let total: u32 = sorted.iter().map(|value| counts[value.0]).sum();
        let mut so_far = 0;
        let mut at = |place: u32, from: &mut usize| {
            while so_far < place && *from < sorted.len() {
                so_far += counts[sorted[*from].0];
                *from += 1;
            }
            from.checked_sub(1).map_or(f64::NAN, |index| sorted[index].1)
        };
        if total == 0 {
            return f64::NAN;
        }
        let mut from = 0;
        let lower = at(total.div_ceil(2), &mut from);
        f64::midpoint(lower, at(total / 2 + 1, &mut from))
    };
    (0..resamples).map(|_| median()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn side(values: &[f64]) -> Vec<(usize, f64)> {
        values.iter().copied().enumerate().collect()
    }

    fn apart(values: &[f64], first: usize) -> Vec<(usize, f64)> {
        values.iter().copied().enumerate().map(|(index, value)| (first + index, value)).collect()
    }

    #[test]
    fn both_ways_to_find_the_medians_of_the_same_draws_agree() {
        let values = side(&[5.0, 3.0, 8.0, 1.0, 9.0, 2.0, 7.0]);
        let mut sorted = values.clone();
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
        for present in [&sorted[..], &sorted[1..], &sorted[2..4]] {
            let (all, each) = (Table::draw(7, 0).medians(present), one_by_one(present, 7, 0));
            assert!(all.iter().zip(&each).all(|(a, b)| a == b || a.is_nan() && b.is_nan()));
        }
    }

    #[test]
    fn the_interval_is_that_of_a_plain_bootstrap() {
        let base: Vec<f64> = (0..11).map(|value| 100.0 + f64::from(value)).collect();
        let new: Vec<f64> = base.iter().map(|value| value * 1.1 + 3.0).collect();
        let (low, high) = Bootstrap::default().ratio(&side(&base), &apart(&new, 11)).expect("an interval");
        let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(1);
        let mut median = |values: &[f64]| {
            let mut drawn: Vec<f64> = (0..values.len()).map(|_| values[random.random_range(0..values.len())]).collect();
            drawn.sort_by(f64::total_cmp);
            drawn[drawn.len() / 2]
        };
        let mut ratios: Vec<f64> = (0..RESAMPLES).map(|_| median(&new) / median(&base)).collect();
        ratios.sort_by(f64::total_cmp);
        assert!(ratios[150] <= low && low <= ratios[350], "{low} and not {}", ratios[250]);
        assert!(ratios[9650] <= high && high <= ratios[9850], "{high} and not {}", ratios[9750]);
    }

    #[test]
    fn what_both_sides_share_in_a_block_is_not_in_their_ratio() {
        // The machine drifts by half; both sides are hit alike.
        let base: Vec<f64> = (0..10).map(|block| 100.0 + 5.0 * f64::from(block)).collect();
        let new: Vec<f64> = base.iter().map(|value| value * 1.05).collect();
        let mut bootstrap = Bootstrap::default();
        let (low, high) = bootstrap.ratio(&side(&base), &side(&new)).expect("an interval");
        assert!((low - 1.05).abs() < 1e-9 && (high - 1.05).abs() < 1e-9, "{low} {high}");
        let (low, high) = bootstrap.ratio(&side(&base), &apart(&new, 10)).expect("an interval");
        assert!(low < 0.95 && high > 1.15, "drawn apart, they differ: {low} {high}");
    }

    #[test]
    fn values_without_noise_and_sides_without_values_are_no_trouble() {
        let mut bootstrap = Bootstrap::default();
        assert_eq!(bootstrap.ratio(&side(&[7.0; 10]), &side(&[7.0; 10])), Some((1.0, 1.0)));
        assert_eq!(bootstrap.ratio(&side(&[0.0; 10]), &apart(&[0.0; 6], 10)), Some((1.0, 1.0)));
        assert_eq!(bootstrap.ratio(&side(&[2.0; 10]), &apart(&[3.0; 6], 10)), Some((1.5, 1.5)));
        assert_eq!(bootstrap.ratio(&[], &side(&[1.0])), None);
        assert_eq!(bootstrap.ratio(&side(&[2.0]), &side(&[3.0])), Some((1.5, 1.5)));
        let infinite = bootstrap.ratio(&side(&[0.0; 10]), &side(&[3.0; 10]));
        assert_eq!(infinite, Some((f64::INFINITY, f64::INFINITY)));
    }

    #[test]
    fn wild_values_are_tamed_and_two_kinds_of_values_are_not() {
        let values = |side: &[(usize, f64)]| side.iter().map(|value| value.1).collect::<Vec<_>>();
        let spiked = [98.0, 99.0, 100.0, 101.0, 102.0, 99.5, 100.5, 120.0, 80.0, 100.0];
        let tame = values(&tamed(&side(&spiked)));
        assert!(tame.iter().all(|value| (95.0..=105.0).contains(value)) && tame[..7] == spiked[..7], "{tame:?}");
        let two_kinds = [100.0, 100.1, 100.2, 100.3, 100.4, 100.5, 120.0, 120.1, 120.2, 120.3];
        assert_eq!(values(&tamed(&side(&two_kinds))), two_kinds);
        let alike = [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 120.0];
        assert_eq!(values(&tamed(&side(&alike))), alike);
    }

    #[test]
    fn many_blocks_are_drawn_too() {
        let values: Vec<f64> = (0..1000).map(|value| 100.0 + f64::from(value % 100)).collect();
        let (low, high) = Bootstrap::default().ratio(&side(&values), &apart(&values, 1000)).expect("an interval");
        assert!(low < 1.0 && high > 1.0 && high - low < 0.1, "{low} {high}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn the_interval_lies_within_the_ratios_that_are_possible(
            base in prop::collection::vec(1.0..100.0_f64, 1..20),
            new in prop::collection::vec(1.0..100.0_f64, 1..20),
        ) {
            let (low, high) = Bootstrap::default().ratio(&side(&base), &side(&new)).expect("an interval");
            let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
            prop_assert!(low <= high);
            // Taming draws values towards the median only.
            prop_assert!(low >= least(&new) / most(&base) - 1e-9 && high <= most(&new) / least(&base) + 1e-9);
        }
    }
}
