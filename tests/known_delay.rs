//! A known delay in the receive path: the reported cost and latency must rise by just that.

mod common;

use std::time::{Duration, Instant};

use common::needs;
use common::wrapped::{self, After, Wrapped};
use hpbench::measure::outcome::Outcome;
use hpbench::plan::cells::{Cell, Scenario};
use hpbench::stats::Summary;
use hpbench_backends::plain::Plain;
use hpbench_backends::{Kind, Pool};

/// Delay per datagram. Long, because a path that was idle meanwhile has gone cold: after a pause, an echo takes
/// some 5 µs longer, which is not the delay's own.
const DELAY: Duration = Duration::from_micros(300);

/// Takes longer for each datagram.
struct Delay;

impl After for Delay {
    fn received(datagrams: usize) {
        let start = Instant::now();
        while start.elapsed() < DELAY * datagrams as u32 {
            std::hint::spin_loop();
        }
    }
}

/// What is taken from an outcome, in nanoseconds.
type Value = fn(&Outcome) -> f64;

/// Medians without and with the delay, of trials that take turns, in nanoseconds.
fn compare(scenario: Scenario, value: Value) -> [f64; 2] {
    // At 1,000 a second, no datagram waits for the one before it.
    let cell = Cell { window: Some(1), ..wrapped::cell(scenario, Kind::PLAIN, 1) };
    let options = wrapped::options(Duration::from_millis(100), Duration::from_millis(5));
    let pool = Pool::new(256, 2048).expect("a pool");
    let mut free = pool.frames();
    let mut values = [Vec::new(), Vec::new()];
    for turn in 0..10 {
        let outcome = match turn % 2 {
            0 => wrapped::run::<Plain<'_>>(&cell, &options, &pool, &mut free),
            _ => wrapped::run::<Wrapped<Plain<'_>, Delay>>(&cell, &options, &pool, &mut free),
        };
        values[turn % 2].push(value(&outcome));
    }
    values.map(|values| Summary::of(values).expect("five trials").median)
}

// One test: the trials pin threads to the same cores.
#[test]
fn the_reported_cost_and_latency_rise_by_a_known_delay() {
    let latency =
        |outcome: &Outcome| outcome.latency.as_ref().map_or(0.0, |latency| latency.value_at_quantile(0.5) as f64);
    let cost = |outcome: &Outcome| outcome.rounds.as_ref().map_or(0.0, hpbench::measure::outcome::Rounds::p50_ns);
    let mut cases: Vec<(Scenario, Value)> = vec![(Scenario::Drain, cost)];
    if needs::two_cores().is_some() {
        cases.extend([(Scenario::Pace, latency as Value), (Scenario::Echo, latency)]);
    }
    for (scenario, value) in cases {
        // A busy machine delays datagrams, too, but not by the same three times.
        let tries: Vec<[f64; 2]> = (0..3).map(|_| compare(scenario, value)).collect();
        let rise = |[without, with]: &[f64; 2]| (with - without) / DELAY.as_nanos() as f64;
        let found = tries.iter().any(|medians| (0.95..=1.05).contains(&rise(medians)));
        assert!(found, "{scenario}: medians in ns without and with a delay of {DELAY:?}: {tries:?}");
    }
}
