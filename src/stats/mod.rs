//! Summaries of numbers, and the statistics of comparisons.
//!
//! - [`median`]: a median with its interval;
//! - [`estimate`]: how much two sides differ, with an interval and a p-value;
//! - [`hosts`]: a change on many hosts, and the hosts that differ;
//! - [`tails`]: high quantiles, from merged histograms;
//! - [`looks`]: when a run has measured enough;
//! - [`multiple`]: p-values adjusted for many tests;
//! - [`search`]: the highest load that holds.

pub mod estimate;
pub mod hosts;
pub mod looks;
pub mod median;
pub mod multiple;
pub mod search;
pub mod tails;

#[cfg(test)]
mod fleet_simulations;
#[cfg(test)]
mod simulations;

/// The median of sorted values; `None` if there are none.
pub fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    quantile_of_sorted(sorted, 0.5)
}

/// A quantile of sorted values, interpolated between neighbours (Hyndman and Fan's type 7).
pub fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let position = q * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    Some(low + (high - low) * position.fract())
}

/// The mean of sorted values without the eighth at either end; `None` if there are none. Rare events do not affect it,
/// and unlike a median it does not jump if there are two kinds of values.
pub fn trimmed_mean_of_sorted(sorted: &[f64]) -> Option<f64> {
    // Rounded up, so that one wild value among a few does not count.
    let ends = sorted.len().div_ceil(8);
    let middle = sorted.get(ends..sorted.len() - ends).filter(|middle| !middle.is_empty()).unwrap_or(sorted);
    (!middle.is_empty()).then(|| middle.iter().sum::<f64>() / middle.len() as f64)
}

/// The median of some values, and their spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// Half the distance between the quartiles, in percent of the median.
    pub spread_pct: f64,
    /// How many values there are.
    pub count: usize,
}

impl Summary {
    /// Summarises values in any order; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let median = median_of_sorted(&values)?;
        let quartile = |q| quantile_of_sorted(&values, q).unwrap_or(median);
        let half = (quartile(0.75) - quartile(0.25)) / 2.0;
        let spread_pct = if median == 0.0 { 0.0 } else { 100.0 * half / median };
        Some(Self { median, spread_pct, count: values.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|q| quantile_of_sorted(&values, q)), [1.0, 1.75, 2.5, 4.0].map(Some));
        assert_eq!(median_of_sorted(&[]), None);
    }

    #[test]
    fn a_trimmed_mean_ignores_wild_values_and_holds_shares() {
        assert_eq!(trimmed_mean_of_sorted(&[]), None);
        assert_eq!(trimmed_mean_of_sorted(&[5.0]), Some(5.0));
        assert_eq!(trimmed_mean_of_sorted(&[1.0, 3.0]), Some(2.0));
        assert_eq!(trimmed_mean_of_sorted(&[1.0, 2.0, 900.0]), Some(2.0));
        assert_eq!(trimmed_mean_of_sorted(&[10.0, 10.0, 10.0, 10.0, 12.0, 12.0, 12.0, 99.0]), Some(11.0));
    }

    #[test]
    fn the_spread_ignores_one_wild_value() {
        let summary = Summary::of([100.0, 102.0, 98.0, 101.0, 99.0, 900.0, f64::NAN]).expect("six values");
        assert_eq!(summary.count, 6);
        assert!((summary.median - 100.5).abs() < 1e-9 && summary.spread_pct < 2.0, "{summary:?}");
        assert_eq!(Summary::of([]), None);
    }
}
