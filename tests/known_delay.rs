//! A known delay in the receive path: the reported cost and latency must rise by just that.

mod common;

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use common::needs;
use hpbench::control::{Clock, Interrupt};
use hpbench::cores::{Cores, Wanted};
use hpbench::plan::{Cell, Options, Scenario, Until, Wait};
use hpbench::stats::Summary;
use hpbench::trial::{Outcome, Trial};
use hpbench::wire::Verify;
use hpbench_backends::plain::Plain;
use hpbench_backends::{
    Backend, Caps, Config, Consumer, Counters, FreeList, Kind, OpenError, Packet, Pool, Port, RxRing, Variant,
};

/// Delay per datagram. Long, because a path that was idle meanwhile has gone cold: after a pause, an echo takes
/// some 5 µs longer, which is not the delay's own.
const DELAY: Duration = Duration::from_micros(300);

/// A backend that takes longer for each datagram, by [`DELAY`].
struct Delayed<B>(B);

impl<'p, B: Backend<'p>> Backend<'p> for Delayed<B> {
    const KIND: Kind = B::KIND;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        B::probe(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        B::open(config, port, pool).map(Self)
    }

    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let received = self.0.rx(free, rx)?;
        let start = Instant::now();
        while start.elapsed() < DELAY * received as u32 {
            std::hint::spin_loop();
        }
        Ok(received)
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.rx(free, rx)
    }

    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.0.tx(tx, free)
    }

    fn counters(&self) -> Counters {
        self.0.counters()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.0.close(free)
    }
}

/// What is taken from an outcome, in nanoseconds.
type Value = fn(&Outcome) -> f64;

/// Medians without and with the delay, of trials that take turns, in nanoseconds.
fn compare(scenario: Scenario, value: Value) -> [f64; 2] {
    let cell = Cell {
        scenario,
        variant: Variant::default_of(Kind::Plain),
        batch: 1,
        payload: 64,
        round: Some(64),
        // So slow that no datagram waits for the one before it.
        rate: Some(1000),
        burst: Some(1),
        window: Some(1),
        wait: Wait::Spin,
    };
    let options = Options {
        until: Until::Elapsed(Duration::from_millis(100)),
        warmup: Duration::from_millis(5),
        verify: Verify::Header,
        bind: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        ring: 64,
        buffers: 64,
        rcvbuf: 1 << 20,
        sndbuf: 1 << 20,
        generators: 1,
        gso: false,
        handoff: false,
        fifo: None,
        cores: Cores::choose(Wanted::default()).expect("the kernel tells the affinity mask"),
    };
    let pool = Pool::new(256, 2048).expect("a pool");
    let (mut free, interrupt) = (pool.frames(), Interrupt::default());
    let mut values = [Vec::new(), Vec::new()];
    for turn in 0..10 {
        let trial = Trial { cell: &cell, options: &options, pool: &pool, interrupt: &interrupt, clock: Clock::start() };
        let outcome = match turn % 2 {
            0 => trial.run_as::<Plain<'_>>(&mut free),
            _ => trial.run_as::<Delayed<Plain<'_>>>(&mut free),
        };
        values[turn % 2].push(value(&outcome.expect("the trial runs")));
        assert!(free.is_whole());
    }
    values.map(|values| Summary::of(values).expect("five trials").median)
}

// One test: the trials pin threads to the same cores.
#[test]
fn the_reported_cost_and_latency_rise_by_a_known_delay() {
    let latency =
        |outcome: &Outcome| outcome.latency.as_ref().map_or(0.0, |latency| latency.value_at_quantile(0.5) as f64);
    let cost = |outcome: &Outcome| outcome.rounds.as_ref().map_or(0.0, hpbench::trial::Rounds::p50_ns);
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
