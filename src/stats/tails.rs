//! High quantiles of many samples that cluster: estimate and interval from merged histograms.
//!
//! A tail is a property of all samples. The median of the trials' own 99.9th percentiles is too low if a trial has only
//! one or two samples above it; and an interval that takes samples for independent is too narrow if slow ones cluster.
//! So the histograms are merged into consecutive pieces, and the pieces' shares of samples above the quantile say how
//! certain it is: Woodruff (1952), *Confidence intervals for medians and other position measures*, J. Am. Stat. Assoc.
//! 47.

use hdrhistogram::Histogram;

use super::estimate::{BLOCKS_FEWEST, Estimate, Moments, pieces_of, student_p, student_quantile};

/// The fewest samples above a quantile for its interval.
pub const ABOVE_MIN: u64 = 100;

/// The fewest pieces with samples.
const PIECES_MIN: usize = 6;

/// The fewest trials for an interval: fewer are cut into fewer pieces than that.
pub const TRIALS_MIN: usize = BLOCKS_FEWEST;

/// A quantile of samples, and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail {
    /// The quantile of all samples, in their unit.
    pub value: f64,
    /// The lower end of its 95% interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How many pieces have samples.
    pub pieces: usize,
}

/// Why a quantile has no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTail {
    /// The samples do not reach far enough.
    #[error("too few samples: {0} above the quantile, and its interval needs {ABOVE_MIN}")]
    TooFewAbove(u64),
    /// There are no pieces to compare with each other.
    #[error("too few pieces: {0} with samples, and an interval needs {PIECES_MIN}")]
    TooFewPieces(usize),
}

/// Cuts trials, in time order, into consecutive pieces, as many as for an estimate by blocks
/// ([`super::estimate::pieces`]), and merges each into a histogram. `None` for too few trials.
pub fn cut<T>(trials: &[T], merge: impl Fn(&[T]) -> Histogram<u64>) -> Option<Vec<Histogram<u64>>> {
    let (count, pieces) = (trials.len(), pieces_of(trials.len())?);
    Some((0..pieces).map(|at| merge(&trials[at * count / pieces..(at + 1) * count / pieces])).collect())
}

/// The quantile `at` (0.99 is the 99th percentile) of the samples in consecutive pieces. With e the share of a piece's
/// samples above it, and r = t sd(e) / (√pieces mean(e)), the interval reaches from the quantile at
/// 1 − (1 − `at`) exp(r) to that at 1 − (1 − `at`) exp(−r). Coverage is 95 to 96%, whether slow samples come
/// alone or together (`simulations.rs`).
///
/// # Errors
///
/// If fewer than [`ABOVE_MIN`] samples are above it, or fewer than six pieces have samples.
pub fn quantile(pieces: &[Histogram<u64>], at: f64) -> Result<Tail, NoTail> {
    let pieces: Vec<&Histogram<u64>> = pieces.iter().filter(|piece| !piece.is_empty()).collect();
    let count = pieces.len();
    let Some((first, others)) = pieces.split_first().filter(|_| count >= PIECES_MIN) else {
        return Err(NoTail::TooFewPieces(count));
    };
    let mut all = (*first).clone();
    others.iter().for_each(|other| all += *other);
    let value = all.value_at_quantile(at);
    let above: Vec<u64> = pieces.iter().map(|piece| above(piece, value)).collect();
    let total = above.iter().sum();
    if total < ABOVE_MIN {
        return Err(NoTail::TooFewAbove(total));
    }
    let shares = above.iter().zip(&pieces).map(|(above, piece)| *above as f64 / piece.len() as f64);
    let Moments { mean, variance, .. } = Moments::of(&shares.collect::<Vec<f64>>());
    let half = student_quantile(count as f64 - 1.0) * (variance / count as f64).sqrt() / mean;
    let end = |half: f64| all.value_at_quantile((1.0 - (1.0 - at) * half.exp()).clamp(0.0, 1.0)) as f64;
    Ok(Tail { value: value as f64, low: end(half), high: end(-half), pieces: count })
}

/// How many samples are above a value.
pub fn above(histogram: &Histogram<u64>, value: u64) -> u64 {
    let next = histogram.next_non_equivalent(value);
    if next > histogram.max() { 0 } else { histogram.count_between(next, histogram.max()) }
}

