//! `flood`: generators try to outpace the worker.

use std::sync::Arc;
use std::thread;

use hpbench_backends::{Backend, Counters, FreeList, Offer, Port, Socket};

use crate::app::{Sink, Source};
use crate::control::{Clock, Control, Interrupt, Phase, StopAtEnd};
use crate::cores;
use crate::driver::{self, Lane, Polls};
use crate::filler;
use crate::ledger::Ledger;
use crate::plan::Until;
use crate::trial::{Outcome, Trial, TrialError};

/// How long the worker waits for a datagram while load is offered, and for the last ones when it is not.
const STALL_NS: u64 = 5_000_000_000;
const SETTLE_NS: u64 = 1_000_000_000;

/// Runs a trial on threads of its own.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: Backend<'p>>(trial: &Trial<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let options = trial.options;
    let (near, far) = trial.sockets()?;
    let control = Control::new(options.generators);
    thread::scope(|scope| {
        let generators: Vec<_> = (0..options.generators)
            .map(|flow| {
                let (control, far) = (&control, &far);
                scope.spawn(move || generate(trial, flow, far, control))
            })
            .collect();
        let worker = scope.spawn(|| {
            let _stop = StopAtEnd(&control);
            cores::pin(options.cores.worker)?;
            Worker { trial, near: &near, control: &control, free }.run::<B>()
        });
        let outcome = worker.join().unwrap_or(Err(TrialError::Panicked));
        let mut method = None;
        for generator in generators {
            method = Some(generator.join().unwrap_or(Err(TrialError::Panicked))?);
        }
        outcome.map(|outcome| Outcome { fill: method, ..outcome })
    })
}

/// A generator: sends trains until the measured phase is over. Returns how it sent them.
fn generate(
    trial: &Trial<'_, '_>,
    flow: usize,
    socket: &Arc<Socket>,
    control: &Control,
) -> Result<&'static str, TrialError> {
    let (cell, options) = (trial.cell, trial.options);
    let generator_cores = &options.cores.generators;
    let result = (|| {
        cores::pin(generator_cores[flow % generator_cores.len()])?;
        let offer = Offer::new(Arc::clone(socket), cell.payload, options.gso);
        let mut offer = offer.map_err(TrialError::io("setting UDP_SEGMENT"))?;
        let mut source = Source::new(flow as u16, cell.payload, options.verify);
        control.report_ready();
        if control.wait_start() {
            while control.phase() < Phase::Settle {
                let train = offer.train();
                let sent =
                    filler::send_train(&mut offer, &mut source, train).map_err(TrialError::io("offering load"))?;
                control.add_sent(sent);
            }
        }
        Ok(offer.method())
    })();
    if result.is_err() {
        control.advance(Phase::Stop);
    }
    control.report_done();
    result
}

struct Worker<'t, 'a, 'p> {
    trial: &'t Trial<'a, 'p>,
    near: &'t Arc<Socket>,
    control: &'t Control,
    free: &'t mut FreeList<'p>,
}

