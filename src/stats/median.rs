//! A median and its interval.

use super::median_of_sorted;

/// The probability that an interval misses the true value, at most.
pub const ALPHA: f64 = 0.05;

/// A median with an interval that holds the true median in at least 95% of all cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    /// The median.
    pub value: f64,
    /// The ends of the interval; `None` for fewer than 6 values, which have no such interval.
    pub interval: Option<(f64, f64)>,
}

impl Median {
    /// From sorted values; `None` if there are none.
    pub fn of_sorted(sorted: &[f64]) -> Option<Self> {
        let value = median_of_sorted(sorted)?;
        let interval = interval_rank(sorted.len()).map(|rank| (sorted[rank], sorted[sorted.len() - 1 - rank]));
        Some(Self { value, interval })
    }
}

/// Which value from either end, counted from 0, is the end of a 95% interval of the median of `count` values. The
/// number of values below the true median has a binomial distribution with p = 1/2, whatever the distribution of the
/// values (David and Nagaraja, *Order Statistics*, section 7.1).
pub fn interval_rank(count: usize) -> Option<usize> {
    at_most(count).take(count / 2).take_while(|below| *below <= ALPHA / 2.0).count().checked_sub(1)
}

/// The p-value of the sign test that the median of sorted values is 0: below 0.05 exactly if the interval of
/// [`Median::of_sorted`] excludes 0. A value of 0 counts against a difference.
pub fn sign_test(sorted: &[f64]) -> f64 {
    let [above, below] =
        [sorted.iter().filter(|value| **value > 0.0).count(), sorted.iter().filter(|value| **value < 0.0).count()];
    let others = sorted.len() - above.max(below);
    at_most(sorted.len()).nth(others).map_or(1.0, |tail| (2.0 * tail).min(1.0))
}

/// The probabilities that at most 0, at most 1, … of `count` values are below their median.
fn at_most(count: usize) -> impl Iterator<Item = f64> {
    let n = count as f64;
    // By logarithms: for many values, 2^-n would be 0.
    let mut log_term = -n * std::f64::consts::LN_2;
    let mut sum = 0.0;
    (0..=count).map(move |at| {
        sum += log_term.exp();
        log_term += ((n - at as f64) / (at as f64 + 1.0)).ln();
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_values_have_no_interval_and_ten_reach_from_the_second_to_the_ninth() {
        // As in tables of order-statistic intervals, and scipy.stats.binom.ppf(0.025, n, 0.5).
        for (count, rank) in [(0, None), (1, None), (5, None), (6, Some(0)), (8, Some(0)), (9, Some(1)), (10, Some(1))]
        {
            assert_eq!(interval_rank(count), rank, "{count}");
        }
        for (count, rank) in [(20, 5), (50, 17), (100, 39), (1000, 468), (100_000, 49_689)] {
            assert_eq!(interval_rank(count), Some(rank), "{count}");
        }
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(Median::of_sorted(&values), Some(Median { value: 5.5, interval: Some((2.0, 9.0)) }));
        assert_eq!(Median::of_sorted(&[]), None);
    }

    #[test]
    fn the_sign_test_agrees_with_the_interval() {
        assert!((sign_test(&[1.0; 6]) - 0.03125).abs() < 1e-12);
        assert_eq!((sign_test(&[0.0; 6]), sign_test(&[])), (1.0, 1.0));
        for below in 0..=20 {
            let values: Vec<f64> = (0..20).map(|at| f64::from(at) - f64::from(below) + 0.5).collect();
            let (low, high) = Median::of_sorted(&values).and_then(|median| median.interval).expect("enough");
            assert_eq!(sign_test(&values) < ALPHA, low > 0.0 || high < 0.0, "{below}");
        }
    }
}
