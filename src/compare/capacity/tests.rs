use std::time::Duration;

use hdrhistogram::Histogram;
use hpbench_backends::{Kind, Variant};

use super::*;
use crate::record::lat_tail::LatTail;
use crate::record::row::Row;
use crate::stats::search::Goal;

/// What a search of one backend meets: what gets through at most is in its `rx_pps`, what its generator offers in its `tx_pps`.
fn taking(backend: Kind, rx_pps: f64) -> Row {
    Row {
        scenario: "pace".into(),
        backend: backend.name().into(),
        variant: Variant::default_of(backend).to_string(),
        wait: "spin".into(),
        addressing: "connected".into(),
        workers: 1,
        batch: 32,
        payload: 64,
        burst: Some(1),
        work: Some(0),
        rx_pps: Some(rx_pps),
        cpu_ns_per_packet: Some(800.0),
        drop_socket: Some(5),
        ..Row::default()
    }
}

/// The row of a trial at a load.
fn tried(device: &Row, load: u64, sought: &Sought) -> Row {
    let (offered, most) = (load as f64, device.rx_pps.expect("it takes some"));
    let (sent, copies) = (1_000_000, device.fanout.unwrap_or(1) as f64);
    let mut latencies = Histogram::<u64>::new(3).expect("digits");
    latencies.record(20_000).expect("it fits");
    let row = Row {
        rate_pps: Some(load),
        measured_sent: Some(sent),
        measured_received: Some((sent as f64 * (most / offered).min(1.0)) as u64),
        queue_growth: Some(0),
        rx_pps: Some(offered.min(most) * device.workers as f64 * copies),
        generator_limited: Some(u8::from(offered > device.tx_pps.unwrap_or(f64::MAX))),
        valid: 1,
        lat_p99_ns: Some(20_000),
        lat_tail: LatTail::of(&latencies),
        goal: sought.to_string(),
        ..device.clone()
    };
    let met: Vec<&str> = judge(&row, sought).met.into_iter().map(Met::name).collect();
    Row { goal_met: met.join(" "), ..row }
}

/// The rows of searches that take turns, up to so many of each.
fn rows_of(devices: &[Row], sought: &Sought, most: usize) -> Vec<Row> {
    let search = |_| Search::new(sought.goals.clone(), range(1, 1_000_000, sought));
    let mut searches: Vec<Search> = devices.iter().map(search).collect();
    let mut rows = Vec::new();
    for _ in 0..most {
        for (search, device) in searches.iter_mut().zip(devices).rev() {
            let Some(ask) = search.ask() else { continue };
            let row = tried(device, ask.load, sought);
            search.note(ask, judge(&row, sought).shown);
            rows.push(row);
        }
    }
    rows
}

fn sought(losses: &[f64]) -> Sought {
    Sought { goals: losses.iter().map(|&loss| Goal::quick(loss)).collect(), p99_max: Duration::from_millis(10) }
}

fn found_in(rows: &[Row]) -> Found {
    let mut searches = Searches::default();
    assert!(rows.iter().all(|row| searches.add_row(row)), "they are of searches");
    searches.found(&[]).remove(0)
}

fn found(devices: &[Row], losses: &[f64]) -> Found {
    found_in(&rows_of(devices, &sought(losses), 1000))
}

/// A column of the only table.
fn column<'f>(found: &'f Found, name: &str) -> Vec<&'f str> {
    let [Section { header, rows, .. }] = &found.sections[..] else { panic!("{found:?}") };
    let at = header.iter().position(|known| known == name).unwrap_or_else(|| panic!("no {name} in {header:?}"));
    rows.iter().map(|row| row[at].as_str()).collect()
}

#[test]
fn backends_are_compared_in_words_and_each_has_its_bounds_and_what_stopped_it() {
    let working = |row: Row| Row { work: Some(5000), ..row };
    let found = found(
        &[
            working(taking(Kind::PLAIN, 100_000.0)),
            working(taking(Kind::MMSG, 100_500.0)),
            Row {
                kthread_ns_per_packet: Some(50.0),
                drop_ring: Some(9),
                buffers: Some(512),
                ..working(taking(Kind::URING, 125_000.0))
            },
        ],
        &[0.005],
    );
    assert_eq!(found.headline, "plain receives 100 500 datagrams a second; mmsg as many, within 2%, uring 25% more.");
    let [section] = &found.sections[..] else { panic!("{found:?}") };
    assert!(
        section.title.ends_with("loss at most 0.5%, p99 at most 10 ms; batch 32, 64 bytes, work 5000"),
        "{section:?}"
    );
    assert_eq!(column(&found, "backend"), ["plain", "mmsg", "uring"]);
    assert_eq!(column(&found, "CPU ns"), ["800", "800", "850"]);
    assert_eq!(column(&found, "p99 µs"), ["20.2"; 3]);
    assert_eq!(column(&found, "stopped by"), ["loss at the socket", "loss at the socket", "loss at the ring"]);
}

#[test]
fn a_generator_that_can_offer_no_more_is_told() {
    let plain = Row { tx_pps: Some(50_000.0), ..taking(Kind::PLAIN, 1e12) };
    let found = found(&[plain, taking(Kind::MMSG, 1e12)], &[0.005]);
    assert!(found.headline.starts_with("plain receives at least 4"), "{found:?}");
    assert!(found.headline.ends_with("mmsg at least 1 000 000."), "{found:?}");
    assert_eq!(column(&found, "stopped by"), ["the generator", "--rate-max"]);
    assert!(column(&found, "holds").iter().all(|holds| holds.starts_with("≥ ")), "{found:?}");
    let notes = found.notes.join("\n");
    assert!(notes.contains("The generator could not offer more") && notes.contains("--rate-max allows"), "{notes}");
}

