//! Networks and workers that misbehave: loss that nobody counts, delay, back-pressure, late answers.

mod common;

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{Bench, assert_balanced, needs};
use hpbench::control::{Clock, Interrupt};
use hpbench::cores::{Cores, Wanted};
use hpbench::plan::{Cell, Options, Scenario, Until, Wait};
use hpbench::trial::Trial;
use hpbench::wire::Verify;
use hpbench_backends::plain::Plain;
use hpbench_backends::{
    Backend, Caps, Config, Consumer, Counters, FreeList, Kind, OpenError, Packet, Pool, Port, RxRing, Variant,
};

/// A network of its own whose loopback is shaped by a token bucket; `None` where that cannot be had.
fn shaped(tbf: &str) -> Option<Bench> {
    let shape = format!("tc qdisc add dev lo root tbf {tbf}");
    let probe = needs::netns(&shape)?;
    let output = Command::new(&probe[0]).args(&probe[1..]).output().expect("it ran before");
    if !output.status.success() {
        needs::skip("tbf", &String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    let wrapper = needs::netns(&format!("{shape} && exec \"$0\" \"$@\""))?;
    Some(Bench::under(wrapper.iter().map(String::as_str)))
}

#[test]
fn loss_on_the_way_is_unexplained_and_makes_the_trial_invalid() {
    if needs::two_cores().is_none() {
        return;
    }
    let Some(bench) = shaped("rate 10mbit burst 20000 limit 20000") else { return };
    let done = bench.tiny("--backend mmsg --scenario flood -t 0.05").expect(1);
    for row in done.rows() {
        let lost = row.count("unexplained");
        assert!(lost > 0, "the network loses datagrams that no socket counts: {}", row.name());
        assert_eq!(row.count("sent"), row.count("received") + row.count("drop_socket") + lost);
        assert_eq!((row.text("valid"), row.text("error")), ("0", ""));
        assert!(row.text("invalid_reason").contains(&format!("{lost} datagrams unexplained")));
        assert!(done.stdout.contains("invalid") && !done.stdout.contains('≥'), "{}", done.stdout);
    }
}

#[test]
fn a_kernel_without_room_is_asked_again() {
    let Some(bench) = shaped("rate 10mbit burst 2000 limit 2000000") else { return };
    let args = format!("--backend {} --scenario send --round 64 --sndbuf 4096 -t 0.05", needs::backends());
    for row in bench.tiny(&args).expect(0).rows() {
        assert_balanced(&row);
        assert!(row.count("send_eagain") > 0, "the send buffer is full most of the time: {}", row.name());
        assert_eq!(row.text("valid"), "1", "{}", row.text("invalid_reason"));
    }
}

/// Datagrams that are still on their way when the queue is looked at must not end up in the timed part.
#[test]
fn a_queue_that_fills_late_is_waited_for() {
    const WIRE_NS: f64 = 80_000.0;
    let Some(bench) = shaped("rate 10mbit burst 2000 limit 2000000") else { return };
    let args = format!("--backend {} --scenario drain --round 64 -t 0.2", needs::backends());
    for row in bench.tiny(&args).expect(0).rows() {
        assert_balanced(&row);
        // The least, because on a busy machine other programs take their share of most rounds.
        let cost = row.number("ns_per_packet_min");
        assert!(cost < WIRE_NS / 3.0 || row.text("valid") == "0", "{cost} ns is the network's: {}", row.name());
    }
}

/// A backend that sleeps after each batch, so that replies come later than `echo` calls them lost.
struct Late<B>(B);

const LATE: Duration = Duration::from_millis(150);

impl<'p, B: Backend<'p>> Backend<'p> for Late<B> {
    const KIND: Kind = B::KIND;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        B::probe(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        B::open(config, port, pool).map(Self)
    }

    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let received = self.0.rx(free, rx)?;
        if received > 0 {
            thread::sleep(LATE);
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

#[test]
fn replies_that_come_late_are_waited_for() {
    if needs::two_cores().is_none() {
        return;
    }
    let cell = Cell {
        scenario: Scenario::Echo,
        variant: Variant::default_of(Kind::Plain),
        batch: 16,
        payload: 64,
        round: None,
        window: Some(2),
        rate: None,
        burst: None,
        wait: Wait::Spin,
    };
    let options = Options {
        until: Until::Elapsed(Duration::from_millis(200)),
        warmup: Duration::ZERO,
        verify: Verify::Full,
        bind: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        ring: 64,
        buffers: 64,
        rcvbuf: 65_536,
        sndbuf: 65_536,
        generators: 1,
        handoff: false,
        fifo: None,
        gso: false,
        cores: Cores::choose(Wanted::default()).expect("the kernel tells the affinity mask"),
    };
    let pool = Pool::new(256, 2048).expect("a pool");
    let mut free = pool.frames();
    let interrupt = Interrupt::default();
    let trial = Trial { cell: &cell, options: &options, pool: &pool, interrupt: &interrupt, clock: Clock::start() };
    let outcome = trial.run_as::<Late<Plain<'_>>>(&mut free).expect("the trial runs");
    let ledger = outcome.ledger;
    assert_eq!((ledger.unexplained(), ledger.drop_socket), (0, 0), "{ledger:?}");
    assert!(ledger.arrived.received > 2, "slots that were given up were filled again: {ledger:?}");
    assert!(free.is_whole());
}
