//! Counts of instructions, under an emulator: what they can be compared by, and when they are usable.
//!
//! They have no noise, and so no test and no number of trials makes them more certain. But if the trials of a cell
//! differ, something has not settled, and the counts are unusable.

use crate::compare::axes::By;
use crate::compare::verdict::{Basis, Figures, Ratio, Verdict, ratio};
use crate::record::column::Better;
use crate::record::columns::Column;
use crate::stats::median::Median;
use crate::stats::median_of_sorted;

/// Trials whose counts differ from each other by more than this, in percent, have not settled.
pub const SETTLED_MAX_PCT: f64 = 0.2;

/// Why counts cannot rank ways of moving datagrams.
pub const RANKS_NOTHING: &str = "Instruction counts ignore caches, the TLB and the cost of entering the kernel, and so \
    flatter whatever makes many system calls or touches much memory. They compare kernels with each other, within one \
    line; they do not rank backends, variants or batch sizes.";

/// Columns by which counts mislead, because the sides differ in how often they enter the kernel, how much memory they
/// touch, or whether instructions are atomic.
const NOT_BY_COUNTS: [Column; 16] = [
    Column::backend,
    Column::variant,
    Column::wait,
    Column::addressing,
    Column::batch,
    Column::payload,
    Column::round,
    Column::ring,
    Column::buffers,
    Column::fd_table,
    Column::sockets,
    Column::active,
    Column::skew,
    Column::flows,
    Column::sharding,
    Column::steer,
];

/// Whether trials under this accelerator are counted, not timed.
pub(crate) fn is_counted(accel: &str) -> bool {
    accel == "icount"
}

/// The column, if counts must not be compared by it.
pub fn misleading(by: &By) -> Option<Column> {
    NOT_BY_COUNTS.into_iter().find(|column| *by == By::Column(*column))
}

/// Whether the counts of a cell agree with each other. A single count is not enough to tell.
pub(crate) fn is_settled(sorted: &[f64]) -> bool {
    let (Some(median), [least, .., most]) = (median_of_sorted(sorted), sorted) else { return false };
    100.0 * (most - least) <= SETTLED_MAX_PCT * median
}

/// The figures of sorted counts: medians with the range of the trials, and no p-value.
pub(crate) fn figures(base: &[f64], new: &[f64]) -> Figures {
    let median = |sorted: &[f64]| {
        let interval = Some((*sorted.first()?, *sorted.last()?));
        Some(Median { value: median_of_sorted(sorted)?, interval })
    };
    let medians = [median(base), median(new)];
    let ends = |median: Median| median.interval.unwrap_or((median.value, median.value));
    let ratio = medians[0].zip(medians[1]).map(|(base, new)| Ratio {
        value: ratio(base.value, new.value),
        interval: Some((ratio(ends(base).1, ends(new).0), ratio(ends(base).0, ends(new).1))),
    });
    let is_finite = |ratio: &Ratio| ratio.value.is_finite() && ratio.interval.is_some_and(|(_, high)| high.is_finite());
    Figures { medians, ratio: ratio.filter(is_finite), p: None, basis: Basis::Counts }
}

/// The verdict on counts of two sides, settled or not.
pub(crate) fn verdict(figures: &Figures, settled: bool, better: Better, threshold: f64) -> Verdict {
    let Some(ratio) = figures.ratio.filter(|_| settled) else { return Verdict::Unclear };
    match better {
        _ if !is_step(ratio, threshold) => Verdict::Same,
        Better::Lower if ratio.value > 1.0 => Verdict::Worse,
        Better::Higher if ratio.value < 1.0 => Verdict::Worse,
        _ => Verdict::Better,
    }
}

/// Whether a change is at least the threshold.
pub(crate) fn is_step(ratio: Ratio, threshold: f64) -> bool {
    (ratio.value - 1.0).abs() >= threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_agree_are_settled_and_one_alone_is_not() {
        assert!(is_settled(&[1000.0, 1001.0]) && is_settled(&[1000.0, 1000.0, 1002.0]));
        assert!(!is_settled(&[1000.0, 1004.0]) && !is_settled(&[1000.0]) && !is_settled(&[]));
    }

    #[test]
    fn the_threshold_alone_judges_what_has_settled() {
        let of = |base: &[f64], new: &[f64]| {
            let settled = is_settled(base) && is_settled(new);
            verdict(&figures(base, new), settled, Better::Lower, 0.01)
        };
        assert_eq!(of(&[1000.0, 1001.0], &[1012.0, 1012.0]), Verdict::Worse);
        assert_eq!(of(&[1000.0, 1001.0], &[980.0, 980.0]), Verdict::Better);
        assert_eq!(of(&[1000.0, 1001.0], &[1005.0, 1005.0]), Verdict::Same);
        assert_eq!(of(&[1000.0, 1001.0], &[1200.0, 1210.0]), Verdict::Unclear);
        assert_eq!(of(&[0.0, 0.0], &[7.0, 7.0]), Verdict::Unclear, "there is no ratio");
    }

    #[test]
    fn counts_are_compared_by_what_leaves_system_calls_and_memory_alone() {
        for column in NOT_BY_COUNTS {
            assert_eq!(misleading(&By::Column(column)), Some(column));
        }
        for by in [By::File, By::Column(Column::kernel), By::Column(Column::hpbench), By::Column(Column::git_rev)] {
            assert_eq!(misleading(&by), None);
        }
    }
}
