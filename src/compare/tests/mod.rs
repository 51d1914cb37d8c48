//! Comparisons of made-up trials.

use crate::compare::answer::{self, Precision};
use crate::compare::axes::By;
use crate::compare::comparisons::{CompareError, Comparisons, Settings};
use crate::compare::dataset::Dataset;
use crate::compare::metrics::{self, Metric};
use crate::compare::steps;
use crate::compare::trials::Trials;
use crate::compare::verdict::{Basis, Verdict};
use crate::compare::warnings::{Reason, Warning};
use crate::record::columns::Column;
use crate::record::row::Row;

mod kernels;
mod refused;
mod tails;
mod words;

/// A trial of `backend` in a block, with a cost in nanoseconds per datagram.
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

/// How many blocks there are.
const BLOCKS: usize = 60;

/// Values that differ a little, in a different order for each seed.
fn noisy(middle: f64, seed: usize) -> impl Iterator<Item = (usize, f64)> {
    (1..=BLOCKS).map(move |block| (block, middle * (1.0 + 0.001 * ((block * (seed + 3)) % 11) as f64)))
}

/// Trials of two backends in all blocks.
fn two(base: f64, new: f64) -> Vec<Row> {
    let rows = |backend: &'static str, ns, seed| noisy(ns, seed).map(move |(block, ns)| trial(backend, block, ns));
    rows("plain", base, 0).chain(rows("mmsg", new, 1)).collect()
}

