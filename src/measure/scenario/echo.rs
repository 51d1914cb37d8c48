//! `echo`: round trips of a few datagrams in flight.

use std::sync::Arc;
use std::thread;

use hdrhistogram::Histogram;
use hpbench_backends::plain::Plain;
use hpbench_backends::{Backend, Config, Counters, FreeList, Kind, Port, Socket};

use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Phase, StopAtEnd};
use crate::measure::cost::{Disturbance, Side, Watch};
use crate::measure::driver::{self, Lane, Polls};
use crate::measure::handoff;
use crate::measure::outcome::{Outcome, TrialError, latency_histogram};
use crate::measure::trial::Part;
use crate::plan::cells::{Until, Wait};
use crate::traffic::app::{App, Echo, Source};
use crate::traffic::ledger::{Arrivals, Ledger, Tally};
use crate::traffic::wire::{self, Wire};

/// A slot of the window that is silent for so long counts as lost and is filled again.
const LOST_NS: u64 = 100_000_000;
/// How often the generator looks for such slots, at most.
const LOOK_NS: u64 = 5_000_000;
/// How long nothing may come back, and how long after the last reply others are waited for: longer than a
/// busy machine, or the host of a virtual one, keeps a thread from running.
const STALL_NS: u64 = 5_000_000_000;
const SETTLE_NS: u64 = 4_000_000_000;

/// Runs a trial on threads of its own.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: Backend<'p>>(trial: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let (near, far) = trial.sockets()?;
    let control = Control::new(1);
    let mut far_free = free.split_off(4 * trial.cell.window.unwrap_or(1) + 16);
    let outcome: Result<(Outcome, Outcome), TrialError> = thread::scope(|scope| {
        let generator = scope.spawn(|| {
            let _stop = StopAtEnd(&control);
            trial.pin(trial.place.generators[0])?;
            generate(trial, (&near, &far), &control, &mut far_free)
        });
        let worker = scope.spawn(|| {
            let _stop = StopAtEnd(&control);
            trial.on_worker_core(|| worker::<B>(trial, &near, &control, free))
        });
        let worked = worker.join().unwrap_or(Err(TrialError::Panicked));
        let generated = generator.join().unwrap_or(Err(TrialError::Panicked));
        Ok((worked?, generated?))
    });
    free.absorb(far_free);
    let (worked, generated) = outcome?;
    let failed = TrialError::io("reading SO_MEMINFO");
    let (info, far_info) = near.meminfo().and_then(|info| Ok((info, far.meminfo()?))).map_err(failed)?;
    let drop_socket = u64::from(info.drops) + u64::from(far_info.drops);
    let mut ledger = generated.ledger;
    ledger.drop_socket = drop_socket;
    ledger.drop_ring += worked.ledger.drop_ring;
    // Strangers reach the worker, if its socket is not connected; the generator's is.
    ledger.arrived.foreign += worked.ledger.arrived.foreign;
    Ok(Outcome {
        ledger,
        counters: worked.counters,
        polls: worked.polls,
        counters_total: worked.counters_total,
        busy_ns: worked.busy_ns,
        usage: worked.usage,
        counts: worked.counts,
        disturbance: worked.disturbance.merge(generated.disturbance),
        canary_ns: worked.canary_ns,
        in_effect: worked.in_effect,
        rcvbuf: Some(info.rcvbuf),
        sndbuf: Some(info.sndbuf),
        ..generated
    })
}

/// The generator: keeps the window full and takes the round-trip times.
struct Generator<'t, 'a, 'p> {
    trial: &'t Part<'a, 'p>,
    lane: Lane<'p, Plain<'p>>,
    source: Source,
    replies: Replies,
    slots: Vec<Slot>,
    sent: u64,
    looked_ns: u64,
}

/// What a slot of the window waits for.
#[derive(Clone, Copy, Default)]
struct Slot {
    sequence: u64,
    sent_ns: u64,
    waiting: bool,
}

fn generate<'p>(
    trial: &Part<'_, 'p>,
    (near, far): (&Arc<Socket>, &Arc<Socket>),
    control: &Control,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let window = trial.cell.window.unwrap_or(1);
    let config = Config::new(Kind::Plain, window);
    let lane = Lane::open(&config, Port::Socket(Arc::clone(far)), trial.pool, 2 * window)?;
    let mut generator = Generator {
        trial,
        lane,
        source: Source::new(0, trial.cell.payload, trial.wire()),
        replies: Replies::new(trial, window),
        slots: vec![Slot::default(); window],
        sent: 0,
        looked_ns: now_ns(),
    };
    control.report_ready();
    let outcome = if control.wait_ready(2) {
        control.advance(Phase::Warmup);
        generator.phases(control, [near, far], free)
    } else {
        Err(TrialError::Stalled("the worker did not start"))
    };
    control.advance(Phase::Stop);
    let Generator { lane, replies, sent, .. } = generator;
    let drop_ring = lane.dropped();
    lane.close(free).map_err(TrialError::io("closing the generator"))?;
    outcome.map(|outcome| Outcome {
        ledger: Ledger { sent, arrived: replies.arrivals.tally(), drop_socket: 0, drop_ring },
        latency: Some(replies.latency),
        ..outcome
    })
}

