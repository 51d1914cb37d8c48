//! Whether one side tends to have larger values than the other, judged by ranks: a few wild values have little weight.
//!
//! The p-values are those of `scipy.stats.mannwhitneyu` and `scipy.stats.wilcoxon` (see `fixtures/`).

use libm::erfc;

/// Up to so many values a side, without ties, the distribution is counted out.
const EXACT_MAX: usize = 50;

/// Mann and Whitney's U test of two sides.
#[derive(Clone, Debug, Default)]
pub struct MannWhitney {
    /// The distribution of U that was counted out last, and for which two numbers of values.
    counted: Option<(usize, usize, Vec<f64>)>,
}

impl MannWhitney {
    /// The two-sided p-value: exact where no values are tied and neither side has more than 50, else by the normal
    /// approximation, corrected for ties and for continuity. 1 if a side is empty.
    pub fn p(&mut self, a: &[f64], b: &[f64]) -> f64 {
        let (n, m) = (a.len(), b.len());
        if n == 0 || m == 0 {
            return 1.0;
        }
        let mut all: Vec<(f64, bool)> = a.iter().map(|&value| (value, true)).collect();
        all.extend(b.iter().map(|&value| (value, false)));
        all.sort_by(|left, right| left.0.total_cmp(&right.0));
        let Ranks { ranks, ties } = Ranks::of_sorted(&all, |entry| entry.0);
        let sum: f64 = all.iter().zip(&ranks).filter(|(entry, _)| entry.1).map(|(_, rank)| rank).sum();
        let (nf, mf) = (n as f64, m as f64);
        let u = sum - nf * (nf + 1.0) / 2.0;
        let u = u.max(nf * mf - u);
        if ties == 0.0 && n.max(m) <= EXACT_MAX {
            return (2.0 * upper_tail(self.counts(n.min(m), n.max(m)), u as usize)).min(1.0);
        }
        let count = nf + mf;
        let variance = nf * mf / 12.0 * ((count + 1.0) - ties / (count * (count - 1.0)));
        two_sided((u - nf * mf / 2.0 - 0.5) / variance.sqrt())
    }

    fn counts(&mut self, n: usize, m: usize) -> &[f64] {
        let known = self.counted.take().filter(|counted| (counted.0, counted.1) == (n, m));
        &self.counted.insert(known.unwrap_or_else(|| (n, m, u_counts(n, m)))).2
    }
}

/// The two-sided p-value of Wilcoxon's signed-rank test of differences: exact where none are tied and there are
/// no more than 50, else by the normal approximation, corrected for ties. Differences of 0 are left out; 1 if there
/// are no others.
pub fn wilcoxon(differences: &[f64]) -> f64 {
    let mut all: Vec<f64> = differences.iter().copied().filter(|&difference| difference != 0.0).collect();
    let n = all.len();
    if n == 0 {
        return 1.0;
    }
    all.sort_by(|left, right| left.abs().total_cmp(&right.abs()));
    let Ranks { ranks, ties } = Ranks::of_sorted(&all, |difference| difference.abs());
    let positive: f64 = all.iter().zip(&ranks).filter(|(value, _)| **value > 0.0).map(|(_, rank)| rank).sum();
    let nf = n as f64;
    let sum = nf * (nf + 1.0) / 2.0;
    let w = positive.max(sum - positive);
    if ties == 0.0 && n <= EXACT_MAX && n == differences.len() {
        return (2.0 * upper_tail(&w_counts(n), w as usize)).min(1.0);
    }
    let variance = (nf * (nf + 1.0) * (2.0 * nf + 1.0) - ties / 2.0) / 24.0;
    two_sided((w - sum / 2.0) / variance.sqrt())
}

/// Ranks from 1 on, and how tied they are.
struct Ranks {
    /// Tied values share the mean of their ranks.
    ranks: Vec<f64>,
    /// The sum of t³ − t over groups of t values that are tied.
    ties: f64,
}

impl Ranks {
    fn of_sorted<T>(sorted: &[T], value: impl Fn(&T) -> f64) -> Self {
        let (mut ranks, mut ties) = (Vec::with_capacity(sorted.len()), 0.0);
        for group in sorted.chunk_by(|a, b| value(a) == value(b)) {
            let (first, t) = (ranks.len() as f64 + 1.0, group.len() as f64);
            ranks.resize(ranks.len() + group.len(), first + (t - 1.0) / 2.0);
            ties += t * t * t - t;
        }
        Self { ranks, ties }
    }
}