const DEFAULTS: Settings<'_> = Settings { force: false, ..answer::SETTINGS };

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
        [(127.0, Verdict::Worse), (80.0, Verdict::Better), (100.5, Verdict::Same), (102.9, Verdict::Same)]
    {
        let report = compare("backend", &two(100.0, new)).expect("a report");
        assert_eq!(verdicts(&report), [verdict], "{new}");
        let comparison = &report.comparisons[0];
        assert_eq!((comparison.sides[0].as_str(), comparison.sides[1].as_str()), ("plain", "mmsg"));
        let ratio = comparison.figures.ratio.expect("a ratio");
        let (low, high) = ratio.interval.expect("an interval");
        assert!(low <= ratio.value && ratio.value <= high && (ratio.value * 100.0 - new).abs() < 1.0);
        assert_eq!(comparison.figures.basis, Basis::Blocks { blocks: BLOCKS, runs: 1 });
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
fn a_certain_difference_below_the_threshold_is_marked_and_noise_is_unclear() {
    let report = compare("backend", &two(100.0, 101.5)).expect("a report");
    assert!(report.comparisons[0].is_certain() && !report.comparisons[0].is_by_threshold(0.03));
    let mut rows = two(100.0, 100.0);
    for row in rows.iter_mut().filter(|row| row.backend == "mmsg") {
        let noise = if row.trial / 6 % 2 == 0 { 1.2 } else { 0.8 };
        row.ns_per_packet_p50 = row.ns_per_packet_p50.map(|ns| ns * noise);
    }
    assert_eq!(verdicts(&compare("backend", &rows).expect("a report")), [Verdict::Unclear]);
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
    let told = "follow from the addressing: uring:multishot+send+defer if connected, \
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
    assert_eq!(found, [(Verdict::None, false), (Verdict::Same, true)]);
    assert_eq!(report.comparisons[0].reason, Some(Reason::NoRatio));
}

#[test]
fn cells_of_one_side_only_are_told_of() {
    let mut rows = two(100.0, 127.0);
    rows.extend(noisy(90.0, 2).map(|(block, ns)| Row { batch: 8, order: block, ..trial("plain", block, ns) }));
    let report = compare("backend", &rows).expect("a report");
    assert!(report.notes.iter().any(|note| note.starts_with("1 cell is on one side only")), "{:?}", report.notes);
    rows.retain(|row| row.backend == "mmsg" || row.batch == 8);
    let message = compare("backend", &rows).expect_err("nothing alike").to_string();
    assert!(message.contains("batch is 8 and 32") || message.contains("batch is 32 and 8"), "{message}");
}

#[test]
fn within_blocks_a_small_difference_shows_under_drift() {
    let mut rows = two(100.0, 100.0);
    for row in &mut rows {
        let drift = 1.0 + 0.01 * row.trial as f64;
        let own = if row.backend == "mmsg" { 1.05 } else { 1.0 };
        row.ns_per_packet_p50 = row.ns_per_packet_p50.map(|ns| ns * drift * own);
    }
    let report = compare("backend", &rows).expect("a report");
    let comparison = &report.comparisons[0];
    assert!(comparison.q < Some(0.001) && comparison.is_by_threshold(0.03), "{comparison:?}");
    assert_eq!(verdicts(&report), [Verdict::Worse]);
}

/// Runs of one command, each with its own speed; `sides` has the side of each, in time order.
fn runs(sides: &[&str], new: f64, pairs: bool) -> Vec<Row> {
    let speed = |at: usize| 1.0 + 0.01 * ((7 * at) % 5) as f64;
    let of = |(at, side): (usize, &&str)| {
        let factor = speed(if pairs { at / 2 } else { at }) * if *side == "B" { new } else { 1.0 };
        let (state, started_at) = ((*side).to_owned(), format!("2026-11-29T10:{at:02}:00Z"));
        noisy(100.0 * factor, at).map(move |(block, ns)| Row {
            run_id: format!("run {at}"),
            started_at: started_at.clone(),
            state: state.clone(),
            pair: pairs.then_some(1 + at as u32 / 2),
            ..trial("plain", block, ns)
        })
    };
    sides.iter().enumerate().flat_map(of).collect()
}

#[test]
fn between_runs_the_order_in_time_decides_what_may_be_said() {
    let alternating = ["A", "B", "B", "A", "A", "B", "A", "B", "B", "A", "A", "B", "A", "B", "B", "A"];
    let one_after_the_other = ["A", "A", "A", "A", "A", "A", "B", "B", "B", "B", "B", "B"];
    for (sides, pairs, verdict, basis, reason) in [
        (&alternating[..], true, Verdict::Worse, Basis::Pairs { pairs: 8 }, None),
        (&alternating[..10], true, Verdict::None, Basis::Nothing, Some(Reason::TooFewPairs { pairs: 5, needed: 6 })),
        (&alternating[..], false, Verdict::Worse, Basis::Runs { runs: [8, 8] }, None),
        (&alternating[..6], false, Verdict::None, Basis::Nothing, Some(Reason::TooFewRuns { runs: 3, needed: 4 })),
        (&one_after_the_other[..], false, Verdict::None, Basis::Nothing, Some(Reason::NotAlternated)),
        (&["A", "B"][..], false, Verdict::None, Basis::Nothing, Some(Reason::OneRun)),
    ] {
        let report = compare("state", &runs(sides, 1.2, pairs)).expect("a report");
        let comparison = &report.comparisons[0];
        assert_eq!((comparison.verdict, comparison.figures.basis), (verdict, basis), "{sides:?} {pairs}");
        assert_eq!(comparison.reason, reason);
        let change = comparison.figures.ratio.expect("a change, with or without a verdict").value;
        assert!((change - 1.2).abs() < 0.03, "{change}");
        // Runs of one side show how much the machine alone moves them: by up to 4%.
        let moved = comparison.warnings.iter().find_map(|warning| match warning {
            Warning::Moved { runs, permille } => Some((*runs, *permille)),
            _ => None,
        });
        let is_told = moved.is_some_and(|(runs, permille)| runs == 6 && (38..43).contains(&permille));
        assert_eq!(is_told, reason == Some(Reason::NotAlternated), "{sides:?} {pairs}: {moved:?}");
    }
}

/// A run of sixty trials, five of them valid, does not count as a run of sixty.
#[test]
fn runs_with_too_few_valid_trials_do_not_count() {
    let sides = ["A", "B", "B", "A", "A", "B", "A", "B", "B", "A", "A", "B", "A", "B", "B", "A"];
    for (pairs, valid, thin, basis) in [
        (true, 6, 3, Basis::Pairs { pairs: 8 }),
        (true, 5, 2, Basis::Pairs { pairs: 6 }),
        (true, 5, 3, Basis::Nothing),
        (false, 5, 1, Basis::Runs { runs: [7, 8] }),
    ] {
        let mut rows = runs(&sides, 1.2, pairs);
        let thin_runs: Vec<String> = (0..thin).map(|pair| format!("run {}", 2 * pair)).collect();
        rows.iter_mut()
            .filter(|row| thin_runs.contains(&row.run_id) && row.trial > valid)
            .for_each(|row| row.valid = 0);
        let report = compare("state", &rows).expect("a report");
        let comparison = &report.comparisons[0];
        assert_eq!(comparison.figures.basis, basis, "{pairs} {valid} {thin}: {:?}", comparison.reason);
        let reason = (basis == Basis::Nothing).then_some(Reason::ThinRuns { runs: thin, needed: 6 });
        assert_eq!(comparison.reason, reason);
    }
}

/// What could wait for many and does not is in the cell of what cannot.
#[test]
fn a_wait_for_many_is_a_cell_of_its_own_unless_it_is_off() {
    let rows_of = |waited: &str| {
        let mut rows = two(100.0, 127.0);
        rows.iter_mut().filter(|row| row.backend == "mmsg").for_each(|row| row.min_wait = waited.into());
        rows
    };
    for by in ["backend", "variant"] {
        assert_eq!(verdicts(&compare(by, &rows_of("off")).expect("a report")), [Verdict::Worse], "{by}");
        let apart = compare(by, &rows_of("8:50"));
        assert!(apart.is_err() || apart.is_ok_and(|report| verdicts(&report).is_empty()), "{by}");
    }
}

/// Trials with several numbers of buffers are not taken for trials of one side.
#[test]
fn buffers_are_sides_of_their_own_if_there_are_several() {
    let of = |buffers: usize, ns: f64| {
        let trials = two(100.0, ns).into_iter().filter(|row| row.backend == "mmsg");
        trials.map(move |row| Row { buffers: Some(buffers), ..row })
    };
    let plain = two(100.0, 100.0).into_iter().filter(|row| row.backend == "plain");
    let rows: Vec<Row> = plain.chain(of(64, 127.0)).chain(of(1024, 80.0)).collect();
    let report = compare("variant", &rows).expect("a report");
    assert_eq!(verdicts(&report), [Verdict::Worse, Verdict::Better]);
    let sides: Vec<&str> = report.comparisons.iter().map(|one| one.sides[1].as_str()).collect();
    assert!(sides[0].ends_with(" buffers=64") && sides[sides.len() - 1].ends_with(" buffers=1024"), "{sides:?}");
    let error = compare("backend", &rows).expect_err("they are not one side").to_string();
    assert!(error.contains("several variants") && error.contains("--by variant"), "{error}");
    // Of one number, nothing is said.
    let rows: Vec<Row> = rows.into_iter().filter(|row| row.buffers != Some(64)).collect();
    assert_eq!(verdicts(&compare("backend", &rows).expect("a report")), [Verdict::Better]);
}

#[test]
fn relative_to_a_backend_what_moves_both_is_no_change() {
    let mut rows = Vec::new();
    for (at, state) in ["A", "B", "A", "B", "B", "A", "A", "B", "B", "A", "A", "B"].into_iter().enumerate() {
        let speed = 1.0 + 0.05 * ((7 * at) % 5) as f64;
        for (backend, factor) in [("plain", 1.0), ("mmsg", if state == "B" { 1.1 } else { 1.0 })] {
            rows.extend(noisy(100.0 * speed * factor, at).map(|(block, ns)| Row {
                run_id: format!("run {at}"),
                started_at: format!("2026-11-29T10:{at:02}:00Z"),
                state: state.into(),
                ..trial(backend, block, ns)
            }));
        }
    }
    let data = Dataset::of_rows(metrics::all_defaults().into_iter().map(|metric| metric.column), rows.iter());
    let mut trials = Trials::new(&data, By::column("state").expect("a column"), &[]);
    trials.relate_to("plain").expect("there is one");
    let report = Comparisons::new(&trials, &DEFAULTS).expect("a report");
    let costs: Vec<_> =
        report.comparisons.iter().filter(|one| one.metric.column == Column::ns_per_packet_p50).collect();
    assert_eq!((costs.len(), costs[0].verdict, costs[0].cell.get(Column::backend)), (1, Verdict::Worse, "mmsg"));
    let (low, high) = costs[0].figures.ratio.and_then(|ratio| ratio.interval).expect("an interval");
    assert!((low - 1.1).abs() < 0.01 && (high - 1.1).abs() < 0.01, "{low} {high}");
    let mut trials = Trials::new(&data, By::column("state").expect("a column"), &[]);
    assert!(trials.relate_to("uring").expect_err("there is none").to_string().contains("no trial is of this backend"));
}

#[test]
fn what_does_not_count_is_no_reference() {
    let of = |is_limited: bool| {
        let mut rows = two(100.0, 127.0);
        rows.extend(noisy(100.0, 2).map(|(block, ns)| trial("uring", block, ns)));
        rows.iter_mut().filter(|row| row.backend == "plain").for_each(|row| {
            row.generator_limited = Some(u8::from(is_limited && row.trial > 6));
        });
        let data = Dataset::of_rows([Column::ns_per_packet_p50], rows.iter());
        let mut trials = Trials::new(&data, By::column("backend").expect("a column"), &[]);
        trials.relate_to("plain").expect("there is one");
        let report = Comparisons::new(&trials, &DEFAULTS).expect("a report");
        report.comparisons[0].counts
    };
    assert_eq!((of(false), of(true)), ([60, 60], [6, 6]));
}

/// Rows of one run are compared by its blocks, whatever pair it belongs to.
#[test]
fn within_a_run_of_a_pair_blocks_are_compared() {
    let rows: Vec<Row> =
        two(100.0, 127.0).into_iter().map(|row| Row { state: "A".into(), pair: Some(1), ..row }).collect();
    let report = compare("backend", &rows).expect("a report");
    let basis = Basis::Blocks { blocks: BLOCKS, runs: 1 };
    assert_eq!((report.comparisons[0].verdict, report.comparisons[0].figures.basis), (Verdict::Worse, basis));
}

/// The guests of a lab share a run, but run one after the other.
#[test]
fn machines_share_no_blocks() {
    let of = |kernel: &'static str, ns: f64| {
        noisy(ns, 0).map(move |(block, ns)| Row { kernel: kernel.into(), ..trial("plain", block, ns) })
    };
    let rows: Vec<Row> = of("6.1", 100.0).chain(of("6.18", 127.0)).collect();
    let report = compare("kernel", &rows).expect("a report");
    assert_eq!((report.comparisons[0].verdict, &report.comparisons[0].reason), (Verdict::None, &Some(Reason::OneRun)));
    let paired = Settings { paired: true, ..DEFAULTS };
    assert!(compare_with(By::Column(Column::kernel), &rows, &paired, &[]).is_err(), "there are no common blocks");
}

