//! What `flood` and `pace` share: a worker that receives what generators on other cores send.

use std::ops::ControlFlow::{Break, Continue};
use std::thread;

use hdrhistogram::Histogram;
use hpbench_backends::{AsyncBackend, Counters, FreeList, Offer};

use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Interrupt, Phase, StopAtEnd};
use crate::measure::cost::{Side, Watch};
use crate::measure::driver::{self, Lane, Polls};
use crate::measure::handoff;
use crate::measure::host::HostCounts;
use crate::measure::near::Near;
use crate::measure::order::{Offered, Order};
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::peer;
use crate::measure::peer::load::Way;
use crate::measure::remote::message::Report;
use crate::measure::senders::Senders;
use crate::measure::silence::Silence;
use crate::measure::threads;
use crate::measure::trial::{Far, Part};
use crate::plan::cells::{Until, Wait};
use crate::traffic::app::{App, Observer, Sink};
use crate::traffic::ledger::{Arrivals, Ledger};

/// How long the worker waits for the last datagrams when no more load is offered.
const SETTLE_NS: u64 = 1_000_000_000;

/// How long the worker receives what came while it was reading files.
const CATCH_UP_NS: u64 = 2_000_000;

/// How long a datagram may be under way from another process.
const UNDER_WAY_NS: u64 = 100_000_000;

/// How often the drops of a socket are read at least: the kernel counts them in 32 bits, which
/// [`Near::meminfo`] widens.
pub(super) const LOOK_NS: u64 = 30_000_000_000;

/// Runs a trial on threads of its own: the generators, for which `Part::offering` threads offer load here, and the worker,
/// whose sink shows what arrives to the observer. `observer` makes it; it is told what makes a time of the generators' clock
/// one of ours, in nanoseconds.
/// Returns the outcome and the observer.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: AsyncBackend<'p>, O: Observer + Send>(
    part: &Part<'_, 'p>,
    free: &mut FreeList<'p>,
    control: &Control,
    observer: impl FnOnce(i64) -> O,
) -> Result<(Outcome, O), TrialError> {
    let (near, senders) = part.streams()?;
    let observer = observer(senders.shift_ns());
    let orders = part.orders();
    thread::scope(|scope| {
        let senders = &senders;
        // If not all threads can be started, those that were still end.
        let _stop = StopAtEnd(control);
        let offer = move |generator: usize, order: &Order| match senders {
            Senders::One(Far::Here(far, targets)) => {
                let targets = targets.as_ref().map(|targets| targets.of_generator(generator));
                peer::offer_by(order, Way::to(far, targets.as_ref()), control).map(Offering::from)
            }
            Senders::One(Far::There(session, _)) => session.offer(control).map(Offering::from),
            Senders::Flows(flows) => {
                peer::offer_by(order, Way::FromMany(&flows[generator]), control).map(Offering::from)
            }
        };
        let orders = orders.iter().enumerate().take(part.offering());
        let generators = orders.map(|(at, order)| threads::spawn(scope, move || offer(at, order)));
        let generators = generators.collect::<Result<Vec<_>, _>>()?;
        let worker = threads::spawn(scope, || {
            let _stop = StopAtEnd(control);
            let worker = Worker { part, near: &near, control };
            let mut observed = None;
            let outcome = part.on_worker_core(|| {
                let arrivals = Arrivals::of_sockets(part.senders(), part.cell.flows_of_generator());
                let sink = Sink::observed(0, part.wire(), observer).with(arrivals).working(part.work());
                let (outcome, observer) = worker.run::<B, O>(sink, free)?;
                observed = Some(observer);
                Ok(outcome)
            })?;
            Ok((outcome, observed.ok_or(TrialError::Panicked)?))
        })?;
        let worked = threads::join(worker);
        let (mut offered, mut offered_ns, mut peer_host) = (Offered::default(), None, None);
        for generator in generators {
            let generated = threads::join(generator)?;
            offered_ns = offered_ns.or(generated.measured_ns);
            peer_host = peer_host.or(generated.host);
            offered.add(generated.offered);
        }
        let (mut outcome, observer) = worked?;
        outcome.offered_ns = offered_ns;
        (outcome.refused, outcome.hosts.peer) = (offered.refused, peer_host);
        outcome.train = part.cell.receives_trains().then_some(offered.train as u64);
        outcome.measured_sent = offered.measured_sent;
        if part.shards.is_none() {
            outcome.account();
        }
        let disturbance = outcome.disturbance.merge(offered.disturbance);
        let (generator_cpu_ns, late) = (Some(offered.cpu_ns), offered.late.map(Histogram::from));
        Ok((Outcome { fill: offered.fill, late, generator_cpu_ns, disturbance, ..outcome }, observer))
    })
}

