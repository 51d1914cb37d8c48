//! Steps: where, along a sequence of sides, a cell became more or less expensive.

use std::fmt;

use crate::compare::axes;
use crate::compare::comparisons::Comparisons;
use crate::compare::judge::Comparison;
use crate::compare::verdict::Verdict;
use crate::compare::{counts, sections};
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::text::{counted, percent, wrap};

/// A difference between a side and the one before it.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    comparison: &'a Comparison,
    /// The short names of both sides.
    sides: [&'a str; 2],
    /// The axes that tell the cell from others, apart from the backend, the variant and the batch.
    telling: Vec<Column>,
}

/// All steps of a report that compares each side with the one before it; other reports have none. Steps between counts
/// that have not settled are included, and say so.
pub(crate) fn find(report: &Comparisons) -> Vec<Step<'_>> {
    const SAID_ANYWAY: [Column; 3] = [Column::backend, Column::variant, Column::batch];
    let is_step = |comparison: &Comparison| {
        let is_known = match comparison.verdict {
            Verdict::Better | Verdict::Worse => true,
            Verdict::Unclear => comparison.unsettled,
            _ => false,
        };
        is_known && comparison.figures.ratio.is_some_and(|ratio| counts::is_step(ratio, report.threshold))
    };
    let mut steps = Vec::new();
    for rows in sections::of(report).into_iter().filter(|_| report.in_steps) {
        let (mut telling, _) = sections::split_axes(&rows);
        telling.retain(|axis| !SAID_ANYWAY.contains(axis));
        steps.extend(rows.into_iter().filter(|comparison| is_step(comparison)).map(|comparison| Step {
            comparison,
            sides: [0, 1].map(|side| report.short(&comparison.sides[side])),
            telling: telling.clone(),
        }));
    }
    steps
}

/// The list of all steps, or a line that says there are none.
pub(crate) fn text(report: &Comparisons) -> String {
    let least = percent(report.threshold);
    let sides = format!("neighbouring {}s", report.by.name());
    let steps = find(report);
    if steps.is_empty() {
        let without = report.comparisons.iter().filter(|one| one.verdict == Verdict::None).count();
        let all = report.comparisons.len();
        return match without {
            0 => format!("no step of {least} or more between {sides}\n"),
            _ => wrap(&format!(
                "no step of {least} or more between {sides} in the {} that have a verdict, of {}",
                counted(all - without, "row"),
                counted(all, "row")
            )),
        };
    }
    let lines: String = steps.iter().map(|step| wrap(&step.to_string())).collect();
    format!("steps of {least} or more between {sides}\n{lines}")
}

impl<'a> Step<'a> {
    /// The short names of both sides.
    pub(crate) fn sides(&self) -> [&str; 2] {
        self.sides
    }

    /// The short name of the second side.
    pub(crate) fn to_side(&self) -> &'a str {
        self.sides[1]
    }

    /// The metric.
    pub(crate) fn column(&self) -> Column {
        self.comparison.metric.column
    }

    /// The cell.
    pub(crate) fn cell(&self) -> &'a CellKey {
        &self.comparison.cell
    }

    /// What tells the cell from others, apart from the backend, the variant and the batch: axes with their values.
    pub(crate) fn telling(&self) -> impl Iterator<Item = (Column, &str)> {
        let all = self.telling.iter().map(|&axis| (axis, self.comparison.get(axis)));
        all.filter(|(_, value)| !value.is_empty())
    }

    /// The change, in percent; positive is an increase.
    pub(crate) fn change_pct(&self) -> f64 {
        self.comparison.figures.ratio.map_or(0.0, |ratio| 100.0 * (ratio.value - 1.0))
    }

    /// The metric that changed, in words.
    pub(crate) fn what(&self) -> &'static str {
        words(self.comparison.metric.column)
    }

    /// Whether the trials on both sides agree with each other.
    pub(crate) fn is_settled(&self) -> bool {
        !self.comparison.unsettled
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { comparison, sides: [from, to], .. } = self;
        let on = |axis| comparison.cell.get(axis);
        let name = axes::name(on(Column::backend), on(Column::variant));
        write!(f, "{name} {from} → {to}: {:+.1}% {}", self.change_pct(), self.what())?;
        write!(f, " ({}, batch {}", on(Column::scenario), on(Column::batch))?;
        for (axis, value) in self.telling() {
            write!(f, ", {} {value}", axis.name())?;
        }
        let [before, after] = comparison.figures.medians.map(|median| median.map_or(0.0, |median| median.value));
        let unsettled = if comparison.unsettled { ", not settled" } else { "" };
        write!(f, ": {before:.1} → {after:.1}{unsettled})")
    }
}

/// A metric in words.
fn words(metric: Column) -> &'static str {
    match metric {
        Column::instructions_per_packet => "instructions per datagram",
        Column::peer_instructions_per_packet => "instructions per datagram of the peer",
        Column::ns_per_packet_p50 => "ns per datagram",
        Column::peer_ns_per_packet => "ns per datagram of the peer",
        Column::rx_pps => "datagrams per second",
        Column::lat_p50_ns => "ns of latency, median",
        Column::lat_p99_ns => "ns of latency, 99th percentile",
        other => other.name(),
    }
}
