//! The answer in words.

use super::*;

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

/// Trials of two backends at offered rates; `new` tells what the second one takes where the first takes 400.
fn paced(rates: impl Iterator<Item = u64>, new: impl Fn(u64) -> f64) -> Vec<Row> {
    let of = |rate: u64| {
        let order = move |row: &Row| row.order + 10_000 * rate as usize;
        let pace = move |row: Row| Row {
            scenario: "pace".into(),
            rate_pps: Some(rate),
            burst: Some(1),
            round: None,
            order: order(&row),
            lat_p50_ns: row.ns_per_packet_p50.map(|ns| ns as u64),
            ns_per_packet_p50: None,
            peer_ns_per_packet: None,
            kernel_batch_mean: Some(1.0),
            ..row
        };
        two(400.0, new(rate)).into_iter().map(pace)
    };
    rates.flat_map(of).collect()
}

#[test]
fn rates_of_whom_the_same_is_said_are_told_together() {
    let rows = paced((1..=30).map(|rate| 1000 * rate), |rate| if rate < 9000 { 400.0 } else { 500.0 });
    let lines = answer::lines(&compare("backend", &rows).expect("a report"));
    let told = "pace (latency, median in this run, against plain at 1 per system call). Rates 1000 to 8000: no difference beyond 3%. \
                From 9000 on: mmsg 25% slower.";
    assert_eq!(lines, [told]);
    let rows = paced((1..=8).map(|rate| 1000 * rate), |rate| if rate % 2000 == 0 { 400.0 } else { 500.0 });
    let lines = answer::lines(&compare("backend", &rows).expect("a report"));
    assert!(lines[0].ends_with(
        "the same at rates of 2000, 4000, 6000 and 8000, 25% slower at rates of 1000, 3000, 5000 and 7000."
    ));
}

#[test]
fn a_short_answer_says_how_much_it_leaves_out() {
    let of = |(at, batch): (usize, usize)| {
        let order = move |row: &Row| row.order + 10_000 * (10 * at + batch);
        two(400.0, 500.0).into_iter().map(move |row| Row { batch, ring: 64 << at, order: order(&row), ..row })
    };
    let rows: Vec<Row> = (0..23).flat_map(|at| [(at, 1), (at, 8)]).flat_map(of).collect();
    let report = compare_with(By::Column(Column::backend), &rows, &answer::SETTINGS, &[]).expect("a report");
    let lines = answer::lines(&report);
    let last = "3 more kinds of cells are not told of here; the table of `hpbench compare` has all.";
    assert_eq!((lines.len(), lines[20].as_str()), (21, last));
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
    let expected = "\ndrain (time per datagram in this run, against plain at 1 per system call). Batch 1: uring (33 per system call) \
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
    let expected = "\ndrain (time per datagram in this run, against plain). Batch 32: plain:gro and mmsg:gro 20 to 33 times as fast; \
                    uring:fixed the same; mmsg and uring in 3 modes 10 to 30% slower.\n";
    assert_eq!(text, expected, "the default of plain is the base, wherever its rows are");
    let mut limited = rows;
    limited.iter_mut().for_each(|row| row.generator_limited = Some(1));
    let text = answer::after_run(limited.iter()).replace("\n  ", " ");
    assert!(text.contains("Batch 32: without a verdict (limited by the generators)."), "{text}");
}
