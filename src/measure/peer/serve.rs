//! The client of `serve` and `relay`: requests by a schedule, whatever has become of earlier ones, and the answers to them.
//!
//! Latency counts from when a request was due to when its answer was seen, so that a client or a server that stalls makes later
//! answers late, instead of asking less. What the client adds is recorded: how late requests went out, and the longest time
//! between two looks for answers.

use std::ops::Range;

use hdrhistogram::Histogram;
use hpbench_backends::plain::Plain;
use hpbench_backends::{Addressing, Choice, Config, Consumer, FreeList, Kind, Offer, Packet, Pool, Producer};

use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Phase, StopAtEnd};
use crate::measure::cost::{Disturbance, Side, Watch};
use crate::measure::driver::{self, Lane};
use crate::measure::near::Near;
use crate::measure::order::{Order, Recorded, RoundTrips, Served};
use crate::measure::outcome::{TrialError, latency_histogram};
use crate::measure::peer::load::{self, Way};
use crate::measure::peer::schedule::{Schedule, Tick};
use crate::measure::peer::settling::{Settling, stalled};
use crate::measure::silence::Silence;
use crate::plan::cells::Until;
use crate::traffic::app::{App, Source};
use crate::traffic::ledger::Arrivals;
use crate::traffic::wire::{self, Wire};

/// An answer that takes longer than this is late: whoever asked has asked again by then.
pub const LATE_NS: u64 = 100_000_000;

/// The most requests that are sent before the next look for answers, and the most answers that are taken before the next
/// request. They are taken one by one: at loads that leave the worker idle now and then, a call for many takes longer and
/// finds one.
const BATCH: usize = 64;

/// How long a client that is late at the end of the measured phase keeps asking.
pub(crate) const FINISH_NS: u64 = 200_000_000;

/// How often the drops of the client's socket are read at least: the kernel counts them in 32 bits.
const LOOK_NS: u64 = 30_000_000_000;

/// Asks on the calling thread, and leads through the phases of the trial. If there are targets, each request goes to the
/// socket whose turn it is. If there are many source ports, what is due at once comes from one of them, and answers are looked
/// for at those that have some.
///
/// # Errors
///
/// An error that makes it pointless to continue; the trial then ends.
pub fn ask<'p>(
    order: &Order,
    way: Way<'_>,
    control: &Control,
    (pool, free): (&'p Pool, &mut FreeList<'p>),
) -> Result<RoundTrips, TrialError> {
    let _stop = StopAtEnd(control);
    order.pin()?;
    // A request that is due alone is sent as such: the kernel builds even a train of one in another way, which takes longer.
    let one_by_one = Order { gso: order.gso && order.burst > 1, ..*order };
    let (offer, source) = load::sender(&one_by_one, way)?;
    let near = way.near();
    let addressing = if matches!(way, Way::ToMany(..)) { Addressing::Unconnected } else { Addressing::Connected };
    let variant = Choice::default_of(Kind::PLAIN).resolve_for(addressing, near.sockets().len());
    let variant = variant.map_err(|_| TrialError::Stalled("plain receives at any number of sockets"))?;
    let config = Config { addressing, ..Config::of(variant, 1) };
    let schedule = Schedule { start_ns: 0, first: 0, rate_pps: order.rate_pps, burst: order.burst };
    let mut client = Client {
        order,
        control,
        near: &near,
        offer,
        lane: Lane::open(&config, near.port(), pool, BATCH)?,
        source,
        answers: Answers::new(order, way.flows()),
        schedule,
        tick: schedule.tick_of(0),
        late: latency_histogram(),
        last_ns: now_ns(),
        poll_gap_ns: 0,
        looked_ns: now_ns(),
    };
    control.report_ready();
    let measured = if control.wait_ready(2) {
        control.advance(Phase::Warmup);
        client.phases(free)
    } else {
        Err(TrialError::Stalled("the worker did not start"))
    };
    control.advance(Phase::Stop);
    let Client { offer, lane, answers, source, late, poll_gap_ns, .. } = client;
    let (drop_ring, refused) = (lane.dropped(), offer.refused());
    lane.close(free).map_err(TrialError::io("closing the client"))?;
    let served = Served {
        fill: offer.method().into(),
        train: offer.train(),
        late: Recorded::from(&late),
        late_answers: answers.late,
        poll_gap_ns,
    };
    let (arrived, latency) = (answers.arrivals.tally(), Recorded::from(&answers.latency));
    measured.map(|measured| RoundTrips {
        sent: source.next,
        arrived,
        drop_ring,
        latency,
        refused,
        served: Some(served),
        ..measured
    })
}

