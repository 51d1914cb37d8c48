//! The answer: a plain conclusion, in words, that says no more than the verdicts.

use std::collections::{BTreeMap, HashMap};

use hpbench_backends::{Addressing, Kind, Variant};

use crate::compare::axes::{AXES, By};
use crate::compare::cells::TRIALS_MIN;
use crate::compare::metrics::Better;
use crate::compare::report::{Report, Settings};
use crate::compare::trials::Trials;
use crate::compare::verdict::{Comparison, Verdict};
use crate::record::Row;
use crate::rows;
use crate::table::wrap;
use crate::{compare::metrics, output};

/// The least change that matters where nobody says.
pub(crate) const THRESHOLD: f64 = 0.03;

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
    let several = names.windows(2).any(|two| two[0].0 == two[1].0);
    let mut trials = Trials::new(By::Column(if several { "variant" } else { "backend" }), &[]);
    for row in rows {
        // What cannot be compared has no verdict.
        let Ok(fields) = rows::fields(&output::encode(row, false)) else { continue };
        let _ = trials.add(&fields, row, "");
    }
    trials.mark();
    let settings = Settings { base: None, all_metrics: false, threshold: THRESHOLD, paired: false, force: true };
    let lines = Report::new(&trials, &settings).map(|report| lines(&report)).unwrap_or_default();
    let text: String = lines.iter().map(|line| wrap(&in_brief(line, &names))).collect();
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// A line in which backends have the names by which they are asked for, as in the table, instead of all their modes.
pub(crate) fn in_brief(line: &str, names: &[(&str, &str)]) -> String {
    let mut short: Vec<(String, String)> = Vec::new();
    for &(backend, modes) in names {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == backend) else { continue };
        let Ok(variant) = Variant::parse(kind, modes) else { continue };
        let brief = variant.brief(Addressing::Connected);
        let brief = if brief.is_empty() { backend.to_owned() } else { format!("{backend}:{brief}") };
        short.push((format!("{backend}:{modes}"), brief));
    }
    // One may begin another.
    short.sort_by_key(|(full, _)| std::cmp::Reverse(full.len()));
    short.iter().fold(line.to_owned(), |line, (full, brief)| line.replace(full.as_str(), brief))
}

/// The conclusions of a comparison of backends or variants, a line for each scenario and everything but the batch.
pub(crate) fn lines(report: &Report) -> Vec<String> {
    if !report.by.frees("backend") {
        return Vec::new();
    }
    let mut topics: Vec<Topic<'_>> = Vec::new();
    let mut known: HashMap<Vec<&str>, usize> = HashMap::new();
    for comparison in &report.comparisons {
        if !metrics::defaults(&comparison.axes[0], "").contains(&comparison.metric.name) {
            continue;
        }
        let key: Vec<&str> = without_batch(comparison);
        let at = *known.entry(key.clone()).or_insert(topics.len());
        if at == topics.len() {
            topics.push(Topic { key, batches: BTreeMap::new() });
        }
        let batch = comparison.axes[BATCH].parse().unwrap_or(0);
        topics[at].batches.entry(batch).or_default().push(comparison);
    }
    let mut lines: Vec<String> =
        topics.iter().take(LINES_MAX).map(|topic| topic.line(&topic.telling(&topics), report.threshold)).collect();
    if topics.len() > LINES_MAX {
        lines.push(format!("{} more cells are in the table only.", topics.len() - LINES_MAX));
    }
    lines
}

/// More lines than this are no short answer.
const LINES_MAX: usize = 20;

/// Where the batch is among the axes.
const BATCH: usize = 6;

fn without_batch(comparison: &Comparison) -> Vec<&str> {
    let axes = comparison.axes.iter().enumerate().filter(|(at, _)| *at != BATCH);
    axes.map(|(_, value)| value.as_str()).collect()
}

/// What one line is about.
struct Topic<'a> {
    /// All axes but the batch.
    key: Vec<&'a str>,
    /// The comparisons by batch.
    batches: BTreeMap<u64, Vec<&'a Comparison>>,
}

/// Batches about which the same can be said.
struct Span<'a> {
    first: u64,
    last: u64,
    /// Of each batch, its comparisons.
    all: Vec<(u64, &'a [&'a Comparison])>,
}

impl Topic<'_> {
    /// The axes that tell this cell from others of its scenario, with their values.
    fn telling(&self, others: &[Self]) -> Vec<(&'static str, &str)> {
        let axes = AXES.iter().enumerate().filter(|(at, _)| *at != BATCH).map(|(_, name)| *name);
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
        let first = self.batches.values().flatten().next();
        let base = first.map_or("", |comparison| comparison.sides[0].as_str());
        let cell: String = telling.iter().map(|(name, value)| format!(", {name} {value}")).collect();
        let spans: Vec<String> = self.spans(primary).iter().map(|span| span.text(primary, threshold)).collect();
        format!("{scenario}{cell} ({told}, against {base}): {}.", spans.join("; "))
    }

    /// Neighbouring batches with the same verdicts.
    fn spans(&self, primary: &str) -> Vec<Span<'_>> {
        let verdicts = |comparisons: &[&Comparison]| -> Vec<(String, Verdict, bool)> {
            let of = |comparison: &&Comparison| {
                (comparison.sides[1].clone(), comparison.verdict, comparison.metric.name == primary)
            };
            comparisons.iter().map(of).collect()
        };
        let mut spans: Vec<Span<'_>> = Vec::new();
        for (&batch, comparisons) in &self.batches {
            match spans.last_mut().filter(|span| verdicts(span.all[0].1) == verdicts(comparisons)) {
                Some(span) => {
                    span.last = batch;
                    span.all.push((batch, comparisons));
                }
                None => spans.push(Span { first: batch, last: batch, all: vec![(batch, comparisons)] }),
            }
        }
        spans
    }
}

