//! Comparisons of trials that are made up.

use rand::{RngExt, SeedableRng};

use crate::compare::answer;
use crate::compare::axes::By;
use crate::compare::comparisons::{CompareError, Comparisons, Settings};
use crate::compare::dataset::Dataset;
use crate::compare::judge::Judge;
use crate::compare::metrics::{self, Metric};
use crate::compare::steps;
use crate::compare::trials::Trials;
use crate::compare::verdict::{self, Verdict};
use crate::record::column::Better;
use crate::record::columns::Column;
use crate::record::row::Row;

mod kernels;
mod refused;
mod words;

/// A trial of `backend` in a block, which took so many nanoseconds per datagram.
fn trial(backend: &str, block: usize, ns: f64) -> Row {
    let (variant, per_call) = match backend {
        "plain" => ("recvfrom+sendto", 1.0),
        "mmsg" => ("recvmmsg+sendmmsg", 32.0),
        _ => ("multishot+send+defer", 33.0),
    };
    Row {
        schema: 1,
        run_id: "f00d".into(),
        scenario: "drain".into(),
        backend: backend.into(),
        variant: variant.into(),
        wait: "spin".into(),
        batch: 32,
        payload: 64,
        round: Some(1024),
        workers: 1,
        buffers: (backend == "uring").then_some(512),
        trial: block,
        attempt: 1,
        order: 1000 * backend.len() + block,
        ns_per_packet_p50: Some(ns),
        peer_ns_per_packet: Some(400.0),
        kernel_batch_mean: Some(per_call),
        host: "lab".into(),
        kernel: "6.18".into(),
        rcvbuf: Some(1 << 20),
        fill: "gso".into(),
        valid: 1,
        ..Row::default()
    }
}

/// Values that differ a little, in another order for each seed.
fn noisy(middle: f64, seed: usize) -> impl Iterator<Item = (usize, f64)> {
    (1..=10).map(move |block| (block, middle * (1.0 + 0.001 * ((block * (seed + 3)) % 11) as f64)))
}

/// Trials of two backends in ten blocks.
fn two(base: f64, new: f64) -> Vec<Row> {
    let rows = |backend: &'static str, ns, seed| noisy(ns, seed).map(move |(block, ns)| trial(backend, block, ns));
    rows("plain", base, 0).chain(rows("mmsg", new, 1)).collect()
}

const DEFAULTS: Settings<'_> = Settings { groups: usize::MAX, force: false, ..answer::SETTINGS };

fn compare_with(by: By, rows: &[Row], settings: &Settings<'_>, metric: &[&str]) -> Result<Comparisons, CompareError> {
    let metrics: Vec<Metric> = metric.iter().map(|name| Metric::find(name).expect("a metric")).collect();
    let kept = if metrics.is_empty() { metrics::all_defaults() } else { metrics.clone() };
    let data = Dataset::of_rows(kept.into_iter().map(|metric| metric.column), rows.iter());
    assert_eq!(data.attempts.len(), rows.len(), "rows that can be compared");
    let trials = Trials::new(&data, by, &metrics);
    Comparisons::new(&trials, &Settings { all_metrics: !metric.is_empty(), ..*settings })
}

fn compare(by: &str, rows: &[Row]) -> Result<Comparisons, CompareError> {
    compare_with(By::column(by).expect("a column"), rows, &DEFAULTS, &[])
}

fn forced(by: &str, rows: &[Row]) -> Comparisons {
    compare_with(By::column(by).expect("a column"), rows, &Settings { force: true, ..DEFAULTS }, &[]).expect("a report")
}

/// The verdicts on the costs.
fn verdicts(report: &Comparisons) -> Vec<Verdict> {
    let costs = report.comparisons.iter().filter(|comparison| comparison.metric.column == Column::ns_per_packet_p50);
    costs.map(|comparison| comparison.verdict).collect()
}

