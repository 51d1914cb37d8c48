//! The generator of `echo`: keeps a few datagrams in flight, and takes their round-trip times.

use std::sync::Arc;

use hdrhistogram::Histogram;
use hpbench_backends::plain::Plain;
use hpbench_backends::{Addressing, Config, Consumer, FreeList, Kind, Packet, Pool, Port, Producer, Socket};

use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Phase, StopAtEnd};
use crate::measure::cost::{Disturbance, Side, Watch};
use crate::measure::driver::{self, Lane};
use crate::measure::order::{Order, Recorded, RoundTrips};
use crate::measure::outcome::{TrialError, latency_histogram};
use crate::measure::peer::settling::{Settling, stalled};
use crate::measure::silence::Silence;
use crate::measure::targets::Targets;
use crate::plan::cells::Until;
use crate::traffic::app::{App, Source};
use crate::traffic::ledger::Arrivals;
use crate::traffic::wire::{self, Wire};

/// A slot of the window that is silent this long counts as lost and is filled again.
const LOST_NS: u64 = 100_000_000;
/// How often the generator looks for such slots, at most.
const LOOK_NS: u64 = 5_000_000;

/// Keeps the window full on the calling thread, and leads through the phases of the trial. If there are targets, each datagram
/// goes to the socket whose turn it is, and `socket` is not connected.
///
/// # Errors
///
/// An error that makes it pointless to continue; the trial then ends.
pub fn generate<'p>(
    order: &Order,
    (socket, targets): (&Arc<Socket>, Option<&Targets>),
    control: &Control,
    (pool, free): (&'p Pool, &mut FreeList<'p>),
) -> Result<RoundTrips, TrialError> {
    let _stop = StopAtEnd(control);
    order.pin()?;
    let (window, port) = (order.window, Port::Socket(Arc::clone(socket)));
    let addressing = if targets.is_some() { Addressing::Unconnected } else { Addressing::Connected };
    let config = Config { addressing, ..Config::new(Kind::PLAIN, window) };
    let mut generator = Generator {
        order,
        control,
        socket,
        targets,
        lane: Lane::open(&config, port, pool, 2 * window)?,
        source: targets.map_or_else(|| order.source(), |targets| targets.source(order)),
        replies: Replies::new(order, targets.map_or(1, Targets::sockets)),
        slots: vec![Slot::default(); window],
        sent: 0,
        measured_sent: 0,
        measuring: false,
        looked_ns: now_ns(),
    };
    control.report_ready();
    let measured = if control.wait_ready(2) {
        control.advance(Phase::Warmup);
        generator.phases(free)
    } else {
        Err(TrialError::Stalled("the worker did not start"))
    };
    control.advance(Phase::Stop);
    let Generator { lane, replies, sent, .. } = generator;
    let (drop_ring, refused) = (lane.dropped(), lane.counters().0.send_eagain);
    lane.close(free).map_err(TrialError::io("closing the generator"))?;
    let (arrived, latency) = (replies.arrivals.tally(), Recorded::from(&replies.latency));
    measured.map(|measured| RoundTrips { sent, arrived, drop_ring, latency, refused, ..measured })
}

struct Generator<'t, 'p> {
    order: &'t Order,
    control: &'t Control,
    socket: &'t Socket,
    targets: Option<&'t Targets>,
    lane: Lane<'p, Plain<'p>>,
    source: Source,
    replies: Replies,
    slots: Vec<Slot>,
    sent: u64,
    /// Those of them that were put onto the ring in the measured phase.
    measured_sent: u64,
    measuring: bool,
    looked_ns: u64,
}

/// What a slot of the window waits for.
#[derive(Clone, Copy, Default)]
struct Slot {
    flow: u16,
    sequence: u64,
    sent_ns: u64,
    waiting: bool,
}

