//! What the peer of a worker is asked to do, and what it reports: plain data, so that it may run in another process.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::measure::control::Phase;
use crate::measure::cost::Disturbance;
use crate::measure::outcome::latency_histogram;
use crate::plan::cells::{Scenario, Until};
use crate::plan::cores::{self, CoresError};
use crate::plan::request::SERVE_FRAMES;
use crate::traffic::app::{Sink, Source};
use crate::traffic::ledger::Tally;
use crate::traffic::wire::Wire;

/// What a peer has to do: all that it knows of the trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What is measured.
    pub scenario: Scenario,
    /// How datagrams are written and checked.
    pub wire: Wire,
    /// The flow of its datagrams.
    pub flow: u16,
    /// UDP payload bytes.
    pub payload: usize,
    /// Whether the kernel cuts its sends into datagrams.
    pub gso: bool,
    /// Datagrams per second, of `pace`, `serve` and `relay`.
    pub rate_pps: u64,
    /// Datagrams per tick of these.
    pub burst: u64,
    /// How many copies of each datagram come back, of `relay`; else 1.
    pub fanout: usize,
    /// Datagrams in flight, of `echo`.
    pub window: usize,
    /// Discarded time before the measured phase, where the generator takes answers.
    pub warmup: Duration,
    /// What ends that phase, likewise.
    pub until: Until,
    /// The core that it is pinned to; `None` if it runs on the worker's thread.
    pub core: Option<usize>,
    /// Its priority under `SCHED_FIFO`, if it has one.
    pub fifo: Option<u8>,
}

impl Order {
    /// Pins the calling thread, with the priority of the run.
    ///
    /// # Errors
    ///
    /// If the thread must not run on that core.
    pub fn pin(&self) -> Result<(), CoresError> {
        let Some(core) = self.core else { return Ok(()) };
        cores::pin(core)?;
        cores::prioritise(self.fifo);
        Ok(())
    }

    /// How long whoever mirrors the phases of a trial may sleep, if `phase` began so long ago: until it is about to end, as
    /// far as that is known. Whoever looks every millisecond takes more than a percent of a core.
    pub fn pause(&self, phase: Phase, ago: Duration) -> Duration {
        const LOOK_EVERY: Duration = Duration::from_millis(1);
        let planned = match (phase, self.until) {
            (Phase::Warmup, _) => self.warmup,
            (Phase::Measure, Until::Elapsed(duration)) => duration,
            _ => Duration::ZERO,
        };
        planned.saturating_sub(ago).clamp(LOOK_EVERY, Duration::from_millis(100))
    }

    /// How many frames it needs, if it takes answers.
    pub fn frames(&self) -> usize {
        match self.scenario {
            Scenario::Serve | Scenario::Relay => SERVE_FRAMES,
            _ => 4 * self.window + 64,
        }
    }

    /// What writes the datagrams.
    pub fn source(&self) -> Source {
        Source::new(self.flow, self.payload, self.wire)
    }

    /// What checks the datagrams of one flow.
    pub fn sink(&self) -> Sink {
        Sink::new(1, self.wire)
    }
}

/// What a generator of `flood` or `pace` reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// How the load was sent: `gso` or `sendmmsg`.
    pub fill: String,
    /// The most datagrams in a train.
    pub train: usize,
    /// Datagrams sent in the measured phase, each with the flag that says so.
    pub measured_sent: u64,
    /// How often the kernel took none of a train.
    pub refused: u64,
    /// Time on its core in that phase, in nanoseconds.
    pub cpu_ns: u64,
    /// What happened to its thread.
    pub disturbance: Disturbance,
    /// How far behind its schedule it was, in nanoseconds, if it has one.
    pub late: Option<Recorded>,
}

impl Offered {
    /// Adds what another generator of the same worker reports.
    pub fn add(&mut self, other: Self) {
        if self.fill.is_empty() {
            self.fill = other.fill;
        }
        self.train = self.train.max(other.train);
        self.measured_sent += other.measured_sent;
        self.refused += other.refused;
        self.cpu_ns += other.cpu_ns;
        self.disturbance = self.disturbance.merge(other.disturbance);
        self.late = self.late.take().or(other.late);
    }
}

