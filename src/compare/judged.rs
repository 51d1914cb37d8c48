//! A judged row: two sides of a cell, or a fleet of hosts, in one metric, and the verdict.

use crate::compare::metrics::Metric;
use crate::compare::verdict::{self, Figures, Verdict};
use crate::compare::warnings::Reason;
use crate::record::cell::CellKey;
use crate::stats::median::ALPHA;
use crate::stats::multiple;

/// What is compared, and the verdict.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The metric.
    pub metric: Metric,
    /// The cell, without what distinguishes the sides.
    pub cell: CellKey,
    /// The names of both sides.
    pub sides: [String; 2],
    /// The figures.
    pub figures: Figures,
    /// The p-value, adjusted for the number of rows.
    pub q: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why there is no verdict.
    pub reason: Option<Reason>,
}

impl Judged {
    /// The interval of the change as a logarithm, with the sign such that above 0 is worse.
    pub fn worse_by(&self) -> Option<(f64, f64)> {
        self.figures.worse_by(self.metric.better)
    }

    /// Whether the sides certainly differ, but by less than the threshold.
    pub fn is_certain(&self) -> bool {
        self.verdict == Verdict::Same && self.q.is_some_and(|q| q < ALPHA)
    }

    /// Whether the change is certainly at least the threshold.
    pub fn is_by_threshold(&self, threshold: f64) -> bool {
        let least = verdict::least(threshold);
        self.worse_by().is_some_and(|(low, high)| match self.verdict {
            Verdict::Worse => low >= least,
            Verdict::Better => high <= -least,
            _ => false,
        })
    }
}

/// Gives each row its verdict: none if there is a reason; else by the interval, the threshold and the p-value, adjusted
/// for all rows. A row without a p-value keeps its verdict: counts of instructions have no noise.
pub(crate) fn judge<'r>(rows: impl Iterator<Item = &'r mut Judged>, threshold: f64) {
    let mut rows: Vec<&mut Judged> = rows.collect();
    for row in rows.iter_mut().filter(|row| row.reason.is_some()) {
        (row.figures.p, row.q, row.verdict) = (None, None, Verdict::None);
    }
    rows.retain(|row| row.figures.p.is_some());
    let p: Vec<f64> = rows.iter().filter_map(|row| row.figures.p).collect();
    for (row, q) in rows.into_iter().zip(multiple::benjamini_hochberg(&p)) {
        row.q = Some(q);
        row.verdict = verdict::verdict(row.worse_by(), q, threshold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::verdict::Ratio;
    use crate::record::columns::Column;

    fn row(low: f64, high: f64, p: Option<f64>) -> Judged {
        let ratio = Some(Ratio { value: f64::midpoint(low, high), interval: Some((low, high)) });
        Judged {
            metric: Metric::of(Column::ns_per_packet_p50).expect("a metric"),
            cell: CellKey::of(|_| ""),
            sides: ["A".into(), "B".into()],
            figures: Figures { ratio, p, ..Figures::default() },
            q: None,
            verdict: Verdict::Better,
            reason: None,
        }
    }

    #[test]
    fn all_rows_count_for_the_verdict_of_each_and_those_with_a_reason_for_none() {
        let mut rows = [
            row(1.04, 1.2, Some(0.02)),
            row(1.001, 1.02, Some(0.03)),
            row(0.9, 0.95, None),
            Judged { reason: Some(Reason::NoRatio), ..row(1.04, 1.2, Some(0.01)) },
        ];
        judge(rows.iter_mut(), 0.03);
        let found = rows.each_ref().map(|row| (row.q, row.verdict, row.is_certain(), row.is_by_threshold(0.03)));
        assert_eq!(found[0], (Some(0.03), Verdict::Worse, false, true));
        assert_eq!(found[1], (Some(0.03), Verdict::Same, true, false));
        assert_eq!(found[2], (None, Verdict::Better, false, true), "as it was");
        assert_eq!((found[3].0, found[3].1, rows[3].figures.p), (None, Verdict::None, None));
    }
}
