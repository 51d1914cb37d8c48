//! The figures of two sides, and the verdict on them.

use crate::record::column::Better;
use crate::stats::bootstrap::Side;
use crate::stats::median::{ALPHA, Median};

/// What may be said of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The new side is better, by at least the threshold.
    Better,
    /// It is worse, by at least the threshold.
    Worse,
    /// There is no difference beyond the threshold.
    Same,
    /// The trials do not tell.
    Unclear,
    /// The trials say nothing about it.
    Invalid,
}

impl Verdict {
    /// The name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Unclear => "unclear",
            Self::Invalid => "invalid",
        }
    }
}

/// A ratio of medians with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// New to base.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What the figures of two sides are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// The median of the base, of the new side.
    pub medians: [Option<Median>; 2],
    /// What the new one is to the base.
    pub ratio: Option<Ratio>,
    /// How likely values are that differ at least as much where there is no difference.
    pub p: Option<f64>,
}

/// The values without their blocks, sorted.
pub(crate) fn sorted(side: &Side) -> Vec<f64> {
    let mut values: Vec<f64> = side.iter().map(|value| value.1).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// What may be said, of figures whose p-value is worth `q` among those of all other rows.
pub fn verdict(figures: &Figures, q: f64, better: Better, threshold: f64) -> Verdict {
    let Some(Ratio { value, low, high }) = figures.ratio else { return Verdict::Unclear };
    if figures.medians.iter().flatten().any(|median| median.interval.is_none()) {
        return Verdict::Unclear;
    }
    let differs = q < ALPHA && (low > 1.0 || high < 1.0) && (value - 1.0).abs() >= threshold;
    let is_more = value > 1.0;
    match better {
        _ if !differs && low >= 1.0 - threshold && high <= 1.0 + threshold => Verdict::Same,
        _ if !differs => Verdict::Unclear,
        Better::Lower if is_more => Verdict::Worse,
        Better::Higher if !is_more => Verdict::Worse,
        _ => Verdict::Better,
    }
}
