//! The answer: headline and grid.

use super::*;
use crate::compare::answer::{Answer, of_trials};
use crate::console::Look;

/// Colours would come between the words.
const PLAIN: Look = Look { coloured: false, unicode: true };

/// The headline of a comparison of backends, on one line.
fn headline(rows: &[Row]) -> String {
    Answer::of(&compare("backend", rows).expect("a report")).headline.replace('\n', " ").trim_end().to_owned()
}

/// What a run with these rows prints first.
fn told(rows: &[Row], look: Look) -> String {
    let columns = crate::compare::metrics::all_defaults().into_iter().map(|metric| metric.column);
    of_trials(&Dataset::of_rows(columns, rows.iter()), look)
}

#[test]
fn where_verdicts_change_too_often_they_are_counted() {
    let of = |(batch, new): (usize, f64)| {
        let order = move |row: &Row| row.order + 10_000 * batch;
        two(400.0, new).into_iter().map(move |row| Row { batch, order: order(&row), ..row })
    };
    let costs = [(1, 500.0), (2, 400.0), (4, 480.0), (8, 400.0), (16, 400.0), (32, 400.0), (64, 350.0)];
    let rows: Vec<Row> = costs.into_iter().flat_map(of).collect();
    assert_eq!(
        headline(&rows),
        "Receiving (against plain): 12% faster in 1, 20 to 25% slower in 2, within 3% in 4 of 7 rows."
    );
    let few: Vec<Row> = costs[..4].iter().copied().flat_map(of).collect();
    assert_eq!(headline(&few[..]), "Receiving (against plain): 20 to 25% slower in 2, within 3% in 2 of 4 rows.");
    let spans: Vec<Row> = [costs[0], costs[1], costs[3], costs[6]].into_iter().flat_map(of).collect();
    let expected =
        "Receiving (against plain): 25% slower at batch 1, within 3% at batch 2 to 8, 12% faster at batch 64.";
    assert_eq!(headline(&spans), expected);
}

#[test]
fn numbers_of_sockets_that_have_one_verdict_are_all_named() {
    let of = |(sockets, new): (usize, f64)| {
        let order = move |row: &Row| row.order + 10_000 * sockets;
        let many = move |row: Row| Row { sockets: Some(sockets), active: Some(sockets), order: order(&row), ..row };
        two(400.0, new).into_iter().map(many)
    };
    let costs = [(2, 380.0), (10, 370.0), (100, 400.0), (1000, 500.0), (8000, 500.0)];
    let rows: Vec<Row> = costs.into_iter().flat_map(of).collect();
    assert_eq!(
        headline(&rows),
        "Receiving (against plain): 5 to 7% faster at 2 to 10 sockets, within 3% at 100 sockets, 25% slower from 1000 sockets on."
    );
}

/// Trials of two backends at offered rates; the first takes 400, the second `new`.
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
fn a_sweep_of_rates_says_from_where_on() {
    let rows = paced((1..=30).map(|rate| 1000 * rate), |rate| if rate < 9000 { 400.0 } else { 500.0 });
    assert_eq!(
        headline(&rows),
        "Latency at a fixed rate (against plain): within 3% at 1k to 8k, 25% slower from 9k on."
    );
}

/// Trials of three backends at three batches.
fn swept() -> Vec<Row> {
    let mut rows = Vec::new();
    for (batch, mmsg, uring, peer) in [(1, 127.0, 100.5, 460.0), (16, 100.0, 100.5, 464.0), (64, 90.0, 100.0, 462.0)] {
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
    rows
}

#[test]
fn the_answer_says_what_the_verdicts_say() {
    let rows = swept();
    let text = told(&rows, PLAIN);
    let (head, grid) = text.split_once("\n\n").expect("a headline and a grid");
    assert_eq!(
        head.replace('\n', " "),
        "Receiving (against plain): mmsg 27% slower at batch 1, within 3% at batch 16, 10% faster at batch 64; uring within 3%; \
         sending to uring costs 15 to 16% more."
    );
    let lines: Vec<Vec<&str>> = grid.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["batch", "plain", "mmsg", "uring", "per", "call"]);
    assert_eq!([lines[2][0], lines[2][1], lines[2][2], lines[2][4]], ["1", "100.5", "+27.0", "▲"]);
    assert_eq!([lines[4][0], lines[4][2], lines[4][4]], ["64", "-10.0", "▽"]);
    assert_eq!(lines[2][8..], ["1", "/", "1", "/", "33"]);
    assert_eq!(lines[5][..3], ["peer", "ns", "400.0"]);
    assert_eq!(lines[5].last(), Some(&"▲"), "{grid}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let few: Vec<Row> = rows.iter().filter(|row| row.trial <= 3).cloned().collect();
    assert!(told(&few, PLAIN).contains("3 trials per cell: too few for a verdict"));
    let alone: Vec<Row> = rows.iter().filter(|row| row.backend == "plain").cloned().collect();
    assert_eq!(told(&alone, PLAIN), "");
}

#[test]
fn what_is_no_terminal_gets_ascii() {
    let text = told(&swept(), Look { coloured: false, unicode: false });
    assert!(text.is_ascii() && text.contains("! worse") && text.contains("* better"), "{text}");
    let coloured = told(&swept(), Look { coloured: true, unicode: true });
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), told(&swept(), PLAIN));
    assert!(coloured.contains('\u{1b}'));
}

