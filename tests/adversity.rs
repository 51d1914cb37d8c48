//! Networks and workers that misbehave: uncounted loss, delay, back-pressure, late answers.

mod common;

use std::process::Command;
use std::thread;
use std::time::Duration;

use common::wrapped::{self, After, Wrapped};
use common::{Bench, assert_balanced, needs};
use hpbench::plan::cells::{Cell, Scenario};
use hpbench_backends::plain::Plain;
use hpbench_backends::{Kind, Pool};

/// A network of its own whose loopback is shaped by a token bucket; `None` where that is not available.
fn shaped(tbf: &str) -> Option<Bench> {
    spoiled("tbf", &format!("tc qdisc add dev lo root tbf {tbf}"))
}

/// A network of its own in which loopback loses one in ten datagrams, behind the back of every counter.
fn lossy() -> Option<Bench> {
    const RULE: &str = "table ip lossy { chain prerouting { type filter hook prerouting priority raw; \
        meta l4proto udp numgen random mod 10 == 0 drop; }; }";
    spoiled("nft", &format!("echo '{RULE}' | nft -f -"))
}

/// A network of its own that a command spoils.
fn spoiled(name: &str, command: &str) -> Option<Bench> {
    let probe = needs::netns(command)?;
    let output = Command::new(&probe[0]).args(&probe[1..]).output().expect("it ran before");
    if !output.status.success() {
        needs::skip(name, &String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    let wrapper = needs::netns(&format!("{command} && exec \"$0\" \"$@\""))?;
    Some(Bench::under(wrapper.iter().map(String::as_str)))
}

#[test]
fn loss_on_the_way_is_unexplained_and_makes_the_trial_invalid() {
    if needs::two_cores().is_none() {
        return;
    }
    let Some(bench) = lossy() else { return };
    let done = bench.tiny("--backend mmsg --scenario flood -t 0.3").expect(1);
    for row in done.rows() {
        let lost = row.count("unexplained");
        assert!(lost > 0, "the network loses datagrams that no socket counts: {}", row.name());
        assert_eq!(row.count("sent"), row.count("received") + row.count("drop_socket") + lost);
        assert_eq!((row.text("valid"), row.text("error")), ("0", ""));
        assert!(row.text("invalid_reason").contains(&format!("{lost} datagrams unexplained")));
        assert!(done.stdout.contains("invalid") && !done.stdout.contains('≥'), "{}", done.stdout);
    }
}

/// A queueing discipline says what it drops: that is not sent, and sent again.
#[test]
fn what_a_queueing_discipline_drops_is_sent_again() {
    if needs::two_cores().is_none() {
        return;
    }
    let Some(bench) = shaped("rate 10mbit burst 20000 limit 20000") else { return };
    let args = format!("--backend {} --scenario flood,drain,send --round 64 -t 0.3", needs::backends());
    for row in bench.tiny(&args).expect(0).rows() {
        assert_balanced(&row);
        assert_eq!(row.text("error"), "", "{}", row.name());
    }
}

#[test]
fn a_kernel_without_room_is_asked_again() {
    let Some(bench) = shaped("rate 10mbit burst 2000 limit 2000000") else { return };
    let args = format!("--backend {} --scenario send --round 64 --sndbuf 4096 -t 0.05", needs::backends());
    for row in bench.tiny(&args).expect(0).rows() {
        assert_balanced(&row);
        assert!(row.count("send_eagain") > 0, "the send buffer is full most of the time: {}", row.name());
        // On a busy machine, other programs may take the core; nothing else may be wrong.
        let reason = row.text("invalid_reason");
        assert!(row.text("valid") == "1" || reason.starts_with("disturbed:"), "{reason}");
    }
}

/// Datagrams that are still in flight when the queue is checked must not end up in the timed part.
#[test]
fn a_queue_that_fills_late_is_waited_for() {
    const WIRE_NS: f64 = 80_000.0;
    let Some(bench) = shaped("rate 10mbit burst 2000 limit 2000000") else { return };
    let args = format!("--backend {} --scenario drain --round 64 -t 0.2", needs::backends());
    for row in bench.tiny(&args).expect(0).rows() {
        assert_balanced(&row);
        // The minimum, because on a busy machine other programs take their share of most rounds.
        let cost = row.number("ns_per_packet_min");
        assert!(cost < WIRE_NS / 3.0, "{cost} ns is the network's: {}", row.name());
    }
}

/// Sleeps after each batch, so that replies arrive after `echo` has counted them as lost.
struct Late;

const LATE: Duration = Duration::from_millis(150);

impl After for Late {
    fn received(datagrams: usize) {
        if datagrams > 0 {
            thread::sleep(LATE);
        }
    }
}

#[test]
fn replies_that_come_late_are_waited_for() {
    if needs::two_cores().is_none() {
        return;
    }
    let cell = Cell { window: Some(2), ..wrapped::cell(Scenario::Echo, Kind::PLAIN, 16) };
    let options = wrapped::options(Duration::from_millis(500), Duration::ZERO);
    let pool = Pool::new(256, 2048).expect("a pool");
    let outcome = wrapped::run::<Wrapped<Plain<'_>, Late>>(&cell, &options, &pool, &mut pool.frames());
    let ledger = outcome.ledger;
    assert_eq!((ledger.unexplained(), ledger.drop_socket), (0, 0), "{ledger:?}");
    assert!(ledger.arrived.received > 2, "slots that were given up were filled again: {ledger:?}");
}