/// In how many orders of `n` and `m` values U is 0, 1, …: subsets of `n` of the ranks 1 to n + m by their sum, less the
/// least sum there is.
fn u_counts(n: usize, m: usize) -> Vec<f64> {
    let most = n * m;
    let mut counts = vec![vec![0.0; most + 1]; n + 1];
    counts[0][0] = 1.0;
    for rank in 1..=n + m {
        for taken in (1..=n.min(rank)).rev() {
            // A rank counts by how much it is above the one that the least subset has in its place.
            let above = rank - taken;
            for sum in (above..=most).rev() {
                counts[taken][sum] += counts[taken - 1][sum - above];
            }
        }
    }
    counts.swap_remove(n)
}

/// In how many choices of signs of the ranks 1 to `n` the positive ones have the sum 0, 1, …
fn w_counts(n: usize) -> Vec<f64> {
    let most = n * (n + 1) / 2;
    let mut counts = vec![0.0; most + 1];
    counts[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..=most).rev() {
            counts[sum] += counts[sum - rank];
        }
    }
    counts
}

/// The share of the counts at `from` and above.
fn upper_tail(counts: &[f64], from: usize) -> f64 {
    let all: f64 = counts.iter().sum();
    counts[from.min(counts.len())..].iter().sum::<f64>() / all
}

/// The probability of a standard normal value at least this far up, twice; 1 where all values are alike, and there is
/// no spread to measure it by.
fn two_sided(z: f64) -> f64 {
    if z.is_finite() { erfc(z / std::f64::consts::SQRT_2).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What scipy says, see `fixtures/make.py`.
    const FIXTURES: &str = include_str!("fixtures/scipy.json");

    fn numbers(value: &serde_json::Value) -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
    }

    /// Compares `p` of each case with what scipy says.
    fn check(test: &str, p: impl Fn(&serde_json::Value) -> f64) {
        let fixtures: serde_json::Value = serde_json::from_str(FIXTURES).expect("JSON");
        let cases = fixtures[test].as_array().expect("a list of cases");
        assert!(cases.len() >= 20, "{test}: {} cases", cases.len());
        for case in cases {
            let (found, expected) = (p(case), case["p"].as_f64().expect("a p-value"));
            assert!((found - expected).abs() <= 1e-9 * expected.max(1e-6), "{test}: {found} instead of {case}");
        }
    }

    #[test]
    fn mann_whitney_says_what_scipy_says() {
        check("mannwhitneyu", |case| MannWhitney::default().p(&numbers(&case["a"]), &numbers(&case["b"])));
    }

    #[test]
    fn wilcoxon_says_what_scipy_says() {
        check("wilcoxon", |case| wilcoxon(&numbers(&case["d"])));
    }

    #[test]
    fn benjamini_and_hochberg_say_what_scipy_says() {
        let fixtures: serde_json::Value = serde_json::from_str(FIXTURES).expect("JSON");
        for case in fixtures["false_discovery_control"].as_array().expect("a list of cases") {
            let found = crate::stats::multiple::benjamini_hochberg(&numbers(&case["p"]));
            let close = found.iter().zip(numbers(&case["q"])).all(|(found, q)| (found - q).abs() < 1e-12);
            assert!(close, "{found:?} instead of {case}");
        }
    }

    #[test]
    fn sides_without_any_difference_are_alike() {
        let mut test = MannWhitney::default();
        assert_eq!(test.p(&[7.0; 10], &[7.0; 10]), 1.0);
        assert_eq!((test.p(&[], &[1.0]), wilcoxon(&[]), wilcoxon(&[0.0; 9])), (1.0, 1.0, 1.0));
        assert!(test.p(&[7.0; 10], &[7.1; 10]) < 1e-4, "values without any noise");
    }

    proptest! {
        #[test]
        fn sides_can_be_swapped_and_scaled(
            a in prop::collection::vec(-50.0..50.0, 1..60),
            b in prop::collection::vec(-50.0..50.0, 1..60),
        ) {
            let mut test = MannWhitney::default();
            let p = test.p(&a, &b);
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert!((p - test.p(&b, &a)).abs() < 1e-9);
            let scaled = |values: &[f64]| values.iter().map(|value| 4.0 * value).collect::<Vec<_>>();
            prop_assert_eq!(p, test.p(&scaled(&a), &scaled(&b)));
            let negated: Vec<f64> = a.iter().map(|value| -value).collect();
            prop_assert!((wilcoxon(&a) - wilcoxon(&negated)).abs() < 1e-9);
        }
    }
}
