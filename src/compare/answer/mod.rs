//! The answer: a plain conclusion, in words, that says no more than the verdicts.

use std::collections::{BTreeMap, HashMap};

use crate::compare::axes::{self, By};
use crate::compare::comparisons::{Comparisons, Settings};
use crate::compare::counts;
use crate::compare::dataset::Dataset;
use crate::compare::judge::Comparison;
use crate::compare::metrics;
use crate::compare::swept::{Axis, Swept};
use crate::compare::trials::Trials;
use crate::compare::verdict::Basis;
use crate::compare::warnings::{Reason, or_empty};
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::record::row::Row;
use crate::stats::estimate::BLOCKS_MIN;
use crate::text::wrap;

mod sides;
mod span;

use span::Span;

/// The least change that matters where nobody says.
pub(crate) const THRESHOLD: f64 = 0.03;

/// How trials are compared for an answer: what means nothing is marked, and gets no verdict.
pub(crate) const SETTINGS: Settings<'static> = Settings {
    base: None,
    all_metrics: false,
    threshold: THRESHOLD,
    paired: false,
    force: true,
    groups: LINES_MAX,
    across_hosts: false,
};

/// The conclusion of a run with several backends or variants, ready to be printed after its table; empty of others.
pub fn after_run<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> String {
    let mut names: Vec<(&str, &str)> = rows.clone().map(|row| (row.backend.as_str(), row.variant.as_str())).collect();
    names.retain(|(backend, _)| axes::has_socket(backend));
    names.sort_unstable();
    names.dedup();
    if names.len() < 2 {
        return String::new();
    }
    // What is counted is not compared by backend.
    if rows.clone().all(|row| counts::is_counted(&row.accel)) {
        return String::new();
    }
    let blocks = rows.clone().map(|row| row.trial).max().unwrap_or(0);
    if blocks < BLOCKS_MIN {
        let s = if blocks == 1 { "" } else { "s" };
        let needed = format!("too few for a verdict, which needs {BLOCKS_MIN}; --trials 100 is better");
        return format!("\n{}", wrap(&format!("{blocks} trial{s} per cell: {needed}.")));
    }
    let data = Dataset::of_rows(metrics::all_defaults().into_iter().map(|metric| metric.column), rows);
    let trials = Trials::new(&data, By::Column(Column::variant), &[]);
    let lines = Comparisons::new(&trials, &SETTINGS).map(|report| lines(&report)).unwrap_or_default();
    let text: String = lines.iter().map(|line| wrap(line)).collect();
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// How precise the comparisons of a run are.
#[derive(Clone, Debug, PartialEq)]
pub enum Precision {
    /// The widest half of an interval, as a fraction.
    Half(f64),
    /// A comparison has too few blocks for an interval.
    NotYet,
    /// No comparison will have a verdict, however many blocks there are: why.
    Never(String),
}

/// How precise the comparisons of a run's backends or variants are in what each scenario is about. One that has no verdict for
/// another reason than too few blocks does not count.
pub fn precision<'a>(rows: impl Iterator<Item = &'a Row>) -> Precision {
    let data = Dataset::of_rows(metrics::all_defaults().into_iter().map(|metric| metric.column), rows);
    let trials = Trials::new(&data, By::Column(Column::variant), &[]);
    let report = match Comparisons::new(&trials, &Settings { groups: usize::MAX, ..SETTINGS }) {
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

/// The conclusions of a comparison of backends or variants, a line for each scenario and everything but what was swept.
pub(crate) fn lines(report: &Comparisons) -> Vec<String> {
    if !report.by.frees(Column::backend) {
        return Vec::new();
    }
    let swept = Swept::of(report.comparisons.iter().map(|comparison| &comparison.cell));
    let mut topics: Vec<Topic<'_>> = Vec::new();
    let mut known: HashMap<TopicKey<'_>, usize> = HashMap::new();
    for comparison in &report.comparisons {
        let scenario = comparison.cell.get(Column::scenario);
        if !metrics::defaults(scenario, "").contains(&comparison.metric.column) {
            continue;
        }
        let axis = swept.axis(scenario);
        let key = swept.others(&comparison.cell);
        let conditions = comparison.conditions.as_slice();
        let at = *known.entry((key.clone(), conditions)).or_insert(topics.len());
        if at == topics.len() {
            topics.push(Topic { key, conditions, axis, values: BTreeMap::new() });
        }
        let value = comparison.cell.get(axis.column).parse().unwrap_or(0);
        topics[at].values.entry(value).or_default().push(comparison);
    }
    let mut lines: Vec<String> =
        topics.iter().take(LINES_MAX).map(|topic| topic.line(&topic.telling(&topics), report.threshold)).collect();
    let more = report.left_out + topics.len().saturating_sub(LINES_MAX);
    if more > 0 {
        lines.push(format!("{more} more kinds of cells are not told of here; the table of `hpbench compare` has all."));
    }
    lines
}

/// Of more groups of values than this, each side is told of with its values instead.
const SPANS_MAX: usize = 3;

/// More lines than this are no short answer.
const LINES_MAX: usize = 20;

/// What tells lines apart: a cell without its value of the swept axis, and conditions.
type TopicKey<'a> = (CellKey, &'a [(Column, String)]);

/// What one line is about.
struct Topic<'a> {
    /// The cell without its value of the swept axis.
    key: CellKey,
    /// The conditions under which it was measured.
    conditions: &'a [(Column, String)],
    /// The axis that was swept.
    axis: Axis,
    /// The comparisons by its values.
    values: BTreeMap<u64, Vec<&'a Comparison>>,
}

