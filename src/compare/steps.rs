//! Steps: where, along an order of sides, a cell became dearer or cheaper.

use std::fmt;

use crate::compare::axes::{self, AXES};
use crate::compare::judge::Comparison;
use crate::compare::report::Report;
use crate::compare::verdict::Verdict;
use crate::compare::{counts, sections};
use crate::text::{percent, wrap};

/// A difference between a side and the one before it.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    comparison: &'a Comparison,
    /// Both sides, in short.
    sides: [&'a str; 2],
    /// The axes that tell the cell from others, beside the backend, the variant and the batch.
    telling: Vec<usize>,
}

/// All steps of a report that compares each side with the one before it; others have none. Of counts, those between
/// trials that have not settled are steps, too, and say so.
pub(crate) fn find(report: &Report) -> Vec<Step<'_>> {
    const SAID_ANYWAY: [&str; 3] = ["backend", "variant", "batch"];
    let is_step = |comparison: &Comparison| match comparison.verdict {
        Verdict::Better | Verdict::Worse => true,
        Verdict::Unclear if comparison.unsettled => {
            comparison.figures.ratio.is_some_and(|ratio| counts::is_step(ratio, report.threshold))
        }
        _ => false,
    };
    let mut steps = Vec::new();
    for rows in sections::of(report).into_iter().filter(|_| report.in_steps) {
        let (mut telling, _) = sections::split_axes(&rows);
        telling.retain(|&at| !SAID_ANYWAY.contains(&AXES[at]));
        steps.extend(rows.into_iter().filter(|comparison| is_step(comparison)).map(|comparison| Step {
            comparison,
            sides: [0, 1].map(|side| report.short(&comparison.sides[side])),
            telling: telling.clone(),
        }));
    }
    steps
}

/// The list of all steps, or that there are none.
pub(crate) fn text(report: &Report) -> String {
    let least = percent(report.threshold);
    let sides = format!("neighbouring {}s", report.by.name());
    let steps = find(report);
    if steps.is_empty() {
        return format!("no step of {least} or more between {sides}\n");
    }
    let lines: String = steps.iter().map(|step| wrap(&step.to_string())).collect();
    format!("steps of {least} or more between {sides}\n{lines}")
}

impl Step<'_> {
    /// What the cell has on an axis.
    pub(crate) fn axis(&self, name: &str) -> &str {
        let at = AXES.iter().position(|axis| *axis == name);
        at.and_then(|at| self.comparison.axes.get(at)).map_or("", String::as_str)
    }

    /// The names of both sides, in short.
    pub(crate) fn sides(&self) -> [&str; 2] {
        self.sides
    }

    /// All axes of the cell.
    pub(crate) fn axes(&self) -> &[String] {
        &self.comparison.axes
    }

    /// What tells the cell from others, beside the backend, the variant and the batch: axes with their values.
    pub(crate) fn telling(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = self.telling.iter().map(|&at| (AXES[at], self.axes()[at].as_str()));
        all.filter(|(_, value)| !value.is_empty())
    }

    /// The change, in percent: more is a higher value.
    pub(crate) fn change_pct(&self) -> f64 {
        self.comparison.figures.ratio.map_or(0.0, |ratio| 100.0 * (ratio.value - 1.0))
    }

    /// What has changed, in words.
    pub(crate) fn what(&self) -> &'static str {
        words(self.comparison.metric.name)
    }

    /// Whether the trials on both ends agree with each other.
    pub(crate) fn is_settled(&self) -> bool {
        !self.comparison.unsettled
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { comparison, sides: [from, to], .. } = self;
        let name = axes::name(self.axis("backend"), self.axis("variant"));
        write!(f, "{name} {from} → {to}: {:+.1}% {}", self.change_pct(), self.what())?;
        write!(f, " ({}, batch {}", self.axis("scenario"), self.axis("batch"))?;
        for (axis, value) in self.telling() {
            write!(f, ", {axis} {value}")?;
        }
        let [before, after] = comparison.figures.medians.map(|median| median.map_or(0.0, |median| median.value));
        let unsettled = if comparison.unsettled { ", not settled" } else { "" };
        write!(f, ": {before:.1} → {after:.1}{unsettled})")
    }
}

/// What a metric is of, in words.
fn words(metric: &'static str) -> &'static str {
    match metric {
        "instructions_per_packet" => "instructions per packet",
        "peer_instructions_per_packet" => "instructions per packet of the other side",
        "ns_per_packet_p50" => "ns per packet",
        "peer_ns_per_packet" => "ns per packet of the other side",
        "rx_pps" => "packets per second",
        "lat_p50_ns" => "ns of latency, median",
        "lat_p99_ns" => "ns of latency, 99th percentile",
        name => name,
    }
}
