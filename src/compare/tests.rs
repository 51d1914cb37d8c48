//! Comparisons of trials that are made up.

use rand::{RngExt, SeedableRng};

use super::axes::AXES;
use super::*;
use crate::output;
use crate::record::Row;
use crate::rows;

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

fn compare_with(by: By, rows: &[Row], settings: &Settings<'_>, metric: &[&str]) -> Result<Report, CompareError> {
    let metrics: Vec<_> = metric.iter().map(|name| metrics::find(name).expect("a metric")).collect();
    let mut trials = Trials::new(by, &metrics);
    for row in rows {
        let fields = rows::fields(&output::encode(row, false)).expect("a row");
        trials.add(&fields, row, "").expect("a row that can be compared");
    }
    trials.mark();
    Report::new(&trials, &Settings { all_metrics: !metric.is_empty(), ..*settings })
}

fn compare(by: &str, rows: &[Row]) -> Result<Report, CompareError> {
    compare_with(By::column(by).expect("a column"), rows, &DEFAULTS, &[])
}

fn forced(by: &str, rows: &[Row]) -> Report {
    compare_with(By::column(by).expect("a column"), rows, &Settings { force: true, ..DEFAULTS }, &[]).expect("a report")
}

/// The verdicts on the costs.
fn verdicts(report: &Report) -> Vec<Verdict> {
    let costs = report.comparisons.iter().filter(|comparison| comparison.metric.name == "ns_per_packet_p50");
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
    let at = AXES.iter().position(|axis| *axis == "payload").expect("an axis");
    let payloads: Vec<&str> = report.comparisons.iter().map(|row| row.axes[at].as_str()).collect();
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

type Change = fn(&mut Row);

#[test]
fn what_means_nothing_is_refused_and_named_or_marked() {
    let changes: [(&str, Change); 7] = [
        ("accel is empty and kvm", |row| row.accel = "kvm".into()),
        ("rcvbuf is 1048576 and 212992", |row| row.rcvbuf = Some(212_992)),
        ("fill is gso and sendmmsg", |row| row.fill = "sendmmsg".into()),
        ("host is lab and home; --by host", |row| row.host = "home".into()),
        ("cpu_relation is empty and smt-siblings", |row| row.cpu_relation = "smt-siblings".into()),
        ("payload is 64 and 1472", |row| row.payload = 1472),
        ("round is 1024 and 384", |row| row.round = Some(384)),
    ];
    for (told, change) in changes {
        let mut rows = two(100.0, 127.0);
        rows.iter_mut().filter(|row| row.backend == "mmsg").for_each(change);
        let message = compare("backend", &rows).expect_err(told).to_string();
        assert!(message.contains(told) && message.contains("--force"), "{told}: {message}");
        let report = forced("backend", &rows);
        assert_eq!(verdicts(&report), [Verdict::Invalid], "{told}");
        assert!(report.comparisons[0].warnings.iter().any(|warning| warning.contains(told)), "{told}");
        assert_eq!((report.comparisons[0].figures.p, report.comparisons[0].q), (None, None));
    }
}

#[test]
fn fewer_than_six_trials_are_too_few() {
    let rows: Vec<Row> = two(100.0, 127.0).into_iter().filter(|row| row.trial <= 5).collect();
    let message = compare("backend", &rows).expect_err("too few").to_string();
    assert!(message.contains("5 trials are too few"), "{message}");
    assert_eq!(verdicts(&forced("backend", &rows)), [Verdict::Invalid]);
    let rows: Vec<Row> = two(100.0, 127.0).into_iter().filter(|row| row.trial <= 6).collect();
    assert_eq!(verdicts(&compare("backend", &rows).expect("six are enough")), [Verdict::Worse]);
}

#[test]
fn gates_that_leave_too_few_trials_leave_no_verdict() {
    for (invalid, verdict) in [(4, Verdict::Worse), (5, Verdict::Invalid), (10, Verdict::Invalid)] {
        let mut rows = two(100.0, 127.0);
        for row in rows.iter_mut().filter(|row| row.backend == "mmsg" && row.trial <= invalid) {
            (row.valid, row.invalid_reason) = (0, format!("disturbed: {} ms", row.trial));
        }
        let report = compare("backend", &rows).expect("a report");
        assert_eq!((verdicts(&report), report.comparisons[0].counts), (vec![verdict], [10, 10 - invalid]));
        let told = format!("{invalid} of 20 trials are invalid and left out: disturbed: ");
        assert!(report.notes.iter().any(|note| note.contains(&told)), "{:?}", report.notes);
    }
}

#[test]
fn a_backend_that_failed_has_a_row_without_a_verdict() {
    let mut rows = two(100.0, 127.0);
    for row in rows.iter_mut().filter(|row| row.backend == "mmsg") {
        *row = Row {
            ns_per_packet_p50: None,
            peer_ns_per_packet: None,
            rcvbuf: None,
            fill: String::new(),
            valid: 0,
            error: "refused here".into(),
            ..row.clone()
        };
    }
    let report = compare("backend", &rows).expect("a report");
    assert_eq!(verdicts(&report), [Verdict::Invalid]);
    assert_eq!(report.comparisons[0].figures.medians[1], None);
    assert!(
        report.notes.iter().any(|note| note.contains("10 of 20 trials failed: refused here")),
        "{:?}",
        report.notes
    );
}

#[test]
fn only_the_last_attempt_at_a_trial_counts() {
    let mut rows = two(100.0, 127.0);
    let mut wild = trial("mmsg", 1, 1e6);
    (wild.valid, wild.invalid_reason) = (0, "disturbed: at first".into());
    rows.insert(0, wild);
    rows.iter_mut().filter(|row| row.valid == 1).for_each(|row| row.attempt = 2);
    let report = compare("backend", &rows).expect("a report");
    assert_eq!((verdicts(&report), report.comparisons[0].counts), (vec![Verdict::Worse], [10, 10]));
    assert!(!report.notes.iter().any(|note| note.contains("at first")), "{:?}", report.notes);
    let mut last = trial("mmsg", 1, 1.0);
    (last.valid, last.attempt) = (0, 3);
    rows.insert(0, last);
    let report = compare("backend", &rows).expect("a report");
    assert_eq!(report.comparisons[0].counts, [10, 9], "whatever the order of the rows");
}

#[test]
fn a_load_that_was_too_small_has_no_verdict() {
    let mut rows = two(100.0, 127.0);
    rows[3].generator_limited = Some(1);
    let report = compare("backend", &rows).expect("a report");
    assert_eq!(verdicts(&report), [Verdict::Invalid]);
    assert_eq!(report.comparisons[0].warnings, ["limited by the generators: 1 of base and 0 of new"]);
}

#[test]
fn trials_under_unusual_conditions_are_left_out_while_enough_others_remain() {
    let mut rows = two(100.0, 100.0);
    for row in &mut rows {
        row.canary_ratio = Some(1.0);
        if row.trial <= 4 {
            (row.ns_per_packet_p50, row.steady) = (Some(1e6), Some(0));
        }
    }
    let report = compare("backend", &rows).expect("a report");
    assert_eq!((verdicts(&report), report.comparisons[0].counts), (vec![Verdict::Same], [6, 6]));
    rows.iter_mut().for_each(|row| row.steady = Some(0));
    let report = compare("backend", &rows).expect("a report");
    assert_eq!(report.comparisons[0].counts, [10, 10]);
    assert!(report.comparisons[0].warnings[0].contains("unusual conditions"), "{:?}", report.comparisons[0].warnings);
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
    let variants: Vec<&str> = report.comparisons.iter().step_by(2).map(|one| one.axes[2].as_str()).collect();
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

/// Counts of instructions, which have no noise, under several kernels.
fn counted(kernels: &[(&str, f64)]) -> Vec<Row> {
    let row = |(at, (kernel, count)): (usize, &(&str, f64)), block| Row {
        run_id: format!("run {at}"),
        kernel: (*kernel).into(),
        accel: "icount".into(),
        ns_per_packet_p50: None,
        peer_ns_per_packet: None,
        instructions_per_packet: Some(*count),
        peer_instructions_per_packet: Some(2000.0),
        ..trial("plain", block, 0.0)
    };
    let kernels = kernels.iter().enumerate();
    kernels.flat_map(|kernel| (1..=6).map(move |block| row(kernel, block))).collect()
}

#[test]
fn kernels_are_compared_each_with_the_one_before_it() {
    let rows = counted(&[("6.12", 1913.0), ("6.9", 1850.0), ("5.10", 1700.0), ("7.0-rc2", 1913.0)]);
    let report = compare("kernel", &rows).expect("a report");
    let found: Vec<(&str, &str, Verdict)> = report
        .comparisons
        .iter()
        .filter(|comparison| comparison.metric.name == "instructions_per_packet")
        .map(|comparison| (comparison.sides[0].as_str(), comparison.sides[1].as_str(), comparison.verdict))
        .collect();
    let expected =
        [("5.10", "6.9", Verdict::Worse), ("6.9", "6.12", Verdict::Worse), ("6.12", "7.0-rc2", Verdict::Same)];
    assert_eq!(found, expected);
    let steps: Vec<String> = steps::find(&report).iter().map(ToString::to_string).collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    let first = "plain 5.10 → 6.9: +8.8% instructions per packet (drain, batch 32: 1700.0 → 1850.0)";
    assert_eq!(steps[0], first);
    assert!(report.notes.iter().all(|note| !note.contains("kernel differs")), "{:?}", report.notes);

    let settings = Settings { base: Some("6.9"), ..DEFAULTS };
    let report = compare_with(By::Column("kernel"), &rows, &settings, &[]).expect("a report");
    assert!(report.comparisons.iter().all(|comparison| comparison.sides[0] == "6.9"));
    assert!(steps::find(&report).is_empty(), "these are no neighbours");
}

#[test]
fn trials_under_several_kernels_are_not_one_cell() {
    let mut rows = two(100.0, 127.0);
    rows.iter_mut().filter(|row| row.trial > 5).for_each(|row| row.kernel = "7.1".into());
    let message = compare("backend", &rows).expect_err("two kernels in a cell").to_string();
    assert!(message.contains("plain has trials under several kernels (6.18, 7.1)"), "{message}");
}

#[test]
fn a_side_without_values_has_no_verdict() {
    let mut rows = two(100.0, 127.0);
    rows.iter_mut().filter(|row| row.backend == "mmsg").for_each(|row| row.ns_per_packet_p50 = None);
    let report = compare("backend", &rows).expect("a report");
    assert_eq!((verdicts(&report), report.comparisons[0].counts), (vec![Verdict::Invalid], [10, 0]));
}

#[test]
fn backends_are_not_ranked_by_counts_of_instructions() {
    let mut rows = counted(&[("6.12", 1900.0)]);
    rows.extend(rows.clone().into_iter().map(|row| Row { instructions_per_packet: Some(1000.0), ..rename(row) }));
    for by in ["backend", "variant"] {
        let message = compare(by, &rows).expect_err("counts rank nothing").to_string();
        assert!(message.contains("caches") && message.contains("--by kernel"), "{message}");
    }
    assert_eq!(answer::after_run(rows.iter()), "", "nor in the answer");
}

fn rename(row: Row) -> Row {
    Row { backend: "mmsg".into(), variant: "recvmmsg+sendmmsg".into(), ..row }
}

#[test]
fn a_base_of_zero_has_no_ratio() {
    let mut rows = two(100.0, 127.0);
    for row in &mut rows {
        row.drop_socket = Some(if row.backend == "plain" { 0 } else { 7 });
        row.drop_ring = Some(0);
    }
    let report =
        compare_with(By::Column("backend"), &rows, &DEFAULTS, &["drop_socket", "drop_ring"]).expect("a report");
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
    let paired = compare_with(By::Column("backend"), &rows, &settings, &[]).expect("a report");
    let [p, q] = [&paired, &compare("backend", &rows).expect("a report")].map(|report| report.comparisons[0].figures.p);
    assert!(p < Some(0.01) && q > Some(0.05), "{p:?} {q:?}");
    assert_eq!(verdicts(&paired), [Verdict::Worse]);
}

#[test]
fn where_batches_differ_too_often_each_side_is_told_of() {
    let of = |(batch, new): (usize, f64)| {
        let order = move |row: &Row| row.order + 10_000 * batch;
        two(400.0, new).into_iter().map(move |row| Row { batch, order: order(&row), ..row })
    };
    let costs = [(1, 500.0), (2, 400.0), (4, 480.0), (8, 400.0), (16, 400.0), (32, 400.0), (64, 350.0)];
    let rows: Vec<Row> = costs.into_iter().flat_map(of).collect();
    let lines = answer::lines(&compare("backend", &rows).expect("a report"));
    let told = "mmsg (32 per system call): 12% faster in batches of 64, the same in batches of 2 and 8 to 32, 20 to 25% slower in \
                batches of 1 and 4.";
    assert!(lines.len() == 1 && lines[0].ends_with(told), "{lines:?}");
}

#[test]
fn the_answer_says_what_the_verdicts_say() {
    let mut rows = Vec::new();
    for (batch, mmsg, uring, peer) in [(1, 127.0, 100.5, 460.0), (16, 100.0, 100.5, 400.0), (64, 100.3, 100.0, 400.0)] {
        for (backend, ns, peer) in [("plain", 100.0, 400.0), ("mmsg", mmsg, 400.0), ("uring", uring, peer)] {
            rows.extend(noisy(ns, batch + backend.len()).map(|(block, ns)| Row {
                batch,
                order: batch * 100 + block,
                peer_ns_per_packet: Some(peer),
                kernel_batch_mean: Some(match backend {
                    "plain" => 1.0,
                    "mmsg" => batch as f64,
                    _ => 33.0,
                }),
                ..trial(backend, block, ns)
            }));
        }
    }
    let text = answer::after_run(rows.iter()).replace("\n  ", " ");
    let expected = "\ndrain (time per datagram, against plain at 1 per system call). Batch 1: uring (33 per system call) \
                    the same; mmsg 27% slower; the other side 15% slower with uring. From 16 on: no difference beyond \
                    3% (uring: 33 per system call).\n";
    assert_eq!(text, expected);
    let few: Vec<Row> = rows.iter().filter(|row| row.trial <= 3).cloned().collect();
    assert!(answer::after_run(few.iter()).contains("3 trials per cell: too few for a verdict"));
    let alone: Vec<Row> = rows.iter().filter(|row| row.backend == "plain").cloned().collect();
    assert_eq!(answer::after_run(alone.iter()), "");
}

#[test]
fn the_answer_names_those_together_of_whom_the_same_is_said() {
    let mut rows = Vec::new();
    let sides = [
        ("plain", "recvfrom+sendto", 100.0),
        ("plain", "recvfrom+sendto+gro", 5.0),
        ("mmsg", "recvmmsg+sendmmsg", 120.0),
        ("mmsg", "recvmmsg+sendmmsg+gro", 3.0),
        ("uring", "multishot+send+defer", 110.0),
        ("uring", "multishot+send+coop", 115.0),
        ("uring", "single+send+defer", 130.0),
        ("uring", "fixed+send+defer", 101.0),
    ];
    for (at, (backend, variant, ns)) in sides.into_iter().enumerate().rev() {
        rows.extend(noisy(ns, at).map(|(block, ns)| Row {
            variant: variant.into(),
            order: at * 100 + block,
            kernel_batch_mean: Some(32.0),
            ..trial(backend, block, ns)
        }));
    }
    let text = answer::after_run(rows.iter()).replace("\n  ", " ");
    let expected = "\ndrain (time per datagram, against plain). Batch 32: plain:gro and mmsg:gro 20 to 33 times as fast; \
                    uring:fixed the same; mmsg and uring in 3 modes 10 to 30% slower.\n";
    assert_eq!(text, expected, "the default of plain is the base, wherever its rows are");
    let mut limited = rows;
    limited.iter_mut().for_each(|row| row.generator_limited = Some(1));
    let text = answer::after_run(limited.iter()).replace("\n  ", " ");
    assert!(text.contains("Batch 32: without a verdict (limited by the generators)."), "{text}");
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
    let mut judge = verdict::Judge::default();
    let mut different = 0;
    for _ in 0..RUNS {
        let mut side = |middle| (0..10).map(|block| (block, simulated(&mut random, middle))).collect::<Vec<_>>();
        let (base, new) = (side(100.0), side(100.0 * (1.0 + change)));
        let figures = judge.figures(&base, &new);
        let verdict = verdict::verdict(&figures, figures.p.expect("values"), metrics::Better::Lower, 0.03);
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
