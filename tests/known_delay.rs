//! A known delay in the receive path: the reported cost and latency must rise by exactly that.

mod common;

use std::time::{Duration, Instant};

use common::needs;
use common::wrapped::{self, After, Wrapped};
use hpbench::measure::outcome::Outcome;
use hpbench::plan::cells::{Cell, Scenario};
use hpbench::stats::Summary;
use hpbench_backends::plain::Plain;
use hpbench_backends::{Kind, Pool};

/// Delay per datagram. Long, because an idle path goes cold: after a pause, an echo takes some 5 µs longer, in
/// addition to the delay.
const DELAY: Duration = Duration::from_micros(300);

/// Delays each datagram.
struct Delay;

impl After for Delay {
    fn received(datagrams: usize) {
        let start = Instant::now();
        while start.elapsed() < DELAY * datagrams as u32 {
            std::hint::spin_loop();
        }
    }
}

/// The most comparisons of the two, and how many of them on a quiet machine are enough.
const TRIES: usize = 6;
const QUIET_TRIES: usize = 3;

/// Without and with the delay, in nanoseconds, from alternating trials.
#[derive(Debug)]
struct Comparison {
    /// The medians of the trials' medians.
    typical: [f64; 2],
    /// The minimum of all.
    least: [f64; 2],
    /// Whether another program, or the host, had a core of any trial for longer than a moment.
    is_disturbed: bool,
}

/// The median and the minimum of a trial, in nanoseconds.
fn values(scenario: Scenario, outcome: &Outcome) -> [f64; 2] {
    match (scenario, &outcome.rounds, &outcome.latency) {
        (Scenario::Drain, Some(rounds), _) => [rounds.p50_ns(), rounds.min_ns()],
        (_, _, Some(latency)) => [latency.value_at_quantile(0.5) as f64, latency.min() as f64],
        _ => panic!("{scenario} has neither rounds nor latencies"),
    }
}

fn compare(scenario: Scenario) -> Comparison {
    // At 200 a second no datagram waits for the one before it, even if the worker has its core only a tenth of the
    // time. Most rounds of one datagram are over before another program runs.
    let cell = Cell { window: Some(1), round: Some(1), rate: Some(200), ..wrapped::cell(scenario, Kind::PLAIN, 1) };
    let options = wrapped::options(Duration::from_millis(100), Duration::from_millis(5));
    let pool = Pool::new(256, 2048).expect("a pool");
    let mut free = pool.frames();
    let mut found = [Vec::new(), Vec::new()];
    let mut is_disturbed = false;
    for turn in 0..10 {
        let outcome = match turn % 2 {
            0 => wrapped::run::<Plain<'_>>(&cell, &options, &pool, &mut free),
            _ => wrapped::run::<Wrapped<Plain<'_>, Delay>>(&cell, &options, &pool, &mut free),
        };
        let disturbance = outcome.disturbance;
        is_disturbed |= disturbance.run_delay_ns > Some(1_000_000) || disturbance.steal_ticks > Some(1);
        found[turn % 2].push(values(scenario, &outcome));
    }
    let median = |of: &[[f64; 2]]| Summary::of(of.iter().map(|[median, _]| *median)).expect("five trials").median;
    let least = |of: &[[f64; 2]]| of.iter().map(|[_, least]| *least).fold(f64::INFINITY, f64::min);
    let [without, with] = &found;
    Comparison { typical: [median(without), median(with)], least: [least(without), least(with)], is_disturbed }
}

/// By how many delays the second is more than the first.
fn rise([without, with]: [f64; 2]) -> f64 {
    (with - without) / DELAY.as_nanos() as f64
}

// One test: the trials pin threads to the same cores.
#[test]
fn the_reported_cost_and_latency_rise_by_a_known_delay() {
    let mut scenarios = vec![Scenario::Drain];
    if needs::two_cores().is_some() {
        scenarios.extend([Scenario::Pace, Scenario::Echo]);
    }
    for scenario in scenarios {
        let mut tries: Vec<Comparison> = Vec::new();
        let quiet = |tries: &[Comparison]| tries.iter().filter(|comparison| !comparison.is_disturbed).count();
        let is_found =
            |tries: &[Comparison]| tries.iter().any(|comparison| (0.95..=1.05).contains(&rise(comparison.typical)));
        while tries.len() < TRIES && quiet(&tries) < QUIET_TRIES && !is_found(&tries) {
            tries.push(compare(scenario));
        }
        if is_found(&tries) {
            continue;
        }
        // A busy machine may delay datagrams by more than that, but never by less.
        let is_busy = quiet(&tries) < QUIET_TRIES && tries.iter().any(|comparison| rise(comparison.least) >= 0.95);
        assert!(is_busy, "{scenario}: in ns without and with a delay of {DELAY:?}: {tries:#?}");
        needs::skip("quiet", &format!("other programs disturbed {scenario}: its delay is there, but may be too long"));
    }
}