#[test]
fn a_difference_has_a_direction_and_a_size() {
    for (new, verdict) in
        [(127.0, Verdict::Worse), (80.0, Verdict::Better), (100.5, Verdict::Same), (102.9, Verdict::Unclear)]
    {
        let report = compare("backend", &two(100.0, new)).expect("a report");
        assert_eq!(verdicts(&report), [verdict], "{new}");
        let comparison = &report.comparisons[0];
        assert_eq!((comparison.sides[0].as_str(), comparison.sides[1].as_str()), ("plain", "mmsg"));
        let ratio = comparison.figures.ratio.expect("a ratio");
        assert!(ratio.low <= ratio.value && ratio.value <= ratio.high && (ratio.value * 100.0 - new).abs() < 1.0);
    }
    let rates: Vec<Row> = two(100.0, 127.0)
        .into_iter()
        .map(|row| Row { scenario: "flood".into(), rx_pps: row.ns_per_packet_p50, ns_per_packet_p50: None, ..row })
        .collect();
    let report = compare("backend", &rates).expect("a report");
    assert_eq!(report.comparisons.len(), 1, "of a flood, its rate");
    assert_eq!(report.comparisons[0].verdict, Verdict::Better, "more of a rate is better");
}

#[test]
fn payloads_come_by_size_in_whatever_order_they_were_run() {
    let of = |payload: usize| {
        two(400.0, 420.0).into_iter().map(move |row| Row { payload, order: row.order + 10_000 * payload, ..row })
    };
    let rows: Vec<Row> = of(512).chain(of(64)).chain(of(1472)).collect();
    let report = compare("backend", &rows).expect("a report");
    let payloads: Vec<&str> = report.comparisons.iter().map(|row| row.cell.get(Column::payload)).collect();
    assert_eq!(payloads, ["64", "64", "512", "512", "1472", "1472"], "each in two metrics");
}

#[test]
fn the_base_can_be_chosen() {
    let rows = two(100.0, 127.0);
    let by = By::column("backend").expect("a column");
    let settings = Settings { base: Some("mmsg"), ..DEFAULTS };
    let report = compare_with(by.clone(), &rows, &settings, &[]).expect("a report");
    assert_eq!((verdicts(&report), report.comparisons[0].sides[0].as_str()), (vec![Verdict::Better], "mmsg"));
    let settings = Settings { base: Some("tcp"), ..DEFAULTS };
    let message = compare_with(by, &rows, &settings, &[]).expect_err("no such side").to_string();
    assert!(message.contains("tcp") && message.contains("plain, mmsg"), "{message}");
}

#[test]
fn variants_are_sides_of_their_own() {
    let mut rows = two(100.0, 127.0);
    rows.extend(noisy(80.0, 2).map(|(block, ns)| Row {
        variant: "recvmmsg+sendmmsg+gro".into(),
        order: 9000 + block,
        ..trial("mmsg", block, ns)
    }));
    let message = compare("backend", &rows).expect_err("mmsg has two variants").to_string();
    assert!(message.contains("mmsg has several variants") && message.contains("--by variant"), "{message}");
    let report = compare("variant", &rows).expect("a report");
    assert_eq!(verdicts(&report), [Verdict::Worse, Verdict::Better]);
    assert_eq!(report.comparisons[0].sides, ["plain:recvfrom+sendto", "mmsg:recvmmsg+sendmmsg"]);
}

#[test]
fn the_variant_may_follow_from_the_addressing() {
    let mut rows = Vec::new();
    for (addressing, ns, default, coop) in [
        ("connected", 100.0, "multishot+send+defer", "multishot+send+coop"),
        ("unconnected", 127.0, "recvmsg-multishot+sendmsg+defer", "recvmsg-multishot+sendmsg+coop"),
    ] {
        for (order, variant, factor) in [(0, default, 1.0), (100, coop, 2.0)] {
            rows.extend(noisy(ns * factor, 2).map(|(block, ns)| Row {
                addressing: addressing.into(),
                variant: variant.into(),
                order: order + block,
                ..trial("uring", block, ns)
            }));
        }
    }
    let report = compare("addressing", &rows).expect("a report");
    assert_eq!(verdicts(&report), [Verdict::Worse, Verdict::Worse]);
    let variants: Vec<&str> = report.comparisons.iter().step_by(2).map(|one| one.cell.get(Column::variant)).collect();
    assert_eq!(variants, ["", "coop"], "as they were asked for");
    let told = "it follows from the addressing: uring:multishot+send+defer if connected, \
                uring:recvmsg-multishot+sendmsg+defer if unconnected.";
    assert!(report.notes.iter().any(|note| note.contains(told)), "{:?}", report.notes);
}

