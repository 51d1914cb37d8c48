//! How much two sides differ: estimate, 95% interval and p-value, all from one statistic.
//!
//! Everything here works on logarithms of ratios: "twice" and "half" are equally far from "equal". There are three
//! designs, each with its independent unit:
//!
//! - [`pieces`]: differences of the blocks of one run. Neighbouring blocks resemble each other; long pieces do not.
//! - [`signed_ranks`]: differences of pairs of runs, each pair in random order.
//! - [`welch`]: runs of two sides that alternated in time but are not paired.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::median::ALPHA;
use super::median_of_sorted;

/// The difference between two sides, as the logarithm of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub center: f64,
    /// The lower end of its 95% interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The probability of an estimate at least so far from 0 if there is no difference. Below 0.05 exactly if the
    /// interval excludes 0.
    pub p: f64,
}

/// The fewest blocks for an estimate within a run.
pub const BLOCKS_MIN: usize = 18;

/// From so many blocks on there are ten pieces; with fewer, six, and with the fewest, five. Shorter pieces would resemble
/// their neighbours: six of three blocks whose lag-1 correlation is .5 have intervals that hold 89.9% of all cases.
pub const BLOCKS_MANY: usize = 50;
const PIECES: usize = 10;
const PIECES_OF_FEW: usize = 6;
pub(super) const BLOCKS_FEWEST: usize = 24;
const PIECES_OF_FEWEST: usize = 5;

/// The fewest valid blocks of a run for it to count between runs. The median of fewer has no 95% interval, and one
/// block says only what that block was like: with one valid trial of a hundred, a run is not a run of a hundred.
pub const BLOCKS_OF_RUN_MIN: usize = 6;

/// The fewest pairs of runs for an estimate: the signed ranks of fewer have no 95% interval.
pub const PAIRS_MIN: usize = 6;

/// The fewest runs of each side for an estimate without pairs.
pub const RUNS_MIN: usize = 4;

/// How many pieces so many blocks are cut into; `None` for too few.
pub fn pieces_of(blocks: usize) -> Option<usize> {
    match blocks {
        0..BLOCKS_MIN => None,
        BLOCKS_MIN..BLOCKS_FEWEST => Some(PIECES_OF_FEWEST),
        BLOCKS_FEWEST..BLOCKS_MANY => Some(PIECES_OF_FEW),
        _ => Some(PIECES),
    }
}

/// The estimate from differences of blocks of one run, in time order: the mean of the medians of consecutive pieces,
/// with Student's interval. The median ignores a spike; the pieces are long enough to be independent even if blocks are
/// not. Coverage for 100 blocks whose lag-1 correlation is 0, .3, .5, .7: 96, 95, 95, 92% (`simulations.rs`). `None`
/// for fewer than [`BLOCKS_MIN`].
pub fn pieces(differences: &[f64]) -> Option<Estimate> {
    let (count, pieces) = (differences.len(), pieces_of(differences.len())?);
    let medians = (0..pieces).map(|at| {
        let mut piece = differences[at * count / pieces..(at + 1) * count / pieces].to_vec();
        piece.sort_unstable_by(f64::total_cmp);
        median_of_sorted(&piece).unwrap_or(0.0)
    });
    let Moments { mean, variance, .. } = Moments::of(&medians.collect::<Vec<_>>());
    Some(student(mean, (variance / pieces as f64).sqrt(), pieces as f64 - 1.0))
}

/// The estimate from unpaired runs of two sides, by the logarithms of their medians: Welch's (1947). `None` for fewer
/// than [`RUNS_MIN`] a side.
pub fn welch(base: &[f64], new: &[f64]) -> Option<Estimate> {
    if base.len().min(new.len()) < RUNS_MIN {
        return None;
    }
    let [base, new] = [base, new].map(Moments::of);
    let [a, b] = [base, new].map(|side| side.variance / side.count);
    let degrees = if a + b > 0.0 {
        (a + b).powi(2) / (a.powi(2) / (base.count - 1.0) + b.powi(2) / (new.count - 1.0))
    } else {
        base.count.min(new.count) - 1.0
    };
    Some(student(new.mean - base.mean, (a + b).sqrt(), degrees))
}

/// The most runs of one side in a row, if runs alternate.
pub const IN_A_ROW_MAX: usize = 2;

/// The smallest p-value of Welch's test on the places of both sides' runs in time order.
const PLACES_P_MIN: f64 = 0.25;