impl<'p> Generator<'_, 'p> {
    /// The warm-up, the measured phase, and what is still under way after it.
    fn phases(&mut self, free: &mut FreeList<'p>) -> Result<RoundTrips, TrialError> {
        for slot in 0..self.slots.len() {
            self.refill(slot, now_ns(), free);
        }
        let warm_ns = now_ns() + self.order.warmup.as_nanos() as u64;
        self.spin(free, true, |now_ns, _| now_ns >= warm_ns)?;
        let measured = self.measure(free)?;
        self.control.advance(Phase::Settle);
        self.replies.recording = false;
        let (control, socket, mut settling) = (self.control, self.socket, Settling::begin(now_ns()));
        self.spin(free, false, |now_ns, generator| {
            let dropped = || socket.meminfo().map_or(0, |info| info.drops) + control.dropped();
            settling.is_over(now_ns, [generator.sent, generator.replies.received()], dropped)
        })?;
        Ok(measured)
    }

    fn measure(&mut self, free: &mut FreeList<'p>) -> Result<RoundTrips, TrialError> {
        let until = self.order.until;
        let watch = Watch::begin(&[]);
        self.spin(free, true, |_, _| true)?;
        let mut side = Side::default();
        side.begin();
        self.control.advance(Phase::Measure);
        self.set_measuring(true);
        self.replies.latency.reset();
        let start_ns = now_ns();
        let received = self.replies.received();
        let mut marks = [(start_ns, received); 3];
        // Both halves, to see whether the second was as fast as the first.
        for half in 1..=2 {
            self.spin(free, true, |now_ns, generator| match until {
                Until::Elapsed(duration) => now_ns - start_ns >= half * duration.as_nanos() as u64 / 2,
                Until::Datagrams(count) => generator.replies.received() - received >= half * count / 2,
            })?;
            marks[half as usize] = (now_ns(), self.replies.received());
        }
        side.end();
        self.set_measuring(false);
        let rate = |from: usize| {
            (marks[from + 1].1 - marks[from].1) as f64 / (marks[from + 1].0 - marks[from].0).max(1) as f64
        };
        Ok(RoundTrips {
            measured_ns: marks[2].0 - start_ns,
            measured_sent: self.measured_sent,
            measured_received: marks[2].1 - received,
            cpu_ns: side.usage.cpu_ns,
            disturbance: Disturbance { context_switches: 0, ..watch.end() },
            steady: Some(crate::gates::is_steady(rate(0), rate(1))),
            ..RoundTrips::default()
        })
    }

    fn set_measuring(&mut self, measuring: bool) {
        self.measuring = measuring;
        self.source.set_measured(measuring);
    }

    /// Sends and receives until `over`; keeps the window full if `refill`.
    fn spin(
        &mut self,
        free: &mut FreeList<'p>,
        refill: bool,
        mut over: impl FnMut(u64, &Self) -> bool,
    ) -> Result<(), TrialError> {
        let mut silence = Silence::begin(now_ns());
        loop {
            let sent = self.lane.transmit(free).map_err(TrialError::io("sending"))?;
            if sent > 0 {
                self.sent += sent as u64;
                self.control.add_sent(sent);
            }
            let moved =
                driver::receive_once(&mut self.lane, &mut self.replies, free).map_err(TrialError::io("receiving"))?;
            let now_ns = now_ns();
            if moved > 0 {
                silence.ends(now_ns);
            } else if silence.goes_on(now_ns) {
                return Err(stalled(self.replies.received()));
            }
            self.settle_replies(now_ns, refill, free);
            if now_ns - self.looked_ns > LOOK_NS {
                self.look_for_losses(now_ns, refill, free);
            }
            if self.control.is_interrupted() {
                return Err(TrialError::Interrupted);
            }
            if over(now_ns, self) {
                return Ok(());
            }
        }
    }

    /// Empties the slots whose replies have come, and fills them again.
    fn settle_replies(&mut self, now_ns: u64, refill: bool, free: &mut FreeList<'p>) {
        while let Some((index, flow, sequence)) = self.replies.done.pop() {
            match self.slots.get_mut(index) {
                Some(slot) if slot.waiting && (slot.flow, slot.sequence) == (flow, sequence) => slot.waiting = false,
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
        // Read so that its drops do not wrap unseen.
        let _ = self.socket.meminfo();
        for index in 0..self.slots.len() {
            let slot = self.slots[index];
            if refill && (!slot.waiting || now_ns - slot.sent_ns > LOST_NS) {
                self.refill(index, now_ns, free);
            }
        }
    }

    /// Puts the next datagram of a slot onto the ring.
    fn refill(&mut self, index: usize, now_ns: u64, free: &mut FreeList<'p>) {
        let (flow, sequence) = self.source.next_number();
        let to = self.targets.map(|targets| targets.address(targets.at(self.source.next)));
        let waiting = self.source.produce_stamped((index as u16, now_ns), to, &mut self.lane.tx_in, free);
        self.slots[index] = Slot { flow, sequence, sent_ns: now_ns, waiting };
        self.measured_sent += u64::from(waiting && self.measuring);
        self.lane.tx_in.publish();
    }
}

/// Checks and accounts for replies, and takes their times.
struct Replies {
    arrivals: Arrivals,
    wire: Wire,
    latency: Histogram<u64>,
    recording: bool,
    /// Slots whose replies have come, with the flows and sequence numbers; preallocated.
    done: Vec<(usize, u16, u64)>,
}

impl Replies {
    fn new(order: &Order, sockets: usize) -> Self {
        Self {
            arrivals: Arrivals::of_sockets(1, sockets),
            wire: order.wire,
            latency: latency_histogram(),
            recording: true,
            done: Vec::with_capacity(2 * order.window),
        }
    }
}

impl<'p> App<'p> for Replies {
    fn run(&mut self, rx: &mut Consumer<Packet<'p>>, _tx: &mut Producer<Packet<'p>>, free: &mut FreeList<'p>) {
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
                self.done.push((header.slot(), header.flow, header.sequence));
            }
            free.give(packet.into_frame());
        }
        rx.release();
    }

    fn received(&self) -> u64 {
        self.arrivals.tally().received
    }
}