/// What a generator has done, here or in an agent.
struct Offering {
    offered: Offered,
    /// Length of the measured phase by the agent's clock, in nanoseconds.
    measured_ns: Option<u64>,
    /// What the agent's host dropped.
    host: Option<HostCounts>,
}

impl From<Offered> for Offering {
    fn from(offered: Offered) -> Self {
        Self { offered, measured_ns: None, host: None }
    }
}

impl From<Report> for Offering {
    fn from(report: Report) -> Self {
        let measured_ns = Some(report.measured_ns);
        Self { offered: report.offered.unwrap_or_default(), measured_ns, host: report.host }
    }
}

struct Worker<'t, 'a, 'p> {
    part: &'t Part<'a, 'p>,
    near: &'t Near,
    control: &'t Control,
}

impl<'p> Worker<'_, '_, 'p> {
    fn run<B: AsyncBackend<'p>, O: Observer + Send>(
        &self,
        mut sink: Sink<O>,
        free: &mut FreeList<'p>,
    ) -> Result<(Outcome, O), TrialError> {
        let part = self.part;
        let mut lane = Lane::<B>::open(&part.config(), self.near.port(), part.pool, part.options.ring)?;
        let worked = match part.app_core() {
            None => self.work(&mut lane, &mut sink, free).map(|outcome| (outcome, sink)),
            Some(core) => handoff::run(
                &mut lane,
                sink,
                free,
                || part.pin_beside(core),
                |lane, app, free| self.work(lane, app, free),
            )
            .and_then(|done| done.outcome()),
        };
        let (counters_total, in_effect, drop_ring) = (lane.counters().0, lane.in_effect(), lane.dropped());
        let closed = lane.close(free);
        let (outcome, sink) = worked?;
        closed.map_err(TrialError::io("closing the backend"))?;
        let info = self.near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
        let arrived = sink.arrivals.tally();
        let drop_socket = part.accounted(info.drops);
        let mut ledger = Ledger { sent: self.control.sent(), arrived, drop_socket, drop_ring };
        ledger.arrived.foreign += self.near.unrelated();
        let (rcvbuf, sndbuf) = (Some(info.rcvbuf), Some(info.sndbuf));
        Ok((Outcome { ledger, counters_total, in_effect, rcvbuf, sndbuf, ..outcome }, sink.observer))
    }

    /// Receives: the warm-up, the measured phase, and what is still under way after it.
    fn work<B: AsyncBackend<'p>, A: App<'p>>(
        &self,
        lane: &mut Lane<'p, B>,
        app: &mut A,
        free: &mut FreeList<'p>,
    ) -> Result<Outcome, TrialError> {
        let (part, control) = (self.part, self.control);
        driver::poll_once(lane, app, free).map_err(TrialError::io("receiving"))?;
        if !control.wait_ready(part.offering()) {
            return Err(TrialError::Stalled("the generators did not start"));
        }
        part.meet()?;
        let mut side = Side::new();
        control.advance(Phase::Warmup);
        let mut loop_ = Loop::new(control.interrupt(), self.near, part.shards.is_some());
        let warm_ns = now_ns() + part.warmup().as_nanos() as u64;
        loop_.spin(lane, app, free, |now_ns, _, _| now_ns >= warm_ns)?;
        // Reading the kernel's files takes a while: what came meanwhile belongs to the warm-up.
        let watch = Watch::begin(&part.cores());
        let warm_ns = now_ns() + CATCH_UP_NS;
        loop_.spin(lane, app, free, |now_ns, _, _| now_ns >= warm_ns)?;

        side.reset();
        side.begin();
        control.begin_measuring(loop_.now_ns);
        let before = Marks::new(&loop_, lane, app);
        let (half, whole) = ends(part.until());
        loop_.spin(lane, app, free, |now_ns, received, _| half(now_ns - before.now_ns, received - before.received))?;
        let middle = Marks::new(&loop_, lane, app);
        loop_.spin(lane, app, free, |now_ns, received, _| whole(now_ns - before.now_ns, received - before.received))?;
        let after = Marks::new(&loop_, lane, app);
        control.end_measuring(loop_.now_ns);
        side.end();
        let disturbance = watch.end();

        if part.shards.is_some() {
            self.settle_sharing(lane, app, free, &mut loop_)?;
        } else {
            self.settle(lane, app, free, &mut loop_)?;
        }
        let (first, rest) = (middle.rate_since(&before), after.rate_since(&middle));
        Ok(Outcome {
            measured_ns: after.now_ns - before.now_ns,
            measured_received: after.received - before.received,
            counters: after.counters.since(before.counters),
            polls: after.polls.since(before.polls),
            busy_ns: (part.cell.wait == Wait::Spin).then_some(after.busy_ns - before.busy_ns),
            usage: side.usage,
            counts: side.counts(),
            disturbance,
            // At an offered rate, both halves are alike whatever the worker does.
            halves: part.cell.rate.is_none().then_some([first, rest]),
            ..Outcome::default()
        })
    }

    /// Receives what is under way, until everything is accounted for or nothing has come for a while.
    fn settle<B: AsyncBackend<'p>, A: App<'p>>(
        &self,
        lane: &mut Lane<'p, B>,
        app: &mut A,
        free: &mut FreeList<'p>,
        loop_: &mut Loop<'_>,
    ) -> Result<(), TrialError> {
        let (near, control, trains) = (self.near, self.control, self.part.cell.receives_trains());
        let longest = Offer::longest(self.part.cell.payload, self.part.options.gso) as u64;
        let (mut last, mut is_over) = ((0, 0), false);
        while !is_over {
            loop_.spin(lane, app, free, |now_ns, received, drop_ring| {
                if control.is_offering() || received != last.1 || last.0 == 0 {
                    last = (now_ns, received);
                    return false;
                }
                let quiet_ns = now_ns - last.0;
                let Ok(info) = near.meminfo() else {
                    is_over = quiet_ns > SETTLE_NS;
                    return is_over;
                };
                is_over = received + info.drops + drop_ring >= control.sent();
                // A dropped train does not say how many datagrams it held: drops may explain all that is missing.
                // Whether they do shows when nothing is left. What is in the queue is not lost, however late.
                let explicable = trains && received + info.drops * longest + drop_ring >= control.sent();
                let limit_ns = if explicable { CATCH_UP_NS } else { SETTLE_NS };
                is_over || info.rmem_alloc == 0 && quiet_ns > limit_ns
            })?;
            if !is_over {
                // An empty queue is no proof: what the kernel's thread has taken out of it, or has put onto the completion
                // queue since the worker looked, is on its way.
                let came = lane.quiesce(app, free).map_err(TrialError::io("quiescing the backend"))?;
                is_over = came == 0 && near.meminfo().is_ok_and(|info| info.rmem_alloc == 0);
            }
        }
        Ok(())
    }

    /// As [`Worker::settle`], of a worker whose generators' datagrams others may receive: until those of all workers have
    /// ended, and nothing is left. Without an agent, what was sent is in a queue by then.
    fn settle_sharing<B: AsyncBackend<'p>, A: App<'p>>(
        &self,
        lane: &mut Lane<'p, B>,
        app: &mut A,
        free: &mut FreeList<'p>,
        loop_: &mut Loop<'_>,
    ) -> Result<(), TrialError> {
        let (control, together, mut is_reported) = (self.control, self.part.together, false);
        let is_empty = || self.near.meminfo().is_ok_and(|info| info.rmem_alloc == 0);
        let mut last = (loop_.now_ns, app.received());
        let quiet_ns = if self.part.peer.is_some() { UNDER_WAY_NS } else { CATCH_UP_NS };
        loop {
            loop_.spin(lane, app, free, |now_ns, received, _| {
                if !is_reported && !control.is_offering() {
                    together.report_offered();
                    is_reported = true;
                }
                if !is_reported || together.is_offering() || received != last.1 {
                    last = (now_ns, received);
                    return false;
                }
                now_ns - last.0 > SETTLE_NS || now_ns - last.0 > quiet_ns && is_empty()
            })?;
            // As in `settle`: what the kernel's thread has taken is not in the queue any more.
            let came = lane.quiesce(app, free).map_err(TrialError::io("quiescing the backend"))?;
            let is_over = came == 0 && is_empty() || loop_.now_ns - last.0 > SETTLE_NS;
            if is_over || control.phase() == Phase::Stop {
                return Ok(());
            }
        }
    }
}