struct Client<'t, 'p> {
    order: &'t Order,
    control: &'t Control,
    near: &'t Near,
    offer: Offer,
    lane: Lane<'p, Plain<'p>>,
    source: Source,
    answers: Answers,
    schedule: Schedule,
    /// The tick of the next request.
    tick: Tick,
    late: Histogram<u64>,
    /// When it looked for answers last.
    last_ns: u64,
    poll_gap_ns: u64,
    looked_ns: u64,
}

impl<'p> Client<'_, 'p> {
    /// The warm-up, the measured phase, and what is still under way after it.
    fn phases(&mut self, free: &mut FreeList<'p>) -> Result<RoundTrips, TrialError> {
        self.begin(now_ns());
        let warm_ns = self.schedule.start_ns + self.order.warmup.as_nanos() as u64;
        self.spin(free, u64::MAX, |now_ns, _| now_ns >= warm_ns)?;
        let measured = self.measure(free)?;
        let (control, near, mut settling) = (self.control, self.near, Settling::begin(now_ns()));
        self.spin(free, 0, |now_ns, client| {
            let dropped = || near.meminfo().map_or(0, |info| info.drops) + control.dropped();
            settling.is_over(now_ns, [client.awaited(), client.answers.received()], dropped)
        })?;
        Ok(measured)
    }

    /// The schedule begins with the next request.
    fn begin(&mut self, start_ns: u64) {
        (self.schedule.start_ns, self.schedule.first) = (start_ns, self.source.next);
        self.tick = self.schedule.tick_of(self.source.next);
    }

    fn measure(&mut self, free: &mut FreeList<'p>) -> Result<RoundTrips, TrialError> {
        let until = self.order.until;
        let watch = Watch::begin(&[]);
        let mut side = Side::default();
        side.begin();
        self.control.advance(Phase::Measure);
        let start_ns = now_ns();
        // What the warm-up did not get done is discarded.
        self.begin(start_ns);
        self.source.set_measured(true);
        (self.last_ns, self.poll_gap_ns) = (start_ns, 0);
        let received = self.answers.received();
        let end_ns = match until {
            Until::Elapsed(duration) => start_ns + duration.as_nanos() as u64,
            Until::Datagrams(_) => u64::MAX,
        };
        self.answers.due_ns = start_ns..end_ns;
        self.spin(free, end_ns, |now_ns, client| match until {
            Until::Elapsed(_) => now_ns >= end_ns,
            Until::Datagrams(count) => client.answers.received() - received >= count,
        })?;
        let now_ns = now_ns();
        self.control.advance(Phase::Settle);
        side.end();
        self.source.set_measured(false);
        let measured = RoundTrips {
            measured_ns: now_ns - start_ns,
            measured_sent: self.source.next - self.schedule.first,
            measured_received: self.answers.received() - received,
            cpu_ns: side.usage.cpu_ns,
            disturbance: Disturbance { context_switches: 0, ..watch.end() },
            ..RoundTrips::default()
        };
        let poll_gap_ns = self.poll_gap_ns;
        // The requests that are late at the end are the latest of all: without them, the latencies would be too good.
        let (end_ns, longest_ns) = (end_ns.min(now_ns), now_ns + FINISH_NS);
        self.answers.due_ns.end = end_ns;
        self.spin(free, end_ns, |now_ns, client| client.tick.due_ns >= end_ns || now_ns > longest_ns)?;
        self.poll_gap_ns = poll_gap_ns;
        Ok(measured)
    }

    /// Sends what is due before `end_ns`, and receives, until `over`.
    fn spin(
        &mut self,
        free: &mut FreeList<'p>,
        end_ns: u64,
        mut over: impl FnMut(u64, &Self) -> bool,
    ) -> Result<(), TrialError> {
        let mut silence = Silence::begin(now_ns());
        loop {
            self.send(end_ns)?;
            let moved = self.receive(free)?;
            let now_ns = now_ns();
            self.poll_gap_ns = self.poll_gap_ns.max(now_ns - self.last_ns);
            self.last_ns = now_ns;
            // Nothing is missed where nothing is under way.
            if moved > 0 || self.answers.received() == self.awaited() {
                silence.ends(now_ns);
            } else if silence.goes_on(now_ns) {
                return Err(stalled(self.answers.received()));
            }
            if now_ns - self.looked_ns > LOOK_NS {
                self.looked_ns = now_ns;
                let _ = self.near.meminfo();
            }
            if self.control.is_interrupted() {
                return Err(TrialError::Interrupted);
            }
            if over(now_ns, self) {
                return Ok(());
            }
        }
    }

    /// Answers to all requests so far.
    #[inline]
    fn awaited(&self) -> u64 {
        self.source.next * self.order.fanout as u64
    }

    /// Takes the answers that are there, as many as requests may have gone before. Where none is to come, a look would
    /// delay the next request.
    fn receive(&mut self, free: &mut FreeList<'p>) -> Result<usize, TrialError> {
        let mut all = 0;
        while all < BATCH && self.answers.received() != self.awaited() {
            let came = driver::receive_once(&mut self.lane, &mut self.answers, free);
            match came.map_err(TrialError::io("receiving"))? {
                0 => break,
                came => all += came,
            }
        }
        Ok(all)
    }

    /// Sends what is due by now, but not later than `end_ns`.
    #[inline]
    fn send(&mut self, end_ns: u64) -> Result<(), TrialError> {
        if end_ns == 0 {
            return Ok(());
        }
        let (now_ns, first, schedule, tick) = (now_ns(), self.source.next, self.schedule, self.tick);
        let by_ns = now_ns.min(end_ns - 1);
        if by_ns < tick.due_ns {
            return Ok(());
        }
        let due = schedule.due_from(tick, by_ns) - first;
        let due_ns = |sequence| if sequence < tick.end { tick.due_ns } else { schedule.due_ns(sequence) };
        let (source, count) = (&mut self.source, self.offer.train().min(BATCH).min(due as usize));
        source.choose(self.offer.sender());
        let sent = self.offer.send(count, |datagram| {
            let due_ns = due_ns(source.next);
            source.write_stamped(datagram, 0, due_ns);
        });
        let sent = sent.map_err(TrialError::io("asking"))?;
        self.source.rewind(first + sent as u64);
        self.control.add_sent(sent);
        self.tick = schedule.tick_of(self.source.next);
        for due_ns in (first..self.source.next).map(due_ns) {
            if self.answers.due_ns.contains(&due_ns) {
                self.late.saturating_record(now_ns.saturating_sub(due_ns).max(1));
            }
        }
        Ok(())
    }
}