impl Span<'_> {
    fn text(&self, primary: &str, threshold: f64) -> String {
        let batches = if self.first == self.last {
            format!("batch {}", self.first)
        } else {
            format!("batches {} to {}", self.first, self.last)
        };
        let main: Vec<usize> = self.positions(|comparison| comparison.metric.name == primary);
        let verdict = |at: &usize| self.all[0].1[*at].verdict;
        let mut parts = Vec::new();
        if !main.is_empty() && main.iter().all(|at| verdict(at) == Verdict::Same) {
            let calls: Vec<String> = main.iter().filter_map(|at| self.named(*at)).collect();
            let calls = if calls.is_empty() { String::new() } else { format!(" ({})", calls.join(", ")) };
            parts.push(format!("no difference beyond {}{calls}", percent(threshold)));
        } else {
            for at in main {
                let side = &self.all[0].1[at].sides[1];
                let calls = self.per_call(at, 1).map_or_else(String::new, |calls| format!(" ({calls})"));
                parts.push(format!("{side}{calls} {}", self.words(at)));
            }
        }
        let others = self.positions(|comparison| {
            comparison.metric.name != primary && matches!(comparison.verdict, Verdict::Better | Verdict::Worse)
        });
        for at in others {
            let comparison = self.all[0].1[at];
            let what = match comparison.metric.name {
                "peer_ns_per_packet" => "the other side",
                "lat_p99_ns" => "at the 99th percentile",
                name => name,
            };
            parts.push(format!("{what} with {} {}", comparison.sides[1], self.words(at)));
        }
        let base = |calls| format!(" ({}: {calls})", self.all[0].1[0].sides[0]);
        let base = self.per_call(0, 0).map_or_else(String::new, base);
        format!("{batches}{base}: {}", parts.join(", "))
    }

    fn positions(&self, wanted: impl Fn(&Comparison) -> bool) -> Vec<usize> {
        let comparisons = self.all[0].1.iter().enumerate();
        comparisons.filter(|(_, comparison)| wanted(comparison)).map(|(at, _)| at).collect()
    }

    fn named(&self, at: usize) -> Option<String> {
        self.per_call(at, 1).map(|calls| format!("{}: {calls}", self.all[0].1[at].sides[1]))
    }

    /// What is said of a side: its verdict, with the least and the largest change among the batches.
    fn words(&self, at: usize) -> String {
        let comparison = self.all[0].1[at];
        let is_time = comparison.metric.unit == "ns";
        let word = match (comparison.verdict, is_time, comparison.metric.better) {
            (Verdict::Same, ..) => return "the same".into(),
            (Verdict::Unclear, ..) => return "unclear".into(),
            (Verdict::Invalid, ..) => return "without a verdict".into(),
            (Verdict::Worse, true, _) => "slower",
            (Verdict::Better, true, _) => "faster",
            (Verdict::Worse, _, Better::Higher) | (Verdict::Better, _, Better::Lower) => "less",
            (Verdict::Worse, ..) | (Verdict::Better, ..) => "more",
        };
        let changes = self.all.iter().filter_map(|(_, comparisons)| comparisons[at].figures.ratio);
        let changes = changes.map(|ratio| (100.0 * (ratio.value - 1.0)).abs().round());
        format!("{}% {word}", range(changes, 0))
    }

    /// How many datagrams a system call of a side really moved, where that is not the batch asked for.
    fn per_call(&self, at: usize, side: usize) -> Option<String> {
        let calls = self.all.iter().filter_map(|(batch, comparisons)| Some((*batch, comparisons[at].per_call[side]?)));
        let differs = calls.clone().any(|(batch, calls)| (calls / batch as f64 - 1.0).abs() > 0.1);
        differs.then(|| format!("{} per system call", range(calls.map(|(_, calls)| calls.round()), 0)))
    }
}

/// Numbers as a range, or as one number.
fn range(values: impl Iterator<Item = f64>, decimals: usize) -> String {
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low >= high { format!("{high:.decimals$}") } else { format!("{low:.decimals$} to {high:.decimals$}") }
}

/// A fraction in percent, with no more digits than it has.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{}%", (fraction * 1e6).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_table() {
        let names = [("mmsg", "recvmmsg+sendmmsg"), ("mmsg", "recvmmsg+sendmmsg+gro"), ("uring", "single+send+defer")];
        let line = "mmsg:recvmmsg+sendmmsg+gro and mmsg:recvmmsg+sendmmsg the same, uring:single+send+defer 3% slower";
        assert_eq!(in_brief(line, &names), "mmsg:gro and mmsg the same, uring:single 3% slower");
    }
}
