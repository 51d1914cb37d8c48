//! `drain`: emptying a queue that was filled before; the filling is timed separately.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hpbench_backends::kernel::interface::Path;
use hpbench_backends::{AsyncBackend, Counters, FreeList, Port, Socket};

use crate::measure::clock::now_ns;
use crate::measure::driver::{self, Lane, Polls};
use crate::measure::handoff;
use crate::measure::host::BothHosts;
use crate::measure::near::Near;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::peer::beside::Beside;
use crate::measure::peer::filler::Filler;
use crate::measure::remote::message::Report;
use crate::measure::remote::session::Session;
use crate::measure::scenario::rounds::{self, Exchange, Queue, Round, Sides};
use crate::measure::targets::Targets;
use crate::measure::trial::{Far, Part};
use crate::traffic::app::{App, Sink};
use crate::traffic::ledger::{Arrivals, Ledger};

/// How long it may take to empty the queue of what others have sent.
const EMPTY_WITHIN: Duration = Duration::from_millis(200);

/// How long an app on another thread may take for what is on the ring.
const APP_WITHIN: Duration = Duration::from_millis(200);

/// What fills the queue: here, on another core, or in an agent.
#[derive(Debug)]
pub enum Load<'p, 's> {
    /// On the worker's thread.
    Here(Filler<'p>),
    /// On a thread of its own.
    Beside(Beside),
    /// In an agent.
    There {
        /// The trial there.
        session: Session<'s>,
        /// How many datagrams it has sent.
        sent: u64,
    },
}

impl<'p> Load<'p, '_> {
    /// Sends `count` datagrams, as [`Filler::fill`]. Returns how many went, and how long the peer says that it took.
    fn fill(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<(usize, Option<u64>), TrialError> {
        match self {
            Self::Here(filler) => Ok((filler.fill(free, count)?, None)),
            Self::Beside(beside) => beside.fill(count).map(|filled| (filled.sent as usize, Some(filled.ns))),
            Self::There { session, sent } => {
                let filled = session.fill(count)?;
                *sent += filled.sent;
                Ok((filled.sent as usize, Some(filled.ns)))
            }
        }
    }

    fn sent(&self) -> u64 {
        match self {
            Self::Here(filler) => filler.sent(),
            Self::Beside(beside) => beside.sent,
            Self::There { sent, .. } => *sent,
        }
    }

    fn train(&self) -> usize {
        match self {
            Self::Here(filler) => filler.train(),
            Self::Beside(beside) => beside.train,
            Self::There { session, .. } => session.agreed.train,
        }
    }

    fn method(&self) -> String {
        match self {
            Self::Here(filler) => filler.method().into(),
            Self::Beside(beside) => beside.method.into(),
            Self::There { session, .. } => session.agreed.method.clone(),
        }
    }

    fn is_remote(&self) -> bool {
        matches!(self, Self::There { .. })
    }

    /// Whether the worker's thread fills the queue, so that what it counts is known.
    fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// Ends it; all frames return to `free`. Returns what an agent says at the end.
    ///
    /// # Errors
    ///
    /// The kernel's, or that the agent is lost.
    pub fn close(self, free: &mut FreeList<'p>) -> Result<Report, TrialError> {
        match self {
            Self::Here(filler) => filler.close(free).map(|()| Report::default()),
            Self::Beside(_) => Ok(Report::default()),
            Self::There { session, .. } => session.close(),
        }
    }
}

/// A backend under test with its app, and what fills its queue.
#[derive(Debug)]
pub struct Drain<'d, 'p, 's, B, A> {
    lane: &'d mut Lane<'p, B>,
    app: &'d mut A,
    filler: &'d mut Load<'p, 's>,
    /// The queue of the backend's socket, if it has a socket.
    queue: Option<Queue>,
    sides: Sides,
}