/// What the generator of `echo`, `serve` or `relay` reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// Datagrams sent in all.
    pub sent: u64,
    /// What came back.
    pub arrived: Tally,
    /// Dropped because its ring was full.
    pub drop_ring: u64,
    /// Length of the measured phase, in nanoseconds.
    pub measured_ns: u64,
    /// Datagrams sent in it, each with the flag that says so.
    pub measured_sent: u64,
    /// Datagrams that came back in it.
    pub measured_received: u64,
    /// How often the kernel refused a send.
    pub refused: u64,
    /// Time on its core in it, in nanoseconds.
    pub cpu_ns: u64,
    /// What happened to its thread.
    pub disturbance: Disturbance,
    /// Whether the measured phase was as fast at first as later; `None` if a schedule decides that.
    pub steady: Option<bool>,
    /// Round-trip times in nanoseconds; of `serve` and `relay`, from when each request was due.
    pub latency: Recorded,
    /// What only `serve` and `relay` have.
    pub served: Option<Served>,
}

/// What a client of `serve` or `relay` reports besides round trips.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// How the requests were sent: `gso` or `sendmmsg`.
    pub fill: String,
    /// The most of them in a train.
    pub train: usize,
    /// How far behind its schedule it was, in nanoseconds.
    pub late: Recorded,
    /// Answers that took longer than [`LATE_NS`](crate::measure::peer::serve::LATE_NS).
    pub late_answers: u64,
    /// The longest time between two looks for answers in the measured phase, in nanoseconds.
    pub poll_gap_ns: u64,
}

/// A histogram of times as plain data: nanoseconds, and how often they were taken, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded(Vec<(u64, u64)>);

impl From<&Histogram<u64>> for Recorded {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self(histogram.iter_recorded().map(|bar| (bar.value_iterated_to(), bar.count_at_value())).collect())
    }
}

impl From<Recorded> for Histogram<u64> {
    fn from(recorded: Recorded) -> Self {
        let mut histogram = latency_histogram();
        recorded.0.into_iter().for_each(|(ns, count)| histogram.saturating_record_n(ns, count));
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::wire::{Tag, Verify};

    const MS: Duration = Duration::from_millis(1);

    fn order() -> Order {
        Order {
            scenario: Scenario::Pace,
            wire: Wire { tag: Tag::new(77), verify: Verify::Full },
            flow: 3,
            payload: 1200,
            gso: true,
            rate_pps: 50_000,
            burst: 8,
            fanout: 1,
            window: 1,
            warmup: Duration::from_millis(50),
            until: Until::Elapsed(Duration::from_millis(250)),
            core: Some(1),
            fifo: None,
        }
    }

    #[test]
    fn orders_and_reports_pass_through_text() {
        let order = order();
        let text = serde_json::to_string(&order).expect("plain data");
        assert_eq!(serde_json::from_str::<Order>(&text).expect("the same"), order);
        let offered = Offered { fill: "gso".into(), late: Some(Recorded(vec![(5, 2)])), ..Offered::default() };
        let text = serde_json::to_string(&offered).expect("plain data");
        assert_eq!(serde_json::from_str::<Offered>(&text).expect("the same"), offered);
    }

    #[test]
    fn phases_are_looked_at_when_they_may_end() {
        let order = Order { warmup: MS * 5, until: Until::Elapsed(MS * 20), ..order() };
        let pause = |phase, ago: u32| order.pause(phase, MS * ago);
        assert_eq!([0, 4, 9].map(|ago| pause(Phase::Warmup, ago)), [MS * 5, MS, MS]);
        assert_eq!([0, 15].map(|ago| pause(Phase::Measure, ago)), [MS * 20, MS * 5]);
        assert_eq!([Phase::Setup, Phase::Settle].map(|phase| pause(phase, 0)), [MS; 2]);
        let long = Order { until: Until::Elapsed(MS * 9000), ..order };
        assert_eq!(long.pause(Phase::Measure, Duration::ZERO), MS * 100, "a signal ends it, too");
        let counted = Order { until: Until::Datagrams(1 << 40), ..order };
        assert_eq!(counted.pause(Phase::Measure, Duration::ZERO), MS, "nobody knows when that is");
    }

    #[test]
    fn a_histogram_comes_back_as_it_was() {
        let mut histogram = latency_histogram();
        (1..200_000_u64).for_each(|i| histogram.saturating_record(i * i));
        histogram.saturating_record(u64::MAX);
        assert_eq!(Histogram::from(Recorded::from(&histogram)), histogram);
        assert_eq!(Histogram::from(Recorded::default()), latency_histogram());
    }
}
