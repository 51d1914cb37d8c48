//! The answer: a plain conclusion, in words, that says no more than the verdicts.

use std::collections::{BTreeMap, HashMap};

use crate::compare::axes::{AXES, By};
use crate::compare::judge::Comparison;
use crate::compare::metrics;
use crate::compare::report::{Report, Settings};
use crate::compare::swept::{Axis, Swept};
use crate::compare::trials::Trials;
use crate::gates::TRIALS_MIN;
use crate::record::row::Row;
use crate::text::wrap;

mod sides;
mod span;

use span::Span;

/// The least change that matters where nobody says.
pub(crate) const THRESHOLD: f64 = 0.03;

/// How trials are compared for an answer: what means nothing is marked, and gets no verdict.
pub(crate) const SETTINGS: Settings<'static> =
    Settings { base: None, all_metrics: false, threshold: THRESHOLD, paired: false, force: true, groups: LINES_MAX };

/// The conclusion of a run with several backends or variants, ready to be printed after its table; empty of others.
pub fn after_run<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> String {
    let mut names: Vec<(&str, &str)> = rows.clone().map(|row| (row.backend.as_str(), row.variant.as_str())).collect();
    names.retain(|(backend, _)| *backend != "null");
    names.sort_unstable();
    names.dedup();
    if names.len() < 2 {
        return String::new();
    }
    let blocks = rows.clone().map(|row| row.trial).max().unwrap_or(0);
    if blocks < TRIALS_MIN {
        let s = if blocks == 1 { "" } else { "s" };
        let needed = format!("too few for a verdict, which needs {TRIALS_MIN}; --trials 10 gives one");
        return format!("\n{}", wrap(&format!("{blocks} trial{s} per cell: {needed}.")));
    }
    let trials = Trials::of_rows(By::Column("variant"), rows);
    let lines = Report::new(&trials, &SETTINGS).map(|report| lines(&report)).unwrap_or_default();
    let text: String = lines.iter().map(|line| wrap(line)).collect();
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// The conclusions of a comparison of backends or variants, a line for each scenario and everything but what was swept.
pub(crate) fn lines(report: &Report) -> Vec<String> {
    if !report.by.frees("backend") {
        return Vec::new();
    }
    let swept = Swept::of(report.comparisons.iter().map(|comparison| &*comparison.axes));
    let mut topics: Vec<Topic<'_>> = Vec::new();
    let mut known: HashMap<Vec<&str>, usize> = HashMap::new();
    for comparison in &report.comparisons {
        if !metrics::defaults(&comparison.axes[0], "").contains(&comparison.metric.name) {
            continue;
        }
        let axis = swept.axis(&comparison.axes[0]);
        let key = swept.others(&comparison.axes);
        let at = *known.entry(key.clone()).or_insert(topics.len());
        if at == topics.len() {
            topics.push(Topic { key, axis, values: BTreeMap::new() });
        }
        let value = comparison.axes[axis.at].parse().unwrap_or(0);
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

/// What one line is about.
struct Topic<'a> {
    /// The values of all axes but the swept one.
    key: Vec<&'a str>,
    /// The axis that was swept.
    axis: Axis,
    /// The comparisons by its values.
    values: BTreeMap<u64, Vec<&'a Comparison>>,
}

impl Topic<'_> {
    /// The axes that tell this cell from others of its scenario, with their values.
    fn telling(&self, others: &[Self]) -> Vec<(&'static str, &str)> {
        let axes = AXES.iter().enumerate().filter(|(at, _)| *at != self.axis.at).map(|(_, name)| *name);
        let differs =
            |at: usize| others.iter().any(|other| other.key[0] == self.key[0] && other.key[at] != self.key[at]);
        let axes = axes.zip(&self.key).enumerate().skip(1);
        axes.filter(|(at, (_, value))| !value.is_empty() && differs(*at))
            .map(|(_, (name, value))| (name, *value))
            .collect()
    }

    fn line(&self, telling: &[(&str, &str)], threshold: f64) -> String {
        let scenario = self.key[0];
        let primary = metrics::defaults(scenario, "")[0];
        let told = match primary {
            "rx_pps" => "datagrams per second",
            "lat_p50_ns" => "latency, median",
            _ => "time per datagram",
        };
        let base = self.values.values().flatten().next().map_or_else(String::new, |first| span::name(first, 0));
        let cell: String = telling.iter().map(|(name, value)| format!(", {name} {value}")).collect();
        let calls = self.base_calls();
        let steady = calls.as_ref().map_or_else(String::new, |calls| format!(" at {calls} per system call"));
        let spans = self.spans(primary);
        let sentences: Vec<String> = if spans.len() > SPANS_MAX {
            let values: Vec<_> = self.values.iter().map(|(value, all)| (*value, all.as_slice())).collect();
            sides::sentences(self.axis, &values, primary)
        } else {
            spans.iter().map(|span| format!("{}.", span.text(primary, threshold, calls.is_none()))).collect()
        };
        format!("{scenario}{cell} ({told}, against {base}{steady}). {}", sentences.join(" "))
    }

    /// How many datagrams a system call of the base moved, if that was one number at several values.
    fn base_calls(&self) -> Option<String> {
        let calls: Vec<f64> = self.values.values().filter_map(|all| all.first()?.per_call[0]).collect();
        let (first, others) = calls.split_first()?;
        let is_one = others.iter().all(|calls| (calls / first - 1.0).abs() < 0.05);
        (is_one && !others.is_empty()).then(|| format!("{first:.0}"))
    }

    /// Neighbouring values of which the same can be said.
    fn spans(&self, primary: &str) -> Vec<Span<'_>> {
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