impl<'d, 'p, 's, B: AsyncBackend<'p>, A: App<'p>> Drain<'d, 'p, 's, B, A> {
    /// `filler` fills the backend's queue: `queue`, unless it is memory.
    pub fn new(
        (lane, app): (&'d mut Lane<'p, B>, &'d mut A),
        filler: &'d mut Load<'p, 's>,
        queue: Option<Queue>,
    ) -> Self {
        Self { lane, app, filler, queue, sides: Sides::new() }
    }

    /// Takes out what is in the queue until `received` of ours have come: unrelated datagrams took the place of some.
    fn empty(&mut self, received: u64, free: &mut FreeList<'p>) -> Result<(), TrialError> {
        let start = Instant::now();
        while self.app.received() < received && start.elapsed() < EMPTY_WITHIN {
            let came = driver::poll_once(self.lane, self.app, free).map_err(TrialError::io("receiving"))?;
            let Some(queue) = &self.queue else { break };
            if came == 0 && queue.is_empty()? {
                break;
            }
        }
        Ok(())
    }

    /// Takes out all that is left at the end, including what the kernel still holds.
    fn finish(&mut self, free: &mut FreeList<'p>) -> Result<(), TrialError> {
        self.lane.quiesce(self.app, free).map_err(TrialError::io("quiescing the backend"))?;
        self.empty(self.filler.sent(), free)
    }

    /// Waits for an app on another thread.
    fn wait_for_app(&mut self, received: u64, free: &mut FreeList<'p>) {
        let start = Instant::now();
        while !A::INLINE && self.app.received() < received && start.elapsed() < APP_WITHIN {
            self.lane.reclaim(self.app, free);
        }
    }
}

impl<'p, B: AsyncBackend<'p>, A: App<'p>> Exchange<'p> for Drain<'_, 'p, '_, B, A> {
    fn round(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<Round, TrialError> {
        let before = self.app.received();
        self.lane.quiesce(self.app, free).map_err(TrialError::io("quiescing the backend"))?;
        let remote = self.queue.as_ref().filter(|_| self.filler.is_remote());
        let drops = remote.map(Queue::drops).transpose()?;
        self.sides.far.begin();
        let start_ns = now_ns();
        let (sent, took_ns) = self.filler.fill(free, count)?;
        let far_ns = took_ns.unwrap_or_else(|| now_ns() - start_ns);
        self.sides.far.end();
        let filled = match (&self.queue, drops) {
            (Some(queue), None) => queue.is_whole(sent)?,
            (Some(queue), Some(drops)) => {
                let settled = queue.is_settled(sent, drops)?;
                queue.warm()?;
                settled
            }
            (None, _) => true,
        };

        self.sides.near.begin();
        let full_ns = now_ns();
        driver::receive(self.lane, self.app, free, sent).map_err(TrialError::io("receiving"))?;
        let empty_ns = now_ns();
        self.sides.near.end();

        self.empty(before + sent as u64, free)?;
        self.wait_for_app(before + sent as u64, free);
        let received = self.app.received() - before;
        Ok(Round {
            near_ns: empty_ns - full_ns,
            far_ns,
            sent: sent as u64,
            received,
            whole: filled && sent == count && received == count as u64,
        })
    }

    fn counters(&self) -> (Counters, Polls) {
        self.lane.counters()
    }

    fn sides(&mut self) -> &mut Sides {
        &mut self.sides
    }
}

/// Runs a trial on the calling thread.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: AsyncBackend<'p>>(part: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let (options, order) = (part.options, part.order(0));
    if let Some(peer) = part.peer.filter(|_| part.truesizes.get(part.cell).is_none()) {
        // Before the trial, so that nothing of it counts.
        let (near, session) = part.roomy_session(peer)?;
        let measured = truesize(&near, Load::There { session, sent: 0 }, part.cell.receives_trains(), free)?;
        part.truesizes.note(part.cell, measured);
    }
    if !part.has_sockets() {
        let (near, far) = part.memory_link();
        let load = Load::Here(Filler::memory(&order, far, part.pool, options.ring)?);
        return run_with::<B>(part, near, load, None, free);
    }
    let (near, far) = part.ends()?;
    let port = near.port();
    match far {
        Far::Here(far, targets) if part.cell.has_filling_thread() => thread::scope(|scope| {
            let pin = || order.core.map(|core| part.pin_beside(core)).transpose();
            let to = (far, targets.clone());
            let load = Load::Beside(Beside::start(scope, order, to, pin, free.split_off(0))?);
            run_with::<B>(part, port, load, Some((&near, targets.as_ref())), free)
        }),
        Far::Here(far, targets) => {
            let load = Load::Here(Filler::to(&order, &far, targets.as_ref())?);
            run_with::<B>(part, port, load, Some((&near, targets.as_ref())), free)
        }
        Far::There(session, targets) => {
            let load = Load::There { session: *session, sent: 0 };
            run_with::<B>(part, port, load, Some((&near, targets.as_ref())), free)
        }
    }
}

