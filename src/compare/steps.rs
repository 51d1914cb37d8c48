//! Steps: where, along an order of sides, a cell became better or worse.

use std::fmt;

use crate::compare::axes::AXES;
use crate::compare::report::Report;
use crate::compare::verdict::{Comparison, Verdict};

/// A difference between a side and the one before it.
#[derive(Debug)]
pub(crate) struct Step<'a>(&'a Comparison);

/// All steps of a report that compares each side with the one before it; others have none.
pub(crate) fn find(report: &Report) -> Vec<Step<'_>> {
    let is_step = |comparison: &&Comparison| matches!(comparison.verdict, Verdict::Better | Verdict::Worse);
    let comparisons = report.comparisons.iter().filter(|_| report.in_steps);
    comparisons.filter(is_step).map(Step).collect()
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comparison = self.0;
        let axis = |name: &str| {
            let at = AXES.iter().position(|axis| *axis == name);
            at.and_then(|at| comparison.axes.get(at)).map_or("", String::as_str)
        };
        write!(f, "{} → {}: {} {}, ", comparison.sides[0], comparison.sides[1], axis("scenario"), axis("backend"))?;
        for (name, short) in [("variant", ""), ("batch", "batch "), ("payload", "payload "), ("window", "window ")] {
            if !axis(name).is_empty() {
                write!(f, "{short}{}, ", axis(name))?;
            }
        }
        let change = comparison.figures.ratio.map_or(0.0, |ratio| 100.0 * (ratio.value - 1.0));
        write!(f, "{}: {change:+.1}%, {}", comparison.metric.name, comparison.verdict.name())
    }
}
