//! The figures of two sides, and the verdict on them.

use crate::record::column::Better;
use crate::stats::estimate::Estimate;
use crate::stats::median::{ALPHA, Median};

/// The verdict on a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The new side is certainly better, and its change may be larger than the threshold.
    Better,
    /// It is certainly worse, and its change may be larger than the threshold.
    Worse,
    /// Any difference is within the threshold.
    Same,
    /// The trials are inconclusive.
    Unclear,
    /// Nothing to judge: there is no interval, or a reason why it would mean nothing.
    None,
}

impl Verdict {
    /// The name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Unclear => "unclear",
            Self::None => "none",
        }
    }
}

/// A ratio, with its 95% interval if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// New to base.
    pub value: f64,
    /// The ends of the interval.
    pub interval: Option<(f64, f64)>,
}

impl From<Estimate> for Ratio {
    fn from(estimate: Estimate) -> Self {
        Self { value: estimate.center.exp(), interval: Some((estimate.low.exp(), estimate.high.exp())) }
    }
}

/// The data behind an interval, and so its scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Basis {
    /// There is no interval.
    #[default]
    Nothing,
    /// Blocks that both sides have: it holds only within their runs.
    Blocks {
        /// How many blocks.
        blocks: usize,
        /// How many runs they are of.
        runs: usize,
    },
    /// Pairs of runs: it holds for other runs, too.
    Pairs {
        /// How many.
        pairs: usize,
    },
    /// Runs of both sides that alternated: it holds for other runs, too.
    Runs {
        /// How many the base and the new side have.
        runs: [usize; 2],
    },
    /// Hosts, each by its pairs of runs: it holds for the median host.
    Hosts {
        /// How many.
        hosts: usize,
    },
    /// Counts, which have no noise.
    Counts,
}

impl Basis {
    /// The name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Blocks { .. } => "blocks",
            Self::Pairs { .. } => "pairs",
            Self::Runs { .. } => "runs",
            Self::Hosts { .. } => "hosts",
            Self::Counts => "counts",
        }
    }
}

/// The figures of two sides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// The medians of the base and of the new side.
    pub medians: [Option<Median>; 2],
    /// The ratio of new to base.
    pub ratio: Option<Ratio>,
    /// The probability of a ratio at least so far from 1 if there is no difference.
    pub p: Option<f64>,
    /// The data behind the interval of the ratio.
    pub basis: Basis,
}

impl Figures {
    /// The interval of the change as a logarithm, with the sign such that above 0 is worse.
    pub fn worse_by(&self, better: Better) -> Option<(f64, f64)> {
        let (low, high) = self.ratio?.interval?;
        let (low, high) = (low.ln(), high.ln());
        Some(if better == Better::Lower { (low, high) } else { (-high, -low) })
    }
}

/// The values of a side with the numbers of their blocks.
pub(crate) type Side = [(usize, f64)];

/// The values without their blocks, sorted.
pub(crate) fn sorted(side: &Side) -> Vec<f64> {
    let mut values: Vec<f64> = side.iter().map(|value| value.1).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The ratio `new` / `base`: 1 if they are equal, even if both are 0.
pub(crate) fn ratio(base: f64, new: f64) -> f64 {
    if base == new { 1.0 } else { new / base }
}

/// The smallest change that matters, as a logarithm. The threshold is a fraction.
pub fn least(threshold: f64) -> f64 {
    threshold.ln_1p()
}

/// The verdict. `worse_by` is the 95% interval of the change, from [`Figures::worse_by`]; without one there is no
/// verdict. `q` is the p-value, adjusted for all rows. The estimate itself has no condition: if the true change equals
/// the threshold, that would be a coin flip.
pub fn verdict(worse_by: Option<(f64, f64)>, q: f64, threshold: f64) -> Verdict {
    let Some((low, high)) = worse_by else { return Verdict::None };
    let least = least(threshold);
    match q < ALPHA {
        _ if -least < low && high < least => Verdict::Same,
        true if low > 0.0 => Verdict::Worse,
        true if high < 0.0 => Verdict::Better,
        _ => Verdict::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Exclusive and complete: exactly one of the verdicts' conditions holds, and it is that of the verdict.
        #[test]
        fn every_interval_has_exactly_one_verdict(
            ends in prop::option::of((-0.2..0.2_f64, -0.2..0.2_f64)), q in 0.0..0.2_f64, threshold in 0.001..0.1_f64,
        ) {
            let interval = ends.map(|(a, b)| (a.min(b), a.max(b)));
            let least = least(threshold);
            let is = |wanted: Verdict| match (interval, wanted) {
                (None, wanted) => wanted == Verdict::None,
                (Some(_), Verdict::None) => false,
                (Some((low, high)), wanted) => {
                    let same = -least < low && high < least;
                    let differs = !same && q < ALPHA;
                    match wanted {
                        Verdict::Same => same,
                        Verdict::Worse => differs && low > 0.0,
                        Verdict::Better => differs && high < 0.0,
                        _ => !same && (q >= ALPHA || low <= 0.0 && high >= 0.0),
                    }
                }
            };
            let all = [Verdict::Better, Verdict::Worse, Verdict::Same, Verdict::Unclear, Verdict::None];
            prop_assert_eq!(all.into_iter().filter(|wanted| is(*wanted)).collect::<Vec<_>>(), [verdict(interval, q, threshold)]);
        }

        #[test]
        fn the_other_direction_has_the_opposite_verdict(low in -0.2..0.2_f64, width in 0.0..0.2_f64, q in 0.0..0.1_f64) {
            let opposite = match verdict(Some((low, low + width)), q, 0.03) {
                Verdict::Better => Verdict::Worse,
                Verdict::Worse => Verdict::Better,
                other => other,
            };
            prop_assert_eq!(verdict(Some((-low - width, -low)), q, 0.03), opposite);
        }
    }

    #[test]
    fn of_a_rate_less_is_worse() {
        let ratio = Some(Ratio { value: 0.9, interval: Some((0.85, 0.95)) });
        let figures = Figures { ratio, ..Figures::default() };
        assert_eq!(verdict(figures.worse_by(Better::Higher), 0.001, 0.03), Verdict::Worse);
        assert_eq!(verdict(figures.worse_by(Better::Lower), 0.001, 0.03), Verdict::Better);
    }
}