/// Runs a trial with what fills the queues behind `port`, which is that of `near`, unless it is memory.
fn run_with<'p, B: AsyncBackend<'p>>(
    part: &Part<'_, 'p>,
    port: Port<'p>,
    mut filler: Load<'p, '_>,
    near: Option<(&Near, Option<&Targets>)>,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let options = part.options;
    let mut lane = Lane::<B>::open(&part.config(), port, part.pool, options.ring)?;
    let arrivals = Arrivals::of_sockets(1, part.cell.sockets());
    let mut sink = Sink::new(1, part.wire()).with(arrivals).working(part.work());
    let load = &mut filler;
    let worked = match part.app_core() {
        None => work((&mut lane, &mut sink), load, near, part, free).map(|outcome| (outcome, sink)),
        Some(core) => handoff::run(
            &mut lane,
            sink,
            free,
            || part.pin_beside(core),
            |lane, app, free| work((lane, app), load, near, part, free),
        )
        .and_then(|done| done.outcome()),
    };
    let (counters_total, in_effect, drop_ring) = (lane.counters().0, lane.in_effect(), lane.dropped());
    let (fill, sent, elsewhere) = (filler.method(), filler.sent(), !filler.is_here());
    let longest = if part.cell.receives_trains() { filler.train() as u64 } else { 1 };
    let ended = filler.close(free);
    let closed = lane.close(free).map_err(TrialError::io("closing the backend"));
    let (mut outcome, sink) = worked?;
    // What another thread counts is not known.
    outcome.peer_counts = outcome.peer_counts.filter(|_| !elsewhere);
    let report = ended?;
    closed?;
    let mut arrived = sink.arrivals.tally();
    arrived.foreign += outcome.ledger.arrived.foreign + report.unrelated;
    let mut ledger = Ledger { sent, arrived, drop_ring, ..outcome.ledger };
    ledger.note_dropped(ledger.drop_socket, longest);
    let hosts = BothHosts { own: None, peer: report.host };
    Ok(Outcome { ledger, counters_total, fill, in_effect, hosts, ..outcome })
}

fn work<'p, B: AsyncBackend<'p>, A: App<'p>>(
    (lane, app): (&mut Lane<'p, B>, &mut A),
    load: &mut Load<'p, '_>,
    near: Option<(&Near, Option<&Targets>)>,
    part: &Part<'_, 'p>,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let Some((near, targets)) = near else {
        let size = rounds::memory_round(part)?;
        return rounds::measure(&mut Drain::new((lane, app), load, None), part, free, size);
    };
    let truesize = match part.truesizes.get(part.cell) {
        Some(known) => known,
        None => {
            let (order, (roomy, far)) = (part.order(0), part.roomy_pair()?);
            let filler = Load::Here(Filler::socket(&order, &far)?);
            let measured = truesize(&roomy, filler, part.cell.receives_trains(), free)?;
            part.truesizes.note(part.cell, measured);
            measured
        }
    };
    let mut queue = Queue::known(near, truesize)?;
    if let Load::There { session, .. } = load {
        let local = near.first().local_addr().map_err(TrialError::io("reading a socket's address"))?;
        queue.ring = Path::between(local, session.address).ok().and_then(|path| path.receive_ring());
    }
    let size = queue.round(part, targets)?;
    let mut drain = Drain::new((lane, app), load, Some(queue));
    let mut outcome = rounds::measure(&mut drain, part, free, size)?;
    drain.finish(free)?;
    let info = near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
    outcome.ledger.drop_socket = info.drops;
    outcome.ledger.arrived.foreign = near.unrelated();
    (outcome.rcvbuf, outcome.sndbuf) = (Some(info.rcvbuf), Some(info.sndbuf));
    Ok(outcome)
}

/// Measures how many bytes a datagram of `filler` takes in the queue of `near`, alone or in `trains`. The two must be
/// connected, so that nobody else can send there, have room for a train, and belong to no backend. Nothing is received,
/// which keeps the kernel's counts those of the trials.
///
/// # Errors
///
/// If the datagrams cannot be sent, or the kernel does not report it.
pub fn truesize<'p>(
    near: &Arc<Socket>,
    mut filler: Load<'p, '_>,
    trains: bool,
    free: &mut FreeList<'p>,
) -> Result<u32, TrialError> {
    if trains {
        near.receive_trains().map_err(TrialError::io("setting UDP_GRO"))?;
    }
    // A whole train: a datagram of a shorter one may take more.
    let train = filler.train();
    let (sent, _) = filler.fill(free, train)?;
    filler.close(free)?;
    Queue::measure(near, sent, Ok).map(|queue| queue.truesize())
}