/// The ratio of a quantile of the new side to that of the base, as a logarithm. Its interval is made from the intervals
/// of both sides, which may be lopsided (MOVER: Zou and Donner, 2008, *Construction of confidence limits about effect
/// measures*, Stat. Med. 27). The p-value is from Student's distribution, with the standard error that puts the
/// interval's end nearest to 0 where it is. `None` if a quantile is 0.
pub fn ratio(base: &Tail, new: &Tail) -> Option<Estimate> {
    let logs = |tail: &Tail| [tail.value, tail.low, tail.high].map(f64::ln);
    let ([a, a_low, a_high], [b, b_low, b_high]) = (logs(base), logs(new));
    let center = b - a;
    let [below, above] = [(b - b_low).hypot(a_high - a), (b_high - b).hypot(a - a_low)];
    let degrees = base.pieces.min(new.pieces) as f64 - 1.0;
    let half = if center > 0.0 { below } else { above };
    let error = half / student_quantile(degrees);
    let p = student_p(center, error, degrees);
    [center, below, above].iter().all(|value| value.is_finite()).then_some(Estimate {
        center,
        low: center - below,
        high: center + above,
        p,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::median::ALPHA;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 1 << 20, 3).expect("bounds that are allowed");
        values.into_iter().for_each(|value| histogram.record(value).expect("a value within the bounds"));
        histogram
    }

    fn merged(histograms: &[Histogram<u64>]) -> Histogram<u64> {
        let mut merged = histogram([]);
        histograms.iter().for_each(|other| merged += other);
        merged
    }

    /// Ten pieces of the same thousand values; some pieces have more large ones.
    fn uneven(more: u64) -> Vec<Histogram<u64>> {
        let piece = |at: u64| {
            let large = if at.is_multiple_of(2) { 100 + more } else { 100 - more };
            histogram((0..1000).map(|value| if value < large { 1000 + value } else { 500 + value % 100 }))
        };
        (0..10).map(piece).collect()
    }

    #[test]
    fn the_fewest_trials_have_the_fewest_pieces() {
        assert_eq!(pieces_of(TRIALS_MIN), Some(PIECES_MIN));
        assert!(pieces_of(TRIALS_MIN - 1).is_some_and(|pieces| pieces < PIECES_MIN));
    }

    #[test]
    fn pieces_that_are_alike_leave_no_doubt_and_others_do() {
        let even = quantile(&uneven(0), 0.95).expect("enough");
        assert_eq!((even.low, even.value, even.high, even.pieces), (even.value, even.value, even.value, 10));
        // Shares above the 95th percentile of 0.06 and 0.04: their standard deviation is 0.0105 and
        // r = 2.262 * 0.0105 / (3.162 * 0.05) = 0.15; so from 1 - 0.05 * 1.162 to 1 - 0.05 * 0.860.
        let some = quantile(&uneven(10), 0.95).expect("enough");
        let expected = [1.0 - 0.05 * 1.162, 0.95, 1.0 - 0.05 * 0.860];
        let all = merged(&uneven(10));
        let expected = expected.map(|at| all.value_at_quantile(at) as f64);
        for (found, expected) in [some.low, some.value, some.high].into_iter().zip(expected) {
            assert!((found - expected).abs() <= 3.0, "{some:?}, not {expected}");
        }
    }

    #[test]
    fn too_few_samples_say_so() {
        let pieces = uneven(0);
        assert_eq!(quantile(&pieces, 0.995), Err(NoTail::TooFewAbove(50)));
        assert_eq!(quantile(&pieces[..5], 0.9), Err(NoTail::TooFewPieces(5)));
        assert_eq!(quantile(&[], 0.9), Err(NoTail::TooFewPieces(0)));
        let with_empty: Vec<_> = pieces.into_iter().chain([histogram([])]).collect();
        assert_eq!(quantile(&with_empty, 0.95).map(|tail| tail.pieces), Ok(10));
        let same = vec![histogram(vec![7; 1000]); 10];
        assert_eq!(quantile(&same, 0.9), Err(NoTail::TooFewAbove(0)), "nothing is above the value of all");
    }

    #[test]
    fn trials_are_merged_in_the_order_of_time() {
        let trials: Vec<_> = (0..100).map(|at| histogram([1 + at])).collect();
        let pieces = cut(&trials, merged).expect("enough");
        assert_eq!((pieces.len(), pieces[3].len(), pieces[3].min(), pieces[3].max()), (10, 10, 31, 40));
        assert!(cut(&trials[..17], merged).is_none());
    }

    #[test]
    fn a_ratio_has_the_doubts_of_both_sides() {
        let tail = |value: f64, low: f64, high: f64| Tail { value, low, high, pieces: 10 };
        let e = std::f64::consts::E;
        let found = ratio(&tail(1.0, e.powf(-0.3), e.powf(0.4)), &tail(e, e.powf(0.7), e.powf(1.4))).expect("a ratio");
        // 1 - sqrt(0.3^2 + 0.4^2), and 1 + sqrt(0.4^2 + 0.3^2).
        assert!((found.low - 0.5).abs() < 1e-12 && (found.high - 1.5).abs() < 1e-12, "{found:?}");
        let back = ratio(&tail(e, e.powf(0.7), e.powf(1.4)), &tail(1.0, e.powf(-0.3), e.powf(0.4))).expect("a ratio");
        assert!((back.low + found.high).abs() < 1e-12 && (back.p - found.p).abs() < 1e-12, "{back:?}");
        let close = ratio(&tail(1.0, 0.9, 1.1), &tail(1.1 * 1.0001, 1.0, 1.2)).expect("a ratio");
        assert_eq!(close.p < ALPHA, close.low > 0.0, "{close:?}");
        assert!(found.p < ALPHA && found.p > 0.0001, "{found:?}");
        let certain = tail(2.0, 2.0, 2.0);
        assert_eq!(ratio(&certain, &certain).map(|it| (it.low, it.p)), Some((0.0, 1.0)));
        assert_eq!(ratio(&tail(0.0, 0.0, 1.0), &certain), None);
    }
}