#[test]
fn each_goal_and_each_number_of_workers_has_a_line_and_what_it_brings() {
    let with = |workers, each| Row { workers, ..taking(Kind::PLAIN, each) };
    let found = found(&[with(1, 40_000.0), with(2, 40_000.0), with(4, 30_000.0)], &[0.0, 0.01]);
    assert_eq!(column(&found, "workers"), ["1", "1", "2", "2", "4", "4"]);
    assert_eq!(column(&found, "loss"), ["0%", "1%"].repeat(3));
    // 40 000 each, then 30 000: the third and the fourth worker bring 20 000 each.
    assert_eq!(column(&found, "added"), ["-", "-", "100%", "100%", "50%", "50%"]);
    assert_eq!(column(&found, "holds")[2], "80 000");
    assert_eq!(found.headline, "", "the table says it better");
}

/// One worker has nobody to share a port with: it is what all ways to share are compared with.
#[test]
fn workers_that_share_a_port_are_compared_with_one_that_does_not() {
    let with = |workers, sharding: &str, steer: &str, each| Row {
        workers,
        sharding: sharding.into(),
        steer: steer.into(),
        ..taking(Kind::PLAIN, each)
    };
    let found = found(
        &[
            with(1, "ports", "", 40_000.0),
            with(2, "ports", "", 40_000.0),
            with(2, "reuseport", "hash", 30_000.0),
            with(4, "reuseport", "hash", 30_000.0),
            with(2, "single", "", 20_000.0),
        ],
        &[0.0],
    );
    assert_eq!(column(&found, "sharding"), ["ports", "ports", "reuseport", "single", "reuseport"]);
    assert_eq!(column(&found, "added"), ["-", "100%", "50%", "0%", "75%"]);
}

#[test]
fn copies_are_of_datagrams_that_come() {
    let relay = |fanout, rx_pps| {
        let plain = taking(Kind::PLAIN, rx_pps);
        Row { scenario: "relay".into(), fanout: Some(fanout), ..plain }
    };
    let found = found(&[relay(8, 20_000.0)], &[0.005]);
    assert!(found.headline.starts_with("plain relays 20 1") && found.headline.ends_with(" to 8 each."), "{found:?}");
    assert!(found.sections[0].title.ends_with("batch 32, 64 bytes, fanout 8"), "{found:?}");
    assert!(found.notes.iter().any(|note| note.contains("CPU is of a copy")));
}

#[test]
fn a_search_that_was_cut_short_or_failed_says_so() {
    let rows = rows_of(&[taking(Kind::PLAIN, 40_000.0), taking(Kind::MMSG, 30_000.0)], &sought(&[0.005]), 5);
    let found = found_in(&rows);
    assert_eq!((column(&found, "stopped by"), found.headline.as_str()), (vec!["not finished"; 2], ""));
    let failed = Row { valid: 0, error: "no way".into(), goal_met: String::new(), ..rows[9].clone() };
    let found = found_in(&[&rows[..], std::slice::from_ref(&failed)].concat());
    let told: Vec<bool> = column(&found, "stopped by").iter().map(|why| why.starts_with("failed")).collect();
    assert!(told == [true, false] && found.notes.iter().any(|note| note == "plain failed: no way"), "{found:?}");
    // It was tried again.
    let found = found_in(&[&rows[..], &[failed, rows[9].clone()]].concat());
    assert_eq!(column(&found, "stopped by"), ["not finished"; 2]);
}

#[test]
fn a_trial_that_says_nothing_changes_nothing() {
    let rows = rows_of(&[taking(Kind::PLAIN, 40_000.0)], &sought(&[0.005]), 1000);
    let lost = tried(&taking(Kind::PLAIN, 1.0), 39_000, &sought(&[0.005]));
    let silent = Row { goal_met: String::new(), ..lost };
    let with_silent: Vec<Row> = rows.iter().flat_map(|row| [row.clone(), silent.clone()]).collect();
    let rows_of = |rows: &[Row]| found_in(rows).sections[0].rows.clone();
    assert_eq!(rows_of(&with_silent), rows_of(&rows));
}

#[test]
fn each_run_has_an_answer_and_other_rows_none() {
    let rows = rows_of(&[taking(Kind::PLAIN, 40_000.0)], &sought(&[0.005]), 1000);
    let mut searches = Searches::default();
    assert!(!searches.add_row(&taking(Kind::PLAIN, 1.0)) && searches.is_empty());
    for (at, run) in ["a", "b"].into_iter().enumerate() {
        for row in &rows {
            let row = Row { run_id: run.into(), started_at: format!("day {at}"), ..row.clone() };
            assert!(searches.add_row(&row));
        }
    }
    let found = searches.found(&["x.csv".into()]);
    assert_eq!(
        found.iter().map(|found| found.of.as_deref()).collect::<Vec<_>>(),
        [Some("x.csv, search of day 0"), Some("x.csv, search of day 1")]
    );
    assert_eq!(found[0].headline, found[1].headline);
    // A file that somebody has edited: no order of trials makes a search fall over.
    let mut searches = Searches::default();
    rows.iter().rev().for_each(|row| assert!(searches.add_row(row)));
    assert_eq!(searches.found(&[]).len(), 1);
}