impl<'p> Generator<'_, '_, 'p> {
    fn phases(
        &mut self,
        control: &Control,
        sockets: [&Socket; 2],
        free: &mut FreeList<'p>,
    ) -> Result<Outcome, TrialError> {
        let options = self.trial.options;
        for slot in 0..self.slots.len() {
            self.refill(slot, now_ns(), free);
        }
        let warm_ns = now_ns() + options.warmup.as_nanos() as u64;
        self.spin(free, true, |now_ns, _| now_ns >= warm_ns)?;

        let watch = Watch::begin(&[]);
        self.spin(free, true, |_, _| true)?;
        let mut side = Side::default();
        side.begin();
        control.advance(Phase::Measure);
        self.replies.latency.reset();
        let start_ns = now_ns();
        let (sent, received) = (self.sent, self.replies.arrivals.tally().received);
        let mut marks = [(start_ns, received); 3];
        // Both halves, to see whether the second was as fast as the first.
        for half in 1..=2 {
            self.spin(free, true, |now_ns, generator| match options.until {
                Until::Elapsed(duration) => now_ns - start_ns >= half * duration.as_nanos() as u64 / 2,
                Until::Datagrams(count) => generator.replies.arrivals.tally().received - received >= half * count / 2,
            })?;
            marks[half as usize] = (now_ns(), self.replies.arrivals.tally().received);
        }
        side.end();
        let rate = |from: usize| {
            (marks[from + 1].1 - marks[from].1) as f64 / (marks[from + 1].0 - marks[from].0).max(1) as f64
        };
        let outcome = Outcome {
            measured_ns: marks[2].0 - start_ns,
            measured_sent: self.sent - sent,
            measured_received: marks[2].1 - received,
            generator_cpu_ns: Some(side.usage.cpu_ns),
            disturbance: Disturbance { context_switches: 0, ..watch.end() },
            steady: Some(crate::stats::is_steady(rate(0), rate(1))),
            ..Outcome::default()
        };

        control.advance(Phase::Settle);
        self.replies.recording = false;
        let mut last = (now_ns(), 0);
        self.spin(free, false, |now_ns, generator| {
            let received = generator.replies.arrivals.tally().received;
            if received != last.1 {
                last = (now_ns, received);
            }
            // Replies that were given up may still come; what was dropped will not.
            received == generator.sent || now_ns - last.0 >= SETTLE_NS || {
                let drops = sockets.map(|socket| socket.meminfo().map_or(0, |info| u64::from(info.drops)));
                received + drops[0] + drops[1] >= generator.sent
            }
        })?;
        Ok(outcome)
    }

    /// Sends and receives until `over`; keeps the window full if `refill`.
    fn spin(
        &mut self,
        free: &mut FreeList<'p>,
        refill: bool,
        mut over: impl FnMut(u64, &Self) -> bool,
    ) -> Result<(), TrialError> {
        let mut moved_ns = now_ns();
        loop {
            self.sent += self.lane.transmit(free).map_err(TrialError::io("sending"))? as u64;
            let moved =
                driver::receive_once(&mut self.lane, &mut self.replies, free).map_err(TrialError::io("receiving"))?;
            let now_ns = now_ns();
            if moved > 0 {
                moved_ns = now_ns;
            } else if now_ns - moved_ns > STALL_NS {
                return Err(TrialError::Stalled("nothing came back for five seconds"));
            }
            self.settle_replies(now_ns, refill, free);
            if now_ns - self.looked_ns > LOOK_NS {
                self.look_for_losses(now_ns, refill, free);
            }
            if self.trial.interrupt.is_raised() {
                return Err(TrialError::Interrupted);
            }
            if over(now_ns, self) {
                return Ok(());
            }
        }
    }

    /// Empties the slots whose replies have come, and fills them again.
    fn settle_replies(&mut self, now_ns: u64, refill: bool, free: &mut FreeList<'p>) {
        while let Some((index, sequence)) = self.replies.done.pop() {
            match self.slots.get_mut(index) {
                Some(slot) if slot.waiting && slot.sequence == sequence => slot.waiting = false,
                // A reply that was given up comes late after all.
                _ => continue,
            }
            if refill {
                self.refill(index, now_ns, free);
            }
        }
        self.lane.tx_in.publish();
    }

    fn look_for_losses(&mut self, now_ns: u64, refill: bool, free: &mut FreeList<'p>) {
        self.looked_ns = now_ns;
        for index in 0..self.slots.len() {
            let slot = self.slots[index];
            if refill && (!slot.waiting || now_ns - slot.sent_ns > LOST_NS) {
                self.refill(index, now_ns, free);
            }
        }
    }

