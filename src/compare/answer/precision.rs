//! How precise a run's comparisons are so far.

use crate::compare::answer::settings::SETTINGS;
use crate::compare::axes::By;
use crate::compare::comparisons::Comparisons;
use crate::compare::dataset::Dataset;
use crate::compare::metrics;
use crate::compare::trials::Trials;
use crate::compare::warnings::Reason;
use crate::record::columns::Column;
use crate::record::row::Row;

/// The precision of a run's comparisons.
#[derive(Clone, Debug, PartialEq)]
pub enum Precision {
    /// The widest half of an interval, as a fraction.
    Half(f64),
    /// A comparison has too few blocks for an interval.
    NotYet,
    /// Why no comparison will have a verdict, however many blocks there are.
    Never(String),
}

/// The precision of the comparisons of a run's backends or variants, in each scenario's main metric. A comparison that
/// has no verdict for any reason other than too few blocks does not count.
pub fn precision<'a>(rows: impl Iterator<Item = &'a Row>) -> Precision {
    let data = Dataset::of_rows(metrics::all_defaults().into_iter().map(|metric| metric.column), rows);
    let trials = Trials::new(&data, By::Column(Column::variant), &[]);
    let report = match Comparisons::new(&trials, &SETTINGS) {
        Ok(report) => report,
        Err(error) => return Precision::Never(error.to_string()),
    };
    let (mut widest, mut never) = (None, None);
    for one in &report.comparisons {
        if metrics::defaults(one.cell.get(Column::scenario), "").first() != Some(&one.metric.column) {
            continue;
        }
        match &one.reason {
            Some(Reason::TooFewBlocks { .. }) => return Precision::NotYet,
            Some(reason) => never = Some(reason.to_string()),
            None => {
                let interval = one.figures.ratio.and_then(|ratio| ratio.interval);
                let half = interval.map_or(f64::INFINITY, |(low, high)| (high / low).ln() / 2.0);
                widest = Some(widest.map_or(half, |widest: f64| widest.max(half)));
            }
        }
    }
    widest.map_or_else(|| Precision::Never(never.unwrap_or_else(|| "there are none".into())), Precision::Half)
}