/// Trials of eight variants.
fn variants() -> Vec<Row> {
    let sides = [
        ("plain", "recvfrom+sendto", 100.0),
        ("plain", "recvfrom+sendto+gro", 5.0),
        ("mmsg", "recvmmsg+sendmmsg", 120.0),
        ("mmsg", "recvmmsg+sendmmsg+gro", 3.0),
        ("uring", "multishot+send+defer", 110.0),
        ("uring", "multishot+send+coop", 115.0),
        ("uring", "single+send+defer", 130.0),
        ("uring", "recvmsg-multishot+sendmsg+defer", 101.0),
    ];
    let mut rows = Vec::new();
    for (at, (backend, variant, ns)) in sides.into_iter().enumerate().rev() {
        rows.extend(noisy(ns, at).map(|(block, ns)| Row {
            variant: variant.into(),
            order: at * 100 + block,
            kernel_batch_mean: Some(32.0),
            ..trial(backend, block, ns)
        }));
    }
    rows
}

#[test]
fn many_columns_go_on_below_and_long_names_are_told_in_full() {
    let text = told(&variants(), PLAIN);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for name in ["plain:gro", "mmsg", "mmsg:gro", "uring", "uring:coop", "uring:single"] {
        assert!(text.contains(&format!("  {name}")), "{name} is a column: {text}");
    }
    assert!(text.contains("uring:recvmsg-multi… is uring:recvmsg-multishot+sendmsg."), "{text}");
    assert!(text.contains("x0.050") && text.contains("x0.030"), "factors, not percents: {text}");
    assert_eq!(text.split("\n\n").next().map(|head| head.lines().count()), Some(3), "{text}");
    let flat = text.replace('\n', " ");
    assert!(flat.starts_with("Receiving, batch 32: plain:gro 20 times as fast"), "{flat}");
}

#[test]
fn what_has_no_verdict_says_why_and_a_busy_machine_what_helps() {
    let mut rows = variants();
    rows.iter_mut().for_each(|row| row.generator_limited = Some(1));
    let text = told(&rows, PLAIN);
    assert!(text.starts_with("Receiving, batch 32: no verdict (limited by the generators)."), "{text}");
    let busy = rows.iter().enumerate().map(|(at, row)| match at % 3 {
        0 => Row { generator_limited: None, ..row.clone() },
        _ => Row { valid: 0, invalid_reason: "disturbed: another thread had the core".into(), ..row.clone() },
    });
    let text = told(&busy.collect::<Vec<_>>(), PLAIN);
    assert!(text.starts_with("The machine was busy: ") && text.contains("--wait-quiet 60"), "{text}");
}

/// Four scenarios do not fit into three lines: where nothing is known, no headline says that there is no difference.
#[test]
fn what_is_not_known_is_not_called_the_same() {
    let of = |(at, (scenario, limited)): (usize, (&'static str, bool))| {
        variants().into_iter().map(move |row| Row {
            scenario: scenario.into(),
            order: row.order + 10_000 * at,
            // All alike but in the first scenario, and in the last one limited.
            ns_per_packet_p50: row.ns_per_packet_p50.filter(|_| at < 2).map(|ns| if at == 0 { ns } else { 100.0 }),
            rx_pps: Some(1e6).filter(|_| at == 2),
            peer_ns_per_packet: row.peer_ns_per_packet.filter(|_| at < 2),
            generator_limited: limited.then_some(1),
            ..row
        })
    };
    let rows: Vec<Row> =
        [("drain", false), ("send", false), ("flood", true)].into_iter().enumerate().flat_map(of).collect();
    let rows: Vec<Row> = rows.into_iter().filter(|row| !row.variant.contains("recvmsg-multishot")).collect();
    let report = compare("variant", &rows).expect("a report");
    let text = Answer::of(&report).headline.replace('\n', " ");
    let cut =
        ["Receiving, batch 32: plain:gro 20 times as fast", "No difference beyond 3%: send.", "Undecided: flood."];
    assert!(cut.iter().all(|part| text.contains(part)), "{text}");
}