/// Whether runs alternated, by their sides in time order: no side has more than [`IN_A_ROW_MAX`] in a row, because
/// neighbouring runs resemble each other, and neither side is earlier than the other, because machines drift. Weaker
/// orders of 8 to 20 runs have false verdicts in more than 6% of all cases (`simulations.rs`): `AABABABB` in 7% if the
/// machine drifts, `AAABBBABBBAA` in 9% if neighbours are alike.
pub fn alternate(sides: &[usize]) -> bool {
    let places =
        |side: usize| -> Vec<f64> { (0..sides.len()).filter(|at| sides[*at] == side).map(|at| at as f64).collect() };
    let is_balanced = welch(&places(0), &places(1)).is_none_or(|found| found.p >= PLACES_P_MIN);
    is_balanced && sides.chunk_by(|a, b| a == b).all(|row| row.len() <= IN_A_ROW_MAX)
}

/// Mean and variance of some values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub count: f64,
    pub mean: f64,
    /// Unbiased; NaN for fewer than two values.
    pub variance: f64,
}

impl Moments {
    pub(super) fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}

/// Student's interval and p-value of a mean with a standard error.
fn student(center: f64, error: f64, degrees: f64) -> Estimate {
    let half = student_quantile(degrees) * error;
    Estimate { center, low: center - half, high: center + half, p: student_p(center, error, degrees) }
}

/// The two-sided p-value of a mean with a standard error.
pub(super) fn student_p(center: f64, error: f64, degrees: f64) -> f64 {
    match center.abs() / error {
        statistic if statistic.is_finite() => 2.0 * distribution(degrees).sf(statistic),
        // Without noise, any difference is certain.
        statistic => f64::from(u8::from(statistic.is_nan())),
    }
}

fn distribution(degrees: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, degrees).expect("degrees of freedom above 0")
}

/// The two-sided 95% quantile of Student's distribution.
pub(super) fn student_quantile(degrees: f64) -> f64 {
    distribution(degrees).inverse_cdf(1.0 - ALPHA / 2.0)
}

/// The estimate from differences of pairs: Hodges and Lehmann's, the median of all means of two differences (each with itself
/// included), with the interval and the p-value of the signed ranks (Hollander, Wolfe and Chicken, *Nonparametric Statistical
/// Methods*, 3rd ed., section 3.3). A few wild pairs do not matter. `None` for fewer than [`PAIRS_MIN`].
///
/// The p-value counts means on either side of 0. Without ties it is that of the exact signed-rank test; means that are 0
/// count against a difference.
pub fn signed_ranks(differences: &[f64]) -> Option<Estimate> {
    let count = differences.len();
    if count < PAIRS_MIN {
        return None;
    }
    let pairs = differences.iter().enumerate();
    let mut means: Vec<f64> = pairs.flat_map(|(at, a)| differences[at..].iter().map(move |b| (a + b) / 2.0)).collect();
    means.sort_unstable_by(f64::total_cmp);
    let tail = SignedRanks::new(count);
    let rank = tail.rank()?;
    let [above, below] =
        [means.iter().filter(|mean| **mean > 0.0).count(), means.iter().filter(|mean| **mean < 0.0).count()];
    // The means not on this side are the most that the statistic of the other side can be.
    let p = 2.0 * tail.at_most(means.len() - above).min(tail.at_most(means.len() - below));
    Some(Estimate {
        center: median_of_sorted(&means)?,
        low: means[rank],
        high: means[means.len() - 1 - rank],
        p: p.min(1.0),
    })
}

/// With more pairs the distribution is nearly normal, and takes long to count.
const COUNTED_MAX: usize = 100;

/// The distribution of the sum of the ranks of positive differences, if either sign is equally likely.
#[derive(Debug)]
struct SignedRanks {
    count: f64,
    /// The probability of each sum; empty if the normal distribution is used.
    shares: Vec<f64>,
}

impl SignedRanks {
    fn new(count: usize) -> Self {
        if count > COUNTED_MAX {
            return Self { count: count as f64, shares: Vec::new() };
        }
        let most = count * (count + 1) / 2;
        let mut shares = vec![0.0; most + 1];
        shares[0] = 1.0;
        for rank in 1..=count {
            for sum in (0..=most).rev() {
                let with = if sum >= rank { shares[sum - rank] } else { 0.0 };
                shares[sum] = (shares[sum] + with) / 2.0;
            }
        }
        Self { count: count as f64, shares }
    }

    /// The probability of a sum of at most this.
    fn at_most(&self, sum: usize) -> f64 {
        if self.shares.is_empty() {
            let (mean, variance) = (
                self.count * (self.count + 1.0) / 4.0,
                self.count * (self.count + 1.0) * (2.0 * self.count + 1.0) / 24.0,
            );
            return libm::erfc((mean - sum as f64 - 0.5) / (2.0 * variance).sqrt()) / 2.0;
        }
        self.shares.iter().take(sum + 1).sum()
    }