/// Files of several experiments have the same pair numbers: each run belongs to its own experiment.
#[test]
fn pairs_of_several_experiments_stay_apart() {
    let sides = ["A", "B"].repeat(7);
    let two_experiments = |spoilt: Option<usize>, lost: Option<usize>| {
        let mut rows = runs(&sides, 1.2, true);
        // The seventh pair is the first of another experiment, later and ten times as slow.
        for row in rows.iter_mut().filter(|row| row.pair == Some(7)) {
            row.pair = Some(1);
            row.ns_per_packet_p50 = row.ns_per_packet_p50.map(|ns| 10.0 * ns);
        }
        let is = |row: &Row, at: Option<usize>| at.is_some_and(|at| row.run_id == format!("run {at}"));
        rows.retain(|row| !is(row, lost));
        rows.iter_mut().filter(|row| is(row, spoilt)).for_each(|row| row.valid = 0);
        let report = compare("state", &rows).expect("a report");
        let ratio = report.comparisons[0].figures.ratio.expect("a ratio");
        (report.comparisons[0].figures.basis, ratio.interval.map(|(low, high)| low > 1.1 && high < 1.3))
    };
    assert_eq!(two_experiments(None, None), (Basis::Pairs { pairs: 7 }, Some(true)));
    assert_eq!(two_experiments(Some(0), None), (Basis::Pairs { pairs: 6 }, Some(true)), "its partner has none");
    assert_eq!(
        two_experiments(None, Some(0)),
        (Basis::Nothing, None),
        "nobody knows which is the partner of the others"
    );
}