#[test]
fn the_null_backend_is_not_one_to_choose() {
    let mut rows = two(100.0, 127.0);
    rows.extend(noisy(10.0, 2).map(|(block, ns)| Row { fill: "memory".into(), ..trial("null", block, ns) }));
    let report = compare("backend", &rows).expect("a report");
    assert_eq!(verdicts(&report), [Verdict::Worse]);
    assert!(report.notes.iter().any(|note| note.contains("null")), "{:?}", report.notes);
}

#[test]
fn a_base_of_zero_has_no_ratio() {
    let mut rows = two(100.0, 127.0);
    for row in &mut rows {
        row.drop_socket = Some(if row.backend == "plain" { 0 } else { 7 });
        row.drop_ring = Some(0);
    }
    let report =
        compare_with(By::Column(Column::backend), &rows, &DEFAULTS, &["drop_socket", "drop_ring"]).expect("a report");
    let found: Vec<_> = report.comparisons.iter().map(|one| (one.verdict, one.figures.ratio.is_some())).collect();
    assert_eq!(found, [(Verdict::Unclear, false), (Verdict::Same, true)]);
}

#[test]
fn cells_of_one_side_only_are_told_of() {
    let mut rows = two(100.0, 127.0);
    rows.extend(noisy(90.0, 2).map(|(block, ns)| Row { batch: 8, order: block, ..trial("plain", block, ns) }));
    let report = compare("backend", &rows).expect("a report");
    assert!(report.notes.iter().any(|note| note.starts_with("1 cells are on one side only")), "{:?}", report.notes);
    rows.retain(|row| row.backend == "mmsg" || row.batch == 8);
    let message = compare("backend", &rows).expect_err("nothing alike").to_string();
    assert!(message.contains("batch is 8 and 32") || message.contains("batch is 32 and 8"), "{message}");
}

#[test]
fn within_blocks_a_small_difference_shows_under_drift() {
    let mut rows = two(100.0, 100.0);
    for row in &mut rows {
        let drift = 1.0 + 0.1 * row.trial as f64;
        let own = if row.backend == "mmsg" { 1.05 } else { 1.0 };
        row.ns_per_packet_p50 = row.ns_per_packet_p50.map(|ns| ns * drift * own);
    }
    let settings = Settings { paired: true, ..DEFAULTS };
    let paired = compare_with(By::Column(Column::backend), &rows, &settings, &[]).expect("a report");
    let [p, q] = [&paired, &compare("backend", &rows).expect("a report")].map(|report| report.comparisons[0].figures.p);
    assert!(p < Some(0.01) && q > Some(0.05), "{p:?} {q:?}");
    assert_eq!(verdicts(&paired), [Verdict::Worse]);
}

/// Normal noise with a standard deviation of 2%, and a tenth of the trials that took 20% longer.
fn simulated(random: &mut rand::rngs::ChaCha8Rng, middle: f64) -> f64 {
    let uniform: [f64; 2] = [random.random_range(f64::EPSILON..1.0), random.random_range(0.0..1.0)];
    let normal = (-2.0 * uniform[0].ln()).sqrt() * (std::f64::consts::TAU * uniform[1]).cos();
    let spike = if random.random_bool(0.1) { 1.2 } else { 1.0 };
    middle * (1.0 + 0.02 * normal) * spike
}

/// In how many percent of simulated comparisons of ten blocks a change of this size is called a difference.
fn called_different(change: f64) -> f64 {
    const RUNS: u32 = 300;
    let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(11);
    let mut judge = Judge::default();
    let mut different = 0;
    for _ in 0..RUNS {
        let mut side = |middle| (0..10).map(|block| (block, simulated(&mut random, middle))).collect::<Vec<_>>();
        let (base, new) = (side(100.0), side(100.0 * (1.0 + change)));
        let figures = judge.figures(&base, &new);
        let verdict = verdict::verdict(&figures, figures.p.expect("values"), Better::Lower, 0.03);
        different += u32::from(matches!(verdict, Verdict::Better | Verdict::Worse));
    }
    100.0 * f64::from(different) / f64::from(RUNS)
}

#[test]
fn equal_sides_are_seldom_called_different_and_different_ones_mostly() {
    let (false_alarms, found) = (called_different(0.0), called_different(0.05));
    assert!(false_alarms <= 5.0, "{false_alarms}% false verdicts");
    assert!(found >= 80.0, "{found}% of true differences of 5%");
    println!("{false_alarms}% of equal sides, {found}% of sides that differ by 5% are called different");
}