/// Checks and accounts for answers, and takes the times of those whose requests were due in the measured phase.
struct Answers {
    arrivals: Arrivals,
    wire: Wire,
    /// That phase, once it has begun.
    due_ns: Range<u64>,
    latency: Histogram<u64>,
    late: u64,
}

impl Answers {
    /// Answers to so many flows, from that of the order on.
    fn new(order: &Order, flows: usize) -> Self {
        // Those before are other clients'.
        let clients = usize::from(order.flow).div_ceil(flows) + 1;
        let arrivals = Arrivals::of_sockets(clients, flows).in_copies(order.fanout);
        Self { arrivals, wire: order.wire, due_ns: 0..0, latency: latency_histogram(), late: 0 }
    }
}

impl<'p> App<'p> for Answers {
    fn run(&mut self, rx: &mut Consumer<Packet<'p>>, _tx: &mut Producer<Packet<'p>>, free: &mut FreeList<'p>) {
        if rx.available() == 0 {
            return;
        }
        // One reading for the batch: it has been there since the same system call.
        let now_ns = now_ns();
        while let Some(packet) = rx.pop() {
            if let Some(header) = self.arrivals.note(wire::read(packet.bytes(), self.wire))
                && self.due_ns.contains(&header.intended_ns)
            {
                let took_ns = now_ns.saturating_sub(header.intended_ns).max(1);
                self.latency.saturating_record(took_ns);
                self.late += u64::from(took_ns > LATE_NS);
            }
            free.give(packet.into_frame());
        }
        rx.release();
    }

    fn received(&self) -> u64 {
        self.arrivals.tally().received
    }
}