/// Whether a part of the measured phase is over, from nanoseconds and datagrams since its beginning.
type End = Box<dyn Fn(u64, u64) -> bool>;

/// The ends of the first half of the measured phase, and of the whole.
fn ends(until: Until) -> (End, End) {
    match until {
        Until::Elapsed(duration) => {
            let whole = duration.as_nanos() as u64;
            (Box::new(move |ns, _| ns >= whole / 2), Box::new(move |ns, _| ns >= whole))
        }
        Until::Datagrams(count) => {
            (Box::new(move |_, received| received >= count / 2), Box::new(move |_, received| received >= count))
        }
    }
}

/// The busy loop, with its clock.
struct Loop<'a> {
    interrupt: &'a Interrupt,
    /// Its drops are read now and then, see [`LOOK_NS`].
    near: &'a Near,
    looked_ns: u64,
    now_ns: u64,
    /// Time in turns that moved a datagram.
    busy_ns: u64,
    /// How many datagrams of the trial have come, and for how long no more.
    received: u64,
    silence: Silence,
    /// Whether it may be that none comes: others share what is sent.
    may_be_silent: bool,
}

impl<'a> Loop<'a> {
    fn new(interrupt: &'a Interrupt, near: &'a Near, may_be_silent: bool) -> Self {
        let now_ns = now_ns();
        Self {
            interrupt,
            near,
            looked_ns: now_ns,
            now_ns,
            busy_ns: 0,
            received: 0,
            silence: Silence::begin(now_ns),
            may_be_silent,
        }
    }