impl Topic<'_> {
    /// The axes and conditions that tell this cell from others of its scenario, with their values.
    fn telling(&self, others: &[Self]) -> Vec<(Column, &str)> {
        let is_alike = |other: &&Self| other.key.get(Column::scenario) == self.key.get(Column::scenario);
        let differs =
            |axis: Column| others.iter().filter(is_alike).any(|other| other.key.get(axis) != self.key.get(axis));
        let axes = self.key.iter().filter(|(axis, _)| *axis != Column::scenario && *axis != self.axis.column);
        let axes = axes.filter(|(axis, value)| !value.is_empty() && differs(*axis));
        let is_told =
            |at: usize| others.iter().filter(is_alike).any(|other| other.conditions[at] != self.conditions[at]);
        let conditions = self.conditions.iter().enumerate().filter(|(at, _)| is_told(*at));
        axes.chain(conditions.map(|(_, (column, value))| (*column, or_empty(value)))).collect()
    }

    fn line(&self, telling: &[(Column, &str)], threshold: f64) -> String {
        let scenario = self.key.get(Column::scenario);
        let primary = metrics::defaults(scenario, "")[0];
        let told = match primary {
            Column::rx_pps => "datagrams per second",
            Column::lat_p50_ns => "latency, median",
            _ => "time per datagram",
        };
        let base = self.values.values().flatten().next().map_or_else(String::new, |first| span::name(first, 0));
        let cell: String = telling.iter().map(|(axis, value)| format!(", {} {value}", axis.name())).collect();
        let calls = self.base_calls();
        let steady = calls.as_ref().map_or_else(String::new, |calls| format!(" at {calls} per system call"));
        let spans = self.spans(primary);
        let sentences: Vec<String> = if spans.len() > SPANS_MAX {
            let values: Vec<_> = self.values.iter().map(|(value, all)| (*value, all.as_slice())).collect();
            sides::sentences(self.axis, &values, primary)
        } else {
            spans.iter().map(|span| format!("{}.", span.text(primary, threshold, calls.is_none()))).collect()
        };
        let is_of_several = |one: &&Comparison| matches!(one.figures.basis, Basis::Blocks { runs: 2.., .. });
        let of = if self.values.values().flatten().any(is_of_several) { "these runs" } else { "this run" };
        format!("{scenario}{cell} ({told} in {of}, against {base}{steady}). {}", sentences.join(" "))
    }

    /// How many datagrams a system call of the base moved, if that was one number at several values.
    fn base_calls(&self) -> Option<String> {
        let calls: Vec<f64> = self.values.values().filter_map(|all| all.first()?.per_call[0]).collect();
        let (first, others) = calls.split_first()?;
        let is_one = others.iter().all(|calls| (calls / first - 1.0).abs() < 0.05);
        (is_one && !others.is_empty()).then(|| format!("{first:.0}"))
    }

    /// Neighbouring values of which the same can be said.
    fn spans(&self, primary: Column) -> Vec<Span<'_>> {
        let mut spans: Vec<Span<'_>> = Vec::new();
        for (&value, comparisons) in &self.values {
            let (axis, of_all) = (self.axis, self.values.len());
            let next = Span { axis, of_all, is_last: false, values: vec![(value, comparisons)] };
            match spans.last_mut().filter(|span| span.verdicts(primary) == next.verdicts(primary)) {
                Some(span) => span.values.extend(next.values),
                None => spans.push(next),
            }
        }
        if let Some(last) = spans.last_mut() {
            last.is_last = true;
        }
        spans
    }
}
