//! High quantiles of latency, of trials whose samples are merged.

use hdrhistogram::Histogram;

use super::{BLOCKS, DEFAULTS, compare, compare_with, trial};
use crate::compare::axes::By;
use crate::compare::comparisons::{Comparisons, Settings};
use crate::compare::dataset::Dataset;
use crate::compare::judge::Comparison;
use crate::compare::metrics::Metric;
use crate::compare::trials::Trials;
use crate::compare::verdict::{Basis, Verdict};
use crate::compare::warnings::Reason;
use crate::measure::outcome::latency_histogram;
use crate::record::columns::Column;
use crate::record::lat_tail::LatTail;
use crate::record::row::Row;

/// How many latencies a trial has.
const SAMPLES: u64 = 500;

/// The latencies of a trial, times `factor`: 20 µs plus a long tail with a mean of 20 µs.
fn latencies(block: usize, factor: f64) -> Histogram<u64> {
    let mut histogram = latency_histogram();
    for at in 0..SAMPLES {
        let share = (((block as u64 * SAMPLES + at) as f64) * 0.618_033_988_749_895).fract();
        let ns = factor * 20_000.0 * (1.0 - (1.0 - share).ln());
        histogram.record(ns as u64).expect("a latency within the bounds");
    }
    histogram
}

/// A trial of `echo`.
fn echo(backend: &str, block: usize, factor: f64) -> Row {
    let latencies = latencies(block, factor);
    let quantile = |at| Some(latencies.value_at_quantile(at));
    Row {
        scenario: "echo".into(),
        round: None,
        window: Some(1),
        ns_per_packet_p50: None,
        peer_ns_per_packet: None,
        lat_samples: Some(latencies.len()),
        lat_p50_ns: quantile(0.5),
        lat_p99_ns: quantile(0.99),
        lat_p999_ns: quantile(0.999),
        lat_tail: LatTail::of(&latencies),
        ..trial(backend, block, 1.0)
    }
}

/// Trials of two backends in all blocks; those of mmsg take longer by a factor.
fn two(new: impl Fn(usize) -> f64) -> Vec<Row> {
    (1..=BLOCKS).flat_map(|block| [echo("plain", block, 1.0), echo("mmsg", block, new(block))]).collect()
}

fn one(by: &str, rows: &[Row], metric: &str) -> Comparison {
    let by = By::column(by).expect("a column");
    compare_with(by, rows, &DEFAULTS, &[metric]).expect("a report").comparisons.swap_remove(0)
}

/// The quantile of all samples of all blocks.
fn exact(at: f64, factor: impl Fn(usize) -> f64) -> f64 {
    let mut all = latency_histogram();
    (1..=BLOCKS).for_each(|block| all += latencies(block, factor(block)));
    all.value_at_quantile(at) as f64
}

#[test]
fn tails_are_those_of_all_samples() {
    for (factor, verdict) in [(1.0, Verdict::Same), (1.1, Verdict::Worse), (0.9, Verdict::Better)] {
        let found = one("backend", &two(|_| factor), "lat_p99_ns");
        assert_eq!(
            (found.verdict, found.figures.basis),
            (verdict, Basis::Blocks { blocks: BLOCKS, runs: 1 }),
            "{factor}"
        );
        let ratio = found.figures.ratio.expect("a ratio");
        let (low, high) = ratio.interval.expect("an interval");
        assert!(low <= ratio.value && ratio.value <= high && (ratio.value / factor - 1.0).abs() < 0.01, "{ratio:?}");
        assert!(low - 0.005 <= factor && factor <= high + 0.005, "{low} {high}");
        for (side, factor) in found.figures.medians.into_iter().zip([1.0, factor]) {
            let (side, exact) = (side.expect("a quantile"), exact(0.99, |_| factor));
            assert!((side.value / exact - 1.0).abs() < 0.01, "{side:?} {exact}");
            assert!(side.interval.is_some_and(|(low, high)| low <= side.value && side.value <= high));
        }
    }
    let report = compare("backend", &two(|_| 1.1)).expect("a report");
    let columns: Vec<Column> = report.comparisons.iter().map(|one| one.metric.column).collect();
    assert_eq!(columns, [Column::lat_p50_ns, Column::lat_p99_ns], "by default");
}

#[test]
fn slow_trials_count_as_many_as_they_are() {
    // They are a tenth, which no median of trials shows.
    let slow = |block: usize| if block.is_multiple_of(10) { 3.0 } else { 1.0 };
    let rows = two(slow);
    let found = one("backend", &rows, "lat_p99_ns");
    let (value, exact) = (found.figures.medians[1].expect("a quantile").value, exact(0.99, slow));
    assert!((value / exact - 1.0).abs() < 0.03, "{value} {exact}");
    assert!(found.figures.ratio.expect("a ratio").value > 1.4, "{found:?}");
    let old: Vec<Row> = rows.into_iter().map(|row| Row { lat_tail: LatTail::default(), ..row }).collect();
    let found = one("backend", &old, "lat_p99_ns");
    assert!(found.figures.ratio.expect("a ratio").value < 1.1, "older files have medians of trials: {found:?}");
}