    /// Loops until `over(now_ns, received, dropped at the ring)`; looks at the clock once per turn.
    fn spin<'p, B: AsyncBackend<'p>, A: App<'p>>(
        &mut self,
        lane: &mut Lane<'p, B>,
        app: &mut A,
        free: &mut FreeList<'p>,
        mut over: impl FnMut(u64, u64, u64) -> bool,
    ) -> Result<(), TrialError> {
        let ended = driver::turns(lane, app, free, |lane, app, moved| {
            let now_ns = now_ns();
            if moved > 0 {
                self.busy_ns += now_ns - self.now_ns;
            }
            // Those of unrelated senders do not count: they may come for ever.
            let received = app.received();
            if received != self.received {
                self.received = received;
                self.silence.ends(now_ns);
            } else if self.silence.goes_on(now_ns) && !self.may_be_silent {
                return Break(Err(TrialError::Stalled(match received {
                    0 => {
                        "no datagram came for five seconds; does a firewall or a queueing discipline drop them? see `nft list \
                         ruleset`, `iptables -S`, `tc -s qdisc`"
                    }
                    _ => "no datagram came for five seconds",
                })));
            }
            self.now_ns = now_ns;
            if self.interrupt.is_raised() {
                return Break(Err(TrialError::Interrupted));
            }
            if now_ns - self.looked_ns > LOOK_NS {
                self.looked_ns = now_ns;
                if let Err(error) = self.near.meminfo() {
                    return Break(Err(TrialError::io("reading SO_MEMINFO")(error)));
                }
            }
            if over(now_ns, received, lane.dropped()) { Break(Ok(())) } else { Continue(()) }
        });
        ended.map_err(TrialError::io("receiving"))?
    }
}

/// Where the counters stand at an edge of the measured phase.
struct Marks {
    now_ns: u64,
    busy_ns: u64,
    received: u64,
    counters: Counters,
    polls: Polls,
}

impl Marks {
    fn new<'p, B: AsyncBackend<'p>>(loop_: &Loop<'_>, lane: &Lane<'p, B>, app: &impl App<'p>) -> Self {
        let (counters, polls) = lane.counters();
        let received = app.received();
        Self { now_ns: loop_.now_ns, busy_ns: loop_.busy_ns, received, counters, polls }
    }

    /// Datagrams received per nanosecond.
    fn rate_since(&self, before: &Self) -> f64 {
        (self.received - before.received) as f64 / (self.now_ns - before.now_ns).max(1) as f64
    }
}