#[test]
fn a_run_is_as_precise_as_its_widest_comparison() {
    let at = |rows: &[Row]| answer::precision(rows.iter());
    let Precision::Half(half) = at(&two(100.0, 127.0)) else { panic!("60 blocks have an interval") };
    assert!(half > 0.0 && half < 0.01, "{half}");
    let few: Vec<Row> = two(100.0, 127.0).into_iter().filter(|row| row.trial <= 10).collect();
    assert_eq!(at(&few), Precision::NotYet);
    let mut refused = two(100.0, 127.0);
    refused.iter_mut().filter(|row| row.backend == "mmsg").for_each(|row| row.ns_per_packet_p50 = None);
    assert!(matches!(at(&refused), Precision::Never(_)), "{:?}", at(&refused));
    // A comparison that will have no verdict is not waited for.
    let mut rows = two(100.0, 127.0);
    rows.extend(few.into_iter().map(|row| Row {
        scenario: "flood".into(),
        rx_pps: row.ns_per_packet_p50,
        ns_per_packet_p50: None,
        round: None,
        generator_limited: Some(1),
        order: row.order + 100_000,
        ..row
    }));
    assert_eq!(at(&rows), Precision::Half(half));
}

#[test]
fn cores_in_another_state_do_not_count() {
    let echo = |row: Row, ns: f64| Row {
        scenario: "echo".into(),
        core_transfer_ns: Some(ns),
        lat_p50_ns: row.ns_per_packet_p50.map(|value| (1000.0 * value) as u64),
        ns_per_packet_p50: None,
        peer_ns_per_packet: None,
        ..row
    };
    let state = |block: usize| if block <= 20 { 210.0 } else { 50.0 };
    let rows: Vec<Row> = two(100.0, 127.0).into_iter().map(|row| echo(row.clone(), state(row.trial))).collect();
    let report = compare("backend", &rows).expect("a report");
    assert_eq!((report.comparisons[0].counts, report.comparisons[0].verdict), ([40, 40], Verdict::Worse));
    assert!(report.comparisons[0].warnings[0].to_string().contains("cores were in another state"));
    let half = |block: usize| if block.is_multiple_of(2) { 210.0 } else { 50.0 };
    let rows: Vec<Row> = two(100.0, 127.0).into_iter().map(|row| echo(row.clone(), half(row.trial))).collect();
    let report = compare("backend", &rows).expect("a report");
    assert_eq!((report.comparisons[0].counts, report.comparisons[0].verdict), ([30, 30], Verdict::Worse));

    let sides = ["A", "B", "B", "A", "A", "B", "A", "B", "B", "A", "A", "B", "A", "B", "B", "A"];
    for (moved, verdict, basis) in [(2, Verdict::Worse, Basis::Pairs { pairs: 7 }), (4, Verdict::None, Basis::Nothing)]
    {
        let rows: Vec<Row> = runs(&sides, 1.2, true)
            .into_iter()
            .map(|row| {
                let is_moved = row.state == "B" && row.pair.is_some_and(|pair| pair < moved);
                echo(row, if is_moved { 210.0 } else { 50.0 })
            })
            .collect();
        let report = compare("state", &rows).expect("a report");
        assert_eq!((report.comparisons[0].verdict, report.comparisons[0].figures.basis), (verdict, basis), "{moved}");
    }
}