#[test]
fn too_few_samples_have_a_change_and_no_verdict() {
    let found = one("backend", &two(|_| 1.5), "lat_p999_ns");
    assert!(matches!(found.reason, Some(Reason::TooFewTail { above: 20..=40, needed: 100 })), "{:?}", found.reason);
    assert_eq!((found.verdict, found.figures.basis), (Verdict::None, Basis::Nothing));
    let ratio = found.figures.ratio.expect("a change");
    assert!((1.3..1.7).contains(&ratio.value) && ratio.interval.is_none(), "{ratio:?}");
    for blocks in [17, 23] {
        let few: Vec<Row> = two(|_| 1.5).into_iter().filter(|row| row.trial <= blocks).collect();
        let found = one("backend", &few, "lat_p99_ns");
        assert_eq!(found.reason, Some(Reason::TooFewBlocks { blocks, needed: 24 }));
    }
    let enough: Vec<Row> = two(|_| 1.5).into_iter().filter(|row| row.trial <= 24).collect();
    assert_eq!(one("backend", &enough, "lat_p99_ns").reason, None);
}

#[test]
fn latencies_of_one_side_only_are_not_merged() {
    let mut rows = two(|_| 1.0);
    rows.iter_mut().filter(|row| row.backend == "mmsg").for_each(|row| row.lat_tail = LatTail::default());
    let found = one("backend", &rows, "lat_p99_ns");
    let ratio = found.figures.ratio.expect("a ratio");
    assert!((ratio.value - 1.0).abs() < 1e-9, "both are medians of trials: {ratio:?}");
}

/// Alternating runs of both states; B takes longer by a factor, and each run by its own.
fn runs(backends: &[&str], new: f64, pairs: bool) -> Vec<Row> {
    let sides = ["A", "B", "B", "A", "A", "B", "A", "B", "B", "A", "A", "B", "A", "B", "B", "A"];
    let of = |(at, state): (usize, &&str)| {
        let own = 1.0 + 0.02 * ((7 * (at / 2)) % 5) as f64;
        let started_at = format!("2026-11-29T10:{at:02}:00Z");
        let (run_id, state, pair) = (format!("run {at}"), (*state).to_owned(), pairs.then_some(1 + at as u32 / 2));
        let mut rows = Vec::new();
        for block in 1..=6 {
            for (place, backend) in backends.iter().enumerate() {
                let factor = own * if state == "B" && place == 0 { new } else { 1.0 };
                rows.push(Row {
                    run_id: run_id.clone(),
                    started_at: started_at.clone(),
                    state: state.clone(),
                    pair,
                    ..echo(backend, block + 6 * at, factor)
                });
            }
        }
        rows
    };
    sides.iter().enumerate().flat_map(of).collect()
}

#[test]
fn between_runs_each_has_its_own_quantile() {
    for (pairs, basis) in [(true, Basis::Pairs { pairs: 8 }), (false, Basis::Runs { runs: [8, 8] })] {
        let found = one("state", &runs(&["plain"], 1.3, pairs), "lat_p99_ns");
        assert_eq!((found.verdict, found.figures.basis), (Verdict::Worse, basis));
        let (low, high) = found.figures.ratio.and_then(|ratio| ratio.interval).expect("an interval");
        assert!(low - 0.01 <= 1.3 && 1.3 <= high + 0.01, "{low} {high}");
        let found = one("state", &runs(&["plain"], 1.3, pairs), "lat_p999_ns");
        assert!(matches!(found.reason, Some(Reason::TooFewTail { .. })), "{found:?}");
    }
}

#[test]
fn relative_to_a_backend_quantiles_of_both_are_related() {
    let rows = runs(&["mmsg", "plain"], 1.2, true);
    let metric = Metric::of(Column::lat_p99_ns).expect("a metric");
    let data = Dataset::of_rows([metric.column], rows.iter());
    let mut trials = Trials::new(&data, By::column("state").expect("a column"), &[metric]);
    trials.relate_to("plain").expect("there is one");
    let found = Comparisons::new(&trials, &DEFAULTS).expect("a report").comparisons.swap_remove(0);
    assert_eq!((found.verdict, found.figures.basis), (Verdict::Worse, Basis::Pairs { pairs: 8 }));
    let values = found.figures.medians.map(|median| median.expect("a quantile").value);
    assert!((values[0] - 1.0).abs() < 0.02 && (values[1] - 1.2).abs() < 0.02, "{values:?}");
}

#[test]
fn within_a_run_a_common_reference_makes_no_difference_and_others_have_no_interval() {
    let mut rows = two(|_| 1.1);
    rows.extend((1..=BLOCKS).map(|block| echo("uring", block, 1.0)));
    let found = |by: &str, rows: &[Row]| {
        let data = Dataset::of_rows([Column::lat_p99_ns], rows.iter());
        let metric = Metric::find("lat_p99_ns").expect("a metric");
        let mut trials = Trials::new(&data, By::column(by).expect("a column"), &[metric]);
        trials.relate_to("plain").expect("there is one");
        let settings = Settings { all_metrics: true, ..DEFAULTS };
        Comparisons::new(&trials, &settings).expect("a report").comparisons.swap_remove(0)
    };
    let by_backend = found("backend", &rows);
    assert_eq!((by_backend.verdict, &by_backend.reason), (Verdict::Better, &None));
    assert_eq!(by_backend.figures.basis, Basis::Blocks { blocks: BLOCKS, runs: 1 });
    let mut batches = rows.clone();
    batches.extend(rows.into_iter().map(|row| Row { batch: 64, order: row.order + 100_000, ..row }));
    let by_batch = found("batch", &batches);
    assert_eq!((by_batch.verdict, by_batch.reason.clone()), (Verdict::None, Some(Reason::OtherReference)));
}
