//! Comparisons for programs: CSV and JSON.

use serde::Serialize;

use crate::compare::answer::Answer;
use crate::compare::comparisons::Comparisons;
use crate::compare::judge::Comparison;
use crate::compare::steps;
use crate::compare::verdict::{Ratio, Verdict};
use crate::record::cell::{AXES, MUST_BE_EQUAL};
use crate::record::columns::Column;
use crate::stats::median::Median;
use crate::text::decimal;

/// The version of the JSON.
const SCHEMA: u32 = 1;

/// How many axes come before the figures, and how many after them; those that were added last come behind everything.
const AXES_FIRST: usize = 21;
const AXES_LATER: usize = 1;

/// The columns after the axes.
const FIGURES: [&str; 19] = [
    "base",
    "new",
    "n_base",
    "n_new",
    "base_median",
    "base_low",
    "base_high",
    "new_median",
    "new_low",
    "new_high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "delta_pct",
    "p",
    "q",
    "threshold_pct",
    "verdict",
    "warnings",
];

/// CSV: a header, and a line for each comparison. An empty field has no value.
pub(crate) fn csv(report: &Comparisons) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Columns added later stay behind all others.
    let [axes, later, last] = in_order(AXES);
    let names = |axes: &'static [Column]| axes.iter().map(|axis| axis.name());
    let header = ["metric", "unit", "better"].into_iter().chain(names(axes)).chain(FIGURES);
    let header = header.chain(names(later)).chain(["reason", "basis", "certain", "by_threshold"]);
    let header = header.chain(conditions().map(Column::name)).chain(names(last));
    writer.write_record(header).expect("memory takes all bytes");
    for comparison in &report.comparisons {
        let figures = Figures::of(comparison, report.threshold);
        let metric = comparison.metric;
        let first = [metric.name(), metric.unit, metric.better.name()].map(str::to_owned);
        let [ratio, ratio_low, ratio_high, delta_pct] = figures.change.texts();
        let figures = [
            figures.base.to_owned(),
            figures.new.to_owned(),
            figures.n_base.to_string(),
            figures.n_new.to_string(),
            number(figures.base_median),
            number(figures.base_low),
            number(figures.base_high),
            number(figures.new_median),
            number(figures.new_low),
            number(figures.new_high),
            ratio,
            ratio_low,
            ratio_high,
            delta_pct,
            number(figures.p),
            number(figures.q),
            figures.threshold_pct.to_string(),
            figures.verdict.name().to_owned(),
            warnings(comparison).join("; "),
        ];
        let axes: Vec<&str> = comparison.cell.iter().map(|(_, value)| value).collect();
        let [axes, later, last] = in_order(&axes);
        let texts = first.iter().map(String::as_str).chain(axes.iter().copied());
        let record = texts.chain(figures.iter().map(String::as_str)).chain(later.iter().copied());
        let judged = Beside::of(comparison, report.threshold);
        let flag = |is_so: bool| u8::from(is_so).to_string();
        let judged = [judged.reason, judged.basis.into(), flag(judged.certain), flag(judged.by_threshold)];
        let record = record.chain(judged.iter().map(String::as_str));
        let record = record.chain(conditions().map(|column| comparison.get(column))).chain(last.iter().copied());
        writer.write_record(record).expect("memory takes all bytes");
    }
    String::from_utf8(writer.into_inner().expect("memory takes all bytes")).expect("text was written")
}

/// The axes that come first, those that were added later, and those that were added last.
fn in_order<T>(axes: &[T]) -> [&[T]; 3] {
    let (first, later) = axes.split_at(AXES_FIRST);
    let (later, last) = later.split_at(AXES_LATER);
    [first, later, last]
}

/// The conditions of both sides that are not axes.
fn conditions() -> impl Iterator<Item = Column> {
    MUST_BE_EQUAL.iter().copied().filter(|column| !column.role().is_axis())
}

/// JSON: an object with the comparisons, the notes, and the conclusions.
pub(crate) fn json(report: &Comparisons) -> String {
    let document = Document {
        schema: SCHEMA,
        by: report.by.name(),
        threshold_pct: percent(report.threshold),
        comparisons: report.comparisons.iter().map(|comparison| Entry::of(comparison, report.threshold)).collect(),
        steps: steps::find(report).iter().map(ToString::to_string).collect(),
        answer: Answer::of(report).headline.lines().map(str::to_owned).collect(),
        notes: &report.notes,
    };
    serde_json::to_string_pretty(&document).expect("there are only plain values") + "\n"
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    by: &'a str,
    threshold_pct: f64,
    comparisons: Vec<Entry<'a>>,
    steps: Vec<String>,
    answer: Vec<String>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Entry<'a> {
    metric: &'a str,
    unit: &'a str,
    better: &'a str,
    cell: serde_json::Map<String, serde_json::Value>,
    conditions: serde_json::Map<String, serde_json::Value>,
    #[serde(flatten)]
    figures: Figures<'a>,
    #[serde(flatten)]
    judged: Beside,
    warnings: Vec<String>,
}