impl<'p> Worker<'_, '_, 'p> {
    fn run<B: Backend<'p>>(mut self) -> Result<Outcome, TrialError> {
        let options = self.trial.options;
        let port = Port::Socket(Arc::clone(self.near));
        let mut lane = Lane::<B>::open(&self.trial.config(), port, self.trial.pool, options.ring)?;
        let mut sink = Sink::new(options.generators, options.verify);
        let outcome = self.work(&mut lane, &mut sink);
        let (counters_total, in_effect, drop_ring) = (lane.counters().0, lane.in_effect(), lane.dropped());
        let closed = lane.close(self.free);
        let outcome = outcome?;
        closed.map_err(TrialError::io("closing the backend"))?;
        let info = self.near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
        let arrived = sink.arrivals.tally();
        let ledger = Ledger { sent: self.control.sent(), arrived, drop_socket: u64::from(info.drops), drop_ring };
        let (rcvbuf, sndbuf) = (Some(info.rcvbuf), Some(info.sndbuf));
        Ok(Outcome { ledger, counters_total, in_effect, rcvbuf, sndbuf, ..outcome })
    }

    /// Receives: the warm-up, the measured phase, and what is still under way after it.
    fn work<B: Backend<'p>>(&mut self, lane: &mut Lane<'p, B>, sink: &mut Sink) -> Result<Outcome, TrialError> {
        let (trial, control) = (self.trial, self.control);
        let free = &mut *self.free;
        driver::turn(lane, sink, free).map_err(TrialError::io("receiving"))?;
        if !control.wait_ready(trial.options.generators) {
            return Err(TrialError::Stalled("the generators did not start"));
        }
        control.advance(Phase::Warmup);
        let mut loop_ = Loop::new(trial.clock, trial.interrupt);
        let warm_ns = trial.clock.now_ns() + trial.options.warmup.as_nanos() as u64;
        loop_.spin(lane, sink, free, |now_ns, _| now_ns >= warm_ns)?;

        control.advance(Phase::Measure);
        let before = Marks::new(&loop_, lane, sink, control);
        let until = trial.options.until;
        loop_.spin(lane, sink, free, |now_ns, received| match until {
            Until::Elapsed(duration) => now_ns - before.now_ns >= duration.as_nanos() as u64,
            Until::Datagrams(count) => received - before.received >= count,
        })?;
        let after = Marks::new(&loop_, lane, sink, control);

        control.advance(Phase::Settle);
        self.settle(lane, sink, &mut loop_)?;
        Ok(Outcome {
            measured_ns: after.now_ns - before.now_ns,
            measured_sent: after.sent - before.sent,
            measured_received: after.received - before.received,
            counters: after.counters.since(before.counters),
            polls: after.polls.since(before.polls),
            busy_ns: Some(after.busy_ns - before.busy_ns),
            ..Outcome::default()
        })
    }

    /// Receives what is under way, until everything is accounted for or nothing has come for a while.
    fn settle<B: Backend<'p>>(
        &mut self,
        lane: &mut Lane<'p, B>,
        sink: &mut Sink,
        loop_: &mut Loop<'_>,
    ) -> Result<(), TrialError> {
        let (near, control) = (self.near, self.control);
        let mut last = (0, 0);
        loop_.spin(lane, sink, self.free, |now_ns, received| {
            if control.is_offering() || received != last.1 || last.0 == 0 {
                last = (now_ns, received);
                return false;
            }
            let dropped = near.meminfo().map_or(0, |info| u64::from(info.drops));
            received + dropped >= control.sent() || now_ns - last.0 > SETTLE_NS
        })
    }
}

/// The busy loop, with its clock.
struct Loop<'a> {
    clock: Clock,
    interrupt: &'a Interrupt,
    now_ns: u64,
    /// Time in turns that moved a datagram.
    busy_ns: u64,
    moved_ns: u64,
}

impl<'a> Loop<'a> {
    fn new(clock: Clock, interrupt: &'a Interrupt) -> Self {
        let now_ns = clock.now_ns();
        Self { clock, interrupt, now_ns, busy_ns: 0, moved_ns: now_ns }
    }

    /// Turns until `over(now_ns, received)`; looks at the clock once per turn.
    fn spin<'p, B: Backend<'p>>(
        &mut self,
        lane: &mut Lane<'p, B>,
        sink: &mut Sink,
        free: &mut FreeList<'p>,
        mut over: impl FnMut(u64, u64) -> bool,
    ) -> Result<(), TrialError> {
        loop {
            let moved = driver::turn(lane, sink, free).map_err(TrialError::io("receiving"))?;
            let now_ns = self.clock.now_ns();
            if moved > 0 {
                self.busy_ns += now_ns - self.now_ns;
                self.moved_ns = now_ns;
            } else if now_ns - self.moved_ns > STALL_NS {
                return Err(TrialError::Stalled("no datagram came for five seconds"));
            }
            self.now_ns = now_ns;
            if self.interrupt.is_raised() {
                return Err(TrialError::Interrupted);
            }
            if over(now_ns, sink.arrivals.tally().received) {
                return Ok(());
            }
        }
    }
}

/// Where the counters stand at an edge of the measured phase.
struct Marks {
    now_ns: u64,
    busy_ns: u64,
    sent: u64,
    received: u64,
    counters: Counters,
    polls: Polls,
}

impl Marks {
    fn new<'p, B: Backend<'p>>(loop_: &Loop<'_>, lane: &Lane<'p, B>, sink: &Sink, control: &Control) -> Self {
        let (counters, polls) = lane.counters();
        let received = sink.arrivals.tally().received;
        Self { now_ns: loop_.now_ns, busy_ns: loop_.busy_ns, sent: control.sent(), received, counters, polls }
    }
}