    /// Puts the next datagram of a slot onto the ring.
    fn refill(&mut self, index: usize, now_ns: u64, free: &mut FreeList<'p>) {
        let sequence = self.source.next;
        let waiting = self.source.produce_stamped(index as u16, now_ns, &mut self.lane.tx_in, free);
        self.slots[index] = Slot { sequence, sent_ns: now_ns, waiting };
        self.lane.tx_in.publish();
    }
}

/// Checks and accounts for replies, and takes their times.
struct Replies {
    arrivals: Arrivals,
    wire: Wire,
    latency: Histogram<u64>,
    recording: bool,
    /// Slots whose replies have come, with the sequence numbers; preallocated.
    done: Vec<(usize, u64)>,
}

impl Replies {
    fn new(trial: &Part<'_, '_>, window: usize) -> Self {
        Self {
            arrivals: Arrivals::new(1),
            wire: trial.wire(),
            latency: latency_histogram(),
            recording: true,
            done: Vec::with_capacity(2 * window),
        }
    }
}

impl<'p> App<'p> for Replies {
    fn run(
        &mut self,
        rx: &mut hpbench_backends::Consumer<hpbench_backends::Packet<'p>>,
        _tx: &mut hpbench_backends::Producer<hpbench_backends::Packet<'p>>,
        free: &mut FreeList<'p>,
    ) {
        if rx.available() == 0 {
            return;
        }
        // One reading for the batch: it has been there since the same system call.
        let now_ns = now_ns();
        while let Some(packet) = rx.pop() {
            if let Some(header) = self.arrivals.note(wire::read(packet.bytes(), self.wire)) {
                if self.recording {
                    self.latency.saturating_record(now_ns.saturating_sub(header.intended_ns).max(1));
                }
                self.done.push((usize::from(header.flags), header.sequence));
            }
            free.give(packet.into_frame());
        }
        rx.release();
    }

    fn received(&self) -> u64 {
        self.arrivals.tally().received
    }
}

/// The worker: echoes until the generator has had enough.
fn worker<'p, B: Backend<'p>>(
    part: &Part<'_, 'p>,
    socket: &Arc<Socket>,
    control: &Control,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let port = Port::Socket(Arc::clone(socket));
    let mut lane = Lane::<B>::open(&part.config(), port, part.pool, part.options.ring)?;
    let mut echo = Echo::new(part.tag);
    let worked = match part.app_core() {
        None => work(&mut lane, &mut echo, part, control, free).map(|outcome| (outcome, echo)),
        Some(core) => handoff::run(
            &mut lane,
            echo,
            free,
            || part.pin(core),
            |lane, app, free| work(lane, app, part, control, free),
        )
        .and_then(|done| done.outcome()),
    };
    let (counters_total, in_effect, drop_ring) = (lane.counters().0, lane.in_effect(), lane.dropped());
    let closed = lane.close(free);
    let (outcome, echo) = worked?;
    closed.map_err(TrialError::io("closing the backend"))?;
    let foreign = echo.arrivals.tally().foreign;
    let arrived = Tally { foreign, ..Tally::default() };
    let ledger = Ledger { arrived, drop_ring: drop_ring + echo.dropped, ..Ledger::default() };
    Ok(Outcome { ledger, counters_total, in_effect, ..outcome })
}

/// Sends back what comes, and notes where the counters stand when the phase changes.
fn work<'p, B: Backend<'p>, A: App<'p>>(
    lane: &mut Lane<'p, B>,
    app: &mut A,
    part: &Part<'_, 'p>,
    control: &Control,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    driver::poll_once(lane, app, free).map_err(TrialError::io("echoing"))?;
    part.meet()?;
    let mut watch = Watch::begin(&part.cores());
    let mut disturbance = Disturbance::default();
    let mut side = Side::new();
    control.report_ready();
    let mut phase = Phase::Setup;
    let mut marks: [(Counters, Polls, u64); 2] = Default::default();
    let (mut busy_ns, mut last_ns) = (0, now_ns());
    while phase != Phase::Stop {
        let moved = driver::turn(lane, app, free).map_err(TrialError::io("echoing"))?;
        let now_ns = now_ns();
        if moved > 0 {
            busy_ns += now_ns - last_ns;
        }
        last_ns = now_ns;
        let next = control.phase();
        if next != phase {
            let (counters, polls) = lane.counters();
            if phase < Phase::Warmup && next >= Phase::Warmup {
                watch = Watch::begin(&part.cores());
            }
            if phase < Phase::Measure && next >= Phase::Measure {
                marks[0] = (counters, polls, busy_ns);
                side.begin();
            }
            if phase < Phase::Settle && next >= Phase::Settle {
                side.end();
                marks[1] = (counters, polls, busy_ns);
                disturbance = watch.end();
            }
            phase = next;
        }
    }
    let [before, after] = marks;
    Ok(Outcome {
        counters: after.0.since(before.0),
        polls: after.1.since(before.1),
        busy_ns: (part.cell.wait == Wait::Spin).then_some(after.2 - before.2),
        usage: side.usage,
        counts: side.counts(),
        disturbance,
        ..Outcome::default()
    })
}
