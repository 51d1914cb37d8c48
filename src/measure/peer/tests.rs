//! Peers without a trial: an order, a socket and a control are all that they need.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use hpbench_backends::plain::Plain;
use hpbench_backends::{Config, Kind, Pool, Port, Socket};

use super::*;
use crate::measure::clock::now_ns;
use crate::measure::control::{Interrupt, Phase};
use crate::measure::driver::{self, Lane};
use crate::measure::order::RoundTrips;
use crate::plan::cells::Until;
use crate::traffic::app::{App, Echo};
use crate::traffic::ledger::Tally;
use crate::traffic::wire::{Tag, Verify, Wire};
use crate::traffic::work::Work;

/// Datagrams in the measured phase.
const ENOUGH: u64 = 200;

fn order(scenario: Scenario) -> Order {
    Order {
        scenario,
        wire: Wire { tag: Tag::new(5), verify: Verify::Full },
        flow: 0,
        payload: 64,
        gso: false,
        rate_pps: 20_000,
        burst: 4,
        fanout: 1,
        window: 3,
        warmup: Duration::from_millis(2),
        until: Until::Datagrams(ENOUGH),
        core: None,
        fifo: None,
    }
}

fn sockets() -> [Arc<Socket>; 2] {
    let (near, far) = Socket::pair((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
    for socket in [&near, &far] {
        socket.set_buffers(1 << 16, 1 << 16).expect("up to the limit");
    }
    [Arc::new(near), Arc::new(far)]
}

/// A worker with `app` on the calling thread, until `over`.
fn work<'p, A: App<'p>>(
    pool: &'p Pool,
    socket: &Arc<Socket>,
    app: &mut A,
    mut turn: impl FnMut(&mut Lane<'p, Plain<'p>>, &mut A) -> bool,
) {
    let mut free = pool.frames();
    let port = Port::Socket(Arc::clone(socket));
    let mut lane = Lane::<Plain<'_>>::open(&Config::new(Kind::PLAIN, 8), port, pool, 64).expect("it opens");
    while !turn(&mut lane, app) {
        driver::turn(&mut lane, app, &mut free).expect("loopback");
    }
    lane.close(&mut free).expect("it closes");
    assert!(free.is_whole());
}

/// Lets a generator offer load until enough has arrived. Returns its report, and what was sent and has arrived.
fn offered(order: &Order) -> (Offered, u64, Tally) {
    let ([near, far], pool) = (sockets(), Pool::new(64, 2048).expect("a pool"));
    let control = Control::new(1, &Interrupt::default());
    let (mut sink, mut dropped_before) = (order.sink(), 0);
    let report = thread::scope(|scope| {
        let generator = scope.spawn(|| offer(order, &far, &control));
        assert!(control.wait_ready(1));
        control.advance(Phase::Warmup);
        let mut settled = false;
        work(&pool, &near, &mut sink, |lane, sink| {
            let dropped = || near.meminfo().expect("Linux 4.12").drops;
            // Nothing is received in the warm-up until some of it was dropped.
            while control.phase() == Phase::Warmup && dropped() == 0 {
                thread::yield_now();
            }
            if control.phase() == Phase::Warmup && sink.received() >= 10 {
                dropped_before = dropped();
                control.begin_measuring(now_ns());
            }
            if control.phase() == Phase::Measure && sink.arrivals.tally().measured >= ENOUGH {
                settled = true;
                control.end_measuring(now_ns());
            }
            settled && !control.is_offering() && sink.received() + dropped() + lane.dropped() == control.sent()
        });
        generator.join().expect("it does not panic").expect("it sends")
    });
    let (sent, tally) = (control.sent(), sink.arrivals.tally());
    assert!(tally.measured <= report.measured_sent && report.measured_sent < sent, "{report:?} {sent} {tally:?}");
    let lost = report.measured_sent - tally.measured;
    assert!(dropped_before > 0 && lost <= sent - tally.received - dropped_before, "{lost} {sent} {tally:?}");
    (report, sent, tally)
}

#[test]
fn a_generator_floods() {
    let (report, sent, tally) = offered(&order(Scenario::Flood));
    assert!(sent >= ENOUGH && tally.corrupt + tally.foreign + tally.duplicate == 0, "{sent} {tally:?}");
    assert_eq!((report.fill.as_str(), report.train, report.late), ("sendmmsg", 64, None));
    assert!(report.cpu_ns > 0);
}

#[test]
fn a_generator_keeps_its_rate() {
    let (report, sent, tally) = offered(&order(Scenario::Pace));
    assert!(sent >= ENOUGH && tally.corrupt + tally.foreign + tally.duplicate == 0, "{sent} {tally:?}");
    let late = Histogram::from(report.late.expect("it has a schedule"));
    assert!((ENOUGH..=sent).contains(&late.len()), "{sent} {}", late.len());
}

#[test]
fn a_generator_takes_round_trips() {
    let ([near, far], order) = (sockets(), order(Scenario::Echo));
    let (pool, others) = (Pool::new(64, 2048).expect("a pool"), Pool::new(64, 2048).expect("a pool"));
    let control = Control::new(1, &Interrupt::default());
    let trips: RoundTrips = thread::scope(|scope| {
        let generator = scope.spawn(|| {
            let mut free = others.frames();
            let trips = echo::generate(&order, (&far, None), &control, (&others, &mut free));
            assert!(free.is_whole());
            trips
        });
        control.report_ready();
        work(&pool, &near, &mut Echo::new(order.wire.tag, Work::default()), |_, _| control.phase() == Phase::Stop);
        generator.join().expect("it does not panic").expect("it measures")
    });
    assert_eq!((trips.sent, trips.drop_ring), (trips.arrived.received, 0));
    assert_eq!(trips.measured_sent, trips.arrived.measured, "those in flight at the end came back, too");
    assert!(trips.measured_sent < trips.sent, "{trips:?}");
    let latency = Histogram::from(trips.latency.clone());
    assert!(trips.measured_received >= ENOUGH && latency.len() >= trips.measured_received, "{trips:?}");
}

#[test]
fn a_queue_is_filled_and_emptied() {
    let ([near, far], pool) = (sockets(), Pool::new(256, 2048).expect("a pool"));
    let mut free = pool.frames();
    let mut filler = filler::Filler::socket(&order(Scenario::Drain), &far).expect("no GSO is asked for");
    let mut receiver =
        receiver::Receiver::<Plain<'_>>::open(&order(Scenario::Send), 1, Port::Socket(near), &pool).expect("it opens");
    assert_eq!(filler.fill(&mut free, 100).expect("loopback"), 100);
    assert_eq!(receiver.receive(&mut free, 100).expect("they are there"), 100);
    assert_eq!((filler.sent(), receiver.arrived()), (100, Tally { received: 100, ..Tally::default() }));
    filler.close(&mut free).expect("it closes");
    receiver.close(&mut free).expect("it closes");
    assert!(free.is_whole());
}

#[test]
fn a_generator_that_cannot_send_ends_the_trial() {
    let ([_near, far], control) = (sockets(), Control::new(1, &Interrupt::default()));
    let order = Order { core: Some(1023), ..order(Scenario::Flood) };
    assert!(offer(&order, &far, &control).is_err());
    assert!(control.phase() == Phase::Stop && !control.is_offering());
}