/// Details of a verdict.
#[derive(Serialize)]
struct Beside {
    /// Why there is none.
    reason: String,
    /// The data behind the interval.
    basis: &'static str,
    /// Whether the sides certainly differ, but by less than the threshold.
    certain: bool,
    /// Whether the change is certainly at least the threshold.
    by_threshold: bool,
}

impl Beside {
    fn of(comparison: &Comparison, threshold: f64) -> Self {
        Self {
            reason: comparison.reason.as_ref().map_or_else(String::new, ToString::to_string),
            basis: comparison.figures.basis.name(),
            certain: comparison.is_certain(),
            by_threshold: comparison.is_by_threshold(threshold),
        }
    }
}

impl<'a> Entry<'a> {
    fn of(comparison: &'a Comparison, threshold: f64) -> Self {
        let axes = comparison.cell.iter().filter(|(_, value)| !value.is_empty());
        Self {
            metric: comparison.metric.name(),
            unit: comparison.metric.unit,
            better: comparison.metric.better.name(),
            cell: axes.map(|(axis, value)| (axis.name().to_owned(), value.into())).collect(),
            conditions: comparison
                .conditions
                .iter()
                .map(|(column, value)| (column.name().to_owned(), value.as_str().into()))
                .collect(),
            figures: Figures::of(comparison, threshold),
            judged: Beside::of(comparison, threshold),
            warnings: warnings(comparison),
        }
    }
}

/// The figures by the names of their columns.
#[derive(Serialize)]
struct Figures<'a> {
    base: &'a str,
    new: &'a str,
    n_base: usize,
    n_new: usize,
    base_median: Option<f64>,
    base_low: Option<f64>,
    base_high: Option<f64>,
    new_median: Option<f64>,
    new_low: Option<f64>,
    new_high: Option<f64>,
    #[serde(flatten)]
    change: Change,
    p: Option<f64>,
    q: Option<f64>,
    threshold_pct: f64,
    verdict: Verdict,
}

impl<'a> Figures<'a> {
    fn of(comparison: &'a Comparison, threshold: f64) -> Self {
        let [base, new] = comparison.figures.medians;
        let value = |median: Option<Median>| median.map(|median| decimal(median.value));
        let low =
            |median: Option<Median>| median.and_then(|median| median.interval).map(|interval| decimal(interval.0));
        let high =
            |median: Option<Median>| median.and_then(|median| median.interval).map(|interval| decimal(interval.1));
        Self {
            base: &comparison.sides[0],
            new: &comparison.sides[1],
            n_base: comparison.counts[0],
            n_new: comparison.counts[1],
            base_median: value(base),
            base_low: low(base),
            base_high: high(base),
            new_median: value(new),
            new_low: low(new),
            new_high: high(new),
            change: Change::of(comparison.figures.ratio),
            p: comparison.figures.p,
            q: comparison.q,
            threshold_pct: percent(threshold),
            verdict: comparison.verdict,
        }
    }
}

/// All warnings; the reason for a missing verdict comes first.
fn warnings(comparison: &Comparison) -> Vec<String> {
    let reason = comparison.reason.iter().map(ToString::to_string);
    reason.chain(comparison.warnings.iter().map(ToString::to_string)).collect()
}

/// A change, by the names of its columns.
#[derive(Serialize)]
pub(super) struct Change {
    ratio: Option<f64>,
    ratio_low: Option<f64>,
    ratio_high: Option<f64>,
    delta_pct: Option<f64>,
}

impl Change {
    pub(super) fn of(ratio: Option<Ratio>) -> Self {
        let interval = ratio.and_then(|ratio| ratio.interval);
        Self {
            ratio: ratio.map(|ratio| rounded(ratio.value)),
            ratio_low: interval.map(|(low, _)| rounded(low)),
            ratio_high: interval.map(|(_, high)| rounded(high)),
            delta_pct: ratio.map(|ratio| percent(ratio.value - 1.0)),
        }
    }

    /// The texts of the CSV.
    pub(super) fn texts(&self) -> [String; 4] {
        [self.ratio, self.ratio_low, self.ratio_high, self.delta_pct].map(number)
    }
}

/// A number of the CSV; empty if there is none.
pub(super) fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn rounded(ratio: f64) -> f64 {
    (ratio * 1e6).round() / 1e6
}

/// In percent, without the noise of binary fractions.
pub(super) fn percent(fraction: f64) -> f64 {
    (fraction * 1e6).round() / 1e4
}