    /// Which of the sorted means, counted from 0 from either end, is an end of the 95% interval.
    fn rank(&self) -> Option<usize> {
        let most = (self.count * (self.count + 1.0) / 4.0) as usize;
        // The probability rises with the sum.
        let (mut low, mut high) = (0, most + 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.at_most(middle) <= ALPHA / 2.0 { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn students_quantiles_are_those_of_tables() {
        for (degrees, expected) in [(5.0, 2.570_582), (9.0, 2.262_157), (30.0, 2.042_272)] {
            assert!((student_quantile(degrees) - expected).abs() < 1e-5, "{degrees}");
        }
        // Student's density, integrated: of 1 to 6 against 3.
        let Moments { mean, variance, count } = Moments::of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let found = student(mean - 3.0, (variance / count).sqrt(), 5.0);
        assert!((found.p - 0.5416).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn welch_has_its_own_degrees_of_freedom() {
        // Student's density with 5.5208 degrees of freedom, integrated.
        let found = welch(&[1.0, 2.0, 3.0, 4.0], &[3.0, 5.0, 7.0, 9.0, 11.0]).expect("enough");
        assert!((found.center - 4.5).abs() < 1e-12 && (found.p - 0.030_286).abs() < 1e-4, "{found:?}");
        assert_eq!(welch(&[1.0, 2.0, 3.0], &[1.0; 9]), None);
    }

    #[test]
    fn ranks_of_intervals_are_those_of_tables() {
        for (count, rank) in [(6, 0), (8, 3), (10, 8), (20, 52), (50, 434)] {
            assert_eq!(SignedRanks::new(count).rank(), Some(rank), "{count}");
        }
        assert_eq!(SignedRanks::new(5).rank(), None);
        let [counted, normal] = [SignedRanks::new(100), SignedRanks { count: 100.0, shares: Vec::new() }];
        let ranks = [&counted, &normal].map(|it| it.rank().expect("many pairs"));
        assert!(ranks[0].abs_diff(ranks[1]) <= 4, "{ranks:?}");
    }

    #[test]
    fn signed_ranks_are_counted_out() {
        // Six of one sign: 2/64.
        let all: Vec<f64> = (1..=6).map(f64::from).collect();
        let found = signed_ranks(&all).expect("enough");
        assert!(
            (found.p - 0.03125).abs() < 1e-12 && found.low > 0.0 && (found.center - 3.5).abs() < 1e-12,
            "{found:?}"
        );
        let some = [-1.0, -2.5, 3.0, 4.25, -5.125, 6.0625];
        // The ranks of the negative ones are 1, 2 and 5: P(W <= 8) = 22/64, and p is twice that.
        assert!((signed_ranks(&some).expect("enough").p - 0.6875).abs() < 1e-12);
        assert_eq!(signed_ranks(&[0.0; 20]).map(|it| (it.center, it.p)), Some((0.0, 1.0)));
        assert_eq!(signed_ranks(&[1.0; 5]), None);
    }

    #[test]
    fn one_spike_does_not_move_the_estimate_of_a_run() {
        let mut differences: Vec<f64> = (0..100).map(|at| 0.01 + 0.001 * f64::from(at % 5)).collect();
        let before = pieces(&differences).expect("enough");
        differences[37] = 3.0;
        let after = pieces(&differences).expect("enough");
        assert!((after.center - before.center).abs() < 2e-4 && after.low > 0.01, "{before:?} {after:?}");
        assert_eq!(pieces(&differences[..17]), None);
        assert_eq!([17, 18, 23, 24, 49, 50].map(pieces_of), [None, Some(5), Some(5), Some(6), Some(6), Some(10)]);
        assert_eq!(pieces(&[0.0; 20]).map(|it| it.p), Some(1.0));
        assert_eq!(pieces(&[0.5; 20]).map(|it| it.p), Some(0.0));
    }

    proptest! {
        #[test]
        fn the_p_value_is_small_exactly_where_the_interval_excludes_0(
            values in prop::collection::vec(-1.0..1.5_f64, 18..70),
            shift in -0.5..0.5_f64,
        ) {
            let shifted: Vec<f64> = values.iter().map(|value| value + shift).collect();
            let (base, new) = shifted.split_at(shifted.len() / 2);
            for found in [pieces(&shifted), signed_ranks(&shifted), welch(base, new)].into_iter().flatten() {
                prop_assert!(found.low <= found.center && found.center <= found.high);
                let excludes = found.low > 0.0 || found.high < 0.0;
                prop_assert_eq!(found.p < ALPHA || (found.p - ALPHA).abs() < 1e-9, excludes, "{:?}", found);
            }
        }
    }
}
